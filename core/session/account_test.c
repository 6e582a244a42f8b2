/*
 * account_test.c - sources asked in order, the cache, and what removal does
 *
 * Two sources and one domain, all in this file; what account.c needs of the rest of
 * the core is faked below, and so is the clock (--wrap=mk_now_usec).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "conf/node.h"
#include "jid/jid.h"
#include "session/account.h"
#include "session/session.h"
#include "store/store.h"

/* ---- the core around it --------------------------------------------------------- */

static mk_usec now_usec = 1000000;
mk_usec __wrap_mk_now_usec(void);
mk_usec __wrap_mk_now_usec(void) { return now_usec; }

static struct mk_dispatch dispatch;
static struct mk_host_type type;
static struct mk_domain domain = { .type = &type };
static bool is_disabled;
static struct mk_arena *arena;
static char trail[512];                /* what happened, in order               */

static void note(const char *what)
{
	snprintf(trail + strlen(trail), sizeof trail - strlen(trail), "%s ", what);
}

struct mk_domain *mk_domain_find_any(const char *name, size_t n)
{
	return n == 11 && memcmp(name, "example.org", 11) == 0 ? &domain : NULL;
}

struct mk_domain *mk_domain_of(const struct mk_jid *j)
{
	struct mk_str d = mk_jid_domain(j);
	return is_disabled ? NULL : mk_domain_find_any(d.p, d.n);
}

struct mk_arena *mk_store_arena(struct mk_store *st) { (void)st; return arena; }

static int erase_result;
int mk_store_erase_user(struct mk_store *st, const struct mk_jid *user, uint64_t *rows_out)
{
	(void)st;
	(void)user;
	*rows_out = 7;
	note("erase");
	return erase_result;
}

unsigned mk_worker_count = 1;
static struct mk_worker *const worker = (struct mk_worker *)&mk_worker_count;
static struct mk_session sessions[2];
void mk_workers_call(void (*fn)(struct mk_worker *w, void *arg), void *arg) { fn(worker, arg); }
struct mk_worker *mk_home_of(const struct mk_jid *j) { (void)j; return worker; }
struct mk_entity *mk_entity_find(const struct mk_jid *j)
{
	(void)j;
	return (struct mk_entity *)sessions;
}
void mk_entity_keep(struct mk_entity *e) { (void)e; }
void mk_entity_unkeep(struct mk_entity *e) { (void)e; }
struct mk_session *mk_entity_sessions(const struct mk_entity *e) { (void)e; return &sessions[0]; }
struct mk_session *mk_session_next(const struct mk_session *s)
{
	return s == &sessions[0] ? &sessions[1] : NULL;
}
bool mk_session_is_open(const struct mk_session *s) { (void)s; return true; }
void mk_session_deliver(struct mk_session *s, struct mk_stanza *st, const struct mk_jid *to)
{
	(void)s;
	(void)st;
	(void)to;
	note("deliver");
}
void mk_session_close(struct mk_session *s, enum mk_close_reason why, const char *condition,
	const char *text)
{
	(void)s;
	(void)text;
	assert_int_equal(why, MK_CLOSE_KICKED);
	assert_string_equal(condition, "not-authorized");
	note("close");
}

static _Atomic unsigned entered;
static const struct mk_inst *stopping;
bool mk_inst_enter(struct mk_inst *i)
{
	if (i == stopping)
		return false;
	entered++;
	return true;
}
void mk_inst_leave(struct mk_inst *i) { (void)i; entered--; }

static const struct mk_pool *pool_here;        /* of the only thread         */
bool mk_in_pool(const struct mk_pool *p) { return p == pool_here; }

/* ---- two sources ------------------------------------------------------------------- */

static struct source {
	struct mk_inst inst;
	struct { char user[32], password[32]; } users[4];
	bool is_away;
	_Atomic unsigned asked;
	void (*meanwhile)(void);       /* runs while the source is at work      */
} one, two;

static struct source *of(struct mk_inst *i)
{
	return (struct source *)((char *)i - offsetof(struct source, inst));
}

static int find(const struct source *s, const struct mk_jid *user)
{
	for (int i = 0; i < 4; i++)
		if (mk_str_eqz(mk_jid_local(user), s->users[i].user))
			return i;
	return -1;
}

static enum mk_auth_answer exists(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user)
{
	(void)st;
	return of(i)->is_away ? MK_AUTH_LATER : find(of(i), user) >= 0 ? MK_AUTH_YES : MK_AUTH_UNKNOWN;
}

static enum mk_auth_answer scram(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	enum mk_hash h, struct mk_scram_keys *out)
{
	struct source *s = of(i);
	int at = find(s, user);

	(void)st;
	s->asked++;
	if (s->is_away)
		return MK_AUTH_LATER;
	if (at < 0)
		return MK_AUTH_UNKNOWN;
	if (h != MK_SHA1)
		return MK_AUTH_NO;
	mk_scram_derive(h, mk_strz(s->users[at].password), "0123456789abcdef", 16, 10, out);
	if (s->meanwhile != NULL)
		s->meanwhile();
	return MK_AUTH_YES;
}

static enum mk_auth_answer plain(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct mk_str password)
{
	struct source *s = of(i);
	int at = find(s, user);

	(void)st;
	s->asked++;
	if (s->is_away)
		return MK_AUTH_LATER;
	if (at < 0)
		return MK_AUTH_UNKNOWN;
	return mk_str_eqz(password, s->users[at].password) ? MK_AUTH_YES : MK_AUTH_NO;
}

static int set_password(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct mk_str password, bool create)
{
	struct source *s = of(i);
	int at = find(s, user);

	(void)st;
	if (create && at >= 0)
		return -MK_EEXIST;
	if (!create && at < 0)
		return -MK_ENOENT;
	for (at = at >= 0 ? at : 0; create && s->users[at].user[0] != '\0'; at++)
		;
	snprintf(s->users[at].user, 32, "%.*s", (int)mk_jid_local(user).n, mk_jid_local(user).p);
	snprintf(s->users[at].password, 32, "%.*s", (int)password.n, password.p);
	return 0;
}

static int remove_user(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user)
{
	int at = find(of(i), user);

	(void)st;
	if (at < 0)
		return -MK_ENOENT;
	of(i)->users[at].user[0] = '\0';
	note("source");
	return 0;
}

static int list(struct mk_inst *i, struct mk_store *st, struct mk_str dom, struct mk_str after,
	uint32_t limit, struct mk_str **users_out)
{
	struct source *s = of(i);
	uint32_t n = 0;

	(void)st;
	(void)dom;
	*users_out = mk_arena_alloc(arena, 4 * sizeof **users_out);
	for (int at = 0; at < 4 && n < limit; at++)
		if (s->users[at].user[0] != '\0' &&
		    (after.n == 0 || strcmp(s->users[at].user, after.p) > 0))
			(*users_out)[n++] = mk_strz(s->users[at].user);
	return (int)n;
}

static int count_users(struct mk_inst *i, struct mk_store *st, struct mk_str dom, uint64_t *count_out)
{
	(void)st;
	(void)dom;
	*count_out = 0;
	for (int at = 0; at < 4; at++)
		*count_out += of(i)->users[at].user[0] != '\0';
	return 0;
}

static bool has_scram(struct mk_inst *i, enum mk_hash h) { (void)i; return h == MK_SHA1; }
static unsigned iterations(struct mk_inst *i, enum mk_hash h) { (void)i; (void)h; return 10; }

/* Knows passwords only, and lets nobody change them: a directory. */
static const struct mk_source asks_plain = { .size = sizeof asks_plain, .name = "one",
	.exists = exists, .plain = plain };
static const struct mk_source keeps_keys = { .size = sizeof keeps_keys, .name = "two",
	.exists = exists, .scram = scram, .set_password = set_password, .remove = remove_user,
	.list = list, .count = count_users, .has_scram = has_scram, .iterations = iterations };

static void account_removed(struct mk_inst *i, const struct mk_ev_account *ev, struct mk_store *st)
{
	(void)i;
	(void)st;
	note(mk_jid_full(ev->jid));
}

/* ---- tests --------------------------------------------------------------------------- */

static struct mk_jid *juliet, *romeo, *nobody;
#define STORE ((struct mk_store *)NULL)

static int setup(void **state)
{
	static __typeof__(*dispatch.sources) sources[2];
	static struct mk_inst hook_inst;
	static struct mk_handler handler = { &hook_inst, (mk_any_fn *)account_removed, 0, MK_STORED };

	(void)state;
	sources[0].inst = &one.inst;
	sources[0].s = &asks_plain;
	sources[1].inst = &two.inst;
	sources[1].s = &keeps_keys;
	dispatch.sources = sources;
	dispatch.chain[10][0] = (struct mk_chain){ &handler, 1 };
	atomic_init(&type.dispatch, &dispatch);
	mk_jid_parsez("juliet@example.org", &juliet);
	mk_jid_parsez("romeo@example.org", &romeo);
	mk_jid_parsez("nobody@example.org", &nobody);
	return 0;
}

static int before(void **state)
{
	(void)state;
	memset(&one, 0, sizeof one);
	memset(&two, 0, sizeof two);
	snprintf(one.users[0].user, 32, "juliet");
	snprintf(one.users[0].password, 32, "rose");
	snprintf(two.users[0].user, 32, "romeo");
	snprintf(two.users[0].password, 32, "night");
	dispatch.source_count = 2;
	is_disabled = false;
	stopping = NULL;
	pool_here = NULL;
	erase_result = 0;
	trail[0] = '\0';
	arena = mk_arena_new();
	mk_account_forget_all();
	mk_account_set_hash_rate(0);
	return 0;
}

static int after(void **state)
{
	(void)state;
	assert_int_equal(entered, 0);
	mk_account_forget_all();
	mk_arena_free(&arena);
	return 0;
}

static enum mk_auth_answer log_in(const struct mk_jid *u, const char *password)
{
	return mk_account_plain(STORE, u, mk_strz(password));
}

static void test_sources_are_asked_in_order(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	assert_int_equal(log_in(juliet, "rose"), MK_AUTH_YES);
	assert_int_equal(two.asked, 0);
	assert_int_equal(log_in(juliet, "thorn"), MK_AUTH_NO);
	assert_int_equal(two.asked, 0);
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	assert_int_equal(one.asked, 3);
	assert_int_equal(log_in(romeo, "day"), MK_AUTH_NO);
	assert_int_equal(log_in(nobody, "day"), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_exists(STORE, romeo), MK_AUTH_YES);
	assert_int_equal(mk_account_exists(STORE, nobody), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &k), MK_AUTH_YES);
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA256, &k), MK_AUTH_NO);
	assert_int_equal(mk_account_scram(STORE, juliet, MK_SHA1, &k), MK_AUTH_UNKNOWN);
}

static void test_a_source_that_is_away_ends_the_question(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	one.is_away = true;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_LATER);
	assert_int_equal(mk_account_exists(STORE, romeo), MK_AUTH_LATER);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("x"), true), -MK_EAGAIN);
	one.is_away = false;
	stopping = &two.inst;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_LATER);
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &k), MK_AUTH_LATER);
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_int_equal(mk_account_remove(STORE, romeo), -MK_EAGAIN);
	assert_string_equal(trail, "");
}

static void test_nobody_is_known_where_no_domain_is(void **state)
{
	struct mk_scram_keys k;
	struct mk_jid *j;

	(void)state;
	mk_jid_parsez("romeo@example.com", &j);
	assert_int_equal(log_in(j, "night"), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_scram(STORE, j, MK_SHA1, &k), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_set_password(STORE, j, MK_STR("x"), true), -MK_ENOENT);
	assert_int_equal(mk_account_remove(STORE, j), -MK_ENOENT);
	mk_jid_unref(&j);
	mk_jid_parsez("example.org", &j);
	assert_int_equal(log_in(j, "night"), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_remove(STORE, j), -MK_ENOENT);
	mk_jid_unref(&j);
	is_disabled = true;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_UNKNOWN);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("x"), true), -MK_ENOENT);
	/* But what is there can be removed. */
	assert_int_equal(mk_account_remove(STORE, romeo), 0);
}

static void test_returning_users_need_no_source(void **state)
{
	(void)state;
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 0);
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 1);
	unsigned asked = two.asked;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	assert_int_equal(two.asked, asked);
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("nigh")), 0);
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("")), 0);
	assert_int_equal(mk_account_plain_cached(juliet, MK_STR("night")), 0);
	/* A wrong password leaves nothing behind. */
	assert_int_equal(log_in(romeo, "day"), MK_AUTH_NO);
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("day")), 0);
}

static void test_keys_are_cached_as_they_are(void **state)
{
	struct mk_scram_keys asked, cached;

	(void)state;
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &cached));
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &asked), MK_AUTH_YES);
	assert_true(mk_account_scram_cached(romeo, MK_SHA1, &cached));
	assert_memory_equal(&asked, &cached, sizeof asked);
	assert_false(mk_account_scram_cached(romeo, MK_SHA512, &cached));
}

static void test_entries_end_after_ten_minutes(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	mk_account_scram(STORE, romeo, MK_SHA1, &k);
	log_in(romeo, "night");
	now_usec += INT64_C(599000000);
	assert_true(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 1);
	now_usec += INT64_C(1000000);
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 0);
}

static void test_a_changed_password_is_effective_at_once(void **state)
{
	struct mk_scram_keys old, k;

	(void)state;
	mk_account_scram(STORE, romeo, MK_SHA1, &old);
	log_in(romeo, "night");
	assert_int_equal(mk_account_set_password(STORE, romeo, MK_STR("day"), false), 0);
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 0);
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_NO);
	assert_int_equal(log_in(romeo, "day"), MK_AUTH_YES);
	mk_account_scram(STORE, romeo, MK_SHA1, &k);
	assert_memory_not_equal(old.stored_key, k.stored_key, 20);
}

static void change_meanwhile(void)
{
	two.meanwhile = NULL;
	mk_account_set_password(STORE, romeo, MK_STR("day"), false);
}

/* A login that read the old keys must not bring them into the cache after the
 * change. */
static void test_a_change_during_a_login_wins(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	two.meanwhile = change_meanwhile;
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &k), MK_AUTH_YES);
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &k));
	mk_account_forget_all();
	snprintf(two.users[0].password, 32, "night");
	two.meanwhile = change_meanwhile;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 0);
}

static void test_who_does_not_exist_has_lasting_keys(void **state)
{
	struct mk_scram_keys a, b, c;

	(void)state;
	mk_scram_fake(nobody, MK_SHA1, &a);
	mk_scram_fake(nobody, MK_SHA1, &b);
	assert_memory_equal(&a, &b, sizeof a);
	assert_int_equal(a.salt_n, 16);
	assert_int_equal(a.iterations, 10);            /* as the source's       */
	assert_true(a.is_fake);
	mk_scram_fake(romeo, MK_SHA1, &b);
	assert_memory_not_equal(a.salt, b.salt, 16);
	mk_scram_fake(nobody, MK_SHA256, &c);
	assert_memory_not_equal(a.salt, c.salt, 16);
	assert_int_equal(c.iterations, MK_SCRAM_ITERATIONS);
	/* The second attempt is answered as fast as a returning user's ... */
	assert_int_equal(mk_account_scram(STORE, nobody, MK_SHA1, &b), MK_AUTH_UNKNOWN);
	assert_true(mk_account_scram_cached(nobody, MK_SHA1, &b));
	assert_memory_equal(&a, &b, sizeof a);
	/* ... until there is such a user. */
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("x"), true), 0);
	assert_false(mk_account_scram_cached(nobody, MK_SHA1, &b));
	assert_int_equal(mk_account_scram(STORE, nobody, MK_SHA1, &b), MK_AUTH_YES);
	assert_false(b.is_fake);
}

/* A flood of names that don't exist pushes out nobody who does. */
static void test_fakes_have_places_of_their_own(void **state)
{
	struct mk_scram_keys k;
	char name[64];
	struct mk_jid *j;

	(void)state;
	mk_account_scram(STORE, romeo, MK_SHA1, &k);
	for (int i = 0; i < 200000; i++) {
		snprintf(name, sizeof name, "x%d@example.org", i);
		mk_jid_parsez(name, &j);
		mk_account_scram(STORE, j, MK_SHA1, &k);
		mk_jid_unref(&j);
	}
	assert_true(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_false(k.is_fake);
}

static void test_hashing_is_bounded(void **state)
{
	unsigned yes = 0;

	(void)state;
	mk_account_set_hash_rate(5);
	for (int i = 0; i < 20; i++)
		yes += log_in(nobody, "x") != MK_AUTH_LATER;
	assert_int_equal(yes, 5);
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_LATER);
	now_usec += 200000;
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	assert_int_equal(log_in(nobody, "x"), MK_AUTH_LATER);
	/* Who returns isn't concerned. */
	assert_int_equal(log_in(romeo, "night"), MK_AUTH_YES);
	/* Asking often doesn't lose what is being saved up. */
	for (int i = 0; i < 2000; i++) {
		now_usec += 101;
		if (log_in(nobody, "x") != MK_AUTH_LATER)
			break;
		assert_true(i < 1999);
	}
	now_usec += INT64_C(3600000000);
	for (yes = 0; log_in(nobody, "x") != MK_AUTH_LATER; yes++)
		;
	assert_int_equal(yes, 5);
}

/* A directory that has threads of its own. */
static struct mk_pool *const directory_pool = (struct mk_pool *)&one;
static void directory(void)
{
	one.inst.has_own_pool = true;
	one.inst.pool = directory_pool;
}

static void test_logins_move_to_a_sources_own_threads(void **state)
{
	static __typeof__(*dispatch.sources) swapped[2];
	__typeof__(dispatch.sources) usual = dispatch.sources;
	struct mk_move none = { NULL, 0 }, move;
	struct mk_scram_keys k;

	(void)state;
	directory();
	swapped[0] = usual[1];
	swapped[1] = usual[0];
	dispatch.sources = swapped;
	mk_account_set_hash_rate(1);
	mk_account_step_begin(true, none);
	assert_int_equal(log_in(juliet, "rose"), MK_AUTH_ELSEWHERE);
	move = mk_account_step_end();
	assert_ptr_equal(move.inst, &one.inst);
	assert_int_equal(entered, 1);
	assert_int_equal(one.asked, 0);
	unsigned before = two.asked;
	/* There it goes on where it was, and does not count again. */
	pool_here = directory_pool;
	mk_account_step_begin(true, move);
	assert_int_equal(log_in(juliet, "rose"), MK_AUTH_YES);
	assert_null(mk_account_step_end().inst);
	mk_inst_leave(move.inst);
	assert_int_equal(one.asked, 1);
	assert_int_equal(two.asked, before);
	/* What another source knows does not move. */
	pool_here = NULL;
	mk_account_step_begin(true, none);
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &k), MK_AUTH_YES);
	assert_null(mk_account_step_end().inst);
	dispatch.sources = usual;
}

static void test_a_step_that_asks_two_things_is_resumed_by_the_right_one(void **state)
{
	struct mk_move none = { NULL, 0 }, move;
	struct mk_scram_keys k;

	(void)state;
	directory();
	mk_account_step_begin(true, none);
	assert_int_equal(log_in(nobody, "x"), MK_AUTH_ELSEWHERE);
	move = mk_account_step_end();
	pool_here = directory_pool;
	mk_account_step_begin(true, move);
	assert_int_equal(mk_account_scram(STORE, romeo, MK_SHA1, &k), MK_AUTH_YES);
	assert_int_equal(log_in(nobody, "x"), MK_AUTH_UNKNOWN);
	assert_null(mk_account_step_end().inst);
	mk_inst_leave(move.inst);
}

static void test_others_are_guests_a_few_at_a_time(void **state)
{
	(void)state;
	directory();
	one.inst.guests = 1;
	assert_int_equal(mk_account_exists(STORE, juliet), MK_AUTH_YES);
	assert_int_equal(log_in(juliet, "thorn"), MK_AUTH_NO);
	assert_int_equal(one.inst.guests, 1);
	one.inst.guests = 2;
	assert_int_equal(log_in(juliet, "rose"), MK_AUTH_LATER);
	assert_true(one.inst.guests_wait_in_vain);
	assert_int_equal(mk_account_exists(STORE, nobody), MK_AUTH_LATER);
	/* That there is such a user is remembered for a while. */
	assert_int_equal(mk_account_exists(STORE, juliet), MK_AUTH_YES);
	now_usec += INT64_C(600000000);
	assert_int_equal(mk_account_exists(STORE, juliet), MK_AUTH_LATER);
	/* A thread of its own is no guest. */
	pool_here = directory_pool;
	assert_int_equal(mk_account_exists(STORE, juliet), MK_AUTH_YES);
	assert_int_equal(one.inst.guests, 2);
}

static void test_a_right_password_forgets_the_keys_of_another(void **state)
{
	static const struct mk_source captures = { .size = sizeof captures, .name = "one",
		.exists = exists, .plain = plain, .scram = scram, .has_scram = has_scram };
	const struct mk_source *usual = dispatch.sources[0].s;
	struct mk_scram_keys k;

	(void)state;
	dispatch.sources[0].s = &captures;
	assert_int_equal(mk_account_scram(STORE, juliet, MK_SHA1, &k), MK_AUTH_YES);
	assert_true(mk_account_scram_cached(juliet, MK_SHA1, &k));
	snprintf(one.users[0].password, 32, "thorn");
	assert_int_equal(log_in(juliet, "thorn"), MK_AUTH_YES);
	assert_false(mk_account_scram_cached(juliet, MK_SHA1, &k));
	assert_int_equal(mk_account_plain_cached(juliet, MK_STR("thorn")), 1);
	dispatch.sources[0].s = usual;
}

static void test_setting_passwords(void **state)
{
	(void)state;
	assert_int_equal(mk_account_set_password(STORE, romeo, MK_STR("x"), true), -MK_EEXIST);
	/* Another source has her. */
	assert_int_equal(mk_account_set_password(STORE, juliet, MK_STR("x"), true), -MK_EEXIST);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("x"), false), -MK_ENOENT);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR(""), true), -MK_EINVAL);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("\a"), true), -MK_EINVAL);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("\xc2\xad"), true), -MK_EINVAL);
	assert_int_equal(mk_account_set_password(STORE, nobody, MK_STR("I\xc2\xadX"), true), 0);
	assert_string_equal(two.users[1].password, "IX");
	dispatch.source_count = 1;
	assert_int_equal(mk_account_set_password(STORE, juliet, MK_STR("x"), false), -MK_EPERM);
}

static void test_removal_goes_in_order(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	log_in(romeo, "night");
	mk_account_scram(STORE, romeo, MK_SHA1, &k);
	assert_int_equal(mk_account_remove(STORE, romeo), 0);
	assert_string_equal(trail, "source close close romeo@example.org erase ");
	assert_false(mk_account_scram_cached(romeo, MK_SHA1, &k));
	assert_int_equal(mk_account_plain_cached(romeo, MK_STR("night")), 0);
	/* What could not be erased can be tried again. */
	trail[0] = '\0';
	erase_result = -MK_EIO;
	assert_int_equal(mk_account_remove(STORE, romeo), -MK_EIO);
	erase_result = 0;
	assert_int_equal(mk_account_remove(STORE, romeo), -MK_ENOENT);
	assert_string_equal(trail, "close close romeo@example.org erase "
		"close close romeo@example.org erase ");
	/* A directory's user stays, with all that is his. */
	trail[0] = '\0';
	assert_int_equal(mk_account_remove(STORE, juliet), -MK_EPERM);
	assert_string_equal(trail, "");
}

static void test_lists_of_several_sources_are_merged(void **state)
{
	static __typeof__(*dispatch.sources) both[2];
	__typeof__(dispatch.sources) usual = dispatch.sources;
	struct mk_str *users;
	uint64_t n;

	(void)state;
	both[0].inst = &one.inst;
	both[1].inst = &two.inst;
	both[0].s = both[1].s = &keeps_keys;
	dispatch.sources = both;
	snprintf(one.users[1].user, 32, "romeo");
	snprintf(two.users[1].user, 32, "tybalt");
	assert_int_equal(mk_account_list(STORE, MK_STR("example.org"), MK_STR_NONE, 10, &users), 3);
	assert_true(mk_str_eqz(users[0], "juliet") && mk_str_eqz(users[1], "romeo") &&
		mk_str_eqz(users[2], "tybalt"));
	assert_int_equal(mk_account_list(STORE, MK_STR("example.org"), MK_STR_NONE, 2, &users), 2);
	assert_int_equal(mk_account_list(STORE, MK_STR("example.org"), users[0], 2, &users), 2);
	assert_true(mk_str_eqz(users[0], "romeo"));
	assert_int_equal(mk_account_count(STORE, MK_STR("example.org"), &n), 0);
	assert_int_equal(n, 4);
	dispatch.sources = usual;
	assert_int_equal(mk_account_list(STORE, MK_STR("example.com"), MK_STR_NONE, 2, &users),
		-MK_ENOENT);
	dispatch.source_count = 1;
	assert_int_equal(mk_account_list(STORE, MK_STR("example.org"), MK_STR_NONE, 2, &users),
		-MK_EPERM);
	assert_int_equal(mk_account_count(STORE, MK_STR("example.org"), &n), -MK_EPERM);
}

static void test_the_secret_is_kept_over_restarts(void **state)
{
	char dir[] = "/tmp/account_test.XXXXXX", path[64];
	struct mk_diag d = { 0 };
	struct mk_scram_keys a, b;
	struct stat s;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/secret.key", dir);
	assert_int_equal(mk_account_init(dir, &d), 0);
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
	assert_int_equal(s.st_size, 32);
	mk_scram_fake(nobody, MK_SHA1, &a);
	assert_int_equal(mk_account_init(dir, &d), 0);
	mk_scram_fake(nobody, MK_SHA1, &b);
	assert_memory_equal(&a, &b, sizeof a);
	assert_int_equal(d.count, 0);
	/* Others could read it: say so rather than go on. */
	chmod(path, 0640);
	assert_int_equal(mk_account_init(dir, &d), -MK_EPERM);
	assert_int_equal(d.count, 1);
	chmod(path, 0600);
	assert_int_equal(truncate(path, 31), 0);
	assert_int_equal(mk_account_init(dir, &d), -MK_EIO);
	unlink(path);
	assert_int_equal(mk_account_init(dir, &d), 0);
	mk_scram_fake(nobody, MK_SHA1, &b);
	assert_memory_not_equal(a.salt, b.salt, 16);
	unlink(path);
	rmdir(dir);
	assert_int_equal(mk_account_init(dir, &d), -MK_EIO);
	mk_diag_fini(&d);
}

static void *hammer(void *arg)
{
	struct mk_scram_keys k;

	for (int i = 0; i < 300; i++) {
		mk_account_scram(STORE, romeo, MK_SHA1, &k);
		if (mk_account_scram_cached(romeo, MK_SHA1, &k) && k.iterations != 10)
			return arg;
		log_in(romeo, "night");
		if (mk_account_plain_cached(romeo, MK_STR("day")))
			return arg;
		mk_account_scram(STORE, nobody, MK_SHA1, &k);
		mk_account_forget(romeo);
		if (i % 100 == 0)
			mk_account_forget_all();
	}
	return NULL;
}

/* For ThreadSanitizer, mostly. */
static void test_the_cache_may_be_used_by_many_threads(void **state)
{
	pthread_t t[4];
	void *bad;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, t), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
}

static void quiet(const char *line, size_t n)
{
	(void)line;
	(void)n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sources_are_asked_in_order),
		TEST(test_a_source_that_is_away_ends_the_question),
		TEST(test_nobody_is_known_where_no_domain_is),
		TEST(test_returning_users_need_no_source),
		TEST(test_keys_are_cached_as_they_are),
		TEST(test_entries_end_after_ten_minutes),
		TEST(test_a_changed_password_is_effective_at_once),
		TEST(test_a_change_during_a_login_wins),
		TEST(test_who_does_not_exist_has_lasting_keys),
		TEST(test_fakes_have_places_of_their_own),
		TEST(test_the_cache_may_be_used_by_many_threads),
		TEST(test_hashing_is_bounded),
		TEST(test_logins_move_to_a_sources_own_threads),
		TEST(test_a_step_that_asks_two_things_is_resumed_by_the_right_one),
		TEST(test_others_are_guests_a_few_at_a_time),
		TEST(test_a_right_password_forgets_the_keys_of_another),
		TEST(test_setting_passwords),
		TEST(test_removal_goes_in_order),
		TEST(test_lists_of_several_sources_are_merged),
		TEST(test_the_secret_is_kept_over_restarts),
	};
	mk_log_capture(quiet);
	return cmocka_run_group_tests_name("account", tests, setup, NULL);
}
