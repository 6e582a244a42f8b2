/*
 * muc/room.h - what the plugin's files share: the room
 *
 * muc.c        the plugin: settings, the claim, who handles what comes
 * room.c       a room in memory: occupants, affiliations, sending to all
 * presence.c   coming, going, nicknames, presence
 * message.c    messages to all, private messages, subject, history
 * store.c      rows: loading, saving, what a change writes
 * disco.c      service discovery of service, rooms and occupants
 * archive.c    the room's archive
 * avatar.c     the room's vCard; how active it is
 * form.c       the configuration form
 * owner.c      configuring, destroying
 * admin.c      roles, affiliations, their lists
 * rules.c      who may change whom (pure)
 * register.c   registration, reserved nicknames
 * invite.c     invitations
 * voice.c      requests for voice
 * retract.c    messages taken back, by moderators and by authors
 * ctl.c        commands for operators
 * commands.c   hats, by commands (XEP-0317); hats.c: in memory and in presence
 * mav.c, slow.c  versions of affiliations (XEP-0463), slow mode (XEP-0500); pure
 *
 * A room is the slot of its entity, at whose home worker all of it runs: no
 * function here locks. In storage are rooms that are persistent; a room in
 * memory without occupants goes after a while (hibernates), and is read again when
 * somebody wants something of it.
 *
 * Handlers get the room, or NULL if there is none of that name. A pointer to a
 * room, an occupant or a seat is good until the handler returns, calls
 * room_remove, room_leave or room_destroy, or waits for a job.
 */
#ifndef MUC_ROOM_H
#define MUC_ROOM_H

#include <meerkat/plugin.h>

#include "form.h"
#include "hats.h"
#include "mav.h"
#include "rules.h"
#include "slow.h"

#define NS_MUC       "http://jabber.org/protocol/muc"
#define NS_MUC_USER  NS_MUC "#user"
#define NS_MUC_ADMIN NS_MUC "#admin"
#define NS_MUC_OWNER NS_MUC "#owner"
#define NS_STANZAS   "urn:ietf:params:xml:ns:xmpp-stanzas"
#define NS_DELAY     "urn:xmpp:delay"
#define NS_INFO      "http://jabber.org/protocol/disco#info"
#define NS_ITEMS     "http://jabber.org/protocol/disco#items"
#define NS_RSM       "http://jabber.org/protocol/rsm"
#define NS_OCCUPANT  "urn:xmpp:occupant-id:0"
#define NS_SID       "urn:xmpp:sid:0"
#define NS_COMMANDS  "http://jabber.org/protocol/commands"
#define NS_RETRACT   "urn:xmpp:message-retract:1"
#define NS_MODERATE  "urn:xmpp:message-moderate:1"
#define NS_OPERATOR  "urn:meerkat:muc:operator"        /* ctl.c, never on the wire */

/* ---- settings ------------------------------------------------------------------------ */

enum create { CREATE_ANYBODY, CREATE_ADMINS, CREATE_NOBODY };
struct muc_conf {
	const char *host, *name;
	int create;                    /* enum create                           */
	struct mk_conf_list admins;    /* bare JIDs: owners of every room       */
	bool is_locked;                /* a new room, until it is configured    */
	bool old_join;                 /* by the groupchat 1.0 protocol         */
	bool is_persistent, is_public, is_members_only, is_moderated;  /* new rooms */
	bool shows_jids;               /* new rooms: non-anonymous              */
	bool is_logged;                /* new rooms                             */
	int64_t max_users;             /* most that a room may be set to        */
	int64_t max_rooms;             /* that one user may own; 0 = any number */
	int64_t max_affiliations;      /* of one room                           */
	int64_t history, new_history;  /* messages that a room keeps: most; new */
	int64_t hibernate;             /* ms without occupants                  */
	bool tells_affiliations;       /* whose changed, outside: status 101    */
	int64_t max_message, max_presence;     /* bytes; 0 = any                */
	int64_t message_rate, presence_rate, request_rate;     /* per client and second */
	int64_t max_nick, max_subject, max_name, max_desc, max_password;  /* bytes */
	int64_t max_reason, max_vcard;
};

enum muc_metric { ROOMS, OCCUPANTS, MESSAGES, DELIVERIES, PRESENCES, CREATED, REFUSED, FLOODS,
	LOADED, FAILED };

/* What a new room begins with. */
void config_init(struct config *c, const struct muc_conf *m);

/* ---- occupants ----------------------------------------------------------------------- */

/* at: where a seat is in room.seats, an occupant in room.of_role. */
struct node { struct node *next; uint32_t hash, at; }; /* in a table            */
struct table { struct node **slot; uint32_t n, size; };

/* A client in the room. What these two cost is counted in bytes: rooms of thousands. */
struct seat {
	struct node node;              /* room.seats_by_jid; room.seats[at]     */
	struct mk_jid *jid;            /* ref: full JID, the session's own      */
	struct occupant *occupant;
	struct seat *next;             /* of the same occupant                  */
	char *presence;                /* payload of its last, as XML; or NULL  */
	uint16_t messages, presences, requests;        /* in second `second`    */
	uint16_t second;               /* its last 16 bits                      */
};
/* A nickname and who has it: one user, with one or more clients. */
struct occupant {
	struct node node;              /* room.by_nick                          */
	char *nick;                    /* prepared                              */
	struct seat *seats;            /* never NULL; the one that is seen first */
	struct mk_stanza **shown;      /* presence.c: NULL, or two: its presence without,
	                                * and with the real address, while many want it */
	uint8_t role, affil;           /* enum role (occupant_set_role), enum affil */
};
/* Who has an affiliation other than none, or a reserved nickname. */
struct affil_entry {
	struct node node;              /* room.affils                           */
	struct node reserved;          /* room.reserved, if it has a nickname   */
	struct mk_jid *jid;            /* ref: bare, or a domain                */
	char *nick, *reason;           /* or NULL                               */
	uint8_t affil;
};

/* What anybody can have the room send to somebody: once a minute (admin.c). */
enum bother { ASKED_VOICE, ASKED_MEMBERSHIP, DECLINED, ASKED_KINDS };

struct message {               /* of the history; newest last           */
	struct mk_stanza *stanza;      /* ref; from the occupant                */
	int64_t time_ms;
	bool is_delayed;               /* has its <delay/>                      */
};

/* XEP-0502: messages in this hour, and in the hours before. */
enum { ACTIVITY_HOURS = 24 };
struct activity {
	int64_t hour;                  /* since the machine's start; 0 = none yet */
	uint32_t count[ACTIVITY_HOURS + 1];
	uint8_t known;                 /* whole hours                           */
};

/* The occupants of one role: who is shown to all is found without a look at who isn't. */
struct crowd { struct occupant **v; uint32_t n, size; };

struct room {
	struct mk_inst *inst;
	struct mk_entity *entity;      /* whose slot this is                    */
	struct mk_jid *jid;            /* ref: room@service                     */
	struct mk_jid *service;        /* ref                                   */
	struct mk_str domain;          /* mk_claim_domain, borrowed from jid    */
	struct config conf;
	bool is_stored;                /* has a row                             */
	bool is_locked;                /* waits for its first configuration     */
	bool is_gone;                  /* closed while a job had it             */
	uint32_t changing;             /* jobs of room_change under way         */

	struct table by_nick, seats_by_jid, affils;
	struct table reserved;         /* affils with a nickname, by that       */
	struct crowd of_role[ROLE_MODERATOR + 1];
	struct seat **seats;           /* all, for sending                      */
	uint32_t seats_n, seats_size;

	char *subject;                 /* NULL: never set; "" cleared           */
	char *subject_nick;            /* whose change it was, or NULL          */
	int64_t subject_ms;
	struct message *history;       /* a ring                                */
	uint32_t history_n, history_at, history_size;

	char *vcard;                   /* XML, or NULL                          */
	char *avatar;                  /* hashes, each ended by a line feed     */
	struct activity activity;
	uint8_t secret[32];            /* of occupant ids; stored               */
	struct slow *slow;             /* who spoke lately, or NULL (XEP-0500)  */
	struct slow *asked[ASKED_KINDS];       /* and who had others bothered   */
	struct hats *hats;             /* or NULL (XEP-0317)                    */
	int64_t affil_version;         /* XEP-0463; stored                      */
	struct mav *mav;               /* how it came to that, or NULL          */
	struct mk_timer *idle;
	struct mk_timer *cooling;      /* runs while there are shown ones       */
	struct listing *listing;       /* disco.c; NULL: not listed from memory */
};

/* ---- room.c: asking ------------------------------------------------------------------ */

/* The room of the event's or request's entity, or NULL if it isn't in memory. */
struct room *room_peek(const struct mk_entity *e);
struct occupant *room_occupant(const struct room *r, struct mk_str nick);
/* By full JID. */
struct seat *room_seat(const struct room *r, const struct mk_jid *full);
/* Of jid's bare address, else of its domain; NULL: none and no nickname. */
struct affil_entry *room_affil_entry(const struct room *r, const struct mk_jid *jid);
/* The same; administrators of the service are owners everywhere, and so is the room's own
 * address, by which operators ask (ctl.c). */
enum affil room_affil(const struct room *r, const struct mk_jid *jid);
bool room_is_service_admin(const struct room *r, const struct mk_jid *jid);
/* Everybody with an affiliation or a nickname, in no order; fn must not change it. */
void room_affils_each(const struct room *r, void (*fn)(struct affil_entry *a, void *arg),
	void *arg);
/* Whoever has it reserved and is not jid's user. */
struct affil_entry *room_nick_owner(const struct room *r, struct mk_str nick,
	const struct mk_jid *jid);
bool room_shows_jids(const struct room *r, const struct occupant *to);
/* room@service/nick: a new reference. */
struct mk_jid *occupant_address(const struct room *r, const struct occupant *o);
/* XEP-0421, as text. */
void occupant_id_text(const struct room *r, const struct occupant *o, char out[33]);
static inline struct mk_str occupant_nick(const struct occupant *o)
{
	return mk_strz(o->nick);
}

/* ---- room.c: changing memory only ---------------------------------------------------- */

/* A room in e's slot, which keeps e open; configured as new ones are. */
struct room *room_open(struct mk_inst *i, struct mk_entity *e);
/* Forgets it: the slot is cleared. Nobody is told. */
void room_close(struct room *r);
int  room_load_slots(struct mk_module *m);
/* Of one that is_gone, when the last job is back. */
void room_free(struct room *r);
/* jid (full) takes a seat under address; the occupant is made if it is new. */
struct seat *room_enter(struct room *r, const struct mk_jid *jid, const struct mk_jid *address,
	enum affil a, enum role role);
/* Ends the seat, and with its last one the occupant. Nobody is told. */
void room_leave(struct room *r, struct seat *s);
/* Nobody is told. */
void occupant_set_role(struct room *r, struct occupant *o, enum role role);
void room_rename(struct room *r, struct occupant *o, const struct mk_jid *address);
/* The seat goes to the occupant of that address, made if it is new; its old one ends
 * if that was its last. */
void room_move(struct room *r, struct seat *s, const struct mk_jid *address);
void room_set_affil(struct room *r, const struct mk_jid *bare, enum affil a, const char *nick,
	const char *reason);
/* After anything that may leave it empty: destroys a temporary room without
 * occupants, or starts the clock of hibernation. r may be gone afterwards. */
void room_check(struct room *r);
/* Whether s may send another message, presence, or request, now: counts it. */
bool seat_may_send(struct room *r, struct seat *s, enum mk_stanza_kind kind);

/* ---- room.c: sending ----------------------------------------------------------------- */

/* The same stanza to every seat, to those of moderators, or all others. Take
 * nothing. */
enum { TO_ALL, TO_MODERATORS, TO_OTHERS };
void room_send(struct room *r, struct mk_stanza *s, int whom);
void occupant_send(const struct occupant *o, struct mk_stanza *s);
/* An error answer as XEP-0045 has them: by the room, from what was addressed;
 * joining: with <x xmlns='…/muc'/>. Nothing if it may not be answered. */
void room_refuse(struct mk_inst *i, const struct mk_stanza *s, const struct mk_jid *to,
	uint16_t error, const char *text);
/* The same for a request. */
void room_refuse_iq(struct mk_iq_req *q, uint16_t error, const char *text);
/* A message of type groupchat from the room to all: <x xmlns='…#user'> with these
 * status codes (104, 170 ...; ended by 0). */
void room_tell_codes(struct room *r, const int *codes);

/* ---- presence.c ---------------------------------------------------------------------- */

/* Why presence is sent; all may be 0. */
struct why {
	int codes[6];                  /* status codes, ended by 0; 110 and such
	                                * are added where they belong           */
	const char *reason;
	const struct occupant *actor;  /* by nickname                           */
	const struct mk_jid *actor_jid;/* shown to moderators only              */
	const char *nick;              /* the new one (303)                     */
	struct mk_elem *destroy;       /* <destroy/> of NS_MUC_USER, copied     */
	const char *status;            /* of who goes                           */
	int64_t since, until;          /* versions of affiliations (XEP-0463)   */
};
/* r NULL: there is no such room. */
enum mk_verdict presence_handle(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev);
/* o's presence to all, with its role and affiliation as they are now. */
void occupant_tell(struct room *r, struct occupant *o, const struct why *w);
/* o is made to leave (kicked 307, banned 301, 321, 322, 332): all are told, o has
 * role none then. room_check is the caller's. */
void room_remove(struct room *r, struct occupant *o, const struct why *w);
/* Sets role and affiliation of an occupant (memory) and tells all if anything
 * changed. */
void occupant_set(struct room *r, struct occupant *o, enum affil a, enum role role,
	const struct why *w);
/* s (of from's seat) may be an error that tells that the seat's client is gone: it
 * leaves then (11.5). */
void presence_ghost(struct room *r, const struct mk_stanza *s);
/* What was kept of its presence goes: something of it has changed. */
void occupant_stale(struct occupant *o);
/* To each occupant that the service goes (332). */
void room_tell_stop(struct room *r);
/* For each occupant that is a user of bare; fn may remove it. */
void room_occupants_of(struct room *r, const struct mk_jid *bare,
	void (*fn)(struct room *r, struct occupant *o, void *arg), void *arg);
/* Every occupant; fn may remove it. */
void room_occupants_each(struct room *r, void (*fn)(struct room *r, struct occupant *o, void *arg),
	void *arg);
/* After broadcast (as it was) or whois of the configuration has changed: all are shown who
 * is to be seen now, and as they may see him. */
void room_show_anew(struct room *r, uint8_t broadcast, bool whois_changed);
/* Tells all that the room is destroyed (10.9) and closes it; r is gone. Its rows are
 * gone already (a change with is_destroyed). */
void room_destroy(struct room *r, const char *alternative, const char *password,
	const char *reason);

/* ---- message.c ----------------------------------------------------------------------- */

enum mk_verdict message_handle(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev);
/* To a seat that has just entered: the history it asked for (join may be NULL), then
 * the subject. */
void history_send(struct room *r, struct seat *s, const struct mk_elem *join);
void subject_send(struct room *r, struct seat *s);
/* IQ requests to occupants. Answers come by mk_iq_ask. */
enum mk_verdict occupant_iq(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev);
/* The newest message; takes a reference. */
void history_add(struct room *r, struct mk_stanza *s, int64_t time_ms);
/* The message with this stanza-id goes, if author (an occupant id; NULL: anybody) has
 * said it; whether it was there. */
bool history_remove(struct room *r, int64_t id, const char *author);
/* <stanza-id/>: what it is known by in this room, in its archive, and to all (XEP-0359). */
void message_add_id(struct mk_stanza *s, const struct mk_jid *room);
/* What is in the history goes. */
void history_clear(struct room *r);
/* Forged elements (S-06): what only the room may say. */
bool is_forged(const struct mk_jid *room, const struct mk_elem *e);

/* ---- store.c: changes that last ------------------------------------------------------ */

struct affil_change {
	struct affil_change *next;
	struct mk_jid *jid;            /* ref: bare or domain                   */
	uint8_t affil, was;            /* before this change                    */
	const char *nick, *reason;     /* of the arena; as they shall be        */
	int64_t since, until;          /* the versions that it leads from and to */
};
/*
 * What is to be. Made on the worker, written in a job that holds the room (so
 * nothing of it changes meanwhile), then taken over into memory by done.
 */
struct room_change {
	struct mk_arena *arena;        /* what belongs to it                    */
	struct config *conf;           /* NULL: as it is. Cleared with it       */
	struct affil_change *affils;   /* in this order                         */
	bool sets_subject;
	const char *subject, *subject_nick;
	int64_t time_ms;               /* when it was made                      */
	bool sets_hats;
	struct mk_str hats;            /* hats_write; of the arena              */
	bool sets_vcard;
	const char *vcard, *avatar;    /* NULL: none                            */
	bool unlocks;
	bool is_destroyed;             /* all rows of the room go               */
	void *data;                    /* the maker's                           */
};
struct room_change *room_change_new(const struct room *r);
/* Of one that is not to be made after all. */
void room_change_free(struct room_change **c);
/* A copy of the configuration, to be changed. */
struct config *room_change_conf(struct room_change *c, const struct room *r);
/* Keeps nickname (nick NULL: as it is, "" none) and reason. Affil and jid as they
 * shall be: AFFIL_NONE without nickname is no row. */
void room_change_affil(struct room_change *c, const struct room *r, const struct mk_jid *jid,
	enum affil a, const char *nick, const char *reason);
/*
 * Writes c if the room is, or becomes, persistent; takes it over into memory
 * (room.conf, affils, subject, is_locked: not occupants); then calls done, at
 * once if there was nothing to write. err -MK_EAGAIN, -MK_EIO, -MK_ECLOSED: nothing
 * is changed, and the request or stanza is answered so by the caller of done: done only
 * cleans up. r is NULL in done if it went meanwhile (err set). c is freed afterwards.
 * Return what these return.
 */
typedef void room_iq_done_fn(struct room *r, struct mk_iq_req *q, struct room_change *c, int err);
enum mk_verdict room_change_iq(struct room *r, struct mk_iq_req *q, struct room_change *c,
	room_iq_done_fn *done);
typedef void room_ev_done_fn(struct room *r, struct mk_ev_stanza *ev, struct room_change *c,
	int err);
enum mk_verdict room_change_ev(struct room *r, struct mk_ev_stanza *ev, struct room_change *c,
	room_ev_done_fn *done);

/* Reads a room, in a job. */
struct loaded;
struct loaded *load_new(const struct mk_jid *room);
int  load_read(struct loaded *l, struct mk_inst *i, struct mk_store *st);
/* On the worker: the room, opened in e's slot, or NULL if there is none. Frees *l. */
struct room *load_open(struct loaded **l, struct mk_inst *i, struct mk_entity *e);
void load_free(struct loaded **l);
/* Rooms of a domain in storage, by name; in a job. */
struct stored_room { struct mk_str room, name; bool is_public, is_stored; };
int  store_list(struct mk_store *st, struct mk_str domain, struct mk_str after,
	struct mk_str before, bool backward, bool hidden_too, uint32_t limit,
	struct stored_room **out, uint32_t *n_out);
/* Public ones; before.n 0: all of them. */
int  store_count(struct mk_store *st, struct mk_str domain, struct mk_str before, uint64_t *out);
/* Persistent rooms that jid (bare) owns; in a job. */
int  store_owned(struct mk_store *st, const struct mk_jid *room, const struct mk_jid *jid,
	uint64_t *out);
/* Hook account_removed: rooms of its domain in memory forget it. */
void affils_removed(struct mk_inst *i, const struct mk_ev_account *ev, struct mk_store *st);
extern const struct mk_table *const muc_tables[];

/* ---- archive.c ----------------------------------------------------------------------- */

bool archive_is_offered(struct mk_inst *i);
/* Whether what is said there is archived now. */
bool room_is_archived(const struct room *r);
/* Appends what s's client said, as it was sent to all; s NULL: the room's own. */
void archive_add(struct room *r, const struct mk_ev_stanza *ev, const struct seat *s,
	const struct mk_stanza *sent);
enum mk_verdict archive_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
/* In jobs: 0 or -MK_EAGAIN, -MK_EIO. The newest messages, oldest first; *out is freed
 * with mk_free, its stanzas are references. */
struct recalled { struct mk_stanza *stanza; int64_t time_ms; };
int  archive_recent(struct mk_inst *i, struct mk_store *st, const struct mk_jid *room,
	uint32_t most, struct recalled **out, uint32_t *n_out);
int  archive_erase(struct mk_inst *i, struct mk_store *st, const struct mk_jid *room);

/* ---- avatar.c ------------------------------------------------------------------------ */

enum mk_verdict avatar_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
/* A message with a body was sent to all. */
void activity_count(struct room *r);
/* What the form of disco#info has of it. */
void avatar_info(const struct room *r, struct mk_elem *x);
void activity_info(struct room *r, struct mk_elem *x);

/* ---- disco.c ------------------------------------------------------------------------- */

/* On each worker that has rooms; listings are of all workers, behind a lock. */
struct listings;
struct listings *listings_new(void);
void listings_free(struct listings **l);
/* After r was made, configured, or is about to go: is it not stored? */
void listing_update(struct room *r);
void listing_remove(struct room *r);
/* In a job: rooms of a domain behind after, hidden ones too, by name. */
int  list_all(struct mk_inst *i, struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct stored_room **out, uint32_t *n_out);
enum mk_verdict service_disco(struct mk_inst *i, struct mk_iq_req *q);
enum mk_verdict room_disco(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
void host_items(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query);

/* ---- muc.c --------------------------------------------------------------------------- */

struct listings *muc_listings(const struct mk_inst *i);

/* ---- what administration implements -------------------------------------------------- */

/*
 * Requests to the room; r NULL: there is no such room. MK_DONE: answered; or what
 * room_change_iq returned; MK_FAIL: bad-request.
 */
enum mk_verdict owner_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
enum mk_verdict admin_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
enum mk_verdict register_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
enum mk_verdict moderate_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
enum mk_verdict operator_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
extern const struct mk_command *const muc_commands[];
enum mk_verdict commands_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
/* If what o is about to say takes back something of its own (XEP-0424): that goes. */
void message_retract(struct room *r, const struct occupant *o, const struct mk_stanza *s);
/* <item/>s of the commands that asker may use. */
void commands_items(const struct room *r, const struct mk_jid *asker, struct mk_elem *query);
/*
 * The affiliations that s, who is entering by <x xmlns='…/muc'/>, asks for (XEP-0463 4):
 * before any presence. Whether its own presence tells the version.
 */
bool affils_answer(struct room *r, const struct seat *s, const char *id,
	const struct mk_elem *x);
/*
 * A message to the room that is not of type groupchat (or carries <x
 * xmlns='…#user'> with <invite/> or <decline/>, or a form of muc#request). MK_NEXT:
 * it is none of that. MK_DONE: seen to, answered with room_refuse if need be; or what
 * room_change_ev returned.
 */
enum mk_verdict invite_message(struct room *r, struct mk_ev_stanza *ev);
enum mk_verdict voice_message(struct room *r, struct mk_ev_stanza *ev);

#endif
