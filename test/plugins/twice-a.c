/*
 * test/plugins/twice-a.c - claims a namespace that twice-b claims, too
 */
#include "test/plugins/descriptor.h"

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	struct mk_elem *e = mk_elem_new(mk_iq_arena(r), "one", "urn:test:twice");

	(void)i;
	mk_elem_set(e, "by", "twice-a");
	mk_iq_result(r, e);
	return MK_DONE;
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq, .fn = on_iq, .xmlns = "urn:test:twice",
		.name = "one", .flags = MK_IQ_GET | MK_IQ_HOST };

	return mk_iq_handle(i, &iq);
}

DESCRIPTOR(RIGHT, .name = "twice-a", .flags = MK_PLUGIN_PER_TYPE, .start = start)
