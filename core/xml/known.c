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

#define SLOT_BITS 10
#define SLOTS (1 << SLOT_BITS)

#define KNOWN_STRING(s) s,
static const char *const strings[] = {
	MK_KNOWN_NAMES(KNOWN_STRING)
	MK_KNOWN_NAMESPACES(KNOWN_STRING)
};
_Static_assert(sizeof strings / sizeof *strings < SLOTS / 2, "crowded");

/* The first and the last bytes of p, up to eight each. Namespaces differ at their
 * ends. */
struct ends { uint64_t first, last; };

/* What is between the ends is all that need be compared beside them. */
static struct slot { struct ends ends; const char *s; size_t n; } slots[SLOTS];

static inline struct ends ends_of(const char *p, size_t n)
{
	struct ends e = { 0, 0 };

	if (n >= 8) {
		memcpy(&e.first, p, 8);
		memcpy(&e.last, p + n - 8, 8);
	} else if (n >= 4) {
		memcpy(&e.first, p, 4);
		memcpy(&e.last, p + n - 4, 4);
	} else if (n > 0) {
		e.first = (uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8;
		e.last = (uint8_t)p[n - 1];
	}
	return e;
}

static inline unsigned slot_of(struct ends e, size_t n)
{
	uint64_t h = (e.first ^ e.last * 31 ^ n) * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(h >> (64 - SLOT_BITS));
}

__attribute__((constructor)) static void fill(void)
{
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		size_t n = strlen(strings[i]);
		struct ends e = ends_of(strings[i], n);
		unsigned k = slot_of(e, n);
		while (slots[k].s != NULL && strcmp(slots[k].s, strings[i]) != 0)
			k = (k + 1) % SLOTS;
		slots[k] = (struct slot){ e, strings[i], n };
	}
}

const char *mk_known(const char *p, size_t n)
{
	struct ends e = ends_of(p, n);

	for (unsigned k = slot_of(e, n); slots[k].s != NULL; k = (k + 1) % SLOTS) {
		const struct slot *s = &slots[k];
		if (s->n == n && s->ends.first == e.first && s->ends.last == e.last &&
		    (n <= 16 || memcmp(s->s + 8, p + 8, n - 16) == 0))
			return s->s;
	}
	return NULL;
}
