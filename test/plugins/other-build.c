/*
 * test/plugins/other-build.c - built for another machine
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT_MAGIC, RIGHT_ABI, RIGHT_SIZE, .build = "ilp32 be time32", .name = "other-build",
	.flags = MK_PLUGIN_PER_TYPE)
