/*
 * store/journal.c - who writes what when, what is durable, what may go
 *
 * A worker has a log: the segment it writes, positions, tasks that wait. One
 * sync thread serves all logs: it syncs what has been written (a round), and
 * keeps house (makes spare segments, reuses empty ones, has crowded ones
 * moved). Retiring sets a mark in the record, on whatever thread.
 *
 * Moving: live records of a segment are copied to the end of the log, and the
 * segment gets a table of where they went, for those who are tied to the old
 * ones. It saves what a failed fdatasync has made doubtful, and the rest of a
 * segment that only a few long-lived stanzas hold. The old file goes after the
 * copies have been synced. Who is first to retire a moved record, the mover
 * (which finds it retired meanwhile) or the stanza's last holder, is settled by
 * mk_forward.is_retired.
 *
 * Locks: round (what the sync thread does; freeze and close do it as well),
 * then lock (waking, posting), or the lock of the segments.
 */
#include "store/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <meerkat/conf.h>
#include "base/assert.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/thread.h"
#include "store/segment.h"
#include "base/ban.h"

#define RETRY_USEC     1000000         /* after a file couldn't be made     */
#define BACKOFF_FIRST  100000          /* after a second failure in a row   */
#define BACKOFF_MAX    10000000
#define SPARE_AT(bytes)  ((bytes) / 4) /* used so far: ask for the next     */
#define SPARSE(bytes)    ((bytes) / 4) /* live: worth moving                */
#define CROWDED(bytes)   ((bytes) / 4 * 3)     /* and when there is no room */

struct wait {
	struct mk_list node;
	int64_t position;
	struct mk_task *task;
};
/* What a worker has. Aligned, so that workers don't share cache lines. */
struct log {
	/* its worker's */
	_Alignas(64) struct mk_segment *current;
	struct mk_list waits;          /* of struct wait                        */
	struct wait *free_wait;        /* one kept for the next time            */
	mk_usec retry_at;              /* no new file before                    */
	unsigned index;
	/* any thread */
	_Atomic int64_t written;       /* position of the newest record         */
	_Atomic(struct mk_segment *) spare;
	_Atomic(struct mk_segment *) victim;   /* to be moved                   */
	_Atomic bool has_asked;        /* for a spare                           */
	_Atomic bool is_starved;       /* and gets none: max_bytes              */
	_Atomic bool is_stuck;         /* can't save what is suspect            */
	_Atomic bool is_lost;          /* or has found it damaged: for good     */
	_Atomic bool has_waits;
	_Atomic bool has_suspects;     /* segments to be saved                  */
	/* sync thread's */
	_Alignas(64) _Atomic int64_t synced;
	struct mk_msg msg;
	_Atomic bool is_posted;
	int64_t round_position;        /* what this round will have synced      */
	bool round_ok;
};

static struct {
	struct mk_segments segments;
	struct log *logs;
	unsigned workers;
	int64_t sync_usec;
	_Atomic bool is_open, is_frozen;

	pthread_t thread;
	pthread_mutex_t round, lock;
	pthread_cond_t wake;
	bool is_stopping, is_mute;     /* under lock                            */
	_Atomic bool wants_round, wants_house;
	/* under round */
	struct mk_segment *making;     /* a spare that is being filled          */
	mk_usec backoff;
	_Atomic mk_usec round_end, retry_at;

	struct live *live;             /* between open and replay               */
	size_t live_n, live_cap;

	_Atomic uint64_t syncs, errors, bad_files;
	uint32_t metric_syncs, metric_errors, metric_usec, metric_live, metric_bytes;
} j;

struct live {
	int64_t uid;
	struct mk_record *record;
	struct mk_segment *segment;
	unsigned place;                /* newer ones are greater                */
};

/* ---- small things -------------------------------------------------------------- */

static struct log *self_log(void)
{
	mk_assert(mk_self != NULL && mk_self->index < j.workers);
	return &j.logs[mk_self->index];
}

/* The sync thread is to look at *flag. */
static void wake(_Atomic bool *flag)
{
	if (atomic_exchange(flag, true))
		return;
	pthread_mutex_lock(&j.lock);
	pthread_cond_signal(&j.wake);
	pthread_mutex_unlock(&j.lock);
}

static void count_error(void)
{
	atomic_fetch_add(&j.errors, 1);
	mk_metric_bump(j.metric_errors, 1);
}

/* One stanza less; the last one to let a segment go has it looked after. */
static void let_go(struct mk_segment *g)
{
	if (atomic_fetch_sub(&g->live, 1) == 1)
		wake(&j.wants_house);
}

/* ---- retiring ------------------------------------------------------------------ */

/* Tables are in the order of addresses. */
static struct mk_forward *forward_find(struct mk_forwards *f, const struct mk_record *r)
{
	uint32_t from = 0, to = f->n;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (f->of[mid].from == r)
			return &f->of[mid];
		if (f->of[mid].from < r)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

static void retire_record(struct mk_record *r)
{
	while (r != NULL) {
		struct mk_segment *g = mk_segment_of(&j.segments, r);
		struct mk_record *copy = NULL;
		struct mk_forwards *fs;
		struct mk_forward *f;

		/* The mark, then the table; the mover the other way round. */
		atomic_exchange(&r->mark, MK_MARK_RETIRED);
		fs = atomic_load(&g->forwards);
		f = fs != NULL ? forward_find(fs, r) : NULL;
		if (f != NULL && !atomic_exchange(&f->is_retired, true))
			copy = f->to;
		let_go(g);
		r = copy;
	}
}

static void retire(struct mk_stanza *s)
{
	if (!atomic_load_explicit(&j.is_open, memory_order_relaxed) ||
	    atomic_load_explicit(&j.is_frozen, memory_order_relaxed))
		return;
	retire_record(s->journal);
	s->journal = NULL;
}

/* ---- the end of a log ------------------------------------------------------------ */

/* The log goes on in a new segment, if all stay within limit bytes. Its worker,
 * or open and close. */
static int next_segment(struct log *l, int64_t limit)
{
	struct mk_segment *g = atomic_exchange(&l->spare, NULL), *old = l->current;
	mk_usec now;
	int r = -MK_EIO;

	if (g == NULL) {
		now = mk_now_usec();
		if (now < l->retry_at)
			return -MK_EIO;
		g = mk_segment_new(&j.segments, limit, &r);
		if (g != NULL && mk_segment_arm(&j.segments, g, l->index) < 0) {
			mk_segment_free(&j.segments, g);
			g = NULL;
		}
		if (g == NULL) {
			if (r == -MK_EIO)
				l->retry_at = now + RETRY_USEC;
			return r;
		}
	}
	mk_assert(g->worker == l->index);
	atomic_store(&g->live, 1);             /* the log itself                */
	atomic_store(&g->is_current, true);
	atomic_store(&g->state, MK_SEGMENT_USED);
	l->current = g;
	if (old != NULL) {
		atomic_store(&old->is_current, false);
		let_go(old);
	}
	atomic_store(&l->has_asked, false);
	atomic_store(&l->is_starved, false);
	return 0;
}

static void ask_for_spare(struct log *l)
{
	if (atomic_load_explicit(&l->has_asked, memory_order_relaxed))
		return;
	atomic_store(&l->has_asked, true);
	wake(&j.wants_house);
}

static int room_for(struct log *l, size_t bytes)
{
	struct mk_segment *g = l->current;
	int r;

	if (MK_UNLIKELY(g->bytes - g->used < bytes)) {
		if (bytes > j.segments.segment_bytes - MK_SEGMENT_HEAD)
			return -MK_ELIMIT;
		r = next_segment(l, j.segments.max_bytes);
		/* What was moved here may have filled it past where one asks. */
		if (r < 0)
			ask_for_spare(l);
		return r;
	}
	if (MK_UNLIKELY(g->used > SPARE_AT(g->bytes)))
		ask_for_spare(l);
	return 0;
}

/* After the record: whoever syncs finds the segment dirty once it knows the
 * position. */
static int64_t next_position(struct log *l)
{
	int64_t position = atomic_load_explicit(&l->written, memory_order_relaxed) + 1;

	atomic_store_explicit(&l->current->is_dirty, true, memory_order_release);
	atomic_store_explicit(&l->written, position, memory_order_release);
	return position;
}

int64_t mk_journal_write(struct mk_stanza *s)
{
	struct log *l;
	struct mk_buf *xml;
	struct mk_record *r;
	void *none = NULL;
	int64_t uid;
	size_t from_n, to_n;
	int err;

	if (!mk_journal_is_open())
		return -MK_ECLOSED;
	mk_assert(s->flags & MK_STANZA_SEALED);
	l = self_log();
	/* Another worker may hold it, and be writing it too: it has one record (or
	 * its original has), and a position here that is durable when that is. */
	if (mk_stanza_is_kept(s))
		return next_position(l);
	if (MK_UNLIKELY(atomic_load_explicit(&l->is_stuck, memory_order_relaxed)))
		return -MK_EIO;
	xml = &mk_self->scratch;
	mk_buf_clear(xml);
	mk_elem_render(xml, s->root, "");
	from_n = s->from != NULL ? s->from->full_n : 0;
	to_n = s->to != NULL ? s->to->full_n : 0;
	if (xml->n > MK_SEGMENT_MAX)
		return -MK_ELIMIT;
	err = room_for(l, MK_RECORD_BYTES(from_n + to_n + xml->n));
	if (err < 0)
		return err;
	uid = mk_stanza_uid(s);
	r = mk_segment_put(l->current, uid, s->time_ms,
		from_n > 0 ? s->from->text : NULL, (uint16_t)from_n,
		to_n > 0 ? s->to->text : NULL, (uint16_t)to_n, xml->p, (uint32_t)xml->n);
	atomic_fetch_add_explicit(&l->current->live, 1, memory_order_relaxed);
	if (!__atomic_compare_exchange_n(&s->journal, &none, r, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE))
		retire_record(r);
	return next_position(l);
}

/* ---- moving ------------------------------------------------------------------------- */

/* What is live in g: how many records, and bytes in *bytes_out. false: it has
 * been damaged. */
static bool measure(const struct mk_segment *g, uint32_t *n_out, size_t *bytes_out)
{
	struct mk_record *r;
	uint32_t at;
	bool is_end;

	*n_out = 0;
	*bytes_out = 0;
	for (at = MK_SEGMENT_HEAD; at < g->used; at += (uint32_t)MK_RECORD_BYTES(r->len)) {
		r = mk_segment_at(g->base, at, g->used, g->seed, &is_end);
		if (r == NULL)
			return false;
		if (r->kind == MK_RECORD_STANZA && atomic_load(&r->mark) == MK_MARK_LIVE) {
			++*n_out;
			*bytes_out += MK_RECORD_BYTES(r->len);
		}
	}
	return true;
}

/*
 * Copies what is live in g to the end of l, whose g is. A suspect one has been
 * saved then, as soon as what this makes dirty is synced. -MK_ELIMIT, -MK_EIO:
 * no room, later perhaps; -MK_EINVAL: g is damaged, or too big. l's worker, or
 * close.
 */
static int move(struct log *l, struct mk_segment *g)
{
	struct mk_forwards *fs = NULL;
	struct mk_record *r;
	uint32_t n, at, i = 0;
	size_t bytes;
	int err = 0;

	mk_assert(g->worker == l->index);
	atomic_fetch_add(&g->live, 1);         /* it stays until we are done    */
	if (!measure(g, &n, &bytes) ||
	    bytes > j.segments.segment_bytes - MK_SEGMENT_HEAD) {
		err = -MK_EINVAL;
		goto done;
	}
	/* A segment has all that a segment had. What is being moved may exceed
	 * max_bytes a little, for a while: it makes room. */
	if (atomic_load(&l->current->is_suspect) || l->current->bytes - l->current->used < bytes)
		err = next_segment(l, j.segments.max_bytes +
			(int64_t)j.segments.segment_bytes * 2 * j.workers);
	if (err < 0)
		goto done;
	fs = mk_alloc(sizeof(*fs) + n * sizeof(fs->of[0]));
	for (at = MK_SEGMENT_HEAD; at < g->used && i < n; at += (uint32_t)MK_RECORD_BYTES(r->len)) {
		r = (struct mk_record *)(g->base + at);
		if (r->kind != MK_RECORD_STANZA || atomic_load(&r->mark) != MK_MARK_LIVE)
			continue;
		fs->of[i].from = r;
		fs->of[i].to = mk_segment_put(l->current, r->uid, r->time_ms, r->payload, r->from_n,
			r->payload + r->from_n, r->to_n, r->payload + r->from_n + r->to_n,
			r->len - r->from_n - r->to_n);
		atomic_fetch_add(&l->current->live, 1);
		i++;
	}
	fs->n = i;
	atomic_store(&g->forwards, fs);
	for (i = 0; i < fs->n; i++) {
		uint8_t mark = MK_MARK_LIVE;

		/* Retired while we copied it? */
		if (!atomic_compare_exchange_strong(&fs->of[i].from->mark, &mark, MK_MARK_MOVED) &&
		    !atomic_exchange(&fs->of[i].is_retired, true))
			retire_record(fs->of[i].to);
	}
	g->moved_at = next_position(l);
	atomic_store(&g->is_moved, true);
	wake(&j.wants_round);
done:
	let_go(g);
	return err;
}

static void save_suspects(struct log *l)
{
	int err = 0;

	atomic_store(&l->has_suspects, false);
	MK_SEGMENTS_EACH(g, &j.segments) {
		if (err < 0)
			break;
		if (atomic_load(&g->state) != MK_SEGMENT_USED || !atomic_load(&g->is_suspect) ||
		    atomic_load(&g->is_moved) || g->worker != l->index)
			continue;
		err = move(l, g);
		mk_log(NULL, err < 0 ? MK_ERROR : MK_NOTICE, err < 0 ?
		       "stanzas of a journal file that can't be synced could not be copied" :
		       "stanzas of a journal file that can't be synced have been copied",
		       "file=%s/%s reason=%s", j.segments.dir, g->name,
		       err < 0 ? mk_strerror(-err) : "none");
	}
	/* What is damaged has no whole copy: nothing of this worker is promised
	 * any more. */
	if (err == -MK_EINVAL)
		atomic_store(&l->is_lost, true);
	else if (err < 0)
		atomic_store(&l->has_suspects, true);  /* the house comes back  */
	atomic_store(&l->is_stuck, err < 0);
}

/* ---- waiting -------------------------------------------------------------------- */

int64_t mk_journal_synced(enum mk_durability mode)
{
	struct log *l;

	if (!mk_journal_is_open())
		return 0;
	l = self_log();
	return atomic_load_explicit(mode == MK_DURABLE_ASYNC ? &l->written : &l->synced,
	                            memory_order_acquire);
}

static void end_waits(struct log *l)
{
	int64_t synced = atomic_load(&l->synced);

	MK_LIST_EACH(n, &l->waits) {
		struct wait *w = MK_CONTAINER(n, struct wait, node);

		if (w->position > synced)
			continue;
		mk_list_remove(&w->node);
		mk_worker_run(w->task);
		mk_free(l->free_wait);
		l->free_wait = w;
	}
	atomic_store(&l->has_waits, !mk_list_empty(&l->waits));
}

void mk_journal_wait(int64_t position, struct mk_task *t)
{
	struct log *l;
	struct wait *w;

	if (!mk_journal_is_open() || position <= mk_journal_synced(MK_DURABLE_WAL)) {
		mk_worker_run(t);
		return;
	}
	l = self_log();
	w = l->free_wait != NULL ? l->free_wait : mk_alloc(sizeof(*w));
	l->free_wait = NULL;
	w->position = position;
	w->task = t;
	mk_list_push(&l->waits, &w->node);
	atomic_store(&l->has_waits, true);
	/* A round that ended meanwhile may not have seen it, and be the last one. */
	if (atomic_load(&l->synced) >= position)
		end_waits(l);
	else
		wake(&j.wants_round);
}

/* On the worker, when the sync thread has something for it. */
static void on_message(struct mk_msg *m)
{
	struct log *l = MK_CONTAINER(m, struct log, msg);
	struct mk_segment *victim;

	/* First: what is put there after we have looked is posted again. */
	atomic_store(&l->is_posted, false);
	victim = atomic_load(&l->victim);
	if (atomic_load(&l->has_suspects) && !atomic_load(&l->is_lost))
		save_suspects(l);
	if (victim != NULL) {
		int r = atomic_load(&victim->is_suspect) ? 0 : move(l, victim);

		if (r == -MK_EINVAL)
			atomic_store(&victim->is_pinned, true);
		atomic_store(&l->victim, NULL);
		/* There may be another; without room now, in a while. */
		if (r == 0 || r == -MK_EINVAL)
			wake(&j.wants_house);
	}
	end_waits(l);
}

static void post(struct log *l)
{
	pthread_mutex_lock(&j.lock);
	if (!j.is_mute && l->index < mk_worker_count && !atomic_exchange(&l->is_posted, true))
		mk_worker_post(mk_worker(l->index), &l->msg);
	pthread_mutex_unlock(&j.lock);
}

/* ---- a round of syncs ------------------------------------------------------------ */

static void suspect(struct mk_segment *g, int error)
{
	struct log *l = &j.logs[g->worker];

	count_error();
	mk_log(NULL, MK_ERROR, "a journal file can't be synced: its stanzas are copied to another",
	       "file=%s/%s error=%s", j.segments.dir, g->name, strerror(error));
	l->round_ok = false;
	atomic_store(&g->is_suspect, true);
	atomic_store(&l->has_suspects, true);
}

/* Under round. */
static void sync_round(void)
{
	bool ok = true, any_moved = false, any_suspect = false, any_synced = false;
	mk_usec began = mk_now_usec();

	atomic_store(&j.wants_round, false);
	/* Who has something to save, then positions, then what is dirty, then the
	 * news: a position may stand for a record in another worker's log. */
	for (unsigned i = 0; i < j.workers; i++)
		j.logs[i].round_ok = true;
	MK_SEGMENTS_EACH(g, &j.segments) {
		if (atomic_load(&g->state) == MK_SEGMENT_USED && atomic_load(&g->is_suspect) &&
		    !atomic_load(&g->is_moved))
			j.logs[g->worker].round_ok = false;
	}
	for (unsigned i = 0; i < j.workers; i++)
		j.logs[i].round_position =
			atomic_load_explicit(&j.logs[i].written, memory_order_acquire);
	if (atomic_exchange(&j.segments.dir_is_dirty, false) && fsync(j.segments.dir_fd) < 0) {
		mk_log(NULL, MK_ERROR, "the journal's directory can't be synced", "dir=%s error=%s",
		       j.segments.dir, strerror(errno));
		count_error();
		atomic_store(&j.segments.dir_is_dirty, true);
		ok = false;
	}
	MK_SEGMENTS_EACH(g, &j.segments) {
		if (atomic_load(&g->state) != MK_SEGMENT_USED)
			continue;
		any_moved |= atomic_load(&g->is_moved) && !g->is_dropped;
		if (atomic_load(&g->is_suspect) || g->is_dropped ||
		    !atomic_exchange(&g->is_dirty, false))
			continue;
		if (mk_journal_fdatasync(g->fd) < 0) {
			suspect(g, errno);
			any_suspect = true;
		} else {
			any_synced = true;
		}
		atomic_fetch_add(&j.syncs, 1);
		mk_metric_bump(j.metric_syncs, 1);
	}
	for (unsigned i = 0; i < j.workers; i++) {
		struct log *l = &j.logs[i];

		if (ok && l->round_ok)
			atomic_store(&l->synced, l->round_position);
		if (atomic_load(&l->has_waits))
			post(l);
	}
	atomic_store(&j.round_end, mk_now_usec());
	mk_metric_see(j.metric_usec, atomic_load(&j.round_end) - began);
	/* The first failure is acted on at once; a disk that goes on failing gets
	 * time. */
	if (!ok || any_suspect) {
		if (j.backoff > 0)
			atomic_store(&j.retry_at, atomic_load(&j.round_end) + j.backoff);
		j.backoff = j.backoff == 0 ? BACKOFF_FIRST :
		            j.backoff * 2 > BACKOFF_MAX ? BACKOFF_MAX : j.backoff * 2;
		if (!ok)
			atomic_store(&j.wants_round, true);
	} else if (any_synced) {
		j.backoff = 0;
	}
	if (any_moved || any_suspect)
		atomic_store(&j.wants_house, true);
}

/* ---- the house ------------------------------------------------------------------- */

/* Who waits for a spare; NULL = nobody. */
static struct log *needy(void)
{
	for (unsigned i = 0; i < j.workers; i++)
		if (atomic_load(&j.logs[i].has_asked) && atomic_load(&j.logs[i].spare) == NULL)
			return &j.logs[i];
	return NULL;
}

static bool give_spare(struct mk_segment *g, struct log *l)
{
	if (mk_segment_arm(&j.segments, g, l->index) < 0)
		return false;
	atomic_store(&l->is_starved, false);
	atomic_store(&l->spare, g);
	return true;
}

/* Segments that nobody is tied to, and files whose records have been moved. */
static void sweep(void)
{
	MK_SEGMENTS_EACH(g, &j.segments) {
		struct log *l;

		if (atomic_load(&g->state) != MK_SEGMENT_USED)
			continue;
		l = &j.logs[g->worker];
		if (atomic_load(&g->is_moved)) {
			if (g->moved_at <= atomic_load(&l->synced))
				mk_segment_drop(&j.segments, g);
			if (atomic_load(&g->live) == 0)
				mk_segment_free(&j.segments, g);
		} else if (atomic_load(&g->live) == 0 && !atomic_load(&g->is_suspect) &&
		           atomic_load(&l->victim) != g) {
			l = needy();
			if (l == NULL || g->bytes != j.segments.segment_bytes || !give_spare(g, l))
				mk_segment_free(&j.segments, g);
		}
	}
}

/* A step towards a spare for who needs one. true: there is more to do. */
static bool make_spare(void)
{
	struct log *l = needy();
	int r;

	if (j.making == NULL) {
		if (l == NULL || mk_now_usec() < atomic_load(&j.retry_at))
			return false;
		j.making = mk_segment_new(&j.segments, j.segments.max_bytes, &r);
		if (j.making == NULL) {
			if (r == -MK_EIO)
				atomic_store(&j.retry_at, mk_now_usec() + RETRY_USEC);
			return false;
		}
	}
	r = mk_segment_fill(j.making);
	if (r == 0)
		return true;
	if (r < 0) {
		count_error();
		mk_log(NULL, MK_ERROR, "a journal file can't be filled", "file=%s/%s error=%s",
		       j.segments.dir, j.making->name, strerror(errno));
		atomic_store(&j.retry_at, mk_now_usec() + RETRY_USEC);
	}
	if (r < 0 || l == NULL || !give_spare(j.making, l))
		mk_segment_free(&j.segments, j.making);
	j.making = NULL;
	return r > 0 && needy() != NULL;
}

/* The log's segment that moving frees most of, if there is one worth it. */
static struct mk_segment *sparsest(const struct log *l)
{
	struct mk_segment *best = NULL;
	uint64_t best_bytes = mk_segments_has_room(&j.segments) ?
		SPARSE(j.segments.segment_bytes) : CROWDED(j.segments.segment_bytes);

	MK_SEGMENTS_EACH(g, &j.segments) {
		uint64_t bytes;

		if (atomic_load(&g->state) != MK_SEGMENT_USED || atomic_load(&g->is_current) ||
		    atomic_load(&g->is_suspect) || atomic_load(&g->is_moved) ||
		    atomic_load(&g->is_pinned) || g->worker != l->index || g->records == 0)
			continue;
		bytes = (uint64_t)g->used * atomic_load(&g->live) / g->records;
		if (bytes < best_bytes) {
			best = g;
			best_bytes = bytes;
		}
	}
	return best;
}

/* Above half of what is allowed, few stanzas must not hold a whole file; at the
 * end of it, what is live must fill most of it. */
static void choose_victims(void)
{
	if (atomic_load(&j.segments.bytes) <= j.segments.max_bytes / 2 || j.live != NULL)
		return;
	for (unsigned i = 0; i < j.workers; i++) {
		struct log *l = &j.logs[i];
		struct mk_segment *g;

		if (atomic_load(&l->victim) != NULL || (g = sparsest(l)) == NULL)
			continue;
		atomic_store(&l->victim, g);
		post(l);
	}
}

/* Under round. true: call again soon. */
static bool keep_house(void)
{
	bool more;

	atomic_store(&j.wants_house, false);
	sweep();
	more = make_spare();
	choose_victims();
	for (unsigned i = 0; i < j.workers; i++) {
		struct log *l = &j.logs[i];

		atomic_store(&l->is_starved, atomic_load(&l->has_asked) && j.making == NULL &&
			atomic_load(&l->spare) == NULL && !mk_segments_has_room(&j.segments));
		if (atomic_load(&l->has_suspects))
			post(l);
	}
	return more;
}

/* ---- the sync thread ---------------------------------------------------------------- */

static bool has_trouble(void)
{
	for (unsigned i = 0; i < j.workers; i++)
		if (atomic_load(&j.logs[i].has_suspects))
			return true;
	return needy() != NULL;
}

/* Under lock. until 0 = for ever. */
static void sleep_until(mk_usec until)
{
	struct timespec ts = { until / 1000000, until % 1000000 * 1000 };

	if (until == 0)
		pthread_cond_wait(&j.wake, &j.lock);
	else
		pthread_cond_timedwait(&j.wake, &j.lock, &ts);
}

static void *sync_main(void *arg)
{
	mk_usec now, due, house_at = 0;
	bool more = false;

	(void)arg;
	pthread_mutex_lock(&j.lock);
	while (!j.is_stopping) {
		now = mk_now_usec();
		/* The first one after a pause goes at once; while they come thick and
		 * fast, one waits for the company of others. */
		due = atomic_load(&j.round_end) + j.sync_usec;
		if (due < atomic_load(&j.retry_at))
			due = atomic_load(&j.retry_at);
		if (atomic_load(&j.wants_round) && now >= due) {
			pthread_mutex_unlock(&j.lock);
			pthread_mutex_lock(&j.round);
			sync_round();
			pthread_mutex_unlock(&j.round);
			pthread_mutex_lock(&j.lock);
		} else if (atomic_load(&j.wants_house) || more || (house_at != 0 && now >= house_at)) {
			pthread_mutex_unlock(&j.lock);
			pthread_mutex_lock(&j.round);
			more = keep_house();
			house_at = has_trouble() ? mk_now_usec() + RETRY_USEC : 0;
			pthread_mutex_unlock(&j.round);
			pthread_mutex_lock(&j.lock);
		} else {
			mk_usec until = atomic_load(&j.wants_round) ? due : 0;

			if (house_at != 0 && (until == 0 || house_at < until))
				until = house_at;
			sleep_until(until);
		}
	}
	pthread_mutex_unlock(&j.lock);
	return NULL;
}

/* ---- open, replay, close ---------------------------------------------------------- */

static void on_loaded(void *arg, struct mk_segment *g, struct mk_record *r)
{
	struct live *v;

	(void)arg;
	if (j.live_n == j.live_cap) {
		j.live_cap = j.live_cap == 0 ? 1024 : j.live_cap * 2;
		j.live = mk_realloc(j.live, j.live_cap * sizeof(*j.live));
	}
	v = &j.live[j.live_n];
	v->uid = r->uid;
	v->record = r;
	v->segment = g;
	v->place = (unsigned)j.live_n++;
}

/* Whether they are of one stanza to one address. */
static int compare(const struct live *x, const struct live *y)
{
	const struct mk_record *a = x->record, *b = y->record;

	if (x->uid != y->uid)
		return x->uid < y->uid ? -1 : 1;
	if (a->to_n != b->to_n)
		return a->to_n < b->to_n ? -1 : 1;
	return memcmp(a->payload + a->from_n, b->payload + b->from_n, a->to_n);
}

static int by_uid(const void *a, const void *b)
{
	const struct live *x = a, *y = b;
	int r = compare(x, y);

	return r != 0 ? r : x->place < y->place ? -1 : x->place > y->place;
}

/* A stanza may have two records: one that was being moved, and its copy; or one
 * that two workers wrote at once, or edited each for itself. */
static void drop_doubles(void)
{
	size_t n = 0;

	if (j.live_n > 0)
		qsort(j.live, j.live_n, sizeof(*j.live), by_uid);
	for (size_t i = 0; i < j.live_n; i++) {
		if (n > 0 && compare(&j.live[n - 1], &j.live[i]) == 0) {
			retire_record(j.live[n - 1].record);
			n--;
		}
		j.live[n++] = j.live[i];
	}
	j.live_n = n;
}

static void stats_on_read(void *arg)
{
	struct mk_journal_stats st;

	(void)arg;
	if (!mk_journal_is_open())
		return;
	mk_journal_stats(&st);
	mk_metric_set(j.metric_live, (int64_t)st.live);
	mk_metric_set(j.metric_bytes, (int64_t)st.bytes);
}

static void metrics_make(void)
{
	static bool is_made;

	j.metric_syncs = mk_metric_id("meerkat_journal_syncs_total",
		"Times a journal file was synced", MK_COUNTER, NULL);
	j.metric_errors = mk_metric_id("meerkat_journal_errors_total",
		"Failed syncs and damaged records of the journal", MK_COUNTER, NULL);
	j.metric_usec = mk_metric_id("meerkat_journal_sync_usec",
		"Time of a round of syncs, in microseconds", MK_HISTOGRAM, NULL);
	j.metric_live = mk_metric_id("meerkat_journal_live",
		"Stanzas the journal would hand back after a crash", MK_GAUGE, NULL);
	j.metric_bytes = mk_metric_id("meerkat_journal_bytes",
		"Size of all journal files", MK_GAUGE, NULL);
	if (!is_made)
		mk_metric_on_read(stats_on_read, NULL);
	is_made = true;
}

/* Two segments per worker must fit in max_bytes: smaller ones, if need be. */
static int64_t segment_size(const struct mk_journal_conf *c)
{
	int64_t most = c->max_bytes / (2 * (int64_t)c->workers);
	int64_t bytes = c->segment_bytes < most ? c->segment_bytes : most;

	bytes = bytes < MK_SEGMENT_MAX ? bytes : MK_SEGMENT_MAX;
	return bytes & ~(int64_t)(MK_SEGMENT_MIN - 1);
}

static void logs_free(void)
{
	for (unsigned i = 0; i < j.workers; i++) {
		struct log *l = &j.logs[i];
		struct mk_list *n;

		while ((n = mk_list_pop(&l->waits)) != NULL)
			mk_free(MK_CONTAINER(n, struct wait, node));
		mk_free(l->free_wait);
	}
	free(j.logs);
	j.logs = NULL;
	mk_free(j.live);
	j.live = NULL;
	j.live_n = j.live_cap = 0;
}

int mk_journal_open(const struct mk_journal_conf *c, struct mk_diag *d)
{
	pthread_condattr_t attr;
	int64_t bytes = segment_size(c);
	unsigned bad = 0;
	int r;

	mk_assert(!mk_journal_is_open() && c->workers > 0);
	if (bytes < MK_SEGMENT_MIN) {
		mk_diag_add(d, "the journal's size (%lld bytes) must hold two files of %d bytes "
			"for each of %u workers", (long long)c->max_bytes, MK_SEGMENT_MIN, c->workers);
		return -MK_EINVAL;
	}
	memset(&j, 0, sizeof(j));
	r = mk_segments_open(&j.segments, c->dir, (uint32_t)bytes, c->max_bytes, c->workers, d);
	if (r < 0)
		return r;
	j.workers = c->workers;
	j.sync_usec = c->sync_ms * 1000;
	j.logs = aligned_alloc(64, c->workers * sizeof(*j.logs));
	mk_assert(j.logs != NULL);
	memset(j.logs, 0, c->workers * sizeof(*j.logs));
	metrics_make();
	pthread_mutex_init(&j.round, NULL);
	pthread_mutex_init(&j.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j.wake, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < j.workers; i++) {
		j.logs[i].index = i;
		j.logs[i].msg.fn = on_message;
		mk_list_init(&j.logs[i].waits);
	}
	r = mk_segments_load(&j.segments, on_loaded, NULL, &bad, d);
	if (r < 0)
		goto fail;
	for (; bad > 0; bad--)
		count_error();
	/* Somebody must move what old files hold, whoever wrote them. */
	for (size_t i = 0; i < j.live_n; i++)
		j.live[i].segment->worker =
			(unsigned)(j.live[i].segment - j.segments.of) % j.workers;
	drop_doubles();
	for (unsigned i = 0; i < j.workers; i++) {
		r = next_segment(&j.logs[i], INT64_MAX);
		if (r < 0) {
			mk_diag_add(d, "no journal file of %lld bytes can be made in %s",
				(long long)bytes, c->dir);
			goto fail;
		}
	}
	r = mk_thread_start(&j.thread, "journal", sync_main, NULL);
	if (r < 0) {
		mk_diag_add(d, "the journal's thread can't be started");
		goto fail;
	}
	mk_stanza_retire = retire;
	atomic_store(&j.is_open, true);
	return 0;
fail:
	logs_free();
	mk_segments_close(&j.segments);
	return r;
}

/* NULL: it is whole, but not a stanza that we can read. */
static struct mk_stanza *stanza_from(struct mk_record *r)
{
	struct mk_stanza *s = mk_stanza_alloc();
	struct mk_jid *from = NULL, *to = NULL;
	const char *p = r->payload;
	struct mk_str xml = { p + r->from_n + r->to_n, r->len - r->from_n - r->to_n };
	struct mk_elem *root;
	bool ok;

	ok = mk_elem_read(s->arena, xml, &root) == 0 && mk_stanza_adopt(s, root) == 0 &&
	     (r->from_n == 0 || mk_jid_parse((struct mk_str){ p, r->from_n }, &from) == 0) &&
	     (r->to_n == 0 || mk_jid_parse((struct mk_str){ p + r->from_n, r->to_n }, &to) == 0);
	if (!ok) {
		mk_stanza_unref(&s);
	} else {
		if (from != NULL)
			mk_stanza_set_from(s, from);
		if (to != NULL)
			mk_stanza_set_to(s, to);
		s->uid = r->uid;
		s->time_ms = r->time_ms;
		s->flags |= MK_STANZA_REPLAYED;
		s->journal = r;
	}
	mk_jid_unref(&from);
	mk_jid_unref(&to);
	return s;
}

int mk_journal_replay(void (*fn)(void *arg, struct mk_stanza *s), void *arg)
{
	size_t n = j.live_n;

	for (size_t i = 0; i < n; i++) {
		struct mk_stanza *s = stanza_from(j.live[i].record);

		if (s != NULL) {
			fn(arg, s);
			continue;
		}
		count_error();
		mk_log(NULL, MK_ERROR, "a stanza of the journal can't be read: given up",
		       "uid=%lld file=%s/%s", (long long)j.live[i].uid, j.segments.dir,
		       j.live[i].segment->name);
		retire_record(j.live[i].record);
	}
	/* Until now nothing was moved: the list points at records. */
	pthread_mutex_lock(&j.round);
	mk_free(j.live);
	j.live = NULL;
	j.live_n = j.live_cap = 0;
	pthread_mutex_unlock(&j.round);
	return 0;
}

void mk_journal_freeze(void)
{
	if (!mk_journal_is_open())
		return;
	atomic_store(&j.is_frozen, true);
	pthread_mutex_lock(&j.round);
	sync_round();
	pthread_mutex_unlock(&j.round);
	pthread_mutex_lock(&j.lock);
	j.is_mute = true;
	pthread_mutex_unlock(&j.lock);
}

bool mk_journal_is_frozen(void)
{
	return atomic_load(&j.is_frozen);
}

void mk_journal_close(void)
{
	if (!mk_journal_is_open())
		return;
	pthread_mutex_lock(&j.lock);
	j.is_stopping = j.is_mute = true;
	pthread_cond_signal(&j.wake);
	pthread_mutex_unlock(&j.lock);
	pthread_join(j.thread, NULL);

	pthread_mutex_lock(&j.round);
	sync_round();
	for (unsigned i = 0; i < j.workers; i++)
		if (atomic_load(&j.logs[i].has_suspects) && !atomic_load(&j.logs[i].is_lost)) {
			save_suspects(&j.logs[i]);
			sync_round();
		}
	atomic_store(&j.is_open, false);
	/* The marks go with the files; what holds nothing goes as a whole. */
	for (unsigned i = 0; i < j.workers; i++) {
		struct mk_segment *g = j.logs[i].current;

		atomic_store(&g->is_current, false);
		atomic_fetch_sub(&g->live, 1);
	}
	MK_SEGMENTS_EACH(g, &j.segments) {
		uint8_t state = atomic_load(&g->state);

		if (state == MK_SEGMENT_FREE || g->is_dropped)
			continue;
		if (atomic_load(&g->is_moved) ? g->moved_at <= atomic_load(&j.logs[g->worker].synced) :
		    state != MK_SEGMENT_USED || atomic_load(&g->live) == 0)
			mk_segment_drop(&j.segments, g);
		else if (!atomic_load(&g->is_suspect) && mk_journal_fdatasync(g->fd) < 0)
			mk_log(NULL, MK_ERROR, "a journal file can't be synced at the end",
			       "file=%s/%s error=%s", j.segments.dir, g->name, strerror(errno));
	}
	logs_free();
	mk_segments_close(&j.segments);
	pthread_mutex_unlock(&j.round);
	pthread_mutex_destroy(&j.round);
	pthread_mutex_destroy(&j.lock);
	pthread_cond_destroy(&j.wake);
}

bool mk_journal_is_open(void)
{
	return atomic_load_explicit(&j.is_open, memory_order_acquire);
}

bool mk_journal_full(void)
{
	if (!mk_journal_is_open())
		return false;
	if (mk_self != NULL && mk_self->index < j.workers)
		return atomic_load_explicit(&self_log()->is_starved, memory_order_relaxed);
	for (unsigned i = 0; i < j.workers; i++)
		if (atomic_load_explicit(&j.logs[i].is_starved, memory_order_relaxed))
			return true;
	return false;
}

void mk_journal_stats(struct mk_journal_stats *out)
{
	memset(out, 0, sizeof(*out));
	if (!mk_journal_is_open())
		return;
	for (unsigned i = 0; i < j.workers; i++)
		out->records += (uint64_t)atomic_load(&j.logs[i].written);
	MK_SEGMENTS_EACH(g, &j.segments) {
		if (atomic_load(&g->state) == MK_SEGMENT_FREE || atomic_load(&g->is_moved))
			continue;
		out->segments++;
		out->live += atomic_load(&g->live) - atomic_load(&g->is_current);
	}
	out->bytes = (uint64_t)atomic_load(&j.segments.bytes);
	out->syncs = atomic_load(&j.syncs);
	out->errors = atomic_load(&j.errors);
}
