/*
 * session_test.c - bind, conflicts, limits, loss and the end, without a stream
 *
 * Clients and plugins that take notes (test_house.h), on real workers.
 */
#include "session/test_house.h"
#include "base/ban.h"

PLUGIN(p, "pp");

static void opened(struct mk_inst *i, const struct mk_ev_session *ev)
{
	(void)i;
	mk_assert(!mk_session_is_open(ev->session));
	note("open");
}
static void opened_stored(struct mk_inst *i, const struct mk_ev_session *ev, struct mk_store *st)
{
	(void)i, (void)ev, (void)st;
	gate_pass();
	note("open.job");
}
static void closed(struct mk_inst *i, const struct mk_ev_session *ev)
{
	static const char *const why[] = { "?", "by-client", "lost", "replaced", "kicked", "shutdown" };

	(void)i;
	mk_assert(!mk_session_is_open(ev->session));
	/* Still linked: what was about it can be looked up. */
	mk_assert(mk_session_entity(ev->session) == ev->entity);
	note("close:%s", why[ev->reason]);
}
static int notes_life(struct mk_inst *i)
{
	int r = mk_on_session_open(i, 300, opened);
	return r < 0 ? r : mk_on_session_close(i, 300, closed);
}
static int notes_life_stored(struct mk_inst *i)
{
	int r = mk_on_session_open_stored(i, 300, opened_stored);
	return r < 0 ? r : mk_on_session_close(i, 300, closed);
}

static uint32_t session_total;
static void count_one(struct mk_worker *w, void *arg)
{
	(void)arg;
	session_total += mk_sessions_count(w);
}
static uint32_t total(void)
{
	session_total = 0;
	mk_workers_call(count_one, NULL);
	return session_total;
}

/* ---- bind --------------------------------------------------------------------------- */

static void test_a_session_is_open_before_its_client_is_told(void **state)
{
	struct mk_inst *i = p(notes_life);
	struct client a = client_new("a", "u@example.org", "Home"), b = client_new("b", "u@example.org", "");

	(void)state;
	assert_int_equal(sessions_of(a.bare), -1);
	bind_begin(&a);
	expect_trail("open a=Home");
	assert_true(mk_session_is_open(a.session));
	assert_string_equal(mk_jid_full(mk_session_jid(a.session)), "u@example.org/Home");
	/* One of our making can't be guessed: 16 bytes in base32. */
	bind_begin(&b);
	expect_trail("open b=(26)");
	assert_int_equal(sessions_of(a.bare), 2);
	assert_int_equal(total(), 2);
	client_end(&b);
	expect_trail("close:by-client");
	assert_int_equal(sessions_of(a.bare), 1);
	gone(&a, MK_CLOSE_LOST);
	expect_trail("close:lost");
	/* Nothing is left of it. */
	assert_int_equal(sessions_of(a.bare), -1);
	assert_int_equal(total(), 0);
	mk_jid_unref(&a.bare);
	stop(i);
}

static void test_what_can_not_be_bound_leaves_nothing(void **state)
{
	struct mk_inst *i = p(notes_life);
	static char long_one[1100];
	memset(long_one, 'x', sizeof long_one - 1);
	struct client c[] = { client_new("a", "u@example.org", "not\x01this"),
		client_new("b", "u@example.org", long_one), client_new("c", "u@elsewhere.example", "r") };
	static const char *const told[] = { "a=jid", "b=jid", "c=domain" };

	(void)state;
	for (int k = 0; k < 3; k++) {
		bind_begin(&c[k]);
		expect_trail(told[k]);
		assert_int_equal(sessions_of(c[k].bare), -1);
		mk_jid_unref(&c[k].bare);
	}
	/* A domain that is switched off lets nobody in. */
	struct client d = client_new("d", "u@example.org", "r");
	assert_int_equal(mk_domain_enable(MK_STR("example.org"), false), 0);
	bind_begin(&d);
	expect_trail("d=domain");
	assert_int_equal(mk_domain_enable(MK_STR("example.org"), true), 0);
	mk_jid_unref(&d.bare);
	stop(i);
}

/* ---- the same resource twice (RFC 6120 7.7.2.2) --------------------------------------- */

static void test_the_newer_of_a_resource_replaces_the_older(void **state)
{
	struct mk_inst *i = p(notes_life);
	struct client a = client_new("a", "u@example.org", "r"), b = client_new("b", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	bind_begin(&b);
	expect_trail("open a=r a!conflict close:replaced open b=r");
	assert_null(a.session);
	assert_int_equal(sessions_of(a.bare), 1);
	mk_jid_unref(&a.bare);
	client_end(&b);
	expect_trail("close:by-client");
	stop(i);
}

static void test_the_newer_is_refused_where_the_host_type_says_so(void **state)
{
	struct mk_inst *i = p(notes_life);
	struct client a = client_new("a", "u@example.org", "r"), b = client_new("b", "u@example.org", "r");
	struct client c = client_new("c", "u@example.org", "s");

	(void)state;
	atomic_store(&people->resource_conflict, 1);
	bind_begin(&a);
	bind_begin(&b);
	bind_begin(&c);
	expect_trail("open a=r b=conflict open c=s");
	assert_true(mk_session_is_open(a.session));
	atomic_store(&people->resource_conflict, 0);
	client_end(&a);
	client_end(&c);
	expect_trail("close:by-client close:by-client");
	mk_jid_unref(&b.bare);
	stop(i);
}

static void test_an_account_has_so_many_resources(void **state)
{
	struct client c[4] = { client_new("a", "u@example.org", "1"), client_new("b", "u@example.org", "2"),
		client_new("c", "u@example.org", "3"), client_new("d", "u@example.org", "2") };

	(void)state;
	atomic_store(&people->max_resources, 2);
	for (int k = 0; k < 4; k++)
		bind_begin(&c[k]);
	/* Who replaces one needs no room. */
	expect_trail("a=1 b=2 c=limit b!conflict d=2");
	atomic_store(&people->max_resources, 10);
	for (int k = 0; k < 4; k++)
		client_end(&c[k]);
}

/* ---- while session_open is parked -------------------------------------------------------- */

static void test_a_stream_that_goes_while_its_session_opens(void **state)
{
	struct mk_inst *i = p(notes_life_stored);
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	gate_set(true);
	bind_begin(&a);
	until(gate_waiting() == 1);
	assert_false(mk_session_is_open(a.session));
	gone(&a, MK_CLOSE_LOST);
	assert_int_equal(sessions_of(a.bare), 1);
	gate_set(false);
	/* What opened closes, and nobody touches the stream. */
	expect_trail("open.job close:lost gone");
	until(sessions_of(a.bare) == -1);
	mk_jid_unref(&a.bare);
	stop(i);
}

static void kick(void *arg)
{
	mk_session_end(((struct client *)arg)->session, "policy-violation", NULL);
}

static void test_a_session_that_is_ended_while_it_opens(void **state)
{
	struct mk_inst *i = p(notes_life_stored);
	struct client a = client_new("a", "u@example.org", "r"), b = client_new("b", "u@example.org", "r");

	(void)state;
	gate_set(true);
	bind_begin(&a);
	until(gate_waiting() == 1);
	at_home(a.bare, kick, &a);
	expect_trail("a!policy-violation");
	/* The next one of the resource has to wait until that is over. */
	bind_begin(&b);
	expect_trail("b=conflict");
	gate_set(false);
	expect_trail("open.job close:lost gone");
	bind_begin(&b);
	expect_trail("open.job b=r");
	mk_jid_unref(&a.bare);
	client_end(&b);
	expect_trail("close:by-client");
	stop(i);
}

static void test_the_client_hears_when_what_is_stored_has_been_read(void **state)
{
	struct mk_inst *i = p(notes_life_stored);
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	gate_set(true);
	bind_begin(&a);
	until(gate_waiting() == 1);
	/* Nobody can write to it yet: it is not open. */
	struct mk_stanza *s = stanza("<message type='headline' to='u@example.org/r' id='early'/>");
	mk_send(&s);
	gate_set(false);
	/* The hold ends when the client has been told. */
	expect_trail("open.job a=r a<early");
	client_end(&a);
	expect_trail("close:by-client");
	stop(i);
}

/* ---- a stream that broke -------------------------------------------------------------------- */

static enum mk_verdict keeps(struct mk_inst *i, struct mk_ev_session *ev)
{
	(void)i;
	mk_assert(mk_session_is_open(ev->session) && mk_session_stream(ev->session) == NULL);
	note("lost");
	return MK_DONE;
}
static int keeps_lost(struct mk_inst *i)
{
	int r = notes_life(i);
	return r < 0 ? r : mk_on_session_lost(i, 300, MK_M_ALL, keeps);
}

static void test_a_kept_session_ends_with_its_keeper(void **state)
{
	struct mk_inst *i = p(keeps_lost);
	struct client a = client_new("a", "u@example.org", "r"), b = client_new("b", "u@example.org", "s");

	(void)state;
	bind_begin(&a);
	bind_begin(&b);
	expect_trail("open a=r open b=s");
	gone(&a, MK_CLOSE_LOST);
	expect_trail("lost");
	assert_int_equal(sessions_of(a.bare), 2);
	/* Whoever says goodbye is not kept. */
	client_end(&b);
	expect_trail("close:by-client");
	assert_int_equal(sessions_of(a.bare), 1);
	stop(i);
	assert_int_equal(sessions_of(a.bare), -1);
	/* It had withdrawn its hooks before: nobody noted the end. */
	expect_trail("");
	mk_jid_unref(&a.bare);
}

/* ---- entities ---------------------------------------------------------------------------------- */

static void keep(void *arg) { mk_entity_keep(mk_entity_find(arg)); }
static void unkeep(void *arg) { mk_entity_unkeep(mk_entity_find(arg)); }
static void hold(void *arg) { mk_entity_hold(mk_entity_find(arg)); }
static void release(void *arg) { mk_entity_release(mk_entity_find(arg)); }

static void test_an_entity_is_there_while_somebody_wants_it(void **state)
{
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	expect_trail("a=r");
	at_home(a.bare, keep, a.bare);
	at_home(a.bare, hold, a.bare);
	gone(&a, MK_CLOSE_LOST);
	assert_int_equal(sessions_of(a.bare), 0);
	at_home(a.bare, unkeep, a.bare);
	assert_int_equal(sessions_of(a.bare), 0);
	at_home(a.bare, release, a.bare);
	assert_int_equal(sessions_of(a.bare), -1);
	mk_jid_unref(&a.bare);
}

/* One lives at its home: nowhere else is it found. */
static void find_abroad(struct mk_worker *w, void *arg)
{
	if (w != mk_home_of(arg) && mk_entity_find(arg) != NULL)
		note("found");
}

static void test_an_entity_is_found_at_its_home_only(void **state)
{
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	expect_trail("a=r");
	mk_workers_call(find_abroad, a.bare);
	assert_null(mk_entity_find(a.bare));   /* no worker at all              */
	client_end(&a);
	expect_trail("");
}

/* ---- the queue, counting -------------------------------------------------------------------------- */

struct push { struct client *c; int n; bool go_on; };
static void push_many(void *arg)
{
	struct push *x = arg;

	for (int k = 0; k < x->n; k++) {
		struct mk_stanza *s = stanza("<presence type='unavailable' to='x@example.org/none'/>");
		mk_stanza_set_from(s, mk_session_jid(x->c->session));
		x->go_on = mk_session_in(x->c->session, s);
	}
}
static uint32_t handled;
static void look_count(void *arg) { handled = mk_session_in_count(((struct client *)arg)->session); }

static void test_a_full_queue_stops_reading(void **state)
{
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	expect_trail("a=r");
	at_home(a.bare, hold, a.bare);
	struct push x = { &a, MK_QUEUE_MAX - 1, false };
	at_home(a.bare, push_many, &x);
	assert_true(x.go_on);
	x.n = 1;
	at_home(a.bare, push_many, &x);
	assert_false(x.go_on);
	at_home(a.bare, look_count, &a);
	assert_int_equal(handled, 0);
	at_home(a.bare, release, a.bare);
	at_home(a.bare, look_count, &a);
	assert_int_equal(handled, MK_QUEUE_MAX);
	client_end(&a);
}

static void send_many(void *arg)
{
	struct push *x = arg;

	for (int k = 0; k < x->n; k++) {
		struct mk_stanza *s = stanza("<message id='m' to='u@example.org'><body>x</body></message>");
		mk_stanza_set_from(s, mk_session_jid(x->c->session));
		mk_route(&s, s->to);
	}
}
struct look { const struct mk_jid *bare; uint32_t n; };
static void look_queue(void *arg)
{
	struct look *l = arg;
	l->n = mk_entity_find(l->bare)->queue_n;
}

static void test_others_can_not_fill_a_queue_without_end(void **state)
{
	struct client a = client_new("a", "u@example.org", "r"), b = client_new("b", "v@example.org", "s");
	struct look l = { a.bare, 0 };

	(void)state;
	bind_begin(&a);
	bind_begin(&b);
	expect_trail("a=r b=s");
	at_home(a.bare, hold, a.bare);
	struct push x = { &b, MK_QUEUE_OTHERS, false };
	at_home(b.bare, send_many, &x);
	while (l.n < MK_QUEUE_OTHERS)
		at_home(a.bare, look_queue, &l);
	x.n = 2;
	at_home(b.bare, send_many, &x);
	expect_trail("b<m:resource-constraint b<m:resource-constraint");
	at_home(a.bare, look_queue, &l);
	assert_int_equal(l.n, MK_QUEUE_OTHERS);
	/* Nothing here delivers to bare JIDs: nobody is left to hear of each. */
	client_end(&b);
	at_home(a.bare, release, a.bare);
	while (l.n > 0)
		at_home(a.bare, look_queue, &l);
	client_end(&a);
}

static void answered_early(void *arg)
{
	struct client *c = arg;

	mk_session_acks_on(c->session);
	struct push x = { c, 2, false };
	push_many(&x);
	mk_session_in_answered(c->session);
}
static uint32_t pending;
static void look_pending(void *arg) { pending = mk_session_in_pending(((struct client *)arg)->session); }

static void test_nothing_counts_before_what_came_earlier(void **state)
{
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	expect_trail("a=r");
	at_home(a.bare, hold, a.bare);
	at_home(a.bare, answered_early, &a);
	at_home(a.bare, look_count, &a);
	at_home(a.bare, look_pending, &a);
	assert_int_equal(handled, 0);
	assert_int_equal(pending, 3);
	at_home(a.bare, release, a.bare);
	at_home(a.bare, look_count, &a);
	at_home(a.bare, look_pending, &a);
	assert_int_equal(handled, 3);
	assert_int_equal(pending, 0);
	client_end(&a);
}

/* ---- the end of a domain ---------------------------------------------------------------------------- */

static void test_a_domain_that_is_shut_ends_its_sessions(void **state)
{
	struct mk_inst *i = p(notes_life);
	struct client a = client_new("a", "u@example.org", "r");

	(void)state;
	bind_begin(&a);
	expect_trail("open a=r");
	mk_domain_shut(MK_STR("example.org"));
	expect_trail("a!host-gone close:kicked");
	assert_int_equal(sessions_of(a.bare), -1);
	mk_jid_unref(&a.bare);
	stop(i);
}

/* ---- the end of the workers ------------------------------------------------------------------------- */

static void test_rows_may_be_written_after_the_workers_have_ended(void **state)
{
	struct mk_stanza *s = stanza("<message from='u@example.org/r'><body>x</body></message>");
	struct mk_stanza *ticket;

	(void)state;
	s->is_awaited = true;
	ticket = mk_stanza_ticket(s);
	mk_stanza_ticket_done(ticket);         /* nobody is there to be told   */
	mk_stanza_unref(&s);
}

int main(void)
{
	const struct CMUnitTest after[] = {
		cmocka_unit_test(test_rows_may_be_written_after_the_workers_have_ended),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_session_is_open_before_its_client_is_told),
		cmocka_unit_test(test_what_can_not_be_bound_leaves_nothing),
		cmocka_unit_test(test_the_newer_of_a_resource_replaces_the_older),
		cmocka_unit_test(test_the_newer_is_refused_where_the_host_type_says_so),
		cmocka_unit_test(test_an_account_has_so_many_resources),
		cmocka_unit_test(test_a_stream_that_goes_while_its_session_opens),
		cmocka_unit_test(test_a_session_that_is_ended_while_it_opens),
		cmocka_unit_test(test_the_client_hears_when_what_is_stored_has_been_read),
		cmocka_unit_test(test_a_kept_session_ends_with_its_keeper),
		cmocka_unit_test(test_an_entity_is_there_while_somebody_wants_it),
		cmocka_unit_test(test_an_entity_is_found_at_its_home_only),
		cmocka_unit_test(test_a_full_queue_stops_reading),
		cmocka_unit_test(test_others_can_not_fill_a_queue_without_end),
		cmocka_unit_test(test_nothing_counts_before_what_came_earlier),
		cmocka_unit_test(test_a_domain_that_is_shut_ends_its_sessions),
	};

	int failed = cmocka_run_group_tests(tests, house_open, house_close_all);

	return failed + cmocka_run_group_tests(after, NULL, NULL);
}
