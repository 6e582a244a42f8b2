/*
 * loop/timer.h - a wheel of coarse timers per worker (100 ms)
 *
 * O(1) to start and stop. It wakes the worker only when something is due, or
 * every 6.4 s while there are timers for later. A timer never fires early, and
 * late by up to 100 ms. Owner's worker only.
 */
#ifndef MK_LOOP_TIMER_H
#define MK_LOOP_TIMER_H

#include <meerkat/types.h>
#include "base/list.h"

struct mk_worker;
struct mk_wtimer {                     /* in an object of the caller's      */
	struct mk_list node;
	mk_usec due;
	void (*fn)(struct mk_wtimer *t);
};
struct mk_wheel {
	struct mk_list slot[4][64];
	uint64_t tick;                 /* 100 ms each, monotonic                */
	uint32_t count;
	uint64_t wake;                 /* tick to run at; 0 = none              */
};
#define MK_TICK_USEC 100000
void mk_wheel_init(struct mk_wheel *w);
/* Timers that are running are forgotten. */
void mk_wheel_fini(struct mk_wheel *w);
/* Milliseconds until mk_wheel_run has something to do; -1 = no timers. */
int  mk_wheel_wait(const struct mk_wheel *w, mk_usec now);
/* Runs what is due at that time; the worker does it in each turn. fn may start
 * and stop any timer, and free the one it is called for. */
void mk_wheel_run(struct mk_wheel *w, mk_usec now);
/* On this thread's worker, from the beginning of the turn; restarts a timer
 * that is running. A delay below 0 is 0: at the next tick. */
void mk_wtimer_start(struct mk_wtimer *t, int64_t delay_ms, void (*fn)(struct mk_wtimer *t));
void mk_wtimer_stop(struct mk_wtimer *t);              /* fine if it isn't  */
static inline bool mk_wtimer_is_running(const struct mk_wtimer *t)
{
	return mk_list_linked(&t->node);
}

#endif
