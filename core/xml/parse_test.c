/*
 * xml/parse_test.c - trees from bytes, headers, and both ways round
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "xml/parse.h"
#include "xml/scan.h"

#define CLIENT "jabber:client"

static struct mk_parser *parser;

static struct mk_elem *parse_with(const char *seed, struct mk_arena *a, const char *z)
{
	struct mk_elem *e = NULL;
	int r = mk_parse_elem(parser, CLIENT, seed, a, z, strlen(z), &e);

	assert_true(r == 0 || r == -MK_EXML);
	assert_true((r == 0) == (e != NULL));
	return e;
}

/* In and out again, in the place where it came from. */
static const char *round_trip(struct mk_arena *a, const char *z)
{
	struct mk_buf b = { NULL, 0, 0 };
	struct mk_elem *e = parse_with(NULL, a, z);
	const char *out;

	if (e == NULL)
		return NULL;
	mk_elem_render(&b, e, CLIENT);
	out = mk_arena_strndup(a, b.p, b.n);
	mk_buf_free(&b);
	return out;
}

static void test_a_message_becomes_a_tree(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e, *body, *x;

	(void)state;
	e = parse_with(NULL, a, "<message to='a@b' type=\"chat\" xml:lang='de' id='1 &amp; 2 &#60;'>"
		"<body>x &lt; y &amp;&amp; <![CDATA[<z>]]>&#x1F600;</body>"
		"<x xmlns='jabber:x:oob'><url>http://example.com/?a=1&amp;b=2</url></x></message>");
	assert_non_null(e);
	assert_true(mk_elem_is(e, "message", CLIENT));
	assert_null(e->parent);
	assert_string_equal(mk_elem_attr(e, "to"), "a@b");
	assert_string_equal(mk_elem_attr(e, "type"), "chat");
	assert_string_equal(mk_elem_attr(e, "xml:lang"), "de");
	assert_string_equal(mk_elem_attr(e, "id"), "1 & 2 <");
	assert_null(mk_elem_attr(e, "lang"));
	assert_null(mk_elem_attr(e, "from"));
	body = mk_elem_first(e);
	assert_true(mk_elem_is(body, "body", CLIENT));
	assert_true(mk_str_eqz(mk_elem_text(body), "x < y && <z>\xf0\x9f\x98\x80"));
	assert_ptr_equal(body->parent, e);
	/* Adjacent text is one node. */
	assert_ptr_equal(body->first, body->last);
	x = mk_elem_next(body);
	assert_true(mk_elem_is(x, "x", "jabber:x:oob"));
	assert_true(mk_str_eqz(mk_elem_child_text(x, "url", NULL), "http://example.com/?a=1&b=2"));
	assert_null(mk_elem_next(x));
	/* Known names are shared, others are not the parser's. */
	assert_ptr_equal(e->name, mk_known("message", 7));
	assert_ptr_equal(e->xmlns, mk_known(CLIENT, strlen(CLIENT)));
	mk_arena_free(&a);
}

static void test_what_was_read_is_written_the_same(void **state)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "<presence/>", "<presence/>" },
		{ "<presence></presence>", "<presence/>" },
		{ "<presence xmlns='jabber:client'/>", "<presence/>" },
		{ "<a  b = \"c\"\n></a >", "<a b='c'/>" },
		{ "<a b='&apos;&quot;&lt;&gt;&amp;&#9;&#10;&#13;'/>",
			"<a b='&apos;\"&lt;&gt;&amp;&#9;&#10;&#13;'/>" },
		{ "<a b='x\n\ty'/>", "<a b='x  y'/>" },
		{ "<a>&apos;&quot;&lt;&gt;&amp;&#9;&#10;&#13;</a>", "<a>'\"&lt;&gt;&amp;\t\n&#13;</a>" },
		{ "<a>x\r\ny</a>", "<a>x\ny</a>" },
		{ "<a><![CDATA[]]></a>", "<a/>" },
		{ "<a><![CDATA[<b>&amp;]]></a>", "<a>&lt;b&gt;&amp;amp;</a>" },
		{ "<a><![CDATA[\r1\r\n2\r\r\n\r]]>\r3\r\n</a>", "<a>\n1\n2\n\n\n\n3\n</a>" },
		{ "<a> <b/> </a>", "<a> <b/> </a>" },
		{ "<a>x<b/>y<b/>z</a>", "<a>x<b/>y<b/>z</a>" },
		{ "<a xmlns=''><b/></a>", "<a xmlns=''><b/></a>" },
		{ "<a xmlns='n'><b><c xmlns='jabber:client'/></b></a>",
			"<a xmlns='n'><b><c xmlns='jabber:client'/></b></a>" },
		{ "<n:a xmlns:n='n'><n:b/><c/></n:a>", "<a xmlns='n'><b/><c xmlns='jabber:client'/></a>" },
		{ "<a xmlns:n='n&amp;m' n:b='c' d='e' n:f='g'/>",
			"<a xmlns:a0='n&amp;m' a0:b='c' d='e' a0:f='g'/>" },
		{ "<a b='1' xmlns:n='x' xmlns:m='y' n:b='2' m:b='3' n:c='4' m:d='5'/>",
			"<a b='1' xmlns:a1='x' a1:b='2' xmlns:a2='y' a2:b='3' a1:c='4' a2:d='5'/>" },
		{ "<a xmlns='x&amp;&lt;&apos;y'/>", "<a xmlns='x&amp;&lt;&apos;y'/>" },
		{ "<a xmlns='not a URI {'/>", "<a xmlns='not a URI {'/>" },
		{ "<a xml:lang='en' xml:space='preserve'/>", "<a xml:lang='en' xml:space='preserve'/>" },
		{ "<stream:error><x xmlns='y'/></stream:error>", "<stream:error><x xmlns='y'/></stream:error>" },
		{ "<error xmlns='http://etherx.jabber.org/streams'/>", "<stream:error/>" },
		{ "<a><stream:b/></a>", "<a><b xmlns='http://etherx.jabber.org/streams'/></a>" },
		{ "<\xc3\xa4 \xd0\xb6='\xf0\x9f\x98\x80'>\xe2\x82\xac</\xc3\xa4>",
			"<\xc3\xa4 \xd0\xb6='\xf0\x9f\x98\x80'>\xe2\x82\xac</\xc3\xa4>" },
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *once = round_trip(a, rows[i].in), *stored;
		struct mk_elem *e, *again;

		if (once == NULL)
			fail_msg("'%s' is refused", rows[i].in);
		assert_string_equal(once, rows[i].out);
		assert_string_equal(round_trip(a, once), once);
		/* Alone, as for storage. */
		e = parse_with(NULL, a, rows[i].in);
		struct mk_str w = mk_elem_write(a, e);
		assert_int_equal(mk_elem_read(a, w, &again), 0);
		stored = mk_elem_write(a, again).p;
		assert_string_equal(stored, w.p);
		/* And a copy is the same. */
		assert_string_equal(mk_elem_write(a, mk_elem_copy(a, e)).p, w.p);
	}
	mk_arena_free(&a);
}

static void test_what_is_not_well_formed_is_refused_and_the_next_is_not(void **state)
{
	static const char *const rows[] = {
		"<a></b>", "<a><b></a></b>", "<n:a/>", "<a n:b='c'/>", "<a b='c' b='d'/>",
		"<a xmlns:n='x' xmlns:m='x' n:b='1' m:b='2'/>", "<a xmlns:n=''/>",
		"<a xmlns:xml='x'/>", "<a xmlns:xmlns='x'/>", "<xmlns:a/>", "<xml:a/>", "<a><xml:b/></a>",
		"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
		"<a xmlns:n='x'><n:b></m:b></a>", "<a>x ]]> y</a>", "<a:b:c/>", "<a b:c:d='e'/>",
		"<a/><b/>", "<a/> ", " <a/>", "<a/>x", "x", "", "<a>", "<a", "<", "</a>",
		"</stream:stream>", "<a></a></stream:stream>", "</stream:stream><a/>",
		/* names of the fifth edition only */
		"<\xe3\x80\x82/>", "<a \xe2\x88\x80='b'/>", "<\xf0\x90\x80\x80/>",
		"<\xc2\xa0/>", "<a \xe2\x80\xa8='b'/>", "<a><b></a>",
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (parse_with(NULL, a, rows[i]) != NULL)
			fail_msg("'%s' is taken", rows[i]);
		assert_string_equal(round_trip(a, "<a>ok</a>"), "<a>ok</a>");
	}
	mk_arena_free(&a);
}

/* libxml2 looks ahead; nothing of an element may wait for the next one. */
static void test_an_element_is_complete_when_its_last_byte_is_there(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_buf b = { NULL, 0, 0 };

	(void)state;
	for (size_t n = 0; n < 9000; n += n < 700 ? 1 : 97) {
		mk_buf_clear(&b);
		mk_buf_addz(&b, "<a b='");
		for (size_t i = 0; i < n; i++)
			mk_buf_addc(&b, 'v');
		mk_buf_addz(&b, "'>");
		for (size_t i = 0; i < n; i++)
			mk_buf_addc(&b, (char)('a' + i % 26));
		mk_buf_addz(&b, n % 2 ? "<c/></a>" : "</a>");
		struct mk_elem *e = parse_with(NULL, a, mk_buf_z(&b));
		if (e == NULL)
			fail_msg("%zu bytes of text are not complete", n);
		assert_int_equal(mk_elem_text(e).n, n);
		assert_int_equal(e->attrs->value_n, n);
		mk_arena_reset(a);
	}
	mk_buf_free(&b);
	mk_arena_free(&a);
}

static void test_deep_and_wide_trees_are_read_copied_and_written(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_buf b = { NULL, 0, 0 };

	(void)state;
	/* As deep as any limit lets it be, 256. */
	for (int i = 0; i < 255; i++)
		mk_buf_addz(&b, "<a>");
	for (int i = 0; i < 3000; i++)
		mk_buf_addz(&b, "<b>x</b>y<c/>");
	for (int i = 0; i < 255; i++)
		mk_buf_addz(&b, "</a>");
	struct mk_elem *e = parse_with(NULL, a, mk_buf_z(&b));
	assert_non_null(e);
	struct mk_buf w = { NULL, 0, 0 };
	mk_elem_render(&w, mk_elem_copy(a, e), CLIENT);
	assert_int_equal(w.n, b.n);
	assert_memory_equal(w.p, b.p, b.n);
	/* What is put together here is as deep as anybody likes. */
	for (int i = 0; i < 3000; i++) {
		struct mk_elem *outer = mk_elem_new(a, "a", CLIENT);
		mk_elem_adopt(outer, e);
		e = outer;
	}
	mk_buf_clear(&w);
	mk_elem_render(&w, mk_elem_copy(a, e), CLIENT);
	assert_int_equal(w.n, b.n + 3000 * strlen("<a></a>"));
	assert_memory_equal(w.p + 3000 * strlen("<a>"), b.p, b.n);
	mk_buf_free(&w);
	mk_buf_free(&b);
	mk_arena_free(&a);
}

/* S-10: what a stanza takes in memory and becomes on the wire is bounded by
 * its own size, whatever it is made of. */
static void test_small_stanzas_stay_small(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_buf b = { NULL, 0, 0 }, ns = { NULL, 0, 0 };
	struct mk_elem *e;

	(void)state;
	/* Text between very many elements is joined once. */
	mk_buf_addz(&b, "<a>");
	for (int i = 0; i < 4000; i++)
		mk_buf_addz(&b, "<b/>0123456789012345678901234567890123456789");
	mk_buf_addz(&b, "</a>");
	e = parse_with(NULL, a, mk_buf_z(&b));
	assert_non_null(e);
	assert_int_equal(mk_elem_text(e).n, 160000);
	assert_true(mk_arena_bytes(a) < 2000000);
	/* A namespace is as long as 256 bytes, no longer. */
	for (int i = 0; i < 256; i++)
		mk_buf_addc(&ns, 'n');
	for (int i = 0; i < 2; i++) {
		static const char *const around[][2] = { { "<x xmlns='", "'/>" },
			{ "<n:x xmlns:n='", "'/>" }, { "<x xmlns:n='", "' n:y='z'/>" },
			{ "<y><x xmlns='", "'/></y>" } };
		for (int k = 0; k < 4; k++) {
			mk_buf_clear(&b);
			mk_buf_addz(&b, around[k][0]);
			mk_buf_add(&b, ns.p, ns.n);
			mk_buf_addz(&b, around[k][1]);
			e = parse_with(NULL, a, mk_buf_z(&b));
			assert_true((e != NULL) == (i == 0));
		}
		mk_buf_addc(&ns, 'n');
	}
	mk_buf_free(&ns);
	mk_buf_free(&b);
	mk_arena_free(&a);
}

/* Names nobody will use again don't stay. */
static void test_a_parser_does_not_grow_with_names(void **state)
{
	struct mk_arena *a = mk_arena_new();
	char text[200];

	(void)state;
	for (int i = 0; i < 60000; i++) {
		snprintf(text, sizeof text, "<m%0100d n%d='x'/>", i, i);
		assert_non_null(parse_with(NULL, a, text));
		mk_arena_reset(a);
	}
	mk_arena_free(&a);
}

/* Streams with other headers don't disturb each other, and what a prefix
 * means is the stream's own. */
static void test_each_stream_has_its_own_prefixes(void **state)
{
	static const char *const seeds[] = {
		"<s xmlns='jabber:client' xmlns:n='one'>", "<s xmlns='jabber:client' xmlns:n='two'>",
		"<s xmlns='jabber:client' xmlns:n='three'>", "<s xmlns:n='four'>",
		"<s xmlns='jabber:client' xmlns:n='five'>",
	};
	static const char *const ns[] = { "one", "two", "three", "four", "five" };
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (int i = 0; i < 40; i++) {
		int k = i * 7 % 5;
		struct mk_elem *e = parse_with(seeds[k], a, "<n:a><b/></n:a>");
		assert_true(mk_elem_is(e, "a", ns[k]));
		assert_string_equal(mk_elem_xmlns(mk_elem_first(e)), k == 3 ? "" : CLIENT);
		assert_null(parse_with(NULL, a, "<n:a/>"));
		e = NULL;
		assert_int_equal(mk_parse_elem(parser, "jabber:server", NULL, a, "<a/>", 4, &e), 0);
		assert_string_equal(mk_elem_xmlns(e), "jabber:server");
	}
	mk_arena_free(&a);
}

static void check_header(const char *z, int expected, const char *xmlns, const char *prefix,
                         const char *seed)
{
	struct mk_stream_header h;
	struct mk_arena *a = mk_arena_new();
	int r = mk_parse_header(a, z, strlen(z), &h);

	if (r != expected)
		fail_msg("'%s' gives %d", z, r);
	if (r == 0) {
		assert_true(h.is_stream);
		assert_string_equal(h.xmlns, xmlns);
		assert_string_equal(h.prefix, prefix);
		if (seed == NULL)
			assert_null(h.seed);
		else
			assert_string_equal(h.seed, seed);
		assert_string_equal(h.to, "a&b");
		assert_null(h.from);
		/* What it says of prefixes is what its elements are read with. */
		struct mk_elem *e;
		assert_int_equal(mk_parse_elem(parser, xmlns, h.seed, a, "<x/>", 4, &e), 0);
		assert_string_equal(mk_elem_xmlns(e), xmlns);
	}
	mk_arena_free(&a);
}

static void test_headers_say_what_they_say(void **state)
{
	struct mk_stream_header h;
	struct mk_arena *a = mk_arena_new();
	static const char full[] = "<?xml version='1.0' encoding='UTF-8' ?>\n<stream:stream "
		"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
		"to='example.com' from='a@example.com' id='x' version='1.0' xml:lang='de'>";

	(void)state;
	check_header("<stream:stream to='a&amp;b' xmlns='jabber:client' "
		"xmlns:stream='http://etherx.jabber.org/streams'>", 0, CLIENT, "stream", NULL);
	check_header("<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client' "
		"to='a&amp;b' >", 0, "http://etherx.jabber.org/streams", "",
		"<seed xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>");
	check_header("<s:stream to='a&amp;b' xmlns:s='http://etherx.jabber.org/streams' "
		"xmlns='jabber:client'>", 0, CLIENT, "s",
		"<seed xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'>");
	check_header("<stream:stream to='a&amp;b' xmlns='jabber:client' xmlns:x='&lt;&apos;&amp;' "
		"xmlns:stream='http://etherx.jabber.org/streams'>", 0, CLIENT, "stream",
		"<seed xmlns='jabber:client' xmlns:x='&lt;&apos;&amp;' "
		"xmlns:stream='http://etherx.jabber.org/streams'>");
	check_header("<stream:stream to='a&amp;b' xmlns:stream='http://etherx.jabber.org/streams'>", 0,
		"", "stream", NULL);
	check_header("<stream:stream xmlns='jabber:client'>", -MK_EXML, "", "", NULL);
	check_header("<stream to='a' to='b'>", -MK_EXML, "", "", NULL);
	check_header("<stream a='&nope;'>", -MK_EXML, "", "", NULL);
	check_header("<a/><b>", -MK_EXML, "", "", NULL);
	check_header("<a/>", -MK_EXML, "", "", NULL);
	check_header("", -MK_EXML, "", "", NULL);
	check_header("<?xml version='1.0'", -MK_EXML, "", "", NULL);
	assert_int_equal(mk_parse_header(a, full, sizeof full - 1, &h), 0);
	assert_string_equal(h.to, "example.com");
	assert_string_equal(h.from, "a@example.com");
	assert_string_equal(h.id, "x");
	assert_string_equal(h.version, "1.0");
	assert_string_equal(h.lang, "de");
	assert_null(h.seed);
	assert_int_equal(mk_parse_header(a, "<stream xmlns='jabber:client'>", 30, &h), 0);
	assert_false(h.is_stream);
	mk_arena_free(&a);
}

static void test_only_one_whole_element_is_read_from_storage(void **state)
{
	static const char *const bad[] = {
		"", " ", "x", "<a>", "<a/><b/>", "<a/>x", "<!DOCTYPE a><a/>", "<?xml version='1.0'?><a/>",
		"<a>&x;</a>", "<a><!-- x --></a>", "<a>\xff</a>", "<n:a/>", "<stream:a/>", "</bare>",
	};
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (mk_elem_read(a, mk_strz(bad[i]), &e) != -MK_EXML)
			fail_msg("'%s' is taken", bad[i]);
	assert_int_equal(mk_elem_read(a, MK_STR(" \n<a b='c'/>\n "), &e), 0);
	assert_string_equal(mk_elem_xmlns(e), "");
	assert_string_equal(mk_elem_attr(e, "b"), "c");
	mk_arena_free(&a);
}

static void test_a_secret_is_read_as_anything_else(void **state)
{
	static const char *const text[] = {
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHU<![CDATA[Ac]]>A=</auth>",
		"<p:auth xmlns:p='urn:p'>x</p:auth>", "<q:auth>x</q:auth>", "<auth>", "<auth></aut>",
	};

	(void)state;
	for (size_t i = 0; i < sizeof text / sizeof *text; i++)
		for (int k = 0; k < 2; k++) {
			struct mk_arena *a = mk_arena_new();
			const char *seed = k == 0 ? NULL : "<s xmlns='jabber:client' xmlns:q='urn:q'>";
			struct mk_elem *e = NULL, *same;
			int r = mk_parse_secret(CLIENT, seed, a, text[i], strlen(text[i]), &e);

			same = parse_with(seed, a, text[i]);
			assert_true((r == 0) == (same != NULL) && (r == 0 || r == -MK_EXML));
			if (r == 0) {
				struct mk_str one = mk_elem_write(a, e), two = mk_elem_write(a, same);
				assert_true(mk_str_eq(one, two));
			}
			mk_arena_free(&a);
		}
}

static void *reader(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		struct mk_arena *a = mk_arena_new();
		struct mk_elem *e;
		assert_int_equal(mk_elem_read(a, MK_STR("<a xmlns='b'>c</a>"), &e), 0);
		mk_arena_free(&a);
	}
	return NULL;
}

static void test_threads_read_each_with_its_own_parser(void **state)
{
	pthread_t t[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reader, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_message_becomes_a_tree),
		cmocka_unit_test(test_what_was_read_is_written_the_same),
		cmocka_unit_test(test_what_is_not_well_formed_is_refused_and_the_next_is_not),
		cmocka_unit_test(test_an_element_is_complete_when_its_last_byte_is_there),
		cmocka_unit_test(test_deep_and_wide_trees_are_read_copied_and_written),
		cmocka_unit_test(test_small_stanzas_stay_small),
		cmocka_unit_test(test_a_parser_does_not_grow_with_names),
		cmocka_unit_test(test_each_stream_has_its_own_prefixes),
		cmocka_unit_test(test_headers_say_what_they_say),
		cmocka_unit_test(test_a_secret_is_read_as_anything_else),
		cmocka_unit_test(test_only_one_whole_element_is_read_from_storage),
		cmocka_unit_test(test_threads_read_each_with_its_own_parser),
	};
	int r;

	parser = mk_parser_new();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	mk_parser_free(&parser);
	mk_parse_thread_end();
	return r;
}
