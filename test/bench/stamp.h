/*
 * stamp.h - numbers in the ids of messages: hexadecimal digits of a fixed width
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#define STAMP_LEN 16                    /* of a time                         */

/* The lowest 4 * len bits of v, as len digits. */
static inline void stamp_write(char *out, int len, uint64_t v)
{
	static const char digit[] = "0123456789abcdef";

	for (int i = len - 1; i >= 0; i--, v >>= 4)
		out[i] = digit[v & 15];
}

/* false if there is anything but lower-case digits. */
static inline bool stamp_read(const char *in, int len, uint64_t *out)
{
	uint64_t v = 0;

	for (int i = 0; i < len; i++) {
		unsigned int c = (unsigned char)in[i], d = c - '0';

		if (d > 9) {
			d = c - 'a' + 10;
			if (d < 10 || d > 15)
				return false;
		}
		v = v << 4 | d;
	}
	*out = v;
	return true;
}

#endif
