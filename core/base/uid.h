/*
 * base/uid.h - the parts of mk_uid (meerkat/types.h)
 */
#ifndef MK_BASE_UID_H
#define MK_BASE_UID_H

#include <meerkat/types.h>

/* This node's number in the cluster, below 1024. Before the first mk_uid. */
void mk_uid_set_node(unsigned node);

#endif
