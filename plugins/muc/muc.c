/*
 * muc - group chat (XEP-0045): the plugin, and the way to a room
 *
 * What comes for an address at the service runs at the room's home, in order. If the
 * room isn't in memory, storage is asked first, in a job in which what else comes for
 * it waits; the handlers then find it, or that there is none. Settings are read
 * where they are needed, so that a reload counts at once; but for the host's name,
 * which is claimed at start.
 */
#include "room.h"

static const struct mk_conf_item items[] = {
	{ "host", MK_CONF_STRING, 0, offsetof(struct muc_conf, host), "conference.@HOST@", NULL,
		"Address of the service; @HOST@ is the domain." },
	MK_CONF_STR(struct muc_conf, name, "Chatrooms", "Name of the service."),
	MK_CONF_E(struct muc_conf, create, "anybody", "anybody|admins|nobody",
		"Who may make a room."),
	MK_CONF_LST(struct muc_conf, admins, NULL, NULL,
		"Bare addresses of those who are owners of every room."),
	MK_CONF_B(struct muc_conf, is_locked, "yes",
		"A new room is locked until its maker has configured it, or said that it shall be "
		"as it is."),
	MK_CONF_B(struct muc_conf, old_join, "no",
		"Presence without <x/> lets in (groupchat 1.0); else such a client is told that it "
		"is not in the room."),
	MK_CONF_B(struct muc_conf, is_persistent, "no", "New rooms stay when nobody is in them."),
	MK_CONF_B(struct muc_conf, is_public, "yes", "New rooms are listed."),
	MK_CONF_B(struct muc_conf, is_members_only, "no", "New rooms are for members only."),
	MK_CONF_B(struct muc_conf, is_moderated, "no",
		"In new rooms, who has no affiliation can't speak until given a voice."),
	MK_CONF_B(struct muc_conf, shows_jids, "no",
		"In new rooms all see the real addresses of all."),
	MK_CONF_B(struct muc_conf, is_logged, "yes",
		"New rooms that stay have an archive, where a plugin keeps archives (mam)."),
	MK_CONF_I(struct muc_conf, max_users, "20000", "1..1000000",
		"Most clients in a room, whatever its configuration says."),
	MK_CONF_I(struct muc_conf, max_rooms, "1000", "0..1000000",
		"Persistent rooms that one user may own; 0: any number."),
	MK_CONF_I(struct muc_conf, max_affiliations, "20000", "1..1000000",
		"Affiliations of one room: members, admins, owners, outcasts."),
	MK_CONF_I(struct muc_conf, history, "100", "0..10000",
		"Most messages that a room keeps to give to those who enter."),
	MK_CONF_I(struct muc_conf, new_history, "20", "0..10000",
		"Messages that a new room gives to those who enter."),
	MK_CONF_MS(struct muc_conf, hibernate, "10m", "1s..",
		"How long a room that nobody is in stays in memory."),
	MK_CONF_B(struct muc_conf, tells_affiliations, "yes",
		"A user whose affiliation changes while it is not in the room is sent a message that "
		"says so."),
	MK_CONF_BYTES(struct muc_conf, max_message, "64KB", "0|256..",
		"Largest message that a room passes on; 0: any."),
	MK_CONF_BYTES(struct muc_conf, max_presence, "4KB", "0|256..",
		"Largest presence that a room passes on; 0: any."),
	MK_CONF_I(struct muc_conf, message_rate, "50", "0..65535",
		"Messages of one client in a second; 0: any number. More are refused."),
	MK_CONF_I(struct muc_conf, request_rate, "500", "0..65535",
		"Requests to occupants of one client in a second; 0: any number. One that enters may "
		"ask for everybody's vCard."),
	MK_CONF_I(struct muc_conf, presence_rate, "10", "0..65535",
		"Changes of presence or nickname of one client in a second; 0: any number."),
	MK_CONF_BYTES(struct muc_conf, max_nick, "128", "1..1023", "Longest nickname."),
	MK_CONF_BYTES(struct muc_conf, max_subject, "2KB", "1..64KB", "Longest subject."),
	MK_CONF_BYTES(struct muc_conf, max_name, "256", "1..4KB", "Longest name of a room."),
	MK_CONF_BYTES(struct muc_conf, max_desc, "2KB", "1..64KB", "Longest description of a room."),
	MK_CONF_BYTES(struct muc_conf, max_password, "256", "1..1KB", "Longest password."),
	MK_CONF_BYTES(struct muc_conf, max_reason, "1KB", "1..64KB",
		"Longest reason of a ban, a kick, an invitation."),
	MK_CONF_BYTES(struct muc_conf, max_vcard, "64KB", "1KB..1MB",
		"Largest vCard of a room, which has its avatar."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct muc_conf, items);

#define METRIC(id, kind, name, help) static const struct mk_metric id = \
	{ sizeof(struct mk_metric), kind, name, help }
METRIC(m_rooms, MK_GAUGE, "rooms", "Rooms in memory.");
METRIC(m_occupants, MK_GAUGE, "occupants", "Clients in rooms.");
METRIC(m_messages, MK_COUNTER, "messages_total", "Messages sent to all in a room.");
METRIC(m_deliveries, MK_COUNTER, "deliveries_total", "Messages given to those in a room.");
METRIC(m_presences, MK_COUNTER, "presences_total", "Presence given to those in a room.");
METRIC(m_created, MK_COUNTER, "created_total", "Rooms made.");
METRIC(m_refused, MK_COUNTER, "refused_total", "Stanzas that were answered with an error.");
METRIC(m_floods, MK_COUNTER, "floods_total", "Stanzas above an occupant's rate.");
METRIC(m_loaded, MK_COUNTER, "loaded_total", "Rooms read from storage.");
METRIC(m_failed, MK_COUNTER, "failed_total", "Reads and changes that storage did not take.");
static const struct mk_metric *const metrics[] = { &m_rooms, &m_occupants, &m_messages,
	&m_deliveries, &m_presences, &m_created, &m_refused, &m_floods, &m_loaded, &m_failed, NULL };

void config_init(struct config *c, const struct muc_conf *m)
{
	*c = (struct config){
		.history = m->new_history < m->history ? m->new_history : m->history,
		.is_persistent = m->is_persistent, .is_public = m->is_public,
		.is_members_only = m->is_members_only, .is_moderated = m->is_moderated,
		.is_logged = m->is_logged,
		.members_invite = true, .visitors_change_nick = true, .visitors_send_status = true,
		.allow_pm = PM_ANYONE, .whois = m->shows_jids ? WHOIS_ANYONE : WHOIS_MODERATORS,
		.broadcast = ROLE_BIT(ROLE_VISITOR) | ROLE_BIT(ROLE_PARTICIPANT) |
			ROLE_BIT(ROLE_MODERATOR),
		.get_members = ROLE_BIT(ROLE_VISITOR) | ROLE_BIT(ROLE_PARTICIPANT) |
			ROLE_BIT(ROLE_MODERATOR),
	};
}

struct listings *muc_listings(const struct mk_inst *i) { return mk_inst_data(i); }

/* ---- stanzas ------------------------------------------------------------------------- */

struct loading { struct loaded *loaded; struct mk_entity *entity; int err; };

static enum mk_verdict to_room(struct mk_inst *i, struct room *r, struct mk_ev_stanza *ev)
{
	switch (mk_stanza_kind(ev->stanza)) {
	case MK_PRESENCE:
		return presence_handle(i, r, ev);
	case MK_MESSAGE:
		return message_handle(i, r, ev);
	default:
		if (ev->match != MK_M_IQ)
			return MK_DROP;        /* an answer that nobody waits for           */
		return mk_jid_is_bare(ev->to) ? MK_NEXT : occupant_iq(i, r, ev);
	}
}

static void load(struct mk_inst *i, struct mk_ev_stanza *ev, struct mk_store *st, void *data)
{
	struct loading *l = data;

	(void)ev;
	l->err = load_read(l->loaded, i, st);
}

static enum mk_verdict loaded(struct mk_inst *i, struct mk_ev_stanza *ev, void *data)
{
	struct loading *l = data;
	struct mk_entity *e = mk_entity_find(ev->to);
	struct room *r;
	int err = l->err;

	if (err < 0 || e == NULL)
		load_free(&l->loaded);
	r = l->loaded != NULL ? load_open(&l->loaded, i, e) : NULL;
	mk_free(l);
	if (err < 0 || e == NULL) {
		mk_metric_add(i, FAILED, 1);
		room_refuse(i, ev->stanza, ev->to, MK_ERR_INTERNAL_SERVER_ERROR, NULL);
		return MK_DONE;
	}
	return to_room(i, r, ev);
}

/* Nothing to look up for: it is of no use if the room is not in memory. */
static bool is_moot(const struct mk_ev_stanza *ev)
{
	return (ev->match & (MK_M_ANSWER | MK_M_ERROR | MK_M_PROBE | MK_M_SUBSCRIPTION)) != 0 ||
	       mk_stanza_type(ev->stanza) == MK_TYPE_UNAVAILABLE;
}

static enum mk_verdict on_stanza(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct loading *l;
	struct room *r;

	if (ev->from == NULL || mk_jid_local(ev->to).n == 0)
		return MK_NEXT;
	r = room_peek(ev->entity);
	if (r != NULL)
		return to_room(i, r, ev);
	if (is_moot(ev))
		return MK_DROP;
	l = mk_alloc(sizeof *l);
	l->loaded = load_new(ev->to);
	l->err = -MK_ECLOSED;
	return mk_ev_job_then(ev, load, loaded, l);
}

/* ---- requests to a room -------------------------------------------------------------- */

typedef enum mk_verdict room_iq_fn(struct mk_inst *i, struct room *r, struct mk_iq_req *q);
static const struct { const char *xmlns; room_iq_fn *fn; uint32_t flags; } room_iqs[] = {
	{ NS_INFO, room_disco, MK_IQ_UNORDERED }, { NS_ITEMS, room_disco, MK_IQ_UNORDERED },
	{ "urn:xmpp:mam:2", archive_iq, MK_IQ_UNORDERED }, { "vcard-temp", avatar_iq, 0 },
	{ NS_MUC_OWNER, owner_iq, 0 }, { NS_MUC_ADMIN, admin_iq, 0 },
	{ "jabber:iq:register", register_iq, 0 },
	{ NS_COMMANDS, commands_iq, 0 }, { NS_MODERATE, moderate_iq, 0 },
	{ NS_OPERATOR, operator_iq, 0 },
};
enum { ROOM_IQS = sizeof room_iqs / sizeof *room_iqs };

static enum mk_verdict run_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	for (size_t k = 0; k < ROOM_IQS; k++)
		if (mk_streq(mk_elem_xmlns(mk_iq_payload(q)), room_iqs[k].xmlns))
			return room_iqs[k].fn(i, r, q);
	return MK_NEXT;
}

static int iq_load(struct mk_inst *i, struct mk_iq_req *q, struct mk_store *st)
{
	struct loading *l = *mk_iq_data(q);

	l->err = load_read(l->loaded, i, st);
	return l->err;
}

static void iq_loaded(struct mk_inst *i, struct mk_iq_req *q, int err)
{
	struct loading *l = *mk_iq_data(q);
	struct mk_entity *e = l->entity;
	struct room *r = NULL;

	if (err < 0)
		load_free(&l->loaded);
	else
		r = load_open(&l->loaded, i, e);
	*mk_iq_data(q) = NULL;
	if (err < 0)
		mk_metric_add(i, FAILED, 1);           /* the core answers          */
	else
		switch (run_iq(i, r, q)) {
		case MK_FAIL:
			mk_iq_error(q, MK_ERR_BAD_REQUEST, NULL);
			break;
		case MK_NEXT:
			mk_iq_error(q, MK_ERR_SERVICE_UNAVAILABLE, NULL);
			break;
		default:
			break;         /* answered, or in another job               */
		}
	mk_entity_release(e);
}

static enum mk_verdict on_room_iq(struct mk_inst *i, struct mk_iq_req *q)
{
	struct mk_entity *e = mk_entity_find(mk_iq_to(q));
	struct room *r = room_peek(e);
	struct loading *l;

	if (r != NULL || e == NULL)
		return r != NULL ? run_iq(i, r, q) : MK_NEXT;
	l = mk_arena_alloc(mk_iq_arena(q), sizeof *l);
	l->loaded = load_new(mk_iq_to(q));
	/* Also for those that need no order: it is read by one at a time. */
	l->entity = e;
	mk_entity_hold(e);
	*mk_iq_data(q) = l;
	return mk_iq_job_then(q, iq_load, iq_loaded);
}

/* ---- requests to the service --------------------------------------------------------- */

/* Removed from XEP-0045 in 1.25, but asked for still: a name that nobody has. */
static enum mk_verdict on_unique(struct mk_inst *i, struct mk_iq_req *q)
{
	struct mk_elem *e = mk_elem_new(mk_iq_arena(q), "unique", NS_MUC "#unique");
	char name[40];

	(void)i;
	mk_token(name, sizeof name, 16);
	mk_elem_text_add(e, mk_strz(name));
	mk_iq_result(q, e);
	return MK_DONE;
}

static enum mk_verdict on_ping(struct mk_inst *i, struct mk_iq_req *q)
{
	(void)i;
	mk_iq_result(q, NULL);
	return MK_DONE;
}

#define IQ(fn_, to, ns, name_, how) { .size = sizeof(struct mk_iq), .xmlns = ns,             \
	.name = name_, .fn = fn_, .flags = (how) | (to) }
static const struct mk_iq service_iqs[] = {
	IQ(service_disco, MK_IQ_SERVICE, NS_INFO, "query", MK_IQ_GET | MK_IQ_UNORDERED),
	IQ(service_disco, MK_IQ_SERVICE, NS_ITEMS, "query", MK_IQ_GET | MK_IQ_UNORDERED),
	IQ(on_unique, MK_IQ_SERVICE, NS_MUC "#unique", "unique", MK_IQ_GET | MK_IQ_UNORDERED),
	IQ(on_ping, MK_IQ_SERVICE | MK_IQ_ROOM, "urn:xmpp:ping", "ping",
		MK_IQ_GET | MK_IQ_UNORDERED),
};

/* ---- life ---------------------------------------------------------------------------- */

static const char *const needs[] = { "?svc:archive/1", NULL };

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct muc_conf *c = mk_conf_view_values(v);
	int err = 0;

	if (!mk_claim_host_ok(c->host)) {
		mk_conf_refuse(v, d, "host", "'%s' is not a name before '.@HOST@'", c->host);
		err = -MK_EINVAL;
	}
	for (uint32_t k = 0; k < c->admins.n; k++) {
		struct mk_jid *j = NULL;
		bool ok = mk_jid_parsez(c->admins.v[k], &j) == 0 && mk_jid_is_bare(j) &&
			mk_jid_local(j).n != 0 && mk_streq(mk_jid_full(j), c->admins.v[k]);
		mk_jid_unref(&j);
		if (!ok) {
			mk_conf_refuse(v, d, "admins", "'%s' is not a bare address", c->admins.v[k]);
			err = -MK_EINVAL;
		}
	}
	return err;
}

static int start(struct mk_inst *i)
{
	const struct muc_conf *c = mk_inst_conf(i);
	const struct mk_claim claim = { sizeof claim, c->host, on_stanza };
	int err = mk_claim_add(i, &claim);

	for (size_t k = 0; err == 0 && k < sizeof service_iqs / sizeof *service_iqs; k++)
		err = mk_iq_handle(i, &service_iqs[k]);
	for (size_t k = 0; err == 0 && k < ROOM_IQS; k++) {
		const struct mk_iq iq = { .size = sizeof iq, .xmlns = room_iqs[k].xmlns,
			.flags = MK_IQ_GET | MK_IQ_SET | MK_IQ_ROOM | room_iqs[k].flags,
			.fn = on_room_iq };
		err = mk_iq_handle(i, &iq);
	}
	if (err == 0)
		err = mk_disco_extend(i, MK_DISCO_HOST, true, host_items);
	if (err == 0)
		err = mk_on_account_removed_stored(i, MK_PRIO_ROUTE, affils_removed);
	if (err == 0)
		mk_inst_set_data(i, listings_new());
	return err;
}

static void stop(struct mk_inst *i)
{
	struct listings *l = muc_listings(i);

	listings_free(&l);
}

MK_PLUGIN(muc, "muc", .flags = MK_PLUGIN_PER_TYPE,
	.version = "1.0", .license = "BSD-2-Clause",
	.summary = "Chat rooms (XEP-0045).",
	.needs = needs, .conf = &schema, .tables = muc_tables, .metrics = metrics,
	.commands = muc_commands,
	.check = check, .load = room_load_slots, .start = start, .stop = stop)
