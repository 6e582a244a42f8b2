/*
 * internal_test.c - accounts over a table of a few rows in this file
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <meerkat/auth.h>
#include <meerkat/plugin.h>
#include "base/log.h"

mk_plugin_entry_fn mk_plugin_entry_internal;

/* ---- the core's side ----------------------------------------------------------- */

static struct { char domain[64], user[64]; int64_t created; uint8_t keys[1024]; size_t n;
	uint64_t version; } rows[8];
static unsigned row_count;
static uint64_t last_version;
static enum mk_store_status trouble;   /* of every operation, unless OK         */
static struct mk_arena *arena;
static const struct mk_source *source;
static void *data;
static const void *conf;
static bool was_refused;

struct mk_arena *mk_store_arena(struct mk_store *st) { (void)st; return arena; }
int mk_source_add(struct mk_inst *i, const struct mk_source *s) { (void)i; source = s; return 0; }
void mk_inst_set_data(struct mk_inst *i, void *d) { (void)i; data = d; }
void *mk_inst_data(const struct mk_inst *i) { (void)i; return data; }
const void *mk_inst_conf(const struct mk_inst *i) { (void)i; return conf; }
const void *mk_conf_view_values(const struct mk_conf_view *v) { return v; }
void mk_conf_refuse(const struct mk_conf_view *v, struct mk_diag *d, const char *key,
	const char *fmt, ...)
{
	(void)v;
	(void)d;
	(void)fmt;
	assert_string_equal(key, "hashes");
	was_refused = true;
}

static int row_at(const struct mk_value *key)
{
	for (unsigned i = 0; i < row_count; i++)
		if (mk_str_eqz(mk_value_str(&key[0]), rows[i].domain) &&
		    mk_str_eqz(mk_value_str(&key[1]), rows[i].user))
			return (int)i;
	return -1;
}

static struct mk_row row_of(unsigned i)
{
	struct mk_value *v = mk_arena_alloc(arena, 4 * sizeof *v);

	v[0] = mk_textz(rows[i].domain);
	v[1] = mk_textz(rows[i].user);
	v[2] = mk_int(rows[i].created);
	v[3] = mk_blob(rows[i].keys, rows[i].n);
	return (struct mk_row){ v, 4, rows[i].version };
}

enum mk_store_status mk_get(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, struct mk_row *row_out)
{
	int i = row_at(key);

	(void)st;
	assert_string_equal(t->name, "account");
	if (trouble != MK_STORE_OK)
		return trouble;
	if (i < 0)
		return MK_STORE_NOTFOUND;
	*row_out = row_of((unsigned)i);
	return MK_STORE_OK;
}

enum mk_store_status mk_put(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *v, uint64_t expect)
{
	int i = row_at(v);

	(void)st;
	(void)t;
	if (trouble != MK_STORE_OK)
		return trouble;
	if (expect == MK_NEW ? i >= 0 : i < 0 || (expect != MK_ANY && rows[i].version != expect))
		return MK_STORE_CONFLICT;
	if (i < 0) {
		i = (int)row_count++;
		snprintf(rows[i].domain, 64, "%.*s", (int)v[0].as.b.n, (const char *)v[0].as.b.p);
		snprintf(rows[i].user, 64, "%.*s", (int)v[1].as.b.n, (const char *)v[1].as.b.p);
	}
	rows[i].created = v[2].as.i;
	assert_true(v[3].as.b.n <= sizeof rows[i].keys);
	rows[i].n = v[3].as.b.n;
	memcpy(rows[i].keys, v[3].as.b.p, rows[i].n);
	rows[i].version = ++last_version;
	return MK_STORE_OK;
}

enum mk_store_status mk_delete(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key)
{
	int i = row_at(key);

	(void)st;
	(void)t;
	if (trouble != MK_STORE_OK || i < 0)
		return trouble != MK_STORE_OK ? trouble : MK_STORE_NOTFOUND;
	rows[i] = rows[--row_count];
	return MK_STORE_OK;
}

static int by_user(const void *a, const void *b)
{
	const struct mk_row *x = a, *y = b;
	return strcmp(x->v[1].as.b.p, y->v[1].as.b.p);
}

enum mk_store_status mk_query(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_rows *out)
{
	static struct mk_row found[8];
	uint32_t n = 0, kept = 0;

	(void)st;
	(void)t;
	if (trouble != MK_STORE_OK)
		return trouble;
	for (unsigned i = 0; i < row_count; i++)
		if (mk_str_eqz(mk_value_str(partition), rows[i].domain))
			found[n++] = row_of(i);
	qsort(found, n, sizeof *found, by_user);
	for (uint32_t i = 0; i < n && kept < r->limit; i++)
		if (r->after == NULL || strcmp(found[i].v[1].as.b.p, r->after->as.b.p) > 0)
			found[kept++] = found[i];
	*out = (struct mk_rows){ found, kept, false };
	return MK_STORE_OK;
}

enum mk_store_status mk_count_rows(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *count_out)
{
	struct mk_range all = *r;
	struct mk_rows found;

	all.limit = 100;
	enum mk_store_status s = mk_query(st, t, partition, &all, &found);
	if (s == MK_STORE_OK)
		*count_out = found.n;
	return s;
}

/* ---- tests ------------------------------------------------------------------------ */

/* As the plugin's own struct. */
static struct { struct mk_conf_list hashes; int64_t iterations; } settings;
static const char *const usual[] = { "SHA-1", "SHA-256", "SHA-512" };
static struct mk_jid *juliet;
#define NOBODY ((struct mk_store *)NULL)

static int setup(void **state)
{
	(void)state;
	settings.hashes = (struct mk_conf_list){ usual, 3 };
	settings.iterations = 4096;
	conf = &settings;
	mk_jid_parsez("juliet@example.org", &juliet);
	return mk_plugin_entry_internal(MK_ABI_MAJOR)->start(NULL);
}

static int teardown(void **state)
{
	(void)state;
	mk_jid_unref(&juliet);
	mk_plugin_entry_internal(MK_ABI_MAJOR)->stop(NULL);
	return 0;
}

static int before(void **state)
{
	(void)state;
	trouble = MK_STORE_OK;
	row_count = 0;
	arena = mk_arena_new();
	return 0;
}

static int after(void **state)
{
	(void)state;
	mk_arena_free(&arena);
	return 0;
}

static int password(const char *p, bool create)
{
	return source->set_password(NULL, NOBODY, juliet, mk_strz(p), create);
}

static bool fits(enum mk_hash h, const char *p)
{
	struct mk_scram_keys k, tried;

	if (source->scram(NULL, NOBODY, juliet, h, &k) != MK_AUTH_YES)
		return false;
	mk_scram_derive(h, mk_strz(p), k.salt, k.salt_n, k.iterations, &tried);
	return memcmp(&k, &tried, sizeof k) == 0;
}

static void test_a_password_is_kept_as_keys_of_each_hash(void **state)
{
	struct mk_scram_keys a, b;

	(void)state;
	assert_int_equal(password("pencil", true), 0);
	assert_true(fits(MK_SHA1, "pencil") && fits(MK_SHA256, "pencil") && fits(MK_SHA512, "pencil"));
	assert_false(fits(MK_SHA256, "Pencil"));
	assert_int_equal(source->scram(NULL, NOBODY, juliet, MK_SHA384, &a), MK_AUTH_NO);
	assert_null(memmem(rows[0].keys, rows[0].n, "pencil", 6));
	/* Salts differ from hash to hash. */
	source->scram(NULL, NOBODY, juliet, MK_SHA1, &a);
	source->scram(NULL, NOBODY, juliet, MK_SHA256, &b);
	assert_int_equal(a.salt_n, 16);
	assert_int_equal(a.iterations, 4096);
	assert_memory_not_equal(a.salt, b.salt, 16);
}

static void test_creating_and_changing_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(password("one", false), -MK_ENOENT);
	assert_int_equal(password("one", true), 0);
	int64_t created = rows[0].created = 42;
	assert_int_equal(password("two", true), -MK_EEXIST);
	assert_true(fits(MK_SHA1, "one"));
	assert_int_equal(password("two", false), 0);
	assert_true(fits(MK_SHA1, "two") && !fits(MK_SHA1, "one"));
	assert_int_equal(rows[0].created, created);
}

static void test_removing(void **state)
{
	struct mk_scram_keys k;

	(void)state;
	assert_int_equal(source->remove(NULL, NOBODY, juliet), -MK_ENOENT);
	password("one", true);
	assert_int_equal(source->exists(NULL, NOBODY, juliet), MK_AUTH_YES);
	assert_int_equal(source->remove(NULL, NOBODY, juliet), 0);
	assert_int_equal(source->exists(NULL, NOBODY, juliet), MK_AUTH_UNKNOWN);
	assert_int_equal(source->scram(NULL, NOBODY, juliet, MK_SHA1, &k), MK_AUTH_UNKNOWN);
}

static void test_storage_that_is_away_is_no_answer(void **state)
{
	struct mk_scram_keys k;
	struct mk_str *users;
	uint64_t n;

	(void)state;
	password("one", true);
	trouble = MK_STORE_RETRY;
	assert_int_equal(source->exists(NULL, NOBODY, juliet), MK_AUTH_LATER);
	assert_int_equal(source->scram(NULL, NOBODY, juliet, MK_SHA1, &k), MK_AUTH_LATER);
	assert_int_equal(password("two", false), -MK_EAGAIN);
	assert_int_equal(password("two", true), -MK_EAGAIN);
	assert_int_equal(source->remove(NULL, NOBODY, juliet), -MK_EAGAIN);
	trouble = MK_STORE_UNCERTAIN;
	assert_int_equal(password("two", true), -MK_EIO);
	assert_int_equal(source->list(NULL, NOBODY, MK_STR("example.org"), MK_STR_NONE, 10, &users),
		-MK_EIO);
	assert_int_equal(source->count(NULL, NOBODY, MK_STR("example.org"), &n), -MK_EIO);
}

static void test_users_are_listed_by_domain_in_order_and_counted(void **state)
{
	static const char *const who[] = { "romeo@example.org", "juliet@example.org",
		"nurse@example.org", "tim@example.com" };
	struct mk_str *users;
	uint64_t n;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct mk_jid *j;
		mk_jid_parsez(who[i], &j);
		assert_int_equal(source->set_password(NULL, NOBODY, j, MK_STR("x"), true), 0);
		mk_jid_unref(&j);
	}
	assert_int_equal(source->list(NULL, NOBODY, MK_STR("example.org"), MK_STR_NONE, 2, &users), 2);
	assert_true(mk_str_eqz(users[0], "juliet") && mk_str_eqz(users[1], "nurse"));
	assert_int_equal(source->list(NULL, NOBODY, MK_STR("example.org"), users[1], 2, &users), 1);
	assert_true(mk_str_eqz(users[0], "romeo"));
	assert_int_equal(source->list(NULL, NOBODY, MK_STR("example.net"), MK_STR_NONE, 2, &users), 0);
	assert_int_equal(source->count(NULL, NOBODY, MK_STR("example.org"), &n), 0);
	assert_int_equal(n, 3);
}

/* What stands in the table may be damaged: an answer, never a crash. */
static void test_damaged_keys_are_no_answer(void **state)
{
	struct mk_scram_keys k;
	uint8_t good[1024];
	size_t n;

	(void)state;
	password("one", true);
	n = rows[0].n;
	memcpy(good, rows[0].keys, n);
	for (size_t cut = 0; cut < n; cut++) {
		rows[0].n = cut;
		enum mk_auth_answer a = source->scram(NULL, NOBODY, juliet, MK_SHA384, &k);
		assert_true(a == MK_AUTH_LATER || a == MK_AUTH_NO);
	}
	rows[0].n = n;
	for (size_t at = 0; at < n; at++)
		for (int bit = 0; bit < 8; bit++) {
			rows[0].keys[at] ^= (uint8_t)(1 << bit);
			enum mk_auth_answer a = source->scram(NULL, NOBODY, juliet, MK_SHA512, &k);
			assert_true(a != MK_AUTH_YES || (k.salt_n <= sizeof k.salt &&
				k.iterations > 0 && k.hash == MK_SHA512));
			rows[0].keys[at] = good[at];
		}
}

static void test_settings_decide_what_is_offered(void **state)
{
	static const char *const other[] = { "SHA-384", "SHA-224" };
	const struct mk_plugin *p = mk_plugin_entry_internal(MK_ABI_MAJOR);

	(void)state;
	assert_true(source->has_scram(NULL, MK_SHA256));
	assert_false(source->has_scram(NULL, MK_SHA384));
	settings.hashes = (struct mk_conf_list){ other, 2 };
	settings.iterations = 5000;
	assert_int_equal(p->reload(NULL, &settings, NULL), 0);
	assert_true(source->has_scram(NULL, MK_SHA384) && source->has_scram(NULL, MK_SHA224));
	assert_false(source->has_scram(NULL, MK_SHA1));
	assert_int_equal(source->iterations(NULL, MK_SHA384), 5000);
	assert_int_equal(password("one", true), 0);
	assert_true(fits(MK_SHA384, "one"));
	settings.hashes = (struct mk_conf_list){ NULL, 0 };
	assert_int_equal(p->check((const struct mk_conf_view *)&settings, NULL), -MK_EINVAL);
	assert_true(was_refused);
	settings.hashes = (struct mk_conf_list){ usual, 3 };
	assert_int_equal(p->check((const struct mk_conf_view *)&settings, NULL), 0);
	settings.iterations = 4096;
	p->reload(NULL, &settings, NULL);
}

/* Damage is logged; here it is expected. */
static void quiet(const char *line, size_t n)
{
	(void)line;
	(void)n;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_password_is_kept_as_keys_of_each_hash, before, after),
		cmocka_unit_test_setup_teardown(test_creating_and_changing_are_told_apart, before, after),
		cmocka_unit_test_setup_teardown(test_removing, before, after),
		cmocka_unit_test_setup_teardown(test_storage_that_is_away_is_no_answer, before, after),
		cmocka_unit_test_setup_teardown(test_users_are_listed_by_domain_in_order_and_counted,
			before, after),
		cmocka_unit_test_setup_teardown(test_damaged_keys_are_no_answer, before, after),
		cmocka_unit_test_setup_teardown(test_settings_decide_what_is_offered, before, after),
	};
	mk_log_capture(quiet);
	return cmocka_run_group_tests_name("internal", tests, setup, teardown);
}
