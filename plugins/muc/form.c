/*
 * muc/form.c - what can be set of a room, and the form it is set by
 *
 * One table has the fields; the form that is shown, what is taken from the one that
 * comes back, copies and comparisons all come from it.
 */
#include "form.h"

#include <ctype.h>
#include <stdio.h>
#include <meerkat/jid.h>

#define NS_VALIDATE "http://jabber.org/protocol/xdata-validate"

/* Members of a list that are more are no list a person wrote. */
#define JIDS_MAX 500
#define SLOW_MAX 86400         /* seconds                               */

enum kind {
	TEXT,                          /* char *                                */
	LANG,                          /* the same, a tag of RFC 5646           */
	SECRET,                        /* char *; goes with the boolean before it */
	PROTECTED,                     /* whether there is a SECRET             */
	BOOL,                          /* bool                                  */
	USERS,                         /* int64_t of a list; 0 is "none"       */
	NUMBER,                        /* int64_t                               */
	CHOICE,                        /* uint8_t: index of words               */
	ROLES,                         /* uint8_t: ROLE_BIT                     */
};
enum { NEEDS_ARCHIVE = 1 };
struct word { const char *word, *label; };
struct field {
	const char *var, *label;
	enum kind kind;
	size_t offset;
	const struct word *words;
	unsigned flags;
};

static const struct word pm_words[] = {
	[PM_ANYONE] = { "anyone", "Anyone" },
	[PM_PARTICIPANTS] = { "participants", "Anyone with Voice" },
	[PM_MODERATORS] = { "moderators", "Moderators Only" },
	[PM_NONE] = { "none", "Nobody" },
	{ NULL, NULL }
};
static const struct word whois_words[] = {
	[WHOIS_MODERATORS] = { "moderators", "Moderators Only" },
	[WHOIS_ANYONE] = { "anyone", "Anyone" },
	{ NULL, NULL }
};
static const struct { enum role role; const char *label; } roles[] = {
	{ ROLE_MODERATOR, "Moderator" }, { ROLE_PARTICIPANT, "Participant" },
	{ ROLE_VISITOR, "Visitor" },
};
static const int64_t users_options[] = { 10, 20, 30, 50, 100, 200, 500, 1000, 5000, 20000 };

#define AT(member)  offsetof(struct config, member)
#define ROOM(name) "muc#roomconfig_" name
static const struct field fields[] = {
	{ ROOM("roomname"), "Natural-Language Room Name", TEXT, AT(name), NULL, 0 },
	{ ROOM("roomdesc"), "Short Description of Room", TEXT, AT(desc), NULL, 0 },
	{ ROOM("lang"), "Natural Language for Room Discussions", LANG, AT(lang), NULL, 0 },
	{ ROOM("pubsub"), "XMPP URI of Associated Publish-Subscribe Node", TEXT, AT(pubsub), NULL,
	  0 },
	{ ROOM("enablelogging"), "Keep the Discussion in the Room's Archive?", BOOL, AT(is_logged),
	  NULL, NEEDS_ARCHIVE },
	{ ROOM("changesubject"), "Allow Occupants to Change Subject?", BOOL, AT(occupants_set_subject),
	  NULL, 0 },
	{ ROOM("allowinvites"), "Allow Members to Invite Others?", BOOL, AT(members_invite), NULL,
	  0 },
	{ ROOM("allowvisitornickchange"), "Allow Visitors to Change Their Nicknames?", BOOL,
	  AT(visitors_change_nick), NULL, 0 },
	{ ROOM("allowvisitorstatus"), "Allow Visitors to Send Status Texts?", BOOL,
	  AT(visitors_send_status), NULL, 0 },
	{ ROOM("allowpm"), "Who Can Send Private Messages?", CHOICE, AT(allow_pm), pm_words, 0 },
	{ ROOM("maxusers"), "Maximum Number of Occupants", USERS, AT(max_users), NULL, 0 },
	{ ROOM("presencebroadcast"), "Roles for which Presence is Broadcasted", ROLES,
	  AT(broadcast), NULL, 0 },
	{ ROOM("getmemberlist"), "Roles that May Retrieve Member List", ROLES, AT(get_members),
	  NULL, 0 },
	{ ROOM("publicroom"), "Make Room Publicly Searchable?", BOOL, AT(is_public), NULL, 0 },
	{ ROOM("persistentroom"), "Make Room Persistent?", BOOL, AT(is_persistent), NULL, 0 },
	{ ROOM("moderatedroom"), "Make Room Moderated?", BOOL, AT(is_moderated), NULL, 0 },
	{ ROOM("membersonly"), "Make Room Members-Only?", BOOL, AT(is_members_only), NULL, 0 },
	{ ROOM("passwordprotectedroom"), "Password Required to Enter?", PROTECTED, AT(password),
	  NULL, 0 },
	{ ROOM("roomsecret"), "Password", SECRET, AT(password), NULL, 0 },
	{ ROOM("whois"), "Who May Discover Real JIDs?", CHOICE, AT(whois), whois_words, 0 },
	{ "muc#maxhistoryfetch", "Maximum Number of History Messages Returned by Room", NUMBER,
	  AT(history), NULL, 0 },
	{ ROOM("slow_mode_duration"), "Slow Mode", NUMBER, AT(slow_mode_s), NULL, 0 },
};
#define FIELDS     (sizeof fields / sizeof *fields)
#define VAR_ADMINS ROOM("roomadmins")
#define VAR_OWNERS ROOM("roomowners")

static char **text_of(const struct config *c, const struct field *f)
{
	return (char **)((char *)(uintptr_t)c + f->offset);
}
static bool *bool_of(const struct config *c, const struct field *f)
{
	return (bool *)((char *)(uintptr_t)c + f->offset);
}
static int64_t *number_of(const struct config *c, const struct field *f)
{
	return (int64_t *)(void *)((char *)(uintptr_t)c + f->offset);
}
static uint8_t *byte_of(const struct config *c, const struct field *f)
{
	return (uint8_t *)((char *)(uintptr_t)c + f->offset);
}

static bool has_text(const struct field *f)
{
	return f->kind == TEXT || f->kind == LANG || f->kind == SECRET;
}

static void set_text(char **at, struct mk_str v)
{
	mk_free(*at);
	*at = v.n != 0 ? mk_strndup(v.p, v.n) : NULL;
}

/* ---- the struct -------------------------------------------------------------------------- */

void config_copy(struct config *to, const struct config *from)
{
	*to = *from;
	for (size_t k = 0; k < FIELDS; k++)
		if (has_text(&fields[k]) && *text_of(from, &fields[k]) != NULL)
			*text_of(to, &fields[k]) = mk_strdup(*text_of(from, &fields[k]));
}

void config_clear(struct config *c)
{
	for (size_t k = 0; k < FIELDS; k++)
		if (has_text(&fields[k]))
			set_text(text_of(c, &fields[k]), MK_STR_NONE);
}

static bool is_same(const struct config *a, const struct config *b, const struct field *f)
{
	switch (f->kind) {
	case TEXT: case LANG: case SECRET: case PROTECTED:
		return mk_streq(*text_of(a, f), *text_of(b, f));
	case BOOL:
		return *bool_of(a, f) == *bool_of(b, f);
	case USERS: case NUMBER:
		return *number_of(a, f) == *number_of(b, f);
	default:
		return *byte_of(a, f) == *byte_of(b, f);
	}
}

void config_changes(const struct config *from, const struct config *to, int codes_out[4])
{
	unsigned n = 0;

	if (from->is_logged != to->is_logged)
		codes_out[n++] = to->is_logged ? 170 : 171;
	if (from->whois != to->whois)
		codes_out[n++] = to->whois == WHOIS_ANYONE ? 172 : 173;
	for (size_t k = 0; k < FIELDS; k++)
		if (fields[k].offset != AT(is_logged) && fields[k].offset != AT(whois) &&
		    !is_same(from, to, &fields[k])) {
			codes_out[n++] = 104;
			break;
		}
	codes_out[n] = 0;
}

void form_jids_clear(struct form_jids *j)
{
	for (uint32_t k = 0; k < j->n; k++)
		mk_jid_unref(&j->v[k]);
	mk_free(j->v);
	*j = (struct form_jids){ 0 };
}

/* ---- forms in general -------------------------------------------------------------------- */

struct mk_elem *form_field(struct mk_elem *x, const char *var, const char *type,
	const char *label, const char *value)
{
	struct mk_elem *e = mk_elem_add(x, "field", NS_DATA);

	mk_elem_set(e, "var", var);
	mk_elem_set(e, "type", type);
	mk_elem_set(e, "label", label);
	if (value != NULL)
		mk_elem_add_text(e, "value", NS_DATA, mk_strz(value));
	return e;
}

static const struct mk_elem *find(const struct mk_elem *x, const char *var)
{
	for (const struct mk_elem *e = mk_elem_first(x); e != NULL; e = mk_elem_next(e))
		if (mk_elem_is(e, "field", NS_DATA) && mk_streq(mk_elem_attr(e, "var"), var))
			return e;
	return NULL;
}

struct mk_str form_value(const struct mk_elem *x, const char *var)
{
	const struct mk_elem *e = find(x, var);

	return e != NULL ? mk_elem_child_text(e, "value", NS_DATA) : MK_STR_NONE;
}

bool form_is(const struct mk_elem *x, const char *type)
{
	return mk_str_eqz(form_value(x, "FORM_TYPE"), type);
}

bool form_bool(struct mk_str v, bool *ok)
{
	bool is_true = mk_str_eqz(v, "1") || mk_str_eqz(v, "true");

	*ok = is_true || mk_str_eqz(v, "0") || mk_str_eqz(v, "false");
	return is_true;
}

/* ---- the form that is shown --------------------------------------------------------------- */

static void add_option(struct mk_elem *field, const char *label, const char *value)
{
	struct mk_elem *o = mk_elem_add(field, "option", NS_DATA);

	mk_elem_set(o, "label", label);
	mk_elem_add_text(o, "value", NS_DATA, mk_strz(value));
}

static void add_value(struct mk_elem *field, const char *value)
{
	mk_elem_add_text(field, "value", NS_DATA, mk_strz(value));
}

static const char *users_text(char out[24], int64_t n)
{
	if (n == 0)
		return "none";
	snprintf(out, 24, "%lld", (long long)n);
	return out;
}

static void build_users(struct mk_elem *x, const struct field *f, int64_t now, int64_t most)
{
	char text[24];
	struct mk_elem *e = form_field(x, f->var, "list-single", f->label, users_text(text, now));
	bool is_listed = now == 0;

	for (size_t k = 0; k < sizeof users_options / sizeof *users_options; k++) {
		/* What is set is among the options, in its place. */
		if (!is_listed && now <= users_options[k]) {
			users_text(text, now);
			add_option(e, text, text);
			is_listed = true;
			if (now == users_options[k])
				continue;
		}
		if (most == 0 || users_options[k] <= most) {
			users_text(text, users_options[k]);
			add_option(e, text, text);
		}
	}
	if (!is_listed) {
		users_text(text, now);
		add_option(e, text, text);
	}
	add_option(e, "None", "none");
}

static void build_field(struct mk_elem *x, const struct field *f, const struct config *c)
{
	char text[24];
	struct mk_elem *e;

	switch (f->kind) {
	case TEXT: case LANG:
		form_field(x, f->var, "text-single", f->label, *text_of(c, f));
		break;
	case SECRET:
		form_field(x, f->var, "text-private", f->label, *text_of(c, f));
		break;
	case PROTECTED:
		form_field(x, f->var, "boolean", f->label, *text_of(c, f) != NULL ? "1" : "0");
		e = mk_elem_add(x, "field", NS_DATA);
		mk_elem_set(e, "type", "fixed");
		add_value(e, "If a password is required to enter this room, you must specify the "
			"password below.");
		break;
	case BOOL:
		form_field(x, f->var, "boolean", f->label, *bool_of(c, f) ? "1" : "0");
		break;
	case NUMBER:
		snprintf(text, sizeof text, "%lld", (long long)*number_of(c, f));
		e = form_field(x, f->var, "text-single", f->label, text);
		if (f->offset == AT(slow_mode_s)) {      /* XEP-0500 4.1          */
			struct mk_elem *v = mk_elem_add(e, "validate", NS_VALIDATE);
			mk_elem_set(v, "datatype", "xs:integer");
			v = mk_elem_add(v, "range", NS_VALIDATE);
			mk_elem_set(v, "min", "0");
			mk_elem_setf(v, "max", "%d", SLOW_MAX);
			mk_elem_add_text(e, "desc", NS_DATA,
				MK_STR("Seconds between two messages of one user; 0 is off."));
		}
		break;
	case CHOICE:
		e = form_field(x, f->var, "list-single", f->label,
			f->words[*byte_of(c, f)].word);
		for (const struct word *w = f->words; w->word != NULL; w++)
			add_option(e, w->label, w->word);
		break;
	case ROLES:
		e = form_field(x, f->var, "list-multi", f->label, NULL);
		for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
			if (*byte_of(c, f) & ROLE_BIT(roles[k].role))
				add_value(e, role_name(roles[k].role));
		for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
			add_option(e, roles[k].label, role_name(roles[k].role));
		break;
	case USERS:
		break;
	}
}

static void build_jids(struct mk_elem *x, const char *var, const char *label,
	const char *explained, const struct form_jids *j)
{
	struct mk_elem *e = mk_elem_add(x, "field", NS_DATA);

	mk_elem_set(e, "type", "fixed");
	add_value(e, explained);
	e = form_field(x, var, "jid-multi", label, NULL);
	for (uint32_t k = 0; k < j->n; k++)
		add_value(e, mk_jid_full(j->v[k]));
}

struct mk_elem *form_build(struct mk_elem *parent, const char *room, const struct config *c,
	const struct config_limits *l, const struct form_jids *admins,
	const struct form_jids *owners)
{
	struct mk_elem *x = mk_elem_add(parent, "x", NS_DATA), *title;

	mk_elem_set(x, "type", "form");
	title = mk_elem_add(x, "title", NS_DATA);
	mk_elem_text_add(title, MK_STR("Configuration for \""));
	mk_elem_text_add(title, mk_strz(room));
	mk_elem_text_add(title, MK_STR("\" Room"));
	mk_elem_add_text(x, "instructions", NS_DATA,
		MK_STR("Complete this form to modify the configuration of your room."));
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_CONFIG);
	for (size_t k = 0; k < FIELDS; k++) {
		const struct field *f = &fields[k];
		if ((f->flags & NEEDS_ARCHIVE) && !l->has_archive)
			continue;
		if (f->kind == USERS)
			build_users(x, f, *number_of(c, f), l->max_users);
		else
			build_field(x, f, c);
	}
	build_jids(x, VAR_ADMINS, "Room Admins", "You may specify additional people who have admin "
		"status in the room. Please provide one Jabber ID per line.", admins);
	build_jids(x, VAR_OWNERS, "Room Owners", "You may specify additional owners for this room. "
		"Please provide one Jabber ID per line.", owners);
	return x;
}

/* ---- the form that comes back ---------------------------------------------------------------- */

static bool is_lang(struct mk_str v)
{
	for (size_t k = 0; k < v.n; k++)
		if (!isalnum((unsigned char)v.p[k]) && v.p[k] != '-')
			return false;
	return true;
}

static const char *apply_roles(const struct mk_elem *e, uint8_t *out)
{
	uint8_t bits = 0;
	enum role r;

	for (const struct mk_elem *v = mk_elem_first(e); v != NULL; v = mk_elem_next(v)) {
		if (!mk_elem_is(v, "value", NS_DATA))
			continue;
		struct mk_str s = mk_elem_text(v);
		if (s.n == 0 || mk_str_eqz(s, "none"))
			continue;
		if (!role_parse(s.p, &r) || r == ROLE_NONE)
			return "a role is moderator, participant or visitor";
		bits |= (uint8_t)ROLE_BIT(r);
	}
	*out = bits;
	return NULL;
}

static size_t longest(const struct field *f, const struct config_limits *l)
{
	switch (f->offset) {
	case AT(name): return (size_t)l->max_name;
	case AT(desc): return (size_t)l->max_desc;
	case AT(password): return (size_t)l->max_password;
	case AT(lang): return 35;
	default: return 1024;
	}
}

static const char *apply_number(struct mk_str v, int64_t min, int64_t max, int64_t *out)
{
	return mk_parse_int(v, min, max, out) < 0 ? "a number is not in its range" : NULL;
}

/* What is wrong with it, or NULL. */
static const char *apply_field(const struct field *f, const struct mk_elem *e,
	const struct config_limits *l, struct config *c)
{
	struct mk_str v = mk_elem_child_text(e, "value", NS_DATA);
	bool ok;

	switch (f->kind) {
	case TEXT: case LANG: case SECRET:
		if (v.n > longest(f, l))
			return "a text is too long";
		if (f->kind == LANG && !is_lang(v))
			return "the language is not one";
		set_text(text_of(c, f), v);
		return NULL;
	case BOOL:
		*bool_of(c, f) = form_bool(v, &ok);
		return ok ? NULL : "a value is no boolean";
	case USERS:
		if (v.n != 0 && !mk_str_eqz(v, "none") && !mk_str_eqz(v, "0"))
			return apply_number(v, 1, l->max_users != 0 ? l->max_users : INT32_MAX,
				number_of(c, f));
		*number_of(c, f) = 0;
		return NULL;
	case NUMBER:
		return apply_number(v, 0, f->offset == AT(history) ? l->max_history : SLOW_MAX,
			number_of(c, f));
	case CHOICE:
		for (uint8_t k = 0; f->words[k].word != NULL; k++)
			if (mk_str_eqz(v, f->words[k].word)) {
				*byte_of(c, f) = k;
				return NULL;
			}
		return "a choice is none of those offered";
	case ROLES:
		return apply_roles(e, byte_of(c, f));
	case PROTECTED:
		break;
	}
	return NULL;
}

static uint16_t apply_jids(const struct mk_elem *e, struct form_jids *out)
{
	uint32_t most = 0;

	out->is_given = true;
	for (const struct mk_elem *v = mk_elem_first(e); v != NULL; v = mk_elem_next(v))
		most += mk_elem_is(v, "value", NS_DATA);
	if (most > JIDS_MAX)
		return MK_ERR_RESOURCE_CONSTRAINT;
	out->v = mk_alloc((most != 0 ? most : 1) * sizeof(struct mk_jid *));
	for (const struct mk_elem *v = mk_elem_first(e); v != NULL; v = mk_elem_next(v)) {
		struct mk_jid *j = NULL;
		if (!mk_elem_is(v, "value", NS_DATA) || mk_elem_text(v).n == 0)
			continue;
		if (mk_jid_parse(mk_elem_text(v), &j) < 0)
			return MK_ERR_JID_MALFORMED;
		out->v[out->n++] = mk_jid_to_bare(j);
		mk_jid_unref(&j);
	}
	return 0;
}

/* The boolean and the secret are two fields of one thing. */
static const char *apply_protection(const struct mk_elem *x, bool was_protected, struct config *c)
{
	bool has_secret = find(x, ROOM("roomsecret")) != NULL, ok = true, is_protected;
	const struct mk_elem *e = find(x, ROOM("passwordprotectedroom"));

	is_protected = e != NULL ? form_bool(mk_elem_child_text(e, "value", NS_DATA), &ok)
	                         : was_protected || (has_secret && c->password != NULL);
	if (!ok)
		return "a value is no boolean";
	if (is_protected && c->password == NULL)
		return "a room that needs a password needs one";
	if (!is_protected)
		set_text(&c->password, MK_STR_NONE);
	return NULL;
}

uint16_t form_apply(const struct mk_elem *x, const struct config_limits *l,
	struct config *c, struct form_jids *admins, struct form_jids *owners,
	const char **text_out)
{
	bool was_protected = c->password != NULL;
	const struct mk_elem *e;
	uint16_t error = 0;

	if (find(x, "FORM_TYPE") != NULL && !form_is(x, FORM_CONFIG)) {
		*text_out = "that is not the form of a room's configuration";
		return MK_ERR_BAD_REQUEST;
	}
	for (size_t k = 0; k < FIELDS; k++) {
		const struct field *f = &fields[k];
		e = find(x, f->var);
		if (e == NULL || ((f->flags & NEEDS_ARCHIVE) && !l->has_archive))
			continue;
		*text_out = apply_field(f, e, l, c);
		if (*text_out != NULL)
			return MK_ERR_NOT_ACCEPTABLE;
	}
	*text_out = apply_protection(x, was_protected, c);
	if (*text_out != NULL)
		return MK_ERR_NOT_ACCEPTABLE;
	e = find(x, VAR_ADMINS);
	if (e != NULL)
		error = apply_jids(e, admins);
	e = find(x, VAR_OWNERS);
	if (error == 0 && e != NULL)
		error = apply_jids(e, owners);
	if (error != 0)
		*text_out = "the lists of admins and owners are of addresses";
	return error;
}
