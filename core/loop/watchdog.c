/*
 * loop/watchdog.c - says which worker has not ended its turn
 *
 * A thread of its own that reads the workers' atomics. It runs while workers
 * do: mk_workers_stop ends it first.
 */
#include <meerkat/log.h>
#include "base/assert.h"
#include "base/thread.h"
#include "loop/worker.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stop_cond = PTHREAD_COND_INITIALIZER;
static bool is_running;                /* main thread                       */
static bool is_stopping;               /* under the lock                    */
static pthread_t thread;
static int64_t limit_usec;

static void look(int64_t *reported)
{
	mk_usec now = mk_now_usec();

	for (unsigned i = 0; i < mk_worker_count; i++) {
		struct mk_worker *w = mk_worker(i);
		int64_t since = atomic_load_explicit(&w->busy_since, memory_order_relaxed);
		const char *doing = atomic_load_explicit(&w->doing, memory_order_relaxed);

		if (since == 0 || now - since < limit_usec || since == reported[i])
			continue;
		reported[i] = since;
		mk_log(NULL, MK_WARN, "a worker does not come to the end of its turn",
		       "worker=%u ms=%lld doing=%s", i, (long long)(now - since) / 1000,
		       doing != NULL ? doing : "core");
	}
}

static void *watch(void *arg)
{
	int64_t *reported = mk_alloc(mk_worker_count * sizeof(*reported));
	int64_t nap_usec = limit_usec / 4 < 10000 ? 10000 : limit_usec / 4;

	(void)arg;
	pthread_mutex_lock(&lock);
	while (!is_stopping) {
		mk_cond_wait(&stop_cond, &lock, mk_now_usec() + nap_usec);
		if (!is_stopping)
			look(reported);
	}
	pthread_mutex_unlock(&lock);
	mk_free(reported);
	return NULL;
}

void mk_watchdog_start(int64_t limit_ms)
{
	mk_assert(!is_running && limit_ms > 0);
	if (mk_worker_count == 0)
		return;
	limit_usec = limit_ms * 1000;
	is_stopping = false;
	is_running = mk_thread_start(&thread, "watchdog", watch, NULL) == 0;
	if (!is_running)
		mk_log(NULL, MK_ERROR, "no thread for the watchdog", NULL);
}

void mk_watchdog_stop(void)
{
	if (!is_running)
		return;
	pthread_mutex_lock(&lock);
	is_stopping = true;
	pthread_cond_signal(&stop_cond);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	is_running = false;
}
