/*
 * pgsql/pgsql_server.c - a PostgreSQL server of a test program's own
 */
#include "pgsql_server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], bin[256];
static pid_t server, owner;
static bool with_sync;

static bool has_programs(const char *path)
{
	char file[300];

	snprintf(file, sizeof file, "%s/initdb", path);
	if (access(file, X_OK) != 0)
		return false;
	snprintf(file, sizeof file, "%s/postgres", path);
	return access(file, X_OK) == 0;
}

/* Where distributions put them; the newest of several. */
static bool programs_find(void)
{
	static const char *const places[] = { "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin" };
	const char *named = getenv("MEERKAT_POSTGRES_BIN");
	bool found = named != NULL && has_programs(named);

	if (found)
		snprintf(bin, sizeof bin, "%s", named);
	for (size_t i = 0; !found && i < sizeof places / sizeof *places; i++) {
		glob_t g;
		if (glob(places[i], 0, NULL, &g) != 0)
			continue;
		for (size_t k = g.gl_pathc; k > 0 && !found; k--) {
			found = has_programs(g.gl_pathv[k - 1]);
			if (found)
				snprintf(bin, sizeof bin, "%s", g.gl_pathv[k - 1]);
		}
		globfree(&g);
	}
	return found;
}

/* PostgreSQL refuses to run as root. */
static const struct passwd *other_user(void)
{
	const struct passwd *p = getpwnam("postgres");

	return p != NULL ? p : getpwnam("nobody");
}

static pid_t spawn(char *const argv[])
{
	char log[80];

	snprintf(log, sizeof log, "%s/log", folder);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
	int null = open("/dev/null", O_RDONLY);
	const struct passwd *p = getuid() == 0 ? other_user() : NULL;
	if (fd < 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 ||
	    (getuid() == 0 && (p == NULL || setgroups(0, NULL) != 0 || setgid(p->pw_gid) != 0 ||
	                       setuid(p->pw_uid) != 0)) || chdir(folder) != 0)
		_exit(126);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	execv(argv[0], argv);
	_exit(127);
}

static void give_up(const char *what)
{
	fprintf(stderr, "PostgreSQL for this test: %s (see %s/log)\n", what, folder);
	folder[0] = '\0';              /* kept                                  */
	exit(1);
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
	(void)s, (void)flag, (void)f;
	return remove(path);
}

static void at_end(void)
{
	if (getpid() != owner)
		return;
	server_stop(SIGQUIT);
	if (folder[0] != '\0')
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char *place(const char *program, char out[300])
{
	snprintf(out, 300, "%s/%s", bin, program);
	return out;
}

void server_restart(void)
{
	char program[300], data[80], target[160];
	mk_usec until = mk_now_usec() + 60 * 1000000;
	PGPing p;

	snprintf(data, sizeof data, "%s/data", folder);
	snprintf(target, sizeof target, "host=%s dbname=postgres user=test connect_timeout=5", folder);
	char *argv[] = { place("postgres", program), "-D", data, "-k", folder, "-c",
		"listen_addresses=", "-c", "max_connections=64", "-c",
		with_sync ? "fsync=on" : "fsync=off", "-c", "log_statement=none", "-c",
		"autovacuum_naptime=5s", "-c", "shared_buffers=64MB", "-c",
		"log_min_messages=warning", NULL };
	server = spawn(argv);
	while ((p = PQping(target)) != PQPING_OK) {
		if (p == PQPING_NO_ATTEMPT || mk_now_usec() > until ||
		    waitpid(server, NULL, WNOHANG) != 0)
			give_up("the server doesn't start");
		usleep(10000);
	}
}

const char *server_start(bool sync)
{
	char program[300], data[80];
	int status = -1;

	if (server != 0)
		return folder;
	if (!programs_find() || (getuid() == 0 && other_user() == NULL)) {
		fprintf(stderr, "skipped: no PostgreSQL server was found; install the package "
			"postgresql, or set MEERKAT_POSTGRES_BIN\n");
		exit(77);
	}
	with_sync = sync;
	owner = getpid();
	snprintf(folder, sizeof folder, "/tmp/mk-pg-XXXXXX");
	if (mkdtemp(folder) == NULL)
		give_up(strerror(errno));
	if (getuid() == 0 && chown(folder, other_user()->pw_uid, other_user()->pw_gid) != 0)
		give_up(strerror(errno));
	atexit(at_end);
	snprintf(data, sizeof data, "%s/data", folder);
	char *argv[] = { place("initdb", program), "-D", data, "-U", "test", "-A", "trust", "-E",
		"UTF8", "--locale=C", "-N", NULL };
	pid_t pid = spawn(argv);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		give_up("initdb failed");
	server_restart();
	return folder;
}

void server_stop(int mode)
{
	if (server <= 0)
		return;
	kill(server, mode);
	waitpid(server, NULL, 0);
	server = 0;
}

void server_signal(int signal)
{
	char *end, file[64], text[512];
	glob_t g;

	/* Its processes are its children; each has a group of its own. */
	kill(server, signal);
	if (glob("/proc/[0-9]*/stat", 0, NULL, &g) != 0)
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		snprintf(file, sizeof file, "%s", g.gl_pathv[i]);
		int fd = open(file, O_RDONLY);
		ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = '\0';
		end = strrchr(text, ')');      /* pid (name) state parent ...   */
		if (end != NULL && strlen(end) > 4 && atoi(end + 4) == (int)server)
			kill((pid_t)atoi(text), signal);
	}
	globfree(&g);
}

struct pgsql_conf server_conf(const char *schema)
{
	return (struct pgsql_conf){ .host = server_start(false), .port = 5432,
		.database = "postgres", .user = "test", .schema = schema, .sslmode = 4,
		.connect_timeout = 5000, .statement_timeout = 10000 };
}

const char *server_run(const char *sql)
{
	static char answer[256];
	char target[160];

	snprintf(target, sizeof target, "host=%s dbname=postgres user=test "
		"application_name=admin connect_timeout=10", folder);
	PGconn *h = PQconnectdb(target);
	PGresult *r = PQexec(h, sql);
	ExecStatusType s = PQresultStatus(r);
	if (s != PGRES_TUPLES_OK && s != PGRES_COMMAND_OK) {
		fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(h));
		exit(1);
	}
	snprintf(answer, sizeof answer, "%s",
		s == PGRES_TUPLES_OK && PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	PQfinish(h);
	return answer;
}

void server_settle(void)
{
	mk_usec until = mk_now_usec() + 20 * 1000000;

	while (strcmp(server_run("SELECT count(*) FROM pg_stat_activity "
	    "WHERE application_name = 'meerkat'"), "0") != 0 && mk_now_usec() < until)
		usleep(2000);
}
