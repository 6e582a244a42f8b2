/*
 * muc/form.h - what can be set of a room, and the form it is set by
 * (XEP-0045 10.1, 10.2, 15.5.3; XEP-0004)
 *
 * Pure: elements in, struct config out, and back.
 */
#ifndef MUC_FORM_H
#define MUC_FORM_H

#include <meerkat/xml.h>

#include "rules.h"

#define NS_DATA       "jabber:x:data"
#define FORM_CONFIG   "http://jabber.org/protocol/muc#roomconfig"

enum allow_pm { PM_ANYONE, PM_PARTICIPANTS, PM_MODERATORS, PM_NONE };
enum whois { WHOIS_MODERATORS, WHOIS_ANYONE };

/* Bit of a role or affiliation in the sets below. */
#define ROLE_BIT(r)  (1u << (r))

/* Texts are NULL when not set, else the config's own (mk_alloc). */
struct config {
	char *name, *desc, *lang, *pubsub;
	char *password;                /* NULL: no password is needed           */
	int64_t max_users;             /* 0: as many as the service allows      */
	int64_t history;               /* messages kept for those who enter     */
	int64_t slow_mode_s;           /* XEP-0500; 0: off                      */
	bool is_persistent, is_public, is_members_only, is_moderated;
	bool is_logged;                /* kept in the archive: status 170, 171  */
	bool occupants_set_subject, members_invite;
	bool visitors_change_nick, visitors_send_status;
	uint8_t allow_pm, whois;       /* enum allow_pm, enum whois             */
	uint8_t broadcast;             /* ROLE_BIT of whose presence all get    */
	uint8_t get_members;           /* ROLE_BIT of who may get the member list */
};

/* Deep; what to held before is not freed. */
void config_copy(struct config *to, const struct config *from);
/* Frees the texts, not c. */
void config_clear(struct config *c);

/* What the service lays down. */
struct config_limits {
	int64_t max_users, max_history;
	int64_t max_name, max_desc, max_password;      /* bytes                 */
	bool has_archive;              /* is_logged means something             */
};

/* A list of addresses in a form (roomadmins, roomowners); in the arena. */
struct form_jids {
	bool is_given;
	struct mk_jid **v;             /* refs, bare; freed by form_jids_clear  */
	uint32_t n;
};
void form_jids_clear(struct form_jids *j);

/* <x type='form'/> of a room as the last child of parent. */
struct mk_elem *form_build(struct mk_elem *parent, const char *room,
	const struct config *c, const struct config_limits *l,
	const struct form_jids *admins, const struct form_jids *owners);

/*
 * Applies what <x type='submit'/> says to *c; fields that are not in it stay, and
 * those that are not known are left. admins and owners are set if the form has them
 * (references; to be cleared either way). 0, or a stanza error and *text_out why
 * (static); then *c may have changed in part.
 */
uint16_t form_apply(const struct mk_elem *x, const struct config_limits *l, struct config *c,
	struct form_jids *admins, struct form_jids *owners, const char **text_out);

/* What a change means to those inside (10.2.1): status codes, ended by 0. */
void config_changes(const struct config *from, const struct config *to, int codes_out[4]);

/* ---- forms in general ------------------------------------------------------------------ */

/* The first value of a field; n 0 if there is none. */
struct mk_str form_value(const struct mk_elem *x, const char *var);
/* Whether the form is of this FORM_TYPE. */
bool form_is(const struct mk_elem *x, const char *type);
/* A new field in x; type, label and value may be NULL. Returns it. */
struct mk_elem *form_field(struct mk_elem *x, const char *var, const char *type,
	const char *label, const char *value);
/* true of "1" and "true"; false if it is no boolean at all, with *ok false. */
bool form_bool(struct mk_str v, bool *ok);

#endif
