/*
 * pgsql/ops.c - the operations of meerkat/backend.h
 *
 * Each is one round trip: the statements between trip_begin and trip_end are
 * one transaction. Only a batch with a condition on a version takes two, as
 * whether it may be committed is known after it ran.
 */
#include "pgsql.h"

#include <endian.h>
#include <stdio.h>
#include <unistd.h>

#define ATTEMPTS   6                   /* of a transaction that met a deadlock     */
#define PATIENCE   6                   /* times statement_timeout: whole partitions */
#define DROP_ROWS  5000                /* deleted in one transaction               */
#define ARRAY_BYTES (16 << 20)         /* of the rows of one INSERT, about         */
#define MANY       32                  /* rows for which it matters what a row costs */

/* ---- arrays ------------------------------------------------------------------------ */

static void bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (b->cap - b->n < n) {
		b->cap = (b->n + n) * 2;
		b->p = mk_realloc(b->p, b->cap);
	}
	if (n != 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void bytes_u32(struct bytes *b, uint32_t v)
{
	v = htobe32(v);
	bytes_add(b, &v, sizeof v);
}

/* An array of one dimension, as the server reads it in binary. */
static void array_begin(struct bytes *b, uint16_t type, uint32_t n)
{
	static const uint32_t oid[] = { 0, 25, 20, 17 };       /* text, int8, bytea */

	b->n = 0;
	bytes_u32(b, 1);               /* dimensions                            */
	bytes_u32(b, 1);               /* may hold NULL                         */
	bytes_u32(b, oid[type]);
	bytes_u32(b, n);
	bytes_u32(b, 1);               /* number of the first                   */
}

static void array_add(struct bytes *b, const struct mk_value *v)
{
	if (v->type == MK_INT) {
		uint64_t be = htobe64((uint64_t)v->as.i);
		bytes_u32(b, sizeof be);
		bytes_add(b, &be, sizeof be);
	} else if (v->type != 0) {
		bytes_u32(b, (uint32_t)v->as.b.n);
		bytes_add(b, v->as.b.p, v->as.b.n);
	} else {
		bytes_u32(b, UINT32_MAX);
	}
}

void params_arrays(struct mk_backend_conn *c, struct params *p, const struct mk_table *t,
	uint32_t columns, const struct mk_value *const *rows, uint32_t n)
{
	for (uint32_t k = 0; k < columns; k++) {
		array_begin(&c->column[k], t->columns[k].type, n);
		for (uint32_t i = 0; i < n; i++)
			array_add(&c->column[k], &rows[i][k]);
		params_bytes(p, &c->column[k]);
	}
}

/* ---- reading --------------------------------------------------------------------- */

struct reading {
	const struct mk_table *table;
	struct mk_arena *arena;
	uint32_t columns, limit;
	struct mk_rows rows;
	struct mk_row *many;
	uint64_t count;
};

/* Row r, whose columns begin with field first. */
static void row_read(const struct reading *x, const PGresult *res, int r, int first,
	struct mk_row *out)
{
	struct mk_value *v = mk_arena_alloc(x->arena, x->columns * sizeof *v);

	for (uint32_t i = 0; i < x->columns; i++)
		v[i] = result_value(res, r, first + (int)i, x->table->columns[i].type, x->arena);
	out->v = v;
	out->n = x->columns;
	out->version = (uint64_t)result_int(res, r, first + (int)x->columns);
}

/* The row after limit only tells that there are more. */
static void rows_read(void *arg, unsigned index, const PGresult *res)
{
	struct reading *x = arg;
	uint32_t n = (uint32_t)PQntuples(res);

	(void)index;
	x->rows.more = n > x->limit;
	x->rows.n = n > x->limit ? x->limit : n;
	if (x->rows.n == 0)
		return;
	struct mk_row *row = mk_arena_alloc(x->arena, x->rows.n * sizeof *row);
	for (uint32_t i = 0; i < x->rows.n; i++)
		row_read(x, res, (int)i, 0, &row[i]);
	x->rows.row = row;
}

enum mk_store_status op_get(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, struct mk_arena *a, struct mk_row *out)
{
	struct sql_shape s = sql_measure(t);
	struct reading x = { .table = t, .arena = a, .columns = s.columns, .limit = 1 };
	struct params p = { 0 };
	const struct stmt *stmt;

	if (!trip_begin(c, TRIP_GET, 1) || (stmt = stmt_get(c, t, STMT_GET, 0, 0)) == NULL)
		return trip_refused(c);
	params_add(&p, key, s.keys);
	trip_send(c, stmt, &p);
	enum mk_store_status status = trip_end(c, END_READS, rows_read, &x);
	if (status != MK_STORE_OK)
		return status;
	if (x.rows.n == 0)
		return MK_STORE_NOTFOUND;
	*out = x.rows.row[0];
	return MK_STORE_OK;
}

static void many_read(void *arg, unsigned index, const PGresult *res)
{
	struct reading *x = arg;

	(void)index;
	for (int r = 0; r < PQntuples(res); r++) {
		int64_t number = result_int(res, r, 0);
		if (number >= 1 && number <= x->limit)
			row_read(x, res, r, 1, &x->many[number - 1]);
	}
}

enum mk_store_status op_get_many(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *const *keys, uint32_t n, struct mk_arena *a, struct mk_row *out)
{
	struct sql_shape s = sql_measure(t);
	struct reading x = { .table = t, .arena = a, .columns = s.columns, .limit = n, .many = out };
	struct params p = { 0 };
	const struct stmt *stmt;

	memset(out, 0, n * sizeof *out);
	if (!trip_begin(c, TRIP_GET, 1) || (stmt = stmt_get(c, t, STMT_MANY, 0, 0)) == NULL)
		return trip_refused(c);
	params_arrays(c, &p, t, s.keys, keys, n);
	trip_send(c, stmt, &p);
	return trip_end(c, END_READS, many_read, &x);
}

/* What makes a statement of a range. */
struct bounds { uint32_t bits, equals; };

static struct bounds bounds_of(const struct mk_range *r, const struct sql_shape *s, bool limited)
{
	struct bounds b = { 0 };

	b.bits = (r->after != NULL ? SQL_AFTER : 0) | (r->before != NULL ? SQL_BEFORE : 0) |
		(r->search != NULL ? SQL_SEARCH : 0) | (r->backward ? SQL_BACKWARD : 0) |
		(limited ? SQL_LIMIT : 0);
	for (uint32_t i = 0; r->equals != NULL && i < s->columns; i++)
		if (r->equals[i].type != 0)
			b.equals |= UINT32_C(1) << i;
	return b;
}

static void bounds_add(struct params *p, const struct sql_shape *s,
	const struct mk_value *partition, const struct mk_range *r, const struct bounds *b,
	int64_t limit)
{
	struct mk_value v;

	params_add(p, partition, s->parts);
	if (b->bits & SQL_AFTER)
		params_add(p, r->after, s->keys - s->parts);
	if (b->bits & SQL_BEFORE)
		params_add(p, r->before, s->keys - s->parts);
	for (uint32_t i = 0; i < s->columns; i++)
		if (b->equals & (UINT32_C(1) << i))
			params_add(p, &r->equals[i], 1);
	if (b->bits & SQL_SEARCH) {
		v = mk_textz(r->search);
		params_add(p, &v, 1);
	}
	if (b->bits & SQL_LIMIT) {
		v = mk_int(limit);
		params_add(p, &v, 1);
	}
}

enum mk_store_status op_query(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, true);
	struct reading x = { .table = t, .arena = a, .columns = s.columns, .limit = r->limit };
	struct params p = { 0 };
	const struct stmt *stmt;

	if (!trip_begin(c, TRIP_QUERY, 1) ||
	    (stmt = stmt_get(c, t, STMT_ROWS, b.bits, b.equals)) == NULL)
		return trip_refused(c);
	bounds_add(&p, &s, partition, r, &b, (int64_t)r->limit + 1);
	trip_send(c, stmt, &p);
	enum mk_store_status status = trip_end(c, END_READS, rows_read, &x);
	if (status == MK_STORE_OK)
		*out = x.rows;
	return status;
}

static void count_read(void *arg, unsigned index, const PGresult *res)
{
	struct reading *x = arg;

	(void)index;
	x->count = (uint64_t)result_int(res, 0, 0);
}

enum mk_store_status op_count(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, r->limit != 0);
	struct reading x = { 0 };
	struct params p = { 0 };
	const struct stmt *stmt;

	b.bits &= ~(uint32_t)SQL_BACKWARD;
	if (!trip_begin(c, TRIP_COUNT, 1) ||
	    (stmt = stmt_get(c, t, STMT_COUNT, b.bits, b.equals)) == NULL)
		return trip_refused(c);
	bounds_add(&p, &s, partition, r, &b, r->limit);
	trip_send(c, stmt, &p);
	enum mk_store_status status = trip_end(c, END_READS, count_read, &x);
	if (status == MK_STORE_OK)
		*out = x.count;
	return status;
}

enum mk_store_status op_scan(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit, struct mk_arena *a,
	struct mk_rows *out)
{
	struct sql_shape s = sql_measure(t);
	uint32_t first = domain.n != 0 ? 1 : 0;
	struct mk_value d = mk_text(domain), l = mk_int((int64_t)limit + 1);
	struct reading x = { .table = t, .arena = a, .columns = s.columns, .limit = limit };
	struct params p = { 0 };
	const struct stmt *stmt;

	if (first == 1 && after != NULL && s.keys == 1) {
		/* One row is all there is of a domain: nothing follows it. */
		*out = (struct mk_rows){ 0 };
		return MK_STORE_OK;
	}
	if (!trip_begin(c, TRIP_SCAN, 1) ||
	    (stmt = stmt_get(c, t, STMT_SCAN, first | (after != NULL ? 2 : 0), 0)) == NULL)
		return trip_refused(c);
	if (first == 1)
		params_add(&p, &d, 1);
	if (after != NULL)
		params_add(&p, after + first, s.keys - first);
	params_add(&p, &l, 1);
	trip_send(c, stmt, &p);
	enum mk_store_status status = trip_end(c, END_READS, rows_read, &x);
	if (status == MK_STORE_OK)
		*out = x.rows;
	return status;
}

enum mk_store_status op_ping(struct mk_backend_conn *c)
{
	if (!trip_begin(c, TRIP_OTHER, 1))
		return trip_refused(c);
	trip_text(c, "SELECT count(*) FROM meerkat_tables", 0, NULL);
	return trip_end(c, END_READS, NULL, NULL);
}

/* ---- writing ---------------------------------------------------------------------- */

static bool has_condition(const struct mk_write *w)
{
	return w->op == MK_WRITE_PUT && w->expect != MK_ANY && w->expect != MK_NEW;
}

static const struct stmt *stmt_of(struct mk_backend_conn *c, const struct mk_write *w)
{
	return stmt_get(c, w->table, w->op == MK_WRITE_DELETE ? STMT_DELETE :
		has_condition(w) ? STMT_UPDATE : w->expect == MK_NEW ? STMT_INSERT : STMT_UPSERT,
		0, 0);
}

static void write_send(struct mk_backend_conn *c, const struct mk_write *w)
{
	struct sql_shape s = sql_measure(w->table);
	struct mk_value version = mk_int(has_condition(w) ? (int64_t)w->expect : mk_uid());
	struct params p = { 0 };

	if (w->op == MK_WRITE_DELETE) {
		params_add(&p, w->row, s.keys);
	} else {
		if (has_condition(w)) {
			params_add(&p, w->row + s.keys, s.columns - s.keys);
			params_add(&p, w->row, s.keys);
		} else {
			params_add(&p, w->row, s.columns);
		}
		params_add(&p, &version, 1);
	}
	trip_send(c, stmt_of(c, w), &p);
}

/* What the answers of a batch say. */
struct writing {
	const struct mk_write *w;
	uint32_t n, failed;            /* failed: n, or the one whose condition
	                                * didn't hold                           */
	unsigned before;               /* statements in front of it             */
	bool is_missing;               /* a delete found nothing                */
};

static void write_look(void *arg, unsigned index, const PGresult *res)
{
	struct writing *x = arg;
	uint32_t i = index - x->before;

	if (index < x->before || result_count(res) != 0)
		return;
	if (x->w[i].op == MK_WRITE_DELETE)
		x->is_missing = true;
	else if (has_condition(&x->w[i]) && x->failed == x->n)
		x->failed = i;
}

static enum mk_store_status end_open(struct mk_backend_conn *c, const char *how,
	enum trip_end end)
{
	c->sent = 0;
	trip_text(c, how, 0, NULL);
	return trip_end(c, end, NULL, NULL);
}

static enum mk_store_status write_once(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out)
{
	struct writing x = { .w = w, .n = n, .failed = n };
	bool judged = false;           /* to be looked at before it is committed */

	if (!trip_begin(c, TRIP_WRITE, 1))
		return trip_refused(c);
	for (uint32_t i = 0; i < n; i++) {
		if (stmt_of(c, &w[i]) == NULL)
			return trip_refused(c);
		judged = judged || (n > 1 && has_condition(&w[i]));
	}
	if (judged) {
		trip_text(c, "BEGIN", 0, NULL);
		x.before = 1;
	}
	for (uint32_t i = 0; i < n; i++)
		write_send(c, &w[i]);
	enum mk_store_status s = trip_end(c, judged ? END_OPEN : END_WRITES, write_look, &x);
	if (s == MK_STORE_CONFLICT)
		*failed_out = c->failed - x.before;
	if (judged && !c->lost) {
		bool again = c->again;
		bool keep = s == MK_STORE_OK && x.failed == n;
		enum mk_store_status e = keep ? end_open(c, "COMMIT", END_COMMITS)
		                              : end_open(c, "ROLLBACK", END_READS);
		c->again = c->again || again;
		if (keep || e != MK_STORE_OK)
			s = e;
	}
	if (s != MK_STORE_OK)
		return s;
	if (x.failed < n) {
		*failed_out = x.failed;
		return MK_STORE_CONFLICT;
	}
	return n == 1 && x.is_missing ? MK_STORE_NOTFOUND : MK_STORE_OK;
}

/* True, after a moment: s came of two transactions that stood in each other's
 * way. The moment is random, or they might meet again. */
bool try_again(struct mk_backend_conn *c, enum mk_store_status s, int attempt)
{
	uint16_t dice;

	if (s != MK_STORE_RETRY || !c->again || c->lost || attempt + 1 >= ATTEMPTS)
		return false;
	if (c->db->inst != NULL)
		mk_metric_add(c->db->inst, METRIC_REPEATS, 1);
	mk_random(&dice, sizeof dice);
	usleep((unsigned)(dice % 2000) << attempt);
	return true;
}

enum mk_store_status op_write(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out)
{
	enum mk_store_status s;
	int attempt = 0;

	do
		s = write_once(c, w, n, failed_out);
	while (try_again(c, s, attempt++) || (attempt < ATTEMPTS && parts_missed(c, s, w, n)));
	return s;
}

static void written(void *arg, unsigned index, const PGresult *res)
{
	(void)index;
	*(uint64_t *)arg = result_count(res);
}

/* ---- write-behind ------------------------------------------------------------------
 *
 * ON CONFLICT makes the server look for each key first and write each row twice to
 * its log: two thirds more CPU than a plain INSERT. Only what is replayed, or
 * repeated after an uncertain end, is there already: so a connection begins with ON
 * CONFLICT, and writes many rows of a table plainly after CAREFUL appends. If one of
 * them is there the transaction is run again with ON CONFLICT, and all begins anew.
 */

static size_t row_bytes(const struct mk_write *w, uint32_t columns)
{
	size_t n = 0;

	for (uint32_t i = 0; i < columns; i++)
		n += mk_value_str(&w->row[i]).n + 12;
	return n;
}

/* Sends rows from *at on that are of t, as many as one statement should hold;
 * *at becomes the first that is left. */
static void append_send(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_write *w, uint32_t n, uint32_t *at)
{
	struct sql_shape s = sql_measure(t);
	struct params p = { 0 };
	uint32_t end = *at, rows = 0;

	for (size_t bytes = 0; end < n && bytes < ARRAY_BYTES; end++)
		if (w[end].table == t) {
			bytes += row_bytes(&w[end], s.columns);
			rows++;
		}
	for (uint32_t k = 0; k <= s.columns; k++)
		array_begin(&c->column[k], k < s.columns ? t->columns[k].type : MK_INT, rows);
	for (uint32_t i = *at; i < end; i++) {
		if (w[i].table != t)
			continue;
		struct mk_value version = mk_int(mk_uid());
		for (uint32_t k = 0; k < s.columns; k++)
			array_add(&c->column[k], &w[i].row[k]);
		array_add(&c->column[s.columns], &version);
	}
	for (uint32_t k = 0; k <= s.columns; k++)
		params_bytes(&p, &c->column[k]);
	struct stmt *any = stmt_get(c, t, STMT_APPEND, 0, 0);
	if (rows > 0)
		trip_send(c, any->careful != 0 || rows < MANY ? any :
			stmt_get(c, t, STMT_APPEND, 1, 0), &p);
	any->end = c->sent;
	any->careful -= any->careful != 0;
	*at = end;
}

/* Whether a row before i is of the same table. */
static bool was_seen(const struct mk_write *w, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (w[k].table == w[i].table)
			return true;
	return false;
}

static enum mk_store_status append_once(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n)
{
	if (!trip_begin(c, TRIP_APPEND, 1))
		return trip_refused(c);
	for (uint32_t i = 0; i < n; i++)
		if ((i == 0 || w[i].table != w[i - 1].table) &&
		    (stmt_get(c, w[i].table, STMT_APPEND, 0, 0) == NULL ||
		     stmt_get(c, w[i].table, STMT_APPEND, 1, 0) == NULL))
			return trip_refused(c);
	for (uint32_t i = 0; i < n; i++)
		if (i == 0 || (w[i].table != w[i - 1].table && !was_seen(w, i)))
			for (uint32_t at = i; at < n; )
				append_send(c, w[i].table, w, n, &at);
	return trip_end(c, END_WRITES, NULL, NULL);
}

/* The table of the statement that met a conflict is to be written with ON CONFLICT for
 * a while. False: it was already. */
static bool be_careful(struct mk_backend_conn *c, const struct mk_write *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (i != 0 && (w[i].table == w[i - 1].table || was_seen(w, i)))
			continue;
		struct stmt *s = stmt_get(c, w[i].table, STMT_APPEND, 0, 0);
		if (s != NULL && s->end > c->failed) {
			bool was = s->careful != 0;
			s->careful = CAREFUL;
			return !was;
		}
	}
	return false;
}

enum mk_store_status op_append(struct mk_backend_conn *c, const struct mk_write *w, uint32_t n)
{
	enum mk_store_status s;
	int attempt = 0;

	parts_renew(c);
	do
		s = append_once(c, w, n);
	while ((s == MK_STORE_CONFLICT && be_careful(c, w, n)) || try_again(c, s, attempt++) ||
	       (attempt < ATTEMPTS && parts_missed(c, s, w, n)));
	for (size_t i = 0; i < sizeof c->column / sizeof *c->column; i++)
		if (c->column[i].cap > ARRAY_BYTES / 16) {
			mk_free(c->column[i].p);
			c->column[i] = (struct bytes){ 0 };
		}
	return s;
}

/* ---- ranges ------------------------------------------------------------------------ */

/* One number for a partition, so that those who take from it take turns. */
static int64_t partition_hash(const struct mk_table *t, const struct mk_value *partition,
	uint32_t parts)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *p = t->name; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	for (uint32_t i = 0; i < parts; i++) {
		struct mk_str s = mk_value_str(&partition[i]);
		if (partition[i].type == MK_INT)
			s = (struct mk_str){ (const char *)&partition[i].as.i, sizeof(int64_t) };
		h = (h ^ 0x100) * UINT64_C(0x100000001b3);
		for (size_t k = 0; k < s.n; k++)
			h = (h ^ (unsigned char)s.p[k]) * UINT64_C(0x100000001b3);
	}
	return (int64_t)h;
}

/* Of the three statements of a take: the lock, the rows, one that is left. */
static void take_read(void *arg, unsigned index, const PGresult *res)
{
	struct reading *x = arg;

	if (index == 1)
		rows_read(arg, index, res);
	else if (index == 2)
		x->rows.more = result_int(res, 0, 0) != 0;
}

static enum mk_store_status take_once(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct reading *x)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, true), all = bounds_of(r, &s, false);
	struct params p = { 0 }, left = { 0 };
	const struct stmt *take, *rest;
	char hash[24];
	const char *v[] = { hash };

	all.bits &= ~(uint32_t)SQL_BACKWARD;
	if (!trip_begin(c, TRIP_TAKE, 1) ||
	    (take = stmt_get(c, t, STMT_TAKE, b.bits, b.equals)) == NULL ||
	    (rest = stmt_get(c, t, STMT_COUNT, all.bits, all.equals)) == NULL)
		return trip_refused(c);
	/* The lock is a statement of its own: the next one's snapshot is taken
	 * after it, so that what another took is seen to be gone. */
	snprintf(hash, sizeof hash, "%lld", (long long)partition_hash(t, partition, s.parts));
	trip_text(c, "SELECT pg_advisory_xact_lock($1::bigint)", 1, v);
	bounds_add(&p, &s, partition, r, &b, r->limit);
	trip_send(c, take, &p);
	bounds_add(&left, &s, partition, r, &all, 0);
	trip_send(c, rest, &left);
	return trip_end(c, END_WRITES, take_read, x);
}

enum mk_store_status op_take(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct sql_shape s = sql_measure(t);
	struct reading x;
	enum mk_store_status status;
	int attempt = 0;

	do {
		x = (struct reading){ .table = t, .arena = a, .columns = s.columns,
			.limit = r->limit };
		status = take_once(c, t, partition, r, &x);
	} while (try_again(c, status, attempt++));
	if (status == MK_STORE_OK)
		*out = x.rows;
	return status;
}

/* More time for the transaction: it may be about a million rows. */
static void be_patient(struct mk_backend_conn *c)
{
	char ms[24];
	const char *v[] = { ms };

	snprintf(ms, sizeof ms, "%lld", (long long)(c->db->conf->statement_timeout * PATIENCE));
	trip_text(c, "SELECT set_config('statement_timeout', $1, true)", 1, v);
}

static enum mk_store_status erase_once(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct sql_shape s = sql_measure(t);
	struct bounds b = bounds_of(r, &s, r->limit != 0);
	struct params p = { 0 };
	const struct stmt *stmt;
	uint64_t n = 0;

	if (r->limit == 0)
		b.bits &= ~(uint32_t)SQL_BACKWARD;
	if (!trip_begin(c, TRIP_ERASE, r->limit == 0 ? PATIENCE : 1) ||
	    (stmt = stmt_get(c, t, STMT_ERASE, b.bits, b.equals)) == NULL)
		return trip_refused(c);
	if (r->limit == 0)
		be_patient(c);
	bounds_add(&p, &s, partition, r, &b, r->limit);
	trip_send(c, stmt, &p);
	enum mk_store_status status = trip_end(c, END_WRITES, written, &n);
	if (status == MK_STORE_OK)
		*out = n;
	return status;
}

enum mk_store_status op_delete_range(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	enum mk_store_status s;
	int attempt = 0;

	do
		s = erase_once(c, t, partition, r, out);
	while (try_again(c, s, attempt++));
	return s;
}

/* A transaction per DROP_ROWS: a domain may have any number of rows. */
enum mk_store_status op_drop_domain(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, uint64_t *out)
{
	struct mk_value d = mk_text(domain), limit = mk_int(DROP_ROWS);
	uint64_t n, sum = 0;
	int attempt = 0;

	do {
		struct params p = { 0 };
		const struct stmt *stmt;
		n = 0;
		if (!trip_begin(c, TRIP_DROP, 1) ||
		    (stmt = stmt_get(c, t, STMT_DROP_SOME, 0, 0)) == NULL)
			return trip_refused(c);
		params_add(&p, &d, 1);
		params_add(&p, &limit, 1);
		trip_send(c, stmt, &p);
		enum mk_store_status s = trip_end(c, END_WRITES, written, &n);
		if (s != MK_STORE_OK) {
			n = DROP_ROWS;
			if (try_again(c, s, attempt++))
				continue;
			return s;
		}
		attempt = 0;
		sum += n;
	} while (n == DROP_ROWS);
	*out = sum;
	return MK_STORE_OK;
}

/* ---- sums --------------------------------------------------------------------------- */

static enum mk_store_status add_once(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *row, uint32_t column, struct reading *x)
{
	struct sql_shape s = sql_measure(t);
	struct mk_value version = mk_int(mk_uid());
	struct params p = { 0 };
	const struct stmt *stmt;

	if (!trip_begin(c, TRIP_ADD, 1) ||
	    (stmt = stmt_get(c, t, STMT_SUM, 0, column)) == NULL)
		return trip_refused(c);
	params_add(&p, row, s.columns);
	params_add(&p, &version, 1);
	trip_send(c, stmt, &p);
	return trip_end(c, END_WRITES, count_read, x);
}

enum mk_store_status op_add(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, uint32_t column, int64_t n, int64_t *out)
{
	struct sql_shape s = sql_measure(t);
	struct mk_value row[32];       /* as it is if it has to be made         */
	struct reading x = { 0 };
	enum mk_store_status status;
	int attempt = 0;

	for (uint32_t i = 0; i < s.columns; i++) {
		const struct mk_column *col = &t->columns[i];
		row[i] = i < s.keys ? key[i] : i == column ? mk_int(n) :
			col->flags & MK_COL_NULL ? mk_absent() : col->type == MK_INT ? mk_int(0) :
			col->type == MK_TEXT ? mk_textz("") : mk_blob("", 0);
	}
	const struct mk_write w = { .op = MK_WRITE_PUT, .table = t, .row = row };
	do
		status = add_once(c, t, row, column, &x);
	while (try_again(c, status, attempt++) ||
	       (attempt < ATTEMPTS && parts_missed(c, status, &w, 1)));
	if (status == MK_STORE_OK)
		*out = (int64_t)x.count;
	return status;
}
