/*
 * route/iq.c - IQ requests to handlers, and answers to what was asked
 *
 * A request runs at the home of the sender (to the host) or of the account
 * (to an account), where it stays in a list until it is answered, so that an
 * instance that stops leaves nobody without an answer. The request lives in
 * the arena of its answer. Each gets exactly one.
 */
#include "route/route.h"

#include "loop/worker.h"
#include "session/tables.h"
#include "store/store.h"
#include "base/ban.h"

#define REQ_MAGIC 0x69717265u
enum { REQ_OPEN, REQ_ANSWERED };

struct mk_iq_req {
	uint32_t magic;
	struct mk_list node;           /* tables.requests, at home              */
	struct mk_worker *home;
	struct mk_stanza *stanza, *answer;     /* refs                          */
	const struct mk_elem *payload;
	struct mk_jid *to;             /* ref                                   */
	struct mk_session *session;    /* ref or NULL                           */
	struct mk_entity *held;        /* or NULL                               */
	struct mk_inst *inst;          /* entered while in a job                */
	const struct mk_iq *handler;
	void *data;
	int (*stored_fn)(struct mk_inst *, struct mk_iq_req *, struct mk_store *);
	void (*done_fn)(struct mk_inst *, struct mk_iq_req *, int);
	struct mk_job job;
	bool job_wanted, in_job, in_handler, is_sent;
	uint8_t state;
	bool *ended;                   /* while its second half runs: set when it
	                                * is answered, and so gone              */
	int err;
};

static void req_end(struct mk_iq_req *r)
{
	struct mk_stanza *answer = r->answer;
	struct mk_entity *held = r->held;
	bool is_sent = r->is_sent;

	if (r->ended != NULL)
		*r->ended = true;
	mk_list_remove(&r->node);
	mk_stanza_unref(&r->stanza);
	if (r->session != NULL)
		mk_session_unref(&r->session);
	mk_jid_unref(&r->to);
	r->magic = 0;
	r->answer = NULL;
	if (answer->to != NULL && !is_sent)
		mk_route(&answer, answer->to);
	else
		mk_stanza_unref(&answer);
	if (held != NULL)
		mk_entity_release(held);
}

/* Before its handler returns, so that what that sends now follows it; r lives on in the
 * answer's arena. */
static void send_now(struct mk_iq_req *r)
{
	struct mk_stanza *answer = mk_stanza_ref(r->answer);

	r->is_sent = true;
	if (answer->to != NULL)
		mk_route(&answer, answer->to);
	else
		mk_stanza_unref(&answer);
}

/* The answer is complete. From a job it is sent when that has ended. */
static void answered(struct mk_iq_req *r)
{
	mk_assert(r->state == REQ_OPEN);
	r->state = REQ_ANSWERED;
	if (r->in_job)
		return;
	mk_assert(mk_self == r->home);
	if (r->in_handler)
		send_now(r);
	else
		req_end(r);
}

void mk_iq_result(struct mk_iq_req *r, struct mk_elem *payload)
{
	MK_CHECK(r, REQ_MAGIC);
	if (payload != NULL)
		mk_elem_adopt(r->answer->root, payload);
	answered(r);
}

static void error_typed(struct mk_iq_req *r, uint16_t error, const char *text, const char *type)
{
	struct mk_stanza *e = mk_stanza_error(r->stanza, error, text);

	MK_CHECK(r, REQ_MAGIC);
	mk_assert(e != NULL);
	/* The request lives in the first answer's arena: keep that, and put the
	 * error in its place. */
	struct mk_elem *root = mk_elem_copy(r->answer->arena, e->root);
	mk_elem_set(r->answer->root, "type", "error");
	r->answer->type = MK_TYPE_ERROR;
	r->answer->match = MK_M_ANSWER;
	while (mk_elem_first(r->answer->root) != NULL)
		mk_elem_remove(r->answer->root, mk_elem_first(r->answer->root));
	for (struct mk_elem *c = mk_elem_first(root), *next; c != NULL; c = next) {
		next = mk_elem_next(c);
		mk_elem_remove(root, c);
		if (type != NULL && strcmp(c->name, "error") == 0)
			mk_elem_set(c, "type", type);
		mk_elem_adopt(r->answer->root, c);
	}
	mk_stanza_unref(&e);
	answered(r);
}

void mk_iq_error(struct mk_iq_req *r, uint16_t error, const char *text)
{
	error_typed(r, error, text, NULL);
}

enum mk_verdict mk_iq_job_then(struct mk_iq_req *r,
	int (*stored_fn)(struct mk_inst *, struct mk_iq_req *, struct mk_store *),
	void (*done)(struct mk_inst *i, struct mk_iq_req *r, int err))
{
	r->done_fn = done;
	return mk_iq_job(r, stored_fn);
}

const struct mk_stanza *mk_iq_stanza(const struct mk_iq_req *r) { return r->stanza; }
const struct mk_elem *mk_iq_payload(const struct mk_iq_req *r) { return r->payload; }
bool mk_iq_is_set(const struct mk_iq_req *r) { return r->stanza->type == MK_TYPE_SET; }
const struct mk_jid *mk_iq_from(const struct mk_iq_req *r) { return r->stanza->from; }
const struct mk_jid *mk_iq_to(const struct mk_iq_req *r) { return r->to; }
struct mk_session *mk_iq_session(const struct mk_iq_req *r) { return r->session; }
struct mk_arena *mk_iq_arena(const struct mk_iq_req *r) { return r->answer->arena; }
void **mk_iq_data(struct mk_iq_req *r) { return &r->data; }

/* ---- jobs ------------------------------------------------------------------------ */

static void job_run(struct mk_job *j, void *thread_data)
{
	struct mk_iq_req *r = MK_CONTAINER(j, struct mk_iq_req, job);

	r->err = r->stored_fn(r->inst, r, thread_data);
	mk_store_job_end(thread_data);
}

/* The second half of one that is answered already, or will be by the caller. */
static void done_before(struct mk_iq_req *r, int err)
{
	void (*done)(struct mk_inst *, struct mk_iq_req *, int) = r->done_fn;

	r->done_fn = NULL;
	r->in_handler = true;
	done(r->inst, r, err);
	r->in_handler = false;
}

static void submit(struct mk_iq_req *r);

/* The second half of one that is open: it answers, and r is gone then, or finds that
 * it needs another job. */
static void done_open(struct mk_iq_req *r)
{
	void (*done)(struct mk_inst *, struct mk_iq_req *, int) = r->done_fn;
	bool ended = false;

	r->done_fn = NULL;
	r->job_wanted = false;
	r->ended = &ended;
	done(r->inst, r, 0);
	if (ended)
		return;
	r->ended = NULL;
	if (r->job_wanted)
		submit(r);
}

static void job_done(struct mk_job *j)
{
	struct mk_iq_req *r = MK_CONTAINER(j, struct mk_iq_req, job);
	struct mk_inst *inst = r->inst;

	r->in_job = false;
	if (r->done_fn != NULL && r->state == REQ_OPEN && r->err >= 0) {
		done_open(r);
		mk_inst_leave(inst);
		return;
	}
	if (r->done_fn != NULL)
		done_before(r, r->err);
	mk_inst_leave(inst);
	if (r->state == REQ_ANSWERED)
		req_end(r);
	else if (r->err < 0)
		error_typed(r, MK_ERR_INTERNAL_SERVER_ERROR, NULL, "wait");
	/* else: it will be answered later */
}

static void submit(struct mk_iq_req *r)
{
	if (!mk_inst_enter(r->inst)) {
		if (r->done_fn != NULL)
			done_before(r, -MK_ECLOSED);
		if (r->state == REQ_ANSWERED) {
			req_end(r);
			return;
		}
		mk_iq_error(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
		return;
	}
	r->in_job = true;
	r->job.run = job_run;
	r->job.done = job_done;
	if (!(r->handler->flags & MK_IQ_UNORDERED) && r->held == NULL) {
		r->held = r->session != NULL ? r->session->entity
		          : r->to->local_n != 0 ? mk_entity_get(r->to) : NULL;
		if (r->held != NULL)
			mk_entity_hold(r->held);
	}
	mk_pool_submit(r->inst->pool, &r->job);
}

enum mk_verdict mk_iq_job(struct mk_iq_req *r,
	int (*stored_fn)(struct mk_inst *, struct mk_iq_req *, struct mk_store *))
{
	MK_CHECK(r, REQ_MAGIC);
	r->stored_fn = stored_fn;
	r->job_wanted = true;
	return MK_WAIT;
}

/* ---- dispatch ---------------------------------------------------------------------- */

static const struct mk_iq_entry *find(const struct mk_dispatch *d, const struct mk_elem *payload,
	const struct mk_stanza *s, const struct mk_jid *to, uint32_t *kind)
{
	bool is_set = s->type == MK_TYPE_SET;
	const struct mk_iq_entry *h = mk_dispatch_iq(d, payload->xmlns, payload->name, *kind,
		is_set, NULL);

	if (*kind == MK_IQ_HOST)
		return h;
	if (h != NULL && (mk_jid_bare_eq(s->from, to) || (h->iq->flags & MK_IQ_OTHERS)))
		return h;
	if (h == NULL && s->to == NULL) {
		*kind = MK_IQ_HOST;
		return mk_dispatch_iq(d, payload->xmlns, payload->name, *kind, is_set, NULL);
	}
	return NULL;
}

/* RFC 6120 8.2.3: an id, and exactly one child element. */
static bool is_whole(const struct mk_stanza *s)
{
	const struct mk_elem *payload = mk_elem_first(s->root);

	return s->id != NULL && payload != NULL && mk_elem_next(payload) == NULL;
}

/* Takes s. */
static void handle(struct mk_stanza *s, const struct mk_jid *to, uint32_t kind,
	struct mk_session *ses, const struct mk_iq_entry *h)
{
	/* Answers come from what was asked: nothing, if nothing was. */
	struct mk_stanza *answer = mk_stanza_new(MK_IQ, "result", s->to != NULL ? to : NULL, s->from);
	struct mk_iq_req *r = mk_arena_alloc(answer->arena, sizeof *r);
	mk_stanza_set_id(answer, s->id);
	r->magic = REQ_MAGIC;
	r->home = mk_self;
	r->stanza = s;
	r->answer = answer;
	r->payload = mk_elem_first(s->root);
	r->to = kind == MK_IQ_HOST && s->to == NULL ? mk_jid_to_domain(to) : mk_jid_ref(to);
	r->session = ses != NULL ? mk_session_ref(ses) : NULL;
	r->inst = h->inst;
	r->handler = h->iq;
	mk_list_push(&mk_tables()->requests, &r->node);

	if (h->iq->stored_fn != NULL) {
		r->stored_fn = h->iq->stored_fn;
		submit(r);
		return;
	}
	r->in_handler = true;
	atomic_store_explicit(&mk_self->doing, h->inst->module->plugin->name, memory_order_relaxed);
	enum mk_verdict v = h->iq->fn(h->inst, r);
	atomic_store_explicit(&mk_self->doing, NULL, memory_order_relaxed);
	r->in_handler = false;
	if (r->state == REQ_ANSWERED)
		req_end(r);
	else if (v == MK_WAIT && r->job_wanted)
		submit(r);
	else if (v == MK_FAIL)
		mk_iq_error(r, MK_ERR_BAD_REQUEST, NULL);
	else if (v != MK_DONE)
		mk_iq_error(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
}

void mk_iq_dispatch(struct mk_stanza **sp, const struct mk_jid *to, uint32_t kind,
	struct mk_session *ses, struct mk_host_type *type)
{
	struct mk_stanza *s = *sp;
	const struct mk_dispatch *d = mk_dispatch(type);
	const struct mk_iq_entry *h;

	*sp = NULL;
	if (!is_whole(s)) {
		mk_bounce(s, MK_ERR_BAD_REQUEST, NULL);
		mk_stanza_unref(&s);
		return;
	}
	h = find(d, mk_elem_first(s->root), s, to, &kind);
	if (h == NULL) {
		mk_bounce(s, MK_ERR_SERVICE_UNAVAILABLE, NULL);
		mk_stanza_unref(&s);
		return;
	}
	handle(s, to, kind, ses, h);
}

bool mk_iq_dispatch_claim(struct mk_stanza **sp, const struct mk_jid *to, uint32_t kind,
	const struct mk_dispatch *d, const struct mk_inst *owner)
{
	struct mk_stanza *s = *sp;
	struct mk_elem *payload = mk_elem_first(s->root);
	const struct mk_iq_entry *h;

	if (!is_whole(s)) {
		mk_bounce(s, MK_ERR_BAD_REQUEST, NULL);
		mk_stanza_unref(sp);
		return true;
	}
	h = mk_dispatch_iq(d, payload->xmlns, payload->name, kind, s->type == MK_TYPE_SET, owner);
	if (h == NULL)
		return false;
	*sp = NULL;
	handle(s, to, kind, NULL, h);
	return true;
}

/* ---- asking ------------------------------------------------------------------------- */

struct asked {
	struct mk_map_node node;
	struct mk_wtimer timer;
	struct mk_inst *inst;
	mk_iq_answer_fn *fn;
	void *data;
	struct mk_jid *to;             /* who was asked                         */
	struct asked *next;            /* while mk_iq_drop is at it             */
	char id[32];
};

static bool id_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct asked *a = MK_CONTAINER(n, struct asked, node);
	return strlen(a->id) == key_n && memcmp(a->id, key, key_n) == 0;
}

/* Out of the table already. Frees it. */
static void asked_tell(struct asked *a, const struct mk_stanza *answer)
{
	mk_wtimer_stop(&a->timer);
	if (mk_inst_enter(a->inst)) {
		a->fn(a->inst, answer, a->data);
		mk_inst_leave(a->inst);
	} else {
		a->fn(a->inst, NULL, a->data);
	}
	mk_jid_unref(&a->to);
	mk_free(a);
}

static void asked_end(struct asked *a, const struct mk_stanza *answer)
{
	mk_map_remove(&mk_tables()->asked, &a->node);
	asked_tell(a, answer);
}

static void asked_timeout(struct mk_wtimer *t)
{
	asked_end(MK_CONTAINER(t, struct asked, timer), NULL);
}

void mk_iq_ask(struct mk_inst *i, struct mk_stanza **s, int64_t timeout_ms,
	mk_iq_answer_fn *fn, void *data)
{
	struct asked *a = mk_alloc(sizeof *a);

	mk_assert(mk_self != NULL && (*s)->to != NULL);
	mk_token(a->id, sizeof a->id, 16);
	mk_stanza_set_id(*s, a->id);
	a->inst = i;
	a->fn = fn;
	a->data = data;
	a->to = mk_jid_ref((*s)->to);
	mk_map_insert(&mk_tables()->asked, &a->node, mk_hash_bytes(a->id, strlen(a->id)));
	mk_wtimer_start(&a->timer, timeout_ms, asked_timeout);
	mk_send(s);
}

bool mk_iq_answered(const struct mk_stanza *s)
{
	if (s->id == NULL)
		return false;
	size_t n = strlen(s->id);
	struct mk_map_node *node = mk_map_find(&mk_tables()->asked, mk_hash_bytes(s->id, n), s->id, n);

	if (node == NULL)
		return false;
	struct asked *a = MK_CONTAINER(node, struct asked, node);
	/* Only who was asked may answer (S-06). */
	if (s->from == NULL || !mk_jid_eq(s->from, a->to))
		return false;
	asked_end(a, s);
	return true;
}

void mk_iq_worker_init(struct mk_worker *w)
{
	struct mk_tables *t = w->core;
	mk_map_init(&t->asked, id_eq);
	mk_list_init(&t->requests);
}

void mk_iq_worker_fini(struct mk_worker *w)
{
	struct mk_tables *t = w->core;
	mk_map_fini(&t->asked);
}

struct drop { struct mk_inst *inst; struct asked *first; };

/* Taken out first: what it calls may ask, which a walk does not allow. */
static bool drop_asked(struct mk_map_node *n, void *arg)
{
	struct asked *a = MK_CONTAINER(n, struct asked, node);
	struct drop *d = arg;

	if (a->inst == d->inst) {
		mk_map_remove(&mk_tables()->asked, n);
		a->next = d->first;
		d->first = a;
	}
	return true;
}

static struct mk_iq_req *waiting_of(const struct mk_inst *i)
{
	MK_LIST_EACH(n, &mk_tables()->requests) {
		struct mk_iq_req *r = MK_CONTAINER(n, struct mk_iq_req, node);
		if (r->inst == i && !r->in_job && !r->in_handler)
			return r;
	}
	return NULL;
}

void mk_iq_drop(struct mk_inst *i)
{
	struct drop d = { i, NULL };
	struct mk_iq_req *r;
	struct asked *a;

	if (mk_tables() == NULL)
		return;
	mk_map_each(&mk_tables()->asked, drop_asked, &d);
	while ((a = d.first) != NULL) {
		d.first = a->next;
		asked_tell(a, NULL);
	}
	/* Anew after each: an answer lets go on what waited for it. */
	while ((r = waiting_of(i)) != NULL)
		mk_iq_error(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
}
