/*
 * test/plugins/missing-symbol.c - calls what no core has
 */
#include "test/plugins/descriptor.h"

int mk_only_in_the_next_version(void);

static int start(struct mk_inst *i)
{
	(void)i;
	return mk_only_in_the_next_version();
}

DESCRIPTOR(RIGHT, .name = "missing-symbol", .flags = MK_PLUGIN_PER_TYPE, .start = start)
