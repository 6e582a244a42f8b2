/*
 * conf/fill.h - the part of filling that the core's own sections need
 */
#ifndef MK_CONF_FILL_H
#define MK_CONF_FILL_H

#include "conf/config.h"

/* A plugin's settings on the way to its check(). */
struct mk_conf_view {
	const struct mk_node *node;    /* may be NULL                           */
	const char *where;
	const void *values;
};
/* mk_conf_fill for a section with subsections that others read: also names
 * them (NULL-terminated), or is NULL. */
int mk_conf_fill_also(const struct mk_conf_schema *schema, const char *const *also,
	const struct mk_node *node, const char *where, struct mk_arena *arena,
	struct mk_diag *d, void *out);
/* The item of that key, or NULL. */
const struct mk_conf_item *mk_conf_item(const struct mk_conf_schema *schema,
	const char *key);
/* text taken from the folder of n's file (n NULL: as it is), absolute. */
const char *mk_conf_path(const struct mk_node *n, const char *text,
	struct mk_arena *arena);
/* n's text, cut and without control characters, for a message. */
const char *mk_conf_shown(const struct mk_node *n, char out[80]);

#endif
