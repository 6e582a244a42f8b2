/*
 * xml/parse.h - elements from bytes: the tree's only XML parser constructor
 *
 * A parser belongs to a worker and serves all its streams: it is kept at depth
 * 1 behind a seeded stream header, and whole, scanned elements are its content.
 * It is thrown away after an error, and when its name dictionary has grown.
 * For stream headers and mk_elem_read each thread has one of its own, made
 * when it is first needed and freed when the thread ends.
 */
#ifndef MK_XML_PARSE_H
#define MK_XML_PARSE_H

#include "xml/elem.h"

#define MK_NS_MAX 256          /* bytes of a namespace; longer ones are refused */

/* The seed of what stands alone, so declares all its namespaces. */
#define MK_PARSE_BARE "<bare>"

struct mk_parser;
struct mk_parser *mk_parser_new(void);
void mk_parser_free(struct mk_parser **p);

/* What a stream header said (RFC 6120 4.7, 4.8). */
struct mk_stream_header {
	bool is_stream;                /* <stream> in http://etherx.jabber.org/streams */
	const char *prefix;            /* of the root, "" if none               */
	const char *xmlns;             /* default namespace, "" if none         */
	const char *to, *from, *id, *version, *lang;   /* NULL = absent         */
	/* Namespace declarations of the header beyond xmlns and the stream
	 * prefix, as a start tag to seed a parser with; NULL = the standard
	 * header for xmlns (nothing special). */
	const char *seed;
};
/* Parses bytes that the scanner called a header. Strings are of a. -MK_EXML. */
int mk_parse_header(struct mk_arena *a, const char *p, size_t n,
                    struct mk_stream_header *out);
/* Frees this thread's own parser; by itself at the end of a thread. */
void mk_parse_thread_end(void);
/*
 * Parses one whole element that the scanner let through. xmlns: the stream's
 * default namespace ("jabber:client"); seed: as above, or NULL.
 * The tree is of a. -MK_EXML: not-well-formed (unbound prefix, duplicate
 * attribute, tags that don't match ...), or a name or namespace that could not
 * be written for others (README.md). libxml2 takes a depth of 256, which is the
 * most that a limit can be set to.
 */
int mk_parse_elem(struct mk_parser *p, const char *xmlns, const char *seed,
	struct mk_arena *a, const char *bytes, size_t n, struct mk_elem **out);
/* The same for an element that may hold a secret, such as a login's: nothing of
 * it stays anywhere but in a. Slower, as libxml2 forgets nothing by itself. */
int mk_parse_secret(const char *xmlns, const char *seed, struct mk_arena *a,
	const char *bytes, size_t n, struct mk_elem **out);

#endif
