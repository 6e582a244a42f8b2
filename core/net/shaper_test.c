/*
 * net/shaper_test.c - the arithmetic of token buckets
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "net/shaper.h"

#define SECOND 1000000
#define BEGIN ((mk_usec)123456789012345)

static void test_no_rate_never_waits(void **state)
{
	struct mk_shaper s;

	(void)state;
	mk_shaper_init(&s, 0, 0);
	assert_int_equal(mk_shaper_take(&s, UINT32_MAX, BEGIN), 0);
	assert_int_equal(mk_shaper_take(&s, UINT32_MAX, BEGIN), 0);
}

static void test_a_burst_passes_then_each_pays(void **state)
{
	struct mk_shaper s;

	(void)state;
	mk_shaper_init(&s, 100, 50);
	assert_int_equal(mk_shaper_take(&s, 50, BEGIN), 0);
	assert_int_equal(mk_shaper_take(&s, 1, BEGIN), SECOND / 100);
	assert_int_equal(mk_shaper_take(&s, 9, BEGIN), SECOND / 10);
	/* Paid after just that time, and not sooner. */
	assert_true(mk_shaper_take(&s, 0, BEGIN + SECOND / 10 - 1) > 0);
	assert_int_equal(mk_shaper_take(&s, 0, BEGIN + SECOND / 10), 0);
	assert_int_equal(mk_shaper_take(&s, 1, BEGIN + SECOND / 10), SECOND / 100);
}

static void test_a_bucket_holds_no_more_than_its_burst(void **state)
{
	struct mk_shaper s;

	(void)state;
	mk_shaper_init(&s, 100, 50);
	assert_int_equal(mk_shaper_take(&s, 50, BEGIN), 0);
	assert_int_equal(mk_shaper_take(&s, 50, BEGIN + 1000 * (mk_usec)SECOND), 0);
	assert_int_equal(mk_shaper_take(&s, 1, BEGIN + 1000 * (mk_usec)SECOND), SECOND / 100);
}

static void test_burst_defaults_to_a_second(void **state)
{
	struct mk_shaper s;

	(void)state;
	mk_shaper_init(&s, 7, 0);
	assert_int_equal(mk_shaper_take(&s, 7, BEGIN), 0);
	assert_true(mk_shaper_take(&s, 1, BEGIN) > 0);
}

/* What is asked often, in steps that earn less than a millitoken each. */
static void test_small_steps_add_up(void **state)
{
	struct mk_shaper s;
	mk_usec now = BEGIN;

	(void)state;
	mk_shaper_init(&s, 1, 1);
	assert_int_equal(mk_shaper_take(&s, 2, now), SECOND);
	for (int i = 0; i < 9999; i++)
		assert_true(mk_shaper_take(&s, 0, now += 100) > 0);
	assert_int_equal(mk_shaper_take(&s, 0, now += 100), 0);
}

static void test_the_rate_holds_in_the_long_run(void **state)
{
	static const uint32_t rates[] = { 1, 3, 999, 65536, 10000000, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct mk_shaper s;
		mk_usec now = BEGIN;
		uint64_t taken = 0, most;
		uint32_t piece = rates[i] / 100 + 1;

		mk_shaper_init(&s, rates[i], 0);
		for (int k = 0; k < 10000; k++) {
			now += mk_shaper_take(&s, piece, now);
			taken += piece;
		}
		/* 10000 pieces at that rate, after a second's worth for free. */
		most = (uint64_t)rates[i] * (uint64_t)(now - BEGIN) / SECOND + rates[i] + piece;
		assert_true(taken <= most);
		assert_true(taken + 2 * (uint64_t)piece + rates[i] / 1000 + 1 >= most - piece);
	}
}

static void test_extremes_do_not_overflow(void **state)
{
	struct mk_shaper s;

	(void)state;
	mk_shaper_init(&s, UINT32_MAX, UINT32_MAX);
	assert_int_equal(mk_shaper_take(&s, UINT32_MAX, INT64_MAX - 1), 0);
	assert_true(mk_shaper_take(&s, UINT32_MAX, INT64_MAX - 1) <= SECOND);
	mk_shaper_init(&s, 1, 1);
	for (int i = 0; i < 100; i++)
		assert_true(mk_shaper_take(&s, UINT32_MAX, BEGIN) > 0);
	/* Time that runs backwards earns nothing and breaks nothing. */
	assert_true(mk_shaper_take(&s, 1, BEGIN - SECOND) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_rate_never_waits),
		cmocka_unit_test(test_a_burst_passes_then_each_pays),
		cmocka_unit_test(test_a_bucket_holds_no_more_than_its_burst),
		cmocka_unit_test(test_burst_defaults_to_a_second),
		cmocka_unit_test(test_small_steps_add_up),
		cmocka_unit_test(test_the_rate_holds_in_the_long_run),
		cmocka_unit_test(test_extremes_do_not_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
