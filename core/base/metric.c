/*
 * base/metric.c - numbers to watch, counted per thread, summed when read
 *
 * An id is the index of a cell. Each thread has a table of pages of cells,
 * grown as ids are used; only the thread writes there (plain loads and stores,
 * atomic so that readers may look). The list of tables and the registry are
 * under one lock, which counting never takes except for a thread's first time
 * on a page.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdatomic.h>
#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include <meerkat/server.h>
#include "base/metric.h"
#include "base/thread.h"
#include "base/ban.h"

#define PAGE_CELLS 512u
#define PAGES 1024u
#define CELLS_MAX (PAGE_CELLS * PAGES)

struct page { _Atomic int64_t cell[PAGE_CELLS]; };
struct table {
	struct mk_list node;
	_Atomic(struct page *) page[PAGES];
};

struct family {
	struct mk_list node, series;
	char *name, *help;
	enum mk_metric_kind kind;
};
struct series {
	struct mk_list node;
	struct mk_map_node by_name;    /* key: name{labels                      */
	char *key;
	const char *labels;            /* in key                                */
	uint32_t id;                   /* histogram: BUCKETS cells, then the sum */
};
struct reader {
	struct mk_list node;
	void (*fn)(void *arg);
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mk_list families = { &families, &families };
static struct mk_list tables = { &tables, &tables };
static struct mk_list readers = { &readers, &readers };
static struct mk_map series_map;
static struct table ended;             /* what ended threads counted        */
static uint32_t cells_used = 1;        /* cell 0 is nobody's                */

static _Thread_local struct table *own;

static bool series_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct series *s = MK_CONTAINER(n, struct series, by_name);

	return strlen(s->key) == key_n && memcmp(s->key, key, key_n) == 0;
}

static struct family *family_get(const char *name, const char *help, enum mk_metric_kind kind)
{
	struct family *f;

	MK_LIST_EACH(n, &families) {
		f = MK_CONTAINER(n, struct family, node);
		if (mk_streq(f->name, name))
			return f;
	}
	f = mk_alloc(sizeof(*f));
	f->name = mk_strdup(name);
	f->help = mk_strdup(help != NULL ? help : "");
	f->kind = kind;
	mk_list_init(&f->series);
	mk_list_push(&families, &f->node);
	return f;
}

uint32_t mk_metric_id(const char *name, const char *help, enum mk_metric_kind kind,
                      const char *labels)
{
	uint32_t cells = kind == MK_HISTOGRAM ? MK_METRIC_BUCKETS + 1 : 1, id = 0;
	struct mk_buf key = { 0 };
	struct mk_map_node *n;
	struct family *f;
	struct series *s;
	uint64_t hash;

	mk_buf_printf(&key, "%s{%s", name, labels != NULL ? labels : "");
	hash = mk_hash_bytes(key.p, key.n);
	pthread_mutex_lock(&lock);
	if (series_map.eq == NULL)
		mk_map_init(&series_map, series_eq);
	f = family_get(name, help, kind);
	n = mk_map_find(&series_map, hash, key.p, key.n);
	if (f->kind != kind || (n == NULL && cells_used + cells > CELLS_MAX)) {
		id = 0;
	} else if (n != NULL) {
		id = MK_CONTAINER(n, struct series, by_name)->id;
	} else {
		s = mk_alloc(sizeof(*s));
		s->key = mk_strndup(key.p, key.n);
		s->labels = s->key + strlen(name) + 1;
		s->id = id = cells_used;
		cells_used += cells;
		mk_map_insert(&series_map, &s->by_name, hash);
		mk_list_push(&f->series, &s->node);
	}
	pthread_mutex_unlock(&lock);
	mk_buf_free(&key);
	if (id == 0)
		mk_log(NULL, MK_ERROR, "a metric is not counted: its name is taken or there "
		       "are too many", "metric=%s", name);
	return id;
}

void mk_metric_label(struct mk_buf *b, const char *key, struct mk_str value)
{
	if (b->n > 0)
		mk_buf_addc(b, ',');
	mk_buf_addz(b, key);
	MK_BUF_LIT(b, "=\"");
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '\n') {
			MK_BUF_LIT(b, "\\n");
			continue;
		}
		if (value.p[i] == '"' || value.p[i] == '\\')
			mk_buf_addc(b, '\\');
		mk_buf_addc(b, value.p[i]);
	}
	mk_buf_addc(b, '"');
}

static struct page *page_make(uint32_t index)
{
	struct page *p;

	mk_assert(index < PAGES);
	if (own == NULL) {
		mk_thread_mark();
		own = mk_alloc(sizeof(*own));
		pthread_mutex_lock(&lock);
		mk_list_push(&tables, &own->node);
		pthread_mutex_unlock(&lock);
	}
	p = mk_alloc(sizeof(*p));
	atomic_store_explicit(&own->page[index], p, memory_order_release);
	return p;
}

/* This thread's cell. */
static inline _Atomic int64_t *cell(uint32_t id)
{
	struct page *p = NULL;

	if (MK_LIKELY(own != NULL && id < CELLS_MAX))
		p = atomic_load_explicit(&own->page[id / PAGE_CELLS], memory_order_relaxed);
	if (MK_UNLIKELY(p == NULL))
		p = page_make(id / PAGE_CELLS);
	return &p->cell[id % PAGE_CELLS];
}

static inline void add(_Atomic int64_t *c, int64_t n)
{
	/* Nobody else writes: no locked instruction needed. Unsigned, so that a
	 * sum of histogram values may wrap. */
	uint64_t v = (uint64_t)atomic_load_explicit(c, memory_order_relaxed) + (uint64_t)n;

	atomic_store_explicit(c, (int64_t)v, memory_order_relaxed);
}

void mk_metric_bump(uint32_t id, int64_t n)
{
	if (id != 0)
		add(cell(id), n);
}

void mk_metric_see(uint32_t id, int64_t value)
{
	uint32_t bucket;

	if (id == 0)
		return;
	bucket = value <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll((uint64_t)value - 1);
	if (bucket >= MK_METRIC_BUCKETS)
		bucket = MK_METRIC_BUCKETS - 1;
	add(cell(id + bucket), 1);
	add(cell(id + MK_METRIC_BUCKETS), value);
}

static int64_t peek(const struct table *t, uint32_t id)
{
	const struct page *p = atomic_load_explicit(&t->page[id / PAGE_CELLS],
	                                            memory_order_acquire);

	return p == NULL ? 0 :
	       atomic_load_explicit(&p->cell[id % PAGE_CELLS], memory_order_relaxed);
}

static int64_t sum(uint32_t id)                /* under the lock            */
{
	uint64_t v = (uint64_t)peek(&ended, id);

	MK_LIST_EACH(n, &tables)
		v += (uint64_t)peek(MK_CONTAINER(n, struct table, node), id);
	return (int64_t)v;
}

static struct page *ended_page(uint32_t index)          /* under the lock   */
{
	struct page *p = atomic_load_explicit(&ended.page[index], memory_order_relaxed);

	if (p == NULL) {
		p = mk_alloc(sizeof(*p));
		atomic_store_explicit(&ended.page[index], p, memory_order_release);
	}
	return p;
}

void mk_metric_set(uint32_t id, int64_t value)
{
	if (id == 0 || id >= CELLS_MAX)
		return;
	/* In the table of ended threads, which is written under the lock only. */
	pthread_mutex_lock(&lock);
	atomic_store_explicit(&ended_page(id / PAGE_CELLS)->cell[id % PAGE_CELLS], value,
	                      memory_order_relaxed);
	pthread_mutex_unlock(&lock);
}

void mk_metric_thread_end(void)
{
	struct page *p, *to;

	if (own == NULL)
		return;
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < PAGES; i++) {
		p = atomic_load_explicit(&own->page[i], memory_order_relaxed);
		if (p == NULL)
			continue;
		to = ended_page(i);
		for (uint32_t k = 0; k < PAGE_CELLS; k++)
			add(&to->cell[k], atomic_load_explicit(&p->cell[k],
			                                       memory_order_relaxed));
		mk_free(p);
	}
	mk_list_remove(&own->node);
	pthread_mutex_unlock(&lock);
	mk_free(own);
	own = NULL;
}

int64_t mk_metric_value(uint32_t id)
{
	int64_t v = 0;

	pthread_mutex_lock(&lock);
	MK_LIST_EACH(fn, &families) {
		struct family *f = MK_CONTAINER(fn, struct family, node);

		MK_LIST_EACH(sn, &f->series) {
			if (MK_CONTAINER(sn, struct series, node)->id != id)
				continue;
			v = sum(id);
			for (uint32_t i = 1; f->kind == MK_HISTOGRAM && i < MK_METRIC_BUCKETS; i++)
				v += sum(id + i);
		}
	}
	pthread_mutex_unlock(&lock);
	return v;
}

void mk_metric_on_read(void (*fn)(void *arg), void *arg)
{
	struct reader *r = mk_alloc(sizeof(*r));

	r->fn = fn;
	r->arg = arg;
	pthread_mutex_lock(&lock);
	mk_list_push(&readers, &r->node);
	pthread_mutex_unlock(&lock);
}

static void sample(struct mk_buf *out, struct mk_str name, const char *suffix,
                   const char *labels, const char *le, int64_t v)
{
	mk_buf_add(out, name.p, name.n);
	mk_buf_addz(out, suffix);
	if (*labels != '\0' || le != NULL)
		mk_buf_addc(out, '{');
	mk_buf_addz(out, labels);
	if (le != NULL)
		mk_buf_printf(out, "%sle=\"%s\"", *labels != '\0' ? "," : "", le);
	if (*labels != '\0' || le != NULL)
		mk_buf_addc(out, '}');
	mk_buf_printf(out, " %lld\n", (long long)v);
}

static void histogram_text(struct mk_buf *out, struct mk_str name, const struct series *s)
{
	int64_t seen = 0;
	char le[24];

	for (uint32_t i = 0; i < MK_METRIC_BUCKETS - 1; i++) {
		seen += sum(s->id + i);
		snprintf(le, sizeof(le), "%u.0", 1u << i);
		sample(out, name, "_bucket", s->labels, le, seen);
	}
	seen += sum(s->id + MK_METRIC_BUCKETS - 1);
	sample(out, name, "_bucket", s->labels, "+Inf", seen);
	sample(out, name, "_count", s->labels, NULL, seen);
	sample(out, name, "_sum", s->labels, NULL, sum(s->id + MK_METRIC_BUCKETS));
}

static void family_text(struct mk_buf *out, struct family *f)
{
	static const char *const kinds[] = {
		[MK_COUNTER] = "counter", [MK_GAUGE] = "gauge", [MK_HISTOGRAM] = "histogram",
	};
	struct mk_str name = mk_strz(f->name);

	/* The name of a counter family lacks the _total of its samples. */
	if (f->kind == MK_COUNTER && name.n > 6 && memcmp(name.p + name.n - 6, "_total", 6) == 0)
		name.n -= 6;
	mk_buf_printf(out, "# TYPE %.*s %s\n", (int)name.n, name.p, kinds[f->kind]);
	mk_buf_printf(out, "# HELP %.*s ", (int)name.n, name.p);
	for (const char *h = f->help; *h != '\0'; h++) {
		if (*h == '\n') {
			MK_BUF_LIT(out, "\\n");
			continue;
		}
		if (*h == '\\' || *h == '"')
			mk_buf_addc(out, '\\');
		mk_buf_addc(out, *h);
	}
	mk_buf_addc(out, '\n');
	MK_LIST_EACH(n, &f->series) {
		struct series *s = MK_CONTAINER(n, struct series, node);

		if (f->kind == MK_HISTOGRAM)
			histogram_text(out, name, s);
		else
			sample(out, name, f->kind == MK_COUNTER ? "_total" : "", s->labels,
			       NULL, sum(s->id));
	}
}

void mk_metrics_text(struct mk_buf *out)
{
	struct mk_list *at = &readers;
	struct reader *r;

	/* Outside the lock: fn calls mk_metric_set. Readers are never removed. */
	for (;;) {
		pthread_mutex_lock(&lock);
		at = at->next;
		pthread_mutex_unlock(&lock);
		if (at == &readers)
			break;
		r = MK_CONTAINER(at, struct reader, node);
		r->fn(r->arg);
	}
	pthread_mutex_lock(&lock);
	MK_LIST_EACH(n, &families)
		family_text(out, MK_CONTAINER(n, struct family, node));
	pthread_mutex_unlock(&lock);
	MK_BUF_LIT(out, "# EOF\n");
}

struct mk_str mk_metrics_write(struct mk_arena *a)
{
	struct mk_buf b = { 0 };
	struct mk_str s;

	mk_metrics_text(&b);
	s = (struct mk_str){ mk_arena_strndup(a, b.p, b.n), b.n };
	mk_buf_free(&b);
	return s;
}
