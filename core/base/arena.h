/*
 * base/arena.h - memory freed all at once (public half: meerkat/types.h)
 *
 * Chunks of 1 KiB come from a small per-thread cache, so that an arena per
 * stanza costs no malloc; a chunk freed on another thread goes into that
 * thread's cache. Bigger requests get chunks of their own.
 */
#ifndef MK_BASE_ARENA_H
#define MK_BASE_ARENA_H

#include <meerkat/types.h>

struct mk_chunk;
struct mk_arena {
	char *p, *end;                 /* free part of the newest chunk         */
	struct mk_chunk *chunks;       /* newest first                          */
};
/* In an object of the caller's; mk_arena_fini gives the chunks back. */
void mk_arena_init(struct mk_arena *a);
void mk_arena_fini(struct mk_arena *a);
/* Frees all but the first chunk, which is kept for reuse. */
void mk_arena_reset(struct mk_arena *a);
/* An arena that lives in its own first chunk (mk_arena_new is this). extra
 * zeroed bytes follow it: *extra_out. */
struct mk_arena *mk_arena_new_with(size_t extra, void **extra_out);
/* Not zeroed. */
void *mk_arena_raw(struct mk_arena *a, size_t bytes) __attribute__((malloc, returns_nonnull));
size_t mk_arena_bytes(const struct mk_arena *a);
/* Gives this thread's cache back; at the end of a thread. */
void mk_arena_thread_end(void);

#endif
