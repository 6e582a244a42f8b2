/*
 * mam/waits.c - what is to be delivered when its recipient comes (XEP-0160)
 *
 * A message that comes while its recipient has no session is appended with BOX_WAITS;
 * one that a session gives back, or that came to sessions that don't take messages, is
 * marked later, in a job. What has been delivered is what is not behind the account's
 * cursor: delivering writes nothing else. There is a cursor for each node that appends,
 * as ids of different nodes need not become visible in their order.
 *
 * What the journal hands back at start may have its row already, as one that does not
 * wait. There may be thousands: such messages stand in a list, which keeps them in the
 * journal, and are marked in batches. Who looks at what waits marks the account's first.
 *
 * The account's home; jobs hold the account, but for the one that goes through the list.
 */
#include <pthread.h>
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

/* ---- what the journal handed back ------------------------------------------------------- */

#define BATCH   500
#define BATCHES 20                     /* of a job                              */
#define AGAIN_MS 1000                  /* storage was away                      */

struct late {
	struct late *next;
	struct mk_jid *account;        /* ref                                   */
	struct mk_stanza *stanza;      /* ref: the journal has it meanwhile     */
};
struct waits {
	_Atomic uint32_t refs;         /* the instance's, and a job's: done may come
	                                * after stop()                          */
	pthread_mutex_t lock;
	pthread_cond_t marked;         /* busy was cleared                      */
	struct late *first, **end;     /* in the order in which they came       */
	const struct mk_jid *busy;     /* whose are being marked by the job     */
	bool has_job;                  /* or a timer that starts it             */
	bool ran, failed;              /* the job's, for its done               */
};

struct waits *waits_new(void)
{
	struct waits *w = mk_alloc(sizeof *w);

	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->marked, NULL);
	w->end = &w->first;
	w->refs = 1;
	return w;
}

static void late_free(struct late *l)
{
	while (l != NULL) {
		struct late *next = l->next;
		mk_stanza_unref(&l->stanza);
		mk_jid_unref(&l->account);
		mk_free(l);
		l = next;
	}
}

static void waits_unref(struct waits *w)
{
	if (atomic_fetch_sub(&w->refs, 1) != 1)
		return;
	pthread_cond_destroy(&w->marked);
	pthread_mutex_destroy(&w->lock);
	mk_free(w);
}

void waits_free(struct waits **w)
{
	struct late *l;

	if (*w == NULL)
		return;
	pthread_mutex_lock(&(*w)->lock);
	l = (*w)->first;
	(*w)->first = NULL;
	(*w)->end = &(*w)->first;
	pthread_mutex_unlock(&(*w)->lock);
	late_free(l);
	waits_unref(*w);
	*w = NULL;
}

static struct waits *waits_of(struct mk_inst *i)
{
	return ((struct mam *)mk_inst_data(i))->waits;
}

/* Takes up to n of an account's out of the list; with the lock. */
static struct late *late_take(struct waits *w, const struct mk_jid *account, uint32_t n)
{
	struct late *taken = NULL, **end = &taken, **at = &w->first;

	while (*at != NULL && n > 0) {
		struct late *l = *at;
		if (!mk_jid_bare_eq(l->account, account)) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		if (w->end == &l->next)
			w->end = at;
		l->next = NULL;
		*end = l;
		end = &l->next;
		n--;
	}
	return taken;
}

static void late_give_back(struct waits *w, struct late *l)
{
	struct late **end = &l;

	while (*end != NULL)
		end = &(*end)->next;
	*end = w->first;
	if (w->first == NULL)
		w->end = end;
	w->first = l;
}

static enum mk_store_status go_back(struct mk_store *st, struct owner o, const struct entry *e,
	int64_t cursor);

static int id_order(const void *pa, const void *pb)
{
	const int64_t *a = pa, *b = pb;

	return *a < *b ? -1 : *a > *b;
}

/* Marks those of one account, up to BATCH. */
static enum mk_store_status late_mark(struct mk_store *st, const struct mk_jid *account,
	const struct late *l)
{
	struct owner o = owner_of_account(account);
	struct mk_write *w = mk_arena_alloc(mk_store_arena(st), BATCH * sizeof *w);
	int64_t ids[BATCH];
	struct box_page page;
	struct cursors c;
	enum mk_store_status s;
	uint32_t n = 0, m = 0;
	bool went_back = false;

	for (; l != NULL && n < BATCH; l = l->next)
		ids[n++] = mk_stanza_uid(l->stanza);
	/* The first goes back the farthest. */
	qsort(ids, n, sizeof *ids, id_order);
	s = box_get(st, o, ids, n, &page);
	if (s == MK_STORE_OK)
		s = cursors_read(st, o, &c);
	for (uint32_t k = 0; s == MK_STORE_OK && k < page.n; k++) {
		const struct entry *e = &page.e[k];
		int64_t cursor = cursor_of(&c, node_of(e->id));
		if (e->id <= cursor) {
			s = go_back(st, o, e, cursor);
			if (s == MK_STORE_OK)
				s = cursors_read(st, o, &c);
			went_back = true;
		} else if (went_back || !(e->flags & BOX_WAITS)) {
			/* Going back took the mark from those behind. */
			box_reflag(st, o, e, e->flags | BOX_WAITS, &w[m++]);
		}
	}
	return s == MK_STORE_OK && m != 0 ? mk_batch(st, w, m, NULL) : s;
}

static void late_job(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct waits *w = waits_of(i);
	enum mk_store_status s = MK_STORE_OK;

	(void)data;
	pthread_mutex_lock(&w->lock);
	w->ran = true;
	for (int k = 0; k < BATCHES && s == MK_STORE_OK && w->first != NULL; k++) {
		struct late *l = late_take(w, w->first->account, BATCH);
		w->busy = l->account;
		pthread_mutex_unlock(&w->lock);
		s = late_mark(st, l->account, l);
		pthread_mutex_lock(&w->lock);
		w->busy = NULL;
		if (s != MK_STORE_OK) {
			late_give_back(w, l);
			l = NULL;
		}
		pthread_cond_broadcast(&w->marked);
		pthread_mutex_unlock(&w->lock);
		late_free(l);
		pthread_mutex_lock(&w->lock);
	}
	w->failed = s != MK_STORE_OK;
	pthread_mutex_unlock(&w->lock);
}

static void late_done(struct mk_inst *i, void *data);

/* mk_timer_fn, too. */
static void late_start(struct mk_inst *i, void *data)
{
	struct waits *w = data;

	atomic_fetch_add(&w->refs, 1);
	mk_job(i, late_job, late_done, w);
}

static void late_done(struct mk_inst *i, void *data)
{
	struct waits *w = data;
	bool failed, more;

	pthread_mutex_lock(&w->lock);
	/* If it did not run, the instance stops. */
	more = w->has_job = w->ran && w->first != NULL;
	failed = w->failed;
	w->ran = false;
	pthread_mutex_unlock(&w->lock);
	if (more && failed)
		mk_timer_start(i, AGAIN_MS, late_start, w);
	else if (more)
		late_start(i, w);
	waits_unref(w);
}

void waits_late(struct mk_inst *i, const struct mk_ev_stanza *ev)
{
	struct waits *w = waits_of(i);
	struct late *l;
	bool starts;

	if (mk_stanza_uid(ev->stanza) > first_id)
		return;
	l = mk_alloc(sizeof *l);
	l->account = mk_jid_to_bare(ev->to);
	l->stanza = mk_stanza_ref(ev->stanza);
	pthread_mutex_lock(&w->lock);
	*w->end = l;
	w->end = &l->next;
	starts = !w->has_job;
	w->has_job = true;
	pthread_mutex_unlock(&w->lock);
	if (starts)
		late_start(i, w);
}

/* In a job that holds the account: none of it is in the list when this returns. */
static enum mk_store_status late_settle(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *account)
{
	struct waits *w = waits_of(i);
	enum mk_store_status s = MK_STORE_OK;
	struct late *l;

	pthread_mutex_lock(&w->lock);
	while (w->busy != NULL && mk_jid_bare_eq(w->busy, account))
		pthread_cond_wait(&w->marked, &w->lock);
	while (s == MK_STORE_OK && w->first != NULL &&
	       (l = late_take(w, account, BATCH)) != NULL) {
		pthread_mutex_unlock(&w->lock);
		s = late_mark(st, account, l);
		pthread_mutex_lock(&w->lock);
		if (s != MK_STORE_OK)
			late_give_back(w, l);
		else
			late_free(l);
	}
	pthread_mutex_unlock(&w->lock);
	return s;
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
	enum mk_store_status s = late_settle(i, st, account);

	if (s == MK_STORE_OK)
		s = box_get(st, o, &id, 1, &page);
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
	enum mk_store_status s = late_settle(i, st, account);
	uint32_t n = 0;

	if (s == MK_STORE_OK && after == 0)
		s = cursors_read(st, o, &c);
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
