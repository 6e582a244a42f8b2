/*
 * event_test.c - a stanza on its way through handlers: order, verdicts, jobs, edits
 *
 * Three plugins of this file on real workers and a real pool (test_house.h). What a
 * handler does is in the stanza's id: "b:drop" makes plugin b drop it.
 */
#include "session/test_house.h"
#include "base/ban.h"

PLUGIN(a, "aa");
PLUGIN(b, "bb");
PLUGIN(c, "cc");

static const char *name_of(const struct mk_inst *i) { return mk_inst_plugin(i); }

/* What the id asks of this plugin, or "". */
static const char *wish(const struct mk_inst *i, const struct mk_ev_stanza *ev)
{
	const char *id = mk_stanza_id(ev->stanza);

	return id != NULL && id[0] == name_of(i)[0] && id[1] == ':' ? id + 2 : "";
}

static enum mk_verdict verdict(const char *word, struct mk_ev_stanza *ev)
{
	if (strcmp(word, "forbidden") == 0) {
		ev->error = MK_ERR_FORBIDDEN;
		return MK_FAIL;
	}
	return strcmp(word, "done") == 0 ? MK_DONE : strcmp(word, "drop") == 0 ? MK_DROP
		: strcmp(word, "fail") == 0 ? MK_FAIL : MK_NEXT;
}

static enum mk_verdict plain(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	note("%s", name_of(i));
	return verdict(wish(i, ev), ev);
}
static enum mk_verdict late(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)ev;
	note("%s.late", name_of(i));
	return MK_NEXT;
}
static int plain_in(struct mk_inst *i) { return mk_on_stanza_in(i, 300, MK_M_ALL, plain); }
static int plain_twice(struct mk_inst *i)
{
	int r = mk_on_stanza_in(i, 900, MK_M_MESSAGE, late);
	return r < 0 ? r : mk_on_stanza_in(i, 100, MK_M_ALL, plain);
}

/* ---- order and verdicts -------------------------------------------------------------- */

static const struct { const char *id, *trail; } verdicts[] = {
	{ "go", "aa bb cc aa.late one<go:service-unavailable" },
	{ "a:done", "aa" },
	{ "b:drop", "aa bb" },
	{ "c:fail", "aa bb cc one<c:fail:not-allowed" },
	{ "b:forbidden", "aa bb one<b:forbidden:forbidden" },
};

static void test_handlers_run_in_order_until_one_says_enough(void **state)
{
	struct mk_inst *ic = c(plain_in), *ib = b(plain_in), *ia = a(plain_twice);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	for (size_t k = 0; k < sizeof verdicts / sizeof *verdicts; k++) {
		char xml[128];
		snprintf(xml, sizeof xml, "<message to='nobody@example.org' id='%s'/>", verdicts[k].id);
		send_from(&one, xml);
		expect_trail(verdicts[k].trail);
	}
	/* Another kind: not for who asked for messages. */
	send_from(&one, "<presence to='nobody@example.org' id='go'/>");
	expect_trail("aa bb cc");
	/* Nobody answers an error, whatever is made of it. */
	send_from(&one, "<message type='error' to='nobody@example.org' id='c:fail'/>");
	expect_trail("aa bb cc");
	client_end(&one);
	expect_trail("");
	stop(ia);
	stop(ib);
	stop(ic);
}

/* ---- parking -------------------------------------------------------------------------- */

static enum mk_verdict stored(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	mk_assert(st != NULL && mk_self == NULL && mk_in_job());
	gate_pass();
	note("%s.job", name_of(i));
	return verdict(wish(i, ev), ev);
}
static enum mk_verdict asks_for_a_job(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const char *w = wish(i, ev);

	note("%s", name_of(i));
	return strncmp(w, "job", 3) == 0 ? mk_ev_job(ev, stored) : verdict(w, ev);
}
static int stored_in(struct mk_inst *i) { return mk_on_stanza_in_stored(i, 300, MK_M_MESSAGE, stored); }
static int job_in(struct mk_inst *i) { return mk_on_stanza_in(i, 300, MK_M_MESSAGE, asks_for_a_job); }

static void posted(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	(void)i, (void)bare;
	note("post%s", e != NULL ? (const char *)data : "-nobody");
}

static enum mk_verdict ends(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	note("%s:%s", name_of(i), mk_stanza_id(ev->stanza));
	return MK_DONE;
}
static int ends_in(struct mk_inst *i) { return mk_on_stanza_in(i, 500, MK_M_ALL, ends); }

static void nothing(void *arg) { (void)arg; }

static void test_what_comes_while_one_is_parked_waits_in_order(void **state)
{
	struct mk_inst *ia = a(plain_in), *ib = b(job_in), *ic = c(ends_in);
	struct client one = client_new("one", "one@example.org", "r");
	struct client two = client_new("two", "two@example.org", "r");

	(void)state;
	bind_begin(&one);
	bind_begin(&two);
	expect_trail("one=r two=r");
	gate_set(true);
	send_from(&one, "<message id='b:job'/>");
	until(gate_waiting() == 1);
	send_from(&one, "<message id='second'/>");
	mk_entity_post(ia, one.bare, posted, "ed", NULL);
	at_home(one.bare, nothing, NULL);      /* the post has come             */
	send_from(&one, "<presence id='third'/>");
	struct mk_stanza *s = stanza("<message to='one@example.org/r' id='fourth'/>");
	mk_send(&s);
	/* Another entity is not held. */
	send_from(&two, "<message id='other'/>");
	expect_trail("aa bb aa bb cc:other");
	gate_set(false);
	expect_trail("bb.job cc:b:job aa bb cc:second posted aa cc:third one<fourth");
	client_end(&one);
	client_end(&two);
	stop(ia);
	stop(ib);
	stop(ic);
}

/* Of many, each parked for as long as the scheduler likes. */
static void test_jobs_do_not_change_the_order(void **state)
{
	struct mk_inst *ib = b(stored_in), *ic = c(ends_in);
	struct client one = client_new("one", "one@example.org", "r");
	struct mk_buf want = { 0 };

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	for (int k = 0; k < 200; k++) {
		char xml[64];
		/* Presence is none of b's: it would be quicker. */
		snprintf(xml, sizeof xml, "<%s id='%d'/>", k % 3 == 0 ? "presence" : "message", k);
		send_from(&one, xml);
		mk_buf_printf(&want, "%s%scc:%d", k > 0 ? " " : "", k % 3 == 0 ? "" : "bb.job ", k);
	}
	expect_trail(mk_buf_z(&want));
	mk_buf_free(&want);
	client_end(&one);
	stop(ib);
	stop(ic);
}

static void test_a_verdict_from_a_job_counts(void **state)
{
	static const struct { const char *id, *trail; } cases[] = {
		{ "go", "aa bb.job cc one<go:service-unavailable" },
		{ "b:done", "aa bb.job" },
		{ "b:drop", "aa bb.job" },
		{ "b:fail", "aa bb.job one<b:fail:not-allowed" },
		{ "b:forbidden", "aa bb.job one<b:forbidden:forbidden" },
	};
	struct mk_inst *ia = a(plain_in), *ib = b(stored_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		char xml[128];
		snprintf(xml, sizeof xml, "<message to='nobody@example.org' id='%s'/>", cases[k].id);
		send_from(&one, xml);
		expect_trail(cases[k].trail);
	}
	client_end(&one);
	stop(ia);
	stop(ib);
	stop(ic);
}

/* ---- two halves -------------------------------------------------------------------------- */

static void work(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	(void)ev;
	mk_assert(st != NULL && mk_self == NULL);
	gate_pass();
	note("%s.work%s", name_of(i), (const char *)data);
}
static enum mk_verdict work_done(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	mk_assert(mk_self != NULL && mk_home_of(ev->from) == mk_self);
	note("%s.done%s", name_of(i), (const char *)data);
	return verdict(wish(i, ev), ev);
}
/* Finds in the second half that more is to do: twice. */
static enum mk_verdict work_again(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	const char *times = data;

	mk_assert(mk_self != NULL && mk_home_of(ev->from) == mk_self);
	note("%s.again%s", name_of(i), times);
	return mk_ev_job_then(ev, work, strlen(times) == 1 ? work_again : work_done,
		strlen(times) == 1 ? "??" : "!");
}
static enum mk_verdict in_steps(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	return mk_ev_job_then(ev, work, work_again, "?");
}
static int steps_in(struct mk_inst *i) { return mk_on_stanza_in(i, 300, MK_M_MESSAGE, in_steps); }

static enum mk_verdict in_halves(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	return mk_ev_job_then(ev, work, work_done, "!");
	(void)i;
}
static int halves_in(struct mk_inst *i) { return mk_on_stanza_in(i, 300, MK_M_MESSAGE, in_halves); }

static void test_the_second_half_runs_at_home_and_decides(void **state)
{
	struct mk_inst *ib = b(halves_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	send_from(&one, "<message to='nobody@example.org' id='go'/>");
	expect_trail("bb.work! bb.done! cc one<go:service-unavailable");
	send_from(&one, "<message to='nobody@example.org' id='b:done'/>");
	expect_trail("bb.work! bb.done!");
	/* Its instance is about to stop: the second half alone. */
	atomic_store(&ib->state, MK_INST_STOPPING);
	send_from(&one, "<message to='nobody@example.org' id='b:drop'/>");
	expect_trail("bb.done!");
	atomic_store(&ib->state, MK_INST_RUNNING);
	client_end(&one);
	stop(ib);
	stop(ic);
}

static void test_the_second_half_may_ask_for_another_job(void **state)
{
	struct mk_inst *ib = b(steps_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	send_from(&one, "<message to='nobody@example.org' id='go'/>");
	expect_trail("bb.work? bb.again? bb.work?? bb.again?? bb.work! bb.done! cc "
		"one<go:service-unavailable");
	/* Its instance is about to stop: each second half, and no job. */
	atomic_store(&ib->state, MK_INST_STOPPING);
	send_from(&one, "<message to='nobody@example.org' id='b:drop'/>");
	expect_trail("bb.again? bb.again?? bb.done!");
	atomic_store(&ib->state, MK_INST_RUNNING);
	client_end(&one);
	stop(ib);
	stop(ic);
}

/* ---- instances that stop -------------------------------------------------------------------- */

static void test_a_handler_that_stopped_meanwhile_is_passed_over(void **state)
{
	struct mk_inst *ia = a(stored_in), *ib = b(plain_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	gate_set(true);
	send_from(&one, "<message to='nobody@example.org' id='go'/>");
	until(gate_waiting() == 1);
	stop(ib);
	gate_set(false);
	expect_trail("aa.job cc one<go:service-unavailable");
	client_end(&one);
	stop(ia);
	stop(ic);
}

static void *open_soon(void *arg)
{
	struct mk_inst *i = arg;

	until(atomic_load(&i->state) == MK_INST_STOPPING);
	note("stopping");
	gate_set(false);
	return NULL;
}

static void test_an_instance_waits_for_its_job_before_it_stops(void **state)
{
	struct mk_inst *ia = a(plain_in), *ib = b(halves_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");
	pthread_t t;

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	gate_set(true);
	send_from(&one, "<message to='nobody@example.org' id='go'/>");
	until(gate_waiting() == 1);
	expect_trail("aa");
	assert_int_equal(pthread_create(&t, NULL, open_soon, ib), 0);
	stop(ib);
	note("stopped");
	pthread_join(t, NULL);
	/* Its verdict counted, and those after it went on. */
	/* "stopped" may come before the rest of the chain: its own part is over. */
	until(trail_has("one<go") && trail_has("stopped"));
	assert_true(trail_has("stopping bb.work! bb.done! "));
	assert_true(trail_has(" cc "));
	trail_clear();
	client_end(&one);
	stop(ia);
	stop(ic);
}

/* ---- a session that ends meanwhile ------------------------------------------------------------ */

static void test_a_parked_stanza_outlives_its_session(void **state)
{
	struct mk_inst *ib = b(stored_in), *ic = c(plain_in);
	struct client one = client_new("one", "one@example.org", "r");
	struct client two = client_new("two", "two@example.org", "r");

	(void)state;
	bind_begin(&one);
	bind_begin(&two);
	expect_trail("one=r two=r");
	gate_set(true);
	send_from(&one, "<message to='two@example.org/r' id='last'/>");
	until(gate_waiting() == 1);
	gone(&one, MK_CLOSE_BY_CLIENT);
	/* The entity is held, though nobody is there any more. */
	assert_int_equal(sessions_of(one.bare), 0);
	gate_set(false);
	expect_trail("bb.job cc two<last");
	until(sessions_of(one.bare) == -1);
	mk_jid_unref(&one.bare);
	client_end(&two);
	stop(ib);
	stop(ic);
}

/* ---- edits --------------------------------------------------------------------------------------- */

static bool has_by(const struct mk_elem *c, void *by)
{
	return mk_streq(mk_elem_attr(c, "by"), by);
}

static enum mk_verdict edits(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const char *w = wish(i, ev);

	if (strcmp(w, "add") == 0) {
		mk_elem_set(mk_ev_add(ev, "x", "urn:x"), "by", "me");
	} else if (strcmp(w, "set") == 0) {
		mk_ev_set_attr(ev, "type", "chat");
		mk_ev_set_attr(ev, "xml:lang", NULL);
	} else if (strcmp(w, "strip") == 0) {
		note("%u", mk_ev_strip(ev, "x", "urn:x", "me"));
		note("%u", mk_ev_strip(ev, "x", "urn:x", "me"));
		note("%u", mk_ev_strip(ev, NULL, "urn:y", NULL));
	} else if (strcmp(w, "strip-if") == 0) {
		note("%u", mk_ev_strip_if(ev, has_by, "me"));
		note("%u", mk_ev_strip_if(ev, has_by, "me"));
	} else if (strcmp(w, "replace") == 0) {
		struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "headline", NULL, NULL);
		mk_stanza_set_id(s, "other");
		mk_ev_replace(ev, &s);
		mk_assert(s == NULL && ev->from != NULL && ev->to != NULL);
		note("%s>%s", mk_jid_full(ev->from), mk_jid_full(ev->to));
	}
	return MK_NEXT;
}
/* What those after it see. */
static enum mk_verdict shows(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct mk_arena *arena = mk_arena_new();
	struct mk_str s = mk_elem_write(arena, mk_stanza_elem(ev->stanza));

	(void)i;
	note("%.*s", (int)s.n, s.p);
	mk_arena_free(&arena);
	return MK_DROP;
}
static int edits_in(struct mk_inst *i) { return mk_on_stanza_deliver(i, 300, MK_M_MESSAGE, edits); }
static int shows_in(struct mk_inst *i) { return mk_on_stanza_deliver(i, 500, MK_M_MESSAGE, shows); }

static void test_edits_are_for_those_after_and_never_for_others(void **state)
{
	static const struct { const char *id, *more, *trail; } cases[] = {
		{ "b:add", "<body>1</body>", "<message xmlns='jabber:client' to='one@example.org' id='b:add'>"
		  "<body>1</body><x xmlns='urn:x' by='me'/></message>" },
		{ "b:set", "", "<message xmlns='jabber:client' to='one@example.org' id='b:set' type='chat'/>" },
		{ "b:strip", "<x xmlns='urn:x' by='me'/><x xmlns='urn:x' by='you'/><x xmlns='urn:x' by='me'/>"
		  "<z xmlns='urn:y'/>", "2 0 1 <message xmlns='jabber:client' to='one@example.org' id='b:strip'>"
		  "<x xmlns='urn:x' by='you'/></message>" },
		{ "b:strip-if", "<x xmlns='urn:x' by='me'/>text<y by='you'/><z by='me'/>", "2 0 "
		  "<message xmlns='jabber:client' to='one@example.org' id='b:strip-if'>"
		  "text<y by='you'/></message>" },
		{ "b:replace", "", "from@example.org>one@example.org "
		  "<message xmlns='jabber:client' type='headline' id='other'/>" },
	};
	struct mk_inst *ib = b(edits_in), *ic = c(shows_in);
	struct mk_jid *from = jid("from@example.org"), *to = jid("one@example.org");

	(void)state;
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
		for (int shared = 0; shared < 2; shared++) {
			struct mk_buf xml = { 0 };
			mk_buf_printf(&xml, "<message to='one@example.org' id='%s'%s>%s</message>", cases[k].id,
				strcmp(cases[k].id, "b:set") == 0 ? " xml:lang='de'" : "", cases[k].more);
			struct mk_stanza *s = stanza(mk_buf_z(&xml)), *held = NULL;
			struct mk_arena *arena = mk_arena_new();
			struct mk_str before = MK_STR_NONE, after;
			if (strcmp(cases[k].id, "b:replace") == 0) {
				mk_stanza_unref(&s);
				s = mk_stanza_new(MK_MESSAGE, NULL, from, to);
				mk_stanza_set_id(s, cases[k].id);
			}
			if (shared) {
				mk_stanza_seal(s);
				held = mk_stanza_ref(s);
				before = mk_elem_write(arena, mk_stanza_elem(held));
			}
			mk_send(&s);
			expect_trail(cases[k].trail);
			if (shared) {
				after = mk_elem_write(arena, mk_stanza_elem(held));
				assert_true(mk_str_eq(before, after));
				mk_stanza_unref(&held);
			}
			mk_arena_free(&arena);
			mk_buf_free(&xml);
		}
	mk_jid_unref(&from);
	mk_jid_unref(&to);
	stop(ib);
	stop(ic);
}

/* ---- who took it ------------------------------------------------------------------------------------ */

static enum mk_verdict gives(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	for (struct mk_session *s = mk_entity_sessions(ev->entity); s != NULL; s = mk_session_next(s)) {
		mk_assert(!mk_ev_was_delivered_to(ev, s));
		mk_ev_deliver(ev, s);
		mk_assert(mk_ev_was_delivered_to(ev, s));
		break;
	}
	note("%s", mk_ev_is_taken(ev) ? "taken" : "not-taken");
	return MK_NEXT;
}
static int gives_in(struct mk_inst *i) { return mk_on_stanza_deliver(i, 300, MK_M_MESSAGE, gives); }

static void test_what_one_has_taken_is_not_delivered_again(void **state)
{
	struct mk_inst *ib = b(gives_in);
	struct client one = client_new("one", "one@example.org", "r");

	(void)state;
	bind_begin(&one);
	expect_trail("one=r");
	struct mk_stanza *s = stanza("<message to='one@example.org/r' id='m'/>");
	mk_send(&s);
	expect_trail("one<m taken");
	client_end(&one);
	stop(ib);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handlers_run_in_order_until_one_says_enough),
		cmocka_unit_test(test_what_comes_while_one_is_parked_waits_in_order),
		cmocka_unit_test(test_jobs_do_not_change_the_order),
		cmocka_unit_test(test_a_verdict_from_a_job_counts),
		cmocka_unit_test(test_the_second_half_runs_at_home_and_decides),
		cmocka_unit_test(test_the_second_half_may_ask_for_another_job),
		cmocka_unit_test(test_a_handler_that_stopped_meanwhile_is_passed_over),
		cmocka_unit_test(test_an_instance_waits_for_its_job_before_it_stops),
		cmocka_unit_test(test_a_parked_stanza_outlives_its_session),
		cmocka_unit_test(test_edits_are_for_those_after_and_never_for_others),
		cmocka_unit_test(test_what_one_has_taken_is_not_delivered_again),
	};

	return cmocka_run_group_tests(tests, house_open, house_close_all);
}
