/*
 * loop/worker.h - threads that never block
 *
 * A worker is a thread with a libevent base, a mailbox, a run queue, timers
 * and scratch memory. A turn: events, mailbox, run queue (until empty, within
 * a budget), then whatever asked to run at its end (socket output). Objects
 * belong to one worker; others reach them by posting.
 */
#ifndef MK_LOOP_WORKER_H
#define MK_LOOP_WORKER_H

#include <event2/event.h>
#include <stdatomic.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "loop/mailbox.h"
#include "loop/timer.h"

struct mk_task {                       /* something to do on this worker    */
	struct mk_list node;
	void (*run)(struct mk_task *t);
};

struct mk_worker {
	unsigned index;
	struct event_base *base;
	struct mk_mailbox mailbox;
	struct mk_list run;            /* of mk_task, FIFO                      */
	struct mk_list turn_end;       /* of mk_task, once per turn             */
	struct mk_wheel wheel;
	struct mk_arena turn;          /* reset at the end of each turn         */
	struct mk_buf scratch;         /* for one function's use at a time      */
	char *read_buf;                /* MK_READ_BUF bytes, shared by all reads */
	mk_usec now;                   /* at the start of the turn              */
	void *slots;                   /* plugin/slot.c                         */
	void *core;                    /* session/: tables of this worker       */
	/* any thread */
	_Atomic uint64_t turns;        /* grows; the watchdog reads it          */
	_Atomic int64_t busy_since;    /* monotonic usec; 0 = waiting           */
	_Atomic(const char *) doing;   /* plugin at work, for the watchdog      */
};
#define MK_READ_BUF 65536

extern _Thread_local struct mk_worker *mk_self;        /* NULL elsewhere    */
extern unsigned mk_worker_count;

/* Makes n workers and starts their threads; init runs on each first, fini
 * last. 0 or -MK_EIO. Main thread. */
int  mk_workers_start(unsigned n, void (*init)(struct mk_worker *w),
                      void (*fini)(struct mk_worker *w));
/* Asks all to stop after the current turn, and joins them. */
void mk_workers_stop(void);
struct mk_worker *mk_worker(unsigned index);

/* m->fn(m) runs on w; FIFO per sending thread. Any thread. */
void mk_worker_post(struct mk_worker *w, struct mk_msg *m);
/* Runs t in this turn, after what is queued. Its own worker only. */
void mk_worker_run(struct mk_task *t);
/* Runs t once at the end of this turn. t may be in the list already: no-op. */
void mk_worker_at_turn_end(struct mk_task *t);
/* fn on every worker in turn, waiting for each; not from a worker. */
void mk_workers_call(void (*fn)(struct mk_worker *w, void *arg), void *arg);

/* Frees old data: fn(p) runs on the main thread's or a job's behalf once no
 * worker and no job can still see p. Any thread. */
void mk_quiesce(void (*fn)(void *p), void *p);

/* A worker that has not ended its turn for limit_ms is reported (log, with
 * `doing`) by a thread of its own. */
void mk_watchdog_start(int64_t limit_ms);
void mk_watchdog_stop(void);

#endif
