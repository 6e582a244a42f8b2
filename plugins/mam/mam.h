/*
 * mam/mam.h - what the files of this plugin share
 *
 * archive.c keeps and reads archives, count.c counts, waits.c knows what is to be delivered, query.c
 * speaks the protocol, prefs.c knows whose messages are kept, keep.c lets old ones go,
 * mam.c is the plugin.
 */
#ifndef MAM_H
#define MAM_H

#include <stdio.h>
#include <stdlib.h>

#include <meerkat/claim.h>
#include <meerkat/plugin.h>
#include <meerkat/svc/archive.h>

#define NS_MAM      "urn:xmpp:mam:2"
#define NS_FORWARD  "urn:xmpp:forward:0"
#define NS_DELAY    "urn:xmpp:delay"
#define NS_DATA     "jabber:x:data"
#define NS_RSM      "http://jabber.org/protocol/rsm"
#define NS_HINTS    "urn:xmpp:hints"
#define NS_RETRACT  "urn:xmpp:message-retract:1"
#define NS_FULLTEXT "urn:xmpp:fulltext:0"
#define VAR_FULLTEXT "{" NS_FULLTEXT "}fulltext"

struct mam_conf {
	int64_t page, max_page;        /* results                               */
	int64_t retention;             /* ms; 0 = for ever                      */
	int64_t quota;                 /* bytes of a user's archive; 0 = any    */
	int64_t quota_messages;        /* 0 = any                               */
	bool preferences, search, groupchat;
};

enum mam_metric { STORED, QUERIES, RESULTS, EXPIRED, OVER_QUOTA, RETRACTED, REFUSED };

/* ---- archive.c ----------------------------------------------------------------- */

extern const struct mk_table archive_box, archive_days, archive_text,
	archive_prefs, archive_cursor;

void archive_load(void);
/* Rows of archive_days may have been erased. Any thread. */
void days_forget(void);

enum box_flag {
	BOX_OUT = 1,                   /* the owner sent it                     */
	BOX_GROUPCHAT = 2,             /* a room's message in a user's archive  */
	BOX_WAITS = 4,                 /* nobody was there: to be delivered, if it is
	                                * behind the cursor                     */
};

/* Whose archive: the first columns of its rows. */
struct owner { struct mk_str domain, user; };
/* Borrows from j, or of a for a room. */
struct owner owner_of_account(const struct mk_jid *j);
struct owner owner_of(const struct mk_jid *j);
/* Hashes with a secret: owner_hash(o), and more of what is hashed. */
uint64_t owner_hash(struct owner o);
uint64_t hash_more(uint64_t h, struct mk_str s);
/* Changes whenever the owner gets an entry (and, rarely, when another does). */
uint64_t box_mark(struct owner o);

/* What is stored of a stanza: its text without what only this delivery added, in a. */
struct mk_str stored_text(struct mk_arena *a, const struct mk_stanza *s,
	const struct mk_jid *account);

struct entry {
	int64_t id, flags, size;       /* size: bytes of the text, when read, and
	                                * where xml is not there                */
	struct mk_str with;            /* bare                                  */
	struct mk_str xml;             /* appended: n 0 if is_shared; read: n 0: gone */
	bool is_shared;                /* it is in the peer's row               */
};
/* Rows for one owner. text: what is to be found by search, or none. */
void box_append(struct mk_inst *i, const struct mk_ev_stanza *ev, struct owner o,
	const struct entry *e, struct mk_str text);
/* Notes that the sender's row of id, to this account, was appended; and whether it was
 * (and its size): a "no" may be wrong, and costs a copy. Any thread. */
void shared_note(int64_t id, const struct mk_jid *to, size_t bytes);
bool shared_noted(int64_t id, const struct mk_jid *to, int64_t *bytes);

struct box_range {
	int64_t after, before;         /* exclusive; INT64_MIN, INT64_MAX: open */
	struct mk_str with;            /* bare; n 0 = any                       */
	const char *search;            /* or NULL                               */
	bool waits;                    /* only those with no flag but BOX_WAITS */
	uint32_t limit;                /* of counting, too; there 0 = none      */
	bool backward;
};
struct box_page { struct entry *e; uint32_t n; bool more; };
/* In jobs. What was appended before is seen. Entries are in the job's arena, in the
 * order of reading. */
enum mk_store_status box_read(struct mk_store *st, struct owner o, const struct box_range *r,
	struct box_page *out);
/* The same without what is shared. */
enum mk_store_status box_rows(struct mk_store *st, struct owner o, const struct box_range *r,
	struct box_page *out);
enum mk_store_status box_count(struct mk_store *st, struct owner o, const struct box_range *r,
	uint64_t *out);
/* Those that are there, in the order of ids: n of them. */
enum mk_store_status box_get(struct mk_store *st, struct owner o, const int64_t *ids, uint32_t n,
	struct box_page *out);
enum mk_store_status box_replace(struct mk_store *st, struct owner o, const struct entry *e,
	struct mk_str xml);
/* What is to be found of it by search. */
enum mk_store_status text_delete(struct mk_store *st, struct owner o, int64_t id);
/* The row's flags changed, as part of a batch: *w, with memory of the job's arena. */
void box_reflag(struct mk_store *st, struct owner o, const struct entry *e, int64_t flags,
	struct mk_write *w);
int code_of(enum mk_store_status s);
void entry_out(struct mk_store *st, const struct entry *e, struct mk_archive_entry *out);
/* A step over archive_days: those of days before an id's go, of wanted domains. after: a
 * key, in and out, as mk_scan's. */
enum mk_store_status days_delete(struct mk_store *st, int64_t before,
	bool (*wanted)(void *arg, struct mk_str domain), void *arg, const struct mk_value **after,
	bool *more);
/* One owner's. */
enum mk_store_status days_delete_of(struct mk_store *st, struct owner o, int64_t before);
/* What others need of them they take over. */
enum mk_store_status box_delete(struct mk_store *st, struct owner o, const struct entry *e,
	uint32_t n);

/* ---- waits.c -------------------------------------------------------------------- */

/* Whether a message to account, which is archived now, is to be marked as waiting;
 * notes it if so. At the account's home. */
bool waits_note(struct mk_inst *i, const struct mk_ev_stanza *ev);
bool svc_is_waiting(struct mk_inst *i, const struct mk_jid *account, int64_t id);
int svc_wait(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account, int64_t id);
int svc_waiting(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
	int64_t after, uint32_t limit,
	void (*fn)(void *arg, const struct mk_archive_entry *entry), void *arg);
int svc_delivered(struct mk_inst *i, struct mk_store *st, const struct mk_jid *account,
	const int64_t *id, uint32_t n);
void waits_load(void);
struct waits;                          /* what the journal handed back          */
struct waits *waits_new(void);
void waits_free(struct waits **w);
/* After the row of what waits_note() said to wait was appended. */
void waits_late(struct mk_inst *i, const struct mk_ev_stanza *ev);

/* The offered service, but for query(). */
void svc_append(struct mk_inst *i, const struct mk_ev_stanza *ev, const struct mk_jid *owner,
	const struct mk_archive_entry *entry);
int svc_recent(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t before,
	uint32_t limit, void (*fn)(void *arg, const struct mk_archive_entry *entry), void *arg);
int svc_get(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t id,
	struct mk_archive_entry *out);
int svc_replace(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner, int64_t id,
	const struct mk_elem *message);
int svc_erase(struct mk_inst *i, struct mk_store *st, const struct mk_jid *owner);

/* The words of a message: its bodies and subjects, in a. */
struct mk_str words_of(struct mk_arena *a, const struct mk_elem *message);

/* ---- count.c ------------------------------------------------------------------- */

#define COUNT_MAX 5000
/* In jobs: how many entries r has, whose limit is ignored; COUNT_MAX + 1: more than that. */
enum mk_store_status count_set(struct mk_store *st, struct owner o, const struct box_range *r,
	uint64_t *out);
/* Which one of r's an entry is (the first: 0), as count_note() said it lately. */
bool count_index(struct owner o, const struct box_range *r, int64_t id, int64_t *index);
/* A page's first and last. */
void count_note(struct owner o, const struct box_range *r, const int64_t id[2],
	const int64_t index[2]);
/* Entries were deleted. */
void count_forget(void);

/* ---- query.c ------------------------------------------------------------------- */

int  query_load(struct mk_module *m);
/* Handler of <query/> and <metadata/> to an account. */
enum mk_verdict on_query(struct mk_inst *i, struct mk_iq_req *r);
enum mk_verdict svc_query(struct mk_inst *i, struct mk_iq_req *r, const struct mk_archive_query *q);

/* ---- prefs.c ------------------------------------------------------------------- */

/* What a user wants kept (XEP-0441). */
struct prefs {
	bool is_known;
	uint8_t dflt;                  /* enum prefs_default                    */
	char *always, *never;          /* JIDs, each with a newline behind it;
	                                * NULL = none; of mk_alloc              */
};
enum prefs_default { PREFS_ALWAYS, PREFS_NEVER, PREFS_ROSTER };

int  prefs_load(struct mk_module *m);
/* Of the owner of a box, if they are in memory at this, its home worker; e may be
 * NULL. To be used before anything else runs. */
const struct prefs *prefs_peek(const struct mk_entity *e, const struct mk_jid *account);
/* What was read, from now on in memory. Takes what p holds. */
const struct prefs *prefs_put(struct mk_entity *e, const struct mk_jid *account, struct prefs *p);
void prefs_forget(struct mk_entity *e, const struct mk_jid *account);
void prefs_clear(struct prefs *p);
/* In a job. */
enum mk_store_status prefs_read(struct mk_store *st, const struct mk_jid *account,
	struct prefs *out);
/* 1, 0, or -1: it depends on whether other is in the roster. */
int  prefs_want(const struct prefs *p, const struct mk_jid *other);
enum mk_verdict on_prefs(struct mk_inst *i, struct mk_iq_req *r);

/* ---- keep.c -------------------------------------------------------------------- */

struct keep;                           /* where its walk stands                 */
struct keep *keep_new(void);
void keep_free(struct keep **k);
/* mk_every: a step of the walk over archives. */
void keep_step(struct mk_inst *i, struct mk_store *st);

/* ---- mam.c --------------------------------------------------------------------- */

struct mam { struct keep *keep; struct waits *waits; };

#endif
