/*
 * scram_test.c - the exchanges of RFC 5802, RFC 7677 and XEP-0474, and bad ones
 *
 * The server's nonce is the test's (--wrap=mk_token), so that the RFCs' messages
 * come out to the byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../fake.h"

mk_plugin_entry_fn mk_plugin_entry_scram;

static const char *token;              /* NULL: the real one                    */
void __real_mk_token(char *out, size_t out_size, size_t bytes);
void __wrap_mk_token(char *out, size_t out_size, size_t bytes);
void __wrap_mk_token(char *out, size_t out_size, size_t bytes)
{
	if (token == NULL)
		__real_mk_token(out, out_size, bytes);
	else
		assert_true((size_t)snprintf(out, out_size, "%s", token) < out_size);
}

static const uint8_t salt1[] = { 0x41, 0x25, 0xc2, 0x47, 0xe4, 0x3a, 0xb1, 0xe9, 0x3c, 0x6d,
	0xff, 0x76 };                  /* QSXCR+Q6sek8bf92                      */
static uint8_t salt256[17];            /* W22ZaJ0SNY7soEsUEjb6gQ==              */
static struct fake_user users[] = {
	{ "user@example.org", "pencil", salt1, sizeof salt1, 4096, true },
	{ "uncached@example.org", "pencil", salt1, sizeof salt1, 4096, false },
	{ "a,b=c@example.org", "pencil", salt1, sizeof salt1, 4096, true },
	{ 0 }
};

static int setup(void **state)
{
	(void)state;
	mk_base64_decode(salt256, "W22ZaJ0SNY7soEsUEjb6gQ==", 24);
	fake_users = users;
	return mk_plugin_entry_scram(MK_ABI_MAJOR)->start(NULL);
}

static int before(void **state)
{
	(void)state;
	token = NULL;
	fake_is_away = false;
	fake_asked = 0;
	return 0;
}

static enum mk_sasl_result say(const char *mech, struct mk_sasl *x, const char *text)
{
	return fake_step(fake_mech(mech), x, text, text != NULL ? strlen(text) : 0);
}

static void assert_said(const struct mk_sasl *x, const char *text)
{
	assert_true(x->said);
	assert_int_equal(x->say.n, strlen(text));
	assert_memory_equal(x->say.p, text, x->say.n);
}

/* ---- the RFCs' own exchanges ------------------------------------------------------ */

static void test_exchange_of_rfc_5802(void **state)
{
	struct mk_sasl x;

	(void)state;
	token = "3rfcNHYJY1ZVvWVs7j";
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"),
		MK_SASL_CONTINUE);
	assert_said(&x, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
	assert_int_equal(say("SCRAM-SHA-1", &x, "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
		"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="), MK_SASL_OK);
	assert_said(&x, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
	assert_string_equal(x.user, "user@example.org");
	assert_int_equal(fake_asked, 0);
	fake_end(&x);
}

static void test_exchange_of_rfc_7677(void **state)
{
	struct mk_sasl x;

	(void)state;
	/* Its user is named "user", as is the other RFC's, with another salt. */
	users[0].salt = salt256;
	users[0].salt_n = 16;
	token = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
	fake_begin(&x, fake_mech("SCRAM-SHA-256"));
	assert_int_equal(say("SCRAM-SHA-256", &x, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
		MK_SASL_CONTINUE);
	assert_said(&x, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
	assert_int_equal(say("SCRAM-SHA-256", &x,
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), MK_SASL_OK);
	assert_said(&x, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
	fake_end(&x);
	users[0].salt = salt1;
	users[0].salt_n = sizeof salt1;
}

static void test_exchange_of_xep_0474(void **state)
{
	struct mk_sasl x;

	(void)state;
	token = "a09117a6-ac50-4f2f-93f1-93799c2bddf6";
	fake_begin(&x, fake_mech("SCRAM-SHA-1-PLUS"));
	x.binding_offered = true;
	x.exporter = MK_STR("THIS IS FAKE CB DATA");
	x.offer = MK_STR("SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point");
	assert_int_equal(say("SCRAM-SHA-1-PLUS", &x,
		"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6"), MK_SASL_CONTINUE);
	assert_said(&x, "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
		"s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=");
	assert_int_equal(say("SCRAM-SHA-1-PLUS", &x,
		"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,"
		"r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
		"x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4="),
		MK_SASL_OK);
	assert_said(&x, "v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c=");
	fake_end(&x);
}

/* ---- a client of our own ------------------------------------------------------------- */

struct login {
	const char *mech, *header, *user, *password;
	const char *cb;                /* what the client believes it to be     */
	const char *nonce_more;        /* added to the nonce it sends back      */
	enum mk_hash h;
	unsigned spoil;                /* 1 + byte of the proof to change       */
};

/* An exchange; its last result. x stays open. */
static enum mk_sasl_result log_in(const struct login *l, struct mk_sasl *x)
{
	char first[512], final[1024], b64[256], said[2048], c[256];
	uint8_t salt[64], salted[64], key[64], stored[64], sig[64];
	const char *nonce, *s, *it;
	int iterations;
	size_t n = mk_hash_len(l->h);

	snprintf(first, sizeof first, "%sn=%s,r=cnonce", l->header, l->user);
	enum mk_sasl_result r = say(l->mech, x, first);
	if (r != MK_SASL_CONTINUE)
		return r;
	char *server = mk_arena_strndup(x->arena, x->say.p, x->say.n);
	assert_memory_equal(server, "r=cnonce", 8);
	nonce = server + 2;
	s = strstr(server, ",s=") + 3;
	it = strstr(server, ",i=") + 3;
	iterations = atoi(it);
	int salt_n = mk_base64_decode(salt, s, (size_t)(it - 3 - s));
	assert_true(salt_n > 0);
	int nonce_n = (int)(s - 3 - nonce);
	int c_n = snprintf(c, sizeof c, "%s%s", l->header, l->cb != NULL ? l->cb : "");
	mk_base64_encode(b64, c, (size_t)c_n);
	snprintf(final, sizeof final, "c=%s,r=%.*s%s", b64, nonce_n, nonce,
		l->nonce_more != NULL ? l->nonce_more : "");
	int said_n = snprintf(said, sizeof said, "%s,%s,%s", first + strlen(l->header), server, final);
	mk_pbkdf2(l->h, mk_strz(l->password), salt, (size_t)salt_n, (unsigned)iterations, salted);
	mk_hmac(l->h, salted, n, "Client Key", 10, key);
	mk_hash_digest(l->h, key, n, stored);
	mk_hmac(l->h, stored, n, said, (size_t)said_n, sig);
	for (size_t i = 0; i < n; i++)
		key[i] ^= sig[i];
	if (l->spoil != 0)
		key[l->spoil - 1] ^= 1;
	mk_base64_encode(b64, key, n);
	snprintf(final + strlen(final), sizeof final - strlen(final), ",p=%s", b64);
	return say(l->mech, x, final);
}

static const struct { const char *name, *plus; enum mk_hash h; } all[] = {
	{ "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", MK_SHA1 },
	{ "SCRAM-SHA-224", "SCRAM-SHA-224-PLUS", MK_SHA224 },
	{ "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", MK_SHA256 },
	{ "SCRAM-SHA-384", "SCRAM-SHA-384-PLUS", MK_SHA384 },
	{ "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", MK_SHA512 },
};

static void test_every_hash_logs_in_with_and_without_binding(void **state)
{
	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct mk_sasl x;
		struct login l = { all[i].name, "n,,", "user", "pencil", NULL, NULL, all[i].h, 0 };
		fake_begin(&x, fake_mech(l.mech));
		assert_int_equal(log_in(&l, &x), MK_SASL_OK);
		assert_string_equal(x.user, "user@example.org");
		fake_end(&x);
		l.mech = all[i].plus;
		l.header = "p=tls-exporter,,";
		l.cb = "0123456789abcdef0123456789abcdef";
		fake_begin(&x, fake_mech(l.mech));
		x.exporter = mk_strz(l.cb);
		assert_int_equal(log_in(&l, &x), MK_SASL_OK);
		fake_end(&x);
		/* Plus is preferred to every plain one; a longer hash to a shorter. */
		assert_true(fake_mech(all[i].plus)->strength > fake_mech("SCRAM-SHA-512")->strength);
		if (i > 0)
			assert_true(fake_mech(all[i].name)->strength >
				fake_mech(all[i - 1].name)->strength);
	}
}

static void test_what_must_be_refused_is(void **state)
{
	static const struct { struct login l; const char *cb, *condition; bool offered; } cases[] = {
		{ { "SCRAM-SHA-1", "n,,", "user", "pencil!", NULL, NULL, MK_SHA1, 0 }, NULL,
			"not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "uncached", "pencil!", NULL, NULL, MK_SHA1, 0 }, NULL,
			"not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "nobody", "pencil", NULL, NULL, MK_SHA1, 0 }, NULL,
			"not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "user", "pencil", NULL, NULL, MK_SHA1, 1 }, NULL,
			"not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "user", "pencil", NULL, NULL, MK_SHA1, 20 }, NULL,
			"not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "user", "pencil", NULL, "x", MK_SHA1, 0 }, NULL,
			"not-authorized", false },
		/* A client that binds to another connection than ours. */
		{ { "SCRAM-SHA-1-PLUS", "p=tls-exporter,,", "user", "pencil", "other", NULL, MK_SHA1,
			0 }, "ours", "not-authorized", true },
		{ { "SCRAM-SHA-1-PLUS", "p=tls-exporter,,", "user", "pencil", NULL, NULL, MK_SHA1,
			0 }, "ours", "not-authorized", true },
		/* Binding types that this stream has not. */
		{ { "SCRAM-SHA-1-PLUS", "p=tls-unique,,", "user", "pencil", "ours", NULL, MK_SHA1,
			0 }, "ours", "malformed-request", true },
		{ { "SCRAM-SHA-1-PLUS", "p=tls-exporter,,", "user", "pencil", "x", NULL, MK_SHA1,
			0 }, NULL, "malformed-request", true },
		/* A flag that doesn't go with the mechanism. */
		{ { "SCRAM-SHA-1-PLUS", "n,,", "user", "pencil", NULL, NULL, MK_SHA1, 0 }, "ours",
			"malformed-request", true },
		{ { "SCRAM-SHA-1-PLUS", "y,,", "user", "pencil", NULL, NULL, MK_SHA1, 0 }, "ours",
			"malformed-request", true },
		{ { "SCRAM-SHA-1", "p=tls-exporter,,", "user", "pencil", "ours", NULL, MK_SHA1, 0 },
			"ours", "malformed-request", true },
		/* Somebody hid the -PLUS mechanisms from the client. */
		{ { "SCRAM-SHA-1", "y,,", "user", "pencil", NULL, NULL, MK_SHA1, 0 }, "ours",
			"not-authorized", true },
		/* Somebody else's identity (S-06). */
		{ { "SCRAM-SHA-1", "n,a=admin@example.org,", "user", "pencil", NULL, NULL, MK_SHA1,
			0 }, NULL, "invalid-authzid", false },
		{ { "SCRAM-SHA-1", "n,a=user,", "user", "pencil", NULL, NULL, MK_SHA1, 0 }, NULL,
			"invalid-authzid", false },
		{ { "SCRAM-SHA-1", "n,a=user@example.com,", "user", "pencil", NULL, NULL, MK_SHA1,
			0 }, NULL, "invalid-authzid", false },
		{ { "SCRAM-SHA-1", "n,a=user@example.org/r,", "user", "pencil", NULL, NULL, MK_SHA1,
			0 }, NULL, "invalid-authzid", false },
		{ { "SCRAM-SHA-1", "n,a=example.org,", "user", "pencil", NULL, NULL, MK_SHA1, 0 },
			NULL, "invalid-authzid", false },
		{ { "SCRAM-SHA-1", "n,a=@,", "user", "pencil", NULL, NULL, MK_SHA1, 0 }, NULL,
			"invalid-authzid", false },
		/* Names that can't be. */
		{ { "SCRAM-SHA-1", "n,,", "user@example.org", "pencil", NULL, NULL, MK_SHA1, 0 },
			NULL, "not-authorized", false },
		{ { "SCRAM-SHA-1", "n,,", "us er", "pencil", NULL, NULL, MK_SHA1, 0 }, NULL,
			"not-authorized", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_sasl x;
		fake_begin(&x, fake_mech(cases[i].l.mech));
		x.binding_offered = cases[i].offered;
		x.exporter = mk_strz(cases[i].cb);
		if (log_in(&cases[i].l, &x) != MK_SASL_FAIL || x.condition == NULL ||
		    strcmp(x.condition, cases[i].condition) != 0 || x.user[0] != '\0')
			fail_msg("case %zu: %s", i, x.condition != NULL ? x.condition : "no failure");
		fake_end(&x);
	}
}

static void test_what_is_allowed_works(void **state)
{
	static const struct login cases[] = {
		{ "SCRAM-SHA-1", "n,a=user@example.org,", "user", "pencil", NULL, NULL, MK_SHA1, 0 },
		{ "SCRAM-SHA-1", "n,a=User@EXAMPLE.org,", "USER", "pencil", NULL, NULL, MK_SHA1, 0 },
		/* No -PLUS was offered, so "y" is no sign of an attack. */
		{ "SCRAM-SHA-1", "y,,", "user", "pencil", NULL, NULL, MK_SHA1, 0 },
		{ "SCRAM-SHA-1", "n,,", "uncached", "pencil", NULL, NULL, MK_SHA1, 0 },
		{ "SCRAM-SHA-1", "n,,", "a=2Cb=3Dc", "pencil", NULL, NULL, MK_SHA1, 0 },
		{ "SCRAM-SHA-1", "n,a=a=2Cb=3Dc@example.org,", "a=2Cb=3Dc", "pencil", NULL, NULL,
			MK_SHA1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mk_sasl x;
		fake_begin(&x, fake_mech(cases[i].mech));
		if (log_in(&cases[i], &x) != MK_SASL_OK)
			fail_msg("case %zu: %s", i, x.condition != NULL ? x.condition : "continues");
		fake_end(&x);
	}
}

/* ---- messages that are none ------------------------------------------------------------- */

static const char *const bad_first[] = {
	"", "n", "n,", "n,,", "n,,n", "n,,n=", "n,,n=user", "n,,n=user,", "n,,n=user,r",
	"n,,n=user,r=", "n,,r=nonce,n=user", "n,,n=user,n=user,r=nonce", "n,n=user,r=nonce",
	",,n=user,r=nonce", "x,,n=user,r=nonce", "nn,,n=user,r=nonce", "N,,n=user,r=nonce",
	"F,n,,n=user,r=nonce", "p,,n=user,r=nonce", "p=,,n=user,r=nonce",
	"p=tls exporter,,n=user,r=nonce", "p=tls-exporter", "p=tls-exporter,",
	"n,a,n=user,r=nonce", "n,a=,n=user,r=nonce", "n,b=x,n=user,r=nonce", "n,a=x",
	"n,a=x=2c,n=user,r=nonce", "n,,n=us=2cer,r=nonce", "n,,n=user=,r=nonce",
	"n,,n=user=2,r=nonce", "n,,n=user=41,r=nonce", "n,,n=u=user,r=nonce",
	"n,,n=user,r=no nce", "n,,n=user,r=n\x7fonce", "n,,n=user,r=non\xc3\xa9",
	"n,,m=ext,n=user,r=nonce", "n,,n=user,r=nonce,m=ext", "n,,n=user,r=nonce,",
	"n,,n=user,r=nonce,x", "n,,n=user,r=nonce,x=", "n,,n=user,r=nonce,1=x",
	"n,,n=user,r=nonce,=x", "n,,n=user,r=nonce,xx=y", "n,,n=user,r=nonce,r=other",
	"n,,n=user,r=nonce,p=AAAA", "n,,n=\xff,r=nonce", "n,,n=user,r=nonce,x=\xc0\xaf",
	"n,,n=user,r=nonce,x=y,,z=w", " n,,n=user,r=nonce", "n,,,n=user,r=nonce",
};

static void test_a_malformed_first_message_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_first / sizeof *bad_first; i++) {
		struct mk_sasl x;
		fake_begin(&x, fake_mech("SCRAM-SHA-1"));
		if (say("SCRAM-SHA-1", &x, bad_first[i]) != MK_SASL_FAIL ||
		    strcmp(x.condition, "malformed-request") != 0)
			fail_msg("%s", bad_first[i]);
		fake_end(&x);
	}
}

static void test_nul_and_length_are_refused(void **state)
{
	static char big[8192];
	struct mk_sasl x;

	(void)state;
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(fake_step(fake_mech("SCRAM-SHA-1"), &x, "n,,n=us\0er,r=nonce", 18),
		MK_SASL_FAIL);
	fake_end(&x);
	memset(big, 'a', sizeof big);
	memcpy(big, "n,,n=user,r=", 12);
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(fake_step(fake_mech("SCRAM-SHA-1"), &x, big, sizeof big), MK_SASL_FAIL);
	assert_string_equal(x.condition, "malformed-request");
	fake_end(&x);
}

/* R is the nonce, P a proof of the right length. */
static const char *const bad_final[] = {
	"", "c", "c=", "c=biws", "c=biws,", "c=biws,r=R", "c=biws,r=R,", "c=biws,r=R,p",
	"c=biws,r=R,p=", "r=R,c=biws,p=P", "c=biws,p=P,r=R", "p=P,c=biws,r=R", "r=R,p=P",
	"c=biws,p=P", "c=biws,r=R,p=P,", "c=biws,r=R,p=P,x=y", "c=biws,r=R,x=y",
	"c=biws,r=R,p=P,p=P", "c=biws,r=R,p=P=", "c=biws,r=R,p=!P", "c=biws,r=R,p=AAAA",
	"c=biw,r=R,p=P", "c=bi ws,r=R,p=P", "c=====,r=R,p=P", "c=biws,r=R,m=x,p=P",
	"c=biws,r=R,r=R,p=P", "c=biws,r=R,c=biws,p=P", "c=biws,r=R,n=user,p=P",
	"c=biws,c=biws,r=R,p=P", "c=biws,r=R,,p=P", "c=biws,r=R,x=,p=P", " c=biws,r=R,p=P",
	"c=biws,r=R,v=x,p=P", "c=biws,r=R,\xff=x,p=P", "c=biws,r=R,x=\xff,p=P", "x=y,c=biws,r=R,p=P",
};

static void test_a_malformed_final_message_is_refused(void **state)
{
	(void)state;
	token = "s";
	for (size_t i = 0; i < sizeof bad_final / sizeof *bad_final; i++) {
		char text[512];
		size_t n = 0;
		struct mk_sasl x;
		for (const char *p = bad_final[i]; *p != '\0'; p++) {
			const char *put = *p == 'R' ? "nonces" : *p == 'P'
				? "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" : NULL;
			n += (size_t)(put != NULL ? snprintf(text + n, sizeof text - n, "%s", put)
			                          : snprintf(text + n, sizeof text - n, "%c", *p));
		}
		text[n] = '\0';
		fake_begin(&x, fake_mech("SCRAM-SHA-1"));
		assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=user,r=nonce"), MK_SASL_CONTINUE);
		if (say("SCRAM-SHA-1", &x, text) != MK_SASL_FAIL ||
		    strcmp(x.condition, "malformed-request") != 0)
			fail_msg("%s", bad_final[i]);
		fake_end(&x);
	}
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void test_users_who_do_not_exist_look_like_others(void **state)
{
	struct mk_sasl x;
	char once[512];

	(void)state;
	token = "s";
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=nobody,r=nonce"), MK_SASL_CONTINUE);
	assert_true(x.say.n < sizeof once);
	memcpy(once, x.say.p, x.say.n);
	fake_end(&x);
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=nobody,r=nonce"), MK_SASL_CONTINUE);
	assert_memory_equal(once, x.say.p, x.say.n);
	fake_end(&x);
	assert_int_equal(fake_asked, 2);
}

static void test_storage_that_is_away_is_a_temporary_failure(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_is_away = true;
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=uncached,r=nonce"), MK_SASL_FAIL);
	assert_string_equal(x.condition, "temporary-auth-failure");
	fake_end(&x);
}

static void test_a_question_for_other_threads_is_asked_there(void **state)
{
	struct mk_sasl x;

	(void)state;
	fake_is_elsewhere = true;
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, "n,,n=uncached,r=nonce"), MK_SASL_CONTINUE);
	assert_int_equal(fake_asked, 2);
	fake_end(&x);
}

static void test_a_missing_initial_response_is_asked_for(void **state)
{
	struct mk_sasl x;
	struct login l = { "SCRAM-SHA-1", "n,,", "user", "pencil", NULL, NULL, MK_SHA1, 0 };

	(void)state;
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	assert_int_equal(say("SCRAM-SHA-1", &x, NULL), MK_SASL_CONTINUE);
	assert_said(&x, "");
	assert_int_equal(log_in(&l, &x), MK_SASL_OK);
	fake_end(&x);
}

static void test_server_nonces_differ(void **state)
{
	struct mk_sasl x, y;

	(void)state;
	fake_begin(&x, fake_mech("SCRAM-SHA-1"));
	fake_begin(&y, fake_mech("SCRAM-SHA-1"));
	say("SCRAM-SHA-1", &x, "n,,n=user,r=n");
	say("SCRAM-SHA-1", &y, "n,,n=user,r=n");
	assert_false(mk_str_eq(x.say, y.say));
	fake_end(&x);
	fake_end(&y);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_exchange_of_rfc_5802, before),
		cmocka_unit_test_setup(test_exchange_of_rfc_7677, before),
		cmocka_unit_test_setup(test_exchange_of_xep_0474, before),
		cmocka_unit_test_setup(test_every_hash_logs_in_with_and_without_binding, before),
		cmocka_unit_test_setup(test_what_must_be_refused_is, before),
		cmocka_unit_test_setup(test_what_is_allowed_works, before),
		cmocka_unit_test_setup(test_a_malformed_first_message_is_refused, before),
		cmocka_unit_test_setup(test_nul_and_length_are_refused, before),
		cmocka_unit_test_setup(test_a_malformed_final_message_is_refused, before),
		cmocka_unit_test_setup(test_users_who_do_not_exist_look_like_others, before),
		cmocka_unit_test_setup(test_storage_that_is_away_is_a_temporary_failure, before),
		cmocka_unit_test_setup(test_a_question_for_other_threads_is_asked_there, before),
		cmocka_unit_test_setup(test_a_missing_initial_response_is_asked_for, before),
		cmocka_unit_test_setup(test_server_nonces_differ, before),
	};
	return cmocka_run_group_tests_name("scram", tests, setup, NULL);
}
