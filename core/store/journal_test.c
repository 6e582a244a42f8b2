/*
 * store/journal_test.c - what was written is there again, whatever happens
 *
 * Real workers, a directory of its own per test, small segments. What dies is
 * a child process, by SIGKILL; what a machine loses is made by hand in copies
 * of a file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "conf/node.h"
#include "store/crc32c.h"
#include "store/journal.h"
#include "store/segment.h"

#define WAIT_FOR(c)                                                           \
	do {                                                                  \
		mk_usec until_ = mk_now_usec() + 30000000;                    \
		while (!(c) && mk_now_usec() < until_)                        \
			sched_yield();                                        \
		assert_true(c);                                               \
	} while (0)

enum { MOST = 1 << 17 };               /* stanzas in one test               */

/* ---- tools --------------------------------------------------------------------- */

static char dir[64];
static struct mk_jid *from_jid, *to_jid;

static void quiet(const char *line, size_t n)
{
	(void)line;
	(void)n;
}

static void dir_empty(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
}

static unsigned dir_files(const char *ending)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		size_t len = strlen(e->d_name), k = strlen(ending);

		n += e->d_name[0] != '.' && len >= k && strcmp(e->d_name + len - k, ending) == 0;
	}
	if (d != NULL)
		closedir(d);
	return n;
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "./journal-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	mk_log_capture(quiet);
	mk_journal_fdatasync = fdatasync;
	assert_int_equal(mk_jid_parsez("juliet@example.com/balcony", &from_jid), 0);
	assert_int_equal(mk_jid_parsez("romeo@example.net", &to_jid), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mk_jid_unref(&from_jid);
	mk_jid_unref(&to_jid);
	mk_log_capture(NULL);
	dir_empty();
	return rmdir(dir);
}

static int try_open(unsigned workers, int64_t segment, int64_t max, int64_t sync_ms)
{
	struct mk_journal_conf c = { dir, segment, max, sync_ms, workers };

	return mk_journal_open(&c, NULL);
}

static void open_with(unsigned workers, int64_t segment, int64_t max, int64_t sync_ms)
{
	assert_int_equal(try_open(workers, segment, max, sync_ms), 0);
}

struct on {
	unsigned index;
	void (*fn)(void *arg);
	void *arg;
};
static void on_one(struct mk_worker *w, void *arg)
{
	struct on *o = arg;

	if (w->index == o->index)
		o->fn(o->arg);
}
/* fn(arg) on that worker; waits for it. */
static void on_worker(unsigned index, void (*fn)(void *arg), void *arg)
{
	struct on o = { index, fn, arg };

	mk_workers_call(on_one, &o);
}

static void body_make(char *out, unsigned number, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		out[i] = "abcdefghijklmnopqrstuvwxyz <&'\">"[(number * 7 + i * (1 + number % 5)) % 32];
}

static unsigned size_of(unsigned number) { return 40 + number * 37 % 400; }

static struct mk_stanza *stanza_make(unsigned number)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "chat", from_jid, to_jid);
	char id[16], body[512];

	snprintf(id, sizeof(id), "%u", number);
	body_make(body, number, size_of(number));
	mk_stanza_set_id(s, id);
	mk_elem_add_text(s->root, "body", NULL, (struct mk_str){ body, size_of(number) });
	s->time_ms = 1700000000000 + number;
	mk_stanza_seal(s);
	return s;
}

/* Its number, all of it being as it was made; asserts otherwise. */
static unsigned stanza_check(const struct mk_stanza *s)
{
	unsigned number = (unsigned)strtoul(mk_stanza_id(s), NULL, 10);
	char body[512];

	body_make(body, number, size_of(number));
	assert_true(mk_str_eq(mk_elem_child_text(s->root, "body", NULL),
	                      (struct mk_str){ body, size_of(number) }));
	assert_true(mk_jid_eq(s->from, from_jid));
	assert_true(mk_jid_eq(s->to, to_jid));
	assert_int_equal(s->time_ms, 1700000000000 + number);
	assert_int_equal(s->type, MK_TYPE_CHAT);
	assert_true(s->uid != 0 && s->journal != NULL);
	assert_int_equal(s->flags & (MK_STANZA_REPLAYED | MK_STANZA_SEALED), MK_STANZA_REPLAYED);
	return number;
}

/* Of one test. */
static struct mk_stanza *held[MOST];
static uint8_t seen[MOST];
static unsigned seen_n;
static int64_t last_uid;
static bool keep_seen;

static void on_replay(void *arg, struct mk_stanza *s)
{
	unsigned number = stanza_check(s);

	(void)arg;
	assert_true(s->uid > last_uid);
	last_uid = s->uid;
	assert_true(number < MOST && !seen[number]);
	seen[number] = 1;
	seen_n++;
	if (keep_seen)
		held[number] = s;
	else
		mk_stanza_unref(&s);
}

static unsigned replay(bool keep)
{
	memset(seen, 0, sizeof(seen));
	seen_n = 0;
	last_uid = 0;
	keep_seen = keep;
	assert_int_equal(mk_journal_replay(on_replay, NULL), 0);
	return seen_n;
}

/* What would be handed back, which stays. */
static unsigned look(unsigned workers)
{
	unsigned n;

	open_with(workers, 16384, 1 << 20, 0);
	mk_journal_freeze();
	n = replay(false);
	mk_journal_close();
	return n;
}

struct range {
	unsigned from, to;
	int64_t last;                  /* position, or the error that ended it  */
	unsigned done;
};
static void write_range(void *arg)
{
	struct range *r = arg;

	for (unsigned i = r->from; i < r->to; i++) {
		struct mk_stanza *s = stanza_make(i);
		int64_t position = mk_journal_write(s);

		if (position < 0) {
			mk_stanza_unref(&s);
			r->last = position;
			return;
		}
		assert_true(position > r->last);
		r->last = position;
		held[i] = s;
		r->done++;
	}
}

static void drop_range(unsigned from, unsigned to, unsigned step)
{
	for (unsigned i = from; i < to; i += step)
		if (held[i] != NULL)
			mk_stanza_unref(&held[i]);
}

struct task {
	struct mk_task t;
	int64_t position;
	int64_t synced_then;
	_Atomic bool done;
};
static void task_run(struct mk_task *t)
{
	struct task *x = MK_CONTAINER(t, struct task, t);

	x->synced_then = mk_journal_synced(MK_DURABLE_WAL);
	atomic_store(&x->done, true);
}
static void task_wait(void *arg)
{
	struct task *x = arg;

	x->t.run = task_run;
	mk_journal_wait(x->position, &x->t);
}
static void task_wait_newest(void *arg)
{
	struct task *x = arg;

	x->position = mk_journal_synced(MK_DURABLE_ASYNC);
	task_wait(x);
}
static struct task task_for(int64_t position) { return (struct task){ .position = position }; }

/* ---- checksums -------------------------------------------------------------------- */

static void test_crc32c_is_that_of_rfc_3720(void **state)
{
	unsigned char b[32];

	(void)state;
	memset(b, 0, 32);
	assert_int_equal(mk_crc32c(0, b, 32), 0x8a9136aa);
	assert_int_equal(mk_crc32c_table(0, b, 32), 0x8a9136aa);
	memset(b, 0xff, 32);
	assert_int_equal(mk_crc32c(0, b, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (unsigned char)i;
	assert_int_equal(mk_crc32c(0, b, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		b[i] = (unsigned char)(31 - i);
	assert_int_equal(mk_crc32c(0, b, 32), 0x113fdb5c);
	assert_int_equal(mk_crc32c(0, "123456789", 9), 0xe3069283);
	for (size_t n = 0; n <= 32; n++)
		for (size_t cut = 0; cut <= n; cut++)
			assert_int_equal(mk_crc32c(mk_crc32c(7, b, cut), b + cut, n - cut),
			                 mk_crc32c_table(7, b, n));
}

/* ---- writing and reading back -------------------------------------------------------- */

static void test_what_was_not_retired_comes_back(void **state)
{
	struct range r = { 0, 200, 0, 0 };

	(void)state;
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	open_with(2, 16384, 1 << 20, 1);
	assert_int_equal(replay(false), 0);
	on_worker(0, write_range, &r);
	assert_int_equal(r.done, 200);
	drop_range(0, 200, 2);
	mk_journal_freeze();
	drop_range(0, 200, 1);
	mk_workers_stop();
	mk_journal_close();

	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(look(1), 100);
		for (unsigned i = 0; i < 200; i++)
			assert_int_equal(seen[i], i % 2);
	}
	/* Let go by whom they were given to, they are gone. */
	open_with(3, 8192, 1 << 20, 1);
	assert_int_equal(replay(true), 100);
	drop_range(0, 100, 1);
	mk_journal_freeze();
	drop_range(100, 200, 1);
	mk_journal_close();
	assert_int_equal(look(1), 50);
	open_with(3, 8192, 1 << 20, 1);
	assert_int_equal(replay(false), 50);
	mk_journal_close();
	assert_int_equal(dir_files(""), 0);
}

static void test_a_wait_ends_when_it_is_durable(void **state)
{
	struct range r = { 0, 10, 0, 0 };
	struct mk_journal_stats st;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 1 << 20, 2);
	for (unsigned round = 0; round < 20; round++) {
		struct task now, old;

		r.from = round * 10;
		r.to = r.from + 10;
		on_worker(0, write_range, &r);
		now = task_for(r.last);
		old = task_for(1);
		on_worker(0, task_wait, &now);
		on_worker(0, task_wait, &old);
		WAIT_FOR(atomic_load(&now.done) && atomic_load(&old.done));
		assert_true(now.synced_then >= r.last);
	}
	mk_journal_stats(&st);
	assert_int_equal(st.records, 200);
	assert_int_equal(st.live, 200);
	assert_int_equal(st.errors, 0);
	assert_true(st.syncs > 0);
	drop_range(0, 200, 1);
	mk_journal_stats(&st);
	assert_int_equal(st.live, 0);
	mk_journal_freeze();
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(look(1), 0);
}

static void write_twice(void *arg)
{
	int64_t *p = arg;
	struct mk_stanza *s = stanza_make(1);
	struct mk_stanza *copy = mk_stanza_ref(s);

	p[0] = mk_journal_write(s);
	p[1] = mk_journal_write(s);
	p[2] = mk_journal_synced(MK_DURABLE_ASYNC);
	/* An edited copy leaves the record to its original. */
	mk_stanza_edit(&copy);
	mk_elem_set(copy->root, "id", "2");
	mk_stanza_unref(&s);
	held[0] = copy;
}
static void test_a_stanza_has_one_record(void **state)
{
	int64_t p[3];
	struct mk_journal_stats st;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 1 << 20, 2);
	on_worker(0, write_twice, p);
	assert_true(p[0] > 0 && p[1] > p[0] && p[2] == p[1]);
	mk_journal_stats(&st);
	assert_int_equal(st.live, 1);
	mk_stanza_unref(&held[0]);
	mk_journal_stats(&st);
	assert_int_equal(st.live, 0);
	mk_journal_freeze();
	mk_workers_stop();
	mk_journal_close();
}

static void write_copies(void *arg)
{
	struct mk_stanza *s = stanza_make(1), *other = mk_stanza_ref(s), *same = mk_stanza_ref(s);

	(void)arg;
	/* To somebody else, and then to the same address once more. */
	mk_stanza_edit(&other);
	mk_stanza_set_to(other, from_jid);
	mk_stanza_seal(other);
	assert_true(mk_journal_write(other) > 0);
	mk_stanza_edit(&same);
	mk_elem_set(same->root, "id", "2");
	mk_stanza_seal(same);
	assert_true(mk_journal_write(same) > 0);
	assert_true(mk_journal_write(s) > 0);
	held[0] = other;
	held[1] = same;
	held[2] = s;
}
static void on_copy(void *arg, struct mk_stanza *s)
{
	int *n = arg;

	n[0] += mk_jid_eq(s->to, to_jid);
	n[1] += mk_jid_eq(s->to, from_jid);
	/* The newest of those to one address. */
	assert_string_equal(mk_stanza_id(s), "1");
	mk_stanza_unref(&s);
}
static void test_copies_to_others_are_kept_for_each(void **state)
{
	int n[2] = { 0, 0 };

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 1 << 20, 2);
	on_worker(0, write_copies, NULL);
	mk_journal_freeze();
	drop_range(0, 3, 1);
	mk_workers_stop();
	mk_journal_close();
	open_with(1, 16384, 1 << 20, 2);
	assert_int_equal(mk_journal_replay(on_copy, n), 0);
	mk_journal_close();
	assert_int_equal(n[0], 1);
	assert_int_equal(n[1], 1);
}

static void test_another_number_of_workers_reads_all(void **state)
{
	unsigned total = 0;

	(void)state;
	for (unsigned workers = 4; workers >= 1; workers--) {
		assert_int_equal(mk_workers_start(workers, NULL, NULL), 0);
		open_with(workers, 8192 << workers, 1 << 22, 1);
		assert_int_equal(replay(true), total);
		for (unsigned w = 0; w < workers; w++) {
			struct range r = { total, total + 50, 0, 0 };

			on_worker(w, write_range, &r);
			assert_int_equal(r.done, 50);
			total += 50;
		}
		mk_journal_freeze();
		drop_range(0, total, 1);
		mk_workers_stop();
		mk_journal_close();
	}
	assert_int_equal(look(2), total);
}

static void test_a_directory_is_one_process_s(void **state)
{
	int status, pipe_fd[2];
	pid_t child;
	char c = 0;

	(void)state;
	assert_int_equal(pipe(pipe_fd), 0);
	child = fork();
	if (child == 0) {
		if (read(pipe_fd[0], &c, 1) != 1)
			_exit(2);
		_exit(try_open(1, 16384, 1 << 20, 1) == -MK_ECONFLICT ? 0 : 1);
	}
	open_with(1, 16384, 1 << 20, 1);
	assert_int_equal(write(pipe_fd[1], &c, 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	mk_journal_close();
	/* Too small for two segments per worker; odd sizes are made to fit. */
	assert_int_equal(try_open(4, 16384, 16384, 1), -MK_EINVAL);
	open_with(4, 1 << 20, 100000, 1);
	mk_journal_close();
}

/* ---- segments come and go ------------------------------------------------------------ */

static void test_empty_segments_are_used_again(void **state)
{
	struct mk_journal_stats st;
	mk_usec until = mk_now_usec() + 30000000;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 8 * 16384, 1);
	do {
		struct range r = { 0, 20, 0, 0 };

		on_worker(0, write_range, &r);
		/* Faster than the house is kept, one is refused. */
		assert_true(r.last > 0 || r.last == -MK_ELIMIT);
		drop_range(0, 20, 1);
		mk_journal_stats(&st);
	} while (st.records < 10000 && mk_now_usec() < until);
	mk_journal_stats(&st);
	assert_true(st.records >= 10000);
	assert_true(st.bytes <= 8 * 16384);
	assert_int_equal(st.live, 0);
	mk_journal_freeze();
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(dir_files(""), 0);
}

static void test_a_full_journal_refuses_and_recovers(void **state)
{
	struct range r = { 0, 0, 0, 0 }, again = { 0, 10, 0, 0 };
	unsigned all;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 6 * 16384, 1);
	/* In steps, as life does it. It says that it is full before it refuses for
	 * good; before that, only who is faster than the house is kept. */
	while (!mk_journal_full() || r.last >= 0) {
		r.last = 0;
		r.from = r.done;
		r.to = r.from + 10;
		on_worker(0, write_range, &r);
		assert_true(r.last >= 0 || r.last == -MK_ELIMIT);
	}
	assert_true(r.done > 4 * 16384 / 600 && r.done < 6 * 16384 / 150);
	all = r.done;
	again.from = all;
	again.to = all + 10;
	on_worker(0, write_range, &again);
	assert_int_equal(again.last, -MK_ELIMIT);
	drop_range(0, all / 2, 1);
	WAIT_FOR(!mk_journal_full());
	again.last = 0;
	on_worker(0, write_range, &again);
	assert_int_equal(again.done, 10);
	mk_journal_freeze();
	drop_range(0, all + 10, 1);
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(look(1), all - all / 2 + 10);
}

static void write_big(void *arg)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "chat", from_jid, to_jid);
	static char text[5000];
	int64_t *p = arg;

	memset(text, 'x', sizeof(text));
	mk_elem_add_text(s->root, "body", NULL, (struct mk_str){ text, sizeof(text) });
	mk_stanza_seal(s);
	p[0] = mk_journal_write(s);
	mk_stanza_unref(&s);
}
static void test_what_no_segment_can_hold_is_refused(void **state)
{
	int64_t p;

	(void)state;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 4096, 1 << 20, 1);
	on_worker(0, write_big, &p);
	assert_int_equal(p, -MK_ELIMIT);
	mk_journal_freeze();
	mk_workers_stop();
	mk_journal_close();
}

static void test_few_stanzas_do_not_hold_many_files(void **state)
{
	struct mk_journal_stats st;
	mk_usec until = mk_now_usec() + 60000000;
	unsigned next = 0;

	(void)state;
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	open_with(2, 16384, 24 * 16384, 0);
	while (next < 20000 && mk_now_usec() < until) {
		struct range r = { next, next + 50, 0, 0 };

		on_worker(next / 50 % 2, write_range, &r);
		assert_true(r.last > 0 || r.last == -MK_ELIMIT);
		/* One of a hundred stays. */
		for (unsigned i = next; i < next + r.done; i++)
			if (i % 100 != 0)
				mk_stanza_unref(&held[i]);
		next += r.done;
	}
	assert_true(next >= 20000);
	mk_journal_stats(&st);
	assert_true(st.bytes <= 28 * 16384);
	/* What is just being moved counts twice. */
	WAIT_FOR((mk_journal_stats(&st), st.live) == (next + 99) / 100);
	/* Those that were moved, twice perhaps, are retired where they are. */
	drop_range(0, next, 200);
	mk_journal_freeze();
	unsigned left = 0;

	for (unsigned i = 0; i < next; i++)
		left += held[i] != NULL;
	drop_range(0, next, 1);
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(look(1), left);
	for (unsigned i = 0; i < next; i++)
		assert_true(!seen[i] || i % 200 == 100);
}

/* ---- disks that fail -------------------------------------------------------------------- */

static _Atomic int fail_next, fail_all, failed, synced_again;
static _Atomic unsigned long long bad[4096];

/* A file's number is in its name, and never used again, as inodes are. */
static unsigned long long file_number(int fd)
{
	char link[64], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	assert_true(n > 0);
	path[n] = '\0';
	return strtoull(strrchr(path, '-') + 1, NULL, 10);
}

static int failing_sync(int fd)
{
	unsigned long long number = file_number(fd);
	int n = atomic_load(&failed);

	for (int i = 0; i < n && i < 4096; i++)
		if (atomic_load(&bad[i]) == number)
			atomic_fetch_add(&synced_again, 1);
	if (atomic_load(&fail_all) || atomic_load(&fail_next) > 0) {
		if (!atomic_load(&fail_all))
			atomic_fetch_sub(&fail_next, 1);
		if (n < 4096)
			atomic_store(&bad[n], number);
		atomic_store(&failed, n + 1);
		errno = EIO;
		return -1;
	}
	return 0;
}

static void fail_reset(void)
{
	atomic_store(&fail_next, 0);
	atomic_store(&fail_all, 0);
	atomic_store(&failed, 0);
	atomic_store(&synced_again, 0);
	mk_journal_fdatasync = failing_sync;
}

static void test_a_failed_sync_is_not_tried_again_elsewhere_it_is(void **state)
{
	struct range r = { 0, 30, 0, 0 };
	struct mk_journal_stats st;
	struct task t;

	(void)state;
	fail_reset();
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 1 << 17, 1 << 20, 0);
	on_worker(0, write_range, &r);
	drop_range(0, 30, 3);
	atomic_store(&fail_next, 1);
	t = task_for(r.last);
	on_worker(0, task_wait, &t);
	WAIT_FOR(atomic_load(&t.done));
	assert_int_equal(atomic_load(&failed), 1);
	mk_journal_stats(&st);
	assert_int_equal(st.errors, 1);
	assert_int_equal(st.live, 20);
	/* The file goes once the copies are safe. */
	WAIT_FOR(dir_files(".mkj") == 1);
	r.from = 30;
	r.to = 60;
	on_worker(0, write_range, &r);
	drop_range(30, 60, 3);
	/* Retired where they are now. */
	drop_range(1, 30, 3);
	mk_journal_freeze();
	drop_range(0, 60, 1);
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(atomic_load(&synced_again), 0);
	assert_int_equal(look(1), 30);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(seen[i], i < 30 ? i % 3 == 2 : i % 3 != 0);
}

static void test_nothing_is_durable_while_the_disk_fails(void **state)
{
	struct range r = { 0, 30, 0, 0 };
	struct mk_journal_stats st;
	struct task t;

	(void)state;
	fail_reset();
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, 16384, 8 * 16384, 0);
	on_worker(0, write_range, &r);
	atomic_store(&fail_all, 1);
	t = task_for(r.last);
	on_worker(0, task_wait, &t);
	WAIT_FOR(atomic_load(&failed) >= 3);
	assert_false(atomic_load(&t.done));
	mk_journal_stats(&st);
	assert_true(st.errors >= 3);
	atomic_store(&fail_all, 0);
	WAIT_FOR(atomic_load(&t.done));
	assert_int_equal(atomic_load(&synced_again), 0);
	mk_journal_freeze();
	drop_range(0, 30, 1);
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(look(1), 30);
}

/* Everything at once: two workers write, other threads let go, syncs fail, files
 * are moved. */
static pthread_mutex_t bag_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mk_stanza *bag[512];
static unsigned bag_n;
static _Atomic bool bag_closed;
static _Atomic unsigned bag_in, bag_out;

static void *bag_empty(void *arg)
{
	unsigned turn = 0;

	(void)arg;
	for (;;) {
		struct mk_stanza *s = NULL;
		bool end = atomic_load(&bag_closed);

		pthread_mutex_lock(&bag_lock);
		/* Some stay in for long. */
		if (bag_n > 64 || (end && bag_n > 0)) {
			unsigned i = turn++ * 31 % bag_n;

			s = bag[i];
			bag[i] = bag[--bag_n];
		}
		pthread_mutex_unlock(&bag_lock);
		if (s != NULL) {
			mk_stanza_unref(&s);
			atomic_fetch_add(&bag_out, 1);
		} else if (end) {
			return NULL;
		} else {
			sched_yield();
		}
	}
}

static void bag_fill(void *arg)
{
	unsigned *next = arg;

	for (unsigned i = 0; i < 40; i++) {
		struct mk_stanza *s = stanza_make((*next)++);
		int64_t position = mk_journal_write(s);

		/* A disk that fails has no room, for a moment. */
		if (position < 0) {
			assert_true(position == -MK_EIO || position == -MK_ELIMIT);
			mk_stanza_unref(&s);
			continue;
		}
		pthread_mutex_lock(&bag_lock);
		if (bag_n < 512) {
			bag[bag_n++] = s;
			s = NULL;
		}
		pthread_mutex_unlock(&bag_lock);
		if (s != NULL)
			mk_stanza_unref(&s);
		else
			atomic_fetch_add(&bag_in, 1);
	}
}

static void test_letting_go_and_moving_at_once(void **state)
{
	pthread_t t[2];
	struct mk_journal_stats st;
	unsigned next = 0;

	(void)state;
	fail_reset();
	atomic_store(&bag_closed, false);
	assert_int_equal(mk_workers_start(2, NULL, NULL), 0);
	open_with(2, 16384, 32 * 16384, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, bag_empty, NULL), 0);
	for (unsigned round = 0; round < 300; round++) {
		struct task task = task_for(0);

		on_worker(round % 2, bag_fill, &next);
		if (round % 20 == 10)
			atomic_store(&fail_next, 1);
		on_worker(round % 2, task_wait_newest, &task);
		WAIT_FOR(atomic_load(&task.done));
	}
	atomic_store(&bag_closed, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&bag_in), atomic_load(&bag_out));
	mk_journal_stats(&st);
	assert_int_equal(st.live, 0);
	assert_true(st.errors > 0);
	mk_journal_freeze();
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(atomic_load(&synced_again), 0);
	assert_int_equal(look(1), 0);
}

/* ---- machines that stop ------------------------------------------------------------ */

static int no_sync(int fd)
{
	(void)fd;
	return 0;
}

enum { IMAGE = 16384, IN_IMAGE = 5 };
static char image[IMAGE];
static uint32_t image_at[IN_IMAGE + 1];        /* offset of each record, and the end */

/* A file with IN_IMAGE records. */
static void image_make(void)
{
	struct range r = { 0, IN_IMAGE, 0, 0 };
	struct mk_record *first;
	char path[128];
	DIR *d;
	struct dirent *e;
	int fd = -1;

	mk_journal_fdatasync = no_sync;
	assert_int_equal(mk_workers_start(1, NULL, NULL), 0);
	open_with(1, IMAGE, 1 << 20, 0);
	on_worker(0, write_range, &r);
	mk_journal_freeze();
	first = held[0]->journal;
	for (unsigned i = 0; i < IN_IMAGE; i++)
		image_at[i] = MK_SEGMENT_HEAD +
			(uint32_t)((char *)held[i]->journal - (char *)first);
	image_at[IN_IMAGE] = image_at[IN_IMAGE - 1] + (uint32_t)MK_RECORD_BYTES(
		((struct mk_record *)held[IN_IMAGE - 1]->journal)->len);
	drop_range(0, IN_IMAGE, 1);
	mk_workers_stop();
	mk_journal_close();
	assert_int_equal(dir_files(".mkj"), 1);
	d = opendir(dir);
	while ((e = readdir(d)) != NULL)
		if (strstr(e->d_name, ".mkj") != NULL) {
			snprintf(path, sizeof(path), "%s/%.48s", dir, e->d_name);
			fd = open(path, O_RDONLY);
		}
	closedir(d);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, image, IMAGE), IMAGE);
	close(fd);
}

/* Starts from these bytes; how many records come back, all as they were. */
static unsigned start_from(const char *bytes, size_t n)
{
	char path[128];
	unsigned count;
	int fd;

	dir_empty();
	snprintf(path, sizeof(path), "%s/w0-000000000001.mkj", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
	open_with(1, 4096, 1 << 20, 0);
	count = replay(false);
	mk_journal_close();
	return count;
}

static void test_a_torn_tail_is_left_out(void **state)
{
	static char torn[IMAGE];
	unsigned last_len;

	(void)state;
	image_make();
	assert_int_equal(start_from(image, IMAGE), IN_IMAGE);
	last_len = ((struct mk_record *)(image + image_at[IN_IMAGE - 1]))->len;
	for (uint32_t at = image_at[IN_IMAGE - 1]; at <= image_at[IN_IMAGE]; at++) {
		bool whole = at >= image_at[IN_IMAGE - 1] + sizeof(struct mk_record) + last_len;

		/* The rest is what was there before: nothing, or anything, or the
		 * file ends. */
		for (int fill = 0; fill < 3; fill++) {
			memcpy(torn, image, IMAGE);
			memset(torn + at, fill == 0 ? 0 : 0xa5, IMAGE - at);
			unsigned n = start_from(torn, fill == 2 ? at : IMAGE);

			/* Zeros may be just what was lost: the record's own end. */
			if (!whole && fill == 0 && n == IN_IMAGE)
				assert_memory_equal(torn, image, image_at[IN_IMAGE]);
			else
				assert_int_equal(n, IN_IMAGE - !whole);
			for (unsigned i = 0; i < n; i++)
				assert_true(seen[i]);
		}
	}
}

static void test_a_flipped_bit_alters_no_stanza(void **state)
{
	static char flipped[IMAGE];
	unsigned bit = 0;

	(void)state;
	image_make();
	for (uint32_t at = 0; at < image_at[IN_IMAGE] + 64; at++) {
		unsigned whole = 0, n;

		bit = (bit + 3) % 8;
		memcpy(flipped, image, IMAGE);
		flipped[at] ^= (char)(1 << bit);
		n = start_from(flipped, IMAGE);
		/* Those before it come back in any case. */
		while (at >= MK_SEGMENT_HEAD && whole < IN_IMAGE && image_at[whole + 1] <= at)
			whole++;
		assert_true(n >= whole);
		for (unsigned i = 0; i < whole; i++)
			assert_true(seen[i]);
		/* A head that can't be believed stays for a person to see. */
		if (at >= 8 && at < 44)
			assert_int_equal(dir_files(".bad"), 1);
		/* No single bit retires a record. */
		for (unsigned i = 0; i < IN_IMAGE; i++)
			if (at == image_at[i] + offsetof(struct mk_record, mark))
				assert_int_equal(n, IN_IMAGE);
	}
}

static void test_another_version_is_refused(void **state)
{
	struct mk_journal_conf c = { dir, 4096, 1 << 20, 0, 1 };
	char path[128];
	int fd;

	(void)state;
	image_make();
	/* The version, and its checksum made right. */
	image[8] = 2;
	uint32_t crc = mk_crc32c(0, image + 8, 36);
	memcpy(image + 44, &crc, sizeof(crc));
	dir_empty();
	snprintf(path, sizeof(path), "%s/w0-000000000001.mkj", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, image, IMAGE), IMAGE);
	close(fd);
	assert_int_equal(mk_journal_open(&c, NULL), -MK_EVERSION);
	assert_int_equal(dir_files(".mkj"), 1);
}

/* ---- processes that die -------------------------------------------------------------- */

enum { ROUNDS = 200, CHILD_STANZAS = 40000 };
enum { NONE, WRITTEN, RETIRING, RETIRED };
static _Atomic uint8_t *fate;          /* shared with the child             */
static _Atomic uint32_t *begun;

struct post { struct mk_msg m; struct mk_stanza *s; unsigned number; };
static void drop_there(struct mk_msg *m)
{
	struct post *p = MK_CONTAINER(m, struct post, m);

	mk_stanza_unref(&p->s);
	atomic_store(&fate[p->number], RETIRED);
	free(p);
}

struct child {
	struct mk_task t;
	unsigned from, next, seed;
	struct mk_stanza *ring[64];
	unsigned number[64];
};
static struct child children[2];

static void child_write(struct mk_task *t)
{
	struct child *c = MK_CONTAINER(t, struct child, t);

	for (unsigned i = 0; i < 20 && c->next < c->from + CHILD_STANZAS / 2; i++) {
		unsigned slot = (c->seed = c->seed * 1103515245 + 12345) >> 16 & 63;
		struct mk_stanza *s = stanza_make(c->next);

		if (c->ring[slot] != NULL) {
			struct post *p = calloc(1, sizeof(*p));

			p->m.fn = drop_there;
			p->s = c->ring[slot];
			p->number = c->number[slot];
			atomic_store(&fate[p->number], RETIRING);
			mk_worker_post(mk_worker(c->seed >> 24 & 1), &p->m);
			c->ring[slot] = NULL;
		}
		if (mk_journal_write(s) > 0) {
			atomic_store(&fate[c->next], WRITTEN);
			c->ring[slot] = s;
			c->number[slot] = c->next;
		} else {
			mk_stanza_unref(&s);
		}
		c->next++;
	}
	atomic_store(begun, 1);
	mk_worker_at_turn_end(&c->t);
}

static void child_begin(void *arg)
{
	struct child *c = arg;

	c->from = c->next = mk_self->index * (CHILD_STANZAS / 2);
	c->t.run = child_write;
	child_write(&c->t);
}

static void child_run(unsigned seed)
{
	mk_workers_start(2, NULL, NULL);
	if (try_open(2, 16384, 16 * 16384, 1) < 0)
		_exit(1);
	for (unsigned i = 0; i < 2; i++) {
		children[i].seed = seed + i;
		on_worker(i, child_begin, &children[i]);
	}
	for (;;)
		pause();
}

static void test_what_was_written_survives_kill(void **state)
{
	unsigned seed = (unsigned)getpid(), total = 0;

	(void)state;
	fate = mmap(NULL, CHILD_STANZAS + 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	            -1, 0);
	assert_true(fate != MAP_FAILED);
	begun = (_Atomic uint32_t *)(fate + CHILD_STANZAS);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct timespec moment = { 0, (long)((seed = seed * 1103515245 + 12345) >> 8) % 20000000 };
		pid_t child;
		int status;

		memset((void *)fate, 0, CHILD_STANZAS + 64);
		child = fork();
		if (child == 0)
			child_run(seed);
		WAIT_FOR(atomic_load(begun) != 0);
		nanosleep(&moment, NULL);      /* any moment will do            */
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		open_with(1 + round % 3, 16384, 1 << 20, 1);
		total += replay(false);
		for (unsigned i = 0; i < CHILD_STANZAS; i++) {
			uint8_t f = atomic_load(&fate[i]);

			if (f == WRITTEN)
				assert_true(seen[i]);
			else if (f == RETIRED)
				assert_false(seen[i]);
		}
		mk_journal_close();
		assert_int_equal(dir_files(""), 0);
	}
	assert_true(total > ROUNDS * 10);
	munmap((void *)fate, CHILD_STANZAS + 64);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_is_that_of_rfc_3720),
		T(test_what_was_not_retired_comes_back),
		T(test_a_wait_ends_when_it_is_durable),
		T(test_a_stanza_has_one_record),
		T(test_copies_to_others_are_kept_for_each),
		T(test_another_number_of_workers_reads_all),
		T(test_a_directory_is_one_process_s),
		T(test_empty_segments_are_used_again),
		T(test_a_full_journal_refuses_and_recovers),
		T(test_what_no_segment_can_hold_is_refused),
		T(test_few_stanzas_do_not_hold_many_files),
		T(test_a_failed_sync_is_not_tried_again_elsewhere_it_is),
		T(test_nothing_is_durable_while_the_disk_fails),
		T(test_letting_go_and_moving_at_once),
		T(test_a_torn_tail_is_left_out),
		T(test_a_flipped_bit_alters_no_stanza),
		T(test_another_version_is_refused),
		T(test_what_was_written_survives_kill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
