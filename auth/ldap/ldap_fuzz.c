/*
 * ldap_fuzz.c - a template and a user's name; names stay values
 *
 * Input: a byte that says whether it is a DN, the template, NUL, the name. Whatever the
 * template, it is refused or filled so that its shape does not depend on the name.
 */
#include <assert.h>
#include <meerkat/auth.h>
#include <meerkat/plugin.h>
#include <ldap.h>

#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* What a template of one placeholder has in the place of "%u", read backwards. */
static void check_value(const char *filled, const char *before, struct mk_str name)
{
	const char *at = filled + strlen(before);

	assert(strncmp(filled, before, strlen(before)) == 0);
	for (size_t i = 0; i < name.n; i++) {
		char c = *at++;
		if (c == '\\') {
			c = (char)(hex(at[0]) << 4 | hex(at[1]));
			at += 2;
		}
		assert(c == name.p[i]);
	}
	assert(*at == ')' || *at == '\0');
}

/* Parentheses and stars that stand for themselves, in order. Stars that an empty value
 * has brought together are one, so a run counts as one. */
static void shape(const char *s, char *out)
{
	char last = '\0';

	for (; *s != '\0'; s++)
		if (strchr("()*&|!", *s) != NULL && (*s != '*' || last != '*'))
			*out++ = last = *s;
	*out = '\0';
}

static void filters(struct mk_arena *a, const char *template, struct mk_str name)
{
	struct tmpl_values v = { name, MK_STR("example.org"), MK_STR("cn=a,dc=b") };
	struct tmpl_values other = { MK_STR("x"), MK_STR("x"), MK_STR("x") };
	const char *why = NULL;

	check_value(tmpl_filter(a, "(uid=%u)", &v), "(uid=", name);
	if (!tmpl_filter_ok(template, "udD", &why)) {
		assert(why != NULL);
		return;
	}
	char *one = tmpl_filter(a, template, &v), *two = tmpl_filter(a, template, &other);
	bool ampersand = memchr(name.p, '&', name.n) || memchr(name.p, '|', name.n) ||
		memchr(name.p, '!', name.n);
	char *x = mk_arena_alloc(a, strlen(one) + 1), *y = mk_arena_alloc(a, strlen(two) + 1);
	shape(one, x);
	shape(two, y);
	assert(ampersand || strcmp(x, y) == 0);
	/* It is still a filter; "%" of a value is no placeholder. */
	for (char *c = one; *c != '\0'; c++)
		if (*c == '%')
			*c = '.';
	assert(tmpl_filter_ok(one, "", &why));
}

static void dns(struct mk_arena *a, const char *template, struct mk_str name)
{
	struct tmpl_values v = { name, MK_STR("example.org"), MK_STR_NONE };
	const char *why = NULL;
	LDAPDN dn = NULL;

	check_value(tmpl_dn(a, "uid=%u", &v), "uid=", name);
	if (memchr(name.p, '\0', name.n) == NULL && name.n != 0 && mk_utf8_valid(name.p, name.n)) {
		assert(ldap_str2dn(tmpl_dn(a, "uid=%u,dc=org", &v), &dn, LDAP_DN_FORMAT_LDAPV3) ==
			LDAP_SUCCESS);
		assert(dn[0] != NULL && dn[1] != NULL && dn[2] == NULL && dn[0][1] == NULL);
		assert(dn[0][0]->la_value.bv_len == name.n);
		assert(memcmp(dn[0][0]->la_value.bv_val, name.p, name.n) == 0);
		ldap_dnfree(dn);
	}
	if (!tmpl_dn_ok(template, &why)) {
		assert(why != NULL);
		return;
	}
	tmpl_dn(a, template, &v);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *end = n > 1 ? memchr(p + 1, '\0', n - 1) : NULL;
	struct mk_arena *a;

	if (end == NULL || n > 4096)
		return 0;
	a = mk_arena_new();
	struct mk_str name = { (const char *)end + 1, (size_t)(p + n - end - 1) };
	if (p[0] & 1)
		dns(a, (const char *)p + 1, name);
	else
		filters(a, (const char *)p + 1, name);
	mk_arena_free(&a);
	return 0;
}
