/*
 * http/parse_fuzz.c - the request parser on anything
 *
 * A head that comes in parts gets no other answer than one that comes whole;
 * the body behind it, taken as chunks, decodes to the same in any parts.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include "parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int decode(const char *p, size_t n, size_t step, size_t *used_out, uint32_t *sum_out)
{
	struct http_chunks c = { 0 };
	uint32_t sum = 0;
	size_t at = 0;
	int r = HTTP_CHUNKS_MORE;

	while (at < n && r != HTTP_CHUNKS_BAD && r != HTTP_CHUNKS_END) {
		size_t used = 0, part = n - at < step ? n - at : step;
		struct mk_str data;
		r = http_chunks_feed(&c, p + at, part, &used, &data);
		if (r == HTTP_CHUNKS_BAD)
			break;
		assert(used > 0 && used <= part);
		at += used;
		if (r == HTTP_CHUNKS_DATA)
			for (size_t i = 0; i < data.n; i++)
				sum = sum * 31 + (uint8_t)data.p[i];
	}
	*used_out = at;
	*sum_out = sum;
	return r == HTTP_CHUNKS_DATA ? HTTP_CHUNKS_MORE : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const char *p = (const char *)bytes;
	struct http_head h, part;
	int r = http_head_parse(p, n, &h);

	assert(r <= (int)n && r <= HTTP_HEAD_MAX && (r >= 0 || r <= -400));
	assert(r != 0 || n < HTTP_HEAD_MAX);
	for (size_t i = 0; i < n && i < 600; i++) {
		int early = http_head_parse(p, i, &part);
		assert(early == 0 || early == r);
	}
	if (r > 0) {
		char *path = malloc(h.path.n + 1);
		assert(!h.chunked || h.length == -1);
		assert(h.minor == 0 || http_head_field(&h, "host") != NULL);
		if (http_path_decode(h.path, path)) {
			assert(strlen(path) <= h.path.n);
			assert(strstr(path, "/../") == NULL);
		}
		free(path);
	} else {
		r = 0;
	}
	size_t used, used_one;
	uint32_t sum, sum_one;
	int all = decode(p + r, n - (size_t)r, n + 1, &used, &sum);
	int one = decode(p + r, n - (size_t)r, 1, &used_one, &sum_one);
	assert(all == one && (all == HTTP_CHUNKS_BAD || (used == used_one && sum == sum_one)));
	return 0;
}
