/*
 * idle.c - N sessions log in and stay: login rate, memory and CPU of a server
 * at rest
 *
 * Logins stop at each step until all that started have ended and --settle
 * has passed; then the server's PSS is read. Growth is counted between two
 * steps (--from, --to), so what the server has from the start isn't part of
 * it. Loop's thread.
 */
#include "bench.h"
#include "proc.h"

#include <stdio.h>
#include <stdlib.h>

#define STEPS_MAX 8

struct idle {
	uint32_t started;
	uint32_t step;
	uint32_t n_steps;
	struct step {
		uint32_t sessions;      /* wanted                            */
		uint32_t live;          /* there                             */
		int64_t pss_kib;
	} steps[STEPS_MAX];
	uint64_t settled;               /* when this step can be read; 0     */
	uint64_t next_start;
	uint64_t segment;               /* start of logins since a step; 0   */
	uint64_t login_ns;              /* wall time of logging in           */
	int64_t cpu_segment;
	int64_t login_cpu_us;
	uint64_t hold_begin;            /* 0: not yet                        */
	uint64_t hold_end;
	int64_t hold_cpu_us;
};

static void step_add(struct idle *m, uint32_t sessions)
{
	if (m->n_steps > 0 && sessions <= m->steps[m->n_steps - 1].sessions)
		return;
	m->steps[m->n_steps++].sessions = sessions;
}

static void idle_start(struct bench *b)
{
	struct idle *m = bench_zeroed(1, sizeof(*m));
	uint32_t from = b->o.from, to = b->o.to;

	b->state = m;
	m->steps[m->n_steps++].sessions = 0;
	for (uint32_t i = 0; i <= 4; i++)
		step_add(m, from + (uint32_t)((uint64_t)(to - from) * i / 4));
	step_add(m, b->o.sessions);
}

static void step_read(struct bench *b, struct idle *m)
{
	struct step *s = &m->steps[m->step];

	s->live = b->n_live;
	s->pss_kib = proc_pss_kib(b->o.server_pid, b->o.n_server_pid);
	m->step++;
	m->settled = 0;
	if (m->step < m->n_steps)
		return;
	m->hold_begin = b->now;
	m->hold_end = b->now + (uint64_t)(b->o.hold * 1e9);
	m->hold_cpu_us = bench_server_cpu(b);
}

static uint64_t start_logins(struct bench *b, struct idle *m, uint32_t target)
{
	if (m->segment == 0) {
		m->segment = b->now;
		m->next_start = b->now;
		m->cpu_segment = bench_server_cpu(b);
	}
	while (m->started < target && b->n_login < b->o.concurrency) {
		if (b->o.rate > 0) {
			if (b->now < m->next_start)
				return m->next_start;
			m->next_start += (uint64_t)(1e9 / b->o.rate);
		}
		conn_open(b, &b->conns[m->started], m->started);
		m->started++;
	}
	return NEVER;
}

/* The time and CPU of logging in, since the last step, are complete. */
static void segment_end(struct bench *b, struct idle *m)
{
	if (m->segment == 0)
		return;
	m->login_ns += b->now - m->segment;
	m->login_cpu_us += bench_server_cpu(b) - m->cpu_segment;
	m->segment = 0;
}

static void hold_end(struct bench *b, struct idle *m)
{
	m->hold_end = b->now;
	m->hold_cpu_us = bench_server_cpu(b) - m->hold_cpu_us;
}

static uint64_t idle_tick(struct bench *b)
{
	struct idle *m = b->state;
	uint32_t target;

	if (m->hold_begin) {
		if (b->now >= m->hold_end) {
			hold_end(b, m);
			b->is_done = true;
		}
		return m->hold_end;
	}
	target = m->steps[m->step].sessions;
	if (m->started < target)
		return start_logins(b, m, target);
	if (b->n_login > 0)
		return NEVER;
	segment_end(b, m);
	if (m->settled == 0)
		m->settled = b->now + (uint64_t)(b->o.settle * 1e9);
	if (b->now < m->settled)
		return m->settled;
	if (m->started > 0 && b->n_live == 0)
		b->is_done = true;
	step_read(b, m);
	return b->now;
}

static void idle_ready(struct bench *b, struct conn *c)
{
	/* the address is not needed; 20,000 of them would be */
	(void)b;
	free(c->jid);
	c->jid = NULL;
}

static void idle_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	(void)b;
	(void)c;
	(void)s;
	(void)len;
}

static void idle_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	(void)b;
	(void)c;
	(void)was_ready;
	(void)is_error;
}

static void idle_stop(struct bench *b)
{
	struct idle *m = b->state;

	segment_end(b, m);
	if (m->hold_begin)
		hold_end(b, m);
}

static void idle_progress(struct bench *b, char *out, size_t cap)
{
	struct idle *m = b->state;

	snprintf(out, cap, "%u of %u sessions, %u under way, %u failed%s", b->n_live,
	         b->o.sessions, b->n_login, b->n_failed, m->hold_begin ? ", holding" : "");
}

static void report_memory(struct bench *b, struct idle *m, struct report *r)
{
	const struct step *from = NULL, *to = NULL;
	char key[48], label[64];

	for (uint32_t i = 0; i < m->step; i++) {
		const struct step *s = &m->steps[i];

		if (s->pss_kib < 0)
			continue;
		snprintf(key, sizeof(key), "pss_kib_at_%u", s->sessions);
		snprintf(label, sizeof(label), "server PSS with %u sessions", s->live);
		report_number(r, key, label, (double)s->pss_kib, 0, "KiB");
		if (s->sessions == b->o.from)
			from = s;
		if (s->sessions == b->o.to)
			to = s;
	}
	if (from && to && to->live > from->live) {
		snprintf(label, sizeof(label), "memory per session (%u to %u)", from->live,
		         to->live);
		report_number(r, "kib_per_session", label,
		              (double)(to->pss_kib - from->pss_kib) /
		              (double)(to->live - from->live), 3, "KiB");
	}
}

static void idle_report(struct bench *b, struct report *r)
{
	struct idle *m = b->state;
	double wall = (double)m->login_ns / 1e9, held;

	report_number(r, "sessions", "sessions", b->n_live, 0, "");
	if (wall > 0) {
		report_number(r, "login_wall_s", "time of logging in", wall, 3, "s");
		report_number(r, "logins_per_s", "logins per second",
		              (double)b->n_logins / wall, 1, "/s");
	}
	if (b->o.n_server_pid && m->login_cpu_us > 0) {
		report_number(r, "login_cpu_s", "server CPU of logging in",
		              (double)m->login_cpu_us / 1e6, 3, "s");
		report_number(r, "logins_per_cpu_s", "logins per server CPU second",
		              (double)b->n_logins * 1e6 / (double)m->login_cpu_us, 1, "/s");
	}
	report_memory(b, m, r);
	if (!b->o.n_server_pid || !m->hold_begin || m->hold_end == m->hold_begin)
		return;
	held = (double)(m->hold_end - m->hold_begin) / 1e9;
	report_number(r, "hold_s", "time held", held, 1, "s");
	report_number(r, "hold_cpu_ms_per_s", "server CPU while holding",
	              (double)m->hold_cpu_us / 1e3 / held, 3, "ms/s");
}

const struct mode idle_mode = {
	.name = "idle",
	.start = idle_start,
	.tick = idle_tick,
	.ready = idle_ready,
	.stanza = idle_stanza,
	.closed = idle_closed,
	.stop = idle_stop,
	.progress = idle_progress,
	.report = idle_report,
};
