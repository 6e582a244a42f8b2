/*
 * conf/node.h - YAML as read: scalars are text, with file, line and column
 *
 * Nodes live in the arena of their configuration and don't change once it is
 * built. Whoever prints a value looks at is_secret first.
 */
#ifndef MK_CONF_NODE_H
#define MK_CONF_NODE_H

#include <meerkat/types.h>
#include "base/buf.h"

enum mk_node_kind { MK_NODE_SCALAR = 1, MK_NODE_LIST, MK_NODE_MAP };
struct mk_node {
	enum mk_node_kind kind;
	bool quoted, is_null;          /* scalars; is_null: nothing, ~ or null  */
	bool is_secret;                /* not for printing: from ${ENV}, named
	                                * like a secret, or filled as one       */
	const char *key;               /* in a map; key_line, key_column        */
	const char *text;              /* scalars, after ${ENV}                 */
	const char *file;
	int line, column, key_line, key_column;
	struct mk_node *first, *next;  /* children; sibling                     */
	struct mk_node *parent;        /* NULL at the root                      */
};
/* The child of that key; NULL if there is none, or map is NULL or no map. */
const struct mk_node *mk_node_get(const struct mk_node *map, const char *key);
/* Its children by key, those of one key by place: *n_out of them; mk_free.
 * For maps that may be long (domains), where mk_node_get would be slow. */
const struct mk_node **mk_node_sorted(const struct mk_node *map, size_t *n_out);
/* In an array of mk_node_sorted. */
const struct mk_node *mk_node_find(const struct mk_node *const *sorted, size_t n,
	const char *key);

/* Messages for a person, each on a line of its own; after MK_DIAG_MAX they are
 * only counted. Everywhere a mk_diag is taken it may be NULL. */
#define MK_DIAG_MAX 200
struct mk_diag { struct mk_buf text; unsigned count; };
/* "file:line:column: message"; n may be NULL. */
void mk_diag_at(struct mk_diag *d, const struct mk_node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "file:line:column: setting 'WHERE.KEY': message"; key or n may be NULL. */
void mk_diag_setting(struct mk_diag *d, const struct mk_node *n, const char *where,
	const char *key, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void mk_diag_vsetting(struct mk_diag *d, const struct mk_node *n, const char *where,
	const char *key, const char *fmt, va_list ap) __attribute__((format(printf, 5, 0)));
/* The text, NUL-terminated ("" if there is none). */
const char *mk_diag_text(struct mk_diag *d);
void mk_diag_fini(struct mk_diag *d);
/* The word of words (NULL-terminated) nearest to w (at most 2 edits or a third
 * of its length, 1 in a word of up to 3; a swap is one edit, case is none), or
 * NULL. */
const char *mk_nearest(const char *w, const char *const *words);

#endif
