/*
 * presence/presence.h - what the plugin's files share
 *
 * state.c      the subscription state tables of RFC 6121 A, as a function
 * subscribe.c  subscriptions (RFC 6121 3)
 * session.c    what is known of a session: its presence, who was told
 * presence.c   presence (RFC 6121 4), and the plugin
 */
#ifndef PRESENCE_H
#define PRESENCE_H

#include <meerkat/svc/roster.h>

struct presence_conf { int64_t max_directed, max_request; };

enum presence_metric { BROADCASTS, PROBES, REQUESTS, REQUESTS_REFUSED };

/* The host type's rosters, and the instance they take. Never NULL: the plugin
 * needs the service. */
const struct mk_roster_svc *rosters(struct mk_inst *i, struct mk_inst **roster_inst);

/* ---- state.c ---------------------------------------------------------------------- */

enum way { OUTBOUND, INBOUND };
struct step {
	uint32_t flags;                /* enum mk_roster_flag, afterwards       */
	bool passes;                   /* is routed (out), delivered (in)       */
	bool is_answered;              /* in: with "subscribed"                 */
};
/* type: MK_TYPE_SUBSCRIBE ... UNSUBSCRIBED; flags of the other side in the
 * roster of the user who sends (out) or gets it (in). */
struct step subscription_step(enum way way, enum mk_stanza_type type, uint32_t flags);

/* ---- subscribe.c ------------------------------------------------------------------- */

enum mk_verdict subscription_out(struct mk_inst *i, struct mk_ev_stanza *ev);
enum mk_verdict subscription_in(struct mk_inst *i, struct mk_ev_stanza *ev);
/* Requests that wait for a user's answer (3.1.3), as they were kept. */
struct requests;
/* Whether there may be some. */
bool requests_wait(struct mk_inst *i, const struct mk_entity *e);
/* In a job: 0, -MK_EAGAIN, -MK_EIO. */
int  requests_read(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct requests **out);
void requests_send(const struct requests *q, struct mk_session *s);
void requests_free(struct requests **q);

/* ---- session.c --------------------------------------------------------------------- */

/* Addresses, few; references, so that whoever is told by presence (a room) may keep
 * the same. Most sessions have one: it needs no array. */
struct names { uint32_t n, size; union { struct mk_jid *one, **many; } v; };
static inline struct mk_jid *const *names_all(const struct names *s)
{
	return s->size != 0 ? s->v.many : &s->v.one;
}
bool names_has(const struct names *s, const struct mk_jid *j);
void names_add(struct names *s, const struct mk_jid *j);
void names_remove(struct names *s, const struct mk_jid *j);

struct presence {
	char *xml;                     /* the last one sent to all, or NULL     */
	uint32_t xml_n;
	struct names directed;         /* told by directed presence (4.6)       */
	struct names stopped;          /* bare JIDs that answered with an error */
};
int  presence_load_slots(struct mk_module *m);
struct presence *presence_of(struct mk_session *s);
struct presence *presence_peek(const struct mk_session *s);    /* or NULL */
void presence_clear(struct mk_session *s);
void presence_keep(struct mk_session *s, const struct mk_stanza *st);
/* s's presence as it last told it, without 'to'; NULL if there is none. */
struct mk_stanza *presence_last(const struct mk_session *s);
/* From every available session of e: its presence, or that it is gone. */
void presence_send_all(const struct mk_entity *e, const struct mk_jid *to);
void presence_send_gone(const struct mk_entity *e, const struct mk_jid *to);
/* <presence type= from= to=/> */
void presence_send(const struct mk_jid *from, const char *type, const struct mk_jid *to);

#endif
