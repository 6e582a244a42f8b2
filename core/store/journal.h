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
	int64_t segment_bytes;         /* 16 MB; less if 2 per worker exceed max_bytes */
	int64_t max_bytes;             /* all segments; beyond: mk_journal_full */
	int64_t sync_ms;               /* longest wait for company              */
	unsigned workers;
};
/* Reads what is there. -MK_EINVAL (max_bytes too small), -MK_ECONFLICT (another
 * process has the directory), -MK_EVERSION, -MK_EIO. Files whose head is damaged
 * are set aside as *.bad. Main thread, before workers write; the number of
 * workers may have changed since. */
int  mk_journal_open(const struct mk_journal_conf *c, struct mk_diag *d);
/* Gives each live record, oldest first, once per uid and 'to', as an open stanza
 * (uid, time and flag MK_STANZA_REPLAYED set, its record adopted), to be routed
 * by fn, which takes it. Returns 0. Main thread, once after open. */
int  mk_journal_replay(void (*fn)(void *arg, struct mk_stanza *s), void *arg);
/* Syncs and closes, after freeze and after the workers have stopped. Live
 * records stay for the next start. Stanzas may outlive it. */
void mk_journal_close(void);

/* From now on dropping stanzas retires nothing, and no wait ends any more: for
 * an orderly stop. What was written before is synced when it returns, and
 * mk_journal_synced says so. Before the workers stop. */
void mk_journal_freeze(void);
bool mk_journal_is_frozen(void);
bool mk_journal_is_open(void);
/* Push back: this worker (elsewhere: one of them) is in the last segment that
 * max_bytes allows. Any thread. */
bool mk_journal_full(void);
/*
 * Writes s (sealed) and ties the record to it; its position (grows, > 0) on
 * this worker. A stanza has one record: if it, or what it is an edited copy of,
 * has it already, a position that is durable when that is. -MK_ELIMIT (full, or
 * longer than a segment), -MK_EIO (no file can be made, or a failed sync
 * couldn't be made up for), -MK_ECLOSED. Worker threads; no system call but
 * when a segment ends and no spare is there.
 */
int64_t mk_journal_write(struct mk_stanza *s);
/* What is durable on this worker: positions <= it. In async mode the last
 * written one. Commit is as wal: what waits for a database besides is the session's
 * affair (session/commit.h). */
int64_t mk_journal_synced(enum mk_durability mode);
/* Asks for it; t runs on this worker after mk_journal_synced(WAL) >= position;
 * at the end of this turn's queue if it is that already. Belongs to the caller;
 * it must not be in use elsewhere meanwhile. */
void mk_journal_wait(int64_t position, struct mk_task *t);
struct mk_journal_stats { uint64_t records, live, bytes, segments, syncs, errors; };
/* Any thread. */
void mk_journal_stats(struct mk_journal_stats *out);

#endif
