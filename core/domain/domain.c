/*
 * domain/domain.c - the table of domains
 *
 * Open addressing over pointers, at most half full. Readers load the table,
 * then slots, with acquire; the writer stores a complete domain, or builds a
 * bigger table and publishes it. A domain is never freed: a removed one stays
 * as a disabled row that a later add takes up again.
 */
#include "domain/domain.h"

#include <pthread.h>

#include "loop/worker.h"
#include "base/ban.h"

struct table {
	uint32_t mask;
	_Atomic(struct mk_domain *) slot[];
};
static _Atomic(struct table *) table;
static uint32_t used;                  /* slots, under lock                 */
static _Atomic uint32_t enabled_count; /* rows that exist                   */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct mk_column domain_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "type", MK_TEXT, 0 },
	{ "enabled", MK_INT, 0 },
	{ NULL, 0, 0 }
};
const struct mk_table mk_domain_table = { .size = sizeof mk_domain_table, .version = 1,
	.name = "domain", .columns = domain_columns };

static struct mk_domain *find(const char *name, size_t n, uint64_t hash)
{
	struct table *t = atomic_load_explicit(&table, memory_order_acquire);

	if (t == NULL)
		return NULL;
	for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
		struct mk_domain *d = atomic_load_explicit(&t->slot[i], memory_order_acquire);
		if (d == NULL)
			return NULL;
		if (d->hash == hash && d->jid->full_n == n && memcmp(d->jid->text, name, n) == 0)
			return d;
	}
}

struct mk_domain *mk_domain_find_any(const char *name, size_t n)
{
	struct mk_domain *d = find(name, n, mk_hash_bytes(name, n));
	return d != NULL && !atomic_load(&d->is_removed) ? d : NULL;
}

struct mk_domain *mk_domain_find(const char *name, size_t n)
{
	struct mk_domain *d = find(name, n, mk_hash_bytes(name, n));
	return d != NULL && atomic_load_explicit(&d->enabled, memory_order_acquire) ? d : NULL;
}

struct mk_domain *mk_domain_of(const struct mk_jid *j)
{
	/* One entry: most of a turn's stanzas are for one domain. */
	static _Thread_local struct mk_domain *last;
	const char *name = j->text + mk_jid_domain_at(j);
	size_t n = (size_t)(j->bare_n - mk_jid_domain_at(j));
	struct mk_domain *d = last;

	if (d == NULL || d->jid->full_n != n || memcmp(d->jid->text, name, n) != 0) {
		d = find(name, n, mk_hash_bytes(name, n));
		if (d != NULL)
			last = d;
	}
	return d != NULL && atomic_load_explicit(&d->enabled, memory_order_acquire) ? d : NULL;
}

static void put(struct table *t, struct mk_domain *d)
{
	uint32_t i = (uint32_t)d->hash & t->mask;

	while (atomic_load_explicit(&t->slot[i], memory_order_relaxed) != NULL)
		i = (i + 1) & t->mask;
	atomic_store_explicit(&t->slot[i], d, memory_order_release);
}

static void insert(struct mk_domain *d)
{
	struct table *t = atomic_load(&table);
	uint32_t size = t != NULL ? t->mask + 1 : 0;

	if ((used + 1) * 2 > size) {
		uint32_t grown = size != 0 ? size * 2 : 64;
		struct table *n = mk_alloc(sizeof *n + grown * sizeof n->slot[0]);
		n->mask = grown - 1;
		for (uint32_t i = 0; i < size; i++) {
			struct mk_domain *x = atomic_load(&t->slot[i]);
			if (x != NULL)
				put(n, x);
		}
		atomic_store_explicit(&table, n, memory_order_release);
		if (t != NULL)
			mk_quiesce(mk_free, t);
		t = n;
	}
	put(t, d);
	used++;
}

int mk_domain_add(struct mk_str name, const char *type, bool is_static, bool enabled)
{
	struct mk_jid *j = NULL;
	int r = mk_jid_parse(name, &j);

	if (r < 0)
		return r;
	if (j->local_n != 0 || j->bare_n != j->full_n) {
		mk_jid_unref(&j);
		return -MK_EJID;
	}
	pthread_mutex_lock(&lock);
	struct mk_host_type *t = mk_host_type_get(type);
	uint64_t hash = mk_hash_bytes(j->text, j->full_n);
	struct mk_domain *d = find(j->text, j->full_n, hash);
	if (t == NULL || t == mk_global_type) {
		r = -MK_ENOENT;
	} else if (d != NULL && !atomic_load(&d->is_removed)) {
		r = -MK_EEXIST;
	} else {
		if (d == NULL) {
			d = mk_alloc(sizeof *d);
			d->jid = mk_jid_ref(j);
			d->hash = hash;
			d->type = t;
			d->is_static = is_static;
			atomic_init(&d->enabled, enabled);
			insert(d);
		} else {
			d->is_static = is_static;
			d->type = t;
			atomic_store(&d->is_removed, false);
			atomic_store_explicit(&d->enabled, enabled, memory_order_release);
		}
		atomic_fetch_add(&enabled_count, 1);
	}
	pthread_mutex_unlock(&lock);
	mk_jid_unref(&j);
	return r;
}

int mk_domain_enable(struct mk_str name, bool enabled)
{
	struct mk_domain *d = mk_domain_find_any(name.p, name.n);

	if (d == NULL)
		return -MK_ENOENT;
	atomic_store_explicit(&d->enabled, enabled, memory_order_release);
	return 0;
}

int mk_domain_remove(struct mk_str name)
{
	struct mk_domain *d = mk_domain_find_any(name.p, name.n);

	if (d == NULL)
		return -MK_ENOENT;
	atomic_store_explicit(&d->enabled, false, memory_order_release);
	atomic_store(&d->is_removed, true);
	atomic_fetch_sub(&enabled_count, 1);
	return 0;
}

uint32_t mk_domain_count(void) { return atomic_load(&enabled_count); }

void mk_domain_each(bool (*fn)(struct mk_domain *d, void *arg), void *arg)
{
	struct table *t = atomic_load_explicit(&table, memory_order_acquire);

	for (uint32_t i = 0; t != NULL && i <= t->mask; i++) {
		struct mk_domain *d = atomic_load_explicit(&t->slot[i], memory_order_acquire);
		if (d != NULL && !atomic_load(&d->is_removed) && !fn(d, arg))
			return;
	}
}

int mk_domains_load(struct mk_store *st)
{
	struct mk_value after[1];
	bool more = true, first = true;

	while (more) {
		struct mk_rows rows;
		enum mk_store_status s = mk_scan(st, &mk_domain_table, MK_STR_NONE,
			first ? NULL : after, 1000, &rows);
		if (s == MK_STORE_NOTFOUND)
			return 0;
		if (s != MK_STORE_OK)
			return s == MK_STORE_RETRY ? -MK_EAGAIN : -MK_EIO;
		for (uint32_t i = 0; i < rows.n; i++) {
			struct mk_str type = mk_value_str(&rows.row[i].v[1]);
			char *z = mk_strndup(type.p, type.n);
			struct mk_str name = mk_value_str(&rows.row[i].v[0]);
			int r = mk_domain_add(name, z, false, rows.row[i].v[2].as.i != 0);
			if (r < 0 && r != -MK_EEXIST)
				mk_log(NULL, MK_WARN, "stored domain is left out",
					"domain=%.*s type=%s reason=%s", (int)name.n, name.p, z,
					mk_strerror(-r));
			mk_free(z);
		}
		more = rows.more && rows.n > 0;
		if (rows.n > 0)
			after[0] = rows.row[rows.n - 1].v[0];
		first = false;
	}
	return 0;
}
