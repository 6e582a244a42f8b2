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
static void job_over(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	(void)i;
	mk_assert(mk_self != NULL);
	note("over:%d", -err);
	if (err == 0 && strcmp(wish(r), "second") == 0)
		mk_iq_result(r, NULL);
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
	};

	return cmocka_run_group_tests(tests, open_house, house_close_all);
}
