/*
 * xml/scan.h - the pre-scanner: nothing reaches the XML parser without it
 *
 * Finds the boundaries of top-level elements in a stream's bytes, however
 * they were split, and refuses what XMPP forbids (RFC 6120 11.1) and what is
 * no UTF-8 or no XML Char, before any of it is parsed (S-01, S-02), and what
 * exceeds the limits (S-09). Resumable after every byte; holds no memory, and
 * says the same of the same bytes however they were split. What it lets
 * through, the parser finds the same boundaries in, or refuses.
 */
#ifndef MK_XML_SCAN_H
#define MK_XML_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "xml/chars.h"

struct mk_scan_limits {
	uint32_t bytes;                /* of one top-level element              */
	uint16_t depth;                /* of elements, the top-level one is 1   */
	uint16_t attrs;                /* of one element                        */
	uint32_t elements;             /* in one top-level element              */
};

enum mk_scan_result {
	MK_SCAN_MORE = 0,              /* all n bytes used, element not complete */
	MK_SCAN_SPACE,                 /* used whitespace between elements      */
	MK_SCAN_HEADER,                /* used bytes end a stream start tag     */
	MK_SCAN_ELEMENT,               /* used bytes end one whole element      */
	MK_SCAN_END,                   /* used bytes end </stream:stream>       */
	MK_SCAN_RESTRICTED,            /* comment, PI, DTD, entity: restricted-xml */
	MK_SCAN_MALFORMED,             /* not-well-formed                       */
	MK_SCAN_ENCODING,              /* bytes are no UTF-8: not-well-formed, or
	                                * mk_scan_is_foreign: unsupported-encoding */
	MK_SCAN_LIMIT,                 /* policy-violation                      */
};

#define MK_SCAN_NAMES 8                /* depth to which end tags are compared */

struct mk_scan {
	uint32_t bytes;                /* of the current top-level element      */
	uint32_t elements;
	uint16_t depth, attrs;
	uint8_t state, quote;
	struct mk_utf8 utf8;           /* sequence under way                    */
	uint8_t flags;                 /* header seen, declaration seen ...     */
	uint8_t decl;                  /* parts of the declaration seen so far  */
	uint8_t tail_n;
	uint8_t tail[12];              /* of a token: entity, "[CDATA[" ...     */
	uint16_t sum;                  /* of the tag's name so far              */
	uint16_t names[MK_SCAN_NAMES]; /* sums of the open elements' names      */
};

/* framed: every element stands alone, without a stream header (WebSocket). */
void mk_scan_init(struct mk_scan *s, bool framed);
/*
 * Goes on at p, n > 0. *used: bytes up to and with the end of what the result names;
 * call again with the rest. Before the header an XML declaration is allowed
 * and counted into it. After an error call mk_scan_init.
 */
enum mk_scan_result mk_scan_feed(struct mk_scan *s, const struct mk_scan_limits *lim,
	const char *p, size_t n, size_t *used);
/* Whether it stands between top-level elements (nothing buffered). */
bool mk_scan_is_idle(const struct mk_scan *s);
/* Whether a stream start tag was seen: an MK_SCAN_ELEMENT without one is an
 * element where the header should be (<x/>), which is no stream. */
bool mk_scan_has_header(const struct mk_scan *s);
/* After MK_SCAN_ENCODING: the stream began with, or declared, another encoding
 * (RFC 6120 4.9.3.22, unsupported-encoding). */
bool mk_scan_is_foreign(const struct mk_scan *s);

#endif
