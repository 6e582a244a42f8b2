/*
 * base/map.h - hash table from bytes to an object that contains its node
 *
 * Intrusive: the object has a struct mk_map_node and keeps its own key. Keys
 * from peers are hashed with SipHash-like keyed mixing (mk_hash_bytes), so
 * that nobody can choose collisions (S-10). Grows and shrinks by itself. One
 * thread at a time.
 */
#ifndef MK_BASE_MAP_H
#define MK_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mk_map_node { struct mk_map_node *next; uint64_t hash; };
typedef bool mk_map_eq_fn(const struct mk_map_node *n, const void *key, size_t key_n);

struct mk_map {
	struct mk_map_node **slot;     /* NULL until the first insert           */
	uint32_t mask, count;
	mk_map_eq_fn *eq;
	bool is_walked;                /* mk_map_each: no shrinking now         */
};

/* Keyed by a secret of this process. Same bytes, same value, until it ends. */
uint64_t mk_hash_bytes(const void *p, size_t n);

void mk_map_init(struct mk_map *m, mk_map_eq_fn *eq);
/* Frees the slots, not the objects. */
void mk_map_fini(struct mk_map *m);
struct mk_map_node *mk_map_find(const struct mk_map *m, uint64_t hash,
                                const void *key, size_t key_n);
/* Into the caches: where the object of that hash is looked for. */
static inline void mk_map_prefetch(const struct mk_map *m, uint64_t hash)
{
	if (m->slot != NULL)
		__builtin_prefetch(&m->slot[hash & m->mask]);
}
/* What is looked at first for that hash: mostly the object. NULL: none. */
static inline struct mk_map_node *mk_map_first(const struct mk_map *m, uint64_t hash)
{
	return m->slot != NULL ? m->slot[hash & m->mask] : NULL;
}
/* The caller has made sure that the key isn't there. */
void mk_map_insert(struct mk_map *m, struct mk_map_node *n, uint64_t hash);
/* n must be in m. */
void mk_map_remove(struct mk_map *m, struct mk_map_node *n);
/* Iteration in no order; fn may remove the node it is given (and free it), but
 * neither insert nor remove others. false stops. */
void mk_map_each(struct mk_map *m, bool (*fn)(struct mk_map_node *n, void *arg), void *arg);

#endif
