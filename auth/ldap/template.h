/*
 * ldap/template.h - filters and DNs with placeholders for what clients send
 *
 * %u is the user (localpart), %d the domain, %D a DN (filters only), %% a per
 * cent sign. A template is the operator's and is checked when it is read; values
 * are anybody's and can only become values (S-14). No state; any thread.
 */
#ifndef LDAP_TEMPLATE_H
#define LDAP_TEMPLATE_H

#include <meerkat/types.h>

/* user.p NULL in a filter: every user ("*"). */
struct tmpl_values { struct mk_str user, domain, dn; };

/* Whether text is a filter of RFC 4515 with placeholders, of those in allowed ("udD"),
 * nowhere but in values. If not, *why_out is a sentence without its end. */
bool tmpl_filter_ok(const char *text, const char *allowed, const char **why_out);
/* Whether text is a DN of RFC 4514 with %u and %d nowhere but in values. */
bool tmpl_dn_ok(const char *text, const char **why_out);
bool tmpl_has(const char *text, char placeholder);

/* Of a template that is ok. NUL-terminated arena memory. Values escaped by RFC 4515 3
 * and RFC 4514 2.4. */
char *tmpl_filter(struct mk_arena *a, const char *text, const struct tmpl_values *v);
char *tmpl_dn(struct mk_arena *a, const char *text, const struct tmpl_values *v);

#endif
