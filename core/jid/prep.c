/*
 * jid/prep.c - nodeprep, nameprep and resourceprep
 *
 * Stateless; any thread. Nearly all addresses are ASCII: for those a table
 * says what the profile would say, and libidn is not asked. The test compares
 * both for every ASCII character.
 */
#include "jid/prep.h"

#include <arpa/inet.h>
#include <idna.h>
#include <stdlib.h>
#include <stringprep.h>

#include "base/assert.h"
#include "base/ban.h"

/* Fullwidth letters take three bytes and are prepared to one: nothing that
 * would fit is longer than this before. */
#define RAW_MAX (3 * MK_JID_PART_MAX)
#define LABEL_MAX 63                   /* of its ASCII form (RFC 1035 2.3.4) */

enum {
	IN_LOCAL = 1,                  /* allowed in a localpart                */
	IN_LABEL = 2,                  /* letter, digit, hyphen                 */
	IN_RESOURCE = 4,
};
#define L IN_LOCAL
#define A (IN_LOCAL | IN_LABEL | IN_RESOURCE)
#define B (IN_LOCAL | IN_RESOURCE)
#define R IN_RESOURCE
static const uint8_t ascii[128] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	/*  !  "  #  $  %  &  '  (  )  *  +  ,  -  .  / */
	R, B, R, B, B, B, R, R, B, B, B, B, B, A, B, R,
	A, A, A, A, A, A, A, A, A, A, R, B, R, B, R, B,
	R, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
	A, A, A, A, A, A, A, A, A, A, A, B, B, B, B, B,
	B, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
	A, A, A, A, A, A, A, A, A, A, A, B, B, B, B, 0,
};
#undef L
#undef A
#undef B
#undef R

static inline char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Strict UTF-8 to code points; how many, or -1. */
static int decode(struct mk_str s, uint32_t *out)
{
	int n = 0;

	if (!mk_utf8_valid(s.p, s.n))
		return -1;
	for (size_t i = 0; i < s.n; n++) {
		uint8_t c = (uint8_t)s.p[i];
		unsigned more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		uint32_t v = more == 0 ? c : c & (0x3fu >> more);
		for (i++; more > 0; more--, i++)
			v = v << 6 | ((uint8_t)s.p[i] & 0x3f);
		if (v == 0)
			return -1;
		out[n] = v;
	}
	return n;
}

/* The other way; bytes written, or -1 if they don't fit. */
static int encode(const uint32_t *in, size_t n, char *out, size_t size)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t v = in[i];
		unsigned more = v < 0x80 ? 0 : v < 0x800 ? 1 : v < 0x10000 ? 2 : 3;
		static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
		if (size - k < more + 1)
			return -1;
		out[k++] = (char)(lead[more] | v >> 6 * more);
		while (more-- > 0)
			out[k++] = (char)(0x80 | (v >> 6 * more & 0x3f));
	}
	return (int)k;
}

/*
 * The profile by libidn, twice: a string whose preparation changes when it is
 * prepared again (composition across what was mapped away can do that) would
 * be two addresses for one, so it is refused.
 */
static int prepare(struct mk_str s, const Stringprep_profile *profile, Stringprep_profile_flags flags,
	char *out)
{
	uint32_t once[RAW_MAX + 1], twice[RAW_MAX + 1];
	size_t n, m;
	int r;

	r = decode(s, once);
	if (r < 0)
		return -MK_EJID;
	n = (size_t)r;
	if (stringprep_4i(once, &n, RAW_MAX, flags, profile) != STRINGPREP_OK ||
	    n == 0)
		return -MK_EJID;
	memcpy(twice, once, n * sizeof *once);
	m = n;
	if (stringprep_4i(twice, &m, RAW_MAX, flags, profile) != STRINGPREP_OK ||
	    m != n || memcmp(once, twice, n * sizeof *once) != 0)
		return -MK_EJID;
	r = encode(once, n, out, MK_JID_PART_MAX);
	return r > 0 ? r : -MK_EJID;
}

/* The ASCII way: n, or -MK_EJID, or 0 if s is not all ASCII. */
static int plain(struct mk_str s, uint8_t allowed, bool fold, char *out)
{
	uint8_t all = 0, ok = allowed;

	for (size_t i = 0; i < s.n; i++)
		all |= (uint8_t)s.p[i];
	if (all & 0x80)
		return 0;
	if (s.n > MK_JID_PART_MAX)
		return -MK_EJID;
	for (size_t i = 0; i < s.n; i++) {
		ok &= ascii[(uint8_t)s.p[i]];
		out[i] = fold ? lower(s.p[i]) : s.p[i];
	}
	return ok ? (int)s.n : -MK_EJID;
}

int mk_prep_local(struct mk_str s, char *out)
{
	if (s.n == 0 || s.n > RAW_MAX)
		return -MK_EJID;
	int r = plain(s, IN_LOCAL, true, out);
	return r != 0 ? r : prepare(s, stringprep_xmpp_nodeprep, STRINGPREP_NO_UNASSIGNED, out);
}

int mk_prep_resource(struct mk_str s, char *out)
{
	if (s.n == 0 || s.n > RAW_MAX)
		return -MK_EJID;
	int r = plain(s, IN_RESOURCE, false, out);
	/* Code points that came after Unicode 3.2 are what people put into nicknames:
	 * RFC 7622's OpaqueString allows them, and nothing is mapped. */
	return r != 0 ? r : prepare(s, stringprep_xmpp_resourceprep, 0, out);
}

/* ---- domainpart ------------------------------------------------------------- */

static bool is_ldh_ascii(const char *p, size_t n)
{
	if (n == 0 || p[0] == '-' || p[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)p[i] < 0x80 && !(ascii[(uint8_t)p[i]] & IN_LABEL))
			return false;
	return true;
}

/* A label with characters beyond ASCII, or an A-label. Room for
 * MK_JID_PART_MAX bytes. */
static int prep_label(struct mk_str s, char *out)
{
	uint32_t wide[RAW_MAX + 1];
	char ace[LABEL_MAX + 1];
	int r, n;

	if (s.n >= 4 && lower(s.p[0]) == 'x' && lower(s.p[1]) == 'n' && s.p[2] == '-' && s.p[3] == '-') {
		uint32_t uni[LABEL_MAX + 1];
		size_t uni_n = LABEL_MAX;

		for (size_t i = 0; i < s.n; i++)
			if ((uint8_t)s.p[i] >= 0x80)
				return -MK_EJID;
		if (s.n > LABEL_MAX || !is_ldh_ascii(s.p, s.n))
			return -MK_EJID;
		for (size_t i = 0; i < s.n; i++)
			out[i] = lower(s.p[i]);
		n = decode((struct mk_str){ out, s.n }, wide);
		if (n > 0 && idna_to_unicode_44i(wide, (size_t)n, uni, &uni_n,
		                                 IDNA_USE_STD3_ASCII_RULES) == IDNA_SUCCESS)
			return encode(uni, uni_n, out, MK_JID_PART_MAX);
		/* One that IDNA2003 can't read stays as it is. */
		return (int)s.n;
	}
	r = prepare(s, stringprep_nameprep, STRINGPREP_NO_UNASSIGNED, out);
	if (r < 0 || !is_ldh_ascii(out, (size_t)r))
		return -MK_EJID;
	/* What looks like an A-label only after nameprep is a trick. */
	if (r >= 4 && memcmp(out, "xn--", 4) == 0)
		return -MK_EJID;
	/* Its form for the DNS must exist: 63 bytes, no "xn--" inside out. */
	n = decode((struct mk_str){ out, (size_t)r }, wide);
	if (n <= 0 || idna_to_ascii_4i(wide, (size_t)n, ace, IDNA_USE_STD3_ASCII_RULES) != IDNA_SUCCESS)
		return -MK_EJID;
	return r;
}

static int prep_ipv6(struct mk_str s, char *out)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (s.n < 4 || s.n - 2 >= sizeof text || s.p[s.n - 1] != ']')
		return -MK_EJID;
	memcpy(text, s.p + 1, s.n - 2);
	text[s.n - 2] = '\0';
	if (strlen(text) != s.n - 2 || inet_pton(AF_INET6, text, &addr) != 1 ||
	    inet_ntop(AF_INET6, &addr, text, sizeof text) == NULL)
		return -MK_EJID;
	size_t n = strlen(text);
	out[0] = '[';
	memcpy(out + 1, text, n);
	out[n + 1] = ']';
	return (int)n + 2;
}

/* Bytes of a label separator at p: '.', U+3002, U+FF0E, U+FF61 (RFC 3490
 * 3.1); 0 if there is none. */
static size_t dot_at(const char *p, size_t n)
{
	if (p[0] == '.')
		return 1;
	if (n >= 3 && (memcmp(p, "\xe3\x80\x82", 3) == 0 || memcmp(p, "\xef\xbc\x8e", 3) == 0 ||
	               memcmp(p, "\xef\xbd\xa1", 3) == 0))
		return 3;
	return 0;
}

static int prep_labels(struct mk_str s, char *out)
{
	char label[MK_JID_PART_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s.n;) {
		size_t k = i, dot = 0;
		bool plain_label;
		int r;

		while (k < s.n && (dot = dot_at(s.p + k, s.n - k)) == 0)
			k++;
		struct mk_str part = { s.p + i, k - i };
		if (part.n == 0)
			return -MK_EJID;
		plain_label = !(part.n >= 4 && part.p[2] == '-' && part.p[3] == '-');
		for (size_t j = 0; j < part.n; j++)
			plain_label &= (uint8_t)part.p[j] < 0x80;
		if (plain_label) {
			r = plain(part, IN_LABEL, true, label);
			if (r > LABEL_MAX || r < 0 || !is_ldh_ascii(label, (size_t)r))
				return -MK_EJID;
		} else {
			r = prep_label(part, label);
			if (r <= 0)
				return -MK_EJID;
		}
		if (n + (n > 0) + (size_t)r > MK_JID_PART_MAX)
			return -MK_EJID;
		if (n > 0)
			out[n++] = '.';
		memcpy(out + n, label, (size_t)r);
		n += (size_t)r;
		i = k + dot;
	}
	return n > 0 ? (int)n : -MK_EJID;
}

int mk_prep_domain(struct mk_str s, char *out)
{
	size_t i, label = 0;
	bool ok = true;

	if (s.n == 0 || s.n > RAW_MAX)
		return -MK_EJID;
	if (s.p[0] == '[')
		return prep_ipv6(s, out);
	/* Plain host names in one go; anything unusual, wrong or not, is left to
	 * the thorough way. */
	size_t n = s.n - (s.p[s.n - 1] == '.');
	for (i = 0; i < n && i < MK_JID_PART_MAX && ok; i++) {
		uint8_t c = (uint8_t)s.p[i];
		if (c == '.') {
			ok = i - label <= LABEL_MAX && is_ldh_ascii(s.p + label, i - label);
			label = i + 1;
		} else {
			ok = c < 0x80 && ascii[c] & IN_LABEL &&
			     !(c == '-' && i - label == 3 && s.p[i - 1] == '-');
		}
		out[i] = lower((char)c);
	}
	if (ok && i == n && n - label <= LABEL_MAX && is_ldh_ascii(s.p + label, n - label))
		return (int)n;
	return prep_labels(s, out);
}
