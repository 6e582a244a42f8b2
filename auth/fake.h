/*
 * fake.h - the core's side of an exchange, for tests of mechanisms
 *
 * Included once by a test or fuzz program that has the plugin linked in. What a
 * mechanism may call is here, over a table of users in memory; the rest (JIDs,
 * digests, arenas) is the core's own. Single-threaded.
 */
#ifndef AUTH_FAKE_H
#define AUTH_FAKE_H

#include <meerkat/auth.h>
#include <meerkat/plugin.h>

struct mk_sasl {
	struct mk_arena *arena;
	void *state;
	struct mk_str domain, offer, exporter;
	bool binding_offered, said;
	struct mk_str say;
	char user[256];                /* "" = mk_sasl_user was not called      */
	const char *condition;
};

static struct fake_user {
	const char *jid, *password;    /* of example.org                        */
	const void *salt;
	size_t salt_n;
	unsigned iterations;
	bool is_cached;                /* both kinds                            */
} *fake_users;
static bool fake_is_away;              /* sources answer "later"                */
static bool fake_is_elsewhere;         /* the next question is for other threads */
static unsigned fake_asked;            /* questions to sources                  */
static char fake_store;                /* nobody looks into it                  */
static int64_t fake_metrics[16];
static const struct mk_mech *fake_mechs[16];
static unsigned fake_mech_count;

static void fake_begin(struct mk_sasl *x, const struct mk_mech *m)
{
	memset(x, 0, sizeof *x);
	x->arena = mk_arena_new();
	x->domain = MK_STR("example.org");
	x->state = mk_arena_alloc(x->arena, m->state_bytes + 1);
}

static void fake_end(struct mk_sasl *x) { mk_arena_free(&x->arena); }

/* As the core does it: data copied, and the job after the step that asked for it.
 * data NULL: none. */
static enum mk_sasl_result fake_step(const struct mk_mech *m, struct mk_sasl *x,
	const char *data, size_t n)
{
	struct mk_str d = { data != NULL ? mk_arena_strndup(x->arena, data, n) : NULL, n };

	x->said = false;
	x->condition = NULL;
	enum mk_sasl_result r = m->step(NULL, x, d, data != NULL);
	/* At most twice: the second time on another source's threads. */
	for (int i = 0; i < 2 && r == MK_SASL_JOB; i++)
		r = m->step_stored(NULL, x, d, (struct mk_store *)&fake_store);
	return r;
}

static inline const struct mk_mech *fake_mech(const char *name)
{
	for (unsigned i = 0; i < fake_mech_count; i++)
		if (strcmp(fake_mechs[i]->name, name) == 0)
			return fake_mechs[i];
	return NULL;
}

/* ---- what the core would do ----------------------------------------------------- */

int mk_mech_add(struct mk_inst *i, const struct mk_mech *m)
{
	(void)i;
	fake_mechs[fake_mech_count++] = m;
	return 0;
}

void mk_metric_add(struct mk_inst *i, uint32_t index, int64_t n)
{
	(void)i;
	fake_metrics[index] += n;
}

void *mk_sasl_state(struct mk_sasl *x) { return x->state; }
struct mk_arena *mk_sasl_arena(struct mk_sasl *x) { return x->arena; }
struct mk_str mk_sasl_domain(const struct mk_sasl *x) { return x->domain; }
bool mk_sasl_binding_offered(const struct mk_sasl *x) { return x->binding_offered; }
struct mk_str mk_sasl_offer_string(struct mk_sasl *x) { return x->offer; }

void mk_sasl_say(struct mk_sasl *x, struct mk_str data)
{
	x->said = true;
	x->say = (struct mk_str){ mk_arena_strndup(x->arena, data.p, data.n), data.n };
}

int mk_sasl_user(struct mk_sasl *x, const struct mk_jid *bare)
{
	struct mk_str b = mk_jid_bare(bare);

	if (mk_jid_local(bare).n == 0 || !mk_str_eq(mk_jid_domain(bare), x->domain) ||
	    b.n >= sizeof x->user)
		return -MK_EJID;
	memcpy(x->user, b.p, b.n);
	x->user[b.n] = '\0';
	return 0;
}

enum mk_sasl_result mk_sasl_fail(struct mk_sasl *x, const char *condition)
{
	x->condition = condition;
	return MK_SASL_FAIL;
}

int mk_sasl_binding(struct mk_sasl *x, const char *type, struct mk_str *out)
{
	if (strcmp(type, "tls-exporter") != 0 || x->exporter.n == 0)
		return -MK_ENOENT;
	*out = x->exporter;
	return 0;
}

static struct fake_user *fake_find(const struct mk_jid *user)
{
	for (struct fake_user *u = fake_users; u != NULL && u->jid != NULL; u++)
		if (mk_str_eqz(mk_jid_bare(user), u->jid))
			return u;
	return NULL;
}

static void fake_keys(const struct fake_user *u, enum mk_hash h, struct mk_scram_keys *out)
{
	mk_scram_derive(h, mk_strz(u->password), u->salt, u->salt_n, u->iterations, out);
}

enum mk_auth_answer mk_account_scram(struct mk_store *st, const struct mk_jid *user,
	enum mk_hash h, struct mk_scram_keys *out)
{
	struct fake_user *u = fake_find(user);

	(void)st;
	fake_asked++;
	if (fake_is_elsewhere) {
		fake_is_elsewhere = false;
		return MK_AUTH_ELSEWHERE;
	}
	if (fake_is_away)
		return MK_AUTH_LATER;
	if (u == NULL)
		return MK_AUTH_UNKNOWN;
	fake_keys(u, h, out);
	return MK_AUTH_YES;
}

bool mk_account_scram_cached(const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	struct fake_user *u = fake_find(user);

	if (u == NULL || !u->is_cached)
		return false;
	fake_keys(u, h, out);
	return true;
}

void mk_scram_fake(const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	memset(out, 0, sizeof *out);
	out->hash = (uint8_t)h;
	out->is_fake = 1;
	out->iterations = 4096;
	out->salt_n = 16;
	memcpy(out->salt, mk_jid_full(user), 1);
}

enum mk_auth_answer mk_account_plain(struct mk_store *st, const struct mk_jid *user,
	struct mk_str password)
{
	struct fake_user *u = fake_find(user);

	(void)st;
	fake_asked++;
	if (fake_is_elsewhere) {
		fake_is_elsewhere = false;
		return MK_AUTH_ELSEWHERE;
	}
	if (fake_is_away)
		return MK_AUTH_LATER;
	if (u == NULL)
		return MK_AUTH_UNKNOWN;
	return mk_str_eqz(password, u->password) ? MK_AUTH_YES : MK_AUTH_NO;
}

int mk_account_plain_cached(const struct mk_jid *user, struct mk_str password)
{
	struct fake_user *u = fake_find(user);

	return u != NULL && u->is_cached && mk_str_eqz(password, u->password);
}

#endif
