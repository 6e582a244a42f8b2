/*
 * mam/waits.c - what is to be delivered when its recipient comes (XEP-0160)
 *
 * A message that comes while its recipient has no session is appended with BOX_WAITS;
 * one that a session gives back, or that came to sessions that don't take messages, is
 * marked later, in a job. What has been delivered is what is not behind the account's
 * cursor: delivering writes nothing else. There is a cursor for each node that appends,
 * as ids of different nodes need not become visible in their order.
 *
 * The account's home; jobs hold the account.
 */
#include <stdatomic.h>

#include "mam.h"

#define PAGE 500
/* Ids of a node that the account has no cursor of may be this much older. */
#define SKEW_MS (10 * 60 * 1000)

static const struct mk_column columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "node", MK_INT, MK_COL_SORT },       /* who gave the id               */
	{ "delivered", MK_INT, 0 },            /* ids up to this one            */
	{ 0 }
};
const struct mk_table archive_cursor = { .size = sizeof archive_cursor, .version = 1,
	.name = "archive_cursor", .columns = columns, .flags = MK_TABLE_OWNED };

/* ---- what was appended as waiting ------------------------------------------------- */

/* The last few thousand: a "no" may be wrong, and costs a job. */
#define NOTES 8192
static _Atomic uint64_t notes[NOTES];
static int64_t first_id;               /* what is older is from before the start */

void waits_load(void)
{
	first_id = mk_uid();
}

static uint64_t value_of(int64_t id, const struct mk_jid *account)
{
	struct mk_str bare = mk_jid_bare(account);
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t k = 0; k < bare.n; k++)
		h = (h ^ (unsigned char)bare.p[k]) * UINT64_C(0x100000001b3);
	return (uint64_t)id ^ h;
}

static _Atomic uint64_t *place_of(int64_t id)
{
	return &notes[((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15)) >> 51];
}

bool waits_note(struct mk_inst *i, const struct mk_ev_stanza *ev)
{
	struct mk_inst *offline;
	enum mk_stanza_type type = mk_stanza_type(ev->stanza);
	int64_t id = mk_stanza_uid(ev->stanza);

	if ((ev->entity != NULL && mk_entity_sessions(ev->entity) != NULL) ||
	    type == MK_TYPE_GROUPCHAT || type == MK_TYPE_HEADLINE ||
	    mk_service_get(i, "offline", 1, &offline) == NULL)
		return false;
	/* The sender may have no acknowledgements: until the row is written the journal
	 * has it. */
	mk_stanza_keep(ev->stanza);
	/* One that the journal handed back may have its row already, and not as one
	 * that waits. */
	if (id > first_id)
		atomic_store_explicit(place_of(id), value_of(id, ev->to), memory_order_release);
	return true;
}

bool svc_is_waiting(struct mk_inst *i, const struct mk_jid *account, int64_t id)
{
	uint64_t mine = value_of(id, account);

	(void)i;
	/* Once: if it comes again, it was delivered meanwhile. */
	return atomic_compare_exchange_strong(place_of(id), &mine, 0);
}

/* ---- cursors ------------------------------------------------------------------------ */

static int64_t node_of(int64_t id) { return id >> 12 & 1023; }

struct cursors { struct mk_rows rows; };

static enum mk_store_status cursors_read(struct mk_store *st, struct owner o, struct cursors *c)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	struct mk_range all = { .size = sizeof all, .limit = 1024 };

	return mk_query(st, &archive_cursor, partition, &all, &c->rows);
}

/* Up to where ids of that node were delivered; 0: none. */
static int64_t cursor_of(const struct cursors *c, int64_t node)
{
	for (uint32_t k = 0; k < c->rows.n; k++)
		if (c->rows.row[k].v[2].as.i == node)
			return c->rows.row[k].v[3].as.i;
	return 0;
}

/* What is not above it waits no longer, whoever gave its id. */
static int64_t lowest(const struct cursors *c)
{
	int64_t low = c->rows.n != 0 ? INT64_MAX : 0;

	for (uint32_t k = 0; k < c->rows.n; k++)
		if (c->rows.row[k].v[3].as.i < low)
			low = c->rows.row[k].v[3].as.i;
	if (low == 0)
		return 0;
	low = mk_uid_at(mk_uid_wall_ms(low) - SKEW_MS);
	return low > 0 ? low : 0;
}

static void cursor_write(struct mk_store *st, struct owner o, int64_t node, int64_t id,
	struct mk_write *w)
{
	struct mk_value row[] = { mk_text(o.domain), mk_text(o.user), mk_int(node), mk_int(id) };
	struct mk_value *kept = mk_arena_alloc(mk_store_arena(st), sizeof row);

	memcpy(kept, row, sizeof row);
	*w = (struct mk_write){ MK_WRITE_PUT, &archive_cursor, kept, MK_ANY };
}

/* ---- the service ---------------------------------------------------------------------- */

/* e is not above its cursor: what is between them was delivered, and says so itself
 * from now on, as the cursor goes back. */
static enum mk_store_status go_back(struct mk_store *st, struct owner o, const struct entry *e,
	int64_t cursor)
{
	struct box_range r = { .after = e->id, .before = cursor + 1, .waits = true, .limit = PAGE };
	struct mk_write *w = mk_arena_alloc(mk_store_arena(st), (PAGE + 2) * sizeof *w);
	struct box_page page = { .more = true };
	enum mk_store_status s = MK_STORE_OK;

	while (s == MK_STORE_OK && page.more) {
		uint32_t n = 0;
		s = box_rows(st, o, &r, &page);
		if (s != MK_STORE_OK)
			return s;
		for (uint32_t k = 0; k < page.n; k++) {
			r.after = page.e[k].id;
			if (node_of(page.e[k].id) == node_of(e->id))
				box_reflag(st, o, &page.e[k], page.e[k].flags & ~BOX_WAITS, &w[n++]);
		}
		if (!page.more) {
			box_reflag(st, o, e, e->flags | BOX_WAITS, &w[n++]);
			cursor_write(st, o, node_of(e->id), e->id - 1, &w[n++]);
		}
		s = mk_batch(st, w, n, NULL);
	}
	return s;
}

int svc_wait(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account, int64_t id)
{
	struct owner o = owner_of_account(account);
	struct box_page page;
	struct cursors c;
	struct mk_write w;
	int64_t cursor;
	enum mk_store_status s = box_get(st, o, &id, 1, &page);

	(void)i;
	if (s == MK_STORE_OK && page.n == 0)
		return -MK_ENOENT;
	if (s == MK_STORE_OK)
		s = cursors_read(st, o, &c);
	if (s != MK_STORE_OK)
		return code_of(s);
	cursor = cursor_of(&c, node_of(id));
	if (id <= cursor)
		return code_of(go_back(st, o, &page.e[0], cursor));
	if (page.e[0].flags & BOX_WAITS)
		return 0;
	box_reflag(st, o, &page.e[0], page.e[0].flags | BOX_WAITS, &w);
	return code_of(mk_batch(st, &w, 1, NULL));
}

int svc_waiting(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
	int64_t after, uint32_t limit, void (*fn)(void *arg, const struct mk_archive_entry *entry), void *arg)
{
	struct owner o = owner_of_account(account);
	struct box_range r = { .before = INT64_MAX, .waits = true };
	struct box_page page = { .more = true };
	struct mk_archive_entry entry;
	struct cursors c = { 0 };
	enum mk_store_status s = after == 0 ? cursors_read(st, o, &c) : MK_STORE_OK;
	uint32_t n = 0;

	(void)i;
	if (s != MK_STORE_OK)
		return code_of(s);
	r.after = after != 0 ? after : lowest(&c);
	while (n < limit && page.more) {
		/* A few that were delivered stand before them. */
		r.limit = limit;
		s = box_read(st, o, &r, &page);
		if (s != MK_STORE_OK)
			return code_of(s);
		for (uint32_t k = 0; k < page.n && n < limit; k++) {
			r.after = page.e[k].id;
			if (page.e[k].id <= cursor_of(&c, node_of(page.e[k].id)))
				continue;
			entry_out(st, &page.e[k], &entry);
			fn(arg, &entry);
			n++;
		}
	}
	return (int)n;
}

int svc_delivered(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
	const int64_t *id, uint32_t n)
{
	struct owner o = owner_of_account(account);
	struct mk_write *w = mk_arena_alloc(mk_store_arena(st), n * sizeof *w + 1);
	uint32_t m = 0;

	(void)i;
	/* The last one of each node. */
	for (uint32_t k = 0; k < n; k++) {
		bool is_last = true;
		for (uint32_t x = 0; x < n; x++)
			is_last &= node_of(id[x]) != node_of(id[k]) || id[x] <= id[k];
		if (is_last)
			cursor_write(st, o, node_of(id[k]), id[k], &w[m++]);
	}
	return m == 0 ? 0 : code_of(mk_batch(st, w, m, NULL));
}
