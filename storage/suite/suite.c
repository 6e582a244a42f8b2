/*
 * suite/suite.c - the storage contract as tests, run on each backend
 *
 * Every call goes through the core's store, as a plugin's would. Each test has
 * databases of its own in a folder of its own. Tests of what must outlive the
 * process are skipped where the backend doesn't say MK_CAP_DURABLE.
 */
#include "suite.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"
#include "base/log.h"

/* ---- tables -------------------------------------------------------------------- */

#define PART MK_COL_PARTITION
#define SORT MK_COL_SORT
#define DOMAIN { "domain", MK_TEXT, PART }
#define USER   { "user", MK_TEXT, PART }
#define TABLE(id, v, fl, ...)                                              \
	static const struct mk_column id##_columns[] = { __VA_ARGS__, { 0 } }; \
	static const struct mk_table id = { sizeof(struct mk_table), v, #id,   \
		id##_columns, fl, NULL, NULL }

TABLE(things, 1, MK_TABLE_OWNED, DOMAIN, USER, { "name", MK_TEXT, SORT },
	{ "value", MK_TEXT, MK_COL_NULL }, { "n", MK_INT, 0 }, { "data", MK_BLOB, MK_COL_NULL });
TABLE(numbered, 1, MK_TABLE_OWNED, DOMAIN, USER, { "id", MK_INT, SORT },
	{ "peer", MK_TEXT, MK_COL_INDEX }, { "kind", MK_INT, MK_COL_INDEX | MK_COL_NULL },
	{ "order", MK_TEXT, MK_COL_NULL });
TABLE(sorted, 1, 0, DOMAIN, { "a", MK_INT, SORT }, { "b", MK_TEXT, SORT },
	{ "c", MK_BLOB, SORT });
TABLE(accounts, 1, MK_TABLE_OWNED, DOMAIN, USER,
	{ "handle", MK_TEXT, MK_COL_NULL | MK_COL_UNIQUE }, { "n", MK_INT, MK_COL_NULL });
TABLE(texts, 1, MK_TABLE_OWNED, DOMAIN, USER, { "id", MK_INT, SORT },
	{ "subject", MK_TEXT, MK_COL_SEARCH | MK_COL_NULL }, { "body", MK_TEXT, MK_COL_SEARCH },
	{ "kind", MK_INT, MK_COL_INDEX | MK_COL_NULL });
TABLE(deep, 1, MK_TABLE_OWNED, DOMAIN, USER, { "node", MK_TEXT, PART },
	{ "item", MK_INT, SORT }, { "x", MK_TEXT, 0 });
/* a table named like one of its columns, both words of SQL */
static const struct mk_column keys_columns[] = { DOMAIN, USER, { "key", MK_BLOB, 0 }, { 0 } };
static const struct mk_table keys = { sizeof keys, 1, "key", keys_columns,
	MK_TABLE_OWNED | MK_TABLE_SECRET, NULL, NULL };
/* Letters between two users of a domain: the recipient's row leads to the sender's, which
 * holds the text (mk_table.link). */
static bool letter_key(const struct mk_value *row, struct mk_value *key)
{
	if (row[5].type != 0)
		return false;
	key[0] = row[0];
	key[1] = row[3];
	key[2] = row[2];
	return true;
}

static bool letter_back(const struct mk_value *row, struct mk_value *key)
{
	if (row[4].as.i == 0)          /* it was got, not sent                  */
		return false;
	key[0] = row[0];
	key[1] = row[3];
	key[2] = row[2];
	return true;
}

static void letter_take(struct mk_value *row, const struct mk_value *held) { row[5] = held[5]; }

static const struct mk_column letters_columns[] = { DOMAIN, USER, { "id", MK_INT, SORT },
	{ "peer", MK_TEXT, 0 }, { "sent", MK_INT, 0 }, { "text", MK_TEXT, MK_COL_NULL }, { 0 } };
static const struct mk_table_link letters_link = { sizeof letters_link, letter_key, letter_back,
	letter_take };
static const struct mk_table letters = { sizeof letters, 1, "letters", letters_columns,
	MK_TABLE_OWNED | MK_TABLE_TIME, &letters_link, NULL };
TABLE(timed, 1, MK_TABLE_OWNED | MK_TABLE_TIME, DOMAIN, USER, { "id", MK_INT, SORT },
	{ "peer", MK_TEXT, MK_COL_INDEX }, { "text", MK_TEXT, MK_COL_SEARCH },
	{ "n", MK_INT, MK_COL_NULL });
/* rows of a domain that name a user */
static const struct mk_column named_columns[] = { DOMAIN, { "place", MK_INT, SORT },
	{ "who", MK_TEXT, MK_COL_INDEX }, { "x", MK_INT, MK_COL_NULL }, { 0 } };
static const struct mk_table named = { sizeof named, 1, "named", named_columns, 0, NULL, "who" };
TABLE(undeclared, 1, 0, DOMAIN, { "x", MK_INT, 0 });

static const struct mk_table *const tables[] = { &things, &numbered, &sorted, &accounts,
	&texts, &deep, &keys, &letters, &named, &timed, NULL };

/* ---- fixture ------------------------------------------------------------------- */

static const struct mk_backend *backend;
static char folder[64];
static struct mk_store *st;

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s, (void)flag, (void)f;
	return remove(path);
}

static int open_with(const struct mk_table *const *t, struct mk_diag *d)
{
	struct mk_config c = { .data_dir = folder, .storage_default = "main", .append_queue = 1000 };
	char other[80];
	struct mk_store_backend_conf b[2] = {
		{ .name = "main", .backend = backend, .threads = 2 },
		{ .name = "other", .backend = backend, .threads = 2 },
	};

	snprintf(other, sizeof other, "%s/other", folder);
	mkdir(other, 0700);
	b[0].conf = suite_target.conf(folder);
	b[1].conf = suite_target.conf(other);
	return mk_stores_open(&c, b, 2, t, false, d);
}

static void reopen(const struct mk_table *const *t)
{
	struct mk_diag d = { 0 };

	if (st != NULL)
		mk_store_free(&st);
	mk_stores_close();
	int r = open_with(t, &d);
	if (r < 0)
		print_error("%s", mk_buf_z(&d.text));
	assert_int_equal(r, 0);
	mk_diag_fini(&d);
	st = mk_store_new();
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/mk-suite-XXXXXX");
	assert_non_null(mkdtemp(folder));
	reopen(tables);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (st != NULL)
		mk_store_free(&st);
	mk_stores_close();
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

#define OK(call) assert_int_equal(call, MK_STORE_OK)
#define IS(call, status) assert_int_equal(call, MK_STORE_##status)
#define V(...) ((const struct mk_value[]){ __VA_ARGS__ })
#define T(z) mk_textz(z)
#define I(n) mk_int(n)
#define NONE mk_absent()
#define D "example.org"

static void same_value(const struct mk_value *a, const struct mk_value *b)
{
	assert_int_equal(a->type, b->type);
	if (a->type == MK_INT) {
		assert_int_equal(a->as.i, b->as.i);
	} else if (a->type != 0) {
		assert_int_equal(a->as.b.n, b->as.b.n);
		if (a->as.b.n != 0)
			assert_memory_equal(a->as.b.p, b->as.b.p, a->as.b.n);
	}
}

static void put_things(const char *user, const char *name, const char *value, int64_t n)
{
	OK(mk_put(st, &things, V(T(D), T(user), T(name),
		value != NULL ? T(value) : NONE, I(n), NONE), MK_ANY));
}

static void put_numbered(const char *user, int64_t id, const char *peer, int64_t kind)
{
	OK(mk_put(st, &numbered, V(T(D), T(user), I(id), T(peer), kind < 0 ? NONE : I(kind), NONE),
		MK_ANY));
}

static struct mk_rows query(const struct mk_table *t, const char *user, const struct mk_range *r)
{
	struct mk_rows rows;

	OK(mk_query(st, t, V(T(D), T(user)), r, &rows));
	return rows;
}

/* The INT in column c of each row. */
static void is_ids(const struct mk_rows *rows, uint32_t c, const int64_t *want, uint32_t n)
{
	assert_int_equal(rows->n, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(rows->row[i].v[c].as.i, want[i]);
}
#define IDS(rows, c, ...) is_ids(&(rows), c, (const int64_t[]){ __VA_ARGS__ },  \
	sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))
#define RANGE(...) (&(const struct mk_range){ .size = sizeof(struct mk_range), __VA_ARGS__ })

static void wait_appended(void)
{
	mk_usec until = mk_now_usec() + 20 * 1000000;

	while (mk_append_queued() > 0) {
		assert_true(mk_now_usec() < until);
		usleep(500);
	}
}

/* ---- rows and versions ----------------------------------------------------------- */

static void test_what_was_put_is_got(void **state)
{
	struct mk_row row = { .n = 77 };

	(void)state;
	IS(mk_get(st, &things, V(T(D), T("ann"), T("a")), &row), NOTFOUND);
	assert_int_equal(row.n, 77);
	OK(mk_put(st, &things, V(T(D), T("ann"), T("a"), T("hello"), I(-5),
		mk_blob("\0\1\377", 3)), MK_ANY));
	OK(mk_get(st, &things, V(T(D), T("ann"), T("a")), &row));
	assert_int_equal(row.n, 6);
	assert_true(row.version != 0);
	assert_true(mk_str_eqz(mk_value_str(&row.v[0]), D));
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "hello"));
	assert_int_equal(row.v[4].as.i, -5);
	assert_memory_equal(row.v[5].as.b.p, "\0\1\377", 3);
	IS(mk_get(st, &things, V(T(D), T("ann"), T("A")), &row), NOTFOUND);
	IS(mk_get(st, &things, V(T("example.com"), T("ann"), T("a")), &row), NOTFOUND);
	IS(mk_get(st, &things, V(T(D), T("ann "), T("a")), &row), NOTFOUND);
}

static void test_absent_is_not_empty(void **state)
{
	struct mk_row row;

	(void)state;
	OK(mk_put(st, &things, V(T(D), T(""), T(""), T(""), I(0), mk_blob(NULL, 0)), MK_ANY));
	OK(mk_get(st, &things, V(T(D), T(""), T("")), &row));
	assert_int_equal(row.v[3].type, MK_TEXT);
	assert_int_equal(row.v[3].as.b.n, 0);
	assert_int_equal(row.v[5].type, MK_BLOB);
	assert_int_equal(row.v[5].as.b.n, 0);
	OK(mk_put(st, &things, V(T(D), T(""), T(""), NONE, I(0), NONE), MK_ANY));
	OK(mk_get(st, &things, V(T(D), T(""), T("")), &row));
	assert_int_equal(row.v[3].type, 0);
	assert_int_equal(row.v[5].type, 0);
}

static void test_a_version_grows_and_guards(void **state)
{
	struct mk_row row;
	const struct mk_value *key = V(T(D), T("ann"), T("v"));
	const struct mk_value *one = V(T(D), T("ann"), T("v"), T("1"), I(1), NONE);
	const struct mk_value *two = V(T(D), T("ann"), T("v"), T("2"), I(2), NONE);
	uint64_t first, second;

	(void)state;
	IS(mk_put(st, &things, one, 12345), CONFLICT);         /* not there    */
	OK(mk_put(st, &things, one, MK_NEW));
	IS(mk_put(st, &things, two, MK_NEW), CONFLICT);
	OK(mk_get(st, &things, key, &row));
	first = row.version;
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "1"));
	OK(mk_put(st, &things, two, first));
	IS(mk_put(st, &things, one, first), CONFLICT);
	OK(mk_get(st, &things, key, &row));
	second = row.version;
	assert_true(second > first);
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "2"));
	OK(mk_put(st, &things, two, MK_ANY));                  /* same values  */
	OK(mk_get(st, &things, key, &row));
	assert_true(row.version > second);
	second = row.version;
	OK(mk_add(st, &things, key, "n", 1, NULL));
	OK(mk_get(st, &things, key, &row));
	assert_true(row.version > second);
	second = row.version;
	OK(mk_delete(st, &things, key));
	OK(mk_put(st, &things, one, MK_NEW));
	OK(mk_get(st, &things, key, &row));
	assert_true(row.version != first && row.version != second);
	IS(mk_put(st, &things, two, second), CONFLICT);
}

static void test_delete_says_whether_it_was_there(void **state)
{
	struct mk_row row;

	(void)state;
	IS(mk_delete(st, &things, V(T(D), T("ann"), T("x"))), NOTFOUND);
	put_things("ann", "x", "1", 1);
	put_things("ann", "y", "1", 1);
	OK(mk_delete(st, &things, V(T(D), T("ann"), T("x"))));
	IS(mk_get(st, &things, V(T(D), T("ann"), T("x")), &row), NOTFOUND);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("y")), &row));
}

static void test_many_keys_are_got_in_one_call(void **state)
{
	enum { N = 300 };
	struct mk_value key[N][3];
	const struct mk_value *keys[N];
	struct mk_row row[N];
	char name[16];

	(void)state;
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "n%d", i);
		if (i % 3 != 0)
			put_things(i % 2 ? "ann" : "bob", name, i % 5 ? name : NULL, i);
	}
	for (int i = 0; i < N; i++) {          /* backward, and one key twice   */
		int k = i == 7 ? N - 10 : N - 1 - i;
		char *copy = mk_arena_printf(mk_store_arena(st), "n%d", k);
		key[i][0] = T(D);
		key[i][1] = T(k % 2 ? "ann" : "bob");
		key[i][2] = T(copy);
		keys[i] = key[i];
	}
	OK(mk_get_many(st, &things, keys, N, row));
	for (int i = 0; i < N; i++) {
		int k = i == 7 ? N - 10 : N - 1 - i;
		assert_int_equal(row[i].v != NULL, k % 3 != 0);
		if (row[i].v == NULL)
			continue;
		assert_int_equal(row[i].n, 6);
		assert_true(row[i].version != 0);
		assert_int_equal(row[i].v[4].as.i, k);
		assert_true(mk_str_eq(mk_value_str(&row[i].v[2]), mk_value_str(&key[i][2])));
		assert_int_equal(row[i].v[3].type, k % 5 ? MK_TEXT : 0);
	}
	OK(mk_get_many(st, &things, keys, 0, row));
	OK(mk_get_many(st, &things, keys, 1, row));
}

/* ---- values -------------------------------------------------------------------- */

static const char *const evil[] = {
	"", " ", "  two  spaces  ", "'", "''", "\"", "`", "\\", "\\'", "'; DROP TABLE things; --",
	"\" OR 1=1 --", "%", "_", "%s%n%d", "?", "$1", ":name", "@x", "NULL", "null", "0", "-1",
	"1e308", "TRUE", "\x01\x02\x1f\x7f", "\t\r\n", "a\nb", "/* x */", "--", ";",
	"\xc3\xa9", "e\xcc\x81", "\xe2\x80\xae reversed", "\xef\xbb\xbf bom", "\xef\xbf\xbf",
	"\xf0\x9f\xa6\xa1\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb", "\xf4\x8f\xbf\xbf",
	"<x xmlns='y'>&amp;</x>", "{\"a\": [1]}", "${HOME}", "$(id)", "../../etc/passwd",
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
};
#define EVILS (sizeof evil / sizeof *evil)

static void test_text_comes_back_byte_by_byte(void **state)
{
	struct mk_row row;

	(void)state;
	for (size_t i = 0; i < EVILS; i++) {
		const struct mk_value *v = V(T(D), T(evil[i]), T(evil[EVILS - 1 - i]),
			T(evil[i]), I((int64_t)i), mk_blob(evil[i], strlen(evil[i])));
		OK(mk_put(st, &things, v, MK_NEW));
		OK(mk_get(st, &things, v, &row));
		for (uint32_t c = 0; c < 6; c++)
			same_value(&row.v[c], &v[c]);
		struct mk_rows rows = query(&things, evil[i], NULL);
		assert_int_equal(rows.n, 1);
		OK(mk_delete(st, &things, v));
		mk_store_job_end(st);
	}
}

static void test_all_evil_strings_are_different_keys(void **state)
{
	struct mk_row row;
	uint64_t n;

	(void)state;
	for (size_t i = 0; i < EVILS; i++)
		put_things("ann", evil[i], evil[i], (int64_t)i);
	OK(mk_count_rows(st, &things, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, EVILS);
	for (size_t i = 0; i < EVILS; i++) {
		OK(mk_get(st, &things, V(T(D), T("ann"), T(evil[i])), &row));
		assert_int_equal(row.v[4].as.i, i);
	}
}

static void test_blobs_hold_any_byte_and_megabytes(void **state)
{
	struct mk_row row;
	size_t sizes[] = { 0, 1, 255, 256, 4095, 4096, 65536, 3000001 };
	unsigned char *p = mk_alloc(3000001);

	(void)state;
	for (size_t i = 0; i < 3000001; i++)
		p[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const struct mk_value *v = V(T(D), T("ann"), T("b"), NONE, I(0), mk_blob(p, sizes[i]));
		OK(mk_put(st, &things, v, MK_ANY));
		OK(mk_get(st, &things, v, &row));
		same_value(&row.v[5], &v[5]);
		mk_store_job_end(st);
	}
	memset(p, 'x', 3000001);
	const struct mk_value *v = V(T(D), T("ann"), T("b"),
		mk_text((struct mk_str){ (char *)p, 3000001 }), I(0), NONE);
	OK(mk_put(st, &things, v, MK_ANY));
	OK(mk_get(st, &things, v, &row));
	same_value(&row.v[3], &v[3]);
	mk_free(p);
}

static void test_integers_have_64_bits(void **state)
{
	const int64_t n[] = { 0, 1, -1, INT32_MAX, INT32_MIN, (INT64_C(1) << 53) + 1, INT64_MAX,
		INT64_MIN };
	struct mk_row row;

	(void)state;
	for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
		put_numbered("ann", n[i], "x", -1);
		put_things("ann", "n", NULL, n[i]);
		OK(mk_get(st, &numbered, V(T(D), T("ann"), I(n[i])), &row));
		assert_int_equal(row.v[2].as.i, n[i]);
		OK(mk_get(st, &things, V(T(D), T("ann"), T("n")), &row));
		assert_int_equal(row.v[4].as.i, n[i]);
	}
	struct mk_rows rows = query(&numbered, "ann", NULL);
	IDS(rows, 2, INT64_MIN, INT32_MIN, -1, 0, 1, INT32_MAX, (INT64_C(1) << 53) + 1, INT64_MAX);
}

static void test_mistakes_are_refused(void **state)
{
	static const char *const not_utf8[] = { "\xff", "\xc0\xaf", "\xed\xa0\x80", "a\x80",
		"\xf4\x90\x80\x80", "\xe2\x82" };
	struct mk_row row;
	struct mk_rows rows;
	uint64_t n;
	char *big = mk_alloc((16 << 20) + 1);

	(void)state;
	for (size_t i = 0; i < sizeof not_utf8 / sizeof *not_utf8; i++) {
		IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), T(not_utf8[i]), I(0), NONE), MK_ANY),
			INVALID);
		IS(mk_get(st, &things, V(T(D), T(not_utf8[i]), T("k")), &row), INVALID);
	}
	IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), mk_text((struct mk_str){ "a\0b", 3 }),
		I(0), NONE), MK_ANY), INVALID);
	IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), I(1), I(0), NONE), MK_ANY), INVALID);
	IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), mk_blob("x", 1), I(0), NONE), MK_ANY), INVALID);
	IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), NONE, NONE, NONE), MK_ANY), INVALID);
	IS(mk_put(st, &things, V(T(D), NONE, T("k"), NONE, I(0), NONE), MK_ANY), INVALID);
	IS(mk_put(st, &things, V(T(D), T("ann"), T("k"), NONE, I(0),
		mk_blob(big, (16 << 20) + 1)), MK_ANY), INVALID);
	IS(mk_get(st, &undeclared, V(T(D)), &row), INVALID);
	IS(mk_get(st, &things, V(T(D), T("ann"), NONE), &row), INVALID);
	IS(mk_query(st, &things, V(T(D), I(1)), NULL, &rows), INVALID);
	IS(mk_query(st, &things, V(T(D), T("ann")), RANGE(.after = V(I(1))), &rows), INVALID);
	IS(mk_query(st, &things, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE, T("x"),
		NONE, NONE)), &rows), INVALID);
	IS(mk_query(st, &things, V(T(D), T("ann")), RANGE(.search = "x"), &rows), INVALID);
	IS(mk_query(st, &texts, V(T(D), T("ann")), RANGE(.search = " -- !"), &rows), INVALID);
	IS(mk_query(st, &texts, V(T(D), T("ann")), RANGE(.search = ""), &rows), INVALID);
	IS(mk_query(st, &accounts, V(T(D), T("ann")), RANGE(.after = V(I(1))), &rows), INVALID);
	IS(mk_add(st, &things, V(T(D), T("ann"), T("k")), "value", 1, NULL), INVALID);
	IS(mk_add(st, &things, V(T(D), T("ann"), T("k")), "nope", 1, NULL), INVALID);
	IS(mk_add(st, &numbered, V(T(D), T("ann"), I(1)), "id", 1, NULL), INVALID);
	IS(mk_scan(st, &things, MK_STR(D), V(T("other"), T("a"), T("b")), 1, &rows), INVALID);
	OK(mk_count_rows(st, &things, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 0);
	mk_free(big);
}

/* ---- ranges --------------------------------------------------------------------- */

static void test_sort_columns_order_rows(void **state)
{
	/* in the order that they must come back in */
	static const struct { int64_t a; const char *b, *c; size_t n; } rows[] = {
		{ INT64_MIN, "", "", 0 }, { -2, "z", "", 0 }, { -1, "", "", 0 }, { -1, "", "\0", 1 },
		{ -1, "", "\0\0", 2 }, { -1, "", "\0\1", 2 }, { -1, "", "\x7f", 1 }, { -1, "", "\xff", 1 },
		{ 0, "A", "", 0 }, { 0, "Z", "", 0 }, { 0, "a", "", 0 }, { 0, "ab", "", 0 },
		{ 0, "b", "", 0 }, { 0, "\xc3\xa9", "", 0 }, { 0, "\xef\xbf\xbd", "", 0 },
		{ 0, "\xf0\x9f\xa6\xa1", "", 0 }, { 2, "", "", 0 }, { 10, "", "", 0 },
		{ INT64_MAX, "", "", 0 },
	};
	const uint32_t n = sizeof rows / sizeof *rows;
	struct mk_rows got;

	(void)state;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = i * 7 % n;        /* n is prime: every row once        */
		OK(mk_put(st, &sorted, V(T(D), I(rows[k].a), T(rows[k].b),
			mk_blob(rows[k].c, rows[k].n)), MK_NEW));
	}
	for (int back = 0; back < 2; back++) {
		OK(mk_query(st, &sorted, V(T(D)), RANGE(.backward = back), &got));
		assert_int_equal(got.n, n);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t k = back ? n - 1 - i : i;
			const struct mk_value *want =
				V(T(D), I(rows[k].a), T(rows[k].b), mk_blob(rows[k].c, rows[k].n));
			for (uint32_t c = 0; c < 4; c++)
				same_value(&got.row[i].v[c], &want[c]);
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t after, before;
		const struct mk_value *at = V(I(rows[i].a), T(rows[i].b), mk_blob(rows[i].c, rows[i].n));
		OK(mk_count_rows(st, &sorted, V(T(D)), RANGE(.after = at), &after));
		OK(mk_count_rows(st, &sorted, V(T(D)), RANGE(.before = at), &before));
		assert_int_equal(before, i);
		assert_int_equal(after, n - 1 - i);
	}
}

static void test_a_range_has_exclusive_bounds(void **state)
{
	struct mk_rows rows;

	(void)state;
	for (int i = 1; i <= 5; i++)
		put_numbered("ann", i * 10, "x", -1);
	put_numbered("ann2", 15, "x", -1);
	put_numbered("anm", 15, "x", -1);
	rows = query(&numbered, "ann", NULL);
	IDS(rows, 2, 10, 20, 30, 40, 50);
	assert_false(rows.more);
	rows = query(&numbered, "ann", RANGE(.after = V(I(20))));
	IDS(rows, 2, 30, 40, 50);
	rows = query(&numbered, "ann", RANGE(.after = V(I(25)), .before = V(I(50))));
	IDS(rows, 2, 30, 40);
	rows = query(&numbered, "ann", RANGE(.before = V(I(30)), .backward = true));
	IDS(rows, 2, 20, 10);
	rows = query(&numbered, "ann", RANGE(.after = V(I(10)), .backward = true, .limit = 2));
	IDS(rows, 2, 50, 40);
	assert_true(rows.more);
	rows = query(&numbered, "ann", RANGE(.limit = 5));
	assert_int_equal(rows.n, 5);
	assert_false(rows.more);
	rows = query(&numbered, "ann", RANGE(.limit = 4));
	IDS(rows, 2, 10, 20, 30, 40);
	assert_true(rows.more);
	rows = query(&numbered, "ann", RANGE(.after = V(I(50))));
	assert_int_equal(rows.n, 0);
	assert_false(rows.more);
	rows = query(&numbered, "ann", RANGE(.after = V(I(40)), .before = V(I(20))));
	assert_int_equal(rows.n, 0);
	rows = query(&numbered, "nobody", NULL);
	assert_int_equal(rows.n, 0);
}

static void test_pages_cover_ten_thousand_rows_once(void **state)
{
	enum { N = 10000, CHUNK = 1000 };
	struct mk_write *w = mk_alloc(CHUNK * sizeof *w);
	struct mk_value (*v)[6] = mk_alloc(CHUNK * sizeof *v);

	(void)state;
	for (int i = 0; i < N; i += CHUNK) {
		for (int k = 0; k < CHUNK; k++) {
			memcpy(v[k], V(T(D), T("ann"), I(i + k), T("p"), NONE, NONE), sizeof v[k]);
			w[k] = (struct mk_write){ MK_WRITE_PUT, &numbered, v[k], MK_NEW };
		}
		OK(mk_batch(st, w, CHUNK, NULL));
	}
	for (int back = 0; back < 2; back++) {
		struct mk_rows rows = { .more = true };
		struct mk_value at = I(back ? INT64_MAX : INT64_MIN);
		int64_t want = back ? N - 1 : 0;
		for (uint32_t limit = 1; rows.more; limit = limit * 3 % 997 + 1) {
			rows = back ? query(&numbered, "ann", RANGE(.before = &at, .backward = true, .limit = limit))
			            : query(&numbered, "ann", RANGE(.after = &at, .limit = limit));
			assert_true(rows.n == limit || !rows.more);
			for (uint32_t i = 0; i < rows.n; i++, want += back ? -1 : 1)
				assert_int_equal(rows.row[i].v[2].as.i, want);
			if (rows.n > 0)
				at = rows.row[rows.n - 1].v[2];
			mk_store_job_end(st);
		}
		assert_int_equal(want, back ? -1 : N);
	}
	struct mk_rows rows = query(&numbered, "ann", NULL);
	assert_int_equal(rows.n, 100);
	assert_true(rows.more);
	mk_free(v);
	mk_free(w);
}

static void test_indexed_columns_filter(void **state)
{
	struct mk_rows rows;
	uint64_t n;

	(void)state;
	for (int i = 0; i < 60; i++)
		put_numbered("ann", i, i % 3 == 0 ? "bob" : i % 3 == 1 ? "Bob" : "cat", i % 4 == 3 ? -1 : i % 4);
	put_numbered("eve", 3, "bob", 0);
	rows = query(&numbered, "ann", RANGE(.equals = V(NONE, NONE, NONE, T("bob"), NONE, NONE), .limit = 3));
	IDS(rows, 2, 0, 3, 6);
	assert_true(rows.more);
	rows = query(&numbered, "ann", RANGE(.equals = V(NONE, NONE, NONE, T("bob"), I(2), NONE)));
	IDS(rows, 2, 6, 18, 30, 42, 54);
	rows = query(&numbered, "ann", RANGE(.equals = V(NONE, NONE, NONE, T("bob"), I(2), NONE),
		.backward = true, .before = V(I(54)), .after = V(I(6))));
	IDS(rows, 2, 42, 30, 18);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE,
		T("cat"), NONE, NONE)), &n));
	assert_int_equal(n, 20);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE, NONE,
		NONE, NONE)), &n));
	assert_int_equal(n, 60);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE,
		T("dan"), NONE, NONE)), &n));
	assert_int_equal(n, 0);
}

static void test_take_reads_and_deletes(void **state)
{
	struct mk_rows rows;
	uint64_t n;

	(void)state;
	for (int i = 0; i < 10; i++)
		put_numbered("ann", i, i % 2 ? "odd" : "even", -1);
	OK(mk_take(st, &numbered, V(T(D), T("ann")), RANGE(.limit = 3), &rows));
	IDS(rows, 2, 0, 1, 2);
	assert_true(rows.more);
	OK(mk_take(st, &numbered, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE, T("odd"),
		NONE, NONE), .backward = true), &rows));
	IDS(rows, 2, 9, 7, 5, 3);
	assert_false(rows.more);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 3);
	OK(mk_take(st, &numbered, V(T(D), T("ann")), NULL, &rows));
	IDS(rows, 2, 4, 6, 8);
	OK(mk_take(st, &numbered, V(T(D), T("ann")), NULL, &rows));
	assert_int_equal(rows.n, 0);
}

static void test_delete_range_deletes_what_matches(void **state)
{
	struct mk_rows rows;
	uint64_t n;

	(void)state;
	for (int i = 0; i < 20; i++)
		put_numbered("ann", i, i % 2 ? "odd" : "even", -1);
	put_numbered("ann2", 1, "odd", -1);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), RANGE(.before = V(I(3))), &n));
	assert_int_equal(n, 3);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), RANGE(.limit = 2), &n));
	assert_int_equal(n, 2);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), RANGE(.limit = 2, .backward = true), &n));
	assert_int_equal(n, 2);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE,
		T("odd"), NONE, NONE), .after = V(I(7))), &n));
	assert_int_equal(n, 5);
	rows = query(&numbered, "ann", NULL);
	IDS(rows, 2, 5, 6, 7, 8, 10, 12, 14, 16);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 8);
	OK(mk_delete_range(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 0);
	rows = query(&numbered, "ann2", NULL);
	IDS(rows, 2, 1);
}

static void test_count_ends_at_its_limit(void **state)
{
	uint64_t n;

	(void)state;
	for (int i = 0; i < 150; i++)
		put_numbered("ann", i, "x", -1);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 150);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")),
		RANGE(.after = V(I(9)), .backward = true), &n));
	assert_int_equal(n, 140);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")),
		RANGE(.after = V(I(9)), .limit = 5, .backward = true), &n));
	assert_int_equal(n, 5);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")),
		RANGE(.after = V(I(139)), .limit = 500), &n));
	assert_int_equal(n, 10);
}

static void test_scan_walks_a_domain_in_key_order(void **state)
{
	struct mk_rows rows;
	struct mk_value at[3];
	char user[8], last[16] = "";
	unsigned n = 0;

	(void)state;
	for (int i = 0; i < 25; i++) {
		snprintf(user, sizeof user, "u%02d", i * 7 % 25);
		OK(mk_put(st, &things, V(T(D), T(user), T("a"), NONE, I(i), NONE), MK_ANY));
		OK(mk_put(st, &things, V(T(D), T(user), T("b"), NONE, I(i), NONE), MK_ANY));
	}
	OK(mk_put(st, &things, V(T("example.com"), T("x"), T("y"), NONE, I(0), NONE), MK_ANY));
	OK(mk_put(st, &things, V(T("example.org.uk"), T("x"), T("y"), NONE, I(0), NONE), MK_ANY));
	rows.more = true;
	for (uint32_t limit = 1; rows.more; limit = limit % 7 + 2) {
		OK(mk_scan(st, &things, MK_STR(D), n > 0 ? at : NULL, limit, &rows));
		for (uint32_t i = 0; i < rows.n; i++, n++) {
			char here[16];
			snprintf(here, sizeof here, "%.*s%.*s", (int)rows.row[i].v[1].as.b.n,
				(const char *)rows.row[i].v[1].as.b.p, (int)rows.row[i].v[2].as.b.n,
				(const char *)rows.row[i].v[2].as.b.p);
			assert_true(strcmp(here, last) > 0);
			memcpy(last, here, sizeof last);
		}
		memcpy(at, rows.row[rows.n - 1].v, sizeof at);
	}
	assert_int_equal(n, 50);
	OK(mk_scan(st, &things, MK_STR_NONE, NULL, 1000, &rows));
	assert_int_equal(rows.n, 52);
	assert_false(rows.more);
	assert_true(mk_str_eqz(mk_value_str(&rows.row[0].v[0]), "example.com"));
	assert_true(mk_str_eqz(mk_value_str(&rows.row[51].v[0]), "example.org.uk"));
	OK(mk_scan(st, &things, MK_STR("nowhere"), NULL, 10, &rows));
	assert_int_equal(rows.n, 0);
	OK(mk_scan(st, &things, MK_STR_NONE, V(T(D), T("zzz"), T("")), 10, &rows));
	assert_int_equal(rows.n, 1);
}

/* ---- add ------------------------------------------------------------------------ */

static void test_add_sums_and_makes_rows(void **state)
{
	struct mk_row row;
	int64_t sum = -7;

	(void)state;
	OK(mk_add(st, &things, V(T(D), T("ann"), T("c")), "n", 5, &sum));
	assert_int_equal(sum, 5);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("c")), &row));
	assert_int_equal(row.v[3].type, 0);
	assert_int_equal(row.v[4].as.i, 5);
	OK(mk_add(st, &things, V(T(D), T("ann"), T("c")), "n", -8, &sum));
	assert_int_equal(sum, -3);
	OK(mk_add(st, &things, V(T(D), T("ann"), T("c")), "n", 0, &sum));
	assert_int_equal(sum, -3);
	OK(mk_add(st, &accounts, V(T(D), T("ann")), "n", 1, &sum));
	assert_int_equal(sum, 1);
	OK(mk_put(st, &accounts, V(T(D), T("ann"), T("h"), NONE), MK_ANY));
	OK(mk_add(st, &accounts, V(T(D), T("ann")), "n", 4, &sum));    /* absent is 0 */
	assert_int_equal(sum, 4);
	OK(mk_get(st, &accounts, V(T(D), T("ann")), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[2]), "h"));
	OK(mk_add(st, &numbered, V(T(D), T("ann"), I(1)), "kind", 3, NULL));
	OK(mk_get(st, &numbered, V(T(D), T("ann"), I(1)), &row));
	assert_int_equal(row.v[3].type, MK_TEXT);      /* may not be absent: empty */
	assert_int_equal(row.v[3].as.b.n, 0);
}

static void test_add_that_overflows_changes_nothing(void **state)
{
	struct mk_row row;
	int64_t sum = 99;

	(void)state;
	put_things("ann", "c", NULL, INT64_MAX);
	IS(mk_add(st, &things, V(T(D), T("ann"), T("c")), "n", 1, &sum), INVALID);
	assert_int_equal(sum, 99);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("c")), &row));
	assert_int_equal(row.v[4].as.i, INT64_MAX);
	OK(mk_add(st, &things, V(T(D), T("ann"), T("c")), "n", INT64_MIN, &sum));
	assert_int_equal(sum, -1);
}

/* ---- batches --------------------------------------------------------------------- */

static void test_a_batch_is_all_or_nothing(void **state)
{
	struct mk_row row;
	uint32_t failed = 99;
	uint64_t n;

	(void)state;
	put_things("ann", "there", "old", 1);
	struct mk_write w[] = {
		{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), T("1"), I(1), NONE), MK_ANY },
		{ MK_WRITE_DELETE, &things, V(T(D), T("ann"), T("there")), 0 },
		{ MK_WRITE_DELETE, &things, V(T(D), T("ann"), T("never was")), 0 },
		{ MK_WRITE_PUT, &numbered, V(T(D), T("ann"), I(1), T("p"), NONE, NONE), MK_NEW },
		{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), T("2"), I(2), NONE), MK_NEW },
	};
	IS(mk_batch(st, w, 5, &failed), CONFLICT);
	assert_int_equal(failed, 4);
	IS(mk_batch(st, w, 5, NULL), CONFLICT);
	IS(mk_get(st, &things, V(T(D), T("ann"), T("a")), &row), NOTFOUND);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("there")), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "old"));
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 0);
	w[4].expect = MK_ANY;
	OK(mk_batch(st, w, 5, &failed));
	OK(mk_get(st, &things, V(T(D), T("ann"), T("a")), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "2"));
	IS(mk_get(st, &things, V(T(D), T("ann"), T("there")), &row), NOTFOUND);
	OK(mk_get(st, &numbered, V(T(D), T("ann"), I(1)), &row));
}

static void test_a_batch_keeps_its_order(void **state)
{
	struct mk_row row;
	struct mk_write w[] = {
		{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), T("1"), I(1), NONE), MK_NEW },
		{ MK_WRITE_DELETE, &things, V(T(D), T("ann"), T("a")), 0 },
		{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), T("3"), I(3), NONE), MK_NEW },
	};

	(void)state;
	OK(mk_batch(st, w, 3, NULL));
	OK(mk_get(st, &things, V(T(D), T("ann"), T("a")), &row));
	assert_int_equal(row.v[4].as.i, 3);
	OK(mk_batch(st, w, 0, NULL));
}

static void test_a_batch_stays_in_one_partition(void **state)
{
	uint64_t n;
	struct mk_write w[] = {
		{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), T("1"), I(1), NONE), MK_ANY },
		{ MK_WRITE_PUT, &things, V(T(D), T("bob"), T("a"), T("1"), I(1), NONE), MK_ANY },
		{ MK_WRITE_PUT, &sorted, V(T(D), I(1), T(""), mk_blob("", 0)), MK_ANY },
	};

	(void)state;
	IS(mk_batch(st, w, 2, NULL), INVALID);
	w[1] = w[2];
	IS(mk_batch(st, w, 2, NULL), INVALID);
	OK(mk_count_rows(st, &things, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 0);
}

/* ---- unique ---------------------------------------------------------------------- */

static void test_unique_holds_within_a_domain(void **state)
{
	struct mk_row row;

	(void)state;
	OK(mk_put(st, &accounts, V(T(D), T("ann"), T("h"), I(1)), MK_NEW));
	IS(mk_put(st, &accounts, V(T(D), T("bob"), T("h"), I(2)), MK_NEW), CONFLICT);
	IS(mk_put(st, &accounts, V(T(D), T("bob"), T("h"), I(2)), MK_ANY), CONFLICT);
	IS(mk_get(st, &accounts, V(T(D), T("bob")), &row), NOTFOUND);
	OK(mk_put(st, &accounts, V(T("example.com"), T("bob"), T("h"), I(2)), MK_NEW));
	OK(mk_put(st, &accounts, V(T(D), T("bob"), T("H"), I(2)), MK_NEW));
	OK(mk_put(st, &accounts, V(T(D), T("cat"), NONE, I(3)), MK_NEW));
	OK(mk_put(st, &accounts, V(T(D), T("dan"), NONE, I(4)), MK_NEW));
	OK(mk_put(st, &accounts, V(T(D), T("ann"), T("h"), I(5)), MK_ANY));    /* its own */
	IS(mk_put(st, &accounts, V(T(D), T("cat"), T("h"), I(6)), MK_ANY), CONFLICT);
	OK(mk_get(st, &accounts, V(T(D), T("cat")), &row));
	assert_int_equal(row.v[3].as.i, 3);
	IS(mk_put(st, &accounts, V(T(D), T("cat"), T("h"), I(6)), row.version), CONFLICT);
	OK(mk_put(st, &accounts, V(T(D), T("ann"), T("g"), I(5)), MK_ANY));    /* frees h */
	OK(mk_put(st, &accounts, V(T(D), T("cat"), T("h"), I(6)), row.version));
	OK(mk_delete(st, &accounts, V(T(D), T("cat"))));
	OK(mk_put(st, &accounts, V(T(D), T("dan"), T("h"), I(6)), MK_ANY));
}

/* ---- search ----------------------------------------------------------------------- */

static void test_search_finds_words_in_any_case(void **state)
{
	static const struct { const char *subject, *body; int kind; } mail[] = {
		{ "Lunch", "Shall we meet at noon? The meerkats will come.", 1 },
		{ NULL, "noon is fine -- but no Meerkat, please", 1 },
		{ "meerkat", "afternoon", 2 },
		{ "it's", "O'Neil said: \"quoted words\" (and more)", 2 },
		{ NULL, "gr\xc3\xbc\xc3\x9f dich 42", 2 },
	};
	struct mk_rows rows;
	struct mk_row row;
	uint64_t n;

	(void)state;
	for (int i = 0; i < 5; i++)
		OK(mk_put(st, &texts, V(T(D), T("ann"), I(i), mail[i].subject != NULL
			? T(mail[i].subject) : NONE, T(mail[i].body), I(mail[i].kind)), MK_NEW));
	OK(mk_put(st, &texts, V(T(D), T("bob"), I(0), NONE, T("noon"), NONE), MK_NEW));
	rows = query(&texts, "ann", RANGE(.search = "noon"));
	IDS(rows, 2, 0, 1);
	rows = query(&texts, "ann", RANGE(.search = "MEERKAT"));
	IDS(rows, 2, 1, 2);
	rows = query(&texts, "ann", RANGE(.search = "meerkat noon"));
	IDS(rows, 2, 1);
	rows = query(&texts, "ann", RANGE(.search = "lunch noon"));    /* both columns */
	IDS(rows, 2, 0);
	rows = query(&texts, "ann", RANGE(.search = "noon", .backward = true, .limit = 1));
	IDS(rows, 2, 1);
	assert_true(rows.more);
	rows = query(&texts, "ann", RANGE(.search = "noon", .after = V(I(0)), .before = V(I(9))));
	IDS(rows, 2, 1);
	rows = query(&texts, "ann", RANGE(.search = "meerkat", .equals = V(NONE, NONE, NONE, NONE,
		NONE, I(2))));
	IDS(rows, 2, 2);
	rows = query(&texts, "ann", RANGE(.search = "\"quoted OR nothing"));
	assert_int_equal(rows.n, 0);
	rows = query(&texts, "ann", RANGE(.search = "said, \"quoted*\" o'neil"));
	IDS(rows, 2, 3);
	rows = query(&texts, "ann", RANGE(.search = "gr\xc3\xbc\xc3\x9f"));
	IDS(rows, 2, 4);
	rows = query(&texts, "ann", RANGE(.search = "42"));
	IDS(rows, 2, 4);
	OK(mk_count_rows(st, &texts, V(T(D), T("ann")), RANGE(.search = "noon"), &n));
	assert_int_equal(n, 2);
	/* what changes is found by its new words only */
	OK(mk_put(st, &texts, V(T(D), T("ann"), I(1), NONE, T("evening"), I(1)), MK_ANY));
	rows = query(&texts, "ann", RANGE(.search = "noon"));
	IDS(rows, 2, 0);
	rows = query(&texts, "ann", RANGE(.search = "evening"));
	IDS(rows, 2, 1);
	OK(mk_get(st, &texts, V(T(D), T("ann"), I(1)), &row));
	assert_int_equal(row.n, 6);
	OK(mk_delete_range(st, &texts, V(T(D), T("ann")), RANGE(.search = "evening"), &n));
	assert_int_equal(n, 1);
	OK(mk_take(st, &texts, V(T(D), T("ann")), RANGE(.search = "lunch"), &rows));
	IDS(rows, 2, 0);
	rows = query(&texts, "ann", RANGE(.search = "noon"));
	assert_int_equal(rows.n, 0);
}

static void test_search_survives_evil_words(void **state)
{
	struct mk_rows rows;

	(void)state;
	for (size_t i = 0; i < EVILS; i++)
		OK(mk_put(st, &texts, V(T(D), T("ann"), I((int64_t)i), NONE, T(evil[i]), NONE), MK_NEW));
	for (size_t i = 0; i < EVILS; i++) {
		enum mk_store_status s =
			mk_query(st, &texts, V(T(D), T("ann")), RANGE(.search = evil[i]), &rows);
		assert_true(s == MK_STORE_OK || s == MK_STORE_INVALID);
	}
}

/* ---- write-behind ------------------------------------------------------------------ */

static void test_appended_rows_arrive_once(void **state)
{
	struct mk_row row;
	uint64_t n;

	(void)state;
	for (int i = 0; i < 900; i++)
		mk_append(NULL, NULL, &numbered, V(T(D), T(i % 2 ? "ann" : "bob"), I(i / 2), T("p"),
			NONE, T("first")));
	wait_appended();
	for (int i = 0; i < 10; i++) {
		mk_append(NULL, NULL, &numbered, V(T(D), T("ann"), I(i), T("p"), NONE, T("second")));
		mk_append(NULL, NULL, &things, V(T(D), T("ann"), T("x"), NONE, I(i), NONE));
	}
	/* another's unique value: it can never be written, and stops nobody */
	mk_append(NULL, NULL, &accounts, V(T(D), T("ann"), T("h"), NONE));
	mk_append(NULL, NULL, &accounts, V(T(D), T("bob"), T("h"), NONE));
	mk_append(NULL, NULL, &accounts, V(T(D), T("cat"), T("g"), NONE));
	wait_appended();
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 450);
	OK(mk_count_rows(st, &numbered, V(T(D), T("bob")), NULL, &n));
	assert_int_equal(n, 450);
	OK(mk_get(st, &numbered, V(T(D), T("ann"), I(3)), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[5]), "first"));
	assert_true(row.version != 0);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("x")), &row));
	assert_int_equal(row.v[4].as.i, 0);
	OK(mk_get(st, &accounts, V(T(D), T("ann")), &row));
	IS(mk_get(st, &accounts, V(T(D), T("bob")), &row), NOTFOUND);
	OK(mk_get(st, &accounts, V(T(D), T("cat")), &row));
}

static void test_close_writes_what_is_queued(void **state)
{
	uint64_t n;

	(void)state;
	if (!(backend->caps & MK_CAP_DURABLE))
		skip();
	for (int i = 0; i < 1000; i++)
		mk_append(NULL, NULL, &numbered, V(T(D), T("ann"), I(i), T("p"), NONE, NONE));
	reopen(tables);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 1000);
}

/* ---- threads ----------------------------------------------------------------------- */

enum { THREADS = 8, ROUNDS = 100 };

static void *adder(void *arg)
{
	struct mk_store *mine = mk_store_new();

	for (int i = 0; i < ROUNDS; i++) {
		int64_t sum;
		while (mk_add(mine, &things, V(T(D), T("ann"), T("sum")), "n", 1, &sum) != MK_STORE_OK)
			;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return arg;
}

/* Read, change, write if nobody else did. */
static void *changer(void *arg)
{
	struct mk_store *mine = mk_store_new();
	const struct mk_value *key = V(T(D), T("ann"), T("cas"));

	for (int done = 0; done < ROUNDS; ) {
		struct mk_row row;
		enum mk_store_status s = mk_get(mine, &things, key, &row);
		int64_t was = s == MK_STORE_OK ? row.v[4].as.i : 0;
		done += mk_put(mine, &things, V(T(D), T("ann"), T("cas"), NONE, I(was + 1), NONE),
			s == MK_STORE_OK ? row.version : MK_NEW) == MK_STORE_OK;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return arg;
}

static void run_threads(void *(*fn)(void *), unsigned n)
{
	pthread_t t[THREADS];

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, NULL), 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void test_eight_threads_add_exactly(void **state)
{
	struct mk_row row;

	(void)state;
	run_threads(adder, THREADS);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("sum")), &row));
	assert_int_equal(row.v[4].as.i, THREADS * ROUNDS);
}

static void test_versions_make_changes_exact(void **state)
{
	struct mk_row row;

	(void)state;
	run_threads(changer, 4);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("cas")), &row));
	assert_int_equal(row.v[4].as.i, 4 * ROUNDS);
}

static _Atomic bool moving;

static void *mover(void *arg)
{
	struct mk_store *mine = mk_store_new();

	for (int i = 0; i < 300; i++) {
		struct mk_write w[] = {
			{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("a"), NONE, I(100 - i), NONE), MK_ANY },
			{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("b"), NONE, I(i), NONE), MK_ANY },
		};
		if (mk_batch(mine, w, 2, NULL) != MK_STORE_OK)
			abort();
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	moving = false;
	return arg;
}

static void test_readers_see_whole_batches(void **state)
{
	pthread_t t;

	(void)state;
	moving = true;
	assert_int_equal(pthread_create(&t, NULL, mover, NULL), 0);
	while (moving) {
		struct mk_rows rows = query(&things, "ann", NULL);
		if (rows.n != 0) {
			assert_int_equal(rows.n, 2);
			assert_int_equal(rows.row[0].v[4].as.i + rows.row[1].v[4].as.i, 100);
		}
		mk_store_job_end(st);
	}
	pthread_join(t, NULL);
}

/* A conflict of one must not undo the writes of others in its transaction. */
static void *inserter(void *arg)
{
	struct mk_store *mine = mk_store_new();
	int64_t *won = arg;

	for (int i = 0; i < 200; i++) {
		struct mk_write w[] = {
			{ MK_WRITE_PUT, &numbered, V(T(D), T("ann"), I(i), T("p"), NONE, NONE), MK_NEW },
			{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("last"), NONE, I(i), NONE), MK_ANY },
		};
		enum mk_store_status s = mk_batch(mine, w, 2, NULL);
		if (s != MK_STORE_OK && s != MK_STORE_CONFLICT)
			abort();
		*won += s == MK_STORE_OK;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return NULL;
}

static void test_one_writer_wins_each_key(void **state)
{
	pthread_t t[THREADS];
	int64_t won[THREADS] = { 0 }, sum = 0;
	uint64_t n;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, inserter, &won[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		sum += won[i];
	}
	assert_int_equal(sum, 200);
	OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
	assert_int_equal(n, 200);
}

/* ---- ids that are times ---------------------------------------------------------------- */

#define DAY_MS INT64_C(86400000)
#define Y2020  INT64_C(1577836800000)

/* An id of a day after the beginning of 2020. */
static int64_t id_at(int64_t day, int64_t ms)
{
	return mk_uid_at(Y2020 + day * DAY_MS + ms) + 7;
}

static const struct mk_value *timed_row(const char *domain, const char *user, int64_t id)
{
	struct mk_value v[] = { T(domain), T(user), I(id), T(id & 1 << 22 ? "odd" : "even"),
		T("some words"), NONE };
	struct mk_value *row = mk_arena_alloc(mk_store_arena(st), sizeof v);

	memcpy(row, v, sizeof v);
	return row;
}

/* 2020 to 2030: a row each ten days, every other one by write-behind, none in order. */
enum { DAYS = 3650, TIMED = 365 };
static void timed_make(const char *domain, const char *user)
{
	for (int i = 0; i < TIMED; i++) {
		const struct mk_value *row = timed_row(domain, user, id_at((int64_t)(i * 101 % TIMED) * 10, i));
		if (i & 1)
			mk_append(NULL, NULL, &timed, row);
		else
			OK(mk_put(st, &timed, row, i & 2 ? MK_NEW : MK_ANY));
		mk_store_job_end(st);
	}
	wait_appended();
}

static uint64_t count_timed(const char *domain, const char *user)
{
	uint64_t n;

	OK(mk_count_rows(st, &timed, V(T(domain), T(user)), NULL, &n));
	return n;
}

static void test_ids_that_are_times_are_ordered_over_years(void **state)
{
	struct mk_rows rows;
	struct mk_row row[2];
	int64_t last = INT64_MIN, sum;
	uint64_t n;

	(void)state;
	timed_make(D, "ann");
	timed_make(D, "bob");
	/* Times that no clock shows have their place, too. */
	static const int64_t odd[] = { INT64_MIN, -1, 0, INT64_MAX };
	for (int i = 0; i < 4; i++)
		OK(mk_put(st, &timed, timed_row(D, "ann", odd[i]), MK_NEW));
	IS(mk_put(st, &timed, timed_row(D, "ann", INT64_MAX), MK_NEW), CONFLICT);
	rows = query(&timed, "ann", RANGE(.limit = 1000));
	assert_int_equal(rows.n, TIMED + 4);
	for (uint32_t i = 0; i < rows.n; i++) {
		assert_true(rows.row[i].v[2].as.i > last || i == 0);
		last = rows.row[i].v[2].as.i;
	}
	rows = query(&timed, "ann", RANGE(.limit = 1000, .backward = true));
	assert_int_equal(rows.n, TIMED + 4);
	assert_int_equal(rows.row[0].v[2].as.i, INT64_MAX);
	assert_int_equal(rows.row[TIMED + 3].v[2].as.i, INT64_MIN);
	/* A page at each end, and one in the middle. */
	rows = query(&timed, "bob", RANGE(.limit = 2));
	assert_true(rows.more && mk_uid_wall_ms(rows.row[0].v[2].as.i) < Y2020 + DAY_MS);
	rows = query(&timed, "bob", RANGE(.limit = 2, .backward = true));
	assert_true(rows.more &&
		mk_uid_wall_ms(rows.row[0].v[2].as.i) > Y2020 + (DAYS - 11) * DAY_MS);
	const struct mk_range *middle = RANGE(.after = V(I(id_at(1000, 0) - 7)),
		.before = V(I(id_at(1100, 0) - 7)), .limit = 1000);
	rows = query(&timed, "bob", middle);
	assert_int_equal(rows.n, 10);
	OK(mk_count_rows(st, &timed, V(T(D), T("bob")), middle, &n));
	assert_int_equal(n, 10);
	/* filters and words over all of them */
	OK(mk_count_rows(st, &timed, V(T(D), T("bob")), RANGE(.equals = V(NONE, NONE, NONE, T("odd"),
		NONE, NONE)), &n));
	assert_int_equal(n, TIMED / 2);
	OK(mk_count_rows(st, &timed, V(T(D), T("bob")), RANGE(.search = "words"), &n));
	assert_int_equal(n, TIMED);
	/* single rows */
	const struct mk_value *key = rows.row[4].v, *far = V(T(D), T("ann"), I(-1));
	OK(mk_get(st, &timed, key, &row[0]));
	OK(mk_get_many(st, &timed, ((const struct mk_value *[]){ far, key }), 2, row));
	assert_true(row[0].v != NULL && row[1].v != NULL);
	OK(mk_put(st, &timed, key, row[1].version));
	IS(mk_put(st, &timed, key, row[1].version), CONFLICT);
	OK(mk_add(st, &timed, V(T(D), T("ann"), I(id_at(9000, 0))), "n", 5, &sum));
	OK(mk_add(st, &timed, key, "n", 5, &sum));
	assert_int_equal(sum, 5);
	OK(mk_take(st, &timed, V(T(D), T("bob")), RANGE(.limit = 20), &rows));
	assert_int_equal(rows.n, 20);
	OK(mk_delete_range(st, &timed, V(T(D), T("bob")), RANGE(.limit = 30), &n));
	assert_int_equal(n, 30);
	OK(mk_delete_range(st, &timed, V(T(D), T("bob")), middle, &n));
	assert_int_equal(n, 10);
	OK(mk_delete(st, &timed, far));
	OK(mk_scan(st, &timed, MK_STR(D), NULL, 10000, &rows));
	assert_int_equal(rows.n, TIMED + 4 + TIMED - 60);
	assert_int_equal(rows.row[0].v[2].as.i, INT64_MIN);
}

static bool is_first(void *arg, struct mk_str domain)
{
	(void)arg;
	return mk_str_eqz(domain, D);
}

/* A whole walk; between steps a job ends. */
static uint64_t expire(int64_t before, bool (*wanted)(void *, struct mk_str), unsigned *steps)
{
	struct mk_expiry e = { .size = sizeof e, .before = before, .wanted = wanted, .more = true };
	char domain[64], user[64];
	struct mk_value after[2];
	uint64_t rows = 0;

	for (*steps = 0; e.more; ++*steps) {
		assert_true(*steps < 100);
		OK(mk_expire(st, &timed, &e));
		rows += e.rows;
		if (e.after != NULL && e.after != after) {
			struct mk_str d = mk_value_str(&e.after[0]), u = mk_value_str(&e.after[1]);
			snprintf(domain, sizeof domain, "%.*s", (int)d.n, d.p);
			snprintf(user, sizeof user, "%.*s", (int)u.n, u.p);
			after[0] = T(domain);
			after[1] = T(user);
			e.after = after;
		}
		mk_store_job_end(st);
	}
	return rows;
}

static void test_what_is_old_expires_to_the_millisecond(void **state)
{
	struct mk_expiry e = { .size = sizeof e };
	int64_t before = id_at(1996, 0) - 7;   /* in the middle of a month      */
	struct mk_rows rows;
	unsigned steps;

	(void)state;
	IS(mk_expire(st, &things, &e), INVALID);
	expire(before, NULL, &steps);
	assert_int_equal(steps, 1);
	timed_make(D, "ann");
	timed_make(D, "");
	timed_make("example.com", "ann");
	for (int64_t id = before - 3; id <= before + 2; id++)
		OK(mk_put(st, &timed, timed_row(D, "zoe", id), MK_NEW));
	expire(before, is_first, &steps);
	rows = query(&timed, "zoe", RANGE(.limit = 10));
	IDS(rows, 2, before, before + 1, before + 2);
	assert_int_equal(count_timed(D, "ann"), TIMED - 200);
	assert_int_equal(count_timed(D, ""), TIMED - 200);
	assert_int_equal(count_timed("example.com", "ann"), TIMED);
	assert_int_equal(expire(before, is_first, &steps), 0);
	/* The others', too; and again a row of a time that is gone. */
	expire(before, NULL, &steps);
	assert_int_equal(count_timed("example.com", "ann"), TIMED - 200);
	mk_append(NULL, NULL, &timed, timed_row(D, "ann", id_at(3, 0)));
	OK(mk_put(st, &timed, timed_row(D, "ann", id_at(100, 0)), MK_NEW));
	wait_appended();
	assert_int_equal(count_timed(D, "ann"), TIMED - 198);
	expire(INT64_MAX, NULL, &steps);
	assert_int_equal(count_timed(D, "ann"), 0);
	assert_int_equal(count_timed("example.com", "ann"), 0);
}

static void test_a_step_of_expiry_is_bounded(void **state)
{
	enum { MANY = 20500, OWNERS = 450 };
	char user[16];
	unsigned steps;

	(void)state;
	for (int i = 0; i < MANY; i++) {
		mk_append(NULL, NULL, &timed, timed_row(D, "ann", id_at(1, i)));
		mk_store_job_end(st);
	}
	for (int i = 0; i < OWNERS; i++) {
		snprintf(user, sizeof user, "u%03d", i);
		mk_append(NULL, NULL, &timed, timed_row(D, user, id_at(1, i)));
		mk_append(NULL, NULL, &timed, timed_row(D, user, id_at(20, i)));
		mk_store_job_end(st);
	}
	wait_appended();
	expire(id_at(2, 0), NULL, &steps);
	assert_true(steps >= 4);
	assert_int_equal(count_timed(D, "ann"), 0);
	for (int i = 0; i < OWNERS; i += 50) {
		snprintf(user, sizeof user, "u%03d", i);
		assert_int_equal(count_timed(D, user), 1);
	}
}

static void *append_new(void *arg)
{
	struct mk_store *mine = mk_store_new();
	intptr_t bad = 0;

	for (int i = 0; i < 300; i++) {
		struct mk_value row[] = { T(D), T(arg), I(id_at(2000 + i, 0)), T("p"), T("t"), NONE };
		mk_append(NULL, NULL, &timed, row);
		row[2] = I(id_at(2000 + i, 1));
		bad += mk_put(mine, &timed, row, MK_NEW) != MK_STORE_OK;
		mk_store_job_end(mine);
	}
	mk_store_free(&mine);
	return (void *)bad;
}

static void test_rows_come_while_others_expire(void **state)
{
	static const char *const user[] = { "ann", "bob", "zoe" };
	pthread_t t[3];
	unsigned steps;
	void *bad;

	(void)state;
	for (int i = 0; i < 3; i++)
		timed_make(D, user[i]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, append_new, (void *)(uintptr_t)user[i]), 0);
	for (int day = 500; day <= 2000; day += 75)
		expire(id_at(day, 0) - 7, NULL, &steps);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	wait_appended();
	/* A partition that was in use goes with the next walk. */
	mk_usec until = mk_now_usec() + 20 * 1000000;
	do {
		assert_true(mk_now_usec() < until);
		expire(id_at(2000, 0) - 7, NULL, &steps);
	} while (count_timed(D, "bob") != TIMED - 200 + 600);
	assert_int_equal(count_timed(D, "ann"), TIMED - 200 + 600);
}

/* ---- administration ------------------------------------------------------------------ */

static void users_make(void)
{
	static const char *const users[] = { "ann", "ann2", "an", "bob" };

	for (size_t i = 0; i < 4; i++) {
		put_things(users[i], "", "empty name", 0);
		put_things(users[i], "x", "y", 1);
		OK(mk_put(st, &accounts, V(T(D), T(users[i]), T(users[i]), NONE), MK_ANY));
		OK(mk_put(st, &keys, V(T(D), T(users[i]), mk_blob("secret", 6)), MK_ANY));
		OK(mk_put(st, &deep, V(T(D), T(users[i]), T(""), I(INT64_MIN), T("lowest")), MK_ANY));
		for (int k = 0; k < 700; k++)
			mk_append(NULL, NULL, &deep, V(T(D), T(users[i]), T(k % 2 ? "n1" : "n2"), I(k), T("z")));
		OK(mk_put(st, &texts, V(T(D), T(users[i]), I(1), NONE, T("word"), NONE), MK_ANY));
		wait_appended();
	}
	OK(mk_put(st, &sorted, V(T(D), I(1), T(""), mk_blob("", 0)), MK_ANY));
	OK(mk_put(st, &things, V(T("example.com"), T("ann"), T("x"), NONE, I(1), NONE), MK_ANY));
}

struct exported { uint64_t rows, secret, foreign; int stop_at; };

static int export_row(void *arg, const struct mk_table *t, const struct mk_row *row)
{
	struct exported *e = arg;

	e->rows++;
	e->secret += t == &keys;
	e->foreign += !mk_str_eqz(mk_value_str(&row->v[0]), D) ||
		!mk_str_eqz(mk_value_str(&row->v[1]), "ann");
	return e->stop_at != 0 && e->rows == (uint64_t)e->stop_at ? 42 : 0;
}

static uint64_t count_all(const struct mk_table *t)
{
	struct mk_rows rows;

	OK(mk_scan(st, t, MK_STR_NONE, NULL, 10000, &rows));
	return rows.n;
}

static void test_export_and_erase_reach_all_rows_of_a_user(void **state)
{
	struct exported e = { 0 };
	struct mk_jid *ann = NULL;
	struct mk_row row;
	uint64_t n = 0;

	(void)state;
	users_make();
	assert_int_equal(mk_jid_parsez("ann@" D, &ann), 0);
	/* the caller's rows outlive the walk */
	OK(mk_get(st, &things, V(T(D), T("bob"), T("x")), &row));
	assert_int_equal(mk_store_export(st, ann, export_row, &e), 0);
	assert_int_equal(e.rows, 2 + 1 + 701 + 1);
	assert_int_equal(e.secret, 0);
	assert_int_equal(e.foreign, 0);
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "y"));
	e = (struct exported){ .stop_at = 3 };
	assert_int_equal(mk_store_export(st, ann, export_row, &e), 42);
	assert_int_equal(e.rows, 3);
	assert_int_equal(mk_store_erase_user(st, ann, &n), 0);
	assert_int_equal(n, 2 + 1 + 701 + 1 + 1);
	e = (struct exported){ 0 };
	assert_int_equal(mk_store_export(st, ann, export_row, &e), 0);
	assert_int_equal(e.rows, 0);
	IS(mk_get(st, &keys, V(T(D), T("ann")), &row), NOTFOUND);
	assert_int_equal(count_all(&deep), 3 * 701);
	assert_int_equal(count_all(&things), 3 * 2 + 1);
	assert_int_equal(mk_store_erase_user(st, ann, &n), 0);
	assert_int_equal(n, 0);
	mk_jid_unref(&ann);
}

static int export_named(void *arg, const struct mk_table *t, const struct mk_row *row)
{
	int64_t *next = arg;           /* in order, and none twice              */

	assert_ptr_equal(t, &named);
	assert_true(mk_str_eqz(mk_value_str(&row->v[2]), "ann@" D));
	assert_int_equal(row->v[1].as.i, *next);
	*next += 2;
	return 0;
}

static void test_rows_that_name_a_user_go_with_it(void **state)
{
	enum { ROWS = 1203 };          /* more than a page                      */
	struct mk_jid *ann = NULL;
	int64_t next = 0;
	uint64_t n = 0;

	(void)state;
	for (int k = 0; k < 2 * ROWS; k++)
		OK(mk_put(st, &named, V(T(D), I(k), T(k % 2 == 0 ? "ann@" D : "bob@" D), NONE), MK_ANY));
	OK(mk_put(st, &named, V(T("example.com"), I(1), T("ann@" D), NONE), MK_ANY));
	assert_int_equal(mk_jid_parsez("ann@" D, &ann), 0);
	assert_int_equal(mk_store_export(st, ann, export_named, &next), 0);
	assert_int_equal(next, 2 * ROWS);
	assert_int_equal(mk_store_erase_user(st, ann, &n), 0);
	assert_int_equal(n, ROWS);
	assert_int_equal(count_all(&named), ROWS + 1);
	next = 0;
	assert_int_equal(mk_store_export(st, ann, export_named, &next), 0);
	assert_int_equal(next, 0);
	mk_jid_unref(&ann);
}

static void test_drop_domain_leaves_others(void **state)
{
	uint64_t n = 0;

	(void)state;
	users_make();
	assert_int_equal(mk_store_drop_domain(st, MK_STR(D), &n), 0);
	assert_int_equal(n, 4 * (2 + 1 + 1 + 701 + 1) + 1);
	assert_int_equal(count_all(&things), 1);
	assert_int_equal(count_all(&deep), 0);
	assert_int_equal(count_all(&sorted), 0);
	assert_int_equal(mk_store_drop_domain(st, MK_STR(D), &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(mk_store_drop_domain(st, MK_STR_NONE, &n), -MK_EINVAL);
}

static void count_rows(void *arg, const char *table, uint64_t rows)
{
	uint64_t *deepest = arg;

	if (strcmp(table, "deep") == 0)
		*deepest = rows;
}

static struct mk_node node_of(const char *key, const char *text, struct mk_node *next)
{
	return (struct mk_node){ .kind = MK_NODE_SCALAR, .key = key, .text = text,
		.file = "suite", .next = next };
}

/* Opens again with every table mapped to the other backend. */
static void reopen_other_way_round(void)
{
	struct mk_config c = { .data_dir = folder, .storage_default = "main" };
	struct mk_node n[sizeof tables / sizeof *tables], map = { .kind = MK_NODE_MAP };
	char other[80];
	struct mk_diag d = { 0 };

	snprintf(other, sizeof other, "%s/other", folder);
	for (unsigned i = 0; tables[i] != NULL; i++)
		n[i] = node_of(tables[i]->name, "other", tables[i + 1] != NULL ? &n[i + 1] : NULL);
	map.first = n;
	c.storage_tables = &map;
	struct mk_store_backend_conf b[2] = {
		{ .name = "main", .backend = backend, .conf = suite_target.conf(folder), .threads = 1 },
		{ .name = "other", .backend = backend, .conf = suite_target.conf(other), .threads = 1 },
	};
	mk_store_free(&st);
	mk_stores_close();
	assert_int_equal(mk_stores_open(&c, b, 2, tables, false, &d), 0);
	mk_diag_fini(&d);
	st = mk_store_new();
}

static void test_copy_moves_all_tables(void **state)
{
	struct mk_diag d = { 0 };
	uint64_t deepest = 0;
	struct mk_row row;
	struct mk_rows rows;

	(void)state;
	users_make();
	assert_int_equal(mk_store_copy(st, "main", "nowhere", NULL, NULL, &d), -MK_ENOENT);
	assert_int_equal(mk_store_copy(st, "main", "main", NULL, NULL, &d), -MK_EINVAL);
	assert_int_equal(mk_store_copy(st, "main", "other", count_rows, &deepest, &d), 0);
	assert_int_equal(deepest, 4 * 701);
	put_things("late", "x", NULL, 5);
	assert_int_equal(mk_store_copy(st, "main", "other", count_rows, &deepest, &d), 0);
	mk_diag_fini(&d);
	if (!(backend->caps & MK_CAP_DURABLE))
		return;                /* it would be empty after the next line */
	reopen_other_way_round();
	assert_int_equal(count_all(&deep), 4 * 701);
	assert_int_equal(count_all(&things), 4 * 2 + 1 + 1);
	OK(mk_get(st, &keys, V(T(D), T("bob")), &row));
	assert_memory_equal(row.v[2].as.b.p, "secret", 6);
	rows = query(&texts, "ann", RANGE(.search = "word"));
	assert_int_equal(rows.n, 1);
	IS(mk_put(st, &accounts, V(T(D), T("eve"), T("bob"), NONE), MK_NEW), CONFLICT);
}

/* ---- rows that lead to others ---------------------------------------------------------- */

#define LETTERS 700                    /* more than one page of each walk       */

static void put_letter(const char *from, const char *to, int64_t id, const char *text)
{
	OK(mk_put(st, &letters, V(T(D), T(from), I(id), T(to), I(1), T(text)), MK_ANY));
	OK(mk_put(st, &letters, V(T(D), T(to), I(id), T(from), I(0), NONE), MK_ANY));
}

static void letters_make(void)
{
	char text[32];

	for (int k = 0; k < LETTERS; k++) {
		snprintf(text, sizeof text, "letter %d", k);
		put_letter(k % 2 ? "bob" : "ann", k % 2 ? "ann" : "bob", k, text);
	}
	put_letter("cat", "dan", 5, "not theirs");
}

static int whole_letter(void *arg, const struct mk_table *t, const struct mk_row *row)
{
	char text[32];

	if (t != &letters)
		return 0;
	snprintf(text, sizeof text, "letter %lld", (long long)row->v[2].as.i);
	assert_true(mk_str_eqz(mk_value_str(&row->v[5]), text));
	++*(unsigned *)arg;
	return 0;
}

static unsigned whole_letters(const char *user)
{
	struct mk_jid *j = NULL;
	unsigned n = 0;

	assert_int_equal(mk_jid_parsez(user, &j), 0);
	assert_int_equal(mk_store_export(st, j, whole_letter, &n), 0);
	mk_jid_unref(&j);
	return n;
}

/* Rows with a text, of those with one that leads to them or without. */
static uint64_t letters_held(void)
{
	struct mk_rows rows;
	uint64_t n = 0;

	OK(mk_scan(st, &letters, MK_STR_NONE, NULL, 10000, &rows));
	for (uint32_t k = 0; k < rows.n; k++)
		n += rows.row[k].v[5].type != 0;
	return n;
}

static void test_linked_rows_are_exported_whole(void **state)
{
	(void)state;
	letters_make();
	assert_int_equal(whole_letters("ann@" D), LETTERS);
	assert_int_equal(whole_letters("bob@" D), LETTERS);
	assert_int_equal(whole_letters("eve@" D), 0);
	/* Exporting changes nothing. */
	assert_int_equal(letters_held(), LETTERS + 1);
}

static void test_erased_rows_are_taken_over(void **state)
{
	struct mk_jid *j = NULL;
	struct mk_row row;
	uint64_t n = 0;

	(void)state;
	letters_make();
	/* One is gone already, one was replaced: what is there stays as it is. */
	OK(mk_delete(st, &letters, V(T(D), T("bob"), I(0))));
	OK(mk_put(st, &letters, V(T(D), T("bob"), I(2), T("ann"), I(0), T("letter 2")), MK_ANY));
	assert_int_equal(mk_jid_parsez("ann@" D, &j), 0);
	assert_int_equal(mk_store_erase_user(st, j, &n), 0);
	mk_jid_unref(&j);
	assert_int_equal(n, LETTERS);
	assert_int_equal(query(&letters, "ann", NULL).n, 0);
	IS(mk_get(st, &letters, V(T(D), T("bob"), I(0)), &row), NOTFOUND);
	assert_int_equal(whole_letters("bob@" D), LETTERS - 1);
	assert_int_equal(letters_held(), LETTERS - 1 + 1);
	/* Whoever is last takes it along. */
	assert_int_equal(mk_jid_parsez("bob@" D, &j), 0);
	assert_int_equal(mk_store_erase_user(st, j, &n), 0);
	mk_jid_unref(&j);
	assert_int_equal(n, LETTERS - 1);
	assert_int_equal(count_all(&letters), 2);
	assert_int_equal(letters_held(), 1);
}

static void test_linked_rows_go_with_their_domain(void **state)
{
	uint64_t n = 0;

	(void)state;
	letters_make();
	OK(mk_put(st, &letters, V(T("example.com"), T("ann"), I(1), T("bob"), I(1), T("x")), MK_ANY));
	assert_int_equal(mk_store_drop_domain(st, MK_STR(D), &n), 0);
	assert_int_equal(n, 2 * LETTERS + 2);
	assert_int_equal(count_all(&letters), 1);
}

static void test_linked_rows_are_copied(void **state)
{
	struct mk_diag d = { 0 };

	(void)state;
	letters_make();
	assert_int_equal(mk_store_copy(st, "main", "other", NULL, NULL, &d), 0);
	mk_diag_fini(&d);
	if (!(backend->caps & MK_CAP_DURABLE))
		return;
	reopen_other_way_round();
	assert_int_equal(count_all(&letters), 2 * LETTERS + 2);
	assert_int_equal(letters_held(), LETTERS + 1);
	assert_int_equal(whole_letters("ann@" D), LETTERS);
	assert_int_equal(whole_letters("bob@" D), LETTERS);
}

/* ---- declarations --------------------------------------------------------------------- */

TABLE(late, 1, 0, DOMAIN, { "x", MK_INT, 0 });
static const struct mk_column things2_columns[] = { DOMAIN, USER, { "name", MK_TEXT, SORT },
	{ "value", MK_TEXT, MK_COL_NULL }, { "n", MK_INT, 0 }, { "data", MK_BLOB, MK_COL_NULL },
	{ "extra", MK_INT, MK_COL_NULL | MK_COL_INDEX }, { 0 } };
static const struct mk_table things2 = { sizeof things2, 2, "things", things2_columns,
	MK_TABLE_OWNED, NULL, NULL };
static const struct mk_table *const tables2[] = { &things2, &numbered, NULL };

static bool has_line(struct mk_diag *d, const char *text)
{
	return strstr(mk_buf_z(&d->text), text) != NULL;
}

static void test_tables_may_come_late(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_row row;
	/* an equal declaration at another address: a plugin loaded anew */
	struct mk_table again = late, other = late;
	static const struct mk_column differs[] = { DOMAIN, { "x", MK_TEXT, 0 }, { 0 } };
	const struct mk_table *const one[] = { &late, NULL }, *const two[] = { &again, NULL },
		*const three[] = { &other, NULL };

	(void)state;
	IS(mk_put(st, &late, V(T(D), I(1)), MK_ANY), INVALID);
	assert_int_equal(mk_stores_declare(one, &d), 0);
	assert_int_equal(mk_stores_declare(one, &d), 0);
	OK(mk_put(st, &late, V(T(D), I(1)), MK_ANY));
	assert_int_equal(mk_stores_declare(two, &d), 0);
	OK(mk_get(st, &again, V(T(D)), &row));
	assert_int_equal(row.v[1].as.i, 1);
	other.columns = differs;
	assert_int_equal(mk_stores_declare(three, &d), -MK_EINVAL);
	assert_true(has_line(&d, "late"));
	IS(mk_get(st, &other, V(T(D)), &row), INVALID);
	mk_diag_fini(&d);
	/* again and other leave the stack before the fixture ends */
	reopen(tables);
}

static void test_a_newer_declaration_may_come_late(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_row row;
	struct mk_rows rows;

	(void)state;
	put_things("ann", "old", "1", 1);
	assert_int_equal(mk_stores_declare(tables2, &d), 0);
	OK(mk_get(st, &things2, V(T(D), T("ann"), T("old")), &row));
	assert_int_equal(row.n, 7);
	assert_int_equal(row.v[6].type, 0);
	OK(mk_put(st, &things2, V(T(D), T("ann"), T("new"), NONE, I(2), NONE, I(7)), MK_NEW));
	OK(mk_query(st, &things2, V(T(D), T("ann")), RANGE(.equals = V(NONE, NONE, NONE, NONE, NONE,
		NONE, I(7))), &rows));
	assert_int_equal(rows.n, 1);
	/* who knows the older one still reads and writes, and keeps the rest */
	OK(mk_get(st, &things, V(T(D), T("ann"), T("new")), &row));
	assert_int_equal(row.n, 6);
	put_things("ann", "new", "changed", 3);
	OK(mk_get(st, &things2, V(T(D), T("ann"), T("new")), &row));
	assert_int_equal(row.v[4].as.i, 3);
	assert_int_equal(row.v[6].as.i, 7);
	mk_diag_fini(&d);
}

static void test_columns_are_added_at_a_start(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_row row;

	(void)state;
	if (!(backend->caps & MK_CAP_DURABLE))
		skip();
	put_things("ann", "old", "1", 1);
	mk_store_free(&st);
	mk_stores_close();
	struct mk_config c = { .data_dir = folder, .storage_default = "main" };
	struct mk_store_backend_conf b = { .name = "main", .backend = backend,
		.conf = suite_target.conf(folder), .threads = 1 };
	assert_int_equal(mk_stores_open(&c, &b, 1, tables2, true, &d), 0);
	assert_true(has_line(&d, "things"));
	assert_true(has_line(&d, "extra"));
	assert_false(has_line(&d, "numbered"));
	mk_diag_fini(&d);
	reopen(tables2);
	assert_int_equal(mk_store_plan(&d), 0);
	assert_int_equal(d.count, 0);
	OK(mk_get(st, &things2, V(T(D), T("ann"), T("old")), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "1"));
	assert_int_equal(row.v[6].type, 0);
	OK(mk_put(st, &things2, V(T(D), T("ann"), T("new"), NONE, I(2), NONE, I(7)), MK_NEW));
	/* the older declaration now meets a newer database */
	mk_store_free(&st);
	mk_stores_close();
	assert_int_equal(open_with(tables, &d), -MK_EVERSION);
	assert_true(has_line(&d, "things"));
	assert_true(has_line(&d, "newer"));
	mk_diag_fini(&d);
	reopen(tables2);
	OK(mk_get(st, &things2, V(T(D), T("ann"), T("new")), &row));
	assert_int_equal(row.v[6].as.i, 7);
}

static void test_what_cannot_be_migrated_is_refused_by_name(void **state)
{
	static const struct {
		const char *column;
		struct mk_column columns[8];
	} bad[] = {
		{ "value", { DOMAIN, USER, { "name", MK_TEXT, SORT }, { "value", MK_INT, MK_COL_NULL },
			{ "n", MK_INT, 0 }, { "data", MK_BLOB, MK_COL_NULL } } },
		{ "data", { DOMAIN, USER, { "name", MK_TEXT, SORT }, { "value", MK_TEXT, MK_COL_NULL },
			{ "n", MK_INT, 0 } } },
		{ "name", { DOMAIN, USER, { "name", MK_TEXT, PART }, { "value", MK_TEXT, MK_COL_NULL },
			{ "n", MK_INT, 0 }, { "data", MK_BLOB, MK_COL_NULL } } },
		{ "must", { DOMAIN, USER, { "name", MK_TEXT, SORT }, { "value", MK_TEXT, MK_COL_NULL },
			{ "n", MK_INT, 0 }, { "data", MK_BLOB, MK_COL_NULL }, { "must", MK_INT, 0 } } },
	};

	(void)state;
	if (!(backend->caps & MK_CAP_DURABLE))
		skip();
	put_things("ann", "x", "1", 1);
	mk_store_free(&st);
	mk_stores_close();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct mk_table t = { sizeof t, 2, "things", bad[i].columns, MK_TABLE_OWNED, NULL, NULL };
		const struct mk_table *const one[] = { &t, NULL };
		struct mk_diag d = { 0 };
		assert_true(open_with(one, &d) < 0);
		assert_true(has_line(&d, "things"));
		assert_true(has_line(&d, bad[i].column));
		mk_diag_fini(&d);
	}
	reopen(tables);
	struct mk_row row;
	OK(mk_get(st, &things, V(T(D), T("ann"), T("x")), &row));
}

/* ---- what outlives the process --------------------------------------------------------- */

static void test_rows_outlive_a_restart(void **state)
{
	struct mk_row row;
	struct mk_rows rows;
	uint64_t version;

	(void)state;
	if (!(backend->caps & MK_CAP_DURABLE))
		skip();
	put_things("ann", "x", "kept", 1);
	OK(mk_put(st, &texts, V(T(D), T("ann"), I(1), NONE, T("find me"), NONE), MK_ANY));
	OK(mk_put(st, &accounts, V(T(D), T("ann"), T("h"), NONE), MK_ANY));
	OK(mk_get(st, &things, V(T(D), T("ann"), T("x")), &row));
	version = row.version;
	reopen(tables);
	OK(mk_get(st, &things, V(T(D), T("ann"), T("x")), &row));
	assert_true(mk_str_eqz(mk_value_str(&row.v[3]), "kept"));
	assert_true(row.version == version);
	rows = query(&texts, "ann", RANGE(.search = "find"));
	assert_int_equal(rows.n, 1);
	IS(mk_put(st, &accounts, V(T(D), T("bob"), T("h"), NONE), MK_ANY), CONFLICT);
}

/* Writes until it is killed, and says each number once it is acknowledged. */
static void write_until_killed(int fd, int64_t from)
{
	struct mk_diag d = { 0 };

	if (open_with(tables, &d) < 0)
		_exit(1);
	struct mk_store *mine = mk_store_new();
	for (int64_t i = from;; i++) {
		struct mk_write w[] = {
			{ MK_WRITE_PUT, &numbered, V(T(D), T("ann"), I(i), T("p"), NONE, NONE), MK_NEW },
			{ MK_WRITE_PUT, &things, V(T(D), T("ann"), T("last"), NONE, I(i), NONE), MK_ANY },
		};
		if (mk_batch(mine, w, 2, NULL) != MK_STORE_OK ||
		    mk_add(mine, &things, V(T(D), T("ann"), T("sum")), "n", 1, NULL) != MK_STORE_OK ||
		    write(fd, &i, sizeof i) != sizeof i)
			_exit(2);
		mk_store_job_end(mine);
	}
}

static void test_what_was_acknowledged_survives_kill_9(void **state)
{
	int64_t last = -1;

	(void)state;
	if (!(backend->caps & MK_CAP_DURABLE))
		skip();
	for (int round = 0; round < 10; round++) {
		int fd[2];
		mk_store_free(&st);
		mk_stores_close();
		assert_int_equal(pipe(fd), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0)
			write_until_killed(fd[1], last + 1);
		close(fd[1]);
		int64_t i;
		for (int n = 0; n < 3 + round * 7; n++) {
			assert_int_equal(read(fd[0], &i, sizeof i), sizeof i);
			last = i;
		}
		/* between two acknowledgements, somewhere inside a write */
		usleep((useconds_t)(round * 97));
		kill(child, SIGKILL);
		while (read(fd[0], &i, sizeof i) == sizeof i)
			last = i;
		close(fd[0]);
		waitpid(child, NULL, 0);
		if (suite_target.settle != NULL)
			suite_target.settle();
		reopen(tables);
		struct mk_row row;
		OK(mk_get(st, &things, V(T(D), T("ann"), T("last")), &row));
		int64_t reached = row.v[4].as.i;
		assert_true(reached >= last && reached <= last + 1);
		uint64_t n;
		OK(mk_count_rows(st, &numbered, V(T(D), T("ann")), NULL, &n));
		assert_int_equal(n, reached + 1);      /* the batch is whole    */
		OK(mk_get(st, &things, V(T(D), T("ann"), T("sum")), &row));
		assert_true(row.v[4].as.i >= last + 1 - round && row.v[4].as.i <= reached + 1);
		last = reached;
	}
}

/* ---- the program --------------------------------------------------------------------- */

static void no_log(const char *line, size_t n)
{
	(void)line, (void)n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_put_is_got),
		TEST(test_absent_is_not_empty),
		TEST(test_a_version_grows_and_guards),
		TEST(test_delete_says_whether_it_was_there),
		TEST(test_many_keys_are_got_in_one_call),
		TEST(test_text_comes_back_byte_by_byte),
		TEST(test_all_evil_strings_are_different_keys),
		TEST(test_blobs_hold_any_byte_and_megabytes),
		TEST(test_integers_have_64_bits),
		TEST(test_mistakes_are_refused),
		TEST(test_sort_columns_order_rows),
		TEST(test_a_range_has_exclusive_bounds),
		TEST(test_pages_cover_ten_thousand_rows_once),
		TEST(test_indexed_columns_filter),
		TEST(test_take_reads_and_deletes),
		TEST(test_delete_range_deletes_what_matches),
		TEST(test_count_ends_at_its_limit),
		TEST(test_scan_walks_a_domain_in_key_order),
		TEST(test_add_sums_and_makes_rows),
		TEST(test_add_that_overflows_changes_nothing),
		TEST(test_a_batch_is_all_or_nothing),
		TEST(test_a_batch_keeps_its_order),
		TEST(test_a_batch_stays_in_one_partition),
		TEST(test_unique_holds_within_a_domain),
		TEST(test_search_finds_words_in_any_case),
		TEST(test_search_survives_evil_words),
		TEST(test_appended_rows_arrive_once),
		TEST(test_close_writes_what_is_queued),
		TEST(test_eight_threads_add_exactly),
		TEST(test_versions_make_changes_exact),
		TEST(test_readers_see_whole_batches),
		TEST(test_one_writer_wins_each_key),
		TEST(test_ids_that_are_times_are_ordered_over_years),
		TEST(test_what_is_old_expires_to_the_millisecond),
		TEST(test_a_step_of_expiry_is_bounded),
		TEST(test_rows_come_while_others_expire),
		TEST(test_export_and_erase_reach_all_rows_of_a_user),
		TEST(test_rows_that_name_a_user_go_with_it),
		TEST(test_drop_domain_leaves_others),
		TEST(test_copy_moves_all_tables),
		TEST(test_linked_rows_are_exported_whole),
		TEST(test_erased_rows_are_taken_over),
		TEST(test_linked_rows_go_with_their_domain),
		TEST(test_linked_rows_are_copied),
		TEST(test_tables_may_come_late),
		TEST(test_a_newer_declaration_may_come_late),
		TEST(test_columns_are_added_at_a_start),
		TEST(test_what_cannot_be_migrated_is_refused_by_name),
		TEST(test_rows_outlive_a_restart),
		TEST(test_what_was_acknowledged_survives_kill_9),
	};

	if (getenv("MK_TEST_LOG") == NULL)
		mk_log_capture(no_log);
	backend = suite_target.entry(MK_ABI_MAJOR)->backend;
	assert_non_null(backend);
	return cmocka_run_group_tests_name(suite_target.entry(MK_ABI_MAJOR)->name, tests, NULL, NULL);
}
