/*
 * proc.h - what a process costs, read from /proc
 */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * CPU time (user and system, all threads, ended ones too) of the processes,
 * in microseconds; -1 when one can't be read. Its grain is one clock tick.
 */
int64_t proc_cpu_us(const pid_t *pids, size_t n);

/*
 * Proportional set size of the processes in KiB; -1 when one can't be read
 * (it belongs to another user, or has ended).
 */
int64_t proc_pss_kib(const pid_t *pids, size_t n);

#endif
