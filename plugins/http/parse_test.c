/*
 * http/parse_test.c - what is a request, and what is not
 *
 * Every row also cut at every byte: until it is complete the answer is "not
 * yet", or the refusal that the whole gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "parse.h"

#define H "Host: example.org\r\n"
#define END "\r\n"

static int parse(const char *z, size_t n, struct http_head *h)
{
	int whole = http_head_parse(z, n, h);

	for (size_t i = 0; i < n; i++) {
		struct http_head part;
		int r = http_head_parse(z, i, &part);
		if (r != 0 && r != whole)
			fail_msg("%zu bytes of '%s': %d, all of them: %d", i, z, r, whole);
	}
	return whole;
}

static const struct { const char *in; int expected; } rows[] = {
	{ "GET / HTTP/1.1\r\n" H END, 0 },
	{ "GET /a?b=c&d HTTP/1.1\r\n" H "X-Empty:\r\n" "x:\t y \t\r\n" END, 0 },
	{ "GET http://example.org/a HTTP/1.1\r\n" H END, 0 },
	{ "OPTIONS * HTTP/1.1\r\n" H END, 0 },
	{ "CONNECT example.org:443 HTTP/1.1\r\n" H END, 0 },
	{ "GET / HTTP/1.0\r\n" END, 0 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n" END, 0 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n" END, 0 },
	{ "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n" END, 0 },
	{ "GET / HTTP/1.1\r\nHost:\r\n" END, 0 },
	/* request line */
	{ "\r\nGET / HTTP/1.1\r\n" H END, -400 },
	{ "GET  / HTTP/1.1\r\n" H END, -400 },
	{ "GET /  HTTP/1.1\r\n" H END, -400 },
	{ "GET\t/ HTTP/1.1\r\n" H END, -400 },
	{ " GET / HTTP/1.1\r\n" H END, -400 },
	{ "GET / HTTP/1.1 \r\n" H END, -400 },
	{ "GET / http/1.1\r\n" H END, -400 },
	{ "GET / HTTP/1.10\r\n" H END, -400 },
	{ "GET / HTTP/2.0\r\n" H END, -505 },
	{ "GET /\r\n" END, -400 },
	{ "GET a HTTP/1.1\r\n" H END, -400 },
	{ "GET * HTTP/1.1\r\n" H END, -400 },
	{ "GET ftp://example.org/ HTTP/1.1\r\n" H END, -400 },
	{ "GET /a b HTTP/1.1\r\n" H END, -400 },
	{ "GET /\"<> HTTP/1.1\r\n" H END, -400 },
	{ "GET /\xc3\xa4 HTTP/1.1\r\n" H END, -400 },
	{ "GET /#x HTTP/1.1\r\n" H END, -400 },
	{ "G(T / HTTP/1.1\r\n" H END, -400 },
	{ "CONNECT / HTTP/1.1\r\n" H END, -400 },
	/* line ends */
	{ "GET / HTTP/1.1\n" H END, -400 },
	{ "GET / HTTP/1.1\r\nHost: example.org\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X: a\rb\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X: a\r\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "\n", -400 },
	/* fields */
	{ "GET / HTTP/1.1\r\n" H "X : a\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H ": a\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H " folded\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X: a\r\n\tfolded: b\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n X: first\r\n" H END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X: a\x01\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H "X\xe9: a\r\n" END, -400 },
	/* Host */
	{ "GET / HTTP/1.1\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\n" H H END, -400 },
	{ "GET / HTTP/1.1\r\n" H "host: other.org\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: user@example.org\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: a:80:80\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: a:http\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: [::1\r\n" END, -400 },
	{ "GET / HTTP/1.1\r\nHost: :80\r\n" END, -400 },
	/* where it ends (S-11) */
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length:\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n" END, -413 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END,
	  -400 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n" END, -501 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n" END, -501 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n" END, -501 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n" END, -501 },
	{ "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n" END, -400 },
	{ "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n" END, -417 },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_head h;
		size_t n = strlen(rows[i].in);
		int r = parse(rows[i].in, n, &h), expected = rows[i].expected;
		if (r != (expected == 0 ? (int)n : expected))
			fail_msg("'%s': %d", rows[i].in, r);
	}
}

static void test_a_nul_is_no_text(void **state)
{
	static const char in[] = "GET / HTTP/1.1\r\n" H "X: a\0b\r\n" END;
	struct http_head h;

	(void)state;
	assert_int_equal(parse(in, sizeof in - 1, &h), -400);
}

static void test_parts(void **state)
{
	static const char in[] = "POST http://example.org:80/a/b?q=1 HTTP/1.1\r\nHost: other.org\r\n"
		"Connection: keep-alive, Upgrade\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody";
	struct http_head h;

	(void)state;
	assert_int_equal(http_head_parse(in, sizeof in - 1, &h), sizeof in - 1 - 4);
	assert_true(mk_str_eqz(h.method, "POST"));
	assert_true(mk_str_eqz(h.authority, "example.org:80"));
	assert_true(mk_str_eqz(h.path, "/a/b"));
	assert_true(mk_str_eqz(h.query, "q=1"));
	assert_int_equal(h.length, 12);
	assert_true(h.wants_continue && h.wants_upgrade && h.keep_alive);
	assert_true(mk_str_eqz(*http_head_field(&h, "HOST"), "other.org"));
	assert_null(http_head_field(&h, "X"));
}

static void test_a_head_is_limited(void **state)
{
	static char in[2 * HTTP_HEAD_MAX];
	struct http_head h;
	size_t n;

	(void)state;
	memset(in, 'a', sizeof in);
	assert_int_equal(http_head_parse(in, HTTP_HEAD_MAX - 1, &h), 0);
	assert_int_equal(http_head_parse(in, HTTP_HEAD_MAX, &h), -414);
	n = (size_t)snprintf(in, sizeof in, "GET / HTTP/1.1\r\n");
	in[n] = 'a';
	assert_int_equal(http_head_parse(in, sizeof in, &h), -431);
	for (int i = 0; i < HTTP_FIELDS; i++)
		n += (size_t)snprintf(in + n, sizeof in - n, "%s: a\r\n", i == 0 ? "Host" : "X");
	snprintf(in + n, sizeof in - n, "\r\n");
	assert_int_equal(http_head_parse(in, n + 2, &h), n + 2);
	snprintf(in + n, sizeof in - n, "X: a\r\n\r\n");
	assert_int_equal(http_head_parse(in, n + 8, &h), -431);
}

static void test_paths(void **state)
{
	static const struct { const char *in, *out; } paths[] = {
		{ "/", "/" }, { "/a%20b", "/a b" }, { "/%41", "/A" }, { "/a/../b", NULL },
		{ "/..", NULL }, { "/.", NULL }, { "/./a", NULL }, { "/%2e%2e/a", NULL },
		{ "/.%2e", NULL }, { "/a%2fb", NULL }, { "/a%5cb", NULL }, { "/%00", NULL },
		{ "/%", NULL }, { "/%4", NULL }, { "/%zz", NULL }, { "/...", "/..." },
		{ "/.well-known/x", "/.well-known/x" }, { "/a..b/.c", "/a..b/.c" }, { "/%0d%0a", NULL },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		bool ok = http_path_decode(mk_strz(paths[i].in), out);
		if (ok != (paths[i].out != NULL) || (ok && strcmp(out, paths[i].out) != 0))
			fail_msg("'%s': %s", paths[i].in, ok ? out : "refused");
	}
}

/* What a body decodes to, in parts of step bytes; NULL: it is bad or not complete. */
static const char *decode(const char *in, size_t n, size_t step, size_t *used_out)
{
	static char out[256];
	struct http_chunks c = { 0 };
	size_t len = 0;

	for (size_t at = 0; at < n; ) {
		size_t part = n - at < step ? n - at : step, used = 0;
		struct mk_str data;
		int r = http_chunks_feed(&c, in + at, part, &used, &data);
		at += used;
		if (r == HTTP_CHUNKS_BAD)
			return NULL;
		if (r == HTTP_CHUNKS_DATA) {
			memcpy(out + len, data.p, data.n);
			len += data.n;
		} else if (r == HTTP_CHUNKS_END) {
			*used_out = at;
			out[len] = '\0';
			return out;
		}
	}
	return NULL;
}

static void test_chunks(void **state)
{
	static const struct { const char *in, *out; } bodies[] = {
		{ "0\r\n\r\n", "" }, { "3\r\nabc\r\n0\r\n\r\n", "abc" },
		{ "3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n", "abc0123456789" },
		{ "3;x=\"y\"\r\nabc\r\n0;z\r\n\r\n", "abc" },
		{ "3\r\nabc\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\n", "abc" },
		{ "3\nabc\r\n0\r\n\r\n", NULL }, { "3\r\nabc\n0\r\n\r\n", NULL },
		{ "3\r\nabcd\r\n0\r\n\r\n", NULL }, { "3\r\nab\r\n0\r\n\r\n", NULL },
		{ "\r\n", NULL }, { "x\r\n", NULL }, { "-1\r\n", NULL }, { "+1\r\na\r\n", NULL },
		{ "0x1\r\na\r\n0\r\n\r\n", NULL }, { " 1\r\na\r\n0\r\n\r\n", NULL },
		{ "1 \r\na\r\n0\r\n\r\n", NULL }, { "12345678\r\n", NULL },
		{ "ffffffffffffffff1\r\n", NULL }, { "1;\n\r\na\r\n0\r\n\r\n", NULL },
		{ "0\r\n folded\r\n\r\n", NULL }, { "0\r\nX: y\n\r\n", NULL }, { "0\r\n\n", NULL },
		{ "1\r\r\na\r\n0\r\n\r\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		for (size_t step = 1; step <= 64; step++) {
			size_t n = strlen(bodies[i].in), used = 0;
			const char *out = decode(bodies[i].in, n, step, &used);
			if ((out == NULL) != (bodies[i].out == NULL) ||
			    (out != NULL && (strcmp(out, bodies[i].out) != 0 || used != n)))
				fail_msg("'%s': %s", bodies[i].in, out != NULL ? out : "refused");
		}
}

static void test_extensions_are_limited(void **state)
{
	static char in[4096] = "1;";
	size_t used;

	(void)state;
	memset(in + 2, 'x', sizeof in - 2);
	assert_null(decode(in, sizeof in, sizeof in, &used));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_a_nul_is_no_text),
		cmocka_unit_test(test_parts), cmocka_unit_test(test_a_head_is_limited),
		cmocka_unit_test(test_paths), cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_extensions_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
