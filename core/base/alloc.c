/*
 * base/alloc.c - malloc that never fails, and the end when it would
 *
 * Any thread.
 */
#include <stdlib.h>
#include "base/arena.h"
#include "base/assert.h"

static void *check(void *p)
{
	if (MK_UNLIKELY(p == NULL))
		mk_assert_failed("out of memory", __FILE__, __LINE__);
	return p;
}

void *mk_alloc(size_t bytes)
{
	return check(calloc(1, bytes + (bytes == 0)));
}

void *mk_realloc(void *p, size_t bytes)
{
	return check(realloc(p, bytes + (bytes == 0)));
}

void mk_free(void *p)
{
	free(p);
}

char *mk_strndup(const char *p, size_t n)
{
	char *z = check(malloc(n + 1));

	if (n > 0)
		memcpy(z, p, n);
	z[n] = '\0';
	return z;
}

char *mk_strdup(const char *z)
{
	return mk_strndup(z, strlen(z));
}
