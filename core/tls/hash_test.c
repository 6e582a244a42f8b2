/*
 * hash_test.c - the RFCs' vectors: FIPS 180, RFC 2202/4231, RFC 6070/7914, SCRAM
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <meerkat/auth.h>

static void assert_hex(const uint8_t *p, const char *hex)
{
	char text[129] = "";

	for (size_t i = 0; hex[2 * i] != '\0'; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	assert_string_equal(text, hex);
}

static void test_names_and_lengths(void **state)
{
	static const struct { enum mk_hash h; const char *name; size_t n; } all[] = {
		{ MK_SHA1, "SHA-1", 20 }, { MK_SHA224, "SHA-224", 28 }, { MK_SHA256, "SHA-256", 32 },
		{ MK_SHA384, "SHA-384", 48 }, { MK_SHA512, "SHA-512", 64 },
	};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		assert_string_equal(mk_hash_name(all[i].h), all[i].name);
		assert_int_equal(mk_hash_len(all[i].h), all[i].n);
	}
}

static void test_digests(void **state)
{
	static const struct { enum mk_hash h; const char *hex; } abc[] = {
		{ MK_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
		{ MK_SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7" },
		{ MK_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ MK_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
			"8086072ba1e7cc2358baeca134c825a7" },
		{ MK_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
	};
	uint8_t out[64];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		mk_hash_digest(abc[i].h, "abc", 3, out);
		assert_hex(out, abc[i].hex);
	}
	mk_hash_digest(MK_SHA1, NULL, 0, out);
	assert_hex(out, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void test_hmac(void **state)
{
	uint8_t out[64];

	(void)state;
	mk_hmac(MK_SHA1, "Jefe", 4, "what do ya want for nothing?", 28, out);
	assert_hex(out, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
	mk_hmac(MK_SHA256, "Jefe", 4, "what do ya want for nothing?", 28, out);
	assert_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	mk_hmac(MK_SHA256, NULL, 0, NULL, 0, out);
	assert_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_pbkdf2(void **state)
{
	uint8_t out[64];

	(void)state;
	mk_pbkdf2(MK_SHA1, MK_STR("password"), "salt", 4, 1, out);
	assert_hex(out, "0c60c80f961f0e71f3a9b524af6012062fe037a6");
	mk_pbkdf2(MK_SHA1, MK_STR("password"), "salt", 4, 4096, out);
	assert_hex(out, "4b007901b765489abead49d926f721d065a429c1");
	mk_pbkdf2(MK_SHA256, MK_STR("passwd"), "salt", 4, 1, out);
	assert_hex(out, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
}

/* What a server stores for RFC 5802's user; fits the exchange of its section 5. */
static void test_scram_keys(void **state)
{
	struct mk_scram_keys k;
	uint8_t salt[13];

	(void)state;
	assert_int_equal(mk_base64_decode(salt, "QSXCR+Q6sek8bf92", 16), 12);
	mk_scram_derive(MK_SHA1, MK_STR("pencil"), salt, 12, 4096, &k);
	assert_hex(k.stored_key, "e9d94660c39d65c38fbad91c358f14da0eef2bd6");
	assert_hex(k.server_key, "0fe09258b3ac852ba502cc62ba903eaacdbf7d31");
	assert_int_equal(k.hash, MK_SHA1);
	assert_int_equal(k.iterations, 4096);
	assert_int_equal(k.salt_n, 12);
	assert_memory_equal(k.salt, salt, 12);
	assert_int_equal(k.is_fake, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_lengths),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_pbkdf2),
		cmocka_unit_test(test_scram_keys),
	};
	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
