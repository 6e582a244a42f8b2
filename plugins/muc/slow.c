/*
 * muc/slow.c - who of a room has spoken lately (slow mode, XEP-0500)
 *
 * A table with open addressing; what is over goes when it is filled up.
 */
#include "slow.h"

struct spoken { uint64_t user; int64_t at_ms; };       /* user 0: free          */
struct slow {
	uint64_t seed;                 /* nobody shall choose an address that
	                                * meets another's                       */
	struct spoken *v;
	uint32_t n, size;              /* size: a power of two                  */
};

static uint64_t user_of(const struct slow *s, const struct mk_jid *jid)
{
	struct mk_str bare = mk_jid_bare(jid);
	uint64_t h = s->seed;

	for (size_t k = 0; k < bare.n; k++) {
		h = (h ^ (unsigned char)bare.p[k]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h != 0 ? h : 1;
}

/* Where it is, or would be. */
static struct spoken *place(const struct slow *s, uint64_t user)
{
	uint32_t k = (uint32_t)user & (s->size - 1);

	while (s->v[k].user != 0 && s->v[k].user != user)
		k = (k + 1) & (s->size - 1);
	return &s->v[k];
}

/* Those who may speak again go; and there is room for one more. */
static void renew(struct slow *s, int64_t every_ms, int64_t now_ms)
{
	struct slow old = *s;
	uint32_t n = 0;

	for (uint32_t k = 0; k < old.size; k++)
		n += old.v[k].user != 0 && now_ms - old.v[k].at_ms < every_ms;
	s->size = 16;
	while (s->size < 3 * (n + 1))
		s->size *= 2;
	s->v = mk_alloc(s->size * sizeof *s->v);
	s->n = n;
	for (uint32_t k = 0; k < old.size; k++)
		if (old.v[k].user != 0 && now_ms - old.v[k].at_ms < every_ms)
			*place(s, old.v[k].user) = old.v[k];
	mk_free(old.v);
}

int64_t slow_take(struct slow **sp, const struct mk_jid *jid, int64_t every_ms, int64_t now_ms)
{
	struct slow *s = *sp;
	struct spoken *at;
	uint64_t user;

	if (s == NULL) {
		*sp = s = mk_alloc(sizeof *s);
		mk_random(&s->seed, sizeof s->seed);
	}
	if (4 * (s->n + 1) > 3 * s->size)
		renew(s, every_ms, now_ms);
	user = user_of(s, jid);
	at = place(s, user);
	if (at->user != 0 && now_ms - at->at_ms < every_ms)
		return every_ms - (now_ms - at->at_ms);
	s->n += at->user == 0;
	*at = (struct spoken){ user, now_ms };
	return 0;
}

void slow_free(struct slow **sp)
{
	if (*sp != NULL)
		mk_free((*sp)->v);
	mk_free(*sp);
	*sp = NULL;
}
