/*
 * store/journal_fuzz.c - any bytes as a journal file, at start
 *
 * The first byte of the input chooses: the rest is a file; or is made into
 * records with right checksums, so that reading stanzas is reached; or says
 * which bytes of a good file are changed, and what comes back then must be as
 * it was written.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/log.h"
#include "store/journal.h"
#include "store/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { IMAGE = 4096, IN_IMAGE = 4, SEED_AT = 40 };
static char dir[] = "/tmp/journal-fuzz-XXXXXX";
static char image[IMAGE];
static struct mk_jid *jid;

static void quiet(const char *line, size_t n)
{
	(void)line;
	(void)n;
}

static int no_sync(int fd)
{
	(void)fd;
	return 0;
}

static void dir_clear(int (*each)(const char *path))
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[512];

	mk_assert(d != NULL);
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			each(path);
	}
	closedir(d);
}

static int load_image(const char *path)
{
	int fd = open(path, O_RDONLY);

	mk_assert(fd >= 0 && read(fd, image, IMAGE) == IMAGE);
	return close(fd);
}

static void at_end(void)
{
	dir_clear(unlink);
	rmdir(dir);
}

static void body_make(char out[64], unsigned number)
{
	snprintf(out, 64, "the body of %u, which is <%u>", number, number * 7919);
}

static void image_write(struct mk_worker *w, void *arg)
{
	(void)w;
	(void)arg;
	for (unsigned i = 0; i < IN_IMAGE; i++) {
		struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, jid, jid);
		char id[16], body[64];

		snprintf(id, sizeof(id), "%u", i);
		body_make(body, i);
		mk_stanza_set_id(s, id);
		mk_elem_add_text(s->root, "body", NULL, mk_strz(body));
		mk_stanza_seal(s);
		mk_assert(mk_journal_write(s) > 0);
		mk_stanza_unref(&s);
	}
}

static bool journal_open(void)
{
	struct mk_journal_conf c = { dir, IMAGE, 64 * IMAGE, 0, 1 };
	int r = mk_journal_open(&c, NULL);

	mk_assert(r == 0 || r == -MK_EVERSION);
	return r == 0;
}

static void first_time(void)
{
	mk_log_capture(quiet);
	mk_journal_fdatasync = no_sync;
	mk_assert(mkdtemp(dir) != NULL);
	atexit(at_end);
	mk_assert(mk_jid_parsez("juliet@example.com/balcony", &jid) == 0);
	mk_assert(mk_workers_start(1, NULL, NULL) == 0);
	mk_assert(journal_open());
	mk_journal_freeze();
	mk_workers_call(image_write, NULL);
	mk_workers_stop();
	mk_journal_close();
	dir_clear(load_image);
}

static void on_replay(void *arg, struct mk_stanza *s)
{
	const bool *is_ours = arg;
	char body[64];

	mk_assert(s->journal != NULL && (s->flags & MK_STANZA_REPLAYED));
	if (*is_ours) {
		body_make(body, (unsigned)atoi(mk_stanza_id(s)));
		mk_assert(mk_str_eqz(mk_elem_child_text(s->root, "body", NULL), body));
		mk_assert(mk_jid_eq(s->from, jid) && mk_jid_eq(s->to, jid));
	}
	mk_stanza_unref(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static _Alignas(8) char file[4 * IMAGE];
	static bool is_ready;
	size_t file_n = IMAGE;
	bool is_ours = false;
	char path[64];
	int fd;

	if (!is_ready)
		first_time();
	is_ready = true;
	if (n == 0 || n > sizeof(file) / 2)
		return 0;
	memcpy(file, image, IMAGE);
	if (p[0] % 3 == 0) {
		file_n = n - 1;
		memcpy(file, p + 1, file_n);
	} else if (p[0] % 3 == 1) {
		struct mk_segment g = { .base = file, .bytes = sizeof(file),
			.used = MK_SEGMENT_HEAD };

		memcpy(&g.seed, file + SEED_AT, sizeof(g.seed));
		for (size_t at = 1; at + 4 <= n;) {
			uint16_t from_n = p[at], to_n = p[at + 1];
			uint32_t xml_n = p[at + 2] + 256u * (p[at + 3] & 3);
			const char *text = (const char *)p + at + 4;

			if (at + 4 + from_n + to_n + xml_n > n || from_n + to_n + xml_n == 0)
				break;
			mk_segment_put(&g, (int64_t)at, 0, text, from_n, text + from_n, to_n,
				text + from_n + to_n, xml_n);
			at += 4 + (size_t)from_n + to_n + xml_n;
		}
		file_n = g.used;
	} else {
		is_ours = true;
		for (size_t i = 1; i + 3 <= n; i += 3) {
			uint32_t at = (p[i] | (uint32_t)p[i + 1] << 8) % IMAGE;

			file[at] = (char)(file[at] ^ p[i + 2]);
		}
	}
	snprintf(path, sizeof(path), "%s/w0-000000000001.mkj", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	mk_assert(fd >= 0 && write(fd, file, file_n) == (ssize_t)file_n);
	close(fd);
	if (journal_open()) {
		mk_journal_replay(on_replay, &is_ours);
		mk_journal_close();
	}
	dir_clear(unlink);
	return 0;
}
