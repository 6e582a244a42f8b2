/*
 * ldap/dir.c - talking to a directory: servers, connections, timeouts
 *
 * A connection (LDAP *) is used by one job at a time. What is shared, idle
 * connections and how the servers do, is under dir->lock, which is never held
 * while anything waits.
 */
#include "dir.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <meerkat/auth.h>

#define IDLE_USEC   INT64_C(60000000)      /* then a connection is closed       */
#define PAGE        500                    /* entries                           */
/* How long a server that failed is left alone: doubled with each failure. */
#define AVOID_FIRST INT64_C(1000000)
#define AVOID_MOST  INT64_C(10000000)
#define SAY_USEC    INT64_C(10000000)      /* between two lines of one kind     */

enum kind { SERVICE, USER, KINDS };
struct conn {
	struct conn *next;
	LDAP *ld;
	uint64_t key;                  /* of the settings it was made with      */
	mk_usec used;
	int server;
	enum kind kind;
	bool is_fresh;                 /* of this call                          */
};
enum say { SAY_REFERRAL, SAY_BASE, SAY_REFUSED, SAY_COUNT };

struct dir {
	/* fixed */
	struct mk_inst *inst;
	unsigned metrics;
	pthread_mutex_t lock;
	/* under the lock */
	struct conn *idle[KINDS];
	unsigned idle_n[KINDS];
	unsigned calls;
	uint64_t key;                  /* of the settings that servers are of   */
	struct { mk_usec avoid_until, failed; unsigned failures; } servers[DIR_SERVERS_MAX];
	mk_usec said[SAY_COUNT];
};

/* ---- what the library leaves in memory -------------------------------------------- */

/*
 * A request is of no more use when it is written (we follow no referrals), but the
 * library frees it as it is, with the password in it (S-21). So a layer above TLS and
 * the socket wipes what they took.
 */
static int wipe_setup(Sockbuf_IO_Desc *d, void *arg) { (void)d; (void)arg; return 0; }
static int wipe_end(Sockbuf_IO_Desc *d) { (void)d; return 0; }
static int wipe_ctrl(Sockbuf_IO_Desc *d, int what, void *arg)
{
	return LBER_SBIOD_CTRL_NEXT(d, what, arg);
}
static ber_slen_t wipe_read(Sockbuf_IO_Desc *d, void *to, ber_len_t n)
{
	return LBER_SBIOD_READ_NEXT(d, to, n);
}
static ber_slen_t wipe_write(Sockbuf_IO_Desc *d, void *from, ber_len_t n)
{
	ber_slen_t done = LBER_SBIOD_WRITE_NEXT(d, from, n);

	if (done > 0)
		explicit_bzero(from, (size_t)done);
	return done;
}
static Sockbuf_IO wiping = { wipe_setup, wipe_end, wipe_ctrl, wipe_read, wipe_write, wipe_end };

static bool wipe_requests(LDAP *ld)
{
	Sockbuf *sb = NULL;

	return ldap_get_option(ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb != NULL &&
		ber_sockbuf_add_io(sb, &wiping, LBER_SBIOD_LEVEL_APPLICATION, NULL) == 0;
}

/* ---- the directory ------------------------------------------------------------------ */

struct dir *dir_new(struct mk_inst *i, unsigned metrics)
{
	struct dir *d = mk_alloc(sizeof *d);

	d->inst = i;
	d->metrics = metrics;
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

struct mk_inst *dir_inst(const struct dir *d) { return d->inst; }

static void conn_close(struct conn *x)
{
	ldap_unbind_ext(x->ld, NULL, NULL);
	mk_free(x);
}

void dir_free(struct dir **dp)
{
	struct dir *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	pthread_mutex_lock(&d->lock);
	bool is_used = d->calls != 0;
	pthread_mutex_unlock(&d->lock);
	if (is_used)
		return;
	for (int k = 0; k < KINDS; k++)
		while (d->idle[k] != NULL) {
			struct conn *x = d->idle[k];
			d->idle[k] = x->next;
			conn_close(x);
		}
	pthread_mutex_destroy(&d->lock);
	mk_free(d);
}

/* What a connection depends on, as a number. */
static uint64_t key_of(struct mk_arena *a, const struct dir_conf *c)
{
	uint8_t digest[64];
	char *text = mk_arena_printf(a, "%d %d %s\n%s\n%s\n", c->starttls, c->verify,
		c->ca_file != NULL ? c->ca_file : "", c->bind_dn != NULL ? c->bind_dn : "",
		c->bind_password != NULL ? c->bind_password : "");
	size_t n = strlen(text);
	uint64_t key;

	mk_hash_digest(MK_SHA256, text, n, digest);
	explicit_bzero(text, n);
	for (uint32_t i = 0; i < c->servers.n; i++) {
		n = strlen(c->servers.v[i]);
		text = mk_arena_alloc(a, 32 + n);
		memcpy(text, digest, 32);
		memcpy(text + 32, c->servers.v[i], n);
		mk_hash_digest(MK_SHA256, text, 32 + n, digest);
	}
	memcpy(&key, digest, sizeof key);
	return key;
}

void dir_begin(struct dir_call *c, struct dir *d, const struct dir_conf *conf,
	struct mk_arena *arena)
{
	c->dir = d;
	c->conf = conf;
	c->arena = arena;
	c->key = key_of(arena, conf);
	c->until = mk_now_usec() + 2000 * conf->timeout;
	c->server = -1;
	pthread_mutex_lock(&d->lock);
	d->calls++;
	if (d->key != c->key) {        /* other servers, from now on            */
		d->key = c->key;
		memset(d->servers, 0, sizeof d->servers);
	}
	pthread_mutex_unlock(&d->lock);
}

void dir_end(struct dir_call *c)
{
	pthread_mutex_lock(&c->dir->lock);
	c->dir->calls--;
	pthread_mutex_unlock(&c->dir->lock);
}

/* Whether a line of this kind may be logged now: not one for each login. */
static bool may_say(struct dir *d, enum say what)
{
	mk_usec now = mk_now_usec();

	pthread_mutex_lock(&d->lock);
	bool yes = d->said[what] == 0 || now - d->said[what] >= SAY_USEC;
	if (yes)
		d->said[what] = now;
	pthread_mutex_unlock(&d->lock);
	return yes;
}

static void count(struct dir *d, enum dir_metric m)
{
	mk_metric_add(d->inst, d->metrics + m, 1);
}

/* ---- servers ---------------------------------------------------------------------------- */

/* The first server that isn't avoided, or the one that this call had; -1: none. Of one
 * that failed, a single call finds out whether it is back. */
static int server_pick(struct dir_call *c)
{
	struct dir *d = c->dir;
	mk_usec now = mk_now_usec();
	int s = -1;

	c->asked = now;
	pthread_mutex_lock(&d->lock);
	if (d->key != c->key)          /* settings changed: a last time         */
		s = c->server >= 0 ? c->server : 0;
	else if (c->server >= 0 && d->servers[c->server].failures == 0)
		s = c->server;
	for (uint32_t i = 0; s < 0 && i < c->conf->servers.n && i < DIR_SERVERS_MAX; i++)
		if (now >= d->servers[i].avoid_until)
			s = (int)i;
	if (s >= 0 && d->key == c->key && d->servers[s].failures != 0)
		d->servers[s].avoid_until = now + 1000 * c->conf->timeout;
	pthread_mutex_unlock(&d->lock);
	return s;
}

static void server_failed(struct dir_call *c, int s, const char *why)
{
	struct dir *d = c->dir;
	mk_usec now = mk_now_usec();
	bool is_first = false;

	pthread_mutex_lock(&d->lock);
	/* Others that were waiting for it at the same time say nothing new. */
	if (d->key == c->key && d->servers[s].failed <= c->asked) {
		unsigned n = d->servers[s].failures++;
		mk_usec wait = AVOID_FIRST << (n < 8 ? n : 8);
		d->servers[s].failed = now;
		d->servers[s].avoid_until = now + (wait < AVOID_MOST ? wait : AVOID_MOST);
		is_first = n == 0;
	}
	pthread_mutex_unlock(&d->lock);
	count(d, DIR_M_FAILURES);
	if (is_first)
		mk_log(d->inst, MK_WARN, "directory server does not answer", "server=%s reason=%s",
			c->conf->servers.v[s], why);
}

static void server_answered(struct dir_call *c, int s)
{
	struct dir *d = c->dir;
	bool is_back = false;

	pthread_mutex_lock(&d->lock);
	/* It may have failed since this answer was on its way. */
	if (d->key == c->key && d->servers[s].failures != 0 && d->servers[s].failed <= c->asked) {
		d->servers[s].failures = 0;
		d->servers[s].avoid_until = 0;
		is_back = true;
	}
	pthread_mutex_unlock(&d->lock);
	c->server = s;
	if (is_back)
		mk_log(d->inst, MK_NOTICE, "directory server is back", "server=%s",
			c->conf->servers.v[s]);
}

/* ---- connections -------------------------------------------------------------------------- */

/* For the log: the code, and what the server or the library said of it. */
static const char *reason(struct dir_call *c, LDAP *ld, int rc)
{
	char *more = NULL;
	const char *text;

	ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more);
	text = more != NULL && *more != '\0'
		? mk_arena_printf(c->arena, "%s (%s)", ldap_err2string(rc), more)
		: ldap_err2string(rc);
	ldap_memfree(more);
	return text;
}

/* What is left for the next answer; false: nothing. */
static bool time_left(struct dir_call *c, LDAP *ld)
{
	mk_usec left = c->until - mk_now_usec(), most = 1000 * c->conf->timeout;

	if (left > most)
		left = most;
	if (left < 1000)
		return false;
	struct timeval t = { left / 1000000, left % 1000000 };
	ldap_set_option(ld, LDAP_OPT_TIMEOUT, &t);
	ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &t);
	return true;
}

/* The system's certificates, where distributions keep them. */
static const char *ca_file(const struct dir_conf *c)
{
	static const char *const usual[] = { "/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt", NULL };

	if (c->ca_file != NULL && *c->ca_file != '\0')
		return c->ca_file;
	for (const char *const *f = usual; *f != NULL; f++)
		if (access(*f, R_OK) == 0)
			return *f;
	return NULL;
}

static bool uses_tls(const struct dir_conf *c, const char *url)
{
	return strncmp(url, "ldaps://", 8) == 0 ||
		(c->starttls && strncmp(url, "ldap://", 7) == 0);
}

/* Everything that a file of the library's own could have said otherwise. NULL, or what
 * is wrong. */
static const char *options(LDAP *ld, const struct dir_conf *c, const char *url)
{
	int version = LDAP_VERSION3, deref = LDAP_DEREF_NEVER, no_limit = 0, is_server = 0,
		verify = c->verify ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER,
		tls_1_2 = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2, idle = 30;
	const char *ca = ca_file(c);

	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON);
	ldap_set_option(ld, LDAP_OPT_DEREF, &deref);
	ldap_set_option(ld, LDAP_OPT_SIZELIMIT, &no_limit);
	ldap_set_option(ld, LDAP_OPT_TIMELIMIT, &no_limit);
	ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_IDLE, &idle);
	if (!wipe_requests(ld))
		return "the library has no place for our layer";
	if (!uses_tls(c, url))
		return NULL;
	if (ca != NULL)
		ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, ca);
	ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &verify);
	ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &tls_1_2);
	return ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &is_server) == LDAP_OPT_SUCCESS
		? NULL : "ca_file can't be read";
}

/*
 * The control asks for details of password policies, which we don't read: nobody has
 * to know it, and it is the end of the request. Without it the encoder, which moves
 * what it has written, would leave the end of the password behind.
 */
static int simple_bind(LDAP *ld, const char *dn, struct mk_str password)
{
	struct berval cred = { password.n, (char *)password.p };
	LDAPControl policy = { (char *)LDAP_CONTROL_PASSWORDPOLICYREQUEST, { 0, NULL }, 0 };
	LDAPControl *controls[] = { &policy, NULL };

	return ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &cred, controls, NULL, NULL);
}

static struct conn *conn_open(struct dir_call *c, int server, enum kind kind)
{
	const struct dir_conf *conf = c->conf;
	const char *url = conf->servers.v[server], *why;
	LDAP *ld = NULL;
	int rc = ldap_initialize(&ld, url);

	why = rc == LDAP_SUCCESS ? options(ld, conf, url) : ldap_err2string(rc);
	if (why != NULL)
		goto fail;
	why = "the time is over";
	if (!time_left(c, ld))
		goto fail;
	if (uses_tls(conf, url) && strncmp(url, "ldap://", 7) == 0) {
		rc = ldap_start_tls_s(ld, NULL, NULL);
		why = rc != LDAP_SUCCESS ? reason(c, ld, rc) : why;
	}
	if (rc == LDAP_SUCCESS && kind == SERVICE && conf->bind_dn != NULL && *conf->bind_dn != '\0') {
		if (!time_left(c, ld))
			goto fail;
		count(c->dir, DIR_M_BINDS);
		rc = simple_bind(ld, conf->bind_dn, mk_strz(conf->bind_password));
		if (rc == LDAP_INVALID_CREDENTIALS)
			mk_log(c->dir->inst, MK_ERROR, "the directory refuses bind_dn and its password",
				"server=%s bind_dn=%s", url, conf->bind_dn);
		why = rc != LDAP_SUCCESS ? reason(c, ld, rc) : why;
	}
	if (rc != LDAP_SUCCESS)
		goto fail;
	struct conn *x = mk_alloc(sizeof *x);
	x->ld = ld;
	x->key = c->key;
	x->server = server;
	x->kind = kind;
	x->is_fresh = true;
	return x;
fail:
	server_failed(c, server, why);
	if (ld != NULL)
		ldap_unbind_ext(ld, NULL, NULL);
	return NULL;
}

/* An idle one to that server; those that are old, or of other settings, are closed. */
static struct conn *conn_idle(struct dir_call *c, int server, enum kind kind)
{
	struct dir *d = c->dir;
	mk_usec now = mk_now_usec();
	struct conn *found = NULL, *gone = NULL, **at;

	pthread_mutex_lock(&d->lock);
	for (at = &d->idle[kind]; *at != NULL; ) {
		struct conn *x = *at;
		bool is_old = x->key != d->key || now - x->used > IDLE_USEC;
		if (!is_old && (found != NULL || x->server != server || x->key != c->key)) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		d->idle_n[kind]--;
		if (is_old) {
			x->next = gone;
			gone = x;
		} else {
			found = x;
		}
	}
	pthread_mutex_unlock(&d->lock);
	while (gone != NULL) {
		struct conn *x = gone;
		gone = x->next;
		conn_close(x);
	}
	if (found != NULL)
		found->is_fresh = false;
	return found;
}

static void conn_return(struct dir_call *c, struct conn *x)
{
	struct dir *d = c->dir;

	x->used = mk_now_usec();
	pthread_mutex_lock(&d->lock);
	bool keep = x->key == d->key && d->idle_n[x->kind] < c->conf->connections;
	if (keep) {
		x->next = d->idle[x->kind];
		d->idle[x->kind] = x;
		d->idle_n[x->kind]++;
	}
	pthread_mutex_unlock(&d->lock);
	if (!keep)
		conn_close(x);
}

/* Whether the answer says that the server, not the question, is the matter. */
static bool is_gone(int rc)
{
	switch (rc) {
	case LDAP_SERVER_DOWN: case LDAP_TIMEOUT: case LDAP_CONNECT_ERROR: case LDAP_UNAVAILABLE:
	case LDAP_BUSY: case LDAP_DECODING_ERROR: case LDAP_ENCODING_ERROR: case LDAP_LOCAL_ERROR:
		return true;
	default:
		return false;
	}
}

/* Asks one server after the other until one has answered; *rc_out is its answer. */
static bool ask(struct dir_call *c, enum kind kind,
	int (*question)(struct dir_call *c, LDAP *ld, void *arg), void *arg, int *rc_out)
{
	for (unsigned tries = 0; tries < 2 * DIR_SERVERS_MAX; tries++) {
		int server = server_pick(c), rc;
		struct conn *x;
		if (server < 0 || mk_now_usec() >= c->until)
			return false;
		x = conn_idle(c, server, kind);
		if (x == NULL && (x = conn_open(c, server, kind)) == NULL)
			continue;
		if (!time_left(c, x->ld)) {
			conn_close(x);
			return false;
		}
		rc = question(c, x->ld, arg);
		if (!is_gone(rc)) {
			server_answered(c, server);
			conn_return(c, x);
			*rc_out = rc;
			return true;
		}
		/* An idle one may have been closed by the other side: not a sign of
		 * anything. A new one tells. */
		if (x->is_fresh || rc != LDAP_SERVER_DOWN)
			server_failed(c, server, reason(c, x->ld, rc));
		conn_close(x);
	}
	return false;
}

/* An answer that no setting of ours would get. */
static enum dir_answer refused(struct dir_call *c, int rc, const char *what)
{
	if (may_say(c->dir, SAY_REFUSED))
		mk_log(c->dir->inst, MK_ERROR, "the directory refuses", "what=%s reason=%s", what,
			ldap_err2string(rc));
	return DIR_AWAY;
}

static void referral(struct dir_call *c)
{
	if (may_say(c->dir, SAY_REFERRAL))
		mk_log(c->dir->inst, MK_WARN, "the directory refers to another server, which is "
			"not asked", NULL);
}

/* ---- searching ------------------------------------------------------------------------------ */

static struct mk_str copied(struct mk_arena *a, const struct berval *b)
{
	return (struct mk_str){ mk_arena_strndup(a, b->bv_val, b->bv_len), b->bv_len };
}

static void entry_read(struct dir_call *c, LDAP *ld, LDAPMessage *m, const char *const *attrs,
	struct dir_entry *out)
{
	unsigned n = 0;
	char *dn = ldap_get_dn(ld, m);

	out->dn = mk_arena_strdup(c->arena, dn != NULL ? dn : "");
	ldap_memfree(dn);
	while (attrs[n] != NULL)
		n++;
	out->values = mk_arena_alloc(c->arena, (n + 1) * sizeof *out->values);
	for (unsigned i = 0; i < n; i++) {
		struct berval **v = ldap_get_values_len(ld, m, attrs[i]);
		struct dir_values *to = &out->values[i];
		if (v == NULL)
			continue;
		to->v = mk_arena_alloc(c->arena, ((size_t)ldap_count_values_len(v) + 1) * sizeof *to->v);
		for (; v[to->n] != NULL; to->n++)
			to->v[to->n] = copied(c->arena, v[to->n]);
		ldap_value_free_len(v);
	}
}

static int search_once(struct dir_call *c, LDAP *ld, const struct dir_search *s,
	LDAPControl *control, int limit, LDAPMessage **result)
{
	char *none[] = { (char *)LDAP_NO_ATTRS, NULL };
	char **attrs = s->attrs[0] != NULL ? (char **)s->attrs : none;
	LDAPControl *controls[] = { control, NULL };

	count(c->dir, DIR_M_SEARCHES);
	return ldap_search_ext_s(ld, s->base, s->scope, s->filter, attrs, 0,
		control != NULL ? controls : NULL, NULL, NULL, limit, result);
}

struct searching { const struct dir_search *s; struct dir_entry *entries; unsigned n; };

static int search(struct dir_call *c, LDAP *ld, void *arg)
{
	struct searching *q = arg;
	unsigned limit = q->s->limit;
	LDAPMessage *result = NULL;
	int rc = search_once(c, ld, q->s, NULL, (int)limit + 1, &result);

	q->entries = mk_arena_alloc(c->arena, limit * sizeof *q->entries);
	q->n = 0;
	for (LDAPMessage *m = result != NULL ? ldap_first_entry(ld, result) : NULL;
	     m != NULL && q->n <= limit; m = ldap_next_entry(ld, m)) {
		if (q->n < limit)
			entry_read(c, ld, m, q->s->attrs, &q->entries[q->n]);
		q->n++;
	}
	ldap_msgfree(result);
	return rc;
}

/* Whether rc is an answer to a search at all. */
static enum dir_answer search_answer(struct dir_call *c, const struct dir_search *s, int rc)
{
	switch (rc) {
	case LDAP_SUCCESS:
	case LDAP_SIZELIMIT_EXCEEDED:
		return DIR_OK;
	case LDAP_NO_SUCH_OBJECT:
		if (s->scope != LDAP_SCOPE_BASE && may_say(c->dir, SAY_BASE))
			mk_log(c->dir->inst, MK_WARN, "the directory has no such base, or doesn't show "
				"it to us", "base=%s", s->base);
		return DIR_OK;
	case LDAP_REFERRAL:
		referral(c);
		return DIR_OK;
	default:
		return refused(c, rc, "search");
	}
}

enum dir_answer dir_search(struct dir_call *c, const struct dir_search *s,
	struct dir_entry **out, unsigned *n_out)
{
	struct searching q = { .s = s };
	enum dir_answer a;
	int rc;

	if (!ask(c, SERVICE, search, &q, &rc))
		return DIR_AWAY;
	a = search_answer(c, s, rc);
	if (a == DIR_OK) {
		*out = q.entries;
		*n_out = q.n;
	}
	return a;
}

struct walking {
	const struct dir_search *s;
	void (*each)(void *arg, struct mk_str value);
	void *arg;
};

/* The next page's cookie; empty after the last. */
static void page_end(LDAP *ld, LDAPMessage *result, struct berval *cookie)
{
	LDAPControl **controls = NULL, *end;
	ber_int_t size;

	ber_memfree(cookie->bv_val);
	*cookie = (struct berval){ 0, NULL };
	if (ldap_parse_result(ld, result, NULL, NULL, NULL, NULL, &controls, 0) == LDAP_SUCCESS &&
	    (end = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL)) != NULL)
		ldap_parse_pageresponse_control(ld, end, &size, cookie);
	ldap_controls_free(controls);
}

/* All pages on one connection: a cookie is of no use on another. */
static int walk(struct dir_call *c, LDAP *ld, void *arg)
{
	struct walking *q = arg;
	struct berval cookie = { 0, NULL };
	bool has_begun = false;
	int rc;

	do {
		LDAPControl page = { (char *)LDAP_CONTROL_PAGEDRESULTS, { 0, NULL }, 0 };
		LDAPMessage *result = NULL;
		c->until = mk_now_usec() + 2000 * c->conf->timeout;
		time_left(c, ld);
		rc = ldap_create_page_control_value(ld, PAGE, &cookie, &page.ldctl_value);
		if (rc == LDAP_SUCCESS)
			rc = search_once(c, ld, q->s, &page, 0, &result);
		ber_memfree(page.ldctl_value.bv_val);
		for (LDAPMessage *m = result != NULL ? ldap_first_entry(ld, result) : NULL;
		     m != NULL; m = ldap_next_entry(ld, m)) {
			struct berval **v = ldap_get_values_len(ld, m, q->s->attrs[0]);
			for (int i = 0; v != NULL && v[i] != NULL; i++)
				q->each(q->arg, (struct mk_str){ v[i]->bv_val, v[i]->bv_len });
			ldap_value_free_len(v);
			has_begun = true;
		}
		if (rc == LDAP_SUCCESS && result != NULL)
			page_end(ld, result, &cookie);
		ldap_msgfree(result);
	} while (rc == LDAP_SUCCESS && cookie.bv_len != 0);
	ber_memfree(cookie.bv_val);
	/* Not to be begun anew: the caller has some of them already. */
	return has_begun && is_gone(rc) ? LDAP_OTHER : rc;
}

enum dir_answer dir_walk(struct dir_call *c, const struct dir_search *s,
	void (*each)(void *arg, struct mk_str value), void *arg)
{
	struct walking q = { s, each, arg };
	int rc;

	if (!ask(c, SERVICE, walk, &q, &rc))
		return DIR_AWAY;
	/* The whole, or nothing. */
	return rc == LDAP_SIZELIMIT_EXCEEDED ? refused(c, rc, "a list of all users")
	                                     : search_answer(c, s, rc);
}

/* ---- passwords ------------------------------------------------------------------------------- */

struct binding { const char *dn; struct mk_str password; };

static int bind_as(struct dir_call *c, LDAP *ld, void *arg)
{
	const struct binding *b = arg;

	count(c->dir, DIR_M_BINDS);
	return simple_bind(ld, b->dn, b->password);
}

enum dir_answer dir_check(struct dir_call *c, const char *dn, struct mk_str password)
{
	struct binding b = { dn, password };
	int rc;

	if (password.n == 0 || *dn == '\0')
		return DIR_NO;
	if (!ask(c, USER, bind_as, &b, &rc))
		return DIR_AWAY;
	switch (rc) {
	case LDAP_SUCCESS:
		return DIR_OK;
	/* Wrong; no password at all; no such entry; locked; disabled; expired. */
	case LDAP_INVALID_CREDENTIALS: case LDAP_INAPPROPRIATE_AUTH: case LDAP_NO_SUCH_OBJECT:
	case LDAP_INVALID_DN_SYNTAX: case LDAP_INSUFFICIENT_ACCESS: case LDAP_CONSTRAINT_VIOLATION:
	case LDAP_UNWILLING_TO_PERFORM:
		return DIR_NO;
	case LDAP_REFERRAL:
		referral(c);
		return DIR_NO;
	default:                       /* it wants TLS, or another mechanism    */
		return refused(c, rc, "bind");
	}
}
