/*
 * store/append.c - write-behind: rows of inline code, written in batches
 *
 * mk_append runs on workers and only copies the row into its backend's list.
 * One thread per backend takes what has gathered while the last batch was
 * committed, and for storage.append_wait from the first row on: rows of the same
 * users share the pages of a database, so that of a batch of thousands each
 * costs a fraction of what it costs alone. Who wants to read what was appended
 * (mk_append_wait) ends the wait. A row holds a reference to its stanza
 * until it is durable, so the stanza's journal record lives as long: a crash
 * replays it, and the same key again is left as it is. A row stays queued, in
 * its order, for as long as the backend fails.
 */
#include "store/inner.h"

#include <time.h>

#include "xml/stanza.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/ban.h"

#define APPEND_BATCH   32000
#define BLOCK_SIZE     (64 << 10)      /* of rows of one thread             */
#define APPEND_BACKOFF_MAX (2 * 1000)  /* ms                                */
#define WAIT_MAX       (10 * 1000)     /* ms, of mk_append_wait             */
#define WAIT_SLICE     100             /* ms, until it looks at the breaker */

/* Rows of one thread, one behind the other; goes when all of them are gone. */
struct block {
	_Atomic uint32_t users;        /* rows, and the thread that fills it    */
	uint32_t size, used;
	_Alignas(16) char data[];
};
static _Thread_local struct block *filling;
static pthread_key_t filling_key;      /* lets it go with its thread            */
static pthread_once_t filling_once = PTHREAD_ONCE_INIT;

struct mk_append_row {
	struct mk_list node;
	struct block *block;
	const struct mk_table *table;
	struct mk_stanza *stanza;      /* ref, or NULL                          */
	struct mk_stanza *ticket;      /* whose ticket this is; kept by stanza  */
	struct mk_value v[];           /* bytes follow                          */
};

static _Atomic int64_t queued;
static int64_t queue_limit = 200000, gather_ms;

void mk_append_open(int64_t limit, int64_t wait_ms)
{
	queue_limit = limit;
	gather_ms = wait_ms;
	atomic_store(&queued, 0);
}

bool mk_append_full(void)
{
	return atomic_load_explicit(&queued, memory_order_relaxed) >= queue_limit;
}

unsigned mk_append_queued(void)
{
	return (unsigned)atomic_load(&queued);
}

static void block_release(void *block)
{
	struct block *b = block;

	if (atomic_fetch_sub_explicit(&b->users, 1, memory_order_acq_rel) == 1)
		mk_free(b);
}

static void filling_init(void)
{
	if (pthread_key_create(&filling_key, block_release) != 0)
		mk_assert_failed("no key of a thread is left", __FILE__, __LINE__);
}

static struct block *block_new(size_t size)
{
	struct block *b = mk_realloc(NULL, sizeof *b + size);

	atomic_init(&b->users, 1);
	b->size = (uint32_t)size;
	b->used = 0;
	return b;
}

/* Rows are made on one thread and freed on another, thousands at a time: by themselves
 * each would take and give back the allocator's locks. */
static struct mk_append_row *row_new(size_t bytes)
{
	struct block *b = filling;
	struct mk_append_row *row;

	bytes = (bytes + 15) & ~(size_t)15;
	if (bytes > BLOCK_SIZE / 4) {
		b = block_new(bytes);
	} else {
		if (b == NULL || b->size - b->used < bytes) {
			pthread_once(&filling_once, filling_init);
			if (b != NULL)
				block_release(b);
			b = filling = block_new(BLOCK_SIZE);
			pthread_setspecific(filling_key, b);
		}
		atomic_fetch_add_explicit(&b->users, 1, memory_order_relaxed);
	}
	row = (struct mk_append_row *)(b->data + b->used);
	b->used += (uint32_t)bytes;
	*row = (struct mk_append_row){ .block = b };
	return row;
}

static struct mk_append_row *row_copy(const struct mk_table_info *info,
	const struct mk_value *v)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < info->columns; i++)
		bytes += mk_value_str(&v[i]).n;
	struct mk_append_row *row =
		row_new(sizeof *row + info->columns * sizeof *v + bytes);
	char *p = (char *)&row->v[info->columns];
	for (uint32_t i = 0; i < info->columns; i++) {
		struct mk_str s = mk_value_str(&v[i]);
		row->v[i] = v[i];
		if (v[i].type != MK_TEXT && v[i].type != MK_BLOB)
			continue;
		if (s.n != 0)
			memcpy(p, s.p, s.n);
		row->v[i].as.b.p = p;
		p += s.n;
	}
	row->table = info->table;
	return row;
}

static void row_free(struct mk_append_row *row)
{
	if (row->ticket != NULL)
		mk_stanza_ticket_done(row->ticket);
	mk_stanza_unref(&row->stanza);
	block_release(row->block);
}

static void deadline(struct timespec *until, int64_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, until);
	until->tv_sec += ms / 1000;
	until->tv_nsec += ms % 1000 * 1000000;
	if (until->tv_nsec >= 1000000000) {
		until->tv_sec++;
		until->tv_nsec -= 1000000000;
	}
}

/* Under the lock: whether the writer need not wait for more. */
static bool is_enough(const struct mk_store_backend *b)
{
	uint64_t waiting = b->append_last - b->append_taken;

	return waiting >= APPEND_BATCH || b->append_wanted > b->append_taken ||
		(int64_t)waiting * 4 >= queue_limit;
}

void mk_append(struct mk_inst *i, const struct mk_ev_stanza *ev,
	const struct mk_table *t, const struct mk_value *v)
{
	const struct mk_table_info *info = mk_table_find(t);

	if (info == NULL || !mk_values_ok(t, v, 0, info->columns)) {
		mk_log(i, MK_ERROR, "append refused", "table=%s reason=%s", t->name,
			info == NULL ? "it was not declared" : "the row is not as declared");
		return;
	}
	struct mk_store_backend *b = info->backend;
	struct mk_append_row *row = row_copy(info, v);
	if (ev != NULL && ev->stanza != NULL) {
		row->stanza = mk_stanza_ref(ev->stanza);
		row->ticket = mk_stanza_ticket(ev->stanza);
	}
	atomic_fetch_add(&queued, 1);
	atomic_fetch_add(&b->append_queued, 1);
	mk_metric_bump(b->metric_queued, 1);
	pthread_mutex_lock(&b->append_lock);
	mk_list_push(&b->append_rows, &row->node);
	b->append_last++;
	if (row->ticket != NULL && row->ticket->is_awaited)
		b->append_wanted = b->append_last;     /* its sender waits for it       */
	if (b->append_waiting && (b->append_idle || is_enough(b))) {
		b->append_waiting = false;
		pthread_cond_signal(&b->append_wake);
	}
	pthread_mutex_unlock(&b->append_lock);
}

uint64_t mk_append_mark(const struct mk_table *t)
{
	const struct mk_table_info *info = mk_table_find(t);
	if (info == NULL)
		return 0;
	return atomic_load_explicit(&info->backend->append_last, memory_order_acquire);
}

static enum mk_store_status backend_wait(struct mk_store_backend *b, uint64_t mark);

enum mk_store_status mk_append_wait(struct mk_store *st, const struct mk_table *t,
	uint64_t mark)
{
	const struct mk_table_info *info = mk_table_find(t);

	MK_CHECK(st, MK_STORE_MAGIC);
	return info != NULL ? backend_wait(info->backend, mark) : MK_STORE_INVALID;
}

enum mk_store_status mk_append_flush(void)
{
	enum mk_store_status worst = MK_STORE_OK;

	for (unsigned k = 0; k < mk_store_backend_count(); k++) {
		struct mk_store_backend *b = mk_store_backend_at(k);
		pthread_mutex_lock(&b->append_lock);
		uint64_t mark = b->append_last;
		pthread_mutex_unlock(&b->append_lock);
		enum mk_store_status s = backend_wait(b, mark);
		if (s != MK_STORE_OK)
			worst = s;
	}
	return worst;
}

static enum mk_store_status backend_wait(struct mk_store_backend *b, uint64_t mark)
{
	mk_usec until = mk_now_usec() + WAIT_MAX * INT64_C(1000);
	struct timespec slice;

	if (atomic_load_explicit(&b->append_durable, memory_order_acquire) >= mark)
		return MK_STORE_OK;
	pthread_mutex_lock(&b->append_lock);
	while (atomic_load(&b->append_durable) < mark) {
		/* Of one that is known to be away nobody waits: its threads are few. */
		if (atomic_load(&b->open_until) != 0 || mk_now_usec() >= until) {
			pthread_mutex_unlock(&b->append_lock);
			return MK_STORE_RETRY;
		}
		if (b->append_wanted < mark)
			b->append_wanted = mark;
		if (b->append_waiting) {
			b->append_waiting = false;
			pthread_cond_signal(&b->append_wake);
		}
		deadline(&slice, WAIT_SLICE);
		pthread_cond_timedwait(&b->append_written, &b->append_lock, &slice);
	}
	pthread_mutex_unlock(&b->append_lock);
	return MK_STORE_OK;
}

/* ---- the writer ----------------------------------------------------------------- */

static enum mk_store_status write_rows(struct mk_store *st, struct mk_store_backend *b,
	struct mk_append_row *const *rows, unsigned n)
{
	struct mk_write *w = mk_alloc(n * sizeof *w);
	mk_usec began;

	for (unsigned i = 0; i < n; i++)
		w[i] = (struct mk_write){ .op = MK_WRITE_PUT, .table = rows[i]->table,
			.row = rows[i]->v, .expect = MK_NEW };
	struct mk_backend_conn *conn = mk_store_enter(st, b, &began);
	enum mk_store_status s = conn == NULL ? MK_STORE_RETRY :
		mk_store_leave(st, b, MK_OP_APPEND, began, b->be->append(conn, w, n));
	mk_store_job_end(st);
	mk_free(w);
	return s;
}

static void rows_done(struct mk_store_backend *b, struct mk_append_row **rows, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		row_free(rows[i]);
	atomic_fetch_sub(&queued, n);
	atomic_fetch_sub(&b->append_queued, n);
	mk_metric_bump(b->metric_queued, -(int64_t)n);
	pthread_mutex_lock(&b->append_lock);
	atomic_fetch_add(&b->append_durable, n);
	pthread_cond_broadcast(&b->append_written);
	pthread_mutex_unlock(&b->append_lock);
}

/*
 * True: the rows are durable (or, one by one, given up as impossible: a row
 * that no attempt can write must not stop those behind it).
 */
static bool batch_write(struct mk_store *st, struct mk_store_backend *b,
	struct mk_append_row **rows, unsigned n)
{
	enum mk_store_status s = write_rows(st, b, rows, n);

	if (s == MK_STORE_OK)
		return true;
	if (s == MK_STORE_RETRY || s == MK_STORE_UNCERTAIN)
		return false;
	for (unsigned i = 0; i < n; i++) {
		s = write_rows(st, b, &rows[i], 1);
		if (s == MK_STORE_RETRY || s == MK_STORE_UNCERTAIN)
			return false;      /* all again: the same key twice is once  */
		if (s != MK_STORE_OK)
			mk_log(b->inst, MK_ERROR, "backend refuses an appended row: dropped",
				"backend=%s table=%s status=%d", b->name, rows[i]->table->name, (int)s);
	}
	return true;
}

/* Waits for rows or for the end; how many were taken. taken: what was taken out of
 * the queue before, all at once, as its lock is the workers'. */
static unsigned rows_take(struct mk_store_backend *b, struct mk_list *taken,
	struct mk_append_row **rows, bool *stop_out)
{
	unsigned n = 0;
	struct timespec until;
	int r = 0;

	pthread_mutex_lock(&b->append_lock);
	while (mk_list_empty(taken) && mk_list_empty(&b->append_rows) && !b->append_stop) {
		b->append_waiting = b->append_idle = true;
		pthread_cond_wait(&b->append_wake, &b->append_lock);
	}
	b->append_idle = false;
	deadline(&until, gather_ms);
	while (r == 0 && gather_ms > 0 && mk_list_empty(taken) && !is_enough(b) &&
	       !b->append_stop) {
		b->append_waiting = true;
		r = pthread_cond_timedwait(&b->append_wake, &b->append_lock, &until);
	}
	b->append_waiting = false;
	if (mk_list_empty(taken) && !mk_list_empty(&b->append_rows)) {
		mk_list_move(taken, &b->append_rows);
		b->append_taken = b->append_last;
	}
	*stop_out = b->append_stop;
	pthread_mutex_unlock(&b->append_lock);
	while (n < APPEND_BATCH) {
		struct mk_list *node = mk_list_pop(taken);
		if (node == NULL)
			break;
		rows[n++] = MK_CONTAINER(node, struct mk_append_row, node);
	}
	return n;
}

/* True: it is time to stop. */
static bool wait_ms(struct mk_store_backend *b, int64_t ms)
{
	struct timespec until;

	deadline(&until, ms);
	pthread_mutex_lock(&b->append_lock);
	while (!b->append_stop &&
	       pthread_cond_timedwait(&b->append_wake, &b->append_lock, &until) == 0)
		;
	bool stop = b->append_stop;
	pthread_mutex_unlock(&b->append_lock);
	return stop;
}

static void *writer(void *arg)
{
	struct mk_store_backend *b = arg;
	struct mk_store *st = mk_store_new();
	struct mk_append_row **rows = mk_alloc(APPEND_BATCH * sizeof *rows);
	struct mk_list taken;
	bool stop = false, gave_up = false;
	unsigned n, lost = 0;

	mk_list_init(&taken);
	while ((n = rows_take(b, &taken, rows, &stop)) > 0 || !stop) {
		int64_t delay = 50;
		while (n > 0 && !gave_up && !batch_write(st, b, rows, n)) {
			gave_up = stop;
			if (!stop)
				stop = wait_ms(b, delay);
			delay = delay * 2 > APPEND_BACKOFF_MAX ? APPEND_BACKOFF_MAX : delay * 2;
		}
		lost += gave_up ? n : 0;
		rows_done(b, rows, n);
	}
	if (lost > 0)
		mk_log(b->inst, MK_WARN, "backend was away at the end: rows are left to the journal",
			"backend=%s rows=%u", b->name, lost);
	mk_free(rows);
	mk_store_free(&st);
	mk_arena_thread_end();
	return NULL;
}

int mk_append_start(struct mk_store_backend *b)
{
	pthread_condattr_t attr;

	mk_list_init(&b->append_rows);
	pthread_mutex_init(&b->append_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->append_wake, &attr);
	pthread_cond_init(&b->append_written, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&b->append_thread, NULL, writer, b) != 0)
		return -MK_EIO;
	b->append_started = true;
	return 0;
}

void mk_append_stop(struct mk_store_backend *b)
{
	if (!b->append_started)
		return;
	pthread_mutex_lock(&b->append_lock);
	b->append_stop = true;
	pthread_cond_signal(&b->append_wake);
	pthread_mutex_unlock(&b->append_lock);
	pthread_join(b->append_thread, NULL);
	pthread_mutex_destroy(&b->append_lock);
	pthread_cond_destroy(&b->append_wake);
	pthread_cond_destroy(&b->append_written);
	b->append_started = false;
}
