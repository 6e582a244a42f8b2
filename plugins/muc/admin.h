/*
 * muc/admin.h - what the files of administration share
 */
#ifndef MUC_ADMIN_H
#define MUC_ADMIN_H

#include "room.h"

/* How much one request may ask for: more is no list that a person changed. */
#define ITEMS_MAX 500

#define FORM_REGISTER NS_MUC "#register"

/* What jid may do here: its affiliation, and its role if it is in the room. */
struct standing room_standing(const struct room *r, const struct mk_jid *jid);
/* Whether who stands so may see who the members are (9.5). */
bool may_list_members(const struct room *r, struct standing by);
/* The occupant that jid (full) is a client of, or NULL. */
struct occupant *room_occupant_of(const struct room *r, const struct mk_jid *jid);

/*
 * Whether an affiliation for jid may be added to c: 0, or the stanza error. A domain
 * can be a member or an outcast only.
 */
uint16_t affil_change_ok(const struct room *r, const struct room_change *c,
	const struct mk_jid *jid, enum affil a, const char **text_out);
/* 0 if there is an owner after c, or there is none now; else conflict (10.4). */
uint16_t affils_leave_owner(const struct room *r, const struct room_change *c);
/*
 * After c was taken over: those inside get the affiliations and roles that it gives
 * them and are told, or are removed (301, 321); new members of a members-only room
 * are invited (9.5). by: who made the change.
 */
void affils_tell(struct room *r, const struct room_change *c, const struct mk_jid *by);

/* The nickname as resourceprep has it, in arena a; NULL with *error_out if it can't be
 * one, or somebody else has it (7.10). */
const char *nick_to_reserve(const struct room *r, struct mk_arena *a, struct mk_str nick,
	const struct mk_jid *user, uint16_t *error_out);

/* Whether the user of jid may have somebody bothered with this kind of thing now (S-20);
 * counts it. */
bool may_bother(struct room *r, const struct mk_jid *jid, enum bother kind);
/* Sends a mediated invitation (7.8.2); reason n 0, continued may be NULL. */
void invitation_send(const struct room *r, const struct mk_jid *from, const struct mk_jid *to,
	const char *id, struct mk_str reason, const struct mk_elem *continued);

/* register.c: an admin's answer to a request for registration (9.9). */
enum mk_verdict register_message(struct room *r, struct mk_ev_stanza *ev, const struct mk_elem *x);

#endif
