/*
 * ldap_test.c - templates, settings, and what becomes of keys
 *
 * What asks a directory is tested against one (test/wire/test_ldap.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "captured.h"
#include "conf.h"
#include "template.h"

/* ---- the core's side ----------------------------------------------------------- */

static struct mk_arena *arena;
static char refused[4096];             /* keys of settings, in order            */
static struct { struct mk_value v[7]; bool is_there; uint64_t writes; } row;
static char copies[7][2048];
static enum mk_store_status trouble;
static int64_t now_ms = INT64_C(1000000000000);

int64_t __wrap_mk_wall_ms(void);
int64_t __wrap_mk_wall_ms(void) { return now_ms; }

const char *mk_inst_type(const struct mk_inst *i) { (void)i; return "people"; }
const void *mk_conf_view_values(const struct mk_conf_view *v) { return v; }
void mk_conf_refuse(const struct mk_conf_view *v, struct mk_diag *d, const char *key,
	const char *fmt, ...)
{
	(void)v;
	(void)d;
	(void)fmt;
	snprintf(refused + strlen(refused), sizeof refused - strlen(refused), "%s ", key);
}

enum mk_store_status mk_get(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, struct mk_row *row_out)
{
	(void)st;
	assert_ptr_equal(t, &ldap_keys);
	assert_true(mk_str_eqz(mk_value_str(&key[0]), "example.org"));
	if (trouble != MK_STORE_OK || !row.is_there)
		return trouble != MK_STORE_OK ? trouble : MK_STORE_NOTFOUND;
	*row_out = (struct mk_row){ row.v, 7, 1 };
	return MK_STORE_OK;
}

enum mk_store_status mk_put(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *v, uint64_t expect)
{
	(void)st;
	(void)t;
	assert_true(expect == MK_ANY);
	if (trouble != MK_STORE_OK)
		return trouble;
	for (int i = 0; i < 7; i++) {
		row.v[i] = v[i];
		if (v[i].type == MK_INT)
			continue;
		assert_true(v[i].as.b.n <= sizeof copies[i]);
		memmove(copies[i], v[i].as.b.p, v[i].as.b.n);
		row.v[i].as.b.p = copies[i];
	}
	row.is_there = true;
	row.writes++;
	return MK_STORE_OK;
}

enum mk_store_status mk_delete(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key)
{
	(void)st;
	(void)t;
	(void)key;
	row.is_there = false;
	return MK_STORE_OK;
}

struct mk_arena *mk_store_arena(struct mk_store *st) { (void)st; return arena; }
enum mk_store_status mk_scan(struct mk_store *st, const struct mk_table *t, struct mk_str domain,
	const struct mk_value *after, uint32_t limit, struct mk_rows *rows_out)
{
	static struct mk_row only;

	(void)st;
	(void)t;
	(void)domain;
	(void)limit;
	if (trouble != MK_STORE_OK || !row.is_there || after != NULL)
		return trouble != MK_STORE_OK ? trouble : MK_STORE_NOTFOUND;
	only = (struct mk_row){ row.v, 7, 1 };
	*rows_out = (struct mk_rows){ &only, 1, true };
	return MK_STORE_OK;
}

/* ---- templates ------------------------------------------------------------------- */

static const struct tmpl_values juliet_values = { MK_STR("juliet"), MK_STR("example.org"),
	MK_STR("uid=juliet,dc=example,dc=org") };

static void test_filters_are_filled(void **state)
{
	static const struct { const char *text, *user, *filled; } cases[] = {
		{ "(uid=%u)", "juliet", "(uid=juliet)" },
		{ "(mail=%u@%d)", "juliet", "(mail=juliet@example.org)" },
		{ "(&(objectClass=*)(|(uid=%u)(x=100%%)))", "j", "(&(objectClass=*)(|(uid=j)(x=100%)))" },
		{ "(member=%D)", "j", "(member=uid=juliet,dc=example,dc=org)" },
		/* RFC 4515 4. */
		{ "(o=%u)", "Parens R Us (for all your parenthetical needs)",
			"(o=Parens R Us \\28for all your parenthetical needs\\29)" },
		{ "(cn=*%u*)", "*", "(cn=*\\2a*)" },
		{ "(filename=%u)", "C:\\MyFile", "(filename=C:\\5cMyFile)" },
		{ "(sn=%u)", "Lu\xc4\x8di\xc4\x87", "(sn=Lu\xc4\x8di\xc4\x87)" },
		{ "(uid=%u)", "*)(uid=*", "(uid=\\2a\\29\\28uid=\\2a)" },
		{ "(uid=%u)", "%d%u%", "(uid=%d%u%)" },
		{ "(uid=%u)", "a\n\x7f", "(uid=a\\0a\\7f)" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct tmpl_values v = juliet_values;
		const char *why;
		v.user = mk_strz(cases[i].user);
		assert_true(tmpl_filter_ok(cases[i].text, "udD", &why));
		assert_string_equal(tmpl_filter(arena, cases[i].text, &v), cases[i].filled);
	}
	struct tmpl_values nul = { .user = { "a\0b", 3 } }, everybody = { .domain = MK_STR("d") };
	assert_string_equal(tmpl_filter(arena, "(uid=%u)", &nul), "(uid=a\\00b)");
	assert_string_equal(tmpl_filter(arena, "(&(uid=%u)(m=%u@%d)(n=%u*))", &everybody),
		"(&(uid=*)(m=*@d)(n=*))");
}

static void test_filters_that_are_none_are_refused(void **state)
{
	static const char *const good[] = { "(uid=%u)", "(&)", "(|)", "(!(a=b))", "(a>=1)", "(a<=%u)",
		"(a~=b)", "(cn:dn:2.4.6.8.10:=Dino)", "(:1.2.3:=%u)", "(a;lang-de=\\c4\\8D)", "(a=)",
		"(memberOf:1.2.840.113556.1.4.1941:=cn=x,dc=y)" };
	static const char *const bad[] = { "", "uid=%u", "(uid=%u", "(uid=%u))", "(uid)", "(=%u)",
		"(%u=x)", "(uid=%x)", "(uid=%D)", "(uid=%", "(uid=\\2)", "(uid=\\zz)", "(a=(b))", "(!)",
		"(&(a=b)", "(a=b)(c=d)", "( a=b)", "(uid%u=x)", "%u", "(&%u)" };
	char deep[3 * 64 + 8] = "";

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		const char *why;
		assert_true(tmpl_filter_ok(good[i], "ud", &why));
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *why = NULL;
		assert_false(tmpl_filter_ok(bad[i], "ud", &why));
		assert_non_null(why);
	}
	for (int i = 0; i < 64; i++)
		memcpy(deep + 2 * i, "(!", 3);
	const char *why;
	assert_false(tmpl_filter_ok(deep, "ud", &why));
}

/* What the library reads in the DN that a name became part of. */
static void test_dns_hold_names_as_values(void **state)
{
	static const char *const names[] = { "juliet", "a,ou=admins", "a+cn=x", "\\", "#04024869",
		" lead", "trail ", "\"q\"", "a;b<c>d=e", "\xe4\xb8\xad", "*()", "%u", "a\\2cb", "-._@" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct tmpl_values v = { .user = mk_strz(names[i]), .domain = MK_STR("example.org") };
		LDAPDN dn = NULL;
		char *text = tmpl_dn(arena, "uid=%u,o=%d,dc=org", &v);
		assert_int_equal(ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3), LDAP_SUCCESS);
		assert_true(dn[0] != NULL && dn[1] != NULL && dn[2] != NULL && dn[3] == NULL);
		assert_null(dn[0][1]);
		assert_int_equal(dn[0][0]->la_value.bv_len, strlen(names[i]));
		assert_memory_equal(dn[0][0]->la_value.bv_val, names[i], strlen(names[i]));
		ldap_dnfree(dn);
	}
}

static void test_dns_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = { "%u", "%u=x,dc=org", "uid=%u,%d", "uid=%D", "uid=\"%u\"",
		"uid=\\%u", "uid=%u\\", "uid=%u,dc", "uid=%q", "" };
	const char *why;

	(void)state;
	assert_true(tmpl_dn_ok("uid=%u+o=%d,ou=people,dc=example,dc=org", &why));
	assert_true(tmpl_dn_ok("cn=x\\,%u,dc=org", &why));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(tmpl_dn_ok(bad[i], &why));
}

/* ---- settings -------------------------------------------------------------------- */

static const char *const one_server[] = { "ldap://localhost" };
static const char *const usual_hashes[] = { "SHA-1", "SHA-256" };

static struct conf usual(void)
{
	return (struct conf){ .servers = { one_server, 1 }, .starttls = true, .verify = true,
		.base = "ou=people,dc=example,dc=org", .filter = "(uid=%u)", .user_attribute = "uid",
		.group_filter = "(member=%D)", .capture_keys = true, .hashes = { usual_hashes, 2 },
		.iterations = 4096, .keys_recheck = 600000, .keys_max_age = 86400000 };
}

static const char *check(const struct conf *c)
{
	refused[0] = '\0';
	int r = ldap_conf_check((const struct mk_conf_view *)c, NULL);
	assert_int_equal(r, refused[0] != '\0' ? -MK_EINVAL : 0);
	return refused;
}

static void test_addresses_of_servers(void **state)
{
	static const char *const good[] = { "ldap://ldap.example.org", "ldaps://h:636", "ldap://h/",
		"ldap://127.0.0.1:389", "ldaps://[::1]:636", "ldapi://%2Fvar%2Frun%2Fldapi" };
	static const char *const bad[] = { "", "localhost", "http://h", "ldap://", "ldap://h/dc=x",
		"ldap://h/??sub", "ldap://h:99999999", "cldap://h", "ldap://h?", "ldap://h:x" };
	struct conf c = usual();

	(void)state;
	assert_string_equal(check(&c), "");
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		c.servers = (struct mk_conf_list){ &good[i], 1 };
		assert_string_equal(check(&c), "");
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		c.servers = (struct mk_conf_list){ &bad[i], 1 };
		assert_string_equal(check(&c), "servers ");
	}
	c.servers.n = 0;
	assert_string_equal(check(&c), "servers ");
}

static void test_settings_that_can_not_work(void **state)
{
	static const char *const split[] = { "cn=staff", "dc=org" };
	struct conf c = usual();

	(void)state;
	c.base = NULL;
	assert_string_equal(check(&c), "base ");
	c.method = BY_BIND;
	assert_string_equal(check(&c), "user_dn ");
	c.user_dn = "uid=alice,dc=org";
	assert_string_equal(check(&c), "user_dn ");
	c.user_dn = "uid=%u,dc=org";
	assert_string_equal(check(&c), "");
	c = usual();
	c.filter = "(objectClass=*)";
	assert_string_equal(check(&c), "filter ");
	c = usual();
	c.bind_dn = "cn=x,dc=org";
	assert_string_equal(check(&c), "bind_dn ");
	c.bind_password = "secret";
	assert_string_equal(check(&c), "");
	c = usual();
	/* A DN written as a text, of which commas make several entries. */
	c.groups = (struct mk_conf_list){ split, 2 };
	assert_string_equal(check(&c), "groups groups ");
	c = usual();
	c.group_filter = "(objectClass=groupOfNames)";
	assert_string_equal(check(&c), "group_filter ");
	c = usual();
	c.hashes.n = 0;
	assert_string_equal(check(&c), "hashes ");
}

/* ---- keys ------------------------------------------------------------------------- */

#define NOBODY ((struct mk_store *)NULL)
static struct mk_jid *juliet;

static bool learn(const struct conf *s, const char *password, const char *stamp)
{
	return captured_learn(NULL, NOBODY, s, juliet, mk_strz(password), mk_strz(stamp));
}

static enum mk_auth_answer judge(const struct conf *s, enum mk_auth_answer found, const char *stamp)
{
	struct captured c;

	assert_int_equal(captured_get(NOBODY, juliet, &c), MK_STORE_OK);
	return captured_judge(NOBODY, s, juliet, &c, found, mk_strz(stamp));
}

static void test_keys_are_made_once_for_a_password(void **state)
{
	struct conf s = usual();
	char before[2048];

	(void)state;
	assert_true(learn(&s, "pencil", "v1"));
	memcpy(before, copies[6], sizeof before);
	assert_false(learn(&s, "pencil", "v2"));
	assert_memory_equal(before, copies[6], sizeof before);
	assert_true(mk_str_eqz(mk_value_str(&row.v[5]), "v2"));
	assert_true(learn(&s, "other", "v2"));
	s.hashes.n = 1;
	assert_true(learn(&s, "other", "v2"));
	s.iterations = 5000;
	assert_true(learn(&s, "other", "v2"));
	assert_false(learn(&s, "other", "v2"));
	trouble = MK_STORE_RETRY;
	assert_false(learn(&s, "third", "v2"));
}

static void test_keys_stay_while_the_entry_is_the_same(void **state)
{
	struct conf s = usual();
	struct captured c;

	(void)state;
	learn(&s, "pencil", "v1");
	now_ms += 90 * INT64_C(86400000);
	assert_int_equal(judge(&s, MK_AUTH_YES, "v1"), MK_AUTH_YES);
	captured_get(NOBODY, juliet, &c);
	assert_true(captured_is_fresh(&c, 1));
	assert_int_equal(judge(&s, MK_AUTH_YES, "v2"), MK_AUTH_NO);
	assert_false(row.is_there);
	learn(&s, "pencil", "v1");
	assert_int_equal(judge(&s, MK_AUTH_YES, ""), MK_AUTH_NO);
	assert_false(row.is_there);
	learn(&s, "pencil", "v1");
	assert_int_equal(judge(&s, MK_AUTH_UNKNOWN, ""), MK_AUTH_UNKNOWN);
	assert_false(row.is_there);
}

static void test_keys_age_where_the_entry_tells_nothing(void **state)
{
	struct conf s = usual();

	(void)state;
	learn(&s, "pencil", "");
	now_ms += s.keys_max_age / 2;
	assert_int_equal(judge(&s, MK_AUTH_YES, ""), MK_AUTH_YES);
	now_ms += s.keys_max_age / 2;
	assert_int_equal(judge(&s, MK_AUTH_YES, ""), MK_AUTH_NO);
	assert_false(row.is_there);
}

static void test_keys_serve_for_a_while_without_the_directory(void **state)
{
	struct conf s = usual();

	(void)state;
	learn(&s, "pencil", "v1");
	now_ms += s.keys_max_age - 1;
	assert_int_equal(judge(&s, MK_AUTH_LATER, ""), MK_AUTH_YES);
	now_ms += 1;
	assert_int_equal(judge(&s, MK_AUTH_LATER, ""), MK_AUTH_LATER);
	assert_true(row.is_there);
	/* A clock that went back proves nothing. */
	now_ms -= 2 * s.keys_max_age;
	assert_int_equal(judge(&s, MK_AUTH_LATER, ""), MK_AUTH_LATER);
}

static void test_stale_keys_are_found(void **state)
{
	struct conf s = usual();
	const struct mk_value *next;
	struct captured *rows;
	struct mk_jid **users;

	(void)state;
	learn(&s, "pencil", "v1");
	assert_int_equal(captured_stale(NULL, NOBODY, 1000, 10, NULL, &users, &rows, &next), 0);
	assert_non_null(next);
	now_ms += 1000;
	assert_int_equal(captured_stale(NULL, NOBODY, 1000, 10, NULL, &users, &rows, &next), 1);
	assert_true(mk_jid_eq(users[0], juliet));
	assert_true(mk_str_eqz(rows[0].stamp, "v1"));
	mk_jid_unref(&users[0]);
	assert_int_equal(captured_stale(NULL, NOBODY, 1000, 10, next, &users, &rows, &next), 0);
	assert_null(next);
	/* Another host type's. */
	row.v[2] = mk_textz("strangers");
	assert_int_equal(captured_stale(NULL, NOBODY, 1000, 10, NULL, &users, &rows, &next), 0);
	trouble = MK_STORE_RETRY;
	assert_int_equal(captured_stale(NULL, NOBODY, 1000, 10, NULL, &users, &rows, &next), -1);
}

static int before(void **state)
{
	(void)state;
	arena = mk_arena_new();
	memset(&row, 0, sizeof row);
	trouble = MK_STORE_OK;
	mk_jid_parsez("juliet@example.org", &juliet);
	return 0;
}

static int after(void **state)
{
	(void)state;
	mk_jid_unref(&juliet);
	mk_arena_free(&arena);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_filters_are_filled),
		TEST(test_filters_that_are_none_are_refused),
		TEST(test_dns_hold_names_as_values),
		TEST(test_dns_that_are_none_are_refused),
		TEST(test_addresses_of_servers),
		TEST(test_settings_that_can_not_work),
		TEST(test_keys_are_made_once_for_a_password),
		TEST(test_keys_stay_while_the_entry_is_the_same),
		TEST(test_keys_age_where_the_entry_tells_nothing),
		TEST(test_keys_serve_for_a_while_without_the_directory),
		TEST(test_stale_keys_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
