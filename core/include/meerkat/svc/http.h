/*
 * meerkat/svc/http.h - "svc:http/1": answering HTTP requests, for other plugins
 *
 * A plugin that wants requests has "http" among its needs and offers a table of
 * routes: mk_service_offer(i, "http-routes", 1, &routes). Global plugins' routes
 * are there for every Host; those of a plugin per host type for the domains of
 * that type. They are withdrawn with the instance. The http plugin has checked
 * everything that RFC 9112 demands before it calls.
 */
#ifndef MK_SVC_HTTP_H
#define MK_SVC_HTTP_H

#include <meerkat/plugin.h>
#include <meerkat/transport.h>

MK_BEGIN_DECLS

struct mk_http_req;            /* a request, and the answer to it          */

enum mk_http_method {
	MK_HTTP_GET = 1, MK_HTTP_HEAD = 2, MK_HTTP_POST = 4, MK_HTTP_PUT = 8,
	MK_HTTP_DELETE = 16, MK_HTTP_OPTIONS = 32, MK_HTTP_PATCH = 64,
};
enum mk_http_auth {
	MK_HTTP_OPEN = 0,              /* anybody                               */
	MK_HTTP_ADMIN,                 /* Basic: the listener's admin_user      */
	MK_HTTP_NEAR,                  /* addresses in the listener's trusted,
	                                * and admin_user from elsewhere         */
};
enum mk_http_route_flag {
	MK_HTTP_ALL_ORIGINS = 1,       /* CORS: scripts of any site may read it */
};

/*
 * What a handler does with a request: on its connection's worker, or, in
 * stored_fn, in the job. Strings live as long as r and are NUL-terminated.
 */
struct mk_http {
	uint32_t size;
	/* ---- the request ---- */
	uint32_t (*method)(const struct mk_http_req *r);
	/* Percent-decoded, without '.' and '..'. */
	const char *(*path)(const struct mk_http_req *r);
	/* As it came, behind the '?'; "" = none. */
	const char *(*query)(const struct mk_http_req *r);
	/* NULL if there is none; the first of several. name: any case. */
	const char *(*header)(const struct mk_http_req *r, const char *name);
	/* How often a header was given. */
	unsigned (*header_count)(const struct mk_http_req *r, const char *name);
	struct mk_str (*body)(const struct mk_http_req *r);
	/* Host in lower case, without port, and with it. */
	const char *(*host)(const struct mk_http_req *r);
	const char *(*authority)(const struct mk_http_req *r);
	struct mk_arena *(*arena)(struct mk_http_req *r);
	/* NULL in a job, and when the connection is gone. */
	struct mk_link *(*link)(const struct mk_http_req *r);
	/* ---- the answer: 200 and no body, if nothing is said ---- */
	void (*status)(struct mk_http_req *r, int status);
	/* Content-Length, Date, Connection are not for the handler. Values with
	 * control characters are refused: -MK_EINVAL. */
	int (*set)(struct mk_http_req *r, const char *name, const char *value);
	/* Adds to the body; copies. */
	void (*write)(struct mk_http_req *r, struct mk_str data);
	/* Sends it and frees r: once, on the request's worker; from fn or later.
	 * Not from stored_fn, whose answer is sent when it returns. */
	void (*answer)(struct mk_http_req *r);
	/* Instead: 101, and the connection is the caller's, who gives it to itself
	 * (mk_link_give) at once. *rest_out: what came in behind the request, for the
	 * rest of this turn. r is gone. Only if link() is not NULL. */
	struct mk_link *(*upgrade)(struct mk_http_req *r, const char *protocol,
		struct mk_str *rest_out);
};

struct mk_http_route {
	uint32_t methods;              /* enum mk_http_method; HEAD comes with
	                                * GET, OPTIONS by itself                */
	uint32_t flags;                /* enum mk_http_route_flag               */
	const char *name;              /* in a listener's `routes`: "metrics"   */
	const char *path;              /* "/metrics"; with a slash at its end:
	                                * all that begins so                    */
	int auth;                      /* enum mk_http_auth                     */
	uint32_t body_max;             /* bytes; larger ones are refused (413)  */
	/* One of the two. */
	void (*fn)(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r);
	void (*stored_fn)(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r,
		struct mk_store *st);
	/* For host-meta (XEP-0156), or NULL: the relation, and "wss" or "https". */
	const char *rel, *scheme;
};
struct mk_http_routes {
	uint32_t size, n, route_size;  /* sizeof *v                             */
	const struct mk_http_route *v;
};
#define MK_HTTP_ROUTES(v) { sizeof(struct mk_http_routes), sizeof(v) / sizeof(v)[0], \
	sizeof(struct mk_http_route), v }

MK_END_DECLS
#endif
