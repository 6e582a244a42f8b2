/*
 * plugin/load.c - from a name to a module: finding, trusting, checking
 *
 * Main thread. The file that is checked is the file that is loaded: it is
 * opened once and given to dlopen as /proc/self/fd/N (S-18). Code is never
 * unmapped: a thread may still be in it.
 */
#include "plugin/inst.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/node.h"
#include "base/ban.h"

static bool name_is_fine(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > 32 || !islower((unsigned char)name[0]))
		return false;
	for (const char *c = name; *c != '\0'; c++)
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '-')
			return false;
	return true;
}

/* Owned by root or by who runs the daemon; writable by nobody else. */
static bool trusted(const struct stat *s, const char *path, struct mk_diag *d)
{
	if (s->st_uid != 0 && s->st_uid != geteuid()) {
		mk_diag_add(d, "%s: refused: its owner (uid %u) is neither root nor the server's user",
			path, (unsigned)s->st_uid);
		return false;
	}
	if (s->st_mode & (S_IWGRP | S_IWOTH)) {
		mk_diag_add(d, "%s: refused: %s may write to it (mode %04o)", path,
			s->st_mode & S_IWOTH ? "everybody" : "its group",
			(unsigned)(s->st_mode & 07777));
		return false;
	}
	return true;
}

static int open_trusted(const char *dir, const char *name, struct mk_diag *d, char **path_out)
{
	struct mk_buf p = { 0 };
	struct stat s;
	int fd = -1, dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	mk_buf_printf(&p, "%s/%s.so", dir, name);
	*path_out = mk_strdup(mk_buf_z(&p));
	mk_buf_clear(&p);
	mk_buf_printf(&p, "%s.so", name);
	if (dirfd < 0)
		goto none;
	fd = openat(dirfd, mk_buf_z(&p), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ELOOP) {
		mk_diag_add(d, "%s: refused: it is a symbolic link", *path_out);
		goto refuse;
	}
	if (fd < 0)
		goto none;
	if (fstat(dirfd, &s) < 0 || !trusted(&s, dir, d))
		goto refuse;
	if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode)) {
		mk_diag_add(d, "%s: refused: it is no regular file", *path_out);
		goto refuse;
	}
	if (!trusted(&s, *path_out, d))
		goto refuse;
	close(dirfd);
	mk_buf_free(&p);
	return fd;
none:
	if (fd < 0 && dirfd >= 0)
		close(dirfd);
	mk_buf_free(&p);
	mk_free(*path_out);
	*path_out = NULL;
	return -MK_ENOENT;
refuse:
	if (fd >= 0)
		close(fd);
	close(dirfd);
	mk_buf_free(&p);
	mk_free(*path_out);
	*path_out = NULL;
	return -MK_EPERM;
}

/* The descriptor as interface 1.0 had it. */
#define SIZE_1_0 (offsetof(struct mk_plugin, backend) + sizeof(const struct mk_backend *))

/* "NAME" or "NAME ...": no plugin takes the words of another. */
static bool commands_are_its_own(const struct mk_plugin *p, const char *path, struct mk_diag *d)
{
	size_t n = strlen(p->name);

	for (const struct mk_command *const *c = p->commands; c != NULL && *c != NULL; c++)
		if (strncmp((*c)->name, p->name, n) != 0 ||
		    ((*c)->name[n] != ' ' && (*c)->name[n] != '\0')) {
			mk_diag_add(d, "%s: its command '%s' does not begin with its name", path,
				(*c)->name);
			return false;
		}
	return true;
}

/* Nothing behind abi_minor is read before the versions fit. */
static bool fits(const struct mk_plugin *p, const char *name, const char *path, struct mk_diag *d)
{
	if (p == NULL || p->magic != MK_PLUGIN_MAGIC) {
		mk_diag_add(d, "%s: no plugin of this server (its magic number is wrong)", path);
		return false;
	}
	if (p->abi_major != MK_ABI_MAJOR || p->abi_minor > MK_ABI_MINOR) {
		mk_diag_add(d, "%s: made for interface %u.%u, this server has %u.%u: %s", path,
			p->abi_major, p->abi_minor, MK_ABI_MAJOR, MK_ABI_MINOR,
			p->abi_major != MK_ABI_MAJOR ? "build it against this server's headers"
			                             : "it needs a newer server");
		return false;
	}
	if (p->size < SIZE_1_0 || p->size > 4096) {
		mk_diag_add(d, "%s: its descriptor says it has %u bytes, which can't be", path,
			(unsigned)p->size);
		return false;
	}
	if (p->build == NULL || strcmp(p->build, MK_ABI_BUILD) != 0) {
		mk_diag_add(d, "%s: built for '%s', this server for '%s'", path,
			p->build != NULL ? p->build : "?", MK_ABI_BUILD);
		return false;
	}
	if (p->name == NULL || strcmp(p->name, name) != 0) {
		mk_diag_add(d, "%s: calls itself '%s', its file is named '%s'", path,
			p->name != NULL ? p->name : "?", name);
		return false;
	}
	if (!(p->flags & (MK_PLUGIN_PER_TYPE | MK_PLUGIN_GLOBAL))) {
		mk_diag_add(d, "%s: says neither that it is per host type nor that it is global", path);
		return false;
	}
	return commands_are_its_own(p, path, d);
}

static const struct mk_plugin *load_fd(int fd, const char *name, const char *path,
	struct mk_diag *d, void **handle_out)
{
	char spelling[64];
	void *h;
	mk_plugin_entry_fn *entry;
	const struct mk_plugin *p;

	snprintf(spelling, sizeof spelling, "/proc/self/fd/%d", fd);
	h = dlopen(spelling, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (h == NULL) {
		const char *why = dlerror();
		if (strncmp(why, spelling, strlen(spelling)) == 0)
			why += strlen(spelling);
		mk_diag_add(d, "%s: can't be loaded%s%s", path, *why == ':' ? "" : ": ", why);
		return NULL;
	}
	*(void **)&entry = dlsym(h, "mk_plugin_entry");
	if (entry == NULL) {
		mk_diag_add(d, "%s: no plugin: it has no symbol 'mk_plugin_entry'", path);
		return NULL;
	}
	p = entry(MK_ABI_MAJOR << 16 | MK_ABI_MINOR);
	if (!fits(p, name, path, d))
		return NULL;
	*handle_out = h;
	return p;
}

/* A shared object's address space name must differ for each load: the same
 * descriptor number, closed and opened again, would be "already loaded". */
static int own_number(int fd)
{
	static int next = 500;
	int n = fcntl(fd, F_DUPFD_CLOEXEC, next++);

	if (n < 0)
		return fd;
	close(fd);
	return n;
}

static struct mk_file_id file_id(const struct stat *s)
{
	return (struct mk_file_id){ s->st_dev, s->st_ino,
		s->st_mtim.tv_sec * INT64_C(1000000000) + s->st_mtim.tv_nsec };
}

struct loaded { const struct mk_plugin *plugin; char *path; void *handle; struct mk_file_id file; };

static int find_and_load(const char *name, const struct mk_conf_list *dirs, struct mk_diag *d,
	struct loaded *out)
{
	char **path = &out->path;
	int fd = -MK_ENOENT;
	struct stat s;

	if (!name_is_fine(name)) {
		mk_diag_add(d, "'%s' can't be a plugin's name ([a-z][a-z0-9-]*, at most 32)", name);
		return -MK_EINVAL;
	}
	for (uint32_t i = 0; i < dirs->n && fd == -MK_ENOENT; i++)
		fd = open_trusted(dirs->v[i], name, d, path);
	if (fd < 0) {
		if (fd == -MK_ENOENT) {
			struct mk_buf where = { 0 };
			for (uint32_t i = 0; i < dirs->n; i++)
				mk_buf_printf(&where, "%s%s", i > 0 ? ", " : "", dirs->v[i]);
			mk_diag_add(d, "plugin '%s' is not there (looked for %s.so in %s)", name, name,
				mk_buf_z(&where));
			mk_buf_free(&where);
		}
		return fd;
	}
	fd = own_number(fd);
	if (fstat(fd, &s) == 0)
		out->file = file_id(&s);
	out->plugin = load_fd(fd, name, *path, d, &out->handle);
	/* The descriptor stays open: its number is the name the code is mapped
	 * under, and must not come to mean another file. */
	if (out->plugin == NULL) {
		mk_free(*path);
		*path = NULL;
		return -MK_EVERSION;
	}
	return 0;
}

static bool is_replaced(const struct mk_module *m)
{
	struct stat s;
	struct mk_file_id now;

	if (m->handle == NULL || !mk_list_empty(&m->insts) || stat(m->path, &s) < 0)
		return false;
	now = file_id(&s);
	return now.dev != m->file.dev || now.ino != m->file.ino || now.mtime != m->file.mtime;
}

static void take_over(struct mk_module *m, const struct loaded *l)
{
	m->plugin = l->plugin;
	m->path = l->path;
	m->handle = l->handle;
	m->file = l->file;
	m->loaded = true;
}

int mk_module_open(const char *name, const struct mk_conf_list *dirs, struct mk_diag *d,
	struct mk_module **out)
{
	struct mk_module *m = mk_module_find(name);
	struct loaded l = { 0 };
	int r;

	if (m != NULL) {
		if (is_replaced(m) && (r = mk_module_reopen(m, d)) < 0)
			return r;
		*out = m;
		return 0;
	}
	r = find_and_load(name, dirs, d, &l);
	if (r < 0)
		return r;
	m = mk_alloc(sizeof *m);
	mk_list_init(&m->insts);
	take_over(m, &l);
	if (l.plugin->load != NULL && (r = l.plugin->load(m)) < 0) {
		mk_diag_add(d, "%s: load failed: %s", l.path, mk_strerror(-r));
		mk_free(l.path);
		mk_free(m);
		return r;
	}
	mk_list_push(&mk_modules, &m->node);
	*out = m;
	return 0;
}

int mk_module_reopen(struct mk_module *m, struct mk_diag *d)
{
	const struct mk_plugin *old = m->plugin;
	char *dir = mk_strdup(m->path), *slash = strrchr(dir, '/');
	struct loaded l = { 0 };
	int r;

	mk_assert(mk_list_empty(&m->insts));
	if (slash != NULL)
		*slash = '\0';
	const char *const dirs[] = { dir };
	const struct mk_conf_list list = { dirs, 1 };
	r = find_and_load(old->name, &list, d, &l);
	mk_free(dir);
	if (r < 0)
		return r;
	if (old->unload != NULL)
		old->unload(m);
	mk_slots_orphan(m);
	m->plugin = l.plugin;
	if (l.plugin->load != NULL && (r = l.plugin->load(m)) < 0) {
		mk_diag_add(d, "%s: load failed: %s", l.path, mk_strerror(-r));
		mk_free(l.path);
		/* The old code is still there. */
		mk_slots_orphan(m);
		m->plugin = old;
		m->loaded = old->load == NULL || old->load(m) == 0;
		return r;
	}
	mk_free(m->path);
	take_over(m, &l);
	return 0;
}
