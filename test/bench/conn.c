/*
 * conn.c - the sockets of meerkat-bench: connecting, TLS, bytes in and out
 *
 * Reads go into one shared buffer; a slot keeps bytes of its own only while
 * a stanza is cut or the socket is full, so an idle session costs little
 * here. What a slot answers while its input is handled is collected and
 * written once. Loop's thread.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES 65536
#define STANZA_MAX (4u << 20)
#define OUT_MAX (8u << 20)
#define RECORD_MAX 16384

void buf_reserve(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 256;

	if (n <= b->cap)
		return;
	while (cap < n)
		cap *= 2;
	b->data = bench_grow(b->data, cap);
	b->cap = cap;
}

static void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

static void watch(struct bench *b, struct conn *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	if (c->events == events)
		return;
	epoll_ctl(b->epoll_fd, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev);
	c->events = events;
}

void conn_drop(struct bench *b, struct conn *c, bool is_error)
{
	bool was_ready = c->state == CONN_READY || c->state == CONN_CLOSING;
	bool was_login = !was_ready;

	if (b->out_owner == c) {
		b->out_owner = NULL;
		b->out.len = 0;
	}
	if (c->tls) {
		if (b->o.tls_resume && was_ready && !b->ticket.data &&
		    (gnutls_session_get_flags(c->tls) & GNUTLS_SFLAGS_SESSION_TICKET))
			gnutls_session_get_data2(c->tls, &b->ticket);
		if (!is_error)
			gnutls_bye(c->tls, GNUTLS_SHUT_WR);
		gnutls_deinit(c->tls);
		c->tls = NULL;
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (c->state == CONN_READY)
		b->n_live--;
	if (was_login) {
		b->n_login--;
		b->n_failed++;
	}
	c->state = CONN_DEAD;
	c->deadline = 0;
	buf_free(&c->in);
	buf_free(&c->out);
	free(c->scram);
	c->scram = NULL;
	free(c->jid);
	c->jid = NULL;
	b->mode->closed(b, c, was_ready, is_error);
}

void conn_fail(struct bench *b, struct conn *c, enum bench_error kind,
               const char *text, size_t len)
{
	bench_error(b, kind, c, text, len);
	conn_drop(b, c, true);
}

void conn_fail_text(struct bench *b, struct conn *c, enum bench_error kind,
                    const char *text)
{
	conn_fail(b, c, kind, text, strlen(text));
}

static void fail_errno(struct bench *b, struct conn *c, enum bench_error kind, int err)
{
	conn_fail_text(b, c, kind, strerror(err));
}

/* ---- output ---- */

/* Bytes taken, or -EAGAIN, or another negative errno. */
static ssize_t send_some(struct conn *c, const char *data, size_t len)
{
	ssize_t r;

	if (!c->is_secure) {
		r = send(c->fd, data, len, MSG_NOSIGNAL);
		return r >= 0 ? r : errno == EINTR ? -EAGAIN : -errno;
	}
	if (len > RECORD_MAX)
		len = RECORD_MAX;
	/* a record half sent is held by GnuTLS, which then wants no data */
	r = c->tls_pending ? gnutls_record_send(c->tls, NULL, 0)
	                   : gnutls_record_send(c->tls, data, len);
	c->tls_pending = r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED;
	if (r >= 0)
		return r;
	return c->tls_pending ? -EAGAIN : -EPIPE;
}

void conn_put(struct bench *b, struct conn *c, const void *data, size_t len)
{
	if (b->out_owner != c) {
		if (b->out_owner)
			abort();        /* our own promise: one slot at a time */
		b->out_owner = c;
	}
	buf_reserve(&b->out, b->out.len + len);
	memcpy(b->out.data + b->out.len, data, len);
	b->out.len += len;
}

void conn_puts(struct bench *b, struct conn *c, const char *s)
{
	conn_put(b, c, s, strlen(s));
}

static void keep_output(struct conn *c, const char *data, size_t len)
{
	if (c->out_sent) {
		memmove(c->out.data, c->out.data + c->out_sent, c->out.len - c->out_sent);
		c->out.len -= c->out_sent;
		c->out_sent = 0;
	}
	buf_reserve(&c->out, c->out.len + len);
	memcpy(c->out.data + c->out.len, data, len);
	c->out.len += len;
}

/* Sends what waits; false when c was closed by an error. */
static bool drain_output(struct bench *b, struct conn *c)
{
	ssize_t r;

	while (c->out_sent < c->out.len) {
		r = send_some(c, c->out.data + c->out_sent, c->out.len - c->out_sent);
		if (r == -EAGAIN) {
			watch(b, c, EPOLLIN | EPOLLOUT);
			return true;
		}
		if (r < 0) {
			fail_errno(b, c, BENCH_E_CLOSED, (int)-r);
			return false;
		}
		c->out_sent += (uint32_t)r;
	}
	c->out.len = c->out_sent = 0;
	if (c->out.cap > READ_BYTES)
		buf_free(&c->out);
	watch(b, c, EPOLLIN);
	return true;
}

void conn_flush(struct bench *b, struct conn *c)
{
	static const char full[] = "the server doesn't read";
	const struct buf *out = &b->out;
	const char *data;
	size_t len, sent = 0;
	ssize_t r = 0;

	if (b->out_owner != c)
		return;
	b->out_owner = NULL;
	if (b->o.websocket) {
		ws_frame(b, &b->frames);
		out = &b->frames;
	}
	data = out->data;
	len = out->len;
	b->out.len = 0;
	if (c->out.len == 0) {
		while (sent < len && (r = send_some(c, data + sent, len - sent)) >= 0)
			sent += (size_t)r;
		if (r < 0 && r != -EAGAIN) {
			fail_errno(b, c, BENCH_E_CLOSED, (int)-r);
			return;
		}
	}
	if (sent < len && c->out.len - c->out_sent > OUT_MAX) {
		bench_error(b, BENCH_E_FULL, c, full, strlen(full));
	} else if (sent < len) {
		keep_output(c, data + sent, len - sent);
		watch(b, c, EPOLLIN | EPOLLOUT);
	}
}

/* ---- TLS ---- */

static void note_tls(struct bench *b, struct conn *c)
{
	char *text;

	if (gnutls_session_is_resumed(c->tls))
		b->n_resumed++;
	if (b->tls_text[0])
		return;
	text = gnutls_session_get_desc(c->tls);
	if (text)
		memccpy(b->tls_text, text, '\0', sizeof(b->tls_text) - 1);
	gnutls_free(text);
}

/* The first bytes of the connection, or of its TLS. */
static void begin(struct bench *b, struct conn *c)
{
	if (b->o.websocket)
		ws_request(b, c);
	else
		conn_header(b, c);
}

static void handshake(struct bench *b, struct conn *c)
{
	int r;

	do {
		r = gnutls_handshake(c->tls);
	} while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
	if (r == GNUTLS_E_AGAIN) {
		watch(b, c, gnutls_record_get_direction(c->tls) ? EPOLLOUT : EPOLLIN);
		return;
	}
	if (r < 0) {
		conn_fail_text(b, c, BENCH_E_TLS, gnutls_strerror(r));
		return;
	}
	c->is_secure = true;
	note_tls(b, c);
	watch(b, c, EPOLLIN);
	begin(b, c);
	conn_flush(b, c);
}

void conn_start_tls(struct bench *b, struct conn *c)
{
	static const gnutls_datum_t xmpp = { (unsigned char *)"xmpp-client", 11 };
	static const gnutls_datum_t http = { (unsigned char *)"http/1.1", 8 };
	unsigned int flags = GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
	                     GNUTLS_KEY_SHARE_TOP;
	int r;

	/* without tickets the server has nothing to make or send for later */
	if (!b->o.tls_resume)
		flags |= GNUTLS_NO_TICKETS;
	r = gnutls_init(&c->tls, flags);
	if (r < 0) {
		conn_fail_text(b, c, BENCH_E_TLS, gnutls_strerror(r));
		return;
	}
	gnutls_priority_set(c->tls, b->priority);
	gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, b->credentials);
	gnutls_server_name_set(c->tls, GNUTLS_NAME_DNS, b->o.domain, strlen(b->o.domain));
	if (b->o.direct_tls)
		gnutls_alpn_set_protocols(c->tls, b->o.websocket ? &http : &xmpp, 1, 0);
	if (b->o.verify)
		gnutls_session_set_verify_cert(c->tls, b->o.domain, 0);
	if (b->ticket.data)
		gnutls_session_set_data(c->tls, b->ticket.data, b->ticket.size);
	gnutls_transport_set_int(c->tls, c->fd);
	gnutls_handshake_set_timeout(c->tls, GNUTLS_INDEFINITE_TIMEOUT);
	c->state = CONN_TLS;
	handshake(b, c);
}

/* ---- input ---- */

/* Bytes read, 0 at the end, or -EAGAIN or another negative errno. */
static ssize_t receive_some(struct conn *c, char *data, size_t len)
{
	ssize_t r;

	if (!c->is_secure) {
		r = recv(c->fd, data, len, 0);
		return r >= 0 ? r : errno == EINTR ? -EAGAIN : -errno;
	}
	do {
		r = gnutls_record_recv(c->tls, data, len);
		/* a ticket or a key update is handled inside */
	} while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)r));
	if (r == GNUTLS_E_AGAIN)
		return -EAGAIN;
	return r == GNUTLS_E_PREMATURE_TERMINATION ? 0 : r < 0 ? -EPIPE : r;
}

/* Handles the elements in the shared buffer; keeps what is cut. */
static void feed(struct bench *b, struct conn *c, size_t len)
{
	const char *base = b->in.data;
	size_t off = 0, begin = 0, end = 0;
	enum token_kind kind;

	if (b->o.websocket) {
		off = ws_feed(b, c, base, len);
		if (c->state == CONN_DEAD)
			return;
	}
	while (off < len && !b->o.websocket) {
		kind = token_next(&c->token, base + off, len - off, &begin, &end);
		if (kind == TOKEN_MORE) {
			off += end;
			break;
		}
		if (kind == TOKEN_BAD) {
			conn_fail(b, c, BENCH_E_XML, base + off, len - off);
			return;
		}
		negotiate_element(b, c, kind, base + off + begin, end - begin);
		if (c->state == CONN_DEAD)
			return;
		off += end;
		if (c->state == CONN_TLS) {
			/* bytes behind <proceed/> are not part of the secure stream */
			c->in.len = 0;
			return;
		}
	}
	c->in.len = len - off;
	if (c->in.len == 0)
		return;
	buf_reserve(&c->in, c->in.len);
	memcpy(c->in.data, base + off, c->in.len);
}

static void read_input(struct bench *b, struct conn *c)
{
	size_t kept;
	ssize_t r;
	bool was_secure;

	for (;;) {
		kept = c->in.len;
		if (kept > STANZA_MAX) {
			conn_fail_text(b, c, BENCH_E_XML, "stanza too large");
			return;
		}
		buf_reserve(&b->in, kept + READ_BYTES);
		if (kept)
			memcpy(b->in.data, c->in.data, kept);
		r = receive_some(c, b->in.data + kept, READ_BYTES);
		if (r == -EAGAIN)
			break;
		if (r == 0 && c->state == CONN_CLOSING) {
			conn_drop(b, c, false);
			return;
		}
		if (r <= 0) {
			if (r == 0)
				conn_fail_text(b, c, BENCH_E_CLOSED, "end of file");
			else
				fail_errno(b, c, BENCH_E_CLOSED, (int)-r);
			return;
		}
		b->now = bench_clock();
		was_secure = c->is_secure;
		feed(b, c, kept + (size_t)r);
		if (c->state == CONN_DEAD || c->is_secure != was_secure ||
		    c->state == CONN_TLS)
			return;
		/* decrypted bytes don't wake epoll: read on until there are none */
		if (!c->is_secure && r < READ_BYTES)
			break;
	}
	conn_flush(b, c);
}

/* ---- opening ---- */

static void connected(struct bench *b, struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		fail_errno(b, c, BENCH_E_CONNECT, err);
		return;
	}
	if (b->o.direct_tls) {
		conn_start_tls(b, c);
		return;
	}
	watch(b, c, EPOLLIN);
	begin(b, c);
	conn_flush(b, c);
}

/*
 * Loopback has 2^24 addresses; taking many of them passes both the number of
 * ports of one address and a server's limit per address.
 */
static int choose_source(struct bench *b, struct conn *c)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int on = 1;

	sin.sin_addr.s_addr = htonl(b->source_first + b->next_source);
	b->next_source = (b->next_source + 1) % b->source_count;
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(c->fd, (struct sockaddr *)&sin, sizeof(sin));
}

void conn_open(struct bench *b, struct conn *c, uint32_t user)
{
	const struct sockaddr_storage *to = &b->target[b->next_target];
	socklen_t len = b->target_len[b->next_target];
	int on = 1;

	b->next_target = (b->next_target + 1) % (uint32_t)b->o.n_connect;
	c->user = user;
	c->state = CONN_CONNECT;
	c->is_authenticated = c->is_secure = c->tls_pending = c->is_sm = false;
	c->sm_in = c->sm_out = c->sm_acked = 0;
	c->events = c->out_sent = 0;
	c->token = (struct token){ 0 };
	c->started = b->now = bench_clock();
	c->deadline = b->now + (uint64_t)(b->o.timeout * 1e9);
	b->n_login++;
	c->fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		fail_errno(b, c, BENCH_E_CONNECT, errno);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (b->source_count && to->ss_family == AF_INET && choose_source(b, c) < 0) {
		fail_errno(b, c, BENCH_E_CONNECT, errno);
		return;
	}
	if (connect(c->fd, (const struct sockaddr *)to, len) < 0 && errno != EINPROGRESS) {
		fail_errno(b, c, BENCH_E_CONNECT, errno);
		return;
	}
	watch(b, c, EPOLLOUT);
}

void conn_close(struct bench *b, struct conn *c)
{
	if (c->state != CONN_READY)
		return;
	b->n_live--;
	c->state = CONN_CLOSING;
	c->deadline = b->now + (uint64_t)(b->o.timeout * 1e9);
	if (b->o.websocket)
		ws_close(b, c);
	else
		conn_puts(b, c, "</stream:stream>");
}

void conn_event(struct bench *b, struct conn *c, uint32_t events)
{
	switch (c->state) {
	case CONN_DEAD:
		return;
	case CONN_CONNECT:
		connected(b, c);
		return;
	case CONN_TLS:
		handshake(b, c);
		return;
	default:
		if ((events & EPOLLOUT) && !drain_output(b, c))
			return;
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			read_input(b, c);
	}
}

void conn_timeouts(struct bench *b)
{
	for (uint32_t i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		if (c->state == CONN_DEAD || c->deadline == 0 || b->now < c->deadline)
			continue;
		conn_fail_text(b, c, BENCH_E_TIMEOUT, c->state == CONN_CLOSING
		               ? "no answer to the end tag" : "login not finished");
	}
}
