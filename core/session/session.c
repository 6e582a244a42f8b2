/*
 * session/session.c - binding, delivery, acknowledgements, the end
 *
 * On the entity's home worker. A session is linked to its entity from bind to
 * close; its memory lives as long as somebody holds a reference.
 */
#include "session/session.h"

#include "base/metric.h"
#include "loop/worker.h"
#include "route/route.h"
#include "session/tables.h"
#include "session/trace.h"
#include "store/journal.h"
#include "store/store.h"
#include "session/commit.h"
#include "base/ban.h"

struct mk_ack_state {
	struct mk_session *session;
	struct mk_task task;
	struct mk_commits commits;     /* durability 'commit'                   */
	int64_t last_pos;              /* journal position of the last stanza   */
	int64_t wait_pos;
	uint32_t wait_count;           /* in_count at wait_pos                  */
	uint32_t durable_count;        /* known to be durable                   */
	uint32_t want;                 /* session_durable is wanted at this count */
};

const struct mk_jid *mk_session_jid(const struct mk_session *s) { return s->jid; }
struct mk_entity *mk_session_entity(const struct mk_session *s) { return s->entity; }
struct mk_stream *mk_session_stream(const struct mk_session *s) { return s->stream; }
struct mk_session *mk_session_next(const struct mk_session *s) { return s->next; }
bool mk_session_is_open(const struct mk_session *s) { return s->flags & MK_SES_OPEN; }
int64_t mk_session_since_ms(const struct mk_session *s) { return s->since_ms; }
bool mk_session_is_available(const struct mk_session *s) { return s->flags & MK_SES_AVAILABLE; }
int mk_session_priority(const struct mk_session *s) { return s->priority; }

void mk_session_set_presence(struct mk_session *s, bool available, int priority)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	s->priority = (int8_t)priority;
	if (available)
		s->flags |= MK_SES_AVAILABLE;
	else
		s->flags &= (uint16_t)~MK_SES_AVAILABLE;
}

struct mk_session *mk_session_ref(struct mk_session *s)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	s->refs++;
	return s;
}

void mk_session_unref(struct mk_session **sp)
{
	struct mk_session *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs != 0)
		return;
	mk_slots_end(&s->slots, MK_SLOT_SESSION);
	if (s->acks != NULL) {
		mk_list_remove(&s->acks->task.node);
		mk_commits_end(&s->acks->commits);
		mk_free(s->acks);
	}
	mk_jid_unref(&s->jid);
	s->magic = 0;
	mk_free(s);
}

static const struct mk_dispatch *dispatch_of(const struct mk_session *s)
{
	return mk_dispatch(s->entity->domain->type);
}

/* ---- bind ---------------------------------------------------------------------- */

static void unlink_session(struct mk_session *s)
{
	struct mk_entity *e = s->entity;

	for (struct mk_session **p = &e->sessions; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			e->sessions_n--;
			mk_tables()->sessions--;
			break;
		}
	s->next = NULL;
}


static void bind_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_session *s = e->ses.session;
	void (*done)(struct mk_stream *, struct mk_session *, int) =
		(void (*)(struct mk_stream *, struct mk_session *, int))e->arg;
	struct mk_stream *st = s->stream;

	(void)v;
	s->flags |= MK_SES_OPEN;
	if (st == NULL || (s->flags & MK_SES_CLOSING)) {
		s->flags &= (uint16_t)~MK_SES_CLOSING;
		mk_session_close(s, MK_CLOSE_LOST, NULL, NULL);
		done(NULL, NULL, -MK_ECLOSED);
		return;
	}
	done(st, s, 0);
}

void mk_session_bind(struct mk_stream *st, const struct mk_transport_ops *t,
	const struct mk_jid *bare, struct mk_str resource,
	void (*done)(struct mk_stream *st, struct mk_session *s, int err))
{
	struct mk_entity *e = mk_entity_get(bare);
	struct mk_jid *full = NULL;
	struct mk_session *s, *old;
	char made[32];
	int err;

	e->kept++;
	err = -MK_ENOENT;
	if (e->domain == NULL || !atomic_load(&e->domain->enabled))
		goto fail;
	if (resource.n == 0) {
		mk_token(made, sizeof made, 16);
		resource = mk_strz(made);
	}
	err = mk_jid_with_resource(e->jid, resource, &full);
	if (err < 0)
		goto fail;
	old = mk_entity_session(e, mk_jid_resource(full));
	if (old != NULL) {
		err = -MK_ECONFLICT;
		if (atomic_load(&e->domain->type->resource_conflict) != 0)
			goto fail;
		mk_session_close(old, MK_CLOSE_REPLACED, "conflict", NULL);
		/* Not closed yet only if its session_open is still running. */
		if (mk_entity_session(e, mk_jid_resource(full)) != NULL)
			goto fail;
	}
	err = -MK_ELIMIT;
	if (e->sessions_n >= atomic_load(&e->domain->type->max_resources))
		goto fail;
	s = mk_alloc(sizeof *s);
	s->magic = MK_SESSION_MAGIC;
	s->refs = 1;
	s->entity = e;
	s->jid = full;
	s->stream = st;
	s->transport = t;
	s->since_ms = mk_wall_ms();
	s->durability = (uint8_t)atomic_load(&e->domain->type->durability);
	s->next = e->sessions;
	e->sessions = s;
	e->sessions_n++;
	mk_tables()->sessions++;
	e->kept--;
	t->carry(st, s);
	struct mk_event ev = { .ses = { s, e, 0 }, .hook = 5, .then = bind_then,
		.arg = (void *)done };
	mk_event_run(&ev, dispatch_of(s));
	return;
fail:
	if (full != NULL)
		mk_jid_unref(&full);
	e->kept--;
	mk_entity_check(e);
	done(st, NULL, err);
}

/* ---- the end ------------------------------------------------------------------- */

static void close_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_session *s = e->ses.session;
	struct mk_entity *entity = s->entity;

	(void)v;
	unlink_session(s);
	mk_slots_end(&s->slots, MK_SLOT_SESSION);
	mk_session_unref(&s);
	if (!e->parked)
		mk_entity_check(entity);
}

void mk_session_close(struct mk_session *s, enum mk_close_reason why,
	const char *condition, const char *text)
{
	struct mk_stream *st = s->stream;

	MK_CHECK(s, MK_SESSION_MAGIC);
	if (s->flags & MK_SES_CLOSING)
		return;
	s->flags |= MK_SES_CLOSING;
	s->stream = NULL;
	if (st != NULL)
		s->transport->close(st, condition, text);
	if (!(s->flags & MK_SES_OPEN))
		return;                /* session_open is running: bind_then sees it */
	s->flags &= (uint16_t)~MK_SES_OPEN;
	struct mk_event ev = { .ses = { s, s->entity, (uint16_t)why }, .hook = 6,
		.then = close_then };
	mk_event_run(&ev, dispatch_of(s));
}

void mk_session_end(struct mk_session *s, const char *condition, const char *text)
{
	mk_session_close(s, MK_CLOSE_KICKED, condition, text);
}

static void lost_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_session *s = e->ses.session;

	if (v == MK_DONE)
		s->keeper = e->h[e->i - 1].inst;
	else
		mk_session_close(s, (enum mk_close_reason)e->ses.reason, NULL, NULL);
}

static bool drop_kept(struct mk_session *s, void *arg)
{
	if (s->keeper == arg && s->stream == NULL)
		mk_session_close(s, MK_CLOSE_LOST, NULL, NULL);
	return true;
}

void mk_sessions_drop(struct mk_inst *i)
{
	if (mk_tables() != NULL)
		mk_sessions_each(mk_self, drop_kept, i);
}

void mk_session_stream_gone(struct mk_session *s, enum mk_close_reason why)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	s->stream = NULL;
	if ((s->flags & MK_SES_CLOSING) || !(s->flags & MK_SES_OPEN)) {
		s->flags |= MK_SES_CLOSING;
		return;
	}
	if (why == MK_CLOSE_BY_CLIENT) {
		mk_session_close(s, why, NULL, NULL);
		return;
	}
	struct mk_event ev = { .ses = { s, s->entity, (uint16_t)why }, .hook = 7,
		.then = lost_then };
	mk_event_run(&ev, dispatch_of(s));
}

/* ---- out ------------------------------------------------------------------------ */

static void out_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_session *s = e->ev.session;

	if (v == MK_NEXT && s->stream != NULL)
		s->transport->send(s->stream, e->ev.stanza, e->ev.to);
	mk_stanza_unref(&e->ev.stanza);
}

void mk_session_deliver(struct mk_session *s, struct mk_stanza *st, const struct mk_jid *to)
{
	const struct mk_dispatch *d = dispatch_of(s);
	unsigned bit;

	MK_CHECK(s, MK_SESSION_MAGIC);
	mk_stanza_seal(st);
	bit = (unsigned)__builtin_ctz(st->match);
	if (to == NULL)
		to = st->to != NULL ? st->to : s->jid;
	if (d->chain[3][bit].n == 0) {
		if (s->stream != NULL)
			s->transport->send(s->stream, st, to);
		return;
	}
	struct mk_event ev = {
		.ev = { .stanza = mk_stanza_ref(st), .session = s, .entity = s->entity,
			.from = st->from, .to = to, .match = st->match },
		.hook = 3, .then = out_then };
	mk_event_run(&ev, d);
}

void mk_session_send(struct mk_session *s, struct mk_stanza *st)
{
	mk_session_deliver(s, st, NULL);
}

uint32_t mk_session_unsent(const struct mk_session *s)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	return s->stream != NULL ? s->transport->unsent(s->stream) : 0;
}

/* ---- acknowledgements ------------------------------------------------------------ */

void mk_session_acks_on(struct mk_session *s)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	if (s->flags & MK_SES_ACKS)
		return;
	s->flags |= MK_SES_ACKS;
	s->in_count = 0;
	s->in_skip = s->in_pending;
	s->in_early = 0;
	s->acks = mk_alloc(sizeof *s->acks);
	s->acks->session = s;
	s->acks->commits.session = s;
}

uint32_t mk_session_in_count(const struct mk_session *s) { return s->in_count; }

uint32_t mk_session_in_pending(const struct mk_session *s)
{
	return s->in_pending - s->in_skip + s->in_early;
}

/* Sequence numbers wrap (XEP-0198 4). */
static bool reached(uint32_t have, uint32_t want) { return (int32_t)(have - want) >= 0; }

uint32_t mk_session_in_durable(const struct mk_session *s)
{
	struct mk_ack_state *a = s->acks;

	if (a == NULL)
		return s->in_count;
	int64_t synced = mk_journal_synced((enum mk_durability)s->durability);
	if (a->last_pos <= synced)
		a->durable_count = s->in_count;
	else if (a->wait_pos != 0 && a->wait_pos <= synced && reached(a->wait_count, a->durable_count))
		a->durable_count = a->wait_count;      /* never back: it is an old wait */
	return mk_commits_reached(&a->commits, a->durable_count);
}

static void durable_then(struct mk_event *e, enum mk_verdict v)
{
	(void)e;
	(void)v;
}

static void durable_now(struct mk_task *t)
{
	struct mk_ack_state *a = MK_CONTAINER(t, struct mk_ack_state, task);
	struct mk_session *s = a->session;

	s->flags &= (uint16_t)~MK_SES_WAITING;
	if (s->flags & MK_SES_WANT_DURABLE)
		mk_session_want_durable(s, a->want);
	mk_session_unref(&s);
}

void mk_session_want_durable(struct mk_session *s, uint32_t count)
{
	struct mk_ack_state *a = s->acks;

	if (a == NULL || !(s->flags & MK_SES_OPEN))
		return;
	if (reached(mk_session_in_durable(s), count)) {
		s->flags &= (uint16_t)~MK_SES_WANT_DURABLE;
		struct mk_event ev = { .ses = { s, s->entity, 0 }, .hook = 9,
			.then = durable_then };
		mk_event_run(&ev, dispatch_of(s));
		return;
	}
	a->want = count;
	s->flags |= MK_SES_WANT_DURABLE;
	mk_commits_wait(&a->commits);
	/* What is not handled yet has no position to wait for: in_then() looks
	 * again. */
	if ((s->flags & MK_SES_WAITING) || a->durable_count == s->in_count)
		return;
	s->flags |= MK_SES_WAITING;
	a->wait_pos = a->last_pos;
	a->wait_count = s->in_count;
	a->task.run = durable_now;
	mk_session_ref(s);
	mk_journal_wait(a->wait_pos, &a->task);
}

void mk_stanza_keep(struct mk_stanza *s)
{
	mk_stanza_seal(s);
	if ((s->flags & MK_STANZA_STORABLE) && mk_journal_is_open() && !mk_stanza_is_kept(s))
		mk_journal_write(s);
}

/* ---- in ------------------------------------------------------------------------- */

/* Where a stanza that no handler took goes next. Takes *s. */
static void in_route(struct mk_session *ses, struct mk_stanza **s, const struct mk_jid *to)
{
	struct mk_stanza *st = *s;
	struct mk_entity *e = ses->entity;
	bool to_self = st->to == NULL || (mk_jid_is_bare(to) && mk_jid_bare_eq(to, e->jid));
	bool to_host = !to_self && to->local_n == 0 && mk_jid_is_bare(to) &&
	               mk_domain_of(to) != NULL;

	if (st->kind == MK_IQ && (to_self || to_host)) {
		if (st->type == MK_TYPE_GET || st->type == MK_TYPE_SET)
			mk_iq_dispatch(s, to_self ? e->jid : to,
				to_host ? MK_IQ_HOST : MK_IQ_ACCOUNT, ses, e->domain->type);
		else
			mk_iq_answered(st);
	} else if (to_host) {
		/* The server itself has no use for messages and presence. */
		if (st->match == MK_M_MESSAGE)
			mk_bounce(st, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	} else {
		mk_route(s, to);
		return;
	}
	if (*s != NULL)
		mk_stanza_unref(s);
}

static void in_handled(struct mk_session *ses)
{
	ses->in_pending--;
	if (ses->in_skip > 0)
		ses->in_skip--;
	else
		ses->in_count++;
	if (ses->in_pending == 0) {
		ses->in_count += ses->in_early;
		ses->in_early = 0;
	}
	if (ses->flags & MK_SES_WANT_DURABLE)
		mk_session_want_durable(ses, ses->acks->want);
}

/* Counted before those that came earlier, it would acknowledge them. */
void mk_session_in_answered(struct mk_session *ses)
{
	if (ses->in_pending > 0)
		ses->in_early++;
	else
		ses->in_count++;
}

static void in_then(struct mk_event *e, enum mk_verdict v)
{
	struct mk_session *ses = e->ev.session;
	struct mk_stanza *s = e->ev.stanza;

	if (v == MK_NEXT) {
		mk_stanza_seal(s);
		if ((ses->flags & MK_SES_ACKS) && (s->flags & MK_STANZA_STORABLE)) {
			int64_t pos = mk_journal_is_open() ? mk_journal_write(s) : 0;
			if (pos > 0) {
				ses->acks->last_pos = pos;
			} else if (pos < 0) {
				/* What can't be kept must not be acknowledged as taken:
				 * the sender hears of it. */
				mk_bounce(s, MK_ERR_RESOURCE_CONSTRAINT, NULL);
				mk_stanza_unref(&s);
			}
		}
		if (s != NULL && MK_UNLIKELY(s->is_awaited) && ses->in_skip == 0) {
			struct mk_stanza *original = mk_stanza_ref(mk_stanza_ticket(s));
			mk_commits_add(&ses->acks->commits, ses->in_count + 1, original);
			in_route(ses, &s, e->ev.to);
			mk_stanza_ticket_done(original);
			mk_stanza_unref(&original);
		} else if (s != NULL) {
			in_route(ses, &s, e->ev.to);
		}
	} else {
		if (v == MK_FAIL)
			mk_bounce(s, e->ev.error != 0 ? e->ev.error : MK_ERR_NOT_ALLOWED,
				e->ev.error_text);
		mk_stanza_unref(&s);
	}
	in_handled(ses);
}

void mk_session_again(struct mk_session *s)
{
	if (s->flags & MK_SES_WANT_DURABLE)
		mk_session_want_durable(s, s->acks->want);
}

void mk_session_in_now(struct mk_session *ses, struct mk_stanza *s)
{
	struct mk_event ev = {
		.ev = { .stanza = s, .session = ses, .entity = ses->entity, .from = ses->jid,
			.to = s->to != NULL ? s->to : ses->entity->jid, .match = s->match },
		.hook = 1, .then = in_then };

	/* What handlers append counts from the first row on. */
	if (MK_UNLIKELY(ses->durability == MK_DURABLE_COMMIT) && (ses->flags & MK_SES_ACKS))
		s->is_awaited = true;
	mk_event_run(&ev, dispatch_of(ses));
}

bool mk_session_in(struct mk_session *ses, struct mk_stanza *s)
{
	struct mk_entity *e = ses->entity;
	bool go_on;

	/* A handler may end the session, and with it the entity. */
	mk_session_ref(ses);
	e->kept++;
	ses->in_pending++;
	if (MK_LIKELY(e->held == 0)) {
		mk_session_in_now(ses, s);
	} else {
		struct mk_parcel *p = mk_parcel_new(MK_PARCEL_IN);
		p->stanza = s;
		p->session = mk_session_ref(ses);
		p->to = mk_jid_ref(e->jid);
		mk_entity_queue(e, p);
	}
	go_on = e->queue_n < MK_QUEUE_MAX && !mk_append_full();
	mk_entity_unkeep(e);
	mk_session_unref(&ses);
	return go_on;
}
