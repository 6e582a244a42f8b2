/*
 * base/list.h - doubly linked, intrusive; a node is in at most one list
 */
#ifndef MK_BASE_LIST_H
#define MK_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include "base/assert.h"

struct mk_list { struct mk_list *next, *prev; };

static inline void mk_list_init(struct mk_list *l) { l->next = l->prev = l; }
static inline bool mk_list_empty(const struct mk_list *l) { return l->next == l; }
/* Whether a node (zeroed or removed ones are not) is in a list. */
static inline bool mk_list_linked(const struct mk_list *n)
{
	return n->next != NULL && n->next != n;
}
static inline void mk_list_insert_before(struct mk_list *at, struct mk_list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}
static inline void mk_list_push(struct mk_list *l, struct mk_list *n)   /* last */
{
	mk_list_insert_before(l, n);
}
static inline void mk_list_unshift(struct mk_list *l, struct mk_list *n) /* first */
{
	mk_list_insert_before(l->next, n);
}
static inline void mk_list_remove(struct mk_list *n)
{
	if (n->next == NULL)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = NULL;
}
static inline struct mk_list *mk_list_first(struct mk_list *l)
{
	return l->next == l ? NULL : l->next;
}
static inline struct mk_list *mk_list_pop(struct mk_list *l)            /* first */
{
	struct mk_list *n = mk_list_first(l);
	if (n != NULL)
		mk_list_remove(n);
	return n;
}
/* All of from, in order, to the end of to. */
static inline void mk_list_move(struct mk_list *to, struct mk_list *from)
{
	if (mk_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	mk_list_init(from);
}
/* n, its successor being n_next, may be removed in the body. */
#define MK_LIST_EACH(n, l) \
	for (struct mk_list *n = (l)->next, *n##_next = n->next; n != (l); \
	     n = n##_next, n##_next = n->next)

#endif
