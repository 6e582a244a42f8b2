/*
 * xml/known.c - looking up known names and namespaces
 *
 * A small open hash table of static strings, filled before main() and only
 * read from then on; any thread.
 */
#include "xml/known.h"

#include <string.h>

#include "base/assert.h"
#include "xml/elem.h"
#include "base/ban.h"

#define SLOTS 1024

#define KNOWN_STRING(s) s,
static const char *const strings[] = {
	MK_KNOWN_NAMES(KNOWN_STRING)
	MK_KNOWN_NAMESPACES(KNOWN_STRING)
};
_Static_assert(sizeof strings / sizeof *strings < SLOTS / 2, "crowded");

static struct slot { const char *s; size_t n; } slots[SLOTS];

static inline unsigned slot_of(const char *p, size_t n)
{
	const uint8_t *b = (const uint8_t *)p;

	/* Namespaces differ at their ends and in length. */
	if (n == 0)
		return 0;
	return (unsigned)(n * 61 + b[0] * 7u + b[n - 1] * 31u + b[n / 2] * 131u +
	                  b[n - 1 - n / 4] * 17u) % SLOTS;
}

__attribute__((constructor)) static void fill(void)
{
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		size_t n = strlen(strings[i]);
		unsigned k = slot_of(strings[i], n);
		while (slots[k].s != NULL && strcmp(slots[k].s, strings[i]) != 0)
			k = (k + 1) % SLOTS;
		slots[k] = (struct slot){ strings[i], n };
	}
}

const char *mk_known(const char *p, size_t n)
{
	for (unsigned k = slot_of(p, n); slots[k].s != NULL; k = (k + 1) % SLOTS)
		if (slots[k].n == n && memcmp(slots[k].s, p, n) == 0)
			return slots[k].s;
	return NULL;
}
