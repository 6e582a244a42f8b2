/*
 * base/text.c - bytes as text: base64, numbers, UTF-8, names of errors
 *
 * Any thread; no state.
 */
#include <limits.h>
#include "base/assert.h"
#include <meerkat/types.h>
#include "base/ban.h"

const char *mk_strerror(int err)
{
	switch (err < 0 ? -err : err) {
	case 0: return "no error";
	case MK_EINVAL: return "invalid";
	case MK_ENOENT: return "no such thing";
	case MK_EEXIST: return "exists already";
	case MK_ECONFLICT: return "held by somebody else";
	case MK_ELIMIT: return "limit reached";
	case MK_EJID: return "not a JID";
	case MK_EXML: return "not well-formed";
	case MK_EAUTH: return "wrong credentials";
	case MK_EPERM: return "not allowed";
	case MK_EAGAIN: return "not now, try again";
	case MK_EIO: return "input or output failed";
	case MK_ECLOSED: return "the other side is gone";
	case MK_EVERSION: return "made for another version";
	case MK_ETIMEOUT: return "took too long";
	default: return "unknown error";
	}
}

bool mk_equal_ct(const void *a, const void *b, size_t n)
{
	const volatile unsigned char *x = a, *y = b;
	unsigned char diff = 0;

	for (size_t i = 0; i < n; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

size_t mk_base64_encode(char *out, const void *p, size_t n)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *b = p;
	char *o = out;
	uint32_t v;

	for (; n >= 3; n -= 3, b += 3) {
		v = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
		*o++ = alphabet[v >> 18];
		*o++ = alphabet[v >> 12 & 63];
		*o++ = alphabet[v >> 6 & 63];
		*o++ = alphabet[v & 63];
	}
	if (n > 0) {
		v = (uint32_t)b[0] << 16 | (n == 2 ? (uint32_t)b[1] << 8 : 0);
		*o++ = alphabet[v >> 18];
		*o++ = alphabet[v >> 12 & 63];
		*o++ = n == 2 ? alphabet[v >> 6 & 63] : '=';
		*o++ = '=';
	}
	*o = '\0';
	return (size_t)(o - out);
}

/* The value of a base64 digit, or -1. No table: decoding a secret leaves no
 * trace of which cache lines it touched. */
static int base64_value(unsigned char c)
{
	int v = -1;

	v = c >= 'A' && c <= 'Z' ? c - 'A' : v;
	v = c >= 'a' && c <= 'z' ? c - 'a' + 26 : v;
	v = c >= '0' && c <= '9' ? c - '0' + 52 : v;
	v = c == '+' ? 62 : v;
	v = c == '/' ? 63 : v;
	return v;
}

int mk_base64_decode(void *out, const char *p, size_t n)
{
	unsigned char *o = out;
	const char *end;
	int a, b, c, d;

	if (n == 0)                            /* p may be NULL             */
		return 0;
	if (n % 4 != 0 || n > INT_MAX)
		return -MK_EINVAL;
	for (end = p + n; p != end; p += 4) {
		a = base64_value((unsigned char)p[0]);
		b = base64_value((unsigned char)p[1]);
		c = base64_value((unsigned char)p[2]);
		d = base64_value((unsigned char)p[3]);
		if ((a | b) < 0)
			return -MK_EINVAL;
		if ((c | d) < 0) {
			/* The last group: xx== or xxx=, the spare bits being
			 * zero, else two texts would mean the same bytes. */
			if (p + 4 != end || p[3] != '=')
				return -MK_EINVAL;
			if (p[2] == '=') {
				if ((b & 15) != 0)
					return -MK_EINVAL;
				*o++ = (unsigned char)(a << 2 | b >> 4);
				break;
			}
			if (c < 0 || (c & 3) != 0)
				return -MK_EINVAL;
			*o++ = (unsigned char)(a << 2 | b >> 4);
			*o++ = (unsigned char)(b << 4 | c >> 2);
			break;
		}
		*o++ = (unsigned char)(a << 2 | b >> 4);
		*o++ = (unsigned char)(b << 4 | c >> 2);
		*o++ = (unsigned char)(c << 6 | d);
	}
	return (int)(o - (unsigned char *)out);
}

int mk_parse_int(struct mk_str s, int64_t min, int64_t max, int64_t *out)
{
	bool negative = false;
	uint64_t v = 0, limit;
	size_t i = 0;
	int64_t r;

	if (s.n > 0 && s.p[0] == '-' && min < 0) {
		negative = true;
		i = 1;
	}
	if (i == s.n)
		return -MK_EINVAL;
	limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	for (; i < s.n; i++) {
		unsigned d = (unsigned)(unsigned char)s.p[i] - '0';

		if (d > 9 || v > (limit - d) / 10)
			return -MK_EINVAL;
		v = v * 10 + d;
	}
	/* -(2^63) has no positive counterpart. */
	r = !negative ? (int64_t)v : v == 0 ? 0 : -(int64_t)(v - 1) - 1;
	if (r < min || r > max)
		return -MK_EINVAL;
	*out = r;
	return 0;
}

/* RFC 3629 4: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool mk_utf8_valid(const char *p, size_t n)
{
	const unsigned char *s = (const unsigned char *)p, *end;
	uint64_t eight;

	if (n == 0)                            /* p may be NULL             */
		return true;
	for (end = s + n; s != end;) {
		if (end - s >= 8) {
			memcpy(&eight, s, 8);
			if ((eight & UINT64_C(0x8080808080808080)) == 0) {
				s += 8;
				continue;
			}
		}
		if (s[0] < 0x80) {
			s++;
		} else if (s[0] < 0xe0) {
			if (s[0] < 0xc2 || end - s < 2 || (s[1] & 0xc0) != 0x80)
				return false;
			s += 2;
		} else if (s[0] < 0xf0) {
			if (end - s < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 ||
			    (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
				return false;
			s += 3;
		} else {
			if (s[0] > 0xf4 || end - s < 4 || (s[1] & 0xc0) != 0x80 ||
			    (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80 ||
			    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
				return false;
			s += 4;
		}
	}
	return true;
}
