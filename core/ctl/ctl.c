/*
 * ctl/ctl.c - the control socket: a JSON object per line, each way
 *
 *   {"command": "account register", "args": {"jid": "a@b", "password": "..."}}
 *   {"ok": true, "rows": [...]}   or   {"ok": false, "error": "...", "code": "..."}
 *
 * One thread polls; a command runs as a job, so a long one delays nobody. The
 * pool is our own: commands wait for the main thread, which may itself wait for
 * jobs of the storage pools (a plugin that stops). A connection waits for its
 * answer before its next request is read.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <meerkat/jid.h>
#include "base/list.h"
#include "base/thread.h"
#include "ctl/cmd.h"
#include "domain/domain.h"
#include "main/app.h"
#include "store/store.h"
#include "base/ban.h"

#define REQUEST_MAX 65536
#define PEERS_MAX 64
#define THREADS 4                      /* commands at work at a time            */
#define LAST_WORDS_MS 2000             /* at the end, for those slow to read    */

struct peer {
	struct mk_list node;
	int fd;
	struct mk_buf in, out;
	bool busy, gone;               /* a job is at work; peer hung up        */
	bool skip;                     /* the rest of a request too long        */
	json_t *request;               /* of the job                            */
	struct mk_job job;
	json_t *answer;                /* under lock, from the job              */
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	struct mk_list peers;
	struct mk_pool *pool;
	unsigned peer_n;
	int listen_fd, wake_fd;
	bool stop;
	bool no_files;                 /* accepting failed: not again at once   */
	char *path;
} ctl = { .lock = PTHREAD_MUTEX_INITIALIZER, .listen_fd = -1, .wake_fd = -1 };

/* ---- the table of commands ---------------------------------------------------------- */

void mk_commands_each(bool (*fn)(void *arg, const struct mk_command *c, struct mk_inst *inst),
	void *arg)
{
	for (const struct mk_command *const *c = mk_core_commands; *c != NULL; c++)
		if (!fn(arg, *c, NULL))
			return;
	MK_LIST_EACH(n, &mk_modules) {
		struct mk_module *m = MK_CONTAINER(n, struct mk_module, node);
		struct mk_list *first = mk_list_first(&m->insts);
		struct mk_inst *i = first != NULL ? MK_CONTAINER(first, struct mk_inst, module_node) : NULL;
		if (i == NULL)
			continue;
		for (const struct mk_command *const *c = m->plugin->commands; c != NULL && *c != NULL; c++)
			if (!fn(arg, *c, i))
				return;
	}
}

/* ---- finding one, from a job ---------------------------------------------------------- */

struct search {
	const char *name;
	const json_t *args;
	const struct mk_command *command;
	struct mk_inst *inst;          /* entered, of a plugin's command        */
	bool is_plugins;
};

/* The host type of the first JID or domain among the arguments, or NULL. */
static const struct mk_host_type *type_of(const struct mk_command *c, const json_t *args)
{
	const struct mk_host_type *t = NULL;
	struct mk_jid *j = NULL;

	for (const struct mk_arg *a = c->args; a != NULL && a->name != NULL; a++) {
		const char *text = json_string_value(json_object_get(args, a->name));
		if ((a->type != MK_ARG_JID && a->type != MK_ARG_DOMAIN) || text == NULL ||
		    mk_jid_parsez(text, &j) < 0)
			continue;
		/* Of a room, the domain is that of its service. */
		struct mk_str of = mk_claim_domain(j);
		struct mk_str name = of.n != 0 ? of : mk_jid_domain(j);
		struct mk_domain *d = mk_domain_find_any(name.p, name.n);
		if (d != NULL)
			t = d->type;
		mk_jid_unref(&j);
		break;
	}
	return t;
}

static bool match(void *arg, const struct mk_command *c, struct mk_inst *inst)
{
	struct search *s = arg;
	const struct mk_host_type *t;

	if (strcmp(c->name, s->name) != 0)
		return true;
	s->command = c;
	if (inst == NULL)
		return false;
	s->is_plugins = true;
	t = type_of(c, s->args);
	MK_LIST_EACH(n, &inst->module->insts) {
		struct mk_inst *i = MK_CONTAINER(n, struct mk_inst, module_node);
		if ((t == NULL || i->type == t || i->type == mk_global_type) && mk_inst_enter(i)) {
			s->inst = i;
			break;
		}
	}
	return false;
}

/* On the main thread, whose the modules and instances are. */
static void find_plugins(void *arg)
{
	struct search *s = arg;
	mk_commands_each(match, s);
}

/* Why not, or NULL. The core's own need no other thread. */
static const char *find(struct search *s)
{
	for (const struct mk_command *const *c = mk_core_commands; *c != NULL; c++)
		if (strcmp((*c)->name, s->name) == 0) {
			s->command = *c;
			return NULL;
		}
	if (!mk_main_call(find_plugins, s))
		return "the server is stopping";
	if (s->command == NULL)
		return "there is no such command";
	return s->is_plugins && s->inst == NULL ? "the plugin does not run there" : NULL;
}

/* ---- requests ------------------------------------------------------------------------ */

static json_t *failure(const char *code, const char *text)
{
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", text, "code", code);
}

static void wake(void)
{
	uint64_t one = 1;
	(void)!write(ctl.wake_fd, &one, sizeof one);
}

/* Passwords don't stay in freed memory (S-21). */
static void wipe_secrets(const struct mk_command *c, const json_t *args)
{
	for (const struct mk_arg *a = c->args; a != NULL && a->name != NULL; a++) {
		json_t *v = json_object_get(args, a->name);
		if (a->type == MK_ARG_SECRET && json_is_string(v))
			explicit_bzero((char *)(uintptr_t)json_string_value(v),
				json_string_length(v));
	}
}

static json_t *run(struct search *s, struct mk_store *st)
{
	const char *why = find(s);
	struct mk_cmd c;
	int r;

	if (why != NULL)
		return failure(s->command != NULL ? "failed" : "not-found", why);
	r = mk_cmd_begin(&c, s->command, s->args);
	if (r == 0) {
		r = s->command->run(s->inst, &c, st);
		if (r < 0 && c.err == 0)
			c.err = r;
	}
	json_t *o = mk_cmd_end(&c);
	wipe_secrets(s->command, s->args);
	mk_store_job_end(st);
	if (s->inst != NULL)
		mk_inst_leave(s->inst);
	return o;
}

static void job_run(struct mk_job *j, void *thread_data)
{
	struct peer *p = MK_CONTAINER(j, struct peer, job);
	struct search s = {
		.name = json_string_value(json_object_get(p->request, "command")),
		.args = json_object_get(p->request, "args"),
	};
	json_t *o = run(&s, thread_data);

	pthread_mutex_lock(&ctl.lock);
	p->answer = o;
	wake();
	pthread_mutex_unlock(&ctl.lock);
}

static void *job_thread_init(void *arg)
{
	(void)arg;
	return mk_store_new();
}
static void job_thread_fini(void *data)
{
	struct mk_store *st = data;
	mk_store_free(&st);
	mk_jid_thread_end();
}

static void answer(struct peer *p, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	mk_buf_addz(&p->out, text != NULL ? text
		: "{\"ok\":false,\"error\":\"the answer can't be written\",\"code\":\"failed\"}");
	mk_buf_addc(&p->out, '\n');
	free(text);
	json_decref(o);
}

static void request(struct peer *p, const char *line, size_t n)
{
	json_error_t e;
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e), *args;

	if (!json_is_object(o) || !json_is_string(json_object_get(o, "command"))) {
		answer(p, failure("invalid", "a request is an object with a text 'command'"));
		json_decref(o);
		return;
	}
	args = json_object_get(o, "args");
	if (args == NULL)
		json_object_set_new(o, "args", json_object());
	else if (!json_is_object(args)) {
		answer(p, failure("invalid", "'args' must be an object"));
		json_decref(o);
		return;
	}
	p->request = o;
	p->busy = true;
	p->job.run = job_run;
	p->job.done = NULL;
	mk_pool_submit(ctl.pool, &p->job);
}

/* Takes n bytes away in front, and wipes where they were: they may hold a
 * password. */
static void consume(struct mk_buf *b, size_t n)
{
	memmove(b->p, b->p + n, b->n - n);
	explicit_bzero(b->p + b->n - n, n);
	b->n -= n;
}

/* Requests that are complete, one at a time. */
static void requests(struct peer *p)
{
	char *nl;

	while (!p->busy && p->in.n != 0 && (nl = memchr(p->in.p, '\n', p->in.n)) != NULL) {
		size_t n = (size_t)(nl - p->in.p);
		if (p->skip)
			p->skip = false;
		else if (n > REQUEST_MAX)
			answer(p, failure("limit", "the request is too long"));
		else
			request(p, p->in.p, n);
		consume(&p->in, n + 1);
	}
	if (p->busy || p->in.n <= REQUEST_MAX)
		return;
	if (!p->skip)
		answer(p, failure("limit", "the request is too long"));
	p->skip = true;
	consume(&p->in, p->in.n);
}

static void on_readable(struct peer *p)
{
	ssize_t r = read(p->fd, mk_buf_need(&p->in, 4096), 4096);

	if (r > 0)
		p->in.n += (size_t)r;
	else if (r == 0 || (errno != EAGAIN && errno != EINTR))
		p->gone = true;
	requests(p);
}

static void on_writable(struct peer *p)
{
	ssize_t r = send(p->fd, p->out.p, p->out.n, MSG_NOSIGNAL);

	if (r > 0) {
		consume(&p->out, (size_t)r);
	} else if (errno != EAGAIN && errno != EINTR) {
		p->gone = true;
		p->out.n = 0;
	}
}

static void peer_free(struct peer *p)
{
	mk_list_remove(&p->node);
	ctl.peer_n--;
	close(p->fd);
	mk_buf_free(&p->in);
	mk_buf_free(&p->out);
	mk_free(p);
}

static void on_accept(void)
{
	int fd = accept4(ctl.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t n = sizeof who;

	if (fd < 0) {
		ctl.no_files = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 ||
	    (who.uid != 0 && who.uid != geteuid()) || ctl.peer_n >= PEERS_MAX) {
		mk_log(NULL, MK_WARN, "control connection refused", "uid=%d", (int)who.uid);
		close(fd);
		return;
	}
	struct peer *p = mk_alloc(sizeof *p);
	p->fd = fd;
	mk_list_push(&ctl.peers, &p->node);
	ctl.peer_n++;
}

static void collect_answers(void)
{
	MK_LIST_EACH(n, &ctl.peers) {
		struct peer *p = MK_CONTAINER(n, struct peer, node);
		pthread_mutex_lock(&ctl.lock);
		json_t *o = p->answer;
		p->answer = NULL;
		pthread_mutex_unlock(&ctl.lock);
		if (o == NULL)
			continue;
		p->busy = false;
		json_decref(p->request);
		p->request = NULL;
		answer(p, o);
		requests(p);
	}
}

/* What to wait for at p; nothing: not even its end, or poll would return at
 * once while a job is at work for somebody who left. */
static struct pollfd interest(const struct peer *p)
{
	short events = (short)((p->gone || p->busy ? 0 : POLLIN) |
	                       (p->out.n != 0 ? POLLOUT : 0));
	return (struct pollfd){ events != 0 ? p->fd : -1, events, 0 };
}

static void on_ready(struct peer *p, short what)
{
	if (what & POLLOUT)
		on_writable(p);
	if (what & POLLIN) {
		on_readable(p);
	} else if (what & (POLLHUP | POLLERR)) {
		p->gone = true;
		p->out.n = 0;
	}
}

static void *serve(void *arg)
{
	struct pollfd f[PEERS_MAX + 2];
	struct peer *who[PEERS_MAX + 2];
	mk_usec until = 0;             /* once we are to stop                   */
	uint64_t wakes;

	(void)arg;
	for (;;) {
		nfds_t k = 2;
		bool at_work = false, unread = false, stop;

		f[0] = (struct pollfd){ ctl.no_files ? -1 : ctl.listen_fd, POLLIN, 0 };
		f[1] = (struct pollfd){ ctl.wake_fd, POLLIN, 0 };
		MK_LIST_EACH(x, &ctl.peers) {
			struct peer *p = MK_CONTAINER(x, struct peer, node);
			if (p->gone && !p->busy && p->out.n == 0) {
				peer_free(p);
				continue;
			}
			at_work |= p->busy;
			unread |= p->out.n != 0;
			who[k] = p;
			f[k++] = interest(p);
		}
		pthread_mutex_lock(&ctl.lock);
		stop = ctl.stop;
		pthread_mutex_unlock(&ctl.lock);
		/* At the end, what is at work still gets its answer. */
		if (stop && until == 0)
			until = mk_now_usec() + LAST_WORDS_MS * 1000;
		if (stop && !at_work && (!unread || mk_now_usec() > until))
			break;
		if (poll(f, k, ctl.no_files || stop ? 100 : -1) < 0)
			continue;
		ctl.no_files = false;
		if (f[1].revents != 0)
			(void)!read(ctl.wake_fd, &wakes, sizeof wakes);
		for (nfds_t i = 2; i < k; i++)
			on_ready(who[i], f[i].revents);
		collect_answers();
		if (f[0].revents != 0 && !stop)
			on_accept();
	}
	struct mk_list *x;
	while ((x = mk_list_first(&ctl.peers)) != NULL)
		peer_free(MK_CONTAINER(x, struct peer, node));
	return NULL;
}

/* ---- start and stop ------------------------------------------------------------------- */

/* A socket file that nobody listens at is what a killed server left. */
static int clear_place(const struct sockaddr_un *a, struct mk_diag *d)
{
	struct stat s;
	int fd, r;

	if (lstat(a->sun_path, &s) < 0)
		return 0;
	if (!S_ISSOCK(s.st_mode)) {
		mk_diag_add(d, "control socket %s: there is a file which is no socket", a->sun_path);
		return -MK_ECONFLICT;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = connect(fd, (const struct sockaddr *)a, sizeof *a) < 0 ? errno : 0;
	close(fd);
	if (r == ECONNREFUSED && unlink(a->sun_path) == 0)
		return 0;
	if (r == 0 || r == EAGAIN || r == EINPROGRESS)
		mk_diag_add(d, "control socket %s: another server answers there", a->sun_path);
	else
		mk_diag_add(d, "control socket %s: the old one can't be removed: %s", a->sun_path,
			strerror(errno));
	return -MK_ECONFLICT;
}

int mk_ctl_start(const char *socket_path, struct mk_diag *d)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int r;

	if (strlen(socket_path) >= sizeof a.sun_path) {
		mk_diag_add(d, "control socket: the path is longer than %zu bytes: %s",
			sizeof a.sun_path - 1, socket_path);
		return -MK_EINVAL;
	}
	memcpy(a.sun_path, socket_path, strlen(socket_path));
	if ((r = clear_place(&a, d)) < 0)
		return r;
	ctl.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ctl.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Linux gives the file the mode of the socket; the umask belongs to the
	 * whole process, whose other threads make files meanwhile. */
	if (ctl.listen_fd < 0 || ctl.wake_fd < 0 || fchmod(ctl.listen_fd, 0600) < 0 ||
	    bind(ctl.listen_fd, (struct sockaddr *)&a, sizeof a) < 0) {
		mk_diag_add(d, "control socket %s: %s", socket_path, strerror(errno));
		goto fail;
	}
	if (listen(ctl.listen_fd, 2 * PEERS_MAX) < 0) {
		mk_diag_add(d, "control socket %s: %s", socket_path, strerror(errno));
		goto fail_bound;
	}
	ctl.stop = false;
	mk_list_init(&ctl.peers);
	ctl.pool = mk_pool_new("ctl", THREADS, job_thread_init, job_thread_fini, NULL);
	if (mk_thread_start(&ctl.thread, "ctl", serve, NULL) < 0) {
		mk_diag_add(d, "control socket: no thread for it");
		mk_pool_free(&ctl.pool);
		goto fail_bound;
	}
	ctl.path = mk_strdup(socket_path);
	return 0;
fail_bound:
	unlink(socket_path);
fail:
	if (ctl.listen_fd >= 0)
		close(ctl.listen_fd);
	if (ctl.wake_fd >= 0)
		close(ctl.wake_fd);
	ctl.listen_fd = ctl.wake_fd = -1;
	return -MK_EIO;
}

void mk_ctl_stop(void)
{
	pthread_mutex_lock(&ctl.lock);
	ctl.stop = true;
	pthread_mutex_unlock(&ctl.lock);
	wake();
	pthread_join(ctl.thread, NULL);
	mk_pool_free(&ctl.pool);
	unlink(ctl.path);
	close(ctl.listen_fd);
	close(ctl.wake_fd);
	ctl.listen_fd = ctl.wake_fd = -1;
	mk_free(ctl.path);
	ctl.path = NULL;
}
