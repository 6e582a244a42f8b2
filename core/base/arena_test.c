/*
 * base/arena_test.c - arenas, buffers, lists, shared bytes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"

static bool is_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != 0)
			return false;
	}
	return true;
}

static void test_memory_is_aligned_zeroed_and_apart(void **state)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 100, 495, 496, 497, 511, 512, 900,
	                                1007, 1008, 1009, 1024, 5000, 100000 };
	enum { N = sizeof(sizes) / sizeof(*sizes), ROUNDS = 5 };
	struct mk_arena *a = mk_arena_new();
	char *got[ROUNDS][N];

	(void)state;
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < N; i++) {
			got[r][i] = mk_arena_alloc(a, sizes[i]);
			assert_int_equal((uintptr_t)got[r][i] % 16, 0);
			assert_true(is_zero(got[r][i], sizes[i]));
			memset(got[r][i], r * N + i + 1, sizes[i]);
		}
	}
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < N; i++) {
			for (size_t k = 0; k < sizes[i]; k++)
				assert_int_equal((unsigned char)got[r][i][k], r * N + i + 1);
		}
	}
	mk_arena_free(&a);
	assert_null(a);
	mk_arena_free(&a);
}

static void test_reset_gives_back_all_but_one_chunk(void **state)
{
	struct mk_arena a;

	(void)state;
	mk_arena_init(&a);
	assert_int_equal(mk_arena_bytes(&a), 0);
	mk_arena_reset(&a);
	/* The first is a big one: not kept. */
	memset(mk_arena_raw(&a, 50000), 1, 50000);
	for (int i = 0; i < 100; i++)
		memset(mk_arena_raw(&a, 200), 1, 200);
	assert_true(mk_arena_bytes(&a) > 50000 + 100 * 200);
	mk_arena_reset(&a);
	assert_true(mk_arena_bytes(&a) <= MK_ARENA_CHUNK);
	assert_true(is_zero(mk_arena_alloc(&a, 700), 700));
	mk_arena_fini(&a);
	assert_int_equal(mk_arena_bytes(&a), 0);
	mk_arena_fini(&a);
}

static void test_an_arena_survives_its_own_reset(void **state)
{
	static const size_t extras[] = { 0, 1, 300, 990, 20000 };

	(void)state;
	for (size_t i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
		void *extra;
		struct mk_arena *a = mk_arena_new_with(extras[i], &extra);

		assert_int_equal((uintptr_t)extra % 16, 0);
		assert_true(is_zero(extra, extras[i]));
		memset(extra, 7, extras[i]);
		for (int round = 0; round < 3; round++) {
			memset(mk_arena_raw(a, 3000), 1, 3000);
			for (int k = 0; k < 50; k++)
				memset(mk_arena_raw(a, 100), 1, 100);
			mk_arena_reset(a);
			for (size_t k = 0; k < extras[i]; k++)
				assert_int_equal(((char *)extra)[k], 7);
		}
		mk_arena_free(&a);
	}
}

static void test_text_in_an_arena(void **state)
{
	struct mk_arena *a = mk_arena_new();
	char *z;

	(void)state;
	assert_string_equal(mk_arena_strdup(a, "juliet"), "juliet");
	assert_string_equal(mk_arena_strndup(a, "juliet", 3), "jul");
	assert_string_equal(mk_arena_strndup(a, NULL, 0), "");
	assert_string_equal(mk_arena_printf(a, "%s@%d", "romeo", 7), "romeo@7");
	z = mk_arena_printf(a, "%03000d", 7);
	assert_int_equal(strlen(z), 3000);
	mk_arena_free(&a);
}

static void *take_over(void *arg)
{
	struct mk_arena *a = arg;

	mk_arena_strdup(a, "on another thread");
	mk_arena_free(&a);
	return NULL;
}

static void test_an_arena_may_end_on_another_thread(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct mk_arena *a = mk_arena_new();
		pthread_t t;

		memset(mk_arena_raw(a, 100), 1, 100);
		assert_int_equal(pthread_create(&t, NULL, take_over, a), 0);
		pthread_join(t, NULL);
	}
}

static void test_a_buffer_grows(void **state)
{
	struct mk_buf b = { 0 };

	(void)state;
	assert_string_equal(mk_buf_z(&b), "");
	for (int i = 0; i < 1000; i++)
		mk_buf_printf(&b, "%d,", i);
	MK_BUF_LIT(&b, "end");
	mk_buf_addc(&b, '.');
	mk_buf_addz(&b, "x");
	assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4 + 5);
	assert_string_equal(mk_buf_z(&b) + b.n - 5, "end.x");
	assert_memory_equal(b.p, "0,1,2,", 6);
	mk_buf_clear(&b);
	mk_buf_printf(&b, "%s", "");
	assert_int_equal(b.n, 0);
	mk_buf_free(&b);
	assert_null(b.p);
	/* The exact fit, where vsnprintf's NUL needs one byte more. */
	for (int n = 60; n < 68; n++) {
		mk_buf_printf(&b, "%0*d", n, 1);
		assert_int_equal(b.n, n);
		assert_int_equal(b.p[n - 1], '1');
		mk_buf_free(&b);
	}
}

static void test_shared_bytes_are_counted(void **state)
{
	struct mk_shared *s = mk_shared_new("abc", 3), *t = mk_shared_ref(s);

	(void)state;
	assert_int_equal(s->n, 3);
	assert_memory_equal(s->bytes, "abc", 3);
	mk_shared_unref(&s);
	assert_null(s);
	assert_memory_equal(t->bytes, "abc", 3);
	mk_shared_unref(&t);
	mk_shared_unref(&t);
}

static void test_lists_keep_order(void **state)
{
	struct mk_list a, b, n[6] = { { NULL, NULL } };

	(void)state;
	mk_list_init(&a);
	mk_list_init(&b);
	assert_null(mk_list_pop(&a));
	assert_false(mk_list_linked(&n[0]));
	for (int i = 0; i < 3; i++)
		mk_list_push(&a, &n[i]);
	for (int i = 3; i < 6; i++)
		mk_list_push(&b, &n[i]);
	mk_list_move(&a, &b);
	assert_true(mk_list_empty(&b));
	mk_list_move(&a, &b);
	assert_true(mk_list_linked(&n[4]));
	mk_list_remove(&n[4]);
	mk_list_remove(&n[4]);
	assert_false(mk_list_linked(&n[4]));
	mk_list_unshift(&a, &n[4]);
	static const int order[] = { 4, 0, 1, 2, 3, 5 };
	int i = 0;
	MK_LIST_EACH(at, &a) {
		assert_ptr_equal(at, &n[order[i++]]);
		mk_list_remove(at);
	}
	assert_int_equal(i, 6);
	assert_true(mk_list_empty(&a));
}

static void test_a_wipe_reaches_all_that_was_allocated(void **state)
{
	void *extra;
	struct mk_arena *a = mk_arena_new_with(24, &extra);
	char *p[4] = { extra, mk_arena_strdup(a, "secret"), mk_arena_alloc(a, 5000), NULL };

	(void)state;
	for (int i = 0; i < 40; i++)
		p[3] = mk_arena_strdup(a, "one more secret in another chunk");
	memset(p[0], 's', 24);
	memset(p[2], 's', 5000);
	mk_arena_wipe(a);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < (int[]){ 24, 7, 5000, 33 }[i]; k++)
			assert_int_equal(p[i][k], 0);
	/* It is still an arena. */
	assert_string_equal(mk_arena_strdup(a, "next"), "next");
	mk_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_aligned_zeroed_and_apart),
		cmocka_unit_test(test_reset_gives_back_all_but_one_chunk),
		cmocka_unit_test(test_an_arena_survives_its_own_reset),
		cmocka_unit_test(test_text_in_an_arena),
		cmocka_unit_test(test_a_wipe_reaches_all_that_was_allocated),
		cmocka_unit_test(test_an_arena_may_end_on_another_thread),
		cmocka_unit_test(test_a_buffer_grows),
		cmocka_unit_test(test_shared_bytes_are_counted),
		cmocka_unit_test(test_lists_keep_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
