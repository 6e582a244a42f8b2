/*
 * roster/table.c - rosters in storage
 *
 * In jobs. Every write of a user's roster is one transaction that also writes
 * the user's row of roster_version, and only if nobody else did since it was
 * read: so versions grow in the order of the writes, on all nodes, and counts
 * are exact. What is read lives in the job's arena.
 */
#include "roster.h"

static const struct mk_column roster_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "contact", MK_TEXT, MK_COL_SORT },
	{ "name", MK_TEXT, MK_COL_NULL },
	{ "subscription", MK_INT, 0 },         /* MK_ROSTER_TO | MK_ROSTER_FROM */
	{ "ask", MK_INT, 0 },
	{ "approved", MK_INT, 0 },
	{ "pending_in", MK_BLOB, MK_COL_NULL },
	{ "groups", MK_TEXT, MK_COL_NULL },
	{ "version", MK_INT, 0 },              /* 0: not listed                 */
	{ NULL, 0, 0 }
};
enum { C_DOMAIN, C_USER, C_CONTACT, C_NAME, C_SUBSCRIPTION, C_ASK, C_APPROVED, C_PENDING,
	C_GROUPS, C_VERSION, C_COUNT };
const struct mk_table roster_table = { .size = sizeof roster_table, .version = 1,
	.name = "roster", .columns = roster_columns, .flags = MK_TABLE_OWNED };

static const struct mk_column version_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "version", MK_INT, 0 },
	{ "floor", MK_INT, 0 },
	{ "seq", MK_INT, 0 },
	{ "items", MK_INT, 0 },
	{ "requests", MK_INT, 0 },
	{ NULL, 0, 0 }
};
enum { V_DOMAIN, V_USER, V_VERSION, V_FLOOR, V_SEQ, V_ITEMS, V_REQUESTS, V_COUNT };
const struct mk_table roster_version_table = { .size = sizeof roster_version_table, .version = 1,
	.name = "roster_version", .columns = version_columns, .flags = MK_TABLE_OWNED };

#define LIVE (MK_ROSTER_TO | MK_ROSTER_FROM | MK_ROSTER_ASK | MK_ROSTER_APPROVED)
#define SEEN (LIVE | MK_ROSTER_LISTED)
#define TRIES 8

static int failure(enum mk_store_status s)
{
	return s == MK_STORE_RETRY ? -MK_EAGAIN : -MK_EIO;
}

/* ---- groups ----------------------------------------------------------------------- */

struct mk_str roster_groups_join(struct mk_arena *a, const char *const *groups, uint32_t n)
{
	size_t bytes = 0;
	struct mk_str s;
	char *p;

	for (uint32_t k = 0; k < n; k++)
		bytes += 2 * strlen(groups[k]) + 1;
	s.p = p = mk_arena_alloc(a, bytes + 1);
	for (uint32_t k = 0; k < n; k++) {
		for (const char *c = groups[k]; *c != '\0'; c++) {
			if (*c == '\\' || *c == '\n')
				*p++ = '\\';
			*p++ = *c;
		}
		*p++ = '\n';
	}
	s.n = (size_t)(p - s.p);
	return s;
}

const char *const *roster_groups_split(struct mk_arena *a, struct mk_str text, uint32_t *n_out)
{
	uint32_t most = 0, n = 0;
	const char **v;
	char *p, *start;

	for (size_t k = 0; k < text.n; k++)
		most += text.p[k] == '\n';
	v = mk_arena_alloc(a, (most + 1) * sizeof *v);
	start = p = mk_arena_alloc(a, text.n + 1);
	for (size_t k = 0; k < text.n; k++) {
		if (text.p[k] == '\n') {
			*p++ = '\0';
			v[n++] = start;
			start = p;
			continue;
		}
		if (text.p[k] == '\\' && k + 1 < text.n)
			k++;
		*p++ = text.p[k];
	}
	*n_out = n;
	return v;
}

/* ---- reading ------------------------------------------------------------------------ */

static void row_key(struct mk_value *key, const struct mk_jid *user, const struct mk_jid *contact)
{
	key[C_DOMAIN] = mk_text(mk_jid_domain(user));
	key[C_USER] = mk_text(mk_jid_local(user));
	if (contact != NULL)
		key[C_CONTACT] = mk_text(mk_jid_bare(contact));
}

static const char *text_of(struct mk_arena *a, const struct mk_value *v)
{
	struct mk_str s = mk_value_str(v);
	return v->type == 0 ? NULL : mk_arena_strndup(a, s.p, s.n);
}

static void row_item(struct mk_arena *a, const struct mk_value *v, struct mk_roster_item *item)
{
	*item = (struct mk_roster_item){ .contact = text_of(a, &v[C_CONTACT]),
		.name = text_of(a, &v[C_NAME]), .version = v[C_VERSION].as.i };
	item->flags = (uint32_t)v[C_SUBSCRIPTION].as.i & (MK_ROSTER_TO | MK_ROSTER_FROM);
	item->flags |= v[C_ASK].as.i != 0 ? MK_ROSTER_ASK : 0;
	item->flags |= v[C_APPROVED].as.i != 0 ? MK_ROSTER_APPROVED : 0;
	item->flags |= v[C_VERSION].as.i != 0 ? MK_ROSTER_LISTED : 0;
	if (v[C_PENDING].type != 0) {
		item->flags |= MK_ROSTER_PENDING;
		item->request = mk_value_str(&v[C_PENDING]);
	}
	if (v[C_GROUPS].type != 0)
		item->groups = roster_groups_split(a, mk_value_str(&v[C_GROUPS]), &item->groups_n);
}

int roster_state_get(struct mk_store *st, const struct mk_jid *user, struct roster_state *out)
{
	struct mk_value key[2];
	struct mk_row row;
	enum mk_store_status s;

	row_key(key, user, NULL);
	s = mk_get(st, &roster_version_table, key, &row);
	if (s == MK_STORE_NOTFOUND) {
		*out = (struct roster_state){ .row = MK_NEW };
		return 0;
	}
	if (s != MK_STORE_OK)
		return failure(s);
	*out = (struct roster_state){ row.v[V_VERSION].as.i, row.v[V_FLOOR].as.i,
		row.v[V_SEQ].as.i, row.v[V_ITEMS].as.i, row.v[V_REQUESTS].as.i, row.version };
	return 0;
}

int roster_get(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	const struct mk_jid *contact, struct mk_roster_item *out)
{
	struct mk_value key[3];
	struct mk_row row;
	enum mk_store_status s;

	(void)i;
	row_key(key, user, contact);
	s = mk_get(st, &roster_table, key, &row);
	if (s == MK_STORE_NOTFOUND)
		return -MK_ENOENT;
	if (s != MK_STORE_OK)
		return failure(s);
	row_item(mk_store_arena(st), row.v, out);
	return 0;
}

int roster_items(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	uint32_t flags, void (*fn)(const struct mk_roster_item *item, void *arg), void *arg)
{
	struct mk_range range = { .size = sizeof range, .limit = 1000 };
	struct mk_value key[2];
	struct mk_rows rows = { NULL, 0, true };

	(void)i;
	row_key(key, user, NULL);
	while (rows.more) {
		enum mk_store_status s = mk_query(st, &roster_table, key, &range, &rows);

		if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
			return failure(s);
		if (s == MK_STORE_NOTFOUND || rows.n == 0)
			break;
		for (uint32_t k = 0; k < rows.n; k++) {
			struct mk_roster_item item;
			row_item(mk_store_arena(st), rows.row[k].v, &item);
			if (item.flags & flags)
				fn(&item, arg);
		}
		range.after = &rows.row[rows.n - 1].v[C_CONTACT];
	}
	return 0;
}

/* ---- writing ------------------------------------------------------------------------ */

static bool same_groups(const struct mk_roster_item *a, const struct mk_roster_item *b)
{
	if (a->groups_n != b->groups_n)
		return false;
	for (uint32_t k = 0; k < a->groups_n; k++)
		if (strcmp(a->groups[k], b->groups[k]) != 0)
			return false;
	return true;
}

/* Whether clients see a difference. */
static bool seen(const struct mk_roster_item *old, const struct mk_roster_item *item)
{
	if ((old->flags & SEEN) != (item->flags & SEEN))
		return true;
	return (item->flags & MK_ROSTER_LISTED) &&
	       (!mk_streq(old->name, item->name) || !same_groups(old, item));
}

static int64_t one(bool is_true) { return is_true ? 1 : 0; }

/* The state's counts and versions as they are after old became item. */
static int count(const struct roster_conf *c, struct roster_state *s,
	const struct mk_roster_item *old, const struct mk_roster_item *item, bool is_seen)
{
	bool was = old->flags & MK_ROSTER_LISTED, is = item->flags & MK_ROSTER_LISTED;
	bool waited = old->flags != 0 && !was, waits = item->flags != 0 && !is;

	if (is && !was && s->items >= c->max_items)
		return -MK_ELIMIT;
	if (waits && !waited && s->requests >= c->max_requests)
		return -MK_ELIMIT;
	s->items += one(is) - one(was);
	s->requests += one(waits) - one(waited);
	s->seq++;
	if (!is_seen)
		return 0;
	/* Never one that was given out before, even if the database was put back
	 * to an older state, or the account was made anew. */
	int64_t next = mk_uid();
	if (next <= s->version)
		next = s->version + 1;
	if (s->version == 0 || (was && !is))
		s->floor = next;
	s->version = next;
	return 0;
}

static int write_both(struct mk_store *st, const struct mk_jid *user, const struct mk_jid *contact,
	const struct mk_roster_item *item, const struct roster_state *s)
{
	struct mk_value row[C_COUNT], state[V_COUNT];
	struct mk_write w[2] = {
		{ item->flags != 0 ? MK_WRITE_PUT : MK_WRITE_DELETE, &roster_table, row, MK_ANY },
		{ MK_WRITE_PUT, &roster_version_table, state, s->row } };
	enum mk_store_status r;

	row_key(row, user, contact);
	row[C_NAME] = item->name != NULL ? mk_textz(item->name) : mk_absent();
	row[C_SUBSCRIPTION] = mk_int(item->flags & (MK_ROSTER_TO | MK_ROSTER_FROM));
	row[C_ASK] = mk_int(one(item->flags & MK_ROSTER_ASK));
	row[C_APPROVED] = mk_int(one(item->flags & MK_ROSTER_APPROVED));
	row[C_PENDING] = item->flags & MK_ROSTER_PENDING
		? mk_blob(item->request.p, item->request.n) : mk_absent();
	row[C_GROUPS] = item->groups_n != 0
		? mk_text(roster_groups_join(mk_store_arena(st), item->groups, item->groups_n))
		: mk_absent();
	row[C_VERSION] = mk_int(item->version);
	row_key(state, user, NULL);
	state[V_VERSION] = mk_int(s->version);
	state[V_FLOOR] = mk_int(s->floor);
	state[V_SEQ] = mk_int(s->seq);
	state[V_ITEMS] = mk_int(s->items);
	state[V_REQUESTS] = mk_int(s->requests);
	r = mk_batch(st, w, 2, NULL);
	return r == MK_STORE_OK ? 0 : r == MK_STORE_CONFLICT ? -MK_ECONFLICT : failure(r);
}

static struct mk_roster_change *changed(const struct mk_jid *user, const struct mk_jid *contact,
	const struct mk_roster_item *old, const struct mk_roster_item *item,
	const struct roster_state *s, bool is_push)
{
	struct mk_roster_change *c = roster_change_new(user, contact);
	const char **groups = mk_arena_alloc(c->arena, (item->groups_n + 1) * sizeof *groups);

	c->flags = item->flags;
	c->old_flags = old->flags;
	c->is_push = is_push;
	c->version = s->version;
	c->seq = s->seq;
	if (item->name != NULL)
		c->name = mk_arena_strdup(c->arena, item->name);
	for (uint32_t k = 0; k < item->groups_n; k++)
		groups[k] = mk_arena_strdup(c->arena, item->groups[k]);
	c->groups = groups;
	c->groups_n = item->groups_n;
	return c;
}

/* -MK_ECONFLICT: somebody else wrote meanwhile. */
static int change_once(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	const struct mk_jid *contact, mk_roster_change_fn *fn, void *arg,
	struct mk_roster_change **out)
{
	struct mk_str bare = mk_jid_bare(contact);
	struct mk_roster_item old = {
		.contact = mk_arena_strndup(mk_store_arena(st), bare.p, bare.n) }, item;
	struct roster_state s = { 0 };
	bool is_seen;
	int r, said;

	r = roster_state_get(st, user, &s);
	if (r < 0)
		return r;
	r = roster_get(i, st, user, contact, &old);
	if (r < 0 && r != -MK_ENOENT)
		return r;
	item = old;
	said = fn(&item, arg);
	if (said <= 0)
		return said;
	if (item.flags & LIVE)
		item.flags |= MK_ROSTER_LISTED;
	if (item.flags == 0 && old.flags == 0)
		return 0;
	is_seen = seen(&old, &item) || (said == MK_ROSTER_PUSH && (item.flags & MK_ROSTER_LISTED));
	r = count(mk_inst_conf(i), &s, &old, &item, is_seen);
	if (r < 0)
		return r;
	if (is_seen)
		item.version = item.flags & MK_ROSTER_LISTED ? s.version : 0;
	r = write_both(st, user, contact, &item, &s);
	if (r < 0)
		return r;
	*out = changed(user, contact, &old, &item, &s, is_seen);
	return 0;
}

int roster_change(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	const struct mk_jid *contact, mk_roster_change_fn *fn, void *arg,
	struct mk_roster_change **out)
{
	struct mk_roster_change *c = NULL;
	int r = -MK_ECONFLICT;

	for (int k = 0; k < TRIES && r == -MK_ECONFLICT; k++)
		r = change_once(i, st, user, contact, fn, arg, &c);
	if (r == -MK_ECONFLICT)
		r = -MK_EAGAIN;
	if (out != NULL && r >= 0)
		*out = c;
	else if (c != NULL)
		roster_apply_later(i, &c);
	return r;
}
