/*
 * mam/query.c - asking an archive (XEP-0313 4, 5; XEP-0059; XEP-0431)
 *
 * A request is read on the worker, answered with an error there if it is wrong,
 * and else goes to a job that holds nobody: it reads a page and makes the results,
 * and the worker sends them, and then <fin/>. What lives from one to the other is
 * in the request's arena. A page ends at PAGE_BYTES, whatever the asker wanted:
 * that, and OPEN_MAX, bound what one asker can make us hold.
 */
#include "mam.h"

#define PAGE_BYTES  (256u << 10)
#define OPEN_MAX    10                 /* pages under way of one session        */
#define UNSENT_MAX  (512u << 10)       /* of a client that doesn't read         */
#define IDS_MAX     100
#define SKIP_MAX    1000
#define READ_MAX    200                /* rows at once, when some are filtered  */

struct query {
	const struct mk_inst *inst;    /* mam's; not to be used                 */
	struct mk_jid *owner;          /* ref; bare                             */
	const char *queryid;           /* or NULL                               */
	struct box_range range;        /* the page is in it                     */
	struct box_range set;          /* of all results (XEP-0059)             */
	const struct mk_jid *with;     /* full: more than the index knows; ref  */
	int64_t known[4];              /* ids that must be there                */
	uint32_t known_n;
	int64_t *ids;                  /* or NULL: these                        */
	uint32_t ids_n;
	uint32_t max;
	bool is_count, is_flipped;
	bool is_first;                 /* the page begins with the set          */
	bool is_last;                  /* it ends with the set                  */
	int64_t start;                 /* the index asked for, or -1            */
	int64_t edge;                  /* the id before or after the page, or 0 */
	bool has_groupchat;            /* there may be some                     */
	int groupchat;                 /* 0 without, 1 with, -1 not said        */
	mk_archive_view_fn *view;
	void *view_arg;
	struct mk_session *session;    /* counted in its slot, or NULL; borrowed */
	/* the job's */
	struct mk_stanza **result;     /* max of them                           */
	int64_t *result_id;
	uint32_t n;
	bool is_complete;
	uint64_t count;
	int64_t index;                 /* of the first; -1 = not known          */
	bool has_count;
	uint16_t error;
};

/* ---- reading the request ----------------------------------------------------------- */

/* An id of ours; false: no such thing can be in an archive. */
static bool id_parse(struct mk_str s, int64_t *out)
{
	return mk_parse_int(s, 1, INT64_MAX, out) == 0;
}

static uint16_t known_add(struct query *q, struct mk_str text, int64_t *id)
{
	if (!id_parse(text, id))
		return MK_ERR_ITEM_NOT_FOUND;
	q->known[q->known_n++] = *id;
	return 0;
}

static void after(struct query *q, int64_t id)
{
	if (id > q->range.after)
		q->range.after = id;
}

static void before(struct query *q, int64_t id)
{
	if (id < q->range.before)
		q->range.before = id;
}

static uint16_t read_with(struct query *q, struct mk_str value, struct mk_arena *a)
{
	struct mk_jid *j;
	struct mk_str bare;

	if (mk_jid_parse(value, &j) < 0)
		return MK_ERR_JID_MALFORMED;
	bare = mk_jid_bare(j);
	q->range.with.p = mk_arena_strndup(a, bare.p, bare.n);
	q->range.with.n = bare.n;
	if (q->with != NULL)
		mk_jid_unref((struct mk_jid **)&q->with);
	if (mk_jid_is_bare(j))
		mk_jid_unref(&j);
	else
		q->with = j;
	return 0;
}

static uint16_t read_time(struct query *q, struct mk_str value, bool is_start)
{
	int64_t ms;

	if (mk_time_parse(value, &ms) < 0)
		return MK_ERR_BAD_REQUEST;
	if (is_start)
		after(q, mk_uid_at(ms) - 1);
	else
		before(q, mk_uid_at(ms + 1));
	return 0;
}

static uint16_t read_ids(struct query *q, const struct mk_elem *field, struct mk_arena *a)
{
	q->ids = mk_arena_alloc(a, IDS_MAX * sizeof *q->ids);
	for (struct mk_elem *v = mk_elem_first(field); v != NULL; v = mk_elem_next(v)) {
		if (!mk_elem_is(v, "value", NS_DATA))
			continue;
		if (q->ids_n == IDS_MAX)
			return MK_ERR_POLICY_VIOLATION;
		if (!id_parse(mk_elem_text(v), &q->ids[q->ids_n]))
			return MK_ERR_ITEM_NOT_FOUND;
		q->ids_n++;
	}
	return 0;
}

static uint16_t read_field(struct query *q, const struct mk_elem *field, struct mk_arena *a,
	bool has_search)
{
	const char *var = mk_elem_attr(field, "var");
	struct mk_str value = mk_elem_child_text(field, "value", NS_DATA);
	uint16_t error;
	int64_t id;

	if (var == NULL)
		return MK_ERR_BAD_REQUEST;
	if (mk_streq(var, "FORM_TYPE"))
		return mk_str_eqz(value, NS_MAM) ? 0 : MK_ERR_BAD_REQUEST;
	if (mk_streq(var, "with"))
		return read_with(q, value, a);
	if (mk_streq(var, "start") || mk_streq(var, "end"))
		return read_time(q, value, mk_streq(var, "start"));
	if (mk_streq(var, "after-id") || mk_streq(var, "before-id")) {
		if (q->known_n == 2)
			return MK_ERR_BAD_REQUEST;     /* said twice                    */
		if ((error = known_add(q, value, &id)) != 0)
			return error;
		if (mk_streq(var, "after-id"))
			after(q, id);
		else
			before(q, id);
		return 0;
	}
	if (mk_streq(var, "ids"))
		return q->ids == NULL ? read_ids(q, field, a) : MK_ERR_BAD_REQUEST;
	if (mk_streq(var, "include-groupchat")) {
		q->groupchat = mk_str_eqz(value, "true") || mk_str_eqz(value, "1");
		return 0;
	}
	if (mk_streq(var, VAR_FULLTEXT) && has_search) {
		/* XEP-0431 2.2: if it is not empty. */
		if (value.n != 0)
			q->range.search = mk_arena_strndup(a, value.p, value.n);
		return 0;
	}
	return MK_ERR_FEATURE_NOT_IMPLEMENTED;         /* 4.1.6                 */
}

static uint16_t read_form(struct query *q, const struct mk_elem *payload, struct mk_arena *a,
	bool has_search)
{
	const struct mk_elem *x = mk_elem_child(payload, "x", NS_DATA);
	bool has_type = false;
	uint16_t error = 0;

	if (x == NULL)
		return 0;
	if (!mk_streq(mk_elem_attr(x, "type"), "submit"))
		return MK_ERR_BAD_REQUEST;
	for (struct mk_elem *f = mk_elem_first(x); f != NULL && error == 0; f = mk_elem_next(f)) {
		if (!mk_elem_is(f, "field", NS_DATA))
			continue;
		has_type |= mk_streq(mk_elem_attr(f, "var"), "FORM_TYPE");
		error = read_field(q, f, a, has_search);
	}
	return error != 0 ? error : has_type ? 0 : MK_ERR_BAD_REQUEST;
}

static uint16_t read_set(struct query *q, const struct mk_elem *payload)
{
	const struct mk_elem *set = mk_elem_child(payload, "set", NS_RSM), *c;
	uint16_t error;
	int64_t n;

	q->set = q->range;
	q->is_first = true;
	if (set == NULL)
		return 0;
	if ((c = mk_elem_child(set, "max", NS_RSM)) != NULL) {
		if (mk_parse_int(mk_elem_text(c), 0, INT64_MAX, &n) < 0)
			return MK_ERR_BAD_REQUEST;
		q->is_count = n == 0;
		if (n < q->max)
			q->max = (uint32_t)n;
	}
	if ((c = mk_elem_child(set, "index", NS_RSM)) != NULL) {
		if (mk_parse_int(mk_elem_text(c), 0, INT64_MAX, &q->start) < 0 ||
		    mk_elem_child(set, "after", NS_RSM) != NULL ||
		    mk_elem_child(set, "before", NS_RSM) != NULL)
			return MK_ERR_BAD_REQUEST;
		q->is_first = q->start == 0;
	}
	if ((c = mk_elem_child(set, "after", NS_RSM)) != NULL) {
		if ((error = known_add(q, mk_elem_text(c), &n)) != 0)
			return error;
		after(q, n);
		q->edge = n;
		q->is_first = false;
	}
	if ((c = mk_elem_child(set, "before", NS_RSM)) != NULL) {
		q->range.backward = true;
		q->is_last = mk_elem_text(c).n == 0 && !q->edge;
		q->is_first = false;
		if (mk_elem_text(c).n == 0)
			return 0;
		if ((error = known_add(q, mk_elem_text(c), &n)) != 0)
			return error;
		before(q, n);
		q->edge = n;
	}
	return 0;
}

/* ---- the job ------------------------------------------------------------------------ */

static bool jid_is(const char *attr, const struct mk_jid *j)
{
	return attr != NULL && strcmp(attr, mk_jid_full(j)) == 0;
}

/* What the index does not tell. */
static bool matches(const struct query *q, const struct entry *e, const struct mk_elem *message)
{
	if (q->groupchat == 0 && (e->flags & BOX_GROUPCHAT))
		return false;
	if (q->with == NULL)
		return true;
	return message != NULL && (jid_is(mk_elem_attr(message, "from"), q->with) ||
		jid_is(mk_elem_attr(message, "to"), q->with));
}

/* One result, if the entry is one; how many bytes. */
static size_t result_make(struct query *q, struct mk_iq_req *r, const struct entry *e)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, q->owner, mk_iq_from(r));
	struct mk_arena *a = mk_stanza_arena(s);
	struct mk_elem *message = NULL, *x;
	char stamp[32], id[24];

	/* One that can't be read is a hole: XEP-0313 3.2 lets it stay away. */
	if (e->xml.n != 0 && mk_elem_read(a, e->xml, &message) < 0)
		message = NULL;
	if (!matches(q, e, message)) {
		mk_stanza_unref(&s);
		return 0;
	}
	if (message != NULL && q->view != NULL)
		q->view(q->view_arg, e->id, message);
	x = mk_elem_add(mk_stanza_root(s), "result", NS_MAM);
	if (q->queryid != NULL)
		mk_elem_set(x, "queryid", q->queryid);
	snprintf(id, sizeof id, "%lld", (long long)e->id);
	mk_elem_set(x, "id", id);
	x = mk_elem_add(x, "forwarded", NS_FORWARD);
	mk_time_format(stamp, mk_uid_wall_ms(e->id));
	mk_elem_set(mk_elem_add(x, "delay", NS_DELAY), "stamp", stamp);
	if (message != NULL)
		mk_elem_adopt(x, message);
	q->result[q->n] = s;
	q->result_id[q->n++] = e->id;
	return e->xml.n + 300;
}

static enum mk_store_status read_known(struct query *q, struct mk_store *st, struct owner o)
{
	struct box_page page;
	enum mk_store_status s;

	if (q->known_n == 0)
		return MK_STORE_OK;
	s = box_get(st, o, q->known, q->known_n, &page);
	return s != MK_STORE_OK ? s : page.n == q->known_n ? s : MK_STORE_NOTFOUND;
}

static int id_order(const void *pa, const void *pb)
{
	const int64_t *a = pa, *b = pb;

	return *a < *b ? -1 : *a > *b;
}

/* Whether rows tell all that is asked for, so that they can be counted. */
static bool is_exact(const struct query *q)
{
	return q->with == NULL && (q->groupchat != 0 || !q->has_groupchat);
}

static bool can_count(const struct query *q)
{
	return is_exact(q) && q->ids == NULL;
}

/* Results were made from the last to the first. */
static void turn_around(struct query *q)
{
	for (uint32_t x = 0, y = q->n; x + 1 < y; x++) {
		struct mk_stanza *t = q->result[x];
		int64_t id = q->result_id[x];
		y--;
		q->result[x] = q->result[y];
		q->result_id[x] = q->result_id[y];
		q->result[y] = t;
		q->result_id[y] = id;
	}
}

static bool is_between(int64_t id, const struct box_range *r)
{
	return id > r->after && id < r->before;
}

static enum mk_store_status read_these(struct query *q, struct mk_iq_req *r, struct mk_store *st,
	struct owner o)
{
	struct box_page page;
	enum mk_store_status s;
	uint32_t n = 0, first = 0;

	qsort(q->ids, q->ids_n, sizeof *q->ids, id_order);
	for (uint32_t k = 0; k < q->ids_n; k++)
		if (k == 0 || q->ids[k] != q->ids[n - 1])
			q->ids[n++] = q->ids[k];
	s = box_get(st, o, q->ids, n, &page);
	if (s != MK_STORE_OK || page.n < n)
		return s != MK_STORE_OK ? s : MK_STORE_NOTFOUND;
	n = 0;
	for (uint32_t k = 0; k < page.n; k++)
		if (is_between(page.e[k].id, &q->set) &&
		    (q->range.with.n == 0 || mk_str_eq(q->range.with, page.e[k].with)))
			page.e[n++] = page.e[k];
	q->is_complete = true;
	for (uint32_t k = 0; k < n; k++) {
		struct entry *e = &page.e[q->range.backward ? n - 1 - k : k];
		if (is_between(e->id, &q->range) && q->n < q->max)
			result_make(q, r, e);
		else if (is_between(e->id, &q->range))
			q->is_complete = false;
	}
	if (q->range.backward)
		turn_around(q);
	while (q->n != 0 && page.e[first].id != q->result_id[0])
		first++;
	if (is_exact(q)) {
		q->has_count = true;
		q->count = n;
		q->index = first;
	}
	return s;
}

static enum mk_store_status read_page(struct query *q, struct mk_iq_req *r, struct mk_store *st,
	struct owner o)
{
	struct box_range range = q->range;
	struct box_page page = { .more = true };
	size_t bytes = 0;
	enum mk_store_status s = MK_STORE_OK;
	bool filters = q->with != NULL || q->groupchat == 0;
	uint32_t k = 0, want = q->max + (filters ? 1 : 0);

	/* Of rows that may be none of the results, one more tells whether there is more. */
	while (q->n < want && bytes < PAGE_BYTES && page.more) {
		range.limit = filters ? READ_MAX : q->max - q->n;
		s = box_read(st, o, &range, &page);
		if (s != MK_STORE_OK)
			return s;
		for (k = 0; k < page.n && q->n < want && bytes < PAGE_BYTES; k++)
			bytes += result_make(q, r, &page.e[k]);
		if (page.n == 0)
			break;
		if (range.backward)
			range.before = page.e[k - 1].id;
		else
			range.after = page.e[k - 1].id;
	}
	q->is_complete = !page.more && k == page.n;
	if (q->n > q->max) {
		mk_stanza_unref(&q->result[--q->n]);
		q->is_complete = false;
	}
	if (range.backward)
		turn_around(q);
	return s;
}

/* Skips the results before q->start (XEP-0059 2.6). */
static enum mk_store_status skip(struct query *q, struct mk_store *st, struct owner o)
{
	enum mk_store_status s = count_set(st, o, &q->set, &q->count);
	int64_t left = q->start;
	struct box_page page;

	if (s != MK_STORE_OK)
		return s;
	q->has_count = q->count <= COUNT_MAX;
	if (!q->has_count && left > COUNT_MAX) {
		q->error = MK_ERR_FEATURE_NOT_IMPLEMENTED;
		return s;
	}
	for (page.more = true; left > 0 && page.more; left -= page.n) {
		q->range.limit = left < SKIP_MAX ? (uint32_t)left : SKIP_MAX;
		s = box_rows(st, o, &q->range, &page);
		if (s != MK_STORE_OK)
			return s;
		if (page.n == 0)
			break;
		q->range.after = page.e[page.n - 1].id;
	}
	if (left > 0)
		q->range.after = INT64_MAX;            /* there are not so many         */
	return s;
}

/* What <set/> tells of the page: <count/> and 'index' where they are cheap. */
static enum mk_store_status place(struct query *q, struct mk_store *st, struct owner o)
{
	enum mk_store_status s = MK_STORE_OK;
	int64_t end[2], index[2];
	struct box_range r = q->set;
	uint64_t n;

	if (q->ids != NULL)
		return s;
	if (q->is_complete && (q->is_first || q->is_last)) {
		q->has_count = true;
		q->count = q->n;
		q->index = 0;
	} else if (can_count(q)) {
		s = count_set(st, o, &q->set, &q->count);
		q->has_count = s == MK_STORE_OK && q->count <= COUNT_MAX;
	}
	if (s != MK_STORE_OK || q->n == 0)
		return s;
	end[0] = q->result_id[0];
	end[1] = q->result_id[q->n - 1];
	if (q->index < 0 && q->is_first)
		q->index = 0;
	else if (q->index < 0 && q->start >= 0)
		q->index = q->start;
	else if (q->index < 0 && q->edge != 0 && can_count(q) &&
	         count_index(o, &q->set, q->edge, &index[0]))
		q->index = q->range.backward ? index[0] - q->n : index[0] + 1;
	if (q->index < 0 && q->has_count) {
		if (end[0] < r.before)
			r.before = end[0];
		r.limit = COUNT_MAX;
		s = box_count(st, o, &r, &n);
		if (s == MK_STORE_OK)
			q->index = (int64_t)n;
	}
	/* One that came between the two is counted with them. */
	if (q->has_count && q->index >= 0 && q->count < (uint64_t)q->index + q->n)
		q->count = (uint64_t)q->index + q->n;
	index[0] = q->index;
	index[1] = q->index + q->n - 1;
	if (q->index >= 0 && can_count(q))
		count_note(o, &q->set, end, index);
	return s;
}

static int job(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct query *q = *mk_iq_data(r);
	struct owner o = owner_of(q->owner);
	enum mk_store_status s = read_known(q, st, o);

	(void)i;
	if (s == MK_STORE_OK && q->is_count && q->ids == NULL) {
		s = box_count(st, o, &q->set, &q->count);
		q->has_count = true;
	} else if (s == MK_STORE_OK && q->start > 0 && !can_count(q)) {
		q->error = MK_ERR_FEATURE_NOT_IMPLEMENTED;
	} else if (s == MK_STORE_OK) {
		q->result = mk_arena_alloc(mk_iq_arena(r), (q->max + 1) * sizeof *q->result);
		q->result_id = mk_arena_alloc(mk_iq_arena(r), (q->max + 1) * sizeof *q->result_id);
		if (q->start > 0)
			s = skip(q, st, o);
		if (s == MK_STORE_OK && q->error == 0)
			s = q->ids != NULL ? read_these(q, r, st, o) : read_page(q, r, st, o);
		if (s == MK_STORE_OK && q->error == 0)
			s = place(q, st, o);
	}
	if (s == MK_STORE_INVALID && q->range.search != NULL)
		q->error = MK_ERR_BAD_REQUEST;         /* no word in it                 */
	else if (s != MK_STORE_OK)
		q->error = mk_store_error(s);
	return s == MK_STORE_OK || q->error == MK_ERR_BAD_REQUEST ||
	       q->error == MK_ERR_ITEM_NOT_FOUND ? 0 : -MK_EIO;
}

/* ---- the answer ----------------------------------------------------------------------- */

struct asker { uint32_t open; };       /* slot of a session                     */
static uint32_t asker_slot;

int query_load(struct mk_module *m)
{
	static const struct mk_slot slot = { .size = sizeof slot, .scope = MK_SLOT_SESSION,
		.bytes = sizeof(struct asker) };

	return mk_slot_register(m, &slot, &asker_slot);
}

static void send_results(struct query *q)
{
	for (uint32_t k = 0; k < q->n; k++) {
		struct mk_stanza **s = &q->result[q->is_flipped ? q->n - 1 - k : k];
		if (q->session == NULL) {
			mk_send(s);
			continue;
		}
		if (mk_session_is_open(q->session))
			mk_session_send(q->session, *s);
		mk_stanza_unref(s);
	}
}

static struct mk_elem *fin_make(const struct query *q, struct mk_arena *a)
{
	struct mk_elem *fin = mk_elem_new(a, "fin", NS_MAM), *set, *first;

	if (q->is_complete)
		mk_elem_set(fin, "complete", "true");
	set = mk_elem_add(fin, "set", NS_RSM);
	if (q->n != 0) {
		first = mk_elem_add_text(set, "first", NULL,
			mk_strz(mk_arena_printf(a, "%lld", (long long)q->result_id[0])));
		if (q->index >= 0)
			mk_elem_setf(first, "index", "%lld", (long long)q->index);
		mk_elem_add_text(set, "last", NULL,
			mk_strz(mk_arena_printf(a, "%lld", (long long)q->result_id[q->n - 1])));
	}
	if (q->has_count)
		mk_elem_add_text(set, "count", NULL,
			mk_strz(mk_arena_printf(a, "%llu", (unsigned long long)q->count)));
	return fin;
}

static void query_end(struct query *q)
{
	for (uint32_t k = 0; k < q->n; k++)
		if (q->result[k] != NULL)
			mk_stanza_unref(&q->result[k]);
	q->n = 0;
	mk_jid_unref(&q->owner);
	if (q->with != NULL)
		mk_jid_unref((struct mk_jid **)&q->with);
	if (q->session != NULL) {
		struct asker *k = mk_session_slot_peek(q->session, asker_slot);
		if (k != NULL && k->open > 0)
			k->open--;
	}
}

static void done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	struct query *q = *mk_iq_data(r);
	struct mk_elem *fin;

	if (err == 0 && q->error == 0) {
		/* A room's: ours may have stopped meanwhile. */
		if (i == q->inst)
			mk_metric_add(i, RESULTS, q->n);
		fin = fin_make(q, mk_iq_arena(r));
		send_results(q);
		query_end(q);
		mk_iq_result(r, fin);
		return;
	}
	uint16_t error = q->error;
	query_end(q);
	if (err == 0)
		mk_iq_error(r, error, NULL);
}

/* ---- what can be asked ------------------------------------------------------------------ */

static void field(struct mk_elem *x, const char *type, const char *var)
{
	struct mk_elem *f = mk_elem_add(x, "field", NULL);

	mk_elem_set(f, "type", type);
	mk_elem_set(f, "var", var);
}

/* 4.1.6 */
static void answer_form(struct mk_iq_req *r, bool has_search)
{
	struct mk_arena *a = mk_iq_arena(r);
	struct mk_elem *query = mk_elem_new(a, "query", NS_MAM);
	struct mk_elem *x = mk_elem_add(query, "x", NS_DATA), *f, *validate;

	mk_elem_set(x, "type", "form");
	field(x, "hidden", "FORM_TYPE");
	mk_elem_add_text(mk_elem_child(x, "field", NS_DATA), "value", NULL, MK_STR(NS_MAM));
	field(x, "jid-single", "with");
	field(x, "text-single", "start");
	field(x, "text-single", "end");
	field(x, "text-single", "before-id");
	field(x, "text-single", "after-id");
	f = mk_elem_add(x, "field", NULL);
	mk_elem_set(f, "type", "list-multi");
	mk_elem_set(f, "var", "ids");
	validate = mk_elem_add(f, "validate", "http://jabber.org/protocol/xdata-validate");
	mk_elem_set(validate, "datatype", "xs:string");
	mk_elem_add(validate, "open", NULL);
	field(x, "boolean", "include-groupchat");
	if (has_search)
		field(x, "text-single", VAR_FULLTEXT);
	mk_iq_result(r, query);
}

/* 6 */
static int metadata_job(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct query *q = *mk_iq_data(r);
	struct mk_arena *a = mk_iq_arena(r);
	struct mk_elem *metadata = mk_elem_new(a, "metadata", NS_MAM), *end;
	struct owner o = owner_of(q->owner);
	struct box_range range = { .after = INT64_MIN, .before = INT64_MAX, .limit = 1 };
	struct box_page page;
	char stamp[32];

	(void)i;
	for (int k = 0; k < 2; k++) {
		range.backward = k == 1;
		enum mk_store_status s = box_read(st, o, &range, &page);
		if (s != MK_STORE_OK)
			return -MK_EIO;
		if (page.n == 0)
			break;
		end = mk_elem_add(metadata, k == 0 ? "start" : "end", NULL);
		mk_elem_setf(end, "id", "%lld", (long long)page.e[0].id);
		mk_time_format(stamp, mk_uid_wall_ms(page.e[0].id));
		mk_elem_set(end, "timestamp", stamp);
	}
	mk_iq_result(r, metadata);
	return 0;
}

static void metadata_done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	(void)i;
	(void)err;
	query_end(*mk_iq_data(r));
}

/* Whether this session may have one more page under way. */
static bool enter(struct query *q, struct mk_session *s)
{
	struct asker *k;

	if (s == NULL)
		return true;
	k = mk_session_slot(s, asker_slot);
	if (k->open >= OPEN_MAX || mk_session_unsent(s) > UNSENT_MAX)
		return false;
	k->open++;
	q->session = s;
	return true;
}

enum mk_verdict svc_query(struct mk_inst *i, struct mk_iq_req *r, const struct mk_archive_query *want)
{
	const struct mam_conf *c = mk_inst_conf(i);
	const struct mk_elem *payload = mk_iq_payload(r);
	struct mk_arena *a = mk_iq_arena(r);
	struct query *q;
	uint16_t error;

	if (mk_elem_is(payload, "query", NULL) && !mk_iq_is_set(r)) {
		answer_form(r, c->search);
		return MK_DONE;
	}
	if (!mk_elem_is(payload, "query", NULL) &&
	    (!mk_elem_is(payload, "metadata", NULL) || mk_iq_is_set(r))) {
		mk_iq_error(r, MK_ERR_FEATURE_NOT_IMPLEMENTED, NULL);
		return MK_DONE;
	}
	q = mk_arena_alloc(a, sizeof *q);
	*mk_iq_data(r) = q;
	q->inst = i;
	q->owner = mk_jid_to_bare(want->owner);
	q->queryid = mk_elem_attr(payload, "queryid");
	q->range = (struct box_range){ .after = INT64_MIN, .before = INT64_MAX };
	q->groupchat = -1;
	q->has_groupchat = c->groupchat;
	q->start = q->index = -1;
	q->max = (uint32_t)c->page;
	q->view = want->view;
	q->view_arg = want->arg;
	if (mk_elem_is(payload, "metadata", NULL))
		return mk_iq_job_then(r, metadata_job, metadata_done);
	if (mk_elem_child(payload, "set", NS_RSM) != NULL &&
	    mk_elem_child(mk_elem_child(payload, "set", NS_RSM), "max", NS_RSM) != NULL)
		q->max = (uint32_t)c->max_page;
	q->is_flipped = mk_elem_child(payload, "flip-page", NS_MAM) != NULL;
	error = read_form(q, payload, a, c->search);
	if (error == 0 && q->ids != NULL && q->range.search != NULL)
		error = MK_ERR_FEATURE_NOT_IMPLEMENTED;
	if (error == 0)
		error = read_set(q, payload);
	if (error == 0 && want->hides_with && q->range.with.n != 0)
		error = MK_ERR_FORBIDDEN;
	if (error == 0 && !enter(q, mk_iq_session(r)))
		error = MK_ERR_RESOURCE_CONSTRAINT;
	if (error != 0) {
		if (error == MK_ERR_RESOURCE_CONSTRAINT || error == MK_ERR_POLICY_VIOLATION)
			mk_metric_add(i, REFUSED, 1);
		query_end(q);
		mk_iq_error(r, error, NULL);
		return MK_DONE;
	}
	mk_metric_add(i, QUERIES, 1);
	return mk_iq_job_then(r, job, done);
}

enum mk_verdict on_query(struct mk_inst *i, struct mk_iq_req *r)
{
	struct mk_archive_query q = { .size = sizeof q, .owner = mk_iq_to(r) };

	/* Nobody learns by it who exists. */
	if (!mk_jid_bare_eq(mk_iq_from(r), mk_iq_to(r))) {
		mk_iq_error(r, MK_ERR_FORBIDDEN, NULL);
		return MK_DONE;
	}
	return svc_query(i, r, &q);
}
