/*
 * muc/store.c - rooms in storage: reading one, writing what is to last
 *
 * Two tables whose partition is the domain, so that a room and its affiliations
 * change in one transaction, and rooms are listed by name. What is to be is made
 * on the worker (room_change), written by a job in which the room is held, and then
 * taken over into memory: memory never knows more than storage. Rooms that are not
 * persistent have no rows; one that becomes persistent is written whole.
 */
#include "room.h"


enum { R_DOMAIN, R_ROOM, R_NAME, R_DESC, R_LANG, R_PUBSUB, R_PASSWORD, R_MAX_USERS, R_HISTORY,
	R_SLOW, R_PUBLIC, R_MEMBERS_ONLY, R_MODERATED, R_LOGGED, R_SUBJECT_BY_ALL, R_INVITE,
	R_VISITOR_NICK, R_VISITOR_STATUS, R_ALLOW_PM, R_WHOIS, R_BROADCAST, R_GET_MEMBERS,
	R_SUBJECT, R_SUBJECT_NICK, R_SUBJECT_TIME, R_SECRET, R_HATS, R_VERSION,
	R_COLUMNS };
static const struct mk_column room_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "room", MK_TEXT, MK_COL_SORT },          /* bare JID                  */
	{ "name", MK_TEXT, MK_COL_NULL },
	{ "description", MK_TEXT, MK_COL_NULL },
	{ "lang", MK_TEXT, MK_COL_NULL },
	{ "pubsub", MK_TEXT, MK_COL_NULL },
	{ "password", MK_TEXT, MK_COL_NULL },
	{ "max_users", MK_INT, 0 },                /* 0 = the service's         */
	{ "history", MK_INT, 0 },
	{ "slow_mode", MK_INT, 0 },                /* seconds                   */
	{ "is_public", MK_INT, MK_COL_INDEX },
	{ "members_only", MK_INT, 0 },
	{ "moderated", MK_INT, 0 },
	{ "logged", MK_INT, 0 },
	{ "occupants_set_subject", MK_INT, 0 },
	{ "members_invite", MK_INT, 0 },
	{ "visitors_change_nick", MK_INT, 0 },
	{ "visitors_send_status", MK_INT, 0 },
	{ "allow_pm", MK_INT, 0 },                 /* enum allow_pm             */
	{ "whois", MK_INT, 0 },                    /* enum whois                */
	{ "broadcast", MK_INT, 0 },                /* ROLE_BITs                 */
	{ "get_members", MK_INT, 0 },              /* ROLE_BITs                 */
	{ "subject", MK_TEXT, MK_COL_NULL },
	{ "subject_nick", MK_TEXT, MK_COL_NULL },
	{ "subject_time", MK_INT, 0 },             /* ms since 1970             */
	{ "secret", MK_BLOB, 0 },                  /* of occupant ids           */
	{ "hats", MK_TEXT, MK_COL_NULL },          /* as hats_write has them    */
	{ "affiliations", MK_INT, 0 },             /* their version             */
	{ 0 }
};
static const struct mk_table room_table = {
	.size = sizeof room_table, .version = 1, .name = "muc_room", .columns = room_columns,
};

enum { A_DOMAIN, A_ROOM, A_JID, A_USER, A_AFFILIATION, A_NICK, A_REASON, A_COLUMNS };
static const struct mk_column affil_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "room", MK_TEXT, MK_COL_SORT },
	{ "jid", MK_TEXT, MK_COL_SORT },           /* bare, or a domain         */
	{ "user", MK_TEXT, MK_COL_INDEX },         /* the same, to look for     */
	{ "affiliation", MK_INT, MK_COL_INDEX },   /* enum affil                */
	{ "nick", MK_TEXT, MK_COL_NULL },          /* reserved                  */
	{ "reason", MK_TEXT, MK_COL_NULL },
	{ 0 }
};
static const struct mk_table affil_table = {
	.size = sizeof affil_table, .version = 1, .name = "muc_affiliation",
	.columns = affil_columns, .user = "user",
};
enum { V_DOMAIN, V_ROOM, V_VCARD, V_AVATAR, V_COLUMNS };
static const struct mk_column vcard_columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "room", MK_TEXT, MK_COL_SORT },
	{ "vcard", MK_TEXT, 0 },
	{ "avatar", MK_TEXT, 0 },                  /* SHA-1 of photos, a line each */
	{ 0 }
};
static const struct mk_table vcard_table = {
	.size = sizeof vcard_table, .version = 1, .name = "muc_vcard", .columns = vcard_columns,
};
const struct mk_table *const muc_tables[] = { &room_table, &affil_table, &vcard_table, NULL };

enum { MOST_WRITES = 9000, PAGE = 1000 };
#define TOO_MANY "You own as many rooms as you may."

static int failure(enum mk_store_status s)
{
	return s == MK_STORE_RETRY ? -MK_EAGAIN : -MK_EIO;
}

/* ---- rows ---------------------------------------------------------------------------- */

static struct mk_value text_or_none(const char *z)
{
	return z != NULL ? mk_textz(z) : mk_absent();
}

static char *text_of(const struct mk_value *v)
{
	struct mk_str s = mk_value_str(v);
	return v->type == 0 ? NULL : mk_strndup(s.p, s.n);
}

static void row_of(struct mk_arena *a, struct mk_value *v, const struct room *r,
	const struct config *c)
{
	struct mk_str hats = hats_write(a, r->hats);

	v[R_DOMAIN] = mk_text(r->domain);
	v[R_ROOM] = mk_textz(mk_jid_full(r->jid));
	v[R_NAME] = text_or_none(c->name);
	v[R_DESC] = text_or_none(c->desc);
	v[R_LANG] = text_or_none(c->lang);
	v[R_PUBSUB] = text_or_none(c->pubsub);
	v[R_PASSWORD] = text_or_none(c->password);
	v[R_MAX_USERS] = mk_int(c->max_users);
	v[R_HISTORY] = mk_int(c->history);
	v[R_SLOW] = mk_int(c->slow_mode_s);
	v[R_PUBLIC] = mk_int(c->is_public);
	v[R_MEMBERS_ONLY] = mk_int(c->is_members_only);
	v[R_MODERATED] = mk_int(c->is_moderated);
	v[R_LOGGED] = mk_int(c->is_logged);
	v[R_SUBJECT_BY_ALL] = mk_int(c->occupants_set_subject);
	v[R_INVITE] = mk_int(c->members_invite);
	v[R_VISITOR_NICK] = mk_int(c->visitors_change_nick);
	v[R_VISITOR_STATUS] = mk_int(c->visitors_send_status);
	v[R_ALLOW_PM] = mk_int(c->allow_pm);
	v[R_WHOIS] = mk_int(c->whois);
	v[R_BROADCAST] = mk_int(c->broadcast);
	v[R_GET_MEMBERS] = mk_int(c->get_members);
	v[R_SUBJECT] = text_or_none(r->subject);
	v[R_SUBJECT_NICK] = text_or_none(r->subject_nick);
	v[R_SUBJECT_TIME] = mk_int(r->subject_ms);
	v[R_SECRET] = mk_blob(r->secret, sizeof r->secret);
	v[R_HATS] = hats.n != 0 ? mk_text(hats) : mk_absent();
	v[R_VERSION] = mk_int(r->affil_version);
}

static void config_of(struct config *c, const struct mk_value *v)
{
	*c = (struct config){
		.name = text_of(&v[R_NAME]), .desc = text_of(&v[R_DESC]), .lang = text_of(&v[R_LANG]),
		.pubsub = text_of(&v[R_PUBSUB]), .password = text_of(&v[R_PASSWORD]),
		.max_users = v[R_MAX_USERS].as.i, .history = v[R_HISTORY].as.i,
		.slow_mode_s = v[R_SLOW].as.i, .is_persistent = true,
		.is_public = v[R_PUBLIC].as.i != 0, .is_members_only = v[R_MEMBERS_ONLY].as.i != 0,
		.is_moderated = v[R_MODERATED].as.i != 0, .is_logged = v[R_LOGGED].as.i != 0,
		.occupants_set_subject = v[R_SUBJECT_BY_ALL].as.i != 0,
		.members_invite = v[R_INVITE].as.i != 0,
		.visitors_change_nick = v[R_VISITOR_NICK].as.i != 0,
		.visitors_send_status = v[R_VISITOR_STATUS].as.i != 0,
		.allow_pm = (uint8_t)v[R_ALLOW_PM].as.i, .whois = (uint8_t)v[R_WHOIS].as.i,
		.broadcast = (uint8_t)v[R_BROADCAST].as.i,
		.get_members = (uint8_t)v[R_GET_MEMBERS].as.i,
	};
}

static struct mk_str value_text(const struct mk_value *v)
{
	return v->type != 0 ? mk_value_str(v) : MK_STR_NONE;
}

/* ---- reading one --------------------------------------------------------------------- */

struct loaded_affil { struct mk_jid *jid; char *nick, *reason; uint8_t affil; };
struct loaded {
	struct mk_jid *jid;            /* ref                                   */
	char *domain;
	bool is_found;
	struct config conf;
	char *subject, *subject_nick, *vcard, *avatar;
	int64_t subject_ms;
	uint8_t secret[32];
	struct hats *hats;
	int64_t affil_version;
	struct loaded_affil *affils;
	uint32_t n, size;
	struct recalled *history;      /* refs; oldest first                    */
	uint32_t history_n;
};

struct loaded *load_new(const struct mk_jid *room)
{
	struct loaded *l = mk_alloc(sizeof *l);
	struct mk_str domain = mk_claim_domain(room);

	l->jid = mk_jid_to_bare(room);
	l->domain = mk_strndup(domain.p != NULL ? domain.p : "", domain.n);
	return l;
}

void load_free(struct loaded **lp)
{
	struct loaded *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	config_clear(&l->conf);
	for (uint32_t k = 0; k < l->n; k++) {
		mk_jid_unref(&l->affils[k].jid);
		mk_free(l->affils[k].nick);
		mk_free(l->affils[k].reason);
	}
	for (uint32_t k = 0; k < l->history_n; k++)
		mk_stanza_unref(&l->history[k].stanza);
	mk_free(l->history);
	mk_free(l->affils);
	mk_free(l->subject);
	mk_free(l->subject_nick);
	hats_free(&l->hats);
	mk_free(l->vcard);
	mk_free(l->avatar);
	mk_free(l->domain);
	mk_jid_unref(&l->jid);
	mk_free(l);
}

static void load_affil(struct loaded *l, struct mk_inst *i, const struct mk_value *v)
{
	struct loaded_affil *a;
	struct mk_jid *jid = NULL;

	if (mk_jid_parse(mk_value_str(&v[A_JID]), &jid) < 0) {
		mk_log(i, MK_ERROR, "stored affiliation is of no address", "room=%s",
			mk_jid_full(l->jid));
		return;
	}
	if (l->n == l->size) {
		l->size += l->size / 2 + 8;
		l->affils = mk_realloc(l->affils, l->size * sizeof *l->affils);
	}
	a = &l->affils[l->n++];
	*a = (struct loaded_affil){ jid, text_of(&v[A_NICK]), text_of(&v[A_REASON]),
		(uint8_t)v[A_AFFILIATION].as.i };
}

/* Rows of a room lie between these two keys: no address has a control character. */
static struct mk_str behind(struct mk_arena *a, struct mk_str room)
{
	return mk_strz(mk_arena_printf(a, "%.*s\x01", (int)room.n, room.p));
}

static int load_affils(struct loaded *l, struct mk_inst *i, struct mk_store *st)
{
	struct mk_str room = mk_strz(mk_jid_full(l->jid));
	struct mk_value key = mk_textz(l->domain);
	struct mk_value after[2] = { mk_text(room), mk_textz("") };
	const struct mk_value before[2] = { mk_text(behind(mk_store_arena(st), room)),
		mk_textz("") };
	struct mk_range range = { .size = sizeof range, .limit = PAGE, .after = after,
		.before = before };
	struct mk_rows rows = { NULL, 0, true };

	while (rows.more) {
		enum mk_store_status s = mk_query(st, &affil_table, &key, &range, &rows);
		if (s == MK_STORE_NOTFOUND)
			return 0;
		if (s != MK_STORE_OK)
			return failure(s);
		for (uint32_t k = 0; k < rows.n; k++)
			load_affil(l, i, rows.row[k].v);
		if (rows.n == 0)
			return 0;
		after[1] = rows.row[rows.n - 1].v[A_JID];
	}
	return 0;
}

int load_read(struct loaded *l, struct mk_inst *i, struct mk_store *st)
{
	const struct mk_value key[2] = { mk_textz(l->domain), mk_textz(mk_jid_full(l->jid)) };
	enum mk_store_status s;
	struct mk_row row;
	struct mk_str secret;

	s = mk_get(st, &room_table, key, &row);
	if (s == MK_STORE_NOTFOUND)
		return 0;
	if (s != MK_STORE_OK)
		return failure(s);
	config_of(&l->conf, row.v);
	l->subject = text_of(&row.v[R_SUBJECT]);
	l->subject_nick = text_of(&row.v[R_SUBJECT_NICK]);
	l->subject_ms = row.v[R_SUBJECT_TIME].as.i;
	l->hats = hats_read(value_text(&row.v[R_HATS]));
	l->affil_version = row.v[R_VERSION].as.i;
	secret = mk_value_str(&row.v[R_SECRET]);
	if (secret.n == sizeof l->secret)
		memcpy(l->secret, secret.p, secret.n);
	s = mk_get(st, &vcard_table, key, &row);
	if (s == MK_STORE_OK) {
		l->vcard = text_of(&row.v[V_VCARD]);
		l->avatar = text_of(&row.v[V_AVATAR]);
	} else if (s != MK_STORE_NOTFOUND) {
		return failure(s);
	}
	l->is_found = true;
	if (l->conf.is_logged) {
		int err = archive_recent(i, st, l->jid, (uint32_t)l->conf.history, &l->history,
			&l->history_n);
		if (err < 0)
			return err;
	}
	return load_affils(l, i, st);
}

struct room *load_open(struct loaded **lp, struct mk_inst *i, struct mk_entity *e)
{
	struct loaded *l = *lp;
	struct room *r = NULL;

	if (l->is_found) {
		r = room_open(i, e);
		config_clear(&r->conf);
		r->conf = l->conf;
		l->conf = (struct config){ 0 };
		r->is_stored = true;
		r->subject = l->subject;
		r->subject_nick = l->subject_nick;
		r->vcard = l->vcard;
		r->avatar = l->avatar;
		l->subject = l->subject_nick = l->vcard = l->avatar = NULL;
		r->subject_ms = l->subject_ms;
		r->hats = l->hats;
		l->hats = NULL;
		r->affil_version = l->affil_version;
		memcpy(r->secret, l->secret, sizeof r->secret);
		for (uint32_t k = 0; k < l->n; k++)
			room_set_affil(r, l->affils[k].jid, (enum affil)l->affils[k].affil,
				l->affils[k].nick, l->affils[k].reason);
		for (uint32_t k = 0; k < l->history_n; k++)
			history_add(r, l->history[k].stanza, l->history[k].time_ms);
		mk_metric_add(i, LOADED, 1);
		room_check(r);
	}
	load_free(lp);
	return r;
}

/* ---- lists --------------------------------------------------------------------------- */

/* equals takes a value for each column. */
static const struct mk_value *equal_to(struct mk_arena *a, uint32_t columns, uint32_t at,
	struct mk_value v)
{
	struct mk_value *all = mk_arena_alloc(a, columns * sizeof *all);

	all[at] = v;
	return all;
}

int store_list(struct mk_store *st, struct mk_str domain, struct mk_str after,
	struct mk_str before, bool backward, bool hidden_too, uint32_t limit,
	struct stored_room **out, uint32_t *n_out)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_value key = mk_text(domain), low = mk_text(after), high = mk_text(before);
	struct mk_range range = { .size = sizeof range, .limit = limit, .backward = backward,
		.after = after.n != 0 ? &low : NULL, .before = before.n != 0 ? &high : NULL,
		.equals = hidden_too ? NULL : equal_to(a, R_COLUMNS, R_PUBLIC, mk_int(1)) };
	struct mk_rows rows;
	enum mk_store_status s = mk_query(st, &room_table, &key, &range, &rows);

	*out = NULL;
	*n_out = 0;
	if (s == MK_STORE_NOTFOUND)
		return 0;
	if (s != MK_STORE_OK)
		return failure(s);
	*out = mk_arena_alloc(a, (rows.n + 1) * sizeof **out);
	for (uint32_t k = 0; k < rows.n; k++)
		(*out)[k] = (struct stored_room){ mk_value_str(&rows.row[k].v[R_ROOM]),
			value_text(&rows.row[k].v[R_NAME]), rows.row[k].v[R_PUBLIC].as.i != 0, true };
	*n_out = rows.n;
	return 0;
}

int store_count(struct mk_store *st, struct mk_str domain, struct mk_str before, uint64_t *out)
{
	struct mk_value key = mk_text(domain), high = mk_text(before);
	struct mk_range all = { .size = sizeof all, .before = before.n != 0 ? &high : NULL,
		.equals = equal_to(mk_store_arena(st), R_COLUMNS, R_PUBLIC, mk_int(1)) };
	enum mk_store_status s = mk_count_rows(st, &room_table, &key, &all, out);

	if (s == MK_STORE_NOTFOUND)
		*out = 0;
	return s == MK_STORE_OK || s == MK_STORE_NOTFOUND ? 0 : failure(s);
}

int store_owned(struct mk_store *st, const struct mk_jid *room, const struct mk_jid *jid,
	uint64_t *out)
{
	struct mk_value *equals = mk_arena_alloc(mk_store_arena(st), A_COLUMNS * sizeof *equals);
	struct mk_value key = mk_text(mk_claim_domain(room));
	struct mk_range range = { .size = sizeof range, .equals = equals };
	enum mk_store_status s;

	equals[A_USER] = mk_text(mk_jid_bare(jid));
	equals[A_AFFILIATION] = mk_int(AFFIL_OWNER);
	s = mk_count_rows(st, &affil_table, &key, &range, out);
	if (s == MK_STORE_NOTFOUND)
		*out = 0;
	return s == MK_STORE_OK || s == MK_STORE_NOTFOUND ? 0 : failure(s);
}

/* ---- an account that is no more ------------------------------------------------------ */

/* The rows go with the user (mk_table.user); what is in memory goes as well: who takes the
 * name next is somebody else. */
static void forget(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *bare, void *data)
{
	struct mk_jid *user = data;
	struct room *r = room_peek(e);

	(void)i;
	(void)bare;
	if (r != NULL)
		room_set_affil(r, user, AFFIL_NONE, NULL, NULL);
	mk_jid_unref(&user);
}

static void drop_jid(void *data)
{
	struct mk_jid *user = data;
	mk_jid_unref(&user);
}

void affils_removed(struct mk_inst *i, const struct mk_ev_account *ev, struct mk_store *st)
{
	struct mk_value key = mk_text(mk_jid_domain(ev->jid));
	struct mk_range range = { .size = sizeof range, .limit = PAGE,
		.equals = equal_to(mk_store_arena(st), A_COLUMNS, A_USER,
			mk_text(mk_jid_bare(ev->jid))) };
	struct mk_rows rows = { NULL, 0, true };
	enum mk_store_status s = MK_STORE_OK;

	while (rows.more && s == MK_STORE_OK) {
		s = mk_query(st, &affil_table, &key, &range, &rows);
		for (uint32_t k = 0; s == MK_STORE_OK && k < rows.n; k++) {
			struct mk_jid *room = NULL;
			if (mk_jid_parse(mk_value_str(&rows.row[k].v[A_ROOM]), &room) == 0)
				mk_entity_post(i, room, forget, mk_jid_ref(ev->jid), drop_jid);
			mk_jid_unref(&room);
		}
		if (s == MK_STORE_OK && rows.n != 0)
			range.after = &rows.row[rows.n - 1].v[A_ROOM];
		else
			break;
	}
	if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
		mk_log(i, MK_WARN, "rooms may know a removed account until they are read again",
			"user=%s", mk_jid_full(ev->jid));
}

/* ---- changes ------------------------------------------------------------------------- */

struct room_change *room_change_new(const struct room *r)
{
	struct mk_arena *a = mk_arena_new();
	struct room_change *c = mk_arena_alloc(a, sizeof *c);

	(void)r;
	c->arena = a;
	c->time_ms = mk_wall_ms();
	return c;
}

void room_change_free(struct room_change **cp)
{
	struct room_change *c = *cp;
	struct mk_arena *a;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->conf != NULL)
		config_clear(c->conf);
	for (struct affil_change *f = c->affils; f != NULL; f = f->next)
		mk_jid_unref(&f->jid);
	a = c->arena;
	mk_arena_free(&a);
}

struct config *room_change_conf(struct room_change *c, const struct room *r)
{
	if (c->conf == NULL) {
		c->conf = mk_arena_alloc(c->arena, sizeof *c->conf);
		config_copy(c->conf, &r->conf);
	}
	return c->conf;
}

static const char *copy_text(struct mk_arena *a, const char *z)
{
	return z != NULL ? mk_arena_strdup(a, z) : NULL;
}

void room_change_affil(struct room_change *c, const struct room *r, const struct mk_jid *jid,
	enum affil a, const char *nick, const char *reason)
{
	struct affil_change *f = mk_arena_alloc(c->arena, sizeof *f), **end = &c->affils;
	const struct affil_entry *now = room_affil_entry(r, jid);

	if (now != NULL && !mk_str_eq(mk_jid_bare(now->jid), mk_jid_bare(jid)))
		now = NULL;            /* the domain's                              */
	f->jid = mk_jid_to_bare(jid);
	f->affil = (uint8_t)a;
	f->was = now != NULL ? now->affil : (uint8_t)AFFIL_NONE;
	if (nick == NULL)
		nick = now != NULL && a >= AFFIL_MEMBER ? now->nick : NULL;
	f->nick = nick != NULL && *nick != '\0' ? copy_text(c->arena, nick) : NULL;
	f->reason = copy_text(c->arena, reason);
	f->since = r->affil_version;
	for (; *end != NULL; end = &(*end)->next)
		f->since = (*end)->until;
	f->until = mav_new_version();
	*end = f;
}

/* Everything that a job needs; the room is held, and stays as it is. */
struct work {
	struct room *room;
	struct room_change *change;
	struct mk_entity *entity;
	bool is_run;
	int err;
	room_iq_done_fn *iq_done;
	room_ev_done_fn *ev_done;
};

static bool lasts(const struct room *r, const struct room_change *c)
{
	return c->conf != NULL ? c->conf->is_persistent : r->conf.is_persistent;
}

/* Roles are not stored: a request may come to nothing that is. */
static bool is_nothing(const struct room_change *c)
{
	return c->conf == NULL && c->affils == NULL && !c->sets_subject && !c->sets_hats &&
	       !c->unlocks && !c->is_destroyed;
}

/* A locked room is none yet: it is written when it is unlocked. */
static bool must_write(const struct room *r, const struct room_change *c)
{
	if (r->is_stored)
		return true;
	return !c->is_destroyed && lasts(r, c) && (!r->is_locked || c->unlocks);
}

struct batch { struct mk_write *w; uint32_t n, size; struct mk_arena *arena; };

static struct mk_value *batch_row(struct batch *b, uint32_t op, const struct mk_table *t,
	uint32_t columns)
{
	struct mk_value *row = mk_arena_alloc(b->arena, columns * sizeof *row);

	b->w[b->n++] = (struct mk_write){ op, t, row, MK_ANY };
	return row;
}

static void batch_affil(struct batch *b, const struct room *r, const struct mk_jid *jid,
	uint8_t affil, const char *nick, const char *reason)
{
	bool is_row = affil != AFFIL_NONE || nick != NULL;
	struct mk_value *v = batch_row(b, is_row ? MK_WRITE_PUT : MK_WRITE_DELETE, &affil_table,
		A_COLUMNS);

	v[A_DOMAIN] = mk_text(r->domain);
	v[A_ROOM] = mk_textz(mk_jid_full(r->jid));
	v[A_JID] = v[A_USER] = mk_text(mk_jid_bare(jid));
	v[A_AFFILIATION] = mk_int(affil);
	v[A_NICK] = text_or_none(nick);
	v[A_REASON] = text_or_none(reason);
}

static void batch_vcard(struct batch *b, const struct room *r, const char *vcard,
	const char *avatar)
{
	struct mk_value *v = batch_row(b, vcard != NULL ? MK_WRITE_PUT : MK_WRITE_DELETE,
		&vcard_table, V_COLUMNS);

	v[V_DOMAIN] = mk_text(r->domain);
	v[V_ROOM] = mk_textz(mk_jid_full(r->jid));
	v[V_VCARD] = mk_textz(vcard != NULL ? vcard : "");
	v[V_AVATAR] = mk_textz(avatar != NULL ? avatar : "");
}

struct all { struct batch *b; const struct room *r; };

static void batch_one(struct affil_entry *e, void *arg)
{
	struct all *x = arg;
	batch_affil(x->b, x->r, e->jid, e->affil, e->nick, e->reason);
}

static int erase(struct mk_store *st, const struct room *r)
{
	struct mk_str room = mk_strz(mk_jid_full(r->jid));
	struct mk_value key = mk_text(r->domain);
	const struct mk_value after[2] = { mk_text(room), mk_textz("") };
	const struct mk_value before[2] = { mk_text(behind(mk_store_arena(st), room)),
		mk_textz("") };
	struct mk_range range = { .size = sizeof range, .after = after, .before = before };
	const struct mk_value row[2] = { key, mk_text(room) };
	uint64_t n;
	/* The room first: what is left over belongs to nobody, and goes when one of that
	 * name is made. */
	enum mk_store_status s = mk_delete(st, &room_table, row);

	if (s == MK_STORE_OK || s == MK_STORE_NOTFOUND)
		s = mk_delete(st, &vcard_table, row);
	if (s == MK_STORE_OK || s == MK_STORE_NOTFOUND)
		s = mk_delete_range(st, &affil_table, &key, &range, &n);
	if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
		return failure(s);
	return archive_erase(r->inst, st, r->jid);
}

struct owner { const struct mk_jid *jid; };

static void find_owner(struct affil_entry *e, void *arg)
{
	struct owner *o = arg;

	if (e->affil == AFFIL_OWNER && (o->jid == NULL ||
	    strcmp(mk_jid_full(e->jid), mk_jid_full(o->jid)) < 0))
		o->jid = e->jid;
}

/* Job: whether the owner of a room that is about to last has too many that do. 0,
 * -MK_ELIMIT or another failure. */
static int check_owned(struct mk_store *st, const struct room *r, const struct room_change *c)
{
	const struct muc_conf *conf = mk_inst_conf(r->inst);
	struct owner o = { NULL };
	uint64_t n;
	int err;

	room_affils_each(r, find_owner, &o);
	for (const struct affil_change *f = c->affils; f != NULL && o.jid == NULL; f = f->next)
		if (f->affil == AFFIL_OWNER)
			o.jid = f->jid;
	if (conf->max_rooms == 0 || o.jid == NULL || room_is_service_admin(r, o.jid))
		return 0;
	err = store_owned(st, r->jid, o.jid, &n);
	return err < 0 ? err : n >= (uint64_t)conf->max_rooms ? -MK_ELIMIT : 0;
}

/* Job. */
static int write_change(struct mk_store *st, const struct room *r, const struct room_change *c)
{
	struct batch b = { .arena = mk_store_arena(st), .size = r->affils.n + 2 };
	struct mk_value *row;
	enum mk_store_status s;
	int err;

	if (mk_claim_domain(r->jid).n == 0)
		return -MK_ECLOSED;    /* the domain is gone, and its rows          */
	if (c->is_destroyed || !lasts(r, c))
		return erase(st, r);
	if (!r->is_stored && ((err = check_owned(st, r, c)) < 0 || (err = erase(st, r)) < 0))
		return err;
	for (const struct affil_change *f = c->affils; f != NULL; f = f->next)
		b.size++;
	b.w = mk_arena_alloc(b.arena, b.size * sizeof *b.w);
	if (!r->is_stored) {
		struct all x = { &b, r };
		room_affils_each(r, batch_one, &x);
	}
	for (const struct affil_change *f = c->affils; f != NULL; f = f->next)
		batch_affil(&b, r, f->jid, f->affil, f->nick, f->reason);
	if (c->sets_vcard || (!r->is_stored && r->vcard != NULL))
		batch_vcard(&b, r, c->sets_vcard ? c->vcard : r->vcard,
			c->sets_vcard ? c->avatar : r->avatar);
	if (!r->is_stored || c->conf != NULL || c->affils != NULL || c->sets_subject ||
	    c->sets_hats) {
		row = batch_row(&b, MK_WRITE_PUT, &room_table, R_COLUMNS);
		row_of(b.arena, row, r, c->conf != NULL ? c->conf : &r->conf);
		if (c->sets_subject) {
			row[R_SUBJECT] = text_or_none(c->subject);
			row[R_SUBJECT_NICK] = text_or_none(c->subject_nick);
			row[R_SUBJECT_TIME] = mk_int(c->time_ms);
		}
		if (c->sets_hats)
			row[R_HATS] = c->hats.n != 0 ? mk_text(c->hats) : mk_absent();
		for (const struct affil_change *f = c->affils; f != NULL; f = f->next)
			row[R_VERSION] = mk_int(f->until);
	}
	/* The room's own row is last: a room is there when all of it is. */
	for (uint32_t at = 0; at < b.n; at += MOST_WRITES) {
		uint32_t n = b.n - at < MOST_WRITES ? b.n - at : MOST_WRITES;
		s = mk_batch(st, b.w + at, n, NULL);
		if (s != MK_STORE_OK)
			return failure(s);
	}
	return 0;
}

/* Into memory. */
static void take_over(struct room *r, struct room_change *c)
{
	r->is_stored = must_write(r, c) && !c->is_destroyed && lasts(r, c);
	if (c->conf != NULL) {
		config_clear(&r->conf);
		r->conf = *c->conf;
		*c->conf = (struct config){ 0 };
		config_copy(c->conf, &r->conf);
	}
	for (const struct affil_change *f = c->affils; f != NULL; f = f->next) {
		room_set_affil(r, f->jid, (enum affil)f->affil, f->nick, f->reason);
		mav_note(&r->mav, f->since, f->until, f->jid, (enum affil)f->affil);
		r->affil_version = f->until;
	}
	if (c->sets_hats) {
		hats_free(&r->hats);
		r->hats = hats_read(c->hats);
	}
	if (c->sets_subject) {
		mk_free(r->subject);
		mk_free(r->subject_nick);
		r->subject = c->subject != NULL ? mk_strdup(c->subject) : NULL;
		r->subject_nick = c->subject_nick != NULL ? mk_strdup(c->subject_nick) : NULL;
		r->subject_ms = c->time_ms;
	}
	if (c->sets_vcard) {
		mk_free(r->vcard);
		mk_free(r->avatar);
		r->vcard = c->vcard != NULL ? mk_strdup(c->vcard) : NULL;
		r->avatar = c->avatar != NULL ? mk_strdup(c->avatar) : NULL;
	}
	if (c->unlocks)
		r->is_locked = false;
	if (!c->is_destroyed)
		listing_update(r);
}

static struct work *work_new(struct room *r, struct room_change *c)
{
	struct work *w = mk_arena_alloc(c->arena, sizeof *w);

	w->room = r;
	w->change = c;
	w->entity = r->entity;
	w->err = -MK_ECLOSED;
	r->changing++;
	return w;
}

/* After the job: the room, with the change taken over if it was written; or NULL: the
 * plugin stopped meanwhile. */
static struct room *work_over(struct work *w, struct mk_inst *i)
{
	struct room *r = w->room;

	r->changing--;
	if (r->is_gone) {
		if (r->changing == 0)
			room_free(r);
		return NULL;
	}
	if (w->err == -MK_ELIMIT) {
		mk_metric_add(i, REFUSED, 1);
	} else if (w->err < 0) {
		mk_metric_add(i, FAILED, 1);
		mk_log(i, MK_WARN, "change of a room was not written", "room=%s err=%d",
			mk_jid_full(r->jid), w->err);
	} else {
		take_over(r, w->change);
	}
	return r;
}

static void work_end(struct work *w)
{
	struct room_change *c = w->change;
	struct room *r = room_peek(w->entity);

	if (r != NULL && r == w->room)
		room_check(r);
	room_change_free(&c);
}

static int iq_write(struct mk_inst *i, struct mk_iq_req *q, struct mk_store *st)
{
	struct work *w = *mk_iq_data(q);

	(void)i;
	w->err = write_change(st, w->room, w->change);
	if (w->err == -MK_ELIMIT)
		mk_iq_error(q, MK_ERR_RESOURCE_CONSTRAINT, TOO_MANY);
	return w->err;
}

static void iq_written(struct mk_inst *i, struct mk_iq_req *q, int err)
{
	struct work *w = *mk_iq_data(q);
	struct mk_entity *e = w->entity;
	struct room *r;

	/* The answer lets go on what waited; not before all is told. */
	mk_entity_hold(e);
	w->err = err;
	r = work_over(w, i);
	w->iq_done(r, q, w->change, r == NULL && err >= 0 ? -MK_ECLOSED : err);
	if (r == NULL && err >= 0)
		mk_iq_error(q, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	work_end(w);
	mk_entity_release(e);
}

enum mk_verdict room_change_iq(struct room *r, struct mk_iq_req *q, struct room_change *c,
	room_iq_done_fn *done)
{
	struct work *w = work_new(r, c);

	w->iq_done = done;
	if (must_write(r, c) && !is_nothing(c)) {
		*mk_iq_data(q) = w;
		return mk_iq_job_then(q, iq_write, iq_written);
	}
	w->err = 0;
	r = work_over(w, r->inst);
	done(r, q, c, 0);
	work_end(w);
	return MK_DONE;
}

static void ev_write(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	struct work *w = data;

	(void)i;
	(void)ev;
	w->err = write_change(st, w->room, w->change);
}

static enum mk_verdict ev_written(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct work *w = data;
	struct room *r = work_over(w, i);
	int err = r == NULL && w->err >= 0 ? -MK_ECLOSED : w->err;

	if (err == -MK_ELIMIT)
		room_refuse(i, ev->stanza, ev->to, MK_ERR_RESOURCE_CONSTRAINT, TOO_MANY);
	else if (err < 0)
		room_refuse(i, ev->stanza, ev->to, MK_ERR_INTERNAL_SERVER_ERROR, NULL);
	w->ev_done(r, ev, w->change, err);
	work_end(w);
	return MK_DONE;
}

enum mk_verdict room_change_ev(struct room *r, struct mk_ev_stanza *ev, struct room_change *c,
	room_ev_done_fn *done)
{
	struct work *w = work_new(r, c);

	w->ev_done = done;
	if (must_write(r, c) && !is_nothing(c))
		return mk_ev_job_then(ev, ev_write, ev_written, w);
	w->err = 0;
	r = work_over(w, r->inst);
	done(r, ev, c, 0);
	work_end(w);
	return MK_DONE;
}
