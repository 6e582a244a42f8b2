/*
 * muc/mav.h - versions of a room's affiliations (XEP-0463)
 *
 * A version is a random number, told as text: nobody guesses one that he was not
 * told. The last changes are kept in memory; the number of the latest version is in
 * the room's row, so that who knows it is spared the lists even after a restart. The
 * room's worker.
 */
#ifndef MUC_MAV_H
#define MUC_MAV_H

#include "rules.h"

#include <meerkat/xml.h>

#define NS_MAV "urn:xmpp:muc:affiliations:1"

struct mk_jid;
struct mav;                    /* the changes that are remembered; or NULL  */

int64_t mav_new_version(void);
/* jid has affiliation a from version until on, which follows since. */
void mav_note(struct mav **m, int64_t since, int64_t until, const struct mk_jid *jid,
	enum affil a);
void mav_free(struct mav **m);

/* <mav/> as the last child of x; since 0: without. */
void mav_show(struct mk_elem *x, int64_t since, int64_t until);
/* The version that a text names; 0 if none. */
int64_t mav_parse(const char *text);

/*
 * fn for each address that changed since, with what it has now, each once. False if
 * since is not remembered.
 */
typedef void mav_fn(void *arg, const struct mk_jid *jid, enum affil a);
bool mav_since(const struct mav *m, int64_t since, mav_fn *fn, void *arg);

#endif
