/*
 * tls/store.c - certificates: reading, checking, choosing, reloading
 *
 * A store holds one set of names and credentials at a time. The set is made
 * aside and swapped under the store's lock; lookups take a reference to the
 * credentials under the same lock (a handshake costs a thousand times more),
 * so that a session keeps what it began with. Reading runs on the main thread,
 * finding on any.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <meerkat/conf.h>
#include <meerkat/log.h>
#include "base/assert.h"
#include "base/map.h"
#include "tls/store.h"
#include "base/ban.h"

#define FILE_MAX_BYTES (1 << 20)
#define CHAIN_MAX 16
#define DAY 86400

struct cert_name {
	struct mk_map_node node;
	struct mk_tls_cred *cred;      /* borrowed from the set's list          */
	char name[];
};
struct cert_entry {
	char *domain;                  /* normalised                            */
	char *from;                    /* its files; NULL = another's, or kept  */
	struct mk_tls_cred *cred;      /* a reference                           */
	bool is_shared;                /* an entry before it has the same cred  */
};
struct cert_set {
	struct mk_map names;           /* of cert_name                          */
	struct cert_entry *list;
	size_t n;
};
struct mk_tls_store {
	pthread_mutex_t lock;
	struct cert_set *set;          /* under lock                            */
	_Atomic uint32_t refs;
};

/* ---- names ----------------------------------------------------------------- */

/* Lower case, A-labels, no dot at the end; false if it isn't a name. */
static bool normalise(const char *name, char out[MK_TLS_NAME_MAX])
{
	bool is_wild = name[0] == '*' && name[1] == '.', is_ascii = true;
	gnutls_datum_t ace = { NULL, 0 };
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] >= 0x80)
			is_ascii = false;
	if (!is_ascii) {
		const char *bare = name + (is_wild ? 2 : 0);

		if (n > 4 * MK_TLS_NAME_MAX ||
		    gnutls_idna_map(bare, (unsigned)strlen(bare), &ace, 0) < 0)
			return false;
		name = (const char *)ace.data;
		n = strlen(name);
	} else {
		is_wild = false;       /* is in name                            */
	}
	if (n > 0 && name[n - 1] == '.')
		n--;
	if (n == 0 || n + 3 > MK_TLS_NAME_MAX) {
		gnutls_free(ace.data);
		return false;
	}
	if (is_wild) {
		*out++ = '*';
		*out++ = '.';
	}
	for (size_t i = 0; i < n; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	out[n] = '\0';
	gnutls_free(ace.data);
	return true;
}

static bool name_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct cert_name *c = MK_CONTAINER(n, struct cert_name, node);

	return strlen(c->name) == key_n && memcmp(c->name, key, key_n) == 0;
}

static struct mk_tls_cred *set_get(const struct cert_set *s, const char *name)
{
	size_t n = strlen(name);
	struct mk_map_node *node = mk_map_find(&s->names, mk_hash_bytes(name, n), name, n);

	return node != NULL ? MK_CONTAINER(node, struct cert_name, node)->cred : NULL;
}

/* The first to claim a name has it. */
static void set_name(struct cert_set *s, const char *name, struct mk_tls_cred *cred)
{
	size_t n = strlen(name);
	struct cert_name *c;

	if (set_get(s, name) != NULL)
		return;
	c = mk_alloc(sizeof *c + n + 1);
	c->cred = cred;
	memcpy(c->name, name, n);
	mk_map_insert(&s->names, &c->node, mk_hash_bytes(name, n));
}

/* name, or the wildcard one level up (RFC 6125 6.4.3). */
static struct mk_tls_cred *set_match(const struct cert_set *s, const char *wish)
{
	char name[MK_TLS_NAME_MAX];
	struct mk_tls_cred *c;
	char *dot;

	if (!normalise(wish, name))
		return NULL;
	c = set_get(s, name);
	if (c != NULL)
		return c;
	dot = strchr(name, '.');
	if (dot == NULL || dot == name)
		return NULL;
	dot[-1] = '*';
	return set_get(s, dot - 1);
}

/* ---- credentials ------------------------------------------------------------ */

static void cred_free(struct mk_tls_cred *c)
{
	if (c->x509 != NULL)
		gnutls_certificate_free_credentials(c->x509);
	for (size_t i = 0; i < c->name_n; i++)
		mk_free(c->names[i]);
	mk_free(c->names);
	mk_free(c);
}

static struct mk_tls_cred *cred_ref(struct mk_tls_cred *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void mk_tls_cred_unref(struct mk_tls_cred **cp)
{
	struct mk_tls_cred *c = *cp;

	*cp = NULL;
	if (c != NULL && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		cred_free(c);
}

/* Where in the configuration a message belongs. */
static void complain(struct mk_diag *d, const struct mk_tls_cert_conf *conf,
                     const char *path, const char *what)
{
	mk_diag_add(d, "%s:%d: certificate of %s: %s: %s",
		conf->file != NULL ? conf->file : "configuration", conf->line,
		conf->domain, path, what);
}

static int read_file(const char *path, struct mk_buf *b)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r = 0;

	if (fd < 0)
		return -errno;
	while (b->n < FILE_MAX_BYTES && (r = read(fd, mk_buf_need(b, 8192), 8192)) > 0)
		b->n += (size_t)r;
	r = r < 0 ? -errno : b->n >= FILE_MAX_BYTES ? -EFBIG : 0;
	close(fd);
	mk_buf_z(b);
	return (int)r;
}

static void wipe(struct mk_buf *b)
{
	if (b->p != NULL)
		gnutls_memset(b->p, 0, b->cap);
	mk_buf_free(b);
}

/* The pairs of names that a folder may hold; %s is the domain. */
static const struct { const char *certificate, *key; } folder_forms[] = {
	{ "fullchain.pem", "privkey.pem" },    /* ACME clients              */
	{ "cert.pem", "key.pem" },
	{ "tls.crt", "tls.key" },              /* mounted secrets           */
	{ NULL, NULL },                        /* <domain>.crt, <domain>.key */
};

static int find_files(const struct mk_tls_cert_conf *conf, struct mk_diag *d,
                      struct mk_buf *certificate, struct mk_buf *key)
{
	struct stat st;

	if (stat(conf->certificate, &st) < 0) {
		complain(d, conf, conf->certificate, strerror(errno));
		return -MK_EINVAL;
	}
	if (!S_ISDIR(st.st_mode)) {
		mk_buf_addz(certificate, conf->certificate);
		mk_buf_addz(key, conf->key != NULL ? conf->key : conf->certificate);
		mk_buf_z(certificate);
		mk_buf_z(key);
		return 0;
	}
	for (size_t i = 0; i < sizeof folder_forms / sizeof *folder_forms; i++) {
		mk_buf_clear(certificate);
		mk_buf_clear(key);
		if (folder_forms[i].certificate != NULL) {
			mk_buf_printf(certificate, "%s/%s", conf->certificate,
			              folder_forms[i].certificate);
			mk_buf_printf(key, "%s/%s", conf->certificate, folder_forms[i].key);
		} else {
			mk_buf_printf(certificate, "%s/%s.crt", conf->certificate, conf->domain);
			mk_buf_printf(key, "%s/%s.key", conf->certificate, conf->domain);
		}
		if (conf->key != NULL) {
			mk_buf_clear(key);
			mk_buf_addz(key, conf->key);
		}
		mk_buf_z(key);
		if (stat(mk_buf_z(certificate), &st) == 0)
			return 0;
	}
	complain(d, conf, conf->certificate,
	         "the folder has no fullchain.pem, cert.pem, tls.crt or <domain>.crt");
	return -MK_EINVAL;
}

/* RFC 5929 4.1: the certificate's own hash, but SHA-256 for MD5 and SHA-1;
 * undefined for signatures without a single hash (EdDSA). */
static void end_point_hash(struct mk_tls_cred *c, gnutls_x509_crt_t leaf)
{
	int sign = gnutls_x509_crt_get_signature_algorithm(leaf);
	gnutls_digest_algorithm_t hash;
	gnutls_datum_t der;

	if (sign < 0 || sign == GNUTLS_SIGN_EDDSA_ED25519 || sign == GNUTLS_SIGN_EDDSA_ED448)
		return;
	hash = gnutls_sign_get_hash_algorithm(sign);
	if (hash == GNUTLS_DIG_MD5 || hash == GNUTLS_DIG_SHA1)
		hash = GNUTLS_DIG_SHA256;
	if (hash == GNUTLS_DIG_UNKNOWN || hash == GNUTLS_DIG_NULL ||
	    gnutls_hash_get_len(hash) > sizeof c->hash ||
	    gnutls_x509_crt_export2(leaf, GNUTLS_X509_FMT_DER, &der) < 0)
		return;
	if (gnutls_hash_fast(hash, der.data, der.size, c->hash) == 0)
		c->hash_n = gnutls_hash_get_len(hash);
	gnutls_free(der.data);
}

static void alt_names(struct mk_tls_cred *c, gnutls_x509_crt_t leaf)
{
	enum { NAMES_MAX = 1000 };
	char raw[MK_TLS_NAME_MAX], name[MK_TLS_NAME_MAX];

	for (unsigned i = 0; i < NAMES_MAX; i++) {
		size_t n = sizeof raw - 1;
		int r = gnutls_x509_crt_get_subject_alt_name(leaf, i, raw, &n, NULL);

		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return;
		if (r != GNUTLS_SAN_DNSNAME)
			continue;
		raw[n] = '\0';
		if (!normalise(raw, name))
			continue;
		c->names = mk_realloc(c->names, (c->name_n + 1) * sizeof *c->names);
		c->names[c->name_n++] = mk_strdup(name);
	}
}

static void serial(struct mk_tls_cred *c, gnutls_x509_crt_t leaf)
{
	unsigned char raw[31];
	size_t n = sizeof raw;

	if (gnutls_x509_crt_get_serial(leaf, raw, &n) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++)
		snprintf(c->serial + 2 * i, 3, "%02x", raw[i]);
}

static int cred_read(const struct mk_tls_cert_conf *conf, const char *cert_path,
                     const char *key_path, struct mk_diag *d, struct mk_tls_cred **out)
{
	struct mk_tls_cred *c = mk_alloc(sizeof *c);
	struct mk_buf chain = { 0 }, secret = { 0 };
	gnutls_x509_crt_t *certs = NULL;
	gnutls_x509_privkey_t key = NULL;
	unsigned cert_n = 0;
	gnutls_datum_t pem;
	struct stat st;
	int r;

	c->refs = 1;
	r = read_file(cert_path, &chain);
	if (r < 0) {
		complain(d, conf, cert_path, strerror(-r));
		goto fail;
	}
	r = read_file(key_path, &secret);
	if (r < 0) {
		complain(d, conf, key_path, strerror(-r));
		goto fail;
	}
	pem.data = (unsigned char *)chain.p;
	pem.size = (unsigned)chain.n;
	r = gnutls_x509_crt_list_import2(&certs, &cert_n, &pem, GNUTLS_X509_FMT_PEM,
	                                 GNUTLS_X509_CRT_LIST_SORT);
	if (r < 0) {
		complain(d, conf, cert_path, gnutls_strerror(r));
		goto fail;
	}
	if (cert_n == 0 || cert_n > CHAIN_MAX) {
		complain(d, conf, cert_path, "too many certificates for a chain");
		goto fail;
	}
	pem.data = (unsigned char *)secret.p;
	pem.size = (unsigned)secret.n;
	r = gnutls_x509_privkey_init(&key);
	if (r == 0)
		r = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (r < 0) {
		complain(d, conf, key_path, gnutls_strerror(r));
		goto fail;
	}
	r = gnutls_certificate_allocate_credentials(&c->x509);
	if (r == 0)
		r = gnutls_certificate_set_x509_key(c->x509, certs, (int)cert_n, key);
	if (r < 0) {
		complain(d, conf, key_path, r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH
			? "the key does not belong to the certificate" : gnutls_strerror(r));
		goto fail;
	}
	c->not_after_s = gnutls_x509_crt_get_expiration_time(certs[0]);
	serial(c, certs[0]);
	end_point_hash(c, certs[0]);
	alt_names(c, certs[0]);
	if (stat(key_path, &st) == 0 && (st.st_mode & 0004))
		mk_log(NULL, MK_WARN, "a private key can be read by everybody",
			"path=%s", key_path);
	if (!gnutls_x509_crt_check_hostname(certs[0], conf->domain))
		mk_log(NULL, MK_WARN, "a certificate does not name the domain it is for",
			"domain=%s path=%s", conf->domain, cert_path);
	if (gnutls_x509_crt_get_activation_time(certs[0]) > mk_wall_ms() / 1000)
		mk_log(NULL, MK_WARN, "a certificate is not valid yet",
			"domain=%s path=%s", conf->domain, cert_path);
	*out = c;
	c = NULL;
fail:
	r = c == NULL ? 0 : -MK_EINVAL;
	for (unsigned i = 0; i < cert_n; i++)
		gnutls_x509_crt_deinit(certs[i]);
	gnutls_free(certs);
	if (key != NULL)
		gnutls_x509_privkey_deinit(key);
	mk_buf_free(&chain);
	wipe(&secret);
	if (c != NULL)
		cred_free(c);
	return r;
}

/* ---- sets ------------------------------------------------------------------- */

static bool name_free(struct mk_map_node *n, void *arg)
{
	(void)arg;
	mk_free(MK_CONTAINER(n, struct cert_name, node));
	return true;
}

static void set_free(struct cert_set *s)
{
	if (s == NULL)
		return;
	mk_map_each(&s->names, name_free, NULL);
	mk_map_fini(&s->names);
	for (size_t i = 0; i < s->n; i++) {
		mk_tls_cred_unref(&s->list[i].cred);
		mk_free(s->list[i].domain);
		mk_free(s->list[i].from);
	}
	mk_free(s->list);
	mk_free(s);
}

/* Files that serve many domains are read once. */
struct path_seen { struct mk_map_node node; struct mk_tls_cred *cred; const char *from; };

static bool path_eq(const struct mk_map_node *n, const void *key, size_t key_n)
{
	const struct path_seen *p = MK_CONTAINER(n, struct path_seen, node);

	return strlen(p->from) == key_n && memcmp(p->from, key, key_n) == 0;
}

static bool path_free(struct mk_map_node *n, void *arg)
{
	(void)arg;
	mk_free(MK_CONTAINER(n, struct path_seen, node));
	return true;
}

static struct mk_tls_cred *entry_find(const struct cert_set *s, const char *domain)
{
	for (size_t i = 0; s != NULL && i < s->n; i++)
		if (strcmp(s->list[i].domain, domain) == 0)
			return s->list[i].cred;
	return NULL;
}

/* One certificate into s->list. False if it is bad (told in d); then an old
 * one of the same domain takes the place. */
static bool entry_add(struct cert_set *s, const struct mk_tls_cert_conf *conf,
                      const struct cert_set *old, struct mk_map *seen, struct mk_diag *d)
{
	struct mk_buf certificate = { 0 }, key = { 0 }, from = { 0 };
	struct cert_entry *e = &s->list[s->n];
	struct mk_tls_cred *cred = NULL;
	struct mk_map_node *node;
	char domain[MK_TLS_NAME_MAX];
	bool is_good = false;
	uint64_t hash;

	if (!normalise(conf->domain, domain)) {
		complain(d, conf, conf->certificate, "not a domain name");
		goto out;
	}
	if (find_files(conf, d, &certificate, &key) == 0) {
		mk_buf_printf(&from, "%s|%s", certificate.p, key.p);
		mk_buf_z(&from);
		hash = mk_hash_bytes(from.p, from.n);
		node = mk_map_find(seen, hash, from.p, from.n);
		if (node != NULL) {
			cred = cred_ref(MK_CONTAINER(node, struct path_seen, node)->cred);
			e->is_shared = true;
		} else if (cred_read(conf, certificate.p, key.p, d, &cred) == 0) {
			struct path_seen *p = mk_alloc(sizeof *p);

			e->from = mk_strdup(from.p);
			p->from = e->from;
			p->cred = cred;
			mk_map_insert(seen, &p->node, hash);
		}
	}
	is_good = cred != NULL;
	if (cred == NULL) {
		cred = entry_find(old, domain);
		if (cred == NULL)
			goto out;
		cred_ref(cred);
		mk_log(NULL, MK_ERROR, "a new certificate is bad, the old one is kept",
			"domain=%s", domain);
	}
	e->domain = mk_strdup(domain);
	e->cred = cred;
	s->n++;
out:
	mk_buf_free(&certificate);
	mk_buf_free(&key);
	mk_buf_free(&from);
	return is_good;
}

static int set_new(const struct mk_tls_cert_conf *certs, size_t n,
                   const struct cert_set *old, struct mk_diag *d, struct cert_set **out)
{
	struct cert_set *s = mk_alloc(sizeof *s);
	struct mk_map seen;
	int r = 0;

	mk_map_init(&s->names, name_eq);
	mk_map_init(&seen, path_eq);
	s->list = mk_alloc((n + 1) * sizeof *s->list);
	for (size_t i = 0; i < n; i++)
		if (!entry_add(s, &certs[i], old, &seen, d))
			r = -MK_EINVAL;
	mk_map_each(&seen, path_free, NULL);
	mk_map_fini(&seen);
	for (size_t i = 0; i < s->n; i++)
		set_name(s, s->list[i].domain, s->list[i].cred);
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; !s->list[i].is_shared && k < s->list[i].cred->name_n; k++)
			set_name(s, s->list[i].cred->names[k], s->list[i].cred);
	*out = s;
	return r;
}

static void warn_each(const struct cert_set *s)
{
	static const int steps[] = { 1, 7, 21 };
	int64_t now = mk_wall_ms() / 1000;

	for (size_t i = 0; i < s->n; i++) {
		const struct cert_entry *e = &s->list[i];
		int64_t left = e->cred->not_after_s - now;
		int step = 0;

		for (size_t k = sizeof steps / sizeof *steps; k-- > 0;)
			if (left < (int64_t)steps[k] * DAY)
				step = steps[k];
		if (left < 0)
			mk_log(NULL, MK_ERROR, "a certificate has expired",
				"domain=%s serial=%s days=%d", e->domain,
				e->cred->serial, (int)(-left / DAY));
		else if (step > 0)
			mk_log(NULL, step == 1 ? MK_ERROR : MK_WARN,
				"a certificate expires soon", "domain=%s serial=%s days=%d",
				e->domain, e->cred->serial, (int)(left / DAY));
	}
}

static void log_each(const struct cert_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		char when[32];

		mk_time_format(when, s->list[i].cred->not_after_s * 1000);
		mk_log(NULL, MK_INFO, "certificate", "domain=%s serial=%s not_after=%s",
			s->list[i].domain, s->list[i].cred->serial, when);
	}
	warn_each(s);
}

/* ---- the store -------------------------------------------------------------- */

int mk_tls_store_new(const struct mk_tls_cert_conf *certs, size_t n,
                     struct mk_diag *d, struct mk_tls_store **out)
{
	struct mk_tls_store *s;
	struct cert_set *set;
	int r = set_new(certs, n, NULL, d, &set);

	if (r < 0) {
		set_free(set);
		return r;
	}
	s = mk_alloc(sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	s->set = set;
	s->refs = 1;
	log_each(set);
	*out = s;
	return 0;
}

int mk_tls_store_reload(struct mk_tls_store *s, const struct mk_tls_cert_conf *certs,
                        size_t n, struct mk_diag *d)
{
	/* Only this thread changes s->set, so it may read it without the lock. */
	struct cert_set *old = s->set, *set;
	int r = set_new(certs, n, old, d, &set);

	pthread_mutex_lock(&s->lock);
	s->set = set;
	pthread_mutex_unlock(&s->lock);
	set_free(old);
	log_each(set);
	return r;
}

void mk_tls_store_warn(struct mk_tls_store *s)
{
	warn_each(s->set);             /* main thread, see above                */
}

struct mk_tls_store *mk_tls_store_ref(struct mk_tls_store *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void mk_tls_store_unref(struct mk_tls_store **sp)
{
	struct mk_tls_store *s = *sp;

	*sp = NULL;
	if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	set_free(s->set);
	pthread_mutex_destroy(&s->lock);
	mk_free(s);
}

void mk_tls_store_free(struct mk_tls_store **s)
{
	mk_tls_store_unref(s);
}

struct mk_tls_cred *mk_tls_store_find(struct mk_tls_store *s, const char *sni,
                                      const char *fallback)
{
	struct mk_tls_cred *c = NULL;

	pthread_mutex_lock(&s->lock);
	if (sni != NULL)
		c = set_match(s->set, sni);
	if (c == NULL && fallback != NULL)
		c = set_match(s->set, fallback);
	if (c == NULL && s->set->n > 0)
		c = s->set->list[0].cred;
	if (c != NULL)
		cred_ref(c);
	pthread_mutex_unlock(&s->lock);
	return c;
}

void mk_tls_store_each(struct mk_tls_store *s, void (*fn)(void *arg, const char *domain,
	const char *serial, int64_t not_after_s), void *arg)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->set->n; i++)
		fn(arg, s->set->list[i].domain, s->set->list[i].cred->serial,
		   s->set->list[i].cred->not_after_s);
	pthread_mutex_unlock(&s->lock);
}
