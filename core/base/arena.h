/*
 * base/arena.h - memory freed all at once (public half: meerkat/types.h)
 *
 * Chunks of 1 KiB come from a small per-thread cache, so that an arena per
 * stanza costs no malloc; a chunk freed on another thread goes into that
 * thread's cache. Bigger requests get chunks of their own. Under
 * AddressSanitizer every allocation is a malloc of its own, so that a byte too
 * far or too late is seen.
 */
#ifndef MK_BASE_ARENA_H
#define MK_BASE_ARENA_H

#include <meerkat/types.h>

#define MK_ARENA_CHUNK 1024            /* bytes, header included            */

struct mk_chunk;
struct mk_arena {
	char *p, *end;                 /* free part of the newest chunk         */
	struct mk_chunk *chunks;       /* newest first; big ones behind it      */
};
/* In an object of the caller's; mk_arena_fini gives the chunks back. */
void mk_arena_init(struct mk_arena *a);
void mk_arena_fini(struct mk_arena *a);
/* Frees all but one chunk, which is kept for reuse. An arena that lives in its
 * own chunk stays, with its extra bytes. */
void mk_arena_reset(struct mk_arena *a);
/* Overwrites all that was allocated from a, before it is freed or reset, as
 * secrets were there. a itself stays usable; its extra bytes are overwritten. */
void mk_arena_wipe(struct mk_arena *a);
/* An arena that lives in its own first chunk (mk_arena_new is this). extra
 * zeroed bytes follow it: *extra_out. */
struct mk_arena *mk_arena_new_with(size_t extra, void **extra_out);
/* The slow half of mk_arena_raw. */
void *mk_arena_more(struct mk_arena *a, size_t bytes) __attribute__((returns_nonnull));
/* Not zeroed; else as mk_arena_alloc. */
static inline void *mk_arena_raw(struct mk_arena *a, size_t bytes)
{
	size_t n = (bytes + (bytes == 0) + 15) & ~(size_t)15;
	char *p = a->p;

	/* n < bytes if the sum wrapped round; the slow half refuses it. */
	if (__builtin_expect((size_t)(a->end - p) < n || n < bytes, 0))
		return mk_arena_more(a, bytes);
	a->p = p + n;
	return p;
}
/* What the arena holds, headers included. */
size_t mk_arena_bytes(const struct mk_arena *a);
/* Gives this thread's cache back. Happens by itself when a thread ends. */
void mk_arena_thread_end(void);

#endif
