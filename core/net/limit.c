/*
 * net/limit.c - how many connections an address has, and how fast it makes them
 *
 * Sharded by hash, a mutex each. An entry lives while its address has a
 * connection or its bucket isn't full again; the latter are swept, at most once
 * a second and shard, by those that add entries.
 */
#include <pthread.h>
#include "base/assert.h"
#include "base/map.h"
#include "net/limit.h"
#include "base/ban.h"

#define SHARDS 64
#define SWEEP_USEC 1000000

struct addr_entry {
	struct mk_map_node node;
	struct in6_addr net;
	struct mk_shaper bucket;
	uint32_t count, waiting;
};
struct shard {
	pthread_mutex_t lock;
	struct mk_map map;
	mk_usec swept;
};
static struct shard shards[SHARDS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool entry_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	return memcmp(&MK_CONTAINER(n, struct addr_entry, node)->net, key, key_n) == 0;
}

static void init(void)
{
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&shards[i].lock, NULL);
		mk_map_init(&shards[i].map, entry_eq);
	}
}

/* Locked. */
static struct shard *shard_of(const struct mk_addr *a, struct in6_addr *net, uint64_t *hash)
{
	struct shard *s;

	pthread_once(&once, init);
	*net = a->ip;
	if (!IN6_IS_ADDR_V4MAPPED(&a->ip))
		memset((char *)net + 8, 0, 8);
	*hash = mk_hash_bytes(net, sizeof *net);
	s = &shards[*hash >> 58];
	pthread_mutex_lock(&s->lock);
	return s;
}

static struct addr_entry *entry_find(struct shard *s, const struct in6_addr *net, uint64_t hash)
{
	struct mk_map_node *n = mk_map_find(&s->map, hash, net, sizeof *net);

	return n != NULL ? MK_CONTAINER(n, struct addr_entry, node) : NULL;
}

/* Nothing is known of the address that a new entry wouldn't say as well. */
static bool is_blank(struct addr_entry *e, mk_usec now)
{
	if (e->count > 0)
		return false;
	mk_shaper_take(&e->bucket, 0, now);
	return e->bucket.tokens >= (int64_t)e->bucket.burst * 1000;
}

struct sweep { struct mk_map *map; mk_usec now; };

static bool sweep_one(struct mk_map_node *n, void *arg)
{
	struct addr_entry *e = MK_CONTAINER(n, struct addr_entry, node);
	struct sweep *w = arg;

	if (is_blank(e, w->now)) {
		mk_map_remove(w->map, n);
		mk_free(e);
	}
	return true;
}

enum mk_limit_result mk_limit_enter(const struct mk_addr *a, uint32_t max,
                                    uint32_t rate, mk_usec now)
{
	enum mk_limit_result r = MK_LIMIT_OK;
	struct addr_entry *e;
	struct in6_addr net;
	struct shard *s;
	uint64_t hash;

	s = shard_of(a, &net, &hash);
	e = entry_find(s, &net, hash);
	if (e == NULL) {
		if (now - s->swept >= SWEEP_USEC) {
			struct sweep w = { &s->map, now };
			mk_map_each(&s->map, sweep_one, &w);
			s->swept = now;
		}
		e = mk_alloc(sizeof *e);
		e->net = net;
		mk_shaper_init(&e->bucket, rate, rate);
		mk_map_insert(&s->map, &e->node, hash);
	}
	if (rate != e->bucket.rate)    /* another listener, or a reload         */
		mk_shaper_init(&e->bucket, rate, rate);
	if (max != 0 && e->count >= max) {
		r = MK_LIMIT_MANY;
		goto out;
	}
	/* A refusal costs no token: who stops knocking is let in again. */
	mk_shaper_take(&e->bucket, 0, now);
	if (rate != 0 && e->bucket.tokens < 1000) {
		r = MK_LIMIT_FAST;
		goto out;
	}
	mk_shaper_take(&e->bucket, 1, now);
	e->count++;
out:
	pthread_mutex_unlock(&s->lock);
	return r;
}

void mk_limit_leave(const struct mk_addr *a)
{
	struct addr_entry *e;
	struct in6_addr net;
	struct shard *s;
	uint64_t hash;

	s = shard_of(a, &net, &hash);
	e = entry_find(s, &net, hash);
	if (e != NULL && e->count > 0 && --e->count == 0 && e->bucket.rate == 0) {
		mk_map_remove(&s->map, &e->node);
		mk_free(e);
	}
	pthread_mutex_unlock(&s->lock);
}

bool mk_limit_wait(const struct mk_addr *a, uint32_t max)
{
	struct addr_entry *e;
	struct in6_addr net;
	struct shard *s;
	uint64_t hash;
	bool room;

	s = shard_of(a, &net, &hash);
	e = entry_find(s, &net, hash);
	room = e == NULL || max == 0 || e->waiting < max;
	if (e != NULL && room)
		e->waiting++;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void mk_limit_waited(const struct mk_addr *a)
{
	struct addr_entry *e;
	struct in6_addr net;
	struct shard *s;
	uint64_t hash;

	s = shard_of(a, &net, &hash);
	e = entry_find(s, &net, hash);
	if (e != NULL && e->waiting > 0)
		e->waiting--;
	pthread_mutex_unlock(&s->lock);
}

uint32_t mk_limit_count(const struct mk_addr *a)
{
	struct addr_entry *e;
	struct in6_addr net;
	struct shard *s;
	uint64_t hash;
	uint32_t n;

	s = shard_of(a, &net, &hash);
	e = entry_find(s, &net, hash);
	n = e != NULL ? e->count : 0;
	pthread_mutex_unlock(&s->lock);
	return n;
}

uint32_t mk_limit_entries(void)
{
	uint32_t n = 0;

	pthread_once(&once, init);
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&shards[i].lock);
		n += shards[i].map.count;
		pthread_mutex_unlock(&shards[i].lock);
	}
	return n;
}
