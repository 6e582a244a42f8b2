/*
 * meerkat/svc/archive.h - "svc:archive/1": archives of rooms and other owners
 *
 * mam keeps an archive (XEP-0313) for each account by itself. A plugin whose
 * entities have archives too (a room) appends to them and answers queries by this
 * service. An owner is a bare JID of an account or of a claimed host (claim.h), with
 * whose domain its archive goes. Entries are in the order of their ids, which are
 * mk_stanza_uid()s: they carry the time, and the same id again is the same entry.
 * Functions take the instance that mk_service_get gave.
 */
#ifndef MK_SVC_ARCHIVE_H
#define MK_SVC_ARCHIVE_H

#include <meerkat/plugin.h>

MK_BEGIN_DECLS

struct mk_archive_entry {
	uint32_t size;
	int64_t id;                    /* mk_stanza_uid, and the stanza-id given */
	struct mk_str with;            /* address by which 'with' finds it: of a
	                                * room's message, its author's; bare or
	                                * full; n 0 = none                      */
	const struct mk_elem *message; /* <message/> as it is to be forwarded: a
	                                * room's has no 'to', and is from the
	                                * occupant; NULL when read: it is gone  */
};

/*
 * Changes what one who asks gets to see of an entry, e.g. takes out an author's
 * real address; in a job, for each result. arg is query()'s.
 */
typedef void mk_archive_view_fn(void *arg, int64_t id, struct mk_elem *message);

struct mk_archive_query {
	uint32_t size;
	const struct mk_jid *owner;    /* borrowed until query() returns        */
	bool hides_with;               /* 'with' is refused with <forbidden/>: who
	                                * asks may not know the authors         */
	mk_archive_view_fn *view;      /* or NULL                               */
	void *arg;                     /* of mk_iq_arena(r), or one that lives
	                                * as long as the instance that asks     */
};

struct mk_archive_svc {
	uint32_t size;

	/* ---- inline, any worker ---- */

	/*
	 * Appends by write-behind (mk_append: it can't fail). ev: the stanza that
	 * it came with, whose journal record lives until the entry is durable; or
	 * NULL. Everything is copied.
	 */
	void (*append)(struct mk_inst *i, const struct mk_ev_stanza *ev,
		const struct mk_jid *owner, const struct mk_archive_entry *entry);
	/*
	 * From the handler of an IQ to the owner: answers <query/> (get: the form;
	 * set: results, then <fin/>) and <metadata/> of urn:xmpp:mam:2, MK_IQ_UNORDERED
	 * and not held. Whether the asker may ask is the caller's to decide. What the
	 * handler returns. Results come from the owner.
	 */
	enum mk_verdict (*query)(struct mk_inst *i, struct mk_iq_req *r,
		const struct mk_archive_query *q);

	/* ---- in jobs: 0 or -MK_EAGAIN, -MK_EIO ---- */

	/* The newest entries with ids below before (0 = no bound), at most limit
	 * (<= 1000), oldest first; they live until fn returns. How many. */
	int (*recent)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner,
		int64_t before, uint32_t limit,
		void (*fn)(void *arg, const struct mk_archive_entry *entry), void *arg);
	/* Lives in the job's arena. -MK_ENOENT. */
	int (*get)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner,
		int64_t id, struct mk_archive_entry *out);
	/* Puts message, a tombstone (XEP-0424, XEP-0425), in the place of what the
	 * entry held. -MK_ENOENT. */
	int (*replace)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner,
		int64_t id, const struct mk_elem *message);
	/* All of it: the room is no more. */
	int (*erase)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner);

	/*
	 * ---- messages of accounts that wait for their delivery (XEP-0160) ----
	 *
	 * They are not stored a second time: entries are marked as waiting, those up to a
	 * cursor of the account have been delivered.
	 */

	/* At the account's home, of a stanza that came through stanza_deliver: it was
	 * appended as one that waits, as nobody was there. True once; else, see wait(). Only
	 * where somebody delivers such messages ("svc:offline/1") they are marked so. */
	bool (*is_waiting)(struct mk_inst *i, const struct mk_jid *account, int64_t id);
	/* In a job that holds the account: from now on it waits. -MK_ENOENT: it is not
	 * in the archive. */
	int (*wait)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
		int64_t id);
	/* In a job: those that wait, with ids above after (0: whatever waits), at most limit
	 * (<= 1000), oldest first; how many. */
	int (*waiting)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
		int64_t after, uint32_t limit, void (*fn)(void *arg, const struct mk_archive_entry *entry),
		void *arg);
	/* In a job: these, of waiting(), wait no longer. */
	int (*delivered)(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
		const int64_t *id, uint32_t n);
};

MK_END_DECLS
#endif
