/*
 * muc/rules.c - who may do what to whom (XEP-0045 5, 8, 9, 10)
 */
#include "rules.h"

static const char *const role_names[] = {
	[ROLE_NONE] = "none", [ROLE_VISITOR] = "visitor", [ROLE_PARTICIPANT] = "participant",
	[ROLE_MODERATOR] = "moderator",
};
static const char *const affil_names[] = {
	[AFFIL_OUTCAST] = "outcast", [AFFIL_NONE] = "none", [AFFIL_MEMBER] = "member",
	[AFFIL_ADMIN] = "admin", [AFFIL_OWNER] = "owner",
};

const char *role_name(enum role r)
{
	return role_names[r];
}

const char *affil_name(enum affil a)
{
	return affil_names[a];
}

bool role_parse(const char *name, enum role *out)
{
	for (int r = ROLE_NONE; r <= ROLE_MODERATOR; r++)
		if (mk_streq(name, role_names[r])) {
			*out = (enum role)r;
			return true;
		}
	return false;
}

bool affil_parse(const char *name, enum affil *out)
{
	for (int a = AFFIL_OUTCAST; a <= AFFIL_OWNER; a++)
		if (mk_streq(name, affil_names[a])) {
			*out = (enum affil)a;
			return true;
		}
	return false;
}

uint16_t rules_role_change(struct standing by, struct standing of, enum role to, bool is_self)
{
	bool is_admin = by.affil >= AFFIL_ADMIN;

	if (by.role != ROLE_MODERATOR && !is_admin)
		return MK_ERR_FORBIDDEN;               /* 8                     */
	if (to == of.role)
		return 0;
	if (to == ROLE_MODERATOR)                      /* 9.6                   */
		return is_admin ? 0 : MK_ERR_FORBIDDEN;
	if (to == ROLE_NONE) {                         /* 8.2                   */
		/* Anybody may leave, so a moderator may throw himself out too. */
		if (is_self)
			return 0;
		if (of.affil > by.affil)
			return MK_ERR_NOT_ALLOWED;
		/* 5.1.3: a moderator is kicked by an admin or owner only. */
		return of.role == ROLE_MODERATOR && !is_admin ? MK_ERR_NOT_ALLOWED : 0;
	}
	/* What an admin or owner has by being one, nobody takes away (8.4, 9.7). */
	if (to < of.role && of.affil >= AFFIL_ADMIN)
		return MK_ERR_NOT_ALLOWED;
	if (of.role == ROLE_MODERATOR)                 /* 9.7                   */
		return is_admin ? 0 : MK_ERR_FORBIDDEN;
	/* 8.4: not from whose affiliation is at or above the moderator's. Who has none
	 * is above nobody, or else an unaffiliated moderator had nothing to do. */
	if (to == ROLE_VISITOR && of.affil > AFFIL_NONE && of.affil >= by.affil)
		return MK_ERR_NOT_ALLOWED;
	return 0;
}

uint16_t rules_affil_change(enum affil by, enum affil from, enum affil to, bool is_self)
{
	if (by < AFFIL_ADMIN)
		return MK_ERR_FORBIDDEN;               /* 9                     */
	if (to == AFFIL_OUTCAST && is_self)
		return MK_ERR_CONFLICT;                /* 9.1                   */
	if (by == AFFIL_OWNER)
		return 0;
	/* An admin: among outcast, none and member. */
	if (to >= AFFIL_ADMIN)
		return MK_ERR_FORBIDDEN;               /* 10.3, 10.6            */
	if (from >= AFFIL_ADMIN)                       /* 9.1; 10.4, 10.7       */
		return to == AFFIL_OUTCAST ? MK_ERR_NOT_ALLOWED : MK_ERR_FORBIDDEN;
	return 0;
}

enum role rules_first_role(enum affil a, bool is_moderated)
{
	switch (a) {
	case AFFIL_OUTCAST: return ROLE_NONE;
	case AFFIL_NONE: return is_moderated ? ROLE_VISITOR : ROLE_PARTICIPANT;
	case AFFIL_MEMBER: return ROLE_PARTICIPANT;
	default: return ROLE_MODERATOR;
	}
}

enum role rules_role_after(enum role now, enum affil from, enum affil to, bool is_moderated)
{
	/* A moderator who is neither admin nor owner was made one, and stays it. */
	if (now == ROLE_MODERATOR && from < AFFIL_ADMIN)
		return now;
	return rules_first_role(to, is_moderated);
}
