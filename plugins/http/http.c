/*
 * http/http.c - HTTP/1.1 on listeners of kind http
 *
 * The descriptor: a listener's settings, and what starts with the plugin. The
 * rest is in conn.c (connections), parse.c (what comes in), request.c (a request
 * and its answer), routes.c (who answers). Main thread.
 */
#include "http.h"

#include <arpa/inet.h>
#include <meerkat/server.h>

#define ITEM(f, ctype, kind, dflt, range, doc) \
	MK_CONF_FIELD(struct settings, f, ctype, kind, MK_CONF_RELOAD, dflt, range, doc)

static const struct mk_conf_item items[] = {
	ITEM(routes, struct mk_conf_list, MK_CONF_LIST, "", NULL,
		"Names of what it answers: health, ready, metrics, host-meta, and those of other "
		"plugins, such as websocket; empty is all."),
	ITEM(trusted, struct mk_conf_list, MK_CONF_LIST, "127.0.0.0/8, ::1/128", NULL,
		"Addresses that may read metrics without the administrator's password."),
	ITEM(admin_user, const char *, MK_CONF_STRING, NULL, NULL,
		"Name of the administrator (HTTP Basic); if it is not given, there is none."),
	ITEM(admin_password, const char *, MK_CONF_SECRET, NULL, NULL,
		"The administrator's password."),
	ITEM(public_url, const char *, MK_CONF_STRING, NULL, NULL,
		"What this listener is called outside, if a proxy does TLS: https://chat.example.org"),
	ITEM(cors_origins, struct mk_conf_list, MK_CONF_LIST, "", NULL,
		"Sites whose scripts may read answers (https://web.example.org), or *."),
	ITEM(header_timeout, int64_t, MK_CONF_DURATION, "10s", "100ms..10m",
		"Time for the head of a request, whatever comes."),
	ITEM(body_timeout, int64_t, MK_CONF_DURATION, "30s", "100ms..1h",
		"Time for the body of a request."),
	ITEM(idle_timeout, int64_t, MK_CONF_DURATION, "60s", "100ms..1h",
		"Time between two requests of a connection."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct settings, items);

static bool is_prefix(const char *text)
{
	char z[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct in6_addr a;
	int64_t bits;
	bool v4;

	if (n >= sizeof z)
		return false;
	memcpy(z, text, n);
	z[n] = '\0';
	v4 = inet_pton(AF_INET, z, &a) == 1;
	if (!v4 && inet_pton(AF_INET6, z, &a) != 1)
		return false;
	return slash == NULL || mk_parse_int(mk_strz(slash + 1), 0, v4 ? 32 : 128, &bits) == 0;
}

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct settings *s = mk_conf_view_values(v);
	int r = 0;

	for (uint32_t i = 0; i < s->trusted.n; i++)
		if (!is_prefix(s->trusted.v[i])) {
			mk_conf_refuse(v, d, "trusted", "'%.70s' is no address or prefix", s->trusted.v[i]);
			r = -MK_EINVAL;
		}
	if ((s->admin_user == NULL) != (s->admin_password == NULL)) {
		mk_conf_refuse(v, d, s->admin_user != NULL ? "admin_user" : "admin_password",
			"admin_user and admin_password go together");
		r = -MK_EINVAL;
	}
	if (s->admin_password != NULL && *s->admin_password == '\0') {
		mk_conf_refuse(v, d, "admin_password", "is empty");
		r = -MK_EINVAL;
	}
	if (s->public_url != NULL && (strncmp(s->public_url, "https://", 8) != 0 ||
	    s->public_url[8] == '\0' || s->public_url[strlen(s->public_url) - 1] == '/')) {
		mk_conf_refuse(v, d, "public_url", "expected https://NAME, without a slash at its end");
		r = -MK_EINVAL;
	}
	return r;
}

static const char *const alpn[] = { "http/1.1", NULL };
static const struct mk_transport transport = {
	.size = sizeof transport, .conf = &schema, .check = check, .alpn = alpn,
	.accepted = http_accepted,
};

static const struct mk_metric requests = { sizeof requests, MK_COUNTER, "requests_total",
	"Requests answered." };
static const struct mk_metric bad = { sizeof bad, MK_COUNTER, "refused_total",
	"Requests that were no HTTP/1.1, too large or too slow." };
static const struct mk_metric *const metrics[] = { [M_REQUESTS] = &requests, [M_BAD] = &bad, NULL };

static const char *const gives[] = { "svc:http/1", NULL };

static int start(struct mk_inst *i)
{
	return mk_service_offer(i, "http-routes", 1, &http_own_routes);
}

MK_PLUGIN(http, "http", .flags = MK_PLUGIN_GLOBAL, .version = "1.0",
	.summary = "HTTP/1.1: metrics, health, host-meta, and other plugins' routes",
	.license = "BSD-2-Clause", .gives = gives, .metrics = metrics, .start = start,
	.transport = &transport)
