/*
 * net/listen.h - accepting connections on every worker
 *
 * One SO_REUSEPORT socket per worker and address; EMFILE is handled with a
 * reserve descriptor; addresses are limited (per /32, /64) before anything is
 * allocated; a PROXY header (v1, v2) is read first where the listener says so
 * and the peer is trusted.
 */
#ifndef MK_NET_LISTEN_H
#define MK_NET_LISTEN_H

#include "net/conn.h"

struct mk_listener;
struct mk_listener_conf {
	const char *name;              /* for logs and metrics                  */
	const char *address;           /* "::", "127.0.0.1"; "" = all, v4 and v6 */
	uint16_t port;
	int backlog;
	bool proxy;                    /* PROXY header expected from proxy_from;
	                                * others are clients by themselves      */
	const char *const *proxy_from; /* "192.0.2.0/24", "::1"; NULL-terminated */
	uint32_t per_address;          /* connections of an address; 0 = any    */
	uint32_t accepts_per_second;   /* per address; 0 = any                  */
	/* On the accepting worker. fd taken: non-blocking, TCP_NODELAY. peer:
	 * borrowed; what the PROXY header said, if there was one. */
	void (*accepted)(struct mk_listener *l, int fd, const struct mk_addr *peer);
	void *arg;                     /* mk_listener_arg                       */
	int inherited_fd;              /* bound and listening, from socket
	                                * activation, duplicated; 0 = make one  */
};
/* Main thread, workers running; conf is copied. port 0: the kernel picks one.
 * -MK_EIO with a line in d. */
int  mk_listener_start(const struct mk_listener_conf *conf, struct mk_diag *d,
                       struct mk_listener **out);
/* No accept after it returns, and *l is gone; connections live on. Main thread,
 * workers running. */
void mk_listener_stop(struct mk_listener **l);
void *mk_listener_arg(const struct mk_listener *l);
uint16_t mk_listener_port(const struct mk_listener *l);
/* A connection that accepted() was called for ended: once for each, with the
 * peer it came with, whatever the limits. Any thread. */
void mk_listener_gone(const struct mk_addr *peer);

#endif
