/*
 * conf/yaml.c - libyaml's events into nodes; files, includes, merging
 *
 * Runs on the main thread or in meerkatctl. Everything it makes is of the
 * caller's arena, also after a failure.
 */
#include "conf/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>
#include "base/assert.h"
#include "conf/fill.h"
#include "base/ban.h"

struct reader {
	yaml_parser_t yaml;
	const char *file;
	struct mk_str text;
	struct mk_arena *arena;
	struct mk_diag *d;
	int depth;
	bool failed;                   /* a mistake that let us go on           */
};

static int value(struct reader *r, yaml_event_t *e, struct mk_node *parent,
	struct mk_node **out);

static void at_mark(struct mk_node *n, const struct reader *r, yaml_mark_t m)
{
	n->file = r->file;
	n->line = (int)m.line + 1;
	n->column = (int)m.column + 1;
}

static void mistake(struct reader *r, const struct mk_node *n, const char *what)
{
	mk_diag_at(r->d, n, "%s", what);
	r->failed = true;
}

/* libyaml gives no mark for bytes that it can't read, only an offset. */
static yaml_mark_t mark_of(const struct reader *r, size_t offset)
{
	yaml_mark_t m = { 0, 0, 0 };

	for (size_t i = 0; i < offset && i < r->text.n; i++) {
		m.column++;
		if (r->text.p[i] == '\n') {
			m.line++;
			m.column = 0;
		}
	}
	return m;
}

/* What libyaml stumbled over often has one cause; its marks count characters. */
static const char *hint(const struct reader *r, yaml_mark_t m)
{
	const char *p = r->text.p, *end = p + r->text.n;

	for (size_t i = 0; p < end; p++)
		if (((unsigned char)*p & 0xc0) != 0x80 && i++ == m.index)
			break;
	if (p < end && *p == '\t')
		return " (indent by spaces, not tabs)";
	if (p > r->text.p && p < end && p[0] == '{' && p[-1] == '$')
		return " (between brackets a ${VARIABLE} needs quotes)";
	if (end - p >= 2 && p[0] == ':' && p[1] == ':')
		return " (an IPv6 address needs quotes here: \"::1\")";
	return "";
}

static int next(struct reader *r, yaml_event_t *e)
{
	yaml_parser_t *y = &r->yaml;
	struct mk_node at = { 0 };
	const char *begun = "";

	if (yaml_parser_parse(y, e))
		return 0;
	if (y->error == YAML_READER_ERROR) {
		at_mark(&at, r, mark_of(r, y->problem_offset));
		mk_diag_at(r->d, &at, "not a text in UTF-8: %s", y->problem);
		return -MK_EINVAL;
	}
	at_mark(&at, r, y->problem_mark);
	if (y->context != NULL && y->context_mark.line != y->problem_mark.line)
		begun = mk_arena_printf(r->arena, " that begins at %zu:%zu",
		                        y->context_mark.line + 1, y->context_mark.column + 1);
	mk_diag_at(r->d, &at, "not YAML: %s%s%s%s%s",
	           y->problem != NULL ? y->problem : "it can't be read",
	           y->context != NULL ? " " : "", y->context != NULL ? y->context : "", begun,
	           hint(r, y->problem_mark));
	return -MK_EINVAL;
}

/* ---- ${ENV} ------------------------------------------------------------------- */

static bool is_name(const char *p, size_t n)
{
	if (n == 0 || isdigit((unsigned char)p[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)p[i]) && p[i] != '_')
			return false;
	return true;
}

/* What stands between "${" and "}" goes to b. */
static void variable(struct reader *r, const struct mk_node *n, struct mk_str in,
	struct mk_buf *b)
{
	const char *dflt = memmem(in.p, in.n, ":-", 2), *v;
	size_t name_n = dflt != NULL ? (size_t)(dflt - in.p) : in.n;
	char *name;

	if (!is_name(in.p, name_n)) {
		mistake(r, n, "'${' needs the name of a variable and '}'; "
		        "write '$${' for the characters themselves");
		return;
	}
	name = mk_arena_strndup(r->arena, in.p, name_n);
	v = getenv(name);
	if (v == NULL && dflt == NULL) {
		mk_diag_at(r->d, n, "the environment has no variable '%s' "
		           "(${%s:-text} would give it a default)", name, name);
		r->failed = true;
		return;
	}
	if (dflt != NULL && (v == NULL || *v == '\0')) {
		dflt += 2;
		mk_buf_add(b, dflt, (size_t)(in.p + in.n - dflt));
		return;
	}
	if (!mk_utf8_valid(v, strlen(v))) {
		mk_diag_at(r->d, n, "the variable '%s' isn't a text in UTF-8", name);
		r->failed = true;
		return;
	}
	mk_buf_addz(b, v);
}

/* Sets n->text, or n->key with is_key. */
static void expand(struct reader *r, struct mk_node *n, struct mk_str s, bool is_key)
{
	struct mk_buf b = { 0 };
	const char *p = s.p, *end = s.p + s.n, *text;

	if (memchr(s.p, 0, s.n) != NULL) {
		mistake(r, n, "a value can't hold the character NUL");
		s.n = strlen(s.p);
		end = p + s.n;
	}
	while (p < end) {
		const char *close;
		if (end - p >= 3 && memcmp(p, "$${", 3) == 0) {
			mk_buf_addz(&b, "${");
			p += 3;
			continue;
		}
		if (end - p < 2 || memcmp(p, "${", 2) != 0) {
			mk_buf_addc(&b, *p++);
			continue;
		}
		close = memchr(p + 2, '}', (size_t)(end - p - 2));
		variable(r, n, (struct mk_str){ p + 2, close != NULL ?
		         (size_t)(close - p - 2) : 0 }, &b);
		n->is_secret = n->is_secret || !is_key;
		p = close != NULL ? close + 1 : end;
	}
	text = mk_arena_strndup(r->arena, b.p != NULL ? b.p : "", b.n);
	mk_buf_free(&b);
	if (is_key)
		n->key = text;
	else
		n->text = text;
}

/* ---- events into nodes ----------------------------------------------------------- */

static void marks_refused(struct reader *r, const struct mk_node *n,
	const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL)
		mistake(r, n, "anchors (&name) are not allowed here; write the value out");
	if (tag != NULL)
		mistake(r, n, "tags (!type) are not allowed here; the setting knows its type");
}

/* A value of such a name is not for printing, whoever declared it. */
static bool names_secret(const char *key)
{
	static const char *const words[] = { "password", "passwd", "secret", "token",
		"credential", "apikey", "api_key" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasestr(key, words[i]) != NULL)
			return true;
	return false;
}

static void duplicates(struct reader *r, struct mk_node *map)
{
	size_t n;
	const struct mk_node **v = mk_node_sorted(map, &n), *first = NULL;

	for (size_t i = 0; i < n; i++) {
		struct mk_node at;
		if (first == NULL || strcmp(first->key, v[i]->key) != 0) {
			first = v[i];
			continue;
		}
		at = *v[i];
		at.line = at.key_line;
		at.column = at.key_column;
		mk_diag_at(r->d, &at, "'%s' is given twice; first at %s:%d:%d", at.key,
		           first->file, first->key_line, first->key_column);
		r->failed = true;
	}
	mk_free(v);
}

/* The children of a list or map whose start was read. */
static int children(struct reader *r, struct mk_node *n)
{
	yaml_event_type_t end = n->kind == MK_NODE_MAP ? YAML_MAPPING_END_EVENT
		: YAML_SEQUENCE_END_EVENT;
	struct mk_node **tail = &n->first;
	int x;

	if (++r->depth > MK_YAML_DEPTH_MAX) {
		mk_diag_at(r->d, n, "nested deeper than %d levels", MK_YAML_DEPTH_MAX);
		return -MK_EINVAL;
	}
	for (;;) {
		yaml_event_t e;
		struct mk_node key = { 0 }, *c = NULL;
		x = next(r, &e);
		if (x < 0)
			return x;
		if (e.type == end) {
			yaml_event_delete(&e);
			break;
		}
		if (n->kind == MK_NODE_MAP) {
			at_mark(&key, r, e.start_mark);
			if (e.type != YAML_SCALAR_EVENT) {
				yaml_event_delete(&e);
				mk_diag_at(r->d, &key, "the name of a setting must be a word");
				return -MK_EINVAL;
			}
			marks_refused(r, &key, e.data.scalar.anchor, e.data.scalar.tag);
			expand(r, &key, (struct mk_str){ (char *)e.data.scalar.value,
			       e.data.scalar.length }, true);
			yaml_event_delete(&e);
			if (*key.key == '\0')
				mistake(r, &key, "the name of a setting is empty");
			x = next(r, &e);
			if (x < 0)
				return x;
		}
		x = value(r, &e, n, &c);
		if (x < 0)
			return x;
		if (n->kind == MK_NODE_MAP) {
			c->key = key.key;
			c->key_line = key.line;
			c->key_column = key.column;
			if (c->kind == MK_NODE_SCALAR && names_secret(c->key))
				c->is_secret = true;
		}
		*tail = c;
		tail = &c->next;
	}
	r->depth--;
	if (n->kind == MK_NODE_MAP)
		duplicates(r, n);
	return 0;
}

/* As YAML and JSON write it; where a text is meant, quotes say so. */
static bool nothing(const char *text)
{
	return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

/* Takes the event. */
static int value(struct reader *r, yaml_event_t *e, struct mk_node *parent,
	struct mk_node **out)
{
	struct mk_node *n = mk_arena_alloc(r->arena, sizeof *n);
	int x = 0;

	at_mark(n, r, e->start_mark);
	n->parent = parent;
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		n->kind = MK_NODE_SCALAR;
		n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		n->is_null = !n->quoted && nothing((char *)e->data.scalar.value);
		marks_refused(r, n, e->data.scalar.anchor, e->data.scalar.tag);
		expand(r, n, (struct mk_str){ (char *)e->data.scalar.value,
		       e->data.scalar.length }, false);
		if (n->is_null)
			n->text = "";
		break;
	case YAML_SEQUENCE_START_EVENT:
		n->kind = MK_NODE_LIST;
		marks_refused(r, n, e->data.sequence_start.anchor, e->data.sequence_start.tag);
		x = children(r, n);
		break;
	case YAML_MAPPING_START_EVENT:
		n->kind = MK_NODE_MAP;
		marks_refused(r, n, e->data.mapping_start.anchor, e->data.mapping_start.tag);
		x = children(r, n);
		break;
	case YAML_ALIAS_EVENT:
		n->kind = MK_NODE_SCALAR;
		n->is_null = true;
		n->text = "";
		mistake(r, n, "aliases (*name) are not allowed here; write the value out");
		break;
	default:
		mk_diag_at(r->d, n, "not YAML: a value is missing");
		x = -MK_EINVAL;
	}
	yaml_event_delete(e);
	if (x == 0)
		*out = n;
	return x;
}

static struct mk_node *empty_map(struct mk_arena *arena, const char *file)
{
	struct mk_node *n = mk_arena_alloc(arena, sizeof *n);

	n->kind = MK_NODE_MAP;
	n->file = file;
	n->line = n->column = 1;
	return n;
}

static int document(struct reader *r, struct mk_node **out)
{
	struct mk_node *root = NULL;
	yaml_event_t e;
	int x;

	for (;;) {
		yaml_event_type_t type;
		x = next(r, &e);
		if (x < 0)
			return x;
		type = e.type;
		if (type == YAML_STREAM_END_EVENT) {
			yaml_event_delete(&e);
			break;
		}
		if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
		    type == YAML_DOCUMENT_END_EVENT) {
			if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
				struct mk_node at = { 0 };
				at_mark(&at, r, e.start_mark);
				mistake(r, &at, "one file is one document: '---' a second time");
				yaml_event_delete(&e);
				break;
			}
			yaml_event_delete(&e);
			continue;
		}
		x = value(r, &e, NULL, &root);
		if (x < 0)
			return x;
	}
	if (root == NULL || (root->kind == MK_NODE_SCALAR && root->is_null))
		root = empty_map(r->arena, r->file);
	if (root->kind != MK_NODE_MAP)
		mistake(r, root, "a configuration is sections by name (such as 'domains:'), "
		        "not a list or a text");
	if (r->failed)
		return -MK_EINVAL;
	*out = root;
	return 0;
}

int mk_yaml_parse(const char *file, struct mk_str text, struct mk_arena *arena,
	struct mk_diag *d, struct mk_node **out)
{
	struct reader r = { .file = mk_arena_strdup(arena, file), .text = text,
		.arena = arena, .d = d };
	int x;

	if (text.n > MK_YAML_FILE_MAX) {
		mk_diag_add(d, "%s: larger than %d MB", file, MK_YAML_FILE_MAX >> 20);
		return -MK_EINVAL;
	}
	if (!yaml_parser_initialize(&r.yaml))
		mk_assert(!"libyaml had no memory");
	yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text.p, text.n);
	x = document(&r, out);
	yaml_parser_delete(&r.yaml);
	return x;
}

/* ---- files ------------------------------------------------------------------------- */

struct seen { struct seen *next; dev_t dev; ino_t ino; };
struct set {
	struct mk_arena *arena;
	struct mk_diag *d;
	struct mk_node *root;          /* what was read so far                  */
	struct seen *seen;
	bool failed;
};

static void unreadable(struct set *s, const struct mk_node *from, const char *path,
	const char *why)
{
	mk_diag_at(s->d, from, "%s: %s", path, why);
	s->failed = true;
}

/* The whole file in b. False after a message, or if it was read before (then
 * *again). */
static bool slurp(struct set *s, const char *path, const struct mk_node *from,
	struct mk_buf *b, bool *again)
{
	struct seen *seen;
	struct stat st;
	bool ok = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0) {
		unreadable(s, from, path, strerror(errno));
		goto out;
	}
	if (S_ISDIR(st.st_mode)) {
		unreadable(s, from, path, "a folder, not a file (dir/*.yml would name its files)");
		goto out;
	}
	for (seen = s->seen; seen != NULL; seen = seen->next)
		if (seen->dev == st.st_dev && seen->ino == st.st_ino) {
			*again = true;
			goto out;
		}
	seen = mk_arena_alloc(s->arena, sizeof *seen);
	*seen = (struct seen){ s->seen, st.st_dev, st.st_ino };
	s->seen = seen;
	for (;;) {
		ssize_t n = read(fd, mk_buf_need(b, 1 << 16), 1 << 16);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			unreadable(s, from, path, strerror(errno));
			goto out;
		}
		if (n == 0)
			break;
		b->n += (size_t)n;
		if (b->n > MK_YAML_FILE_MAX) {
			mk_diag_at(s->d, from, "%s: larger than %d MB", path, MK_YAML_FILE_MAX >> 20);
			s->failed = true;
			goto out;
		}
	}
	ok = true;
out:
	if (fd >= 0)
		close(fd);
	return ok;
}

static void load(struct set *s, const char *path, const struct mk_node *from);

/* pattern is absolute or from the current folder already. */
static void load_matching(struct set *s, const char *pattern, const struct mk_node *from)
{
	glob_t g = { 0 };
	int x;

	if (strpbrk(pattern, "*?[") == NULL) {
		load(s, pattern, from);
		return;
	}
	x = glob(pattern, 0, NULL, &g);
	if (x != 0 && x != GLOB_NOMATCH)
		unreadable(s, from, pattern, "the folder can't be read");
	for (size_t i = 0; x == 0 && i < g.gl_pathc; i++)
		load(s, g.gl_pathv[i], from);
	globfree(&g);
}

static const char *beside(struct set *s, const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	if (name[0] == '/' || slash == NULL)
		return name;
	return mk_arena_printf(s->arena, "%.*s/%s", (int)(slash - path), path, name);
}

static void include(struct set *s, const char *path, const struct mk_node *n)
{
	if (n->kind == MK_NODE_LIST) {
		for (n = n->first; n != NULL; n = n->next)
			include(s, path, n);
		return;
	}
	if (n->kind != MK_NODE_SCALAR || *n->text == '\0') {
		mk_diag_at(s->d, n, "setting 'include': expected names of files, or a list of them");
		s->failed = true;
		return;
	}
	load_matching(s, beside(s, path, n->text), n);
}

static void load(struct set *s, const char *path, const struct mk_node *from)
{
	struct mk_buf b = { 0 };
	struct mk_node *root = NULL, *inc = NULL;
	bool again = false;
	int x = -MK_EINVAL;

	if (slurp(s, path, from, &b, &again)) {
		x = mk_yaml_parse(path, (struct mk_str){ b.p, b.n }, s->arena, s->d, &root);
		s->failed = s->failed || x < 0;
	}
	mk_buf_free(&b);
	if (x < 0)
		return;
	for (struct mk_node **p = &root->first; *p != NULL; p = &(*p)->next)
		if (strcmp((*p)->key, "include") == 0) {
			inc = *p;
			*p = inc->next;
			inc->next = NULL;
			break;
		}
	if (s->root == NULL)
		s->root = root;
	else
		mk_node_merge(s->root, root);
	if (inc != NULL)
		include(s, path, inc);
}

int mk_yaml_read(const char *path, struct mk_arena *arena, struct mk_diag *d,
	struct mk_node **out)
{
	struct set s = { .arena = arena, .d = d };

	load(&s, path, NULL);
	load_matching(&s, beside(&s, path, "conf.d/*.yml"), NULL);
	if (s.failed)
		return -MK_EINVAL;
	mk_assert(s.root != NULL);
	*out = s.root;
	return 0;
}

/* ---- merging ------------------------------------------------------------------------- */

static void adopt(struct mk_node *parent)
{
	for (struct mk_node *c = parent->first; c != NULL; c = c->next)
		c->parent = parent;
}

static struct mk_node **tail_of(struct mk_node *n)
{
	struct mk_node **p = &n->first;

	while (*p != NULL)
		p = &(*p)->next;
	return p;
}

static void merge_value(struct mk_node *b, struct mk_node *c)
{
	struct mk_node *next = b->next;

	if (c->kind == MK_NODE_SCALAR && c->is_null)
		return;
	if (b->kind == MK_NODE_MAP && c->kind == MK_NODE_MAP) {
		mk_node_merge(b, c);
		return;
	}
	if (b->kind == MK_NODE_LIST && c->kind == MK_NODE_LIST &&
	    b->parent->parent == NULL && strcmp(b->key, "listeners") == 0) {
		*tail_of(b) = c->first;
		adopt(b);
		return;
	}
	c->parent = b->parent;
	*b = *c;
	b->next = next;
	adopt(b);
}

void mk_node_merge(struct mk_node *base, struct mk_node *over)
{
	struct mk_node **tail = tail_of(base), *c, *next;
	size_t n;
	const struct mk_node **had = mk_node_sorted(base, &n);

	for (c = over->first; c != NULL; c = next) {
		/* Nodes are const to readers; here they are still being made. */
		struct mk_node *b = (struct mk_node *)mk_node_find(had, n, c->key);
		next = c->next;
		if (b != NULL) {
			merge_value(b, c);
			continue;
		}
		c->parent = base;
		c->next = NULL;
		*tail = c;
		tail = &c->next;
	}
	over->first = NULL;
	mk_free(had);
}
