/*
 * pgsql/conn.c - one connection: opening, round trips, statements, values
 *
 * libpq is always in pipeline mode and never blocks: a round trip queues its
 * statements and one Sync, and then waits with poll. What is queued before a
 * Sync is one transaction of the server's, committed by the Sync; so a failure
 * before the Sync was sent, or one that the server answers to a statement, has
 * written nothing, and only silence after the Sync is uncertain.
 *
 * There is no cancel request: libpq's blocks, on the very server that doesn't
 * answer. The server gives up by statement_timeout, we a second later.
 *
 * A connection is used by one thread at a time.
 */
#include "pgsql.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FLUSH_AT (256 * 1024)          /* bytes queued until we wait for the socket */
#define GRACE    (1000 * 1000)         /* usec: the server's own timeout comes first */

/* ---- failures ---------------------------------------------------------------------- */

/* One line a second: with the server away every call fails. */
static void complain(struct mk_backend_conn *c, const char *what, const char *code)
{
	mk_usec now = mk_now_usec(), last = atomic_load(&c->db->complained);

	if ((last == 0 || now - last > 1000000) &&
	    atomic_compare_exchange_strong(&c->db->complained, &last, now))
		mk_log(c->db->inst, MK_ERROR, what, "host=%s database=%s code=%s reason=%s",
			c->db->conf->host, c->db->conf->database, code, c->reason);
}

/* Keeps the first line of a message. */
static void reason_set(struct mk_backend_conn *c, const char *text)
{
	size_t n = strcspn(text, "\n");

	if (n >= sizeof c->reason)
		n = sizeof c->reason - 1;
	memcpy(c->reason, text, n);
	c->reason[n] = '\0';
}

static void metric_add(struct mk_backend_conn *c, uint32_t index)
{
	if (c->db->inst != NULL)
		mk_metric_add(c->db->inst, index, 1);
}

/*
 * What an SQLSTATE (PostgreSQL, appendix A) means to a caller. What isn't the
 * row's fault is RETRY: the operator can cure it, and the row is to be kept.
 */
static enum mk_store_status status_of(const char *state)
{
	static const struct { const char *prefix; enum mk_store_status s; } map[] = {
		{ "23505", MK_STORE_CONFLICT },
		{ "23", MK_STORE_INVALID },    /* a constraint that an operator added  */
		{ "22", MK_STORE_INVALID },    /* out of range                         */
		{ "54", MK_STORE_INVALID },    /* too long for an index                */
	};

	for (size_t i = 0; i < sizeof map / sizeof *map; i++)
		if (strncmp(state, map[i].prefix, strlen(map[i].prefix)) == 0)
			return map[i].s;
	return MK_STORE_RETRY;
}

/* ---- waiting ----------------------------------------------------------------------- */

/* Until the socket can do what is asked; 0 at the deadline. */
static short wait_for(int fd, short events, mk_usec deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		mk_usec left = deadline - mk_now_usec();
		int n = poll(&p, 1, left <= 0 ? 0 : (int)((left + 999) / 1000));
		if (n > 0)
			return p.revents;
		if (n == 0 || errno != EINTR)
			return 0;
	}
}

/* The connection is of no use any more. */
static void lose(struct mk_backend_conn *c, const char *why)
{
	if (!c->lost)
		reason_set(c, why);
	c->lost = true;
}

static void lose_pq(struct mk_backend_conn *c)
{
	const char *text = PQerrorMessage(c->h);

	lose(c, text != NULL && *text != '\0' ? text : "the connection is closed");
}

/* It won't be better the next time. */
static int refuse(struct mk_backend_conn *c, const char *why)
{
	lose(c, why);
	c->refused = true;
	return -MK_EIO;
}

/*
 * Whether a server refused to let us in: role, password, pg_hba.conf (class 28 of
 * the SQLSTATEs), no such database (3D), no privilege for it (42501). libpq tells the
 * state of a failed connection only in its (verbose) text: "FATAL:  28000: ...". Or
 * TLS can't be had with it, which libpq tells in English (nobody calls setlocale).
 */
static bool is_refusal(const char *text)
{
	static const char *const states[] = { ":  28", ":  3D", ":  42501" };
	static const char *const tls[] = { "certificate", "private key", "does not support SSL" };

	for (size_t i = 0; i < sizeof tls / sizeof *tls; i++)
		if (strstr(text, tls[i]) != NULL)
			return true;
	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		const char *at = strstr(text, states[i]);
		if (at != NULL && strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
		    at[8] == ':')
			return true;
	}
	return false;
}

/* Sends what is queued; takes in what comes meanwhile, or the server, whose
 * answers nobody reads, would stop reading. */
static void flush(struct mk_backend_conn *c)
{
	int r;

	while (!c->lost && (r = PQflush(c->h)) != 0) {
		if (r < 0) {
			lose_pq(c);
			return;
		}
		short can = wait_for(PQsocket(c->h), POLLIN | POLLOUT, c->deadline);
		if (can == 0)
			lose(c, "the server doesn't take what is sent: timeout");
		else if ((can & (POLLIN | POLLERR | POLLHUP)) && PQconsumeInput(c->h) == 0)
			lose_pq(c);
	}
}

/* The next result; NULL: the end of a statement's, or lost. */
static PGresult *next_result(struct mk_backend_conn *c)
{
	while (PQisBusy(c->h)) {
		if (c->lost)
			break;
		if (wait_for(PQsocket(c->h), POLLIN, c->deadline) == 0) {
			/* PQgetResult would wait on. */
			lose(c, "the server doesn't answer: timeout");
			return NULL;
		}
		if (PQconsumeInput(c->h) == 0)
			lose_pq(c);    /* what came before the end is still read */
	}
	if (c->lost && PQstatus(c->h) != CONNECTION_BAD)
		return NULL;
	return PQgetResult(c->h);
}

/* ---- opening ----------------------------------------------------------------------- */

static const char *word_of(const char *words, int index, char out[24])
{
	for (; index > 0; index--)
		words = strchr(words, '|') + 1;
	snprintf(out, 24, "%.*s", (int)strcspn(words, "|"), words);
	return out;
}

/* Who signs certificates, where nothing is configured: what the system trusts. */
static const char *system_roots(void)
{
	static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem" };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (access(files[i], R_OK) == 0)
			return files[i];
	return files[0];
}

static const char *or_null(const char *z)
{
	return z != NULL && *z != '\0' ? z : NULL;
}

static int start(struct mk_backend_conn *c)
{
	const struct pgsql_conf *conf = c->db->conf;
	char port[24], timeout[24], sslmode[24];
	const char *keys[24], *values[24];
	unsigned n = 0;

	snprintf(port, sizeof port, "%lld", (long long)conf->port);
	snprintf(timeout, sizeof timeout, "%lld", (long long)conf->connect_timeout);
#define SET(key, value) (keys[n] = key, values[n++] = value)
	SET("host", conf->host);
	SET("port", port);
	SET("dbname", or_null(conf->database));
	SET("user", or_null(conf->user));
	SET("password", or_null(conf->password));
	SET("application_name", "meerkat");
	SET("client_encoding", "UTF8");
	SET("gssencmode", "disable");
	SET("sslmode", word_of(PGSQL_SSLMODES, conf->sslmode, sslmode));
	SET("sslrootcert", conf->root_certificate != NULL ? conf->root_certificate : system_roots());
	SET("sslcert", or_null(conf->certificate));
	SET("sslkey", or_null(conf->private_key));
	/* A standby would refuse what we write. */
	SET("target_session_attrs", "read-write");
	/* A machine that is gone is noticed, and the next of several hosts tried. */
	SET("tcp_user_timeout", timeout);
	SET("keepalives_idle", "30");
	SET("keepalives_interval", "5");
	SET("keepalives_count", "3");
#undef SET
	keys[n] = values[n] = NULL;
	c->h = PQconnectStartParams(keys, values, 0);
	if (c->h == NULL) {
		lose(c, "out of memory");
		return -MK_EIO;
	}
	if (PQstatus(c->h) == CONNECTION_BAD) {
		lose_pq(c);
		c->refused = is_refusal(PQerrorMessage(c->h));
		return -MK_EIO;
	}
	PQsetErrorVerbosity(c->h, PQERRORS_VERBOSE);
	return 0;
}

static int connect_wait(struct mk_backend_conn *c)
{
	PostgresPollingStatusType s = PGRES_POLLING_WRITING;

	while (s != PGRES_POLLING_OK) {
		if (s == PGRES_POLLING_FAILED) {
			lose_pq(c);
			c->refused = is_refusal(PQerrorMessage(c->h));
			return -MK_EIO;
		}
		if (wait_for(PQsocket(c->h), s == PGRES_POLLING_READING ? POLLIN : POLLOUT,
		    c->deadline) == 0) {
			lose(c, "connecting: timeout");
			return -MK_EIO;
		}
		s = PQconnectPoll(c->h);
	}
	return 0;
}

static void ignore_notice(void *arg, const PGresult *r)
{
	(void)arg, (void)r;
}

static void encoding_check(void *arg, unsigned index, const PGresult *r)
{
	bool *is_utf8 = arg;

	(void)index;
	*is_utf8 = PQntuples(r) == 1 &&
		strcmp(PQgetvalue(r, 0, PQnfields(r) - 1), "UTF8") == 0;
}

/* Settings of the session. */
static int session_set(struct mk_backend_conn *c)
{
	const struct pgsql_conf *conf = c->db->conf;
	char timeout[24], commit[24];
	bool is_utf8 = false;
	const char *v[] = { conf->schema, timeout,
		word_of(PGSQL_COMMIT_MODES, conf->synchronous_commit, commit) };

	snprintf(timeout, sizeof timeout, "%lld", (long long)conf->statement_timeout);
	/* enable_...: every statement of ours has an index, but the planner
	 * doesn't trust it while a table is new and has no statistics. */
	trip_text(c, "SELECT set_config('search_path', quote_ident($1), false), "
		"set_config('statement_timeout', $2, false), "
		"set_config('synchronous_commit', $3, false), "
		"set_config('idle_in_transaction_session_timeout', $2, false), "
		"set_config('default_transaction_isolation', 'read committed', false), "
		"set_config('enable_seqscan', 'off', false), "
		"set_config('enable_hashjoin', 'off', false), "
		"set_config('enable_mergejoin', 'off', false), "
		"set_config('jit', 'off', false), "
		"current_setting('server_encoding')", 3, v);
	if (trip_end(c, END_READS, encoding_check, &is_utf8) != MK_STORE_OK)
		return -MK_EIO;
	return is_utf8 ? 0 : refuse(c, "the database's encoding must be UTF8");
}

static int conn_try(struct mk_backend_conn *c)
{
	c->trip = TRIP_OTHER;
	c->sent = 0;
	c->lost = c->again = c->refused = false;
	c->began = mk_now_usec();
	c->deadline = c->began + c->db->conf->connect_timeout * 1000;
	if (start(c) < 0 || connect_wait(c) < 0)
		return -MK_EIO;
	PQsetNoticeReceiver(c->h, ignore_notice, NULL);
	if (PQserverVersion(c->h) < 130000)
		return refuse(c, "PostgreSQL 13 or newer is needed");
	if (PQsetnonblocking(c->h, 1) != 0 || PQenterPipelineMode(c->h) != 1) {
		lose_pq(c);
		return -MK_EIO;
	}
	if (session_set(c) < 0)
		return -MK_EIO;
	metric_add(c, METRIC_CONNECTS);
	return 0;
}

int conn_init(struct mk_backend_conn *c, struct mk_backend_db *db)
{
	c->db = db;
	if (conn_try(c) == 0)
		return 0;
	metric_add(c, TRIP_COUNT_ + TRIP_OTHER);
	complain(c, "PostgreSQL can't be reached", "-");
	PQfinish(c->h);                /* NULL is fine                          */
	c->h = NULL;
	c->lost = true;
	return c->refused ? -MK_EIO : -MK_EAGAIN;
}

void conn_fini(struct mk_backend_conn *c)
{
	PQfinish(c->h);
	c->h = NULL;
	sql_fini(&c->gen);
	for (size_t i = 0; i < sizeof c->column / sizeof *c->column; i++)
		mk_free(c->column[i].p);
	memset(c->column, 0, sizeof c->column);
}

/* Opens it again; statements are prepared anew. */
static bool conn_again(struct mk_backend_conn *c)
{
	PQfinish(c->h);
	c->h = NULL;
	memset(c->stmt, 0, sizeof c->stmt);
	c->stmts = 0;
	return conn_init(c, c->db) == 0;
}

/* Whether the server closed an idle connection (it was restarted). */
static bool is_stale(struct mk_backend_conn *c)
{
	while (PQstatus(c->h) == CONNECTION_OK && wait_for(PQsocket(c->h), POLLIN, 0) != 0)
		if (PQconsumeInput(c->h) == 0)
			return true;
	return PQstatus(c->h) != CONNECTION_OK;
}

/* ---- round trips ------------------------------------------------------------------- */

bool trip_begin(struct mk_backend_conn *c, enum trip kind, int factor)
{
	if (c->is_open) {
		if (c->lost)
			return false;
	} else if ((c->h == NULL || c->lost || c->stmts > STMT_SLOTS / 4 * 3 || is_stale(c)) &&
	           !conn_again(c)) {
		return false;
	}
	c->trip = kind;
	c->began = mk_now_usec();
	c->deadline = c->began + c->db->conf->statement_timeout * 1000 * factor + GRACE;
	c->sent = 0;
	c->again = false;
	return true;
}

static void sent(struct mk_backend_conn *c, int ok, size_t bytes)
{
	static const mk_usec each = 500;       /* a batch has many: they need time */

	if (ok != 1) {
		lose_pq(c);
		return;
	}
	c->sent++;
	c->deadline += each;
	if (bytes > FLUSH_AT || c->sent % 256 == 0)
		flush(c);
}

void trip_send(struct mk_backend_conn *c, const struct stmt *s, const struct params *p)
{
	static const int binary[PARAMS_MAX] = { [0 ... PARAMS_MAX - 1] = 1 };
	char name[16];
	size_t bytes = 0;

	if (c->lost)
		return;
	for (int i = 0; i < p->n; i++)
		bytes += (size_t)p->length[i];
	snprintf(name, sizeof name, "m%u", s->name);
	sent(c, PQsendQueryPrepared(c->h, name, p->n, p->v, p->length, binary, 1), bytes);
}

void trip_text(struct mk_backend_conn *c, const char *sql, int n, const char *const *v)
{
	if (!c->lost)
		sent(c, PQsendQueryParams(c->h, sql, n, NULL, v, NULL, NULL, 0), 0);
}

/* What became of a trip. */
struct outcome {
	enum mk_store_status status;   /* what the server said first            */
	unsigned done;                 /* statements that have their answer     */
	bool synced;                   /* it said that the trip is over         */
	bool told;                     /* it ended the connection by a message  */
};

static void failure(struct mk_backend_conn *c, const PGresult *r, struct outcome *o)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

	if (state == NULL) {           /* libpq's own: the connection is lost   */
		lose(c, PQresultErrorMessage(r));
		return;
	}
	if (o->status != MK_STORE_OK)
		return;
	reason_set(c, text != NULL ? text : "");
	snprintf(c->state, sizeof c->state, "%s", state);
	c->failed = o->done;
	c->again = strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0;
	o->status = status_of(state);
	if (severity != NULL && strcmp(severity, "ERROR") != 0) {
		o->told = o->done < c->sent;
		c->lost = true;
		o->status = MK_STORE_RETRY;
	}
	/* A partition that is in use is dropped another time. */
	bool is_busy = c->trip == TRIP_EXPIRE && strcmp(state, "55P03") == 0;
	if (o->status == MK_STORE_RETRY && !c->again && !is_busy)
		complain(c, "PostgreSQL refused", state);
}

static void results_read(struct mk_backend_conn *c, trip_fn *fn, void *arg, struct outcome *o)
{
	while (!o->synced) {
		PGresult *r = next_result(c);
		if (r == NULL) {
			if (c->lost || PQstatus(c->h) == CONNECTION_BAD)
				return;
			continue;
		}
		switch (PQresultStatus(r)) {
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
			if (fn != NULL)
				fn(arg, o->done, r);
			o->done++;
			break;
		case PGRES_PIPELINE_SYNC:
			o->synced = true;
			break;
		case PGRES_PIPELINE_ABORTED:
			o->done++;
			break;
		default:
			failure(c, r, o);
			o->done++;
		}
		PQclear(r);
	}
}

enum mk_store_status trip_end(struct mk_backend_conn *c, enum trip_end end, trip_fn *fn,
	void *arg)
{
	struct outcome o = { .status = MK_STORE_OK };
	bool may_commit = false;

	if (!c->lost) {
		may_commit = end == END_WRITES || end == END_COMMITS;
		if (PQpipelineSync(c->h) != 1)
			lose_pq(c);
		flush(c);
		results_read(c, fn, arg, &o);
	}
	if (!o.synced) {
		c->lost = true;
		/* A statement that was refused together with the connection was
		 * not carried out; COMMIT may have been. */
		bool nothing = !may_commit || (o.told && end == END_WRITES);
		if (!o.told)
			complain(c, "PostgreSQL was lost", "-");
		o.status = nothing ? MK_STORE_RETRY : MK_STORE_UNCERTAIN;
	}
	if (c->db->inst != NULL)
		mk_metric_observe(c->db->inst, c->trip, mk_now_usec() - c->began);
	if (o.status != MK_STORE_OK && o.status != MK_STORE_CONFLICT)
		metric_add(c, TRIP_COUNT_ + c->trip);
	return o.status;
}

enum mk_store_status trip_refused(struct mk_backend_conn *c)
{
	(void)c;
	return MK_STORE_RETRY;
}

/* ---- statements -------------------------------------------------------------------- */

struct stmt *stmt_get(struct mk_backend_conn *c, const struct mk_table *t,
	enum sql_stmt kind, uint32_t bits, uint32_t columns)
{
	uint64_t hash = ((uint64_t)(uintptr_t)t ^ (uint64_t)kind << 48 ^ (uint64_t)bits << 40 ^
		columns) * UINT64_C(0x9e3779b97f4a7c15);
	unsigned i = (unsigned)(hash >> 40) % STMT_SLOTS;
	struct stmt *s;

	for (;; i = (i + 1) % STMT_SLOTS) {
		s = &c->stmt[i];
		if (s->name == 0)
			break;
		if (s->table == t && s->kind == kind && s->bits == bits && s->columns == columns)
			return s;
	}
	if (c->lost || c->stmts >= STMT_SLOTS - 1)
		return NULL;
	struct stmt want = { .table = t, .kind = kind, .bits = bits, .columns = columns,
		.name = ++c->last_name, .careful = CAREFUL };
	enum trip trip = c->trip;
	char name[16];
	sql_begin(&c->gen, &pgsql_dialect);
	sql_stmt(&c->gen, t, kind, bits, columns);
	snprintf(name, sizeof name, "m%u", want.name);
	c->trip = TRIP_OTHER;
	sent(c, PQsendPrepare(c->h, name, c->gen.p, 0, NULL), 0);
	bool prepared = trip_end(c, END_READS, NULL, NULL) == MK_STORE_OK;
	c->sent = 0;
	c->trip = trip;
	if (!prepared)
		return NULL;
	*s = want;
	c->stmts++;
	return s;
}

/* ---- values ------------------------------------------------------------------------ */

void params_add(struct params *p, const struct mk_value *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		int at = p->n++;
		switch (v[i].type) {
		case MK_INT:
			p->number[at] = (int64_t)htobe64((uint64_t)v[i].as.i);
			p->v[at] = (const char *)&p->number[at];
			p->length[at] = sizeof p->number[at];
			break;
		case MK_TEXT:
		case MK_BLOB:
			p->v[at] = v[i].as.b.n != 0 ? v[i].as.b.p : "";
			p->length[at] = (int)v[i].as.b.n;
			break;
		default:
			p->v[at] = NULL;
			p->length[at] = 0;
		}
	}
}

void params_bytes(struct params *p, const struct bytes *b)
{
	p->v[p->n] = b->p;
	p->length[p->n++] = (int)b->n;
}

int64_t result_int(const PGresult *res, int r, int f)
{
	uint64_t v = 0;

	if (!PQgetisnull(res, r, f) && PQgetlength(res, r, f) == sizeof v)
		memcpy(&v, PQgetvalue(res, r, f), sizeof v);
	return (int64_t)be64toh(v);
}

struct mk_value result_value(const PGresult *res, int r, int f, uint16_t type,
	struct mk_arena *a)
{
	if (PQgetisnull(res, r, f))
		return mk_absent();
	if (type == MK_INT)
		return mk_int(result_int(res, r, f));
	size_t n = (size_t)PQgetlength(res, r, f);
	struct mk_value v = mk_blob(mk_arena_strndup(a, PQgetvalue(res, r, f), n), n);
	v.type = (uint8_t)type;
	return v;
}

uint64_t result_count(const PGresult *res)
{
	/* PQcmdTuples wants to clear a cache in it. */
	return strtoull(PQcmdTuples((PGresult *)(uintptr_t)res), NULL, 10);
}
