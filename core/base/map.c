/*
 * base/map.c - hash table from bytes to an object that contains its node
 *
 * Chains in a power-of-two table: doubled when it holds one per slot, halved
 * at an eighth. A map belongs to one thread at a time; the hash key is made
 * before main() and only read afterwards.
 */
#include <string.h>
#include <meerkat/types.h>
#include "base/assert.h"
#include "base/map.h"

#define SLOTS_MIN 16u

static uint64_t hash_key[2];

__attribute__((constructor)) static void hash_key_make(void)
{
	mk_random(hash_key, sizeof(hash_key));
}

static inline uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

#define SIP_ROUND(a, b, c, d)                                                 \
	do {                                                                  \
		a += b; b = rotl(b, 13); b ^= a; a = rotl(a, 32);             \
		c += d; d = rotl(d, 16); d ^= c;                              \
		a += d; d = rotl(d, 21); d ^= a;                              \
		c += b; b = rotl(b, 17); b ^= c; c = rotl(c, 32);             \
	} while (0)

/* SipHash-1-3 (Aumasson, Bernstein 2012; fewer rounds, as Rust and Ruby do). */
uint64_t mk_hash_bytes(const void *p, size_t n)
{
	const unsigned char *b = p;            /* may be NULL if n is 0     */
	uint64_t v0 = hash_key[0] ^ 0x736f6d6570736575u;
	uint64_t v1 = hash_key[1] ^ 0x646f72616e646f6du;
	uint64_t v2 = hash_key[0] ^ 0x6c7967656e657261u;
	uint64_t v3 = hash_key[1] ^ 0x7465646279746573u;
	uint64_t m;

	for (size_t left = n; left >= 8; left -= 8, b += 8) {
		memcpy(&m, b, 8);
		v3 ^= m;
		SIP_ROUND(v0, v1, v2, v3);
		v0 ^= m;
	}
	m = 0;
	if ((n & 7) != 0)
		memcpy(&m, b, n & 7);
	m ^= (uint64_t)n << 56;
	v3 ^= m;
	SIP_ROUND(v0, v1, v2, v3);
	v0 ^= m;
	v2 ^= 0xff;
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

void mk_map_init(struct mk_map *m, mk_map_eq_fn *eq)
{
	m->slot = NULL;
	m->mask = m->count = 0;
	m->eq = eq;
	m->is_walked = false;
}

void mk_map_fini(struct mk_map *m)
{
	mk_free(m->slot);
	m->slot = NULL;
	m->mask = m->count = 0;
}

struct mk_map_node *mk_map_find(const struct mk_map *m, uint64_t hash,
                                const void *key, size_t key_n)
{
	if (m->slot == NULL)
		return NULL;
	for (struct mk_map_node *n = m->slot[hash & m->mask]; n != NULL; n = n->next) {
		if (n->hash == hash && m->eq(n, key, key_n))
			return n;
	}
	return NULL;
}

static void resize(struct mk_map *m, uint32_t slots)
{
	struct mk_map_node **old = m->slot, *n, *next;
	uint32_t old_slots = old != NULL ? m->mask + 1 : 0;

	m->slot = mk_alloc(slots * sizeof(*m->slot));
	m->mask = slots - 1;
	for (uint32_t i = 0; i < old_slots; i++) {
		for (n = old[i]; n != NULL; n = next) {
			next = n->next;
			n->next = m->slot[n->hash & m->mask];
			m->slot[n->hash & m->mask] = n;
		}
	}
	mk_free(old);
}

void mk_map_insert(struct mk_map *m, struct mk_map_node *n, uint64_t hash)
{
	if (m->slot == NULL)
		resize(m, SLOTS_MIN);
	else if (m->count > m->mask && m->mask < UINT32_MAX / 2)
		resize(m, (m->mask + 1) * 2);
	n->hash = hash;
	n->next = m->slot[hash & m->mask];
	m->slot[hash & m->mask] = n;
	m->count++;
}

void mk_map_remove(struct mk_map *m, struct mk_map_node *n)
{
	struct mk_map_node **at;

	mk_assert(m->slot != NULL);
	for (at = &m->slot[n->hash & m->mask]; *at != n; at = &(*at)->next)
		mk_assert(*at != NULL);
	*at = n->next;
	n->next = NULL;
	m->count--;
	if (m->mask + 1 > SLOTS_MIN && m->count < (m->mask + 1) / 8 && !m->is_walked)
		resize(m, (m->mask + 1) / 2);
}

void mk_map_each(struct mk_map *m, bool (*fn)(struct mk_map_node *n, void *arg), void *arg)
{
	struct mk_map_node *n, *next;
	bool outer = m->is_walked, go_on = true;

	if (m->slot == NULL)
		return;
	m->is_walked = true;
	for (uint32_t i = 0; go_on && i <= m->mask; i++) {
		for (n = m->slot[i]; go_on && n != NULL; n = next) {
			next = n->next;
			go_on = fn(n, arg);
		}
	}
	m->is_walked = outer;
	while (!outer && m->mask + 1 > SLOTS_MIN && m->count < (m->mask + 1) / 8)
		resize(m, (m->mask + 1) / 2);
}
