/*
 * version - Software Version (XEP-0092) of the server
 *
 * Answers inline; keeps no state.
 */
#include <meerkat/plugin.h>
#include <sys/utsname.h>

#define NS "jabber:iq:version"

struct version_conf { bool show_os, show_version; };

static const struct mk_conf_item items[] = {
	MK_CONF_B(struct version_conf, show_version, "yes",
		"Tells the version; without it the answer says 'unknown'."),
	MK_CONF_B(struct version_conf, show_os, "no",
		"Tells the operating system and its release; who knows it knows its holes."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct version_conf, items);

static const struct mk_metric metric_answered = { sizeof(struct mk_metric), MK_COUNTER,
	"answered_total", "Questions for the version that were answered." };
static const struct mk_metric *const metrics[] = { &metric_answered, NULL };

static enum mk_verdict on_version(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct version_conf *c = mk_inst_conf(i);
	struct mk_elem *q = mk_elem_new(mk_iq_arena(r), "query", NS);
	struct utsname os;

	/* Both are required by the schema. */
	mk_elem_add_text(q, "name", NULL, MK_STR("Meerkat"));
	mk_elem_add_text(q, "version", NULL,
		c->show_version ? MK_STR(VERSION) : MK_STR("unknown"));
	if (c->show_os && uname(&os) == 0)
		mk_elem_add_text(q, "os", NULL,
			mk_strz(mk_arena_printf(mk_iq_arena(r), "%s %s", os.sysname, os.release)));
	mk_metric_add(i, 0, 1);
	mk_iq_result(r, q);
	return MK_DONE;
}

static const struct mk_iq iq_version = {
	.size = sizeof iq_version, .xmlns = NS, .name = "query", .fn = on_version,
	.flags = MK_IQ_GET | MK_IQ_HOST | MK_IQ_UNORDERED,
};

static int start(struct mk_inst *i)
{
	int r = mk_iq_handle(i, &iq_version);

	return r < 0 ? r : mk_disco_feature(i, MK_DISCO_HOST, NS);
}

MK_PLUGIN(version, "version", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Tells the server's version (XEP-0092).",
	.conf = &schema, .metrics = metrics, .start = start)
