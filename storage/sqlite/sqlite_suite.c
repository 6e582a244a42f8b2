/*
 * sqlite/sqlite_suite.c - the suite's view of the SQLite backend
 */
#include "../suite/suite.h"

#include <stdio.h>

#include "sqlite.h"

mk_plugin_entry_fn mk_plugin_entry_sqlite;

static const void *conf(const char *dir)
{
	static struct { struct sqlite_conf conf; char file[256]; } made[4];
	static unsigned n;
	unsigned i = n++ % 4;

	snprintf(made[i].file, sizeof made[i].file, "%s/suite.db", dir);
	made[i].conf = (struct sqlite_conf){ .file = made[i].file, .busy_timeout = 5000,
		.cache = 1 << 20, .mmap = 64 << 20 };
	return &made[i].conf;
}

const struct suite_target suite_target = { .entry = mk_plugin_entry_sqlite, .conf = conf };
