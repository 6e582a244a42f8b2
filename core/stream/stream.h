/*
 * stream/stream.h - a client's stream (RFC 6120) inside
 *
 * One object from accept to close, on one worker at a time: the accepting one
 * until the client is authenticated, then the home of its bare JID. Its
 * connection is its own (TCP), or that of a link that carries it (transport.h),
 * where each element is a message by itself.
 */
#ifndef MK_STREAM_STREAM_H
#define MK_STREAM_STREAM_H

#include <meerkat/auth.h>
#include <meerkat/transport.h>
#include "conf/config.h"
#include "net/conn.h"
#include "net/listen.h"
#include "session/session.h"
#include "tls/tls.h"
#include "xml/parse.h"
#include "xml/scan.h"

#define MK_STREAM_MAGIC 0x7374726du
#define MK_NS_CLIENT  "jabber:client"
#define MK_NS_STREAM  "http://etherx.jabber.org/streams"
#define MK_NS_STREAMS "urn:ietf:params:xml:ns:xmpp-streams"
#define MK_NS_TLS     "urn:ietf:params:xml:ns:xmpp-tls"
#define MK_NS_SASL    "urn:ietf:params:xml:ns:xmpp-sasl"
#define MK_NS_SASL2   "urn:xmpp:sasl:2"
#define MK_NS_BIND    "urn:ietf:params:xml:ns:xmpp-bind"
#define MK_NS_BIND2   "urn:xmpp:bind:0"
#define MK_NS_SESSION "urn:ietf:params:xml:ns:xmpp-session"
#define MK_NS_SASL_CB "urn:xmpp:sasl-cb:0"
#define MK_NS_FRAMING "urn:ietf:params:xml:ns:xmpp-framing"

/* A listener's settings; counted, as connections outlive a reload. */
struct mk_c2s {
	_Atomic uint32_t refs;
	struct mk_listener *listener;
	struct mk_tls_config *tls;     /* NULL = no TLS                         */
	_Atomic uint16_t port;         /* connections outlive the listener      */
	uint8_t tls_mode;              /* MK_TLS_*                              */
	bool plain_without_tls;
	uint32_t m_waiting;            /* metric                                */
	bool is_shaped;                /* by shaper, not by limits              */
	struct mk_config_shaper shaper;/* without its name                      */
	char *name;
	/* of a plugin's kind; NULL with c2s */
	const struct mk_transport *transport;
	struct mk_module *module;
	_Atomic(struct mk_inst *) inst;/* set by main; NULL: it does not run    */
	void *conf;
	struct mk_arena *arena;        /* conf's                                */
};

enum mk_stream_phase {
	MK_PHASE_HEADER,               /* waits for a stream header             */
	MK_PHASE_OPEN,                 /* features sent, not authenticated      */
	MK_PHASE_TLS,                  /* <proceed/> sent, handshake            */
	MK_PHASE_AUTHED,               /* features sent after authentication    */
	MK_PHASE_BOUND,
	MK_PHASE_CLOSED,
};
enum mk_stream_flag {
	MK_ST_HEADER_SENT = 1 << 0,
	MK_ST_BLOCKED = 1 << 1,        /* no input is handled for now           */
	MK_ST_PREAUTH = 1 << 2,        /* in the worker's list of them          */
	MK_ST_FREE = 1 << 3,           /* connection is done: free when idle    */
	MK_ST_RESUMED = 1 << 4,        /* session_resumed is due                */
	MK_ST_SASL2 = 1 << 5,          /* authenticated by SASL2                */
	MK_ST_PEER_CLOSED = 1 << 6,    /* said </stream:stream>                 */
	MK_ST_HANDLING = 1 << 7,       /* handle() is on the stack              */
	MK_ST_SECRET = 1 << 8,         /* its input may hold a password: wiped  */
	MK_ST_LOST = 1 << 9,           /* the connection broke: nothing arrives */
};

struct mk_stream {
	struct mk_sasl *sasl;          /* exchange going on                     */
	struct mk_elem *sasl2;         /* <authenticate/>, in sasl's arena      */
	char *seed, *lang, *from, *user_agent; /* NULL mostly                   */
	struct mk_list list;           /* one of the worker's, by phase         */
	struct mk_wtimer timer;        /* to authenticate; later keep-alive     */
	struct mk_addr peer;
	uint16_t attempts;             /* failed ones, in thirds: sasl.c        */
	uint8_t inline_waits;          /* a bind waits by mk_inline_wait        */
	void (*arrived)(struct mk_stream *st); /* at home, after a move         */
	struct mk_stanza *bind_request;/* while a bind waits                    */
	struct mk_elem *success;       /* SASL2's, in sasl's arena, likewise    */
	/* of a link's */
	int64_t keepalive_ms;          /* -1: as limits say                     */
	char *see_other_uri;
	/* From here on: what each stanza needs, next to the connection. */
	struct mk_c2s *c2s;            /* ref                                   */
	struct mk_domain *domain;      /* of the header's to                    */
	struct mk_scan scan;
	uint32_t scanned;              /* bytes of partial the scanner has seen */
	struct mk_buf *partial;        /* an element that is not complete       */
	struct mk_shaper *stanzas;     /* NULL = not limited                    */
	mk_usec last_in;
	struct mk_jid *jid;            /* bare, once authenticated              */
	struct mk_session *session;    /* ref                                   */
	uint32_t magic;
	uint16_t flags;
	uint8_t phase;
	uint16_t busy;                 /* callbacks that still look at it       */
	uint16_t turn_n;               /* stanzas that came in a turn ...       */
	uint32_t turn;                 /* ... of this number                    */
	struct mk_link *link;          /* NULL = TCP                            */
	struct mk_conn *conn;          /* part of us (tcp), or of link          */
};
struct mk_tcp_stream {
	struct mk_stream st;
	struct mk_conn conn;
};

enum mk_link_state { MK_LINK_OPEN, MK_LINK_ENDING };
/* stream/link.c; on a worker's list until it ends. */
struct mk_link {
	uint32_t magic;                /* MK_LINK_MAGIC                         */
	uint8_t state;                 /* enum mk_link_state                    */
	bool is_idle;                  /* no stream: counted as not logged in   */
	struct mk_conn conn;
	struct mk_inst *inst;
	const struct mk_link_ops *ops; /* NULL: accepted() did not take it      */
	void *data;
	struct mk_c2s *c2s;            /* ref; its stream has another           */
	struct mk_stream *stream;
	const struct mk_framing *framing;
	void (*moved)(struct mk_stream *st);
	struct mk_list list;
	struct mk_addr peer;
};
#define MK_LINK_MAGIC 0x6c696e6bu

extern const struct mk_transport_ops mk_stream_transport;

/* Limits in force, a snapshot: valid until the callback ends. */
const struct mk_config_limits *mk_limits(void);
/* Main thread. */
void mk_limits_set(const struct mk_config_limits *l);

/* stream.c */
struct mk_stream *mk_stream_new(struct mk_c2s *c, int fd, const struct mk_addr *peer);
/* A callback that looked at st (busy++) is through; may free it. */
void mk_stream_leave(struct mk_stream *st);
/* Handles input that waited. */
void mk_stream_unblock(struct mk_stream *st);
void mk_stream_block(struct mk_stream *st);
void mk_stream_writez(struct mk_stream *st, const char *xml_literal);
/* What it carries is open: the clock for that stops, keep-alives begin if they
 * are set. */
void mk_stream_bound(struct mk_stream *st);
/* Fires session_resumed if it is due. */
void mk_stream_after_handler(struct mk_stream *st);
void mk_stream_send_features(struct mk_stream *st);
/* Moves to the home of st->jid, then fn runs there (or at once). */
void mk_stream_go_home(struct mk_stream *st, void (*fn)(struct mk_stream *st));
/* For the worker's end, and for an orderly stop: every stream of this worker. */
void mk_streams_close_all(const char *condition);
uint32_t mk_streams_preauth(void);
/* Closed, but their last bytes are not written yet. */
uint32_t mk_streams_lingering(void);
bool mk_stream_may_plain(const struct mk_stream *st);
void mk_streams_worker_init(struct mk_worker *w);
void mk_streams_worker_fini(struct mk_worker *w);

/* sasl.c */
void mk_sasl_features(struct mk_stream *st, struct mk_elem *features);
bool mk_sasl_element(struct mk_stream *st, const struct mk_elem *e);   /* false: not its own */
void mk_sasl_drop(struct mk_stream *st);       /* the stream ends           */
/* What the mechanism said with success, in base64; n 0 if nothing. Turn arena. */
struct mk_str mk_sasl_additional(struct mk_stream *st);

/* bind.c */
void mk_bind_features(struct mk_stream *st, struct mk_elem *features);
void mk_bind2_features(struct mk_stream *st, struct mk_elem *inline_elem);
/* An IQ before bind: bind, or an answer; false: not allowed yet. */
bool mk_bind_iq(struct mk_stream *st, struct mk_stanza *s);
/* SASL2's last step at home: inline requests, Bind 2, <success/>, features. */
void mk_sasl2_finish(struct mk_stream *st);
/* <session/> of RFC 3921, a no-op, and a second bind, to the server or oneself. */
bool mk_session_iq(struct mk_session *ses, struct mk_stanza *s);

/* stream.c, for link.c */
/* A stream whose connection is l's; the time to log in starts. */
struct mk_stream *mk_stream_new_over(struct mk_link *l);
void mk_stream_link_closed(struct mk_stream *st, enum mk_conn_close why);
/* Its connection is done: st and link may be freed. */
void mk_stream_link_done(struct mk_stream *st);
struct mk_config_shaper mk_c2s_rates(const struct mk_c2s *c);

/* link.c */
void mk_link_accept(struct mk_c2s *c, int fd, const struct mk_addr *peer);
/* Its stream is over and has said all: framing's end, then closes. */
void mk_link_stream_ended(struct mk_link *l, bool lost);
void mk_link_free(struct mk_link *l);
/* Its stream goes to another worker, where fn(stream) runs; false: the plugin
 * stops. */
bool mk_link_move(struct mk_link *l, struct mk_worker *to, void (*fn)(struct mk_stream *st));
void mk_links_worker_init(void);
/* Of this worker: those of i (NULL: all) that carry no stream; told STOPPED. */
void mk_links_close_all(const struct mk_inst *i);
/* Streams of this worker over links of i. */
void mk_links_drop(struct mk_inst *i);
uint32_t mk_links_lingering(void);

/* c2s.c */
struct mk_tls_store;
/* m: the module of a kind that is not c2s, whose instance is inst. */
int  mk_c2s_start(const struct mk_config_listener *l, const struct mk_config *c,
	struct mk_tls_store *tls, struct mk_module *m, struct mk_inst *inst,
	struct mk_diag *d, struct mk_c2s **out);
/* What p is as a kind of listener, or NULL. */
const struct mk_transport *mk_plugin_transport(const struct mk_plugin *p);
/* Settings of a listener of kind p, checked; of arena. where names it. */
int  mk_c2s_check(const struct mk_config_listener *l, const struct mk_plugin *p,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void **values_out);
/* Stops accepting; drops the caller's reference. */
void mk_c2s_stop(struct mk_c2s **c);
void mk_c2s_unref(struct mk_c2s **c);

#endif
