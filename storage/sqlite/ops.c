/*
 * sqlite/ops.c - the operations of meerkat/backend.h
 *
 * Reads use the job thread's own connection and see the last commit. Writes
 * are requests to the writer; what they give back is filled in there, while
 * the caller waits.
 */
#include "sqlite.h"

#include <stdlib.h>

/* ---- reading --------------------------------------------------------------------- */

enum mk_store_status op_get(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, struct mk_arena *a, struct mk_row *out)
{
	struct sql_shape s = sql_measure(t);
	sqlite3_stmt *stmt = stmt_get(c, t, STMT_GET, 0, 0);

	if (stmt == NULL)
		return status_of(c, sqlite3_extended_errcode(c->h));
	stmt_bind(stmt, 1, key, s.keys);
	int rc = sqlite3_step(stmt);
	enum mk_store_status status = MK_STORE_NOTFOUND;
	if (rc == SQLITE_ROW) {
		stmt_row(stmt, t, a, out);
		status = MK_STORE_OK;
	} else if (rc != SQLITE_DONE) {
		status = status_of(c, rc);
	}
	sqlite3_reset(stmt);
	return status;
}

/* In one transaction: by itself each get would take and give back the locks of one. */
enum mk_store_status op_get_many(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *const *keys, uint32_t n, struct mk_arena *a, struct mk_row *out)
{
	enum mk_store_status s = status_of(c, conn_exec(c, "BEGIN"));

	for (uint32_t i = 0; s == MK_STORE_OK && i < n; i++) {
		out[i] = (struct mk_row){ 0 };
		s = op_get(c, t, keys[i], a, &out[i]);
		if (s == MK_STORE_NOTFOUND)
			s = MK_STORE_OK;
	}
	/* After a failure the connection is closed. */
	return s == MK_STORE_OK ? status_of(c, conn_exec(c, "COMMIT")) : s;
}

/* All rows of a bound statement (ends it); the one after limit only tells that
 * there are more. */
static enum mk_store_status rows_read(struct mk_backend_conn *c, sqlite3_stmt *stmt,
	const struct mk_table *t, uint32_t limit, struct mk_arena *a, struct mk_rows *out)
{
	struct mk_row *row = NULL;
	uint32_t n = 0, cap = 0;
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && n < limit) {
		if (n == cap) {
			struct mk_row *more = mk_arena_alloc(a, (cap * 2 + 8) * sizeof *row);
			if (n > 0)
				memcpy(more, row, n * sizeof *row);
			row = more;
			cap = cap * 2 + 8;
		}
		stmt_row(stmt, t, a, &row[n++]);
	}
	enum mk_store_status status = status_of(c, rc);
	sqlite3_reset(stmt);
	if (status != MK_STORE_OK)
		return status;
	*out = (struct mk_rows){ .row = row, .n = n, .more = rc == SQLITE_ROW };
	return MK_STORE_OK;
}

/* A range as SQLite's parameters want it. */
struct bounds {
	uint32_t bits, equals;
	char *words;                   /* "a" "b"; of mk_alloc                  */
};

static struct bounds bounds_of(const struct mk_range *r, const struct sql_shape *s, bool limited)
{
	struct bounds b = { 0 };

	b.bits = (r->after != NULL ? SQL_AFTER : 0) | (r->before != NULL ? SQL_BEFORE : 0) |
		(r->search != NULL ? SQL_SEARCH : 0) | (r->backward ? SQL_BACKWARD : 0) |
		(limited ? SQL_LIMIT : 0);
	for (uint32_t i = 0; r->equals != NULL && i < s->columns; i++)
		if (r->equals[i].type != 0)
			b.equals |= UINT32_C(1) << i;
	if (r->search != NULL) {
		/* Words in double quotes are strings to FTS5, not operators; they
		 * hold no quote themselves. */
		size_t n = strlen(r->search), o = 0;
		b.words = mk_alloc(3 * n + 3);
		b.words[o++] = '"';
		for (const char *p = r->search; *p != '\0'; p++) {
			if (*p == ' ') {
				memcpy(b.words + o, "\" \"", 3);
				o += 3;
			} else {
				b.words[o++] = *p;
			}
		}
		b.words[o++] = '"';
	}
	return b;
}

static void bounds_bind(sqlite3_stmt *stmt, const struct sql_shape *s,
	const struct mk_value *partition, const struct mk_range *r, const struct bounds *b,
	int64_t limit)
{
	int at = stmt_bind(stmt, 1, partition, s->parts);
	struct mk_value v;

	if (b->bits & SQL_AFTER)
		at = stmt_bind(stmt, at, r->after, s->keys - s->parts);
	if (b->bits & SQL_BEFORE)
		at = stmt_bind(stmt, at, r->before, s->keys - s->parts);
	for (uint32_t i = 0; i < s->columns; i++)
		if (b->equals & (UINT32_C(1) << i))
			at = stmt_bind(stmt, at, &r->equals[i], 1);
	if (b->bits & SQL_SEARCH) {
		v = mk_textz(b->words);
		at = stmt_bind(stmt, at, &v, 1);
	}
	if (b->bits & SQL_LIMIT) {
		v = mk_int(limit);
		stmt_bind(stmt, at, &v, 1);
	}
}

enum mk_store_status op_query(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, true);
	sqlite3_stmt *stmt = stmt_get(c, t, STMT_ROWS, b.bits, b.equals);
	enum mk_store_status status;

	if (stmt == NULL) {
		status = status_of(c, sqlite3_extended_errcode(c->h));
	} else {
		bounds_bind(stmt, &s, partition, r, &b, (int64_t)r->limit + 1);
		status = rows_read(c, stmt, t, r->limit, a, out);
	}
	mk_free(b.words);
	return status;
}

enum mk_store_status op_count(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, r->limit != 0);
	sqlite3_stmt *stmt = stmt_get(c, t, STMT_COUNT, b.bits & ~(uint32_t)SQL_BACKWARD, b.equals);
	enum mk_store_status status;

	if (stmt == NULL) {
		status = status_of(c, sqlite3_extended_errcode(c->h));
	} else {
		bounds_bind(stmt, &s, partition, r, &b, r->limit);
		int rc = sqlite3_step(stmt);
		status = status_of(c, rc);
		if (rc == SQLITE_ROW)
			*out = (uint64_t)sqlite3_column_int64(stmt, 0);
		sqlite3_reset(stmt);
	}
	mk_free(b.words);
	return status;
}

enum mk_store_status op_scan(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit, struct mk_arena *a,
	struct mk_rows *out)
{
	struct sql_shape s = sql_measure(t);
	uint32_t first = domain.n != 0 ? 1 : 0;
	struct mk_value d = mk_text(domain), l = mk_int((int64_t)limit + 1);
	int at = 1;

	if (first == 1 && after != NULL && s.keys == 1) {
		/* One row is all there is of a domain: nothing follows it. */
		*out = (struct mk_rows){ 0 };
		return MK_STORE_OK;
	}
	sqlite3_stmt *stmt = stmt_get(c, t, STMT_SCAN, first | (after != NULL ? 2 : 0), 0);
	if (stmt == NULL)
		return status_of(c, sqlite3_extended_errcode(c->h));
	if (first == 1)
		at = stmt_bind(stmt, at, &d, 1);
	if (after != NULL)
		at = stmt_bind(stmt, at, after + first, s.keys - first);
	stmt_bind(stmt, at, &l, 1);
	return rows_read(c, stmt, t, limit, a, out);
}

enum mk_store_status op_ping(struct mk_backend_conn *c)
{
	return status_of(c, conn_exec(c, "SELECT COUNT(*) FROM meerkat_tables"));
}

/* ---- writing ---------------------------------------------------------------------- */

struct write_request {
	struct request r;
	const struct mk_write *w;
	uint32_t n, failed;
};

static enum mk_store_status put(struct mk_backend_conn *c, const struct mk_write *w)
{
	struct sql_shape s = sql_measure(w->table);
	bool if_version = w->expect != MK_ANY && w->expect != MK_NEW;
	struct mk_value version = mk_int(if_version ? (int64_t)w->expect : mk_uid());
	sqlite3_stmt *stmt = stmt_get(c, w->table, if_version ? STMT_UPDATE :
		w->expect == MK_NEW ? STMT_INSERT : STMT_UPSERT, 0, 0);
	int at = 1;

	if (stmt == NULL)
		return stmt_run(c, NULL);
	if (if_version) {
		at = stmt_bind(stmt, at, w->row + s.keys, s.columns - s.keys);
		at = stmt_bind(stmt, at, w->row, s.keys);
	} else {
		at = stmt_bind(stmt, at, w->row, s.columns);
	}
	stmt_bind(stmt, at, &version, 1);
	enum mk_store_status status = stmt_run(c, stmt);
	if (status == MK_STORE_OK && if_version && sqlite3_changes(c->h) == 0)
		return MK_STORE_CONFLICT;
	return status;
}

static enum mk_store_status delete_key(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key)
{
	struct sql_shape s = sql_measure(t);
	sqlite3_stmt *stmt = stmt_get(c, t, STMT_DELETE, 0, 0);

	if (stmt != NULL)
		stmt_bind(stmt, 1, key, s.keys);
	enum mk_store_status status = stmt_run(c, stmt);
	if (status == MK_STORE_OK && sqlite3_changes(c->h) == 0)
		return MK_STORE_NOTFOUND;
	return status;
}

static enum mk_store_status write_run(struct mk_backend_conn *c, struct request *r)
{
	struct write_request *q = (struct write_request *)r;
	enum mk_store_status s = MK_STORE_OK;

	for (uint32_t i = 0; i < q->n; i++) {
		s = q->w[i].op == MK_WRITE_PUT ? put(c, &q->w[i])
		                               : delete_key(c, q->w[i].table, q->w[i].row);
		if (s == MK_STORE_NOTFOUND && q->n > 1)
			s = MK_STORE_OK;
		if (s != MK_STORE_OK) {
			q->failed = i;
			break;
		}
	}
	return s;
}

enum mk_store_status op_write(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out)
{
	struct write_request q = { .r.run = write_run, .r.one_statement = n == 1,
		.w = w, .n = n };
	enum mk_store_status s = write_submit(c, &q.r);

	if (s == MK_STORE_CONFLICT)
		*failed_out = q.failed;
	return s;
}

/*
 * Rows of one partition are neighbours in the b-tree: one after the other they find its
 * pages in the processor's cache. How partitions follow each other matters little, so
 * they go by a number made from them, and rows of the same by their order; so do all rows
 * of a table where those of one partition can be in the way of another's.
 */
struct place {
	uint64_t partition;
	uint32_t at;
};

/* How many columns tell which rows keep their order. */
static uint32_t ordered_by(const struct mk_table *t)
{
	for (const struct mk_column *c = t->columns; c->name != NULL; c++)
		if (c->flags & MK_COL_UNIQUE)
			return 0;
	return sql_measure(t).parts;
}

static uint64_t partition_number(const struct mk_write *w, uint32_t parts)
{
	uint64_t h = (uint64_t)(uintptr_t)w->table;

	for (uint32_t i = 0; i < parts; i++) {
		const struct mk_value *v = &w->row[i];
		if (v->type == MK_INT) {
			h = (h ^ (uint64_t)v->as.i) * UINT64_C(0x9e3779b97f4a7c15);
			continue;
		}
		const unsigned char *p = v->as.b.p;
		for (size_t k = 0; k < v->as.b.n; k++)
			h = (h ^ p[k]) * UINT64_C(0x100000001b3);
		h = (h ^ 0xff) * UINT64_C(0x100000001b3);
	}
	return h;
}

static int place_compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

static enum mk_store_status append_run(struct mk_backend_conn *c, struct request *r)
{
	struct write_request *q = (struct write_request *)r;
	struct place *order = mk_alloc(q->n * sizeof *order + 1);
	const struct mk_table *table = NULL;
	uint32_t columns = 0, parts = 0;
	sqlite3_stmt *stmt = NULL;
	enum mk_store_status s = MK_STORE_OK;

	for (uint32_t i = 0; i < q->n; i++) {
		if (q->w[i].table != table) {
			table = q->w[i].table;
			parts = ordered_by(table);
		}
		order[i] = (struct place){ partition_number(&q->w[i], parts), i };
	}
	qsort(order, q->n, sizeof *order, place_compare);
	table = NULL;
	for (uint32_t i = 0; i < q->n && s == MK_STORE_OK; i++) {
		const struct mk_write *w = &q->w[order[i].at];
		struct mk_value version = mk_int(mk_uid());
		if (w->table != table) {
			table = w->table;
			columns = sql_measure(table).columns;
			stmt = stmt_get(c, table, STMT_APPEND, 0, 0);
		}
		if (stmt != NULL) {
			int at = stmt_bind(stmt, 1, w->row, columns);
			stmt_bind(stmt, at, &version, 1);
		}
		s = stmt_run(c, stmt);
	}
	mk_free(order);
	return s;
}

enum mk_store_status op_append(struct mk_backend_conn *c, const struct mk_write *w, uint32_t n)
{
	struct write_request q = { .r.run = append_run, .w = w, .n = n };

	return write_submit(c, &q.r);
}

struct range_request {
	struct request r;
	const struct mk_table *t;
	const struct mk_value *partition;
	const struct mk_range *range;
	struct mk_arena *arena;
	struct mk_rows rows;
	uint64_t count;
};

static enum mk_store_status take_run(struct mk_backend_conn *c, struct request *r)
{
	struct range_request *q = (struct range_request *)r;
	enum mk_store_status s =
		op_query(c, q->t, q->partition, q->range, q->arena, &q->rows);

	for (uint32_t i = 0; s == MK_STORE_OK && i < q->rows.n; i++)
		s = delete_key(c, q->t, q->rows.row[i].v);
	return s;
}

enum mk_store_status op_take(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct range_request q = { .r.run = take_run, .t = t, .partition = partition,
		.range = r, .arena = a };
	enum mk_store_status s = write_submit(c, &q.r);

	if (s == MK_STORE_OK)
		*out = q.rows;
	return s;
}

static enum mk_store_status erase_run(struct mk_backend_conn *c, struct request *r)
{
	struct range_request *q = (struct range_request *)r;
	struct sql_shape s = sql_measure(q->t);
	struct bounds b = bounds_of(q->range, &s, q->range->limit != 0);

	if (q->range->limit == 0)
		b.bits &= ~(uint32_t)SQL_BACKWARD;
	sqlite3_stmt *stmt = stmt_get(c, q->t, STMT_ERASE, b.bits, b.equals);
	if (stmt != NULL)
		bounds_bind(stmt, &s, q->partition, q->range, &b, q->range->limit);
	enum mk_store_status status = stmt_run(c, stmt);
	q->count = (uint64_t)sqlite3_changes(c->h);
	mk_free(b.words);
	return status;
}

enum mk_store_status op_delete_range(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct range_request q = { .r.run = erase_run, .r.one_statement = true, .t = t,
		.partition = partition, .range = r };
	enum mk_store_status s = write_submit(c, &q.r);

	if (s == MK_STORE_OK)
		*out = q.count;
	return s;
}

static enum mk_store_status drop_run(struct mk_backend_conn *c, struct request *r)
{
	struct range_request *q = (struct range_request *)r;
	sqlite3_stmt *stmt = stmt_get(c, q->t, STMT_DROP, 0, 0);

	if (stmt != NULL)
		stmt_bind(stmt, 1, q->partition, 1);
	enum mk_store_status s = stmt_run(c, stmt);
	q->count = (uint64_t)sqlite3_changes(c->h);
	return s;
}

enum mk_store_status op_drop_domain(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, uint64_t *out)
{
	struct mk_value d = mk_text(domain);
	struct range_request q = { .r.run = drop_run, .r.one_statement = true, .t = t,
		.partition = &d };
	enum mk_store_status s = write_submit(c, &q.r);

	if (s == MK_STORE_OK)
		*out = q.count;
	return s;
}

struct add_request {
	struct request r;
	const struct mk_table *t;
	const struct mk_value *key;
	uint32_t column;
	int64_t n, sum;
};

/* The row that an addition makes: what may not be absent is empty. */
static enum mk_store_status add_insert(struct mk_backend_conn *c, const struct add_request *q,
	const struct sql_shape *s)
{
	struct mk_value row[32];
	struct mk_write w = { .op = MK_WRITE_PUT, .table = q->t, .row = row, .expect = MK_NEW };

	for (uint32_t i = 0; i < s->columns; i++) {
		const struct mk_column *col = &q->t->columns[i];
		row[i] = i < s->keys ? q->key[i] : i == q->column ? mk_int(q->n) :
			col->flags & MK_COL_NULL ? mk_absent() : col->type == MK_INT ? mk_int(0) :
			col->type == MK_TEXT ? mk_textz("") : mk_blob("", 0);
	}
	return put(c, &w);
}

static enum mk_store_status add_run(struct mk_backend_conn *c, struct request *r)
{
	struct add_request *q = (struct add_request *)r;
	struct sql_shape s = sql_measure(q->t);
	sqlite3_stmt *stmt = stmt_get(c, q->t, STMT_GET, 0, 0);

	if (stmt == NULL)
		return stmt_run(c, NULL);
	stmt_bind(stmt, 1, q->key, s.keys);
	int rc = sqlite3_step(stmt);
	int64_t was = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, (int)q->column) : 0;
	sqlite3_reset(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return status_of(c, rc);
	q->sum = q->n;
	if (rc == SQLITE_DONE)
		return add_insert(c, q, &s);
	if (__builtin_add_overflow(was, q->n, &q->sum))
		return MK_STORE_INVALID;
	struct mk_value v = mk_int(q->sum);
	stmt = stmt_get(c, q->t, STMT_SET, 0, q->column);
	if (stmt != NULL) {
		int at = stmt_bind(stmt, 1, &v, 1);
		stmt_bind(stmt, at, q->key, s.keys);
	}
	return stmt_run(c, stmt);
}

enum mk_store_status op_add(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, uint32_t column, int64_t n, int64_t *out)
{
	struct add_request q = { .r.run = add_run, .r.one_statement = true, .t = t, .key = key,
		.column = column, .n = n };
	enum mk_store_status s = write_submit(c, &q.r);

	if (s == MK_STORE_OK)
		*out = q.sum;
	return s;
}
