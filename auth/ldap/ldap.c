/*
 * ldap.c - users of a directory: a source of credentials (RFC 4511, 4513)
 *
 * A password is tried by binding as the user's entry (dir.c), which is found first
 * (who.c). What was right once is kept as SCRAM keys (captured.c). All functions
 * run in jobs, on threads of the instance's own for logins, but has_scram and
 * iterations, which read settings.
 */
#include <stdlib.h>

#include <meerkat/auth.h>
#include <meerkat/plugin.h>

#include "captured.h"
#include "conf.h"
#include "dir.h"
#include "template.h"
#include "who.h"

#define SWEEP_MOST INT64_C(3600000)        /* ms between two sweeps             */
#define SWEEP_PAGE 100
#define SWEEP_ROWS 1000                    /* looked up in the directory        */

enum { M_DIR, M_LOGINS = M_DIR + DIR_M_COUNT, M_REFUSED, M_CAPTURED };

/* A question to the directory, with the settings of now. */
struct question {
	struct mk_inst *inst;
	struct mk_store *st;
	const struct conf *s;
	struct dir_conf dir_conf;
	struct dir_call call;
};

static void begin(struct question *q, struct mk_inst *i, struct mk_store *st)
{
	q->inst = i;
	q->st = st;
	q->s = mk_inst_conf(i);
	q->dir_conf = ldap_conf_dir(q->s);
	dir_begin(&q->call, mk_inst_data(i), &q->dir_conf, mk_store_arena(st));
}

static void end(struct question *q) { dir_end(&q->call); }

/* ---- passwords ------------------------------------------------------------------------ */

/*
 * A user who does not exist takes a bind as well, or the time would tell (S-08): as an
 * entry that can't be, with a password that is nobody's.
 */
static void bind_as_nobody(struct question *q)
{
	char token[8 * 16 / 5 + 2];

	mk_token(token, sizeof token, 16);
	if (*or_empty(q->s->base) != '\0')
		dir_check(&q->call, mk_arena_printf(q->call.arena, "cn=%s,%s", token, q->s->base),
			mk_strz(token));
}

static enum mk_auth_answer answer_of(enum dir_answer a)
{
	return a == DIR_OK ? MK_AUTH_YES : a == DIR_NO ? MK_AUTH_NO : MK_AUTH_LATER;
}

static enum mk_auth_answer plain_by_search(struct question *q, const struct mk_jid *user,
	struct mk_str password, struct who *who)
{
	enum mk_auth_answer a = who_find(&q->call, q->s, user, who);

	if (a == MK_AUTH_YES)
		return answer_of(dir_check(&q->call, who->dn, password));
	if (a == MK_AUTH_UNKNOWN)
		bind_as_nobody(q);
	return a;
}

/* A bind that fails does not tell whether there is such a user (RFC 4511 4.2.2). A user
 * whom the directory does not show us is unknown: the next source may have him. */
static enum mk_auth_answer plain_by_bind(struct question *q, const struct mk_jid *user,
	struct mk_str password, struct who *who)
{
	enum dir_answer a = dir_check(&q->call, who_dn(&q->call, q->s, user), password);
	enum mk_auth_answer found;

	if (a == DIR_AWAY)
		return MK_AUTH_LATER;
	found = who_find(&q->call, q->s, user, who);
	if (a == DIR_NO)
		return found == MK_AUTH_UNKNOWN ? MK_AUTH_UNKNOWN : MK_AUTH_NO;
	/* Without groups the password is enough; the entry need not be shown. */
	return q->s->groups.n != 0 ? found : MK_AUTH_YES;
}

static enum mk_auth_answer plain(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *user, struct mk_str password)
{
	struct who who = { 0 };
	struct question q;
	enum mk_auth_answer a;

	if (password.n == 0)           /* would be an anonymous bind: "right"   */
		return MK_AUTH_NO;
	begin(&q, i, st);
	a = q.s->method == BY_BIND ? plain_by_bind(&q, user, password, &who)
	                           : plain_by_search(&q, user, password, &who);
	end(&q);
	if (a == MK_AUTH_YES) {
		mk_metric_add(i, M_LOGINS, 1);
		if (q.s->capture_keys &&
		    captured_learn(i, st, q.s, user, password, who.stamp))
			mk_metric_add(i, M_CAPTURED, 1);
	} else if (a != MK_AUTH_LATER) {
		mk_metric_add(i, M_REFUSED, 1);
	}
	return a;
}

/* ---- users ------------------------------------------------------------------------------ */

/* What the directory says of the user now; row (NULL: none) is dealt with. */
static enum mk_auth_answer look_up(struct question *q, const struct mk_jid *user,
	const struct captured *row)
{
	struct who who = { 0 };
	enum mk_auth_answer a = who_find(&q->call, q->s, user, &who);

	return row != NULL ? captured_judge(q->st, q->s, user, row, a, who.stamp) : a;
}

static enum mk_auth_answer exists(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *user)
{
	const struct conf *s = mk_inst_conf(i);
	struct captured row;
	bool has_row = captured_get(st, user, &row) == MK_STORE_OK;
	enum mk_auth_answer a;
	struct question q;

	if (has_row && captured_is_fresh(&row, s->keys_recheck))
		return MK_AUTH_YES;
	begin(&q, i, st);
	a = look_up(&q, user, has_row ? &row : NULL);
	end(&q);
	/* Keys that went, or an ambiguity, are a matter of passwords. */
	return a == MK_AUTH_NO ? MK_AUTH_YES : a;
}

static enum mk_auth_answer scram(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	const struct conf *s = mk_inst_conf(i);
	struct captured row;
	enum mk_store_status r = captured_get(st, user, &row);
	enum mk_auth_answer a = MK_AUTH_YES;
	struct question q;

	if (r != MK_STORE_OK && r != MK_STORE_NOTFOUND)
		return MK_AUTH_LATER;
	if (r == MK_STORE_NOTFOUND || !s->capture_keys ||
	    !captured_is_fresh(&row, s->keys_recheck)) {
		begin(&q, i, st);
		a = look_up(&q, user, r == MK_STORE_OK ? &row : NULL);
		end(&q);
	}
	if (a != MK_AUTH_YES)
		return a;
	if (r == MK_STORE_NOTFOUND || !s->capture_keys)
		return MK_AUTH_NO;     /* ours, but nothing to show yet         */
	int found = mk_scram_keys_find(row.keys, h, out);
	if (found < 0)
		mk_log(i, MK_ERROR, "the keys of an account are damaged", "user=%s",
			mk_jid_full(user));
	return found > 0 ? MK_AUTH_YES : MK_AUTH_NO;
}

/* ---- lists -------------------------------------------------------------------------------- */

struct listing {
	struct mk_arena *arena;
	struct mk_str domain, after;
	struct mk_str *names;          /* NULL: only counted                    */
	size_t n, room;
	uint64_t count;
	bool counts_only;
};

static int by_bytes(const void *a, const void *b)
{
	const struct mk_str *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int r = n != 0 ? memcmp(x->p, y->p, n) : 0;

	return r != 0 ? r : x->n < y->n ? -1 : x->n > y->n;
}

/* A name that no address can have can't log in: it is none of ours. */
static void listed(void *arg, struct mk_str value)
{
	struct listing *l = arg;
	struct mk_jid *j = NULL;
	struct mk_str name;

	if (mk_jid_make(value, l->domain, MK_STR_NONE, &j) < 0)
		return;
	name = mk_jid_local(j);
	if (name.n != 0 && l->counts_only) {
		l->count++;
	} else if (name.n != 0 && (l->after.n == 0 || by_bytes(&name, &l->after) > 0)) {
		if (l->n == l->room) {
			l->room = l->room != 0 ? 2 * l->room : 256;
			struct mk_str *more = mk_arena_alloc(l->arena, l->room * sizeof *more);
			if (l->n != 0)
				memcpy(more, l->names, l->n * sizeof *more);
			l->names = more;
		}
		l->names[l->n++] = (struct mk_str){ mk_arena_strndup(l->arena, name.p, name.n), name.n };
	}
	mk_jid_unref(&j);
}

static int walk(struct mk_inst *i, struct mk_store *st, struct listing *l)
{
	struct question q;
	enum mk_auth_answer a = MK_AUTH_YES;

	begin(&q, i, st);
	if (*or_empty(q.s->base) != '\0')      /* with user_dn alone nobody is found */
		a = who_each(&q.call, q.s, l->domain, listed, l);
	end(&q);
	return a == MK_AUTH_YES ? 0 : -MK_EAGAIN;
}

/* The directory knows no order of ours and is asked for all. */
static int list(struct mk_inst *i, struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct mk_str **users_out)
{
	struct listing l = { .arena = mk_store_arena(st), .domain = domain, .after = after };
	size_t kept = 0;
	int r = walk(i, st, &l);

	if (r < 0)
		return r;
	if (l.n > 1)
		qsort(l.names, l.n, sizeof *l.names, by_bytes);
	for (size_t x = 0; x < l.n && kept < limit; x++)
		if (kept == 0 || !mk_str_eq(l.names[kept - 1], l.names[x]))
			l.names[kept++] = l.names[x];
	*users_out = l.names;
	return (int)kept;
}

static int count(struct mk_inst *i, struct mk_store *st, struct mk_str domain, uint64_t *count_out)
{
	struct listing l = { .arena = mk_store_arena(st), .domain = domain, .counts_only = true };
	int r = walk(i, st, &l);

	if (r == 0)
		*count_out = l.count;
	return r;
}

/* ---- the source ---------------------------------------------------------------------------- */

static bool has_scram(struct mk_inst *i, enum mk_hash h)
{
	const struct conf *s = mk_inst_conf(i);

	return s->capture_keys && mk_scram_hashes(&s->hashes) >> h & 1;
}

static unsigned iterations(struct mk_inst *i, enum mk_hash h)
{
	const struct conf *s = mk_inst_conf(i);

	(void)h;
	return (unsigned)s->iterations;
}

static unsigned threads(struct mk_inst *i)
{
	const struct conf *s = mk_inst_conf(i);

	return (unsigned)s->connections;
}

/* The directory is the master: it sets passwords and removes users. */
static const struct mk_source source = {
	.size = sizeof source, .name = "ldap", .exists = exists, .scram = scram, .plain = plain,
	.list = list, .count = count, .has_scram = has_scram, .iterations = iterations,
	.threads = threads,
};

/* Keys of those who have not been here for long: whether the directory still has them. */
static void sweep(struct mk_inst *i, struct mk_store *st)
{
	const struct conf *s = mk_inst_conf(i);
	const struct mk_value *after = NULL;
	int looked_at = 0;

	do {
		enum mk_auth_answer a = MK_AUTH_YES;
		struct captured *rows;
		struct mk_jid **users;
		int n = captured_stale(i, st, s->keys_max_age / 2, SWEEP_PAGE, after, &users, &rows,
			&after);
		for (int x = 0; x < n; x++) {
			struct question q;
			if (a != MK_AUTH_LATER) {
				begin(&q, i, st);
				/* A word is wanted, also while what is kept would do. */
				struct who who = { 0 };
				a = who_find(&q.call, s, users[x], &who);
				if (a != MK_AUTH_LATER)
					captured_judge(st, s, users[x], &rows[x], a, who.stamp);
				end(&q);
				looked_at++;
			}
			mk_jid_unref(&users[x]);
		}
		if (n < 0 || a == MK_AUTH_LATER)
			return;
	} while (after != NULL && looked_at < SWEEP_ROWS);
}

/* ---- the plugin ---------------------------------------------------------------------------- */

static void warn_of_clear_text(struct mk_inst *i, const struct conf *s)
{
	for (uint32_t x = 0; x < s->servers.n; x++)
		if (!s->starttls && strncmp(s->servers.v[x], "ldap://", 7) == 0)
			mk_log(i, MK_WARN, "passwords go to this server without encryption", "server=%s",
				s->servers.v[x]);
}

static int start(struct mk_inst *i)
{
	const struct conf *s = mk_inst_conf(i);
	struct dir *d = dir_new(i, M_DIR);
	int64_t period = s->keys_max_age / 2;

	mk_inst_set_data(i, d);
	warn_of_clear_text(i, s);
	int r = mk_source_add(i, &source);
	if (r == 0)
		r = mk_every(i, period < SWEEP_MOST ? period : SWEEP_MOST, sweep);
	if (r < 0) {
		mk_inst_set_data(i, NULL);
		dir_free(&d);
	}
	return r;
}

static void stop(struct mk_inst *i)
{
	struct dir *d = mk_inst_data(i);

	dir_free(&d);
}

static const struct mk_metric
	searches = { sizeof(struct mk_metric), MK_COUNTER, "searches_total", "Searches." },
	binds = { sizeof(struct mk_metric), MK_COUNTER, "binds_total",
		"Binds, as the service or to try a password." },
	failures = { sizeof(struct mk_metric), MK_COUNTER, "failures_total",
		"Questions that a server did not answer." },
	logins = { sizeof(struct mk_metric), MK_COUNTER, "logins_total", "Passwords that were right." },
	refused = { sizeof(struct mk_metric), MK_COUNTER, "refused_total",
		"Passwords that were wrong, or nobody's." },
	captured = { sizeof(struct mk_metric), MK_COUNTER, "captured_total",
		"Passwords whose keys were kept." };
static const struct mk_metric *const metrics[] = {
	[M_DIR + DIR_M_SEARCHES] = &searches, [M_DIR + DIR_M_BINDS] = &binds,
	[M_DIR + DIR_M_FAILURES] = &failures, [M_LOGINS] = &logins, [M_REFUSED] = &refused,
	[M_CAPTURED] = &captured, NULL
};
static const struct mk_table *const tables[] = { &ldap_keys, NULL };

MK_PLUGIN(ldap, "ldap",
	.version = "1.0",
	.summary = "Users and passwords of a directory (LDAP)",
	.license = "BSD-2-Clause",
	.flags = MK_PLUGIN_PER_TYPE,
	.conf = &ldap_schema,
	.tables = tables,
	.metrics = metrics,
	.check = ldap_conf_check,
	.start = start,
	.stop = stop)
