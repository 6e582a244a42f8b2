/*
 * room_test.c - who is in a room, under which names, with which affiliations
 *
 * Rooms made by hand: no entity, no worker. What room.c asks others for stands here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "room.h"

/* ---- what it needs of others --------------------------------------------------------- */

static struct muc_conf conf = { .message_rate = 2, .presence_rate = 1 };
static int64_t occupants;

const void *__wrap_mk_inst_conf(const struct mk_inst *i);
void __wrap_mk_metric_add(struct mk_inst *i, uint32_t index, int64_t n);

const void *__wrap_mk_inst_conf(const struct mk_inst *i)
{
	(void)i;
	return &conf;
}

void __wrap_mk_metric_add(struct mk_inst *i, uint32_t index, int64_t n)
{
	(void)i;
	if (index == OCCUPANTS)
		occupants += n;
}

void listing_remove(struct room *r) { (void)r; }
void room_tell_stop(struct room *r) { (void)r; }
void history_clear(struct room *r) { (void)r; }
bool archive_is_offered(struct mk_inst *i) { (void)i; return false; }
void config_init(struct config *c, const struct muc_conf *m) { (void)c; (void)m; }
void occupant_stale(struct occupant *o) { (void)o; }

/* ---- a room -------------------------------------------------------------------------- */

static struct mk_jid *jid(const char *z)
{
	struct mk_jid *j = NULL;

	assert_int_equal(mk_jid_parsez(z, &j), 0);
	return j;
}

static struct room *new_room(void)
{
	struct room *r = mk_alloc(sizeof *r);

	r->jid = jid("coven@chat.shakespeare.lit");
	r->service = mk_jid_to_domain(r->jid);
	return r;
}

static struct seat *enter(struct room *r, const char *who, const char *nick, enum affil a)
{
	struct mk_jid *j = jid(who), *address = NULL;
	struct seat *s;

	assert_int_equal(mk_jid_with_resource(r->jid, mk_strz(nick), &address), 0);
	s = room_enter(r, j, address, a, rules_first_role(a, false));
	mk_jid_unref(&j);
	mk_jid_unref(&address);
	return s;
}

static struct seat *seat_of(const struct room *r, const char *who)
{
	struct mk_jid *j = jid(who);
	struct seat *s = room_seat(r, j);

	mk_jid_unref(&j);
	return s;
}

static enum affil affil_of(const struct room *r, const char *who)
{
	struct mk_jid *j = jid(who);
	enum affil a = room_affil(r, j);

	mk_jid_unref(&j);
	return a;
}

static void set_affil(struct room *r, const char *who, enum affil a, const char *nick)
{
	struct mk_jid *j = jid(who);

	room_set_affil(r, j, a, nick, NULL);
	mk_jid_unref(&j);
}

static bool is_taken(const struct room *r, const char *nick, const char *for_whom)
{
	struct mk_jid *j = jid(for_whom);
	bool yes = room_nick_owner(r, mk_strz(nick), j) != NULL;

	mk_jid_unref(&j);
	return yes;
}

/* ---- occupants ----------------------------------------------------------------------- */

static void test_found_by_nickname_and_by_address(void **state)
{
	struct room *r = new_room();
	struct seat *s = enter(r, "hag66@shakespeare.lit/pda", "thirdwitch", AFFIL_OWNER);

	(void)state;
	assert_ptr_equal(seat_of(r, "hag66@shakespeare.lit/pda"), s);
	assert_null(seat_of(r, "hag66@shakespeare.lit/desktop"));
	assert_ptr_equal(room_occupant(r, MK_STR("thirdwitch")), s->occupant);
	assert_null(room_occupant(r, MK_STR("Thirdwitch")));
	assert_int_equal(s->occupant->role, ROLE_MODERATOR);
	assert_int_equal(occupants, 1);
	room_leave(r, s);
	assert_null(room_occupant(r, MK_STR("thirdwitch")));
	assert_null(seat_of(r, "hag66@shakespeare.lit/pda"));
	assert_int_equal(occupants, 0);
	room_free(r);
}

static void test_clients_of_a_user_share_a_nickname(void **state)
{
	struct room *r = new_room();
	struct seat *a = enter(r, "crone1@shakespeare.lit/desktop", "firstwitch", AFFIL_MEMBER);
	struct seat *b = enter(r, "crone1@shakespeare.lit/pda", "firstwitch", AFFIL_MEMBER);

	(void)state;
	assert_ptr_equal(a->occupant, b->occupant);
	/* The newest first. */
	assert_ptr_equal(a->occupant->seats, b);
	assert_ptr_equal(b->next, a);
	assert_int_equal(r->by_nick.n, 1);
	assert_int_equal(r->seats_n, 2);
	room_leave(r, b);
	assert_ptr_equal(room_occupant(r, MK_STR("firstwitch"))->seats, a);
	room_leave(r, a);
	assert_int_equal(r->by_nick.n, 0);
	room_free(r);
}

static void test_a_new_nickname_is_the_same_occupant(void **state)
{
	struct room *r = new_room();
	struct seat *s = enter(r, "hag66@shakespeare.lit/pda", "thirdwitch", AFFIL_NONE);
	struct mk_jid *address = jid("coven@chat.shakespeare.lit/oldhag");
	char before[33], after[33];

	(void)state;
	occupant_id_text(r, s->occupant, before);
	room_rename(r, s->occupant, address);
	occupant_id_text(r, s->occupant, after);
	assert_null(room_occupant(r, MK_STR("thirdwitch")));
	assert_ptr_equal(room_occupant(r, MK_STR("oldhag")), s->occupant);
	assert_string_equal(before, after);
	mk_jid_unref(&address);
	room_free(r);
}

static void test_one_of_two_clients_takes_another_nickname(void **state)
{
	struct room *r = new_room();
	struct seat *a = enter(r, "crone1@shakespeare.lit/desktop", "firstwitch", AFFIL_ADMIN);
	struct seat *b = enter(r, "crone1@shakespeare.lit/pda", "firstwitch", AFFIL_ADMIN);
	struct mk_jid *address = jid("coven@chat.shakespeare.lit/crone"), *back;

	(void)state;
	room_move(r, b, address);
	assert_ptr_not_equal(a->occupant, b->occupant);
	assert_ptr_equal(room_occupant(r, MK_STR("crone")), b->occupant);
	assert_int_equal(b->occupant->affil, AFFIL_ADMIN);
	assert_int_equal(b->occupant->role, ROLE_MODERATOR);
	/* And back: the other nickname is nobody's then. */
	back = occupant_address(r, a->occupant);
	assert_string_equal(mk_jid_full(back), "coven@chat.shakespeare.lit/firstwitch");
	room_move(r, b, back);
	assert_ptr_equal(a->occupant, b->occupant);
	assert_null(room_occupant(r, MK_STR("crone")));
	mk_jid_unref(&back);
	mk_jid_unref(&address);
	room_free(r);
}

static void test_occupant_ids_are_of_user_and_room(void **state)
{
	struct room *r = new_room(), *other = new_room();
	struct seat *a, *b, *c;
	char x[33], y[33], z[33];

	(void)state;
	mk_random(r->secret, sizeof r->secret);
	mk_random(other->secret, sizeof other->secret);
	a = enter(r, "hag66@shakespeare.lit/pda", "x", AFFIL_NONE);
	b = enter(other, "hag66@shakespeare.lit/pda", "x", AFFIL_NONE);
	c = enter(r, "crone1@shakespeare.lit/pda", "y", AFFIL_NONE);
	occupant_id_text(r, a->occupant, x);
	occupant_id_text(other, b->occupant, y);
	occupant_id_text(r, c->occupant, z);
	assert_string_not_equal(x, y);
	assert_string_not_equal(x, z);
	/* The same after having been away. */
	room_leave(r, a);
	a = enter(r, "hag66@shakespeare.lit/other", "z", AFFIL_NONE);
	occupant_id_text(r, a->occupant, y);
	assert_string_equal(x, y);
	room_free(r);
	room_free(other);
}

static void test_many_come_and_go_in_any_order(void **state)
{
	enum { USERS = 500, STEPS = 20000 };
	struct room *r = new_room();
	bool in[USERS] = { false };
	uint32_t n = 0, seed = 7;

	(void)state;
	for (int k = 0; k < STEPS; k++) {
		int u = (int)((seed = seed * 1103515245u + 12345u) >> 16) % USERS;
		char who[64], nick[32];
		snprintf(who, sizeof who, "user%d@shakespeare.lit/pda", u);
		snprintf(nick, sizeof nick, "nick%d", u);
		assert_int_equal(seat_of(r, who) != NULL, in[u]);
		assert_int_equal(room_occupant(r, mk_strz(nick)) != NULL, in[u]);
		if (in[u])
			room_leave(r, seat_of(r, who));
		else
			enter(r, who, nick, AFFIL_NONE);
		n += in[u] ? -1u : 1u;
		in[u] = !in[u];
		assert_int_equal(r->seats_n, n);
		assert_int_equal(r->by_nick.n, n);
	}
	for (uint32_t k = 0; k < r->seats_n; k++)
		assert_int_equal(r->seats[k]->node.at, k);
	room_free(r);
}

/* What of each is the room's own; the client's JID is shared with its session. */
static void test_an_occupant_costs_little(void **state)
{
	size_t bytes = sizeof(struct occupant) + sizeof(struct seat) +
	               2 * sizeof(struct node *) +     /* tables                    */
	               sizeof(struct seat *) +
	               sizeof "a nickname of some length" +
	               3 * 16;                         /* the allocator             */

	(void)state;
	assert_in_range(bytes, 1, 240);
}

static int removed;

static void remove_every_other(struct room *r, struct occupant *o, void *arg)
{
	int *n = arg;

	if ((*n)++ % 2 == 0) {
		room_leave(r, o->seats);
		removed++;
	}
}

static void test_occupants_can_be_removed_while_they_are_gone_through(void **state)
{
	struct room *r = new_room();
	int n = 0;

	(void)state;
	removed = 0;
	for (int k = 0; k < 100; k++) {
		char who[64], nick[32];
		snprintf(who, sizeof who, "user%d@shakespeare.lit/pda", k);
		snprintf(nick, sizeof nick, "nick%d", k);
		enter(r, who, nick, AFFIL_NONE);
	}
	room_occupants_each(r, remove_every_other, &n);
	assert_int_equal(n, 100);
	assert_int_equal(removed, 50);
	assert_int_equal(r->by_nick.n, 50);
	room_free(r);
}

/* ---- affiliations -------------------------------------------------------------------- */

static void test_affiliations_are_of_bare_addresses_else_of_domains(void **state)
{
	struct room *r = new_room();

	(void)state;
	assert_int_equal(affil_of(r, "hag66@shakespeare.lit/pda"), AFFIL_NONE);
	set_affil(r, "hag66@shakespeare.lit", AFFIL_MEMBER, NULL);
	set_affil(r, "shakespeare.lit", AFFIL_OUTCAST, NULL);
	assert_int_equal(affil_of(r, "hag66@shakespeare.lit/pda"), AFFIL_MEMBER);
	assert_int_equal(affil_of(r, "crone1@shakespeare.lit/pda"), AFFIL_OUTCAST);
	assert_int_equal(affil_of(r, "crone1@example.org/pda"), AFFIL_NONE);
	set_affil(r, "hag66@shakespeare.lit", AFFIL_ADMIN, NULL);
	assert_int_equal(affil_of(r, "hag66@shakespeare.lit"), AFFIL_ADMIN);
	set_affil(r, "shakespeare.lit", AFFIL_NONE, NULL);
	set_affil(r, "hag66@shakespeare.lit", AFFIL_NONE, NULL);
	assert_int_equal(r->affils.n, 0);
	room_free(r);
}

static void test_administrators_of_the_service_are_owners(void **state)
{
	static const char *const admins[] = { "hecate@shakespeare.lit" };
	struct room *r = new_room();

	(void)state;
	conf.admins = (struct mk_conf_list){ admins, 1 };
	set_affil(r, "shakespeare.lit", AFFIL_OUTCAST, NULL);
	assert_int_equal(affil_of(r, "hecate@shakespeare.lit/broom"), AFFIL_OWNER);
	conf.admins = (struct mk_conf_list){ NULL, 0 };
	assert_int_equal(affil_of(r, "hecate@shakespeare.lit/broom"), AFFIL_OUTCAST);
	room_free(r);
}

static void test_reserved_nicknames_are_kept_for_their_user(void **state)
{
	struct room *r = new_room();

	(void)state;
	set_affil(r, "hag66@shakespeare.lit", AFFIL_MEMBER, "thirdwitch");
	assert_false(is_taken(r, "thirdwitch", "hag66@shakespeare.lit/pda"));
	assert_true(is_taken(r, "thirdwitch", "crone1@shakespeare.lit/pda"));
	assert_false(is_taken(r, "firstwitch", "crone1@shakespeare.lit/pda"));
	assert_int_equal(r->reserved.n, 1);
	set_affil(r, "hag66@shakespeare.lit", AFFIL_MEMBER, "oldhag");
	assert_false(is_taken(r, "thirdwitch", "crone1@shakespeare.lit/pda"));
	assert_true(is_taken(r, "oldhag", "crone1@shakespeare.lit/pda"));
	set_affil(r, "hag66@shakespeare.lit", AFFIL_MEMBER, NULL);
	assert_int_equal(r->reserved.n, 0);
	room_free(r);
}

/* ---- rates --------------------------------------------------------------------------- */

static void test_a_client_may_send_so_many_in_a_second(void **state)
{
	struct room *r = new_room();
	struct seat *s = enter(r, "hag66@shakespeare.lit/pda", "thirdwitch", AFFIL_NONE);

	(void)state;
	/* Anew if a second ended in between. */
	for (bool is_whole = false; !is_whole;) {
		uint32_t second;
		bool ok[4];
		s->second = 0;
		ok[0] = seat_may_send(r, s, MK_MESSAGE);
		second = s->second;
		ok[1] = seat_may_send(r, s, MK_MESSAGE);
		ok[2] = seat_may_send(r, s, MK_MESSAGE);
		ok[3] = seat_may_send(r, s, MK_PRESENCE);
		is_whole = s->second == second;
		assert_true(!is_whole || (ok[0] && ok[1] && !ok[2] && ok[3]));
	}
	conf.message_rate = 0;
	for (int k = 0; k < 1000; k++)
		assert_true(seat_may_send(r, s, MK_MESSAGE));
	conf.message_rate = 2;
	room_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_nickname_and_by_address),
		cmocka_unit_test(test_clients_of_a_user_share_a_nickname),
		cmocka_unit_test(test_a_new_nickname_is_the_same_occupant),
		cmocka_unit_test(test_one_of_two_clients_takes_another_nickname),
		cmocka_unit_test(test_occupant_ids_are_of_user_and_room),
		cmocka_unit_test(test_many_come_and_go_in_any_order),
		cmocka_unit_test(test_an_occupant_costs_little),
		cmocka_unit_test(test_occupants_can_be_removed_while_they_are_gone_through),
		cmocka_unit_test(test_affiliations_are_of_bare_addresses_else_of_domains),
		cmocka_unit_test(test_administrators_of_the_service_are_owners),
		cmocka_unit_test(test_reserved_nicknames_are_kept_for_their_user),
		cmocka_unit_test(test_a_client_may_send_so_many_in_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
