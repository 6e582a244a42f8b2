/*
 * tls/tls.c - TLS sessions by GnuTLS
 *
 * A session belongs to its connection and to one thread at a time; it holds
 * references to its config (priorities, ticket keys) and to the credentials it
 * was begun with. GnuTLS never reads the socket: it is fed what the connection
 * received, and keeps at most part of a record. The GnuTLS object, 8 to 17 KB
 * during a handshake, is made when the client's first bytes are there.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <meerkat/log.h>
#include "base/assert.h"
#include "tls/store.h"
#include "base/ban.h"

#define RECORD_MAX 16384
#define ALPN_MAX 8
/* Bytes of a client's part of the handshake: two ClientHellos of 2 KB with
 * post-quantum key shares, and little else, as no certificate is asked for.
 * GnuTLS itself would gather the 16 MB that a message may announce. */
#define HANDSHAKE_MAX 16384
/* The same later, where a KeyUpdate may announce as much: bytes that bring no
 * data. Two full records, as one may be data that hasn't come out yet. */
#define SILENT_MAX 36000
/* Warnings and other events that mean nothing, per session. */
#define NONSENSE_MAX 16

/* BCP 195 (RFC 9325): forward secrecy and AEAD only. The server's order, as
 * it knows which cipher its processor is good at. */
static const char default_priorities[] =
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA"
	":-AES-256-CBC:-AES-128-CBC:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE";

struct mk_tls_config {
	struct mk_tls_store *store;    /* a reference                           */
	gnutls_priority_t priorities;
	gnutls_datum_t ticket_key;     /* GnuTLS derives the rotating keys      */
	char *alpn[ALPN_MAX];
	unsigned alpn_n;
	bool alpn_required;
	_Atomic uint32_t refs;
};

struct mk_tls {
	gnutls_session_t session;      /* NULL before the first bytes           */
	struct mk_tls_config *config;  /* a reference                           */
	struct mk_tls_cred *cred;      /* a reference; NULL until chosen        */
	char *domain;                  /* until cred is chosen                  */
	char *sni;
	const char *in;                /* fed, not taken by GnuTLS yet          */
	size_t in_n;
	char *kept;                    /* ours, if in points into it            */
	int fd;
	int error;                     /* GnuTLS code                           */
	uint32_t silent_bytes;         /* taken since data last came out        */
	bool is_up;                    /* the handshake is over                 */
	bool is_writing;               /* a record is cut off half-way          */
	uint8_t nonsense;
};

/* ---- configs ---------------------------------------------------------------- */

static struct mk_tls_config *config_ref(const struct mk_tls_config *c)
{
	/* The count isn't part of what callers see as constant. */
	struct mk_tls_config *w = (struct mk_tls_config *)c;

	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

int mk_tls_config_new(struct mk_tls_store *s, const struct mk_tls_conf *conf,
                      struct mk_tls_config **out)
{
	struct mk_tls_config *c = mk_alloc(sizeof *c);
	const char *where = NULL;
	int r;

	c->refs = 1;
	c->store = mk_tls_store_ref(s);
	c->alpn_required = conf->alpn_required;
	for (const char *const *a = conf->alpn; a != NULL && *a != NULL; a++) {
		mk_assert(c->alpn_n < ALPN_MAX);
		c->alpn[c->alpn_n++] = mk_strdup(*a);
	}
	r = gnutls_priority_init(&c->priorities, conf->priorities != NULL
		? conf->priorities : default_priorities, &where);
	if (r < 0) {
		mk_log(NULL, MK_ERROR, "TLS priorities are wrong", "at=%s reason=%s",
			where != NULL ? where : "", gnutls_strerror(r));
		goto fail;
	}
	if (conf->tickets) {
		r = gnutls_session_ticket_key_generate(&c->ticket_key);
		if (r < 0)
			goto fail;
	}
	*out = c;
	return 0;
fail:
	mk_tls_config_free(&c);
	return -MK_EINVAL;
}

void mk_tls_config_free(struct mk_tls_config **cp)
{
	struct mk_tls_config *c = *cp;

	*cp = NULL;
	if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	mk_tls_store_unref(&c->store);
	for (unsigned i = 0; i < c->alpn_n; i++)
		mk_free(c->alpn[i]);
	if (c->priorities != NULL)
		gnutls_priority_deinit(c->priorities);
	if (c->ticket_key.data != NULL) {
		gnutls_memset(c->ticket_key.data, 0, c->ticket_key.size);
		gnutls_free(c->ticket_key.data);
	}
	mk_free(c);
}

/* ---- the socket's side ------------------------------------------------------ */

static ssize_t pull(gnutls_transport_ptr_t arg, void *out, size_t n)
{
	struct mk_tls *t = arg;

	if (t->in_n == 0) {
		gnutls_transport_set_errno(t->session, EAGAIN);
		return -1;
	}
	if (n > t->in_n)
		n = t->in_n;
	t->silent_bytes += n;
	if (t->silent_bytes > (t->is_up ? SILENT_MAX : HANDSHAKE_MAX)) {
		gnutls_transport_set_errno(t->session, EMSGSIZE);
		return -1;
	}
	memcpy(out, t->in, n);
	t->in += n;
	t->in_n -= n;
	return (ssize_t)n;
}

static int pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	const struct mk_tls *t = arg;

	(void)ms;                      /* nothing comes while we wait           */
	return t->in_n > 0;
}

static ssize_t push(gnutls_transport_ptr_t arg, const giovec_t *v, int count)
{
	struct mk_tls *t = arg;
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)count };
	ssize_t r = sendmsg(t->fd, &m, MSG_NOSIGNAL);

	if (r < 0)
		gnutls_transport_set_errno(t->session, errno);
	return r;
}

void mk_tls_feed(struct mk_tls *t, const char *p, size_t n)
{
	mk_assert(t->in_n == 0);
	mk_free(t->kept);
	t->kept = NULL;
	t->in = p;
	t->in_n = n;
}

void mk_tls_keep(struct mk_tls *t)
{
	if (t->in_n == 0) {
		mk_free(t->kept);
		t->kept = NULL;
	} else if (t->kept == NULL) {
		t->kept = mk_alloc(t->in_n);
		memcpy(t->kept, t->in, t->in_n);
		t->in = t->kept;
	}
}

/* ---- sessions --------------------------------------------------------------- */

struct mk_tls *mk_tls_new(const struct mk_tls_config *c, const char *default_domain, int fd)
{
	struct mk_tls *t = mk_alloc(sizeof *t);

	t->config = config_ref(c);
	if (default_domain != NULL)
		t->domain = mk_strdup(default_domain);
	t->fd = fd;
	return t;
}

void mk_tls_free(struct mk_tls **tp)
{
	struct mk_tls *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	if (t->session != NULL)
		gnutls_deinit(t->session);
	mk_tls_cred_unref(&t->cred);   /* after the session that points at it   */
	mk_tls_config_free(&t->config);
	mk_free(t->domain);
	mk_free(t->sni);
	mk_free(t->kept);
	mk_free(t);
}

/* The ClientHello is parsed and nothing is chosen yet: the time to say which
 * certificate it will be. */
static int on_client_hello(gnutls_session_t session)
{
	struct mk_tls *t = gnutls_session_get_ptr(session);
	char name[MK_TLS_NAME_MAX + 1];
	size_t n = sizeof name - 1;
	unsigned type;

	if (t->cred != NULL)           /* a second one, after HelloRetryRequest */
		return 0;
	if (gnutls_server_name_get(session, name, &n, &type, 0) == 0 &&
	    type == GNUTLS_NAME_DNS && n > 0) {
		name[n] = '\0';
		t->sni = mk_strdup(name);
	}
	t->cred = mk_tls_store_find(t->config->store, t->sni, t->domain);
	if (t->cred == NULL)
		return GNUTLS_E_NO_CERTIFICATE_FOUND;
	return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->cred->x509);
}

static int session_new(struct mk_tls *t)
{
	const struct mk_tls_config *c = t->config;
	unsigned flags = GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL;
	gnutls_datum_t alpn[ALPN_MAX];
	int r;

	if (c->ticket_key.data == NULL)
		flags |= GNUTLS_NO_TICKETS;
	r = gnutls_init(&t->session, flags);
	if (r < 0)
		return r;
	gnutls_session_set_ptr(t->session, t);
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_pull_function(t->session, pull);
	gnutls_transport_set_pull_timeout_function(t->session, pull_timeout);
	gnutls_transport_set_vec_push_function(t->session, push);
	gnutls_handshake_set_max_packet_length(t->session, HANDSHAKE_MAX);
	gnutls_handshake_set_post_client_hello_function(t->session, on_client_hello);
	gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_IGNORE);
	r = gnutls_priority_set(t->session, c->priorities);
	if (r == 0 && c->ticket_key.data != NULL)
		r = gnutls_session_ticket_enable_server(t->session, &c->ticket_key);
	if (r == 0 && c->alpn_n > 0) {
		for (unsigned i = 0; i < c->alpn_n; i++) {
			alpn[i].data = (unsigned char *)c->alpn[i];
			alpn[i].size = (unsigned)strlen(c->alpn[i]);
		}
		r = gnutls_alpn_set_protocols(t->session, alpn, c->alpn_n,
			GNUTLS_ALPN_SERVER_PRECEDENCE |
			(c->alpn_required ? GNUTLS_ALPN_MANDATORY : 0));
	}
	return r;
}

static enum mk_tls_result failed(struct mk_tls *t, int error)
{
	t->error = error;
	t->in_n = 0;
	return MK_TLS_FAILED;
}

/* A call that may be made again at once, so often. */
static bool is_nonsense(struct mk_tls *t, ssize_t r)
{
	return !gnutls_error_is_fatal((int)r) && ++t->nonsense < NONSENSE_MAX;
}

static enum mk_tls_result waiting(const struct mk_tls *t)
{
	return gnutls_record_get_direction(t->session) ? MK_TLS_WANT_WRITE
	                                               : MK_TLS_WANT_READ;
}

enum mk_tls_result mk_tls_handshake(struct mk_tls *t)
{
	enum { HANDSHAKE_RECORD = 22 };
	int r = 0;

	if (t->session == NULL) {
		if (t->in_n == 0)
			return MK_TLS_WANT_READ;
		/* XML or HTTP on the wrong port looks like the beginning of a
		 * long record, for which GnuTLS would wait. */
		r = t->in[0] != HANDSHAKE_RECORD ? GNUTLS_E_UNEXPECTED_PACKET
		                                 : session_new(t);
	}
	while (r == 0) {
		r = gnutls_handshake(t->session);
		if (r == 0) {
			mk_free(t->domain);
			t->domain = NULL;
			t->is_up = true;
			t->silent_bytes = 0;
			return MK_TLS_OK;
		}
		if (r == GNUTLS_E_AGAIN)
			return waiting(t);
		if (r == GNUTLS_E_INTERRUPTED || is_nonsense(t, r))
			r = 0;
	}
	if (t->silent_bytes > HANDSHAKE_MAX)
		r = GNUTLS_E_HANDSHAKE_TOO_LARGE;
	if (t->session != NULL)
		gnutls_alert_send_appropriate(t->session, r);
	return failed(t, r);
}

/* As gnutls_record_recv, but GnuTLS' own copy doesn't stay behind in freed memory:
 * there may be a password in it (S-21). p has room for a record. */
static ssize_t receive(struct mk_tls *t, void *p)
{
	gnutls_packet_t packet = NULL;
	gnutls_datum_t d = { NULL, 0 };
	ssize_t r = gnutls_record_recv_packet(t->session, &packet);

	if (packet == NULL)
		return r;
	gnutls_packet_get(packet, &d, NULL);
	if (r > 0) {
		mk_assert(d.size <= RECORD_MAX);
		memcpy(p, d.data, d.size);
		r = (ssize_t)d.size;
	}
	if (d.size > 0)
		explicit_bzero(d.data, d.size);
	gnutls_packet_deinit(packet);
	return r;
}

enum mk_tls_result mk_tls_read(struct mk_tls *t, void *p, size_t n, size_t *got)
{
	for (;;) {
		ssize_t r = n >= RECORD_MAX ? receive(t, p) : gnutls_record_recv(t->session, p, n);

		if (r > 0) {
			t->silent_bytes = 0;
			*got = (size_t)r;
			return MK_TLS_OK;
		}
		if (r == 0)
			return MK_TLS_CLOSED;
		if (r == GNUTLS_E_AGAIN)
			return waiting(t);
		if (r == GNUTLS_E_REHANDSHAKE) {
			gnutls_alert_send(t->session, GNUTLS_AL_WARNING,
			                  GNUTLS_A_NO_RENEGOTIATION);
			return failed(t, (int)r);
		}
		if (r != GNUTLS_E_INTERRUPTED && !is_nonsense(t, r)) {
			gnutls_alert_send_appropriate(t->session, (int)r);
			return failed(t, (int)r);
		}
	}
}

enum mk_tls_result mk_tls_write(struct mk_tls *t, const void *p, size_t n, size_t *put)
{
	ssize_t r;

	do
		/* GnuTLS has the bytes of a record that was cut off. */
		r = t->is_writing ? gnutls_record_send(t->session, NULL, 0)
		                  : gnutls_record_send(t->session, p,
		                                       n < RECORD_MAX ? n : RECORD_MAX);
	while (r == GNUTLS_E_INTERRUPTED);
	t->is_writing = r == GNUTLS_E_AGAIN;
	if (t->is_writing)
		return MK_TLS_WANT_WRITE;
	if (r < 0)
		return failed(t, (int)r);
	*put = (size_t)r;
	return MK_TLS_OK;
}

bool mk_tls_pending(const struct mk_tls *t)
{
	return t->in_n > 0 ||
	       (t->session != NULL && gnutls_record_check_pending(t->session) > 0);
}

enum mk_tls_result mk_tls_bye(struct mk_tls *t)
{
	int r;

	if (t->session == NULL)
		return MK_TLS_OK;
	do
		r = gnutls_bye(t->session, GNUTLS_SHUT_WR);
	while (r == GNUTLS_E_INTERRUPTED);
	if (r == GNUTLS_E_AGAIN)
		return MK_TLS_WANT_WRITE;
	return r < 0 ? failed(t, r) : MK_TLS_OK;
}

/* ---- what there is to know -------------------------------------------------- */

const char *mk_tls_error(const struct mk_tls *t)
{
	const char *text = NULL;

	if (t->error == GNUTLS_E_REHANDSHAKE)
		return "the client asked for renegotiation";
	if (t->error == GNUTLS_E_FATAL_ALERT_RECEIVED && t->session != NULL)
		text = gnutls_alert_get_name(gnutls_alert_get(t->session));
	if (text == NULL)
		text = gnutls_strerror(t->error);
	return text;
}

int mk_tls_binding(struct mk_tls *t, const char *type, struct mk_buf *b)
{
	gnutls_datum_t raw;

	if (t->session == NULL)
		return -MK_ENOENT;
	if (strcmp(type, "tls-server-end-point") == 0) {
		if (t->cred == NULL || t->cred->hash_n == 0)
			return -MK_ENOENT;
		mk_buf_add(b, t->cred->hash, t->cred->hash_n);
		return 0;
	}
	if (strcmp(type, "tls-exporter") != 0)
		return -MK_ENOENT;
	/* RFC 9266 4.2: with TLS 1.2 only if the master secret is bound to the
	 * handshake. */
	if (gnutls_protocol_get_version(t->session) < GNUTLS_TLS1_3 &&
	    !gnutls_session_ext_master_secret_status(t->session))
		return -MK_ENOENT;
	if (gnutls_session_channel_binding(t->session, GNUTLS_CB_TLS_EXPORTER, &raw) < 0)
		return -MK_ENOENT;
	mk_buf_add(b, raw.data, raw.size);
	gnutls_free(raw.data);
	return 0;
}

const char *mk_tls_alpn(const struct mk_tls *t)
{
	gnutls_datum_t p;

	if (t->session == NULL || gnutls_alpn_get_selected_protocol(t->session, &p) < 0)
		return NULL;
	for (unsigned i = 0; i < t->config->alpn_n; i++)
		if (strlen(t->config->alpn[i]) == p.size &&
		    memcmp(t->config->alpn[i], p.data, p.size) == 0)
			return t->config->alpn[i];
	return NULL;
}

const char *mk_tls_sni(const struct mk_tls *t)
{
	return t->sni;
}

void mk_tls_describe(const struct mk_tls *t, char *out, size_t n)
{
	const char *group = NULL;

	if (t->session == NULL) {
		snprintf(out, n, "no TLS yet");
		return;
	}
	group = gnutls_group_get_name(gnutls_group_get(t->session));
	snprintf(out, n, "%s %s%s%s",
		gnutls_protocol_get_name(gnutls_protocol_get_version(t->session)),
		group != NULL ? group : "", group != NULL ? " " : "",
		gnutls_cipher_get_name(gnutls_cipher_get(t->session)));
}
