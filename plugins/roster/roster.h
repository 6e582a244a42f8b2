/*
 * roster/roster.h - what the plugin's files share
 *
 * table.c    rows, in jobs
 * memory.c   rosters in memory and pushes, at the user's home worker
 * roster.c   the protocol
 */
#ifndef ROSTER_H
#define ROSTER_H

#include <meerkat/svc/roster.h>

#define NS_ROSTER "jabber:iq:roster"

struct roster_conf {
	bool versioning;
	int64_t max_items, max_requests, max_groups, max_name;
};

enum roster_metric { GETS, GETS_UNCHANGED, GETS_DELTA, SETS, PUSHES, FORGED };

/* ---- table.c -------------------------------------------------------------------- */

extern const struct mk_table roster_table, roster_version_table;

/* The row of roster_version: made by the first write, which all writes of a
 * user's roster meet in. */
struct roster_state {
	int64_t version;               /* what clients know as 'ver'; 0 = never
	                                * anything in it                        */
	int64_t floor;                 /* a difference can be told from here on */
	int64_t seq;                   /* of all writes                         */
	int64_t items, requests;       /* listed; not listed                    */
	uint64_t row;                  /* its row's version, or MK_NEW          */
};

/* All zero if there is none. 0, -MK_EAGAIN, -MK_EIO. */
int roster_state_get(struct mk_store *st, const struct mk_jid *user,
	struct roster_state *out);
int roster_get(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	const struct mk_jid *contact, struct mk_roster_item *out);
int roster_items(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	uint32_t flags, void (*fn)(const struct mk_roster_item *item, void *arg), void *arg);
int roster_change(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	const struct mk_jid *contact, mk_roster_change_fn *fn, void *arg,
	struct mk_roster_change **out);

/* Groups as the column keeps them: each ended by a line feed; line feeds and
 * backslashes in a name have a backslash before them. */
struct mk_str roster_groups_join(struct mk_arena *a, const char *const *groups, uint32_t n);
const char *const *roster_groups_split(struct mk_arena *a, struct mk_str text, uint32_t *n_out);

/* ---- memory.c ------------------------------------------------------------------- */

struct mk_roster_change {
	struct mk_arena *arena;        /* its own; holds it and what it names   */
	struct mk_jid *user, *contact; /* refs                                  */
	uint32_t flags, old_flags;     /* 0: removed                            */
	bool is_push;
	int64_t version, seq;
	const char *name;
	const char *const *groups;
	uint32_t groups_n;
};
struct mk_roster_change *roster_change_new(const struct mk_jid *user,
	const struct mk_jid *contact);
void roster_change_free(struct mk_roster_change **c);

struct mk_roster *roster_new(const struct roster_state *s);
void roster_free(struct mk_roster **r);
/* Contacts in any order. */
void roster_set(struct mk_roster *r, const char *contact, uint32_t flags);
uint32_t roster_find(const struct mk_roster *r, struct mk_str contact);
int64_t roster_version(const struct mk_roster *r);

int roster_load_slots(struct mk_module *m);
const struct mk_roster *roster_of(const struct mk_entity *e);
void roster_be_interested(struct mk_session *s);

bool roster_is_interested(struct mk_inst *i, const struct mk_session *s);
int roster_flags(struct mk_inst *i, const struct mk_entity *e, const struct mk_jid *contact);
bool roster_each(struct mk_inst *i, const struct mk_entity *e, uint32_t flags,
	void (*fn)(const struct mk_jid *contact, uint32_t flags, void *arg), void *arg);
int roster_load(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct mk_roster **out);
void roster_attach(struct mk_inst *i, struct mk_entity *e, struct mk_roster **r);
void roster_apply(struct mk_inst *i, struct mk_entity *e, struct mk_roster_change **c);
/* The same, at the user's home, later. Takes *c. Any thread. */
void roster_apply_later(struct mk_inst *i, struct mk_roster_change **c);

/* <item/> as clients see it (RFC 6121 2.1.2), a new last child of query. */
void roster_item_add(struct mk_elem *query, const char *contact, uint32_t flags,
	const char *name, const char *const *groups, uint32_t groups_n);
/* A push without its item, and the place for it. version -1: not told. */
struct mk_stanza *roster_push_new(const struct mk_jid *user, const struct mk_jid *to,
	int64_t version, struct mk_elem **query_out);

#endif
