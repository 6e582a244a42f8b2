/*
 * base/thread.c - starting a thread, and clearing up after it
 *
 * One pthread key, whose destructor runs at the end of each marked thread.
 * The main thread's leavings go with the process. Any thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <meerkat/types.h>
#include "base/arena.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/thread.h"

static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static _Thread_local bool is_marked;

static void thread_end(void *mark)
{
	(void)mark;
	/* Whoever needs something after this (another key's destructor) marks
	 * the thread again, and we are called once more. */
	is_marked = false;
	mk_arena_thread_end();
	mk_log_thread_end();
	mk_metric_thread_end();
}

static void key_make(void)
{
	mk_assert(pthread_key_create(&end_key, thread_end) == 0);
}

void mk_thread_mark(void)
{
	if (MK_LIKELY(is_marked))
		return;
	pthread_once(&end_once, key_make);
	is_marked = pthread_setspecific(end_key, &end_key) == 0;
}

int mk_thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;
	char shown[16];
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return -MK_EIO;
	snprintf(shown, sizeof(shown), "%s", name);    /* Linux takes no more   */
	pthread_setname_np(*t, shown);
	return 0;
}

bool mk_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_usec)
{
	struct timespec until = { until_usec / 1000000, until_usec % 1000000 * 1000 };

	return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT;
}
