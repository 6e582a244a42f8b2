/*
 * test/plugins/bad-major.c - made for an interface that changed
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT_MAGIC, .abi_major = MK_ABI_MAJOR + 1, .abi_minor = 0, RIGHT_SIZE, RIGHT_BUILD,
	.name = "bad-major", .flags = MK_PLUGIN_PER_TYPE)
