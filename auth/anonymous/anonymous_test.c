/*
 * anonymous_test.c - names for one session, and what is removed at its end
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../fake.h"

mk_plugin_entry_fn mk_plugin_entry_anonymous;

static mk_session_close_stored_fn *on_close;
static mk_disco_fn *on_disco;
static enum mk_auth_answer account_answer;
static char removed[128];
static struct mk_jid *session_jid;

int mk_hook_add(struct mk_inst *i, uint16_t hook, int prio, uint32_t match, mk_any_fn *fn,
	enum mk_run run)
{
	(void)i;
	(void)prio;
	(void)match;
	assert_int_equal(hook, 6);
	assert_int_equal(run, MK_STORED);
	on_close = (mk_session_close_stored_fn *)fn;
	return 0;
}

int mk_disco_extend(struct mk_inst *i, uint32_t where, bool items, mk_disco_fn *fn)
{
	(void)i;
	assert_true(where == MK_DISCO_ACCOUNT && !items);
	on_disco = fn;
	return 0;
}

const struct mk_jid *mk_session_jid(const struct mk_session *s)
{
	(void)s;
	return session_jid;
}

enum mk_auth_answer mk_account_exists(struct mk_store *st, const struct mk_jid *user)
{
	(void)st;
	(void)user;
	return account_answer;
}

int mk_account_remove(struct mk_store *st, const struct mk_jid *user)
{
	(void)st;
	snprintf(removed, sizeof removed, "%s", mk_jid_full(user));
	return -MK_ENOENT;
}

static int setup(void **state)
{
	(void)state;
	return mk_plugin_entry_anonymous(MK_ABI_MAJOR)->start(NULL);
}

static void log_in(char user[256], const char *trace)
{
	struct mk_sasl x;

	fake_begin(&x, fake_mech("ANONYMOUS"));
	assert_int_equal(fake_step(fake_mech("ANONYMOUS"), &x, trace,
		trace != NULL ? strlen(trace) : 0), MK_SASL_OK);
	assert_false(x.said);
	memcpy(user, x.user, sizeof x.user);
	fake_end(&x);
}

static void test_names_differ_and_trace_is_ignored(void **state)
{
	char a[256], b[256], c[256];

	(void)state;
	log_in(a, NULL);
	log_in(b, "");
	log_in(c, "sirhc@example.org");
	assert_string_not_equal(a, b);
	assert_string_not_equal(b, c);
	assert_memory_equal(a, "anonymous-", 10);
	assert_int_equal(strlen(a), 10 + 32 + strlen("@example.org"));
	assert_string_equal(a + 42, "@example.org");
	assert_null(strstr(c, "sirhc"));
}

static void test_it_is_offered_only_where_asked_for(void **state)
{
	(void)state;
	assert_true(fake_mech("ANONYMOUS")->flags & MK_MECH_ANONYMOUS);
}

static void close_session(const char *jid, enum mk_auth_answer answer)
{
	struct mk_ev_session ev = { 0 };

	removed[0] = '\0';
	account_answer = answer;
	assert_int_equal(mk_jid_parsez(jid, &session_jid), 0);
	on_close(NULL, &ev, NULL);
	mk_jid_unref(&session_jid);
}

#define NAME "anonymous-abcdefghijklmnopqrstuvwxyz234567"

static void test_what_was_stored_goes_with_the_session(void **state)
{
	(void)state;
	close_session(NAME "@example.org/r", MK_AUTH_UNKNOWN);
	assert_string_equal(removed, NAME "@example.org");
}

static void test_accounts_are_left_alone(void **state)
{
	(void)state;
	close_session("juliet@example.org/r", MK_AUTH_UNKNOWN);
	assert_string_equal(removed, "");
	/* Somebody registered such a name; a source can't say now. */
	close_session(NAME "@example.org/r", MK_AUTH_YES);
	assert_string_equal(removed, "");
	close_session(NAME "@example.org/r", MK_AUTH_LATER);
	assert_string_equal(removed, "");
	close_session("anonymous-x@example.org/r", MK_AUTH_UNKNOWN);
	assert_string_equal(removed, "");
}

static const char *identity_of(const char *jid, const char *before, struct mk_arena *a)
{
	struct mk_elem *q = mk_elem_new(a, "query", "http://jabber.org/protocol/disco#info"), *e;
	struct mk_jid *j;

	if (before != NULL) {
		e = mk_elem_add(q, "identity", NULL);
		mk_elem_set(e, "category", "account");
		mk_elem_set(e, "type", before);
	}
	assert_int_equal(mk_jid_parsez(jid, &j), 0);
	on_disco(NULL, j, NULL, NULL, q);
	mk_jid_unref(&j);
	e = mk_elem_child(q, "identity", NULL);
	return e != NULL ? mk_elem_attr(e, "type") : NULL;
}

static void test_its_account_says_it_is_anonymous(void **state)
{
	struct mk_arena *a = mk_arena_new();

	(void)state;
	assert_string_equal(identity_of(NAME "@example.org", "registered", a), "anonymous");
	assert_string_equal(identity_of(NAME "@example.org", NULL, a), "anonymous");
	assert_string_equal(identity_of("juliet@example.org", "registered", a), "registered");
	mk_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_differ_and_trace_is_ignored),
		cmocka_unit_test(test_it_is_offered_only_where_asked_for),
		cmocka_unit_test(test_what_was_stored_goes_with_the_session),
		cmocka_unit_test(test_accounts_are_left_alone),
		cmocka_unit_test(test_its_account_says_it_is_anonymous),
	};
	return cmocka_run_group_tests_name("anonymous", tests, setup, NULL);
}
