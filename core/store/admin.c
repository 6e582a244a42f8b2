/*
 * store/admin.c - what administration does, over the declarations
 *
 * Written once for all tables and backends. Runs on whatever thread the store
 * belongs to, and blocks; a page at a time, so that a large user or domain
 * costs neither memory nor a long transaction.
 */
#include "store/inner.h"

#include <meerkat/jid.h>

#include "base/ban.h"

#define PAGE 500

struct work {
	struct mk_store *st;
	struct mk_str domain, user, bare;
	int (*fn)(void *arg, const struct mk_table *t, const struct mk_row *row);
	void *arg;
	uint64_t rows;
	int result;
	/* copy */
	struct mk_store_backend *from, *to;
	void (*progress)(void *arg, const char *table, uint64_t rows);
	struct mk_diag *diag;
};

/* The caller's rows stay: pages come and go in an arena of their own. */
static struct mk_arena pages_begin(struct mk_store *st)
{
	MK_CHECK(st, MK_STORE_MAGIC);
	struct mk_arena callers = st->arena;
	mk_arena_init(&st->arena);
	return callers;
}

static void pages_end(struct mk_store *st, struct mk_arena callers)
{
	mk_arena_fini(&st->arena);
	st->arena = callers;
}

/* The lowest key of a user: it begins the walk over partitions (domain, user,
 * ...), whose other values nobody knows. */
static void lowest_key(const struct work *w, const struct mk_table_info *t, struct mk_value *key)
{
	for (uint32_t i = 0; i < t->keys; i++) {
		uint16_t type = t->table->columns[i].type;
		key[i] = i == 0 ? mk_text(w->domain) : i == 1 ? mk_text(w->user) :
			type == MK_INT ? mk_int(INT64_MIN) :
			type == MK_TEXT ? mk_text(MK_STR("")) : mk_blob("", 0);
	}
}

static void key_copy(const struct mk_table_info *t, const struct mk_value *from,
	struct mk_value *to, struct mk_arena *a)
{
	for (uint32_t i = 0; i < t->keys; i++) {
		to[i] = from[i];
		if (from[i].type != MK_INT)
			to[i].as.b.p = mk_arena_strndup(a, from[i].as.b.p, from[i].as.b.n);
	}
}

/* The same where a walk stands: outlives the job's arena, and what *keys had before. */
static void key_keep(const struct mk_table_info *t, const struct mk_value *from,
	struct mk_value *to, struct mk_arena **keys)
{
	struct mk_arena *next = mk_arena_new();

	key_copy(t, from, to, next);
	if (*keys != NULL)
		mk_arena_free(keys);
	*keys = next;
}

static bool is_users(const struct work *w, const struct mk_row *row)
{
	return mk_str_eq(mk_value_str(&row->v[0]), w->domain) &&
		mk_str_eq(mk_value_str(&row->v[1]), w->user);
}

static const struct mk_table_link *link_of(const struct mk_table_info *t)
{
	return t->table->size >= offsetof(struct mk_table, link) + sizeof t->table->link
		? t->table->link : NULL;
}

/* One row, with what it leads to. */
static void export_row(struct work *w, const struct mk_table_info *t, const struct mk_row *row)
{
	const struct mk_table_link *l = link_of(t);
	struct mk_value key[MK_COLUMNS_MAX], whole[MK_COLUMNS_MAX];
	struct mk_row led;
	enum mk_store_status s = MK_STORE_NOTFOUND;

	if (l != NULL && l->key(row->v, key))
		s = mk_get(w->st, t->table, key, &led);
	if (s == MK_STORE_OK) {
		memcpy(whole, row->v, row->n * sizeof *whole);
		l->take(whole, led.v);
		led = (struct mk_row){ whole, row->n, row->version };
		w->result = w->fn(w->arg, t->table, &led);
	} else if (s == MK_STORE_NOTFOUND) {
		w->result = w->fn(w->arg, t->table, row);
	} else {
		w->result = -MK_EIO;
	}
}

/* The rows of a table that isn't the user's own in which it is named. values: as many as
 * the table has columns, for r->equals. False: it has no such column. */
static bool range_of_user(const struct work *w, const struct mk_table_info *t,
	struct mk_value *values, struct mk_range *r)
{
	const char *name = mk_table_user(t->table);

	if (name == NULL)
		return false;
	for (uint32_t i = 0; t->table->columns[i].name != NULL; i++)
		values[i] = strcmp(t->table->columns[i].name, name) == 0 ? mk_text(w->bare) : mk_absent();
	*r = (struct mk_range){ .size = sizeof *r, .equals = values, .limit = PAGE };
	return true;
}

static void export_named(struct work *w, const struct mk_table_info *t)
{
	struct mk_value values[MK_COLUMNS_MAX], after[MK_COLUMNS_MAX], domain = mk_text(w->domain);
	struct mk_rows rows = { .more = true };
	struct mk_arena *keys = NULL;
	struct mk_range r;

	if (!range_of_user(w, t, values, &r))
		return;
	while (w->result == 0 && rows.more) {
		enum mk_store_status s = mk_query(w->st, t->table, &domain, &r, &rows);
		if (s == MK_STORE_NOTFOUND)
			break;
		if (s != MK_STORE_OK)
			w->result = -MK_EIO;
		for (uint32_t i = 0; w->result == 0 && i < rows.n; i++)
			w->result = w->fn(w->arg, t->table, &rows.row[i]);
		if (w->result != 0 || rows.n == 0 || t->keys == t->parts)
			break;
		key_keep(t, rows.row[rows.n - 1].v, after, &keys);
		r.after = after + t->parts;
		mk_store_job_end(w->st);
	}
	if (keys != NULL)
		mk_arena_free(&keys);
	mk_store_job_end(w->st);
}

static void erase_named(struct work *w, const struct mk_table_info *t)
{
	struct mk_value values[MK_COLUMNS_MAX], domain = mk_text(w->domain);
	enum mk_store_status s;
	struct mk_range r;
	uint64_t n = 0;

	if (!range_of_user(w, t, values, &r))
		return;
	r.limit = 0;
	s = mk_delete_range(w->st, t->table, &domain, &r, &n);
	if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
		w->result = -MK_EIO;
	w->rows += n;
	mk_store_job_end(w->st);
}

static void export_table(void *arg, const struct mk_table_info *t)
{
	struct work *w = arg;
	struct mk_value key[MK_COLUMNS_MAX];
	struct mk_arena *keys = NULL;
	struct mk_row row;
	struct mk_rows rows = { .more = true };
	enum mk_store_status s;

	if (w->result != 0 || (t->table->flags & MK_TABLE_SECRET))
		return;
	if (!(t->table->flags & MK_TABLE_OWNED)) {
		export_named(w, t);
		return;
	}
	lowest_key(w, t, key);
	/* A scan goes on after a key: the very first may be a row itself. */
	s = mk_get(w->st, t->table, key, &row);
	if (s == MK_STORE_OK)
		export_row(w, t, &row);
	else if (s != MK_STORE_NOTFOUND)
		w->result = -MK_EIO;
	while (w->result == 0 && rows.more) {
		mk_store_job_end(w->st);
		if (mk_scan(w->st, t->table, w->domain, key, PAGE, &rows) != MK_STORE_OK) {
			w->result = -MK_EIO;
			break;
		}
		for (uint32_t i = 0; i < rows.n && w->result == 0; i++) {
			if (!is_users(w, &rows.row[i])) {
				rows.more = false;
				break;
			}
			export_row(w, t, &rows.row[i]);
		}
		if (rows.more && rows.n > 0)
			key_keep(t, rows.row[rows.n - 1].v, key, &keys);
	}
	if (keys != NULL)
		mk_arena_free(&keys);
	mk_store_job_end(w->st);
}

int mk_store_export(struct mk_store *st, const struct mk_jid *user,
	int (*fn)(void *arg, const struct mk_table *t, const struct mk_row *row), void *arg)
{
	struct work w = { .st = st, .domain = mk_jid_domain(user), .user = mk_jid_local(user),
		.bare = mk_jid_bare(user), .fn = fn, .arg = arg };

	struct mk_arena callers = pages_begin(st);
	mk_append_flush();             /* what was said a moment ago is the user's, too */
	mk_tables_each(export_table, &w);
	pages_end(st, callers);
	return w.result;
}

/* The row that leads to this one, if there is one, from now on stands alone. */
static enum mk_store_status hand_over(struct work *w, const struct mk_table_info *t,
	const struct mk_table_link *l, const struct mk_row *row)
{
	struct mk_value key[MK_COLUMNS_MAX], led[MK_COLUMNS_MAX], whole[MK_COLUMNS_MAX];
	enum mk_store_status s = MK_STORE_CONFLICT;
	struct mk_row other;

	if (!l->back(row->v, key))
		return MK_STORE_OK;
	for (int tries = 0; tries < 5 && s == MK_STORE_CONFLICT; tries++) {
		s = mk_get(w->st, t->table, key, &other);
		if (s == MK_STORE_NOTFOUND)
			return MK_STORE_OK;
		if (s != MK_STORE_OK || !l->key(other.v, led) ||
		    !mk_values_equal(led, row->v, t->keys))
			return s;
		memcpy(whole, other.v, other.n * sizeof *whole);
		l->take(whole, row->v);
		s = mk_put(w->st, t->table, whole, other.version);
	}
	return s;
}

/* Before its rows are erased. */
static enum mk_store_status erase_links(struct work *w, const struct mk_table_info *t,
	const struct mk_value *partition)
{
	struct mk_range r = { .size = sizeof r, .limit = PAGE };
	struct mk_rows rows = { .more = true };
	enum mk_store_status s = MK_STORE_OK;
	struct mk_value after[MK_COLUMNS_MAX];
	struct mk_arena *keys = NULL;

	while (s == MK_STORE_OK && rows.more) {
		s = mk_query(w->st, t->table, partition, &r, &rows);
		for (uint32_t i = 0; s == MK_STORE_OK && i < rows.n; i++)
			s = hand_over(w, t, link_of(t), &rows.row[i]);
		if (s != MK_STORE_OK || rows.n == 0 || t->keys == t->parts)
			break;
		key_keep(t, rows.row[rows.n - 1].v, after, &keys);
		r.after = after + t->parts;
		if (t->parts == 2)             /* of more, partition is of the arena */
			mk_store_job_end(w->st);
	}
	if (keys != NULL)
		mk_arena_free(&keys);
	return s;
}

static void erase_partition(struct work *w, const struct mk_table_info *t,
	const struct mk_value *partition)
{
	uint64_t n = 0;

	if (link_of(t) != NULL && erase_links(w, t, partition) != MK_STORE_OK)
		w->result = -MK_EIO;

	if (mk_delete_range(w->st, t->table, partition, NULL, &n) != MK_STORE_OK)
		w->result = -MK_EIO;
	w->rows += n;
}

static void erase_table(void *arg, const struct mk_table_info *t)
{
	struct work *w = arg;
	struct mk_value key[MK_COLUMNS_MAX];
	struct mk_rows rows;

	if (!(t->table->flags & MK_TABLE_OWNED)) {
		erase_named(w, t);
		return;
	}
	lowest_key(w, t, key);
	int before = w->result;        /* one table's failure stops no other   */
	w->result = 0;
	erase_partition(w, t, key);
	while (w->result == 0 && t->parts > 2) {
		if (mk_scan(w->st, t->table, w->domain, key, 1, &rows) != MK_STORE_OK) {
			w->result = -MK_EIO;
			break;
		}
		if (rows.n == 0 || !is_users(w, &rows.row[0]))
			break;
		erase_partition(w, t, rows.row[0].v);
		mk_store_job_end(w->st);
	}
	if (w->result == 0)
		w->result = before;
	mk_store_job_end(w->st);
}

int mk_store_erase_user(struct mk_store *st, const struct mk_jid *user, uint64_t *rows_out)
{
	struct work w = { .st = st, .domain = mk_jid_domain(user), .user = mk_jid_local(user),
		.bare = mk_jid_bare(user) };

	struct mk_arena callers = pages_begin(st);
	/* Rows that are still queued would stand there afterwards. */
	if (mk_append_flush() != MK_STORE_OK)
		w.result = -MK_EIO;
	mk_tables_each(erase_table, &w);
	pages_end(st, callers);
	if (rows_out != NULL)
		*rows_out = w.rows;
	return w.result;
}

int mk_store_put_rows(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *const *rows, uint32_t n)
{
	const struct mk_table_info *info = mk_table_find(t);
	struct mk_store_backend *b = info != NULL ? info->backend : NULL;
	uint32_t failed = 0;
	mk_usec began;

	if (n == 0)
		return 0;
	mk_assert(b != NULL && n <= 10000);
	struct mk_write *w = mk_alloc(n * sizeof *w);
	for (uint32_t i = 0; i < n; i++) {
		mk_assert(mk_values_ok(t, rows[i], 0, info->columns));
		w[i] = (struct mk_write){ .op = MK_WRITE_PUT, .table = t, .row = rows[i],
			.expect = MK_ANY };
	}
	struct mk_backend_conn *conn = mk_store_enter(st, b, &began);
	enum mk_store_status s = conn == NULL ? MK_STORE_RETRY :
		mk_store_leave(st, b, MK_OP_WRITE, began, b->be->write(conn, w, n, &failed));
	mk_free(w);
	return s == MK_STORE_OK ? 0 : -MK_EIO;
}

static void drop_table(void *arg, const struct mk_table_info *t)
{
	struct work *w = arg;
	mk_usec began;
	uint64_t n = 0;

	struct mk_backend_conn *conn = mk_store_enter(w->st, t->backend, &began);
	if (conn == NULL || mk_store_leave(w->st, t->backend, MK_OP_DROP, began,
	    t->backend->be->drop_domain(conn, t->table, w->domain, &n)) != MK_STORE_OK)
		w->result = -MK_EIO;
	w->rows += n;
	mk_store_job_end(w->st);
}

int mk_store_drop_domain(struct mk_store *st, struct mk_str domain, uint64_t *rows_out)
{
	struct work w = { .st = st, .domain = domain };

	if (domain.n == 0 || !mk_utf8_valid(domain.p, domain.n) ||
	    memchr(domain.p, '\0', domain.n) != NULL)
		return -MK_EINVAL;
	struct mk_arena callers = pages_begin(st);
	if (mk_append_flush() != MK_STORE_OK)
		w.result = -MK_EIO;
	mk_tables_each(drop_table, &w);
	pages_end(st, callers);
	if (rows_out != NULL)
		*rows_out = w.rows;
	return w.result;
}

/* ---- copying -------------------------------------------------------------------- */

/* From a page (in the arena of st) to the other backend. */
static enum mk_store_status page_write(struct work *w, const struct mk_table_info *t,
	const struct mk_rows *rows)
{
	struct mk_write *writes =
		mk_arena_alloc(mk_store_arena(w->st), rows->n * sizeof *writes);
	mk_usec began;

	for (uint32_t i = 0; i < rows->n; i++)
		writes[i] = (struct mk_write){ .op = MK_WRITE_PUT, .table = t->table,
			.row = rows->row[i].v, .expect = MK_NEW };
	struct mk_backend_conn *conn = mk_store_enter(w->st, w->to, &began);
	if (conn == NULL)
		return MK_STORE_RETRY;
	return mk_store_leave(w->st, w->to, MK_OP_APPEND, began,
		w->to->be->append(conn, writes, rows->n));
}

static enum mk_store_status page_read(struct work *w, const struct mk_table_info *t,
	const struct mk_value *after, struct mk_rows *rows)
{
	mk_usec began;

	struct mk_backend_conn *conn = mk_store_enter(w->st, w->from, &began);
	if (conn == NULL)
		return MK_STORE_RETRY;
	return mk_store_leave(w->st, w->from, MK_OP_SCAN, began,
		w->from->be->scan(conn, t->table, MK_STR_NONE, after, PAGE,
			mk_store_arena(w->st), rows));
}

static void copy_table(void *arg, const struct mk_table_info *t)
{
	struct work *w = arg;
	const struct mk_table *one[] = { t->table, NULL };
	struct mk_value key[MK_COLUMNS_MAX];
	struct mk_arena *keys = NULL;
	struct mk_rows rows = { .more = true };
	uint64_t n = 0;

	if (w->result != 0 || t->backend != w->from)
		return;
	if ((t->has_search && !(w->to->be->caps & MK_CAP_SEARCH)) ||
	    (t->keys > t->parts && !(w->to->be->caps & MK_CAP_RANGE))) {
		mk_diag_add(w->diag, "table %s needs what backend %s doesn't have",
			t->table->name, w->to->name);
		w->result = -MK_EINVAL;
		return;
	}
	w->result = w->to->be->db_declare(w->to->db, one, w->diag);
	while (w->result == 0 && rows.more) {
		enum mk_store_status s = page_read(w, t, keys != NULL ? key : NULL, &rows);
		if (s == MK_STORE_OK && rows.n > 0)
			s = page_write(w, t, &rows);
		if (s != MK_STORE_OK) {
			mk_diag_add(w->diag, "table %s: stopped after %llu rows; repeat the copy "
				"to go on", t->table->name, (unsigned long long)n);
			w->result = -MK_EIO;
			break;
		}
		n += rows.n;
		if (rows.more && rows.n > 0)
			key_keep(t, rows.row[rows.n - 1].v, key, &keys);
		mk_store_job_end(w->st);
	}
	if (w->result == 0 && w->progress != NULL)
		w->progress(w->arg, t->table->name, n);
	if (keys != NULL)
		mk_arena_free(&keys);
	mk_store_job_end(w->st);
}

int mk_store_copy(struct mk_store *st, const char *from, const char *to,
	void (*progress)(void *arg, const char *table, uint64_t rows), void *arg,
	struct mk_diag *d)
{
	struct work w = { .st = st, .from = mk_store_backend(from), .to = mk_store_backend(to),
		.progress = progress, .arg = arg, .diag = d };

	if (w.from == NULL || w.to == NULL) {
		mk_diag_add(d, "there is no storage backend '%s'", w.from == NULL ? from : to);
		return -MK_ENOENT;
	}
	if (w.from == w.to) {
		mk_diag_add(d, "'%s' can't be copied to itself", from);
		return -MK_EINVAL;
	}
	struct mk_arena callers = pages_begin(st);
	mk_tables_each(copy_table, &w);
	pages_end(st, callers);
	return w.result;
}
