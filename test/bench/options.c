/*
 * options.c - the command line of meerkat-bench
 *
 * One table describes each option for the reader of the command line and
 * for --help. Strings are borrowed from argv. Main thread.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, TEXT, COUNT, INT, REAL, PIDS, TARGET };

#define AT(f) offsetof(struct options, f)

static const struct {
	const char *name;
	enum kind kind;
	size_t at;
	const char *arg;
	const char *help;
} table[] = {
	{ "connect", TARGET, AT(connect), "HOST[:PORT]",
	  "server; may be repeated, sessions are dealt out in turn (127.0.0.1)" },
	{ "domain", TEXT, AT(domain), "NAME", "the served domain (localhost)" },
	{ "user-format", TEXT, AT(user_format), "FORMAT", "user names (user%d)" },
	{ "password-format", TEXT, AT(password_format), "FORMAT", "passwords (pass%d)" },
	{ "first-user", COUNT, AT(first_user), "N", "number of the first user (1)" },
	{ "users", COUNT, AT(users), "N", "login: accounts taken in turn (concurrency)" },
	{ "resource", TEXT, AT(resource), "NAME", "resource to ask for (server's choice)" },
	{ "mech", TEXT, AT(mech), "NAME", "PLAIN, SCRAM-SHA-1 or SCRAM-SHA-256 (PLAIN)" },
	{ "starttls", FLAG, AT(starttls), NULL, "secure the stream by STARTTLS" },
	{ "direct-tls", FLAG, AT(direct_tls), NULL, "TLS from the first byte (XEP-0368)" },
	{ "websocket", TEXT, AT(websocket), "PATH", "WebSocket (RFC 7395) at this path, not TCP" },
	{ "tls-priority", TEXT, AT(tls_priority), "STRING", "GnuTLS priority string" },
	{ "tls-resume", FLAG, AT(tls_resume), NULL, "resume TLS sessions" },
	{ "verify", FLAG, AT(verify), NULL, "check the server's certificate" },
	{ "no-verify", FLAG, 0, NULL, "don't check it (default)" },
	{ "ca", TEXT, AT(ca), "FILE", "trusted certificates for --verify (system's)" },
	{ "source-range", TEXT, AT(source_range), "A-B|none",
	  "local IPv4 addresses (127.0.1.1-127.0.1.250 to loopback)" },
	{ "rate", REAL, AT(rate), "N", "logins, in chat and muc messages, started per second" },
	{ "concurrency", COUNT, AT(concurrency), "N", "logins under way at once (64)" },
	{ "timeout", REAL, AT(timeout), "S", "seconds a login may take (30)" },
	{ "presence", FLAG, AT(presence), NULL, "send initial presence (idle, chat, muc)" },
	{ "no-presence", FLAG, AT(no_presence), NULL, "send none (login)" },
	{ "sm", FLAG, AT(sm), NULL, "enable stream management (XEP-0198)" },
	{ "sm-every", COUNT, AT(sm_every), "K", "request an ack each K stanzas (10)" },
	{ "sm-resume", FLAG, AT(sm_resume), NULL, "ask for a resumable stream" },
	{ "sessions", COUNT, AT(sessions), "N", "idle: sessions to hold (--to, or 1000)" },
	{ "from", COUNT, AT(from), "N", "idle: memory growth counts from here (a quarter)" },
	{ "to", COUNT, AT(to), "N", "idle: to here (--sessions)" },
	{ "hold", REAL, AT(hold), "S", "idle: seconds to stay when all are in (5)" },
	{ "settle", REAL, AT(settle), "S", "rest before measuring (1)" },
	{ "pairs", COUNT, AT(pairs), "P", "chat, archive, offline: pairs of users (100; archive 1)" },
	{ "window", COUNT, AT(window), "W", "chat, muc: messages per pair or occupant (1)" },
	{ "bytes", COUNT, AT(bytes), "B", "chat, muc: bytes of a body (100)" },
	{ "bare", FLAG, AT(bare), NULL, "chat: send to bare JIDs" },
	{ "rooms", COUNT, AT(rooms), "R", "muc: rooms (10)" },
	{ "occupants", COUNT, AT(occupants), "N", "muc: occupants of each (50)" },
	{ "churn", COUNT, AT(churn), "K", "muc: of each room, who come and go; nobody talks" },
	{ "quiet", FLAG, AT(quiet), NULL, "muc: broadcast presence of moderators only" },
	{ "service", TEXT, AT(service), "NAME", "muc: where rooms are (conference.DOMAIN)" },
	{ "messages", COUNT, AT(messages), "N", "chat, muc: stop after N deliveries, not after\n"
	  "                               --seconds; offline: so many (500 of a pair)" },
	{ "archive", COUNT, AT(archive), "N", "archive: messages that archives hold (100000)" },
	{ "page", COUNT, AT(page), "N", "archive: results of a query (50)" },
	{ "seconds", REAL, AT(seconds), "T", "not idle: length of the measurement (10)" },
	{ "warmup", REAL, AT(warmup), "S", "not idle: seconds before it (1)" },
	{ "logins", COUNT, AT(logins), "N", "login: stop after N, not after --seconds" },
	{ "server-pid", PIDS, AT(server_pid), "PID[,PID]", "processes to measure" },
	{ "pin", INT, AT(pin), "CPU", "run on this CPU only" },
	{ "json", FLAG, AT(json), NULL, "result as a JSON object" },
	{ "help", FLAG, AT(help), NULL, "this text" },
	{ "version", FLAG, AT(version), NULL, "the version" },
};

#define N_OPTIONS (sizeof(table) / sizeof(table[0]))

int options_name(const char *format, unsigned int n, char *out, size_t cap)
{
	size_t o = 0;
	int k;

	for (const char *p = format; *p; p++) {
		int width = 0;

		if (*p == '%' && p[1] != '%') {
			for (p++; *p >= '0' && *p <= '9' && width < 100; p++)
				width = width * 10 + (*p - '0');
			if (*p != 'd')
				return -1;
			k = snprintf(out + o, cap - o, "%0*u", width, n);
			if (k < 0 || (size_t)k >= cap - o)
				return -1;
			o += (size_t)k;
			continue;
		}
		if (*p == '%')
			p++;
		if ((unsigned char)*p <= ' ' || strchr("<>&'\"@/,=", *p) || o + 1 >= cap)
			return -1;
		out[o++] = *p;
	}
	if (o >= cap)
		return -1;
	out[o] = '\0';
	return (int)o;
}

void options_usage(void)
{
	puts("usage: meerkat-bench idle|chat|login|muc|archive|offline [options]\n\n"
	     "  idle   log in N sessions and keep them: memory and login rate\n"
	     "  chat   pairs exchange messages: rate, latency, CPU\n"
	     "  login  connect, authenticate, bind, close, over and over\n"
	     "  muc    rooms: messages to all, or joins and leaves; memory per occupant\n"
	     "  archive  pages of an archive (XEP-0313)\n"
	     "  offline  messages stored for who is away, and delivered at login\n");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s %s", table[i].name,
		         table[i].arg ? table[i].arg : "");
		printf("  %-28s %s\n", left, table[i].help);
	}
}

static int bad_value(const char *name, const char *text)
{
	fprintf(stderr, "meerkat-bench: --%s: bad value '%s'\n", name, text);
	return -1;
}

static int read_pids(struct options *o, const char *text)
{
	const char *p = text;
	char *end;
	long pid;

	for (;;) {
		pid = strtol(p, &end, 10);
		if (end == p || pid <= 0 || o->n_server_pid == PIDS_MAX)
			return -1;
		o->server_pid[o->n_server_pid++] = (pid_t)pid;
		if (*end == '\0')
			return 0;
		if (*end != ',')
			return -1;
		p = end + 1;
	}
}

static int take(struct options *o, size_t i, const char *text)
{
	void *field = (char *)o + table[i].at;
	const char *name = table[i].name;
	char *end;
	long n;
	double d;

	switch (table[i].kind) {
	case FLAG:
		if (table[i].at)
			*(bool *)field = true;
		return 0;
	case TEXT:
		*(const char **)field = text;
		return 0;
	case COUNT:
	case INT:
		errno = 0;
		n = strtol(text, &end, 10);
		if (errno || end == text || *end || n < 0 || n > 100000000)
			return bad_value(name, text);
		if (table[i].kind == COUNT)
			*(unsigned int *)field = (unsigned int)n;
		else
			*(int *)field = (int)n;
		return 0;
	case REAL:
		d = strtod(text, &end);
		if (end == text || *end || !(d >= 0 && d <= 1e9))
			return bad_value(name, text);
		*(double *)field = d;
		return 0;
	case PIDS:
		return read_pids(o, text) < 0 ? bad_value(name, text) : 0;
	case TARGET:
		if (o->n_connect == TARGETS_MAX)
			return bad_value(name, text);
		o->connect[o->n_connect++] = text;
		return 0;
	}
	return -1;
}

static int complain(const char *text)
{
	fprintf(stderr, "meerkat-bench: %s\n", text);
	return -1;
}

/* What one option demands of another. */
static int settle(struct options *o)
{
	char name[NAME_MAX_BYTES];

	if (strcmp(o->mech, "PLAIN") != 0 && strcmp(o->mech, "SCRAM-SHA-1") != 0 &&
	    strcmp(o->mech, "SCRAM-SHA-256") != 0)
		return bad_value("mech", o->mech);
	if (options_name(o->user_format, 1, name, sizeof(name)) <= 0)
		return bad_value("user-format", o->user_format);
	if (options_name(o->password_format, 1, name, sizeof(name)) <= 0)
		return bad_value("password-format", o->password_format);
	if (options_name(o->domain, 1, name, sizeof(name)) <= 0)
		return bad_value("domain", o->domain);
	if (o->resource && (strlen(o->resource) > 256 || strpbrk(o->resource, "<>&'\"")))
		return bad_value("resource", o->resource);
	if (o->starttls && o->direct_tls)
		return complain("--starttls and --direct-tls exclude each other");
	if (o->websocket && (o->starttls || o->websocket[0] != '/' || strlen(o->websocket) > 200 ||
	    strpbrk(o->websocket, " \r\n")))
		return complain("--websocket takes a path, and no --starttls");
	if (o->concurrency == 0 || o->window == 0 || o->sm_every == 0)
		return complain("--concurrency, --window and --sm-every start at 1");
	if (!o->pairs)
		o->pairs = strcmp(o->mode, "archive") == 0 ? 1 : 100;
	if (o->page == 0 || o->archive == 0)
		return complain("--page and --archive start at 1");
	if (o->rooms == 0 || o->occupants < 2 || o->churn >= o->occupants)
		return complain("--rooms starts at 1, --occupants at 2; --churn is less than it");
	if ((uint64_t)o->rooms * o->occupants > 1000000)
		return complain("--rooms times --occupants may not exceed 1000000");
	if (o->service && options_name(o->service, 1, name, sizeof(name)) <= 0)
		return bad_value("service", o->service);
	if (o->bytes > 1000000)
		return complain("--bytes may not exceed 1000000");

	if (!o->sessions)
		o->sessions = o->to ? o->to : 1000;
	if (!o->to || o->to > o->sessions)
		o->to = o->sessions;
	if (!o->from || o->from >= o->to)
		o->from = o->to / 4;
	if (strcmp(o->mode, "login") != 0)
		o->presence = true;
	if (o->no_presence)
		o->presence = false;
	if (o->sm_resume)
		o->sm = true;
	if (strcmp(o->mode, "login") == 0) {
		o->slots = o->concurrency;
		if (!o->users)
			o->users = o->slots;
		return 0;
	}
	if (strcmp(o->mode, "muc") == 0)
		o->slots = o->rooms * o->occupants;
	else
		o->slots = strcmp(o->mode, "idle") == 0 ? o->sessions : 2 * o->pairs;
	o->users = o->slots;
	return 0;
}

int options_read(struct options *o, int argc, char **argv)
{
	struct option longs[N_OPTIONS + 1];
	int k, index = 0;

	*o = (struct options){
		.domain = "localhost", .user_format = "user%d",
		.password_format = "pass%d", .first_user = 1, .mech = "PLAIN",
		.tls_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:"
		                "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:"
		                "+GROUP-SECP384R1",
		.concurrency = 64, .timeout = 30, .sm_every = 10, .hold = 5,
		.settle = 1, .archive = 100000, .page = 50, .window = 1, .bytes = 100, .rooms = 10,
		.occupants = 50,
		.seconds = 10, .warmup = 1, .pin = -1,
	};
	memset(longs, 0, sizeof(longs));
	for (size_t i = 0; i < N_OPTIONS; i++) {
		longs[i].name = table[i].name;
		longs[i].has_arg = table[i].arg ? required_argument : no_argument;
	}
	while ((k = getopt_long(argc, argv, "", longs, &index)) != -1) {
		if (k != 0 || take(o, (size_t)index, optarg) < 0)
			return -1;
	}
	if (o->help || o->version)
		return 0;
	if (optind + 1 != argc)
		return complain("give one mode: idle, chat, login, muc, archive or offline (see --help)");
	o->mode = argv[optind];
	if (o->n_connect == 0)
		o->connect[o->n_connect++] = "127.0.0.1";
	return settle(o);
}
