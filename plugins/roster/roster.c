/*
 * roster - a user's contacts (RFC 6121 2), and the service others read them by
 *
 * Requests run at the user's home worker; storage is read and written in jobs
 * that hold the user's entity, so that answers and pushes are in the order of
 * the requests. What is kept between requests: memory.c.
 */
#include "roster.h"

#include <stdlib.h>

static const struct mk_conf_item items[] = {
	MK_CONF_B(struct roster_conf, versioning, "yes",
		"Announce roster versions, so that clients get only what changed (RFC 6121 2.6)."),
	MK_CONF_I(struct roster_conf, max_items, "1000", "1..9000",
		"Most contacts of a user."),
	MK_CONF_I(struct roster_conf, max_requests, "200", "0..1000",
		"Most subscription requests from others that may wait for a user's answer."),
	MK_CONF_I(struct roster_conf, max_groups, "50", "0..1000",
		"Most groups that one contact can be in."),
	MK_CONF_I(struct roster_conf, max_name, "1023", "1..65535",
		"Longest name of a contact or of a group, in bytes."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct roster_conf, items);

static const struct mk_metric m_gets = { sizeof m_gets, MK_COUNTER, "gets_total",
	"Rosters asked for by clients." };
static const struct mk_metric m_unchanged = { sizeof m_unchanged, MK_COUNTER,
	"gets_unchanged_total", "Rosters that the client had already (RFC 6121 2.6)." };
static const struct mk_metric m_delta = { sizeof m_delta, MK_COUNTER, "gets_delta_total",
	"Rosters of which only the changed items were sent." };
static const struct mk_metric m_sets = { sizeof m_sets, MK_COUNTER, "sets_total",
	"Items added, changed or removed by clients." };
static const struct mk_metric m_pushes = { sizeof m_pushes, MK_COUNTER, "pushes_total",
	"Pushes sent to interested sessions." };
static const struct mk_metric m_forged = { sizeof m_forged, MK_COUNTER, "forged_total",
	"Roster pushes from somebody else than the server, which were refused." };
static const struct mk_metric *const metrics[] = { &m_gets, &m_unchanged, &m_delta, &m_sets,
	&m_pushes, &m_forged, NULL };
static const struct mk_table *const tables[] = { &roster_table, &roster_version_table, NULL };

/* ---- get (2.1.3, 2.2, 2.6.2) ---------------------------------------------------------- */

struct item { struct item *next; const struct mk_roster_item *i; };
struct get {
	struct mk_arena *arena;        /* the request's                         */
	int64_t have;                  /* the client's version; -1 = none       */
	struct mk_roster *roster;      /* for attach, or NULL                   */
	struct item *first;            /* what to tell, highest version first
	                                * when it is told by pushes             */
	uint32_t n, newer;
	bool by_push;
	int64_t version;
};

static struct mk_roster_item *keep_item(struct mk_arena *a, const struct mk_roster_item *item)
{
	struct mk_roster_item *k = mk_arena_alloc(a, sizeof *k);
	const char **groups = mk_arena_alloc(a, (item->groups_n + 1) * sizeof *groups);

	*k = *item;
	k->contact = mk_arena_strdup(a, item->contact);
	k->name = item->name != NULL ? mk_arena_strdup(a, item->name) : NULL;
	for (uint32_t x = 0; x < item->groups_n; x++)
		groups[x] = mk_arena_strdup(a, item->groups[x]);
	k->groups = groups;
	k->request = MK_STR_NONE;
	return k;
}

static void get_one(const struct mk_roster_item *item, void *arg)
{
	struct get *g = arg;
	struct item *k;

	roster_set(g->roster, item->contact, item->flags);
	if (!(item->flags & MK_ROSTER_LISTED))
		return;
	k = mk_arena_alloc(g->arena, sizeof *k);
	k->i = keep_item(g->arena, item);
	k->next = g->first;
	g->first = k;
	g->n++;
	g->newer += item->version > g->have;
}

static int by_version(const void *pa, const void *pb)
{
	const struct mk_roster_item *a = *(const struct mk_roster_item *const *)pa;
	const struct mk_roster_item *b = *(const struct mk_roster_item *const *)pb;

	return a->version < b->version ? -1 : a->version > b->version;
}

/* Only those newer than what the client has, oldest first. */
static void only_newer(struct get *g)
{
	const struct mk_roster_item **v = mk_arena_alloc(g->arena, (g->newer + 1) * sizeof *v);
	uint32_t n = 0;

	for (struct item *k = g->first; k != NULL; k = k->next)
		if (k->i->version > g->have)
			v[n++] = k->i;
	qsort(v, n, sizeof *v, by_version);
	g->first = NULL;
	while (n > 0) {
		struct item *k = mk_arena_alloc(g->arena, sizeof *k);
		k->i = v[--n];
		k->next = g->first;
		g->first = k;
	}
}

static int get_stored(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct get *g = *mk_iq_data(r);
	struct roster_state s;
	int err = roster_state_get(st, mk_iq_to(r), &s);

	if (err < 0)
		return err;
	g->version = s.version;
	g->roster = roster_new(&s);
	err = roster_items(i, st, mk_iq_to(r), UINT32_MAX, get_one, g);
	if (err < 0)
		return err;
	/* What was removed before floor can't be told by pushes. */
	g->by_push = g->have >= s.floor && g->have <= s.version && g->have != 0 &&
	             g->newer <= g->n / 2;
	if (g->have == s.version) {
		g->by_push = true;
		g->newer = 0;
	}
	if (g->by_push)
		only_newer(g);
	return 0;
}

static void get_done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	const struct roster_conf *c = mk_inst_conf(i);
	struct get *g = *mk_iq_data(r);
	struct mk_stanza **pushes = NULL;
	struct mk_elem *query = NULL;
	uint32_t n = 0, newer = g->newer;
	bool by_push = g->by_push;

	if (err < 0) {
		roster_free(&g->roster);
		return;
	}
	roster_attach(i, mk_entity_find(mk_iq_to(r)), &g->roster);
	if (!by_push) {
		query = mk_elem_new(mk_iq_arena(r), "query", NS_ROSTER);
		if (c->versioning)
			mk_elem_setf(query, "ver", "%lld", (long long)g->version);
		for (struct item *k = g->first; k != NULL; k = k->next)
			roster_item_add(query, k->i->contact, k->i->flags, k->i->name,
				k->i->groups, k->i->groups_n);
		mk_iq_result(r, query);
		return;
	}
	mk_metric_add(i, newer == 0 ? GETS_UNCHANGED : GETS_DELTA, 1);
	pushes = mk_alloc((newer + 1) * sizeof *pushes);
	for (struct item *k = g->first; k != NULL; k = k->next) {
		pushes[n] = roster_push_new(mk_iq_to(r), mk_iq_from(r), k->i->version, &query);
		roster_item_add(query, k->i->contact, k->i->flags, k->i->name, k->i->groups,
			k->i->groups_n);
		n++;
	}
	/* First the empty result, then the pushes (2.6.3): by routing, so that they
	 * don't overtake it. */
	mk_iq_result(r, NULL);
	for (uint32_t k = 0; k < n; k++)
		mk_send(&pushes[k]);
	mk_metric_add(i, PUSHES, n);
	mk_free(pushes);
}

static enum mk_verdict on_get(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct roster_conf *c = mk_inst_conf(i);
	const char *ver = mk_elem_attr(mk_iq_payload(r), "ver");
	const struct mk_roster *roster = roster_of(mk_entity_find(mk_iq_to(r)));
	struct mk_session *s = mk_iq_session(r);
	struct get *g = mk_arena_alloc(mk_iq_arena(r), sizeof *g);

	mk_metric_add(i, GETS, 1);
	if (s != NULL)
		roster_be_interested(s);
	g->arena = mk_iq_arena(r);
	g->have = -1;
	if (c->versioning && ver != NULL)
		mk_parse_int(mk_strz(ver), 0, INT64_MAX, &g->have);
	if (roster != NULL && g->have == roster_version(roster)) {
		mk_metric_add(i, GETS_UNCHANGED, 1);
		mk_iq_result(r, NULL);
		return MK_DONE;
	}
	*mk_iq_data(r) = g;
	return mk_iq_job_then(r, get_stored, get_done);
}

/* ---- set (2.3, 2.4, 2.5) ---------------------------------------------------------------- */

struct set {
	struct mk_jid *contact;        /* ref, until done                       */
	bool is_remove, is_answered;
	const char *name;
	const char **groups;
	uint32_t groups_n;
	struct mk_roster_change *change;
};

static int set_change(struct mk_roster_item *item, void *arg)
{
	const struct set *s = arg;

	if (s->is_remove) {
		if (!(item->flags & MK_ROSTER_LISTED))
			return -MK_ENOENT;
		item->flags = 0;
		return MK_ROSTER_WRITE;
	}
	item->flags |= MK_ROSTER_LISTED;
	item->name = s->name;
	item->groups = s->groups;
	item->groups_n = s->groups_n;
	return MK_ROSTER_PUSH;
}

static int set_stored(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct set *s = *mk_iq_data(r);
	int err = roster_change(i, st, mk_iq_to(r), s->contact, set_change, s, &s->change);

	if (err == -MK_ENOENT)
		mk_iq_error(r, MK_ERR_ITEM_NOT_FOUND, NULL);
	else if (err == -MK_ELIMIT)
		mk_iq_error(r, MK_ERR_RESOURCE_CONSTRAINT, "The roster is full.");
	else
		return err;
	s->is_answered = true;
	return 0;
}

static void set_done(struct mk_inst *i, struct mk_iq_req *r, int err)
{
	struct set *s = *mk_iq_data(r);
	struct mk_roster_change *c = s->change;
	struct mk_jid *user = mk_jid_ref(mk_iq_to(r));

	mk_jid_unref(&s->contact);
	if (err >= 0 && !s->is_answered)
		mk_iq_result(r, NULL);
	roster_apply(i, mk_entity_find(user), &c);
	mk_jid_unref(&user);
}

/* The groups of an item; what is wrong with them, or 0 (2.3.3). */
static uint16_t read_groups(const struct roster_conf *c, const struct mk_elem *item,
	struct mk_arena *a, struct set *s)
{
	uint32_t n = 0;

	for (struct mk_elem *g = mk_elem_first(item); g != NULL; g = mk_elem_next(g))
		n += mk_elem_is(g, "group", NS_ROSTER);
	if (n > c->max_groups)
		return MK_ERR_NOT_ACCEPTABLE;
	s->groups = mk_arena_alloc(a, (n + 1) * sizeof *s->groups);
	for (struct mk_elem *g = mk_elem_first(item); g != NULL; g = mk_elem_next(g)) {
		struct mk_str text = mk_elem_text(g);
		if (!mk_elem_is(g, "group", NS_ROSTER))
			continue;
		if (text.n == 0 || text.n > (size_t)c->max_name)
			return MK_ERR_NOT_ACCEPTABLE;
		for (uint32_t k = 0; k < s->groups_n; k++)
			if (mk_str_eqz(text, s->groups[k]))
				return MK_ERR_BAD_REQUEST;
		s->groups[s->groups_n++] = mk_arena_strndup(a, text.p, text.n);
	}
	return 0;
}

/* 0 (s->contact is a reference then), or what is wrong (2.3.3). */
static uint16_t read_set(const struct roster_conf *c, const struct mk_iq_req *r, struct mk_arena *a,
	struct set *s)
{
	struct mk_elem *item = mk_elem_first(mk_iq_payload(r));
	struct mk_jid *full = NULL;
	const char *jid;
	uint16_t e;

	if (item == NULL || mk_elem_next(item) != NULL || !mk_elem_is(item, "item", NS_ROSTER))
		return MK_ERR_BAD_REQUEST;
	jid = mk_elem_attr(item, "jid");
	if (jid == NULL)
		return MK_ERR_BAD_REQUEST;
	/* What the client says of the other attributes is ignored (2.1.2). */
	s->is_remove = mk_streq(mk_elem_attr(item, "subscription"), "remove");
	s->name = mk_elem_attr(item, "name");
	if (s->name != NULL && *s->name == '\0')
		s->name = NULL;
	if (!s->is_remove) {
		e = read_groups(c, item, a, s);
		if (e != 0)
			return e;
		if (s->name != NULL && strlen(s->name) > (size_t)c->max_name)
			return MK_ERR_NOT_ACCEPTABLE;
	}
	if (mk_jid_parsez(jid, &full) < 0)
		return MK_ERR_JID_MALFORMED;
	s->contact = mk_jid_to_bare(full);
	mk_jid_unref(&full);
	if (!mk_jid_bare_eq(s->contact, mk_iq_to(r)))
		return 0;
	mk_jid_unref(&s->contact);
	return MK_ERR_NOT_ALLOWED;
}

static enum mk_verdict on_set(struct mk_inst *i, struct mk_iq_req *r)
{
	struct set *s = mk_arena_alloc(mk_iq_arena(r), sizeof *s);
	uint16_t e = read_set(mk_inst_conf(i), r, mk_iq_arena(r), s);

	if (e != 0) {
		mk_iq_error(r, e, NULL);
		return MK_DONE;
	}
	mk_metric_add(i, SETS, 1);
	*mk_iq_data(r) = s;
	return mk_iq_job_then(r, set_stored, set_done);
}

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	return mk_iq_is_set(r) ? on_set(i, r) : on_get(i, r);
}

/* ---- forged pushes (reliability S-07) ---------------------------------------------------- */

static enum mk_verdict guard(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct mk_elem *query;

	if (mk_stanza_type(ev->stanza) != MK_TYPE_SET)
		return MK_NEXT;
	query = mk_elem_first(mk_stanza_elem(ev->stanza));
	if (query == NULL || !mk_streq(mk_elem_xmlns(query), NS_ROSTER))
		return MK_NEXT;
	/* A client's 'from' is always full: only the server speaks for the account. */
	if (ev->from != NULL && mk_jid_is_bare(ev->from) && mk_jid_bare_eq(ev->from, ev->to))
		return MK_NEXT;
	mk_metric_add(i, FORGED, 1);
	ev->error = MK_ERR_SERVICE_UNAVAILABLE;
	return MK_FAIL;
}

/* ---- the end of an account ---------------------------------------------------------------- */

struct farewell { const struct mk_jid *user; };

static void send_type(const struct mk_jid *from, const char *type, const struct mk_jid *to)
{
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, type, from, to);
	mk_send(&s);
}

static void farewell_one(const struct mk_roster_item *item, void *arg)
{
	const struct farewell *f = arg;
	struct mk_jid *contact = NULL;

	if (mk_jid_parsez(item->contact, &contact) < 0)
		return;
	if (item->flags & (MK_ROSTER_TO | MK_ROSTER_ASK))
		send_type(f->user, "unsubscribe", contact);
	if (item->flags & (MK_ROSTER_FROM | MK_ROSTER_PENDING))
		send_type(f->user, "unsubscribed", contact);
	mk_jid_unref(&contact);
}

/* XEP-0077 3.2: subscriptions of an account that is gone are cancelled. */
static void on_removed(struct mk_inst *i, const struct mk_ev_account *ev, struct mk_store *st)
{
	struct farewell f = { ev->jid };

	if (roster_items(i, st, ev->jid, UINT32_MAX, farewell_one, &f) < 0)
		mk_log(i, MK_WARN, "contacts of a removed account were not told", "user=%s",
			mk_jid_full(ev->jid));
}

/* ---- the plugin ---------------------------------------------------------------------------- */

static const struct mk_roster_svc service = {
	.size = sizeof service, .flags = roster_flags, .each = roster_each,
	.is_interested = roster_is_interested, .attach = roster_attach, .apply = roster_apply,
	.load = roster_load, .get = roster_get, .items = roster_items, .change = roster_change,
};

static void features(struct mk_inst *i, struct mk_stream *st, struct mk_elem *e)
{
	const struct roster_conf *c = mk_inst_conf(i);

	(void)st;
	if (c->versioning)
		mk_elem_add(e, "ver", "urn:xmpp:features:rosterver");
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq,
		.flags = MK_IQ_GET | MK_IQ_SET | MK_IQ_ACCOUNT, .xmlns = NS_ROSTER,
		.name = "query", .fn = on_iq };
	int r = mk_iq_handle(i, &iq);

	if (r >= 0)
		r = mk_service_offer(i, "roster", 1, &service);
	if (r >= 0)
		r = mk_stream_feature(i, MK_STREAM_AUTHED, features);
	if (r >= 0)
		r = mk_on_stanza_deliver(i, MK_PRIO_GUARD, MK_M_IQ, guard);
	if (r >= 0)
		r = mk_on_account_removed_stored(i, MK_PRIO_ROUTE, on_removed);
	return r;
}

static const char *const gives[] = { "svc:roster/1", NULL };

MK_PLUGIN(roster, "roster", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Keeps users' contacts (RFC 6121 2).",
	.gives = gives, .conf = &schema, .tables = tables, .metrics = metrics,
	.load = roster_load_slots, .start = start)
