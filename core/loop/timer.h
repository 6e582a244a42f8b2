/*
 * loop/timer.h - a wheel of coarse timers per worker (100 ms)
 *
 * O(1) to start and stop; an empty wheel wakes nobody. Owner's worker only.
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
	void *event;                   /* libevent timer, armed while count > 0 */
};
void mk_wheel_init(struct mk_wheel *w, struct mk_worker *owner);
void mk_wheel_fini(struct mk_wheel *w);
/* On this thread's worker; restarts a timer that is running. */
void mk_wtimer_start(struct mk_wtimer *t, int64_t delay_ms, void (*fn)(struct mk_wtimer *t));
void mk_wtimer_stop(struct mk_wtimer *t);              /* fine if it isn't  */
static inline bool mk_wtimer_is_running(const struct mk_wtimer *t)
{
	return mk_list_linked(&t->node);
}

#endif
