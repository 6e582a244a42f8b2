/*
 * ctl/meerkatctl.c - the operator's tool: one command, one answer
 *
 * Asks the server for its table of commands, so that arguments, help and
 * completion fit the server it talks to. Links nothing of the core: what needs
 * a configuration is asked of the meerkatd beside it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_SERVER = 3 };

static FILE *to, *from;

static void usage(FILE *f)
{
	fputs("usage: meerkatctl [-s SOCKET | -c FILE] [--json] COMMAND [ARGUMENT]... [--NAME [VALUE]]...\n"
	      "  -s, --socket PATH   control socket ($MEERKAT_SOCKET, /run/meerkat/meerkat.sock)\n"
	      "  -c, --config FILE   the control socket that this configuration names\n"
	      "      --json          answers as JSON\n"
	      "  help [COMMAND]      commands, or one of them\n"
	      "  check-config [FILE] checks a configuration without a server\n"
	      "  completion SHELL    a script for bash, zsh or fish\n"
	      "A secret that is left out is asked for; '-' reads it from standard input.\n"
	      "After '--' nothing is an option.\n", f);
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

/* Takes args. */
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
	if (json_is_true(json_object_get(answer, "record")))
		show_one(json_array_get(rows, 0));
	else if (rows != NULL)
		show_table(rows);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : EXIT_FAILED;
}

/* ---- the table of commands ---------------------------------------------------------------- */

static const char *field(const json_t *o, const char *key)
{
	const char *z = json_string_value(json_object_get(o, key));
	return z != NULL ? z : "";
}
static bool is_type(const json_t *argument, const char *type)
{
	return strcmp(field(argument, "type"), type) == 0;
}
static bool is_optional(const json_t *argument)
{
	return json_is_true(json_object_get(argument, "optional"));
}
/* An array; of no length if the command takes nothing. */
static const json_t *arguments(const json_t *command)
{
	return json_object_get(command, "args");
}

static void print_command(const json_t *c, bool in_full)
{
	json_t *a;
	size_t i;

	printf("%s", field(c, "name"));
	json_array_foreach((json_t *)arguments(c), i, a)
		if (is_type(a, "flag"))
			printf(" [--%s]", field(a, "name"));
		else
			printf(is_optional(a) ? " [%s]" : is_type(a, "words") ? " %s..." : " %s",
				field(a, "name"));
	printf("\n    %s\n", field(c, "doc"));
	if (!in_full)
		return;
	json_array_foreach((json_t *)arguments(c), i, a)
		printf("    %s%-12s %s\n", is_type(a, "flag") ? "--" : "  ", field(a, "name"),
			field(a, "doc"));
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

static const json_t *argument(const json_t *command, const char *name, size_t n)
{
	json_t *a;
	size_t i;

	json_array_foreach((json_t *)arguments(command), i, a)
		if (strlen(field(a, "name")) == n && strncmp(field(a, "name"), name, n) == 0)
			return a;
	return NULL;
}

/* The next that is given by its place. */
static const json_t *next_argument(const json_t *command, const json_t *have)
{
	json_t *a;
	size_t i;

	json_array_foreach((json_t *)arguments(command), i, a)
		if (!is_type(a, "flag") && (is_type(a, "words") ||
		    json_object_get(have, field(a, "name")) == NULL))
			return a;
	return NULL;
}

static bool set_text(json_t *o, const char *name, const char *text)
{
	if (json_object_set_new(o, name, json_string(text)) == 0)
		return true;
	fprintf(stderr, "meerkatctl: '%s' is no UTF-8\n", name);
	return false;
}

static bool set_secret(json_t *o, const char *name)
{
	char *s = ask_secret(name);
	bool ok = s != NULL && set_text(o, name, s);

	if (s == NULL)
		fprintf(stderr, "meerkatctl: '%s' was not given\n", name);
	else
		explicit_bzero(s, strlen(s));
	free(s);
	return ok;
}

static bool add_word(json_t *o, const char *name, const char *word)
{
	const char *old = json_string_value(json_object_get(o, name));
	size_t n = (old != NULL ? strlen(old) + 1 : 0) + strlen(word) + 1;
	char *both = malloc(n);
	bool ok;

	if (both == NULL)
		return false;
	snprintf(both, n, "%s%s%s", old != NULL ? old : "", old != NULL ? "\n" : "", word);
	ok = set_text(o, name, both);
	free(both);
	return ok;
}

/* from_stdin: set to the argument of words that is to be read. */
static json_t *parse_args(const json_t *command, int argc, char **argv, const char **from_stdin)
{
	json_t *o = json_object(), *each;
	bool flags = true;
	size_t k;

	for (int i = 0; i < argc; i++) {
		const json_t *a;
		const char *value = argv[i], *name;
		if (flags && strcmp(value, "--") == 0) {
			flags = false;
			continue;
		}
		if (flags && strncmp(value, "--", 2) == 0) {
			size_t n = strcspn(value + 2, "=");
			a = argument(command, value + 2, n);
			if (a == NULL) {
				fprintf(stderr, "meerkatctl: '%s' is no argument of '%s'\n", value,
					field(command, "name"));
				goto fail;
			}
			name = field(a, "name");
			if (is_type(a, "flag") && value[2 + n] == '\0') {
				json_object_set_new(o, name, json_true());
				continue;
			}
			if (is_type(a, "flag") || (value[2 + n] == '\0' && i + 1 == argc)) {
				fprintf(stderr, "meerkatctl: --%s %s\n", name,
					is_type(a, "flag") ? "takes no value" : "needs a value");
				goto fail;
			}
			value = value[2 + n] == '=' ? value + 3 + n : argv[++i];
		} else {
			a = next_argument(command, o);
			if (a == NULL) {
				fprintf(stderr, "meerkatctl: too many arguments: %s\n", value);
				goto fail;
			}
			name = field(a, "name");
		}
		if (is_type(a, "secret") && strcmp(value, "-") == 0) {
			if (!set_secret(o, name))
				goto fail;
		} else if (is_type(a, "words") && strcmp(value, "-") == 0) {
			*from_stdin = name;
		} else if (!(is_type(a, "words") ? add_word(o, name, value)
		                                  : set_text(o, name, value))) {
			goto fail;
		}
	}
	json_array_foreach((json_t *)arguments(command), k, each)
		if (is_type(each, "secret") && !is_optional(each) &&
		    json_object_get(o, field(each, "name")) == NULL &&
		    !set_secret(o, field(each, "name")))
			goto fail;
	json_array_foreach((json_t *)arguments(command), k, each)
		if (!is_optional(each) && json_object_get(o, field(each, "name")) == NULL &&
		    (*from_stdin == NULL || strcmp(*from_stdin, field(each, "name")) != 0)) {
			fprintf(stderr, "meerkatctl: '%s' needs the argument '%s': %s\n",
				field(command, "name"), field(each, "name"), field(each, "doc"));
			goto fail;
		}
	return o;
fail:
	json_decref(o);
	return NULL;
}

/* ---- many words from standard input -------------------------------------------------------- */

#define PART_BYTES 16384               /* of words in one request               */

/* Adds up the numbers of two answers that each are one row. */
static void sum_up(json_t *sum, const json_t *answer)
{
	json_t *into = json_array_get(json_object_get(sum, "rows"), 0), *v;
	const char *key;

	json_object_foreach(json_array_get(json_object_get(answer, "rows"), 0), key, v) {
		json_t *old = json_object_get(into, key);
		if (json_is_integer(old) && json_is_integer(v))
			json_integer_set(old, json_integer_value(old) + json_integer_value(v));
	}
}

/* Lines of standard input, up to about PART_BYTES; false: that was all. */
static bool read_part(FILE *out)
{
	char *line = NULL;
	size_t cap = 0, bytes = 0;
	ssize_t n = 0;

	while (bytes < PART_BYTES && (n = getline(&line, &cap, stdin)) > 0) {
		fwrite(line, 1, (size_t)n, out);
		bytes += (size_t)n;
	}
	free(line);
	return n > 0;
}

static json_t *ask_in_parts(const char *command, json_t *args, const char *name)
{
	json_t *sum = NULL;
	bool more = true, ok = true;

	while (more && ok) {
		char *text = NULL;
		size_t n;
		FILE *f = open_memstream(&text, &n);
		if (f == NULL)
			exit(EXIT_FAILED);
		more = read_part(f);
		if (fclose(f) != 0 || !set_text(args, name, text))
			exit(EXIT_USAGE);
		free(text);
		json_t *answer = ask(command, json_incref(args));
		ok = json_is_true(json_object_get(answer, "ok"));
		if (sum == NULL || !ok) {
			json_decref(sum);
			sum = answer;
		} else {
			sum_up(sum, answer);
			json_decref(answer);
		}
	}
	return sum;
}

/* ---- completion ---------------------------------------------------------------------------- */

/* z with what closes a quoted word escaped, as sh (mark "'\\''") and fish do. */
static void put_quoted(const char *z, const char *mark)
{
	putchar('\'');
	for (; *z != '\0'; z++)
		if (*z == '\'')
			fputs(mark, stdout);
		else
			putchar(*z);
	putchar('\'');
}

static void complete_words(const json_t *table)
{
	json_t *c, *a;
	size_t i, k;

	json_array_foreach((json_t *)table, i, c) {
		printf("\t\t");
		put_quoted(field(c, "name"), "'\\''");
		json_array_foreach((json_t *)arguments(c), k, a)
			if (is_optional(a))
				printf(" '%s --%s'", field(c, "name"), field(a, "name"));
		putchar('\n');
	}
}

static void complete_fish(const json_t *table)
{
	const char *before = "";
	json_t *c;
	size_t i;

	puts("complete -c meerkatctl -f");
	json_array_foreach((json_t *)table, i, c) {
		const char *name = field(c, "name"), *space = strrchr(name, ' ');
		/* The last word of the name, once those before it stand there. */
		printf("complete -c meerkatctl -n '");
		if (space != NULL)
			printf("__fish_seen_subcommand_from %.*s", (int)(space - name), name);
		else
			printf("__fish_use_subcommand");
		printf("' -a '%s' -d ", space != NULL ? space + 1 : name);
		put_quoted(field(c, "doc"), "\\'");
		putchar('\n');
		/* The first one, once for those that share it. */
		size_t n = strcspn(name, " ");
		if (space != NULL && (strlen(before) <= n || strncmp(before, name, n + 1) != 0))
			printf("complete -c meerkatctl -n '__fish_use_subcommand' -a '%.*s'\n",
				(int)n, name);
		before = name;
	}
}

static int completion(const json_t *table, const char *shell)
{
	if (strcmp(shell, "bash") == 0 || strcmp(shell, "zsh") == 0) {
		if (shell[0] == 'z')
			puts("autoload -U +X bashcompinit && bashcompinit");
		puts("_meerkatctl() {\n\tlocal words=(");
		complete_words(table);
		puts("\t\t'help' 'check-config' 'completion bash' 'completion zsh' 'completion fish'\n\t)\n"
		     "\tlocal have=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" w r\n"
		     "\tlocal cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
		     "\tCOMPREPLY=()\n"
		     "\tfor w in \"${words[@]}\"; do\n"
		     "\t\tif [ -z \"$have\" ]; then\n\t\t\tr=$w\n"
		     "\t\telif [ \"${w#\"$have \"}\" != \"$w\" ]; then\n\t\t\tr=${w#\"$have \"}\n"
		     "\t\telse\n\t\t\tcontinue\n\t\tfi\n"
		     "\t\tr=${r%% *}\n"
		     "\t\tcase \" ${COMPREPLY[*]} \" in *\" $r \"*) continue ;; esac\n"
		     "\t\tcase $r in \"$cur\"*) COMPREPLY+=(\"$r\") ;; esac\n"
		     "\tdone\n}\ncomplete -F _meerkatctl meerkatctl");
		return 0;
	}
	if (strcmp(shell, "fish") == 0) {
		complete_fish(table);
		return 0;
	}
	fprintf(stderr, "meerkatctl: completion for bash, zsh or fish\n");
	return EXIT_USAGE;
}

/* ---- what meerkatd answers ------------------------------------------------------------------ */

/* Becomes the meerkatd beside this program, or where it is installed. */
static void become_meerkatd(const char *what, const char *file)
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
			execl(path, "meerkatd", what, "-c", file, (char *)NULL);
		else
			execl(path, "meerkatd", what, (char *)NULL);
	}
	fprintf(stderr, "meerkatctl: meerkatd is not beside this program\n");
	_exit(EXIT_FAILED);
}

/* The control socket that a configuration names, or NULL after a message. */
static char *socket_of(const char *file)
{
	int fds[2], status;
	char *line = NULL;
	size_t cap = 0;
	pid_t pid;

	if (pipe(fds) < 0 || (pid = fork()) < 0) {
		perror("meerkatctl");
		return NULL;
	}
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		become_meerkatd("--control-socket", file);
	}
	close(fds[1]);
	FILE *f = fdopen(fds[0], "r");
	ssize_t n = f != NULL ? getline(&line, &cap, f) : -1;
	if (f != NULL)
		fclose(f);
	if (waitpid(pid, &status, 0) < 0 || status != 0 || n <= 1) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* ---- main ------------------------------------------------------------------------------------- */

static int help(const json_t *table, int argc, char **argv)
{
	int used;
	const json_t *c = find(table, argc, argv, &used);
	json_t *x;
	size_t i;

	if (argc > 0 && c == NULL) {
		size_t n = strlen(argv[0]), found = 0;
		/* "help account": all that begins with it. */
		json_array_foreach((json_t *)table, i, x)
			if (strncmp(field(x, "name"), argv[0], n) == 0 && field(x, "name")[n] == ' ') {
				print_command(x, false);
				found++;
			}
		if (found == 0 || argc > 1) {
			fprintf(stderr, "meerkatctl: there is no such command\n");
			return EXIT_USAGE;
		}
		return 0;
	}
	if (c != NULL) {
		print_command(c, true);
		return 0;
	}
	usage(stdout);
	putchar('\n');
	json_array_foreach((json_t *)table, i, x)
		print_command(x, false);
	return 0;
}

static int run(const json_t *table, int argc, char **argv, bool as_json)
{
	const char *from_stdin = NULL;
	int used, r;
	const json_t *c = find(table, argc, argv, &used);

	if (c == NULL) {
		fprintf(stderr, "meerkatctl: there is no command '%s%s%s'; 'meerkatctl help' lists them\n",
			argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
		return EXIT_USAGE;
	}
	json_t *args = parse_args(c, argc - used, argv + used, &from_stdin);
	if (args == NULL)
		return EXIT_USAGE;
	json_t *answer = from_stdin != NULL ? ask_in_parts(field(c, "name"), args, from_stdin)
		: ask(field(c, "name"), json_incref(args));
	json_decref(args);
	r = show(answer, as_json);
	json_decref(answer);
	return r;
}

static int talk(const char *path, int argc, char **argv, bool as_json)
{
	int r;

	if (!connect_server(path))
		return EXIT_NO_SERVER;
	json_t *table = ask("commands", json_object());
	const json_t *rows = json_object_get(table, "rows");
	if (strcmp(argv[0], "completion") == 0)
		r = completion(rows, argc > 1 ? argv[1] : "");
	else if (strcmp(argv[0], "help") == 0)
		r = help(rows, argc - 1, argv + 1);
	else
		r = run(rows, argc, argv, as_json);
	json_decref(table);
	fclose(to);
	fclose(from);
	return r;
}

int main(int argc, char **argv)
{
	const char *path = getenv("MEERKAT_SOCKET"), *config = NULL;
	bool as_json = false, options = true;
	char **words, *named = NULL;
	int n = 0, r = EXIT_USAGE;

	words = calloc((size_t)argc + 1, sizeof *words);
	if (words == NULL)
		return EXIT_FAILED;
	if (path == NULL || *path == '\0')
		path = "/run/meerkat/meerkat.sock";
	for (int i = 1; i < argc; i++) {
		bool is_socket = strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--socket") == 0;
		bool is_config = strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0;
		if (n == 0 && (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)) {
			usage(stdout);
			r = 0;
			goto end;
		}
		if (n == 0 && (is_socket || is_config)) {
			if (++i == argc) {
				n = 0;
				break;
			}
			if (is_socket)
				path = argv[i];
			else
				config = argv[i];
		} else if (options && strcmp(argv[i], "--json") == 0) {
			as_json = true;
		} else {
			options = options && strcmp(argv[i], "--") != 0;
			words[n++] = argv[i];
		}
	}
	if (n == 0) {
		usage(stderr);
		goto end;
	}
	if (strcmp(words[0], "check-config") == 0)
		become_meerkatd("--check", n > 1 ? words[1] : config);
	if (config != NULL && (path = named = socket_of(config)) == NULL)
		goto end;
	r = talk(path, n, words, as_json);
end:
	free(named);
	free(words);
	return r;
}
