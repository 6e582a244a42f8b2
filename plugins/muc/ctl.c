/*
 * muc/ctl.c - commands for operators: meerkatctl muc ...
 *
 * A command runs in a job of its own; rooms belong to their home workers. So it asks the
 * room like a client would: by a request, sent from the room's own address, which nobody
 * but the server can send from and which is an owner everywhere (room_affil). So one way
 * checks, writes and tells of changes, and a room that is asleep is read first. The job
 * waits for the answer; what they share is freed by who lets go of it last.
 */
#include "admin.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { ASK_MS = 20 * 1000, LIST = 100, LIST_MOST = 10000 };

/* ---- asking a room ------------------------------------------------------------------- */

struct call {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned users;                /* the command, and the room's worker    */
	bool is_over;
	struct mk_stanza *answer;      /* or NULL: none came                    */
	bool is_set;
	char *payload;                 /* XML                                   */
};

static void call_leave(struct call *c)
{
	unsigned left;

	pthread_mutex_lock(&c->lock);
	left = --c->users;
	pthread_mutex_unlock(&c->lock);
	if (left != 0)
		return;
	if (c->answer != NULL)
		mk_stanza_unref(&c->answer);
	pthread_cond_destroy(&c->ended);
	pthread_mutex_destroy(&c->lock);
	mk_free(c->payload);
	mk_free(c);
}

static void call_end(struct call *c, struct mk_stanza *answer)
{
	pthread_mutex_lock(&c->lock);
	c->answer = answer;
	c->is_over = true;
	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&c->lock);
	call_leave(c);
}

static void on_answer(struct mk_inst *i, const struct mk_stanza *answer, void *data)
{
	struct mk_stanza *copy = NULL;

	(void)i;
	if (answer != NULL && mk_stanza_from_elem(mk_stanza_elem(answer), &copy) < 0)
		copy = NULL;
	call_end(data, copy);
}

static void call_drop(void *data)
{
	call_end(data, NULL);
}

static void begin(struct mk_inst *i, struct mk_entity *e, const struct mk_jid *room, void *data)
{
	struct call *c = data;
	struct mk_stanza *s = mk_stanza_new(MK_IQ, c->is_set ? "set" : "get", room, room);
	struct mk_elem *payload;

	(void)e;
	if (mk_elem_read(mk_stanza_arena(s), mk_strz(c->payload), &payload) < 0) {
		mk_stanza_unref(&s);
		call_drop(c);
		return;
	}
	mk_elem_adopt(mk_stanza_root(s), payload);
	mk_iq_ask(i, &s, ASK_MS, on_answer, c);
}

static int failure(struct mk_cmd *cmd, const struct mk_jid *room, const struct mk_stanza *answer)
{
	static const struct { const char *condition; int err; } errors[] = {
		{ "item-not-found", -MK_ENOENT }, { "conflict", -MK_ECONFLICT },
		{ "resource-constraint", -MK_ELIMIT }, { "jid-malformed", -MK_EJID },
		{ "internal-server-error", -MK_EAGAIN },
	};
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(answer), "error", NULL);
	struct mk_str text = mk_elem_child_text(e, "text", NS_STANZAS);
	const char *condition = mk_elem_first(e) != NULL ? mk_elem_name(mk_elem_first(e)) : "error";
	int err = -MK_EINVAL;

	for (size_t k = 0; k < sizeof errors / sizeof *errors; k++)
		if (mk_streq(condition, errors[k].condition))
			err = errors[k].err;
	if (err == -MK_ENOENT && text.n == 0)
		return mk_cmd_fail(cmd, err, "%s: no such room, or nobody of that name in it",
			mk_jid_full(room));
	return mk_cmd_fail(cmd, err, "%s: %s%s%.*s", mk_jid_full(room), condition,
		text.n != 0 ? ": " : "", (int)text.n, text.n != 0 ? text.p : "");
}

/* The answer's payload (NULL if it has none), in the store's arena, and 0; or a failure
 * that the command has told. */
static int ask(struct mk_inst *i, struct mk_cmd *cmd, struct mk_store *st, bool is_set,
	const struct mk_elem *payload, const struct mk_elem **out)
{
	const struct mk_jid *room = mk_cmd_arg_jid(cmd, "room");
	struct mk_str text = mk_elem_write(mk_store_arena(st), payload);
	struct call *c;
	pthread_condattr_t monotonic;
	struct timespec until;
	int err = 0;

	if (mk_jid_local(room).n == 0 || !mk_jid_is_bare(room) || mk_claim_domain(room).n == 0)
		return mk_cmd_fail(cmd, -MK_EJID, "%s is not the address of a room here",
			mk_jid_full(room));
	c = mk_alloc(sizeof *c);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	c->users = 2;
	c->is_set = is_set;
	c->payload = mk_strndup(text.p, text.n);
	mk_entity_post(i, room, begin, c, call_drop);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 2 * ASK_MS / 1000;
	pthread_mutex_lock(&c->lock);
	while (!c->is_over && err == 0)
		err = pthread_cond_timedwait(&c->ended, &c->lock, &until);
	pthread_mutex_unlock(&c->lock);
	if (!c->is_over || c->answer == NULL) {
		err = mk_cmd_fail(cmd, -MK_EAGAIN, "%s does not answer", mk_jid_full(room));
	} else if (mk_stanza_type(c->answer) == MK_TYPE_ERROR) {
		err = failure(cmd, room, c->answer);
	} else {
		const struct mk_elem *first = mk_elem_first(mk_stanza_elem(c->answer));
		*out = first != NULL ? mk_elem_copy(mk_store_arena(st), first) : NULL;
		err = 0;
	}
	call_leave(c);
	return err;
}

/* ---- what only operators ask for ------------------------------------------------------- */

static void set_int(struct mk_elem *e, const char *name, int64_t n)
{
	mk_elem_setf(e, name, "%lld", (long long)n);
}

static void room_describe(const struct room *r, struct mk_elem *e)
{
	const struct config *c = &r->conf;

	mk_elem_set(e, "name", c->name);
	mk_elem_set(e, "description", c->desc);
	mk_elem_set(e, "subject", r->subject);
	set_int(e, "occupants", r->by_nick.n);
	set_int(e, "clients", r->seats_n);
	set_int(e, "affiliations", r->affils.n);
	set_int(e, "history", r->history_n);
	set_int(e, "persistent", c->is_persistent);
	set_int(e, "public", c->is_public);
	set_int(e, "members_only", c->is_members_only);
	set_int(e, "moderated", c->is_moderated);
	set_int(e, "password", c->password != NULL);
	set_int(e, "shows_addresses", c->whois == WHOIS_ANYONE);
	set_int(e, "archived", room_is_archived(r));
	set_int(e, "locked", r->is_locked);
}

struct listing_to { struct mk_elem *query; };

static void list_occupant(struct room *r, struct occupant *o, void *arg)
{
	struct listing_to *l = arg;

	(void)r;
	for (const struct seat *s = o->seats; s != NULL; s = s->next) {
		struct mk_elem *item = mk_elem_add(l->query, "item", NULL);
		mk_elem_set(item, "nick", o->nick);
		mk_elem_set(item, "jid", mk_jid_full(s->jid));
		mk_elem_set(item, "role", role_name((enum role)o->role));
		mk_elem_set(item, "affiliation", affil_name((enum affil)o->affil));
	}
}

static void list_affil(struct affil_entry *a, void *arg)
{
	struct listing_to *l = arg;
	struct mk_elem *item = mk_elem_add(l->query, "item", NULL);

	mk_elem_set(item, "jid", mk_jid_full(a->jid));
	mk_elem_set(item, "affiliation", affil_name((enum affil)a->affil));
	mk_elem_set(item, "nick", a->nick);
	mk_elem_set(item, "reason", a->reason);
}

static void made(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	(void)c;
	if (err == 0)
		mk_iq_result(q, NULL);
	else if (r != NULL)
		room_close(r);         /* the core answers                          */
}

/* Of nobody's making but the operator's: it lasts, as nobody is in it. */
static enum mk_verdict make(struct mk_inst *i, struct mk_iq_req *q, const char *owner)
{
	struct mk_jid *full = NULL, *bare;
	struct room_change *c;
	struct room *r;

	if (owner == NULL || mk_jid_parsez(owner, &full) < 0)
		return MK_FAIL;
	bare = mk_jid_to_bare(full);
	r = room_open(i, mk_entity_find(mk_iq_to(q)));
	mk_metric_add(i, CREATED, 1);
	c = room_change_new(r);
	room_change_affil(c, r, bare, AFFIL_OWNER, NULL, NULL);
	room_change_conf(c, r)->is_persistent = true;
	c->unlocks = true;
	mk_jid_unref(&bare);
	mk_jid_unref(&full);
	return room_change_iq(r, q, c, made);
}

enum mk_verdict operator_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *ask = mk_iq_payload(q);
	struct mk_elem *e = mk_elem_new(mk_iq_arena(q), mk_elem_name(ask), NS_OPERATOR);
	struct listing_to l = { e };

	if (!mk_jid_eq(mk_iq_from(q), mk_iq_to(q)))
		return MK_NEXT;
	if (mk_streq(mk_elem_name(ask), "create") && r == NULL)
		return make(i, q, mk_elem_attr(ask, "owner"));
	if (r == NULL) {
		mk_iq_error(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if (mk_streq(mk_elem_name(ask), "info"))
		room_describe(r, e);
	else if (mk_streq(mk_elem_name(ask), "occupants"))
		room_occupants_each(r, list_occupant, &l);
	else if (mk_streq(mk_elem_name(ask), "affiliations"))
		room_affils_each(r, list_affil, &l);
	else {
		mk_iq_error(q, MK_ERR_CONFLICT, "There is such a room.");
		return MK_DONE;
	}
	mk_iq_result(q, e);
	return MK_DONE;
}

static struct mk_elem *question(struct mk_store *st, const char *name)
{
	return mk_elem_new(mk_store_arena(st), name, NS_OPERATOR);
}

/* ---- the commands ------------------------------------------------------------------------ */

#define COMMAND(id, words, text, arg_list)                                     \
	static int run_##id(struct mk_inst *, struct mk_cmd *, struct mk_store *); \
	static const struct mk_command command_##id = { .size = sizeof(struct mk_command), \
		.name = words, .doc = text, .args = arg_list, .run = run_##id };           \
	static int run_##id(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st)

#define ROOM_ARG { "room", MK_ARG_JID, false, "the room's address" }

static const struct mk_arg list_args[] = {
	{ "domain", MK_ARG_DOMAIN, false, "the domain whose rooms these are" },
	{ "after", MK_ARG_JID, true, "the last room of the page before" },
	{ "limit", MK_ARG_INT, true, "most rooms (100)" }, { 0 } };
COMMAND(list, "muc list", "Rooms of a domain, also those that are hidden.", list_args)
{
	const struct mk_jid *domain = mk_cmd_arg_jid(c, "domain"), *after = mk_cmd_arg_jid(c, "after");
	int64_t most = mk_cmd_arg_int(c, "limit", LIST);
	struct stored_room *v;
	uint32_t n;
	int err;

	if (mk_domain_type(domain) == NULL)
		return mk_cmd_fail(c, -MK_ENOENT, "%s is not served here", mk_jid_full(domain));
	if (most < 1 || most > LIST_MOST)
		return mk_cmd_fail(c, -MK_EINVAL, "the limit is 1 to %d", LIST_MOST);
	err = list_all(i, st, mk_jid_domain(domain),
		after != NULL ? mk_strz(mk_jid_full(after)) : MK_STR_NONE, (uint32_t)most, &v, &n);
	if (err < 0)
		return mk_cmd_fail(c, err, "storage does not answer");
	for (uint32_t k = 0; k < n; k++) {
		mk_cmd_row(c);
		mk_cmd_str(c, "room", mk_arena_strndup(mk_store_arena(st), v[k].room.p, v[k].room.n));
		mk_cmd_str(c, "name", v[k].name.n != 0
			? mk_arena_strndup(mk_store_arena(st), v[k].name.p, v[k].name.n) : NULL);
		mk_cmd_bool(c, "persistent", v[k].is_stored);
		mk_cmd_bool(c, "public", v[k].is_public);
	}
	return 0;
}

static const struct mk_arg room_args[] = { ROOM_ARG, { 0 } };
COMMAND(info, "muc info", "How a room is, and how many are in it.", room_args)
{
	static const struct { const char *name; enum { TEXT, NUMBER, BOOL } kind; } keys[] = {
		{ "name", TEXT }, { "description", TEXT }, { "subject", TEXT }, { "occupants", NUMBER },
		{ "clients", NUMBER }, { "affiliations", NUMBER }, { "history", NUMBER },
		{ "persistent", BOOL }, { "public", BOOL }, { "members_only", BOOL },
		{ "moderated", BOOL }, { "password", BOOL }, { "shows_addresses", BOOL },
		{ "archived", BOOL }, { "locked", BOOL },
	};
	const struct mk_elem *e;
	int err = ask(i, c, st, false, question(st, "info"), &e);

	if (err < 0)
		return err;
	mk_cmd_str(c, "room", mk_jid_full(mk_cmd_arg_jid(c, "room")));
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
		const char *v = mk_elem_attr(e, keys[k].name);
		int64_t n = 0;
		if (keys[k].kind == TEXT) {
			mk_cmd_str(c, keys[k].name, v);
			continue;
		}
		if (v == NULL || mk_parse_int(mk_strz(v), 0, INT64_MAX, &n) < 0)
			n = 0;
		if (keys[k].kind == BOOL)
			mk_cmd_bool(c, keys[k].name, n != 0);
		else
			mk_cmd_int(c, keys[k].name, n);
	}
	return 0;
}

static int rows(struct mk_cmd *c, const struct mk_elem *list, const char *const *keys)
{
	for (const struct mk_elem *e = mk_elem_first(list); e != NULL; e = mk_elem_next(e)) {
		mk_cmd_row(c);
		for (const char *const *k = keys; *k != NULL; k++)
			mk_cmd_str(c, *k, mk_elem_attr(e, *k));
	}
	return 0;
}

COMMAND(occupants, "muc occupants", "Who is in a room.", room_args)
{
	static const char *const keys[] = { "nick", "jid", "role", "affiliation", NULL };
	const struct mk_elem *e;
	int err = ask(i, c, st, false, question(st, "occupants"), &e);

	return err < 0 ? err : rows(c, e, keys);
}

/* One item of muc#admin. */
static int administrate(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st,
	const char *const *attrs)
{
	struct mk_elem *query = mk_elem_new(mk_store_arena(st), "query", NS_MUC_ADMIN);
	struct mk_elem *item = mk_elem_add(query, "item", NULL);
	const char *reason = mk_cmd_arg(c, "reason");
	const struct mk_elem *e;

	for (; attrs[0] != NULL; attrs += 2)
		mk_elem_set(item, attrs[0], attrs[1]);
	if (reason != NULL)
		mk_elem_add_text(item, "reason", NULL, mk_strz(reason));
	return ask(i, c, st, true, query, &e);
}

static const struct mk_arg affil_args[] = { ROOM_ARG,
	{ "jid", MK_ARG_JID, true, "whose to change" },
	{ "affiliation", MK_ARG_TEXT, true, "owner, admin, member, none, or outcast" },
	{ "reason", MK_ARG_TEXT, true, "why" }, { 0 } };
COMMAND(affiliation, "muc affiliation",
	"Affiliations of a room; or changes one, of which all are told.", affil_args)
{
	static const char *const keys[] = { "jid", "affiliation", "nick", "reason", NULL };
	const struct mk_jid *jid = mk_cmd_arg_jid(c, "jid");
	const char *to = mk_cmd_arg(c, "affiliation");
	const struct mk_elem *e;
	enum affil a;
	int err;

	if (jid == NULL) {
		err = ask(i, c, st, false, question(st, "affiliations"), &e);
		return err < 0 ? err : rows(c, e, keys);
	}
	if (!affil_parse(to, &a))
		return mk_cmd_fail(c, -MK_EINVAL, "an affiliation is owner, admin, member, none, outcast");
	return administrate(i, c, st,
		(const char *const []){ "jid", mk_jid_full(jid), "affiliation", to, NULL });
}

static const struct mk_arg kick_args[] = { ROOM_ARG,
	{ "nick", MK_ARG_TEXT, false, "the occupant's nickname" },
	{ "reason", MK_ARG_TEXT, true, "why" }, { 0 } };
COMMAND(kick, "muc kick", "Puts an occupant out of a room; it may come again.", kick_args)
{
	return administrate(i, c, st,
		(const char *const []){ "nick", mk_cmd_arg(c, "nick"), "role", "none", NULL });
}

/* "moderatedroom" -> "muc#roomconfig_moderatedroom" */
static const char *var_of(struct mk_arena *a, struct mk_str name)
{
	if (memchr(name.p, '#', name.n) != NULL)
		return mk_arena_strndup(a, name.p, name.n);
	if (mk_str_eqz(name, "maxhistoryfetch"))
		return "muc#maxhistoryfetch";
	return mk_arena_printf(a, "muc#roomconfig_%.*s", (int)name.n, name.p);
}

/* Lines of FIELD=VALUE, as a form; a field that comes again has several values. */
static int add_fields(struct mk_cmd *c, struct mk_arena *a, struct mk_elem *x, const char *words)
{
	struct mk_elem *field = NULL;
	const char *before = "";

	while (*words != '\0') {
		size_t n = strcspn(words, "\n");
		const char *is = memchr(words, '=', n), *var;
		if (is == NULL || is == words)
			return mk_cmd_fail(c, -MK_EINVAL, "'%.*s' is not FIELD=VALUE", (int)n, words);
		var = var_of(a, (struct mk_str){ words, (size_t)(is - words) });
		if (field == NULL || !mk_streq(var, before))
			field = form_field(x, var, NULL, NULL, NULL);
		mk_elem_add_text(field, "value", NS_DATA,
			(struct mk_str){ is + 1, (size_t)(words + n - is - 1) });
		before = var;
		words += n + (words[n] == '\n');
	}
	return 0;
}

static int configure(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st, const char *words)
{
	struct mk_elem *query = mk_elem_new(mk_store_arena(st), "query", NS_MUC_OWNER);
	struct mk_elem *x = mk_elem_add(query, "x", NS_DATA);
	const struct mk_elem *e;
	int err;

	mk_elem_set(x, "type", "submit");
	form_field(x, "FORM_TYPE", "hidden", NULL, FORM_CONFIG);
	err = add_fields(c, mk_store_arena(st), x, words);
	return err < 0 ? err : ask(i, c, st, true, query, &e);
}

static const struct mk_arg config_args[] = { ROOM_ARG,
	{ "fields", MK_ARG_WORDS, true, "FIELD=VALUE to set, FIELD as the form has it: "
	  "moderatedroom=1" }, { 0 } };
COMMAND(config, "muc config", "The configuration of a room; or changes it.", config_args)
{
	const char *words = mk_cmd_arg(c, "fields");
	const struct mk_elem *e = NULL, *x;
	int err;

	if (words != NULL && *words != '\0')
		return configure(i, c, st, words);
	err = ask(i, c, st, false, mk_elem_new(mk_store_arena(st), "query", NS_MUC_OWNER), &e);
	if (err < 0)
		return err;
	x = e != NULL ? mk_elem_child(e, "x", NS_DATA) : NULL;
	for (const struct mk_elem *f = x != NULL ? mk_elem_first(x) : NULL; f != NULL;
	     f = mk_elem_next(f)) {
		const char *var = mk_elem_attr(f, "var");
		const char *all = "";
		if (!mk_elem_is(f, "field", NS_DATA) || var == NULL || mk_streq(var, "FORM_TYPE"))
			continue;
		for (const struct mk_elem *v = mk_elem_first(f); v != NULL; v = mk_elem_next(v))
			if (mk_elem_is(v, "value", NS_DATA)) {
				struct mk_str s = mk_elem_text(v);
				all = mk_arena_printf(mk_store_arena(st), "%s%s%.*s", all,
					*all != '\0' ? " " : "", (int)s.n, s.n != 0 ? s.p : "");
			}
		mk_cmd_row(c);
		mk_cmd_str(c, "field", var);
		mk_cmd_str(c, "value", mk_streq(var, "muc#roomconfig_roomsecret") && *all != '\0'
			? "(set)" : all);
		mk_cmd_str(c, "label", mk_elem_attr(f, "label"));
	}
	return 0;
}

static const struct mk_arg create_args[] = { ROOM_ARG,
	{ "owner", MK_ARG_JID, false, "the owner's bare JID" },
	{ "fields", MK_ARG_WORDS, true, "FIELD=VALUE, as for muc config" }, { 0 } };
COMMAND(create, "muc create", "Makes a room that lasts.", create_args)
{
	struct mk_elem *create = question(st, "create");
	const char *words = mk_cmd_arg(c, "fields");
	const struct mk_elem *e;
	int err;

	if (words != NULL && (err = add_fields(c, mk_store_arena(st),
			mk_elem_new(mk_store_arena(st), "x", NS_DATA), words)) < 0)
		return err;            /* before anything is made                   */
	mk_elem_set(create, "owner", mk_jid_full(mk_cmd_arg_jid(c, "owner")));
	err = ask(i, c, st, true, create, &e);
	return err < 0 || words == NULL || *words == '\0' ? err : configure(i, c, st, words);
}

static const struct mk_arg destroy_args[] = { ROOM_ARG,
	{ "reason", MK_ARG_TEXT, true, "why" },
	{ "alternative", MK_ARG_JID, true, "the room to go to instead" }, { 0 } };
COMMAND(destroy, "muc destroy", "Ends a room, with all that is stored of it.", destroy_args)
{
	struct mk_elem *query = mk_elem_new(mk_store_arena(st), "query", NS_MUC_OWNER);
	struct mk_elem *d = mk_elem_add(query, "destroy", NULL);
	const struct mk_jid *alternative = mk_cmd_arg_jid(c, "alternative");
	const char *reason = mk_cmd_arg(c, "reason");
	const struct mk_elem *e;

	if (alternative != NULL)
		mk_elem_set(d, "jid", mk_jid_full(alternative));
	if (reason != NULL && *reason != '\0')
		mk_elem_add_text(d, "reason", NULL, mk_strz(reason));
	return ask(i, c, st, true, query, &e);
}

const struct mk_command *const muc_commands[] = { &command_list, &command_info,
	&command_occupants, &command_config, &command_affiliation, &command_kick, &command_create,
	&command_destroy, NULL };
