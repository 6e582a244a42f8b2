/*
 * loop/quiesce.c - freeing what others may still be looking at
 *
 * An epoch begins when a batch of old data has been taken from the queue. The
 * batch is freed once every thread that takes part has passed that epoch or is
 * idle. A housekeeper thread does it; it comes with the first batch and goes
 * after a second without one. Everything is under one lock, which a worker
 * takes only in a turn after which an epoch has begun, a job thread also when
 * it runs out of jobs and when it gets one again.
 */
#include <meerkat/log.h>
#include "base/assert.h"
#include "base/thread.h"
#include "loop/quiesce.h"
#include "loop/worker.h"

#define LINGER_MS 1000
#define PATIENCE_MS 1                  /* before sleeping workers are woken */

struct old {
	struct mk_list node;
	void (*fn)(void *p);
	void *p;
};

_Atomic uint64_t mk_quiet_epoch;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;      /* in threads */
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;         /* in waiting */
static pthread_cond_t gone = PTHREAD_COND_INITIALIZER;         /* housekeeper */
static struct mk_list threads = { &threads, &threads };
static struct mk_list waiting = { &waiting, &waiting };
static bool has_housekeeper, is_draining;

void mk_quiet_join(struct mk_quiet *q, void (*wake)(struct mk_quiet *q))
{
	q->wake = wake;
	q->is_idle = false;
	pthread_mutex_lock(&lock);
	atomic_store(&q->passed, atomic_load(&mk_quiet_epoch));
	mk_list_push(&threads, &q->node);
	pthread_mutex_unlock(&lock);
}

void mk_quiet_leave(struct mk_quiet *q)
{
	pthread_mutex_lock(&lock);
	mk_list_remove(&q->node);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

void mk_quiet_idle(struct mk_quiet *q)
{
	pthread_mutex_lock(&lock);
	q->is_idle = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

void mk_quiet_busy(struct mk_quiet *q)
{
	/* The lock also makes what was taken away before the housekeeper saw us
	 * idle visible as taken away. */
	pthread_mutex_lock(&lock);
	q->is_idle = false;
	atomic_store(&q->passed, atomic_load(&mk_quiet_epoch));
	pthread_mutex_unlock(&lock);
}

void mk_quiet_passed(struct mk_quiet *q)
{
	pthread_mutex_lock(&lock);
	atomic_store(&q->passed, atomic_load(&mk_quiet_epoch));
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* Lock held, dropped while waiting. False after that many ms. */
static bool wait_ms(pthread_cond_t *cond, int64_t ms)
{
	return mk_cond_wait(cond, &lock, mk_now_usec() + ms * 1000);
}

static bool all_passed(uint64_t epoch, bool wake)       /* lock held        */
{
	bool all = true;

	MK_LIST_EACH(n, &threads) {
		struct mk_quiet *q = MK_CONTAINER(n, struct mk_quiet, node);

		if (q->is_idle || atomic_load(&q->passed) >= epoch)
			continue;
		all = false;
		if (wake && q->wake != NULL)
			q->wake(q);
	}
	return all;
}

static void free_batch(struct mk_list *batch)
{
	struct mk_list *n;
	struct old *o;

	while ((n = mk_list_pop(batch)) != NULL) {
		o = MK_CONTAINER(n, struct old, node);
		o->fn(o->p);
		mk_free(o);
	}
}

static void *housekeeper(void *arg)
{
	struct mk_list batch;
	uint64_t epoch;

	(void)arg;
	mk_list_init(&batch);
	pthread_mutex_lock(&lock);
	for (;;) {
		if (mk_list_empty(&waiting)) {
			if (!is_draining && wait_ms(&more, LINGER_MS))
				continue;
			if (mk_list_empty(&waiting))
				break;
		}
		mk_list_move(&batch, &waiting);
		epoch = atomic_fetch_add(&mk_quiet_epoch, 1) + 1;
		/* Busy workers pass by themselves; only then wake the others. */
		if (!all_passed(epoch, false))
			wait_ms(&changed, PATIENCE_MS);
		while (!all_passed(epoch, true))
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
		free_batch(&batch);
		pthread_mutex_lock(&lock);
	}
	has_housekeeper = false;
	pthread_cond_broadcast(&gone);
	pthread_mutex_unlock(&lock);
	return NULL;
}

void mk_quiesce(void (*fn)(void *p), void *p)
{
	struct old *o;
	pthread_t t;

	pthread_mutex_lock(&lock);
	if (mk_list_empty(&threads) && !has_housekeeper) {
		pthread_mutex_unlock(&lock);
		fn(p);
		return;
	}
	o = mk_alloc(sizeof(*o));
	o->fn = fn;
	o->p = p;
	mk_list_push(&waiting, &o->node);
	if (!has_housekeeper) {
		if (mk_thread_start(&t, "quiesce", housekeeper, NULL) == 0) {
			has_housekeeper = true;
			pthread_detach(t);
		} else {
			/* It waits for the next call, or for mk_quiet_drain. */
			mk_log(NULL, MK_ERROR, "no thread to free old data with", NULL);
		}
	} else {
		pthread_cond_signal(&more);
	}
	pthread_mutex_unlock(&lock);
}

void mk_quiet_drain(void)
{
	struct mk_list left;

	mk_list_init(&left);
	pthread_mutex_lock(&lock);
	is_draining = true;
	pthread_cond_signal(&more);
	while (has_housekeeper)
		pthread_cond_wait(&gone, &lock);
	is_draining = false;
	if (mk_list_empty(&threads))
		mk_list_move(&left, &waiting);
	pthread_mutex_unlock(&lock);
	free_batch(&left);
}
