/*
 * tls/tls_test.c - certificates by name, reload, handshakes, bindings
 *
 * Client and server talk over a socket pair in one thread; both ends are
 * non-blocking, and pump() lets each do what it can.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"
#include "conf/node.h"
#include "tls/test_certs.h"
#include "tls/tls.h"

static char dir[] = "/tmp/mk_tls_testXXXXXX";

/* The path of a file there; lives as long as the test. */
static const char *in_dir(const char *name)
{
	static char known[32][80];
	char path[80];
	size_t i;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	for (i = 0; known[i][0] != '\0'; i++)
		if (strcmp(known[i], path) == 0)
			return known[i];
	snprintf(known[i], sizeof known[i], "%s", path);
	return known[i];
}

static void make(const char *name, const char *names, unsigned char serial)
{
	char c[300], k[300];

	snprintf(c, sizeof c, "%s/%s.crt", dir, name);
	snprintf(k, sizeof k, "%s/%s.key", dir, name);
	certs_make(c, k, names, serial, 90 * 86400L);
}

static int group_setup(void **state)
{
	(void)state;
	if (mk_log_open("/dev/null", MK_LOG_LOGFMT, MK_DEBUG) != 0)
		return -1;
	if (mkdtemp(dir) == NULL)
		return -1;
	make("a.example", "a.example,*.a.example", 11);
	make("b.example", "b.example,also.example", 12);
	make("deep.a.example", "deep.a.example", 13);
	mkdir(in_dir("folder"), 0700);
	certs_make(in_dir("folder/fullchain.pem"), in_dir("folder/privkey.pem"),
	           "folder.example", 14, 90 * 86400L);
	return 0;
}

static int group_teardown(void **state)
{
	static const char *const files[] = { "a.example.crt", "a.example.key", "b.example.crt",
		"b.example.key", "deep.a.example.crt", "deep.a.example.key",
		"folder/fullchain.pem", "folder/privkey.pem", "x.crt", "x.key" };

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		unlink(in_dir(files[i]));
	rmdir(in_dir("folder"));
	return rmdir(dir);
}

/* ---- the two ends -------------------------------------------------------------- */

struct ends {
	int server_fd, client_fd;
	struct mk_tls *server;
	gnutls_session_t client;
	gnutls_certificate_credentials_t cred;
	enum mk_tls_result server_result;
	int client_result;
	size_t chunk;                  /* bytes fed at a time                   */
	char buf[65536];
};

static struct mk_tls_store *store_of(const struct mk_tls_cert_conf *certs, size_t n)
{
	struct mk_tls_store *s = NULL;
	struct mk_diag d = { 0 };

	if (mk_tls_store_new(certs, n, &d, &s) != 0)
		fail_msg("%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	return s;
}

static struct mk_tls_store *usual_store(void)
{
	struct mk_tls_cert_conf c[] = {
		{ .domain = "a.example", .certificate = in_dir("a.example.crt"),
		  .key = in_dir("a.example.key") },
		{ .domain = "b.example", .certificate = dir },
		{ .domain = "deep.a.example", .certificate = dir },
		{ .domain = "folder.example", .certificate = in_dir("folder") },
	};
	return store_of(c, 4);
}

static struct mk_tls_config *config_of(struct mk_tls_store *s, struct mk_tls_conf conf)
{
	struct mk_tls_config *c = NULL;

	assert_int_equal(mk_tls_config_new(s, &conf, &c), 0);
	return c;
}

static struct ends *ends_new(const struct mk_tls_config *c, const char *domain,
                             const char *priorities, const char *sni, const char *alpn)
{
	struct ends *e = mk_alloc(sizeof *e);
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	e->server_fd = fd[0];
	e->client_fd = fd[1];
	e->chunk = sizeof e->buf;
	e->server = mk_tls_new(c, domain, e->server_fd);
	e->client = certs_client(e->client_fd, priorities, sni, alpn, &e->cred);
	e->server_result = MK_TLS_WANT_READ;
	e->client_result = GNUTLS_E_AGAIN;
	return e;
}

static void ends_free(struct ends *e)
{
	mk_tls_free(&e->server);
	gnutls_deinit(e->client);
	gnutls_certificate_free_credentials(e->cred);
	close(e->server_fd);
	close(e->client_fd);
	mk_free(e);
}

/* Feeds the server one chunk; false if there was none. */
static bool feed(struct ends *e)
{
	ssize_t n = recv(e->server_fd, e->buf, e->chunk, 0);

	if (n <= 0)
		return false;
	mk_tls_feed(e->server, e->buf, (size_t)n);
	return true;
}

static void pump(struct ends *e)
{
	for (int round = 0; round < 20000; round++) {
		bool moved = false;

		if (e->client_result != 0 && !gnutls_error_is_fatal(e->client_result)) {
			e->client_result = gnutls_handshake(e->client);
			moved = e->client_result != GNUTLS_E_AGAIN;
		}
		if (e->server_result == MK_TLS_WANT_READ && feed(e)) {
			e->server_result = mk_tls_handshake(e->server);
			mk_tls_keep(e->server);
			moved = true;
		}
		if (!moved)
			return;
	}
}

static struct ends *connect_ends(const struct mk_tls_config *c, const char *domain,
                                 const char *priorities, const char *sni, const char *alpn)
{
	struct ends *e = ends_new(c, domain, priorities, sni, alpn);

	pump(e);
	assert_int_equal(e->client_result, 0);
	assert_int_equal(e->server_result, MK_TLS_OK);
	return e;
}

/* What the server reads next, feeding as needed. */
static enum mk_tls_result server_read(struct ends *e, char *out, size_t n, size_t *got)
{
	enum mk_tls_result r;

	*got = 0;
	while ((r = mk_tls_read(e->server, out, n, got)) == MK_TLS_WANT_READ)
		if (!feed(e))
			break;
	mk_tls_keep(e->server);
	return r;
}

static void check_echo(struct ends *e)
{
	char text[64];
	size_t got, put;
	ssize_t n;

	assert_int_equal(gnutls_record_send(e->client, "hello", 5), 5);
	assert_int_equal(server_read(e, text, sizeof text, &got), MK_TLS_OK);
	assert_int_equal(got, 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(mk_tls_write(e->server, "world!", 6, &put), MK_TLS_OK);
	assert_int_equal(put, 6);
	do                             /* tickets come first                    */
		n = gnutls_record_recv(e->client, text, sizeof text);
	while (n == GNUTLS_E_AGAIN);
	assert_int_equal(n, 6);
	assert_memory_equal(text, "world!", 6);
}

/* ---- choosing -------------------------------------------------------------------- */

static void test_certificate_follows_sni(void **state)
{
	static const struct { const char *sni, *domain; unsigned serial; } table[] = {
		{ "a.example", NULL, 11 },
		{ "A.Example", NULL, 11 },
		{ "b.example", NULL, 12 },
		{ "also.example", NULL, 12 },          /* only in the certificate */
		{ "deep.a.example", NULL, 13 },        /* exact before wildcard   */
		{ "chat.a.example", NULL, 11 },        /* wildcard                */
		{ "very.deep.a.example", NULL, 11 },   /* one level only: default */
		{ "folder.example", NULL, 14 },
		{ "nobody.example", NULL, 11 },
		{ "nobody.example", "b.example", 12 },
		{ NULL, "deep.a.example", 13 },
		{ NULL, "nobody.example", 11 },
		{ NULL, NULL, 11 },
	};
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		static const char *const versions[] = {
			"NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2" };
		for (int v = 0; v < 2; v++) {
			struct ends *e = connect_ends(c, table[i].domain, versions[v],
			                              table[i].sni, NULL);

			assert_int_equal(certs_serial(e->client), table[i].serial);
			if (table[i].sni == NULL)
				assert_null(mk_tls_sni(e->server));
			else
				assert_int_equal(strcasecmp(mk_tls_sni(e->server),
				                            table[i].sni), 0);
			check_echo(e);
			ends_free(e);
		}
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_handshake_survives_every_split(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });

	(void)state;
	for (size_t chunk = 1; chunk < 40; chunk++) {
		struct ends *e = ends_new(c, NULL, NULL, "b.example", NULL);

		e->chunk = chunk;
		pump(e);
		assert_int_equal(e->server_result, MK_TLS_OK);
		assert_int_equal(e->client_result, 0);
		check_echo(e);
		ends_free(e);
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static unsigned listed;

static void list_one(void *arg, const char *domain, const char *serial, int64_t not_after_s)
{
	assert_ptr_equal(arg, &listed);
	if (strcmp(domain, "b.example") == 0)
		assert_string_equal(serial, "0c");
	assert_true(not_after_s > time(NULL));
	listed++;
}

static void test_certificates_are_listed(void **state)
{
	struct mk_tls_store *s = usual_store();

	(void)state;
	listed = 0;
	mk_tls_store_each(s, list_one, &listed);
	assert_int_equal(listed, 4);
	mk_tls_store_free(&s);
}

/* ---- reloading --------------------------------------------------------------------- */

static void test_bad_certificates_are_named(void **state)
{
	const struct mk_tls_cert_conf table[] = {
		{ .domain = "x.example", .certificate = in_dir("none.pem") },
		{ .domain = "x.example", .certificate = in_dir("a.example.crt"),
		  .key = in_dir("b.example.key") },
		{ .domain = "x.example", .certificate = in_dir("a.example.key") },
		{ .domain = "x.example", .certificate = in_dir("a.example.crt") },
		{ .domain = "none.example", .certificate = dir },
	};
	static const char *const says[] = { "No such file", "does not belong", "x.example",
		"x.example", "fullchain.pem" };

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct mk_tls_cert_conf conf = table[i];
		struct mk_tls_store *s = NULL;
		struct mk_diag d = { 0 };

		conf.file = "meerkat.yml";
		conf.line = 7;
		assert_int_equal(mk_tls_store_new(&conf, 1, &d, &s), -MK_EINVAL);
		assert_null(s);
		assert_non_null(strstr(mk_buf_z(&d.text), "meerkat.yml:7: "));
		assert_non_null(strstr(d.text.p, says[i]));
		mk_diag_fini(&d);
	}
}

static void test_reload_changes_new_handshakes_only(void **state)
{
	struct mk_tls_cert_conf conf = { .domain = "x.example", .certificate = in_dir("x.crt"),
		.key = in_dir("x.key") };
	struct mk_tls_store *s;
	struct mk_tls_config *c;
	struct ends *old, *halfway, *e;
	struct mk_buf before = { 0 }, after = { 0 };
	struct mk_diag d = { 0 };

	(void)state;
	make("x", "x.example", 21);
	s = store_of(&conf, 1);
	c = config_of(s, (struct mk_tls_conf){ 0 });
	old = connect_ends(c, NULL, NULL, "x.example", NULL);
	assert_int_equal(mk_tls_binding(old->server, "tls-server-end-point", &before), 0);
	halfway = ends_new(c, NULL, NULL, "x.example", NULL);
	assert_int_equal(gnutls_handshake(halfway->client), GNUTLS_E_AGAIN);
	assert_true(feed(halfway));
	assert_int_equal(mk_tls_handshake(halfway->server), MK_TLS_WANT_READ);
	mk_tls_keep(halfway->server);

	make("x", "x.example", 22);
	assert_int_equal(mk_tls_store_reload(s, &conf, 1, &d), 0);
	check_echo(old);
	assert_int_equal(mk_tls_binding(old->server, "tls-server-end-point", &after), 0);
	assert_int_equal(before.n, after.n);
	assert_memory_equal(before.p, after.p, before.n);
	pump(halfway);
	assert_int_equal(halfway->client_result, 0);
	assert_int_equal(certs_serial(halfway->client), 21);
	e = connect_ends(c, NULL, NULL, "x.example", NULL);
	assert_int_equal(certs_serial(e->client), 22);
	ends_free(e);

	/* A key that doesn't fit: the certificate of before stays. */
	certs_make(in_dir("x.crt"), in_dir("b.example.key.new"), "x.example", 23, 86400);
	unlink(in_dir("b.example.key.new"));
	assert_int_equal(mk_tls_store_reload(s, &conf, 1, &d), -MK_EINVAL);
	assert_non_null(strstr(mk_buf_z(&d.text), "does not belong"));
	e = connect_ends(c, NULL, NULL, "x.example", NULL);
	assert_int_equal(certs_serial(e->client), 22);
	ends_free(e);
	/* Nothing left: sessions live, handshakes fail. */
	assert_int_equal(mk_tls_store_reload(s, NULL, 0, &d), 0);
	e = ends_new(c, NULL, NULL, "x.example", NULL);
	pump(e);
	assert_int_equal(e->server_result, MK_TLS_FAILED);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
	check_echo(old);
	ends_free(old);
	ends_free(halfway);
	mk_buf_free(&before);
	mk_buf_free(&after);
	mk_diag_fini(&d);
}

static void test_one_file_may_serve_many_domains(void **state)
{
	struct mk_tls_cert_conf many[50];
	char names[50][32];
	struct mk_tls_store *s;
	struct mk_tls_config *c;
	struct ends *e;

	(void)state;
	memset(many, 0, sizeof many);
	for (int i = 0; i < 50; i++) {
		snprintf(names[i], sizeof names[i], "d%d.example", i);
		many[i].domain = names[i];
		many[i].certificate = in_dir("folder");
	}
	s = store_of(many, 50);
	c = config_of(s, (struct mk_tls_conf){ 0 });
	e = connect_ends(c, NULL, NULL, "d49.example", NULL);
	assert_int_equal(certs_serial(e->client), 14);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static unsigned expiry_lines;

static void count_expiry(const char *line, size_t n)
{
	if (memmem(line, n, "expires soon", 12) != NULL ||
	    memmem(line, n, "has expired", 11) != NULL)
		expiry_lines++;
}

static void test_expiry_is_announced(void **state)
{
	static const struct { long seconds; unsigned lines; } table[] = {
		{ 30 * 86400L, 0 }, { 20 * 86400L, 1 }, { 3600, 1 }, { -60, 1 } };
	struct mk_tls_cert_conf conf = { .domain = "x.example", .certificate = in_dir("x.crt"),
		.key = in_dir("x.key") };

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct mk_tls_store *s;

		certs_make(in_dir("x.crt"), in_dir("x.key"), "x.example", 30, table[i].seconds);
		expiry_lines = 0;
		mk_log_capture(count_expiry);
		s = store_of(&conf, 1);
		assert_int_equal(expiry_lines, table[i].lines);
		mk_tls_store_warn(s);
		mk_log_capture(NULL);
		assert_int_equal(expiry_lines, 2 * table[i].lines);
		mk_tls_store_free(&s);
	}
}

/* ---- sessions ---------------------------------------------------------------------- */

static void test_bindings_are_equal_at_both_ends(void **state)
{
	static const char *const versions[] = {
		"NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2" };
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct ends *e = connect_ends(c, NULL, versions[v], "b.example", NULL);
		struct mk_buf b = { 0 };
		gnutls_datum_t cb;

		assert_int_equal(mk_tls_binding(e->server, "tls-exporter", &b), 0);
		assert_int_equal(gnutls_session_channel_binding(e->client,
			GNUTLS_CB_TLS_EXPORTER, &cb), 0);
		assert_int_equal(cb.size, 32);
		assert_int_equal(b.n, cb.size);
		assert_memory_equal(b.p, cb.data, b.n);
		gnutls_free(cb.data);
		mk_buf_clear(&b);
		assert_int_equal(mk_tls_binding(e->server, "tls-server-end-point", &b), 0);
		assert_int_equal(gnutls_session_channel_binding(e->client,
			GNUTLS_CB_TLS_SERVER_END_POINT, &cb), 0);
		assert_int_equal(b.n, cb.size);
		assert_memory_equal(b.p, cb.data, b.n);
		gnutls_free(cb.data);
		assert_int_equal(mk_tls_binding(e->server, "tls-unique", &b), -MK_ENOENT);
		mk_buf_free(&b);
		ends_free(e);
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_exporter_needs_extended_master_secret(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL,
		"NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_SESSION_HASH", "b.example", NULL);
	struct mk_buf b = { 0 };

	(void)state;
	assert_int_equal(mk_tls_binding(e->server, "tls-exporter", &b), -MK_ENOENT);
	assert_int_equal(mk_tls_binding(e->server, "tls-server-end-point", &b), 0);
	mk_buf_free(&b);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_old_versions_and_ciphers_are_refused(void **state)
{
	static const char *const clients[] = {
		"NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0",
		"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA",
		"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC",
	};
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });

	(void)state;
	for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) {
		struct ends *e = ends_new(c, NULL, clients[i], "b.example", NULL);

		pump(e);
		assert_int_equal(e->server_result, MK_TLS_FAILED);
		assert_true(strlen(mk_tls_error(e->server)) > 0);
		assert_true(gnutls_error_is_fatal(e->client_result));
		ends_free(e);
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_alpn(void **state)
{
	static const char *const ours[] = { "xmpp-client", NULL };
	static const struct { bool required; const char *theirs; bool works; } table[] = {
		{ true, "xmpp-client", true }, { true, "http/1.1", false }, { true, NULL, true },
		{ false, "xmpp-client", true }, { false, "http/1.1", true },
	};
	struct mk_tls_store *s = usual_store();

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ .alpn = ours,
			.alpn_required = table[i].required });
		struct ends *e = ends_new(c, NULL, NULL, "b.example", table[i].theirs);

		pump(e);
		assert_int_equal(e->server_result == MK_TLS_OK, table[i].works);
		if (table[i].works && table[i].theirs != NULL &&
		    strcmp(table[i].theirs, ours[0]) == 0)
			assert_string_equal(mk_tls_alpn(e->server), "xmpp-client");
		else
			assert_null(mk_tls_alpn(e->server));
		ends_free(e);
		mk_tls_config_free(&c);
	}
	mk_tls_store_free(&s);
}

static void test_renegotiation_is_refused(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.2", "b.example", NULL);
	char text[64];
	size_t got;

	(void)state;
	assert_int_equal(gnutls_handshake(e->client), GNUTLS_E_AGAIN);
	assert_int_equal(server_read(e, text, sizeof text, &got), MK_TLS_FAILED);
	assert_non_null(strstr(mk_tls_error(e->server), "renegotiation"));
	assert_int_equal(gnutls_handshake(e->client), GNUTLS_E_WARNING_ALERT_RECEIVED);
	assert_int_equal(gnutls_alert_get(e->client), GNUTLS_A_NO_RENEGOTIATION);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_key_updates_are_limited(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.3", "b.example", NULL);
	enum mk_tls_result r = MK_TLS_WANT_READ;
	char text[64];
	size_t got;
	int n;

	(void)state;
	for (n = 0; n < 100 && r == MK_TLS_WANT_READ; n++) {
		if (gnutls_session_key_update(e->client, 0) < 0)
			break;
		r = server_read(e, text, sizeof text, &got);
	}
	assert_int_equal(r, MK_TLS_FAILED);
	assert_true(n > 1);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_tickets_resume(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ .tickets = true });
	static const char *const versions[] = {
		"NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2" };

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct ends *e = connect_ends(c, NULL, versions[v], "b.example", NULL);
		gnutls_datum_t session;
		struct mk_buf b = { 0 };

		check_echo(e);         /* the ticket comes with the first data  */
		assert_int_equal(gnutls_session_get_data2(e->client, &session), 0);
		ends_free(e);
		e = ends_new(c, NULL, versions[v], "b.example", NULL);
		assert_int_equal(gnutls_session_set_data(e->client, session.data,
			session.size), 0);
		gnutls_free(session.data);
		pump(e);
		assert_int_equal(e->server_result, MK_TLS_OK);
		assert_int_equal(e->client_result, 0);
		assert_int_equal(gnutls_session_is_resumed(e->client), 1);
		check_echo(e);
		assert_int_equal(mk_tls_binding(e->server, "tls-exporter", &b), 0);
		assert_string_equal(mk_tls_sni(e->server), "b.example");
		mk_buf_free(&b);
		ends_free(e);
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_garbage_fails_and_says_why(void **state)
{
	static const char *const garbage[] = {
		"GET / HTTP/1.1\r\n\r\n", "<?xml version='1.0'?><stream:stream>",
		"\x16\x03\x01\xff\xff",
	};
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });

	(void)state;
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
		struct ends *e = ends_new(c, NULL, NULL, NULL, NULL);

		mk_tls_feed(e->server, garbage[i], strlen(garbage[i]));
		assert_int_equal(mk_tls_handshake(e->server), MK_TLS_FAILED);
		assert_true(strlen(mk_tls_error(e->server)) > 0);
		ends_free(e);
	}
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_an_endless_hello_is_cut(void **state)
{
	/* A ClientHello that says it has 16 MB. */
	static char record[5 + 16384] = "\x16\x03\x01\x40\x00\x01\xff\xff\xff";
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = ends_new(c, NULL, NULL, NULL, NULL);
	enum mk_tls_result r = MK_TLS_WANT_READ;
	int n = 0;

	(void)state;
	for (; r == MK_TLS_WANT_READ && n < 100; n++) {
		mk_tls_feed(e->server, record, sizeof record);
		r = mk_tls_handshake(e->server);
		mk_tls_keep(e->server);
	}
	assert_int_equal(r, MK_TLS_FAILED);
	assert_true(n < 4);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_kept_bytes_wait(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL, NULL, "b.example", NULL);
	char text[64];
	size_t got;

	(void)state;
	assert_int_equal(gnutls_record_send(e->client, "one", 3), 3);
	assert_int_equal(gnutls_record_send(e->client, "two", 3), 3);
	assert_true(feed(e));
	assert_true(mk_tls_pending(e->server));
	assert_int_equal(mk_tls_read(e->server, text, 2, &got), MK_TLS_OK);
	assert_int_equal(got, 2);
	mk_tls_keep(e->server);
	memset(e->buf, 0xee, sizeof e->buf);
	assert_int_equal(mk_tls_read(e->server, text, 2, &got), MK_TLS_OK);
	assert_int_equal(got, 1);
	assert_int_equal(mk_tls_read(e->server, text, sizeof text, &got), MK_TLS_OK);
	assert_int_equal(got, 3);
	assert_memory_equal(text, "two", 3);
	assert_int_equal(mk_tls_read(e->server, text, sizeof text, &got), MK_TLS_WANT_READ);
	mk_tls_keep(e->server);
	assert_false(mk_tls_pending(e->server));
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_a_cut_off_write_is_finished(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL, NULL, "b.example", NULL);
	enum mk_tls_result r = MK_TLS_OK;
	size_t sent = 0, received = 0, put;
	char *block = mk_alloc(20000);
	char text[4096];
	int stalls = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		block[i] = (char)(i % 251);
	while (sent < 2000000) {
		char *p = block + sent % 251;

		r = mk_tls_write(e->server, p, 19000, &put);
		if (r == MK_TLS_OK) {
			assert_true(put <= 16384);
			sent += put;
			continue;
		}
		assert_int_equal(r, MK_TLS_WANT_WRITE);
		stalls++;
		for (int i = 0; i < 100; i++) {
			ssize_t n = gnutls_record_recv(e->client, text, sizeof text);
			if (n == GNUTLS_E_AGAIN)
				break;
			assert_true(n > 0);
			for (ssize_t k = 0; k < n; k++)
				assert_int_equal((unsigned char)text[k],
					(received + (size_t)k) % 251);
			received += (size_t)n;
		}
	}
	assert_true(stalls > 0);
	mk_free(block);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_bye_ends_the_client(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_config *c = config_of(s, (struct mk_tls_conf){ 0 });
	struct ends *e = connect_ends(c, NULL, NULL, "b.example", NULL);
	char text[64];
	size_t got;

	(void)state;
	mk_tls_describe(e->server, text, sizeof text);
	assert_non_null(strstr(text, "TLS1.3"));
	assert_int_equal(mk_tls_bye(e->server), MK_TLS_OK);
	assert_int_equal(gnutls_record_recv(e->client, text, sizeof text), 0);
	assert_int_equal(gnutls_bye(e->client, GNUTLS_SHUT_WR), 0);
	assert_int_equal(server_read(e, text, sizeof text, &got), MK_TLS_CLOSED);
	ends_free(e);
	mk_tls_config_free(&c);
	mk_tls_store_free(&s);
}

static void test_wrong_priorities_are_refused(void **state)
{
	struct mk_tls_store *s = usual_store();
	struct mk_tls_conf conf = { .priorities = "NORMAL:+NONSENSE" };
	struct mk_tls_config *c = NULL;

	(void)state;
	assert_int_equal(mk_tls_config_new(s, &conf, &c), -MK_EINVAL);
	assert_null(c);
	mk_tls_store_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate_follows_sni),
		cmocka_unit_test(test_handshake_survives_every_split),
		cmocka_unit_test(test_certificates_are_listed),
		cmocka_unit_test(test_bad_certificates_are_named),
		cmocka_unit_test(test_reload_changes_new_handshakes_only),
		cmocka_unit_test(test_one_file_may_serve_many_domains),
		cmocka_unit_test(test_expiry_is_announced),
		cmocka_unit_test(test_bindings_are_equal_at_both_ends),
		cmocka_unit_test(test_exporter_needs_extended_master_secret),
		cmocka_unit_test(test_old_versions_and_ciphers_are_refused),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_key_updates_are_limited),
		cmocka_unit_test(test_tickets_resume),
		cmocka_unit_test(test_garbage_fails_and_says_why),
		cmocka_unit_test(test_an_endless_hello_is_cut),
		cmocka_unit_test(test_kept_bytes_wait),
		cmocka_unit_test(test_a_cut_off_write_is_finished),
		cmocka_unit_test(test_bye_ends_the_client),
		cmocka_unit_test(test_wrong_priorities_are_refused),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
