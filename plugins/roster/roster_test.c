/*
 * roster/roster_test.c - rosters in memory, groups as a column keeps them, items
 *
 * What needs a server is in test/wire/test_roster.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "roster.h"

static void test_groups_survive_line_feeds_and_backslashes(void **state)
{
	static const char *const groups[] = { "Friends", "a\nb", "\\", "back\\slash\\", "\n", "\\n" };
	struct mk_arena *a = mk_arena_new();
	uint32_t n = 0;

	(void)state;
	for (uint32_t most = 0; most <= 6; most++) {
		struct mk_str text = roster_groups_join(a, groups, most);
		const char *const *back = roster_groups_split(a, text, &n);
		/* An escaped line feed ends no group, so none may be lost or made. */
		assert_int_equal(n, most);
		for (uint32_t k = 0; k < n; k++)
			assert_string_equal(back[k], groups[k]);
	}
	mk_arena_free(&a);
}

/* The same numbers each time. */
static uint32_t next_number(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 12;
}

static struct mk_str contact_name(char *out, size_t size, uint32_t k)
{
	static const char *const domains[] = { "example.org", "example.o", "example.net" };

	snprintf(out, size, "%u@%s", k % 100, domains[k / 100]);
	return mk_strz(out);
}

static void test_contacts_are_found_as_in_a_plain_list(void **state)
{
	enum { NAMES = 300, STEPS = 20000 };
	struct roster_state s = { .version = 7 };
	struct mk_roster *r = roster_new(&s);
	uint32_t model[NAMES] = { 0 }, seed = 6121;
	char name[32];

	(void)state;
	assert_int_equal(roster_version(r), 7);
	for (int k = 0; k < STEPS; k++) {
		uint32_t at = next_number(&seed) % NAMES;
		uint32_t flags = next_number(&seed) % 3 == 0 ? 0 : next_number(&seed) % 64;
		contact_name(name, sizeof name, at);
		roster_set(r, name, flags);
		model[at] = flags;
		at = next_number(&seed) % NAMES;
		assert_int_equal(roster_find(r, contact_name(name, sizeof name, at)), model[at]);
	}
	assert_int_equal(roster_find(r, MK_STR("")), 0);
	roster_free(&r);
	assert_null(r);
}

static struct mk_str written(struct mk_arena *a, uint32_t flags, const char *name)
{
	static const char *const groups[] = { "Work" };
	struct mk_elem *query = mk_elem_new(a, "query", NS_ROSTER);

	roster_item_add(query, "romeo@example.net", flags, name, groups, 1);
	return mk_elem_write(a, query);
}

static void test_items_say_what_rfc_6121_2_1_2_asks(void **state)
{
	static const struct { uint32_t flags; const char *subscription, *ask, *approved; } rows[] = {
		{ MK_ROSTER_LISTED, "none", NULL, NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_ASK, "none", "subscribe", NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_PENDING, "none", NULL, NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_TO, "to", NULL, NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_FROM | MK_ROSTER_ASK, "from", "subscribe", NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_FROM | MK_ROSTER_TO, "both", NULL, NULL },
		{ MK_ROSTER_LISTED | MK_ROSTER_APPROVED, "none", NULL, "true" },
		{ 0, "remove", NULL, NULL },
	};
	struct mk_arena *a = mk_arena_new();

	(void)state;
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
		struct mk_elem *query = NULL;
		assert_int_equal(mk_elem_read(a, written(a, rows[k].flags, "R <&> O"), &query), 0);
		const struct mk_elem *item = mk_elem_child(query, "item", NS_ROSTER);
		assert_non_null(item);
		assert_string_equal(mk_elem_attr(item, "jid"), "romeo@example.net");
		assert_string_equal(mk_elem_attr(item, "subscription"), rows[k].subscription);
		assert_true(mk_streq(mk_elem_attr(item, "ask"), rows[k].ask));
		assert_true(mk_streq(mk_elem_attr(item, "approved"), rows[k].approved));
		if (rows[k].flags != 0) {
			assert_string_equal(mk_elem_attr(item, "name"), "R <&> O");
			assert_true(mk_str_eqz(mk_elem_child_text(item, "group", NS_ROSTER), "Work"));
		} else {
			assert_null(mk_elem_first(item));
		}
	}
	mk_arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups_survive_line_feeds_and_backslashes),
		cmocka_unit_test(test_contacts_are_found_as_in_a_plain_list),
		cmocka_unit_test(test_items_say_what_rfc_6121_2_1_2_asks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
