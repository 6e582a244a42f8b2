/*
 * muc/rules.h - who may do what to whom (XEP-0045 5, 8, 9, 10)
 *
 * Pure: nothing here knows a room. Errors are those of enum mk_stanza_error, 0 is
 * "allowed".
 */
#ifndef MUC_RULES_H
#define MUC_RULES_H

#include <meerkat/types.h>

/* In the order of what they allow (5.1, 5.2). */
enum role { ROLE_NONE, ROLE_VISITOR, ROLE_PARTICIPANT, ROLE_MODERATOR };
enum affil { AFFIL_OUTCAST, AFFIL_NONE, AFFIL_MEMBER, AFFIL_ADMIN, AFFIL_OWNER };

/* The names on the wire; parsing: false if it is none of them. */
const char *role_name(enum role r);
const char *affil_name(enum affil a);
bool role_parse(const char *name, enum role *out);
bool affil_parse(const char *name, enum affil *out);

/* Who acts or is acted upon. */
struct standing {
	enum affil affil;
	enum role role;                /* ROLE_NONE: not in the room            */
};

/*
 * Whether by may give of, an occupant, the role to (5.1.1, 5.1.3, 8.2-8.5, 9.6-9.8);
 * is_self: of is one of by's own sessions. An admin or owner counts as a moderator
 * without being in the room.
 */
uint16_t rules_role_change(struct standing by, struct standing of, enum role to,
	bool is_self);

/*
 * Whether by may give somebody who has the affiliation from the affiliation to
 * (5.2.1, 5.2.2, 9.1-9.5, 10.3-10.8). That an owner remains is not for one change to
 * say but for all of a request.
 */
uint16_t rules_affil_change(enum affil by, enum affil from, enum affil to, bool is_self);

/* The role at entry (5.1.2). */
enum role rules_first_role(enum affil a, bool is_moderated);

/*
 * The role of an occupant whose affiliation changes (5.1.3, the note at the end):
 * gains what the new one implies, loses what the old one did, and keeps what a
 * moderator gave. Not for those who must leave.
 */
enum role rules_role_after(enum role now, enum affil from, enum affil to, bool is_moderated);

#endif
