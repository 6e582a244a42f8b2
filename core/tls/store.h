/*
 * tls/store.h - credentials as the sessions see them (inside tls/ only)
 */
#ifndef MK_TLS_STORE_H
#define MK_TLS_STORE_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include "tls/tls.h"

#define MK_TLS_NAME_MAX 255            /* of a domain, with its NUL         */

/* A certificate with its key; counted, immutable, any thread. */
struct mk_tls_cred {
	gnutls_certificate_credentials_t x509;
	int64_t not_after_s;
	char serial[64];               /* hexadecimal                           */
	unsigned char hash[64];        /* tls-server-end-point                  */
	size_t hash_n;                 /* 0 = not defined for this certificate  */
	char **names;                  /* subjectAltName's, normalised          */
	size_t name_n;
	_Atomic uint32_t refs;
};
void mk_tls_cred_unref(struct mk_tls_cred **c);

struct mk_tls_store *mk_tls_store_ref(struct mk_tls_store *s);
/* What mk_tls_store_free does. */
void mk_tls_store_unref(struct mk_tls_store **s);
/* The certificate for a client that asks for sni (NULL = doesn't say), else
 * for fallback (or NULL), else the first. A reference, or NULL if there is
 * none at all. Any thread. */
struct mk_tls_cred *mk_tls_store_find(struct mk_tls_store *s, const char *sni,
                                      const char *fallback);

#endif
