/*
 * net/listen.c - accepting connections on every worker
 *
 * A listener has a lane per worker: a socket of its own (SO_REUSEPORT), so that
 * the kernel deals connections out. A lane, and the connections whose PROXY
 * header is still on its way, are their worker's; the main thread makes and
 * ends lanes by mk_workers_call.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <meerkat/conf.h>
#include <meerkat/log.h>
#include "base/metric.h"
#include "net/limit.h"
#include "net/listen.h"
#include "net/proxy.h"
#include "base/ban.h"

#define ACCEPTS_PER_TURN 64
#define PAUSE_MS 100                   /* without descriptors or memory     */
#define PROXY_MS 5000                  /* for a whole header                */
#define SHED_LOG_USEC 10000000         /* between two log lines             */

struct prefix { struct in6_addr ip; unsigned bits; };

struct lane {
	struct mk_listener *l;
	struct mk_watch watch;         /* fd < 0: -errno                        */
	struct mk_wtimer pause;
	struct mk_list waiting;        /* of struct newcomer                    */
	int fd;
	int reserve;                   /* given up to accept and close when no
	                                * descriptor is left; -1 = none         */
	mk_usec shed_logged;
};
struct mk_listener {
	char *name;
	void (*accepted)(struct mk_listener *l, int fd, const struct mk_addr *peer);
	void *arg;
	struct prefix *trusted;
	unsigned trusted_n;
	uint32_t per_address, accepts_per_second;
	uint16_t port;
	bool proxy;
	uint32_t m_accepted, m_many, m_fast, m_proxy, m_descriptors;   /* metrics */
	unsigned lane_n;
	struct lane *lanes;
};
/* A connection from a trusted proxy, before its header is complete. */
struct newcomer {
	struct mk_list node;
	struct lane *lane;
	struct mk_watch watch;
	struct mk_wtimer timer;
	struct mk_addr peer;
	int fd;
	unsigned n;
	char bytes[MK_PROXY_MAX];
};

/* ---- addresses --------------------------------------------------------------- */

static void set_v4(struct in6_addr *out, const struct in_addr *ip)
{
	memset(out, 0, 10);
	memset((char *)out + 10, 0xff, 2);
	memcpy((char *)out + 12, ip, 4);
}

static void set_addr(struct mk_addr *a, const struct sockaddr_storage *from)
{
	memset(a, 0, sizeof *a);
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
		set_v4(&a->ip, &v4->sin_addr);
		a->port = ntohs(v4->sin_port);
	} else if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
		a->ip = v6->sin6_addr;
		a->port = ntohs(v6->sin6_port);
	}
}

void mk_addr_format(const struct mk_addr *a, char out[INET6_ADDRSTRLEN])
{
	bool is_v4 = IN6_IS_ADDR_V4MAPPED(&a->ip);

	if (inet_ntop(is_v4 ? AF_INET : AF_INET6, (const char *)&a->ip + (is_v4 ? 12 : 0),
	              out, INET6_ADDRSTRLEN) == NULL)
		out[0] = '\0';
}

/* "192.0.2.0/24", "2001:db8::/32", "192.0.2.1" */
static bool read_prefix(const char *text, struct prefix *out)
{
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	char z[INET6_ADDRSTRLEN];
	struct in_addr v4;
	unsigned most;
	int64_t bits;

	if (n >= sizeof z)
		return false;
	memcpy(z, text, n);
	z[n] = '\0';
	if (inet_pton(AF_INET, z, &v4) == 1) {
		set_v4(&out->ip, &v4);
		most = 32;
	} else if (inet_pton(AF_INET6, z, &out->ip) == 1) {
		most = 128;
	} else {
		return false;
	}
	bits = most;
	if (slash != NULL && mk_parse_int(mk_strz(slash + 1), 0, most, &bits) < 0)
		return false;
	out->bits = (unsigned)bits + (128 - most);
	return true;
}

static bool is_in(const struct prefix *p, const struct in6_addr *ip)
{
	unsigned bytes = p->bits / 8, rest = p->bits % 8;

	if (memcmp(&p->ip, ip, bytes) != 0)
		return false;
	return rest == 0 || ((p->ip.s6_addr[bytes] ^ ip->s6_addr[bytes]) >> (8 - rest)) == 0;
}

bool mk_addr_is_in(const struct mk_addr *a, const char *prefix)
{
	struct prefix p;

	return read_prefix(prefix, &p) && is_in(&p, &a->ip);
}

static bool is_trusted(const struct mk_listener *l, const struct mk_addr *peer)
{
	for (unsigned i = 0; i < l->trusted_n; i++)
		if (is_in(&l->trusted[i], &peer->ip))
			return true;
	return false;
}

/* ---- newcomers ---------------------------------------------------------------- */

static void admit(struct mk_listener *l, int fd, const struct mk_addr *peer)
{
	switch (mk_limit_enter(peer, l->per_address, l->accepts_per_second, mk_self->now)) {
	case MK_LIMIT_OK:
		mk_metric_bump(l->m_accepted, 1);
		l->accepted(l, fd, peer);
		return;
	case MK_LIMIT_MANY:
		mk_metric_bump(l->m_many, 1);
		break;
	case MK_LIMIT_FAST:
		mk_metric_bump(l->m_fast, 1);
		break;
	}
	close(fd);
}

/* fd isn't closed. */
static void newcomer_free(struct newcomer *c)
{
	mk_watch_set(&c->watch, 0);
	mk_wtimer_stop(&c->timer);
	mk_list_remove(&c->node);
	mk_free(c);
}

static void newcomer_drop(struct newcomer *c)
{
	int fd = c->watch.fd;

	newcomer_free(c);
	close(fd);
}

static void newcomer_refuse(struct newcomer *c, const char *why)
{
	char ip[INET6_ADDRSTRLEN];

	mk_addr_format(&c->peer, ip);
	mk_log(NULL, MK_INFO, "no PROXY header from a trusted proxy", "listener=%s ip=%s reason=\"%s\"",
		c->lane->l->name, ip, why);
	mk_metric_bump(c->lane->l->m_proxy, 1);
	newcomer_drop(c);
}

static void on_proxy_timeout(struct mk_wtimer *t)
{
	newcomer_refuse(MK_CONTAINER(t, struct newcomer, timer), "timeout");
}

static void on_proxy_bytes(struct mk_watch *w, unsigned events)
{
	struct newcomer *c = MK_CONTAINER(w, struct newcomer, watch);
	struct mk_listener *l = c->lane->l;
	struct mk_proxy head;
	struct mk_addr peer;
	ssize_t got, taken;
	int fd = w->fd, r;

	(void)events;
	/* What follows the header is the stream's: look first, then take only
	 * what belongs to it. */
	got = recv(fd, c->bytes + c->n, sizeof c->bytes - c->n, MSG_PEEK);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		newcomer_refuse(c, "closed");
		return;
	}
	r = mk_proxy_parse(c->bytes, c->n + (size_t)got, &head);
	if (r < 0) {
		newcomer_refuse(c, "not a header");
		return;
	}
	taken = r > 0 ? r - (ssize_t)c->n : got;
	if (recv(fd, c->bytes + c->n, (size_t)taken, 0) != taken) {
		newcomer_refuse(c, "closed");
		return;
	}
	c->n += (unsigned)taken;
	if (r == 0)
		return;
	peer = head.has_peer ? head.peer : c->peer;
	newcomer_free(c);
	admit(l, fd, &peer);
}

static const struct mk_watch_ops newcomer_ops = { .event = on_proxy_bytes };

static void newcomer_add(struct lane *lane, int fd, const struct mk_addr *peer)
{
	struct newcomer *c = mk_alloc(sizeof *c);

	c->lane = lane;
	c->peer = *peer;
	mk_list_push(&lane->waiting, &c->node);
	mk_wtimer_start(&c->timer, PROXY_MS, on_proxy_timeout);
	mk_watch_init(&c->watch, fd, &newcomer_ops);
	if (mk_watch_set(&c->watch, MK_WATCH_IN) < 0)
		newcomer_drop(c);
}

/* ---- lanes --------------------------------------------------------------------- */

static void on_pause_end(struct mk_wtimer *t);

static void lane_pause(struct lane *lane)
{
	mk_watch_set(&lane->watch, 0);
	mk_wtimer_start(&lane->pause, PAUSE_MS, on_pause_end);
}

static void lane_go(struct lane *lane)
{
	if (mk_watch_set(&lane->watch, MK_WATCH_IN) < 0)
		lane_pause(lane);
}

static void on_pause_end(struct mk_wtimer *t)
{
	lane_go(MK_CONTAINER(t, struct lane, pause));
}

static int accept_one(struct lane *lane, struct mk_addr *peer)
{
	struct sockaddr_storage from;
	socklen_t n = sizeof from;
	int fd = accept4(lane->watch.fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		set_addr(peer, &from);
	return fd;
}

/* No descriptor is left. Waiting clients get a clean close instead of silence,
 * and the socket doesn't stay readable, which would make the loop spin. */
static void lane_shed(struct lane *lane)
{
	struct mk_addr peer;
	int fd = 0;

	if (lane->shed_logged == 0 || mk_self->now - lane->shed_logged > SHED_LOG_USEC) {
		lane->shed_logged = mk_self->now;
		mk_log(NULL, MK_ERROR, "no file descriptor is left for a new connection",
			"listener=%s", lane->l->name);
	}
	for (int i = 0; i < ACCEPTS_PER_TURN && fd >= 0 && lane->reserve >= 0; i++) {
		close(lane->reserve);
		fd = accept_one(lane, &peer);
		if (fd >= 0) {
			close(fd);
			mk_metric_bump(lane->l->m_descriptors, 1);
		}
		/* Somebody may have been quicker; then the next pause tries. */
		lane->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
}

static void on_accept(struct mk_watch *w, unsigned events)
{
	struct lane *lane = MK_CONTAINER(w, struct lane, watch);

	(void)events;
	if (lane->reserve < 0)
		lane->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct mk_addr peer;
		int fd = accept_one(lane, &peer);

		if (fd >= 0) {
			if (lane->l->proxy && is_trusted(lane->l, &peer))
				newcomer_add(lane, fd, &peer);
			else
				admit(lane->l, fd, &peer);
			continue;
		}
		switch (errno) {
		case EAGAIN:
			return;
		case EMFILE:
		case ENFILE:
			lane_shed(lane);
			lane_pause(lane);
			return;
		/* Errors of the connection, which is gone (accept(2)). */
		case EINTR: case ECONNABORTED: case EPROTO: case ENETDOWN:
		case ENOPROTOOPT: case EHOSTDOWN: case ENONET: case EHOSTUNREACH:
		case EOPNOTSUPP: case ENETUNREACH: case EPERM:
			break;
		default:
			mk_log(NULL, MK_ERROR, "accept failed", "listener=%s reason=\"%s\"",
				lane->l->name, strerror(errno));
			lane_pause(lane);
			return;
		}
	}
}

static const struct mk_watch_ops lane_ops = { .event = on_accept };

static void lane_open(struct mk_worker *w, void *arg)
{
	struct mk_listener *l = arg;
	struct lane *lane = &l->lanes[w->index];

	lane_go(lane);
}

static void lane_close(struct mk_worker *w, void *arg)
{
	struct mk_listener *l = arg;
	struct lane *lane = &l->lanes[w->index];
	struct mk_list *n;

	mk_watch_set(&lane->watch, 0);
	mk_wtimer_stop(&lane->pause);
	while ((n = mk_list_first(&lane->waiting)) != NULL) {
		struct newcomer *c = MK_CONTAINER(n, struct newcomer, node);
		newcomer_drop(c);
	}
}

/* ---- start and stop -------------------------------------------------------------- */

static void listener_free(struct mk_listener *l)
{
	for (unsigned i = 0; i < l->lane_n; i++) {
		if (l->lanes[i].watch.fd >= 0)
			close(l->lanes[i].watch.fd);
		if (l->lanes[i].reserve >= 0)
			close(l->lanes[i].reserve);
	}
	mk_free(l->lanes);
	mk_free(l->trusted);
	mk_free(l->name);
	mk_free(l);
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value);
}

static socklen_t make_address(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof *v4;
	}
	if (text[0] != '\0' && inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return sizeof *v6;
}

/* Bound and listening; -errno. TCP_NODELAY is inherited by what it accepts. */
static int open_socket(const char *address, uint16_t port, int backlog)
{
	struct sockaddr_storage at;
	socklen_t n = make_address(address, port, &at);
	int fd, r;

	if (n == 0)
		return -EINVAL;
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && address[0] == '\0')
		return open_socket("0.0.0.0", port, backlog);
	if (fd < 0)
		return -errno;
	if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
	    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0 ||
	    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
	    (at.ss_family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) < 0) ||
	    bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, backlog) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* One socket from whoever started us, shared by all lanes. */
static int adopt_socket(int inherited)
{
	int fd = fcntl(inherited, F_DUPFD_CLOEXEC, 3);
	int r;

	if (fd < 0)
		return -errno;
	if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof at;
	struct mk_addr a;

	if (getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		return 0;
	set_addr(&a, &at);
	return a.port;
}

static uint32_t refused_metric(const struct mk_buf *label, const char *reason)
{
	struct mk_buf b = { 0 };
	uint32_t id;

	mk_buf_add(&b, label->p, label->n);
	mk_metric_label(&b, "reason", mk_strz(reason));
	id = mk_metric_id("meerkat_connections_refused_total",
		"connections closed before anything was read", MK_COUNTER, mk_buf_z(&b));
	mk_buf_free(&b);
	return id;
}

static void make_metrics(struct mk_listener *l)
{
	struct mk_buf b = { 0 };

	mk_metric_label(&b, "listener", mk_strz(l->name));
	l->m_many = refused_metric(&b, "address_limit");
	l->m_fast = refused_metric(&b, "address_rate");
	l->m_proxy = refused_metric(&b, "proxy_header");
	l->m_descriptors = refused_metric(&b, "no_descriptor");
	l->m_accepted = mk_metric_id("meerkat_connections_accepted_total",
		"connections taken", MK_COUNTER, mk_buf_z(&b));
	mk_buf_free(&b);
}

static int read_trusted(struct mk_listener *l, const char *const *from, struct mk_diag *d)
{
	unsigned n = 0;

	while (from != NULL && from[n] != NULL)
		n++;
	l->trusted = mk_alloc((n + 1) * sizeof *l->trusted);
	for (; l->trusted_n < n; l->trusted_n++)
		if (!read_prefix(from[l->trusted_n], &l->trusted[l->trusted_n])) {
			mk_diag_add(d, "listener %s: '%s' is not an address or prefix",
				l->name, from[l->trusted_n]);
			return -MK_EIO;
		}
	return 0;
}

int mk_listener_start(const struct mk_listener_conf *conf, struct mk_diag *d,
                      struct mk_listener **out)
{
	const char *address = conf->address != NULL ? conf->address : "";
	int backlog = conf->backlog > 0 ? conf->backlog : SOMAXCONN;
	struct mk_listener *l = mk_alloc(sizeof *l);

	l->name = mk_strdup(conf->name != NULL ? conf->name : "listener");
	l->accepted = conf->accepted;
	l->arg = conf->arg;
	l->per_address = conf->per_address;
	l->accepts_per_second = conf->accepts_per_second;
	l->port = conf->port;
	l->proxy = conf->proxy;
	if (read_trusted(l, conf->proxy_from, d) < 0)
		goto fail;
	l->lanes = mk_alloc(mk_worker_count * sizeof *l->lanes);
	for (; l->lane_n < mk_worker_count; l->lane_n++) {
		struct lane *lane = &l->lanes[l->lane_n];

		lane->l = l;
		lane->reserve = -1;
		mk_list_init(&lane->waiting);
		mk_watch_init(&lane->watch, conf->inherited_fd > 0
			? adopt_socket(conf->inherited_fd)
			: open_socket(address, l->port, backlog), &lane_ops);
		if (lane->watch.fd < 0) {
			mk_diag_add(d, "listener %s: %s, port %u: %s", l->name,
				address[0] != '\0' ? address : "all addresses",
				(unsigned)l->port, strerror(-lane->watch.fd));
			goto fail;
		}
		/* Port 0: the kernel picks one for the first, then all have it. */
		l->port = port_of(lane->watch.fd);
		lane->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	make_metrics(l);
	mk_workers_call(lane_open, l);
	*out = l;
	return 0;
fail:
	listener_free(l);
	return -MK_EIO;
}

void mk_listener_stop(struct mk_listener **lp)
{
	struct mk_listener *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	mk_workers_call(lane_close, l);
	listener_free(l);
}

void *mk_listener_arg(const struct mk_listener *l)
{
	return l->arg;
}

uint16_t mk_listener_port(const struct mk_listener *l)
{
	return l->port;
}

void mk_listener_gone(const struct mk_addr *peer)
{
	mk_limit_leave(peer);
}
