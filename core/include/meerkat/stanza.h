/*
 * meerkat/stanza.h - messages, presence and IQs on their way
 *
 * A stanza is sealed when it enters the router: counted, immutable, readable
 * by any thread that holds a reference. A handler changes what later handlers
 * and recipients see by edits on its event (hook.h), never the stanza.
 */
#ifndef MK_STANZA_H
#define MK_STANZA_H

#include <meerkat/jid.h>
#include <meerkat/xml.h>

MK_BEGIN_DECLS

enum mk_stanza_kind { MK_MESSAGE = 1, MK_PRESENCE, MK_IQ };

enum mk_stanza_type {
	MK_TYPE_NONE = 0,              /* no type attribute, or one not known   */
	MK_TYPE_ERROR,
	/* message (RFC 6121 5.2.2); NONE is normal */
	MK_TYPE_CHAT, MK_TYPE_GROUPCHAT, MK_TYPE_HEADLINE, MK_TYPE_NORMAL,
	/* presence (RFC 6121 4.7.1); NONE is available */
	MK_TYPE_UNAVAILABLE, MK_TYPE_PROBE, MK_TYPE_SUBSCRIBE, MK_TYPE_SUBSCRIBED,
	MK_TYPE_UNSUBSCRIBE, MK_TYPE_UNSUBSCRIBED,
	/* IQ (RFC 6120 8.2.3) */
	MK_TYPE_GET, MK_TYPE_SET, MK_TYPE_RESULT,
};

MK_API enum mk_stanza_kind mk_stanza_kind(const struct mk_stanza *s);
MK_API enum mk_stanza_type mk_stanza_type(const struct mk_stanza *s);
MK_API const struct mk_elem *mk_stanza_elem(const struct mk_stanza *s);
MK_API const char *mk_stanza_id(const struct mk_stanza *s);    /* may be NULL */
MK_API const char *mk_stanza_lang(const struct mk_stanza *s);  /* may be NULL */
/* Borrowed. from is set on everything that came in; to NULL = none was given. */
MK_API const struct mk_jid *mk_stanza_from(const struct mk_stanza *s);
MK_API const struct mk_jid *mk_stanza_to(const struct mk_stanza *s);
MK_API struct mk_stanza *mk_stanza_ref(const struct mk_stanza *s);
MK_API void mk_stanza_unref(struct mk_stanza **s);
/* Wall time (ms) at which it came in or was made. */
MK_API int64_t mk_stanza_time(const struct mk_stanza *s);
/* What it is known by wherever it goes: in the journal, after a restart, in every
 * copy; assigned when it is first asked for. Never 0. Any thread. */
MK_API int64_t mk_stanza_uid(const struct mk_stanza *s);
/* Memory it holds; what it shares with others is counted in full. */
MK_API size_t mk_stanza_bytes(const struct mk_stanza *s);
/* What the core stores as a message if nobody takes it: a body, a receipt,
 * a marker, <store/>, encrypted payload ...; never errors, never with
 * <no-store/> (XEP-0160, XEP-0334, reliability.md D1). */
MK_API bool mk_stanza_storable(const struct mk_stanza *s);

/*
 * Building. mk_stanza_new gives an open stanza: fill mk_stanza_root (it is
 * <message/>, <presence/> or <iq/> in jabber:client, with arena
 * mk_stanza_arena), then hand it to mk_send (send.h), which seals it.
 * from and to are set here, borrowed; either may be NULL.
 */
MK_API struct mk_stanza *mk_stanza_new(enum mk_stanza_kind kind, const char *type,
	const struct mk_jid *from, const struct mk_jid *to);
MK_API struct mk_elem *mk_stanza_root(struct mk_stanza *s);
MK_API struct mk_arena *mk_stanza_arena(struct mk_stanza *s);
MK_API void mk_stanza_set_id(struct mk_stanza *s, const char *id);
/* Of one that is read from storage: what mk_stanza_uid gave for it then. */
MK_API void mk_stanza_set_uid(struct mk_stanza *s, int64_t uid);
/* An open stanza with a deep copy of e (a message, presence or iq) and its
 * addresses, e.g. of one read from storage; -MK_EINVAL, -MK_EJID. */
MK_API int mk_stanza_from_elem(const struct mk_elem *e, struct mk_stanza **out);

/*
 * An error answer to s (RFC 6120 8.3): from and to exchanged, id kept, the
 * condition and, unless NULL, a text. NULL if s may not be answered (it is an
 * error or a result, or presence of a type that gets none). Open; for mk_send.
 */
MK_API struct mk_stanza *mk_stanza_error(const struct mk_stanza *s,
	uint16_t error, const char *text);

/* ---- sending ---------------------------------------------------------------- */

/*
 * Routes an open or sealed stanza to its 'to' (which must be set) as the
 * server or the entity it is from; no stanza_in handler runs. Takes *s.
 * Any worker or job thread. Order is kept per (from, to).
 */
MK_API void mk_send(struct mk_stanza **s);
/*
 * The same stanza to another address: recipients see to instead of the
 * stanza's own. Borrows s: call it for each of many recipients; it is
 * rendered once.
 */
MK_API void mk_send_to(struct mk_stanza *s, const struct mk_jid *to);
/* To one session, past routing and stanza_deliver (but through stanza_out).
 * Borrows s. The session's home worker only. */
MK_API void mk_session_send(struct mk_session *ses, struct mk_stanza *s);

MK_END_DECLS
#endif
