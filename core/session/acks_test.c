/*
 * acks_test.c - what may be acknowledged: never too much, never less than before;
 * and when another copy of what is kept may go
 *
 * One session, whose journal, hooks, jobs and routing are this file (--wrap): a
 * stanza's position is the next number, and the test says what is synced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "jid/jid.h"
#include "loop/worker.h"
#include "route/route.h"
#include "session/session.h"
#include "store/journal.h"

static int64_t written, synced, wait_at;
static struct mk_task *waiting;
static unsigned durable_events, routed;
static bool is_parked;                 /* handlers ask for a job                */
static struct mk_event parked[8];
static unsigned parked_n;

bool __wrap_mk_journal_is_open(void);
bool __wrap_mk_journal_is_open(void) { return true; }
int64_t __wrap_mk_journal_write(struct mk_stanza *s);
int64_t __wrap_mk_journal_write(struct mk_stanza *s) { (void)s; return ++written; }
int64_t __wrap_mk_journal_synced(enum mk_durability mode);
int64_t __wrap_mk_journal_synced(enum mk_durability mode)
{
	return mode == MK_DURABLE_ASYNC ? written : synced;
}
void __wrap_mk_journal_wait(int64_t position, struct mk_task *t);
void __wrap_mk_journal_wait(int64_t position, struct mk_task *t)
{
	assert_null(waiting);
	assert_true(position > synced);
	wait_at = position;
	waiting = t;
}
static bool is_frozen, is_stopping;
static unsigned inside, jobs, fn_runs, done_runs;

bool __wrap_mk_journal_is_frozen(void);
bool __wrap_mk_journal_is_frozen(void) { return is_frozen; }
bool __wrap_mk_inst_enter(struct mk_inst *i);
bool __wrap_mk_inst_enter(struct mk_inst *i)
{
	(void)i;
	inside += !is_stopping;
	return !is_stopping;
}
void __wrap_mk_inst_leave(struct mk_inst *i);
void __wrap_mk_inst_leave(struct mk_inst *i) { (void)i; inside--; }
void __wrap_mk_worker_run(struct mk_task *t);
void __wrap_mk_worker_run(struct mk_task *t) { t->run(t); }
void __wrap_mk_job(struct mk_inst *i, void (*fn)(struct mk_inst *, struct mk_store *, void *),
	void (*done)(struct mk_inst *, void *), void *data);
void __wrap_mk_job(struct mk_inst *i, void (*fn)(struct mk_inst *, struct mk_store *, void *),
	void (*done)(struct mk_inst *, void *), void *data)
{
	jobs++;
	if (!is_stopping)
		fn(i, NULL, data);
	done(i, data);
}
void __wrap_mk_route(struct mk_stanza **s, const struct mk_jid *to);
void __wrap_mk_route(struct mk_stanza **s, const struct mk_jid *to)
{
	(void)to;
	routed++;
	mk_stanza_unref(s);
}
void __wrap_mk_event_run(struct mk_event *e, const struct mk_dispatch *d);
void __wrap_mk_event_run(struct mk_event *e, const struct mk_dispatch *d)
{
	(void)d;
	if (e->hook == 9)
		durable_events++;
	else if (is_parked)
		parked[parked_n++] = *e;
	else
		e->then(e, MK_NEXT);
}

static struct mk_host_type type;
static struct mk_domain domain = { .type = &type };
static struct mk_entity entity;
static struct mk_session *ses;
static struct mk_jid *you;

static int set_up(void **state)
{
	(void)state;
	written = synced = wait_at = 0;
	waiting = NULL;
	durable_events = routed = parked_n = 0;
	is_parked = is_frozen = is_stopping = false;
	inside = jobs = fn_runs = done_runs = 0;
	memset(&entity, 0, sizeof entity);
	entity.magic = MK_ENTITY_MAGIC;
	entity.domain = &domain;
	assert_int_equal(mk_jid_parsez("me@meerkat.test", &entity.jid), 0);
	ses = mk_alloc(sizeof *ses);
	ses->magic = MK_SESSION_MAGIC;
	ses->refs = 1;
	ses->entity = &entity;
	ses->flags = MK_SES_OPEN;
	ses->durability = MK_DURABLE_WAL;
	assert_int_equal(mk_jid_parsez("me@meerkat.test/here", &ses->jid), 0);
	assert_int_equal(mk_jid_parsez("you@elsewhere.test", &you), 0);
	entity.sessions = ses;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mk_session_unref(&ses);
	mk_jid_unref(&entity.jid);
	mk_jid_unref(&you);
	return 0;
}

static void comes_in(enum mk_stanza_kind kind, const char *type_name)
{
	struct mk_stanza *s = mk_stanza_new(kind, type_name, ses->jid, you);

	if (kind == MK_MESSAGE)
		mk_elem_add_text(mk_stanza_root(s), "body", NULL, MK_STR("hello"));
	assert_true(mk_session_in(ses, s));
}

static void messages(unsigned n)
{
	while (n-- > 0)
		comes_in(MK_MESSAGE, "chat");
}

/* The journal's sync thread, seen from the worker. */
static void sync_to(int64_t position)
{
	struct mk_task *t = waiting;

	synced = position;
	if (t != NULL && wait_at <= synced) {
		waiting = NULL;
		t->run(t);
	}
}

static void test_covers_what_is_synced(void **state)
{
	(void)state;
	mk_session_acks_on(ses);
	messages(3);
	assert_int_equal(mk_session_in_count(ses), 3);
	assert_int_equal(mk_session_in_durable(ses), 0);
	mk_session_want_durable(ses, 3);
	assert_int_equal(durable_events, 0);
	messages(2);
	sync_to(3);
	assert_int_equal(durable_events, 1);
	assert_int_equal(mk_session_in_durable(ses), 3);
	mk_session_want_durable(ses, 5);
	sync_to(5);
	assert_int_equal(durable_events, 2);
	assert_int_equal(mk_session_in_durable(ses), 5);
}

/* A wait that has long ended, or is about to, says nothing about what came since. */
static void test_never_goes_back(void **state)
{
	(void)state;
	mk_session_acks_on(ses);
	messages(3);
	mk_session_want_durable(ses, 3);
	messages(3);
	synced = 6;                    /* the wait's task has not run yet       */
	assert_int_equal(mk_session_in_durable(ses), 6);
	messages(1);
	assert_int_equal(mk_session_in_durable(ses), 6);
	sync_to(6);
	assert_int_equal(mk_session_in_durable(ses), 6);
	assert_int_equal(durable_events, 1);
	messages(1);
	assert_int_equal(mk_session_in_durable(ses), 6);
}

/* What is not stored is covered as soon as all before it is. */
static void test_others_wait_for_those_before(void **state)
{
	(void)state;
	mk_session_acks_on(ses);
	comes_in(MK_PRESENCE, NULL);
	assert_int_equal(mk_session_in_durable(ses), 1);
	messages(1);
	comes_in(MK_PRESENCE, NULL);
	assert_int_equal(mk_session_in_count(ses), 3);
	assert_int_equal(mk_session_in_durable(ses), 1);
	sync_to(1);
	assert_int_equal(mk_session_in_durable(ses), 3);
}

/* One that waits for a job is not handled, nor is what the stream has answered
 * behind it; those before acks_on() never count. */
static void test_pending(void **state)
{
	(void)state;
	is_parked = true;
	messages(1);
	mk_session_acks_on(ses);
	messages(2);
	mk_session_in_answered(ses);
	assert_int_equal(mk_session_in_count(ses), 0);
	assert_int_equal(mk_session_in_pending(ses), 3);
	parked[0].then(&parked[0], MK_NEXT);
	assert_int_equal(mk_session_in_count(ses), 0);
	parked[1].then(&parked[1], MK_NEXT);
	assert_int_equal(mk_session_in_count(ses), 1);
	assert_int_equal(mk_session_in_pending(ses), 2);
	parked[2].then(&parked[2], MK_NEXT);
	assert_int_equal(mk_session_in_count(ses), 3);
	assert_int_equal(mk_session_in_pending(ses), 0);
	assert_int_equal(mk_session_in_durable(ses), 0);
	sync_to(written);
	assert_int_equal(mk_session_in_durable(ses), 3);
	assert_int_equal(routed, 3);
}

/* Whatever comes and whenever it is synced: at most what came, at least what it
 * was, and only what is synced. */
static void test_any_order(void **state)
{
	uint32_t was = 0;
	unsigned n = 1;
	int64_t position[10001] = { 0 };       /* of the nth stanza, or of one before */

	(void)state;
	mk_session_acks_on(ses);
	for (unsigned round = 0; round < 10000; round++) {
		n = n * 1103515245u + 12345u;
		switch (n >> 16 & 7) {
		case 0: case 1: case 2:
			messages(1);
			position[mk_session_in_count(ses)] = written;
			break;
		case 3:
			comes_in(MK_PRESENCE, NULL);
			position[mk_session_in_count(ses)] = written;
			break;
		case 4:
			synced += (n >> 20) % (unsigned)(written - synced + 1);
			break;
		case 5:
			sync_to(synced);
			break;
		case 6:
			mk_session_want_durable(ses, mk_session_in_count(ses));
			break;
		}
		uint32_t h = mk_session_in_durable(ses);
		assert_true(h >= was && h <= mk_session_in_count(ses));
		assert_true(position[h] <= synced);
		was = h;
	}
	sync_to(written);
	assert_int_equal(mk_session_in_durable(ses), mk_session_in_count(ses));
}

/* ---- a job that deletes what the journal keeps, too ------------------------------------ */

static void fn(struct mk_inst *i, struct mk_store *st, void *data)
{
	(void)i;
	(void)st;
	assert_ptr_equal(data, &type);
	fn_runs++;
}

static void done(struct mk_inst *i, void *data)
{
	(void)i;
	assert_ptr_equal(data, &type);
	done_runs++;
}

static void test_job_waits_for_the_journal(void **state)
{
	(void)state;
	written = 5;
	synced = 4;
	mk_job_kept(NULL, ses, fn, done, &type);
	assert_int_equal(jobs, 0);
	assert_int_equal(inside, 1);   /* a stop waits for it                   */
	sync_to(5);
	assert_int_equal(jobs + fn_runs + done_runs, 3);
	assert_int_equal(inside, 0);
	/* Nothing to wait for. */
	mk_job_kept(NULL, ses, fn, done, &type);
	assert_int_equal(jobs + fn_runs + done_runs, 6);
	written = 9;
	ses->durability = MK_DURABLE_ASYNC;
	mk_job_kept(NULL, ses, fn, done, &type);
	assert_int_equal(jobs + fn_runs + done_runs, 9);
	assert_null(waiting);
}

static void test_job_at_a_stop(void **state)
{
	(void)state;
	written = 5;
	is_frozen = true;
	mk_job_kept(NULL, ses, fn, done, &type);
	assert_int_equal(fn_runs, 0);
	assert_int_equal(done_runs, 1);
	is_frozen = false;
	mk_job_kept(NULL, ses, fn, done, &type);
	is_stopping = true;            /* the plugin, while it waits            */
	sync_to(5);
	assert_int_equal(fn_runs, 0);
	assert_int_equal(done_runs, 2);
	written = 6;
	mk_job_kept(NULL, ses, fn, done, &type);
	assert_int_equal(fn_runs, 0);
	assert_int_equal(done_runs, 3);
	assert_null(waiting);
	assert_int_equal(inside, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_covers_what_is_synced),
		TEST(test_never_goes_back),
		TEST(test_others_wait_for_those_before),
		TEST(test_pending),
		TEST(test_any_order),
		TEST(test_job_waits_for_the_journal),
		TEST(test_job_at_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
