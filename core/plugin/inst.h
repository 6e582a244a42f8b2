/*
 * plugin/inst.h - modules, instances, and what instances register
 *
 * A module is a loaded .so; an instance is it on one host type (or, for
 * global plugins, on the pseudo type "*"). Instances register into lists of
 * their own (main thread, in start()); after each start or stop the host
 * type's dispatch is built anew from them and published (plugin/dispatch.h).
 */
#ifndef MK_PLUGIN_INST_H
#define MK_PLUGIN_INST_H

#include <stdatomic.h>
#include <meerkat/plugin.h>
#include <meerkat/auth.h>
#include "base/list.h"
#include "conf/config.h"
#include "loop/job.h"

#define MK_INST_MAGIC 0x696e7374u
struct mk_host_type;

struct mk_module {
	const struct mk_plugin *plugin;
	char *path;
	void *handle;                  /* dlopen's; never closed                */
	struct mk_file_id { uint64_t dev, ino; int64_t mtime; } file;
	struct mk_list node;           /* in mk_modules                         */
	struct mk_list insts;          /* of mk_inst.module_node                */
	bool loaded;                   /* load() succeeded                      */
};

enum mk_inst_state { MK_INST_STARTING, MK_INST_RUNNING, MK_INST_STOPPING, MK_INST_STOPPED };

struct mk_reg_hook { struct mk_list node; uint16_t hook; int prio; uint32_t match;
	mk_any_fn *fn; enum mk_run run; };
struct mk_reg_iq { struct mk_list node; struct mk_iq iq; };
struct mk_reg_nonza { struct mk_list node; const char *xmlns, *name; uint32_t states;
	mk_nonza_fn *fn; };
struct mk_reg_feature { struct mk_list node; uint32_t states; mk_feature_fn *fn; };
struct mk_reg_inline { struct mk_list node; struct mk_inline_request r; };
/* kind: 'f'eature (a), 'i'dentity (a category, b type, c name), 'x' extend */
struct mk_reg_disco { struct mk_list node; char kind; uint32_t where; bool items;
	char *a, *b, *c; mk_disco_fn *fn; };
struct mk_reg_claim { struct mk_list node; struct mk_claim claim; };
struct mk_reg_service { struct mk_list node; const char *name; unsigned version;
	const void *fns; };
struct mk_reg_mech { struct mk_list node; const struct mk_mech *mech; };
struct mk_reg_source { struct mk_list node; const struct mk_source *source; };
struct mk_reg_every;                   /* plugin/timer.c                    */

struct mk_inst {
	uint32_t magic;
	_Atomic int state;             /* enum mk_inst_state                    */
	struct mk_module *module;
	struct mk_host_type *type;
	_Atomic(const void *) conf;
	struct mk_arena *conf_arena;   /* of conf                               */
	void *data;
	struct mk_pool *pool;          /* where its jobs run                    */
	bool has_own_pool;             /* a source's (meerkat/auth.h, threads)  */
	uint32_t guests;               /* calls from other pools; account.c's   */
	bool guests_wait_in_vain;      /* likewise                              */
	_Atomic uint32_t busy;         /* jobs and parked events inside it      */
	uint32_t *metric_ids;          /* by index                              */
	struct mk_list module_node, type_node;
	struct mk_list hooks, iqs, nonzas, features, inlines, discos, services,
		claims, mechs, sources, everies;
};

extern struct mk_list mk_modules;      /* main thread                       */

/* Loads NAME from the plugin directories: trust (S-18), then magic, ABI, size,
 * build, name, missing symbols; each refusal its own line in d. Loading twice
 * gives the same module; one that has no instance and whose file has changed is
 * reopened. */
int  mk_module_open(const char *name, const struct mk_conf_list *dirs,
                    struct mk_diag *d, struct mk_module **out);
/* For tests: a plugin linked into the program. */
struct mk_module *mk_module_static(const struct mk_plugin *p);
struct mk_module *mk_module_find(const char *name);
/* The module's file was replaced (by rename: a file that is changed in place
 * changes the code that runs): loads the new one beside the old code. m has no
 * instance. What is refused, told in d, leaves m as it was, with its load()
 * called anew if unload() was (m->loaded false: and that failed). */
int  mk_module_reopen(struct mk_module *m, struct mk_diag *d);

/*
 * Starts plugin m on type with checked settings (values, of arena, taken).
 * Dispatch is rebuilt. On failure nothing is left. Main thread.
 */
int  mk_inst_start(struct mk_module *m, struct mk_host_type *type, const void *values,
	struct mk_arena *arena, struct mk_diag *d, struct mk_inst **out);
/* Withdraws, waits until nobody is inside (at most wait_ms), stops, frees. */
void mk_inst_stop(struct mk_inst **i, int64_t wait_ms);
int  mk_inst_reload(struct mk_inst *i, const void *values, struct mk_arena *arena,
	struct mk_diag *d);
/* Names in the order in which they must start; -MK_EINVAL names what is
 * missing, or the cycle. */
int  mk_plugins_order(struct mk_module *const *m, size_t n, struct mk_module **out,
	struct mk_diag *d);

/* Enter before a call that may outlive the turn (job, parked event): false if
 * the instance is no longer running. */
bool mk_inst_enter(struct mk_inst *i);
void mk_inst_leave(struct mk_inst *i);

/* plugin/slot.c: slots of an object. */
void  mk_slots_end(void ***slots, enum mk_slot_scope scope);
void *mk_slots_get(void ***slots, enum mk_slot_scope scope, uint32_t slot);
void *mk_slots_peek(void *const *slots, uint32_t slot);
void  mk_slots_clear(void **slots, enum mk_slot_scope scope, uint32_t slot);
/* On this worker: ends what i's module has on objects of i's host type. */
void  mk_slots_drop(struct mk_inst *i);
/* m registers its slots anew: they get the places they had. */
void  mk_slots_orphan(struct mk_module *m);

/* plugin/timer.c: stops the timers of i on this worker. */
void mk_timers_drop(struct mk_inst *i);
void mk_everies_start(struct mk_inst *i);
void mk_everies_stop(struct mk_inst *i);

#endif
