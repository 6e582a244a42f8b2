/*
 * offline.c - messages for users who are not there, and their delivery (XEP-0160)
 *
 * Of each pair (a, b) a logs in and writes to b's bare JID, a batch at a time: behind
 * each batch goes a request to b's account, whose answer tells that the batch was
 * handled. When all have been stored (and the server had --settle seconds to write what
 * it had in hand), that is the first figure; then all b log in and get what there is,
 * the second, which includes their logins. Loop's thread.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 20
#define PATIENCE_NS (20 * NS_PER_S)     /* with nothing delivered           */

enum phase { LOGIN, SETTLE, STORE, STORED, DRAIN };

struct offline {
	enum phase phase;
	uint32_t started;
	uint32_t each;                  /* messages of a pair                */
	uint32_t *sent;                 /* by pair                           */
	uint32_t busy;                  /* pairs that are still storing      */
	uint64_t stored, delivered;
	uint64_t begin, stored_at, drain_begin, last;
	int64_t store_cpu_us, drain_cpu_us;
	uint64_t phase_end;
};

static void offline_start(struct bench *b)
{
	struct offline *m = bench_zeroed(1, sizeof(*m));

	b->state = m;
	m->sent = bench_zeroed(b->o.pairs, sizeof(*m->sent));
	m->each = b->o.messages ? b->o.messages / b->o.pairs : 500;
}

/* The next batch of a pair, and the request behind it. */
static void batch(struct bench *b, struct conn *c)
{
	struct offline *m = b->state;
	uint32_t pair = (uint32_t)(c - b->conns), n = m->each - m->sent[pair];
	char to[2 * NAME_MAX_BYTES], name[NAME_MAX_BYTES];
	int len;

	options_name(b->o.user_format, b->o.first_user + b->o.pairs + pair, name, sizeof(name));
	snprintf(to, sizeof(to), "%s@%s", name, b->o.domain);
	if (!c->message) {
		size_t cap = strlen(to) + b->o.bytes + 160;
		c->message = bench_grow(NULL, cap);
		len = snprintf(c->message, cap, "<message to='%s' type='chat' id='off'><body>", to);
		for (uint32_t i = 0; i < b->o.bytes; i++)
			c->message[len++] = (char)('a' + i % 26);
		c->message_len = (uint32_t)(len + snprintf(c->message + len, cap - (size_t)len,
		                                           "</body></message>"));
	}
	if (n == 0) {
		m->busy--;
		return;
	}
	n = n < BATCH ? n : BATCH;
	for (uint32_t k = 0; k < n; k++)
		conn_put(b, c, c->message, c->message_len);
	m->sent[pair] += n;
	m->stored += n;
	conn_puts(b, c, "<iq type='get' id='o' to='");
	conn_puts(b, c, to);
	conn_puts(b, c, "'><query xmlns='bench:handled'/></iq>");
}

static void offline_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct offline *m = b->state;

	if (m->phase == STORE && s[1] == 'i' && c < b->conns + b->o.pairs) {
		batch(b, c);
	} else if (m->phase == STORE && s[1] == 'm') {
		bench_error(b, BENCH_E_MESSAGE, c, s, len);
	} else if (m->phase == DRAIN && s[1] == 'm' && memmem(s, len, "'off'", 5)) {
		m->delivered++;
		m->last = b->now;
	}
}

static uint64_t start_logins(struct bench *b, struct offline *m, uint32_t end)
{
	while (m->started < end && b->n_login < b->o.concurrency) {
		conn_open(b, &b->conns[m->started], m->started);
		m->started++;
	}
	return NEVER;
}

static void begin_store(struct bench *b, struct offline *m)
{
	m->phase = STORE;
	m->phase_end = NEVER;
	m->begin = b->now;
	m->store_cpu_us = bench_server_cpu(b);
	for (uint32_t i = 0; i < b->o.pairs; i++) {
		if (b->conns[i].state != CONN_READY)
			continue;
		m->busy++;
		batch(b, &b->conns[i]);
		conn_flush(b, &b->conns[i]);
	}
}

static uint64_t offline_tick(struct bench *b)
{
	struct offline *m = b->state;

	switch (m->phase) {
	case LOGIN:
		start_logins(b, m, b->o.pairs);
		if (m->started < b->o.pairs || b->n_login > 0)
			return NEVER;
		m->phase = SETTLE;
		m->phase_end = b->now + (uint64_t)(b->o.settle * 1e9);
		break;
	case SETTLE:
		if (b->now >= m->phase_end)
			begin_store(b, m);
		break;
	case STORE:
		if (m->busy > 0)
			break;
		m->phase = STORED;
		m->stored_at = b->now;
		m->phase_end = b->now + (uint64_t)(b->o.settle * 1e9);
		break;
	case STORED:
		if (b->now < m->phase_end)
			break;
		m->store_cpu_us = bench_server_cpu(b) - m->store_cpu_us;
		m->drain_cpu_us = bench_server_cpu(b);
		m->phase = DRAIN;
		m->drain_begin = m->last = b->now;
		m->phase_end = NEVER;
		break;
	case DRAIN:
		start_logins(b, m, b->n_conns);
		if (m->delivered < m->stored && b->now - m->last < PATIENCE_NS)
			return m->last + PATIENCE_NS;
		m->drain_cpu_us = bench_server_cpu(b) - m->drain_cpu_us;
		b->is_done = true;
	}
	return m->phase_end;
}

static void offline_ready(struct bench *b, struct conn *c)
{
	(void)b;
	(void)c;
}

static void offline_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	struct offline *m = b->state;

	if (is_error && was_ready && m->phase == STORE && c < b->conns + b->o.pairs)
		m->busy--;
}

static void offline_stop(struct bench *b)
{
	(void)b;
}

static void offline_progress(struct bench *b, char *out, size_t cap)
{
	static const char *const name[] = { "logging in", "settling", "storing", "settling",
		"draining" };
	struct offline *m = b->state;

	snprintf(out, cap, "%s: %u sessions, %llu stored, %llu delivered", name[m->phase],
	         b->n_live, (unsigned long long)m->stored, (unsigned long long)m->delivered);
}

static void offline_report(struct bench *b, struct report *r)
{
	struct offline *m = b->state;
	double store_s = (double)(m->stored_at - m->begin) / 1e9;
	double drain_s = (double)(m->last - m->drain_begin) / 1e9;

	report_number(r, "stored", "messages stored", (double)m->stored, 0, "");
	report_number(r, "delivered", "messages delivered", (double)m->delivered, 0, "");
	report_number(r, "lost", "messages not delivered",
	              m->stored > m->delivered ? (double)(m->stored - m->delivered) : 0, 0, "");
	if (m->phase != DRAIN || store_s <= 0 || drain_s <= 0)
		return;
	report_number(r, "stored_per_s", "stored per second", (double)m->stored / store_s, 1,
	              "/s");
	report_number(r, "delivered_per_s", "delivered per second",
	              (double)m->delivered / drain_s, 1, "/s");
	if (!b->o.n_server_pid || m->store_cpu_us <= 0 || m->drain_cpu_us <= 0)
		return;
	report_number(r, "stored_per_cpu_s", "stored per server CPU second",
	              (double)m->stored * 1e6 / (double)m->store_cpu_us, 0, "/s");
	report_number(r, "delivered_per_cpu_s", "delivered per server CPU second",
	              (double)m->delivered * 1e6 / (double)m->drain_cpu_us, 0, "/s");
}

const struct mode offline_mode = {
	.name = "offline",
	.start = offline_start,
	.tick = offline_tick,
	.ready = offline_ready,
	.stanza = offline_stanza,
	.closed = offline_closed,
	.stop = offline_stop,
	.progress = offline_progress,
	.report = offline_report,
};
