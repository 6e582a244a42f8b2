/*
 * muc/slow.h - who of a room has spoken lately (slow mode, XEP-0500)
 *
 * By user, whatever clients and nicknames he speaks by, and whether he left
 * meanwhile. Pure; the room's worker.
 */
#ifndef MUC_SLOW_H
#define MUC_SLOW_H

#include <meerkat/jid.h>

struct slow;

/*
 * 0 if the user of jid may speak at now_ms, which is noted then; else the ms that he
 * has to wait. Made in *s when it is first needed; 16 bytes for each who spoke within
 * the last every_ms, or not much longer ago.
 */
int64_t slow_take(struct slow **s, const struct mk_jid *jid, int64_t every_ms, int64_t now_ms);
void slow_free(struct slow **s);

#endif
