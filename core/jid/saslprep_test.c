/*
 * saslprep_test.c - RFC 4013 3's examples, and what is no password
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <meerkat/auth.h>

#define S(lit) { "" lit, sizeof(lit) - 1 }

static void test_what_is_prepared(void **state)
{
	static const struct { struct mk_str in, out; } cases[] = {
		{ S(""), S("") }, { S("user"), S("user") }, { S("USER"), S("USER") },
		{ S("I\xc2\xadX"), S("IX") },                  /* soft hyphen       */
		{ S("\xc2\xaa"), S("a") },                     /* feminine ordinal  */
		{ S("\xe2\x85\xa8"), S("IX") },                /* Roman nine        */
		{ S("a\xc2\xa0" "b"), S("a b") },              /* no-break space    */
		{ S("\xc2\xad"), S("") },
		{ S("e\xcc\x81"), S("\xc3\xa9") },             /* e, acute          */
		{ S("\xd8\xa7\xd8\xa8"), S("\xd8\xa7\xd8\xa8") },
		{ S(" !~"), S(" !~") },
		/* Newer than Unicode 3.2: as it is. */
		{ S("\xf0\x9f\x94\x91"), S("\xf0\x9f\x94\x91") },
		{ S("p\xf0\x9f\x94\x91\xc2\xadq"), S("p\xf0\x9f\x94\x91q") },
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_str out;
		if (mk_saslprep(a, cases[i].in, &out) != 0 || !mk_str_eq(out, cases[i].out))
			fail_msg("case %zu", i);
	}
	mk_arena_free(&a);
}

static void test_what_is_prohibited(void **state)
{
	static const struct mk_str cases[] = {
		S("\a"), S("\x7f"), S("a\0b"), S("a\nb"), S("\t"),
		S("\xd8\xa7" "1"),                             /* RFC 4013 3: bidi  */
		S("\xc2\x80"), S("\xe2\x80\xae" "a"),          /* control, override */
		S("\xee\x80\x80"), S("\xef\xbf\xbe"),          /* private, nonchar  */
		S("\xff"), S("a\xc3"), S("\xc0\xaf"), S("\xed\xa0\x80"), S("\xf4\x90\x80\x80"),
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_str out;
		if (mk_saslprep(a, cases[i], &out) != -MK_EINVAL)
			fail_msg("case %zu", i);
	}
	mk_arena_free(&a);
}

static void test_length_is_bounded_before_and_after(void **state)
{
	static char big[MK_PASSWORD_MAX + 1];
	struct mk_arena *a = mk_arena_new();
	struct mk_str out;

	(void)state;
	memset(big, 'a', sizeof big);
	assert_int_equal(mk_saslprep(a, (struct mk_str){ big, MK_PASSWORD_MAX }, &out), 0);
	assert_int_equal(out.n, MK_PASSWORD_MAX);
	assert_int_equal(mk_saslprep(a, (struct mk_str){ big, sizeof big }, &out), -MK_EINVAL);
	/* U+FDFA: the one that grows most. */
	for (size_t i = 0; i + 3 <= MK_PASSWORD_MAX; i += 3)
		memcpy(big + i, "\xef\xb7\xba", 3);
	assert_int_equal(mk_saslprep(a, (struct mk_str){ big, 3 * 31 }, &out), 0);
	assert_int_equal(out.n, 33 * 31);
	assert_int_equal(mk_saslprep(a, (struct mk_str){ big, 3 * 32 }, &out), -MK_EINVAL);
	assert_int_equal(mk_saslprep(a, (struct mk_str){ big, 3 * 341 }, &out), -MK_EINVAL);
	mk_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_prepared),
		cmocka_unit_test(test_what_is_prohibited),
		cmocka_unit_test(test_length_is_bounded_before_and_after),
	};
	return cmocka_run_group_tests_name("saslprep", tests, NULL, NULL);
}
