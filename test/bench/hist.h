/*
 * hist.h - a histogram of durations with a bounded relative error
 *
 * Like HdrHistogram: each power of two is divided into 64 equal buckets, so
 * a value read back is at most 1.6 % too high. No allocation, any unit.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_MAX_BITS 42                /* 2^42 ns is more than an hour      */
#define HIST_BUCKETS ((HIST_MAX_BITS - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t bucket[HIST_BUCKETS];
};

/* Counts one value; those above 2^42 are counted in the last bucket. */
void hist_add(struct hist *h, uint64_t value);

/*
 * The smallest recorded bound that at least q (0..1) of the values don't
 * exceed; never above the true maximum; 0 when empty.
 */
uint64_t hist_quantile(const struct hist *h, double q);

/* The mean; 0 when empty. */
double hist_mean(const struct hist *h);

#endif
