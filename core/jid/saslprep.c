/*
 * jid/saslprep.c - passwords as they are compared (RFC 4013), by libidn
 *
 * Any thread; no state. Both the stored password and the one that is tried go
 * through this, as "query" strings: code points that Unicode 3.2 doesn't know
 * pass as they are. Refusing them in stored ones, as RFC 4013 2.5 has it,
 * would lock out people whose password has a newer letter or an emoji.
 */
#include <meerkat/auth.h>

#include <stringprep.h>

#include "base/ban.h"

#define GROWTH 11              /* U+FDFA: 3 bytes become 33 by NFKC         */

int mk_saslprep(struct mk_arena *a, struct mk_str in, struct mk_str *out)
{
	bool ascii = true;

	if (in.n > MK_PASSWORD_MAX)
		return -MK_EINVAL;
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];
		if (c < 0x20 || c == 0x7f)
			return -MK_EINVAL;     /* C.2.1; NUL too                    */
		ascii &= c < 0x80;
	}
	if (ascii) {
		*out = in;
		return 0;
	}
	if (!mk_utf8_valid(in.p, in.n))
		return -MK_EINVAL;
	size_t room = in.n * GROWTH + 1;
	char *b = mk_arena_alloc(a, room);
	memcpy(b, in.p, in.n);
	int r = stringprep(b, room, 0, stringprep_saslprep);
	size_t n = strlen(b);
	if (r != STRINGPREP_OK || n > MK_PASSWORD_MAX) {
		explicit_bzero(b, room);
		return -MK_EINVAL;
	}
	*out = (struct mk_str){ b, n };
	return 0;
}
