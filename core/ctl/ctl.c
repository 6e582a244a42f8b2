/*
 * ctl/ctl.c - the control socket: a JSON object per line, each way
 *
 *   {"command": "account register", "args": {"jid": "a@b", "password": "..."}}
 *   {"ok": true, "rows": [...]}   or   {"ok": false, "error": "...", "code": "..."}
 *
 * One thread polls; a command runs as a job, so a long one delays nobody. A
 * connection waits for its answer before its next request is read.
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

#include "base/list.h"
#include "ctl/cmd.h"
#include "plugin/dispatch.h"
#include "store/store.h"
#include "base/ban.h"

#define REQUEST_MAX 65536
#define PEERS_MAX 64

struct peer {
	struct mk_list node;
	int fd;
	struct mk_buf in, out;
	bool busy, gone;               /* a job is at work; peer hung up        */
	json_t *request;               /* of the job                            */
	const struct mk_command *command;
	struct mk_inst *inst;
	struct mk_job job;
	json_t *answer;                /* under lock, from the job              */
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	struct mk_list peers;
	unsigned peer_n;
	int listen_fd, wake_fd;
	bool stop;
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

struct search { const char *name; const struct mk_command *command; struct mk_inst *inst; };

static bool match(void *arg, const struct mk_command *c, struct mk_inst *inst)
{
	struct search *s = arg;

	if (strcmp(c->name, s->name) != 0)
		return true;
	s->command = c;
	s->inst = inst;
	return false;
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

static void job_run(struct mk_job *j, void *thread_data)
{
	struct peer *p = MK_CONTAINER(j, struct peer, job);
	struct mk_cmd c;
	int r = mk_cmd_begin(&c, p->command, json_object_get(p->request, "args"));

	if (r == 0) {
		r = p->command->run(p->inst, &c, thread_data);
		if (r < 0 && c.err == 0)
			c.err = r;
	}
	json_t *answer = mk_cmd_end(&c);
	if (p->inst != NULL)
		mk_inst_leave(p->inst);
	mk_store_job_end(thread_data);
	pthread_mutex_lock(&ctl.lock);
	p->answer = answer;
	wake();
	pthread_mutex_unlock(&ctl.lock);
}

static void answer(struct peer *p, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	mk_buf_addz(&p->out, text != NULL ? text : "{\"ok\":false,\"error\":\"no memory\"}");
	mk_buf_addc(&p->out, '\n');
	free(text);
	json_decref(o);
}

static void request(struct peer *p, const char *line, size_t n)
{
	json_error_t e;
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e), *args;
	struct search s = { 0 };

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
	s.name = json_string_value(json_object_get(o, "command"));
	mk_commands_each(match, &s);
	if (s.command == NULL || (s.inst != NULL && !mk_inst_enter(s.inst))) {
		answer(p, failure("not-found", "there is no such command"));
		json_decref(o);
		return;
	}
	p->request = o;
	p->command = s.command;
	p->inst = s.inst;
	p->busy = true;
	p->job.run = job_run;
	p->job.done = NULL;
	mk_pool_submit(mk_store_pool(NULL), &p->job);
}

/* Requests that are complete, one at a time. */
static void requests(struct peer *p)
{
	char *nl;

	while (!p->busy && p->in.n != 0 && (nl = memchr(p->in.p, '\n', p->in.n)) != NULL) {
		size_t n = (size_t)(nl - p->in.p);
		request(p, p->in.p, n);
		memmove(p->in.p, nl + 1, p->in.n - n - 1);
		p->in.n -= n + 1;
	}
	if (!p->busy && p->in.n >= REQUEST_MAX) {
		answer(p, failure("invalid", "the request is too long"));
		p->in.n = 0;
		p->gone = true;
	}
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
		memmove(p->out.p, p->out.p + r, p->out.n - (size_t)r);
		p->out.n -= (size_t)r;
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

	if (fd < 0)
		return;
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

static void *serve(void *arg)
{
	struct pollfd f[PEERS_MAX + 2];
	struct peer *who[PEERS_MAX + 2];
	uint64_t n;

	(void)arg;
	for (;;) {
		nfds_t k = 2;
		bool waiting = false;
		f[0] = (struct pollfd){ ctl.listen_fd, POLLIN, 0 };
		f[1] = (struct pollfd){ ctl.wake_fd, POLLIN, 0 };
		MK_LIST_EACH(x, &ctl.peers) {
			struct peer *p = MK_CONTAINER(x, struct peer, node);
			if (p->gone && !p->busy && p->out.n == 0) {
				peer_free(p);
				continue;
			}
			waiting |= p->busy || p->out.n != 0;
			who[k] = p;
			f[k++] = (struct pollfd){ p->fd, (short)((p->gone || p->busy ? 0 : POLLIN) |
				(p->out.n != 0 ? POLLOUT : 0)), 0 };
		}
		pthread_mutex_lock(&ctl.lock);
		bool stop = ctl.stop;
		pthread_mutex_unlock(&ctl.lock);
		/* At the end, what is at work still gets its answer. */
		if (stop && !waiting)
			break;
		if (poll(f, k, -1) < 0)
			continue;
		if (f[1].revents != 0)
			(void)!read(ctl.wake_fd, &n, sizeof n);
		for (nfds_t i = 2; i < k; i++) {
			if (f[i].revents & POLLOUT)
				on_writable(who[i]);
			if (f[i].revents & POLLIN)
				on_readable(who[i]);
			else if (f[i].revents & (POLLHUP | POLLERR)) {
				who[i]->gone = true;
				who[i]->out.n = 0;
			}
		}
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

static int stale(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, (const struct sockaddr *)a, sizeof *a);

	close(fd);
	return r < 0;
}

int mk_ctl_start(const char *socket_path, struct mk_diag *d)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	mode_t old;
	int r;

	if (strlen(socket_path) >= sizeof a.sun_path) {
		mk_diag_add(d, "control socket: the path is longer than %zu bytes: %s",
			sizeof a.sun_path - 1, socket_path);
		return -MK_EINVAL;
	}
	memcpy(a.sun_path, socket_path, strlen(socket_path));
	if (access(socket_path, F_OK) == 0) {
		if (!stale(&a)) {
			mk_diag_add(d, "control socket %s: another server answers there", socket_path);
			return -MK_ECONFLICT;
		}
		unlink(socket_path);
	}
	ctl.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	old = umask(0177);
	r = bind(ctl.listen_fd, (struct sockaddr *)&a, sizeof a);
	umask(old);
	if (r < 0 || listen(ctl.listen_fd, 16) < 0) {
		mk_diag_add(d, "control socket %s: %s", socket_path, strerror(errno));
		close(ctl.listen_fd);
		return -MK_EIO;
	}
	ctl.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ctl.path = mk_strdup(socket_path);
	ctl.stop = false;
	mk_list_init(&ctl.peers);
	if (pthread_create(&ctl.thread, NULL, serve, NULL) != 0) {
		mk_diag_add(d, "control socket: no thread for it");
		return -MK_EIO;
	}
	return 0;
}

void mk_ctl_stop(void)
{
	pthread_mutex_lock(&ctl.lock);
	ctl.stop = true;
	pthread_mutex_unlock(&ctl.lock);
	wake();
	pthread_join(ctl.thread, NULL);
	unlink(ctl.path);
	close(ctl.listen_fd);
	close(ctl.wake_fd);
	mk_free(ctl.path);
	ctl.path = NULL;
}
