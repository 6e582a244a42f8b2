/*
 * session/event.c - running a chain of handlers, and parking it for a job
 *
 * Runs on the entity's home worker. An event starts as its caller's stack
 * object, so that a chain of inline handlers costs no allocation; it is moved
 * to the heap when a handler needs a job. While parked, its entity is held:
 * what comes for the entity waits, so order is kept.
 */
#include "session/session.h"

#include "loop/worker.h"
#include "store/store.h"
#include "session/trace.h"
#include "base/ban.h"

typedef enum mk_verdict filter_fn(struct mk_inst *, void *);
typedef void notify_fn(struct mk_inst *, const void *);
typedef enum mk_verdict stored_filter_fn(struct mk_inst *, void *, struct mk_store *);
typedef void stored_notify_fn(struct mk_inst *, const void *, struct mk_store *);

enum {
	STANZAS = 1 << MK_EVENT_CLAIM | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 11,
	FILTERS = STANZAS | 1 << 7,
};

static inline bool is_filter(const struct mk_event *e) { return FILTERS >> e->hook & 1; }
static inline bool is_stanza(const struct mk_event *e) { return STANZAS >> e->hook & 1; }
static inline void *payload(struct mk_event *e)
{
	return is_stanza(e) ? (void *)&e->ev : (void *)&e->ses;
}

static void advance(struct mk_event *e);

static void finish(struct mk_event *e, enum mk_verdict v)
{
	struct mk_entity *entity = e->parked ? e->entity : NULL;
	struct mk_session *ses = e->parked ? (is_stanza(e) ? e->ev.session : e->ses.session) : NULL;
	bool parked = e->parked;

	e->then(e, v);
	if (e->from != NULL)
		mk_jid_unref(&e->from);
	if (e->to != NULL)
		mk_jid_unref(&e->to);
	if (!parked)
		return;
	mk_dispatch_unref(&e->dispatch);
	mk_free(e);
	if (ses != NULL)
		mk_session_unref(&ses);
	if (entity != NULL)
		mk_entity_release(entity);
}

static void job_run(struct mk_job *j, void *thread_data)
{
	struct mk_event *e = MK_CONTAINER(j, struct mk_event, job);
	struct mk_store *st = thread_data;

	if (e->done_fn != NULL) {
		((mk_ev_work_fn *)e->job_fn)(e->inst, &e->ev, st, e->data);
	} else if (is_filter(e)) {
		e->verdict = ((stored_filter_fn *)e->job_fn)(e->inst, payload(e), st);
	} else {
		((stored_notify_fn *)e->job_fn)(e->inst, payload(e), st);
		e->verdict = MK_NEXT;
	}
	mk_store_job_end(st);
}

static void job_done(struct mk_job *j)
{
	struct mk_event *e = MK_CONTAINER(j, struct mk_event, job);
	enum mk_verdict v = e->verdict;
	mk_ev_done_fn *done = e->done_fn;

	if (done != NULL) {
		e->done_fn = NULL;
		e->job_fn = NULL;
		v = done(e->inst, &e->ev, e->data);
		if (v == MK_WAIT && e->job_fn != NULL) {
			/* It found that it needs another. */
			mk_pool_submit(e->inst->pool, &e->job);
			return;
		}
	}
	mk_inst_leave(e->inst);
	if (is_stanza(e))
		mk_trace_verdict(e, e->inst, v);
	e->inst = NULL;
	e->job_fn = NULL;
	e->i++;
	/* "Wait" is no answer of a job's. */
	if (v == MK_NEXT || v == MK_WAIT)
		advance(e);
	else
		finish(e, v);
}

/* Moves e to the heap, holds the entity, and runs the current handler's fn in
 * a job. false: its instance is stopping; go on without it. */
static bool park(struct mk_event *e, mk_any_fn *fn)
{
	struct mk_inst *inst = e->h[e->i].inst;
	struct mk_event *p = e;

	if (!mk_inst_enter(inst))
		return false;
	if (!e->parked) {
		p = mk_alloc(sizeof *p);
		*p = *e;
		p->parked = true;
		p->dispatch = mk_dispatch_ref(e->dispatch);
		if (is_stanza(p)) {
			/* The host's own have no entity: they are at the sender's home. */
			const struct mk_jid *home = p->hook == 11 ? p->ev.from : p->ev.to;
			p->entity = p->ev.entity != NULL ? p->ev.entity
			          : home->local_n != 0 ? mk_entity_get(home) : NULL;
			if (p->from == NULL && p->ev.from != NULL)
				p->from = mk_jid_ref(p->ev.from);
			if (p->to == NULL && p->ev.to != NULL)
				p->to = mk_jid_ref(p->ev.to);
			p->ev.from = p->from;
			p->ev.to = p->to;
			if (p->ev.session != NULL)
				mk_session_ref(p->ev.session);
		} else {
			p->entity = p->ses.entity;
			mk_session_ref(p->ses.session);
		}
		if (p->entity != NULL)
			mk_entity_hold(p->entity);
	}
	p->inst = inst;
	p->job_fn = fn;
	p->job.run = job_run;
	p->job.done = job_done;
	mk_pool_submit(inst->pool, &p->job);
	return true;
}

static void advance(struct mk_event *e)
{
	/* None of these changes while the chain runs: park() ends that. */
	const bool filters = is_filter(e), stanzas = is_stanza(e);
	void *const arg = payload(e);
	_Atomic(const char *) *const doing = &mk_self->doing;

	for (const struct mk_handler *h = &e->h[e->i]; e->i < e->n; e->i++, h++) {
		enum mk_verdict v = MK_NEXT;

		/* A stack event runs on the snapshot of now; a parked one may meet
		 * an instance that stopped meanwhile. */
		if (MK_UNLIKELY(e->parked) &&
		    atomic_load_explicit(&h->inst->state, memory_order_acquire) > MK_INST_RUNNING)
			continue;
		if (h->run == MK_STORED) {
			if (park(e, h->fn))
				return;
			continue;
		}
		atomic_store_explicit(doing, h->inst->module->plugin->name, memory_order_relaxed);
		if (filters)
			v = ((filter_fn *)h->fn)(h->inst, arg);
		else
			((notify_fn *)h->fn)(h->inst, arg);
		if (MK_UNLIKELY(mk_tracing) && stanzas)
			mk_trace_verdict(e, h->inst, v);
		while (v == MK_WAIT) {
			mk_any_fn *fn = e->job_fn;
			mk_ev_done_fn *done = e->done_fn;
			e->job_fn = NULL;
			if (fn != NULL && park(e, fn))
				return;
			e->done_fn = NULL;
			v = done != NULL ? done(h->inst, &e->ev, e->data) : MK_NEXT;
			if (v == MK_WAIT && e->job_fn == NULL)
				v = MK_NEXT;
		}
		if (v != MK_NEXT) {
			e->i++;
			atomic_store_explicit(doing, NULL, memory_order_relaxed);
			finish(e, v);
			return;
		}
	}
	atomic_store_explicit(doing, NULL, memory_order_relaxed);
	finish(e, MK_NEXT);
}

static void run(struct mk_event *e, const struct mk_dispatch *d)
{
	static _Thread_local uint64_t serial;

	e->i = 0;
	e->dispatch = (struct mk_dispatch *)d;
	e->serial = ++serial;
	/* A handler may end the session, and with it the entity, that those after
	 * it and then() look at. */
	struct mk_session *ses = is_stanza(e) ? e->ev.session : e->ses.session;
	struct mk_entity *entity = is_stanza(e) ? e->ev.entity : e->ses.entity;
	if (ses != NULL)
		mk_session_ref(ses);
	if (entity != NULL)
		mk_entity_keep(entity);
	advance(e);
	if (entity != NULL)
		mk_entity_unkeep(entity);
	if (ses != NULL)
		mk_session_unref(&ses);
}

void mk_event_run(struct mk_event *e, const struct mk_dispatch *d)
{
	unsigned bit = is_stanza(e) ? (unsigned)__builtin_ctz(e->ev.match) : 0;

	e->h = d->chain[e->hook][bit].h;
	e->n = d->chain[e->hook][bit].n;
	run(e, d);
}

void mk_event_run_one(struct mk_event *e, const struct mk_dispatch *d,
	const struct mk_handler *h)
{
	e->h = h;
	e->n = 1;
	run(e, d);
}

/* ---- what handlers may do with an event --------------------------------------- */

static struct mk_event *event_of(const struct mk_ev_stanza *ev)
{
	return MK_CONTAINER(ev, struct mk_event, ev);
}

enum mk_verdict mk_ev_job(struct mk_ev_stanza *ev, mk_ev_job_fn *fn)
{
	struct mk_event *e = event_of(ev);

	mk_assert(mk_self != NULL && e->hook != 3 /* stanza_out can't wait */);
	e->job_fn = (mk_any_fn *)fn;
	return MK_WAIT;
}

enum mk_verdict mk_ev_job_then(struct mk_ev_stanza *ev, mk_ev_work_fn *work,
	mk_ev_done_fn *done, void *data)
{
	struct mk_event *e = event_of(ev);

	mk_ev_job(ev, (mk_ev_job_fn *)(mk_any_fn *)work);
	e->done_fn = done;
	e->data = data;
	return MK_WAIT;
}

void mk_ev_replace(struct mk_ev_stanza *ev, struct mk_stanza **s)
{
	struct mk_event *e = event_of(ev);

	/* The addresses of the event stay; they may be the old stanza's own. */
	if (e->from == NULL)
		e->from = mk_jid_ref(ev->from);
	if (e->to == NULL)
		e->to = mk_jid_ref(ev->to);
	ev->from = e->from;
	ev->to = e->to;
	mk_stanza_seal(*s);
	mk_stanza_unref(&ev->stanza);
	ev->stanza = *s;
	*s = NULL;
}

void mk_ev_set_attr(struct mk_ev_stanza *ev, const char *name, const char *value)
{
	struct mk_stanza *s = mk_stanza_edit(&ev->stanza);
	mk_elem_set(s->root, name, value);
}

struct mk_elem *mk_ev_add(struct mk_ev_stanza *ev, const char *name, const char *xmlns)
{
	struct mk_stanza *s = mk_stanza_edit_children(&ev->stanza);
	return mk_elem_add(s->root, name, xmlns);
}

unsigned mk_ev_strip_if(struct mk_ev_stanza *ev, mk_ev_strip_fn *is, void *arg)
{
	struct mk_elem *c = mk_elem_first(mk_stanza_elem(ev->stanza));

	while (c != NULL && !is(c, arg))
		c = mk_elem_next(c);
	if (c == NULL)
		return 0;
	return mk_elem_remove_if(mk_stanza_edit_children(&ev->stanza)->root, is, arg);
}

struct strip { const char *name, *xmlns, *by; };

static bool is_stripped(const struct mk_elem *c, void *arg)
{
	const struct strip *s = arg;

	return mk_elem_is(c, s->name, s->xmlns) &&
	       (s->by == NULL || mk_streq(mk_elem_attr(c, "by"), s->by));
}

unsigned mk_ev_strip(struct mk_ev_stanza *ev, const char *name, const char *xmlns,
	const char *by)
{
	struct strip s = { name, xmlns, by };

	return mk_ev_strip_if(ev, is_stripped, &s);
}

void mk_ev_deliver(struct mk_ev_stanza *ev, struct mk_session *s)
{
	struct mk_event *e = event_of(ev);

	mk_assert(mk_self != NULL);
	MK_CHECK(s, MK_SESSION_MAGIC);
	e->taken = true;
	s->last_event = e->serial;
	mk_session_deliver(s, ev->stanza, ev->to);
}

bool mk_ev_was_delivered_to(const struct mk_ev_stanza *ev, const struct mk_session *s)
{
	return s->last_event == event_of(ev)->serial;
}

bool mk_ev_is_taken(const struct mk_ev_stanza *ev) { return event_of(ev)->taken; }
