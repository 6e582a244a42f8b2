/*
 * muc/hats.h - hats of a room: roles that its admins invent (XEP-0317)
 *
 * Few, and rarely changed: they are one text in the room's row. Who wears which is
 * of bare JIDs, in the room or not.
 */
#ifndef MUC_HATS_H
#define MUC_HATS_H

#include <meerkat/jid.h>
#include <meerkat/xml.h>

#define NS_HATS "urn:xmpp:hats:0"

struct hats;                   /* NULL: there are none                      */

/* What hats_write wrote; NULL if there are none, or it is nothing of that kind. */
struct hats *hats_read(struct mk_str text);
/* In arena a; n 0 if there are none. */
struct mk_str hats_write(struct mk_arena *a, const struct hats *h);
void hats_free(struct hats **h);

/* 0; -MK_EINVAL: not a uri, title or hue; -MK_ELIMIT: too many. One of that uri is
 * changed. hue n 0: none. Makes *h. */
int hats_set(struct hats **h, struct mk_str uri, struct mk_str title, struct mk_str hue);
/* Nobody wears it then; -MK_ENOENT. */
int hats_remove(struct hats *h, struct mk_str uri);
/* jid: bare. 1: changed, 0: it was so; -MK_ENOENT: no such hat; -MK_ELIMIT. */
int hats_wear(struct hats *h, const struct mk_jid *jid, struct mk_str uri, bool wears);
bool hats_is_worn(const struct hats *h, const struct mk_jid *jid, struct mk_str uri);

/* <hats/> with those that the user of jid wears, as a child of a presence; nothing
 * without any. */
void hats_show(const struct hats *h, const struct mk_jid *jid, struct mk_elem *presence);
/* Changes with the list; false if there are none. */
bool hats_hash(const struct hats *h, char out[17]);

/* fn for each hat (jid NULL), or for each that is worn. */
typedef void hats_fn(void *arg, const struct mk_jid *jid, const char *uri, const char *title,
	const char *hue);
void hats_each(const struct hats *h, bool worn, hats_fn *fn, void *arg);

#endif
