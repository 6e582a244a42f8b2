/*
 * sqlite/conn.c - one connection: opening, statements, values
 *
 * A connection is used by one thread at a time.
 */
#include "sqlite.h"

#include <stdio.h>
#include <stdlib.h>

int conn_exec(struct mk_backend_conn *c, const char *sql)
{
	return sqlite3_exec(c->h, sql, NULL, NULL, NULL);
}

/* text is a literal with one number in it. */
static int pragma(struct mk_backend_conn *c, const char *text, int64_t value)
{
	char sql[96];

	snprintf(sql, sizeof sql, "PRAGMA %s = %lld", text, (long long)value);
	return conn_exec(c, sql);
}

int conn_init(struct mk_backend_conn *c, struct mk_backend_db *db, bool writes)
{
	int rc = sqlite3_open_v2(db->path, &c->h, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
		SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);

	c->db = db;
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(c->h, 1);
		sqlite3_busy_timeout(c->h, (int)db->busy_timeout);
		rc = conn_exec(c, "PRAGMA journal_mode = WAL");
	}
	if (rc == SQLITE_OK)
		rc = conn_exec(c, writes && db->synchronous == 0 ? "PRAGMA synchronous = FULL"
		                                                 : "PRAGMA synchronous = NORMAL");
	if (rc == SQLITE_OK)
		rc = pragma(c, "cache_size", -(db->cache / 1024));
	if (rc == SQLITE_OK)
		rc = pragma(c, "mmap_size", db->mmap);
	/* The log is copied back in larger pieces than by default, and gives
	 * its disk space back after a rush. */
	if (rc == SQLITE_OK && writes)
		rc = pragma(c, "wal_autocheckpoint", 16000);
	if (rc == SQLITE_OK && writes)
		rc = pragma(c, "journal_size_limit", 64 << 20);
	if (rc == SQLITE_OK && !writes)
		rc = conn_exec(c, "PRAGMA query_only = ON");
	if (rc == SQLITE_OK)
		return 0;
	status_of(c, rc);
	conn_fini(c);
	return -MK_EIO;
}

static void stmts_drop(struct mk_backend_conn *c)
{
	for (unsigned i = 0; i < STMT_SLOTS; i++)
		if (c->stmt[i].s != NULL)
			sqlite3_finalize(c->stmt[i].s);
	memset(c->stmt, 0, sizeof c->stmt);
	c->stmts = 0;
}

void conn_fini(struct mk_backend_conn *c)
{
	stmts_drop(c);
	sql_fini(&c->gen);
	sqlite3_close_v2(c->h);
	c->h = NULL;
}

sqlite3_stmt *stmt_get(struct mk_backend_conn *c, const struct mk_table *t,
	enum sql_stmt kind, uint32_t bits, uint32_t columns)
{
	uint64_t hash = ((uint64_t)(uintptr_t)t ^ (uint64_t)kind << 48 ^ (uint64_t)bits << 40 ^
		columns) * UINT64_C(0x9e3779b97f4a7c15);
	unsigned i = (unsigned)(hash >> 40) % STMT_SLOTS;
	struct stmt *s;

	for (;; i = (i + 1) % STMT_SLOTS) {
		s = &c->stmt[i];
		if (s->s == NULL)
			break;
		if (s->table == t && s->kind == kind && s->bits == bits && s->columns == columns)
			return s->s;
	}
	if (c->stmts >= STMT_SLOTS / 4 * 3) {
		/* More shapes than any set of plugins uses: begin anew. */
		stmts_drop(c);
		return stmt_get(c, t, kind, bits, columns);
	}
	struct stmt want = { .table = t, .kind = kind, .bits = bits, .columns = columns };
	sql_begin(&c->gen, &sqlite_dialect);
	sql_stmt(&c->gen, t, kind, bits, columns);
	if (sqlite3_prepare_v3(c->h, c->gen.p, (int)c->gen.n, SQLITE_PREPARE_PERSISTENT,
	    &want.s, NULL) != SQLITE_OK)
		return NULL;
	*s = want;
	c->stmts++;
	return s->s;
}

int stmt_bind(sqlite3_stmt *s, int at, const struct mk_value *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, at++) {
		const void *p = v[i].as.b.p;
		switch (v[i].type) {
		case MK_INT:
			sqlite3_bind_int64(s, at, v[i].as.i);
			break;
		case MK_TEXT:
			sqlite3_bind_text64(s, at, v[i].as.b.n != 0 ? p : "", v[i].as.b.n,
				SQLITE_STATIC, SQLITE_UTF8);
			break;
		case MK_BLOB:
			/* A blob at NULL would be NULL. */
			sqlite3_bind_blob64(s, at, v[i].as.b.n != 0 ? p : "", v[i].as.b.n,
				SQLITE_STATIC);
			break;
		default:
			sqlite3_bind_null(s, at);
		}
	}
	return at;
}

static struct mk_value column_value(sqlite3_stmt *s, int i, uint16_t type, struct mk_arena *a)
{
	if (sqlite3_column_type(s, i) == SQLITE_NULL)
		return mk_absent();
	if (type == MK_INT)
		return mk_int(sqlite3_column_int64(s, i));
	const void *p = type == MK_TEXT ? (const void *)sqlite3_column_text(s, i)
	                                : sqlite3_column_blob(s, i);
	size_t n = (size_t)sqlite3_column_bytes(s, i);
	struct mk_value v = mk_blob(mk_arena_strndup(a, p, n), n);
	v.type = (uint8_t)type;
	return v;
}

void stmt_row(sqlite3_stmt *s, const struct mk_table *t, struct mk_arena *a,
	struct mk_row *out)
{
	uint32_t n = (uint32_t)sqlite3_data_count(s) - 1;
	struct mk_value *v = mk_arena_alloc(a, n * sizeof *v);

	for (uint32_t i = 0; i < n; i++)
		v[i] = column_value(s, (int)i, t->columns[i].type, a);
	out->v = v;
	out->n = n;
	out->version = (uint64_t)sqlite3_column_int64(s, (int)n);
}

enum mk_store_status status_of(struct mk_backend_conn *c, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return MK_STORE_OK;
	case SQLITE_CONSTRAINT:
		return MK_STORE_CONFLICT;
	case SQLITE_TOOBIG:
	case SQLITE_MISMATCH:
	case SQLITE_RANGE:
		return MK_STORE_INVALID;
	}
	/* One line a second: a full disk fails every call. */
	mk_usec now = mk_now_usec(), last = atomic_load(&c->db->complained);
	if ((last == 0 || now - last > 1000000) &&
	    atomic_compare_exchange_strong(&c->db->complained, &last, now))
		mk_log(c->db->inst, MK_ERROR, "SQLite failed", "file=%s code=%d reason=%s",
			c->db->path, rc, c->h != NULL ? sqlite3_errmsg(c->h) : sqlite3_errstr(rc));
	return MK_STORE_RETRY;
}

enum mk_store_status stmt_run(struct mk_backend_conn *c, sqlite3_stmt *s)
{
	if (s == NULL)
		return status_of(c, sqlite3_extended_errcode(c->h));
	int rc = sqlite3_step(s);
	enum mk_store_status status = status_of(c, rc);
	sqlite3_reset(s);
	return status;
}
