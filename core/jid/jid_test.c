/*
 * jid/jid_test.c - addresses: RFC 7622 3.5's own examples, the profiles, the
 * cache
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <stringprep.h>

#include "base/map.h"
#include "jid/jid.h"
#include "jid/prep.h"

static void check_part(struct mk_str got, const char *expected)
{
	assert_int_equal(got.n, strlen(expected));
	assert_memory_equal(got.p, expected, got.n);
}

static void test_valid_addresses_are_split_and_prepared(void **state)
{
	static const struct { const char *in, *local, *domain, *resource; } rows[] = {
		/* RFC 7622 3.5, table 1 */
		{ "juliet@example.com", "juliet", "example.com", "" },
		{ "juliet@example.com/foo", "juliet", "example.com", "foo" },
		{ "juliet@example.com/foo bar", "juliet", "example.com", "foo bar" },
		{ "juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar" },
		{ "foo\\20bar@example.com", "foo\\20bar", "example.com", "" },
		{ "fussball@example.com", "fussball", "example.com", "" },
		/* nodeprep folds the sharp s and the final sigma (RFC 6122) */
		{ "fu\xc3\x9f" "ball@example.com", "fussball", "example.com", "" },
		{ "\xcf\x80@example.com", "\xcf\x80", "example.com", "" },
		{ "\xce\xa3@example.com/foo", "\xcf\x83", "example.com", "foo" },
		{ "\xcf\x83@example.com/foo", "\xcf\x83", "example.com", "foo" },
		{ "\xcf\x82@example.com/foo", "\xcf\x83", "example.com", "foo" },
		{ "king@example.com/\xe2\x99\x9a", "king", "example.com", "\xe2\x99\x9a" },
		{ "example.com", "", "example.com", "" },
		{ "example.com/foobar", "", "example.com", "foobar" },
		{ "a.example.com/b@example.net", "", "a.example.com", "b@example.net" },
		/* case, dots, brackets */
		{ "JULIET@EXAMPLE.COM/Foo", "juliet", "example.com", "Foo" },
		{ "juliet@example.com.", "juliet", "example.com", "" },
		{ "juliet@Example.COM./x", "juliet", "example.com", "x" },
		{ "localhost", "", "localhost", "" },
		{ "a@127.0.0.1", "a", "127.0.0.1", "" },
		{ "a@[::1]", "a", "[::1]", "" },
		{ "a@[2001:DB8:0:0::1]/r", "a", "[2001:db8::1]", "r" },
		{ "a-b.c_d+e!#$%^*()=|{}[];,.?~`@x-1.y", "a-b.c_d+e!#$%^*()=|{}[];,.?~`", "x-1.y", "" },
		{ "example.com/ /x", "", "example.com", " /x" },
		{ "a@example.com//", "a", "example.com", "/" },
		/* other scripts */
		{ "\xd0\x96@\xd0\x9f\xd0\xa0\xd0\x98\xd0\x9c\xd0\x95\xd0\xa0.example", "\xd0\xb6",
			"\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.example", "" },
		{ "\xef\xbc\xa1@example.com", "a", "example.com", "" },
		{ "a@\xef\xbd\x85xample\xe3\x80\x82" "com", "a", "example.com", "" },
		{ "a@xn--bcher-kva.example", "a", "b\xc3\xbc" "cher.example", "" },
		{ "a@XN--BCHER-KVA.example", "a", "b\xc3\xbc" "cher.example", "" },
		{ "a@B\xc3\x9c" "CHER.example", "a", "b\xc3\xbc" "cher.example", "" },
		{ "a@\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d.example/\xd7\xa9", "a",
			"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d.example", "\xd7\xa9" },
		{ "a@example.com/\xc2\xaa", "a", "example.com", "a" },
		{ "a\xc2\xad@example.com", "a", "example.com", "" },
		/* An A-label that IDNA2003 can't turn stays one. */
		{ "a@xn--strae-oqa.example", "a", "xn--strae-oqa.example", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mk_jid *j, *again, *bare, *domain;

		if (mk_jid_parsez(rows[i].in, &j) != 0)
			fail_msg("'%s' is refused", rows[i].in);
		check_part(mk_jid_local(j), rows[i].local);
		check_part(mk_jid_domain(j), rows[i].domain);
		check_part(mk_jid_resource(j), rows[i].resource);
		assert_int_equal(strlen(mk_jid_full(j)), j->full_n);
		assert_int_equal(mk_jid_is_bare(j), rows[i].resource[0] == '\0');
		/* Prepared once is prepared. */
		assert_int_equal(mk_jid_parsez(mk_jid_full(j), &again), 0);
		assert_true(mk_jid_eq(j, again));
		assert_int_equal(j->bare_hash, mk_hash_bytes(j->text, j->bare_n));
		bare = mk_jid_to_bare(j);
		assert_true(mk_jid_is_bare(bare) && mk_jid_bare_eq(bare, j));
		assert_int_equal(bare->bare_hash, j->bare_hash);
		domain = mk_jid_to_domain(j);
		assert_string_equal(mk_jid_full(domain), rows[i].domain);
		assert_int_equal(domain->bare_hash, mk_hash_bytes(domain->text, domain->full_n));
		mk_jid_unref(&domain);
		mk_jid_unref(&bare);
		mk_jid_unref(&again);
		mk_jid_unref(&j);
		assert_null(j);
	}
}

static void test_invalid_addresses_are_refused(void **state)
{
	static const char *const rows[] = {
		/* RFC 7622 3.5, table 2 */
		"\"juliet\"@example.com", "foo bar@example.com", "juliet@example.com/",
		"@example.com/foo", "henry\xe2\x85\xa3@example.com/\xe2\x80\xa8",
		"\xe2\x99\x9a\xe2\x80\xa8@example.com", "juliet@", "/foobar",
		/* parts */
		"", "@", "/", "@/", "a@/b", "a@b/", "@b",
		"a@b@c", "a&b@c", "a'b@c", "a:b@c", "a<b@c", "a>b@c", "a\tb@c", "a\x7f@c", "a\x01@c",
		"a@b/\x01", "a@b/\x7f", "a@b/x\ny",
		/* domains */
		"a@.", "a@..", "a@b..c", "a@.b", "a@b..", "a@-b", "a@b-", "a@b.-c", "a@b_c", "a@b c",
		"a@b:5222", "a@b\\c", "a@[]", "a@[::1", "a@::1", "a@[::g]", "a@[127.0.0.1]",
		"a@[fe80::1%eth0]", "a@[::1]x", "a@[::1].", "a@b!c", "a@b,c",
		"a@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b",
		"a@\xef\xbd\x98\xef\xbd\x8e--bcher-kva",       /* fullwidth xn */
		"a@xn--b\xc3\xbc", "a@xn--", "a@\xe2\x92\x88" "b", "a@b\xe3\x80\x82\xe3\x80\x82" "c",
		"a@\xe2\x84\x80", "a@\xc2\xad",
		/* UTF-8, unassigned, prohibited, bidirectional */
		"\xff@b", "\xc0\xaf@b", "\xed\xa0\x80@b", "a@b/\xc3", "a@\xe4\xb8",
		"\xf0\x9f\x98\x80@b", "a@\xf0\x9f\x98\x80",
		"\xc2\xa0@b", "\xe2\x80\x8e@b", "a@b/\xee\x80\x80", "a@b/\xef\xbf\xbd",
		"\xd7\xa9" "a@b", "a@b/1\xd7\xa9", "\xe2\x84\x80@b", "\xef\xbc\xa0@b", "\xc2\xad@b",
	};
	struct mk_jid *j = (void *)&rows;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (mk_jid_parsez(rows[i], &j) != -MK_EJID)
			fail_msg("'%s' is taken", rows[i]);
		assert_ptr_equal(j, &rows);
	}
	assert_int_equal(mk_jid_parse((struct mk_str){ "a\0b@c", 5 }, &j), -MK_EJID);
	assert_int_equal(mk_jid_parse((struct mk_str){ "a@b/\0", 5 }, &j), -MK_EJID);
	assert_int_equal(mk_jid_parse((struct mk_str){ "a@b\0", 4 }, &j), -MK_EJID);
	assert_int_equal(mk_jid_make(MK_STR("a"), MK_STR(""), MK_STR("c"), &j), -MK_EJID);
	assert_int_equal(mk_jid_make(MK_STR("a@b"), MK_STR("c"), MK_STR_NONE, &j), -MK_EJID);
	assert_int_equal(mk_jid_make(MK_STR("a"), MK_STR("b/c"), MK_STR_NONE, &j), -MK_EJID);
	assert_int_equal(mk_jid_make(MK_STR("a"), MK_STR("b@c"), MK_STR_NONE, &j), -MK_EJID);
}

static void test_parts_may_have_1023_bytes(void **state)
{
	char local[3100], domain[1100], resource[3100], full[8000];
	struct mk_jid *j;

	(void)state;
	memset(local, 'a', sizeof local);
	memset(resource, 'r', sizeof resource);
	for (size_t i = 0; i < sizeof domain; i++)
		domain[i] = i % 64 == 63 ? '.' : 'd';
	struct mk_str l = { local, 1023 }, d = { domain, 1023 }, r = { resource, 1023 };
	assert_int_equal(mk_jid_make(l, d, r, &j), 0);
	assert_int_equal(j->full_n, 3 * 1023 + 2);
	memcpy(full, mk_jid_full(j), j->full_n + 1);
	mk_jid_unref(&j);
	assert_int_equal(mk_jid_parsez(full, &j), 0);
	assert_int_equal(mk_jid_local(j).n, 1023);
	assert_int_equal(mk_jid_resource(j).n, 1023);
	struct mk_jid *k;
	r.n = 1024;
	assert_int_equal(mk_jid_with_resource(j, r, &k), -MK_EJID);
	r.n = 0;
	assert_int_equal(mk_jid_with_resource(j, r, &k), -MK_EJID);
	r.n = 1023;
	assert_int_equal(mk_jid_with_resource(j, r, &k), 0);
	assert_true(mk_jid_eq(j, k));
	mk_jid_unref(&k);
	mk_jid_unref(&j);
	for (size_t n = 1024; n < 3100; n += 519) {
		assert_int_equal(mk_jid_make((struct mk_str){ local, n }, d, r, &j), -MK_EJID);
		assert_int_equal(mk_jid_make(l, d, (struct mk_str){ resource, n }, &j), -MK_EJID);
	}
	d.n = 1024 + 63;
	assert_int_equal(mk_jid_make(l, d, r, &j), -MK_EJID);
	/* 1,023 letters that take three bytes before they are prepared: what
	 * counts is what comes out. */
	for (size_t i = 0; i < 3069; i += 3)
		memcpy(local + i, "\xef\xbd\x81", 3);
	l.n = 3069;
	d.n = 1;
	assert_int_equal(mk_jid_make(l, d, r, &j), 0);
	assert_int_equal(mk_jid_local(j).n, 1023);
	mk_jid_unref(&j);
	/* And one that grows: U+FDFA becomes 18 characters. */
	for (size_t i = 0; i < 1023; i += 3)
		memcpy(local + i, "\xef\xb7\xba", 3);
	l.n = 1023;
	assert_int_equal(mk_jid_make(l, d, r, &j), -MK_EJID);
}

/* The table for ASCII says what libidn says, for every character. */
static void test_the_ascii_way_is_the_profiles_way(void **state)
{
	static const struct {
		const Stringprep_profile *profile;
		int (*prep)(struct mk_str s, char *out);
	} parts[] = {
		{ stringprep_xmpp_nodeprep, mk_prep_local },
		{ stringprep_xmpp_resourceprep, mk_prep_resource },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (int c = 0; c < 128; c++) {
			char in[] = { 'X', (char)c, 'y', '\0' }, out[MK_JID_PART_MAX], ref[16];
			memcpy(ref, in, sizeof in);
			int r = parts[i].prep((struct mk_str){ in, 3 }, out);
			int e = stringprep(ref, sizeof ref, STRINGPREP_NO_UNASSIGNED, parts[i].profile);
			if ((r == 3) != (c != 0 && e == STRINGPREP_OK))
				fail_msg("profile %zu, character %d: %d, %d", i, c, r, e);
			if (r > 0)
				assert_memory_equal(out, ref, 3);
		}
	}
	for (int c = 0; c < 128; c++) {
		char in[] = { 'X', (char)c, 'y' }, out[MK_JID_PART_MAX];
		bool ldh = c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			(c >= 'A' && c <= 'Z');
		int r = mk_prep_domain((struct mk_str){ in, 3 }, out);
		assert_int_equal(r, ldh ? 3 : -MK_EJID);
		if (ldh)
			assert_int_equal(out[1], c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
}

static void test_addresses_are_compared_by_what_they_say(void **state)
{
	struct mk_jid *a, *b, *c, *d;

	(void)state;
	assert_int_equal(mk_jid_parsez("a@b/c", &a), 0);
	assert_int_equal(mk_jid_make(MK_STR("A"), MK_STR("B"), MK_STR("c"), &b), 0);
	assert_int_equal(mk_jid_parsez("a@b/C", &c), 0);
	assert_int_equal(mk_jid_parsez("ab/c", &d), 0);
	assert_ptr_not_equal(a, b);
	assert_true(mk_jid_eq(a, b));
	assert_false(mk_jid_eq(a, c));
	assert_true(mk_jid_bare_eq(a, c));
	assert_false(mk_jid_bare_eq(a, d));
	assert_true(mk_str_eqz(mk_jid_bare(a), "a@b"));
	mk_jid_unref(&a);
	mk_jid_unref(&b);
	mk_jid_unref(&c);
	mk_jid_unref(&d);
	mk_jid_unref(&d);                      /* NULL is fine */
}

static void test_the_cache_gives_the_same_object_and_lets_go(void **state)
{
	struct mk_jid *a, *b;
	char text[40];

	(void)state;
	mk_jid_thread_end();
	assert_int_equal(mk_jid_parsez("juliet@example.com/balcony", &a), 0);
	assert_int_equal(mk_jid_parsez("juliet@example.com/balcony", &b), 0);
	assert_ptr_equal(a, b);
	mk_jid_unref(&b);
	/* Not in prepared form: made anew, and equal. */
	assert_int_equal(mk_jid_parsez("Juliet@example.com/balcony", &b), 0);
	assert_ptr_not_equal(a, b);
	assert_true(mk_jid_eq(a, b));
	mk_jid_unref(&b);
	/* Crowded out, it lives on with its holder. */
	for (int i = 0; i < 20000; i++) {
		snprintf(text, sizeof text, "user%d@example.com", i);
		assert_int_equal(mk_jid_parsez(text, &b), 0);
		assert_string_equal(mk_jid_full(b), text);
		mk_jid_unref(&b);
	}
	assert_string_equal(mk_jid_full(a), "juliet@example.com/balcony");
	mk_jid_thread_end();
	assert_int_equal(a->refs, 1);
	mk_jid_unref(&a);
	mk_jid_thread_end();
}

static void *other_thread(void *arg)
{
	struct mk_jid *j;

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(mk_jid_parsez("romeo@example.net/orchard", &j), 0);
		mk_jid_unref(&j);
		j = mk_jid_ref(arg);
		mk_jid_unref(&j);
	}
	mk_jid_thread_end();
	return NULL;
}

static void test_threads_share_addresses_not_caches(void **state)
{
	struct mk_jid *j;
	pthread_t t[2];

	(void)state;
	assert_int_equal(mk_jid_parsez("romeo@example.net/orchard", &j), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, other_thread, j), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	mk_jid_thread_end();
	assert_int_equal(j->refs, 1);
	mk_jid_unref(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid_addresses_are_split_and_prepared),
		cmocka_unit_test(test_invalid_addresses_are_refused),
		cmocka_unit_test(test_parts_may_have_1023_bytes),
		cmocka_unit_test(test_the_ascii_way_is_the_profiles_way),
		cmocka_unit_test(test_addresses_are_compared_by_what_they_say),
		cmocka_unit_test(test_the_cache_gives_the_same_object_and_lets_go),
		cmocka_unit_test(test_threads_share_addresses_not_caches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
