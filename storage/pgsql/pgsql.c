/*
 * pgsql/pgsql.c - storage in a PostgreSQL database
 *
 * A database lives from db_open to db_close and is nothing but its settings;
 * the core opens connections for its job threads in between. What concerns
 * tables uses a connection of its own for a moment.
 */
#include "pgsql.h"

static int with_connection(struct mk_backend_db *db, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d)
{
	struct mk_backend_conn *c = mk_alloc(sizeof *c);
	int r = conn_init(c, db);

	if (r < 0)
		mk_diag_add(d, "PostgreSQL at %s: %s", db->conf->host, c->reason);
	else
		r = schema_apply(c, tables, dry_run, d);
	if (r == -MK_EIO && c->lost && !c->refused)
		r = -MK_EAGAIN;
	conn_fini(c);
	mk_free(c);
	return r;
}

static int db_open(struct mk_inst *i, const void *conf, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d, struct mk_backend_db **db_out)
{
	struct mk_backend_db *db = mk_alloc(sizeof *db);
	int r = -MK_EVERSION;

	db->inst = i;
	db->conf = conf;
	if (PQlibVersion() < 140000 || !PQisthreadsafe())
		mk_diag_add(d, "this libpq (%d) is too old, or built without threads", PQlibVersion());
	else
		r = with_connection(db, tables, dry_run, d);
	if (r < 0 || dry_run)
		mk_free(db);
	else
		*db_out = db;
	return r;
}

static int db_declare(struct mk_backend_db *db, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	return with_connection(db, tables, false, d);
}

static void db_close(struct mk_backend_db *db)
{
	mk_free(db);
}

static int conn_open(struct mk_backend_db *db, struct mk_backend_conn **out)
{
	struct mk_backend_conn *c = mk_alloc(sizeof *c);

	if (conn_init(c, db) < 0) {
		conn_fini(c);
		mk_free(c);
		return -MK_EIO;
	}
	*out = c;
	return 0;
}

static void conn_close(struct mk_backend_conn *c)
{
	conn_fini(c);
	mk_free(c);
}

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct pgsql_conf *c = mk_conf_view_values(v);

	if (c->schema == NULL || *c->schema == '\0' || strlen(c->schema) > 63 ||
	    strncmp(c->schema, "pg_", 3) == 0) {
		mk_conf_refuse(v, d, "schema", "is not the name of a schema "
			"(1 to 63 bytes, not beginning with pg_)");
		return -MK_EINVAL;
	}
	if (c->host == NULL || *c->host == '\0') {
		mk_conf_refuse(v, d, "host", "names no server, nor a folder with its socket");
		return -MK_EINVAL;
	}
	return 0;
}

static const struct mk_backend backend = {
	.size = sizeof backend,
	.caps = MK_CAP_SEARCH | MK_CAP_RANGE | MK_CAP_DURABLE,
	.db_open = db_open, .db_declare = db_declare, .db_close = db_close,
	.conn_open = conn_open, .conn_close = conn_close,
	.get = op_get, .query = op_query, .count = op_count, .take = op_take,
	.delete_range = op_delete_range, .add = op_add, .write = op_write,
	.append = op_append, .scan = op_scan, .drop_domain = op_drop_domain, .ping = op_ping,
	.get_many = op_get_many, .expire = op_expire,
};

#define C struct pgsql_conf
static const struct mk_conf_item items[] = {
	MK_CONF_FIELD(C, host, const char *, MK_CONF_STRING, 0, "/var/run/postgresql", NULL,
		"Name or address of the server, or the folder of its socket; several, with commas, "
		"are tried in turn for the one that takes writes."),
	MK_CONF_FIELD(C, port, int64_t, MK_CONF_INT, 0, "5432", "1..65535",
		"Port of the server (of its socket, too)."),
	MK_CONF_FIELD(C, database, const char *, MK_CONF_STRING, 0, "meerkat", NULL,
		"The database; its encoding must be UTF8."),
	MK_CONF_FIELD(C, user, const char *, MK_CONF_STRING, 0, "meerkat", NULL,
		"The role that logs in; it must own the tables."),
	MK_CONF_FIELD(C, password, const char *, MK_CONF_SECRET, 0, NULL, NULL,
		"Its password; not needed where the server trusts the socket or a certificate."),
	MK_CONF_FIELD(C, schema, const char *, MK_CONF_STRING, 0, "public", NULL,
		"The schema that holds the tables; created if it is missing."),
	MK_CONF_FIELD(C, sslmode, int, MK_CONF_ENUM, 0, "verify-full", PGSQL_SSLMODES,
		"How much TLS: verify-full checks the certificate and its name; a socket has none."),
	MK_CONF_FIELD(C, root_certificate, const char *, MK_CONF_FILE, 0, NULL, NULL,
		"Certificates that may sign the server's; those of the system if it is not set."),
	MK_CONF_FIELD(C, certificate, const char *, MK_CONF_FILE, 0, NULL, NULL,
		"Our own certificate, if the server asks for one."),
	MK_CONF_FIELD(C, private_key, const char *, MK_CONF_FILE, 0, NULL, NULL,
		"The key of certificate."),
	MK_CONF_FIELD(C, connect_timeout, int64_t, MK_CONF_DURATION, 0, "5s", "100ms..1m",
		"How long connecting may take, TLS and login included."),
	MK_CONF_FIELD(C, statement_timeout, int64_t, MK_CONF_DURATION, 0, "10s", "100ms..10m",
		"How long a statement may take; the server stops it then."),
	MK_CONF_FIELD(C, synchronous_commit, int, MK_CONF_ENUM, 0, "on", PGSQL_COMMIT_MODES,
		"When a write counts as done; off may lose what was acknowledged."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(C, items);

/* A histogram of each kind of round trip, then its failures, then the rest. */
#define M(kind, name, help) &(const struct mk_metric){ sizeof(struct mk_metric), kind, name, help }
#define HISTOGRAM(id, name, what)                                          \
	[TRIP_##id] = M(MK_HISTOGRAM, name "_usec", "Microseconds of statements: " what),
#define FAILURES(id, name, what)                                           \
	[TRIP_COUNT_ + TRIP_##id] = M(MK_COUNTER, name "_failures_total",      \
		"Statements that failed: " what),
static const struct mk_metric *const metrics[METRIC_COUNT_ + 1] = {
	PGSQL_TRIPS(HISTOGRAM)
	PGSQL_TRIPS(FAILURES)
	[METRIC_CONNECTS] = M(MK_COUNTER, "connects_total", "Connections opened"),
	[METRIC_REPEATS] = M(MK_COUNTER, "repeats_total",
		"Transactions run again after a deadlock or a serialization failure"),
};

MK_PLUGIN(pgsql, "pgsql",
	.version = "1.0", .summary = "Storage in a PostgreSQL database",
	.license = "BSD-2-Clause", .flags = MK_PLUGIN_GLOBAL, .conf = &schema,
	.metrics = metrics, .check = check, .backend = &backend)
