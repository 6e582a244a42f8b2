/*
 * base/buf.c - bytes that grow; shared bytes that don't change
 *
 * A buffer belongs to whoever holds it; struct mk_shared to all who hold a
 * reference, on any thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include "base/assert.h"
#include "base/buf.h"

void mk_buf_grow(struct mk_buf *b, size_t more)
{
	size_t cap = b->cap < 64 ? 64 : b->cap;

	mk_assert(more <= SIZE_MAX / 4 && b->n <= SIZE_MAX / 4);
	while (cap - b->n < more)
		cap *= 2;
	b->p = mk_realloc(b->p, cap);
	b->cap = cap;
}

void mk_buf_vprintf(struct mk_buf *b, const char *fmt, va_list ap)
{
	va_list again;
	size_t room = b->cap - b->n;
	int n;

	va_copy(again, ap);
	n = vsnprintf(b->p != NULL ? b->p + b->n : NULL, room, fmt, ap);
	mk_assert(n >= 0);
	if ((size_t)n >= room) {
		/* One more for vsnprintf's NUL. */
		mk_buf_need(b, (size_t)n + 1);
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	b->n += (size_t)n;
}

void mk_buf_printf(struct mk_buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	mk_buf_vprintf(b, fmt, ap);
	va_end(ap);
}

char *mk_buf_z(struct mk_buf *b)
{
	*mk_buf_need(b, 1) = '\0';
	return b->p;
}

void mk_buf_free(struct mk_buf *b)
{
	mk_free(b->p);
	b->p = NULL;
	b->n = b->cap = 0;
}

struct mk_shared *mk_shared_new(const void *p, size_t n)
{
	struct mk_shared *s;

	mk_assert(n <= UINT32_MAX - sizeof(*s));
	s = mk_realloc(NULL, sizeof(*s) + n);
	atomic_init(&s->refs, 1);
	s->n = (uint32_t)n;
	/* p NULL: the caller fills it before anybody else sees it. */
	if (p != NULL && n > 0)
		memcpy(s->bytes, p, n);
	return s;
}

void mk_shared_unref(struct mk_shared **s)
{
	struct mk_shared *gone = *s;

	*s = NULL;
	if (gone != NULL &&
	    atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) == 1)
		mk_free(gone);
}
