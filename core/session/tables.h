/*
 * session/tables.h - what a worker keeps for sessions and routing
 */
#ifndef MK_SESSION_TABLES_H
#define MK_SESSION_TABLES_H

#include "base/map.h"
#include "loop/worker.h"

struct mk_parcel;
struct mk_entity;
struct mk_tables {
	struct mk_map entities;        /* by bare JID                           */
	uint32_t sessions;
	struct mk_map asked;           /* route/iq.c: by id                     */
	struct mk_list requests;       /* route/iq.c: not answered yet          */
	struct mk_list committing;     /* session/commit.c: sessions that wait  */
	struct mk_msg commit_msg;
	_Atomic bool commit_posted;    /* any thread                            */
	uint64_t soon[4];              /* session/entity.c: hashes, the last one first */
};
static inline struct mk_tables *mk_tables(void) { return mk_self->core; }

/* Something for the entity of that hash, if there is one here, comes in this turn:
 * what delivery needs is fetched into the caches, a step at each of the next calls. */
void mk_entity_soon(uint64_t bare_hash);
/* Appends to what waits for e, which is held. Takes p. */
void mk_entity_queue(struct mk_entity *e, struct mk_parcel *p);
/* Hands p to its worker (this one's run queue, or a mailbox). Takes p. */
void mk_parcel_send(struct mk_parcel *p, struct mk_worker *w);
/* Does what p is for, now; queues it if its entity is held. Takes p. */
void mk_parcel_run(struct mk_parcel *p);

#endif
