/*
 * ctl/commands.c - the core's own commands
 *
 * Each runs in a job. What belongs to the main thread is done there by
 * mk_main_call, what belongs to workers by mk_workers_call, copying what it
 * needs.
 */
#include <meerkat/auth.h>
#include "ctl/cmd.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metric.h"
#include "ctl/ctl.h"
#include "loop/worker.h"
#include "main/app.h"
#include "domain/domain.h"
#include "jid/jid.h"
#include "session/account.h"
#include "session/session.h"
#include "session/trace.h"
#include "store/journal.h"
#include "store/store.h"
#include "stream/stream.h"
#include "base/ban.h"

#define COMMAND(id, words, text, arg_list)                                     \
	static int run_##id(struct mk_inst *, struct mk_cmd *, struct mk_store *); \
	static const struct mk_command command_##id = { .size = sizeof(struct mk_command), \
		.name = words, .doc = text, .args = arg_list, .run = run_##id };           \
	static int run_##id(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st)
#define UNUSED (void)i, (void)c, (void)st

static int stopping(struct mk_cmd *c)
{
	return mk_cmd_fail(c, -MK_EAGAIN, "the server is stopping");
}

/* ---- server ----------------------------------------------------------------------- */

static int64_t resident_bytes(void)
{
	long pages = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f != NULL) {
		if (fscanf(f, "%ld %ld", &pages, &rss) != 2)
			rss = 0;
		fclose(f);
	}
	return (int64_t)rss * sysconf(_SC_PAGESIZE);
}

struct totals { int64_t sessions, preauth; };
static void add_totals(struct mk_worker *w, void *arg)
{
	struct totals *t = arg;
	t->sessions += mk_sessions_count(w);
	t->preauth += mk_streams_preauth();
}

COMMAND(status, "status", "Whether the server runs, and since when.", NULL)
{
	UNUSED;
	mk_cmd_str(c, "version", MK_VERSION);
	mk_cmd_int(c, "pid", getpid());
	mk_cmd_int(c, "uptime_s", (mk_now_usec() - mk_app_started()) / 1000000);
	mk_cmd_str(c, "config", mk_app_config()->path);
	return 0;
}

struct backends { int64_t n, healthy; };
static void count_backend(void *arg, const char *name, const char *plugin, bool healthy,
	unsigned queued, unsigned threads)
{
	struct backends *b = arg;

	(void)name, (void)plugin, (void)queued, (void)threads;
	b->n++;
	b->healthy += healthy;
}

COMMAND(stats, "stats", "Numbers of the moment.", NULL)
{
	struct totals t = { 0, 0 };
	struct mk_journal_stats j = { 0 };
	struct backends b = { 0, 0 };

	UNUSED;
	mk_workers_call(add_totals, &t);
	mk_stores_each(count_backend, &b);
	mk_cmd_int(c, "sessions", t.sessions);
	mk_cmd_int(c, "streams_before_login", t.preauth);
	mk_cmd_int(c, "domains", mk_domain_count());
	mk_cmd_int(c, "workers", mk_worker_count);
	mk_cmd_int(c, "uptime_s", (mk_now_usec() - mk_app_started()) / 1000000);
	mk_cmd_int(c, "memory_bytes", resident_bytes());
	if (mk_journal_is_open())
		mk_journal_stats(&j);
	mk_cmd_int(c, "journal_records", (int64_t)j.records);
	mk_cmd_int(c, "journal_live", (int64_t)j.live);
	mk_cmd_int(c, "journal_bytes", (int64_t)j.bytes);
	mk_cmd_int(c, "journal_syncs", (int64_t)j.syncs);
	mk_cmd_int(c, "journal_errors", (int64_t)j.errors);
	mk_cmd_int(c, "backends", b.n);
	mk_cmd_int(c, "backends_healthy", b.healthy);
	mk_cmd_int(c, "rows_to_be_written", mk_append_queued());
	return 0;
}

COMMAND(metrics, "metrics", "All metrics as OpenMetrics text.", NULL)
{
	struct mk_buf b = { 0 };

	UNUSED;
	mk_metrics_text(&b);
	mk_cmd_text(c, "%s", mk_buf_z(&b));
	mk_buf_free(&b);
	return 0;
}

COMMAND(stop, "stop", "Stops the server in an orderly way.", NULL)
{
	UNUSED;
	mk_app_quit();
	mk_cmd_text(c, "stopping\n");
	return 0;
}

struct reload_call { struct mk_cmd *c; bool dry; struct mk_diag d; int r, n; };
static void reload_line(void *arg, const char *setting, const char *from, const char *to,
	const char *need)
{
	struct reload_call *x = arg;
	x->n++;
	mk_cmd_row(x->c);
	mk_cmd_str(x->c, "setting", setting);
	mk_cmd_str(x->c, "from", from);
	mk_cmd_str(x->c, "to", to);
	mk_cmd_str(x->c, "needs", need);
}
static void reload_main(void *arg)
{
	struct reload_call *x = arg;
	x->r = mk_app_reload(x->dry, &x->d, reload_line, x);
}
static const struct mk_arg args_reload[] = {
	{ "dry-run", MK_ARG_FLAG, true, "only say what would change" }, { 0 }
};
COMMAND(reload, "reload", "Reads the configuration again and makes it effective.", args_reload)
{
	struct reload_call x = { .c = c, .dry = mk_cmd_flag(c, "dry-run") };
	int r;

	UNUSED;
	if (!mk_main_call(reload_main, &x))
		return stopping(c);
	r = x.r;
	if (r < 0)
		mk_cmd_fail(c, r, "%s", x.d.text.n != 0 ? mk_buf_z(&x.d.text) : mk_strerror(-r));
	else if (x.n == 0)
		mk_cmd_text(c, "nothing changed\n");
	mk_diag_fini(&x.d);
	return r;
}

static const struct mk_arg args_level[] = {
	{ "level", MK_ARG_TEXT, false, "error, warn, notice, info or debug" }, { 0 }
};
COMMAND(log_level, "log level", "Changes how much is logged, until the next reload.", args_level)
{
	static const char *const names[] = { "error", "warn", "notice", "info", "debug" };

	UNUSED;
	for (int l = 0; l < 5; l++)
		if (strcmp(names[l], mk_cmd_arg(c, "level")) == 0) {
			mk_log_set_level((enum mk_level)l);
			return 0;
		}
	return mk_cmd_fail(c, -MK_EINVAL, "'%s' is no level: error, warn, notice, info, debug",
		mk_cmd_arg(c, "level"));
}

static void reopen_main(void *arg)
{
	(void)arg;
	mk_app_reopen_log();
}
COMMAND(log_reopen, "log reopen", "Opens the log file anew, after it was rotated.", NULL)
{
	UNUSED;
	return mk_main_call(reopen_main, NULL) ? 0 : stopping(c);
}

struct cert_list { struct mk_cmd *c; };
static void one_cert(void *arg, const char *domain, const char *serial, int64_t not_after)
{
	struct cert_list *l = arg;
	char t[32];

	mk_time_format(t, not_after * 1000);
	mk_cmd_row(l->c);
	mk_cmd_str(l->c, "domain", domain);
	mk_cmd_str(l->c, "serial", serial);
	mk_cmd_str(l->c, "not_after", t);
	mk_cmd_int(l->c, "days_left", (not_after - mk_wall_ms() / 1000) / 86400);
}
static void certs_main(void *arg)
{
	if (mk_app_tls() != NULL)
		mk_tls_store_each(mk_app_tls(), one_cert, arg);
}
COMMAND(certificate_list, "certificate list", "Certificates in use and when they expire.", NULL)
{
	struct cert_list l = { c };

	UNUSED;
	return mk_main_call(certs_main, &l) ? 0 : stopping(c);
}

static const char *const arg_types[] = { "", "text", "integer", "jid", "domain", "secret", "flag",
	"words" };
static bool describe_one(void *arg, const struct mk_command *cmd, struct mk_inst *inst)
{
	struct mk_cmd *c = arg;
	json_t *args = json_array();

	for (const struct mk_arg *a = cmd->args; a != NULL && a->name != NULL; a++)
		json_array_append_new(args, json_pack("{s:s, s:s, s:b, s:s}", "name", a->name,
			"type", arg_types[a->type], "optional", a->optional || a->type == MK_ARG_FLAG,
			"doc", a->doc));
	mk_cmd_row(c);
	mk_cmd_str(c, "name", cmd->name);
	mk_cmd_str(c, "doc", cmd->doc);
	mk_cmd_str(c, "plugin", inst != NULL ? mk_inst_plugin(inst) : "");
	mk_cmd_json(c, "args", args);
	return true;
}
static void describe_main(void *arg) { mk_commands_each(describe_one, arg); }
COMMAND(commands, "commands", "The table of all commands, for front ends.", NULL)
{
	UNUSED;
	return mk_main_call(describe_main, c) ? 0 : stopping(c);
}

/* ---- accounts ----------------------------------------------------------------------- */

static const struct mk_arg args_account[] = {
	{ "jid", MK_ARG_JID, false, "the account's bare JID" }, { 0 }
};
static const struct mk_arg args_password[] = {
	{ "jid", MK_ARG_JID, false, "the account's bare JID" },
	{ "password", MK_ARG_SECRET, false, "the password" }, { 0 }
};

static int account_jid(struct mk_cmd *c, const struct mk_jid **out)
{
	const struct mk_jid *j = mk_cmd_arg_jid(c, "jid");

	if (mk_jid_local(j).n == 0 || !mk_jid_is_bare(j))
		return mk_cmd_fail(c, -MK_EJID, "an account is user@domain: %s", mk_jid_full(j));
	if (mk_domain_of(j) == NULL)
		return mk_cmd_fail(c, -MK_ENOENT, "this server has no (enabled) domain %.*s",
			(int)mk_jid_domain(j).n, mk_jid_domain(j).p);
	*out = j;
	return 0;
}

static int set_password(struct mk_cmd *c, struct mk_store *st, bool create)
{
	const struct mk_jid *j;
	int r = account_jid(c, &j);

	if (r < 0)
		return r;
	r = mk_account_set_password(st, j, mk_strz(mk_cmd_arg(c, "password")), create);
	if (r == -MK_EEXIST)
		return mk_cmd_fail(c, r, "%s is registered already", mk_jid_full(j));
	if (r == -MK_ENOENT)
		return mk_cmd_fail(c, r, "%s is not registered", mk_jid_full(j));
	if (r < 0)
		return mk_cmd_fail(c, r, "the password of %s can't be set: %s", mk_jid_full(j),
			mk_strerror(-r));
	return 0;
}

COMMAND(account_register, "account register", "Creates an account.", args_password)
{
	UNUSED;
	return set_password(c, st, true);
}
COMMAND(account_password, "account password", "Sets an account's password.", args_password)
{
	UNUSED;
	return set_password(c, st, false);
}
COMMAND(account_unregister, "account unregister",
	"Removes an account, its data and its sessions.", args_account)
{
	const struct mk_jid *j;
	int r = account_jid(c, &j);

	UNUSED;
	if (r == 0 && (r = mk_account_remove(st, j)) < 0)
		mk_cmd_fail(c, r, "%s: %s", mk_jid_full(j),
			r == -MK_ENOENT ? "not registered" : mk_strerror(-r));
	return r;
}

static const struct mk_arg args_check[] = {
	{ "jid", MK_ARG_JID, false, "the account's bare JID" },
	{ "password", MK_ARG_SECRET, true, "also check this password" }, { 0 }
};
COMMAND(account_check, "account check", "Whether an account exists, or has a password.", args_check)
{
	const struct mk_jid *j;
	const char *password = mk_cmd_arg(c, "password");
	struct mk_str prepared = MK_STR_NONE;
	enum mk_auth_answer a;
	int r = account_jid(c, &j);

	UNUSED;
	if (r < 0)
		return r;
	/* What can't be a password is a wrong one. */
	if (password == NULL)
		a = mk_account_exists(st, j);
	else if (mk_saslprep(mk_store_arena(st), mk_strz(password), &prepared) < 0 ||
	         prepared.n == 0)
		a = MK_AUTH_NO;
	else
		a = mk_account_plain(st, j, prepared);
	if (a == MK_AUTH_LATER)
		return mk_cmd_fail(c, -MK_EAGAIN, "not now: the credential source does not "
			"answer, or too many passwords are being checked");
	if (a != MK_AUTH_YES)
		return mk_cmd_fail(c, password != NULL ? -MK_EAUTH : -MK_ENOENT, "%s: %s",
			mk_jid_full(j), password != NULL ? "wrong password, or no such account"
			                                 : "no such account");
	mk_cmd_str(c, "jid", mk_jid_full(j));
	mk_cmd_bool(c, "exists", true);
	return 0;
}

static int account_error(struct mk_cmd *c, int err, const struct mk_jid *d)
{
	return mk_cmd_fail(c, err, err == -MK_ENOENT ? "there is no domain %s"
		: err == -MK_EPERM ? "no credential source of %s can list its users"
		: "the credential sources of %s do not answer", mk_jid_full(d));
}

static int limit_arg(struct mk_cmd *c)
{
	int64_t n = mk_cmd_arg_int(c, "limit", 1000);

	if (n < 1 || n > 1000000)
		return mk_cmd_fail(c, -MK_EINVAL, "'limit' must be from 1 to 1000000");
	return (int)n;
}

static const struct mk_arg args_account_list[] = {
	{ "domain", MK_ARG_DOMAIN, false, "the domain" },
	{ "after", MK_ARG_TEXT, true, "names after this one" },
	{ "limit", MK_ARG_INT, true, "how many at most (1000)" }, { 0 }
};
COMMAND(account_list, "account list", "Accounts of a domain, in order.", args_account_list)
{
	const struct mk_jid *d = mk_cmd_arg_jid(c, "domain");
	const char *after = mk_cmd_arg(c, "after");
	struct mk_str *users;
	int limit = limit_arg(c), n;

	UNUSED;
	if (limit < 0)
		return limit;
	n = mk_account_list(st, mk_jid_domain(d), after != NULL ? mk_strz(after) : MK_STR_NONE,
		(uint32_t)limit, &users);
	if (n < 0)
		return account_error(c, n, d);
	for (int k = 0; k < n; k++) {
		struct mk_buf b = { 0 };
		mk_buf_printf(&b, "%.*s@%s", (int)users[k].n, users[k].p, mk_jid_full(d));
		mk_cmd_row(c);
		mk_cmd_str(c, "jid", mk_buf_z(&b));
		mk_buf_free(&b);
	}
	return 0;
}

static const struct mk_arg args_one_domain[] = {
	{ "domain", MK_ARG_DOMAIN, false, "the domain" }, { 0 }
};
COMMAND(account_count, "account count", "How many accounts a domain has.", args_one_domain)
{
	const struct mk_jid *d = mk_cmd_arg_jid(c, "domain");
	uint64_t n = 0;
	int r = mk_account_count(st, mk_jid_domain(d), &n);

	UNUSED;
	if (r < 0)
		return account_error(c, r, d);
	mk_cmd_int(c, "count", (int64_t)n);
	return 0;
}

/* ---- sessions ------------------------------------------------------------------------- */

struct session_list {
	struct mk_cmd *c;
	const struct mk_jid *domain, *jid;
	int64_t limit, n;
	const char *condition;         /* kick                                  */
	bool details;
};

static bool wanted(const struct session_list *l, const struct mk_session *s)
{
	if (l->domain != NULL && !mk_str_eq(mk_jid_domain(s->jid), mk_jid_domain(l->domain)))
		return false;
	return l->jid == NULL || (mk_jid_is_bare(l->jid) ? mk_jid_bare_eq(s->jid, l->jid)
	                                                  : mk_jid_eq(s->jid, l->jid));
}

static bool list_one(struct mk_session *s, void *arg)
{
	struct session_list *l = arg;
	char t[32], tls[128] = "";

	if (!wanted(l, s))
		return true;
	mk_time_format(t, s->since_ms);
	mk_cmd_row(l->c);
	mk_cmd_str(l->c, "jid", mk_jid_full(s->jid));
	mk_cmd_str(l->c, "since", t);
	mk_cmd_bool(l->c, "available", mk_session_is_available(s));
	mk_cmd_int(l->c, "priority", s->priority);
	mk_cmd_str(l->c, "address", s->stream != NULL ? mk_stream_remote(s->stream) : "");
	mk_cmd_bool(l->c, "connected", s->stream != NULL);
	mk_cmd_bool(l->c, "encrypted", s->stream != NULL && mk_stream_is_encrypted(s->stream));
	if (l->details) {
		if (s->stream != NULL && s->stream->conn->tls != NULL)
			mk_tls_describe(s->stream->conn->tls, tls, sizeof tls);
		mk_cmd_str(l->c, "tls", tls);
		mk_cmd_int(l->c, "idle_s", s->stream != NULL
			? (mk_now_usec() - s->stream->last_in) / 1000000 : 0);
		mk_cmd_bool(l->c, "acknowledgements", s->flags & MK_SES_ACKS);
		mk_cmd_int(l->c, "worker", mk_self->index);
	}
	return ++l->n < l->limit;
}

static void list_worker(struct mk_worker *w, void *arg)
{
	struct session_list *l = arg;
	if (l->n < l->limit)
		mk_sessions_each(w, list_one, l);
}

static bool kick_one(struct mk_session *s, void *arg)
{
	struct session_list *l = arg;

	if (wanted(l, s)) {
		l->n++;
		mk_session_end(s, l->condition, "ended by an administrator");
	}
	return true;
}
static void kick_worker(struct mk_worker *w, void *arg) { mk_sessions_each(w, kick_one, arg); }

static const struct mk_arg args_session_list[] = {
	{ "domain", MK_ARG_DOMAIN, true, "only this domain's" },
	{ "user", MK_ARG_JID, true, "only this user's" },
	{ "limit", MK_ARG_INT, true, "how many at most (1000)" }, { 0 }
};
COMMAND(session_list, "session list", "Sessions that are open now, in no order.",
	args_session_list)
{
	struct session_list l = { .c = c, .domain = mk_cmd_arg_jid(c, "domain"),
		.jid = mk_cmd_arg_jid(c, "user"), .limit = limit_arg(c) };

	UNUSED;
	if (l.limit < 0)
		return (int)l.limit;
	mk_workers_call(list_worker, &l);
	return 0;
}

COMMAND(session_count, "session count", "How many sessions are open.", NULL)
{
	struct totals t = { 0, 0 };

	UNUSED;
	mk_workers_call(add_totals, &t);
	mk_cmd_int(c, "count", t.sessions);
	return 0;
}

static const struct mk_arg args_session[] = {
	{ "jid", MK_ARG_JID, false, "a full JID, or a bare one for all of its sessions" }, { 0 }
};
COMMAND(session_info, "session info", "All about a user's sessions.", args_session)
{
	struct session_list l = { .c = c, .jid = mk_cmd_arg_jid(c, "jid"), .limit = 1000,
		.details = true };

	UNUSED;
	mk_workers_call(list_worker, &l);
	return l.n != 0 ? 0 : mk_cmd_fail(c, -MK_ENOENT, "%s has no session", mk_jid_full(l.jid));
}

COMMAND(session_kick, "session kick", "Ends a session, or all of a user's.", args_session)
{
	struct session_list l = { .c = c, .jid = mk_cmd_arg_jid(c, "jid"),
		.condition = "policy-violation" };

	UNUSED;
	mk_workers_call(kick_worker, &l);
	if (l.n == 0)
		return mk_cmd_fail(c, -MK_ENOENT, "%s has no session", mk_jid_full(l.jid));
	mk_cmd_int(c, "ended", l.n);
	return 0;
}

/* ---- domains ---------------------------------------------------------------------------- */

/* One change at a time: what is stored and what is effective stay the same. */
static pthread_mutex_t domain_lock = PTHREAD_MUTEX_INITIALIZER;

/* What is effective changes on the main thread, as a reload's domains do. */
struct domain_change {
	void (*fn)(struct domain_change *x);
	struct mk_str name;
	const char *type;
	bool enabled;
	int r;
};
static void change_main(void *arg)
{
	struct domain_change *x = arg;
	x->fn(x);
}
static int change_domain(struct domain_change *x)
{
	return mk_main_call(change_main, x) ? x->r : -MK_EAGAIN;
}
static void do_domain_add(struct domain_change *x)
{
	x->r = mk_domain_add(x->name, x->type, false, true);
}
static void do_domain_enable(struct domain_change *x)
{
	x->r = mk_domain_enable(x->name, x->enabled);
	if (x->r == 0 && !x->enabled)
		mk_domain_shut(x->name);
}
static void do_domain_remove(struct domain_change *x) { x->r = mk_domain_remove(x->name); }

static int domain_put(struct mk_store *st, const char *name, const char *type, bool enabled)
{
	struct mk_value row[] = { mk_textz(name), mk_textz(type), mk_int(enabled) };

	return mk_put(st, &mk_domain_table, row, MK_ANY) == MK_STORE_OK ? 0 : -MK_EIO;
}

static int type_arg(struct mk_cmd *c, const char **out)
{
	const struct mk_config *conf = mk_app_config();
	const char *type = mk_cmd_arg(c, "type");

	for (size_t i = 0; i < conf->type_count; i++)
		if (strcmp(conf->types[i].name, type) == 0) {
			*out = type;
			return 0;
		}
	return mk_cmd_fail(c, -MK_ENOENT, "there is no host type '%s'", type);
}

static int domain_failed(struct mk_cmd *c, int r, const char *name)
{
	if (r == -MK_EAGAIN)
		return stopping(c);
	return mk_cmd_fail(c, r, "%s: %s", name,
		r == -MK_EIO ? "it can't be stored now" : mk_strerror(-r));
}

static int add_domain(struct mk_store *st, const char *name, const char *type)
{
	struct domain_change x = { .fn = do_domain_add, .name = mk_strz(name), .type = type };
	int r;

	if (mk_domain_find_any(name, strlen(name)) != NULL)
		return -MK_EEXIST;
	r = domain_put(st, name, type, true);
	return r < 0 ? r : change_domain(&x);
}

static const struct mk_arg args_domain_add[] = {
	{ "domain", MK_ARG_DOMAIN, false, "the domain" },
	{ "type", MK_ARG_TEXT, false, "its host type" }, { 0 }
};
COMMAND(domain_add, "domain add", "Serves one more domain, at once.", args_domain_add)
{
	const char *name = mk_jid_full(mk_cmd_arg_jid(c, "domain")), *type;
	int r = type_arg(c, &type);

	UNUSED;
	if (r < 0)
		return r;
	pthread_mutex_lock(&domain_lock);
	r = add_domain(st, name, type);
	pthread_mutex_unlock(&domain_lock);
	return r == -MK_EEXIST ? mk_cmd_fail(c, r, "domain %s is there already", name)
		: r < 0 ? domain_failed(c, r, name) : 0;
}

static const struct mk_arg args_domain_import[] = {
	{ "type", MK_ARG_TEXT, false, "their host type" },
	{ "domains", MK_ARG_WORDS, false, "the domains; '-' reads them, one a line" }, { 0 }
};
/* The domains of a text that are new, in the job's arena; NULL after a failure. */
static struct mk_str *new_domains(struct mk_cmd *c, struct mk_store *st, const char *p,
	uint32_t *n_out, int64_t *there)
{
	struct mk_str *v = mk_arena_alloc(mk_store_arena(st), (strlen(p) / 2 + 1) * sizeof *v);
	uint32_t n = 0;

	for (p += strspn(p, " \t\r\n"); *p != '\0'; p += strspn(p, " \t\r\n")) {
		struct mk_str word = { p, strcspn(p, " \t\r\n") }, name;
		struct mk_jid *j = NULL;
		if (mk_jid_parse(word, &j) < 0 || mk_jid_local(j).n != 0 || !mk_jid_is_bare(j)) {
			mk_cmd_fail(c, -MK_EJID, "no domain: %.*s", (int)word.n, word.p);
			if (j != NULL)
				mk_jid_unref(&j);
			return NULL;
		}
		name = mk_jid_domain(j);
		if (mk_domain_find_any(name.p, name.n) != NULL)
			(*there)++;
		else
			v[n++] = mk_strz(mk_arena_strndup(mk_store_arena(st), name.p, name.n));
		mk_jid_unref(&j);
		p += word.n;
	}
	*n_out = n;
	return v;
}

struct domains_add { const struct mk_str *name; uint32_t n; const char *type; int64_t added; };
static void add_all_main(void *arg)
{
	struct domains_add *x = arg;

	for (uint32_t i = 0; i < x->n; i++)
		x->added += mk_domain_add(x->name[i], x->type, false, true) == 0;
}

/* All of one request or none. */
static int domain_import(struct mk_cmd *c, struct mk_store *st, const char *type)
{
	int64_t there = 0;
	uint32_t n = 0;
	struct mk_str *names = new_domains(c, st, mk_cmd_arg(c, "domains"), &n, &there);

	if (names == NULL)
		return -MK_EJID;
	struct domains_add x = { names, n, type, 0 };
	struct mk_value *v = mk_arena_alloc(mk_store_arena(st), (n + 1) * 3 * sizeof *v);
	const struct mk_value **rows = mk_arena_alloc(mk_store_arena(st), (n + 1) * sizeof *rows);
	for (uint32_t i = 0; i < n; i++) {
		v[3 * i] = mk_text(names[i]);
		v[3 * i + 1] = mk_textz(type);
		v[3 * i + 2] = mk_int(1);
		rows[i] = &v[3 * i];
	}
	for (uint32_t at = 0; at < n; at += 1000)
		if (mk_store_put_rows(st, &mk_domain_table, rows + at, n - at < 1000 ? n - at : 1000) < 0)
			return mk_cmd_fail(c, -MK_EIO, "the domains can't be stored now");
	if (!mk_main_call(add_all_main, &x))
		return stopping(c);
	mk_cmd_int(c, "added", x.added);
	mk_cmd_int(c, "there_already", there + n - x.added);
	return 0;
}
COMMAND(domain_import, "domain import", "Adds many domains; those that are there stay as they are.",
	args_domain_import)
{
	const char *type;
	int r = type_arg(c, &type);

	UNUSED;
	if (r < 0)
		return r;
	pthread_mutex_lock(&domain_lock);
	r = domain_import(c, st, type);
	pthread_mutex_unlock(&domain_lock);
	return r;
}

/* Under the lock. */
static int dynamic_domain(struct mk_cmd *c, struct mk_domain **out)
{
	const char *name = mk_jid_full(mk_cmd_arg_jid(c, "domain"));
	struct mk_domain *d = mk_domain_find_any(name, strlen(name));

	if (d == NULL)
		return mk_cmd_fail(c, -MK_ENOENT, "there is no domain %s", name);
	if (d->is_static)
		return mk_cmd_fail(c, -MK_EPERM,
			"domain %s stands in the configuration: change it there", name);
	*out = d;
	return 0;
}

static int domain_enable(struct mk_cmd *c, struct mk_store *st, bool enabled)
{
	struct mk_domain *d;
	int r = dynamic_domain(c, &d);

	if (r < 0)
		return r;
	struct domain_change x = { .fn = do_domain_enable, .name = mk_jid_domain(d->jid),
		.enabled = enabled };
	if ((r = domain_put(st, mk_jid_full(d->jid), d->type->name, enabled)) < 0 ||
	    (r = change_domain(&x)) < 0)
		return domain_failed(c, r, mk_jid_full(d->jid));
	return 0;
}
static int domain_enable_locked(struct mk_cmd *c, struct mk_store *st, bool enabled)
{
	pthread_mutex_lock(&domain_lock);
	int r = domain_enable(c, st, enabled);
	pthread_mutex_unlock(&domain_lock);
	return r;
}
COMMAND(domain_enable, "domain enable", "Serves a disabled domain again.", args_one_domain)
{
	UNUSED;
	return domain_enable_locked(c, st, true);
}
COMMAND(domain_disable, "domain disable", "Ends a domain's sessions and refuses its users.",
	args_one_domain)
{
	UNUSED;
	return domain_enable_locked(c, st, false);
}

/* A crash on the way leaves a disabled domain, which can be removed again. */
static int domain_remove(struct mk_cmd *c, struct mk_store *st)
{
	struct mk_domain *d;
	uint64_t rows = 0;
	int r = dynamic_domain(c, &d);

	if (r < 0 || (r = domain_enable(c, st, false)) < 0)
		return r;
	struct mk_str name = mk_jid_domain(d->jid);
	struct mk_value key[] = { mk_text(name) };
	struct domain_change x = { .fn = do_domain_remove, .name = name };
	if (!mk_cmd_flag(c, "keep-data") && (r = mk_store_drop_domain(st, name, &rows)) < 0)
		return mk_cmd_fail(c, r, "its data can't be removed now; the domain is disabled");
	if (mk_delete(st, &mk_domain_table, key) > MK_STORE_NOTFOUND)
		return mk_cmd_fail(c, -MK_EIO, "the domain can't be removed from storage now");
	mk_account_forget_all();
	if ((r = change_domain(&x)) < 0)
		return domain_failed(c, r, mk_jid_full(d->jid));
	mk_cmd_int(c, "rows", (int64_t)rows);
	return 0;
}
static const struct mk_arg args_domain_remove[] = {
	{ "domain", MK_ARG_DOMAIN, false, "the domain" },
	{ "keep-data", MK_ARG_FLAG, true, "leave its accounts and their data in storage" }, { 0 }
};
COMMAND(domain_remove, "domain remove", "Removes a domain and all of its data.", args_domain_remove)
{
	UNUSED;
	pthread_mutex_lock(&domain_lock);
	int r = domain_remove(c, st);
	pthread_mutex_unlock(&domain_lock);
	return r;
}

struct domain_list { struct mk_domain **v; size_t n, cap; const char *after, *type; };
static bool list_domain(struct mk_domain *d, void *arg)
{
	struct domain_list *l = arg;

	if ((l->after != NULL && strcmp(mk_jid_full(d->jid), l->after) <= 0) ||
	    (l->type != NULL && strcmp(d->type->name, l->type) != 0))
		return true;
	if (l->n == l->cap) {
		l->cap = l->cap != 0 ? l->cap * 2 : 64;
		l->v = mk_realloc(l->v, l->cap * sizeof *l->v);
	}
	l->v[l->n++] = d;
	return true;
}
static int by_name(const void *a, const void *b)
{
	return strcmp(mk_jid_full((*(struct mk_domain *const *)a)->jid),
		mk_jid_full((*(struct mk_domain *const *)b)->jid));
}
static const struct mk_arg args_domain_list[] = {
	{ "type", MK_ARG_TEXT, true, "only those of this host type" },
	{ "after", MK_ARG_TEXT, true, "names after this one" },
	{ "limit", MK_ARG_INT, true, "how many at most (1000)" }, { 0 }
};
COMMAND(domain_list, "domain list", "Domains, their host types and whether they are enabled.",
	args_domain_list)
{
	struct domain_list l = { .after = mk_cmd_arg(c, "after"), .type = mk_cmd_arg(c, "type") };
	int limit = limit_arg(c);

	UNUSED;
	if (limit < 0)
		return limit;
	mk_domain_each(list_domain, &l);
	if (l.n != 0)
		qsort(l.v, l.n, sizeof *l.v, by_name);
	for (size_t k = 0; k < l.n && k < (size_t)limit; k++) {
		mk_cmd_row(c);
		mk_cmd_str(c, "domain", mk_jid_full(l.v[k]->jid));
		mk_cmd_str(c, "type", l.v[k]->type->name);
		mk_cmd_bool(c, "enabled", atomic_load(&l.v[k]->enabled));
		mk_cmd_bool(c, "static", l.v[k]->is_static);
	}
	mk_free(l.v);
	return 0;
}
COMMAND(domain_count, "domain count", "How many domains there are.", NULL)
{
	UNUSED;
	mk_cmd_int(c, "count", mk_domain_count());
	return 0;
}

/* ---- plugins ------------------------------------------------------------------------------ */

struct plugin_call {
	struct mk_cmd *c;
	const char *name, *type;
	int (*fn)(struct plugin_call *x);
	struct mk_diag d;
	int r;
};
static void plugin_main(void *arg)
{
	struct plugin_call *x = arg;
	x->r = x->fn(x);
}
static int plugin_call(struct mk_cmd *c, int (*fn)(struct plugin_call *))
{
	struct plugin_call x = { .c = c, .name = mk_cmd_arg(c, "name"), .type = mk_cmd_arg(c, "type"),
		.fn = fn };
	int r;

	if (!mk_main_call(plugin_main, &x))
		return stopping(c);
	r = x.r;
	if (r < 0)
		mk_cmd_fail(c, r, "%s", x.d.text.n != 0 ? mk_buf_z(&x.d.text) : mk_strerror(-r));
	mk_diag_fini(&x.d);
	return r;
}
static int do_start(struct plugin_call *x) { return mk_app_plugin_start(x->name, x->type, &x->d); }
static int do_stop(struct plugin_call *x) { return mk_app_plugin_stop(x->name, x->type, &x->d); }
static int do_reload(struct plugin_call *x) { return mk_app_plugin_reload(x->name, &x->d); }
static int do_list(struct plugin_call *x)
{
	static const char *const states[] = { "starting", "running", "stopping", "stopped" };

	MK_LIST_EACH(n, &mk_modules) {
		struct mk_module *m = MK_CONTAINER(n, struct mk_module, node);
		bool any = false;
		MK_LIST_EACH(k, &m->insts) {
			struct mk_inst *i = MK_CONTAINER(k, struct mk_inst, module_node);
			any = true;
			mk_cmd_row(x->c);
			mk_cmd_str(x->c, "plugin", m->plugin->name);
			mk_cmd_str(x->c, "type", i->type->name);
			mk_cmd_str(x->c, "state", states[atomic_load(&i->state)]);
			mk_cmd_str(x->c, "version", m->plugin->version);
			mk_cmd_str(x->c, "summary", m->plugin->summary);
			mk_cmd_str(x->c, "file", m->path);
		}
		if (any)
			continue;
		mk_cmd_row(x->c);
		mk_cmd_str(x->c, "plugin", m->plugin->name);
		mk_cmd_str(x->c, "type", "");
		mk_cmd_str(x->c, "state", "loaded");
		mk_cmd_str(x->c, "version", m->plugin->version);
		mk_cmd_str(x->c, "summary", m->plugin->summary);
		mk_cmd_str(x->c, "file", m->path);
	}
	return 0;
}

static const struct mk_arg args_plugin[] = {
	{ "name", MK_ARG_TEXT, false, "the plugin" },
	{ "type", MK_ARG_TEXT, true, "only on this host type" }, { 0 }
};
static const struct mk_arg args_plugin_only[] = {
	{ "name", MK_ARG_TEXT, false, "the plugin" }, { 0 }
};
COMMAND(plugin_list, "plugin list", "Loaded plugins and where they run.", NULL)
{
	UNUSED;
	return plugin_call(c, do_list);
}
COMMAND(plugin_start, "plugin start", "Starts a plugin on the running server.", args_plugin)
{
	UNUSED;
	return plugin_call(c, do_start);
}
COMMAND(plugin_stop, "plugin stop", "Stops a plugin on the running server.", args_plugin)
{
	UNUSED;
	return plugin_call(c, do_stop);
}
COMMAND(plugin_reload, "plugin reload", "Stops a plugin, loads its file anew, starts it.",
	args_plugin_only)
{
	UNUSED;
	return plugin_call(c, do_reload);
}

static int do_settings(struct plugin_call *x)
{
	struct mk_module *m;
	struct mk_buf b = { 0 };
	int r = mk_app_module(x->name, &m, &x->d);

	if (r < 0)
		return r;
	const struct mk_transport *t = mk_plugin_transport(m->plugin);
	if (m->plugin->conf != NULL)
		mk_conf_describe(m->plugin->conf, "", &b);
	if (t != NULL && t->conf != NULL)
		mk_conf_describe(t->conf, "listeners[]", &b);
	mk_cmd_text(x->c, "%s", mk_buf_z(&b));
	mk_buf_free(&b);
	return 0;
}
COMMAND(plugin_settings, "plugin settings",
	"A plugin's settings: name, type, default, range, what it is for.", args_plugin_only)
{
	UNUSED;
	return plugin_call(c, do_settings);
}

static int do_hooks(struct plugin_call *x)
{
	static const char *const hooks[MK_HOOK_COUNT] = { "", "stanza_in", "stanza_deliver",
		"stanza_out", "stanza_failed", "session_open", "session_close", "session_lost",
		"session_resumed", "session_durable", "account_removed", "stanza_recovered" };
	static const char *const bits[MK_MATCH_BITS] = { "message", "presence", "subscription",
		"probe", "iq", "answer", "error" };
	bool found = false;

	MK_LIST_EACH(n, &mk_host_types) {
		struct mk_host_type *t = MK_CONTAINER(n, struct mk_host_type, node);
		if (t == mk_global_type || (x->type != NULL && strcmp(x->type, t->name) != 0))
			continue;
		found = true;
		const struct mk_dispatch *d = mk_dispatch(t);
		for (int h = 1; h < MK_HOOK_COUNT; h++)
			for (int b = 0; b < MK_MATCH_BITS; b++)
				for (uint32_t k = 0; k < d->chain[h][b].n; k++) {
					const struct mk_handler *e = &d->chain[h][b].h[k];
					bool stanzas = h <= 4 || h == 11;
					if (!stanzas && b > 0)
						continue;
					mk_cmd_row(x->c);
					mk_cmd_str(x->c, "type", t->name);
					mk_cmd_str(x->c, "hook", hooks[h]);
					mk_cmd_str(x->c, "stanzas", stanzas ? bits[b] : "");
					mk_cmd_int(x->c, "priority", e->prio);
					mk_cmd_str(x->c, "plugin", e->inst->module->plugin->name);
					mk_cmd_str(x->c, "runs", e->run == MK_STORED ? "stored" : "inline");
				}
	}
	if (!found && x->type != NULL) {
		mk_diag_add(&x->d, "there is no host type '%s'", x->type);
		return -MK_ENOENT;
	}
	return 0;
}
static const struct mk_arg args_hooks[] = {
	{ "type", MK_ARG_TEXT, true, "only this host type" }, { 0 }
};
COMMAND(hooks, "hooks", "Which plugin's handlers run when, in their order.", args_hooks)
{
	UNUSED;
	return plugin_call(c, do_hooks);
}

static const struct mk_arg args_trace[] = {
	{ "jid", MK_ARG_JID, true, "whose stanzas" },
	{ "off", MK_ARG_FLAG, true, "ends it" }, { 0 }
};
COMMAND(trace, "trace", "Logs which handler gave which verdict on a user's stanzas.", args_trace)
{
	const struct mk_jid *j = mk_cmd_arg_jid(c, "jid");

	UNUSED;
	if (mk_cmd_flag(c, "off")) {
		mk_trace_set(NULL);
		return 0;
	}
	if (j == NULL)
		return mk_cmd_fail(c, -MK_EINVAL, "whose stanzas? Give a JID, or --off");
	mk_trace_set(mk_jid_full(j));
	mk_cmd_text(c, "tracing %s; the lines are in the log\n", mk_jid_full(j));
	return 0;
}

/* ---- storage --------------------------------------------------------------------------------- */

static void one_backend(void *arg, const char *name, const char *plugin, bool healthy,
	unsigned queued, unsigned threads)
{
	struct mk_cmd *c = arg;

	mk_cmd_row(c);
	mk_cmd_str(c, "backend", name);
	mk_cmd_str(c, "plugin", plugin);
	mk_cmd_bool(c, "healthy", healthy);
	mk_cmd_int(c, "queued", queued);
	mk_cmd_int(c, "threads", threads);
}
COMMAND(storage_status, "storage status", "Backends and whether they answer.", NULL)
{
	UNUSED;
	mk_stores_each(one_backend, c);
	return 0;
}

static int do_plan(struct plugin_call *x)
{
	int r = mk_store_plan(&x->d);
	if (r >= 0 && x->d.text.n != 0)
		mk_cmd_text(x->c, "%s", mk_buf_z(&x->d.text));
	else if (r >= 0)
		mk_cmd_text(x->c, "nothing to do\n");
	return r;
}
COMMAND(storage_plan, "storage plan", "What opening the databases would create or change.", NULL)
{
	UNUSED;
	return plugin_call(c, do_plan);
}

static void copied(void *arg, const char *table, uint64_t rows)
{
	struct mk_cmd *c = arg;
	mk_cmd_row(c);
	mk_cmd_str(c, "table", table);
	mk_cmd_int(c, "rows", (int64_t)rows);
}
static const struct mk_arg args_copy[] = {
	{ "from", MK_ARG_TEXT, false, "a configured backend" },
	{ "to", MK_ARG_TEXT, false, "another one" }, { 0 }
};
COMMAND(storage_copy, "storage copy", "Copies all tables from one backend into another.", args_copy)
{
	struct mk_diag d = { 0 };
	int r;

	UNUSED;
	r = mk_store_copy(st, mk_cmd_arg(c, "from"), mk_cmd_arg(c, "to"), copied, c, &d);
	if (r < 0)
		mk_cmd_fail(c, r, "%s", d.text.n != 0 ? mk_buf_z(&d.text) : mk_strerror(-r));
	mk_diag_fini(&d);
	return r;
}

static int export_row(void *arg, const struct mk_table *t, const struct mk_row *row)
{
	struct mk_cmd *c = arg;

	mk_cmd_row(c);
	mk_cmd_str(c, "table", t->name);
	for (uint32_t k = 0; k < row->n; k++) {
		const struct mk_value *v = &row->v[k];
		struct mk_str s = mk_value_str(v);
		if (v->type == MK_INT) {
			mk_cmd_int(c, t->columns[k].name, v->as.i);
		} else if (v->type == MK_TEXT || (v->type == MK_BLOB && mk_utf8_valid(s.p, s.n) &&
		           memchr(s.p, '\0', s.n) == NULL)) {
			char *z = mk_strndup(s.p, s.n);
			mk_cmd_str(c, t->columns[k].name, z);
			mk_free(z);
		} else if (v->type == MK_BLOB) {
			char *z = mk_alloc(4 * ((s.n + 2) / 3) + 1);
			mk_base64_encode(z, s.p, s.n);
			mk_cmd_str(c, t->columns[k].name, z);
			mk_free(z);
		} else {
			mk_cmd_str(c, t->columns[k].name, NULL);
		}
	}
	return 0;
}
COMMAND(storage_export, "storage export", "All that is stored of a user (passwords left out).",
	args_account)
{
	int r = mk_store_export(st, mk_cmd_arg_jid(c, "jid"), export_row, c);

	UNUSED;
	return r < 0 ? mk_cmd_fail(c, r, "storage does not answer") : 0;
}
COMMAND(storage_erase, "storage erase",
	"Ends a user's sessions and erases all that is stored; the account itself stays.",
	args_account)
{
	struct session_list l = { .jid = mk_cmd_arg_jid(c, "jid"), .condition = "policy-violation" };
	uint64_t rows = 0;
	int r;

	UNUSED;
	if (!mk_jid_is_bare(l.jid))
		return mk_cmd_fail(c, -MK_EJID, "a user is user@domain: %s", mk_jid_full(l.jid));
	mk_workers_call(kick_worker, &l);
	if ((r = mk_store_erase_user(st, l.jid, &rows)) < 0)
		return mk_cmd_fail(c, r, "storage does not answer");
	mk_cmd_int(c, "rows", (int64_t)rows);
	return 0;
}
COMMAND(storage_drop_domain, "storage drop-domain", "Erases all rows of a domain.", args_one_domain)
{
	uint64_t rows = 0;
	int r = mk_store_drop_domain(st, mk_jid_domain(mk_cmd_arg_jid(c, "domain")), &rows);

	UNUSED;
	if (r < 0)
		return mk_cmd_fail(c, r, "storage does not answer");
	mk_account_forget_all();
	mk_cmd_int(c, "rows", (int64_t)rows);
	return 0;
}

const struct mk_command *const mk_core_commands[] = {
	&command_status, &command_stats, &command_metrics, &command_stop, &command_reload,
	&command_log_level, &command_log_reopen, &command_certificate_list, &command_commands,
	&command_account_register, &command_account_unregister, &command_account_password,
	&command_account_list, &command_account_count, &command_account_check,
	&command_session_list, &command_session_count, &command_session_info, &command_session_kick,
	&command_domain_add, &command_domain_import, &command_domain_disable,
	&command_domain_enable, &command_domain_remove,
	&command_domain_list, &command_domain_count,
	&command_plugin_list, &command_plugin_start, &command_plugin_stop, &command_plugin_reload,
	&command_plugin_settings,
	&command_hooks, &command_trace,
	&command_storage_status, &command_storage_plan, &command_storage_copy,
	&command_storage_export, &command_storage_erase, &command_storage_drop_domain,
	NULL
};
