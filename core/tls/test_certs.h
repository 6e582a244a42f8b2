/*
 * tls/test_certs.h - certificates and a client for tests
 *
 * Makes files in a folder of the test's own. Nothing here is for the server.
 */
#ifndef MK_TLS_TEST_CERTS_H
#define MK_TLS_TEST_CERTS_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CERTS_CHECK(call) certs_check((call), #call)

static inline void certs_check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, gnutls_strerror(r));
		abort();
	}
}

static inline void certs_write(const char *path, const gnutls_datum_t *d)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fwrite(d->data, 1, d->size, f) != d->size || fclose(f) != 0) {
		perror(path);
		abort();
	}
}

/* A self-signed certificate for names (comma-separated) with its P-256 key. */
static inline void certs_make(const char *cert_path, const char *key_path,
                              const char *names, unsigned char serial, long seconds)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	gnutls_datum_t pem;
	char *list = strdup(names), *rest = list, *name;

	CERTS_CHECK(gnutls_x509_privkey_init(&key));
	CERTS_CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
		GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	CERTS_CHECK(gnutls_x509_crt_init(&crt));
	CERTS_CHECK(gnutls_x509_crt_set_version(crt, 3));
	CERTS_CHECK(gnutls_x509_crt_set_serial(crt, &serial, 1));
	CERTS_CHECK(gnutls_x509_crt_set_activation_time(crt, time(NULL) - 3600));
	CERTS_CHECK(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + seconds));
	CERTS_CHECK(gnutls_x509_crt_set_key(crt, key));
	while ((name = strsep(&rest, ",")) != NULL)
		CERTS_CHECK(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME,
			name, (unsigned)strlen(name), GNUTLS_FSAN_APPEND));
	CERTS_CHECK(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0));
	CERTS_CHECK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem));
	certs_write(cert_path, &pem);
	gnutls_free(pem.data);
	CERTS_CHECK(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem));
	certs_write(key_path, &pem);
	gnutls_free(pem.data);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	free(list);
}

/* A client session on fd (blocking or not, as fd is). */
static inline gnutls_session_t certs_client(int fd, const char *priorities, const char *sni,
                                            const char *alpn,
                                            gnutls_certificate_credentials_t *cred)
{
	gnutls_session_t s;

	CERTS_CHECK(gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL));
	CERTS_CHECK(gnutls_priority_set_direct(s, priorities != NULL ? priorities : "NORMAL",
		NULL));
	CERTS_CHECK(gnutls_certificate_allocate_credentials(cred));
	CERTS_CHECK(gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, *cred));
	if (sni != NULL)
		CERTS_CHECK(gnutls_server_name_set(s, GNUTLS_NAME_DNS, sni, strlen(sni)));
	if (alpn != NULL) {
		gnutls_datum_t a = { (unsigned char *)alpn, (unsigned)strlen(alpn) };
		CERTS_CHECK(gnutls_alpn_set_protocols(s, &a, 1, 0));
	}
	gnutls_transport_set_int(s, fd);
	return s;
}

/* The serial of the certificate that the server showed. */
static inline unsigned certs_serial(gnutls_session_t s)
{
	unsigned n = 0;
	const gnutls_datum_t *der = gnutls_certificate_get_peers(s, &n);
	unsigned char serial[32];
	size_t size = sizeof serial;
	gnutls_x509_crt_t crt;

	if (der == NULL || n == 0)
		return 0;
	CERTS_CHECK(gnutls_x509_crt_init(&crt));
	CERTS_CHECK(gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER));
	CERTS_CHECK(gnutls_x509_crt_get_serial(crt, serial, &size));
	gnutls_x509_crt_deinit(crt);
	return serial[size - 1];
}

#endif
