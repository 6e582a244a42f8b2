/*
 * anonymous.c - SASL ANONYMOUS (RFC 4505, XEP-0175): a user for one session
 *
 * Gives out names nobody can guess, and sees to it that what was stored for one
 * goes when its session ends. It has no accounts and keeps nothing itself. The
 * core offers it only where a host type's `mechanisms` names it.
 */
#include <stdio.h>

#include <meerkat/auth.h>
#include <meerkat/iq.h>
#include <meerkat/plugin.h>

#define PREFIX "anonymous-"
#define TOKEN_BYTES 20         /* exactly 32 characters                     */
#define NAME_LEN (sizeof PREFIX - 1 + 32)

enum { M_LOGINS };

/* A name that may be one of ours. Somebody may have registered such a name, so
 * this alone is no reason to remove anything. */
static bool is_ours(const struct mk_jid *j)
{
	struct mk_str l = mk_jid_local(j);

	return l.n == NAME_LEN && memcmp(l.p, PREFIX, sizeof PREFIX - 1) == 0;
}

/* What the client sends is trace information, which nobody needs: ignored. */
static enum mk_sasl_result step(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	bool has_data)
{
	char name[NAME_LEN + 1] = PREFIX;
	struct mk_jid *user = NULL;
	int r;

	(void)data;
	(void)has_data;
	mk_token(name + sizeof PREFIX - 1, 8 * TOKEN_BYTES / 5 + 2, TOKEN_BYTES);
	r = mk_jid_make(mk_strz(name), mk_sasl_domain(x), MK_STR_NONE, &user);
	if (r == 0)
		r = mk_sasl_user(x, user);
	if (user != NULL)
		mk_jid_unref(&user);
	if (r < 0)
		return mk_sasl_fail(x, "temporary-auth-failure");
	mk_metric_add(i, M_LOGINS, 1);
	return MK_SASL_OK;
}

/* XEP-0175 3: what other plugins stored for the user ends with the session. */
static void session_close(struct mk_inst *i, const struct mk_ev_session *ev, struct mk_store *st)
{
	const struct mk_jid *full = mk_session_jid(ev->session);
	struct mk_jid *user;

	if (!is_ours(full))
		return;
	user = mk_jid_to_bare(full);
	/* MK_AUTH_LATER: a source is away; it could be a real account. */
	if (mk_account_exists(st, user) == MK_AUTH_UNKNOWN) {
		int r = mk_account_remove(st, user);
		if (r < 0 && r != -MK_ENOENT)
			mk_log(i, MK_WARN, "data of an anonymous user stays", "user=%s error=%s",
				mk_jid_full(user), mk_strerror(-r));
	}
	mk_jid_unref(&user);
}

/* XEP-0175 5: such an account is "anonymous", whatever others are. */
static void disco(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query)
{
	struct mk_elem *e;

	(void)i;
	(void)asker;
	if (node != NULL || !is_ours(about))
		return;
	for (e = mk_elem_first(query); e != NULL; e = mk_elem_next(e))
		if (mk_elem_is(e, "identity", NULL) &&
		    mk_streq(mk_elem_attr(e, "category"), "account"))
			break;
	if (e == NULL) {
		e = mk_elem_add(query, "identity", NULL);
		mk_elem_set(e, "category", "account");
	}
	mk_elem_set(e, "type", "anonymous");
}

static const struct mk_mech mech = {
	.size = sizeof(struct mk_mech), .flags = MK_MECH_ANONYMOUS, .name = "ANONYMOUS",
	.strength = 0, .step = step,
};

static const struct mk_metric
	logins = { sizeof(struct mk_metric), MK_COUNTER, "logins_total", "Anonymous logins." };
static const struct mk_metric *const metrics[] = { [M_LOGINS] = &logins, NULL };

static int start(struct mk_inst *i)
{
	int r = mk_mech_add(i, &mech);

	if (r == 0)
		r = mk_on_session_close_stored(i, MK_PRIO_LAST, session_close);
	if (r == 0)
		r = mk_disco_extend(i, MK_DISCO_ACCOUNT, false, disco);
	return r;
}

MK_PLUGIN(anonymous, "anonymous",
	.version = "1.0",
	.summary = "Users without an account, for one session (SASL ANONYMOUS, XEP-0175)",
	.license = "BSD-2-Clause",
	.flags = MK_PLUGIN_PER_TYPE,
	.metrics = metrics,
	.start = start)
