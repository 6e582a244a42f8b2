/*
 * loop/job.h - threads that may block
 *
 * A pool has a bounded number of threads, started when needed, and a FIFO of
 * jobs. Each thread has data made by thread_init (a struct mk_store *).
 */
#ifndef MK_LOOP_JOB_H
#define MK_LOOP_JOB_H

#include "loop/worker.h"

struct mk_pool;
struct mk_job {
	struct mk_msg msg;             /* used for the way back                 */
	struct mk_list node;
	struct mk_worker *home;        /* set by mk_pool_submit                 */
	mk_usec since;                 /* likewise: when                        */
	void (*run)(struct mk_job *j, void *thread_data);
	void (*done)(struct mk_job *j);/* on home; NULL: run frees j            */
};
/* thread_init and thread_fini, each on the thread itself, may be NULL. threads
 * >= 1. Waiting time goes to the histogram meerkat_job_wait_usec{pool=name}. */
struct mk_pool *mk_pool_new(const char *name, unsigned threads,
	void *(*thread_init)(void *arg), void (*thread_fini)(void *data), void *arg);
/* Finishes what is queued, then joins. Nobody submits any more. Before or after
 * mk_workers_stop, which waits for jobs that have a `done`. Main thread. */
void mk_pool_free(struct mk_pool **p);
/* From a worker (done runs there) or, with done NULL, from any thread. */
void mk_pool_submit(struct mk_pool *p, struct mk_job *j);
unsigned mk_pool_queued(struct mk_pool *p);    /* waiting; any thread       */
const char *mk_pool_name(const struct mk_pool *p);
/* True on a thread of any pool; of this one. */
bool mk_in_job(void);
bool mk_in_pool(const struct mk_pool *p);

#endif
