/*
 * meerkat/backend.h - how a storage backend is written
 *
 * A backend is a plugin (descriptor flag MK_PLUGIN_GLOBAL) whose descriptor's
 * .backend points to a struct mk_backend. The core checks every argument
 * against the declarations before it calls, so a backend only translates.
 * Functions are called on job threads, several at once, each with a
 * connection that the core pools (open/close); they block, with a deadline.
 * storage/suite proves a backend.
 */
#ifndef MK_BACKEND_H
#define MK_BACKEND_H

#include <meerkat/store.h>
#include <meerkat/conf.h>

MK_BEGIN_DECLS

enum mk_backend_cap {
	MK_CAP_SEARCH = 1,             /* MK_COL_SEARCH                         */
	MK_CAP_RANGE = 2,              /* ordered ranges                        */
	MK_CAP_DURABLE = 4,            /* survives the process                  */
};

/*
 * What the core has made sure of: the table was declared to this backend;
 * values have their column's type, keys have all their values, TEXT is UTF-8
 * without NUL, no value is above 16 MB; mk_range is whole, with a limit (for
 * delete_range and count 0 = none) and search in lower case, words separated
 * by single spaces. count ends at the limit. After RETRY or UNCERTAIN the core closes the connection
 * and opens another one, at growing intervals.
 *
 * Two tables of one name are versions of one table: the columns of the older
 * are the first columns of the newer.
 */

/* Where a backend's files go unless its settings name another place
 * (server.data_dir), without a slash at its end. */
MK_API const char *mk_data_dir(void);

struct mk_backend_db;          /* the backend's own: one database           */
struct mk_backend_conn;        /* the backend's own: one connection         */

struct mk_backend {
	uint32_t size, caps;
	/* One database from its settings (the plugin's schema); conf and tables
	 * (NULL-terminated) live as long as db. Creates and migrates the tables
	 * (each in a transaction; a newer version than declared is refused).
	 * dry_run: only says in d what would be done (db_out stays NULL).
	 * -MK_EAGAIN (since 1.1): it can't be reached, and may be later: the
	 * start waits for it (storage.start_wait) and calls again. Anything that
	 * a person has to mend first is another error. */
	int  (*db_open)(struct mk_inst *i, const void *conf,
	                const struct mk_table *const *tables, bool dry_run,
	                struct mk_diag *d, struct mk_backend_db **db_out);
	/* Tables that came later (a plugin started on a running server), or again.
	 * Any thread, while others use the rest. -MK_EINVAL after a line in d. */
	int  (*db_declare)(struct mk_backend_db *db, const struct mk_table *const *tables,
	                   struct mk_diag *d);
	void (*db_close)(struct mk_backend_db *db);
	int  (*conn_open)(struct mk_backend_db *db, struct mk_backend_conn **out);
	void (*conn_close)(struct mk_backend_conn *c);

	enum mk_store_status (*get)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *key, struct mk_arena *, struct mk_row *out);
	enum mk_store_status (*query)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *partition, const struct mk_range *,
		struct mk_arena *, struct mk_rows *out);
	enum mk_store_status (*count)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *partition, const struct mk_range *, uint64_t *out);
	enum mk_store_status (*take)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *partition, const struct mk_range *,
		struct mk_arena *, struct mk_rows *out);
	enum mk_store_status (*delete_range)(struct mk_backend_conn *,
		const struct mk_table *, const struct mk_value *partition,
		const struct mk_range *, uint64_t *out);
	enum mk_store_status (*add)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *key, uint32_t column, int64_t n, int64_t *out);
	/* put, delete and batches of them: one transaction. A single delete of
	 * what isn't there is NOTFOUND. */
	enum mk_store_status (*write)(struct mk_backend_conn *, const struct mk_write *,
		uint32_t n, uint32_t *failed_out);
	/* Write-behind: rows (MK_WRITE_PUT) of several partitions and tables, one
	 * transaction; a key, or a UNIQUE value, that is there already is left as
	 * it is. */
	enum mk_store_status (*append)(struct mk_backend_conn *, const struct mk_write *,
		uint32_t n);
	enum mk_store_status (*scan)(struct mk_backend_conn *, const struct mk_table *,
		struct mk_str domain, const struct mk_value *after, uint32_t limit,
		struct mk_arena *, struct mk_rows *out);
	enum mk_store_status (*drop_domain)(struct mk_backend_conn *,
		const struct mk_table *, struct mk_str domain, uint64_t *out);
	/* For health checks; RETRY if the backend is away. */
	enum mk_store_status (*ping)(struct mk_backend_conn *);
	/* since 1.1; may be NULL: the core calls get for each. n whole keys; v NULL
	 * in the row of one that isn't there. */
	enum mk_store_status (*get_many)(struct mk_backend_conn *, const struct mk_table *,
		const struct mk_value *const *keys, uint32_t n, struct mk_arena *,
		struct mk_row *out);
	/* since 1.1; may be NULL: the core then walks with scan and delete_range. A
	 * step as of mk_expire, on a TIME table; e has the core's size, and after
	 * comes to lie in the arena. */
	enum mk_store_status (*expire)(struct mk_backend_conn *, const struct mk_table *,
		struct mk_expiry *e, struct mk_arena *);
};

MK_END_DECLS
#endif
