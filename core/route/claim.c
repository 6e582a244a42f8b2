/*
 * route/claim.c - whose an address is that is no account's
 *
 * Nothing is kept per domain: conference.example.org is looked up as what is
 * claimed of the host type of example.org, so that a service for 100,000 domains
 * costs a row in one dispatch. Any thread.
 */
#include <stdio.h>
#include <meerkat/claim.h>
#include "route/claim.h"
#include "base/ban.h"

#define HOST_SUFFIX ".@HOST@"

/* The length of LABEL, or 0. */
static size_t label_of(const char *host)
{
	size_t n = strlen(host), suffix = sizeof HOST_SUFFIX - 1;

	return n > suffix && strcmp(host + n - suffix, HOST_SUFFIX) == 0 ? n - suffix : 0;
}

bool mk_claim_host_ok(const char *host)
{
	struct mk_jid *j = NULL;
	size_t n = label_of(host);

	/* A domain in its prepared form. */
	if (n == 0 || mk_jid_parse((struct mk_str){ host, n }, &j) < 0)
		return false;
	bool ok = mk_jid_local(j).n == 0 && mk_jid_is_bare(j) && strlen(mk_jid_full(j)) == n &&
	          memcmp(mk_jid_full(j), host, n) == 0;
	mk_jid_unref(&j);
	return ok;
}

int mk_claim_address(const char *host, struct mk_str domain, struct mk_jid **out)
{
	char name[1024];
	int n = snprintf(name, sizeof name, "%.*s.%.*s", (int)label_of(host), host,
		(int)(domain.n < sizeof name ? domain.n : sizeof name), domain.p);

	if (n < 0 || (size_t)n >= sizeof name)
		return -MK_EJID;
	return mk_jid_parse((struct mk_str){ name, (size_t)n }, out);
}

/* Each domain that ends the name after a dot, the longest first; next NULL:
 * the first. */
static struct mk_str parent_after(struct mk_str name, const char *next)
{
	const char *end = name.p + name.n, *from = next != NULL ? next : name.p;
	const char *dot = memchr(from, '.', (size_t)(end - from));

	if (dot == NULL)
		return MK_STR_NONE;
	return (struct mk_str){ dot + 1, (size_t)(end - dot - 1) };
}

bool mk_claim_find(const struct mk_jid *j, struct mk_claim_at *out)
{
	struct mk_str name = mk_jid_domain(j), parent = parent_after(name, NULL);

	for (; parent.n != 0; parent = parent_after(name, parent.p)) {
		struct mk_domain *d = mk_domain_find(parent.p, parent.n);
		if (d == NULL)
			continue;
		const struct mk_dispatch *x = mk_dispatch(d->type);
		size_t label = (size_t)(parent.p - name.p - 1);
		for (uint32_t k = 0; k < x->claim_count; k++) {
			const struct mk_claim_entry *c = &x->claims[k];
			if (label_of(c->r->claim.host) == label &&
			    memcmp(c->r->claim.host, name.p, label) == 0) {
				*out = (struct mk_claim_at){ c, x, d };
				return true;
			}
		}
	}
	return false;
}

struct mk_domain *mk_claim_parent(const struct mk_jid *j)
{
	struct mk_str name = mk_jid_domain(j), parent = parent_after(name, NULL);
	struct mk_domain *d = NULL;

	for (; d == NULL && parent.n != 0; parent = parent_after(name, parent.p))
		d = mk_domain_find_any(parent.p, parent.n);
	return d;
}

struct mk_str mk_claim_domain(const struct mk_jid *j)
{
	struct mk_claim_at at;

	if (mk_domain_of(j) != NULL || !mk_claim_find(j, &at))
		return MK_STR_NONE;
	/* The end of j's own name. */
	struct mk_str name = mk_jid_domain(j);
	size_t n = at.domain->jid->full_n;
	return (struct mk_str){ name.p + name.n - n, n };
}
