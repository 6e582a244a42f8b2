/*
 * carbons - both sides of a conversation to all of a user's clients (XEP-0280)
 *
 * Inline, at the user's home. Whether a session wants copies is a slot of that
 * session, made when it asks; where no other session asked, a message costs a
 * look at each. Copies are handed to sessions, never routed: so one that comes
 * by routing is forged, or of a session that is over, and goes no further (S-07).
 */
#include <meerkat/plugin.h>

#define NS_CARBONS  "urn:xmpp:carbons:2"
#define NS_FORWARD  "urn:xmpp:forward:0"
#define NS_HINTS    "urn:xmpp:hints"
#define NS_MUC_USER "http://jabber.org/protocol/muc#user"

enum { SENT, RECEIVED, REFUSED };
static const struct mk_metric metric_sent = { sizeof(struct mk_metric), MK_COUNTER,
	"sent_total", "Copies of messages that a user's other client sent." };
static const struct mk_metric metric_received = { sizeof(struct mk_metric), MK_COUNTER,
	"received_total", "Copies of messages that a user's other client received." };
static const struct mk_metric metric_refused = { sizeof(struct mk_metric), MK_COUNTER,
	"refused_total", "Messages refused because they pretended to be copies." };
static const struct mk_metric *const metrics[] = { &metric_sent, &metric_received,
	&metric_refused, NULL };

struct wish { bool wants; };
/*
 * An error is copied if what it answers was (6.1), which it need not quote: the
 * account's last copied messages, as hashes of id and correspondent.
 */
#define COPIED_MAX 32
struct copied { uint64_t hash[COPIED_MAX]; uint32_t next; };
static uint32_t wish_slot, copied_slot;

/* ---- who wants copies ---------------------------------------------------------- */

static bool wants(const struct mk_session *s)
{
	return mk_session_slot_peek(s, wish_slot) != NULL && mk_session_is_open(s);
}

static void enable(struct mk_session *s)
{
	((struct wish *)mk_session_slot(s, wish_slot))->wants = true;
}

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	struct mk_session *s = mk_iq_session(r);

	(void)i;
	if (s == NULL)
		mk_iq_error(r, MK_ERR_NOT_ALLOWED, NULL);
	else {
		if (mk_elem_is(mk_iq_payload(r), "enable", NULL))
			enable(s);
		else
			mk_session_slot_clear(s, wish_slot);
		mk_iq_result(r, NULL);
	}
	return MK_DONE;
}

/* XEP-0386 4.2: it can't fail, so there is no answer. */
static void on_bind(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *request,
	struct mk_elem *reply)
{
	(void)i;
	(void)request;
	(void)reply;
	enable(mk_stream_session(st));
}

/* ---- what is copied (6.1, "urn:xmpp:carbons:rules:0") --------------------------------------- */

static uint64_t hash_more(uint64_t h, const char *p, size_t n)
{
	for (; n > 0; p++, n--)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

/* FNV-1a: somebody who finds two that collide gets one error copied. Never 0. */
static uint64_t message_hash(const struct mk_stanza *s, const struct mk_jid *with)
{
	const char *id = mk_stanza_id(s);
	struct mk_str bare = mk_jid_bare(with);
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	if (id == NULL)
		return 0;
	h = hash_more(hash_more(h, id, strlen(id)), bare.p, bare.n);
	return h != 0 ? h : 1;
}

static bool was_copied(const struct mk_ev_stanza *ev, const struct mk_jid *with)
{
	const struct copied *c = mk_entity_slot_peek(ev->entity, copied_slot);
	uint64_t h = message_hash(ev->stanza, with);

	for (uint32_t n = 0; c != NULL && h != 0 && n < COPIED_MAX; n++)
		if (c->hash[n] == h)
			return true;
	return false;
}

static void note_copied(const struct mk_ev_stanza *ev, const struct mk_jid *with)
{
	struct copied *c;
	uint64_t h = message_hash(ev->stanza, with);

	if (h == 0 || mk_stanza_type(ev->stanza) == MK_TYPE_ERROR)
		return;
	c = mk_entity_slot(ev->entity, copied_slot);
	c->hash[c->next++ % COPIED_MAX] = h;
}

static bool is_eligible(const struct mk_ev_stanza *ev, int way)
{
	const struct mk_jid *with = way == SENT ? ev->to : ev->from;
	enum mk_stanza_type type = mk_stanza_type(ev->stanza);
	bool has_body = false, is_im = false, is_muc = false, is_invitation = false;

	if (type == MK_TYPE_GROUPCHAT || mk_stanza_kind(ev->stanza) != MK_MESSAGE)
		return false;
	for (const struct mk_elem *c = mk_elem_first(mk_stanza_elem(ev->stanza)); c != NULL;
	     c = mk_elem_next(c)) {
		const char *xmlns = mk_elem_xmlns(c);

		if (mk_elem_is(c, "private", NS_CARBONS) || mk_elem_is(c, "no-copy", NS_HINTS))
			return false;
		has_body |= mk_elem_is(c, "body", "jabber:client");
		is_im |= mk_streq(xmlns, "urn:xmpp:receipts") ||
		         mk_streq(xmlns, "urn:xmpp:chat-markers:0") ||
		         mk_streq(xmlns, "http://jabber.org/protocol/chatstates");
		is_invitation |= mk_elem_is(c, "x", "jabber:x:conference");
		if (mk_elem_is(c, "x", NS_MUC_USER)) {
			is_muc = true;
			is_invitation |= mk_elem_child(c, "invite", NS_MUC_USER) != NULL;
		}
	}
	if (type == MK_TYPE_ERROR)
		return was_copied(ev, with);
	if (is_invitation)
		return true;
	/* The room sends these to each client that joined. */
	if (way == RECEIVED && is_muc && !mk_jid_is_bare(ev->from))
		return false;
	return type == MK_TYPE_CHAT || is_im ||
	       (has_body && (type == MK_TYPE_NONE || type == MK_TYPE_NORMAL));
}

/* ---- copies -------------------------------------------------------------------- */

/* XEP-0313 3.4: the id in the archive of who sent it, which the recipient must not see. */
static void add_id(struct mk_inst *i, const struct mk_ev_stanza *ev, struct mk_elem *message)
{
	struct mk_inst *archive;
	struct mk_elem *id;

	if (mk_service_get(i, "archive", 1, &archive) == NULL || !mk_stanza_storable(ev->stanza))
		return;
	id = mk_elem_add(message, "stanza-id", "urn:xmpp:sid:0");
	mk_elem_set(id, "by", mk_jid_full(mk_entity_jid(ev->entity)));
	mk_elem_setf(id, "id", "%lld", (long long)mk_stanza_uid(ev->stanza));
}

static struct mk_stanza *copy_of(struct mk_inst *i, const struct mk_ev_stanza *ev, int way)
{
	const struct mk_elem *root = mk_stanza_elem(ev->stanza);
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, mk_elem_attr(root, "type"),
		mk_entity_jid(ev->entity), NULL);
	struct mk_elem *wrapper = mk_elem_add(mk_stanza_root(s), way == SENT ? "sent" : "received",
		NS_CARBONS);
	struct mk_elem *forwarded = mk_elem_add(wrapper, "forwarded", NS_FORWARD);
	struct mk_elem *inner = mk_elem_copy(mk_stanza_arena(s), root);

	mk_elem_set(inner, "from", mk_jid_full(ev->from));
	mk_elem_set(inner, "to", mk_jid_full(ev->to));
	if (way == SENT)
		add_id(i, ev, inner);
	mk_elem_adopt(forwarded, inner);
	return s;
}

/* Whether s is to get a copy: it wants them, it is not where the message came
 * from, and it did not get the message itself. */
static bool is_for(const struct mk_ev_stanza *ev, const struct mk_session *s, int way)
{
	if (!wants(s) || s == ev->session)
		return false;
	return way == SENT || (!mk_ev_was_delivered_to(ev, s) &&
	                       !mk_jid_eq(mk_session_jid(s), ev->from));
}

static void copy(struct mk_inst *i, const struct mk_ev_stanza *ev, int way)
{
	struct mk_session *s = mk_entity_sessions(ev->entity);
	struct mk_stanza *made;

	while (s != NULL && !is_for(ev, s, way))
		s = mk_session_next(s);
	if (s == NULL || !is_eligible(ev, way))
		return;
	made = copy_of(i, ev, way);
	note_copied(ev, way == SENT ? ev->to : ev->from);
	for (; s != NULL; s = mk_session_next(s))
		if (is_for(ev, s, way)) {
			mk_session_send(s, made);
			mk_metric_add(i, (uint32_t)way, 1);
		}
	mk_stanza_unref(&made);
}

/* Other clients of ours get what is sent to ourselves as recipients. */
static enum mk_verdict on_sent(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (ev->entity != NULL && !mk_jid_bare_eq(ev->to, mk_entity_jid(ev->entity)))
		copy(i, ev, SENT);
	return MK_NEXT;
}

/* What comes a second time was copied the first time. */
static enum mk_verdict on_received(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (ev->entity != NULL && !mk_ev_is_redelivery(ev))
		copy(i, ev, RECEIVED);
	return MK_NEXT;
}

/* ---- forged ones --------------------------------------------------------------- */

static enum mk_verdict on_guard(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct mk_elem *c;

	for (c = mk_elem_first(mk_stanza_elem(ev->stanza)); c != NULL; c = mk_elem_next(c))
		if (mk_streq(mk_elem_xmlns(c), NS_CARBONS) &&
		    (mk_elem_is(c, "sent", NULL) || mk_elem_is(c, "received", NULL)))
			break;
	if (c == NULL)
		return MK_NEXT;
	/* A copy that XEP-0198 gives back: the others got theirs. */
	if (ev->from != NULL && mk_jid_is_bare(ev->from) && mk_jid_bare_eq(ev->from, ev->to))
		return MK_DROP;
	mk_metric_add(i, REFUSED, 1);
	ev->error = MK_ERR_NOT_ALLOWED;
	ev->error_text = "Only a user's own server makes carbon copies";
	return MK_FAIL;
}

/* ---- life ---------------------------------------------------------------------- */

static int load(struct mk_module *m)
{
	static const struct mk_slot wish = { .size = sizeof wish, .scope = MK_SLOT_SESSION,
		.bytes = sizeof(struct wish) };
	static const struct mk_slot copied = { .size = sizeof copied, .scope = MK_SLOT_ENTITY,
		.bytes = sizeof(struct copied) };
	int r = mk_slot_register(m, &wish, &wish_slot);

	return r < 0 ? r : mk_slot_register(m, &copied, &copied_slot);
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq enable_iq = { .size = sizeof enable_iq,
		.flags = MK_IQ_SET | MK_IQ_ACCOUNT, .xmlns = NS_CARBONS, .name = "enable", .fn = on_iq };
	static const struct mk_iq disable_iq = { .size = sizeof disable_iq,
		.flags = MK_IQ_SET | MK_IQ_ACCOUNT, .xmlns = NS_CARBONS, .name = "disable", .fn = on_iq };
	static const struct mk_inline_request bind = { .size = sizeof bind, .where = MK_INLINE_BIND2,
		.xmlns = NS_CARBONS, .name = "enable", .fn = on_bind };
	static const uint32_t match = MK_M_MESSAGE | MK_M_ERROR;
	int r;

	if ((r = mk_on_stanza_deliver(i, MK_PRIO_GUARD, match, on_guard)) < 0 ||
	    (r = mk_on_stanza_in(i, MK_PRIO_ROUTED, match, on_sent)) < 0 ||
	    (r = mk_on_stanza_deliver(i, MK_PRIO_ROUTED, match, on_received)) < 0 ||
	    (r = mk_iq_handle(i, &enable_iq)) < 0 || (r = mk_iq_handle(i, &disable_iq)) < 0 ||
	    (r = mk_inline_handle(i, &bind)) < 0 ||
	    (r = mk_disco_feature(i, MK_DISCO_HOST, NS_CARBONS)) < 0)
		return r;
	return mk_disco_feature(i, MK_DISCO_HOST, "urn:xmpp:carbons:rules:0");
}

static const char *const needs[] = { "?svc:archive/1", NULL };

MK_PLUGIN(carbons, "carbons", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause",
	.summary = "Copies messages to all of a user's clients (XEP-0280).",
	.needs = needs, .metrics = metrics, .load = load, .start = start)
