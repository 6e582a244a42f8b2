/*
 * loop/watch.h - descriptors that a worker waits for, by epoll
 *
 * A watch is a part of its owner's object and small, as each connection has
 * one. Its own worker's thread only.
 */
#ifndef MK_LOOP_WATCH_H
#define MK_LOOP_WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct mk_watch;
enum mk_watch_events { MK_WATCH_IN = 1, MK_WATCH_OUT = 2 };
struct mk_watch_ops {
	/* Some of what is wanted came. An error or the peer's end is all of it.
	 * May stop any watch, and free what it is part of. */
	void (*event)(struct mk_watch *w, unsigned events);
	/* event() follows in this turn, others' before it: a chance to fetch
	 * memory into the caches. step 0, 1, ... MK_WATCH_STEPS - 1: each may look
	 * at what the one before has fetched. NULL: no need. */
	void (*soon)(struct mk_watch *w, unsigned step);
};
struct mk_watch {
	const struct mk_watch_ops *ops;
	int fd;                        /* the owner's                           */
	uint8_t wants;                 /* enum mk_watch_events                  */
};
#define MK_WATCH_STEPS 4

/* For soon(): n bytes at p are going to be read. */
static inline void mk_prefetch(const void *p, size_t n)
{
	for (size_t i = 0; i < n; i += 64)
		__builtin_prefetch((const char *)p + i);
}

static inline void mk_watch_init(struct mk_watch *w, int fd, const struct mk_watch_ops *ops)
{
	*w = (struct mk_watch){ .ops = ops, .fd = fd };
}
/* wants 0: event() doesn't run any more, not even for what this turn has
 * already brought. To be called so before fd is closed. 0; -MK_EIO when it was 0
 * before and the kernel has no memory or watches left (epoll_ctl(2)). */
int  mk_watch_set(struct mk_watch *w, unsigned wants);

/* A worker's. */
#define MK_WATCH_BATCH 16              /* events in one turn                */
struct mk_poll {
	int fd;
	unsigned at, n;                /* of got: at work, how many             */
	struct epoll_event got[MK_WATCH_BATCH];
};
/* 0 or -MK_EIO. */
int  mk_poll_init(struct mk_poll *p);
void mk_poll_fini(struct mk_poll *p);
/* Waits until something comes, ms have gone (-1: for ever) or a signal came. */
void mk_poll_wait(struct mk_poll *p, int ms);
/* Runs event() for what came. */
void mk_poll_run(struct mk_poll *p);

#endif
