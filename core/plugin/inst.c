/*
 * plugin/inst.c - starting and stopping instances; what they register
 *
 * Main thread, but for mk_inst_enter/leave and the accessors. Registration
 * happens in start() only: afterwards the lists are what dispatch was built
 * from and do not change until the instance stops.
 */
#include "plugin/inst.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/metric.h"
#include "domain/domain.h"
#include "plugin/dispatch.h"
#include "store/store.h"
#include "route/route.h"
#include "stream/stream.h"
#include "base/ban.h"

struct mk_list mk_modules = { &mk_modules, &mk_modules };

struct mk_module *mk_module_find(const char *name)
{
	MK_LIST_EACH(n, &mk_modules) {
		struct mk_module *m = MK_CONTAINER(n, struct mk_module, node);
		if (strcmp(m->plugin->name, name) == 0)
			return m;
	}
	return NULL;
}

struct mk_module *mk_module_static(const struct mk_plugin *p)
{
	struct mk_module *m = mk_alloc(sizeof *m);

	m->plugin = p;
	m->path = mk_strdup("(built in)");
	mk_list_init(&m->insts);
	mk_list_push(&mk_modules, &m->node);
	if (p->load == NULL || p->load(m) == 0)
		m->loaded = true;
	return m;
}

/* ---- registering ------------------------------------------------------------ */

static bool may_register(struct mk_inst *i)
{
	MK_CHECK(i, MK_INST_MAGIC);
	if (atomic_load(&i->state) == MK_INST_STARTING)
		return true;
	mk_log(i, MK_ERROR, "registration outside start() refused", NULL);
	return false;
}

int mk_hook_add(struct mk_inst *i, uint16_t hook, int prio, uint32_t match,
                mk_any_fn *fn, enum mk_run run)
{
	/* stored: stanza_in, _deliver, _failed, session_open, _close, account_removed */
	const uint32_t may_store = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 10;

	if (!may_register(i) || hook == 0 || hook >= MK_HOOK_COUNT || fn == NULL ||
	    (match & MK_M_ALL) == 0 || (run == MK_STORED && !(may_store & 1u << hook)) ||
	    (run == MK_INLINE && hook == 10))
		return -MK_EINVAL;
	struct mk_reg_hook *r = mk_alloc(sizeof *r);
	r->hook = hook;
	r->prio = prio;
	r->match = match & MK_M_ALL;
	r->fn = fn;
	r->run = run;
	mk_list_push(&i->hooks, &r->node);
	return 0;
}

int mk_iq_handle(struct mk_inst *i, const struct mk_iq *iq)
{
	if (!may_register(i) || iq->xmlns == NULL || (iq->fn == NULL) == (iq->stored_fn == NULL) ||
	    !(iq->flags & (MK_IQ_GET | MK_IQ_SET)) || !(iq->flags & MK_IQ_KINDS))
		return -MK_EINVAL;
	struct mk_reg_iq *r = mk_alloc(sizeof *r);
	memcpy(&r->iq, iq, iq->size < sizeof r->iq ? iq->size : sizeof r->iq);
	mk_list_push(&i->iqs, &r->node);
	return 0;
}

int mk_claim_add(struct mk_inst *i, const struct mk_claim *c)
{
	if (!may_register(i) || c->host == NULL || c->stanza == NULL || !mk_claim_host_ok(c->host))
		return -MK_EINVAL;
	struct mk_reg_claim *r = mk_alloc(sizeof *r);
	memcpy(&r->claim, c, c->size < sizeof r->claim ? c->size : sizeof r->claim);
	mk_list_push(&i->claims, &r->node);
	return 0;
}

int mk_nonza_handle(struct mk_inst *i, const char *xmlns, const char *name,
	uint32_t states, mk_nonza_fn *fn)
{
	if (!may_register(i) || xmlns == NULL || name == NULL || fn == NULL || states == 0)
		return -MK_EINVAL;
	struct mk_reg_nonza *r = mk_alloc(sizeof *r);
	r->xmlns = xmlns;
	r->name = name;
	r->states = states;
	r->fn = fn;
	mk_list_push(&i->nonzas, &r->node);
	return 0;
}

int mk_stream_feature(struct mk_inst *i, uint32_t states, mk_feature_fn *fn)
{
	if (!may_register(i) || fn == NULL || states == 0)
		return -MK_EINVAL;
	struct mk_reg_feature *r = mk_alloc(sizeof *r);
	r->states = states;
	r->fn = fn;
	mk_list_push(&i->features, &r->node);
	return 0;
}

int mk_inline_handle(struct mk_inst *i, const struct mk_inline_request *q)
{
	if (!may_register(i) || q->xmlns == NULL || q->fn == NULL ||
	    !(q->where & (MK_INLINE_SASL2 | MK_INLINE_BIND2)))
		return -MK_EINVAL;
	struct mk_reg_inline *r = mk_alloc(sizeof *r);
	memcpy(&r->r, q, q->size < sizeof r->r ? q->size : sizeof r->r);
	mk_list_push(&i->inlines, &r->node);
	return 0;
}

static int disco_add(struct mk_inst *i, char kind, uint32_t where, bool items,
	const char *a, const char *b, const char *c, mk_disco_fn *fn)
{
	if (!may_register(i) || !(where & (MK_DISCO_HOST | MK_DISCO_ACCOUNT)))
		return -MK_EINVAL;
	struct mk_reg_disco *r = mk_alloc(sizeof *r);
	r->kind = kind;
	r->where = where;
	r->items = items;
	r->a = a != NULL ? mk_strdup(a) : NULL;
	r->b = b != NULL ? mk_strdup(b) : NULL;
	r->c = c != NULL ? mk_strdup(c) : NULL;
	r->fn = fn;
	mk_list_push(&i->discos, &r->node);
	return 0;
}
int mk_disco_feature(struct mk_inst *i, uint32_t where, const char *var)
{
	return disco_add(i, 'f', where, false, var, NULL, NULL, NULL);
}
int mk_disco_identity(struct mk_inst *i, uint32_t where, const char *category,
	const char *type, const char *name)
{
	return disco_add(i, 'i', where, false, category, type, name, NULL);
}
int mk_disco_extend(struct mk_inst *i, uint32_t where, bool items, mk_disco_fn *fn)
{
	return fn == NULL ? -MK_EINVAL : disco_add(i, 'x', where, items, NULL, NULL, NULL, fn);
}

int mk_service_offer(struct mk_inst *i, const char *name, unsigned version, const void *fns)
{
	if (!may_register(i) || name == NULL || fns == NULL)
		return -MK_EINVAL;
	struct mk_reg_service *r = mk_alloc(sizeof *r);
	r->name = name;
	r->version = version;
	r->fns = fns;
	mk_list_push(&i->services, &r->node);
	return 0;
}

int mk_mech_add(struct mk_inst *i, const struct mk_mech *m)
{
	if (!may_register(i) || m->name == NULL || m->step == NULL)
		return -MK_EINVAL;
	struct mk_reg_mech *r = mk_alloc(sizeof *r);
	r->mech = m;
	mk_list_push(&i->mechs, &r->node);
	return 0;
}

int mk_source_add(struct mk_inst *i, const struct mk_source *s)
{
	if (!may_register(i) || s->name == NULL || s->exists == NULL)
		return -MK_EINVAL;
	struct mk_reg_source *r = mk_alloc(sizeof *r);
	r->source = s;
	mk_list_push(&i->sources, &r->node);
	unsigned threads = s->size > offsetof(struct mk_source, threads) && s->threads != NULL
		? s->threads(i) : 0;
	if (threads > 0 && !i->has_own_pool) {
		i->pool = mk_store_pool_new(s->name, threads);
		i->has_own_pool = true;
	}
	return 0;
}

const void *mk_service_get(struct mk_inst *i, const char *name, unsigned version,
	struct mk_inst **inst_out)
{
	const struct mk_dispatch *d = mk_dispatch(i->type);

	for (uint32_t x = 0; x < d->service_count; x++)
		if (d->services[x].r->version == version &&
		    strcmp(d->services[x].r->name, name) == 0) {
			*inst_out = d->services[x].inst;
			return d->services[x].r->fns;
		}
	return NULL;
}

void mk_service_each(struct mk_inst *i, struct mk_str domain, const char *name,
	unsigned version, bool (*fn)(struct mk_inst *giver, const void *fns, void *arg), void *arg)
{
	const struct mk_domain *dom = domain.n != 0 ? mk_domain_find(domain.p, domain.n) : NULL;
	const struct mk_dispatch *d = mk_dispatch(dom != NULL ? dom->type : mk_global_type);

	(void)i;
	for (uint32_t x = 0; x < d->service_count; x++)
		if (d->services[x].r->version == version &&
		    strcmp(d->services[x].r->name, name) == 0 &&
		    !fn(d->services[x].inst, d->services[x].r->fns, arg))
			return;
}

/* ---- disco ------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void mk_disco_fill(struct mk_inst *i, uint32_t where, bool items,
	const struct mk_jid *about, const char *node, const struct mk_jid *asker,
	struct mk_elem *query)
{
	const struct mk_dispatch *d = mk_dispatch(i->type);
	struct mk_arena *a = mk_arena_new();
	const char **vars = mk_arena_alloc(a, (d->disco_count + 1) * sizeof *vars);
	uint32_t n = 0;

	for (uint32_t x = 0; x < d->disco_count && !items && node == NULL; x++) {
		const struct mk_reg_disco *r = d->discos[x].r;
		if (!(r->where & where))
			continue;
		if (r->kind == 'i') {
			struct mk_elem *e = mk_elem_add(query, "identity", NULL);
			mk_elem_set(e, "category", r->a);
			mk_elem_set(e, "type", r->b);
			mk_elem_set(e, "name", r->c);
		} else if (r->kind == 'f') {
			vars[n++] = r->a;
		}
	}
	qsort(vars, n, sizeof *vars, by_text);
	for (uint32_t x = 0; x < n; x++)
		if (x == 0 || strcmp(vars[x], vars[x - 1]) != 0)
			mk_elem_set(mk_elem_add(query, "feature", NULL), "var", vars[x]);
	for (uint32_t x = 0; x < d->disco_count; x++) {
		const struct mk_reg_disco *r = d->discos[x].r;
		if (r->kind == 'x' && (r->where & where) && r->items == items)
			r->fn(d->discos[x].inst, about, node, asker, query);
	}
	mk_arena_free(&a);
}

/* ---- life --------------------------------------------------------------------- */

static void list_free(struct mk_list *l, size_t node_offset, void (*fini)(void *))
{
	struct mk_list *n;
	while ((n = mk_list_pop(l)) != NULL) {
		void *r = (char *)n - node_offset;
		if (fini != NULL)
			fini(r);
		mk_free(r);
	}
}
static void disco_fini(void *p)
{
	struct mk_reg_disco *r = p;
	mk_free(r->a);
	mk_free(r->b);
	mk_free(r->c);
}

static void registrations_free(struct mk_inst *i)
{
	list_free(&i->hooks, offsetof(struct mk_reg_hook, node), NULL);
	list_free(&i->iqs, offsetof(struct mk_reg_iq, node), NULL);
	list_free(&i->nonzas, offsetof(struct mk_reg_nonza, node), NULL);
	list_free(&i->features, offsetof(struct mk_reg_feature, node), NULL);
	list_free(&i->inlines, offsetof(struct mk_reg_inline, node), NULL);
	list_free(&i->discos, offsetof(struct mk_reg_disco, node), disco_fini);
	list_free(&i->claims, offsetof(struct mk_reg_claim, node), NULL);
	list_free(&i->services, offsetof(struct mk_reg_service, node), NULL);
	list_free(&i->mechs, offsetof(struct mk_reg_mech, node), NULL);
	list_free(&i->sources, offsetof(struct mk_reg_source, node), NULL);
}

static struct mk_inst *inst_new(struct mk_module *m, struct mk_host_type *t)
{
	struct mk_inst *i = mk_alloc(sizeof *i);
	struct mk_list *lists[] = { &i->hooks, &i->iqs, &i->nonzas, &i->features, &i->inlines,
		&i->discos, &i->services, &i->claims, &i->mechs, &i->sources, &i->everies };
	uint32_t n = 0;

	i->magic = MK_INST_MAGIC;
	i->module = m;
	i->type = t;
	for (size_t x = 0; x < sizeof lists / sizeof *lists; x++)
		mk_list_init(lists[x]);
	i->pool = mk_store_pool(m->plugin->tables);
	for (; m->plugin->metrics != NULL && m->plugin->metrics[n] != NULL; n++)
		;
	i->metric_ids = mk_alloc((n + 1) * sizeof *i->metric_ids);
	for (uint32_t x = 0; x < n; x++) {
		const struct mk_metric *d = m->plugin->metrics[x];
		struct mk_buf name = { 0 }, label = { 0 };
		mk_buf_printf(&name, "meerkat_%s_%s", m->plugin->name, d->name);
		mk_buf_printf(&label, "type=\"%s\"", t->name);
		for (char *c = mk_buf_z(&name); *c != '\0'; c++)
			if (*c == '-')
				*c = '_';
		i->metric_ids[x] = mk_metric_id(mk_buf_z(&name), d->help, (int)d->kind,
			mk_buf_z(&label));
		mk_buf_free(&name);
		mk_buf_free(&label);
	}
	return i;
}

static void inst_free(struct mk_inst *i)
{
	registrations_free(i);
	mk_list_remove(&i->type_node);
	mk_list_remove(&i->module_node);
	struct mk_arena *a = i->conf_arena;
	if (a != NULL)
		mk_arena_free(&a);
	mk_free(i->metric_ids);
	i->magic = 0;
	mk_free(i);
}

static void inst_gone(void *p)
{
	inst_free(p);
}

/* Nobody is inside, so there is nothing queued. */
static void own_pool_free(struct mk_inst *i)
{
	struct mk_pool *own = i->pool;

	if (!i->has_own_pool)
		return;
	i->pool = mk_store_pool(i->module->plugin->tables);
	i->has_own_pool = false;
	mk_pool_free(&own);
}

struct worker_call { struct mk_inst *i; int err; };

static void call_worker_start(struct mk_worker *w, void *arg)
{
	struct worker_call *c = arg;
	(void)w;
	if (c->err == 0)
		c->err = c->i->module->plugin->worker_start(c->i);
}
static void call_drop(struct mk_worker *w, void *arg)
{
	struct worker_call *c = arg;
	(void)w;
	mk_links_drop(c->i);
	/* What ends a slot may stop its timers. */
	mk_slots_drop(c->i);
	mk_timers_drop(c->i);
	mk_iq_drop(c->i);
	mk_sessions_drop(c->i);
}

static void call_worker_stop(struct mk_worker *w, void *arg)
{
	const struct worker_call *c = arg;

	call_drop(w, arg);
	if (c->i->module->plugin->worker_stop != NULL)
		c->i->module->plugin->worker_stop(c->i);
}

int mk_inst_start(struct mk_module *m, struct mk_host_type *type, const void *values,
	struct mk_arena *arena, struct mk_diag *d, struct mk_inst **out)
{
	const struct mk_plugin *p = m->plugin;
	struct mk_inst *i = inst_new(m, type);
	int r = 0;

	i->conf_arena = arena;
	atomic_store(&i->conf, values);
	mk_list_push(&type->insts, &i->type_node);
	mk_list_push(&m->insts, &i->module_node);
	if (p->start != NULL && (r = p->start(i)) < 0) {
		mk_diag_add(d, "plugin '%s' did not start on host type '%s': %s", p->name,
			type->name, mk_strerror(-r));
		goto fail;
	}
	if (p->worker_start != NULL) {
		struct worker_call c = { i, 0 };
		mk_workers_call(call_worker_start, &c);
		if ((r = c.err) < 0) {
			mk_diag_add(d, "plugin '%s' did not start on a worker: %s", p->name,
				mk_strerror(-r));
			goto stop;
		}
	}
	if ((r = mk_dispatch_build(type, d)) < 0)
		goto stop;
	atomic_store(&i->state, MK_INST_RUNNING);
	mk_everies_start(i);
	*out = i;
	return 0;
stop:
	if (p->worker_stop != NULL) {
		struct worker_call c = { i, 0 };
		mk_workers_call(call_worker_stop, &c);
	}
	atomic_store(&i->state, MK_INST_STOPPING);
	if (p->stop != NULL)
		p->stop(i);
fail:
	atomic_store(&i->state, MK_INST_STOPPED);
	mk_everies_stop(i);
	mk_list_remove(&i->type_node);
	mk_list_remove(&i->module_node);
	mk_dispatch_build(type, NULL);
	/* A global one was in the dispatch of some host types before another's
	 * refused it: somebody may have seen it there. */
	if (atomic_load(&i->busy) == 0) {
		own_pool_free(i);
		mk_quiesce(inst_gone, i);
	}
	return r;
}

bool mk_inst_enter(struct mk_inst *i)
{
	atomic_fetch_add(&i->busy, 1);
	if (atomic_load(&i->state) <= MK_INST_RUNNING)
		return true;
	atomic_fetch_sub(&i->busy, 1);
	return false;
}

void mk_inst_leave(struct mk_inst *i)
{
	mk_assert(atomic_fetch_sub(&i->busy, 1) > 0);
}

void mk_inst_stop(struct mk_inst **ip, int64_t wait_ms)
{
	struct mk_inst *i = *ip;
	mk_usec until = mk_now_usec() + wait_ms * 1000;

	*ip = NULL;
	MK_CHECK(i, MK_INST_MAGIC);
	atomic_store(&i->state, MK_INST_STOPPING);
	mk_everies_stop(i);
	mk_dispatch_build(i->type, NULL);
	struct worker_call c = { i, 0 };
	mk_workers_call(call_worker_stop, &c);
	while (atomic_load(&i->busy) != 0 && mk_now_usec() < until) {
		struct timespec t = { 0, 1000000 };
		nanosleep(&t, NULL);
	}
	if (atomic_load(&i->busy) != 0)
		mk_log(i, MK_WARN, "instance is still at work while it stops", "calls=%u",
			atomic_load(&i->busy));
	/* Jobs that came back meanwhile may have started timers, asked, or left a
	 * request for later. */
	mk_workers_call(call_drop, &c);
	if (i->module->plugin->stop != NULL)
		i->module->plugin->stop(i);
	atomic_store(&i->state, MK_INST_STOPPED);
	mk_list_remove(&i->type_node);
	mk_list_remove(&i->module_node);
	/* Somebody may still be inside (it did not return in time): its memory
	 * then stays, as its code does. */
	if (atomic_load(&i->busy) == 0) {
		own_pool_free(i);
		mk_quiesce(inst_gone, i);
	}
}

static void old_conf_free(void *p)
{
	struct mk_arena *a = p;
	mk_arena_free(&a);
}

int mk_inst_reload(struct mk_inst *i, const void *values, struct mk_arena *arena,
	struct mk_diag *d)
{
	const struct mk_plugin *p = i->module->plugin;
	int r;

	if (p->reload != NULL && (r = p->reload(i, values, d)) < 0)
		return r;
	struct mk_arena *old = i->conf_arena;
	atomic_store_explicit(&i->conf, values, memory_order_release);
	i->conf_arena = arena;
	if (old != NULL)
		mk_quiesce(old_conf_free, old);
	return 0;
}

/* ---- accessors ---------------------------------------------------------------- */

const void *mk_inst_conf(const struct mk_inst *i)
{
	return atomic_load_explicit(&((struct mk_inst *)i)->conf, memory_order_acquire);
}
const char *mk_inst_type(const struct mk_inst *i) { return i->type->name; }
const char *mk_inst_plugin(const struct mk_inst *i) { return i->module->plugin->name; }
void mk_inst_set_data(struct mk_inst *i, void *data) { i->data = data; }
void *mk_inst_data(const struct mk_inst *i) { return i->data; }

void mk_metric_add(struct mk_inst *i, uint32_t index, int64_t n)
{
	mk_metric_bump(i->metric_ids[index], n);
}
void mk_metric_observe(struct mk_inst *i, uint32_t index, int64_t value)
{
	mk_metric_see(i->metric_ids[index], value);
}

/* ---- order --------------------------------------------------------------------- */

static bool gives(const struct mk_plugin *p, const char *what)
{
	if (strncmp(what, "svc:", 4) != 0)
		return strcmp(p->name, what) == 0;
	for (const char *const *g = p->gives; g != NULL && *g != NULL; g++)
		if (strcmp(*g, what) == 0)
			return true;
	return false;
}

int mk_plugins_order(struct mk_module *const *m, size_t n, struct mk_module **out,
	struct mk_diag *d)
{
	bool *done = mk_alloc(n + 1);
	size_t k = 0;
	int err = 0;

	for (size_t x = 0; x < n; x++)
		for (const char *const *w = m[x]->plugin->needs; w != NULL && *w != NULL; w++) {
			bool found = **w == '?';
			for (size_t y = 0; y < n && !found; y++)
				found = gives(m[y]->plugin, *w);
			if (!found) {
				mk_diag_add(d, "plugin '%s' needs '%s', which no enabled plugin gives",
					m[x]->plugin->name, *w);
				err = -MK_EINVAL;
			}
		}
	while (err == 0 && k < n) {
		size_t before = k;
		for (size_t x = 0; x < n; x++) {
			bool ready = !done[x];
			for (const char *const *w = m[x]->plugin->needs;
			     ready && w != NULL && *w != NULL; w++)
				for (size_t y = 0; y < n && ready; y++)
					if (y != x && !done[y] && gives(m[y]->plugin,
					                                *w + (**w == '?')))
						ready = false;
			if (ready) {
				out[k++] = m[x];
				done[x] = true;
			}
		}
		if (k == before) {
			for (size_t x = 0; x < n; x++)
				if (!done[x])
					mk_diag_add(d, "plugin '%s' needs itself by way of others",
						m[x]->plugin->name);
			err = -MK_EINVAL;
		}
	}
	mk_free(done);
	return err;
}
