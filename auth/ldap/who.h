/*
 * ldap/who.h - whose entry is whose: users, and the groups they must be in
 *
 * Jobs only; results are memory of the call's arena.
 */
#ifndef LDAP_WHO_H
#define LDAP_WHO_H

#include <meerkat/auth.h>

#include "conf.h"

struct who {
	const char *dn;
	/* What changes when the password does, or the entry; n 0: not shown to us. */
	struct mk_str stamp;
};

/* The one entry of a user, who is in the groups demanded. MK_AUTH_UNKNOWN: there is
 * none; MK_AUTH_NO: there are several, and it is anybody's guess whose password
 * would count (logged); MK_AUTH_LATER. */
enum mk_auth_answer who_find(struct dir_call *c, const struct conf *s,
	const struct mk_jid *user, struct who *out);
/* With method bind: the DN that the user's password is tried on. */
const char *who_dn(struct dir_call *c, const struct conf *s, const struct mk_jid *user);
/* Each user that filter finds, by what user_attribute says. */
enum mk_auth_answer who_each(struct dir_call *c, const struct conf *s, struct mk_str domain,
	void (*each)(void *arg, struct mk_str name), void *arg);

#endif
