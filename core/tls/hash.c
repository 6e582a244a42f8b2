/*
 * tls/hash.c - digests and key derivation by GnuTLS (meerkat/auth.h)
 *
 * Any thread; no state. A failure of GnuTLS with arguments that are right would
 * be a broken library: we stop rather than go on with a wrong digest.
 */
#include <meerkat/auth.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "base/assert.h"
#include "base/ban.h"

static const struct {
	const char *name;
	gnutls_digest_algorithm_t digest;
	gnutls_mac_algorithm_t mac;
	size_t len;
} hashes[MK_HASH_LAST_] = {
	[MK_SHA1]   = { "SHA-1",   GNUTLS_DIG_SHA1,   GNUTLS_MAC_SHA1,   20 },
	[MK_SHA224] = { "SHA-224", GNUTLS_DIG_SHA224, GNUTLS_MAC_SHA224, 28 },
	[MK_SHA256] = { "SHA-256", GNUTLS_DIG_SHA256, GNUTLS_MAC_SHA256, 32 },
	[MK_SHA384] = { "SHA-384", GNUTLS_DIG_SHA384, GNUTLS_MAC_SHA384, 48 },
	[MK_SHA512] = { "SHA-512", GNUTLS_DIG_SHA512, GNUTLS_MAC_SHA512, 64 },
};

static inline void check(enum mk_hash h)
{
	mk_assert(h >= MK_SHA1 && h < MK_HASH_LAST_);
}

const char *mk_hash_name(enum mk_hash h)
{
	check(h);
	return hashes[h].name;
}

size_t mk_hash_len(enum mk_hash h)
{
	check(h);
	return hashes[h].len;
}

void mk_hash_digest(enum mk_hash h, const void *p, size_t n, void *out)
{
	check(h);
	int r = gnutls_hash_fast(hashes[h].digest, n != 0 ? p : "", n, out);
	mk_assert(r == 0);
}

void mk_hmac(enum mk_hash h, const void *key, size_t key_n, const void *p, size_t n, void *out)
{
	check(h);
	int r = gnutls_hmac_fast(hashes[h].mac, key_n != 0 ? key : "", key_n,
		n != 0 ? p : "", n, out);
	mk_assert(r == 0);
}

void mk_pbkdf2(enum mk_hash h, struct mk_str password, const void *salt, size_t salt_n,
	unsigned iterations, void *out)
{
	check(h);
	mk_assert(iterations > 0 && password.n < UINT32_MAX && salt_n < UINT32_MAX);
	gnutls_datum_t key = { (unsigned char *)(password.n != 0 ? password.p : ""),
		(unsigned)password.n };
	gnutls_datum_t s = { (unsigned char *)(salt_n != 0 ? salt : ""), (unsigned)salt_n };
	int r = gnutls_pbkdf2(hashes[h].mac, &key, &s, iterations, out, hashes[h].len);
	mk_assert(r == 0);
}

void mk_scram_derive(enum mk_hash h, struct mk_str password, const void *salt, size_t salt_n,
	unsigned iterations, struct mk_scram_keys *out)
{
	uint8_t salted[64], client_key[64];
	size_t n = mk_hash_len(h);

	mk_assert(salt_n <= sizeof out->salt);
	mk_pbkdf2(h, password, salt, salt_n, iterations, salted);
	mk_hmac(h, salted, n, "Client Key", 10, client_key);
	memset(out, 0, sizeof *out);
	mk_hash_digest(h, client_key, n, out->stored_key);
	mk_hmac(h, salted, n, "Server Key", 10, out->server_key);
	out->hash = (uint8_t)h;
	out->iterations = iterations;
	out->salt_n = (uint8_t)salt_n;
	memcpy(out->salt, salt, salt_n);
	explicit_bzero(salted, sizeof salted);
	explicit_bzero(client_key, sizeof client_key);
}
