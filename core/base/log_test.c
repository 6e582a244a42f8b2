/*
 * base/log_test.c - how lines look, and where they go
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/metric.h"

static struct mk_buf line;
static int lines;

static void keep(const char *p, size_t n)
{
	assert_int_equal(p[n], '\0');
	assert_null(memchr(p, '\n', n));
	assert_int_equal(strlen(p), n);
	mk_buf_clear(&line);
	mk_buf_add(&line, p, n);
	mk_buf_z(&line);
	lines++;
}

/* What follows the time; it is checked to be one. */
static const char *rest(void)
{
	int64_t ms;

	assert_memory_equal(line.p, "time=", 5);
	assert_int_equal(mk_time_parse((struct mk_str){ line.p + 5, 24 }, &ms), 0);
	return line.p + 29;
}

static int start(void **state)
{
	(void)state;
	assert_int_equal(mk_log_open(NULL, MK_LOG_LOGFMT, MK_INFO), 0);
	mk_log_capture(keep);
	lines = 0;
	return 0;
}

static int end(void **state)
{
	(void)state;
	mk_log_capture(NULL);
	mk_log_set_context(NULL);
	mk_buf_free(&line);
	return 0;
}

static void test_values_are_quoted_as_needed(void **state)
{
	static const struct { const char *value, *shown; } t[] = {
		{ "juliet", "juliet" }, { "", "\"\"" }, { "two words", "\"two words\"" },
		{ "a=b", "\"a=b\"" }, { "a\"b", "\"a\\\"b\"" }, { "a\\b", "\"a\\\\b\"" },
		{ "x\nlevel=error msg=forged", "\"x\\nlevel=error msg=forged\"" },
		{ "\r\t", "\"\\r\\t\"" }, { "\x1b[31m", "\"\\x1b[31m\"" }, { "\x7f", "\"\\x7f\"" },
		{ "caf\xc3\xa9", "\"caf\xc3\xa9\"" }, { "\xc2\x9b", "\"\\x9b\"" },
		{ "\xff\xc3", "\"\\xff\\xc3\"" }, { "user=%s", "\"user=%s\"" },
	};
	char want[128];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		mk_log(NULL, MK_INFO, "a thing happened", "v=%s n=%d", t[i].value, 7);
		snprintf(want, sizeof(want), " level=info msg=\"a thing happened\" v=%s n=7", t[i].shown);
		assert_string_equal(rest(), want);
	}
}

static void test_every_conversion(void **state)
{
	(void)state;
	mk_log(NULL, MK_WARN, "x", "a=%d b=%u c=%ld d=%lld e=%zu f=%x g=%5.2f h=%c i=%.*s j=%%",
	       -1, 2u, -3L, -4LL, (size_t)5, 0xabu, 6.789, 'q', 3, "abcdef");
	assert_string_equal(rest(), " level=warn msg=x a=-1 b=2 c=-3 d=-4 e=5 f=ab g=\" 6.79\" h=q i=abc j=%");
	mk_log(NULL, MK_WARN, "x", "a=%s:%d b=[%s] c=%08llx d=%*d e=%hhd", "::1", 5222, "y z", 255ULL, 4, 7, (signed char)44);
	assert_string_equal(rest(), " level=warn msg=x a=::1:5222 b=\"[y z]\" c=000000ff d=\"   7\" e=44");
	errno = ENOENT;
	mk_log(NULL, MK_WARN, "x", "why=%m p=%p", NULL);
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(rest(), "why=\"No such file or directory\" p="));
	mk_log(NULL, MK_WARN, "x", "  k=v   %d  ", 1);
	assert_string_equal(rest(), " level=warn msg=x k=v value=1");
	mk_log(NULL, MK_WARN, "x", NULL);
	assert_string_equal(rest(), " level=warn msg=x");
}

static void test_long_values_are_cut_between_characters(void **state)
{
	char big[MK_LOG_VALUE_MAX * 3];

	(void)state;
	for (size_t i = 0; i < sizeof(big) - 1; i += 3)
		memcpy(big + i, "\xe2\x82\xac", 3);
	big[sizeof(big) - 1] = '\0';
	big[sizeof(big) - 2] = '\0';
	mk_log(NULL, MK_INFO, "x", "v=%s", big);
	assert_true(line.n < MK_LOG_VALUE_MAX + 80);
	assert_true(mk_utf8_valid(line.p, line.n));
	assert_null(strstr(line.p, "\\x"));
	assert_string_equal(line.p + line.n - 7, "\xe2\x82\xac...\"");
}

static void test_levels(void **state)
{
	(void)state;
	assert_false(mk_log_enabled(MK_DEBUG));
	mk_log(NULL, MK_DEBUG, "not seen", NULL);
	assert_int_equal(lines, 0);
	mk_log_set_level(MK_DEBUG);
	assert_int_equal(mk_log_level(), MK_DEBUG);
	mk_log(NULL, MK_DEBUG, "seen", NULL);
	assert_int_equal(lines, 1);
	mk_log_set_level(MK_ERROR);
	mk_log(NULL, MK_WARN, "not seen", NULL);
	assert_int_equal(lines, 1);
	for (int l = MK_ERROR; l <= MK_DEBUG; l++)
		assert_int_equal(mk_log_level_parse(mk_strz(mk_log_level_name((enum mk_level)l))), l);
	assert_int_equal(mk_log_level_parse(MK_STR("loud")), -MK_EINVAL);
}

static void test_json_lines_are_json(void **state)
{
	json_t *j;

	(void)state;
	assert_int_equal(mk_log_open(NULL, MK_LOG_JSON, MK_INFO), 0);
	mk_log(NULL, MK_NOTICE, "it's \"so\"", "user=%s n=%d share=%d%% mixed=%s:%d",
	       "a\"\\\n\x01\xc2\x9b\xff\xe2\x82\xac", -7, 50, "h", 1);
	j = json_loads(line.p, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "level")), "notice");
	assert_string_equal(json_string_value(json_object_get(j, "msg")), "it's \"so\"");
	assert_string_equal(json_string_value(json_object_get(j, "user")),
	                    "a\"\\\n\x01\xc2\x9b\xef\xbf\xbd\xe2\x82\xac");
	assert_int_equal(json_integer_value(json_object_get(j, "n")), -7);
	assert_true(json_is_integer(json_object_get(j, "n")));
	assert_string_equal(json_string_value(json_object_get(j, "share")), "50%");
	assert_string_equal(json_string_value(json_object_get(j, "mixed")), "h:1");
	json_decref(j);
}

static void context(const struct mk_inst *i, struct mk_buf *fields)
{
	mk_log(i, MK_ERROR, "a context must not log", NULL);
	mk_log_field(fields, "domain", MK_STR("example.org"));
	mk_log_field(fields, "session", MK_STR("a b"));
	mk_log_field(fields, "none", MK_STR_NONE);
}

static void test_context_comes_before_the_fields(void **state)
{
	json_t *j;

	(void)state;
	mk_log_set_context(context);
	mk_log(NULL, MK_INFO, "x", "k=v");
	assert_int_equal(lines, 1);
	assert_string_equal(rest(), " level=info msg=x domain=example.org session=\"a b\" none=\"\" k=v");
	assert_int_equal(mk_log_open(NULL, MK_LOG_JSON, MK_INFO), 0);
	mk_log(NULL, MK_INFO, "x", "k=v");
	j = json_loads(line.p, JSON_REJECT_DUPLICATES, NULL);
	assert_string_equal(json_string_value(json_object_get(j, "session")), "a b");
	json_decref(j);
}

static char dir[64], path[96], moved[96];

static void read_file(const char *name, char *out, size_t size)
{
	int fd = open(name, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, out, size - 1);
	assert_true(n >= 0);
	out[n] = '\0';
	close(fd);
}

static void test_a_file_can_be_rotated(void **state)
{
	char text[4096];

	(void)state;
	mk_log_capture(NULL);
	snprintf(dir, sizeof(dir), "/tmp/meerkat-log-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/log.1", dir);
	assert_int_equal(mk_log_open(path, MK_LOG_LOGFMT, MK_INFO), 0);
	mk_log(NULL, MK_INFO, "first", NULL);
	assert_int_equal(rename(path, moved), 0);
	mk_log(NULL, MK_INFO, "second", NULL);
	assert_int_equal(mk_log_reopen(), 0);
	mk_log(NULL, MK_INFO, "third", NULL);
	assert_int_equal(mk_log_open("/nonexistent/log", MK_LOG_JSON, MK_INFO), -MK_EIO);
	mk_log(NULL, MK_INFO, "fourth", NULL);
	read_file(moved, text, sizeof(text));
	assert_non_null(strstr(text, "msg=first\n"));
	assert_non_null(strstr(text, "msg=second\n"));
	read_file(path, text, sizeof(text));
	assert_null(strstr(text, "msg=second"));
	assert_non_null(strstr(text, "msg=third\n"));
	assert_non_null(strstr(text, "msg=fourth\n"));
	unlink(path);
	unlink(moved);
	rmdir(dir);
}

static void test_a_full_disk_loses_lines_and_counts_them(void **state)
{
	uint32_t lost = mk_metric_id("meerkat_log_lost_lines_total", NULL, MK_COUNTER, NULL);

	(void)state;
	mk_log_capture(NULL);
	if (access("/dev/full", W_OK) != 0)
		skip();
	assert_int_equal(mk_log_open("/dev/full", MK_LOG_LOGFMT, MK_INFO), 0);
	mk_log(NULL, MK_INFO, "lost", NULL);
	mk_log(NULL, MK_INFO, "lost", NULL);
	assert_int_equal(mk_metric_value(lost), 2);
}

static void test_journal_lines_carry_a_priority(void **state)
{
	char stream[64], text[512];
	int fd[2], saved = dup(STDERR_FILENO);
	struct stat st;
	ssize_t n;

	(void)state;
	mk_log_capture(NULL);
	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], STDERR_FILENO);
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
	         (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_int_equal(mk_log_open(NULL, MK_LOG_LOGFMT, MK_INFO), 0);
	mk_log(NULL, MK_ERROR, "x", NULL);
	n = read(fd[0], text, sizeof(text) - 1);
	dup2(saved, STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	assert_true(n > 0);
	text[n] = '\0';
	assert_memory_equal(text, "<3>time=", 8);
	assert_string_equal(text + n - 7, " msg=x\n");
	close(fd[0]);
	close(fd[1]);
	close(saved);
	assert_int_equal(mk_log_open(NULL, MK_LOG_LOGFMT, MK_INFO), 0);
}

static void *log_much(void *arg)
{
	for (int i = 0; i < 500; i++)
		mk_log(NULL, MK_INFO, "many threads", "who=%s i=%d", (const char *)arg, i);
	return NULL;
}

static void test_lines_of_many_threads_do_not_mix(void **state)
{
	static char text[1 << 20];
	pthread_t t[4];
	int n = 0;

	(void)state;
	mk_log_capture(NULL);
	snprintf(path, sizeof(path), "/tmp/meerkat-log-%ld", (long)getpid());
	assert_int_equal(mk_log_open(path, MK_LOG_LOGFMT, MK_INFO), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, log_much, "a thread"), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	read_file(path, text, sizeof(text));
	unlink(path);
	for (char *p = text, *q; *p != '\0'; p = q + 1, n++) {
		q = strchr(p, '\n');
		assert_non_null(q);
		assert_memory_equal(p, "time=", 5);
		assert_memory_equal(p + 29, " level=info msg=\"many threads\" who=\"a thread\" i=", 48);
	}
	assert_int_equal(n, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_values_are_quoted_as_needed, start, end),
		cmocka_unit_test_setup_teardown(test_every_conversion, start, end),
		cmocka_unit_test_setup_teardown(test_long_values_are_cut_between_characters, start, end),
		cmocka_unit_test_setup_teardown(test_levels, start, end),
		cmocka_unit_test_setup_teardown(test_json_lines_are_json, start, end),
		cmocka_unit_test_setup_teardown(test_context_comes_before_the_fields, start, end),
		cmocka_unit_test_setup_teardown(test_a_file_can_be_rotated, start, end),
		cmocka_unit_test_setup_teardown(test_a_full_disk_loses_lines_and_counts_them, start, end),
		cmocka_unit_test_setup_teardown(test_journal_lines_carry_a_priority, start, end),
		cmocka_unit_test_setup_teardown(test_lines_of_many_threads_do_not_mix, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
