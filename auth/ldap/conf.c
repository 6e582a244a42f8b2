/*
 * ldap/conf.c - the settings of an instance, and whether they can work
 *
 * The check asks no server. It is strict with templates, since what clients send is
 * put into them.
 */
#include "conf.h"
#include "template.h"
#include <meerkat/auth.h>

#define STR(f, dflt, doc) MK_CONF_STR(struct conf, f, dflt, doc)

static const struct mk_conf_item items[] = {
	MK_CONF_FIELD(struct conf, servers, struct mk_conf_list, MK_CONF_LIST,
		MK_CONF_RELOAD | MK_CONF_REQUIRED, NULL, NULL,
		"Addresses of the directory, ldap://host:port, ldaps:// or ldapi://, at most 16; "
		"the first that answers is asked."),
	MK_CONF_B(struct conf, starttls, "yes", "StartTLS on ldap:// connections, always."),
	MK_CONF_FIELD(struct conf, ca_file, const char *, MK_CONF_FILE, MK_CONF_RELOAD, NULL, NULL,
		"Certificates of the authorities that servers' certificates must come from; the "
		"system's if not set."),
	MK_CONF_B(struct conf, verify, "yes",
		"Whether a server's certificate must be valid for the host in its address."),
	STR(bind_dn, NULL, "DN that searches are made as; anonymously if not set."),
	MK_CONF_FIELD(struct conf, bind_password, const char *, MK_CONF_SECRET, MK_CONF_RELOAD,
		NULL, NULL, "Password of bind_dn."),
	MK_CONF_E(struct conf, method, "search", "search|bind",
		"search: find the user's entry, then try the password on it. bind: try it on "
		"user_dn at once."),
	STR(base, NULL, "Where users are searched."),
	MK_CONF_E(struct conf, scope, "subtree", "subtree|one", "How deep below base."),
	STR(filter, "(uid=%u)", "What finds a user's entry: %u is the user, %d the domain."),
	STR(user_attribute, "uid",
		"Attribute that must hold the user's name if the entry shows it, so that nobody has "
		"two addresses; \"\" for none."),
	STR(user_dn, NULL, "With method bind: the user's DN, with %u and %d."),
	MK_CONF_LST(struct conf, groups, NULL, NULL,
		"DNs of groups, in a YAML list; if any, a user must be in one of them."),
	MK_CONF_E(struct conf, group_by, "search", "search|memberof",
		"How members are known: by group_filter on groups, or by memberOf of the entry."),
	STR(group_base, NULL, "Where groups that are in groups are searched; base if not set."),
	STR(group_filter, "(member=%D)",
		"With group_by search: what fits a group of which the entry %D, or %u, is a member."),
	MK_CONF_I(struct conf, group_nesting, "5", "0..20",
		"How many groups may lie between a user and a group named in groups."),
	MK_CONF_MS(struct conf, timeout, "5s", "100ms..60s",
		"For each answer of the directory; a login takes twice that at most."),
	MK_CONF_FIELD(struct conf, connections, int64_t, MK_CONF_INT, 0, "8", "1..64",
		"Threads that ask the directory, and connections of either kind kept to it."),
	MK_CONF_B(struct conf, capture_keys, "no",
		"Keep SCRAM keys of a password that was right, so that later logins can use SCRAM; "
		"read the plugin's README for what clients do before that."),
	MK_CONF_LST(struct conf, hashes, "SHA-1,SHA-256,SHA-512", MK_SCRAM_HASHES,
		"Hashes for which keys are kept."),
	MK_CONF_I(struct conf, iterations, "10000", "4096..10000000",
		"PBKDF2 iterations of keys; the client does them at each login."),
	MK_CONF_MS(struct conf, keys_recheck, "10m", "0..7d",
		"Age at which keys are compared with the user's entry before they are used."),
	MK_CONF_MS(struct conf, keys_max_age, "1d", "1s..365d",
		"How long keys count where the entry does not tell when it was changed, or the "
		"directory is away."),
	{ 0 }
};
const struct mk_conf_schema ldap_schema = MK_CONF_SCHEMA(struct conf, items);

struct dir_conf ldap_conf_dir(const struct conf *c)
{
	return (struct dir_conf){ .servers = c->servers, .starttls = c->starttls,
		.verify = c->verify, .ca_file = c->ca_file, .bind_dn = c->bind_dn,
		.bind_password = c->bind_password, .timeout = c->timeout,
		.connections = c->connections };
}

struct checking { const struct mk_conf_view *v; struct mk_diag *d; bool is_wrong; };

#define REFUSE(c, key, ...) \
	do { mk_conf_refuse((c)->v, (c)->d, key, __VA_ARGS__); (c)->is_wrong = true; } while (0)

static bool is_dn(const char *text, unsigned parts)
{
	LDAPDN dn = NULL;
	unsigned n = 0;

	if (ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS || dn == NULL)
		return false;
	while (dn[n] != NULL)
		n++;
	ldap_dnfree(dn);
	return n >= parts;
}

static void check_server(struct checking *c, const char *url)
{
	LDAPURLDesc *u = NULL;

	if (ldap_url_parse(url, &u) != LDAP_URL_SUCCESS) {
		REFUSE(c, "servers", "'%.100s' is no address like ldaps://ldap.example.org", url);
		return;
	}
	bool is_local = strcmp(u->lud_scheme, "ldapi") == 0;
	if (!is_local && strcmp(u->lud_scheme, "ldap") != 0 && strcmp(u->lud_scheme, "ldaps") != 0)
		REFUSE(c, "servers", "'%.100s' is neither ldap://, ldaps:// nor ldapi://", url);
	else if (!is_local && (u->lud_host == NULL || *u->lud_host == '\0'))
		REFUSE(c, "servers", "'%.100s' names no host", url);
	else if (u->lud_port < 0 || u->lud_port > 65535)
		REFUSE(c, "servers", "'%.100s' has no port that can be", url);
	else if (u->lud_attrs != NULL || u->lud_exts != NULL || strchr(url, '?') != NULL ||
	         (u->lud_dn != NULL && *u->lud_dn != '\0'))
		REFUSE(c, "servers", "'%.100s' has more than scheme, host and port", url);
	ldap_free_urldesc(u);
}

static void check_user(struct checking *c, const struct conf *s)
{
	const char *why;

	if (s->base != NULL && *s->base != '\0' && !is_dn(s->base, 1))
		REFUSE(c, "base", "'%.100s' is no DN", s->base);
	if (!tmpl_filter_ok(s->filter, "ud", &why))
		REFUSE(c, "filter", "%s", why);
	else if (!tmpl_has(s->filter, 'u'))
		REFUSE(c, "filter", "%%u is missing: it would find the same for everybody");
	if (s->method == BY_SEARCH) {
		if (*or_empty(s->base) == '\0')
			REFUSE(c, "base", "is needed to search users");
	} else if (!tmpl_dn_ok(or_empty(s->user_dn), &why)) {
		REFUSE(c, "user_dn", "%s", why);
	} else if (!tmpl_has(s->user_dn, 'u')) {
		REFUSE(c, "user_dn", "%%u is missing: everybody would be the same");
	}
}

static void check_groups(struct checking *c, const struct conf *s)
{
	const char *why;

	for (uint32_t i = 0; i < s->groups.n; i++)
		if (!is_dn(s->groups.v[i], 2))
			REFUSE(c, "groups", "'%.100s' is no DN of a group; write them as a YAML list, "
				"- \"cn=staff,dc=example,dc=org\"", s->groups.v[i]);
	if (!tmpl_filter_ok(s->group_filter, "udD", &why))
		REFUSE(c, "group_filter", "%s", why);
	else if (!tmpl_has(s->group_filter, 'D') && !tmpl_has(s->group_filter, 'u'))
		REFUSE(c, "group_filter", "%%D and %%u are missing: everybody would be a member");
	if (*or_empty(s->group_base) != '\0' && !is_dn(s->group_base, 1))
		REFUSE(c, "group_base", "'%.100s' is no DN", s->group_base);
}

int ldap_conf_check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct conf *s = mk_conf_view_values(v);
	struct checking c = { v, d, false };

	if (s->servers.n == 0 || s->servers.n > DIR_SERVERS_MAX)
		REFUSE(&c, "servers", "from 1 to %d are possible", DIR_SERVERS_MAX);
	for (uint32_t i = 0; i < s->servers.n; i++)
		check_server(&c, s->servers.v[i]);
	if (*or_empty(s->bind_dn) != '\0' && !is_dn(s->bind_dn, 1))
		REFUSE(&c, "bind_dn", "'%.100s' is no DN", s->bind_dn);
	if ((*or_empty(s->bind_dn) == '\0') != (*or_empty(s->bind_password) == '\0'))
		REFUSE(&c, "bind_dn", "bind_dn and bind_password need each other");
	check_user(&c, s);
	check_groups(&c, s);
	if (s->capture_keys && mk_scram_hashes(&s->hashes) == 0)
		REFUSE(&c, "hashes", "at least one is needed to keep keys");
	return c.is_wrong ? -MK_EINVAL : 0;
}
