/*
 * ldap/captured.h - SCRAM keys of passwords that were right once
 *
 * A row for a user, made at a login by PLAIN, with the stamp that the entry had then.
 * Jobs only; what is read lives in the job's arena.
 */
#ifndef LDAP_CAPTURED_H
#define LDAP_CAPTURED_H

#include "conf.h"
#include "who.h"

extern const struct mk_table ldap_keys;

struct captured {
	int64_t captured, checked;     /* ms since 1970: password and entry     */
	struct mk_str type;            /* host type that keeps it up to date    */
	struct mk_str stamp, keys;
};

/* The user's row. */
enum mk_store_status captured_get(struct mk_store *st, const struct mk_jid *user,
	struct captured *out);
/* A password that the directory took: keys of it, unless the row has them. Failing
 * is no failure of the login; it is logged. true if they are new. */
bool captured_learn(struct mk_inst *i, struct mk_store *st, const struct conf *s,
	const struct mk_jid *user, struct mk_str password, struct mk_str stamp);
/*
 * What the directory said of the user (found, and the entry's stamp with
 * MK_AUTH_YES) settles whether the row may stay. MK_AUTH_YES: it may, and counts
 * as checked; MK_AUTH_NO, MK_AUTH_UNKNOWN: it is gone; MK_AUTH_LATER: the directory
 * is away, and has been for too long.
 */
enum mk_auth_answer captured_judge(struct mk_store *st, const struct conf *s,
	const struct mk_jid *user, const struct captured *row, enum mk_auth_answer found,
	struct mk_str stamp);
/* Whether the row needs no word of the directory yet; or, away, may do without. */
bool captured_is_fresh(const struct captured *row, int64_t max_ms);
/* Rows of this host type last checked that long ago, at most limit from after on (a key,
 * or NULL); how many, or -1: storage is away. *next_out is NULL at the end. */
int captured_stale(struct mk_inst *i, struct mk_store *st, int64_t age_ms, uint32_t limit,
	const struct mk_value *after, struct mk_jid ***users_out, struct captured **rows_out,
	const struct mk_value **next_out);

#endif
