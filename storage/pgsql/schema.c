/*
 * pgsql/schema.c - tables are created and migrated
 *
 * What the schema holds is recorded in meerkat_tables; a table whose record
 * equals its declaration costs one lookup. All of it is one transaction, under
 * an advisory lock: of nodes that start together one migrates, and the others
 * then find it done.
 */
#include "pgsql.h"

#include <stdio.h>

/* Whole minutes: an index of a large table takes its time. */
#define PATIENCE 360

/* What separates words: ASCII but letters and digits, and the most common of
 * Unicode's punctuation. A regular expression: translate() takes ten times as
 * long. */
#define MARKS "[\\u0001-\\u002f\\u003a-\\u0040\\u005b-\\u0060\\u007b-\\u00a1\\u00ab\\u00bb\\u00bf" \
	"\\u2010-\\u2027\\u2030-\\u205e\\u3001-\\u3003\\u300c\\u300d\\uff01\\uff0c\\uff1f]+"

/*
 * The words of a text: an array in lower case. A lexeme has 2046 bytes at most,
 * so runs of more than 500 characters are cut, for a search too; it has 1 MB,
 * so a text counts up to 250,000 characters.
 */
static void words_function(struct sql_gen *g, const char *collation)
{
	sql_add(g, "CREATE FUNCTION meerkat_words(t text) RETURNS text[] LANGUAGE sql IMMUTABLE "
		"PARALLEL SAFE AS $f$SELECT array_remove(string_to_array(regexp_replace(lower((CASE WHEN "
		"octet_length(t) < 500 THEN t ELSE regexp_replace(left(t, 250000), "
		"'([^ ]{250}[^ ]{250})', '\\1 ', 'g') END) COLLATE ");
	sql_add(g, collation);
	sql_add(g, ") COLLATE \"C\", '" MARKS "', ' ', 'g'), ' '), '')$f$");
}

static void search(struct sql_gen *g, const struct mk_table *t)
{
	(void)t;
	/* Words hold neither quotes nor backslashes. */
	sql_add(g, "_words @@ ('''' || array_to_string(meerkat_words(");
	sql_param(g);
	sql_add(g, "), ''' & ''') || '''')::tsquery");
}

static void search_columns(struct sql_gen *g, const struct mk_table *t)
{
	const char *between = "";

	sql_add(g, "_words tsvector NOT NULL GENERATED ALWAYS AS (array_to_tsvector(meerkat_words(");
	for (const struct mk_column *c = t->columns; c->name != NULL; c++)
		if (c->flags & MK_COL_SEARCH) {
			sql_add(g, between);
			sql_add(g, "COALESCE(");
			sql_name(g, c->name, NULL);
			sql_add(g, ", '')");
			between = " || ' ' || ";
		}
	sql_add(g, "))) STORED, ");
}

static const char *const array_types[] = { "", "text[]", "bigint[]", "bytea[]" };

const struct sql_dialect pgsql_dialect = {
	.quote = '"',
	.numbered = true,
	.type = { "", "TEXT", "BIGINT", "BYTEA" },
	/* Keys are ordered by their bytes, whatever language the database has. */
	.key_type = { "", "TEXT COLLATE \"C\"", "BIGINT", "BYTEA" },
	.table_tail = "",
	.append_tail = " ON CONFLICT DO NOTHING",
	.array_type = array_types,
	.search = search,
	.search_columns = search_columns,
	.by_time = true,
	.name_max = 63,
};

/* ---- one statement at a time ---------------------------------------------------------- */

int schema_run(struct mk_backend_conn *c, const char *what, const char *sql, int n,
	const char *const *v, trip_fn *fn, void *arg, struct mk_diag *d)
{
	if (trip_begin(c, TRIP_OTHER, PATIENCE)) {
		trip_text(c, sql, n, v);
		if (trip_end(c, END_OPEN, fn, arg) == MK_STORE_OK)
			return 0;
	}
	if (d != NULL)
		mk_diag_add(d, "%s: %s: %s", c->db->conf->host, what, c->reason);
	return -MK_EIO;
}

static int run_gen(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	return schema_run(c, t->name, c->gen.p, 0, NULL, NULL, NULL, d);
}

static void first_field(void *arg, unsigned index, const PGresult *r)
{
	char *out = arg;               /* of 64 bytes                           */

	(void)index;
	snprintf(out, 64, "%s", PQntuples(r) > 0 && !PQgetisnull(r, 0, 0)
		? PQgetvalue(r, 0, 0) : "");
}

/* ---- records ------------------------------------------------------------------------ */

struct record {
	struct mk_arena *arena;
	bool found;
	int64_t version;
	struct mk_str columns;
};

static void record_got(void *arg, unsigned index, const PGresult *r)
{
	struct record *x = arg;

	(void)index;
	x->found = PQntuples(r) > 0;
	if (!x->found)
		return;
	if (mk_parse_int(mk_strz(PQgetvalue(r, 0, 0)), 0, INT64_MAX, &x->version) < 0)
		x->version = INT64_MAX;
	x->columns = mk_strz(mk_arena_strdup(x->arena, PQgetvalue(r, 0, 1)));
}

static int record_write(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	char version[16];
	struct sql_gen g = { 0 };

	snprintf(version, sizeof version, "%u", t->version);
	sql_begin(&g, &pgsql_dialect);
	sql_describe(&g, t);
	const char *v[] = { t->name, version, g.p };
	int r = schema_run(c, t->name, "INSERT INTO meerkat_tables VALUES ($1, $2::bigint, $3) "
		"ON CONFLICT (name) DO UPDATE SET version = excluded.version, "
		"columns = excluded.columns", 3, v, NULL, NULL, d);
	sql_fini(&g);
	return r;
}

/* ---- tables ------------------------------------------------------------------------- */

/* The function that finds words, and the index of what it found. */
static int search_make(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	char has[64] = "", collation[64] = "";
	int r = schema_run(c, t->name, "SELECT to_regprocedure('meerkat_words(text)')", 0, NULL,
		first_field, has, d);

	if (r < 0 || has[0] != '\0')
		return r;
	/* Case is folded in all languages where the server was built with ICU,
	 * else as the database's own locale does it. */
	r = schema_run(c, t->name, "SELECT quote_ident(collname) FROM pg_catalog.pg_collation "
		"WHERE collname = 'und-x-icu' AND collnamespace = 'pg_catalog'::regnamespace", 0,
		NULL, first_field, collation, d);
	if (r < 0)
		return r;
	sql_begin(&c->gen, &pgsql_dialect);
	words_function(&c->gen, collation[0] != '\0' ? collation : "\"default\"");
	return run_gen(c, t, d);
}

static int create(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	struct sql_shape s = sql_measure(t);
	int r = s.has_search ? search_make(c, t, d) : 0;

	if (r == 0) {
		sql_begin(&c->gen, &pgsql_dialect);
		sql_create_table(&c->gen, t);
		r = run_gen(c, t, d);
	}
	for (uint32_t i = 0; r == 0 && i < s.columns; i++)
		if (t->columns[i].flags & (MK_COL_INDEX | MK_COL_UNIQUE)) {
			sql_begin(&c->gen, &pgsql_dialect);
			sql_create_index(&c->gen, t, i);
			r = run_gen(c, t, d);
		}
	if (r == 0 && s.has_search) {
		sql_begin(&c->gen, &pgsql_dialect);
		sql_add(&c->gen, "CREATE INDEX ");
		/* A declared name doesn't begin with an underscore. */
		sql_name(&c->gen, t->name, "._words");
		sql_add(&c->gen, " ON ");
		sql_name(&c->gen, t->name, NULL);
		sql_add(&c->gen, " USING gin (_words)");
		r = run_gen(c, t, d);
	}
	if (r == 0 && (t->flags & MK_TABLE_TIME))
		r = parts_ahead(c, t->name, d);
	return r == 0 ? record_write(c, t, d) : r;
}

/* A TIME table has partitions, and no other has: what an older version made otherwise
 * can't be changed on the way. */
static int kind_check(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	bool is_time = (t->flags & MK_TABLE_TIME) != 0;
	const char *v[] = { t->name };
	char kind[64] = "";
	int r = schema_run(c, t->name, "SELECT relkind FROM pg_catalog.pg_class WHERE oid = "
		"to_regclass(quote_ident($1))", 1, v, first_field, kind, d);

	if (r < 0 || kind[0] == '\0' || (strcmp(kind, "p") == 0) == is_time)
		return r;
	mk_diag_add(d, is_time
		? "table %s: is not partitioned by time in the database, as is declared"
		: "table %s: is partitioned in the database, but not declared so", t->name);
	return -MK_EINVAL;
}

static int change(struct mk_backend_conn *c, const struct mk_table *t,
	const struct sql_change *what, struct mk_diag *d)
{
	static void (*const make[])(struct sql_gen *, const struct mk_table *, uint32_t) = {
		sql_drop_index, sql_add_column, sql_create_index };
	const uint32_t columns[] = { what->unindex, what->add, what->index };
	struct sql_shape s = sql_measure(t);
	int r = 0;

	for (unsigned k = 0; k < 3; k++)
		for (uint32_t i = 0; r == 0 && i < s.columns; i++)
			if (columns[k] & (UINT32_C(1) << i)) {
				sql_begin(&c->gen, &pgsql_dialect);
				make[k](&c->gen, t, i);
				r = run_gen(c, t, d);
			}
	return r == 0 ? record_write(c, t, d) : r;
}

static int table_apply(struct mk_backend_conn *c, const struct mk_table *t, bool recorded,
	bool dry_run, struct mk_arena *a, struct mk_diag *d)
{
	struct sql_change what;
	struct record x = { .arena = a };
	const char *v[] = { t->name };
	int r = 0;

	if (strncmp(t->name, "pg_", 3) == 0 || strncmp(t->name, "meerkat_", 8) == 0) {
		mk_diag_add(d, "table %s: names that begin with pg_ or meerkat_ are taken", t->name);
		return -MK_EINVAL;
	}
	if (recorded)
		r = schema_run(c, "meerkat_tables", "SELECT version, columns FROM meerkat_tables "
			"WHERE name = $1", 1, v, record_got, &x, d);
	if (r < 0)
		return r;
	if (!x.found) {
		if (dry_run)
			mk_diag_add(d, "table %s: is created (version %u)", t->name, t->version);
		return dry_run ? 0 : create(c, t, d);
	}
	r = kind_check(c, t, d);
	if (r == 0)
		r = sql_compare(t, x.version, x.columns, &what, d);
	if (r < 0)
		return r;
	if (r > 0)
		sql_tell(c->db->inst, t, x.version, &what, dry_run, d);
	if (r > 0 && !dry_run && (r = change(c, t, &what, d)) < 0)
		return r;
	return !dry_run && (t->flags & MK_TABLE_TIME) ? parts_ahead(c, t->name, d) : 0;
}

/* ---- all of them -------------------------------------------------------------------- */

/* Looks for the records; 1, 0 (there are none), or -MK_EIO. */
static int records_find(struct mk_backend_conn *c, struct mk_diag *d)
{
	char name[64] = "";
	int r = schema_run(c, "meerkat_tables", "SELECT to_regclass('meerkat_tables')", 0, NULL,
		first_field, name, d);

	return r < 0 ? r : name[0] != '\0';
}

/* The schema and the table of records, if they are missing. */
static int records_make(struct mk_backend_conn *c, struct mk_diag *d)
{
	const char *v[] = { c->db->conf->schema };
	char name[64] = "", sql[160];
	int r = schema_run(c, "schema", "SELECT quote_ident($1) || CASE WHEN EXISTS (SELECT 1 FROM "
		"pg_catalog.pg_namespace WHERE nspname = $1) THEN '' ELSE '!' END", 1, v,
		first_field, name, d);
	size_t n = strlen(name);

	if (r == 0 && n > 0 && name[n - 1] == '!') {
		/* quoted by the server; no statement takes a name as parameter */
		snprintf(sql, sizeof sql, "CREATE SCHEMA %.*s", (int)(n - 1), name);
		r = schema_run(c, "schema", sql, 0, NULL, NULL, NULL, d);
	}
	if (r == 0)
		r = schema_run(c, "meerkat_tables", "CREATE TABLE meerkat_tables (name TEXT NOT NULL "
			"PRIMARY KEY, version BIGINT NOT NULL, columns TEXT NOT NULL)", 0, NULL, NULL,
			NULL, d);
	return r;
}

/* The lock ends with the transaction. Its number is of this schema of this database
 * alone. */
#define LOCK "pg_advisory_xact_lock(hashtext('meerkat schema'), " \
	"hashtext(current_setting('search_path')))"

static int apply(struct mk_backend_conn *c, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d)
{
	int r = 0;

	if (!dry_run)
		r = schema_run(c, "lock", "SELECT set_config('statement_timeout', '0', true), "
			"set_config('lock_timeout', '120s', true), " LOCK, 0, NULL, NULL, NULL, d);
	int recorded = r == 0 ? records_find(c, d) : r;
	if (recorded < 0)
		return recorded;
	if (recorded == 0 && !dry_run)
		r = records_make(c, d);
	struct mk_arena *a = mk_arena_new();
	/* All faults of declarations are told, not only the first. */
	for (; r != -MK_EIO && tables != NULL && *tables != NULL; tables++) {
		int e = table_apply(c, *tables, recorded == 1 || !dry_run, dry_run, a, d);
		if (e < 0)
			r = e;
	}
	mk_arena_free(&a);
	return r;
}

static int begin(struct mk_backend_conn *c, const char *how, struct mk_diag *d)
{
	int r = schema_run(c, "begin", how, 0, NULL, NULL, NULL, d);

	if (r == 0)
		c->is_open = true;
	return r;
}

int schema_begin(struct mk_backend_conn *c, struct mk_diag *d)
{
	int r = begin(c, "BEGIN", d);

	if (r == 0)
		r = schema_run(c, "lock", "SELECT " LOCK, 0, NULL, NULL, NULL, d);
	return r < 0 ? schema_end(c, r, d) : 0;
}

int schema_end(struct mk_backend_conn *c, int r, struct mk_diag *d)
{
	if (r == 0)
		r = schema_run(c, "commit", "COMMIT", 0, NULL, NULL, NULL, d);
	c->is_open = false;
	c->lost = c->lost || r < 0;
	return r;
}

int schema_apply(struct mk_backend_conn *c, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d)
{
	int r = begin(c, dry_run ? "BEGIN READ ONLY" : "BEGIN", d);

	return r < 0 ? r : schema_end(c, apply(c, tables, dry_run, d), d);
}
