/*
 * sm/queue.h - stanzas that went, or are to go, to one session
 *
 * A ring, numbered as XEP-0198 4 counts: the first stanza after <enabled/> is
 * 1, and 0 follows 2^32 - 1. acked <= sent <= total, in that order on the circle.
 * What lies between acked and total is held, by a reference each.
 */
#ifndef SM_QUEUE_H
#define SM_QUEUE_H

#include <meerkat/plugin.h>

struct sm_out {
	struct mk_stanza *stanza;      /* ref                                   */
	struct mk_jid *to;             /* ref: the address it was delivered by  */
	struct mk_session *other;      /* ref: another with XEP-0198 that got it
	                                * too, or NULL                          */
	size_t bytes;                  /* what it was when it came              */
};
struct sm_queue {
	struct sm_out *ring;           /* NULL while it is empty                */
	uint32_t size;                 /* of the ring, a power of two           */
	uint32_t acked, sent, total;
	size_t bytes;                  /* memory of its stanzas                 */
};

static inline uint32_t sm_queue_n(const struct sm_queue *q) { return q->total - q->acked; }
/* Whether number a comes after b (RFC 1982). */
static inline bool sm_after(uint32_t a, uint32_t b) { return (int32_t)(a - b) > 0; }

/* Takes references of its own. */
void sm_queue_push(struct sm_queue *q, struct mk_stanza *s, const struct mk_jid *to,
	struct mk_session *other);
/* Number n, acked < n <= total. */
struct sm_out *sm_queue_at(const struct sm_queue *q, uint32_t n);
/* The oldest is moved to *out, whose references are the caller's; false: none. */
bool sm_queue_pop(struct sm_queue *q, struct sm_out *out);
void sm_out_free(struct sm_out *o);
/*
 * The other side has handled h stanzas: those go. How many went; 0 also if h
 * is older than what is known. -MK_EINVAL: h is more than were sent.
 */
int  sm_queue_ack(struct sm_queue *q, uint32_t h);

#endif
