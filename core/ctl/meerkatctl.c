/*
 * ctl/meerkatctl.c - the operator's tool: one command, one answer
 *
 * Asks the server for its table of commands, so that arguments, help and
 * completion fit the server it talks to. Links nothing of the core.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_SERVER = 3 };

static FILE *to, *from;

static void usage(FILE *f)
{
	fputs("usage: meerkatctl [-s SOCKET] [--json] COMMAND [ARGUMENT]... [--FLAG [VALUE]]...\n"
	      "  -s, --socket PATH   control socket ($MEERKAT_SOCKET, /run/meerkat/meerkat.sock)\n"
	      "      --json          answers as JSON\n"
	      "  help [COMMAND]      commands, or one of them\n"
	      "  check-config [FILE] checks a configuration without a server\n"
	      "  completion SHELL    a script for bash, zsh or fish\n"
	      "A secret that is left out is asked for; '-' reads it from standard input.\n", f);
}

/* ---- talking ------------------------------------------------------------------------ */

static bool connect_server(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof a.sun_path) {
		fprintf(stderr, "meerkatctl: the socket's path is too long: %s\n", path);
		return false;
	}
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		fprintf(stderr, "meerkatctl: no server at %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	to = fdopen(fd, "w");
	from = fdopen(dup(fd), "r");
	return to != NULL && from != NULL;
}

static json_t *ask(const char *command, json_t *args)
{
	json_t *o = json_pack("{s:s, s:o}", "command", command, "args", args), *answer;
	char *line = NULL;
	size_t cap = 0;
	json_error_t e;

	json_dumpf(o, to, JSON_COMPACT);
	json_decref(o);
	fputc('\n', to);
	if (fflush(to) != 0 || getline(&line, &cap, from) <= 0) {
		fprintf(stderr, "meerkatctl: the server hung up\n");
		exit(EXIT_NO_SERVER);
	}
	answer = json_loads(line, JSON_REJECT_DUPLICATES, &e);
	free(line);
	if (answer == NULL) {
		fprintf(stderr, "meerkatctl: the server's answer is no JSON: %s\n", e.text);
		exit(EXIT_FAILED);
	}
	return answer;
}

/* ---- showing -------------------------------------------------------------------------- */

static const char *text_of(const json_t *v, char *b, size_t n)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v))
		snprintf(b, n, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	else if (json_is_null(v) || v == NULL)
		return "-";
	else
		snprintf(b, n, "?");
	return b;
}

/* Bytes that begin no UTF-8 continuation: good enough for alignment. */
static int width_of(const char *z)
{
	int n = 0;
	for (; *z != '\0'; z++)
		n += ((unsigned char)*z & 0xc0) != 0x80;
	return n;
}

static void show_one(const json_t *row)
{
	const char *key;
	json_t *v;
	char b[32];
	int w = 0;

	json_object_foreach((json_t *)row, key, v)
		if (width_of(key) > w)
			w = width_of(key);
	json_object_foreach((json_t *)row, key, v)
		printf("%-*s  %s\n", w, key, text_of(v, b, sizeof b));
}

#define COLUMNS_MAX 64
static void show_table(const json_t *rows)
{
	const char *keys[COLUMNS_MAX];
	int w[COLUMNS_MAX], n = 0;
	const char *key;
	json_t *row, *v;
	size_t i;
	char b[32];

	json_array_foreach((json_t *)rows, i, row)
		json_object_foreach(row, key, v) {
			int k = 0;
			while (k < n && strcmp(keys[k], key) != 0)
				k++;
			if (k == COLUMNS_MAX)
				continue;
			if (k == n) {
				keys[n] = key;
				w[n++] = width_of(key);
			}
			int have = width_of(text_of(v, b, sizeof b));
			if (have > w[k])
				w[k] = have;
		}
	for (int k = 0; k < n; k++)
		printf("%s%-*s", k > 0 ? "  " : "", k + 1 < n ? w[k] : 0, keys[k]);
	putchar('\n');
	json_array_foreach((json_t *)rows, i, row) {
		for (int k = 0; k < n; k++) {
			const char *t = text_of(json_object_get(row, keys[k]), b, sizeof b);
			printf("%s%s%*s", k > 0 ? "  " : "", t, k + 1 < n ? w[k] - width_of(t) : 0, "");
		}
		putchar('\n');
	}
}

static int show(const json_t *answer, bool as_json)
{
	const json_t *rows = json_object_get(answer, "rows");
	const char *text = json_string_value(json_object_get(answer, "text"));

	if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *e = json_string_value(json_object_get(answer, "error"));
		size_t n = e != NULL ? strlen(e) : 0;
		if (as_json) {
			json_dumpf(answer, stdout, JSON_COMPACT);
			putchar('\n');
		}
		fprintf(stderr, "meerkatctl: %s%s", e != NULL ? e : "refused",
			n != 0 && e[n - 1] == '\n' ? "" : "\n");
		return EXIT_FAILED;
	}
	if (as_json) {
		if (text != NULL) {
			json_t *o = json_pack("{s:s}", "text", text);
			if (rows != NULL)
				json_object_set(o, "rows", (json_t *)rows);
			json_dumpf(o, stdout, JSON_INDENT(2));
			json_decref(o);
		} else if (rows != NULL) {
			json_dumpf(rows, stdout, JSON_INDENT(2));
		} else {
			fputs("[]", stdout);
		}
		putchar('\n');
		return 0;
	}
	if (text != NULL)
		fputs(text, stdout);
	if (json_array_size(rows) == 1)
		show_one(json_array_get(rows, 0));
	else if (rows != NULL)
		show_table(rows);
	return 0;
}

/* ---- the table of commands ---------------------------------------------------------------- */

struct argument { char name[64], type[16]; const char *doc; bool optional; };

/* "name?:type:doc" lines. How many; at most 16. */
static int arguments(const json_t *command, struct argument a[16])
{
	const char *p = json_string_value(json_object_get(command, "args"));
	int n = 0;

	while (p != NULL && *p != '\0' && n < 16) {
		const char *end = strchr(p, '\n'), *c1 = strchr(p, ':'), *c2 = c1 ? strchr(c1 + 1, ':') : NULL;
		size_t name_n;
		if (c2 == NULL)
			break;
		name_n = (size_t)(c1 - p);
		a[n].optional = name_n > 0 && p[name_n - 1] == '?';
		if (a[n].optional)
			name_n--;
		snprintf(a[n].name, sizeof a[n].name, "%.*s", (int)name_n, p);
		snprintf(a[n].type, sizeof a[n].type, "%.*s", (int)(c2 - c1 - 1), c1 + 1);
		a[n].doc = c2 + 1;
		n++;
		p = end != NULL ? end + 1 : NULL;
	}
	return n;
}

static void print_command(const json_t *c, bool in_full)
{
	struct argument a[16];
	int n = arguments(c, a);

	printf("%s", json_string_value(json_object_get(c, "name")));
	for (int i = 0; i < n; i++)
		if (strcmp(a[i].type, "flag") == 0)
			printf(" [--%s]", a[i].name);
		else
			printf(a[i].optional ? " [%s]" : " %s", a[i].name);
	printf("\n    %s\n", json_string_value(json_object_get(c, "doc")));
	for (int i = 0; in_full && i < n; i++) {
		const char *end = strchr(a[i].doc, '\n');
		printf("    %-12s %.*s\n", a[i].name,
			end != NULL ? (int)(end - a[i].doc) : (int)strlen(a[i].doc), a[i].doc);
	}
}

/* The command whose words are the longest beginning of argv; *words of them. */
static const json_t *find(const json_t *table, int argc, char **argv, int *words)
{
	const json_t *best = NULL;
	json_t *c;
	size_t i;

	*words = 0;
	json_array_foreach((json_t *)table, i, c) {
		const char *name = json_string_value(json_object_get(c, "name"));
		const char *p = name;
		int k = 0;
		while (k < argc && p != NULL) {
			size_t n = strcspn(p, " ");
			if (strlen(argv[k]) != n || strncmp(argv[k], p, n) != 0)
				break;
			k++;
			p = p[n] == ' ' ? p + n + 1 : NULL;
		}
		if (p == NULL && k > *words) {
			*words = k;
			best = c;
		}
	}
	return best;
}

static char *ask_secret(const char *name)
{
	struct termios old, quiet;
	bool tty = isatty(0) && tcgetattr(0, &old) == 0;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (tty) {
		fprintf(stderr, "%s: ", name);
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(0, TCSAFLUSH, &quiet);
	}
	n = getline(&line, &cap, stdin);
	if (tty) {
		tcsetattr(0, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	if (n <= 0) {
		free(line);
		return NULL;
	}
	if (line[n - 1] == '\n')
		line[n - 1] = '\0';
	return line;
}

static json_t *parse_args(const json_t *command, int argc, char **argv)
{
	struct argument a[16];
	int n = arguments(command, a), next = 0;
	json_t *o = json_object();

	for (int i = 0; i < argc; i++) {
		int k;
		if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
			for (k = 0; k < n && strcmp(a[k].name, argv[i] + 2) != 0; k++)
				;
			if (k == n) {
				fprintf(stderr, "meerkatctl: '%s' is no argument of '%s'\n", argv[i],
					json_string_value(json_object_get(command, "name")));
				goto fail;
			}
			if (strcmp(a[k].type, "flag") == 0) {
				json_object_set_new(o, a[k].name, json_true());
				continue;
			}
			if (++i == argc) {
				fprintf(stderr, "meerkatctl: --%s needs a value\n", a[k].name);
				goto fail;
			}
		} else {
			while (next < n && (strcmp(a[next].type, "flag") == 0 ||
			                    json_object_get(o, a[next].name) != NULL))
				next++;
			if (next == n) {
				fprintf(stderr, "meerkatctl: too many arguments: %s\n", argv[i]);
				goto fail;
			}
			k = next++;
		}
		if (strcmp(a[k].type, "secret") == 0 && strcmp(argv[i], "-") == 0) {
			char *s = ask_secret(a[k].name);
			json_object_set_new(o, a[k].name, json_string(s != NULL ? s : ""));
			free(s);
		} else if (json_object_set_new(o, a[k].name, json_string(argv[i])) < 0) {
			fprintf(stderr, "meerkatctl: '%s' is no UTF-8\n", a[k].name);
			goto fail;
		}
	}
	for (int k = 0; k < n; k++)
		if (strcmp(a[k].type, "secret") == 0 && !a[k].optional &&
		    json_object_get(o, a[k].name) == NULL) {
			char *s = ask_secret(a[k].name);
			if (s == NULL)
				goto fail;
			json_object_set_new(o, a[k].name, json_string(s));
			free(s);
		}
	return o;
fail:
	json_decref(o);
	return NULL;
}

/* ---- completion ---------------------------------------------------------------------------- */

static void each_name(const json_t *table, const char *before, const char *after)
{
	json_t *c;
	size_t i;

	json_array_foreach((json_t *)table, i, c)
		printf("%s%s%s", before, json_string_value(json_object_get(c, "name")), after);
}

static int completion(const json_t *table, const char *shell)
{
	if (strcmp(shell, "bash") == 0 || strcmp(shell, "zsh") == 0) {
		if (shell[0] == 'z')
			puts("autoload -U +X bashcompinit && bashcompinit");
		printf("_meerkatctl() {\n\tlocal words=(");
		each_name(table, "'", "' ");
		puts("'help' 'check-config' 'completion bash' 'completion zsh' 'completion fish')\n"
		     "\tlocal have=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" cur=\"${COMP_WORDS[COMP_CWORD]}\" w r\n"
		     "\tCOMPREPLY=()\n"
		     "\tfor w in \"${words[@]}\"; do\n"
		     "\t\tif [ -z \"$have\" ]; then r=\"$w\"; elif [ \"${w#\"$have \"}\" != \"$w\" ]; "
		     "then r=\"${w#\"$have \"}\"; else continue; fi\n"
		     "\t\tr=\"${r%% *}\"\n"
		     "\t\tcase \"$r\" in \"$cur\"*) COMPREPLY+=(\"$r\");; esac\n"
		     "\tdone\n}\ncomplete -F _meerkatctl meerkatctl");
		return 0;
	}
	if (strcmp(shell, "fish") == 0) {
		json_t *c;
		size_t i;
		json_array_foreach((json_t *)table, i, c)
			printf("complete -c meerkatctl -f -n '__fish_use_subcommand' -a '%s' -d '%s'\n",
				json_string_value(json_object_get(c, "name")),
				json_string_value(json_object_get(c, "doc")));
		return 0;
	}
	fprintf(stderr, "meerkatctl: completion for bash, zsh or fish\n");
	return EXIT_USAGE;
}

/* meerkatd beside this program, or where it is installed. */
static int check_config(const char *file)
{
	char self[4096], path[4160];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		if (slash != NULL)
			*slash = '\0';
		snprintf(path, sizeof path, "%s/meerkatd", self);
		if (access(path, X_OK) != 0)
			snprintf(path, sizeof path, "%s/../sbin/meerkatd", self);
		if (file != NULL)
			execl(path, "meerkatd", "--check", "-c", file, (char *)NULL);
		else
			execl(path, "meerkatd", "--check", (char *)NULL);
	}
	fprintf(stderr, "meerkatctl: meerkatd is not beside this program\n");
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const char *path = getenv("MEERKAT_SOCKET");
	bool as_json = false;
	char *words[256];
	int n = 0;

	if (path == NULL || *path == '\0')
		path = "/run/meerkat/meerkat.sock";
	for (int i = 1; i < argc && n < 256; i++) {
		if (n == 0 && (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)) {
			usage(stdout);
			return 0;
		}
		if (n == 0 && (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--socket") == 0)) {
			if (++i == argc) {
				usage(stderr);
				return EXIT_USAGE;
			}
			path = argv[i];
		} else if (strcmp(argv[i], "--json") == 0) {
			as_json = true;
		} else {
			words[n++] = argv[i];
		}
	}
	if (n == 0) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(words[0], "check-config") == 0)
		return check_config(n > 1 ? words[1] : NULL);
	if (!connect_server(path))
		return EXIT_NO_SERVER;
	json_t *table_answer = ask("commands", json_object());
	const json_t *table = json_object_get(table_answer, "rows");
	int used, r;

	if (strcmp(words[0], "completion") == 0)
		return completion(table, n > 1 ? words[1] : "");
	if (strcmp(words[0], "help") == 0) {
		const json_t *c = find(table, n - 1, words + 1, &used);
		json_t *x;
		size_t i;
		if (n > 1 && c == NULL) {
			fprintf(stderr, "meerkatctl: there is no such command\n");
			return EXIT_USAGE;
		}
		if (c != NULL)
			print_command(c, true);
		else
			json_array_foreach((json_t *)table, i, x)
				print_command(x, false);
		return 0;
	}
	const json_t *c = find(table, n, words, &used);
	if (c == NULL) {
		fprintf(stderr, "meerkatctl: there is no command '%s%s%s'; 'meerkatctl help' lists them\n",
			words[0], n > 1 ? " " : "", n > 1 ? words[1] : "");
		return EXIT_USAGE;
	}
	json_t *args = parse_args(c, n - used, words + used);
	if (args == NULL)
		return EXIT_USAGE;
	json_t *answer = ask(json_string_value(json_object_get(c, "name")), args);
	r = show(answer, as_json);
	json_decref(answer);
	json_decref(table_answer);
	fclose(to);
	fclose(from);
	return r;
}
