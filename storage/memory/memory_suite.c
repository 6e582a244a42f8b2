/*
 * memory/memory_suite.c - the suite's view of the memory backend
 */
#include "../suite/suite.h"

mk_plugin_entry_fn mk_plugin_entry_memory;

static const void *conf(const char *dir)
{
	return dir;                    /* it has no settings                    */
}

const struct suite_target suite_target = { .entry = mk_plugin_entry_memory, .conf = conf };
