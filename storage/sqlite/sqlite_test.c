/*
 * sqlite/sqlite_test.c - what only SQLite promises: the file, full disks, others
 *
 * The operations are proven by storage/suite.
 */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sqlite.h"
#include "store/store.h"
#include "base/log.h"

mk_plugin_entry_fn mk_plugin_entry_sqlite;

static const struct mk_column note_columns[] = { { "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION }, { "id", MK_INT, MK_COL_SORT },
	{ "group", MK_TEXT, MK_COL_INDEX }, { "text", MK_TEXT, MK_COL_SEARCH }, { 0 } };
static const struct mk_table notes = { sizeof notes, 1, "order", note_columns, 0, NULL, NULL };
static const struct mk_column account_columns[] = { { "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION }, { "key", MK_BLOB, 0 }, { 0 } };
static const struct mk_table accounts = { sizeof accounts, 1, "accounts", account_columns, 0, NULL, NULL };
static const struct mk_table *const tables[] = { &notes, &accounts, NULL };

static char folder[64], file[96];
static struct mk_store *st;
static struct sqlite_conf conf;

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s, (void)flag, (void)f;
	return remove(path);
}

static int open_db(bool dry_run, struct mk_diag *d)
{
	struct mk_config c = { .data_dir = folder, .storage_default = "db" };
	struct mk_store_backend_conf b = { .name = "db", .conf = &conf, .threads = 2,
		.backend = mk_plugin_entry_sqlite(MK_ABI_MAJOR)->backend };

	return mk_stores_open(&c, &b, 1, tables, dry_run, d);
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/mk-sqlite-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof file, "%s/meerkat.db", folder);
	/* no file is named: it is made in the data folder */
	conf = (struct sqlite_conf){ .busy_timeout = 100, .cache = 1 << 20, .mmap = 1 << 26 };
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
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static enum mk_store_status put(int64_t id, size_t bytes)
{
	char *text = mk_alloc(bytes + 1);

	memset(text, 'x', bytes);
	struct mk_value row[] = { mk_textz("d"), mk_textz("u"), mk_int(id), mk_textz("g"),
		mk_textz(text) };
	enum mk_store_status s = mk_put(st, &notes, row, MK_ANY);
	mk_store_job_end(st);
	mk_free(text);
	return s;
}

static uint64_t count(void)
{
	struct mk_value partition[] = { mk_textz("d"), mk_textz("u") };
	uint64_t n = 0;

	assert_int_equal(mk_count_rows(st, &notes, partition, NULL, &n), MK_STORE_OK);
	return n;
}

static void test_the_files_are_their_owners_alone(void **state)
{
	struct stat s;
	char log[128];

	(void)state;
	umask(0);
	open_or_fail();
	assert_int_equal(put(1, 10), MK_STORE_OK);
	assert_int_equal(stat(file, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	snprintf(log, sizeof log, "%s-wal", file);
	assert_int_equal(stat(log, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
}

static void test_a_dry_run_makes_nothing(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	assert_int_equal(open_db(true, &d), 0);
	assert_non_null(strstr(mk_buf_z(&d.text), "table order: is created"));
	assert_int_equal(access(file, F_OK), -1);
	mk_diag_fini(&d);
	open_or_fail();
	close_db();
	assert_int_equal(open_db(true, &d), 0);
	assert_int_equal(d.count, 0);
	mk_diag_fini(&d);
}

static void test_what_is_no_database_is_refused(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	FILE *f = fopen(file, "w");
	for (int i = 0; i < 1000; i++)
		fputs("this is no database, but somebody's diary\n", f);
	fclose(f);
	assert_true(open_db(false, &d) < 0);
	assert_non_null(strstr(mk_buf_z(&d.text), file));
	mk_diag_fini(&d);
	conf.file = "/nonexistent/folder/x.db";
	assert_true(open_db(false, &d) < 0);
	assert_non_null(strstr(mk_buf_z(&d.text), conf.file));
	mk_diag_fini(&d);
}

static void test_tables_are_plain_tables_for_an_operator(void **state)
{
	sqlite3 *h;
	sqlite3_stmt *s;

	(void)state;
	open_or_fail();
	assert_int_equal(put(1, 3), MK_STORE_OK);
	assert_int_equal(sqlite3_open_v2(file, &h, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(h, "SELECT text, typeof(id) FROM \"order\" WHERE "
		"domain = 'd' AND \"group\" = 'g'", -1, &s, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(s, 0), "xxx");
	assert_string_equal((const char *)sqlite3_column_text(s, 1), "integer");
	sqlite3_finalize(s);
	sqlite3_close(h);
}

/* A limit on file size is what a full disk is to SQLite: writes fail. */
static void test_a_full_disk_answers_retry_and_heals(void **state)
{
	struct rlimit was, full;
	int64_t kept = 0;
	enum mk_store_status s;

	(void)state;
	open_or_fail();
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	full = was;
	full.rlim_cur = 600 * 1024;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
	while ((s = put(kept, 20000)) == MK_STORE_OK)
		kept++;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(s, MK_STORE_RETRY);
	assert_true(kept > 5);
	assert_int_equal(count(), kept);       /* nothing lost, nothing half    */
	assert_int_equal(put(kept, 20000), MK_STORE_OK);
	assert_int_equal(count(), kept + 1);
	close_db();
	open_or_fail();
	assert_int_equal(count(), kept + 1);
}

static void test_another_programs_lock_is_waited_for(void **state)
{
	sqlite3 *h;

	(void)state;
	open_or_fail();
	assert_int_equal(sqlite3_open(file, &h), SQLITE_OK);
	assert_int_equal(sqlite3_exec(h, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(put(1, 10), MK_STORE_RETRY);
	assert_int_equal(count(), 0);          /* reading goes on               */
	assert_int_equal(sqlite3_exec(h, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(put(1, 10), MK_STORE_OK);
	sqlite3_close(h);
}

static void test_a_conflict_undoes_nothing_of_others(void **state)
{
	/* Two requests of one transaction: what the queue makes of callers that
	 * come while another leads. */
	(void)state;
	open_or_fail();
	assert_int_equal(put(1, 10), MK_STORE_OK);
	struct mk_value row[] = { mk_textz("d"), mk_textz("u"), mk_int(2), mk_textz("g"),
		mk_textz("t") };
	struct mk_value taken[] = { mk_textz("d"), mk_textz("u"), mk_int(1), mk_textz("g"),
		mk_textz("t") };
	struct mk_write w[] = { { MK_WRITE_PUT, &notes, row, MK_NEW },
		{ MK_WRITE_PUT, &notes, taken, MK_NEW } };
	uint32_t failed = 9;
	assert_int_equal(mk_batch(st, w, 2, &failed), MK_STORE_CONFLICT);
	assert_int_equal(failed, 1);
	assert_int_equal(count(), 1);
}

static void test_a_million_rows_open_at_once(void **state)
{
	enum { ROWS = 1000000 };
	sqlite3 *h;
	char *error = NULL;

	(void)state;
	open_or_fail();
	close_db();
	assert_int_equal(sqlite3_open(file, &h), SQLITE_OK);
	sqlite3_exec(h, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	assert_int_equal(sqlite3_exec(h, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		"FROM n WHERE i < 1000000) INSERT INTO accounts SELECT 'example.org', "
		"printf('user%07d', i), zeroblob(60), 1 FROM n", NULL, NULL, &error), SQLITE_OK);
	sqlite3_close(h);
	mk_usec began = mk_now_usec();
	open_or_fail();
	struct mk_value key[] = { mk_textz("example.org"), mk_textz("user0777777") };
	struct mk_row row;
	assert_int_equal(mk_get(st, &accounts, key, &row), MK_STORE_OK);
	mk_usec took = mk_now_usec() - began;
	print_message("opened %d rows in %lld us\n", ROWS, (long long)took);
	assert_true(took < 200000);
}

static void no_log(const char *line, size_t n)
{
	(void)line, (void)n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_files_are_their_owners_alone),
		TEST(test_a_dry_run_makes_nothing),
		TEST(test_what_is_no_database_is_refused),
		TEST(test_tables_are_plain_tables_for_an_operator),
		TEST(test_a_full_disk_answers_retry_and_heals),
		TEST(test_another_programs_lock_is_waited_for),
		TEST(test_a_conflict_undoes_nothing_of_others),
		TEST(test_a_million_rows_open_at_once),
	};

	if (getenv("MK_TEST_LOG") == NULL)
		mk_log_capture(no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
