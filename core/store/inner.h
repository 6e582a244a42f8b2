/*
 * store/inner.h - what the files of this folder share
 *
 * table.c checks declarations and values, store.c holds backends and makes
 * calls, append.c writes behind, admin.c works over all declarations.
 */
#ifndef MK_STORE_INNER_H
#define MK_STORE_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"
#include "base/arena.h"
#include "base/list.h"

#define MK_STORE_MAGIC 0x73746f72u
#define MK_COLUMNS_MAX 32              /* of a table                        */
#define MK_VALUE_MAX   (16u << 20)     /* bytes of one value                */
#define MK_LIMIT_MAX   10000u          /* rows of one answer, of one batch  */

struct mk_store_backend;

/* A declared table, resolved. Made when it is declared, kept to the end. */
struct mk_table_info {
	const struct mk_table *table;
	struct mk_store_backend *backend;
	uint32_t columns, parts, keys; /* all; PARTITION; PARTITION and SORT    */
	bool has_search;
};

enum mk_store_op { MK_OP_GET, MK_OP_QUERY, MK_OP_COUNT, MK_OP_TAKE, MK_OP_ERASE,
	MK_OP_ADD, MK_OP_WRITE, MK_OP_APPEND, MK_OP_SCAN, MK_OP_DROP, MK_OP_EXPIRE,
	MK_OP_COUNT_ };

struct mk_append_row;
struct mk_store_backend {
	/* fixed at open */
	unsigned index;
	char *name;
	const struct mk_backend *be;
	struct mk_inst *inst;
	const void *conf;
	unsigned threads;
	struct mk_backend_db *db;
	struct mk_pool *pool;
	uint32_t metric_ops[MK_OP_COUNT_], metric_usec, metric_failures,
		metric_open, metric_queued;
	/* breaker: any thread */
	_Atomic uint32_t failures;     /* in a row                              */
	_Atomic mk_usec open_until;    /* 0 = closed: calls go ahead            */
	_Atomic bool probing;
	pthread_mutex_t breaker_lock;
	mk_usec breaker_delay;         /* under breaker_lock                    */
	/* write-behind: under append_lock */
	pthread_mutex_t append_lock;
	pthread_cond_t append_wake;
	struct mk_list append_rows;    /* of mk_append_row, oldest first        */
	_Atomic uint64_t append_last;  /* rows ever queued                      */
	uint64_t append_taken;         /* ... and taken to be written           */
	uint64_t append_wanted;        /* somebody waits for it                 */
	_Atomic uint64_t append_durable;       /* rows ever written: any thread */
	pthread_cond_t append_written;
	bool append_waiting, append_stop;
	bool append_idle;              /* waits for a first row                 */
	pthread_t append_thread;
	bool append_started;
	_Atomic unsigned append_queued;/* with those being written              */
};

struct mk_store {
	uint32_t magic;
	struct mk_arena arena;
	struct mk_backend_conn **conn; /* by backend index; NULL = not open     */
};

/* ---- table.c --------------------------------------------------------------- */

/* Whether a declaration keeps the rules of meerkat/store.h; else a line in d. */
int  mk_table_check(const struct mk_table *t, struct mk_diag *d);
/* t->user, of a declaration that has room for one. */
const char *mk_table_user(const struct mk_table *t);
void mk_table_measure(const struct mk_table *t, struct mk_table_info *out);
/* Whether newer may follow older under one name: the same, or a greater
 * version whose first columns are the older's and whose others may be NULL. */
bool mk_table_follows(const struct mk_table *older, const struct mk_table *newer);
bool mk_values_ok(const struct mk_table *t, const struct mk_value *v, uint32_t first,
	uint32_t end);                 /* v[0] is column first                  */
bool mk_values_equal(const struct mk_value *a, const struct mk_value *b, uint32_t n);
/* In lower case (ASCII), separated by single spaces; NULL if there is none. */
const char *mk_search_words(const char *search, struct mk_arena *a);

/* ---- store.c --------------------------------------------------------------- */

/* NULL: nobody declared it. Any thread. */
const struct mk_table_info *mk_table_find(const struct mk_table *t);
/* Every table that is in use (the newest of a name). */
void mk_tables_each(void (*fn)(void *arg, const struct mk_table_info *t), void *arg);
struct mk_store_backend *mk_store_backend(const char *name);   /* or NULL   */
unsigned mk_store_backend_count(void);
struct mk_store_backend *mk_store_backend_at(unsigned index);
/* NULL: the backend is away, and the call's answer is RETRY. */
struct mk_backend_conn *mk_store_enter(struct mk_store *st, struct mk_store_backend *b,
	mk_usec *began_out);
/* Counts, feeds the breaker, drops a connection that failed; returns s. */
enum mk_store_status mk_store_leave(struct mk_store *st, struct mk_store_backend *b,
	enum mk_store_op op, mk_usec began, enum mk_store_status s);

/* ---- append.c -------------------------------------------------------------- */

/* limit: rows of all backends together; wait_ms: for company. */
void mk_append_open(int64_t limit, int64_t wait_ms);
int  mk_append_start(struct mk_store_backend *b);
/* Waits until what is queued now is written. Any thread that may block. */
enum mk_store_status mk_append_flush(void);
/* Writes what is queued, once more if that fails, and ends the thread. */
void mk_append_stop(struct mk_store_backend *b);

#endif
