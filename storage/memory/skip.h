/*
 * memory/skip.h - rows in order: a skip list with links both ways
 *
 * A row may be in several lists (by key, by each unique value). The list
 * doesn't own its rows. The caller locks.
 */
#ifndef MEMORY_SKIP_H
#define MEMORY_SKIP_H

#include <meerkat/store.h>

#define SKIP_COLUMNS 32
#define SKIP_HEIGHT  20

struct mem_row {
	uint64_t version;
	struct mk_value v[];           /* bytes follow                          */
};
struct skip_node {
	struct mem_row *row;
	struct skip_node *prev;        /* NULL: the first                       */
	struct skip_node *next[];
};
struct skip {
	uint32_t column[SKIP_COLUMNS], columns;        /* what orders the rows  */
	uint64_t dice;
	unsigned height;
	struct skip_node *head;        /* before the first; has no row          */
	struct skip_node *last;
};

int  skip_value_cmp(const struct mk_value *a, const struct mk_value *b);
void skip_init(struct skip *s);        /* columns are set by the caller     */
void skip_fini(struct skip *s);
/* The row has no equal in the list. */
void skip_insert(struct skip *s, struct mem_row *row);
void skip_remove(struct skip *s, const struct mem_row *row);
/* probe: values of the first n ordering columns. The first row that is not
 * below it (or, above: that is above it); NULL: none. */
struct skip_node *skip_seek(const struct skip *s, const struct mk_value *probe, uint32_t n,
	bool above);
/* The same order for one row: <0, 0, >0. */
int  skip_row_cmp(const struct skip *s, const struct mem_row *row,
	const struct mk_value *probe, uint32_t n);

#endif
