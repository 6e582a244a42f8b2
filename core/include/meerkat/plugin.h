/*
 * meerkat/plugin.h - everything a plugin may use (the one header it includes)
 *
 * A plugin is a shared object with one entry, made by MK_PLUGIN at its end.
 * Life: load (once per process) -> start (once per host type that names it)
 * -> running -> stop. What an instance registers in start() is recorded and
 * withdrawn by the core; a failed start leaves nothing behind.
 */
#ifndef MK_PLUGIN_H
#define MK_PLUGIN_H

#include <meerkat/abi.h>
#include <meerkat/types.h>
#include <meerkat/jid.h>
#include <meerkat/xml.h>
#include <meerkat/stanza.h>
#include <meerkat/conf.h>
#include <meerkat/log.h>
#include <meerkat/metric.h>
#include <meerkat/session.h>
#include <meerkat/hook.h>
#include <meerkat/iq.h>
#include <meerkat/claim.h>
#include <meerkat/slot.h>
#include <meerkat/store.h>
#include <meerkat/command.h>

MK_BEGIN_DECLS

enum mk_plugin_flag {
	MK_PLUGIN_PER_TYPE = 1u << 0,  /* start() once per host type            */
	MK_PLUGIN_GLOBAL   = 1u << 1,  /* start() once, with no host type       */
};

struct mk_backend;
struct mk_transport;

struct mk_plugin {
	uint32_t magic;                /* MK_PLUGIN_MAGIC                       */
	uint16_t abi_major, abi_minor; /* equal to the core's; not above it     */
	uint32_t size;                 /* sizeof(struct mk_plugin) at its build */
	uint32_t flags;                /* enum mk_plugin_flag                   */
	const char *build;             /* MK_ABI_BUILD                          */
	const char *name;              /* [a-z][a-z0-9-]*, the file's base name */
	const char *version, *summary, *license;
	const char *const *needs;      /* "roster", "svc:pep/1", "?svc:push/1"  */
	const char *const *gives;      /* "svc:pep/1"; NULL-terminated          */
	const struct mk_conf_schema *conf;
	const struct mk_table *const *tables;      /* NULL-terminated           */
	const struct mk_metric *const *metrics;    /* NULL-terminated           */
	const struct mk_command *const *commands;  /* meerkatctl NAME ...       */

	/* Pure: may run in `meerkatctl check-config` with nothing started.
	 * 0, or <0 after mk_conf_refuse. */
	int  (*check)(const struct mk_conf_view *v, struct mk_diag *d);
	/* Once per process, main thread, before start: slots. */
	int  (*load)(struct mk_module *m);
	void (*unload)(struct mk_module *m);
	/* Once per host type, main thread: hooks, IQ handlers, features. */
	int  (*start)(struct mk_inst *i);
	/* New settings have passed check(); 0 = adopted, <0 = old ones stay.
	 * NULL: mk_inst_conf is simply the new one from now on. */
	int  (*reload)(struct mk_inst *i, const void *conf, struct mk_diag *d);
	/* No call will reach the instance after this. What it registered is
	 * already withdrawn; only its own memory is left to free. */
	void (*stop)(struct mk_inst *i);
	/* Optional: on every worker, for state that workers don't share. */
	int  (*worker_start)(struct mk_inst *i);
	void (*worker_stop)(struct mk_inst *i);
	/* A storage backend (backend.h), or NULL. */
	const struct mk_backend *backend;
	/* since 1.1: a kind of listener (transport.h), or NULL. */
	const struct mk_transport *transport;
};

typedef const struct mk_plugin *mk_plugin_entry_fn(uint32_t core_abi);

#ifdef MK_PLUGIN_STATIC        /* linked into a test or fuzz program       */
#define MK_PLUGIN_ENTRY(id) mk_plugin_entry_##id
#else
#define MK_PLUGIN_ENTRY(id) mk_plugin_entry
#endif

/* id is a C name, plugin_name the name that operators write ("stanza-id"). */
#define MK_PLUGIN(id, plugin_name, ...)                                    \
	MK_API mk_plugin_entry_fn MK_PLUGIN_ENTRY(id);                         \
	const struct mk_plugin *MK_PLUGIN_ENTRY(id)(uint32_t core_abi)         \
	{                                                                      \
		static const struct mk_plugin plugin = {                           \
			.magic = MK_PLUGIN_MAGIC, .abi_major = MK_ABI_MAJOR,           \
			.abi_minor = MK_ABI_TARGET, .size = sizeof(struct mk_plugin),  \
			.build = MK_ABI_BUILD, .name = plugin_name, __VA_ARGS__        \
		};                                                                 \
		(void)core_abi;                                                    \
		return &plugin;                                                    \
	}

MK_END_DECLS
#endif
