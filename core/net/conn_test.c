/*
 * net/conn_test.c - connections over socket pairs, on two real workers
 *
 * The test's thread is the peer; what it does to a connection it posts to the
 * connection's worker and waits for (on). What the worker saw is read under a
 * lock, with a deadline (until).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "conf/node.h"
#include "net/conn.h"
#include "tls/test_certs.h"
#include "tls/tls.h"

#define DEADLINE_MS 10000

/* An owner of a connection, as a stream is. */
struct end {
	struct mk_conn conn;
	int peer;                      /* the other descriptor                  */
	/* under lock */
	pthread_mutex_t lock;
	struct mk_buf got;
	int closed, done, secured, moved;
	enum mk_conn_close why;
	struct mk_worker *data_on;     /* where data() ran last                 */
	/* what the callbacks do */
	bool echoes, is_inside;
	struct mk_worker *move_to;
	size_t move_at;                /* bytes of the callback that are used   */
	bool closes_on_data, pauses_on_arrival, flushes;
	struct mk_tls_config *tls_on_data;
	const char *reply;
	int64_t linger_ms;
};

static void on_done(struct mk_conn *c)
{
	struct end *e = MK_CONTAINER(c, struct end, conn);

	mk_assert(!e->is_inside);
	pthread_mutex_lock(&e->lock);
	e->done++;
	pthread_mutex_unlock(&e->lock);
}

static void on_arrival(struct mk_conn *c)
{
	struct end *e = MK_CONTAINER(c, struct end, conn);

	mk_assert(c->worker == mk_self);
	if (e->pauses_on_arrival)
		mk_conn_pause(c);
	pthread_mutex_lock(&e->lock);
	e->moved++;
	pthread_mutex_unlock(&e->lock);
}

static void on_data(struct mk_conn *c, const char *p, size_t n)
{
	struct end *e = MK_CONTAINER(c, struct end, conn);
	size_t used = n;

	e->is_inside = true;
	mk_assert(c->worker == mk_self);
	if (e->move_to != NULL && e->move_at < n)
		used = e->move_at;
	if (e->echoes) {
		mk_conn_send(c, p, used);
		if (e->flushes)
			mk_conn_flush(c);
	}
	if (e->reply != NULL) {
		mk_conn_send(c, e->reply, strlen(e->reply));
		e->reply = NULL;
	}
	if (e->move_to != NULL) {
		mk_conn_move(c, e->move_to, on_arrival, p + used, n - used);
		e->move_to = NULL;
	}
	if (e->tls_on_data != NULL) {
		mk_assert(mk_conn_start_tls(c, e->tls_on_data) == 0);
		e->tls_on_data = NULL;
	}
	if (e->closes_on_data)
		mk_conn_close(c, e->linger_ms, on_done);
	pthread_mutex_lock(&e->lock);
	mk_buf_add(&e->got, p, used);
	e->data_on = mk_self;
	pthread_mutex_unlock(&e->lock);
	e->is_inside = false;
}

static void on_secured(struct mk_conn *c)
{
	struct end *e = MK_CONTAINER(c, struct end, conn);

	pthread_mutex_lock(&e->lock);
	e->secured++;
	pthread_mutex_unlock(&e->lock);
}

static void on_closed(struct mk_conn *c, enum mk_conn_close why)
{
	struct end *e = MK_CONTAINER(c, struct end, conn);

	mk_assert(!e->is_inside);
	pthread_mutex_lock(&e->lock);
	e->closed++;
	e->why = why;
	pthread_mutex_unlock(&e->lock);
	mk_conn_close(c, e->linger_ms, on_done);
}

static const struct mk_conn_ops ops = { on_data, on_secured, on_closed, NULL };

/* ---- doing things on a worker ------------------------------------------------------ */

struct errand {
	struct mk_msg msg;
	void (*fn)(struct end *e, const void *arg);
	struct end *e;
	const void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool is_done;
};

static void errand_run(struct mk_msg *m)
{
	struct errand *r = MK_CONTAINER(m, struct errand, msg);

	r->e->is_inside = true;
	r->fn(r->e, r->arg);
	r->e->is_inside = false;
	pthread_mutex_lock(&r->lock);
	r->is_done = true;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void on_worker(unsigned index, struct end *e,
                      void (*fn)(struct end *e, const void *arg), const void *arg)
{
	struct errand r = { .msg.fn = errand_run, .fn = fn, .e = e, .arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	mk_worker_post(mk_worker(index), &r.msg);
	pthread_mutex_lock(&r.lock);
	while (!r.is_done)
		pthread_cond_wait(&r.cond, &r.lock);
	pthread_mutex_unlock(&r.lock);
}

static int read_int(struct end *e, const int *p)
{
	int v;

	pthread_mutex_lock(&e->lock);
	v = *p;
	pthread_mutex_unlock(&e->lock);
	return v;
}

static size_t got_n(struct end *e)
{
	size_t n;

	pthread_mutex_lock(&e->lock);
	n = e->got.n;
	pthread_mutex_unlock(&e->lock);
	return n;
}

#define until(condition) do {                                                  \
	mk_usec end_ = mk_now_usec() + DEADLINE_MS * 1000;                     \
	while (!(condition)) {                                                 \
		if (mk_now_usec() > end_)                                      \
			fail_msg("waited in vain for %s", #condition);         \
		poll(NULL, 0, 1);                                              \
	}                                                                      \
} while (0)

static void do_start(struct end *e, const void *arg)
{
	const uint32_t *limit = arg;
	int fd = e->conn.watch.fd;

	mk_conn_init(&e->conn, fd, &ops, *limit);
	mk_conn_start(&e->conn);
}

/* small: little room in the socket, so that writes are cut off. */
static struct end *end_new(uint32_t limit, bool small)
{
	struct end *e = mk_alloc(sizeof *e);
	struct timeval tv = { DEADLINE_MS / 1000, 0 };
	int fd[2], room = 4096;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
	if (small)
		assert_int_equal(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
	pthread_mutex_init(&e->lock, NULL);
	e->conn.watch.fd = fd[0];
	e->peer = fd[1];
	e->linger_ms = 1000;
	on_worker(0, e, do_start, &limit);
	return e;
}

static void do_close(struct end *e, const void *arg)
{
	const int64_t *linger = arg;

	if (!mk_conn_is_closing(&e->conn))
		mk_conn_close(&e->conn, *linger, on_done);
	assert_int_equal(e->done, 0);          /* never from within              */
}

/* Closes our side, if it isn't, and checks that done() comes once. */
static void end_free(struct end *e)
{
	if (e->peer >= 0)
		close(e->peer);
	until(read_int(e, &e->done) == 1);
	assert_true(e->closed <= 1);
	mk_buf_free(&e->got);
	pthread_mutex_destroy(&e->lock);
	mk_free(e);
}

static void peer_send(struct end *e, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t r = send(e->peer, text, n, MSG_NOSIGNAL);

		assert_true(r > 0);
		text += r;
		n -= (size_t)r;
	}
}

static void peer_expect(struct end *e, const char *text, size_t n)
{
	char buf[4096];

	while (n > 0) {
		ssize_t r = recv(e->peer, buf, n < sizeof buf ? n : sizeof buf, 0);

		if (r <= 0)
			fail_msg("recv: %s", r == 0 ? "end" : strerror(errno));
		assert_memory_equal(buf, text, r);
		text += r;
		n -= (size_t)r;
	}
}

static void expect_end(struct end *e)
{
	char c;

	assert_int_equal(recv(e->peer, &c, 1, 0), 0);
}

static char *pattern(size_t n)
{
	char *p = mk_alloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 7 + i / 251);
	return p;
}

/* ---- plain ------------------------------------------------------------------------- */

static void test_what_comes_in_goes_out(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->echoes = true;
	for (int i = 0; i < 100; i++) {
		peer_send(e, "abc", 3);
		peer_expect(e, "abc", 3);
	}
	until(got_n(e) == 300);
	end_free(e);
}

static void do_send_parts(struct end *e, const void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		mk_conn_send(&e->conn, "0123456789", 10);
}

static void test_a_turn_is_one_write(void **state)
{
	struct end *e = end_new(0, false);
	char buf[2000];

	(void)state;
	on_worker(0, e, do_send_parts, NULL);
	assert_int_equal(recv(e->peer, buf, sizeof buf, 0), 1000);
	end_free(e);
}

static void do_check_idle(struct end *e, const void *arg)
{
	(void)arg;
	assert_null(e->conn.out_head);
	assert_null(e->conn.out_tail);
	assert_null(e->conn.trip);
	assert_null(e->conn.tls);
	assert_int_equal(e->conn.out_bytes, 0);
	assert_false(mk_wtimer_is_running(&e->conn.timer));
}

static void test_an_idle_connection_holds_nothing(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->echoes = true;
	peer_send(e, "abc", 3);
	peer_expect(e, "abc", 3);
	on_worker(0, e, do_check_idle, NULL);
	end_free(e);
}

#define LONG 1000000

static void do_send_long(struct end *e, const void *arg)
{
	const char *p = arg;
	size_t at = 0, step = 1;

	/* Copies of all sizes, and shared pieces between them. */
	while (at < LONG) {
		size_t n = step < LONG - at ? step : LONG - at;

		if (step % 3 == 0) {
			struct mk_shared *s = mk_shared_new(p + at, n);
			mk_conn_send_shared(&e->conn, s);
			mk_shared_unref(&s);
		} else {
			mk_conn_send(&e->conn, p + at, n);
		}
		at += n;
		step = step * 5 % 39979 + 1;
	}
}

static void test_long_output_arrives_whole(void **state)
{
	struct end *e = end_new(0, true);
	char *p = pattern(LONG);

	(void)state;
	on_worker(0, e, do_send_long, p);
	peer_expect(e, p, LONG);
	on_worker(0, e, do_check_idle, NULL);
	mk_free(p);
	end_free(e);
}

static void test_close_writes_what_is_queued(void **state)
{
	struct end *e = end_new(0, true);
	char *p = pattern(LONG);
	int64_t linger = DEADLINE_MS;

	(void)state;
	on_worker(0, e, do_send_long, p);
	on_worker(0, e, do_close, &linger);
	peer_expect(e, p, LONG);
	expect_end(e);
	assert_int_equal(read_int(e, &e->done), 0);    /* waits for our end      */
	end_free(e);
	mk_free(p);
}

static void test_lingering_ends(void **state)
{
	static const int64_t table[] = { 0, 300 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct end *e = end_new(0, true);
		char *p = pattern(LONG);
		mk_usec begin = mk_now_usec();
		int64_t took;

		on_worker(0, e, do_send_long, p);
		on_worker(0, e, do_close, &table[i]);
		until(read_int(e, &e->done) == 1);
		took = (mk_now_usec() - begin) / 1000;
		assert_true(took >= table[i]);
		end_free(e);
		mk_free(p);
	}
}

static void test_overflow_is_told_later(void **state)
{
	struct end *e = end_new(65536, true);
	char *p = pattern(LONG);

	(void)state;
	on_worker(0, e, do_send_long, p);      /* on_closed checks is_inside     */
	until(read_int(e, &e->closed) == 1);
	assert_int_equal(e->why, MK_CONN_OVERFLOW);
	end_free(e);
	mk_free(p);
}

static void test_a_burst_that_is_taken_is_no_overflow(void **state)
{
	struct end *e = end_new(500, false);
	char buf[1000], all[1000];

	(void)state;
	on_worker(0, e, do_send_parts, NULL);
	for (int i = 0; i < 1000; i++)
		all[i] = (char)('0' + i % 10);
	assert_int_equal(recv(e->peer, buf, sizeof buf, MSG_WAITALL), 1000);
	assert_memory_equal(buf, all, 1000);
	assert_int_equal(read_int(e, &e->closed), 0);
	end_free(e);
}

static void test_output_that_nobody_takes_times_out(void **state)
{
	struct end *e;
	char *p = pattern(LONG);

	(void)state;
	mk_net_limits(200, MK_READ_BUF);
	e = end_new(0, true);
	on_worker(0, e, do_send_long, p);
	until(read_int(e, &e->closed) == 1);
	assert_int_equal(e->why, MK_CONN_TIMEOUT);
	mk_net_limits(60000, MK_READ_BUF);
	end_free(e);
	mk_free(p);
}

static void test_the_peers_end_leaves_room_for_an_answer(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->reply = "good bye";
	peer_send(e, "bye", 3);
	shutdown(e->peer, SHUT_WR);
	peer_expect(e, "good bye", 8);
	expect_end(e);
	until(read_int(e, &e->done) == 1);
	assert_int_equal(e->closed, 1);
	assert_int_equal(e->why, MK_CONN_EOF);
	end_free(e);
}

static void test_close_within_a_callback(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->echoes = e->closes_on_data = true;
	peer_send(e, "abc", 3);
	peer_expect(e, "abc", 3);
	expect_end(e);
	close(e->peer);
	e->peer = -1;
	until(read_int(e, &e->done) == 1);
	assert_int_equal(e->closed, 0);
	end_free(e);
}

static void do_echo(struct end *e, const void *arg)
{
	(void)arg;
	e->echoes = true;
}

static void do_pause(struct end *e, const void *arg)
{
	(void)arg;
	mk_conn_pause(&e->conn);
}

static void do_resume(struct end *e, const void *arg)
{
	(void)arg;
	mk_conn_resume(&e->conn);
}

static void do_nothing(struct end *e, const void *arg)
{
	(void)e;
	(void)arg;
}

static void test_a_pause_holds_data_back(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	on_worker(0, e, do_pause, NULL);
	peer_send(e, "abc", 3);
	for (int i = 0; i < 10; i++)           /* turns in which it could have   */
		on_worker(0, e, do_nothing, NULL);
	assert_int_equal(got_n(e), 0);
	on_worker(0, e, do_resume, NULL);
	until(got_n(e) == 3);
	end_free(e);
}

static void do_shape(struct end *e, const void *arg)
{
	(void)arg;
	mk_shaper_init(&e->conn.in, 10000, 1000);
}

static void test_a_shaped_reader_takes_its_time(void **state)
{
	struct end *e = end_new(0, false);
	char *p = pattern(6000);
	mk_usec begin;

	(void)state;
	on_worker(0, e, do_shape, NULL);
	begin = mk_now_usec();
	peer_send(e, p, 6000);
	until(got_n(e) == 6000);
	/* 1000 at once, the last 1000 before they are paid for. */
	assert_true(mk_now_usec() - begin >= 400000);
	assert_memory_equal(e->got.p, p, 6000);
	mk_free(p);
	end_free(e);
}

/* ---- moving ------------------------------------------------------------------------ */

static void test_a_move_takes_unread_bytes_along(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->echoes = true;
	e->move_to = mk_worker(1);
	e->move_at = 3;
	peer_send(e, "abcdef", 6);
	peer_expect(e, "abcdef", 6);
	assert_int_equal(read_int(e, &e->moved), 1);
	assert_ptr_equal(e->data_on, mk_worker(1));
	peer_send(e, "ghi", 3);
	peer_expect(e, "ghi", 3);
	until(got_n(e) == 9);
	assert_memory_equal(e->got.p, "abcdefghi", 9);
	end_free(e);
}

static void test_a_move_with_output_waiting(void **state)
{
	struct end *e = end_new(0, true);
	char *p = pattern(LONG);

	(void)state;
	on_worker(0, e, do_send_long, p);
	e->move_to = mk_worker(1);
	e->move_at = 1;
	peer_send(e, "x", 1);
	until(read_int(e, &e->moved) == 1);
	peer_expect(e, p, LONG);
	on_worker(1, e, do_check_idle, NULL);
	mk_free(p);
	end_free(e);
}

static void test_moving_to_and_fro(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->echoes = true;
	for (unsigned i = 1; i <= 100; i++) {
		e->move_to = mk_worker(i % 2);
		e->move_at = i % 4;
		peer_send(e, "abc", 3);
		peer_expect(e, "abc", 3);
		until(read_int(e, &e->moved) == (int)i);
	}
	end_free(e);
}

static void test_the_end_may_come_during_a_move(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct end *e = end_new(0, false);

		e->move_to = mk_worker(1);
		e->move_at = 2;
		peer_send(e, "abcd", 4);
		close(e->peer);
		e->peer = -1;
		until(read_int(e, &e->done) == 1);
		assert_int_equal(e->moved, 1);
		assert_int_equal(e->got.n, 4);
		end_free(e);
	}
}

static void test_a_paused_arrival_waits(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->pauses_on_arrival = true;
	e->move_to = mk_worker(1);
	e->move_at = 2;
	peer_send(e, "abcd", 4);
	until(read_int(e, &e->moved) == 1);
	peer_send(e, "ef", 2);
	for (int i = 0; i < 10; i++)
		on_worker(1, e, do_nothing, NULL);
	assert_int_equal(got_n(e), 2);
	on_worker(1, e, do_resume, NULL);
	until(got_n(e) == 6);
	assert_memory_equal(e->got.p, "abcdef", 6);
	end_free(e);
}

static void test_a_close_cancels_a_move(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	e->closes_on_data = true;
	e->linger_ms = 0;
	e->move_to = mk_worker(1);
	peer_send(e, "abcd", 4);
	until(read_int(e, &e->done) == 1);
	assert_int_equal(e->moved, 0);
	end_free(e);
}

/* ---- TLS --------------------------------------------------------------------------- */

static struct mk_tls_store *store;
static struct mk_tls_config *config;

static void do_start_tls(struct end *e, const void *arg)
{
	(void)arg;
	assert_int_equal(mk_conn_start_tls_for(&e->conn, config, "x.example"), 0);
}

struct client { gnutls_session_t s; gnutls_certificate_credentials_t cred; };

static struct client client_shake(struct end *e)
{
	struct client c;
	int r;

	c.s = certs_client(e->peer, NULL, "x.example", NULL, &c.cred);
	do
		r = gnutls_handshake(c.s);
	while (r < 0 && !gnutls_error_is_fatal(r));
	CERTS_CHECK(r);
	until(read_int(e, &e->secured) == 1);
	return c;
}

static void client_free(struct client *c)
{
	gnutls_deinit(c->s);
	gnutls_certificate_free_credentials(c->cred);
}

static void client_expect(struct client *c, const char *p, size_t n)
{
	char buf[16384];

	while (n > 0) {
		ssize_t r = gnutls_record_recv(c->s, buf, n < sizeof buf ? n : sizeof buf);

		if (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)
			continue;
		if (r <= 0)
			fail_msg("gnutls_record_recv: %s", gnutls_strerror((int)r));
		assert_memory_equal(buf, p, r);
		p += r;
		n -= (size_t)r;
	}
}

static void client_send(struct client *c, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t r = gnutls_record_send(c->s, p, n);

		assert_true(r > 0);
		p += r;
		n -= (size_t)r;
	}
}

static void do_check_secure(struct end *e, const void *arg)
{
	const bool *is_secure = arg;

	assert_int_equal(mk_conn_is_secure(&e->conn), *is_secure);
}

static void test_direct_tls(void **state)
{
	struct end *e = end_new(0, false);
	bool no = false, yes = true;
	struct client c;

	(void)state;
	e->echoes = true;
	on_worker(0, e, do_start_tls, NULL);
	on_worker(0, e, do_check_secure, &no);
	c = client_shake(e);
	on_worker(0, e, do_check_secure, &yes);
	for (int i = 0; i < 100; i++) {
		client_send(&c, "abc", 3);
		client_expect(&c, "abc", 3);
	}
	client_free(&c);
	end_free(e);
}

static void test_starttls_after_a_plain_answer(void **state)
{
	struct end *e = end_new(0, false);
	struct client c;

	(void)state;
	e->reply = "<proceed/>";
	e->tls_on_data = config;
	peer_send(e, "<starttls/>", 11);
	peer_expect(e, "<proceed/>", 10);
	c = client_shake(e);
	on_worker(0, e, do_echo, NULL);
	client_send(&c, "abc", 3);
	client_expect(&c, "abc", 3);
	client_free(&c);
	end_free(e);
}

static void test_output_before_tls_is_up_waits_for_it(void **state)
{
	struct end *e = end_new(0, false);
	struct client c;
	char all[1000];

	(void)state;
	on_worker(0, e, do_start_tls, NULL);
	on_worker(0, e, do_send_parts, NULL);
	c = client_shake(e);
	for (int i = 0; i < 1000; i++)
		all[i] = (char)('0' + i % 10);
	client_expect(&c, all, 1000);
	client_free(&c);
	end_free(e);
}

static void test_long_output_by_tls(void **state)
{
	struct end *e = end_new(0, true);
	char *p = pattern(LONG);
	int64_t linger = DEADLINE_MS;
	struct client c;
	char byte;

	(void)state;
	on_worker(0, e, do_start_tls, NULL);
	c = client_shake(e);
	on_worker(0, e, do_send_long, p);
	on_worker(0, e, do_close, &linger);
	client_expect(&c, p, LONG);
	/* close_notify, not a cut */
	assert_int_equal(gnutls_record_recv(c.s, &byte, 1), 0);
	client_free(&c);
	end_free(e);
	mk_free(p);
}

static void test_long_input_by_tls(void **state)
{
	struct end *e = end_new(0, false);
	char *p = pattern(LONG);
	struct client c;

	(void)state;
	on_worker(0, e, do_start_tls, NULL);
	c = client_shake(e);
	client_send(&c, p, LONG);
	until(got_n(e) == LONG);
	assert_memory_equal(e->got.p, p, LONG);
	assert_int_equal(gnutls_bye(c.s, GNUTLS_SHUT_WR), 0);
	until(read_int(e, &e->closed) == 1);
	assert_int_equal(e->why, MK_CONN_EOF);
	client_free(&c);
	end_free(e);
	mk_free(p);
}

#define RECORDS 120                    /* more than one read takes            */
#define RECORD 400

/* Many records wait when the first of them makes the connection move: those
 * that were read from the socket already raise no event. */
static void test_a_move_takes_tls_records_along(void **state)
{
	static const size_t used[] = { 0, 1, 16000, 100000 };
	char *p = pattern(RECORDS * RECORD);

	(void)state;
	for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
		struct end *e = end_new(0, false);
		struct client c;

		on_worker(0, e, do_start_tls, NULL);
		c = client_shake(e);
		on_worker(0, e, do_pause, NULL);
		for (int k = 0; k < RECORDS; k++)
			client_send(&c, p + RECORD * k, RECORD);
		e->move_to = mk_worker(1);
		e->move_at = used[i];
		on_worker(0, e, do_resume, NULL);
		until(got_n(e) == RECORDS * RECORD);
		assert_memory_equal(e->got.p, p, RECORDS * RECORD);
		assert_int_equal(e->moved, 1);
		assert_ptr_equal(e->data_on, mk_worker(1));
		on_worker(1, e, do_echo, NULL);
		client_send(&c, "abc", 3);
		client_expect(&c, "abc", 3);
		client_free(&c);
		end_free(e);
	}
	mk_free(p);
}

static void test_a_pause_keeps_tls_records(void **state)
{
	struct end *e = end_new(0, false);
	char *p = pattern(RECORDS * RECORD);
	struct client c;

	(void)state;
	on_worker(0, e, do_start_tls, NULL);
	c = client_shake(e);
	on_worker(0, e, do_pause, NULL);
	for (int k = 0; k < RECORDS; k++)
		client_send(&c, p + RECORD * k, RECORD);
	/* One read at a time, paused again in between. */
	while (got_n(e) < RECORDS * RECORD) {
		on_worker(0, e, do_resume, NULL);
		on_worker(0, e, do_pause, NULL);
	}
	on_worker(0, e, do_resume, NULL);
	assert_memory_equal(e->got.p, p, RECORDS * RECORD);
	client_free(&c);
	end_free(e);
	mk_free(p);
}

static void test_no_tls_is_an_error(void **state)
{
	struct end *e = end_new(0, false);

	(void)state;
	on_worker(0, e, do_start_tls, NULL);
	peer_send(e, "<stream:stream>", 15);
	until(read_int(e, &e->closed) == 1);
	assert_int_equal(e->why, MK_CONN_ERROR);
	end_free(e);
}

static void test_leaving_within_the_handshake(void **state)
{
	(void)state;
	for (int at = 0; at < 20; at++) {
		struct end *e = end_new(0, false);
		struct client c;

		on_worker(0, e, do_start_tls, NULL);
		c.s = certs_client(e->peer, NULL, "x.example", NULL, &c.cred);
		assert_int_equal(fcntl(e->peer, F_SETFL, O_NONBLOCK), 0);
		for (int i = 0; i < at; i++)
			gnutls_handshake(c.s);
		close(e->peer);
		e->peer = -1;
		until(read_int(e, &e->done) == 1);
		client_free(&c);
		end_free(e);
	}
}

/* ---- ------------------------------------------------------------------------------- */

static char dir[] = "/tmp/mk_conn_testXXXXXX";
static char cert_path[80], key_path[80];

static int group_setup(void **state)
{
	struct mk_tls_cert_conf cert = { .domain = "x.example", .certificate = cert_path,
		.key = key_path };
	struct mk_tls_conf conf = { 0 };
	struct mk_diag d = { 0 };

	(void)state;
	if (mk_log_open("/dev/null", MK_LOG_LOGFMT, MK_DEBUG) != 0 || mkdtemp(dir) == NULL)
		return -1;
	snprintf(cert_path, sizeof cert_path, "%s/cert.pem", dir);
	snprintf(key_path, sizeof key_path, "%s/key.pem", dir);
	certs_make(cert_path, key_path, "x.example", 1, 90 * 86400L);
	if (mk_tls_store_new(&cert, 1, &d, &store) != 0 ||
	    mk_tls_config_new(store, &conf, &config) != 0)
		return -1;
	return mk_workers_start(2, NULL, NULL);
}

static int group_teardown(void **state)
{
	(void)state;
	mk_workers_stop();
	mk_tls_config_free(&config);
	mk_tls_store_free(&store);
	unlink(cert_path);
	unlink(key_path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_comes_in_goes_out),
		cmocka_unit_test(test_a_turn_is_one_write),
		cmocka_unit_test(test_an_idle_connection_holds_nothing),
		cmocka_unit_test(test_long_output_arrives_whole),
		cmocka_unit_test(test_close_writes_what_is_queued),
		cmocka_unit_test(test_lingering_ends),
		cmocka_unit_test(test_overflow_is_told_later),
		cmocka_unit_test(test_a_burst_that_is_taken_is_no_overflow),
		cmocka_unit_test(test_output_that_nobody_takes_times_out),
		cmocka_unit_test(test_the_peers_end_leaves_room_for_an_answer),
		cmocka_unit_test(test_close_within_a_callback),
		cmocka_unit_test(test_a_pause_holds_data_back),
		cmocka_unit_test(test_a_shaped_reader_takes_its_time),
		cmocka_unit_test(test_a_move_takes_unread_bytes_along),
		cmocka_unit_test(test_a_move_with_output_waiting),
		cmocka_unit_test(test_moving_to_and_fro),
		cmocka_unit_test(test_the_end_may_come_during_a_move),
		cmocka_unit_test(test_a_paused_arrival_waits),
		cmocka_unit_test(test_a_close_cancels_a_move),
		cmocka_unit_test(test_direct_tls),
		cmocka_unit_test(test_starttls_after_a_plain_answer),
		cmocka_unit_test(test_output_before_tls_is_up_waits_for_it),
		cmocka_unit_test(test_long_output_by_tls),
		cmocka_unit_test(test_long_input_by_tls),
		cmocka_unit_test(test_a_move_takes_tls_records_along),
		cmocka_unit_test(test_a_pause_keeps_tls_records),
		cmocka_unit_test(test_no_tls_is_an_error),
		cmocka_unit_test(test_leaving_within_the_handshake),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
