/*
 * pgsql/pgsql.h - inside of the PostgreSQL backend
 *
 * Everything is a round trip (conn.c): statements that are sent together, run
 * by the server as one transaction, and read together, before a deadline. A
 * connection is one job thread's; nothing but the settings is shared.
 */
#ifndef PGSQL_PGSQL_H
#define PGSQL_PGSQL_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <meerkat/plugin.h>
#include <meerkat/backend.h>

#include "../sql/sql.h"

struct pgsql_conf {
	const char *host;              /* several: with commas                  */
	int64_t port;
	const char *database, *user, *password, *schema;
	int sslmode;                   /* index in SSLMODES                     */
	const char *root_certificate, *certificate, *private_key;
	int64_t connect_timeout, statement_timeout;    /* ms                    */
	int synchronous_commit;        /* index in COMMIT_MODES                 */
};
#define PGSQL_SSLMODES "verify-full|verify-ca|require|prefer|disable"
#define PGSQL_COMMIT_MODES "on|remote_apply|remote_write|local|off"
extern const struct sql_dialect pgsql_dialect;

struct mk_backend_db {
	struct mk_inst *inst;
	const struct pgsql_conf *conf; /* borrowed: lives as long               */
	_Atomic mk_usec complained;    /* last time a failure was logged        */
	_Atomic int ahead;             /* the month whose successor has its
	                                * partitions (parts.c)                  */
};

/* Kinds of round trips, as they are counted. */
#define PGSQL_TRIPS(X)                                                     \
	X(GET, "get", "a row by its key")                                      \
	X(QUERY, "query", "rows of a range")                                   \
	X(COUNT, "count", "how many rows match")                               \
	X(TAKE, "take", "rows read and deleted")                               \
	X(ERASE, "erase", "ranges deleted")                                    \
	X(ADD, "add", "sums")                                                  \
	X(WRITE, "write", "puts, deletes and batches")                         \
	X(APPEND, "append", "batches of write-behind")                         \
	X(SCAN, "scan", "pages of a whole table")                              \
	X(DROP, "drop", "rows of a domain deleted")                            \
	X(EXPIRE, "expire", "old rows and partitions gone")                    \
	X(OTHER, "other", "connecting, preparing, migrating")
#define PGSQL_TRIP_ENUM(id, name, what) TRIP_##id,
enum trip { PGSQL_TRIPS(PGSQL_TRIP_ENUM) TRIP_COUNT_ };
/* Metrics: a histogram and a counter of failures per kind, then these. */
enum { METRIC_CONNECTS = 2 * TRIP_COUNT_, METRIC_REPEATS, METRIC_COUNT_ };

/* Prepared statements of a connection, by what they are made from. */
#define STMT_SLOTS 1024
#define CAREFUL    100                 /* appends, see ops.c                */
struct stmt {
	const struct mk_table *table;
	uint32_t kind, bits, columns;  /* see sql_stmt                          */
	uint32_t name;                 /* its number at the server; 0 = unused  */
	/* of STMT_APPEND with ON CONFLICT */
	uint32_t careful;              /* appends that are to use it            */
	unsigned end;                  /* statements when the table's were sent */
};

/* Parameters, in binary. Values are borrowed until trip_send returns. */
#define PARAMS_MAX 136                 /* 4 x 32 columns, and what goes with them */
struct params {
	int n;
	const char *v[PARAMS_MAX];
	int length[PARAMS_MAX];
	int64_t number[PARAMS_MAX];    /* in the order of the network           */
};

/* Bytes that grow: a column of rows, as the server wants an array. */
struct bytes { char *p; size_t n, cap; };

struct mk_backend_conn {
	struct mk_backend_db *db;
	PGconn *h;
	struct sql_gen gen;
	unsigned stmts;
	uint32_t last_name;
	/* the round trip under way, or the last one */
	enum trip trip;
	mk_usec began, deadline;
	unsigned sent;                 /* statements                            */
	bool lost;                     /* of no use any more                    */
	bool refused;                  /* connecting: only a person can mend it */
	bool is_open;                  /* inside a transaction of several trips */
	bool again;                    /* deadlock and the like: try once more  */
	unsigned failed;               /* number of the statement that failed   */
	char reason[256], state[8];    /* of the last failure: words, SQLSTATE  */
	struct bytes column[33];       /* arrays of a statement                 */
	struct stmt stmt[STMT_SLOTS];
};

/* ---- conn.c ---------------------------------------------------------------- */

/* Connects, within connect_timeout. 0, or after a line in the log, with the
 * reason in c->reason: -MK_EAGAIN (the server is away), or -MK_EIO (it refuses
 * us, or isn't what we need). */
int  conn_init(struct mk_backend_conn *c, struct mk_backend_db *db);
void conn_fini(struct mk_backend_conn *c);

/*
 * Begins a round trip of a kind, whose deadline is statement_timeout (factor
 * times that) and a second. A connection that was found closed before anything
 * is sent is opened again (not while is_open). False: the backend is away
 * (RETRY); c->reason says why.
 */
bool trip_begin(struct mk_backend_conn *c, enum trip kind, int factor);
/* A statement of t, prepared (which is a round trip of its own) the first time;
 * bits and columns: see sql_stmt. NULL: trip_refused. */
struct stmt *stmt_get(struct mk_backend_conn *c, const struct mk_table *t,
	enum sql_stmt kind, uint32_t bits, uint32_t columns);
/* Sends a statement; failures are told by trip_end. */
void trip_send(struct mk_backend_conn *c, const struct stmt *s, const struct params *p);
/* The same for text that is run once; parameters are TEXT. */
void trip_text(struct mk_backend_conn *c, const char *sql, int n, const char *const *v);

/* A statement's answer, before it is known whether the transaction stays. */
typedef void trip_fn(void *arg, unsigned index, const PGresult *r);
enum trip_end {
	END_READS,                     /* nothing is written: never UNCERTAIN   */
	END_WRITES,                    /* commits by itself                     */
	END_OPEN,                      /* leaves a transaction open: what is
	                                * lost now was not written              */
	END_COMMITS,                   /* COMMIT is the last statement          */
};
/* Waits for the answers. OK: the transaction is durable. Anything else: it
 * isn't (but UNCERTAIN); c->failed, c->again and c->reason tell more. */
enum mk_store_status trip_end(struct mk_backend_conn *c, enum trip_end end, trip_fn *fn,
	void *arg);
/* The status of a trip that ends before anything was sent. */
enum mk_store_status trip_refused(struct mk_backend_conn *c);

void params_add(struct params *p, const struct mk_value *v, uint32_t n);
void params_bytes(struct params *p, const struct bytes *b);
/* Field f of row r of a result, copied to a. */
struct mk_value result_value(const PGresult *res, int r, int f, uint16_t type,
	struct mk_arena *a);
int64_t result_int(const PGresult *res, int r, int f);
/* Rows that the last statement wrote. */
uint64_t result_count(const PGresult *res);

/* ---- schema.c -------------------------------------------------------------- */

/* Creates and migrates in one transaction, one node at a time (or with dry_run
 * says what it would do). 0, or -MK_E... after a line in d (-MK_EAGAIN: the
 * connection was lost); it is then only to be closed, which undoes all. */
int schema_apply(struct mk_backend_conn *c, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d);

/* A statement of a transaction that is under way: 0, or -MK_EIO after a line in d (may
 * be NULL). */
int schema_run(struct mk_backend_conn *c, const char *what, const char *sql, int n,
	const char *const *v, trip_fn *fn, void *arg, struct mk_diag *d);
/* Begins such a one, in which one node at a time changes the schema; ends it: commits,
 * or after r < 0 closes the connection, which undoes all. r, or what went wrong. */
int schema_begin(struct mk_backend_conn *c, struct mk_diag *d);
int schema_end(struct mk_backend_conn *c, int r, struct mk_diag *d);

/* ---- parts.c --------------------------------------------------------------- */

/* Partitions of the named table for this month and the next, inside a transaction of
 * schema_begin. */
int parts_ahead(struct mk_backend_conn *c, const char *table, struct mk_diag *d);
/* The same for all tables, once a month, before something is written. */
void parts_renew(struct mk_backend_conn *c);
/* True: s came of a partition that wasn't there, and it was made: to be tried again. */
bool parts_missed(struct mk_backend_conn *c, enum mk_store_status s, const struct mk_write *w,
	uint32_t n);
enum mk_store_status op_expire(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_expiry *e, struct mk_arena *a);

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
/* Fills c->column[k] with n values, each row's column k, as parameters of p. */
void params_arrays(struct mk_backend_conn *c, struct params *p, const struct mk_table *t,
	uint32_t columns, const struct mk_value *const *rows, uint32_t n);
/* Whether a transaction that met a deadlock is to be run again; waits a moment. */
bool try_again(struct mk_backend_conn *c, enum mk_store_status s, int attempt);

#endif
