/*
 * mam/count.c - how many results a query has, and where a page of them stands (XEP-0059 2.2)
 *
 * Counting costs as much as reading an index, so it ends at COUNT_MAX, and is done once for
 * the pages of a set: a table remembers it for as long as its owner gets no message, and
 * that there were too many for LARGE_MS (a set grows), and between which places in the set
 * the last page stood, so that the next one's need not be counted. Others share the table
 * and its lock, which is held for no call.
 *
 * Any thread; the table lives as long as the process.
 */
#include <pthread.h>

#include "mam.h"

#define PLACES   4096
#define KEEP_MS  (60 * 1000)           /* another node may have appended        */
#define LARGE_MS (10 * 60 * 1000)

struct place {
	uint64_t set;                  /* hash of owner and range; 0 = free     */
	uint64_t mark, count;          /* of box_mark(); COUNT_MAX + 1: more    */
	mk_usec since;                 /* of the count; 0 = not counted         */
	mk_usec turned;                /* of the page                           */
	int64_t id[2], index[2];       /* the last page's ends; id 0 = none     */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place places[PLACES];

static uint64_t hash_int(uint64_t h, int64_t v)
{
	return hash_more(h, (struct mk_str){ (const char *)&v, sizeof v });
}

static uint64_t set_of(struct owner o, const struct box_range *r)
{
	uint64_t h = hash_more(owner_hash(o), r->with);

	h = hash_more(h, r->search != NULL ? mk_strz(r->search) : MK_STR("\n"));
	h = hash_int(hash_int(h, r->after), r->before);
	return h != 0 ? h : 1;
}

/* Its place, free or not; with the lock. */
static struct place *place_of(uint64_t set)
{
	return &places[(set >> 32 ^ set) % PLACES];
}

static struct place *place_take(uint64_t set)
{
	struct place *p = place_of(set);

	if (p->set != set)
		*p = (struct place){ .set = set };
	return p;
}

static bool is_young(mk_usec since, int64_t ms)
{
	return since != 0 && mk_now_usec() - since < ms * 1000;
}

void count_forget(void)
{
	pthread_mutex_lock(&lock);
	memset(places, 0, sizeof places);
	pthread_mutex_unlock(&lock);
}

enum mk_store_status count_set(struct mk_store *st, struct owner o, const struct box_range *r,
	uint64_t *out)
{
	uint64_t set = set_of(o, r), mark = box_mark(o), n = 0;
	struct box_range bounded = *r;
	enum mk_store_status s;
	struct place *p;
	bool is_known;

	pthread_mutex_lock(&lock);
	p = place_of(set);
	is_known = p->set == set && (p->count > COUNT_MAX ? is_young(p->since, LARGE_MS)
	                             : p->mark == mark && is_young(p->since, KEEP_MS));
	if (is_known)
		n = p->count;
	pthread_mutex_unlock(&lock);
	if (!is_known) {
		bounded.limit = COUNT_MAX + 1;
		if ((s = box_count(st, o, &bounded, &n)) != MK_STORE_OK)
			return s;
		pthread_mutex_lock(&lock);
		p = place_take(set);
		p->mark = mark;
		p->count = n;
		p->since = mk_now_usec();
		pthread_mutex_unlock(&lock);
	}
	*out = n;
	return MK_STORE_OK;
}

bool count_index(struct owner o, const struct box_range *r, int64_t id, int64_t *index)
{
	uint64_t set = set_of(o, r);
	struct place *p;
	bool is_known = false;

	pthread_mutex_lock(&lock);
	p = place_of(set);
	if (p->set == set && is_young(p->turned, KEEP_MS))
		for (int k = 0; k < 2; k++)
			if (p->id[k] == id && id != 0) {
				*index = p->index[k];
				is_known = true;
			}
	pthread_mutex_unlock(&lock);
	return is_known;
}

void count_note(struct owner o, const struct box_range *r, const int64_t id[2],
	const int64_t index[2])
{
	struct place *p;

	pthread_mutex_lock(&lock);
	p = place_take(set_of(o, r));
	p->turned = mk_now_usec();
	memcpy(p->id, id, sizeof p->id);
	memcpy(p->index, index, sizeof p->index);
	pthread_mutex_unlock(&lock);
}
