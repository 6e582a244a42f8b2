/*
 * session/session.h - entities and sessions inside; the transport interface
 *
 * All of it belongs to the entity's home worker. An entity is open while it
 * has sessions, a queue, holds, or is kept.
 */
#ifndef MK_SESSION_SESSION_H
#define MK_SESSION_SESSION_H

#include <meerkat/plugin.h>
#include "base/map.h"
#include "domain/domain.h"
#include "xml/stanza.h"

/* How a session's bytes leave: TCP streams, later WebSocket and BOSH. */
struct mk_transport_ops {
	/* st is to carry s, whose session_open runs next: from now on st tells
	 * (mk_session_stream_gone) if it ends, however long that takes. */
	void (*carry)(struct mk_stream *st, struct mk_session *s);
	/* Writes s to the peer; to replaces its own unless NULL. Borrows. */
	void (*send)(struct mk_stream *st, struct mk_stanza *s, const struct mk_jid *to);
	/* An element that is no stanza. */
	void (*write)(struct mk_stream *st, const struct mk_elem *e);
	/* send() comes in this turn: memory for it may be fetched. */
	void (*soon)(const struct mk_stream *st);
	/* As mk_session_unsent. */
	uint32_t (*unsent)(struct mk_stream *st);
	/* Stream error (condition NULL: none) and the end; the session has
	 * already let go of the stream. */
	void (*close)(struct mk_stream *st, const char *condition, const char *text);
};

#define MK_ENTITY_MAGIC  0x656e7469u
#define MK_SESSION_MAGIC 0x73657373u

struct mk_entity {
	uint32_t magic;
	uint16_t sessions_n, kept;
	uint32_t held;                 /* parked events, ordered requests       */
	uint32_t queue_n;
	struct mk_map_node node;       /* by bare JID                           */
	struct mk_jid *jid;            /* bare                                  */
	struct mk_domain *domain;      /* lives for ever; of a claimed address the
	                                * one above                             */
	struct mk_session *sessions;
	struct mk_list *queue;         /* of held parcels; NULL = none          */
	void **slots;
};

enum mk_session_flag {
	MK_SES_OPEN = 1,               /* session_open ran, session_close did not */
	MK_SES_AVAILABLE = 2,
	MK_SES_ACKS = 4,
	MK_SES_WANT_DURABLE = 8,
	MK_SES_WAITING = 16,           /* journal_task is queued                */
	MK_SES_CLOSING = 32,
};
struct mk_session {
	uint32_t magic;
	uint16_t flags;
	int8_t priority;
	uint8_t durability;
	uint32_t refs;
	uint32_t in_count;
	uint32_t in_pending;           /* came in, in_then() has not seen them  */
	uint32_t in_skip;              /* the first of them: before acks_on     */
	uint32_t in_early;             /* answered at once, behind those pending */
	struct mk_inst *keeper;        /* kept it when its stream broke         */
	struct mk_entity *entity;
	struct mk_session *next;
	struct mk_jid *jid;            /* full                                  */
	struct mk_stream *stream;      /* NULL = detached                       */
	const struct mk_transport_ops *transport;
	void **slots;
	int64_t since_ms;
	uint64_t last_event;           /* serial of the event it last got       */
	struct mk_ack_state *acks;     /* with MK_SES_ACKS                      */
};

/* This worker's tables. */
void mk_sessions_worker_init(struct mk_worker *w);
void mk_sessions_worker_fini(struct mk_worker *w);
uint32_t mk_sessions_count(const struct mk_worker *w);
void mk_entities_each(struct mk_worker *w, bool (*fn)(struct mk_entity *e, void *arg),
                      void *arg);
void mk_sessions_each(struct mk_worker *w, bool (*fn)(struct mk_session *s, void *arg),
                      void *arg);

struct mk_worker *mk_home_of(const struct mk_jid *j);
struct mk_entity *mk_entity_get(const struct mk_jid *bare);    /* makes it  */
void mk_entity_check(struct mk_entity *e);     /* ends it if nothing is left */

/*
 * Binds (RFC 6120 7). resource n 0: one of our making. Then done(st, s, err)
 * runs, at once or when a stored session_open is through: 0, -MK_ECONFLICT,
 * -MK_ELIMIT, -MK_EJID, or -MK_ECLOSED (the stream went away meanwhile; s is
 * NULL, st must not be touched).
 */
void mk_session_bind(struct mk_stream *st, const struct mk_transport_ops *t,
	const struct mk_jid *bare, struct mk_str resource,
	void (*done)(struct mk_stream *st, struct mk_session *s, int err));
/* The stream is gone: session_lost, and unless kept session_close. by_client:
 * it said goodbye. */
void mk_session_stream_gone(struct mk_session *s, enum mk_close_reason why);
void mk_session_close(struct mk_session *s, enum mk_close_reason why,
                      const char *condition, const char *text);
/* Through stanza_out to the transport. */
void mk_session_deliver(struct mk_session *s, struct mk_stanza *st, const struct mk_jid *to);

/* What the stream calls for each stanza that came in; takes s, whose from is
 * set; to may be NULL. Tells whether to go on reading (false: the entity's
 * queue is full; mk_transport resumes are the stream's own polling). */
bool mk_session_in(struct mk_session *ses, struct mk_stanza *s);
/* One that the stream has answered itself counts as handled, in its turn. */
void mk_session_in_answered(struct mk_session *ses);
/* mk_session_want_durable once more, if that is wanted. */
void mk_session_again(struct mk_session *s);
/* Ends the sessions of this worker that i kept and that have no stream. */
void mk_sessions_drop(struct mk_inst *i);
/* The same for one that waited in the queue. */
void mk_session_in_now(struct mk_session *ses, struct mk_stanza *s);

#define MK_QUEUE_MAX 1000              /* stanzas waiting for one entity    */
/* The same of those that others send: then messages and requests are refused. Ten
 * times as many, and the rest is: what rooms and contacts say of themselves. */
#define MK_QUEUE_OTHERS 10000

/* session/event.c: a stanza, or what happened to a session, on its way
 * through a chain of handlers. */
struct mk_event {
	struct mk_ev_stanza ev;        /* hooks of stanzas; stanza: ref         */
	struct mk_ev_session ses;      /* hooks of sessions; session: ref if parked */
	const struct mk_handler *h;
	uint32_t i, n;                 /* next handler, how many                */
	uint8_t hook;
	bool taken, parked;
	uint64_t serial;
	void (*then)(struct mk_event *e, enum mk_verdict v);
	void *arg;                     /* then's                                */
	mk_any_fn *job_fn;             /* asked for by mk_ev_job                */
	mk_ev_done_fn *done_fn;        /* its second half, or NULL              */
	void *data;                    /* of both halves                        */
	struct mk_jid *from, *to;      /* refs, where the stanza's might go     */
	/* while parked */
	struct mk_entity *entity;      /* held                                  */
	struct mk_dispatch *dispatch;  /* ref                                   */
	struct mk_inst *inst;          /* entered                               */
	enum mk_verdict verdict;
	struct mk_job job;
};
/* Runs the chain of e->hook (ev or ses filled in, then set, the rest zero); then(e, v)
 * at its end: in this call, or, parked, later on this worker. e is the
 * caller's stack object; a parked one is moved to the heap, with its entity
 * (ev.entity, ses.entity, or that of ev.to) held. ev.stanza's reference is
 * the event's until then(), which takes or drops it. */
void mk_event_run(struct mk_event *e, const struct mk_dispatch *d);
/* The same for a chain of one, of d; e->hook is MK_EVENT_CLAIM. */
void mk_event_run_one(struct mk_event *e, const struct mk_dispatch *d,
	const struct mk_handler *h);
#define MK_EVENT_CLAIM 0

#endif
