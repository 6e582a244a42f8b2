/*
 * scram.h - the client's side of SCRAM (RFC 5802, RFC 7677) and Base64
 *
 * Without channel binding. User names and passwords are taken as they are:
 * the generator's accounts are ASCII, where SASLprep changes nothing.
 */
#ifndef BENCH_SCRAM_H
#define BENCH_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAM_HASH_MAX 64
#define SCRAM_TEXT_MAX 512

enum scram_hash { SCRAM_SHA1, SCRAM_SHA256 };

/*
 * What a password becomes for one salt and iteration count. Kept by the
 * caller per user; all zero means empty. A client that logs in again has
 * these cached, so a benchmark of a server doesn't pay for them each time.
 */
struct scram_keys {
	uint32_t iterations;
	uint32_t salt_len;
	uint8_t salt[64];
	uint8_t client_key[SCRAM_HASH_MAX];
	uint8_t stored_key[SCRAM_HASH_MAX];
	uint8_t server_key[SCRAM_HASH_MAX];
};

/* One exchange. */
struct scram {
	enum scram_hash hash;
	size_t bare_len;
	size_t nonce_len;
	bool is_proven;                 /* our proof is made, server_sig set */
	bool is_verified;               /* the server's proof was right      */
	char bare[SCRAM_TEXT_MAX];      /* client-first-message-bare         */
	char nonce[64];
	uint8_t server_sig[SCRAM_HASH_MAX];
};

/*
 * Writes the client's first message (with gs2 header "n,,") as text to out
 * and starts the exchange. The length, or -1 when something does not fit.
 */
int scram_first(struct scram *s, enum scram_hash hash, const char *user,
                const char *nonce, char *out, size_t cap);

/*
 * Answers the server's first message. keys are used if they are for its
 * salt and iterations, else made anew from password. The length of the text
 * in out, or -1 when the message is malformed, its nonce does not begin with
 * ours, or it asks for more than ten million iterations.
 */
int scram_final(struct scram *s, struct scram_keys *keys, const char *password,
                const char *msg, size_t len, char *out, size_t cap);

/* Whether the server's final message ("v=...") proves that it has the keys. */
bool scram_verify(struct scram *s, const char *msg, size_t len);

/* Base64 with padding, NUL-terminated; the length, or -1 if it does not fit. */
int base64_encode(const void *data, size_t len, char *out, size_t cap);

/* The number of bytes, or -1 when malformed or more than cap. */
int base64_decode(const char *text, size_t len, void *out, size_t cap);

#endif
