/*
 * login.c - connect, authenticate, bind, close, over and over
 *
 * Each of --concurrency slots goes through its share of the accounts, so no
 * account is logged in twice at a time when there are enough. A login counts
 * when the resource is bound; closing belongs to the cycle. Loop's thread.
 */
#include "bench.h"

#include <stdio.h>

enum phase { WARMUP, MEASURE };

struct login {
	enum phase phase;
	uint32_t *rest;                 /* slots without a socket            */
	uint32_t n_rest;
	uint32_t in_a_row;              /* failures since the last success   */
	uint64_t next_start;
	uint64_t phase_end;
	uint64_t begin;
	uint64_t end;
	uint64_t first_login;           /* n_logins at begin                 */
	uint64_t logins;
	int64_t cpu_us;
};

static void login_start(struct bench *b)
{
	struct login *m = bench_zeroed(1, sizeof(*m));

	b->state = m;
	m->rest = bench_zeroed(b->n_conns, sizeof(*m->rest));
	for (uint32_t i = 0; i < b->n_conns; i++) {
		b->conns[i].user = i % b->o.users;
		m->rest[m->n_rest++] = b->n_conns - 1 - i;
	}
	m->next_start = b->now;
	m->phase_end = b->now + (uint64_t)(b->o.warmup * 1e9);
}

static uint64_t start_logins(struct bench *b, struct login *m)
{
	uint32_t n = m->n_rest;

	/* those refused at once come back to rest: not again in this turn */
	while (n-- > 0) {
		struct conn *c;

		if (b->o.rate > 0) {
			if (b->now < m->next_start)
				return m->next_start;
			m->next_start += (uint64_t)(1e9 / b->o.rate);
		}
		c = &b->conns[m->rest[--m->n_rest]];
		conn_open(b, c, c->user);
	}
	return NEVER;
}

static void measure(struct bench *b, struct login *m)
{
	m->phase = MEASURE;
	m->begin = b->now;
	m->phase_end = b->o.logins ? NEVER : b->now + (uint64_t)(b->o.seconds * 1e9);
	m->first_login = b->n_logins;
	m->cpu_us = bench_server_cpu(b);
	b->login_ns = (struct hist){ 0 };
}

static void measure_end(struct bench *b, struct login *m)
{
	m->logins = b->n_logins - m->first_login;
	m->end = b->now;
	m->cpu_us = bench_server_cpu(b) - m->cpu_us;
}

static uint64_t login_tick(struct bench *b)
{
	struct login *m = b->state;
	uint64_t next;

	if (m->phase == WARMUP && b->now >= m->phase_end)
		measure(b, m);
	m->logins = b->n_logins - m->first_login;
	if (m->phase == MEASURE && (b->now >= m->phase_end ||
	                            (b->o.logins && m->logins >= b->o.logins))) {
		measure_end(b, m);
		b->is_done = true;
		return NEVER;
	}
	if (m->in_a_row >= 100 + 2 * b->n_conns) {
		fprintf(stderr, "meerkat-bench: %u failures in a row: giving up\n",
		        m->in_a_row);
		if (m->phase == MEASURE)
			measure_end(b, m);
		b->is_done = true;
		return NEVER;
	}
	next = start_logins(b, m);
	return next < m->phase_end ? next : m->phase_end;
}

static void login_ready(struct bench *b, struct conn *c)
{
	struct login *m = b->state;

	m->in_a_row = 0;
	conn_close(b, c);
}

static void login_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	(void)b;
	(void)c;
	(void)s;
	(void)len;
}

static void login_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	struct login *m = b->state;

	if (is_error && !was_ready)
		m->in_a_row++;
	c->user = (c->user + b->n_conns) % b->o.users;
	m->rest[m->n_rest++] = (uint32_t)(c - b->conns);
}

static void login_stop(struct bench *b)
{
	struct login *m = b->state;

	if (m->phase == MEASURE)
		measure_end(b, m);
}

static void login_progress(struct bench *b, char *out, size_t cap)
{
	struct login *m = b->state;
	double s = (double)(b->now - m->begin) / 1e9;

	if (m->phase == WARMUP)
		snprintf(out, cap, "warming up: %llu logins, %u failed",
		         (unsigned long long)b->n_logins, b->n_failed);
	else
		snprintf(out, cap, "%llu logins in %.0f s (%.0f/s), %u failed",
		         (unsigned long long)m->logins, s,
		         s > 0 ? (double)m->logins / s : 0, b->n_failed);
}

static void login_report(struct bench *b, struct report *r)
{
	struct login *m = b->state;
	double wall = (double)(m->end - m->begin) / 1e9;

	if (m->phase != MEASURE || m->end <= m->begin)
		return;
	report_number(r, "logins", "logins", (double)m->logins, 0, "");
	report_number(r, "wall_s", "time measured", wall, 3, "s");
	report_number(r, "logins_per_s", "logins per second", (double)m->logins / wall, 1,
	              "/s");
	if (!b->o.n_server_pid || m->cpu_us <= 0)
		return;
	report_number(r, "cpu_s", "server CPU", (double)m->cpu_us / 1e6, 3, "s");
	report_number(r, "cpu_share", "server CPU per second",
	              (double)m->cpu_us / 1e6 / wall, 3, "");
	report_number(r, "logins_per_cpu_s", "logins per server CPU second",
	              (double)m->logins * 1e6 / (double)m->cpu_us, 1, "/s");
}

const struct mode login_mode = {
	.name = "login",
	.start = login_start,
	.tick = login_tick,
	.ready = login_ready,
	.stanza = login_stanza,
	.closed = login_closed,
	.stop = login_stop,
	.progress = login_progress,
	.report = login_report,
};
