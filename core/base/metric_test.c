/*
 * base/metric_test.c - counting on many threads, and the OpenMetrics text
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/metric.h"

static void test_a_name_with_its_labels_is_one_series(void **state)
{
	uint32_t a = mk_metric_id("t_a_total", "A", MK_COUNTER, NULL);
	uint32_t b = mk_metric_id("t_b_total", "B", MK_COUNTER, "type=\"x\"");

	(void)state;
	assert_true(a != 0 && b != 0 && a != b);
	assert_int_equal(mk_metric_id("t_a_total", "A", MK_COUNTER, NULL), a);
	assert_int_equal(mk_metric_id("t_b_total", "B", MK_COUNTER, "type=\"x\""), b);
	assert_true(mk_metric_id("t_b_total", "B", MK_COUNTER, "type=\"y\"") != b);
	assert_int_equal(mk_metric_id("t_b_total", "B", MK_GAUGE, "type=\"z\""), 0);
	mk_metric_bump(0, 1);
	mk_metric_see(0, 1);
	mk_metric_bump(a, 2);
	mk_metric_bump(a, 3);
	mk_metric_bump(b, -1);
	assert_int_equal(mk_metric_value(a), 5);
	assert_int_equal(mk_metric_value(b), -1);
}

enum { THREADS = 4, TIMES = 20000 };
static uint32_t counter, histogram;

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < TIMES; i++) {
		mk_metric_bump(counter, 1);
		mk_metric_see(histogram, i);
	}
	return NULL;
}

static void test_threads_are_summed_also_after_their_end(void **state)
{
	struct mk_buf b = { 0 };
	pthread_t t[THREADS];
	int64_t last = 0, now;

	(void)state;
	counter = mk_metric_id("t_threads_total", "T", MK_COUNTER, NULL);
	histogram = mk_metric_id("t_threads_usec", "T", MK_HISTOGRAM, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
	for (int i = 0; i < 50; i++) {                 /* reading meanwhile     */
		now = mk_metric_value(counter);
		assert_true(now >= last);
		last = now;
		mk_buf_clear(&b);
		mk_metrics_text(&b);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(mk_metric_value(counter), THREADS * TIMES);
	assert_int_equal(mk_metric_value(histogram), THREADS * TIMES);
	mk_buf_free(&b);
}

static void test_many_series_fit(void **state)
{
	char label[32];
	uint32_t id = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		snprintf(label, sizeof(label), "i=\"%d\"", i);
		id = mk_metric_id("t_many", "M", MK_GAUGE, label);
		assert_true(id != 0);
		mk_metric_bump(id, i);
		assert_int_equal(mk_metric_value(id), i);
	}
}

static uint32_t sampled;

static void sample(void *arg)
{
	mk_metric_set(sampled, *(const int *)arg);
}

static void test_text_is_openmetrics(void **state)
{
	static const int answer = 42;
	uint32_t c = mk_metric_id("u_sent_total", "Sent \"things\"\nand more", MK_COUNTER, "to=\"x\"");
	uint32_t h = mk_metric_id("u_wait_usec", "Wait", MK_HISTOGRAM, "p=\"q\"");
	struct mk_buf b = { 0 }, label = { 0 };
	static const int64_t values[] = { -5, 0, 1, 2, 3, 4, 5, INT64_C(1) << 40 };

	(void)state;
	mk_metric_label(&label, "a", MK_STR("x\"y\\z\n"));
	mk_metric_label(&label, "b", MK_STR(""));
	assert_string_equal(mk_buf_z(&label), "a=\"x\\\"y\\\\z\\n\",b=\"\"");
	mk_buf_free(&label);
	sampled = mk_metric_id("u_open_files", "Open", MK_GAUGE, NULL);
	mk_metric_on_read(sample, (void *)&answer);
	mk_metric_bump(c, 3);
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		mk_metric_see(h, values[i]);
	mk_metrics_text(&b);
	mk_buf_z(&b);
	assert_non_null(strstr(b.p, "# TYPE u_sent counter\n"
		"# HELP u_sent Sent \\\"things\\\"\\nand more\nu_sent_total{to=\"x\"} 3\n"));
	assert_non_null(strstr(b.p, "# TYPE u_open_files gauge\n# HELP u_open_files Open\nu_open_files 42\n"));
	assert_non_null(strstr(b.p, "# TYPE u_wait_usec histogram\n"));
	assert_non_null(strstr(b.p, "u_wait_usec_bucket{p=\"q\",le=\"1.0\"} 3\n"
		"u_wait_usec_bucket{p=\"q\",le=\"2.0\"} 4\n"
		"u_wait_usec_bucket{p=\"q\",le=\"4.0\"} 6\n"
		"u_wait_usec_bucket{p=\"q\",le=\"8.0\"} 7\n"));
	assert_non_null(strstr(b.p, "u_wait_usec_bucket{p=\"q\",le=\"134217728.0\"} 7\n"
		"u_wait_usec_bucket{p=\"q\",le=\"+Inf\"} 8\n"
		"u_wait_usec_count{p=\"q\"} 8\n"
		"u_wait_usec_sum{p=\"q\"} 1099511627786\n"));
	assert_string_equal(b.p + b.n - 6, "# EOF\n");
	mk_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_with_its_labels_is_one_series),
		cmocka_unit_test(test_threads_are_summed_also_after_their_end),
		cmocka_unit_test(test_many_series_fit),
		cmocka_unit_test(test_text_is_openmetrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
