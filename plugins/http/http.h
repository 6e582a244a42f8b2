/*
 * http/http.h - the parts of the plugin among themselves
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <meerkat/svc/http.h>
#include "parse.h"

/* Of a listener. */
struct settings {
	struct mk_conf_list routes, trusted, cors_origins;
	const char *admin_user, *admin_password, *public_url;
	int64_t header_timeout, body_timeout, idle_timeout;
};

enum metric { M_REQUESTS, M_BAD };

/* ---- request.c: a request, from its head to its answer -------------------------------- */

struct conn;
struct mk_http_req {
	struct mk_arena *arena;        /* it lives in it                        */
	struct conn *conn;             /* NULL: gone                            */
	struct mk_inst *giver;         /* of the route                          */
	const struct mk_http_route *route;
	char *copy;                    /* of what came, in arena; wiped         */
	size_t copy_n;
	struct http_head head;         /* into copy                             */
	char *path, *query, *host, *authority;
	uint32_t method;
	struct mk_str body;
	bool is_head, in_job, closes;
	/* the answer */
	int status;
	char *out;                     /* fields, then body: grow by themselves */
	size_t out_n, out_cap;
	char *content;
	size_t content_n, content_cap;
};
extern const struct mk_http http_functions;

/* From a complete head, which is copied. *status_out: what to answer if it is
 * refused already (NULL then). */
struct mk_http_req *http_req_new(struct conn *c, const char *head, size_t n, int *status_out);
void http_req_free(struct mk_http_req **r);
/* The whole answer as bytes in r->arena. */
struct mk_str http_req_render(struct mk_http_req *r);
/* Any settings-dependent fields: CORS. */
void http_cors(struct mk_http_req *r, const struct settings *s);
/* An answer that is only a status, with its words as text. */
void http_req_plain(struct mk_http_req *r, int status);
const char *http_reason(int status);
uint32_t http_method(struct mk_str name);
void http_date(char out[32], int64_t wall_ms);
/* Adds to *p. */
void http_grow(char **p, size_t *n, size_t *cap, const char *data, size_t data_n);

/* ---- conn.c: a connection -------------------------------------------------------------- */

void http_accepted(struct mk_inst *i, struct mk_link *l);
void http_answer(struct mk_http_req *r);
struct mk_link *http_upgrade(struct mk_http_req *r, const char *protocol, struct mk_str *rest_out);
struct mk_link *http_conn_link(const struct conn *c);
struct mk_inst *http_conn_inst(const struct conn *c);

/* ---- routes.c: whose request it is; our own routes ---------------------------------------- */

extern const struct mk_http_routes http_own_routes;
/* Finds the route, checks method and authentication. 0, or the status to answer
 * with (fields that belong to it are set). */
int http_route(struct mk_inst *i, const struct settings *s, struct mk_http_req *r);

#endif
