/*
 * test/plugins/no-start.c - whose start() fails after it registered
 */
#include "test/plugins/descriptor.h"

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i;
	mk_iq_result(r, NULL);
	return MK_DONE;
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq, .fn = on_iq, .xmlns = "urn:test:no-start",
		.flags = MK_IQ_GET | MK_IQ_SET | MK_IQ_HOST };

	mk_iq_handle(i, &iq);
	mk_disco_feature(i, MK_DISCO_HOST, "urn:test:no-start");
	return -MK_EIO;
}

DESCRIPTOR(RIGHT, .name = "no-start", .flags = MK_PLUGIN_PER_TYPE, .start = start)
