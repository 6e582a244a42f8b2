/*
 * test/plugins/echo.c - routes of a host type's own, of each kind
 *
 * /echo gives back what it got, /echo/job in a job that waits for the file `gate` if the
 * query is "wait", /echo/later after a while; /tree/ is all that begins so, /echo/admin for
 * the administrator, /echo/field sets the body as a field.
 */
#include <meerkat/plugin.h>
#include <meerkat/svc/http.h>
#include <time.h>
#include <unistd.h>

struct conf { const char *gate; };
static const struct mk_conf_item items[] = {
	MK_CONF_STR(struct conf, gate, "", "The file that is waited for."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct conf, items);

static void fill(const struct mk_http *h, struct mk_http_req *r)
{
	h->set(r, "Content-Type", "text/plain");
	h->set(r, "X-Host", h->host(r));
	h->set(r, "X-Path", h->path(r));
	h->set(r, "X-Query", h->query(r));
	h->write(r, h->body(r));
}

static void on_echo(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	(void)i;
	fill(h, r);
	h->answer(r);
}

static void on_job(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r,
	struct mk_store *st)
{
	const struct timespec t = { 0, 2000000 };
	const struct conf *c = mk_inst_conf(i);

	(void)st;
	if (strcmp(h->query(r), "wait") == 0) {
		mk_log(i, MK_INFO, "job waits", NULL);
		while (access(c->gate, F_OK) != 0)
			nanosleep(&t, NULL);
	}
	h->status(r, 202);
	fill(h, r);
}

struct later { const struct mk_http *h; struct mk_http_req *r; };

static void answer_later(struct mk_inst *i, void *data)
{
	struct later *l = data;

	(void)i;
	fill(l->h, l->r);
	l->h->answer(l->r);
	mk_free(l);
}

static void on_later(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	struct later *l = mk_alloc(sizeof *l);

	l->h = h;
	l->r = r;
	mk_timer_start(i, 100, answer_later, l);
}

static void on_field(struct mk_inst *i, const struct mk_http *h, struct mk_http_req *r)
{
	struct mk_str b = h->body(r);

	(void)i;
	h->write(r, h->set(r, "X-Field", mk_arena_strndup(h->arena(r), b.p, b.n)) == 0
		? MK_STR("set") : MK_STR("refused"));
	h->answer(r);
}

static const struct mk_http_route routes_[] = {
	{ .methods = MK_HTTP_GET | MK_HTTP_POST | MK_HTTP_PUT, .name = "echo", .path = "/echo",
	  .body_max = 20000, .fn = on_echo },
	{ .methods = MK_HTTP_POST, .name = "echo", .path = "/echo/job", .body_max = 20000,
	  .stored_fn = on_job },
	{ .methods = MK_HTTP_GET, .name = "echo", .path = "/echo/later", .fn = on_later },
	{ .methods = MK_HTTP_GET, .name = "echo", .path = "/echo/admin", .auth = MK_HTTP_ADMIN,
	  .fn = on_echo },
	{ .methods = MK_HTTP_GET, .name = "echo", .path = "/tree/", .fn = on_echo },
	{ .methods = MK_HTTP_POST, .name = "echo", .path = "/echo/field", .body_max = 1000,
	  .fn = on_field },
};
static const struct mk_http_routes routes = MK_HTTP_ROUTES(routes_);

static int start(struct mk_inst *i)
{
	return mk_service_offer(i, "http-routes", 1, &routes);
}

static const char *const needs[] = { "http", NULL };

MK_PLUGIN(echo, "echo", .flags = MK_PLUGIN_PER_TYPE, .version = "1", .conf = &schema,
	.summary = "Made for tests.", .needs = needs, .start = start)
