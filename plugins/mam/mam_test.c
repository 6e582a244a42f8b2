/*
 * mam/mam_test.c - rows that lead to others, preferences, words
 *
 * What needs no server; conversations are in test/wire/test_mam.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mam.h"

enum { DOMAIN, USER, ID, PEER, FLAGS, SIZE, STANZA, COLUMNS };

static void row_make(struct mk_value *row, const char *user, const char *peer, int64_t flags,
	const char *stanza)
{
	row[DOMAIN] = mk_textz("example.org");
	row[USER] = mk_textz(user);
	row[ID] = mk_int(77);
	row[PEER] = mk_textz(peer);
	row[FLAGS] = mk_int(flags);
	row[SIZE] = mk_int(stanza != NULL ? (int64_t)strlen(stanza) : 0);
	row[STANZA] = stanza != NULL ? mk_textz(stanza) : mk_absent();
}

static void test_recipients_row_leads_to_the_senders(void **state)
{
	const struct mk_table_link *l = archive_box.link;
	struct mk_value sent[COLUMNS], got[COLUMNS], key[3];

	(void)state;
	row_make(sent, "romeo", "juliet@example.org", BOX_OUT, "<message/>");
	row_make(got, "juliet", "romeo@example.org", 0, NULL);
	assert_true(l->key(got, key));
	assert_true(mk_str_eqz(mk_value_str(&key[0]), "example.org"));
	assert_true(mk_str_eqz(mk_value_str(&key[1]), "romeo"));
	assert_int_equal(key[2].as.i, 77);
	assert_false(l->key(sent, key));
	assert_true(l->back(sent, key));
	assert_true(mk_str_eqz(mk_value_str(&key[1]), "juliet"));
	assert_false(l->back(got, key));
	l->take(got, sent);
	assert_false(l->key(got, key));
	assert_true(mk_str_eqz(mk_value_str(&got[STANZA]), "<message/>"));
	assert_int_equal(got[SIZE].as.i, 10);
	assert_false(l->back(got, key));               /* it was not sent by her        */
}

static void test_rows_lead_nowhere_else(void **state)
{
	static const char *const peers[] = { "juliet@example.com", "juliet@sub.example.org",
		"example.org", "", "@example.com" };
	const struct mk_table_link *l = archive_box.link;
	struct mk_value row[COLUMNS], key[3];

	(void)state;
	for (size_t k = 0; k < sizeof peers / sizeof *peers; k++) {
		row_make(row, "romeo", peers[k], BOX_OUT, "<message/>");
		assert_false(l->back(row, key));
		row_make(row, "romeo", peers[k], 0, NULL);
		assert_false(l->key(row, key));
	}
}

static void test_preferences(void **state)
{
	static const struct {
		uint8_t dflt;
		const char *always, *never, *other;
		int want;
	} rows[] = {
		{ PREFS_ALWAYS, NULL, NULL, "a@b/c", 1 },
		{ PREFS_NEVER, NULL, NULL, "a@b/c", 0 },
		{ PREFS_ROSTER, NULL, NULL, "a@b/c", -1 },
		{ PREFS_NEVER, "a@b\n", NULL, "a@b/c", 1 },
		{ PREFS_NEVER, "x@y\na@b\n", NULL, "a@b", 1 },
		{ PREFS_NEVER, "a@b/c\n", NULL, "a@b/c", 1 },
		{ PREFS_NEVER, "a@b/c\n", NULL, "a@b/d", 0 },
		{ PREFS_NEVER, "aa@b\n", NULL, "a@b", 0 },
		{ PREFS_ALWAYS, NULL, "a@b\n", "a@b/c", 0 },
		{ PREFS_ROSTER, NULL, "a@b/x\n", "a@b/c", -1 },
		/* Who is in both is not kept. */
		{ PREFS_ALWAYS, "a@b\n", "a@b\n", "a@b/c", 0 },
	};

	(void)state;
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
		struct prefs p = { .is_known = true, .dflt = rows[k].dflt,
			.always = mk_strdup(rows[k].always != NULL ? rows[k].always : ""),
			.never = mk_strdup(rows[k].never != NULL ? rows[k].never : "") };
		struct mk_jid *j;
		assert_int_equal(mk_jid_parsez(rows[k].other, &j), 0);
		if (prefs_want(&p, j) != rows[k].want)
			fail_msg("row %zu", k);
		mk_jid_unref(&j);
		prefs_clear(&p);
	}
}

static void test_words_are_of_bodies_and_subjects(void **state)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_elem *e;

	(void)state;
	assert_int_equal(mk_elem_read(a, MK_STR("<message xmlns='jabber:client'><subject>one</subject>"
		"<x xmlns='y'><body>no</body></x><body>two &amp; three</body><body xml:lang='de'>vier"
		"</body></message>"), &e), 0);
	assert_true(mk_str_eqz(words_of(a, e), "one\ntwo & three\nvier"));
	assert_int_equal(mk_elem_read(a, MK_STR("<message xmlns='jabber:client'/>"), &e), 0);
	assert_int_equal(words_of(a, e).n, 0);
	mk_arena_free(&a);
}

static void test_shared_rows_are_remembered_for_their_recipient(void **state)
{
	struct mk_jid *a, *b;
	int64_t bytes = 0;

	(void)state;
	archive_load();
	assert_int_equal(mk_jid_parsez("juliet@example.org/balcony", &a), 0);
	assert_int_equal(mk_jid_parsez("nurse@example.org", &b), 0);
	assert_false(shared_noted(5, a, &bytes));
	shared_note(5, a, 123);
	assert_true(shared_noted(5, a, &bytes));
	assert_int_equal(bytes, 123);
	assert_false(shared_noted(5, b, &bytes));
	assert_false(shared_noted(6, a, &bytes));
	mk_jid_unref(&a);
	mk_jid_unref(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recipients_row_leads_to_the_senders),
		cmocka_unit_test(test_rows_lead_nowhere_else),
		cmocka_unit_test(test_preferences),
		cmocka_unit_test(test_words_are_of_bodies_and_subjects),
		cmocka_unit_test(test_shared_rows_are_remembered_for_their_recipient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
