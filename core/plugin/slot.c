/*
 * plugin/slot.c - plugins' data on sessions, entities and workers
 *
 * An object has one pointer: NULL until a slot is asked for, then an array
 * { count, pointer, pointer, ... } as long as the registry was at that time,
 * grown when a plugin that came later asks.
 */
#include "plugin/inst.h"

#include "loop/worker.h"
#include "session/session.h"
#include "base/ban.h"

#define SLOTS_MAX 64
struct slot_kind { uint32_t bytes; void (*fini)(void *); struct mk_module *module; bool orphan, keeps; };
/* Written by the main thread at load; an index is handed out after its entry
 * is complete. */
static struct slot_kind kinds[4][SLOTS_MAX];
static _Atomic uint32_t kind_count[4];

int mk_slot_register(struct mk_module *m, const struct mk_slot *s, uint32_t *slot_out)
{
	bool keeps = (s->scope & MK_SLOT_KEEPS) != 0;
	uint32_t scope = s->scope & ~(uint32_t)MK_SLOT_KEEPS;

	if (scope < MK_SLOT_SESSION || scope > MK_SLOT_WORKER || s->bytes == 0 ||
	    (keeps && scope != MK_SLOT_ENTITY))
		return -MK_EINVAL;
	uint32_t n = atomic_load(&kind_count[scope]);
	/* A plugin loaded anew takes its old places again: what was in them ended
	 * when its instances stopped. */
	for (uint32_t i = 0; i < n; i++)
		if (kinds[scope][i].module == m && kinds[scope][i].orphan) {
			kinds[scope][i] = (struct slot_kind){ s->bytes, s->fini, m, false, keeps };
			*slot_out = i;
			return 0;
		}
	if (n == SLOTS_MAX)
		return -MK_ELIMIT;
	kinds[scope][n] = (struct slot_kind){ s->bytes, s->fini, m, false, keeps };
	atomic_store(&kind_count[scope], n + 1);
	*slot_out = n;
	return 0;
}

void *mk_slots_peek(void *const *slots, uint32_t slot)
{
	return slots != NULL && slot < (uintptr_t)slots[0] ? slots[slot + 1] : NULL;
}

void *mk_slots_get(void ***slots, enum mk_slot_scope scope, uint32_t slot)
{
	void **v = *slots;
	uint32_t have = v != NULL ? (uint32_t)(uintptr_t)v[0] : 0;

	mk_assert(slot < atomic_load(&kind_count[scope]));
	if (slot >= have) {
		uint32_t n = slot + 1;
		void **grown = mk_alloc((n + 1) * sizeof *grown);
		for (uint32_t i = 0; i < have; i++)
			grown[i + 1] = v[i + 1];
		grown[0] = (void *)(uintptr_t)n;
		mk_free(v);
		*slots = v = grown;
	}
	if (v[slot + 1] == NULL)
		v[slot + 1] = mk_alloc(kinds[scope][slot].bytes);
	return v[slot + 1];
}

void mk_slots_clear(void **slots, enum mk_slot_scope scope, uint32_t slot)
{
	void *data = mk_slots_peek(slots, slot);

	if (data == NULL)
		return;
	slots[slot + 1] = NULL;
	if (kinds[scope][slot].fini != NULL)
		kinds[scope][slot].fini(data);
	mk_free(data);
}

void mk_slots_end(void ***slots, enum mk_slot_scope scope)
{
	void **v = *slots;

	for (uint32_t i = 0; v != NULL && i < (uintptr_t)v[0]; i++)
		mk_slots_clear(v, scope, i);
	mk_free(v);
	*slots = NULL;
}

void mk_slots_orphan(struct mk_module *m)
{
	for (int scope = MK_SLOT_SESSION; scope <= MK_SLOT_WORKER; scope++)
		for (uint32_t i = 0; i < atomic_load(&kind_count[scope]); i++)
			if (kinds[scope][i].module == m)
				kinds[scope][i].orphan = true;
}

static void clear_of(void **slots, enum mk_slot_scope scope, const struct mk_module *m)
{
	for (uint32_t i = 0; i < atomic_load(&kind_count[scope]); i++)
		if (kinds[scope][i].module == m)
			mk_slots_clear(slots, scope, i);
}

struct drop { struct mk_inst *inst; };

static bool drop_entity(struct mk_entity *e, void *arg)
{
	const struct drop *d = arg;
	const struct mk_inst *i = d->inst;

	if (i->type != mk_global_type && (e->domain == NULL || e->domain->type != i->type))
		return true;
	mk_entity_keep(e);
	for (uint32_t k = 0; k < atomic_load(&kind_count[MK_SLOT_ENTITY]); k++)
		if (kinds[MK_SLOT_ENTITY][k].module == i->module)
			mk_entity_slot_clear(e, k);
	for (struct mk_session *s = e->sessions; s != NULL; s = s->next)
		clear_of(s->slots, MK_SLOT_SESSION, i->module);
	mk_entity_unkeep(e);
	return true;
}

void mk_slots_drop(struct mk_inst *i)
{
	struct drop d = { i };

	mk_entities_each(mk_self, drop_entity, &d);
	if (i->module->insts.next == &i->module_node && i->module->insts.prev == &i->module_node)
		clear_of(mk_self->slots, MK_SLOT_WORKER, i->module);
}

void *mk_session_slot(struct mk_session *s, uint32_t slot)
{
	MK_CHECK(s, MK_SESSION_MAGIC);
	return mk_slots_get(&s->slots, MK_SLOT_SESSION, slot);
}
void *mk_session_slot_peek(const struct mk_session *s, uint32_t slot)
{
	return mk_slots_peek(s->slots, slot);
}
void mk_session_slot_clear(struct mk_session *s, uint32_t slot)
{
	mk_slots_clear(s->slots, MK_SLOT_SESSION, slot);
}
void *mk_entity_slot(struct mk_entity *e, uint32_t slot)
{
	MK_CHECK(e, MK_ENTITY_MAGIC);
	if (kinds[MK_SLOT_ENTITY][slot].keeps && mk_slots_peek(e->slots, slot) == NULL)
		mk_entity_keep(e);
	return mk_slots_get(&e->slots, MK_SLOT_ENTITY, slot);
}
void *mk_entity_slot_peek(const struct mk_entity *e, uint32_t slot)
{
	return mk_slots_peek(e->slots, slot);
}
void mk_entity_slot_clear(struct mk_entity *e, uint32_t slot)
{
	bool kept = kinds[MK_SLOT_ENTITY][slot].keeps && mk_slots_peek(e->slots, slot) != NULL;

	mk_slots_clear(e->slots, MK_SLOT_ENTITY, slot);
	if (kept)
		mk_entity_unkeep(e);
}
void *mk_worker_slot(uint32_t slot)
{
	mk_assert(mk_self != NULL);
	return mk_slots_get((void ***)&mk_self->slots, MK_SLOT_WORKER, slot);
}
