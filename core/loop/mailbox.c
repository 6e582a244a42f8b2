/*
 * loop/mailbox.c - messages between threads
 *
 * Any thread puts, the owner takes. A message is the receiver's from the
 * moment it is put.
 */
#include <sys/eventfd.h>
#include <unistd.h>
#include <meerkat/types.h>
#include "base/assert.h"
#include "loop/mailbox.h"

int mk_mailbox_init(struct mk_mailbox *b)
{
	b->head = NULL;
	b->tail = &b->head;
	b->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (b->kick_fd < 0)
		return -MK_EIO;
	pthread_mutex_init(&b->lock, NULL);
	return 0;
}

void mk_mailbox_fini(struct mk_mailbox *b)
{
	close(b->kick_fd);
	b->kick_fd = -1;
	pthread_mutex_destroy(&b->lock);
}

void mk_mailbox_kick(struct mk_mailbox *b)
{
	/* It fails only when the counter is at its maximum: readable anyway. */
	if (eventfd_write(b->kick_fd, 1) != 0)
		return;
}

void mk_mailbox_unkick(struct mk_mailbox *b)
{
	eventfd_t count;

	/* Fails if there was no kick: as wished. */
	if (eventfd_read(b->kick_fd, &count) != 0)
		return;
}

void mk_mailbox_put(struct mk_mailbox *b, struct mk_msg *m)
{
	bool was_empty;

	m->next = NULL;
	pthread_mutex_lock(&b->lock);
	was_empty = b->head == NULL;
	*b->tail = m;
	b->tail = &m->next;
	pthread_mutex_unlock(&b->lock);
	if (was_empty)
		mk_mailbox_kick(b);
}

struct mk_msg *mk_mailbox_take(struct mk_mailbox *b)
{
	struct mk_msg *all;

	pthread_mutex_lock(&b->lock);
	all = b->head;
	b->head = NULL;
	b->tail = &b->head;
	pthread_mutex_unlock(&b->lock);
	return all;
}
