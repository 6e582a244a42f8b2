/*
 * websocket/websocket.c - XMPP over WebSocket (RFC 6455, RFC 7395)
 *
 * A route of the http plugin: the handshake, then the connection is ours and
 * carries a stream. Frames are read by wslay. A connection is its worker's and
 * moves with its stream, so all that is its own is in struct ws. A wslay context
 * has 4 KB: only a connection in the middle of a frame has one, the rest share a
 * few per worker.
 */
#include <meerkat/auth.h>
#include <meerkat/plugin.h>
#include <meerkat/svc/http.h>
#include <meerkat/transport.h>
#include <strings.h>
#include <sys/types.h>
#include <wslay/wslay.h>

#define FRAGMENTS_MAX 64               /* of a message (S-11)               */
#define READERS_KEPT 8

enum close_code { NORMAL = 1000, PROTOCOL = 1002, NOT_TEXT = 1003, NO_CODE = 1005,
	NOT_UTF8 = 1007, POLICY = 1008, TOO_BIG = 1009 };
enum metric { M_OPEN, M_ACCEPTED, M_REFUSED };

struct settings {
	const char *path, *see_other_uri;
	struct mk_conf_list origins;
	int64_t ping;
};

/* Bytes for a wslay context. */
struct reader {
	wslay_frame_context_ptr frames;
	const char *p;                 /* what it may read                      */
	size_t n;
	struct reader *next;           /* in the worker's pool                  */
};
struct pool { struct reader *free; unsigned n; };
static uint32_t pool_slot;

struct bytes { char *p; size_t n, cap; };
struct ws {
	struct mk_link *link;
	struct mk_inst *inst;
	struct mk_stream *stream;
	struct reader *reader;         /* NULL between frames                   */
	uint64_t fed, framed;          /* bytes: to the reader, and of them those
	                                * of frames that are complete           */
	uint64_t got;                  /* of the payload of the frame under way */
	struct bytes raw;              /* came in while the stream takes nothing */
	struct bytes message;          /* so far                                */
	struct bytes control;          /* payload of a control frame, so far    */
	uint16_t fragments;            /* of the message                        */
	uint16_t code;                 /* to close with                         */
	bool in_message, in_frame, reading, over;
};

/* ---- memory ---------------------------------------------------------------------------- */

/* What it held may be a password. */
static void wipe(struct bytes *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	mk_free(b->p);
	*b = (struct bytes){ NULL, 0, 0 };
}

static void keep(struct bytes *b, const void *p, size_t n)
{
	if (b->cap - b->n < n) {
		struct bytes more = { NULL, b->n, b->cap * 2 > b->n + n ? b->cap * 2 : b->n + n };
		more.p = mk_alloc(more.cap);
		if (b->n > 0)
			memcpy(more.p, b->p, b->n);
		wipe(b);
		*b = more;
	}
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static ssize_t feed(uint8_t *buf, size_t len, int flags, void *user_data)
{
	struct reader *r = user_data;
	size_t n = len < r->n ? len : r->n;

	(void)flags;
	if (n == 0)
		return -1;             /* for now                               */
	memcpy(buf, r->p, n);
	r->p += n;
	r->n -= n;
	return (ssize_t)n;
}

static void reader_free(struct reader *r)
{
	wslay_frame_context_free(r->frames);
	mk_free(r);
}

static struct reader *reader_get(void)
{
	static const struct wslay_frame_callbacks callbacks = { .recv_callback = feed };
	struct pool *pool = mk_worker_slot(pool_slot);
	struct reader *r = pool->free;

	if (r != NULL) {
		pool->free = r->next;
		pool->n--;
		return r;
	}
	r = mk_alloc(sizeof *r);
	if (wslay_frame_context_init(&r->frames, &callbacks, r) != 0) {
		mk_free(r);
		return NULL;
	}
	return r;
}

/* Only one that stands between frames. */
static void reader_give_back(struct reader *r)
{
	struct pool *pool = mk_worker_slot(pool_slot);

	if (pool->n == READERS_KEPT) {
		reader_free(r);
		return;
	}
	r->next = pool->free;
	pool->free = r;
	pool->n++;
}

static void pool_fini(void *data)
{
	struct pool *pool = data;

	while (pool->free != NULL) {
		struct reader *r = pool->free;
		pool->free = r->next;
		reader_free(r);
	}
}

static void ws_free(struct ws *ws)
{
	mk_metric_add(ws->inst, M_OPEN, -1);
	if (ws->reader != NULL)
		reader_free(ws->reader);
	wipe(&ws->raw);
	wipe(&ws->message);
	wipe(&ws->control);
	mk_free(ws);
}

/* ---- frames out ------------------------------------------------------------------------------ */

static void put(struct mk_link *l, unsigned opcode, const void *p, size_t n)
{
	unsigned char head[10] = { (unsigned char)(0x80 | opcode) };
	size_t head_n = 2;

	if (n < 126) {
		head[1] = (unsigned char)n;
	} else if (n < 65536) {
		head[1] = 126;
		head[2] = (unsigned char)(n >> 8);
		head[3] = (unsigned char)n;
		head_n = 4;
	} else {
		head[1] = 127;
		for (unsigned i = 0; i < 8; i++)
			head[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
		head_n = 10;
	}
	mk_link_send(l, head, head_n);
	if (n > 0)
		mk_link_send(l, p, n);
}

static void put_close(struct mk_link *l, unsigned code)
{
	unsigned char payload[2] = { (unsigned char)(code >> 8), (unsigned char)code };

	put(l, WSLAY_CONNECTION_CLOSE, payload, code == NO_CODE ? 0 : 2);
}

/* ---- the stream's side -------------------------------------------------------------------------- */

static void read_frames(struct ws *ws, const char *p, size_t n);

static void framing_write(struct mk_link *l, const char *xml, size_t n)
{
	put(l, WSLAY_TEXT_FRAME, xml, n);
}

static void framing_ping(struct mk_link *l)
{
	put(l, WSLAY_PING, NULL, 0);
}

static void framing_resume(struct mk_link *l)
{
	struct ws *ws = mk_link_data(l);
	struct bytes raw = ws->raw;

	if (ws->reading)
		return;                /* its loop goes on                      */
	ws->raw = (struct bytes){ NULL, 0, 0 };
	read_frames(ws, raw.p, raw.n);
	wipe(&raw);
}

static void framing_end(struct mk_link *l, bool lost)
{
	struct ws *ws = mk_link_data(l);

	if (!lost)
		put_close(l, ws->code);
	ws->over = true;
	if (!ws->reading)
		ws_free(ws);
}

static const struct mk_framing framing = {
	.size = sizeof framing, .write = framing_write, .ping = framing_ping,
	.resume = framing_resume, .end = framing_end
};

/* ---- frames in --------------------------------------------------------------------------------- */

/* The connection is failed (RFC 6455 7.1.7). */
static void fail(struct ws *ws, enum close_code code)
{
	ws->code = (uint16_t)code;
	mk_metric_add(ws->inst, M_REFUSED, 1);
	if (code == TOO_BIG)
		mk_stream_fail(ws->stream, "policy-violation", "the element exceeds a limit");
	else
		mk_stream_lost(ws->stream);
}

static bool is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static void on_close(struct ws *ws)
{
	const unsigned char *p = (const unsigned char *)ws->control.p;
	size_t n = ws->control.n;
	unsigned code = n >= 2 ? (unsigned)p[0] << 8 | p[1] : NO_CODE;

	if (n == 1 || (n >= 2 && !is_close_code(code))) {
		fail(ws, PROTOCOL);
	} else if (n > 2 && !mk_utf8_valid(ws->control.p + 2, n - 2)) {
		fail(ws, NOT_UTF8);
	} else {
		/* Without <close/>: the stream is closed by that (RFC 7395 3.6). */
		ws->code = (uint16_t)code;
		mk_stream_lost(ws->stream);
	}
}

static void on_control(struct ws *ws, unsigned opcode)
{
	if (opcode == WSLAY_CONNECTION_CLOSE)
		on_close(ws);
	else if (opcode == WSLAY_PING)
		put(ws->link, WSLAY_PONG, ws->control.p, ws->control.n);
	wipe(&ws->control);
}

static void on_message(struct ws *ws, const char *p, size_t n)
{
	if (!mk_utf8_valid(p, n))
		fail(ws, NOT_UTF8);
	else
		mk_stream_message(ws->stream, p, n);
}

/* Whether a frame may be so (RFC 6455 5.2, 5.4, 5.5); wslay has looked at lengths. */
static bool begins_well(struct ws *ws, const struct wslay_frame_iocb *f)
{
	if (!f->mask || f->rsv != 0) {
		fail(ws, PROTOCOL);
	} else if (wslay_is_ctrl_frame(f->opcode)) {
		if (f->opcode <= WSLAY_PONG)
			return true;
		fail(ws, PROTOCOL);
	} else if (f->opcode == WSLAY_BINARY_FRAME) {
		fail(ws, NOT_TEXT);
	} else if (f->opcode > WSLAY_BINARY_FRAME ||
	           (f->opcode == WSLAY_CONTINUATION_FRAME) != ws->in_message) {
		fail(ws, PROTOCOL);
	} else if (++ws->fragments > FRAGMENTS_MAX) {
		fail(ws, POLICY);
	} else {
		size_t max = mk_stream_message_max(ws->stream);
		if (ws->message.n <= max && f->payload_length <= max - ws->message.n)
			return true;
		fail(ws, TOO_BIG);
	}
	return false;
}

static size_t head_length(uint64_t payload)
{
	return 2 + 4 + (payload < 126 ? 0 : payload < 65536 ? 2 : 8);
}

static void on_part(struct ws *ws, const struct wslay_frame_iocb *f)
{
	bool whole, done;

	if (!ws->in_frame && !begins_well(ws, f))
		return;
	whole = !ws->in_frame && f->data_length == f->payload_length;
	ws->in_frame = true;
	ws->got += f->data_length;
	done = ws->got == f->payload_length;
	if (wslay_is_ctrl_frame(f->opcode))
		keep(&ws->control, f->data, f->data_length);
	else if (!whole || !f->fin || ws->in_message)
		keep(&ws->message, f->data, f->data_length);
	if (!done)
		return;
	ws->in_frame = false;
	ws->got = 0;
	ws->framed += head_length(f->payload_length) + f->payload_length;
	if (wslay_is_ctrl_frame(f->opcode)) {
		on_control(ws, f->opcode);
	} else if (!f->fin) {
		ws->in_message = true;
	} else {
		struct bytes message = ws->message;
		bool in_one = message.p == NULL && !ws->in_message;
		ws->message = (struct bytes){ NULL, 0, 0 };
		ws->in_message = false;
		ws->fragments = 0;
		if (in_one)
			on_message(ws, (const char *)f->data, f->data_length);
		else
			on_message(ws, message.p != NULL ? message.p : "", message.n);
		wipe(&message);
	}
}

static void read_frames(struct ws *ws, const char *p, size_t n)
{
	struct reader *r = ws->reader;

	if (r == NULL) {
		if (n == 0)
			return;
		r = ws->reader = reader_get();
		if (r == NULL) {
			mk_stream_fail(ws->stream, "resource-constraint", NULL);
			return;
		}
		ws->fed = ws->framed = 0;
	}
	r->p = p;
	r->n = n;
	ws->reading = true;
	while (!ws->over && mk_stream_takes(ws->stream)) {
		struct wslay_frame_iocb f;
		size_t before = r->n;
		ssize_t got = wslay_frame_recv(r->frames, &f);
		ws->fed += before - r->n;
		if (got == WSLAY_ERR_WANT_READ)
			break;
		if (got < 0) {
			fail(ws, PROTOCOL);
			break;
		}
		on_part(ws, &f);
		if (f.data_length > 0)
			explicit_bzero((void *)f.data, f.data_length);
	}
	ws->reading = false;
	if (ws->over) {
		ws_free(ws);
		return;
	}
	/* The stream takes no more for now. */
	if (r->n > 0)
		keep(&ws->raw, r->p, r->n);
	r->p = NULL;
	r->n = 0;
	if (!ws->in_frame && ws->fed == ws->framed) {
		ws->reader = NULL;
		reader_give_back(r);
	}
}

static void on_data(struct mk_link *l, const char *p, size_t n)
{
	struct ws *ws = mk_link_data(l);

	if (ws->raw.n > 0 || !mk_stream_takes(ws->stream))
		keep(&ws->raw, p, n);
	else
		read_frames(ws, p, n);
}

/* The link is told so only before it carries a stream: never. */
static void on_closed(struct mk_link *l, enum mk_link_end why)
{
	(void)why;
	ws_free(mk_link_data(l));
}

static const struct mk_link_ops link_ops = {
	.size = sizeof link_ops, .data = on_data, .closed = on_closed
};

/* ---- the handshake (RFC 6455 4.2) -------------------------------------------------------------- */

static bool list_has(const char *list, const char *token)
{
	size_t n = strlen(token);

	for (const char *at = list; at != NULL; at = strchr(at, ',')) {
		size_t len;
		at += *at == ',';
		at += strspn(at, " \t");
		len = strcspn(at, ", \t");
		if (len == n && strncasecmp(at, token, n) == 0)
			return true;
	}
	return false;
}

static bool origin_is_allowed(const struct settings *s, const char *origin)
{
	if (s->origins.n == 0 || origin == NULL)
		return true;           /* what is no browser sends none          */
	for (uint32_t i = 0; i < s->origins.n; i++)
		if (strcmp(s->origins.v[i], "*") == 0 || strcasecmp(s->origins.v[i], origin) == 0)
			return true;
	return false;
}

static void accept_key(const char *key, char out[32])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[24 + sizeof guid];
	unsigned char digest[64];

	memcpy(text, key, 24);
	memcpy(text + 24, guid, sizeof guid);
	mk_hash_digest(MK_SHA1, text, 24 + sizeof guid - 1, digest);
	mk_base64_encode(out, digest, 20);
}

static bool key_is_valid(const char *key)
{
	unsigned char nonce[24];

	return key != NULL && strlen(key) == 24 &&
	       mk_base64_decode(nonce, key, 24) == 16;
}

static void refuse(const struct mk_http *h, struct mk_http_req *r, int status, const char *why)
{
	h->status(r, status);
	h->set(r, "Content-Type", "text/plain; charset=utf-8");
	h->write(r, mk_strz(why));
	h->answer(r);
}

static void on_request(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	const struct settings *s = mk_inst_conf(i);
	const char *upgrade = h->header(r, "Upgrade"), *connection = h->header(r, "Connection");
	const char *version = h->header(r, "Sec-WebSocket-Version");
	const char *key = h->header(r, "Sec-WebSocket-Key");
	char accept[32];

	if (upgrade == NULL || connection == NULL || !list_has(upgrade, "websocket") ||
	    !list_has(connection, "upgrade")) {
		h->set(r, "Upgrade", "websocket");
		h->set(r, "Connection", "Upgrade");
		refuse(h, r, 426, "This is for XMPP over WebSocket (RFC 7395).\n");
		return;
	}
	if (version == NULL || strcmp(version, "13") != 0) {
		h->set(r, "Sec-WebSocket-Version", "13");
		refuse(h, r, version == NULL ? 400 : 426, "Sec-WebSocket-Version must be 13.\n");
		return;
	}
	if (!key_is_valid(key) || h->header_count(r, "Sec-WebSocket-Key") != 1) {
		refuse(h, r, 400, "Sec-WebSocket-Key is not 16 bytes in base64.\n");
		return;
	}
	if (!list_has(h->header(r, "Sec-WebSocket-Protocol"), "xmpp")) {
		refuse(h, r, 400, "Sec-WebSocket-Protocol does not offer xmpp.\n");
		return;
	}
	if (!origin_is_allowed(s, h->header(r, "Origin"))) {
		refuse(h, r, 403, "This origin may not connect.\n");
		return;
	}
	accept_key(key, accept);
	h->set(r, "Sec-WebSocket-Accept", accept);
	h->set(r, "Sec-WebSocket-Protocol", "xmpp");

	struct mk_str rest;
	struct mk_framing_conf conf = { .size = sizeof conf, .keepalive_ms = s->ping,
		.see_other_uri = s->see_other_uri };
	struct ws *ws = mk_alloc(sizeof *ws);
	ws->link = h->upgrade(r, "websocket", &rest);
	ws->inst = i;
	ws->code = NORMAL;
	mk_metric_add(i, M_OPEN, 1);
	mk_metric_add(i, M_ACCEPTED, 1);
	mk_link_give(ws->link, i, &link_ops, ws);
	ws->stream = mk_stream_over(ws->link, &framing, &conf);
	if (rest.n > 0)
		read_frames(ws, rest.p, rest.n);
}

/* ---- the plugin -------------------------------------------------------------------------------- */

static const struct mk_conf_item items[] = {
	MK_CONF_FIELD(struct settings, path, const char *, MK_CONF_STRING, 0, "/xmpp-websocket", NULL,
		"Where it is, on each http listener whose routes name it (or are all)."),
	MK_CONF_LST(struct settings, origins, "", NULL,
		"Sites whose scripts may connect (https://web.example.org); empty is any."),
	MK_CONF_MS(struct settings, ping, "60s", "0|1s..1d",
		"A ping is sent to a bound client after this time; 0 is never."),
	MK_CONF_STR(struct settings, see_other_uri, NULL,
		"Clients are sent there instead (RFC 7395 3.6.1)."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct settings, items);

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct settings *s = mk_conf_view_values(v);

	if (s->path[0] == '/' && s->path[1] != '\0' && s->path[strlen(s->path) - 1] != '/' &&
	    s->path[strcspn(s->path, "%?# \"<>\\")] == '\0')
		return 0;
	mk_conf_refuse(v, d, "path", "expected /WORD, without a slash at its end and without any of "
		"%%?#\"<>\\ or a space");
	return -MK_EINVAL;
}

struct own { struct mk_http_route route; struct mk_http_routes routes; char *path; };

static int start(struct mk_inst *i)
{
	const struct settings *s = mk_inst_conf(i);
	struct own *o = mk_alloc(sizeof *o);
	int r;

	o->path = mk_strdup(s->path);
	o->route = (struct mk_http_route){ .methods = MK_HTTP_GET, .name = "websocket",
		.path = o->path, .fn = on_request, .rel = "urn:xmpp:alt-connections:websocket",
		.scheme = "wss" };
	o->routes = (struct mk_http_routes){ sizeof o->routes, 1, sizeof o->route, &o->route };
	mk_inst_set_data(i, o);
	r = mk_service_offer(i, "http-routes", 1, &o->routes);
	if (r < 0) {
		mk_free(o->path);
		mk_free(o);
	}
	return r;
}

static void stop(struct mk_inst *i)
{
	struct own *o = mk_inst_data(i);

	mk_free(o->path);
	mk_free(o);
}

static int load(struct mk_module *m)
{
	static const struct mk_slot slot = { sizeof slot, MK_SLOT_WORKER, sizeof(struct pool),
		pool_fini };

	return mk_slot_register(m, &slot, &pool_slot);
}

static const struct mk_metric open_now = { sizeof open_now, MK_GAUGE, "connections",
	"WebSocket connections." };
static const struct mk_metric accepted = { sizeof accepted, MK_COUNTER, "accepted_total",
	"Handshakes that succeeded." };
static const struct mk_metric refused = { sizeof refused, MK_COUNTER, "failed_total",
	"Connections closed because of what they sent (RFC 6455 7.1.7)." };
static const struct mk_metric *const metrics[] = { [M_OPEN] = &open_now,
	[M_ACCEPTED] = &accepted, [M_REFUSED] = &refused, NULL };
static const char *const needs[] = { "http", NULL };

MK_PLUGIN(websocket, "websocket", .flags = MK_PLUGIN_GLOBAL, .version = "1.0",
	.summary = "XMPP over WebSocket (RFC 7395)", .license = "BSD-2-Clause", .needs = needs,
	.conf = &schema, .metrics = metrics, .check = check, .load = load, .start = start,
	.stop = stop)
