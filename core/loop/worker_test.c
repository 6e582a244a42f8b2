/*
 * loop/worker_test.c - mailboxes, turns, stopping, the watchdog
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/log.h"
#include "loop/worker.h"

/* Waits for a condition that another thread makes true. */
#define WAIT_FOR(c)                                                           \
	do {                                                                  \
		mk_usec until_ = mk_now_usec() + 20000000;                    \
		while (!(c) && mk_now_usec() < until_)                        \
			sched_yield();                                        \
		assert_true(c);                                               \
	} while (0)

enum { PRODUCERS = 4, MESSAGES = 20000 };

struct note {
	struct mk_msg m;
	int who, i;
};
static struct mk_mailbox box;

static void *produce(void *arg)
{
	int who = *(int *)arg;

	for (int i = 0; i < MESSAGES; i++) {
		struct note *n = calloc(1, sizeof(*n));

		n->who = who;
		n->i = i;
		mk_mailbox_put(&box, &n->m);
	}
	return NULL;
}

static bool is_readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static void test_a_mailbox_keeps_each_senders_order(void **state)
{
	pthread_t t[PRODUCERS];
	int who[PRODUCERS], next[PRODUCERS] = { 0 }, got = 0;

	(void)state;
	assert_int_equal(mk_mailbox_init(&box), 0);
	assert_null(mk_mailbox_take(&box));
	assert_false(is_readable(box.kick_fd, 0));
	for (int i = 0; i < PRODUCERS; i++) {
		who[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, produce, &who[i]), 0);
	}
	while (got < PRODUCERS * MESSAGES) {
		assert_true(is_readable(box.kick_fd, 20000));  /* no lost kick  */
		mk_mailbox_unkick(&box);
		for (struct mk_msg *m = mk_mailbox_take(&box), *after; m != NULL; m = after) {
			struct note *n = MK_CONTAINER(m, struct note, m);

			after = m->next;
			assert_int_equal(n->i, next[n->who]++);
			free(n);
			got++;
		}
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(t[i], NULL);
	assert_null(mk_mailbox_take(&box));
	mk_mailbox_fini(&box);
}

static _Atomic int inits, finis, hits;

static void on_init(struct mk_worker *w)
{
	assert_ptr_equal(w, mk_self);
	assert_true(w->now > 0);
	inits++;
}

static void on_fini(struct mk_worker *w)
{
	assert_ptr_equal(w, mk_self);
	finis++;
}

static void see(struct mk_worker *w, void *arg)
{
	unsigned *seen = arg;

	assert_ptr_equal(w, mk_self);
	assert_ptr_equal(w, mk_worker(w->index));
	assert_int_equal(w->index, *seen);
	(*seen)++;
}

static void test_start_call_stop(void **state)
{
	unsigned seen;

	(void)state;
	for (int round = 0; round < 3; round++) {
		inits = finis = 0;
		seen = 0;
		assert_int_equal(mk_workers_start(3, on_init, on_fini), 0);
		assert_int_equal(inits, 3);
		assert_int_equal(mk_worker_count, 3);
		mk_workers_call(see, &seen);
		assert_int_equal(seen, 3);
		mk_workers_stop();
		assert_int_equal(finis, 3);
		assert_int_equal(mk_worker_count, 0);
		mk_workers_stop();
	}
}

/* The order of things in a turn, as letters. */
static char trace[32];
static _Atomic size_t trace_n;
static struct mk_task task_a, task_b, at_end;
static struct note one, two;

static void letter(char c)
{
	trace[trace_n] = c;
	trace_n++;
}

static void run_b(struct mk_task *t) { (void)t; letter('b'); }

static void run_a(struct mk_task *t)
{
	letter('a');
	if (trace_n < 8)
		mk_worker_run(&task_b);                /* still in this turn    */
	assert_false(mk_list_linked(&t->node));
}

static void run_end(struct mk_task *t)
{
	letter('e');
	if (trace_n < 8) {
		mk_worker_at_turn_end(t);              /* in the next turn      */
		mk_worker_run(&task_a);
	}
}

static void on_one(struct mk_msg *m)
{
	(void)m;
	letter('1');
	mk_worker_at_turn_end(&at_end);
	mk_worker_at_turn_end(&at_end);
	mk_worker_run(&task_a);
	mk_worker_run(&task_a);
	mk_worker_post(mk_self, &two.m);
}

static void on_two(struct mk_msg *m)
{
	(void)m;
	letter('2');
}

static void test_a_turn_has_an_order(void **state)
{
	(void)state;
	task_a.run = run_a;
	task_b.run = run_b;
	at_end.run = run_end;
	one.m.fn = on_one;
	two.m.fn = on_two;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_worker_post(mk_worker(0), &one.m);
	WAIT_FOR(trace_n >= 8);
	mk_workers_stop();
	/* A message, tasks, the end; then what those two asked for. */
	assert_memory_equal(trace, "1abe2abe", 8);
	assert_int_equal(trace_n, 8);
}

/* A task that always queues itself again must not starve the mailbox. */
static struct mk_task endless;
static _Atomic bool enough;
static uint64_t rounds;

static void run_endless(struct mk_task *t)
{
	rounds++;
	if (!enough)
		mk_worker_run(t);
}

static void start_endless(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	endless.run = run_endless;
	mk_worker_run(&endless);
}

static void stop_endless(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	enough = true;
}

static void test_busy_tasks_let_messages_in(void **state)
{
	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(start_endless, NULL);
	mk_workers_call(stop_endless, NULL);
	mk_workers_stop();
	assert_true(rounds > 0);
}

struct turn_seen { uint64_t turns; size_t bytes; };

static void use_turn(struct mk_worker *w, void *arg)
{
	struct turn_seen *s = arg;

	s->turns = w->turns;
	s->bytes = mk_arena_bytes(&w->turn);
	memset(mk_arena_alloc(&w->turn, 100000), 1, 100000);
}

static void test_turn_memory_ends_with_the_turn(void **state)
{
	struct turn_seen a, b;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(use_turn, &a);
	mk_workers_call(use_turn, &b);
	mk_workers_stop();
	assert_true(b.turns > a.turns);
	assert_true(a.bytes <= MK_ARENA_CHUNK && b.bytes <= MK_ARENA_CHUNK);
}

/* Messages that go round the workers, still under way when they stop. */
struct traveller {
	struct mk_msg m;
	int left;
};

static void travel(struct mk_msg *m)
{
	struct traveller *t = MK_CONTAINER(m, struct traveller, m);

	if (t->left-- == 0) {
		hits++;
		free(t);
		return;
	}
	mk_worker_post(mk_worker((mk_self->index + 1) % mk_worker_count), m);
}

static void test_what_was_posted_before_the_stop_is_run(void **state)
{
	(void)state;
	assert_int_equal(mk_workers_start(3, NULL, NULL), 0);
	hits = 0;
	for (int i = 0; i < 300; i++) {
		struct traveller *t = calloc(1, sizeof(*t));

		t->m.fn = travel;
		t->left = 2;
		mk_worker_post(mk_worker((unsigned)i % 3), &t->m);
	}
	mk_workers_stop();
	assert_int_equal(hits, 300);
}

/* The clock of a turn that begins with an event, without mailbox or timer. */
static int pipe_fd[2];
static struct mk_watch pipe_watch;
static mk_usec event_lag;
static _Atomic bool event_seen;

static void on_pipe(struct mk_watch *w, unsigned events)
{
	char c;

	assert_int_equal(events, MK_WATCH_IN);
	assert_int_equal(read(w->fd, &c, 1), 1);
	event_lag = mk_now_usec() - mk_self->now;
	assert_true(mk_self->busy_since == mk_self->now);
	event_seen = true;
}

static const struct mk_watch_ops pipe_ops = { .event = on_pipe };

static void watch_pipe(struct mk_worker *w, void *arg)
{
	(void)w;
	if (arg != NULL)
		mk_watch_init(&pipe_watch, pipe_fd[0], &pipe_ops);
	mk_watch_set(&pipe_watch, arg != NULL ? MK_WATCH_IN : 0);
}

/* Each event leaves a task; so many events at once that they are several turns. */
enum { EVENTS = 3 * MK_WATCH_BATCH + 1 };
static struct ready {
	struct mk_task task, end;
	struct mk_watch watch;
} ready[EVENTS];
static _Atomic unsigned came, ran, ended, behind;

static void task_ran(struct mk_task *t)
{
	(void)t;
	if (came - ++ran > behind)
		behind = came - ran;
}

static void turn_ended(struct mk_task *t)
{
	(void)t;
	ended++;
}

static void on_ready(struct mk_watch *w, unsigned events)
{
	(void)events;
	came++;
	mk_worker_run(&MK_CONTAINER(w, struct ready, watch)->task);
	mk_worker_at_turn_end(&ready[0].end);
	mk_watch_set(w, 0);
	close(w->fd);
}
static const struct mk_watch_ops ready_ops = { .event = on_ready };

static void all_at_once(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	for (unsigned i = 0; i < EVENTS; i++) {
		mk_list_init(&ready[i].task.node);
		ready[i].task.run = task_ran;
		mk_watch_init(&ready[i].watch, eventfd(1, EFD_CLOEXEC), &ready_ops);
		mk_watch_set(&ready[i].watch, MK_WATCH_IN);
	}
	mk_list_init(&ready[0].end.node);
	ready[0].end.run = turn_ended;
}

static void test_many_events_are_several_turns(void **state)
{
	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(all_at_once, NULL);
	WAIT_FOR(ran == EVENTS && ended == 4);
	mk_workers_stop();
	assert_int_equal(came, EVENTS);
	assert_in_range(behind, 1, MK_WATCH_BATCH - 1);
	assert_int_equal(ended, 4);
}

/* The first of two that came together stops the other: it isn't called. */
static struct mk_watch pair[2];
static unsigned pair_calls;

static void on_pair(struct mk_watch *w, unsigned events)
{
	(void)events;
	pair_calls++;
	for (unsigned i = 0; i < 2; i++) {
		mk_watch_set(&pair[i], 0);
		close(pair[i].fd);
	}
	(void)w;
}
static const struct mk_watch_ops pair_ops = { .event = on_pair };

static void watch_pair(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	for (unsigned i = 0; i < 2; i++) {
		mk_watch_init(&pair[i], eventfd(1, EFD_CLOEXEC), &pair_ops);
		mk_watch_set(&pair[i], MK_WATCH_IN);
	}
}

static void nothing(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
}

static void test_what_is_stopped_is_not_called(void **state)
{
	(void)state;
	pair_calls = 0;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(watch_pair, NULL);
	for (int i = 0; i < 3; i++)
		mk_workers_call(nothing, NULL);
	mk_workers_stop();
	assert_int_equal(pair_calls, 1);
}

static void test_now_is_fresh_in_an_event(void **state)
{
	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	mk_workers_call(watch_pipe, pipe_fd);
	WAIT_FOR(atomic_load(&mk_worker(0)->busy_since) == 0);
	usleep(300000);                                /* makes a stale now old */
	assert_int_equal(write(pipe_fd[1], "x", 1), 1);
	WAIT_FOR(event_seen);
	mk_workers_call(watch_pipe, NULL);
	mk_workers_stop();
	assert_true(event_lag < 250000);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

static char said[512];
static _Atomic int said_n;

static void keep_line(const char *line, size_t n)
{
	if (strstr(line, "its turn") == NULL)
		return;
	memcpy(said, line, n < sizeof(said) ? n + 1 : sizeof(said) - 1);
	said_n++;
}

static void get_stuck(struct mk_msg *m)
{
	mk_usec until = mk_now_usec() + 400000;

	(void)m;
	atomic_store(&mk_self->doing, "slowpoke");
	while (mk_now_usec() < until)
		sched_yield();
	atomic_store(&mk_self->doing, NULL);
}

static void test_the_watchdog_names_who_is_stuck_once(void **state)
{
	struct mk_msg m = { .fn = get_stuck };
	unsigned seen = 0;

	(void)state;
	mk_log_capture(keep_line);
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	mk_watchdog_start(50);
	mk_worker_post(mk_worker(1), &m);
	mk_workers_call(see, &seen);                   /* waits for the end     */
	mk_watchdog_stop();
	mk_workers_stop();
	mk_log_capture(NULL);
	assert_int_equal(said_n, 1);
	assert_non_null(strstr(said, "worker=1 "));
	assert_non_null(strstr(said, "doing=slowpoke"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_mailbox_keeps_each_senders_order),
		cmocka_unit_test(test_start_call_stop),
		cmocka_unit_test(test_a_turn_has_an_order),
		cmocka_unit_test(test_many_events_are_several_turns),
		cmocka_unit_test(test_busy_tasks_let_messages_in),
		cmocka_unit_test(test_turn_memory_ends_with_the_turn),
		cmocka_unit_test(test_what_was_posted_before_the_stop_is_run),
		cmocka_unit_test(test_what_is_stopped_is_not_called),
		cmocka_unit_test(test_now_is_fresh_in_an_event),
		cmocka_unit_test(test_the_watchdog_names_who_is_stuck_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
