/*
 * store/journal.h - stanzas this node has taken responsibility for
 *
 * Append-only segments per worker, mapped into memory: a record survives the
 * death of the process as soon as it is written, and the machine's after a
 * group fdatasync. A record is retired when the stanza's last reference goes;
 * a segment with no live record is reused. At start, live records are handed
 * back in order. Records: length, CRC-32C, kind, uid, time, addresses, XML.
 * A torn tail ends at the first bad checksum. An fdatasync error is never
 * retried on the same file: its live records are written anew elsewhere.
 */
#ifndef MK_STORE_JOURNAL_H
#define MK_STORE_JOURNAL_H

#include "loop/worker.h"
#include "xml/stanza.h"

enum mk_durability { MK_DURABLE_ASYNC, MK_DURABLE_WAL, MK_DURABLE_COMMIT };

struct mk_journal_conf {
	const char *dir;               /* made if missing, mode 0700            */
	int64_t segment_bytes;         /* 16 MB                                 */
	int64_t max_bytes;             /* all segments; beyond: mk_journal_full */
	int64_t sync_ms;               /* longest wait for company              */
	unsigned workers;
};
/* Reads what is there; replay gives each live record, oldest first, as an open
 * stanza (uid, time and flag MK_STANZA_REPLAYED set, its record adopted), to
 * be routed by the caller, which takes it. Main thread, before workers start
 * to write; the number of workers may have changed since. */
int  mk_journal_open(const struct mk_journal_conf *c, struct mk_diag *d);
int  mk_journal_replay(void (*fn)(void *arg, struct mk_stanza *s), void *arg);
/* Syncs and closes. Live records stay for the next start. */
void mk_journal_close(void);

/* From now on dropping stanzas retires nothing: for an orderly stop. */
void mk_journal_freeze(void);
bool mk_journal_is_open(void);
bool mk_journal_full(void);                    /* push back                 */
/* Writes s (sealed) and ties the record to it; its position (grows, > 0) on
 * this worker, or -MK_ELIMIT / -MK_EIO. Worker threads. */
int64_t mk_journal_write(struct mk_stanza *s);
/* What is durable on this worker: positions <= it. In async mode the last
 * written one. */
int64_t mk_journal_synced(enum mk_durability mode);
/* Asks for it; fn(arg) on this worker after mk_journal_synced(WAL) >= position
 * (or an error made new positions). */
void mk_journal_wait(int64_t position, struct mk_task *t);
struct mk_journal_stats { uint64_t records, live, bytes, segments, syncs, errors; };
void mk_journal_stats(struct mk_journal_stats *out);

#endif
