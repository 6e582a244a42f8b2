/*
 * sqlite/schema.c - tables are created and migrated
 *
 * What the database holds is recorded in meerkat_tables; a table whose record
 * equals its declaration costs one lookup, however many rows it has.
 */
#include "sqlite.h"

static void search(struct sql_gen *g, const struct mk_table *t)
{
	sql_add(g, "_rowid IN (SELECT rowid FROM ");
	sql_name(g, t->name, ".fts");
	sql_add(g, " WHERE ");
	sql_name(g, t->name, ".fts");
	sql_add(g, " MATCH ");
	sql_param(g);
	sql_add(g, ")");
}

const struct sql_dialect sqlite_dialect = {
	.quote = '"',
	.type = { "", "TEXT", "INTEGER", "BLOB" },
	.key_type = { "", "TEXT", "INTEGER", "BLOB" },
	.table_tail = " WITHOUT ROWID",
	.append_tail = " ON CONFLICT DO NOTHING",
	.search = search,
	.rowid_type = "INTEGER PRIMARY KEY",
};

/* prefix."a", prefix."b" of the SEARCH columns, each after a comma. */
static void search_columns(struct sql_gen *g, const struct mk_table *t, const char *prefix)
{
	for (const struct mk_column *c = t->columns; c->name != NULL; c++)
		if (c->flags & MK_COL_SEARCH) {
			sql_add(g, ", ");
			sql_add(g, prefix);
			sql_name(g, c->name, NULL);
		}
}

/* INSERT INTO "t.fts" of the old or the new row, for a trigger. */
static void fts_change(struct sql_gen *g, const struct mk_table *t, bool removes)
{
	sql_add(g, " INSERT INTO ");
	sql_name(g, t->name, ".fts");
	sql_add(g, " (");
	if (removes) {
		sql_name(g, t->name, ".fts");
		sql_add(g, ", ");
	}
	sql_add(g, "rowid");
	search_columns(g, t, "");
	sql_add(g, removes ? ") VALUES ('delete', old._rowid" : ") VALUES (new._rowid");
	search_columns(g, t, removes ? "old." : "new.");
	sql_add(g, ");");
}

static void fts_trigger(struct sql_gen *g, const struct mk_table *t, const char *suffix,
	const char *when, bool removes, bool adds)
{
	sql_add(g, "; CREATE TRIGGER ");
	sql_name(g, t->name, suffix);
	sql_add(g, when);
	sql_name(g, t->name, NULL);
	sql_add(g, " BEGIN");
	if (removes)
		fts_change(g, t, true);
	if (adds)
		fts_change(g, t, false);
	sql_add(g, " END");
}

/* The index of words holds no second copy of the text. */
static void fts_create(struct sql_gen *g, const struct mk_table *t)
{
	sql_add(g, "CREATE VIRTUAL TABLE ");
	sql_name(g, t->name, ".fts");
	sql_add(g, " USING fts5(content=");
	sql_name(g, t->name, NULL);
	sql_add(g, ", content_rowid='_rowid', tokenize='unicode61'");
	search_columns(g, t, "");
	sql_add(g, ")");
	fts_trigger(g, t, ".fts_insert", " AFTER INSERT ON ", false, true);
	fts_trigger(g, t, ".fts_delete", " AFTER DELETE ON ", true, false);
	fts_trigger(g, t, ".fts_update", " AFTER UPDATE ON ", true, true);
}

static int failed(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	mk_diag_add(d, "%s: table %s: %s", c->db->path, t->name, sqlite3_errmsg(c->h));
	return -MK_EIO;
}

/* What the database says of t: 1, 0 (nothing), -MK_EIO. columns is of a. */
static int record_read(struct mk_backend_conn *c, const struct mk_table *t, struct mk_arena *a,
	int64_t *version, struct mk_str *columns, struct mk_diag *d)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(c->h,
		"SELECT version, columns FROM meerkat_tables WHERE name = ?", -1, &s, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW && sqlite3_column_text(s, 1) != NULL) {
			*version = sqlite3_column_int64(s, 0);
			columns->n = (size_t)sqlite3_column_bytes(s, 1);
			columns->p = mk_arena_strndup(a, (const char *)sqlite3_column_text(s, 1),
				columns->n);
		}
	}
	sqlite3_finalize(s);
	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : failed(c, t, d);
}

static int record_write(struct mk_backend_conn *c, const struct mk_table *t)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(c->h, "INSERT INTO meerkat_tables (name, version, columns) "
		"VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version, "
		"columns = excluded.columns", -1, &s, NULL);

	if (rc == SQLITE_OK) {
		sql_begin(&c->gen, &sqlite_dialect);
		sql_describe(&c->gen, t);
		sqlite3_bind_text(s, 1, t->name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, t->version);
		sqlite3_bind_text(s, 3, c->gen.p, -1, SQLITE_STATIC);
		rc = sqlite3_step(s);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run(struct mk_backend_conn *c)
{
	return conn_exec(c, c->gen.p);
}

static int create(struct mk_backend_conn *c, const struct mk_table *t, struct mk_diag *d)
{
	struct sql_shape s = sql_measure(t);
	int rc;

	sql_begin(&c->gen, &sqlite_dialect);
	sql_create_table(&c->gen, t);
	rc = run(c);
	for (uint32_t i = 0; rc == SQLITE_OK && i < s.columns; i++)
		if (t->columns[i].flags & (MK_COL_INDEX | MK_COL_UNIQUE)) {
			sql_begin(&c->gen, &sqlite_dialect);
			sql_create_index(&c->gen, t, i);
			rc = run(c);
		}
	if (rc == SQLITE_OK && s.has_search) {
		sql_begin(&c->gen, &sqlite_dialect);
		fts_create(&c->gen, t);
		rc = run(c);
	}
	if (rc == SQLITE_OK)
		rc = record_write(c, t);
	return rc == SQLITE_OK ? 0 : failed(c, t, d);
}

static int change(struct mk_backend_conn *c, const struct mk_table *t,
	const struct sql_change *what, struct mk_diag *d)
{
	struct sql_shape s = sql_measure(t);
	int rc = SQLITE_OK;

	for (uint32_t i = 0; rc == SQLITE_OK && i < s.columns; i++)
		if (what->unindex & (UINT32_C(1) << i)) {
			sql_begin(&c->gen, &sqlite_dialect);
			sql_drop_index(&c->gen, t, i);
			rc = run(c);
		}
	for (uint32_t i = 0; rc == SQLITE_OK && i < s.columns; i++)
		if (what->add & (UINT32_C(1) << i)) {
			sql_begin(&c->gen, &sqlite_dialect);
			sql_add_column(&c->gen, t, i);
			rc = run(c);
		}
	for (uint32_t i = 0; rc == SQLITE_OK && i < s.columns; i++)
		if (what->index & (UINT32_C(1) << i)) {
			sql_begin(&c->gen, &sqlite_dialect);
			sql_create_index(&c->gen, t, i);
			rc = run(c);
		}
	if (rc == SQLITE_OK)
		rc = record_write(c, t);
	return rc == SQLITE_OK ? 0 : failed(c, t, d);
}

static bool has_records(struct mk_backend_conn *c)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(c->h,
		"SELECT 1 FROM sqlite_master WHERE name = 'meerkat_tables'", -1, &s, NULL);

	rc = rc == SQLITE_OK ? sqlite3_step(s) : rc;
	sqlite3_finalize(s);
	return rc == SQLITE_ROW;
}

static int table_apply(struct mk_backend_conn *c, const struct mk_table *t, bool recorded,
	bool dry_run, struct mk_arena *a, struct mk_diag *d)
{
	struct sql_change what;
	struct mk_str columns = MK_STR_NONE;
	int64_t version = 0;

	if (strncmp(t->name, "sqlite_", 7) == 0 || strncmp(t->name, "meerkat_", 8) == 0) {
		mk_diag_add(d, "table %s: names that begin with sqlite_ or meerkat_ are taken",
			t->name);
		return -MK_EINVAL;
	}
	int r = recorded ? record_read(c, t, a, &version, &columns, d) : 0;
	if (r < 0)
		return r;
	if (r == 0) {
		if (dry_run)
			mk_diag_add(d, "table %s: is created (version %u)", t->name, t->version);
		return dry_run ? 0 : create(c, t, d);
	}
	r = sql_compare(t, version, columns, &what, d);
	if (r <= 0)
		return r;
	sql_tell(c->db->inst, t, version, &what, dry_run, d);
	return dry_run ? 0 : change(c, t, &what, d);
}

int schema_apply(struct mk_backend_conn *c, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d)
{
	bool recorded = c->h != NULL && has_records(c);
	struct mk_arena *a = mk_arena_new();
	int r = 0;

	if (!recorded && !dry_run && conn_exec(c, "CREATE TABLE meerkat_tables (name TEXT NOT NULL "
	    "PRIMARY KEY, version INTEGER NOT NULL, columns TEXT NOT NULL) WITHOUT ROWID") !=
	    SQLITE_OK) {
		mk_diag_add(d, "%s: %s", c->db->path, sqlite3_errmsg(c->h));
		r = -MK_EIO;
	}
	/* All faults are told, not only the first. */
	for (; r != -MK_EIO && tables != NULL && *tables != NULL; tables++) {
		int e = table_apply(c, *tables, recorded || !dry_run, dry_run, a, d);
		if (e < 0)
			r = e;
	}
	mk_arena_free(&a);
	return r;
}
