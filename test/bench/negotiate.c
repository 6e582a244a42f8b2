/*
 * negotiate.c - from a stream header to a bound session, and what a session
 * answers by itself
 *
 * RFC 6120 in the order in which a client meets it: features, STARTTLS (5),
 * SASL (6), binding (7); then XEP-0198 and presence. Each step waits for the
 * server's answer as common clients do; nothing is pipelined. Loop's thread.
 */
#include "bench.h"

#include <gnutls/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SASL_NS "urn:ietf:params:xml:ns:xmpp-sasl"
#define SM_NS "urn:xmpp:sm:3"

static bool contains(const char *s, size_t len, const char *needle)
{
	return memmem(s, len, needle, strlen(needle)) != NULL;
}

static void say(struct bench *b, struct conn *c, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct bench *b, struct conn *c, const char *format, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(text))
		conn_put(b, c, text, (size_t)n);
}

/* The text between the start tag and the next '<'. */
static void content(const char *s, size_t len, const char **text, size_t *n)
{
	const char *gt = memchr(s, '>', len), *lt;

	*text = s + len;
	*n = 0;
	if (!gt || gt[-1] == '/')
		return;
	lt = memchr(gt, '<', (size_t)(s + len - gt));
	*text = gt + 1;
	*n = lt ? (size_t)(lt - gt - 1) : 0;
}

void conn_header(struct bench *b, struct conn *c)
{
	c->token = (struct token){ 0 };
	c->state = CONN_FEATURES;
	if (b->o.websocket) {
		ws_open(b, c);
		return;
	}
	say(b, c, "<?xml version='1.0'?><stream:stream to='%s' version='1.0' "
	    "xml:lang='en' xmlns='jabber:client' "
	    "xmlns:stream='http://etherx.jabber.org/streams'>", b->o.domain);
}

/* ---- SASL ---- */

static void auth_plain(struct bench *b, struct conn *c, const char *user,
                       const char *password)
{
	char raw[2 * NAME_MAX_BYTES + 2], text[4 * NAME_MAX_BYTES];
	size_t u = strlen(user), p = strlen(password);

	raw[0] = '\0';
	memcpy(raw + 1, user, u);
	raw[u + 1] = '\0';
	memcpy(raw + u + 2, password, p);
	base64_encode(raw, u + p + 2, text, sizeof(text));
	say(b, c, "<auth xmlns='" SASL_NS "' mechanism='PLAIN'>%s</auth>", text);
}

static void auth_scram(struct bench *b, struct conn *c, const char *user)
{
	uint8_t random[18];
	char nonce[32], first[SCRAM_TEXT_MAX], text[2 * SCRAM_TEXT_MAX];
	int n;

	gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof(random));
	base64_encode(random, sizeof(random), nonce, sizeof(nonce));
	c->scram = bench_zeroed(1, sizeof(*c->scram));
	n = scram_first(c->scram, b->hash, user, nonce, first, sizeof(first));
	if (n < 0 || base64_encode(first, (size_t)n, text, sizeof(text)) < 0) {
		conn_fail_text(b, c, BENCH_E_AUTH, "user name too long");
		return;
	}
	say(b, c, "<auth xmlns='" SASL_NS "' mechanism='%s'>%s</auth>", b->o.mech, text);
}

static void auth_start(struct bench *b, struct conn *c, const char *features, size_t len)
{
	char user[NAME_MAX_BYTES], password[NAME_MAX_BYTES], offer[32];

	snprintf(offer, sizeof(offer), ">%s<", b->o.mech);
	if (!contains(features, len, offer)) {
		conn_fail(b, c, BENCH_E_AUTH, features, len);
		return;
	}
	if (options_name(b->o.user_format, b->o.first_user + c->user, user,
	                 sizeof(user)) < 0 ||
	    options_name(b->o.password_format, b->o.first_user + c->user, password,
	                 sizeof(password)) < 0) {
		conn_fail_text(b, c, BENCH_E_AUTH, "name too long");
		return;
	}
	c->state = CONN_AUTH;
	if (b->is_scram)
		auth_scram(b, c, user);
	else
		auth_plain(b, c, user, password);
}

static void auth_challenge(struct bench *b, struct conn *c, const char *s, size_t len)
{
	char msg[2 * SCRAM_TEXT_MAX], reply[2 * SCRAM_TEXT_MAX], text[4 * SCRAM_TEXT_MAX];
	char password[NAME_MAX_BYTES];
	const char *body;
	size_t body_len;
	int n;

	content(s, len, &body, &body_len);
	n = base64_decode(body, body_len, msg, sizeof(msg));
	if (!c->scram || n <= 0)
		goto bad;
	/* some servers send their proof as a challenge of its own */
	if (n > 2 && msg[0] == 'v' && msg[1] == '=') {
		if (!scram_verify(c->scram, msg, (size_t)n))
			goto bad;
		conn_puts(b, c, "<response xmlns='" SASL_NS "'/>");
		return;
	}
	if (!b->keys[c->user])
		b->keys[c->user] = bench_zeroed(1, sizeof(*b->keys[0]));
	options_name(b->o.password_format, b->o.first_user + c->user, password,
	             sizeof(password));
	n = scram_final(c->scram, b->keys[c->user], password, msg, (size_t)n, reply,
	                sizeof(reply));
	if (n < 0 || base64_encode(reply, (size_t)n, text, sizeof(text)) < 0)
		goto bad;
	say(b, c, "<response xmlns='" SASL_NS "'>%s</response>", text);
	return;
bad:
	conn_fail(b, c, BENCH_E_AUTH, s, len);
}

static void auth_success(struct bench *b, struct conn *c, const char *s, size_t len)
{
	char msg[SCRAM_TEXT_MAX];
	const char *body;
	size_t body_len;
	int n;

	/* the proof stands here, unless it came as a challenge */
	if (c->scram && !c->scram->is_verified) {
		content(s, len, &body, &body_len);
		n = base64_decode(body, body_len, msg, sizeof(msg));
		if (n <= 0 || !scram_verify(c->scram, msg, (size_t)n)) {
			conn_fail(b, c, BENCH_E_AUTH, s, len);
			return;
		}
	}
	free(c->scram);
	c->scram = NULL;
	c->is_authenticated = true;
	conn_header(b, c);
}

/* ---- binding and after ---- */

static void session_ready(struct bench *b, struct conn *c)
{
	c->state = CONN_READY;
	c->deadline = 0;
	b->n_login--;
	b->n_live++;
	b->n_logins++;
	hist_add(&b->login_ns, b->now - c->started);
	if (b->o.presence) {
		conn_puts(b, c, "<presence/>");
		c->sm_out += c->is_sm;
	}
	b->mode->ready(b, c);
}

static void bound(struct bench *b, struct conn *c, const char *s, size_t len)
{
	const char *from, *to;
	struct token_attr type;

	if (!token_is(s, len, "iq") || !token_attr_find(s, len, "type", &type))
		return;
	from = memmem(s, len, "<jid>", 5);
	to = from ? memmem(from, (size_t)(s + len - from), "</jid>", 6) : NULL;
	if (type.value_len != 6 || memcmp(type.value, "result", 6) != 0 || !to) {
		conn_fail(b, c, BENCH_E_BIND, s, len);
		return;
	}
	from += 5;
	c->jid = bench_grow(NULL, (size_t)(to - from) + 1);
	memcpy(c->jid, from, (size_t)(to - from));
	c->jid[to - from] = '\0';
	if (!b->o.sm) {
		session_ready(b, c);
		return;
	}
	c->state = CONN_SM;
	conn_puts(b, c, b->o.sm_resume ? "<enable xmlns='" SM_NS "' resume='true'/>"
	                               : "<enable xmlns='" SM_NS "'/>");
}

static void features(struct bench *b, struct conn *c, const char *s, size_t len)
{
	if (!token_is(s, len, "stream:features") && !token_is(s, len, "features"))
		return;
	if (b->o.starttls && !c->is_secure) {
		if (!contains(s, len, "urn:ietf:params:xml:ns:xmpp-tls")) {
			conn_fail(b, c, BENCH_E_TLS, s, len);
			return;
		}
		c->state = CONN_PROCEED;
		conn_puts(b, c, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
		return;
	}
	if (!c->is_authenticated) {
		auth_start(b, c, s, len);
		return;
	}
	if (!contains(s, len, "urn:ietf:params:xml:ns:xmpp-bind")) {
		conn_fail(b, c, BENCH_E_BIND, s, len);
		return;
	}
	c->state = CONN_BIND;
	if (b->o.resource)
		say(b, c, "<iq type='set' id='bind'><bind "
		    "xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource>"
		    "</bind></iq>", b->o.resource);
	else
		conn_puts(b, c, "<iq type='set' id='bind'><bind "
		          "xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
}

/* ---- a session that is ready ---- */

static void answer_ping(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct token_attr type, id, from = { .quote = 0 };

	if (!contains(s, len, "urn:xmpp:ping") || !token_attr_find(s, len, "type", &type) ||
	    type.value_len != 3 || memcmp(type.value, "get", 3) != 0 ||
	    !token_attr_find(s, len, "id", &id))
		return;
	say(b, c, "<iq type='result' id=%c%.*s%c", id.quote, (int)id.value_len, id.value,
	    id.quote);
	if (token_attr_find(s, len, "from", &from))
		say(b, c, " to=%c%.*s%c", from.quote, (int)from.value_len, from.value,
		    from.quote);
	conn_puts(b, c, "/>");
	c->sm_out += c->is_sm;
}

static void acked(struct bench *b, struct conn *c, const char *s, size_t len)
{
	struct token_attr h;
	uint32_t n;

	if (!token_attr_find(s, len, "h", &h))
		return;
	n = (uint32_t)strtoul(h.value, NULL, 10);
	/* modulo 2^32 (XEP-0198 4): more than was sent is a server's fault */
	if (c->sm_out - n > c->sm_out - c->sm_acked) {
		bench_error(b, BENCH_E_SM, c, s, len);
		return;
	}
	c->sm_acked = n;
}

static void ready_element(struct bench *b, struct conn *c, const char *s, size_t len)
{
	switch (s[1]) {
	case 'm':
	case 'p':
		c->sm_in++;
		b->mode->stanza(b, c, s, len);
		return;
	case 'i':
		c->sm_in++;
		answer_ping(b, c, s, len);
		b->mode->stanza(b, c, s, len);
		return;
	case 'r':
		if (c->is_sm && token_is(s, len, "r"))
			say(b, c, "<a xmlns='" SM_NS "' h='%u'/>", c->sm_in);
		return;
	case 'a':
		if (c->is_sm && token_is(s, len, "a"))
			acked(b, c, s, len);
		return;
	}
}

void negotiate_element(struct bench *b, struct conn *c, enum token_kind kind,
                       const char *s, size_t len)
{
	if (kind == TOKEN_OPEN)
		return;
	if (kind == TOKEN_CLOSE) {
		if (c->state == CONN_CLOSING)
			conn_drop(b, c, false);
		else
			conn_fail(b, c, BENCH_E_CLOSED, s, len);
		return;
	}
	if (c->state == CONN_READY && s[1] != 's') {
		ready_element(b, c, s, len);
		return;
	}
	if (c->state == CONN_CLOSING)
		return;
	if (token_is(s, len, "stream:error")) {
		conn_fail(b, c, BENCH_E_STREAM, s, len);
		return;
	}
	switch ((enum conn_state)c->state) {
	case CONN_FEATURES:
		features(b, c, s, len);
		return;
	case CONN_PROCEED:
		if (token_is(s, len, "proceed"))
			conn_start_tls(b, c);
		else
			conn_fail(b, c, BENCH_E_TLS, s, len);
		return;
	case CONN_AUTH:
		if (token_is(s, len, "success"))
			auth_success(b, c, s, len);
		else if (token_is(s, len, "challenge"))
			auth_challenge(b, c, s, len);
		else
			conn_fail(b, c, BENCH_E_AUTH, s, len);
		return;
	case CONN_BIND:
		bound(b, c, s, len);
		return;
	case CONN_SM:
		if (token_is(s, len, "enabled")) {
			c->is_sm = true;
			session_ready(b, c);
		} else if (token_is(s, len, "failed")) {
			conn_fail(b, c, BENCH_E_SM, s, len);
		}
		return;
	default:
		return;
	}
}
