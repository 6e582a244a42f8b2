/*
 * plain.c - SASL PLAIN (RFC 4616)
 *
 * A user who logged in a while ago is checked at once against a verifier in
 * memory; everybody else, right or wrong, known or not, costs one password hash
 * in a job (S-08). The core offers it under TLS only.
 */
#include <meerkat/auth.h>
#include <meerkat/plugin.h>

enum { M_LOGINS, M_FAILED, M_MALFORMED };

static enum mk_sasl_result refused(struct mk_inst *i, struct mk_sasl *x, unsigned metric,
	const char *condition)
{
	mk_metric_add(i, metric, 1);
	return mk_sasl_fail(x, condition);
}

struct message { struct mk_str authzid, authcid, password; };

/* message = [authzid] NUL authcid NUL passwd: two NULs, and nothing empty but the
 * first. */
static bool message_read(struct mk_str data, struct message *m)
{
	const char *end = data.p + data.n, *a, *b;

	if (data.n == 0 || (a = memchr(data.p, '\0', data.n)) == NULL ||
	    (b = memchr(a + 1, '\0', (size_t)(end - a - 1))) == NULL ||
	    memchr(b + 1, '\0', (size_t)(end - b - 1)) != NULL)
		return false;
	m->authzid = (struct mk_str){ data.p, (size_t)(a - data.p) };
	m->authcid = (struct mk_str){ a + 1, (size_t)(b - a - 1) };
	m->password = (struct mk_str){ b + 1, (size_t)(end - b - 1) };
	return m->authcid.n != 0 && m->password.n != 0 && mk_utf8_valid(data.p, data.n);
}

/* Whom the client wants to be: nobody, or whom it logs in as (S-06). */
static bool authzid_ok(struct mk_str authzid, const struct mk_jid *user)
{
	struct mk_jid *j = NULL;

	if (authzid.n == 0)
		return true;
	bool ok = mk_jid_parse(authzid, &j) == 0 && mk_jid_is_bare(j) && mk_jid_eq(j, user);
	if (j != NULL)
		mk_jid_unref(&j);
	return ok;
}

static enum mk_sasl_result accept(struct mk_inst *i, struct mk_sasl *x, const struct mk_jid *user)
{
	if (mk_sasl_user(x, user) < 0)
		return refused(i, x, M_FAILED, "not-authorized");
	mk_metric_add(i, M_LOGINS, 1);
	return MK_SASL_OK;
}

/* st NULL: from memory only, MK_SASL_JOB if that does not suffice. */
static enum mk_sasl_result check(struct mk_inst *i, struct mk_sasl *x, const struct message *m,
	struct mk_store *st)
{
	enum mk_sasl_result r;
	struct mk_jid *user = NULL;
	struct mk_str password = MK_STR_NONE;

	/* What can't be a name or a password is nobody's. */
	if (mk_jid_make(m->authcid, mk_sasl_domain(x), MK_STR_NONE, &user) < 0 ||
	    mk_jid_local(user).n == 0 ||
	    mk_saslprep(mk_sasl_arena(x), m->password, &password) < 0 || password.n == 0) {
		r = refused(i, x, M_FAILED, "not-authorized");
	} else if (!authzid_ok(m->authzid, user)) {
		r = refused(i, x, M_FAILED, "invalid-authzid");
	} else if (st == NULL) {
		r = mk_account_plain_cached(user, password) ? accept(i, x, user) : MK_SASL_JOB;
	} else {
		switch (mk_account_plain(st, user, password)) {
		case MK_AUTH_YES:
			r = accept(i, x, user);
			break;
		case MK_AUTH_ELSEWHERE:
			r = MK_SASL_JOB;
			break;
		case MK_AUTH_LATER:
			r = refused(i, x, M_FAILED, "temporary-auth-failure");
			break;
		default:
			r = refused(i, x, M_FAILED, "not-authorized");
		}
	}
	/* The core wipes the message; a prepared copy is ours. */
	if (password.n != 0 && password.p != m->password.p)
		explicit_bzero((char *)password.p, password.n);
	if (user != NULL)
		mk_jid_unref(&user);
	return r;
}

static enum mk_sasl_result step(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	bool has_data)
{
	struct message m;

	if (!has_data) {
		/* Asked for by an empty challenge (RFC 4422 5.1). */
		mk_sasl_say(x, MK_STR(""));
		return MK_SASL_CONTINUE;
	}
	if (!message_read(data, &m))
		return refused(i, x, M_MALFORMED, "malformed-request");
	return check(i, x, &m, NULL);
}

static enum mk_sasl_result step_stored(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	struct mk_store *st)
{
	struct message m;

	if (!message_read(data, &m))
		return refused(i, x, M_MALFORMED, "malformed-request");
	return check(i, x, &m, st);
}

static const struct mk_mech mech = {
	.size = sizeof(struct mk_mech), .flags = MK_MECH_PLAINTEXT, .name = "PLAIN",
	.strength = 1, .step = step, .step_stored = step_stored,
};

static const struct mk_metric
	logins = { sizeof(struct mk_metric), MK_COUNTER, "logins_total", "Logins by PLAIN." },
	failed = { sizeof(struct mk_metric), MK_COUNTER, "failed_total", "Logins refused." },
	malformed = { sizeof(struct mk_metric), MK_COUNTER, "malformed_total",
		"Messages that are not as RFC 4616 has them." };
static const struct mk_metric *const metrics[] = {
	[M_LOGINS] = &logins, [M_FAILED] = &failed, [M_MALFORMED] = &malformed, NULL
};

static int start(struct mk_inst *i) { return mk_mech_add(i, &mech); }

MK_PLUGIN(plain, "plain",
	.version = "1.0",
	.summary = "Login by name and password (SASL PLAIN, RFC 4616)",
	.license = "BSD-2-Clause",
	.flags = MK_PLUGIN_PER_TYPE,
	.metrics = metrics,
	.start = start)
