/*
 * ws.c - the client's side of XMPP over WebSocket (RFC 6455, RFC 7395)
 *
 * The rest of meerkat-bench writes elements one behind the other; here they
 * become masked frames when they leave, and frames that came in become elements.
 * A server is trusted to write frames that are whole messages. Pings are not
 * answered: no run is that long. Loop's thread.
 */
#include "bench.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#define FRAMING_NS "urn:ietf:params:xml:ns:xmpp-framing"

void ws_request(struct bench *b, struct conn *c)
{
	uint8_t nonce[16];
	char key[32], text[512];
	int n;

	gnutls_rnd(GNUTLS_RND_NONCE, nonce, sizeof(nonce));
	base64_encode(nonce, sizeof(nonce), key, sizeof(key));
	n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
		"Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Protocol: xmpp\r\n\r\n", b->o.websocket, b->o.domain, key);
	c->state = CONN_UPGRADE;
	if (n > 0 && (size_t)n < sizeof(text))
		conn_put(b, c, text, (size_t)n);
}

void ws_open(struct bench *b, struct conn *c)
{
	conn_puts(b, c, "<open xmlns='" FRAMING_NS "' version='1.0' xml:lang='en' to='");
	conn_puts(b, c, b->o.domain);
	conn_puts(b, c, "'/>");
}

void ws_close(struct bench *b, struct conn *c)
{
	conn_puts(b, c, "<close xmlns='" FRAMING_NS "'/>");
}

/* ---- out ---- */

static void add(struct buf *out, const void *data, size_t len)
{
	buf_reserve(out, out->len + len);
	memcpy(out->data + out->len, data, len);
	out->len += len;
}

/* Masks what was added behind at, as the key is: four bytes, again and again. */
static void mask(struct buf *out, size_t at, uint32_t key)
{
	uint64_t wide = (uint64_t)key << 32 | key, word;
	char *p = out->data + at, *end = out->data + out->len;

	for (; end - p >= 8; p += 8) {
		memcpy(&word, p, 8);
		word ^= wide;
		memcpy(p, &word, 8);
	}
	for (size_t i = 0; p < end; p++, i++)
		*p ^= ((const char *)&wide)[i];
}

static void add_frame(struct bench *b, struct buf *out, const char *s, size_t len)
{
	static const char xmlns[] = " xmlns='jabber:client'";
	size_t name = strcspn(s, " />"), more = 0, at;
	uint8_t head[14] = { 0x81 };
	size_t n = 2;

	/* an element that stands alone has its own namespace */
	if (token_is(s, len, "message") || token_is(s, len, "presence") || token_is(s, len, "iq"))
		more = sizeof(xmlns) - 1;
	if (len + more < 126) {
		head[1] = (uint8_t)(0x80 | (len + more));
	} else if (len + more < 65536) {
		head[1] = 0x80 | 126;
		head[2] = (uint8_t)((len + more) >> 8);
		head[3] = (uint8_t)(len + more);
		n = 4;
	} else {
		head[1] = 0x80 | 127;
		for (int i = 0; i < 8; i++)
			head[2 + i] = (uint8_t)((uint64_t)(len + more) >> (56 - 8 * i));
		n = 10;
	}
	b->mask_key = b->mask_key * 1664525u + 1013904223u;
	memcpy(head + n, &b->mask_key, 4);
	add(out, head, n + 4);
	at = out->len;
	add(out, s, name);
	add(out, xmlns, more);
	add(out, s + name, len - name);
	mask(out, at, b->mask_key);
}

void ws_frame(struct bench *b, struct buf *out)
{
	struct token t = { 0 };
	size_t off = 0, begin = 0, end = 0;

	out->len = 0;
	if (b->out.len >= 4 && memcmp(b->out.data, "GET ", 4) == 0) {
		add(out, b->out.data, b->out.len);
		return;
	}
	while (off < b->out.len &&
	       token_next(&t, b->out.data + off, b->out.len - off, &begin, &end) == TOKEN_STANZA) {
		add_frame(b, out, b->out.data + off + begin, end - begin);
		off += end;
	}
}

/* ---- in ---- */

/* Bytes of the answer's head; 0: it isn't complete. */
static size_t upgraded(struct bench *b, struct conn *c, const char *s, size_t len)
{
	const char *end = memmem(s, len, "\r\n\r\n", 4);

	if (!end)
		return 0;
	if (len < 12 || memcmp(s, "HTTP/1.1 101", 12) != 0) {
		conn_fail(b, c, BENCH_E_CONNECT, s, len);
		return 0;
	}
	conn_header(b, c);
	return (size_t)(end + 4 - s);
}

static void message(struct bench *b, struct conn *c, const char *s, size_t len)
{
	enum token_kind kind = token_is(s, len, "open") ? TOKEN_OPEN
	                     : token_is(s, len, "close") ? TOKEN_CLOSE : TOKEN_STANZA;

	negotiate_element(b, c, kind, s, len);
}

size_t ws_feed(struct bench *b, struct conn *c, const char *s, size_t len)
{
	size_t off = 0;

	if (c->state == CONN_UPGRADE) {
		off = upgraded(b, c, s, len);
		if (off == 0)
			return 0;
	}
	while (len - off >= 2 && c->state != CONN_DEAD) {
		const uint8_t *p = (const uint8_t *)s + off;
		size_t head = 2;
		uint64_t n = p[1] & 0x7f;

		if (n == 126) {
			head = 4;
			if (len - off < head)
				break;
			n = (uint64_t)p[2] << 8 | p[3];
		} else if (n == 127) {
			head = 10;
			if (len - off < head)
				break;
			n = 0;
			for (int i = 0; i < 8; i++)
				n = n << 8 | p[2 + i];
		}
		if (len - off - head < n)
			break;
		if ((p[0] & 15) == 1)
			message(b, c, (const char *)p + head, (size_t)n);
		off += head + (size_t)n;
	}
	return off;
}
