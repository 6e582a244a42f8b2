/*
 * disco - Service Discovery (XEP-0030) of the server and of accounts, with
 * contact addresses (XEP-0157) in a form (XEP-0128)
 *
 * What there is to tell other plugins register with the core; an answer is made
 * inline, but for the question whether somebody may ask about an account: that is
 * in its roster, which may have to be read. What a stranger asks is refused in the
 * same words whether the account exists or not. Keeps no state.
 */
#include <meerkat/plugin.h>
#include <meerkat/svc/roster.h>

#define NS_INFO  "http://jabber.org/protocol/disco#info"
#define NS_ITEMS "http://jabber.org/protocol/disco#items"
#define NS_DATA  "jabber:x:data"
#define NS_SERVERINFO "http://jabber.org/network/serverinfo"

struct disco_conf {
	struct mk_conf_list items;
	struct mk_conf_list abuse_addresses, admin_addresses, feedback_addresses,
		sales_addresses, security_addresses, status_addresses, support_addresses;
};

#define ADDRESSES(f, whose)                                                \
	MK_CONF_LST(struct disco_conf, f, NULL, NULL, "URIs " whose " (XEP-0157).")
static const struct mk_conf_item items[] = {
	MK_CONF_LST(struct disco_conf, items, NULL, NULL,
		"Services to list beside the server's own: an address each, and after a space "
		"its name."),
	ADDRESSES(abuse_addresses, "to report abuse to"),
	ADDRESSES(admin_addresses, "of the administrators"),
	ADDRESSES(feedback_addresses, "for feedback"),
	ADDRESSES(sales_addresses, "of sales"),
	ADDRESSES(security_addresses, "to report security holes to"),
	ADDRESSES(status_addresses, "that tell how the service is"),
	ADDRESSES(support_addresses, "of support"),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct disco_conf, items);

/* In the order of the form: that of its fields' names. */
static const struct { const char *key, *var; uint32_t offset; } contacts[] = {
#define CONTACT(name) { #name "_addresses", #name "-addresses",            \
	offsetof(struct disco_conf, name##_addresses) }
	CONTACT(abuse), CONTACT(admin), CONTACT(feedback), CONTACT(sales),
	CONTACT(security), CONTACT(status), CONTACT(support),
};
enum { CONTACTS = sizeof contacts / sizeof *contacts };

enum { ANSWERED, REFUSED };
static const struct mk_metric metric_answered = { sizeof(struct mk_metric), MK_COUNTER,
	"answered_total", "Questions that were answered." };
static const struct mk_metric metric_refused = { sizeof(struct mk_metric), MK_COUNTER,
	"refused_total", "Questions about accounts by those who may not know." };
static const struct mk_metric *const metrics[] = { &metric_answered, &metric_refused, NULL };

static const struct mk_conf_list *addresses(const struct disco_conf *c, unsigned n)
{
	return (const void *)((const char *)c + contacts[n].offset);
}

/* ---- what this plugin itself has to tell -------------------------------------------- */

static void add_contacts(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query)
{
	const struct disco_conf *c = mk_inst_conf(i);
	struct mk_elem *x = NULL, *f;

	(void)about;
	(void)asker;
	if (node != NULL)
		return;
	for (unsigned n = 0; n < CONTACTS; n++) {
		const struct mk_conf_list *l = addresses(c, n);
		if (l->n == 0)
			continue;
		if (x == NULL) {
			x = mk_elem_add(query, "x", NS_DATA);
			mk_elem_set(x, "type", "result");
			f = mk_elem_add(x, "field", NULL);
			mk_elem_set(f, "var", "FORM_TYPE");
			mk_elem_set(f, "type", "hidden");
			mk_elem_add_text(f, "value", NULL, MK_STR(NS_SERVERINFO));
		}
		f = mk_elem_add(x, "field", NULL);
		mk_elem_set(f, "var", contacts[n].var);
		for (uint32_t k = 0; k < l->n; k++)
			mk_elem_add_text(f, "value", NULL, mk_strz(l->v[k]));
	}
}

static void add_items(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query)
{
	const struct disco_conf *c = mk_inst_conf(i);

	(void)about;
	(void)asker;
	for (uint32_t k = 0; k < c->items.n && node == NULL; k++) {
		struct mk_elem *item = mk_elem_add(query, "item", NULL);
		const char *z = c->items.v[k];
		size_t n = strcspn(z, " ");
		mk_elem_setf(item, "jid", "%.*s", (int)n, z);
		if (z[n] != '\0')
			mk_elem_set(item, "name", z + n + strspn(z + n, " "));
	}
}

/* XEP-0030 4.1: available resources. Runs at the account's home. */
static void add_resources(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query)
{
	struct mk_entity *e = node == NULL ? mk_entity_find(about) : NULL;

	(void)i;
	(void)asker;
	if (e == NULL)
		return;
	for (struct mk_session *s = mk_entity_sessions(e); s != NULL; s = mk_session_next(s))
		if (mk_session_is_open(s) && mk_session_is_available(s))
			mk_elem_set(mk_elem_add(query, "item", NULL), "jid",
				mk_jid_full(mk_session_jid(s)));
}

/* ---- answering ------------------------------------------------------------------------ */

static void answer(struct mk_inst *i, struct mk_iq_req *r, struct mk_elem *q)
{
	mk_metric_add(i, ANSWERED, 1);
	/* A node that nobody knows has nothing to tell. */
	if (mk_elem_attr(q, "node") != NULL && mk_elem_first(q) == NULL)
		mk_iq_error(r, MK_ERR_ITEM_NOT_FOUND, NULL);
	else
		mk_iq_result(r, q);
}

/* XEP-0030 8: no info at all, and no items, whether the account exists or not. */
static void refuse(struct mk_inst *i, struct mk_iq_req *r)
{
	struct mk_elem *q;

	mk_metric_add(i, REFUSED, 1);
	if (mk_streq(mk_elem_xmlns(mk_iq_payload(r)), NS_INFO)) {
		mk_iq_error(r, MK_ERR_SERVICE_UNAVAILABLE, NULL);
		return;
	}
	q = mk_elem_new(mk_iq_arena(r), "query", NS_ITEMS);
	mk_elem_set(q, "node", mk_elem_attr(mk_iq_payload(r), "node"));
	mk_iq_result(r, q);
}

static struct mk_elem *query(struct mk_inst *i, struct mk_iq_req *r, uint32_t where)
{
	const char *node = mk_elem_attr(mk_iq_payload(r), "node");
	const char *xmlns = mk_elem_xmlns(mk_iq_payload(r));
	struct mk_elem *q = mk_elem_new(mk_iq_arena(r), "query", xmlns);

	mk_elem_set(q, "node", node);
	mk_disco_fill(i, where, mk_streq(xmlns, NS_ITEMS), mk_iq_to(r), node, mk_iq_from(r), q);
	return q;
}

static enum mk_verdict on_host(struct mk_inst *i, struct mk_iq_req *r)
{
	answer(i, r, query(i, r, MK_DISCO_HOST));
	return MK_DONE;
}

/* The roster isn't in memory. The answer was made at the account's home. */
static int look_up(struct mk_inst *i, struct mk_iq_req *r, struct mk_store *st)
{
	struct mk_inst *ri;
	const struct mk_roster_svc *svc = mk_service_get(i, "roster", 1, &ri);
	struct mk_jid *user = mk_jid_to_bare(mk_iq_to(r));
	struct mk_jid *contact = mk_jid_to_bare(mk_iq_from(r));
	struct mk_roster_item item;
	int err = svc != NULL ? svc->get(ri, st, user, contact, &item) : -MK_ENOENT;

	mk_jid_unref(&user);
	mk_jid_unref(&contact);
	if (err < 0 && err != -MK_ENOENT)
		return err;
	if (err == 0 && item.flags & MK_ROSTER_FROM)
		answer(i, r, *mk_iq_data(r));
	else
		refuse(i, r);
	return 0;
}

static enum mk_verdict on_account(struct mk_inst *i, struct mk_iq_req *r)
{
	const struct mk_roster_svc *svc;
	struct mk_inst *ri;
	int flags;

	if (mk_jid_bare_eq(mk_iq_from(r), mk_iq_to(r))) {
		answer(i, r, query(i, r, MK_DISCO_ACCOUNT));
		return MK_DONE;
	}
	svc = mk_service_get(i, "roster", 1, &ri);
	flags = svc != NULL ? svc->flags(ri, mk_entity_find(mk_iq_to(r)), mk_iq_from(r)) : 0;
	if (flags < 0) {
		*mk_iq_data(r) = query(i, r, MK_DISCO_ACCOUNT);
		return mk_iq_job(r, look_up);
	}
	if (flags & MK_ROSTER_FROM)
		answer(i, r, query(i, r, MK_DISCO_ACCOUNT));
	else
		refuse(i, r);
	return MK_DONE;
}

#define IQ(fn_, where, ns) { .size = sizeof(struct mk_iq), .xmlns = ns, .name = "query",     \
	.fn = fn_, .flags = MK_IQ_GET | MK_IQ_UNORDERED | (where) }
static const struct mk_iq iqs[] = {
	IQ(on_host, MK_IQ_HOST, NS_INFO), IQ(on_host, MK_IQ_HOST, NS_ITEMS),
	IQ(on_account, MK_IQ_ACCOUNT | MK_IQ_OTHERS, NS_INFO),
	IQ(on_account, MK_IQ_ACCOUNT | MK_IQ_OTHERS, NS_ITEMS),
};

/* ---- life ------------------------------------------------------------------------------- */

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct disco_conf *c = mk_conf_view_values(v);
	int err = 0;

	for (uint32_t k = 0; k < c->items.n; k++) {
		const char *z = c->items.v[k];
		struct mk_jid *j = NULL;
		if (mk_jid_parse((struct mk_str){ z, strcspn(z, " ") }, &j) < 0) {
			mk_conf_refuse(v, d, "items", "'%s' does not begin with an address", z);
			err = -MK_EINVAL;
		} else {
			mk_jid_unref(&j);
		}
	}
	for (unsigned n = 0; n < CONTACTS; n++) {
		const struct mk_conf_list *l = addresses(c, n);
		for (uint32_t k = 0; k < l->n; k++)
			if (strchr(l->v[k], ':') == NULL || strpbrk(l->v[k], " \t\r\n<>\"") != NULL) {
				mk_conf_refuse(v, d, contacts[n].key, "'%s' is no URI, such as "
					"mailto:admin@example.org or xmpp:admin@example.org", l->v[k]);
				err = -MK_EINVAL;
			}
	}
	return err;
}

static const char *const needs[] = { "?svc:roster/1", NULL };

static int start(struct mk_inst *i)
{
	const uint32_t both = MK_DISCO_HOST | MK_DISCO_ACCOUNT;
	int r = 0;

	for (size_t k = 0; k < sizeof iqs / sizeof *iqs && r == 0; k++)
		r = mk_iq_handle(i, &iqs[k]);
	if (r == 0)
		r = mk_disco_identity(i, MK_DISCO_HOST, "server", "im", NULL);
	if (r == 0)
		r = mk_disco_identity(i, MK_DISCO_ACCOUNT, "account", "registered", NULL);
	if (r == 0)
		r = mk_disco_feature(i, both, NS_INFO);
	if (r == 0)
		r = mk_disco_feature(i, both, NS_ITEMS);
	if (r == 0)
		r = mk_disco_extend(i, MK_DISCO_HOST, false, add_contacts);
	if (r == 0)
		r = mk_disco_extend(i, MK_DISCO_HOST, true, add_items);
	if (r == 0)
		r = mk_disco_extend(i, MK_DISCO_ACCOUNT, true, add_resources);
	return r;
}

MK_PLUGIN(disco, "disco", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause",
	.summary = "Tells what the server and accounts can do (XEP-0030, XEP-0128, XEP-0157).",
	.needs = needs, .conf = &schema, .metrics = metrics, .check = check, .start = start)
