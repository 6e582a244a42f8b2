/*
 * http/request.c - a request in memory, and the answer as it is built
 *
 * A request lives in an arena of its own, with copies of all that came, so that
 * a job may use it while the connection reads on, or is gone. One thread at a
 * time: the connection's worker, or the job.
 */
#include "http.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

static const struct { const char *name; uint32_t bit; } methods[] = {
	{ "GET", MK_HTTP_GET }, { "HEAD", MK_HTTP_HEAD }, { "POST", MK_HTTP_POST },
	{ "PUT", MK_HTTP_PUT }, { "DELETE", MK_HTTP_DELETE },
	{ "OPTIONS", MK_HTTP_OPTIONS }, { "PATCH", MK_HTTP_PATCH },
};

uint32_t http_method(struct mk_str name)
{
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (mk_str_eqz(name, methods[i].name))
			return methods[i].bit;
	return 0;
}

const char *http_reason(int status)
{
	static const struct { int status; const char *reason; } reasons[] = {
		{ 100, "Continue" }, { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" },
		{ 202, "Accepted" }, { 204, "No Content" }, { 301, "Moved Permanently" },
		{ 302, "Found" }, { 304, "Not Modified" }, { 307, "Temporary Redirect" },
		{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" },
		{ 409, "Conflict" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" }, { 417, "Expectation Failed" },
		{ 421, "Misdirected Request" }, { 426, "Upgrade Required" },
		{ 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" }, { 501, "Not Implemented" },
		{ 503, "Service Unavailable" }, { 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

void http_grow(char **p, size_t *n, size_t *cap, const char *data, size_t data_n)
{
	if (*cap - *n < data_n + 1) {
		size_t want = *cap * 2 > *n + data_n + 1 ? *cap * 2 : *n + data_n + 1;
		*p = mk_realloc(*p, want);
		*cap = want;
	}
	memcpy(*p + *n, data, data_n);
	*n += data_n;
	(*p)[*n] = '\0';
}

/* ---- making and freeing ------------------------------------------------------------------ */

static char *lower(struct mk_arena *a, struct mk_str s)
{
	char *z = mk_arena_strndup(a, s.p, s.n);

	for (char *c = z; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c | 0x20);
	return z;
}

struct mk_http_req *http_req_new(struct conn *c, const char *head, size_t n, int *status_out)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_http_req *r = mk_arena_alloc(a, sizeof *r);
	char *port;

	r->arena = a;
	r->conn = c;
	r->status = 200;
	r->copy = mk_arena_strndup(a, head, n);
	r->copy_n = n;
	/* Again, into the copy: cheaper than to move every string. */
	if (http_head_parse(r->copy, n, &r->head) != (int)n) {
		*status_out = 400;
		goto fail;
	}
	/* Values end where their lines did. */
	for (unsigned i = 0; i < r->head.fields; i++)
		*(char *)(r->head.field[i].value.p + r->head.field[i].value.n) = '\0';
	r->method = http_method(r->head.method);
	r->is_head = r->method == MK_HTTP_HEAD;
	r->closes = !r->head.keep_alive;
	r->path = mk_arena_alloc(a, r->head.path.n + 1);
	if (!http_path_decode(r->head.path, r->path)) {
		*status_out = 400;
		goto fail;
	}
	r->query = mk_arena_strndup(a, r->head.query.p != NULL ? r->head.query.p : "",
		r->head.query.n);
	r->authority = lower(a, r->head.authority);
	r->host = mk_arena_strdup(a, r->authority);
	port = strrchr(r->host, ':');
	if (port != NULL && strchr(port, ']') == NULL)
		*port = '\0';
	return r;
fail:
	http_req_free(&r);
	return NULL;
}

void http_req_free(struct mk_http_req **rp)
{
	struct mk_http_req *r = *rp;
	struct mk_arena *a;

	*rp = NULL;
	if (r == NULL)
		return;
	/* It may have held a password. */
	explicit_bzero(r->copy, r->copy_n);
	if (r->body.n > 0)
		explicit_bzero((char *)r->body.p, r->body.n);
	mk_free(r->out);
	mk_free(r->content);
	a = r->arena;
	mk_arena_free(&a);
}

/* ---- what a handler can see and do ----------------------------------------------------------- */

static uint32_t get_method(const struct mk_http_req *r) { return r->method; }
static const char *get_path(const struct mk_http_req *r) { return r->path; }
static const char *get_query(const struct mk_http_req *r) { return r->query; }
static struct mk_str get_body(const struct mk_http_req *r) { return r->body; }
static const char *get_host(const struct mk_http_req *r) { return r->host; }
static const char *get_authority(const struct mk_http_req *r) { return r->authority; }
static struct mk_arena *get_arena(struct mk_http_req *r) { return r->arena; }

static struct mk_link *get_link(const struct mk_http_req *r)
{
	return !r->in_job && r->conn != NULL ? http_conn_link(r->conn) : NULL;
}

static const char *get_header(const struct mk_http_req *r, const char *name)
{
	const struct mk_str *v = http_head_field(&r->head, name);

	return v != NULL ? v->p : NULL;
}

static unsigned get_header_count(const struct mk_http_req *r, const char *name)
{
	size_t n = strlen(name);
	unsigned count = 0;

	for (unsigned i = 0; i < r->head.fields; i++)
		count += r->head.field[i].name.n == n &&
		         strncasecmp(r->head.field[i].name.p, name, n) == 0;
	return count;
}

static void set_status(struct mk_http_req *r, int status) { r->status = status; }

/* S-11: nothing that a peer said can end a field. */
static int set_field(struct mk_http_req *r, const char *name, const char *value)
{
	if (!http_is_token(mk_strz(name)) || !http_is_value(mk_strz(value)))
		return -MK_EINVAL;
	http_grow(&r->out, &r->out_n, &r->out_cap, name, strlen(name));
	http_grow(&r->out, &r->out_n, &r->out_cap, ": ", 2);
	http_grow(&r->out, &r->out_n, &r->out_cap, value, strlen(value));
	http_grow(&r->out, &r->out_n, &r->out_cap, "\r\n", 2);
	return 0;
}

static void write_content(struct mk_http_req *r, struct mk_str data)
{
	if (data.n != 0)
		http_grow(&r->content, &r->content_n, &r->content_cap, data.p, data.n);
}

const struct mk_http http_functions = {
	.size = sizeof(struct mk_http),
	.method = get_method, .path = get_path, .query = get_query, .header = get_header,
	.header_count = get_header_count, .body = get_body, .host = get_host,
	.authority = get_authority, .arena = get_arena, .link = get_link,
	.status = set_status, .set = set_field, .write = write_content,
	.answer = http_answer, .upgrade = http_upgrade,
};

void http_req_plain(struct mk_http_req *r, int status)
{
	r->status = status;
	r->content_n = 0;
	set_field(r, "Content-Type", "text/plain; charset=utf-8");
	write_content(r, mk_strz(http_reason(status)));
	write_content(r, MK_STR("\n"));
}

void http_cors(struct mk_http_req *r, const struct settings *s)
{
	const char *origin = get_header(r, "Origin");
	bool any = r->route != NULL && (r->route->flags & MK_HTTP_ALL_ORIGINS);

	if (any) {
		set_field(r, "Access-Control-Allow-Origin", "*");
	} else {
		if (origin == NULL || s->cors_origins.n == 0)
			return;
		set_field(r, "Vary", "Origin");
		for (uint32_t i = 0; i < s->cors_origins.n && !any; i++)
			any = strcmp(s->cors_origins.v[i], "*") == 0 ||
			      strcasecmp(s->cors_origins.v[i], origin) == 0;
		if (!any)
			return;
		set_field(r, "Access-Control-Allow-Origin", origin);
	}
	if (r->method == MK_HTTP_OPTIONS) {
		const char *wanted = get_header(r, "Access-Control-Request-Headers");
		set_field(r, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
		if (wanted != NULL)
			set_field(r, "Access-Control-Allow-Headers", wanted);
		set_field(r, "Access-Control-Max-Age", "86400");
	}
}

/* ---- as bytes ------------------------------------------------------------------------------------ */

/* IMF-fixdate (RFC 9110 5.6.7), whatever the locale. */
void http_date(char out[32], int64_t wall_ms)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(out, 32, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * tm.tm_wday,
		(unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon,
		(unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
		(unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

struct mk_str http_req_render(struct mk_http_req *r)
{
	bool bodiless = r->status == 204 || r->status == 304 || r->status < 200;
	size_t n = bodiless ? 0 : r->content_n, head_n;
	char date[32], *all;
	const char *head;

	http_date(date, mk_wall_ms());
	head = r->status == 101
		? mk_arena_printf(r->arena, "HTTP/1.1 101 %s\r\nDate: %s\r\n", http_reason(101), date)
		: mk_arena_printf(r->arena, "HTTP/1.1 %d %s\r\nDate: %s\r\n%sContent-Length: %zu\r\n"
			"X-Content-Type-Options: nosniff\r\n", r->status, http_reason(r->status), date,
			r->closes ? "Connection: close\r\n" : "", n);
	if (bodiless && r->status != 101)
		head = mk_arena_printf(r->arena, "HTTP/1.1 %d %s\r\nDate: %s\r\n%s", r->status,
			http_reason(r->status), date, r->closes ? "Connection: close\r\n" : "");
	head_n = strlen(head);
	if (r->is_head)
		n = 0;
	all = mk_arena_alloc(r->arena, head_n + r->out_n + 2 + n + 1);
	memcpy(all, head, head_n);
	if (r->out_n > 0)
		memcpy(all + head_n, r->out, r->out_n);
	memcpy(all + head_n + r->out_n, "\r\n", 2);
	if (n > 0)
		memcpy(all + head_n + r->out_n + 2, r->content, n);
	return (struct mk_str){ all, head_n + r->out_n + 2 + n };
}
