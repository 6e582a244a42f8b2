/*
 * memory/skip.c - rows in order: a skip list with links both ways
 */
#include "skip.h"

int skip_value_cmp(const struct mk_value *a, const struct mk_value *b)
{
	if (a->type != b->type)
		return (a->type > b->type) - (a->type < b->type);
	if (a->type == MK_INT)
		return (a->as.i > b->as.i) - (a->as.i < b->as.i);
	if (a->type == 0)
		return 0;
	size_t n = a->as.b.n < b->as.b.n ? a->as.b.n : b->as.b.n;
	int c = n != 0 ? memcmp(a->as.b.p, b->as.b.p, n) : 0;
	return c != 0 ? c : (a->as.b.n > b->as.b.n) - (a->as.b.n < b->as.b.n);
}

int skip_row_cmp(const struct skip *s, const struct mem_row *row,
	const struct mk_value *probe, uint32_t n)
{
	int c = 0;

	for (uint32_t i = 0; i < n && c == 0; i++)
		c = skip_value_cmp(&row->v[s->column[i]], &probe[i]);
	return c;
}

static struct skip_node *node_new(unsigned height)
{
	return mk_alloc(sizeof(struct skip_node) + height * sizeof(struct skip_node *));
}

void skip_init(struct skip *s)
{
	s->head = node_new(SKIP_HEIGHT);
	s->height = 1;
	s->last = NULL;
	mk_random(&s->dice, sizeof s->dice);
	s->dice |= 1;
}

void skip_fini(struct skip *s)
{
	for (struct skip_node *n = s->head, *next; n != NULL; n = next) {
		next = n->next[0];
		mk_free(n);
	}
	s->head = NULL;
}

/* In before: for each level, the last node that is below probe (or, above: not
 * above it). */
static void descend(const struct skip *s, const struct mk_value *probe, uint32_t n,
	bool above, struct skip_node **before)
{
	struct skip_node *x = s->head;

	for (unsigned level = s->height; level-- > 0; ) {
		struct skip_node *y;
		while ((y = x->next[level]) != NULL) {
			int c = skip_row_cmp(s, y->row, probe, n);
			if (c > 0 || (c == 0 && !above))
				break;
			x = y;
		}
		before[level] = x;
	}
}

struct skip_node *skip_seek(const struct skip *s, const struct mk_value *probe, uint32_t n,
	bool above)
{
	struct skip_node *before[SKIP_HEIGHT];

	descend(s, probe, n, above, before);
	return before[0]->next[0];
}

static void probe_of(const struct skip *s, const struct mem_row *row, struct mk_value *probe)
{
	for (uint32_t i = 0; i < s->columns; i++)
		probe[i] = row->v[s->column[i]];
}

void skip_insert(struct skip *s, struct mem_row *row)
{
	struct skip_node *before[SKIP_HEIGHT];
	struct mk_value probe[SKIP_COLUMNS];
	unsigned height = 1;

	probe_of(s, row, probe);
	descend(s, probe, s->columns, false, before);
	/* xorshift: one more level with a chance of a quarter. */
	s->dice ^= s->dice << 13;
	s->dice ^= s->dice >> 7;
	s->dice ^= s->dice << 17;
	for (uint64_t d = s->dice; height < SKIP_HEIGHT && (d & 3) == 0; d >>= 2)
		height++;
	for (; s->height < height; s->height++)
		before[s->height] = s->head;
	struct skip_node *n = node_new(height);
	n->row = row;
	for (unsigned level = 0; level < height; level++) {
		n->next[level] = before[level]->next[level];
		before[level]->next[level] = n;
	}
	n->prev = before[0] != s->head ? before[0] : NULL;
	if (n->next[0] != NULL)
		n->next[0]->prev = n;
	else
		s->last = n;
}

void skip_remove(struct skip *s, const struct mem_row *row)
{
	struct skip_node *before[SKIP_HEIGHT];
	struct mk_value probe[SKIP_COLUMNS];

	probe_of(s, row, probe);
	descend(s, probe, s->columns, false, before);
	struct skip_node *n = before[0]->next[0];
	for (unsigned level = 0; level < s->height && before[level]->next[level] == n; level++)
		before[level]->next[level] = n->next[level];
	if (n->next[0] != NULL)
		n->next[0]->prev = n->prev;
	else
		s->last = n->prev;
	mk_free(n);
}
