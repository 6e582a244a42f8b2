/*
 * xml/parse_fuzz.c - a stream of any bytes through scanner, parser and writer
 *
 * What is taken is written, scanned, read and written again: it must be one
 * element, and the same (S-02). The parser is kept from input to input, as a
 * worker does.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "xml/parse.h"
#include "xml/scan.h"
#include "xml/stanza.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct mk_scan_limits limits = { 1 << 20, 64, 64, 4096 };

static void check(struct mk_parser *parser, struct mk_arena *a, const struct mk_elem *e)
{
	struct mk_str once = mk_elem_write(a, e), twice;
	struct mk_elem *again, *copy = mk_elem_copy(a, e);
	struct mk_buf b = { NULL, 0, 0 }, c = { NULL, 0, 0 };
	struct mk_stanza *s;

	mk_assert(mk_elem_read(a, once, &again) == 0);
	twice = mk_elem_write(a, again);
	mk_assert(mk_str_eq(once, twice) && mk_str_eq(once, mk_elem_write(a, copy)));
	/* In a stream it is one element, too. */
	mk_elem_render(&b, e, "jabber:client");
	mk_assert(mk_parse_elem(parser, "jabber:client", NULL, a, b.p, b.n, &again) == 0);
	mk_elem_render(&c, again, "jabber:client");
	mk_assert(mk_str_eq((struct mk_str){ b.p, b.n }, (struct mk_str){ c.p, c.n }));
	mk_buf_free(&b);
	mk_buf_free(&c);
	mk_assert(mk_elem_text(e).n == mk_elem_text(again).n);
	if (mk_stanza_from_elem(e, &s) == 0) {
		struct mk_stanza *mine = mk_stanza_ref(s), *error;
		mk_stanza_seal(s);
		mk_stanza_edit(&mine);
		mk_stanza_seal(mine);
		mk_assert(mk_stanza_storable(s) == mk_stanza_storable(mine));
		error = mk_stanza_error(s, MK_ERR_BAD_REQUEST, NULL);
		mk_stanza_unref(&error);
		mk_stanza_unref(&mine);
		mk_stanza_unref(&s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct mk_parser *parser;
	struct mk_stream_header h = { .xmlns = "jabber:client" };
	struct mk_arena *a = mk_arena_new();
	size_t used, pos = 0;
	struct mk_elem *e;
	struct mk_scan s;

	if (parser == NULL)
		parser = mk_parser_new();
	mk_scan_init(&s, n > 0 && p[0] == '<' && p[n - 1] == '\n');
	while (pos < n) {
		const char *at = (const char *)p + pos;
		enum mk_scan_result r = mk_scan_feed(&s, &limits, at, n - pos, &used);
		if (r == MK_SCAN_HEADER) {
			if (mk_parse_header(a, at, used, &h) < 0)
				break;
		} else if (r == MK_SCAN_ELEMENT) {
			if (mk_parse_elem(parser, h.xmlns, h.seed, a, at, used, &e) < 0)
				break;
			check(parser, a, e);
		} else if (r != MK_SCAN_SPACE) {
			break;
		}
		pos += used;
	}
	mk_arena_free(&a);
	return 0;
}
