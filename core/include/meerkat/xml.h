/*
 * meerkat/xml.h - elements: reading what came, building what goes
 *
 * An element lives in an arena and dies with it. Strings handed out are
 * NUL-terminated, UTF-8, unescaped, and borrowed from that arena. Names and
 * namespaces are compared with mk_streq or mk_elem_is, never by pointer.
 *
 * What is built here is escaped by the one writer of the core; there is no
 * way to pass a string of XML through (S-02).
 */
#ifndef MK_XML_H
#define MK_XML_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

/* ---- reading ---------------------------------------------------------------- */

MK_API const char *mk_elem_name(const struct mk_elem *e);
MK_API const char *mk_elem_xmlns(const struct mk_elem *e);     /* never NULL */
/* name or xmlns NULL = any. */
MK_API bool mk_elem_is(const struct mk_elem *e, const char *name, const char *xmlns);
/* An attribute without namespace, or xml:lang by the name "xml:lang"; NULL if absent. */
MK_API const char *mk_elem_attr(const struct mk_elem *e, const char *name);
/* All direct text, joined; n 0 if there is none. */
MK_API struct mk_str mk_elem_text(const struct mk_elem *e);
/* First child element that matches (NULL = any), or NULL. */
MK_API struct mk_elem *mk_elem_child(const struct mk_elem *e, const char *name,
                                     const char *xmlns);
/* Children in order: for (c = mk_elem_first(e); c; c = mk_elem_next(c)). */
MK_API struct mk_elem *mk_elem_first(const struct mk_elem *e);
MK_API struct mk_elem *mk_elem_next(const struct mk_elem *e);
/* Text of the first matching child; n 0 if there is none. */
MK_API struct mk_str mk_elem_child_text(const struct mk_elem *e, const char *name,
                                        const char *xmlns);

/* ---- building --------------------------------------------------------------- */

/* xmlns NULL: that of the place where it will be put (jabber:client at the
 * top of a stanza). All strings are copied into the arena. */
MK_API struct mk_elem *mk_elem_new(struct mk_arena *a, const char *name,
                                   const char *xmlns);
/* A new last child of e; xmlns NULL = e's own. */
MK_API struct mk_elem *mk_elem_add(struct mk_elem *e, const char *name,
                                   const char *xmlns);
/* <name xmlns>text</name> as the new last child; returns it. */
MK_API struct mk_elem *mk_elem_add_text(struct mk_elem *e, const char *name,
                                        const char *xmlns, struct mk_str text);
/* Sets or replaces; value NULL removes. Names as in mk_elem_attr. */
MK_API void mk_elem_set(struct mk_elem *e, const char *name, const char *value);
MK_API void mk_elem_setf(struct mk_elem *e, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds text at the end of e. Invalid XML characters become U+FFFD. */
MK_API void mk_elem_text_add(struct mk_elem *e, struct mk_str text);
/* Puts child, of the same arena or of one that lives as long, last in e. */
MK_API void mk_elem_adopt(struct mk_elem *e, struct mk_elem *child);
/* Removes child from e (it stays readable). */
MK_API void mk_elem_remove(struct mk_elem *e, struct mk_elem *child);
/* A deep copy in a. */
MK_API struct mk_elem *mk_elem_copy(struct mk_arena *a, const struct mk_elem *e);
/* e as XML text in a, as it would stand alone; for storage and logs. */
MK_API struct mk_str mk_elem_write(struct mk_arena *a, const struct mk_elem *e);
/* The other way: one element, by the core's own scanner and parser with the
 * limits of a stanza. -MK_EXML. For what mk_elem_write stored. */
MK_API int mk_elem_read(struct mk_arena *a, struct mk_str xml, struct mk_elem **out);

MK_END_DECLS
#endif
