/*
 * jid/jid.c - making and comparing addresses; the cache of recent ones
 *
 * A JID lives until its last reference goes, on whatever thread. Each thread
 * has a cache of its own, made at its first parse and ended with the thread,
 * or before by mk_jid_thread_end: it holds a reference to JIDs that were written in their
 * prepared form, which nearly all are, so the text of the JID is its key.
 */
#include "jid/jid.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/map.h"
#include "jid/prep.h"
#include "base/ban.h"

#define CACHE_SETS 4096                /* of two ways                       */
#define CACHE_TEXT_MAX 256

struct way { uint64_t key; struct mk_jid *jid; };
struct set { struct way way[2]; };     /* the one used last is first        */

static _Thread_local struct set *cache;

static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;

static void thread_end(void *mark)
{
	(void)mark;
	mk_jid_thread_end();
}

static void key_make(void)
{
	mk_assert(pthread_key_create(&end_key, thread_end) == 0);
}

static void cache_make(void)
{
	cache = mk_alloc(CACHE_SETS * sizeof *cache);
	pthread_once(&end_once, key_make);
	pthread_setspecific(end_key, cache);
}

/* Quicker than mk_hash_bytes, and known to all: who finds many texts of one set
 * makes no chain longer, but finds them no more than if they were many others. */
static inline uint64_t key_more(uint64_t key, const char *p, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p, n);
	key = (key ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return key ^ key >> 32;
}

static uint64_t cache_key(const char *p, size_t n)
{
	uint64_t key = n;
	const char *last;

	if (n < 8)
		return key_more(key, p, n);
	last = p + n - 8;                      /* may overlap the piece before  */
	for (; p < last; p += 8)
		key = key_more(key, p, 8);
	return key_more(key, last, 8);
}

static struct mk_jid *cache_find(uint64_t key, const char *p, size_t n)
{
	if (cache == NULL)
		return NULL;
	struct set *set = &cache[key % CACHE_SETS];
	for (int i = 0; i < 2; i++) {
		struct way w = set->way[i];
		if (w.key != key || w.jid == NULL || w.jid->full_n != n ||
		    memcmp(w.jid->text, p, n) != 0)
			continue;
		if (i == 1) {
			set->way[1] = set->way[0];
			set->way[0] = w;
		}
		return mk_jid_ref(w.jid);
	}
	return NULL;
}

static void cache_add(uint64_t key, struct mk_jid *j)
{
	if (j->full_n > CACHE_TEXT_MAX)
		return;
	if (cache == NULL)
		cache_make();
	struct set *set = &cache[key % CACHE_SETS];
	if (set->way[1].jid != NULL)
		mk_jid_unref(&set->way[1].jid);
	set->way[1] = set->way[0];
	set->way[0] = (struct way){ key, mk_jid_ref(j) };
}

void mk_jid_thread_end(void)
{
	if (cache == NULL)
		return;
	for (size_t i = 0; i < CACHE_SETS; i++)
		for (int k = 0; k < 2; k++)
			if (cache[i].way[k].jid != NULL)
				mk_jid_unref(&cache[i].way[k].jid);
	mk_free(cache);
	cache = NULL;
}

/* From text that is prepared. */
static struct mk_jid *jid_new(const char *text, size_t local_n, size_t bare_n, size_t full_n)
{
	struct mk_jid *j = mk_alloc(sizeof *j + full_n + 1);

	atomic_init(&j->refs, 1);
	j->local_n = (uint16_t)local_n;
	j->bare_n = (uint16_t)bare_n;
	j->full_n = (uint16_t)full_n;
	j->bare_hash = mk_hash_bytes(text, bare_n);
	memcpy(j->text, text, full_n);
	j->text[full_n] = '\0';
	return j;
}

/* A prefix of j (its bare JID) or the middle (its domain), by the cache. */
static struct mk_jid *part_of(const char *p, size_t local_n, size_t n)
{
	uint64_t key = cache_key(p, n);
	struct mk_jid *j = cache_find(key, p, n);

	if (j == NULL) {
		j = jid_new(p, local_n, n, n);
		cache_add(key, j);
	}
	return j;
}

int mk_jid_make(struct mk_str local, struct mk_str domain, struct mk_str resource,
                struct mk_jid **out)
{
	char text[3 * MK_JID_PART_MAX + 2];
	size_t n = 0, bare_n;
	int r, local_n = 0;

	if (local.n > 0) {
		local_n = mk_prep_local(local, text);
		if (local_n < 0)
			return local_n;
		n = (size_t)local_n;
		text[n++] = '@';
	}
	r = mk_prep_domain(domain, text + n);
	if (r < 0)
		return r;
	n += (size_t)r;
	bare_n = n;
	if (resource.n > 0) {
		text[n++] = '/';
		r = mk_prep_resource(resource, text + n);
		if (r < 0)
			return r;
		n += (size_t)r;
	}
	*out = jid_new(text, (size_t)local_n, bare_n, n);
	return 0;
}

int mk_jid_parse(struct mk_str s, struct mk_jid **out)
{
	struct mk_str local = MK_STR_NONE, domain = s, resource = MK_STR_NONE;
	struct mk_jid *j = NULL;
	uint64_t key = 0;
	const char *at;
	int r;

	if (s.n == 0)
		return -MK_EJID;
	if (s.n <= CACHE_TEXT_MAX) {
		key = cache_key(s.p, s.n);
		j = cache_find(key, s.p, s.n);
		if (j != NULL) {
			*out = j;
			return 0;
		}
	}
	/* RFC 7622 3.1: the resource is what follows the first '/', whatever it
	 * holds; then the first '@' ends the localpart. */
	at = memchr(s.p, '/', s.n);
	if (at != NULL) {
		domain.n = (size_t)(at - s.p);
		resource = (struct mk_str){ at + 1, s.n - domain.n - 1 };
		if (resource.n == 0)
			return -MK_EJID;
	}
	at = memchr(domain.p, '@', domain.n);
	if (at != NULL) {
		local = (struct mk_str){ domain.p, (size_t)(at - domain.p) };
		domain = (struct mk_str){ at + 1, domain.n - local.n - 1 };
		if (local.n == 0)
			return -MK_EJID;
	}
	r = mk_jid_make(local, domain, resource, &j);
	if (r < 0)
		return r;
	if (j->full_n == s.n && memcmp(j->text, s.p, s.n) == 0)
		cache_add(key, j);
	*out = j;
	return 0;
}

int mk_jid_parsez(const char *z, struct mk_jid **out)
{
	return mk_jid_parse(mk_strz(z), out);
}

struct mk_jid *mk_jid_ref(const struct mk_jid *j)
{
	struct mk_jid *k = (struct mk_jid *)j;

	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void mk_jid_unref(struct mk_jid **jp)
{
	struct mk_jid *j = *jp;

	*jp = NULL;
	if (j != NULL && atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) == 1)
		mk_free(j);
}

const char *mk_jid_full(const struct mk_jid *j)
{
	return j->text;
}

struct mk_str mk_jid_bare(const struct mk_jid *j)
{
	return (struct mk_str){ j->text, j->bare_n };
}

struct mk_str mk_jid_local(const struct mk_jid *j)
{
	return (struct mk_str){ j->text, j->local_n };
}

struct mk_str mk_jid_domain(const struct mk_jid *j)
{
	uint16_t at = mk_jid_domain_at(j);

	return (struct mk_str){ j->text + at, (size_t)(j->bare_n - at) };
}

struct mk_str mk_jid_resource(const struct mk_jid *j)
{
	if (mk_jid_is_bare(j))
		return (struct mk_str){ j->text + j->full_n, 0 };
	return (struct mk_str){ j->text + j->bare_n + 1, (size_t)(j->full_n - j->bare_n - 1) };
}

bool mk_jid_is_bare(const struct mk_jid *j)
{
	return j->bare_n == j->full_n;
}

bool mk_jid_eq(const struct mk_jid *a, const struct mk_jid *b)
{
	return a == b || (a->bare_hash == b->bare_hash && a->full_n == b->full_n &&
	                  memcmp(a->text, b->text, a->full_n) == 0);
}

bool mk_jid_bare_eq(const struct mk_jid *a, const struct mk_jid *b)
{
	return a == b || (a->bare_hash == b->bare_hash && a->bare_n == b->bare_n &&
	                  memcmp(a->text, b->text, a->bare_n) == 0);
}

struct mk_jid *mk_jid_to_bare(const struct mk_jid *j)
{
	if (mk_jid_is_bare(j))
		return mk_jid_ref(j);
	return part_of(j->text, j->local_n, j->bare_n);
}

struct mk_jid *mk_jid_to_domain(const struct mk_jid *j)
{
	struct mk_str d = mk_jid_domain(j);

	if (d.n == j->full_n)
		return mk_jid_ref(j);
	return part_of(d.p, 0, d.n);
}

int mk_jid_with_resource(const struct mk_jid *j, struct mk_str resource, struct mk_jid **out)
{
	char text[3 * MK_JID_PART_MAX + 2];
	int r;

	r = mk_prep_resource(resource, text + j->bare_n + 1);
	if (r < 0)
		return r;
	memcpy(text, j->text, j->bare_n);
	text[j->bare_n] = '/';
	*out = jid_new(text, j->local_n, j->bare_n, (size_t)j->bare_n + 1 + (size_t)r);
	return 0;
}
