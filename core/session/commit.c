/*
 * session/commit.c - see commit.h
 *
 * The last ticket of a stanza may be done on any thread: that posts one message to the
 * sender's home, whatever number of stanzas follow before it is read. There all sessions
 * that wait look at the first of theirs.
 */
#include "session/session.h"
#include "session/commit.h"

#include <pthread.h>

#include "loop/worker.h"
#include "session/tables.h"
#include "base/ban.h"

void mk_commits_add(struct mk_commits *c, uint32_t count, struct mk_stanza *original)
{
	if (c->n == c->cap) {
		uint32_t cap = c->cap * 2 + 16;
		struct mk_commit *v = mk_alloc(cap * sizeof *v);
		for (uint32_t k = 0; k < c->n; k++)
			v[k] = c->v[(c->head + k) % c->cap];
		mk_free(c->v);
		c->v = v;
		c->cap = cap;
		c->head = 0;
	}
	c->v[(c->head + c->n++) % c->cap] =
		(struct mk_commit){ count, mk_stanza_ref(original) };
}

static void drop_first(struct mk_commits *c)
{
	mk_stanza_unref(&c->v[c->head].stanza);
	c->head = (c->head + 1) % c->cap;
	c->n--;
}

uint32_t mk_commits_reached(struct mk_commits *c, uint32_t durable)
{
	while (c->n > 0 && atomic_load_explicit(&c->v[c->head].stanza->tickets,
	       memory_order_acquire) == 0)
		drop_first(c);
	if (c->n == 0)
		return durable;
	uint32_t before = c->v[c->head].count - 1;
	return (int32_t)(before - durable) < 0 ? before : durable;
}

void mk_commits_wait(struct mk_commits *c)
{
	if (c->n == 0 || c->is_waiting)
		return;
	c->is_waiting = true;
	mk_session_ref(c->session);
	mk_list_push(&mk_tables()->committing, &c->node);
	/* What was over before it stood in the list told nobody. */
	if (atomic_load(&c->v[c->head].stanza->tickets) == 0 && mk_stanza_committed != NULL)
		mk_stanza_committed(c->v[c->head].stanza);
}

void mk_commits_end(struct mk_commits *c)
{
	while (c->n > 0)
		drop_first(c);
	mk_free(c->v);
	c->v = NULL;
	c->cap = 0;
}

static void look_again(struct mk_msg *m)
{
	struct mk_tables *t = MK_CONTAINER(m, struct mk_tables, commit_msg);
	struct mk_list waiting, *node;

	atomic_store(&t->commit_posted, false);
	mk_list_init(&waiting);
	while ((node = mk_list_pop(&t->committing)) != NULL)
		mk_list_push(&waiting, node);
	while ((node = mk_list_pop(&waiting)) != NULL) {
		struct mk_commits *c = MK_CONTAINER(node, struct mk_commits, node);
		struct mk_session *s = c->session;
		c->is_waiting = false;
		mk_session_again(s);
		mk_session_unref(&s);
	}
}

/* A row may be written (or given up) when the workers have ended, or are about to. */
static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER;
static bool has_workers;               /* under workers_lock                */

static void committed(struct mk_stanza *original)
{
	pthread_mutex_lock(&workers_lock);
	if (has_workers) {
		struct mk_worker *w = mk_home_of(original->from);
		struct mk_tables *t = w->core;
		if (!atomic_exchange(&t->commit_posted, true))
			mk_worker_post(w, &t->commit_msg);
	}
	pthread_mutex_unlock(&workers_lock);
}

void mk_commits_worker_init(struct mk_worker *w)
{
	struct mk_tables *t = w->core;

	mk_list_init(&t->committing);
	t->commit_msg.fn = look_again;
	pthread_mutex_lock(&workers_lock);
	has_workers = true;
	pthread_mutex_unlock(&workers_lock);
	atomic_store(&mk_stanza_committed, committed);
}

void mk_commits_worker_fini(struct mk_worker *w)
{
	struct mk_tables *t = w->core;
	struct mk_list *node;

	pthread_mutex_lock(&workers_lock);
	has_workers = false;           /* all have run their last turn          */
	pthread_mutex_unlock(&workers_lock);
	while ((node = mk_list_pop(&t->committing)) != NULL)
		mk_session_unref(&MK_CONTAINER(node, struct mk_commits, node)->session);
}
