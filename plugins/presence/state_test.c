/*
 * presence/state_test.c - the tables of RFC 6121, Appendix A, cell by cell
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "presence.h"

enum { N = 0, PO = MK_ROSTER_ASK, PI = MK_ROSTER_PENDING, T = MK_ROSTER_TO, F = MK_ROSTER_FROM,
	A = MK_ROSTER_APPROVED, L = MK_ROSTER_LISTED };
#define STATES 9
/* In the order of the tables. */
static const uint32_t states[STATES] = { N, PO, PI, PO | PI, T, T | PI, F, F | PO, T | F };

struct row { bool passes; uint32_t flags; };
struct table { const char *name; enum way way; enum mk_stanza_type type; struct row row[STATES]; };
static const struct table tables[] = {
	{ "A.2.1", OUTBOUND, MK_TYPE_SUBSCRIBE, {
		{ 1, PO }, { 1, PO }, { 1, PO | PI }, { 1, PO | PI }, { 1, T }, { 1, T | PI },
		{ 1, F | PO }, { 1, F | PO }, { 1, T | F } } },
	{ "A.2.2", OUTBOUND, MK_TYPE_UNSUBSCRIBE, {
		{ 1, N }, { 1, N }, { 1, PI }, { 1, PI }, { 1, N }, { 1, PI }, { 1, F }, { 1, F },
		{ 1, F } } },
	{ "A.2.3", OUTBOUND, MK_TYPE_SUBSCRIBED, {
		{ 0, N }, { 0, PO }, { 1, F }, { 1, F | PO }, { 0, T }, { 1, T | F }, { 0, F },
		{ 0, F | PO }, { 0, T | F } } },
	{ "A.2.4", OUTBOUND, MK_TYPE_UNSUBSCRIBED, {
		{ 0, N }, { 0, PO }, { 1, N }, { 1, PO }, { 0, T }, { 1, T }, { 1, N }, { 1, PO },
		{ 1, T } } },
	{ "A.3.1", INBOUND, MK_TYPE_SUBSCRIBE, {
		{ 1, PI }, { 1, PO | PI }, { 0, PI }, { 0, PO | PI }, { 1, T | PI }, { 0, T | PI },
		{ 0, F }, { 0, F | PO }, { 0, T | F } } },
	{ "A.3.2", INBOUND, MK_TYPE_UNSUBSCRIBE, {
		{ 0, N }, { 0, PO }, { 1, N }, { 1, PO }, { 0, T }, { 1, T }, { 1, N }, { 1, PO },
		{ 1, T } } },
	{ "A.3.3", INBOUND, MK_TYPE_SUBSCRIBED, {
		{ 0, N }, { 1, T }, { 0, PI }, { 1, T | PI }, { 0, T }, { 0, T | PI }, { 0, F },
		{ 1, T | F }, { 0, T | F } } },
	{ "A.3.4", INBOUND, MK_TYPE_UNSUBSCRIBED, {
		{ 0, N }, { 1, N }, { 0, PI }, { 1, PI }, { 1, N }, { 1, PI }, { 0, F }, { 1, F },
		{ 1, F } } },
};
#define TABLES (sizeof tables / sizeof *tables)

/* LISTED is never touched; without a request "subscribed" approves (3.4.2). */
static void test_every_cell_of_appendix_a(void **state)
{
	(void)state;
	for (size_t t = 0; t < TABLES; t++)
		for (int k = 0; k < STATES; k++)
			for (uint32_t more = 0; more <= L; more += L) {
				const struct row *want = &tables[t].row[k];
				struct step s = subscription_step(tables[t].way, tables[t].type,
					states[k] | more);
				uint32_t a = tables[t].way == OUTBOUND &&
				             tables[t].type == MK_TYPE_SUBSCRIBED && !want->passes &&
				             !(states[k] & F) ? A : 0;
				if (s.passes != want->passes || s.flags != (want->flags | more | a))
					fail_msg("%s, state %d: passes %d, flags %#x", tables[t].name, k,
						s.passes, s.flags);
			}
}

static void test_who_is_subscribed_is_told_so_again(void **state)
{
	(void)state;
	for (int k = 0; k < STATES; k++)
		assert_int_equal(subscription_step(INBOUND, MK_TYPE_SUBSCRIBE, states[k]).is_answered,
			(states[k] & F) != 0);
}

static void test_the_approved_get_what_they_ask_for(void **state)
{
	(void)state;
	for (int k = 0; k < STATES; k++) {
		struct step s = subscription_step(INBOUND, MK_TYPE_SUBSCRIBE, states[k] | A | L);
		assert_true(s.is_answered);
		assert_false(s.passes);
		assert_int_equal(s.flags, (states[k] & ~(uint32_t)PI) | F | A | L);
	}
}

static void test_unsubscribed_ends_an_approval_and_tells_nobody(void **state)
{
	struct step s = subscription_step(OUTBOUND, MK_TYPE_UNSUBSCRIBED, A | L);

	(void)state;
	assert_false(s.passes);
	assert_int_equal(s.flags, L);
	s = subscription_step(OUTBOUND, MK_TYPE_UNSUBSCRIBED, F | A | L);
	assert_true(s.passes);
	assert_int_equal(s.flags, L);
}

static void test_states_stay_among_the_nine(void **state)
{
	(void)state;
	for (size_t t = 0; t < TABLES; t++)
		for (int k = 0; k < STATES; k++) {
			uint32_t f = subscription_step(tables[t].way, tables[t].type, states[k]).flags;
			assert_false((f & T) && (f & PO));
			assert_false((f & F) && (f & PI));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell_of_appendix_a),
		cmocka_unit_test(test_who_is_subscribed_is_told_so_again),
		cmocka_unit_test(test_the_approved_get_what_they_ask_for),
		cmocka_unit_test(test_unsubscribed_ends_an_approval_and_tells_nobody),
		cmocka_unit_test(test_states_stay_among_the_nine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
