/*
 * meerkat/auth.h - SASL mechanisms and credential sources
 *
 * A mechanism plugin calls mk_mech_add from start(); a source plugin calls
 * mk_source_add. The host type's `auth: [internal, ldap]` gives the order in
 * which sources are asked.
 */
#ifndef MK_AUTH_H
#define MK_AUTH_H

#include <meerkat/conf.h>
#include <meerkat/store.h>

MK_BEGIN_DECLS

/* ---- credential sources -------------------------------------------------------- */

enum mk_hash {
	MK_SHA1 = 1, MK_SHA224, MK_SHA256, MK_SHA384, MK_SHA512,
	MK_HASH_LAST_
};
MK_API const char *mk_hash_name(enum mk_hash h);        /* "SHA-256"        */
MK_API size_t mk_hash_len(enum mk_hash h);              /* bytes; <= 64     */
MK_API void mk_hash_digest(enum mk_hash h, const void *p, size_t n, void *out);
MK_API void mk_hmac(enum mk_hash h, const void *key, size_t key_n,
	const void *p, size_t n, void *out);
/* Slow on purpose: jobs only. */
MK_API void mk_pbkdf2(enum mk_hash h, struct mk_str password, const void *salt,
	size_t salt_n, unsigned iterations, void *out);

struct mk_scram_keys {
	uint8_t hash;                  /* enum mk_hash                          */
	uint8_t salt_n;
	uint8_t is_fake;               /* mk_scram_fake's: fits no password     */
	uint32_t iterations;
	uint8_t salt[32], stored_key[64], server_key[64];
};
/* Derives keys (RFC 5802 3); password prepared by SASLprep. Jobs only. */
MK_API void mk_scram_derive(enum mk_hash h, struct mk_str password,
	const void *salt, size_t salt_n, unsigned iterations, struct mk_scram_keys *out);

/* Keys of several hashes as one value, for a source's table. MK_SCRAM_HASHES: the
 * range of a setting that names hashes. Since 1.1. */
#define MK_SCRAM_HASHES "SHA-1|SHA-224|SHA-256|SHA-384|SHA-512"
#define MK_SCRAM_KEYS_MAX (1 + 5 * (6 + 32 + 64 + 64))
/* Bits by enum mk_hash of the hashes named. Any thread. */
MK_API uint32_t mk_scram_hashes(const struct mk_conf_list *names);
/* Of a password (prepared by mk_saslprep) for each of the hashes, with salts of their
 * own: how many bytes of out, which is the caller's to wipe. Jobs only. */
MK_API size_t mk_scram_keys_make(uint32_t hashes, unsigned iterations,
	struct mk_str password, uint8_t out[MK_SCRAM_KEYS_MAX]);
/* 1 found, 0 not among them, -MK_EINVAL: the value is damaged. Any thread. */
MK_API int mk_scram_keys_find(struct mk_str value, enum mk_hash want,
	struct mk_scram_keys *out);

#define MK_PASSWORD_MAX 1024   /* bytes, before and after preparation     */
/* RFC 4013 for a password; *out is arena memory, or in itself where nothing
 * changes, and may be empty. -MK_EINVAL for what it prohibits, for what is no
 * UTF-8, and for what is longer than MK_PASSWORD_MAX. Any thread. */
MK_API int mk_saslprep(struct mk_arena *a, struct mk_str in, struct mk_str *out);

enum mk_auth_answer {
	MK_AUTH_YES = 1,
	MK_AUTH_NO,                    /* this source knows the user, and no    */
	MK_AUTH_UNKNOWN,               /* not mine: ask the next source         */
	MK_AUTH_LATER,                 /* away: temporary-auth-failure          */
	/* 1.1: of mk_account_plain and mk_account_scram in a step_stored, never of a
	 * source: to be asked on a source's own threads. Return MK_SASL_JOB, and
	 * step_stored is called there, with the same data. */
	MK_AUTH_ELSEWHERE,
};

/* All in jobs. user is a bare JID. A function that is NULL is not offered. */
struct mk_source {
	uint32_t size;
	const char *name;              /* as in `auth: [name]`                  */
	enum mk_auth_answer (*exists)(struct mk_inst *, struct mk_store *,
		const struct mk_jid *user);
	/* MK_AUTH_NO: there is the user, but no keys of this hash. */
	enum mk_auth_answer (*scram)(struct mk_inst *, struct mk_store *,
		const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out);
	/* password is prepared by mk_saslprep, and not empty; as in set_password.
	 * A source without it has its scram keys used. */
	enum mk_auth_answer (*plain)(struct mk_inst *, struct mk_store *,
		const struct mk_jid *user, struct mk_str password);
	/* Creates (create) or changes; -MK_EEXIST, -MK_ENOENT, -MK_EIO. */
	int (*set_password)(struct mk_inst *, struct mk_store *,
		const struct mk_jid *user, struct mk_str password, bool create);
	int (*remove)(struct mk_inst *, struct mk_store *, const struct mk_jid *user);
	/* Users of a domain after a name, in order; rows in the job's arena. */
	int (*list)(struct mk_inst *, struct mk_store *, struct mk_str domain,
		struct mk_str after, uint32_t limit, struct mk_str **users_out);
	int (*count)(struct mk_inst *, struct mk_store *, struct mk_str domain,
		uint64_t *count_out);
	/* Whether it holds SCRAM keys of this hash for its users, so that the
	 * mechanism may be offered. Any thread. */
	bool (*has_scram)(struct mk_inst *, enum mk_hash h);
	/* Iterations of the keys that a new user would get: those of users who do
	 * not exist look the same (S-08). Any thread; NULL = MK_SCRAM_ITERATIONS. */
	unsigned (*iterations)(struct mk_inst *, enum mk_hash h);
	/*
	 * 1.1, for a source that waits for something other than storage: how many
	 * threads of its own it gets, asked once by mk_source_add; NULL or 0: none.
	 * Logins wait for these, and all jobs of the instance run there, so that no
	 * other thread stands still with it. From other jobs (does the user exist?)
	 * two calls at a time are let through, the rest gets MK_AUTH_LATER after a
	 * moment; that a user exists is remembered for some minutes. Each call must
	 * still end in bounded time.
	 */
	unsigned (*threads)(struct mk_inst *);
};
#define MK_SCRAM_ITERATIONS 10000
MK_API int mk_source_add(struct mk_inst *i, const struct mk_source *s);

/* The host type's sources in their order. Jobs only. */
MK_API enum mk_auth_answer mk_account_exists(struct mk_store *st,
	const struct mk_jid *user);
MK_API enum mk_auth_answer mk_account_scram(struct mk_store *st,
	const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out);
/* Returning users are checked against a verifier in memory first. Users who do
 * not exist cost what others do; MK_AUTH_LATER also when the node hashes as
 * many passwords as it may (limits.password_hashes). password is prepared by
 * mk_saslprep. */
MK_API enum mk_auth_answer mk_account_plain(struct mk_store *st,
	const struct mk_jid *user, struct mk_str password);
/* By the first source that can; what was cached is forgotten. password is
 * prepared here. -MK_EINVAL: an empty or prohibited one; -MK_EEXIST (create):
 * some source has the user; -MK_ENOENT: no such user, or no such domain that
 * is enabled; -MK_EPERM: no source can; -MK_EAGAIN, -MK_EIO. */
MK_API int mk_account_set_password(struct mk_store *st, const struct mk_jid *user,
	struct mk_str password, bool create);
/* Login ends first, then the account's sessions; then account_removed runs (its
 * rows are still there to read), then its tables are erased. The latter also
 * for a user whom no source knows (-MK_ENOENT then), so that it can be repeated
 * after -MK_EIO. -MK_EPERM: the source that has the user can't remove. */
MK_API int mk_account_remove(struct mk_store *st, const struct mk_jid *user);
/* The same; of the sessions, the one that last (a stanza of the caller's own; open
 * or sealed, borrowed) is to gets it before it ends: the answer to who asked for
 * this. Not sent if login could not be ended. */
MK_API int mk_account_remove_saying(struct mk_store *st, const struct mk_jid *user,
	struct mk_stanza *last);
/* Without storage, from what is cached; false if it isn't. Any worker. For a
 * user whom mk_account_scram did not find it gives mk_scram_fake's, so that
 * the next attempt tells no more than the first. */
MK_API bool mk_account_scram_cached(const struct mk_jid *user, enum mk_hash h,
	struct mk_scram_keys *out);
/* 1 yes, 0 unknown (ask in a job). Prepared as above. Any thread. */
MK_API int mk_account_plain_cached(const struct mk_jid *user, struct mk_str password);
/* Keys that look like a user's and are the same each time, for users who do
 * not exist (S-08). Any thread. */
MK_API void mk_scram_fake(const struct mk_jid *user, enum mk_hash h,
	struct mk_scram_keys *out);

/* ---- mechanisms ---------------------------------------------------------------- */

struct mk_sasl;                /* one exchange on one stream               */

enum mk_sasl_result {
	MK_SASL_CONTINUE = 1,          /* challenge set by mk_sasl_say          */
	MK_SASL_OK,                    /* mk_sasl_user was set                  */
	MK_SASL_FAIL,                  /* mk_sasl_fail was called               */
	MK_SASL_JOB,                   /* call step_stored with the same data   */
};
enum mk_mech_flag {
	MK_MECH_PLAINTEXT = 1,         /* sends the password: only under TLS    */
	MK_MECH_BINDING = 2,           /* needs a channel binding (-PLUS)       */
	MK_MECH_ANONYMOUS = 4,         /* only where the host type asks for it  */
	MK_MECH_SCRAM = 8,             /* offered if a source has keys of hash  */
};
struct mk_mech {
	uint32_t size, flags;
	const char *name;              /* "SCRAM-SHA-256-PLUS"                  */
	int strength;                  /* higher is offered first               */
	uint8_t hash;                  /* with MK_MECH_SCRAM                    */
	uint32_t state_bytes;          /* of the exchange, zeroed               */
	/* At the stream's worker. first: initial-response, or data of the first
	 * response; has_data is false for a missing initial response. data lives until
	 * a step says MK_SASL_OK or MK_SASL_FAIL; it is wiped then. */
	enum mk_sasl_result (*step)(struct mk_inst *, struct mk_sasl *,
		struct mk_str data, bool has_data);
	/* In a job. MK_SASL_JOB: after MK_AUTH_ELSEWHERE only. */
	enum mk_sasl_result (*step_stored)(struct mk_inst *, struct mk_sasl *,
		struct mk_str data, struct mk_store *st);
};
MK_API int mk_mech_add(struct mk_inst *i, const struct mk_mech *m);

MK_API void *mk_sasl_state(struct mk_sasl *x);
/* Wiped when the exchange ends, as is mk_sasl_state. */
MK_API struct mk_arena *mk_sasl_arena(struct mk_sasl *x);
MK_API struct mk_str mk_sasl_domain(const struct mk_sasl *x);
/* The challenge, or additional data with success; copied. */
MK_API void mk_sasl_say(struct mk_sasl *x, struct mk_str data);
/* Sets who it is; -MK_EJID if local can't be a localpart. */
MK_API int mk_sasl_user(struct mk_sasl *x, const struct mk_jid *bare);
/* Condition of RFC 6120 6.5: "not-authorized", "malformed-request" ... */
MK_API enum mk_sasl_result mk_sasl_fail(struct mk_sasl *x, const char *condition);
/*
 * Channel binding data of a type ("tls-exporter", "tls-server-end-point"), in
 * the exchange's arena; -MK_ENOENT if this stream has none of that type.
 */
MK_API int mk_sasl_binding(struct mk_sasl *x, const char *type, struct mk_str *out);
/* Whether a -PLUS mechanism was offered on this stream. */
MK_API bool mk_sasl_binding_offered(const struct mk_sasl *x);
/* What XEP-0474 hashes: mechanisms and channel bindings as offered, sorted and
 * joined as it demands. */
MK_API struct mk_str mk_sasl_offer_string(struct mk_sasl *x);

MK_END_DECLS
#endif
