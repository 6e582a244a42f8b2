/*
 * route_test.c - each request has one answer, each stanza its place, nothing is lost
 *
 * Clients and plugins that take notes (session/test_house.h), on two workers.
 */
#include "session/test_house.h"
#include "base/ban.h"

static _Atomic unsigned worker_stops;
static void worker_stopped(struct mk_inst *i)
{
	(void)i;
	worker_stops++;
}
PLUGIN(p, "pp", .worker_stop = worker_stopped);
PLUGIN(q, "qq");

/* Two accounts with different homes. */
static const char *const near_text = "near@example.org";
static char far_text[64];

static int open_house(void **state)
{
	int r = house_open(state);
	struct mk_jid *near = jid(near_text), *far;

	for (int k = 0; r == 0; k++) {
		snprintf(far_text, sizeof far_text, "far%d@example.org", k);
		far = jid(far_text);
		bool differ = mk_home_of(far) != mk_home_of(near);
		mk_jid_unref(&far);
		if (differ)
			break;
	}
	mk_jid_unref(&near);
	return r;
}

static struct client bound(const char *name, const char *bare)
{
	return client_new(name, bare, "r");
}
/* A client stays where it is: its address is the core's. */
#define BIND(c, trail_text) do { bind_begin(&(c)); expect_trail(trail_text); } while (0)

/* ---- requests --------------------------------------------------------------------------- */

static struct mk_iq_req *later;

static const char *wish(struct mk_iq_req *r) { return mk_elem_attr(mk_iq_payload(r), "do"); }

static enum mk_verdict inline_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	const char *w = wish(r);

	(void)i;
	if (strcmp(w, "result") == 0)
		mk_iq_result(r, mk_elem_new(mk_iq_arena(r), "x", "urn:x"));
	else if (strcmp(w, "error") == 0)
		mk_iq_error(r, MK_ERR_FORBIDDEN, "no");
	else if (strcmp(w, "later") == 0)
		later = r;
	else
		return strcmp(w, "fail") == 0 ? MK_FAIL : strcmp(w, "drop") == 0 ? MK_DROP
			: strcmp(w, "answered-fail") == 0 ? (mk_iq_result(r, NULL), MK_FAIL) : MK_NEXT;
	return MK_DONE;
}
static int in_job(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	const char *w = wish(r);

	(void)i;
	mk_assert(st != NULL && mk_self == NULL);
	gate_pass();
	if (strcmp(w, "result") == 0 || strcmp(w, "answered-fail") == 0)
		mk_iq_result(r, NULL);
	else if (strcmp(w, "error") == 0)
		mk_iq_error(r, MK_ERR_GONE, NULL);
	return strstr(w, "fail") != NULL ? -MK_EIO : 0;
}
static int in_first_job(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	(void)i;
	(void)r;
	mk_assert(st != NULL && mk_self == NULL);
	gate_pass();
	return 0;
}
static void job_over(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	(void)i;
	mk_assert(mk_self != NULL);
	note("over:%d", -err);
	if (err == 0 && strcmp(wish(r), "second") == 0)
		mk_iq_result(r, NULL);
}
static int fails(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	(void)i;
	(void)r;
	mk_assert(st != NULL && mk_self == NULL);
	return -MK_EIO;
}
/* Finds in the second half that more is to do. */
static void job_again(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	(void)i;
	note("again:%d", -err);
	if (err == 0)
		mk_iq_job_then(r, strcmp(wish(r), "then-fail") == 0 ? fails : in_job, job_over);
}
static enum mk_verdict asks_for_steps(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	return mk_iq_job_then(r, strcmp(wish(r), "fail") == 0 ? fails : in_first_job, job_again);
}
static enum mk_verdict asks_for_job(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	return mk_iq_job(r, in_job);
}
static enum mk_verdict asks_for_halves(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	return mk_iq_job_then(r, in_job, job_over);
}
static int answers(struct mk_inst *i)
{
	static const struct mk_iq iqs[] = {
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_SET | MK_IQ_HOST, "urn:inline", NULL, inline_iq, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_HOST, "urn:stored", NULL, NULL, in_job },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_HOST, "urn:job", NULL, asks_for_job, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_HOST, "urn:halves", NULL, asks_for_halves, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_HOST, "urn:steps", NULL, asks_for_steps, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_ACCOUNT, "urn:own", NULL, inline_iq, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_ACCOUNT | MK_IQ_OTHERS, "urn:all", NULL, inline_iq, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_HOST | MK_IQ_UNORDERED, "urn:free", NULL, NULL, in_job },
	};
	int r = 0;

	for (size_t k = 0; k < sizeof iqs / sizeof *iqs && r == 0; k++)
		r = mk_iq_handle(i, &iqs[k]);
	return r;
}

static const struct { const char *to, *payload, *trail; } requests[] = {
	{ "example.org", "<x xmlns='urn:inline' do='result'/>", "a<1" },
	{ "example.org", "<x xmlns='urn:inline' do='error'/>", "a<1:forbidden" },
	/* Dropped, or passed on to nobody: the client doesn't wait for ever. */
	{ "example.org", "<x xmlns='urn:inline' do='drop'/>", "a<1:service-unavailable" },
	{ "example.org", "<x xmlns='urn:inline' do='next'/>", "a<1:service-unavailable" },
	{ "example.org", "<x xmlns='urn:inline' do='fail'/>", "a<1:bad-request" },
	{ "example.org", "<x xmlns='urn:inline' do='answered-fail'/>", "a<1" },
	{ "example.org", "<x xmlns='urn:stored' do='result'/>", "a<1" },
	{ "example.org", "<x xmlns='urn:stored' do='error'/>", "a<1:gone" },
	{ "example.org", "<x xmlns='urn:stored' do='fail'/>", "a<1:internal-server-error" },
	{ "example.org", "<x xmlns='urn:stored' do='answered-fail'/>", "a<1" },
	{ "example.org", "<x xmlns='urn:job' do='result'/>", "a<1" },
	{ "example.org", "<x xmlns='urn:job' do='fail'/>", "a<1:internal-server-error" },
	{ "example.org", "<x xmlns='urn:halves' do='second'/>", "over:0 a<1" },
	{ "example.org", "<x xmlns='urn:halves' do='result'/>", "over:0 a<1" },
	{ "example.org", "<x xmlns='urn:steps' do='second'/>", "again:0 over:0 a<1" },
	{ "example.org", "<x xmlns='urn:steps' do='result'/>", "again:0 over:0 a<1" },
	{ "example.org", "<x xmlns='urn:steps' do='fail'/>", "again:11 a<1:internal-server-error" },
	{ "example.org", "<x xmlns='urn:steps' do='then-fail'/>",
		"again:0 over:11 a<1:internal-server-error" },
	{ "example.org", "<x xmlns='urn:halves' do='fail'/>", "over:11 a<1:internal-server-error" },
	/* Nobody's, and what is no request. */
	{ "example.org", "<x xmlns='urn:none' do='result'/>", "a<1:service-unavailable" },
	{ "example.org", "", "a<1:bad-request" },
	{ "example.org", "<x xmlns='urn:inline' do='result'/><y/>", "a<1:bad-request" },
	/* One's own account, other people's, and nobody's look the same. */
	{ "near@example.org", "<x xmlns='urn:own' do='result'/>", "a<1" },
	{ "else@example.org", "<x xmlns='urn:own' do='result'/>", "a<1:service-unavailable" },
	{ "else@example.org", "<x xmlns='urn:none' do='result'/>", "a<1:service-unavailable" },
	{ "else@example.org", "<x xmlns='urn:all' do='result'/>", "a<1" },
	{ "else@example.org/gone", "<x xmlns='urn:all' do='result'/>", "a<1:service-unavailable" },
	{ "elsewhere.example", "<x xmlns='urn:inline' do='result'/>", "a<1:remote-server-not-found" },
	{ "u@elsewhere.example", "<x xmlns='urn:own' do='result'/>", "a<1:remote-server-not-found" },
	/* Without 'to': one's account, and what that doesn't know, the host. */
	{ NULL, "<x xmlns='urn:own' do='result'/>", "a<1" },
	{ NULL, "<x xmlns='urn:inline' do='result'/>", "a<1" },
	{ NULL, "<x xmlns='urn:none' do='result'/>", "a<1:service-unavailable" },
};

static void ask(struct client *c, const char *id, const char *to, const char *payload)
{
	struct mk_buf xml = { 0 };

	mk_buf_printf(&xml, "<iq type='get' id='%s'%s%s%s>%s</iq>", id, to != NULL ? " to='" : "",
		to != NULL ? to : "", to != NULL ? "'" : "", payload);
	send_from(c, mk_buf_z(&xml));
	mk_buf_free(&xml);
}

static void test_each_request_has_one_answer(void **state)
{
	struct mk_inst *i = p(answers);
	struct client a = bound("a", near_text);

	(void)state;
	BIND(a, "a=r");
	for (size_t k = 0; k < sizeof requests / sizeof *requests; k++) {
		ask(&a, "1", requests[k].to, requests[k].payload);
		expect_trail(requests[k].trail);
	}
	/* Nothing came late. */
	ask(&a, "2", "example.org", "<x xmlns='urn:inline' do='result'/>");
	expect_trail("a<2");
	/* Without an id there is nothing to refer to, but it is told (8.2.3). */
	send_from(&a, "<iq type='get' to='example.org'><x xmlns='urn:inline' do='result'/></iq>");
	expect_trail("a<-:bad-request");
	/* An answer to nothing is nobody's, and gets none. */
	send_from(&a, "<iq type='result' id='3' to='example.org'/>");
	send_from(&a, "<iq type='error' id='3' to='else@example.org/gone'/>");
	ask(&a, "4", "example.org", "<x xmlns='urn:inline' do='result'/>");
	expect_trail("a<4");
	client_end(&a);
	stop(i);
}

static void test_answers_come_in_the_order_of_requests(void **state)
{
	struct mk_inst *i = p(answers);
	struct client a = bound("a", near_text);

	(void)state;
	BIND(a, "a=r");
	gate_set(true);
	ask(&a, "1", "example.org", "<x xmlns='urn:stored' do='result'/>");
	until(gate_waiting() == 1);
	ask(&a, "2", "example.org", "<x xmlns='urn:inline' do='result'/>");
	expect_trail("");
	gate_set(false);
	expect_trail("a<1 a<2");
	/* Where the handler says that it doesn't matter, nobody waits. */
	gate_set(true);
	ask(&a, "3", "example.org", "<x xmlns='urn:free' do='result'/>");
	until(gate_waiting() == 1);
	ask(&a, "4", "example.org", "<x xmlns='urn:inline' do='result'/>");
	expect_trail("a<4");
	gate_set(false);
	expect_trail("a<3");
	client_end(&a);
	stop(i);
}

static void answer_later(void *arg)
{
	(void)arg;
	mk_iq_result(later, NULL);
}

static void test_an_instance_that_stops_leaves_nobody_waiting(void **state)
{
	struct mk_inst *i = p(answers);
	struct client a = bound("a", near_text);

	(void)state;
	BIND(a, "a=r");
	ask(&a, "1", "example.org", "<x xmlns='urn:inline' do='later'/>");
	ask(&a, "2", "example.org", "<x xmlns='urn:job' do='later'/>");
	ask(&a, "3", "example.org", "<x xmlns='urn:inline' do='later'/>");
	/* The second one holds all that comes after it, as it is not answered yet. */
	at_home(a.bare, answer_later, NULL);
	expect_trail("");
	stop(i);
	expect_trail("a<1 a<2:service-unavailable a<3:service-unavailable");
	ask(&a, "9", "example.org", "<x xmlns='urn:inline' do='result'/>");
	expect_trail("a<9:service-unavailable");
	client_end(&a);
}

/* When the workers have dropped what the instance had to answer. */
static void *open_late(void *arg)
{
	(void)arg;
	until(worker_stops == 2);
	gate_set(false);
	return NULL;
}

static void test_a_job_at_work_answers_while_its_instance_stops(void **state)
{
	struct mk_inst *i = p(answers);
	struct client a = bound("a", near_text);
	pthread_t t;

	(void)state;
	BIND(a, "a=r");
	gate_set(true);
	ask(&a, "1", "example.org", "<x xmlns='urn:stored' do='result'/>");
	until(gate_waiting() == 1);
	ask(&a, "2", "example.org", "<x xmlns='urn:stored' do='result'/>");
	worker_stops = 0;
	assert_int_equal(pthread_create(&t, NULL, open_late, NULL), 0);
	stop(i);
	pthread_join(t, NULL);
	expect_trail("a<1 a<2:service-unavailable");
	/* One that it leaves for later then has no later. */
	i = p(answers);
	worker_stops = 0;
	gate_set(true);
	ask(&a, "3", "example.org", "<x xmlns='urn:stored' do='later'/>");
	until(gate_waiting() == 1);
	assert_int_equal(pthread_create(&t, NULL, open_late, NULL), 0);
	stop(i);
	pthread_join(t, NULL);
	expect_trail("a<3:service-unavailable");
	client_end(&a);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static char asked_id[40];
static struct mk_inst *asker;
static int64_t patience_ms;

static void answer(struct mk_inst *i, const struct mk_stanza *s, void *data)
{
	(void)i;
	note("%s:%s", (const char *)data, s == NULL ? "nobody" : mk_stanza_type(s) == MK_TYPE_ERROR ? "error" : "result");
}
static void ask_client(void *arg)
{
	struct client *c = arg;
	struct mk_jid *from = jid("example.org");
	struct mk_stanza *s = mk_stanza_new(MK_IQ, "get", from, mk_session_jid(c->session));

	mk_elem_add(mk_stanza_root(s), "ping", "urn:xmpp:ping");
	struct mk_stanza *same = mk_stanza_ref(s);
	mk_iq_ask(asker, &s, patience_ms, answer, (void *)c->name);
	snprintf(asked_id, sizeof asked_id, "%s", mk_stanza_id(same));
	mk_stanza_unref(&same);
	mk_jid_unref(&from);
}
/* Asks c, and waits until it has got that. */
static void ask_and_see(struct client *c, int64_t ms)
{
	char words[64];

	patience_ms = ms;
	at_home(c->bare, ask_client, c);
	snprintf(words, sizeof words, "%s<%s", c->name, asked_id);
	expect_trail(words);
}
static void reply(struct client *c, const char *type, const char *to)
{
	char xml[256];

	snprintf(xml, sizeof xml, "<iq type='%s' id='%s' to='%s'/>", type, asked_id, to);
	send_from(c, xml);
}
static int registers_nothing(struct mk_inst *i)
{
	(void)i;
	return 0;
}

static void test_only_who_was_asked_may_answer(void **state)
{
	struct client a = bound("a", near_text), b = client_new("b", near_text, "other");
	struct client far = bound("far", far_text);

	(void)state;
	asker = p(registers_nothing);
	BIND(a, "a=r");
	BIND(b, "b=other");
	BIND(far, "far=r");
	ask_and_see(&a, 60000);
	/* Another client of the same account, another account, somebody else's id. */
	reply(&b, "result", "example.org");
	reply(&far, "result", "example.org");
	char id[40];
	memcpy(id, asked_id, sizeof id);
	snprintf(asked_id, sizeof asked_id, "guessed");
	reply(&a, "result", "example.org");
	memcpy(asked_id, id, sizeof id);
	expect_trail("");
	reply(&a, "result", "example.org");
	expect_trail("a:result");
	/* Once. */
	reply(&a, "result", "example.org");
	ask_and_see(&a, 60000);
	reply(&a, "error", "example.org");
	expect_trail("a:error");
	client_end(&a);
	client_end(&b);
	client_end(&far);
	stop(asker);
}

static void test_silence_is_an_answer(void **state)
{
	struct client a = bound("a", near_text);

	(void)state;
	asker = p(registers_nothing);
	BIND(a, "a=r");
	ask_and_see(&a, 1);
	expect_trail("a:nobody");
	reply(&a, "result", "example.org");    /* too late                      */
	ask_and_see(&a, 600000);
	stop(asker);
	expect_trail("a:nobody");
	reply(&a, "result", "example.org");
	/* And who isn't there doesn't answer, which is told at once. */
	asker = p(registers_nothing);
	struct client none = bound("none", near_text);
	BIND(none, "a!conflict none=r");
	ask_and_see(&none, 600000);
	client_end(&none);
	mk_jid_unref(&a.bare);
	stop(asker);
	expect_trail("none:nobody");
}

/* ---- order ------------------------------------------------------------------------------------ */

static enum mk_verdict sometimes_stored(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	(void)i, (void)ev, (void)st;
	return MK_NEXT;
}
static enum mk_verdict sometimes(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	return atoi(mk_stanza_id(ev->stanza)) % 7 == 0 ? mk_ev_job(ev, sometimes_stored) : MK_NEXT;
}
static int parks_in(struct mk_inst *i) { return mk_on_stanza_in(i, 300, MK_M_MESSAGE, sometimes); }
static int parks_deliver(struct mk_inst *i) { return mk_on_stanza_deliver(i, 300, MK_M_MESSAGE, sometimes); }

static void test_between_two_order_holds(void **state)
{
	struct mk_inst *ip = p(parks_in), *iq = q(parks_deliver);
	struct client near = bound("near", near_text), far = bound("far", far_text);
	struct mk_buf want = { 0 };

	(void)state;
	BIND(near, "near=r");
	BIND(far, "far=r");
	/* Over both workers, and at home. */
	for (int k = 0; k < 2; k++) {
		struct client *to = k == 0 ? &far : &near;
		mk_buf_clear(&want);
		for (int n = 1; n <= 500; n++) {
			char xml[128];
			snprintf(xml, sizeof xml, "<message to='%s/r' id='%d'/>", mk_jid_full(to->bare), n);
			send_from(&near, xml);
			mk_buf_printf(&want, "%s%s<%d", n > 1 ? " " : "", to->name, n);
		}
		expect_trail(mk_buf_z(&want));
	}
	mk_buf_free(&want);
	client_end(&near);
	client_end(&far);
	stop(ip);
	stop(iq);
}

/* ---- who gets it -------------------------------------------------------------------------------- */

static const struct { const char *xml, *trail; } routed[] = {
	{ "<message to='FAR/r' id='1'/>", "far<1" },
	{ "<presence to='FAR/r' id='1'/>", "far<1" },
	{ "<iq type='get' to='FAR/r' id='1'><x xmlns='urn:x'/></iq>", "far<1" },
	{ "<iq type='result' to='FAR/r' id='1'/>", "far<1" },
	{ "<message type='error' to='FAR/r' id='1'/>", "far<1" },
	/* Nobody is there: an error for what may have one, silence for the rest. */
	{ "<message to='FAR/gone' id='1'/>", "near<1:service-unavailable" },
	{ "<message to='FAR' id='1'/>", "near<1:service-unavailable" },
	{ "<message type='error' to='FAR/gone' id='1'/>", "" },
	{ "<presence to='FAR/gone' id='1'/>", "" },
	{ "<iq type='get' to='FAR/gone' id='1'><x xmlns='urn:x'/></iq>", "near<1:service-unavailable" },
	{ "<iq type='result' to='FAR/gone' id='1'/>", "" },
	/* To the server, which has no use for it; to others, who can't be reached. */
	{ "<message to='example.org' id='1'/>", "near<1:service-unavailable" },
	{ "<message type='error' to='example.org' id='1'/>", "" },
	{ "<presence to='example.org' id='1'/>", "" },
	{ "<message to='elsewhere.example' id='1'/>", "near<1:remote-server-not-found" },
	{ "<presence to='u@elsewhere.example' id='1'/>", "near<1:remote-server-not-found" },
	{ "<message type='error' to='u@elsewhere.example' id='1'/>", "" },
};

static void test_who_gets_what_and_who_hears_of_it(void **state)
{
	struct client near = bound("near", near_text), far = bound("far", far_text);

	(void)state;
	BIND(near, "near=r");
	BIND(far, "far=r");
	for (size_t k = 0; k < sizeof routed / sizeof *routed; k++) {
		char xml[256], words[128];
		const char *at = strstr(routed[k].xml, "FAR");
		if (at != NULL)
			snprintf(xml, sizeof xml, "%.*s%s%s", (int)(at - routed[k].xml), routed[k].xml,
				far_text, at + 3);
		else
			snprintf(xml, sizeof xml, "%s", routed[k].xml);
		send_from(&near, xml);
		/* What comes behind it on the same way shows that nothing else came. */
		snprintf(xml, sizeof xml, "<message to='%s/r' id='end'/>", far_text);
		send_from(&near, xml);
		snprintf(words, sizeof words, "%s%sfar<end", routed[k].trail, routed[k].trail[0] != '\0' ? " " : "");
		if (strncmp(routed[k].trail, "near", 4) != 0) {
			expect_trail(words);
			continue;
		}
		/* An error goes the other way meanwhile. */
		until(trail_has("far<end") && trail_has(routed[k].trail));
		trail_clear();
	}
	client_end(&near);
	client_end(&far);
}

/* Of one for many each that isn't there says so by itself. */
static void test_one_for_many(void **state)
{
	struct client near = bound("near", near_text), far = bound("far", far_text);
	struct mk_stanza *s = stanza("<message id='all'/>");
	char there[80];

	(void)state;
	BIND(near, "near=r");
	BIND(far, "far=r");
	snprintf(there, sizeof there, "%s/r", far_text);
	const char *const to[] = { there, "none@example.org", "u@elsewhere.example" };
	mk_stanza_set_from(s, mk_session_jid(near.session));
	for (int k = 0; k < 3; k++) {
		struct mk_jid *j = jid(to[k]);
		mk_send_to(s, j);
		mk_jid_unref(&j);
	}
	mk_stanza_unref(&s);
	until(trail_has("far<all") && trail_has("near<all:service-unavailable") &&
	      trail_has("near<all:remote-server-not-found"));
	trail_clear();
	client_end(&near);
	client_end(&far);
}

/* ---- claimed addresses -------------------------------------------------------------------- */

static uint32_t room_slot;
struct room { unsigned stanzas; };
static void room_ends(void *data)
{
	note("room-ends:%u", ((struct room *)data)->stanzas);
}
static int load_rooms(struct mk_module *m)
{
	static const struct mk_slot slot = { sizeof slot, MK_SLOT_ENTITY | MK_SLOT_KEEPS,
		sizeof(struct room), room_ends };
	return mk_slot_register(m, &slot, &room_slot);
}
PLUGIN(rooms, "rooms", .load = load_rooms);

static void in_room_job(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	(void)i;
	(void)data;
	mk_assert(st != NULL && ev->entity != NULL);
	gate_pass();
}
static enum mk_verdict after_room_job(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	(void)i;
	(void)data;
	note("job:%s", mk_stanza_id(ev->stanza));
	return MK_DONE;
}
static enum mk_verdict to_room(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const char *id = mk_stanza_id(ev->stanza);

	(void)i;
	note("%s:%s:%d", ev->entity != NULL ? "room" : "service", id, (int)ev->match);
	if (strcmp(id, "fail") == 0) {
		ev->error = MK_ERR_NOT_ALLOWED;
		return MK_FAIL;
	}
	if (strcmp(id, "next") == 0)
		return MK_NEXT;
	if (strcmp(id, "job") == 0)
		return mk_ev_job_then(ev, in_room_job, after_room_job, NULL);
	if (strcmp(id, "open") == 0)
		((struct room *)mk_entity_slot(ev->entity, room_slot))->stanzas = 7;
	if (strcmp(id, "close") == 0)
		mk_entity_slot_clear(ev->entity, room_slot);
	return MK_DONE;
}
static enum mk_verdict room_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	note("iq:%d", mk_entity_find(mk_iq_to(r)) != NULL);
	mk_iq_result(r, NULL);
	return MK_DONE;
}
static int claims(struct mk_inst *i)
{
	static const struct mk_claim c = { sizeof c, "rooms.@HOST@", to_room };
	static const struct mk_iq iqs[] = {
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_ROOM, "urn:room", NULL, room_iq, NULL },
		{ sizeof *iqs, MK_IQ_GET | MK_IQ_SERVICE, "urn:service", NULL, room_iq, NULL },
	};
	int r = mk_claim_add(i, &c);

	for (size_t k = 0; k < sizeof iqs / sizeof *iqs && r == 0; k++)
		r = mk_iq_handle(i, &iqs[k]);
	return r;
}
static int claims_badly(struct mk_inst *i)
{
	static const char *const bad[] = { "rooms", "@HOST@", ".@HOST@", "a@b.@HOST@", "a/b.@HOST@",
		"Rooms.@HOST@", "rooms.@HOST@.org", "" };
	struct mk_claim c = { sizeof c, NULL, to_room };

	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
		c.host = bad[k];
		mk_assert(mk_claim_add(i, &c) == -MK_EINVAL);
	}
	return 0;
}

static void test_what_is_claimed_is_the_plugins(void **state)
{
	struct client a = bound("a", near_text);
	struct mk_jid *lobby = jid("lobby@rooms.example.org"), *made = NULL;
	struct mk_inst *i = rooms(claims_badly);

	(void)state;
	BIND(a, "a=r");
	send_from(&a, "<message to='lobby@rooms.example.org' id='1'/>");
	expect_trail("a<1:remote-server-not-found");
	stop(i);
	i = rooms(claims);
	static const struct { const char *xml, *trail; } way[] = {
		{ "<message to='lobby@rooms.example.org' id='1'/>", "room:1:1" },
		{ "<message to='lobby@rooms.example.org/me' id='1'/>", "room:1:1" },
		{ "<presence to='lobby@rooms.example.org/me' id='1'/>", "room:1:2" },
		{ "<message type='error' to='lobby@rooms.example.org' id='1'/>", "room:1:64" },
		{ "<message to='rooms.example.org' id='1'/>", "service:1:1" },
		{ "<message to='lobby@rooms.example.org' id='fail'/>", "room:fail:1 a<fail:not-allowed" },
		{ "<message to='lobby@rooms.example.org' id='next'/>", "room:next:1 a<next:service-unavailable" },
		{ "<presence to='lobby@rooms.example.org' id='next'/>", "room:next:2" },
		{ "<message to='lobby@rooms.example.org' id='job'/>", "room:job:1 job:job" },
		{ "<message to='rooms.example.org' id='next'/>", "service:next:1 a<next:service-unavailable" },
		{ "<iq type='get' to='lobby@rooms.example.org' id='1'><x xmlns='urn:room'/></iq>", "iq:1 a<1" },
		{ "<iq type='get' to='rooms.example.org' id='1'><x xmlns='urn:service'/></iq>", "iq:0 a<1" },
		/* Not the handler's kind, or type: the claim's. */
		{ "<iq type='get' to='lobby@rooms.example.org' id='next'><x xmlns='urn:service'/></iq>",
			"room:next:16 a<next:service-unavailable" },
		{ "<iq type='set' to='lobby@rooms.example.org' id='next'><x xmlns='urn:room'/></iq>",
			"room:next:16 a<next:service-unavailable" },
		{ "<iq type='get' to='lobby@rooms.example.org/me' id='next'><x xmlns='urn:room'/></iq>",
			"room:next:16 a<next:service-unavailable" },
		{ "<iq type='get' to='lobby@rooms.example.org' id='1'/>", "a<1:bad-request" },
		{ "<iq type='result' to='lobby@rooms.example.org' id='1'/>", "room:1:32" },
		{ "<message to='lobby@other.example.org' id='1'/>", "a<1:remote-server-not-found" },
		{ "<message to='lobby@more.rooms.example.org' id='1'/>", "a<1:remote-server-not-found" },
	};
	for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
		send_from(&a, way[k].xml);
		expect_trail(way[k].trail);
		/* Nothing keeps it open. */
		assert_int_equal(sessions_of(lobby), -1);
	}
	/* What waits for a job is in order. */
	gate_set(true);
	send_from(&a, "<message to='lobby@rooms.example.org' id='job'/>");
	until(gate_waiting() == 1);
	send_from(&a, "<message to='lobby@rooms.example.org' id='2'/>");
	expect_trail("room:job:1");
	gate_set(false);
	expect_trail("job:job room:2:1");

	send_from(&a, "<message to='lobby@rooms.example.org' id='open'/>");
	expect_trail("room:open:1");
	assert_int_equal(sessions_of(lobby), 0);
	send_from(&a, "<message to='lobby@rooms.example.org' id='close'/>");
	expect_trail("room:close:1 room-ends:7");
	assert_int_equal(sessions_of(lobby), -1);
	send_from(&a, "<message to='lobby@rooms.example.org' id='open'/>");
	expect_trail("room:open:1");

	assert_true(mk_str_eqz(mk_claim_domain(lobby), "example.org"));
	assert_int_equal(mk_claim_domain(mk_session_jid(a.session)).n, 0);
	assert_int_equal(mk_claim_address("rooms.@HOST@", MK_STR("example.org"), &made), 0);
	assert_string_equal(mk_jid_full(made), "rooms.example.org");
	mk_jid_unref(&made);

	/* With the plugin its rooms end. */
	stop(i);
	expect_trail("room-ends:7");
	assert_int_equal(sessions_of(lobby), -1);
	send_from(&a, "<message to='lobby@rooms.example.org' id='1'/>");
	expect_trail("a<1:remote-server-not-found");
	mk_jid_unref(&lobby);
	client_end(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_request_has_one_answer),
		cmocka_unit_test(test_answers_come_in_the_order_of_requests),
		cmocka_unit_test(test_an_instance_that_stops_leaves_nobody_waiting),
		cmocka_unit_test(test_a_job_at_work_answers_while_its_instance_stops),
		cmocka_unit_test(test_only_who_was_asked_may_answer),
		cmocka_unit_test(test_silence_is_an_answer),
		cmocka_unit_test(test_between_two_order_holds),
		cmocka_unit_test(test_who_gets_what_and_who_hears_of_it),
		cmocka_unit_test(test_one_for_many),
		cmocka_unit_test(test_what_is_claimed_is_the_plugins),
	};

	return cmocka_run_group_tests(tests, open_house, house_close_all);
}
