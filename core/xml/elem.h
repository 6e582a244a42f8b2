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
	uint32_t value_n, name_n;
};
/* Whether that is its name, which a literal says; wherever it is from. */
#define MK_ATTR_IS(a, lit)                                                    \
	((a)->name_n == sizeof(lit) - 1 && memcmp((a)->name, lit, sizeof(lit) - 1) == 0)

struct mk_elem {
	struct mk_elem *next;          /* sibling (element or text)             */
	const char *name;              /* NULL: a text node                     */
	const char *xmlns;             /* NULL while building = the parent's    */
	struct mk_attr *attrs;         /* in order                              */
	struct mk_elem *first, *last;  /* children; text nodes: NULL            */
	struct mk_elem *parent;        /* NULL at the top                       */
	struct mk_arena *arena;
	const char *text;              /* a text node's; an element's if it has
	                                * more than one of those: all, joined   */
	uint32_t text_n, name_n;
};

/* A static copy of a known name or namespace, or NULL. Any thread. */
const char *mk_known(const char *p, size_t n);

/* Whether xmlns is one of the two that XML keeps for itself (Namespaces in XML
 * 3): no element can be put into one by a declaration, so none is let in. */
bool mk_ns_is_reserved(const char *xmlns);

/* Removes every child element that is() says yes to, in one walk; how many. */
unsigned mk_elem_remove_if(struct mk_elem *e, bool (*is)(const struct mk_elem *c, void *arg),
                           void *arg);

/* As mk_elem_set, but name (an XML name) and value (Chars, NUL-terminated) are
 * borrowed for as long as e lives. */
void mk_elem_borrow(struct mk_elem *e, struct mk_str name, struct mk_str value);
/* A text node as the new last child, with Chars that live as long as e,
 * NUL-terminated. After the last one, if there is more than one,
 * mk_elem_text_join makes of them what mk_elem_text gives. */
void mk_elem_text_put(struct mk_elem *e, const char *p, size_t n);
void mk_elem_text_join(struct mk_elem *e);
/* A copy of e and of its children's nodes in a; what is below them, and all
 * strings, are shared and must outlive it. */
struct mk_elem *mk_elem_copy_top(struct mk_arena *a, const struct mk_elem *e);

/*
 * Visits what is below e in document order, without recursion and without
 * parent pointers (which lead elsewhere in a shared tree): each node on its
 * way in, and NULL on the way out of each element, the top one excepted.
 */
struct mk_walk {
	const struct mk_elem **stack;  /* where to go on after an element       */
	const struct mk_elem *few[48];
	const struct mk_elem *next;
	uint32_t n, cap;
};
void mk_walk_begin(struct mk_walk *w, const struct mk_elem *e);
bool mk_walk_next(struct mk_walk *w, const struct mk_elem **out);
void mk_walk_end(struct mk_walk *w);

/*
 * Writes e as XML; parent_ns is the namespace it will stand in ("" = none):
 * namespaces are declared only where they differ from the parent's. e in the
 * streams namespace is written with the prefix "stream" if parent_ns is not
 * "", as all streams declare it.
 */
void mk_elem_render(struct mk_buf *b, const struct mk_elem *e, const char *parent_ns);
/* What follows "<name" of e in a place whose namespace is e's own: attributes (all,
 * or without "to"), content, end tag. */
void mk_elem_render_rest(struct mk_buf *b, const struct mk_elem *e, bool without_to);
void mk_escape_text(struct mk_buf *b, const char *p, size_t n);
void mk_escape_attr(struct mk_buf *b, const char *p, size_t n);

#endif
