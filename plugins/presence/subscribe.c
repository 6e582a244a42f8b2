/*
 * presence/subscribe.c - asking, allowing, cancelling (RFC 6121 3)
 *
 * Each subscription stanza is worked on twice: for the sender's roster on its
 * way out, for the recipient's on its way in, each at that user's home with
 * the user's entity held. A job reads and writes the item in one transaction;
 * then, at the worker, the stanza goes on, and those concerned are told. The
 * two users' rosters are never touched together: they are told by stanzas.
 */
#include "presence.h"

#include <meerkat/auth.h>

struct sub {
	struct mk_inst *inst;
	struct mk_store *st;           /* while the job runs                    */
	const struct mk_jid *user;     /* whose roster                          */
	enum way way;
	enum mk_stanza_type type;
	struct mk_str request;         /* in: what is kept of it                */
	uint32_t old;                  /* flags before                          */
	struct step step;
	bool nobody;                   /* in: there is no such account          */
	int err;
	struct mk_roster_change *change;
};

/* The stanza as it is kept: whole, or, where it is too large, without what is
 * in it. */
static struct mk_str kept(struct mk_inst *i, const struct mk_stanza *s, struct mk_arena *a)
{
	const struct presence_conf *c = mk_inst_conf(i);
	struct mk_str xml = mk_elem_write(a, mk_stanza_elem(s));

	if (xml.n <= (size_t)c->max_request)
		return xml;
	struct mk_elem *e = mk_elem_new(a, "presence", "jabber:client");
	mk_elem_set(e, "type", "subscribe");
	mk_elem_set(e, "from", mk_jid_full(mk_stanza_from(s)));
	if (mk_stanza_to(s) != NULL)
		mk_elem_set(e, "to", mk_jid_full(mk_stanza_to(s)));
	return mk_elem_write(a, e);
}

static int change(struct mk_roster_item *item, void *arg)
{
	struct sub *s = arg;

	s->old = item->flags;
	if (s->way == INBOUND && item->flags == 0) {
		/* Only a request leaves anything behind; it must have a reader. */
		if (s->type != MK_TYPE_SUBSCRIBE)
			return MK_ROSTER_KEEP;
		enum mk_auth_answer a = mk_account_exists(s->st, s->user);
		s->nobody = a == MK_AUTH_UNKNOWN;
		if (a == MK_AUTH_LATER)
			return -MK_EAGAIN;
		if (s->nobody)
			return MK_ROSTER_KEEP;
	}
	s->step = subscription_step(s->way, s->type, item->flags);
	if (s->step.flags == item->flags)
		return MK_ROSTER_KEEP;
	item->flags = s->step.flags;
	item->request = item->flags & MK_ROSTER_PENDING ?
		(s->old & MK_ROSTER_PENDING ? item->request : s->request) : MK_STR_NONE;
	return MK_ROSTER_WRITE;
}

static void work(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	struct sub *s = data;
	const struct mk_jid *contact = s->way == OUTBOUND ? ev->to : ev->from;
	struct mk_jid *user = mk_jid_to_bare(s->way == OUTBOUND ? ev->from : ev->to);
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	s->st = st;
	s->user = user;
	if (s->way == INBOUND && s->type == MK_TYPE_SUBSCRIBE)
		s->request = kept(i, ev->stanza, mk_store_arena(st));
	s->err = r != NULL ? r->change(ri, st, user, contact, change, s, &s->change) : -MK_ECLOSED;
	s->st = NULL;
	s->user = NULL;
	mk_jid_unref(&user);
}

static enum mk_verdict refuse(struct mk_ev_stanza *ev, int err)
{
	ev->error = err == -MK_ELIMIT ? MK_ERR_RESOURCE_CONSTRAINT : MK_ERR_INTERNAL_SERVER_ERROR;
	return MK_FAIL;
}

static struct sub *sub_new(struct mk_inst *i, enum way way, const struct mk_stanza *st)
{
	struct sub *s = mk_alloc(sizeof *s);

	s->inst = i;
	s->way = way;
	s->type = mk_stanza_type(st);
	s->err = -MK_ECLOSED;
	return s;
}

static void apply(struct mk_inst *i, struct mk_entity *e, struct sub *s)
{
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);

	if (r != NULL)
		r->apply(ri, e, &s->change);
}

/* ---- out ---------------------------------------------------------------------------- */

/* As the account's, to the account (3.1.2): both bare. */
static void pass_on(struct mk_ev_stanza *ev)
{
	static const char *const names[] = { [MK_TYPE_SUBSCRIBE] = "subscribe",
		[MK_TYPE_SUBSCRIBED] = "subscribed", [MK_TYPE_UNSUBSCRIBE] = "unsubscribe",
		[MK_TYPE_UNSUBSCRIBED] = "unsubscribed" };
	struct mk_jid *from = mk_jid_to_bare(ev->from), *to = mk_jid_to_bare(ev->to);
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, names[mk_stanza_type(ev->stanza)], from, to);
	const struct mk_elem *e = mk_stanza_elem(ev->stanza);

	if (mk_stanza_id(ev->stanza) != NULL)
		mk_stanza_set_id(s, mk_stanza_id(ev->stanza));
	if (mk_stanza_lang(ev->stanza) != NULL)
		mk_elem_set(mk_stanza_root(s), "xml:lang", mk_stanza_lang(ev->stanza));
	for (const struct mk_elem *c = mk_elem_first(e); c != NULL; c = mk_elem_next(c))
		mk_elem_adopt(mk_stanza_root(s), mk_elem_copy(mk_stanza_arena(s), c));
	mk_send(&s);
	mk_jid_unref(&from);
	mk_jid_unref(&to);
}

static enum mk_verdict out_done(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct sub *s = data;
	struct mk_entity *e = mk_entity_find(ev->from);
	enum mk_verdict v = MK_DONE;

	if (s->err < 0) {
		v = refuse(ev, s->err);
		goto end;
	}
	struct mk_jid *contact = mk_jid_to_bare(ev->to);
	/* While the contact may still see it (3.2.1). */
	if (s->type == MK_TYPE_UNSUBSCRIBED && (s->old & MK_ROSTER_FROM))
		presence_send_gone(e, contact);
	if (s->step.passes)
		pass_on(ev);
	apply(i, e, s);
	if (s->type == MK_TYPE_SUBSCRIBED && s->step.passes)
		presence_send_all(e, contact); /* 3.1.5 */
	mk_jid_unref(&contact);
end:
	mk_free(s);
	return v;
}

enum mk_verdict subscription_out(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (mk_stanza_to(ev->stanza) == NULL) {
		ev->error = MK_ERR_BAD_REQUEST;
		return MK_FAIL;
	}
	if (mk_jid_bare_eq(ev->from, ev->to)) {
		ev->error = MK_ERR_NOT_ALLOWED;
		return MK_FAIL;
	}
	return mk_ev_job_then(ev, work, out_done, sub_new(i, OUTBOUND, ev->stanza));
}

/* ---- in ----------------------------------------------------------------------------- */

/* A request to available sessions (3.1.3), the rest to interested ones. */
static void deliver(struct mk_inst *i, struct mk_ev_stanza *ev, const struct mk_entity *e,
	enum mk_stanza_type type)
{
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	struct mk_session *s = e != NULL && r != NULL ? mk_entity_sessions(e) : NULL;

	for (; s != NULL; s = mk_session_next(s))
		if (mk_session_is_open(s) && (type == MK_TYPE_SUBSCRIBE
		                              ? mk_session_is_available(s) : r->is_interested(ri, s)))
			mk_ev_deliver(ev, s);
}

static enum mk_verdict in_done(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct sub *s = data;
	struct mk_entity *e = mk_entity_find(ev->to);
	struct mk_jid *user = mk_jid_to_bare(ev->to), *contact = mk_jid_to_bare(ev->from);
	enum mk_verdict v = MK_DONE;

	if (s->err == -MK_ELIMIT) {
		/* Too many wait: as if the user had not seen it. */
		mk_metric_add(i, REQUESTS_REFUSED, 1);
		v = MK_DROP;
		goto end;
	}
	if (s->err < 0) {
		v = refuse(ev, s->err);
		goto end;
	}
	if (s->nobody) {
		presence_send(user, "unsubscribed", contact);  /* 3.1.3 */
		goto end;
	}
	if (s->step.passes)
		deliver(i, ev, e, s->type);
	if (s->type == MK_TYPE_SUBSCRIBE && s->step.passes)
		mk_metric_add(i, REQUESTS, 1);
	if (s->step.is_answered)
		presence_send(user, "subscribed", contact);
	apply(i, e, s);
	if (s->step.is_answered && !(s->old & MK_ROSTER_FROM))
		presence_send_all(e, contact);
	if (s->type == MK_TYPE_UNSUBSCRIBE && (s->old & MK_ROSTER_FROM))
		presence_send_gone(e, contact); /* 3.3.3 */
end:
	mk_jid_unref(&user);
	mk_jid_unref(&contact);
	mk_free(s);
	return v;
}

enum mk_verdict subscription_in(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	if (ev->from == NULL || mk_jid_bare_eq(ev->from, ev->to))
		return MK_DROP;
	return mk_ev_job_then(ev, work, in_done, sub_new(i, INBOUND, ev->stanza));
}

/* ---- requests that wait ----------------------------------------------------------------- */

struct waiting { struct mk_str xml; struct waiting *next; };
struct requests {
	struct mk_arena *arena;        /* holds it                              */
	struct waiting *first, **last;
};

static void note(const struct mk_jid *contact, uint32_t flags, void *arg)
{
	(void)contact;
	(void)flags;
	*(bool *)arg = true;
}

bool requests_wait(struct mk_inst *i, const struct mk_entity *e)
{
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	bool any = false;

	return r == NULL || !r->each(ri, e, MK_ROSTER_PENDING, note, &any) || any;
}

static void read_one(const struct mk_roster_item *item, void *arg)
{
	struct requests *q = arg;
	struct waiting *w = mk_arena_alloc(q->arena, sizeof *w);

	w->xml.p = mk_arena_strndup(q->arena, item->request.p, item->request.n);
	w->xml.n = item->request.n;
	*q->last = w;
	q->last = &w->next;
}

int requests_read(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct requests **out)
{
	struct mk_arena *a = mk_arena_new();
	struct requests *q = mk_arena_alloc(a, sizeof *q);
	struct mk_inst *ri;
	const struct mk_roster_svc *r = rosters(i, &ri);
	int err = -MK_ECLOSED;

	q->arena = a;
	q->last = &q->first;
	if (r != NULL)
		err = r->items(ri, st, user, MK_ROSTER_PENDING, read_one, q);
	if (err < 0)
		requests_free(&q);
	else
		*out = q;
	return err;
}

void requests_send(const struct requests *q, struct mk_session *s)
{
	for (const struct waiting *w = q->first; w != NULL; w = w->next) {
		struct mk_elem *e = NULL;
		struct mk_stanza *st = NULL;
		if (mk_elem_read(mk_turn_arena(), w->xml, &e) < 0 ||
		    mk_stanza_from_elem(e, &st) < 0)
			continue;
		mk_session_send(s, st);
		mk_stanza_unref(&st);
	}
}

void requests_free(struct requests **q)
{
	struct mk_arena *a = *q != NULL ? (*q)->arena : NULL;

	*q = NULL;
	if (a != NULL)
		mk_arena_free(&a);
}
