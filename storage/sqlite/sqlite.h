/*
 * sqlite/sqlite.h - inside of the SQLite backend
 *
 * A database has a connection per job thread, for reading, and one writer,
 * which whoever leads the waiting writes uses (writer.c).
 */
#ifndef SQLITE_SQLITE_H
#define SQLITE_SQLITE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <meerkat/plugin.h>
#include <meerkat/backend.h>

#include "../sql/sql.h"

struct sqlite_conf {
	const char *file;
	int synchronous;               /* 0 full, 1 normal                      */
	int64_t busy_timeout;          /* ms                                    */
	int64_t cache, mmap;           /* bytes                                 */
};
extern const struct sql_dialect sqlite_dialect;

/* Prepared statements of a connection, by what they are made from. */
#define STMT_SLOTS 256
struct stmt {
	const struct mk_table *table;
	uint32_t kind, bits, columns;  /* see sql_stmt                          */
	sqlite3_stmt *s;
};

struct mk_backend_conn {
	struct mk_backend_db *db;
	sqlite3 *h;
	struct sql_gen gen;
	unsigned stmts;
	struct stmt stmt[STMT_SLOTS];
	pthread_cond_t wake;           /* of its request, under db->lock        */
};

/* A write that waits to be part of a transaction; on its caller's stack. */
struct request {
	struct request *next;
	/* On the writer. Anything but OK and NOTFOUND undoes it. */
	enum mk_store_status (*run)(struct mk_backend_conn *writer, struct request *r);
	pthread_cond_t *wake;
	enum mk_store_status status;
	bool one_statement;            /* undoes itself if it fails             */
	bool done, leads;
};

struct mk_backend_db {
	struct mk_inst *inst;
	char *path;
	int synchronous;
	int64_t busy_timeout, cache, mmap;
	pthread_mutex_t lock;          /* of the waiting requests               */
	struct request *first, **last;
	bool is_led;
	struct mk_backend_conn writer; /* of the request that leads             */
	_Atomic mk_usec complained;    /* last time a failure was logged        */
};

/* ---- conn.c ---------------------------------------------------------------- */

int  conn_init(struct mk_backend_conn *c, struct mk_backend_db *db, bool writes);
void conn_fini(struct mk_backend_conn *c);
/* Text to run once, without parameters. */
int  conn_exec(struct mk_backend_conn *c, const char *sql);
/*
 * A statement of t, prepared once for each (kind, bits, columns): bits are
 * those of sql_range (STMT_ROWS, _COUNT, _ERASE) or has_domain | has_after << 1
 * (STMT_SCAN), columns the mask of equals or the number of a column (STMT_SET).
 * NULL: SQLite failed. Ends with sqlite3_reset.
 */
sqlite3_stmt *stmt_get(struct mk_backend_conn *c, const struct mk_table *t,
	enum sql_stmt kind, uint32_t bits, uint32_t columns);
/* Binds n values from parameter number at on; the next number. Values must
 * live until the statement is reset. */
int  stmt_bind(sqlite3_stmt *s, int at, const struct mk_value *v, uint32_t n);
/* The row a statement stands on, copied to a. */
void stmt_row(sqlite3_stmt *s, const struct mk_table *t, struct mk_arena *a,
	struct mk_row *out);
/* Steps a statement that gives no rows and resets it. */
enum mk_store_status stmt_run(struct mk_backend_conn *c, sqlite3_stmt *s);
/* For the result of a failed call; logs what has no better answer. */
enum mk_store_status status_of(struct mk_backend_conn *c, int rc);

/* ---- writer.c -------------------------------------------------------------- */

/* Waits until r was part of a transaction that is durable, or failed. */
enum mk_store_status write_submit(struct mk_backend_conn *c, struct request *r);

/* ---- schema.c -------------------------------------------------------------- */

/* Creates and migrates, inside a transaction of c (or with dry_run says what
 * it would do). 0, or -MK_E... after a line in d. */
int schema_apply(struct mk_backend_conn *c, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d);

/* ---- ops.c ----------------------------------------------------------------- */

enum mk_store_status op_get(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, struct mk_arena *a, struct mk_row *out);
enum mk_store_status op_get_many(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *const *keys, uint32_t n, struct mk_arena *a, struct mk_row *out);
enum mk_store_status op_query(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out);
enum mk_store_status op_count(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out);
enum mk_store_status op_take(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out);
enum mk_store_status op_delete_range(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out);
enum mk_store_status op_add(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, uint32_t column, int64_t n, int64_t *out);
enum mk_store_status op_write(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out);
enum mk_store_status op_append(struct mk_backend_conn *c, const struct mk_write *w, uint32_t n);
enum mk_store_status op_scan(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit, struct mk_arena *a,
	struct mk_rows *out);
enum mk_store_status op_drop_domain(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, uint64_t *out);
enum mk_store_status op_ping(struct mk_backend_conn *c);

#endif
