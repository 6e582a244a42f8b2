/*
 * muc/owner.c - configuring a room, and destroying it (XEP-0045 10.1, 10.2, 10.9)
 *
 * What the form changes of configuration, admins and owners is one room_change: all
 * of it is written, or nothing.
 */
#include <meerkat/svc/archive.h>

#include "admin.h"

static struct config_limits limits_of(const struct room *r)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	struct mk_inst *archive = NULL;

	return (struct config_limits){
		.max_users = m->max_users, .max_history = m->history,
		.max_name = m->max_name, .max_desc = m->max_desc, .max_password = m->max_password,
		.has_archive = mk_service_get(r->inst, "archive", 1, &archive) != NULL,
	};
}

/* ---- the form that is shown ------------------------------------------------------------------ */

struct collecting { enum affil affil; struct form_jids *out; uint32_t size; };

static void collect(struct affil_entry *a, void *arg)
{
	struct collecting *c = arg;

	if (a->affil != c->affil)
		return;
	if (c->out->n == c->size) {
		c->size = c->size != 0 ? c->size * 2 : 16;
		c->out->v = mk_realloc(c->out->v, c->size * sizeof(struct mk_jid *));
	}
	c->out->v[c->out->n++] = mk_jid_ref(a->jid);
}

/* All who have the affiliation; form_jids_clear. */
static void collect_affil(const struct room *r, enum affil a, struct form_jids *out)
{
	struct collecting c = { a, out, 0 };

	room_affils_each(r, collect, &c);
}

static void owner_get(struct room *r, struct mk_iq_req *q)
{
	struct form_jids admins = { 0 }, owners = { 0 };
	struct config_limits l = limits_of(r);
	struct mk_elem *query = mk_elem_new(mk_iq_arena(q), "query", NS_MUC_OWNER);
	struct mk_str local = mk_jid_local(r->jid);

	collect_affil(r, AFFIL_ADMIN, &admins);
	collect_affil(r, AFFIL_OWNER, &owners);
	form_build(query, mk_arena_strndup(mk_iq_arena(q), local.p, local.n), &r->conf, &l, &admins,
		&owners);
	form_jids_clear(&admins);
	form_jids_clear(&owners);
	mk_iq_result(q, query);
}

/* ---- the form that comes back ------------------------------------------------------------------ */

static bool has_jid(const struct form_jids *j, const struct mk_jid *jid)
{
	for (uint32_t k = 0; k < j->n; k++)
		if (mk_jid_eq(j->v[k], jid))
			return true;
	return false;
}

/* Those of the list get the affiliation a, and those who have it and are not listed
 * get another one. Others of the form: who is also in another list. */
static uint16_t set_list(const struct room *r, struct room_change *c,
	const struct form_jids *listed, enum affil a, const struct form_jids *above,
	enum affil otherwise, const char **text_out)
{
	struct form_jids now = { 0 };
	uint16_t error = 0;

	if (!listed->is_given)
		return 0;
	collect_affil(r, a, &now);
	for (uint32_t k = 0; k < now.n && error == 0; k++)
		if (!has_jid(listed, now.v[k]) && !has_jid(above, now.v[k]))
			room_change_affil(c, r, now.v[k], otherwise,
				otherwise == AFFIL_NONE ? "" : NULL, NULL);
	for (uint32_t k = 0; k < listed->n && error == 0; k++) {
		if (has_jid(&now, listed->v[k]) || has_jid(above, listed->v[k]))
			continue;
		error = affil_change_ok(r, c, listed->v[k], a, text_out);
		if (error == 0)
			room_change_affil(c, r, listed->v[k], a, NULL, NULL);
	}
	form_jids_clear(&now);
	return error;
}

/* 10.2: the lists of the form are whole lists, not what is to change. */
static uint16_t set_lists(const struct room *r, struct room_change *c,
	const struct form_jids *admins, const struct form_jids *owners, const char **text_out)
{
	struct form_jids now = { 0 };
	enum affil no_admin = c->conf->is_members_only ? AFFIL_MEMBER : AFFIL_NONE;
	uint16_t error;

	/* An owner who is listed as an admin stays one if the owners are not given. */
	if (!owners->is_given)
		collect_affil(r, AFFIL_OWNER, &now);
	error = set_list(r, c, admins, AFFIL_ADMIN, owners->is_given ? owners : &now, no_admin,
		text_out);
	form_jids_clear(&now);
	if (error == 0)                /* 10.2: who was an owner is an admin then */
		error = set_list(r, c, owners, AFFIL_OWNER, &now, AFFIL_ADMIN, text_out);
	return error != 0 ? error : affils_leave_owner(r, c);
}

struct configuring {
	int codes[4];
	bool becomes_members_only, becomes_unmoderated;
	uint8_t broadcast;             /* as it was                             */
	bool whois_changes;
};

/* 5.1.2: in an unmoderated room all have voice. */
static void give_voice(struct room *r, struct occupant *o, void *arg)
{
	(void)arg;
	if (o->role == ROLE_VISITOR)
		occupant_set(r, o, (enum affil)o->affil, ROLE_PARTICIPANT, NULL);
}

static void remove_non_member(struct room *r, struct occupant *o, void *arg)
{
	struct why w = { .codes = { 322 } };

	(void)arg;
	if (o->affil == AFFIL_NONE)
		room_remove(r, o, &w);
}

static void configured(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	struct configuring *d = c->data;
	struct mk_jid *by;

	if (err < 0)
		return;
	by = mk_jid_ref(mk_iq_from(q));
	mk_iq_result(q, NULL);
	/* Those who must leave are told why first. */
	if (d->codes[0] != 0)
		room_tell_codes(r, d->codes);
	room_show_anew(r, d->broadcast, d->whois_changes);
	affils_tell(r, c, by);
	if (d->becomes_members_only)
		room_occupants_each(r, remove_non_member, NULL);
	if (d->becomes_unmoderated)
		room_occupants_each(r, give_voice, NULL);
	mk_jid_unref(&by);
}

static enum mk_verdict configure(struct room *r, struct mk_iq_req *q, const struct mk_elem *x)
{
	struct form_jids admins = { 0 }, owners = { 0 };
	struct room_change *c = room_change_new(r);
	struct config_limits l = limits_of(r);
	struct configuring *d = mk_arena_alloc(c->arena, sizeof *d);
	const char *text = NULL;
	uint16_t error;

	c->unlocks = r->is_locked;
	c->data = d;
	room_change_conf(c, r);
	error = form_apply(x, &l, c->conf, &admins, &owners, &text);
	if (error == 0)
		error = set_lists(r, c, &admins, &owners, &text);
	form_jids_clear(&admins);
	form_jids_clear(&owners);
	if (error != 0) {
		room_change_free(&c);
		room_refuse_iq(q, error, text);
		return MK_DONE;
	}
	/* Before it is configured nobody was told how it is. */
	if (!r->is_locked)
		config_changes(&r->conf, c->conf, d->codes);
	d->broadcast = r->conf.broadcast;
	d->whois_changes = c->conf->whois != r->conf.whois;
	d->becomes_members_only = c->conf->is_members_only && !r->conf.is_members_only;
	d->becomes_unmoderated = !c->conf->is_moderated && r->conf.is_moderated;
	return room_change_iq(r, q, c, configured);
}

/* ---- the end of a room ---------------------------------------------------------------------------- */

struct ending { const char *alternative, *password, *reason; };

static void ended(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	const struct ending *e = c->data;

	if (err < 0)
		return;
	room_destroy(r, e->alternative, e->password, e->reason);
	mk_iq_result(q, NULL);         /* 10.9: after all have left             */
}

static enum mk_verdict end_room(struct room *r, struct mk_iq_req *q, struct mk_str alternative,
	struct mk_str password, struct mk_str reason)
{
	struct room_change *c = room_change_new(r);
	struct ending *e = mk_arena_alloc(c->arena, sizeof *e);

	if (alternative.n != 0)
		e->alternative = mk_arena_strndup(c->arena, alternative.p, alternative.n);
	if (password.n != 0)
		e->password = mk_arena_strndup(c->arena, password.p, password.n);
	if (reason.n != 0)
		e->reason = mk_arena_strndup(c->arena, reason.p, reason.n);
	c->is_destroyed = true;
	c->data = e;
	return room_change_iq(r, q, c, ended);
}

static enum mk_verdict refuse(struct mk_iq_req *q, uint16_t error, const char *text)
{
	room_refuse_iq(q, error, text);
	return MK_DONE;
}

static enum mk_verdict destroy(struct room *r, struct mk_iq_req *q, const struct mk_elem *d)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	struct mk_str password = mk_elem_child_text(d, "password", NS_MUC_OWNER);
	struct mk_str reason = mk_elem_child_text(d, "reason", NS_MUC_OWNER);
	const char *venue = mk_elem_attr(d, "jid");
	struct mk_jid *j = NULL;
	enum mk_verdict v;

	if ((m->max_reason != 0 && reason.n > (size_t)m->max_reason) ||
	    (m->max_password != 0 && password.n > (size_t)m->max_password))
		return refuse(q, MK_ERR_NOT_ACCEPTABLE, "a text is too long");
	if (venue != NULL && *venue != '\0' && mk_jid_parse(mk_strz(venue), &j) < 0)
		return refuse(q, MK_ERR_JID_MALFORMED, NULL);
	v = end_room(r, q, j != NULL ? mk_strz(mk_jid_full(j)) : MK_STR_NONE, password, reason);
	if (j != NULL)
		mk_jid_unref(&j);
	return v;
}

enum mk_verdict owner_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *query = mk_iq_payload(q), *x, *d;

	(void)i;
	if (r == NULL)
		return refuse(q, MK_ERR_ITEM_NOT_FOUND, NULL);
	if (room_affil(r, mk_iq_from(q)) != AFFIL_OWNER)
		return refuse(q, MK_ERR_FORBIDDEN, NULL);
	if (!mk_iq_is_set(q)) {
		owner_get(r, q);
		return MK_DONE;
	}
	d = mk_elem_child(query, "destroy", NS_MUC_OWNER);
	x = mk_elem_child(query, "x", NS_DATA);
	if (d != NULL && x == NULL)
		return destroy(r, q, d);
	if (x == NULL || d != NULL)
		return MK_FAIL;
	if (mk_streq(mk_elem_attr(x, "type"), "submit"))
		return configure(r, q, x);
	if (!mk_streq(mk_elem_attr(x, "type"), "cancel"))
		return MK_FAIL;
	if (r->is_locked)              /* 10.1.3                                */
		return end_room(r, q, MK_STR_NONE, MK_STR_NONE, MK_STR_NONE);
	mk_iq_result(q, NULL);
	return MK_DONE;
}
