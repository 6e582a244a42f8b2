/*
 * loop/timer_test.c - the wheel under a clock of our own, and once under a
 * real one
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include "base/assert.h"
#include "loop/worker.h"

static struct mk_worker fake;

struct probe {
	struct mk_wtimer t;
	mk_usec wanted;                /* earliest time it may fire             */
	int fired;
	int again;                     /* restart it so often                   */
	int64_t again_ms;
};

static int order[64], order_n;
static struct probe probes[64];

static int set_up(void **state)
{
	(void)state;
	mk_self = &fake;
	fake.now = INT64_C(1234567890123);     /* not on a tick                 */
	mk_wheel_init(&fake.wheel);
	memset(probes, 0, sizeof(probes));
	order_n = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mk_wheel_fini(&fake.wheel);
	mk_self = NULL;
	return 0;
}

static void advance(int64_t ms)
{
	fake.now += ms * 1000;
	mk_wheel_run(&fake.wheel, fake.now);
}

static void on_probe(struct mk_wtimer *t)
{
	struct probe *p = MK_CONTAINER(t, struct probe, t);

	assert_false(mk_wtimer_is_running(t));
	assert_true(fake.now >= p->wanted);
	p->fired++;
	if (order_n < 64 && p >= probes && p < probes + 64)
		order[order_n++] = (int)(p - probes);
	if (p->again-- > 0)
		mk_wtimer_start(t, p->again_ms, on_probe);
}

static void start(struct probe *p, int64_t ms)
{
	p->wanted = fake.now + ms * 1000;
	mk_wtimer_start(&p->t, ms, on_probe);
}

static void test_they_fire_in_order_and_not_early(void **state)
{
	static const int64_t ms[] = { 700, 100, 300, 5000, 300, 0, -5 };

	(void)state;
	for (int i = 0; i < 7; i++)
		start(&probes[i], ms[i] < 0 ? 0 : ms[i]);
	assert_int_equal(fake.wheel.count, 7);
	for (int i = 0; i < 600; i++)
		advance(10);
	static const int want[] = { 5, 6, 1, 2, 4, 0, 3 };
	assert_int_equal(order_n, 7);
	for (int i = 0; i < 7; i++)
		assert_int_equal(order[i], want[i]);
	assert_int_equal(fake.wheel.count, 0);
}

static void test_stop_and_restart(void **state)
{
	(void)state;
	start(&probes[0], 1000);
	start(&probes[1], 1000);
	assert_true(mk_wtimer_is_running(&probes[0].t));
	mk_wtimer_stop(&probes[0].t);
	mk_wtimer_stop(&probes[0].t);
	assert_false(mk_wtimer_is_running(&probes[0].t));
	advance(500);
	start(&probes[1], 1000);                       /* pushed back           */
	assert_int_equal(fake.wheel.count, 1);
	advance(900);
	assert_int_equal(probes[1].fired, 0);
	advance(200);
	assert_int_equal(probes[0].fired, 0);
	assert_int_equal(probes[1].fired, 1);
}

static void stop_another(struct mk_wtimer *t)
{
	struct probe *p = MK_CONTAINER(t, struct probe, t);

	p->fired++;
	mk_wtimer_stop(&probes[1].t);
	free(p);
}

static void test_a_timer_may_stop_its_neighbour_and_free_itself(void **state)
{
	struct probe *p = calloc(1, sizeof(*p));

	(void)state;
	mk_wtimer_start(&p->t, 1000, stop_another);
	start(&probes[1], 1000);
	start(&probes[2], 1000);
	advance(2000);
	assert_int_equal(probes[1].fired, 0);
	assert_int_equal(probes[2].fired, 1);
	assert_int_equal(fake.wheel.count, 0);
}

static void test_a_timer_may_start_itself_again(void **state)
{
	(void)state;
	probes[0].again = 3;
	probes[0].again_ms = 200;
	start(&probes[0], 200);
	for (int i = 0; i < 200; i++)
		advance(10);
	assert_int_equal(probes[0].fired, 4);
	/* Also when much time has passed at once; it is not called to catch up. */
	probes[0].fired = 0;
	probes[0].again = 1;
	start(&probes[0], 200);
	advance(60000);
	assert_int_equal(probes[0].fired, 1);
	advance(300);
	assert_int_equal(probes[0].fired, 2);
	assert_int_equal(fake.wheel.count, 0);
}

static void test_a_wheel_that_stood_still_is_right_again(void **state)
{
	(void)state;
	start(&probes[0], 300);
	advance(400);
	assert_int_equal(probes[0].fired, 1);
	fake.now += INT64_C(86400) * 1000000 * 30;     /* nobody runs an empty one */
	start(&probes[1], 300);
	advance(250);
	assert_int_equal(probes[1].fired, 0);
	advance(150);
	assert_int_equal(probes[1].fired, 1);
}

static void test_long_delays(void **state)
{
	static const int64_t ms[] = { 6300, 6400, 6500, 409500, 409600, 409700, 26214300, 26214400,
		26214500, INT64_C(1677721500), INT64_C(1677721600), INT64_C(1677721700),
		INT64_C(5000000000) };
	enum { N = sizeof(ms) / sizeof(*ms) };

	(void)state;
	for (int i = 0; i < N; i++)
		start(&probes[i], ms[i]);
	for (int i = 0; i < N; i++) {
		mk_usec due = probes[i].wanted;

		fake.now = due - 1;
		mk_wheel_run(&fake.wheel, fake.now);
		assert_int_equal(probes[i].fired, 0);
		fake.now = due + MK_TICK_USEC;
		mk_wheel_run(&fake.wheel, fake.now);
		assert_int_equal(probes[i].fired, 1);
	}
	assert_int_equal(fake.wheel.count, 0);
	/* Centuries are cut to one; the sums don't overflow. */
	mk_wtimer_start(&probes[0].t, INT64_MAX, on_probe);
	advance(1000);
	assert_int_equal(probes[0].fired, 1);
	assert_int_equal(fake.wheel.count, 1);
}

/* A small generator with a fixed seed: a failure can be repeated. */
static uint64_t seed;
static uint64_t draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

static void test_a_thousand_timers_against_a_model(void **state)
{
	enum { N = 1000 };
	struct probe *p = calloc(N, sizeof(*p));
	static const uint64_t spans[] = { 50, 700, 7000, 500000, 30000000 };
	uint32_t running;

	(void)state;
	seed = 1;
	for (int round = 0; round < 20000; round++) {
		struct probe *one = &p[draw(N)];

		if (draw(4) == 0) {
			mk_wtimer_stop(&one->t);
		} else {
			one->fired = 0;
			start(one, (int64_t)draw(spans[draw(5)]));
		}
		advance((int64_t)draw(draw(200) == 0 ? 500000 : 300));
		if (round % 50 != 0)
			continue;
		running = 0;
		for (int i = 0; i < N; i++) {
			if (!mk_wtimer_is_running(&p[i].t))
				continue;
			running++;
			/* Not overdue by more than a tick. */
			assert_int_equal(p[i].fired, 0);
			assert_true(p[i].wanted + MK_TICK_USEC > fake.now);
		}
		assert_int_equal(running, fake.wheel.count);
	}
	for (int i = 0; i < N; i++)
		mk_wtimer_stop(&p[i].t);
	free(p);
}

static struct probe real[3];
static _Atomic int real_fired;
static mk_usec real_late[3];

static void on_real(struct mk_wtimer *t)
{
	int i = (int)(MK_CONTAINER(t, struct probe, t) - real);

	real_late[i] = mk_now_usec() - t->due;
	real_fired++;
}

static void start_real(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	mk_wtimer_start(&real[0].t, 250, on_real);
	mk_wtimer_start(&real[1].t, 50, on_real);
	mk_wtimer_start(&real[2].t, 60000, on_real);
}

static void test_under_a_real_clock(void **state)
{
	mk_usec until = mk_now_usec() + 10000000;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(start_real, NULL);
	while (atomic_load(&real_fired) < 2 && mk_now_usec() < until)
		sched_yield();
	assert_int_equal(atomic_load(&real_fired), 2);
	mk_workers_stop();
	assert_true(real_late[0] >= 0 && real_late[1] >= 0);
	assert_false(mk_wtimer_is_running(&real[2].t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_they_fire_in_order_and_not_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop_and_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_timer_may_stop_its_neighbour_and_free_itself,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_timer_may_start_itself_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_wheel_that_stood_still_is_right_again,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_delays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_thousand_timers_against_a_model, set_up, tear_down),
		cmocka_unit_test(test_under_a_real_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
