/*
 * session/test_house.h - two workers, a host type and clients that only take notes
 *
 * For the unit tests of session/ and route/. What happens is noted in one trail, in
 * the order in which it happens, from whichever thread; tests compare that. Clients
 * are their own "streams": the core hands them back, and never looks inside.
 */
#ifndef MK_SESSION_TEST_HOUSE_H
#define MK_SESSION_TEST_HOUSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "jid/jid.h"
#include "loop/worker.h"
#include "route/route.h"
#include "session/session.h"
#include "store/store.h"

#define HOUSE_DEADLINE_MS 20000
#define until(condition) do {                                                  \
	mk_usec end_ = mk_now_usec() + HOUSE_DEADLINE_MS * 1000;               \
	while (!(condition)) {                                                 \
		if (mk_now_usec() > end_)                                      \
			fail_msg("waited in vain for %s", #condition);         \
		poll(NULL, 0, 1);                                              \
	}                                                                      \
} while (0)

/* ---- the trail ------------------------------------------------------------------- */

static struct { pthread_mutex_t lock; struct mk_buf text; } trail = {
	.lock = PTHREAD_MUTEX_INITIALIZER };

static inline __attribute__((format(printf, 1, 2))) void note(const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&trail.lock);
	if (trail.text.n > 0)
		mk_buf_addc(&trail.text, ' ');
	va_start(ap, fmt);
	mk_buf_vprintf(&trail.text, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&trail.lock);
}

static inline bool trail_is(const char *words)
{
	pthread_mutex_lock(&trail.lock);
	bool yes = strcmp(mk_buf_z(&trail.text), words) == 0;
	pthread_mutex_unlock(&trail.lock);
	return yes;
}

static inline bool trail_has(const char *words)
{
	pthread_mutex_lock(&trail.lock);
	bool yes = strstr(mk_buf_z(&trail.text), words) != NULL;
	pthread_mutex_unlock(&trail.lock);
	return yes;
}

static inline void trail_clear(void)
{
	pthread_mutex_lock(&trail.lock);
	mk_buf_clear(&trail.text);
	pthread_mutex_unlock(&trail.lock);
}

/* Waits until the trail says so, and clears it. */
static inline void expect_trail(const char *words)
{
	mk_usec end = mk_now_usec() + HOUSE_DEADLINE_MS * 1000;

	while (!trail_is(words) && mk_now_usec() < end)
		poll(NULL, 0, 1);
	pthread_mutex_lock(&trail.lock);
	char *got = mk_strdup(mk_buf_z(&trail.text));
	mk_buf_clear(&trail.text);
	pthread_mutex_unlock(&trail.lock);
	assert_string_equal(got, words);
	mk_free(got);
}

/* ---- a gate for jobs --------------------------------------------------------------- */

static struct { pthread_mutex_t lock; pthread_cond_t cond; bool closed; unsigned waiting; } gate = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

/* In a job: waits while the gate is closed. */
static inline void gate_pass(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.waiting++;
	while (gate.closed)
		pthread_cond_wait(&gate.cond, &gate.lock);
	gate.waiting--;
	pthread_mutex_unlock(&gate.lock);
}

static inline void gate_set(bool closed)
{
	pthread_mutex_lock(&gate.lock);
	gate.closed = closed;
	pthread_cond_broadcast(&gate.cond);
	pthread_mutex_unlock(&gate.lock);
}

static inline unsigned gate_waiting(void)
{
	pthread_mutex_lock(&gate.lock);
	unsigned n = gate.waiting;
	pthread_mutex_unlock(&gate.lock);
	return n;
}

/* ---- plugins ------------------------------------------------------------------------ */

#define PLUGIN(id, plugin_name, ...)                                                \
	static int (*id##_registers)(struct mk_inst *i);                            \
	static int id##_start(struct mk_inst *i) { return id##_registers(i); }      \
	static const struct mk_plugin id##_plugin = { .magic = MK_PLUGIN_MAGIC,     \
		.abi_major = MK_ABI_MAJOR, .size = sizeof(struct mk_plugin),        \
		.build = MK_ABI_BUILD, .name = plugin_name, .start = id##_start,    \
		.flags = MK_PLUGIN_PER_TYPE, __VA_ARGS__ };                         \
	static struct mk_module *id##_module;                                       \
	static inline struct mk_inst *id(int (*registers)(struct mk_inst *i))       \
	{                                                                           \
		if (id##_module == NULL)                                            \
			id##_module = mk_module_static(&id##_plugin);               \
		id##_registers = registers;                                         \
		return house_start(id##_module);                                    \
	}

static struct mk_host_type *people;

static inline struct mk_inst *house_start(struct mk_module *m)
{
	struct mk_diag d = { 0 };
	struct mk_inst *i = NULL;

	if (mk_inst_start(m, people, NULL, mk_arena_new(), &d, &i) < 0)
		print_message("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	assert_non_null(i);
	return i;
}

static inline void stop(struct mk_inst *i) { mk_inst_stop(&i, HOUSE_DEADLINE_MS); }

/* ---- stanzas and addresses ----------------------------------------------------------- */

static inline struct mk_jid *jid(const char *text)
{
	struct mk_jid *j = NULL;

	mk_assert(mk_jid_parsez(text, &j) == 0);
	return j;
}

/* One element of jabber:client, addresses too: open. */
static inline struct mk_stanza *stanza(const char *xml)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e;
	struct mk_stanza *s = NULL;
	struct mk_buf b = { 0 };

	/* "<message ...": the namespace is added. */
	size_t name = strcspn(xml, " />");
	mk_buf_add(&b, xml, name);
	MK_BUF_LIT(&b, " xmlns='jabber:client'");
	mk_buf_addz(&b, xml + name);
	mk_assert(mk_elem_read(a, (struct mk_str){ b.p, b.n }, &e) == 0);
	mk_assert(mk_stanza_from_elem(e, &s) == 0);
	mk_buf_free(&b);
	mk_arena_free(&a);
	return s;
}

/* ---- clients -------------------------------------------------------------------------- */

struct client {
	const char *name;
	struct mk_session *session;    /* a reference, as a stream holds one    */
	struct mk_jid *bare;
	const char *resource;          /* "" = one of the server's making       */
};

static inline struct client *client_of(struct mk_stream *st) { return (struct client *)st; }

static inline void house_carry(struct mk_stream *st, struct mk_session *s)
{
	client_of(st)->session = mk_session_ref(s);
}

/* "a<id" for a message, an IQ or presence; "a<id:condition" for an error. */
static inline void house_send(struct mk_stream *st, struct mk_stanza *s, const struct mk_jid *to)
{
	const struct mk_elem *error = mk_elem_child(mk_stanza_elem(s), "error", NULL);

	(void)to;
	note("%s<%s%s%s", client_of(st)->name, mk_stanza_id(s) != NULL ? mk_stanza_id(s) : "-",
		error != NULL ? ":" : "", error != NULL ? mk_elem_name(mk_elem_first(error)) : "");
}

static inline void house_write(struct mk_stream *st, const struct mk_elem *e)
{
	note("%s<%s", client_of(st)->name, mk_elem_name(e));
}

static inline uint32_t house_unsent(struct mk_stream *st)
{
	(void)st;
	return 0;
}

static inline void house_close(struct mk_stream *st, const char *condition, const char *text)
{
	struct client *c = client_of(st);

	(void)text;
	note("%s!%s", c->name, condition != NULL ? condition : "end");
	mk_session_unref(&c->session);
}

static inline void house_soon(const struct mk_stream *st)
{
	(void)st;
}

static const struct mk_transport_ops house_transport = {
	.carry = house_carry, .send = house_send, .write = house_write, .soon = house_soon,
	.unsent = house_unsent, .close = house_close
};

/* "a=r" or "a=conflict". A stream that went is not touched. */
static inline void house_bound(struct mk_stream *st, struct mk_session *s, int err)
{
	if (st == NULL)
		note("%s", err == -MK_ECLOSED ? "gone" : "?");
	else if (err < 0)
		note("%s=%s", client_of(st)->name, err == -MK_ECONFLICT ? "conflict" :
			err == -MK_ELIMIT ? "limit" : err == -MK_EJID ? "jid" :
			err == -MK_ENOENT ? "domain" : "?");
	else if (client_of(st)->resource[0] == '\0')
		note("%s=(%zu)", client_of(st)->name, mk_jid_resource(mk_session_jid(s)).n);
	else
		note("%s=%.*s", client_of(st)->name, (int)mk_jid_resource(mk_session_jid(s)).n,
			mk_jid_resource(mk_session_jid(s)).p);
}

/* fn(arg) at the home of j, when this returns. */
struct house_call { const struct mk_jid *j; void (*fn)(void *arg); void *arg; };
static inline void house_called(struct mk_worker *w, void *arg)
{
	struct house_call *c = arg;

	if (w == mk_home_of(c->j))
		c->fn(c->arg);
}
static inline void at_home(const struct mk_jid *j, void (*fn)(void *arg), void *arg)
{
	struct house_call c = { j, fn, arg };

	mk_workers_call(house_called, &c);
}

static inline void house_bind(void *arg)
{
	struct client *c = arg;

	mk_session_bind((struct mk_stream *)c, &house_transport, c->bare, mk_strz(c->resource),
		house_bound);
}

/* Does not wait for a session_open that is parked. */
static inline struct client client_new(const char *name, const char *bare, const char *resource)
{
	return (struct client){ name, NULL, jid(bare), resource };
}
static inline void bind_begin(struct client *c) { at_home(c->bare, house_bind, c); }

struct house_in { struct client *c; struct mk_stanza *s; };
static inline void house_came(void *arg)
{
	struct house_in *in = arg;

	mk_stanza_set_from(in->s, mk_session_jid(in->c->session));
	mk_session_in(in->c->session, in->s);
}
/* As if c had sent it. */
static inline void send_from(struct client *c, const char *xml)
{
	struct house_in in = { c, stanza(xml) };

	at_home(c->bare, house_came, &in);
}

struct house_gone { struct client *c; enum mk_close_reason why; };
static inline void house_went(void *arg)
{
	struct house_gone *g = arg;
	struct mk_session *s = g->c->session;

	g->c->session = NULL;
	if (s != NULL) {
		mk_session_stream_gone(s, g->why);
		mk_session_unref(&s);
	}
}
/* Its connection broke, or it said goodbye. */
static inline void gone(struct client *c, enum mk_close_reason why)
{
	struct house_gone g = { c, why };

	at_home(c->bare, house_went, &g);
}

static inline void client_end(struct client *c)
{
	gone(c, MK_CLOSE_BY_CLIENT);
	mk_jid_unref(&c->bare);
}

/* Whether there is an entity, and how many sessions it has: -1 = none. */
struct house_look { const struct mk_jid *bare; int n; };
static inline void house_looked(void *arg)
{
	struct house_look *l = arg;
	struct mk_entity *e = mk_entity_find(l->bare);

	l->n = e == NULL ? -1 : 0;
	for (struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL; s != NULL;
	     s = mk_session_next(s))
		l->n++;
}
static inline int sessions_of(const struct mk_jid *bare)
{
	struct house_look l = { bare, 0 };

	at_home(bare, house_looked, &l);
	return l.n;
}

/* ---- the house ------------------------------------------------------------------------- */

static inline int house_open(void **state)
{
	(void)state;
	if (mk_log_open("/dev/null", MK_LOG_LOGFMT, MK_ERROR) < 0)
		return -1;
	mk_host_type_add("*");
	people = mk_host_type_add("people");
	if (mk_workers_start(2, mk_sessions_worker_init, mk_sessions_worker_fini) < 0)
		return -1;
	return mk_domain_add(MK_STR("example.org"), "people", true, true);
}

static inline int house_close_all(void **state)
{
	(void)state;
	gate_set(false);
	mk_workers_stop();
	mk_buf_free(&trail.text);
	return 0;
}

#endif
