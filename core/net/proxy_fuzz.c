/*
 * net/proxy_fuzz.c - the PROXY parser on anything
 *
 * An answer must not change when the same bytes come in parts, nor when more
 * bytes follow a complete header.
 */
#include <stdint.h>
#include "base/assert.h"
#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const char *bytes = (const char *)p;
	struct mk_proxy whole = { 0 }, part = { 0 };
	int r = mk_proxy_parse(bytes, n, &whole);

	mk_assert(r == -MK_EINVAL || (r >= 0 && (size_t)r <= n && r <= MK_PROXY_MAX));
	mk_assert(r != 0 || n < MK_PROXY_MAX);
	for (size_t i = 0; i < n && i <= MK_PROXY_MAX; i++) {
		int early = mk_proxy_parse(bytes, i, &part);

		if (r > 0)
			mk_assert(early == ((int)i < r ? 0 : r));
		else if (r == 0)
			mk_assert(early == 0);
		else
			mk_assert(early <= 0);
	}
	return 0;
}
