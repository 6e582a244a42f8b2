/*
 * ldap/conf.h - the settings of an instance
 */
#ifndef LDAP_CONF_H
#define LDAP_CONF_H

#include "dir.h"

enum ldap_method { BY_SEARCH, BY_BIND };
enum ldap_scope { SUBTREE, ONE_LEVEL };
enum ldap_group_by { GROUP_BY_SEARCH, GROUP_BY_MEMBEROF };

struct conf {
	struct mk_conf_list servers;
	bool starttls, verify;
	const char *ca_file, *bind_dn, *bind_password;
	int method, scope;
	const char *base, *filter, *user_attribute, *user_dn;
	struct mk_conf_list groups;
	int group_by;
	const char *group_base, *group_filter;
	int64_t group_nesting;
	int64_t timeout, connections;
	bool capture_keys;
	struct mk_conf_list hashes;
	int64_t iterations, keys_recheck, keys_max_age;
};

extern const struct mk_conf_schema ldap_schema;
/* The plugin's check(). */
int ldap_conf_check(const struct mk_conf_view *v, struct mk_diag *d);
struct dir_conf ldap_conf_dir(const struct conf *c);

/* Text of a setting that may be missing. */
static inline const char *or_empty(const char *z) { return z != NULL ? z : ""; }

#endif
