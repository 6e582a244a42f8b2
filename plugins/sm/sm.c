/*
 * sm - stream management: acknowledgements and resumption (XEP-0198)
 *
 * A session that enabled it has a slot: a queue of what was sent and is not
 * acknowledged, and the secret by which its client comes back. Everything runs
 * on the session's worker and nothing waits. A session whose stream broke stays,
 * without one, until its timer ends it; what its queue holds then goes back to
 * routing.
 *
 * What the other side may take as handled: h in <a/> and <resumed/> is what
 * is as durable as the host type demands, never more.
 */
#include "queue.h"

#define NS_SM     "urn:xmpp:sm:3"
#define NS_ERRORS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define NS_DELAY  "urn:xmpp:delay"

/* Resending goes on when so much is acknowledged: a queue may be longer than
 * what a connection takes at once. */
#define WINDOW       100
#define WINDOW_BYTES (128 << 10)
#define GONE_MAX     1024              /* ended sessions kept in mind, per worker */

struct sm_conf {
	int64_t resume_timeout, request_delay, ack_timeout, remember;
	int64_t request_every, max_unacked, max_unacked_bytes;
};
static const struct mk_conf_item items[] = {
	MK_CONF_MS(struct sm_conf, resume_timeout, "5m", "0|1s..1d",
		"How long a session waits for its client after its connection broke; a client "
		"may ask for less. 0: sessions can't be resumed."),
	MK_CONF_I(struct sm_conf, request_every, "10", "1..1000",
		"Stanzas after which the client is asked to acknowledge."),
	MK_CONF_MS(struct sm_conf, request_delay, "250ms", "0..1m",
		"How long after a stanza the client is asked, if fewer followed."),
	MK_CONF_MS(struct sm_conf, ack_timeout, "1m", "1s..1h",
		"A connection on which nothing comes in for so long after a question counts as lost."),
	MK_CONF_I(struct sm_conf, max_unacked, "5000", "10..1000000",
		"Unacknowledged stanzas with which a session ends; they go to offline storage."),
	MK_CONF_BYTES(struct sm_conf, max_unacked_bytes, "16MB", "64KB..",
		"Memory of unacknowledged stanzas with which a session ends."),
	MK_CONF_MS(struct sm_conf, remember, "1h", "0..7d",
		"How long a client that comes too late is still told what had been handled."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct sm_conf, items);

enum { ENABLED, DETACHED_NOW, RESUMED, RESUME_FAILED, EXPIRED, RESENT, REDELIVERED, OVERFLOWN,
	TIMED_OUT };
#define METRIC(id, kind, name, help) static const struct mk_metric id = \
	{ sizeof(struct mk_metric), kind, name, help }
METRIC(m_enabled, MK_COUNTER, "enabled_total", "Sessions that enabled stream management.");
METRIC(m_detached, MK_GAUGE, "detached", "Sessions that wait for their client to come back.");
METRIC(m_resumed, MK_COUNTER, "resumed_total", "Sessions resumed.");
METRIC(m_failed, MK_COUNTER, "resume_failed_total", "Resumptions refused.");
METRIC(m_expired, MK_COUNTER, "expired_total", "Sessions whose client did not come back in time.");
METRIC(m_resent, MK_COUNTER, "resent_total", "Stanzas sent again after a resumption.");
METRIC(m_redelivered, MK_COUNTER, "redelivered_total",
	"Unacknowledged stanzas of ended sessions that went back to routing.");
METRIC(m_overflown, MK_COUNTER, "overflown_total",
	"Sessions ended because of too much that was unacknowledged.");
METRIC(m_timed_out, MK_COUNTER, "ack_timeouts_total",
	"Connections given up because nothing came after a question.");
static const struct mk_metric *const metrics[] = { &m_enabled, &m_detached, &m_resumed, &m_failed,
	&m_expired, &m_resent, &m_redelivered, &m_overflown, &m_timed_out, NULL };

#define ID_SIZE 32
enum {
	RESUMABLE = 1,
	DETACHED = 2,                  /* waits for its client                  */
	DOOMED = 4,                    /* about to end: not to be kept          */
	OVER = 8,                      /* session_close ran                     */
};
/* Of <resumed/>: not due, waits for in_durable, said. */
enum { NOT_RESUMING, WAITS, SAID };
struct sm {
	struct mk_inst *inst;
	struct sm_queue out;
	char id[ID_SIZE];              /* zeros behind it                       */
	uint8_t flags, resuming;
	bool owes_ack;                 /* <a/> with answer_h, once durable      */
	uint32_t answer_h, resumed_h;
	uint32_t requested;            /* out.sent at the last <r/>             */
	mk_usec asked_at;              /* <r/> without an answer; 0 = none      */
	int64_t max_ms;                /* the client's; 0 = none                */
	struct mk_elem *reply;         /* <success/>, while resuming is WAITS   */
	struct mk_timer *timer;        /* to ask; to give up; to end            */
};
static uint32_t sm_slot, gone_slot;

static struct sm *sm_of(const struct mk_session *s)
{
	return s != NULL ? mk_session_slot_peek(s, sm_slot) : NULL;
}

static uint32_t in_taken(const struct mk_session *s)
{
	return mk_session_in_count(s) + mk_session_in_pending(s);
}

/* ---- sessions that are gone ---------------------------------------------------------- */

struct gone_one { char id[ID_SIZE]; struct mk_jid *bare; uint32_t h; mk_usec until; };
struct gone { struct gone_one *one; uint32_t next; };

static void gone_fini(void *data)
{
	struct gone *g = data;

	for (uint32_t n = 0; g->one != NULL && n < GONE_MAX; n++)
		if (g->one[n].bare != NULL)
			mk_jid_unref(&g->one[n].bare);
	mk_free(g->one);
}

static void gone_add(const struct sm *sm, const struct mk_session *s, int64_t remember_ms)
{
	struct gone *g = mk_worker_slot(gone_slot);
	struct gone_one *o;

	if (g->one == NULL)
		g->one = mk_alloc(GONE_MAX * sizeof *g->one);
	o = &g->one[g->next++ % GONE_MAX];
	if (o->bare != NULL)
		mk_jid_unref(&o->bare);
	memcpy(o->id, sm->id, ID_SIZE);
	o->bare = mk_jid_ref(mk_entity_jid(mk_session_entity(s)));
	o->h = mk_session_in_durable(s);
	o->until = mk_now_usec() + remember_ms * 1000;
}

static const struct gone_one *gone_find(const char id[ID_SIZE], const struct mk_jid *bare)
{
	const struct gone *g = mk_worker_slot(gone_slot);
	mk_usec now = mk_now_usec();

	for (uint32_t n = 0; g->one != NULL && n < GONE_MAX; n++)
		if (g->one[n].bare != NULL && g->one[n].until > now &&
		    mk_equal_ct(g->one[n].id, id, ID_SIZE) && mk_jid_bare_eq(g->one[n].bare, bare))
			return &g->one[n];
	return NULL;
}

/* ---- what is said ------------------------------------------------------------------ */

static void say(struct mk_stream *st, const char *name, uint32_t h, bool with_h)
{
	struct mk_elem *e = mk_elem_new(mk_turn_arena(), name, NS_SM);

	if (with_h)
		mk_elem_setf(e, "h", "%u", h);
	mk_stream_write(st, e);
}

/* <failed/>, into reply or, if that is NULL, to the stream. */
static void fail(struct mk_stream *st, struct mk_elem *reply, const char *condition,
	const struct gone_one *gone)
{
	struct mk_elem *e = reply != NULL ? mk_elem_add(reply, "failed", NS_SM)
	                                  : mk_elem_new(mk_turn_arena(), "failed", NS_SM);

	if (gone != NULL)
		mk_elem_setf(e, "h", "%u", gone->h);
	mk_elem_add(e, condition, NS_ERRORS);
	if (reply == NULL)
		mk_stream_write(st, e);
}

/* XEP-0198 6: who acknowledges what was never sent has lost count. */
static void fail_h(struct mk_stream *st, uint32_t h, uint32_t sent)
{
	struct mk_elem *e = mk_elem_new(mk_turn_arena(), "handled-count-too-high", NS_SM);

	mk_elem_setf(e, "h", "%u", h);
	mk_elem_setf(e, "send-count", "%u", sent);
	mk_stream_fail_with(st, "undefined-condition", e, mk_arena_printf(mk_turn_arena(),
		"You acknowledged %u stanzas, but I only sent you %u so far.", h, sent));
}

static bool parse_h(const struct mk_elem *e, uint32_t *h_out)
{
	const char *text = mk_elem_attr(e, "h");
	int64_t h;

	if (text == NULL || mk_parse_int(mk_strz(text), 0, UINT32_MAX, &h) < 0)
		return false;
	*h_out = (uint32_t)h;
	return true;
}

static bool is_true(const char *boolean)
{
	return mk_streq(boolean, "true") || mk_streq(boolean, "1");
}

/* ---- asking for acknowledgements --------------------------------------------------------- */

static void on_timer(struct mk_inst *i, void *session);

static void timer(struct sm *sm, struct mk_session *s, int64_t delay_ms)
{
	mk_timer_stop(&sm->timer);
	sm->timer = mk_timer_start(sm->inst, delay_ms, on_timer, s);
}

static void ask(struct sm *sm, struct mk_session *s)
{
	const struct sm_conf *c = mk_inst_conf(sm->inst);

	say(mk_session_stream(s), "r", 0, false);
	sm->requested = sm->out.sent;
	if (sm->asked_at == 0) {
		sm->asked_at = mk_now_usec();
		timer(sm, s, c->ack_timeout);
	}
}

static void on_timer(struct mk_inst *i, void *session)
{
	struct mk_session *s = session;
	struct mk_stream *st = mk_session_stream(s);
	struct sm *sm = sm_of(s);

	sm->timer = NULL;
	if (!mk_session_is_open(s))
		return;
	if (sm->flags & DETACHED) {
		mk_metric_add(i, EXPIRED, 1);
		mk_session_end(s, NULL, NULL);
	} else if (st != NULL && sm->resuming == NOT_RESUMING && sm_queue_n(&sm->out) != 0) {
		/* Busy with something long, it may be late: it lives as long as it
		 * says anything. */
		if (sm->asked_at != 0 && mk_session_active_usec(s) <= sm->asked_at) {
			mk_metric_add(i, TIMED_OUT, 1);
			mk_stream_fail(st, "connection-timeout", "no acknowledgement came");
			return;
		}
		sm->asked_at = 0;
		ask(sm, s);
	}
}

/* ---- out ------------------------------------------------------------------------------ */

static void end_full(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	struct mk_session *s = data;

	(void)e;
	(void)bare;
	if (mk_session_is_open(s)) {
		mk_metric_add(i, OVERFLOWN, 1);
		mk_log(i, MK_INFO, "session has too much unacknowledged", "user=%s",
			mk_jid_full(mk_session_jid(s)));
		mk_session_end(s, "resource-constraint", "too many unacknowledged stanzas");
	}
	mk_session_unref(&s);
}

static void end_full_drop(void *data)
{
	struct mk_session *s = data;
	mk_session_unref(&s);
}

/*
 * Another session that certainly gets a message to the bare JID, too, and
 * promises to keep it: by the rules of RFC 6121 8.5.2 whoever is available with
 * at least our priority does. So it need not be sent to the account again if
 * only one of them ends.
 */
static struct mk_session *other_of(const struct mk_ev_stanza *ev)
{
	struct mk_session *o;

	if (ev->match != MK_M_MESSAGE || !mk_jid_is_bare(ev->to) ||
	    mk_session_priority(ev->session) < 0)
		return NULL;
	for (o = mk_entity_sessions(ev->entity); o != NULL; o = mk_session_next(o)) {
		const struct sm *sm = o != ev->session ? sm_of(o) : NULL;
		if (sm != NULL && !(sm->flags & OVER) && mk_session_is_open(o) &&
		    mk_session_is_available(o) &&
		    mk_session_priority(o) >= mk_session_priority(ev->session))
			return o;
	}
	return NULL;
}

static void redeliver(struct sm *sm, struct mk_session *s, const struct sm_out *o);

static enum mk_verdict on_out(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct mk_session *s = ev->session;
	struct sm *sm = sm_of(s);
	const struct sm_conf *c;
	struct mk_stream *st;
	bool is_next;

	if (sm == NULL)
		return MK_NEXT;
	if (sm->flags & OVER) {
		redeliver(sm, s, &(struct sm_out){ .stanza = ev->stanza, .to = (struct mk_jid *)ev->to });
		return MK_DONE;
	}
	c = mk_inst_conf(i);
	st = mk_session_stream(s);
	is_next = st != NULL && sm->resuming == NOT_RESUMING && sm->out.sent == sm->out.total;
	/* It can't be asked for after this one: that is not written yet. */
	if (is_next && sm->out.sent - sm->requested >= (uint32_t)c->request_every)
		ask(sm, s);
	if (sm->flags & RESUMABLE)
		mk_stanza_keep(ev->stanza);
	sm_queue_push(&sm->out, ev->stanza, ev->to, other_of(ev));
	if (!(sm->flags & DOOMED) && (sm_queue_n(&sm->out) > (uint32_t)c->max_unacked ||
	    sm->out.bytes > (size_t)c->max_unacked_bytes)) {
		/* Whoever delivers may be in the middle of a list of sessions. */
		sm->flags |= DOOMED;
		mk_entity_post(i, mk_entity_jid(ev->entity), end_full, mk_session_ref(s),
			end_full_drop);
	}
	if (!is_next)
		return MK_DONE;        /* its turn comes: resend()                  */
	sm->out.sent++;
	if (sm->timer == NULL)
		timer(sm, s, c->request_delay);
	return MK_NEXT;
}

static bool has_delay(const struct mk_elem *e, struct mk_str domain)
{
	for (const struct mk_elem *d = mk_elem_first(e); d != NULL; d = mk_elem_next(d))
		if (mk_elem_is(d, "delay", NS_DELAY) && mk_elem_attr(d, "from") != NULL &&
		    mk_str_eqz(domain, mk_elem_attr(d, "from")))
			return true;
	return false;
}

/* As it would have been written, with the time it should have come at. */
static void write_late(struct mk_stream *st, const struct sm_out *o)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e = mk_elem_copy(a, mk_stanza_elem(o->stanza));
	struct mk_str domain = mk_jid_domain(o->to);
	enum mk_stanza_kind kind = mk_stanza_kind(o->stanza);
	enum mk_stanza_type type = mk_stanza_type(o->stanza);

	mk_elem_set(e, "to", mk_jid_full(o->to));
	if (((kind == MK_MESSAGE && type != MK_TYPE_ERROR) ||
	     (kind == MK_PRESENCE && type == MK_TYPE_NONE)) && !has_delay(e, domain)) {
		struct mk_elem *d = mk_elem_add(e, "delay", NS_DELAY);
		char stamp[32];
		mk_time_format(stamp, mk_stanza_time(o->stanza));
		mk_elem_setf(d, "from", "%.*s", (int)domain.n, domain.p);
		mk_elem_set(d, "stamp", stamp);
	}
	mk_stream_write(st, e);
	mk_arena_free(&a);
}

/* Sends what waits behind what was sent, as far as the window goes. */
static void resend(struct sm *sm, struct mk_session *s)
{
	struct mk_stream *st = mk_session_stream(s);
	size_t bytes = 0;
	int64_t n = 0;

	while (st != NULL && sm->out.sent != sm->out.total && bytes < WINDOW_BYTES &&
	       sm->out.sent - sm->out.acked < WINDOW) {
		const struct sm_out *o = sm_queue_at(&sm->out, sm->out.sent + 1);
		bytes += o->bytes;
		sm->out.sent++;
		n++;
		write_late(st, o);
	}
	if (n == 0)
		return;
	mk_metric_add(sm->inst, RESENT, n);
	ask(sm, s);
}

/* ---- enable --------------------------------------------------------------------------- */

static void enable(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e,
	struct mk_elem *reply)
{
	const struct sm_conf *c = mk_inst_conf(i);
	struct mk_session *s = mk_stream_session(st);
	const char *max = mk_elem_attr(e, "max");
	int64_t seconds = 0;
	struct mk_elem *answer;
	struct sm *sm;

	/* Before a resource is bound, or a second time (3). */
	if (s == NULL || sm_of(s) != NULL) {
		fail(st, reply, "unexpected-request", NULL);
		return;
	}
	sm = mk_session_slot(s, sm_slot);
	sm->inst = i;
	mk_session_acks_on(s);
	mk_metric_add(i, ENABLED, 1);
	answer = reply != NULL ? mk_elem_add(reply, "enabled", NS_SM)
	                       : mk_elem_new(mk_turn_arena(), "enabled", NS_SM);
	if (max != NULL && mk_parse_int(mk_strz(max), 0, UINT32_MAX, &seconds) == 0 && seconds > 0)
		sm->max_ms = seconds * 1000;
	if (is_true(mk_elem_attr(e, "resume")) && c->resume_timeout != 0) {
		int64_t ms = c->resume_timeout;
		if (sm->max_ms != 0 && sm->max_ms < ms)
			ms = sm->max_ms;
		sm->flags |= RESUMABLE;
		mk_token(sm->id, sizeof sm->id, 16);
		mk_elem_set(answer, "id", sm->id);
		mk_elem_set(answer, "resume", "true");
		mk_elem_setf(answer, "max", "%lld", (long long)(ms / 1000));
	}
	if (reply == NULL)
		mk_stream_write(st, answer);
}

static void on_enable(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	enable(i, st, e, NULL);
}

/* ---- acknowledgements ------------------------------------------------------------------- */

static void on_r(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	struct mk_session *s = mk_stream_session(st);
	struct sm *sm = sm_of(s);

	(void)i;
	(void)e;
	if (sm == NULL) {
		fail(st, NULL, "unexpected-request", NULL);
		return;
	}
	if (sm->resuming == WAITS)
		return;                /* <resumed/> is on its way and says more     */
	/* At once what can be promised now (4: not to be withheld) ... */
	say(st, "a", mk_session_in_durable(s), true);
	sm->answer_h = in_taken(s);
	/* ... and the rest when it can. */
	if (sm->answer_h != mk_session_in_durable(s) && !sm->owes_ack) {
		sm->owes_ack = true;
		mk_session_want_durable(s, sm->answer_h);
	}
}

static void on_a(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	const struct sm_conf *c = mk_inst_conf(i);
	struct mk_session *s = mk_stream_session(st);
	struct sm *sm = sm_of(s);
	uint32_t h;

	if (sm == NULL || sm->resuming == WAITS) {
		fail(st, NULL, "unexpected-request", NULL);
		return;
	}
	if (!parse_h(e, &h)) {
		fail(st, NULL, "bad-request", NULL);
		return;
	}
	if (sm_queue_ack(&sm->out, h) < 0) {
		/* Nobody knows what it has: what is queued goes elsewhere. */
		sm->flags |= DOOMED;
		fail_h(st, h, sm->out.sent);
		return;
	}
	sm->asked_at = 0;
	mk_timer_stop(&sm->timer);
	if (sm_queue_n(&sm->out) == 0)
		return;
	resend(sm, s);
	if (sm->timer == NULL)
		timer(sm, s, sm->out.sent != sm->requested ? c->request_delay : c->ack_timeout);
}

/* ---- resume ---------------------------------------------------------------------------- */

static struct mk_session *find(const struct mk_jid *bare, const char id[ID_SIZE])
{
	struct mk_entity *e = mk_entity_find(bare);
	struct mk_session *s;

	for (s = e != NULL ? mk_entity_sessions(e) : NULL; s != NULL; s = mk_session_next(s)) {
		const struct sm *sm = sm_of(s);
		if (sm != NULL && (sm->flags & (RESUMABLE | DOOMED | OVER)) == RESUMABLE &&
		    mk_session_is_open(s) && mk_equal_ct(sm->id, id, ID_SIZE))
			return s;
	}
	return NULL;
}

static void say_resumed(struct sm *sm, struct mk_stream *st, struct mk_elem *reply)
{
	struct mk_elem *e = reply != NULL ? mk_elem_add(reply, "resumed", NS_SM)
	                                  : mk_elem_new(mk_turn_arena(), "resumed", NS_SM);

	mk_elem_set(e, "previd", sm->id);
	mk_elem_setf(e, "h", "%u", sm->resumed_h);
	if (reply == NULL)
		mk_stream_write(st, e);
	sm->resuming = SAID;
}

static void go_on(struct sm *sm, struct mk_session *s)
{
	const struct sm_conf *c = mk_inst_conf(sm->inst);

	sm->resuming = NOT_RESUMING;
	resend(sm, s);
	if (sm->timer == NULL && sm_queue_n(&sm->out) != 0)
		timer(sm, s, c->request_delay);
}

static void resume(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e,
	struct mk_elem *reply)
{
	const struct sm_conf *c = mk_inst_conf(i);
	const struct mk_jid *bare = mk_stream_jid(st);
	const char *previd = mk_elem_attr(e, "previd");
	char id[ID_SIZE] = { 0 };
	struct mk_session *s;
	struct sm *sm;
	uint32_t h;

	if (bare == NULL || mk_stream_session(st) != NULL) {
		fail(st, reply, "unexpected-request", NULL);
		return;
	}
	if (previd == NULL || !parse_h(e, &h)) {
		fail(st, reply, "bad-request", NULL);
		return;
	}
	if (c->resume_timeout == 0) {
		fail(st, reply, "feature-not-implemented", NULL);
		return;
	}
	if (strlen(previd) < ID_SIZE)
		memcpy(id, previd, strlen(previd));
	s = id[0] != '\0' ? find(bare, id) : NULL;
	if (s == NULL) {
		mk_metric_add(i, RESUME_FAILED, 1);
		fail(st, reply, "item-not-found", id[0] != '\0' ? gone_find(id, bare) : NULL);
		return;
	}
	sm = sm_of(s);
	/* The session itself has done nothing wrong: it stays. */
	if (sm_after(h, sm->out.sent)) {
		mk_metric_add(i, RESUME_FAILED, 1);
		fail_h(st, h, sm->out.sent);
		return;
	}
	if (mk_stream_attach(st, s) < 0) {
		mk_metric_add(i, RESUME_FAILED, 1);
		fail(st, reply, "item-not-found", NULL);
		return;
	}
	mk_timer_stop(&sm->timer);
	if (sm->flags & DETACHED)
		mk_metric_add(i, DETACHED_NOW, -1);
	sm->flags &= (uint8_t)~DETACHED;
	mk_metric_add(i, RESUMED, 1);
	sm_queue_ack(&sm->out, h);
	sm->out.sent = sm->requested = sm->out.acked;
	sm->asked_at = 0;
	sm->owes_ack = false;
	/*
	 * What the client must not send again has to be safe first, and what
	 * still waits for a job must be counted here or nowhere: h is all that
	 * came in, said when it is durable.
	 */
	sm->resumed_h = in_taken(s);
	if (!sm_after(sm->resumed_h, mk_session_in_durable(s))) {
		say_resumed(sm, st, reply);    /* go_on(): session_resumed           */
		return;
	}
	sm->resuming = WAITS;
	sm->reply = reply;
	if (reply != NULL)
		mk_inline_wait(st);
	mk_session_want_durable(s, sm->resumed_h);
}

static void on_resume(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	resume(i, st, e, NULL);
}

/* ---- what happens to the session -------------------------------------------------------- */

static void on_durable(struct mk_inst *i, const struct mk_ev_session *ev)
{
	struct mk_session *s = ev->session;
	struct sm *sm = sm_of(s);
	struct mk_stream *st = mk_session_stream(s);

	(void)i;
	if (sm == NULL || st == NULL)
		return;
	if (sm->resuming == WAITS) {
		struct mk_elem *reply = sm->reply;
		if (sm_after(sm->resumed_h, mk_session_in_durable(s))) {
			mk_session_want_durable(s, sm->resumed_h);
			return;
		}
		sm->reply = NULL;
		say_resumed(sm, st, reply);
		if (reply != NULL)
			mk_inline_ready(st);   /* and session_resumed                 */
		else
			go_on(sm, s);
		return;
	}
	if (!sm->owes_ack)
		return;
	say(st, "a", mk_session_in_durable(s), true);
	sm->owes_ack = sm_after(sm->answer_h, mk_session_in_durable(s));
	if (sm->owes_ack)
		mk_session_want_durable(s, sm->answer_h);
}

static void on_resumed(struct mk_inst *i, const struct mk_ev_session *ev)
{
	struct sm *sm = sm_of(ev->session);

	(void)i;
	if (sm != NULL && sm->resuming == SAID)
		go_on(sm, ev->session);
}

static enum mk_verdict on_lost(struct mk_inst *i, struct mk_ev_session *ev)
{
	const struct sm_conf *c = mk_inst_conf(i);
	struct sm *sm = sm_of(ev->session);
	int64_t ms = c->resume_timeout;

	if (sm == NULL)
		return MK_NEXT;
	mk_timer_stop(&sm->timer);
	sm->resuming = NOT_RESUMING;
	sm->reply = NULL;
	sm->owes_ack = false;
	sm->asked_at = 0;
	if ((sm->flags & (RESUMABLE | DOOMED)) != RESUMABLE || ev->reason == MK_CLOSE_SHUTDOWN ||
	    ms == 0)
		return MK_NEXT;
	if (sm->max_ms != 0 && sm->max_ms < ms)
		ms = sm->max_ms;
	sm->flags |= DETACHED;
	mk_metric_add(i, DETACHED_NOW, 1);
	timer(sm, ev->session, ms);
	return MK_DONE;
}

/*
 * XEP-0198 4: as if it had been sent to a resource that is not there. Presence
 * would be news of yesterday, answers have nobody who asked; what the user's
 * own server or a room made for this session alone (copies, pages of an
 * archive, groupchat) is of no use to another.
 */
static void redeliver(struct sm *sm, struct mk_session *s, const struct sm_out *o)
{
	enum mk_stanza_type type = mk_stanza_type(o->stanza);
	const struct mk_jid *from = mk_stanza_from(o->stanza);

	switch (mk_stanza_kind(o->stanza)) {
	case MK_PRESENCE:
		return;
	case MK_IQ:
		if (type != MK_TYPE_GET && type != MK_TYPE_SET)
			return;
		break;
	case MK_MESSAGE:
		if (type == MK_TYPE_ERROR || type == MK_TYPE_GROUPCHAT ||
		    (type == MK_TYPE_HEADLINE && !mk_stanza_storable(o->stanza)))
			return;
		if (from != NULL && mk_jid_is_bare(from) && mk_jid_bare_eq(from, mk_session_jid(s)))
			return;
		/* Somebody else of the same account holds it, and answers for it. */
		if (o->other != NULL && mk_session_is_open(o->other))
			return;
		break;
	}
	mk_metric_add(sm->inst, REDELIVERED, 1);
	mk_redeliver(o->stanza, o->to);
}

static void on_close(struct mk_inst *i, const struct mk_ev_session *ev)
{
	const struct sm_conf *c = mk_inst_conf(i);
	struct mk_session *s = ev->session;
	struct sm *sm = sm_of(s);
	struct sm_out o;

	if (sm == NULL)
		return;
	mk_timer_stop(&sm->timer);
	sm->flags |= OVER;
	if (sm->flags & DETACHED)
		mk_metric_add(i, DETACHED_NOW, -1);
	sm->flags &= (uint8_t)~DETACHED;
	if ((sm->flags & RESUMABLE) && c->remember != 0)
		gone_add(sm, s, c->remember);
	while (sm_queue_pop(&sm->out, &o)) {
		/* At a shutdown the journal hands it out at the next start. */
		if (ev->reason != MK_CLOSE_SHUTDOWN)
			redeliver(sm, s, &o);
		sm_out_free(&o);
	}
}

/* With the session nothing is left here. If it is the plugin that goes, a
 * session without a stream ends next, and what it waited for goes back to
 * routing; one with a stream has been sent all of it. */
static void sm_fini(void *data)
{
	struct sm *sm = data;
	struct sm_out o;

	mk_timer_stop(&sm->timer);
	if (sm->flags & DETACHED)
		mk_metric_add(sm->inst, DETACHED_NOW, -1);
	while (sm_queue_pop(&sm->out, &o)) {
		if ((sm->flags & DETACHED) && mk_stanza_kind(o.stanza) == MK_MESSAGE &&
		    mk_stanza_storable(o.stanza))
			mk_redeliver(o.stanza, o.to);
		sm_out_free(&o);
	}
}

/* ---- features, start --------------------------------------------------------------------- */

static void feature(struct mk_inst *i, struct mk_stream *st, struct mk_elem *features)
{
	(void)i;
	if (sm_of(mk_stream_session(st)) == NULL)
		mk_elem_add(features, "sm", NS_SM);
}

static const struct mk_inline_request inline_resume = { sizeof(struct mk_inline_request),
	MK_INLINE_SASL2, NS_SM, "resume", "sm", resume };
static const struct mk_inline_request inline_enable = { sizeof(struct mk_inline_request),
	MK_INLINE_BIND2, NS_SM, "enable", NULL, enable };

static int load(struct mk_module *m)
{
	const struct mk_slot session = { sizeof session, MK_SLOT_SESSION, sizeof(struct sm), sm_fini };
	const struct mk_slot worker = { sizeof worker, MK_SLOT_WORKER, sizeof(struct gone), gone_fini };
	int r = mk_slot_register(m, &session, &sm_slot);

	return r < 0 ? r : mk_slot_register(m, &worker, &gone_slot);
}

static int start(struct mk_inst *i)
{
	const uint32_t any = MK_STREAM_OPEN | MK_STREAM_AUTHED | MK_STREAM_BOUND;
	int r;

	if ((r = mk_stream_feature(i, MK_STREAM_AUTHED | MK_STREAM_BOUND, feature)) < 0 ||
	    (r = mk_nonza_handle(i, NS_SM, "enable", any, on_enable)) < 0 ||
	    (r = mk_nonza_handle(i, NS_SM, "resume", any, on_resume)) < 0 ||
	    (r = mk_nonza_handle(i, NS_SM, "r", any, on_r)) < 0 ||
	    (r = mk_nonza_handle(i, NS_SM, "a", any, on_a)) < 0 ||
	    (r = mk_inline_handle(i, &inline_resume)) < 0 ||
	    (r = mk_inline_handle(i, &inline_enable)) < 0 ||
	    (r = mk_on_stanza_out(i, MK_PRIO_LAST, MK_M_ALL, on_out)) < 0 ||
	    (r = mk_on_session_durable(i, MK_PRIO_LAST, on_durable)) < 0 ||
	    (r = mk_on_session_resumed(i, MK_PRIO_LAST, on_resumed)) < 0 ||
	    (r = mk_on_session_lost(i, MK_PRIO_LAST, MK_M_ALL, on_lost)) < 0 ||
	    (r = mk_on_session_close(i, MK_PRIO_LAST, on_close)) < 0)
		return r;
	return 0;
}

MK_PLUGIN(sm, "sm", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause",
	.summary = "Stream management: acknowledgements and resumption (XEP-0198).",
	.conf = &schema, .metrics = metrics, .load = load, .start = start)
