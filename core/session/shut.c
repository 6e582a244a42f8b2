/*
 * session/shut.c - ending all sessions of a domain
 */
#include "session/session.h"

#include "loop/worker.h"
#include "base/ban.h"

static bool end_of_domain(struct mk_session *s, void *arg)
{
	if (s->entity->domain == arg)
		mk_session_end(s, "host-gone", NULL);
	return true;
}

static void on_worker(struct mk_worker *w, void *arg)
{
	mk_sessions_each(w, end_of_domain, arg);
}

void mk_domain_shut(struct mk_str name)
{
	struct mk_domain *d = mk_domain_find_any(name.p, name.n);

	if (d != NULL)
		mk_workers_call(on_worker, d);
}
