/*
 * xml/elem_test.c - building elements, and what the writer makes of them
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "xml/chars.h"
#include "xml/elem.h"

static struct mk_arena *a;

static int setup(void **state)
{
	(void)state;
	a = mk_arena_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mk_arena_free(&a);
	return 0;
}

static const char *written(const struct mk_elem *e)
{
	return mk_elem_write(a, e).p;
}

static void test_elements_are_built_and_written(void **state)
{
	struct mk_elem *m = mk_elem_new(a, "message", "jabber:client"), *x, *y;

	(void)state;
	mk_elem_set(m, "to", "a@b");
	mk_elem_setf(m, "id", "%d-%s", 42, "x");
	mk_elem_set(m, "xml:lang", "en");
	mk_elem_add_text(m, "body", NULL, MK_STR("1 < 2 & 3 > 2"));
	x = mk_elem_add(m, "x", "other");
	mk_elem_add(x, "y", NULL);
	y = mk_elem_add_text(x, "z", "jabber:client", MK_STR("\r'\""));
	assert_string_equal(mk_elem_xmlns(y), "jabber:client");
	assert_string_equal(written(m), "<message xmlns='jabber:client' to='a@b' id='42-x' "
		"xml:lang='en'><body>1 &lt; 2 &amp; 3 &gt; 2</body><x xmlns='other'><y/>"
		"<z xmlns='jabber:client'>&#13;'\"</z></x></message>");
	mk_elem_set(m, "to", "it's <\"&\t\n\r");
	mk_elem_set(m, "id", NULL);
	mk_elem_set(m, "nothing", NULL);
	mk_elem_remove(m, x);
	assert_string_equal(mk_elem_xmlns(x), "other");
	assert_string_equal(written(m), "<message xmlns='jabber:client' to='it&apos;s "
		"&lt;\"&amp;&#9;&#10;&#13;' xml:lang='en'><body>1 &lt; 2 &amp; 3 &gt; 2</body></message>");
	mk_elem_remove(m, mk_elem_first(m));
	assert_null(mk_elem_first(m));
	mk_elem_add(m, "b", NULL);
	assert_string_equal(mk_elem_name(mk_elem_first(m)), "b");
}

static void test_a_namespace_may_come_from_the_place(void **state)
{
	struct mk_elem *top = mk_elem_new(a, "top", "one"), *e = mk_elem_new(a, "e", NULL), *f;

	(void)state;
	f = mk_elem_add(e, "f", NULL);
	assert_string_equal(mk_elem_xmlns(e), "jabber:client");
	assert_string_equal(mk_elem_xmlns(f), "jabber:client");
	mk_elem_adopt(top, e);
	assert_string_equal(mk_elem_xmlns(f), "one");
	assert_true(mk_elem_is(f, "f", "one"));
	assert_string_equal(written(top), "<top xmlns='one'><e><f/></e></top>");
	struct mk_elem *copy = mk_elem_copy(a, e);
	assert_string_equal(written(copy), "<e xmlns='one'><f/></e>");
	mk_elem_remove(top, e);
	assert_string_equal(mk_elem_xmlns(f), "one");
	assert_string_equal(written(e), "<e xmlns='one'><f/></e>");
}

static void test_reserved_namespaces_are_none(void **state)
{
	struct mk_elem *e = mk_elem_new(a, "e", "http://www.w3.org/XML/1998/namespace");

	(void)state;
	mk_elem_add(e, "f", "http://www.w3.org/2000/xmlns/");
	assert_string_equal(written(e), "<e><f/></e>");
}

static void test_text_is_all_direct_text(void **state)
{
	struct mk_elem *e = mk_elem_new(a, "e", "n"), *b;

	(void)state;
	assert_int_equal(mk_elem_text(e).n, 0);
	mk_elem_text_add(e, MK_STR_NONE);
	mk_elem_text_add(e, MK_STR("one"));
	mk_elem_text_add(e, MK_STR(" two"));
	assert_true(mk_str_eqz(mk_elem_text(e), "one two"));
	b = mk_elem_add_text(e, "b", NULL, MK_STR("not this"));
	mk_elem_text_add(e, MK_STR(" three"));
	mk_elem_text_add(e, MK_STR(" four"));
	mk_elem_add(e, "c", NULL);
	mk_elem_text_add(e, MK_STR(" five"));
	assert_true(mk_str_eqz(mk_elem_text(e), "one two three four five"));
	assert_int_equal(mk_elem_text(e).p[mk_elem_text(e).n], '\0');
	assert_string_equal(written(e), "<e xmlns='n'>one two<b>not this</b> three four<c/> five</e>");
	mk_elem_remove(e, b);
	assert_true(mk_str_eqz(mk_elem_text(e), "one two three four five"));
	struct mk_elem *copy = mk_elem_copy(a, e);
	mk_elem_text_add(copy, MK_STR(" six"));
	assert_true(mk_str_eqz(mk_elem_text(copy), "one two three four five six"));
	assert_true(mk_str_eqz(mk_elem_text(e), "one two three four five"));
	assert_true(mk_str_eqz(mk_elem_child_text(e, "c", NULL), ""));
	assert_true(mk_str_eqz(mk_elem_child_text(e, "none", NULL), ""));
}

/* S-02: nothing that is put in can come out as something else. */
static void test_what_is_no_char_becomes_a_replacement(void **state)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "", "" }, { "plain", "plain" }, { "\xc3\xa4\xf0\x9f\x98\x80", "\xc3\xa4\xf0\x9f\x98\x80" },
		{ "\x01", "\xef\xbf\xbd" }, { "a\x1f" "b", "a\xef\xbf\xbd" "b" },
		{ "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" }, { "x\xc3", "x\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xef\xbf\xbf!", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!" },
		{ "\xc0\xbc", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "0123456789abcdef\x02" "0123456789abcdef\x03", "0123456789abcdef\xef\xbf\xbd"
			"0123456789abcdef\xef\xbf\xbd" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mk_elem *e = mk_elem_new(a, "e", rows[i].in);
		mk_elem_set(e, "v", rows[i].in);
		mk_elem_text_add(e, mk_strz(rows[i].in));
		assert_string_equal(mk_elem_attr(e, "v"), rows[i].out);
		assert_string_equal(mk_elem_xmlns(e), rows[i].out);
		assert_true(mk_str_eqz(mk_elem_text(e), rows[i].out));
	}
	struct mk_elem *e = mk_elem_new(a, "e", "n");
	mk_elem_text_add(e, (struct mk_str){ "a\0b", 3 });
	assert_string_equal(written(e), "<e xmlns='n'>a\xef\xbf\xbd" "b</e>");
}

static void test_every_byte_is_escaped_where_it_must_be(void **state)
{
	(void)state;
	/* At each place of a vector and behind it, of texts of any length. */
	for (size_t n = 1; n <= 40; n++)
		for (size_t at = n > 17 ? n - 17 : 0; at < n; at++) {
			for (int c = 1; c < 128; c++) {
				char in[64];
				struct mk_elem *e = mk_elem_new(a, "e", "n"), *again;

				if (c < ' ' && c != '\t' && c != '\n' && c != '\r')
					continue;
				memset(in, 'x', sizeof in);
				in[at] = (char)c;
				in[n] = '\0';
				mk_elem_set(e, "v", in);
				mk_elem_text_add(e, mk_strz(in));
				assert_int_equal(mk_elem_read(a, mk_elem_write(a, e), &again), 0);
				assert_string_equal(mk_elem_attr(again, "v"), in);
				assert_true(mk_str_eqz(mk_elem_text(again), in));
			}
			mk_arena_reset(a);
		}
}

static void test_the_first_byte_that_is_no_char_is_found_at_any_place(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 40; n++)
		for (size_t at = 0; at < n; at++)
			for (int c = 0; c < 256; c++) {
				bool is_char = c >= ' ' ? c < 0x80 : c == '\t' || c == '\n' || c == '\r';
				char in[40];

				memset(in, 'x', sizeof in);
				in[at] = (char)c;
				assert_int_equal(mk_xml_valid(in, n), is_char ? n : at);
			}
}

static void test_names_are_ncnames(void **state)
{
	static const char *const good[] = { "a", "_", "a-b.c9", "\xc3\xa4" };
	static const char *const bad[] = { "", "9", "-a", "a b", "a:b", "a>", "a'", "a\xff", "a\x01" };

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(mk_xml_is_ncname(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(mk_xml_is_ncname(bad[i]));
}

static void test_a_copied_top_leaves_the_original_alone(void **state)
{
	struct mk_elem *m, *top;
	const char *before;

	(void)state;
	assert_int_equal(mk_elem_read(a, MK_STR("<m xmlns='n' a='1' b='2'>t<c><d/></c>u<e/></m>"), &m), 0);
	before = written(m);
	top = mk_elem_copy_top(a, m);
	assert_string_equal(written(top), before);
	mk_elem_set(top, "a", "3");
	mk_elem_set(top, "b", NULL);
	mk_elem_add(top, "f", NULL);
	mk_elem_remove(top, mk_elem_child(top, "c", NULL));
	mk_elem_text_add(top, MK_STR("v"));
	assert_string_equal(written(m), before);
	assert_string_equal(written(top), "<m xmlns='n' a='3'>tu<e/><f/>v</m>");
	assert_true(mk_str_eqz(mk_elem_text(top), "tuv"));
}

static void test_known_names_are_found_and_others_not(void **state)
{
	const char *body = mk_known("body", 4);

	(void)state;
	assert_string_equal(body, "body");
	assert_ptr_equal(mk_known("bodyx", 4), body);
	assert_null(mk_known("bodyx", 5));
	assert_null(mk_known("bod", 3));
	assert_string_equal(mk_known("", 0), "");
	assert_string_equal(mk_known("xml:lang", 8), "xml:lang");
	assert_non_null(mk_known("http://etherx.jabber.org/streams", 32));
	assert_null(mk_known("http://etherx.jabber.org/Streams", 32));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_elements_are_built_and_written),
		TEST(test_a_namespace_may_come_from_the_place),
		TEST(test_reserved_namespaces_are_none),
		TEST(test_text_is_all_direct_text),
		TEST(test_what_is_no_char_becomes_a_replacement),
		TEST(test_every_byte_is_escaped_where_it_must_be),
		TEST(test_the_first_byte_that_is_no_char_is_found_at_any_place),
		TEST(test_names_are_ncnames),
		TEST(test_a_copied_top_leaves_the_original_alone),
		TEST(test_known_names_are_found_and_others_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
