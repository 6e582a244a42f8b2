/*
 * muc/invite.c - invitations through the room, and their declines (XEP-0045 7.8.2)
 *
 * What the room sends is made anew from what it was asked for: who invites is the
 * room's to say. Direct invitations (XEP-0249) don't come this way.
 */
#include "admin.h"

#define NS_HINTS "urn:xmpp:hints"

/* Invitations in one message. */
#define INVITES_MAX 20

void invitation_send(const struct room *r, const struct mk_jid *from, const struct mk_jid *to,
	const char *id, struct mk_str reason, const struct mk_elem *continued)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, r->jid, to);
	struct mk_elem *x = mk_elem_add(mk_stanza_root(s), "x", NS_MUC_USER), *e;
	char token[40];

	if (id == NULL)
		mk_token(token, sizeof token, 16);
	mk_stanza_set_id(s, id != NULL ? id : token);
	e = mk_elem_add(x, "invite", NS_MUC_USER);
	mk_elem_set(e, "from", mk_jid_full(from));
	if (reason.n != 0)
		mk_elem_add_text(e, "reason", NS_MUC_USER, reason);
	if (continued != NULL)
		mk_elem_set(mk_elem_add(e, "continue", NS_MUC_USER), "thread",
			mk_elem_attr(continued, "thread"));
	if (r->conf.password != NULL)
		mk_elem_add_text(x, "password", NS_MUC_USER, mk_strz(r->conf.password));
	/* Who is away shall find it later (XEP-0334); it has no body. */
	mk_elem_add(mk_stanza_root(s), "store", NS_HINTS);
	mk_send(&s);
}

/* Whether by may invite here; in a members-only room that makes members (9.5). */
static uint16_t may_invite(const struct room *r, struct standing by)
{
	if (by.role == ROLE_NONE && by.affil < AFFIL_ADMIN)
		return MK_ERR_FORBIDDEN;
	if (!r->conf.is_members_only || by.affil >= AFFIL_ADMIN)
		return 0;
	return r->conf.members_invite ? 0 : MK_ERR_FORBIDDEN;
}

static uint16_t check(const struct room *r, const struct mk_elem *x, struct room_change *c,
	const char **text_out)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	uint16_t error = 0;
	unsigned n = 0;

	for (const struct mk_elem *e = mk_elem_first(x); e != NULL && error == 0;
	     e = mk_elem_next(e)) {
		struct mk_jid *full = NULL, *bare;

		if (!mk_elem_is(e, "invite", NS_MUC_USER))
			continue;
		if (++n > INVITES_MAX)
			return MK_ERR_RESOURCE_CONSTRAINT;
		if (mk_elem_attr(e, "to") == NULL)
			return MK_ERR_BAD_REQUEST;
		if (m->max_reason != 0 &&
		    mk_elem_child_text(e, "reason", NS_MUC_USER).n > (size_t)m->max_reason)
			return MK_ERR_NOT_ACCEPTABLE;
		if (mk_jid_parse(mk_strz(mk_elem_attr(e, "to")), &full) < 0)
			return MK_ERR_JID_MALFORMED;
		bare = mk_jid_to_bare(full);
		switch (room_affil(r, bare)) {
		case AFFIL_OUTCAST:
			*text_out = "the room has banned that user";
			error = MK_ERR_NOT_ALLOWED;
			break;
		case AFFIL_NONE:
			if (!r->conf.is_members_only)
				break;
			error = affil_change_ok(r, c, bare, AFFIL_MEMBER, text_out);
			if (error == 0)
				room_change_affil(c, r, bare, AFFIL_MEMBER, NULL, NULL);
			break;
		default:
			break;
		}
		mk_jid_unref(&bare);
		mk_jid_unref(&full);
	}
	return error;
}

static void invited(struct room *r, struct mk_ev_stanza *ev, struct room_change *c, int err)
{
	const struct mk_elem *x;

	(void)c;
	if (err < 0)
		return;
	x = mk_elem_child(mk_stanza_elem(ev->stanza), "x", NS_MUC_USER);
	for (const struct mk_elem *e = mk_elem_first(x); e != NULL; e = mk_elem_next(e)) {
		struct mk_jid *to = NULL;

		if (!mk_elem_is(e, "invite", NS_MUC_USER) ||
		    mk_jid_parse(mk_strz(mk_elem_attr(e, "to")), &to) < 0)
			continue;
		invitation_send(r, ev->from, to, mk_stanza_id(ev->stanza),
			mk_elem_child_text(e, "reason", NS_MUC_USER),
			mk_elem_child(e, "continue", NS_MUC_USER));
		mk_jid_unref(&to);
	}
}

static enum mk_verdict invite(struct room *r, struct mk_ev_stanza *ev, const struct mk_elem *x)
{
	struct room_change *c;
	const char *text = NULL;
	uint16_t error = may_invite(r, room_standing(r, ev->from));
	struct seat *s = room_seat(r, ev->from);

	if (error == 0 && s != NULL && !seat_may_send(r, s, MK_MESSAGE))
		error = MK_ERR_POLICY_VIOLATION;
	if (error == 0 && r->is_locked)
		error = MK_ERR_ITEM_NOT_FOUND;
	if (error != 0) {
		room_refuse(r->inst, ev->stanza, ev->to, error, NULL);
		return MK_DONE;
	}
	c = room_change_new(r);
	error = check(r, x, c, &text);
	if (error != 0) {
		room_change_free(&c);
		room_refuse(r->inst, ev->stanza, ev->to, error, text);
		return MK_DONE;
	}
	return room_change_ev(r, ev, c, invited);
}

/* ---- declining -------------------------------------------------------------------------------- */

struct declining { const struct room *room; struct mk_stanza *stanza; };

static void decline_to(struct room *r, struct occupant *o, void *arg)
{
	struct declining *d = arg;

	(void)r;
	occupant_send(o, d->stanza);
}

/*
 * To who invited, if he is inside: anybody may decline, and the room shall carry
 * nothing from anybody to just anybody. That nobody was there to be told is nobody's
 * business either.
 */
static void decline(struct room *r, const struct mk_ev_stanza *ev, const struct mk_elem *e)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	const char *address = mk_elem_attr(e, "to");
	struct mk_str reason = mk_elem_child_text(e, "reason", NS_MUC_USER);
	struct mk_jid *to = NULL, *by;
	struct declining d = { r, NULL };
	struct mk_elem *x;

	if (address == NULL || mk_jid_parse(mk_strz(address), &to) < 0) {
		room_refuse(r->inst, ev->stanza, ev->to,
			address == NULL ? MK_ERR_BAD_REQUEST : MK_ERR_JID_MALFORMED, NULL);
		return;
	}
	if (m->max_reason != 0 && reason.n > (size_t)m->max_reason)
		reason = MK_STR_NONE;
	by = mk_jid_to_bare(ev->from);
	d.stanza = mk_stanza_new(MK_MESSAGE, NULL, r->jid, NULL);
	mk_stanza_set_id(d.stanza, mk_stanza_id(ev->stanza));
	x = mk_elem_add(mk_stanza_root(d.stanza), "x", NS_MUC_USER);
	x = mk_elem_add(x, "decline", NS_MUC_USER);
	mk_elem_set(x, "from", mk_jid_full(by));
	if (reason.n != 0)
		mk_elem_add_text(x, "reason", NS_MUC_USER, reason);
	if (mk_jid_bare_eq(to, r->jid)) {
		struct occupant *o = room_occupant(r, mk_jid_resource(to));
		if (o != NULL)
			occupant_send(o, d.stanza);
	} else {
		room_occupants_of(r, to, decline_to, &d);
	}
	mk_stanza_unref(&d.stanza);
	mk_jid_unref(&by);
	mk_jid_unref(&to);
}

enum mk_verdict invite_message(struct room *r, struct mk_ev_stanza *ev)
{
	const struct mk_elem *x = mk_elem_child(mk_stanza_elem(ev->stanza), "x", NS_MUC_USER), *e;

	if (x == NULL)
		return MK_NEXT;
	if (mk_elem_child(x, "invite", NS_MUC_USER) != NULL)
		return invite(r, ev, x);
	e = mk_elem_child(x, "decline", NS_MUC_USER);
	if (e == NULL)
		return MK_NEXT;
	/* Who is banned has nothing to decline. */
	if (room_affil(r, ev->from) != AFFIL_OUTCAST && may_bother(r, ev->from, DECLINED))
		decline(r, ev, e);
	return MK_DONE;
}
