/*
 * muc/message.c - messages to all and to one, the subject, history, requests to
 * occupants (XEP-0045 7.2.13 - 7.2.15, 7.4, 7.5, 8.1, 13.3; XEP-0410)
 *
 * At the room's home. A message to all is built once and rendered once; the history
 * keeps a reference to the very stanza. What only the room may say is taken out of
 * what it passes on.
 */
#include "room.h"

#include <stdlib.h>

#define NS_PING "urn:xmpp:ping"
#define ASK_MS  (60 * 1000)

/* ---- passing on ---------------------------------------------------------------------- */

/* Another's word of an address is no concern of ours, but ours nobody else gives. */
static bool is_of_room(const struct mk_jid *room, const char *by)
{
	struct mk_jid *j = NULL;
	bool yes;

	if (by == NULL || mk_jid_parsez(by, &j) < 0)
		return false;
	yes = mk_jid_bare_eq(j, room) || (mk_jid_local(j).n == 0 &&
		mk_str_eq(mk_jid_domain(j), mk_jid_domain(room)));
	mk_jid_unref(&j);
	return yes;
}

bool is_forged(const struct mk_jid *room, const struct mk_elem *e)
{
	const char *ns = mk_elem_xmlns(e);

	if (strncmp(ns, NS_MUC, sizeof NS_MUC - 1) == 0)
		return true;
	if (mk_streq(ns, NS_OCCUPANT) || mk_streq(ns, "urn:xmpp:hats:0"))
		return true;
	/* Who took back what another said, only the room can tell (XEP-0425 5); and only
	 * an archive has tombstones. */
	if (mk_streq(ns, NS_MODERATE) || mk_elem_is(e, "retracted", NS_RETRACT) ||
	    (mk_elem_is(e, "retract", NS_RETRACT) && mk_elem_child(e, NULL, NS_MODERATE) != NULL))
		return true;
	if (mk_elem_is(e, "stanza-id", NS_SID))
		return is_of_room(room, mk_elem_attr(e, "by"));
	if (mk_elem_is(e, "delay", NS_DELAY))
		return is_of_room(room, mk_elem_attr(e, "from"));
	if (mk_elem_is(e, "x", "jabber:x:delay"))
		return is_of_room(room, mk_elem_attr(e, "from"));
	return mk_elem_is(e, "addresses", "http://jabber.org/protocol/address");
}

/* s from the occupant, without 'to': open. */
static struct mk_stanza *from_occupant(const struct room *r, const struct occupant *o,
	const struct mk_stanza *s, const char *type)
{
	struct mk_jid *from = occupant_address(r, o);
	struct mk_stanza *copy = mk_stanza_new(mk_stanza_kind(s), type, from, NULL);
	struct mk_elem *root = mk_stanza_root(copy);
	struct mk_arena *a = mk_stanza_arena(copy);

	mk_jid_unref(&from);
	if (mk_stanza_id(s) != NULL)
		mk_stanza_set_id(copy, mk_stanza_id(s));
	if (mk_stanza_lang(s) != NULL)
		mk_elem_set(root, "xml:lang", mk_stanza_lang(s));
	for (const struct mk_elem *c = mk_elem_first(mk_stanza_elem(s)); c != NULL;
	     c = mk_elem_next(c))
		if (!is_forged(r->jid, c))
			mk_elem_adopt(root, mk_elem_copy(a, c));
	return copy;
}

static void add_occupant_id(struct mk_elem *root, const struct room *r, const struct occupant *o)
{
	char id[33];

	occupant_id_text(r, o, id);
	mk_elem_set(mk_elem_add(root, "occupant-id", NS_OCCUPANT), "id", id);
}

/* XEP-0359: what it is known by in this room, in its archive, and to all. */
void message_add_id(struct mk_stanza *s, const struct mk_jid *room)
{
	struct mk_elem *e = mk_elem_add(mk_stanza_root(s), "stanza-id", NS_SID);

	mk_elem_set(e, "by", mk_jid_full(room));
	mk_elem_setf(e, "id", "%lld", (long long)mk_stanza_uid(s));
}

static void add_delay(struct mk_elem *root, const struct mk_jid *room, int64_t time_ms)
{
	struct mk_elem *d = mk_elem_add(root, "delay", NS_DELAY);
	char stamp[32];

	mk_time_format(stamp, time_ms);
	mk_elem_set(d, "from", mk_jid_full(room));
	mk_elem_set(d, "stamp", stamp);
}

/* ---- history ------------------------------------------------------------------------- */

void history_clear(struct room *r)
{
	for (uint32_t k = 0; k < r->history_n; k++)
		mk_stanza_unref(&r->history[(r->history_at + k) % r->history_size].stanza);
	r->history_n = r->history_at = 0;
}

/* As many as the room and the service keep. */
static uint32_t history_most(const struct room *r)
{
	const struct muc_conf *c = mk_inst_conf(r->inst);

	return (uint32_t)(r->conf.history < c->history ? r->conf.history : c->history);
}

static void history_trim(struct room *r, uint32_t most)
{
	while (r->history_n > most) {
		mk_stanza_unref(&r->history[r->history_at].stanza);
		r->history_at = (r->history_at + 1) % r->history_size;
		r->history_n--;
	}
}

void history_add(struct room *r, struct mk_stanza *s, int64_t time_ms)
{
	uint32_t most = history_most(r);

	if (most == 0) {
		history_clear(r);
		return;
	}
	history_trim(r, most - 1);
	if (r->history_n == r->history_size) {
		uint32_t size = r->history_size * 2 + 4;
		struct message *v = mk_alloc(size * sizeof *v);
		for (uint32_t k = 0; k < r->history_n; k++)
			v[k] = r->history[(r->history_at + k) % r->history_size];
		mk_free(r->history);
		r->history = v;
		r->history_size = size;
		r->history_at = 0;
	}
	r->history[(r->history_at + r->history_n++) % r->history_size] = (struct message){
		mk_stanza_ref(s), time_ms, false };
}

bool history_remove(struct room *r, int64_t id, const char *author)
{
	for (uint32_t k = 0; k < r->history_n; k++) {
		struct message *m = &r->history[(r->history_at + k) % r->history_size];
		const struct mk_elem *e;

		if (mk_stanza_uid(m->stanza) != id)
			continue;
		e = mk_elem_child(mk_stanza_elem(m->stanza), "occupant-id", NS_OCCUPANT);
		if (author != NULL && (e == NULL || !mk_streq(mk_elem_attr(e, "id"), author)))
			return false;
		mk_stanza_unref(&m->stanza);
		for (; k + 1 < r->history_n; k++)
			r->history[(r->history_at + k) % r->history_size] =
				r->history[(r->history_at + k + 1) % r->history_size];
		r->history_n--;
		return true;
	}
	return false;
}

/* With <delay/>, made when somebody first wants it. */
static void make_delayed(struct room *r, struct message *m)
{
	struct mk_stanza *s;

	if (m->is_delayed || mk_stanza_from_elem(mk_stanza_elem(m->stanza), &s) < 0)
		return;
	add_delay(mk_stanza_root(s), r->jid, m->time_ms);
	mk_stanza_set_uid(s, mk_stanza_uid(m->stanza));
	mk_stanza_unref(&m->stanza);
	m->stanza = s;
	m->is_delayed = true;
}

static int64_t chars(const struct mk_stanza *s)
{
	struct mk_str text = mk_elem_write(mk_turn_arena(), mk_stanza_elem(s));
	int64_t n = 0;

	for (size_t k = 0; k < text.n; k++)
		n += ((unsigned char)text.p[k] & 0xc0) != 0x80;
	return n;
}

static int64_t number(const struct mk_elem *e, const char *name, int64_t dflt)
{
	const char *z = e != NULL ? mk_elem_attr(e, name) : NULL;
	int64_t n;

	return z != NULL && mk_parse_int(mk_strz(z), 0, INT64_MAX, &n) == 0 ? n : dflt;
}

void history_send(struct room *r, struct seat *s, const struct mk_elem *join)
{
	const struct mk_elem *wish = join != NULL ? mk_elem_child(join, "history", NULL) : NULL;
	int64_t most = number(wish, "maxstanzas", history_most(r)), left, since = 0, seconds;
	const char *from = wish != NULL ? mk_elem_attr(wish, "since") : NULL;
	uint32_t first;

	left = number(wish, "maxchars", INT64_MAX);
	seconds = number(wish, "seconds", -1);
	if (from != NULL && mk_time_parse(mk_strz(from), &since) < 0)
		since = 0;
	if (seconds >= 0 && seconds < INT64_MAX / 1000 && mk_wall_ms() - seconds * 1000 > since)
		since = mk_wall_ms() - seconds * 1000;
	history_trim(r, history_most(r));
	/* Back from the newest until one of the limits is reached (7.2.14). */
	for (first = r->history_n; first > 0 && most > 0; first--, most--) {
		struct message *m = &r->history[(r->history_at + first - 1) % r->history_size];
		if (m->time_ms < since)
			break;
		if (left != INT64_MAX) {
			make_delayed(r, m);
			left -= chars(m->stanza);
			if (left < 0)
				break;
		}
	}
	for (uint32_t k = first; k < r->history_n; k++) {
		struct message *m = &r->history[(r->history_at + k) % r->history_size];
		make_delayed(r, m);
		mk_send_to(m->stanza, s->jid);
	}
}

/* ---- the subject --------------------------------------------------------------------- */

/* Of who set it, as far as that is known: an address of this room, or the room's. */
static struct mk_stanza *subject_stanza(const struct room *r)
{
	struct mk_jid *from = NULL;
	struct mk_stanza *s;

	if (r->subject_nick != NULL)
		mk_jid_with_resource(r->jid, mk_strz(r->subject_nick), &from);
	s = mk_stanza_new(MK_MESSAGE, "groupchat", from != NULL ? from : r->jid, NULL);
	mk_elem_add_text(mk_stanza_root(s), "subject", NULL,
		mk_strz(r->subject != NULL ? r->subject : ""));
	mk_jid_unref(&from);
	return s;
}

void subject_send(struct room *r, struct seat *s)
{
	struct mk_stanza *st = subject_stanza(r);

	if (r->subject != NULL)
		add_delay(mk_stanza_root(st), r->jid, r->subject_ms);
	mk_send_to(st, s->jid);
	mk_stanza_unref(&st);
}

static void subject_changed(struct room *r, struct mk_ev_stanza *ev, struct room_change *c, int err)
{
	struct seat *s = r != NULL ? room_seat(r, ev->from) : NULL;
	struct mk_stanza *st;

	(void)c;
	if (err < 0 || s == NULL)
		return;
	st = from_occupant(r, s->occupant, ev->stanza, "groupchat");
	add_occupant_id(mk_stanza_root(st), r, s->occupant);
	message_add_id(st, r->jid);
	room_send(r, st, TO_ALL);
	if (room_is_archived(r))
		archive_add(r, ev, s, st);
	mk_stanza_unref(&st);
}

static enum mk_verdict change_subject(struct room *r, struct seat *s, struct mk_ev_stanza *ev)
{
	const struct muc_conf *conf = mk_inst_conf(r->inst);
	struct mk_str text = mk_elem_child_text(mk_stanza_elem(ev->stanza), "subject", NULL);
	enum role role = s->occupant->role;
	struct room_change *c;

	if (role != ROLE_MODERATOR && !(r->conf.occupants_set_subject && role == ROLE_PARTICIPANT)) {
		room_refuse(r->inst, ev->stanza, ev->to, MK_ERR_FORBIDDEN, NULL);
		return MK_DONE;
	}
	if (text.n > (size_t)conf->max_subject) {
		room_refuse(r->inst, ev->stanza, ev->to, MK_ERR_NOT_ACCEPTABLE, "Too long.");
		return MK_DONE;
	}
	c = room_change_new(r);
	c->sets_subject = true;
	c->subject = mk_arena_strndup(c->arena, text.p != NULL ? text.p : "", text.n);
	c->subject_nick = mk_arena_strdup(c->arena, occupant_nick(s->occupant).p);
	return room_change_ev(r, ev, c, subject_changed);
}

/* ---- messages to all ----------------------------------------------------------------- */

static bool is_to_keep(const struct mk_elem *root)
{
	return mk_elem_child(root, "body", NULL) != NULL &&
	       mk_elem_child(root, "no-store", "urn:xmpp:hints") == NULL &&
	       mk_elem_child(root, "no-permanent-store", "urn:xmpp:hints") == NULL;
}

/* What has a body, or is about one that had. */
static bool is_to_archive(const struct mk_elem *root)
{
	if (mk_elem_child(root, "no-store", "urn:xmpp:hints") != NULL ||
	    mk_elem_child(root, "no-permanent-store", "urn:xmpp:hints") != NULL)
		return false;
	return mk_elem_child(root, "body", NULL) != NULL ||
	       mk_elem_child(root, "subject", NULL) != NULL ||
	       mk_elem_child(root, "store", "urn:xmpp:hints") != NULL ||
	       mk_elem_child(root, "reactions", "urn:xmpp:reactions:0") != NULL ||
	       mk_elem_child(root, "retract", "urn:xmpp:message-retract:1") != NULL ||
	       mk_elem_child(root, "encrypted", NULL) != NULL ||
	       mk_elem_child(root, NULL, "urn:xmpp:chat-markers:0") != NULL;
}

static bool is_too_long(struct mk_inst *i, const struct mk_stanza *s)
{
	const struct muc_conf *c = mk_inst_conf(i);

	return c->max_message != 0 && mk_stanza_bytes(s) > (size_t)c->max_message &&
	       mk_elem_write(mk_turn_arena(), mk_stanza_elem(s)).n > (size_t)c->max_message;
}

static uint16_t may_speak(struct room *r, struct seat *s, const struct mk_stanza *st,
	const char **why)
{
	if (is_too_long(r->inst, st)) {
		*why = "Too long.";
		return MK_ERR_NOT_ACCEPTABLE;
	}
	if (!seat_may_send(r, s, mk_stanza_kind(st))) {
		*why = "Too many at a time.";
		return MK_ERR_POLICY_VIOLATION;
	}
	return 0;
}

/* XEP-0500: admins and owners are not kept waiting, and only what is said counts. */
static bool is_too_soon(struct room *r, const struct seat *s, const struct mk_stanza *st)
{
	return r->conf.slow_mode_s != 0 && s->occupant->affil < AFFIL_ADMIN &&
	       mk_elem_child(mk_stanza_elem(st), "body", NULL) != NULL &&
	       slow_take(&r->slow, s->jid, r->conf.slow_mode_s * 1000, mk_now_usec() / 1000) != 0;
}

/* The answer's type is wait, unlike that of other policies (RFC 6120 8.3.3). */
static void refuse_too_soon(struct room *r, struct mk_ev_stanza *ev)
{
	struct mk_stanza *s = mk_stanza_error(ev->stanza, MK_ERR_POLICY_VIOLATION,
		mk_arena_printf(mk_turn_arena(), "You have exceeded the limit imposed by the slow mode in "
			"this room. You have to wait %lld seconds between messages. Please try again later.",
			(long long)r->conf.slow_mode_s));
	struct mk_elem *e;

	if (s == NULL)
		return;
	e = mk_elem_child(mk_stanza_root(s), "error", NULL);
	mk_elem_set(e, "type", "wait");
	mk_elem_set(e, "by", mk_jid_full(r->jid));
	mk_metric_add(r->inst, FLOODS, 1);
	mk_send(&s);
}

static enum mk_verdict to_all(struct room *r, struct seat *s, struct mk_ev_stanza *ev)
{
	const struct mk_elem *root = mk_stanza_elem(ev->stanza);
	const char *why = NULL;
	uint16_t error;
	struct mk_stanza *st;

	error = s->occupant->role < ROLE_PARTICIPANT ? MK_ERR_FORBIDDEN
	                                             : may_speak(r, s, ev->stanza, &why);
	if (error == 0 && mk_elem_child(root, "subject", NULL) != NULL &&
	    mk_elem_child(root, "body", NULL) == NULL && mk_elem_child(root, "thread", NULL) == NULL)
		return change_subject(r, s, ev);
	if (error != 0) {
		room_refuse(r->inst, ev->stanza, ev->to, error, why);
		return MK_DONE;
	}
	if (is_too_soon(r, s, ev->stanza)) {
		refuse_too_soon(r, ev);
		return MK_DONE;
	}
	st = from_occupant(r, s->occupant, ev->stanza, "groupchat");
	add_occupant_id(mk_stanza_root(st), r, s->occupant);
	message_add_id(st, r->jid);
	mk_metric_add(r->inst, MESSAGES, 1);
	if (mk_elem_child(root, "body", NULL) != NULL &&
	    mk_elem_child(root, "replace", "urn:xmpp:message-correct:0") == NULL)
		activity_count(r);
	message_retract(r, s->occupant, st);
	room_send(r, st, TO_ALL);
	if (is_to_keep(root))
		history_add(r, st, mk_stanza_time(st));
	if (is_to_archive(root) && room_is_archived(r))
		archive_add(r, ev, s, st);
	mk_stanza_unref(&st);
	return MK_DONE;
}

/* ---- private messages (7.5) ---------------------------------------------------------- */

static bool may_whisper(const struct room *r, const struct occupant *o)
{
	switch ((enum allow_pm)r->conf.allow_pm) {
	case PM_ANYONE: return true;
	case PM_PARTICIPANTS: return o->role >= ROLE_PARTICIPANT;
	case PM_MODERATORS: return o->role == ROLE_MODERATOR;
	default: return false;
	}
}

static const char *type_name(enum mk_stanza_type t)
{
	return t == MK_TYPE_CHAT ? "chat" : t == MK_TYPE_HEADLINE ? "headline" :
	       t == MK_TYPE_NORMAL ? "normal" : NULL;
}

static enum mk_verdict to_one(struct room *r, struct seat *s, struct mk_ev_stanza *ev)
{
	struct occupant *to = room_occupant(r, mk_jid_resource(ev->to));
	const char *why = NULL;
	struct mk_stanza *st;
	uint16_t error = 0;

	if (mk_stanza_type(ev->stanza) == MK_TYPE_GROUPCHAT)
		error = MK_ERR_BAD_REQUEST;
	else if (to == NULL)
		error = MK_ERR_ITEM_NOT_FOUND;
	else if (!may_whisper(r, s->occupant))
		error = MK_ERR_FORBIDDEN;
	else
		error = may_speak(r, s, ev->stanza, &why);
	if (error != 0) {
		room_refuse(r->inst, ev->stanza, ev->to, error, why);
		return MK_DONE;
	}
	st = from_occupant(r, s->occupant, ev->stanza, type_name(mk_stanza_type(ev->stanza)));
	add_occupant_id(mk_stanza_root(st), r, s->occupant);
	mk_elem_add(mk_stanza_root(st), "x", NS_MUC_USER);
	occupant_send(to, st);
	mk_stanza_unref(&st);
	return MK_DONE;
}

/* ---- whatever comes ------------------------------------------------------------------ */

enum mk_verdict message_handle(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev)
{
	enum mk_stanza_type type = mk_stanza_type(ev->stanza);
	struct seat *s = r != NULL ? room_seat(r, ev->from) : NULL;
	bool is_to_room = mk_jid_is_bare(ev->to);
	enum mk_verdict v;

	if (type == MK_TYPE_ERROR) {
		if (r != NULL)
			presence_ghost(r, ev->stanza);
		return MK_DONE;
	}
	if (r == NULL || r->is_locked) {
		room_refuse(i, ev->stanza, ev->to, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if (is_to_room && type != MK_TYPE_GROUPCHAT) {
		v = invite_message(r, ev);
		if (v == MK_NEXT)
			v = voice_message(r, ev);
		if (v != MK_NEXT)
			return v;
	}
	if (s == NULL)
		room_refuse(i, ev->stanza, ev->to, MK_ERR_NOT_ACCEPTABLE,
			"You are not in the room.");
	else if (!is_to_room)
		return to_one(r, s, ev);
	else if (type == MK_TYPE_GROUPCHAT)
		return to_all(r, s, ev);
	else
		room_refuse(i, ev->stanza, ev->to, MK_ERR_BAD_REQUEST, NULL);
	return MK_DONE;
}

/* ---- requests from one occupant to another (13.3) ------------------------------------ */

/* Who asked, by the nickname that was asked. */
struct asked { struct mk_jid *from, *to; char id[]; };

/* Nobody learns of the other's address: the answer is the room's to pass on. */
static void on_answer(struct mk_inst *i, const struct mk_stanza *answer, void *data)
{
	struct asked *a = data;
	bool is_error = answer == NULL || mk_stanza_type(answer) == MK_TYPE_ERROR;
	struct mk_stanza *s = mk_stanza_new(MK_IQ, is_error ? "error" : "result", a->to, a->from);
	struct mk_elem *root = mk_stanza_root(s), *e;

	(void)i;
	mk_stanza_set_id(s, a->id);
	if (answer != NULL)
		for (const struct mk_elem *c = mk_elem_first(mk_stanza_elem(answer)); c != NULL;
		     c = mk_elem_next(c))
			mk_elem_adopt(root, mk_elem_copy(mk_stanza_arena(s), c));
	e = mk_elem_child(root, "error", NULL);
	if (e != NULL)
		mk_elem_set(e, "by", NULL);
	if (answer == NULL) {
		e = mk_elem_add(root, "error", NULL);
		mk_elem_set(e, "type", "wait");
		mk_elem_add(e, "remote-server-timeout", NS_STANZAS);
	}
	mk_send(&s);
	mk_jid_unref(&a->from);
	mk_jid_unref(&a->to);
	mk_free(a);
}

/* What an account, not a client, answers: vCard, avatars. */
static bool is_for_account(const struct mk_elem *payload)
{
	const char *ns = mk_elem_xmlns(payload);

	return mk_streq(ns, "vcard-temp") || mk_streq(ns, "http://jabber.org/protocol/pubsub");
}

static void ask(struct room *r, struct seat *s, const struct occupant *to, struct mk_ev_stanza *ev)
{
	const struct mk_elem *payload = mk_elem_first(mk_stanza_elem(ev->stanza));
	const char *id = mk_stanza_id(ev->stanza);
	struct mk_jid *real = is_for_account(payload) ? mk_jid_to_bare(to->seats->jid)
	                                              : mk_jid_ref(to->seats->jid);
	struct mk_jid *self = occupant_address(r, s->occupant);
	struct mk_stanza *q = mk_stanza_new(MK_IQ,
		mk_stanza_type(ev->stanza) == MK_TYPE_SET ? "set" : "get", self, real);
	struct asked *a = mk_alloc(sizeof *a + strlen(id) + 1);

	a->from = mk_jid_ref(ev->from);
	a->to = mk_jid_ref(ev->to);
	memcpy(a->id, id, strlen(id) + 1);
	mk_elem_adopt(mk_stanza_root(q), mk_elem_copy(mk_stanza_arena(q), payload));
	mk_jid_unref(&real);
	mk_jid_unref(&self);
	mk_iq_ask(r->inst, &q, ASK_MS, on_answer, a);
}

enum mk_verdict occupant_iq(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev)
{
	const struct mk_elem *payload = mk_elem_first(mk_stanza_elem(ev->stanza));
	struct seat *s = r != NULL ? room_seat(r, ev->from) : NULL;
	struct occupant *to = r != NULL ? room_occupant(r, mk_jid_resource(ev->to)) : NULL;
	const char *why = NULL;
	uint16_t error = 0;

	if (payload == NULL || mk_stanza_id(ev->stanza) == NULL || mk_elem_next(payload) != NULL)
		error = MK_ERR_BAD_REQUEST;
	else if (s == NULL)            /* 6.6; XEP-0410 3.2                     */
		error = mk_streq(mk_elem_xmlns(payload), NS_INFO) ||
			mk_streq(mk_elem_xmlns(payload), NS_ITEMS) ? MK_ERR_BAD_REQUEST
			                                           : MK_ERR_NOT_ACCEPTABLE;
	else if (to == NULL)
		error = MK_ERR_ITEM_NOT_FOUND;
	else
		error = may_speak(r, s, ev->stanza, &why);
	if (error != 0) {
		room_refuse(i, ev->stanza, ev->to, error, why);
		return MK_DONE;
	}
	if (to == s->occupant && mk_elem_is(payload, "ping", NS_PING) &&
	    mk_stanza_type(ev->stanza) == MK_TYPE_GET) {
		/* XEP-0410 3.1: who is in need not be asked. */
		struct mk_stanza *answer = mk_stanza_new(MK_IQ, "result", ev->to, ev->from);
		mk_stanza_set_id(answer, mk_stanza_id(ev->stanza));
		mk_send(&answer);
		return MK_DONE;
	}
	ask(r, s, to, ev);
	return MK_DONE;
}
