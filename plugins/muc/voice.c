/*
 * muc/voice.c - visitors ask for voice, moderators give it (XEP-0045 7.13, 8.6)
 *
 * Nothing is kept of a request: the approval that a moderator sends back says all,
 * and is no more than a role changed by his own right.
 */
#include "admin.h"

#define FORM_REQUEST "http://jabber.org/protocol/muc#request"

static void request(struct room *r, const struct seat *s)
{
	struct mk_stanza *m = mk_stanza_new(MK_MESSAGE, NULL, r->jid, NULL);
	struct mk_elem *x = mk_elem_add(mk_stanza_root(m), "x", NS_DATA);
	struct mk_str nick = occupant_nick(s->occupant);
	char id[40];

	mk_token(id, sizeof id, 16);
	mk_stanza_set_id(m, id);
	mk_elem_set(x, "type", "form");
	mk_elem_add_text(x, "title", NS_DATA, MK_STR("Voice request"));
	mk_elem_add_text(x, "instructions", NS_DATA, MK_STR("To approve this request for voice, "
		"select the \"Grant voice to this person?\" checkbox and click OK. To skip this "
		"request, click the cancel button."));
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_REQUEST);
	form_field(x, "muc#role", "list-single", "Requested role", "participant");
	form_field(x, "muc#jid", "jid-single", "User ID", mk_jid_full(s->jid));
	mk_elem_add_text(form_field(x, "muc#roomnick", "text-single", "Room Nickname", NULL), "value",
		NS_DATA, nick);
	form_field(x, "muc#request_allow", "boolean", "Grant voice to this person?", "false");
	room_send(r, m, TO_MODERATORS);
	mk_stanza_unref(&m);
}

/* 0, or why not. */
static uint16_t approve(struct room *r, const struct mk_jid *by, const struct mk_elem *x)
{
	struct standing moderator = room_standing(r, by);
	struct mk_str nick = form_value(x, "muc#roomnick");
	struct occupant *o = NULL;
	struct why w = { .actor_jid = by, .actor = room_occupant_of(r, by) };
	struct mk_jid *jid = NULL;
	struct seat *s = NULL;
	uint16_t error;
	bool ok;

	if (moderator.role != ROLE_MODERATOR && moderator.affil < AFFIL_ADMIN)
		return MK_ERR_FORBIDDEN;
	if (!form_bool(form_value(x, "muc#request_allow"), &ok))
		return 0;
	/* The address tells who asked, even if the nickname has changed hands. */
	if (mk_jid_parse(form_value(x, "muc#jid"), &jid) == 0) {
		s = room_seat(r, jid);
		mk_jid_unref(&jid);
		if (s != NULL)
			o = s->occupant;
	} else if (nick.n != 0) {
		o = room_occupant(r, nick);
	}
	if (o == NULL)
		return MK_ERR_ITEM_NOT_FOUND;
	if (o->role >= ROLE_PARTICIPANT)
		return 0;
	error = rules_role_change(moderator,
		(struct standing){ (enum affil)o->affil, (enum role)o->role }, ROLE_PARTICIPANT, false);
	if (error == 0)
		occupant_set(r, o, (enum affil)o->affil, ROLE_PARTICIPANT, &w);
	return error;
}

enum mk_verdict voice_message(struct room *r, struct mk_ev_stanza *ev)
{
	const struct mk_elem *x = mk_elem_child(mk_stanza_elem(ev->stanza), "x", NS_DATA);
	struct seat *s = room_seat(r, ev->from);
	uint16_t error = 0;

	if (x == NULL || !mk_streq(mk_elem_attr(x, "type"), "submit"))
		return MK_NEXT;
	if (form_is(x, FORM_REGISTER))
		return register_message(r, ev, x);
	if (!form_is(x, FORM_REQUEST))
		return MK_NEXT;
	if (form_value(x, "muc#request_allow").n != 0)
		error = approve(r, ev->from, x);
	else if (s == NULL)
		error = MK_ERR_FORBIDDEN;              /* 17.2                  */
	else if (!mk_str_eqz(form_value(x, "muc#role"), "participant"))
		error = MK_ERR_BAD_REQUEST;
	else if (s->occupant->role < ROLE_PARTICIPANT && !may_bother(r, ev->from, ASKED_VOICE))
		error = MK_ERR_RESOURCE_CONSTRAINT;
	else if (s->occupant->role < ROLE_PARTICIPANT)
		request(r, s);
	if (error != 0)
		room_refuse(r->inst, ev->stanza, ev->to, error, NULL);
	return MK_DONE;
}
