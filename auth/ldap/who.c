/*
 * ldap/who.c - whose entry is whose: users, and the groups they must be in
 *
 * Memberships are compared by the directory, which knows its DNs' matching rules; we
 * compare them only to see where we have been, and there a miss costs no more than
 * another question.
 */
#include "who.h"

#include <strings.h>

#include "template.h"

#define GROUPS_MAX 1000        /* looked at for one user                    */

/* What tells that a password was changed (ppolicy, Active Directory, 389), or else that
 * something was; entryCSN is finer than a second. */
enum { A_NAME, A_PASSWORD, A_ENTRY = A_PASSWORD + 4, A_COUNT = A_ENTRY + 3 };
static const char *const changes[] = { "pwdChangedTime", "pwdLastSet", "passwordExpirationTime",
	"pwdUpdateTime", "entryCSN", "modifyTimestamp", "whenChanged" };

static struct mk_str stamp(struct dir_call *c, const struct dir_values *v)
{
	struct mk_str s = MK_STR_NONE;

	for (int a = A_PASSWORD; a < A_COUNT; a++) {
		if (a == A_ENTRY && s.n != 0)
			break;
		for (unsigned i = 0; i < v[a].n; i++)
			s = mk_strz(mk_arena_printf(c->arena, "%.*s%s=%.*s;", (int)s.n, s.n != 0 ? s.p : "",
				changes[a - A_PASSWORD], (int)v[a].v[i].n, v[a].v[i].p));
	}
	return s;
}

/* Whether a name in the directory is the user's, by the rules of addresses. */
static bool is_name_of(struct mk_str name, const struct mk_jid *user)
{
	struct mk_jid *j = NULL;

	if (mk_jid_make(name, mk_jid_domain(user), MK_STR_NONE, &j) < 0)
		return false;
	bool same = mk_jid_eq(j, user);
	mk_jid_unref(&j);
	return same;
}

/* A directory finds more than we do: it ignores case and spaces, and perhaps accents. */
static bool name_ok(struct dir_call *c, const struct conf *s, const struct dir_entry *e,
	const struct mk_jid *user)
{
	const struct dir_values *names = &e->values[A_NAME];

	if (*or_empty(s->user_attribute) == '\0' || names->n == 0)
		return true;
	for (unsigned i = 0; i < names->n; i++)
		if (is_name_of(names->v[i], user))
			return true;
	mk_log(dir_inst(c->dir), MK_INFO,
		"the entry found for a user has another name", "user=%s dn=%s attribute=%s",
		mk_jid_full(user), e->dn, s->user_attribute);
	return false;
}

static struct tmpl_values values_of(const struct mk_jid *user)
{
	return (struct tmpl_values){ mk_jid_local(user), mk_jid_domain(user), MK_STR_NONE };
}

const char *who_dn(struct dir_call *c, const struct conf *s, const struct mk_jid *user)
{
	struct tmpl_values v = values_of(user);

	return tmpl_dn(c->arena, s->user_dn, &v);
}

/* ---- groups --------------------------------------------------------------------------- */

static const char *const no_attrs[] = { NULL };
static const char *const member_of[] = { "memberOf", NULL };

static enum mk_auth_answer any(struct dir_call *c, const char *base, const char *filter)
{
	struct dir_search q = { base, filter, LDAP_SCOPE_BASE, no_attrs, 1 };
	struct dir_entry *e;
	unsigned n;

	if (dir_search(c, &q, &e, &n) != DIR_OK)
		return MK_AUTH_LATER;
	return n != 0 ? MK_AUTH_YES : MK_AUTH_UNKNOWN;
}

static enum mk_auth_answer is_in(struct dir_call *c, const struct conf *s, const char *group,
	struct tmpl_values *v)
{
	struct tmpl_values g = { .dn = mk_strz(group) };

	if (s->group_by == GROUP_BY_MEMBEROF)
		return any(c, v->dn.p, tmpl_filter(c->arena, "(memberOf=%D)", &g));
	return any(c, group, tmpl_filter(c->arena, s->group_filter, v));
}

struct dns { const char *v[GROUPS_MAX]; unsigned n; };

/* Those that are not there yet: groups may be members of each other. */
static void dns_add(struct dns *all, const char *dn)
{
	for (unsigned i = 0; i < all->n; i++)
		if (strcasecmp(all->v[i], dn) == 0)
			return;
	if (all->n < GROUPS_MAX)
		all->v[all->n++] = dn;
}

static enum mk_auth_answer add_groups_of(struct dir_call *c, const struct conf *s,
	struct tmpl_values *v, struct dns *all)
{
	bool by_entry = s->group_by == GROUP_BY_MEMBEROF;
	struct dir_search q = { .base = by_entry ? v->dn.p : *or_empty(s->group_base) != '\0'
			? s->group_base : or_empty(s->base),
		.filter = by_entry ? "(objectClass=*)" : tmpl_filter(c->arena, s->group_filter, v),
		.scope = by_entry ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE,
		.attrs = by_entry ? member_of : no_attrs, .limit = by_entry ? 1 : GROUPS_MAX };
	struct dir_entry *e;
	unsigned n;

	if (dir_search(c, &q, &e, &n) != DIR_OK)
		return MK_AUTH_LATER;
	for (unsigned i = 0; i < n && i < q.limit; i++) {
		if (!by_entry)
			dns_add(all, e[i].dn);
		for (unsigned x = 0; by_entry && x < e[i].values[0].n; x++)
			dns_add(all, e[i].values[0].v[x].p);
	}
	return MK_AUTH_YES;
}

/* Level by level: the user, the groups that has, the groups these are in ... */
static enum mk_auth_answer belongs(struct dir_call *c, const struct conf *s, const char *dn,
	const struct mk_jid *user)
{
	struct dns *all = mk_arena_alloc(c->arena, sizeof *all);
	struct tmpl_values v = values_of(user);
	unsigned from = 0;

	if (s->groups.n == 0)
		return MK_AUTH_YES;
	dns_add(all, dn);
	for (int64_t level = 0; from < all->n; level++) {
		unsigned end = all->n;
		for (unsigned i = from; i < end; i++) {
			v.dn = mk_strz(all->v[i]);
			for (uint32_t g = 0; g < s->groups.n; g++) {
				enum mk_auth_answer a = is_in(c, s, s->groups.v[g], &v);
				if (a != MK_AUTH_UNKNOWN)
					return a;
			}
		}
		/* A filter of names only says nothing of groups in groups. */
		if (level >= s->group_nesting || (s->group_by == GROUP_BY_SEARCH &&
		    !tmpl_has(s->group_filter, 'D')))
			break;
		for (unsigned i = from; i < end; i++) {
			v.dn = mk_strz(all->v[i]);
			if (add_groups_of(c, s, &v, all) != MK_AUTH_YES)
				return MK_AUTH_LATER;
		}
		from = end;
	}
	if (all->n == GROUPS_MAX)
		mk_log(dir_inst(c->dir), MK_WARN, "a user is in more groups than are looked at",
			"dn=%s limit=%d", dn, GROUPS_MAX);
	return MK_AUTH_UNKNOWN;
}

/* ---- users ---------------------------------------------------------------------------- */

static int scope_of(const struct conf *s)
{
	return s->scope == ONE_LEVEL ? LDAP_SCOPE_ONELEVEL : LDAP_SCOPE_SUBTREE;
}

static const char *name_attribute(const struct conf *s)
{
	return *or_empty(s->user_attribute) != '\0' ? s->user_attribute : "uid";
}

enum mk_auth_answer who_find(struct dir_call *c, const struct conf *s,
	const struct mk_jid *user, struct who *out)
{
	const char *attrs[A_COUNT + 1] = { [A_NAME] = name_attribute(s) };
	struct tmpl_values v = values_of(user);
	struct dir_search q = { .attrs = attrs, .limit = 1 };
	struct dir_entry *e;
	unsigned n;

	memcpy(attrs + A_PASSWORD, changes, sizeof changes);
	if (s->method == BY_BIND) {
		q.base = who_dn(c, s, user);
		q.scope = LDAP_SCOPE_BASE;
		q.filter = "(objectClass=*)";
	} else {
		q.base = s->base;
		q.scope = scope_of(s);
		q.filter = tmpl_filter(c->arena, s->filter, &v);
	}
	if (dir_search(c, &q, &e, &n) != DIR_OK)
		return MK_AUTH_LATER;
	if (n > 1) {
		mk_log(dir_inst(c->dir), MK_WARN, "several entries fit one user, who is refused",
			"user=%s filter=%s", mk_jid_full(user), q.filter);
		return MK_AUTH_NO;
	}
	if (n == 0 || !name_ok(c, s, e, user))
		return MK_AUTH_UNKNOWN;
	out->dn = e->dn;
	out->stamp = stamp(c, e->values);
	return belongs(c, s, e->dn, user);
}

enum mk_auth_answer who_each(struct dir_call *c, const struct conf *s, struct mk_str domain,
	void (*each)(void *arg, struct mk_str name), void *arg)
{
	const char *attrs[] = { name_attribute(s), NULL };
	struct tmpl_values v = { .domain = domain };
	struct dir_search q = { s->base, tmpl_filter(c->arena, s->filter, &v), scope_of(s), attrs, 1 };

	return dir_walk(c, &q, each, arg) == DIR_OK ? MK_AUTH_YES : MK_AUTH_LATER;
}
