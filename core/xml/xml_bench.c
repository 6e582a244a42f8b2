/*
 * xml/xml_bench.c - what a chat message costs in scanner, parser and writer
 *
 * Not installed, not a test: make core/xml/xml_bench && core/xml/xml_bench.
 * Prints nanoseconds for each step, the best of five rounds.
 */
#include <stdio.h>

#include "base/assert.h"
#include "xml/parse.h"
#include "xml/scan.h"
#include "xml/stanza.h"

#define ROUNDS 5
#define TURNS 200000

static const char chat[] =
	"<message xmlns='jabber:client' type='chat' to='juliet@example.com' "
	"id='b4c7a2f0-1'><body>Wherefore art thou, Romeo? Deny thy father and "
	"refuse thy name; or if thou wilt not, be but sworn my love.</body></message>";
static const char header[] =
	"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
	"xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0'>";

static const struct mk_scan_limits limits = { 262144, 64, 64, 4096 };

struct state {
	struct mk_parser *parser;
	struct mk_scan scan;
	struct mk_stanza *stanza;
	struct mk_jid *to, *from;
	struct mk_buf buf;
};

static void scan(struct state *b)
{
	size_t used;
	mk_assert(mk_scan_feed(&b->scan, &limits, chat, sizeof chat - 1, &used) == MK_SCAN_ELEMENT);
}

static void parse(struct state *b)
{
	struct mk_stanza *s = mk_stanza_alloc();
	struct mk_elem *root;
	mk_assert(mk_parse_elem(b->parser, "jabber:client", NULL, s->arena, chat,
		sizeof chat - 1, &root) == 0);
	mk_stanza_adopt(s, root);
	mk_stanza_unref(&s);
}

static void jid(struct state *b)
{
	struct mk_jid *j;
	(void)b;
	mk_assert(mk_jid_parse(MK_STR("juliet@example.com/balcony"), &j) == 0);
	mk_jid_unref(&j);
}

static void jid_new(struct state *b)
{
	struct mk_jid *j;
	(void)b;
	mk_assert(mk_jid_make(MK_STR("Juliet"), MK_STR("example.com"), MK_STR("balcony"), &j) == 0);
	mk_jid_unref(&j);
}

static void seal(struct state *b)
{
	b->stanza->flags = 0;
	mk_stanza_seal(b->stanza);
}

static void render(struct state *b)
{
	mk_buf_clear(&b->buf);
	mk_stanza_render(&b->buf, b->stanza, NULL);
}

static void parse_header(struct state *b)
{
	struct mk_stream_header h;
	struct mk_arena *a = mk_arena_new();
	(void)b;
	mk_assert(mk_parse_header(a, header, sizeof header - 1, &h) == 0);
	mk_arena_free(&a);
}

int main(void)
{
	static const struct { const char *name; void (*fn)(struct state *b); } steps[] = {
		{ "scan", scan }, { "parse into a stanza", parse }, { "parse a JID (cached)", jid },
		{ "make a JID", jid_new }, { "seal", seal }, { "render", render },
		{ "parse a header", parse_header },
	};
	struct state b = { .parser = mk_parser_new() };
	struct mk_elem *root;

	mk_scan_init(&b.scan, true);
	b.stanza = mk_stanza_alloc();
	mk_assert(mk_parse_elem(b.parser, "jabber:client", NULL, b.stanza->arena, chat,
		sizeof chat - 1, &root) == 0 && mk_stanza_adopt(b.stanza, root) == 0);
	mk_assert(mk_jid_parsez("juliet@example.com", &b.to) == 0 &&
		mk_jid_parsez("romeo@example.net/orchard", &b.from) == 0);
	mk_stanza_set_to(b.stanza, b.to);
	mk_stanza_set_from(b.stanza, b.from);
	render(&b);
	printf("message of %zu bytes, rendered %zu\n", sizeof chat - 1, b.buf.n);
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		double best = 1e9;
		for (int r = 0; r < ROUNDS; r++) {
			mk_usec t = mk_now_usec();
			for (int k = 0; k < TURNS; k++)
				steps[i].fn(&b);
			double ns = (double)(mk_now_usec() - t) * 1000 / TURNS;
			if (ns < best)
				best = ns;
		}
		printf("%-22s %7.1f ns\n", steps[i].name, best);
	}
	mk_stanza_unref(&b.stanza);
	mk_jid_unref(&b.to);
	mk_jid_unref(&b.from);
	mk_buf_free(&b.buf);
	mk_parser_free(&b.parser);
	return 0;
}
