/*
 * plain_test.c - PLAIN's messages (RFC 4616 4 has the examples), good and bad
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../fake.h"

mk_plugin_entry_fn mk_plugin_entry_plain;

static struct fake_user users[] = {
	{ "tim@example.org", "tanstaaftanstaaf", "", 0, 0, true },
	{ "kurt@example.org", "xipj3plmq", "", 0, 0, false },
	/* What "I<soft hyphen>X" and U+2168 (Roman nine) become (RFC 4013 3). */
	{ "nine@example.org", "IX", "", 0, 0, true },
	{ 0 }
};

static int setup(void **state)
{
	(void)state;
	fake_users = users;
	return mk_plugin_entry_plain(MK_ABI_MAJOR)->start(NULL);
}

static int before(void **state)
{
	(void)state;
	fake_is_away = false;
	fake_asked = 0;
	return 0;
}

#define S(lit) lit, sizeof lit - 1

static void test_right_passwords_log_in(void **state)
{
	static const struct { const char *text; size_t n; const char *user; unsigned asked; } cases[] = {
		{ S("\0tim\0tanstaaftanstaaf"), "tim@example.org", 0 },
		{ S("tim@example.org\0tim\0tanstaaftanstaaf"), "tim@example.org", 0 },
		{ S("TIM@Example.ORG\0Tim\0tanstaaftanstaaf"), "tim@example.org", 0 },
		{ S("\0kurt\0xipj3plmq"), "kurt@example.org", 1 },
		{ S("\0nine\0I\xc2\xadX"), "nine@example.org", 0 },
		{ S("\0nine\0\xe2\x85\xa8"), "nine@example.org", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_sasl x;
		fake_asked = 0;
		fake_begin(&x, fake_mech("PLAIN"));
		if (fake_step(fake_mech("PLAIN"), &x, cases[i].text, cases[i].n) != MK_SASL_OK)
			fail_msg("case %zu: %s", i, x.condition);
		assert_string_equal(x.user, cases[i].user);
		assert_int_equal(fake_asked, cases[i].asked);
		fake_end(&x);
	}
}

static void test_what_must_be_refused_is(void **state)
{
	static const char bad[] = "malformed-request", no[] = "not-authorized",
		other[] = "invalid-authzid";
	static const struct { const char *text; size_t n; const char *condition; } cases[] = {
		/* Not two NULs. */
		{ S(""), bad }, { S("\0"), bad }, { S("\0\0"), bad }, { S("\0\0\0"), bad },
		{ S("tim"), bad }, { S("tim\0"), bad }, { S("tim\0tanstaaftanstaaf"), bad },
		{ S("\0tim"), bad }, { S("\0tim\0tanstaaftanstaaf\0"), bad },
		{ S("\0tim\0tanstaaf\0tanstaaf"), bad }, { S("\0\0tim\0tanstaaftanstaaf"), bad },
		{ S("\0tim\0\0"), bad }, { S("\0tim\0x\0\0\0"), bad }, { S("a\0b\0c\0d"), bad },
		/* Something empty that may not be. */
		{ S("\0tim\0"), bad }, { S("\0\0tanstaaftanstaaf"), bad },
		{ S("tim@example.org\0\0"), bad }, { S("tim@example.org\0tim\0"), bad },
		/* No UTF-8. */
		{ S("\0tim\0\xff"), bad }, { S("\0ti\xc0\xad\0x"), bad }, { S("\xed\xa0\x80\0tim\0x"), bad },
		{ S("\0tim\0tanstaaf\xc3"), bad }, { S("\0tim\0\xf4\x90\x80\x80"), bad },
		/* Wrong, or nobody's. */
		{ S("\0tim\0tanstaaftanstaa"), no }, { S("\0tim\0tanstaaftanstaaff"), no },
		{ S("\0tim\0Tanstaaftanstaaf"), no }, { S("\0kurt\0tanstaaftanstaaf"), no },
		{ S("\0nobody\0tanstaaftanstaaf"), no }, { S("\0tim\0 tanstaaftanstaaf"), no },
		/* No localpart, no password by RFC 4013. */
		{ S("\0tim@example.org\0tanstaaftanstaaf"), no }, { S("\0ti m\0x"), no },
		{ S("\0tim/r\0tanstaaftanstaaf"), no }, { S("\0@\0x"), no }, { S("\0\"tim\"\0x"), no },
		{ S("\0\xe2\x80\x8b\0x"), no }, { S("\0tim\0\a"), no }, { S("\0tim\0x\x7f"), no },
		{ S("\0tim\0\xc2\xad"), no }, { S("\0tim\0\xd8\xa7" "1"), no }, { S("\0tim\0x\n"), no },
		/* Somebody else's identity (S-06). */
		{ S("kurt@example.org\0tim\0tanstaaftanstaaf"), other },
		{ S("tim\0tim\0tanstaaftanstaaf"), other },
		{ S("tim@example.com\0tim\0tanstaaftanstaaf"), other },
		{ S("tim@example.org/r\0tim\0tanstaaftanstaaf"), other },
		{ S("example.org\0tim\0tanstaaftanstaaf"), other },
		{ S("Ursel\0Kurt\0xipj3plmq"), other }, { S("@\0tim\0tanstaaftanstaaf"), other },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_sasl x;
		fake_begin(&x, fake_mech("PLAIN"));
		if (fake_step(fake_mech("PLAIN"), &x, cases[i].text, cases[i].n) != MK_SASL_FAIL ||
		    strcmp(x.condition, cases[i].condition) != 0 || x.user[0] != '\0')
			fail_msg("case %zu: %s", i, x.condition != NULL ? x.condition : "no failure");
		fake_end(&x);
	}
}

static void test_unknown_users_cost_a_question_like_known_ones(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_begin(&x, fake_mech("PLAIN"));
	fake_step(fake_mech("PLAIN"), &x, S("\0nobody\0password"));
	assert_int_equal(fake_asked, 1);
	fake_step(fake_mech("PLAIN"), &x, S("\0tim\0password"));
	assert_int_equal(fake_asked, 2);
	fake_end(&x);
}

static void test_a_long_password_is_nobodys(void **state)
{
	static char text[5 + MK_PASSWORD_MAX + 1] = "\0tim";
	struct mk_sasl x;

	(void)state;
	memset(text + 5, 'a', sizeof text - 5);
	fake_begin(&x, fake_mech("PLAIN"));
	assert_int_equal(fake_step(fake_mech("PLAIN"), &x, text, sizeof text), MK_SASL_FAIL);
	assert_string_equal(x.condition, "not-authorized");
	fake_end(&x);
}

static void test_storage_that_is_away_is_a_temporary_failure(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_is_away = true;
	fake_begin(&x, fake_mech("PLAIN"));
	assert_int_equal(fake_step(fake_mech("PLAIN"), &x, S("\0kurt\0xipj3plmq")), MK_SASL_FAIL);
	assert_string_equal(x.condition, "temporary-auth-failure");
	fake_end(&x);
}

static void test_a_question_for_other_threads_is_asked_there(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_is_elsewhere = true;
	fake_begin(&x, fake_mech("PLAIN"));
	assert_int_equal(fake_step(fake_mech("PLAIN"), &x, S("\0kurt\0xipj3plmq")), MK_SASL_OK);
	assert_int_equal(fake_asked, 2);
	fake_end(&x);
}

static void test_a_missing_initial_response_is_asked_for(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_begin(&x, fake_mech("PLAIN"));
	assert_int_equal(fake_step(fake_mech("PLAIN"), &x, NULL, 0), MK_SASL_CONTINUE);
	assert_true(x.said && x.say.n == 0);
	assert_int_equal(fake_step(fake_mech("PLAIN"), &x, S("\0tim\0tanstaaftanstaaf")), MK_SASL_OK);
	fake_end(&x);
}

static void test_it_is_marked_as_sending_the_password(void **state)
{
	(void)state;
	assert_true(fake_mech("PLAIN")->flags & MK_MECH_PLAINTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_right_passwords_log_in, before),
		cmocka_unit_test_setup(test_what_must_be_refused_is, before),
		cmocka_unit_test_setup(test_unknown_users_cost_a_question_like_known_ones, before),
		cmocka_unit_test_setup(test_a_long_password_is_nobodys, before),
		cmocka_unit_test_setup(test_storage_that_is_away_is_a_temporary_failure, before),
		cmocka_unit_test_setup(test_a_question_for_other_threads_is_asked_there, before),
		cmocka_unit_test_setup(test_a_missing_initial_response_is_asked_for, before),
		cmocka_unit_test_setup(test_it_is_marked_as_sending_the_password, before),
	};
	return cmocka_run_group_tests_name("plain", tests, setup, NULL);
}
