/*
 * xml/scan.c - the pre-scanner's state machine
 *
 * The state is the caller's, one for each stream, on the stream's thread; no
 * memory is held. Every byte from the network passes here once: runs of text,
 * attribute values and names are skipped in inner loops, all else goes through
 * the switch byte by byte.
 */
#include "xml/scan.h"

#include <string.h>

#include "base/assert.h"
#include "base/ban.h"

enum {
	HEADER = 1,                    /* the stream start tag was seen         */
	FRAMED = 2,                    /* there is none                         */
	DECLARED = 4,                  /* an XML declaration was seen           */
	FOREIGN = 8,                   /* another encoding                      */
};

enum state {
	SPACE = 0,                     /* between top-level elements            */
	LT,                            /* after '<'                             */
	NAME,                          /* in the name of a start tag            */
	TAG,                           /* after white space in a start tag      */
	SLASH,                         /* after '/' in a start tag              */
	ATTR,                          /* in the name of an attribute           */
	EQ,                            /* between it and '='                    */
	QUOTE,                         /* between '=' and the quote             */
	VALUE,
	AFTER,                         /* after a tag's name, or a closing quote */
	TEXT,
	ENT,                           /* after '&'; in a value if quote is set */
	CREF,                          /* after "&#"                            */
	CREF_DEC, CREF_HEX,
	END_LT,                        /* after "</"                            */
	END_NAME, END_SPACE,
	BANG,                          /* after "<!", tail_n bytes of "[CDATA[" */
	CDATA, CDATA_1, CDATA_2,       /* in it; after ']'; after ']]'          */
	PI,                            /* after "<?", tail_n bytes of "xml"     */
	/* in the XML declaration */
	D_SPACE, D_NAME, D_EQ, D_QUOTE, D_VALUE, D_AFTER, D_END,
	D_DONE,                        /* between it and the header             */
};

void mk_scan_init(struct mk_scan *s, bool framed)
{
	*s = (struct mk_scan){ .flags = framed ? FRAMED : 0 };
}

bool mk_scan_is_idle(const struct mk_scan *s)
{
	return s->state == SPACE;
}

bool mk_scan_has_header(const struct mk_scan *s)
{
	return s->flags & HEADER;
}

bool mk_scan_is_foreign(const struct mk_scan *s)
{
	return s->flags & FOREIGN;
}

/*
 * Passes over whole characters of two and three bytes, which most text beyond
 * ASCII consists of; stops before ASCII, before what is unusual or wrong, and
 * before a sequence that isn't all there.
 */
static inline const uint8_t *skip_multi(const uint8_t *q, const uint8_t *end)
{
	while (end - q >= 3) {
		if (q[0] >= 0xc2 && q[0] <= 0xdf && (q[1] & 0xc0) == 0x80)
			q += 2;
		else if (((q[0] > 0xe0 && q[0] < 0xed) || q[0] == 0xee) &&
		         (q[1] & 0xc0) == 0x80 && (q[2] & 0xc0) == 0x80)
			q += 3;
		else
			break;
	}
	return q;
}

static enum mk_scan_result utf8_error(enum mk_utf8_result r)
{
	return r == MK_UTF8_NO_CHAR ? MK_SCAN_MALFORMED : MK_SCAN_ENCODING;
}

/* &name; with the name in tail. */
static bool is_predefined(const struct mk_scan *s)
{
	const char *t = (const char *)s->tail;

	switch (s->tail_n) {
	case 2: return memcmp(t, "lt", 2) == 0 || memcmp(t, "gt", 2) == 0;
	case 3: return memcmp(t, "amp", 3) == 0;
	case 4: return memcmp(t, "apos", 4) == 0 || memcmp(t, "quot", 4) == 0;
	default: return false;
	}
}

/* One more digit of a character reference, whose value is kept in tail. */
static bool reference_digit(struct mk_scan *s, unsigned base, unsigned digit)
{
	uint32_t v;

	memcpy(&v, s->tail, sizeof v);
	v = v * base + digit;
	if (v > 0x10ffff)
		return false;
	memcpy(s->tail, &v, sizeof v);
	s->tail_n = 1;
	return true;
}

static bool reference_is_char(const struct mk_scan *s)
{
	uint32_t v;

	memcpy(&v, s->tail, sizeof v);
	if (s->tail_n == 0)
		return false;
	if (v < 0x20)
		return v == '\t' || v == '\n' || v == '\r';
	return v < 0xd800 || (v > 0xdfff && v < 0xfffe) || v > 0xffff;
}

/* ---- the XML declaration (XML 1.0 2.8) --------------------------------------- */

/* Which pseudo-attribute tail names; they come in this order, version always. */
static bool declaration_name(struct mk_scan *s)
{
	static const char *const names[] = { "version", "encoding", "standalone" };

	for (uint8_t k = 0; k < 3; k++) {
		size_t n = strlen(names[k]);
		if (s->tail_n != n || memcmp(s->tail, names[k], n) != 0)
			continue;
		if (k + 1 <= s->decl || (s->decl == 0 && k > 0))
			return false;
		s->decl = k + 1;
		return true;
	}
	return false;
}

static enum mk_scan_result declaration_value(struct mk_scan *s)
{
	const char *t = (const char *)s->tail;
	bool ok = false;

	switch (s->decl) {
	case 1:
		ok = s->tail_n == 3 && memcmp(t, "1.0", 3) == 0;
		break;
	case 2:
		ok = s->tail_n == 5;
		for (int i = 0; i < 5 && ok; i++)
			ok = (t[i] | (i < 3 ? 0x20 : 0)) == "utf-8"[i];
		if (!ok) {
			s->flags |= FOREIGN;
			return MK_SCAN_ENCODING;
		}
		break;
	case 3:
		ok = (s->tail_n == 3 && memcmp(t, "yes", 3) == 0) ||
		     (s->tail_n == 2 && memcmp(t, "no", 2) == 0);
		break;
	}
	return ok ? MK_SCAN_MORE : MK_SCAN_MALFORMED;
}

static enum mk_scan_result declaration_byte(struct mk_scan *s, uint8_t c)
{
	bool space = mk_xml_is(c, MK_XC_SPACE), is_quote = c == '\'' || c == '"';

	switch (s->state) {
	case D_SPACE:
		if (space)
			return MK_SCAN_MORE;
		if (c >= 'a' && c <= 'z') {
			s->state = D_NAME;
			s->tail[0] = c;
			s->tail_n = 1;
			return MK_SCAN_MORE;
		}
		__attribute__((fallthrough));
	case D_AFTER:
		if (space)
			s->state = D_SPACE;
		else if (c == '?' && s->decl > 0)
			s->state = D_END;
		else
			return MK_SCAN_MALFORMED;
		return MK_SCAN_MORE;
	case D_NAME:
		if (c >= 'a' && c <= 'z' && s->tail_n < sizeof s->tail) {
			s->tail[s->tail_n++] = c;
			return MK_SCAN_MORE;
		}
		if ((c != '=' && !space) || !declaration_name(s))
			return MK_SCAN_MALFORMED;
		s->state = c == '=' ? D_QUOTE : D_EQ;
		return MK_SCAN_MORE;
	case D_EQ:
		if (c == '=')
			s->state = D_QUOTE;
		else if (!space)
			return MK_SCAN_MALFORMED;
		return MK_SCAN_MORE;
	case D_QUOTE:
		if (is_quote) {
			s->state = D_VALUE;
			s->quote = c;
			s->tail_n = 0;
		} else if (!space) {
			return MK_SCAN_MALFORMED;
		}
		return MK_SCAN_MORE;
	case D_VALUE:
		if (c == s->quote) {
			s->state = D_AFTER;
			s->quote = 0;
			return declaration_value(s);
		}
		if (c <= ' ' || c >= 0x7f || c == '<' || c == '&')
			return MK_SCAN_MALFORMED;
		if (s->tail_n == sizeof s->tail) {
			/* Longer than any value that is allowed. */
			s->tail_n = 0;
			return declaration_value(s);
		}
		s->tail[s->tail_n++] = c;
		return MK_SCAN_MORE;
	case D_END:
		if (c != '>')
			return MK_SCAN_MALFORMED;
		s->state = D_DONE;
		s->flags |= DECLARED;
		return MK_SCAN_MORE;
	default:                       /* D_DONE */
		if (c == '<')
			s->state = LT;
		else if (!space)
			return MK_SCAN_MALFORMED;
		return MK_SCAN_MORE;
	}
}

/* ---- elements ------------------------------------------------------------------ */

/* '>' of a start tag. */
static inline enum mk_scan_result tag_opened(struct mk_scan *s)
{
	if (s->depth == 0 && !(s->flags & (HEADER | FRAMED))) {
		s->flags |= HEADER;
		s->state = SPACE;
		return MK_SCAN_HEADER;
	}
	if (s->depth < MK_SCAN_NAMES)
		s->names[s->depth] = s->sum;
	s->depth++;
	s->state = TEXT;
	return MK_SCAN_MORE;
}

/* "/>", or '>' of an end tag after depth was lowered. */
static inline enum mk_scan_result element_closed(struct mk_scan *s)
{
	if (s->depth == 0) {
		s->state = SPACE;
		return MK_SCAN_ELEMENT;
	}
	s->state = TEXT;
	return MK_SCAN_MORE;
}

static inline enum mk_scan_result end_tag_closed(struct mk_scan *s)
{
	if (s->depth == 0) {
		s->state = SPACE;
		return MK_SCAN_END;
	}
	s->depth--;
	if (s->depth < MK_SCAN_NAMES && s->names[s->depth] != s->sum)
		return MK_SCAN_MALFORMED;
	return element_closed(s);
}

/* The byte after '<'. Name bytes are looked at again in their state. */
static inline enum mk_scan_result after_lt(struct mk_scan *s, const struct mk_scan_limits *lim,
                                           uint8_t c)
{
	if (mk_xml_is(c, MK_XC_START)) {
		bool is_header = s->depth == 0 && !(s->flags & (HEADER | FRAMED));
		if (s->elements >= lim->elements || (!is_header && s->depth >= lim->depth))
			return MK_SCAN_LIMIT;
		s->elements++;
		s->attrs = 0;
		s->sum = 0;
		s->state = NAME;
	} else if (c == '/' && (s->depth > 0 || s->flags & HEADER)) {
		s->sum = 0;
		s->state = END_LT;
	} else if (c == '!') {
		/* Comments and DTDs never; CDATA only inside an element. */
		if (s->depth == 0)
			return MK_SCAN_RESTRICTED;
		s->state = BANG;
		s->tail_n = 0;
	} else if (c == '?') {
		if (s->depth > 0 || s->flags & (HEADER | FRAMED | DECLARED))
			return MK_SCAN_RESTRICTED;
		s->state = PI;
		s->tail_n = 0;
	} else {
		return MK_SCAN_MALFORMED;
	}
	return MK_SCAN_MORE;
}

static const uint8_t *skip_name(const uint8_t *q, const uint8_t *end)
{
	while (q < end && mk_xml_is(*q, MK_XC_ASCII_NAME))
		q++;
	return q;
}

/* The same for the name of a tag, which is remembered by a small sum (of its
 * ASCII bytes): enough to refuse an end tag that ends nothing as soon as it
 * comes, instead of taking what follows for the element's content. The parser
 * compares the names themselves. */
static inline const uint8_t *skip_tag_name(struct mk_scan *s, const uint8_t *q, const uint8_t *end)
{
	uint16_t sum = s->sum;

	while (q < end && mk_xml_is(*q, MK_XC_ASCII_NAME))
		sum = (uint16_t)(sum * 31 + *q++);
	s->sum = sum;
	return q;
}

/*
 * Passes over attributes as nearly all are written, from the white space before the
 * first: one space, a name, '=', a value of ASCII without a reference. Stops before
 * what is written otherwise, wrong, too much, or not all there: run() looks at it.
 */
static inline const uint8_t *skip_attrs(struct mk_scan *s, const struct mk_scan_limits *lim,
                                        const uint8_t *q, const uint8_t *end)
{
	while (s->attrs < lim->attrs && end - q >= 2 && *q == ' ' &&
	       mk_xml_is(q[1], MK_XC_START)) {
		const uint8_t *p = skip_name(q + 1, end);
		if (end - p < 2 || p[0] != '=' || (p[1] != '\'' && p[1] != '"'))
			break;
		const uint8_t *v = mk_xml_skip(p + 2, end, (char)p[1], '<', '&');
		if (v == end || *v != p[1])
			break;
		s->attrs++;
		q = v + 1;
	}
	return q;
}

/* Until something ends, is wrong, or the bytes are used up. */
static enum mk_scan_result run(struct mk_scan *s, const struct mk_scan_limits *lim,
                               const uint8_t **at, const uint8_t *end)
{
	enum mk_scan_result r = MK_SCAN_MORE;
	enum mk_utf8_result u;
	const uint8_t *q = *at;

	while (q < end && r == MK_SCAN_MORE) {
		uint8_t c = *q;

		if (s->utf8.need > 0) {
			u = mk_utf8_next(&s->utf8, c);
			if (u != MK_UTF8_OK)
				r = utf8_error(u);
			q++;
			continue;
		}
		switch ((enum state)s->state) {
		case SPACE:
			/* White space was taken before; '<' is all that may come. */
			if (c != '<') {
				r = MK_SCAN_MALFORMED;
				break;
			}
			s->state = LT;
			q++;
			break;
		case LT:
		lt:
			r = after_lt(s, lim, c);
			if (s->state != NAME) {
				q++;
				break;
			}
			__attribute__((fallthrough));
		case NAME:
			q = skip_tag_name(s, q, end);
			if (q == end)
				break;
			if (*q >= 0x80)
				goto multi;
			q = skip_attrs(s, lim, q, end);
			s->state = AFTER;
			break;
		case TAG:
			if (mk_xml_is(c, MK_XC_START)) {
				if (s->attrs >= lim->attrs) {
					r = MK_SCAN_LIMIT;
					break;
				}
				s->attrs++;
				s->state = ATTR;
				break;
			}
			__attribute__((fallthrough));
		case AFTER:
			q++;
			if (c == '>')
				r = tag_opened(s);
			else if (mk_xml_is(c, MK_XC_SPACE))
				s->state = TAG;
			else if (c == '/')
				s->state = SLASH;
			else
				r = MK_SCAN_MALFORMED;
			break;
		case SLASH:
			q++;
			r = c == '>' ? element_closed(s) : MK_SCAN_MALFORMED;
			break;
		case ATTR:
			q = skip_name(q, end);
			if (q == end)
				break;
			c = *q;
			if (c >= 0x80)
				goto multi;
			q++;
			if (c == '=')
				s->state = QUOTE;
			else if (mk_xml_is(c, MK_XC_SPACE))
				s->state = EQ;
			else
				r = MK_SCAN_MALFORMED;
			break;
		case EQ:
			q++;
			if (c == '=')
				s->state = QUOTE;
			else if (!mk_xml_is(c, MK_XC_SPACE))
				r = MK_SCAN_MALFORMED;
			break;
		case QUOTE:
			q++;
			if (c == '\'' || c == '"') {
				s->quote = c;
				s->state = VALUE;
			} else if (!mk_xml_is(c, MK_XC_SPACE)) {
				r = MK_SCAN_MALFORMED;
			}
			break;
		case VALUE:
			q = mk_xml_skip(q, end, (char)s->quote, '<', '&');
			if (q == end)
				break;
			c = *q;
			if (c >= 0x80)
				goto multi;
			q++;
			if (c == s->quote) {
				s->quote = 0;
				s->state = AFTER;
			} else if (c == '&') {
				s->tail_n = 0;
				s->state = ENT;
			} else if (!mk_xml_is(c, MK_XC_SPACE)) {
				r = MK_SCAN_MALFORMED;
			}
			break;
		case TEXT:
			q = mk_xml_skip(q, end, '<', '<', '&');
			if (q == end)
				break;
			c = *q;
			if (c >= 0x80)
				goto multi;
			q++;
			if (c == '<') {
				s->state = LT;
				if (q < end) {
					c = *q;
					goto lt;
				}
			} else if (c == '&') {
				s->tail_n = 0;
				s->state = ENT;
			} else if (!mk_xml_is(c, MK_XC_SPACE)) {
				r = MK_SCAN_MALFORMED;
			}
			break;
		case ENT:
			q++;
			if (c == ';') {
				if (s->tail_n == 0)
					r = MK_SCAN_MALFORMED;
				else if (!is_predefined(s))
					r = MK_SCAN_RESTRICTED;
				s->state = s->quote != 0 ? VALUE : TEXT;
			} else if (c == '#' && s->tail_n == 0) {
				memset(s->tail, 0, sizeof s->tail);
				s->state = CREF;
			} else if (!mk_xml_is(c, s->tail_n == 0 ? MK_XC_START : MK_XC_NAME)) {
				r = MK_SCAN_MALFORMED;
			} else if (s->tail_n == 4) {
				r = MK_SCAN_RESTRICTED;
			} else {
				s->tail[s->tail_n++] = c;
			}
			break;
		case CREF:
			if (c == 'x') {
				s->state = CREF_HEX;
				q++;
				break;
			}
			s->state = CREF_DEC;
			__attribute__((fallthrough));
		case CREF_DEC:
		case CREF_HEX: {
			unsigned base = s->state == CREF_HEX ? 16 : 10, digit = 16;
			q++;
			if (c >= '0' && c <= '9')
				digit = c - '0';
			else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
				digit = (c | 0x20) - 'a' + 10;
			if (digit < base) {
				if (!reference_digit(s, base, digit))
					r = MK_SCAN_MALFORMED;
			} else if (c == ';' && reference_is_char(s)) {
				s->state = s->quote != 0 ? VALUE : TEXT;
			} else {
				r = MK_SCAN_MALFORMED;
			}
			break;
		}
		case END_LT:
			if (!mk_xml_is(c, MK_XC_START)) {
				r = MK_SCAN_MALFORMED;
				break;
			}
			s->state = END_NAME;
			__attribute__((fallthrough));
		case END_NAME:
			q = skip_tag_name(s, q, end);
			if (q == end)
				break;
			c = *q;
			if (c >= 0x80)
				goto multi;
			__attribute__((fallthrough));
		case END_SPACE:
			q++;
			if (c == '>')
				r = end_tag_closed(s);
			else if (mk_xml_is(c, MK_XC_SPACE))
				s->state = END_SPACE;
			else
				r = MK_SCAN_MALFORMED;
			break;
		case BANG:
			q++;
			if (c != (uint8_t)"[CDATA["[s->tail_n])
				r = MK_SCAN_RESTRICTED;
			else if (++s->tail_n == 7)
				s->state = CDATA;
			break;
		case CDATA_1:
			s->state = c == ']' ? CDATA_2 : CDATA;
			q += c == ']';
			break;
		case CDATA_2:
			if (c == '>')
				s->state = TEXT;
			else if (c != ']')
				s->state = CDATA;
			q += c == '>' || c == ']';
			break;
		case CDATA:
			q = mk_xml_skip(q, end, ']', ']', ']');
			if (q == end)
				break;
			c = *q;
			if (c >= 0x80)
				goto multi;
			q++;
			if (c == ']')
				s->state = CDATA_1;
			else if (!mk_xml_is(c, MK_XC_SPACE))
				r = MK_SCAN_MALFORMED;
			break;
		case PI:
			q++;
			if (s->tail_n < 3 ? c != (uint8_t)"xml"[s->tail_n] : !mk_xml_is(c, MK_XC_SPACE)) {
				r = MK_SCAN_RESTRICTED;
			} else if (s->tail_n++ == 3) {
				s->state = D_SPACE;
				s->decl = 0;
			}
			break;
		case D_SPACE: case D_NAME: case D_EQ: case D_QUOTE: case D_VALUE:
		case D_AFTER: case D_END: case D_DONE:
			r = declaration_byte(s, c);
			q++;
			break;
		multi:
			q = skip_multi(q, end);
			if (q < end && *q >= 0x80 && mk_utf8_begin(&s->utf8, *q++) != MK_UTF8_OK)
				r = MK_SCAN_ENCODING;
			break;
		}
	}
	*at = q;
	return r;
}

enum mk_scan_result mk_scan_feed(struct mk_scan *s, const struct mk_scan_limits *lim,
                                 const char *p, size_t n, size_t *used)
{
	const uint8_t *begin = (const uint8_t *)p, *q = begin, *end = begin + n;
	enum mk_scan_result r;
	size_t room;

	if (s->state == SPACE) {
		while (q < end && mk_xml_is(*q, MK_XC_SPACE))
			q++;
		*used = (size_t)(q - begin);
		if (q > begin)
			return MK_SCAN_SPACE;
		if (n == 0)
			return MK_SCAN_MORE;
		/* UTF-16 and UTF-32 begin with a BOM or a zero byte. */
		if ((*q == 0xfe || *q == 0xff || *q == 0) && !(s->flags & (HEADER | FRAMED))) {
			s->flags |= FOREIGN;
			return MK_SCAN_ENCODING;
		}
	}
	/* Bytes beyond the limit aren't looked at, so that the same one is
	 * refused however they were split. */
	room = s->bytes < lim->bytes ? lim->bytes - s->bytes : 0;
	if (n > room)
		end = begin + room;
	r = run(s, lim, &q, end);
	*used = (size_t)(q - begin);
	s->bytes += (uint32_t)*used;
	if (r == MK_SCAN_MORE && n > room)
		return MK_SCAN_LIMIT;
	if (r == MK_SCAN_HEADER || r == MK_SCAN_ELEMENT || r == MK_SCAN_END) {
		s->bytes = 0;
		s->elements = 0;
		s->decl = 0;
	}
	return r;
}
