/*
 * net/listen_test.c - accepting: addresses, limits, PROXY headers, no descriptors
 *
 * Real sockets on loopback; every address in 127.0.0.0/8 is a client of its
 * own. Each test has workers of its own, the one that runs out of descriptors
 * a process too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "base/metric.h"
#include "conf/node.h"
#include "net/limit.h"
#include "net/listen.h"

#define DEADLINE_MS 10000

#define until(condition) do {                                                  \
	mk_usec end_ = mk_now_usec() + DEADLINE_MS * 1000;                     \
	while (!(condition)) {                                                 \
		if (mk_now_usec() > end_)                                      \
			fail_msg("waited in vain for %s", #condition);         \
		poll(NULL, 0, 1);                                              \
	}                                                                      \
} while (0)

/* What the workers accepted, in order. */
struct seen {
	pthread_mutex_t lock;
	struct { int fd; struct mk_addr peer; struct mk_worker *worker; } v[512];
	unsigned n;
};

static void accepted(struct mk_listener *l, int fd, const struct mk_addr *peer)
{
	struct seen *s = mk_listener_arg(l);

	pthread_mutex_lock(&s->lock);
	mk_assert(s->n < 512);
	s->v[s->n].fd = fd;
	s->v[s->n].peer = *peer;
	s->v[s->n++].worker = mk_self;
	pthread_mutex_unlock(&s->lock);
}

static unsigned seen_n(struct seen *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->n;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static struct seen *seen_new(void)
{
	struct seen *s = mk_alloc(sizeof *s);

	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void seen_free(struct seen *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i].fd >= 0)
			close(s->v[i].fd);
		mk_listener_gone(&s->v[i].peer);
	}
	pthread_mutex_destroy(&s->lock);
	mk_free(s);
}

static struct mk_listener *start(struct mk_listener_conf conf, struct seen *s)
{
	struct mk_listener *l = NULL;
	struct mk_diag d = { 0 };

	conf.name = conf.name != NULL ? conf.name : "test";
	conf.accepted = accepted;
	conf.arg = s;
	if (mk_listener_start(&conf, &d, &l) != 0)
		fail_msg("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	return l;
}

/* From one address of ours to another; -errno. */
static int dial(const char *from, const char *to, uint16_t port)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct timeval tv = { DEADLINE_MS / 1000, 0 };
	bool is_v6 = strchr(to, ':') != NULL;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	if (from != NULL) {
		assert_int_equal(inet_pton(AF_INET, from, &a.sin_addr), 1);
		assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	}
	if (is_v6) {
		assert_int_equal(inet_pton(AF_INET6, to, &v6.sin6_addr), 1);
		v6.sin6_port = htons(port);
		r = connect(fd, (struct sockaddr *)&v6, sizeof v6);
	} else {
		assert_int_equal(inet_pton(AF_INET, to, &a.sin_addr), 1);
		a.sin_port = htons(port);
		r = connect(fd, (struct sockaddr *)&a, sizeof a);
	}
	if (r < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* Refused is closed at once: end or reset. */
static void expect_refusal(int fd)
{
	ssize_t r;
	char c;

	assert_true(fd >= 0);
	r = recv(fd, &c, 1, 0);
	assert_true(r == 0 || (r < 0 && errno != EAGAIN));
	close(fd);
}

static void hang_up(int fd)
{
	assert_true(fd >= 0);
	close(fd);
}

static const char *ip_of(struct seen *s, unsigned i)
{
	static char ip[INET6_ADDRSTRLEN];

	pthread_mutex_lock(&s->lock);
	mk_addr_format(&s->v[i].peer, ip);
	pthread_mutex_unlock(&s->lock);
	return ip;
}

static int workers_setup(void **state)
{
	(void)state;
	return mk_workers_start(2, NULL, NULL);
}

static int workers_teardown(void **state)
{
	(void)state;
	mk_workers_stop();
	return 0;
}

/* ---- ------------------------------------------------------------------------------- */

static void test_all_addresses_of_both_kinds(void **state)
{
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "" }, s);
	int v4, v6, on = 0;
	socklen_t n = sizeof on;

	(void)state;
	assert_int_not_equal(mk_listener_port(l), 0);
	v4 = dial("127.0.0.9", "127.0.0.1", mk_listener_port(l));
	until(seen_n(s) == 1);
	assert_string_equal(ip_of(s, 0), "127.0.0.9");
	assert_int_equal(getsockopt(s->v[0].fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
	assert_int_equal(on, 1);
	assert_true(fcntl(s->v[0].fd, F_GETFL) & O_NONBLOCK);
	v6 = dial(NULL, "::1", mk_listener_port(l));
	if (v6 >= 0) {                         /* not on machines without IPv6   */
		until(seen_n(s) == 2);
		assert_string_equal(ip_of(s, 1), "::1");
		close(v6);
	}
	hang_up(v4);
	mk_listener_stop(&l);
	assert_null(l);
	seen_free(s);
}

static void test_every_worker_accepts(void **state)
{
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1" }, s);
	uint16_t port = mk_listener_port(l);
	bool has[2] = { false, false };
	int fd[64];

	(void)state;
	for (int i = 0; i < 64; i++)
		fd[i] = dial(NULL, "127.0.0.1", port);
	until(seen_n(s) == 64);
	for (int i = 0; i < 64; i++) {
		has[s->v[i].worker->index] = true;
		hang_up(fd[i]);
	}
	assert_true(has[0] && has[1]);
	mk_listener_stop(&l);
	assert_int_equal(dial(NULL, "127.0.0.1", port), -ECONNREFUSED);
	seen_free(s);
}

static void test_what_is_wrong_is_said(void **state)
{
	static const char *const bad_prefix[] = { "10.0.0.0/33", NULL };
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1" }, s);
	const struct { struct mk_listener_conf conf; const char *says; } table[] = {
		{ { .address = "example.org" }, "Invalid argument" },
		{ { .address = "192.0.2.77", .port = 5222 }, "192.0.2.77, port 5222" },
		{ { .address = "127.0.0.1", .proxy = true, .proxy_from = bad_prefix },
		  "10.0.0.0/33" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct mk_listener_conf conf = table[i].conf;
		struct mk_listener *none = NULL;
		struct mk_diag d = { 0 };

		conf.name = "test";
		conf.accepted = accepted;
		assert_int_equal(mk_listener_start(&conf, &d, &none), -MK_EIO);
		assert_null(none);
		assert_non_null(strstr(mk_buf_z(&d.text), table[i].says));
		mk_diag_fini(&d);
	}
	mk_listener_stop(&l);
	seen_free(s);
}

static void test_a_socket_may_be_inherited(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int given = socket(AF_INET, SOCK_STREAM, 0), fd[8];
	struct seen *s = seen_new();
	struct mk_listener *l;

	(void)state;
	assert_int_equal(bind(given, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(given, 16), 0);
	l = start((struct mk_listener_conf){ .inherited_fd = given }, s);
	close(given);
	for (int i = 0; i < 8; i++)
		fd[i] = dial(NULL, "127.0.0.1", mk_listener_port(l));
	until(seen_n(s) == 8);
	for (int i = 0; i < 8; i++)
		hang_up(fd[i]);
	mk_listener_stop(&l);
	seen_free(s);
}

static void test_an_address_has_so_many_connections(void **state)
{
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1",
		.per_address = 3 }, s);
	uint16_t port = mk_listener_port(l);
	int fd[5];

	(void)state;
	for (int i = 0; i < 3; i++)
		fd[i] = dial("127.1.0.1", "127.0.0.1", port);
	until(seen_n(s) == 3);
	expect_refusal(dial("127.1.0.1", "127.0.0.1", port));
	fd[3] = dial("127.1.0.2", "127.0.0.1", port);  /* others aren't touched  */
	until(seen_n(s) == 4);
	mk_listener_gone(&s->v[1].peer);
	fd[4] = dial("127.1.0.1", "127.0.0.1", port);
	until(seen_n(s) == 5);
	assert_int_equal(mk_limit_count(&s->v[0].peer), 3);
	for (int i = 0; i < 5; i++)
		hang_up(fd[i]);
	mk_listener_stop(&l);
	close(s->v[1].fd);
	s->v[1] = s->v[--s->n];                        /* gone already           */
	seen_free(s);
	assert_int_equal(mk_limit_entries(), 0);
}

static void test_an_address_comes_so_often(void **state)
{
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1",
		.accepts_per_second = 5 }, s);
	uint16_t port = mk_listener_port(l);
	int fd[5], other;

	(void)state;
	for (int i = 0; i < 5; i++)
		fd[i] = dial("127.1.0.3", "127.0.0.1", port);
	until(seen_n(s) == 5);
	expect_refusal(dial("127.1.0.3", "127.0.0.1", port));
	other = dial("127.1.0.4", "127.0.0.1", port);
	until(seen_n(s) == 6);
	for (int i = 0; i < 5; i++)
		hang_up(fd[i]);
	hang_up(other);
	mk_listener_stop(&l);
	seen_free(s);
}

static struct mk_addr addr_of(const char *ip)
{
	struct mk_addr a = { .port = 1 };

	assert_int_equal(inet_pton(AF_INET6, ip, &a.ip), 1);
	return a;
}

static void test_limits_count_networks(void **state)
{
	struct mk_addr a = addr_of("2001:db8:0:1::1"), same = addr_of("2001:db8:0:1:ffff::2"),
		other = addr_of("2001:db8:0:2::1"), v4 = addr_of("::ffff:192.0.2.1"),
		v4_other = addr_of("::ffff:192.0.2.2");
	mk_usec now = 1000000;

	(void)state;
	assert_int_equal(mk_limit_enter(&a, 1, 0, now), MK_LIMIT_OK);
	assert_int_equal(mk_limit_enter(&same, 1, 0, now), MK_LIMIT_MANY);
	assert_int_equal(mk_limit_enter(&other, 1, 0, now), MK_LIMIT_OK);
	assert_int_equal(mk_limit_enter(&v4, 1, 0, now), MK_LIMIT_OK);
	assert_int_equal(mk_limit_enter(&v4_other, 1, 0, now), MK_LIMIT_OK);
	mk_limit_leave(&same);
	assert_int_equal(mk_limit_enter(&a, 1, 0, now), MK_LIMIT_OK);
	/* Those that have not logged in are counted by themselves. */
	assert_true(mk_limit_wait(&a, 1));
	assert_false(mk_limit_wait(&same, 1));
	assert_true(mk_limit_wait(&other, 1));
	mk_limit_waited(&other);
	mk_limit_waited(&same);
	assert_true(mk_limit_wait(&a, 1));
	mk_limit_waited(&a);
	mk_limit_leave(&a);
	mk_limit_leave(&a);                    /* one too many does no harm      */
	mk_limit_leave(&other);
	mk_limit_leave(&v4);
	mk_limit_leave(&v4_other);
	assert_int_equal(mk_limit_entries(), 0);
}

static void test_limits_forget(void **state)
{
	mk_usec now = mk_now_usec();

	(void)state;
	for (unsigned round = 0; round < 4; round++, now += 10 * 1000000)
		for (unsigned i = 0; i < 5000; i++) {
			char ip[64];
			struct mk_addr a;

			snprintf(ip, sizeof ip, "2001:db8:%x:%x::1", round, i);
			a = addr_of(ip);
			assert_int_equal(mk_limit_enter(&a, 0, 2, now), MK_LIMIT_OK);
			assert_int_equal(mk_limit_enter(&a, 0, 2, now), MK_LIMIT_OK);
			assert_int_equal(mk_limit_enter(&a, 0, 2, now), MK_LIMIT_FAST);
			assert_int_equal(mk_limit_enter(&a, 0, 2, now + 500000), MK_LIMIT_OK);
			for (int k = 0; k < 3; k++)
				mk_limit_leave(&a);
		}
	/* No more than one round and what waits to be swept. */
	assert_true(mk_limit_entries() <= 10000);
}

/* ---- PROXY ------------------------------------------------------------------------- */

static void test_proxy_headers(void **state)
{
	static const char *const trusted[] = { "127.2.0.0/16", "::1", NULL };
	static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24"
		"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
		"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02" "\x30\x39" "\x14\x66";
	static const char v1[] = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 5222\r\n";
	static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
	static const struct { const char *p; size_t n; const char *ip; unsigned port; } table[] = {
		{ v1, sizeof v1 - 1, "192.0.2.1", 12345 },
		{ v2, sizeof v2 - 1, "2001:db8::1", 12345 },
		{ local, sizeof local - 1, "127.2.0.1", 0 },
	};
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1",
		.proxy = true, .proxy_from = trusted }, s);
	uint16_t port = mk_listener_port(l);
	unsigned n = 0;
	int fd;

	(void)state;
	/* Whole, cut in two, and byte by byte; what follows stays to be read. */
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		for (int way = 0; way < 3; way++) {
			char rest[8];
			size_t at = 0;
			int on = 1;

			fd = dial("127.2.0.1", "127.0.0.1", port);
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
			while (at < table[i].n) {
				size_t part = way == 0 ? table[i].n : way == 1 ? 13 : 1;

				if (part > table[i].n - at)
					part = table[i].n - at;
				assert_int_equal(send(fd, table[i].p + at, part, 0), part);
				at += part;
			}
			assert_int_equal(send(fd, "<stream", 7, 0), 7);
			until(seen_n(s) == n + 1);
			assert_string_equal(ip_of(s, n), table[i].ip);
			if (table[i].port != 0)
				assert_int_equal(s->v[n].peer.port, table[i].port);
			until(recv(s->v[n].fd, rest, 8, MSG_PEEK) == 7);
			assert_memory_equal(rest, "<stream", 7);
			n++;
			close(fd);
		}
	/* Somebody else is a client, whatever it says. */
	fd = dial("127.3.0.1", "127.0.0.1", port);
	until(seen_n(s) == n + 1);
	assert_string_equal(ip_of(s, n), "127.3.0.1");
	hang_up(fd);
	/* A trusted proxy without a header isn't. */
	fd = dial("127.2.0.1", "127.0.0.1", port);
	assert_int_equal(send(fd, "<?xml", 5, 0), 5);
	expect_refusal(fd);
	fd = dial("127.2.0.1", "127.0.0.1", port);
	assert_int_equal(send(fd, "PROXY TCP", 9, 0), 9);
	shutdown(fd, SHUT_WR);
	expect_refusal(fd);
	assert_int_equal(seen_n(s), n + 1);
	/* One that waits when the listener ends. */
	fd = dial("127.2.0.1", "127.0.0.1", port);
	assert_int_equal(send(fd, "PROXY TCP", 9, 0), 9);
	mk_listener_stop(&l);
	expect_refusal(fd);
	seen_free(s);
}

static void test_a_slow_proxy_is_given_up(void **state)
{
	static const char *const trusted[] = { "127.0.0.0/8", NULL };
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1",
		.proxy = true, .proxy_from = trusted }, s);
	mk_usec begin = mk_now_usec();
	int fd = dial(NULL, "127.0.0.1", mk_listener_port(l));

	(void)state;
	assert_int_equal(send(fd, "PROXY ", 6, 0), 6);
	expect_refusal(fd);
	assert_true(mk_now_usec() - begin >= 4900000);
	assert_int_equal(seen_n(s), 0);
	mk_listener_stop(&l);
	seen_free(s);
}

static void test_limits_are_the_clients_not_the_proxys(void **state)
{
	static const char *const trusted[] = { "127.0.0.0/8", NULL };
	struct seen *s = seen_new();
	struct mk_listener *l = start((struct mk_listener_conf){ .address = "127.0.0.1",
		.proxy = true, .proxy_from = trusted, .per_address = 1 }, s);
	int fd[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		char head[80];
		int n = snprintf(head, sizeof head, "PROXY TCP4 192.0.2.%d 198.51.100.2 1 2\r\n",
		                 i + 1);

		fd[i] = dial(NULL, "127.0.0.1", mk_listener_port(l));
		assert_int_equal(send(fd[i], head, (size_t)n, 0), n);
	}
	until(seen_n(s) == 4);
	for (int i = 0; i < 4; i++)
		hang_up(fd[i]);
	mk_listener_stop(&l);
	seen_free(s);
}

/* ---- no descriptors ---------------------------------------------------------------- */

static uint64_t cpu_usec(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* In a child: its descriptors run out, a client of another process is turned
 * away at once, the loop doesn't spin, and all is well when some are back. */
static void descriptors_child(int tell, int go)
{
	struct seen *s = seen_new();
	struct rlimit limit = { 64, 64 };
	struct mk_listener *l;
	int spent[64], n = 0;
	uint64_t cpu;
	uint16_t port;
	char c;

	mk_workers_start(1, NULL, NULL);
	l = start((struct mk_listener_conf){ .address = "127.0.0.1" }, s);
	port = mk_listener_port(l);
	mk_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (n < 64 && (spent[n] = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	mk_assert(errno == EMFILE);
	mk_assert(write(tell, &port, sizeof port) == sizeof port);
	cpu = cpu_usec();
	mk_assert(read(go, &c, 1) == 1);
	/* The parent was busy for 2 s: ten clients, one after another. */
	cpu = cpu_usec() - cpu;
	mk_assert(cpu < 500000);
	while (n > 0)
		close(spent[--n]);
	mk_assert(write(tell, &port, 1) == 1);
	mk_assert(read(go, &c, 1) == 1);
	mk_assert(seen_n(s) == 1);
	mk_listener_stop(&l);
	seen_free(s);
	mk_workers_stop();
}

static void test_without_descriptors(void **state)
{
	int to[2], from[2], status, fd;
	uint16_t port;
	pid_t child;
	char c;

	(void)state;
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	child = fork();
	if (child == 0) {
		/* Else it would wait for ever for a parent that failed. */
		close(to[1]);
		close(from[0]);
		descriptors_child(from[1], to[0]);
		_exit(0);
	}
	assert_int_equal(read(from[0], &port, sizeof port), sizeof port);
	for (int i = 0; i < 10; i++)
		expect_refusal(dial(NULL, "127.0.0.1", port));
	assert_int_equal(write(to[1], "x", 1), 1);
	assert_int_equal(read(from[0], &c, 1), 1);
	/* One is let in, as soon as the listener has seen that there is room. */
	for (int tries = 0;; tries++) {
		fd = dial(NULL, "127.0.0.1", port);
		assert_true(fd >= 0);
		poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 500);
		if (recv(fd, &c, 1, MSG_DONTWAIT) < 0)
			break;         /* isn't closed                          */
		close(fd);
		assert_true(tries < 20);
	}
	assert_int_equal(write(to[1], "x", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(fd);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
}

static int group_setup(void **state)
{
	(void)state;
	return mk_log_open("/dev/null", MK_LOG_LOGFMT, MK_DEBUG);
}

#define WITH_WORKERS(test) \
	cmocka_unit_test_setup_teardown(test, workers_setup, workers_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_descriptors),
		cmocka_unit_test(test_limits_count_networks),
		WITH_WORKERS(test_all_addresses_of_both_kinds),
		WITH_WORKERS(test_every_worker_accepts),
		WITH_WORKERS(test_what_is_wrong_is_said),
		WITH_WORKERS(test_a_socket_may_be_inherited),
		WITH_WORKERS(test_an_address_has_so_many_connections),
		WITH_WORKERS(test_an_address_comes_so_often),
		WITH_WORKERS(test_proxy_headers),
		WITH_WORKERS(test_a_slow_proxy_is_given_up),
		WITH_WORKERS(test_limits_are_the_clients_not_the_proxys),
		cmocka_unit_test(test_limits_forget),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
