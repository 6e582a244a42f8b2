/*
 * base/assert.h - our own promises, checked always
 *
 * Never for what a peer, a file or a database sent.
 */
#ifndef MK_BASE_ASSERT_H
#define MK_BASE_ASSERT_H

_Noreturn void mk_assert_failed(const char *what, const char *file, int line);

#define mk_assert(c) \
	(__builtin_expect(!(c), 0) ? mk_assert_failed(#c, __FILE__, __LINE__) : (void)0)
/* The handle is alive and of its kind: each starts with uint32_t magic. */
#define MK_CHECK(o, m) mk_assert((o) != NULL && (o)->magic == (m))

#define MK_CONTAINER(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define MK_LIKELY(c)   __builtin_expect(!!(c), 1)
#define MK_UNLIKELY(c) __builtin_expect(!!(c), 0)

#endif
