/*
 * test/plugins/misnamed.c - calls itself otherwise than its file
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT, .name = "named-otherwise", .flags = MK_PLUGIN_PER_TYPE)
