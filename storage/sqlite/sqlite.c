/*
 * sqlite/sqlite.c - storage in a SQLite file: nothing else to install or run
 *
 * A database lives from db_open to db_close; the core opens connections for
 * its job threads in between.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *path_of(const struct sqlite_conf *conf)
{
	const char *file = conf->file != NULL && conf->file[0] != '\0' ? conf->file : "meerkat.db";

	if (file[0] == '/')
		return mk_strdup(file);
	struct mk_arena *a = mk_arena_new();
	char *path = mk_strdup(mk_arena_printf(a, "%s/%s", mk_data_dir(), file));
	mk_arena_free(&a);
	return path;
}

/* Makes the file, for its owner only: it holds credentials. SQLite gives the
 * log beside it the same mode. An existing file is not touched: closing a
 * descriptor of it would drop the locks of others in this process. */
static int file_make(const char *path, struct mk_diag *d)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EEXIST) {
		mk_diag_add(d, "%s: %s", path, strerror(errno));
		return -MK_EIO;
	}
	if (fd >= 0)
		close(fd);
	return 0;
}

static void db_free(struct mk_backend_db *db)
{
	if (db->writer.h != NULL)
		conn_fini(&db->writer);
	pthread_cond_destroy(&db->writer.wake);
	pthread_mutex_destroy(&db->lock);
	mk_free(db->path);
	mk_free(db);
}

static int schema_open(struct mk_backend_db *db, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	struct mk_backend_conn *w = &db->writer;
	int r;

	if (conn_init(w, db, true) < 0 || conn_exec(w, "BEGIN IMMEDIATE") != SQLITE_OK) {
		mk_diag_add(d, "%s: %s", db->path,
			w->h != NULL ? sqlite3_errmsg(w->h) : "can't be opened as a database (see the log)");
		return -MK_EIO;
	}
	r = schema_apply(w, tables, false, d);
	if (r == 0 && conn_exec(w, "COMMIT") != SQLITE_OK) {
		mk_diag_add(d, "%s: %s", db->path, sqlite3_errmsg(w->h));
		r = -MK_EIO;
	}
	return r;
}

/* Looks only: makes neither the file nor the log beside it. */
static int schema_plan(struct mk_backend_db *db, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	struct mk_backend_conn c = { .db = db };
	struct stat st;
	int r;

	if (stat(db->path, &st) == 0) {
		if (sqlite3_open_v2(db->path, &c.h, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK) {
			mk_diag_add(d, "%s: %s", db->path,
				c.h != NULL ? sqlite3_errmsg(c.h) : "out of memory");
			sqlite3_close_v2(c.h);
			return -MK_EIO;
		}
	} else {
		mk_diag_add(d, "%s: is created", db->path);
	}
	r = schema_apply(&c, tables, true, d);
	conn_fini(&c);
	return r;
}

static int db_open(struct mk_inst *i, const void *conf, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d, struct mk_backend_db **db_out)
{
	const struct sqlite_conf *sc = conf;
	struct mk_backend_db *db = mk_alloc(sizeof *db);
	int r;

	db->inst = i;
	db->path = path_of(sc);
	db->synchronous = sc->synchronous;
	db->busy_timeout = sc->busy_timeout;
	db->cache = sc->cache;
	db->mmap = sc->mmap;
	db->last = &db->first;
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->writer.wake, NULL);
	db->writer.db = db;
	if (!sqlite3_threadsafe() || sqlite3_libversion_number() < 3024000) {
		mk_diag_add(d, "this SQLite (%s) is too old, or built without threads",
			sqlite3_libversion());
		r = -MK_EVERSION;
	} else if (dry_run) {
		r = schema_plan(db, tables, d);
	} else {
		r = file_make(db->path, d);
		if (r == 0)
			r = schema_open(db, tables, d);
	}
	if (r < 0 || dry_run)
		db_free(db);
	else
		*db_out = db;
	return r;
}

struct declare_request {
	struct request r;
	const struct mk_table *const *tables;
	struct mk_diag *d;
	int result;
};

static enum mk_store_status declare_run(struct mk_backend_conn *c, struct request *r)
{
	struct declare_request *q = (struct declare_request *)r;

	q->result = schema_apply(c, q->tables, false, q->d);
	return q->result == 0 ? MK_STORE_OK : MK_STORE_INVALID;
}

static int db_declare(struct mk_backend_db *db, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	struct declare_request q = { .r.run = declare_run, .tables = tables, .d = d };
	struct mk_backend_conn turn = { .db = db };    /* only to wait with    */

	pthread_cond_init(&turn.wake, NULL);
	enum mk_store_status s = write_submit(&turn, &q.r);
	pthread_cond_destroy(&turn.wake);
	if (s == MK_STORE_OK)
		return 0;
	if (q.result == 0)
		mk_diag_add(d, "%s: can't be written (see the log)", db->path);
	return q.result < 0 ? q.result : -MK_EIO;
}

static void db_close(struct mk_backend_db *db)
{
	db_free(db);
}

static int conn_open(struct mk_backend_db *db, struct mk_backend_conn **out)
{
	struct mk_backend_conn *c = mk_alloc(sizeof *c);

	if (conn_init(c, db, false) < 0) {
		mk_free(c);
		return -MK_EIO;
	}
	pthread_cond_init(&c->wake, NULL);
	*out = c;
	return 0;
}

static void conn_close(struct mk_backend_conn *c)
{
	conn_fini(c);
	pthread_cond_destroy(&c->wake);
	mk_free(c);
}

static const struct mk_backend backend = {
	.size = sizeof backend,
	.caps = MK_CAP_SEARCH | MK_CAP_RANGE | MK_CAP_DURABLE,
	.db_open = db_open, .db_declare = db_declare, .db_close = db_close,
	.conn_open = conn_open, .conn_close = conn_close,
	.get = op_get, .query = op_query, .count = op_count, .take = op_take,
	.delete_range = op_delete_range, .add = op_add, .write = op_write,
	.append = op_append, .scan = op_scan, .drop_domain = op_drop_domain, .ping = op_ping,
	.get_many = op_get_many,
};

static const struct mk_conf_item items[] = {
	MK_CONF_FIELD(struct sqlite_conf, file, const char *, MK_CONF_FILE, 0, NULL, NULL,
		"The database file; meerkat.db in the data folder if it is not set."),
	MK_CONF_FIELD(struct sqlite_conf, synchronous, int, MK_CONF_ENUM, 0, "full", "full|normal",
		"full: what is committed survives a power failure; normal: only a crash of the "
		"server."),
	MK_CONF_FIELD(struct sqlite_conf, busy_timeout, int64_t, MK_CONF_DURATION, 0, "5s",
		"0..1m", "How long a write waits for another program that uses the file."),
	MK_CONF_FIELD(struct sqlite_conf, cache, int64_t, MK_CONF_SIZE, 0, "8MB", "64KB..16GB",
		"Page cache of each connection; there is one per job thread and one to write."),
	MK_CONF_FIELD(struct sqlite_conf, mmap, int64_t, MK_CONF_SIZE, 0, "256MB", "0..1TB",
		"How much of the file is read through memory mapping."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct sqlite_conf, items);

MK_PLUGIN(sqlite, "sqlite",
	.version = "1.0", .summary = "Storage in a SQLite file", .license = "BSD-2-Clause",
	.flags = MK_PLUGIN_GLOBAL, .conf = &schema, .backend = &backend)
