/*
 * session/account.h - accounts inside (public half: meerkat/auth.h)
 *
 * Asks the credential sources of a domain's host type, and keeps what returning
 * users need in memory: SCRAM keys, and a verifier for PLAIN. Bounded, forgotten
 * after ten minutes and when the account changes.
 */
#ifndef MK_SESSION_ACCOUNT_H
#define MK_SESSION_ACCOUNT_H

#include <meerkat/auth.h>
#include <meerkat/conf.h>
#include "plugin/inst.h"

/*
 * Reads the secret of this installation from data_dir/secret.key (32 bytes, made
 * when it is not there, mode 0600): what mk_scram_fake answers stays the same
 * over restarts. Main thread, before workers. -MK_EIO or -MK_EPERM after a line
 * in d. Without it, a secret of this process is used.
 */
int mk_account_init(const char *data_dir, struct mk_diag *d);
/* limits.password_hashes: passwords hashed for mk_account_plain in a second; 0 =
 * any number, as at first. Any thread. */
void mk_account_set_hash_rate(int64_t per_second);

/* What is in memory of user (or of everybody) is asked for anew: credentials were
 * changed elsewhere; the sources of a host type are others. Any thread. */
void mk_account_forget(const struct mk_jid *user);
void mk_account_forget_all(void);

/* An account goes: ends on this worker, its home, the streams that have logged in as
 * user and have no session yet. Set by stream/ before anybody can log in. */
extern void (*mk_account_ends)(const struct mk_jid *user);

/*
 * Around a mechanism's step_stored, on its thread. What it asks of a source with
 * threads of its own answers MK_AUTH_ELSEWHERE, if may_move says so: then
 * step_end gives the source, entered, in whose pool the step is to be repeated, and
 * step_begin takes it there as `from` (borrowed): sources before it have been
 * asked. inst NULL: none.
 */
struct mk_move { struct mk_inst *inst; uint8_t question; };
void mk_account_step_begin(bool may_move, struct mk_move from);
struct mk_move mk_account_step_end(void);

/*
 * Users of an enabled or disabled domain by name, after a name, of all sources
 * that can list; in the order of bytes, each once. How many; names in the
 * job's arena. -MK_ENOENT: no such domain; -MK_EPERM: no source can; -MK_EIO.
 */
int mk_account_list(struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct mk_str **users_out);
/* Of all sources that can count, added up. Errors as above. */
int mk_account_count(struct mk_store *st, struct mk_str domain, uint64_t *count_out);

#endif
