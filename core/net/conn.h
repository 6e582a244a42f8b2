/*
 * net/conn.h - one socket on a worker: reading, writing, TLS, moving
 *
 * Embedded in its owner (a stream). Holds no buffers while idle: reads go to
 * the worker's read buffer and are handed on at once; output gathers in blocks
 * from the worker's pool and is written at the end of the turn. Its worker's
 * thread only.
 */
#ifndef MK_NET_CONN_H
#define MK_NET_CONN_H

#include <event2/event_struct.h>
#include <netinet/in.h>
#include "loop/worker.h"
#include "net/shaper.h"

struct mk_conn;
struct mk_tls;                         /* tls/tls.h                         */
struct mk_tls_config;

enum mk_conn_close {
	MK_CONN_EOF = 1,               /* orderly end by the peer               */
	MK_CONN_ERROR,                 /* reset, TLS alert, write failed        */
	MK_CONN_TIMEOUT,               /* output not taken for write_timeout    */
	MK_CONN_OVERFLOW,              /* more output waiting than out_limit    */
};
struct mk_conn_ops {
	/* Bytes came in (decrypted). Borrowed; the owner uses or copies all of
	 * them. It may close the connection in here. */
	void (*data)(struct mk_conn *c, const char *p, size_t n);
	/* TLS is up after mk_conn_start_tls; NULL if nobody waits. */
	void (*secured)(struct mk_conn *c);
	/* Over, not by mk_conn_close; the owner calls mk_conn_close in here.
	 * Never called from within mk_conn_send. */
	void (*closed)(struct mk_conn *c, enum mk_conn_close why);
};

struct mk_out_block;
struct mk_conn {
	const struct mk_conn_ops *ops;
	struct mk_worker *worker;
	struct mk_tls *tls;            /* NULL = plain                          */
	struct mk_out_block *out_head, *out_tail;
	struct mk_task flush;
	struct event ev;
	struct mk_wtimer timer;        /* resumes a shaped reader; write stall  */
	struct mk_shaper in;           /* bytes                                 */
	uint32_t out_bytes, out_limit;
	int fd;
	uint16_t flags;
};

/* fd: connected, non-blocking; taken. Reading starts with mk_conn_start. */
void mk_conn_init(struct mk_conn *c, int fd, const struct mk_conn_ops *ops,
                  uint32_t out_limit);
void mk_conn_start(struct mk_conn *c);
/* Bytes to the peer, copied; written at the end of the turn. */
void mk_conn_send(struct mk_conn *c, const void *p, size_t n);
/* The same for many; small ones are copied, big ones referenced. */
void mk_conn_send_shared(struct mk_conn *c, struct mk_shared *s);
/* Writes what is there now (else the turn's end does). */
void mk_conn_flush(struct mk_conn *c);
/* STARTTLS or direct TLS: reads are a handshake from now on. Input that came
 * before it must have been refused by the owner. -MK_EIO. */
int  mk_conn_start_tls(struct mk_conn *c, const struct mk_tls_config *conf);
/* No data callbacks until resumed; a peer's close may be seen late. */
void mk_conn_pause(struct mk_conn *c);
void mk_conn_resume(struct mk_conn *c);
/*
 * Hands the connection over to another worker, whole: no event of c fires here
 * any more, then fn(c) runs there, after which reading goes on (pending TLS
 * records included). The owner, which contains c, moves with it. unread: bytes
 * of the current data callback that the owner did not use, delivered there.
 */
void mk_conn_move(struct mk_conn *c, struct mk_worker *to, void (*fn)(struct mk_conn *c),
                  const char *unread, size_t unread_n);
/* Orderly: what is queued is written (close_notify too), lingering at most
 * linger_ms for a slow peer; the owner may free c when done(c) runs (at once
 * or later; on this worker; no other callback runs any more). */
void mk_conn_close(struct mk_conn *c, int64_t linger_ms, void (*done)(struct mk_conn *c));
bool mk_conn_is_closing(const struct mk_conn *c);
bool mk_conn_is_secure(const struct mk_conn *c);

/* "192.0.2.1" or "2001:db8::1", and port. Set by listener (PROXY protocol). */
struct mk_addr { struct in6_addr ip; uint16_t port; };    /* v4 mapped      */
void mk_addr_format(const struct mk_addr *a, char out[INET6_ADDRSTRLEN]);

#endif
