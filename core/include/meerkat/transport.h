/*
 * meerkat/transport.h - listeners of a plugin's own, and XMPP streams over them
 *
 * A plugin whose descriptor has .transport is a kind of listener: the operator
 * writes `listeners: [{ kind: NAME, port: ..., its own settings }]`. The core
 * accepts, limits, reads the PROXY header, does TLS; the plugin gets each
 * connection as a link. An XMPP stream can be run over a link: login, bind,
 * limits, sessions are those of TCP, the plugin only frames.
 *
 * A link belongs to one worker; all of this is called, and calls back, there.
 */
#ifndef MK_TRANSPORT_H
#define MK_TRANSPORT_H

#include <meerkat/session.h>
#include <meerkat/conf.h>

MK_BEGIN_DECLS

/* ---- links ------------------------------------------------------------------ */

struct mk_link;                /* one accepted connection                   */

enum mk_link_end {
	MK_LINK_EOF = 1,               /* orderly end by the peer               */
	MK_LINK_ERROR,                 /* reset, TLS alert, write failed        */
	MK_LINK_SLOW,                  /* takes no output (limits.output, write_timeout) */
	MK_LINK_STOPPED,               /* the server, or the plugin, stops      */
};

/* Lives as long as the plugin's code. */
struct mk_link_ops {
	uint32_t size;
	/* Bytes came in (decrypted); borrowed, may be overwritten. All of them
	 * are the plugin's now. */
	void (*data)(struct mk_link *l, const char *p, size_t n);
	/* Over, not by mk_link_close: l is gone when this returns. */
	void (*closed)(struct mk_link *l, enum mk_link_end why);
};

/* A kind of listener, in the descriptor of a plugin that is MK_PLUGIN_GLOBAL;
 * the kind is the plugin's name. */
struct mk_transport {
	uint32_t size;
	/* Settings of a listener beyond the core's own (kind, port, address, tls,
	 * backlog, shaper, ...); NULL = none. */
	const struct mk_conf_schema *conf;
	/* As mk_plugin.check; NULL = nothing to check. */
	int (*check)(const struct mk_conf_view *v, struct mk_diag *d);
	/* Protocols that are offered by ALPN, NULL-terminated; NULL = none. A
	 * client that names others only is refused. */
	const char *const *alpn;
	/* A new connection: mk_link_give it to i before this returns, else it is
	 * closed. */
	void (*accepted)(struct mk_inst *i, struct mk_link *l);
};

/*
 * Whose l is from now on, and what is called for it. Also how it is handed over
 * to another plugin (an upgrade of HTTP), from a callback of the one that had
 * it. If i stops, closed is called with MK_LINK_STOPPED before its worker_stop.
 */
MK_API void mk_link_give(struct mk_link *l, struct mk_inst *i,
	const struct mk_link_ops *ops, void *data);
MK_API void *mk_link_data(const struct mk_link *l);
MK_API struct mk_inst *mk_link_inst(const struct mk_link *l);
/* The struct of its listener's settings; as long as l. */
MK_API const void *mk_link_conf(const struct mk_link *l);
/* Copies; written at the end of the turn. */
MK_API void mk_link_send(struct mk_link *l, const void *p, size_t n);
/* As mk_session_unsent. */
MK_API uint32_t mk_link_unsent(struct mk_link *l);
/* No data until resumed; the peer's end may be seen late. */
MK_API void mk_link_pause(struct mk_link *l);
MK_API void mk_link_resume(struct mk_link *l);
/* Writes what was sent, then closes; nothing is called for l any more, which
 * must not be touched after this. Not for one that carries a stream. */
MK_API void mk_link_close(struct mk_link *l);
MK_API bool mk_link_is_encrypted(const struct mk_link *l);
/* The peer's address as text (PROXY header respected), in the turn's arena. */
MK_API const char *mk_link_remote(const struct mk_link *l);
/* Whether the peer is in prefix, "192.0.2.0/24", "::1"; false for what is none. */
MK_API bool mk_link_is_from(const struct mk_link *l, const char *prefix);
/* The port that it came to. */
MK_API uint16_t mk_link_port(const struct mk_link *l);

/* ---- an XMPP stream over a link ------------------------------------------------ */

/*
 * One complete XML element is one message, in both directions (RFC 7395): the
 * plugin hands messages to the stream and carries its messages to the peer.
 * <open/> and <close/> are messages, too. A stream moves to its user's home
 * worker when login succeeds, and its link with it: so the plugin keeps nothing
 * of it on a worker, no timers above all; link data moves along.
 */
struct mk_framing {
	uint32_t size;
	/* A message to the peer; borrowed. */
	void (*write)(struct mk_link *l, const char *xml, size_t n);
	/* Nothing was written for keepalive_ms. May be NULL. */
	void (*ping)(struct mk_link *l);
	/* The stream takes input again (mk_stream_takes): hand over what was kept. */
	void (*resume)(struct mk_link *l);
	/* The stream is over; what it had to say is written. The last words of the
	 * transport may be sent; l is the core's then, which closes it. lost: they
	 * reach nobody. Can be called from within mk_stream_message. */
	void (*end)(struct mk_link *l, bool lost);
};
struct mk_framing_conf {
	uint32_t size;
	/* Silence after which ping is called, -1 = what limits.keepalive says, 0 =
	 * never. Once a session is bound. */
	int64_t keepalive_ms;
	/* Where clients are sent instead (RFC 7395 3.6.1), when they open a stream;
	 * borrowed for the call; NULL = nowhere. */
	const char *see_other_uri;
};
/*
 * From now on l carries a stream: data goes on to be called for l, closed is
 * not (end is). f lives as long as the plugin's code. Time to log in begins
 * now. Until login has succeeded messages may hold passwords: the plugin wipes
 * what it keeps of them (mk_stream_jid is NULL so long).
 */
MK_API struct mk_stream *mk_stream_over(struct mk_link *l, const struct mk_framing *f,
	const struct mk_framing_conf *conf);
/* What carries l, or NULL. */
MK_API struct mk_stream *mk_link_stream(const struct mk_link *l);
/* Whether a message may be handed over now. False while it waits for something
 * (then no more data comes in, and resume is called), moves, or is over. */
MK_API bool mk_stream_takes(const struct mk_stream *st);
/* Bytes that a message may have now: more are refused, so not worth keeping. */
MK_API uint32_t mk_stream_message_max(const struct mk_stream *st);
/* A whole message, borrowed, and overwritten if it held a secret, so not constant;
 * st takes it (see above). It need not be XML. */
MK_API void mk_stream_message(struct mk_stream *st, const char *p, size_t n);
/* The transport's own protocol was broken, or ended without <close/>: the
 * stream ends as if the connection were lost, end is called. */
MK_API void mk_stream_lost(struct mk_stream *st);

MK_END_DECLS
#endif
