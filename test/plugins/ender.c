/*
 * test/plugins/ender.c - ends sessions where that hurts most
 *
 * A stanza whose id is "end-in", "end-deliver" or "end-out" ends the sessions of
 * the entity in whose hook it is (a message that comes back does not), and the
 * handlers that come after log that what the event names is still there; "end-post"
 * ends them in what was posted. A session whose resource begins with "slow" opens,
 * and an IQ <late/> is worked on, until the file `gate` is there; what <late/>
 * started is then left to the core. "refuse-N" is refused with the error of number N,
 * "stream-CONDITION" ends the sender's stream with that one, "redirect" sends it
 * elsewhere; an IQ <bad/>, <odd/> or <broken/> is failed, passed on, or fails in a job.
 */
#include <meerkat/plugin.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct conf { const char *gate; };
static const struct mk_conf_item items[] = {
	MK_CONF_STR(struct conf, gate, "", "The file that is waited for."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct conf, items);

static bool is(const struct mk_ev_stanza *ev, const char *id)
{
	return mk_streq(mk_stanza_id(ev->stanza), id) &&
	       (mk_stanza_kind(ev->stanza) == MK_IQ || mk_stanza_type(ev->stanza) != MK_TYPE_ERROR);
}

static void end_all(struct mk_entity *e)
{
	struct mk_session *s, *next;

	for (s = e != NULL ? mk_entity_sessions(e) : NULL; s != NULL; s = next) {
		next = mk_session_next(s);
		mk_session_end(s, "policy-violation", NULL);
	}
}

static void posted(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	(void)data;
	end_all(e);
	mk_log(i, MK_INFO, "posted", "user=%s same=%d", mk_jid_full(bare),
		e != NULL && mk_jid_eq(mk_entity_jid(e), bare));
}

static enum mk_verdict refused(struct mk_ev_stanza *ev)
{
	struct mk_stream *st = mk_session_stream(ev->session);
	const char *id = mk_stanza_id(ev->stanza);

	if (id != NULL && strncmp(id, "refuse-", 7) == 0) {
		ev->error = (uint16_t)atoi(id + 7);
		ev->error_text = "as you <wish>";
		return MK_FAIL;
	}
	if (st == NULL || id == NULL)
		return MK_NEXT;
	if (strncmp(id, "stream-", 7) == 0)
		mk_stream_fail(st, id + 7, "as you <wish>");
	else if (strcmp(id, "redirect") == 0)
		mk_stream_redirect(st, "other.test:5299");
	return MK_NEXT;
}

static enum mk_verdict on_in(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (is(ev, "end-in"))
		mk_session_end(ev->session, "policy-violation", NULL);
	if (is(ev, "end-post"))
		mk_entity_post(i, ev->to, posted, NULL, NULL);
	return refused(ev);
}

static enum mk_verdict on_deliver(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	if (is(ev, "end-deliver"))
		end_all(ev->entity);
	return MK_NEXT;
}

static enum mk_verdict on_out(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	if (is(ev, "end-out"))
		mk_session_end(ev->session, "policy-violation", NULL);
	return MK_NEXT;
}

static enum mk_verdict look(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const char *id = mk_stanza_id(ev->stanza);

	if (id != NULL && strncmp(id, "end-", 4) == 0)
		mk_log(i, MK_INFO, "looked", "id=%s entity=%s session=%s open=%d", id,
			ev->entity != NULL ? mk_jid_full(mk_entity_jid(ev->entity)) : "",
			ev->session != NULL ? mk_jid_full(mk_session_jid(ev->session)) : "",
			ev->session != NULL && mk_session_is_open(ev->session));
	return MK_NEXT;
}

/* Only to have it wait for a job. */
static enum mk_verdict on_failed(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	(void)i, (void)ev, (void)st;
	return MK_NEXT;
}

static void wait_for_gate(struct mk_inst *i)
{
	const struct timespec t = { 0, 2000000 };
	const struct conf *c = mk_inst_conf(i);

	while (access(c->gate, F_OK) != 0)
		nanosleep(&t, NULL);
}

static void on_open(struct mk_inst *i, const struct mk_ev_session *ev, struct mk_store *st)
{
	struct mk_str resource = mk_jid_resource(mk_session_jid(ev->session));

	(void)st;
	if (resource.n < 4 || memcmp(resource.p, "slow", 4) != 0)
		return;
	mk_log(i, MK_INFO, "session opens", NULL);
	wait_for_gate(i);
}

/* ---- what a job leaves behind while its instance stops ------------------------------- */

static void fired(struct mk_inst *i, void *data)
{
	(void)data;
	mk_log(i, MK_ERROR, "a timer of a stopped plugin fired", NULL);
}

static void answered(struct mk_inst *i, const struct mk_stanza *answer, void *data)
{
	(void)data;
	mk_log(i, MK_INFO, "asked", "answer=%d", answer != NULL);
}

static int late_work(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	(void)r, (void)st;
	mk_log(i, MK_INFO, "work begins", NULL);
	wait_for_gate(i);
	return 0;
}

/* The request is left open. */
static void late_done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	struct mk_stanza *q;

	if (err < 0)
		return;
	q = mk_stanza_new(MK_IQ, "get", mk_iq_to(r), mk_iq_from(r));
	mk_elem_add(mk_stanza_root(q), "ping", "urn:xmpp:ping");
	mk_timer_start(i, 200, fired, NULL);
	mk_iq_ask(i, &q, 60000, answered, NULL);
}

static enum mk_verdict on_late(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	return mk_iq_job_then(r, late_work, late_done);
}

static enum mk_verdict on_bad(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i, (void)r;
	return MK_FAIL;
}

static enum mk_verdict on_odd(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i, (void)r;
	return MK_NEXT;
}

static int on_broken(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	(void)i, (void)r, (void)st;
	return -MK_EIO;
}

static void worker_stop(struct mk_inst *i) { mk_log(i, MK_INFO, "worker stops", NULL); }

static int start(struct mk_inst *i)
{
#define HANDLER(word, ...) { .size = sizeof(struct mk_iq), __VA_ARGS__, \
	.xmlns = "urn:test:ender", .name = word, .flags = MK_IQ_GET | MK_IQ_HOST }
	static const struct mk_iq iqs[] = { HANDLER("late", .fn = on_late),
		HANDLER("bad", .fn = on_bad), HANDLER("odd", .fn = on_odd),
		HANDLER("broken", .stored_fn = on_broken) };
	int r;

	if ((r = mk_on_stanza_in(i, MK_PRIO_GUARD, MK_M_ALL, on_in)) < 0 ||
	    (r = mk_on_stanza_in(i, MK_PRIO_LAST, MK_M_ALL, look)) < 0 ||
	    (r = mk_on_stanza_deliver(i, MK_PRIO_GUARD, MK_M_ALL, on_deliver)) < 0 ||
	    (r = mk_on_stanza_deliver(i, MK_PRIO_GUARD + 1, MK_M_ALL, look)) < 0 ||
	    (r = mk_on_stanza_out(i, MK_PRIO_GUARD, MK_M_ALL, on_out)) < 0 ||
	    (r = mk_on_stanza_out(i, MK_PRIO_LAST, MK_M_ALL, look)) < 0 ||
	    (r = mk_on_stanza_failed_stored(i, MK_PRIO_LAST, MK_M_ALL, on_failed)) < 0 ||
	    (r = mk_on_session_open_stored(i, MK_PRIO_LAST, on_open)) < 0)
		return r;
	for (size_t k = 0; k < sizeof iqs / sizeof *iqs; k++)
		if ((r = mk_iq_handle(i, &iqs[k])) < 0)
			return r;
	return 0;
}

MK_PLUGIN(ender, "ender", .flags = MK_PLUGIN_PER_TYPE, .version = "1", .conf = &schema,
	.summary = "Made for tests.", .start = start, .worker_stop = worker_stop)
