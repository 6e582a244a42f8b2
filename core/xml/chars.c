/*
 * xml/chars.c - which bytes may stand where
 *
 * Static tables; any thread.
 */
#include "xml/chars.h"

#include <string.h>

#include "base/ban.h"

#define S MK_XC_SPACE
#define N (MK_XC_NAME | MK_XC_ASCII_NAME)
#define A (MK_XC_START | N)
#define C MK_XC_CTRL
#define T (MK_XC_TEXT_ESC | MK_XC_ATTR_ESC)
#define Q MK_XC_ATTR_ESC
#define H MK_XC_START | MK_XC_NAME
#define H8 H, H, H, H, H, H, H, H
#define H64 H8, H8, H8, H8, H8, H8, H8, H8
const uint8_t mk_xml_class[256] = {
	C, C, C, C, C, C, C, C, C, S | Q, S | Q, C, C, S | T, C, C,
	C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C,
	/* !  "  #  $  %  &  '  (  )  *  +  ,  -  .  / */
	S, 0, 0, 0, 0, 0, T | MK_XC_AMP, Q, 0, 0, 0, 0, 0, N, N, 0,
	N, N, N, N, N, N, N, N, N, N, A, 0, T, 0, T, 0,
	0, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
	A, A, A, A, A, A, A, A, A, A, A, 0, 0, 0, 0, A,
	0, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
	A, A, A, A, A, A, A, A, A, A, A, 0, 0, 0, 0, 0,
	H64, H64,
};
#undef S
#undef N
#undef A
#undef C
#undef T
#undef Q
#undef H
#undef H8
#undef H64

enum mk_utf8_result mk_utf8_begin(struct mk_utf8 *u, uint8_t c)
{
	u->low = 0x80;
	u->high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf) {
		u->need = 1;
	} else if (c >= 0xe0 && c <= 0xef) {
		u->need = 2;
		if (c == 0xe0)
			u->low = 0xa0;
		else if (c == 0xed)
			u->high = 0x9f;
		else if (c == 0xef)
			u->high = 0xc0;        /* a mark: after EF BF comes less */
	} else if (c >= 0xf0 && c <= 0xf4) {
		u->need = 3;
		if (c == 0xf0)
			u->low = 0x90;
		else if (c == 0xf4)
			u->high = 0x8f;
	} else {
		return MK_UTF8_BAD;
	}
	return MK_UTF8_OK;
}

enum mk_utf8_result mk_utf8_next(struct mk_utf8 *u, uint8_t c)
{
	bool after_ef = u->need == 2 && u->high == 0xc0;

	if (c < u->low || c > u->high || c > 0xbf)
		return (u->high == 0xbd && (c == 0xbe || c == 0xbf)) ? MK_UTF8_NO_CHAR : MK_UTF8_BAD;
	u->need--;
	u->low = 0x80;
	u->high = after_ef && c == 0xbf ? 0xbd : 0xbf;
	return MK_UTF8_OK;
}

/* Whether all is of ASCII and at least a space, as nearly everything is. */
static inline bool is_plain(const char *p, size_t n)
{
	const uint64_t high = 0x8080808080808080u, space = 0x2020202020202020u;
	uint64_t v, bad = 0;

	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			bad |= (uint64_t)((int8_t)p[i] < ' ');
		return bad == 0;
	}
#ifdef __SSE2__
	if (n >= 16) {
		/* Signed: bytes from 0x80 are below a space too. The last 16 may be
		 * looked at twice. */
		const __m128i least = _mm_set1_epi8(' ');
		for (size_t i = 0; i < n; i += 16) {
			const void *q = p + (n - i < 16 ? n - 16 : i);
			if (_mm_movemask_epi8(_mm_cmplt_epi8(_mm_loadu_si128(q), least)) != 0)
				return false;
		}
		return true;
	}
#endif
	/* Without ASCII's high bits no byte borrows from the next; the last eight
	 * bytes may be looked at twice. */
	for (size_t i = 0; i < n; i += 8) {
		memcpy(&v, p + (n - i < 8 ? n - 8 : i), 8);
		bad |= (v | ~((v | high) - space)) & high;
	}
	return bad == 0;
}

size_t mk_xml_valid(const char *p, size_t n)
{
	if (is_plain(p, n))
		return n;
	const uint8_t *b = (const uint8_t *)p, *end = b + n, *q = b, *whole;
	struct mk_utf8 u = { 0, 0, 0 };

	for (;;) {
		q = mk_xml_skip(q, end, '\x7f', '\x7f', '\x7f');
		whole = q;
		if (q == end)
			break;
		if (*q < 0x80) {
			if (mk_xml_is(*q, MK_XC_CTRL))
				break;
			q++;
			continue;
		}
		if (mk_utf8_begin(&u, *q++) != MK_UTF8_OK)
			break;
		while (u.need > 0 && q < end && mk_utf8_next(&u, *q) == MK_UTF8_OK)
			q++;
		if (u.need > 0)
			break;
	}
	return (size_t)(whole - b);
}

bool mk_xml_is_ncname(const char *z)
{
	size_t n = strlen(z);

	if (n == 0 || !mk_xml_is((uint8_t)z[0], MK_XC_START))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!mk_xml_is((uint8_t)z[i], MK_XC_NAME) || z[i] == ':')
			return false;
	return mk_xml_valid(z, n) == n;
}
