/*
 * main/main.c - meerkatd
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "main/app.h"
#include "main/notify.h"
#include "base/ban.h"

static void usage(FILE *f)
{
	fputs("usage: meerkatd [-c FILE] [-f] [--check | --control-socket]\n"
	      "       meerkatd --settings | --version | --help\n"
	      "  -c, --config FILE   configuration (" MK_SYSCONF_DIR "/meerkat.yml)\n"
	      "  -f, --foreground    accepted; it never goes to the background\n"
	      "      --check         check the configuration and its plugins, start nothing\n"
	      "      --control-socket  print where meerkatctl finds a server of this configuration\n"
	      "      --settings      print the core's settings, for the manual\n"
	      "      --version       print the version\n", f);
}

/* Signals come by a descriptor, so no thread may take them. */
static void block_signals(void)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGTERM);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGHUP);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* No memory image with passwords in it (S-21). */
static void keep_secrets(void)
{
	struct rlimit none = { 0, 0 };

	if (getenv("MEERKAT_ALLOW_CORE") != NULL)
		return;
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static int print_socket(const char *path)
{
	struct mk_config *c = NULL;
	struct mk_diag d = { 0 };
	int r = mk_config_read(path, &d, &c);

	if (r < 0)
		fprintf(stderr, "%s", mk_buf_z(&d.text));
	else
		puts(c->control_socket);
	mk_diag_fini(&d);
	if (c != NULL)
		mk_config_free(&c);
	return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "check", no_argument, NULL, 'k' },
		{ "control-socket", no_argument, NULL, 'S' },
		{ "settings", no_argument, NULL, 's' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *path = MK_SYSCONF_DIR "/meerkat.yml";
	struct mk_diag d = { 0 };
	bool check = false, socket_only = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "c:fh", options, NULL)) != -1)
		switch (c) {
		case 'c': path = optarg; break;
		case 'f': break;
		case 'k': check = true; break;
		case 'S': socket_only = true; break;
		case 's': {
			struct mk_buf b = { 0 };
			mk_config_describe(&b);
			fwrite(b.p, 1, b.n, stdout);
			mk_buf_free(&b);
			return 0;
		}
		case 'V': puts("meerkatd " MK_VERSION); return 0;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	if (optind != argc) {
		usage(stderr);
		return 2;
	}
	if (socket_only)
		return print_socket(path);
	umask(0027);
	block_signals();
	keep_secrets();
	r = check ? mk_app_check(path, &d) : mk_app_start(path, &d);
	if (d.text.n != 0)
		fprintf(stderr, "%s", mk_buf_z(&d.text));
	mk_diag_fini(&d);
	if (r != 0)
		return r < 0;
	if (check) {
		puts("the configuration is fine");
		return 0;
	}
	mk_app_run();
	mk_app_stop();
	return 0;
}
