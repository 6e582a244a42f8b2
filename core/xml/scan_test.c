/*
 * xml/scan_test.c - what the scanner lets through, refuses, and where it cuts
 *
 * Every input is fed whole, byte by byte, in chunks of other sizes and cut in
 * two at every byte: each way must say the same (S-01, S-02, S-09).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "xml/scan.h"

#define STREAM "<stream:stream xmlns='jabber:client' " \
	"xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0'>"

static const struct mk_scan_limits roomy = { 1 << 20, 64, 64, 4096 };
static const struct mk_scan_limits narrow = { 200, 4, 3, 5 };

/*
 * What was found, one letter each: H header, E element, X end of the stream,
 * R restricted, M malformed, U no UTF-8, F foreign encoding, L limit; and '+'
 * if something is unfinished at the end. Where they ended: at.
 */
struct outcome { char what[16]; size_t at[16], n; };

/* Feeds p in pieces; each is copied so that a read beyond it is seen. */
static void feed(struct outcome *o, struct mk_scan *s, const struct mk_scan_limits *lim,
                 const char *p, size_t n, size_t from)
{
	char *copy = malloc(n + 1);
	size_t pos = 0;

	memcpy(copy, p, n);
	copy = realloc(copy, n);
	while (pos < n) {
		size_t used = SIZE_MAX;
		enum mk_scan_result r = mk_scan_feed(s, lim, copy + pos, n - pos, &used);
		char c = "+ HEXRMUL"[r];
		if (r == MK_SCAN_ENCODING && mk_scan_is_foreign(s))
			c = 'F';
		if (r <= MK_SCAN_END) {
			assert_true(used <= n - pos);
			pos += used;
		}
		if (r == MK_SCAN_MORE) {
			assert_int_equal(pos, n);
			break;
		}
		if (r == MK_SCAN_SPACE) {
			assert_true(used > 0);
			continue;
		}
		assert_true(o->n < 15);
		o->what[o->n] = c;
		o->at[o->n++] = r <= MK_SCAN_END ? from + pos : 0;
		if (r > MK_SCAN_END)
			break;
	}
	free(copy);
}

static bool is_over(const struct outcome *o)
{
	return o->n > 0 && strchr("RMUFL", o->what[o->n - 1]) != NULL;
}

/* In pieces of first bytes, then of size bytes. */
static struct outcome scan(const char *p, size_t n, bool framed, const struct mk_scan_limits *lim,
                           size_t first, size_t size)
{
	struct outcome o = { .n = 0 };
	struct mk_scan s;

	mk_scan_init(&s, framed);
	for (size_t pos = 0, k = first; pos < n && !is_over(&o); pos += k, k = size) {
		if (k > n - pos)
			k = n - pos;
		feed(&o, &s, lim, p + pos, k, pos);
		if (k == 0)
			k = size;
	}
	if (!is_over(&o) && !mk_scan_is_idle(&s))
		o.what[o.n++] = '+';
	return o;
}

static void check(const char *p, size_t n, bool framed, const struct mk_scan_limits *lim,
                  const char *expected)
{
	struct outcome whole = scan(p, n, framed, lim, n, n);

	if (strcmp(whole.what, expected) != 0)
		fail_msg("'%.*s' gives %s, not %s", (int)n, p, whole.what, expected);
	for (size_t size = 1; size < 20; size++) {
		struct outcome o = scan(p, n, framed, lim, size, size);
		if (memcmp(&o, &whole, sizeof o) != 0)
			fail_msg("'%.*s' by %zu gives %s, not %s", (int)n, p, size, o.what, expected);
	}
	for (size_t cut = 1; cut < n; cut++) {
		struct outcome o = scan(p, n, framed, lim, cut, n);
		if (memcmp(&o, &whole, sizeof o) != 0)
			fail_msg("'%.*s' cut at %zu gives %s, not %s", (int)n, p, cut, o.what, expected);
	}
}

struct row { const char *in, *expected; };
#define CHECK_ROWS(rows, before, framed, lim)                              \
	for (size_t i = 0; i < sizeof (rows) / sizeof *(rows); i++)            \
		check_behind(before, rows[i].in, framed, lim, rows[i].expected)

static void check_behind(const char *before, const char *in, bool framed,
                         const struct mk_scan_limits *lim, const char *expected)
{
	struct mk_buf b = { NULL, 0, 0 };

	mk_buf_addz(&b, before);
	mk_buf_addz(&b, in);
	check(b.p, b.n, framed, lim, expected);
	mk_buf_free(&b);
}

static void test_headers_are_found_and_their_declarations_checked(void **state)
{
	static const struct row rows[] = {
		{ STREAM, "H" },
		{ "<stream>", "H" },
		{ " \r\n\t" STREAM, "H" },
		{ "<?xml version='1.0'?>" STREAM, "H" },
		{ "\n<?xml version='1.0'?>" STREAM, "H" },
		{ "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n" STREAM, "H" },
		{ "<?xml \t version = '1.0' encoding\n=\n'utf-8' standalone='no' ?>" STREAM, "H" },
		{ "<?xml version='1.0' standalone='no'?>" STREAM, "H" },
		{ "<?xml version='1.0' encoding='uTf-8'?><a>", "H" },
		{ "<?xml version='1.0'", "+" },
		{ "<?xml version='1.0'?>", "+" },
		{ "<?xml version='1.0' encoding='UTF-16'?>" STREAM, "F" },
		{ "<?xml version='1.0' encoding='ISO-8859-1'?>" STREAM, "F" },
		{ "<?xml version='1.0' encoding='utf8'?>" STREAM, "F" },
		{ "<?xml version='1.0' encoding=''?>" STREAM, "F" },
		{ "<?xml version='1.0' encoding='UTF-7-and-much-more'?>" STREAM, "F" },
		{ "<?xml version='1.1'?>" STREAM, "M" },
		{ "<?xml version='1.0.................................'?>" STREAM, "M" },
		{ "<?xml?>" STREAM, "R" },
		{ "<?xml ?>" STREAM, "M" },
		{ "<?xml encoding='UTF-8'?>" STREAM, "M" },
		{ "<?xml version='1.0' standalone='maybe'?>" STREAM, "M" },
		{ "<?xml version='1.0' standalone='no' encoding='UTF-8'?>" STREAM, "M" },
		{ "<?xml version='1.0' version='1.0'?>" STREAM, "M" },
		{ "<?xml version='1.0'encoding='UTF-8'?>" STREAM, "M" },
		{ "<?xml version='1.0' x='y'?>" STREAM, "M" },
		{ "<?xml version='1.0' averyveryverylongname='y'?>" STREAM, "M" },
		{ "<?xml version='1.0\"?>" STREAM, "M" },
		{ "<?xml version='<'?>" STREAM, "M" },
		{ "<?xml version=1.0?>" STREAM, "M" },
		{ "<?xml version='1.0'>" STREAM, "M" },
		{ "<?xml version='1.0'? >" STREAM, "M" },
		{ "<?xml version='1.0'?>x" STREAM, "M" },
		{ "<?xml version='1.0'?><?xml version='1.0'?>" STREAM, "R" },
		{ "<?xml-stylesheet href='x'?>" STREAM, "R" },
		{ "<?XML version='1.0'?>" STREAM, "R" },
		{ "<?php x?>" STREAM, "R" },
		{ STREAM "<?xml version='1.0'?>", "HR" },
		{ "</stream:stream>", "M" },
		{ "<stream:stream/>", "E" },
		{ "GET / HTTP/1.1\r\n", "M" },
		{ "\x16\x03\x01\x02", "M" },
		{ "x" STREAM, "M" },
		{ "<>", "M" },
		{ "< stream>", "M" },
		{ "<1>", "M" },
		{ "<-a>", "M" },
		{ "\xef\xbb\xbf" STREAM, "M" },
		{ "\xfe\xff", "F" },
		{ "\xff\xfe", "F" },
		{ "\n\xff\xfe", "F" },
	};

	(void)state;
	CHECK_ROWS(rows, "", false, &roomy);
	check("\0<\0s", 4, false, &roomy, "F");
	check("\0\0\xfe\xff", 4, false, &roomy, "F");
	check("<\0s\0", 4, false, &roomy, "M");
}

static void test_elements_are_cut_where_they_end(void **state)
{
	static const struct row rows[] = {
		{ "", "H" },
		{ "<presence/>", "HE" },
		{ "<presence />", "HE" },
		{ "<a/><b/><c></c>", "HEEE" },
		{ " \n <a/> <b/>\n", "HEE" },
		{ "<a></a>", "HE" },
		{ "<a></a\n>", "HE" },
		{ "<a><b><c/></b></a><d/>", "HEE" },
		{ "<a><b>", "H+" },
		{ "<a", "H+" },
		{ "<", "H+" },
		{ "</stream:stream>", "HX" },
		{ "<a/></stream:stream >", "HEX" },
		{ "</a>", "HX" },
		{ "</", "H+" },
		{ "<a x='>'/>", "HE" },
		{ "<a x='/>' y=\"/a>'\">'\"></a>", "HE" },
		{ "<a x = 'y' z\n=\t\"w\" ></a>", "HE" },
		{ "<a:b c:d='e'/>", "HE" },
		{ "<_a.-0 _:b='c'/>", "HE" },
		{ "<\xc3\xa4\xe4\xb8\xad \xd0\xb6='\xf0\x9f\x98\x80'>\xe2\x82\xac</\xc3\xa4\xe4\xb8\xad>",
			"HE" },
		{ "<a>text with > and ]] and \x7f\xc2\x80 and ' and \"</a>", "HE" },
		{ "<a>\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd\xf0\x90\x80\x80\xf4\x8f\xbf\xbf</a>", "HE" },
		{ "<a>\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xe4\xbd\xa0\xe5\xa5\xbd, "
			"\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87</a>", "HE" },
		{ "<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x41;&#x10FFFF;&#10;&#xd;&#009;</a>", "HE" },
		{ "<a b='&lt;&gt;&amp;&apos;&quot;&#65;&#x41;&#xfffd;'/>", "HE" },
		{ "<a><![CDATA[<b>&x; ]] ]>> <!-- --> <?x?>]]></a>", "HE" },
		{ "<a><![CDATA[]]></a>", "HE" },
		{ "<a><![CDATA[]]]]]></a>", "HE" },
		{ "<a><![CDATA[]]]]><![CDATA[>]]></a>", "HE" },
		{ "<a><![CDATA[\xf0\x9f\x98\x80]\xc3\xa4]]></a>", "HE" },
		{ "<a><![CDATA[x]]", "H+" },
		{ "<a>0123456789abcdef0123456789abcdef&amp;0123456789abcdef</a>", "HE" },
	};

	(void)state;
	CHECK_ROWS(rows, STREAM, false, &roomy);
	/* What each result names is where it ends. */
	struct outcome o = scan("<s> <a/>\n<b></b></s>", 20, false, &roomy, 20, 20);
	assert_string_equal(o.what, "HEEX");
	assert_int_equal(o.at[0], 3);
	assert_int_equal(o.at[1], 8);
	assert_int_equal(o.at[2], 16);
	assert_int_equal(o.at[3], 20);
}

static void test_what_xmpp_forbids_is_refused(void **state)
{
	static const struct row rows[] = {
		/* S-01 */
		{ "<!DOCTYPE x [<!ENTITY lol 'lol'>]>", "R" },
		{ "<!DOCTYPE x SYSTEM 'http://example.net/x.dtd'>", "R" },
		{ "<!DOCTYPE x [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]>", "R" },
		{ "<!ENTITY x 'y'>", "R" },
		{ "<!-- hello -->", "R" },
		{ "<!-->", "R" },
		{ "<![CDATA[x]]>", "R" },
		{ "<!", "R" },
		{ "<a><!", "+" },
		{ "<a><![CDAT", "+" },
		{ "<?php echo 'x' ?>", "R" },
		{ "<?x?>", "R" },
		{ "<a><!-- hello --></a>", "R" },
		{ "<a><!DOCTYPE x></a>", "R" },
		{ "<a><!ELEMENT x ANY></a>", "R" },
		{ "<a><![IGNORE[x]]></a>", "R" },
		{ "<a><![cdata[x]]></a>", "R" },
		{ "<a><![ CDATA[x]]></a>", "R" },
		{ "<a><?xml version='1.0'?></a>", "R" },
		{ "<a><?pi x?></a>", "R" },
		{ "<a>&lol;</a>", "R" },
		{ "<a>&lol9;</a>", "R" },
		{ "<a>&verylongname;</a>", "R" },
		{ "<a>&LT;</a>", "R" },
		{ "<a>&l;</a>", "R" },
		{ "<a>&ampx;</a>", "R" },
		{ "<a b='&xxe;'/>", "R" },
		{ "<a b=\"&nbsp;\"/>", "R" },
		{ "<a>&\xc3\xa4;</a>", "R" },
		{ "<a>&</a>", "M" },
		{ "<a>&;</a>", "M" },
		{ "<a>& amp;</a>", "M" },
		{ "<a>&amp </a>", "M" },
		{ "<a>&amp", "+" },
		{ "<a>&#0;</a>", "M" },
		{ "<a>&#x0;</a>", "M" },
		{ "<a>&#1;</a>", "M" },
		{ "<a>&#xb;</a>", "M" },
		{ "<a>&#xd800;</a>", "M" },
		{ "<a>&#xDFFF;</a>", "M" },
		{ "<a>&#xfffe;</a>", "M" },
		{ "<a>&#65535;</a>", "M" },
		{ "<a>&#x110000;</a>", "M" },
		{ "<a>&#99999999999999999999;</a>", "M" },
		{ "<a>&#;</a>", "M" },
		{ "<a>&#x;</a>", "M" },
		{ "<a>&#X41;</a>", "M" },
		{ "<a>&#41a;</a>", "M" },
		{ "<a>&#-1;</a>", "M" },
		{ "<a>&# 65;</a>", "M" },
		{ "<a b='&#x;'/>", "M" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char expected[4] = { 'H', rows[i].expected[0], '\0' };
		check_behind(STREAM, rows[i].in, false, &roomy, expected);
		/* Framed: the same without the header. */
		check_behind("", rows[i].in, true, &roomy, rows[i].expected);
	}
}

static void test_what_is_not_well_formed_is_refused(void **state)
{
	static const struct row rows[] = {
		{ "text", "HM" },
		{ "<a/>text", "HEM" },
		{ "&amp;", "HM" },
		{ "<a b/>", "HM" },
		{ "<a b c='d'/>", "HM" },
		{ "<a b=c/>", "HM" },
		{ "<a b='c'd='e'/>", "HM" },
		{ "<a b='<'/>", "HM" },
		{ "<a b='\x01'/>", "HM" },
		{ "<a / >", "HM" },
		{ "<a /b>", "HM" },
		{ "<a//>", "HM" },
		{ "<a='b'/>", "HM" },
		{ "<a ='b'/>", "HM" },
		{ "<a <b/>", "HM" },
		{ "<a<b/>", "HM" },
		{ "<<a/>", "HM" },
		{ "<a></>", "HM" },
		{ "<a></ a>", "HM" },
		{ "<a></a b>", "HM" },
		{ "<a></a/>", "HM" },
		{ "</stream:stream x='y'>", "HM" },
		{ "<a>\x01</a>", "HM" },
		{ "<a>\x08</a>", "HM" },
		{ "<a>\x0b</a>", "HM" },
		{ "<a>\x0c</a>", "HM" },
		{ "<a>\x1f</a>", "HM" },
		{ "<a><![CDATA[\x02]]></a>", "HM" },
		{ "<a\x01/>", "HM" },
		{ "<a>\xef\xbf\xbe</a>", "HM" },
		{ "<a>\xef\xbf\xbf</a>", "HM" },
		{ "<a b='\xef\xbf\xbf'/>", "HM" },
		{ "\xc3\xa4", "HM" },
		/* S-02: no UTF-8 */
		{ "<a>\x80</a>", "HU" },
		{ "<a>\xbf</a>", "HU" },
		{ "<a>\xc0\x80</a>", "HU" },
		{ "<a>\xc1\xbf</a>", "HU" },
		{ "<a>\xc3</a>", "HU" },
		{ "<a>\xc3(</a>", "HU" },
		{ "<a>\xe0\x80\x80</a>", "HU" },
		{ "<a>\xe0\x9f\xbf</a>", "HU" },
		{ "<a>\xe2\x82</a>", "HU" },
		{ "<a>\xe2(\xa1</a>", "HU" },
		{ "<a>\xe2\x28\xa1</a>", "HU" },
		{ "<a>\xed\xa0\x80</a>", "HU" },
		{ "<a>\xed\xbf\xbf</a>", "HU" },
		{ "<a>\xed\xa0\xbd\xed\xb8\x80</a>", "HU" },
		{ "<a>\xef\xbf\xc0</a>", "HU" },
		{ "<a>\xef\xc0\x80</a>", "HU" },
		{ "<a>\xf0\x80\x80\x80</a>", "HU" },
		{ "<a>\xf0\x8f\xbf\xbf</a>", "HU" },
		{ "<a>\xf0\x9f\x98</a>", "HU" },
		{ "<a>\xf4\x90\x80\x80</a>", "HU" },
		{ "<a>\xf5\x80\x80\x80</a>", "HU" },
		{ "<a>\xf8\x88\x80\x80\x80</a>", "HU" },
		{ "<a>\xfe</a>", "HU" },
		{ "<a>\xff</a>", "HU" },
		{ "<a b='\xc3'/>", "HU" },
		{ "<a\xc3/>", "HU" },
		{ "<a><![CDATA[\xe4\xb8]]></a>", "HU" },
		{ "<a></a\xed\xa0\x80>", "HU" },
		{ "<a \xff='b'/>", "HU" },
		{ "<a>0123456789abcdef\xc3\xa4\xc3\xa4\xc3\xa4\xc3\x28</a>", "HU" },
		{ "<a>\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80\xe4\xb8\xad\xc0\xaf</a>", "HU" },
	};

	(void)state;
	CHECK_ROWS(rows, STREAM, false, &roomy);
	check("<a>\0</a>", 8, true, &roomy, "M");
	check("<a b='\0'/>", 10, true, &roomy, "M");
	check("<a><![CDATA[\0]]></a>", 20, true, &roomy, "M");
	check("<\0a/>", 5, true, &roomy, "M");
}

static void test_frames_have_no_header(void **state)
{
	static const struct row rows[] = {
		{ "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com'/>", "E" },
		{ "<a></a><b/>", "EE" },
		{ "<a>", "+" },
		{ "</a>", "M" },
		{ "<?xml version='1.0'?><a/>", "R" },
		{ "text", "M" },
		{ "\xff\xfe", "M" },
	};

	(void)state;
	CHECK_ROWS(rows, "", true, &roomy);
}

static void test_limits_are_exact(void **state)
{
	static const struct row rows[] = {
		{ "<a><b><c><d/></c></b></a>", "HE" },
		{ "<a><b><c><d></d></c></b></a>", "HE" },
		{ "<a><b><c><d><e/></d></c></b></a>", "HL" },
		{ "<a b='1' c='2' d='3'/>", "HE" },
		{ "<a b='1' c='2' d='3' e='4'/>", "HL" },
		{ "<a b='1' c='2' d='3'><b b='1' c='2' d='3'/></a>", "HE" },
		{ "<a><b/><b/><b/><b/></a><a><b/><b/><b/><b/></a>", "HEE" },
		{ "<a><b/><b/><b/><b/><b/></a>", "HL" },
		/* An error within the limit comes before it, one beyond it after. */
		{ "<a><b/><b/><b/><b/>&x;<b/></a>", "HR" },
		{ "<a><b/><b/><b/><b/><b/>&x;</a>", "HL" },
	};
	char text[260];

	(void)state;
	CHECK_ROWS(rows, "<stream a='1' b='2' c='3'>", false, &narrow);
	check_behind("", "<stream a='1' b='2' c='3' d='4'>", false, &narrow, "L");
	/* <a>…</a> of 200 bytes and of 201, whatever follows. */
	memset(text, 'x', sizeof text);
	memcpy(text, "<a>", 3);
	memcpy(text + 196, "</a>", 4);
	check(text, 200, true, &narrow, "E");
	memcpy(text + 200, "<b/>", 4);
	check(text, 204, true, &narrow, "EE");
	memset(text, 'x', sizeof text);
	memcpy(text, "<a>", 3);
	memcpy(text + 197, "</a>", 4);
	check(text, 201, true, &narrow, "L");
	check(text, 200, true, &narrow, "+");
	memcpy(text + 197, "\x01\x01\x01\x01", 4);
	check(text, 201, true, &narrow, "M");
	text[197] = text[198] = text[199] = 'x';
	check(text, 201, true, &narrow, "L");
	/* White space between elements is not of them. */
	memset(text, ' ', sizeof text);
	memcpy(text + 250, "<a/>", 4);
	check(text, 254, true, &narrow, "E");
	/* Deep nesting is no recursion: the limit is all there is. */
	struct mk_buf b = { NULL, 0, 0 };
	struct mk_scan_limits deep = { UINT32_MAX, UINT16_MAX, 1, UINT32_MAX };
	for (int i = 0; i < 10000; i++)
		mk_buf_addz(&b, "<a>");
	for (int i = 0; i < 10000; i++)
		mk_buf_addz(&b, "</a>");
	struct outcome o = scan(b.p, b.n, true, &deep, b.n, b.n);
	assert_string_equal(o.what, "E");
	o = scan(b.p, b.n, true, &roomy, b.n, b.n);
	assert_string_equal(o.what, "L");
	mk_buf_free(&b);
}

static void test_limits_may_change_between_elements(void **state)
{
	struct mk_scan s;
	size_t used;

	(void)state;
	mk_scan_init(&s, false);
	assert_int_equal(mk_scan_feed(&s, &narrow, "<s>", 3, &used), MK_SCAN_HEADER);
	assert_true(mk_scan_has_header(&s));
	assert_int_equal(mk_scan_feed(&s, &roomy, "<a>x", 4, &used), MK_SCAN_MORE);
	/* Less than has been read already. */
	struct mk_scan_limits tiny = { 2, 4, 4, 4 };
	assert_int_equal(mk_scan_feed(&s, &tiny, "x", 1, &used), MK_SCAN_LIMIT);
}

/* Every byte value in every kind of place: whole and split say the same, and
 * nothing crashes. */
static void test_any_byte_anywhere_gives_one_answer(void **state)
{
	static const char *const places[] = {
		"<?xml version='1.0' encoding='utf-8'?><s a='b'><c d=\"e\">f&lt;&#65;<![CDATA[g]]></c></s>",
		"<a b='c\xc3\xa4' ><d/>\xe4\xb8\xad\xf0\x9f\x98\x80&#x41;</a> <e/>",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char text[128];
		size_t n = strlen(places[i]);
		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				memcpy(text, places[i], n);
				text[at] = (char)c;
				struct outcome whole = scan(text, n, i, &roomy, n, n);
				struct outcome bytes = scan(text, n, i, &roomy, 1, 1);
				struct outcome cut = scan(text, n, i, &roomy, at + 1, n);
				if (memcmp(&whole, &bytes, sizeof whole) != 0 ||
				    memcmp(&whole, &cut, sizeof whole) != 0)
					fail_msg("byte %02x at %zu of '%s': %s, %s, %s", (unsigned)c, at,
						places[i], whole.what, bytes.what, cut.what);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers_are_found_and_their_declarations_checked),
		cmocka_unit_test(test_elements_are_cut_where_they_end),
		cmocka_unit_test(test_what_xmpp_forbids_is_refused),
		cmocka_unit_test(test_what_is_not_well_formed_is_refused),
		cmocka_unit_test(test_frames_have_no_header),
		cmocka_unit_test(test_limits_are_exact),
		cmocka_unit_test(test_limits_may_change_between_elements),
		cmocka_unit_test(test_any_byte_anywhere_gives_one_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
