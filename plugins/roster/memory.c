/*
 * roster/memory.c - rosters of users who are here, and pushes
 *
 * At the user's home worker. A roster in memory is an entity's slot: sorted
 * addresses with a byte of flags each, nothing else; it ends with the entity.
 * It is as new as the last write that came by: one that doesn't follow it
 * (other nodes and other plugins' jobs write as well) throws it away, and who
 * needs it loads it anew. Whether a session is interested is its own slot.
 */
#include "roster.h"

struct contact { uint16_t n; uint8_t flags; char text[]; };
struct mk_roster {
	int64_t version, seq;
	uint32_t n, size;
	struct contact **v;            /* sorted by text                        */
};
struct entity_slot { struct mk_roster *roster; };
struct session_slot { bool is_interested; };

static uint32_t entity_slot, session_slot;

/* ---- one roster ---------------------------------------------------------------------- */

struct mk_roster *roster_new(const struct roster_state *s)
{
	struct mk_roster *r = mk_alloc(sizeof *r);

	r->version = s->version;
	r->seq = s->seq;
	return r;
}

void roster_free(struct mk_roster **rp)
{
	struct mk_roster *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	for (uint32_t k = 0; k < r->n; k++)
		mk_free(r->v[k]);
	mk_free(r->v);
	mk_free(r);
}

int64_t roster_version(const struct mk_roster *r) { return r->version; }

static int order(struct mk_str a, const struct contact *b)
{
	size_t n = a.n < b->n ? a.n : b->n;
	int r = memcmp(a.p, b->text, n);

	return r != 0 ? r : a.n < b->n ? -1 : a.n > b->n;
}

/* Where it is, or ought to be. */
static uint32_t place(const struct mk_roster *r, struct mk_str contact, bool *found)
{
	uint32_t low = 0, high = r->n;

	*found = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int o = order(contact, r->v[mid]);
		if (o == 0) {
			*found = true;
			return mid;
		}
		if (o < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

uint32_t roster_find(const struct mk_roster *r, struct mk_str contact)
{
	bool found;
	uint32_t at = place(r, contact, &found);

	return found ? r->v[at]->flags : 0;
}

void roster_set(struct mk_roster *r, const char *contact, uint32_t flags)
{
	struct mk_str text = mk_strz(contact);
	bool found;
	uint32_t at = place(r, text, &found);

	if (found && flags != 0) {
		r->v[at]->flags = (uint8_t)flags;
	} else if (found) {
		mk_free(r->v[at]);
		r->n--;
		memmove(&r->v[at], &r->v[at + 1], (r->n - at) * sizeof *r->v);
	} else if (flags != 0) {
		struct contact *c = mk_alloc(sizeof *c + text.n + 1);
		c->n = (uint16_t)text.n;
		c->flags = (uint8_t)flags;
		memcpy(c->text, text.p, text.n + 1);
		if (r->n == r->size) {
			r->size = r->size + r->size / 4 + 4;
			r->v = mk_realloc(r->v, r->size * sizeof *r->v);
		}
		memmove(&r->v[at + 1], &r->v[at], (r->n - at) * sizeof *r->v);
		r->v[at] = c;
		r->n++;
	}
}

/* ---- slots ------------------------------------------------------------------------------ */

static void slot_fini(void *data)
{
	struct entity_slot *s = data;
	roster_free(&s->roster);
}

int roster_load_slots(struct mk_module *m)
{
	static const struct mk_slot of_entity = { sizeof of_entity, MK_SLOT_ENTITY,
		sizeof(struct entity_slot), slot_fini };
	static const struct mk_slot of_session = { sizeof of_session, MK_SLOT_SESSION,
		sizeof(struct session_slot), NULL };
	int r = mk_slot_register(m, &of_entity, &entity_slot);

	return r < 0 ? r : mk_slot_register(m, &of_session, &session_slot);
}

const struct mk_roster *roster_of(const struct mk_entity *e)
{
	const struct entity_slot *s = e != NULL ? mk_entity_slot_peek(e, entity_slot) : NULL;
	return s != NULL ? s->roster : NULL;
}

void roster_be_interested(struct mk_session *s)
{
	((struct session_slot *)mk_session_slot(s, session_slot))->is_interested = true;
}

bool roster_is_interested(struct mk_inst *i, const struct mk_session *s)
{
	const struct session_slot *d = mk_session_slot_peek(s, session_slot);

	(void)i;
	return d != NULL && d->is_interested;
}

int roster_flags(struct mk_inst *i, const struct mk_entity *e, const struct mk_jid *contact)
{
	const struct mk_roster *r = roster_of(e);

	(void)i;
	return r != NULL ? (int)roster_find(r, mk_jid_bare(contact)) : -1;
}

bool roster_each(struct mk_inst *i, const struct mk_entity *e, uint32_t flags,
	void (*fn)(const struct mk_jid *contact, uint32_t flags, void *arg), void *arg)
{
	const struct mk_roster *r = roster_of(e);

	(void)i;
	if (r == NULL)
		return false;
	for (uint32_t k = 0; k < r->n; k++) {
		const struct contact *c = r->v[k];
		struct mk_str text = { c->text, c->n };
		struct mk_jid *j = NULL;
		if (!(c->flags & flags) || mk_jid_parse(text, &j) < 0)
			continue;
		fn(j, c->flags, arg);
		mk_jid_unref(&j);
	}
	return true;
}

static void load_one(const struct mk_roster_item *item, void *arg)
{
	roster_set(arg, item->contact, item->flags);
}

int roster_load(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct mk_roster **out)
{
	struct roster_state s;
	struct mk_roster *roster;
	int r = roster_state_get(st, user, &s);

	if (r < 0)
		return r;
	roster = roster_new(&s);
	r = roster_items(i, st, user, UINT32_MAX, load_one, roster);
	if (r < 0)
		roster_free(&roster);
	else
		*out = roster;
	return r;
}

void roster_attach(struct mk_inst *i, struct mk_entity *e, struct mk_roster **r)
{
	(void)i;
	if (e != NULL && roster_of(e) == NULL) {
		((struct entity_slot *)mk_entity_slot(e, entity_slot))->roster = *r;
		*r = NULL;
	}
	roster_free(r);
}

/* ---- changes ---------------------------------------------------------------------------- */

struct mk_roster_change *roster_change_new(const struct mk_jid *user, const struct mk_jid *contact)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_roster_change *c = mk_arena_alloc(a, sizeof *c);

	c->arena = a;
	c->user = mk_jid_to_bare(user);
	c->contact = mk_jid_to_bare(contact);
	return c;
}

void roster_change_free(struct mk_roster_change **cp)
{
	struct mk_roster_change *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	struct mk_arena *a = c->arena;
	mk_jid_unref(&c->user);
	mk_jid_unref(&c->contact);
	mk_arena_free(&a);
}

void roster_item_add(struct mk_elem *query, const char *contact, uint32_t flags,
	const char *name, const char *const *groups, uint32_t groups_n)
{
	static const char *const subscription[] = { "none", "to", "from", "both" };
	struct mk_elem *item = mk_elem_add(query, "item", NULL);

	mk_elem_set(item, "jid", contact);
	if (flags == 0) {
		mk_elem_set(item, "subscription", "remove");
		return;
	}
	mk_elem_set(item, "subscription", subscription[flags & (MK_ROSTER_TO | MK_ROSTER_FROM)]);
	if (flags & MK_ROSTER_ASK)
		mk_elem_set(item, "ask", "subscribe");
	if (flags & MK_ROSTER_APPROVED)
		mk_elem_set(item, "approved", "true");
	if (name != NULL)
		mk_elem_set(item, "name", name);
	for (uint32_t k = 0; k < groups_n; k++)
		mk_elem_add_text(item, "group", NULL, mk_strz(groups[k]));
}

struct mk_stanza *roster_push_new(const struct mk_jid *user, const struct mk_jid *to,
	int64_t version, struct mk_elem **query_out)
{
	struct mk_stanza *s = mk_stanza_new(MK_IQ, "set", user, to);
	char id[32];

	mk_token(id, sizeof id, 16);
	mk_stanza_set_id(s, id);
	*query_out = mk_elem_add(mk_stanza_root(s), "query", NS_ROSTER);
	if (version >= 0)
		mk_elem_setf(*query_out, "ver", "%lld", (long long)version);
	return s;
}

static void push(struct mk_inst *i, const struct mk_entity *e, const struct mk_roster_change *c)
{
	const struct roster_conf *conf = mk_inst_conf(i);
	struct mk_elem *query;
	struct mk_stanza *s = NULL;
	int64_t n = 0;

	for (struct mk_session *ses = mk_entity_sessions(e); ses != NULL; ses = mk_session_next(ses)) {
		if (!mk_session_is_open(ses) || !roster_is_interested(i, ses))
			continue;
		if (s == NULL) {
			struct mk_str contact = mk_jid_bare(c->contact);
			s = roster_push_new(c->user, NULL, conf->versioning ? c->version : -1, &query);
			roster_item_add(query, mk_arena_strndup(c->arena, contact.p, contact.n),
				c->flags & MK_ROSTER_LISTED ? c->flags : 0, c->name, c->groups,
				c->groups_n);
		}
		mk_session_send(ses, s);
		n++;
	}
	if (s != NULL)
		mk_stanza_unref(&s);
	mk_metric_add(i, PUSHES, n);
}

static void send_type(const struct mk_jid *from, const char *type, const struct mk_jid *to)
{
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, type, from, to);
	mk_send(&s);
}

/* RFC 6121 2.5.2: with the item go its subscriptions, and requests. */
static void end_subscriptions(const struct mk_entity *e, const struct mk_roster_change *c)
{
	struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL;

	for (; s != NULL && (c->old_flags & MK_ROSTER_FROM); s = mk_session_next(s))
		if (mk_session_is_open(s) && mk_session_is_available(s))
			send_type(mk_session_jid(s), "unavailable", c->contact);
	if (c->old_flags & (MK_ROSTER_TO | MK_ROSTER_ASK))
		send_type(c->user, "unsubscribe", c->contact);
	if (c->old_flags & (MK_ROSTER_FROM | MK_ROSTER_PENDING))
		send_type(c->user, "unsubscribed", c->contact);
}

static void update(struct mk_entity *e, const struct mk_roster_change *c)
{
	struct entity_slot *slot = e != NULL ? mk_entity_slot_peek(e, entity_slot) : NULL;
	struct mk_roster *r = slot != NULL ? slot->roster : NULL;
	struct mk_str contact = mk_jid_bare(c->contact);

	if (r == NULL)
		return;
	if (c->seq != r->seq + 1) {
		roster_free(&slot->roster);
		return;
	}
	r->seq = c->seq;
	r->version = c->version;
	roster_set(r, mk_arena_strndup(c->arena, contact.p, contact.n), c->flags);
}

void roster_apply(struct mk_inst *i, struct mk_entity *e, struct mk_roster_change **cp)
{
	struct mk_roster_change *c = *cp;

	if (c == NULL)
		return;
	update(e, c);
	if (c->is_push && e != NULL)
		push(i, e, c);
	/* A request that was refused left nothing else either; its answer is the
	 * business of who refused it. */
	if (c->flags == 0 && (c->old_flags & MK_ROSTER_LISTED))
		end_subscriptions(e, c);
	roster_change_free(cp);
}

static void apply_post(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare,
	void *data)
{
	struct mk_roster_change *c = data;

	(void)bare;
	roster_apply(i, e, &c);
}

static void apply_drop(void *data)
{
	struct mk_roster_change *c = data;
	roster_change_free(&c);
}

void roster_apply_later(struct mk_inst *i, struct mk_roster_change **c)
{
	mk_entity_post(i, (*c)->user, apply_post, *c, apply_drop);
	*c = NULL;
}
