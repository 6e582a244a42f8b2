/*
 * bench.h - what the parts of meerkat-bench share: options, connections, the
 * loop, the modes
 *
 * One process, one thread, one struct bench. A slot (struct conn) lives as
 * long as the bench; its socket comes and goes. Times are nanoseconds of
 * CLOCK_MONOTONIC.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "hist.h"
#include "report.h"
#include "scram.h"
#include "token.h"

#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define TARGETS_MAX 16
#define PIDS_MAX 16
#define NAME_MAX_BYTES 128
#define NEVER UINT64_MAX
#define NS_PER_S 1000000000ull

struct bench;
struct conn;

/* ---- options.c ---- */

struct options {
	const char *mode;
	const char *connect[TARGETS_MAX];
	size_t n_connect;
	const char *domain;
	const char *user_format;
	const char *password_format;
	const char *resource;           /* NULL: the server chooses          */
	const char *mech;
	const char *ca;
	const char *tls_priority;
	const char *source_range;
	const char *service;            /* NULL: conference.DOMAIN           */
	pid_t server_pid[PIDS_MAX];
	size_t n_server_pid;
	unsigned int slots;             /* sessions at once, in any mode     */
	unsigned int first_user;
	unsigned int users;
	unsigned int sessions;
	unsigned int from;
	unsigned int to;
	unsigned int concurrency;
	unsigned int pairs;
	unsigned int window;
	unsigned int bytes;
	unsigned int logins;
	unsigned int messages;
	unsigned int sm_every;
	unsigned int rooms;
	unsigned int occupants;         /* of each room                      */
	unsigned int churn;             /* of them, who come and go          */
	unsigned int archive;           /* messages of a pair                */
	unsigned int page;              /* results of a query                */
	int pin;                        /* -1: not pinned                    */
	double rate;                    /* per second; 0: no limit           */
	double seconds;
	double warmup;
	double settle;
	double hold;
	double timeout;
	const char *websocket;          /* path; NULL: TCP                   */
	bool starttls;
	bool direct_tls;
	bool tls_resume;
	bool verify;
	bool presence;
	bool no_presence;
	bool bare;
	bool quiet;
	bool sm;
	bool sm_resume;
	bool json;
	bool help;
	bool version;
};

/*
 * Reads the command line and settles the defaults that depend on the mode.
 * 0, or -1 after saying on stderr what is wrong.
 */
int options_read(struct options *o, int argc, char **argv);

/* Prints the usage to stdout. */
void options_usage(void);

/*
 * Expands a name format for user number n: %d or %0<width>d stands for the
 * number, %% for a percent sign. The length, or -1 when the format has other
 * directives, characters that XML or a JID would need escaped, or does not
 * fit.
 */
int options_name(const char *format, unsigned int n, char *out, size_t cap);

/* ---- connections: conn.c, login steps in negotiate.c ---- */

enum conn_state {
	CONN_DEAD,              /* no socket                                 */
	CONN_CONNECT,
	CONN_TLS,               /* handshake                                 */
	CONN_UPGRADE,           /* WebSocket asked for                       */
	CONN_FEATURES,          /* header sent, waiting for stream features  */
	CONN_PROCEED,           /* <starttls/> sent                          */
	CONN_AUTH,
	CONN_BIND,
	CONN_SM,                /* <enable/> sent                            */
	CONN_READY,
	CONN_CLOSING,           /* our end tag sent, waiting for theirs      */
};

struct buf {
	char *data;
	size_t len;
	size_t cap;
};

struct conn {
	int fd;
	uint8_t state;          /* enum conn_state                           */
	bool is_authenticated;
	bool is_secure;
	bool tls_pending;       /* a record is half sent                     */
	bool is_sm;
	uint32_t events;        /* what epoll watches for                    */
	uint32_t user;          /* counted from 0, without --first-user      */
	uint32_t sm_in;         /* stanzas handled (XEP-0198 4)              */
	uint32_t sm_out;        /* stanzas sent since <enabled/>             */
	uint32_t sm_acked;
	uint32_t out_sent;      /* bytes of out that are gone                */
	struct token token;
	struct buf in;          /* the beginning of a stanza, rest to come   */
	struct buf out;         /* what the socket didn't take               */
	gnutls_session_t tls;
	struct scram *scram;    /* only while authenticating                 */
	char *jid;              /* full JID, as written by the server        */
	uint64_t started;
	uint64_t deadline;      /* of the login or of the close              */
	/* the mode's own */
	struct conn *mate;
	char *message;          /* prebuilt, without its stamp               */
	uint32_t message_len;
	uint32_t stamp_at;
};

/* Kinds of trouble: symbol, key in JSON, label. */
#define BENCH_ERRORS(X) \
	X(CONNECT, "connect", "connections refused or lost while connecting") \
	X(TLS, "tls", "TLS failures") \
	X(AUTH, "auth", "authentication failures") \
	X(BIND, "bind", "binding failures") \
	X(SM, "sm", "stream management failures") \
	X(STREAM, "stream", "stream errors") \
	X(CLOSED, "closed", "streams closed by the server") \
	X(TIMEOUT, "timeout", "time-outs") \
	X(XML, "xml", "unreadable streams") \
	X(MESSAGE, "message", "message errors") \
	X(ROOM, "room", "joins refused, occupants removed") \
	X(FULL, "full", "messages not sent, output full")

enum bench_error {
#define X(sym, key, label) BENCH_E_##sym,
	BENCH_ERRORS(X)
#undef X
	BENCH_E_COUNT,
};

/* One way of loading a server. All calls come from the loop. */
struct mode {
	const char *name;
	/* Makes b->state; the slots are there, none is open. */
	void (*start)(struct bench *b);
	/* Once each turn; returns when it wants to run again at the latest. */
	uint64_t (*tick)(struct bench *b);
	/* A session is bound (and its presence sent). */
	void (*ready)(struct bench *b, struct conn *c);
	/* A message, presence or iq for a session that is ready. */
	void (*stanza)(struct bench *b, struct conn *c, const char *s, size_t len);
	/* A socket is gone; was_ready, and is_error unless we closed it. */
	void (*closed)(struct bench *b, struct conn *c, bool was_ready, bool is_error);
	/* The loop ends before the mode is done: closes what is measured. */
	void (*stop)(struct bench *b);
	/* One line for the terminal. */
	void (*progress)(struct bench *b, char *out, size_t cap);
	void (*report)(struct bench *b, struct report *r);
};

extern const struct mode idle_mode, chat_mode, login_mode, muc_mode, archive_mode, offline_mode;

struct bench {
	struct options o;
	const struct mode *mode;
	bool is_done;
	int epoll_fd;
	int timer_fd;
	uint64_t timer_at;
	uint64_t now;
	uint64_t begun;
	/* connections */
	struct conn *conns;
	uint32_t n_conns;
	uint32_t n_live;                /* ready now                         */
	uint32_t n_login;               /* on their way to ready             */
	uint32_t n_failed;              /* logins that ended in an error     */
	uint64_t n_logins;              /* that ever got ready               */
	uint64_t n_resumed;             /* TLS sessions                      */
	struct hist login_ns;           /* connect() to ready                */
	struct sockaddr_storage target[TARGETS_MAX];
	socklen_t target_len[TARGETS_MAX];
	uint32_t next_target;
	uint32_t source_first;          /* IPv4, host order                  */
	uint32_t source_count;          /* 0: the system chooses             */
	uint32_t next_source;
	/* shared scratch: the bytes being read, and the output of one slot */
	struct buf in;
	struct buf out;
	struct buf frames;              /* out, as it leaves                 */
	uint32_t mask_key;
	struct conn *out_owner;
	/* authentication and TLS */
	struct scram_keys **keys;       /* one per user, made when needed    */
	enum scram_hash hash;
	bool is_scram;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
	gnutls_datum_t ticket;          /* for --tls-resume                  */
	char tls_text[160];             /* what the first handshake agreed   */
	/* trouble */
	uint64_t errors[BENCH_E_COUNT];
	char first_error[BENCH_E_COUNT][320];
	/* the mode's own */
	void *state;
};

/*
 * Starts to connect and log in a dead slot as user number user. The result
 * comes as mode->ready or mode->closed, never from within this call... but
 * for an immediate refusal, which is closed at once.
 */
void conn_open(struct bench *b, struct conn *c, uint32_t user);

/*
 * Ends a session politely: puts the end tag, and closes when the server's
 * comes. Needs a conn_flush like conn_put.
 */
void conn_close(struct bench *b, struct conn *c);

/* Counts the error, tells the mode and frees the socket. text is borrowed. */
void conn_fail(struct bench *b, struct conn *c, enum bench_error kind,
               const char *text, size_t len);
void conn_fail_text(struct bench *b, struct conn *c, enum bench_error kind,
                    const char *text);

/* Frees what the socket needed and tells the mode; the slot can be reopened. */
void conn_drop(struct bench *b, struct conn *c, bool is_error);

/* Handles what epoll reported. */
void conn_event(struct bench *b, struct conn *c, uint32_t events);

/*
 * Appends to the output of c. Bytes of one slot only are collected at a
 * time; conn_flush hands them to the socket and must come before another
 * slot's conn_put. While c's input is handled the flush is automatic.
 */
void conn_put(struct bench *b, struct conn *c, const void *data, size_t len);
void conn_puts(struct bench *b, struct conn *c, const char *s);
void conn_flush(struct bench *b, struct conn *c);

/* Starts TLS on the connected socket. */
void conn_start_tls(struct bench *b, struct conn *c);

/* Opens the stream, or opens it anew after TLS or SASL. */
void conn_header(struct bench *b, struct conn *c);

/* Fails the slots whose time is over. */
void conn_timeouts(struct bench *b);

/* ---- ws.c: instead of the stream's own bytes, with --websocket ---- */

void ws_request(struct bench *b, struct conn *c);
void ws_open(struct bench *b, struct conn *c);
void ws_close(struct bench *b, struct conn *c);
/* What b->out holds, as frames. */
void ws_frame(struct bench *b, struct buf *out);
/* Handles the frames of s; how many bytes were used. c may be dead then. */
size_t ws_feed(struct bench *b, struct conn *c, const char *s, size_t len);

/* One complete element, or the header or the end of the stream. */
void negotiate_element(struct bench *b, struct conn *c, enum token_kind kind,
                       const char *s, size_t len);

/* Room for at least n bytes. */
void buf_reserve(struct buf *b, size_t n);

/* ---- main.c ---- */

/* Counts an error; the first of its kind is printed. text need not end. */
void bench_error(struct bench *b, enum bench_error kind, const struct conn *c,
                 const char *text, size_t len);

/* CPU time of the server so far in microseconds; -1 when not known. */
int64_t bench_server_cpu(const struct bench *b);

uint64_t bench_clock(void);

/* realloc/calloc that end the program when there is no memory. */
void *bench_grow(void *p, size_t n);
void *bench_zeroed(size_t n, size_t size);

#endif
