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

bool limit_take(struct limit *l, const char *key, int64_t max, int64_t window_ms,
	int64_t now_ms)
{
	struct place *p = NULL, *free = NULL;
	uint64_t h;
	bool ok;

	if (max == 0)
		return true;
	h = hash(l->seed, key);
	pthread_mutex_lock(&l->lock);
	for (struct place *x = l->place[h % BUCKETS], *end = x + PLACES; x < end; x++) {
		if (x->hash != 0 && x->until_ms <= now_ms)
			memset(x, 0, sizeof *x);
		if (x->hash == h)
			p = x;
		else if (free == NULL || x->since_ms < free->since_ms)
			free = x;
	}
	if (p == NULL) {
		p = free;
		*p = (struct place){ h, now_ms, now_ms + window_ms, 0 };
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
