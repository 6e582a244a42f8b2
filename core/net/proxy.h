/*
 * net/proxy.h - the PROXY protocol's header, versions 1 and 2
 *
 * As in haproxy's doc/proxy-protocol.txt. Pure: bytes in, address out.
 */
#ifndef MK_NET_PROXY_H
#define MK_NET_PROXY_H

#include "net/conn.h"

#define MK_PROXY_MAX 1024              /* bytes of a header that we take    */

struct mk_proxy {
	bool has_peer;                 /* false: LOCAL, UNKNOWN, UNSPEC; then the
	                                * connection is the proxy's own        */
	struct mk_addr peer;
};
/*
 * How many of the n bytes at p are the header, 0 = incomplete (then all of
 * them belong to it), -MK_EINVAL = it isn't one, or is for something else than
 * TCP. Extensions (TLV) of version 2 are checked for their lengths and passed
 * over. Never reads past n; the answer at MK_PROXY_MAX bytes isn't 0.
 */
int mk_proxy_parse(const char *p, size_t n, struct mk_proxy *out);

#endif
