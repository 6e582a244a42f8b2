/*
 * session/kept.c - a job that deletes another copy of what sessions keep
 *
 * It begins when the journal has reached the disk. From the call to the end of done
 * it counts as being inside its instance, so that a stop waits for it. On the
 * worker.
 */
#include "session/session.h"

#include "loop/worker.h"
#include "plugin/inst.h"
#include "store/journal.h"
#include "base/ban.h"

struct kept_job {
	struct mk_task task;
	struct mk_inst *inst;
	void (*fn)(struct mk_inst *, struct mk_store *, void *);
	void (*done)(struct mk_inst *, void *);
	void *data;
};

static void run(struct mk_inst *i, struct mk_store *st, void *data)
{
	const struct kept_job *k = data;

	k->fn(i, st, k->data);
}

static void end(struct mk_inst *i, void *data)
{
	struct kept_job *k = data;

	k->done(i, k->data);
	mk_inst_leave(i);
	mk_free(k);
}

static void is_synced(struct mk_task *t)
{
	struct kept_job *k = MK_CONTAINER(t, struct kept_job, task);

	mk_job(k->inst, run, end, k);
}

static void is_late(struct mk_task *t)
{
	struct kept_job *k = MK_CONTAINER(t, struct kept_job, task);

	end(k->inst, k);
}

void mk_job_kept(struct mk_inst *i, const struct mk_session *s,
	void (*fn)(struct mk_inst *, struct mk_store *, void *),
	void (*done)(struct mk_inst *, void *), void *data)
{
	int64_t position = mk_journal_synced(MK_DURABLE_ASYNC);
	struct kept_job *k;

	MK_CHECK(s, MK_SESSION_MAGIC);
	if (position <= mk_journal_synced((enum mk_durability)s->durability) ||
	    !mk_inst_enter(i)) {
		mk_job(i, fn, done, data);
		return;
	}
	k = mk_alloc(sizeof *k);
	*k = (struct kept_job){ .inst = i, .fn = fn, .done = done, .data = data };
	/* The server stops: what is kept is replayed at the next start, beside
	 * the other copy. */
	k->task.run = mk_journal_is_frozen() ? is_late : is_synced;
	if (k->task.run == is_late)
		mk_worker_run(&k->task);
	else
		mk_journal_wait(position, &k->task);
}
