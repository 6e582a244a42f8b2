/*
 * muc/room.c - a room in memory: who is in it, who is what, sending to all
 *
 * A room is its entity's slot; it is used at the entity's home worker only. An
 * occupant is a nickname and the user who has it; each of that user's clients in
 * the room is a seat. Sending goes along one array of seats; nicknames, clients and
 * affiliations are found by hash. Of an occupant's strings only its nickname is its
 * own; its client's address is shared with the session.
 */
#include "room.h"

#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>

struct place { struct room *room; };
static uint32_t place_slot;

/* ---- hash tables --------------------------------------------------------------------- */

/* Keyed, as nicknames are chosen by anybody. */
static uint64_t hash_key;

static uint32_t hash_of(struct mk_str s)
{
	uint64_t h = hash_key ^ s.n, w;

	for (; s.n >= 8; s.p += 8, s.n -= 8) {
		memcpy(&w, s.p, 8);
		h = (h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	w = 0;
	if (s.n != 0)
		memcpy(&w, s.p, s.n);
	h = (h ^ w) * UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(h ^ h >> 32);
}

static void table_add(struct table *t, struct node *n, uint32_t hash)
{
	if (t->n >= t->size) {
		uint32_t size = t->size != 0 ? t->size * 2 : 8;
		struct node **slot = mk_alloc(size * sizeof *slot);
		for (uint32_t k = 0; k < t->size; k++)
			for (struct node *m = t->slot[k], *next; m != NULL; m = next) {
				next = m->next;
				m->next = slot[m->hash & (size - 1)];
				slot[m->hash & (size - 1)] = m;
			}
		mk_free(t->slot);
		t->slot = slot;
		t->size = size;
	}
	n->hash = hash;
	n->next = t->slot[hash & (t->size - 1)];
	t->slot[hash & (t->size - 1)] = n;
	t->n++;
}

static void table_remove(struct table *t, struct node *n)
{
	struct node **p = &t->slot[n->hash & (t->size - 1)];

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	t->n--;
}

static struct node *table_first(const struct table *t, uint32_t hash)
{
	return t->size != 0 ? t->slot[hash & (t->size - 1)] : NULL;
}

/* fn may remove the node that it gets. */
static void table_each(struct table *t, void (*fn)(struct node *n, void *arg), void *arg)
{
	for (uint32_t k = 0; k < t->size; k++)
		for (struct node *n = t->slot[k], *next; n != NULL; n = next) {
			next = n->next;
			fn(n, arg);
		}
}

#define OF(n, type, member) ((type *)(void *)((char *)(n) - offsetof(type, member)))

/* ---- asking -------------------------------------------------------------------------- */

struct room *room_peek(const struct mk_entity *e)
{
	const struct place *p = e != NULL ? mk_entity_slot_peek(e, place_slot) : NULL;

	return p != NULL ? p->room : NULL;
}

struct occupant *room_occupant(const struct room *r, struct mk_str nick)
{
	uint32_t hash = hash_of(nick);

	for (struct node *n = table_first(&r->by_nick, hash); n != NULL; n = n->next)
		if (n->hash == hash && mk_str_eq(occupant_nick(OF(n, struct occupant, node)), nick))
			return OF(n, struct occupant, node);
	return NULL;
}

static struct mk_str full_text(const struct mk_jid *j)
{
	return mk_strz(mk_jid_full(j));
}

struct seat *room_seat(const struct room *r, const struct mk_jid *full)
{
	uint32_t hash = hash_of(full_text(full));

	for (struct node *n = table_first(&r->seats_by_jid, hash); n != NULL; n = n->next)
		if (n->hash == hash && mk_jid_eq(OF(n, struct seat, node)->jid, full))
			return OF(n, struct seat, node);
	return NULL;
}

static struct affil_entry *entry_of(const struct room *r, struct mk_str bare)
{
	uint32_t hash = hash_of(bare);

	for (struct node *n = table_first(&r->affils, hash); n != NULL; n = n->next)
		if (n->hash == hash && mk_str_eq(mk_jid_bare(OF(n, struct affil_entry, node)->jid), bare))
			return OF(n, struct affil_entry, node);
	return NULL;
}

struct affil_entry *room_affil_entry(const struct room *r, const struct mk_jid *jid)
{
	struct affil_entry *a = entry_of(r, mk_jid_bare(jid));

	return a != NULL ? a : entry_of(r, mk_jid_domain(jid));
}

bool room_is_service_admin(const struct room *r, const struct mk_jid *jid)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);

	for (uint32_t k = 0; k < c->admins.n; k++)
		if (mk_str_eqz(mk_jid_bare(jid), c->admins.v[k]))
			return true;
	return false;
}

enum affil room_affil(const struct room *r, const struct mk_jid *jid)
{
	const struct affil_entry *a;

	if (room_is_service_admin(r, jid) || mk_jid_eq(jid, r->jid))
		return AFFIL_OWNER;
	a = room_affil_entry(r, jid);
	return a != NULL ? (enum affil)a->affil : AFFIL_NONE;
}

struct each_affil { void (*fn)(struct affil_entry *, void *); void *arg; };

static void one_affil(struct node *n, void *arg)
{
	const struct each_affil *x = arg;
	x->fn(OF(n, struct affil_entry, node), x->arg);
}

void room_affils_each(const struct room *r, void (*fn)(struct affil_entry *a, void *arg),
	void *arg)
{
	struct each_affil x = { fn, arg };
	table_each((struct table *)&r->affils, one_affil, &x);
}

struct affil_entry *room_nick_owner(const struct room *r, struct mk_str nick,
	const struct mk_jid *jid)
{
	uint32_t hash = hash_of(nick);

	for (struct node *n = table_first(&r->reserved, hash); n != NULL; n = n->next) {
		struct affil_entry *a = OF(n, struct affil_entry, reserved);
		if (n->hash == hash && mk_str_eqz(nick, a->nick) && !mk_jid_bare_eq(a->jid, jid))
			return a;
	}
	return NULL;
}

bool room_shows_jids(const struct room *r, const struct occupant *to)
{
	return r->conf.whois == WHOIS_ANYONE || to->role == ROLE_MODERATOR;
}

/* ---- life ---------------------------------------------------------------------------- */

static void affil_free(struct node *n, void *arg)
{
	struct affil_entry *a = OF(n, struct affil_entry, node);

	(void)arg;
	mk_jid_unref(&a->jid);
	mk_free(a->nick);
	mk_free(a->reason);
	mk_free(a);
}

void room_free(struct room *r)
{
	while (r->seats_n != 0)
		room_leave(r, r->seats[r->seats_n - 1]);
	table_each(&r->affils, affil_free, NULL);
	history_clear(r);
	mk_free(r->history);
	mk_free(r->by_nick.slot);
	mk_free(r->seats_by_jid.slot);
	mk_free(r->affils.slot);
	mk_free(r->reserved.slot);
	for (int k = 0; k <= ROLE_MODERATOR; k++)
		mk_free(r->of_role[k].v);
	mk_free(r->seats);
	mk_free(r->subject);
	mk_free(r->subject_nick);
	mk_free(r->vcard);
	mk_free(r->avatar);
	slow_free(&r->slow);
	for (int k = 0; k < ASKED_KINDS; k++)
		slow_free(&r->asked[k]);
	hats_free(&r->hats);
	mav_free(&r->mav);
	config_clear(&r->conf);
	mk_jid_unref(&r->service);
	mk_jid_unref(&r->jid);
	mk_free(r);
}

/* The room is closed, or the plugin stops; then a job may still read the room: it is
 * freed when that is back. */
static void place_fini(void *data)
{
	struct room *r = ((struct place *)data)->room;

	if (r == NULL)
		return;
	((struct place *)data)->room = NULL;
	mk_timer_stop(&r->idle);
	mk_timer_stop(&r->cooling);
	listing_remove(r);
	mk_metric_add(r->inst, ROOMS, -1);
	if (r->seats_n != 0)
		room_tell_stop(r);
	r->is_gone = true;
	if (r->changing == 0)
		room_free(r);
}

int room_load_slots(struct mk_module *m)
{
	static const struct mk_slot place = { sizeof place, MK_SLOT_ENTITY | MK_SLOT_KEEPS,
		sizeof(struct place), place_fini };

	mk_random(&hash_key, sizeof hash_key);
	return mk_slot_register(m, &place, &place_slot);
}

struct room *room_open(struct mk_inst *i, struct mk_entity *e)
{
	struct room *r = mk_alloc(sizeof *r);

	r->inst = i;
	r->entity = e;
	r->jid = mk_jid_ref(mk_entity_jid(e));
	r->service = mk_jid_to_domain(r->jid);
	r->domain = mk_claim_domain(r->jid);
	config_init(&r->conf, mk_inst_conf(i));
	r->conf.is_logged = r->conf.is_logged && archive_is_offered(i);
	mk_random(r->secret, sizeof r->secret);
	r->affil_version = mav_new_version();
	((struct place *)mk_entity_slot(e, place_slot))->room = r;
	mk_metric_add(i, ROOMS, 1);
	return r;
}

void room_close(struct room *r)
{
	mk_entity_slot_clear(r->entity, place_slot);
}

static void hibernate(struct mk_inst *i, void *data)
{
	struct room *r = data;
	const struct muc_conf *c = mk_inst_conf(i);

	r->idle = NULL;
	if (r->seats_n != 0)
		return;
	if (r->changing != 0)
		r->idle = mk_timer_start(i, c->hibernate, hibernate, r);
	else
		room_close(r);
}

void room_check(struct room *r)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);

	if (r->seats_n != 0) {
		mk_timer_stop(&r->idle);
	} else if (!r->is_stored && r->changing == 0) {
		room_close(r);
	} else if (r->idle == NULL) {
		r->idle = mk_timer_start(r->inst, c->hibernate, hibernate, r);
	}
}

/* ---- occupants ----------------------------------------------------------------------- */

/* XEP-0421: of the user and the room; nobody can guess it, or go back from it. */
void occupant_id_text(const struct room *r, const struct occupant *o, char out[33])
{
	static const char hex[] = "0123456789abcdef";
	struct mk_str bare = mk_jid_bare(o->seats->jid);
	uint8_t mac[32];

	if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, r->secret, sizeof r->secret, bare.p, bare.n, mac) < 0)
		mk_random(mac, sizeof mac);
	for (size_t k = 0; k < 16; k++) {
		out[2 * k] = hex[mac[k] >> 4];
		out[2 * k + 1] = hex[mac[k] & 15];
	}
	out[32] = '\0';
}

struct mk_jid *occupant_address(const struct room *r, const struct occupant *o)
{
	struct mk_jid *j = NULL;

	/* A nickname was the resource of an address. */
	return mk_jid_with_resource(r->jid, mk_strz(o->nick), &j) == 0 ? j : mk_jid_ref(r->jid);
}

static char *nick_copy(const struct mk_jid *address)
{
	struct mk_str nick = mk_jid_resource(address);

	return mk_strndup(nick.p, nick.n);
}

static void crowd_add(struct room *r, struct occupant *o)
{
	struct crowd *c = &r->of_role[o->role];

	if (c->n == c->size) {
		c->size += c->size / 8 + 4;
		c->v = mk_realloc(c->v, c->size * sizeof *c->v);
	}
	o->node.at = c->n;
	c->v[c->n++] = o;
}

static void crowd_remove(struct room *r, struct occupant *o)
{
	struct crowd *c = &r->of_role[o->role];

	c->v[o->node.at] = c->v[--c->n];
	c->v[o->node.at]->node.at = o->node.at;
}

void occupant_set_role(struct room *r, struct occupant *o, enum role role)
{
	crowd_remove(r, o);
	o->role = (uint8_t)role;
	crowd_add(r, o);
}

static struct occupant *occupant_new(struct room *r, const struct mk_jid *address, enum affil a,
	enum role role)
{
	struct occupant *o = mk_alloc(sizeof *o);

	o->nick = nick_copy(address);
	o->role = (uint8_t)role;
	o->affil = (uint8_t)a;
	table_add(&r->by_nick, &o->node, hash_of(occupant_nick(o)));
	crowd_add(r, o);
	return o;
}

static void occupant_free(struct room *r, struct occupant *o)
{
	occupant_stale(o);
	crowd_remove(r, o);
	table_remove(&r->by_nick, &o->node);
	mk_free(o->nick);
	mk_free(o);
}

struct seat *room_enter(struct room *r, const struct mk_jid *jid, const struct mk_jid *address,
	enum affil a, enum role role)
{
	struct occupant *o = room_occupant(r, mk_jid_resource(address));
	struct seat *s = mk_alloc(sizeof *s);

	if (o == NULL)
		o = occupant_new(r, address, a, role);
	s->jid = mk_jid_ref(jid);
	s->occupant = o;
	s->next = o->seats;
	o->seats = s;
	occupant_stale(o);
	table_add(&r->seats_by_jid, &s->node, hash_of(full_text(jid)));
	if (r->seats_n == r->seats_size) {
		r->seats_size += r->seats_size / 2 + 4;
		r->seats = mk_realloc(r->seats, r->seats_size * sizeof *r->seats);
	}
	s->node.at = r->seats_n;
	r->seats[r->seats_n++] = s;
	mk_metric_add(r->inst, OCCUPANTS, 1);
	mk_timer_stop(&r->idle);
	return s;
}

/* Out of its occupant, which ends if that was its last. */
static void unseat(struct room *r, struct seat *s)
{
	struct occupant *o = s->occupant;
	struct seat **p = &o->seats;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	occupant_stale(o);
	if (o->seats == NULL)
		occupant_free(r, o);
}

void room_leave(struct room *r, struct seat *s)
{
	unseat(r, s);
	table_remove(&r->seats_by_jid, &s->node);
	r->seats[s->node.at] = r->seats[--r->seats_n];
	r->seats[s->node.at]->node.at = s->node.at;
	mk_metric_add(r->inst, OCCUPANTS, -1);
	mk_jid_unref(&s->jid);
	mk_free(s->presence);
	mk_free(s);
}

void room_rename(struct room *r, struct occupant *o, const struct mk_jid *address)
{
	occupant_stale(o);
	table_remove(&r->by_nick, &o->node);
	mk_free(o->nick);
	o->nick = nick_copy(address);
	table_add(&r->by_nick, &o->node, hash_of(occupant_nick(o)));
}

void room_move(struct room *r, struct seat *s, const struct mk_jid *address)
{
	struct occupant *to = room_occupant(r, mk_jid_resource(address));

	if (to == NULL)
		to = occupant_new(r, address, (enum affil)s->occupant->affil,
			(enum role)s->occupant->role);
	unseat(r, s);
	s->occupant = to;
	s->next = to->seats;
	to->seats = s;
	occupant_stale(to);
}

void room_set_affil(struct room *r, const struct mk_jid *bare, enum affil a, const char *nick,
	const char *reason)
{
	struct affil_entry *e = entry_of(r, mk_jid_bare(bare));

	if (e != NULL) {
		if (e->nick != NULL)
			table_remove(&r->reserved, &e->reserved);
		table_remove(&r->affils, &e->node);
	}
	if (a != AFFIL_NONE || nick != NULL) {
		struct affil_entry *made = mk_alloc(sizeof *made);
		made->jid = mk_jid_ref(bare);
		made->affil = (uint8_t)a;
		made->nick = nick != NULL ? mk_strdup(nick) : NULL;
		made->reason = reason != NULL ? mk_strdup(reason) : NULL;
		table_add(&r->affils, &made->node, hash_of(mk_jid_bare(bare)));
		if (nick != NULL)
			table_add(&r->reserved, &made->reserved, hash_of(mk_strz(nick)));
	}
	if (e != NULL)
		affil_free(&e->node, NULL);
}

bool seat_may_send(struct room *r, struct seat *s, enum mk_stanza_kind kind)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);
	uint16_t now = (uint16_t)(mk_now_usec() / 1000000);
	uint16_t *n = kind == MK_PRESENCE ? &s->presences :
		kind == MK_IQ ? &s->requests : &s->messages;
	int64_t most = kind == MK_PRESENCE ? c->presence_rate :
		kind == MK_IQ ? c->request_rate : c->message_rate;

	if (s->second != now) {
		s->second = now;
		s->messages = s->presences = s->requests = 0;
	}
	if (most != 0 && *n >= most) {
		mk_metric_add(r->inst, FLOODS, 1);
		return false;
	}
	if (*n < UINT16_MAX)
		(*n)++;
	return true;
}

struct occupant_list { struct occupant **v; uint32_t n; const struct mk_jid *bare; };

static void collect(struct node *n, void *arg)
{
	struct occupant_list *l = arg;
	struct occupant *o = OF(n, struct occupant, node);

	if (l->bare == NULL || mk_jid_bare_eq(o->seats->jid, l->bare))
		l->v[l->n++] = o;
}

void room_occupants_of(struct room *r, const struct mk_jid *bare,
	void (*fn)(struct room *r, struct occupant *o, void *arg), void *arg)
{
	struct occupant_list l = { NULL, 0, bare };

	if (r->by_nick.n == 0)
		return;
	l.v = mk_alloc(r->by_nick.n * sizeof *l.v);
	table_each(&r->by_nick, collect, &l);
	for (uint32_t k = 0; k < l.n; k++)
		fn(r, l.v[k], arg);
	mk_free(l.v);
}

void room_occupants_each(struct room *r, void (*fn)(struct room *r, struct occupant *o, void *arg),
	void *arg)
{
	room_occupants_of(r, NULL, fn, arg);
}

/* ---- sending ------------------------------------------------------------------------- */

void room_send(struct room *r, struct mk_stanza *s, int whom)
{
	uint32_t sent = 0;

	for (uint32_t k = 0; k < r->seats_n; k++) {
		const struct seat *seat = r->seats[k];
		if (whom != TO_ALL &&
		    (seat->occupant->role == ROLE_MODERATOR) != (whom == TO_MODERATORS))
			continue;
		mk_send_to(s, seat->jid);
		sent++;
	}
	if (mk_stanza_kind(s) == MK_MESSAGE)
		mk_metric_add(r->inst, DELIVERIES, sent);
	else
		mk_metric_add(r->inst, PRESENCES, sent);
}

void occupant_send(const struct occupant *o, struct mk_stanza *s)
{
	for (const struct seat *seat = o->seats; seat != NULL; seat = seat->next)
		mk_send_to(s, seat->jid);
}

static void set_by(struct mk_elem *root, const struct mk_jid *room, const char *type)
{
	struct mk_elem *e = mk_elem_child(root, "error", NULL);

	if (e == NULL)
		return;
	mk_elem_set(e, "by", mk_jid_full(room));
	if (type != NULL)
		mk_elem_set(e, "type", type);
}

void room_refuse(struct mk_inst *i, const struct mk_stanza *s, const struct mk_jid *to,
	uint16_t error, const char *text)
{
	struct mk_stanza *answer = mk_stanza_error(s, error, text), *whole;
	struct mk_jid *room;
	struct mk_elem *root;
	const char *type = NULL;

	if (answer == NULL)
		return;
	room = mk_jid_to_bare(to);
	whole = mk_stanza_new(mk_stanza_kind(s), "error", to, mk_stanza_from(s));
	root = mk_stanza_root(whole);
	if (mk_stanza_id(s) != NULL)
		mk_stanza_set_id(whole, mk_stanza_id(s));
	if (mk_stanza_kind(s) == MK_PRESENCE && !mk_jid_is_bare(to))
		mk_elem_add(root, "x", NS_MUC);
	for (const struct mk_elem *c = mk_elem_first(mk_stanza_root(answer)); c != NULL;
	     c = mk_elem_next(c))
		mk_elem_adopt(root, mk_elem_copy(mk_stanza_arena(whole), c));
	/* A full room may have a seat later (7.2.9); storage comes back. A nickname that can't
	 * be, and who is not in the room, are not to be tried again (7.6, XEP-0410 3.2). */
	if (error == MK_ERR_INTERNAL_SERVER_ERROR ||
	    (error == MK_ERR_SERVICE_UNAVAILABLE && mk_stanza_kind(s) == MK_PRESENCE))
		type = "wait";
	else if (error == MK_ERR_NOT_ACCEPTABLE && mk_stanza_kind(s) != MK_MESSAGE && text == NULL)
		type = "cancel";
	set_by(root, room, type);
	mk_stanza_unref(&answer);
	mk_jid_unref(&room);
	mk_metric_add(i, REFUSED, 1);
	mk_send(&whole);
}

void room_refuse_iq(struct mk_iq_req *q, uint16_t error, const char *text)
{
	mk_iq_error(q, error, text);
}

void room_tell_codes(struct room *r, const int *codes)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "groupchat", r->jid, NULL);
	struct mk_elem *x = mk_elem_add(mk_stanza_root(s), "x", NS_MUC_USER);

	for (; *codes != 0; codes++)
		mk_elem_setf(mk_elem_add(x, "status", NULL), "code", "%d", *codes);
	room_send(r, s, TO_ALL);
	mk_stanza_unref(&s);
}
