/*
 * meerkat/iq.h - answering and asking IQs; what service discovery says
 */
#ifndef MK_IQ_H
#define MK_IQ_H

#include <meerkat/hook.h>

MK_BEGIN_DECLS

enum mk_iq_flag {
	MK_IQ_GET = 1, MK_IQ_SET = 2,
	MK_IQ_HOST = 4,                /* to the domain                         */
	MK_IQ_ACCOUNT = 8,             /* to the sender's own bare JID, or no 'to' */
	MK_IQ_UNORDERED = 16,          /* can't affect what the client sends
	                                * next: RFC 6120 10.1 needs no waiting  */
	MK_IQ_OTHERS = 32,             /* with ACCOUNT: also from anybody else  */
	MK_IQ_SERVICE = 64,            /* to a service domain that this instance
	                                * claims (claim.h)                      */
	MK_IQ_ROOM = 128,              /* to a bare JID at one                  */
	MK_IQ_SECRET = 256,            /* may hold a password (S-21): what came of it
	                                * is overwritten when it is read, and its
	                                * arena when it goes; since 1.1         */
};
/*
 * One handler per (xmlns, name, kind of target); a second registration fails
 * with -MK_EEXIST and the log names both. An IQ without 'to' that no account
 * handler takes goes to the host's. Requests to the host run at the sender's
 * home, requests to an account at the account's. Those to a service run at the
 * sender's home, those to a room at the room's, with its entity open; other
 * instances' services and rooms are no business of a handler's. A request that nobody
 * handles, or to an account from somebody a handler does not serve, is
 * answered with service-unavailable, whether the account exists or not.
 */
struct mk_iq {
	uint32_t size, flags;
	const char *xmlns, *name;      /* of the payload; name NULL = any       */
	/* One of the two. MK_DONE: answered, or will be, through r. MK_FAIL: the
	 * core answers bad-request. MK_WAIT: mk_iq_job was called. */
	enum mk_verdict (*fn)(struct mk_inst *i, struct mk_iq_req *r);
	/* In a job. 0, or -MK_E...: the core answers internal-server-error,
	 * wait, unless r is answered already. */
	int (*stored_fn)(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st);
};
MK_API int mk_iq_handle(struct mk_inst *i, const struct mk_iq *iq);

/* From an inline handler: go on in a job. Returns MK_WAIT. */
MK_API enum mk_verdict mk_iq_job(struct mk_iq_req *r,
	int (*stored_fn)(struct mk_inst *, struct mk_iq_req *, struct mk_store *));

/*
 * The same in two halves: stored_fn, then done on the worker with what it
 * returned. done runs exactly once, without stored_fn (err -MK_ECLOSED) if i is
 * stopping. If err is 0 and r was not answered, it is done's to answer, and
 * what done sends after that follows the answer. Since 1.1 it may call this
 * again instead, for another job.
 */
MK_API enum mk_verdict mk_iq_job_then(struct mk_iq_req *r,
	int (*stored_fn)(struct mk_inst *, struct mk_iq_req *, struct mk_store *),
	void (*done)(struct mk_inst *i, struct mk_iq_req *r, int err));

MK_API const struct mk_stanza *mk_iq_stanza(const struct mk_iq_req *r);
MK_API const struct mk_elem *mk_iq_payload(const struct mk_iq_req *r);
MK_API bool mk_iq_is_set(const struct mk_iq_req *r);
MK_API const struct mk_jid *mk_iq_from(const struct mk_iq_req *r);
MK_API const struct mk_jid *mk_iq_to(const struct mk_iq_req *r);   /* not NULL */
/* The asking session if this is its home, else NULL. Inline handlers only. */
MK_API struct mk_session *mk_iq_session(const struct mk_iq_req *r);
/* For the answer; lives as long as r. */
MK_API struct mk_arena *mk_iq_arena(const struct mk_iq_req *r);
/* A place for the handler's own data while it waits; freed with the request's
 * arena. */
MK_API void **mk_iq_data(struct mk_iq_req *r);

/* Answers r and frees it; exactly one per request, from its handler or, later,
 * from the same worker or its job. payload may be NULL; it is of
 * mk_iq_arena(r). What is sent afterwards (not from a job) follows the answer. */
MK_API void mk_iq_result(struct mk_iq_req *r, struct mk_elem *payload);
MK_API void mk_iq_error(struct mk_iq_req *r, uint16_t error, const char *text);

/*
 * Asks: sends s (an open IQ get or set, with to; from is the host's or an
 * account's), and calls fn at this worker with the answer, or with NULL after
 * timeout_ms or when i stops. Call it at the home of 'to' if that is an
 * account here. Takes *s.
 */
typedef void mk_iq_answer_fn(struct mk_inst *i, const struct mk_stanza *answer,
                             void *data);
MK_API void mk_iq_ask(struct mk_inst *i, struct mk_stanza **s, int64_t timeout_ms,
	mk_iq_answer_fn *fn, void *data);

/* ---- XEP-0030 ---------------------------------------------------------------- */

enum { MK_DISCO_HOST = 1, MK_DISCO_ACCOUNT = 2 };
/* Announces a feature of the host, of accounts, or of both. */
MK_API int mk_disco_feature(struct mk_inst *i, uint32_t where, const char *var);
/* category and type from the XMPP registrar; name may be NULL. */
MK_API int mk_disco_identity(struct mk_inst *i, uint32_t where,
	const char *category, const char *type, const char *name);
/* Adds to an answer when it is made: features, forms (XEP-0128) to a
 * disco#info <query/>, or <item/>s to a disco#items one. node may be NULL. */
typedef void mk_disco_fn(struct mk_inst *i, const struct mk_jid *about,
	const char *node, const struct mk_jid *asker, struct mk_elem *query);
MK_API int mk_disco_extend(struct mk_inst *i, uint32_t where, bool items,
	mk_disco_fn *fn);
/* For the plugin that answers: identities and features of where on i's host
 * type, in a fixed order, into query; then every mk_disco_extend. */
MK_API void mk_disco_fill(struct mk_inst *i, uint32_t where, bool items,
	const struct mk_jid *about, const char *node, const struct mk_jid *asker,
	struct mk_elem *query);

MK_END_DECLS
#endif
