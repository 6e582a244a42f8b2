/*
 * test/plugins/changing.c - a sound plugin of which there are several versions
 *
 * TEXT tells them apart; FAILS_LOAD and FAILS_START make one that breaks. It
 * answers <changing xmlns='urn:test:changing'/> with TEXT and how many messages
 * the asking session has sent since this version started (a slot), and to itself
 * with the setting `word`; it has a command, and handlers of every kind, so that
 * stopping it has something to withdraw.
 */
#include <meerkat/plugin.h>

struct conf { const char *word; };
static const struct mk_conf_item items[] = {
	MK_CONF_STR(struct conf, word, "default", "A word that is said back."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct conf, items);

struct seen { int messages; };
static uint32_t slot;

static int load(struct mk_module *m)
{
	static const struct mk_slot s = { .size = sizeof s, .scope = MK_SLOT_SESSION,
		.bytes = sizeof(struct seen) };
	int r = mk_slot_register(m, &s, &slot);

#ifdef FAILS_LOAD
	r = -MK_EIO;
#endif
	return r;
}

static enum mk_verdict on_message(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct seen *s = mk_session_slot(ev->session, slot);

	(void)i;
	s->messages++;
	return MK_NEXT;
}

static enum mk_verdict on_delivery(struct mk_inst *i, struct mk_ev_stanza *ev,
	struct mk_store *st)
{
	(void)i, (void)ev, (void)st;
	return MK_NEXT;
}

static enum mk_verdict on_iq(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct conf *c = mk_inst_conf(i);
	struct mk_elem *e = mk_elem_new(mk_iq_arena(r), "changing", "urn:test:changing");
	const struct mk_session *ses = mk_iq_session(r);
	const struct seen *s = ses != NULL ? mk_session_slot_peek(ses, slot) : NULL;

	mk_elem_set(e, "text", TEXT);
	mk_elem_set(e, "word", c->word);
	mk_elem_set(e, "type", mk_inst_type(i));
	mk_elem_set(e, "messages", mk_arena_printf(mk_iq_arena(r), "%d",
		s != NULL ? s->messages : 0));
	mk_iq_result(r, e);
	return MK_DONE;
}

static int run(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st)
{
	const struct mk_jid *j = mk_cmd_arg_jid(c, "user");

	(void)st;
	if (j == NULL && !mk_cmd_flag(c, "loud"))
		return mk_cmd_fail(c, -MK_EINVAL, "neither a user nor loud");
	mk_cmd_str(c, "text", TEXT);
	mk_cmd_str(c, "type", mk_inst_type(i));
	mk_cmd_bool(c, "loud", mk_cmd_flag(c, "loud"));
	return 0;
}
static const struct mk_arg args[] = {
	{ "user", MK_ARG_JID, true, "to whom" },
	{ "loud", MK_ARG_FLAG, true, "to all" },
	{ 0 }
};
static const struct mk_command say = { .size = sizeof say, .name = "changing say",
	.doc = "Says the text of this version.", .args = args, .run = run };
static const struct mk_command *const commands[] = { &say, NULL };

static void tick(struct mk_inst *i, struct mk_store *st)
{
	(void)i, (void)st;
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq, .fn = on_iq, .xmlns = "urn:test:changing",
		.name = "changing", .flags = MK_IQ_GET | MK_IQ_HOST };
	int r = mk_iq_handle(i, &iq);

	if (r == 0)
		r = mk_on_stanza_in(i, MK_PRIO_GUARD, MK_M_MESSAGE, on_message);
	if (r == 0)
		r = mk_on_stanza_deliver_stored(i, MK_PRIO_COPY, MK_M_MESSAGE, on_delivery);
	if (r == 0)
		r = mk_every(i, 20, tick);
	if (r == 0)
		r = mk_disco_feature(i, MK_DISCO_HOST, "urn:test:changing");
#ifdef FAILS_START
	r = -MK_EIO;
#endif
	return r;
}

MK_PLUGIN(changing, "changing", .flags = MK_PLUGIN_PER_TYPE, .version = TEXT,
	.summary = "Made for tests.", .conf = &schema, .commands = commands, .load = load,
	.start = start)
