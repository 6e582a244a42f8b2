/*
 * xml/chars.h - which bytes may stand where; shared by scanner and writer
 *
 * No state; any thread.
 */
#ifndef MK_XML_CHARS_H
#define MK_XML_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
	MK_XC_SPACE = 1,               /* tab, line feed, return, space         */
	MK_XC_START = 2,               /* may begin a name                      */
	MK_XC_NAME = 4,                /* may go on a name                      */
	MK_XC_CTRL = 8,                /* no Char (XML 1.0 2.2)                 */
	MK_XC_TEXT_ESC = 16,           /* to be escaped in text ...             */
	MK_XC_ATTR_ESC = 32,           /* ... and in attributes                 */
	MK_XC_ASCII_NAME = 64,         /* goes on a name and is whole           */
};
extern const uint8_t mk_xml_class[256];

static inline bool mk_xml_is(uint8_t c, unsigned class)
{
	return mk_xml_class[c] & class;
}

/* memcpy for names and values, of which nearly all are short: up to 32 bytes no
 * call, as two pieces that overlap. */
static inline void mk_copy_short(char *out, const char *p, size_t n)
{
	if (n > 32) {
		memcpy(out, p, n);
	} else if (n > 16) {
		memcpy(out, p, 16);
		memcpy(out + n - 16, p + n - 16, 16);
	} else if (n >= 8) {
		memcpy(out, p, 8);
		memcpy(out + n - 8, p + n - 8, 8);
	} else if (n >= 4) {
		memcpy(out, p, 4);
		memcpy(out + n - 4, p + n - 4, 4);
	} else if (n > 0) {
		out[0] = p[0];
		out[n / 2] = p[n / 2];
		out[n - 1] = p[n - 1];
	}
}

/* The first byte from q on that is x, y or z, below a space, or beyond ASCII;
 * end if there is none. */
static inline const uint8_t *mk_xml_skip(const uint8_t *q, const uint8_t *end,
                                         char x, char y, char z)
{
#ifdef __SSE2__
	const __m128i vx = _mm_set1_epi8(x), vy = _mm_set1_epi8(y), vz = _mm_set1_epi8(z);
	const __m128i space = _mm_set1_epi8(' ');
	for (; end - q >= 16; q += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)q);
		/* Signed: bytes from 0x80 are below a space too. */
		__m128i hit = _mm_or_si128(
			_mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, vx)),
			_mm_or_si128(_mm_cmpeq_epi8(v, vy), _mm_cmpeq_epi8(v, vz)));
		int mask = _mm_movemask_epi8(hit);
		if (mask != 0)
			return q + __builtin_ctz((unsigned)mask);
	}
#endif
	for (; q < end; q++)
		if ((int8_t)*q < ' ' || *q == (uint8_t)x || *q == (uint8_t)y || *q == (uint8_t)z)
			break;
	return q;
}

/*
 * A UTF-8 sequence under way: how many bytes are missing, and the range of the
 * next one (that is where overlong forms, surrogates and what is beyond
 * U+10FFFF fall out).
 */
struct mk_utf8 { uint8_t need, low, high; };
enum mk_utf8_result {
	MK_UTF8_OK,
	MK_UTF8_BAD,
	MK_UTF8_NO_CHAR,               /* U+FFFE, U+FFFF: UTF-8, but no Char    */
};
/* c is beyond ASCII and begins a sequence; c is the next byte of u. */
enum mk_utf8_result mk_utf8_begin(struct mk_utf8 *u, uint8_t c);
enum mk_utf8_result mk_utf8_next(struct mk_utf8 *u, uint8_t c);

/* How many bytes at the beginning of p are whole, valid XML Chars. */
size_t mk_xml_valid(const char *p, size_t n);
/* Whether z is an NCName (ASCII part checked exactly, the rest as UTF-8). */
bool mk_xml_is_ncname(const char *z);

#endif
