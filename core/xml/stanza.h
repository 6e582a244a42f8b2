/*
 * xml/stanza.h - the stanza's inside (public half: meerkat/stanza.h)
 *
 * Lives in the first chunk of its own arena. Open while one holder builds or
 * edits it; sealed when it enters the router. Edits on a sealed stanza that
 * somebody else holds too make a shallow copy of its top (what is in its
 * children is shared; the copy holds a reference to the original, and with it
 * the original's journal record: its uid is the same, its journal NULL).
 */
#ifndef MK_XML_STANZA_H
#define MK_XML_STANZA_H

#include <stdatomic.h>
#include <meerkat/stanza.h>
#include <meerkat/hook.h>
#include "jid/jid.h"
#include "xml/elem.h"

enum mk_stanza_flag {
	MK_STANZA_SEALED = 1,
	MK_STANZA_FANOUT = 2,          /* many recipients: keep the rendering   */
	MK_STANZA_STORABLE = 4,        /* valid once sealed                     */
	MK_STANZA_REPLAYED = 8,        /* from the journal, at start            */
	MK_STANZA_SECRET = 64,         /* overwritten when it goes              */
	MK_STANZA_READ = 32,           /* type, id, lang are those of the root  */
	MK_STANZA_BAD_TYPE = 16,       /* has a type attribute that its kind doesn't
	                                * know: <presence/> and <iq/> are answered
	                                * bad-request (RFC 6120 8.2.3, RFC 6121 4.7.1),
	                                * a message counts as normal            */
};
struct mk_stanza {
	_Atomic uint32_t refs;
	uint8_t kind, type, flags;
	uint8_t match;                 /* its one mk_match bit                  */
	struct mk_arena *arena;
	struct mk_elem *root;
	struct mk_jid *from, *to;      /* refs; NULL = none                     */
	const char *id, *lang;
	int64_t time_ms;
	int64_t uid;                   /* 0 = nobody asked yet; atomic          */
	void *journal;                 /* store/journal.c: where it stands      */
	struct mk_stanza *original;    /* ref of a shallow copy, or NULL        */
	_Atomic uint32_t tickets;      /* of an original: rows not durable yet, and
	                                * legs under way, of it and its copies  */
	bool is_awaited;               /* somebody waits for its last ticket: set
	                                * before there is one                   */
	_Atomic(struct mk_shared *) wire; /* rendering without name and 'to'    */
};

/* Called when the last reference goes and journal is set. Set by store/. */
extern void (*mk_stanza_retire)(struct mk_stanza *s);

/* From a parsed root (in the arena that mk_stanza_alloc made): sets kind,
 * type, match, id, lang. from/to stay NULL. -MK_EINVAL if root is no stanza
 * of jabber:client. */
struct mk_stanza *mk_stanza_alloc(void);
int  mk_stanza_adopt(struct mk_stanza *s, struct mk_elem *root);
/*
 * Something that must be over before s counts as stored: a row that is appended, its
 * way to a recipient. Returns what s is a copy of (or s), whose ticket it is. When
 * the last one of an awaited stanza is done, mk_stanza_committed is called. Any
 * thread that holds s; set by session/.
 */
struct mk_stanza *mk_stanza_ticket(struct mk_stanza *s);
void mk_stanza_ticket_done(struct mk_stanza *original);
extern void (*_Atomic mk_stanza_committed)(struct mk_stanza *original);
/* Whether it, or what it is a copy of, has a journal record. */
bool mk_stanza_is_kept(const struct mk_stanza *s);
/* Takes references. The attributes of the root follow. */
void mk_stanza_set_from(struct mk_stanza *s, const struct mk_jid *from);
void mk_stanza_set_to(struct mk_stanza *s, const struct mk_jid *to);
/* The language of a stanza that says none (RFC 6120 8.1.5): a stream's, which was
 * read before, so of Chars. Copied. */
void mk_stanza_set_lang(struct mk_stanza *s, const char *lang);
/* Idempotent. */
void mk_stanza_seal(struct mk_stanza *s);
/* A stanza whose top may be changed: *s itself if nobody else holds it, else
 * a shallow copy that replaces *s (whose reference moves to it). It is open:
 * seal it before anybody else gets it. */
struct mk_stanza *mk_stanza_edit(struct mk_stanza **s);
/* The same for one whose root keeps its attributes: cheaper to seal. */
struct mk_stanza *mk_stanza_edit_children(struct mk_stanza **s);
/* Renders it for a client stream (default namespace jabber:client); to
 * replaces its own unless NULL. Uses and fills the shared rendering for
 * MK_STANZA_FANOUT. */
void mk_stanza_render(struct mk_buf *b, const struct mk_stanza *s,
                      const struct mk_jid *to);
/* The same, to stand alone: with its namespace. */
void mk_stanza_render_alone(struct mk_buf *b, const struct mk_stanza *s,
                            const struct mk_jid *to);
/* "chat" ... for a type; NULL for NONE. */
const char *mk_stanza_type_name(enum mk_stanza_type t);
const char *mk_stanza_error_name(uint16_t error);

#endif
