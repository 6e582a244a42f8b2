/*
 * register - In-Band Registration (XEP-0077): accounts made before login, and
 * changed or removed after it
 *
 * Before login an <iq/> is no stanza yet: it is handled on the stream, which is
 * held (mk_stream_hold) while a job makes the account. After login it is an IQ
 * like others, at the account's home. What costs much (each password is hashed
 * several times) is limited by address, by account and in all.
 */
#include <meerkat/auth.h>
#include <meerkat/plugin.h>
#include <strings.h>

#include "limit.h"

#define NS         "jabber:iq:register"
#define NS_FEATURE "http://jabber.org/features/iq-register"
#define NS_OOB     "jabber:x:oob"
#define NS_STANZAS "urn:ietf:params:xml:ns:xmpp-stanzas"

struct register_conf {
	bool registration, password_change, removal, without_tls;
	const char *instructions, *redirect_url;
	int64_t password_min, period, per_address, total, per_account;
	struct mk_conf_list reserved;
};

static const struct mk_conf_item items[] = {
	MK_CONF_B(struct register_conf, registration, "no",
		"Lets anybody who can connect make an account."),
	MK_CONF_B(struct register_conf, password_change, "yes",
		"Lets users change their passwords."),
	MK_CONF_B(struct register_conf, removal, "yes",
		"Lets users remove their accounts, with everything that is stored for them."),
	MK_CONF_B(struct register_conf, without_tls, "no",
		"Takes new passwords over connections without TLS too."),
	MK_CONF_I(struct register_conf, password_min, "8", "1..256",
		"Characters that a password must have at least."),
	MK_CONF_LST(struct register_conf, reserved, "abuse, admin, administrator, hostmaster, "
		"info, noc, postmaster, root, security, server, support, system, webmaster, xmpp",
		NULL, "User names that nobody can register."),
	MK_CONF_STR(struct register_conf, instructions,
		"Choose a username and password for use with this service.",
		"What the client shows to the person who registers."),
	MK_CONF_STR(struct register_conf, redirect_url, NULL,
		"A web page where accounts are made, to which clients are sent instead."),
	MK_CONF_MS(struct register_conf, period, "1h", "1s..30d",
		"The time for which the following limits count."),
	MK_CONF_I(struct register_conf, per_address, "3", "0..1000000",
		"Attempts to register from one IPv4 address or IPv6 network of 64 bits; 0 is no "
		"limit."),
	MK_CONF_I(struct register_conf, total, "100", "0..1000000",
		"Attempts to register from all addresses together; 0 is no limit."),
	MK_CONF_I(struct register_conf, per_account, "10", "0..1000000",
		"Times that one account can change its password; 0 is no limit."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct register_conf, items);

enum { REGISTERED, REFUSED, LIMITED, CHANGED, REMOVED };
static const struct mk_metric metric_registered = { sizeof(struct mk_metric), MK_COUNTER,
	"registered_total", "Accounts that were made." };
static const struct mk_metric metric_refused = { sizeof(struct mk_metric), MK_COUNTER,
	"refused_total", "Attempts to register that were refused for what they asked for." };
static const struct mk_metric metric_limited = { sizeof(struct mk_metric), MK_COUNTER,
	"limited_total", "Attempts to register or to change a password over a limit." };
static const struct mk_metric metric_changed = { sizeof(struct mk_metric), MK_COUNTER,
	"passwords_changed_total", "Passwords that were changed." };
static const struct mk_metric metric_removed = { sizeof(struct mk_metric), MK_COUNTER,
	"removed_total", "Accounts that their users removed." };
static const struct mk_metric *const metrics[] = { &metric_registered, &metric_refused,
	&metric_limited, &metric_changed, &metric_removed, NULL };

/* ---- what both sides need ------------------------------------------------------------- */

static const struct { const char *name, *type, *code; } conditions[] = {
#define CONDITION(id, name, type, code) [MK_ERR_##id] = { name, type, code },
	MK_STANZA_ERRORS(CONDITION)
};

/* What is wrong with a new password, or 0. */
static uint16_t password_error(const struct register_conf *c, struct mk_str p,
	const char **text_out)
{
	int64_t n = 0;

	for (size_t i = 0; i < p.n; i++)
		n += ((unsigned char)p.p[i] & 0xc0) != 0x80;
	if (n >= c->password_min && p.n <= MK_PASSWORD_MAX)
		return 0;
	*text_out = n < c->password_min ? "the password is too short" : "the password is too long";
	return MK_ERR_NOT_ACCEPTABLE;
}

/* Of mk_account_set_password; failures of the server's own are for later. */
static uint16_t account_error(int err, const char **text_out)
{
	switch (-err) {
	case 0: return 0;
	case MK_EEXIST: return MK_ERR_CONFLICT;
	case MK_EINVAL:
		*text_out = "the password has characters that are not allowed";
		return MK_ERR_NOT_ACCEPTABLE;
	case MK_EPERM: return MK_ERR_NOT_ALLOWED;
	case MK_ENOENT: return MK_ERR_REGISTRATION_REQUIRED;
	default: return MK_ERR_INTERNAL_SERVER_ERROR;
	}
}

static bool is_redirected(const struct register_conf *c)
{
	return c->redirect_url != NULL && *c->redirect_url != '\0';
}

static void describe(const struct register_conf *c, struct mk_elem *q)
{
	mk_elem_add_text(q, "instructions", NULL, mk_strz(c->instructions));
	if (is_redirected(c)) {
		mk_elem_add_text(mk_elem_add(q, "x", NS_OOB), "url", NULL, mk_strz(c->redirect_url));
	} else {
		mk_elem_add(q, "username", NULL);
		mk_elem_add(q, "password", NULL);
	}
}

/* ---- before login ---------------------------------------------------------------------- */

struct attempt {
	struct mk_stream *st;          /* held                                  */
	struct mk_jid *user;           /* ref                                   */
	char *id, *password, *remote;
	int err;
};

static bool may_register(const struct register_conf *c, const struct mk_stream *st)
{
	return c->registration && (c->without_tls || mk_stream_is_encrypted(st));
}

static struct mk_elem *answer_new(const struct mk_stream *st, const char *type, const char *id)
{
	struct mk_elem *a = mk_elem_new(mk_turn_arena(), "iq", "jabber:client");
	struct mk_str domain = mk_stream_domain(st);

	mk_elem_set(a, "type", type);
	mk_elem_set(a, "id", id);
	mk_elem_setf(a, "from", "%.*s", (int)domain.n, domain.p);
	return a;
}

/* error 0: a result. The request is not sent back: a password is in it. */
static void answer(struct mk_stream *st, const char *id, uint16_t error, const char *text)
{
	struct mk_elem *a = answer_new(st, error != 0 ? "error" : "result", id);

	if (error != 0) {
		struct mk_elem *e = mk_elem_add(a, "error", NULL);
		/* What fails on our side now may work later. */
		mk_elem_set(e, "type", error == MK_ERR_INTERNAL_SERVER_ERROR ? "wait"
		                                                             : conditions[error].type);
		mk_elem_set(e, "code", conditions[error].code);
		mk_elem_add(e, conditions[error].name, NS_STANZAS);
		if (text != NULL)
			mk_elem_set(mk_elem_add_text(e, "text", NS_STANZAS, mk_strz(text)),
				"xml:lang", "en");
	}
	mk_stream_write(st, a);
}

static void attempt_run(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct attempt *a = data;

	(void)i;
	a->err = mk_account_set_password(st, a->user, mk_strz(a->password), true);
}

static void attempt_done(struct mk_inst *i, void *data)
{
	struct attempt *a = data;
	const char *text = NULL;
	uint16_t error = account_error(a->err, &text);

	if (error == 0) {
		mk_metric_add(i, REGISTERED, 1);
		mk_log(i, MK_NOTICE, "account registered", "user=%s remote=%s",
			mk_jid_full(a->user), a->remote);
	} else {
		mk_metric_add(i, REFUSED, 1);
	}
	if (mk_stream_is_open(a->st))
		answer(a->st, a->id, error, text);
	mk_stream_release(a->st);
	mk_jid_unref(&a->user);
	explicit_bzero(a->password, strlen(a->password));
	mk_free(a->password);
	mk_free(a->remote);
	mk_free(a->id);
	mk_free(a);
}

static bool is_reserved(const struct register_conf *c, const struct mk_jid *user)
{
	struct mk_str domain = mk_jid_domain(user);

	for (uint32_t k = 0; k < c->reserved.n; k++) {
		struct mk_jid *j = NULL;
		bool same = mk_jid_make(mk_strz(c->reserved.v[k]), domain, MK_STR_NONE, &j) == 0 &&
		            mk_jid_eq(j, user);
		if (j != NULL)
			mk_jid_unref(&j);
		if (same)
			return true;
	}
	return false;
}

static bool is_within_limits(struct mk_inst *i, const struct register_conf *c, const char *remote)
{
	struct limit *l = mk_inst_data(i);
	int64_t now_ms = mk_now_usec() / 1000;
	char key[72] = "address ";

	/* By address first, so that one does not use up what is for all. */
	limit_key_of_address(key + 8, remote);
	return limit_take(l, key, c->per_address, c->period, now_ms) &&
	       limit_take(l, NULL, c->total, c->period, now_ms);
}

static void try_to_register(struct mk_inst *i, struct mk_stream *st, const char *id,
	const struct mk_elem *q)
{
	const struct register_conf *c = mk_inst_conf(i);
	struct mk_str user = mk_elem_child_text(q, "username", NS);
	struct mk_str password = mk_elem_child_text(q, "password", NS);
	const char *text = NULL;
	struct mk_jid *jid = NULL;
	uint16_t error = 0;

	if (is_redirected(c)) {
		error = MK_ERR_NOT_ALLOWED;
	} else if (user.n == 0 || password.n == 0) {
		error = MK_ERR_NOT_ACCEPTABLE;         /* XEP-0077 3.1          */
		text = "username and password are needed";
	} else if (mk_jid_make(user, mk_stream_domain(st), MK_STR_NONE, &jid) < 0) {
		error = MK_ERR_NOT_ACCEPTABLE;
		text = "the username has characters that are not allowed";
	} else if ((error = password_error(c, password, &text)) != 0) {
		;
	} else if (is_reserved(c, jid)) {
		error = MK_ERR_CONFLICT;
	}
	if (error != 0) {
		mk_metric_add(i, REFUSED, 1);
	} else if (!is_within_limits(i, c, mk_stream_remote(st))) {
		mk_metric_add(i, LIMITED, 1);
		error = MK_ERR_RESOURCE_CONSTRAINT;
		text = "too many registrations; try again later";
	}
	if (error != 0) {
		answer(st, id, error, text);
		if (jid != NULL)
			mk_jid_unref(&jid);
		return;
	}
	struct attempt *a = mk_alloc(sizeof *a);
	a->st = st;
	a->user = jid;
	a->id = mk_strdup(id);
	a->password = mk_strndup(password.p, password.n);
	a->remote = mk_strdup(mk_stream_remote(st));
	a->err = -MK_EAGAIN;
	mk_stream_hold(st);
	mk_job(i, attempt_run, attempt_done, a);
}

/* RFC 6120 4.3.1: before login there are no stanzas, but for this one. */
static void on_early_iq(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	const struct register_conf *c = mk_inst_conf(i);
	const struct mk_elem *q = mk_elem_first(e);
	const char *type = mk_elem_attr(e, "type"), *id = mk_elem_attr(e, "id");
	const char *to = mk_elem_attr(e, "to");
	bool is_get = mk_streq(type, "get");

	if (q == NULL || mk_elem_next(q) != NULL || !mk_elem_is(q, "query", NS) || id == NULL ||
	    (!is_get && !mk_streq(type, "set")) ||
	    (to != NULL && !mk_str_eqz(mk_stream_domain(st), to))) {
		mk_stream_fail(st, "not-authorized", NULL);
	} else if (!c->registration) {
		answer(st, id, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	} else if (!may_register(c, st)) {
		answer(st, id, MK_ERR_NOT_AUTHORIZED, "TLS is needed");
	} else if (is_get) {
		struct mk_elem *a = answer_new(st, "result", id);
		describe(c, mk_elem_add(a, "query", NS));
		mk_stream_write(st, a);
	} else if (mk_elem_child(q, "remove", NS) != NULL) {
		answer(st, id, MK_ERR_UNEXPECTED_REQUEST, NULL);       /* 3.2       */
	} else {
		try_to_register(i, st, id, q);
	}
}

static void on_features(struct mk_inst *i, struct mk_stream *st, struct mk_elem *features)
{
	if (may_register(mk_inst_conf(i), st))
		mk_elem_add(features, "register", NS_FEATURE);
}

/* ---- after login -------------------------------------------------------------------------- */

static int tell(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct mk_elem *q = mk_elem_new(mk_iq_arena(r), "query", NS);
	const struct register_conf *c = mk_inst_conf(i);
	struct mk_jid *user = mk_jid_to_bare(mk_iq_from(r));

	switch (mk_account_exists(st, user)) {
	case MK_AUTH_LATER:
		mk_jid_unref(&user);
		return -MK_EAGAIN;
	case MK_AUTH_UNKNOWN:          /* an anonymous one                      */
		mk_iq_error(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
		break;
	default:
		mk_elem_add(q, "registered", NULL);
		mk_elem_add_text(q, "instructions", NULL, mk_strz(c->instructions));
		mk_elem_add_text(q, "username", NULL, mk_jid_local(user));
		mk_elem_add(q, "password", NULL);
		mk_iq_result(r, q);
	}
	mk_jid_unref(&user);
	return 0;
}

static int change(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct mk_jid *user = mk_jid_to_bare(mk_iq_from(r));
	const char *text = NULL;
	uint16_t error;
	int err;

	err = mk_account_set_password(st, user,
		mk_elem_child_text(mk_iq_payload(r), "password", NS), false);
	mk_jid_unref(&user);
	error = account_error(err, &text);
	if (error == MK_ERR_INTERNAL_SERVER_ERROR)
		return err;
	if (error != 0) {
		mk_iq_error(r, error, text);
		return 0;
	}
	mk_metric_add(i, CHANGED, 1);
	mk_log(i, MK_NOTICE, "password changed", "user=%s", mk_jid_full(mk_iq_from(r)));
	mk_iq_result(r, NULL);
	return 0;
}

static int unregister(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	const struct mk_stanza *request = mk_iq_stanza(r);
	struct mk_jid *user = mk_jid_to_bare(mk_iq_from(r));
	enum mk_auth_answer known = mk_account_exists(st, user);
	struct mk_stanza *last;
	int err = 0;

	if (known == MK_AUTH_LATER) {
		err = -MK_EAGAIN;
		goto out;
	}
	if (known == MK_AUTH_UNKNOWN) {
		mk_iq_error(r, MK_ERR_REGISTRATION_REQUIRED, NULL);
		goto out;
	}
	/* Its session ends with the account, before this job does: the answer goes
	 * out in between. The one made below finds nobody. */
	last = mk_stanza_new(MK_IQ, "result", mk_stanza_to(request), mk_iq_from(r));
	mk_stanza_set_id(last, mk_stanza_id(request));
	err = mk_account_remove_saying(st, user, last);
	mk_stanza_unref(&last);
	if (err == -MK_EPERM) {
		mk_iq_error(r, MK_ERR_NOT_ALLOWED, NULL);
		err = 0;
	} else if (err == 0 || err == -MK_ENOENT) {
		mk_metric_add(i, REMOVED, 1);
		mk_iq_result(r, NULL);
		err = 0;
	}
out:
	mk_jid_unref(&user);
	return err;
}

/* "bill", or as some clients say it, "bill@shakespeare.lit". */
static bool is_own_name(struct mk_str name, const struct mk_jid *own)
{
	struct mk_jid *j = NULL;
	bool same = mk_jid_make(name, mk_jid_domain(own), MK_STR_NONE, &j) == 0 ||
	            mk_jid_parse(name, &j) == 0;

	same = same && mk_jid_is_bare(j) && mk_jid_bare_eq(j, own);
	if (j != NULL)
		mk_jid_unref(&j);
	return same;
}

static enum mk_verdict fail(struct mk_iq_req *r, uint16_t error, const char *text)
{
	mk_iq_error(r, error, text);
	return MK_DONE;
}

static enum mk_verdict on_change(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct register_conf *c = mk_inst_conf(i);
	const struct mk_session *s = mk_iq_session(r);
	const struct mk_elem *q = mk_iq_payload(r);
	struct mk_str user = mk_elem_child_text(q, "username", NS);
	struct mk_str password = mk_elem_child_text(q, "password", NS);
	struct mk_str bare = mk_jid_bare(mk_iq_from(r));
	const char *text = NULL;
	uint16_t error;

	if (!c->password_change)
		return fail(r, MK_ERR_NOT_ALLOWED, NULL);
	if (!c->without_tls && (s == NULL || mk_session_stream(s) == NULL ||
	                        !mk_stream_is_encrypted(mk_session_stream(s))))
		return fail(r, MK_ERR_NOT_AUTHORIZED, "TLS is needed");
	if (user.n == 0 || password.n == 0)
		return fail(r, MK_ERR_BAD_REQUEST, "username and password are needed");
	if (!is_own_name(user, mk_iq_from(r)))
		return fail(r, MK_ERR_NOT_ACCEPTABLE, "only the own password can be changed");
	error = password_error(c, password, &text);
	if (error != 0)
		return fail(r, error, text);
	if (!limit_take(mk_inst_data(i),
	                mk_arena_printf(mk_iq_arena(r), "account %.*s", (int)bare.n, bare.p),
	                c->per_account, c->period, mk_now_usec() / 1000)) {
		mk_metric_add(i, LIMITED, 1);
		return fail(r, MK_ERR_RESOURCE_CONSTRAINT, "too many changes; try again later");
	}
	return mk_iq_job(r, change);
}

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct register_conf *c = mk_inst_conf(i);
	const struct mk_jid *from = mk_iq_from(r);
	const struct mk_elem *q = mk_iq_payload(r), *remove;

	/* Whoever it is, it is not registered here. */
	if (mk_jid_local(from).n == 0 ||
	    !mk_str_eq(mk_jid_domain(from), mk_jid_domain(mk_iq_to(r))))
		return fail(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	if (!mk_iq_is_set(r))
		return mk_iq_job(r, tell);
	remove = mk_elem_child(q, "remove", NS);
	if (remove == NULL)
		return on_change(i, r);
	if (mk_elem_first(q) != remove || mk_elem_next(remove) != NULL)
		return fail(r, MK_ERR_BAD_REQUEST, NULL);
	if (!c->removal)
		return fail(r, MK_ERR_NOT_ALLOWED, NULL);
	return mk_iq_job(r, unregister);
}

static const struct mk_iq iq_register = {
	.size = sizeof iq_register, .xmlns = NS, .name = "query", .fn = on_iq,
	.flags = MK_IQ_GET | MK_IQ_SET | MK_IQ_HOST | MK_IQ_SECRET,
};

/* ---- life ----------------------------------------------------------------------------------- */

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct register_conf *c = mk_conf_view_values(v);
	struct mk_jid *j = NULL;
	int err = 0;

	for (uint32_t k = 0; k < c->reserved.n; k++)
		if (mk_jid_make(mk_strz(c->reserved.v[k]), MK_STR("example.org"), MK_STR_NONE, &j) < 0) {
			mk_conf_refuse(v, d, "reserved", "'%s' can't be a user name", c->reserved.v[k]);
			err = -MK_EINVAL;
		} else {
			mk_jid_unref(&j);
		}
	return err;
}

static int start(struct mk_inst *i)
{
	int r = mk_iq_handle(i, &iq_register);

	if (r == 0)
		r = mk_nonza_handle(i, "jabber:client", "iq", MK_STREAM_OPEN, on_early_iq);
	if (r == 0)
		r = mk_stream_feature(i, MK_STREAM_OPEN, on_features);
	if (r == 0)
		r = mk_disco_feature(i, MK_DISCO_HOST, NS);
	if (r == 0)
		mk_inst_set_data(i, limit_new());
	return r;
}

static void stop(struct mk_inst *i)
{
	struct limit *l = mk_inst_data(i);
	limit_free(&l);
}

MK_PLUGIN(registration, "register", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause",
	.summary = "Lets people make, change and remove accounts by their clients (XEP-0077).",
	.conf = &schema, .metrics = metrics, .check = check, .start = start, .stop = stop)
