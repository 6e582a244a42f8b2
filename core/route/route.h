/*
 * route/route.h - from a sender's home to a recipient's
 */
#ifndef MK_ROUTE_ROUTE_H
#define MK_ROUTE_ROUTE_H

#include "session/session.h"

/* A stanza and where it goes: what queues hold. From a per-thread free list. */
struct mk_parcel {
	struct mk_task task;           /* in run queues and entity queues       */
	struct mk_msg msg;             /* between workers                       */
	struct mk_stanza *stanza;      /* ref                                   */
	struct mk_jid *to;             /* ref                                   */
	struct mk_session *session;    /* came in from it (ref), or NULL        */
	struct mk_stanza *ticket;      /* of a stanza whose sender waits for its
	                                * delivery, too (ref), or NULL          */
	uint8_t kind;                  /* enum mk_parcel_kind                   */
	mk_post_fn *post;              /* MK_PARCEL_POST                        */
	struct mk_inst *inst;
	void *data;
	void (*drop)(void *data);
};
enum mk_parcel_kind { MK_PARCEL_DELIVER, MK_PARCEL_IN, MK_PARCEL_POST, MK_PARCEL_REDELIVER,
	MK_PARCEL_RECOVER /* to: the sender */ };
struct mk_parcel *mk_parcel_new(enum mk_parcel_kind kind);
void mk_parcel_free(struct mk_parcel *p);
void mk_parcels_thread_end(void);

/* Takes *s (sealed here). to: where it goes (borrowed), not NULL. Any thread. */
void mk_route(struct mk_stanza **s, const struct mk_jid *to);
/* What the journal handed back at start (sealed; borrowed): stanza_recovered at its
 * sender's home, if that is an account here, then it is routed again. */
void mk_recover(struct mk_stanza *s);
/* At the home of p->to: runs stanza_deliver and what follows. Takes p. */
void mk_deliver(struct mk_parcel *p);
/* Answers s (borrowed) with an error if it may be answered. */
void mk_bounce(struct mk_stanza *s, uint16_t error, const char *text);

/* route/iq.c */
/* An IQ get/set for the host (sender's home) or for an account (its home).
 * Takes *s. ses: the asking session, or NULL. */
void mk_iq_dispatch(struct mk_stanza **s, const struct mk_jid *to, uint32_t kind,
                    struct mk_session *ses, struct mk_host_type *type);
/* One for an address of owner's claim (MK_IQ_SERVICE, MK_IQ_ROOM). Takes *s, unless
 * owner has no handler for it: then false. */
bool mk_iq_dispatch_claim(struct mk_stanza **s, const struct mk_jid *to, uint32_t kind,
                          const struct mk_dispatch *d, const struct mk_inst *owner);
/* An IQ result or error to the host or an account: somebody's mk_iq_ask.
 * true if it was awaited. Borrows s. */
bool mk_iq_answered(const struct mk_stanza *s);
void mk_iq_worker_init(struct mk_worker *w);
void mk_iq_worker_fini(struct mk_worker *w);
/* Answers NULL to what i asked on this worker, drops requests it holds. */
void mk_iq_drop(struct mk_inst *i);

#endif
