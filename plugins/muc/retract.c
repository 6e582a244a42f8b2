/*
 * muc/retract.c - messages that are taken back: by moderators (XEP-0425), by their
 * authors (XEP-0424)
 *
 * What was taken back is given to nobody any more: it leaves the history, and a
 * tombstone takes its place in the archive. That it was taken back is a message of
 * its own, which is archived like others. At the room's home but what says "job".
 */
#include "room.h"

#include <meerkat/svc/archive.h>

static const struct mk_archive_svc *service(struct mk_inst *i, struct mk_inst **archive)
{
	return mk_service_get(i, "archive", 1, archive);
}

/* What a stanza-id of ours says; -MK_EINVAL. */
static int parse_id(const char *text, int64_t *out)
{
	return mk_parse_int(mk_strz(text), 1, INT64_MAX, out);
}

/* ---- tombstones ----------------------------------------------------------------------------- */

/* What takes the place of message: who it is from, and nothing that it said; retracted
 * is its new content. The author's real address stays for those who may see it. */
static struct mk_elem *tombstone(struct mk_arena *a, const struct mk_elem *message,
	struct mk_elem *retracted)
{
	static const char *const kept[] = { "type", "from", "id" };
	struct mk_elem *e = mk_elem_new(a, "message", "jabber:client");

	for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
		mk_elem_set(e, kept[k], mk_elem_attr(message, kept[k]));
	for (const struct mk_elem *c = mk_elem_first(message); c != NULL; c = mk_elem_next(c))
		if (mk_elem_is(c, "occupant-id", NS_OCCUPANT) || mk_elem_is(c, "x", NS_MUC_USER))
			mk_elem_adopt(e, mk_elem_copy(a, c));
	mk_elem_adopt(e, retracted);
	return e;
}

static struct mk_elem *retracted_new(struct mk_arena *a, int64_t now_ms)
{
	struct mk_elem *e = mk_elem_new(a, "retracted", NS_RETRACT);
	char stamp[32];

	mk_time_format(stamp, now_ms);
	mk_elem_set(e, "stamp", stamp);
	return e;
}

/* A subject is no message that could be taken back, nor is a tombstone, nor word of
 * another's retraction. */
static bool is_retractable(const struct mk_elem *message)
{
	return mk_elem_child(message, "retracted", NS_RETRACT) == NULL &&
	       mk_elem_child(message, "retract", NS_RETRACT) == NULL &&
	       (mk_elem_child(message, "subject", NULL) == NULL ||
	        mk_elem_child(message, "body", NULL) != NULL);
}

static const char *author_of(const struct mk_elem *message)
{
	const struct mk_elem *e = mk_elem_child(message, "occupant-id", NS_OCCUPANT);

	return e != NULL ? mk_elem_attr(e, "id") : NULL;
}

/* ---- by a moderator (XEP-0425 3) ----------------------------------------------------------------- */

struct moderating {
	int64_t id, now_ms;
	const char *by, *by_id;        /* the moderator's occupant JID and id, or
	                                * NULL: it is not inside                */
	struct mk_str reason;
	bool was_archived;
	struct mk_jid *room;           /* ref, until done                       */
};

static void add_moderated(struct mk_elem *e, const struct moderating *m)
{
	struct mk_elem *by = mk_elem_add(e, "moderated", NS_MODERATE);

	mk_elem_set(by, "by", m->by);
	if (m->by_id != NULL)
		mk_elem_set(mk_elem_add(by, "occupant-id", NS_OCCUPANT), "id", m->by_id);
	if (m->reason.n != 0)
		mk_elem_add_text(e, "reason", NS_RETRACT, m->reason);
}

/* Job. */
static int moderate_archive(struct mk_inst *i, struct mk_iq_req *q, struct mk_store *st)
{
	struct moderating *m = *mk_iq_data(q);
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(i, &archive);
	struct mk_arena *a = mk_store_arena(st);
	struct mk_archive_entry entry;
	struct mk_elem *retracted;
	int err;

	if (svc == NULL)
		return 0;
	err = svc->get(archive, st, m->room, m->id, &entry);
	if (err == -MK_ENOENT || (err == 0 && (entry.message == NULL ||
	                                       !is_retractable(entry.message))))
		return 0;
	if (err < 0)
		return err;
	retracted = retracted_new(a, m->now_ms);
	add_moderated(retracted, m);
	err = svc->replace(archive, st, m->room, m->id, tombstone(a, entry.message, retracted));
	m->was_archived = err == 0;
	return err == -MK_ENOENT ? 0 : err;
}

static void tell_all(struct room *r, const struct moderating *m)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "groupchat", r->jid, NULL);
	struct mk_elem *root = mk_stanza_root(s), *e = mk_elem_add(root, "retract", NS_RETRACT);
	char id[40];

	mk_token(id, sizeof id, 16);
	mk_stanza_set_id(s, id);
	mk_elem_setf(e, "id", "%lld", (long long)m->id);
	add_moderated(e, m);
	message_add_id(s, r->jid);
	room_send(r, s, TO_ALL);
	if (room_is_archived(r))
		archive_add(r, NULL, NULL, s);
	mk_stanza_unref(&s);
}

static void moderated(struct mk_inst *i, struct mk_iq_req *q, int err)
{
	struct moderating *m = *mk_iq_data(q);
	struct room *r = room_peek(mk_entity_find(mk_iq_to(q)));
	bool is_found;

	(void)i;
	mk_jid_unref(&m->room);
	if (err < 0)                   /* the core answers                      */
		return;
	if (r == NULL) {
		mk_iq_error(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return;
	}
	is_found = history_remove(r, m->id, NULL);
	if (!is_found && !m->was_archived) {
		room_refuse_iq(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return;
	}
	tell_all(r, m);
	mk_iq_result(q, NULL);
}

enum mk_verdict moderate_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *e = mk_iq_payload(q);
	const struct muc_conf *c = mk_inst_conf(i);
	struct mk_str reason = mk_elem_child_text(e, "reason", NS_MODERATE);
	const struct seat *s = r != NULL ? room_seat(r, mk_iq_from(q)) : NULL;
	struct moderating *m;
	char id[33];

	if (r == NULL || r->is_locked) {
		room_refuse_iq(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if ((s == NULL || s->occupant->role != ROLE_MODERATOR) &&
	    room_affil(r, mk_iq_from(q)) < AFFIL_ADMIN) {
		room_refuse_iq(q, MK_ERR_FORBIDDEN,
			"Only moderators are allowed to moderate other participants' messages");
		return MK_DONE;
	}
	if (!mk_iq_is_set(q) || !mk_elem_is(e, "moderate", NS_MODERATE) ||
	    mk_elem_child(e, "retract", NS_RETRACT) == NULL || mk_elem_attr(e, "id") == NULL)
		return MK_FAIL;
	if (reason.n > (size_t)c->max_reason) {
		room_refuse_iq(q, MK_ERR_NOT_ACCEPTABLE, "Too long.");
		return MK_DONE;
	}
	m = mk_arena_alloc(mk_iq_arena(q), sizeof *m);
	if (parse_id(mk_elem_attr(e, "id"), &m->id) < 0) {
		room_refuse_iq(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if (s != NULL) {
		occupant_id_text(r, s->occupant, id);
		m->by = mk_arena_printf(mk_iq_arena(q), "%s/%s", mk_jid_full(r->jid), s->occupant->nick);
		m->by_id = mk_arena_strdup(mk_iq_arena(q), id);
	}
	m->now_ms = mk_wall_ms();
	m->reason = reason;
	m->room = mk_jid_ref(r->jid);
	*mk_iq_data(q) = m;
	if (r->is_stored && archive_is_offered(i))
		return mk_iq_job_then(q, moderate_archive, moderated);
	moderated(i, q, 0);
	return MK_DONE;
}

/* ---- by its author (XEP-0424) ----------------------------------------------------------------------- */

struct retracting { struct mk_jid *room; int64_t id; char author[33]; char *by_id; };

/* Job, by itself: who reads the archive a moment before it is done is not wronged. */
static void retract_archived(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct retracting *t = data;
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(i, &archive);
	struct mk_arena *a = mk_store_arena(st);
	struct mk_archive_entry entry;
	struct mk_elem *retracted;
	int err;

	if (svc == NULL)
		return;
	err = svc->get(archive, st, t->room, t->id, &entry);
	if (err == 0 && entry.message != NULL && is_retractable(entry.message) &&
	    mk_streq(author_of(entry.message), t->author)) {
		retracted = retracted_new(a, mk_wall_ms());
		mk_elem_set(retracted, "id", t->by_id);
		err = svc->replace(archive, st, t->room, t->id,
			tombstone(a, entry.message, retracted));
	}
	if (err < 0 && err != -MK_ENOENT)
		mk_log(i, MK_WARN, "retracted message stays in the archive", "room=%s id=%lld err=%d",
			mk_jid_full(t->room), (long long)t->id, err);
}

static void retract_done(struct mk_inst *i, void *data)
{
	struct retracting *t = data;

	(void)i;
	mk_jid_unref(&t->room);
	mk_free(t->by_id);
	mk_free(t);
}

void message_retract(struct room *r, const struct occupant *o, const struct mk_stanza *s)
{
	const struct mk_elem *e = mk_elem_child(mk_stanza_elem(s), "retract", NS_RETRACT);
	struct retracting *t;
	char author[33];
	int64_t id;

	if (e == NULL || parse_id(mk_elem_attr(e, "id"), &id) < 0)
		return;
	occupant_id_text(r, o, author);
	history_remove(r, id, author);
	if (!r->is_stored || !archive_is_offered(r->inst))
		return;
	t = mk_alloc(sizeof *t);
	t->room = mk_jid_ref(r->jid);
	t->id = id;
	memcpy(t->author, author, sizeof author);
	t->by_id = mk_stanza_id(s) != NULL ? mk_strdup(mk_stanza_id(s)) : NULL;
	mk_job(r->inst, retract_archived, retract_done, t);
}
