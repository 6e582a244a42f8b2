/*
 * loop/job_test.c - job pools, and freeing what others may still see
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include "base/assert.h"
#include "loop/job.h"
#include "loop/quiesce.h"

#define WAIT_FOR(c)                                                           \
	do {                                                                  \
		mk_usec until_ = mk_now_usec() + 20000000;                    \
		while (!(c) && mk_now_usec() < until_)                        \
			sched_yield();                                        \
		assert_true(c);                                               \
	} while (0)

struct work {
	struct mk_job j;
	struct mk_worker *from;
	struct mk_pool *pool;
	int i;
};
static _Atomic int ran, done, made, ended, next_in_line;
static _Atomic bool hold, is_held;

static void *thread_make(void *arg)
{
	assert_ptr_equal(arg, &made);
	assert_true(mk_in_job());
	made++;
	return &made;
}

static void thread_end(void *data)
{
	assert_ptr_equal(data, &made);
	ended++;
}

static void work_run(struct mk_job *j, void *data)
{
	(void)j;
	assert_ptr_equal(data, &made);
	assert_true(mk_in_job());
	assert_null(mk_self);
	ran++;
}

static void work_done(struct mk_job *j)
{
	struct work *w = MK_CONTAINER(j, struct work, j);

	assert_false(mk_in_job());
	assert_ptr_equal(mk_self, w->from);
	done++;
	free(w);
}

static void submit_some(struct mk_worker *w, void *arg)
{
	for (int i = 0; i < 500; i++) {
		struct work *k = calloc(1, sizeof(*k));

		k->j.run = work_run;
		k->j.done = work_done;
		k->from = w;
		mk_pool_submit(arg, &k->j);
	}
}

static void test_jobs_run_and_come_home(void **state)
{
	struct mk_pool *p = mk_pool_new("test", 3, thread_make, thread_end, &made);

	(void)state;
	assert_string_equal(mk_pool_name(p), "test");
	assert_int_equal(made, 0);                     /* none before it is needed */
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	mk_workers_call(submit_some, p);
	mk_pool_free(&p);
	assert_null(p);
	assert_int_equal(ran, 1000);
	assert_true(made >= 1 && made <= 3);
	assert_int_equal(ended, made);
	mk_workers_stop();
	assert_int_equal(done, 1000);
}

static void slow_run(struct mk_job *j, void *data)
{
	mk_usec until = mk_now_usec() + 20000;

	work_run(j, data);
	while (mk_now_usec() < until)
		sched_yield();
}

static void submit_again(struct mk_job *j)
{
	struct work *w = MK_CONTAINER(j, struct work, j);

	/* The next one leaves before this one counts as home. */
	j->done = work_done;
	mk_pool_submit(w->pool, j);
}

static void submit_slow(struct mk_worker *w, void *arg)
{
	for (int i = 0; i < 5; i++) {
		struct work *k = calloc(1, sizeof(*k));

		k->j.run = slow_run;
		k->j.done = submit_again;
		k->from = w;
		k->pool = arg;
		mk_pool_submit(arg, &k->j);
	}
}

static void test_workers_wait_for_jobs_when_they_stop(void **state)
{
	struct mk_pool *p = mk_pool_new("slow", 2, thread_make, thread_end, &made);

	(void)state;
	ran = done = 0;
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	mk_workers_call(submit_slow, p);
	mk_workers_stop();
	assert_int_equal(ran, 20);
	assert_int_equal(done, 10);
	mk_pool_free(&p);
}

static void in_order(struct mk_job *j, void *data)
{
	struct work *w = MK_CONTAINER(j, struct work, j);

	(void)data;
	while (hold) {
		is_held = true;
		sched_yield();
	}
	assert_int_equal(w->i, next_in_line++);
	free(w);
}

static void test_a_pool_of_one_keeps_the_order_without_workers(void **state)
{
	struct mk_pool *p = mk_pool_new("one", 1, NULL, NULL, NULL);

	(void)state;
	hold = true;
	for (int i = 0; i < 100; i++) {
		struct work *w = calloc(1, sizeof(*w));

		w->j.run = in_order;
		w->i = i;
		mk_pool_submit(p, &w->j);
	}
	WAIT_FOR(is_held);
	assert_int_equal(mk_pool_queued(p), 99);
	hold = false;
	mk_pool_free(&p);
	assert_int_equal(next_in_line, 100);
	mk_pool_free(&p);
}

static _Atomic int freed;

static void count_free(void *p)
{
	(void)p;
	freed++;
}

static void test_without_threads_old_data_goes_at_once(void **state)
{
	(void)state;
	mk_quiet_drain();
	freed = 0;
	mk_quiesce(count_free, NULL);
	assert_int_equal(freed, 1);
}

static void on_held_worker(struct mk_msg *m)
{
	(void)m;
	while (hold) {
		is_held = true;
		sched_yield();
	}
}

static void test_old_data_waits_for_a_turn_and_idle_workers_dont_matter(void **state)
{
	struct mk_msg m = { .fn = on_held_worker };

	(void)state;
	freed = 0;
	assert_int_equal(mk_workers_start(3, NULL, NULL), 0);
	mk_quiesce(count_free, NULL);                  /* all are asleep        */
	WAIT_FOR(freed == 1);
	hold = true;
	is_held = false;
	mk_worker_post(mk_worker(1), &m);
	WAIT_FOR(is_held);
	mk_quiesce(count_free, NULL);
	for (mk_usec until = mk_now_usec() + 50000; mk_now_usec() < until; sched_yield())
		assert_int_equal(freed, 1);
	hold = false;
	WAIT_FOR(freed == 2);
	mk_quiesce(count_free, NULL);
	mk_workers_stop();
	assert_int_equal(freed, 3);
}

static void hold_run(struct mk_job *j, void *data)
{
	(void)j;
	(void)data;
	while (hold) {
		is_held = true;
		sched_yield();
	}
}

static void test_old_data_waits_for_a_job_and_idle_threads_dont_matter(void **state)
{
	struct mk_pool *p = mk_pool_new("quiet", 2, NULL, NULL, NULL);
	struct mk_job j = { .run = hold_run };

	(void)state;
	freed = 0;
	hold = true;
	is_held = false;
	mk_pool_submit(p, &j);
	WAIT_FOR(is_held);
	mk_quiesce(count_free, NULL);
	for (mk_usec until = mk_now_usec() + 50000; mk_now_usec() < until; sched_yield())
		assert_int_equal(freed, 0);
	hold = false;
	WAIT_FOR(freed == 1);
	mk_quiesce(count_free, NULL);                  /* the thread is idle    */
	WAIT_FOR(freed == 2);
	mk_pool_free(&p);
	mk_quiet_drain();
}

/*
 * Workers and jobs read a snapshot that is replaced all the time. A reader that
 * finds the mark of a freed one, or a sanitizer that sees the access, fails it.
 */
enum { ALIVE = 0x600d, DEAD = 0xbad };
struct snapshot { int mark; };
static _Atomic(struct snapshot *) current;
static _Atomic bool finish;
static _Atomic int reads;

static void snapshot_free(void *p)
{
	struct snapshot *s = p;

	s->mark = DEAD;
	free(s);
	freed++;
}

static void look(void)
{
	struct snapshot *s = atomic_load(&current);

	for (int i = 0; i < 50; i++) {
		assert_int_equal(s->mark, ALIVE);
		sched_yield();
	}
	reads++;
}

static void look_and_post_again(struct mk_msg *m)
{
	look();
	if (!finish)
		mk_worker_post(mk_self, m);
}

static void look_run(struct mk_job *j, void *data)
{
	(void)j;
	(void)data;
	look();
}

static void test_nobody_sees_freed_snapshots(void **state)
{
	enum { SWAPS = 300 };
	struct mk_msg m[2] = { { .fn = look_and_post_again }, { .fn = look_and_post_again } };
	struct mk_pool *p = mk_pool_new("look", 2, NULL, NULL, NULL);
	static struct mk_job jobs[SWAPS];
	struct snapshot *s = malloc(sizeof(*s));

	(void)state;
	freed = 0;
	s->mark = ALIVE;
	atomic_store(&current, s);
	assert_int_equal(mk_workers_start(3, NULL, NULL), 0);  /* one stays idle */
	mk_worker_post(mk_worker(0), &m[0]);
	mk_worker_post(mk_worker(1), &m[1]);
	for (int i = 0; i < SWAPS; i++) {
		struct snapshot *fresh = malloc(sizeof(*fresh));

		fresh->mark = ALIVE;
		mk_quiesce(snapshot_free, atomic_exchange(&current, fresh));
		jobs[i].run = look_run;
		mk_pool_submit(p, &jobs[i]);
		if (i % 10 == 0)
			WAIT_FOR(freed >= i / 2);
	}
	finish = true;
	mk_pool_free(&p);
	mk_workers_stop();
	assert_int_equal(freed, SWAPS);
	assert_true(reads >= SWAPS);
	free(atomic_load(&current));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_threads_old_data_goes_at_once),
		cmocka_unit_test(test_jobs_run_and_come_home),
		cmocka_unit_test(test_workers_wait_for_jobs_when_they_stop),
		cmocka_unit_test(test_a_pool_of_one_keeps_the_order_without_workers),
		cmocka_unit_test(test_old_data_waits_for_a_turn_and_idle_workers_dont_matter),
		cmocka_unit_test(test_old_data_waits_for_a_job_and_idle_threads_dont_matter),
		cmocka_unit_test(test_nobody_sees_freed_snapshots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
