/*
 * stream/link.c - connections that plugins serve (meerkat/transport.h)
 *
 * A link is its worker's, from accept to close; with a stream it moves as that
 * does. Its memory goes when its connection is done, with a stream when that
 * is freed. What came in is wiped unless somebody is logged in: it may hold a
 * password.
 */
#include "stream/stream.h"

#include <unistd.h>

#include "base/metric.h"
#include "loop/worker.h"
#include "net/limit.h"
#include "base/ban.h"

static _Thread_local struct mk_list links;     /* oldest first              */
static _Thread_local uint32_t idle_n;          /* of them without a stream  */
static _Thread_local uint32_t closing_n;       /* likewise, until done      */
static _Thread_local bool is_ready;

void mk_links_worker_init(void)
{
	mk_list_init(&links);
	is_ready = true;
}

uint32_t mk_links_lingering(void) { return closing_n; }

static struct mk_link *link_of(struct mk_conn *c) { return MK_CONTAINER(c, struct mk_link, conn); }

/* ---- the end --------------------------------------------------------------------- */

void mk_link_free(struct mk_link *l)
{
	mk_listener_gone(&l->peer);
	mk_c2s_unref(&l->c2s);
	l->magic = 0;
	mk_free(l);
}

static void idle_done(struct mk_conn *c)
{
	closing_n--;
	mk_link_free(link_of(c));
}

static void stream_done(struct mk_conn *c)
{
	mk_stream_link_done(link_of(c)->stream);
}

static void no_longer_idle(struct mk_link *l)
{
	mk_assert(l->is_idle);
	l->is_idle = false;
	idle_n--;
}

static void end_idle(struct mk_link *l)
{
	l->state = MK_LINK_ENDING;
	mk_list_remove(&l->list);
	no_longer_idle(l);
	mk_limit_waited(&l->peer);
	closing_n++;
	mk_conn_close(&l->conn, 2000, idle_done);
}

static void end_telling(struct mk_link *l, enum mk_link_end why)
{
	l->state = MK_LINK_ENDING;     /* what it sends goes nowhere            */
	if (l->ops != NULL)
		l->ops->closed(l, why);
	end_idle(l);
}

void mk_link_stream_ended(struct mk_link *l, bool lost)
{
	l->framing->end(l, lost);
	l->state = MK_LINK_ENDING;
	mk_list_remove(&l->list);
	mk_conn_close(&l->conn, 2000, stream_done);
}

static struct mk_link *first(const struct mk_inst *i, bool with_streams)
{
	if (is_ready)
		MK_LIST_EACH(n, &links) {
			struct mk_link *l = MK_CONTAINER(n, struct mk_link, list);
			if ((i == NULL || l->inst == i) && (with_streams || l->stream == NULL))
				return l;
		}
	return NULL;
}

void mk_links_close_all(const struct mk_inst *i)
{
	struct mk_link *l;

	while ((l = first(i, false)) != NULL)
		end_telling(l, MK_LINK_STOPPED);
}

void mk_links_drop(struct mk_inst *i)
{
	struct mk_link *l;

	while ((l = first(i, true)) != NULL)
		if (l->stream != NULL)
			mk_stream_fail(l->stream, "system-shutdown", NULL);
		else
			end_telling(l, MK_LINK_STOPPED);
}

/* ---- the connection's events -------------------------------------------------------- */

static bool is_secret(const struct mk_link *l)
{
	return l->stream == NULL || (l->stream->flags & MK_ST_SECRET);
}

static void on_data(struct mk_conn *c, const char *p, size_t n)
{
	struct mk_link *l = link_of(c);
	struct mk_stream *st = l->stream;
	bool secret = is_secret(l);

	if (l->state != MK_LINK_OPEN)
		return;
	if (st != NULL) {
		st->last_in = mk_self->now;
		st->busy++;
	}
	l->ops->data(l, p, n);
	if (secret || (st != NULL && (st->flags & MK_ST_SECRET)))
		explicit_bzero((char *)p, n);
	if (st != NULL)
		mk_stream_leave(st);
}

static void on_closed(struct mk_conn *c, enum mk_conn_close why)
{
	static const uint8_t ends[] = { [MK_CONN_EOF] = MK_LINK_EOF,
		[MK_CONN_ERROR] = MK_LINK_ERROR, [MK_CONN_TIMEOUT] = MK_LINK_SLOW,
		[MK_CONN_OVERFLOW] = MK_LINK_SLOW };
	struct mk_link *l = link_of(c);

	if (l->stream != NULL)
		mk_stream_link_closed(l->stream, why);
	else
		end_telling(l, (enum mk_link_end)ends[why]);
}

static const struct mk_conn_ops conn_ops = { .data = on_data, .closed = on_closed };

/* ---- coming, moving ------------------------------------------------------------------ */

void mk_link_accept(struct mk_c2s *c, int fd, const struct mk_addr *peer)
{
	const struct mk_config_limits *lim = mk_limits();
	struct mk_inst *i = atomic_load_explicit(&c->inst, memory_order_acquire);
	struct mk_config_shaper r = mk_c2s_rates(c);
	struct mk_link *l;

	if (i == NULL || atomic_load(&i->state) != MK_INST_RUNNING) {
		close(fd);
		mk_limit_waited(peer);
		mk_listener_gone(peer);
		return;
	}
	l = mk_alloc(sizeof *l);
	l->magic = MK_LINK_MAGIC;
	atomic_fetch_add(&c->refs, 1);
	l->c2s = c;
	l->peer = *peer;
	mk_conn_init(&l->conn, fd, &conn_ops, (uint32_t)lim->out_bytes);
	if (r.byte_rate != 0)
		mk_shaper_init(&l->conn.in, (uint32_t)r.byte_rate, (uint32_t)r.byte_burst);
	mk_list_push(&links, &l->list);
	l->is_idle = true;
	idle_n++;
	/* As with streams before login: the oldest makes room (S-09). */
	if (lim->preauth_total > 0 && idle_n > (uint32_t)lim->preauth_total / mk_worker_count) {
		struct mk_link *oldest = first(NULL, false);
		if (oldest != l)
			end_telling(oldest, MK_LINK_STOPPED);
	}
	if (c->tls_mode == MK_TLS_DIRECT && mk_conn_start_tls(&l->conn, c->tls) < 0) {
		end_idle(l);
		return;
	}
	c->transport->accepted(i, l);
	if (l->state != MK_LINK_OPEN)
		return;
	if (l->ops == NULL)
		end_idle(l);
	else
		mk_conn_start(&l->conn);
}

static void arrived(struct mk_conn *c)
{
	struct mk_link *l = link_of(c);

	mk_list_push(&links, &l->list);
	mk_inst_leave(l->inst);
	l->moved(l->stream);
}

bool mk_link_move(struct mk_link *l, struct mk_worker *to, void (*fn)(struct mk_stream *st))
{
	/* Whoever stops the instance waits until it is on a list again. */
	if (!mk_inst_enter(l->inst))
		return false;
	mk_list_remove(&l->list);
	l->moved = fn;
	mk_conn_move(&l->conn, to, arrived, NULL, 0);
	return true;
}

/* ---- the public interface ---------------------------------------------------------- */

void mk_link_give(struct mk_link *l, struct mk_inst *i, const struct mk_link_ops *ops, void *data)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	mk_assert(ops != NULL && l->stream == NULL);
	l->inst = i;
	l->ops = ops;
	l->data = data;
}

void *mk_link_data(const struct mk_link *l) { return l->data; }
struct mk_inst *mk_link_inst(const struct mk_link *l) { return l->inst; }
const void *mk_link_conf(const struct mk_link *l) { return l->c2s->conf; }
struct mk_stream *mk_link_stream(const struct mk_link *l) { return l->stream; }
uint16_t mk_link_port(const struct mk_link *l) { return l->c2s->port; }
bool mk_link_is_encrypted(const struct mk_link *l) { return mk_conn_is_secure(&l->conn); }

void mk_link_send(struct mk_link *l, const void *p, size_t n)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	mk_conn_send(&l->conn, p, n);
}

uint32_t mk_link_unsent(struct mk_link *l)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	return mk_conn_unsent(&l->conn);
}

void mk_link_pause(struct mk_link *l)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	mk_assert(l->stream == NULL);
	mk_conn_pause(&l->conn);
}

void mk_link_resume(struct mk_link *l)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	mk_assert(l->stream == NULL);
	mk_conn_resume(&l->conn);
}

void mk_link_close(struct mk_link *l)
{
	MK_CHECK(l, MK_LINK_MAGIC);
	mk_assert(l->stream == NULL && l->state == MK_LINK_OPEN);
	end_idle(l);
}

const char *mk_link_remote(const struct mk_link *l)
{
	char *text = mk_arena_alloc(&mk_self->turn, INET6_ADDRSTRLEN);

	mk_addr_format(&l->peer, text);
	return text;
}

bool mk_link_is_from(const struct mk_link *l, const char *prefix)
{
	return mk_addr_is_in(&l->peer, prefix);
}

struct mk_stream *mk_stream_over(struct mk_link *l, const struct mk_framing *f,
	const struct mk_framing_conf *conf)
{
	struct mk_stream *st;

	MK_CHECK(l, MK_LINK_MAGIC);
	mk_assert(l->stream == NULL && l->state == MK_LINK_OPEN);
	no_longer_idle(l);             /* it goes on waiting, as the stream     */
	l->framing = f;
	l->stream = st = mk_stream_new_over(l);
	st->keepalive_ms = conf->keepalive_ms;
	st->see_other_uri = conf->see_other_uri != NULL && *conf->see_other_uri != '\0'
		? mk_strdup(conf->see_other_uri) : NULL;
	return st;
}
