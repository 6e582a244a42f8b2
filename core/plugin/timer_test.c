/*
 * plugin/timer_test.c - periodic jobs, timers and jobs of an instance that stops
 *
 * One worker, held by an errand where the order of its messages matters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "conf/node.h"
#include "loop/worker.h"
#include "plugin/dispatch.h"
#include "session/session.h"
#include "store/store.h"
#include "base/ban.h"

#define DEADLINE_MS 20000

#define until(condition) do {                                                  \
	mk_usec end_ = mk_now_usec() + DEADLINE_MS * 1000;                     \
	while (!(condition)) {                                                 \
		if (mk_now_usec() > end_)                                      \
			fail_msg("waited in vain for %s", #condition);         \
		poll(NULL, 0, 1);                                              \
	}                                                                      \
} while (0)

static _Atomic bool is_in_job, job_may_end, worker_is_held, worker_may_go, has_fired;
static _Atomic int ticks;
static int64_t period_ms;

/* Of a job or a worker that a test holds: no cmocka in other threads. */
static void wait_for(_Atomic bool *flag)
{
	while (!atomic_load(flag))
		poll(NULL, 0, 1);
}

static void tick(struct mk_inst *i, struct mk_store *st)
{
	(void)i, (void)st;
	atomic_fetch_add(&ticks, 1);
	atomic_store(&is_in_job, true);
	wait_for(&job_may_end);
}

static int start(struct mk_inst *i) { return period_ms != 0 ? mk_every(i, period_ms, tick) : 0; }

static int worker_start(struct mk_inst *i)
{
	(void)i;
	return 0;
}

static void worker_stop(struct mk_inst *i)
{
	(void)i;
	atomic_store(&job_may_end, true);
}

static const struct mk_plugin ticker = { .magic = MK_PLUGIN_MAGIC, .abi_major = MK_ABI_MAJOR,
	.size = sizeof(struct mk_plugin), .build = MK_ABI_BUILD, .name = "ticker",
	.flags = MK_PLUGIN_PER_TYPE, .start = start, .worker_start = worker_start,
	.worker_stop = worker_stop };
static struct mk_module *module;
static struct mk_host_type *type;

static struct mk_inst *inst_new(int64_t every_ms)
{
	struct mk_diag d = { 0 };
	struct mk_inst *i = NULL;

	is_in_job = job_may_end = worker_is_held = worker_may_go = has_fired = false;
	ticks = 0;
	period_ms = every_ms;
	assert_int_equal(mk_inst_start(module, type, NULL, mk_arena_new(), &d, &i), 0);
	mk_diag_fini(&d);
	return i;
}

static void hold(struct mk_msg *m)
{
	(void)m;
	atomic_store(&worker_is_held, true);
	wait_for(&worker_may_go);
}

static int waiting(void)
{
	struct mk_mailbox *b = &mk_worker(0)->mailbox;
	int n = 0;

	pthread_mutex_lock(&b->lock);
	for (const struct mk_msg *m = b->head; m != NULL; m = m->next)
		n++;
	pthread_mutex_unlock(&b->lock);
	return n;
}

/* Lets the worker go when the job's return and what a stop says wait for it. */
static void *let_go(void *arg)
{
	(void)arg;
	while (waiting() < 2)
		poll(NULL, 0, 1);
	atomic_store(&worker_may_go, true);
	return NULL;
}

/* The job is back before the worker hears that there will be no more of them. */
static void test_a_stop_behind_the_return_of_a_periodic_job(void **state)
{
	struct mk_msg held = { .fn = hold };
	pthread_t t;

	(void)state;
	for (int n = 0; n < 3; n++) {
		struct mk_inst *i = inst_new(1);
		until(is_in_job);
		mk_worker_post(mk_worker(0), &held);
		until(worker_is_held);
		atomic_store(&job_may_end, true);
		until(waiting() == 1);
		assert_int_equal(pthread_create(&t, NULL, let_go, NULL), 0);
		mk_inst_stop(&i, DEADLINE_MS);
		pthread_join(t, NULL);
		assert_int_equal(ticks, 1);
	}
}

static void test_a_stop_before_the_return_of_a_periodic_job(void **state)
{
	struct mk_inst *i = inst_new(1);

	(void)state;
	until(is_in_job);
	mk_inst_stop(&i, DEADLINE_MS);         /* worker_stop lets the job end   */
	assert_int_equal(ticks, 1);
}

static void test_a_periodic_job_comes_again(void **state)
{
	struct mk_inst *i = inst_new(1);

	(void)state;
	atomic_store(&job_may_end, true);
	until(ticks >= 3);
	mk_inst_stop(&i, DEADLINE_MS);
}

static void late(struct mk_inst *i, void *data)
{
	(void)i, (void)data;
	atomic_store(&has_fired, true);
}

static void work(struct mk_inst *i, struct mk_store *st, void *data)
{
	(void)i, (void)st, (void)data;
	atomic_store(&is_in_job, true);
	wait_for(&job_may_end);
}

static void work_done(struct mk_inst *i, void *data)
{
	mk_timer_start(i, 1, late, data);
}

struct errand { struct mk_msg msg; struct mk_inst *inst; };
static void begin_work(struct mk_msg *m)
{
	mk_job(MK_CONTAINER(m, struct errand, msg)->inst, work, work_done, NULL);
}

struct clock { struct mk_msg msg; struct mk_wtimer timer; _Atomic bool is_over; };
static void clock_over(struct mk_wtimer *t)
{
	atomic_store(&MK_CONTAINER(t, struct clock, timer)->is_over, true);
}
static void clock_begin(struct mk_msg *m)
{
	mk_wtimer_start(&MK_CONTAINER(m, struct clock, msg)->timer, 300, clock_over);
}

/* The job ends when the instance's timers have been stopped once already. */
static void test_no_timer_outlives_a_job_that_ends_while_its_instance_stops(void **state)
{
	struct mk_inst *i = inst_new(0);
	struct errand e = { { .fn = begin_work }, i };
	struct clock c = { .msg = { .fn = clock_begin } };

	(void)state;
	mk_worker_post(mk_worker(0), &e.msg);
	until(is_in_job);
	mk_inst_stop(&i, DEADLINE_MS);
	mk_worker_post(mk_worker(0), &c.msg);
	until(c.is_over);
	assert_false(has_fired);
}

static int group_setup(void **state)
{
	(void)state;
	type = mk_host_type_add("people");
	module = mk_module_static(&ticker);
	return mk_workers_start(1, mk_sessions_worker_init, mk_sessions_worker_fini);
}

static int group_teardown(void **state)
{
	(void)state;
	mk_workers_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_periodic_job_comes_again),
		cmocka_unit_test(test_a_stop_behind_the_return_of_a_periodic_job),
		cmocka_unit_test(test_a_stop_before_the_return_of_a_periodic_job),
		cmocka_unit_test(test_no_timer_outlives_a_job_that_ends_while_its_instance_stops),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
