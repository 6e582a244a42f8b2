/*
 * ping - XMPP Ping (XEP-0199): answers pings, and pings clients that are silent
 *
 * Answers inline and keeps nothing. With send_pings each session has a slot with
 * a timer of its own, at the session's home; the timer's data is the session,
 * which outlives the slot. A ping under way holds a reference to the session.
 */
#include <meerkat/plugin.h>

#define NS "urn:xmpp:ping"

enum { DO_NOTHING, DO_KILL };
struct ping_conf {
	bool send_pings;
	int timeout_action;
	int64_t interval, timeout;
};

static const struct mk_conf_item items[] = {
	MK_CONF_B(struct ping_conf, send_pings, "no",
		"Pings clients from which nothing came for the interval; sessions that open "
		"or resume from then on."),
	MK_CONF_MS(struct ping_conf, interval, "5m", "1s..1d",
		"How long a client may be silent until it is pinged."),
	MK_CONF_MS(struct ping_conf, timeout, "30s", "1s..1h",
		"How long a client has to answer."),
	MK_CONF_E(struct ping_conf, timeout_action, "none", "none|kill",
		"What happens to one that does not: nothing, or its stream is closed with "
		"connection-timeout."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct ping_conf, items);

enum { ANSWERED, SENT, LATE, KILLED };
static const struct mk_metric metric_answered = { sizeof(struct mk_metric), MK_COUNTER,
	"answered_total", "Pings of clients that were answered." };
static const struct mk_metric metric_sent = { sizeof(struct mk_metric), MK_COUNTER,
	"sent_total", "Pings sent to silent clients." };
static const struct mk_metric metric_late = { sizeof(struct mk_metric), MK_COUNTER,
	"timeouts_total", "Pings that a client did not answer in time." };
static const struct mk_metric metric_killed = { sizeof(struct mk_metric), MK_COUNTER,
	"killed_total", "Streams closed for that." };
static const struct mk_metric *const metrics[] = {
	&metric_answered, &metric_sent, &metric_late, &metric_killed, NULL };

/* ---- answering -------------------------------------------------------------------- */

static enum mk_verdict on_ping(struct mk_inst *i, struct mk_iq_req *r)
{
	mk_metric_add(i, ANSWERED, 1);
	mk_iq_result(r, NULL);
	return MK_DONE;
}

static const struct mk_iq iq_ping = {
	.size = sizeof iq_ping, .xmlns = NS, .name = "ping", .fn = on_ping,
	.flags = MK_IQ_GET | MK_IQ_HOST | MK_IQ_ACCOUNT | MK_IQ_UNORDERED,
};

/* ---- asking ------------------------------------------------------------------------ */

struct watch {
	struct mk_timer *timer;        /* NULL while a ping is under way        */
};
static uint32_t watch_slot;

static void watch_fini(void *data)
{
	struct watch *w = data;
	mk_timer_stop(&w->timer);
}

static void on_timer(struct mk_inst *i, void *session);

static void look_again(struct mk_inst *i, struct mk_session *s, int64_t delay_ms)
{
	struct watch *w = mk_session_slot(s, watch_slot);

	mk_timer_stop(&w->timer);
	w->timer = mk_timer_start(i, delay_ms, on_timer, s);
}

static void on_answer(struct mk_inst *i, const struct mk_stanza *answer, void *data)
{
	const struct ping_conf *c = mk_inst_conf(i);
	struct mk_session *s = data;
	struct watch *w = mk_session_slot_peek(s, watch_slot);

	/* No slot: it ended, or the plugin stops. A timer: it was resumed. */
	if (!mk_session_is_open(s) || w == NULL || w->timer != NULL)
		goto out;
	/* An error is an answer too (XEP-0199 4.1), and so is anything else that
	 * came meanwhile. */
	if (answer != NULL || mk_session_stream(s) == NULL ||
	    mk_now_usec() - mk_session_active_usec(s) < c->timeout * 1000) {
		look_again(i, s, c->interval);
		goto out;
	}
	mk_metric_add(i, LATE, 1);
	if (c->timeout_action == DO_KILL) {
		mk_metric_add(i, KILLED, 1);
		mk_log(i, MK_INFO, "client did not answer a ping", "user=%s",
			mk_jid_full(mk_session_jid(s)));
		mk_session_slot_clear(s, watch_slot);
		mk_stream_fail(mk_session_stream(s), "connection-timeout", NULL);
	} else {
		look_again(i, s, c->interval);
	}
out:
	mk_session_unref(&s);
}

static void ask(struct mk_inst *i, struct mk_session *s, int64_t timeout_ms)
{
	struct mk_jid *host = mk_jid_to_domain(mk_session_jid(s));
	struct mk_stanza *q = mk_stanza_new(MK_IQ, "get", host, mk_session_jid(s));

	mk_elem_add(mk_stanza_root(q), "ping", NS);
	mk_metric_add(i, SENT, 1);
	mk_iq_ask(i, &q, timeout_ms, on_answer, mk_session_ref(s));
	mk_jid_unref(&host);
}

static void on_timer(struct mk_inst *i, void *session)
{
	const struct ping_conf *c = mk_inst_conf(i);
	struct mk_session *s = session;
	struct watch *w = mk_session_slot_peek(s, watch_slot);
	int64_t idle_ms;

	w->timer = NULL;
	/* Without a stream it waits for a resumption, which starts anew. */
	if (!c->send_pings || mk_session_stream(s) == NULL) {
		mk_session_slot_clear(s, watch_slot);
		return;
	}
	idle_ms = (mk_now_usec() - mk_session_active_usec(s)) / 1000;
	if (idle_ms < c->interval)
		look_again(i, s, c->interval - idle_ms);
	else
		ask(i, s, c->timeout);
}

static void on_begin(struct mk_inst *i, const struct mk_ev_session *ev)
{
	const struct ping_conf *c = mk_inst_conf(i);

	if (c->send_pings)
		look_again(i, ev->session, c->interval);
}

/* ---- life -------------------------------------------------------------------------- */

static int load(struct mk_module *m)
{
	static const struct mk_slot slot = {
		sizeof slot, MK_SLOT_SESSION, sizeof(struct watch), watch_fini
	};

	return mk_slot_register(m, &slot, &watch_slot);
}

static int start(struct mk_inst *i)
{
	int r = mk_iq_handle(i, &iq_ping);

	if (r == 0)
		r = mk_disco_feature(i, MK_DISCO_HOST | MK_DISCO_ACCOUNT, NS);
	if (r == 0)
		r = mk_on_session_open(i, MK_PRIO_LAST, on_begin);
	if (r == 0)
		r = mk_on_session_resumed(i, MK_PRIO_LAST, on_begin);
	return r;
}

MK_PLUGIN(ping, "ping", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Answers pings and pings silent clients (XEP-0199).",
	.conf = &schema, .metrics = metrics, .load = load, .start = start)
