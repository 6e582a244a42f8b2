/*
 * store/store.h - backends, pools, and what a job holds
 *
 * A configured backend is a database (backend.h), a bounded pool of job
 * threads with a connection each, and a breaker. A table belongs to one of
 * them by configuration. struct mk_store is a job thread's: it reaches every
 * backend (its own pool's by its own connection, others by one opened when
 * first needed).
 */
#ifndef MK_STORE_STORE_H
#define MK_STORE_STORE_H

#include <meerkat/store.h>
#include <meerkat/backend.h>
#include "loop/job.h"
#include "conf/config.h"

struct mk_store_set;                   /* all backends of the process       */
struct mk_store_backend_conf {
	const char *name;              /* configured name                       */
	const struct mk_backend *backend;
	struct mk_inst *inst;
	const void *conf;
	unsigned threads;
};

/*
 * Opens backends, maps tables (by name in conf's storage.tables, else the
 * default), checks what tables need (SEARCH, ranges) against capabilities.
 * Main thread; tables NULL-terminated, may be extended by mk_stores_declare.
 * -MK_EAGAIN: nothing is wrong but that a backend can't be reached now; like
 * after every failure nothing is open, and it may be called again.
 */
int  mk_stores_open(const struct mk_config *c, const struct mk_store_backend_conf *b,
	size_t n, const struct mk_table *const *tables, bool dry_run, struct mk_diag *d);
int  mk_stores_declare(const struct mk_table *const *tables, struct mk_diag *d);
void mk_stores_close(void);
/* The pool in which handlers of a plugin with these tables run (tables may be
 * NULL: the default backend's). For password hashing and the like: mk_cpu_pool. */
struct mk_pool *mk_store_pool(const struct mk_table *const *tables);
struct mk_pool *mk_cpu_pool(void);
/* A pool of somebody's own, whose jobs have storage too; to be freed (mk_pool_free)
 * before mk_stores_close. Main thread. */
struct mk_pool *mk_store_pool_new(const char *name, unsigned threads);
/* For a job of any pool: thread_data of mk_job.run is a struct mk_store *.
 * Call at the end of each job: frees its rows. */
void mk_store_job_end(struct mk_store *st);
/* A store for the main thread and tests (blocks). Free it before
 * mk_stores_close. */
struct mk_store *mk_store_new(void);
void mk_store_free(struct mk_store **st);

/* Write-behind takes every row, so that no chain fails in its middle; when as
 * many wait as storage.append_queue says, streams are not read from until there
 * is room again, and what is over the limit is what chains under way append.
 * Any thread. */
bool mk_append_full(void);
/* Rows queued for all backends. */
unsigned mk_append_queued(void);

/* ---- over the declarations: administration --------------------------------- */

/* fn gets each row of tables owned by user (secret ones left out), which lives
 * until fn returns; non-zero from fn ends it and is returned. -MK_EIO. */
int mk_store_export(struct mk_store *st, const struct mk_jid *user,
	int (*fn)(void *arg, const struct mk_table *t, const struct mk_row *row), void *arg);
int mk_store_erase_user(struct mk_store *st, const struct mk_jid *user, uint64_t *rows_out);
int mk_store_drop_domain(struct mk_store *st, struct mk_str domain, uint64_t *rows_out);
/* Rows of one table (insert or replace) whatever their partitions, n <= 10000,
 * in one transaction. 0 or -MK_EIO. */
int mk_store_put_rows(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *const *rows, uint32_t n);
/* All tables of one backend into another, by configured names; progress after
 * each table. Rows that are there already stay as they are, so an
 * interrupted copy can be repeated. -MK_ENOENT, -MK_EINVAL (the other backend
 * can't have such a table), -MK_EIO. */
int mk_store_copy(struct mk_store *st, const char *from, const char *to,
	void (*progress)(void *arg, const char *table, uint64_t rows), void *arg,
	struct mk_diag *d);
/* What opening would create or migrate, as lines in d. */
int mk_store_plan(struct mk_diag *d);
void mk_stores_each(void (*fn)(void *arg, const char *name, const char *plugin,
	bool healthy, unsigned queued, unsigned threads), void *arg);

#endif
