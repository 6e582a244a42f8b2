/*
 * http/parse.c - HTTP/1.1 requests, read strictly
 *
 * Pure functions; any thread.
 */
#include "parse.h"

#include <strings.h>

/* ---- characters (RFC 9110 5.6.2, RFC 3986) ------------------------------------------ */

static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(unsigned char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }
static bool is_one_of(unsigned char c, const char *set) { return c != '\0' && strchr(set, c) != NULL; }
static bool is_tchar(unsigned char c)
{
	return is_digit(c) || is_alpha(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}
static bool is_target_char(unsigned char c)
{
	return is_digit(c) || is_alpha(c) || is_one_of(c, "-._~!$&'()*+,;=:@/?%[]");
}
static bool is_host_char(unsigned char c)
{
	return is_digit(c) || is_alpha(c) || is_one_of(c, "-._~!$&'()*+,;=:[]%");
}
static int hex(unsigned char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_is_token(struct mk_str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_tchar((unsigned char)s.p[i]))
			return false;
	return s.n > 0;
}

bool http_is_value(struct mk_str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool same(struct mk_str s, const char *z)
{
	return s.n == strlen(z) && strncasecmp(s.p, z, s.n) == 0;
}

static struct mk_str trimmed(struct mk_str s)
{
	while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool http_list_has(struct mk_str list, const char *token)
{
	while (list.n > 0) {
		const char *comma = memchr(list.p, ',', list.n);
		size_t n = comma != NULL ? (size_t)(comma - list.p) : list.n;
		if (same(trimmed((struct mk_str){ list.p, n }), token))
			return true;
		n += comma != NULL;
		list.p += n;
		list.n -= n;
	}
	return false;
}

bool http_path_decode(struct mk_str path, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < path.n; i++) {
		unsigned char c = (unsigned char)path.p[i];
		bool escaped = c == '%';
		if (escaped) {
			int high, low;
			if (path.n - i < 3 || (high = hex((unsigned char)path.p[i + 1])) < 0 ||
			    (low = hex((unsigned char)path.p[i + 2])) < 0)
				return false;
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		/* A slash that is none, and what ends or hides a name (S-12). */
		if (c < 0x20 || c == 0x7f || (escaped && (c == '/' || c == '\\')))
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	for (const char *segment = out; segment != NULL; ) {
		const char *slash = strchr(segment, '/');
		size_t len = slash != NULL ? (size_t)(slash - segment) : strlen(segment);
		if ((len == 1 || len == 2) && strncmp(segment, "..", len) == 0)
			return false;
		segment = slash != NULL ? slash + 1 : NULL;
	}
	return true;
}

/* ---- the head ------------------------------------------------------------------------ */

/* A line without its CRLF; 0: not complete, -1: it ends otherwise. */
static int next_line(const char *p, size_t n, struct mk_str *line)
{
	const char *lf = memchr(p, '\n', n);

	if (lf == NULL)
		return 0;
	if (lf == p || lf[-1] != '\r')
		return -1;
	*line = (struct mk_str){ p, (size_t)(lf - 1 - p) };
	return 1;
}

static bool is_authority(struct mk_str s)
{
	const char *colon;
	size_t digits = 0;

	for (size_t i = 0; i < s.n; i++)
		if (!is_host_char((unsigned char)s.p[i]))
			return false;
	if (s.n == 0 || s.n > 255)
		return false;
	/* "[::1]:80", "name:80" */
	colon = s.p[0] == '[' ? memchr(s.p, ']', s.n) : memchr(s.p, ':', s.n);
	if (s.p[0] == '[') {
		if (colon == NULL || colon == s.p + 1)
			return false;
		colon++;
		if (colon == s.p + s.n)
			return true;
		if (*colon != ':')
			return false;
	} else if (memchr(s.p, '[', s.n) != NULL || memchr(s.p, ']', s.n) != NULL || colon == s.p) {
		return false;
	}
	if (colon == NULL)
		return true;
	for (const char *c = colon + 1; c < s.p + s.n; c++, digits++)
		if (!is_digit((unsigned char)*c))
			return false;
	return digits <= 5;
}

static bool split_target(struct http_head *h)
{
	struct mk_str t = h->target;
	const char *mark;

	for (size_t i = 0; i < t.n; i++)
		if (!is_target_char((unsigned char)t.p[i]))
			return false;
	if (mk_str_eqz(h->method, "CONNECT")) {
		h->form = HTTP_AUTHORITY;
		h->authority = t;
		return is_authority(t);
	}
	if (t.n == 1 && *t.p == '*') {
		h->form = HTTP_ASTERISK;
		return mk_str_eqz(h->method, "OPTIONS");
	}
	h->form = HTTP_ORIGIN;
	if (*t.p != '/') {
		size_t scheme = t.n > 8 && strncasecmp(t.p, "https://", 8) == 0 ? 8
		              : t.n > 7 && strncasecmp(t.p, "http://", 7) == 0 ? 7 : 0;
		if (scheme == 0)
			return false;
		h->form = HTTP_ABSOLUTE;
		t.p += scheme;
		t.n -= scheme;
		for (h->authority = (struct mk_str){ t.p, 0 };
		     t.n > 0 && *t.p != '/' && *t.p != '?'; t.p++, t.n--)
			h->authority.n++;
		if (!is_authority(h->authority))
			return false;
	}
	mark = t.n > 0 ? memchr(t.p, '?', t.n) : NULL;
	h->path = (struct mk_str){ t.p, mark != NULL ? (size_t)(mark - t.p) : t.n };
	if (mark != NULL)
		h->query = (struct mk_str){ mark + 1, t.n - h->path.n - 1 };
	if (h->path.n == 0 && h->form == HTTP_ABSOLUTE)
		h->path = MK_STR("/");
	return true;
}

static int request_line(struct mk_str line, struct http_head *h)
{
	const char *first = memchr(line.p, ' ', line.n), *second, *end = line.p + line.n;

	if (first == NULL)
		return -400;
	second = memchr(first + 1, ' ', (size_t)(end - first - 1));
	if (second == NULL || second == first + 1)
		return -400;
	h->method = (struct mk_str){ line.p, (size_t)(first - line.p) };
	h->target = (struct mk_str){ first + 1, (size_t)(second - first - 1) };
	if (!http_is_token(h->method) || h->method.n > 20)
		return -400;
	if (end - second != 9 || memcmp(second + 1, "HTTP/", 5) != 0 || second[7] != '.' ||
	    !is_digit((unsigned char)second[6]) || !is_digit((unsigned char)second[8]))
		return -400;
	if (second[6] != '1')
		return -505;
	h->minor = second[8] == '0' ? 0 : 1;
	return split_target(h) ? 0 : -400;
}

static int field_line(struct mk_str line, struct http_head *h)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct http_field *f;

	/* No colon, or obs-fold, or space before the colon (5.1, 5.2). */
	if (colon == NULL)
		return -400;
	if (h->fields == HTTP_FIELDS)
		return -431;
	f = &h->field[h->fields++];
	f->name = (struct mk_str){ line.p, (size_t)(colon - line.p) };
	f->value = trimmed((struct mk_str){ colon + 1, line.n - f->name.n - 1 });
	return http_is_token(f->name) && http_is_value(f->value) ? 0 : -400;
}

const struct mk_str *http_head_field(const struct http_head *h, const char *name)
{
	for (unsigned i = 0; i < h->fields; i++)
		if (same(h->field[i].name, name))
			return &h->field[i].value;
	return NULL;
}

static int content_length(struct mk_str v, int64_t *out)
{
	int64_t n = 0;

	if (v.n == 0)
		return -400;
	for (size_t i = 0; i < v.n; i++) {
		if (!is_digit((unsigned char)v.p[i]))
			return -400;
		if (n > INT64_MAX / 10 - 10)
			return -413;
		n = n * 10 + (v.p[i] - '0');
	}
	*out = n;
	return 0;
}

/* What the fields mean for where the request ends (6.1 to 6.3), and for whom it is. */
static int framing(struct http_head *h)
{
	unsigned hosts = 0, lengths = 0, codings = 0;
	struct mk_str host = MK_STR_NONE;
	bool close = false;
	int r;

	for (unsigned i = 0; i < h->fields; i++) {
		const struct http_field *f = &h->field[i];
		if (same(f->name, "Host")) {
			hosts++;
			host = f->value;
		} else if (same(f->name, "Content-Length")) {
			lengths++;
			if ((r = content_length(f->value, &h->length)) < 0)
				return r;
		} else if (same(f->name, "Transfer-Encoding")) {
			codings++;
			if (!same(f->value, "chunked"))
				return http_list_has(f->value, "chunked") || f->value.n == 0 ? -400 : -501;
			h->chunked = true;
		} else if (same(f->name, "Connection")) {
			close |= http_list_has(f->value, "close");
			h->wants_upgrade |= http_list_has(f->value, "upgrade");
		} else if (same(f->name, "Expect")) {
			if (!same(f->value, "100-continue"))
				return -417;
			h->wants_continue = h->minor > 0;
		}
	}
	if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0) ||
	    (codings > 0 && h->minor == 0))
		return -400;
	if (hosts > 1 || (hosts == 0 && h->minor > 0))
		return -400;
	/* An empty one is allowed where the target has no authority (RFC 9110 7.2). */
	if (host.n != 0 && !is_authority(host))
		return -400;
	if (h->authority.n == 0)
		h->authority = host;
	h->keep_alive = h->minor > 0 && !close;
	return 0;
}

int http_head_parse(const char *p, size_t n, struct http_head *h)
{
	size_t limit = n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX, at = 0;
	int r;

	*h = (struct http_head){ .length = -1 };
	for (bool first = true;; first = false) {
		struct mk_str line;
		r = next_line(p + at, limit - at, &line);
		if (r < 0)
			return -400;
		if (r == 0)
			return n < HTTP_HEAD_MAX ? 0 : first ? -414 : -431;
		at += line.n + 2;
		if (line.n == 0 && !first)
			break;
		r = first ? request_line(line, h) : field_line(line, h);
		if (r < 0)
			return r;
	}
	r = framing(h);
	return r < 0 ? r : (int)at;
}

/* ---- chunks -------------------------------------------------------------------------- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF,
	END_LF, ENDED };
#define SKIP_MAX 1024                  /* bytes of extensions and trailers  */

static int bad(void) { return HTTP_CHUNKS_BAD; }

int http_chunks_feed(struct http_chunks *c, const char *p, size_t n, size_t *used,
	struct mk_str *data)
{
	size_t i = 0;

	while (i < n) {
		unsigned char x = (unsigned char)p[i];
		int digit;
		if (c->state == DATA) {
			size_t take = n - i < c->left ? n - i : c->left;
			*data = (struct mk_str){ p + i, take };
			c->left -= (uint32_t)take;
			if (c->left == 0)
				c->state = DATA_CR;
			*used = i + take;
			return HTTP_CHUNKS_DATA;
		}
		i++;
		switch (c->state) {
		case SIZE:
			digit = hex(x);
			if (digit >= 0) {
				if (++c->digits > 7)
					return bad();
				c->left = c->left << 4 | (uint32_t)digit;
			} else if (c->digits == 0) {
				return bad();
			} else if (x == '\r') {
				c->state = SIZE_LF;
			} else if (x == ';') {
				c->state = EXTENSION;
			} else {
				return bad();
			}
			break;
		case EXTENSION:
			if (x == '\r')
				c->state = SIZE_LF;
			else if ((x < 0x20 && x != '\t') || x == 0x7f || ++c->skipped > SKIP_MAX)
				return bad();
			break;
		case SIZE_LF:
			if (x != '\n')
				return bad();
			c->digits = 0;
			c->state = c->left > 0 ? DATA : TRAILER_START;
			break;
		case DATA_CR:
			if (x != '\r')
				return bad();
			c->state = DATA_LF;
			break;
		case DATA_LF:
			if (x != '\n')
				return bad();
			c->state = SIZE;
			break;
		case TRAILER_START:
			if (x == '\r') {
				c->state = END_LF;
				break;
			}
			if (!is_tchar(x))
				return bad();
			c->state = TRAILER;
			break;
		case TRAILER:
			if (x == '\r')
				c->state = TRAILER_LF;
			else if ((x < 0x20 && x != '\t') || x == 0x7f || ++c->skipped > SKIP_MAX)
				return bad();
			break;
		case TRAILER_LF:
			if (x != '\n')
				return bad();
			c->state = TRAILER_START;
			break;
		case END_LF:
			if (x != '\n')
				return bad();
			c->state = ENDED;
			*used = i;
			return HTTP_CHUNKS_END;
		default:
			return bad();
		}
	}
	*used = n;
	return HTTP_CHUNKS_MORE;
}
