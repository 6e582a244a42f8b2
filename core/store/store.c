/*
 * store/store.c - backends and their pools, tables, and the calls of a job
 *
 * Backends are opened and closed by the main thread and don't change between.
 * The set of tables may grow while the server runs: readers take a snapshot
 * by one atomic load; older snapshots stay until mk_stores_close (there is one
 * per plugin that came late). A struct mk_store belongs to one thread.
 */
#include "store/inner.h"

#include <unistd.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/ban.h"

#define BREAKER_AFTER   5              /* failures in a row                 */
#define BREAKER_FIRST   (100 * 1000)   /* usec it stays open at first ...   */
#define BREAKER_LONGEST (4 * 1000 * 1000)      /* ... and at most           */

/* Open addressing by the table's address; never full. */
struct table_map {
	struct table_map *older;
	uint32_t mask, count;
	struct mk_table_info *slot[];
};

static struct {
	struct mk_store_backend *backends;
	unsigned count;
	char *data_dir;
	struct mk_arena *arena;        /* names, copies of configuration        */
	struct { const char *table; unsigned backend; } *map;  /* storage.tables */
	unsigned map_count, dflt;
	_Atomic(struct table_map *) tables;
} set;
static pthread_mutex_t declare_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t cpu_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mk_pool *cpu_pool;

/* ---- tables ------------------------------------------------------------------ */

static uint32_t table_hash(const struct mk_table *t)
{
	return (uint32_t)(((uint64_t)(uintptr_t)t >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static struct mk_table_info *map_find(const struct table_map *m, const struct mk_table *t)
{
	if (m == NULL)
		return NULL;
	for (uint32_t i = table_hash(t) & m->mask; m->slot[i] != NULL; i = (i + 1) & m->mask)
		if (m->slot[i]->table == t)
			return m->slot[i];
	return NULL;
}

static void map_put(struct table_map *m, struct mk_table_info *info)
{
	uint32_t i = table_hash(info->table) & m->mask;

	while (m->slot[i] != NULL)
		i = (i + 1) & m->mask;
	m->slot[i] = info;
	m->count++;
}

/* A copy of m (may be NULL) with room for more entries. */
static struct table_map *map_grow(struct table_map *m, uint32_t more)
{
	uint32_t want = 2 * ((m != NULL ? m->count : 0) + more), size = 16;

	while (size <= want)
		size *= 2;
	struct table_map *n = mk_alloc(sizeof *n + size * sizeof n->slot[0]);
	n->mask = size - 1;
	n->older = m;
	for (uint32_t i = 0; m != NULL && i <= m->mask; i++)
		if (m->slot[i] != NULL)
			map_put(n, m->slot[i]);
	return n;
}

/* The newest declaration of a name. */
static struct mk_table_info *map_named(const struct table_map *m, const char *name)
{
	struct mk_table_info *best = NULL;

	for (uint32_t i = 0; m != NULL && i <= m->mask; i++)
		if (m->slot[i] != NULL && strcmp(m->slot[i]->table->name, name) == 0 &&
		    (best == NULL || m->slot[i]->table->version > best->table->version))
			best = m->slot[i];
	return best;
}

const struct mk_table_info *mk_table_find(const struct mk_table *t)
{
	return map_find(atomic_load_explicit(&set.tables, memory_order_acquire), t);
}

void mk_tables_each(void (*fn)(void *arg, const struct mk_table_info *t), void *arg)
{
	struct table_map *m = atomic_load_explicit(&set.tables, memory_order_acquire);

	for (uint32_t i = 0; m != NULL && i <= m->mask; i++)
		if (m->slot[i] != NULL &&
		    map_named(m, m->slot[i]->table->name) == m->slot[i])
			fn(arg, m->slot[i]);
}

static struct mk_store_backend *backend_of(const char *table)
{
	for (unsigned i = 0; i < set.map_count; i++)
		if (strcmp(set.map[i].table, table) == 0)
			return &set.backends[set.map[i].backend];
	return &set.backends[set.dflt];
}

static int caps_check(const struct mk_table_info *i, struct mk_diag *d)
{
	const struct mk_store_backend *b = i->backend;

	if (i->has_search && !(b->be->caps & MK_CAP_SEARCH))
		mk_diag_add(d, "table %s needs free text search, which backend %s doesn't have",
			i->table->name, b->name);
	else if (i->keys > i->parts && !(b->be->caps & MK_CAP_RANGE))
		mk_diag_add(d, "table %s needs ordered ranges, which backend %s doesn't have",
			i->table->name, b->name);
	else
		return 0;
	return -MK_EINVAL;
}

/*
 * Adds tables to m in place: checks each, and against others of its name.
 * Entries are made in set.arena.
 */
static int map_declare(struct table_map *m, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	int r = 0;

	for (; tables != NULL && *tables != NULL; tables++) {
		const struct mk_table *t = *tables;
		if (map_find(m, t) != NULL)
			continue;
		if (mk_table_check(t, d) < 0) {
			r = -MK_EINVAL;
			continue;
		}
		const struct mk_table_info *other = map_named(m, t->name);
		if (other != NULL && !mk_table_follows(other->table, t)) {
			mk_diag_add(d, "table %s is declared twice, differently", t->name);
			r = -MK_EINVAL;
			continue;
		}
		struct mk_table_info *info = mk_arena_alloc(set.arena, sizeof *info);
		mk_table_measure(t, info);
		info->backend = backend_of(t->name);
		if (caps_check(info, d) < 0) {
			r = -MK_EINVAL;
			continue;
		}
		map_put(m, info);
	}
	return r;
}

static unsigned table_count(const struct mk_table *const *tables)
{
	unsigned n = 0;

	while (tables != NULL && tables[n] != NULL)
		n++;
	return n;
}

/* Those of m's tables (the newest of each name) that live in b; of one
 * allocation, NULL-terminated. */
static const struct mk_table **tables_of(const struct table_map *m,
	const struct mk_store_backend *b)
{
	const struct mk_table **t =
		mk_arena_alloc(set.arena, (m->count + 1) * sizeof *t);
	unsigned n = 0;

	for (uint32_t i = 0; i <= m->mask; i++)
		if (m->slot[i] != NULL && m->slot[i]->backend == b &&
		    map_named(m, m->slot[i]->table->name) == m->slot[i])
			t[n++] = m->slot[i]->table;
	return t;
}

int mk_stores_declare(const struct mk_table *const *tables, struct mk_diag *d)
{
	int r = 0;

	if (set.count == 0) {
		mk_diag_add(d, "no storage backend is open");
		return -MK_ENOENT;
	}
	pthread_mutex_lock(&declare_lock);
	struct table_map *old = atomic_load(&set.tables);
	struct table_map *m = map_grow(old, table_count(tables));
	r = map_declare(m, tables, d);
	for (unsigned i = 0; r == 0 && tables != NULL && tables[i] != NULL; i++) {
		const struct mk_table *one[] = { tables[i], NULL };
		struct mk_store_backend *b = map_find(m, tables[i])->backend;
		if (map_find(old, tables[i]) == NULL)
			r = b->be->db_declare(b->db, one, d);
	}
	if (r == 0 && m->count > (old != NULL ? old->count : 0))
		atomic_store_explicit(&set.tables, m, memory_order_release);
	else
		mk_free(m);
	pthread_mutex_unlock(&declare_lock);
	return r;
}

/* ---- opening and closing ------------------------------------------------------ */

struct mk_store_backend *mk_store_backend(const char *name)
{
	for (unsigned i = 0; i < set.count; i++)
		if (strcmp(set.backends[i].name, name) == 0)
			return &set.backends[i];
	return NULL;
}

unsigned mk_store_backend_count(void)
{
	return set.count;
}

struct mk_store_backend *mk_store_backend_at(unsigned index)
{
	return &set.backends[index];
}

const char *mk_data_dir(void)
{
	return set.data_dir != NULL ? set.data_dir : ".";
}

static void *thread_init(void *arg)
{
	(void)arg;
	return mk_store_new();
}

static void thread_fini(void *data)
{
	struct mk_store *st = data;

	mk_store_free(&st);
}

static void metrics_make(struct mk_store_backend *b)
{
	static const char *const ops[MK_OP_COUNT_] = { "get", "query", "count", "take",
		"delete_range", "add", "write", "append", "scan", "drop_domain", "expire" };
	struct mk_buf own = { 0 }, label = { 0 };

	mk_metric_label(&own, "backend", mk_strz(b->name));
	for (int i = 0; i < MK_OP_COUNT_; i++) {
		mk_buf_clear(&label);
		mk_buf_add(&label, own.p, own.n);
		mk_metric_label(&label, "op", mk_strz(ops[i]));
		b->metric_ops[i] = mk_metric_id("meerkat_storage_operations_total",
			"Storage calls", MK_COUNTER, mk_buf_z(&label));
	}
	const char *l = mk_buf_z(&own);
	b->metric_usec = mk_metric_id("meerkat_storage_microseconds",
		"Duration of storage calls", MK_HISTOGRAM, l);
	b->metric_failures = mk_metric_id("meerkat_storage_failures_total",
		"Storage calls that the backend failed", MK_COUNTER, l);
	b->metric_open = mk_metric_id("meerkat_storage_breaker_open",
		"1 while calls are refused because the backend is away", MK_GAUGE, l);
	b->metric_queued = mk_metric_id("meerkat_storage_append_queued",
		"Rows waiting for write-behind", MK_GAUGE, l);
	mk_buf_free(&own);
	mk_buf_free(&label);
}

static int backend_add(const struct mk_store_backend_conf *c, struct mk_diag *d)
{
	struct mk_store_backend *b = &set.backends[set.count];
	const struct mk_backend *be = c->backend;

	if (be == NULL || be->size < offsetof(struct mk_backend, get_many)) {
		mk_diag_add(d, "storage backend %s: the plugin has no backend of this version",
			c->name);
		return -MK_EVERSION;
	}
	if (mk_store_backend(c->name) != NULL) {
		mk_diag_add(d, "storage backend %s is configured twice", c->name);
		return -MK_EEXIST;
	}
	b->index = set.count;
	b->name = mk_arena_strdup(set.arena, c->name);
	b->be = be;
	b->inst = c->inst;
	b->conf = c->conf;
	b->threads = c->threads > 0 ? c->threads : 4;
	pthread_mutex_init(&b->breaker_lock, NULL);
	metrics_make(b);
	set.count++;
	return 0;
}

static int map_read(const struct mk_config *c, struct mk_diag *d)
{
	const struct mk_node *tables = c->storage_tables;
	const char **names = mk_arena_alloc(set.arena, (set.count + 1) * sizeof *names);
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < set.count; i++)
		names[i] = set.backends[i].name;
	const struct mk_store_backend *dflt = c->storage_default != NULL
		? mk_store_backend(c->storage_default) : set.count == 1 ? set.backends : NULL;
	if (dflt == NULL) {
		mk_diag_add(d, "storage.default: there is no backend '%s'",
			c->storage_default != NULL ? c->storage_default : "");
		return -MK_ENOENT;
	}
	set.dflt = dflt->index;
	for (const struct mk_node *x = tables != NULL ? tables->first : NULL; x != NULL; x = x->next)
		n++;
	set.map = mk_arena_alloc(set.arena, (n + 1) * sizeof *set.map);
	for (const struct mk_node *x = tables != NULL ? tables->first : NULL; x != NULL; x = x->next) {
		const struct mk_store_backend *b =
			x->kind == MK_NODE_SCALAR ? mk_store_backend(x->text) : NULL;
		if (b == NULL) {
			const char *near = x->kind == MK_NODE_SCALAR ? mk_nearest(x->text, names) : NULL;
			mk_diag_at(d, x, "storage.tables.%s: no such backend%s%s%s", x->key,
				near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
				near != NULL ? "'?" : "");
			r = -MK_ENOENT;
			continue;
		}
		set.map[set.map_count].table = mk_arena_strdup(set.arena, x->key);
		set.map[set.map_count++].backend = b->index;
	}
	return r;
}

int mk_stores_open(const struct mk_config *c, const struct mk_store_backend_conf *b,
	size_t n, const struct mk_table *const *tables, bool dry_run, struct mk_diag *d)
{
	int r = 0;

	mk_assert(set.arena == NULL);
	set.arena = mk_arena_new();
	set.data_dir = mk_arena_strdup(set.arena, c->data_dir != NULL ? c->data_dir : ".");
	set.backends = mk_alloc((n + 1) * sizeof *set.backends);
	mk_append_open(c->append_queue > 0 ? c->append_queue : 200000, c->append_wait_ms);
	for (size_t i = 0; i < n && r == 0; i++)
		r = backend_add(&b[i], d);
	if (r == 0)
		r = map_read(c, d);
	if (r < 0)
		goto fail;
	struct table_map *m = map_grow(NULL, table_count(tables));
	atomic_store_explicit(&set.tables, m, memory_order_release);
	r = map_declare(m, tables, d);
	for (unsigned i = 0; i < set.count; i++) {
		struct mk_store_backend *x = &set.backends[i];
		/* With a fault elsewhere nothing is created; what else is wrong
		 * is still told. */
		int e = x->be->db_open(x->inst, x->conf, tables_of(m, x), dry_run || r < 0,
			d, &x->db);
		/* What a person has to mend weighs more than one that is away. */
		if (e < 0 && (r == 0 || r == -MK_EAGAIN))
			r = e;
	}
	for (unsigned i = 0; !dry_run && r == 0 && i < set.count; i++) {
		struct mk_store_backend *x = &set.backends[i];
		x->pool = mk_pool_new(x->name, x->threads, thread_init, thread_fini, NULL);
		r = mk_append_start(x);
		if (r < 0)
			mk_diag_add(d, "storage backend %s: can't start a thread", x->name);
	}
	if (r == 0 && !dry_run)
		return 0;
fail:
	mk_stores_close();
	return r;
}

void mk_stores_close(void)
{
	if (set.arena == NULL)
		return;
	for (unsigned i = 0; i < set.count; i++)
		if (set.backends[i].pool != NULL)
			mk_pool_free(&set.backends[i].pool);
	pthread_mutex_lock(&cpu_lock);
	if (cpu_pool != NULL)
		mk_pool_free(&cpu_pool);
	pthread_mutex_unlock(&cpu_lock);
	for (unsigned i = 0; i < set.count; i++)
		mk_append_stop(&set.backends[i]);
	for (unsigned i = 0; i < set.count; i++) {
		if (set.backends[i].db != NULL)
			set.backends[i].be->db_close(set.backends[i].db);
		pthread_mutex_destroy(&set.backends[i].breaker_lock);
	}
	struct table_map *m = atomic_exchange(&set.tables, NULL);
	while (m != NULL) {
		struct table_map *older = m->older;
		mk_free(m);
		m = older;
	}
	mk_free(set.backends);
	mk_arena_free(&set.arena);
	memset(&set, 0, sizeof set);
}

int mk_store_plan(struct mk_diag *d)
{
	struct table_map *m = atomic_load(&set.tables);
	int r = 0;

	pthread_mutex_lock(&declare_lock);
	for (unsigned i = 0; i < set.count && m != NULL; i++) {
		struct mk_store_backend *b = &set.backends[i];
		struct mk_backend_db *none = NULL;
		int e = b->be->db_open(b->inst, b->conf, tables_of(m, b), true, d, &none);
		if (e < 0)
			r = e;
	}
	pthread_mutex_unlock(&declare_lock);
	return r;
}

struct mk_pool *mk_store_pool(const struct mk_table *const *tables)
{
	if (set.count == 0)
		return mk_cpu_pool();
	struct mk_store_backend *b = tables != NULL && tables[0] != NULL
		? backend_of(tables[0]->name) : &set.backends[set.dflt];
	return b->pool != NULL ? b->pool : mk_cpu_pool();
}

struct mk_pool *mk_store_pool_new(const char *name, unsigned threads)
{
	return mk_pool_new(name, threads, thread_init, thread_fini, NULL);
}

struct mk_pool *mk_cpu_pool(void)
{
	pthread_mutex_lock(&cpu_lock);
	if (cpu_pool == NULL) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);
		cpu_pool = mk_pool_new("cpu", n > 0 ? (unsigned)n : 1, thread_init,
			thread_fini, NULL);
	}
	struct mk_pool *p = cpu_pool;
	pthread_mutex_unlock(&cpu_lock);
	return p;
}

void mk_stores_each(void (*fn)(void *arg, const char *name, const char *plugin,
	bool healthy, unsigned queued, unsigned threads), void *arg)
{
	for (unsigned i = 0; i < set.count; i++) {
		struct mk_store_backend *b = &set.backends[i];
		fn(arg, b->name, b->inst != NULL ? mk_inst_plugin(b->inst) : b->name,
			atomic_load(&b->open_until) == 0,
			(b->pool != NULL ? mk_pool_queued(b->pool) : 0) +
			atomic_load(&b->append_queued), b->threads);
	}
}

/* ---- a job's store ------------------------------------------------------------- */

struct mk_store *mk_store_new(void)
{
	struct mk_store *st = mk_alloc(sizeof *st);

	st->magic = MK_STORE_MAGIC;
	mk_arena_init(&st->arena);
	return st;
}

void mk_store_free(struct mk_store **stp)
{
	struct mk_store *st = *stp;

	if (st == NULL)
		return;
	MK_CHECK(st, MK_STORE_MAGIC);
	for (unsigned i = 0; st->conn != NULL && i < set.count; i++)
		if (st->conn[i] != NULL)
			set.backends[i].be->conn_close(st->conn[i]);
	mk_free(st->conn);
	mk_arena_fini(&st->arena);
	st->magic = 0;
	mk_free(st);
	*stp = NULL;
}

void mk_store_job_end(struct mk_store *st)
{
	MK_CHECK(st, MK_STORE_MAGIC);
	mk_arena_reset(&st->arena);
}

struct mk_arena *mk_store_arena(struct mk_store *st)
{
	MK_CHECK(st, MK_STORE_MAGIC);
	return &st->arena;
}

uint16_t mk_store_error(enum mk_store_status s)
{
	switch (s) {
	case MK_STORE_OK:
		return MK_ERR_NONE;
	case MK_STORE_NOTFOUND:
		return MK_ERR_ITEM_NOT_FOUND;
	case MK_STORE_CONFLICT:
		return MK_ERR_CONFLICT;
	case MK_STORE_RETRY:
	case MK_STORE_UNCERTAIN:
	case MK_STORE_INVALID:
		break;
	}
	return MK_ERR_INTERNAL_SERVER_ERROR;
}

/* ---- breaker ------------------------------------------------------------------- */

/* Whether a call may go ahead; of an open breaker, one at a time after a while. */
static bool breaker_pass(struct mk_store_backend *b)
{
	mk_usec until = atomic_load_explicit(&b->open_until, memory_order_relaxed);
	bool no = false;

	if (MK_LIKELY(until == 0))
		return true;
	return mk_now_usec() >= until && atomic_compare_exchange_strong(&b->probing, &no, true);
}

static void breaker_note(struct mk_store_backend *b, bool failed)
{
	if (MK_LIKELY(!failed && atomic_load_explicit(&b->failures, memory_order_relaxed) == 0))
		return;
	pthread_mutex_lock(&b->breaker_lock);
	mk_usec now = mk_now_usec(), until = atomic_load(&b->open_until);
	if (!failed) {
		atomic_store(&b->failures, 0);
		if (until != 0) {
			atomic_store(&b->open_until, 0);
			b->breaker_delay = 0;
			mk_metric_bump(b->metric_open, -1);
			mk_log(b->inst, MK_NOTICE, "storage backend is back", "backend=%s", b->name);
		}
		atomic_store(&b->probing, false);
	} else if (atomic_fetch_add(&b->failures, 1) + 1 >= BREAKER_AFTER && now >= until) {
		/* Calls that were on their way when it opened end here with
		 * now < until, and don't lengthen it. */
		uint32_t dice;
		mk_random(&dice, sizeof dice);
		b->breaker_delay = b->breaker_delay == 0 ? BREAKER_FIRST : 2 * b->breaker_delay;
		if (b->breaker_delay > BREAKER_LONGEST)
			b->breaker_delay = BREAKER_LONGEST;
		atomic_store(&b->open_until, now + b->breaker_delay / 2 +
			(mk_usec)(dice % (uint32_t)(b->breaker_delay / 2)));
		atomic_store(&b->probing, false);
		if (until == 0) {
			mk_metric_bump(b->metric_open, 1);
			mk_log(b->inst, MK_ERROR, "storage backend is away", "backend=%s", b->name);
		}
	}
	pthread_mutex_unlock(&b->breaker_lock);
}

struct mk_backend_conn *mk_store_enter(struct mk_store *st, struct mk_store_backend *b,
	mk_usec *began_out)
{
	MK_CHECK(st, MK_STORE_MAGIC);
	if (!breaker_pass(b))
		return NULL;
	if (st->conn == NULL)
		st->conn = mk_alloc(set.count * sizeof *st->conn);
	if (st->conn[b->index] == NULL &&
	    b->be->conn_open(b->db, &st->conn[b->index]) < 0) {
		st->conn[b->index] = NULL;
		mk_metric_bump(b->metric_failures, 1);
		breaker_note(b, true);
		return NULL;
	}
	*began_out = mk_now_usec();
	return st->conn[b->index];
}

enum mk_store_status mk_store_leave(struct mk_store *st, struct mk_store_backend *b,
	enum mk_store_op op, mk_usec began, enum mk_store_status s)
{
	bool failed = s == MK_STORE_RETRY || s == MK_STORE_UNCERTAIN;

	mk_metric_bump(b->metric_ops[op], 1);
	mk_metric_see(b->metric_usec, mk_now_usec() - began);
	breaker_note(b, failed);
	if (failed) {
		mk_metric_bump(b->metric_failures, 1);
		b->be->conn_close(st->conn[b->index]);
		st->conn[b->index] = NULL;
	}
	return s;
}

/* ---- calls --------------------------------------------------------------------- */

static enum mk_store_status invalid(const struct mk_table *t, const char *what)
{
	mk_log(NULL, MK_ERROR, "storage call refused", "table=%s reason=%s",
		t != NULL && t->name != NULL ? t->name : "", what);
	return MK_STORE_INVALID;
}

#define FIND(info, t)                                                      \
	const struct mk_table_info *info = mk_table_find(t);                   \
	if (info == NULL)                                                      \
		return invalid(t, "it was not declared")
/* Runs expr with conn in hand, and returns its status. */
#define CALL(st, info, op, expr) do {                                      \
	mk_usec began_;                                                        \
	struct mk_backend_conn *conn = mk_store_enter(st, (info)->backend, &began_); \
	if (conn == NULL)                                                      \
		return MK_STORE_RETRY;                                             \
	const struct mk_backend *be = (info)->backend->be;                     \
	return mk_store_leave(st, (info)->backend, op, began_, (expr));        \
} while (0)

static enum mk_store_status key_check(const struct mk_table_info *i, const struct mk_value *key)
{
	return mk_values_ok(i->table, key, 0, i->keys) ? MK_STORE_OK
		: invalid(i->table, "the key is not as declared");
}

static enum mk_store_status partition_check(const struct mk_table_info *i,
	const struct mk_value *partition)
{
	return mk_values_ok(i->table, partition, 0, i->parts) ? MK_STORE_OK
		: invalid(i->table, "the partition is not as declared");
}

/* A whole, checked copy of r (may be NULL) in out. */
static enum mk_store_status range_check(struct mk_store *st, const struct mk_table_info *i,
	const struct mk_range *r, struct mk_range *out)
{
	const struct mk_table *t = i->table;

	memset(out, 0, sizeof *out);
	if (r != NULL)
		memcpy(out, r, r->size < sizeof *out ? r->size : sizeof *out);
	out->size = sizeof *out;
	if (out->limit > MK_LIMIT_MAX)
		out->limit = MK_LIMIT_MAX;
	if ((out->after != NULL || out->before != NULL) && i->keys == i->parts)
		return invalid(t, "a range of a table without SORT columns");
	if ((out->after != NULL && !mk_values_ok(t, out->after, i->parts, i->keys)) ||
	    (out->before != NULL && !mk_values_ok(t, out->before, i->parts, i->keys)))
		return invalid(t, "the range is not as declared");
	bool any = false;
	for (uint32_t c = 0; out->equals != NULL && c < i->columns; c++) {
		if (out->equals[c].type == 0)
			continue;
		any = true;
		if (!(t->columns[c].flags & (MK_COL_INDEX | MK_COL_FILTER)) ||
		    !mk_values_ok(t, &out->equals[c], c, c + 1))
			return invalid(t, "a filter on a column without INDEX or FILTER");
	}
	if (!any)
		out->equals = NULL;
	if (out->search != NULL) {
		if (!i->has_search)
			return invalid(t, "a search without SEARCH columns");
		out->search = mk_search_words(out->search, &st->arena);
		if (out->search == NULL)     /* a person's input: not our mistake */
			return MK_STORE_INVALID;
	}
	return MK_STORE_OK;
}

enum mk_store_status mk_get(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, struct mk_row *row_out)
{
	FIND(i, t);
	enum mk_store_status s = key_check(i, key);
	if (s != MK_STORE_OK)
		return s;
	CALL(st, i, MK_OP_GET, be->get(conn, t, key, &st->arena, row_out));
}

static enum mk_store_status get_each(struct mk_backend_conn *conn, const struct mk_backend *be,
	const struct mk_table *t, const struct mk_value *const *keys, uint32_t n,
	struct mk_arena *a, struct mk_row *out)
{
	enum mk_store_status s = MK_STORE_OK;

	for (uint32_t x = 0; x < n && s == MK_STORE_OK; x++) {
		out[x] = (struct mk_row){ 0 };
		s = be->get(conn, t, keys[x], a, &out[x]);
		if (s == MK_STORE_NOTFOUND)
			s = MK_STORE_OK;
	}
	return s;
}

enum mk_store_status mk_get_many(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *const *keys, uint32_t n, struct mk_row *rows_out)
{
	if (n == 0)
		return MK_STORE_OK;
	FIND(i, t);
	if (n > 1000)
		return invalid(t, "too many keys at once");
	for (uint32_t x = 0; x < n; x++)
		if (key_check(i, keys[x]) != MK_STORE_OK)
			return MK_STORE_INVALID;
	CALL(st, i, MK_OP_GET,
		be->size >= offsetof(struct mk_backend, get_many) + sizeof be->get_many &&
		be->get_many != NULL
			? be->get_many(conn, t, keys, n, &st->arena, rows_out)
			: get_each(conn, be, t, keys, n, &st->arena, rows_out));
}

static enum mk_store_status write_check(const struct mk_table_info *i, const struct mk_write *w)
{
	if (w->op == MK_WRITE_DELETE)
		return key_check(i, w->row);
	if (w->op != MK_WRITE_PUT)
		return invalid(i->table, "an unknown kind of write");
	return mk_values_ok(i->table, w->row, 0, i->columns) ? MK_STORE_OK
		: invalid(i->table, "the row is not as declared");
}

enum mk_store_status mk_batch(struct mk_store *st, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out)
{
	if (n == 0)
		return MK_STORE_OK;
	FIND(first, w[0].table);
	if (n > MK_LIMIT_MAX)
		return invalid(first->table, "a batch of too many writes");
	for (uint32_t x = 0; x < n; x++) {
		FIND(i, w[x].table);
		enum mk_store_status s = write_check(i, &w[x]);
		if (s != MK_STORE_OK)
			return s;
		if (i->backend != first->backend || i->parts != first->parts ||
		    !mk_values_equal(w[0].row, w[x].row, i->parts))
			return invalid(i->table, "a batch over several partitions or backends");
	}
	uint32_t failed = 0;
	CALL(st, first, MK_OP_WRITE,
		be->write(conn, w, n, failed_out != NULL ? failed_out : &failed));
}

enum mk_store_status mk_put(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *row, uint64_t expect)
{
	struct mk_write w = { .op = MK_WRITE_PUT, .table = t, .row = row, .expect = expect };

	return mk_batch(st, &w, 1, NULL);
}

enum mk_store_status mk_delete(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key)
{
	struct mk_write w = { .op = MK_WRITE_DELETE, .table = t, .row = key };

	return mk_batch(st, &w, 1, NULL);
}

enum mk_store_status mk_add(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, const char *column, int64_t n, int64_t *sum_out)
{
	FIND(i, t);
	enum mk_store_status s = key_check(i, key);
	uint32_t c = i->keys;
	int64_t sum = 0;

	if (s != MK_STORE_OK)
		return s;
	while (c < i->columns && strcmp(t->columns[c].name, column) != 0)
		c++;
	if (c == i->columns || t->columns[c].type != MK_INT)
		return invalid(t, "adding to what is not an INT column outside the key");
	CALL(st, i, MK_OP_ADD,
		be->add(conn, t, key, c, n, sum_out != NULL ? sum_out : &sum));
}

enum mk_store_status mk_query(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_rows *rows_out)
{
	FIND(i, t);
	struct mk_range range;
	enum mk_store_status s = partition_check(i, partition);
	if (s == MK_STORE_OK)
		s = range_check(st, i, r, &range);
	if (s != MK_STORE_OK)
		return s;
	if (range.limit == 0)
		range.limit = 100;
	CALL(st, i, MK_OP_QUERY, be->query(conn, t, partition, &range, &st->arena, rows_out));
}

enum mk_store_status mk_count_rows(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *count_out)
{
	FIND(i, t);
	struct mk_range range;
	enum mk_store_status s = partition_check(i, partition);
	if (s == MK_STORE_OK)
		s = range_check(st, i, r, &range);
	if (s != MK_STORE_OK)
		return s;
	CALL(st, i, MK_OP_COUNT, be->count(conn, t, partition, &range, count_out));
}

enum mk_store_status mk_take(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_rows *rows_out)
{
	FIND(i, t);
	struct mk_range range;
	enum mk_store_status s = partition_check(i, partition);
	if (s == MK_STORE_OK)
		s = range_check(st, i, r, &range);
	if (s != MK_STORE_OK)
		return s;
	if (range.limit == 0)
		range.limit = 100;
	CALL(st, i, MK_OP_TAKE, be->take(conn, t, partition, &range, &st->arena, rows_out));
}

enum mk_store_status mk_delete_range(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *count_out)
{
	FIND(i, t);
	struct mk_range range;
	uint64_t count = 0;
	enum mk_store_status s = partition_check(i, partition);
	if (s == MK_STORE_OK)
		s = range_check(st, i, r, &range);
	if (s != MK_STORE_OK)
		return s;
	CALL(st, i, MK_OP_ERASE, be->delete_range(conn, t, partition, &range,
		count_out != NULL ? count_out : &count));
}

enum mk_store_status mk_scan(struct mk_store *st, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit,
	struct mk_rows *rows_out)
{
	FIND(i, t);
	struct mk_value d = mk_text(domain);
	enum mk_store_status s = after != NULL ? key_check(i, after) : MK_STORE_OK;

	if (s != MK_STORE_OK)
		return s;
	if (!mk_values_ok(t, &d, 0, 1))
		return invalid(t, "the domain is not text");
	if (after != NULL && domain.n != 0 && !mk_values_equal(&d, after, 1))
		return invalid(t, "a scan after a key of another domain");
	limit = limit == 0 ? 100 : limit > MK_LIMIT_MAX ? MK_LIMIT_MAX : limit;
	CALL(st, i, MK_OP_SCAN,
		be->scan(conn, t, domain, after, limit, &st->arena, rows_out));
}

/* ---- retention ------------------------------------------------------------------- */

#define EXPIRE_PARTITIONS 200          /* looked at in a step                   */
#define EXPIRE_ROWS       500          /* deleted at a time                     */
#define EXPIRE_TIMES      40           /* ... and so often in a step            */

/* Of a backend without pieces: after is the last partition that is done with. */
static enum mk_store_status expire_walk(struct mk_store *st, const struct mk_table_info *i,
	struct mk_expiry *e)
{
	struct mk_value last[MK_COLUMNS_MAX], bound = mk_int(e->before);
	struct mk_range old = { .size = sizeof old, .before = &bound, .limit = EXPIRE_ROWS };
	const struct mk_value *after = e->after;
	int times = EXPIRE_TIMES;

	for (int k = 0; k < EXPIRE_PARTITIONS && times > 0; k++) {
		struct mk_rows rows;
		uint64_t n = EXPIRE_ROWS;
		if (after != NULL) {
			memcpy(last, after, i->parts * sizeof *last);
			last[i->parts] = mk_int(INT64_MAX);
		}
		enum mk_store_status s = mk_scan(st, i->table, MK_STR_NONE,
			after != NULL ? last : NULL, 1, &rows);
		if (s != MK_STORE_OK)
			return s;
		if (rows.n == 0) {
			e->after = NULL;
			e->more = false;
			return MK_STORE_OK;
		}
		const struct mk_value *partition = rows.row[0].v;
		bool is_wanted = e->wanted == NULL || e->wanted(e->arg, mk_value_str(&partition[0]));
		for (; is_wanted && n == EXPIRE_ROWS && times > 0; times--) {
			s = mk_delete_range(st, i->table, partition, &old, &n);
			if (s != MK_STORE_OK)
				return s;
			e->rows += n;
		}
		if (is_wanted && n == EXPIRE_ROWS)
			break;                 /* this one again                        */
		after = partition;
	}
	e->after = after;
	e->more = true;
	return MK_STORE_OK;
}

enum mk_store_status mk_expire(struct mk_store *st, const struct mk_table *t,
	struct mk_expiry *e)
{
	FIND(i, t);

	if (!(t->flags & MK_TABLE_TIME) || e->size < sizeof *e)
		return invalid(t, "expiry of a table whose ids are no times");
	if (e->after != NULL && !mk_values_ok(t, e->after, 0, i->parts))
		return invalid(t, "the partition is not as declared");
	e->rows = 0;
	if (i->backend->be->size <= offsetof(struct mk_backend, expire) ||
	    i->backend->be->expire == NULL)
		return expire_walk(st, i, e);
	CALL(st, i, MK_OP_EXPIRE, be->expire(conn, t, e, &st->arena));
}
