/*
 * mam/archive.c - the rows of archives
 *
 * An archive is a box: a row for each message, by owner and id. A message between two
 * accounts of one domain is stored once: the recipient's row leads to the sender's, which
 * holds it. Rows are appended by write-behind (any worker) and read in jobs, behind what
 * the owner has queued. (A table of bodies with two small rows that lead there was a
 * third row to write for each message: a quarter of the cost.)
 *
 * The recipient's side must know whether the sender's has stored the message: shared[]
 * remembers the last few thousand. What it forgot is stored again, in the row.
 */
#include <stdatomic.h>

#include "mam.h"

#define DAY_MS    INT64_C(86400000)
#define DAYS_STEP 1000

static const struct mk_column box_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },         /* or a room's bare JID  */
	{ "id", MK_INT, MK_COL_SORT },                 /* mk_stanza_uid: has the time */
	{ "peer", MK_TEXT, MK_COL_FILTER },            /* bare                  */
	{ "flags", MK_INT, MK_COL_FILTER },            /* enum box_flag         */
	{ "size", MK_INT, 0 },                         /* bytes of the stanza   */
	{ "stanza", MK_TEXT, MK_COL_NULL },            /* absent: in the peer's row */
	{ 0 }
};
enum { BOX_ID = 2, BOX_PEER, BOX_FLAGS, BOX_SIZE, BOX_STANZA, BOX_COLUMNS };

static const struct mk_column text_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "id", MK_INT, MK_COL_SORT },
	{ "peer", MK_TEXT, MK_COL_INDEX },
	{ "words", MK_TEXT, MK_COL_SEARCH },
	{ 0 }
};
const struct mk_table archive_text = { .size = sizeof archive_text, .version = 1,
	.name = "archive_text", .columns = text_columns,
	.flags = MK_TABLE_OWNED | MK_TABLE_TIME };

/*
 * On which days an owner wrote with whom. An index of the box by peer would cost as
 * much as the box itself, with each message; these rows are written once
 * a day (of what days_noted() remembers), and lead a query to short ranges.
 */
static const struct mk_column days_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "peer", MK_TEXT, MK_COL_SORT },
	{ "day", MK_INT, MK_COL_SORT },
	{ 0 }
};
const struct mk_table archive_days = { .size = sizeof archive_days, .version = 1,
	.name = "archive_days", .columns = days_columns, .flags = MK_TABLE_OWNED };

static int64_t day_of(int64_t id) { return mk_uid_wall_ms(id) / DAY_MS; }

/* ---- rows that lead to others (mk_table_link) ----------------------------------------- */

/* The peer's row of the same message, if the peer is an account of the domain. */
static bool peer_key(struct mk_value domain, struct mk_str peer, int64_t id, struct mk_value *key)
{
	const char *at = peer.n != 0 ? memchr(peer.p, '@', peer.n) : NULL;
	struct mk_str rest;

	if (at == NULL)
		return false;
	rest = (struct mk_str){ at + 1, (size_t)(peer.p + peer.n - at - 1) };
	if (!mk_str_eq(rest, mk_value_str(&domain)))
		return false;
	key[0] = domain;
	key[1] = mk_text((struct mk_str){ peer.p, (size_t)(at - peer.p) });
	key[2] = mk_int(id);
	return true;
}

static bool link_key(const struct mk_value *row, struct mk_value *key)
{
	return row[BOX_STANZA].type == 0 &&
	       peer_key(row[0], mk_value_str(&row[BOX_PEER]), row[BOX_ID].as.i, key);
}

/* Only what was sent is led to. */
static bool link_back(const struct mk_value *row, struct mk_value *key)
{
	return row[BOX_STANZA].type != 0 && (row[BOX_FLAGS].as.i & BOX_OUT) &&
	       peer_key(row[0], mk_value_str(&row[BOX_PEER]), row[BOX_ID].as.i, key);
}

static void link_take(struct mk_value *row, const struct mk_value *held)
{
	row[BOX_STANZA] = held[BOX_STANZA];
	row[BOX_SIZE] = held[BOX_SIZE];
}

static const struct mk_table_link box_link = { .size = sizeof box_link, .key = link_key,
	.back = link_back, .take = link_take };
const struct mk_table archive_box = { .size = sizeof archive_box, .version = 1,
	.name = "archive_box", .columns = box_columns, .flags = MK_TABLE_OWNED | MK_TABLE_TIME,
	.link = &box_link };

/* ---- owners ------------------------------------------------------------------------- */

struct owner owner_of_account(const struct mk_jid *j)
{
	return (struct owner){ mk_jid_domain(j), mk_jid_local(j) };
}

struct owner owner_of(const struct mk_jid *j)
{
	struct mk_str domain = mk_claim_domain(j);

	return domain.n != 0 ? (struct owner){ domain, mk_jid_bare(j) } : owner_of_account(j);
}

uint64_t hash_more(uint64_t h, struct mk_str s)
{
	for (size_t k = 0; k < s.n; k++)
		h = (h ^ (unsigned char)s.p[k]) * UINT64_C(0x100000001b3);
	return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

/* With a secret: nobody can make two that are taken for one another. */
static uint64_t hash_seed;

static uint64_t hash_of(struct mk_str s)
{
	return hash_more(hash_seed, s);
}

uint64_t owner_hash(struct owner o)
{
	return hash_more(hash_of(o.domain), o.user);
}

void archive_load(void)
{
	mk_random(&hash_seed, sizeof hash_seed);
}

/* ---- who reads behind what is queued -------------------------------------------------- */

/* Of each owner (several share a place: they wait a little for each other). */
#define MARKS 4096
static _Atomic uint64_t marks[MARKS];

static _Atomic uint64_t *mark_of(struct owner o)
{
	uint64_t h = owner_hash(o);

	return &marks[(h >> 32 ^ h) % MARKS];
}

uint64_t box_mark(struct owner o)
{
	return atomic_load_explicit(mark_of(o), memory_order_acquire);
}

static enum mk_store_status see_appended(struct mk_store *st, struct owner o)
{
	uint64_t mark = box_mark(o);

	return mark == 0 ? MK_STORE_OK : mk_append_wait(st, &archive_box, mark);
}

/* ---- appending ------------------------------------------------------------------------ */

#define SHARED 8192
static struct { _Atomic uint64_t value, bytes; } shared[SHARED];

static uint64_t shared_value(int64_t id, const struct mk_jid *to)
{
	return (uint64_t)id ^ hash_of(mk_jid_bare(to));
}

static unsigned shared_place(int64_t id)
{
	return (unsigned)(((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15)) >> 51);
}

void shared_note(int64_t id, const struct mk_jid *to, size_t bytes)
{
	unsigned at = shared_place(id);

	atomic_store_explicit(&shared[at].bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&shared[at].value, shared_value(id, to), memory_order_release);
}

/* Somebody may take the place between the two loads: then bytes is another's, which a
 * quota can bear. */
bool shared_noted(int64_t id, const struct mk_jid *to, int64_t *bytes)
{
	unsigned at = shared_place(id);

	if (atomic_load_explicit(&shared[at].value, memory_order_acquire) != shared_value(id, to))
		return false;
	*bytes = (int64_t)atomic_load_explicit(&shared[at].bytes, memory_order_relaxed);
	return true;
}

/* Days that were noted already, for an hour: rows can be erased. */
#define DAYS 8192
static _Atomic uint64_t days[DAYS];
static _Atomic uint64_t days_epoch;

void days_forget(void)
{
	atomic_fetch_add(&days_epoch, 1);
}

static void day_note(struct mk_inst *i, const struct mk_ev_stanza *ev, struct owner o,
	const struct entry *e)
{
	uint64_t hour = (uint64_t)(mk_uid_wall_ms(e->id) / (60 * 60 * 1000));
	uint64_t h = hash_more(owner_hash(o), e->with) ^
		(hour + (atomic_load_explicit(&days_epoch, memory_order_relaxed) << 32)) *
		UINT64_C(0x9e3779b97f4a7c15);
	_Atomic uint64_t *place = &days[(h >> 40) % DAYS];
	struct mk_value row[] = { mk_text(o.domain), mk_text(o.user), mk_text(e->with),
		mk_int(day_of(e->id)) };

	if (atomic_load_explicit(place, memory_order_relaxed) == h)
		return;
	mk_append(i, ev, &archive_days, row);
	atomic_store_explicit(place, h, memory_order_relaxed);
}

/* Given by us for this delivery; an archive that several lead to has neither. */
static bool is_ours(const struct mk_elem *c, const struct mk_jid *account)
{
	const char *by;

	if (mk_elem_is(c, "stanza-id", "urn:xmpp:sid:0"))
		return (by = mk_elem_attr(c, "by")) != NULL && mk_str_eqz(mk_jid_bare(account), by);
	return mk_elem_is(c, "delay", NS_DELAY) && (by = mk_elem_attr(c, "from")) != NULL &&
	       mk_str_eqz(mk_jid_domain(account), by);
}

struct mk_str stored_text(struct mk_arena *a, const struct mk_stanza *s,
	const struct mk_jid *account)
{
	const struct mk_elem *root = mk_stanza_elem(s), *c;
	struct mk_elem *copy;

	for (c = mk_elem_first(root); c != NULL; c = mk_elem_next(c))
		if (is_ours(c, account))
			break;
	if (c == NULL)
		return mk_elem_write(a, root);
	copy = mk_elem_copy(a, root);
	for (struct mk_elem *x = mk_elem_first(copy), *next; x != NULL; x = next) {
		next = mk_elem_next(x);
		if (is_ours(x, account))
			mk_elem_remove(copy, x);
	}
	return mk_elem_write(a, copy);
}

void box_append(struct mk_inst *i, const struct mk_ev_stanza *ev, struct owner o,
	const struct entry *e, struct mk_str text)
{
	struct mk_value row[BOX_COLUMNS] = { mk_text(o.domain), mk_text(o.user), mk_int(e->id),
		mk_text(e->with), mk_int(e->flags),
		mk_int(e->xml.n != 0 ? (int64_t)e->xml.n : e->size),
		e->is_shared ? mk_absent() : mk_text(e->xml) };

	day_note(i, ev, o, e);
	mk_append(i, ev, &archive_box, row);
	if (text.n != 0) {
		struct mk_value words[] = { row[0], row[1], row[2], row[3], mk_text(text) };
		mk_append(i, ev, &archive_text, words);
	}
	atomic_store_explicit(mark_of(o), mk_append_mark(&archive_box), memory_order_release);
}

struct mk_str words_of(struct mk_arena *a, const struct mk_elem *message)
{
	const char *words = "";

	for (struct mk_elem *c = mk_elem_first(message); c != NULL; c = mk_elem_next(c))
		if (mk_elem_is(c, "body", "jabber:client") || mk_elem_is(c, "subject", "jabber:client")) {
			struct mk_str t = mk_elem_text(c);
			words = mk_arena_printf(a, "%s%s%.*s", words, *words != '\0' ? "\n" : "",
				(int)t.n, t.p);
		}
	return mk_strz(words);
}

/* ---- reading -------------------------------------------------------------------------- */

static void row_entry(const struct mk_row *row, struct entry *e)
{
	e->id = row->v[BOX_ID].as.i;
	e->with = mk_value_str(&row->v[BOX_PEER]);
	e->flags = row->v[BOX_FLAGS].as.i;
	e->size = row->v[BOX_SIZE].as.i;
	e->is_shared = row->v[BOX_STANZA].type == 0;
	e->xml = mk_value_str(&row->v[BOX_STANZA]);
}

/* What shared entries lead to, in one call. */
static enum mk_store_status bodies_read(struct mk_store *st, struct owner o, struct entry *e,
	uint32_t n)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_value (*key)[3] = mk_arena_alloc(a, n * sizeof *key + 1);
	const struct mk_value **keys = mk_arena_alloc(a, n * sizeof *keys + 1);
	struct mk_row *rows = mk_arena_alloc(a, n * sizeof *rows + 1);
	uint32_t *whose = mk_arena_alloc(a, n * sizeof *whose + 1);
	enum mk_store_status s;
	uint32_t m = 0;

	for (uint32_t k = 0; k < n; k++)
		if (e[k].is_shared && peer_key(mk_text(o.domain), e[k].with, e[k].id, key[m])) {
			keys[m] = key[m];
			whose[m++] = k;
		}
	s = mk_get_many(st, &archive_box, keys, m, rows);
	for (uint32_t k = 0; s == MK_STORE_OK && k < m; k++)
		if (rows[k].v != NULL)
			e[whose[k]].xml = mk_value_str(&rows[k].v[BOX_STANZA]);
	return s;
}

static void page_make(struct mk_store *st, const struct mk_row *row, uint32_t n, bool more,
	struct box_page *out)
{
	uint32_t m = 0;

	out->e = mk_arena_alloc(mk_store_arena(st), n * sizeof *out->e + 1);
	for (uint32_t k = 0; k < n; k++)
		if (row[k].v != NULL)
			row_entry(&row[k], &out->e[m++]);
	out->n = m;
	out->more = more;
}

static enum mk_store_status rows_get(struct mk_store *st, struct owner o, const int64_t *ids,
	uint32_t n, struct mk_row **rows)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_value (*key)[3] = mk_arena_alloc(a, n * sizeof *key + 1);
	const struct mk_value **keys = mk_arena_alloc(a, n * sizeof *keys + 1);

	*rows = mk_arena_alloc(a, n * sizeof **rows + 1);
	for (uint32_t k = 0; k < n; k++) {
		key[k][0] = mk_text(o.domain);
		key[k][1] = mk_text(o.user);
		key[k][2] = mk_int(ids[k]);
		keys[k] = key[k];
	}
	return mk_get_many(st, &archive_box, keys, n, *rows);
}

struct bounds { struct mk_value after, before, equals[BOX_COLUMNS]; struct mk_range range; };

static void bounds_make(struct bounds *b, const struct box_range *r)
{
	memset(b, 0, sizeof *b);
	b->after = mk_int(r->after);
	b->before = mk_int(r->before);
	b->range = (struct mk_range){ .size = sizeof b->range,
		.after = r->after != INT64_MIN ? &b->after : NULL,
		.before = r->before != INT64_MAX ? &b->before : NULL,
		.search = r->search, .limit = r->limit, .backward = r->backward };
	if (r->with.n != 0) {
		b->equals[BOX_PEER] = mk_text(r->with);        /* archive_text's, too   */
		b->range.equals = b->equals;
	}
	if (r->waits) {
		b->equals[BOX_FLAGS] = mk_int(BOX_WAITS);
		b->range.equals = b->equals;
	}
}

/* Days on which there is something with r->with, within r, in the order of reading. */
static enum mk_store_status days_read(struct mk_store *st, struct owner o,
	const struct box_range *r, int64_t **day_out, uint32_t *n_out)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	struct mk_value after[] = { mk_text(r->with), mk_int(day_of(r->after < 0 ? 0 : r->after) - 1) };
	struct mk_value before[] = { after[0], mk_int(day_of(r->before) + 1) };
	struct mk_range range = { .size = sizeof range, .after = after, .before = before,
		.limit = 1000, .backward = r->backward };
	struct mk_rows rows = { .more = true };
	enum mk_store_status s = MK_STORE_OK;

	*day_out = NULL;
	*n_out = 0;
	while (rows.more) {
		s = mk_query(st, &archive_days, partition, &range, &rows);
		if (s != MK_STORE_OK || rows.n == 0)
			return s;
		int64_t *more = mk_arena_alloc(a, (*n_out + rows.n) * sizeof *more);
		if (*n_out != 0)
			memcpy(more, *day_out, *n_out * sizeof *more);
		for (uint32_t k = 0; k < rows.n; k++)
			more[*n_out + k] = rows.row[k].v[3].as.i;
		*day_out = more;
		*n_out += rows.n;
		(r->backward ? before : after)[1] = rows.row[rows.n - 1].v[3];
	}
	return s;
}

/* r, within one day. */
static struct box_range day_range(const struct box_range *r, int64_t day)
{
	int64_t first = mk_uid_at(day * DAY_MS), next = mk_uid_at((day + 1) * DAY_MS);
	struct box_range d = *r;

	if (d.after < first - 1)
		d.after = first - 1;
	if (d.before > next)
		d.before = next;
	return d;
}

/* What box_rows does where a peer is asked for. */
static enum mk_store_status rows_with(struct mk_store *st, struct owner o,
	const struct box_range *r, struct box_page *out)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	uint32_t limit = r->limit, days_n;
	struct mk_row *row;
	int64_t *day;
	enum mk_store_status s = days_read(st, o, r, &day, &days_n);
	bool more = false;
	uint32_t n = 0;

	row = mk_arena_alloc(mk_store_arena(st), (limit + 1) * sizeof *row);
	for (uint32_t k = 0; s == MK_STORE_OK && k < days_n && !more; k++) {
		struct box_range d = day_range(r, day[k]);
		struct mk_rows rows;
		struct bounds b;
		/* One more tells whether there is more. */
		d.limit = limit - n + 1;
		bounds_make(&b, &d);
		s = mk_query(st, &archive_box, partition, &b.range, &rows);
		for (uint32_t x = 0; s == MK_STORE_OK && x < rows.n && !more; x++) {
			more = n == limit;
			if (!more)
				row[n++] = rows.row[x];
		}
	}
	if (s == MK_STORE_OK)
		page_make(st, row, n, more, out);
	return s;
}

static enum mk_store_status count_with(struct mk_store *st, struct owner o,
	const struct box_range *r, uint64_t *out)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	uint32_t days_n;
	int64_t *day;
	enum mk_store_status s = days_read(st, o, r, &day, &days_n);

	*out = 0;
	for (uint32_t k = 0; s == MK_STORE_OK && k < days_n; k++) {
		struct box_range d = day_range(r, day[k]);
		struct bounds b;
		uint64_t n = 0;
		if (r->limit != 0 && *out >= r->limit)
			break;
		if (r->limit != 0)
			d.limit = r->limit - (uint32_t)*out;
		bounds_make(&b, &d);
		s = mk_count_rows(st, &archive_box, partition, &b.range, &n);
		*out += n;
	}
	return s;
}

/* Of one owner: the rows from *at on that are as the first one's. */
static enum mk_store_status days_erase(struct mk_store *st, const struct mk_rows *rows,
	uint32_t *at, int64_t first, bool is_wanted)
{
	struct mk_write *w = mk_arena_alloc(mk_store_arena(st), rows->n * sizeof *w);
	const struct mk_value *v = rows->row[*at].v;
	uint32_t n = 0;

	for (; *at < rows->n; (*at)++) {
		const struct mk_value *x = rows->row[*at].v;
		if (!mk_str_eq(mk_value_str(&x[0]), mk_value_str(&v[0])) ||
		    !mk_str_eq(mk_value_str(&x[1]), mk_value_str(&v[1])))
			break;
		if (is_wanted && x[3].as.i < first)
			w[n++] = (struct mk_write){ MK_WRITE_DELETE, &archive_days, x, MK_ANY };
	}
	return mk_batch(st, w, n, NULL);
}

enum mk_store_status days_delete_of(struct mk_store *st, struct owner o, int64_t before)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	struct mk_range range = { .size = sizeof range, .limit = DAYS_STEP };
	struct mk_rows rows = { .more = true };
	enum mk_store_status s = MK_STORE_OK;

	while (s == MK_STORE_OK && rows.more) {
		uint32_t at = 0;
		s = mk_query(st, &archive_days, partition, &range, &rows);
		if (s != MK_STORE_OK || rows.n == 0)
			return s;
		s = days_erase(st, &rows, &at, day_of(before), true);
		range.after = rows.row[rows.n - 1].v + 2;
	}
	return s;
}

enum mk_store_status days_delete(struct mk_store *st, int64_t before,
	bool (*wanted)(void *arg, struct mk_str domain), void *arg, const struct mk_value **after,
	bool *more)
{
	struct mk_rows rows;
	enum mk_store_status s = mk_scan(st, &archive_days, MK_STR_NONE, *after, DAYS_STEP, &rows);
	uint32_t at = 0;

	while (s == MK_STORE_OK && at < rows.n)
		s = days_erase(st, &rows, &at, day_of(before),
			wanted(arg, mk_value_str(&rows.row[at].v[0])));
	if (s != MK_STORE_OK)
		return s;
	*more = rows.more && rows.n != 0;
	*after = *more ? rows.row[rows.n - 1].v : NULL;
	return s;
}

enum mk_store_status box_rows(struct mk_store *st, struct owner o, const struct box_range *r,
	struct box_page *out)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	enum mk_store_status s = see_appended(st, o);
	struct mk_rows rows;
	struct mk_row *found;
	struct bounds b;
	int64_t *ids;

	if (s == MK_STORE_OK && r->with.n != 0 && r->search == NULL)
		return rows_with(st, o, r, out);
	bounds_make(&b, r);
	if (s == MK_STORE_OK)
		s = mk_query(st, r->search != NULL ? &archive_text : &archive_box, partition, &b.range,
			&rows);
	if (s != MK_STORE_OK)
		return s;
	if (r->search == NULL) {
		page_make(st, rows.row, rows.n, rows.more, out);
		return s;
	}
	ids = mk_arena_alloc(mk_store_arena(st), rows.n * sizeof *ids + 1);
	for (uint32_t k = 0; k < rows.n; k++)
		ids[k] = rows.row[k].v[BOX_ID].as.i;
	s = rows_get(st, o, ids, rows.n, &found);
	if (s == MK_STORE_OK)
		page_make(st, found, rows.n, rows.more, out);
	return s;
}

enum mk_store_status box_read(struct mk_store *st, struct owner o, const struct box_range *r,
	struct box_page *out)
{
	enum mk_store_status s = box_rows(st, o, r, out);

	return s == MK_STORE_OK ? bodies_read(st, o, out->e, out->n) : s;
}

enum mk_store_status box_count(struct mk_store *st, struct owner o, const struct box_range *r,
	uint64_t *out)
{
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	enum mk_store_status s = see_appended(st, o);
	struct bounds b;

	if (s == MK_STORE_OK && r->with.n != 0 && r->search == NULL)
		return count_with(st, o, r, out);
	bounds_make(&b, r);
	return s != MK_STORE_OK ? s : mk_count_rows(st,
		r->search != NULL ? &archive_text : &archive_box, partition, &b.range, out);
}

enum mk_store_status box_get(struct mk_store *st, struct owner o, const int64_t *ids, uint32_t n,
	struct box_page *out)
{
	enum mk_store_status s = see_appended(st, o);
	struct mk_row *rows;

	if (s == MK_STORE_OK)
		s = rows_get(st, o, ids, n, &rows);
	if (s != MK_STORE_OK)
		return s;
	page_make(st, rows, n, false, out);
	return bodies_read(st, o, out->e, out->n);
}

/* ---- changing -------------------------------------------------------------------------- */

enum mk_store_status text_delete(struct mk_store *st, struct owner o, int64_t id)
{
	struct mk_value key[] = { mk_text(o.domain), mk_text(o.user), mk_int(id) };

	return mk_delete(st, &archive_text, key);
}

/* The row under key gets another text. */
static enum mk_store_status text_put(struct mk_store *st, const struct mk_value *key,
	struct mk_str xml)
{
	enum mk_store_status s = MK_STORE_CONFLICT;
	struct mk_value v[BOX_COLUMNS];
	struct mk_row row;

	for (int tries = 0; tries < 5 && s == MK_STORE_CONFLICT; tries++) {
		s = mk_get(st, &archive_box, key, &row);
		if (s != MK_STORE_OK)
			return s;
		memcpy(v, row.v, sizeof v);
		v[BOX_SIZE] = mk_int((int64_t)xml.n);
		v[BOX_STANZA] = mk_text(xml);
		s = mk_put(st, &archive_box, v, row.version);
	}
	return s;
}

enum mk_store_status box_replace(struct mk_store *st, struct owner o, const struct entry *e,
	struct mk_str xml)
{
	struct mk_value own[] = { mk_text(o.domain), mk_text(o.user), mk_int(e->id) }, peer[3];
	bool has_peer = peer_key(own[0], e->with, e->id, peer);
	enum mk_store_status s = text_delete(st, o, e->id);

	if (has_peer && (s == MK_STORE_OK || s == MK_STORE_NOTFOUND))
		s = mk_delete(st, &archive_text, peer);
	if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
		return s;
	return text_put(st, e->is_shared && has_peer ? peer : own, xml);
}

void box_reflag(struct mk_store *st, struct owner o, const struct entry *e, int64_t flags,
	struct mk_write *w)
{
	struct mk_value row[BOX_COLUMNS] = { mk_text(o.domain), mk_text(o.user), mk_int(e->id),
		mk_text(e->with), mk_int(flags), mk_int(e->size),
		e->is_shared ? mk_absent() : mk_text(e->xml) };
	struct mk_value *kept = mk_arena_alloc(mk_store_arena(st), sizeof row);

	memcpy(kept, row, sizeof row);
	*w = (struct mk_write){ MK_WRITE_PUT, &archive_box, kept, MK_ANY };
}

/* The recipient's row that leads to this one stands alone from now on. */
static enum mk_store_status hand_over(struct mk_store *st, struct owner o, const struct entry *e)
{
	enum mk_store_status s = MK_STORE_CONFLICT;
	struct mk_value key[3], v[BOX_COLUMNS];
	struct mk_row row;

	if (e->is_shared || !(e->flags & BOX_OUT) || e->xml.n == 0 ||
	    !peer_key(mk_text(o.domain), e->with, e->id, key))
		return MK_STORE_OK;
	for (int tries = 0; tries < 5 && s == MK_STORE_CONFLICT; tries++) {
		s = mk_get(st, &archive_box, key, &row);
		if (s == MK_STORE_NOTFOUND || (s == MK_STORE_OK && row.v[BOX_STANZA].type != 0))
			return MK_STORE_OK;
		if (s != MK_STORE_OK)
			return s;
		memcpy(v, row.v, sizeof v);
		v[BOX_STANZA] = mk_text(e->xml);
		s = mk_put(st, &archive_box, v, row.version);
	}
	return s;
}

enum mk_store_status box_delete(struct mk_store *st, struct owner o, const struct entry *e,
	uint32_t n)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_value (*key)[3] = mk_arena_alloc(a, n * sizeof *key + 1);
	struct mk_write *w = mk_arena_alloc(a, n * sizeof *w + 1);
	enum mk_store_status s;

	for (uint32_t k = 0; k < n; k++) {
		key[k][0] = mk_text(o.domain);
		key[k][1] = mk_text(o.user);
		key[k][2] = mk_int(e[k].id);
		w[k] = (struct mk_write){ MK_WRITE_DELETE, &archive_text, key[k], MK_ANY };
	}
	count_forget();
	/* Rows go last, so that what fails is done again. */
	s = mk_batch(st, w, n, NULL);
	for (uint32_t k = 0; s == MK_STORE_OK && k < n; k++)
		s = hand_over(st, o, &e[k]);
	for (uint32_t k = 0; k < n; k++)
		w[k].table = &archive_box;
	return s == MK_STORE_OK ? mk_batch(st, w, n, NULL) : s;
}

/* ---- the service ------------------------------------------------------------------------ */

int code_of(enum mk_store_status s)
{
	switch (s) {
	case MK_STORE_OK:
		return 0;
	case MK_STORE_RETRY:
		return -MK_EAGAIN;
	case MK_STORE_NOTFOUND:
		return -MK_ENOENT;
	case MK_STORE_CONFLICT:
	case MK_STORE_UNCERTAIN:
	case MK_STORE_INVALID:
		break;
	}
	return -MK_EIO;
}

static struct mk_str bare_of(struct mk_str jid)
{
	const char *slash = jid.n != 0 ? memchr(jid.p, '/', jid.n) : NULL;

	return slash != NULL ? (struct mk_str){ jid.p, (size_t)(slash - jid.p) } : jid;
}

void svc_append(struct mk_inst *i, const struct mk_ev_stanza *ev, const struct mk_jid *owner,
	const struct mk_archive_entry *entry)
{
	const struct mam_conf *c = mk_inst_conf(i);
	struct mk_arena *a = mk_turn_arena();
	struct entry e = { .id = entry->id, .with = bare_of(entry->with),
		.xml = mk_elem_write(a, entry->message) };

	box_append(i, ev, owner_of(owner), &e,
		c->search ? words_of(a, entry->message) : MK_STR_NONE);
	mk_metric_add(i, STORED, 1);
}

void entry_out(struct mk_store *st, const struct entry *e, struct mk_archive_entry *out)
{
	struct mk_elem *message = NULL;

	if (e->xml.n != 0 && mk_elem_read(mk_store_arena(st), e->xml, &message) < 0)
		message = NULL;
	*out = (struct mk_archive_entry){ .size = sizeof *out, .id = e->id, .with = e->with,
		.message = message };
}

int svc_recent(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t before,
	uint32_t limit, void (*fn)(void *arg, const struct mk_archive_entry *entry), void *arg)
{
	struct box_range r = { .after = INT64_MIN, .before = before != 0 ? before : INT64_MAX,
		.limit = limit > 1000 ? 1000 : limit, .backward = true };
	struct mk_archive_entry entry;
	struct box_page page;
	enum mk_store_status s;

	(void)i;
	if (limit == 0)
		return 0;
	s = box_read(st, owner_of(owner), &r, &page);
	if (s != MK_STORE_OK)
		return code_of(s);
	for (uint32_t k = page.n; k > 0; k--) {
		entry_out(st, &page.e[k - 1], &entry);
		fn(arg, &entry);
	}
	return (int)page.n;
}

int svc_get(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t id,
	struct mk_archive_entry *out)
{
	struct box_page page;
	enum mk_store_status s = box_get(st, owner_of(owner), &id, 1, &page);

	(void)i;
	if (s != MK_STORE_OK || page.n == 0)
		return s != MK_STORE_OK ? code_of(s) : -MK_ENOENT;
	entry_out(st, &page.e[0], out);
	return 0;
}

int svc_replace(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t id,
	const struct mk_elem *message)
{
	struct owner o = owner_of(owner);
	struct box_page page;
	enum mk_store_status s = box_get(st, o, &id, 1, &page);

	if (s == MK_STORE_OK && page.n == 0)
		s = MK_STORE_NOTFOUND;
	if (s == MK_STORE_OK)
		s = box_replace(st, o, &page.e[0], mk_elem_write(mk_store_arena(st), message));
	if (s == MK_STORE_OK)
		mk_metric_add(i, RETRACTED, 1);
	return code_of(s);
}

int svc_erase(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner)
{
	struct owner o = owner_of(owner);
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) };
	enum mk_store_status s = see_appended(st, o);

	(void)i;
	days_forget();
	count_forget();
	if (s == MK_STORE_OK)
		s = mk_delete_range(st, &archive_days, partition, NULL, NULL);
	if (s == MK_STORE_OK)
		s = mk_delete_range(st, &archive_text, partition, NULL, NULL);
	if (s == MK_STORE_OK)
		s = mk_delete_range(st, &archive_box, partition, NULL, NULL);
	return code_of(s);
}
