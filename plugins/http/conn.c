/*
 * http/conn.c - a connection: requests one after another
 *
 * One request at a time: while it is worked on, nothing is read, and what has
 * come in behind it waits in memory, 64 KB at most. What came in is wiped, as it may
 * hold a password. Three clocks: for a head, for a body, between requests. A
 * connection is its worker's.
 */
#include "http.h"

enum state { HEAD, BODY, BUSY };
struct conn {
	struct mk_link *link;
	struct mk_inst *inst;
	const struct settings *conf;   /* of the link's listener                */
	struct mk_timer *timer;
	struct mk_http_req *req;       /* BODY, BUSY                            */
	enum state state;
	bool running;                  /* run() is on the stack                 */
	bool over;                     /* to be freed when it isn't             */
	bool paused;
	struct http_chunks chunks;
	char *in;                      /* not used yet                          */
	size_t in_n, in_cap;
	char *body;
	size_t body_n, body_cap, body_max;
};

static void run(struct conn *c);

struct mk_link *http_conn_link(const struct conn *c) { return c->link; }
struct mk_inst *http_conn_inst(const struct conn *c) { return c->inst; }

/* ---- memory -------------------------------------------------------------------------- */

static void wipe(char **p, size_t *n, size_t *cap)
{
	if (*p != NULL)
		explicit_bzero(*p, *cap);
	mk_free(*p);
	*p = NULL;
	*n = *cap = 0;
}

/* Adds; what grows leaves no copy behind. */
static void keep(char **p, size_t *n, size_t *cap, const char *data, size_t data_n)
{
	if (*cap - *n < data_n) {
		size_t want = *cap * 2 > *n + data_n ? *cap * 2 : *n + data_n, had = *n;
		char *more = mk_alloc(want);
		if (had > 0)
			memcpy(more, *p, had);
		wipe(p, n, cap);
		*p = more;
		*n = had;
		*cap = want;
	}
	memcpy(*p + *n, data, data_n);
	*n += data_n;
}

static void used(struct conn *c, size_t n)
{
	if (n == 0)
		return;
	memmove(c->in, c->in + n, c->in_n - n);
	explicit_bzero(c->in + c->in_n - n, n);
	c->in_n -= n;
	if (c->in_n == 0)
		wipe(&c->in, &c->in_n, &c->in_cap);
}

static void conn_free(struct conn *c)
{
	mk_timer_stop(&c->timer);
	wipe(&c->in, &c->in_n, &c->in_cap);
	wipe(&c->body, &c->body_n, &c->body_cap);
	/* One that is being worked on is freed when it is answered. */
	if (c->req != NULL && c->state == BUSY)
		c->req->conn = NULL;
	else
		http_req_free(&c->req);
	mk_free(c);
}

/* The link is not ours any more. */
static void end(struct conn *c)
{
	mk_timer_stop(&c->timer);
	c->over = true;
	if (!c->running)
		conn_free(c);
}

static void close_now(struct conn *c)
{
	mk_link_close(c->link);
	end(c);
}

/* ---- answers ---------------------------------------------------------------------------- */

/* Refused before there is a request: nothing more is read. */
static void refuse(struct conn *c, int status)
{
	const char *text = mk_arena_printf(mk_turn_arena(), "HTTP/1.1 %d %s\r\n"
		"Connection: close\r\nContent-Length: 0\r\n\r\n", status, http_reason(status));

	mk_metric_add(c->inst, M_BAD, 1);
	mk_log(c->inst, MK_DEBUG, "request refused", "status=%d remote=%s", status,
		mk_link_remote(c->link));
	mk_link_send(c->link, text, strlen(text));
	close_now(c);
}

static void too_slow(struct mk_inst *i, void *data)
{
	struct conn *c = data;

	(void)i;
	c->timer = NULL;
	/* Between requests there is nobody to tell (RFC 9110 15.5.9). */
	if (c->state == HEAD && c->in_n == 0)
		close_now(c);
	else
		refuse(c, 408);
}

static void clock_for(struct conn *c, int64_t ms)
{
	mk_timer_stop(&c->timer);
	if (ms > 0)
		c->timer = mk_timer_start(c->inst, ms, too_slow, c);
}

static void log_request(const struct conn *c, const struct mk_http_req *r)
{
	mk_metric_add(c->inst, M_REQUESTS, 1);
	if (mk_log_enabled(MK_DEBUG))
		mk_log(c->inst, MK_DEBUG, "request", "method=%.20s path=%s status=%d bytes=%zu remote=%s",
			mk_arena_strndup(r->arena, r->head.method.p, r->head.method.n), r->path,
			r->status, r->content_n, mk_link_remote(c->link));
}

void http_answer(struct mk_http_req *r)
{
	struct conn *c = r->conn;
	struct mk_str bytes;

	if (c == NULL) {
		http_req_free(&r);
		return;
	}
	http_cors(r, c->conf);
	bytes = http_req_render(r);
	log_request(c, r);
	mk_link_send(c->link, bytes.p, bytes.n);
	c->req = NULL;
	c->state = HEAD;
	bool closes = r->closes;
	http_req_free(&r);
	if (closes) {
		close_now(c);
		return;
	}
	clock_for(c, c->in_n > 0 ? c->conf->header_timeout : c->conf->idle_timeout);
	run(c);
}

struct mk_link *http_upgrade(struct mk_http_req *r, const char *protocol, struct mk_str *rest_out)
{
	struct conn *c = r->conn;
	struct mk_link *l = c->link;
	struct mk_str bytes;

	r->status = 101;
	http_functions.set(r, "Upgrade", protocol);
	http_functions.set(r, "Connection", "Upgrade");
	bytes = http_req_render(r);
	log_request(c, r);
	mk_link_send(l, bytes.p, bytes.n);
	if (c->paused)
		mk_link_resume(l);
	rest_out->p = c->in_n > 0 ? mk_arena_strndup(mk_turn_arena(), c->in, c->in_n) : "";
	rest_out->n = c->in_n;
	c->req = NULL;
	c->state = HEAD;
	http_req_free(&r);
	end(c);
	return l;
}

/* ---- a request ------------------------------------------------------------------------------ */

static void job_run(struct mk_inst *i, struct mk_store *st, void *data)
{
	struct mk_http_req *r = data;

	/* Its own answer, if its plugin stops before it begins, is done()'s. */
	r->status = 200;
	r->route->stored_fn(i, &http_functions, r, st);
}

static void job_done(struct mk_inst *i, void *data)
{
	struct mk_http_req *r = data;

	(void)i;
	r->in_job = false;
	if (r->status == 0)
		http_req_plain(r, 503);
	http_answer(r);
}

/* It is complete. */
static void serve(struct conn *c)
{
	struct mk_http_req *r = c->req;
	int status;

	mk_timer_stop(&c->timer);
	c->state = BUSY;
	if (c->body_n > 0) {
		r->body = (struct mk_str){ mk_arena_strndup(r->arena, c->body, c->body_n), c->body_n };
		wipe(&c->body, &c->body_n, &c->body_cap);
	}
	status = http_route(c->inst, c->conf, r);
	if (status != 0) {
		if (r->content_n == 0 && status != 204)
			http_req_plain(r, status);
		r->status = status;
		http_answer(r);
	} else if (r->route->fn != NULL) {
		r->route->fn(r->giver, &http_functions, r);
	} else {
		r->status = 0;
		r->in_job = true;
		mk_job(r->giver, job_run, job_done, r);
	}
}

/* false: there is nothing more to do for now. */
static bool read_head(struct conn *c)
{
	struct http_head h;
	int n, status = 400;

	if (c->in_n == 0)
		return false;
	n = http_head_parse(c->in, c->in_n, &h);
	if (n < 0) {
		refuse(c, -n);
		return false;
	}
	if (n == 0)
		return false;
	c->req = http_req_new(c, c->in, (size_t)n, &status);
	used(c, (size_t)n);
	if (c->req == NULL) {
		refuse(c, status);
		return false;
	}
	c->req->closes |= h.form == HTTP_AUTHORITY;
	if (c->req->head.length > 0 || c->req->head.chunked) {
		/* What nobody wants isn't read: refused now, and not in step any more. */
		status = http_route(c->inst, c->conf, c->req);
		c->body_max = status == 0 ? c->req->route->body_max : 0;
		if (status == 0 && c->req->head.length > (int64_t)c->body_max)
			status = 413;
		if (status != 0) {
			c->req->closes = true;
			if (c->req->content_n == 0)
				http_req_plain(c->req, status);
			c->req->status = status;
			c->state = BUSY;
			http_answer(c->req);
			return false;
		}
		if (c->req->head.wants_continue && c->in_n == 0)
			mk_link_send(c->link, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		memset(&c->chunks, 0, sizeof c->chunks);
		c->state = BODY;
		clock_for(c, c->conf->body_timeout);
		return true;
	}
	serve(c);
	return true;
}

/* Likewise. */
static bool read_body(struct conn *c)
{
	size_t at = 0;

	if (!c->req->head.chunked) {
		size_t want = (size_t)c->req->head.length - c->body_n;
		size_t take = c->in_n < want ? c->in_n : want;
		if (take > 0) {
			keep(&c->body, &c->body_n, &c->body_cap, c->in, take);
			used(c, take);
		}
		if (take < want)
			return false;
		serve(c);
		return true;
	}
	while (at < c->in_n) {
		struct mk_str data;
		size_t n = 0;
		int r = http_chunks_feed(&c->chunks, c->in + at, c->in_n - at, &n, &data);
		at += n;
		if (r == HTTP_CHUNKS_BAD) {
			refuse(c, 400);
			return false;
		}
		if (r == HTTP_CHUNKS_DATA) {
			if (data.n > c->body_max - c->body_n) {
				refuse(c, 413);
				return false;
			}
			keep(&c->body, &c->body_n, &c->body_cap, data.p, data.n);
		} else if (r == HTTP_CHUNKS_END) {
			used(c, at);
			serve(c);
			return true;
		}
	}
	used(c, at);
	return false;
}

static void run(struct conn *c)
{
	bool more = true;

	/* From an answer within its handler: the loop below goes on. */
	if (c->running)
		return;
	c->running = true;
	while (more && !c->over && c->state != BUSY)
		more = c->state == HEAD ? read_head(c) : read_body(c);
	c->running = false;
	if (c->over) {
		conn_free(c);
		return;
	}
	if ((c->state == BUSY) != c->paused) {
		c->paused = c->state == BUSY;
		if (c->paused)
			mk_link_pause(c->link);
		else
			mk_link_resume(c->link);
	}
}

/* ---- the link ----------------------------------------------------------------------------------- */

static void on_data(struct mk_link *l, const char *p, size_t n)
{
	struct conn *c = mk_link_data(l);

	/* The time for a head begins with its first byte, and nothing renews it. */
	if (c->state == HEAD && c->in_n == 0)
		clock_for(c, c->conf->header_timeout);
	keep(&c->in, &c->in_n, &c->in_cap, p, n);
	run(c);
}

static void on_closed(struct mk_link *l, enum mk_link_end why)
{
	(void)why;
	end(mk_link_data(l));
}

static const struct mk_link_ops link_ops = {
	.size = sizeof link_ops, .data = on_data, .closed = on_closed
};

void http_accepted(struct mk_inst *i, struct mk_link *l)
{
	struct conn *c = mk_alloc(sizeof *c);

	c->link = l;
	c->inst = i;
	c->conf = mk_link_conf(l);
	mk_link_give(l, i, &link_ops, c);
	clock_for(c, c->conf->header_timeout);
}
