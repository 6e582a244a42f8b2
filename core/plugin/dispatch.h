/*
 * plugin/dispatch.h - who is called for what, per host type, as a snapshot
 *
 * Built by the main thread from the instances' lists (and those of global
 * instances), immutable, counted: workers read the pointer each time, a parked
 * event keeps a reference with its place in the chain.
 */
#ifndef MK_PLUGIN_DISPATCH_H
#define MK_PLUGIN_DISPATCH_H

#include "plugin/inst.h"
#include "base/map.h"

struct mk_handler {
	struct mk_inst *inst;
	mk_any_fn *fn;
	int prio;
	uint8_t run;                   /* enum mk_run                           */
};
struct mk_chain { const struct mk_handler *h; uint32_t n; };

#define MK_MATCH_BITS 7
#define MK_IQ_KINDS (MK_IQ_HOST | MK_IQ_ACCOUNT | MK_IQ_SERVICE | MK_IQ_ROOM)
struct mk_iq_entry {
	struct mk_map_node node;       /* by xmlns                              */
	struct mk_inst *inst;
	const struct mk_iq *iq;
	struct mk_iq_entry *next;      /* same xmlns                            */
};
struct mk_claim_entry {
	struct mk_inst *inst;
	const struct mk_reg_claim *r;
	struct mk_handler h;           /* r->claim.stanza, as a chain of one    */
};
struct mk_dispatch {
	_Atomic uint32_t refs;
	struct mk_chain chain[MK_HOOK_COUNT][MK_MATCH_BITS];   /* [hook][bit]   */
	struct mk_map iqs;
	struct mk_str *secrets;        /* xmlns of those that are MK_IQ_SECRET  */
	struct { struct mk_inst *inst; const struct mk_reg_nonza *r; } *nonzas;
	struct { struct mk_inst *inst; const struct mk_reg_feature *r; } *features;
	struct { struct mk_inst *inst; const struct mk_reg_inline *r; } *inlines;
	struct { struct mk_inst *inst; const struct mk_reg_disco *r; } *discos;
	struct { struct mk_inst *inst; const struct mk_reg_service *r; } *services;
	struct mk_claim_entry *claims;
	struct { struct mk_inst *inst; const struct mk_mech *m; } *mechs; /* strongest first */
	struct { struct mk_inst *inst; const struct mk_source *s; } *sources; /* auth: order */
	uint32_t nonza_count, feature_count, inline_count, disco_count, service_count,
		claim_count, mech_count, source_count, secret_count;
	struct mk_arena *arena;
};

struct mk_host_type {
	char *name;                    /* "*" = global instances                */
	_Atomic(struct mk_dispatch *) dispatch;
	struct mk_list insts;          /* of mk_inst.type_node; main thread     */
	struct mk_list node;           /* in mk_host_types                      */
	/* settings, replaced on reload (int-sized: read any time) */
	_Atomic int durability, resource_conflict;
	_Atomic int64_t max_resources;
	struct mk_conf_list auth, mechanisms;  /* main thread; copied to dispatch */
};
extern struct mk_list mk_host_types;   /* main thread                       */
extern struct mk_host_type *mk_global_type;

struct mk_host_type *mk_host_type_get(const char *name);       /* or NULL   */
struct mk_host_type *mk_host_type_add(const char *name);

/* Borrowed until the callback ends. */
static inline const struct mk_dispatch *mk_dispatch(const struct mk_host_type *t)
{
	return atomic_load_explicit(&((struct mk_host_type *)t)->dispatch, memory_order_acquire);
}
/* Whether XML that begins an element, and need not be all of it, is of an IQ that
 * may hold a secret (MK_IQ_SECRET), as clients write them. */
bool mk_dispatch_is_secret(const struct mk_dispatch *d, const char *xml, size_t n);
struct mk_dispatch *mk_dispatch_ref(const struct mk_dispatch *d);
void mk_dispatch_unref(struct mk_dispatch **d);
/* Builds and publishes; for the global type: of every type. Refuses two IQ or
 * nonza handlers for one thing (-MK_EEXIST, both named in d): the old one
 * stays. Main thread. */
int  mk_dispatch_build(struct mk_host_type *t, struct mk_diag *d);

/* get/set, kind: one of MK_IQ_KINDS; owner: whose claim it is (MK_IQ_SERVICE,
 * MK_IQ_ROOM), else NULL. NULL if nobody. */
const struct mk_iq_entry *mk_dispatch_iq(const struct mk_dispatch *d,
	const char *xmlns, const char *name, uint32_t kind, bool is_set,
	const struct mk_inst *owner);

#endif
