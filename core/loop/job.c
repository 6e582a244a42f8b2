/*
 * loop/job.c - threads that may block
 *
 * Threads are started one by one, whenever a job comes and none is idle, up to
 * the pool's bound; they stay until the pool is freed. Any thread submits.
 */
#include <meerkat/log.h>
#include "base/assert.h"
#include "base/metric.h"
#include "base/thread.h"
#include "loop/job.h"
#include "loop/quiesce.h"

struct mk_pool {
	/* fixed */
	char *name;
	void *(*thread_init)(void *arg);
	void (*thread_fini)(void *data);
	void *arg;
	unsigned max;
	uint32_t wait_metric;
	pthread_t *thread;             /* max of them                           */
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct mk_list queue;          /* of mk_job, FIFO                       */
	unsigned queued, started, idle;
	bool is_closing;
};

static _Thread_local const struct mk_pool *pool_of_thread;

bool mk_in_job(void)
{
	return pool_of_thread != NULL;
}

bool mk_in_pool(const struct mk_pool *p)
{
	return pool_of_thread == p;
}

static void job_back(struct mk_msg *m)
{
	struct mk_job *j = MK_CONTAINER(m, struct mk_job, msg);

	j->done(j);
	mk_worker_job_home();
}

static void run(struct mk_pool *p, struct mk_job *j, void *data)
{
	struct mk_worker *home = j->home;
	bool has_done = j->done != NULL;

	mk_metric_see(p->wait_metric, mk_now_usec() - j->since);
	j->run(j, data);
	if (has_done) {                        /* else j may be gone        */
		j->msg.fn = job_back;
		mk_worker_post(home, &j->msg);
	}
}

static void *job_thread(void *arg)
{
	struct mk_pool *p = arg;
	struct mk_quiet quiet;
	struct mk_list *n;
	void *data;

	pool_of_thread = p;
	mk_quiet_join(&quiet, NULL);
	data = p->thread_init != NULL ? p->thread_init(p->arg) : NULL;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		if (mk_list_empty(&p->queue) && !p->is_closing) {
			p->idle++;
			mk_quiet_idle(&quiet);
			while (mk_list_empty(&p->queue) && !p->is_closing)
				pthread_cond_wait(&p->cond, &p->lock);
			mk_quiet_busy(&quiet);
			p->idle--;
		}
		n = mk_list_pop(&p->queue);
		if (n == NULL)
			break;
		p->queued--;
		pthread_mutex_unlock(&p->lock);
		run(p, MK_CONTAINER(n, struct mk_job, node), data);
		mk_quiet_pass(&quiet);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	if (p->thread_fini != NULL)
		p->thread_fini(data);
	mk_quiet_leave(&quiet);
	return NULL;
}

struct mk_pool *mk_pool_new(const char *name, unsigned threads,
	void *(*thread_init)(void *arg), void (*thread_fini)(void *data), void *arg)
{
	struct mk_pool *p = mk_alloc(sizeof(*p));
	struct mk_buf label = { 0 };

	mk_assert(threads > 0);
	p->name = mk_strdup(name);
	p->thread_init = thread_init;
	p->thread_fini = thread_fini;
	p->arg = arg;
	p->max = threads;
	p->thread = mk_alloc(threads * sizeof(*p->thread));
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	mk_list_init(&p->queue);
	mk_metric_label(&label, "pool", mk_strz(name));
	p->wait_metric = mk_metric_id("meerkat_job_wait_usec",
		"Time that jobs waited for a thread, in microseconds", MK_HISTOGRAM,
		mk_buf_z(&label));
	mk_buf_free(&label);
	return p;
}

void mk_pool_free(struct mk_pool **p)
{
	struct mk_pool *gone = *p;

	if (gone == NULL)
		return;
	*p = NULL;
	pthread_mutex_lock(&gone->lock);
	gone->is_closing = true;
	pthread_cond_broadcast(&gone->cond);
	pthread_mutex_unlock(&gone->lock);
	for (unsigned i = 0; i < gone->started; i++)
		pthread_join(gone->thread[i], NULL);
	mk_assert(mk_list_empty(&gone->queue));
	pthread_cond_destroy(&gone->cond);
	pthread_mutex_destroy(&gone->lock);
	mk_free(gone->thread);
	mk_free(gone->name);
	mk_free(gone);
}

void mk_pool_submit(struct mk_pool *p, struct mk_job *j)
{
	bool is_short = false;

	mk_assert(j->done == NULL || mk_self != NULL);
	j->home = mk_self;
	j->since = mk_now_usec();
	if (j->done != NULL)
		mk_worker_job_left();
	pthread_mutex_lock(&p->lock);
	mk_assert(!p->is_closing);
	mk_list_push(&p->queue, &j->node);
	p->queued++;
	if (p->queued > p->idle && p->started < p->max) {
		if (mk_thread_start(&p->thread[p->started], p->name, job_thread, p) == 0)
			p->started++;
		else
			is_short = true;
		/* Without a first one nothing would ever be done. */
		mk_assert(p->started > 0);
	}
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	if (is_short)
		mk_log(NULL, MK_WARN, "a job thread could not be started", "pool=%s", p->name);
}

unsigned mk_pool_queued(struct mk_pool *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->queued;
	pthread_mutex_unlock(&p->lock);
	return n;
}

const char *mk_pool_name(const struct mk_pool *p)
{
	return p->name;
}
