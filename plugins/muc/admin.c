/*
 * muc/admin.c - roles and affiliations: lists of them, and their changes
 * (XEP-0045 8, 9, 10.3-10.8)
 *
 * A request is checked as a whole before anything is done. Affiliations last: they
 * are written (room_change_iq) before anybody hears of them; roles are of this visit
 * and change at once.
 */
#include "admin.h"

/* ---- who is who -------------------------------------------------------------------------- */

struct occupant *room_occupant_of(const struct room *r, const struct mk_jid *jid)
{
	struct seat *s = room_seat(r, jid);

	return s != NULL ? s->occupant : NULL;
}

struct standing room_standing(const struct room *r, const struct mk_jid *jid)
{
	const struct occupant *o = room_occupant_of(r, jid);

	return (struct standing){ room_affil(r, jid), o != NULL ? (enum role)o->role : ROLE_NONE };
}

static struct standing standing_of(const struct occupant *o)
{
	return (struct standing){ (enum affil)o->affil, (enum role)o->role };
}

/* ---- lists (8.5, 9.2, 9.5, 9.8, 10.5, 10.8) ------------------------------------------------- */

bool may_list_members(const struct room *r, struct standing by)
{
	bool shows_jids = r->conf.whois == WHOIS_ANYONE;

	if (by.affil >= AFFIL_MEMBER && shows_jids)
		return true;
	if (by.role == ROLE_NONE || !(r->conf.get_members & ROLE_BIT(by.role)))
		return false;
	return shows_jids || by.role == ROLE_MODERATOR;
}

static uint16_t may_list_affil(const struct room *r, struct standing by, enum affil a)
{
	bool ok;

	switch (a) {
	case AFFIL_OUTCAST:
		ok = by.affil >= AFFIL_ADMIN;
		break;
	case AFFIL_MEMBER:
		ok = by.affil >= AFFIL_ADMIN || may_list_members(r, by);
		break;
	case AFFIL_ADMIN: case AFFIL_OWNER:
		/* 10.5, 10.8: owners only, unless the addresses are no secret. */
		ok = by.affil == AFFIL_OWNER ||
		     (r->conf.whois == WHOIS_ANYONE &&
		      (by.affil >= AFFIL_ADMIN || may_list_members(r, by)));
		break;
	default:
		return MK_ERR_BAD_REQUEST;
	}
	return ok ? 0 : MK_ERR_FORBIDDEN;
}

struct asked_list { struct room *room; struct mk_elem *query; enum affil affil; enum role role; };

static void list_affil(struct affil_entry *a, void *arg)
{
	struct asked_list *l = arg;
	struct mk_elem *item;

	if (a->affil != l->affil)
		return;
	item = mk_elem_add(l->query, "item", NS_MUC_ADMIN);
	mk_elem_set(item, "affiliation", affil_name((enum affil)a->affil));
	mk_elem_set(item, "jid", mk_jid_full(a->jid));
	mk_elem_set(item, "nick", a->nick);
	if (a->reason != NULL && *a->reason != '\0')
		mk_elem_add_text(item, "reason", NS_MUC_ADMIN, mk_strz(a->reason));
}

static void list_role(struct room *r, struct occupant *o, void *arg)
{
	struct asked_list *l = arg;
	struct mk_elem *item;

	(void)r;
	if (o->role != l->role)
		return;
	item = mk_elem_add(l->query, "item", NS_MUC_ADMIN);
	mk_elem_set(item, "affiliation", affil_name((enum affil)o->affil));
	mk_elem_set(item, "jid", mk_jid_full(o->seats->jid));
	mk_elem_set(item, "nick", o->nick);
	mk_elem_set(item, "role", role_name((enum role)o->role));
}

static enum mk_verdict admin_get(struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *item = mk_elem_child(mk_iq_payload(q), "item", NS_MUC_ADMIN);
	struct standing by = room_standing(r, mk_iq_from(q));
	struct asked_list l = { r, NULL, AFFIL_NONE, ROLE_NONE };
	const char *affil, *role;
	uint16_t error = MK_ERR_BAD_REQUEST;

	if (item == NULL)
		return MK_FAIL;
	affil = mk_elem_attr(item, "affiliation");
	role = mk_elem_attr(item, "role");
	if ((affil == NULL) == (role == NULL))
		return MK_FAIL;
	if (affil != NULL && affil_parse(affil, &l.affil))
		error = may_list_affil(r, by, l.affil);
	else if (role != NULL && role_parse(role, &l.role) && l.role != ROLE_NONE)
		/* 8.5, 9.8: who could change the list. */
		error = by.affil >= AFFIL_ADMIN ||
		        (by.role == ROLE_MODERATOR && l.role != ROLE_MODERATOR) ? 0 : MK_ERR_FORBIDDEN;
	if (error != 0) {
		room_refuse_iq(q, error, NULL);
		return MK_DONE;
	}
	l.query = mk_elem_new(mk_iq_arena(q), "query", NS_MUC_ADMIN);
	if (affil != NULL)
		room_affils_each(r, list_affil, &l);
	else
		room_occupants_each(r, list_role, &l);
	mk_iq_result(q, l.query);
	return MK_DONE;
}

/* ---- changes of affiliations, also for other files -------------------------------------------- */

/* What c makes of jid: the last that it says, or what is. */
static enum affil affil_after(const struct room_change *c, const struct mk_jid *jid,
	enum affil now)
{
	for (const struct affil_change *a = c->affils; a != NULL; a = a->next)
		if (mk_jid_eq(a->jid, jid))
			now = (enum affil)a->affil;
	return now;
}

struct owners { const struct room_change *change; uint32_t now, after; };

static void count_owners(struct affil_entry *a, void *arg)
{
	struct owners *o = arg;

	if (a->affil != AFFIL_OWNER)
		return;
	o->now++;
	o->after += affil_after(o->change, a->jid, AFFIL_OWNER) == AFFIL_OWNER;
}

uint16_t affils_leave_owner(const struct room *r, const struct room_change *c)
{
	struct owners o = { c, 0, 0 };

	room_affils_each(r, count_owners, &o);
	for (const struct affil_change *a = c->affils; a != NULL; a = a->next)
		o.after += affil_after(c, a->jid, AFFIL_NONE) == AFFIL_OWNER;
	return o.now != 0 && o.after == 0 ? MK_ERR_CONFLICT : 0;
}

uint16_t affil_change_ok(const struct room *r, const struct room_change *c,
	const struct mk_jid *jid, enum affil a, const char **text_out)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	uint32_t n = r->affils.n;

	if (mk_jid_local(jid).n == 0 && a >= AFFIL_ADMIN) {
		*text_out = "a domain can't run a room";
		return MK_ERR_NOT_ACCEPTABLE;
	}
	if (a == AFFIL_NONE || m->max_affiliations == 0)
		return 0;
	for (const struct affil_change *o = c->affils; o != NULL; o = o->next)
		n++;
	if (n < m->max_affiliations || affil_after(c, jid, room_affil(r, jid)) != AFFIL_NONE)
		return 0;
	*text_out = "the room has as many affiliations as it can have";
	return MK_ERR_RESOURCE_CONSTRAINT;
}

/* Whether it is so already. */
static bool is_so(const struct room *r, const struct room_change *c, const struct mk_jid *jid,
	enum affil a, const char *nick, struct mk_str reason)
{
	const struct affil_entry *e = room_affil_entry(r, jid);
	bool has_own = e != NULL && mk_jid_eq(e->jid, jid);

	for (const struct affil_change *o = c->affils; o != NULL; o = o->next)
		if (mk_jid_eq(o->jid, jid))
			return false;
	if (!has_own)
		return a == AFFIL_NONE;
	return e->affil == a && mk_str_eq(mk_strz(e->reason), reason) &&
	       (nick == NULL || mk_streq(*nick != '\0' ? nick : NULL, e->nick));
}

struct telling {
	const struct mk_jid *by;
	const struct affil_change *change;
	bool was_inside;
};

static void occupant_update(struct room *r, struct occupant *o, void *arg)
{
	struct telling *t = arg;
	enum affil a = room_affil(r, o->seats->jid);
	struct occupant *actor = room_occupant_of(r, t->by);
	struct why w = { .reason = t->change->reason, .actor = actor, .actor_jid = t->by,
		.since = t->change->since, .until = t->change->until };

	t->was_inside = true;
	if (a == o->affil)
		return;
	if (a == AFFIL_OUTCAST || (a == AFFIL_NONE && r->conf.is_members_only)) {
		/* 9.4: not both a change and a removal. */
		w.codes[0] = a == AFFIL_OUTCAST ? 301 : 321;
		o->affil = (uint8_t)a;
		room_remove(r, o, &w);
		return;
	}
	occupant_set(r, o, a,
		rules_role_after((enum role)o->role, (enum affil)o->affil, a, r->conf.is_moderated), &w);
}

/*
 * Nobody inside has it: a message says so (10.3, 10.6), to those who may know the
 * address.
 */
static void tell_by_message(struct room *r, const struct affil_change *a)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, r->jid, NULL);
	struct mk_elem *x, *item;
	char id[40];

	mk_token(id, sizeof id, 16);
	mk_stanza_set_id(s, id);
	x = mk_elem_add(mk_stanza_root(s), "x", NS_MUC_USER);
	mav_show(x, a->since, a->until);
	item = mk_elem_add(x, "item", NS_MUC_USER);
	mk_elem_set(item, "affiliation", affil_name((enum affil)a->affil));
	mk_elem_set(item, "jid", mk_jid_full(a->jid));
	mk_elem_set(item, "role", role_name(ROLE_NONE));
	if (a->reason != NULL && *a->reason != '\0')
		mk_elem_add_text(item, "reason", NS_MUC_USER, mk_strz(a->reason));
	room_send(r, s, r->conf.whois == WHOIS_ANYONE ? TO_ALL : TO_MODERATORS);
	mk_stanza_unref(&s);
}

/*
 * To whose affiliation has changed while it was not inside (18.1). Without the reason:
 * a room shall carry nobody's words to just anybody (S-20).
 */
static void tell_outsider(const struct room *r, const struct affil_change *a)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);
	struct mk_stanza *s;
	struct mk_elem *x, *item;
	char id[40];

	if (!c->tells_affiliations)
		return;
	mk_token(id, sizeof id, 16);
	s = mk_stanza_new(MK_MESSAGE, NULL, r->jid, a->jid);
	mk_stanza_set_id(s, id);
	x = mk_elem_add(mk_stanza_root(s), "x", NS_MUC_USER);
	item = mk_elem_add(x, "item", NULL);
	mk_elem_set(item, "affiliation", affil_name((enum affil)a->affil));
	mk_elem_set(item, "role", role_name(ROLE_NONE));
	mk_elem_set(mk_elem_add(x, "status", NULL), "code", "101");
	mk_send(&s);
}

void affils_tell(struct room *r, const struct room_change *c, const struct mk_jid *by)
{
	for (const struct affil_change *a = c->affils; a != NULL; a = a->next) {
		struct telling t = { .by = by, .change = a };

		if (mk_jid_local(a->jid).n == 0) {
			/* Whose it is, and who has one of his own, room_affil knows. */
			room_occupants_each(r, occupant_update, &t);
			continue;
		}
		room_occupants_of(r, a->jid, occupant_update, &t);
		if (t.was_inside)
			continue;
		tell_by_message(r, a);
		if (a->affil == AFFIL_MEMBER && r->conf.is_members_only)
			invitation_send(r, by, a->jid, NULL, mk_strz(a->reason), NULL);
		else if (a->affil != a->was && !mk_jid_bare_eq(a->jid, by))
			tell_outsider(r, a);
	}
}

bool may_bother(struct room *r, const struct mk_jid *jid, enum bother kind)
{
	enum { EVERY_MS = 60 * 1000 };

	if (slow_take(&r->asked[kind], jid, EVERY_MS, mk_now_usec() / 1000) == 0)
		return true;
	mk_metric_add(r->inst, FLOODS, 1);
	return false;
}

/* ---- versions (XEP-0463) ------------------------------------------------------------------------ */

/* Items of one message. */
enum { MAV_ITEMS = 500 };

struct answering {
	struct room *room;
	const struct seat *to;
	struct mk_stanza *stanza;
	struct mk_elem *x;
	int64_t since;                 /* 0: all of them                        */
	bool may[AFFIL_OWNER + 1];
	uint32_t n, sent;
};

static void answer_begin(struct answering *w)
{
	char id[40];

	mk_token(id, sizeof id, 16);
	w->stanza = mk_stanza_new(MK_MESSAGE, NULL, w->room->jid, NULL);
	mk_stanza_set_id(w->stanza, id);
	w->x = mk_elem_add(mk_stanza_root(w->stanza), "x", NS_MUC_USER);
	/* A further message goes on from where the first one has led to. */
	mav_show(w->x, w->sent != 0 ? w->room->affil_version : w->since, w->room->affil_version);
	w->n = 0;
}

static void answer_end(struct answering *w)
{
	mk_send_to(w->stanza, w->to->jid);
	mk_stanza_unref(&w->stanza);
	w->sent++;
}

static void answer_item(void *arg, const struct mk_jid *jid, enum affil a)
{
	struct answering *w = arg;
	struct mk_elem *item;

	if (!w->may[a])
		return;
	if (w->stanza != NULL && w->n == MAV_ITEMS)
		answer_end(w);
	if (w->stanza == NULL)
		answer_begin(w);
	item = mk_elem_add(w->x, "item", NS_MUC_USER);
	mk_elem_set(item, "jid", mk_jid_full(jid));
	mk_elem_set(item, "affiliation", affil_name(a));
	w->n++;
}

static void answer_entry(struct affil_entry *e, void *arg)
{
	if (e->affil != AFFIL_NONE)
		answer_item(arg, e->jid, (enum affil)e->affil);
}

bool affils_answer(struct room *r, const struct seat *s, const char *id, const struct mk_elem *x)
{
	const struct mk_elem *mav = x != NULL ? mk_elem_child(x, "mav", NS_MAV) : NULL;
	struct answering w = { .room = r, .to = s };
	struct standing by = standing_of(s->occupant);
	bool may_any = false;

	if (mav == NULL)
		return false;
	for (int a = AFFIL_OUTCAST; a <= AFFIL_OWNER; a++) {
		w.may[a] = a != AFFIL_NONE && may_list_affil(r, by, (enum affil)a) == 0;
		may_any |= w.may[a];
	}
	if (!may_any) {
		struct mk_stanza *m = mk_stanza_new(MK_MESSAGE, "error", r->jid, s->jid);
		struct mk_elem *e = mk_elem_add(mk_stanza_root(m), "error", NULL);
		if (id != NULL)
			mk_stanza_set_id(m, id);
		mk_elem_set(e, "by", mk_jid_full(r->jid));
		mk_elem_set(e, "type", "auth");
		mk_elem_add(e, "forbidden", NS_STANZAS);
		mk_send(&m);
		return false;
	}
	w.since = mav_parse(mk_elem_attr(mav, "since"));
	if (w.since == r->affil_version)
		return true;
	/* Who left the members' list is none of it any more. */
	w.may[AFFIL_NONE] = w.may[AFFIL_MEMBER];
	if (w.since == 0 || !mav_since(r->mav, w.since, answer_item, &w) || w.sent + w.n == 0) {
		w.since = 0;
		if (w.stanza == NULL)          /* even if it has no item (4.2.1) */
			answer_begin(&w);
		room_affils_each(r, answer_entry, &w);
	}
	answer_end(&w);
	return true;
}

const char *nick_to_reserve(const struct room *r, struct mk_arena *a, struct mk_str nick,
	const struct mk_jid *user, uint16_t *error_out)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	struct mk_jid *address = NULL;
	const struct occupant *o;
	const char *prepared = NULL;
	struct mk_str p;

	if (mk_jid_with_resource(r->jid, nick, &address) < 0) {
		*error_out = MK_ERR_JID_MALFORMED;
		return NULL;
	}
	p = mk_jid_resource(address);
	o = room_occupant(r, p);
	if (p.n == 0 || strspn(p.p, " ") == p.n || (m->max_nick != 0 && p.n > (size_t)m->max_nick))
		*error_out = MK_ERR_NOT_ACCEPTABLE;
	else if (room_nick_owner(r, p, user) != NULL ||
	         (o != NULL && !mk_jid_bare_eq(o->seats->jid, user)))
		*error_out = MK_ERR_CONFLICT;
	else
		prepared = mk_arena_strndup(a, p.p, p.n);
	mk_jid_unref(&address);
	return prepared;
}

/* ---- changes that are asked for ------------------------------------------------------------------ */

/* Adds what one item says of an affiliation to c. */
static uint16_t affil_item(const struct room *r, const struct mk_iq_req *q,
	const struct mk_elem *item, struct standing by, struct room_change *c,
	const char **text_out)
{
	const char *address = mk_elem_attr(item, "jid"), *nick = mk_elem_attr(item, "nick");
	struct mk_str reason = mk_elem_child_text(item, "reason", NS_MUC_ADMIN);
	struct mk_jid *given = NULL, *jid = NULL;
	enum affil from, to;
	uint16_t error = 0;
	bool is_self;

	if (!affil_parse(mk_elem_attr(item, "affiliation"), &to))
		return MK_ERR_BAD_REQUEST;
	if (address != NULL) {
		if (mk_jid_parse(mk_strz(address), &given) < 0)
			return MK_ERR_JID_MALFORMED;
	} else {
		/* By the nickname of one who is inside. */
		const struct occupant *o = nick != NULL ? room_occupant(r, mk_strz(nick)) : NULL;
		if (o == NULL)
			return nick != NULL ? MK_ERR_ITEM_NOT_FOUND : MK_ERR_BAD_REQUEST;
		given = mk_jid_ref(o->seats->jid);
		nick = NULL;
	}
	jid = mk_jid_to_bare(given);
	mk_jid_unref(&given);
	is_self = mk_jid_bare_eq(jid, mk_iq_from(q));
	from = affil_after(c, jid, room_affil(r, jid));
	error = rules_affil_change(by.affil, from, to, is_self);
	if (error == 0)
		error = affil_change_ok(r, c, jid, to, text_out);
	if (error == 0 && to <= AFFIL_NONE)
		nick = "";             /* 9.1; 9.5: the list has nicknames of members */
	if (error == 0 && nick != NULL && *nick != '\0')
		nick = nick_to_reserve(r, c->arena, mk_strz(nick), jid, &error);
	if (error == 0 && !is_so(r, c, jid, to, nick, reason))
		room_change_affil(c, r, jid, to, nick,
			reason.n != 0 ? mk_arena_strndup(c->arena, reason.p, reason.n) : NULL);
	mk_jid_unref(&jid);
	return error;
}

static uint16_t role_item(const struct room *r, const struct mk_iq_req *q,
	const struct mk_elem *item, struct standing by)
{
	const char *nick = mk_elem_attr(item, "nick");
	const struct occupant *o;
	enum role to;

	if (nick == NULL || !role_parse(mk_elem_attr(item, "role"), &to))
		return MK_ERR_BAD_REQUEST;
	o = room_occupant(r, mk_strz(nick));
	if (o == NULL)                 /* whether it is there is not for all to know */
		return by.role == ROLE_MODERATOR || by.affil >= AFFIL_ADMIN ? MK_ERR_ITEM_NOT_FOUND
		                                                            : MK_ERR_FORBIDDEN;
	return rules_role_change(by, standing_of(o), to, o == room_occupant_of(r, mk_iq_from(q)));
}

static void role_apply(struct room *r, const struct mk_elem *item, const struct mk_jid *by)
{
	struct occupant *o = room_occupant(r, mk_strz(mk_elem_attr(item, "nick")));
	struct mk_str reason = mk_elem_child_text(item, "reason", NS_MUC_ADMIN);
	struct why w = { .reason = reason.n != 0 ? reason.p : NULL, .actor_jid = by,
		.actor = room_occupant_of(r, by) };
	enum role to = ROLE_NONE;

	if (o == NULL || !role_parse(mk_elem_attr(item, "role"), &to))
		return;
	if (to == ROLE_NONE) {
		w.codes[0] = 307;
		room_remove(r, o, &w);
	} else {
		occupant_set(r, o, (enum affil)o->affil, to, &w);
	}
}

static void admin_done(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	const struct mk_elem *query = mk_iq_payload(q);
	struct mk_jid *by;

	if (err < 0)
		return;
	/* The answer goes before what follows from it, as in all examples. */
	by = mk_jid_ref(mk_iq_from(q));
	struct mk_arena *a = mk_arena_new();
	query = mk_elem_copy(a, query);
	mk_iq_result(q, NULL);
	affils_tell(r, c, by);
	for (const struct mk_elem *e = mk_elem_first(query); e != NULL; e = mk_elem_next(e))
		if (mk_elem_is(e, "item", NS_MUC_ADMIN) && mk_elem_attr(e, "role") != NULL)
			role_apply(r, e, by);
	mk_arena_free(&a);
	mk_jid_unref(&by);
}

static enum mk_verdict admin_set(struct room *r, struct mk_iq_req *q)
{
	const struct muc_conf *m = mk_inst_conf(r->inst);
	struct standing by = room_standing(r, mk_iq_from(q));
	struct room_change *c = room_change_new(r);
	const char *text = NULL;
	uint16_t error = 0;
	unsigned n = 0;

	for (const struct mk_elem *e = mk_elem_first(mk_iq_payload(q)); e != NULL && error == 0;
	     e = mk_elem_next(e)) {
		if (!mk_elem_is(e, "item", NS_MUC_ADMIN))
			continue;
		bool has_affil = mk_elem_attr(e, "affiliation") != NULL;
		bool has_role = mk_elem_attr(e, "role") != NULL;
		if (++n > ITEMS_MAX)
			error = MK_ERR_RESOURCE_CONSTRAINT;
		else if (has_affil == has_role)        /* 17.4                  */
			error = MK_ERR_BAD_REQUEST;
		else if (m->max_reason != 0 &&
		         mk_elem_child_text(e, "reason", NS_MUC_ADMIN).n > (size_t)m->max_reason)
			error = MK_ERR_NOT_ACCEPTABLE;
		else
			error = has_affil ? affil_item(r, q, e, by, c, &text) : role_item(r, q, e, by);
	}
	if (error == 0 && n == 0)
		error = MK_ERR_BAD_REQUEST;
	if (error == 0)
		error = affils_leave_owner(r, c);
	if (error != 0) {
		room_change_free(&c);
		room_refuse_iq(q, error, text);
		return MK_DONE;
	}
	return room_change_iq(r, q, c, admin_done);
}

enum mk_verdict admin_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	(void)i;
	if (r == NULL) {
		room_refuse_iq(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	return mk_iq_is_set(q) ? admin_set(r, q) : admin_get(r, q);
}
