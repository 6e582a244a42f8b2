/*
 * loop/worker.h - threads that never block
 *
 * A worker is a thread with an epoll descriptor, a mailbox, a run queue, timers
 * and scratch memory. A turn: some events, mailbox, run queue (until empty, within
 * a budget), then whatever asked to run at its end (socket output). Objects
 * belong to one worker; others reach them by posting.
 */
#ifndef MK_LOOP_WORKER_H
#define MK_LOOP_WORKER_H

#include <stdatomic.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/mailbox.h"
#include "loop/timer.h"
#include "loop/watch.h"

struct mk_task {                       /* something to do on this worker    */
	struct mk_list node;
	void (*run)(struct mk_task *t);
};

struct mk_worker {
	unsigned index;
	struct mk_poll poll;
	struct mk_mailbox mailbox;
	struct mk_list run;            /* of mk_task, FIFO                      */
	struct mk_list turn_end;       /* of mk_task, once per turn             */
	struct mk_wheel wheel;
	struct mk_arena turn;          /* reset at the end of each turn         */
	struct mk_buf scratch;         /* for one function's use at a time      */
	char *read_buf;                /* MK_READ_BUF bytes, shared by all reads */
	mk_usec now;                   /* at the start of the turn, monotonic   */
	void *slots;                   /* plugin/slot.c                         */
	void *core;                    /* session/: tables of this worker       */
	/* written by the worker, read by any thread */
	_Atomic uint64_t turns;        /* ended                                 */
	_Atomic int64_t busy_since;    /* begin of the turn; 0 = waiting        */
	_Atomic(const char *) doing;   /* plugin at work, for the watchdog      */
};
#define MK_READ_BUF 65536
#define MK_TURN_TASKS 4096             /* run in one turn at most           */

extern _Thread_local struct mk_worker *mk_self;        /* NULL elsewhere    */
extern unsigned mk_worker_count;

/* Makes n workers and starts their threads; init runs on each first (and has
 * run on all when this returns), fini last; both may be NULL. 0 or -MK_EIO.
 * Main thread. */
int  mk_workers_start(unsigned n, void (*init)(struct mk_worker *w),
                      void (*fini)(struct mk_worker *w));
/* Waits for jobs that have a `done` to come home (MK_STOP_WAIT_MS at most), asks all
 * workers to stop after the current turn, and joins them. What was posted is
 * still run, also what that posts in turn (four rounds); then fini, then no
 * more: a job that comes home later finds its mailbox, but nobody reads it.
 * Main thread. */
void mk_workers_stop(void);
#define MK_STOP_WAIT_MS 5000
/* loop/job.c: a job with a done has been submitted; its done has run. */
void mk_worker_job_left(void);
void mk_worker_job_home(void);
struct mk_worker *mk_worker(unsigned index);

/* m->fn(m) runs on w; FIFO per sending thread. Any thread. */
void mk_worker_post(struct mk_worker *w, struct mk_msg *m);
/* Runs t in this turn, after what is queued; in the next one when this turn has
 * run MK_TURN_TASKS. A t that is queued already stays where it is. Its own
 * worker only. */
void mk_worker_run(struct mk_task *t);
/* Runs t once at the end of this turn; if called there, of the next, which
 * begins without waiting. t may be in the list already: no-op. A task is taken
 * back by mk_list_remove(&t->node). */
void mk_worker_at_turn_end(struct mk_task *t);
/* fn on every worker in turn, waiting for each; not from a worker. */
void mk_workers_call(void (*fn)(struct mk_worker *w, void *arg), void *arg);

/* Frees old data: fn(p) runs once no worker and no job can still see p, that
 * is, after each worker has ended its turn and each job that was running has
 * returned. p has been taken away from where they find it before the call. On
 * a thread of its own, where fn may not block; at once in this one if there are
 * no workers and no pools' threads. Any thread. */
void mk_quiesce(void (*fn)(void *p), void *p);

/* A worker that has not ended its turn for limit_ms is reported (log, with
 * `doing`), once per turn, by a thread of its own. Main thread. */
void mk_watchdog_start(int64_t limit_ms);
void mk_watchdog_stop(void);

#endif
