/*
 * base/arena.c - memory freed all at once
 *
 * An arena is used by one thread at a time; the cache of chunks is each
 * thread's own, so nothing here locks.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/arena.h"
#include "base/assert.h"
#include "base/thread.h"

#if defined(__SANITIZE_ADDRESS__)
#define EXACT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EXACT 1
#endif
#endif
#ifndef EXACT
#define EXACT 0
#endif

#define CACHE_MAX 1024                 /* chunks: 1 MiB a thread at most; a turn of
                                        * a busy worker has some hundred stanzas */

struct mk_chunk {
	struct mk_chunk *next;
	uint32_t size;                 /* header included                       */
	uint32_t resident;             /* bytes of the arena itself, + its extra */
	_Alignas(16) char data[];
};
#define HEAD sizeof(struct mk_chunk)

static _Thread_local struct {
	struct mk_chunk *first;
	uint32_t count;
} cache;

static struct mk_chunk *chunk_new(size_t size)
{
	struct mk_chunk *c;

	if (size == MK_ARENA_CHUNK && cache.first != NULL) {
		c = cache.first;
		cache.first = c->next;
		cache.count--;
	} else {
		if (size > UINT32_MAX || (c = malloc(size)) == NULL)
			mk_assert_failed("out of memory", __FILE__, __LINE__);
	}
	c->next = NULL;
	c->size = (uint32_t)size;
	c->resident = 0;
	return c;
}

static void chunk_free(struct mk_chunk *c)
{
	if (!EXACT && c->size == MK_ARENA_CHUNK && cache.count < CACHE_MAX) {
		mk_thread_mark();
		c->next = cache.first;
		cache.first = c;
		cache.count++;
	} else {
		free(c);
	}
}

void mk_arena_thread_end(void)
{
	struct mk_chunk *c;

	while ((c = cache.first) != NULL) {
		cache.first = c->next;
		free(c);
	}
	cache.count = 0;
}

void mk_arena_init(struct mk_arena *a)
{
	a->p = a->end = NULL;
	a->chunks = NULL;
}

void mk_arena_fini(struct mk_arena *a)
{
	struct mk_chunk *next, *c = a->chunks;

	mk_arena_init(a);
	/* a may be in one of these: not touched any more. */
	for (; c != NULL; c = next) {
		next = c->next;
		chunk_free(c);
	}
}

void mk_arena_reset(struct mk_arena *a)
{
	struct mk_chunk *next, *kept = NULL, *swap;

	for (struct mk_chunk *c = a->chunks; c != NULL; c = next) {
		next = c->next;
		if (c->resident != 0 && kept != NULL) {
			swap = kept;
			kept = c;
			chunk_free(swap);
		} else if (c->resident != 0 ||
		           (kept == NULL && c->size == MK_ARENA_CHUNK && !EXACT)) {
			kept = c;
		} else {
			chunk_free(c);
		}
	}
	a->chunks = kept;
	a->p = a->end = NULL;
	if (kept != NULL) {
		kept->next = NULL;
		a->p = kept->data + kept->resident;
		a->end = (char *)kept + kept->size;
	}
}

void mk_arena_wipe(struct mk_arena *a)
{
	for (struct mk_chunk *c = a->chunks; c != NULL; c = c->next) {
		char *p = c->data, *end = (char *)c + c->size;

		if (p == (char *)a)
			p += sizeof *a;
		/* Of the newest only what is used: the rest is as it came. */
		if (a->end == end)
			end = a->p;
		explicit_bzero(p, (size_t)(end - p));
	}
}

void *mk_arena_more(struct mk_arena *a, size_t bytes)
{
	struct mk_chunk *c;
	size_t n = (bytes + (bytes == 0) + 15) & ~(size_t)15;

	if (EXACT || n > (MK_ARENA_CHUNK - HEAD) / 2 || n < bytes) {
		/* Of its own, behind the newest, whose rest stays in use. */
		if (n < bytes)
			mk_assert_failed("out of memory", __FILE__, __LINE__);
		c = chunk_new(HEAD + (EXACT ? bytes : n));
		if (a->chunks == NULL) {
			a->chunks = c;
		} else {
			c->next = a->chunks->next;
			a->chunks->next = c;
		}
		return c->data;
	}
	c = chunk_new(MK_ARENA_CHUNK);
	c->next = a->chunks;
	a->chunks = c;
	a->p = c->data + n;
	a->end = (char *)c + MK_ARENA_CHUNK;
	return c->data;
}

struct mk_arena *mk_arena_new_with(size_t extra, void **extra_out)
{
	size_t own = (sizeof(struct mk_arena) + 15) & ~(size_t)15;
	size_t n = own + ((extra + 15) & ~(size_t)15);
	size_t size = HEAD + (EXACT ? own + extra : n);
	struct mk_chunk *c;
	struct mk_arena *a;

	mk_assert(n >= extra);
	if (!EXACT && size < MK_ARENA_CHUNK)
		size = MK_ARENA_CHUNK;
	c = chunk_new(size);
	c->resident = (uint32_t)(EXACT ? own + extra : n);
	a = (struct mk_arena *)c->data;
	a->chunks = c;
	a->p = c->data + c->resident;
	a->end = (char *)c + size;
	if (extra > 0)
		memset(c->data + own, 0, extra);
	if (extra_out != NULL)
		*extra_out = c->data + own;
	return a;
}

struct mk_arena *mk_arena_new(void)
{
	return mk_arena_new_with(0, NULL);
}

void mk_arena_free(struct mk_arena **a)
{
	struct mk_arena *gone = *a;

	*a = NULL;
	if (gone != NULL)
		mk_arena_fini(gone);
}

size_t mk_arena_bytes(const struct mk_arena *a)
{
	size_t sum = 0;

	for (const struct mk_chunk *c = a->chunks; c != NULL; c = c->next)
		sum += c->size;
	return sum;
}

void *mk_arena_alloc(struct mk_arena *a, size_t bytes)
{
	return memset(mk_arena_raw(a, bytes), 0, bytes);
}

char *mk_arena_strndup(struct mk_arena *a, const char *p, size_t n)
{
	char *z = mk_arena_raw(a, n + 1);

	if (n > 0)
		memcpy(z, p, n);
	z[n] = '\0';
	return z;
}

char *mk_arena_strdup(struct mk_arena *a, const char *z)
{
	return mk_arena_strndup(a, z, strlen(z));
}

char *mk_arena_printf(struct mk_arena *a, const char *fmt, ...)
{
	va_list ap;
	char *z;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	mk_assert(n >= 0);
	z = mk_arena_raw(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(z, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return z;
}
