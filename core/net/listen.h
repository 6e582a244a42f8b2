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
	bool proxy;                    /* PROXY protocol expected               */
	const char *const *proxy_from; /* trusted prefixes; NULL-terminated     */
	uint32_t per_address;          /* connections of an address; 0 = any    */
	uint32_t accepts_per_second;   /* per address; 0 = any                  */
	/* On the accepting worker. fd taken. */
	void (*accepted)(struct mk_listener *l, int fd, const struct mk_addr *peer);
	void *arg;                     /* mk_listener_arg                       */
};
/* Main thread, workers running. -MK_EIO with a line in d. */
int  mk_listener_start(const struct mk_listener_conf *conf, struct mk_diag *d,
                       struct mk_listener **out);
/* No accept after it returns; connections live on. */
void mk_listener_stop(struct mk_listener **l);
void *mk_listener_arg(const struct mk_listener *l);
/* A connection counted for its address ended (any thread). */
void mk_listener_gone(const struct mk_addr *peer);

#endif
