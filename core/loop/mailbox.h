/*
 * loop/mailbox.h - messages between threads
 *
 * A mutex-protected list taken whole, one eventfd kick per empty -> non-empty
 * change. Intrusive: a message is part of what it is about.
 */
#ifndef MK_LOOP_MAILBOX_H
#define MK_LOOP_MAILBOX_H

#include <pthread.h>

struct mk_msg {
	struct mk_msg *next;
	void (*fn)(struct mk_msg *m);
};
struct mk_mailbox {
	pthread_mutex_t lock;
	struct mk_msg *head, **tail;
	int kick_fd;                   /* eventfd                               */
};
int  mk_mailbox_init(struct mk_mailbox *b);            /* 0, -MK_EIO        */
void mk_mailbox_fini(struct mk_mailbox *b);
void mk_mailbox_put(struct mk_mailbox *b, struct mk_msg *m);   /* any thread */
/* Makes kick_fd readable without a message. Any thread. */
void mk_mailbox_kick(struct mk_mailbox *b);
/* Makes kick_fd unreadable until the next kick. The owner only. */
void mk_mailbox_unkick(struct mk_mailbox *b);
/* All that is there, oldest first, or NULL. The owner only. */
struct mk_msg *mk_mailbox_take(struct mk_mailbox *b);

#endif
