/*
 * muc/mav_test.c - what has changed since
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <meerkat/jid.h>

#include "mav.h"

static struct mk_jid *user(unsigned n)
{
	struct mk_jid *j = NULL;
	char text[64];

	snprintf(text, sizeof text, "u%u@example.org", n);
	assert_int_equal(mk_jid_parsez(text, &j), 0);
	return j;
}

static int64_t note(struct mav **m, int64_t now, unsigned n, enum affil a)
{
	struct mk_jid *j = user(n);
	int64_t v = mav_new_version();

	mav_note(m, now, v, j, a);
	mk_jid_unref(&j);
	return v;
}

struct seen { char text[128]; };

static void see(void *arg, const struct mk_jid *jid, enum affil a)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);
	struct mk_str local = mk_jid_local(jid);

	snprintf(s->text + n, sizeof s->text - n, "%.*s=%s ", (int)local.n, local.p, affil_name(a));
}

static void test_each_who_changed_is_told_once(void **state)
{
	struct mav *m = NULL;
	struct seen s = { "" };
	int64_t v0 = mav_new_version(), v1, v2, v3;

	(void)state;
	assert_false(mav_since(m, v0, see, &s));
	v1 = note(&m, v0, 1, AFFIL_MEMBER);
	v2 = note(&m, v1, 2, AFFIL_ADMIN);
	v3 = note(&m, v2, 1, AFFIL_NONE);
	assert_true(v1 != v0 && v2 != v1 && v3 != v2);
	assert_true(mav_since(m, v0, see, &s));
	assert_string_equal(s.text, "u2=admin u1=none ");
	s.text[0] = '\0';
	assert_true(mav_since(m, v2, see, &s));
	assert_string_equal(s.text, "u1=none ");
	s.text[0] = '\0';
	/* The latest has no changes after it: who knows it is asked for before. */
	assert_false(mav_since(m, v3, see, &s));
	assert_false(mav_since(m, 0, see, &s));
	assert_false(mav_since(m, v1 ^ 1, see, &s));
	assert_string_equal(s.text, "");
	mav_free(&m);
}

static void test_old_versions_are_forgotten(void **state)
{
	struct mav *m = NULL;
	struct seen s = { "" };
	int64_t v[600] = { mav_new_version() };

	(void)state;
	for (unsigned k = 1; k < 600; k++)
		v[k] = note(&m, v[k - 1], 7, AFFIL_MEMBER);
	assert_false(mav_since(m, v[600 - 1 - 257], see, &s));
	assert_true(mav_since(m, v[600 - 1 - 256], see, &s));
	assert_string_equal(s.text, "u7=member ");
	mav_free(&m);
}

static void test_versions_are_read_as_they_are_written(void **state)
{
	static const char *const bad[] = { "", "0", "00000000000000zz", "8000000000000000",
		"0000000000000001 ", "ABCDEF0123456789" };
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (unsigned k = 0; k < 100; k++) {
		struct mk_elem *x = mk_elem_new(a, "x", "urn:test"), *e;
		int64_t since = mav_new_version(), until = mav_new_version();
		mav_show(x, since, until);
		e = mk_elem_child(x, "mav", NS_MAV);
		assert_true(mav_parse(mk_elem_attr(e, "since")) == since);
		assert_true(mav_parse(mk_elem_attr(e, "until")) == until);
	}
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
		assert_true(mav_parse(bad[k]) == 0);
	assert_true(mav_parse(NULL) == 0);
	mk_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_who_changed_is_told_once),
		cmocka_unit_test(test_old_versions_are_forgotten),
		cmocka_unit_test(test_versions_are_read_as_they_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
