/*
 * muc/slow_test.c - who may speak again
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "slow.h"

static struct mk_jid *user(unsigned n, const char *resource)
{
	struct mk_jid *j = NULL;
	char text[64];

	snprintf(text, sizeof text, "u%u@example.org/%s", n, resource);
	assert_int_equal(mk_jid_parsez(text, &j), 0);
	return j;
}

static void test_a_user_waits_whatever_the_client(void **state)
{
	struct mk_jid *a = user(1, "a"), *b = user(1, "b"), *c = user(2, "a");
	struct slow *s = NULL;

	(void)state;
	assert_int_equal(slow_take(&s, a, 20000, 1000), 0);
	assert_int_equal(slow_take(&s, a, 20000, 1000), 20000);
	assert_int_equal(slow_take(&s, b, 20000, 6000), 15000);
	assert_int_equal(slow_take(&s, c, 20000, 6000), 0);
	/* Who was refused does not wait longer for it. */
	assert_int_equal(slow_take(&s, a, 20000, 20999), 1);
	assert_int_equal(slow_take(&s, b, 20000, 21000), 0);
	assert_int_equal(slow_take(&s, a, 20000, 21001), 19999);
	slow_free(&s);
	assert_null(s);
	mk_jid_unref(&a);
	mk_jid_unref(&b);
	mk_jid_unref(&c);
}

/* Many users, each at most once in the time; nobody is taken for another. */
static void test_many_users_are_told_apart(void **state)
{
	struct slow *s = NULL;

	(void)state;
	for (unsigned round = 0; round < 3; round++)
		for (unsigned n = 0; n < 3000; n++) {
			struct mk_jid *j = user(n, "r");
			int64_t now = round * 5000 + n;
			assert_int_equal(slow_take(&s, j, 5000, now), 0);
			assert_int_equal(slow_take(&s, j, 5000, now + 1), 4999);
			mk_jid_unref(&j);
		}
	slow_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_user_waits_whatever_the_client),
		cmocka_unit_test(test_many_users_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
