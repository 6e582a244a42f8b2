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
	MK_XC_AMP = 128,               /* '&'                                   */
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

/*
 * Copies up to the first byte of class, which is MK_XC_TEXT_ESC, MK_XC_ATTR_ESC or
 * MK_XC_AMP; how many. To be expanded where class is a constant.
 *
 * Most values are short, and have none: their last piece overlaps the one before.
 */
#define MK_EXPANDED static inline __attribute__((always_inline))
#ifdef __SSE2__
/* Which of the 16 bytes may be of class; none that is, is left out. */
MK_EXPANDED unsigned mk_xml_suspects(__m128i v, unsigned class)
{
	__m128i hit;

	if (class == MK_XC_AMP)
		return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('&')));
	/* '<' and '>' differ in one bit, and so do '&' and the apostrophe. */
	hit = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
	if (class == MK_XC_ATTR_ESC) {
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(1)),
		                                       _mm_set1_epi8('\'')));
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v));
	} else {
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('&')));
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
	}
	return (unsigned)_mm_movemask_epi8(hit);
}

/* Copies the 16 bytes if none is of class. */
MK_EXPANDED bool mk_xml_copy_16(char *out, const char *p, unsigned class)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);

	if (mk_xml_suspects(v, class) != 0)
		return false;
	_mm_storeu_si128((__m128i *)(void *)out, v);
	return true;
}
#endif

MK_EXPANDED size_t mk_xml_copy_until(char *out, const char *p, size_t n, unsigned class)
{
	size_t i = 0;

#ifdef __SSE2__
	if (n >= 16) {
		while (n - i >= 16 && mk_xml_copy_16(out + i, p + i, class))
			i += 16;
		if (n - i < 16 && mk_xml_copy_16(out + n - 16, p + n - 16, class))
			return n;
	} else if (n >= 8) {
		__m128i a = _mm_loadl_epi64((const __m128i *)(const void *)p);
		__m128i z = _mm_loadl_epi64((const __m128i *)(const void *)(p + n - 8));
		if (mk_xml_suspects(_mm_unpacklo_epi64(a, z), class) == 0) {
			_mm_storel_epi64((__m128i *)(void *)out, a);
			_mm_storel_epi64((__m128i *)(void *)(out + n - 8), z);
			return n;
		}
	} else if (n >= 4) {
		uint32_t a, z;
		memcpy(&a, p, 4);
		memcpy(&z, p + n - 4, 4);
		if ((mk_xml_suspects(_mm_set_epi32(0, 0, (int)z, (int)a), class) & 0xff) == 0) {
			memcpy(out, &a, 4);
			memcpy(out + n - 4, &z, 4);
			return n;
		}
	}
#endif
	for (; i < n && !mk_xml_is((uint8_t)p[i], class); i++)
		out[i] = p[i];
	return i;
}

/* The first byte from q on that is x, y or z, below a space, or beyond ASCII;
 * end if there is none. */
static inline const uint8_t *mk_xml_skip(const uint8_t *q, const uint8_t *end,
                                         char x, char y, char z)
{
#ifdef __SSE2__
	const __m128i vx = _mm_set1_epi8(x), vy = _mm_set1_epi8(y), vz = _mm_set1_epi8(z);
	const __m128i space = _mm_set1_epi8(' ');
	for (size_t left = (size_t)(end - q); left >= 16; q += 16, left -= 16) {
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
