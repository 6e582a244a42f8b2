/*
 * test/plugins/stolen-words.c - a command that is not under its name
 */
#include "test/plugins/descriptor.h"

static int run(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st)
{
	(void)i, (void)c, (void)st;
	return 0;
}
static const struct mk_command command = { .size = sizeof command, .name = "account steal",
	.doc = "Takes the words of others.", .run = run };
static const struct mk_command *const commands[] = { &command, NULL };

DESCRIPTOR(RIGHT, .name = "stolen-words", .flags = MK_PLUGIN_PER_TYPE, .commands = commands)
