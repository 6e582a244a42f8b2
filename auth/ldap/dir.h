/*
 * ldap/dir.h - talking to a directory: servers, connections, timeouts
 *
 * A struct dir belongs to an instance and is used by any number of jobs; it keeps
 * idle connections and knows which servers failed. A struct dir_call is one
 * question of one job, with a deadline for all that it asks. Connections as the
 * service (for searches) and those that users' passwords are tried on are never
 * mixed. Referrals are not followed: a password goes nowhere but where the settings
 * say. Requests are wiped when they are sent (S-21).
 */
#ifndef LDAP_DIR_H
#define LDAP_DIR_H

#include <ldap.h>

#include <meerkat/plugin.h>

/* The part of the settings that connections depend on. */
struct dir_conf {
	struct mk_conf_list servers;
	bool starttls, verify;
	const char *ca_file, *bind_dn, *bind_password;
	int64_t timeout;               /* ms: for each answer                   */
	int64_t connections;           /* kept when idle, of either kind        */
};
#define DIR_SERVERS_MAX 16

enum dir_answer {
	DIR_OK = 0,
	DIR_NO,                        /* a password was wrong                  */
	DIR_AWAY,                      /* no server answered, or none may       */
};

enum dir_metric { DIR_M_SEARCHES, DIR_M_BINDS, DIR_M_FAILURES, DIR_M_COUNT };

struct dir;
/* metrics: the instance's index of the first of enum dir_metric. */
struct dir *dir_new(struct mk_inst *i, unsigned metrics);
/* Calls that have not come back keep it: it then stays for ever. */
void dir_free(struct dir **d);
struct mk_inst *dir_inst(const struct dir *d);        /* for the log           */

struct dir_call {
	struct dir *dir;
	const struct dir_conf *conf;   /* borrowed                              */
	struct mk_arena *arena;        /* for results; borrowed                 */
	uint64_t key;                  /* of conf                               */
	mk_usec until, asked;          /* asked: when the last question began   */
	int server;                    /* the last that answered, or -1         */
};
/* The deadline is twice conf->timeout from now. */
void dir_begin(struct dir_call *c, struct dir *d, const struct dir_conf *conf,
	struct mk_arena *arena);
void dir_end(struct dir_call *c);

/* An entry: its DN, and values of the attributes that were asked for, in their
 * order; arena memory. */
struct dir_values { struct mk_str *v; unsigned n; };
struct dir_entry { const char *dn; struct dir_values *values; };

struct dir_search {
	const char *base, *filter;
	int scope;                     /* LDAP_SCOPE_...                        */
	const char *const *attrs;      /* NULL-terminated; may be empty         */
	unsigned limit;                /* of entries, >= 1                      */
};
/* At most s->limit entries; *n_out is s->limit + 1 if there are more. No base, and an
 * answer that is a referral, are no entries. */
enum dir_answer dir_search(struct dir_call *c, const struct dir_search *s,
	struct dir_entry **out, unsigned *n_out);
/* All entries, in pages (RFC 2696): each is called for every value of attrs[0],
 * which it borrows. Each page may take conf->timeout. */
enum dir_answer dir_walk(struct dir_call *c, const struct dir_search *s,
	void (*each)(void *arg, struct mk_str value), void *arg);
/* Whether password is dn's. An empty one, or an empty DN, is DIR_NO before anything
 * is sent: a directory takes that for an anonymous bind (RFC 4513 5.1.2). */
enum dir_answer dir_check(struct dir_call *c, const char *dn, struct mk_str password);

#endif
