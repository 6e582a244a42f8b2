/*
 * store/segment.h - the journal's files, mapped into memory
 *
 * A segment is a file of fixed size: a head, then records one behind the other
 * at multiples of 8. Its records are found by address: all segments are mapped
 * into slots of one reserved range, so that whoever holds a record finds the
 * segment by a shift. Numbers are in the machine's byte order; the magic tells
 * a file of another one.
 *
 * Whatever instant a process dies at, what it stored is a prefix: a record's
 * length is stored last, and the place behind it is closed before (length 0).
 * When the machine dies, pages are lost in any order: the checksum finds the
 * first record that isn't whole, and everything behind it is left out; none of
 * that had been synced. A file used again gets a new seed for the checksums, so
 * that what it held before is no record now.
 *
 * States: FREE (no file), MAKING (being filled), SPARE (ready for its worker),
 * USED. The sync thread makes, reuses and removes; a worker without a spare
 * makes one for itself. A slot is free again once no stanza is tied to one of
 * its records.
 */
#ifndef MK_STORE_SEGMENT_H
#define MK_STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mk_diag;

struct mk_record {
	_Atomic uint32_t len;          /* of the payload; 0 = no record here    */
	uint32_t crc;                  /* of len, and from kind to the end      */
	_Atomic uint8_t mark;          /* MK_MARK_*; not in crc                 */
	uint8_t kind;                  /* MK_RECORD_*                           */
	uint16_t from_n, to_n;
	uint16_t zero;
	int64_t uid, time_ms;
	char payload[];                /* from, to, XML; none ends in a NUL     */
};
#define MK_RECORD_STANZA 1
#define MK_RECORD_BYTES(payload_n) \
	((sizeof(struct mk_record) + (size_t)(payload_n) + 7) & ~(size_t)7)

/* Far from each other, so that a bit that flips doesn't lose a stanza: what is
 * not RETIRED is live to a reader. */
#define MK_MARK_LIVE    0x00
#define MK_MARK_MOVED   0x3c           /* a copy stands elsewhere           */
#define MK_MARK_RETIRED 0xff

#define MK_SEGMENT_HEAD 64             /* where the first record stands     */
#define MK_SEGMENT_MIN  4096           /* bytes                             */
#define MK_SEGMENT_MAX  (INT64_C(1) << 30)

enum mk_segment_state { MK_SEGMENT_FREE, MK_SEGMENT_MAKING, MK_SEGMENT_SPARE,
	MK_SEGMENT_USED };

/* Where the records went that were live when a segment was given up. */
struct mk_forward {
	struct mk_record *from, *to;
	_Atomic bool is_retired;       /* whoever sets it retires `to`          */
};
struct mk_forwards { uint32_t n; struct mk_forward of[]; };

struct mk_segment {
	/* fixed while it is not FREE */
	int fd;                        /* -1 once its file is given up          */
	char *base;                    /* its slot                              */
	uint32_t bytes;
	/* fixed while USED */
	char name[48];                 /* in the directory                      */
	uint32_t seed;
	unsigned worker;               /* who writes it, or moves its records   */
	/* its worker's */
	uint32_t used, records;        /* bytes, head included                  */
	int64_t moved_at;              /* position of its worker; set before is_moved */
	/* any thread */
	_Atomic uint8_t state;
	_Atomic uint32_t live;         /* stanzas tied to it, one more while it is written */
	_Atomic bool is_current;       /* being written                         */
	_Atomic bool is_dirty;         /* written since it was last synced      */
	_Atomic bool is_suspect;       /* could not be synced; never tried again */
	_Atomic bool is_moved;         /* copies of what is live stand elsewhere */
	_Atomic bool is_pinned;        /* can't be moved                        */
	_Atomic(struct mk_forwards *) forwards;
	/* sync thread's */
	uint32_t filled;               /* while MAKING                          */
	bool is_dropped;               /* the file is gone, the slot is not     */
};

struct mk_segments {
	char *dir;
	int dir_fd;
	char *area;                    /* slots << shift bytes                  */
	unsigned shift, slots;
	struct mk_segment *of;         /* slots of them                         */
	uint32_t segment_bytes;
	int64_t max_bytes;
	pthread_mutex_t lock;          /* taking a slot                         */
	_Atomic int64_t bytes;         /* of all files                          */
	_Atomic unsigned taken, top;   /* slots; those from top on never were   */
	_Atomic uint64_t seq;          /* of the newest                         */
	_Atomic bool dir_is_dirty;
};

/* fdatasync; tests put faults here. */
extern int (*mk_journal_fdatasync)(int fd);

/* Makes the directory if it is missing and locks it; -MK_ECONFLICT: another
 * process has it, -MK_EIO. workers bounds how many segments may be beyond
 * max_bytes. Messages go to d (may be NULL). */
int  mk_segments_open(struct mk_segments *s, const char *dir, uint32_t segment_bytes,
	int64_t max_bytes, unsigned workers, struct mk_diag *d);
/* Unmaps all. Files stay as they are. */
void mk_segments_close(struct mk_segments *s);

/*
 * Reads every file there is: fn for each record that is whole and not retired,
 * file by file, in order (r: the mapped one). Files without one are removed.
 * bad_out: how many files ended before their time. 0, -MK_EIO (a file can't be
 * read: nothing may be taken for lost), -MK_EVERSION.
 */
int  mk_segments_load(struct mk_segments *s,
	void (*fn)(void *arg, struct mk_segment *g, struct mk_record *r), void *arg,
	unsigned *bad_out, struct mk_diag *d);

/* The segment that a record is in. */
static inline struct mk_segment *mk_segment_of(const struct mk_segments *s,
                                               const struct mk_record *r)
{
	return &s->of[(size_t)((const char *)r - s->area) >> s->shift];
}
/* Whether there may be one more. */
static inline bool mk_segments_has_room(struct mk_segments *s)
{
	return atomic_load(&s->bytes) + s->segment_bytes <= s->max_bytes &&
	       atomic_load(&s->taken) < s->slots;
}
/* Every slot that may be in use. */
#define MK_SEGMENTS_EACH(g, s) \
	for (struct mk_segment *g = (s)->of, *g##_end = g + atomic_load(&(s)->top); \
	     g < g##_end; g++)
/* A new file in state MAKING; NULL and *err_out = -MK_ELIMIT (more than limit
 * bytes in all, or no slot) or -MK_EIO (disk full ...; logged). Any thread. */
struct mk_segment *mk_segment_new(struct mk_segments *s, int64_t limit, int *err_out);
/* Writes zeros to a part of it, so that its blocks exist and later syncs write
 * data only. 1 = all is written and synced, 0 = call again, -MK_EIO. */
int  mk_segment_fill(struct mk_segment *g);
/* Empty, under a new name and seed, for this worker; state SPARE. -MK_EIO if it
 * can't be renamed. */
int  mk_segment_arm(struct mk_segments *s, struct mk_segment *g, unsigned worker);
/* Removes the file. The slot stays taken, and its memory may still be written. */
void mk_segment_drop(struct mk_segments *s, struct mk_segment *g);
/* Drops it, unless that is done, and frees the slot. Nobody is tied to it. */
void mk_segment_free(struct mk_segments *s, struct mk_segment *g);

/* The record at this offset, if it is whole; else NULL, and *is_end_out says
 * whether records simply end here. end: bytes that may be read. */
struct mk_record *mk_segment_at(const char *base, uint32_t at, uint32_t end, uint32_t seed,
	bool *is_end_out);
/* Puts a record at the end of g, which has room for it. xml may be scattered:
 * from, to and XML are given one by one. */
struct mk_record *mk_segment_put(struct mk_segment *g, int64_t uid, int64_t time_ms,
	const char *from, uint16_t from_n, const char *to, uint16_t to_n,
	const char *xml, uint32_t xml_n);

#endif
