/*
 * route/route.c - who gets a stanza (RFC 6120 10, RFC 6121 8)
 *
 * A stanza goes from its sender's home to its recipient's in one hop: the run
 * queue of this worker, or the mailbox of another. Both are FIFO, so order
 * holds between two entities. The receiver is never called directly.
 */
#include "route/route.h"

#include "base/metric.h"
#include "loop/worker.h"
#include "route/claim.h"
#include "session/tables.h"
#include "base/ban.h"

/* ---- parcels ---------------------------------------------------------------------- */

#define FREE_MAX 1024
static _Thread_local struct { struct mk_list list; uint32_t n; } spare;

struct mk_parcel *mk_parcel_new(enum mk_parcel_kind kind)
{
	struct mk_parcel *p;

	if (spare.n > 0) {
		p = MK_CONTAINER(mk_list_pop(&spare.list), struct mk_parcel, task.node);
		spare.n--;
		memset(p, 0, sizeof *p);
	} else {
		p = mk_alloc(sizeof *p);
	}
	p->kind = (uint8_t)kind;
	return p;
}

void mk_parcel_free(struct mk_parcel *p)
{
	if (p->stanza != NULL)
		mk_stanza_unref(&p->stanza);
	if (p->to != NULL)
		mk_jid_unref(&p->to);
	if (p->session != NULL)
		mk_session_unref(&p->session);
	if (MK_UNLIKELY(p->ticket != NULL)) {
		mk_stanza_ticket_done(p->ticket);
		mk_stanza_unref(&p->ticket);
	}
	if (spare.list.next == NULL)
		mk_list_init(&spare.list);
	if (spare.n >= FREE_MAX || mk_self == NULL) {
		mk_free(p);
		return;
	}
	mk_list_unshift(&spare.list, &p->task.node);
	spare.n++;
}

void mk_parcels_thread_end(void)
{
	struct mk_list *n;

	if (spare.list.next == NULL)
		return;
	while ((n = mk_list_pop(&spare.list)) != NULL)
		mk_free(MK_CONTAINER(n, struct mk_parcel, task.node));
	spare.n = 0;
}

static void run_task(struct mk_task *t)
{
	mk_parcel_run(MK_CONTAINER(t, struct mk_parcel, task));
}

static void arrived(struct mk_msg *m)
{
	struct mk_parcel *p = MK_CONTAINER(m, struct mk_parcel, msg);
	p->task.run = run_task;
	mk_worker_run(&p->task);
}

void mk_parcel_send(struct mk_parcel *p, struct mk_worker *w)
{
	if (w == mk_self) {
		mk_entity_soon(p->to->bare_hash);
		p->task.run = run_task;
		mk_worker_run(&p->task);
	} else {
		p->msg.fn = arrived;
		mk_worker_post(w, &p->msg);
	}
}

static void recover(struct mk_parcel *p, struct mk_entity *e);
static void bounce_from(struct mk_stanza *s, const struct mk_jid *to, uint16_t error,
	const char *text);

/* Those who send to an entity that is held don't wait with it, so what they send must
 * not pile up without end. */
static bool is_too_much(const struct mk_parcel *p, const struct mk_entity *e)
{
	if (MK_LIKELY(e->queue_n < MK_QUEUE_OTHERS) || p->kind != MK_PARCEL_DELIVER)
		return false;
	return p->stanza->match & (MK_M_MESSAGE | MK_M_IQ) || e->queue_n >= 10 * MK_QUEUE_OTHERS;
}

static void refuse(struct mk_parcel *p)
{
	static _Atomic uint32_t metric;

	if (atomic_load(&metric) == 0)
		atomic_store(&metric, mk_metric_id("meerkat_stanzas_refused_total",
			"Stanzas refused because too many waited for their recipient.",
			MK_COUNTER, NULL));
	mk_metric_bump(atomic_load(&metric), 1);
	bounce_from(p->stanza, p->to, MK_ERR_RESOURCE_CONSTRAINT, NULL);
	mk_parcel_free(p);
}

void mk_parcel_run(struct mk_parcel *p)
{
	struct mk_entity *e = mk_entity_find(p->to);

	if (e != NULL && e->held != 0) {
		if (MK_UNLIKELY(is_too_much(p, e)))
			refuse(p);
		else
			mk_entity_queue(e, p);
		return;
	}
	switch ((enum mk_parcel_kind)p->kind) {
	case MK_PARCEL_IN:
		mk_session_in_now(p->session, p->stanza);
		p->stanza = NULL;
		mk_parcel_free(p);
		break;
	case MK_PARCEL_POST:
		if (e != NULL)         /* what is posted may end its last session */
			mk_entity_keep(e);
		if (atomic_load(&p->inst->state) <= MK_INST_RUNNING)
			p->post(p->inst, e, p->to, p->data);
		else if (p->drop != NULL)
			p->drop(p->data);
		if (e != NULL)
			mk_entity_unkeep(e);
		mk_inst_leave(p->inst);
		mk_parcel_free(p);
		break;
	case MK_PARCEL_DELIVER:
	case MK_PARCEL_REDELIVER:
		mk_deliver(p);
		break;
	case MK_PARCEL_RECOVER:
		recover(p, e);
		break;
	}
}

/* ---- routing ----------------------------------------------------------------------- */

/* to: whom it didn't reach. Of one for many (mk_send_to) each recipient has an
 * error of its own. */
static void bounce_from(struct mk_stanza *s, const struct mk_jid *to, uint16_t error,
	const char *text)
{
	struct mk_stanza *answer = mk_stanza_error(s, error, text);

	if (answer == NULL)
		return;
	if (to != NULL && (s->to == NULL || (s->flags & MK_STANZA_FANOUT)))
		mk_stanza_set_from(answer, to);
	if (answer->to == NULL)
		mk_stanza_unref(&answer);
	else
		mk_route(&answer, answer->to);
}

void mk_bounce(struct mk_stanza *s, uint16_t error, const char *text)
{
	bounce_from(s, NULL, error, text);
}

void mk_route(struct mk_stanza **sp, const struct mk_jid *to)
{
	struct mk_stanza *s = *sp;

	*sp = NULL;
	mk_stanza_seal(s);
	if (mk_domain_of(to) == NULL && !mk_claim_find(to, &(struct mk_claim_at){ 0 })) {
		/* No server-to-server links: nobody else can be reached. */
		bounce_from(s, to, MK_ERR_REMOTE_SERVER_NOT_FOUND, NULL);
		mk_stanza_unref(&s);
		return;
	}
	struct mk_parcel *p = mk_parcel_new(MK_PARCEL_DELIVER);
	p->stanza = s;
	p->to = mk_jid_ref(to);
	/* Copies of one that is awaited are, too. */
	if (MK_UNLIKELY(s->is_awaited))
		p->ticket = mk_stanza_ref(mk_stanza_ticket(s));
	/* The host's own business is done at the other side's home. */
	mk_parcel_send(p, to->local_n == 0 && s->from != NULL ? mk_home_of(s->from)
	                                                      : mk_home_of(to));
}

void mk_send(struct mk_stanza **s)
{
	struct mk_jid *to;

	mk_assert((*s)->to != NULL);
	to = mk_jid_ref((*s)->to);
	mk_route(s, to);
	mk_jid_unref(&to);
}

void mk_send_to(struct mk_stanza *s, const struct mk_jid *to)
{
	struct mk_stanza *more = mk_stanza_ref(s);

	if (!(s->flags & MK_STANZA_SEALED)) {
		s->flags |= MK_STANZA_FANOUT;
		mk_stanza_seal(s);
	}
	mk_route(&more, to);
}

/* XEP-0203: it is late, and who says so is the recipient's server. The copy has
 * the journal's record by its original. */
static void delay(struct mk_stanza **sp, const struct mk_jid *to)
{
	struct mk_str domain = mk_jid_domain(to);
	struct mk_stanza *s = *sp;
	struct mk_elem *d;
	char stamp[32];

	for (d = mk_elem_first(s->root); d != NULL; d = mk_elem_next(d))
		if (mk_elem_is(d, "delay", "urn:xmpp:delay") && mk_elem_attr(d, "from") != NULL &&
		    mk_str_eqz(domain, mk_elem_attr(d, "from")))
			return;
	s = mk_stanza_edit(sp);
	d = mk_elem_add(s->root, "delay", "urn:xmpp:delay");
	mk_elem_setf(d, "from", "%.*s", (int)domain.n, domain.p);
	mk_time_format(stamp, s->time_ms);
	mk_elem_set(d, "stamp", stamp);
	mk_stanza_seal(s);
}

void mk_redeliver(struct mk_stanza *s, const struct mk_jid *to)
{
	struct mk_parcel *p = mk_parcel_new(MK_PARCEL_REDELIVER);

	p->stanza = mk_stanza_ref(s);
	if (s->match == MK_M_MESSAGE)
		delay(&p->stanza, to);
	p->to = mk_jid_ref(to);
	mk_parcel_send(p, mk_home_of(to));
}

static void recover_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_parcel *p = e->arg;

	(void)v;
	p->stanza = e->ev.stanza;
	mk_redeliver(p->stanza, e->ev.to);
	mk_parcel_free(p);
}

static void recover(struct mk_parcel *p, struct mk_entity *e)
{
	struct mk_domain *d = mk_domain_of(p->to);
	struct mk_stanza *s = p->stanza;
	struct mk_event ev = {
		.ev = { .stanza = s, .entity = e, .from = s->from,
			.to = s->to != NULL ? s->to : p->to, .match = s->match },
		.hook = 11, .then = recover_then, .arg = p };

	p->stanza = NULL;
	if (d != NULL)
		mk_event_run(&ev, mk_dispatch(d->type));
	else
		recover_then(&ev, MK_NEXT);
}

void mk_recover(struct mk_stanza *s)
{
	/* Clients' have a full 'from'; without 'to' they are to the account. */
	bool is_clients = s->from != NULL && s->from->local_n != 0 && !mk_jid_is_bare(s->from) &&
		mk_domain_of(s->from) != NULL;
	struct mk_parcel *p;

	if (!is_clients) {
		if (s->to != NULL)
			mk_redeliver(s, s->to);
		return;
	}
	p = mk_parcel_new(MK_PARCEL_RECOVER);
	p->stanza = mk_stanza_ref(s);
	p->to = mk_jid_to_bare(s->from);
	mk_parcel_send(p, mk_home_of(p->to));
}

bool mk_ev_is_redelivery(const struct mk_ev_stanza *ev)
{
	const struct mk_event *e = MK_CONTAINER(ev, const struct mk_event, ev);

	return e->hook == 2 && ((const struct mk_parcel *)e->arg)->kind == MK_PARCEL_REDELIVER &&
	       !(ev->stanza->flags & MK_STANZA_REPLAYED);
}

/* ---- delivery ------------------------------------------------------------------------ */

static struct mk_session *full_match(const struct mk_jid *to)
{
	struct mk_entity *e = mk_jid_is_bare(to) ? NULL : mk_entity_find(to);

	return e != NULL ? mk_entity_session(e, mk_jid_resource(to)) : NULL;
}

static void failed_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_parcel *p = e->arg;

	p->stanza = e->ev.stanza;
	if (v == MK_FAIL)
		bounce_from(p->stanza, p->to,
			e->ev.error != 0 ? e->ev.error : MK_ERR_SERVICE_UNAVAILABLE, e->ev.error_text);
	else if (v == MK_NEXT && !e->taken)
		bounce_from(p->stanza, p->to, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	mk_parcel_free(p);
}

/* Nobody took p's stanza: stanza_failed, then a bounce. */
static void failed(struct mk_parcel *p, struct mk_domain *d)
{
	struct mk_stanza *s = p->stanza;
	struct mk_event ev = {
		.ev = { .stanza = s, .entity = mk_entity_find(p->to), .from = s->from,
			.to = p->to, .match = s->match },
		.hook = 4, .then = failed_then, .arg = p };

	p->stanza = NULL;
	mk_event_run(&ev, mk_dispatch(d->type));
}

static void deliver_iq(struct mk_parcel *p, struct mk_domain *d)
{
	struct mk_stanza *s = p->stanza;
	bool is_request = s->type == MK_TYPE_GET || s->type == MK_TYPE_SET;
	struct mk_session *ses = full_match(p->to);

	if (ses != NULL && mk_session_is_open(ses)) {
		mk_session_deliver(ses, s, p->to);
	} else if (!is_request) {
		mk_iq_answered(s);
	} else if (mk_jid_is_bare(p->to)) {
		p->stanza = NULL;
		mk_iq_dispatch(&s, p->to, p->to->local_n != 0 ? MK_IQ_ACCOUNT : MK_IQ_HOST,
			NULL, d->type);
	} else {
		failed(p, d);
		return;
	}
	mk_parcel_free(p);
}

static void deliver_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_parcel *p = e->arg;
	struct mk_domain *d = mk_domain_of(p->to);
	struct mk_session *ses;
	bool taken = e->taken;

	p->stanza = e->ev.stanza;
	if (v == MK_FAIL)
		bounce_from(p->stanza, p->to,
			e->ev.error != 0 ? e->ev.error : MK_ERR_SERVICE_UNAVAILABLE, e->ev.error_text);
	if (v != MK_NEXT || taken || d == NULL) {
		mk_parcel_free(p);
		return;
	}
	if (p->stanza->kind == MK_IQ) {
		deliver_iq(p, d);
		return;
	}
	ses = full_match(p->to);
	if (ses != NULL && mk_session_is_open(ses)) {
		mk_session_deliver(ses, p->stanza, p->to);
		mk_parcel_free(p);
	} else if (p->stanza->match == MK_M_MESSAGE) {
		failed(p, d);
	} else {
		mk_parcel_free(p);     /* presence and errors: silence (6121 8.5)   */
	}
}

/* ---- claimed addresses --------------------------------------------------------------- */

static void claim_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_parcel *p = e->arg;

	p->stanza = e->ev.stanza;
	if (v == MK_FAIL)
		bounce_from(p->stanza, p->to,
			e->ev.error != 0 ? e->ev.error : MK_ERR_SERVICE_UNAVAILABLE, e->ev.error_text);
	else if (v == MK_NEXT && p->stanza->kind != MK_PRESENCE)
		bounce_from(p->stanza, p->to, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	mk_parcel_free(p);
}

static void claim_run(struct mk_parcel *p, const struct mk_claim_at *at, struct mk_entity *e)
{
	struct mk_stanza *s = p->stanza;

	if (s->kind == MK_IQ && (s->type == MK_TYPE_GET || s->type == MK_TYPE_SET)) {
		if (mk_jid_is_bare(p->to) &&
		    mk_iq_dispatch_claim(&p->stanza, p->to, e != NULL ? MK_IQ_ROOM : MK_IQ_SERVICE,
				at->dispatch, at->claim->inst)) {
			mk_parcel_free(p);
			return;
		}
	} else if (s->kind == MK_IQ && mk_iq_answered(s)) {
		mk_parcel_free(p);
		return;
	}
	struct mk_event ev = {
		.ev = { .stanza = s, .entity = e, .from = s->from, .to = p->to, .match = s->match },
		.hook = MK_EVENT_CLAIM, .then = claim_then, .arg = p };
	p->stanza = NULL;
	mk_event_run_one(&ev, at->dispatch, &at->claim->h);
}

static void claim_deliver(struct mk_parcel *p, const struct mk_claim_at *at)
{
	struct mk_entity *e = p->to->local_n != 0 ? mk_entity_get(p->to) : NULL;

	if (e != NULL)
		mk_entity_keep(e);
	claim_run(p, at, e);
	if (e != NULL)
		mk_entity_unkeep(e);
}

void mk_deliver(struct mk_parcel *p)
{
	struct mk_claim_at at;
	struct mk_domain *d = mk_domain_of(p->to);
	struct mk_stanza *s = p->stanza;

	if (d == NULL) {
		if (mk_claim_find(p->to, &at)) {
			claim_deliver(p, &at);
			return;
		}
		bounce_from(s, p->to, MK_ERR_REMOTE_SERVER_NOT_FOUND, NULL);
		mk_parcel_free(p);
		return;
	}
	if (p->to->local_n == 0) {
		if (s->kind == MK_IQ) {
			deliver_iq(p, d);
			return;
		}
		/* A resource of the server's own (RFC 6120 10.5.2). */
		if (s->match == MK_M_MESSAGE)
			bounce_from(s, p->to, MK_ERR_SERVICE_UNAVAILABLE, NULL);
		mk_parcel_free(p);
		return;
	}
	struct mk_event ev = {
		.ev = { .stanza = s, .entity = mk_entity_find(p->to), .from = s->from,
			.to = p->to, .match = s->match },
		.hook = 2, .then = deliver_then, .arg = p };
	p->stanza = NULL;
	mk_event_run(&ev, mk_dispatch(d->type));
}
