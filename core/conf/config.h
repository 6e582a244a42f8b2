/*
 * conf/config.h - the core's own settings, read and checked
 *
 * Built whole beside the running one, then published as a snapshot. Plugin
 * sections stay nodes (conf/node.h) until the plugin's schema fills a struct.
 */
#ifndef MK_CONF_CONFIG_H
#define MK_CONF_CONFIG_H

#include <meerkat/conf.h>
#include <meerkat/log.h>
#include "conf/node.h"

struct mk_config_plugin {              /* a plugin named by a host type     */
	const char *name;
	const struct mk_node *node;    /* its settings, or NULL                 */
};
struct mk_config_type {                /* host_types: NAME:                 */
	const char *name;
	struct mk_conf_list auth;      /* sources, in order                     */
	struct mk_conf_list mechanisms;/* allowed; empty = all but ANONYMOUS    */
	const struct mk_config_plugin *plugins;
	size_t plugin_count;
	int durability;                /* enum mk_durability: async|wal|commit  */
	int64_t max_resources;
	int resource_conflict;         /* 0 replace the older, 1 refuse the newer */
	const struct mk_node *node;
};
struct mk_config_domain {              /* domains: NAME:                    */
	const char *name;              /* nameprepped                           */
	const char *type;
	const char *certificate, *key; /* may be NULL                           */
	const struct mk_node *node;
};
/* none | starttls-optional | starttls (offered and required) | direct */
enum { MK_TLS_NONE, MK_TLS_STARTTLS, MK_TLS_STARTTLS_REQUIRED, MK_TLS_DIRECT };
struct mk_config_listener {            /* listeners: - kind: c2s            */
	const char *kind;              /* "c2s", or the plugin of that name     */
	const char *address;
	int64_t port;
	int tls;                       /* MK_TLS_*                              */
	bool plain_without_tls;        /* unsafe_plain_without_tls: PLAIN and
	                                * login without TLS are allowed         */
	bool proxy_protocol;
	struct mk_conf_list proxy_from;
	const char *shaper;            /* name in shapers, or ""                */
	int64_t backlog;
	const struct mk_node *node;
	const struct mk_node *own;     /* what the plugin's schema describes;
	                                * NULL with c2s                         */
};
struct mk_config_limits {              /* limits: (reliability.md S-09)     */
	int64_t preauth_stanza_bytes, preauth_elements, preauth_depth, preauth_attrs;
	int64_t stanza_bytes, elements, depth, attrs;
	int64_t auth_timeout_ms;       /* from accept to bind, whatever comes   */
	int64_t auth_attempts;
	int64_t preauth_per_address, preauth_total;    /* 0 total = 20 % of fds */
	int64_t connections_per_address, accepts_per_second;
	int64_t out_bytes;             /* waiting for one client                */
	int64_t write_timeout_ms;
	int64_t keepalive_ms;          /* whitespace to an idle client; 0 = off */
	int64_t idle_timeout_ms;       /* no byte from it; 0 = off              */
	int64_t turn_bytes, turn_stanzas;
	int64_t stanza_rate, stanza_burst;     /* per session; 0 = off          */
	int64_t byte_rate, byte_burst;         /* per connection; 0 = off       */
	int64_t hash_rate;             /* password hashes per second, node      */
};
struct mk_config_backend {             /* storage.backends: NAME:           */
	const char *name;              /* as tables refer to it                 */
	const char *plugin;            /* "sqlite"; default: the name           */
	const struct mk_node *node;    /* what the plugin's schema describes:
	                                * without plugin and threads; or NULL   */
	int64_t threads;
};
struct mk_config_shaper {              /* shapers: NAME:                        */
	const char *name;
	int64_t stanza_rate, stanza_burst;     /* per session; 0 = off          */
	int64_t byte_rate, byte_burst;         /* per connection; 0 = off       */
};
struct mk_config {
	struct mk_arena *arena;        /* of all of it                          */
	const char *path;              /* the file it was read from             */
	const char *data_dir, *run_dir;/* data: database, journal; run: socket  */
	const char *control_socket;    /* default run_dir/meerkat.sock          */
	struct mk_conf_list plugin_dirs;       /* default: the built-in one     */
	int64_t workers;               /* 0 = one per CPU                       */
	int64_t jobs;                  /* threads per pool                      */
	int64_t node_id;               /* 0..1023                               */
	int64_t watchdog_ms;
	int64_t shutdown_ms;           /* for an orderly stop                   */
	struct { int level, format; const char *file; } log;
	const char *tls_priorities;    /* or NULL                               */
	bool tls_tickets;
	struct mk_config_limits limits;
	const char *storage_default;
	const struct mk_config_backend *backends; size_t backend_count;
	                               /* those named anywhere in storage       */
	const struct mk_node *storage_tables;          /* table: backend        */
	int64_t append_queue;          /* rows waiting for write-behind         */
	int64_t append_wait_ms;        /* how long the first of a batch waits   */
	int64_t start_wait_ms;         /* for a backend that is away            */
	int64_t journal_segment, journal_max;          /* bytes                 */
	int64_t journal_sync_ms;       /* longest wait of a group fdatasync     */
	const struct mk_config_type *types; size_t type_count;
	const struct mk_config_domain *domains; size_t domain_count;
	const struct mk_config_listener *listeners; size_t listener_count;
	const struct mk_config_shaper *shapers; size_t shaper_count;
	const struct mk_node *root;    /* all files, merged                     */
};

/* Reads path, its includes and conf.d/<*>.yml beside it (in name order, later
 * ones add and override; conf/yaml.h), expands ${ENV}. On error: all messages
 * in d, and -MK_EINVAL. Main thread or meerkatctl. */
int  mk_config_read(const char *path, struct mk_diag *d, struct mk_config **out);
/* The same from a tree, whose arena is taken (freed on failure). */
int  mk_config_build(const char *path, struct mk_arena *arena, struct mk_node *root,
	struct mk_diag *d, struct mk_config **out);
void mk_config_free(struct mk_config **c);
/* Fills a plugin's (or any) struct from node (may be NULL: defaults) by its
 * schema; strings are of arena. where names the section in messages. Unknown
 * keys, wrong types, out-of-range values go to d with the nearest spelling:
 * all of them, then -MK_EINVAL; such a field keeps what it had. Only fields of
 * the schema are written. Files of secrets are read here. */
int  mk_conf_fill(const struct mk_conf_schema *schema, const struct mk_node *node,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void *out);
/* fill, then the plugin's check(). *values_out is of arena. */
struct mk_plugin;
int  mk_conf_check_plugin(const struct mk_plugin *p, const struct mk_node *node,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void **values_out);
/* What differs: "host_types.people.plugins.roster.versioning", "yes", "no",
 * "live"; how many. from and to are shown to people: "(unset)", "(set)" (named,
 * with nothing below), "(secret)" and lists as [a, b]. need: "live" or
 * "restart". */
int  mk_config_diff(const struct mk_config *a, const struct mk_config *b,
	void (*fn)(void *arg, const char *setting, const char *from, const char *to,
	           const char *need), void *arg);

/* All settings of the core as lines "section.key type default range - doc", for
 * man(5) and `meerkatctl`; a schema's likewise, where in front of its keys. */
void mk_config_describe(struct mk_buf *out);
void mk_conf_describe(const struct mk_conf_schema *schema, const char *where,
	struct mk_buf *out);

#endif
