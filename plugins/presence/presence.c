/*
 * presence - who is there, and who is told (RFC 6121 3 and 4)
 *
 * Runs at the user's home worker. Whom to tell is in the roster in memory,
 * which is loaded when a session's presence first needs it. What goes to many
 * is one stanza. Another user's state is never looked at: probes and presence
 * go by routing, to users of this server like to all others.
 */
#include "presence.h"

static const struct mk_conf_item items[] = {
	MK_CONF_I(struct presence_conf, max_directed, "1000", "1..100000",
		"Most addresses outside the roster that a session can send its presence to "
		"at a time (rooms, for instance)."),
	MK_CONF_BYTES(struct presence_conf, max_request, "8KB", "256..64KB",
		"Largest subscription request that is kept whole until the user answers."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct presence_conf, items);

static const struct mk_metric m_broadcasts = { sizeof m_broadcasts, MK_COUNTER,
	"broadcasts_total", "Presence of sessions that was told to their users' contacts." };
static const struct mk_metric m_probes = { sizeof m_probes, MK_COUNTER, "probes_total",
	"Presence probes answered." };
static const struct mk_metric m_requests = { sizeof m_requests, MK_COUNTER, "requests_total",
	"Subscription requests that users were asked to answer." };
static const struct mk_metric m_refused = { sizeof m_refused, MK_COUNTER,
	"requests_refused_total", "Subscription requests dropped, as too many waited." };
static const struct mk_metric *const metrics[] = { &m_broadcasts, &m_probes, &m_requests,
	&m_refused, NULL };

const struct mk_roster_svc *rosters(struct mk_inst *i, struct mk_inst **roster_inst)
{
	return mk_service_get(i, "roster", 1, roster_inst);
}

/* ---- broadcasts ------------------------------------------------------------------------ */

struct fan { struct mk_stanza *stanza; const struct names *but; };

static void fan_one(const struct mk_jid *contact, uint32_t flags, void *arg)
{
	const struct fan *f = arg;

	(void)flags;
	if (f->but == NULL || f->but->n == 0 || !names_has(f->but, contact))
		mk_send_to(f->stanza, contact);
}

/* To contacts of one of flags, unless they answered with an error before. false:
 * the roster isn't in memory. */
static bool fan_out(struct mk_inst *i, struct mk_session *s, uint32_t flags, struct mk_stanza *st)
{
	const struct presence *p = presence_peek(s);
	struct fan f = { st, p != NULL ? &p->stopped : NULL };
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	return r != NULL && r->each(ri, mk_session_entity(s), flags, fan_one, &f);
}

/* To the user's other available sessions. */
static void tell_others(struct mk_session *s, struct mk_stanza *st)
{
	for (struct mk_session *o = mk_entity_sessions(mk_session_entity(s)); o != NULL;
	     o = mk_session_next(o))
		if (o != s && mk_session_is_open(o) && mk_session_is_available(o))
			mk_session_send(o, st);
}

/* What a session that comes to be available is told: who else is there (4.2.2,
 * 4.3.1). */
static void greet(struct mk_inst *i, struct mk_session *s)
{
	struct mk_stanza *probe = mk_stanza_new(MK_PRESENCE, "probe", mk_session_jid(s), NULL);

	fan_out(i, s, MK_ROSTER_TO, probe);
	mk_stanza_unref(&probe);
	for (struct mk_session *o = mk_entity_sessions(mk_session_entity(s)); o != NULL;
	     o = mk_session_next(o)) {
		struct mk_stanza *st = NULL;
		if (o != s && mk_session_is_open(o) && mk_session_is_available(o))
			st = presence_last(o);
		if (st != NULL) {
			mk_session_send(s, st);
			mk_stanza_unref(&st);
		}
	}
}

static void become_available(struct mk_inst *i, struct mk_session *s, struct mk_stanza *st,
	int priority)
{
	bool is_first = !mk_session_is_available(s);

	presence_keep(s, st);
	mk_session_set_presence(s, true, priority);
	mk_metric_add(i, BROADCASTS, 1);
	fan_out(i, s, MK_ROSTER_FROM, st);
	tell_others(s, st);
	mk_session_send(s, st);
	if (is_first)
		greet(i, s);
}

/* To those who know of s by directed presence only (4.6.3). */
static void leave_directed(struct mk_inst *i, struct mk_session *s, struct mk_stanza *st,
	bool was_available)
{
	const struct presence *p = presence_peek(s);
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	for (uint32_t k = 0; p != NULL && k < p->directed.n; k++) {
		const struct mk_jid *to = names_all(&p->directed)[k];
		int flags = r != NULL ? r->flags(ri, mk_session_entity(s), to) : -1;
		/* Contacts have heard it with all others. */
		if (!was_available || flags < 0 || !(flags & MK_ROSTER_FROM) || !mk_jid_is_bare(to))
			mk_send_to(st, to);
	}
}

/* A session that ends while its user's roster isn't in memory (its plugin was
 * loaded anew since): contacts are told by a job. */
struct gone { struct mk_stanza *stanza; struct mk_jid *user; };

static void gone_one(const struct mk_roster_item *item, void *arg)
{
	const struct gone *g = arg;
	struct mk_jid *contact = NULL;

	if (mk_jid_parsez(item->contact, &contact) < 0)
		return;
	mk_send_to(g->stanza, contact);
	mk_jid_unref(&contact);
}

static void gone_work(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct gone *g = data;
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	if (r == NULL || r->items(ri, st, g->user, MK_ROSTER_FROM, gone_one, g) < 0)
		mk_log(i, MK_WARN, "contacts were not told that a session ended", "user=%s",
			mk_jid_full(g->user));
}

static void gone_done(struct mk_inst *i, void *data)
{
	struct gone *g = data;

	(void)i;
	mk_stanza_unref(&g->stanza);
	mk_jid_unref(&g->user);
	mk_free(g);
}

/* st is of type unavailable, from s. */
static void become_unavailable(struct mk_inst *i, struct mk_session *s, struct mk_stanza *st)
{
	bool was_available = mk_session_is_available(s);

	if (was_available) {
		mk_metric_add(i, BROADCASTS, 1);
		if (!fan_out(i, s, MK_ROSTER_FROM, st)) {
			struct gone *g = mk_alloc(sizeof *g);
			g->stanza = mk_stanza_ref(st);
			g->user = mk_jid_ref(mk_entity_jid(mk_session_entity(s)));
			mk_job(i, gone_work, gone_done, g);
		}
		mk_session_set_presence(s, false, 0);
		tell_others(s, st);
		if (mk_session_is_open(s))
			mk_session_send(s, st);
	}
	leave_directed(i, s, st, was_available);
	presence_clear(s);
}

/* Text of <priority/>: -128..127, 0 without one (4.7.2.3). */
static bool read_priority(const struct mk_stanza *s, int *out)
{
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(s), "priority", "jabber:client");
	int64_t n = 0;

	if (e != NULL && mk_parse_int(mk_elem_text(e), -128, 127, &n) < 0)
		return false;
	*out = (int)n;
	return true;
}

static enum mk_verdict tell_all(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	int priority = 0;

	if (mk_stanza_type(ev->stanza) == MK_TYPE_UNAVAILABLE)
		become_unavailable(i, ev->session, ev->stanza);
	else if (read_priority(ev->stanza, &priority))
		become_available(i, ev->session, ev->stanza, priority);
	return MK_DONE;
}

/* What tell_all() may need from storage: the roster, unless it is in memory, and,
 * for a session that comes to be available, the requests that wait. */
struct load {
	bool wants_roster, wants_requests;
	struct mk_roster *roster;
	struct requests *requests;
	int err;
};

static void load_work(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	struct load *l = data;
	struct mk_jid *user = mk_jid_to_bare(ev->from);
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	l->err = r != NULL ? 0 : -MK_ECLOSED;
	if (l->err >= 0 && l->wants_roster)
		l->err = r->load(ri, st, user, &l->roster);
	if (l->err >= 0 && l->wants_requests)
		l->err = requests_read(i, st, user, &l->requests);
	mk_jid_unref(&user);
}

static enum mk_verdict load_done(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct load *l = data;
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	enum mk_verdict v = MK_DONE;

	if (l->roster != NULL && r != NULL)
		r->attach(ri, mk_entity_find(ev->from), &l->roster);
	if (l->err < 0) {
		ev->error = MK_ERR_INTERNAL_SERVER_ERROR;
		v = MK_FAIL;
	} else if (!mk_session_is_open(ev->session)) {
		v = MK_DROP;           /* on_close() has seen to it              */
	} else {
		v = tell_all(i, ev);
		if (l->requests != NULL)
			requests_send(l->requests, ev->session);
	}
	requests_free(&l->requests);
	mk_free(l);
	return v;
}

static enum mk_verdict broadcast(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	bool is_there = mk_stanza_type(ev->stanza) != MK_TYPE_UNAVAILABLE;
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	int priority;

	if (is_there && !read_priority(ev->stanza, &priority)) {
		ev->error = MK_ERR_BAD_REQUEST;
		ev->error_text = "A priority is an integer from -128 to 127.";
		return MK_FAIL;
	}
	if (r == NULL)
		return MK_FAIL;
	bool was_there = mk_session_is_available(ev->session);
	bool wants_roster = (is_there || was_there) && r->flags(ri, ev->entity, ev->from) < 0;
	bool wants_requests = is_there && !was_there && requests_wait(i, ev->entity);
	if (!wants_roster && !wants_requests)
		return tell_all(i, ev);
	struct load *l = mk_alloc(sizeof *l);
	l->wants_roster = wants_roster;
	l->wants_requests = wants_requests;
	l->err = -MK_ECLOSED;
	return mk_ev_job_then(ev, load_work, load_done, l);
}

/* ---- from a client ------------------------------------------------------------------------ */

/* 4.6: goes as it is; who was told is remembered, to be told of the end. */
static enum mk_verdict directed(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct presence_conf *c = mk_inst_conf(i);
	struct presence *p;
	struct mk_jid *bare;

	if (mk_jid_bare_eq(ev->from, ev->to))
		return MK_NEXT;
	if (mk_stanza_type(ev->stanza) == MK_TYPE_UNAVAILABLE) {
		p = presence_peek(ev->session);
		if (p != NULL)
			names_remove(&p->directed, ev->to);
		return MK_NEXT;
	}
	p = presence_of(ev->session);
	if (p->directed.n >= c->max_directed && !names_has(&p->directed, ev->to)) {
		ev->error = MK_ERR_RESOURCE_CONSTRAINT;
		return MK_FAIL;
	}
	names_add(&p->directed, ev->to);
	bare = mk_jid_to_bare(ev->to);
	names_remove(&p->stopped, bare);
	mk_jid_unref(&bare);
	return MK_NEXT;
}

static enum mk_verdict on_in(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	switch (ev->match) {
	case MK_M_SUBSCRIPTION:
		return subscription_out(i, ev);
	case MK_M_PROBE:               /* the server's to send (4.3)            */
		return MK_DROP;
	default:
		break;
	}
	if (mk_stanza_type(ev->stanza) == MK_TYPE_NONE &&
	    mk_elem_attr(mk_stanza_elem(ev->stanza), "type") != NULL) {
		ev->error = MK_ERR_BAD_REQUEST;        /* 4.7.1 */
		return MK_FAIL;
	}
	return mk_stanza_to(ev->stanza) == NULL ? broadcast(i, ev) : directed(i, ev);
}

/* ---- probes (4.3.2) -------------------------------------------------------------------------- */

struct probe { int flags, err; };

/* Those of e's sessions that sent directed presence to who asks: they may know. */
static bool answer_directed(const struct mk_entity *e, const struct mk_jid *asker)
{
	struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL;
	struct mk_jid *bare = mk_jid_to_bare(asker);
	bool any = false;

	for (; s != NULL; s = mk_session_next(s)) {
		const struct presence *p = presence_peek(s);
		struct mk_stanza *st;
		if (p == NULL || p->directed.n == 0 || !mk_session_is_open(s) ||
		    (!names_has(&p->directed, asker) &&
		     !names_has(&p->directed, bare)))
			continue;
		any = true;
		st = presence_last(s);
		if (st == NULL)
			st = mk_stanza_new(MK_PRESENCE, NULL, mk_session_jid(s), NULL);
		mk_send_to(st, asker);
		mk_stanza_unref(&st);
	}
	mk_jid_unref(&bare);
	return any;
}

static void answer(struct mk_inst *i, const struct mk_ev_stanza *ev, int flags)
{
	struct mk_entity *e = mk_entity_find(ev->to);
	struct mk_jid *user = mk_jid_to_bare(ev->to), *asker = mk_jid_to_bare(ev->from);
	bool any = false;

	mk_metric_add(i, PROBES, 1);
	if (!(flags & MK_ROSTER_FROM) && !mk_jid_bare_eq(ev->from, ev->to)) {
		/* The same whether the user is there, is not, or never was (S-16). */
		if (!answer_directed(e, ev->from))
			presence_send(user, "unsubscribed", asker);
	} else {
		for (struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL; s != NULL;
		     s = mk_session_next(s))
			any |= mk_session_is_open(s) && mk_session_is_available(s);
		if (any)
			presence_send_all(e, ev->from);
		else
			presence_send(user, "unavailable", ev->from);
	}
	mk_jid_unref(&user);
	mk_jid_unref(&asker);
}

static void probe_work(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	struct probe *p = data;
	struct mk_jid *user = mk_jid_to_bare(ev->to);
	struct mk_roster_item item = { .flags = 0 };
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	if (r != NULL)
		p->err = r->get(ri, st, user, ev->from, &item);
	if (p->err == -MK_ENOENT)
		p->err = 0;
	p->flags = (int)item.flags;
	mk_jid_unref(&user);
}

static enum mk_verdict probe_done(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct probe *p = data;

	/* Nobody's subscription ends because storage is away: silence. */
	if (p->err >= 0)
		answer(i, ev, p->flags);
	mk_free(p);
	return MK_DONE;
}

static enum mk_verdict on_probe(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	int flags = r != NULL ? r->flags(ri, ev->entity, ev->from) : -1;

	if (ev->from == NULL)
		return MK_DROP;
	if (flags < 0) {
		struct probe *p = mk_alloc(sizeof *p);
		p->err = -MK_ECLOSED;
		return mk_ev_job_then(ev, probe_work, probe_done, p);
	}
	answer(i, ev, flags);
	return MK_DONE;
}

/* ---- for a user --------------------------------------------------------------------------- */

static void deliver_all(struct mk_ev_stanza *ev)
{
	for (struct mk_session *s = mk_entity_sessions(ev->entity); s != NULL; s = mk_session_next(s))
		if (mk_session_is_open(s) && mk_session_is_available(s))
			mk_ev_deliver(ev, s);
}

/* Whether who sends the error may have what it refused another time ("wait", "modify"):
 * a room that finds one presence of an occupant too much still has the occupant. */
static bool is_passing(const struct mk_stanza *s)
{
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(s), "error", NULL);
	const char *type = e != NULL ? mk_elem_attr(e, "type") : NULL;

	return mk_streq(type, "wait") || mk_streq(type, "modify");
}

/* Who answers presence that was sent to all contacts with an error is left alone until
 * the session ends (4.2.2, 4.4.2); the client sees the first one, and each that answers
 * what it directed itself. An error for the account answers a subscription stanza. */
static enum mk_verdict on_error(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct presence_conf *c = mk_inst_conf(i);
	struct mk_session *s;
	struct presence *p;
	struct mk_jid *bare;
	enum mk_verdict v = MK_NEXT;

	if (mk_stanza_kind(ev->stanza) != MK_PRESENCE || ev->from == NULL || ev->entity == NULL ||
	    mk_jid_bare_eq(ev->from, ev->to))
		return MK_NEXT;
	if (mk_jid_is_bare(ev->to)) {
		deliver_all(ev);
		return MK_NEXT;
	}
	s = mk_entity_session(ev->entity, mk_jid_resource(ev->to));
	if (s == NULL || !mk_session_is_open(s))
		return MK_NEXT;
	p = presence_of(s);
	if (names_has(&p->directed, ev->from)) {
		if (!is_passing(ev->stanza))
			names_remove(&p->directed, ev->from);
		return MK_NEXT;
	}
	bare = mk_jid_to_bare(ev->from);
	if (names_has(&p->stopped, bare))
		v = MK_DROP;
	else if (p->stopped.n < c->max_directed)
		names_add(&p->stopped, bare);
	mk_jid_unref(&bare);
	return v;
}

static enum mk_verdict on_deliver(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	switch (ev->match) {
	case MK_M_SUBSCRIPTION:
		return subscription_in(i, ev);
	case MK_M_PROBE:
		return on_probe(i, ev);
	default:
		break;
	}
	/* 8.5.2.1.2: to all available resources; the core gives what is for one
	 * resource to that one, and drops what nobody takes. */
	if (mk_jid_is_bare(ev->to) && ev->entity != NULL)
		deliver_all(ev);
	return MK_NEXT;
}

/* ---- the plugin ----------------------------------------------------------------------------- */

/* 4.5.2: what the client did not say itself. */
static void on_close(struct mk_inst *i, const struct mk_ev_session *ev)
{
	const struct presence *p = presence_peek(ev->session);
	struct mk_stanza *st;

	if (!mk_session_is_available(ev->session) && (p == NULL || p->directed.n == 0))
		return;
	st = mk_stanza_new(MK_PRESENCE, "unavailable", mk_session_jid(ev->session), NULL);
	become_unavailable(i, ev->session, st);
	mk_stanza_unref(&st);
}

static void features(struct mk_inst *i, struct mk_stream *st, struct mk_elem *e)
{
	(void)i;
	(void)st;
	mk_elem_add(e, "sub", "urn:xmpp:features:pre-approval");
}

static int start(struct mk_inst *i)
{
	int r = mk_on_stanza_in(i, MK_PRIO_ROUTE, MK_M_PRESENCE | MK_M_SUBSCRIPTION | MK_M_PROBE,
		on_in);

	if (r >= 0)
		r = mk_on_stanza_deliver(i, MK_PRIO_ROUTE,
			MK_M_PRESENCE | MK_M_SUBSCRIPTION | MK_M_PROBE, on_deliver);
	/* Before whoever gives errors to sessions, as it may drop them. */
	if (r >= 0)
		r = mk_on_stanza_deliver(i, MK_PRIO_ROUTE - 10, MK_M_ERROR, on_error);
	if (r >= 0)
		r = mk_on_session_close(i, MK_PRIO_ROUTE, on_close);
	if (r >= 0)
		r = mk_stream_feature(i, MK_STREAM_AUTHED, features);
	return r;
}

static const char *const needs[] = { "svc:roster/1", NULL };

MK_PLUGIN(presence, "presence", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Tells who is there, and to whom (RFC 6121 3, 4).",
	.needs = needs, .conf = &schema, .metrics = metrics, .load = presence_load_slots,
	.start = start)
