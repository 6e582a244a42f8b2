/*
 * muc/form_test.c - the configuration of a room as a form, and back
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <meerkat/jid.h>

#include "form.h"

static const struct config_limits limits = {
	.max_users = 200, .max_history = 100, .max_name = 40, .max_desc = 80, .max_password = 20,
	.has_archive = true,
};
static struct mk_arena *arena;

static int open_arena(void **state)
{
	(void)state;
	arena = mk_arena_new();
	return 0;
}
static int close_arena(void **state)
{
	(void)state;
	mk_arena_free(&arena);
	return 0;
}

/* <x type='submit'/> with "field=value;field=value", fields of muc#roomconfig_ unless
 * they begin with muc# or are FORM_TYPE; the same field again: another value. */
static struct mk_elem *submit(const char *text)
{
	struct mk_elem *x = mk_elem_new(arena, "x", NS_DATA), *e = NULL;
	const char *last = "";

	mk_elem_set(x, "type", "submit");
	for (const char *p = text, *end; *p != '\0'; p = *end == '\0' ? end : end + 1) {
		const char *is = strchr(p, '=');
		end = strchr(p, ';') != NULL ? strchr(p, ';') : p + strlen(p);
		const char *var = mk_arena_strndup(arena, p, (size_t)(is - p));
		if (strncmp(var, "muc#", 4) != 0 && strcmp(var, "FORM_TYPE") != 0)
			var = mk_arena_printf(arena, "muc#roomconfig_%s", var);
		if (strcmp(var, last) != 0)
			e = form_field(x, var, NULL, NULL, NULL);
		last = var;
		mk_elem_add_text(e, "value", NS_DATA, (struct mk_str){ is + 1, (size_t)(end - is - 1) });
	}
	return x;
}

static uint16_t apply(struct config *c, const char *text)
{
	struct form_jids admins = { 0 }, owners = { 0 };
	const char *why = NULL;
	uint16_t error = form_apply(submit(text), &limits, c, &admins, &owners, &why);

	assert_true((error != 0) == (why != NULL));
	form_jids_clear(&admins);
	form_jids_clear(&owners);
	return error;
}

/* XEP-0045 10.1.3, "Owner Submits Configuration Form". */
static void test_a_submitted_form_is_the_configuration(void **state)
{
	struct config c = { .is_public = true, .members_invite = true };
	struct form_jids admins = { 0 }, owners = { 0 };
	const char *why = NULL;

	(void)state;
	assert_int_equal(form_apply(submit("FORM_TYPE=" FORM_CONFIG ";roomname=A Dark Cave;"
		"roomdesc=The place for all good witches!;enablelogging=0;changesubject=1;allowinvites=0;"
		"allowpm=participants;maxusers=10;publicroom=0;persistentroom=1;moderatedroom=true;"
		"membersonly=0;passwordprotectedroom=1;roomsecret=cauldronburn;whois=anyone;"
		"muc#maxhistoryfetch=50;roomadmins=wiccarocks@shakespeare.lit/laptop;"
		"roomadmins=hecate@shakespeare.lit;presencebroadcast=moderator;getmemberlist=visitor;"
		"getmemberlist=participant;lang=en-GB;slow_mode_duration=20;unknown=1"),
		&limits, &c, &admins, &owners, &why), 0);
	assert_null(why);
	assert_string_equal(c.name, "A Dark Cave");
	assert_string_equal(c.desc, "The place for all good witches!");
	assert_string_equal(c.lang, "en-GB");
	assert_string_equal(c.password, "cauldronburn");
	assert_true(c.occupants_set_subject && c.is_persistent && c.is_moderated);
	assert_false(c.is_logged || c.members_invite || c.is_public || c.is_members_only);
	assert_int_equal(c.allow_pm, PM_PARTICIPANTS);
	assert_int_equal(c.whois, WHOIS_ANYONE);
	assert_int_equal(c.max_users, 10);
	assert_int_equal(c.history, 50);
	assert_int_equal(c.slow_mode_s, 20);
	assert_int_equal(c.broadcast, ROLE_BIT(ROLE_MODERATOR));
	assert_int_equal(c.get_members, ROLE_BIT(ROLE_VISITOR) | ROLE_BIT(ROLE_PARTICIPANT));
	assert_true(admins.is_given);
	assert_int_equal(admins.n, 2);
	assert_string_equal(mk_jid_full(admins.v[0]), "wiccarocks@shakespeare.lit");
	assert_false(owners.is_given);
	form_jids_clear(&admins);
	form_jids_clear(&owners);
	config_clear(&c);
}

/* What one submits as it was shown changes nothing. */
static void test_a_form_that_is_sent_back_changes_nothing(void **state)
{
	struct config c = { .max_users = 35, .history = 7, .slow_mode_s = 3, .is_logged = true,
		.is_members_only = true, .allow_pm = PM_NONE, .whois = WHOIS_ANYONE,
		.broadcast = ROLE_BIT(ROLE_MODERATOR) | ROLE_BIT(ROLE_VISITOR) }, again = { 0 };
	struct mk_elem *q = mk_elem_new(arena, "query", "urn:test"), *x;
	struct form_jids admins = { 0 }, owners = { 0 };
	const char *why = NULL;
	int codes[4];

	(void)state;
	c.name = mk_strdup("<name> & 'more'");
	c.password = mk_strdup("secret");
	x = form_build(q, "coven", &c, &limits, &admins, &owners);
	assert_true(form_is(x, FORM_CONFIG));
	mk_elem_set(x, "type", "submit");
	config_copy(&again, &c);
	assert_int_equal(form_apply(x, &limits, &again, &admins, &owners, &why), 0);
	config_changes(&c, &again, codes);
	assert_int_equal(codes[0], 0);
	assert_string_equal(again.name, c.name);
	assert_int_equal(again.max_users, 35);
	assert_true(admins.is_given && owners.is_given && admins.n == 0 && owners.n == 0);
	form_jids_clear(&admins);
	form_jids_clear(&owners);
	config_clear(&again);
	config_clear(&c);
}

static void test_what_no_room_can_be_is_refused(void **state)
{
	static const struct { const char *form; uint16_t error; } bad[] = {
		{ "FORM_TYPE=http://jabber.org/protocol/muc#request;roomname=x", MK_ERR_BAD_REQUEST },
		{ "roomname=12345678901234567890123456789012345678901", MK_ERR_NOT_ACCEPTABLE },
		{ "roomsecret=123456789012345678901", MK_ERR_NOT_ACCEPTABLE },
		{ "passwordprotectedroom=1", MK_ERR_NOT_ACCEPTABLE },
		{ "passwordprotectedroom=1;roomsecret=", MK_ERR_NOT_ACCEPTABLE },
		{ "membersonly=yes", MK_ERR_NOT_ACCEPTABLE },
		{ "membersonly=", MK_ERR_NOT_ACCEPTABLE },
		{ "passwordprotectedroom=maybe", MK_ERR_NOT_ACCEPTABLE },
		{ "maxusers=201", MK_ERR_NOT_ACCEPTABLE },
		{ "maxusers=-1", MK_ERR_NOT_ACCEPTABLE },
		{ "maxusers=many", MK_ERR_NOT_ACCEPTABLE },
		{ "muc#maxhistoryfetch=101", MK_ERR_NOT_ACCEPTABLE },
		{ "slow_mode_duration=-1", MK_ERR_NOT_ACCEPTABLE },
		{ "slow_mode_duration=99999999999999999999", MK_ERR_NOT_ACCEPTABLE },
		{ "whois=none", MK_ERR_NOT_ACCEPTABLE },
		{ "allowpm=", MK_ERR_NOT_ACCEPTABLE },
		{ "presencebroadcast=owner", MK_ERR_NOT_ACCEPTABLE },
		{ "lang=en gb", MK_ERR_NOT_ACCEPTABLE },
		{ "roomadmins=@shakespeare.lit", MK_ERR_JID_MALFORMED },
		{ "roomowners=a@b;roomowners=a@@b", MK_ERR_JID_MALFORMED },
	};

	(void)state;
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
		struct config c = { 0 };
		assert_int_equal(apply(&c, bad[k].form), bad[k].error);
		config_clear(&c);
	}
}

static void test_a_password_goes_with_its_boolean(void **state)
{
	struct config c = { 0 };

	(void)state;
	assert_int_equal(apply(&c, "roomsecret=open"), 0);
	assert_string_equal(c.password, "open");
	/* The boolean alone keeps what there was. */
	assert_int_equal(apply(&c, "passwordprotectedroom=1"), 0);
	assert_string_equal(c.password, "open");
	assert_int_equal(apply(&c, "roomname=x"), 0);
	assert_string_equal(c.password, "open");
	assert_int_equal(apply(&c, "passwordprotectedroom=0;roomsecret=other"), 0);
	assert_null(c.password);
	config_clear(&c);
}

static void test_changes_are_told_by_their_codes(void **state)
{
	struct config a = { 0 }, b = { 0 };
	int codes[4];

	(void)state;
	config_changes(&a, &b, codes);
	assert_int_equal(codes[0], 0);
	b.is_logged = true;
	b.whois = WHOIS_ANYONE;
	config_changes(&a, &b, codes);
	assert_int_equal(codes[0], 170);
	assert_int_equal(codes[1], 172);
	assert_int_equal(codes[2], 0);
	a.is_moderated = true;
	config_changes(&b, &a, codes);
	assert_int_equal(codes[0], 171);
	assert_int_equal(codes[1], 173);
	assert_int_equal(codes[2], 104);
	assert_int_equal(codes[3], 0);
}

/* What is set is one of the options that are shown. */
static void test_the_number_of_users_is_among_its_options(void **state)
{
	static const int64_t now[] = { 0, 10, 15, 200, 5000 };

	(void)state;
	for (size_t k = 0; k < sizeof now / sizeof *now; k++) {
		struct config c = { .max_users = now[k] };
		struct form_jids none = { 0 };
		struct mk_elem *q = mk_elem_new(arena, "query", "urn:test"), *x;
		unsigned found = 0;
		char text[24] = "none";

		if (now[k] != 0)
			snprintf(text, sizeof text, "%lld", (long long)now[k]);
		x = form_build(q, "coven", &c, &limits, &none, &none);
		assert_true(mk_str_eqz(form_value(x, "muc#roomconfig_maxusers"), text));
		for (const struct mk_elem *f = mk_elem_first(x); f != NULL; f = mk_elem_next(f))
			if (mk_streq(mk_elem_attr(f, "var"), "muc#roomconfig_maxusers"))
				for (const struct mk_elem *o = mk_elem_first(f); o != NULL; o = mk_elem_next(o))
					found += mk_elem_is(o, "option", NULL) &&
					         mk_str_eqz(mk_elem_child_text(o, "value", NULL), text);
		assert_int_equal(found, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_submitted_form_is_the_configuration),
		cmocka_unit_test(test_a_form_that_is_sent_back_changes_nothing),
		cmocka_unit_test(test_what_no_room_can_be_is_refused),
		cmocka_unit_test(test_a_password_goes_with_its_boolean),
		cmocka_unit_test(test_changes_are_told_by_their_codes),
		cmocka_unit_test(test_the_number_of_users_is_among_its_options),
	};

	return cmocka_run_group_tests(tests, open_arena, close_arena);
}
