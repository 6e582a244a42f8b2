/*
 * test/plugins/no-need.c - needs what nobody gives
 */
#include "test/plugins/descriptor.h"

static const char *const needs[] = { "svc:what-nobody-gives/1", NULL };

DESCRIPTOR(RIGHT, .name = "no-need", .flags = MK_PLUGIN_PER_TYPE, .needs = needs)
