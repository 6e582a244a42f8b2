/*
 * loop/watch.c - descriptors that a worker waits for, by epoll
 *
 * A turn has MK_WATCH_BATCH events at most: of a thousand that come at once,
 * what many caused would fall out of the processor's caches, and be answered
 * late, before the first of it was routed and written. The kernel gives those
 * that are ready in turn, so nobody waits for ever.
 */
#include <errno.h>
#include <unistd.h>
#include <meerkat/types.h>
#include "base/assert.h"
#include "loop/worker.h"

int mk_poll_init(struct mk_poll *p)
{
	p->at = p->n = 0;
	p->fd = epoll_create1(EPOLL_CLOEXEC);
	return p->fd < 0 ? -MK_EIO : 0;
}

void mk_poll_fini(struct mk_poll *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

int mk_watch_set(struct mk_watch *w, unsigned wants)
{
	struct mk_poll *p = &mk_self->poll;
	struct epoll_event e = { .data.ptr = w };
	int op = wants == 0 ? EPOLL_CTL_DEL : w->wants == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (wants == w->wants)
		return 0;
	if (wants & MK_WATCH_IN)
		e.events |= EPOLLIN;
	if (wants & MK_WATCH_OUT)
		e.events |= EPOLLOUT;
	if (epoll_ctl(p->fd, op, w->fd, &e) < 0) {
		mk_assert(op == EPOLL_CTL_ADD && (errno == ENOMEM || errno == ENOSPC));
		return -MK_EIO;
	}
	w->wants = (uint8_t)wants;
	if (wants == 0)
		for (unsigned i = p->at; i < p->n; i++)
			if (p->got[i].data.ptr == w)
				p->got[i].data.ptr = NULL;
	return 0;
}

void mk_poll_wait(struct mk_poll *p, int ms)
{
	int n = epoll_wait(p->fd, p->got, MK_WATCH_BATCH, ms);

	/* Anything else would be epoll itself refusing to work. */
	mk_assert(n >= 0 || errno == EINTR);
	p->at = 0;
	p->n = n > 0 ? (unsigned)n : 0;
}

static unsigned events_of(const struct mk_watch *w, uint32_t got)
{
	unsigned events = 0;

	if (got & (EPOLLIN | EPOLLERR | EPOLLHUP))
		events |= MK_WATCH_IN;
	if (got & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		events |= MK_WATCH_OUT;
	return events & w->wants;
}

void mk_poll_run(struct mk_poll *p)
{
	for (unsigned step = 0; step <= MK_WATCH_STEPS && p->n > 1; step++)
		for (unsigned i = 0; i < p->n; i++) {
			struct mk_watch *w = p->got[i].data.ptr;
			if (step == 0)
				__builtin_prefetch(w);
			else if (w->ops->soon != NULL)
				w->ops->soon(w, step - 1);
		}
	while (p->at < p->n) {
		struct epoll_event *e = &p->got[p->at++];
		struct mk_watch *w = e->data.ptr;
		unsigned events = w != NULL ? events_of(w, e->events) : 0;

		if (events != 0)
			w->ops->event(w, events);
	}
	p->n = p->at = 0;
}
