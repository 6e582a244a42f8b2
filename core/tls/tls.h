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

/*
 * Main thread. Every certificate is parsed, matched with its key and checked
 * (expiry within 21, 7, 1 days is logged as a warning); messages for all that
 * are bad. A certificate is chosen by its configured domain, then by the names
 * it holds itself (subjectAltName), then by a wildcard one level up. n may be
 * 0: then every handshake fails. 0, or -MK_EINVAL.
 */
int  mk_tls_store_new(const struct mk_tls_cert_conf *certs, size_t n,
                      struct mk_diag *d, struct mk_tls_store **out);
/* The same for a running one: what is bad keeps its old credentials (found by
 * domain) and is told in d, the rest changes; -MK_EINVAL if any was bad. New
 * handshakes see all of the change or nothing of it. */
int  mk_tls_store_reload(struct mk_tls_store *s, const struct mk_tls_cert_conf *certs,
                         size_t n, struct mk_diag *d);
/* Logs the certificates that expire within 21, 7, 1 days (start and reload do
 * too): once a day. Main thread. */
void mk_tls_store_warn(struct mk_tls_store *s);
/* A reference: sessions and configs may live on. */
void mk_tls_store_free(struct mk_tls_store **s);
/* Calls fn for each configured certificate, under a lock that handshakes wait
 * for: fn only copies. Any thread; for metrics and meerkatctl. */
void mk_tls_store_each(struct mk_tls_store *s, void (*fn)(void *arg, const char *domain,
	const char *serial, int64_t not_after_s), void *arg);

/* s is kept (a reference), c copied. -MK_EINVAL, logged: the priorities. */
int  mk_tls_config_new(struct mk_tls_store *s, const struct mk_tls_conf *c,
                       struct mk_tls_config **out);
void mk_tls_config_free(struct mk_tls_config **c);

/*
 * One server session. Costs little until the first handshake call, which makes
 * the GnuTLS object. Keeps a reference to c. default_domain: whose certificate
 * if the client sends no SNI, or one we don't know (the stream's 'to', or NULL
 * = the first); copied. fd: written to, never read and never closed by us.
 * One thread at a time; not bound to a thread.
 */
struct mk_tls *mk_tls_new(const struct mk_tls_config *c, const char *default_domain, int fd);
void mk_tls_free(struct mk_tls **t);
/*
 * Bytes that came from the socket, for the handshake and reads that follow;
 * borrowed until mk_tls_keep, which copies what they left. Not while
 * mk_tls_pending. The caller reads the socket, so that a turn costs one recv
 * and not three per record.
 */
void mk_tls_feed(struct mk_tls *t, const char *p, size_t n);
void mk_tls_keep(struct mk_tls *t);
enum mk_tls_result { MK_TLS_OK = 0, MK_TLS_WANT_READ, MK_TLS_WANT_WRITE,
	MK_TLS_CLOSED, MK_TLS_FAILED };
/* As far as what was fed goes. On failure the alert is sent already. */
enum mk_tls_result mk_tls_handshake(struct mk_tls *t);
/* *got > 0 with MK_TLS_OK. MK_TLS_CLOSED: close_notify. A client that asks for
 * renegotiation is refused: MK_TLS_FAILED (S-10). */
enum mk_tls_result mk_tls_read(struct mk_tls *t, void *p, size_t n, size_t *got);
/* One record (at most 16 KB of p). MK_TLS_WANT_WRITE: call again, with the
 * same bytes in front, when fd is writable. */
enum mk_tls_result mk_tls_write(struct mk_tls *t, const void *p, size_t n, size_t *put);
/* Something to read needs no socket: fed or kept bytes, or decrypted ones. */
bool mk_tls_pending(const struct mk_tls *t);
/* close_notify, without waiting for the peer's. */
enum mk_tls_result mk_tls_bye(struct mk_tls *t);
/* After a failure: text for the log, static. */
const char *mk_tls_error(const struct mk_tls *t);
/* Channel bindings as raw bytes, added to b: "tls-exporter" (RFC 9266; TLS 1.3,
 * or 1.2 with the extended master secret) and "tls-server-end-point" (RFC
 * 5929). -MK_ENOENT: not of this session (tls-unique: never). */
int mk_tls_binding(struct mk_tls *t, const char *type, struct mk_buf *b);
const char *mk_tls_alpn(const struct mk_tls *t);       /* NULL = none       */
const char *mk_tls_sni(const struct mk_tls *t);        /* NULL = none       */
/* "TLS1.3 SECP256R1 AES-256-GCM", for log and stream info. */
void mk_tls_describe(const struct mk_tls *t, char *out, size_t n);

#endif
