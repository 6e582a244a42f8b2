/*
 * store/store_test.c - declarations, breaker, write-behind, by a made-up backend
 *
 * The operations themselves are tested by storage/suite.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/inner.h"
#include "base/log.h"
#include "base/metric.h"
#include "xml/stanza.h"

/* ---- a backend that does as it is told ------------------------------------------- */

static struct {
	_Atomic int status;            /* what calls answer                     */
	_Atomic bool refuses_conn;
	_Atomic unsigned calls, conns, open_conns, rows;
	_Atomic uint64_t sum;          /* of appended numbers, in order         */
	_Atomic bool ordered;
	int64_t poison;                /* an appended number that is INVALID    */
	char declared[256];
} fake;
struct mk_backend_db { int unused; };
struct mk_backend_conn { int unused; };

static int fake_declare(struct mk_backend_db *db, const struct mk_table *const *t,
	struct mk_diag *d)
{
	(void)db, (void)d;
	for (; t != NULL && *t != NULL; t++)
		snprintf(fake.declared + strlen(fake.declared),
			sizeof fake.declared - strlen(fake.declared), "%s ", (*t)->name);
	return 0;
}
static int fake_open(struct mk_inst *i, const void *conf, const struct mk_table *const *t,
	bool dry_run, struct mk_diag *d, struct mk_backend_db **out)
{
	(void)i, (void)conf;
	if (dry_run)
		return 0;
	*out = mk_alloc(sizeof **out);
	return fake_declare(*out, t, d);
}
static void fake_close(struct mk_backend_db *db)
{
	mk_free(db);
}
static int fake_conn_open(struct mk_backend_db *db, struct mk_backend_conn **out)
{
	(void)db;
	if (fake.refuses_conn)
		return -MK_EIO;
	fake.conns++;
	fake.open_conns++;
	*out = mk_alloc(sizeof **out);
	return 0;
}
static void fake_conn_close(struct mk_backend_conn *c)
{
	fake.open_conns--;
	mk_free(c);
}
static enum mk_store_status fake_get(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, struct mk_arena *a, struct mk_row *out)
{
	(void)c, (void)t, (void)key, (void)a, (void)out;
	fake.calls++;
	return fake.status;
}
static enum mk_store_status fake_append(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n)
{
	(void)c;
	fake.calls++;
	if (fake.status != MK_STORE_OK)
		return fake.status;
	for (uint32_t i = 0; i < n; i++)
		if (w[i].row[1].as.i == fake.poison)
			return MK_STORE_INVALID;
	for (uint32_t i = 0; i < n; i++) {
		if ((uint64_t)w[i].row[1].as.i < fake.sum)
			fake.ordered = false;
		fake.sum = (uint64_t)w[i].row[1].as.i;
	}
	fake.rows += n;
	return MK_STORE_OK;
}
static const struct mk_backend fake_backend = { .size = sizeof fake_backend,
	.caps = MK_CAP_RANGE, .db_open = fake_open, .db_declare = fake_declare,
	.db_close = fake_close, .conn_open = fake_conn_open, .conn_close = fake_conn_close,
	.get = fake_get, .append = fake_append };

/* ---- fixture ------------------------------------------------------------------- */

#define COLUMNS(...) (const struct mk_column[]){ __VA_ARGS__, { 0 } }
#define DOMAIN { "domain", MK_TEXT, MK_COL_PARTITION }
static const struct mk_column row_columns[] = { DOMAIN, { "n", MK_INT, MK_COL_SORT }, { 0 } };
static const struct mk_table row_table = { sizeof row_table, 1, "rows", row_columns, 0, NULL, NULL };
static const struct mk_table other_table = { sizeof other_table, 1, "others", row_columns, 0, NULL, NULL };
static const struct mk_table *const tables[] = { &row_table, &other_table, NULL };

static int open_fakes(const struct mk_config *c, struct mk_diag *d)
{
	struct mk_store_backend_conf b[] = {
		{ .name = "first", .backend = &fake_backend, .threads = 1 },
		{ .name = "second", .backend = &fake_backend, .threads = 1 },
	};

	return mk_stores_open(c, b, 2, tables, false, d);
}

static int setup(void **state)
{
	struct mk_config c = { .storage_default = "first", .append_queue = 2000 };
	struct mk_diag d = { 0 };

	memset(&fake, 0, sizeof fake);
	fake.ordered = true;
	fake.poison = -1;
	*state = NULL;
	return open_fakes(&c, &d);
}

static int teardown(void **state)
{
	(void)state;
	mk_stores_close();
	assert_int_equal(fake.open_conns, 0);
	return 0;
}

static bool wait_until(bool (*is_so)(void))
{
	mk_usec until = mk_now_usec() + 20 * 1000000;

	while (!is_so() && mk_now_usec() < until)
		usleep(200);
	return is_so();
}
static bool queue_is_empty(void) { return mk_append_queued() == 0; }

static enum mk_store_status get(struct mk_store *st)
{
	struct mk_value key[] = { mk_textz("d"), mk_int(1) };
	struct mk_row row;

	return mk_get(st, &row_table, key, &row);
}

/* ---- declarations ----------------------------------------------------------------- */

static void test_a_faulty_declaration_is_refused_with_its_reason(void **state)
{
	static const struct {
		const char *reason;
		const char *name;
		uint32_t version, flags;
		struct mk_column columns[4];
	} bad[] = {
		{ "not a name", "Upper", 1, 0, { DOMAIN } },
		{ "not a name", "a-b", 1, 0, { DOMAIN } },
		{ "not a name", "x\"; DROP", 1, 0, { DOMAIN } },
		{ "not a name", "", 1, 0, { DOMAIN } },
		{ "not a name", "t", 1, 0, { DOMAIN, { "a b", MK_INT, 0 } } },
		{ "not a name", "t", 1, 0, { DOMAIN, { "_version", MK_INT, 0 } } },
		{ "not filled in", "t", 0, 0, { DOMAIN } },
		{ "domain", "t", 1, 0, { { "n", MK_INT, 0 } } },
		{ "domain", "t", 1, 0, { { "domain", MK_INT, MK_COL_PARTITION } } },
		{ "has no type", "t", 1, 0, { DOMAIN, { "n", 0, 0 } } },
		{ "has no type", "t", 1, 0, { DOMAIN, { "n", 4, 0 } } },
		{ "out of order", "t", 1, 0, { DOMAIN, { "n", MK_INT, 0 }, { "s", MK_INT, MK_COL_SORT } } },
		{ "out of order", "t", 1, 0, { DOMAIN, { "s", MK_INT, MK_COL_SORT },
			{ "p", MK_INT, MK_COL_PARTITION } } },
		{ "PARTITION and SORT", "t", 1, 0, { DOMAIN,
			{ "s", MK_INT, MK_COL_SORT | MK_COL_PARTITION } } },
		{ "can't be NULL", "t", 1, 0, { DOMAIN, { "s", MK_INT, MK_COL_SORT | MK_COL_NULL } } },
		{ "needs TEXT", "t", 1, 0, { DOMAIN, { "s", MK_INT, MK_COL_SEARCH } } },
		{ "SEARCH or UNIQUE", "t", 1, 0, { DOMAIN, { "s", MK_INT, MK_COL_SORT | MK_COL_UNIQUE } } },
		{ "twice", "t", 1, 0, { DOMAIN, { "domain", MK_INT, 0 } } },
		{ "user", "t", 1, MK_TABLE_OWNED, { DOMAIN, { "user", MK_TEXT, MK_COL_SORT } } },
		{ "declared twice", "rows", 1, 0, { DOMAIN, { "n", MK_TEXT, MK_COL_SORT } } },
		{ "declared twice", "rows", 2, 0, { DOMAIN } },
		{ "declared twice", "rows", 1, 0, { DOMAIN, { "n", MK_INT, MK_COL_SORT },
			{ "x", MK_INT, MK_COL_NULL } } },
		{ "declared twice", "rows", 2, 0, { DOMAIN, { "n", MK_INT, MK_COL_SORT },
			{ "x", MK_INT, 0 } } },
		{ "search", "t", 1, 0, { DOMAIN, { "s", MK_TEXT, MK_COL_SEARCH } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct mk_table t = { .size = sizeof t, .version = bad[i].version, .name = bad[i].name,
			.columns = bad[i].columns, .flags = bad[i].flags };
		const struct mk_table *const one[] = { &t, NULL };
		struct mk_diag d = { 0 };
		assert_int_equal(mk_stores_declare(one, &d), -MK_EINVAL);
		if (strstr(mk_buf_z(&d.text), bad[i].reason) == NULL)
			fail_msg("'%s' is not in: %s", bad[i].reason, mk_buf_z(&d.text));
		assert_null(mk_table_find(&t));
		mk_diag_fini(&d);
	}
}

static void test_the_column_of_a_user_must_be_one(void **state)
{
	static const struct { const char *reason; struct mk_column columns[4]; } bad[] = {
		{ "INDEX column", { DOMAIN } },
		{ "INDEX column", { DOMAIN, { "who", MK_TEXT, 0 } } },
		{ "INDEX column", { DOMAIN, { "who", MK_INT, MK_COL_INDEX } } },
		{ "not OWNED", { DOMAIN, { "p", MK_INT, MK_COL_PARTITION }, { "who", MK_TEXT, MK_COL_INDEX } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct mk_table t = { .size = sizeof t, .version = 1, .name = "t",
			.columns = bad[i].columns, .user = "who" };
		const struct mk_table *const one[] = { &t, NULL };
		struct mk_diag d = { 0 };
		assert_int_equal(mk_stores_declare(one, &d), -MK_EINVAL);
		assert_non_null(strstr(mk_buf_z(&d.text), bad[i].reason));
		mk_diag_fini(&d);
	}
}

static void test_search_words_are_made_plain(void **state)
{
	static const struct { const char *search, *words; } t[] = {
		{ "Hello, World!", "hello world" }, { "  a--b  ", "a b" }, { "\xc3\x84\xc3\xa4", "\xc3\x84\xc3\xa4" },
		{ "a\"b*c:d", "a b c d" }, { "", NULL }, { " \t-!", NULL }, { "\xff", NULL }, { "x1 2", "x1 2" },
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		const char *words = mk_search_words(t[i].search, a);
		if (t[i].words == NULL)
			assert_null(words);
		else
			assert_string_equal(words, t[i].words);
	}
	mk_arena_free(&a);
}

static struct mk_node scalar(const char *key, const char *text)
{
	return (struct mk_node){ .kind = MK_NODE_SCALAR, .key = key, .text = text,
		.file = "m.yml", .line = 7, .column = 3 };
}

static void test_tables_live_where_the_configuration_says(void **state)
{
	struct mk_node n = scalar("others", "second"), map = { .kind = MK_NODE_MAP, .first = &n };
	struct mk_config c = { .storage_default = "first", .storage_tables = &map };
	struct mk_diag d = { 0 };

	(void)state;
	mk_stores_close();
	assert_int_equal(open_fakes(&c, &d), 0);
	assert_string_equal(mk_table_find(&row_table)->backend->name, "first");
	assert_string_equal(mk_table_find(&other_table)->backend->name, "second");
	const struct mk_table *const others[] = { &other_table, NULL };
	assert_string_equal(mk_pool_name(mk_store_pool(others)), "second");
	assert_string_equal(mk_pool_name(mk_store_pool(NULL)), "first");
	mk_stores_close();
	n = scalar("others", "secnd");
	assert_int_equal(open_fakes(&c, &d), -MK_ENOENT);
	assert_non_null(strstr(mk_buf_z(&d.text), "m.yml:7"));
	assert_non_null(strstr(mk_buf_z(&d.text), "did you mean 'second'"));
	mk_diag_fini(&d);
	c.storage_default = "third";
	assert_int_equal(open_fakes(&c, &d), -MK_ENOENT);
	assert_non_null(strstr(mk_buf_z(&d.text), "third"));
	mk_diag_fini(&d);
}

/* ---- breaker ---------------------------------------------------------------------- */

static void test_a_failing_backend_is_left_alone_and_tried_again(void **state)
{
	struct mk_store *st = mk_store_new();
	struct mk_store_backend *b = mk_store_backend("first");

	(void)state;
	fake.status = MK_STORE_OK;
	assert_int_equal(get(st), MK_STORE_OK);
	fake.status = MK_STORE_RETRY;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(atomic_load(&b->open_until), 0);
		assert_int_equal(get(st), MK_STORE_RETRY);
	}
	assert_true(atomic_load(&b->open_until) > mk_now_usec());
	assert_int_equal(fake.conns, 5);       /* one each after a failure      */
	unsigned calls = fake.calls;
	for (int i = 0; i < 100; i++)
		assert_int_equal(get(st), MK_STORE_RETRY);
	assert_int_equal(fake.calls, calls);
	/* the pause grows while it stays away */
	mk_usec first = b->breaker_delay;
	atomic_store(&b->open_until, 1);
	assert_int_equal(get(st), MK_STORE_RETRY);
	assert_int_equal(fake.calls, calls + 1);
	assert_true(b->breaker_delay > first);
	fake.status = MK_STORE_NOTFOUND;       /* an answer, not a failure      */
	assert_int_equal(get(st), MK_STORE_RETRY);
	atomic_store(&b->open_until, 1);
	assert_int_equal(get(st), MK_STORE_NOTFOUND);
	assert_int_equal(atomic_load(&b->open_until), 0);
	assert_int_equal(get(st), MK_STORE_NOTFOUND);
	mk_store_free(&st);
}

static void test_no_connection_is_a_failure_too(void **state)
{
	struct mk_store *st = mk_store_new();
	struct mk_store_backend *b = mk_store_backend("first");

	(void)state;
	fake.refuses_conn = true;
	for (int i = 0; i < 5; i++)
		assert_int_equal(get(st), MK_STORE_RETRY);
	assert_true(atomic_load(&b->open_until) > 0);
	fake.refuses_conn = false;
	atomic_store(&b->open_until, 1);
	assert_int_equal(get(st), MK_STORE_OK);
	mk_store_free(&st);
}

static void test_conflicts_do_not_trip_the_breaker(void **state)
{
	struct mk_store *st = mk_store_new();

	(void)state;
	fake.status = MK_STORE_CONFLICT;
	for (int i = 0; i < 50; i++)
		assert_int_equal(get(st), MK_STORE_CONFLICT);
	assert_int_equal(fake.conns, 1);
	mk_store_free(&st);
}

/* ---- write-behind ------------------------------------------------------------------ */

static void append(int64_t n)
{
	struct mk_value row[] = { mk_textz("d"), mk_int(n) };

	mk_append(NULL, NULL, &row_table, row);
}

static void test_appended_rows_wait_for_the_backend_in_order(void **state)
{
	(void)state;
	fake.status = MK_STORE_RETRY;
	for (int i = 1; i <= 1000; i++)
		append(i);
	assert_int_equal(mk_append_queued(), 1000);
	assert_false(mk_append_full());
	for (int i = 1001; i <= 2000; i++)
		append(i);
	assert_true(mk_append_full());                 /* the limit is 2000     */
	fake.status = MK_STORE_OK;
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(fake.rows, 2000);
	assert_true(fake.ordered);
	assert_false(mk_append_full());
}

static void test_an_impossible_row_does_not_stop_others(void **state)
{
	(void)state;
	fake.poison = 40;
	fake.status = MK_STORE_RETRY;
	for (int i = 1; i <= 100; i++)
		append(i);
	fake.status = MK_STORE_OK;
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(fake.rows, 99);
}

static void test_a_stanza_is_kept_until_its_rows_are_durable(void **state)
{
	struct mk_value row[] = { mk_textz("d"), mk_int(1) };
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, NULL, NULL);
	struct mk_ev_stanza ev = { .stanza = s };

	(void)state;
	fake.status = MK_STORE_RETRY;
	mk_append(NULL, &ev, &row_table, row);
	mk_append(NULL, &ev, &other_table, row);
	assert_int_equal(atomic_load(&s->refs), 3);
	fake.status = MK_STORE_OK;
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(atomic_load(&s->refs), 1);
	mk_stanza_unref(&s);
}

static void test_rows_against_the_declaration_are_dropped(void **state)
{
	struct mk_value bad[] = { mk_textz("d"), mk_textz("not a number") };

	(void)state;
	mk_append(NULL, NULL, &row_table, bad);
	assert_int_equal(mk_append_queued(), 0);
	append(1);
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(fake.rows, 1);
}

/* Rows wait a minute for company, but not if somebody waits for them. */
static void test_who_waits_for_rows_ends_their_wait(void **state)
{
	struct mk_config c = { .storage_default = "first", .append_queue = 2000,
		.append_wait_ms = 60000 };
	struct mk_diag d = { 0 };
	struct mk_store *st;

	(void)state;
	mk_stores_close();
	assert_int_equal(open_fakes(&c, &d), 0);
	st = mk_store_new();
	assert_int_equal(mk_append_wait(st, &row_table, mk_append_mark(&row_table)), MK_STORE_OK);
	for (int i = 1; i <= 10; i++)
		append(i);
	assert_int_equal(mk_append_queued(), 10);
	assert_int_equal(fake.rows, 0);
	assert_int_equal(mk_append_wait(st, &row_table, mk_append_mark(&row_table)), MK_STORE_OK);
	assert_int_equal(fake.rows, 10);
	/* A quarter of what may be queued waits for nobody. */
	for (int i = 11; i <= 510; i++)
		append(i);
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(fake.rows, 510);
	assert_true(fake.ordered);
	mk_store_free(&st);
}

static void test_nobody_waits_for_a_backend_that_is_away(void **state)
{
	struct mk_store *st = mk_store_new();

	(void)state;
	fake.status = MK_STORE_RETRY;
	append(1);
	assert_int_equal(mk_append_wait(st, &row_table, mk_append_mark(&row_table)), MK_STORE_RETRY);
	fake.status = MK_STORE_OK;
	assert_true(wait_until(queue_is_empty));
	assert_int_equal(mk_append_wait(st, &row_table, mk_append_mark(&row_table)), MK_STORE_OK);
	mk_store_free(&st);
}

static void test_closing_with_a_backend_away_ends(void **state)
{
	(void)state;
	fake.status = MK_STORE_RETRY;
	for (int i = 1; i <= 1000; i++)
		append(i);
	mk_stores_close();             /* teardown's second close is harmless  */
	assert_int_equal(fake.rows, 0);
}

/* ---- the rest ----------------------------------------------------------------------- */

static void see_backend(void *arg, const char *name, const char *plugin, bool healthy,
	unsigned queued, unsigned threads)
{
	struct mk_buf *b = arg;

	mk_buf_printf(b, "%s/%s/%d/%u/%u ", name, plugin, healthy, queued, threads);
}

static void test_backends_can_be_listed(void **state)
{
	struct mk_buf b = { 0 };

	(void)state;
	mk_stores_each(see_backend, &b);
	assert_string_equal(mk_buf_z(&b), "first/first/1/0/1 second/second/1/0/1 ");
	mk_buf_free(&b);
}

static void test_statuses_become_stanza_errors(void **state)
{
	(void)state;
	assert_int_equal(mk_store_error(MK_STORE_OK), MK_ERR_NONE);
	assert_int_equal(mk_store_error(MK_STORE_NOTFOUND), MK_ERR_ITEM_NOT_FOUND);
	assert_int_equal(mk_store_error(MK_STORE_CONFLICT), MK_ERR_CONFLICT);
	assert_int_equal(mk_store_error(MK_STORE_RETRY), MK_ERR_INTERNAL_SERVER_ERROR);
	assert_int_equal(mk_store_error(MK_STORE_UNCERTAIN), MK_ERR_INTERNAL_SERVER_ERROR);
	assert_int_equal(mk_store_error(MK_STORE_INVALID), MK_ERR_INTERNAL_SERVER_ERROR);
}

static void no_log(const char *line, size_t n)
{
	(void)line, (void)n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_faulty_declaration_is_refused_with_its_reason),
		TEST(test_the_column_of_a_user_must_be_one),
		TEST(test_search_words_are_made_plain),
		TEST(test_tables_live_where_the_configuration_says),
		TEST(test_a_failing_backend_is_left_alone_and_tried_again),
		TEST(test_no_connection_is_a_failure_too),
		TEST(test_conflicts_do_not_trip_the_breaker),
		TEST(test_appended_rows_wait_for_the_backend_in_order),
		TEST(test_who_waits_for_rows_ends_their_wait),
		TEST(test_nobody_waits_for_a_backend_that_is_away),
		TEST(test_an_impossible_row_does_not_stop_others),
		TEST(test_a_stanza_is_kept_until_its_rows_are_durable),
		TEST(test_rows_against_the_declaration_are_dropped),
		TEST(test_closing_with_a_backend_away_ends),
		TEST(test_backends_can_be_listed),
		TEST(test_statuses_become_stanza_errors),
	};

	if (getenv("MK_TEST_LOG") == NULL)
		mk_log_capture(no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
