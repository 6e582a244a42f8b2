/*
 * http/routes.c - whose request it is, and the routes that we have ourselves
 *
 * Routes are what plugins offer as "http-routes"; ours are offered in the same
 * way. On the connection's worker.
 */
#include "http.h"

#include <meerkat/auth.h>
#include <meerkat/server.h>
#include <stdio.h>
#include <strings.h>

/* ---- finding ------------------------------------------------------------------------ */

static bool is_enabled(const struct settings *s, const struct mk_http_route *r)
{
	for (uint32_t i = 0; i < s->routes.n; i++)
		if (strcmp(s->routes.v[i], r->name) == 0)
			return true;
	return s->routes.n == 0;
}

/* Of another plugin, whose struct may be older and shorter. */
static bool nth(const struct mk_http_routes *v, uint32_t i, struct mk_http_route *out)
{
	size_t n = v->route_size < sizeof *out ? v->route_size : sizeof *out;

	memset(out, 0, sizeof *out);
	memcpy(out, (const char *)v->v + (size_t)i * v->route_size, n);
	return out->name != NULL && out->path != NULL;
}

struct search {
	const struct settings *conf;
	struct mk_http_req *req;
	uint32_t methods;              /* of all routes of this path            */
	bool found;
};

static bool fits(const char *route, const char *path)
{
	size_t n = strlen(route);

	if (n > 1 && route[n - 1] == '/')
		return strncmp(path, route, n) == 0;
	return strcmp(path, route) == 0;
}

static uint32_t all_methods(uint32_t methods)
{
	return methods | MK_HTTP_OPTIONS | (methods & MK_HTTP_GET ? MK_HTTP_HEAD : 0);
}

static bool look(struct mk_inst *giver, const void *fns, void *arg)
{
	const struct mk_http_routes *v = fns;
	struct search *x = arg;

	for (uint32_t i = 0; i < v->n; i++) {
		struct mk_http_route r;
		if (!nth(v, i, &r) || !fits(r.path, x->req->path) || !is_enabled(x->conf, &r))
			continue;
		x->methods |= all_methods(r.methods);
		if (x->found || !(all_methods(r.methods) & x->req->method))
			continue;
		struct mk_http_route *copy = mk_arena_alloc(x->req->arena, sizeof *copy);
		*copy = r;
		x->req->route = copy;
		x->req->giver = giver;
		x->found = true;
	}
	return true;
}

/* ---- who may -------------------------------------------------------------------------- */

static bool same_secret(struct mk_str a, const char *b)
{
	unsigned char x[64], y[64];
	size_t n = mk_hash_len(MK_SHA256);

	/* Digests, so that neither place nor length of a difference shows. */
	mk_hash_digest(MK_SHA256, a.p, a.n, x);
	mk_hash_digest(MK_SHA256, b, strlen(b), y);
	return mk_equal_ct(x, y, n);
}

static bool is_admin(const struct settings *s, struct mk_http_req *r)
{
	const char *given = http_functions.header(r, "Authorization"), *colon;
	struct mk_str code, user, password;
	char *text;
	int n;

	if (s->admin_user == NULL || s->admin_password == NULL || given == NULL ||
	    strncasecmp(given, "Basic ", 6) != 0 ||
	    http_functions.header_count(r, "Authorization") != 1)
		return false;
	code = mk_strz(given + 6);
	text = mk_arena_alloc(r->arena, 3 * (code.n / 4) + 1);
	n = mk_base64_decode(text, code.p, code.n);
	colon = n > 0 ? memchr(text, ':', (size_t)n) : NULL;
	if (colon == NULL) {
		explicit_bzero(text, 3 * (code.n / 4) + 1);
		return false;
	}
	user = (struct mk_str){ text, (size_t)(colon - text) };
	password = (struct mk_str){ colon + 1, (size_t)(text + n - colon - 1) };
	/* Both, always: the time tells nothing of the first. */
	bool user_fits = same_secret(user, s->admin_user);
	bool password_fits = same_secret(password, s->admin_password);
	explicit_bzero(text, (size_t)n);
	return user_fits && password_fits;
}

static bool is_near(const struct settings *s, const struct mk_http_req *r)
{
	for (uint32_t i = 0; i < s->trusted.n; i++)
		if (mk_link_is_from(http_conn_link(r->conn), s->trusted.v[i]))
			return true;
	return false;
}

static int authorize(struct mk_inst *i, const struct settings *s, struct mk_http_req *r)
{
	int auth = r->route->auth;

	if (auth == MK_HTTP_OPEN || (auth == MK_HTTP_NEAR && is_near(s, r)) || is_admin(s, r))
		return 0;
	if (s->admin_user == NULL)
		return 403;
	if (http_functions.header(r, "Authorization") != NULL)
		mk_log(i, MK_INFO, "administrator's password is wrong", "remote=%s",
			mk_link_remote(http_conn_link(r->conn)));
	http_functions.set(r, "WWW-Authenticate", "Basic realm=\"meerkat\", charset=\"UTF-8\"");
	return 401;
}

static void say_methods(struct mk_http_req *r, uint32_t methods)
{
	static const char *const names[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS",
		"PATCH" };
	char text[64];
	int n = 0;

	for (unsigned b = 0; b < sizeof names / sizeof *names; b++)
		if (methods & 1u << b)
			n += snprintf(text + n, sizeof text - (size_t)n, "%s%s", n > 0 ? ", " : "",
				names[b]);
	http_functions.set(r, "Allow", text);
}

int http_route(struct mk_inst *i, const struct settings *s, struct mk_http_req *r)
{
	struct search x = { .conf = s, .req = r };

	if (r->head.form == HTTP_AUTHORITY)
		return 501;            /* we are no proxy                       */
	if (r->head.form == HTTP_ASTERISK)
		return 204;
	mk_service_each(i, mk_strz(r->host), "http-routes", 1, look, &x);
	if (x.methods == 0)
		return 404;
	if (r->method == 0)
		return 501;
	if (!x.found) {
		say_methods(r, x.methods);
		return 405;
	}
	if (r->method == MK_HTTP_OPTIONS && !(r->route->methods & MK_HTTP_OPTIONS)) {
		say_methods(r, x.methods);
		return 204;            /* before a script may say who it is     */
	}
	return authorize(i, s, r);
}

/* ---- health ------------------------------------------------------------------------------ */

static void on_health(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	(void)i;
	h->set(r, "Content-Type", "text/plain; charset=utf-8");
	h->set(r, "Cache-Control", "no-store");
	h->write(r, MK_STR("alive\n"));
	h->answer(r);
}

static void on_ready(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	const char *why;

	(void)i;
	if (!mk_server_is_ready(&why))
		h->status(r, 503);
	h->set(r, "Content-Type", "text/plain; charset=utf-8");
	h->set(r, "Cache-Control", "no-store");
	h->write(r, mk_strz(why));
	h->write(r, MK_STR("\n"));
	h->answer(r);
}

static void on_metrics(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r,
	struct mk_store *st)
{
	(void)i;
	(void)st;
	h->set(r, "Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8");
	h->set(r, "Cache-Control", "no-store");
	h->write(r, mk_metrics_write(h->arena(r)));
}

/* ---- host-meta (RFC 6415, XEP-0156) ------------------------------------------------------- */

struct listing {
	struct mk_http_req *req;
	const struct settings *conf;
	struct mk_elem *xrd;           /* XML, or                               */
	unsigned n;                    /* JSON: links so far                    */
};

static void json_text(struct mk_http_req *r, const char *z)
{
	char unicode[8];

	http_functions.write(r, MK_STR("\""));
	for (; *z != '\0'; z++)
		if (*z == '"' || *z == '\\' || (unsigned char)*z < 0x20) {
			snprintf(unicode, sizeof unicode, "\\u%04x", (unsigned)(unsigned char)*z);
			http_functions.write(r, mk_strz(unicode));
		} else {
			http_functions.write(r, (struct mk_str){ z, 1 });
		}
	http_functions.write(r, MK_STR("\""));
}

/* Links must be of TLS (XEP-0156 2.2): what our own is, or what the operator says. */
static const char *link_of(const struct listing *x, const struct mk_http_route *route)
{
	const char *at = x->conf->public_url;

	if (at != NULL)
		at += strlen("https://");
	else if (mk_link_is_encrypted(http_conn_link(x->req->conn)))
		at = x->req->authority;
	else
		return NULL;
	return mk_arena_printf(x->req->arena, "%s://%s%s", route->scheme, at, route->path);
}

static bool list_links(struct mk_inst *giver, const void *fns, void *arg)
{
	const struct mk_http_routes *v = fns;
	struct listing *x = arg;

	(void)giver;
	for (uint32_t i = 0; i < v->n; i++) {
		struct mk_http_route r;
		const char *href;
		if (!nth(v, i, &r) || r.rel == NULL || !is_enabled(x->conf, &r) ||
		    (href = link_of(x, &r)) == NULL)
			continue;
		if (x->xrd != NULL) {
			struct mk_elem *link = mk_elem_add(x->xrd, "Link", NULL);
			mk_elem_set(link, "rel", r.rel);
			mk_elem_set(link, "href", href);
			continue;
		}
		http_functions.write(x->req, x->n++ == 0 ? MK_STR_NONE : MK_STR(","));
		http_functions.write(x->req, MK_STR("{\"rel\":"));
		json_text(x->req, r.rel);
		http_functions.write(x->req, MK_STR(",\"href\":"));
		json_text(x->req, href);
		http_functions.write(x->req, MK_STR("}"));
	}
	return true;
}

static bool is_ours(const struct mk_http_req *r)
{
	struct mk_jid *j;
	bool ours;

	if (mk_jid_parse(mk_strz(r->host), &j) < 0)
		return false;
	ours = mk_domain_type(j) != NULL;
	mk_jid_unref(&j);
	return ours;
}

static void host_meta(struct mk_inst *i, struct mk_http_req *r, bool json)
{
	struct listing x = { .req = r, .conf = mk_link_conf(http_conn_link(r->conn)) };

	if (!is_ours(r)) {
		http_req_plain(r, 404);
		http_answer(r);
		return;
	}
	http_functions.set(r, "Cache-Control", "max-age=3600");
	if (json) {
		http_functions.set(r, "Content-Type", "application/json");
		http_functions.write(r, MK_STR("{\"links\":["));
	} else {
		http_functions.set(r, "Content-Type", "application/xrd+xml; charset=utf-8");
		x.xrd = mk_elem_new(r->arena, "XRD", "http://docs.oasis-open.org/ns/xri/xrd-1.0");
	}
	mk_service_each(i, mk_strz(r->host), "http-routes", 1, list_links, &x);
	if (json) {
		http_functions.write(r, MK_STR("]}\n"));
	} else {
		http_functions.write(r, MK_STR("<?xml version='1.0' encoding='utf-8'?>\n"));
		http_functions.write(r, mk_elem_write(r->arena, x.xrd));
		http_functions.write(r, MK_STR("\n"));
	}
	http_answer(r);
}

static void on_host_meta(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	(void)h;
	host_meta(i, r, false);
}

static void on_host_meta_json(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	(void)h;
	host_meta(i, r, true);
}

static const struct mk_http_route own[] = {
	{ .methods = MK_HTTP_GET, .name = "health", .path = "/health", .fn = on_health },
	{ .methods = MK_HTTP_GET, .name = "ready", .path = "/ready", .fn = on_ready },
	{ .methods = MK_HTTP_GET, .name = "metrics", .path = "/metrics", .auth = MK_HTTP_NEAR,
	  .stored_fn = on_metrics },
	{ .methods = MK_HTTP_GET, .name = "host-meta", .path = "/.well-known/host-meta",
	  .flags = MK_HTTP_ALL_ORIGINS, .fn = on_host_meta },
	{ .methods = MK_HTTP_GET, .name = "host-meta", .path = "/.well-known/host-meta.json",
	  .flags = MK_HTTP_ALL_ORIGINS, .fn = on_host_meta_json },
};
const struct mk_http_routes http_own_routes = MK_HTTP_ROUTES(own);
