/*
 * base/map_test.c - the hash table, and the hash
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <meerkat/types.h>
#include "base/assert.h"
#include "base/map.h"

struct thing {
	char key[16];
	struct mk_map_node node;
	bool is_in;
};

static bool thing_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct thing *t = MK_CONTAINER(n, struct thing, node);

	return strlen(t->key) == key_n && memcmp(t->key, key, key_n) == 0;
}

static struct thing *find(const struct mk_map *m, const char *key)
{
	size_t n = strlen(key);
	struct mk_map_node *node = mk_map_find(m, mk_hash_bytes(key, n), key, n);

	return node != NULL ? MK_CONTAINER(node, struct thing, node) : NULL;
}

static struct thing *things_in(struct mk_map *m, int n)
{
	struct thing *t = mk_alloc((size_t)n * sizeof(*t));

	for (int i = 0; i < n; i++) {
		snprintf(t[i].key, sizeof(t[i].key), "key-%d", i);
		t[i].is_in = true;
		mk_map_insert(m, &t[i].node, mk_hash_bytes(t[i].key, strlen(t[i].key)));
	}
	return t;
}

static void test_it_grows_finds_and_shrinks(void **state)
{
	enum { N = 20000 };
	struct mk_map m;
	struct thing *t;
	uint32_t widest;

	(void)state;
	mk_map_init(&m, thing_eq);
	assert_null(find(&m, "key-0"));
	t = things_in(&m, N);
	assert_int_equal(m.count, N);
	widest = m.mask;
	assert_true(widest + 1 >= N && widest < 2 * N);
	for (int i = 0; i < N; i++)
		assert_ptr_equal(find(&m, t[i].key), &t[i]);
	assert_null(find(&m, "key-20000"));
	for (int i = 0; i < N; i++) {
		mk_map_remove(&m, &t[i].node);
		assert_null(find(&m, t[i].key));
	}
	assert_int_equal(m.count, 0);
	assert_true(m.mask < 64);
	mk_map_fini(&m);
	mk_free(t);
}

static void test_equal_hashes_are_told_apart(void **state)
{
	struct mk_map m;
	struct thing t[3] = { { .key = "a" }, { .key = "b" }, { .key = "c" } };

	(void)state;
	mk_map_init(&m, thing_eq);
	for (int i = 0; i < 3; i++)
		mk_map_insert(&m, &t[i].node, 42);
	for (int i = 0; i < 3; i++)
		assert_ptr_equal(mk_map_find(&m, 42, t[i].key, 1), &t[i].node);
	mk_map_remove(&m, &t[1].node);
	assert_null(mk_map_find(&m, 42, "b", 1));
	assert_ptr_equal(mk_map_find(&m, 42, "a", 1), &t[0].node);
	assert_ptr_equal(mk_map_find(&m, 42, "c", 1), &t[2].node);
	mk_map_fini(&m);
}

static struct mk_map *walked;
static int seen, stop_after;

static bool remove_odd(struct mk_map_node *n, void *arg)
{
	struct thing *t = MK_CONTAINER(n, struct thing, node);

	assert_null(arg);
	assert_true(t->is_in);
	seen++;
	if ((t->key[strlen(t->key) - 1] - '0') % 2 == 1) {
		mk_map_remove(walked, n);
		t->is_in = false;
		memset(&t->node, 0xff, sizeof(t->node));       /* as if freed   */
	}
	return true;
}

static bool remove_all(struct mk_map_node *n, void *arg)
{
	(void)arg;
	seen++;
	mk_map_remove(walked, n);
	return true;
}

static bool count_some(struct mk_map_node *n, void *arg)
{
	(void)n;
	(void)arg;
	return ++seen < stop_after;
}

static void test_each_may_remove_what_it_is_given(void **state)
{
	enum { N = 1000 };
	struct mk_map m;
	struct thing *t;

	(void)state;
	mk_map_init(&m, thing_eq);
	walked = &m;
	mk_map_each(&m, remove_odd, NULL);
	t = things_in(&m, N);
	seen = 0;
	mk_map_each(&m, remove_odd, NULL);
	assert_int_equal(seen, N);
	assert_int_equal(m.count, N / 2);
	for (int i = 0; i < N; i++)
		assert_ptr_equal(find(&m, t[i].key), i % 2 == 0 ? &t[i] : NULL);
	seen = 0;
	stop_after = 10;
	mk_map_each(&m, count_some, NULL);
	assert_int_equal(seen, 10);
	seen = 0;
	mk_map_each(&m, remove_all, NULL);
	assert_int_equal(seen, N / 2);
	assert_int_equal(m.count, 0);
	assert_true(m.mask < 64);                      /* shrunk afterwards     */
	mk_map_fini(&m);
	mk_free(t);
}

static void test_the_hash_depends_on_every_byte_and_the_length(void **state)
{
	unsigned char p[40] = { 0 };
	uint64_t h[41 + 40];
	int n = 0;

	(void)state;
	for (size_t len = 0; len <= sizeof(p); len++)
		h[n++] = mk_hash_bytes(p, len);
	for (size_t i = 0; i < sizeof(p); i++) {
		p[i] = 1;
		h[n++] = mk_hash_bytes(p, sizeof(p));
		p[i] = 0;
	}
	for (int i = 0; i < n; i++) {
		for (int k = 0; k < i; k++)
			assert_true(h[i] != h[k]);
	}
	assert_true(mk_hash_bytes(p, 9) == mk_hash_bytes(p + 3, 9));
	assert_true(mk_hash_bytes(NULL, 0) == h[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_grows_finds_and_shrinks),
		cmocka_unit_test(test_equal_hashes_are_told_apart),
		cmocka_unit_test(test_each_may_remove_what_it_is_given),
		cmocka_unit_test(test_the_hash_depends_on_every_byte_and_the_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
