/*
 * test/plugins/no-flags.c - neither per host type nor global
 */
#include "test/plugins/descriptor.h"

DESCRIPTOR(RIGHT, .name = "no-flags")
