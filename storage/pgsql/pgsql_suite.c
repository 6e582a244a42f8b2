/*
 * pgsql/pgsql_suite.c - the suite's view of the PostgreSQL backend
 */
#include "../suite/suite.h"

#include "pgsql_server.h"

#include <stdio.h>

mk_plugin_entry_fn mk_plugin_entry_pgsql;

/* A folder of the suite's is a schema of one server. */
static const void *conf(const char *dir)
{
	static struct { struct pgsql_conf conf; char schema[64]; } made[4];
	static unsigned n;
	unsigned i = n++ % 4;

	snprintf(made[i].schema, sizeof made[i].schema, "%s", dir);
	made[i].conf = server_conf(made[i].schema);
	return &made[i].conf;
}

const struct suite_target suite_target = { .entry = mk_plugin_entry_pgsql, .conf = conf,
	.settle = server_settle };
