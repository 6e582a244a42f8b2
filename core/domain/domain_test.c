/*
 * domain/domain_test.c - the table of domains, also while it grows
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "base/assert.h"
#include "domain/domain.h"
#include "loop/quiesce.h"
#include "base/ban.h"

static int add(const char *name, const char *type)
{
	return mk_domain_add(mk_strz(name), type, false, true);
}
static struct mk_domain *find(const char *name) { return mk_domain_find(name, strlen(name)); }
static struct mk_domain *find_any(const char *name)
{
	return mk_domain_find_any(name, strlen(name));
}

static void test_a_domain_is_prepared_and_found(void **state)
{
	struct mk_jid *j;

	(void)state;
	assert_int_equal(add("Example.ORG", "people"), 0);
	assert_non_null(find("example.org"));
	assert_null(find("Example.ORG"));      /* who asks has prepared it      */
	assert_string_equal(find("example.org")->type->name, "people");
	assert_int_equal(mk_jid_parsez("u@example.org/r", &j), 0);
	assert_ptr_equal(mk_domain_of(j), find("example.org"));
	mk_jid_unref(&j);
	assert_int_equal(mk_jid_parsez("u@example.net/r", &j), 0);
	assert_null(mk_domain_of(j));
	mk_jid_unref(&j);
}

static void test_what_is_no_domain_is_refused(void **state)
{
	uint32_t before = mk_domain_count();

	(void)state;
	assert_int_equal(add("example.org", "people"), -MK_EEXIST);
	assert_int_equal(add("a@example.org", "people"), -MK_EJID);
	assert_int_equal(add("example.org/r", "people"), -MK_EJID);
	assert_int_equal(add("", "people"), -MK_EJID);
	assert_int_equal(add("x.example", "nobody"), -MK_ENOENT);
	assert_int_equal(add("x.example", "*"), -MK_ENOENT);
	assert_int_equal(mk_domain_count(), before);
	assert_int_equal(mk_domain_remove(MK_STR("x.example")), -MK_ENOENT);
	assert_int_equal(mk_domain_enable(MK_STR("x.example"), true), -MK_ENOENT);
}

static void test_disabled_is_there_but_not_served(void **state)
{
	struct mk_jid *j;

	(void)state;
	assert_int_equal(add("off.example", "people"), 0);
	assert_int_equal(mk_jid_parsez("u@off.example", &j), 0);
	assert_non_null(mk_domain_of(j));
	assert_int_equal(mk_domain_enable(MK_STR("off.example"), false), 0);
	assert_null(mk_domain_of(j));
	assert_null(find("off.example"));
	assert_non_null(find_any("off.example"));
	assert_int_equal(mk_domain_enable(MK_STR("off.example"), true), 0);
	assert_non_null(mk_domain_of(j));
	mk_jid_unref(&j);
}

static void test_a_removed_row_is_taken_up_again(void **state)
{
	uint32_t before = mk_domain_count();

	(void)state;
	assert_int_equal(add("back.example", "people"), 0);
	struct mk_domain *d = find("back.example");
	assert_int_equal(mk_domain_remove(MK_STR("back.example")), 0);
	assert_int_equal(mk_domain_count(), before);
	assert_null(find_any("back.example"));
	assert_false(atomic_load(&d->enabled));
	assert_int_equal(mk_domain_remove(MK_STR("back.example")), -MK_ENOENT);
	assert_int_equal(mk_domain_add(MK_STR("back.example"), "others", true, false), 0);
	assert_ptr_equal(find_any("back.example"), d);
	assert_null(find("back.example"));
	assert_string_equal(d->type->name, "others");
	assert_true(d->is_static);
}

struct listing { uint32_t n, limit; };
static bool count(struct mk_domain *d, void *arg)
{
	struct listing *l = arg;

	(void)d;
	return ++l->n < l->limit;
}

static void test_each_is_listed_and_removed_ones_are_not(void **state)
{
	struct listing all = { 0, UINT32_MAX }, some = { 0, 2 };

	(void)state;
	mk_domain_each(count, &all);
	assert_int_equal(all.n, mk_domain_count());
	mk_domain_each(count, &some);
	assert_int_equal(some.n, 2);
}

#define MANY 20000
static _Atomic bool done;

/* What was there before must be found all the time. */
static void *look(void *arg)
{
	uint64_t *found = arg;
	struct mk_quiet q;

	mk_quiet_join(&q, NULL);
	while (!atomic_load(&done)) {
		mk_assert(find("example.org") != NULL);
		(*found)++;
		mk_quiet_pass(&q);
	}
	mk_quiet_leave(&q);
	mk_jid_thread_end();
	return NULL;
}

static void test_readers_see_a_growing_table_whole(void **state)
{
	pthread_t t;
	uint64_t found = 0;
	char name[32];

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, look, &found), 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		assert_int_equal(add(name, "people"), 0);
	}
	atomic_store(&done, true);
	pthread_join(t, NULL);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		assert_non_null(find(name));
	}
}

static int setup(void **state)
{
	(void)state;
	mk_host_type_add("*");
	mk_host_type_add("people");
	mk_host_type_add("others");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_domain_is_prepared_and_found),
		cmocka_unit_test(test_what_is_no_domain_is_refused),
		cmocka_unit_test(test_disabled_is_there_but_not_served),
		cmocka_unit_test(test_a_removed_row_is_taken_up_again),
		cmocka_unit_test(test_each_is_listed_and_removed_ones_are_not),
		cmocka_unit_test(test_readers_see_a_growing_table_whole),
	};
	int r = cmocka_run_group_tests(tests, setup, NULL);

	mk_jid_thread_end();
	return r;
}
