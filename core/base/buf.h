/*
 * base/buf.h - bytes that grow; shared bytes that don't change
 */
#ifndef MK_BASE_BUF_H
#define MK_BASE_BUF_H

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <meerkat/types.h>

struct mk_buf { char *p; size_t n, cap; };     /* zeroed = empty            */

void mk_buf_grow(struct mk_buf *b, size_t more);       /* the slow half     */
/* Room for more bytes at b->p + b->n, which is never NULL. */
static inline char *mk_buf_need(struct mk_buf *b, size_t more)
{
	if (__builtin_expect(b->cap - b->n <= more, 0))
		mk_buf_grow(b, more);
	return b->p + b->n;
}
static inline void mk_buf_add(struct mk_buf *b, const void *p, size_t n)
{
	memcpy(mk_buf_need(b, n), p, n);
	b->n += n;
}
static inline void mk_buf_addz(struct mk_buf *b, const char *z)
{
	mk_buf_add(b, z, strlen(z));
}
static inline void mk_buf_addc(struct mk_buf *b, char c)
{
	*mk_buf_need(b, 1) = c;
	b->n++;
}
#define MK_BUF_LIT(b, lit) mk_buf_add((b), "" lit, sizeof(lit) - 1)
void mk_buf_printf(struct mk_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void mk_buf_vprintf(struct mk_buf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
/* A NUL after the last byte (not counted); b->p. */
char *mk_buf_z(struct mk_buf *b);
static inline void mk_buf_clear(struct mk_buf *b) { b->n = 0; }
void mk_buf_free(struct mk_buf *b);            /* ends up empty             */

/* Counted, immutable after it is filled; any thread. */
struct mk_shared { _Atomic uint32_t refs; uint32_t n; char bytes[]; };
/* p NULL: the caller fills bytes before anybody else sees it. */
struct mk_shared *mk_shared_new(const void *p, size_t n);
static inline struct mk_shared *mk_shared_ref(struct mk_shared *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}
void mk_shared_unref(struct mk_shared **s);

#endif
