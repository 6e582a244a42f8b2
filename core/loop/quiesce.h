/*
 * loop/quiesce.h - who might still see old data (mk_quiesce, loop/worker.h)
 *
 * Workers and job threads take part. Data that is to be freed waits until each
 * of them has been seen at a point where it holds no borrowed pointer: the end
 * of a turn, the end of a job, or no job at hand.
 */
#ifndef MK_LOOP_QUIESCE_H
#define MK_LOOP_QUIESCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

struct mk_quiet {                      /* in an object of the thread's      */
	struct mk_list node;
	void (*wake)(struct mk_quiet *q);      /* makes it pass soon; or NULL */
	bool is_idle;                  /* under the lock in quiesce.c           */
	_Atomic uint64_t passed;       /* the newest epoch it has passed        */
};
extern _Atomic uint64_t mk_quiet_epoch;

/* Takes part from now on, until leave. wake is called with a lock held, from
 * another thread. */
void mk_quiet_join(struct mk_quiet *q, void (*wake)(struct mk_quiet *q));
void mk_quiet_leave(struct mk_quiet *q);
/* Nothing borrowed between these two. */
void mk_quiet_idle(struct mk_quiet *q);
void mk_quiet_busy(struct mk_quiet *q);
void mk_quiet_passed(struct mk_quiet *q);      /* the slow half             */
/* Nothing borrowed at this moment. A load and a comparison, mostly. */
static inline void mk_quiet_pass(struct mk_quiet *q)
{
	if (__builtin_expect(atomic_load_explicit(&mk_quiet_epoch, memory_order_relaxed) !=
	                     atomic_load_explicit(&q->passed, memory_order_relaxed), 0))
		mk_quiet_passed(q);
}
/* Waits until nothing waits to be freed. Not from a thread that takes part. */
void mk_quiet_drain(void);

#endif
