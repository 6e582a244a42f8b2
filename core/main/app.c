/*
 * main/app.c - start, reload and stop of everything
 *
 * Start order: configuration, log, workers, backends and their tables, plugins,
 * domains, instances by need, journal replay, listeners. Stop is the reverse.
 * All of it on the main thread, but for mk_app_quit and mk_main_call.
 */
#include <meerkat/server.h>
#include "main/app.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/ctl.h"
#include "domain/domain.h"
#include "loop/worker.h"
#include "main/notify.h"
#include "route/route.h"
#include "session/account.h"
#include "store/journal.h"
#include "store/store.h"
#include "stream/stream.h"
#include "base/ban.h"

struct running {                       /* an instance and where it came from */
	struct mk_list node;
	struct mk_inst *inst;
	struct mk_module *module;
	struct mk_host_type *type;
};
struct listening { struct mk_list node; struct mk_c2s *c2s; char *key; };

static struct {
	_Atomic(struct mk_config *) config;    /* jobs read it, too             */
	struct mk_tls_store *tls;
	struct mk_list running;        /* in the order they started             */
	struct mk_list listening;
	mk_usec started;
	bool workers, stores, journal, ctl;
	_Atomic bool serves;           /* between start and stop                */
} app = { .running = { &app.running, &app.running },
          .listening = { &app.listening, &app.listening } };

static int wake_fd = -1;
static _Atomic bool quit;

const struct mk_config *mk_app_config(void) { return app.config; }
struct mk_tls_store *mk_app_tls(void) { return app.tls; }
mk_usec mk_app_started(void) { return app.started; }

static void look_at_backend(void *arg, const char *name, const char *plugin, bool healthy,
	unsigned queued, unsigned threads)
{
	(void)name, (void)plugin, (void)queued, (void)threads;
	*(bool *)arg &= healthy;
}

bool mk_server_is_ready(const char **why_out)
{
	bool healthy = true;

	if (!app.serves) {
		*why_out = "starting or stopping";
		return false;
	}
	mk_stores_each(look_at_backend, &healthy);
	*why_out = healthy ? "ready" : "a storage backend is away";
	return healthy;
}

const char *mk_server_version(void) { return MK_VERSION; }

/* ---- calls from other threads ---------------------------------------------------- */

struct call { struct call *next; void (*fn)(void *); void *arg; bool done, refused; };
static bool no_calls;                  /* under call_lock                   */
static pthread_mutex_t call_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t call_done = PTHREAD_COND_INITIALIZER;
static struct call *calls;
static pthread_t main_thread;

void mk_app_quit(void)
{
	uint64_t one = 1;

	quit = true;
	if (wake_fd >= 0)
		(void)!write(wake_fd, &one, sizeof one);
}

bool mk_main_call(void (*fn)(void *arg), void *arg)
{
	struct call c = { NULL, fn, arg, false, false }, **last;
	uint64_t one = 1;

	if (pthread_equal(pthread_self(), main_thread)) {
		fn(arg);
		return true;
	}
	pthread_mutex_lock(&call_lock);
	if (no_calls) {
		pthread_mutex_unlock(&call_lock);
		return false;
	}
	for (last = &calls; *last != NULL; last = &(*last)->next)
		;
	*last = &c;
	(void)!write(wake_fd, &one, sizeof one);
	while (!c.done)
		pthread_cond_wait(&call_done, &call_lock);
	pthread_mutex_unlock(&call_lock);
	return !c.refused;
}

static void refuse_calls(void)
{
	pthread_mutex_lock(&call_lock);
	no_calls = true;
	for (struct call *c = calls, *next; c != NULL; c = next) {
		next = c->next;
		c->refused = c->done = true;
	}
	calls = NULL;
	pthread_cond_broadcast(&call_done);
	pthread_mutex_unlock(&call_lock);
}

static void run_calls(void)
{
	for (;;) {
		pthread_mutex_lock(&call_lock);
		struct call *c = calls;
		if (c != NULL)
			calls = c->next;
		pthread_mutex_unlock(&call_lock);
		if (c == NULL)
			return;
		c->fn(c->arg);
		pthread_mutex_lock(&call_lock);
		c->done = true;
		pthread_cond_broadcast(&call_done);
		pthread_mutex_unlock(&call_lock);
	}
}

/* ---- which plugins a host type has -------------------------------------------------- */

/* What is enabled without being named: credential sources of `auth`, and the
 * mechanisms that the host type can use. */
struct wanted { const char *name; const struct mk_node *node; };

static bool has(const struct wanted *w, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(w[i].name, name) == 0)
			return true;
	return false;
}

/* Nor are the kinds of listeners, which are there for all host types. */
static size_t wanted_of(const struct mk_config *c, const struct mk_config_type *t,
	struct wanted **out)
{
	struct wanted *w = mk_alloc((t->plugin_count + t->auth.n + c->listener_count + 4) * sizeof *w);
	size_t n = 0;
	bool anonymous = false;

	for (size_t i = 0; i < t->plugin_count; i++)
		w[n++] = (struct wanted){ t->plugins[i].name, t->plugins[i].node };
	for (uint32_t i = 0; i < t->auth.n; i++)
		if (!has(w, n, t->auth.v[i]))
			w[n++] = (struct wanted){ t->auth.v[i], NULL };
	for (uint32_t i = 0; i < t->mechanisms.n; i++)
		anonymous |= strcmp(t->mechanisms.v[i], "ANONYMOUS") == 0;
	static const char *const always[] = { "scram", "plain" };
	for (size_t i = 0; i < 2 && t->auth.n != 0; i++)
		if (!has(w, n, always[i]))
			w[n++] = (struct wanted){ always[i], NULL };
	if (anonymous && !has(w, n, "anonymous"))
		w[n++] = (struct wanted){ "anonymous", NULL };
	for (size_t i = 0; i < c->listener_count; i++)
		if (c->listeners[i].own != NULL && !has(w, n, c->listeners[i].kind))
			w[n++] = (struct wanted){ c->listeners[i].kind, NULL };
	*out = w;
	return n;
}

static const struct mk_conf_list *plugin_dirs(const struct mk_config *c)
{
	static const char *const built_in[] = { MK_PLUGIN_DIR };
	static const struct mk_conf_list fallback = { built_in, 1 };
	return c->plugin_dirs.n != 0 ? &c->plugin_dirs : &fallback;
}

static char *where_of(const char *type, const char *plugin)
{
	struct mk_buf b = { 0 };
	char *z;

	mk_buf_printf(&b, "host_types.%s.plugins.%s", type, plugin);
	z = mk_strdup(mk_buf_z(&b));
	mk_buf_free(&b);
	return z;
}

/* Opens every module a configuration names and checks its settings; all
 * problems in d. */
static int check_plugins(const struct mk_config *c, struct mk_diag *d)
{
	int r = 0;

	for (size_t i = 0; i < c->backend_count; i++) {
		struct mk_module *m;
		struct mk_arena *a = mk_arena_new();
		void *values;
		int one = mk_module_open(c->backends[i].plugin, plugin_dirs(c), d, &m);
		if (one == 0 && m->plugin->backend == NULL) {
			mk_diag_at(d, c->backends[i].node, "plugin '%s' is no storage backend",
				c->backends[i].plugin);
			one = -MK_EINVAL;
		}
		if (one == 0)
			one = mk_conf_check_plugin(m->plugin, c->backends[i].node, "storage.backends",
				a, d, &values);
		mk_arena_free(&a);
		if (one < 0)
			r = one;
	}
	for (size_t i = 0; i < c->listener_count; i++) {
		const struct mk_config_listener *l = &c->listeners[i];
		struct mk_module *m;
		struct mk_arena *a;
		char where[40];
		void *values;
		int one;
		if (l->own == NULL)
			continue;
		snprintf(where, sizeof where, "listeners[%zu]", i);
		a = mk_arena_new();
		one = mk_module_open(l->kind, plugin_dirs(c), d, &m);
		if (one == 0)
			one = mk_c2s_check(l, m->plugin, where, a, d, &values);
		else
			mk_diag_setting(d, mk_node_get(l->node, "kind"), where, "kind",
				"(plugin '%s' is named here; clients' own kind is c2s)", l->kind);
		mk_arena_free(&a);
		if (one < 0)
			r = one;
	}
	for (size_t t = 0; t < c->type_count; t++) {
		struct wanted *w;
		size_t n = wanted_of(c, &c->types[t], &w), k = 0;
		struct mk_module **m = mk_alloc((n + 1) * sizeof *m);
		struct mk_module **order = mk_alloc((n + 1) * sizeof *order);
		for (size_t i = 0; i < n; i++) {
			int one = mk_module_open(w[i].name, plugin_dirs(c), d, &m[k]);
			if (one == 0) {
				struct mk_arena *a = mk_arena_new();
				char *where = where_of(c->types[t].name, w[i].name);
				void *values;
				one = mk_conf_check_plugin(m[k]->plugin, w[i].node, where, a, d, &values);
				mk_free(where);
				mk_arena_free(&a);
				k++;
			} else if (w[i].node != NULL) {
				mk_diag_at(d, w[i].node, "(plugin '%s' is named here)", w[i].name);
			}
			if (one < 0)
				r = one;
		}
		if (r == 0)
			r = mk_plugins_order(m, k, order, d);
		mk_free(order);
		mk_free(m);
		mk_free(w);
	}
	return r;
}

/* What m's listeners accept is for i, or for nobody. */
static void point_listeners(const struct mk_module *m, struct mk_inst *i)
{
	MK_LIST_EACH(n, &app.listening) {
		struct mk_c2s *c = MK_CONTAINER(n, struct listening, node)->c2s;
		if (c->module == m)
			atomic_store(&c->inst, i);
	}
}

static int start_inst(struct mk_module *m, struct mk_host_type *t, const struct mk_node *node,
	struct mk_diag *d)
{
	struct mk_arena *a = mk_arena_new();
	char *where = where_of(t->name, m->plugin->name);
	struct mk_inst *i;
	void *values;
	int r = mk_conf_check_plugin(m->plugin, node, where, a, d, &values);

	mk_free(where);
	if (r < 0) {
		mk_arena_free(&a);
		return r;
	}
	if (m->plugin->flags & MK_PLUGIN_GLOBAL && t != mk_global_type) {
		/* Once for all host types. */
		MK_LIST_EACH(n, &m->insts)
			if (MK_CONTAINER(n, struct mk_inst, module_node)->type == mk_global_type) {
				mk_arena_free(&a);
				return 0;
			}
		t = mk_global_type;
	}
	r = mk_inst_start(m, t, values, a, d, &i);
	if (r < 0)
		return r;
	struct running *x = mk_alloc(sizeof *x);
	x->inst = i;
	x->module = m;
	x->type = t;
	mk_list_push(&app.running, &x->node);
	point_listeners(m, i);
	return 0;
}

static struct running *running_find(const char *name, const struct mk_host_type *t)
{
	MK_LIST_EACH(n, &app.running) {
		struct running *x = MK_CONTAINER(n, struct running, node);
		if (strcmp(x->module->plugin->name, name) == 0 && (t == NULL || x->type == t))
			return x;
	}
	return NULL;
}

static void stop_inst(struct running *x)
{
	bool is_source = !mk_list_empty(&x->inst->sources);

	mk_list_remove(&x->node);
	point_listeners(x->module, NULL);
	mk_inst_stop(&x->inst, 5000);
	mk_free(x);
	/* Nobody logs in by what a source that is gone once said. */
	if (is_source)
		mk_account_forget_all();
}

static void type_settings(struct mk_host_type *t, const struct mk_config_type *c)
{
	atomic_store(&t->durability, c->durability);
	atomic_store(&t->resource_conflict, c->resource_conflict);
	atomic_store(&t->max_resources, c->max_resources);
	t->auth = c->auth;
	t->mechanisms = c->mechanisms;
}

/* Starts what type t of c names and does not run yet, by need. */
static int start_type(const struct mk_config *c, const struct mk_config_type *ct, struct mk_diag *d)
{
	struct mk_host_type *t = mk_host_type_get(ct->name);
	struct wanted *w;
	size_t n = wanted_of(c, ct, &w);
	struct mk_module **m = mk_alloc((n + 1) * sizeof *m);
	struct mk_module **order = mk_alloc((n + 1) * sizeof *order);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = mk_module_open(w[i].name, plugin_dirs(c), d, &m[i]);
	if (r == 0)
		r = mk_plugins_order(m, n, order, d);
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct mk_node *node = NULL;
		for (size_t k = 0; k < n; k++)
			if (m[k] == order[i])
				node = w[k].node;
		if (running_find(order[i]->plugin->name, t) == NULL)
			r = start_inst(order[i], t, node, d);
	}
	mk_free(m);
	mk_free(order);
	mk_free(w);
	return r;
}

/* ---- storage ------------------------------------------------------------------------ */

static const struct mk_table **all_tables(void)
{
	size_t n = 1, k = 0;
	const struct mk_table **t;

	MK_LIST_EACH(x, &mk_modules) {
		struct mk_module *m = MK_CONTAINER(x, struct mk_module, node);
		for (const struct mk_table *const *p = m->plugin->tables; p != NULL && *p != NULL; p++)
			n++;
	}
	t = mk_alloc((n + 1) * sizeof *t);
	t[k++] = &mk_domain_table;
	MK_LIST_EACH(x, &mk_modules) {
		struct mk_module *m = MK_CONTAINER(x, struct mk_module, node);
		for (const struct mk_table *const *p = m->plugin->tables; p != NULL && *p != NULL; p++)
			t[k++] = *p;
	}
	return t;
}

/* ---- waiting for storage: a machine may boot before its database is there */

struct patience {
	mk_usec since, until;
	int64_t delay_ms;              /* until the next attempt, about         */
	bool is_asked_to_stop;
};

/* The manager, which waits for READY, has to hear of it again and again; an attempt
 * may take a minute, and wait for another node's migration. */
static void tell_manager(const char *why)
{
	struct mk_buf b = { 0 };

	mk_buf_printf(&b, "EXTEND_TIMEOUT_USEC=240000000\nSTATUS=Waiting for storage: %.*s",
		(int)strcspn(why, "\n"), why);
	mk_notify(mk_buf_z(&b));
	mk_buf_free(&b);
}

/* A while, for storage that is away because of why; false: no more of it. */
static bool wait_for_storage(struct patience *p, const char *why)
{
	sigset_t set;
	mk_usec now = mk_now_usec();
	uint32_t dice;
	int sig;

	if (now >= p->until)
		return false;
	if (p->delay_ms == 0)
		mk_log(NULL, MK_WARN, "waiting for storage", "reason=%.*s",
			(int)strcspn(why, "\n"), why);
	tell_manager(why);
	p->delay_ms = p->delay_ms == 0 ? 100 : 2 * p->delay_ms;
	if (p->delay_ms > 4000)
		p->delay_ms = 4000;
	mk_random(&dice, sizeof dice);
	int64_t ms = p->delay_ms / 2 + (int64_t)(dice % (uint32_t)p->delay_ms) / 2;
	if (ms > (p->until - now) / 1000)
		ms = (p->until - now) / 1000;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	do {
		/* SIGHUP stays pending until the server runs. */
		struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
		sig = sigtimedwait(&set, NULL, &t);
		if (sig == SIGUSR1)
			mk_app_reopen_log();
	} while (sig == SIGUSR1 || (sig < 0 && errno == EINTR));
	p->is_asked_to_stop = sig > 0;
	return sig < 0;
}

static int stores_open_when_there(const struct mk_config *c,
	const struct mk_store_backend_conf *b, const struct mk_table *const *tables,
	struct patience *p, struct mk_diag *d)
{
	struct mk_diag why = { 0 };
	int r;

	while ((r = mk_stores_open(c, b, c->backend_count, tables, false, &why)) == -MK_EAGAIN &&
	       wait_for_storage(p, mk_buf_z(&why.text)))
		mk_diag_fini(&why);
	if (!p->is_asked_to_stop && why.text.n != 0)
		mk_diag_add(d, "%.*s", (int)why.text.n - 1, mk_buf_z(&why.text));
	mk_diag_fini(&why);
	return r;
}

/* Domains that were added at run time. */
static int load_domains(struct patience *p, struct mk_diag *d)
{
	static const char what[] = "domains can't be read from storage";
	struct mk_store *st = mk_store_new();
	int r;

	while ((r = mk_domains_load(st)) == -MK_EAGAIN && wait_for_storage(p, what))
		;
	mk_store_free(&st);
	if (r < 0 && !p->is_asked_to_stop)
		mk_diag_add(d, "%s", what);
	return r;
}

static int open_stores(const struct mk_config *c, struct patience *p, struct mk_diag *d)
{
	struct mk_store_backend_conf *b = mk_alloc((c->backend_count + 1) * sizeof *b);
	const struct mk_table **tables = all_tables();
	int r = 0;

	for (size_t i = 0; i < c->backend_count && r == 0; i++) {
		struct mk_module *m;
		struct mk_arena *a = mk_arena_new();
		void *values;
		r = mk_module_open(c->backends[i].plugin, plugin_dirs(c), d, &m);
		if (r == 0)
			r = mk_conf_check_plugin(m->plugin, c->backends[i].node, "storage.backends", a,
				d, &values);
		if (r < 0) {
			mk_arena_free(&a);
			break;
		}
		struct mk_inst *inst;
		r = mk_inst_start(m, mk_global_type, values, a, d, &inst);
		if (r < 0)
			break;
		struct running *x = mk_alloc(sizeof *x);
		x->inst = inst;
		x->module = m;
		x->type = mk_global_type;
		mk_list_push(&app.running, &x->node);
		b[i] = (struct mk_store_backend_conf){ .name = c->backends[i].name,
			.backend = m->plugin->backend, .inst = inst, .conf = values,
			.threads = (unsigned)(c->backends[i].threads != 0 ? c->backends[i].threads
			                                                  : c->jobs) };
	}
	if (r == 0)
		r = stores_open_when_there(c, b, tables, p, d);
	app.stores = r == 0;
	mk_free(b);
	mk_free(tables);
	return r;
}

/* ---- TLS and listeners ---------------------------------------------------------------- */

static struct mk_tls_cert_conf *certificates(const struct mk_config *c, size_t *n_out)
{
	struct mk_tls_cert_conf *v = mk_alloc((c->domain_count + 1) * sizeof *v);
	size_t n = 0;

	for (size_t i = 0; i < c->domain_count; i++)
		if (c->domains[i].certificate != NULL)
			v[n++] = (struct mk_tls_cert_conf){ .domain = c->domains[i].name,
				.certificate = c->domains[i].certificate, .key = c->domains[i].key,
				.file = c->domains[i].node != NULL ? c->domains[i].node->file : c->path,
				.line = c->domains[i].node != NULL ? c->domains[i].node->line : 0 };
	*n_out = n;
	return v;
}

static void add_settings(struct mk_buf *b, const struct mk_node *n)
{
	mk_buf_printf(b, "|%s %s", n->key != NULL ? n->key : "-", n->text != NULL ? n->text : "");
	for (const struct mk_node *c = n->first; c != NULL; c = c->next)
		add_settings(b, c);
}

/* All that a listener takes over when it starts: another key, another listener. */
static char *listener_key(const struct mk_config_listener *l, const struct mk_config *c)
{
	struct mk_buf b = { 0 };
	char *z;

	mk_buf_printf(&b, "%s|%s|%lld|%d|%d|%d|%lld|%s|%d|%lld|%lld", l->kind, l->address,
		(long long)l->port, l->tls, l->plain_without_tls, l->proxy_protocol,
		(long long)l->backlog, c->tls_priorities != NULL ? c->tls_priorities : "",
		c->tls_tickets, (long long)c->limits.connections_per_address,
		(long long)c->limits.accepts_per_second);
	for (uint32_t i = 0; i < l->proxy_from.n; i++)
		mk_buf_printf(&b, "|%s", l->proxy_from.v[i]);
	for (size_t i = 0; i < c->shaper_count; i++)
		if (strcmp(c->shapers[i].name, l->shaper) == 0)
			mk_buf_printf(&b, "|shaper %lld %lld %lld %lld",
				(long long)c->shapers[i].stanza_rate,
				(long long)c->shapers[i].stanza_burst,
				(long long)c->shapers[i].byte_rate,
				(long long)c->shapers[i].byte_burst);
	if (l->own != NULL)
		add_settings(&b, l->own);
	z = mk_strdup(mk_buf_z(&b));
	mk_buf_free(&b);
	return z;
}

static int start_listener(const struct mk_config_listener *l, const struct mk_config *c,
	struct mk_diag *d)
{
	struct listening *x = mk_alloc(sizeof *x);
	struct running *run = l->own != NULL ? running_find(l->kind, mk_global_type) : NULL;
	int r = 0;

	if (l->own != NULL && run == NULL) {
		mk_diag_at(d, l->node, "plugin '%s' does not run", l->kind);
		r = -MK_ENOENT;
	}
	if (r == 0)
		r = mk_c2s_start(l, c, app.tls, run != NULL ? run->module : NULL,
			run != NULL ? run->inst : NULL, d, &x->c2s);
	if (r < 0) {
		mk_free(x);
		return r;
	}
	x->key = listener_key(l, c);
	mk_list_push(&app.listening, &x->node);
	return 0;
}

static void stop_listener(struct listening *x)
{
	mk_list_remove(&x->node);
	mk_c2s_stop(&x->c2s);
	mk_free(x->key);
	mk_free(x);
}

static void set_limits(const struct mk_config *c)
{
	struct mk_config_limits l = c->limits;
	struct rlimit r;

	if (l.preauth_total == 0 && getrlimit(RLIMIT_NOFILE, &r) == 0)
		l.preauth_total = (int64_t)r.rlim_cur / 5;
	mk_limits_set(&l);
	mk_net_limits(l.write_timeout_ms, l.turn_bytes);
}

/* ---- start ----------------------------------------------------------------------------- */

static void worker_init(struct mk_worker *w)
{
	mk_sessions_worker_init(w);
	mk_streams_worker_init(w);
}

static void worker_fini(struct mk_worker *w)
{
	mk_streams_worker_fini(w);
	mk_sessions_worker_fini(w);
	mk_jid_thread_end();
}

static int make_dir(const char *path, struct mk_diag *d)
{
	if (mkdir(path, 0750) == 0 || errno == EEXIST)
		return 0;
	mk_diag_add(d, "%s: can't be made: %s", path, strerror(errno));
	return -MK_EIO;
}

static void raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void replay_one(void *arg, struct mk_stanza *s)
{
	uint64_t *n = arg;

	(*n)++;
	mk_stanza_seal(s);
	mk_recover(s);
	mk_stanza_unref(&s);
}

static int open_journal(const struct mk_config *c, struct mk_diag *d)
{
	struct mk_buf dir = { 0 };
	uint64_t n = 0;

	mk_buf_printf(&dir, "%s/journal", c->data_dir);
	struct mk_journal_conf jc = { .dir = mk_buf_z(&dir), .segment_bytes = c->journal_segment,
		.max_bytes = c->journal_max, .sync_ms = c->journal_sync_ms,
		.workers = mk_worker_count };
	int r = mk_journal_open(&jc, d);
	mk_buf_free(&dir);
	if (r < 0)
		return r;
	app.journal = true;
	r = mk_journal_replay(replay_one, &n);
	if (n != 0)
		mk_log(NULL, MK_NOTICE, "journal replayed", "stanzas=%llu", (unsigned long long)n);
	return r;
}

static unsigned worker_number(const struct mk_config *c)
{
	long n = c->workers != 0 ? (long)c->workers : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 256 ? 256 : (unsigned)n;
}

static int open_log(const struct mk_config *c, struct mk_diag *d)
{
	int r = mk_log_open(c->log.file, (enum mk_log_format)c->log.format,
		(enum mk_level)c->log.level);

	if (r < 0)
		mk_diag_add(d, "log file %s can't be opened",
			c->log.file != NULL ? c->log.file : "(standard error)");
	return r;
}

static int start_all(struct patience *p, struct mk_diag *d)
{
	struct mk_config *c = app.config;
	size_t cert_n;
	int r;

	raise_files();
	if ((r = make_dir(c->data_dir, d)) < 0 || (r = make_dir(c->run_dir, d)) < 0)
		return r;
	if ((r = mk_account_init(c->data_dir, d)) < 0)
		return r;
	mk_host_type_add("*");
	for (size_t i = 0; i < c->type_count; i++)
		type_settings(mk_host_type_add(c->types[i].name), &c->types[i]);
	set_limits(c);
	if ((r = mk_workers_start(worker_number(c), worker_init, worker_fini)) < 0) {
		mk_diag_add(d, "workers can't be started: %s", mk_strerror(-r));
		return r;
	}
	app.workers = true;
	if (c->watchdog_ms != 0)
		mk_watchdog_start(c->watchdog_ms);
	if ((r = check_plugins(c, d)) < 0 || (r = open_stores(c, p, d)) < 0)
		return r;
	for (size_t i = 0; i < c->domain_count; i++)
		if ((r = mk_domain_add(mk_strz(c->domains[i].name), c->domains[i].type, true, true)) < 0) {
			mk_diag_at(d, c->domains[i].node, "domain '%s': %s", c->domains[i].name,
				mk_strerror(-r));
			return r;
		}
	if ((r = load_domains(p, d)) < 0)
		return r;
	if (p->delay_ms != 0)
		mk_log(NULL, MK_NOTICE, "storage is there", "waited_ms=%lld",
			(long long)(mk_now_usec() - p->since) / 1000);
	for (size_t i = 0; i < c->type_count; i++)
		if ((r = start_type(c, &c->types[i], d)) < 0)
			return r;
	if ((r = open_journal(c, d)) < 0)
		return r;
	struct mk_tls_cert_conf *certs = certificates(c, &cert_n);
	r = cert_n != 0 ? mk_tls_store_new(certs, cert_n, d, &app.tls) : 0;
	mk_free(certs);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->listener_count; i++)
		if ((r = start_listener(&c->listeners[i], c, d)) < 0)
			return r;
	if ((r = mk_ctl_start(c->control_socket, d)) < 0)
		return r;
	app.ctl = true;
	app.serves = true;
	return 0;
}

/* Whose line it is. */
static void log_context(const struct mk_inst *i, struct mk_buf *fields)
{
	if (i == NULL)
		return;
	if (i->type != mk_global_type)
		mk_log_field(fields, "type", mk_strz(i->type->name));
	mk_log_field(fields, "plugin", mk_strz(i->module->plugin->name));
}

int mk_app_start(const char *conf_path, struct mk_diag *d)
{
	int r;

	main_thread = pthread_self();
	mk_log_set_context(log_context);
	app.started = mk_now_usec();
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct mk_config *c = NULL;
	r = mk_config_read(conf_path, d, &c);
	if (r < 0)
		return r;
	app.config = c;
	if ((r = open_log(c, d)) < 0)
		return r;
	struct patience p = { .since = app.started,
		.until = app.started + c->start_wait_ms * 1000 };
	r = start_all(&p, d);
	if (p.is_asked_to_stop)
		mk_notify("STOPPING=1");
	if (r < 0) {
		mk_app_stop();
		return p.is_asked_to_stop ? 1 : r;
	}
	mk_log(NULL, MK_NOTICE, "server is ready", "version=%s workers=%u start_ms=%lld", MK_VERSION,
		mk_worker_count, (long long)(mk_now_usec() - app.started) / 1000);
	return 0;
}

/* Every certificate, before anything has changed. */
static int check_tls(const struct mk_config *c, struct mk_diag *d)
{
	size_t n;
	struct mk_tls_cert_conf *certs = certificates(c, &n);
	struct mk_tls_store *tried = NULL;
	int r = n != 0 ? mk_tls_store_new(certs, n, d, &tried) : 0;

	if (tried != NULL)
		mk_tls_store_free(&tried);
	mk_free(certs);
	return r;
}

int mk_app_check(const char *conf_path, struct mk_diag *d)
{
	struct mk_config *c = NULL;
	int r = mk_config_read(conf_path, d, &c);

	main_thread = pthread_self();
	if (r < 0)
		return r;
	if (mk_global_type == NULL)
		mk_host_type_add("*");
	r = check_plugins(c, d);
	if (check_tls(c, d) < 0)
		r = -MK_EINVAL;
	mk_config_free(&c);
	return r;
}

/* ---- running --------------------------------------------------------------------------- */

void mk_app_reopen_log(void)
{
	if (mk_log_reopen() < 0)
		mk_log(NULL, MK_ERROR, "log file can't be opened anew", NULL);
}

static void on_hup(void)
{
	struct mk_diag d = { 0 };

	if (mk_app_reload(false, &d, NULL, NULL) < 0)
		mk_log(NULL, MK_ERROR, "reload refused, the old settings stay", "reason=%s",
			mk_buf_z(&d.text));
	mk_diag_fini(&d);
}

void mk_app_run(void)
{
	sigset_t set;
	int sfd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	mk_notify("READY=1\nSTATUS=");
	while (!quit) {
		struct pollfd p[2] = { { sfd, POLLIN, 0 }, { wake_fd, POLLIN, 0 } };
		struct signalfd_siginfo si;
		uint64_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		while (read(sfd, &si, sizeof si) == sizeof si) {
			if (si.ssi_signo == SIGHUP)
				on_hup();
			else if (si.ssi_signo == SIGUSR1)
				mk_app_reopen_log();
			else
				quit = true;
		}
		(void)!read(wake_fd, &n, sizeof n);
		run_calls();
	}
	close(sfd);
	mk_notify("STOPPING=1");
}

/* ---- stop ------------------------------------------------------------------------------ */

static void close_streams(struct mk_worker *w, void *arg)
{
	(void)w;
	mk_streams_close_all(arg);
}

static void count_open(struct mk_worker *w, void *arg)
{
	(void)w;
	*(uint32_t *)arg += mk_streams_lingering();
}

/* Streams get system-shutdown; what is written to slow ones may take a while. */
static void end_streams(int64_t limit_ms)
{
	mk_usec until = mk_now_usec() + limit_ms * 1000;

	mk_workers_call(close_streams, "system-shutdown");
	for (;;) {
		uint32_t n = 0;
		mk_workers_call(count_open, &n);
		if (n == 0 || mk_now_usec() > until)
			return;
		poll(NULL, 0, 10);
	}
}

void mk_app_stop(void)
{
	struct mk_list *n;

	app.serves = false;
	refuse_calls();
	if (app.ctl)
		mk_ctl_stop();
	while ((n = mk_list_first(&app.listening)) != NULL)
		stop_listener(MK_CONTAINER(n, struct listening, node));
	/* What sessions still owe stays in the journal for the next start. */
	if (app.journal)
		mk_journal_freeze();
	if (app.workers)
		end_streams(app.config->shutdown_ms);
	while (app.running.prev != &app.running) {
		struct running *x = MK_CONTAINER(app.running.prev, struct running, node);
		if (x->module->plugin->backend != NULL)
			break;         /* backends, which started first, go last    */
		stop_inst(x);
	}
	if (app.workers) {
		mk_watchdog_stop();
		mk_workers_stop();
	}
	if (app.journal)
		mk_journal_close();
	if (app.stores)
		mk_stores_close();
	while ((n = mk_list_first(&app.running)) != NULL)
		stop_inst(MK_CONTAINER(n, struct running, node));
	if (app.tls != NULL)
		mk_tls_store_free(&app.tls);
	mk_log(NULL, MK_NOTICE, "server has stopped", NULL);
	struct mk_config *c = app.config;
	app.config = NULL;
	if (c != NULL)
		mk_config_free(&c);
}

/* ---- reload ----------------------------------------------------------------------------- */

static const struct mk_config_type *type_of(const struct mk_config *c, const char *name)
{
	for (size_t i = 0; i < c->type_count; i++)
		if (strcmp(c->types[i].name, name) == 0)
			return &c->types[i];
	return NULL;
}

static const struct mk_config_domain *domain_of(const struct mk_config *c, const char *name)
{
	for (size_t i = 0; i < c->domain_count; i++)
		if (strcmp(c->domains[i].name, name) == 0)
			return &c->domains[i];
	return NULL;
}

static void reload_domains(const struct mk_config *old, const struct mk_config *c)
{
	for (size_t i = 0; i < old->domain_count; i++) {
		const struct mk_config_domain *now = domain_of(c, old->domains[i].name);
		if (now != NULL && strcmp(now->type, old->domains[i].type) == 0)
			continue;
		mk_domain_shut(mk_strz(old->domains[i].name));
		mk_domain_remove(mk_strz(old->domains[i].name));
	}
	for (size_t i = 0; i < c->domain_count; i++) {
		const struct mk_config_domain *was = domain_of(old, c->domains[i].name);
		struct mk_domain *there = mk_domain_find_any(c->domains[i].name,
			strlen(c->domains[i].name));
		if (was != NULL && strcmp(was->type, c->domains[i].type) == 0)
			continue;
		/* Added at run time before: from now on the file says what it is. */
		if (there != NULL) {
			if (strcmp(there->type->name, c->domains[i].type) != 0)
				mk_domain_shut(mk_strz(c->domains[i].name));
			mk_domain_remove(mk_strz(c->domains[i].name));
		}
		int r = mk_domain_add(mk_strz(c->domains[i].name), c->domains[i].type, true, true);
		if (r < 0)
			mk_log(NULL, MK_ERROR, "domain can't be added", "domain=%s reason=%s",
				c->domains[i].name, mk_strerror(-r));
	}
}

static int reload_listeners(const struct mk_config *c, struct mk_diag *d)
{
	char **keys = mk_alloc((c->listener_count + 1) * sizeof *keys);
	int r = 0;

	for (size_t i = 0; i < c->listener_count; i++)
		keys[i] = listener_key(&c->listeners[i], c);
	MK_LIST_EACH(n, &app.listening) {
		struct listening *x = MK_CONTAINER(n, struct listening, node);
		bool stays = false;
		for (size_t i = 0; i < c->listener_count; i++)
			stays |= strcmp(keys[i], x->key) == 0;
		if (!stays)
			stop_listener(x);
	}
	for (size_t i = 0; i < c->listener_count; i++) {
		bool there = false;
		MK_LIST_EACH(n, &app.listening)
			there |= strcmp(MK_CONTAINER(n, struct listening, node)->key, keys[i]) == 0;
		if (!there && start_listener(&c->listeners[i], c, d) < 0)
			r = -MK_EIO;
		mk_free(keys[i]);
	}
	mk_free(keys);
	return r;
}

static int reload_type(const struct mk_config *c, const struct mk_config_type *ct, struct mk_diag *d)
{
	struct mk_host_type *t = mk_host_type_get(ct->name);
	struct wanted *w;
	size_t n = wanted_of(c, ct, &w);
	int r = 0;

	if (t == NULL)
		t = mk_host_type_add(ct->name);
	type_settings(t, ct);
	/* Gone, in reverse order of start. */
	for (struct mk_list *x = app.running.prev, *prev; x != &app.running; x = prev) {
		struct running *run = MK_CONTAINER(x, struct running, node);
		prev = x->prev;
		if (run->type == t && !has(w, n, run->module->plugin->name))
			stop_inst(run);
	}
	/* There: new settings. */
	for (size_t i = 0; i < n; i++) {
		struct running *run = running_find(w[i].name, t);
		struct mk_arena *a;
		void *values;
		char *where;
		if (run == NULL)
			continue;
		a = mk_arena_new();
		where = where_of(ct->name, w[i].name);
		int one = mk_conf_check_plugin(run->module->plugin, w[i].node, where, a, d, &values);
		mk_free(where);
		if (one == 0)
			one = mk_inst_reload(run->inst, values, a, d);
		if (one < 0) {
			mk_arena_free(&a);
			r = one;
		}
	}
	mk_free(w);
	int one = start_type(c, ct, d);
	if (one < 0)
		r = one;
	mk_dispatch_build(t, d);
	mk_account_forget_all();
	return r;
}

/* The configuration names t no more. Its place stays, for what still looks. */
static void end_type(struct mk_host_type *t)
{
	for (struct mk_list *x = app.running.prev, *prev; x != &app.running; x = prev) {
		struct running *run = MK_CONTAINER(x, struct running, node);
		prev = x->prev;
		if (run->type == t)
			stop_inst(run);
	}
	t->auth.n = t->mechanisms.n = 0;
}

static void no_line(void *arg, const char *s, const char *f, const char *t, const char *n)
{
	(void)arg;
	(void)s;
	(void)f;
	(void)t;
	(void)n;
}

/* A host type that goes may not leave domains behind that were added at run
 * time: the file doesn't name them. */
struct orphans { const struct mk_config *c; struct mk_diag *d; uint32_t n; };
static bool is_orphan(struct mk_domain *dom, void *arg)
{
	struct orphans *o = arg;

	if (!dom->is_static && domain_of(o->c, mk_jid_full(dom->jid)) == NULL &&
	    type_of(o->c, dom->type->name) == NULL && o->n++ == 0)
		mk_diag_add(o->d, "host type '%s' can't go: domain %s, added at run time, is of it",
			dom->type->name, mk_jid_full(dom->jid));
	return true;
}
static int check_domains(const struct mk_config *c, struct mk_diag *d)
{
	struct orphans o = { c, d, 0 };

	mk_domain_each(is_orphan, &o);
	if (o.n > 1)
		mk_diag_add(d, "(and %u more such domains)", (unsigned)o.n - 1);
	return o.n != 0 ? -MK_EINVAL : 0;
}

static int reload_tls(const struct mk_config *c, struct mk_diag *d)
{
	size_t n;
	struct mk_tls_cert_conf *certs = certificates(c, &n);
	int r = app.tls != NULL ? mk_tls_store_reload(app.tls, certs, n, d)
		: n != 0 ? mk_tls_store_new(certs, n, d, &app.tls) : 0;

	mk_free(certs);
	return r;
}

static void config_gone(void *p)
{
	struct mk_config *c = p;
	mk_config_free(&c);
}

int mk_app_reload(bool dry_run, struct mk_diag *d,
	void (*line)(void *arg, const char *setting, const char *from, const char *to,
	             const char *need), void *arg)
{
	struct mk_config *c = NULL, *old = app.config;
	int r, failed = 0;

	if ((r = mk_config_read(old->path, d, &c)) < 0)
		return r;
	if ((r = check_plugins(c, d)) < 0 || (r = check_domains(c, d)) < 0 ||
	    (r = check_tls(c, d)) < 0) {
		mk_config_free(&c);
		return r;
	}
	if (dry_run) {
		mk_config_diff(old, c, line != NULL ? line : no_line, arg);
		mk_config_free(&c);
		return 0;
	}
	mk_notify_reloading();
	/* Tables of plugins that are new, before they start. */
	const struct mk_table **tables = all_tables();
	r = mk_stores_declare(tables, d);
	mk_free(tables);
	if (r < 0 || (r = reload_tls(c, d)) < 0 || (r = open_log(c, d)) < 0) {
		mk_config_free(&c);
		mk_notify("READY=1");
		return r;
	}
	/* From here on there is no way back; what fails is told, the rest done. */
	mk_config_diff(old, c, line != NULL ? line : no_line, arg);
	set_limits(c);
	if (c->watchdog_ms != old->watchdog_ms) {
		mk_watchdog_stop();
		if (c->watchdog_ms != 0)
			mk_watchdog_start(c->watchdog_ms);
	}
	for (size_t i = 0; i < c->type_count; i++)
		if ((r = reload_type(c, &c->types[i], d)) < 0)
			failed = r;
	reload_domains(old, c);
	for (size_t i = 0; i < old->type_count; i++)
		if (type_of(c, old->types[i].name) == NULL)
			end_type(mk_host_type_get(old->types[i].name));
	if ((r = reload_listeners(c, d)) < 0)
		failed = r;
	app.config = c;
	mk_quiesce(config_gone, old);
	mk_log(NULL, failed < 0 ? MK_ERROR : MK_NOTICE, "settings reloaded", "result=%s",
		failed < 0 ? "partly" : "all");
	mk_notify("READY=1");
	return failed;
}

/* ---- one plugin --------------------------------------------------------------------------- */

int mk_app_module(const char *name, struct mk_module **out, struct mk_diag *d)
{
	return mk_module_open(name, plugin_dirs(app.config), d, out);
}

int mk_app_plugin_start(const char *name, const char *type, struct mk_diag *d)
{
	const struct mk_config *c = app.config;
	struct mk_module *m;
	bool found = false;
	int r = mk_module_open(name, plugin_dirs(c), d, &m);

	if (r < 0)
		return r;
	if (m->plugin->tables != NULL && (r = mk_stores_declare(m->plugin->tables, d)) < 0)
		return r;
	for (size_t i = 0; i < c->type_count; i++) {
		const struct mk_config_type *t = &c->types[i];
		const struct mk_node *node = NULL;
		bool named = false;
		for (size_t k = 0; k < t->plugin_count; k++)
			if (strcmp(t->plugins[k].name, name) == 0) {
				node = t->plugins[k].node;
				named = true;
			}
		if (type != NULL ? strcmp(type, t->name) != 0 : !named)
			continue;
		found = true;
		if (running_find(name, mk_host_type_get(t->name)) != NULL)
			continue;
		if ((r = start_inst(m, mk_host_type_get(t->name), node, d)) < 0)
			return r;
		/* A credential source more: who was unknown may be known now. */
		mk_account_forget_all();
	}
	if (!found) {
		mk_diag_add(d, type != NULL ? "there is no host type '%s'"
			: "no host type names plugin '%s': say which one to start it on",
			type != NULL ? type : name);
		return -MK_ENOENT;
	}
	return 0;
}

/* Who, running on t, needs what m gives? */
static const char *needed_by(const struct mk_module *m, const struct mk_host_type *t)
{
	MK_LIST_EACH(n, &app.running) {
		struct running *x = MK_CONTAINER(n, struct running, node);
		if ((x->type != t && t != mk_global_type) || x->module == m)
			continue;
		for (const char *const *w = x->module->plugin->needs; w != NULL && *w != NULL; w++) {
			if (**w == '?')
				continue;
			if (strcmp(*w, m->plugin->name) == 0)
				return x->module->plugin->name;
			for (const char *const *g = m->plugin->gives; g != NULL && *g != NULL; g++)
				if (strcmp(*g, *w) == 0)
					return x->module->plugin->name;
		}
	}
	return NULL;
}

int mk_app_plugin_stop(const char *name, const char *type, struct mk_diag *d)
{
	struct running *x;
	bool found = false;

	while ((x = running_find(name, type != NULL ? mk_host_type_get(type) : NULL)) != NULL) {
		const char *by = needed_by(x->module, x->type);
		if (x->module->plugin->backend != NULL) {
			mk_diag_add(d, "'%s' is a storage backend in use", name);
			return -MK_EPERM;
		}
		if (by != NULL) {
			mk_diag_add(d, "plugin '%s' needs '%s': stop that first", by, name);
			return -MK_ECONFLICT;
		}
		stop_inst(x);
		found = true;
	}
	if (!found) {
		mk_diag_add(d, "plugin '%s' is not running", name);
		return -MK_ENOENT;
	}
	return 0;
}

int mk_app_plugin_reload(const char *name, struct mk_diag *d)
{
	struct mk_module *m = mk_module_find(name);
	char **types;
	size_t n = 0, k = 0;
	int r = 0;

	if (m == NULL || running_find(name, NULL) == NULL) {
		mk_diag_add(d, "plugin '%s' is not running", name);
		return -MK_ENOENT;
	}
	if (m->plugin->backend != NULL) {
		mk_diag_add(d, "'%s' is a storage backend in use", name);
		return -MK_EPERM;
	}
	MK_LIST_EACH(x, &app.running)
		if (MK_CONTAINER(x, struct running, node)->module == m)
			n++;
	types = mk_alloc((n + 1) * sizeof *types);
	MK_LIST_EACH(x, &app.running) {
		struct running *run = MK_CONTAINER(x, struct running, node);
		if (run->module != m)
			continue;
		types[k++] = mk_strdup(run->type->name);
		stop_inst(run);
	}
	/* A file that is refused leaves the old code, which is started again. */
	int opened = mk_module_reopen(m, d);
	if (!m->loaded)
		r = opened;
	if (opened == 0 && m->plugin->tables != NULL)
		r = mk_stores_declare(m->plugin->tables, d);
	for (size_t i = 0; i < k && r == 0; i++) {
		const struct mk_config_type *ct = type_of(app.config, types[i]);
		const struct mk_node *node = NULL;
		for (size_t p = 0; ct != NULL && p < ct->plugin_count; p++)
			if (strcmp(ct->plugins[p].name, name) == 0)
				node = ct->plugins[p].node;
		r = start_inst(m, mk_host_type_get(types[i]), node, d);
	}
	for (size_t i = 0; i < k; i++)
		mk_free(types[i]);
	mk_free(types);
	mk_account_forget_all();
	return opened < 0 ? opened : r;
}
