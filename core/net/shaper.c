/*
 * net/shaper.c - token buckets for bytes and stanzas
 *
 * Holds no memory of its own; used by whoever owns the struct.
 */
#include "net/shaper.h"

void mk_shaper_init(struct mk_shaper *s, uint32_t rate, uint32_t burst)
{
	s->rate = rate;
	s->burst = burst != 0 ? burst : rate;
	s->tokens = (int64_t)s->burst * 1000;
	s->last = 0;
}

static void refill(struct mk_shaper *s, mk_usec now)
{
	int64_t full = (int64_t)s->burst * 1000;
	int64_t elapsed = now - s->last;
	int64_t more;

	if (elapsed <= 0)
		return;
	/* The time that fills any debt is bounded by what was taken; comparing
	 * before multiplying keeps the product far from overflow. */
	if (elapsed / 1000 >= (full - s->tokens) / s->rate + 1) {
		s->tokens = full;
		s->last = now;
		return;
	}
	more = elapsed * s->rate / 1000;
	s->tokens += more;
	/* Only the time that made whole millitokens is used up, else frequent
	 * small steps at a low rate would never earn anything. */
	s->last += more * 1000 / s->rate;
	if (s->tokens > full)
		s->tokens = full;
}

int64_t mk_shaper_take(struct mk_shaper *s, uint32_t n, mk_usec now)
{
	if (s->rate == 0)
		return 0;
	refill(s, now);
	s->tokens -= (int64_t)n * 1000;
	if (s->tokens >= 0)
		return 0;
	return (-s->tokens * 1000 + s->rate - 1) / s->rate;
}
