/*
 * session/trace.c - meerkatctl trace
 *
 * The traced JID is replaced whole and freed after quiescence.
 */
#include "session/trace.h"

#include "loop/worker.h"
#include "base/ban.h"

_Atomic bool mk_tracing;
static _Atomic(struct mk_jid *) traced;

static void jid_gone(void *p)
{
	struct mk_jid *j = p;
	mk_jid_unref(&j);
}

void mk_trace_set(const char *bare)
{
	struct mk_jid *j = NULL;

	if (bare != NULL && mk_jid_parsez(bare, &j) < 0)
		return;
	atomic_store(&mk_tracing, j != NULL);
	struct mk_jid *old = atomic_exchange(&traced, j);
	if (old != NULL)
		mk_quiesce(jid_gone, old);
}

void mk_trace_verdict(const struct mk_event *e, const struct mk_inst *i, enum mk_verdict v)
{
	static const char *const verdicts[] = { "next", "done", "drop", "fail", "wait" };
	static const char *const hooks[] = { "claim", "stanza_in", "stanza_deliver", "stanza_out",
		"stanza_failed", [11] = "stanza_recovered" };
	static const char *const kinds[] = { "", "message", "presence", "iq" };
	const struct mk_jid *t = atomic_load(&traced);

	if (t == NULL)
		return;
	bool is_from = e->ev.from != NULL && mk_jid_bare_eq(e->ev.from, t);
	bool is_to = e->ev.to != NULL && mk_jid_bare_eq(e->ev.to, t);
	if (!is_from && !is_to)
		return;
	mk_log(i, MK_NOTICE, "trace", "hook=%s kind=%s stanza_type=%s id=%s from=%s to=%s verdict=%s",
		hooks[e->hook], kinds[e->ev.stanza->kind],
		mk_stanza_type_name(e->ev.stanza->type) != NULL ?
			mk_stanza_type_name(e->ev.stanza->type) : "",
		e->ev.stanza->id != NULL ? e->ev.stanza->id : "",
		e->ev.from != NULL ? mk_jid_full(e->ev.from) : "",
		e->ev.to != NULL ? mk_jid_full(e->ev.to) : "", verdicts[v % 5]);
}
