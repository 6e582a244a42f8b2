/*
 * meerkat/hook.h - taking part in what happens to stanzas and sessions
 */
#ifndef MK_HOOK_H
#define MK_HOOK_H

#include <meerkat/session.h>

MK_BEGIN_DECLS

/* Lower runs earlier. Same number: by plugin name, never by load order. */
enum mk_prio {
	MK_PRIO_GUARD   = 100,         /* limits, blocking (XEP-0191)           */
	MK_PRIO_REWRITE = 300,         /* ids, origins (XEP-0359)               */
	MK_PRIO_COPY    = 500,         /* archive (XEP-0313)                    */
	MK_PRIO_ROUTE   = 700,         /* who gets it                           */
	MK_PRIO_ROUTED  = 800,         /* who else gets it: carbons             */
	MK_PRIO_LAST    = 900,         /* offline store, bounce                 */
};

/*
 * Which stanzas a handler wants: one or more of these. A handler that asks for
 * less costs nothing for the rest.
 */
enum mk_match {
	MK_M_MESSAGE   = 1 << 0,       /* not of type error                     */
	MK_M_PRESENCE  = 1 << 1,       /* available, unavailable                */
	MK_M_SUBSCRIPTION = 1 << 2,    /* subscribe ... unsubscribed            */
	MK_M_PROBE     = 1 << 3,
	MK_M_IQ        = 1 << 4,       /* get, set                              */
	MK_M_ANSWER    = 1 << 5,       /* IQ result, IQ error                   */
	MK_M_ERROR     = 1 << 6,       /* message or presence of type error     */
	MK_M_ALL       = 0x7f,
};

struct mk_ev_stanza {
	struct mk_stanza *stanza;      /* borrowed; may change by an edit       */
	struct mk_session *session;    /* stanza_in: sender's; stanza_out: the
	                                * receiving one; else NULL              */
	struct mk_entity *entity;      /* whose home this is; the sender's in
	                                * stanza_in, the recipient's otherwise;
	                                * stanza_deliver: NULL if not open      */
	const struct mk_jid *from, *to;/* to: never NULL (own bare JID if none) */
	uint16_t error;                /* enum mk_stanza_error, with MK_FAIL    */
	uint16_t match;                /* the one mk_match bit it has           */
	const char *error_text;        /* optional, with MK_FAIL; static        */
};

/* ---- edits: what later handlers and recipients see ---------------------------- */

/* Later handlers see *s instead (open; it is sealed here). Takes *s. */
MK_API void mk_ev_replace(struct mk_ev_stanza *ev, struct mk_stanza **s);
MK_API void mk_ev_set_attr(struct mk_ev_stanza *ev, const char *name,
	const char *value);
/* A new last child of the stanza, to be filled before the handler returns. */
MK_API struct mk_elem *mk_ev_add(struct mk_ev_stanza *ev, const char *name,
	const char *xmlns);
/* Removes every child that matches (NULL = any) and, if by is not NULL, whose
 * attribute 'by' equals it. How many were removed. */
MK_API unsigned mk_ev_strip(struct mk_ev_stanza *ev, const char *name,
	const char *xmlns, const char *by);
/* 1.1: every child that is() says yes to; it sees some of them twice, and must say
 * the same both times. What it costs grows no faster than the stanza. */
typedef bool mk_ev_strip_fn(const struct mk_elem *child, void *arg);
MK_API unsigned mk_ev_strip_if(struct mk_ev_stanza *ev, mk_ev_strip_fn *is, void *arg);
/* stanza_deliver, stanza_failed: gives it to s and marks the event as taken;
 * the core answers an event that nobody took. */
MK_API void mk_ev_deliver(struct mk_ev_stanza *ev, struct mk_session *s);
MK_API bool mk_ev_was_delivered_to(const struct mk_ev_stanza *ev,
	const struct mk_session *s);
MK_API bool mk_ev_is_taken(const struct mk_ev_stanza *ev);
/* stanza_deliver: it went through this chain before, for a session that did not
 * take it (mk_redeliver); it is as the chain left it then. Not for what comes from
 * the journal at start, which is as its sender's chain left it. */
MK_API bool mk_ev_is_redelivery(const struct mk_ev_stanza *ev);

/* ---- hooks ------------------------------------------------------------------- */

struct mk_ev_session {
	struct mk_session *session;
	struct mk_entity *entity;
	uint16_t reason;               /* enum mk_close_reason                  */
};
enum mk_close_reason {
	MK_CLOSE_BY_CLIENT = 1,        /* </stream:stream>                      */
	MK_CLOSE_LOST,                 /* the connection broke, or timed out    */
	MK_CLOSE_REPLACED,             /* another bind of the resource          */
	MK_CLOSE_KICKED,               /* mk_session_end, meerkatctl            */
	MK_CLOSE_SHUTDOWN,
};
struct mk_ev_account { const struct mk_jid *jid; };

/*
 *  stanza_in       came in from a session; the sender's home and host type
 *  stanza_deliver  for a local account; the recipient's home and host type
 *  stanza_out      about to be written to one session (inline only)
 *  stanza_failed   for a local account, and nobody took it; after MK_NEXT of
 *                  all the core answers service-unavailable
 *  session_open    bound, before the client is told
 *  session_close   it is over
 *  session_lost    its stream broke: MK_DONE keeps the session (that handler
 *                  now sees to its end), else session_close follows
 *  session_resumed a stream was attached
 *  session_durable see mk_session_want_durable
 *  account_removed an account was unregistered (its tables are erased by the
 *                  core); stored only
 *  stanza_recovered at start, for each stanza that the journal hands back and that
 *                  came from an account here, before it is routed again (and
 *                  stanza_deliver runs); the sender's home and host type, session
 *                  NULL. It passed stanza_in before the crash: whoever appended
 *                  rows for it there appends them again, as they may not have been
 *                  durable; their keys make them once. Inline, or by mk_ev_job; a
 *                  verdict other than MK_NEXT only ends the chain.
 */
#define MK_HOOKS(FILTER, NOTIFY)                                           \
	FILTER(1, stanza_in,       struct mk_ev_stanza)                        \
	FILTER(2, stanza_deliver,  struct mk_ev_stanza)                        \
	FILTER(3, stanza_out,      struct mk_ev_stanza)                        \
	FILTER(4, stanza_failed,   struct mk_ev_stanza)                        \
	NOTIFY(5, session_open,    struct mk_ev_session)                       \
	NOTIFY(6, session_close,   struct mk_ev_session)                       \
	FILTER(7, session_lost,    struct mk_ev_session)                       \
	NOTIFY(8, session_resumed, struct mk_ev_session)                       \
	NOTIFY(9, session_durable, struct mk_ev_session)                       \
	NOTIFY(10, account_removed, struct mk_ev_account)                      \
	FILTER(11, stanza_recovered, struct mk_ev_stanza)
#define MK_HOOK_COUNT 12       /* ids start at 1                           */

typedef void mk_any_fn(void);
/*
 * Two kinds of handler. An inline one runs on the entity's worker and must
 * not block. A stored one runs on a job thread, may block, and is the only
 * kind that can reach storage; the event is parked meanwhile and goes on at
 * the worker. While it is parked, the entity's later stanzas wait, so order
 * is kept. stanza_in, stanza_deliver, stanza_failed, session_open,
 * session_close and account_removed can be stored.
 */
enum mk_run { MK_INLINE = 0, MK_STORED = 1 };
/* match: enum mk_match bits; hooks that carry no stanza take MK_M_ALL. */
MK_API int mk_hook_add(struct mk_inst *i, uint16_t hook, int prio,
                       uint32_t match, mk_any_fn *fn, enum mk_run run);

/*
 * An inline handler that finds it needs storage for this one stanza returns
 * mk_ev_job(ev, fn): fn runs on a job thread and its verdict counts as the
 * handler's own. Returns MK_WAIT.
 */
typedef enum mk_verdict mk_ev_job_fn(struct mk_inst *i, struct mk_ev_stanza *ev,
                                     struct mk_store *st);
MK_API enum mk_verdict mk_ev_job(struct mk_ev_stanza *ev, mk_ev_job_fn *fn);

/*
 * The same in two halves: work on a job thread, then done on the worker, where
 * sessions and slots can be reached; done's verdict counts (since 1.1 also
 * MK_WAIT, when it called this again for another job). The entity is held over
 * all of it, so what work read is still so in done, as far as this node writes it
 * in such handlers. data is the handler's;
 * done runs exactly once, without work if i is stopping. ev->session may have
 * ended meanwhile (mk_session_is_open), and ev->entity is as it was: use
 * mk_entity_find for a recipient's. Returns MK_WAIT.
 */
typedef void mk_ev_work_fn(struct mk_inst *i, struct mk_ev_stanza *ev,
                           struct mk_store *st, void *data);
typedef enum mk_verdict mk_ev_done_fn(struct mk_inst *i, struct mk_ev_stanza *ev,
                                      void *data);
MK_API enum mk_verdict mk_ev_job_then(struct mk_ev_stanza *ev, mk_ev_work_fn *work,
	mk_ev_done_fn *done, void *data);

#define MK_HOOK_FILTER(n, name, ev)                                        \
	typedef enum mk_verdict mk_##name##_fn(struct mk_inst *, ev *);        \
	typedef enum mk_verdict mk_##name##_stored_fn(struct mk_inst *, ev *,  \
	                                              struct mk_store *);      \
	static inline int mk_on_##name(struct mk_inst *i, int prio,            \
	                               uint32_t match, mk_##name##_fn *fn)     \
	{ return mk_hook_add(i, n, prio, match, (mk_any_fn *)fn, MK_INLINE); } \
	static inline int mk_on_##name##_stored(struct mk_inst *i, int prio,   \
	               uint32_t match, mk_##name##_stored_fn *fn)              \
	{ return mk_hook_add(i, n, prio, match, (mk_any_fn *)fn, MK_STORED); }
#define MK_HOOK_NOTIFY(n, name, ev)                                        \
	typedef void mk_##name##_fn(struct mk_inst *, const ev *);             \
	typedef void mk_##name##_stored_fn(struct mk_inst *, const ev *,       \
	                                   struct mk_store *);                 \
	static inline int mk_on_##name(struct mk_inst *i, int prio,            \
	                               mk_##name##_fn *fn)                     \
	{ return mk_hook_add(i, n, prio, MK_M_ALL, (mk_any_fn *)fn, MK_INLINE); } \
	static inline int mk_on_##name##_stored(struct mk_inst *i, int prio,   \
	               mk_##name##_stored_fn *fn)                              \
	{ return mk_hook_add(i, n, prio, MK_M_ALL, (mk_any_fn *)fn, MK_STORED); }
MK_HOOKS(MK_HOOK_FILTER, MK_HOOK_NOTIFY)

MK_END_DECLS
#endif
