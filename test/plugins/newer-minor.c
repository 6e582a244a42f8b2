/*
 * test/plugins/newer-minor.c - needs a newer server
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT_MAGIC, .abi_major = MK_ABI_MAJOR, .abi_minor = MK_ABI_MINOR + 1, RIGHT_SIZE,
	RIGHT_BUILD, .name = "newer-minor", .flags = MK_PLUGIN_PER_TYPE)
