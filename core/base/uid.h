/*
 * base/uid.h - the parts of mk_uid (meerkat/types.h)
 */
#ifndef MK_BASE_UID_H
#define MK_BASE_UID_H

#include <meerkat/types.h>

/* This node's number in the cluster, below 1024. Before the first mk_uid. */
void mk_uid_set_node(unsigned node);
/* When a number was made, to the millisecond: wall time since 1970, UTC. */
int64_t mk_uid_wall_ms(int64_t uid);
/* The smallest number that can be made at that time or later. */
int64_t mk_uid_at(int64_t wall_ms);

#endif
