/*
 * net/proxy.c - the PROXY protocol's header, versions 1 and 2
 */
#include <arpa/inet.h>
#include "net/proxy.h"
#include "base/ban.h"

#define V1_MAX 107                     /* its 2.1: with the CRLF            */
static const char v1_start[] = "PROXY ";
static const char v2_start[] = "\r\n\r\n\0\r\nQUIT\n";
#define V2_HEAD 16

static void set_v4(struct mk_addr *a, const void *ip4)
{
	memset(&a->ip, 0, 10);
	memset((char *)&a->ip + 10, 0xff, 2);
	memcpy((char *)&a->ip + 12, ip4, 4);
}

static unsigned be16(const char *p)
{
	return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* The word up to a space, which is passed over; false if there is none. */
static bool word(struct mk_str *line, struct mk_str *out)
{
	const char *space = memchr(line->p, ' ', line->n);

	out->p = line->p;
	out->n = space != NULL ? (size_t)(space - line->p) : line->n;
	if (out->n == 0)
		return false;
	line->p += out->n + (space != NULL);
	line->n -= out->n + (space != NULL);
	return true;
}

static bool read_ip(int family, struct mk_str s, struct in6_addr *out)
{
	char z[INET6_ADDRSTRLEN];

	if (s.n >= sizeof z || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	return inet_pton(family, z, out) == 1;
}

/* line: without "PROXY " and CRLF. */
static int parse_v1(struct mk_str line, struct mk_proxy *out)
{
	struct mk_str what, from, to, from_port, to_port;
	struct in6_addr ip, unused;
	int64_t port, unused_port;
	int family;

	if (!word(&line, &what))
		return -MK_EINVAL;
	if (mk_str_eq(what, MK_STR("UNKNOWN"))) {
		out->has_peer = false;
		return 0;
	}
	if (mk_str_eq(what, MK_STR("TCP4")))
		family = AF_INET;
	else if (mk_str_eq(what, MK_STR("TCP6")))
		family = AF_INET6;
	else
		return -MK_EINVAL;
	if (!word(&line, &from) || !word(&line, &to) || !word(&line, &from_port))
		return -MK_EINVAL;
	to_port = line;                /* all of the rest: nothing may follow   */
	if (!read_ip(family, from, &ip) || !read_ip(family, to, &unused) ||
	    mk_parse_int(from_port, 0, 65535, &port) < 0 ||
	    mk_parse_int(to_port, 0, 65535, &unused_port) < 0)
		return -MK_EINVAL;
	out->has_peer = true;
	out->peer.port = (uint16_t)port;
	if (family == AF_INET)
		set_v4(&out->peer, &ip);
	else
		out->peer.ip = ip;
	return 0;
}

static int find_v1(const char *p, size_t n, struct mk_proxy *out)
{
	const size_t skip = sizeof v1_start - 1;
	const char *end;
	int r;

	end = memchr(p, '\n', n < V1_MAX ? n : V1_MAX);
	if (end == NULL)
		return n >= V1_MAX ? -MK_EINVAL : 0;
	if (end - p < (ptrdiff_t)skip + 1 || end[-1] != '\r')
		return -MK_EINVAL;
	r = parse_v1((struct mk_str){ p + skip, (size_t)(end - 1 - p) - skip }, out);
	return r < 0 ? r : (int)(end + 1 - p);
}

/* Type, length, value, to the last byte. */
static bool tlvs_fit(const char *p, size_t n)
{
	while (n > 0) {
		if (n < 3 || n - 3 < be16(p + 1))
			return false;
		n -= 3 + be16(p + 1);
		p += 3 + be16(p + 1);
	}
	return true;
}

static int find_v2(const char *p, size_t n, struct mk_proxy *out)
{
	enum { LOCAL = 0x20, PROXY = 0x21, UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21 };
	const char *a = p + V2_HEAD;
	size_t body, addresses;
	unsigned command, family;

	if (n < V2_HEAD)
		return 0;
	command = (unsigned char)p[12];
	family = (unsigned char)p[13];
	body = be16(p + 14);
	if (command != LOCAL && command != PROXY)
		return -MK_EINVAL;
	if (V2_HEAD + body > MK_PROXY_MAX)
		return -MK_EINVAL;
	if (n < V2_HEAD + body)
		return 0;
	out->has_peer = false;
	if (command == LOCAL || family == UNSPEC)     /* the rest is ignored  */
		return (int)(V2_HEAD + body);
	if (family != TCP4 && family != TCP6)
		return -MK_EINVAL;
	addresses = family == TCP4 ? 12 : 36;
	if (body < addresses || !tlvs_fit(a + addresses, body - addresses))
		return -MK_EINVAL;
	out->has_peer = true;
	if (family == TCP4) {
		set_v4(&out->peer, a);
		out->peer.port = (uint16_t)be16(a + 8);
	} else {
		memcpy(&out->peer.ip, a, 16);
		out->peer.port = (uint16_t)be16(a + 32);
	}
	return (int)(V2_HEAD + body);
}

/* What is there of a beginning agrees with it. */
static bool begins(const char *p, size_t n, const char *start, size_t start_n)
{
	return memcmp(p, start, n < start_n ? n : start_n) == 0;
}

int mk_proxy_parse(const char *p, size_t n, struct mk_proxy *out)
{
	if (n == 0)
		return 0;
	if (begins(p, n, v1_start, sizeof v1_start - 1))
		return find_v1(p, n, out);
	if (begins(p, n, v2_start, sizeof v2_start - 1))
		return find_v2(p, n, out);
	return -MK_EINVAL;
}
