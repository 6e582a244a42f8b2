/*
 * base/metric.h - numbers to watch, counted per thread, summed when read
 *
 * A thread adds to a block of its own, without locks or shared cache lines;
 * a reader adds up all blocks and what ended threads left behind. The public
 * half (meerkat/metric.h) is plugin/'s, over this.
 */
#ifndef MK_BASE_METRIC_H
#define MK_BASE_METRIC_H

#include <meerkat/metric.h>
#include "base/buf.h"

/* Histograms count values up to 1, 2, 4, ... 2^27 (134 s in microseconds,
 * 128 MiB in bytes), and above. */
#define MK_METRIC_BUCKETS 29

/* A new series, or the number of the one that has this name and these labels.
 * name is the whole name ("meerkat_turns_total"; counters end in _total);
 * labels NULL or 'type="chat",pool="sql"', values escaped (mk_metric_label).
 * All is copied. Series stay until the process ends. 0, which may be passed to
 * the functions below and counts nothing, if the name exists as another kind
 * or there are too many. Any thread; takes a lock. */
uint32_t mk_metric_id(const char *name, const char *help, enum mk_metric_kind kind,
                      const char *labels);
/* Appends key="value", escaped, after a comma if b isn't empty. */
void mk_metric_label(struct mk_buf *b, const char *key, struct mk_str value);
/* Adds n to a counter or gauge. Any thread; a few nanoseconds. */
void mk_metric_bump(uint32_t id, int64_t n);
/* Takes a value into a histogram. Any thread. */
void mk_metric_see(uint32_t id, int64_t value);
/* The sum of a counter or gauge; how many values a histogram saw. */
int64_t mk_metric_value(uint32_t id);
/* Called before each reading, to set gauges that nobody counts (memory, open
 * files) by mk_metric_set. Any number; in order. */
void mk_metric_on_read(void (*fn)(void *arg), void *arg);
/* A gauge whose value is known as a whole. Not for one that is bumped too. */
void mk_metric_set(uint32_t id, int64_t value);
/* All, as OpenMetrics 1.0 text, "# EOF" included. */
void mk_metrics_text(struct mk_buf *out);
/* Adds this thread's block to those of ended threads. By itself at its end. */
void mk_metric_thread_end(void);

#endif
