/*
 * muc/hats_test.c - hats in memory, as text and in presence
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "hats.h"

static struct mk_jid *jid(const char *z)
{
	struct mk_jid *j = NULL;

	assert_int_equal(mk_jid_parsez(z, &j), 0);
	return j;
}

/* The uris that a presence shows, with blanks between. */
static const char *shown(const struct hats *h, const struct mk_jid *j, struct mk_arena *a)
{
	struct mk_elem *p = mk_elem_new(a, "presence", "jabber:client"), *all;
	const char *text = "";

	hats_show(h, j, p);
	all = mk_elem_child(p, "hats", NS_HATS);
	for (const struct mk_elem *e = all != NULL ? mk_elem_first(all) : NULL; e != NULL;
	     e = mk_elem_next(e))
		text = mk_arena_printf(a, "%s%s ", text, mk_elem_attr(e, "uri"));
	return text;
}

static void test_hats_are_given_worn_and_taken(void **state)
{
	struct mk_jid *a = jid("a@example.org/desk"), *b = jid("b@example.org");
	struct mk_arena *arena = mk_arena_new();
	struct hats *h = NULL, *again;
	char hash[17], other[17];
	struct mk_str text;

	(void)state;
	assert_int_equal(hats_write(arena, NULL).n, 0);
	assert_false(hats_hash(h, hash));
	assert_int_equal(hats_set(&h, MK_STR("urn:x:host"), MK_STR("Host & co"), MK_STR("327.25")), 0);
	assert_int_equal(hats_set(&h, MK_STR("urn:x:scribe"), MK_STR("Scribe"), MK_STR_NONE), 0);
	assert_int_equal(hats_set(&h, MK_STR("urn:x:guest"), MK_STR("Guest"), MK_STR_NONE), 0);
	assert_true(hats_hash(h, hash));
	assert_int_equal(hats_wear(h, a, MK_STR("urn:x:host"), true), 1);
	assert_int_equal(hats_wear(h, a, MK_STR("urn:x:host"), true), 0);
	assert_int_equal(hats_wear(h, a, MK_STR("urn:x:guest"), true), 1);
	assert_int_equal(hats_wear(h, b, MK_STR("urn:x:scribe"), true), 1);
	assert_int_equal(hats_wear(h, b, MK_STR("urn:x:none"), true), -MK_ENOENT);
	assert_string_equal(shown(h, a, arena), "urn:x:host urn:x:guest ");
	assert_string_equal(shown(h, b, arena), "urn:x:scribe ");

	text = hats_write(arena, h);
	again = hats_read(text);
	assert_non_null(again);
	assert_true(mk_str_eq(hats_write(arena, again), text));
	assert_string_equal(shown(again, a, arena), "urn:x:host urn:x:guest ");
	hats_free(&again);

	/* One in the middle goes, and with it who wore it; the others stay theirs. */
	assert_int_equal(hats_remove(h, MK_STR("urn:x:scribe")), 0);
	assert_int_equal(hats_remove(h, MK_STR("urn:x:scribe")), -MK_ENOENT);
	assert_string_equal(shown(h, a, arena), "urn:x:host urn:x:guest ");
	assert_string_equal(shown(h, b, arena), "");
	assert_true(hats_hash(h, other));
	assert_string_not_equal(hash, other);
	assert_int_equal(hats_wear(h, a, MK_STR("urn:x:host"), false), 1);
	assert_int_equal(hats_wear(h, a, MK_STR("urn:x:host"), false), 0);
	assert_false(hats_is_worn(h, a, MK_STR("urn:x:host")));
	assert_true(hats_is_worn(h, a, MK_STR("urn:x:guest")));
	hats_free(&h);
	mk_arena_free(&arena);
	mk_jid_unref(&a);
	mk_jid_unref(&b);
}

static void test_what_is_no_hat_is_refused(void **state)
{
	static const struct { const char *uri, *title, *hue; } bad[] = {
		{ "", "x", "" }, { "no-scheme", "x", "" }, { "urn:a b", "x", "" }, { "urn:a", "", "" },
		{ "urn:a", "x", "361" }, { "urn:a", "x", "-1" }, { "urn:a", "x", "1.2.3" },
		{ "urn:a", "x", "red" }, { "urn:a", "x", "." }, { "urn:a", "x", "1234" },
	};
	struct hats *h = NULL;
	char uri[32];

	(void)state;
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
		assert_int_equal(hats_set(&h, mk_strz(bad[k].uri), mk_strz(bad[k].title),
			mk_strz(bad[k].hue)), -MK_EINVAL);
	assert_null(h);
	for (unsigned k = 0; k < 50; k++) {
		snprintf(uri, sizeof uri, "urn:%u", k);
		assert_int_equal(hats_set(&h, mk_strz(uri), MK_STR("x"), MK_STR_NONE), 0);
	}
	assert_int_equal(hats_set(&h, MK_STR("urn:more"), MK_STR("x"), MK_STR_NONE), -MK_ELIMIT);
	assert_int_equal(hats_set(&h, MK_STR("urn:7"), MK_STR("again"), MK_STR_NONE), 0);
	hats_free(&h);
	assert_null(hats_read(MK_STR("<hats")));
	assert_null(hats_read(MK_STR("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hats_are_given_worn_and_taken),
		cmocka_unit_test(test_what_is_no_hat_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
