/*
 * scram.c - SCRAM and SCRAM-PLUS with SHA-1 to SHA-512 (RFC 5802, RFC 7677)
 *
 * One exchange is a struct exchange in the stream's SASL state. Its two steps run
 * on the stream's worker; only keys that are not in the core's cache are fetched
 * in a job. A user who does not exist, or has no keys of this hash, is led through
 * the same steps with made-up keys and fails at the end (S-08).
 */
#include <meerkat/auth.h>
#include <meerkat/plugin.h>

#define MESSAGE_MAX 4096       /* bytes of a client's message               */

enum { M_LOGINS, M_BOUND, M_FAILED, M_MALFORMED, M_DOWNGRADED };

enum phase { WANTS_FIRST, WANTS_KEYS, WANTS_FINAL };
struct exchange {
	uint8_t phase, hash;
	bool is_plus;
	const char *user;              /* bare JID                              */
	struct mk_str bare;            /* client-first-message-bare             */
	struct mk_str nonce;           /* the client's, then both               */
	struct mk_str binding;         /* c= as it has to be                    */
	struct mk_str offer;           /* h= of XEP-0474, or n 0                */
	struct mk_str said;            /* client-first-bare,server-first,       */
	struct mk_scram_keys keys;
};

static enum mk_sasl_result malformed(struct mk_inst *i, struct mk_sasl *x)
{
	mk_metric_add(i, M_MALFORMED, 1);
	return mk_sasl_fail(x, "malformed-request");
}

static enum mk_sasl_result refused(struct mk_inst *i, struct mk_sasl *x, const char *condition)
{
	mk_metric_add(i, M_FAILED, 1);
	return mk_sasl_fail(x, condition);
}

/* ---- reading messages (RFC 5802 7) ---------------------------------------------- */

/* What is left of a message; p NULL after its last attribute. */
struct reader { const char *p, *end; };

static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* attr-val = ALPHA "=" value, up to the next comma. */
static bool next_attr(struct reader *r, char *name, struct mk_str *value)
{
	const char *p = r->p, *comma;

	if (p == NULL)
		return false;
	comma = memchr(p, ',', (size_t)(r->end - p));
	const char *end = comma != NULL ? comma : r->end;
	if (end - p < 3 || !is_alpha(p[0]) || p[1] != '=')
		return false;
	*name = p[0];
	*value = (struct mk_str){ p + 2, (size_t)(end - p - 2) };
	r->p = comma != NULL ? comma + 1 : NULL;
	return true;
}

/* Attributes with a meaning may not stand where extensions do; "m" is one that we
 * would have to understand. */
static bool is_extension(char name) { return strchr("aceimnprsv", name) == NULL; }

static bool text_ok(struct mk_str s)
{
	return s.n > 0 && s.n <= MESSAGE_MAX && memchr(s.p, '\0', s.n) == NULL &&
		mk_utf8_valid(s.p, s.n);
}

/* saslname: "=2C" and "=3D" only. */
static bool name_decode(struct mk_arena *a, struct mk_str in, struct mk_str *out)
{
	char *b = mk_arena_alloc(a, in.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '=') {
			b[n++] = in.p[i];
			continue;
		}
		if (in.n - i < 3)
			return false;
		if (memcmp(in.p + i, "=2C", 3) == 0)
			b[n++] = ',';
		else if (memcmp(in.p + i, "=3D", 3) == 0)
			b[n++] = '=';
		else
			return false;
		i += 2;
	}
	*out = (struct mk_str){ b, n };
	return true;
}

struct first {
	char flag;                     /* 'n', 'y' or 'p'                       */
	const char *cb_type;           /* with 'p'                              */
	struct mk_str authzid;         /* n 0 = none                            */
	struct mk_str header;          /* gs2-header                            */
	struct mk_str bare, user, nonce;
};

static bool is_cb_char(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

/* gs2-header = gs2-cbind-flag "," [ "a=" saslname ] "," */
static bool header_read(struct mk_arena *a, struct reader *r, struct first *f)
{
	const char *start = r->p, *p = start, *end = r->end, *from;
	struct mk_str name;

	f->flag = *p++;
	if (f->flag == 'p') {
		if (p == end || *p++ != '=')
			return false;
		for (from = p; p < end && is_cb_char(*p); )
			p++;
		if (p == from)
			return false;
		f->cb_type = mk_arena_strndup(a, from, (size_t)(p - from));
	} else if (f->flag != 'n' && f->flag != 'y') {
		return false;
	}
	if (p == end || *p++ != ',')
		return false;
	if (end - p >= 2 && p[0] == 'a' && p[1] == '=') {
		for (from = p += 2; p < end && *p != ','; )
			p++;
		name = (struct mk_str){ from, (size_t)(p - from) };
		if (name.n == 0 || !name_decode(a, name, &f->authzid))
			return false;
	}
	if (p == end || *p++ != ',')
		return false;
	f->header = (struct mk_str){ start, (size_t)(p - start) };
	r->p = p;
	return true;
}

/* client-first-message = gs2-header username "," nonce ["," extensions] */
static bool first_read(struct mk_arena *a, struct mk_str data, struct first *f)
{
	struct reader r = { data.p, data.p + data.n };
	struct mk_str value;
	char name;

	if (!text_ok(data) || !header_read(a, &r, f))
		return false;
	f->bare = (struct mk_str){ r.p, (size_t)(r.end - r.p) };
	if (!next_attr(&r, &name, &value) || name != 'n' || !name_decode(a, value, &f->user))
		return false;
	if (!next_attr(&r, &name, &f->nonce) || name != 'r')
		return false;
	for (size_t i = 0; i < f->nonce.n; i++)
		if (f->nonce.p[i] < 0x21 || f->nonce.p[i] > 0x7e)
			return false;
	while (r.p != NULL)
		if (!next_attr(&r, &name, &value) || !is_extension(name))
			return false;
	return true;
}

struct final {
	struct mk_str binding, nonce, proof;   /* as base64: binding and proof  */
	struct mk_str without_proof;
};

/* client-final-message = "c=" base64 "," nonce ["," extensions] ",p=" base64 */
static bool final_read(struct mk_str data, struct final *f)
{
	struct reader r = { data.p, data.p + data.n };
	char name;

	if (!text_ok(data) || !next_attr(&r, &name, &f->binding) || name != 'c' ||
	    !next_attr(&r, &name, &f->nonce) || name != 'r')
		return false;
	for (;;) {
		if (!next_attr(&r, &name, &f->proof))
			return false;
		if (name == 'p')
			break;
		if (!is_extension(name))
			return false;
	}
	f->without_proof = (struct mk_str){ data.p, (size_t)(f->proof.p - 3 - data.p) };
	return r.p == NULL;
}

static struct mk_str encoded(struct mk_arena *a, const void *p, size_t n)
{
	char *b = mk_arena_alloc(a, 4 * ((n + 2) / 3) + 1);

	return (struct mk_str){ b, mk_base64_encode(b, p, n) };
}

static char *put(char *at, struct mk_str s)
{
	memcpy(at, s.p, s.n);
	return at + s.n;
}

/* ---- the first step ----------------------------------------------------------------- */

/* server-first-message: both nonces, salt, iterations, and XEP-0474's hash. */
static enum mk_sasl_result challenge(struct mk_sasl *x, struct exchange *e)
{
	struct mk_arena *a = mk_sasl_arena(x);
	char own[8 * 24 / 5 + 2];
	struct mk_str salt = encoded(a, e->keys.salt, e->keys.salt_n), client = e->nonce;

	mk_token(own, sizeof own, 24);
	const char *text = mk_arena_printf(a, "%.*s,r=%.*s%s,s=%s,i=%u%s%.*s,", (int)e->bare.n,
		e->bare.p, (int)client.n, client.p, own, salt.p, (unsigned)e->keys.iterations,
		e->offer.n != 0 ? ",h=" : "", (int)e->offer.n, e->offer.n != 0 ? e->offer.p : "");
	e->said = mk_strz(text);
	struct mk_str say = { text + e->bare.n + 1, e->said.n - e->bare.n - 2 };
	e->nonce = (struct mk_str){ say.p + 2, client.n + strlen(own) };
	e->phase = WANTS_FINAL;
	mk_sasl_say(x, say);
	return MK_SASL_CONTINUE;
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

/* What c= must be: the header, and with -PLUS the binding after it. */
static int expect_binding(struct mk_sasl *x, struct exchange *e, const struct first *f)
{
	struct mk_arena *a = mk_sasl_arena(x);
	struct mk_str cb = { "", 0 };

	if (e->is_plus && mk_sasl_binding(x, f->cb_type, &cb) < 0)
		return -MK_ENOENT;
	char *b = mk_arena_alloc(a, f->header.n + cb.n);
	put(put(b, f->header), cb);
	e->binding = encoded(a, b, f->header.n + cb.n);
	return 0;
}

static enum mk_sasl_result first(struct mk_inst *i, struct mk_sasl *x, struct exchange *e,
	struct mk_str data)
{
	struct mk_arena *a = mk_sasl_arena(x);
	struct mk_jid *user = NULL;
	struct mk_str offer;
	struct first f = { 0 };
	uint8_t digest[64];

	if (!first_read(a, data, &f) || (f.flag == 'p') != e->is_plus)
		return malformed(i, x);
	/* "I would have, but you can't": we could, so somebody in between took our
	 * offer away (RFC 5802 6). */
	if (f.flag == 'y' && mk_sasl_binding_offered(x)) {
		mk_metric_add(i, M_DOWNGRADED, 1);
		return refused(i, x, "not-authorized");
	}
	if (expect_binding(x, e, &f) < 0)
		return malformed(i, x);        /* a type we did not announce        */
	/* A name that can't be one is nobody's; that is no secret. */
	if (mk_jid_make(f.user, mk_sasl_domain(x), MK_STR_NONE, &user) < 0 ||
	    mk_jid_local(user).n == 0) {
		if (user != NULL)
			mk_jid_unref(&user);
		return refused(i, x, "not-authorized");
	}
	if (!authzid_ok(f.authzid, user)) {
		mk_jid_unref(&user);
		return refused(i, x, "invalid-authzid");
	}
	e->user = mk_arena_strdup(a, mk_jid_full(user));
	e->bare = f.bare;
	e->nonce = f.nonce;
	offer = mk_sasl_offer_string(x);
	if (offer.n != 0) {
		mk_hash_digest(e->hash, offer.p, offer.n, digest);
		e->offer = encoded(a, digest, mk_hash_len(e->hash));
	}
	e->phase = WANTS_KEYS;
	bool known = mk_account_scram_cached(user, e->hash, &e->keys);
	mk_jid_unref(&user);
	return known ? challenge(x, e) : MK_SASL_JOB;
}

static enum mk_sasl_result step_stored(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	struct mk_store *st)
{
	struct exchange *e = mk_sasl_state(x);
	struct mk_jid *user = NULL;

	(void)data;
	if (e->phase != WANTS_KEYS || mk_jid_parsez(e->user, &user) < 0)
		return malformed(i, x);
	enum mk_auth_answer answer = mk_account_scram(st, user, e->hash, &e->keys);
	if (answer == MK_AUTH_UNKNOWN || answer == MK_AUTH_NO)
		mk_scram_fake(user, e->hash, &e->keys);
	mk_jid_unref(&user);
	if (answer == MK_AUTH_ELSEWHERE)
		return MK_SASL_JOB;
	if (answer == MK_AUTH_LATER)
		return refused(i, x, "temporary-auth-failure");
	return challenge(x, e);
}

/* ---- the last step --------------------------------------------------------------------- */

/* Whether the proof fits, and what we prove in turn (RFC 5802 3). */
static bool verify(struct exchange *e, struct mk_arena *a, const struct final *f,
	const uint8_t *proof, uint8_t *server_signature)
{
	size_t n = mk_hash_len(e->hash), said_n = e->said.n + f->without_proof.n;
	char *said = mk_arena_alloc(a, said_n);
	uint8_t key[64], stored[64];

	put(put(said, e->said), f->without_proof);
	mk_hmac(e->hash, e->keys.stored_key, n, said, said_n, key);
	for (size_t b = 0; b < n; b++)
		key[b] ^= proof[b];
	mk_hash_digest(e->hash, key, n, stored);
	mk_hmac(e->hash, e->keys.server_key, n, said, said_n, server_signature);
	bool ok = mk_equal_ct(stored, e->keys.stored_key, n);
	explicit_bzero(key, sizeof key);
	return ok && !e->keys.is_fake;
}

static enum mk_sasl_result final(struct mk_inst *i, struct mk_sasl *x, struct exchange *e,
	struct mk_str data)
{
	struct mk_arena *a = mk_sasl_arena(x);
	size_t n = mk_hash_len(e->hash);
	uint8_t signature[64];
	struct mk_jid *user = NULL;
	struct final f;

	if (!final_read(data, &f))
		return malformed(i, x);
	uint8_t *proof = mk_arena_alloc(a, 3 * (f.proof.n / 4) + 1);
	void *binding = mk_arena_alloc(a, 3 * (f.binding.n / 4) + 1);
	if (mk_base64_decode(proof, f.proof.p, f.proof.n) != (int)n ||
	    mk_base64_decode(binding, f.binding.p, f.binding.n) < 0)
		return malformed(i, x);
	bool ok = verify(e, a, &f, proof, signature);
	explicit_bzero(&e->keys, sizeof e->keys);
	ok &= mk_str_eq(f.nonce, e->nonce);
	ok &= mk_str_eq(f.binding, e->binding);
	if (!ok || mk_jid_parsez(e->user, &user) < 0)
		return refused(i, x, "not-authorized");
	int r = mk_sasl_user(x, user);
	mk_jid_unref(&user);
	if (r < 0)
		return refused(i, x, "not-authorized");
	struct mk_str v = encoded(a, signature, n);
	mk_sasl_say(x, mk_strz(mk_arena_printf(a, "v=%s", v.p)));
	mk_metric_add(i, M_LOGINS, 1);
	if (e->is_plus)
		mk_metric_add(i, M_BOUND, 1);
	return MK_SASL_OK;
}

static enum mk_sasl_result step(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	bool has_data, enum mk_hash h, bool plus)
{
	struct exchange *e = mk_sasl_state(x);

	e->hash = (uint8_t)h;
	e->is_plus = plus;
	if (e->phase == WANTS_FINAL)
		return final(i, x, e, data);
	if (e->phase == WANTS_FIRST && has_data)
		return first(i, x, e, data);
	if (e->phase == WANTS_FIRST) {
		/* Asked for by an empty challenge (RFC 4422 5.1). */
		mk_sasl_say(x, MK_STR(""));
		return MK_SASL_CONTINUE;
	}
	return malformed(i, x);
}

/* ---- the mechanisms ----------------------------------------------------------------------- */

/* A binding counts for more than the best hash. */
#define SCRAMS(X) \
	X(MK_SHA1, "SCRAM-SHA-1", 20) X(MK_SHA224, "SCRAM-SHA-224", 30) \
	X(MK_SHA256, "SCRAM-SHA-256", 40) X(MK_SHA384, "SCRAM-SHA-384", 50) \
	X(MK_SHA512, "SCRAM-SHA-512", 60)

#define STEPS(h, name, strength) \
	static enum mk_sasl_result step_##h(struct mk_inst *i, struct mk_sasl *x, \
		struct mk_str data, bool has_data) \
	{ return step(i, x, data, has_data, h, false); } \
	static enum mk_sasl_result step_plus_##h(struct mk_inst *i, struct mk_sasl *x, \
		struct mk_str data, bool has_data) \
	{ return step(i, x, data, has_data, h, true); }
SCRAMS(STEPS)

#define MECH(h, mech_name, mech_strength, plus_flag, fn) \
	{ .size = sizeof(struct mk_mech), .flags = MK_MECH_SCRAM | (plus_flag), \
	  .name = mech_name, .strength = mech_strength, .hash = h, \
	  .state_bytes = sizeof(struct exchange), .step = fn, .step_stored = step_stored },
#define MECHS(h, name, strength) \
	MECH(h, name, strength, 0, step_##h) \
	MECH(h, name "-PLUS", 100 + strength, MK_MECH_BINDING, step_plus_##h)
static const struct mk_mech mechs[] = { SCRAMS(MECHS) };

static const struct mk_metric
	logins = { sizeof(struct mk_metric), MK_COUNTER, "logins_total", "Logins by SCRAM." },
	bound = { sizeof(struct mk_metric), MK_COUNTER, "bound_total",
		"Of these, with a channel binding." },
	failed = { sizeof(struct mk_metric), MK_COUNTER, "failed_total", "Logins refused." },
	malformed_ones = { sizeof(struct mk_metric), MK_COUNTER, "malformed_total",
		"Messages that are not as RFC 5802 has them." },
	downgraded = { sizeof(struct mk_metric), MK_COUNTER, "downgraded_total",
		"Logins refused because somebody hid our channel bindings from the client." };
static const struct mk_metric *const metrics[] = {
	[M_LOGINS] = &logins, [M_BOUND] = &bound, [M_FAILED] = &failed,
	[M_MALFORMED] = &malformed_ones, [M_DOWNGRADED] = &downgraded, NULL
};

static int start(struct mk_inst *i)
{
	int r = 0;

	for (size_t m = 0; m < sizeof mechs / sizeof *mechs && r == 0; m++)
		r = mk_mech_add(i, &mechs[m]);
	return r;
}

MK_PLUGIN(scram, "scram",
	.version = "1.0",
	.summary = "SCRAM-SHA-1 to -512, with and without channel binding (RFC 5802, RFC 7677)",
	.license = "BSD-2-Clause",
	.flags = MK_PLUGIN_PER_TYPE,
	.metrics = metrics,
	.start = start)
