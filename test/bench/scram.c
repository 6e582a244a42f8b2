/*
 * scram.c - the client's side of SCRAM (RFC 5802, RFC 7677) and Base64
 *
 * Hashes, HMAC and PBKDF2 are GnuTLS's. All memory is the caller's; any
 * thread.
 */
#include "scram.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS_MAX 10000000

static const struct {
	gnutls_mac_algorithm_t mac;
	gnutls_digest_algorithm_t digest;
	size_t size;
} hashes[] = {
	[SCRAM_SHA1] = { GNUTLS_MAC_SHA1, GNUTLS_DIG_SHA1, 20 },
	[SCRAM_SHA256] = { GNUTLS_MAC_SHA256, GNUTLS_DIG_SHA256, 32 },
};

int base64_encode(const void *data, size_t len, char *out, size_t cap)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *d = data;
	size_t n = (len + 2) / 3 * 4, o = 0;

	if (n + 1 > cap)
		return -1;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)d[i] << 16;

		if (i + 1 < len)
			v |= (uint32_t)d[i + 1] << 8;
		if (i + 2 < len)
			v |= d[i + 2];
		out[o++] = digit[v >> 18];
		out[o++] = digit[v >> 12 & 63];
		out[o++] = i + 1 < len ? digit[v >> 6 & 63] : '=';
		out[o++] = i + 2 < len ? digit[v & 63] : '=';
	}
	out[o] = '\0';
	return (int)o;
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, void *out, size_t cap)
{
	uint8_t *o = out;
	uint32_t v = 0;
	size_t n = 0;

	if (len % 4 != 0)
		return -1;
	for (int i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++)
		len--;
	if (len % 4 == 1)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int d = digit_value(text[i]);

		if (d < 0)
			return -1;
		v = v << 6 | (uint32_t)d;
		if (i % 4 == 0)
			continue;
		if (n >= cap)
			return -1;
		o[n++] = (uint8_t)(v >> (6 - i % 4 * 2));
	}
	return (int)n;
}

int scram_first(struct scram *s, enum scram_hash hash, const char *user,
                const char *nonce, char *out, size_t cap)
{
	int n;

	memset(s, 0, sizeof(*s));
	s->hash = hash;
	s->nonce_len = strlen(nonce);
	if (s->nonce_len >= sizeof(s->nonce))
		return -1;
	memcpy(s->nonce, nonce, s->nonce_len + 1);
	n = snprintf(s->bare, sizeof(s->bare), "n=%s,r=%s", user, nonce);
	if (n < 0 || (size_t)n >= sizeof(s->bare))
		return -1;
	s->bare_len = (size_t)n;
	n = snprintf(out, cap, "n,,%s", s->bare);
	return n < 0 || (size_t)n >= cap ? -1 : n;
}

/* One "x=value" of a message, *pos behind it and its comma. */
static bool field(const char **pos, const char *stop, char name,
                  const char **value, size_t *len)
{
	const char *p = *pos, *comma;

	if (stop - p < 2 || p[0] != name || p[1] != '=')
		return false;
	comma = memchr(p, ',', (size_t)(stop - p));
	*value = p + 2;
	*len = (size_t)((comma ? comma : stop) - (p + 2));
	*pos = comma ? comma + 1 : stop;
	return true;
}

static int keys_make(struct scram_keys *k, enum scram_hash hash,
                     const char *password, const uint8_t *salt, size_t salt_len,
                     uint32_t iterations)
{
	gnutls_datum_t pw = { (unsigned char *)password, (unsigned int)strlen(password) };
	gnutls_datum_t st = { (unsigned char *)salt, (unsigned int)salt_len };
	size_t size = hashes[hash].size;
	uint8_t salted[SCRAM_HASH_MAX];

	if (k->iterations == iterations && k->salt_len == salt_len &&
	    memcmp(k->salt, salt, salt_len) == 0)
		return 0;
	if (gnutls_pbkdf2(hashes[hash].mac, &pw, &st, iterations, salted, size) < 0 ||
	    gnutls_hmac_fast(hashes[hash].mac, salted, size, "Client Key", 10,
	                     k->client_key) < 0 ||
	    gnutls_hmac_fast(hashes[hash].mac, salted, size, "Server Key", 10,
	                     k->server_key) < 0 ||
	    gnutls_hash_fast(hashes[hash].digest, k->client_key, size, k->stored_key) < 0)
		return -1;
	memcpy(k->salt, salt, salt_len);
	k->salt_len = (uint32_t)salt_len;
	k->iterations = iterations;
	return 0;
}

int scram_final(struct scram *s, struct scram_keys *keys, const char *password,
                const char *msg, size_t len, char *out, size_t cap)
{
	const char *p = msg, *stop = msg + len, *nonce, *salt64, *iter;
	size_t nonce_len, salt64_len, iter_len, size = hashes[s->hash].size;
	char auth[4 * SCRAM_TEXT_MAX], proof64[2 * SCRAM_HASH_MAX], digits[12];
	uint8_t salt[sizeof(keys->salt)], proof[SCRAM_HASH_MAX];
	unsigned long iterations;
	int salt_len, n, without;

	if (!field(&p, stop, 'r', &nonce, &nonce_len) ||
	    !field(&p, stop, 's', &salt64, &salt64_len) ||
	    !field(&p, stop, 'i', &iter, &iter_len))
		return -1;
	if (nonce_len <= s->nonce_len || memcmp(nonce, s->nonce, s->nonce_len) != 0)
		return -1;
	salt_len = base64_decode(salt64, salt64_len, salt, sizeof(salt));
	if (salt_len <= 0 || iter_len == 0 || iter_len >= sizeof(digits))
		return -1;
	memcpy(digits, iter, iter_len);
	digits[iter_len] = '\0';
	iterations = strtoul(digits, NULL, 10);
	if (iterations == 0 || iterations > ITERATIONS_MAX)
		return -1;
	if (keys_make(keys, s->hash, password, salt, (size_t)salt_len,
	              (uint32_t)iterations) < 0)
		return -1;

	without = snprintf(out, cap, "c=biws,r=%.*s", (int)nonce_len, nonce);
	if (without < 0 || (size_t)without >= cap)
		return -1;
	n = snprintf(auth, sizeof(auth), "%s,%.*s,%s", s->bare, (int)len, msg, out);
	if (n < 0 || (size_t)n >= sizeof(auth))
		return -1;
	if (gnutls_hmac_fast(hashes[s->hash].mac, keys->stored_key, size, auth,
	                     (size_t)n, proof) < 0 ||
	    gnutls_hmac_fast(hashes[s->hash].mac, keys->server_key, size, auth,
	                     (size_t)n, s->server_sig) < 0)
		return -1;
	for (size_t i = 0; i < size; i++)
		proof[i] ^= keys->client_key[i];
	s->is_proven = true;
	if (base64_encode(proof, size, proof64, sizeof(proof64)) < 0)
		return -1;
	n = snprintf(out + without, cap - (size_t)without, ",p=%s", proof64);
	return n < 0 || (size_t)n >= cap - (size_t)without ? -1 : without + n;
}

bool scram_verify(struct scram *s, const char *msg, size_t len)
{
	const char *p = msg, *value;
	size_t n, size = hashes[s->hash].size;
	uint8_t sig[SCRAM_HASH_MAX];

	s->is_verified = s->is_proven && field(&p, msg + len, 'v', &value, &n) &&
	                 base64_decode(value, n, sig, sizeof(sig)) == (int)size &&
	                 memcmp(sig, s->server_sig, size) == 0;
	return s->is_verified;
}
