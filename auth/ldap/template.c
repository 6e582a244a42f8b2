/*
 * ldap/template.c - filters and DNs with placeholders for what clients send
 */
#include "template.h"

#include <ldap.h>

#define DEPTH_MAX 32

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const struct mk_str *value_of(char placeholder, const struct tmpl_values *v)
{
	return placeholder == 'u' ? &v->user : placeholder == 'd' ? &v->domain : &v->dn;
}

bool tmpl_has(const char *text, char placeholder)
{
	for (const char *p = text; (p = strchr(p, '%')) != NULL && p[1] != '\0'; p += 2)
		if (p[1] == placeholder)
			return true;
	return false;
}

/* ---- checking ----------------------------------------------------------------------- */

struct reader { const char *p, *allowed, *why; };

static bool wrong(struct reader *r, const char *why)
{
	r->why = why;
	return false;
}

static bool placeholder_ok(struct reader *r)
{
	char c = r->p[1];

	if (c != '%' && (c == '\0' || strchr(r->allowed, c) == NULL))
		return wrong(r, "'%' begins a placeholder that is none; write '%%' for the sign");
	r->p += 2;
	return true;
}

/* attr [":dn"] [":" rule] ("=" / "~=" / ">=" / "<=" / ":=") value */
static bool item_ok(struct reader *r)
{
	const char *start = r->p;

	while (is_alpha(*r->p) || is_digit(*r->p) || (*r->p != '\0' && strchr("-.;:_", *r->p)))
		r->p++;
	if (r->p == start)
		return wrong(r, "an attribute is missing");
	if (*r->p != '\0' && strchr("~<>", *r->p))
		r->p++;
	if (*r->p != '=')
		return wrong(r, "'=' is missing after an attribute");
	r->p++;
	while (*r->p != ')') {
		switch (*r->p) {
		case '\0':
			return wrong(r, "')' is missing");
		case '(':
			return wrong(r, "'(' in a value; write '\\28'");
		case '\\':
			if (!is_hex(r->p[1]) || !is_hex(r->p[2]))
				return wrong(r, "'\\' without two hexadecimal digits");
			r->p += 3;
			break;
		case '%':
			if (!placeholder_ok(r))
				return false;
			break;
		default:
			r->p++;
		}
	}
	return true;
}

static bool filter_ok(struct reader *r, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return wrong(r, "it is nested too deeply");
	if (*r->p++ != '(')
		return wrong(r, "'(' is missing");
	if (*r->p == '&' || *r->p == '|') {
		for (r->p++; *r->p == '('; )
			if (!filter_ok(r, depth + 1))
				return false;
	} else if (*r->p == '!') {
		r->p++;
		if (!filter_ok(r, depth + 1))
			return false;
	} else if (!item_ok(r)) {
		return false;
	}
	if (*r->p != ')')
		return wrong(r, "')' is missing");
	r->p++;
	return true;
}

bool tmpl_filter_ok(const char *text, const char *allowed, const char **why_out)
{
	struct reader r = { text, allowed, NULL };
	bool ok = filter_ok(&r, 0);

	if (ok && *r.p != '\0')
		ok = wrong(&r, "there is more after the last ')'");
	if (!ok)
		*why_out = r.why;
	return ok;
}

static bool dn_places_ok(struct reader *r)
{
	bool in_value = false;

	while (*r->p != '\0') {
		switch (*r->p) {
		case '=':
			in_value = true;
			break;
		case ',': case '+': case ';':
			in_value = false;
			break;
		case '"':
			return wrong(r, "quotation marks are not allowed; escape with '\\'");
		case '\\':
			if (r->p[1] == '\0' || r->p[1] == '%')
				return wrong(r, "'\\' escapes nothing");
			r->p++;
			break;
		case '%':
			if (!in_value)
				return wrong(r, "a placeholder outside a value");
			if (!placeholder_ok(r))
				return false;
			continue;
		}
		r->p++;
	}
	return true;
}

bool tmpl_dn_ok(const char *text, const char **why_out)
{
	struct tmpl_values v = { MK_STR("u"), MK_STR("d"), MK_STR_NONE };
	struct reader r = { text, "ud", NULL };
	struct mk_arena *a;
	LDAPDN parsed = NULL;

	if (!dn_places_ok(&r)) {
		*why_out = r.why;
		return false;
	}
	a = mk_arena_new();
	bool ok = ldap_str2dn(tmpl_dn(a, text, &v), &parsed, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS
		&& parsed != NULL;
	if (parsed != NULL)
		ldap_dnfree(parsed);
	mk_arena_free(&a);
	if (!ok)
		*why_out = "it is no DN";
	return ok;
}

/* ---- filling in --------------------------------------------------------------------- */

/* RFC 4515 3: what has a meaning; and control characters, for the reader of logs. */
static bool is_plain_in_filter(unsigned char c)
{
	return c >= 0x20 && c != 0x7f && strchr("*()\\", c) == NULL;
}

/* RFC 4514 2.4 lets any byte be a pair of digits: all are that might have a meaning at
 * some place (a leading '#', a space at an end). */
static bool is_plain_in_dn(unsigned char c)
{
	return is_alpha((char)c) || is_digit((char)c) || c >= 0x80 ||
		(c != 0 && strchr("-._@", c) != NULL);
}

static char *escape(char *at, struct mk_str s, bool (*is_plain)(unsigned char c))
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (is_plain(c)) {
			*at++ = (char)c;
			continue;
		}
		*at++ = '\\';
		*at++ = digits[c >> 4];
		*at++ = digits[c & 15];
	}
	return at;
}

static char *fill(struct mk_arena *a, const char *text, const struct tmpl_values *v,
	bool (*is_plain)(unsigned char c))
{
	size_t room = 1;
	char *out, *at;

	for (const char *p = text; *p != '\0'; p++)
		room += *p == '%' && p[1] != '\0' ? 3 * value_of(*++p, v)->n + 1 : 1;
	out = at = mk_arena_alloc(a, room);
	for (const char *p = text; *p != '\0'; p++) {
		bool is_sign = *p == '%' && p[1] != '\0';
		const struct mk_str *value = is_sign && p[1] != '%' ? value_of(p[1], v) : NULL;
		char c = value != NULL ? '*' : *p;
		p += is_sign;
		if (value != NULL && value->p != NULL)
			at = escape(at, *value, is_plain);
		else if (c != '*' || at == out || at[-1] != '*')       /* "**" is no filter */
			*at++ = c;
	}
	*at = '\0';
	return out;
}

char *tmpl_filter(struct mk_arena *a, const char *text, const struct tmpl_values *v)
{
	return fill(a, text, v, is_plain_in_filter);
}

char *tmpl_dn(struct mk_arena *a, const char *text, const struct tmpl_values *v)
{
	return fill(a, text, v, is_plain_in_dn);
}
