/*
 * plugin/timer.c - plugins' timers, periodic jobs, and jobs of their own
 *
 * A timer lives on the worker that started it, in a list per worker, so that
 * those of an instance that stops are found. Periodic jobs tick on worker 0.
 */
#include "plugin/inst.h"

#include "loop/worker.h"
#include "store/store.h"
#include "base/ban.h"

struct mk_timer {
	struct mk_wtimer t;
	struct mk_list node;
	struct mk_inst *inst;
	mk_timer_fn *fn;
	void *data;
};
static _Thread_local struct mk_list timers;

static void timer_fire(struct mk_wtimer *w)
{
	struct mk_timer *t = MK_CONTAINER(w, struct mk_timer, t);
	struct mk_inst *i = t->inst;
	mk_timer_fn *fn = t->fn;
	void *data = t->data;

	mk_list_remove(&t->node);
	mk_free(t);
	fn(i, data);
}

struct mk_timer *mk_timer_start(struct mk_inst *i, int64_t delay_ms, mk_timer_fn *fn,
	void *data)
{
	struct mk_timer *t = mk_alloc(sizeof *t);

	mk_assert(mk_self != NULL);
	if (timers.next == NULL)
		mk_list_init(&timers);
	t->inst = i;
	t->fn = fn;
	t->data = data;
	mk_list_push(&timers, &t->node);
	mk_wtimer_start(&t->t, delay_ms, timer_fire);
	return t;
}

static void timer_free(struct mk_timer *t)
{
	mk_wtimer_stop(&t->t);
	mk_list_remove(&t->node);
	mk_free(t);
}

void mk_timer_stop(struct mk_timer **t)
{
	if (*t != NULL)
		timer_free(*t);
	*t = NULL;
}

void mk_timers_drop(struct mk_inst *i)
{
	if (timers.next == NULL)
		return;
	MK_LIST_EACH(n, &timers) {
		struct mk_timer *t = MK_CONTAINER(n, struct mk_timer, node);
		if (t->inst == i)
			timer_free(t);
	}
}

/* ---- mk_job --------------------------------------------------------------------- */

struct own_job {
	struct mk_job job;
	struct mk_inst *inst;
	void (*fn)(struct mk_inst *, struct mk_store *, void *);
	void (*done)(struct mk_inst *, void *);
	void *data;
	bool entered;
};

static void own_run(struct mk_job *j, void *thread_data)
{
	struct own_job *o = MK_CONTAINER(j, struct own_job, job);

	if (o->entered)
		o->fn(o->inst, thread_data, o->data);
	mk_store_job_end(thread_data);
}
static void own_done(struct mk_job *j)
{
	struct own_job *o = MK_CONTAINER(j, struct own_job, job);

	if (o->done != NULL)
		o->done(o->inst, o->data);
	if (o->entered)
		mk_inst_leave(o->inst);
	mk_free(o);
}

void mk_job(struct mk_inst *i, void (*fn)(struct mk_inst *, struct mk_store *, void *),
	void (*done)(struct mk_inst *, void *), void *data)
{
	struct own_job *o = mk_alloc(sizeof *o);

	o->inst = i;
	o->fn = fn;
	o->done = done;
	o->data = data;
	o->entered = mk_inst_enter(i);
	o->job.run = own_run;
	o->job.done = own_done;
	mk_pool_submit(i->pool, &o->job);
}

/* ---- mk_every ------------------------------------------------------------------- */

struct mk_reg_every {
	struct mk_list node;
	struct mk_inst *inst;
	int64_t period_ms;
	void (*fn)(struct mk_inst *, struct mk_store *);
	struct mk_wtimer timer;        /* on worker 0                           */
	struct mk_job job;
	struct mk_msg begin, end;      /* to worker 0                           */
	_Atomic bool stopped;
	bool running, ended;           /* worker 0's; ended: end has come       */
};

static void every_due(struct mk_wtimer *t);

static void every_run(struct mk_job *j, void *thread_data)
{
	struct mk_reg_every *e = MK_CONTAINER(j, struct mk_reg_every, job);

	e->fn(e->inst, thread_data);
	mk_store_job_end(thread_data);
}
static void every_done(struct mk_job *j)
{
	struct mk_reg_every *e = MK_CONTAINER(j, struct mk_reg_every, job);

	e->running = false;
	mk_inst_leave(e->inst);
	if (e->ended)
		mk_free(e);
	else if (!atomic_load(&e->stopped))
		mk_wtimer_start(&e->timer, e->period_ms, every_due);
	/* else: end is on its way, and frees it */
}
static void every_due(struct mk_wtimer *t)
{
	struct mk_reg_every *e = MK_CONTAINER(t, struct mk_reg_every, timer);

	if (atomic_load(&e->stopped) || !mk_inst_enter(e->inst))
		return;
	e->running = true;
	e->job.run = every_run;
	e->job.done = every_done;
	mk_pool_submit(e->inst->pool, &e->job);
}

int mk_every(struct mk_inst *i, int64_t period_ms,
	void (*fn)(struct mk_inst *, struct mk_store *))
{
	if (atomic_load(&i->state) != MK_INST_STARTING || period_ms <= 0)
		return -MK_EINVAL;
	struct mk_reg_every *e = mk_alloc(sizeof *e);
	e->inst = i;
	e->period_ms = period_ms;
	e->fn = fn;
	mk_list_push(&i->everies, &e->node);
	return 0;
}

static void every_begin(struct mk_msg *m)
{
	struct mk_reg_every *e = MK_CONTAINER(m, struct mk_reg_every, begin);
	if (!atomic_load(&e->stopped))
		mk_wtimer_start(&e->timer, e->period_ms, every_due);
}
static void every_end(struct mk_msg *m)
{
	struct mk_reg_every *e = MK_CONTAINER(m, struct mk_reg_every, end);
	mk_wtimer_stop(&e->timer);
	e->ended = true;
	if (!e->running)
		mk_free(e);
}

void mk_everies_start(struct mk_inst *i)
{
	MK_LIST_EACH(n, &i->everies) {
		struct mk_reg_every *e = MK_CONTAINER(n, struct mk_reg_every, node);
		e->begin.fn = every_begin;
		if (mk_worker_count > 0)
			mk_worker_post(mk_worker(0), &e->begin);
	}
}

void mk_everies_stop(struct mk_inst *i)
{
	struct mk_list *n;
	while ((n = mk_list_pop(&i->everies)) != NULL) {
		struct mk_reg_every *e = MK_CONTAINER(n, struct mk_reg_every, node);
		atomic_store(&e->stopped, true);
		if (mk_worker_count > 0) {
			e->end.fn = every_end;
			mk_worker_post(mk_worker(0), &e->end);
		} else {
			mk_free(e);
		}
	}
}
