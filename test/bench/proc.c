/*
 * proc.c - what a process costs, read from /proc
 *
 * Holds no state; any thread.
 */
#include "proc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int64_t cpu_us(pid_t pid)
{
	char path[64], line[1024];
	unsigned long long user, system;
	const char *p;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	/* the name, in parentheses, can hold anything: count from the last ')' */
	p = strrchr(line, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
	                 &user, &system) != 2)
		return -1;
	return (int64_t)((user + system) * 1000000 /
	                 (unsigned long long)sysconf(_SC_CLK_TCK));
}

static int64_t pss_kib(pid_t pid)
{
	char path[64], line[256];
	long long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Pss: %lld kB", &kib) == 1)
			break;
	}
	fclose(f);
	return kib;
}

static int64_t sum(const pid_t *pids, size_t n, int64_t (*one)(pid_t pid))
{
	int64_t total = 0, v;

	if (n == 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		v = one(pids[i]);
		if (v < 0)
			return -1;
		total += v;
	}
	return total;
}

int64_t proc_cpu_us(const pid_t *pids, size_t n)
{
	return sum(pids, n, cpu_us);
}

int64_t proc_pss_kib(const pid_t *pids, size_t n)
{
	return sum(pids, n, pss_kib);
}
