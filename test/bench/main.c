/*
 * main.c - meerkat-bench, a load generator for XMPP servers
 *
 * One thread, one epoll set, one timer. A mode (idle.c, chat.c, ...)
 * decides what is sent; conn.c and negotiate.c do it. It shares no code with
 * the server it measures.
 */
#include "bench.h"
#include "proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifndef MK_VERSION
#define MK_VERSION "unknown"
#endif

#define EVENTS 256
#define OTHER_FILES 32          /* what we need besides the sessions         */
#define LOOPBACK_FIRST 0x7f000101u
#define LOOPBACK_COUNT 250u

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

uint64_t bench_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void out_of_memory(void)
{
	fputs("meerkat-bench: out of memory\n", stderr);
	abort();
}

void *bench_grow(void *p, size_t n)
{
	p = realloc(p, n);
	if (!p)
		out_of_memory();
	return p;
}

void *bench_zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		out_of_memory();
	return p;
}

int64_t bench_server_cpu(const struct bench *b)
{
	return proc_cpu_us(b->o.server_pid, b->o.n_server_pid);
}

static const struct { const char *key, *label; } error_names[] = {
#define X(sym, key, label) [BENCH_E_##sym] = { key, label },
	BENCH_ERRORS(X)
#undef X
};

void bench_error(struct bench *b, enum bench_error kind, const struct conn *c,
                 const char *text, size_t len)
{
	char user[NAME_MAX_BYTES] = "";
	char *first = b->first_error[kind];
	int n = len > 240 ? 240 : (int)len;

	if (b->errors[kind]++ > 0)
		return;
	options_name(b->o.user_format, b->o.first_user + c->user, user, sizeof(user));
	snprintf(first, sizeof(b->first_error[0]), "%.*s", n, text);
	fprintf(stderr, "%smeerkat-bench: %s: first of %s: %s\n",
	        isatty(2) ? "\r\033[K" : "", user, error_names[kind].label, first);
}

/* ---- preparation ---- */

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "meerkat-bench: %s: %s\n", what, why);
	return -1;
}

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT. */
static int resolve(struct bench *b, size_t i)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	const char *text = b->o.connect[i], *port = b->o.direct_tls ? "5223" : "5222";
	char host[256];
	const char *colon = strrchr(text, ':'), *end = strchr(text, ']');
	size_t n = strlen(text);
	int r;

	if (colon && (end ? colon == end + 1 : strchr(text, ':') == colon)) {
		port = colon + 1;
		n = (size_t)(colon - text);
	}
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(host))
		return fail(b->o.connect[i], "not an address");
	memcpy(host, text, n);
	host[n] = '\0';
	r = getaddrinfo(host, port, &hints, &list);
	if (r != 0)
		return fail(b->o.connect[i], gai_strerror(r));
	memcpy(&b->target[i], list->ai_addr, list->ai_addrlen);
	b->target_len[i] = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static int choose_sources(struct bench *b)
{
	const struct sockaddr_in *sin = (const struct sockaddr_in *)&b->target[0];
	const char *text = b->o.source_range, *dash;
	struct in_addr first, last;
	char one[32];

	if (!text) {
		if (sin->sin_family == AF_INET &&
		    ntohl(sin->sin_addr.s_addr) >> 24 == 127) {
			b->source_first = LOOPBACK_FIRST;
			b->source_count = LOOPBACK_COUNT;
		}
		return 0;
	}
	if (strcmp(text, "none") == 0)
		return 0;
	dash = strchr(text, '-');
	if (!dash || (size_t)(dash - text) >= sizeof(one))
		return fail("--source-range", "should be FIRST-LAST");
	memcpy(one, text, (size_t)(dash - text));
	one[dash - text] = '\0';
	if (inet_pton(AF_INET, one, &first) != 1 || inet_pton(AF_INET, dash + 1, &last) != 1 ||
	    ntohl(last.s_addr) < ntohl(first.s_addr))
		return fail("--source-range", "should be two IPv4 addresses");
	b->source_first = ntohl(first.s_addr);
	b->source_count = ntohl(last.s_addr) - b->source_first + 1;
	return 0;
}

static int prepare_tls(struct bench *b)
{
	const char *where = NULL;
	int r;

	r = gnutls_certificate_allocate_credentials(&b->credentials);
	if (r >= 0)
		r = gnutls_priority_init(&b->priority, b->o.tls_priority, &where);
	if (r < 0)
		return fail("TLS", where ? where : gnutls_strerror(r));
	if (!b->o.verify)
		return 0;
	if (b->o.ca)
		r = gnutls_certificate_set_x509_trust_file(b->credentials, b->o.ca,
		                                           GNUTLS_X509_FMT_PEM);
	else
		r = gnutls_certificate_set_x509_system_trust(b->credentials);
	return r < 0 ? fail("trusted certificates", gnutls_strerror(r)) : 0;
}

static int raise_limits(struct bench *b)
{
	struct rlimit rl;

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	getrlimit(RLIMIT_NOFILE, &rl);
	if (b->n_conns + OTHER_FILES <= rl.rlim_cur)
		return 0;
	fprintf(stderr, "meerkat-bench: %u sessions need more than the %llu open files "
	        "allowed here;\nrun several generators, each with its own --first-user\n",
	        b->n_conns, (unsigned long long)rl.rlim_cur);
	return -1;
}

static int pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? fail("--pin", strerror(errno))
	                                                   : 0;
}

static int choose_mode(struct bench *b)
{
	static const struct mode *const modes[] = {
		&idle_mode, &chat_mode, &login_mode, &muc_mode,
		&archive_mode, &offline_mode };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(b->o.mode, modes[i]->name) == 0)
			b->mode = modes[i];
	}
	return b->mode ? 0 : fail(b->o.mode, "no such mode");
}

static int prepare(struct bench *b)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	for (size_t i = 0; i < b->o.n_connect; i++) {
		if (resolve(b, i) < 0)
			return -1;
	}
	for (size_t i = 0; i < b->o.n_server_pid; i++) {
		if (proc_cpu_us(&b->o.server_pid[i], 1) < 0)
			return fail("--server-pid", "no such process");
	}
	if (choose_mode(b) < 0 || choose_sources(b) < 0 || prepare_tls(b) < 0 ||
	    pin(b->o.pin) < 0)
		return -1;
	b->is_scram = strcmp(b->o.mech, "PLAIN") != 0;
	b->hash = strcmp(b->o.mech, "SCRAM-SHA-256") == 0 ? SCRAM_SHA256 : SCRAM_SHA1;
	b->keys = bench_zeroed(b->o.users, sizeof(*b->keys));
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	b->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (b->epoll_fd < 0 || b->timer_fd < 0)
		return fail("epoll", strerror(errno));
	epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->timer_fd, &ev);
	b->begun = b->now = bench_clock();
	b->timer_at = NEVER;
	b->n_conns = b->o.slots;
	if (raise_limits(b) < 0)
		return -1;
	b->conns = bench_zeroed(b->n_conns, sizeof(*b->conns));
	for (uint32_t i = 0; i < b->n_conns; i++)
		b->conns[i].fd = -1;
	b->mode->start(b);
	return 0;
}

/* ---- the loop ---- */

/* Wakes epoll at a time (to the microsecond, which its own timeout isn't). */
static void wake_at(struct bench *b, uint64_t at)
{
	struct itimerspec its = { 0 };

	if (at == b->timer_at)
		return;
	b->timer_at = at;
	if (at == 0)
		at = 1;
	its.it_value.tv_sec = (time_t)(at / NS_PER_S);
	its.it_value.tv_nsec = (long)(at % NS_PER_S);
	timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void show_progress(struct bench *b)
{
	char line[256];

	b->mode->progress(b, line, sizeof(line));
	fprintf(stderr, "\r\033[K%4.0f s  %s", (double)(b->now - b->begun) / 1e9, line);
}

static void run(struct bench *b)
{
	struct epoll_event ev[EVENTS];
	bool is_terminal = isatty(2);
	uint64_t next, second = b->now + NS_PER_S, ticks;
	int n;

	while (!b->is_done && !interrupted) {
		next = b->mode->tick(b);
		if (b->is_done)
			break;
		if (b->now >= second) {
			second = b->now + NS_PER_S;
			conn_timeouts(b);
			if (is_terminal)
				show_progress(b);
		}
		if (next <= b->now) {
			n = epoll_wait(b->epoll_fd, ev, EVENTS, 0);
		} else {
			wake_at(b, next < second ? next : second);
			n = epoll_wait(b->epoll_fd, ev, EVENTS, -1);
		}
		b->now = bench_clock();
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr) {
				conn_event(b, ev[i].data.ptr, ev[i].events);
			} else if (read(b->timer_fd, &ticks, sizeof(ticks)) > 0) {
				b->timer_at = NEVER;
			}
		}
	}
	if (!b->is_done)
		b->mode->stop(b);
	if (is_terminal)
		fputs("\r\033[K", stderr);
}

/* Ends what is open; the server need not learn it from a reset. */
static void say_goodbye(struct bench *b)
{
	for (uint32_t i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		if (c->state != CONN_READY)
			continue;
		conn_close(b, c);
		conn_flush(b, c);
	}
}

static void report_rest(struct bench *b, struct report *r, double cpu_s, double wall_s)
{
	char key[48], label[64];

	if (b->login_ns.count > 0) {
		report_number(r, "login_p50_ms", "login p50",
		              (double)hist_quantile(&b->login_ns, 0.5) / 1e6, 3, "ms");
		report_number(r, "login_p99_ms", "login p99",
		              (double)hist_quantile(&b->login_ns, 0.99) / 1e6, 3, "ms");
		report_number(r, "login_max_ms", "login max",
		              (double)b->login_ns.max / 1e6, 3, "ms");
	}
	report_number(r, "failed_logins", "failed logins", b->n_failed, 0, "");
	if (b->tls_text[0])
		report_text(r, "tls", "TLS", b->tls_text);
	if (b->o.tls_resume)
		report_number(r, "tls_resumed", "TLS sessions resumed", (double)b->n_resumed,
		              0, "");
	/* near 1, the figures may tell of the generator, not of the server */
	report_number(r, "generator_cpu_share", "generator's CPU per second",
	              wall_s > 0 ? cpu_s / wall_s : 0, 3, "");
	for (int i = 0; i < BENCH_E_COUNT; i++) {
		if (b->errors[i] == 0)
			continue;
		snprintf(key, sizeof(key), "errors_%s", error_names[i].key);
		report_number(r, key, error_names[i].label, (double)b->errors[i], 0, "");
		snprintf(key, sizeof(key), "first_error_%s", error_names[i].key);
		snprintf(label, sizeof(label), "  the first (%s)", error_names[i].key);
		report_text(r, key, label, b->first_error[i]);
	}
}

int main(int argc, char **argv)
{
	static struct bench b;
	static struct report r;
	struct sigaction sa = { .sa_handler = on_signal };
	struct rusage usage;
	uint64_t worked;

	if (options_read(&b.o, argc, argv) < 0)
		return 2;
	if (b.o.help) {
		options_usage();
		return 0;
	}
	if (b.o.version) {
		puts("meerkat-bench " MK_VERSION);
		return 0;
	}
	if (prepare(&b) < 0)
		return 2;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);

	run(&b);
	worked = b.n_logins;
	getrusage(RUSAGE_SELF, &usage);
	report_text(&r, "mode", "mode", b.mode->name);
	report_text(&r, "auth", "authentication", b.o.mech);
	b.mode->report(&b, &r);
	report_rest(&b, &r, (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
	            (double)(b.now - b.begun) / 1e9);
	report_print(&r, b.o.json);
	say_goodbye(&b);
	return worked > 0 ? 0 : 1;
}
