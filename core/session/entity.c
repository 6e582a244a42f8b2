/*
 * session/entity.c - entities of this worker, and what waits for them
 */
#include "session/session.h"

#include "loop/worker.h"
#include "route/claim.h"
#include "route/route.h"
#include "session/tables.h"
#include "session/commit.h"
#include "base/ban.h"

static bool jid_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct mk_entity *e = MK_CONTAINER(n, struct mk_entity, node);
	return e->jid->bare_n == key_n && memcmp(e->jid->text, key, key_n) == 0;
}

void mk_sessions_worker_init(struct mk_worker *w)
{
	struct mk_tables *t = mk_alloc(sizeof *t);

	mk_map_init(&t->entities, jid_eq);
	w->core = t;
	mk_iq_worker_init(w);
	mk_commits_worker_init(w);
}

void mk_sessions_worker_fini(struct mk_worker *w)
{
	struct mk_tables *t = w->core;

	mk_iq_worker_fini(w);
	mk_commits_worker_fini(w);
	mk_map_fini(&t->entities);
	mk_free(t);
	w->core = NULL;
	mk_slots_end((void ***)&w->slots, MK_SLOT_WORKER);
	mk_parcels_thread_end();
}

struct mk_worker *mk_home_of(const struct mk_jid *j)
{
	return mk_worker((unsigned)(j->bare_hash % mk_worker_count));
}

struct mk_entity *mk_entity_find(const struct mk_jid *bare)
{
	struct mk_map_node *n;

	if (mk_self == NULL)
		return NULL;
	n = mk_map_find(&mk_tables()->entities, bare->bare_hash, bare->text, bare->bare_n);
	return n != NULL ? MK_CONTAINER(n, struct mk_entity, node) : NULL;
}

void mk_entity_soon(uint64_t hash)
{
	struct mk_tables *t = mk_tables();
	const struct mk_map_node *n;
	const struct mk_entity *e;

	memmove(t->soon + 1, t->soon, sizeof t->soon - sizeof t->soon[0]);
	t->soon[0] = hash;
	mk_map_prefetch(&t->entities, hash);
	if ((n = mk_map_first(&t->entities, t->soon[1])) != NULL)
		mk_prefetch(MK_CONTAINER(n, struct mk_entity, node), sizeof *e);
	if ((n = mk_map_first(&t->entities, t->soon[2])) != NULL) {
		e = MK_CONTAINER(n, struct mk_entity, node);
		mk_prefetch(e->jid, 64);
		mk_prefetch(e->slots, 64);
		mk_prefetch(e->sessions, sizeof *e->sessions);
	}
	if ((n = mk_map_first(&t->entities, t->soon[3])) != NULL) {
		const struct mk_session *s = MK_CONTAINER(n, struct mk_entity, node)->sessions;
		if (s != NULL) {
			mk_prefetch(s->jid, 64);
			mk_prefetch(s->slots, 64);
			if (s->stream != NULL)
				s->transport->soon(s->stream);
		}
	}
}

struct mk_entity *mk_entity_get(const struct mk_jid *j)
{
	struct mk_entity *e = mk_entity_find(j);

	mk_assert(mk_self != NULL && mk_home_of(j) == mk_self);
	if (e != NULL)
		return e;
	e = mk_alloc(sizeof *e);
	e->magic = MK_ENTITY_MAGIC;
	e->jid = mk_jid_to_bare(j);
	e->domain = mk_domain_find_any(j->text + mk_jid_domain_at(j),
		(size_t)(j->bare_n - mk_jid_domain_at(j)));
	if (e->domain == NULL)
		e->domain = mk_claim_parent(j);
	mk_map_insert(&mk_tables()->entities, &e->node, e->jid->bare_hash);
	return e;
}

const struct mk_jid *mk_entity_jid(const struct mk_entity *e) { return e->jid; }

struct mk_session *mk_entity_sessions(const struct mk_entity *e) { return e->sessions; }

struct mk_session *mk_entity_session(const struct mk_entity *e, struct mk_str resource)
{
	for (struct mk_session *s = e->sessions; s != NULL; s = s->next)
		if (mk_str_eq(mk_jid_resource(s->jid), resource))
			return s;
	return NULL;
}

void mk_entity_hold(struct mk_entity *e)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	e->held++;
}

void mk_entity_queue(struct mk_entity *e, struct mk_parcel *p)
{
	if (e->queue == NULL) {
		e->queue = mk_alloc(sizeof *e->queue);
		mk_list_init(e->queue);
	}
	mk_list_push(e->queue, &p->task.node);
	e->queue_n++;
}

void mk_entity_release(struct mk_entity *e)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	mk_assert(e->held > 0);
	/* The hold is kept until what waited has been handed on, so that nothing
	 * new overtakes it and the entity can't end in between. */
	while (e->held == 1 && e->queue != NULL) {
		struct mk_list *n = mk_list_pop(e->queue);
		if (n == NULL)
			break;
		struct mk_parcel *p = MK_CONTAINER(n, struct mk_parcel, task.node);
		e->queue_n--;
		e->held = 0;
		e->kept++;
		mk_parcel_run(p);
		e->kept--;
		e->held++;
	}
	e->held--;
	if (e->queue != NULL && e->queue_n == 0) {
		mk_free(e->queue);
		e->queue = NULL;
	}
	mk_entity_check(e);
}

void mk_entity_check(struct mk_entity *e)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	if (e->sessions != NULL || e->held != 0 || e->kept != 0 || e->queue_n != 0)
		return;
	mk_map_remove(&mk_tables()->entities, &e->node);
	mk_slots_end(&e->slots, MK_SLOT_ENTITY);
	mk_jid_unref(&e->jid);
	mk_free(e->queue);
	e->magic = 0;
	mk_free(e);
}

void mk_entity_keep(struct mk_entity *e)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	e->kept++;
}

void mk_entity_unkeep(struct mk_entity *e)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	mk_assert(e->kept > 0);
	e->kept--;
	mk_entity_check(e);
}

void mk_entity_post(struct mk_inst *i, const struct mk_jid *bare, mk_post_fn *fn,
	void *data, void (*drop)(void *data))
{
	struct mk_parcel *p = mk_parcel_new(MK_PARCEL_POST);

	if (!mk_inst_enter(i)) {
		if (drop != NULL)
			drop(data);
		mk_parcel_free(p);
		return;
	}
	p->to = mk_jid_to_bare(bare);
	p->inst = i;
	p->post = fn;
	p->data = data;
	p->drop = drop;
	mk_parcel_send(p, mk_home_of(bare));
}

const char *mk_domain_type(const struct mk_jid *j)
{
	const struct mk_domain *d = mk_domain_of(j);
	return d != NULL ? d->type->name : NULL;
}

struct each_e { bool (*fn)(struct mk_entity *, void *); void *arg; };

static bool one_entity(struct mk_map_node *n, void *arg)
{
	struct each_e *x = arg;
	return x->fn(MK_CONTAINER(n, struct mk_entity, node), x->arg);
}

void mk_entities_each(struct mk_worker *w, bool (*fn)(struct mk_entity *e, void *arg), void *arg)
{
	struct mk_tables *t = w->core;
	struct each_e x = { fn, arg };

	if (t != NULL)
		mk_map_each(&t->entities, one_entity, &x);
}

struct each { bool (*fn)(struct mk_session *, void *); void *arg; bool go; };

static bool each_entity(struct mk_map_node *n, void *arg)
{
	struct each *x = arg;
	struct mk_entity *e = MK_CONTAINER(n, struct mk_entity, node);

	e->kept++;
	for (struct mk_session *s = e->sessions, *next; s != NULL && x->go; s = next) {
		next = s->next;
		x->go = x->fn(s, x->arg);
	}
	e->kept--;
	mk_entity_check(e);
	return x->go;
}

void mk_sessions_each(struct mk_worker *w, bool (*fn)(struct mk_session *s, void *arg),
	void *arg)
{
	struct mk_tables *t = w->core;
	struct each x = { fn, arg, true };

	mk_map_each(&t->entities, each_entity, &x);
}

uint32_t mk_sessions_count(const struct mk_worker *w)
{
	const struct mk_tables *t = w->core;
	return t != NULL ? t->sessions : 0;
}
