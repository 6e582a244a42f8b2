/*
 * stream/bind.c - resource binding: RFC 6120 7, and Bind 2 (XEP-0386) in SASL2
 *
 * Runs at the home of the bare JID. A bind can wait for a stored session_open
 * handler; the stream handles no input meanwhile.
 */
#include <meerkat/auth.h>
#include "stream/stream.h"

#include <stdio.h>

#include "loop/worker.h"
#include "route/route.h"
#include "base/ban.h"

void mk_bind_features(struct mk_stream *st, struct mk_elem *features)
{
	(void)st;
	mk_elem_add(mk_elem_add(features, "bind", MK_NS_BIND), "required", NULL);
	/* Clients of RFC 3921 want it; it does nothing. */
	mk_elem_add(mk_elem_add(features, "session", MK_NS_SESSION), "optional", NULL);
}

void mk_bind2_features(struct mk_stream *st, struct mk_elem *in)
{
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	struct mk_elem *list = mk_elem_add(mk_elem_add(in, "bind", MK_NS_BIND2), "inline", NULL);

	for (uint32_t i = 0; i < d->inline_count; i++) {
		const struct mk_inline_request *r = &d->inlines[i].r->r;
		bool again = false;
		if (!(r->where & MK_INLINE_BIND2))
			continue;
		for (struct mk_elem *c = mk_elem_first(list); c != NULL; c = mk_elem_next(c))
			again |= mk_streq(mk_elem_attr(c, "var"), r->xmlns);
		if (!again)
			mk_elem_set(mk_elem_add(list, "feature", NULL), "var", r->xmlns);
	}
}

/* ---- classic ---------------------------------------------------------------------------- */

static void write_stanza(struct mk_stream *st, struct mk_stanza **s)
{
	mk_stanza_seal(*s);
	mk_stream_transport.send(st, *s, NULL);
	mk_stanza_unref(s);
}

static void write_error(struct mk_stream *st, struct mk_stanza *request, uint16_t error,
	const char *text)
{
	struct mk_stanza *e;

	/* A request before there is a session bears no address yet; without one
	 * nobody would get an answer. */
	if (request->from == NULL)
		mk_stanza_set_from(request, st->jid);
	e = mk_stanza_error(request, error, text);
	if (e != NULL)
		write_stanza(st, &e);
}

static uint16_t bind_error(int err)
{
	switch (-err) {
	case MK_ECONFLICT: return MK_ERR_CONFLICT;
	case MK_ELIMIT:    return MK_ERR_RESOURCE_CONSTRAINT;
	case MK_ENOENT:    return MK_ERR_NOT_ALLOWED;
	default:           return MK_ERR_BAD_REQUEST;
	}
}

static void bound(struct mk_stream *st, struct mk_session *s, int err)
{
	struct mk_stanza *request;

	if (err == -MK_ECLOSED)
		return;
	request = st->bind_request;
	st->bind_request = NULL;
	st->busy++;
	if (err < 0) {
		write_error(st, request, bind_error(err), NULL);
	} else {
		struct mk_stanza *r = mk_stanza_new(MK_IQ, "result", NULL, NULL);
		mk_stream_bound(st);
		mk_stanza_set_id(r, request->id);
		struct mk_elem *b = mk_elem_add(mk_stanza_root(r), "bind", MK_NS_BIND);
		mk_elem_add_text(b, "jid", NULL, mk_strz(mk_jid_full(s->jid)));
		write_stanza(st, &r);
	}
	mk_stanza_unref(&request);
	mk_stream_unblock(st);
	mk_stream_leave(st);
}

bool mk_bind_iq(struct mk_stream *st, struct mk_stanza *s)
{
	struct mk_elem *payload = mk_elem_first(s->root);
	const char *to = mk_elem_attr(s->root, "to");
	struct mk_str resource = MK_STR_NONE;

	if (s->kind != MK_IQ || st->jid == NULL)
		return false;
	/* To the server or to oneself only (7.1). */
	if (to != NULL && strcmp(to, mk_jid_full(st->jid)) != 0 &&
	    !mk_str_eqz(mk_jid_domain(st->jid), to))
		return false;
	if (s->type != MK_TYPE_SET && s->type != MK_TYPE_GET)
		return false;
	if (s->id == NULL || payload == NULL || !mk_elem_is(payload, "bind", MK_NS_BIND) ||
	    s->type != MK_TYPE_SET) {
		bool is_session = payload != NULL && mk_elem_is(payload, "session", MK_NS_SESSION);
		write_error(st, s, s->id == NULL || (payload != NULL &&
			mk_elem_is(payload, "bind", MK_NS_BIND)) ? MK_ERR_BAD_REQUEST
			: is_session ? MK_ERR_UNEXPECTED_REQUEST : MK_ERR_NOT_ALLOWED, NULL);
		mk_stanza_unref(&s);
		return true;
	}
	if (mk_elem_child(payload, "resource", MK_NS_BIND) != NULL)
		resource = mk_elem_child_text(payload, "resource", MK_NS_BIND);
	st->bind_request = s;
	mk_stream_block(st);
	mk_session_bind(st, &mk_stream_transport, st->jid, resource, bound);
	return true;
}

bool mk_session_iq(struct mk_session *ses, struct mk_stanza *s)
{
	struct mk_elem *payload = mk_elem_first(s->root);
	struct mk_stanza *r;

	if (s->type != MK_TYPE_SET || payload == NULL || s->id == NULL)
		return false;
	/* What is for somebody else goes there. */
	if (s->to != NULL && !(mk_jid_is_bare(s->to) &&
	    (s->to->local_n == 0 ? mk_str_eq(mk_jid_domain(s->to), mk_jid_domain(ses->jid))
	                         : mk_jid_bare_eq(s->to, ses->jid))))
		return false;
	if (mk_elem_is(payload, "bind", MK_NS_BIND)) {
		/* One resource per stream. */
		r = mk_stanza_error(s, MK_ERR_NOT_ALLOWED, NULL);
	} else if (mk_elem_is(payload, "session", MK_NS_SESSION)) {
		r = mk_stanza_new(MK_IQ, "result", NULL, ses->jid);
		mk_stanza_set_id(r, s->id);
	} else {
		return false;
	}
	if (r != NULL) {
		mk_session_deliver(ses, r, NULL);
		mk_stanza_unref(&r);
	}
	return true;
}

/* ---- SASL2 and Bind 2 ---------------------------------------------------------------------- */

static void run_inlines(struct mk_stream *st, uint32_t where, const struct mk_elem *parent,
	struct mk_elem *reply)
{
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);

	for (const struct mk_elem *c = mk_elem_first(parent); c != NULL; c = mk_elem_next(c))
		for (uint32_t i = 0; i < d->inline_count; i++) {
			const struct mk_inline_request *r = &d->inlines[i].r->r;
			if (!(r->where & where) || !mk_elem_is(c, r->name, r->xmlns))
				continue;
			r->fn(d->inlines[i].inst, st, c, reply);
			/* It may have failed the stream: parent and reply are gone. */
			if (st->phase == MK_PHASE_CLOSED)
				return;
		}
}

/* <success/> so far; kept in the exchange's arena while a bind waits. */
static void say_success(struct mk_stream *st)
{
	struct mk_elem *success = st->success;

	st->success = NULL;
	mk_stream_write(st, success);
	mk_sasl_drop(st);
	if (st->session == NULL)
		st->phase = MK_PHASE_AUTHED;
	/* A resumed stream goes on at once (XEP-0198 9.2). */
	if (!(st->flags & MK_ST_RESUMED))
		mk_stream_send_features(st);
	mk_stream_after_handler(st);
	mk_stream_unblock(st);
}

static void add_identity(struct mk_stream *st, const struct mk_jid *jid)
{
	struct mk_str more = mk_sasl_additional(st);
	struct mk_elem *s = st->success, *rest = NULL;

	/* additional-data and authorization-identifier come first. */
	rest = mk_elem_new(mk_sasl_arena(st->sasl), "rest", MK_NS_SASL2);
	while (mk_elem_first(s) != NULL) {
		struct mk_elem *c = mk_elem_first(s);
		mk_elem_remove(s, c);
		mk_elem_adopt(rest, c);
	}
	if (more.n != 0)
		mk_elem_add_text(s, "additional-data", NULL, more);
	mk_elem_add_text(s, "authorization-identifier", NULL, mk_strz(mk_jid_full(jid)));
	while (mk_elem_first(rest) != NULL) {
		struct mk_elem *c = mk_elem_first(rest);
		mk_elem_remove(rest, c);
		mk_elem_adopt(s, c);
	}
}

static void bound2(struct mk_stream *st, struct mk_session *s, int err)
{
	if (err == -MK_ECLOSED)
		return;
	st->busy++;
	if (err < 0) {
		/* Authenticated, but there is no place for it. */
		mk_stream_fail(st, err == -MK_ECONFLICT ? "conflict" : err == -MK_ELIMIT
			? "resource-constraint" : "undefined-condition", "no resource could be bound");
	} else {
		struct mk_elem *reply;
		mk_stream_bound(st);
		reply = mk_elem_add(st->success, "bound", MK_NS_BIND2);
		run_inlines(st, MK_INLINE_BIND2, mk_elem_child(st->sasl2, "bind", MK_NS_BIND2), reply);
		if (st->phase != MK_PHASE_CLOSED) {
			add_identity(st, s->jid);
			say_success(st);
		}
	}
	mk_stream_leave(st);
}

/*
 * The same for the same client (user-agent id) and tag, as long as we run, so
 * that a client that comes back ends its earlier session (XEP-0386 3.1); a
 * keyed hash, as the id must not be seen.
 */
static void client_token(struct mk_stream *st, struct mk_str tag, char *out, size_t n)
{
	const char *whole = mk_arena_printf(mk_sasl_arena(st->sasl), "%s\n%s\n%.*s",
		mk_jid_full(st->jid), st->user_agent, (int)tag.n, tag.p != NULL ? tag.p : "");

	snprintf(out, n, "%016llx", (unsigned long long)mk_hash_bytes(whole, strlen(whole)));
}

/* "tag/something" (XEP-0386 3.1); the tag must be fit for a resource. */
static struct mk_str resource_of(struct mk_stream *st, const struct mk_elem *bind)
{
	struct mk_str tag = mk_elem_child_text(bind, "tag", MK_NS_BIND2);
	struct mk_arena *a = mk_sasl_arena(st->sasl);
	struct mk_jid *probe = NULL;
	char unique[32];

	if (st->user_agent != NULL)
		client_token(st, tag, unique, sizeof unique);
	else
		mk_token(unique, sizeof unique, 16);
	if (tag.n == 0 || tag.n > 256 || mk_jid_with_resource(st->jid, tag, &probe) < 0)
		return mk_strz(mk_arena_strdup(a, unique));
	mk_jid_unref(&probe);
	return mk_strz(mk_arena_printf(a, "%.*s/%.16s", (int)tag.n, tag.p, unique));
}

/* The inline requests are answered: Bind 2, if there is nothing bound yet. */
static void bind_and_succeed(struct mk_stream *st)
{
	const struct mk_elem *bind = mk_elem_child(st->sasl2, "bind", MK_NS_BIND2);

	if (st->session == NULL && bind != NULL) {
		mk_session_bind(st, &mk_stream_transport, st->jid, resource_of(st, bind), bound2);
		return;
	}
	add_identity(st, st->session != NULL ? st->session->jid : st->jid);
	say_success(st);
}

void mk_inline_wait(struct mk_stream *st)
{
	mk_assert(st->success != NULL && st->session != NULL);
	st->inline_waits++;
}

void mk_inline_ready(struct mk_stream *st)
{
	MK_CHECK(st, MK_STREAM_MAGIC);
	mk_assert(st->inline_waits > 0 && st->phase != MK_PHASE_CLOSED);
	if (--st->inline_waits > 0)
		return;
	st->busy++;
	bind_and_succeed(st);
	mk_stream_leave(st);
}

void mk_sasl2_finish(struct mk_stream *st)
{
	const struct mk_elem *agent;
	const char *id;

	st->busy++;
	mk_stream_block(st);
	st->success = mk_elem_new(mk_sasl_arena(st->sasl), "success", MK_NS_SASL2);
	agent = mk_elem_child(st->sasl2, "user-agent", MK_NS_SASL2);
	id = agent != NULL ? mk_elem_attr(agent, "id") : NULL;
	if (id != NULL && strlen(id) <= 64)
		st->user_agent = mk_strdup(id);
	/* Held until all of them ran, even if one that waits is ready in between. */
	st->inline_waits = 1;
	run_inlines(st, MK_INLINE_SASL2, st->sasl2, st->success);
	if (st->phase != MK_PHASE_CLOSED)
		mk_inline_ready(st);
	mk_stream_leave(st);
}
