/*
 * muc.c - rooms (XEP-0045): messages to all, or joins and leaves
 *
 * Session k is occupant k % N of room k / N. The first of each room makes it and
 * accepts its configuration, then the others join; the server's memory is read when
 * a quarter is in and when all are. Then
 *
 *   closed loop      each occupant sends W messages and another one whenever one of
 *                    them has come back to it
 *   offered rate     (--rate) all send in turn by the clock
 *   churn            (--churn) the last K of each room leave and join, over and over
 *
 * A message has in its id a mark of this run, the time of its sending and its
 * sender's number. Each delivery counts, that to the sender too, and each presence
 * that anybody gets. Loop's thread.
 */
#include "bench.h"
#include "proc.h"
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_NS (10 * NS_PER_S)
#define JOIN_NS (60 * NS_PER_S)         /* a join may take so long           */
#define MARK_LEN 9                      /* 'm' and eight digits              */
#define WHO_LEN 8
#define ID_LEN (MARK_LEN + STAMP_LEN + WHO_LEN)

enum phase { LOGIN, REST, CREATE, JOIN_PART, REST_PART, JOIN, SETTLE, WARMUP, MEASURE, DRAIN };

enum seat {
	OUT,
	CREATING,               /* join sent, first of its room              */
	UNLOCKING,              /* it is in; configuration sent              */
	JOINING,
	IN,
	LEAVING,
	LOST,                   /* refused, removed or disconnected          */
};

struct muc {
	enum phase phase;
	uint32_t logins;                /* started                           */
	uint32_t next;                  /* who joins next                    */
	uint32_t under_way;             /* joins of these phases             */
	uint32_t n_in;
	uint8_t *seat;                  /* by slot, enum seat                */
	uint32_t *present;              /* by room: occupants                */
	uint32_t turn;                  /* offered rate                      */
	double gap;
	uint64_t n_offered;
	uint64_t offered_from;
	uint64_t phase_begin;
	uint64_t phase_end;
	uint64_t join_ns;               /* wall time of joining              */
	int64_t join_cpu_us;
	uint64_t begin;
	uint64_t end;
	uint64_t sent;
	uint64_t expected;              /* deliveries, of what was sent      */
	uint64_t delivered;
	uint64_t counted;               /* of them while measuring           */
	uint64_t presences;             /* while measuring                   */
	uint64_t join_presences;        /* while all joined                  */
	uint64_t visits;                /* joins while measuring             */
	int64_t cpu_us;
	uint64_t next_read;             /* of memory, while settling         */
	uint32_t part_in;               /* occupants when memory was read    */
	int64_t part_kib, all_kib;
	struct hist latency;
	struct hist join_latency;
	uint64_t *asked;                /* by slot: when it asked to join    */
	char mark[MARK_LEN + 1];
	char service[2 * NAME_MAX_BYTES];
};

static void muc_start(struct bench *b)
{
	struct muc *m = bench_zeroed(1, sizeof(*m));

	b->state = m;
	m->seat = bench_zeroed(b->n_conns, sizeof(*m->seat));
	m->asked = bench_zeroed(b->n_conns, sizeof(*m->asked));
	m->present = bench_zeroed(b->o.rooms, sizeof(*m->present));
	m->part_kib = m->all_kib = -1;
	snprintf(m->mark, sizeof(m->mark), "m%08x",
	         (unsigned int)(b->now ^ (uint64_t)getpid() << 20));
	if (b->o.service)
		snprintf(m->service, sizeof(m->service), "%s", b->o.service);
	else
		snprintf(m->service, sizeof(m->service), "conference.%s", b->o.domain);
}

static uint32_t slot_of(const struct bench *b, const struct conn *c)
{
	return (uint32_t)(c - b->conns);
}

/* ---- joining and leaving ---- */

static void join_send(struct bench *b, struct conn *c, enum seat as)
{
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);
	char s[512];

	snprintf(s, sizeof(s), "<presence to='%s-%u@%s/n%u'><x xmlns='http://jabber.org/"
	         "protocol/muc'><history maxstanzas='0'/></x></presence>", m->mark,
	         k / b->o.occupants, m->service, k);
	m->seat[k] = (uint8_t)as;
	m->asked[k] = b->now;
	conn_puts(b, c, s);
}

static void leave_send(struct bench *b, struct conn *c)
{
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);
	char s[512];

	snprintf(s, sizeof(s), "<presence to='%s-%u@%s/n%u' type='unavailable'/>", m->mark,
	         k / b->o.occupants, m->service, k);
	m->seat[k] = LEAVING;
	conn_puts(b, c, s);
}

/* The room is open when this is answered (10.1.2). */
static void unlock_send(struct bench *b, struct conn *c)
{
	static const char quiet[] =
		"<field var='muc#roomconfig_presencebroadcast'><value>moderator</value></field>";
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);
	char s[1024];

	snprintf(s, sizeof(s), "<iq type='set' id='unlock' to='%s-%u@%s'><query xmlns='http://"
	         "jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field "
	         "var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
	         "<field var='muc#roomconfig_maxusers'><value>%u</value></field>%s</x></query>"
	         "</iq>", m->mark, k / b->o.occupants, m->service, b->o.occupants,
	         b->o.quiet ? quiet : "");
	m->seat[k] = UNLOCKING;
	conn_puts(b, c, s);
}

static void seat_taken(struct bench *b, struct muc *m, uint32_t k)
{
	m->seat[k] = IN;
	m->n_in++;
	m->present[k / b->o.occupants]++;
	hist_add(&m->join_latency, b->now - m->asked[k]);
	if (m->under_way)
		m->under_way--;
}

static void seat_lost(struct bench *b, struct muc *m, uint32_t k)
{
	enum seat was = m->seat[k];

	m->seat[k] = LOST;
	if (was == IN) {
		m->n_in--;
		m->present[k / b->o.occupants]--;
	} else if ((was == CREATING || was == UNLOCKING || was == JOINING) && m->under_way) {
		m->under_way--;
	}
}

/* ---- messages ---- */

static void message_build(struct bench *b, struct conn *c)
{
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);
	size_t cap = strlen(m->service) + b->o.bytes + 256;
	int n, body;

	c->message = bench_grow(c->message, cap);
	n = snprintf(c->message, cap, "<message to='%s-%u@%s' type='groupchat' id='%s", m->mark,
	             k / b->o.occupants, m->service, m->mark);
	c->stamp_at = (uint32_t)n;
	body = snprintf(c->message + n, cap - (size_t)n, "%0*d%08x'><body>", STAMP_LEN, 0, k) + n;
	for (uint32_t i = 0; i < b->o.bytes; i++)
		c->message[(uint32_t)body + i] = (char)('a' + i % 26);
	n = body + (int)b->o.bytes;
	c->message_len = (uint32_t)(n + snprintf(c->message + n, cap - (size_t)n,
	                                         "</body></message>"));
}

static void message_send(struct bench *b, struct conn *c)
{
	struct muc *m = b->state;

	stamp_write(c->message + c->stamp_at, STAMP_LEN, b->now);
	conn_put(b, c, c->message, c->message_len);
	m->sent++;
	m->expected += m->present[slot_of(b, c) / b->o.occupants];
	if (c->is_sm && ++c->sm_out % b->o.sm_every == 0)
		conn_puts(b, c, "<r xmlns='urn:xmpp:sm:3'/>");
}

static bool is_of_type(const char *s, size_t len, const char *type)
{
	struct token_attr a;

	return token_attr_find(s, len, "type", &a) && a.value_len == strlen(type) &&
	       memcmp(a.value, type, a.value_len) == 0;
}

static void take_message(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct muc *m = b->state;
	struct token_attr a;
	uint64_t sent, who;

	if (!token_attr_find(s, len, "id", &a) || a.value_len != ID_LEN ||
	    memcmp(a.value, m->mark, MARK_LEN) != 0 ||
	    !stamp_read(a.value + MARK_LEN, STAMP_LEN, &sent) ||
	    !stamp_read(a.value + MARK_LEN + STAMP_LEN, WHO_LEN, &who))
		return;                         /* a subject, a notice of the room */
	if (is_of_type(s, len, "error")) {
		bench_error(b, BENCH_E_MESSAGE, c, s, len);
		return;
	}
	m->delivered++;
	if (m->phase == MEASURE) {
		m->counted++;
		hist_add(&m->latency, b->now - sent);
	}
	if (who == slot_of(b, c) && m->phase < DRAIN && m->gap == 0)
		message_send(b, c);
}

/* Whether a presence is of the session itself (code 110). */
static bool is_self(const char *s, size_t len)
{
	return memmem(s, len, "'110'", 5) || memmem(s, len, "\"110\"", 5);
}

static void take_presence(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);
	enum seat seat = m->seat[k];

	if (m->phase == MEASURE)
		m->presences++;
	else if (m->phase >= CREATE && m->phase <= JOIN)
		m->join_presences++;
	/* All that matters further is of the session itself. */
	if (seat == OUT || seat == LOST || (seat == IN && !is_of_type(s, len, "unavailable")))
		return;
	if (is_of_type(s, len, "error")) {
		bench_error(b, BENCH_E_ROOM, c, s, len);
		seat_lost(b, m, k);
		return;
	}
	if (!is_self(s, len))
		return;
	if (seat == CREATING) {
		unlock_send(b, c);
	} else if (seat == JOINING) {
		seat_taken(b, m, k);
		if (m->phase == MEASURE)
			m->visits++;
		if (m->phase == WARMUP || m->phase == MEASURE)
			leave_send(b, c);
	} else if (seat == LEAVING) {
		m->n_in--;
		m->present[k / b->o.occupants]--;
		m->seat[k] = OUT;
		if (m->phase < DRAIN)
			join_send(b, c, JOINING);
	} else if (seat == IN) {
		bench_error(b, BENCH_E_ROOM, c, s, len);
		seat_lost(b, m, k);
	}
}

static void muc_stanza(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct muc *m = b->state;
	uint32_t k = slot_of(b, c);

	if (s[1] == 'm') {
		take_message(b, c, s, len);
	} else if (s[1] == 'p') {
		take_presence(b, c, s, len);
	} else if (m->seat[k] == UNLOCKING) {
		if (is_of_type(s, len, "result")) {
			seat_taken(b, m, k);
		} else if (is_of_type(s, len, "error")) {
			bench_error(b, BENCH_E_ROOM, c, s, len);
			seat_lost(b, m, k);
		}
	}
}

/* ---- phases ---- */

static void phase_enter(struct bench *b, struct muc *m, enum phase p, double seconds)
{
	m->phase = p;
	m->phase_begin = b->now;
	m->phase_end = b->now + (uint64_t)(seconds * 1e9);
}

static uint64_t start_logins(struct bench *b, struct muc *m)
{
	while (m->logins < b->n_conns && b->n_login < b->o.concurrency) {
		conn_open(b, &b->conns[m->logins], m->logins);
		m->logins++;
	}
	if (m->logins < b->n_conns || b->n_login > 0)
		return NEVER;
	phase_enter(b, m, REST, b->o.settle);
	return m->phase_end;
}

/* The j-th that joins: the first of each room, the second of each ... */
static struct conn *joiner(struct bench *b, uint32_t j)
{
	return &b->conns[(size_t)(j % b->o.rooms) * b->o.occupants + j / b->o.rooms];
}

/* Joins until so many have tried; true when all of them have an answer. */
static bool join_up_to(struct bench *b, struct muc *m, uint32_t target)
{
	while (m->next < target && m->under_way < b->o.concurrency) {
		struct conn *c = joiner(b, m->next++);
		uint32_t k = slot_of(b, c), owner = k - k % b->o.occupants;

		if (c->state != CONN_READY || (k != owner && m->seat[owner] != IN)) {
			m->seat[k] = LOST;
			continue;
		}
		m->under_way++;
		b->now = bench_clock();
		join_send(b, c, k == owner ? CREATING : JOINING);
		conn_flush(b, c);
	}
	return m->next >= target && m->under_way == 0;
}

static void part_end(struct bench *b, struct muc *m)
{
	m->join_ns += b->now - m->phase_begin;
	m->join_cpu_us += bench_server_cpu(b);
}

static void begin(struct bench *b, struct muc *m)
{
	phase_enter(b, m, WARMUP, b->o.warmup);
	if (m->n_in == 0) {
		b->is_done = true;
		return;
	}
	if (b->o.rate > 0 && !b->o.churn) {
		m->gap = 1e9 / b->o.rate;
		m->offered_from = b->now;
	}
	for (uint32_t k = 0; k < b->n_conns; k++) {
		struct conn *c = &b->conns[k];

		if (m->seat[k] != IN)
			continue;
		b->now = bench_clock();
		if (b->o.churn) {
			if (k % b->o.occupants >= b->o.occupants - b->o.churn)
				leave_send(b, c);
		} else {
			message_build(b, c);
			for (uint32_t w = 0; m->gap == 0 && w < b->o.window; w++)
				message_send(b, c);
		}
		conn_flush(b, c);
	}
}

static uint64_t send_due(struct bench *b, struct muc *m)
{
	for (uint32_t tries = 0; tries < b->n_conns; tries++) {
		uint64_t due = m->offered_from + (uint64_t)((double)m->n_offered * m->gap);
		struct conn *c;

		if (due > b->now)
			return due;
		c = joiner(b, m->turn++ % b->n_conns);
		if (m->seat[slot_of(b, c)] != IN)
			continue;
		m->n_offered++;
		b->now = bench_clock();
		message_send(b, c);
		conn_flush(b, c);
	}
	return b->now;
}

static void measure_end(struct bench *b, struct muc *m)
{
	m->end = b->now;
	m->cpu_us = bench_server_cpu(b) - m->cpu_us;
	m->phase = DRAIN;
	m->phase_end = b->now + DRAIN_NS;
}

/* Memory is the least that is seen of it while nothing happens: what a server has freed it
 * gives back sooner or later. */
static void memory_read(struct bench *b, struct muc *m)
{
	int64_t *least = m->phase == SETTLE ? &m->all_kib : &m->part_kib, now;

	if (b->now < m->next_read)
		return;
	m->next_read = b->now + NS_PER_S / 4;
	now = proc_pss_kib(b->o.server_pid, b->o.n_server_pid);
	if (now >= 0 && (*least < 0 || now < *least))
		*least = now;
}

/* Phases in which the rooms fill. */
static uint64_t fill(struct bench *b, struct muc *m)
{
	uint32_t rooms = b->o.rooms, part = b->n_conns / 4;
	uint32_t target = m->phase == CREATE ? rooms : m->phase == JOIN ? b->n_conns :
	                  part > rooms ? part : rooms;

	if (!join_up_to(b, m, target)) {
		if (b->now >= m->phase_begin + JOIN_NS * 10) {
			b->is_done = true;      /* the server has stopped answering */
			return b->now;
		}
		return NEVER;
	}
	part_end(b, m);
	if (m->phase == CREATE) {
		m->join_cpu_us -= bench_server_cpu(b);
		phase_enter(b, m, JOIN_PART, 0);
		return b->now;
	}
	phase_enter(b, m, m->phase == JOIN_PART ? REST_PART : SETTLE, b->o.settle);
	return m->phase_end;
}

static uint64_t muc_tick(struct bench *b)
{
	struct muc *m = b->state;
	uint64_t next = NEVER;

	if (m->phase == LOGIN)
		return start_logins(b, m);
	if (m->phase == CREATE || m->phase == JOIN_PART || m->phase == JOIN)
		return fill(b, m);
	if (m->phase == REST_PART || m->phase == SETTLE) {
		memory_read(b, m);
		if (b->now < m->phase_end)
			return m->next_read < m->phase_end ? m->next_read : m->phase_end;
	}
	if (b->now >= m->phase_end) {
		switch (m->phase) {
		case REST:
			m->join_cpu_us = -bench_server_cpu(b);
			phase_enter(b, m, CREATE, 0);
			return b->now;
		case REST_PART:
			m->part_in = m->n_in;
			m->join_cpu_us -= bench_server_cpu(b);
			phase_enter(b, m, JOIN, 0);
			return b->now;
		case SETTLE:
			begin(b, m);
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
	if (m->phase == MEASURE && ((b->o.messages && m->counted >= b->o.messages) ||
	                            b->n_live == 0))
		measure_end(b, m);
	if (m->phase == DRAIN && (b->o.churn || m->delivered >= m->expected))
		b->is_done = true;
	if (m->gap > 0 && (m->phase == WARMUP || m->phase == MEASURE))
		next = send_due(b, m);
	return next < m->phase_end ? next : m->phase_end;
}

static void muc_ready(struct bench *b, struct conn *c)
{
	(void)b;
	free(c->jid);
	c->jid = NULL;
}

static void muc_closed(struct bench *b, struct conn *c, bool was_ready, bool is_error)
{
	(void)was_ready;
	(void)is_error;
	seat_lost(b, b->state, slot_of(b, c));
}

static void muc_stop(struct bench *b)
{
	struct muc *m = b->state;

	if (m->phase == MEASURE)
		measure_end(b, m);
}

static void muc_progress(struct bench *b, char *out, size_t cap)
{
	static const char *const name[] = {
		[LOGIN] = "logging in", [REST] = "settling", [CREATE] = "making rooms",
		[JOIN_PART] = "joining", [REST_PART] = "settling", [JOIN] = "joining",
		[SETTLE] = "settling", [WARMUP] = "warming up", [MEASURE] = "measuring",
		[DRAIN] = "draining",
	};
	struct muc *m = b->state;
	double s = m->phase == MEASURE ? (double)(b->now - m->begin) / 1e9 : 0;
	uint64_t n = b->o.churn ? m->presences : m->counted;

	snprintf(out, cap, "%s: %u sessions, %u in rooms, %llu deliveries (%.0f/s)",
	         name[m->phase], b->n_live, m->n_in, (unsigned long long)n,
	         s > 0 ? (double)n / s : 0);
}

/* ---- the result ---- */

static void report_quantiles(struct report *r, const struct hist *h, const char *what,
                             const char *label)
{
	static const struct { const char *key, *label; double q; } rows[] = {
		{ "p50", "p50", 0.5 }, { "p99", "p99", 0.99 }, { "max", "max", 1 },
	};
	char key[48], text[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(key, sizeof(key), "%s_%s_us", what, rows[i].key);
		snprintf(text, sizeof(text), "%s %s", label, rows[i].label);
		report_number(r, key, text, (double)hist_quantile(h, rows[i].q) / 1e3, 1, "us");
	}
}

static void report_joining(struct bench *b, struct muc *m, struct report *r)
{
	report_number(r, "rooms", "rooms", b->o.rooms, 0, "");
	report_number(r, "occupants", "occupants in all", m->n_in, 0, "");
	if (m->join_ns > 0) {
		report_number(r, "join_wall_s", "time of joining", (double)m->join_ns / 1e9, 3,
		              "s");
		report_number(r, "join_presences", "presences delivered while joining",
		              (double)m->join_presences, 0, "");
	}
	if (b->o.n_server_pid && m->join_cpu_us > 0)
		report_number(r, "join_presences_per_cpu_s", "of these per server CPU second",
		              (double)m->join_presences * 1e6 / (double)m->join_cpu_us, 0, "/s");
	if (m->join_latency.count > 0)
		report_quantiles(r, &m->join_latency, "join", "join to one's own presence");
	if (m->part_kib < 0 || m->all_kib < 0 || m->n_in <= m->part_in)
		return;
	report_number(r, "pss_kib_part", "server PSS with a quarter in", (double)m->part_kib, 0,
	              "KiB");
	report_number(r, "pss_kib_all", "server PSS with all in", (double)m->all_kib, 0, "KiB");
	report_number(r, "bytes_per_occupant", "memory per occupant beyond the session",
	              (double)(m->all_kib - m->part_kib) * 1024 / (m->n_in - m->part_in), 0, "B");
}

static void muc_report(struct bench *b, struct report *r)
{
	struct muc *m = b->state;
	double wall = (double)(m->end - m->begin) / 1e9;
	uint64_t n = b->o.churn ? m->presences : m->counted;

	report_joining(b, m, r);
	if (m->end <= m->begin)
		return;
	report_number(r, "wall_s", "time measured", wall, 3, "s");
	if (b->o.churn) {
		report_number(r, "visits", "joins", (double)m->visits, 0, "");
		report_number(r, "presences", "presences delivered", (double)n, 0, "");
		report_number(r, "presences_per_s", "presences per second", (double)n / wall, 1,
		              "/s");
	} else {
		report_number(r, "deliveries", "messages delivered", (double)n, 0, "");
		report_number(r, "deliveries_per_s", "deliveries per second", (double)n / wall,
		              1, "/s");
		report_quantiles(r, &m->latency, "latency", "latency");
		report_number(r, "lost", "messages not delivered", m->expected > m->delivered ?
		              (double)(m->expected - m->delivered) : 0, 0, "");
	}
	if (!b->o.n_server_pid || m->cpu_us <= 0 || n == 0)
		return;
	report_number(r, "cpu_s", "server CPU", (double)m->cpu_us / 1e6, 3, "s");
	report_number(r, "cpu_share", "server CPU per second", (double)m->cpu_us / 1e6 / wall, 3,
	              "");
	report_number(r, b->o.churn ? "presences_per_cpu_s" : "deliveries_per_cpu_s",
	              b->o.churn ? "presences per server CPU second" :
	              "deliveries per server CPU second",
	              (double)n * 1e6 / (double)m->cpu_us, 0, "/s");
}

const struct mode muc_mode = {
	.name = "muc",
	.start = muc_start,
	.tick = muc_tick,
	.ready = muc_ready,
	.stanza = muc_stanza,
	.closed = muc_closed,
	.stop = muc_stop,
	.progress = muc_progress,
	.report = muc_report,
};
