/*
 * plugin/dispatch_test.c - who is called for what, and in which order
 *
 * Plugins are descriptors of this file; each registers what its row says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/arena.h"
#include "conf/node.h"
#include "plugin/dispatch.h"
#include "base/ban.h"

static struct mk_host_type *people, *others;
static int (*registering)(struct mk_inst *i);  /* what start() does         */
static unsigned stops;

static int start_any(struct mk_inst *i) { return registering(i); }
static void stop_any(struct mk_inst *i)
{
	(void)i;
	stops++;
}

#define PLUGIN(id, plugin_name, ...)                                        \
	static const struct mk_plugin id = { .magic = MK_PLUGIN_MAGIC,          \
		.abi_major = MK_ABI_MAJOR, .size = sizeof(struct mk_plugin),        \
		.build = MK_ABI_BUILD, .name = plugin_name, .start = start_any,     \
		.stop = stop_any, __VA_ARGS__ }
PLUGIN(plugin_b, "bb", .flags = MK_PLUGIN_PER_TYPE);
PLUGIN(plugin_a, "aa", .flags = MK_PLUGIN_PER_TYPE);
PLUGIN(plugin_g, "global", .flags = MK_PLUGIN_GLOBAL);
static struct mk_module *a, *b, *g;

static struct mk_inst *start(struct mk_module *m, struct mk_host_type *t,
	int (*fn)(struct mk_inst *i))
{
	struct mk_diag d = { 0 };
	struct mk_inst *i = NULL;

	registering = fn;
	if (mk_inst_start(m, t, NULL, mk_arena_new(), &d, &i) < 0)
		print_message("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	assert_non_null(i);
	return i;
}
static int start_fails(struct mk_module *m, struct mk_host_type *t,
	int (*fn)(struct mk_inst *i), const char *words)
{
	struct mk_diag d = { 0 };
	struct mk_inst *i = NULL;
	int r;

	registering = fn;
	r = mk_inst_start(m, t, NULL, mk_arena_new(), &d, &i);
	assert_true(r < 0);
	assert_null(i);
	assert_string_equal(d.text.n != 0 ? mk_buf_z(&d.text) : "", words);
	mk_diag_fini(&d);
	return r;
}
static void stop(struct mk_inst *i) { mk_inst_stop(&i, 1000); }

/* "aa:100 bb:500" of a chain. */
static const char *chain(struct mk_host_type *t, int hook, int bit)
{
	static char text[256];
	const struct mk_chain *c = &mk_dispatch(t)->chain[hook][bit];
	int n = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < c->n; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%s%s:%d", i > 0 ? " " : "",
			c->h[i].inst->module->plugin->name, c->h[i].prio);
	return text;
}
enum { IN = 1, DELIVER = 2, OPEN = 5, CLOSE = 6 };
enum { MESSAGE = 0, PRESENCE = 1, IQ = 4 };

static enum mk_verdict nothing(struct mk_inst *i, struct mk_ev_stanza *ev)
{
	(void)i, (void)ev;
	return MK_NEXT;
}
static enum mk_verdict nothing_stored(struct mk_inst *i, struct mk_ev_stanza *ev,
	struct mk_store *st)
{
	(void)i, (void)ev, (void)st;
	return MK_NEXT;
}
static void noted(struct mk_inst *i, const struct mk_ev_session *ev) { (void)i, (void)ev; }

/* ---- hooks ------------------------------------------------------------------------- */

static int hooks_late(struct mk_inst *i)
{
	assert_int_equal(mk_on_stanza_in(i, 500, MK_M_MESSAGE | MK_M_IQ, nothing), 0);
	assert_int_equal(mk_on_stanza_in(i, 100, MK_M_MESSAGE, nothing), 0);
	return mk_on_session_open(i, 300, noted);
}
static int hooks_both(struct mk_inst *i)
{
	assert_int_equal(mk_on_stanza_in(i, 500, MK_M_ALL, nothing), 0);
	return mk_on_stanza_in_stored(i, 300, MK_M_MESSAGE, nothing_stored);
}

static void test_order_is_priority_then_name_never_load_order(void **state)
{
	struct mk_inst *ib = start(b, people, hooks_late), *ia = start(a, people, hooks_both);

	(void)state;
	assert_string_equal(chain(people, IN, MESSAGE), "bb:100 aa:300 aa:500 bb:500");
	assert_string_equal(chain(people, IN, IQ), "aa:500 bb:500");
	assert_string_equal(chain(people, IN, PRESENCE), "aa:500");
	assert_string_equal(chain(people, DELIVER, MESSAGE), "");
	assert_string_equal(chain(people, OPEN, MESSAGE), "bb:300");
	assert_int_equal(mk_dispatch(people)->chain[IN][MESSAGE].h[1].run, MK_STORED);
	assert_int_equal(mk_dispatch(people)->chain[IN][MESSAGE].h[2].run, MK_INLINE);
	/* Another host type knows nothing of it. */
	assert_string_equal(chain(others, IN, MESSAGE), "");
	stop(ib);
	assert_string_equal(chain(people, IN, MESSAGE), "aa:300 aa:500");
	stop(ia);
	assert_string_equal(chain(people, IN, MESSAGE), "");
}

static int hooks_refused(struct mk_inst *i)
{
	assert_int_equal(mk_hook_add(i, 0, 1, MK_M_ALL, (mk_any_fn *)nothing, MK_INLINE), -MK_EINVAL);
	assert_int_equal(mk_hook_add(i, MK_HOOK_COUNT, 1, MK_M_ALL, (mk_any_fn *)nothing, MK_INLINE),
		-MK_EINVAL);
	assert_int_equal(mk_on_stanza_in(i, 1, 0, nothing), -MK_EINVAL);
	assert_int_equal(mk_on_stanza_in(i, 1, MK_M_ALL, NULL), -MK_EINVAL);
	/* What is about to be written can't wait for storage. */
	assert_int_equal(mk_on_stanza_out_stored(i, 1, MK_M_ALL, nothing_stored), -MK_EINVAL);
	assert_int_equal(mk_hook_add(i, 10, 1, MK_M_ALL, (mk_any_fn *)noted, MK_INLINE), -MK_EINVAL);
	assert_int_equal(mk_every(i, 0, NULL), -MK_EINVAL);
	return 0;
}

static void test_what_can_not_be_is_refused(void **state)
{
	struct mk_inst *i = start(a, people, hooks_refused);

	(void)state;
	assert_string_equal(chain(people, IN, MESSAGE), "");
	/* Nor afterwards. */
	assert_int_equal(mk_on_stanza_in(i, 1, MK_M_ALL, nothing), -MK_EINVAL);
	stop(i);
}

static void test_global_instances_serve_every_host_type(void **state)
{
	struct mk_inst *ig = start(g, mk_global_type, hooks_late), *ia = start(a, people, hooks_both);

	(void)state;
	assert_string_equal(chain(people, IN, MESSAGE), "global:100 aa:300 aa:500 global:500");
	assert_string_equal(chain(others, IN, MESSAGE), "global:100 global:500");
	struct mk_host_type *late = mk_host_type_get("late");
	if (late == NULL)
		late = mk_host_type_add("late");
	assert_string_equal(chain(late, IN, MESSAGE), "global:100 global:500");
	stop(ig);
	assert_string_equal(chain(people, IN, MESSAGE), "aa:300 aa:500");
	assert_string_equal(chain(late, IN, MESSAGE), "");
	stop(ia);
}

/* ---- IQs ----------------------------------------------------------------------------- */

static enum mk_verdict answered(struct mk_inst *i, struct mk_iq_req *r)
{
	(void)i, (void)r;
	return MK_DONE;
}
#define IQ_(ns, n, f) (&(struct mk_iq){ .size = sizeof(struct mk_iq), .xmlns = ns, .name = n, \
	.flags = f, .fn = answered })

static int iqs_a(struct mk_inst *i)
{
	assert_int_equal(mk_iq_handle(i, IQ_("urn:x", "query", MK_IQ_GET | MK_IQ_HOST)), 0);
	assert_int_equal(mk_iq_handle(i, IQ_("urn:x", NULL, MK_IQ_SET | MK_IQ_HOST)), 0);
	assert_int_equal(mk_iq_handle(i, IQ_("urn:y", NULL, MK_IQ_GET | MK_IQ_ACCOUNT)), 0);
	/* Neither type, nor target, nor function. */
	assert_int_equal(mk_iq_handle(i, IQ_("urn:z", NULL, MK_IQ_HOST)), -MK_EINVAL);
	assert_int_equal(mk_iq_handle(i, IQ_("urn:z", NULL, MK_IQ_GET)), -MK_EINVAL);
	assert_int_equal(mk_iq_handle(i, IQ_(NULL, NULL, MK_IQ_GET | MK_IQ_HOST)), -MK_EINVAL);
	struct mk_iq none = { .size = sizeof none, .xmlns = "urn:z",
		.flags = MK_IQ_GET | MK_IQ_HOST };
	assert_int_equal(mk_iq_handle(i, &none), -MK_EINVAL);
	return 0;
}
static int iqs_beside(struct mk_inst *i)
{
	assert_int_equal(mk_iq_handle(i, IQ_("urn:x", "query", MK_IQ_SET | MK_IQ_HOST)), 0);
	assert_int_equal(mk_iq_handle(i, IQ_("urn:x", "query", MK_IQ_GET | MK_IQ_ACCOUNT)), 0);
	return mk_iq_handle(i, IQ_("urn:x", "other", MK_IQ_GET | MK_IQ_HOST));
}
static int iqs_clash(struct mk_inst *i)
{
	return mk_iq_handle(i, IQ_("urn:x", "query",
		MK_IQ_GET | MK_IQ_SET | MK_IQ_HOST | MK_IQ_ACCOUNT));
}
static const char *who(const char *ns, const char *name, uint32_t kind, bool set)
{
	const struct mk_iq_entry *e = mk_dispatch_iq(mk_dispatch(people), ns, name, kind, set, NULL);
	return e != NULL ? e->inst->module->plugin->name : "-";
}

static void test_an_iq_goes_to_who_names_it_then_to_who_takes_any(void **state)
{
	struct mk_inst *ia = start(a, people, iqs_a), *ib = start(b, people, iqs_beside);

	(void)state;
	assert_string_equal(who("urn:x", "query", MK_IQ_HOST, false), "aa");
	assert_string_equal(who("urn:x", "query", MK_IQ_HOST, true), "bb");
	assert_string_equal(who("urn:x", "else", MK_IQ_HOST, true), "aa");
	assert_string_equal(who("urn:x", "else", MK_IQ_HOST, false), "-");
	assert_string_equal(who("urn:x", "other", MK_IQ_HOST, false), "bb");
	assert_string_equal(who("urn:x", "query", MK_IQ_ACCOUNT, false), "bb");
	assert_string_equal(who("urn:x", "query", MK_IQ_ACCOUNT, true), "-");
	assert_string_equal(who("urn:y", "what", MK_IQ_ACCOUNT, false), "aa");
	assert_string_equal(who("urn:y", "what", MK_IQ_HOST, false), "-");
	assert_string_equal(who("urn:none", "query", MK_IQ_HOST, false), "-");
	stop(ia);
	assert_string_equal(who("urn:x", "query", MK_IQ_HOST, false), "-");
	assert_string_equal(who("urn:x", "query", MK_IQ_HOST, true), "bb");
	stop(ib);
}

static int iqs_secret(struct mk_inst *i)
{
	assert_int_equal(mk_iq_handle(i, IQ_("urn:open", NULL, MK_IQ_SET | MK_IQ_HOST)), 0);
	return mk_iq_handle(i, IQ_("urn:hidden", NULL, MK_IQ_SET | MK_IQ_HOST | MK_IQ_SECRET));
}
static bool is_secret(struct mk_host_type *t, const char *xml)
{
	return mk_dispatch_is_secret(mk_dispatch(t), xml, strlen(xml));
}

static void test_secrets_are_known_by_their_beginning(void **state)
{
	struct mk_inst *ia = start(a, people, iqs_secret);

	(void)state;
	assert_true(is_secret(people, "<iq type='set'><query xmlns='urn:hidden'><password>x</"));
	assert_true(is_secret(people, "<iq id='1'><q xmlns=\"urn:hidden"));
	assert_false(is_secret(people, "<iq id='1'><q xmlns='urn:hidde"));
	assert_false(is_secret(people, "<iq id='1'><q xmlns='urn:open'/></iq>"));
	assert_false(is_secret(people, "<message><body>urn:hidden</body></message>"));
	assert_false(is_secret(people, "<i"));
	assert_false(is_secret(others, "<iq id='1'><q xmlns='urn:hidden'/></iq>"));
	stop(ia);
	assert_false(is_secret(people, "<iq id='1'><q xmlns='urn:hidden'/></iq>"));
}

static void test_a_clash_names_both_and_changes_nothing(void **state)
{
	struct mk_inst *ia = start(a, people, iqs_a);

	(void)state;
	stops = 0;
	assert_int_equal(start_fails(b, people, iqs_clash,
		"plugins 'aa' and 'bb' both handle <query xmlns='urn:x'/>\n"), -MK_EEXIST);
	/* It had started: it is told to stop. */
	assert_int_equal(stops, 1);
	assert_string_equal(who("urn:x", "query", MK_IQ_HOST, false), "aa");
	assert_int_equal(mk_dispatch(people)->chain[IN][MESSAGE].n, 0);
	assert_true(mk_list_empty(&b->insts));
	/* On another host type there is nobody to clash with. */
	stop(start(b, others, iqs_clash));
	stop(ia);
}

static void on_nonza(struct mk_inst *i, struct mk_stream *st, const struct mk_elem *e)
{
	(void)i, (void)st, (void)e;
}
static int nonza(struct mk_inst *i)
{
	assert_int_equal(mk_nonza_handle(i, "urn:n", "r", 0, on_nonza), -MK_EINVAL);
	return mk_nonza_handle(i, "urn:n", "r", MK_STREAM_BOUND, on_nonza);
}

static void test_an_element_of_the_stream_has_one_handler(void **state)
{
	struct mk_inst *ia = start(a, people, nonza);

	(void)state;
	assert_int_equal(mk_dispatch(people)->nonza_count, 1);
	start_fails(b, people, nonza,
		"plugins 'aa' and 'bb' both handle <r xmlns='urn:n'/> of the stream\n");
	assert_int_equal(mk_dispatch(people)->nonza_count, 1);
	stop(ia);
	assert_int_equal(mk_dispatch(people)->nonza_count, 0);
}

/* ---- authentication ---------------------------------------------------------------------- */

static enum mk_sasl_result step(struct mk_inst *i, struct mk_sasl *x, struct mk_str data,
	bool has_data)
{
	(void)i, (void)x, (void)data, (void)has_data;
	return MK_SASL_FAIL;
}
static enum mk_auth_answer exists(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *user)
{
	(void)i, (void)st, (void)user;
	return MK_AUTH_NO;
}
static const struct mk_mech weak = { .size = sizeof weak, .name = "WEAK", .strength = 1,
	.step = step };
static const struct mk_mech strong = { .size = sizeof strong, .name = "STRONG", .strength = 9,
	.step = step };
static const struct mk_mech nobody = { .size = sizeof nobody, .name = "ANONYMOUS",
	.strength = 0, .flags = MK_MECH_ANONYMOUS, .step = step };
static const struct mk_source ldap = { .size = sizeof ldap, .name = "ldap", .exists = exists };
static const struct mk_source internal = { .size = sizeof internal, .name = "internal",
	.exists = exists };
static const struct mk_source unused = { .size = sizeof unused, .name = "unused",
	.exists = exists };

static int mechs(struct mk_inst *i)
{
	assert_int_equal(mk_mech_add(i, &nobody), 0);
	assert_int_equal(mk_mech_add(i, &weak), 0);
	return mk_mech_add(i, &strong);
}
static int sources(struct mk_inst *i)
{
	assert_int_equal(mk_source_add(i, &unused), 0);
	assert_int_equal(mk_source_add(i, &internal), 0);
	return mk_source_add(i, &ldap);
}

static void test_mechanisms_are_those_allowed_strongest_first(void **state)
{
	static const char *const words[] = { "ANONYMOUS", "WEAK", "UNKNOWN" };
	struct mk_inst *i = start(a, people, mechs);
	const struct mk_dispatch *d = mk_dispatch(people);

	(void)state;
	/* Nothing said: all but ANONYMOUS. */
	assert_int_equal(d->mech_count, 2);
	assert_string_equal(d->mechs[0].m->name, "STRONG");
	assert_string_equal(d->mechs[1].m->name, "WEAK");
	people->mechanisms = (struct mk_conf_list){ words, 3 };
	assert_int_equal(mk_dispatch_build(people, NULL), 0);
	d = mk_dispatch(people);
	assert_int_equal(d->mech_count, 2);
	assert_string_equal(d->mechs[0].m->name, "WEAK");
	assert_string_equal(d->mechs[1].m->name, "ANONYMOUS");
	people->mechanisms = (struct mk_conf_list){ NULL, 0 };
	stop(i);
}

static void test_sources_are_those_of_auth_in_its_order(void **state)
{
	static const char *const words[] = { "ldap", "missing", "internal" };
	struct mk_inst *i = start(a, people, sources);

	(void)state;
	assert_int_equal(mk_dispatch(people)->source_count, 0);
	people->auth = (struct mk_conf_list){ words, 3 };
	assert_int_equal(mk_dispatch_build(people, NULL), 0);
	const struct mk_dispatch *d = mk_dispatch(people);
	assert_int_equal(d->source_count, 2);
	assert_string_equal(d->sources[0].s->name, "ldap");
	assert_string_equal(d->sources[1].s->name, "internal");
	people->auth = (struct mk_conf_list){ NULL, 0 };
	stop(i);
}

/* ---- services, snapshots ----------------------------------------------------------------- */

static const struct { uint32_t size; } functions = { sizeof functions };
static int service(struct mk_inst *i) { return mk_service_offer(i, "test", 1, &functions); }
static int no_more(struct mk_inst *i)
{
	(void)i;
	return 0;
}

static void test_a_service_is_found_in_its_host_type_while_it_runs(void **state)
{
	struct mk_inst *ia = start(a, people, service), *ib = start(b, people, no_more);
	struct mk_inst *io = start(b, others, no_more), *by;

	(void)state;
	assert_ptr_equal(mk_service_get(ib, "test", 1, &by), &functions);
	assert_ptr_equal(by, ia);
	assert_null(mk_service_get(ib, "test", 2, &by));
	assert_null(mk_service_get(io, "test", 1, &by));
	stop(ia);
	assert_null(mk_service_get(ib, "test", 1, &by));
	stop(ib);
	stop(io);
}

static void test_a_parked_event_keeps_the_chain_it_is_in(void **state)
{
	struct mk_inst *i = start(a, people, hooks_both);
	struct mk_dispatch *held = mk_dispatch_ref(mk_dispatch(people));

	(void)state;
	assert_true(mk_inst_enter(i));
	struct mk_inst *same = i;
	mk_inst_leave(i);
	stop(i);
	assert_int_equal(mk_dispatch(people)->chain[IN][MESSAGE].n, 0);
	assert_int_equal(held->chain[IN][MESSAGE].n, 2);
	assert_ptr_equal(held->chain[IN][MESSAGE].h[0].inst, same);
	mk_dispatch_unref(&held);
	assert_null(held);
}

static void test_nobody_enters_what_is_stopping(void **state)
{
	struct mk_inst *i = start(a, people, no_more);

	(void)state;
	assert_true(mk_inst_enter(i));
	atomic_store(&i->state, MK_INST_STOPPING);
	assert_false(mk_inst_enter(i));
	assert_int_equal(atomic_load(&i->busy), 1);
	mk_inst_leave(i);
	stop(i);
}

/* ---- order of start -------------------------------------------------------------------------- */

static const char *const needs_roster[] = { "roster", NULL };
static const char *const needs_service[] = { "svc:list/1", "?svc:push/1", NULL };
static const char *const needs_presence[] = { "?presence", NULL };
static const char *const gives_list[] = { "svc:list/1", NULL };
PLUGIN(presence, "presence", .needs = needs_roster);
PLUGIN(roster, "roster", .needs = needs_service);
PLUGIN(lists, "lists", .gives = gives_list);
PLUGIN(lists_cycle, "lists", .gives = gives_list, .needs = needs_presence);

static void test_who_is_needed_starts_first(void **state)
{
	struct mk_module m[3] = { { .plugin = &presence }, { .plugin = &roster }, { .plugin = &lists } };
	struct mk_module *in[] = { &m[0], &m[1], &m[2] }, *out[3];
	struct mk_diag d = { 0 };

	(void)state;
	assert_int_equal(mk_plugins_order(in, 3, out, &d), 0);
	assert_ptr_equal(out[0], &m[2]);
	assert_ptr_equal(out[1], &m[1]);
	assert_ptr_equal(out[2], &m[0]);
	/* Without it: who needs what. */
	assert_int_equal(mk_plugins_order(in, 2, out, &d), -MK_EINVAL);
	assert_string_equal(mk_buf_z(&d.text),
		"plugin 'roster' needs 'svc:list/1', which no enabled plugin gives\n");
	mk_diag_fini(&d);
	/* A circle, of which one part is only wished for. */
	m[2].plugin = &lists_cycle;
	assert_int_equal(mk_plugins_order(in, 3, out, &d), -MK_EINVAL);
	assert_string_equal(mk_buf_z(&d.text), "plugin 'presence' needs itself by way of others\n"
		"plugin 'roster' needs itself by way of others\n"
		"plugin 'lists' needs itself by way of others\n");
	mk_diag_fini(&d);
}

static int setup(void **state)
{
	(void)state;
	mk_host_type_add("*");
	people = mk_host_type_add("people");
	others = mk_host_type_add("others");
	b = mk_module_static(&plugin_b);
	a = mk_module_static(&plugin_a);
	g = mk_module_static(&plugin_g);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_is_priority_then_name_never_load_order),
		cmocka_unit_test(test_what_can_not_be_is_refused),
		cmocka_unit_test(test_global_instances_serve_every_host_type),
		cmocka_unit_test(test_an_iq_goes_to_who_names_it_then_to_who_takes_any),
		cmocka_unit_test(test_secrets_are_known_by_their_beginning),
		cmocka_unit_test(test_a_clash_names_both_and_changes_nothing),
		cmocka_unit_test(test_an_element_of_the_stream_has_one_handler),
		cmocka_unit_test(test_mechanisms_are_those_allowed_strongest_first),
		cmocka_unit_test(test_sources_are_those_of_auth_in_its_order),
		cmocka_unit_test(test_a_service_is_found_in_its_host_type_while_it_runs),
		cmocka_unit_test(test_a_parked_event_keeps_the_chain_it_is_in),
		cmocka_unit_test(test_nobody_enters_what_is_stopping),
		cmocka_unit_test(test_who_is_needed_starts_first),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
