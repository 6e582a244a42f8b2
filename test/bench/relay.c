/*
 * relay.c - what the machine allows: a bare epoll loop between two users' sockets
 *
 *     relay PORT        on 127.0.0.1, until it is killed
 *
 * It says just enough for meerkat-bench to log in by PLAIN, whatever the password,
 * and then gives what one client sends to the client that its first message names,
 * byte by byte. No server can do more messages here than it: test/bench/levels
 * puts its rate beside the server's. It is no server, and trusts who connects.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 65536                  /* descriptors                           */
#define HEADER "<?xml version='1.0'?><stream:stream xmlns='jabber:client' " \
	"xmlns:stream='http://etherx.jabber.org/streams' id='1' from='localhost' version='1.0'>"

static struct client {
	char name[64];                 /* "" = not logged in                    */
	int mate;                      /* its descriptor; 0 = not known         */
} clients[CLIENTS];
static char buf[65536];

static void say(int fd, const char *z)
{
	if (send(fd, z, strlen(z), MSG_NOSIGNAL) < 0)
		perror("relay: send");
}

/* The name in "\0name\0password", in base64. */
static void name_read(struct client *c, const char *p)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0, have = 0;
	size_t n = 0;

	for (const char *d; *p != '\0' && (d = strchr(digits, *p)) != NULL; p++) {
		bits = bits << 6 | (unsigned)(d - digits);
		if ((have += 6) < 8)
			continue;
		have -= 8;
		char at = (char)(bits >> have);
		if (at == '\0' && n > 0)
			break;
		if (at != '\0' && n + 1 < sizeof c->name)
			c->name[n++] = at;
	}
	c->name[n] = '\0';
}

static void talk(int fd)
{
	struct client *c = &clients[fd];
	char answer[512];
	const char *p;

	if (strstr(buf, "<stream:stream") != NULL)
		say(fd, c->name[0] != '\0' ? HEADER "<stream:features><bind "
			"xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>" :
			HEADER "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
			"<mechanism>PLAIN</mechanism></mechanisms></stream:features>");
	if ((p = strstr(buf, "<auth")) != NULL && (p = strchr(p, '>')) != NULL) {
		name_read(c, p + 1);
		say(fd, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
	}
	if (strstr(buf, "id='bind'") != NULL) {
		snprintf(answer, sizeof answer, "<iq type='result' id='bind'><bind "
			"xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>%s@localhost/x</jid></bind></iq>",
			c->name);
		say(fd, answer);
	}
	if ((p = strstr(buf, "<message to='")) != NULL) {
		p += strlen("<message to='");
		size_t n = strcspn(p, "@");
		for (int k = 0; k < CLIENTS && c->mate == 0; k++)
			if (strlen(clients[k].name) == n && memcmp(clients[k].name, p, n) == 0)
				c->mate = k;
	}
}

static void client_event(int fd)
{
	struct client *c = &clients[fd];
	ssize_t n = recv(fd, buf, sizeof buf - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		memset(c, 0, sizeof *c);
		close(fd);
		return;
	}
	if (c->mate == 0) {
		buf[n] = '\0';
		talk(fd);
	}
	if (c->mate != 0 && send(c->mate, buf, (size_t)n, MSG_NOSIGNAL) != n)
		fprintf(stderr, "relay: a client does not read\n");
}

static void accept_all(int listener, int ep)
{
	int one = 1, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
		if (fd >= CLIENTS || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}
}

int main(int argc, char **argv)
{
	static struct epoll_event events[1024];
	int port = argc == 2 ? atoi(argv[1]) : 0, one = 1;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listener };

	if (port <= 0 || port > 65535) {
		fprintf(stderr, "usage: relay PORT\n");
		return 2;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (ep < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ||
	    listen(listener, 4096) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e) < 0) {
		perror("relay");
		return 1;
	}
	for (;;) {
		int n = epoll_wait(ep, events, sizeof events / sizeof *events, -1);
		for (int k = 0; k < n; k++) {
			if (events[k].data.fd == listener)
				accept_all(listener, ep);
			else
				client_event(events[k].data.fd);
		}
	}
}
