/*
 * test/plugins/bad-magic.c - not a plugin of this server
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(.magic = 0x4d4b5032u, RIGHT_ABI, RIGHT_SIZE, RIGHT_BUILD, .name = "bad-magic",
	.flags = MK_PLUGIN_PER_TYPE)
