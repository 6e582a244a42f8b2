/*
 * test/plugins/no-load.c - whose load() fails
 */
#include "test/plugins/descriptor.h"

static int load(struct mk_module *m)
{
	(void)m;
	return -MK_ELIMIT;
}

DESCRIPTOR(RIGHT, .name = "no-load", .flags = MK_PLUGIN_PER_TYPE, .load = load)
