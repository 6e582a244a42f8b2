/*
 * muc/register.c - registering with a room: membership and a nickname of one's
 * own (XEP-0045 7.10, 9.9; XEP-0077)
 *
 * In an open room who registers is a member at once. A members-only room's admins are
 * asked; nothing is kept of that, since an approval is no more than a member made by
 * the admin's own right.
 */
#include "admin.h"

#define NS_REGISTER "jabber:iq:register"
#define NS_HINTS    "urn:xmpp:hints"
#define VAR_NICK    "muc#register_roomnick"
#define VAR_JID     "muc#register_jid"
#define VAR_ALLOW   "muc#register_allow"

/* Admins who are written to if none is in the room. */
#define ADMINS_MAX 20

static enum mk_verdict refuse(struct mk_iq_req *q, uint16_t error, const char *text)
{
	room_refuse_iq(q, error, text);
	return MK_DONE;
}

/* ---- asking what is needed -------------------------------------------------------------------- */

static void describe(const struct room *r, struct mk_iq_req *q)
{
	struct mk_elem *query = mk_elem_new(mk_iq_arena(q), "query", NS_REGISTER), *x, *title;
	const struct affil_entry *a = room_affil_entry(r, mk_iq_from(q));

	if (a != NULL && a->nick != NULL) {
		mk_elem_add(query, "registered", NS_REGISTER);
		mk_elem_add_text(query, "username", NS_REGISTER, mk_strz(a->nick));
		mk_iq_result(q, query);
		return;
	}
	mk_elem_add_text(query, "instructions", NS_REGISTER,
		MK_STR("Please choose a nickname to register with this room."));
	x = mk_elem_add(query, "x", NS_DATA);
	mk_elem_set(x, "type", "form");
	title = mk_elem_add(x, "title", NS_DATA);
	mk_elem_text_add(title, r->conf.name != NULL ? mk_strz(r->conf.name) : mk_jid_local(r->jid));
	mk_elem_text_add(title, MK_STR(" Registration"));
	mk_elem_add_text(x, "instructions", NS_DATA,
		MK_STR("Please provide the following information to register with this room."));
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_REGISTER);
	mk_elem_add(form_field(x, VAR_NICK, "text-single", "Desired Nickname", NULL), "required",
		NS_DATA);
	mk_iq_result(q, query);
}

/* What is written of user, apart from what room_affil sees besides (a domain's, an
 * administrator's of the service). */
static enum affil own_affil(const struct room *r, const struct mk_jid *user)
{
	const struct affil_entry *a = room_affil_entry(r, user);

	return a != NULL && mk_jid_eq(a->jid, user) ? (enum affil)a->affil : AFFIL_NONE;
}

/* ---- registering -------------------------------------------------------------------------------- */

static void registered(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	struct mk_jid *by;

	if (err < 0)
		return;
	by = mk_jid_ref(mk_iq_from(q));
	mk_iq_result(q, NULL);
	affils_tell(r, c, by);
	mk_jid_unref(&by);
}

struct asking { struct mk_stanza *stanza; unsigned n; };

static void ask_inside(struct room *r, struct occupant *o, void *arg)
{
	struct asking *a = arg;

	(void)r;
	if (o->affil < AFFIL_ADMIN)
		return;
	occupant_send(o, a->stanza);
	a->n++;
}

static void ask_outside(struct affil_entry *e, void *arg)
{
	struct asking *a = arg;

	if (e->affil < AFFIL_ADMIN || a->n == ADMINS_MAX)
		return;
	mk_send_to(a->stanza, e->jid);
	a->n++;
}

/* 9.9: the form, filled in, with the decision left open. */
static void ask_admins(struct room *r, const struct mk_jid *user, const char *nick)
{
	struct asking a = { mk_stanza_new(MK_MESSAGE, NULL, r->jid, NULL), 0 };
	struct mk_elem *x = mk_elem_add(mk_stanza_root(a.stanza), "x", NS_DATA);
	char id[40];

	mk_token(id, sizeof id, 16);
	mk_stanza_set_id(a.stanza, id);
	mk_elem_set(x, "type", "form");
	mk_elem_add_text(x, "title", NS_DATA, MK_STR("Registration request"));
	mk_elem_add_text(x, "instructions", NS_DATA, MK_STR("To approve this registration request, "
		"select the \"Allow this person to register with the room?\" checkbox and click OK. To "
		"skip this request, click the cancel button."));
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_REGISTER);
	form_field(x, VAR_JID, "jid-single", "User ID", mk_jid_full(user));
	form_field(x, VAR_NICK, "text-single", "Desired Nickname", nick);
	form_field(x, VAR_ALLOW, "boolean", "Allow this person to register with the room?", "0");
	mk_elem_add(mk_stanza_root(a.stanza), "store", NS_HINTS);
	room_occupants_each(r, ask_inside, &a);
	if (a.n == 0)
		room_affils_each(r, ask_outside, &a);
	mk_stanza_unref(&a.stanza);
}

static enum mk_verdict submit(struct room *r, struct mk_iq_req *q, const struct mk_elem *x)
{
	struct mk_jid *user = mk_jid_to_bare(mk_iq_from(q));
	bool is_new = room_affil(r, user) == AFFIL_NONE;
	enum affil a = is_new ? AFFIL_MEMBER : own_affil(r, user);
	struct room_change *c = room_change_new(r);
	struct mk_str nick = form_value(x, VAR_NICK);
	uint16_t error = nick.n == 0 ? MK_ERR_BAD_REQUEST : 0;
	const char *prepared = NULL, *text = NULL;
	enum mk_verdict v = MK_DONE;

	if (error == 0)
		prepared = nick_to_reserve(r, c->arena, nick, user, &error);
	if (error == 0)
		error = affil_change_ok(r, c, user, a, &text);
	if (error != 0) {
		refuse(q, error, text);
		room_change_free(&c);
	} else if (is_new && r->conf.is_members_only && !may_bother(r, user, ASKED_MEMBERSHIP)) {
		refuse(q, MK_ERR_RESOURCE_CONSTRAINT, "Asked already; try again later.");
		room_change_free(&c);
	} else if (is_new && r->conf.is_members_only) {
		ask_admins(r, user, prepared);
		mk_iq_result(q, NULL);
		room_change_free(&c);
	} else {
		room_change_affil(c, r, user, a, prepared, NULL);
		v = room_change_iq(r, q, c, registered);
	}
	mk_jid_unref(&user);
	return v;
}

/* XEP-0077 3.2: the nickname goes, and the membership that came with it; other
 * affiliations were not got this way. */
static enum mk_verdict unregister(struct room *r, struct mk_iq_req *q)
{
	struct mk_jid *user = mk_jid_to_bare(mk_iq_from(q));
	enum affil now = own_affil(r, user);
	const struct affil_entry *a = room_affil_entry(r, user);
	struct room_change *c;

	if (a == NULL || !mk_jid_eq(a->jid, user) || (a->nick == NULL && now != AFFIL_MEMBER)) {
		mk_jid_unref(&user);
		return refuse(q, MK_ERR_REGISTRATION_REQUIRED, NULL);
	}
	c = room_change_new(r);
	room_change_affil(c, r, user, now == AFFIL_MEMBER ? AFFIL_NONE : now, "", NULL);
	mk_jid_unref(&user);
	return room_change_iq(r, q, c, registered);
}

enum mk_verdict register_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *query = mk_iq_payload(q);
	const struct mk_elem *x = mk_elem_child(query, "x", NS_DATA);

	(void)i;
	if (r == NULL || r->is_locked)
		return refuse(q, MK_ERR_ITEM_NOT_FOUND, NULL);
	if (room_affil(r, mk_iq_from(q)) == AFFIL_OUTCAST)
		return refuse(q, MK_ERR_NOT_ALLOWED, NULL);
	if (!mk_iq_is_set(q)) {
		describe(r, q);
		return MK_DONE;
	}
	if (mk_elem_child(query, "remove", NS_REGISTER) != NULL)
		return unregister(r, q);
	if (x == NULL || !mk_streq(mk_elem_attr(x, "type"), "submit") || !form_is(x, FORM_REGISTER))
		return MK_FAIL;
	return submit(r, q, x);
}

/* ---- an admin's decision (9.9) ------------------------------------------------------------------ */

static void approved(struct room *r, struct mk_ev_stanza *ev, struct room_change *c, int err)
{
	if (err < 0)
		return;
	affils_tell(r, c, ev->from);
}

enum mk_verdict register_message(struct room *r, struct mk_ev_stanza *ev, const struct mk_elem *x)
{
	struct mk_str nick = form_value(x, VAR_NICK);
	struct mk_jid *given = NULL, *user = NULL;
	struct room_change *c = room_change_new(r);
	const char *prepared = NULL, *text = NULL;
	enum mk_verdict v = MK_DONE;
	uint16_t error = 0;
	bool ok;

	if (room_affil(r, ev->from) < AFFIL_ADMIN) {
		error = MK_ERR_FORBIDDEN;
	} else if (!form_bool(form_value(x, VAR_ALLOW), &ok)) {
		room_change_free(&c);
		return MK_DONE;
	} else if (mk_jid_parse(form_value(x, VAR_JID), &given) < 0) {
		error = MK_ERR_JID_MALFORMED;
	} else {
		user = mk_jid_to_bare(given);
		mk_jid_unref(&given);
		if (room_affil(r, user) != AFFIL_NONE)
			error = MK_ERR_CONFLICT;       /* it was decided meanwhile */
		else if (nick.n != 0)
			prepared = nick_to_reserve(r, c->arena, nick, user, &error);
		if (error == 0)
			error = affil_change_ok(r, c, user, AFFIL_MEMBER, &text);
	}
	if (error != 0) {
		room_change_free(&c);
		room_refuse(r->inst, ev->stanza, ev->to, error, text);
	} else {
		room_change_affil(c, r, user, AFFIL_MEMBER, prepared, NULL);
		v = room_change_ev(r, ev, c, approved);
	}
	if (user != NULL)
		mk_jid_unref(&user);
	return v;
}
