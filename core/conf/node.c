/*
 * conf/node.c - looking into the tree, and messages about it
 *
 * No state. A message is built into the caller's mk_diag, which belongs to one
 * thread.
 */
#include "conf/node.h"

#include <ctype.h>
#include <stdlib.h>
#include <meerkat/conf.h>
#include "base/ban.h"

const struct mk_node *mk_node_get(const struct mk_node *map, const char *key)
{
	if (map == NULL || map->kind != MK_NODE_MAP)
		return NULL;
	for (const struct mk_node *n = map->first; n != NULL; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

struct ranked { const struct mk_node *node; size_t place; };

static int by_key(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	int c = strcmp(x->node->key, y->node->key);

	if (c != 0)
		return c;
	return x->place < y->place ? -1 : x->place > y->place;
}

const struct mk_node **mk_node_sorted(const struct mk_node *map, size_t *n_out)
{
	const struct mk_node **v;
	struct ranked *r;
	size_t n = 0, i = 0;

	if (map != NULL && map->kind == MK_NODE_MAP)
		for (const struct mk_node *c = map->first; c != NULL; c = c->next)
			n++;
	r = mk_alloc((n + 1) * sizeof *r);
	v = mk_alloc((n + 1) * sizeof *v);
	if (n != 0) {
		for (const struct mk_node *c = map->first; c != NULL; c = c->next, i++)
			r[i] = (struct ranked){ c, i };
		qsort(r, n, sizeof *r, by_key);
	}
	for (i = 0; i < n; i++)
		v[i] = r[i].node;
	mk_free(r);
	*n_out = n;
	return v;
}

const struct mk_node *mk_node_find(const struct mk_node *const *sorted, size_t n,
	const char *key)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(sorted[mid]->key, key);
		if (c == 0)
			return sorted[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* ---- messages ---------------------------------------------------------------- */

static bool begin(struct mk_diag *d)
{
	if (d == NULL)
		return false;
	d->count++;
	if (d->count == MK_DIAG_MAX + 1)
		mk_buf_addz(&d->text, "... and more\n");
	return d->count <= MK_DIAG_MAX;
}

static void place(struct mk_diag *d, const struct mk_node *n)
{
	if (n != NULL)
		mk_buf_printf(&d->text, "%s:%d:%d: ", n->file, n->line, n->column);
}

void mk_diag_add(struct mk_diag *d, const char *fmt, ...)
{
	va_list ap;

	if (!begin(d))
		return;
	va_start(ap, fmt);
	mk_buf_vprintf(&d->text, fmt, ap);
	va_end(ap);
	mk_buf_addc(&d->text, '\n');
}

void mk_diag_at(struct mk_diag *d, const struct mk_node *n, const char *fmt, ...)
{
	va_list ap;

	if (!begin(d))
		return;
	place(d, n);
	va_start(ap, fmt);
	mk_buf_vprintf(&d->text, fmt, ap);
	va_end(ap);
	mk_buf_addc(&d->text, '\n');
}

void mk_diag_vsetting(struct mk_diag *d, const struct mk_node *n, const char *where,
	const char *key, const char *fmt, va_list ap)
{
	if (!begin(d))
		return;
	place(d, n);
	mk_buf_printf(&d->text, "setting '%s%s%s': ", where,
	              *where != '\0' && key != NULL ? "." : "", key != NULL ? key : "");
	mk_buf_vprintf(&d->text, fmt, ap);
	mk_buf_addc(&d->text, '\n');
}

void mk_diag_setting(struct mk_diag *d, const struct mk_node *n, const char *where,
	const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	mk_diag_vsetting(d, n, where, key, fmt, ap);
	va_end(ap);
}

const char *mk_diag_text(struct mk_diag *d)
{
	return mk_buf_z(&d->text);
}

void mk_diag_fini(struct mk_diag *d)
{
	mk_buf_free(&d->text);
	d->count = 0;
}

/* ---- the nearest spelling ------------------------------------------------------ */

#define WORD_MAX 64

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: insert, delete, change, swap of neighbours. */
static unsigned distance(const char *a, size_t a_n, const char *b, size_t b_n)
{
	unsigned row[3][WORD_MAX + 1];

	for (size_t j = 0; j <= b_n; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_n; i++) {
		unsigned *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_n; j++) {
			int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
			now[j] = least(least(now[j - 1], up[j]) + 1, up[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    tolower((unsigned char)a[i - 2]) == y)
				now[j] = least(now[j], up2[j - 2] + 1);
		}
	}
	return row[a_n % 3][b_n];
}

const char *mk_nearest(const char *w, const char *const *words)
{
	size_t n = strlen(w);
	unsigned limit = n <= 3 ? 1 : n / 3 > 2 ? (unsigned)(n / 3) : 2;
	const char *best = NULL;

	if (n == 0 || n > WORD_MAX)
		return NULL;
	for (; *words != NULL; words++) {
		size_t m = strlen(*words);
		unsigned k;
		if (m == 0 || m > WORD_MAX)
			continue;
		k = distance(w, n, *words, m);
		if (k <= limit && (best == NULL || k < limit)) {
			best = *words;
			if (k == 0)
				break;
			limit = k;
		}
	}
	return best;
}
