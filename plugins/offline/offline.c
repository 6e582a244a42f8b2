/*
 * offline - messages for users who are not here, until they come (XEP-0160)
 *
 * What nobody took is stored in a job, under the stanza's uid: a replay of the
 * journal stores it once. Where there is an archive (svc:archive/1) that has the
 * message anyway, it is only marked there as waiting, mostly when it was appended.
 * Both are delivered, rows of ours first. When a session of the user becomes available, it gets
 * what there is, a page at a time; a page is deleted when the connection took it
 * (or the session holds it for a client that will come back, XEP-0198, in the
 * journal, which must have reached the disk by then).
 *
 * One delivery per user at a time: a slot of the entity, on its home worker.
 * Order is kept: jobs of a delivery run while the entity is held, and what comes
 * between them (a slow client) is stored, too, behind the rest.
 */
#include <meerkat/auth.h>
#include <meerkat/plugin.h>
#include <meerkat/svc/archive.h>

#define NS_DELAY "urn:xmpp:delay"
#define NS_HINTS "urn:xmpp:hints"

#define PAGE        64
#define BURST_BYTES (16 << 10)         /* then: does the connection take it?    */
#define POLL_MS     100
#define RETRY_MS    (5 * 1000)         /* storage was away                      */

struct offline_conf { int64_t max_messages; };
static const struct mk_conf_item items[] = {
	MK_CONF_I(struct offline_conf, max_messages, "1000", "1..1000000",
		"Messages kept for one user; more are returned to their senders."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct offline_conf, items);

enum { STORED, DELIVERED, FULL, NOBODY, FAILED };
#define METRIC(id, name, help) static const struct mk_metric id = \
	{ sizeof(struct mk_metric), MK_COUNTER, name, help }
METRIC(m_stored, "stored_total", "Messages stored for users who were not available.");
METRIC(m_delivered, "delivered_total", "Stored messages given to a session.");
METRIC(m_full, "full_total", "Messages returned because their user's store was full.");
METRIC(m_nobody, "no_account_total", "Messages dropped because there is no such user.");
METRIC(m_failed, "failed_total", "Messages returned, and deliveries put off, because of storage.");
static const struct mk_metric *const metrics[] = { &m_stored, &m_delivered, &m_full, &m_nobody,
	&m_failed, NULL };

static const struct mk_column columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "uid", MK_INT, MK_COL_SORT },
	{ "time", MK_INT, 0 },         /* ms since 1970                         */
	{ "stanza", MK_TEXT, 0 },      /* <message/>                            */
	{ 0 }
};
static const struct mk_table offline_message = {
	.size = sizeof offline_message, .version = 1, .name = "offline_message",
	.columns = columns, .flags = MK_TABLE_OWNED,
};
static const struct mk_table *const tables[] = { &offline_message, NULL };
enum { COL_UID = 2, COL_TIME, COL_STANZA };

/* ---- storing ------------------------------------------------------------------- */

static bool is_for_later(const struct mk_stanza *s)
{
	enum mk_stanza_type type = mk_stanza_type(s);

	return type != MK_TYPE_GROUPCHAT && type != MK_TYPE_HEADLINE && mk_stanza_storable(s);
}

/* Nothing but chat states (XEP-0085) and what goes with them: of no use later,
 * and no news to the sender if lost. */
static bool is_passing(const struct mk_stanza *s)
{
	bool has_state = false;

	for (const struct mk_elem *c = mk_elem_first(mk_stanza_elem(s)); c != NULL;
	     c = mk_elem_next(c)) {
		if (mk_streq(mk_elem_xmlns(c), "http://jabber.org/protocol/chatstates"))
			has_state = true;
		else if (!mk_elem_is(c, "thread", NULL) && !mk_streq(mk_elem_xmlns(c), NS_HINTS) &&
		         !mk_streq(mk_elem_xmlns(c), "urn:xmpp:sid:0"))
			return false;
	}
	return has_state;
}

static struct mk_str stanza_text(struct mk_arena *a, const struct mk_ev_stanza *ev)
{
	const struct mk_elem *root = mk_stanza_elem(ev->stanza);
	struct mk_elem *copy;

	if (mk_streq(mk_elem_attr(root, "to"), mk_jid_full(ev->to)))
		return mk_elem_write(a, root);
	copy = mk_elem_copy(a, root);
	mk_elem_set(copy, "to", mk_jid_full(ev->to));
	return mk_elem_write(a, copy);
}

/* Job. */
static enum mk_store_status put(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st,
	bool *is_full)
{
	const struct offline_conf *c = mk_inst_conf(i);
	struct mk_value row[] = {
		mk_text(mk_jid_domain(ev->to)), mk_text(mk_jid_local(ev->to)),
		mk_int(mk_stanza_uid(ev->stanza)), mk_int(mk_stanza_time(ev->stanza)),
		mk_absent(),
	};
	struct mk_range all = { .size = sizeof all };
	enum mk_store_status status;
	struct mk_row old;
	uint64_t have;

	*is_full = false;
	status = mk_count_rows(st, &offline_message, row, &all, &have);
	if (status == MK_STORE_OK && have >= (uint64_t)c->max_messages) {
		/* One that comes again from the journal is not one more. */
		status = mk_get(st, &offline_message, row, &old);
		*is_full = status == MK_STORE_NOTFOUND;
		return *is_full ? MK_STORE_OK : status;
	}
	if (status != MK_STORE_OK)
		return status;
	row[COL_STANZA] = mk_text(stanza_text(mk_store_arena(st), ev));
	status = mk_put(st, &offline_message, row, MK_ANY);
	if (status == MK_STORE_OK)
		mk_metric_add(i, STORED, 1);
	return status;
}

static enum mk_verdict refuse(struct mk_inst *i, struct mk_ev_stanza *ev,
	enum mk_store_status status)
{
	mk_metric_add(i, FAILED, 1);
	mk_log(i, MK_WARN, "message not stored", "user=%s status=%d", mk_jid_full(ev->to),
		(int)status);
	ev->error = mk_store_error(status);
	return MK_FAIL;
}

static enum mk_verdict refuse_full(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	mk_metric_add(i, FULL, 1);
	ev->error = MK_ERR_SERVICE_UNAVAILABLE;        /* XEP-0160 2, 3         */
	return MK_FAIL;
}

/* Job: whether the archive has it, and keeps it for later; 0, -MK_ENOENT, or -MK_E... */
static int archived(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	struct mk_inst *inst;
	const struct mk_archive_svc *svc = mk_service_get(i, "archive", 1, &inst);
	int r = svc != NULL ? svc->wait(inst, st, ev->to, mk_stanza_uid(ev->stanza)) : -MK_ENOENT;

	if (r == 0)
		mk_metric_add(i, STORED, 1);
	return r;
}

static enum mk_verdict store(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	struct mk_jid *user;
	enum mk_auth_answer exists;
	enum mk_store_status status;
	bool is_full;
	int r = archived(i, ev, st);

	if (r != -MK_ENOENT)
		return r == 0 ? MK_DONE : refuse(i, ev, r == -MK_EAGAIN ? MK_STORE_RETRY
		                                                        : MK_STORE_UNCERTAIN);
	user = mk_jid_to_bare(ev->to);
	exists = mk_account_exists(st, user);
	mk_jid_unref(&user);
	switch (exists) {
	case MK_AUTH_YES:
		break;
	case MK_AUTH_LATER:
		return refuse(i, ev, MK_STORE_RETRY);
	default:
		/* In silence, as one that is kept is (S-16, RFC 6121 8.5.1). */
		mk_metric_add(i, NOBODY, 1);
		return MK_DROP;
	}
	status = put(i, ev, st, &is_full);
	if (status != MK_STORE_OK)
		return refuse(i, ev, status);
	return is_full ? refuse_full(i, ev) : MK_DONE;
}

static enum mk_verdict on_failed(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct mk_inst *inst;
	const struct mk_archive_svc *svc;

	if (mk_ev_is_taken(ev))
		return MK_NEXT;
	if (is_for_later(ev->stanza)) {
		svc = mk_service_get(i, "archive", 1, &inst);
		if (svc == NULL || !svc->is_waiting(inst, ev->to, mk_stanza_uid(ev->stanza)))
			return mk_ev_job(ev, store);
		mk_metric_add(i, STORED, 1);
		return MK_DONE;
	}
	return is_passing(ev->stanza) ? MK_DROP : MK_NEXT;
}

/* ---- a delivery ---------------------------------------------------------------- */

struct delivery {
	struct mk_inst *inst;
	struct mk_entity *entity;      /* whose slot leads here; held, if it no
	                                * longer does                           */
	struct mk_session *session;    /* ref: who gets it                      */
	struct mk_timer *timer;        /* waits: for the connection, for storage */
	bool is_held;
	bool is_new;                   /* begin() did not run                   */
	bool is_in_job;                /* page_turned will come                 */
	bool is_loose;                 /* the slot ended, the job did not       */
	/* the page: of the job while that runs, of the worker else */
	struct mk_stanza *page[PAGE];  /* refs of those not sent yet; NULL: damaged */
	size_t bytes[PAGE];
	int64_t uid[PAGE];
	uint32_t n, sent;
	bool is_over;                  /* there was no more                     */
	bool is_archive;               /* the page is of the archive            */
	int64_t after;                 /* the archive was delivered up to here  */
	enum mk_store_status status;
};
struct place { struct delivery *delivery; };
static uint32_t place_slot;

static struct delivery *delivery_of(const struct mk_entity *e)
{
	const struct place *p = e != NULL ? mk_entity_slot_peek(e, place_slot) : NULL;

	return p != NULL ? p->delivery : NULL;
}

static void page_clear(struct delivery *d)
{
	for (uint32_t k = 0; k < d->n; k++)
		if (d->page[k] != NULL)
			mk_stanza_unref(&d->page[k]);
	d->n = d->sent = 0;
}

static void delivery_free(struct delivery *d)
{
	mk_timer_stop(&d->timer);
	page_clear(d);
	mk_session_unref(&d->session);
	mk_free(d);
}

static void place_fini(void *data)
{
	struct delivery *d = ((struct place *)data)->delivery;

	if (d != NULL && d->is_in_job)
		d->is_loose = true;
	else if (d != NULL)
		delivery_free(d);
}

static bool may_get(const struct mk_session *s)
{
	return mk_session_is_open(s) && mk_session_is_available(s) && mk_session_priority(s) >= 0;
}

/* Who goes on if the one that was to get it went; not one that waits for its
 * client: it asks again when that is back. */
static struct mk_session *somebody(const struct mk_entity *e)
{
	struct mk_session *s = mk_entity_sessions(e);

	while (s != NULL && !(may_get(s) && mk_session_stream(s) != NULL))
		s = mk_session_next(s);
	return s;
}

/* The message as it is to be sent; NULL if it can't be. */
static struct mk_stanza *restore(const struct mk_elem *e, struct mk_str domain, int64_t uid,
	int64_t time)
{
	struct mk_elem *c;
	struct mk_stanza *s;
	char stamp[32];

	for (c = mk_elem_first(e); c != NULL; c = mk_elem_next(c))
		if (mk_elem_is(c, "delay", NS_DELAY) && mk_elem_attr(c, "from") != NULL &&
		    mk_str_eqz(domain, mk_elem_attr(c, "from")))
			break;
	if (mk_stanza_from_elem(e, &s) < 0)
		return NULL;
	mk_stanza_set_uid(s, uid);
	if (c == NULL) {
		c = mk_elem_add_text(mk_stanza_root(s), "delay", NS_DELAY, MK_STR("Offline Storage"));
		mk_elem_setf(c, "from", "%.*s", (int)domain.n, domain.p);
		mk_time_format(stamp, time);
		mk_elem_set(c, "stamp", stamp);
	}
	return s;
}

static void page_add(struct delivery *d, struct mk_stanza *s, int64_t uid, size_t bytes)
{
	if (s == NULL)
		mk_log(d->inst, MK_ERROR, "stored message can't be read", "user=%s uid=%lld",
			mk_jid_full(mk_session_jid(d->session)), (long long)uid);
	d->uid[d->n] = uid;
	d->bytes[d->n] = bytes;
	d->page[d->n++] = s;
}

static enum mk_store_status rows_read(struct delivery *d, struct mk_store *st)
{
	const struct mk_jid *to = mk_session_jid(d->session);
	struct mk_value partition[] = { mk_text(mk_jid_domain(to)), mk_text(mk_jid_local(to)) };
	struct mk_range first = { .size = sizeof first, .limit = PAGE };
	struct mk_rows rows;
	enum mk_store_status status = mk_query(st, &offline_message, partition, &first, &rows);

	for (uint32_t k = 0; status == MK_STORE_OK && k < rows.n; k++) {
		const struct mk_value *v = rows.row[k].v;
		struct mk_str text = mk_value_str(&v[COL_STANZA]);
		struct mk_stanza *s = NULL;
		struct mk_elem *e;
		if (mk_elem_read(mk_store_arena(st), text, &e) == 0)
			s = restore(e, mk_jid_domain(to), v[COL_UID].as.i, v[COL_TIME].as.i);
		page_add(d, s, v[COL_UID].as.i, text.n);
	}
	return status;
}

static enum mk_store_status rows_delete(struct delivery *d, struct mk_store *st)
{
	const struct mk_jid *to = mk_session_jid(d->session);
	struct mk_value keys[PAGE][3];
	struct mk_write writes[PAGE];

	for (uint32_t k = 0; k < d->n; k++) {
		keys[k][0] = mk_text(mk_jid_domain(to));
		keys[k][1] = mk_text(mk_jid_local(to));
		keys[k][2] = mk_int(d->uid[k]);
		writes[k] = (struct mk_write){ MK_WRITE_DELETE, &offline_message, keys[k], MK_ANY };
	}
	return mk_batch(st, writes, d->n, NULL);
}

/* The archive's, which has no ids of its own in them. */
static void entry_add(void *arg, const struct mk_archive_entry *entry)
{
	struct delivery *d = arg;
	const struct mk_jid *to = mk_session_jid(d->session);
	struct mk_str bare = mk_jid_bare(to);
	struct mk_stanza *s = NULL;
	struct mk_elem *id;

	if (entry->message != NULL)
		s = restore(entry->message, mk_jid_domain(to), entry->id, mk_uid_wall_ms(entry->id));
	if (s != NULL) {
		id = mk_elem_add(mk_stanza_root(s), "stanza-id", "urn:xmpp:sid:0");
		mk_elem_setf(id, "by", "%.*s", (int)bare.n, bare.p);
		mk_elem_setf(id, "id", "%lld", (long long)entry->id);
	}
	page_add(d, s, entry->id, s != NULL ? mk_stanza_bytes(s) : 0);
}

static enum mk_store_status status_of(int r)
{
	return r >= 0 ? MK_STORE_OK : r == -MK_EAGAIN ? MK_STORE_RETRY : MK_STORE_UNCERTAIN;
}

/* Job: lets go of the page that was sent, and reads the next. */
static void turn_page(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct delivery *d = data;
	const struct mk_jid *to = mk_session_jid(d->session);
	struct mk_inst *inst;
	const struct mk_archive_svc *svc = mk_service_get(i, "archive", 1, &inst);

	d->status = MK_STORE_OK;
	if (d->n != 0 && d->is_archive) {
		if (svc != NULL)
			d->status = status_of(svc->delivered(inst, st, to, d->uid, d->n));
		d->after = d->uid[d->n - 1];
	} else if (d->n != 0) {
		d->status = rows_delete(d, st);
	}
	if (d->status != MK_STORE_OK)
		return;
	page_clear(d);
	/* It is over when neither has anything: a message that came meanwhile may be
	 * in the other. */
	for (int tries = 0; tries < 2 && d->n == 0 && d->status == MK_STORE_OK; tries++) {
		if (tries > 0)
			d->is_archive = !d->is_archive;
		if (!d->is_archive)
			d->status = rows_read(d, st);
		else if (svc != NULL)
			d->status = status_of(svc->waiting(inst, st, to, d->after, PAGE, entry_add, d));
	}
	d->is_over = d->n == 0;
}

static void page_turned(struct mk_inst *i, void *data);

/* Nothing may come in between reading a page and sending it. */
static void next_page(struct delivery *d)
{
	if (!d->is_held)
		mk_entity_hold(d->entity);
	d->is_held = d->is_in_job = true;
	d->status = MK_STORE_RETRY;            /* if the job does not run           */
	if (d->n != 0)
		mk_job_kept(d->inst, d->session, turn_page, page_turned, d);
	else
		mk_job(d->inst, turn_page, page_turned, d);
}

static void end(struct delivery *d)
{
	struct mk_entity *e = d->entity;
	bool is_held = d->is_held;

	mk_entity_slot_clear(e, place_slot);
	if (is_held)
		mk_entity_release(e);
}

static void go_on(struct delivery *d);

static void on_timer(struct mk_inst *i, void *data)
{
	struct delivery *d = data;

	(void)i;
	d->timer = NULL;
	go_on(d);
}

static void wait(struct delivery *d, int64_t ms)
{
	struct mk_entity *e = d->entity;
	bool is_held = d->is_held;

	d->timer = mk_timer_start(d->inst, ms, on_timer, d);
	d->is_held = false;
	if (is_held)
		mk_entity_release(e);
}

/* Sends what is left of the page, then turns it. */
static void go_on(struct delivery *d)
{
	size_t burst = 0;

	if (may_get(d->session) && mk_session_stream(d->session) == NULL && d->sent != 0) {
		/* What it got it keeps for its client; the rest is not its. */
		while (d->n > d->sent)
			if (d->page[--d->n] != NULL)
				mk_stanza_unref(&d->page[d->n]);
	} else if (!may_get(d->session) || mk_session_stream(d->session) == NULL) {
		struct mk_session *other = somebody(d->entity);
		if (other == NULL) {
			end(d);
			return;
		}
		/* What the one that went may not have got, the other gets. */
		page_clear(d);
		mk_session_unref(&d->session);
		d->session = mk_session_ref(other);
	}
	while (d->sent < d->n) {
		uint32_t k = d->sent;
		if (burst == 0 && mk_session_unsent(d->session) != 0)
			break;
		d->sent++;
		if (d->page[k] == NULL)
			continue;
		mk_session_send(d->session, d->page[k]);
		mk_stanza_unref(&d->page[k]);
		mk_metric_add(d->inst, DELIVERED, 1);
		burst = burst < BURST_BYTES ? burst + d->bytes[k] : 0;
	}
	if (d->sent < d->n || mk_session_unsent(d->session) != 0)
		wait(d, POLL_MS);
	else
		next_page(d);
}

static void page_turned(struct mk_inst *i, void *data)
{
	struct delivery *d = data;

	d->is_in_job = false;
	if (d->is_loose) {
		struct mk_entity *e = d->entity;
		delivery_free(d);
		mk_entity_release(e);
	} else if (d->status != MK_STORE_OK) {
		mk_metric_add(i, FAILED, 1);
		wait(d, RETRY_MS);
	} else if (d->is_over) {
		end(d);
	} else {
		go_on(d);
	}
}

/* ---- when it begins ------------------------------------------------------------ */

static void drop_session(void *data)
{
	struct mk_session *s = data;
	mk_session_unref(&s);
}

static void begin(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	struct mk_session *s = data;
	struct delivery *d = delivery_of(e);

	(void)bare;
	(void)i;
	/* Not if another session's is under way. */
	if (d != NULL && d->session == s && d->is_new) {
		d->is_new = false;
		go_on(d);
	}
	mk_session_unref(&s);
}

/* Behind what the presence itself caused: the client hears first that it is
 * available. */
static void begin_soon(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare,
	void *data)
{
	(void)e;
	mk_entity_post(i, bare, begin, data, drop_session);
}

/* It stands from the moment a session is about to become available: from then on
 * nothing overtakes what is stored. */
static void prepare(struct mk_inst *i, struct mk_session *s)
{
	struct mk_entity *e = mk_session_entity(s);
	struct delivery *d;

	if (delivery_of(e) != NULL)
		return;                /* it goes on with whoever is there          */
	d = mk_alloc(sizeof *d);
	((struct place *)mk_entity_slot(e, place_slot))->delivery = d;
	d->is_new = true;
	d->inst = i;
	d->entity = e;
	d->session = mk_session_ref(s);
	mk_entity_post(i, mk_entity_jid(e), begin_soon, mk_session_ref(s), drop_session);
}

static enum mk_verdict on_presence(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (mk_stanza_type(ev->stanza) == MK_TYPE_NONE && mk_stanza_to(ev->stanza) == NULL &&
	    !may_get(ev->session))
		prepare(i, ev->session);
	return MK_NEXT;
}

static void on_resumed(struct mk_inst *i, const struct mk_ev_session *ev)
{
	if (may_get(ev->session))
		prepare(i, ev->session);
}

/* ---- what comes during a delivery ---------------------------------------------- */

static enum mk_verdict store_behind(struct mk_inst *i, struct mk_ev_stanza *ev,
	struct mk_store *st)
{
	enum mk_store_status status;
	bool is_full;

	if (archived(i, ev, st) == 0)
		return MK_DONE;
	status = put(i, ev, st, &is_full);
	if (status != MK_STORE_OK)
		return MK_NEXT;        /* better out of order than not at all       */
	return is_full ? refuse_full(i, ev) : MK_DONE;
}

/* For nobody else than the session that is being given what is stored. */
static enum mk_verdict on_message(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct delivery *d = delivery_of(ev->entity);

	(void)i;
	if (d == NULL || mk_ev_is_taken(ev) || !is_for_later(ev->stanza))
		return MK_NEXT;
	if (!mk_jid_is_bare(ev->to))
		return mk_jid_eq(ev->to, mk_session_jid(d->session)) && may_get(d->session)
			? mk_ev_job(ev, store_behind) : MK_NEXT;
	for (struct mk_session *s = mk_entity_sessions(ev->entity); s != NULL; s = mk_session_next(s))
		if (s != d->session && may_get(s))
			return MK_NEXT;
	return may_get(d->session) ? mk_ev_job(ev, store_behind) : MK_NEXT;
}

/* ---- life ---------------------------------------------------------------------- */

static int load(struct mk_module *m)
{
	static const struct mk_slot slot = { .size = sizeof slot, .scope = MK_SLOT_ENTITY,
		.bytes = sizeof(struct place), .fini = place_fini };

	return mk_slot_register(m, &slot, &place_slot);
}

/* That somebody delivers what waits is all that others need to know. */
static const struct { uint32_t size; } offline_svc = { sizeof offline_svc };

static int start(struct mk_inst *i)
{
	int r;

	if ((r = mk_on_stanza_failed(i, MK_PRIO_LAST, MK_M_MESSAGE, on_failed)) < 0 ||
	    (r = mk_on_stanza_in(i, MK_PRIO_REWRITE, MK_M_PRESENCE, on_presence)) < 0 ||
	    (r = mk_service_offer(i, "offline", 1, &offline_svc)) < 0 ||
	    (r = mk_on_session_resumed(i, MK_PRIO_LAST, on_resumed)) < 0 ||
	    (r = mk_on_stanza_deliver(i, MK_PRIO_ROUTE - 10, MK_M_MESSAGE, on_message)) < 0)
		return r;
	return mk_disco_feature(i, MK_DISCO_HOST, "msgoffline");
}

static const char *const needs[] = { "?svc:archive/1", NULL };
static const char *const gives[] = { "svc:offline/1", NULL };

MK_PLUGIN(offline, "offline", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause",
	.summary = "Keeps messages for users who are not available (XEP-0160).", .needs = needs,
	.gives = gives,
	.conf = &schema, .tables = tables, .metrics = metrics, .load = load, .start = start)
