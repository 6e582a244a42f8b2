/*
 * stream/stream.c - streams of clients: bytes in, elements handled, bytes out
 *
 * Runs on the stream's worker. Input is scanned where it lies (the worker's
 * read buffer); only an element that is not complete yet is copied aside. What
 * came before login may hold a password, so it is wiped wherever it was. The
 * object is freed when its connection is done and no callback is inside it
 * (busy).
 */
#include "stream/stream.h"

#include "base/metric.h"
#include "loop/worker.h"
#include "net/limit.h"
#include "route/route.h"
#include "session/account.h"
#include "session/tables.h"
#include "store/store.h"
#include "base/ban.h"

static _Thread_local struct mk_parser *parser;
static _Thread_local struct mk_list preauth;   /* oldest first              */
static _Thread_local uint32_t preauth_n;
static _Thread_local struct mk_list loose;     /* authenticated, at home, not bound */
static _Thread_local bool is_ending;           /* mk_streams_close_all ran  */
static _Thread_local struct mk_list closing;
static _Thread_local uint32_t closing_n;
static _Atomic(const struct mk_config_limits *) limits;
static uint32_t metric_open, metric_errors, metric_in;

const struct mk_config_limits *mk_limits(void)
{
	return atomic_load_explicit(&limits, memory_order_acquire);
}

static void account_ends(const struct mk_jid *user)
{
	MK_LIST_EACH(n, &loose) {
		struct mk_stream *st = MK_CONTAINER(n, struct mk_stream, list);
		if (mk_jid_bare_eq(st->jid, user))
			mk_stream_fail(st, "not-authorized", NULL);
	}
}

void mk_limits_set(const struct mk_config_limits *l)
{
	struct mk_config_limits *copy = mk_alloc(sizeof *copy);

	*copy = *l;
	const struct mk_config_limits *old = atomic_exchange(&limits, copy);
	if (old != NULL)
		mk_quiesce(mk_free, (void *)old);
	mk_account_set_hash_rate(l->hash_rate);
	if (metric_open == 0) {                /* before there are workers      */
		mk_account_ends = account_ends;
		metric_open = mk_metric_id("meerkat_streams_open", "Client streams open now.",
			MK_GAUGE, "");
		metric_errors = mk_metric_id("meerkat_stream_errors_total",
			"Streams closed with a stream error.", MK_COUNTER, "");
		metric_in = mk_metric_id("meerkat_stanzas_in_total",
			"Stanzas that came in from clients.", MK_COUNTER, "");
	}
}

void mk_streams_worker_init(struct mk_worker *w)
{
	(void)w;
	mk_list_init(&preauth);
	mk_list_init(&loose);
	mk_list_init(&closing);
	mk_links_worker_init();
	parser = mk_parser_new();
}

void mk_streams_worker_fini(struct mk_worker *w)
{
	(void)w;
	mk_parser_free(&parser);
}

uint32_t mk_streams_preauth(void) { return preauth_n; }
uint32_t mk_streams_lingering(void) { return closing_n + mk_links_lingering(); }

/* ---- accessors of the public interface --------------------------------------------- */

uint32_t mk_stream_state(const struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	if (st->session != NULL)
		return MK_STREAM_BOUND;
	return st->jid != NULL ? MK_STREAM_AUTHED : MK_STREAM_OPEN;
}
bool mk_stream_is_encrypted(const struct mk_stream *st) { return mk_conn_is_secure(st->conn); }
struct mk_str mk_stream_domain(const struct mk_stream *st)
{
	return st->domain != NULL ? mk_jid_domain(st->domain->jid) : MK_STR_NONE;
}
const struct mk_jid *mk_stream_jid(const struct mk_stream *st) { return st->jid; }
struct mk_session *mk_stream_session(const struct mk_stream *st) { return st->session; }
const char *mk_stream_user_agent(const struct mk_stream *st) { return st->user_agent; }
const char *mk_stream_remote(const struct mk_stream *st)
{
	char *text = mk_arena_alloc(&mk_self->turn, INET6_ADDRSTRLEN);
	mk_addr_format(&st->peer, text);
	return text;
}
struct mk_arena *mk_turn_arena(void) { return &mk_self->turn; }
mk_usec mk_session_active_usec(const struct mk_session *s)
{
	return s->stream != NULL ? s->stream->last_in : 0;
}
bool mk_stream_may_plain(const struct mk_stream *st)
{
	return mk_conn_is_secure(st->conn) || st->c2s->plain_without_tls;
}

/* ---- a stream that waits for a job ------------------------------------------------------ */

void mk_stream_hold(struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	mk_assert(st->phase == MK_PHASE_OPEN && !(st->flags & MK_ST_BLOCKED));
	st->busy++;
	mk_stream_block(st);
}

bool mk_stream_is_open(const struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	return st->phase != MK_PHASE_CLOSED;
}

void mk_stream_release(struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	mk_stream_unblock(st);
	mk_stream_leave(st);
}

/* ---- writing -------------------------------------------------------------------------- */

/* One element; with a link, a message. */
static inline void put(struct mk_stream *st, const char *p, size_t n)
{
	if (st->link == NULL)
		mk_conn_send(st->conn, p, n);
	else
		st->link->framing->write(st->link, p, n);
}

/* The default namespace where elements are written: none in a message of its own. */
static inline const char *outer_ns(const struct mk_stream *st)
{
	return st->link == NULL ? MK_NS_CLIENT : "";
}

static inline const char *seed_of(const struct mk_stream *st)
{
	return st->link == NULL ? st->seed : MK_PARSE_BARE;
}

void mk_stream_writez(struct mk_stream *st, const char *xml)
{
	put(st, xml, strlen(xml));
}

static void say_end(struct mk_stream *st)
{
	mk_stream_writez(st, st->link == NULL ? "</stream:stream>"
		: "<close xmlns='" MK_NS_FRAMING "'/>");
}

void mk_stream_write(struct mk_stream *st, const struct mk_elem *e)
{
	struct mk_buf *b = &mk_self->scratch;

	MK_CHECK(st, MK_STREAM_MAGIC);
	if (st->phase == MK_PHASE_CLOSED)
		return;
	mk_buf_clear(b);
	mk_elem_render(b, e, outer_ns(st));
	put(st, b->p, b->n);
}

static void transport_soon(const struct mk_stream *st)
{
	/* With the connection behind it. Asking a link's, which has none there, would
	 * cost what this saves. */
	mk_prefetch(&st->jid, sizeof(struct mk_tcp_stream) - offsetof(struct mk_stream, jid));
}

static void transport_send(struct mk_stream *st, struct mk_stanza *s, const struct mk_jid *to)
{
	struct mk_buf *b = &mk_self->scratch;

	if (st->phase == MK_PHASE_CLOSED)
		return;
	mk_buf_clear(b);
	if (st->link == NULL)
		mk_stanza_render(b, s, to);
	else
		mk_stanza_render_alone(b, s, to);
	put(st, b->p, b->n);
}

static void send_header(struct mk_stream *st)
{
	struct mk_buf *b = &mk_self->scratch;
	char id[40];

	mk_token(id, sizeof id, 16);
	mk_buf_clear(b);
	if (st->link == NULL)
		MK_BUF_LIT(b, "<?xml version='1.0'?><stream:stream xmlns='" MK_NS_CLIENT
			"' xmlns:stream='" MK_NS_STREAM "' version='1.0' xml:lang='en' id='");
	else
		MK_BUF_LIT(b, "<open xmlns='" MK_NS_FRAMING "' version='1.0' xml:lang='en' id='");
	mk_buf_addz(b, id);
	mk_buf_addc(b, '\'');
	if (st->domain != NULL) {
		MK_BUF_LIT(b, " from='");
		mk_escape_attr(b, mk_jid_full(st->domain->jid), st->domain->jid->full_n);
		mk_buf_addc(b, '\'');
	}
	/* RFC 6120 4.7.2: to whom, once we know; before, what it said itself. */
	if (st->jid != NULL || st->from != NULL) {
		const char *to = st->jid != NULL ? mk_jid_full(st->jid) : st->from;
		MK_BUF_LIT(b, " to='");
		mk_escape_attr(b, to, strlen(to));
		mk_buf_addc(b, '\'');
	}
	mk_buf_addz(b, st->link == NULL ? ">" : "/>");
	put(st, b->p, b->n);
	st->flags |= MK_ST_HEADER_SENT;
}

static void open_tag(const struct mk_stream *st, struct mk_buf *b, const char *name)
{
	MK_BUF_LIT(b, "<stream:");
	mk_buf_addz(b, name);
	if (st->link != NULL)
		MK_BUF_LIT(b, " xmlns:stream='" MK_NS_STREAM "'");
	mk_buf_addc(b, '>');
}

void mk_stream_send_features(struct mk_stream *st)
{
	struct mk_elem *f = mk_elem_new(&mk_self->turn, "features", MK_NS_STREAM);
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	bool secure = mk_conn_is_secure(st->conn);
	uint32_t state = mk_stream_state(st);
	bool tls_first = false;

	if (state == MK_STREAM_OPEN && !secure && st->c2s->tls != NULL &&
	    (st->c2s->tls_mode == MK_TLS_STARTTLS || st->c2s->tls_mode == MK_TLS_STARTTLS_REQUIRED)) {
		struct mk_elem *t = mk_elem_add(f, "starttls", MK_NS_TLS);
		tls_first = st->c2s->tls_mode == MK_TLS_STARTTLS_REQUIRED;
		if (tls_first)
			mk_elem_add(t, "required", NULL);
	}
	if (!tls_first) {
		if (state == MK_STREAM_OPEN)
			mk_sasl_features(st, f);
		else if (state == MK_STREAM_AUTHED)
			mk_bind_features(st, f);
		for (uint32_t i = 0; i < d->feature_count; i++)
			if (d->features[i].r->states & state)
				d->features[i].r->fn(d->features[i].inst, st, f);
	}
	struct mk_buf *b = &mk_self->scratch;
	mk_buf_clear(b);
	/* The stream's own prefix, which the header declared, if there is one. */
	open_tag(st, b, "features");
	for (struct mk_elem *c = mk_elem_first(f); c != NULL; c = mk_elem_next(c))
		mk_elem_render(b, c, outer_ns(st));
	MK_BUF_LIT(b, "</stream:features>");
	put(st, b->p, b->n);
}

/* ---- the end ---------------------------------------------------------------------------- */

static void preauth_leave(struct mk_stream *st)
{
	if (!(st->flags & MK_ST_PREAUTH))
		return;
	st->flags &= (uint16_t)~MK_ST_PREAUTH;
	mk_list_remove(&st->list);
	preauth_n--;
	mk_limit_waited(&st->peer);
}

static void partial_free(struct mk_stream *st)
{
	struct mk_buf *b = st->partial;

	if (b == NULL)
		return;
	if (st->flags & MK_ST_SECRET)
		explicit_bzero(b->p, b->cap);
	mk_buf_free(b);
	mk_free(b);
	st->partial = NULL;
}

static void stream_free(struct mk_stream *st)
{
	if (st->busy != 0) {
		st->flags |= MK_ST_FREE;
		return;
	}
	if (st->link != NULL)
		mk_link_free(st->link);
	else
		mk_listener_gone(&st->peer);
	mk_metric_bump(metric_open, -1);
	mk_list_remove(&st->list);
	closing_n--;
	partial_free(st);
	if (st->jid != NULL)
		mk_jid_unref(&st->jid);
	mk_c2s_unref(&st->c2s);
	mk_free(st->seed);
	mk_free(st->lang);
	mk_free(st->from);
	mk_free(st->user_agent);
	mk_free(st->stanzas);
	mk_free(st->see_other_uri);
	if (st->bind_request != NULL)
		mk_stanza_unref(&st->bind_request);
	st->magic = 0;
	mk_free(st);
}

static struct mk_stream *stream_of(struct mk_conn *c)
{
	return &MK_CONTAINER(c, struct mk_tcp_stream, conn)->st;
}

static void conn_done(struct mk_conn *c)
{
	stream_free(stream_of(c));
}

void mk_stream_link_done(struct mk_stream *st)
{
	stream_free(st);
}

void mk_stream_leave(struct mk_stream *st)
{
	if (--st->busy == 0 && (st->flags & MK_ST_FREE))
		stream_free(st);
}

/* Closes the connection and lets go of the session (why it went). */
static void shut(struct mk_stream *st, enum mk_close_reason why)
{
	struct mk_session *s = st->session;

	if (st->phase == MK_PHASE_CLOSED)
		return;
	st->phase = MK_PHASE_CLOSED;
	preauth_leave(st);
	mk_list_remove(&st->list);
	mk_wtimer_stop(&st->timer);
	mk_sasl_drop(st);
	mk_list_push(&closing, &st->list);
	closing_n++;
	st->session = NULL;
	st->busy++;
	if (s != NULL) {
		if (s->stream == st)
			mk_session_stream_gone(s, why);
		mk_session_unref(&s);
	}
	if (st->link != NULL)
		mk_link_stream_ended(st->link, st->flags & MK_ST_LOST);
	else
		mk_conn_close(st->conn, 2000, conn_done);
	mk_stream_leave(st);
}

static void send_error(struct mk_stream *st, const char *condition, const char *text,
	const char *content, const struct mk_elem *detail)
{
	struct mk_buf *b = &mk_self->scratch;

	if (st->phase == MK_PHASE_CLOSED || st->phase == MK_PHASE_TLS)
		return;
	if (!(st->flags & MK_ST_HEADER_SENT))
		send_header(st);
	mk_buf_clear(b);
	open_tag(st, b, "error");
	mk_buf_addc(b, '<');
	mk_buf_addz(b, condition);
	MK_BUF_LIT(b, " xmlns='" MK_NS_STREAMS "'>");
	if (content != NULL)
		mk_escape_text(b, content, strlen(content));
	MK_BUF_LIT(b, "</");
	mk_buf_addz(b, condition);
	mk_buf_addc(b, '>');
	if (detail != NULL)
		mk_elem_render(b, detail, outer_ns(st));
	if (text != NULL) {
		MK_BUF_LIT(b, "<text xml:lang='en' xmlns='" MK_NS_STREAMS "'>");
		mk_escape_text(b, text, strlen(text));
		MK_BUF_LIT(b, "</text>");
	}
	MK_BUF_LIT(b, "</stream:error>");
	put(st, b->p, b->n);
	say_end(st);
	mk_metric_bump(metric_errors, 1);
}

void mk_stream_fail(struct mk_stream *st, const char *condition, const char *text)
{
	mk_stream_fail_with(st, condition, NULL, text);
}

void mk_stream_fail_with(struct mk_stream *st, const char *condition,
	const struct mk_elem *detail, const char *text)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	send_error(st, condition, text, NULL, detail);
	if (mk_log_enabled(MK_INFO) && st->phase != MK_PHASE_CLOSED)
		mk_log(NULL, MK_INFO, "stream error", "condition=%s text=%s remote=%s user=%s",
			condition, text != NULL ? text : "", mk_stream_remote(st),
			st->jid != NULL ? mk_jid_full(st->jid) : "");
	shut(st, MK_CLOSE_LOST);
}

void mk_stream_redirect(struct mk_stream *st, const char *host)
{
	send_error(st, "see-other-host", NULL, host, NULL);
	shut(st, MK_CLOSE_LOST);
}

/* Its own element has it (RFC 7395 3.6.1). */
static void redirect_uri(struct mk_stream *st, const char *uri)
{
	struct mk_elem *e = mk_elem_new(&mk_self->turn, "close", MK_NS_FRAMING);

	mk_elem_set(e, "see-other-uri", uri);
	mk_stream_write(st, e);
	shut(st, MK_CLOSE_LOST);
}

static void transport_carry(struct mk_stream *st, struct mk_session *s)
{
	mk_assert(st->session == NULL && st->phase != MK_PHASE_CLOSED);
	st->session = mk_session_ref(s);
}

/* The session let go already. */
static void transport_close(struct mk_stream *st, const char *condition, const char *text)
{
	if (st->session != NULL)
		mk_session_unref(&st->session);
	if (condition != NULL)
		send_error(st, condition, text, NULL, NULL);
	else if (st->phase != MK_PHASE_CLOSED)
		say_end(st);
	shut(st, MK_CLOSE_KICKED);
}

static uint32_t transport_unsent(struct mk_stream *st)
{
	return st->phase == MK_PHASE_CLOSED ? UINT32_MAX : mk_conn_unsent(st->conn);
}

const struct mk_transport_ops mk_stream_transport = {
	.carry = transport_carry, .send = transport_send, .write = mk_stream_write,
	.soon = transport_soon, .unsent = transport_unsent, .close = transport_close
};

/* ---- timers ------------------------------------------------------------------------------ */

static int64_t keepalive_of(const struct mk_stream *st)
{
	return st->link != NULL && st->keepalive_ms >= 0 ? st->keepalive_ms
	                                                 : mk_limits()->keepalive_ms;
}

static void keepalive_due(struct mk_wtimer *t)
{
	struct mk_stream *st = MK_CONTAINER(t, struct mk_stream, timer);
	const struct mk_config_limits *l = mk_limits();
	mk_usec now = mk_now_usec(), idle = now - st->last_in;
	int64_t next = keepalive_of(st);

	if (l->idle_timeout_ms != 0 && idle >= l->idle_timeout_ms * 1000) {
		mk_stream_fail(st, "connection-timeout", NULL);
		return;
	}
	if (next != 0 && st->link == NULL)
		mk_conn_send(st->conn, " ", 1);        /* RFC 6120 4.6.1        */
	else if (next != 0 && st->link->framing->ping != NULL)
		st->link->framing->ping(st->link);
	if (l->idle_timeout_ms != 0 && (next == 0 || l->idle_timeout_ms - idle / 1000 < next))
		next = l->idle_timeout_ms - idle / 1000;
	if (next > 0)
		mk_wtimer_start(&st->timer, next, keepalive_due);
}

static void auth_timeout(struct mk_wtimer *t)
{
	struct mk_stream *st = MK_CONTAINER(t, struct mk_stream, timer);

	mk_stream_fail(st, "connection-timeout", "authentication took too long");
}

static void timer_again(struct mk_stream *st)
{
	const struct mk_config_limits *l = mk_limits();
	int64_t keepalive = keepalive_of(st);

	if (keepalive != 0 || l->idle_timeout_ms != 0)
		mk_wtimer_start(&st->timer, keepalive != 0 ? keepalive : l->idle_timeout_ms,
			keepalive_due);
}

/* What its clients may send: as the listener's shaper says, else as limits do. */
struct mk_config_shaper mk_c2s_rates(const struct mk_c2s *c)
{
	const struct mk_config_limits *l = mk_limits();

	if (c->is_shaped)
		return c->shaper;
	return (struct mk_config_shaper){ NULL, l->stanza_rate, l->stanza_burst, l->byte_rate,
		l->byte_burst };
}

void mk_stream_bound(struct mk_stream *st)
{
	struct mk_config_shaper r = mk_c2s_rates(st->c2s);

	st->phase = MK_PHASE_BOUND;
	mk_list_remove(&st->list);
	mk_wtimer_stop(&st->timer);
	if (r.stanza_rate != 0) {
		st->stanzas = mk_alloc(sizeof *st->stanzas);
		mk_shaper_init(st->stanzas, (uint32_t)r.stanza_rate, (uint32_t)r.stanza_burst);
	}
	timer_again(st);
}

int mk_stream_attach(struct mk_stream *st, struct mk_session *s)
{
	struct mk_stream *old = s->stream;

	MK_CHECK(st, MK_STREAM_MAGIC);
	MK_CHECK(s, MK_SESSION_MAGIC);
	if (st->jid == NULL || st->session != NULL || st->phase == MK_PHASE_CLOSED ||
	    !(s->flags & MK_SES_OPEN) ||
	    !mk_jid_bare_eq(st->jid, s->jid))
		return -MK_EPERM;
	if (old != NULL) {
		s->stream = NULL;
		transport_close(old, "conflict", NULL);
	}
	s->stream = st;
	s->keeper = NULL;
	transport_carry(st, s);
	mk_stream_bound(st);
	st->flags |= MK_ST_RESUMED;
	return 0;
}

static void resumed_then(struct mk_event *e, enum mk_verdict v)
{
	(void)e;
	(void)v;
}

void mk_stream_after_handler(struct mk_stream *st)
{
	struct mk_session *s = st->session;

	if (!(st->flags & MK_ST_RESUMED) || s == NULL)
		return;
	st->flags &= (uint16_t)~MK_ST_RESUMED;
	struct mk_event ev = { .ses = { s, s->entity, 0 }, .hook = 8, .then = resumed_then };
	mk_event_run(&ev, mk_dispatch(s->entity->domain->type));
}

/* ---- elements ----------------------------------------------------------------------------- */

static char *keep(const char *z) { return z != NULL && *z != '\0' ? mk_strdup(z) : NULL; }

/* "1.0", or what comes after it: the lower of both counts (RFC 6120 4.7.5). */
static bool version_is_known(const char *v)
{
	const char *dot = v != NULL ? strchr(v, '.') : NULL;
	int64_t major, minor;

	return dot != NULL &&
	       mk_parse_int((struct mk_str){ v, (size_t)(dot - v) }, 1, 999999, &major) == 0 &&
	       mk_parse_int(mk_strz(dot + 1), 0, 999999, &minor) == 0;
}

static void opened(struct mk_stream *st, const struct mk_stream_header *h)
{
	struct mk_domain *d = NULL;
	struct mk_jid *to = NULL;

	mk_free(st->from);
	mk_free(st->lang);
	mk_free(st->seed);
	st->from = st->lang = st->seed = NULL;
	if (h->to != NULL && mk_jid_parsez(h->to, &to) == 0 && to->local_n == 0 && mk_jid_is_bare(to))
		d = mk_domain_of(to);
	if (to != NULL)
		mk_jid_unref(&to);
	if (st->domain == NULL || d != NULL)
		st->domain = d;
	if (h->from != NULL && strlen(h->from) < 3072 && st->jid == NULL)
		st->from = keep(h->from);
	if (!h->is_stream || strcmp(h->xmlns, MK_NS_CLIENT) != 0) {
		mk_stream_fail(st, "invalid-namespace", NULL);
		return;
	}
	if (!version_is_known(h->version)) {
		mk_stream_fail(st, "unsupported-version", NULL);
		return;
	}
	if (d == NULL) {
		mk_stream_fail(st, "host-unknown", NULL);
		return;
	}
	/* A restart may not change whose server it is (S-04). */
	if (st->jid != NULL && !mk_str_eq(mk_jid_domain(st->jid), mk_jid_domain(d->jid))) {
		mk_stream_fail(st, "not-authorized", NULL);
		return;
	}
	/* Identifies a user, it had better be the one that authenticated. */
	if (st->jid != NULL && h->from != NULL) {
		struct mk_jid *from = NULL;
		bool ok = mk_jid_parsez(h->from, &from) == 0 && mk_jid_bare_eq(from, st->jid);
		if (from != NULL)
			mk_jid_unref(&from);
		if (!ok) {
			mk_stream_fail(st, "invalid-from", NULL);
			return;
		}
	}
	if (h->lang != NULL && strlen(h->lang) < 64)
		st->lang = keep(h->lang);
	st->seed = keep(h->seed);
	send_header(st);
	if (st->see_other_uri != NULL && st->jid == NULL) {
		redirect_uri(st, st->see_other_uri);
		return;
	}
	st->phase = st->jid != NULL ? MK_PHASE_AUTHED : MK_PHASE_OPEN;
	mk_stream_send_features(st);
}

static void on_header(struct mk_stream *st, const char *p, size_t n)
{
	struct mk_stream_header h;

	if (mk_parse_header(&mk_self->turn, p, n, &h) < 0)
		mk_stream_fail(st, "not-well-formed", NULL);
	else
		opened(st, &h);
}

/* <open/> is what the header is elsewhere (RFC 7395 3.4). */
static void on_open(struct mk_stream *st, const struct mk_elem *e)
{
	struct mk_stream_header h = { .is_stream = true, .prefix = "", .xmlns = MK_NS_CLIENT,
		.to = mk_elem_attr(e, "to"), .from = mk_elem_attr(e, "from"),
		.version = mk_elem_attr(e, "version"), .lang = mk_elem_attr(e, "xml:lang") };

	opened(st, &h);
}

static void on_starttls(struct mk_stream *st)
{
	if (st->c2s->tls == NULL || mk_conn_is_secure(st->conn)) {
		mk_stream_writez(st, "<failure xmlns='" MK_NS_TLS "'/>");
		say_end(st);
		shut(st, MK_CLOSE_LOST);
		return;
	}
	mk_stream_writez(st, "<proceed xmlns='" MK_NS_TLS "'/>");
	mk_conn_flush(st->conn);
	st->phase = MK_PHASE_TLS;
}

/* Everything of the clear stream is forgotten (RFC 6120 5.4.3.3, S-04). */
static void begin_tls(struct mk_stream *st)
{
	const char *domain = st->domain != NULL ? mk_jid_full(st->domain->jid) : NULL;

	mk_sasl_drop(st);
	mk_free(st->from);
	mk_free(st->lang);
	mk_free(st->seed);
	st->from = st->lang = st->seed = NULL;
	st->flags &= (uint16_t)~MK_ST_HEADER_SENT;
	mk_scan_init(&st->scan, false);
	if (mk_conn_start_tls_for(st->conn, st->c2s->tls, domain) < 0)
		shut(st, MK_CLOSE_LOST);
}

static void secured(struct mk_conn *c)
{
	struct mk_stream *st = stream_of(c);

	if (st->phase == MK_PHASE_TLS) {
		st->phase = MK_PHASE_HEADER;
		st->domain = NULL;
	}
}

static const struct mk_reg_nonza *nonza(struct mk_stream *st, const struct mk_elem *e,
	struct mk_inst **inst)
{
	if (st->domain == NULL)
		return NULL;
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	for (uint32_t i = 0; i < d->nonza_count; i++)
		if (mk_elem_is(e, d->nonzas[i].r->name, d->nonzas[i].r->xmlns)) {
			*inst = d->nonzas[i].inst;
			return d->nonzas[i].r;
		}
	return NULL;
}

/* An element that is no stanza, or one before bind. */
static void on_nonza(struct mk_stream *st, const struct mk_elem *e)
{
	struct mk_inst *inst;
	const struct mk_reg_nonza *r;
	uint32_t state = mk_stream_state(st);

	if (mk_elem_is(e, "starttls", MK_NS_TLS)) {
		if (state == MK_STREAM_OPEN)
			on_starttls(st);
		else
			mk_stream_fail(st, "unsupported-stanza-type", NULL);
		return;
	}
	bool tls_first = st->c2s->tls_mode == MK_TLS_STARTTLS_REQUIRED &&
	                 !mk_conn_is_secure(st->conn);
	if (!tls_first && mk_sasl_element(st, e))
		return;
	/* Nothing else while an exchange goes on (XEP-0388 2.4). */
	r = tls_first || st->sasl != NULL ? NULL : nonza(st, e, &inst);
	if (r != NULL && (r->states & state)) {
		r->fn(inst, st, e);
		mk_stream_after_handler(st);
		return;
	}
	if (mk_streq(e->xmlns, MK_NS_SASL) || mk_streq(e->xmlns, MK_NS_SASL2))
		mk_stream_fail(st, "policy-violation", "authentication is not possible now");
	else if (state != MK_STREAM_BOUND)
		mk_stream_fail(st, "not-authorized", NULL);
	else
		mk_stream_fail(st, "unsupported-stanza-type", NULL);
}

/* 'from' is absent, or who it is (RFC 6120 8.1.2.1). */
static bool from_is_own(const struct mk_stream *st, const char *from)
{
	const struct mk_jid *own = st->session->jid;
	struct mk_jid *j = NULL;
	bool ok;

	if (from == NULL || strcmp(from, mk_jid_full(own)) == 0)
		return true;
	ok = mk_jid_parsez(from, &j) == 0 &&
	     (mk_jid_eq(j, own) || (mk_jid_is_bare(j) && mk_jid_bare_eq(j, own)));
	if (j != NULL)
		mk_jid_unref(&j);
	return ok;
}

static void shaped_over(struct mk_wtimer *t)
{
	struct mk_stream *st = MK_CONTAINER(t, struct mk_stream, timer);

	timer_again(st);
	mk_stream_unblock(st);
}

/* The entity's queue, or write-behind's, is full: look again until there is room. */
static void queue_due(struct mk_wtimer *t)
{
	struct mk_stream *st = MK_CONTAINER(t, struct mk_stream, timer);

	if (st->session->entity->queue_n > MK_QUEUE_MAX / 2 || mk_append_full())
		mk_wtimer_start(&st->timer, 100, queue_due);
	else
		shaped_over(t);
}

static void wait_for_queue(struct mk_stream *st)
{
	mk_stream_block(st);
	mk_wtimer_start(&st->timer, 100, queue_due);
}

static void on_stanza(struct mk_stream *st, struct mk_session *ses, struct mk_stanza *s)
{
	const char *to_text = mk_elem_attr(s->root, "to");
	struct mk_jid *to = NULL;

	mk_metric_bump(metric_in, 1);
	if (!from_is_own(st, mk_elem_attr(s->root, "from"))) {
		mk_stanza_unref(&s);
		mk_stream_fail(st, "invalid-from", NULL);
		return;
	}
	mk_stanza_set_from(s, ses->jid);
	if (st->lang != NULL && s->lang == NULL)
		mk_stanza_set_lang(s, st->lang);
	if (to_text != NULL) {
		if (mk_jid_parsez(to_text, &to) < 0) {
			struct mk_stanza *e = mk_stanza_error(s, MK_ERR_JID_MALFORMED, NULL);
			mk_session_in_answered(ses);
			if (e != NULL) {
				mk_session_deliver(ses, e, NULL);
				mk_stanza_unref(&e);
			}
			mk_stanza_unref(&s);
			return;
		}
		mk_stanza_set_to(s, to);
		mk_jid_unref(&to);
	}
	/* RFC 6120 8.2.3: type is required and one of four; RFC 6121 4.7.1. */
	if (s->kind != MK_MESSAGE && (s->flags & MK_STANZA_BAD_TYPE)) {
		struct mk_stanza *e = mk_stanza_error(s, MK_ERR_BAD_REQUEST, NULL);
		mk_session_in_answered(ses);
		if (e != NULL) {
			mk_session_deliver(ses, e, NULL);
			mk_stanza_unref(&e);
		}
		mk_stanza_unref(&s);
		return;
	}
	if (s->kind == MK_IQ && mk_session_iq(ses, s)) {
		mk_session_in_answered(ses);
		mk_stanza_unref(&s);
		return;
	}
	if (!mk_session_in(ses, s) && st->phase == MK_PHASE_BOUND)
		wait_for_queue(st);
	else if (st->stanzas != NULL && st->phase == MK_PHASE_BOUND) {
		int64_t wait = mk_shaper_take(st->stanzas, 1, mk_now_usec());
		if (wait > 0) {
			mk_stream_block(st);
			mk_wtimer_start(&st->timer, wait / 1000 + 1, shaped_over);
		}
	}
}

struct later { struct mk_task task; struct mk_stream *stream; };

/* fn runs as a task; the stream stays until then. */
static struct mk_task *later(struct mk_stream *st, void (*fn)(struct mk_task *t))
{
	struct later *l = mk_alloc(sizeof *l);

	l->stream = st;
	l->task.run = fn;
	st->busy++;
	return &l->task;
}

static struct mk_stream *now(struct mk_task *t)
{
	struct later *l = MK_CONTAINER(t, struct later, task);
	struct mk_stream *st = l->stream;

	mk_free(l);
	return st;
}

static void next_turn(struct mk_task *t)
{
	struct mk_stream *st = now(t);

	mk_stream_unblock(st);
	mk_stream_leave(st);
}

/* Nobody has more than so many in one turn, however many came at once: what is left
 * waits until others have had theirs. */
static void count_for_turn(struct mk_stream *st)
{
	uint32_t turn = (uint32_t)atomic_load_explicit(&mk_self->turns, memory_order_relaxed);

	if (st->turn != turn) {
		st->turn = turn;
		st->turn_n = 0;
	}
	if (++st->turn_n < mk_limits()->turn_stanzas || (st->flags & MK_ST_BLOCKED) ||
	    st->phase != MK_PHASE_BOUND)
		return;
	st->turn_n = 0;
	mk_stream_block(st);
	mk_worker_at_turn_end(later(st, next_turn));
}

static void end_now(struct mk_task *t)
{
	struct mk_stream *st = now(t);

	if (st->phase != MK_PHASE_CLOSED) {
		if (st->flags & MK_ST_HEADER_SENT)
			say_end(st);
		shut(st, MK_CLOSE_BY_CLIENT);
	}
	mk_stream_leave(st);
}

/* What it asked before is answered first: answers are in the run queue. */
static void said_end(struct mk_stream *st)
{
	st->flags |= MK_ST_PEER_CLOSED;
	mk_worker_run(later(st, end_now));
}

/* <open/> and <close/> of a stream whose elements stand alone, and what is there
 * instead of the former; false: another element, where one may be. */
static bool on_frame(struct mk_stream *st, const struct mk_elem *e)
{
	if (mk_elem_is(e, "close", MK_NS_FRAMING)) {
		/* RFC 7395 3.6: answered even if there was no <open/>. */
		st->flags |= MK_ST_HEADER_SENT;
		said_end(st);
	} else if (mk_elem_is(e, "open", MK_NS_FRAMING) && st->phase == MK_PHASE_HEADER) {
		on_open(st, e);
	} else if (st->phase == MK_PHASE_HEADER) {
		mk_stream_fail(st, mk_elem_is(e, "open", NULL) || mk_elem_is(e, NULL, MK_NS_STREAM)
			? "invalid-namespace" : "not-authorized", NULL);
	} else if (mk_streq(mk_elem_xmlns(e), MK_NS_FRAMING)) {
		mk_stream_fail(st, "unsupported-stanza-type", NULL);
	} else if (*mk_elem_xmlns(e) == '\0') {
		mk_stream_fail(st, "invalid-namespace", "each element declares its own");
	} else {
		return false;
	}
	return true;
}

/* Before login it may be one: nothing stays of it. */
static void on_early_element(struct mk_stream *st, const char *p, size_t n)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e;

	if (mk_parse_secret(outer_ns(st), seed_of(st), a, p, n, &e) < 0)
		mk_stream_fail(st, "not-well-formed", NULL);
	else if (st->link == NULL || !on_frame(st, e))
		on_nonza(st, e);
	mk_arena_wipe(a);
	mk_arena_free(&a);
}

/* One after login: of that, too, nothing stays (MK_IQ_SECRET). */
static int parse_secret(struct mk_stream *st, struct mk_stanza *s, const char *p, size_t n,
	struct mk_elem **e)
{
	int r;

	s->flags |= MK_STANZA_SECRET;
	st->flags |= MK_ST_SECRET;
	r = mk_parse_secret(outer_ns(st), seed_of(st), s->arena, p, n, e);
	explicit_bzero((char *)p, n);
	return r;
}

static void on_element(struct mk_stream *st, const char *p, size_t n)
{
	struct mk_stanza *s = NULL;
	struct mk_elem *e;
	int r;

	/* <x/> where <stream> is due */
	if (st->phase == MK_PHASE_HEADER && st->link == NULL) {
		mk_stream_fail(st, "invalid-namespace", NULL);
		return;
	}
	if (st->jid == NULL) {
		on_early_element(st, p, n);
		return;
	}
	/* Most elements are stanzas of a bound stream: parse into their arena. */
	if (st->phase == MK_PHASE_BOUND || st->phase == MK_PHASE_AUTHED)
		s = mk_stanza_alloc();
	if (s != NULL && mk_dispatch_is_secret(mk_dispatch(st->domain->type), p, n))
		r = parse_secret(st, s, p, n, &e);
	else
		r = mk_parse_elem(parser, outer_ns(st), seed_of(st),
			s != NULL ? s->arena : &mk_self->turn, p, n, &e);
	if (r < 0) {
		if (s != NULL)
			mk_stanza_unref(&s);
		mk_stream_fail(st, "not-well-formed", NULL);
		return;
	}
	if (s == NULL || mk_stanza_adopt(s, e) < 0) {
		if (st->link == NULL || !on_frame(st, e))
			on_nonza(st, e);
		if (s != NULL)
			mk_stanza_unref(&s);
	} else if (st->phase == MK_PHASE_BOUND) {
		/* An answer on its way out may end it. */
		struct mk_session *ses = mk_session_ref(st->session);
		on_stanza(st, ses, s);
		count_for_turn(st);
		mk_session_unref(&ses);
	} else if (!mk_bind_iq(st, s)) {
		mk_stanza_unref(&s);
		mk_stream_fail(st, "not-authorized", NULL);
	}
}

/* p: "</" ... ">" */
static void on_end(struct mk_stream *st, const char *p, size_t n)
{
	const char *name = p + 2, *end = p + n - 1, *colon;

	while (end > name && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n' || end[-1] == '\r'))
		end--;
	colon = memchr(name, ':', (size_t)(end - name));
	if (colon != NULL)
		name = colon + 1;
	if (end - name != 6 || memcmp(name, "stream", 6) != 0) {
		mk_stream_fail(st, "not-well-formed", NULL);
		return;
	}
	said_end(st);
}

/* ---- bytes ------------------------------------------------------------------------------- */

static void scan_limits(const struct mk_stream *st, struct mk_scan_limits *out)
{
	const struct mk_config_limits *l = mk_limits();

	if (st->jid != NULL)
		*out = (struct mk_scan_limits){ (uint32_t)l->stanza_bytes, (uint16_t)l->depth,
			(uint16_t)l->attrs, (uint32_t)l->elements };
	else
		*out = (struct mk_scan_limits){ (uint32_t)l->preauth_stanza_bytes,
			(uint16_t)l->preauth_depth, (uint16_t)l->preauth_attrs,
			(uint32_t)l->preauth_elements };
}

static bool stopped(const struct mk_stream *st)
{
	return st->phase == MK_PHASE_CLOSED || (st->flags & (MK_ST_BLOCKED | MK_ST_PEER_CLOSED));
}

static void refused(struct mk_stream *st, enum mk_scan_result r)
{
	switch (r) {
	case MK_SCAN_RESTRICTED:
		mk_stream_fail(st, "restricted-xml", NULL);
		break;
	case MK_SCAN_ENCODING:
		mk_stream_fail(st, mk_scan_is_foreign(&st->scan) ? "unsupported-encoding"
			: "not-well-formed", NULL);
		break;
	case MK_SCAN_LIMIT:
		mk_stream_fail(st, "policy-violation", "the element exceeds a limit");
		break;
	default:
		mk_stream_fail(st, "not-well-formed", NULL);
	}
}

/* Handles what is complete; how many bytes at the end are not (the scanner has
 * seen *scanned of them). */
static size_t handle(struct mk_stream *st, const char *p, size_t n, size_t pos, size_t *scanned)
{
	size_t start = 0;

	st->flags |= MK_ST_HANDLING;
	while (pos < n && !stopped(st)) {
		struct mk_scan_limits lim;
		size_t used = 0;
		scan_limits(st, &lim);
		enum mk_scan_result r = mk_scan_feed(&st->scan, &lim, p + pos, n - pos, &used);
		pos += used;
		switch (r) {
		case MK_SCAN_MORE:
			*scanned = pos - start;
			st->flags &= (uint16_t)~MK_ST_HANDLING;
			return n - start;
		case MK_SCAN_SPACE:
			break;
		case MK_SCAN_HEADER:
			on_header(st, p + start, pos - start);
			break;
		case MK_SCAN_ELEMENT:
			on_element(st, p + start, pos - start);
			if (st->phase == MK_PHASE_TLS) {
				/* Nothing may follow <starttls/> in the clear. */
				if (pos != n)
					shut(st, MK_CLOSE_LOST);
				else
					begin_tls(st);
				st->flags &= (uint16_t)~MK_ST_HANDLING;
				return 0;
			}
			break;
		case MK_SCAN_END:
			on_end(st, p + start, pos - start);
			break;
		default:
			refused(st, r);
			break;
		}
		start = pos;
	}
	*scanned = 0;
	st->flags &= (uint16_t)~MK_ST_HANDLING;
	return st->phase == MK_PHASE_CLOSED ? 0 : n - start;
}

/* mk_buf_add, but what grows leaves no copy behind. */
static void partial_add(struct mk_stream *st, const char *p, size_t n)
{
	struct mk_buf *b = st->partial, more = { NULL, 0, 0 };

	if ((st->flags & MK_ST_SECRET) && b->n > 0 && b->cap - b->n <= n) {
		mk_buf_need(&more, b->n + n);
		mk_buf_add(&more, b->p, b->n);
		explicit_bzero(b->p, b->cap);
		mk_buf_free(b);
		*b = more;
	}
	mk_buf_add(b, p, n);
}

static void keep_partial(struct mk_stream *st, const char *p, size_t n, size_t scanned)
{
	struct mk_buf *b = st->partial;

	if (n == 0) {
		partial_free(st);
		/* Nothing is left of what came before login. */
		if (st->jid != NULL)
			st->flags &= (uint16_t)~MK_ST_SECRET;
		return;
	}
	if (b == NULL)
		b = st->partial = mk_alloc(sizeof *b);
	if (b->p != NULL && p >= b->p && p <= b->p + b->n) {
		memmove(b->p, p, n);
		if (st->flags & MK_ST_SECRET)
			explicit_bzero(b->p + n, b->n - n);
		b->n = n;
	} else {
		mk_buf_clear(b);
		mk_buf_add(b, p, n);
	}
	st->scanned = (uint32_t)scanned;
	if (st->jid != NULL && mk_dispatch_is_secret(mk_dispatch(st->domain->type), b->p, b->n))
		st->flags |= MK_ST_SECRET;
}

static void on_data(struct mk_conn *c, const char *p, size_t n)
{
	struct mk_stream *st = stream_of(c);
	struct mk_str came = { p, n };
	bool secret = st->flags & MK_ST_SECRET;
	size_t left, scanned = 0, pos = 0;

	if (st->phase == MK_PHASE_CLOSED) {
		if (secret)
			explicit_bzero((char *)came.p, came.n);
		return;
	}
	st->last_in = mk_self->now;
	st->busy++;
	if (st->partial != NULL) {
		partial_add(st, p, n);
		p = st->partial->p;
		n = st->partial->n;
		pos = st->scanned;
	}
	if (stopped(st))
		left = n, scanned = pos;
	else
		left = handle(st, p, n, pos, &scanned);
	secret |= st->flags & MK_ST_SECRET;
	keep_partial(st, p + (n - left), left, scanned);
	if (secret || (st->flags & MK_ST_SECRET))
		explicit_bzero((char *)came.p, came.n);
	mk_stream_leave(st);
}

void mk_stream_block(struct mk_stream *st)
{
	if (st->flags & MK_ST_BLOCKED)
		return;
	st->flags |= MK_ST_BLOCKED;
	mk_conn_pause(st->conn);
}

void mk_stream_unblock(struct mk_stream *st)
{
	size_t left, scanned = 0;

	if (!(st->flags & MK_ST_BLOCKED) || st->phase == MK_PHASE_CLOSED)
		return;
	st->flags &= (uint16_t)~MK_ST_BLOCKED;
	if (st->flags & MK_ST_HANDLING) {
		/* Blocked and unblocked within one element: the loop goes on. */
		mk_conn_resume(st->conn);
		return;
	}
	st->busy++;
	if (st->partial != NULL) {
		left = handle(st, st->partial->p, st->partial->n, st->scanned, &scanned);
		keep_partial(st, st->partial->p + (st->partial->n - left), left, scanned);
	}
	if (st->link != NULL)
		st->link->framing->resume(st->link);
	if (!stopped(st))
		mk_conn_resume(st->conn);
	mk_stream_leave(st);
}

/* ---- messages of a link -------------------------------------------------------------------- */

bool mk_stream_takes(const struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	return !stopped(st);
}

uint32_t mk_stream_message_max(const struct mk_stream *st)
{
	struct mk_scan_limits lim;

	MK_CHECK(st, MK_STREAM_MAGIC);
	scan_limits(st, &lim);
	return lim.bytes;
}

void mk_stream_lost(struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	shut(st, MK_CLOSE_LOST);
}

void mk_stream_message(struct mk_stream *st, const char *p, size_t n)
{
	struct mk_scan_limits lim;
	enum mk_scan_result r = MK_SCAN_MORE;
	size_t used = 0;
	bool was_secret;

	MK_CHECK(st, MK_STREAM_MAGIC);
	mk_assert(st->link != NULL);
	if (stopped(st))
		return;
	was_secret = st->flags & MK_ST_SECRET;
	st->busy++;
	st->flags |= MK_ST_HANDLING;
	scan_limits(st, &lim);
	mk_scan_init(&st->scan, true);
	if (n != 0)
		r = mk_scan_feed(&st->scan, &lim, p, n, &used);
	if (r == MK_SCAN_ELEMENT && used == n)
		on_element(st, p, n);
	else if (r == MK_SCAN_ELEMENT || r == MK_SCAN_SPACE)
		/* One element, nothing before it, nothing behind (RFC 7395 3.3.3). */
		mk_stream_fail(st, "bad-format", "a message is one element");
	else
		refused(st, r);
	st->flags &= (uint16_t)~MK_ST_HANDLING;
	/* Nothing is left of what came before login, or of the secret before this. */
	if (st->jid != NULL && was_secret)
		st->flags &= (uint16_t)~MK_ST_SECRET;
	mk_stream_leave(st);
}

static void closed(struct mk_stream *st, enum mk_conn_close why)
{
	if (why == MK_CONN_OVERFLOW && st->phase == MK_PHASE_BOUND)
		mk_log(NULL, MK_INFO, "client does not take its output", "user=%s",
			mk_jid_full(st->session->jid));
	st->flags |= MK_ST_LOST;
	shut(st, MK_CLOSE_LOST);
}

void mk_stream_link_closed(struct mk_stream *st, enum mk_conn_close why)
{
	closed(st, why);
}

static void on_closed(struct mk_conn *c, enum mk_conn_close why)
{
	closed(stream_of(c), why);
}

/* What a stanza from its client will touch, as far as that is known. */
static void soon(struct mk_conn *c, unsigned step)
{
	const struct mk_stream *st = stream_of(c);
	const struct mk_session *s;

	if (step == 0) {
		mk_prefetch(&st->c2s, sizeof *st - offsetof(struct mk_stream, c2s));
		return;
	}
	s = st->session;
	if (s == NULL)
		return;
	if (step == 1) {
		mk_prefetch(s, sizeof *s);
		mk_prefetch(st->jid, 64);
		return;
	}
	mk_prefetch(s->entity, sizeof *s->entity);
	mk_prefetch(s->jid, 64);
	mk_prefetch(s->slots, 64);
}

static const struct mk_conn_ops conn_ops = {
	.data = on_data, .secured = secured, .closed = on_closed, .soon = soon
};

/* ---- coming and moving ------------------------------------------------------------------- */

/* Known among those who have not logged in. */
static void begin(struct mk_stream *st, struct mk_c2s *c, const struct mk_addr *peer)
{
	const struct mk_config_limits *l = mk_limits();

	st->magic = MK_STREAM_MAGIC;
	atomic_fetch_add(&c->refs, 1);
	st->c2s = c;
	st->peer = *peer;
	st->last_in = mk_self->now;
	mk_metric_bump(metric_open, 1);
	mk_scan_init(&st->scan, false);
	st->flags |= MK_ST_PREAUTH | MK_ST_SECRET;
	mk_list_push(&preauth, &st->list);
	preauth_n++;
	mk_wtimer_start(&st->timer, l->auth_timeout_ms, auth_timeout);
	/* Full: the oldest that has not authenticated makes room (S-09). */
	if (l->preauth_total > 0 && preauth_n > (uint32_t)l->preauth_total / mk_worker_count) {
		struct mk_list *n = mk_list_first(&preauth);
		struct mk_stream *oldest = MK_CONTAINER(n, struct mk_stream, list);
		if (oldest != st)
			mk_stream_fail(oldest, "resource-constraint", NULL);
	}
}

struct mk_stream *mk_stream_new(struct mk_c2s *c, int fd, const struct mk_addr *peer)
{
	struct mk_config_shaper r = mk_c2s_rates(c);
	struct mk_tcp_stream *t = mk_alloc(sizeof *t);
	struct mk_stream *st = &t->st;

	st->conn = &t->conn;
	mk_conn_init(st->conn, fd, &conn_ops, (uint32_t)mk_limits()->out_bytes);
	if (r.byte_rate != 0)
		mk_shaper_init(&st->conn->in, (uint32_t)r.byte_rate, (uint32_t)r.byte_burst);
	begin(st, c, peer);
	if (c->tls_mode == MK_TLS_DIRECT && mk_conn_start_tls(st->conn, c->tls) < 0) {
		shut(st, MK_CLOSE_LOST);
		return NULL;
	}
	mk_conn_start(st->conn);
	return st;
}

struct mk_stream *mk_stream_new_over(struct mk_link *l)
{
	struct mk_stream *st = mk_alloc(sizeof *st);

	st->link = l;
	st->conn = &l->conn;
	begin(st, l->c2s, &l->peer);
	return st;
}

static void at_home(struct mk_stream *st, void (*fn)(struct mk_stream *st))
{
	mk_list_push(&loose, &st->list);
	if (is_ending)                 /* it was on its way when the others were told */
		mk_stream_fail(st, "system-shutdown", NULL);
	else
		fn(st);
}

static void at_other_worker(struct mk_stream *st)
{
	mk_wtimer_start(&st->timer, mk_limits()->auth_timeout_ms, auth_timeout);
	at_home(st, st->arrived);
}

static void arrived(struct mk_conn *c)
{
	at_other_worker(stream_of(c));
}

void mk_stream_go_home(struct mk_stream *st, void (*fn)(struct mk_stream *st))
{
	struct mk_worker *home = mk_home_of(st->jid);

	preauth_leave(st);
	if (home == mk_self) {
		at_home(st, fn);
		return;
	}
	/* What is left of this turn's input stays in partial, which moves along. */
	mk_stream_block(st);
	st->arrived = fn;
	mk_wtimer_stop(&st->timer);
	if (st->link == NULL)
		mk_conn_move(st->conn, home, arrived, NULL, 0);
	else if (!mk_link_move(st->link, home, at_other_worker))
		mk_stream_fail(st, "system-shutdown", NULL);
}

/* ---- an orderly stop ------------------------------------------------------------------------ */

static bool close_session(struct mk_session *s, void *arg)
{
	struct mk_stream *st = s->stream;

	if (st != NULL) {
		send_error(st, arg, NULL, NULL, NULL);
		shut(st, MK_CLOSE_SHUTDOWN);
	} else {
		mk_session_close(s, MK_CLOSE_SHUTDOWN, NULL, NULL);
	}
	return true;
}

void mk_streams_close_all(const char *condition)
{
	struct mk_list *n;

	while ((n = mk_list_first(&preauth)) != NULL)
		mk_stream_fail(MK_CONTAINER(n, struct mk_stream, list), condition, NULL);
	is_ending = true;
	while ((n = mk_list_first(&loose)) != NULL)
		mk_stream_fail(MK_CONTAINER(n, struct mk_stream, list), condition, NULL);
	mk_sessions_each(mk_self, close_session, (void *)condition);
	mk_links_close_all(NULL);
}
