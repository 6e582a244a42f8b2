/*
 * tls/tls.h - TLS sessions and credentials by GnuTLS
 *
 * Credentials are loaded per certificate, published as a snapshot, chosen by
 * SNI, counted by the sessions that use them: a reload changes new handshakes
 * only, and a bad new certificate leaves the old one in place. TLS 1.2 and 1.3
 * only, no renegotiation, no compression; session tickets with rotating keys.
 */
#ifndef MK_TLS_TLS_H
#define MK_TLS_TLS_H

#include <meerkat/types.h>
#include "base/buf.h"

struct mk_tls;
struct mk_tls_config;                  /* one listener's or purpose's view  */
struct mk_tls_store;                   /* all certificates                  */

struct mk_tls_cert_conf {
	const char *domain;            /* SNI name it serves                    */
	const char *certificate;       /* fullchain file, or a folder with
	                                * fullchain.pem and privkey.pem         */
	const char *key;               /* NULL = in the folder or the same file */
	const char *file;              /* where it was configured, for messages */
	int line;
};
struct mk_tls_conf {
	const char *priorities;        /* GnuTLS string; NULL = ours            */
	const char *const *alpn;       /* offered: "xmpp-client"; NULL = none   */
	bool alpn_required;            /* a wrong one fails the handshake       */
	bool tickets;
};

/* Main thread. Every certificate is parsed, matched with its key and checked
 * (expiry is logged as a warning); messages for all that are bad. */
int  mk_tls_store_new(const struct mk_tls_cert_conf *certs, size_t n,
                      struct mk_diag *d, struct mk_tls_store **out);
/* The same for a running one: what is bad keeps its old credentials. */
int  mk_tls_store_reload(struct mk_tls_store *s, const struct mk_tls_cert_conf *certs,
                         size_t n, struct mk_diag *d);
void mk_tls_store_free(struct mk_tls_store **s);
/* Calls fn for each certificate (any job): for metrics and meerkatctl. */
void mk_tls_store_each(struct mk_tls_store *s, void (*fn)(void *arg, const char *domain,
	const char *serial, int64_t not_after_s), void *arg);

int  mk_tls_config_new(struct mk_tls_store *s, const struct mk_tls_conf *c,
                       struct mk_tls_config **out);
void mk_tls_config_free(struct mk_tls_config **c);

/* One server session, made when the first bytes came. default_domain: whose
 * certificate if the client sends no SNI (the stream's 'to', or NULL = the
 * first). */
struct mk_tls *mk_tls_new(const struct mk_tls_config *c, const char *default_domain, int fd);
void mk_tls_free(struct mk_tls **t);
enum mk_tls_result { MK_TLS_OK = 0, MK_TLS_WANT_READ, MK_TLS_WANT_WRITE,
	MK_TLS_CLOSED, MK_TLS_FAILED };
enum mk_tls_result mk_tls_handshake(struct mk_tls *t);
/* *got > 0 with MK_TLS_OK. */
enum mk_tls_result mk_tls_read(struct mk_tls *t, void *p, size_t n, size_t *got);
enum mk_tls_result mk_tls_write(struct mk_tls *t, const void *p, size_t n, size_t *put);
bool mk_tls_pending(const struct mk_tls *t);   /* decrypted bytes wait      */
enum mk_tls_result mk_tls_bye(struct mk_tls *t);
/* After a failure: text for the log, static. */
const char *mk_tls_error(const struct mk_tls *t);
/* Channel bindings (RFC 5929, 9266) as raw bytes in b; -MK_ENOENT. */
int mk_tls_binding(struct mk_tls *t, const char *type, struct mk_buf *b);
const char *mk_tls_alpn(const struct mk_tls *t);       /* NULL = none       */
const char *mk_tls_sni(const struct mk_tls *t);        /* NULL = none       */
void mk_tls_describe(const struct mk_tls *t, char *out, size_t n); /* "TLS1.3 ..." */

#endif
