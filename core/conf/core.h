/*
 * conf/core.h - the schemas of the core's own sections
 *
 * One table for filling, for man pages and for what a change needs.
 */
#ifndef MK_CONF_CORE_H
#define MK_CONF_CORE_H

#include "conf/config.h"

extern const struct mk_conf_schema mk_server_schema, mk_log_schema, mk_tls_schema,
	mk_limits_schema, mk_storage_schema, mk_journal_schema,        /* struct mk_config */
	mk_backend_schema, mk_type_schema, mk_domain_schema, mk_listener_schema,
	mk_shaper_schema;

/* A word of path may be "*" (a name) or, with "[*]", any entry of a list. */
struct mk_core_section { const char *path, *shown; const struct mk_conf_schema *schema; };
extern const struct mk_core_section mk_core_sections[];        /* ends with NULL */

#endif
