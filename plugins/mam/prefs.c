/*
 * mam/prefs.c - whose messages a user wants kept (XEP-0441)
 *
 * Read from storage when first needed, then in memory at the user's home worker: in
 * a slot of the open entity, or, of one who is away, in a small table of the
 * worker, for KEEP_MS. That an entry is there also means that the account exists.
 */
#include <meerkat/svc/roster.h>

#include "mam.h"

#define AWAY      4096                 /* places of a worker's table            */
#define WAYS      4
#define KEEP_MS   (60 * 1000)
#define TEXT_MAX  (64u << 10)          /* of one list                           */

static const struct mk_column columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "dflt", MK_INT, 0 },                 /* enum prefs_default            */
	{ "always", MK_TEXT, 0 },              /* JIDs, one a line              */
	{ "never", MK_TEXT, 0 },
	{ 0 }
};
const struct mk_table archive_prefs = { .size = sizeof archive_prefs, .version = 1,
	.name = "archive_prefs", .columns = columns, .flags = MK_TABLE_OWNED };

static const char *const words[] = { "always", "never", "roster" };

/* ---- in memory ---------------------------------------------------------------------- */

struct away { struct mk_jid *account; mk_usec since; struct prefs p; };
struct table { struct away *place; };
static uint32_t entity_slot, worker_slot;

void prefs_clear(struct prefs *p)
{
	mk_free(p->always);
	mk_free(p->never);
	memset(p, 0, sizeof *p);
}

static void entity_fini(void *data) { prefs_clear(data); }

static void away_clear(struct away *w)
{
	if (w->account != NULL)
		mk_jid_unref(&w->account);
	prefs_clear(&w->p);
}

static void worker_fini(void *data)
{
	struct table *t = data;

	for (uint32_t k = 0; t->place != NULL && k < AWAY; k++)
		away_clear(&t->place[k]);
	mk_free(t->place);
}

int prefs_load(struct mk_module *m)
{
	static const struct mk_slot of_entity = { .size = sizeof of_entity, .scope = MK_SLOT_ENTITY,
		.bytes = sizeof(struct prefs), .fini = entity_fini };
	static const struct mk_slot of_worker = { .size = sizeof of_worker, .scope = MK_SLOT_WORKER,
		.bytes = sizeof(struct table), .fini = worker_fini };
	int r = mk_slot_register(m, &of_entity, &entity_slot);

	return r < 0 ? r : mk_slot_register(m, &of_worker, &worker_slot);
}

static struct away *ways_of(const struct mk_jid *account)
{
	struct table *t = mk_worker_slot(worker_slot);
	struct mk_str bare = mk_jid_bare(account);
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	if (t->place == NULL)
		t->place = mk_alloc(AWAY * sizeof *t->place);
	for (size_t k = 0; k < bare.n; k++)
		h = (h ^ (unsigned char)bare.p[k]) * UINT64_C(0x100000001b3);
	return &t->place[(h >> 20) % (AWAY / WAYS) * WAYS];
}

static struct away *away_find(const struct mk_jid *account)
{
	struct away *w = ways_of(account);

	for (int k = 0; k < WAYS; k++)
		if (w[k].account != NULL && mk_jid_bare_eq(w[k].account, account))
			return &w[k];
	return NULL;
}

static bool is_here(const struct mk_entity *e)
{
	return e != NULL && mk_entity_sessions(e) != NULL;
}

const struct prefs *prefs_peek(const struct mk_entity *e, const struct mk_jid *account)
{
	const struct prefs *p;
	const struct away *w;

	if (is_here(e)) {
		p = mk_entity_slot_peek(e, entity_slot);
		return p != NULL && p->is_known ? p : NULL;
	}
	w = away_find(account);
	return w != NULL && mk_now_usec() - w->since < KEEP_MS * INT64_C(1000) ? &w->p : NULL;
}

const struct prefs *prefs_put(struct mk_entity *e, const struct mk_jid *account, struct prefs *p)
{
	struct away *w;

	p->is_known = true;
	if (is_here(e)) {
		struct prefs *mine = mk_entity_slot(e, entity_slot);
		if ((w = away_find(account)) != NULL)
			away_clear(w);
		prefs_clear(mine);
		*mine = *p;
		memset(p, 0, sizeof *p);
		return mine;
	}
	w = away_find(account);
	if (w == NULL) {
		struct away *ways = ways_of(account);
		w = ways;
		for (int k = 1; k < WAYS; k++)
			if (ways[k].account == NULL || (w->account != NULL && ways[k].since < w->since))
				w = &ways[k];
	}
	away_clear(w);
	w->account = mk_jid_to_bare(account);
	w->since = mk_now_usec();
	w->p = *p;
	memset(p, 0, sizeof *p);
	return &w->p;
}

void prefs_forget(struct mk_entity *e, const struct mk_jid *account)
{
	struct away *w = away_find(account);

	if (w != NULL)
		away_clear(w);
	if (e != NULL && mk_entity_slot_peek(e, entity_slot) != NULL)
		mk_entity_slot_clear(e, entity_slot);
}

/* ---- in storage --------------------------------------------------------------------- */

static char *list_of(const struct mk_value *v)
{
	struct mk_str s = mk_value_str(v);

	return s.n != 0 ? mk_strndup(s.p, s.n) : NULL;
}

enum mk_store_status prefs_read(struct mk_store *st, const struct mk_jid *account,
	struct prefs *out)
{
	struct mk_value key[] = { mk_text(mk_jid_domain(account)), mk_text(mk_jid_local(account)) };
	struct mk_row row;
	enum mk_store_status s = mk_get(st, &archive_prefs, key, &row);

	memset(out, 0, sizeof *out);
	if (s == MK_STORE_NOTFOUND)
		return MK_STORE_OK;
	if (s != MK_STORE_OK)
		return s;
	out->dflt = row.v[2].as.i == PREFS_NEVER || row.v[2].as.i == PREFS_ROSTER
		? (uint8_t)row.v[2].as.i : PREFS_ALWAYS;
	out->always = list_of(&row.v[3]);
	out->never = list_of(&row.v[4]);
	return MK_STORE_OK;
}

static enum mk_store_status prefs_write(struct mk_store *st, const struct mk_jid *account,
	const struct prefs *p)
{
	struct mk_value row[] = { mk_text(mk_jid_domain(account)), mk_text(mk_jid_local(account)),
		mk_int(p->dflt), mk_textz(p->always != NULL ? p->always : ""),
		mk_textz(p->never != NULL ? p->never : "") };

	return mk_put(st, &archive_prefs, row, MK_ANY);
}

/* ---- matching (XEP-0441 2.3) ----------------------------------------------------------- */

static bool line_is(const char *line, size_t n, struct mk_str jid)
{
	return jid.n == n && memcmp(line, jid.p, n) == 0;
}

static bool list_has(const char *list, const struct mk_jid *j)
{
	const char *end;

	for (; list != NULL && (end = strchr(list, '\n')) != NULL; list = end + 1) {
		size_t n = (size_t)(end - list);
		/* One with a resource is compared as it is, a bare one with the bare. */
		if (line_is(list, n, mk_strz(mk_jid_full(j))) || line_is(list, n, mk_jid_bare(j)))
			return true;
	}
	return false;
}

int prefs_want(const struct prefs *p, const struct mk_jid *other)
{
	if (p->never != NULL && list_has(p->never, other))
		return 0;
	if (p->always != NULL && list_has(p->always, other))
		return 1;
	return p->dflt == PREFS_ALWAYS ? 1 : p->dflt == PREFS_NEVER ? 0 : -1;
}

/* ---- asking and changing ---------------------------------------------------------------- */

static void list_add(struct mk_elem *prefs, const char *name, const char *list)
{
	struct mk_elem *e = mk_elem_add(prefs, name, NULL);
	const char *end;

	for (; list != NULL && (end = strchr(list, '\n')) != NULL; list = end + 1)
		mk_elem_add_text(e, "jid", NULL, (struct mk_str){ list, (size_t)(end - list) });
}

static struct mk_elem *prefs_elem(struct mk_arena *a, const struct prefs *p)
{
	struct mk_elem *e = mk_elem_new(a, "prefs", NS_MAM);

	mk_elem_set(e, "default", words[p->dflt]);
	list_add(e, "always", p->always);
	list_add(e, "never", p->never);
	return e;
}

/* Prepared, one a line, each once; 0 or what to answer. */
static uint16_t list_read(const struct mk_elem *prefs, const char *name, char **out)
{
	const struct mk_elem *list = mk_elem_child(prefs, name, NS_MAM);
	size_t n = 0;

	for (struct mk_elem *c = list != NULL ? mk_elem_first(list) : NULL; c != NULL;
	     c = mk_elem_next(c)) {
		struct mk_jid *j;
		if (!mk_elem_is(c, "jid", NS_MAM))
			continue;
		if (mk_jid_parse(mk_elem_text(c), &j) < 0)
			return MK_ERR_JID_MALFORMED;
		size_t more = strlen(mk_jid_full(j));
		if (n + more + 2 > TEXT_MAX) {
			mk_jid_unref(&j);
			return MK_ERR_POLICY_VIOLATION;
		}
		*out = mk_realloc(*out, n + more + 2);
		memcpy(*out + n, mk_jid_full(j), more);
		(*out)[n + more] = '\n';
		(*out)[n + more + 1] = '\0';
		n += more + 1;
		mk_jid_unref(&j);
	}
	return 0;
}

struct change { struct prefs p; };     /* of the request's arena                */

static int job_get(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct prefs p;

	(void)i;
	if (prefs_read(st, mk_iq_to(r), &p) != MK_STORE_OK)
		return -MK_EIO;
	mk_iq_result(r, prefs_elem(mk_iq_arena(r), &p));
	prefs_clear(&p);
	return 0;
}

static int job_set(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct change *c = *mk_iq_data(r);

	(void)i;
	return prefs_write(st, mk_iq_to(r), &c->p) == MK_STORE_OK ? 0 : -MK_EIO;
}

static void set_done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	struct change *c = *mk_iq_data(r);
	struct mk_elem *e = prefs_elem(mk_iq_arena(r), &c->p);
	struct mk_entity *entity = mk_entity_find(mk_iq_to(r));

	(void)i;
	if (err != 0) {
		/* Nobody knows what stands there now. */
		prefs_forget(entity, mk_iq_to(r));
		prefs_clear(&c->p);
		return;
	}
	prefs_put(entity, mk_iq_to(r), &c->p);
	mk_iq_result(r, e);
}

enum mk_verdict on_prefs(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct mam_conf *conf = mk_inst_conf(i);
	const struct mk_elem *e = mk_iq_payload(r);
	const char *dflt = mk_elem_attr(e, "default");
	struct mk_inst *roster;
	struct change *c;
	uint16_t error;

	if (!conf->preferences || !mk_jid_bare_eq(mk_iq_from(r), mk_iq_to(r))) {
		mk_iq_error(r, conf->preferences ? MK_ERR_FORBIDDEN : MK_ERR_FEATURE_NOT_IMPLEMENTED,
			NULL);
		return MK_DONE;
	}
	if (!mk_iq_is_set(r))
		return mk_iq_job(r, job_get);
	c = mk_arena_alloc(mk_iq_arena(r), sizeof *c);
	*mk_iq_data(r) = c;
	error = MK_ERR_BAD_REQUEST;
	for (uint8_t k = 0; k < 3; k++)
		if (mk_streq(dflt, words[k])) {
			c->p.dflt = k;
			error = 0;
		}
	if (error == 0 && c->p.dflt == PREFS_ROSTER && mk_service_get(i, "roster", 1, &roster) == NULL)
		error = MK_ERR_FEATURE_NOT_IMPLEMENTED;
	if (error == 0)
		error = list_read(e, "always", &c->p.always);
	if (error == 0)
		error = list_read(e, "never", &c->p.never);
	if (error != 0) {
		prefs_clear(&c->p);
		mk_iq_error(r, error, NULL);
		return MK_DONE;
	}
	return mk_iq_job_then(r, job_set, set_done);
}
