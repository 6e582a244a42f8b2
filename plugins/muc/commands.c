/*
 * muc/commands.c - the commands by which a room's hats are managed (XEP-0317 3.2-3.7;
 * XEP-0050)
 *
 * No command has a second step that knows of the first: what is submitted says all,
 * so a session is a name and nothing is kept. A change of hats is a room_change like
 * others.
 */
#include "admin.h"

#define FORM_HATS    "urn:xmpp:hats:commands"
#define NODE(name)   "urn:xmpp:hats:commands:" name

enum command { CREATE, DESTROY, ASSIGN, UNASSIGN, LIST, LIST_ASSIGNED };
static const struct { const char *node, *name; } nodes[] = {
	[CREATE] = { NODE("create"), "Create or change a hat" },
	[DESTROY] = { NODE("destroy"), "Destroy a hat" },
	[ASSIGN] = { NODE("assign"), "Assign a hat to a user" },
	[UNASSIGN] = { NODE("unassign"), "Remove a hat from a user" },
	[LIST] = { NODE("list"), "List hats" },
	[LIST_ASSIGNED] = { NODE("list-assigned"), "List who wears which hat" },
};
#define NODES (sizeof nodes / sizeof *nodes)

static enum mk_verdict refuse(struct mk_iq_req *q, uint16_t error, const char *text)
{
	room_refuse_iq(q, error, text);
	return MK_DONE;
}

/* Who may do it (admins), or see it: who wears what is told by address. */
static bool may(const struct room *r, const struct mk_jid *jid, enum command n)
{
	struct standing s = room_standing(r, jid);

	switch (n) {
	case LIST:
		return s.role != ROLE_NONE || s.affil >= AFFIL_MEMBER;
	case LIST_ASSIGNED:
		return s.affil >= AFFIL_ADMIN || may_list_members(r, s);
	default:
		return s.affil >= AFFIL_ADMIN;
	}
}

void commands_items(const struct room *r, const struct mk_jid *asker, struct mk_elem *query)
{
	for (size_t k = 0; k < NODES; k++)
		if (may(r, asker, (enum command)k)) {
			struct mk_elem *item = mk_elem_add(query, "item", NULL);
			mk_elem_set(item, "jid", mk_jid_full(r->jid));
			mk_elem_set(item, "node", nodes[k].node);
			mk_elem_set(item, "name", nodes[k].name);
		}
}

/* ---- answers ----------------------------------------------------------------------------- */

static struct mk_elem *answer(struct mk_iq_req *q, enum command n, const char *status)
{
	struct mk_elem *c = mk_elem_new(mk_iq_arena(q), "command", NS_COMMANDS);
	const char *session = mk_elem_attr(mk_iq_payload(q), "sessionid");
	char token[40];

	if (session == NULL) {
		mk_token(token, sizeof token, 16);
		session = token;
	}
	mk_elem_set(c, "node", nodes[n].node);
	mk_elem_set(c, "sessionid", session);
	mk_elem_set(c, "status", status);
	return c;
}

static void add_option(void *arg, const struct mk_jid *jid, const char *uri, const char *title,
	const char *hue)
{
	struct mk_elem *o = mk_elem_add(arg, "option", NS_DATA);

	(void)jid;
	(void)hue;
	mk_elem_set(o, "label", title);
	mk_elem_add_text(o, "value", NS_DATA, mk_strz(uri));
}

static struct mk_elem *required(struct mk_elem *field)
{
	mk_elem_add(field, "required", NS_DATA);
	return field;
}

static void send_form(const struct room *r, struct mk_iq_req *q, enum command n)
{
	struct mk_elem *c = answer(q, n, "executing"), *x;

	mk_elem_add(mk_elem_add(c, "actions", NULL), "complete", NULL);
	x = mk_elem_add(c, "x", NS_DATA);
	mk_elem_set(x, "type", "form");
	mk_elem_add_text(x, "title", NS_DATA, mk_strz(nodes[n].name));
	mk_elem_add_text(x, "instructions", NS_DATA, MK_STR("Fill out this form."));
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_HATS);
	if (n == CREATE) {
		required(form_field(x, "hats#title", "text-single", "Hat Title", NULL));
		required(form_field(x, "hats#uri", "text-single", "Hat URI", NULL));
		form_field(x, "hats#hue", "text-single", "Hat Hue", NULL);
	} else {
		if (n != DESTROY)
			required(form_field(x, "hats#jid", "jid-single", "User Address", NULL));
		hats_each(r->hats, false, add_option,
			required(form_field(x, "hats#uri", "list-single", "The role", NULL)));
	}
	mk_iq_result(q, c);
}

static void add_item(void *arg, const struct mk_jid *jid, const char *uri, const char *title,
	const char *hue)
{
	struct mk_elem *item = mk_elem_add(arg, "item", NS_DATA);

	if (jid != NULL)
		form_field(item, "hats#jid", NULL, NULL, mk_jid_full(jid));
	form_field(item, "hats#title", NULL, NULL, title);
	form_field(item, "hats#uri", NULL, NULL, uri);
	if (hue != NULL)
		form_field(item, "hats#hue", NULL, NULL, hue);
}

static void send_list(const struct room *r, struct mk_iq_req *q, enum command n)
{
	struct mk_elem *c = answer(q, n, "completed"), *x = mk_elem_add(c, "x", NS_DATA), *reported;

	mk_elem_set(x, "type", "result");
	mk_elem_add_text(x, "title", NS_DATA,
		n == LIST ? MK_STR("Hats List") : MK_STR("Assigned Hats List"));
	reported = mk_elem_add(x, "reported", NS_DATA);
	if (n == LIST_ASSIGNED)
		form_field(reported, "hats#jid", NULL, NULL, NULL);
	form_field(reported, "hats#title", NULL, NULL, NULL);
	form_field(reported, "hats#uri", NULL, NULL, NULL);
	form_field(reported, "hats#hue", NULL, NULL, NULL);
	hats_each(r->hats, n == LIST_ASSIGNED, add_item, x);
	mk_iq_result(q, c);
}

/* ---- changes --------------------------------------------------------------------------------- */

/* What is done; c->data. */
struct doing {
	enum command node;
	struct hats *before;           /* own copy, for who wore what           */
	const char *uri;
	struct mk_jid *jid;            /* ref, or NULL                          */
};

static void tell_wearer(struct room *r, struct occupant *o, void *arg)
{
	const struct doing *d = arg;
	struct mk_str uri = mk_strz(d->uri);

	if ((d->jid != NULL && mk_jid_bare_eq(o->seats->jid, d->jid)) ||
	    (d->jid == NULL && (hats_is_worn(d->before, o->seats->jid, uri) ||
	                        hats_is_worn(r->hats, o->seats->jid, uri)))) {
		occupant_stale(o);
		occupant_tell(r, o, NULL);
	}
}

static void done(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	struct doing *d = c->data;
	static const int codes[] = { 104, 0 };

	if (err >= 0) {
		mk_iq_result(q, answer(q, d->node, "completed"));
		room_occupants_each(r, tell_wearer, d);
		if (d->node == CREATE || d->node == DESTROY)
			room_tell_codes(r, codes);
	}
	hats_free(&d->before);
	if (d->jid != NULL)
		mk_jid_unref(&d->jid);
}

/* Applies the form to *h; 0 or a stanza error. */
static uint16_t apply(struct doing *d, const struct mk_elem *x, struct hats **h)
{
	struct mk_str uri = form_value(x, "hats#uri");
	struct mk_jid *jid = NULL;
	int err;

	if (uri.n == 0)
		uri = form_value(x, "hat");    /* so in one of the XEP's forms  */
	switch (d->node) {
	case CREATE:
		err = hats_set(h, uri, form_value(x, "hats#title"), form_value(x, "hats#hue"));
		break;
	case DESTROY:
		err = hats_remove(*h, uri);
		break;
	default:
		if (mk_jid_parse(form_value(x, "hats#jid"), &jid) < 0)
			return MK_ERR_JID_MALFORMED;
		d->jid = mk_jid_to_bare(jid);
		mk_jid_unref(&jid);
		err = hats_wear(*h, d->jid, uri, d->node == ASSIGN);
		break;
	}
	d->uri = uri.p;
	switch (err < 0 ? -err : 0) {
	case 0: return 0;
	case MK_ENOENT: return MK_ERR_ITEM_NOT_FOUND;
	case MK_ELIMIT: return MK_ERR_RESOURCE_CONSTRAINT;
	default: return MK_ERR_BAD_REQUEST;
	}
}

static enum mk_verdict change(struct room *r, struct mk_iq_req *q, enum command n,
	const struct mk_elem *x)
{
	struct room_change *c = room_change_new(r);
	struct doing *d = mk_arena_alloc(c->arena, sizeof *d);
	struct hats *after;
	struct mk_str text;
	uint16_t error;

	if (!form_is(x, FORM_HATS)) {
		room_change_free(&c);
		return refuse(q, MK_ERR_BAD_REQUEST, NULL);
	}
	d->node = n;
	text = hats_write(c->arena, r->hats);
	d->before = hats_read(text);
	after = hats_read(text);
	error = apply(d, x, &after);
	if (error != 0) {
		hats_free(&d->before);
		hats_free(&after);
		if (d->jid != NULL)
			mk_jid_unref(&d->jid);
		room_change_free(&c);
		return refuse(q, error, NULL);
	}
	c->data = d;
	c->sets_hats = true;
	c->hats = hats_write(c->arena, after);
	d->uri = mk_arena_strdup(c->arena, d->uri);
	hats_free(&after);
	return room_change_iq(r, q, c, done);
}

enum mk_verdict commands_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *command = mk_iq_payload(q), *x;
	const char *node = mk_elem_attr(command, "node"), *action = mk_elem_attr(command, "action");
	size_t n = 0;

	(void)i;
	if (r == NULL)
		return refuse(q, MK_ERR_ITEM_NOT_FOUND, NULL);
	while (n < NODES && !mk_streq(node, nodes[n].node))
		n++;
	if (n == NODES)
		return refuse(q, MK_ERR_ITEM_NOT_FOUND, NULL);
	if (!may(r, mk_iq_from(q), (enum command)n))
		return refuse(q, MK_ERR_FORBIDDEN, NULL);
	if (mk_streq(action, "cancel")) {
		mk_iq_result(q, answer(q, (enum command)n, "canceled"));
		return MK_DONE;
	}
	if (n == LIST || n == LIST_ASSIGNED) {
		send_list(r, q, (enum command)n);
		return MK_DONE;
	}
	x = mk_elem_child(command, "x", NS_DATA);
	if (x == NULL) {
		send_form(r, q, (enum command)n);
		return MK_DONE;
	}
	if (!mk_streq(mk_elem_attr(x, "type"), "submit"))
		return MK_FAIL;
	return change(r, q, (enum command)n, x);
}
