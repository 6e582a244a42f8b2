/*
 * meerkat/session.h - streams, sessions, and the entities they belong to
 *
 * A stream is a connection; once bound it carries a session (a full JID). A
 * session can outlive its stream (XEP-0198). Sessions of one bare JID belong
 * to its entity. All of them are used on the entity's home worker only;
 * handlers and timers run there. To get there from elsewhere: mk_entity_post.
 */
#ifndef MK_SESSION_H
#define MK_SESSION_H

#include <meerkat/stanza.h>

MK_BEGIN_DECLS

/* ---- entities --------------------------------------------------------------- */

/* The entity of a bare JID if it is open (has a session, a queue, a request)
 * and this is its home worker; else NULL. */
MK_API struct mk_entity *mk_entity_find(const struct mk_jid *bare);
MK_API const struct mk_jid *mk_entity_jid(const struct mk_entity *e);   /* bare */
MK_API struct mk_session *mk_entity_session(const struct mk_entity *e,
	struct mk_str resource);
/* for (s = mk_entity_sessions(e); s; s = mk_session_next(s)); don't end s in it. */
MK_API struct mk_session *mk_entity_sessions(const struct mk_entity *e);
MK_API struct mk_session *mk_session_next(const struct mk_session *s);

/*
 * Runs fn at the home of bare, in order with its stanzas; e is NULL if the
 * entity isn't open. data is fn's to free; if i stops first, drop (may be
 * NULL) is called with it instead. Any thread.
 */
typedef void mk_post_fn(struct mk_inst *i, struct mk_entity *e,
                        const struct mk_jid *bare, void *data);
MK_API void mk_entity_post(struct mk_inst *i, const struct mk_jid *bare,
	mk_post_fn *fn, void *data, void (*drop)(void *data));

/*
 * What comes for e waits, in order, and e stays open, until mk_entity_release:
 * for a mk_job in whose time nothing may change. The two are a pair that no
 * stop of the plugin may part, so not over a timer, and not for long.
 * mk_entity_release runs what waited, and may end e.
 */
MK_API void mk_entity_hold(struct mk_entity *e);
MK_API void mk_entity_release(struct mk_entity *e);

/* Whether the address's domain is served here (and enabled), and its host
 * type, borrowed, or NULL. Any thread. */
MK_API const char *mk_domain_type(const struct mk_jid *j);

/* ---- sessions --------------------------------------------------------------- */

MK_API const struct mk_jid *mk_session_jid(const struct mk_session *s); /* full */
MK_API struct mk_entity *mk_session_entity(const struct mk_session *s);
MK_API struct mk_stream *mk_session_stream(const struct mk_session *s); /* or NULL */
/* Counted, to keep one in a timer's data; mk_session_is_open tells whether it
 * ended meanwhile. */
MK_API struct mk_session *mk_session_ref(struct mk_session *s);
MK_API void mk_session_unref(struct mk_session **s);
MK_API bool mk_session_is_open(const struct mk_session *s);
MK_API int64_t mk_session_since_ms(const struct mk_session *s);     /* wall  */
/* Last time bytes came in, monotonic. */
MK_API mk_usec mk_session_active_usec(const struct mk_session *s);

/* Bytes that the session's connection did not take yet, after another try to
 * write; 0 without a stream. UINT32_MAX: it is broken, and will take none. */
MK_API uint32_t mk_session_unsent(const struct mk_session *s);

/* Presence, kept by the presence plugin for all: available after initial
 * presence, until unavailable (RFC 6121 4.2); priority -128..127. */
MK_API bool mk_session_is_available(const struct mk_session *s);
MK_API int  mk_session_priority(const struct mk_session *s);
MK_API void mk_session_set_presence(struct mk_session *s, bool available,
	int priority);

/* Ends it: its stream, if any, gets the stream error (NULL = just closes),
 * session_close runs. */
MK_API void mk_session_end(struct mk_session *s, const char *condition,
	const char *text);

/* ---- streams ---------------------------------------------------------------- */

enum mk_stream_state {
	MK_STREAM_OPEN  = 1,           /* header exchanged, not authenticated   */
	MK_STREAM_AUTHED = 2,          /* authenticated, not bound              */
	MK_STREAM_BOUND = 4,           /* carries a session                     */
};
MK_API uint32_t mk_stream_state(const struct mk_stream *st);
MK_API bool mk_stream_is_encrypted(const struct mk_stream *st);
/* The domain it was opened to; after authentication the bare JID, else NULL. */
MK_API struct mk_str mk_stream_domain(const struct mk_stream *st);
MK_API const struct mk_jid *mk_stream_jid(const struct mk_stream *st);
MK_API const char *mk_stream_remote(const struct mk_stream *st);  /* address  */
MK_API struct mk_session *mk_stream_session(const struct mk_stream *st);
/* Client software as it told by SASL2 <user-agent id='...'/>; NULL if not. */
MK_API const char *mk_stream_user_agent(const struct mk_stream *st);

/*
 * For a handler of a stream's elements that goes on in a job (mk_job): st handles
 * no input, and stays valid even if its connection ends, until mk_stream_release
 * on the same worker. What is written to one that is no longer open is dropped.
 * In state MK_STREAM_OPEN only: later there are sessions to refer to.
 */
MK_API void mk_stream_hold(struct mk_stream *st);
MK_API bool mk_stream_is_open(const struct mk_stream *st);
MK_API void mk_stream_release(struct mk_stream *st);

/* Scratch memory that lives until the current callback returns. */
MK_API struct mk_arena *mk_turn_arena(void);
/* Writes an element that is no stanza (XEP-0198 <a/>, ...). Borrows e. */
MK_API void mk_stream_write(struct mk_stream *st, const struct mk_elem *e);
/* Closes with a stream error (RFC 6120 4.9.3): "policy-violation" ... */
MK_API void mk_stream_fail(struct mk_stream *st, const char *condition,
	const char *text);
/* The same with an application-specific condition (RFC 6120 4.9.4), borrowed. */
MK_API void mk_stream_fail_with(struct mk_stream *st, const char *condition,
	const struct mk_elem *detail, const char *text);
/* Closes with <see-other-host/> (RFC 6120 4.9.3.19): "host" or "host:port". */
MK_API void mk_stream_redirect(struct mk_stream *st, const char *host);

/* Called when <stream:features/> of a stream in one of states is written:
 * add child elements to features. */
typedef void mk_feature_fn(struct mk_inst *i, struct mk_stream *st,
                           struct mk_elem *features);
MK_API int mk_stream_feature(struct mk_inst *i, uint32_t states, mk_feature_fn *fn);

/*
 * Elements at stream level that are no stanzas. In states other than those
 * named the core answers as RFC 6120 4.9.3 demands. One handler per (xmlns,
 * name); a second registration is refused (-MK_EEXIST).
 */
typedef void mk_nonza_fn(struct mk_inst *i, struct mk_stream *st,
                         const struct mk_elem *e);
MK_API int mk_nonza_handle(struct mk_inst *i, const char *xmlns, const char *name,
	uint32_t states, mk_nonza_fn *fn);

/*
 * Inline requests of SASL2 (XEP-0388 2.6) and Bind 2 (XEP-0386). The core
 * announces <name xmlns/> in SASL2's <inline/> or <feature var=xmlns/> in
 * Bind 2's. fn runs after authentication (SASL2: before any bind; it may call
 * mk_stream_attach) or with the new session (Bind 2), and puts its answer
 * into reply (<success/> or <bound/>).
 */
enum { MK_INLINE_SASL2 = 1, MK_INLINE_BIND2 = 2 };
struct mk_inline_request {
	uint32_t size, where;
	const char *xmlns, *name;      /* of the request                        */
	const char *announce;          /* SASL2: the element announced (<sm/>);
	                                * NULL = name                           */
	void (*fn)(struct mk_inst *i, struct mk_stream *st,
	           const struct mk_elem *request, struct mk_elem *reply);
};
MK_API int mk_inline_handle(struct mk_inst *i, const struct mk_inline_request *r);
/*
 * For fn of a SASL2 request that has attached st to a session: <success/>
 * waits, and with it all input, until mk_inline_ready (once per wait, from the
 * same worker); reply stays valid so long. If st goes first, session_lost tells:
 * reply is gone then, and mk_inline_ready must not be called.
 */
MK_API void mk_inline_wait(struct mk_stream *st);
MK_API void mk_inline_ready(struct mk_stream *st);

/* ---- what XEP-0198 stands on --------------------------------------------------- */

/*
 * From now on incoming stanzas of s are counted, and those that are storable
 * are written to the journal before they are routed.
 */
MK_API void mk_session_acks_on(struct mk_session *s);
/* Stanzas handled since then, and how many of them, from the first on, are as
 * durable as their durability mode demands: that one may be acknowledged. */
MK_API uint32_t mk_session_in_count(const struct mk_session *s);
MK_API uint32_t mk_session_in_durable(const struct mk_session *s);
/* Stanzas that came in since then and are not handled yet: they wait for a
 * job, or for those before them. in_count grows by that many. */
MK_API uint32_t mk_session_in_pending(const struct mk_session *s);
/* Fires the session_durable hook once, as soon as in_durable >= count (at
 * once, if it is). One count is wanted at a time, the latest. */
MK_API void mk_session_want_durable(struct mk_session *s, uint32_t count);
/*
 * Puts a storable stanza that has no journal record yet into the journal, for
 * a queue that promises to keep it. The record is retired when the last
 * reference to the stanza goes, so keeping a reference is the promise.
 */
MK_API void mk_stanza_keep(struct mk_stanza *s);
/*
 * mk_job for who deletes another copy of what s keeps: fn begins when all that is
 * kept on this worker by now is as durable as s's durability mode demands. If i,
 * or the server, stops first, only done (not NULL) runs. s's worker.
 */
MK_API void mk_job_kept(struct mk_inst *i, const struct mk_session *s,
	void (*fn)(struct mk_inst *i, struct mk_store *st, void *data),
	void (*done)(struct mk_inst *i, void *data), void *data);
/*
 * Attaches a stream (AUTHED, of the same bare JID and home) to a session that
 * lost its own; one it still has is closed with <conflict/>. session_resumed
 * runs after the calling handler returned and its answer was written.
 * -MK_EPERM if the bare JIDs differ or the session is over.
 */
MK_API int mk_stream_attach(struct mk_stream *st, struct mk_session *s);
/* Gives a stanza that a session was to get back to routing, as if that
 * session had not been there (XEP-0198 5, RFC 6121 8.5.3.2). A message gets a
 * <delay/> of the recipient's domain with its time (XEP-0203), unless it has
 * one. Borrows s. */
MK_API void mk_redeliver(struct mk_stanza *s, const struct mk_jid *to);

MK_END_DECLS
#endif
