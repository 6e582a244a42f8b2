/*
 * limit_test.c - counting in windows, and what an address counts as
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "limit.h"

static void test_counts_in_windows(void **state)
{
	struct limit *l = limit_new();

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(limit_take(l, "a", 3, 1000, 5000 + i));
	assert_false(limit_take(l, "a", 3, 1000, 5500));
	assert_false(limit_take(l, "a", 3, 1000, 5999));
	/* The window began with the first. */
	assert_true(limit_take(l, "a", 3, 1000, 6000));
	limit_free(&l);
	assert_null(l);
}

static void test_keys_are_counted_apart(void **state)
{
	struct limit *l = limit_new();

	(void)state;
	assert_true(limit_take(l, "a", 1, 1000, 0));
	assert_true(limit_take(l, "b", 1, 1000, 0));
	assert_false(limit_take(l, "a", 1, 1000, 0));
	assert_false(limit_take(l, "b", 1, 1000, 0));
	limit_free(&l);
}

static void test_zero_is_no_limit(void **state)
{
	struct limit *l = limit_new();

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_true(limit_take(l, "a", 0, 1000, 0));
	limit_free(&l);
}

static void test_a_lower_limit_counts_at_once(void **state)
{
	struct limit *l = limit_new();

	(void)state;
	assert_true(limit_take(l, "a", 5, 1000, 0));
	assert_true(limit_take(l, "a", 5, 1000, 0));
	assert_false(limit_take(l, "a", 1, 1000, 0));
	limit_free(&l);
}

static void test_many_keys_take_the_oldest_places(void **state)
{
	struct limit *l = limit_new();
	char key[32];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		snprintf(key, sizeof key, "key%d", i);
		assert_true(limit_take(l, key, 1, 1000000, i));
		assert_false(limit_take(l, key, 1, 1000000, i));
	}
	limit_free(&l);
}

/* An attacker with many networks must not be able to push it out. */
static void test_the_count_of_all_is_never_forgotten(void **state)
{
	struct limit *l = limit_new();
	char key[32];

	(void)state;
	assert_true(limit_take(l, NULL, 1, 1000000, 0));
	for (int i = 0; i < 100000; i++) {
		snprintf(key, sizeof key, "key%d", i);
		assert_true(limit_take(l, key, 1, 1000000, i));
	}
	assert_false(limit_take(l, NULL, 1, 1000000, 999999));
	assert_true(limit_take(l, NULL, 1, 1000000, 1000000));
	limit_free(&l);
}

static void test_what_an_address_counts_as(void **state)
{
	static const struct { const char *address, *key; } cases[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "::ffff:192.0.2.1", "192.0.2.1" },
		{ "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::" }, { "2001:db8:1:2::1", "2001:db8:1:2::" },
		{ "::1", "::" }, { "fe80::1", "fe80::" }, { "no address", "no address" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		limit_key_of_address(out, cases[i].address);
		assert_string_equal(out, cases[i].key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_in_windows),
		cmocka_unit_test(test_keys_are_counted_apart),
		cmocka_unit_test(test_zero_is_no_limit),
		cmocka_unit_test(test_a_lower_limit_counts_at_once),
		cmocka_unit_test(test_many_keys_take_the_oldest_places),
		cmocka_unit_test(test_the_count_of_all_is_never_forgotten),
		cmocka_unit_test(test_what_an_address_counts_as),
	};
	return cmocka_run_group_tests_name("register/limit", tests, NULL, NULL);
}
