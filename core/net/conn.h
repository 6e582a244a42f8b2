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
	 * them, and may overwrite them. It may close the connection in here. */
	void (*data)(struct mk_conn *c, const char *p, size_t n);
	/* TLS is up after mk_conn_start_tls; NULL if nobody waits. */
	void (*secured)(struct mk_conn *c);
	/* Over, not by mk_conn_close; the owner calls mk_conn_close in here.
	 * Never called from within mk_conn_send. */
	void (*closed)(struct mk_conn *c, enum mk_conn_close why);
	/* As of mk_watch_ops, for the owner's memory, a step less; NULL if it needs
	 * none. */
	void (*soon)(struct mk_conn *c, unsigned step);
};

struct mk_out_block;
struct mk_conn_trip;
struct mk_conn {
	struct mk_watch watch;
	union {
		const struct mk_conn_ops *ops;
		void (*done)(struct mk_conn *c);       /* while closing         */
	};
	struct mk_worker *worker;
	struct mk_out_block *out_head, *out_tail;
	uint32_t out_bytes, out_limit;
	struct mk_task flush;
	struct mk_tls *tls;            /* NULL = plain                          */
	uint16_t flags;                /* conn.c's                              */
	uint8_t why;                   /* enum mk_conn_close, while one is due  */
	struct mk_conn_trip *trip;     /* on the way to another worker          */
	struct mk_wtimer timer;        /* for resume_ms and stall_ms            */
	struct mk_shaper in;           /* bytes; set by the owner, else no limit */
	uint32_t resume_ms, stall_ms;  /* deadlines, wrapping; see flags        */
};

/* How long output may wait without the peer taking any of it (60 s at first), for
 * connections that stall after the call; the most that one connection reads in a turn
 * (MK_READ_BUF at first, and at most). Any thread. */
void mk_net_limits(int64_t write_timeout_ms, int64_t turn_bytes);

/* fd: connected, non-blocking; taken (the accepting or connecting side has set
 * TCP_NODELAY). out_limit 0 = none. c need not be zeroed. Reading starts with
 * mk_conn_start. */
void mk_conn_init(struct mk_conn *c, int fd, const struct mk_conn_ops *ops,
                  uint32_t out_limit);
void mk_conn_start(struct mk_conn *c);
/* Bytes to the peer, copied; written at the end of the turn. Nothing happens
 * on a connection that is broken or closing. */
void mk_conn_send(struct mk_conn *c, const void *p, size_t n);
/* The same for many; small ones are copied, big ones referenced (a reference
 * of our own is taken). */
void mk_conn_send_shared(struct mk_conn *c, struct mk_shared *s);
/* Writes what is there now (else the turn's end does). Calls nobody back. */
void mk_conn_flush(struct mk_conn *c);
/* Bytes that are still queued after another try; UINT32_MAX if it is broken or
 * closing. */
uint32_t mk_conn_unsent(struct mk_conn *c);
/* STARTTLS or direct TLS: reads are a handshake from now on, and what is sent
 * waits for its end; what was queued before goes out in clear at once. Input
 * that came before it must have been refused by the owner. conf is kept (a
 * reference). domain: whose certificate to show a client that names none
 * (borrowed), NULL = the first.
 * 0, or -MK_EIO if the peer's window had no room for what was queued. */
int  mk_conn_start_tls_for(struct mk_conn *c, const struct mk_tls_config *conf,
                           const char *domain);
static inline int mk_conn_start_tls(struct mk_conn *c, const struct mk_tls_config *conf)
{
	return mk_conn_start_tls_for(c, conf, NULL);
}
/* No data callbacks until resumed; a peer's close may be seen late. */
void mk_conn_pause(struct mk_conn *c);
void mk_conn_resume(struct mk_conn *c);
/*
 * Hands the connection over to another worker, whole: no event of c fires here
 * any more, then fn(c) runs there, after which reading goes on (pending TLS
 * records included). The owner, which contains c, moves with it; it leaves at
 * the end of this turn, so that whoever called may finish and even send (but
 * later than that must not touch c). unread: bytes of the current data
 * callback that the owner did not use, delivered there. A close before the end
 * of the turn cancels the move: fn doesn't run.
 */
void mk_conn_move(struct mk_conn *c, struct mk_worker *to, void (*fn)(struct mk_conn *c),
                  const char *unread, size_t unread_n);
/* Orderly: what is queued is written (close_notify too), then the peer has
 * until linger_ms to close its side, so that nothing on its way is lost to a
 * reset; 0 = close after one attempt to write. Once per connection. The owner
 * may free c when done(c) runs: on this worker, at the end of this turn or
 * later, never from within this call; no other callback runs any more. */
void mk_conn_close(struct mk_conn *c, int64_t linger_ms, void (*done)(struct mk_conn *c));
bool mk_conn_is_closing(const struct mk_conn *c);
bool mk_conn_is_secure(const struct mk_conn *c);

/* "192.0.2.1" or "2001:db8::1", and port. Set by listener (PROXY protocol). */
struct mk_addr { struct in6_addr ip; uint16_t port; };    /* v4 mapped      */
/* out: dotted for an IPv4 address. */
void mk_addr_format(const struct mk_addr *a, char out[INET6_ADDRSTRLEN]);
/* prefix: "192.0.2.0/24", "::1"; false for what is none. */
bool mk_addr_is_in(const struct mk_addr *a, const char *prefix);

#endif
