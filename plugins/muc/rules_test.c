/*
 * muc/rules_test.c - the tables of XEP-0045 5.1 and 5.2, cell by cell
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "rules.h"

enum { YES = 0, FORBID = MK_ERR_FORBIDDEN, NOT = MK_ERR_NOT_ALLOWED, CONFLICT = MK_ERR_CONFLICT };

static void test_names_are_those_of_the_wire(void **state)
{
	enum role r = ROLE_NONE;
	enum affil a = AFFIL_NONE;

	(void)state;
	for (int k = ROLE_NONE; k <= ROLE_MODERATOR; k++) {
		assert_true(role_parse(role_name((enum role)k), &r));
		assert_int_equal(r, k);
	}
	for (int k = AFFIL_OUTCAST; k <= AFFIL_OWNER; k++) {
		assert_true(affil_parse(affil_name((enum affil)k), &a));
		assert_int_equal(a, k);
	}
	assert_false(role_parse("Moderator", &r));
	assert_false(role_parse(NULL, &r));
	assert_false(affil_parse("", &a));
	assert_false(affil_parse(NULL, &a));
}

/* 5.2.2, and the texts of 9 and 10: by, from, and to outcast .. owner. */
static void test_affiliations_change_by_who_is_above(void **state)
{
	static const struct { enum affil by, from; int to[5]; } rows[] = {
		{ AFFIL_OUTCAST, AFFIL_NONE, { FORBID, FORBID, FORBID, FORBID, FORBID } },
		{ AFFIL_NONE, AFFIL_NONE, { FORBID, FORBID, FORBID, FORBID, FORBID } },
		{ AFFIL_MEMBER, AFFIL_NONE, { FORBID, FORBID, FORBID, FORBID, FORBID } },
		{ AFFIL_ADMIN, AFFIL_OUTCAST, { YES, YES, YES, FORBID, FORBID } },
		{ AFFIL_ADMIN, AFFIL_NONE, { YES, YES, YES, FORBID, FORBID } },
		{ AFFIL_ADMIN, AFFIL_MEMBER, { YES, YES, YES, FORBID, FORBID } },
		{ AFFIL_ADMIN, AFFIL_ADMIN, { NOT, FORBID, FORBID, FORBID, FORBID } },
		{ AFFIL_ADMIN, AFFIL_OWNER, { NOT, FORBID, FORBID, FORBID, FORBID } },
		{ AFFIL_OWNER, AFFIL_OUTCAST, { YES, YES, YES, YES, YES } },
		{ AFFIL_OWNER, AFFIL_NONE, { YES, YES, YES, YES, YES } },
		{ AFFIL_OWNER, AFFIL_MEMBER, { YES, YES, YES, YES, YES } },
		{ AFFIL_OWNER, AFFIL_ADMIN, { YES, YES, YES, YES, YES } },
		{ AFFIL_OWNER, AFFIL_OWNER, { YES, YES, YES, YES, YES } },
	};

	(void)state;
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
		for (int to = AFFIL_OUTCAST; to <= AFFIL_OWNER; to++)
			assert_int_equal(rules_affil_change(rows[k].by, rows[k].from, (enum affil)to, false),
				rows[k].to[to]);
	/* 9.1: nobody bans himself; who may not ban at all is told that first. */
	assert_int_equal(rules_affil_change(AFFIL_ADMIN, AFFIL_ADMIN, AFFIL_OUTCAST, true), CONFLICT);
	assert_int_equal(rules_affil_change(AFFIL_OWNER, AFFIL_OWNER, AFFIL_OUTCAST, true), CONFLICT);
	assert_int_equal(rules_affil_change(AFFIL_MEMBER, AFFIL_MEMBER, AFFIL_OUTCAST, true), FORBID);
	assert_int_equal(rules_affil_change(AFFIL_OWNER, AFFIL_OWNER, AFFIL_NONE, true), YES);
}

/* 5.1.3, and the texts of 8 and 9.6-9.8: to none, visitor, participant, moderator. */
static void test_roles_change_by_who_moderates(void **state)
{
	static const struct { struct standing by, of; int to[4]; } rows[] = {
		/* Who is no moderator can do nothing. */
		{ { AFFIL_NONE, ROLE_NONE }, { AFFIL_NONE, ROLE_VISITOR },
		  { FORBID, FORBID, FORBID, FORBID } },
		{ { AFFIL_NONE, ROLE_VISITOR }, { AFFIL_NONE, ROLE_VISITOR },
		  { FORBID, FORBID, FORBID, FORBID } },
		{ { AFFIL_MEMBER, ROLE_PARTICIPANT }, { AFFIL_NONE, ROLE_VISITOR },
		  { FORBID, FORBID, FORBID, FORBID } },
		/* A moderator who is nothing else. */
		{ { AFFIL_NONE, ROLE_MODERATOR }, { AFFIL_NONE, ROLE_VISITOR }, { YES, YES, YES, FORBID } },
		{ { AFFIL_NONE, ROLE_MODERATOR }, { AFFIL_NONE, ROLE_PARTICIPANT },
		  { YES, YES, YES, FORBID } },
		{ { AFFIL_NONE, ROLE_MODERATOR }, { AFFIL_MEMBER, ROLE_PARTICIPANT },
		  { NOT, NOT, YES, FORBID } },
		{ { AFFIL_NONE, ROLE_MODERATOR }, { AFFIL_NONE, ROLE_MODERATOR },
		  { NOT, FORBID, FORBID, YES } },
		{ { AFFIL_NONE, ROLE_MODERATOR }, { AFFIL_ADMIN, ROLE_MODERATOR }, { NOT, NOT, NOT, YES } },
		{ { AFFIL_MEMBER, ROLE_MODERATOR }, { AFFIL_MEMBER, ROLE_PARTICIPANT },
		  { YES, NOT, YES, FORBID } },
		{ { AFFIL_MEMBER, ROLE_MODERATOR }, { AFFIL_OWNER, ROLE_MODERATOR }, { NOT, NOT, NOT, YES } },
		/* An admin, in the room and not. */
		{ { AFFIL_ADMIN, ROLE_MODERATOR }, { AFFIL_NONE, ROLE_VISITOR }, { YES, YES, YES, YES } },
		{ { AFFIL_ADMIN, ROLE_NONE }, { AFFIL_MEMBER, ROLE_PARTICIPANT }, { YES, YES, YES, YES } },
		{ { AFFIL_ADMIN, ROLE_MODERATOR }, { AFFIL_NONE, ROLE_MODERATOR }, { YES, YES, YES, YES } },
		{ { AFFIL_ADMIN, ROLE_MODERATOR }, { AFFIL_ADMIN, ROLE_MODERATOR }, { YES, NOT, NOT, YES } },
		{ { AFFIL_ADMIN, ROLE_MODERATOR }, { AFFIL_OWNER, ROLE_MODERATOR }, { NOT, NOT, NOT, YES } },
		/* An owner. */
		{ { AFFIL_OWNER, ROLE_MODERATOR }, { AFFIL_MEMBER, ROLE_MODERATOR }, { YES, YES, YES, YES } },
		{ { AFFIL_OWNER, ROLE_MODERATOR }, { AFFIL_ADMIN, ROLE_MODERATOR }, { YES, NOT, NOT, YES } },
		{ { AFFIL_OWNER, ROLE_MODERATOR }, { AFFIL_OWNER, ROLE_MODERATOR }, { YES, NOT, NOT, YES } },
	};

	(void)state;
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
		for (int to = ROLE_NONE; to <= ROLE_MODERATOR; to++)
			assert_int_equal(rules_role_change(rows[k].by, rows[k].of, (enum role)to, false),
				rows[k].to[to]);
	struct standing mod = { AFFIL_NONE, ROLE_MODERATOR };
	assert_int_equal(rules_role_change(mod, mod, ROLE_NONE, true), YES);
}

static void test_first_roles_follow_affiliations(void **state)
{
	static const enum role moderated[] = { ROLE_NONE, ROLE_VISITOR, ROLE_PARTICIPANT,
		ROLE_MODERATOR, ROLE_MODERATOR };
	static const enum role open[] = { ROLE_NONE, ROLE_PARTICIPANT, ROLE_PARTICIPANT,
		ROLE_MODERATOR, ROLE_MODERATOR };

	(void)state;
	for (int a = AFFIL_OUTCAST; a <= AFFIL_OWNER; a++) {
		assert_int_equal(rules_first_role((enum affil)a, true), moderated[a]);
		assert_int_equal(rules_first_role((enum affil)a, false), open[a]);
	}
}

static void test_roles_follow_changes_of_affiliations(void **state)
{
	(void)state;
	assert_int_equal(rules_role_after(ROLE_VISITOR, AFFIL_NONE, AFFIL_MEMBER, true),
		ROLE_PARTICIPANT);
	assert_int_equal(rules_role_after(ROLE_VISITOR, AFFIL_NONE, AFFIL_ADMIN, true), ROLE_MODERATOR);
	assert_int_equal(rules_role_after(ROLE_MODERATOR, AFFIL_OWNER, AFFIL_ADMIN, true),
		ROLE_MODERATOR);
	assert_int_equal(rules_role_after(ROLE_MODERATOR, AFFIL_ADMIN, AFFIL_MEMBER, true),
		ROLE_PARTICIPANT);
	assert_int_equal(rules_role_after(ROLE_MODERATOR, AFFIL_ADMIN, AFFIL_NONE, false),
		ROLE_PARTICIPANT);
	/* What an admin gave a plain user stays. */
	assert_int_equal(rules_role_after(ROLE_MODERATOR, AFFIL_NONE, AFFIL_MEMBER, true),
		ROLE_MODERATOR);
	assert_int_equal(rules_role_after(ROLE_MODERATOR, AFFIL_MEMBER, AFFIL_NONE, true),
		ROLE_MODERATOR);
	assert_int_equal(rules_role_after(ROLE_PARTICIPANT, AFFIL_MEMBER, AFFIL_NONE, true),
		ROLE_VISITOR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_those_of_the_wire),
		cmocka_unit_test(test_affiliations_change_by_who_is_above),
		cmocka_unit_test(test_roles_change_by_who_moderates),
		cmocka_unit_test(test_first_roles_follow_affiliations),
		cmocka_unit_test(test_roles_follow_changes_of_affiliations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
