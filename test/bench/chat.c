/*
 * chat.c - pairs of users exchange messages
 *
 * Closed loop: for each pair (a, b), a sends W messages to b; whoever of the
 * two receives one sends one back, so W messages circulate per pair and both
 * users send and receive. Offered rate (--rate): all users send to their
 * partners in turn by the clock, and nobody answers.
 *
 * A message carries the time of its sending in its id, in hexadecimal behind
 * a mark of this run; so each delivery tells its latency, and messages of
 * other runs (an offline store's) are told apart. Loop's thread.
 */
#include "bench.h"
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_NS (3 * NS_PER_S)
#define MARK_LEN 9                      /* 'm' and eight digits              */

enum phase { LOGIN, SETTLE, WARMUP, MEASURE, DRAIN };

struct chat {
	enum phase phase;
	uint32_t started;
	uint32_t n_pairs;               /* complete ones                     */
	uint32_t next_user;             /* whose turn it is, offered rate    */
	double gap;                     /* ns between messages               */
	uint64_t n_offered;
	uint64_t offered_from;
	uint64_t phase_end;
	uint64_t begin;
	uint64_t end;
	uint64_t sent;                  /* in all phases                     */
	uint64_t delivered;
	uint64_t counted;               /* deliveries while measuring        */
	uint64_t foreign;               /* messages of other runs            */
	int64_t cpu_us;
	struct hist latency;
	struct hist late;               /* our own lateness, offered rate    */
	char mark[MARK_LEN + 1];
};

static void chat_start(struct bench *b)
{
	struct chat *m = bench_zeroed(1, sizeof(*m));

	b->state = m;
	snprintf(m->mark, sizeof(m->mark), "m%08x",
	         (unsigned int)(b->now ^ (uint64_t)getpid() << 20));
}

/* ---- messages ---- */

/* Prepares what c sends to its mate. */
static void message_build(struct bench *b, struct conn *c)
{
	struct chat *m = b->state;
	const char *to = c->mate->jid, *slash = strchr(to, '/');
	int to_len = b->o.bare && slash ? (int)(slash - to) : (int)strlen(to);
	size_t cap = (size_t)to_len + b->o.bytes + 160;
	int n, body;

	c->message = bench_grow(c->message, cap);
	n = snprintf(c->message, cap, "<message to='%.*s' type='chat' id='%s", to_len, to,
	             m->mark);
	c->stamp_at = (uint32_t)n;
	body = snprintf(c->message + n, cap - (size_t)n, "%0*d'><body>", STAMP_LEN, 0) + n;
	for (uint32_t i = 0; i < b->o.bytes; i++)
		c->message[(uint32_t)body + i] = (char)('a' + i % 26);
	n = body + (int)b->o.bytes;
	c->message_len = (uint32_t)(n + snprintf(c->message + n, cap - (size_t)n,
	                                         "</body></message>"));
}

static void message_send(struct bench *b, struct conn *c)
{
	struct chat *m = b->state;

	stamp_write(c->message + c->stamp_at, STAMP_LEN, b->now);
	conn_put(b, c, c->message, c->message_len);
	m->sent++;
	if (c->is_sm && ++c->sm_out % b->o.sm_every == 0)
		conn_puts(b, c, "<r xmlns='urn:xmpp:sm:3'/>");
}

static void chat_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct chat *m = b->state;
	struct token_attr a;
	const char *p = s, *id = NULL;
	uint64_t sent;
	bool is_error = false;

	if (s[1] != 'm')
		return;
	while (token_attr_next(&p, s + len, &a)) {
		if (a.name_len == 2 && a.name[0] == 'i' && a.name[1] == 'd' &&
		    a.value_len == MARK_LEN + STAMP_LEN)
			id = a.value;
		else if (a.name_len == 4 && memcmp(a.name, "type", 4) == 0)
			is_error = a.value_len == 5 && memcmp(a.value, "error", 5) == 0;
	}
	if (!id || memcmp(id, m->mark, MARK_LEN) != 0 || !stamp_read(id + MARK_LEN, STAMP_LEN, &sent)) {
		m->foreign++;
		return;
	}
	if (is_error) {
		bench_error(b, BENCH_E_MESSAGE, c, s, len);
		return;
	}
	m->delivered++;
	if (m->phase == MEASURE) {
		m->counted++;
		hist_add(&m->latency, b->now - sent);
	}
	if (m->phase != DRAIN && m->gap == 0 && c->mate)
		message_send(b, c);
}

/* ---- phases ---- */

static uint64_t start_logins(struct bench *b, struct chat *m)
{
	/* --rate is one of messages here: logins are paced by their number */
	while (m->started < b->n_conns && b->n_login < b->o.concurrency) {
		conn_open(b, &b->conns[m->started], m->started);
		m->started++;
	}
	if (m->started < b->n_conns || b->n_login > 0)
		return NEVER;
	m->phase = SETTLE;
	m->phase_end = b->now + (uint64_t)(b->o.settle * 1e9);
	return m->phase_end;
}

static void begin_chat(struct bench *b, struct chat *m)
{
	m->phase = WARMUP;
	m->phase_end = b->now + (uint64_t)(b->o.warmup * 1e9);
	for (uint32_t i = 0; i + 1 < b->n_conns; i += 2) {
		struct conn *one = &b->conns[i], *two = &b->conns[i + 1];

		if (one->state != CONN_READY || two->state != CONN_READY)
			continue;
		one->mate = two;
		two->mate = one;
		message_build(b, one);
		message_build(b, two);
		m->n_pairs++;
	}
	if (m->n_pairs == 0) {
		b->is_done = true;
		return;
	}
	if (b->o.rate > 0) {
		m->gap = 1e9 / b->o.rate;
		m->offered_from = b->now;
		return;
	}
	for (uint32_t i = 0; i + 1 < b->n_conns; i += 2) {
		struct conn *c = &b->conns[i];

		b->now = bench_clock();
		for (uint32_t w = 0; c->mate && w < b->o.window; w++)
			message_send(b, c);
		conn_flush(b, c);
	}
}

/* Whose turn it is to send: first those in even slots, then their partners. */
static struct conn *next_sender(struct bench *b, struct chat *m)
{
	for (uint32_t tries = 0; tries < b->n_conns; tries++) {
		uint32_t k = m->next_user++ % b->n_conns;
		struct conn *c;

		c = &b->conns[k < b->o.pairs ? 2 * k : 2 * (k - b->o.pairs) + 1];
		if (c->mate)
			return c;
	}
	return NULL;
}

/* Sends what is due at the offered rate; returns when the next one is. */
static uint64_t send_due(struct bench *b, struct chat *m)
{
	for (int burst = 0; burst < 256; burst++) {
		uint64_t due = m->offered_from + (uint64_t)((double)m->n_offered * m->gap);
		struct conn *c;

		if (due > b->now)
			return due;
		c = next_sender(b, m);
		if (!c)
			return NEVER;
		m->n_offered++;
		b->now = bench_clock();
		if (m->phase == MEASURE)
			hist_add(&m->late, b->now - due);
		message_send(b, c);
		conn_flush(b, c);
	}
	return b->now;
}

static void measure_end(struct bench *b, struct chat *m)
{
	m->end = b->now;
	m->cpu_us = bench_server_cpu(b) - m->cpu_us;
	m->phase = DRAIN;
	m->phase_end = b->now + DRAIN_NS;
}

static uint64_t chat_tick(struct bench *b)
{
	struct chat *m = b->state;
	uint64_t next = NEVER;

	if (m->phase == LOGIN)
		return start_logins(b, m);
	if (b->now >= m->phase_end) {
		switch (m->phase) {
		case SETTLE:
			begin_chat(b, m);
			break;
		case WARMUP:
			m->phase = MEASURE;
			m->begin = b->now;
			m->phase_end = b->o.messages ? NEVER :
			               b->now + (uint64_t)(b->o.seconds * 1e9);
			m->cpu_us = bench_server_cpu(b);
			break;
		case MEASURE:
			measure_end(b, m);
			break;
		default:
			b->is_done = true;
		}
	}
	if (m->phase == MEASURE && b->o.messages &&
	    (m->counted >= b->o.messages || b->n_live == 0))
		measure_end(b, m);
	if (m->phase == DRAIN && m->delivered >= m->sent)
		b->is_done = true;
	if (m->gap > 0 && m->phase != DRAIN)
		next = send_due(b, m);
	return next < m->phase_end ? next : m->phase_end;
}

static void chat_ready(struct bench *b, struct conn *c)
{
	(void)b;
	(void)c;
}

static void chat_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	(void)b;
	(void)was_ready;
	(void)is_error;
	if (c->mate)
		c->mate->mate = NULL;
	c->mate = NULL;
}

static void chat_stop(struct bench *b)
{
	struct chat *m = b->state;

	if (m->phase == MEASURE)
		measure_end(b, m);
}

static void chat_progress(struct bench *b, char *out, size_t cap)
{
	static const char *const name[] = {
		[LOGIN] = "logging in", [SETTLE] = "settling", [WARMUP] = "warming up",
		[MEASURE] = "measuring", [DRAIN] = "draining",
	};
	struct chat *m = b->state;
	double s = m->phase == MEASURE ? (double)(b->now - m->begin) / 1e9 : 0;

	snprintf(out, cap, "%s: %u sessions, %llu messages (%.0f/s), p99 %.0f us",
	         name[m->phase], b->n_live, (unsigned long long)m->counted,
	         s > 0 ? (double)m->counted / s : 0,
	         (double)hist_quantile(&m->latency, 0.99) / 1e3);
}

static void report_sm(struct bench *b, struct report *r)
{
	uint64_t sent = 0, acked = 0;

	for (uint32_t i = 0; i < b->n_conns; i++) {
		sent += b->conns[i].sm_out;
		acked += b->conns[i].sm_acked;
	}
	report_number(r, "sm_sent", "stanzas sent under stream management", (double)sent, 0,
	              "");
	report_number(r, "sm_acked", "of these acknowledged", (double)acked, 0, "");
}

static void chat_report(struct bench *b, struct report *r)
{
	struct chat *m = b->state;
	double wall = (double)(m->end - m->begin) / 1e9;
	static const struct { const char *key, *label; double q; } rows[] = {
		{ "latency_p50_us", "latency p50", 0.5 },
		{ "latency_p90_us", "latency p90", 0.9 },
		{ "latency_p99_us", "latency p99", 0.99 },
		{ "latency_p999_us", "latency p99.9", 0.999 },
		{ "latency_max_us", "latency max", 1 },
	};

	report_number(r, "pairs", "pairs", m->n_pairs, 0, "");
	if (m->end <= m->begin)
		return;
	report_number(r, "wall_s", "time measured", wall, 3, "s");
	report_number(r, "messages", "messages delivered", (double)m->counted, 0, "");
	report_number(r, "messages_per_s", "messages per second", (double)m->counted / wall,
	              1, "/s");
	report_number(r, "latency_mean_us", "latency mean", hist_mean(&m->latency) / 1e3, 1,
	              "us");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		report_number(r, rows[i].key, rows[i].label,
		              (double)hist_quantile(&m->latency, rows[i].q) / 1e3, 1, "us");
	if (m->gap > 0)
		report_number(r, "generator_late_p99_us", "generator's lateness p99",
		              (double)hist_quantile(&m->late, 0.99) / 1e3, 1, "us");
	report_number(r, "lost", "messages not delivered",
	              m->sent > m->delivered ? (double)(m->sent - m->delivered) : 0, 0, "");
	if (m->foreign)
		report_number(r, "foreign", "messages of other senders", (double)m->foreign, 0,
		              "");
	if (b->o.sm)
		report_sm(b, r);
	if (!b->o.n_server_pid || m->cpu_us <= 0 || m->counted == 0)
		return;
	report_number(r, "cpu_s", "server CPU", (double)m->cpu_us / 1e6, 3, "s");
	report_number(r, "cpu_share", "server CPU per second",
	              (double)m->cpu_us / 1e6 / wall, 3, "");
	report_number(r, "cpu_ms_per_1000", "server CPU per 1000 messages",
	              (double)m->cpu_us / (double)m->counted, 3, "ms");
	report_number(r, "messages_per_cpu_s", "messages per server CPU second",
	              (double)m->counted * 1e6 / (double)m->cpu_us, 0, "/s");
}

const struct mode chat_mode = {
	.name = "chat",
	.start = chat_start,
	.tick = chat_tick,
	.ready = chat_ready,
	.stanza = chat_stanza,
	.closed = chat_closed,
	.stop = chat_stop,
	.progress = chat_progress,
	.report = chat_report,
};
