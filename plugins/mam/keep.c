/*
 * mam/keep.c - old messages go: by age, and by a user's quota
 *
 * A round of walks, a step at a time (mk_every, so in a job, never two at once), that
 * begins again PAUSE_MS after it came to the end. What is too old goes by mk_expire,
 * which drops partitions where the backend has some: first what is found by search, then
 * the messages, then the days on which there are none any more. For quotas all owners
 * are walked over. Rows go in batches, the oldest first, so that an archive has no holes.
 * What goes because of one user's quota the other's row takes over; what goes by age is as
 * old in both.
 */
#include "mam.h"

#define OWNERS   200                   /* in a step                             */
#define BATCH    500
#define BATCHES  40                    /* deletions in a step                   */
#define PAUSE_MS (60 * 60 * 1000)

enum phase { TEXT, BOX, DAYS, QUOTA, END };

#define PLACE 4                        /* values of a place, at most            */
struct keep {
	enum phase phase;
	int64_t before;                /* ids of the round that are too old     */
	int64_t days_done;             /* the day before which none are left    */
	mk_usec next;                  /* when the next round begins            */
	/* Where the walk stands: n values, of texts copies; 0: it begins. */
	struct mk_value place[PLACE];
	uint32_t n;
};

struct keep *keep_new(void) { return mk_alloc(sizeof(struct keep)); }

static void place_clear(struct keep *k)
{
	for (uint32_t i = 0; i < k->n; i++)
		if (k->place[i].type == MK_TEXT)
			mk_free((void *)(uintptr_t)k->place[i].as.b.p);
	k->n = 0;
}

static void place_set(struct keep *k, const struct mk_value *v, uint32_t n)
{
	if (v == k->place)
		return;
	place_clear(k);
	for (uint32_t i = 0; i < n; i++) {
		struct mk_str s = mk_value_str(&v[i]);
		k->place[i] = v[i];
		if (v[i].type == MK_TEXT)
			k->place[i].as.b.p = mk_strndup(s.p, s.n);
	}
	k->n = n;
}

static const struct mk_value *place_get(const struct keep *k)
{
	return k->n != 0 ? k->place : NULL;
}

void keep_free(struct keep **k)
{
	if (*k == NULL)
		return;
	place_clear(*k);
	mk_free(*k);
	*k = NULL;
}

/* The settings are a host type's; rows are there of all. */
static bool is_ours(void *arg, struct mk_str domain)
{
	const struct mk_inst *i = arg;
	const char *type;
	struct mk_jid *j;

	if (mk_jid_parse(domain, &j) < 0)
		return false;
	type = mk_domain_type(j);
	mk_jid_unref(&j);
	return type != NULL && strcmp(type, mk_inst_type(i)) == 0;
}

/* ---- quotas ------------------------------------------------------------------------- */

/* Deletes the oldest, up to a batch, of those with ids below before; how many. */
static enum mk_store_status drop_oldest(struct mk_store *st, struct owner o, int64_t before,
	uint32_t *n)
{
	struct box_range r = { .after = INT64_MIN, .before = before, .limit = BATCH };
	struct box_page page;
	enum mk_store_status s = box_rows(st, o, &r, &page);

	*n = 0;
	if (s == MK_STORE_OK && page.n != 0)
		s = box_delete(st, o, page.e, page.n);
	if (s == MK_STORE_OK)
		*n = page.n;
	return s;
}

/* The id below which the owner's messages are over the quota; INT64_MIN: none. */
static enum mk_store_status over_quota(struct mk_store *st, struct owner o,
	const struct mam_conf *c, int64_t *before)
{
	struct box_range r = { .after = INT64_MIN, .before = INT64_MAX, .limit = 1000,
		.backward = true };
	struct box_page page = { .more = true };
	int64_t bytes = 0, n = 0;
	enum mk_store_status s;

	*before = INT64_MIN;
	while (page.more) {
		s = box_rows(st, o, &r, &page);
		if (s != MK_STORE_OK)
			return s;
		for (uint32_t k = 0; k < page.n; k++) {
			bytes += page.e[k].size;
			n++;
			if ((c->quota_messages != 0 && n > c->quota_messages) ||
			    (c->quota != 0 && bytes > c->quota)) {
				*before = page.e[k].id + 1;
				return MK_STORE_OK;
			}
			r.before = page.e[k].id;
		}
		if (page.n == 0)
			break;
	}
	return MK_STORE_OK;
}

/* True: nothing more to be done here for now. */
static bool keep_owner(struct mk_inst *i, struct mk_store *st, struct owner o,
	const struct mam_conf *c, uint32_t *batches)
{
	int64_t before;
	enum mk_store_status s = over_quota(st, o, c, &before);
	uint32_t n = BATCH;

	if (before == INT64_MIN)
		return s == MK_STORE_OK;
	for (; s == MK_STORE_OK && n == BATCH && *batches > 0; (*batches)--) {
		s = drop_oldest(st, o, before, &n);
		mk_metric_add(i, OVER_QUOTA, n);
	}
	if (s == MK_STORE_OK)
		s = days_delete_of(st, o, before);
	return s == MK_STORE_OK && *batches > 0;
}

/* True: to be gone on with in the next step. */
static bool walk_owners(struct mk_inst *i, struct mk_store *st, struct keep *k,
	const struct mam_conf *c)
{
	uint32_t batches = BATCHES;

	for (uint32_t n = 0; n < OWNERS; n++) {
		struct mk_rows rows;
		if (mk_scan(st, &archive_box, MK_STR_NONE, place_get(k), 1, &rows) != MK_STORE_OK)
			return true;
		if (rows.n == 0)
			return false;
		const struct mk_value *v = rows.row[0].v;
		struct owner o = { mk_value_str(&v[0]), mk_value_str(&v[1]) };
		if (is_ours(i, o.domain) && !keep_owner(i, st, o, c, &batches))
			return true;           /* this owner again                      */
		struct mk_value last[] = { v[0], v[1], mk_int(INT64_MAX) };
		place_set(k, last, 3);
	}
	return true;
}

/* ---- age ---------------------------------------------------------------------------- */

static bool expire(struct mk_inst *i, struct mk_store *st, struct keep *k)
{
	const struct mk_table *t = k->phase == TEXT ? &archive_text : &archive_box;
	struct mk_expiry e = { .size = sizeof e, .before = k->before, .wanted = is_ours, .arg = i,
		.after = place_get(k) };

	if (mk_expire(st, t, &e) != MK_STORE_OK)
		return true;
	if (k->phase == BOX && e.rows != 0)
		mk_metric_add(i, EXPIRED, e.rows);
	place_set(k, e.after, e.after != NULL ? 2 : 0);
	return e.more;
}

/* Once a day: they are by day. */
static bool walk_days(struct mk_inst *i, struct mk_store *st, struct keep *k)
{
	int64_t day = mk_uid_wall_ms(k->before) / (24 * 60 * 60 * 1000);
	const struct mk_value *after = place_get(k);
	bool more;

	if (k->days_done == day)
		return false;
	if (days_delete(st, k->before, is_ours, i, &after, &more) != MK_STORE_OK)
		return true;
	if (!more)
		k->days_done = day;
	place_set(k, after, more ? 4 : 0);
	return more;
}

/* ---- rounds ------------------------------------------------------------------------- */

/* A step of what the round is at; true: there are more. */
static bool walk(struct mk_inst *i, struct mk_store *st, struct keep *k, const struct mam_conf *c)
{
	switch (k->phase) {
	case TEXT:
	case BOX:
		return c->retention != 0 && expire(i, st, k);
	case DAYS:
		return c->retention != 0 && walk_days(i, st, k);
	case QUOTA:
		return (c->quota != 0 || c->quota_messages != 0) && walk_owners(i, st, k, c);
	case END:
		break;
	}
	return false;
}

void keep_step(struct mk_inst *i, struct mk_store *st)
{
	const struct mam_conf *c = mk_inst_conf(i);
	struct keep *k = ((struct mam *)mk_inst_data(i))->keep;

	if (mk_now_usec() < k->next)
		return;
	if (k->phase == TEXT && k->n == 0)
		k->before = mk_uid_at(mk_wall_ms() - c->retention);
	while (k->phase < END && !walk(i, st, k, c)) {
		place_clear(k);
		k->phase++;
	}
	if (k->phase < END)
		return;
	k->phase = TEXT;
	k->next = mk_now_usec() + PAUSE_MS * INT64_C(1000);
}
