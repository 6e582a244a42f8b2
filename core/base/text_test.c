/*
 * base/text_test.c - base64, dates, numbers, UTF-8, tokens, unique numbers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <meerkat/types.h>
#include "base/uid.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static void test_base64_of_rfc_4648(void **state)
{
	static const struct { const char *plain, *text; } ten[] = {
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
		{ "\x14\xfb\x9c\x03\xd9\x7e", "FPucA9l+" }, { "\x14\xfb\x9c\x03\xd9", "FPucA9k=" },
		{ "\xff\xef\xbe", "/+++" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < COUNT(ten); i++) {
		size_t n = strlen(ten[i].plain);

		assert_int_equal(mk_base64_encode(out, ten[i].plain, n), strlen(ten[i].text));
		assert_string_equal(out, ten[i].text);
		assert_int_equal(mk_base64_decode(out, ten[i].text, strlen(ten[i].text)), n);
		assert_memory_equal(out, ten[i].plain, n);
	}
}

static void test_base64_decoding_is_strict(void **state)
{
	static const char *const bad[] = {
		"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=Zg=", "====", "Z===", "Zg=a", "Zg==Zg==",
		"Zm 9v", "Zm9v\n", "Zm9-", "Zm9_", "Zm\x80v", "Zm9vYg=", "Zm9vY===", "Zm9vYmFy=",
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(mk_base64_decode(out, bad[i], strlen(bad[i])), -MK_EINVAL);
	assert_int_equal(mk_base64_decode(out, "Zm\0v", 4), -MK_EINVAL);
	assert_int_equal(mk_base64_decode(out, NULL, 0), 0);
}

static void test_base64_round_trip(void **state)
{
	unsigned char in[300], back[301];
	char text[401];

	(void)state;
	mk_random(in, sizeof(in));
	for (size_t n = 0; n <= sizeof(in); n++) {
		size_t len = mk_base64_encode(text, in, n);

		assert_int_equal(len, (n + 2) / 3 * 4);
		assert_int_equal(mk_base64_decode(back, text, len), n);
		assert_memory_equal(in, back, n);
	}
}

static void test_dates_of_xep_0082(void **state)
{
	static const struct { const char *text; int64_t ms; } good[] = {
		{ "1969-07-21T02:56:15Z", INT64_C(-14159025000) },
		{ "1969-07-20T21:56:15-05:00", INT64_C(-14159025000) },
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T23:59:59.9Z", INT64_C(951868799900) },
		{ "2026-11-24T09:15:00.123Z", INT64_C(1795511700123) },
		{ "2026-11-24T09:15:00.123456789Z", INT64_C(1795511700123) },
		{ "2026-11-24T11:15:00+02:00", INT64_C(1795511700000) },
		{ "2016-12-31T23:59:60Z", INT64_C(1483228800000) },
		{ "0000-01-01T00:00:00Z", INT64_C(-62167219200000) },
		{ "9999-12-31T23:59:59.999Z", INT64_C(253402300799999) },
	};
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		ms = 1;
		assert_int_equal(mk_time_parse(mk_strz(good[i].text), &ms), 0);
		assert_true(ms == good[i].ms);
	}
}

static void test_what_is_no_date(void **state)
{
	static const char *const bad[] = {
		"", "2026", "2026-11-24", "2026-11-24T09:15:00", "2026-11-24T09:15Z", "20261124T09:15:00Z",
		"2026-13-24T09:15:00Z", "2026-00-24T09:15:00Z", "2026-11-31T09:15:00Z", "2026-11-00T09:15:00Z",
		"2026-02-29T09:15:00Z", "1900-02-29T09:15:00Z", "2026-11-24T24:00:00Z", "2026-11-24T09:60:00Z",
		"2026-11-24T09:15:61Z", "2026-11-24T09:15:00.Z", "2026-11-24T09:15:00ZZ", "2026-11-24T09:15:00+2:00",
		"2026-11-24T09:15:00+02", "2026-11-24T09:15:00+15:00", "2026-11-24T09:15:00+02:60",
		"2026-11-24 09:15:00Z", "2026-11-24t09:15:00z", " 2026-11-24T09:15:00Z", "-026-11-24T09:15:00Z",
		"2026-1-24T09:15:00Z", "2026-11-24T09:15:0/Z",
	};
	int64_t ms = 77;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(mk_time_parse(mk_strz(bad[i]), &ms), -MK_EINVAL);
	assert_int_equal(mk_time_parse(MK_STR_NONE, &ms), -MK_EINVAL);
	assert_int_equal(ms, 77);
}

static void test_dates_round_trip(void **state)
{
	static const int64_t min = INT64_C(-62167219200000), max = INT64_C(253402300799999);
	char out[32];
	int64_t ms, back;

	(void)state;
	mk_time_format(out, INT64_C(1795511700123));
	assert_string_equal(out, "2026-11-24T09:15:00.123Z");
	mk_time_format(out, -1);
	assert_string_equal(out, "1969-12-31T23:59:59.999Z");
	mk_time_format(out, INT64_MAX);
	assert_string_equal(out, "9999-12-31T23:59:59.999Z");
	mk_time_format(out, INT64_MIN);
	assert_string_equal(out, "0000-01-01T00:00:00.000Z");
	for (ms = min; ms < max; ms += INT64_C(8640012345)) {
		mk_time_format(out, ms);
		assert_int_equal(mk_time_parse(mk_strz(out), &back), 0);
		assert_true(back == ms);
	}
}

static void test_numbers(void **state)
{
	static const struct { const char *text; int64_t min, max; bool ok; int64_t v; } t[] = {
		{ "0", 0, 10, true, 0 }, { "10", 0, 10, true, 10 }, { "11", 0, 10, false, 0 },
		{ "007", 0, 10, true, 7 }, { "-0", 0, 10, false, 0 }, { "-0", -1, 10, true, 0 },
		{ "-1", 0, 10, false, 0 }, { "-1", -1, 10, true, -1 }, { "+1", -1, 10, false, 0 },
		{ "", 0, 10, false, 0 }, { "-", -1, 10, false, 0 }, { " 1", 0, 10, false, 0 },
		{ "1 ", 0, 10, false, 0 }, { "1x", 0, 10, false, 0 }, { "--1", -9, 10, false, 0 },
		{ "1.0", 0, 10, false, 0 }, { "4", 5, 10, false, 0 },
		{ "9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX },
		{ "9223372036854775808", INT64_MIN, INT64_MAX, false, 0 },
		{ "-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN },
		{ "-9223372036854775809", INT64_MIN, INT64_MAX, false, 0 },
		{ "18446744073709551617", INT64_MIN, INT64_MAX, false, 0 },
		{ "99999999999999999999999999", INT64_MIN, INT64_MAX, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(t); i++) {
		int64_t v = 77;

		assert_int_equal(mk_parse_int(mk_strz(t[i].text), t[i].min, t[i].max, &v),
		                 t[i].ok ? 0 : -MK_EINVAL);
		assert_true(v == (t[i].ok ? t[i].v : 77));
	}
}

static void test_utf8_of_rfc_3629(void **state)
{
	static const struct { const char *text; bool ok; } t[] = {
		{ "", true }, { "plain text, longer than eight", true },
		{ "\x41\xE2\x89\xA2\xCE\x91\x2E", true },
		{ "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4", true },
		{ "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", true },
		{ "\xEF\xBB\xBF\xF0\xA3\x8E\xB4", true },
		{ "\xC2\x80", true }, { "\xDF\xBF", true }, { "\xE0\xA0\x80", true },
		{ "\xED\x9F\xBF", true }, { "\xEE\x80\x80", true }, { "\xEF\xBF\xBF", true },
		{ "\xF0\x90\x80\x80", true }, { "\xF4\x8F\xBF\xBF", true },
		{ "\xC0\x80", false }, { "\xC1\xBF", false }, { "\xE0\x9F\xBF", false },
		{ "\xF0\x8F\xBF\xBF", false },                         /* overlong  */
		{ "\xED\xA0\x80", false }, { "\xED\xBF\xBF", false },  /* surrogates */
		{ "\xF4\x90\x80\x80", false }, { "\xF5\x80\x80\x80", false },
		{ "\xFE", false }, { "\xFF", false }, { "\x80", false }, { "\xBF", false },
		{ "\xC2", false }, { "\xE2\x89", false }, { "\xF0\xA3\x8E", false },
		{ "\xC2\x41", false }, { "\xE2\x89\x41", false }, { "\xF0\xA3\x8E\x41", false },
		{ "\xE2\x41\x89", false }, { "\xF0\x41\x8E\xB4", false },
		{ "1234567\xC2", false }, { "12345678\x80" "1234567", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(t); i++) {
		size_t n = strlen(t[i].text);
		char *exact = malloc(n + 1);           /* so that ASan sees a step too far */

		memcpy(exact, t[i].text, n);
		assert_int_equal(mk_utf8_valid(exact, n), t[i].ok);
		free(exact);
	}
	assert_true(mk_utf8_valid("a\0b", 3));
	assert_true(mk_utf8_valid(NULL, 0));
}

static void test_comparing_in_constant_time(void **state)
{
	(void)state;
	assert_true(mk_equal_ct("secret", "secret", 6));
	assert_false(mk_equal_ct("secret", "Secret", 6));
	assert_false(mk_equal_ct("secret", "secreT", 6));
	assert_true(mk_equal_ct("a", "b", 0));
}

static void test_tokens_are_base32_and_differ(void **state)
{
	char a[64], b[64];

	(void)state;
	for (size_t bytes = 16; bytes <= 32; bytes++) {
		mk_token(a, 8 * bytes / 5 + 2, bytes);
		mk_token(b, sizeof(b), bytes);
		assert_int_equal(strlen(a), (8 * bytes + 4) / 5);
		assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyz234567"), strlen(a));
		assert_string_not_equal(a, b);
	}
}

enum { UIDS = 20000, UID_THREADS = 4 };

static void *make_uids(void *arg)
{
	int64_t *out = arg;

	for (int i = 0; i < UIDS; i++)
		out[i] = mk_uid();
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void test_numbers_are_unique_and_grow(void **state)
{
	static int64_t all[UID_THREADS * UIDS];
	pthread_t t[UID_THREADS];
	int64_t before = mk_wall_ms(), uid;

	(void)state;
	mk_uid_set_node(1023);
	uid = mk_uid();
	assert_true(uid > 0);
	assert_int_equal(uid >> 12 & 1023, 1023);
	assert_true(mk_uid_wall_ms(uid) >= before && mk_uid_wall_ms(uid) <= mk_wall_ms() + 1);
	assert_true(mk_uid_at(before) <= uid && mk_uid_at(before + 60000) > uid);
	for (int i = 0; i < UID_THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, make_uids, all + i * UIDS), 0);
	for (int i = 0; i < UID_THREADS; i++) {
		pthread_join(t[i], NULL);
		for (int k = 1; k < UIDS; k++)
			assert_true(all[i * UIDS + k] > all[i * UIDS + k - 1]);
	}
	qsort(all, UID_THREADS * UIDS, sizeof(*all), by_value);
	for (int i = 1; i < UID_THREADS * UIDS; i++)
		assert_true(all[i] != all[i - 1]);
}

static void test_every_error_has_a_name(void **state)
{
	(void)state;
	for (int i = 1; i <= MK_ETIMEOUT; i++) {
		assert_string_not_equal(mk_strerror(-i), "unknown error");
		assert_ptr_equal(mk_strerror(-i), mk_strerror(i));
	}
	assert_string_equal(mk_strerror(-MK_ENOENT), "no such thing");
	assert_string_equal(mk_strerror(1000), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64_of_rfc_4648),
		cmocka_unit_test(test_base64_decoding_is_strict),
		cmocka_unit_test(test_base64_round_trip),
		cmocka_unit_test(test_dates_of_xep_0082),
		cmocka_unit_test(test_what_is_no_date),
		cmocka_unit_test(test_dates_round_trip),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_utf8_of_rfc_3629),
		cmocka_unit_test(test_comparing_in_constant_time),
		cmocka_unit_test(test_tokens_are_base32_and_differ),
		cmocka_unit_test(test_numbers_are_unique_and_grow),
		cmocka_unit_test(test_every_error_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
