/*
 * mam/keep.c - old messages go: by age, and by a user's quota
 *
 * A walk over all owners of boxes, a few at a time (mk_every, so in a job, never two
 * at once), that begins again PAUSE_MS after it came to the end. Rows are deleted in
 * batches, the oldest first, so that an archive has no holes. What goes because of one
 * user's quota the other's row takes over.
 */
#include "mam.h"

#define OWNERS   200                   /* in a step                             */
#define BATCH    500
#define BATCHES  40                    /* deletions in a step                   */
#define PAUSE_MS (60 * 60 * 1000)

struct keep {
	char *domain, *user;           /* the owner that comes next after these; NULL =
	                                * from the beginning                    */
	mk_usec next;                  /* when the walk begins again            */
};

struct keep *keep_new(void) { return mk_alloc(sizeof(struct keep)); }

static void rewind_walk(struct keep *k)
{
	mk_free(k->domain);
	mk_free(k->user);
	memset(k, 0, sizeof *k);
}

void keep_free(struct keep **k)
{
	if (*k == NULL)
		return;
	rewind_walk(*k);
	mk_free(*k);
	*k = NULL;
}

/* The settings are a host type's; rows are there of all. */
static bool is_ours(const struct mk_inst *i, struct mk_str domain)
{
	const char *type;
	struct mk_jid *j;

	if (mk_jid_parse(domain, &j) < 0)
		return false;
	type = mk_domain_type(j);
	mk_jid_unref(&j);
	return type != NULL && strcmp(type, mk_inst_type(i)) == 0;
}

/* Deletes the oldest, up to a batch, of those with ids below before; how many. */
static enum mk_store_status drop_oldest(struct mk_store *st, struct owner o, int64_t before,
	bool is_old, uint32_t *n)
{
	struct box_range r = { .after = INT64_MIN, .before = before, .limit = BATCH };
	struct mk_value partition[] = { mk_text(o.domain), mk_text(o.user) }, bound = mk_int(before);
	struct mk_range range = { .size = sizeof range, .before = &bound, .limit = BATCH };
	struct box_page page;
	enum mk_store_status s;
	uint64_t deleted = 0;

	*n = 0;
	if (is_old) {
		/* The other's row is as old. */
		s = mk_delete_range(st, &archive_text, partition, &range, NULL);
		if (s == MK_STORE_OK)
			s = mk_delete_range(st, &archive_box, partition, &range, &deleted);
		*n = (uint32_t)deleted;
		return s;
	}
	s = box_rows(st, o, &r, &page);
	if (s == MK_STORE_OK && page.n != 0)
		s = box_delete(st, o, page.e, page.n);
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
	int64_t before = c->retention != 0 ? mk_uid_at(mk_wall_ms() - c->retention) : INT64_MIN;
	enum mk_store_status s = MK_STORE_OK;
	uint32_t n = 1;

	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1) {
			before = INT64_MIN;
			if (c->quota != 0 || c->quota_messages != 0)
				s = over_quota(st, o, c, &before);
		}
		for (n = BATCH; s == MK_STORE_OK && n == BATCH && before != INT64_MIN && *batches > 0;
		     (*batches)--) {
			s = drop_oldest(st, o, before, pass == 0, &n);
			if (s == MK_STORE_OK && n != 0)
				mk_metric_add(i, pass == 0 ? EXPIRED : OVER_QUOTA, n);
		}
		if (s == MK_STORE_OK && before != INT64_MIN)
			s = days_delete(st, o, before);
	}
	return s == MK_STORE_OK && *batches > 0;
}

static void keep_place(struct keep *k, const struct mk_row *row)
{
	struct mk_str domain = mk_value_str(&row->v[0]), user = mk_value_str(&row->v[1]);

	mk_free(k->domain);
	mk_free(k->user);
	k->domain = mk_strndup(domain.p, domain.n);
	k->user = mk_strndup(user.p, user.n);
}

/* True: to be gone on with in the next step. */
static bool walk_owners(struct mk_inst *i, struct mk_store *st, struct keep *k,
	const struct mam_conf *c)
{
	uint32_t batches = BATCHES;

	for (uint32_t n = 0; n < OWNERS; n++) {
		struct mk_value last[3];
		struct mk_rows rows;
		if (k->domain != NULL) {
			last[0] = mk_textz(k->domain);
			last[1] = mk_textz(k->user);
			last[2] = mk_int(INT64_MAX);
		}
		if (mk_scan(st, &archive_box, MK_STR_NONE, k->domain != NULL ? last : NULL, 1,
		    &rows) != MK_STORE_OK)
			return true;
		if (rows.n == 0)
			return false;
		struct owner o = { mk_value_str(&rows.row[0].v[0]), mk_value_str(&rows.row[0].v[1]) };
		if (is_ours(i, o.domain) && !keep_owner(i, st, o, c, &batches))
			return true;           /* this owner again                      */
		keep_place(k, &rows.row[0]);
	}
	return true;
}

void keep_step(struct mk_inst *i, struct mk_store *st)
{
	const struct mam_conf *c = mk_inst_conf(i);
	struct keep *k = ((struct mam *)mk_inst_data(i))->keep;

	if ((c->retention == 0 && c->quota == 0 && c->quota_messages == 0) ||
	    mk_now_usec() < k->next)
		return;
	if (walk_owners(i, st, k, c))
		return;
	rewind_walk(k);
	k->next = mk_now_usec() + PAUSE_MS * INT64_C(1000);
}
