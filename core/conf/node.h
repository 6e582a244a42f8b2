/*
 * conf/node.h - YAML as read: scalars are text, with file, line and column
 */
#ifndef MK_CONF_NODE_H
#define MK_CONF_NODE_H

#include <meerkat/types.h>
#include "base/buf.h"

enum mk_node_kind { MK_NODE_SCALAR = 1, MK_NODE_LIST, MK_NODE_MAP };
struct mk_node {
	enum mk_node_kind kind;
	bool quoted, is_null;          /* scalars                               */
	const char *key;               /* in a map; key_line, key_column        */
	const char *text;              /* scalars, after ${ENV}                 */
	const char *file;
	int line, column, key_line, key_column;
	struct mk_node *first, *next;  /* children; sibling                     */
};
const struct mk_node *mk_node_get(const struct mk_node *map, const char *key);

/* Messages for a person, each on a line of its own. */
struct mk_diag { struct mk_buf text; unsigned count; };
/* "file:line:column: message"; n may be NULL. */
void mk_diag_at(struct mk_diag *d, const struct mk_node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void mk_diag_fini(struct mk_diag *d);
/* The word of words (NULL-terminated) nearest to w (edit distance <= 2 or a
 * third of its length), or NULL. */
const char *mk_nearest(const char *w, const char *const *words);

#endif
