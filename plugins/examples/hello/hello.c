/* hello - answers <hello xmlns='urn:example:hello'/> and greets sessions. */
#include <meerkat/plugin.h>

struct hello_conf { bool greet; const char *text; };

static const struct mk_conf_item items[] = {
	MK_CONF_B(struct hello_conf, greet, "yes", "Log a line for each new session."),
	MK_CONF_STR(struct hello_conf, text, "hello", "What is said."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct hello_conf, items);

static enum mk_verdict on_hello(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct hello_conf *c = mk_inst_conf(i);
	struct mk_elem *e = mk_elem_new(mk_iq_arena(r), "hello", "urn:example:hello");

	mk_elem_set(e, "text", c->text);
	mk_iq_result(r, e);
	return MK_DONE;
}

static void on_open(struct mk_inst *i, const struct mk_ev_session *ev)
{
	const struct hello_conf *c = mk_inst_conf(i);

	if (c->greet)
		mk_log(i, MK_INFO, "a session begins", "text=%s jid=%s", c->text,
			mk_jid_full(mk_session_jid(ev->session)));
}

static int start(struct mk_inst *i)
{
	static const struct mk_iq iq = { .size = sizeof iq, .fn = on_hello,
		.xmlns = "urn:example:hello", .name = "hello",
		.flags = MK_IQ_GET | MK_IQ_HOST | MK_IQ_UNORDERED };
	int r = mk_iq_handle(i, &iq);

	if (r == 0)
		r = mk_disco_feature(i, MK_DISCO_HOST, "urn:example:hello");
	if (r == 0)
		r = mk_on_session_open(i, MK_PRIO_LAST, on_open);
	return r;                      /* < 0: the core withdraws what was added */
}

MK_PLUGIN(hello, "hello", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Says hello.",
	.conf = &schema, .start = start)
