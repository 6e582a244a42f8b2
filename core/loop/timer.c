/*
 * loop/timer.c - a wheel of coarse timers per worker
 *
 * Four levels of 64 slots: level 0 has a slot per tick, level k one per 64^k
 * ticks. When the hand of a level comes round, the next slot of the level above
 * is dealt out below. Delays beyond the wheel (19 days) wait in the slot of
 * level 3 that comes last and are dealt again. The owner's thread only.
 */
#include "base/assert.h"
#include "loop/worker.h"

#define LEVELS 4
#define SLOTS 64u

/* The tick at which a time has surely come. */
static uint64_t tick_after(mk_usec t)
{
	return ((uint64_t)t + MK_TICK_USEC - 1) / MK_TICK_USEC;
}

/* Into the slot for when it is due, but not before the tick soonest. */
static void place(struct mk_wheel *w, struct mk_wtimer *t, uint64_t soonest)
{
	uint64_t due = tick_after(t->due), delta;
	unsigned level = 0;

	if (due < soonest)
		due = soonest;
	delta = due - w->tick;
	while (level < LEVELS - 1 && delta >= UINT64_C(1) << 6 * (level + 1))
		level++;
	if (delta >= UINT64_C(1) << 6 * LEVELS)
		due = w->tick + (UINT64_C(1) << 6 * LEVELS) - 1;
	mk_list_push(&w->slot[level][due >> 6 * level & (SLOTS - 1)], &t->node);
}

/* The first tick that has something to do: timers, or slots to deal out. */
static uint64_t next_tick(const struct mk_wheel *w)
{
	uint64_t t = w->tick;

	do {
		t++;
	} while ((t & (SLOTS - 1)) != 0 && mk_list_empty(&w->slot[0][t & (SLOTS - 1)]));
	return t;
}

void mk_wheel_init(struct mk_wheel *w)
{
	for (unsigned l = 0; l < LEVELS; l++) {
		for (unsigned i = 0; i < SLOTS; i++)
			mk_list_init(&w->slot[l][i]);
	}
	w->tick = w->wake = 0;
	w->count = 0;
}

void mk_wheel_fini(struct mk_wheel *w)
{
	for (unsigned l = 0; l < LEVELS; l++) {
		for (unsigned i = 0; i < SLOTS; i++) {
			while (mk_list_pop(&w->slot[l][i]) != NULL)
				;
		}
	}
	w->count = 0;
}

int mk_wheel_wait(const struct mk_wheel *w, mk_usec now)
{
	mk_usec wait = (mk_usec)(w->wake * MK_TICK_USEC) - now;

	if (w->wake == 0)
		return -1;
	return wait <= 0 ? 0 : (int)((wait + 999) / 1000);
}

static void deal(struct mk_wheel *w, struct mk_list *slot)
{
	struct mk_list all;
	struct mk_list *n;

	mk_list_init(&all);
	mk_list_move(&all, slot);
	while ((n = mk_list_pop(&all)) != NULL)
		place(w, MK_CONTAINER(n, struct mk_wtimer, node), w->tick);
}

/* One tick on. What is due at this very tick is dealt into its slot first. */
static void step(struct mk_wheel *w)
{
	uint64_t tick = ++w->tick;
	struct mk_list due, *n;
	struct mk_wtimer *t;

	for (unsigned l = 1; l < LEVELS && (tick & ((UINT64_C(1) << 6 * l) - 1)) == 0; l++)
		deal(w, &w->slot[l][tick >> 6 * l & (SLOTS - 1)]);
	mk_list_init(&due);
	mk_list_move(&due, &w->slot[0][tick & (SLOTS - 1)]);
	while ((n = mk_list_pop(&due)) != NULL) {
		t = MK_CONTAINER(n, struct mk_wtimer, node);
		w->count--;
		t->fn(t);
	}
}

void mk_wheel_run(struct mk_wheel *w, mk_usec now)
{
	uint64_t until = (uint64_t)now / MK_TICK_USEC;

	if (w->wake == 0 || until < w->wake)
		return;
	w->wake = 0;
	while (w->count > 0 && w->tick < until)
		step(w);
	w->wake = w->count > 0 ? next_tick(w) : 0;
}

void mk_wtimer_start(struct mk_wtimer *t, int64_t delay_ms, void (*fn)(struct mk_wtimer *t))
{
	const int64_t longest = INT64_C(100) * 366 * 86400 * 1000;
	struct mk_wheel *w;
	uint64_t due;

	mk_assert(mk_self != NULL);
	w = &mk_self->wheel;
	if (mk_wtimer_is_running(t)) {
		mk_list_remove(&t->node);
		w->count--;
	}
	delay_ms = delay_ms < 0 ? 0 : delay_ms > longest ? longest : delay_ms;
	t->due = mk_self->now + delay_ms * 1000;
	t->fn = fn;
	/* An empty wheel has stood still. */
	if (w->count == 0 && w->tick < (uint64_t)mk_self->now / MK_TICK_USEC)
		w->tick = (uint64_t)mk_self->now / MK_TICK_USEC;
	w->count++;
	place(w, t, w->tick + 1);
	due = tick_after(t->due);
	if (due <= w->tick)
		due = w->tick + 1;
	if (w->wake == 0 || due < w->wake)
		w->wake = next_tick(w);
}

void mk_wtimer_stop(struct mk_wtimer *t)
{
	if (!mk_wtimer_is_running(t))
		return;
	mk_assert(mk_self != NULL && mk_self->wheel.count > 0);
	mk_list_remove(&t->node);
	/* wake stays: one wake-up for nothing is cheaper than a search. */
	mk_self->wheel.count--;
}
