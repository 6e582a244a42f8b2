/*
 * base/thread.h - what base/ keeps per thread is given back when it ends
 */
#ifndef MK_BASE_THREAD_H
#define MK_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* From now on, the end of this thread calls mk_arena_thread_end,
 * mk_log_thread_end and mk_metric_thread_end. Cheap to repeat. */
void mk_thread_mark(void);
/* pthread_create with every signal blocked: signals are the main thread's.
 * name (15 characters of it) shows in ps and gdb. 0 or -MK_EIO. */
int mk_thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), void *arg);
/* pthread_cond_timedwait until mk_now_usec() is until_usec, whatever is done to the
 * wall clock; for a cond with default attributes. False: it is that late. */
bool mk_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_usec);

#endif
