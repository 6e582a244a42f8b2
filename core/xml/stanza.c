/*
 * xml/stanza.c - stanzas: made, sealed, edited, rendered, let go
 *
 * One holder while open, any thread once sealed. A stanza and its tree share
 * one arena, which ends with the last reference. Its from and to are JIDs it
 * holds references to; the root's attributes borrow their text.
 */
#include "xml/stanza.h"

#include "base/assert.h"
#include "xml/known.h"
#include "base/ban.h"

void (*mk_stanza_retire)(struct mk_stanza *s);

/* ---- kinds and types ------------------------------------------------------------- */

static const char *const kind_names[] = {
	[MK_MESSAGE] = "message", [MK_PRESENCE] = "presence", [MK_IQ] = "iq",
};

#define K(k) (1u << (k))
static const struct { const char *name; uint8_t kinds, match; } types[] = {
	[MK_TYPE_ERROR] = { "error", K(MK_MESSAGE) | K(MK_PRESENCE) | K(MK_IQ), MK_M_ERROR },
	[MK_TYPE_CHAT] = { "chat", K(MK_MESSAGE), MK_M_MESSAGE },
	[MK_TYPE_GROUPCHAT] = { "groupchat", K(MK_MESSAGE), MK_M_MESSAGE },
	[MK_TYPE_HEADLINE] = { "headline", K(MK_MESSAGE), MK_M_MESSAGE },
	[MK_TYPE_NORMAL] = { "normal", K(MK_MESSAGE), MK_M_MESSAGE },
	[MK_TYPE_UNAVAILABLE] = { "unavailable", K(MK_PRESENCE), MK_M_PRESENCE },
	[MK_TYPE_PROBE] = { "probe", K(MK_PRESENCE), MK_M_PROBE },
	[MK_TYPE_SUBSCRIBE] = { "subscribe", K(MK_PRESENCE), MK_M_SUBSCRIPTION },
	[MK_TYPE_SUBSCRIBED] = { "subscribed", K(MK_PRESENCE), MK_M_SUBSCRIPTION },
	[MK_TYPE_UNSUBSCRIBE] = { "unsubscribe", K(MK_PRESENCE), MK_M_SUBSCRIPTION },
	[MK_TYPE_UNSUBSCRIBED] = { "unsubscribed", K(MK_PRESENCE), MK_M_SUBSCRIPTION },
	[MK_TYPE_GET] = { "get", K(MK_IQ), MK_M_IQ },
	[MK_TYPE_SET] = { "set", K(MK_IQ), MK_M_IQ },
	[MK_TYPE_RESULT] = { "result", K(MK_IQ), MK_M_ANSWER },
};
#define TYPES (sizeof types / sizeof *types)

const char *mk_stanza_type_name(enum mk_stanza_type t)
{
	return (size_t)t < TYPES ? types[t].name : NULL;
}

static uint8_t type_of(uint8_t kind, const char *name)
{
	for (uint8_t t = 1; t < TYPES; t++)
		if (types[t].kinds & K(kind) && mk_streq(types[t].name, name))
			return t;
	return MK_TYPE_NONE;
}

static const struct { const char *name, *type; } errors[] = {
#define ERROR_ROW(id, name, type, code) [MK_ERR_##id] = { name, type },
	MK_STANZA_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

const char *mk_stanza_error_name(uint16_t error)
{
	return error < MK_ERR_LAST_ ? errors[error].name : NULL;
}

/* ---- life ------------------------------------------------------------------------ */

struct mk_stanza *mk_stanza_alloc(void)
{
	struct mk_arena *a;
	struct mk_stanza *s;
	void *p;

	a = mk_arena_new_with(sizeof *s, &p);
	s = p;
	atomic_init(&s->refs, 1);
	s->arena = a;
	s->time_ms = mk_wall_ms();
	return s;
}

/* Kind, type, match, id and lang as the root says. */
static void read_root(struct mk_stanza *s)
{
	const char *type = NULL;

	s->id = s->lang = NULL;
	for (const struct mk_attr *a = s->root->attrs; a != NULL; a = a->next) {
		if (a->xmlns != NULL)
			continue;
		if (MK_ATTR_IS(a, "type"))
			type = a->value;
		else if (MK_ATTR_IS(a, "id"))
			s->id = a->value;
		else if (MK_ATTR_IS(a, "xml:lang"))
			s->lang = a->value;
	}
	s->flags = (uint8_t)((s->flags & ~MK_STANZA_BAD_TYPE) | MK_STANZA_READ);
	s->type = MK_TYPE_NONE;
	s->match = s->kind == MK_MESSAGE ? MK_M_MESSAGE :
	           s->kind == MK_PRESENCE ? MK_M_PRESENCE : MK_M_IQ;
	if (type != NULL)
		s->type = type_of(s->kind, type);
	if (s->type != MK_TYPE_NONE)
		s->match = types[s->type].match;
	else if (type != NULL)
		s->flags |= MK_STANZA_BAD_TYPE;
	if (s->kind == MK_IQ) {
		if (s->type == MK_TYPE_ERROR)
			s->match = MK_M_ANSWER;
		else if (s->type == MK_TYPE_NONE)
			s->flags |= MK_STANZA_BAD_TYPE;
	}
}

int mk_stanza_adopt(struct mk_stanza *s, struct mk_elem *root)
{
	uint8_t kind = 0;

	for (uint8_t k = MK_MESSAGE; k <= MK_IQ; k++)
		if (mk_streq(root->name, kind_names[k]))
			kind = k;
	if (kind == 0 || !mk_streq(mk_elem_xmlns(root), MK_NS_CLIENT))
		return -MK_EINVAL;
	s->kind = kind;
	s->root = root;
	read_root(s);
	return 0;
}

struct mk_stanza *mk_stanza_ref(const struct mk_stanza *s)
{
	struct mk_stanza *t = (struct mk_stanza *)s;

	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

static void wire_drop(struct mk_stanza *s)
{
	struct mk_shared *wire = atomic_exchange_explicit(&s->wire, NULL, memory_order_acq_rel);

	if (wire != NULL)
		mk_shared_unref(&wire);
}

void mk_stanza_unref(struct mk_stanza **sp)
{
	struct mk_stanza *s = *sp, *original;

	*sp = NULL;
	/* A copy's reference to its original may be the last one in turn. */
	for (; s != NULL; s = original) {
		if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
			return;
		if (s->journal != NULL && mk_stanza_retire != NULL)
			mk_stanza_retire(s);
		original = s->original;
		mk_jid_unref(&s->from);
		mk_jid_unref(&s->to);
		if (atomic_load_explicit(&s->wire, memory_order_relaxed) != NULL)
			wire_drop(s);
		struct mk_arena *a = s->arena;
		if (s->flags & MK_STANZA_SECRET)
			mk_arena_wipe(a);
		mk_arena_free(&a);
	}
}

static void set_address(struct mk_stanza *s, struct mk_jid **field, struct mk_str name,
                        const struct mk_jid *j)
{
	struct mk_jid *old = *field;

	mk_assert(!(s->flags & MK_STANZA_SEALED));
	*field = j != NULL ? mk_jid_ref(j) : NULL;
	if (j != NULL)
		mk_elem_borrow(s->root, name, (struct mk_str){ j->text, j->full_n });
	else
		mk_elem_set(s->root, name.p, NULL);
	mk_jid_unref(&old);
}

void mk_stanza_set_from(struct mk_stanza *s, const struct mk_jid *from)
{
	set_address(s, &s->from, MK_STR("from"), from);
}

void mk_stanza_set_to(struct mk_stanza *s, const struct mk_jid *to)
{
	set_address(s, &s->to, MK_STR("to"), to);
}

void mk_stanza_set_id(struct mk_stanza *s, const char *id)
{
	mk_assert(!(s->flags & MK_STANZA_SEALED));
	mk_elem_set(s->root, "id", id);
	s->id = mk_elem_attr(s->root, "id");
}

void mk_stanza_set_lang(struct mk_stanza *s, const char *lang)
{
	struct mk_str value;

	mk_assert(!(s->flags & MK_STANZA_SEALED));
	value = mk_strz(mk_arena_strdup(s->arena, lang));
	mk_elem_borrow(s->root, MK_STR("xml:lang"), value);
	s->lang = value.p;
}

/* ---- what is kept if nobody takes it ------------------------------------------------ */

/*
 * XEP-0160 3 and XEP-0313 7.1 name a body; the rest is what clients would miss
 * in the conversation when they come back. A name of NULL: any element of that
 * namespace. Chat states, a receipt's request, <markable/> and ids alone say
 * nothing that is of use later.
 */
static const struct { const char *name, *xmlns; } kept[] = {
	{ "body", MK_NS_CLIENT },
	{ "subject", MK_NS_CLIENT },
	{ "received", "urn:xmpp:receipts" },
	{ "received", "urn:xmpp:chat-markers:0" },
	{ "displayed", "urn:xmpp:chat-markers:0" },
	{ "acknowledged", "urn:xmpp:chat-markers:0" },
	{ "reactions", "urn:xmpp:reactions:0" },
	{ "replace", "urn:xmpp:message-correct:0" },
	{ "retract", "urn:xmpp:message-retract:0" },
	{ "retract", "urn:xmpp:message-retract:1" },
	{ "apply-to", "urn:xmpp:fasten:0" },
	{ NULL, "urn:xmpp:jingle-message:0" },
	{ NULL, "urn:xmpp:call-invites:0" },
	{ "encrypted", "eu.siacs.conversations.axolotl" },
	{ "encrypted", "urn:xmpp:omemo:1" },
	{ "encrypted", "urn:xmpp:omemo:2" },
	{ "x", "jabber:x:encrypted" },
	{ "openpgp", "urn:xmpp:openpgp:0" },
	{ "x", "jabber:x:conference" },
	{ "x", "http://jabber.org/protocol/muc#user" },
};

static bool is_storable(const struct mk_stanza *s)
{
	bool found = false;

	/* XEP-0160 3: not these types; XEP-0334 4: <store/> can't change it for
	 * errors. */
	if (s->kind != MK_MESSAGE || s->type == MK_TYPE_ERROR || s->type == MK_TYPE_GROUPCHAT)
		return false;
	for (const struct mk_elem *c = mk_elem_first(s->root); c != NULL; c = mk_elem_next(c)) {
		const char *xmlns = mk_elem_xmlns(c);

		if (mk_streq(xmlns, MK_NS_HINTS)) {
			/* <no-permanent-store/> allows to wait for the recipient. */
			if (mk_streq(c->name, "no-store"))
				return false;
			found |= mk_streq(c->name, "store");
		}
		for (size_t i = 0; i < sizeof kept / sizeof *kept && !found; i++)
			found = s->type != MK_TYPE_HEADLINE && mk_streq(xmlns, kept[i].xmlns) &&
			        (kept[i].name == NULL || mk_streq(c->name, kept[i].name));
	}
	return found;
}

bool mk_stanza_storable(const struct mk_stanza *s)
{
	return s->flags & MK_STANZA_SEALED ? s->flags & MK_STANZA_STORABLE : is_storable(s);
}

void mk_stanza_seal(struct mk_stanza *s)
{
	if (s->flags & MK_STANZA_SEALED)
		return;
	/* What it is now counts: its root may have been built or edited, and its
	 * children always. */
	if (!(s->flags & MK_STANZA_READ))
		read_root(s);
	s->flags &= (uint8_t)~MK_STANZA_STORABLE;
	s->flags |= (uint8_t)(MK_STANZA_SEALED | (is_storable(s) ? MK_STANZA_STORABLE : 0));
}

/* ---- reading ----------------------------------------------------------------------- */

enum mk_stanza_kind mk_stanza_kind(const struct mk_stanza *s)
{
	return s->kind;
}

enum mk_stanza_type mk_stanza_type(const struct mk_stanza *s)
{
	return s->type;
}

const struct mk_elem *mk_stanza_elem(const struct mk_stanza *s)
{
	return s->root;
}

const char *mk_stanza_id(const struct mk_stanza *s)
{
	return s->id;
}

const char *mk_stanza_lang(const struct mk_stanza *s)
{
	return s->lang;
}

const struct mk_jid *mk_stanza_from(const struct mk_stanza *s)
{
	return s->from;
}

const struct mk_jid *mk_stanza_to(const struct mk_stanza *s)
{
	return s->to;
}

/* A copy shares its original's; one that was made earlier than the original got
 * its own finds it there. */
int64_t mk_stanza_uid(const struct mk_stanza *s)
{
	struct mk_stanza *t = (struct mk_stanza *)s;
	int64_t uid = 0, mine;

	for (;; t = t->original) {
		uid = __atomic_load_n(&t->uid, __ATOMIC_ACQUIRE);
		if (uid != 0)
			return uid;
		if (t->original == NULL)
			break;
	}
	mine = mk_uid();
	return __atomic_compare_exchange_n(&t->uid, &uid, mine, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_ACQUIRE) ? mine : uid;
}

void mk_stanza_set_uid(struct mk_stanza *s, int64_t uid)
{
	mk_assert(!(s->flags & MK_STANZA_SEALED) && uid != 0);
	s->uid = uid;
}

void (*_Atomic mk_stanza_committed)(struct mk_stanza *original);

struct mk_stanza *mk_stanza_ticket(struct mk_stanza *s)
{
	while (s->original != NULL)
		s = s->original;
	atomic_fetch_add_explicit(&s->tickets, 1, memory_order_relaxed);
	return s;
}

void mk_stanza_ticket_done(struct mk_stanza *original)
{
	if (atomic_fetch_sub_explicit(&original->tickets, 1, memory_order_acq_rel) == 1 &&
	    original->is_awaited && mk_stanza_committed != NULL)
		mk_stanza_committed(original);
}

bool mk_stanza_is_kept(const struct mk_stanza *s)
{
	for (; s != NULL; s = s->original)
		if (__atomic_load_n(&s->journal, __ATOMIC_ACQUIRE) != NULL)
			return true;
	return false;
}

int64_t mk_stanza_time(const struct mk_stanza *s)
{
	return s->time_ms;
}

size_t mk_stanza_bytes(const struct mk_stanza *s)
{
	size_t n = 0;

	for (; s != NULL; s = s->original)
		n += mk_arena_bytes(s->arena);
	return n;
}

/* ---- building and editing ------------------------------------------------------------ */

struct mk_elem *mk_stanza_root(struct mk_stanza *s)
{
	mk_assert(!(s->flags & MK_STANZA_SEALED));
	s->flags &= (uint8_t)~MK_STANZA_READ;      /* who asks may set attributes */
	return s->root;
}

struct mk_arena *mk_stanza_arena(struct mk_stanza *s)
{
	mk_assert(!(s->flags & MK_STANZA_SEALED));
	return s->arena;
}

struct mk_stanza *mk_stanza_new(enum mk_stanza_kind kind, const char *type,
	const struct mk_jid *from, const struct mk_jid *to)
{
	struct mk_stanza *s = mk_stanza_alloc();

	mk_assert(kind >= MK_MESSAGE && kind <= MK_IQ);
	s->kind = (uint8_t)kind;
	s->root = mk_elem_new(s->arena, kind_names[kind], MK_NS_CLIENT);
	if (type != NULL)
		mk_elem_set(s->root, "type", type);
	if (from != NULL)
		mk_stanza_set_from(s, from);
	if (to != NULL)
		mk_stanza_set_to(s, to);
	read_root(s);
	return s;
}

int mk_stanza_from_elem(const struct mk_elem *e, struct mk_stanza **out)
{
	struct mk_stanza *s = mk_stanza_alloc();
	struct mk_jid *from = NULL, *to = NULL;
	const char *value;
	int r;

	r = mk_stanza_adopt(s, mk_elem_copy(s->arena, e));
	if (r == 0 && (value = mk_elem_attr(e, "from")) != NULL)
		r = mk_jid_parsez(value, &from);
	if (r == 0 && (value = mk_elem_attr(e, "to")) != NULL)
		r = mk_jid_parsez(value, &to);
	if (r < 0) {
		mk_stanza_unref(&s);
	} else {
		if (from != NULL)
			mk_stanza_set_from(s, from);
		if (to != NULL)
			mk_stanza_set_to(s, to);
		*out = s;
	}
	mk_jid_unref(&from);
	mk_jid_unref(&to);
	return r;
}

struct mk_stanza *mk_stanza_edit_children(struct mk_stanza **sp)
{
	struct mk_stanza *s = *sp, *copy;

	/* Nobody can take a reference while ours is the only one. */
	if (atomic_load_explicit(&s->refs, memory_order_acquire) == 1) {
		wire_drop(s);
		s->flags &= (uint8_t)~MK_STANZA_SEALED;
		return s;
	}
	copy = mk_stanza_alloc();
	copy->kind = s->kind;
	copy->type = s->type;
	copy->match = s->match;
	/* The copy is one recipient's version: not for many. */
	copy->flags = s->flags & (uint8_t)~(MK_STANZA_SEALED | MK_STANZA_FANOUT);
	copy->is_awaited = s->is_awaited;
	copy->root = mk_elem_copy_top(copy->arena, s->root);
	copy->from = s->from != NULL ? mk_jid_ref(s->from) : NULL;
	copy->to = s->to != NULL ? mk_jid_ref(s->to) : NULL;
	copy->id = s->id;
	copy->lang = s->lang;
	copy->time_ms = s->time_ms;
	copy->uid = s->uid;
	copy->original = s;
	*sp = copy;
	return copy;
}

struct mk_stanza *mk_stanza_edit(struct mk_stanza **sp)
{
	struct mk_stanza *s = mk_stanza_edit_children(sp);

	s->flags &= (uint8_t)~MK_STANZA_READ;
	return s;
}

/* ---- errors ------------------------------------------------------------------------- */

struct mk_stanza *mk_stanza_error(const struct mk_stanza *s, uint16_t error, const char *text)
{
	struct mk_stanza *answer;
	struct mk_elem *e;
	struct mk_jid *self = NULL;

	mk_assert(error > MK_ERR_NONE && error < MK_ERR_LAST_);
	/* RFC 6120 8.3.1: no error for an error, none for an answer. That
	 * somebody left, or a subscription ended, wants none either. */
	if (s->from == NULL || s->type == MK_TYPE_ERROR || s->type == MK_TYPE_RESULT ||
	    s->type == MK_TYPE_UNAVAILABLE || s->type == MK_TYPE_UNSUBSCRIBE ||
	    s->type == MK_TYPE_UNSUBSCRIBED)
		return NULL;
	/* Without 'to' it was for the sender's own account. The payload doesn't go
	 * back: the id tells what was meant. */
	if (s->to == NULL)
		self = mk_jid_to_bare(s->from);
	answer = mk_stanza_new(s->kind, "error", self != NULL ? self : s->to, s->from);
	mk_jid_unref(&self);
	if (s->id != NULL)
		mk_stanza_set_id(answer, s->id);
	e = mk_elem_add(answer->root, "error", NULL);
	mk_elem_set(e, "type", errors[error].type);
	mk_elem_add(e, errors[error].name, MK_NS_STANZAS);
	if (text != NULL) {
		struct mk_elem *t = mk_elem_add_text(e, "text", MK_NS_STANZAS, mk_strz(text));
		mk_elem_set(t, "xml:lang", "en");
	}
	return answer;
}

/* ---- rendering ------------------------------------------------------------------------ */

/* The rendering behind "<name to='…'", made once. Two threads may both make
 * it; the first stays. */
static struct mk_shared *wire_of(struct mk_stanza *s)
{
	struct mk_shared *wire = atomic_load_explicit(&s->wire, memory_order_acquire), *found = NULL;
	struct mk_buf b = { NULL, 0, 0 };

	if (wire != NULL)
		return wire;
	mk_elem_render_rest(&b, s->root, true);
	wire = mk_shared_new(b.p, b.n);
	mk_buf_free(&b);
	if (!atomic_compare_exchange_strong_explicit(&s->wire, &found, wire,
	                                             memory_order_acq_rel, memory_order_acquire)) {
		mk_shared_unref(&wire);
		wire = found;
	}
	return wire;
}

static inline __attribute__((always_inline)) void render(struct mk_buf *b,
	const struct mk_stanza *s, const struct mk_jid *to, bool alone)
{
	if (to == NULL)
		to = s->to;
	mk_buf_addc(b, '<');
	mk_buf_add(b, s->root->name, s->root->name_n);
	if (alone)
		MK_BUF_LIT(b, " xmlns='jabber:client'");
	if (to != NULL) {
		MK_BUF_LIT(b, " to='");
		mk_escape_attr(b, to->text, to->full_n);
		mk_buf_addc(b, '\'');
	}
	if ((s->flags & (MK_STANZA_FANOUT | MK_STANZA_SEALED)) ==
	    (MK_STANZA_FANOUT | MK_STANZA_SEALED)) {
		const struct mk_shared *wire = wire_of((struct mk_stanza *)s);
		mk_buf_add(b, wire->bytes, wire->n);
	} else {
		mk_elem_render_rest(b, s->root, to != NULL);
	}
}

void mk_stanza_render(struct mk_buf *b, const struct mk_stanza *s, const struct mk_jid *to)
{
	render(b, s, to, false);
}

void mk_stanza_render_alone(struct mk_buf *b, const struct mk_stanza *s, const struct mk_jid *to)
{
	render(b, s, to, true);
}
