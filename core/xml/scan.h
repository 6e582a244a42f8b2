/*
 * xml/scan.h - the pre-scanner: nothing reaches the XML parser without it
 *
 * Finds the boundaries of top-level elements in a stream's bytes, however
 * they were split, and refuses what XMPP forbids (RFC 6120 11.1) and what is
 * no UTF-8 or no XML Char, before any of it is parsed (S-01, S-02), and what
 * exceeds the limits (S-09). Resumable after every byte; holds no memory.
 */
#ifndef MK_XML_SCAN_H
#define MK_XML_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
	MK_SCAN_ENCODING,              /* bytes are no UTF-8: unsupported-encoding
	                                * for a BOM of UTF-16/32, else
	                                * not-well-formed; see .bom             */
	MK_SCAN_LIMIT,                 /* policy-violation                      */
};

struct mk_scan {
	uint32_t bytes;                /* of the current top-level element      */
	uint32_t elements;
	uint16_t depth, attrs;
	uint8_t state, quote;
	uint8_t utf8[3];               /* pending sequence: need, low, high     */
	uint8_t flags;                 /* header seen, BOM, first bytes ...     */
	uint8_t tail[12];              /* bytes of a token split over reads     */
	uint8_t tail_n;
};

/* framed: every element stands alone, without a stream header (WebSocket). */
void mk_scan_init(struct mk_scan *s, bool framed);
/*
 * Goes on at p. *used: bytes up to and with the end of what the result names;
 * call again with the rest. Before the header an XML declaration is allowed
 * and counted into it. After an error call mk_scan_init.
 */
enum mk_scan_result mk_scan_feed(struct mk_scan *s, const struct mk_scan_limits *lim,
	const char *p, size_t n, size_t *used);
/* Whether it stands between top-level elements (nothing buffered). */
bool mk_scan_is_idle(const struct mk_scan *s);

#endif
