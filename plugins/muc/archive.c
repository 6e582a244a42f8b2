/*
 * muc/archive.c - a room's archive (XEP-0313 5.1.4), kept by whoever offers
 * svc:archive/1
 *
 * Messages of rooms that last and are set to be logged are appended as they are sent,
 * with their author's real address beside them; who may not know it doesn't get to
 * see it. What a room gives to those who enter after it was read again from storage
 * is the end of its archive. All is at the room's home but what says "job".
 */
#include "room.h"

#include <meerkat/svc/archive.h>

static const struct mk_archive_svc *service(struct mk_inst *i, struct mk_inst **archive)
{
	return mk_service_get(i, "archive", 1, archive);
}

bool archive_is_offered(struct mk_inst *i)
{
	struct mk_inst *archive;

	return service(i, &archive) != NULL;
}

bool room_is_archived(const struct room *r)
{
	return r->is_stored && r->conf.is_logged && archive_is_offered(r->inst);
}

void archive_add(struct room *r, const struct mk_ev_stanza *ev, const struct seat *s,
	const struct mk_stanza *sent)
{
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(r->inst, &archive);
	struct mk_elem *copy, *item;
	struct mk_archive_entry entry = { .size = sizeof entry, .id = mk_stanza_uid(sent),
		.message = mk_stanza_elem(sent) };

	if (svc == NULL)
		return;
	if (s == NULL) {
		svc->append(archive, ev, r->jid, &entry);
		return;
	}
	entry.with = mk_jid_bare(s->jid);
	copy = mk_elem_copy(mk_turn_arena(), mk_stanza_elem(sent));
	item = mk_elem_add(mk_elem_add(copy, "x", NS_MUC_USER), "item", NULL);
	mk_elem_set(item, "affiliation", affil_name((enum affil)s->occupant->affil));
	mk_elem_set(item, "role", role_name((enum role)s->occupant->role));
	mk_elem_set(item, "jid", mk_jid_full(s->jid));
	entry.message = copy;
	svc->append(archive, ev, r->jid, &entry);
}

/* ---- the last of it, for those who enter --------------------------------------------- */

static void hide_author(struct mk_elem *message)
{
	struct mk_elem *x = mk_elem_child(message, "x", NS_MUC_USER);

	if (x != NULL)
		mk_elem_remove(message, x);
}

struct recent { struct recalled *v; uint32_t n; };

static void recall(void *arg, const struct mk_archive_entry *e)
{
	struct recent *l = arg;
	struct mk_stanza *s;

	if (e->message == NULL || mk_elem_child(e->message, "body", NULL) == NULL ||
	    mk_stanza_from_elem(e->message, &s) < 0)
		return;
	hide_author(mk_stanza_root(s));
	mk_stanza_set_uid(s, e->id);
	l->v[l->n++] = (struct recalled){ s, mk_uid_wall_ms(e->id) };
}

int archive_recent(struct mk_inst *i, struct mk_store *st, const struct mk_jid *room,
	uint32_t most, struct recalled **out, uint32_t *n_out)
{
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(i, &archive);
	struct recent l = { NULL, 0 };
	int n;

	if (svc == NULL || most == 0)
		return 0;
	if (most > 1000)
		most = 1000;
	l.v = mk_alloc(most * sizeof *l.v);
	n = svc->recent(archive, st, room, 0, most, recall, &l);
	*out = l.v;
	*n_out = l.n;
	return n < 0 ? n : 0;
}

int archive_erase(struct mk_inst *i, struct mk_store *st, const struct mk_jid *room)
{
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(i, &archive);

	return svc != NULL ? svc->erase(archive, st, room) : 0;
}

/* ---- queries ------------------------------------------------------------------------- */

/* Job: who may not see real addresses. */
static void view(void *arg, int64_t id, struct mk_elem *message)
{
	(void)arg;
	(void)id;
	hide_author(message);
}

/* 5.1.4: who may enter may read. */
static bool may_read(const struct room *r, const struct mk_jid *who)
{
	enum affil a = room_affil(r, who);

	if (room_seat(r, who) != NULL)
		return true;
	if (a == AFFIL_OUTCAST || (r->conf.is_members_only && a < AFFIL_MEMBER))
		return false;
	return r->conf.password == NULL || a >= AFFIL_ADMIN;
}

static bool may_see_jids(const struct room *r, const struct mk_jid *who)
{
	const struct seat *s = room_seat(r, who);

	return r->conf.whois == WHOIS_ANYONE || room_affil(r, who) >= AFFIL_ADMIN ||
	       (s != NULL && s->occupant->role == ROLE_MODERATOR);
}

enum mk_verdict archive_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	struct mk_inst *archive;
	const struct mk_archive_svc *svc = service(i, &archive);
	struct mk_archive_query want = { .size = sizeof want, .owner = mk_iq_to(q) };

	if (r == NULL || r->is_locked)
		mk_iq_error(q, MK_ERR_ITEM_NOT_FOUND, NULL);
	else if (svc == NULL || !r->is_stored)
		mk_iq_error(q, MK_ERR_SERVICE_UNAVAILABLE, NULL);
	else if (!may_read(r, mk_iq_from(q)))
		mk_iq_error(q, MK_ERR_FORBIDDEN, NULL);
	else {
		want.hides_with = !may_see_jids(r, mk_iq_from(q));
		want.view = want.hides_with ? view : NULL;
		return svc->query(archive, q, &want);
	}
	return MK_DONE;
}
