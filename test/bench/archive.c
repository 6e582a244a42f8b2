/*
 * archive.c - pages of an archive (XEP-0313)
 *
 * For each pair (a, b) a's messages to b fill both archives, if they hold less than
 * --archive. Then both read their archives from end to end, which tells the ids; and
 * then, which is measured, each asks for --page results behind or before an id taken at
 * random, --window of them outstanding. A query carries the time of its sending in its
 * id, so that each <fin/> tells its latency. Loop's thread.
 */
#include "bench.h"
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_NS (3 * NS_PER_S)
#define FILL_WINDOW 32                  /* messages of a pair under way      */
#define ID_BYTES 40                     /* of an archive's id, kept          */

enum phase { LOGIN, SETTLE, FILL, CRAWL, WARMUP, MEASURE, DRAIN };

/* One user's. */
struct box {
	char (*id)[ID_BYTES];
	uint32_t n, cap;
	uint32_t sent, came;            /* FILL: of this pair, at its a      */
	bool is_read;                   /* CRAWL has come to the end         */
};

struct archive {
	enum phase phase;
	uint32_t started;
	struct box *box;                /* by slot                           */
	uint32_t busy;                  /* slots that FILL or CRAWL waits for */
	bool was_filled;
	uint64_t random;
	uint64_t phase_end, begin, end;
	uint64_t asked, answered;
	uint64_t results, queries;      /* while measuring                   */
	int64_t cpu_us;
	struct hist latency;
};

static void archive_start(struct bench *b)
{
	struct archive *m = bench_zeroed(1, sizeof(*m));

	b->state = m;
	m->box = bench_zeroed(b->n_conns, sizeof(*m->box));
	m->random = b->now | 1;
}

static uint32_t dice(struct archive *m, uint32_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (uint32_t)(m->random >> 33) % n;
}

static struct box *box_of(struct bench *b, const struct conn *c)
{
	return &((struct archive *)b->state)->box[c - b->conns];
}

/* ---- queries ---- */

/* where: after or before; id empty: from the beginning. */
static void ask(struct bench *b, struct conn *c, const char *where, const char *id,
                uint32_t max)
{
	struct archive *m = b->state;
	char stamp[STAMP_LEN + 1] = "", text[400];
	int n;

	stamp_write(stamp, STAMP_LEN, b->now);
	n = snprintf(text, sizeof(text), "<iq type='set' id='a%s'><query xmlns='urn:xmpp:mam:2'>"
	             "<set xmlns='http://jabber.org/protocol/rsm'><max>%u</max>%s%s%s%s%s%s%s</set>"
	             "</query></iq>", stamp, max, id[0] ? "<" : "", id[0] ? where : "",
	             id[0] ? ">" : "", id, id[0] ? "</" : "", id[0] ? where : "", id[0] ? ">" : "");
	conn_put(b, c, text, (size_t)n);
	m->asked++;
}

static void ask_anywhere(struct bench *b, struct conn *c)
{
	struct box *x = box_of(b, c);
	struct archive *m = b->state;

	ask(b, c, dice(m, 2) ? "after" : "before", x->id[dice(m, x->n)], b->o.page);
}

/* What stands behind key and a quote, up to the next one. */
static bool quoted(const char *s, size_t len, const char *key, const char **out, size_t *n)
{
	size_t k = strlen(key);
	const char *end;

	for (const char *p = s; (p = memchr(p, key[0], len - (size_t)(p - s))) != NULL; p++) {
		if ((size_t)(s + len - p) <= k + 1)
			return false;
		if (memcmp(p, key, k) != 0 || (p[k] != '\'' && p[k] != '"'))
			continue;
		end = memchr(p + k + 1, p[k], (size_t)(s + len - p) - k - 1);
		if (!end)
			return false;
		*out = p + k + 1;
		*n = (size_t)(end - *out);
		return true;
	}
	return false;
}

static const char *find(const char *s, size_t len, const char *what)
{
	return memmem(s, len, what, strlen(what));
}

static void keep_id(struct box *x, const char *s, size_t len)
{
	const char *result = find(s, len, "<result"), *id;
	size_t n;

	if (!result || !quoted(result, len - (size_t)(result - s), " id=", &id, &n) ||
	    n >= ID_BYTES)
		return;
	if (x->n == x->cap) {
		x->cap = x->cap * 2 + 1024;
		x->id = bench_grow(x->id, x->cap * sizeof(*x->id));
	}
	memcpy(x->id[x->n], id, n);
	x->id[x->n++][n] = '\0';
}

/* ---- filling ---- */

static void fill(struct bench *b, struct conn *c)
{
	struct box *x = box_of(b, c);

	while (c->mate && x->sent < b->o.archive && x->sent - x->came < FILL_WINDOW) {
		conn_put(b, c, c->message, c->message_len);
		x->sent++;
	}
}

static void message_build(struct bench *b, struct conn *c)
{
	size_t cap = strlen(c->mate->jid) + b->o.bytes + 160;
	int n;

	c->message = bench_grow(c->message, cap);
	n = snprintf(c->message, cap, "<message to='%s' type='chat' id='fill'><body>", c->mate->jid);
	for (uint32_t i = 0; i < b->o.bytes; i++)
		c->message[n++] = (char)('a' + i % 26);
	c->message_len = (uint32_t)(n + snprintf(c->message + n, cap - (size_t)n,
	                                         "</body></message>"));
}

static void begin_crawl(struct bench *b, struct archive *m)
{
	m->phase = CRAWL;
	m->phase_end = NEVER;
	m->busy = 0;
	for (uint32_t i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		m->box[i].n = 0;
		m->box[i].is_read = false;
		if (c->state != CONN_READY)
			continue;
		m->busy++;
		ask(b, c, "after", "", 250);
		conn_flush(b, c);
	}
	b->is_done = m->busy == 0;
}

static void begin_fill(struct bench *b, struct archive *m)
{
	m->phase = FILL;
	m->phase_end = NEVER;
	m->was_filled = true;
	m->busy = 0;
	for (uint32_t i = 0; i + 1 < b->n_conns; i += 2) {
		struct conn *one = &b->conns[i], *two = &b->conns[i + 1];

		if (one->state != CONN_READY || two->state != CONN_READY)
			continue;
		one->mate = two;
		two->mate = one;
		message_build(b, one);
		m->box[i].sent = m->box[i].came = m->box[i].n;
		if (m->box[i].sent >= b->o.archive)
			continue;
		m->busy++;
		fill(b, one);
		conn_flush(b, one);
	}
	if (m->busy == 0)
		begin_crawl(b, m);
}

static void begin_warmup(struct bench *b, struct archive *m)
{
	m->phase = WARMUP;
	m->phase_end = b->now + (uint64_t)(b->o.warmup * 1e9);
	for (uint32_t i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		for (uint32_t w = 0; c->state == CONN_READY && m->box[i].n && w < b->o.window; w++)
			ask_anywhere(b, c);
		if (c->state == CONN_READY)
			conn_flush(b, c);
	}
}

/* Everybody has read to the end: is there enough? */
static void crawled(struct bench *b, struct archive *m)
{
	bool is_short = false;

	for (uint32_t i = 0; i < b->n_conns; i++)
		is_short |= m->box[i].n < b->o.archive;
	if (is_short && !m->was_filled)
		begin_fill(b, m);
	else
		begin_warmup(b, m);
}

/* ---- what comes ---- */

static void on_fin(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct archive *m = b->state;
	struct box *x = box_of(b, c);
	const char *id;
	uint64_t sent;
	size_t n;

	if (!quoted(s, len, " id=", &id, &n) || n != STAMP_LEN + 1 || id[0] != 'a' ||
	    !stamp_read(id + 1, STAMP_LEN, &sent))
		return;
	m->answered++;
	if (!find(s, len, "<fin")) {
		bench_error(b, BENCH_E_MESSAGE, c, s, len);
		if (m->phase == CRAWL)
			b->is_done = true;
		return;
	}
	if (m->phase == CRAWL) {
		if (!find(s, len, "complete='true'") && !find(s, len, "complete=\"true\"") && x->n) {
			ask(b, c, "after", x->id[x->n - 1], 250);
		} else if (!x->is_read) {
			x->is_read = true;
			m->busy--;
		}
		return;
	}
	if (m->phase == MEASURE) {
		m->queries++;
		hist_add(&m->latency, b->now - sent);
	}
	if (m->phase != DRAIN)
		ask_anywhere(b, c);
}

static void archive_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct archive *m = b->state;
	struct box *x;

	if (s[1] == 'i') {
		on_fin(b, c, s, len);
		return;
	}
	if (s[1] != 'm')
		return;
	if (find(s, len < 200 ? len : 200, "<result")) {
		if (m->phase == CRAWL)
			keep_id(box_of(b, c), s, len);
		else if (m->phase == MEASURE)
			m->results++;
		return;
	}
	if (m->phase != FILL || !c->mate)
		return;
	x = box_of(b, c->mate);
	x->came++;
	if (x->came == b->o.archive)
		m->busy--;
	/* A batch at a time: another slot's output is not ours to mix. */
	if (x->sent - x->came <= FILL_WINDOW / 2) {
		conn_flush(b, c);
		fill(b, c->mate);
		conn_flush(b, c->mate);
	}
}

/* ---- phases ---- */

static uint64_t start_logins(struct bench *b, struct archive *m)
{
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

static void measure_end(struct bench *b, struct archive *m)
{
	m->end = b->now;
	m->cpu_us = bench_server_cpu(b) - m->cpu_us;
	m->phase = DRAIN;
	m->phase_end = b->now + DRAIN_NS;
}

static uint64_t archive_tick(struct bench *b)
{
	struct archive *m = b->state;

	if (m->phase == LOGIN)
		return start_logins(b, m);
	if (m->phase == FILL && m->busy == 0)
		begin_crawl(b, m);
	if (m->phase == CRAWL && m->busy == 0)
		crawled(b, m);
	if (b->now >= m->phase_end) {
		switch (m->phase) {
		case SETTLE:
			begin_crawl(b, m);
			break;
		case WARMUP:
			m->phase = MEASURE;
			m->begin = b->now;
			m->phase_end = b->now + (uint64_t)(b->o.seconds * 1e9);
			m->cpu_us = bench_server_cpu(b);
			break;
		case MEASURE:
			measure_end(b, m);
			break;
		default:
			b->is_done = true;
		}
	}
	if (m->phase == DRAIN && m->answered >= m->asked)
		b->is_done = true;
	return m->phase_end;
}

static void archive_ready(struct bench *b, struct conn *c)
{
	(void)b;
	(void)c;
}

static void archive_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	(void)was_ready;
	/* What it was to do nobody does: there is nothing to measure. */
	if (is_error)
		b->is_done = true;
	if (c->mate)
		c->mate->mate = NULL;
	c->mate = NULL;
}

static void archive_stop(struct bench *b)
{
	struct archive *m = b->state;

	if (m->phase == MEASURE)
		measure_end(b, m);
}

static void archive_progress(struct bench *b, char *out, size_t cap)
{
	static const char *const name[] = {
		[LOGIN] = "logging in", [SETTLE] = "settling", [FILL] = "filling",
		[CRAWL] = "reading all", [WARMUP] = "warming up", [MEASURE] = "measuring",
		[DRAIN] = "draining",
	};
	struct archive *m = b->state;

	snprintf(out, cap, "%s: %u sessions, %llu results, p99 %.0f us", name[m->phase],
	         b->n_live, (unsigned long long)m->results,
	         (double)hist_quantile(&m->latency, 0.99) / 1e3);
}

static void archive_report(struct bench *b, struct report *r)
{
	struct archive *m = b->state;
	double wall = (double)(m->end - m->begin) / 1e9;

	report_number(r, "archive", "messages in the first archive", m->box[0].n, 0, "");
	if (m->end <= m->begin)
		return;
	report_number(r, "wall_s", "time measured", wall, 3, "s");
	report_number(r, "queries", "pages", (double)m->queries, 0, "");
	report_number(r, "results", "results", (double)m->results, 0, "");
	report_number(r, "results_per_s", "results per second", (double)m->results / wall, 1,
	              "/s");
	report_number(r, "latency_p50_us", "latency of a page p50",
	              (double)hist_quantile(&m->latency, 0.5) / 1e3, 1, "us");
	report_number(r, "latency_p99_us", "latency of a page p99",
	              (double)hist_quantile(&m->latency, 0.99) / 1e3, 1, "us");
	if (!b->o.n_server_pid || m->cpu_us <= 0 || m->results == 0)
		return;
	report_number(r, "cpu_s", "server CPU", (double)m->cpu_us / 1e6, 3, "s");
	report_number(r, "results_per_cpu_s", "results per server CPU second",
	              (double)m->results * 1e6 / (double)m->cpu_us, 0, "/s");
}

const struct mode archive_mode = {
	.name = "archive",
	.start = archive_start,
	.tick = archive_tick,
	.ready = archive_ready,
	.stanza = archive_stanza,
	.closed = archive_closed,
	.stop = archive_stop,
	.progress = archive_progress,
	.report = archive_report,
};
