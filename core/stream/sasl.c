/*
 * stream/sasl.c - SASL (RFC 6120 6) and SASL2 (XEP-0388): the exchange
 *
 * One exchange at a time per stream. Mechanisms are plugins (meerkat/auth.h);
 * what blocks runs in a job, and the stream may be gone when it returns: the
 * exchange then has no stream any more and ends quietly. What a client sent is
 * in the exchange's arena, which is wiped, and in that of its element, as is
 * (stream.c).
 */
#include <meerkat/auth.h>
#include "stream/stream.h"

#include <stdlib.h>

#include "base/metric.h"
#include "loop/worker.h"
#include "session/account.h"
#include "store/store.h"
#include "base/ban.h"

struct mk_sasl {
	struct mk_stream *stream;      /* NULL: gone                            */
	struct mk_arena *arena;        /* it lives in it                        */
	const struct mk_mech *mech;
	struct mk_inst *inst;          /* entered                               */
	struct mk_move move;           /* the source it waits for, entered      */
	void *state;
	struct mk_jid *user;           /* ref                                   */
	struct mk_str say, data;
	bool said, has_data, sasl2, in_job;
	const char *condition;
	struct mk_str exporter, end_point;     /* p NULL: none                  */
	bool binding_offered;
	struct mk_str offer, domain;
	enum mk_sasl_result result;
	struct mk_job job;
};

/* ---- what is offered ------------------------------------------------------------------ */

static bool any_scram(const struct mk_dispatch *d, enum mk_hash h)
{
	for (uint32_t i = 0; i < d->source_count; i++)
		if (d->sources[i].s->has_scram != NULL &&
		    d->sources[i].s->has_scram(d->sources[i].inst, h))
			return true;
	return false;
}

static bool offered(const struct mk_stream *st, const struct mk_dispatch *d, const struct mk_mech *m)
{
	if ((m->flags & MK_MECH_PLAINTEXT) && !mk_stream_may_plain(st))
		return false;
	if ((m->flags & MK_MECH_BINDING) && !mk_conn_is_secure(st->conn))
		return false;
	if ((m->flags & MK_MECH_SCRAM) && !any_scram(d, (enum mk_hash)m->hash))
		return false;
	return true;
}

/* Whether this kind of login is possible at all on this stream now. */
static bool may_login(const struct mk_stream *st)
{
	return mk_conn_is_secure(st->conn) || st->c2s->plain_without_tls ||
	       st->c2s->tls_mode != MK_TLS_STARTTLS_REQUIRED;
}

static bool has_binding(struct mk_stream *st, const char *type)
{
	struct mk_buf b = { 0 };
	bool ok = mk_conn_is_secure(st->conn) && mk_tls_binding(st->conn->tls, type, &b) >= 0;
	mk_buf_free(&b);
	return ok;
}

static const char *const binding_types[] = { "tls-server-end-point", "tls-exporter" };

void mk_sasl_features(struct mk_stream *st, struct mk_elem *features)
{
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	struct mk_elem *one = NULL, *two = NULL, *cb = NULL, *in;
	bool binding = false;

	if (!may_login(st))
		return;
	for (uint32_t i = 0; i < d->mech_count; i++) {
		const struct mk_mech *m = d->mechs[i].m;
		if (!offered(st, d, m))
			continue;
		binding |= (m->flags & MK_MECH_BINDING) != 0;
		if (one == NULL)
			one = mk_elem_new(&mk_self->turn, "mechanisms", MK_NS_SASL);
		mk_elem_add_text(one, "mechanism", NULL, mk_strz(m->name));
		/* XEP-0388: after TLS only, or where TLS ends before us. */
		if (!mk_stream_may_plain(st))
			continue;
		if (two == NULL)
			two = mk_elem_new(&mk_self->turn, "authentication", MK_NS_SASL2);
		mk_elem_add_text(two, "mechanism", NULL, mk_strz(m->name));
	}
	if (binding) {
		cb = mk_elem_add(features, "sasl-channel-binding", MK_NS_SASL_CB);
		for (size_t i = 0; i < 2; i++)
			if (has_binding(st, binding_types[i]))
				mk_elem_set(mk_elem_add(cb, "channel-binding", NULL), "type",
					binding_types[i]);
	}
	if (one != NULL)
		mk_elem_adopt(features, one);
	if (two == NULL)
		return;
	in = mk_elem_add(two, "inline", NULL);
	for (uint32_t i = 0; i < d->inline_count; i++) {
		const struct mk_inline_request *r = &d->inlines[i].r->r;
		if (r->where & MK_INLINE_SASL2)
			mk_elem_add(in, r->announce != NULL ? r->announce : r->name, r->xmlns);
	}
	mk_bind2_features(st, in);
	mk_elem_adopt(features, two);
}

static int by_octets(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void join(struct mk_buf *b, const char **v, size_t n)
{
	qsort(v, n, sizeof *v, by_octets);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			mk_buf_addc(b, '\x1e');
		mk_buf_addz(b, v[i]);
	}
}

/* XEP-0474 2.1: mechanisms, and the bindings of XEP-0440 if those were sent. */
static struct mk_str offer_string(struct mk_sasl *x, struct mk_stream *st)
{
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	const char **names = mk_arena_alloc(x->arena, (d->mech_count + 1) * sizeof *names);
	struct mk_buf b = { 0 };
	size_t n = 0;

	for (uint32_t i = 0; i < d->mech_count; i++)
		if (offered(st, d, d->mechs[i].m)) {
			names[n++] = d->mechs[i].m->name;
			x->binding_offered |= (d->mechs[i].m->flags & MK_MECH_BINDING) != 0;
		}
	join(&b, names, n);
	if (x->binding_offered) {
		const char *types[2];
		n = 0;
		if (x->end_point.p != NULL)
			types[n++] = binding_types[0];
		if (x->exporter.p != NULL)
			types[n++] = binding_types[1];
		mk_buf_addc(&b, '\x1f');
		join(&b, types, n);
	}
	struct mk_str s = { mk_arena_strndup(x->arena, b.p, b.n), b.n };
	mk_buf_free(&b);
	return s;
}

/* ---- the mechanism's side ------------------------------------------------------------------ */

void *mk_sasl_state(struct mk_sasl *x) { return x->state; }
struct mk_arena *mk_sasl_arena(struct mk_sasl *x) { return x->arena; }
struct mk_str mk_sasl_domain(const struct mk_sasl *x) { return x->domain; }
bool mk_sasl_binding_offered(const struct mk_sasl *x) { return x->binding_offered; }
struct mk_str mk_sasl_offer_string(struct mk_sasl *x) { return x->offer; }

void mk_sasl_say(struct mk_sasl *x, struct mk_str data)
{
	x->say.p = mk_arena_strndup(x->arena, data.p, data.n);
	x->say.n = data.n;
	x->said = true;
}

int mk_sasl_user(struct mk_sasl *x, const struct mk_jid *bare)
{
	if (bare->local_n == 0 || !mk_str_eq(mk_jid_domain(bare), x->domain))
		return -MK_EJID;
	if (x->user != NULL)
		mk_jid_unref(&x->user);
	x->user = mk_jid_to_bare(bare);
	return 0;
}

enum mk_sasl_result mk_sasl_fail(struct mk_sasl *x, const char *condition)
{
	x->condition = condition;
	return MK_SASL_FAIL;
}

int mk_sasl_binding(struct mk_sasl *x, const char *type, struct mk_str *out)
{
	const struct mk_str *s = strcmp(type, "tls-exporter") == 0 ? &x->exporter
	                       : strcmp(type, "tls-server-end-point") == 0 ? &x->end_point : NULL;

	if (s == NULL || s->p == NULL)
		return -MK_ENOENT;
	*out = *s;
	return 0;
}

/* ---- the exchange ---------------------------------------------------------------------------- */

static void exchange_free(struct mk_sasl *x)
{
	struct mk_arena *a = x->arena;

	mk_inst_leave(x->inst);
	if (x->user != NULL)
		mk_jid_unref(&x->user);
	mk_arena_wipe(a);
	mk_arena_free(&a);
}

void mk_sasl_drop(struct mk_stream *st)
{
	struct mk_sasl *x = st->sasl;

	st->sasl = NULL;
	st->sasl2 = NULL;
	if (x == NULL)
		return;
	x->stream = NULL;
	if (!x->in_job)
		exchange_free(x);
}

static const char *ns_of(const struct mk_sasl *x) { return x->sasl2 ? MK_NS_SASL2 : MK_NS_SASL; }

static void say_failure(struct mk_stream *st, const char *xmlns, const char *condition)
{
	struct mk_elem *f = mk_elem_new(&mk_self->turn, "failure", xmlns);

	mk_elem_add(f, condition, MK_NS_SASL);
	mk_stream_write(st, f);
}

/*
 * What an attempt counts towards auth_attempts, in thirds. One that can't have
 * tried a password counts little: slixmpp up to 1.8 first tries each -PLUS
 * mechanism with a binding that TLS 1.3 does not have, then each without it in
 * a way that RFC 5802 6 forbids us to accept, and only then logs in.
 */
enum { WHOLE_ATTEMPT = 3 };
static unsigned weight(const char *condition)
{
	static const char *const light[] = { "malformed-request", "invalid-mechanism",
		"incorrect-encoding", "encryption-required", "aborted", NULL };

	for (const char *const *c = light; *c != NULL; c++)
		if (strcmp(*c, condition) == 0)
			return 1;
	return WHOLE_ATTEMPT;
}

/* The attempt failed; the stream may try again, a few times (6.4.5). */
static void fail(struct mk_stream *st, const char *xmlns, const char *condition)
{
	static _Atomic uint32_t metric;
	uint32_t id = atomic_load(&metric);

	if (id == 0) {
		id = mk_metric_id("meerkat_auth_failures_total", "Failed authentications.",
			MK_COUNTER, "");
		atomic_store(&metric, id);
	}
	mk_metric_bump(id, 1);
	if (mk_log_enabled(MK_INFO))
		mk_log(NULL, MK_INFO, "authentication failed", "condition=%s remote=%s domain=%s",
			condition, mk_stream_remote(st), mk_jid_full(st->domain->jid));
	mk_sasl_drop(st);
	say_failure(st, xmlns, condition);
	st->attempts = (uint16_t)(st->attempts + weight(condition));
	if (st->attempts >= WHOLE_ATTEMPT * mk_limits()->auth_attempts)
		mk_stream_fail(st, "policy-violation", "too many failed attempts");
}

static struct mk_str encoded(const struct mk_sasl *x)
{
	char *b = mk_arena_alloc(&mk_self->turn, 4 * ((x->say.n + 2) / 3) + 1);
	size_t n = mk_base64_encode(b, x->say.p, x->say.n);

	return (struct mk_str){ b, n };
}

struct mk_str mk_sasl_additional(struct mk_stream *st)
{
	return st->sasl != NULL && st->sasl->said ? encoded(st->sasl) : MK_STR_NONE;
}

/* At home: the classic <success/>, then the client restarts the stream. */
static void classic_success(struct mk_stream *st)
{
	struct mk_elem *s = mk_elem_new(&mk_self->turn, "success", MK_NS_SASL);
	struct mk_str more = mk_sasl_additional(st);

	if (st->sasl != NULL && st->sasl->said)
		mk_elem_text_add(s, more.n != 0 ? more : MK_STR("="));
	mk_stream_write(st, s);
	mk_sasl_drop(st);
	st->phase = MK_PHASE_HEADER;
	st->flags &= (uint16_t)~MK_ST_HEADER_SENT;
	mk_scan_init(&st->scan, false);
	mk_stream_unblock(st);
}

static void sasl2_success(struct mk_stream *st)
{
	st->flags |= MK_ST_SASL2;
	mk_sasl2_finish(st);
}

/* true: authenticated, and the caller's last act is go_home(st). */
static bool finished(struct mk_stream *st, enum mk_sasl_result r)
{
	struct mk_sasl *x = st->sasl;
	const char *xmlns = ns_of(x);

	switch (r) {
	case MK_SASL_CONTINUE: {
		struct mk_elem *c = mk_elem_new(&mk_self->turn, "challenge", xmlns);
		mk_elem_text_add(c, encoded(x));
		mk_stream_write(st, c);
		x->said = false;
		return false;
	}
	case MK_SASL_OK:
		mk_assert(x->user != NULL);
		/* XEP-0388 2.2: the stream's 'from', if it had one, must agree. */
		if (x->sasl2 && st->from != NULL) {
			struct mk_jid *j = NULL;
			bool ok = mk_jid_parsez(st->from, &j) == 0 && mk_jid_bare_eq(j, x->user);
			if (j != NULL)
				mk_jid_unref(&j);
			if (!ok) {
				fail(st, xmlns, "invalid-authzid");
				return false;
			}
		}
		/* There is no further step: the rest of the login needs no password. */
		explicit_bzero((char *)x->data.p, x->data.n);
		/* Whose the stream is: set here, once, and by nobody else (S-06). */
		mk_assert(st->jid == NULL);
		st->jid = mk_jid_ref(x->user);
		return true;
	case MK_SASL_FAIL:
	case MK_SASL_JOB:
		fail(st, xmlns, x->condition != NULL ? x->condition : "not-authorized");
		break;
	}
	return false;
}

/* Its worker may be another's from here on: nothing may touch st after. */
static void go_home(struct mk_stream *st)
{
	mk_stream_go_home(st, st->sasl->sasl2 ? sasl2_success : classic_success);
}

static void job_run(struct mk_job *j, void *thread_data)
{
	struct mk_sasl *x = MK_CONTAINER(j, struct mk_sasl, job);

	struct mk_inst *before = x->move.inst;

	/* An answer that older mechanisms don't know they don't get. */
	mk_account_step_begin(x->inst->module->plugin->abi_minor >= 1, x->move);
	x->result = x->mech->step_stored(x->inst, x, x->data, thread_data);
	x->move = mk_account_step_end();
	if (before != NULL)
		mk_inst_leave(before);
	mk_store_job_end(thread_data);
}

static void job_done(struct mk_job *j)
{
	struct mk_sasl *x = MK_CONTAINER(j, struct mk_sasl, job);
	struct mk_stream *st = x->stream;

	if (x->move.inst != NULL) {
		if (st != NULL && x->result == MK_SASL_JOB) {
			mk_pool_submit(x->move.inst->pool, &x->job);
			return;
		}
		mk_inst_leave(x->move.inst);
		x->move.inst = NULL;
	}
	x->in_job = false;
	if (st == NULL) {
		exchange_free(x);
		return;
	}
	st->busy++;
	if (finished(st, x->result)) {
		st->busy--;
		go_home(st);
		return;
	}
	if (st->phase == MK_PHASE_OPEN)
		mk_stream_unblock(st);
	mk_stream_leave(st);
}

static void step(struct mk_stream *st, struct mk_str data, bool has_data)
{
	struct mk_sasl *x = st->sasl;

	x->data.p = mk_arena_strndup(x->arena, data.p, data.n);
	x->data.n = data.n;
	x->has_data = has_data;
	enum mk_sasl_result r = x->mech->step(x->inst, x, x->data, has_data);
	if (r != MK_SASL_JOB || x->mech->step_stored == NULL) {
		if (finished(st, r))
			go_home(st);   /* within a data callback: the move waits for its end */
		return;
	}
	x->in_job = true;
	x->job.run = job_run;
	x->job.done = job_done;
	mk_stream_block(st);
	mk_pool_submit(x->inst->pool, &x->job);
}

static void fetch_binding(struct mk_sasl *x, struct mk_stream *st, const char *type,
	struct mk_str *out)
{
	struct mk_buf b = { 0 };

	if (mk_tls_binding(st->conn->tls, type, &b) >= 0) {
		out->p = mk_arena_strndup(x->arena, b.p, b.n);
		out->n = b.n;
	}
	mk_buf_free(&b);
}

/* Base64 of an element's text; "=" is empty data (6.4.2). -MK_EINVAL. */
static int decode(const struct mk_elem *e, bool equals_sign, struct mk_str *out)
{
	struct mk_str t = mk_elem_text(e);
	char *b;
	int n;

	if (equals_sign && mk_str_eqz(t, "=")) {
		*out = (struct mk_str){ "", 0 };
		return 0;
	}
	b = mk_arena_alloc(e->arena, 3 * (t.n / 4) + 4);
	n = mk_base64_decode(b, t.p, t.n);
	if (n < 0)
		return n;
	*out = (struct mk_str){ b, (size_t)n };
	return 0;
}

static void begin(struct mk_stream *st, const struct mk_elem *e, bool sasl2)
{
	const char *xmlns = sasl2 ? MK_NS_SASL2 : MK_NS_SASL;
	const char *name = mk_elem_attr(e, "mechanism");
	const struct mk_dispatch *d = mk_dispatch(st->domain->type);
	const struct mk_elem *initial = sasl2 ? mk_elem_child(e, "initial-response", MK_NS_SASL2) : e;
	struct mk_str data = MK_STR_NONE;
	bool has_data = false;
	uint32_t i;

	if (name == NULL) {
		fail(st, xmlns, "invalid-mechanism");
		return;
	}
	if (!may_login(st) || (sasl2 && !mk_stream_may_plain(st))) {
		fail(st, xmlns, "encryption-required");
		return;
	}
	for (i = 0; i < d->mech_count; i++)
		if (strcmp(d->mechs[i].m->name, name) == 0)
			break;
	if (i == d->mech_count) {
		fail(st, xmlns, "invalid-mechanism");
		return;
	}
	if (!offered(st, d, d->mechs[i].m)) {
		fail(st, xmlns, (d->mechs[i].m->flags & (MK_MECH_PLAINTEXT | MK_MECH_BINDING)) &&
			!mk_conn_is_secure(st->conn) ? "encryption-required" : "invalid-mechanism");
		return;
	}
	if (initial != NULL && (sasl2 || mk_elem_text(e).n != 0)) {
		has_data = true;
		if (decode(initial, !sasl2, &data) < 0) {
			fail(st, xmlns, "incorrect-encoding");
			return;
		}
	}
	if (!mk_inst_enter(d->mechs[i].inst)) {
		fail(st, xmlns, "temporary-auth-failure");
		return;
	}

	void *extra;
	struct mk_arena *a = mk_arena_new_with(sizeof(struct mk_sasl), &extra);
	struct mk_sasl *x = extra;
	x->arena = a;
	x->stream = st;
	x->inst = d->mechs[i].inst;
	x->mech = d->mechs[i].m;
	x->sasl2 = sasl2;
	x->domain = mk_jid_domain(st->domain->jid);
	if (x->mech->state_bytes != 0)
		x->state = mk_arena_alloc(a, x->mech->state_bytes);
	if (mk_conn_is_secure(st->conn)) {
		fetch_binding(x, st, "tls-exporter", &x->exporter);
		fetch_binding(x, st, "tls-server-end-point", &x->end_point);
	}
	x->offer = offer_string(x, st);
	st->sasl = x;
	st->sasl2 = sasl2 ? mk_elem_copy(a, e) : NULL;
	step(st, data, has_data);
}

bool mk_sasl_element(struct mk_stream *st, const struct mk_elem *e)
{
	bool sasl2 = mk_streq(e->xmlns, MK_NS_SASL2);

	if (!sasl2 && !mk_streq(e->xmlns, MK_NS_SASL))
		return false;
	if (st->jid != NULL || st->domain == NULL)
		return false;          /* once is enough: the caller refuses it     */
	if (strcmp(e->name, sasl2 ? "authenticate" : "auth") == 0) {
		/* A second one ends the first (6.4.2). */
		mk_sasl_drop(st);
		begin(st, e, sasl2);
		return true;
	}
	if (strcmp(e->name, "abort") == 0) {
		fail(st, sasl2 ? MK_NS_SASL2 : MK_NS_SASL, "aborted");
		return true;
	}
	if (strcmp(e->name, "response") == 0) {
		struct mk_str data;
		if (st->sasl == NULL || st->sasl->sasl2 != sasl2)
			fail(st, sasl2 ? MK_NS_SASL2 : MK_NS_SASL, "malformed-request");
		else if (decode(e, !sasl2, &data) < 0)
			fail(st, ns_of(st->sasl), "incorrect-encoding");
		else
			step(st, data, true);
		return true;
	}
	return false;
}
