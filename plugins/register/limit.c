/*
 * limit.c - how often somebody may do something
 *
 * Buckets of a few places each; the key's hash, seeded per table so that nobody
 * can aim at a bucket, tells which. A place of which the window is over is free.
 */
#include "limit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>

enum { BUCKETS = 1024, PLACES = 4 };

struct place { uint64_t hash; int64_t since_ms, until_ms, count; };
struct limit {
	pthread_mutex_t lock;
	uint64_t seed;
	struct place all;
	struct place place[BUCKETS][PLACES];
};

struct limit *limit_new(void)
{
	struct limit *l = mk_alloc(sizeof *l);

	pthread_mutex_init(&l->lock, NULL);
	mk_random(&l->seed, sizeof l->seed);
	return l;
}

void limit_free(struct limit **l)
{
	if (*l == NULL)
		return;
	pthread_mutex_destroy(&(*l)->lock);
	mk_free(*l);
	*l = NULL;
}

/* FNV-1a, then murmur's finalizer; never 0. */
static uint64_t hash(uint64_t h, const char *z)
{
	for (; *z != '\0'; z++)
		h = (h ^ (unsigned char)*z) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	return h != 0 ? h : 1;
}

/* That of a key: its own, or else a free one, or the oldest. */
static struct place *place_of(struct limit *l, const char *key, int64_t now_ms)
{
	uint64_t h = hash(l->seed, key);
	struct place *free = NULL;

	for (struct place *x = l->place[h % BUCKETS], *end = x + PLACES; x < end; x++) {
		if (x->hash != 0 && x->until_ms <= now_ms)
			memset(x, 0, sizeof *x);
		if (x->hash == h)
			return x;
		if (free == NULL || x->since_ms < free->since_ms)
			free = x;
	}
	*free = (struct place){ .hash = h };
	return free;
}

bool limit_take(struct limit *l, const char *key, int64_t max, int64_t window_ms,
	int64_t now_ms)
{
	struct place *p;
	bool ok;

	if (max == 0)
		return true;
	pthread_mutex_lock(&l->lock);
	p = key != NULL ? place_of(l, key, now_ms) : &l->all;
	if (p->count == 0 || p->until_ms <= now_ms) {
		p->since_ms = now_ms;
		p->until_ms = now_ms + window_ms;
		p->count = 0;
	}
	ok = p->count < max;
	p->count += ok;
	pthread_mutex_unlock(&l->lock);
	return ok;
}

void limit_key_of_address(char *out, const char *address)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, address, &a) != 1) {
		snprintf(out, 64, "%s", address);
	} else if (IN6_IS_ADDR_V4MAPPED(&a)) {
		inet_ntop(AF_INET, a.s6_addr + 12, out, 64);
	} else {
		memset(a.s6_addr + 8, 0, 8);
		inet_ntop(AF_INET6, &a, out, 64);
	}
}
