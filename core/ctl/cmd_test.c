/*
 * ctl/cmd_test.c - arguments of commands, and answers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <meerkat/jid.h>
#include "ctl/cmd.h"
#include "jid/jid.h"
#include "base/ban.h"

static const struct mk_arg args[] = {
	{ "user", MK_ARG_JID, false, "who" },
	{ "domain", MK_ARG_DOMAIN, true, "where" },
	{ "n", MK_ARG_INT, true, "how many" },
	{ "text", MK_ARG_TEXT, true, "what" },
	{ "loud", MK_ARG_FLAG, true, "how" },
	{ 0 }
};
static const struct mk_command command = { .size = sizeof command, .name = "say",
	.doc = "Says.", .args = args };
static const struct mk_command bare = { .size = sizeof bare, .name = "bare", .doc = "Is bare." };

static json_t *json(const char *text)
{
	json_error_t e;
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &e);

	assert_non_null(o);
	return o;
}

static void assert_error(json_t *answer, const char *code, const char *error)
{
	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_string_equal(json_string_value(json_object_get(answer, "error")), error);
	assert_string_equal(json_string_value(json_object_get(answer, "code")), code);
	assert_null(json_object_get(answer, "rows"));
	json_decref(answer);
}

static void test_arguments_are_checked_before_the_command_runs(void **state)
{
	static const struct { const char *args, *code, *error; } t[] = {
		{ "{}", "invalid", "'say' needs the argument 'user': who" },
		{ "{\"user\":null}", "invalid", "'user' must be text" },
		{ "{\"user\":7}", "invalid", "'user' must be text" },
		{ "{\"user\":\"\"}", "jid", "'user' is no JID: " },
		{ "{\"user\":\"a@@b\"}", "jid", "'user' is no JID: a@@b" },
		{ "{\"user\":\"a@b\",\"domain\":\"x@y\"}", "jid", "'domain' is no domain: x@y" },
		{ "{\"user\":\"a@b\",\"domain\":\"y/z\"}", "jid", "'domain' is no domain: y/z" },
		{ "{\"user\":\"a@b\",\"n\":\"1x\"}", "invalid", "'n' must be a whole number" },
		{ "{\"user\":\"a@b\",\"n\":1.5}", "invalid", "'n' must be a whole number" },
		{ "{\"user\":\"a@b\",\"n\":\"99999999999999999999\"}", "invalid",
		  "'n' must be a whole number" },
		{ "{\"user\":\"a@b\",\"text\":[]}", "invalid", "'text' must be text" },
		{ "{\"user\":\"a@b\",\"loud\":\"yes\"}", "invalid", "'loud' is a flag: yes or no" },
		{ "{\"user\":\"a@b\",\"lout\":true}", "invalid", "'say' has no argument 'lout'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct mk_cmd c;
		json_t *a = json(t[i].args);
		assert_true(mk_cmd_begin(&c, &command, a) < 0);
		assert_error(mk_cmd_end(&c), t[i].code, t[i].error);
		json_decref(a);
	}
}

static void test_arguments_come_as_they_were_declared(void **state)
{
	struct mk_cmd c;
	json_t *a = json("{\"user\":\"A@Example.ORG\",\"n\":\"-12\",\"text\":\"\\u00fc\",\"loud\":true}");

	(void)state;
	assert_int_equal(mk_cmd_begin(&c, &command, a), 0);
	assert_string_equal(mk_jid_full(mk_cmd_arg_jid(&c, "user")), "a@example.org");
	assert_null(mk_cmd_arg_jid(&c, "domain"));
	assert_int_equal(mk_cmd_arg_int(&c, "n", 5), -12);
	assert_string_equal(mk_cmd_arg(&c, "text"), "\xc3\xbc");
	assert_true(mk_cmd_flag(&c, "loud"));
	json_decref(mk_cmd_end(&c));
	json_decref(a);

	a = json("{\"user\":\"a@b\",\"n\":3}");
	assert_int_equal(mk_cmd_begin(&c, &command, a), 0);
	assert_int_equal(mk_cmd_arg_int(&c, "n", 5), 3);
	assert_null(mk_cmd_arg(&c, "text"));
	assert_false(mk_cmd_flag(&c, "loud"));
	json_decref(mk_cmd_end(&c));
	json_decref(a);
}

static void assert_answer(struct mk_cmd *c, const char *expected)
{
	json_t *o = mk_cmd_end(c);
	char *text = json_dumps(o, JSON_COMPACT);

	assert_string_equal(text, expected);
	free(text);
	json_decref(o);
}

static void begin(struct mk_cmd *c)
{
	static json_t *none;

	if (none == NULL)
		none = json_object();
	assert_int_equal(mk_cmd_begin(c, &bare, none), 0);
}

static void test_a_record_is_no_list_of_one(void **state)
{
	struct mk_cmd c;

	(void)state;
	begin(&c);
	mk_cmd_str(&c, "b", "x");
	mk_cmd_int(&c, "a", -1);
	mk_cmd_bool(&c, "c", false);
	mk_cmd_str(&c, "d", NULL);
	assert_answer(&c, "{\"ok\":true,\"rows\":[{\"b\":\"x\",\"a\":-1,\"c\":false,\"d\":null}],"
		"\"record\":true}");
	begin(&c);
	mk_cmd_row(&c);
	mk_cmd_str(&c, "b", "x");
	assert_answer(&c, "{\"ok\":true,\"rows\":[{\"b\":\"x\"}]}");
	begin(&c);
	mk_cmd_row(&c);
	mk_cmd_int(&c, "a", 1);
	mk_cmd_row(&c);
	mk_cmd_int(&c, "a", 2);
	assert_answer(&c, "{\"ok\":true,\"rows\":[{\"a\":1},{\"a\":2}]}");
	begin(&c);
	assert_answer(&c, "{\"ok\":true}");
}

static void test_what_is_no_text_can_be_answered_all_the_same(void **state)
{
	struct mk_cmd c;

	(void)state;
	begin(&c);
	mk_cmd_str(&c, "a", "x\xff\xfe");
	mk_cmd_text(&c, "\xc3(%d)", 5);
	assert_answer(&c, "{\"ok\":true,\"text\":\"?(5)\",\"rows\":[{\"a\":\"x??\"}],\"record\":true}");
	begin(&c);
	assert_int_equal(mk_cmd_fail(&c, -MK_ENOENT, "no %s", "\xe9t\xe9"), -MK_ENOENT);
	assert_answer(&c, "{\"ok\":false,\"error\":\"no ?t?\",\"code\":\"not-found\"}");
}

static void test_a_failure_shows_no_rows_and_the_last_reason(void **state)
{
	struct mk_cmd c;

	(void)state;
	begin(&c);
	mk_cmd_str(&c, "a", "x");
	mk_cmd_fail(&c, -MK_EINVAL, "first");
	/* A positive code is taken as the same. */
	assert_int_equal(mk_cmd_fail(&c, MK_ECONFLICT, "second"), -MK_ECONFLICT);
	assert_answer(&c, "{\"ok\":false,\"error\":\"second\",\"code\":\"conflict\"}");
	begin(&c);
	c.err = -MK_EIO;
	assert_error(mk_cmd_end(&c), "failed", mk_strerror(MK_EIO));
}

static void test_every_command_of_the_core_is_described(void **state)
{
	(void)state;
	for (const struct mk_command *const *c = mk_core_commands; *c != NULL; c++) {
		unsigned jids = 0;
		assert_int_equal((*c)->size, sizeof(struct mk_command));
		assert_non_null((*c)->run);
		assert_true(strlen((*c)->doc) > 10);
		assert_int_equal((*c)->doc[strlen((*c)->doc) - 1], '.');
		for (const char *p = (*c)->name; *p != '\0'; p++)
			assert_true((*p >= 'a' && *p <= 'z') || *p == ' ' || *p == '-');
		for (const struct mk_arg *a = (*c)->args; a != NULL && a->name != NULL; a++) {
			assert_true(strlen(a->doc) > 5);
			/* Words take all that is left. */
			assert_true(a->type != MK_ARG_WORDS || a[1].name == NULL);
			jids += a->type == MK_ARG_JID || a->type == MK_ARG_DOMAIN;
		}
		assert_true(jids <= 8);
		for (const struct mk_command *const *d = mk_core_commands; d != c; d++)
			assert_string_not_equal((*c)->name, (*d)->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_are_checked_before_the_command_runs),
		cmocka_unit_test(test_arguments_come_as_they_were_declared),
		cmocka_unit_test(test_a_record_is_no_list_of_one),
		cmocka_unit_test(test_what_is_no_text_can_be_answered_all_the_same),
		cmocka_unit_test(test_a_failure_shows_no_rows_and_the_last_reason),
		cmocka_unit_test(test_every_command_of_the_core_is_described),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	mk_jid_thread_end();
	return r;
}
