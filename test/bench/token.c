/*
 * token.c - cuts a byte stream from an XMPP server into top-level elements
 *
 * Holds no memory; the state is two numbers of the caller's. Any thread.
 */
#include "token.h"

#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* One past the '>' that ends the markup at p, or NULL when it is cut. */
static const char *markup_end(const char *p, const char *stop)
{
	const char *q;

	if (stop - p < 2)
		return NULL;
	if (p[1] == '?') {
		q = memmem(p, (size_t)(stop - p), "?>", 2);
		return q ? q + 2 : NULL;
	}
	if (p[1] == '!') {
		q = memmem(p, (size_t)(stop - p), "]]>", 3);
		return q ? q + 3 : NULL;
	}
	for (q = p + 1; q < stop; q++) {
		if (*q == '>')
			return q + 1;
		if (*q == '\'' || *q == '"') {
			q = memchr(q + 1, *q, (size_t)(stop - q - 1));
			if (!q)
				return NULL;
		}
	}
	return NULL;
}

enum token_kind token_next(struct token *t, const char *buf, size_t len,
                           size_t *begin_out, size_t *end_out)
{
	const char *stop = buf + len, *start = buf, *p = buf + t->pos, *q;

	for (;;) {
		if (t->depth == 0) {
			while (p < stop && is_space(*p))
				p++;
			start = p;
			if (p < stop && *p != '<')
				return TOKEN_BAD;
		} else {
			p = memchr(p, '<', (size_t)(stop - p));
			if (!p)
				p = stop;
		}
		q = p < stop ? markup_end(p, stop) : NULL;
		if (!q) {
			*end_out = (size_t)(start - buf);
			t->pos = (uint32_t)(p - start);
			return TOKEN_MORE;
		}
		*begin_out = (size_t)(start - buf);
		*end_out = (size_t)(q - buf);
		if (p[1] == '?') {
			if (t->depth != 0)
				return TOKEN_BAD;
		} else if (p[1] == '!') {
			/* CDATA; comments and DTDs have no place (RFC 6120 11.1) */
			if (t->depth == 0)
				return TOKEN_BAD;
		} else if (p[1] == '/') {
			if (t->depth == 0) {
				t->pos = 0;
				return TOKEN_CLOSE;
			}
			if (--t->depth == 0) {
				t->pos = 0;
				return TOKEN_STANZA;
			}
		} else if (q[-2] == '/') {
			if (t->depth == 0) {
				t->pos = 0;
				return TOKEN_STANZA;
			}
		} else if (t->depth == 0 &&
		           (token_is(p, (size_t)(q - p), "stream:stream") ||
		            token_is(p, (size_t)(q - p), "stream"))) {
			t->pos = 0;
			return TOKEN_OPEN;
		} else {
			t->depth++;
		}
		p = q;
	}
}

bool token_attr_next(const char **pos, const char *stop, struct token_attr *out)
{
	const char *p = *pos, *q;

	if (p < stop && *p == '<')
		while (p < stop && !is_space(*p) && *p != '>' && *p != '/')
			p++;
	while (p < stop && is_space(*p))
		p++;
	if (p >= stop || *p == '>' || *p == '/' || *p == '?')
		return false;
	q = p;
	while (q < stop && *q != '=' && !is_space(*q))
		q++;
	out->name = p;
	out->name_len = (size_t)(q - p);
	while (q < stop && (*q == '=' || is_space(*q)))
		q++;
	if (q >= stop || (*q != '\'' && *q != '"'))
		return false;
	p = memchr(q + 1, *q, (size_t)(stop - q - 1));
	if (!p)
		return false;
	out->quote = *q;
	out->value = q + 1;
	out->value_len = (size_t)(p - q - 1);
	*pos = p + 1;
	return true;
}

bool token_attr_find(const char *elem, size_t len, const char *name,
                     struct token_attr *out)
{
	struct token_attr a;
	const char *p = elem;
	size_t n = strlen(name);

	while (token_attr_next(&p, elem + len, &a)) {
		if (a.name_len == n && memcmp(a.name, name, n) == 0) {
			*out = a;
			return true;
		}
	}
	return false;
}

bool token_is(const char *elem, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (len < n + 2 || memcmp(elem + 1, name, n) != 0)
		return false;
	return is_space(elem[n + 1]) || elem[n + 1] == '>' || elem[n + 1] == '/';
}
