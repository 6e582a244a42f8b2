/*
 * bench_test.c - the parts of meerkat-bench that need no server
 *
 * SCRAM is checked with the examples of RFC 5802 5 and RFC 7677 3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench.h"
#include "proc.h"
#include "stamp.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tokens ---- */

static const char stream[] =
	"<?xml version='1.0'?><stream:stream xmlns='jabber:client' id=\"a>b\">"
	"<stream:features><a/><b>x</b></stream:features>\n \n"
	"<iq id='1'/>"
	"<message from=\"o'hara@h/x>y\" id='2'><body>1 &lt; 2 > 0</body></message>"
	"<message><body><![CDATA[</message>]]></body><stream xmlns='x'><y/></stream></message>"
	"</stream:stream>";

static const struct { enum token_kind kind; const char *begin, *end; } expected[] = {
	{ TOKEN_OPEN, "<stream:stream xmlns", "\"a>b\">" },
	{ TOKEN_STANZA, "<stream:features><a/>", "</stream:features>" },
	{ TOKEN_STANZA, "<iq id='1'/>", "<iq id='1'/>" },
	{ TOKEN_STANZA, "<message from=", "> 0</body></message>" },
	{ TOKEN_STANZA, "<message><body><![", "<y/></stream></message>" },
	{ TOKEN_CLOSE, "</stream:stream>", "</stream:stream>" },
};

#define N_EXPECTED (sizeof(expected) / sizeof(expected[0]))

/* Takes all elements that are complete and moves the rest to the front. */
static void take_elements(struct token *t, char *buf, size_t *len, size_t *seen)
{
	size_t off = 0, begin, end;
	enum token_kind kind;

	while (off < *len) {
		kind = token_next(t, buf + off, *len - off, &begin, &end);
		if (kind != TOKEN_MORE) {
			const char *s = buf + off + begin;
			size_t n = end - begin;

			assert_true(*seen < N_EXPECTED);
			assert_int_equal(kind, expected[*seen].kind);
			assert_memory_equal(s, expected[*seen].begin,
			                    strlen(expected[*seen].begin));
			assert_memory_equal(s + n - strlen(expected[*seen].end),
			                    expected[*seen].end,
			                    strlen(expected[*seen].end));
			(*seen)++;
		}
		off += end;
		if (kind == TOKEN_MORE)
			break;
	}
	memmove(buf, buf + off, *len - off);
	*len -= off;
}

static void test_elements_are_found_however_the_bytes_are_split(void **state)
{
	size_t total = sizeof(stream) - 1;

	(void)state;
	for (size_t step = 1; step <= total; step++) {
		struct token t = { 0 };
		size_t len = 0, seen = 0;
		char *buf = malloc(total);

		for (size_t at = 0; at < total; at += step) {
			size_t n = total - at < step ? total - at : step;

			memcpy(buf + len, stream + at, n);
			len += n;
			take_elements(&t, buf, &len, &seen);
		}
		assert_int_equal(seen, N_EXPECTED);
		assert_int_equal(len, 0);
		free(buf);
	}
}

static void test_text_between_stanzas_is_refused(void **state)
{
	static const char *const bad[] = { "x", " x<iq/>", "<!DOCTYPE x ]]>" };
	size_t begin, end;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct token t = { 0 };

		assert_int_equal(token_next(&t, bad[i], strlen(bad[i]), &begin, &end),
		                 TOKEN_BAD);
	}
}

static void test_white_space_keep_alives_are_dropped(void **state)
{
	struct token t = { 0 };
	size_t begin, end;

	(void)state;
	assert_int_equal(token_next(&t, " \n\t ", 4, &begin, &end), TOKEN_MORE);
	assert_int_equal(end, 4);
}

static void test_attributes_of_the_start_tag_only(void **state)
{
	static const char s[] = "<iq type = 'get' id=\"it's\" ><x to='no'/></iq>";
	struct token_attr a;

	(void)state;
	assert_true(token_attr_find(s, sizeof(s) - 1, "type", &a));
	assert_int_equal(a.value_len, 3);
	assert_memory_equal(a.value, "get", 3);
	assert_true(token_attr_find(s, sizeof(s) - 1, "id", &a));
	assert_int_equal(a.value_len, 4);
	assert_memory_equal(a.value, "it's", 4);
	assert_int_equal(a.quote, '"');
	assert_false(token_attr_find(s, sizeof(s) - 1, "to", &a));
	assert_true(token_is(s, sizeof(s) - 1, "iq"));
	assert_false(token_is(s, sizeof(s) - 1, "i"));
	assert_false(token_is(s, 3, "iq"));
}

/* ---- histogram ---- */

static void test_quantiles_are_within_two_percent(void **state)
{
	struct hist *h = calloc(1, sizeof(*h));
	static const double q[] = { 0.01, 0.5, 0.9, 0.99, 0.999 };

	(void)state;
	for (uint64_t v = 1; v <= 1000000; v++)
		hist_add(h, v);
	for (size_t i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
		double want = q[i] * 1e6, got = (double)hist_quantile(h, q[i]);

		assert_true(got >= want);
		assert_true(got <= want * 1.016 + 1);
	}
	assert_int_equal(hist_quantile(h, 1), 1000000);
	assert_true(hist_mean(h) > 500000 && hist_mean(h) < 500001);
	free(h);
}

static void test_extreme_values_are_counted(void **state)
{
	struct hist *h = calloc(1, sizeof(*h));

	(void)state;
	assert_int_equal(hist_quantile(h, 0.5), 0);
	hist_add(h, 0);
	hist_add(h, 63);
	hist_add(h, 64);
	hist_add(h, UINT64_MAX);
	hist_add(h, (1ull << HIST_MAX_BITS) - 1);
	assert_int_equal(h->count, 5);
	assert_int_equal(hist_quantile(h, 0.1), 0);
	assert_int_equal(hist_quantile(h, 0.4), 63);
	assert_int_equal(hist_quantile(h, 0.6), 64);
	assert_true(hist_quantile(h, 1) == UINT64_MAX);
	free(h);
}

/* ---- SCRAM ---- */

static const struct {
	enum scram_hash hash;
	const char *nonce, *challenge, *reply, *proof;
} exchanges[] = {
	{ SCRAM_SHA1, "fyko+d2lbbFgONRv9qkxdawL",
	  "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
	  "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
	  "p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
	  "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=" },
	{ SCRAM_SHA256, "rOprNGfwEbeRWgbNEkqO",
	  "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
	  "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
	  "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
	  "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
	  "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
};

static void test_scram_examples_of_the_rfcs(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct scram s;
		struct scram_keys keys = { 0 };
		char out[SCRAM_TEXT_MAX];
		const char *challenge = exchanges[i].challenge, *proof = exchanges[i].proof;
		int n;

		/* the second round finds the keys kept by the first */
		for (int round = 0; round < 2; round++) {
			n = scram_first(&s, exchanges[i].hash, "user", exchanges[i].nonce,
			                out, sizeof(out));
			assert_int_equal(n, (int)strlen(out));
			assert_memory_equal(out, "n,,n=user,r=", 12);
			n = scram_final(&s, &keys, "pencil", challenge, strlen(challenge),
			                out, sizeof(out));
			assert_int_equal(n, (int)strlen(exchanges[i].reply));
			assert_string_equal(out, exchanges[i].reply);
			assert_int_equal(keys.iterations, 4096);
			assert_true(scram_verify(&s, proof, strlen(proof)));
			assert_true(s.is_verified);
			assert_false(scram_verify(&s, proof, strlen(proof) - 4));
			assert_false(s.is_verified);
		}
	}
}

static void test_malformed_challenges_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "r=abc", "r=abcdef,s=QSXCR+Q6sek8bf92", "r=abc,s=QSXCR+Q6sek8bf92,i=4096",
		"r=xyzabc,s=QSXCR+Q6sek8bf92,i=4096", "r=abcdef,s=Q,i=4096",
		"r=abcdef,s=QSXCR+Q6sek8bf92,i=0", "r=abcdef,s=,i=4096",
		"r=abcdef,s=QSXCR+Q6sek8bf92,i=99999999999",
		"m=x,r=abcdef,s=QSXCR+Q6sek8bf92,i=4096",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct scram s;
		struct scram_keys keys = { 0 };
		char out[SCRAM_TEXT_MAX];

		assert_true(scram_first(&s, SCRAM_SHA1, "user", "abc", out,
		                        sizeof(out)) > 0);
		assert_int_equal(scram_final(&s, &keys, "x", bad[i], strlen(bad[i]), out,
		                             sizeof(out)), -1);
		assert_false(scram_verify(&s, "v=", 2));
	}
}

static void test_base64_goes_there_and_back(void **state)
{
	static const struct { const char *raw, *text; } rows[] = {
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
	};
	static const char *const bad[] = { "Z", "Zg=", "Z===", "Zm9v!g==", "Zg==Zg==" };
	char out[32];
	int n;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		n = base64_encode(rows[i].raw, strlen(rows[i].raw), out, sizeof(out));
		assert_int_equal(n, (int)strlen(rows[i].text));
		assert_string_equal(out, rows[i].text);
		n = base64_decode(rows[i].text, strlen(rows[i].text), out, sizeof(out));
		assert_int_equal(n, (int)strlen(rows[i].raw));
		assert_memory_equal(out, rows[i].raw, (size_t)n);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out, sizeof(out)), -1);
	assert_int_equal(base64_encode("foo", 3, out, 4), -1);
	assert_int_equal(base64_decode("Zm9v", 4, out, 2), -1);
}

/* ---- options ---- */

static void test_names_are_made_from_formats(void **state)
{
	static const struct { const char *format, *want; } rows[] = {
		{ "user%d", "user42" }, { "u%05d.x", "u00042.x" }, { "100%%", "100%" },
		{ "same", "same" }, { "%s", NULL }, { "a%", NULL }, { "a b%d", NULL },
		{ "<%d", NULL }, { "a@%d", NULL },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int n = options_name(rows[i].format, 42, out, sizeof(out));

		if (!rows[i].want) {
			assert_int_equal(n, -1);
			continue;
		}
		assert_int_equal(n, (int)strlen(rows[i].want));
		assert_string_equal(out, rows[i].want);
	}
	assert_int_equal(options_name("user%d", 42, out, 7), 6);
	assert_int_equal(options_name("user%d", 42, out, 6), -1);
	assert_int_equal(options_name("user", 42, out, 4), -1);
}

static void test_defaults_follow_the_mode(void **state)
{
	char *idle[] = { "x", "idle", "--from", "5000", "--to", "19000", NULL };
	char *login[] = { "x", "login", "--concurrency", "8", "--server-pid", "12,34", NULL };
	char *muc[] = { "x", "muc", "--rooms", "3", "--occupants", "7", NULL };
	char *crowd[] = { "x", "muc", "--churn", "7", "--occupants", "7", NULL };
	struct options o;

	(void)state;
	assert_int_equal(options_read(&o, 6, idle), 0);
	assert_int_equal(o.sessions, 19000);
	assert_int_equal(o.slots, 19000);
	assert_true(o.presence);
	assert_int_equal(o.n_connect, 1);
	optind = 0;
	assert_int_equal(options_read(&o, 6, login), 0);
	assert_int_equal(o.slots, 8);
	assert_int_equal(o.users, 8);
	assert_false(o.presence);
	assert_int_equal(o.n_server_pid, 2);
	assert_int_equal(o.server_pid[1], 34);
	optind = 0;
	assert_int_equal(options_read(&o, 6, muc), 0);
	assert_int_equal(o.slots, 21);
	assert_int_equal(o.users, 21);
	assert_true(o.presence);
	optind = 0;
	assert_int_equal(options_read(&o, 6, crowd), -1);
}

static void test_stamps_go_there_and_back(void **state)
{
	char out[STAMP_LEN];
	uint64_t v;

	(void)state;
	stamp_write(out, STAMP_LEN, 0x0123456789abcdef);
	assert_memory_equal(out, "0123456789abcdef", STAMP_LEN);
	assert_true(stamp_read(out, STAMP_LEN, &v) && v == 0x0123456789abcdef);
	stamp_write(out, 4, 0x12345);
	assert_true(stamp_read(out, 4, &v) && v == 0x2345);
	assert_false(stamp_read("00g0", 4, &v));
	assert_false(stamp_read("00A0", 4, &v));
	assert_false(stamp_read("00:0", 4, &v));
}

static void test_own_process_can_be_measured(void **state)
{
	pid_t self[2] = { getpid(), getpid() };

	(void)state;
	assert_true(proc_cpu_us(self, 1) >= 0);
	assert_true(proc_pss_kib(self, 1) > 0);
	assert_true(proc_pss_kib(self, 2) > proc_pss_kib(self, 1));
	assert_true(proc_cpu_us(self, 0) == -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elements_are_found_however_the_bytes_are_split),
		cmocka_unit_test(test_text_between_stanzas_is_refused),
		cmocka_unit_test(test_white_space_keep_alives_are_dropped),
		cmocka_unit_test(test_attributes_of_the_start_tag_only),
		cmocka_unit_test(test_quantiles_are_within_two_percent),
		cmocka_unit_test(test_extreme_values_are_counted),
		cmocka_unit_test(test_scram_examples_of_the_rfcs),
		cmocka_unit_test(test_malformed_challenges_are_refused),
		cmocka_unit_test(test_base64_goes_there_and_back),
		cmocka_unit_test(test_names_are_made_from_formats),
		cmocka_unit_test(test_defaults_follow_the_mode),
		cmocka_unit_test(test_stamps_go_there_and_back),
		cmocka_unit_test(test_own_process_can_be_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
