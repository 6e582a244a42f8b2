/*
 * pgsql/parts.c - TIME tables are kept in a partition per month
 *
 * A month's partition is made ahead, by the node that comes first (the advisory lock
 * of migrations), or when a row was refused because there is none. There is no DEFAULT
 * partition: a new one could only be made after all in it was read, under a lock.
 * CREATE TABLE and ATTACH, unlike CREATE TABLE ... PARTITION OF, stop no reader and no
 * writer of the table.
 *
 * Bounds are read from the database: an operator may cut partitions in other ways.
 */
#include "pgsql.h"

#include <stdio.h>
#include <time.h>

#define OWNERS     200                 /* looked at in a step                     */
#define ROWS       5000                /* deleted in one transaction              */
#define TIMES      4                   /* ... and so often in a step              */
#define LOCK_WAIT  "200ms"             /* others wait behind one who waits        */

static bool is_parted(const struct mk_table *t)
{
	return (t->flags & MK_TABLE_TIME) != 0;
}

/* ---- months --------------------------------------------------------------------- */

/* Counted from the year 0. */
static int month_at(int64_t wall_ms)
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	return (tm.tm_year + 1900) * 12 + tm.tm_mon;
}

/* What is older than ids are goes to the first month there can be. */
static int month_of(int64_t id)
{
	return month_at(mk_uid_wall_ms(id < 0 ? 0 : id));
}

/* The smallest id of a month. */
static int64_t month_first(int month)
{
	struct tm tm = { .tm_year = month / 12 - 1900, .tm_mon = month % 12, .tm_mday = 1 };

	return mk_uid_at((int64_t)timegm(&tm) * 1000);
}

/* ---- making them ------------------------------------------------------------------ */

/* Of the table that is named by $1. Bounds: word is FROM or TO; NULL for MINVALUE and
 * MAXVALUE. */
#define BOUND(word) "(regexp_match(pg_get_expr(relpartbound, pg_class.oid), '" word \
	" \\(''(-?[0-9]+)''\\)'))[1]::bigint"
#define PARTS "FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON " \
	"pg_class.oid = inhrelid WHERE inhparent = to_regclass(quote_ident($1))"

static void first_is(void *arg, unsigned index, const PGresult *r)
{
	(void)index;
	*(bool *)arg = PQntuples(r) > 0 && *PQgetvalue(r, 0, 0) == 't';
}

/* Whether an id has its place. */
static int part_is_there(struct mk_backend_conn *c, const char *table, int64_t id, bool *out,
	struct mk_diag *d)
{
	char text[24];
	const char *v[] = { table, text };

	snprintf(text, sizeof text, "%lld", (long long)id);
	return schema_run(c, table, "SELECT EXISTS (SELECT 1 " PARTS " AND COALESCE(" BOUND("FROM")
		" <= $2::bigint, true) AND COALESCE($2::bigint < " BOUND("TO") ", true))", 2, v,
		first_is, out, d);
}

static int part_make(struct mk_backend_conn *c, const char *table, int month, struct mk_diag *d)
{
	int64_t first = month_first(month), next = month_first(month + 1);
	char name[80], from[24] = "MINVALUE", to[24] = "MAXVALUE", sql[320];
	bool is_there = false;
	int r = part_is_there(c, table, first, &is_there, d);

	if (r < 0 || is_there)
		return r;
	if (first > 0)
		snprintf(from, sizeof from, "%lld", (long long)first);
	if (next < INT64_MAX)
		snprintf(to, sizeof to, "%lld", (long long)next);
	snprintf(name, sizeof name, "\"%s_%04d_%02d\"", table, month / 12, month % 12 + 1);
	snprintf(sql, sizeof sql, "CREATE TABLE %s (LIKE \"%s\" INCLUDING ALL)", name, table);
	r = schema_run(c, table, sql, 0, NULL, NULL, NULL, d);
	if (r < 0)
		return r;
	snprintf(sql, sizeof sql, "ALTER TABLE \"%s\" ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)",
		table, name, from, to);
	return schema_run(c, table, sql, 0, NULL, NULL, NULL, d);
}

int parts_ahead(struct mk_backend_conn *c, const char *table, struct mk_diag *d)
{
	int month = month_at(mk_wall_ms());
	int r = part_make(c, table, month, d);

	return r < 0 ? r : part_make(c, table, month + 1, d);
}

#define NAMES 64                       /* of tables: more are made when missed    */
struct names { unsigned n; char z[NAMES][64]; };

static void names_read(void *arg, unsigned index, const PGresult *r)
{
	struct names *x = arg;

	(void)index;
	for (int i = 0; i < PQntuples(r) && x->n < NAMES; i++)
		snprintf(x->z[x->n++], sizeof x->z[0], "%s", PQgetvalue(r, i, 0));
}

void parts_renew(struct mk_backend_conn *c)
{
	int month = month_at(mk_wall_ms()), was = atomic_load(&c->db->ahead);
	struct names names = { 0 };

	/* What can't be made now is made when it is missed. */
	if (was == month || !atomic_compare_exchange_strong(&c->db->ahead, &was, month))
		return;
	if (schema_begin(c, NULL) < 0)
		return;
	int r = schema_run(c, "partitions", "SELECT name FROM meerkat_tables WHERE EXISTS (SELECT 1 "
		"FROM pg_catalog.pg_class WHERE oid = to_regclass(quote_ident(name)) AND relkind = 'p')",
		0, NULL, names_read, &names, NULL);
	for (unsigned i = 0; r == 0 && i < names.n; i++)
		r = parts_ahead(c, names.z[i], NULL);
	(void)schema_end(c, r, NULL);
}

/* check_violation is also a constraint's that an operator added: then all partitions are
 * there, nothing is made, and the row is refused again. */
bool parts_missed(struct mk_backend_conn *c, enum mk_store_status s, const struct mk_write *w,
	uint32_t n)
{
	const struct mk_table *last = NULL;
	int month = 0, r = 0;
	bool is_open = false;

	if (s != MK_STORE_INVALID || c->lost || strcmp(c->state, "23514") != 0)
		return false;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct mk_table *t = w[i].table;
		if (w[i].op != MK_WRITE_PUT || !is_parted(t))
			continue;
		int m = month_of(w[i].row[sql_measure(t).parts].as.i);
		if (t == last && m == month)
			continue;
		if (!is_open && schema_begin(c, NULL) < 0)
			return false;
		is_open = true;
		last = t;
		month = m;
		r = part_make(c, t->name, m, NULL);
	}
	return is_open && schema_end(c, r, NULL) == 0;
}

/* ---- retention -------------------------------------------------------------------- */

struct part { char *name; int64_t to, rows; };     /* name: in quotes where it must be */
struct parts { struct mk_arena *arena; struct part *part; uint32_t n; };

static void parts_read(void *arg, unsigned index, const PGresult *r)
{
	struct parts *x = arg;

	(void)index;
	x->n = (uint32_t)PQntuples(r);
	x->part = mk_arena_alloc(x->arena, x->n * sizeof *x->part + 1);
	for (uint32_t i = 0; i < x->n; i++) {
		struct part *p = &x->part[i];
		p->name = mk_arena_strdup(x->arena, PQgetvalue(r, (int)i, 0));
		if (mk_parse_int(mk_strz(PQgetvalue(r, (int)i, 1)), INT64_MIN, INT64_MAX, &p->to) < 0)
			p->to = INT64_MAX;
		if (mk_parse_int(mk_strz(PQgetvalue(r, (int)i, 2)), 0, INT64_MAX, &p->rows) < 0)
			p->rows = 0;
	}
}

/* Those with ids below before, the oldest first. */
static enum mk_store_status parts_find(struct mk_backend_conn *c, const struct mk_table *t,
	int64_t before, struct parts *x)
{
	char text[24];
	const char *v[] = { t->name, text };

	snprintf(text, sizeof text, "%lld", (long long)before);
	if (!trip_begin(c, TRIP_EXPIRE, 1))
		return trip_refused(c);
	trip_text(c, "SELECT quote_ident(relname), " BOUND("TO") ", GREATEST(reltuples, 0)::bigint "
		PARTS " AND COALESCE(" BOUND("FROM") " < $2::bigint, true) ORDER BY 2 NULLS LAST", 2, v);
	return trip_end(c, END_READS, parts_read, x);
}

struct unwanted { struct mk_expiry *e; bool found; };

static void unwanted_look(void *arg, unsigned index, const PGresult *r)
{
	struct unwanted *x = arg;

	if (index != 2)                        /* behind timeout and lock       */
		return;
	for (int i = 0; i < PQntuples(r) && !x->found; i++)
		x->found = !x->e->wanted(x->e->arg, mk_strz(PQgetvalue(r, i, 0)));
}

/*
 * Drops a partition, if all in it is to go. Who waits for its lock stops all that come
 * behind, so the wait is short, and a table that is busy keeps its partition until the
 * next walk (NOTFOUND). Its files are removed when the lock is gone again. CONFLICT: other
 * domains have rows in it.
 */
static enum mk_store_status part_drop(struct mk_backend_conn *c, const struct mk_table *t,
	const struct part *p, struct mk_expiry *e)
{
	struct unwanted x = { .e = e };
	char sql[640];
	const char *domain = t->columns[0].name;

	if (!trip_begin(c, TRIP_EXPIRE, 1))
		return trip_refused(c);
	trip_text(c, "BEGIN", 0, NULL);
	enum mk_store_status s = trip_end(c, END_OPEN, NULL, NULL);
	if (s != MK_STORE_OK)
		return s;
	c->is_open = true;
	if (trip_begin(c, TRIP_EXPIRE, 1)) {
		trip_text(c, "SELECT set_config('lock_timeout', '" LOCK_WAIT "', true)", 0, NULL);
		/* Nobody writes to it until it is known who is in it. */
		snprintf(sql, sizeof sql, "LOCK TABLE %s IN SHARE MODE", p->name);
		trip_text(c, sql, 0, NULL);
		snprintf(sql, sizeof sql, "WITH RECURSIVE d AS ((SELECT \"%s\" AS x FROM %s "
			"ORDER BY 1 LIMIT 1) UNION ALL SELECT (SELECT \"%s\" FROM %s WHERE "
			"\"%s\" > d.x ORDER BY 1 LIMIT 1) FROM d WHERE d.x IS NOT NULL) "
			"SELECT x FROM d WHERE x IS NOT NULL", domain, p->name, domain, p->name,
			domain);
		if (e->wanted != NULL)
			trip_text(c, sql, 0, NULL);
		s = trip_end(c, END_OPEN, unwanted_look, &x);
	}
	if (s == MK_STORE_OK && !x.found && trip_begin(c, TRIP_EXPIRE, 1)) {
		snprintf(sql, sizeof sql, "DROP TABLE %s", p->name);
		trip_text(c, sql, 0, NULL);
		trip_text(c, "COMMIT", 0, NULL);
		s = trip_end(c, END_COMMITS, NULL, NULL);
	}
	bool is_busy = !c->lost && s != MK_STORE_OK &&
		(c->again || strcmp(c->state, "55P03") == 0);
	if (!c->lost && (s != MK_STORE_OK || x.found) && trip_begin(c, TRIP_EXPIRE, 1)) {
		trip_text(c, "ROLLBACK", 0, NULL);
		(void)trip_end(c, END_READS, NULL, NULL);
	}
	c->is_open = false;
	if (s == MK_STORE_OK && !c->lost)
		return x.found ? MK_STORE_CONFLICT : MK_STORE_OK;
	return is_busy ? MK_STORE_NOTFOUND : s == MK_STORE_OK ? MK_STORE_RETRY : s;
}

/* Drops what is older as a whole, and forgets it in x. */
static enum mk_store_status parts_drop(struct mk_backend_conn *c, const struct mk_table *t,
	struct parts *x, struct mk_expiry *e)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < x->n; i++) {
		const struct part *p = &x->part[i];
		enum mk_store_status s = MK_STORE_CONFLICT;
		if (p->to <= e->before)
			s = part_drop(c, t, p, e);
		if (s == MK_STORE_OK) {
			e->rows += (uint64_t)p->rows;
			mk_log(c->db->inst, MK_NOTICE, "partition dropped", "table=%s partition=%s",
				t->name, p->name);
		} else if (s == MK_STORE_CONFLICT) {   /* others have rows in it        */
			x->part[kept++] = *p;
		} else if (s != MK_STORE_NOTFOUND) {
			return s;
		}
	}
	x->n = kept;
	return MK_STORE_OK;
}

struct owners {
	const struct mk_table *table;
	struct mk_arena *arena;
	uint32_t parts, n;
	const struct mk_value **v;     /* n partitions: values of their columns */
};

static void owners_read(void *arg, unsigned index, const PGresult *r)
{
	struct owners *x = arg;

	(void)index;
	x->n = (uint32_t)PQntuples(r);
	x->v = mk_arena_alloc(x->arena, x->n * sizeof *x->v + 1);
	for (uint32_t i = 0; i < x->n; i++) {
		struct mk_value *v = mk_arena_alloc(x->arena, x->parts * sizeof *v);
		for (uint32_t k = 0; k < x->parts; k++)
			v[k] = result_value(r, (int)i, (int)k, x->table->columns[k].type, x->arena);
		x->v[i] = v;
	}
}

static enum mk_store_status owners_find(struct mk_backend_conn *c, const struct mk_table *t,
	int64_t below, const struct mk_value *after, struct owners *x)
{
	struct mk_value id = mk_int(below), limit = mk_int(OWNERS);
	const struct stmt *stmt;
	struct params p = { 0 };

	if (!trip_begin(c, TRIP_EXPIRE, 1) ||
	    (stmt = stmt_get(c, t, STMT_OWNERS, after != NULL ? 1 : 0, 0)) == NULL)
		return trip_refused(c);
	params_add(&p, &id, 1);
	if (after != NULL)
		params_add(&p, after, x->parts);
	params_add(&p, &limit, 1);
	trip_send(c, stmt, &p);
	return trip_end(c, END_READS, owners_read, x);
}

static void deleted_read(void *arg, unsigned index, const PGresult *r)
{
	(void)index;
	*(uint64_t *)arg = result_count(r);
}

/* Up to ROWS of theirs. */
static enum mk_store_status owners_expire(struct mk_backend_conn *c, const struct mk_table *t,
	const struct owners *x, int64_t before, uint64_t *n)
{
	struct mk_value id = mk_int(before), limit = mk_int(ROWS);
	enum mk_store_status s;
	int attempt = 0;

	do {
		const struct stmt *stmt;
		struct params p = { 0 };
		if (!trip_begin(c, TRIP_EXPIRE, 1) ||
		    (stmt = stmt_get(c, t, STMT_EXPIRE, 0, 0)) == NULL)
			return trip_refused(c);
		params_arrays(c, &p, t, x->parts, x->v, x->n);
		params_add(&p, &id, 1);
		params_add(&p, &limit, 1);
		trip_send(c, stmt, &p);
		s = trip_end(c, END_WRITES, deleted_read, n);
	} while (try_again(c, s, attempt++));
	return s;
}

enum mk_store_status op_expire(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_expiry *e, struct mk_arena *a)
{
	struct owners x = { .table = t, .arena = a, .parts = sql_measure(t).parts };
	struct parts parts = { .arena = a };
	enum mk_store_status s = parts_find(c, t, e->before, &parts);
	uint64_t n = ROWS;

	if (s == MK_STORE_OK && e->after == NULL)
		s = parts_drop(c, t, &parts, e);
	if (s != MK_STORE_OK)
		return s;
	e->more = false;
	if (parts.n == 0) {
		e->after = NULL;
		return s;
	}
	/* In what is below this bound every row counts, so that the next owner is found
	 * by the index at once, and partitions above are not looked at. */
	s = owners_find(c, t, parts.part[parts.n - 1].to, e->after, &x);
	if (s != MK_STORE_OK)
		return s;
	uint32_t found = x.n;
	const struct mk_value *last = found > 0 ? x.v[found - 1] : NULL;
	x.n = 0;
	for (uint32_t i = 0; i < found; i++)
		if (e->wanted == NULL || e->wanted(e->arg, mk_value_str(&x.v[i][0])))
			x.v[x.n++] = x.v[i];
	for (int k = 0; k < TIMES && x.n > 0 && n == ROWS; k++) {
		s = owners_expire(c, t, &x, e->before, &n);
		if (s != MK_STORE_OK)
			return s;
		e->rows += n;
	}
	if (x.n > 0 && n == ROWS) {
		e->more = true;                /* these again                           */
		return s;
	}
	e->more = found == OWNERS;
	e->after = e->more ? last : NULL;
	return s;
}
