/*
 * token.h - cuts a byte stream from an XMPP server into top-level elements
 *
 * Not an XML parser: the server under test is trusted to send well-formed
 * XML, and only the boundaries of stanzas, their names and their attributes
 * are wanted. Bytes may be split anywhere.
 */
#ifndef BENCH_TOKEN_H
#define BENCH_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum token_kind {
	TOKEN_MORE,     /* no complete element in the buffer                 */
	TOKEN_OPEN,     /* the stream header                                 */
	TOKEN_STANZA,   /* one element below the header, complete            */
	TOKEN_CLOSE,    /* the end tag of the stream                         */
	TOKEN_BAD,      /* text or markup that can't stand here              */
};

/* Where a scan stands; all zero at the beginning of a stream. */
struct token {
	uint32_t depth;
	uint32_t pos;
};

struct token_attr {
	const char *name;
	size_t name_len;
	const char *value;      /* as written, entities not resolved         */
	size_t value_len;
	char quote;
};

/*
 * Looks for the next element in buf, which must begin with the first byte
 * not yet consumed.
 *
 * TOKEN_MORE: the first *end_out bytes can be dropped; call again with the
 * others and what arrives after them (nothing is scanned twice, but for a
 * tag that was cut). Otherwise the element is [*begin_out, *end_out) and the
 * caller goes on behind it.
 */
enum token_kind token_next(struct token *t, const char *buf, size_t len,
                           size_t *begin_out, size_t *end_out);

/*
 * Steps through the attributes of the start tag that an element begins with.
 * *pos starts at the '<'. false when there are no more.
 */
bool token_attr_next(const char **pos, const char *stop, struct token_attr *out);

/* The attribute called name; false when the start tag has none. */
bool token_attr_find(const char *elem, size_t len, const char *name,
                     struct token_attr *out);

/* Whether the element's name is exactly name. */
bool token_is(const char *elem, size_t len, const char *name);

#endif
