/*
 * net/conn.c - one socket on a worker: reading, writing, TLS, moving
 *
 * Everything here runs on the connection's worker. The struct is its owner's;
 * ours are the output blocks (a cache per thread), the TLS session and, during
 * a move, a struct mk_conn_trip. Callbacks may close, pause or move the
 * connection: all of these take effect at the end of the turn, in one place
 * (at_turn_end), so the struct is alive until the code that called back has
 * returned.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "net/conn.h"
#include "tls/tls.h"
#include "base/ban.h"

enum {
	STARTED   = 1 << 0,
	PAUSED    = 1 << 1,            /* the owner wants no data               */
	SHAPED    = 1 << 2,            /* no reading until resume_ms            */
	STALLED   = 1 << 3,            /* waits to write, until stall_ms        */
	HANDSHAKE = 1 << 4,            /* TLS isn't up yet                      */
	ENDED     = 1 << 5,            /* the peer has sent its last byte       */
	BROKEN    = 1 << 6,            /* neither reading nor writing           */
	REPORT    = 1 << 7,            /* closed() is due, with why             */
	REPORTED  = 1 << 8,
	KEPT      = 1 << 9,            /* input waits in memory                 */
	MOVING    = 1 << 10,
	CLOSING   = 1 << 11,           /* done() is due                         */
	BYE_SENT  = 1 << 12,
	DRAINING  = 1 << 13,           /* all sent; waits for the peer's end    */
	LINGERS   = 1 << 14,           /* may wait until stall_ms to close      */
};

/* ---- blocks of output ------------------------------------------------------ */

enum { SMALL, BIG, FOREIGN };          /* FOREIGN: the bytes are shared     */

struct mk_out_block {
	struct mk_out_block *next;
	const char *p;                 /* first byte not written yet            */
	struct mk_shared *shared;
	uint32_t n;                    /* bytes from p                          */
	uint32_t room;                 /* behind them                           */
	int kind;
	char bytes[];
};
#define SMALL_BYTES 4096
#define BIG_BYTES 16384
/* Up to this many bytes a copy is cheaper than a block and a counter. */
#define COPY_BELOW 1024
#define TLS_RECORD 16384

struct block_cache {
	struct mk_out_block *free[2];
	unsigned count[2];
	char *record;                  /* TLS_RECORD bytes, to join blocks in   */
};
static const unsigned cache_max[2] = { 64, 16 };
static const uint32_t block_bytes[2] = { SMALL_BYTES, BIG_BYTES };
static _Thread_local struct block_cache *cache;
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void cache_end(void *p)
{
	struct block_cache *b = p;

	for (int kind = SMALL; kind <= BIG; kind++)
		while (b->free[kind] != NULL) {
			struct mk_out_block *next = b->free[kind]->next;
			free(b->free[kind]);
			b->free[kind] = next;
		}
	free(b->record);
	mk_free(b);
	cache = NULL;
}

static void cache_init(void)
{
	int r = pthread_key_create(&cache_key, cache_end);

	mk_assert(r == 0);
}

/* The thread's; given back by itself when the thread ends. */
static struct block_cache *block_cache(void)
{
	if (cache == NULL) {
		pthread_once(&cache_once, cache_init);
		cache = mk_alloc(sizeof *cache);
		pthread_setspecific(cache_key, cache);
	}
	return cache;
}

/* malloc, as zeroing 16 KB that are about to be filled costs more than the
 * rest of a write. */
static void *raw_alloc(size_t n)
{
	void *p = malloc(n);

	mk_assert(p != NULL);
	return p;
}

static struct mk_out_block *block_new(int kind)
{
	struct block_cache *b = block_cache();
	struct mk_out_block *o;

	if (kind == FOREIGN) {
		o = raw_alloc(sizeof *o);
		o->room = 0;
	} else if (b->free[kind] != NULL) {
		o = b->free[kind];
		b->free[kind] = o->next;
		b->count[kind]--;
	} else {
		o = raw_alloc(block_bytes[kind]);
	}
	if (kind != FOREIGN)
		o->room = block_bytes[kind] - sizeof *o;
	o->kind = kind;
	o->next = NULL;
	o->p = o->bytes;
	o->n = 0;
	o->shared = NULL;
	return o;
}

static void block_free(struct mk_out_block *o)
{
	struct block_cache *b = block_cache();

	if (o->kind == FOREIGN)
		mk_shared_unref(&o->shared);
	if (o->kind == FOREIGN || b->count[o->kind] >= cache_max[o->kind]) {
		free(o);
		return;
	}
	o->next = b->free[o->kind];
	b->free[o->kind] = o;
	b->count[o->kind]++;
}

static void out_push(struct mk_conn *c, struct mk_out_block *o)
{
	if (c->out_tail != NULL)
		c->out_tail->next = o;
	else
		c->out_head = o;
	c->out_tail = o;
}

static void out_copy(struct mk_conn *c, const char *p, size_t n)
{
	c->out_bytes += n;
	while (n > 0) {
		struct mk_out_block *o = c->out_tail;
		size_t part;

		if (o == NULL || o->room == 0) {
			bool is_big = o != NULL || n > SMALL_BYTES - sizeof *o;
			o = block_new(is_big ? BIG : SMALL);
			out_push(c, o);
		}
		part = n < o->room ? n : o->room;
		memcpy((char *)o->p + o->n, p, part);
		o->n += part;
		o->room -= part;
		p += part;
		n -= part;
	}
}

static void out_consume(struct mk_conn *c, size_t n)
{
	c->out_bytes -= n;
	while (n > 0) {
		struct mk_out_block *o = c->out_head;

		if (n < o->n) {
			o->p += n;
			o->n -= n;
			return;
		}
		n -= o->n;
		c->out_head = o->next;
		if (c->out_head == NULL)
			c->out_tail = NULL;
		block_free(o);
	}
}

static void out_drop(struct mk_conn *c)
{
	while (c->out_head != NULL) {
		struct mk_out_block *next = c->out_head->next;
		block_free(c->out_head);
		c->out_head = next;
	}
	c->out_tail = NULL;
	c->out_bytes = 0;
}

/* ---- state ----------------------------------------------------------------- */

struct mk_conn_trip {
	struct mk_msg msg;
	struct mk_conn *c;
	struct mk_worker *to;
	void (*fn)(struct mk_conn *c);
	size_t unread_n;
	char unread[];
};

static _Atomic int64_t write_timeout_ms = 60000;
static _Atomic int64_t turn_bytes = MK_READ_BUF;

void mk_net_limits(int64_t timeout_ms, int64_t bytes)
{
	atomic_store_explicit(&turn_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&write_timeout_ms, timeout_ms, memory_order_relaxed);
}

static uint32_t now_ms(const struct mk_conn *c)
{
	return (uint32_t)(c->worker->now / 1000);
}
/* How long until a wrapping deadline; <= 0 = reached. */
static int32_t until_ms(const struct mk_conn *c, uint32_t deadline)
{
	return (int32_t)(deadline - now_ms(c));
}

static bool flags_want_input(unsigned flags)
{
	if (flags & CLOSING)
		return (flags & (DRAINING | BROKEN)) == DRAINING;
	/* A handshake that can't write would find the same input again. */
	if ((flags & (HANDSHAKE | STALLED)) == (HANDSHAKE | STALLED))
		return false;
	return (flags & (STARTED | PAUSED | SHAPED | ENDED | BROKEN | MOVING)) == STARTED;
}

static bool wants_input(const struct mk_conn *c)
{
	return flags_want_input(c->flags);
}

/* The owner takes data from memory now. SHAPED isn't asked: it is paid for. */
static bool takes_data(const struct mk_conn *c)
{
	return (c->flags & (STARTED | PAUSED | BROKEN | MOVING | CLOSING | HANDSHAKE)) == STARTED;
}

static void on_timer(struct mk_wtimer *t);

static void start_timer(struct mk_conn *c)
{
	int32_t wait = INT32_MAX;

	if (c->flags & SHAPED)
		wait = until_ms(c, c->resume_ms);
	if (c->flags & (STALLED | LINGERS) && until_ms(c, c->stall_ms) < wait)
		wait = until_ms(c, c->stall_ms);
	if (wait == INT32_MAX)
		mk_wtimer_stop(&c->timer);
	else
		mk_wtimer_start(&c->timer, wait > 0 ? wait : 0, on_timer);
}

/* A pause alone takes no event away: most end before more input comes, and
 * each change is a system call. If input does come (fired), it does. */
static bool watches_input(const struct mk_conn *c, bool fired)
{
	if (wants_input(c))
		return true;
	return (c->watch.wants & MK_WATCH_IN) && !fired && flags_want_input(c->flags & ~PAUSED);
}

static void fail(struct mk_conn *c, enum mk_conn_close why)
{
	if (why == MK_CONN_EOF) {
		c->flags |= ENDED;
	} else {
		c->flags |= BROKEN;
		c->flags &= ~STALLED;
		out_drop(c);
	}
	if (c->flags & CLOSING)
		return;
	if (!(c->flags & (REPORT | REPORTED))) {
		c->flags |= REPORT;
		c->why = (uint8_t)why;
	}
	mk_worker_at_turn_end(&c->flush);
}

/* Brings events and timer in line with flags; at the end of each entry. */
static void settle_after(struct mk_conn *c, bool fired)
{
	unsigned want = 0;

	if (watches_input(c, fired))
		want |= MK_WATCH_IN;
	if ((c->flags & (STALLED | BROKEN | MOVING)) == STALLED)
		want |= MK_WATCH_OUT;
	if (mk_watch_set(&c->watch, want) < 0)
		fail(c, MK_CONN_ERROR);
	/* What is in memory already makes no descriptor readable. */
	if ((c->flags & KEPT) && takes_data(c))
		mk_worker_at_turn_end(&c->flush);
	if (c->flags & (SHAPED | STALLED | LINGERS) || mk_wtimer_is_running(&c->timer))
		start_timer(c);
}

static void settle(struct mk_conn *c)
{
	settle_after(c, false);
}

static void stall(struct mk_conn *c)
{
	int64_t ms = atomic_load_explicit(&write_timeout_ms, memory_order_relaxed);

	c->flags |= STALLED;
	if (!(c->flags & CLOSING))     /* then it's the linger deadline         */
		c->stall_ms = now_ms(c) + (uint32_t)ms;
}

/* ---- writing --------------------------------------------------------------- */

static void write_plain(struct mk_conn *c)
{
	while (c->out_head != NULL) {
		struct iovec v[32];
		struct msghdr m = { .msg_iov = v };
		size_t total = 0;
		ssize_t r;

		for (struct mk_out_block *o = c->out_head;
		     o != NULL && m.msg_iovlen < 32; o = o->next) {
			v[m.msg_iovlen].iov_base = (void *)o->p;
			v[m.msg_iovlen++].iov_len = o->n;
			total += o->n;
		}
		do
			r = m.msg_iovlen == 1
				? send(c->watch.fd, v[0].iov_base, v[0].iov_len, MSG_NOSIGNAL)
				: sendmsg(c->watch.fd, &m, MSG_NOSIGNAL);
		while (r < 0 && errno == EINTR);
		if (r < 0 && errno != EAGAIN) {
			fail(c, MK_CONN_ERROR);
			return;
		}
		if (r > 0)
			out_consume(c, (size_t)r);
		if (r < 0 || (size_t)r < total) {
			stall(c);
			return;
		}
	}
}

/* The head of the queue as one piece of at most a TLS record. A write that was
 * cut short is repeated with at least the same bytes, as they stay queued. */
static size_t gather_record(struct mk_conn *c, const char **out)
{
	struct mk_out_block *o = c->out_head;
	struct block_cache *b = block_cache();
	size_t n = 0;

	if (o->next == NULL || o->n >= TLS_RECORD) {
		*out = o->p;
		return o->n < TLS_RECORD ? o->n : TLS_RECORD;
	}
	if (b->record == NULL)
		b->record = raw_alloc(TLS_RECORD);
	for (; o != NULL && n < TLS_RECORD; o = o->next) {
		size_t part = o->n < TLS_RECORD - n ? o->n : TLS_RECORD - n;
		memcpy(b->record + n, o->p, part);
		n += part;
	}
	*out = b->record;
	return n;
}

static void write_tls(struct mk_conn *c)
{
	while (c->out_head != NULL) {
		const char *p;
		size_t n = gather_record(c, &p), put = 0;

		switch (mk_tls_write(c->tls, p, n, &put)) {
		case MK_TLS_OK:
			out_consume(c, put);
			break;
		case MK_TLS_WANT_READ:
		case MK_TLS_WANT_WRITE:
			stall(c);
			return;
		case MK_TLS_CLOSED:
		case MK_TLS_FAILED:
			fail(c, MK_CONN_ERROR);
			return;
		}
	}
}

static void write_out(struct mk_conn *c)
{
	if (c->out_head == NULL || c->flags & (STALLED | BROKEN | HANDSHAKE))
		return;
	if (c->tls != NULL)
		write_tls(c);
	else
		write_plain(c);
}

/* True if n more bytes may be queued. */
static bool may_queue(struct mk_conn *c, size_t n)
{
	mk_assert(c->worker == mk_self);
	if (c->flags & (BROKEN | CLOSING) || n == 0)
		return false;
	if (n <= UINT32_MAX / 2 && (c->out_limit == 0 || n + c->out_bytes <= c->out_limit))
		return true;
	/* A burst within a turn is no overflow if the peer takes it. */
	write_out(c);
	if (c->flags & BROKEN)
		return false;
	if (n <= UINT32_MAX / 2 && (c->out_bytes == 0 || n + c->out_bytes <= c->out_limit))
		return true;
	fail(c, MK_CONN_OVERFLOW);
	return false;
}

void mk_conn_send(struct mk_conn *c, const void *p, size_t n)
{
	if (!may_queue(c, n))
		return;
	out_copy(c, p, n);
	mk_worker_at_turn_end(&c->flush);
}

void mk_conn_send_shared(struct mk_conn *c, struct mk_shared *s)
{
	struct mk_out_block *o;

	if (s->n < COPY_BELOW) {
		mk_conn_send(c, s->bytes, s->n);
		return;
	}
	if (!may_queue(c, s->n))
		return;
	o = block_new(FOREIGN);
	o->shared = mk_shared_ref(s);
	o->p = s->bytes;
	o->n = s->n;
	out_push(c, o);
	c->out_bytes += s->n;
	mk_worker_at_turn_end(&c->flush);
}

void mk_conn_flush(struct mk_conn *c)
{
	mk_assert(c->worker == mk_self);
	write_out(c);
	settle(c);
}

uint32_t mk_conn_unsent(struct mk_conn *c)
{
	if (!(c->flags & (BROKEN | CLOSING)))
		mk_conn_flush(c);
	return c->flags & (BROKEN | CLOSING) ? UINT32_MAX : c->out_bytes;
}

/* ---- reading --------------------------------------------------------------- */

/* The worker's read buffer in two, for what comes from the socket and what it
 * decrypts to: a record's payload always fits behind another's. */
#define PLAIN_ROOM 32768
#define CIPHER_ROOM (MK_READ_BUF - PLAIN_ROOM)

static void shape(struct mk_conn *c, size_t n)
{
	int64_t wait = mk_shaper_take(&c->in, (uint32_t)n, c->worker->now);

	if (wait > 0) {
		c->flags |= SHAPED;
		c->resume_ms = now_ms(c) + (uint32_t)((wait + 999) / 1000);
	}
}

/* One recv: > 0 bytes at p, 0 = nothing now, or over (fail was called). */
static size_t receive(struct mk_conn *c, char *p, size_t room)
{
	size_t most = (size_t)atomic_load_explicit(&turn_bytes, memory_order_relaxed);
	ssize_t r;

	if (room > most)
		room = most;
	/* A slow lane isn't overdrawn by more than its burst at a time. */
	if (c->in.rate != 0 && c->in.burst < room)
		room = c->in.burst > 512 ? c->in.burst : 512;
	do
		r = recv(c->watch.fd, p, room, 0);
	while (r < 0 && errno == EINTR);
	if (r > 0) {
		shape(c, (size_t)r);
		return (size_t)r;
	}
	if (r == 0)
		fail(c, MK_CONN_EOF);
	else if (errno != EAGAIN)
		fail(c, MK_CONN_ERROR);
	return 0;
}

static void tls_outcome(struct mk_conn *c, enum mk_tls_result r)
{
	switch (r) {
	case MK_TLS_OK:
	case MK_TLS_WANT_READ:
		break;
	case MK_TLS_WANT_WRITE:
		stall(c);
		break;
	case MK_TLS_CLOSED:
		fail(c, MK_CONN_EOF);
		break;
	case MK_TLS_FAILED:
		fail(c, MK_CONN_ERROR);
		break;
	}
}

static void handshake(struct mk_conn *c)
{
	enum mk_tls_result r = mk_tls_handshake(c->tls);

	if (r != MK_TLS_OK) {
		tls_outcome(c, r);
		return;
	}
	c->flags &= ~HANDSHAKE;
	if (c->out_head != NULL)
		mk_worker_at_turn_end(&c->flush);
	if (c->ops->secured != NULL)
		c->ops->secured(c);
}

static void read_tls(struct mk_conn *c)
{
	char *plain = c->worker->read_buf, *cipher = plain + PLAIN_ROOM;
	enum mk_tls_result r = MK_TLS_OK;

	if (!mk_tls_pending(c->tls)) {
		size_t n = receive(c, cipher, CIPHER_ROOM);
		if (n == 0)
			return;
		mk_tls_feed(c->tls, cipher, n);
	}
	if (c->flags & HANDSHAKE)
		handshake(c);
	while (r == MK_TLS_OK && takes_data(c)) {
		size_t got = 0, part;

		do {
			part = 0;
			r = mk_tls_read(c->tls, plain + got, PLAIN_ROOM - got, &part);
			got += part;
		} while (r == MK_TLS_OK && PLAIN_ROOM - got >= TLS_RECORD);
		if (got > 0)
			c->ops->data(c, plain, got);
	}
	/* What isn't decrypted yet (a pause, a move) outlives the buffer. */
	mk_tls_keep(c->tls);
	c->flags &= ~KEPT;
	if (mk_tls_pending(c->tls))
		c->flags |= KEPT;
	if (!(c->flags & CLOSING))
		tls_outcome(c, r);
}

static void deliver_unread(struct mk_conn *c)
{
	struct mk_conn_trip *t = c->trip;

	/* Out of c first: the owner may move on in data(). */
	c->trip = NULL;
	c->flags &= ~KEPT;
	if (c->tls != NULL && mk_tls_pending(c->tls))
		c->flags |= KEPT;
	if (c->flags & REPORT)         /* its turn now (at_turn_end)            */
		mk_worker_at_turn_end(&c->flush);
	c->ops->data(c, t->unread, t->unread_n);
	mk_free(t);
}

static void read_in(struct mk_conn *c)
{
	size_t n;

	if (c->trip != NULL) {
		if (takes_data(c))
			deliver_unread(c);
	} else if (c->tls != NULL) {
		read_tls(c);
	} else {
		n = receive(c, c->worker->read_buf, MK_READ_BUF);
		if (n > 0)
			c->ops->data(c, c->worker->read_buf, n);
	}
}

/* ---- closing --------------------------------------------------------------- */

static void destroy(struct mk_conn *c)
{
	mk_watch_set(&c->watch, 0);
	mk_wtimer_stop(&c->timer);
	mk_list_remove(&c->flush.node);
	out_drop(c);
	mk_free(c->trip);
	c->trip = NULL;
	if (c->tls != NULL)
		mk_tls_free(&c->tls);
	close(c->watch.fd);
	c->watch.fd = -1;
	c->done(c);
}

static void say_bye(struct mk_conn *c)
{
	if (c->tls == NULL || c->flags & (HANDSHAKE | BYE_SENT))
		return;
	switch (mk_tls_bye(c->tls)) {
	case MK_TLS_WANT_WRITE:
		stall(c);
		break;
	case MK_TLS_FAILED:
		fail(c, MK_CONN_ERROR);
		break;
	default:
		c->flags |= BYE_SENT;
	}
}

/* True when the peer has nothing more to say. */
static bool drained(struct mk_conn *c)
{
	ssize_t r;

	if (c->flags & ENDED)
		return true;
	/* TCP throws away what it would have copied (tcp(7)); other sockets, as in
	 * tests, do not know that, and sanitizers neither. */
	r = recv(c->watch.fd, c->worker->read_buf, MK_READ_BUF, MSG_TRUNC);
	return r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR);
}

/* As far as it goes now; the last call frees (c may be gone afterwards). */
static void close_step(struct mk_conn *c)
{
	bool is_late = !(c->flags & LINGERS) || until_ms(c, c->stall_ms) <= 0;

	if (c->flags & HANDSHAKE)      /* nothing can be said any more          */
		out_drop(c);
	if (!(c->flags & DRAINING)) {
		write_out(c);
		if (c->out_head == NULL && !(c->flags & (BROKEN | STALLED)))
			say_bye(c);
	}
	if (c->flags & BROKEN || is_late)
		goto over;
	if (!(c->flags & STALLED)) {
		if (!(c->flags & DRAINING)) {
			shutdown(c->watch.fd, SHUT_WR);
			c->flags |= DRAINING;
		}
		if (drained(c))
			goto over;
	}
	settle(c);
	return;
over:
	destroy(c);
}

void mk_conn_close(struct mk_conn *c, int64_t linger_ms, void (*done)(struct mk_conn *c))
{
	mk_assert(c->worker == mk_self);
	mk_assert(!(c->flags & CLOSING));
	c->flags &= ~(REPORT | MOVING | SHAPED);
	c->flags |= CLOSING;
	c->done = done;
	if (linger_ms > 0) {
		c->flags |= LINGERS;
		c->stall_ms = now_ms(c) + (uint32_t)(linger_ms < INT32_MAX / 2
			? linger_ms : INT32_MAX / 2);
	}
	settle(c);
	mk_worker_at_turn_end(&c->flush);
}

/* ---- moving ---------------------------------------------------------------- */

static void arrive(struct mk_msg *m)
{
	struct mk_conn_trip *t = MK_CONTAINER(m, struct mk_conn_trip, msg);
	struct mk_conn *c = t->c;

	void (*fn)(struct mk_conn *c) = t->fn;

	c->worker = mk_self;
	c->flags &= ~MOVING;
	if (t->unread_n > 0) {
		c->flags |= KEPT;
	} else {
		c->trip = NULL;
		mk_free(t);
	}
	fn(c);                         /* may move on: t isn't ours any more    */
	if (c->trip != NULL && takes_data(c))
		deliver_unread(c);
	/* Closed, broken or written to on the way: all seen to there. */
	mk_worker_at_turn_end(&c->flush);
	settle(c);
}

static void depart(struct mk_conn *c)
{
	struct mk_conn_trip *t = c->trip;

	mk_watch_set(&c->watch, 0);    /* a late stall may have set it again    */
	mk_wtimer_stop(&c->timer);
	mk_list_remove(&c->flush.node);
	mk_worker_post(t->to, &t->msg);
}

void mk_conn_move(struct mk_conn *c, struct mk_worker *to, void (*fn)(struct mk_conn *c),
                  const char *unread, size_t unread_n)
{
	struct mk_conn_trip *old = c->trip;
	size_t old_n = old != NULL ? old->unread_n : 0;
	struct mk_conn_trip *t;

	mk_assert(c->worker == mk_self);
	mk_assert(!(c->flags & (CLOSING | MOVING)));
	t = mk_alloc(sizeof *t + unread_n + old_n);
	t->msg.fn = arrive;
	t->c = c;
	t->to = to;
	t->fn = fn;
	/* Moved on before the unread bytes of the last move were delivered:
	 * then there is no data callback, and nothing unread of it. */
	t->unread_n = unread_n + old_n;
	if (unread_n > 0)
		memcpy(t->unread, unread, unread_n);
	if (old_n > 0)
		memcpy(t->unread + unread_n, old->unread, old_n);
	mk_free(old);
	c->trip = t;
	c->flags |= MOVING;
	settle(c);
	mk_worker_at_turn_end(&c->flush);
}

/* ---- entries from the loop -------------------------------------------------- */

static void report(struct mk_conn *c)
{
	c->flags &= ~REPORT;
	c->flags |= REPORTED;
	c->ops->closed(c, c->why);
}

static void at_turn_end(struct mk_task *task)
{
	struct mk_conn *c = MK_CONTAINER(task, struct mk_conn, flush);

	if (!(c->flags & CLOSING)) {
		write_out(c);
		if (c->flags & MOVING) {
			depart(c);
			return;
		}
		if (c->flags & KEPT && takes_data(c))
			read_in(c);
		/* An orderly end waits for the bytes that came before it. */
		if (c->flags & REPORT && !(c->why == MK_CONN_EOF && c->flags & KEPT))
			report(c);
	}
	if (c->flags & CLOSING)
		close_step(c);
	else
		settle(c);
}

static void on_event(struct mk_watch *w, unsigned what)
{
	struct mk_conn *c = MK_CONTAINER(w, struct mk_conn, watch);
	bool is_late;

	if (what & MK_WATCH_OUT) {
		c->flags &= ~STALLED;
		if (c->flags & CLOSING) {
			close_step(c);
			return;
		}
		if (c->flags & HANDSHAKE)
			handshake(c);
		else
			write_out(c);
	}
	if (c->flags & CLOSING) {
		if (c->flags & DRAINING)
			close_step(c);
		return;
	}
	is_late = (what & MK_WATCH_IN) && !wants_input(c);
	if ((what & MK_WATCH_IN) && !is_late)
		read_in(c);
	settle_after(c, is_late);
}

static void on_soon(struct mk_watch *w, unsigned step)
{
	struct mk_conn *c = MK_CONTAINER(w, struct mk_conn, watch);

	/* One that closes has no ops any more. */
	if (step == 0)
		mk_prefetch(c, sizeof *c);
	else if (!(c->flags & CLOSING) && c->ops->soon != NULL)
		c->ops->soon(c, step - 1);
}
static const struct mk_watch_ops watch_ops = { on_event, on_soon };

static void on_timer(struct mk_wtimer *t)
{
	struct mk_conn *c = MK_CONTAINER(t, struct mk_conn, timer);

	if (c->flags & CLOSING) {
		close_step(c);
		return;
	}
	if (c->flags & SHAPED && until_ms(c, c->resume_ms) <= 0)
		c->flags &= ~SHAPED;
	if (c->flags & STALLED && until_ms(c, c->stall_ms) <= 0)
		fail(c, MK_CONN_TIMEOUT);
	settle(c);
}

/* ---- the rest of the interface ---------------------------------------------- */

void mk_conn_init(struct mk_conn *c, int fd, const struct mk_conn_ops *ops,
                  uint32_t out_limit)
{
	memset(c, 0, sizeof *c);
	c->ops = ops;
	c->worker = mk_self;
	c->out_limit = out_limit;
	c->flush.run = at_turn_end;
	mk_watch_init(&c->watch, fd, &watch_ops);
}

void mk_conn_start(struct mk_conn *c)
{
	mk_assert(c->worker == mk_self);
	c->flags |= STARTED;
	settle(c);
}

int mk_conn_start_tls_for(struct mk_conn *c, const struct mk_tls_config *conf,
                          const char *domain)
{
	mk_assert(c->worker == mk_self);
	mk_assert(c->tls == NULL && !(c->flags & CLOSING));
	write_out(c);
	if (c->out_head != NULL || c->flags & BROKEN)
		return -MK_EIO;
	c->tls = mk_tls_new(conf, domain, c->watch.fd);
	c->flags |= HANDSHAKE;
	return 0;
}

void mk_conn_pause(struct mk_conn *c)
{
	c->flags |= PAUSED;
	settle(c);
}

void mk_conn_resume(struct mk_conn *c)
{
	c->flags &= ~PAUSED;
	settle(c);
}

bool mk_conn_is_closing(const struct mk_conn *c)
{
	return c->flags & CLOSING;
}

bool mk_conn_is_secure(const struct mk_conn *c)
{
	return c->tls != NULL && !(c->flags & HANDSHAKE);
}
