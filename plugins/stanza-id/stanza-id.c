/*
 * stanza-id - Unique and Stable Stanza IDs (XEP-0359)
 *
 * Runs at the sender's home for what an account sends and at the recipient's for
 * what it gets, before anybody copies or stores it. Keeps no state: the id is
 * what the core knows the stanza by, in the journal too, so that it is the same
 * wherever a copy of it turns up; it grows with time, so that an archive can use
 * it as its key.
 */
#include <meerkat/plugin.h>

#define NS "urn:xmpp:sid:0"

enum { ADDED, STRIPPED };
static const struct mk_metric metric_added = { sizeof(struct mk_metric), MK_COUNTER,
	"added_total", "Messages that were given an id." };
static const struct mk_metric metric_stripped = { sizeof(struct mk_metric), MK_COUNTER,
	"stripped_total", "Ids removed that only this server may give." };
static const struct mk_metric *const metrics[] = { &metric_added, &metric_stripped, NULL };

/* Whether an id claims to be from account (a bare JID, or one of its full ones) or
 * its server, however that is written. */
static bool is_forged(const struct mk_elem *c, void *arg)
{
	const struct mk_jid *account = arg;
	struct mk_jid *j = NULL;
	const char *by;
	bool is_own;

	if (!mk_elem_is(c, "stanza-id", NS) || (by = mk_elem_attr(c, "by")) == NULL ||
	    mk_jid_parsez(by, &j) < 0)
		return false;
	is_own = mk_jid_is_bare(j) && (mk_jid_bare_eq(j, account) ||
	         (mk_jid_local(j).n == 0 && mk_str_eq(mk_jid_domain(j), mk_jid_domain(account))));
	mk_jid_unref(&j);
	return is_own;
}

/* XEP-0359 3, rule 2: all of them, even if none is added (S-06). */
static void strip(struct mk_inst *i, struct mk_ev_stanza *ev, const struct mk_jid *account)
{
	struct mk_jid *own;
	unsigned n;

	if (mk_elem_child(mk_stanza_elem(ev->stanza), "stanza-id", NS) == NULL)
		return;
	own = mk_jid_ref(account);     /* an edit may move what it is of        */
	n = mk_ev_strip_if(ev, is_forged, own);
	mk_jid_unref(&own);
	if (n != 0)
		mk_metric_add(i, STRIPPED, n);
}

/* The sender's other resources get a copy, and its archive one. */
static enum mk_verdict on_in(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	strip(i, ev, ev->from);
	return MK_NEXT;
}

/* Every message comes here: without printf, and two digits at a time. n >= 0. */
static const char *decimal(char out[24], int64_t n)
{
	static const char pairs[] =
		"00010203040506070809101112131415161718192021222324252627282930313233343536373839"
		"40414243444546474849505152535455565758596061626364656667686970717273747576777879"
		"8081828384858687888990919293949596979899";
	char *p = out + 23;
	uint64_t rest = (uint64_t)n;

	*p = '\0';
	for (; rest >= 100; rest /= 100)
		p = memcpy(p - 2, &pairs[2 * (rest % 100)], 2);
	p = memcpy(p - 2, &pairs[2 * rest], 2);
	return rest < 10 ? p + 1 : p;
}

static enum mk_verdict on_deliver(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	struct mk_str by = mk_jid_bare(ev->to);
	struct mk_elem *e;
	char id[24];

	/* It has the id it was given the first time. */
	if (mk_ev_is_redelivery(ev))
		return MK_NEXT;
	strip(i, ev, ev->to);
	if (!mk_stanza_storable(ev->stanza))
		return MK_NEXT;
	e = mk_ev_add(ev, "stanza-id", NS);
	mk_elem_set(e, "by", mk_jid_is_bare(ev->to) ? mk_jid_full(ev->to)
	                     : mk_arena_strndup(mk_turn_arena(), by.p, by.n));
	mk_elem_set(e, "id", decimal(id, mk_stanza_uid(ev->stanza)));
	mk_metric_add(i, ADDED, 1);
	return MK_NEXT;
}

static int start(struct mk_inst *i)
{
	int r = mk_on_stanza_in(i, MK_PRIO_REWRITE, MK_M_MESSAGE | MK_M_ERROR, on_in);

	if (r == 0)
		r = mk_on_stanza_deliver(i, MK_PRIO_REWRITE, MK_M_MESSAGE | MK_M_ERROR, on_deliver);
	if (r == 0)
		r = mk_disco_feature(i, MK_DISCO_HOST | MK_DISCO_ACCOUNT, NS);
	return r;
}

MK_PLUGIN(stanza_id, "stanza-id", .flags = MK_PLUGIN_PER_TYPE, .version = "1.0",
	.license = "BSD-2-Clause", .summary = "Gives messages ids that last (XEP-0359).",
	.metrics = metrics, .start = start)
