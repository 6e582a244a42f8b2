/*
 * plugin/load_test.c - loading what should and what should not be loaded
 *
 * The modules are those of test/plugins, in modules-test/ of the build tree
 * (MEERKAT_TEST_MODULES names another place). Messages are compared whole, but
 * for the path: who changes one sees how it reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "conf/node.h"
#include "plugin/dispatch.h"
#include "base/ban.h"

static const char *modules;
static char own[64];                   /* a folder for this test            */

static char *in(const char *dir, const char *name)
{
	struct mk_buf b = { 0 };

	mk_buf_printf(&b, "%s/%s", dir, name);
	return mk_buf_z(&b);           /* the caller's, by mk_free          */
}

static int open_module(const char *dir, const char *name, struct mk_diag *d,
	struct mk_module **out)
{
	const char *const dirs[] = { dir };
	const struct mk_conf_list list = { dirs, 1 };

	return mk_module_open(name, &list, d, out);
}

/* Refused with `DIR/NAME.so: words`; words ending in "..." are a beginning. */
static void assert_refused_in(const char *dir, const char *name, int err, const char *words)
{
	struct mk_diag d = { 0 };
	struct mk_module *m = NULL;
	struct mk_buf expected = { 0 };
	size_t n = strlen(words);

	assert_int_equal(open_module(dir, name, &d, &m), -err);
	assert_null(m);
	assert_null(mk_module_find(name));
	mk_buf_printf(&expected, "%s/%s.so: %s\n", dir, name, words);
	if (n > 3 && strcmp(words + n - 3, "...") == 0) {
		expected.n -= 4;
		assert_true(d.text.n >= expected.n);
		d.text.n = expected.n;
	}
	assert_string_equal(mk_buf_z(&d.text), mk_buf_z(&expected));
	mk_buf_free(&expected);
	mk_diag_fini(&d);
}
static void assert_refused(const char *name, int err, const char *words)
{
	assert_refused_in(modules, name, err, words);
}

static void test_a_broken_descriptor_is_refused_with_its_reason(void **state)
{
	char newer[160], major[160], build[160];

	(void)state;
	snprintf(newer, sizeof newer, "made for interface %u.%u, this server has %u.%u: "
		"it needs a newer server", MK_ABI_MAJOR, MK_ABI_MINOR + 1, MK_ABI_MAJOR, MK_ABI_MINOR);
	snprintf(major, sizeof major, "made for interface %u.0, this server has %u.%u: "
		"build it against this server's headers", MK_ABI_MAJOR + 1, MK_ABI_MAJOR, MK_ABI_MINOR);
	snprintf(build, sizeof build, "built for 'ilp32 be time32', this server for '%s'",
		MK_ABI_BUILD);
	assert_refused("bad-magic", MK_EVERSION,
		"no plugin of this server (its magic number is wrong)");
	assert_refused("newer-minor", MK_EVERSION, newer);
	assert_refused("bad-major", MK_EVERSION, major);
	assert_refused("size-lie", MK_EVERSION,
		"its descriptor says it has 16 bytes, which can't be");
	assert_refused("other-build", MK_EVERSION, build);
	assert_refused("misnamed", MK_EVERSION,
		"calls itself 'named-otherwise', its file is named 'misnamed'");
	assert_refused("no-flags", MK_EVERSION,
		"says neither that it is per host type nor that it is global");
	assert_refused("stolen-words", MK_EVERSION,
		"its command 'account steal' does not begin with its name");
}

static void test_a_broken_shared_object_is_refused_with_its_reason(void **state)
{
	char *path = in(own, "text.so");
	FILE *f = fopen(path, "we");

	(void)state;
	assert_non_null(f);
	fputs("this is no shared object", f);
	assert_int_equal(fchmod(fileno(f), 0644), 0);
	fclose(f);
	mk_free(path);
	assert_refused_in(own, "text", MK_EVERSION, "can't be loaded...");
	assert_refused("no-entry", MK_EVERSION, "no plugin: it has no symbol 'mk_plugin_entry'");
	assert_refused("missing-symbol", MK_EVERSION,
		"can't be loaded: undefined symbol: mk_only_in_the_next_version");
}

static void test_what_fails_in_load_is_not_there(void **state)
{
	(void)state;
	assert_refused("no-load", MK_ELIMIT, "load failed: limit reached");
	/* Not a second time, either. */
	assert_refused("no-load", MK_ELIMIT, "load failed: limit reached");
}

/* ---- trust (S-18) -------------------------------------------------------------- */

static void copy(const char *from_name, const char *to_dir, const char *to_name, mode_t mode)
{
	char *from = in(modules, from_name), *to = in(to_dir, to_name);
	int a = open(from, O_RDONLY | O_CLOEXEC);
	int b = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char buf[65536];
	ssize_t n;

	assert_true(a >= 0 && b >= 0);
	while ((n = read(a, buf, sizeof buf)) > 0)
		assert_int_equal(write(b, buf, (size_t)n), n);
	assert_int_equal(fchmod(b, mode), 0);
	close(a);
	close(b);
	mk_free(from);
	mk_free(to);
}

static char *folder(const char *name, mode_t mode)
{
	char *dir = in(own, name);

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chmod(dir, mode), 0);
	return dir;
}

static void test_a_file_that_others_may_write_to_is_refused(void **state)
{
	char *dir = folder("modes", 0755), *open_dir = folder("open", 0777);
	char words[400];

	(void)state;
	copy("changing.so", dir, "group.so", 0664);
	copy("changing.so", dir, "world.so", 0646);
	copy("changing.so", open_dir, "changing.so", 0644);
	assert_refused_in(dir, "group", MK_EPERM, "refused: its group may write to it (mode 0664)");
	assert_refused_in(dir, "world", MK_EPERM, "refused: everybody may write to it (mode 0646)");
	struct mk_diag d = { 0 };
	struct mk_module *m = NULL;
	assert_int_equal(open_module(open_dir, "changing", &d, &m), -MK_EPERM);
	snprintf(words, sizeof words, "%s: refused: everybody may write to it (mode 0777)\n",
		open_dir);
	assert_string_equal(mk_buf_z(&d.text), words);
	mk_diag_fini(&d);
	mk_free(dir);
	mk_free(open_dir);
}

static void test_a_file_of_another_user_is_refused(void **state)
{
	char *dir, *file;

	(void)state;
	if (geteuid() != 0)
		skip();
	dir = folder("owners", 0755);
	file = in(dir, "changing.so");
	copy("changing.so", dir, "changing.so", 0644);
	assert_int_equal(chown(file, 12345, 0), 0);
	assert_refused_in(dir, "changing", MK_EPERM,
		"refused: its owner (uid 12345) is neither root nor the server's user");
	mk_free(file);
	mk_free(dir);
}

static void test_a_link_is_refused(void **state)
{
	char *dir = folder("links", 0755), *link = in(dir, "changing.so");
	char *absolute = realpath(modules, NULL), *to = in(absolute, "changing.so");

	(void)state;
	assert_int_equal(symlink(to, link), 0);
	assert_refused_in(dir, "changing", MK_EPERM, "refused: it is a symbolic link");
	free(absolute);
	mk_free(to);
	mk_free(link);
	mk_free(dir);
}

static void test_a_name_is_a_name_and_no_path(void **state)
{
	static const char *const names[] = { "", "../changing", "two/changing", "Changing", "1st",
		"a_b", "changing.so", "-a", "a23456789012345678901234567890123" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct mk_diag d = { 0 };
		struct mk_module *m;
		assert_int_equal(open_module(modules, names[i], &d, &m), -MK_EINVAL);
		assert_non_null(strstr(mk_buf_z(&d.text), "can't be a plugin's name"));
		mk_diag_fini(&d);
	}
}

static void test_what_is_nowhere_is_told_with_the_places(void **state)
{
	const char *const dirs[] = { "/nowhere", modules };
	const struct mk_conf_list list = { dirs, 2 };
	struct mk_diag d = { 0 };
	struct mk_module *m;
	char words[400];

	(void)state;
	snprintf(words, sizeof words, "plugin 'nobody' is not there (looked for nobody.so in "
		"/nowhere, %s)\n", modules);
	assert_int_equal(mk_module_open("nobody", &list, &d, &m), -MK_ENOENT);
	assert_string_equal(mk_buf_z(&d.text), words);
	mk_diag_fini(&d);
	/* An earlier folder that has none does no harm. */
	assert_int_equal(mk_module_open("twice-a", &list, &d, &m), 0);
	assert_int_equal(d.text.n, 0);
	mk_diag_fini(&d);
}

/* ---- starting -------------------------------------------------------------------- */

static struct mk_host_type *type_;

static int start(struct mk_module *m, struct mk_diag *d, struct mk_inst **out)
{
	struct mk_arena *a = mk_arena_new();
	void *values;

	assert_int_equal(mk_conf_check_plugin(m->plugin, NULL, "test", a, d, &values), 0);
	return mk_inst_start(m, type_, values, a, d, out);
}

static void test_one_namespace_has_one_handler(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_module *a, *b;
	struct mk_inst *ia, *ib;

	(void)state;
	assert_int_equal(open_module(modules, "twice-a", &d, &a), 0);
	assert_int_equal(open_module(modules, "twice-b", &d, &b), 0);
	assert_int_equal(start(a, &d, &ia), 0);
	assert_int_equal(start(b, &d, &ib), -MK_EEXIST);
	assert_string_equal(mk_buf_z(&d.text),
		"plugins 'twice-a' and 'twice-b' both handle <one xmlns='urn:test:twice'/>\n");
	mk_diag_fini(&d);
	const struct mk_iq_entry *e = mk_dispatch_iq(mk_dispatch(type_), "urn:test:twice", "one",
		MK_IQ_HOST, false, NULL);
	assert_ptr_equal(e->inst, ia);
	/* When the first has gone, the second may. */
	mk_inst_stop(&ia, 1000);
	assert_int_equal(start(b, &d, &ib), 0);
	mk_inst_stop(&ib, 1000);
	mk_diag_fini(&d);
}

static void test_a_start_that_fails_leaves_nothing(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_module *m;
	struct mk_inst *i;
	uint32_t discos = mk_dispatch(type_)->disco_count;

	(void)state;
	assert_int_equal(open_module(modules, "no-start", &d, &m), 0);
	assert_int_equal(start(m, &d, &i), -MK_EIO);
	assert_string_equal(mk_buf_z(&d.text), "plugin 'no-start' did not start on host type "
		"'people': input or output failed\n");
	assert_null(mk_dispatch_iq(mk_dispatch(type_), "urn:test:no-start", "x", MK_IQ_HOST, false, NULL));
	assert_int_equal(mk_dispatch(type_)->disco_count, discos);
	assert_true(mk_list_empty(&m->insts));
	mk_diag_fini(&d);
}

static void test_what_is_needed_must_be_given(void **state)
{
	struct mk_diag d = { 0 };
	struct mk_module *m, *order[1];

	(void)state;
	assert_int_equal(open_module(modules, "no-need", &d, &m), 0);
	assert_int_equal(mk_plugins_order(&m, 1, order, &d), -MK_EINVAL);
	assert_string_equal(mk_buf_z(&d.text), "plugin 'no-need' needs 'svc:what-nobody-gives/1', "
		"which no enabled plugin gives\n");
	mk_diag_fini(&d);
}

/* ---- a new version ----------------------------------------------------------------- */

static void replace(const char *dir, const char *by)
{
	char *fresh = in(dir, "new"), *file = in(dir, "changing.so");

	copy(by, dir, "new", 0644);
	assert_int_equal(rename(fresh, file), 0);
	mk_free(fresh);
	mk_free(file);
}

static void test_a_replaced_file_is_new_code_beside_the_old(void **state)
{
	char *dir = folder("versions", 0755);
	struct mk_diag d = { 0 };
	struct mk_module *m, *again;
	struct mk_inst *i;

	(void)state;
	replace(dir, "changing.so");
	assert_int_equal(open_module(dir, "changing", &d, &m), 0);
	assert_string_equal(m->plugin->version, "one");
	assert_int_equal(open_module(dir, "changing", &d, &again), 0);
	assert_ptr_equal(again, m);
	const struct mk_plugin *first = m->plugin;
	assert_int_equal(start(m, &d, &i), 0);
	mk_inst_stop(&i, 1000);

	replace(dir, "two/changing.so");
	assert_int_equal(mk_module_reopen(m, &d), 0);
	assert_string_equal(m->plugin->version, "two");
	/* Somebody may still be in it. */
	assert_string_equal(first->version, "one");
	assert_int_equal(start(m, &d, &i), 0);
	mk_inst_stop(&i, 1000);

	/* A load() that fails: the old code again, and it runs. */
	replace(dir, "no-load/changing.so");
	assert_int_equal(mk_module_reopen(m, &d), -MK_EIO);
	assert_non_null(strstr(mk_buf_z(&d.text), "load failed: input or output failed"));
	assert_true(m->loaded);
	assert_string_equal(m->plugin->version, "two");
	assert_int_equal(start(m, &d, &i), 0);
	mk_inst_stop(&i, 1000);
	mk_diag_fini(&d);

	/* So with a file that is no plugin. */
	replace(dir, "bad-magic.so");
	assert_int_equal(mk_module_reopen(m, &d), -MK_EVERSION);
	assert_true(m->loaded);
	assert_string_equal(m->plugin->version, "two");
	assert_int_equal(start(m, &d, &i), 0);
	mk_diag_fini(&d);

	/* Who opens it while it runs gets what runs; afterwards, what is there. */
	replace(dir, "changing.so");
	assert_int_equal(open_module(dir, "changing", &d, &again), 0);
	assert_string_equal(m->plugin->version, "two");
	mk_inst_stop(&i, 1000);
	assert_int_equal(open_module(dir, "changing", &d, &again), 0);
	assert_ptr_equal(again, m);
	assert_string_equal(m->plugin->version, "one");
	mk_free(dir);
}

/* ---- */

static int setup(void **state)
{
	(void)state;
	modules = getenv("MEERKAT_TEST_MODULES");
	if (modules == NULL)
		modules = "modules-test";
	umask(022);
	snprintf(own, sizeof own, "/tmp/mk-load-XXXXXX");
	if (mkdtemp(own) == NULL)
		return -1;
	mk_host_type_add("*");
	type_ = mk_host_type_add("people");
	return 0;
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *f)
{
	(void)s, (void)kind, (void)f;
	return remove(path);
}
static int teardown(void **state)
{
	(void)state;
	return nftw(own, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_broken_descriptor_is_refused_with_its_reason),
		cmocka_unit_test(test_a_broken_shared_object_is_refused_with_its_reason),
		cmocka_unit_test(test_what_fails_in_load_is_not_there),
		cmocka_unit_test(test_a_file_that_others_may_write_to_is_refused),
		cmocka_unit_test(test_a_file_of_another_user_is_refused),
		cmocka_unit_test(test_a_link_is_refused),
		cmocka_unit_test(test_a_name_is_a_name_and_no_path),
		cmocka_unit_test(test_what_is_nowhere_is_told_with_the_places),
		cmocka_unit_test(test_one_namespace_has_one_handler),
		cmocka_unit_test(test_a_start_that_fails_leaves_nothing),
		cmocka_unit_test(test_what_is_needed_must_be_given),
		cmocka_unit_test(test_a_replaced_file_is_new_code_beside_the_old),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
