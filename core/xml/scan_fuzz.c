/*
 * xml/scan_fuzz.c - any bytes, however they are split, are judged the same
 *
 * The first byte says how the rest is split, and whether it is framed.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "xml/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct mk_scan_limits limits = { 300, 6, 5, 20 };

/* All that was found, in one number: result and place of each. White space may
 * come in pieces, so only its end counts. */
static uint64_t judge(const char *p, size_t n, bool framed, size_t first, size_t size)
{
	uint64_t sum = 14695981039346656037u;
	struct mk_scan s;
	size_t end, used;

	mk_scan_init(&s, framed);
	for (size_t pos = 0; pos < n; pos = end) {
		end = pos + (pos == 0 ? first : size);
		if (end > n || end == pos)
			end = n;
		while (pos < end) {
			enum mk_scan_result r = mk_scan_feed(&s, &limits, p + pos, end - pos, &used);
			if (r <= MK_SCAN_END) {
				mk_assert(used <= end - pos && (used > 0 || r == MK_SCAN_MORE));
				pos += used;
			}
			if (r == MK_SCAN_SPACE)
				continue;
			if (r == MK_SCAN_MORE) {
				mk_assert(pos == end);
				break;
			}
			sum = (sum ^ (uint64_t)r) * 1099511628211u;
			if (r > MK_SCAN_END)
				return sum;
			sum = (sum ^ pos) * 1099511628211u;
		}
	}
	return (sum ^ mk_scan_is_idle(&s)) * 1099511628211u;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	const char *text = (const char *)p + 1;
	size_t cut = p[0] >> 1;
	bool framed = p[0] & 1;
	n--;
	uint64_t whole = judge(text, n, framed, n, n);
	mk_assert(judge(text, n, framed, 1, 1) == whole);
	mk_assert(judge(text, n, framed, cut, n) == whole);
	mk_assert(judge(text, n, framed, cut, 7) == whole);
	return 0;
}
