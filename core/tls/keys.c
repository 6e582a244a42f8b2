/*
 * tls/keys.c - SCRAM keys of several hashes as one value of a table
 *
 * For credential sources that keep keys. The value has a version byte and is
 * checked when it is read. Any thread; making keys: jobs only.
 */
#include <meerkat/auth.h>

#define SALT_LEN 16
#define KEYS_VERSION 1
#define ITERATIONS_MAX 10000000

uint32_t mk_scram_hashes(const struct mk_conf_list *names)
{
	uint32_t bits = 0;

	for (int h = MK_SHA1; h < MK_HASH_LAST_; h++)
		for (uint32_t i = 0; i < names->n; i++)
			if (mk_streq(names->v[i], mk_hash_name((enum mk_hash)h)))
				bits |= 1u << h;
	return bits;
}

/* Version, then for each hash: hash, salt length, iterations (4 bytes, big endian),
 * salt, stored key, server key. */
static size_t keys_pack(const struct mk_scram_keys *k, uint8_t *p)
{
	size_t n = mk_hash_len(k->hash), at = 6;

	p[0] = k->hash;
	p[1] = k->salt_n;
	for (int b = 0; b < 4; b++)
		p[2 + b] = (uint8_t)(k->iterations >> (24 - 8 * b));
	memcpy(p + at, k->salt, k->salt_n);
	at += k->salt_n;
	memcpy(p + at, k->stored_key, n);
	memcpy(p + at + n, k->server_key, n);
	return at + 2 * n;
}

int mk_scram_keys_find(struct mk_str blob, enum mk_hash want, struct mk_scram_keys *out)
{
	const uint8_t *p = (const uint8_t *)blob.p, *end = p + blob.n;

	if (blob.n < 1 || *p++ != KEYS_VERSION)
		return -MK_EINVAL;
	while (p < end) {
		struct mk_scram_keys k = { 0 };
		size_t n;
		if (end - p < 6 || p[0] < MK_SHA1 || p[0] >= MK_HASH_LAST_ || p[1] > sizeof k.salt)
			return -MK_EINVAL;
		n = mk_hash_len(p[0]);
		k.hash = p[0];
		k.salt_n = p[1];
		for (int b = 0; b < 4; b++)
			k.iterations = k.iterations << 8 | p[2 + b];
		p += 6;
		if ((size_t)(end - p) < k.salt_n + 2 * n || k.iterations == 0 ||
		    k.iterations > ITERATIONS_MAX)
			return -MK_EINVAL;
		memcpy(k.salt, p, k.salt_n);
		memcpy(k.stored_key, p + k.salt_n, n);
		memcpy(k.server_key, p + k.salt_n + n, n);
		p += k.salt_n + 2 * n;
		if (k.hash == want) {
			*out = k;
			return 1;
		}
	}
	return 0;
}

size_t mk_scram_keys_make(uint32_t hashes, unsigned iterations, struct mk_str password,
	uint8_t out[MK_SCRAM_KEYS_MAX])
{
	size_t n = 0;

	out[n++] = KEYS_VERSION;
	for (unsigned h = MK_SHA1; h < MK_HASH_LAST_; h++) {
		struct mk_scram_keys k;
		uint8_t salt[SALT_LEN];
		if (!(hashes >> h & 1))
			continue;
		mk_random(salt, sizeof salt);
		mk_scram_derive((enum mk_hash)h, password, salt, sizeof salt, iterations, &k);
		n += keys_pack(&k, out + n);
		explicit_bzero(&k, sizeof k);
	}
	return n;
}
