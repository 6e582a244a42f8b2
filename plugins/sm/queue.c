/*
 * sm/queue.c - see queue.h. On the session's worker.
 */
#include "queue.h"

#define FIRST_SIZE 4

static struct sm_out *slot(const struct sm_queue *q, uint32_t n)
{
	return &q->ring[n & (q->size - 1)];
}

static void grow(struct sm_queue *q)
{
	uint32_t size = q->size != 0 ? q->size * 2 : FIRST_SIZE;
	struct sm_out *ring = mk_alloc(size * sizeof *ring);

	for (uint32_t n = q->acked + 1; n != q->total + 1; n++)
		ring[n & (size - 1)] = *slot(q, n);
	mk_free(q->ring);
	q->ring = ring;
	q->size = size;
}

void sm_queue_push(struct sm_queue *q, struct mk_stanza *s, const struct mk_jid *to,
	struct mk_session *other)
{
	if (sm_queue_n(q) == q->size)
		grow(q);
	q->total++;
	*slot(q, q->total) = (struct sm_out){ mk_stanza_ref(s), mk_jid_ref(to),
		other != NULL ? mk_session_ref(other) : NULL, mk_stanza_bytes(s) };
	q->bytes += slot(q, q->total)->bytes;
}

struct sm_out *sm_queue_at(const struct sm_queue *q, uint32_t n)
{
	return slot(q, n);
}

bool sm_queue_pop(struct sm_queue *q, struct sm_out *out)
{
	if (q->acked == q->total)
		return false;
	if (q->sent == q->acked)
		q->sent++;
	q->acked++;
	*out = *slot(q, q->acked);
	q->bytes -= out->bytes;
	if (q->acked == q->total) {
		mk_free(q->ring);
		q->ring = NULL;
		q->size = 0;
	}
	return true;
}

void sm_out_free(struct sm_out *o)
{
	mk_stanza_unref(&o->stanza);
	mk_jid_unref(&o->to);
	mk_session_unref(&o->other);
}

int sm_queue_ack(struct sm_queue *q, uint32_t h)
{
	struct sm_out o;
	int n = 0;

	if (sm_after(h, q->sent))
		return -MK_EINVAL;
	for (; sm_after(h, q->acked) && sm_queue_pop(q, &o); n++)
		sm_out_free(&o);
	return n;
}
