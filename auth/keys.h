/*
 * auth/keys.h - SCRAM keys of several hashes as one value of a table
 *
 * For sources that keep keys. The value has a version byte and is checked when it
 * is read. No state; any thread, but auth_keys_make: jobs only.
 */
#ifndef AUTH_KEYS_H
#define AUTH_KEYS_H

#include <meerkat/auth.h>
#include <meerkat/conf.h>

#define AUTH_KEYS_ONE_MAX (6 + 32 + 64 + 64)
#define AUTH_KEYS_MAX (1 + 5 * AUTH_KEYS_ONE_MAX)
/* Range of a setting of hashes. */
#define AUTH_KEYS_HASHES "SHA-1|SHA-224|SHA-256|SHA-384|SHA-512"

/* Bits by enum mk_hash of the hashes named. */
uint32_t auth_keys_hashes(const struct mk_conf_list *names);
/* Keys of a password (prepared by SASLprep) for each of the hashes, with salts of
 * their own; how many bytes of out. It is for the caller to wipe. */
size_t auth_keys_make(uint32_t hashes, unsigned iterations, struct mk_str password,
	uint8_t out[AUTH_KEYS_MAX]);
/* 1 found, 0 not there, -MK_EINVAL: damaged. */
int auth_keys_find(struct mk_str blob, enum mk_hash want, struct mk_scram_keys *out);

#endif
