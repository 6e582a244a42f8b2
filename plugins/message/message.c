/*
 * message - who of a user's sessions gets a message (RFC 6121 8.5)
 *
 * Runs at the recipient's home, after what may refuse, rewrite or copy a
 * message. What it gives to nobody goes on to stanza_failed: the offline store,
 * or the core's error. Keeps no state.
 */
#include <meerkat/plugin.h>

enum { BARE_ALL, BARE_HIGHEST };
struct message_conf { int bare_chat; };

static const struct mk_conf_item items[] = {
	MK_CONF_E(struct message_conf, bare_chat, "all", "all|highest",
		"Who gets a chat message to the bare JID: all available resources of "
		"non-negative priority, or only those of the highest."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct message_conf, items);

enum { TO_FULL, TO_BARE, UNTAKEN };
static const struct mk_metric metric_full = { sizeof(struct mk_metric), MK_COUNTER,
	"to_resource_total", "Messages given to the resource they were for." };
static const struct mk_metric metric_bare = { sizeof(struct mk_metric), MK_COUNTER,
	"to_account_total", "Messages given to one or more of an account's resources." };
static const struct mk_metric metric_untaken = { sizeof(struct mk_metric), MK_COUNTER,
	"untaken_total", "Messages for which no resource was there." };
static const struct mk_metric *const metrics[] = { &metric_full, &metric_bare, &metric_untaken, NULL };

/* All available resources of at least this priority; how many got it. */
static unsigned deliver_all(struct mk_ev_stanza *ev, int at_least)
{
	unsigned n = 0;

	if (ev->entity == NULL)
		return 0;
	for (struct mk_session *s = mk_entity_sessions(ev->entity); s != NULL; s = mk_session_next(s))
		if (mk_session_is_open(s) && mk_session_is_available(s) &&
		    mk_session_priority(s) >= at_least) {
			mk_ev_deliver(ev, s);
			n++;
		}
	return n;
}

static int highest(const struct mk_ev_stanza *ev)
{
	int top = 0;

	if (ev->entity == NULL)
		return 0;
	for (struct mk_session *s = mk_entity_sessions(ev->entity); s != NULL; s = mk_session_next(s))
		if (mk_session_is_available(s) && mk_session_priority(s) > top)
			top = mk_session_priority(s);
	return top;
}

static enum mk_verdict on_message(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	const struct message_conf *c = mk_inst_conf(i);
	enum mk_stanza_type type = mk_stanza_type(ev->stanza);
	bool is_full = !mk_jid_is_bare(ev->to);

	if (mk_ev_is_taken(ev))
		return MK_NEXT;
	if (is_full && ev->entity != NULL) {
		struct mk_session *s = mk_entity_session(ev->entity, mk_jid_resource(ev->to));
		if (s != NULL && mk_session_is_open(s)) {
			mk_ev_deliver(ev, s);
			mk_metric_add(i, TO_FULL, 1);
			return MK_NEXT;
		}
	}
	switch (type) {
	case MK_TYPE_ERROR:            /* 8.5.2.1.1, 8.5.3.2.1: silence         */
		return MK_DROP;
	case MK_TYPE_GROUPCHAT:        /* never to an account                   */
		ev->error = MK_ERR_SERVICE_UNAVAILABLE;
		return MK_FAIL;
	case MK_TYPE_HEADLINE:
		/* To a resource that is not there, or to nobody: silence. */
		if (is_full || deliver_all(ev, 0) == 0)
			return MK_DROP;
		mk_metric_add(i, TO_BARE, 1);
		return MK_NEXT;
	case MK_TYPE_CHAT:
		break;
	default:
		/* Normal: meant for that resource alone (8.5.3.2.1). One that it had
		 * been given, and did not take, was accepted: it must not get lost. */
		if (is_full && !mk_ev_is_redelivery(ev)) {
			ev->error = MK_ERR_SERVICE_UNAVAILABLE;
			return MK_FAIL;
		}
		break;
	}
	/* chat and normal; chat to a full JID without a match counts as bare
	 * (8.5.3.2.1). */
	if (deliver_all(ev, c->bare_chat == BARE_HIGHEST ? highest(ev) : 0) != 0)
		mk_metric_add(i, TO_BARE, 1);
	else
		mk_metric_add(i, UNTAKEN, 1);
	return MK_NEXT;
}

/*
 * A result of an archive (XEP-0313) is handed to the session that asked, or comes
 * from a room, which has no resource; from anybody else it is forged (S-07).
 */
static enum mk_verdict on_guard(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i;
	if (ev->from == NULL || mk_jid_is_bare(ev->from) ||
	    mk_elem_child(mk_stanza_elem(ev->stanza), "result", "urn:xmpp:mam:2") == NULL)
		return MK_NEXT;
	ev->error = MK_ERR_NOT_ALLOWED;
	return MK_FAIL;
}

static int start(struct mk_inst *i)
{
	int r = mk_on_stanza_deliver(i, MK_PRIO_GUARD, MK_M_MESSAGE | MK_M_ERROR, on_guard);

	if (r < 0)
		return r;
	return mk_on_stanza_deliver(i, MK_PRIO_ROUTE, MK_M_MESSAGE | MK_M_ERROR, on_message);
}

MK_PLUGIN(message, "message", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Gives messages to a user's resources (RFC 6121 8.5).",
	.conf = &schema, .metrics = metrics, .start = start)
