/*
 * meerkat/metric.h - what an operator can watch
 *
 * Declared in the descriptor; counted per thread, summed when read. A plugin
 * names a metric by its index in the descriptor's list. Exposed as
 * meerkat_<plugin>_<name> with label type (host type).
 */
#ifndef MK_METRIC_H
#define MK_METRIC_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

enum mk_metric_kind {
	MK_COUNTER = 1,                /* only grows                            */
	MK_GAUGE,                      /* goes up and down by mk_metric_add     */
	MK_HISTOGRAM,                  /* observed microseconds or bytes        */
};
struct mk_metric {
	uint32_t size, kind;
	const char *name;              /* [a-z_]+, "stored_total"               */
	const char *help;
};

/* Any thread; a few nanoseconds. */
MK_API void mk_metric_add(struct mk_inst *i, uint32_t index, int64_t n);
MK_API void mk_metric_observe(struct mk_inst *i, uint32_t index, int64_t value);

MK_END_DECLS
#endif
