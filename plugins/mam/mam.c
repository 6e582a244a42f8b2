/*
 * mam - the archive: what was said can be read again (XEP-0313)
 *
 * What an account sends is archived when its chain has let it through (stanza_in,
 * last), what it gets when nobody has refused it (stanza_deliver); both by
 * write-behind, so that a message waits for no database. The journal has it
 * meanwhile: after a crash, stanza_recovered and stanza_deliver append the rows
 * again, and their keys make them once.
 *
 * Handlers run at the home of whose archive it is. They wait for a job only where
 * what the user wants kept (prefs.c), or whether it exists, is not in memory, and
 * for retractions.
 */
#include <meerkat/auth.h>
#include <meerkat/svc/roster.h>

#include "mam.h"

#define RETRACT_ROWS  1000             /* how far back one is looked for        */
#define KEEP_EVERY_MS (5 * 1000)

static const struct mk_conf_item items[] = {
	MK_CONF_I(struct mam_conf, page, "50", "1..500",
		"Results of a query that names no number."),
	MK_CONF_I(struct mam_conf, max_page, "250", "1..1000",
		"Results of a query at most."),
	MK_CONF_MS(struct mam_conf, retention, "0", "0|1m..",
		"How long messages are kept; 0: for ever."),
	MK_CONF_BYTES(struct mam_conf, quota, "0", "0|64KB..",
		"Bytes of messages kept for one user, the newest; 0: any."),
	MK_CONF_I(struct mam_conf, quota_messages, "0", "0..",
		"Messages kept for one user, the newest; 0: any."),
	MK_CONF_B(struct mam_conf, preferences, "yes",
		"Users may choose whose messages are kept (XEP-0441)."),
	MK_CONF_FIELD(struct mam_conf, search, bool, MK_CONF_BOOL, 0, "no", NULL,
		"Messages can be searched for words (XEP-0431); needs about as much space again."),
	MK_CONF_FIELD(struct mam_conf, groupchat, bool, MK_CONF_BOOL, 0, "no", NULL,
		"What a user gets from rooms is kept in the user's own archive, too."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct mam_conf, items);

#define METRIC(id, name, help) static const struct mk_metric id = \
	{ sizeof(struct mk_metric), MK_COUNTER, name, help }
METRIC(m_stored, "stored_total", "Messages put into an archive.");
METRIC(m_queries, "queries_total", "Queries.");
METRIC(m_results, "results_total", "Messages given out.");
METRIC(m_expired, "expired_total", "Messages removed because of their age.");
METRIC(m_quota, "over_quota_total", "Messages removed because of a user's quota.");
METRIC(m_retracted, "retracted_total", "Messages replaced by a tombstone.");
METRIC(m_refused, "refused_total", "Queries refused because too many were under way.");
static const struct mk_metric *const metrics[] = { &m_stored, &m_queries, &m_results, &m_expired,
	&m_quota, &m_retracted, &m_refused, NULL };

static const struct mk_table *const tables[] = { &archive_box, &archive_days,
	&archive_text, &archive_prefs, &archive_cursor, NULL };

/* ---- what is archived ------------------------------------------------------------- */

static bool is_archived(const struct mam_conf *c, const struct mk_stanza *s, bool is_in)
{
	if (mk_elem_child(mk_stanza_elem(s), "no-permanent-store", NS_HINTS) != NULL)
		return false;
	if (mk_stanza_type(s) == MK_TYPE_GROUPCHAT)
		/* What one sends to a room comes back from it. */
		return c->groupchat && !is_in &&
		       mk_elem_child(mk_stanza_elem(s), "body", "jabber:client") != NULL &&
		       mk_elem_child(mk_stanza_elem(s), "no-store", NS_HINTS) == NULL;
	return mk_stanza_storable(s);
}

static const struct mk_elem *retraction(const struct mk_stanza *s)
{
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(s), "retract", NS_RETRACT);

	return e != NULL && mk_elem_attr(e, "id") != NULL && mk_stanza_id(s) != NULL ? e : NULL;
}

/* Two accounts here whose rows can share a body. */
static bool can_share(const struct mk_jid *from, const struct mk_jid *to)
{
	return mk_jid_local(from).n != 0 && mk_jid_local(to).n != 0 &&
	       mk_str_eq(mk_jid_domain(from), mk_jid_domain(to)) && !mk_jid_bare_eq(from, to);
}

static void archive(struct mk_inst *i, struct mk_ev_stanza *ev, bool is_in)
{
	const struct mam_conf *c = mk_inst_conf(i);
	const struct mk_jid *mine = is_in ? ev->from : ev->to, *other = is_in ? ev->to : ev->from;
	struct mk_arena *a = mk_turn_arena();
	struct entry e = { .id = mk_stanza_uid(ev->stanza), .flags = is_in ? BOX_OUT : 0,
		.with = mk_jid_bare(other) };
	struct mk_str words = c->search ? words_of(a, mk_stanza_elem(ev->stanza)) : MK_STR_NONE;

	if (mk_stanza_type(ev->stanza) == MK_TYPE_GROUPCHAT) {
		/* No other message's id is ours to give: stanza-id does that. */
		struct mk_elem *sid = mk_ev_add(ev, "stanza-id", "urn:xmpp:sid:0");
		mk_elem_setf(sid, "by", "%.*s", (int)mk_jid_bare(mine).n, mk_jid_bare(mine).p);
		mk_elem_setf(sid, "id", "%lld", (long long)e.id);
		e.flags |= BOX_GROUPCHAT;
	}
	if (is_in) {
		e.xml = stored_text(a, ev->stanza, mine);
		if (can_share(mine, other))
			shared_note(e.id, other, e.xml.n);
	} else {
		e.is_shared = can_share(other, mine) && shared_noted(e.id, mine, &e.size);
		if (waits_note(i, ev))
			e.flags |= BOX_WAITS;
		if (!e.is_shared)
			e.xml = stored_text(a, ev->stanza, mine);
	}
	box_append(i, ev, owner_of_account(mine), &e, words);
	if (e.flags & BOX_WAITS)
		waits_late(i, ev);
	mk_metric_add(i, STORED, 1);
}

/* ---- tombstones (XEP-0424 5) -------------------------------------------------------- */

/* Text that needs no escaping is there as it is, if it is there. */
static bool can_skip(struct mk_str xml, const char *id)
{
	size_t n = strlen(id);

	if (n == 0 || strpbrk(id, "&<>'\"") != NULL)
		return false;
	for (const char *p; xml.n >= n && (p = memchr(xml.p, *id, xml.n - n + 1)) != NULL;) {
		if (memcmp(p, id, n) == 0)
			return false;
		xml.n -= (size_t)(p + 1 - xml.p);
		xml.p = p + 1;
	}
	return true;
}

/* Job: in the archive of mine, the message that other retracts, or that mine sent
 * and retracts. */
static void retract(struct mk_inst *i, struct mk_store *st, const struct mk_ev_stanza *ev,
	bool is_in)
{
	const struct mk_elem *wish = retraction(ev->stanza);
	const struct mk_jid *mine = is_in ? ev->from : ev->to, *other = is_in ? ev->to : ev->from;
	struct mk_arena *a = mk_store_arena(st);
	const char *id = mk_elem_attr(wish, "id");
	struct owner o = owner_of_account(mine);
	struct box_range r = { .after = INT64_MIN, .before = mk_stanza_uid(ev->stanza),
		.with = mk_jid_bare(other), .limit = 100, .backward = true };
	struct box_page page = { .more = true };

	for (uint32_t rows = 0; rows < RETRACT_ROWS && page.more; rows += page.n) {
		if (box_read(st, o, &r, &page) != MK_STORE_OK || page.n == 0)
			return;
		for (uint32_t k = 0; k < page.n; k++) {
			struct entry *e = &page.e[k];
			struct mk_elem *was, *tomb, *x;
			char stamp[32];
			r.before = e->id;
			if (!(e->flags & BOX_OUT) != !is_in || e->xml.n == 0 || can_skip(e->xml, id) ||
			    mk_elem_read(a, e->xml, &was) < 0 || !mk_streq(mk_elem_attr(was, "id"), id))
				continue;
			if (mk_elem_child(was, "retracted", NS_RETRACT) != NULL) {
				/* By the other side's job; ours knows our words. */
				text_delete(st, o, e->id);
				return;
			}
			tomb = mk_elem_new(a, "message", "jabber:client");
			mk_elem_set(tomb, "from", mk_elem_attr(was, "from"));
			mk_elem_set(tomb, "to", mk_elem_attr(was, "to"));
			mk_elem_set(tomb, "type", mk_elem_attr(was, "type"));
			mk_elem_set(tomb, "id", id);
			x = mk_elem_add(tomb, "retracted", NS_RETRACT);
			mk_elem_set(x, "id", mk_stanza_id(ev->stanza));
			mk_time_format(stamp, mk_uid_wall_ms(mk_stanza_uid(ev->stanza)));
			mk_elem_set(x, "stamp", stamp);
			if (box_replace(st, o, e, mk_elem_write(a, tomb)) == MK_STORE_OK)
				mk_metric_add(i, RETRACTED, 1);
			return;
		}
	}
}

/* ---- both sides ------------------------------------------------------------------------ */

struct pending {                       /* what a job finds out for a message    */
	bool is_in, knows;             /* knows: prefs are in memory            */
	bool exists, wants, failed;
	struct prefs p;
};

static void look_up(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	const struct mam_conf *c = mk_inst_conf(i);
	struct pending *w = data;
	const struct mk_jid *mine = w->is_in ? ev->from : ev->to, *other = w->is_in ? ev->to : ev->from;
	struct mk_jid *bare;
	int want;

	if (!w->exists) {
		bare = mk_jid_to_bare(mine);
		enum mk_auth_answer answer = mk_account_exists(st, bare);
		mk_jid_unref(&bare);
		w->exists = answer == MK_AUTH_YES || answer == MK_AUTH_LATER;
		w->failed = answer == MK_AUTH_LATER;
	}
	if (w->exists && c->preferences && prefs_read(st, mine, &w->p) != MK_STORE_OK)
		w->failed = true;              /* then better too much than too little  */
	want = w->exists ? prefs_want(&w->p, other) : 0;
	if (want < 0) {
		struct mk_inst *roster;
		const struct mk_roster_svc *svc = mk_service_get(i, "roster", 1, &roster);
		struct mk_roster_item item;
		struct mk_jid *contact = mk_jid_to_bare(other);
		bare = mk_jid_to_bare(mine);
		want = svc != NULL && svc->get(roster, st, bare, contact, &item) == 0 &&
		       (item.flags & MK_ROSTER_LISTED);
		mk_jid_unref(&bare);
		mk_jid_unref(&contact);
	}
	w->wants = want != 0;
	if (w->wants && retraction(ev->stanza) != NULL)
		retract(i, st, ev, w->is_in);
}

static enum mk_verdict looked_up(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct pending *w = data;
	const struct mk_jid *mine = w->is_in ? ev->from : ev->to;
	bool is_in = w->is_in, wants = w->exists && w->wants;

	if (w->exists && !w->failed)
		prefs_put(mk_entity_find(mine), mine, &w->p);
	prefs_clear(&w->p);
	mk_free(w);
	if (wants)
		archive(i, ev, is_in);
	return MK_NEXT;
}

static enum mk_verdict retract_in(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	retract(i, st, ev, true);
	return MK_NEXT;
}

static enum mk_verdict retract_out(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st)
{
	retract(i, st, ev, false);
	return MK_NEXT;
}

static enum mk_verdict archive_and_go_on(struct mk_inst *i, struct mk_ev_stanza *ev, bool is_in)
{
	archive(i, ev, is_in);
	if (retraction(ev->stanza) == NULL)
		return MK_NEXT;
	return mk_ev_job(ev, is_in ? retract_in : retract_out);
}

/* At the home of whose archive it is. */
static enum mk_verdict on_message(struct mk_inst *i, struct mk_ev_stanza *ev, bool is_in)
{
	const struct mk_jid *mine = is_in ? ev->from : ev->to, *other = is_in ? ev->to : ev->from;
	const struct prefs *p;
	struct pending *w;
	int want;

	if (!is_archived(mk_inst_conf(i), ev->stanza, is_in))
		return MK_NEXT;
	p = prefs_peek(ev->entity, mine);
	want = p != NULL ? prefs_want(p, other) : -1;
	if (want == 0)
		return MK_NEXT;
	if (want > 0)
		return archive_and_go_on(i, ev, is_in);
	w = mk_alloc(sizeof *w);
	w->is_in = is_in;
	w->exists = p != NULL || is_in ||
		(ev->entity != NULL && mk_entity_sessions(ev->entity) != NULL);
	return mk_ev_job_then(ev, look_up, looked_up, w);
}

static enum mk_verdict on_in(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	return on_message(i, ev, true);
}

static enum mk_verdict on_deliver(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	/* It was archived the first time. */
	return mk_ev_is_redelivery(ev) || ev->from == NULL ? MK_NEXT : on_message(i, ev, false);
}

static void forget(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	(void)i;
	(void)data;
	prefs_forget(e, bare);
}

static void on_removed(struct mk_inst *i, const struct mk_ev_account *ev, struct mk_store *st)
{
	(void)st;
	days_forget();
	count_forget();
	mk_entity_post(i, ev->jid, forget, NULL, NULL);
}

/* ---- life -------------------------------------------------------------------------------- */

static int load(struct mk_module *m)
{
	int r = prefs_load(m);

	archive_load();
	waits_load();
	return r < 0 ? r : query_load(m);
}

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct mam_conf *c = mk_conf_view_values(v);

	if (c->page > c->max_page) {
		mk_conf_refuse(v, d, "page", "must not be above max_page (%lld)",
			(long long)c->max_page);
		return -MK_EINVAL;
	}
	return 0;
}

static int start_features(struct mk_inst *i)
{
	const struct mam_conf *c = mk_inst_conf(i);
	static const char *const both[] = { NS_RSM, NS_MAM, NS_MAM "#extended", NS_MAM "#groupchat-field",
		NS_RETRACT, NS_RETRACT "#tombstone" };
	int r = 0;

	for (size_t k = 0; r == 0 && k < sizeof both / sizeof *both; k++)
		r = mk_disco_feature(i, MK_DISCO_HOST | MK_DISCO_ACCOUNT, both[k]);
	if (r == 0 && c->groupchat)
		r = mk_disco_feature(i, MK_DISCO_HOST | MK_DISCO_ACCOUNT,
			NS_MAM "#groupchat-available");
	if (r == 0 && c->search)
		r = mk_disco_feature(i, MK_DISCO_HOST | MK_DISCO_ACCOUNT, NS_FULLTEXT);
	return r;
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq query_iq = { .size = sizeof query_iq, .flags = MK_IQ_GET |
		MK_IQ_SET | MK_IQ_ACCOUNT | MK_IQ_OTHERS | MK_IQ_UNORDERED, .xmlns = NS_MAM,
		.name = "query", .fn = on_query };
	static const struct mk_iq metadata_iq = { .size = sizeof metadata_iq, .flags = MK_IQ_GET |
		MK_IQ_ACCOUNT | MK_IQ_OTHERS | MK_IQ_UNORDERED, .xmlns = NS_MAM, .name = "metadata",
		.fn = on_query };
	static const struct mk_iq prefs_iq = { .size = sizeof prefs_iq, .flags = MK_IQ_GET |
		MK_IQ_SET | MK_IQ_ACCOUNT | MK_IQ_OTHERS, .xmlns = NS_MAM, .name = "prefs",
		.fn = on_prefs };
	static const struct mk_archive_svc svc = { .size = sizeof svc, .append = svc_append,
		.query = svc_query, .recent = svc_recent, .get = svc_get, .replace = svc_replace,
		.erase = svc_erase, .is_waiting = svc_is_waiting, .wait = svc_wait,
		.waiting = svc_waiting, .delivered = svc_delivered };
	struct mam *m = mk_alloc(sizeof *m);
	int r;

	m->keep = keep_new();
	m->waits = waits_new();
	mk_inst_set_data(i, m);
	if ((r = mk_on_stanza_in(i, MK_PRIO_LAST, MK_M_MESSAGE, on_in)) < 0 ||
	    (r = mk_on_stanza_recovered(i, MK_PRIO_COPY, MK_M_MESSAGE, on_in)) < 0 ||
	    (r = mk_on_stanza_deliver(i, MK_PRIO_COPY, MK_M_MESSAGE, on_deliver)) < 0 ||
	    (r = mk_on_account_removed_stored(i, MK_PRIO_COPY, on_removed)) < 0 ||
	    (r = mk_iq_handle(i, &query_iq)) < 0 || (r = mk_iq_handle(i, &metadata_iq)) < 0 ||
	    (r = mk_iq_handle(i, &prefs_iq)) < 0 || (r = start_features(i)) < 0 ||
	    (r = mk_service_offer(i, "archive", 1, &svc)) < 0 ||
	    (r = mk_every(i, KEEP_EVERY_MS, keep_step)) < 0) {
		mk_inst_set_data(i, NULL);
		keep_free(&m->keep);
		waits_free(&m->waits);
		mk_free(m);
		return r;
	}
	return 0;
}

static void stop(struct mk_inst *i)
{
	struct mam *m = mk_inst_data(i);

	if (m == NULL)
		return;
	keep_free(&m->keep);
	waits_free(&m->waits);
	mk_free(m);
}

static const char *const needs[] = { "stanza-id", "?svc:roster/1", NULL };
static const char *const gives[] = { "svc:archive/1", NULL };

MK_PLUGIN(mam, "mam", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0", .license = "BSD-2-Clause",
	.summary = "Keeps messages, to be read again (XEP-0313).", .needs = needs, .gives = gives,
	.conf = &schema, .tables = tables, .metrics = metrics, .check = check, .load = load,
	.start = start, .stop = stop)
