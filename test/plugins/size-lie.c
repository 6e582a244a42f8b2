/*
 * test/plugins/size-lie.c - says it is smaller than any descriptor was
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT_MAGIC, RIGHT_ABI, .size = 16, RIGHT_BUILD, .name = "size-lie",
	.flags = MK_PLUGIN_PER_TYPE)
