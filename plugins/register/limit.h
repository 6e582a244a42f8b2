/*
 * limit.h - how often somebody may do something, counted in windows of time
 */
#ifndef REGISTER_LIMIT_H
#define REGISTER_LIMIT_H

#include <meerkat/types.h>

/* A fixed amount of memory: with more keys at once than fit, the ones counted
 * longest ago are forgotten. All calls from any thread. */
struct limit;
struct limit *limit_new(void);
void limit_free(struct limit **l);
/*
 * Counts one by key, or of all together (key NULL; never forgotten). false: key has
 * had max of them in the window that its first began, and this one isn't counted.
 * max 0: no limit. now_ms is monotonic.
 */
bool limit_take(struct limit *l, const char *key, int64_t max, int64_t window_ms,
	int64_t now_ms);
/* What to count an address by: itself, or an IPv6 network of 64 bits, as one
 * customer has all of it. IPv4 in IPv6 is IPv4. out takes 64 bytes. */
void limit_key_of_address(char *out, const char *address);

#endif
