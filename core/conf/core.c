/*
 * conf/core.c - what the core's sections may hold: types, defaults, ranges, words
 *
 * Data only. An item without LIVE needs a restart to change. The defaults are
 * safe on the open internet; a deployment that needs more says so.
 */
#include "conf/core.h"

#include "base/ban.h"

#define LIVE    MK_CONF_RELOAD
#define RESTART 0

#define AT(S, field, ctype)                                                          \
	((uint32_t)(offsetof(S, field) + sizeof(char[__builtin_types_compatible_p(        \
	 __typeof__(((S *)0)->field), ctype) ? 1 : -1]) - 1))
#define BOOL(S, key, field, fl, dflt, doc) \
	{ key, MK_CONF_BOOL, fl, AT(S, field, bool), dflt, NULL, doc }
#define INT(S, key, field, fl, dflt, range, doc) \
	{ key, MK_CONF_INT, fl, AT(S, field, int64_t), dflt, range, doc }
#define TIME(S, key, field, fl, dflt, range, doc) \
	{ key, MK_CONF_DURATION, fl, AT(S, field, int64_t), dflt, range, doc }
#define SIZE(S, key, field, fl, dflt, range, doc) \
	{ key, MK_CONF_SIZE, fl, AT(S, field, int64_t), dflt, range, doc }
#define WORD(S, key, field, fl, dflt, words, doc) \
	{ key, MK_CONF_ENUM, fl, AT(S, field, int), dflt, words, doc }
#define LIST(S, key, field, fl, dflt, words, doc) \
	{ key, MK_CONF_LIST, fl, AT(S, field, struct mk_conf_list), dflt, words, doc }
#define TEXT(S, kind, key, field, fl, dflt, range, doc) \
	{ key, kind, fl, AT(S, field, const char *), dflt, range, doc }
#define SCHEMA(name, S, items) \
	const struct mk_conf_schema name = { sizeof(struct mk_conf_schema), \
		sizeof(struct mk_conf_item), sizeof(S), items }

typedef struct mk_config C;

static const struct mk_conf_item server_items[] = {
	TEXT(C, MK_CONF_FILE, "data_dir", data_dir, RESTART, "/var/lib/meerkat", NULL,
		"Folder of the database and the journal."),
	TEXT(C, MK_CONF_FILE, "run_dir", run_dir, RESTART, "/run/meerkat", NULL,
		"Folder of the control socket."),
	TEXT(C, MK_CONF_FILE, "control_socket", control_socket, RESTART, NULL, NULL,
		"Socket of meerkatctl; if it is not given, meerkat.sock in run_dir."),
	LIST(C, "plugin_dirs", plugin_dirs, LIVE, MK_PLUGIN_DIR, NULL,
		"Folders that plugins are loaded from."),
	INT(C, "workers", workers, RESTART, "0", "0..256",
		"Threads that own connections; 0 is one per processor."),
	INT(C, "jobs", jobs, RESTART, "4", "1..256",
		"Threads for blocking work that belongs to no storage backend."),
	INT(C, "node_id", node_id, RESTART, "0", "0..1023",
		"Number of this node, unique in the cluster; part of every message id."),
	TIME(C, "watchdog", watchdog_ms, LIVE, "100ms", "0|10ms..10m",
		"A worker that stands still for longer is reported; 0 is off."),
	TIME(C, "shutdown", shutdown_ms, LIVE, "10s", "0..10m",
		"Time for an orderly stop."),
	{ 0 }
};
SCHEMA(mk_server_schema, C, server_items);

static const struct mk_conf_item log_items[] = {
	WORD(C, "level", log.level, LIVE, "info", "error|warn|notice|info|debug",
		"Lines below this level are not written."),
	WORD(C, "format", log.format, LIVE, "logfmt", "logfmt|json",
		"How lines are written."),
	TEXT(C, MK_CONF_FILE, "file", log.file, LIVE, NULL, NULL,
		"File to write to; if it is not given, standard error (the journal)."),
	{ 0 }
};
SCHEMA(mk_log_schema, C, log_items);

static const struct mk_conf_item tls_items[] = {
	TEXT(C, MK_CONF_STRING, "priorities", tls_priorities, LIVE, NULL, NULL,
		"GnuTLS priority string; if it is not given, the built-in one (TLS 1.2 and 1.3)."),
	BOOL(C, "tickets", tls_tickets, LIVE, "yes",
		"Session tickets let clients resume TLS without a full handshake."),
	{ 0 }
};
SCHEMA(mk_tls_schema, C, tls_items);

static const struct mk_conf_item limits_items[] = {
	SIZE(C, "preauth_stanza", limits.preauth_stanza_bytes, LIVE, "8KB", "1KB..1MB",
		"Largest element before authentication."),
	INT(C, "preauth_elements", limits.preauth_elements, LIVE, "32", "4..10000",
		"Elements in one before authentication."),
	INT(C, "preauth_depth", limits.preauth_depth, LIVE, "8", "2..256",
		"Nesting of one before authentication."),
	INT(C, "preauth_attributes", limits.preauth_attrs, LIVE, "16", "4..256",
		"Attributes of an element before authentication."),
	SIZE(C, "stanza", limits.stanza_bytes, LIVE, "256KB", "10000..16MB",
		"Largest stanza (RFC 6120 13.12: at least 10000 bytes)."),
	INT(C, "elements", limits.elements, LIVE, "4096", "8..1000000",
		"Elements in a stanza."),
	INT(C, "depth", limits.depth, LIVE, "64", "4..256",
		"Nesting of a stanza."),
	INT(C, "attributes", limits.attrs, LIVE, "64", "4..1024",
		"Attributes of an element."),
	TIME(C, "auth_timeout", limits.auth_timeout_ms, LIVE, "30s", "100ms..1h",
		"Time from accepting a connection to its bound resource, whatever it sends."),
	INT(C, "auth_attempts", limits.auth_attempts, LIVE, "5", "1..100",
		"Failed authentications of a connection before it is closed."),
	INT(C, "preauth_per_address", limits.preauth_per_address, LIVE, "64", "0..1000000",
		"Unauthenticated connections of an address (IPv6: a /64); 0 is any number."),
	INT(C, "preauth_total", limits.preauth_total, LIVE, "0", "0..10000000",
		"Unauthenticated connections in all; 0 is a fifth of the open files allowed."),
	INT(C, "connections_per_address", limits.connections_per_address, LIVE, "0",
		"0..10000000", "Connections of an address; 0 is any number."),
	INT(C, "accepts_per_second", limits.accepts_per_second, LIVE, "0", "0..1000000",
		"New connections of an address in a second; 0 is any number."),
	SIZE(C, "output", limits.out_bytes, LIVE, "1MB", "4KB..1GB",
		"Bytes that may wait for one client; with more it is disconnected."),
	TIME(C, "write_timeout", limits.write_timeout_ms, LIVE, "30s", "100ms..1h",
		"Time for a client to take what waits for it."),
	TIME(C, "keepalive", limits.keepalive_ms, LIVE, "0", "0|1s..1d",
		"Whitespace is sent to a client after this silence; 0 is never."),
	TIME(C, "idle_timeout", limits.idle_timeout_ms, LIVE, "0", "0|1s..7d",
		"A client that sent nothing for so long is disconnected; 0 is never."),
	SIZE(C, "turn_bytes", limits.turn_bytes, LIVE, "64KB", "1KB..64KB",
		"Bytes of a connection that are read before others have their turn."),
	INT(C, "turn_stanzas", limits.turn_stanzas, LIVE, "100", "1..10000",
		"Stanzas of a connection that are handled before others have their turn."),
	INT(C, "stanza_rate", limits.stanza_rate, LIVE, "0", "0..1000000",
		"Stanzas of a session in a second; 0 is any number."),
	INT(C, "stanza_burst", limits.stanza_burst, LIVE, "0", "0..10000000",
		"Stanzas above the rate at once; 0 is those of one second."),
	SIZE(C, "byte_rate", limits.byte_rate, LIVE, "0", "0|256..2GB",
		"Bytes of a connection in a second; 0 is any number."),
	SIZE(C, "byte_burst", limits.byte_burst, LIVE, "0", "0..2GB",
		"Bytes above the rate at once; 0 is those of one second."),
	INT(C, "password_hashes", limits.hash_rate, LIVE, "200", "1..1000000",
		"Passwords that are hashed in a second, by this node."),
	{ 0 }
};
SCHEMA(mk_limits_schema, C, limits_items);

static const struct mk_conf_item storage_items[] = {
	TEXT(C, MK_CONF_STRING, "default", storage_default, RESTART, "sqlite", NULL,
		"Backend of the tables that no other is named for."),
	INT(C, "append_queue", append_queue, RESTART, "200000", "64..10000000",
		"Rows that may wait for write-behind; with more, senders wait."),
	TIME(C, "append_wait", append_wait_ms, RESTART, "500ms", "0..1s",
		"Longest wait of rows for company before they are written behind."),
	TIME(C, "start_wait", start_wait_ms, RESTART, "1d", "0..365d",
		"How long the start waits for a database that can't be reached yet; 0 = not at all."),
	{ 0 }
};
SCHEMA(mk_storage_schema, C, storage_items);

static const struct mk_conf_item journal_items[] = {
	SIZE(C, "segment", journal_segment, RESTART, "16MB", "64KB..1GB",
		"Size of a file of the journal."),
	SIZE(C, "max", journal_max, RESTART, "2GB", "128KB..1TB",
		"Size of all; when it is reached, senders wait."),
	TIME(C, "sync", journal_sync_ms, RESTART, "2ms", "0..1s",
		"Longest wait for company before the journal is made durable."),
	{ 0 }
};
SCHEMA(mk_journal_schema, C, journal_items);

static const struct mk_conf_item backend_items[] = {
	TEXT(struct mk_config_backend, MK_CONF_STRING, "plugin", plugin, RESTART, NULL, NULL,
		"Plugin that does it; if it is not given, the one of the entry's name."),
	INT(struct mk_config_backend, "threads", threads, RESTART, "4", "1..256",
		"Threads, each with a connection."),
	{ 0 }
};
SCHEMA(mk_backend_schema, struct mk_config_backend, backend_items);

static const struct mk_conf_item type_items[] = {
	LIST(struct mk_config_type, "auth", auth, LIVE, "internal", NULL,
		"Sources of credentials, in the order in which they are asked."),
	LIST(struct mk_config_type, "mechanisms", mechanisms, LIVE, NULL, NULL,
		"SASL mechanisms that are offered; empty is all that there are but ANONYMOUS."),
	WORD(struct mk_config_type, "durability", durability, LIVE, "wal", "async|wal|commit",
		"When a stanza is acknowledged: at once, when the journal or when the database has it."),
	INT(struct mk_config_type, "max_resources", max_resources, LIVE, "10", "1..10000",
		"Sessions of an account at a time."),
	WORD(struct mk_config_type, "resource_conflict", resource_conflict, LIVE, "replace",
		"replace|refuse",
		"A second session of the same resource: it replaces the first, or is refused."),
	{ 0 }
};
SCHEMA(mk_type_schema, struct mk_config_type, type_items);

static const struct mk_conf_item domain_items[] = {
	TEXT(struct mk_config_domain, MK_CONF_STRING, "type", type, LIVE, NULL, NULL,
		"Host type; may be left out if there is only one."),
	TEXT(struct mk_config_domain, MK_CONF_FILE, "certificate", certificate, LIVE, NULL, NULL,
		"Certificate chain (PEM), or a folder that holds it and the key."),
	TEXT(struct mk_config_domain, MK_CONF_FILE, "key", key, LIVE, NULL, NULL,
		"Private key (PEM), if the certificate's file or folder doesn't hold it."),
	{ 0 }
};
SCHEMA(mk_domain_schema, struct mk_config_domain, domain_items);

static const struct mk_conf_item listener_items[] = {
	TEXT(struct mk_config_listener, MK_CONF_STRING, "kind", kind, LIVE | MK_CONF_REQUIRED,
		NULL, NULL, "Who connects: c2s is clients, http is what speaks HTTP; the name of "
		"a plugin that listens."),
	INT(struct mk_config_listener, "port", port, LIVE | MK_CONF_REQUIRED, NULL, "0..65535",
		"TCP port; 0 is any that is free."),
	TEXT(struct mk_config_listener, MK_CONF_ADDR, "address", address, LIVE, "", "address",
		"Address to listen on; empty is all, IPv4 and IPv6."),
	WORD(struct mk_config_listener, "tls", tls, LIVE, "starttls",
		"none|starttls-optional|starttls|direct",
		"starttls is offered and required; direct is TLS from the first byte (XEP-0368), and "
		"what other kinds than c2s have if nothing is said."),
	BOOL(struct mk_config_listener, "unsafe_plain_without_tls", plain_without_tls, LIVE, "no",
		"Lets clients log in without TLS: for tests, or where a proxy does TLS."),
	BOOL(struct mk_config_listener, "proxy_protocol", proxy_protocol, LIVE, "no",
		"Connections begin with a PROXY header (version 1 or 2)."),
	LIST(struct mk_config_listener, "proxy_from", proxy_from, LIVE, "127.0.0.0/8, ::1/128", NULL,
		"Addresses of proxies whose PROXY header is believed."),
	TEXT(struct mk_config_listener, MK_CONF_REF, "shaper", shaper, LIVE, "",
		"section:shapers", "Rates for its connections, instead of those of limits."),
	INT(struct mk_config_listener, "backlog", backlog, LIVE, "4096", "1..65535",
		"Connections that may wait to be accepted."),
	{ 0 }
};
SCHEMA(mk_listener_schema, struct mk_config_listener, listener_items);

static const struct mk_conf_item shaper_items[] = {
	INT(struct mk_config_shaper, "stanza_rate", stanza_rate, LIVE, "0", "0..1000000",
		"Stanzas of a session in a second; 0 is any number."),
	INT(struct mk_config_shaper, "stanza_burst", stanza_burst, LIVE, "0", "0..10000000",
		"Stanzas above the rate at once; 0 is those of one second."),
	SIZE(struct mk_config_shaper, "byte_rate", byte_rate, LIVE, "0", "0|256..2GB",
		"Bytes of a connection in a second; 0 is any number."),
	SIZE(struct mk_config_shaper, "byte_burst", byte_burst, LIVE, "0", "0..2GB",
		"Bytes above the rate at once; 0 is those of one second."),
	{ 0 }
};
SCHEMA(mk_shaper_schema, struct mk_config_shaper, shaper_items);

const struct mk_core_section mk_core_sections[] = {
	{ "server", "server", &mk_server_schema },
	{ "log", "log", &mk_log_schema },
	{ "tls", "tls", &mk_tls_schema },
	{ "limits", "limits", &mk_limits_schema },
	{ "storage", "storage", &mk_storage_schema },
	{ "storage.journal", "storage.journal", &mk_journal_schema },
	{ "storage.backends.*", "storage.backends.NAME", &mk_backend_schema },
	{ "host_types.*", "host_types.NAME", &mk_type_schema },
	{ "domains.*", "domains.NAME", &mk_domain_schema },
	{ "listeners[*]", "listeners[]", &mk_listener_schema },
	{ "shapers.*", "shapers.NAME", &mk_shaper_schema },
	{ NULL, NULL, NULL }
};
