/*
 * pgsql/pgsql_test.c - what only PostgreSQL promises: servers that go, stop, refuse
 *
 * The operations are proven by storage/suite. Every test has a schema of its
 * own on one server, which the program starts.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "pgsql_server.h"
#include "store/store.h"
#include "base/log.h"

mk_plugin_entry_fn mk_plugin_entry_pgsql;

#define PART MK_COL_PARTITION
static const struct mk_column note_columns[] = { { "domain", MK_TEXT, PART },
	{ "user", MK_TEXT, PART }, { "id", MK_INT, MK_COL_SORT },
	{ "group", MK_TEXT, MK_COL_INDEX }, { "text", MK_TEXT, MK_COL_SEARCH },
	{ "n", MK_INT, MK_COL_NULL }, { 0 } };
static const struct mk_table notes = { sizeof notes, 1, "order", note_columns, 0, NULL, NULL };
#define LONG "a_name_of_forty_eight_bytes_which_is_the_longest"
static const struct mk_column long_columns[] = { { "domain", MK_TEXT, PART },
	{ LONG, MK_TEXT, MK_COL_INDEX }, { "a_name_of_forty_eight_bytes_which_is_the_longes2",
	MK_TEXT, MK_COL_INDEX }, { 0 } };
static const struct mk_table longs = { sizeof longs, 1, LONG, long_columns, 0, NULL, NULL };
static const struct mk_table *const tables[] = { &notes, &longs, NULL };

static struct mk_store *st;
static struct pgsql_conf conf;
static char schema[32], logged[8192];

static void keep_log(const char *line, size_t n)
{
	size_t have = strlen(logged);

	if (have + n + 1 < sizeof logged)
		snprintf(logged + have, sizeof logged - have, "%.*s\n", (int)n, line);
	if (getenv("MK_TEST_LOG") != NULL)
		fprintf(stderr, "%.*s\n", (int)n, line);
}

static int open_db(bool dry_run, struct mk_diag *d)
{
	struct mk_config c = { .data_dir = "/tmp", .storage_default = "db" };
	struct mk_store_backend_conf b = { .name = "db", .conf = &conf, .threads = 2,
		.backend = mk_plugin_entry_pgsql(MK_ABI_MAJOR)->backend };

	return mk_stores_open(&c, &b, 1, tables, dry_run, d);
}

static int setup(void **state)
{
	static unsigned n;

	(void)state;
	snprintf(schema, sizeof schema, "test %u", n++);       /* needs quoting  */
	conf = server_conf(schema);
	conf.statement_timeout = 30000;
	logged[0] = '\0';
	return 0;
}

static void open_or_fail(void)
{
	struct mk_diag d = { 0 };

	if (open_db(false, &d) < 0)
		fail_msg("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	st = mk_store_new();
}

static void close_db(void)
{
	if (st != NULL)
		mk_store_free(&st);
	mk_stores_close();
}

static int teardown(void **state)
{
	(void)state;
	close_db();
	return 0;
}

static enum mk_store_status put_with(struct mk_store *with, int64_t id, const char *text)
{
	struct mk_value row[] = { mk_textz("d"), mk_textz("u"), mk_int(id), mk_textz("g"),
		mk_textz(text), mk_absent() };
	enum mk_store_status s = mk_put(with, &notes, row, MK_ANY);
	mk_store_job_end(with);
	return s;
}

static enum mk_store_status put(int64_t id)
{
	return put_with(st, id, "text");
}

static enum mk_store_status count(uint64_t *n)
{
	struct mk_value partition[] = { mk_textz("d"), mk_textz("u") };

	return mk_count_rows(st, &notes, partition, NULL, n);
}

static bool is_there(int64_t id)
{
	struct mk_value key[] = { mk_textz("d"), mk_textz("u"), mk_int(id) };
	struct mk_row row;
	enum mk_store_status s;
	mk_usec until = mk_now_usec() + 20 * 1000000;

	while ((s = mk_get(st, &notes, key, &row)) == MK_STORE_RETRY) {
		assert_true(mk_now_usec() < until);
		usleep(10000);
	}
	mk_store_job_end(st);
	return s == MK_STORE_OK;
}

/* Asks until the backend is back. */
static void heals(int64_t id)
{
	mk_usec until = mk_now_usec() + 20 * 1000000;
	enum mk_store_status s;

	while ((s = put(id)) != MK_STORE_OK) {
		assert_int_equal(s, MK_STORE_RETRY);
		assert_true(mk_now_usec() < until);
		usleep(10000);
	}
}

static const char *in_schema(const char *sql)
{
	char text[512];

	snprintf(text, sizeof text, "SET search_path = \"%s\"; %s", schema, sql);
	return server_run(text);
}

/* ---- the database as an operator finds it ---------------------------------------- */

static void test_tables_are_plain_tables_for_an_operator(void **state)
{
	(void)state;
	open_or_fail();
	assert_int_equal(put_with(st, 1, "some words"), MK_STORE_OK);
	assert_string_equal(in_schema("SELECT text FROM \"order\" WHERE domain = 'd' AND "
		"\"group\" = 'g' AND id + 1 = 2"), "some words");
	assert_string_equal(in_schema("SELECT _words::text FROM \"order\""), "'some' 'words'");
	assert_string_equal(in_schema("SELECT string_agg(column_name || ' ' || data_type, ', ' "
		"ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'order' "
		"AND table_schema = current_schema()"),
		"domain text, user text, id bigint, group text, text text, n bigint, "
		"_words tsvector, _version bigint");
	assert_string_equal(in_schema("SELECT version || ': ' || columns FROM meerkat_tables "
		"WHERE name = 'order'"), "1: domain TEXT PARTITION, user TEXT PARTITION, id INT SORT, "
		"group TEXT INDEX, text TEXT SEARCH, n INT NULL");
}

static void test_long_names_of_indexes_stay_different(void **state)
{
	(void)state;
	open_or_fail();
	assert_string_equal(in_schema("SELECT count(DISTINCT relname) FROM pg_class WHERE relname "
		"LIKE 'a\\_name%' AND relkind = 'i' AND relnamespace = quote_ident(current_schema())::regnamespace"),
		"3");
	close_db();
	open_or_fail();
}

static void test_a_dry_run_makes_nothing(void **state)
{
	struct mk_diag d = { 0 };
	char sql[128];

	(void)state;
	assert_int_equal(open_db(true, &d), 0);
	assert_non_null(strstr(mk_buf_z(&d.text), "table order: is created"));
	snprintf(sql, sizeof sql, "SELECT count(*) FROM pg_namespace WHERE nspname = '%s'", schema);
	assert_string_equal(server_run(sql), "0");
	mk_diag_fini(&d);
	open_or_fail();
	close_db();
	assert_int_equal(open_db(true, &d), 0);
	assert_int_equal(d.count, 0);
	mk_diag_fini(&d);
}

/* Two nodes: what one connection does, another waits for. */
static void *declare(void *arg)
{
	const struct mk_backend *be = mk_plugin_entry_pgsql(MK_ABI_MAJOR)->backend;
	struct mk_backend_db *db = NULL;
	struct mk_diag d = { 0 };

	*(int *)arg = be->db_open(NULL, &conf, tables, false, &d, &db);
	if (db != NULL)
		be->db_close(db);
	else
		print_error("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	return NULL;
}

static void test_nodes_that_start_together_migrate_once(void **state)
{
	pthread_t t[6];
	int result[6];

	(void)state;
	for (int i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&t[i], NULL, declare, &result[i]), 0);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 6; i++)
		assert_int_equal(result[i], 0);
	assert_string_equal(in_schema("SELECT count(*) FROM meerkat_tables"), "2");
}

static void test_a_newer_schema_is_refused(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	open_or_fail();
	close_db();
	in_schema("UPDATE meerkat_tables SET version = 9 WHERE name = 'order'");
	assert_int_equal(open_db(false, &d), -MK_EVERSION);
	assert_non_null(strstr(mk_buf_z(&d.text), "newer version"));
	mk_diag_fini(&d);
}

static void test_a_database_of_another_encoding_is_refused(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	server_run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
	conf.database = "latin";
	assert_true(open_db(false, &d) < 0);
	assert_non_null(strstr(mk_buf_z(&d.text), "UTF8"));
	mk_diag_fini(&d);
}

static void test_a_server_that_is_not_there_is_named(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	/* What may be better later is told apart from what has to be mended. */
	conf.user = "nobody-knows";
	assert_int_equal(open_db(false, &d), -MK_EIO);
	assert_non_null(strstr(mk_buf_z(&d.text), conf.user));
	conf.database = "nowhere";
	conf.user = "test";
	assert_int_equal(open_db(false, &d), -MK_EIO);
	conf.host = "/nonexistent/socket";
	assert_int_equal(open_db(false, &d), -MK_EAGAIN);
	assert_non_null(strstr(mk_buf_z(&d.text), conf.host));
	mk_diag_fini(&d);
}

/* ---- partitions by time ------------------------------------------------------------- */

static const struct mk_column box_columns[] = { { "domain", MK_TEXT, PART },
	{ "user", MK_TEXT, PART }, { "id", MK_INT, MK_COL_SORT },
	{ "text", MK_TEXT, MK_COL_SEARCH }, { 0 } };
static const struct mk_table box = { sizeof box, 1, "box", box_columns, MK_TABLE_TIME, NULL, NULL };

static void box_declare(void)
{
	const struct mk_table *list[] = { &box, NULL };
	struct mk_diag d = { 0 };

	if (mk_stores_declare(list, &d) < 0)
		fail_msg("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
}

static int64_t id_of(const char *time)
{
	int64_t ms;

	assert_int_equal(mk_time_parse(mk_strz(time), &ms), 0);
	return mk_uid_at(ms);
}

static void box_put(const char *domain, const char *user, int64_t id)
{
	struct mk_value row[] = { mk_textz(domain), mk_textz(user), mk_int(id), mk_textz("a b") };

	assert_int_equal(mk_put(st, &box, row, MK_NEW), MK_STORE_OK);
}

#define MONTHS "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_inherits JOIN pg_class " \
	"ON oid = inhrelid WHERE inhparent = 'box'::regclass"

/* Those that are not of now: a test doesn't know when it runs. */
static const char *old_months(void)
{
	return in_schema(MONTHS " AND relname < 'box_2026'");
}

static uint64_t box_expire(const char *time, bool (*wanted)(void *, struct mk_str))
{
	struct mk_expiry e = { .size = sizeof e, .before = id_of(time), .wanted = wanted,
		.more = true };
	uint64_t n = 0;

	for (; e.more; n += e.rows)
		assert_int_equal(mk_expire(st, &box, &e), MK_STORE_OK);
	return n;
}

static bool is_d(void *arg, struct mk_str domain)
{
	(void)arg;
	return mk_str_eqz(domain, "d");
}

static void test_months_are_made_ahead_and_when_missed(void **state)
{
	char want[64];
	time_t now = (time_t)(mk_wall_ms() / 1000);
	struct tm tm;

	(void)state;
	open_or_fail();
	box_declare();
	gmtime_r(&now, &tm);
	int y = tm.tm_year + 1900, m = tm.tm_mon + 1;
	snprintf(want, sizeof want, "box_%04d_%02d box_%04d_%02d", y, m, m == 12 ? y + 1 : y,
		m == 12 ? 1 : m + 1);
	assert_string_equal(in_schema(MONTHS), want);
	/* The last millisecond of a month, and the first of the next; a leap day. */
	box_put("d", "u", id_of("2023-12-31T23:59:59.999Z") + (1 << 22) - 1);
	box_put("d", "u", id_of("2024-01-01T00:00:00Z"));
	box_put("d", "u", id_of("2024-02-29T23:59:59.999Z"));
	assert_string_equal(old_months(), "box_2023_12 box_2024_01 box_2024_02");
	assert_string_equal(in_schema("SELECT string_agg(tableoid::regclass::text, ' ' ORDER BY id) "
		"FROM box"), "box_2023_12 box_2024_01 box_2024_02");
	/* made again by a start, if somebody took them */
	snprintf(want, sizeof want, "DROP TABLE \"box_%04d_%02d\"", y, m);
	in_schema(want);
	box_put("d", "u", mk_uid());
	close_db();
	open_or_fail();
	box_declare();
	assert_string_equal(in_schema("SELECT count(*) FROM box"), "4");
	/* each has the indexes of the whole */
	assert_string_equal(in_schema("SELECT count(*) FROM pg_indexes WHERE tablename = 'box_2024_01' "
		"AND schemaname = current_schema()"), "2");
}

static void test_old_months_are_dropped(void **state)
{
	struct mk_value key[] = { mk_textz("d"), mk_textz("u"), mk_int(0) };
	struct mk_row row;

	(void)state;
	open_or_fail();
	box_declare();
	for (int month = 1; month <= 6; month++) {
		char time[32];
		snprintf(time, sizeof time, "2024-%02d-15T00:00:00Z", month);
		for (int i = 0; i < 10; i++)
			box_put("d", "u", id_of(time) + i - 5);
		if (month == 2)
			box_put("other", "u", id_of(time));
	}
	box_expire("2024-04-15T00:00:00Z", is_d);
	/* February is another's, too: of it only rows went. */
	assert_string_equal(old_months(), "box_2024_02 box_2024_04 box_2024_05 box_2024_06");
	assert_string_equal(in_schema("SELECT count(*) || ' ' || min(domain) FROM box_2024_02"), "1 other");
	assert_string_equal(in_schema("SELECT count(*) FROM box_2024_04"), "5");
	key[2] = mk_int(id_of("2024-04-15T00:00:00Z"));
	assert_int_equal(mk_get(st, &box, key, &row), MK_STORE_OK);
	key[2] = mk_int(id_of("2024-04-15T00:00:00Z") - 1);
	assert_int_equal(mk_get(st, &box, key, &row), MK_STORE_NOTFOUND);
	assert_non_null(strstr(logged, "partition dropped"));
	box_expire("2024-06-01T00:00:00Z", NULL);
	assert_string_equal(old_months(), "box_2024_06");
}

static void test_a_month_that_is_in_use_is_dropped_later(void **state)
{
	char sql[128], target[160];

	(void)state;
	open_or_fail();
	box_declare();
	box_put("d", "u", id_of("2024-01-15T00:00:00Z"));
	box_put("d", "u", id_of("2024-03-15T00:00:00Z"));
	snprintf(target, sizeof target, "host=%s dbname=postgres user=test", conf.host);
	snprintf(sql, sizeof sql, "BEGIN; SELECT * FROM \"%s\".box_2024_01", schema);
	PGconn *h = PQconnectdb(target);
	PQclear(PQexec(h, sql));
	mk_usec began = mk_now_usec();
	box_expire("2024-02-15T00:00:00Z", is_d);
	assert_true(mk_now_usec() - began < 5 * 1000000);
	assert_string_equal(old_months(), "box_2024_01 box_2024_03");
	assert_null(strstr(logged, "refused"));
	PQfinish(h);
	box_expire("2024-02-15T00:00:00Z", is_d);
	assert_string_equal(old_months(), "box_2024_03");
}

/* The plan of a statement as it is prepared, run with values. */
static char *plan_of(enum sql_stmt kind, uint32_t bits, const char *mode, const char *values)
{
	static char plan[32768];
	char target[160], sql[2048];
	struct sql_gen g = { 0 };

	sql_begin(&g, &pgsql_dialect);
	sql_stmt(&g, &box, kind, bits, 0);
	snprintf(target, sizeof target, "host=%s dbname=postgres user=test", conf.host);
	PGconn *h = PQconnectdb(target);
	snprintf(sql, sizeof sql, "SET search_path = \"%s\"; SET enable_seqscan = off; SET "
		"enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = %s; "
		"PREPARE x AS %s", schema, mode, g.p);
	PGresult *r = PQexec(h, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(h));
	PQclear(r);
	snprintf(sql, sizeof sql, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE x(%s)",
		values);
	r = PQexec(h, sql);
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(h));
	plan[0] = '\0';
	for (int i = 0; i < PQntuples(r); i++)
		snprintf(plan + strlen(plan), sizeof plan - strlen(plan), "%s\n", PQgetvalue(r, i, 0));
	PQclear(r);
	PQfinish(h);
	sql_fini(&g);
	if (getenv("MK_TEST_LOG") != NULL)
		fprintf(stderr, "%s\n", plan);
	return plan;
}

/* How many partitions' scans were run. */
static int scans_in(const char *plan)
{
	int n = 0;

	for (const char *line = plan; line != NULL && *line != '\0';
	     line = strchr(line, '\n'), line = line != NULL ? line + 1 : NULL) {
		const char *scan = strstr(line, "Scan "), *end = strchr(line, '\n');
		const char *never = strstr(line, "never executed");
		if (scan != NULL && scan < end && strstr(line, "box_") != NULL && strstr(line, "box_") < end)
			n += never == NULL || never > end;
	}
	return n;
}

static void test_only_the_months_that_matter_are_read(void **state)
{
	static const char *const modes[] = { "force_custom_plan", "force_generic_plan" };
	char values[160];
	int64_t april = id_of("2024-04-10T00:00:00Z");

	(void)state;
	open_or_fail();
	box_declare();
	for (int month = 0; month < 48; month++) {
		char time[32];
		snprintf(time, sizeof time, "%d-%02d-15T00:00:00Z", 2022 + month / 12, month % 12 + 1);
		for (int i = 0; i < 50; i++)
			box_put("d", i % 2 ? "u" : "v", id_of(time) + i);
	}
	in_schema("DELETE FROM box WHERE id > 0 AND tableoid::regclass::text > 'box_2025_12'");
	for (int m = 0; m < 2; m++) {
		/* The newest page ends where it is full; so does the oldest. */
		assert_in_range(scans_in(plan_of(STMT_ROWS, SQL_LIMIT | SQL_BACKWARD, modes[m],
			"'d', 'u', 20")), 1, 4);
		assert_int_equal(scans_in(plan_of(STMT_ROWS, SQL_LIMIT, modes[m], "'d', 'u', 20")), 1);
		snprintf(values, sizeof values, "'d', 'u', %lld, %lld, 200", (long long)april,
			(long long)id_of("2024-05-20T00:00:00Z"));
		assert_int_equal(scans_in(plan_of(STMT_ROWS, SQL_AFTER | SQL_BEFORE | SQL_LIMIT, modes[m],
			values)), 2);
		snprintf(values, sizeof values, "'d', 'u', %lld", (long long)april);
		assert_int_equal(scans_in(plan_of(STMT_GET, 0, modes[m], values)), 1);
		/* With parameters that come from a subquery: each row looks in one. */
		snprintf(values, sizeof values, "'{d,d}', '{u,v}', '{%lld,%lld}'", (long long)april,
			(long long)april);
		assert_int_equal(scans_in(plan_of(STMT_MANY, 0, modes[m], values)), 1);
		snprintf(values, sizeof values, "'d', 'u', %lld, %lld, 5", (long long)april,
			(long long)id_of("2024-05-02T00:00:00Z"));
		assert_in_range(scans_in(plan_of(STMT_TAKE, SQL_AFTER | SQL_BEFORE | SQL_LIMIT, modes[m],
			values)), 2, 3);
		snprintf(values, sizeof values, "'{d,d}', '{u,v}', %lld, 3",
			(long long)id_of("2022-02-20T00:00:00Z"));
		assert_in_range(scans_in(plan_of(STMT_EXPIRE, 0, modes[m], values)), 2, 4);
		snprintf(values, sizeof values, "%lld, 9", (long long)id_of("2022-02-20T00:00:00Z"));
		assert_in_range(scans_in(plan_of(STMT_OWNERS, 0, modes[m], values)), 2, 4);
	}
}

static void test_a_table_without_partitions_is_refused(void **state)
{
	static const struct mk_table flat = { sizeof flat, 1, "box", box_columns, 0, NULL, NULL };
	const struct mk_table *const list[] = { &flat, NULL }, *const timed[] = { &box, NULL };
	const struct mk_backend *be = mk_plugin_entry_pgsql(MK_ABI_MAJOR)->backend;
	struct mk_backend_db *db = NULL;
	struct mk_diag d = { 0 };

	(void)state;
	assert_int_equal(be->db_open(NULL, &conf, list, false, &d, &db), 0);
	be->db_close(db);
	assert_int_equal(be->db_open(NULL, &conf, timed, false, &d, &db), -MK_EINVAL);
	assert_non_null(strstr(mk_buf_z(&d.text), "table box: is not partitioned by time"));
	mk_diag_fini(&d);
}

/* Columns and indexes that come later come to all months. */
static void test_partitioned_tables_migrate(void **state)
{
	static const struct mk_column more[] = { { "domain", MK_TEXT, PART },
		{ "user", MK_TEXT, PART }, { "id", MK_INT, MK_COL_SORT },
		{ "text", MK_TEXT, MK_COL_SEARCH }, { "extra", MK_TEXT, MK_COL_NULL | MK_COL_INDEX }, { 0 } };
	static const struct mk_column fewer[] = { { "domain", MK_TEXT, PART },
		{ "user", MK_TEXT, PART }, { "id", MK_INT, MK_COL_SORT },
		{ "text", MK_TEXT, MK_COL_SEARCH }, { "extra", MK_TEXT, MK_COL_NULL }, { 0 } };
	static const struct mk_table second = { sizeof second, 2, "box", more, MK_TABLE_TIME, NULL, NULL };
	static const struct mk_table third = { sizeof third, 3, "box", fewer, MK_TABLE_TIME, NULL, NULL };
	const struct mk_table *const list[][2] = { { &second, NULL }, { &third, NULL } };
	static const char *const indexes[] = { "3", "2" };
	const struct mk_backend *be = mk_plugin_entry_pgsql(MK_ABI_MAJOR)->backend;

	(void)state;
	open_or_fail();
	box_declare();
	box_put("d", "u", id_of("2024-01-15T00:00:00Z"));
	close_db();
	for (int i = 0; i < 2; i++) {
		struct mk_backend_db *db = NULL;
		struct mk_diag d = { 0 };
		assert_int_equal(be->db_open(NULL, &conf, list[i], true, &d, &db), 0);
		assert_non_null(strstr(mk_buf_z(&d.text), "table box: version"));
		assert_int_equal(be->db_open(NULL, &conf, list[i], false, &d, &db), 0);
		be->db_close(db);
		mk_diag_fini(&d);
		assert_string_equal(in_schema("SELECT count(extra) FROM box_2024_01"), "0");
		assert_string_equal(in_schema("SELECT count(*) FROM pg_indexes WHERE tablename = "
			"'box_2024_01' AND schemaname = current_schema()"), indexes[i]);
	}
}

static void *append_to_new_months(void *arg)
{
	struct mk_store *mine = mk_store_new();
	intptr_t bad = 0;

	for (int i = 0; i < 36; i++) {
		char time[32];
		snprintf(time, sizeof time, "%d-%02d-01T00:00:00Z", 2021 + i / 12, i % 12 + 1);
		struct mk_value row[] = { mk_textz("d"), mk_textz(arg), mk_int(id_of(time)), mk_textz("") };
		bad += mk_put(mine, &box, row, MK_NEW) != MK_STORE_OK;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return (void *)bad;
}

static void test_nodes_that_miss_a_month_make_it_once(void **state)
{
	static const char *const users[] = { "a", "b", "c", "e" };
	pthread_t t[4];
	void *bad;

	(void)state;
	open_or_fail();
	box_declare();
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, append_to_new_months,
			(void *)(uintptr_t)users[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_string_equal(in_schema("SELECT count(*) FROM box"), "144");
	assert_string_equal(in_schema("SELECT count(*) FROM pg_inherits WHERE inhparent = "
		"'box'::regclass"), "38");
}

/* ---- values that only a b-tree refuses --------------------------------------------- */

static void test_a_key_too_long_for_an_index_is_invalid_and_stops_nobody(void **state)
{
	char *big = mk_alloc(8001);
	uint64_t n;

	(void)state;
	open_or_fail();
	for (int i = 0; i < 8000; i++) {       /* what can't be compressed     */
		uint8_t byte;
		mk_random(&byte, 1);
		big[i] = (char)('!' + byte % 90);
	}
	struct mk_value bad[] = { mk_textz("d"), mk_textz("u"), mk_int(7), mk_textz(big),
		mk_textz(""), mk_absent() };
	struct mk_value good[] = { mk_textz("d"), mk_textz("u"), mk_int(8), mk_textz("g"),
		mk_textz(big), mk_absent() };
	assert_int_equal(mk_put(st, &notes, bad, MK_ANY), MK_STORE_INVALID);
	mk_append(NULL, NULL, &notes, bad);
	mk_append(NULL, NULL, &notes, good);
	mk_usec until = mk_now_usec() + 20 * 1000000;
	while (mk_append_queued() > 0) {
		assert_true(mk_now_usec() < until);
		usleep(500);
	}
	assert_int_equal(count(&n), MK_STORE_OK);
	assert_int_equal(n, 1);
	assert_non_null(strstr(logged, "backend refuses an appended row"));
	mk_free(big);
}

static void test_words_of_any_length_are_found(void **state)
{
	enum { SIZE = 3000000 };
	char *big = mk_alloc(SIZE + 1), word[1000];
	struct mk_value partition[] = { mk_textz("d"), mk_textz("u") };
	struct mk_range r = { .size = sizeof r, .search = word };
	struct mk_rows rows;

	(void)state;
	open_or_fail();
	memset(word, 'w', 900);
	word[900] = '\0';
	memset(big, 'x', SIZE);                /* a word of 3 MB               */
	memcpy(big, "FIRST ", 6);
	memcpy(big + 6, word, 900);
	big[906] = ' ';
	assert_int_equal(put_with(st, 1, big), MK_STORE_OK);
	for (int i = 907; i < SIZE; i++) {     /* more words than a tsvector holds */
		static const char digits[] = "0123456789abcdef";
		big[i] = i % 8 == 0 ? ' ' : digits[(unsigned)i * 2654435761u >> (28 - i % 8) & 15];
	}
	assert_int_equal(put_with(st, 2, big), MK_STORE_OK);
	assert_int_equal(mk_query(st, &notes, partition, &r, &rows), MK_STORE_OK);
	assert_int_equal(rows.n, 2);
	r.search = "first";
	assert_int_equal(mk_query(st, &notes, partition, &r, &rows), MK_STORE_OK);
	assert_int_equal(rows.n, 2);
	mk_free(big);
}

static void test_case_is_folded_in_other_alphabets(void **state)
{
	struct mk_value partition[] = { mk_textz("d"), mk_textz("u") };
	struct mk_range r = { .size = sizeof r, .search = "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82" };
	struct mk_rows rows;

	(void)state;
	if (strcmp(server_run("SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'"), "1") != 0)
		skip();
	open_or_fail();
	assert_int_equal(put_with(st, 1, "\xe2\x80\x9c\xd0\x9f\xd0\xa0\xd0\x98\xd0\x92\xd0\x95\xd0\xa2\xe2\x80\xa6"),
		MK_STORE_OK);
	assert_int_equal(mk_query(st, &notes, partition, &r, &rows), MK_STORE_OK);
	assert_int_equal(rows.n, 1);
}

/* ---- servers that go, stop, refuse -------------------------------------------------- */

static void test_a_restart_between_calls_is_not_noticed(void **state)
{
	(void)state;
	open_or_fail();
	assert_int_equal(put(1), MK_STORE_OK);
	server_stop(SIGINT);
	server_restart();
	assert_int_equal(put(2), MK_STORE_OK);
	assert_true(is_there(1));
}

static void test_a_server_that_is_away_answers_retry_and_heals(void **state)
{
	(void)state;
	open_or_fail();
	assert_int_equal(put(1), MK_STORE_OK);
	server_stop(SIGQUIT);
	for (int i = 0; i < 50; i++)
		assert_int_equal(put(2), MK_STORE_RETRY);
	assert_non_null(strstr(logged, "PostgreSQL can't be reached"));
	for (int i = 10; i < 20; i++) {        /* waits for its return          */
		struct mk_value row[] = { mk_textz("d"), mk_textz("u"), mk_int(i), mk_textz("g"),
			mk_textz("t"), mk_absent() };
		mk_append(NULL, NULL, &notes, row);
	}
	server_restart();
	heals(2);
	mk_usec until = mk_now_usec() + 20 * 1000000;
	while (mk_append_queued() > 0) {
		assert_true(mk_now_usec() < until);
		usleep(500);
	}
	for (int i = 10; i < 20; i++)
		assert_true(is_there(i));
}

/* ---- write-behind ------------------------------------------------------------------- */

static void append_notes(int64_t first, int64_t end, const char *text)
{
	mk_usec until = mk_now_usec() + 20 * 1000000;

	for (int64_t i = first; i < end; i++) {
		struct mk_value row[] = { mk_textz("d"), mk_textz("u"), mk_int(i), mk_textz("g"),
			mk_textz(text), mk_absent() };
		mk_append(NULL, NULL, &notes, row);
	}
	while (mk_append_queued() > 0) {
		assert_true(mk_now_usec() < until);
		usleep(500);
	}
}

/* Many rows are written as if none were there: what is then makes no difference. */
static void test_appended_rows_that_are_there_are_left(void **state)
{
	uint64_t n;

	(void)state;
	open_or_fail();
	append_notes(0, 1000, "first");
	append_notes(500, 1500, "second");     /* in one batch or in several    */
	for (int i = 0; i < 200; i++)          /* until none is expected        */
		append_notes(1500 + i, 1501 + i, "third");
	append_notes(0, 2000, "fourth");
	assert_int_equal(count(&n), MK_STORE_OK);
	assert_int_equal(n, 2000);
	for (int i = 0; i < 2000; i += 250) {
		struct mk_value key[] = { mk_textz("d"), mk_textz("u"), mk_int(i) };
		struct mk_row row;
		assert_int_equal(mk_get(st, &notes, key, &row), MK_STORE_OK);
		assert_true(mk_str_eq(mk_value_str(&row.v[4]), mk_strz(
			i < 1000 ? "first" : i < 1500 ? "second" : i < 1700 ? "third" : "fourth")));
	}
	assert_null(strstr(logged, "refuses"));
}

struct one_put { int64_t id; enum mk_store_status s; };

static void *put_thread(void *arg)
{
	struct one_put *x = arg;
	struct mk_store *mine = mk_store_new();

	x->s = put_with(mine, x->id, "text");
	mk_store_free(&mine);
	return NULL;
}

/* A put that waits for the lock of an administrator; the connection that has it. */
static PGconn *put_behind_lock(pthread_t *t, struct one_put *x)
{
	char sql[96], target[160];

	snprintf(target, sizeof target, "host=%s dbname=postgres user=test", conf.host);
	snprintf(sql, sizeof sql, "BEGIN; LOCK TABLE \"%s\".\"order\" IN EXCLUSIVE MODE", schema);
	PGconn *h = PQconnectdb(target);
	PQclear(PQexec(h, sql));
	assert_int_equal(pthread_create(t, NULL, put_thread, x), 0);
	mk_usec until = mk_now_usec() + 20 * 1000000;
	while (strcmp(server_run("SELECT count(*) FROM pg_stat_activity WHERE "
	    "application_name = 'meerkat' AND wait_event_type = 'Lock'"), "1") != 0) {
		assert_true(mk_now_usec() < until);
		usleep(1000);
	}
	return h;
}

#define BLOCKED "FROM pg_stat_activity WHERE application_name = 'meerkat' AND " \
	"wait_event_type = 'Lock'"

static void test_a_statement_ended_by_the_server_was_not_written(void **state)
{
	struct one_put x = { .id = 5 };
	pthread_t t;

	(void)state;
	open_or_fail();
	PGconn *h = put_behind_lock(&t, &x);
	server_run("SELECT pg_terminate_backend(pid) " BLOCKED);
	pthread_join(t, NULL);
	PQfinish(h);
	assert_int_equal(x.s, MK_STORE_RETRY);
	assert_false(is_there(5));
	h = put_behind_lock(&t, &x);
	server_run("SELECT pg_cancel_backend(pid) " BLOCKED);
	pthread_join(t, NULL);
	PQfinish(h);
	assert_int_equal(x.s, MK_STORE_RETRY);
	assert_false(is_there(5));
}

static void test_a_lock_is_waited_for_until_the_timeout(void **state)
{
	struct one_put x = { .id = 5 };
	pthread_t t;

	(void)state;
	conf.statement_timeout = 4000;
	open_or_fail();
	PGconn *h = put_behind_lock(&t, &x);
	pthread_join(t, NULL);
	PQfinish(h);
	assert_int_equal(x.s, MK_STORE_RETRY);
	assert_non_null(strstr(logged, "code=57014"));
	assert_false(is_there(5));
	heals(5);
}

static void test_silence_after_a_write_is_uncertain(void **state)
{
	uint64_t n;

	(void)state;
	conf.statement_timeout = 1000;
	open_or_fail();
	heals(1);
	server_signal(SIGSTOP);
	enum mk_store_status s = put(2);
	server_signal(SIGCONT);
	assert_int_equal(s, MK_STORE_UNCERTAIN);
	heals(3);
	assert_true(is_there(3));
	server_signal(SIGSTOP);
	s = count(&n);                         /* reading is never uncertain    */
	server_signal(SIGCONT);
	assert_int_equal(s, MK_STORE_RETRY);
	heals(4);
}

static void test_what_an_operator_takes_away_is_told_and_heals(void **state)
{
	static const struct { const char *take, *give, *code; } how[] = {
		{ "ALTER TABLE \"order\" RENAME TO hidden", "ALTER TABLE hidden RENAME TO \"order\"",
			"code=42P01" },
		{ "REVOKE INSERT ON \"order\" FROM plain", "GRANT INSERT ON \"order\" TO plain",
			"code=42501" },
		{ "ALTER ROLE plain SET default_transaction_read_only = on",
			"ALTER ROLE plain RESET default_transaction_read_only", "PostgreSQL" },
	};

	(void)state;
	server_run("DROP ROLE IF EXISTS plain");
	server_run("CREATE ROLE plain LOGIN");
	open_or_fail();
	close_db();
	char sql[256];
	snprintf(sql, sizeof sql, "GRANT USAGE ON SCHEMA \"%s\" TO plain", schema);
	server_run(sql);
	in_schema("GRANT ALL ON ALL TABLES IN SCHEMA \"public\" TO plain");
	snprintf(sql, sizeof sql, "GRANT ALL ON ALL TABLES IN SCHEMA \"%s\" TO plain", schema);
	server_run(sql);
	conf.user = "plain";                   /* needs no right to create      */
	open_or_fail();
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		logged[0] = '\0';
		in_schema(how[i].take);
		server_run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
			"WHERE application_name = 'meerkat'");
		server_settle();
		mk_usec until = mk_now_usec() + 20 * 1000000;
		do {                           /* a line a second is logged     */
			assert_int_equal(put(1), MK_STORE_RETRY);
			usleep(20000);
			if (mk_now_usec() > until)
				fail_msg("%s is not in: %s", how[i].code, logged);
		} while (strstr(logged, how[i].code) == NULL);
		in_schema(how[i].give);
		heals((int64_t)i);
	}
	close_db();
	snprintf(sql, sizeof sql, "DROP OWNED BY plain; DROP ROLE plain");
	server_run(sql);
}

/* Batches in opposite orders: one of two must give way, and does it again. */
static void *crossing(void *arg)
{
	struct mk_store *mine = mk_store_new();
	bool backward = arg != NULL;
	intptr_t bad = 0;

	for (int i = 0; i < 150; i++) {
		struct mk_value row[2][6];
		struct mk_write w[2];
		for (int k = 0; k < 2; k++) {
			struct mk_value v[] = { mk_textz("d"), mk_textz("u"),
				mk_int(backward ? 1 - k : k), mk_textz("g"), mk_textz("t"), mk_int(i) };
			memcpy(row[k], v, sizeof v);
			w[k] = (struct mk_write){ MK_WRITE_PUT, &notes, row[k], MK_ANY };
		}
		bad += mk_batch(mine, w, 2, NULL) != MK_STORE_OK;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return (void *)bad;
}

static void test_deadlocks_are_tried_again(void **state)
{
	pthread_t t[2];
	void *bad[2];

	(void)state;
	server_run("ALTER ROLE test SET deadlock_timeout = '5ms'");
	open_or_fail();
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, crossing, i == 0 ? NULL : &t), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &bad[i]);
	server_run("ALTER ROLE test RESET deadlock_timeout");
	assert_null(bad[0]);
	assert_null(bad[1]);
}

static void test_more_statements_than_a_connection_keeps(void **state)
{
	struct mk_value partition[] = { mk_textz("d"), mk_textz("u") };
	static struct mk_table copies[300];
	static char names[300][16];
	const struct mk_table *list[301] = { NULL };
	struct mk_diag d = { 0 };
	struct mk_rows rows;
	struct mk_value after = mk_int(0), before = mk_int(9);

	(void)state;
	open_or_fail();
	for (int i = 0; i < 300; i++) {
		snprintf(names[i], sizeof names[i], "t%d", i);
		copies[i] = (struct mk_table){ sizeof notes, 1, names[i], note_columns, 0, NULL, NULL };
		list[i] = &copies[i];
	}
	assert_int_equal(mk_stores_declare(list, &d), 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 300; i++)
			for (int k = 0; k < 4; k++) {
				struct mk_range r = { .size = sizeof r, .backward = k & 1,
					.after = k & 2 ? &after : NULL, .before = &before };
				assert_int_equal(mk_query(st, &copies[i], partition, &r, &rows), MK_STORE_OK);
				mk_store_job_end(st);
			}
	mk_diag_fini(&d);
	close_db();                            /* before copies are gone        */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tables_are_plain_tables_for_an_operator),
		TEST(test_long_names_of_indexes_stay_different),
		TEST(test_a_dry_run_makes_nothing),
		TEST(test_nodes_that_start_together_migrate_once),
		TEST(test_a_newer_schema_is_refused),
		TEST(test_a_database_of_another_encoding_is_refused),
		TEST(test_a_server_that_is_not_there_is_named),
		TEST(test_months_are_made_ahead_and_when_missed),
		TEST(test_old_months_are_dropped),
		TEST(test_a_month_that_is_in_use_is_dropped_later),
		TEST(test_only_the_months_that_matter_are_read),
		TEST(test_a_table_without_partitions_is_refused),
		TEST(test_partitioned_tables_migrate),
		TEST(test_nodes_that_miss_a_month_make_it_once),
		TEST(test_a_key_too_long_for_an_index_is_invalid_and_stops_nobody),
		TEST(test_words_of_any_length_are_found),
		TEST(test_case_is_folded_in_other_alphabets),
		TEST(test_a_restart_between_calls_is_not_noticed),
		TEST(test_a_server_that_is_away_answers_retry_and_heals),
		TEST(test_appended_rows_that_are_there_are_left),
		TEST(test_a_statement_ended_by_the_server_was_not_written),
		TEST(test_a_lock_is_waited_for_until_the_timeout),
		TEST(test_silence_after_a_write_is_uncertain),
		TEST(test_what_an_operator_takes_away_is_told_and_heals),
		TEST(test_deadlocks_are_tried_again),
		TEST(test_more_statements_than_a_connection_keeps),
	};

	mk_log_capture(keep_log);
	server_start(false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
