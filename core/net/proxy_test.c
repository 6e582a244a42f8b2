/*
 * net/proxy_test.c - PROXY headers, good and bad, whole and in parts
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "net/proxy.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01" "\xc6\x33\x64\x02" "\x30\x39" "\x14\x66"
#define V6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
           "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02" "\x30\x39" "\x14\x66"
#define CASE(bytes, ip, port) { bytes, sizeof(bytes) - 1, ip, port }

static const struct {
	const char *p;
	size_t n;
	const char *ip;                /* NULL = bad; "" = no peer              */
	unsigned port;
} table[] = {
	/* Version 1. */
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 12345 5222\r\n", "192.0.2.1", 12345),
	CASE("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
	     "255.255.255.255", 65535),
	CASE("PROXY TCP6 2001:db8::1 2001:db8::2 12345 5222\r\n", "2001:db8::1", 12345),
	CASE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n", "192.0.2.1", 0),
	CASE("PROXY UNKNOWN\r\n", "", 0),
	CASE("PROXY UNKNOWN ffff:: ffff:: 1 2 and more\r\n", "", 0),
	CASE("PROXY\r\n", NULL, 0),
	CASE("PROXY \r\n", NULL, 0),
	CASE("PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1 198.51.100.2 0x1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", NULL, 0),
	CASE("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n", NULL, 0),
	CASE("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", NULL, 0),       /* 108+    */
	CASE("<?xml version='1.0'?><stream:stream", NULL, 0),
	CASE("\x16\x03\x01\x02\x00", NULL, 0),
	/* Version 2. */
	CASE(SIG "\x21\x11\x00\x0c" V4, "192.0.2.1", 12345),
	CASE(SIG "\x21\x21\x00\x24" V6, "2001:db8::1", 12345),
	CASE(SIG "\x20\x00\x00\x00", "", 0),
	CASE(SIG "\x20\x11\x00\x0c" V4, "", 0),
	CASE(SIG "\x21\x00\x00\x00", "", 0),
	CASE(SIG "\x21\x00\x00\x05" "12345", "", 0),
	CASE(SIG "\x21\x11\x00\x14" V4 "\x04\x00\x05" "abcde", "192.0.2.1", 12345),
	CASE(SIG "\x21\x11\x00\x12" V4 "\x04\x00\x00\x05\x00\x00", "192.0.2.1", 12345),
	CASE(SIG "\x21\x11\x00\x0b" V4, NULL, 0),                   /* short   */
	CASE(SIG "\x21\x21\x00\x0c" V4, NULL, 0),
	CASE(SIG "\x21\x11\x00\x0e" V4 "\x04\x00", NULL, 0),         /* half TLV */
	CASE(SIG "\x21\x11\x00\x13" V4 "\x04\x00\x05" "abcd", NULL, 0),
	CASE(SIG "\x21\x12\x00\x0c" V4, NULL, 0),                   /* UDP     */
	CASE(SIG "\x21\x31\x00\x0c" V4, NULL, 0),                   /* UNIX    */
	CASE(SIG "\x22\x11\x00\x0c" V4, NULL, 0),
	CASE(SIG "\x11\x11\x00\x0c" V4, NULL, 0),
	CASE(SIG "\x21\x11\xff\xff" V4, NULL, 0),                   /* too long */
	CASE("\r\n\r\n\0\r\nQUIT\r", NULL, 0),
	CASE("\r\n", "more", 0),
};

/* A copy that ends where the bytes end, so that reading on is noticed. */
static int parse(const char *p, size_t n, struct mk_proxy *out)
{
	char *copy = mk_alloc(n > 0 ? n : 1);
	int r;

	memcpy(copy, p, n);
	r = mk_proxy_parse(copy, n, out);
	mk_free(copy);
	return r;
}

static void test_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct mk_proxy head;
		char ip[INET6_ADDRSTRLEN];
		int r = parse(table[i].p, table[i].n, &head);

		if (table[i].ip == NULL) {
			if (r != -MK_EINVAL)
				fail_msg("case %zu gives %d", i, r);
			continue;
		}
		if (strcmp(table[i].ip, "more") == 0) {
			assert_int_equal(r, 0);
			continue;
		}
		if (r != (int)table[i].n)
			fail_msg("case %zu gives %d, not %zu", i, r, table[i].n);
		assert_int_equal(head.has_peer, table[i].ip[0] != '\0');
		if (!head.has_peer)
			continue;
		mk_addr_format(&head.peer, ip);
		assert_string_equal(ip, table[i].ip);
		assert_int_equal(head.peer.port, table[i].port);
	}
}

static void test_every_split_asks_for_more(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		for (size_t n = 0; n < table[i].n; n++) {
			struct mk_proxy head;
			int r = parse(table[i].p, n, &head);

			/* Bad ones may be seen early, good ones never end early. */
			if (r != 0 && (table[i].ip != NULL || r != -MK_EINVAL))
				fail_msg("case %zu: %d after %zu bytes", i, r, n);
		}
}

static void test_what_follows_is_not_the_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		char bytes[2000];
		struct mk_proxy head;

		if (table[i].ip == NULL || strcmp(table[i].ip, "more") == 0)
			continue;
		memset(bytes, '\n', sizeof bytes);
		memcpy(bytes, table[i].p, table[i].n);
		assert_int_equal(parse(bytes, sizeof bytes, &head), (int)table[i].n);
	}
}

static void test_a_full_buffer_is_never_incomplete(void **state)
{
	static const char *const starts[] = { "PROXY ", "PROXY TCP4 ", SIG "\x21\x11\x03\xf0",
		SIG "\x21\x11\x03\xf1", SIG };
	static const size_t n[] = { 6, 11, 16, 16, 12 };

	(void)state;
	for (size_t i = 0; i < sizeof n / sizeof *n; i++)
		for (int fill = 0; fill < 256; fill++) {
			char bytes[MK_PROXY_MAX];
			struct mk_proxy head;

			memset(bytes, fill, sizeof bytes);
			memcpy(bytes, starts[i], n[i]);
			assert_int_not_equal(parse(bytes, sizeof bytes, &head), 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_every_split_asks_for_more),
		cmocka_unit_test(test_what_follows_is_not_the_headers),
		cmocka_unit_test(test_a_full_buffer_is_never_incomplete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
