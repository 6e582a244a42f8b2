/*
 * store/segment.c - the journal's files: format, making, reading, removing
 *
 * A slot is taken under the lock; after that a segment is its maker's until its
 * state is SPARE or USED. Records are put by one thread, the segment's worker.
 */
#include "store/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <meerkat/conf.h>
#include "base/assert.h"
#include "base/log.h"
#include "store/crc32c.h"
#include "base/ban.h"

#define MAGIC UINT64_C(0x004c4e524a4b4d01)      /* "\1MKJRNL\0"             */
#define VERSION 1u
#define FILL_BYTES (1u << 20)          /* written in one go                 */
#define SLOTS_PER_FILE 32

struct head {
	_Atomic uint64_t magic;        /* 0: made, but never written            */
	uint32_t version, worker;
	uint64_t seq;
	int64_t bytes, created_ms;
	uint32_t seed;
	uint32_t crc;                  /* of the fields from version to seed    */
};
_Static_assert(sizeof(struct head) <= MK_SEGMENT_HEAD, "head fits");
_Static_assert(sizeof(struct mk_record) == 32, "no holes in a record");
#define KIND_AT offsetof(struct mk_record, kind)

int (*mk_journal_fdatasync)(int fd) = fdatasync;

static uint32_t head_crc(const struct head *h)
{
	const size_t from = offsetof(struct head, version);

	return mk_crc32c(0, (const char *)h + from, offsetof(struct head, crc) - from);
}

static uint32_t record_crc(const struct mk_record *r, uint32_t len, uint32_t seed)
{
	return mk_crc32c(mk_crc32c(seed, &len, sizeof(len)), (const char *)r + KIND_AT,
	                 sizeof(*r) - KIND_AT + len);
}

/* ---- records --------------------------------------------------------------- */

struct mk_record *mk_segment_at(const char *base, uint32_t at, uint32_t end, uint32_t seed,
	bool *is_end_out)
{
	struct mk_record *r;
	uint32_t len;

	*is_end_out = true;
	if (end < at || end - at < sizeof(*r))
		return NULL;
	r = (struct mk_record *)(base + at);
	len = atomic_load_explicit(&r->len, memory_order_acquire);
	if (len == 0)
		return NULL;
	*is_end_out = false;
	if (len > end - at - sizeof(*r) || (uint32_t)r->from_n + r->to_n > len ||
	    record_crc(r, len, seed) != r->crc)
		return NULL;
	return r;
}

struct mk_record *mk_segment_put(struct mk_segment *g, int64_t uid, int64_t time_ms,
	const char *from, uint16_t from_n, const char *to, uint16_t to_n,
	const char *xml, uint32_t xml_n)
{
	struct mk_record *r = (struct mk_record *)(g->base + g->used);
	uint32_t len = (uint32_t)from_n + to_n + xml_n;
	uint32_t bytes = (uint32_t)MK_RECORD_BYTES(len);

	atomic_store_explicit(&r->mark, MK_MARK_LIVE, memory_order_relaxed);
	r->kind = MK_RECORD_STANZA;
	r->from_n = from_n;
	r->to_n = to_n;
	r->zero = 0;
	r->uid = uid;
	r->time_ms = time_ms;
	if (from_n > 0)
		memcpy(r->payload, from, from_n);
	if (to_n > 0)
		memcpy(r->payload + from_n, to, to_n);
	memcpy(r->payload + from_n + to_n, xml, xml_n);
	r->crc = record_crc(r, len, g->seed);
	g->used += bytes;
	g->records++;
	if (g->bytes - g->used >= sizeof(*r)) {
		struct mk_record *next = (struct mk_record *)(g->base + g->used);

		atomic_store_explicit(&next->len, 0, memory_order_relaxed);
	}
	/* Last, so that the death of the process leaves it whole or not there. */
	atomic_store_explicit(&r->len, len, memory_order_release);
	return r;
}

/* ---- making and removing ---------------------------------------------------- */

static void name_make(struct mk_segment *g, unsigned worker, uint64_t seq)
{
	snprintf(g->name, sizeof(g->name), "w%u-%012llu.mkj", worker, (unsigned long long)seq);
}

/* "w<worker>-<seq>.mkj" */
static bool name_parse(const char *name, uint64_t *seq_out)
{
	char *end;

	if (name[0] != 'w' || name[1] < '0' || name[1] > '9')
		return false;
	strtoul(name + 1, &end, 10);
	if (end[0] != '-' || end[1] < '0' || end[1] > '9')
		return false;
	*seq_out = strtoull(end + 1, &end, 10);
	return mk_streq(end, ".mkj") && strlen(name) < sizeof(((struct mk_segment *)0)->name);
}

static uint64_t next_seq(struct mk_segments *s)
{
	return atomic_fetch_add(&s->seq, 1) + 1;
}

static struct mk_segment *slot_take(struct mk_segments *s, uint32_t bytes, int64_t limit)
{
	struct mk_segment *g = NULL;

	pthread_mutex_lock(&s->lock);
	if (atomic_load(&s->bytes) + bytes <= limit) {
		unsigned i = 0;

		while (i < s->slots && atomic_load(&s->of[i].state) != MK_SEGMENT_FREE)
			i++;
		if (i < s->slots) {
			g = &s->of[i];
			g->base = s->area + ((size_t)i << s->shift);
			g->fd = -1;
			if (i >= atomic_load(&s->top))
				atomic_store(&s->top, i + 1);
			atomic_fetch_add(&s->taken, 1);
			g->bytes = bytes;
			atomic_fetch_add(&s->bytes, bytes);
			atomic_store(&g->state, MK_SEGMENT_MAKING);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return g;
}

static void *slot_map(struct mk_segment *g, size_t bytes, int prot, int flags)
{
	return mmap(g->base, bytes, prot, MAP_FIXED | flags,
	            (flags & MAP_ANONYMOUS) ? -1 : g->fd, 0);
}

void mk_segment_drop(struct mk_segments *s, struct mk_segment *g)
{
	if (g->is_dropped)
		return;
	if (g->name[0] != '\0' && unlinkat(s->dir_fd, g->name, 0) < 0 && errno != ENOENT)
		mk_log(NULL, MK_WARN, "a journal file can't be removed", "file=%s/%s error=%s",
		       s->dir, g->name, strerror(errno));
	/* Whoever retires a record of it may still set its mark: in memory of no
	 * file. That replaces the mapping in one step; if it can't be done, the
	 * file's blocks stay until the slot is free. */
	(void)slot_map(g, g->bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
	atomic_fetch_sub(&s->bytes, g->bytes);
	g->is_dropped = true;
}

void mk_segment_free(struct mk_segments *s, struct mk_segment *g)
{
	mk_segment_drop(s, g);
	mmap(g->base, (size_t)1 << s->shift, PROT_NONE,
	     MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	mk_free(atomic_load(&g->forwards));
	atomic_store(&g->forwards, NULL);
	atomic_store(&g->is_current, false);
	atomic_store(&g->is_dirty, false);
	atomic_store(&g->is_suspect, false);
	atomic_store(&g->is_pinned, false);
	atomic_store(&g->is_moved, false);
	g->is_dropped = false;
	g->filled = 0;
	g->name[0] = '\0';
	atomic_store(&g->state, MK_SEGMENT_FREE);
	atomic_fetch_sub(&s->taken, 1);
}

struct mk_segment *mk_segment_new(struct mk_segments *s, int64_t limit, int *err_out)
{
	struct mk_segment *g = slot_take(s, s->segment_bytes, limit);
	int r;

	if (g == NULL) {
		*err_out = -MK_ELIMIT;
		return NULL;
	}
	name_make(g, 0, next_seq(s));
	g->fd = openat(s->dir_fd, g->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (g->fd < 0) {
		g->name[0] = '\0';
		goto fail;
	}
	/* The blocks are there from now on: a store into the mapping can't meet
	 * a full disk. */
	r = posix_fallocate(g->fd, 0, g->bytes);
	if (r == EOPNOTSUPP || r == EINVAL) {
		r = ftruncate(g->fd, g->bytes) < 0 ? errno : 0;
		while (r == 0 && (r = mk_segment_fill(g)) == 0)
			;
		r = r == 1 ? 0 : r < 0 ? EIO : r;
	}
	if (r != 0) {
		errno = r;
		goto fail;
	}
	if (slot_map(g, g->bytes, PROT_READ | PROT_WRITE, MAP_SHARED) == MAP_FAILED)
		goto fail;
	atomic_store(&s->dir_is_dirty, true);
	return g;
fail:
	mk_log(NULL, MK_ERROR, "a journal file can't be made", "dir=%s bytes=%u error=%s",
	       s->dir, g->bytes, strerror(errno));
	mk_segment_free(s, g);
	*err_out = -MK_EIO;
	return NULL;
}

int mk_segment_fill(struct mk_segment *g)
{
	static const char zeros[64 * 1024];
	uint32_t end = g->bytes - g->filled > FILL_BYTES ? g->filled + FILL_BYTES : g->bytes;
	ssize_t r;

	while (g->filled < end) {
		size_t n = end - g->filled;

		r = pwrite(g->fd, zeros, n < sizeof(zeros) ? n : sizeof(zeros), g->filled);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -MK_EIO;
		g->filled += (uint32_t)r;
	}
	if (mk_journal_fdatasync(g->fd) < 0)
		return -MK_EIO;
	return g->filled == g->bytes;
}

int mk_segment_arm(struct mk_segments *s, struct mk_segment *g, unsigned worker)
{
	struct head *h = (struct head *)g->base;
	char old[sizeof(g->name)];
	uint64_t seq = next_seq(s);

	memcpy(old, g->name, sizeof(old));
	name_make(g, worker, seq);
	if (renameat(s->dir_fd, old, s->dir_fd, g->name) < 0) {
		mk_log(NULL, MK_ERROR, "a journal file can't be renamed",
		       "dir=%s from=%s to=%s error=%s", s->dir, old, g->name, strerror(errno));
		memcpy(g->name, old, sizeof(old));
		return -MK_EIO;
	}
	atomic_store(&s->dir_is_dirty, true);
	/* Without magic, then without records, then whole. */
	atomic_store(&h->magic, 0);
	atomic_store(&((struct mk_record *)(g->base + MK_SEGMENT_HEAD))->len, 0);
	h->version = VERSION;
	h->worker = worker;
	h->seq = seq;
	h->bytes = g->bytes;
	h->created_ms = mk_wall_ms();
	mk_random(&h->seed, sizeof(h->seed));
	h->crc = head_crc(h);
	atomic_store(&h->magic, MAGIC);

	g->seed = h->seed;
	g->worker = worker;
	g->used = MK_SEGMENT_HEAD;
	g->records = 0;
	atomic_store(&g->live, 0);
	atomic_store(&g->is_dirty, true);
	atomic_store(&g->state, MK_SEGMENT_SPARE);
	return 0;
}

/* ---- opening ------------------------------------------------------------------- */

/* How many files there are, the size of the largest, the newest number. */
static int survey(struct mk_segments *s, unsigned *files_out, int64_t *largest_out)
{
	DIR *d = fdopendir(dup(s->dir_fd));
	struct dirent *e;
	struct stat st;
	uint64_t seq;

	*files_out = 0;
	*largest_out = 0;
	if (d == NULL)
		return -MK_EIO;
	rewinddir(d);
	while ((e = readdir(d)) != NULL) {
		if (!name_parse(e->d_name, &seq) || fstatat(s->dir_fd, e->d_name, &st, 0) < 0)
			continue;
		++*files_out;
		if (st.st_size > *largest_out)
			*largest_out = st.st_size;
		if (seq > atomic_load(&s->seq))
			atomic_store(&s->seq, seq);
	}
	closedir(d);
	return 0;
}

int mk_segments_open(struct mk_segments *s, const char *dir, uint32_t segment_bytes,
	int64_t max_bytes, unsigned workers, struct mk_diag *d)
{
	int64_t largest, size;
	unsigned files;
	int r = -MK_EIO;

	memset(s, 0, sizeof(*s));
	s->dir_fd = -1;
	s->dir = mk_strdup(dir);
	s->segment_bytes = segment_bytes;
	s->max_bytes = max_bytes;
	pthread_mutex_init(&s->lock, NULL);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		mk_diag_add(d, "journal directory %s can't be made: %s", dir, strerror(errno));
		goto fail;
	}
	s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0) {
		mk_diag_add(d, "journal directory %s can't be opened: %s", dir, strerror(errno));
		goto fail;
	}
	if (flock(s->dir_fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -MK_ECONFLICT : -MK_EIO;
		mk_diag_add(d, "journal directory %s can't be locked: %s", dir,
			errno == EWOULDBLOCK ? "another process is using it" : strerror(errno));
		goto fail;
	}
	if (survey(s, &files, &largest) < 0 || largest > MK_SEGMENT_MAX) {
		mk_diag_add(d, "journal directory %s can't be read, or holds a file of %lld bytes",
			dir, (long long)largest);
		goto fail;
	}
	size = largest > segment_bytes ? largest : segment_bytes;
	for (s->shift = 12; INT64_C(1) << s->shift < size; s->shift++)
		;
	/* Slots whose file is gone may still have stanzas tied to them, hence
	 * many more than files can be: addresses cost nothing. */
	s->slots = (unsigned)(max_bytes / segment_bytes) * SLOTS_PER_FILE + workers * 4 + files;
	do {
		s->area = mmap(NULL, (size_t)s->slots << s->shift, PROT_NONE,
		               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	} while (s->area == MAP_FAILED && (s->slots /= 2) > workers * 4 + files);
	if (s->area == MAP_FAILED) {
		mk_diag_add(d, "no address space for the journal: %s", strerror(errno));
		goto fail;
	}
	s->of = mk_alloc(s->slots * sizeof(*s->of));
	return 0;
fail:
	s->area = NULL;
	mk_segments_close(s);
	return r;
}

void mk_segments_close(struct mk_segments *s)
{
	for (unsigned i = 0; s->of != NULL && i < atomic_load(&s->top); i++) {
		if (s->of[i].fd >= 0)
			close(s->of[i].fd);
		mk_free(atomic_load(&s->of[i].forwards));
	}
	if (s->area != NULL)
		munmap(s->area, (size_t)s->slots << s->shift);
	if (s->dir_fd >= 0)
		close(s->dir_fd);              /* and unlocks it                */
	mk_free(s->of);
	mk_free(s->dir);
	pthread_mutex_destroy(&s->lock);
	memset(s, 0, sizeof(*s));
	s->dir_fd = -1;
}

/* ---- reading -------------------------------------------------------------------- */

/* By read(), not through the mapping: a sector that can't be read is an error
 * here, and the end of the process there. */
static int file_read(int fd, char *p, uint32_t n)
{
	uint32_t at = 0;
	ssize_t r;

	while (at < n) {
		r = pread(fd, p + at, n - at, at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -MK_EIO;
		at += (uint32_t)r;
	}
	return 0;
}

/* What a file's first bytes say. */
enum { HEAD_EMPTY, HEAD_BAD, HEAD_NEWER, HEAD_GOOD };
static int head_check(const struct head *h, uint32_t bytes)
{
	if (bytes < MK_SEGMENT_HEAD || atomic_load(&h->magic) == 0)
		return HEAD_EMPTY;
	if (atomic_load(&h->magic) != MAGIC || head_crc(h) != h->crc)
		return HEAD_BAD;
	return h->version == VERSION ? HEAD_GOOD : HEAD_NEWER;
}

/* A file that can't be read as what it is stays for a person to look at. */
static void set_aside(struct mk_segments *s, const char *name)
{
	char bad[64];

	snprintf(bad, sizeof(bad), "%.47s.bad", name);
	renameat(s->dir_fd, name, s->dir_fd, bad);
	mk_log(NULL, MK_ERROR, "a journal file has no valid head: set aside",
	       "file=%s/%s", s->dir, bad);
}

static bool is_live(const struct mk_record *r)
{
	return r->kind == MK_RECORD_STANZA &&
	       atomic_load_explicit(&r->mark, memory_order_relaxed) != MK_MARK_RETIRED;
}

static int load_file(struct mk_segments *s, const char *name, char **buf, uint32_t *buf_n,
	void (*fn)(void *arg, struct mk_segment *g, struct mk_record *r), void *arg,
	unsigned *bad, struct mk_diag *d)
{
	struct mk_segment *g;
	struct mk_record *r;
	struct stat st;
	uint32_t bytes, seed, end, at, live = 0, records = 0, strange = 0;
	int fd, head, result = -MK_EIO;
	bool is_end;

	fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > (off_t)1 << s->shift)
		goto unreadable;
	bytes = (uint32_t)st.st_size;
	if (bytes > *buf_n) {
		*buf = mk_realloc(*buf, bytes);
		*buf_n = bytes;
	}
	if (bytes > 0 && file_read(fd, *buf, bytes) < 0)
		goto unreadable;
	head = head_check((struct head *)*buf, bytes);
	if (head == HEAD_NEWER) {
		mk_diag_add(d, "journal file %s/%s is of another version of meerkat", s->dir, name);
		result = -MK_EVERSION;
		goto done;
	}
	if (head == HEAD_BAD) {
		set_aside(s, name);
		++*bad;
		result = 0;
		goto done;
	}
	seed = head == HEAD_GOOD ? ((struct head *)*buf)->seed : 0;
	end = head == HEAD_GOOD ? bytes : 0;
	for (at = MK_SEGMENT_HEAD;
	     (r = mk_segment_at(*buf, at, end, seed, &is_end)) != NULL;
	     at += (uint32_t)MK_RECORD_BYTES(r->len)) {
		records++;
		live += is_live(r);
		strange += r->kind != MK_RECORD_STANZA;
	}
	if (!is_end || strange > 0) {
		mk_log(NULL, MK_WARN, "a journal file ends with a record that is not whole",
		       "file=%s/%s offset=%u records=%u unknown=%u", s->dir, name, at, records,
		       strange);
		++*bad;
	}
	result = 0;
	if (live == 0) {
		unlinkat(s->dir_fd, name, 0);
		goto done;
	}
	g = slot_take(s, bytes, INT64_MAX);
	mk_assert(g != NULL);                  /* each file has been counted    */
	g->fd = fd;
	fd = -1;
	memcpy(g->name, name, strlen(name) + 1);       /* name_parse: it fits   */
	if (slot_map(g, bytes, PROT_READ | PROT_WRITE, MAP_SHARED) == MAP_FAILED) {
		mk_diag_add(d, "journal file %s/%s can't be mapped: %s", s->dir, name,
			strerror(errno));
		return -MK_EIO;
	}
	g->seed = seed;
	g->used = at;
	g->records = records;
	atomic_store(&g->live, live);
	atomic_store(&g->state, MK_SEGMENT_USED);
	end = at;
	for (at = MK_SEGMENT_HEAD; at < end; at += (uint32_t)MK_RECORD_BYTES(r->len)) {
		r = (struct mk_record *)(*buf + at);
		if (is_live(r))
			fn(arg, g, (struct mk_record *)(g->base + at));
	}
	return 0;
unreadable:
	mk_diag_add(d, "journal file %s/%s can't be read: %s", s->dir, name, strerror(errno));
done:
	if (fd >= 0)
		close(fd);
	return result;
}

int mk_segments_load(struct mk_segments *s,
	void (*fn)(void *arg, struct mk_segment *g, struct mk_record *r), void *arg,
	unsigned *bad_out, struct mk_diag *d)
{
	struct dirent **list = NULL;
	unsigned bad = 0;
	char *buf = NULL;
	uint32_t buf_n = 0;
	uint64_t seq;
	int n, r = 0;

	n = scandirat(s->dir_fd, ".", &list, NULL, alphasort);
	if (n < 0) {
		mk_diag_add(d, "journal directory %s can't be read: %s", s->dir, strerror(errno));
		return -MK_EIO;
	}
	for (int i = 0; i < n; i++) {
		if (r == 0 && name_parse(list[i]->d_name, &seq))
			r = load_file(s, list[i]->d_name, &buf, &buf_n, fn, arg, &bad, d);
		free(list[i]);
	}
	free(list);
	mk_free(buf);
	if (r == 0)
		*bad_out = bad;
	return r;
}
