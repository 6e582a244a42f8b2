/*
 * plugin/dispatch.c - builds and publishes a host type's dispatch
 *
 * Main thread only, but for reading. A dispatch is never changed after it is
 * published; the one it replaces goes after every worker and job went by and
 * no parked event holds it.
 */
#include "plugin/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "conf/node.h"
#include "loop/worker.h"
#include "base/ban.h"

struct mk_list mk_host_types = { &mk_host_types, &mk_host_types };
struct mk_host_type *mk_global_type;

struct mk_host_type *mk_host_type_get(const char *name)
{
	MK_LIST_EACH(n, &mk_host_types) {
		struct mk_host_type *t = MK_CONTAINER(n, struct mk_host_type, node);
		if (strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

struct mk_host_type *mk_host_type_add(const char *name)
{
	struct mk_host_type *t = mk_alloc(sizeof *t);

	t->name = mk_strdup(name);
	mk_list_init(&t->insts);
	mk_list_push(&mk_host_types, &t->node);
	atomic_init(&t->max_resources, 10);
	if (strcmp(name, "*") == 0)
		mk_global_type = t;
	mk_dispatch_build(t, NULL);
	return t;
}

struct mk_dispatch *mk_dispatch_ref(const struct mk_dispatch *d)
{
	struct mk_dispatch *m = (struct mk_dispatch *)d;
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void mk_dispatch_unref(struct mk_dispatch **d)
{
	struct mk_dispatch *m = *d;

	*d = NULL;
	if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	mk_map_fini(&m->iqs);
	struct mk_arena *a = m->arena;
	mk_arena_free(&a);
}

static void dispatch_old(void *p)
{
	struct mk_dispatch *d = p;
	mk_dispatch_unref(&d);
}

static bool xmlns_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct mk_iq_entry *e = MK_CONTAINER(n, struct mk_iq_entry, node);
	return strlen(e->iq->xmlns) == key_n && memcmp(e->iq->xmlns, key, key_n) == 0;
}

/* ---- a running instance's registrations, one after the other ------------------- */

struct build {
	struct mk_dispatch *d;
	struct mk_arena *a;
	struct mk_diag *diag;
	struct mk_inst **inst;
	uint32_t inst_n;
	int err;
};

static void collect(struct build *b, struct mk_host_type *t)
{
	MK_LIST_EACH(n, &t->insts) {
		struct mk_inst *i = MK_CONTAINER(n, struct mk_inst, type_node);
		int s = atomic_load(&i->state);
		if (s == MK_INST_RUNNING || s == MK_INST_STARTING)
			b->inst[b->inst_n++] = i;
	}
}

static uint32_t count_all(struct mk_host_type *t)
{
	uint32_t n = 0;
	if (t == NULL)
		return 0;
	MK_LIST_EACH(x, &t->insts)
		n++;
	return n;
}

struct sort_handler { struct mk_handler h; uint32_t match; uint16_t hook; };

static int handler_order(const void *pa, const void *pb)
{
	const struct sort_handler *a = pa, *b = pb;

	if (a->hook != b->hook)
		return a->hook < b->hook ? -1 : 1;
	if (a->h.prio != b->h.prio)
		return a->h.prio < b->h.prio ? -1 : 1;
	return strcmp(a->h.inst->module->plugin->name, b->h.inst->module->plugin->name);
}

static void build_hooks(struct build *b)
{
	uint32_t total = 0, k = 0;

	for (uint32_t x = 0; x < b->inst_n; x++)
		MK_LIST_EACH(n, &b->inst[x]->hooks)
			total++;
	if (total == 0)
		return;
	struct sort_handler *all = mk_alloc(total * sizeof *all);
	for (uint32_t x = 0; x < b->inst_n; x++)
		MK_LIST_EACH(n, &b->inst[x]->hooks) {
			struct mk_reg_hook *r = MK_CONTAINER(n, struct mk_reg_hook, node);
			all[k++] = (struct sort_handler){
				.h = { b->inst[x], r->fn, r->prio, (uint8_t)r->run },
				.match = r->match, .hook = r->hook };
		}
	qsort(all, total, sizeof *all, handler_order);
	for (uint32_t x = 0; x < total; x++)
		for (unsigned bit = 0; bit < MK_MATCH_BITS; bit++)
			if (all[x].match & (1u << bit))
				b->d->chain[all[x].hook][bit].n++;
	for (unsigned hook = 0; hook < MK_HOOK_COUNT; hook++)
		for (unsigned bit = 0; bit < MK_MATCH_BITS; bit++) {
			struct mk_chain *c = &b->d->chain[hook][bit];
			if (c->n == 0)
				continue;
			struct mk_handler *h = mk_arena_alloc(b->a, c->n * sizeof *h);
			uint32_t at = 0;
			for (uint32_t x = 0; x < total; x++)
				if (all[x].hook == hook && (all[x].match & (1u << bit)))
					h[at++] = all[x].h;
			c->h = h;
		}
	mk_free(all);
}

static bool iq_clash(const struct mk_iq *a, const struct mk_iq *b, bool same_inst)
{
	uint32_t types = MK_IQ_GET | MK_IQ_SET;
	/* Services and rooms are each instance's own. */
	uint32_t kinds = same_inst ? MK_IQ_KINDS : MK_IQ_HOST | MK_IQ_ACCOUNT;

	return (a->flags & b->flags & kinds) != 0 && (a->flags & b->flags & types) != 0 &&
	       mk_streq(a->name, b->name);
}

static void build_secrets(struct build *b)
{
	uint32_t n = 0;

	for (uint32_t x = 0; x < b->inst_n; x++)
		MK_LIST_EACH(node, &b->inst[x]->iqs)
			n += (MK_CONTAINER(node, struct mk_reg_iq, node)->iq.flags & MK_IQ_SECRET) != 0;
	b->d->secrets = mk_arena_alloc(b->a, (n + 1) * sizeof *b->d->secrets);
	for (uint32_t x = 0; x < b->inst_n; x++)
		MK_LIST_EACH(node, &b->inst[x]->iqs) {
			const struct mk_reg_iq *r = MK_CONTAINER(node, struct mk_reg_iq, node);
			if (r->iq.flags & MK_IQ_SECRET)
				b->d->secrets[b->d->secret_count++] = mk_strz(r->iq.xmlns);
		}
}

bool mk_dispatch_is_secret(const struct mk_dispatch *d, const char *xml, size_t n)
{
	if (n < 3 || memcmp(xml, "<iq", 3) != 0)
		return false;
	for (uint32_t k = 0; k < d->secret_count; k++)
		if (memmem(xml, n, d->secrets[k].p, d->secrets[k].n) != NULL)
			return true;
	return false;
}

static void build_iqs(struct build *b)
{
	mk_map_init(&b->d->iqs, xmlns_eq);
	for (uint32_t x = 0; x < b->inst_n; x++)
		MK_LIST_EACH(n, &b->inst[x]->iqs) {
			struct mk_reg_iq *r = MK_CONTAINER(n, struct mk_reg_iq, node);
			struct mk_iq_entry *e = mk_arena_alloc(b->a, sizeof *e);
			size_t len = strlen(r->iq.xmlns);
			uint64_t hash = mk_hash_bytes(r->iq.xmlns, len);
			struct mk_map_node *old = mk_map_find(&b->d->iqs, hash, r->iq.xmlns, len);

			e->inst = b->inst[x];
			e->iq = &r->iq;
			if (old == NULL) {
				mk_map_insert(&b->d->iqs, &e->node, hash);
				continue;
			}
			struct mk_iq_entry *o = MK_CONTAINER(old, struct mk_iq_entry, node);
			for (struct mk_iq_entry *c = o; c != NULL; c = c->next)
				if (iq_clash(c->iq, e->iq, c->inst == e->inst)) {
					if (b->diag != NULL)
						mk_diag_add(b->diag, "plugins '%s' and '%s' both handle "
							"<%s xmlns='%s'/>",
							c->inst->module->plugin->name,
							e->inst->module->plugin->name,
							e->iq->name != NULL ? e->iq->name : "*",
							e->iq->xmlns);
					b->err = -MK_EEXIST;
				}
			e->next = o->next;
			o->next = e;
		}
}

#define BUILD_LIST(b, list, regtype, field, count, member, value)                    \
	do {                                                                         \
		uint32_t total_ = 0;                                                 \
		for (uint32_t x_ = 0; x_ < (b)->inst_n; x_++)                        \
			MK_LIST_EACH(n_, &(b)->inst[x_]->list)                       \
				total_++;                                            \
		(b)->d->field = mk_arena_alloc((b)->a,                               \
			(total_ + 1) * sizeof *(b)->d->field);                       \
		for (uint32_t x_ = 0; x_ < (b)->inst_n; x_++)                        \
			MK_LIST_EACH(n_, &(b)->inst[x_]->list) {                     \
				struct regtype *r = MK_CONTAINER(n_, struct regtype, node); \
				(b)->d->field[(b)->d->count].inst = (b)->inst[x_];   \
				(b)->d->field[(b)->d->count].member = (value);       \
				(b)->d->count++;                                     \
			}                                                            \
	} while (0)

static void nonza_clashes(struct build *b)
{
	for (uint32_t x = 0; x < b->d->nonza_count; x++)
		for (uint32_t y = 0; y < x; y++)
			if (strcmp(b->d->nonzas[x].r->xmlns, b->d->nonzas[y].r->xmlns) == 0 &&
			    strcmp(b->d->nonzas[x].r->name, b->d->nonzas[y].r->name) == 0) {
				if (b->diag != NULL)
					mk_diag_add(b->diag, "plugins '%s' and '%s' both handle "
						"<%s xmlns='%s'/> of the stream",
						b->d->nonzas[y].inst->module->plugin->name,
						b->d->nonzas[x].inst->module->plugin->name,
						b->d->nonzas[x].r->name, b->d->nonzas[x].r->xmlns);
				b->err = -MK_EEXIST;
			}
}

static void build_claims(struct build *b)
{
	struct mk_dispatch *d = b->d;

	BUILD_LIST(b, claims, mk_reg_claim, claims, claim_count, r, r);
	for (uint32_t x = 0; x < d->claim_count; x++) {
		struct mk_claim_entry *c = &d->claims[x];
		c->h = (struct mk_handler){ c->inst, (mk_any_fn *)c->r->claim.stanza, 0, MK_INLINE };
		for (uint32_t y = 0; y < x; y++)
			if (strcmp(c->r->claim.host, d->claims[y].r->claim.host) == 0) {
				if (b->diag != NULL)
					mk_diag_add(b->diag, "plugins '%s' and '%s' both claim '%s'",
						d->claims[y].inst->module->plugin->name,
						c->inst->module->plugin->name, c->r->claim.host);
				b->err = -MK_EEXIST;
			}
	}
}

static bool word_in(const struct mk_conf_list *l, const char *w, uint32_t *at)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i], w) == 0) {
			*at = i;
			return true;
		}
	return false;
}

/* Allowed mechanisms, strongest first; sources in the order of auth:. */
static void build_auth(struct build *b, struct mk_host_type *t)
{
	struct mk_dispatch *d = b->d;
	uint32_t at, n = 0;

	for (uint32_t x = 0; x < d->mech_count; x++) {
		const struct mk_mech *m = d->mechs[x].m;
		bool ok = t->mechanisms.n == 0 ? !(m->flags & MK_MECH_ANONYMOUS)
		                               : word_in(&t->mechanisms, m->name, &at);
		if (ok)
			d->mechs[n++] = d->mechs[x];
	}
	d->mech_count = n;
	for (uint32_t x = 1; x < n; x++)
		for (uint32_t y = x; y > 0 && d->mechs[y].m->strength > d->mechs[y - 1].m->strength; y--) {
			__typeof__(*d->mechs) swap = d->mechs[y];
			d->mechs[y] = d->mechs[y - 1];
			d->mechs[y - 1] = swap;
		}
	n = 0;
	for (uint32_t want = 0; want < t->auth.n; want++)
		for (uint32_t x = n; x < d->source_count; x++)
			if (strcmp(d->sources[x].s->name, t->auth.v[want]) == 0) {
				__typeof__(*d->sources) swap = d->sources[n];
				d->sources[n] = d->sources[x];
				d->sources[x] = swap;
				n++;
				break;
			}
	d->source_count = n;
}

static int build_one(struct mk_host_type *t, struct mk_diag *diag)
{
	void *extra;
	struct mk_arena *a = mk_arena_new_with(sizeof(struct mk_dispatch), &extra);
	struct build b = { .d = extra, .a = a, .diag = diag };

	b.d->arena = a;
	atomic_init(&b.d->refs, 1);
	b.inst = mk_arena_alloc(a, (count_all(t) + count_all(mk_global_type) + 1) * sizeof *b.inst);
	collect(&b, t);
	if (mk_global_type != NULL && t != mk_global_type)
		collect(&b, mk_global_type);
	build_hooks(&b);
	build_iqs(&b);
	build_secrets(&b);
	BUILD_LIST(&b, nonzas, mk_reg_nonza, nonzas, nonza_count, r, r);
	BUILD_LIST(&b, features, mk_reg_feature, features, feature_count, r, r);
	BUILD_LIST(&b, inlines, mk_reg_inline, inlines, inline_count, r, r);
	BUILD_LIST(&b, discos, mk_reg_disco, discos, disco_count, r, r);
	BUILD_LIST(&b, services, mk_reg_service, services, service_count, r, r);
	BUILD_LIST(&b, mechs, mk_reg_mech, mechs, mech_count, m, r->mech);
	BUILD_LIST(&b, sources, mk_reg_source, sources, source_count, s, r->source);
	nonza_clashes(&b);
	build_claims(&b);
	build_auth(&b, t);
	if (b.err < 0) {
		mk_dispatch_unref(&b.d);
		return b.err;
	}
	struct mk_dispatch *old = atomic_exchange_explicit(&t->dispatch, b.d, memory_order_acq_rel);
	if (old != NULL)
		mk_quiesce(dispatch_old, old);
	return 0;
}

int mk_dispatch_build(struct mk_host_type *t, struct mk_diag *d)
{
	if (t != mk_global_type)
		return build_one(t, d);
	int r = 0;
	MK_LIST_EACH(n, &mk_host_types) {
		int one = build_one(MK_CONTAINER(n, struct mk_host_type, node), d);
		if (one < 0)
			r = one;
	}
	return r;
}

const struct mk_iq_entry *mk_dispatch_iq(const struct mk_dispatch *d,
	const char *xmlns, const char *name, uint32_t kind, bool is_set,
	const struct mk_inst *owner)
{
	size_t n = strlen(xmlns);
	struct mk_map_node *node = mk_map_find(&d->iqs, mk_hash_bytes(xmlns, n), xmlns, n);
	const struct mk_iq_entry *any = NULL;
	uint32_t type = is_set ? MK_IQ_SET : MK_IQ_GET;

	if (node == NULL)
		return NULL;
	for (const struct mk_iq_entry *e = MK_CONTAINER(node, struct mk_iq_entry, node);
	     e != NULL; e = e->next) {
		if (!(e->iq->flags & kind) || !(e->iq->flags & type) ||
		    (owner != NULL && e->inst != owner))
			continue;
		if (e->iq->name == NULL)
			any = e;
		else if (strcmp(e->iq->name, name) == 0)
			return e;
	}
	return any;
}
