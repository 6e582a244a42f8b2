/*
 * test/plugins/forever.c - whose handler never returns
 */
#include "test/plugins/descriptor.h"

#include <unistd.h>

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i, (void)r;
	while (pause() < 0)            /* which is always                       */
		;
	return MK_DONE;
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq, .fn = on_iq, .xmlns = "urn:test:forever",
		.flags = MK_IQ_GET | MK_IQ_HOST };

	return mk_iq_handle(i, &iq);
}

DESCRIPTOR(RIGHT, .name = "forever", .flags = MK_PLUGIN_PER_TYPE, .start = start)
