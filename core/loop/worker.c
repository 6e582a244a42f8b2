/*
 * loop/worker.c - threads that never block: the turn, posting, start and stop
 *
 * The main thread makes and ends workers; everything else of a worker is its
 * own thread's, except for the mailbox and the atomics.
 */
#include <stdlib.h>
#include <stdio.h>
#include <meerkat/log.h>
#include "base/assert.h"
#include "base/metric.h"
#include "base/thread.h"
#include "loop/quiesce.h"
#include "loop/worker.h"

#define LAST_ROUNDS 4                  /* of turns while stopping           */

struct own {
	struct mk_worker w;            /* first                                 */
	struct mk_quiet quiet;
	struct mk_watch kick;
	pthread_t thread;
	bool is_started;
};

_Thread_local struct mk_worker *mk_self;
unsigned mk_worker_count;

static struct own **workers;
static void (*worker_init)(struct mk_worker *w);
static void (*worker_fini)(struct mk_worker *w);
static _Atomic bool is_stopping;
static pthread_barrier_t in_step;      /* of all workers                    */
static pthread_mutex_t ready_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready_cond = PTHREAD_COND_INITIALIZER;
static unsigned ready;
static _Atomic unsigned jobs_away;
static uint32_t turn_metric;

static void on_kick(struct mk_watch *kick, unsigned events)
{
	(void)events;
	/* The mailbox is emptied after the events, kick or no kick. */
	mk_mailbox_unkick(&MK_CONTAINER(kick, struct own, kick)->w.mailbox);
}
static const struct mk_watch_ops kick_ops = { .event = on_kick };

static void wake(struct mk_quiet *q)
{
	mk_mailbox_kick(&MK_CONTAINER(q, struct own, quiet)->w.mailbox);
}

static bool run_mailbox(struct mk_worker *w)
{
	struct mk_msg *m = mk_mailbox_take(&w->mailbox), *next;
	bool any = m != NULL;

	for (; m != NULL; m = next) {
		next = m->next;                        /* fn may free m         */
		m->fn(m);
	}
	return any;
}

static bool run_tasks(struct mk_worker *w)
{
	struct mk_list *n = NULL;
	struct mk_task *t;

	for (unsigned i = 0; i < MK_TURN_TASKS && (n = mk_list_pop(&w->run)) != NULL; i++) {
		t = MK_CONTAINER(n, struct mk_task, node);
		t->run(t);
	}
	return n != NULL;
}

static void run_turn_end(struct mk_worker *w)
{
	struct mk_list now, *n;
	struct mk_task *t;

	mk_list_init(&now);
	mk_list_move(&now, &w->turn_end);
	while ((n = mk_list_pop(&now)) != NULL) {
		t = MK_CONTAINER(n, struct mk_task, node);
		t->run(t);
	}
}

/* Whether there was anything to do but events. */
static bool turn(struct own *o, bool may_wait)
{
	struct mk_worker *w = &o->w;
	bool any;

	may_wait = may_wait && mk_list_empty(&w->run) && mk_list_empty(&w->turn_end);
	atomic_store_explicit(&w->busy_since, 0, memory_order_relaxed);
	mk_poll_wait(&w->poll, may_wait ? mk_wheel_wait(&w->wheel, w->now) : 0);
	w->now = mk_now_usec();
	atomic_store_explicit(&w->busy_since, w->now, memory_order_relaxed);
	mk_wheel_run(&w->wheel, w->now);
	mk_poll_run(&w->poll);
	any = run_mailbox(w);
	any = run_tasks(w) || any || !mk_list_empty(&w->turn_end);
	run_turn_end(w);
	mk_arena_reset(&w->turn);
	atomic_store_explicit(&w->turns, atomic_load_explicit(&w->turns, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
	mk_quiet_pass(&o->quiet);
	mk_metric_see(turn_metric, mk_now_usec() - w->now);
	return any;
}

static void *worker_main(void *arg)
{
	struct own *o = arg;
	struct mk_worker *w = &o->w;

	mk_self = w;
	w->now = mk_now_usec();
	mk_watch_set(&o->kick, MK_WATCH_IN);
	mk_quiet_join(&o->quiet, wake);
	if (worker_init != NULL)
		worker_init(w);
	pthread_mutex_lock(&ready_lock);
	ready++;
	pthread_cond_signal(&ready_cond);
	pthread_mutex_unlock(&ready_lock);
	while (!atomic_load_explicit(&is_stopping, memory_order_relaxed))
		turn(o, true);
	/* Work that is under way between workers may end: each round runs what
	 * the round before has posted. */
	for (unsigned i = 0; i < LAST_ROUNDS; i++) {
		pthread_barrier_wait(&in_step);
		for (unsigned k = 0; k < LAST_ROUNDS && turn(o, false); k++)
			;
	}
	pthread_barrier_wait(&in_step);
	if (worker_fini != NULL)
		worker_fini(w);
	atomic_store_explicit(&w->busy_since, 0, memory_order_relaxed);
	mk_quiet_leave(&o->quiet);
	mk_self = NULL;
	return NULL;
}

static void worker_free(struct own *o)
{
	struct mk_worker *w = &o->w;

	mk_wheel_fini(&w->wheel);
	mk_poll_fini(&w->poll);
	if (w->mailbox.kick_fd >= 0)
		mk_mailbox_fini(&w->mailbox);
	mk_arena_fini(&w->turn);
	mk_buf_free(&w->scratch);
	mk_free(w->read_buf);
	free(o);
}

static struct own *worker_new(unsigned index)
{
	struct own *o = aligned_alloc(64, (sizeof(*o) + 63) & ~(size_t)63);
	struct mk_worker *w;

	mk_assert(o != NULL);
	memset(o, 0, sizeof(*o));
	w = &o->w;
	w->index = index;
	mk_list_init(&w->run);
	mk_list_init(&w->turn_end);
	mk_arena_init(&w->turn);
	w->read_buf = mk_alloc(MK_READ_BUF);
	w->mailbox.kick_fd = -1;
	mk_wheel_init(&w->wheel);
	if (mk_poll_init(&w->poll) < 0 || mk_mailbox_init(&w->mailbox) < 0) {
		worker_free(o);
		return NULL;
	}
	mk_watch_init(&o->kick, w->mailbox.kick_fd, &kick_ops);
	return o;
}

int mk_workers_start(unsigned n, void (*init)(struct mk_worker *w),
                     void (*fini)(struct mk_worker *w))
{
	char name[16];

	mk_assert(mk_worker_count == 0 && n > 0);
	turn_metric = mk_metric_id("meerkat_turn_usec",
		"Time from a worker's waking to its waiting again, in microseconds",
		MK_HISTOGRAM, NULL);
	worker_init = init;
	worker_fini = fini;
	ready = 0;
	atomic_store(&jobs_away, 0);
	atomic_store(&is_stopping, false);
	workers = mk_alloc(n * sizeof(*workers));
	for (unsigned i = 0; i < n; i++) {
		workers[i] = worker_new(i);
		if (workers[i] == NULL)
			goto fail;
	}
	/* All can be posted to before the first one runs. */
	mk_worker_count = n;
	pthread_barrier_init(&in_step, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "worker %u", i % 100000);
		/* Those that run couldn't be stopped without the others: a
		 * process that can't have its threads at start ends. */
		if (mk_thread_start(&workers[i]->thread, name, worker_main, workers[i]) < 0)
			mk_assert_failed("a thread can be started", __FILE__, __LINE__);
		workers[i]->is_started = true;
	}
	pthread_mutex_lock(&ready_lock);
	while (ready < n)
		pthread_cond_wait(&ready_cond, &ready_lock);
	pthread_mutex_unlock(&ready_lock);
	return 0;
fail:
	for (unsigned i = 0; i < n && workers[i] != NULL; i++)
		worker_free(workers[i]);
	mk_free(workers);
	workers = NULL;
	return -MK_EIO;
}

void mk_worker_job_left(void)
{
	atomic_fetch_add(&jobs_away, 1);
}

void mk_worker_job_home(void)
{
	if (atomic_fetch_sub(&jobs_away, 1) != 1)
		return;
	pthread_mutex_lock(&ready_lock);
	pthread_cond_signal(&ready_cond);
	pthread_mutex_unlock(&ready_lock);
}

static void wait_for_jobs(void)
{
	mk_usec until = mk_now_usec() + MK_STOP_WAIT_MS * INT64_C(1000);

	pthread_mutex_lock(&ready_lock);
	while (atomic_load(&jobs_away) > 0 && mk_cond_wait(&ready_cond, &ready_lock, until))
		;
	pthread_mutex_unlock(&ready_lock);
}

void mk_workers_stop(void)
{
	unsigned n = mk_worker_count, away;

	if (n == 0)
		return;
	wait_for_jobs();
	mk_watchdog_stop();
	atomic_store(&is_stopping, true);
	for (unsigned i = 0; i < n; i++)
		mk_mailbox_kick(&workers[i]->w.mailbox);
	for (unsigned i = 0; i < n; i++)
		pthread_join(workers[i]->thread, NULL);
	away = atomic_load(&jobs_away);
	if (away > 0)
		mk_log(NULL, MK_WARN, "jobs had not come back when the workers stopped",
		       "jobs=%u", away);
	else
		mk_quiet_drain();
	mk_worker_count = 0;
	/* A job that is still away holds a pointer to its worker. */
	for (unsigned i = 0; away == 0 && i < n; i++)
		worker_free(workers[i]);
	if (away == 0)
		mk_free(workers);
	workers = NULL;
	pthread_barrier_destroy(&in_step);
}

struct mk_worker *mk_worker(unsigned index)
{
	mk_assert(index < mk_worker_count);
	return &workers[index]->w;
}

void mk_worker_post(struct mk_worker *w, struct mk_msg *m)
{
	mk_mailbox_put(&w->mailbox, m);
}

void mk_worker_run(struct mk_task *t)
{
	if (!mk_list_linked(&t->node))
		mk_list_push(&mk_self->run, &t->node);
}

void mk_worker_at_turn_end(struct mk_task *t)
{
	if (!mk_list_linked(&t->node))
		mk_list_push(&mk_self->turn_end, &t->node);
}

struct call {
	struct mk_msg msg;
	void (*fn)(struct mk_worker *w, void *arg);
	void *arg;
	bool is_done;                  /* under the lock                        */
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static void call_run(struct mk_msg *m)
{
	struct call *c = MK_CONTAINER(m, struct call, msg);

	c->fn(mk_self, c->arg);
	pthread_mutex_lock(&c->lock);
	c->is_done = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

void mk_workers_call(void (*fn)(struct mk_worker *w, void *arg), void *arg)
{
	struct call c = { .msg.fn = call_run, .fn = fn, .arg = arg };

	mk_assert(mk_self == NULL);
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.cond, NULL);
	for (unsigned i = 0; i < mk_worker_count; i++) {
		c.is_done = false;
		mk_worker_post(mk_worker(i), &c.msg);
		pthread_mutex_lock(&c.lock);
		while (!c.is_done)
			pthread_cond_wait(&c.cond, &c.lock);
		pthread_mutex_unlock(&c.lock);
	}
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.lock);
}
