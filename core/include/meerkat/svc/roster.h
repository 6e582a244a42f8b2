/*
 * meerkat/svc/roster.h - "svc:roster/1": rosters, for other plugins
 *
 * A user's roster (RFC 6121 2) is in storage. While the user's entity is open
 * and somebody needed it, who is in it and how is also in memory at its home
 * worker; names and groups are not. Functions take the instance that
 * mk_service_get gave.
 */
#ifndef MK_SVC_ROSTER_H
#define MK_SVC_ROSTER_H

#include <meerkat/plugin.h>

MK_BEGIN_DECLS

/* The nine states of RFC 6121 A.1 are combinations of the first four that are
 * possible: TO excludes ASK, FROM excludes PENDING. */
enum mk_roster_flag {
	MK_ROSTER_TO = 1,              /* the user gets the contact's presence  */
	MK_ROSTER_FROM = 2,            /* the contact gets the user's           */
	MK_ROSTER_ASK = 4,             /* the user has asked for it             */
	MK_ROSTER_PENDING = 8,         /* the contact has, and waits            */
	MK_ROSTER_APPROVED = 16,       /* may have it without asking (3.4)      */
	MK_ROSTER_LISTED = 32,         /* clients see the item; without it, it is
	                                * only a request that waits             */
};

struct mk_roster;              /* who is in it and how, in memory          */
struct mk_roster_change;       /* what a write has changed                 */

struct mk_roster_item {
	const char *contact;           /* bare JID                              */
	uint32_t flags;                /* enum mk_roster_flag; 0 = no such item */
	const char *name;              /* NULL = none                           */
	const char *const *groups;
	uint32_t groups_n;
	struct mk_str request;         /* PENDING: the contact's <presence/>    */
	int64_t version;               /* of the roster when clients saw it last
	                                * change (2.6); set by the service      */
};

/*
 * Changes *item (all zero but contact if there is none) to what it shall be;
 * runs in the job, again if somebody else wrote meanwhile. What it puts into
 * *item lives until change returns. No flags left: the item is deleted. Any
 * flag but PENDING makes it LISTED. MK_ROSTER_KEEP: nothing to write;
 * MK_ROSTER_WRITE: clients are told if they see a difference; MK_ROSTER_PUSH:
 * they are told; negative: give up with that.
 */
enum { MK_ROSTER_KEEP = 0, MK_ROSTER_WRITE = 1, MK_ROSTER_PUSH = 2 };
typedef int mk_roster_change_fn(struct mk_roster_item *item, void *arg);

struct mk_roster_svc {
	uint32_t size;

	/* ---- at e's home worker, from memory; e may be NULL ---- */

	/* Of contact's bare JID; -1 if the roster isn't in memory. */
	int (*flags)(struct mk_inst *i, const struct mk_entity *e,
		const struct mk_jid *contact);
	/* Every item with one of the flags; false if it isn't in memory. */
	bool (*each)(struct mk_inst *i, const struct mk_entity *e, uint32_t flags,
		void (*fn)(const struct mk_jid *contact, uint32_t flags, void *arg),
		void *arg);
	/* Has asked for the roster, so it gets pushes (RFC 6121 2.2). */
	bool (*is_interested)(struct mk_inst *i, const struct mk_session *s);
	/* What load() found, if e's isn't in memory yet. Takes *r. Call it in the
	 * second half of the job that loaded it. */
	void (*attach)(struct mk_inst *i, struct mk_entity *e, struct mk_roster **r);
	/* Brings memory up to date, pushes the item to interested sessions, and
	 * when one was removed ends its subscriptions (2.5.2). Takes *c, which may
	 * be NULL. */
	void (*apply)(struct mk_inst *i, struct mk_entity *e, struct mk_roster_change **c);

	/* ---- in jobs: 0 or -MK_EAGAIN, -MK_EIO; user bare ---- */

	int (*load)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
		struct mk_roster **out);
	/* Lives in the job's arena. -MK_ENOENT. */
	int (*get)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
		const struct mk_jid *contact, struct mk_roster_item *out);
	/* Every item with one of the flags. */
	int (*items)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
		uint32_t flags, void (*fn)(const struct mk_roster_item *item, void *arg),
		void *arg);
	/*
	 * Reads, changes and writes one item in a transaction. out NULL: what
	 * follows from it is done at the user's home later. Else *out, which may be
	 * NULL, is for apply() in the second half of the same job. -MK_ELIMIT: too
	 * many items or requests; or what fn said.
	 */
	int (*change)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
		const struct mk_jid *contact, mk_roster_change_fn *fn, void *arg,
		struct mk_roster_change **out);
};

MK_END_DECLS
#endif
