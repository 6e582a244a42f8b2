/*
 * muc/presence.c - coming, going, nicknames, and who is told (XEP-0045 7.1, 7.2,
 * 7.6, 7.7, 7.14)
 *
 * At the room's home. What goes to many is rendered at most twice: with real
 * addresses for those who may see them, and without. Everybody who has a nickname
 * gets their own apart, with status 110. Of several clients under one nickname all
 * others see the one that spoke up last.
 */
#include "room.h"

#include <stdlib.h>

/* ---- one presence -------------------------------------------------------------------- */

/* How one is to be built. */
struct shown {
	const struct occupant *occupant;
	const struct seat *seat;       /* whose payload and address             */
	const struct mk_elem *payload; /* instead of the seat's kept one        */
	const char *type, *id;
	enum role role;
	const struct why *why;
	int codes[8];                  /* in front of why's; ended by 0         */
	int64_t version;               /* of the affiliations, to who asked     */
};

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void add_codes(struct mk_elem *x, const int *a, const int *b)
{
	int all[16];
	size_t n = 0;

	for (; *a != 0 && n < 8; a++)
		all[n++] = *a;
	for (; b != NULL && *b != 0 && n < 16; b++)
		all[n++] = *b;
	qsort(all, n, sizeof *all, by_number);
	for (size_t k = 0; k < n; k++)
		if (k == 0 || all[k] != all[k - 1])
			mk_elem_setf(mk_elem_add(x, "status", NULL), "code", "%d", all[k]);
}

static void add_payload(struct mk_elem *root, struct mk_arena *a, const struct mk_jid *room,
	const struct mk_elem *from)
{
	for (const struct mk_elem *c = mk_elem_first(from); c != NULL; c = mk_elem_next(c))
		if (!is_forged(room, c))
			mk_elem_adopt(root, mk_elem_copy(a, c));
}

static void add_item(struct mk_elem *x, const struct shown *p, bool with_jid, bool with_actor)
{
	const struct why *w = p->why;
	struct mk_elem *item = mk_elem_add(x, "item", NULL), *actor;

	mk_elem_set(item, "affiliation", affil_name(p->occupant->affil));
	mk_elem_set(item, "role", role_name(p->role));
	if (with_jid)
		mk_elem_set(item, "jid", mk_jid_full(p->seat->jid));
	if (w == NULL)
		return;
	if (w->nick != NULL)
		mk_elem_set(item, "nick", w->nick);
	if (w->actor != NULL || (w->actor_jid != NULL && with_actor)) {
		actor = mk_elem_add(item, "actor", NULL);
		if (w->actor != NULL)
			mk_elem_set(actor, "nick", w->actor->nick);
		if (w->actor_jid != NULL && with_actor)
			mk_elem_setf(actor, "jid", "%.*s", (int)mk_jid_bare(w->actor_jid).n,
				mk_jid_bare(w->actor_jid).p);
	}
	if (w->reason != NULL)
		mk_elem_add_text(item, "reason", NULL, mk_strz(w->reason));
}

static struct mk_stanza *build(const struct room *r, const struct shown *p, bool with_jid)
{
	struct mk_jid *from = occupant_address(r, p->occupant);
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, p->type, from, NULL);
	struct mk_elem *root = mk_stanza_root(s), *x, *kept;
	char id[33];

	mk_jid_unref(&from);
	if (p->id != NULL)
		mk_stanza_set_id(s, p->id);
	if (p->payload != NULL)
		add_payload(root, mk_stanza_arena(s), r->jid, p->payload);
	else if (p->type == NULL && p->seat->presence != NULL &&
	         mk_elem_read(mk_stanza_arena(s), mk_strz(p->seat->presence), &kept) == 0)
		for (struct mk_elem *c = mk_elem_first(kept), *next; c != NULL; c = next) {
			next = mk_elem_next(c);
			mk_elem_remove(kept, c);
			mk_elem_adopt(root, c);
		}
	else if (p->type != NULL && p->why != NULL && p->why->status != NULL)
		mk_elem_add_text(root, "status", NULL, mk_strz(p->why->status));
	x = mk_elem_add(root, "x", NS_MUC_USER);
	if (p->version != 0)
		mav_show(x, 0, p->version);
	else if (p->why != NULL && p->why->until != 0)
		mav_show(x, p->why->since, p->why->until);
	add_item(x, p, with_jid, with_jid);
	if (p->why != NULL && p->why->destroy != NULL)
		mk_elem_adopt(x, mk_elem_copy(mk_stanza_arena(s), p->why->destroy));
	add_codes(x, p->codes, p->why != NULL ? p->why->codes : NULL);
	occupant_id_text(r, p->occupant, id);
	mk_elem_set(mk_elem_add(root, "occupant-id", NS_OCCUPANT), "id", id);
	if (p->type == NULL)
		hats_show(r->hats, p->seat->jid, root);
	return s;
}

/* ---- what is shown to many ----------------------------------------------------------- */

/* Who enters is shown everybody: that is built once for all who come while it is as it
 * is. It costs some kilobytes each, so it is kept for no longer than people come, and
 * not in rooms where few would see it twice. */
enum { COOL_MS = 20 * 1000, MOST_SHOWN = 2000 };

void occupant_stale(struct occupant *o)
{
	if (o->shown == NULL)
		return;
	for (int k = 0; k < 2; k++)
		if (o->shown[k] != NULL)
			mk_stanza_unref(&o->shown[k]);
	mk_free(o->shown);
	o->shown = NULL;
}

static void cool_one(struct room *r, struct occupant *o, void *arg)
{
	(void)r;
	(void)arg;
	occupant_stale(o);
}

static void cool(struct mk_inst *i, void *data)
{
	struct room *r = data;

	(void)i;
	r->cooling = NULL;
	room_occupants_each(r, cool_one, NULL);
}

/* A reference to o's presence as those see it who have just come. */
static struct mk_stanza *shown(struct room *r, struct occupant *o, bool with_jid)
{
	struct shown p = { .occupant = o, .seat = o->seats, .role = o->role };

	if (o->shown != NULL && o->shown[with_jid] != NULL)
		return mk_stanza_ref(o->shown[with_jid]);
	struct mk_stanza *s = build(r, &p, with_jid);
	if (r->by_nick.n <= MOST_SHOWN) {
		if (o->shown == NULL)
			o->shown = mk_alloc(2 * sizeof *o->shown);
		o->shown[with_jid] = mk_stanza_ref(s);
		if (r->cooling == NULL)
			r->cooling = mk_timer_start(r->inst, COOL_MS, cool, r);
	}
	return s;
}

static bool is_visible(const struct room *r, enum role role)
{
	return r->conf.broadcast & ROLE_BIT(role);
}

/* As shown() makes it. */
static bool is_plain(const struct shown *p)
{
	return p->why == NULL && p->type == NULL && p->id == NULL && p->payload == NULL &&
	       p->codes[0] == 0 && p->seat == p->occupant->seats && p->role == p->occupant->role;
}

/* To everybody but p's occupant. */
static void tell_others(struct room *r, const struct shown *p)
{
	struct mk_stanza *s[2] = { NULL, NULL };

	for (uint32_t k = 0; k < r->seats_n; k++) {
		const struct seat *to = r->seats[k];
		int with_jid;
		if (to->occupant == p->occupant)
			continue;
		with_jid = room_shows_jids(r, to->occupant);
		if (s[with_jid] == NULL)
			s[with_jid] = is_plain(p) ? shown(r, (struct occupant *)p->occupant, with_jid)
			                          : build(r, p, with_jid);
		mk_send_to(s[with_jid], to->jid);
	}
	for (int k = 0; k < 2; k++)
		if (s[k] != NULL)
			mk_stanza_unref(&s[k]);
	mk_metric_add(r->inst, PRESENCES, r->seats_n);
}

static void add_code(struct shown *p, int code)
{
	for (size_t k = 0; k + 1 < sizeof p->codes / sizeof *p->codes; k++)
		if (p->codes[k] == 0) {
			p->codes[k] = code;
			return;
		}
}

/* To p's own clients (only: to one). */
static void tell_self(struct room *r, struct shown p, const struct seat *only)
{
	struct mk_stanza *s;
	bool with_jid = r->conf.whois == WHOIS_ANYONE || p.occupant->role == ROLE_MODERATOR;

	add_code(&p, 110);
	s = build(r, &p, with_jid);
	if (only != NULL)
		mk_send_to(s, only->jid);
	else
		occupant_send(p.occupant, s);
	mk_stanza_unref(&s);
}

void occupant_tell(struct room *r, struct occupant *o, const struct why *w)
{
	struct shown p = { .occupant = o, .seat = o->seats, .role = o->role, .why = w };

	if (is_visible(r, o->role))
		tell_others(r, &p);
	tell_self(r, p, NULL);
}

/* o is not to be seen any longer, or not under this name; its role is shown as
 * none, or as what it was (a new nickname). */
static void tell_gone(struct room *r, struct occupant *o, const struct seat *seat,
	const struct mk_elem *payload, enum role shown_as, const struct why *w)
{
	struct shown p = { .occupant = o, .seat = seat != NULL ? seat : o->seats,
		.payload = payload, .type = "unavailable", .role = shown_as, .why = w };

	if (is_visible(r, o->role))
		tell_others(r, &p);
	tell_self(r, p, seat);
}

void room_remove(struct room *r, struct occupant *o, const struct why *w)
{
	tell_gone(r, o, NULL, NULL, ROLE_NONE, w);
	for (struct seat *s = o->seats, *next; s != NULL; s = next) {
		next = s->next;
		room_leave(r, s);              /* with the last one, o goes             */
	}
}

static void stop_one(struct room *r, struct occupant *o, void *arg)
{
	static const struct why stop = { .codes = { 332 } };
	struct shown p = { .occupant = o, .seat = o->seats, .type = "unavailable",
		.role = ROLE_NONE, .why = &stop };

	(void)arg;
	tell_self(r, p, NULL);
}

static void destroy_one(struct room *r, struct occupant *o, void *arg)
{
	struct shown p = { .occupant = o, .seat = o->seats, .type = "unavailable",
		.role = ROLE_NONE, .why = arg };

	o->affil = AFFIL_NONE;
	tell_self(r, p, NULL);
	for (struct seat *s = o->seats, *next; s != NULL; s = next) {
		next = s->next;
		room_leave(r, s);
	}
}

void room_tell_stop(struct room *r)
{
	room_occupants_each(r, stop_one, NULL);
}

void room_destroy(struct room *r, const char *alternative, const char *password,
	const char *reason)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e = mk_elem_new(a, "destroy", NS_MUC_USER);
	struct why w = { .destroy = e };

	if (alternative != NULL)
		mk_elem_set(e, "jid", alternative);
	if (password != NULL)
		mk_elem_add_text(e, "password", NULL, mk_strz(password));
	if (reason != NULL)
		mk_elem_add_text(e, "reason", NULL, mk_strz(reason));
	/* To each only that he himself is out: who else is can be told (10.9). */
	room_occupants_each(r, destroy_one, &w);
	mk_arena_free(&a);
	room_close(r);
}

/* To all but o, that it is not to be seen any longer. */
static void hide(struct room *r, struct occupant *o)
{
	static const struct why none = { .codes = { 0 } };
	struct shown p = { .occupant = o, .seat = o->seats, .role = ROLE_NONE,
		.type = "unavailable", .why = &none };

	tell_others(r, &p);
}

void occupant_set(struct room *r, struct occupant *o, enum affil a, enum role role,
	const struct why *w)
{
	bool was_visible = is_visible(r, o->role);

	if (o->affil == a && o->role == role)
		return;
	o->affil = (uint8_t)a;
	occupant_set_role(r, o, role);
	occupant_stale(o);
	if (was_visible && !is_visible(r, role))
		hide(r, o);
	occupant_tell(r, o, w);
}

/* More than this at once would hold up the room; who asks anew (7.2.1) gets it then. */
enum { MOST_ANEW = 200000 };

void room_show_anew(struct room *r, uint8_t broadcast, bool whois_changed)
{
	uint64_t n = 0;

	for (enum role role = ROLE_VISITOR; role <= ROLE_MODERATOR; role++)
		if (whois_changed || is_visible(r, role) != ((broadcast & ROLE_BIT(role)) != 0))
			n += r->of_role[role].n;
	if (n * r->seats_n > MOST_ANEW)
		return;
	for (enum role role = ROLE_VISITOR; role <= ROLE_MODERATOR; role++) {
		bool was_visible = broadcast & ROLE_BIT(role);
		for (uint32_t k = 0; k < r->of_role[role].n; k++) {
			struct occupant *o = r->of_role[role].v[k];
			struct shown p = { .occupant = o, .seat = o->seats, .role = role };
			if (is_visible(r, role) && (!was_visible || whois_changed))
				tell_others(r, &p);
			else if (!is_visible(r, role) && was_visible)
				hide(r, o);
			if (whois_changed)
				tell_self(r, p, NULL);
		}
	}
}

/* ---- keeping what a client told ------------------------------------------------------ */

static void keep_payload(struct room *r, struct seat *s, const struct mk_elem *from)
{
	struct mk_arena *a = mk_turn_arena();
	struct mk_elem *root = mk_elem_new(a, "presence", NULL);
	struct mk_str text;

	mk_free(s->presence);
	s->presence = NULL;
	occupant_stale(s->occupant);
	add_payload(root, a, r->jid, from);
	if (mk_elem_first(root) == NULL)
		return;
	text = mk_elem_write(a, root);
	s->presence = mk_strndup(text.p, text.n);
}

/* ---- entering ------------------------------------------------------------------------ */

static bool is_blank(struct mk_str nick)
{
	for (size_t k = 0; k < nick.n; k++)
		if (nick.p[k] != ' ')
			return false;
	return true;
}

/* 0, or why jid may not have the nickname (7.2.8, 7.6). */
static uint16_t nick_error(const struct room *r, const struct mk_jid *jid, struct mk_str nick)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);
	const struct occupant *o = room_occupant(r, nick);

	if (is_blank(nick) || nick.n > (size_t)c->max_nick)
		return MK_ERR_NOT_ACCEPTABLE;
	if (o != NULL && !mk_jid_bare_eq(o->seats->jid, jid))
		return MK_ERR_CONFLICT;
	return room_nick_owner(r, nick, jid) != NULL ? MK_ERR_CONFLICT : 0;
}

/* 7.2.5 - 7.2.10; 0 or why not. */
static uint16_t entry_error(const struct room *r, const struct mk_jid *jid, struct mk_str nick,
	enum affil a, const struct mk_elem *x)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);
	uint32_t most = r->conf.max_users != 0 ? (uint32_t)r->conf.max_users : (uint32_t)c->max_users;
	struct mk_str password;

	if (r->is_locked && a != AFFIL_OWNER)
		return MK_ERR_ITEM_NOT_FOUND;
	if (a == AFFIL_OUTCAST)
		return MK_ERR_FORBIDDEN;
	if (r->conf.is_members_only && a < AFFIL_MEMBER)
		return MK_ERR_REGISTRATION_REQUIRED;
	if (r->conf.password != NULL) {
		password = x != NULL ? mk_elem_child_text(x, "password", NULL) : MK_STR_NONE;
		if (password.n != strlen(r->conf.password) ||
		    !mk_equal_ct(password.p, r->conf.password, password.n))
			return MK_ERR_NOT_AUTHORIZED;
	}
	/* Those who administrate find room in a full one, up to a point (7.2.9). */
	if (most != 0 && r->seats_n >= most + (a >= AFFIL_ADMIN ? 10 : 0))
		return MK_ERR_SERVICE_UNAVAILABLE;
	return nick_error(r, jid, nick);
}

static void tell_of_others(struct room *r, const struct seat *to)
{
	bool with_jid = room_shows_jids(r, to->occupant);

	uint32_t sent = 0;

	for (enum role role = ROLE_VISITOR; role <= ROLE_MODERATOR; role++) {
		const struct crowd *c = &r->of_role[role];
		for (uint32_t k = 0; is_visible(r, role) && k < c->n; k++) {
			struct mk_stanza *st;
			if (c->v[k] == to->occupant)
				continue;
			st = shown(r, c->v[k], with_jid);
			mk_send_to(st, to->jid);
			mk_stanza_unref(&st);
			sent++;
		}
	}
	mk_metric_add(r->inst, PRESENCES, sent);
}

static void add_entry_codes(const struct room *r, struct shown *p, bool is_new_room)
{
	if (r->conf.whois == WHOIS_ANYONE)
		add_code(p, 100);
	if (room_is_archived(r))
		add_code(p, 170);
	if (is_new_room)
		add_code(p, 201);
}

/* The seat is taken: everything that 7.1 lists, in that order. */
static void welcome(struct room *r, struct seat *s, const struct mk_ev_stanza *ev,
	const struct mk_elem *x, bool is_new_room, bool others_know)
{
	struct shown p = { .occupant = s->occupant, .seat = s, .role = s->occupant->role };
	bool tells_version = affils_answer(r, s, mk_stanza_id(ev->stanza), x);

	tell_of_others(r, s);
	if (!others_know && is_visible(r, s->occupant->role))
		tell_others(r, &p);
	add_entry_codes(r, &p, is_new_room);
	p.version = tells_version ? r->affil_version : 0;
	p.id = mk_stanza_id(ev->stanza);
	tell_self(r, p, s);
	history_send(r, s, x);
	subject_send(r, s);
}

static const struct mk_elem *join_of(const struct mk_ev_stanza *ev)
{
	return mk_elem_child(mk_stanza_elem(ev->stanza), "x", NS_MUC);
}

static void enter(struct room *r, const struct mk_ev_stanza *ev, bool is_new_room)
{
	const struct mk_elem *x = join_of(ev);
	enum affil a = room_affil(r, ev->from);
	struct seat *s = room_enter(r, ev->from, ev->to, a,
		rules_first_role(a, r->conf.is_moderated));

	seat_may_send(r, s, MK_PRESENCE);
	keep_payload(r, s, mk_stanza_elem(ev->stanza));
	welcome(r, s, ev, x, is_new_room, false);
}

/* ---- a new room (10.1) --------------------------------------------------------------- */

static bool may_create(struct mk_inst *i, const struct mk_jid *who)
{
	const struct muc_conf *c = mk_inst_conf(i);

	if (c->create == CREATE_ANYBODY)
		return true;
	for (uint32_t k = 0; c->create == CREATE_ADMINS && k < c->admins.n; k++)
		if (mk_str_eqz(mk_jid_bare(who), c->admins.v[k]))
			return true;
	return false;
}

/* A room that needs no configuring, and lasts. */
static void created(struct room *r, struct mk_ev_stanza *ev, struct room_change *c, int err)
{
	(void)c;
	if (r != NULL && err == 0)
		enter(r, ev, true);
	if (r != NULL)
		room_check(r);
}

static enum mk_verdict create(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct muc_conf *c = mk_inst_conf(i);
	struct mk_jid *owner;
	struct room_change *change;
	struct room *r;

	if (!may_create(i, ev->from)) {
		room_refuse(i, ev->stanza, ev->to, MK_ERR_NOT_ALLOWED, NULL);
		return MK_DONE;
	}
	if (is_blank(mk_jid_resource(ev->to)) || mk_jid_resource(ev->to).n > (size_t)c->max_nick) {
		room_refuse(i, ev->stanza, ev->to, MK_ERR_NOT_ACCEPTABLE, NULL);
		return MK_DONE;
	}
	r = room_open(i, mk_entity_find(ev->to));
	owner = mk_jid_to_bare(ev->from);
	mk_metric_add(i, CREATED, 1);
	/* Who comes by the old protocol can't configure it (10.1.1). */
	if (c->is_locked && join_of(ev) != NULL) {
		r->is_locked = true;
		listing_update(r);
		room_set_affil(r, owner, AFFIL_OWNER, NULL, NULL);
		enter(r, ev, true);
		mk_jid_unref(&owner);
		return MK_DONE;
	}
	change = room_change_new(r);
	room_change_affil(change, r, owner, AFFIL_OWNER, NULL, NULL);
	change->unlocks = true;
	mk_jid_unref(&owner);
	return room_change_ev(r, ev, change, created);
}

/* ---- nicknames (7.6) ----------------------------------------------------------------- */

static void change_nick(struct room *r, struct seat *s, struct mk_ev_stanza *ev)
{
	struct mk_str nick = mk_jid_resource(ev->to);
	struct occupant *o = s->occupant;
	bool is_alone = o->seats->next == NULL;
	struct why w = { .codes = { 303 }, .nick = nick.p };
	uint16_t error = o->role == ROLE_VISITOR && !r->conf.visitors_change_nick
		? MK_ERR_NOT_ALLOWED : nick_error(r, s->jid, nick);

	if (error != 0) {
		room_refuse(r->inst, ev->stanza, ev->to, error, NULL);
		return;
	}
	if (is_alone)
		tell_gone(r, o, s, NULL, o->role, &w);
	else {
		struct shown p = { .occupant = o, .seat = s, .type = "unavailable",
			.role = o->role, .why = &w };
		tell_self(r, p, s);
	}
	if (is_alone && room_occupant(r, nick) == NULL) {
		room_rename(r, o, ev->to);
	} else {
		room_move(r, s, ev->to);
		/* The others see of the old nickname who is left of it. */
		if (!is_alone)
			occupant_tell(r, o, NULL);
	}
	keep_payload(r, s, mk_stanza_elem(ev->stanza));
	if (join_of(ev) != NULL) {
		welcome(r, s, ev, join_of(ev), false, false);
		return;
	}
	struct shown p = { .occupant = s->occupant, .seat = s, .role = s->occupant->role };
	if (is_visible(r, s->occupant->role))
		tell_others(r, &p);
	p.id = mk_stanza_id(ev->stanza);
	tell_self(r, p, NULL);
}

/* ---- presence of who is in ----------------------------------------------------------- */

/* Without what visitors may not tell. */
static const struct mk_elem *without_status(const struct room *r, const struct seat *s,
	const struct mk_elem *root)
{
	struct mk_elem *copy, *c;

	if (s->occupant->role != ROLE_VISITOR || r->conf.visitors_send_status ||
	    mk_elem_child(root, "status", NULL) == NULL)
		return root;
	copy = mk_elem_copy(mk_turn_arena(), root);
	while ((c = mk_elem_child(copy, "status", NULL)) != NULL)
		mk_elem_remove(copy, c);
	return copy;
}

/* The client that told it comes to be the one that is seen. */
static void to_front(struct seat *s)
{
	struct seat **p = &s->occupant->seats;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	s->next = s->occupant->seats;
	s->occupant->seats = s;
	occupant_stale(s->occupant);
}

static void update(struct room *r, struct seat *s, struct mk_ev_stanza *ev)
{
	const struct mk_elem *x = join_of(ev);
	char *before = s->presence;
	bool is_same;

	s->presence = NULL;
	keep_payload(r, s, without_status(r, s, mk_stanza_elem(ev->stanza)));
	is_same = mk_streq(before, s->presence);
	mk_free(before);
	if (x != NULL) {               /* it lost track: everything anew (7.1.1) */
		welcome(r, s, ev, x, false, is_same);
		return;
	}
	to_front(s);
	struct shown p = { .occupant = s->occupant, .seat = s, .role = s->occupant->role };
	if (is_visible(r, s->occupant->role))
		tell_others(r, &p);
	p.id = mk_stanza_id(ev->stanza);
	tell_self(r, p, NULL);
}

/* ---- leaving (7.14) ------------------------------------------------------------------ */

static void leave(struct room *r, struct seat *s, const struct mk_elem *payload,
	const struct why *w)
{
	struct occupant *o = s->occupant;

	if (r->is_locked && r->seats_n == 1) {
		room_destroy(r, NULL, NULL, NULL);     /* 10.1.3                */
		return;
	}
	if (o->seats->next == NULL) {
		tell_gone(r, o, s, payload, ROLE_NONE, w);
		room_leave(r, s);
	} else {
		struct shown p = { .occupant = o, .seat = s, .payload = payload,
			.type = "unavailable", .role = ROLE_NONE, .why = w };
		bool was_seen = o->seats == s;
		tell_self(r, p, s);
		room_leave(r, s);
		if (was_seen)
			occupant_tell(r, o, NULL);
	}
	room_check(r);
}

/* What says that an occupant can't be reached (11.5): its client went without a
 * word. */
static bool is_ghost(const struct mk_stanza *s)
{
	static const char *const conditions[] = { "gone", "item-not-found", "recipient-unavailable",
		"redirect", "remote-server-not-found", "remote-server-timeout", "service-unavailable",
		"jid-malformed" };
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(s), "error", NULL);

	for (size_t k = 0; e != NULL && k < sizeof conditions / sizeof *conditions; k++)
		if (mk_elem_child(e, conditions[k], NS_STANZAS) != NULL)
			return true;
	return false;
}

void presence_ghost(struct room *r, const struct mk_stanza *s)
{
	static const struct why ghost = { .codes = { 333 } };
	struct seat *seat = room_seat(r, mk_stanza_from(s));

	if (seat != NULL && is_ghost(s))
		leave(r, seat, NULL, &ghost);
}

/* 7.2.16: it thinks that it is in the room. */
static void kick_stranger(struct mk_inst *i, const struct mk_ev_stanza *ev)
{
	static const int codes[] = { 110, 307, 333, 0 };
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, "unavailable", ev->to, ev->from);
	struct mk_elem *x = mk_elem_add(mk_stanza_root(s), "x", NS_MUC_USER), *item;

	item = mk_elem_add(x, "item", NULL);
	mk_elem_set(item, "affiliation", "none");
	mk_elem_set(item, "role", "none");
	mk_elem_add_text(item, "reason", NULL, MK_STR("You are not in the room."));
	add_codes(x, codes, NULL);
	if (mk_stanza_id(ev->stanza) != NULL)
		mk_stanza_set_id(s, mk_stanza_id(ev->stanza));
	mk_metric_add(i, REFUSED, 1);
	mk_send(&s);
}

static bool is_too_long(struct mk_inst *i, const struct mk_ev_stanza *ev)
{
	const struct muc_conf *c = mk_inst_conf(i);

	return c->max_presence != 0 && mk_elem_first(mk_stanza_elem(ev->stanza)) != NULL &&
	       mk_elem_write(mk_turn_arena(), mk_stanza_elem(ev->stanza)).n > (size_t)c->max_presence;
}

static enum mk_verdict available(struct mk_inst *i, struct room *r, struct seat *s,
	struct mk_ev_stanza *ev)
{
	const struct muc_conf *c = mk_inst_conf(i);
	uint16_t error;

	if (mk_jid_is_bare(ev->to)) {
		/* To the room itself: of no use but to ask in (7.2.1). */
		room_refuse(i, ev->stanza, ev->to, MK_ERR_JID_MALFORMED, NULL);
		return MK_DONE;
	}
	if (is_too_long(i, ev)) {
		room_refuse(i, ev->stanza, ev->to, MK_ERR_NOT_ACCEPTABLE, "Too long.");
		return MK_DONE;
	}
	if (s == NULL && join_of(ev) == NULL && !c->old_join) {
		kick_stranger(i, ev);
		return MK_DONE;
	}
	if (r == NULL)
		return create(i, ev);
	if (s != NULL) {
		if (!seat_may_send(r, s, MK_PRESENCE))
			room_refuse(i, ev->stanza, ev->to, MK_ERR_POLICY_VIOLATION,
				"Too many at a time.");
		else if (mk_str_eq(occupant_nick(s->occupant), mk_jid_resource(ev->to)))
			update(r, s, ev);
		else
			change_nick(r, s, ev);
		return MK_DONE;
	}
	error = entry_error(r, ev->from, mk_jid_resource(ev->to), room_affil(r, ev->from), join_of(ev));
	if (error != 0)
		room_refuse(i, ev->stanza, ev->to, error, NULL);
	else
		enter(r, ev, false);
	return MK_DONE;
}

enum mk_verdict presence_handle(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev)
{
	struct seat *s = r != NULL ? room_seat(r, ev->from) : NULL;

	switch (mk_stanza_type(ev->stanza)) {
	case MK_TYPE_NONE:
		return available(i, r, s, ev);
	case MK_TYPE_UNAVAILABLE:
		if (s != NULL)
			leave(r, s, mk_stanza_elem(ev->stanza), NULL);
		return MK_DONE;
	case MK_TYPE_ERROR:
		if (r != NULL)
			presence_ghost(r, ev->stanza);
		return MK_DONE;
	case MK_TYPE_PROBE:
		/* To who is in, of who is in (17.3); to others nothing. */
		if (s != NULL && !mk_jid_is_bare(ev->to)) {
			struct occupant *o = room_occupant(r, mk_jid_resource(ev->to));
			if (o != NULL && is_visible(r, o->role)) {
				struct mk_stanza *st = shown(r, o, room_shows_jids(r, s->occupant));
				mk_send_to(st, s->jid);
				mk_stanza_unref(&st);
			}
		}
		return MK_DONE;
	default:
		return MK_DROP;        /* nobody subscribes to a room               */
	}
}
