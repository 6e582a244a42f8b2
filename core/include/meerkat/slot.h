/*
 * meerkat/slot.h - a plugin's own data on core objects; timers; services
 */
#ifndef MK_SLOT_H
#define MK_SLOT_H

#include <meerkat/session.h>

MK_BEGIN_DECLS

enum mk_slot_scope {
	MK_SLOT_SESSION = 1, MK_SLOT_ENTITY, MK_SLOT_WORKER,
	MK_SLOT_KEEPS = 0x100,         /* with ENTITY (since 1.1): one that has it
	                                * stays open until it is cleared: the state
	                                * of what has no sessions (a room)      */
};
/* Memory is made, zeroed, when it is first asked for; a session without it
 * pays a pointer at most. */
struct mk_slot {
	uint32_t size, scope, bytes;
	void (*fini)(void *data);      /* on the owner's worker; may be NULL    */
};
/* From load() only. *slot_out is the same for every host type. */
MK_API int   mk_slot_register(struct mk_module *m, const struct mk_slot *s,
                              uint32_t *slot_out);
MK_API void *mk_session_slot(struct mk_session *s, uint32_t slot);
MK_API void *mk_entity_slot(struct mk_entity *e, uint32_t slot);
MK_API void *mk_worker_slot(uint32_t slot);                 /* this worker's */
/* The same, but NULL where nobody asked yet. */
MK_API void *mk_session_slot_peek(const struct mk_session *s, uint32_t slot);
MK_API void *mk_entity_slot_peek(const struct mk_entity *e, uint32_t slot);
/* Ends it: fini, and the memory is given back. With MK_SLOT_KEEPS the entity may
 * end here, unless an event or request of it is being handled. */
MK_API void mk_session_slot_clear(struct mk_session *s, uint32_t slot);
MK_API void mk_entity_slot_clear(struct mk_entity *e, uint32_t slot);
/* An entity with no session stays open while it is kept. */
MK_API void mk_entity_keep(struct mk_entity *e);
MK_API void mk_entity_unkeep(struct mk_entity *e);

/* ---- timers ------------------------------------------------------------------- */

struct mk_timer;
typedef void mk_timer_fn(struct mk_inst *i, void *data);
/* Runs fn once on this worker after delay_ms (coarse: up to 100 ms late). The
 * core stops the timers of an instance that stops, without calling fn. */
MK_API struct mk_timer *mk_timer_start(struct mk_inst *i, int64_t delay_ms,
	mk_timer_fn *fn, void *data);
/* Of a timer that has not run; clears *t. NULL is fine. */
MK_API void mk_timer_stop(struct mk_timer **t);

/* From start(): fn in a job every period_ms, never twice at once. */
MK_API int mk_every(struct mk_inst *i, int64_t period_ms,
	void (*fn)(struct mk_inst *i, struct mk_store *st));
/* Runs fn in a job soon; then done (may be NULL) on this worker. data is the
 * caller's; both run, or, if i stops first, only done. Workers only. */
MK_API void mk_job(struct mk_inst *i,
	void (*fn)(struct mk_inst *i, struct mk_store *st, void *data),
	void (*done)(struct mk_inst *i, void *data), void *data);

/* ---- services: what plugins do for each other ----------------------------------- */

/*
 * From start(): offers fns, a struct of functions that begins with uint32_t
 * size, under name and version; its users list "svc:name/version" in needs.
 */
MK_API int mk_service_offer(struct mk_inst *i, const char *name, unsigned version,
	const void *fns);
/* In the same host type; NULL if nobody offers it (or no longer). *inst_out is
 * what the functions take. Valid until the callback returns. */
MK_API const void *mk_service_get(struct mk_inst *i, const char *name,
	unsigned version, struct mk_inst **inst_out);

/*
 * Calls fn for each that is offered under this name by the plugins of the host
 * type of domain (n 0: none), and by global ones, until it returns false; what
 * others give to i this way: routes, for example. Valid as above.
 */
MK_API void mk_service_each(struct mk_inst *i, struct mk_str domain, const char *name,
	unsigned version, bool (*fn)(struct mk_inst *giver, const void *fns, void *arg),
	void *arg);

/* The plugin's own data of an instance, set in start(). */
MK_API void  mk_inst_set_data(struct mk_inst *i, void *data);
MK_API void *mk_inst_data(const struct mk_inst *i);

MK_END_DECLS
#endif
