/*
 * net/limit.h - how many connections an address has, and how fast it makes them
 *
 * One table per process, for all listeners; an IPv4 address counts by itself,
 * an IPv6 one with its /64. Any thread.
 */
#ifndef MK_NET_LIMIT_H
#define MK_NET_LIMIT_H

#include "net/conn.h"

enum mk_limit_result { MK_LIMIT_OK = 0, MK_LIMIT_MANY, MK_LIMIT_FAST };
/* Counts a connection of a, unless it has max already (0 = any number) or came
 * sooner than rate per second allow (0 = any; a second's worth may come at
 * once). */
enum mk_limit_result mk_limit_enter(const struct mk_addr *a, uint32_t max,
                                    uint32_t rate, mk_usec now);
void mk_limit_leave(const struct mk_addr *a);
/* Of a's connections, those that have not logged in: counts one more, unless
 * there are max (0 = any number). Each ends with mk_limit_waited, before its
 * mk_limit_leave. */
bool mk_limit_wait(const struct mk_addr *a, uint32_t max);
void mk_limit_waited(const struct mk_addr *a);
/* How many there are now; entries in the table (tests). */
uint32_t mk_limit_count(const struct mk_addr *a);
uint32_t mk_limit_entries(void);

#endif
