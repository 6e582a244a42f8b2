/*
 * xml/elem.h - the element's inside (public half: meerkat/xml.h)
 *
 * Names and namespaces that the core knows (xml/known.h) are interned at
 * build time, so that comparing them is mostly comparing pointers; nobody may
 * rely on that for others. Text is kept as nodes among the children.
 */
#ifndef MK_XML_ELEM_H
#define MK_XML_ELEM_H

#include <meerkat/xml.h>
#include "base/arena.h"
#include "base/buf.h"

struct mk_attr {
	struct mk_attr *next;
	const char *name;              /* local name; "xml:lang" for that one   */
	const char *xmlns;             /* NULL for most; else a prefixed one    */
	const char *value;
	uint32_t value_n;
};
struct mk_elem {
	struct mk_elem *next;          /* sibling (element or text)             */
	const char *name;              /* NULL: a text node                     */
	const char *xmlns;             /* NULL while building = the parent's    */
	struct mk_attr *attrs;         /* in order                              */
	struct mk_elem *first, *last;  /* children; text nodes: NULL            */
	struct mk_elem *parent;        /* NULL at the top                       */
	struct mk_arena *arena;
	const char *text;              /* text nodes                            */
	uint32_t text_n;
};

/* A static copy of a known name or namespace, or NULL. */
const char *mk_known(const char *p, size_t n);

/* Writes e as XML; parent_ns is the namespace it will stand in ("" = none):
 * declared only where it differs.. */
void mk_elem_render(struct mk_buf *b, const struct mk_elem *e, const char *parent_ns);
void mk_escape_text(struct mk_buf *b, const char *p, size_t n);
void mk_escape_attr(struct mk_buf *b, const char *p, size_t n);

#endif
