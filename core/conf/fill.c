/*
 * conf/fill.c - a schema and a node fill a struct
 *
 * Main thread or meerkatctl. Strings go to the caller's arena; JIDs are kept
 * for the life of the process, so that a plugin may also keep a reference.
 */
#include "conf/fill.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>
#include <meerkat/jid.h>
#include <meerkat/plugin.h>
#include "conf/value.h"
#include "base/ban.h"

#define SECRET_MAX 65536               /* bytes of a secret's file          */

struct fill {
	const struct mk_conf_schema *schema;
	const char *const *also;
	const char *where;
	struct mk_arena *arena;
	struct mk_diag *d;
	char *out;
};

#define EACH_ITEM(it, s)                                                    \
	for (const struct mk_conf_item *it = (s)->items; it->key != NULL;        \
	     it = (const struct mk_conf_item *)((const char *)it + (s)->item_size))

const struct mk_conf_item *mk_conf_item(const struct mk_conf_schema *schema,
	const char *key)
{
	EACH_ITEM(it, schema)
		if (strcmp(it->key, key) == 0)
			return it;
	return NULL;
}

const char *mk_conf_shown(const struct mk_node *n, char out[80])
{
	size_t len, i = 0;

	if (n->is_secret)
		return "(not shown)";
	len = strlen(n->text);
	for (; i < len && i < 70; i++)
		out[i] = iscntrl((unsigned char)n->text[i]) ? '?' : n->text[i];
	if (i < len) {
		/* Not in the middle of a character. */
		while (i > 0 && ((unsigned char)n->text[i] & 0xc0) == 0x80)
			i--;
		memcpy(out + i, "...", 3);
		i += 3;
	}
	out[i] = '\0';
	return out;
}

const char *mk_conf_path(const struct mk_node *n, const char *text,
	struct mk_arena *arena)
{
	const char *slash = n != NULL ? strrchr(n->file, '/') : NULL;
	int dir = slash != NULL ? (int)(slash - n->file) : 0;
	char cwd[PATH_MAX];

	if (n == NULL || text[0] == '/')
		return text;
	if (n->file[0] == '/')
		return mk_arena_printf(arena, "%.*s/%s", dir, n->file, text);
	if (getcwd(cwd, sizeof cwd) == NULL)
		return text;
	return mk_arena_printf(arena, "%s/%.*s%s%s", cwd, dir, n->file, dir != 0 ? "/" : "",
	                       text);
}

static const char *kind_text(const struct mk_node *n)
{
	return n->kind == MK_NODE_LIST ? "a list" : n->kind == MK_NODE_MAP ? "a section" : "a word";
}

/* "a, b, c" of "a|b|c". */
static const char *listed(const char *words, struct mk_arena *arena)
{
	struct mk_buf b = { 0 };
	const char *s;

	for (; *words != '\0'; words++) {
		if (*words == '|')
			mk_buf_addz(&b, ", ");
		else
			mk_buf_addc(&b, *words);
	}
	s = mk_arena_strndup(arena, b.p != NULL ? b.p : "", b.n);
	mk_buf_free(&b);
	return s;
}

static const char *nearest_of(const char *w, const char *words, struct mk_arena *arena)
{
	const char *v[65];
	size_t n = 0;

	while (n < 64) {
		size_t m = strcspn(words, "|");
		v[n++] = mk_arena_strndup(arena, words, m);
		if (words[m] == '\0')
			break;
		words += m + 1;
	}
	v[n] = NULL;
	return mk_nearest(w, v);
}

/* ---- one value ------------------------------------------------------------------ */

static int refuse(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int refuse(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	mk_diag_vsetting(f->d, n, f->where, it->key, fmt, ap);
	va_end(ap);
	return -MK_EINVAL;
}

/* n NULL: the default of the schema is wrong, which is its author's mistake. */
static int wrong(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n)
{
	char shown[80];

	if (n == NULL)
		return refuse(f, it, n, "its own default '%s' isn't %s (a mistake in the plugin)",
		              it->dflt, mk_conf_type_text(it->type));
	if (n->kind != MK_NODE_SCALAR)
		return refuse(f, it, n, "expected %s, found %s", mk_conf_type_text(it->type),
		              kind_text(n));
	if (n->is_null)
		return refuse(f, it, n, "has no value (expected %s)", mk_conf_type_text(it->type));
	return refuse(f, it, n, "expected %s, found '%s'", mk_conf_type_text(it->type),
	              mk_conf_shown(n, shown));
}

static int not_a_word(struct fill *f, const struct mk_conf_item *it,
	const struct mk_node *n, const char *text)
{
	struct mk_node at = { 0 };
	const char *near = nearest_of(text, it->range, f->arena);
	char shown[80];

	at.text = text;
	return refuse(f, it, n, "expected one of %s, found '%s'%s%s%s",
	              listed(it->range, f->arena),
	              mk_conf_shown(n != NULL && n->is_secret ? n : &at, shown),
	              near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
	              near != NULL ? "'?" : "");
}

static int set_number(struct fill *f, const struct mk_conf_item *it,
	const struct mk_node *n, const char *text, void *field)
{
	int64_t v;
	int r = mk_conf_number(it->type, mk_strz(text), &v);
	char shown[80];

	if (r == -MK_ELIMIT)
		return refuse(f, it, n, "'%s' is too large",
		              n != NULL ? mk_conf_shown(n, shown) : text);
	if (r < 0)
		return wrong(f, it, n);
	r = mk_conf_in_range(it->type, it->range, v);
	if (r < 0)
		return refuse(f, it, n, "its range '%s' is wrong (a mistake in the plugin)",
		              it->range);
	if (r == 0)
		return refuse(f, it, n, "%s is out of range (%s)",
		              n != NULL ? mk_conf_shown(n, shown) : text, it->range);
	memcpy(field, &v, sizeof v);
	return 0;
}

static int set_enum(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *text, void *field)
{
	int i = it->range != NULL ? mk_conf_word(it->range, text) : -MK_EINVAL;

	if (it->range == NULL)
		return refuse(f, it, n, "it allows no word (a mistake in the plugin)");
	if (i < 0)
		return not_a_word(f, it, n, text);
	memcpy(field, &i, sizeof i);
	return 0;
}

/* JIDs of settings: few, and the same ones at each reload. */
struct kept { struct kept *next; struct mk_jid *jid; };
static struct kept *jids;
static pthread_mutex_t jids_lock = PTHREAD_MUTEX_INITIALIZER;

static int keep_jid(const char *text, const struct mk_jid **out)
{
	struct mk_jid *j;
	struct kept *k;
	int r = mk_jid_parsez(text, &j);

	if (r < 0)
		return r;
	pthread_mutex_lock(&jids_lock);
	for (k = jids; k != NULL && !mk_jid_eq(k->jid, j); k = k->next)
		;
	if (k == NULL) {
		k = mk_alloc(sizeof *k);
		*k = (struct kept){ jids, j };
		jids = k;
	} else {
		mk_jid_unref(&j);
	}
	pthread_mutex_unlock(&jids_lock);
	*out = k->jid;
	return 0;
}

static int set_jid(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *text, void *field)
{
	const struct mk_jid *j = NULL;

	if (*text != '\0' && keep_jid(text, &j) < 0)
		return wrong(f, it, n);
	memcpy(field, &j, sizeof j);
	return 0;
}

static int set_text(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *text, void *field)
{
	const char *z;

	if (it->type == MK_CONF_STRING && it->range != NULL && mk_conf_word(it->range, text) < 0)
		return not_a_word(f, it, n, text);
	if (it->type == MK_CONF_ADDR && *text != '\0' &&
	    !mk_conf_is_addr(text, !mk_streq(it->range, "address"))) {
		char shown[80];
		if (n != NULL && mk_streq(it->range, "address"))
			return refuse(f, it, n, "expected an IP address (such as 192.0.2.1, "
			              "2001:db8::1), found '%s'", mk_conf_shown(n, shown));
		return wrong(f, it, n);
	}
	if (it->type == MK_CONF_FILE) {
		z = *text != '\0' ? mk_conf_path(n, text, f->arena) : NULL;
		if (z == text)
			z = mk_arena_strdup(f->arena, text);
	} else {
		z = mk_arena_strdup(f->arena, text);
	}
	memcpy(field, &z, sizeof z);
	return 0;
}

/* "section:storage.backends": the map of that path in n's tree, or NULL. */
static const struct mk_node *section_of(const struct mk_node *n, const char *range)
{
	const char *p = range + strcspn(range, ":");
	char key[128];

	p += *p == ':';
	while (n->parent != NULL)
		n = n->parent;
	while (n != NULL && *p != '\0') {
		size_t m = strcspn(p, ".");
		if (m == 0 || m >= sizeof key)
			return NULL;
		memcpy(key, p, m);
		key[m] = '\0';
		n = mk_node_get(n, key);
		p += m + (p[m] == '.');
	}
	return n;
}

static int set_ref(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *text, void *field)
{
	const struct mk_node *section = NULL;
	const char *v[65], *near;
	char shown[80];
	size_t m = 0;

	if (n != NULL && *text != '\0' && it->range != NULL) {
		section = section_of(n, it->range);
		if (mk_node_get(section, text) == NULL) {
			if (section != NULL && section->kind == MK_NODE_MAP)
				for (const struct mk_node *c = section->first; c != NULL && m < 64;
				     c = c->next)
					v[m++] = c->key;
			v[m] = NULL;
			near = mk_nearest(text, v);
			return refuse(f, it, n, "there is no '%s' in section '%s'%s%s%s",
			              mk_conf_shown(n, shown),
			              it->range + strcspn(it->range, ":") +
			              (strchr(it->range, ':') != NULL),
			              near != NULL ? "; did you mean '" : "",
			              near != NULL ? near : "", near != NULL ? "'?" : "");
		}
	}
	return set_text(f, it, n, text, field);
}

static int secret_file(struct fill *f, const struct mk_conf_item *it,
	const struct mk_node *n, const char **out)
{
	const char *path = mk_conf_path(n, n->text, f->arena);
	char *b = mk_alloc(SECRET_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r = -MK_EINVAL;
	size_t at = 0;
	ssize_t got = 1;

	while (fd >= 0 && at < SECRET_MAX && got > 0) {
		got = read(fd, b + at, SECRET_MAX - at);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			at += (size_t)got;
	}
	if (fd < 0 || got < 0) {
		refuse(f, it, n, "%s: %s", path, strerror(errno));
		goto out;
	}
	b[at] = '\0';
	b[strcspn(b, "\r\n")] = '\0';
	if (b[0] == '\0') {
		refuse(f, it, n, "%s: its first line is empty", path);
		goto out;
	}
	*out = mk_arena_strdup(f->arena, b);
	r = 0;
out:
	if (fd >= 0)
		close(fd);
	explicit_bzero(b, SECRET_MAX);
	mk_free(b);
	return r;
}

static int set_secret(struct fill *f, const struct mk_conf_item *it,
	const struct mk_node *n, const char *text, void *field)
{
	const struct mk_node *file;
	const char *z;

	if (n != NULL && n->kind == MK_NODE_MAP) {
		file = mk_node_get(n, "file");
		if (file == NULL || file->kind != MK_NODE_SCALAR || *file->text == '\0' ||
		    n->first->next != NULL)
			return refuse(f, it, n, "expected a text or { file: PATH }");
		if (secret_file(f, it, file, &z) < 0)
			return -MK_EINVAL;
	} else {
		z = mk_arena_strdup(f->arena, text);
	}
	memcpy(field, &z, sizeof z);
	return 0;
}

static struct mk_str trimmed(const char *p, size_t n)
{
	while (n > 0 && isspace((unsigned char)*p)) {
		p++;
		n--;
	}
	while (n > 0 && isspace((unsigned char)p[n - 1]))
		n--;
	return (struct mk_str){ p, n };
}

/* A list; or a text with words and commas between, one word if it is quoted. */
static int set_list(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n,
	const char *text, void *field)
{
	bool is_list = n != NULL && n->kind == MK_NODE_LIST;
	const struct mk_node *c = is_list ? n->first : n;
	const char *p = text, **v;
	struct mk_conf_list l;
	size_t max = 1;
	uint32_t count = 0;
	int r = 0;

	if (is_list)
		for (const struct mk_node *e = n->first; e != NULL; e = e->next)
			max++;
	else
		for (const char *q = text; *q != '\0'; q++)
			max += *q == ',';
	v = mk_arena_alloc(f->arena, max * sizeof *v);
	while (is_list ? c != NULL : p != NULL && *p != '\0') {
		struct mk_str w;
		size_t m;
		if (is_list) {
			if (c->kind != MK_NODE_SCALAR) {
				r = wrong(f, it, c);
				c = c->next;
				continue;
			}
			w = mk_strz(c->text);
		} else {
			m = n != NULL && n->quoted ? strlen(p) : strcspn(p, ",");
			w = trimmed(p, m);
			p = p[m] == ',' ? p + m + 1 : NULL;
		}
		v[count] = mk_arena_strndup(f->arena, w.p, w.n);
		if (w.n == 0)
			r = refuse(f, it, c, "an entry of the list is empty");
		else if (it->range != NULL && mk_conf_word(it->range, v[count]) < 0)
			r = not_a_word(f, it, c, v[count]);
		count++;
		if (is_list)
			c = c->next;
	}
	if (r < 0)
		return r;
	l = (struct mk_conf_list){ v, count };
	memcpy(field, &l, sizeof l);
	return 0;
}

static int set(struct fill *f, const struct mk_conf_item *it, const struct mk_node *n)
{
	const char *text = n == NULL ? it->dflt : n->kind == MK_NODE_SCALAR ? n->text : "";
	void *field = f->out + it->offset;
	bool b, is_scalar = n == NULL || n->kind == MK_NODE_SCALAR;

	if (n != NULL && n->kind == MK_NODE_SCALAR && n->is_null)
		return wrong(f, it, n);
	switch (it->type) {
	case MK_CONF_LIST:
		return n != NULL && n->kind == MK_NODE_MAP ? wrong(f, it, n)
			: set_list(f, it, n, text, field);
	case MK_CONF_SECRET:
		if (n != NULL && n->kind == MK_NODE_LIST)
			return wrong(f, it, n);
		/* The one thing that is learnt about a node after it was built. */
		if (is_scalar && n != NULL)
			((struct mk_node *)n)->is_secret = true;
		return set_secret(f, it, n, text, field);
	}
	if (!is_scalar)
		return wrong(f, it, n);
	switch (it->type) {
	case MK_CONF_BOOL:
		if (mk_conf_bool(mk_strz(text), &b) < 0)
			return wrong(f, it, n);
		memcpy(field, &b, sizeof b);
		return 0;
	case MK_CONF_INT:
	case MK_CONF_DURATION:
	case MK_CONF_SIZE:
		return set_number(f, it, n, text, field);
	case MK_CONF_ENUM:
		return set_enum(f, it, n, text, field);
	case MK_CONF_JID:
		return set_jid(f, it, n, text, field);
	case MK_CONF_REF:
		return set_ref(f, it, n, text, field);
	case MK_CONF_STRING:
	case MK_CONF_ADDR:
	case MK_CONF_FILE:
		return set_text(f, it, n, text, field);
	}
	return refuse(f, it, n, "it has a type that this core doesn't know (%u)", it->type);
}

/* ---- a section -------------------------------------------------------------------- */

static void unknown(struct fill *f, const struct mk_node *c)
{
	const char *v[129];
	struct mk_buf b = { 0 };
	struct mk_node at = *c;
	const char *near;
	size_t n = 0;

	EACH_ITEM(it, f->schema)
		if (!(it->flags & MK_CONF_HIDDEN) && n < 128)
			v[n++] = it->key;
	for (const char *const *a = f->also; a != NULL && *a != NULL && n < 128; a++)
		v[n++] = *a;
	v[n] = NULL;
	near = mk_nearest(c->key, v);
	for (size_t i = 0; i < n; i++)
		mk_buf_printf(&b, "%s%s", i != 0 ? ", " : "", v[i]);
	at.line = c->key_line;
	at.column = c->key_column;
	mk_diag_setting(f->d, &at, f->where, c->key, "unknown%s%s%s (allowed: %s)",
	                near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
	                near != NULL ? "'?" : "", n != 0 ? mk_buf_z(&b) : "none");
	mk_buf_free(&b);
}

static bool is_named(const char *const *also, const char *key)
{
	for (; also != NULL && *also != NULL; also++)
		if (strcmp(*also, key) == 0)
			return true;
	return false;
}

int mk_conf_fill_also(const struct mk_conf_schema *schema, const char *const *also,
	const struct mk_node *node, const char *where, struct mk_arena *arena,
	struct mk_diag *d, void *out)
{
	struct fill f = { schema, also, where, arena, d, out };
	int r = 0;

	if (node != NULL && node->kind == MK_NODE_SCALAR && node->is_null)
		node = NULL;
	if (node != NULL && node->kind != MK_NODE_MAP) {
		mk_diag_setting(d, node, where, NULL, "expected settings by name, found %s",
		                kind_text(node));
		return -MK_EINVAL;
	}
	for (const struct mk_node *c = node != NULL ? node->first : NULL; c != NULL; c = c->next)
		if (mk_conf_item(schema, c->key) == NULL && !is_named(also, c->key)) {
			unknown(&f, c);
			r = -MK_EINVAL;
		}
	EACH_ITEM(it, schema) {
		const struct mk_node *c = mk_node_get(node, it->key);
		if (c == NULL && (it->flags & MK_CONF_REQUIRED)) {
			bool words = it->type == MK_CONF_ENUM || it->type == MK_CONF_STRING;
			bool range = it->type == MK_CONF_INT || it->type == MK_CONF_DURATION ||
				it->type == MK_CONF_SIZE;
			r = refuse(&f, it, node, "is required (%s%s%s)", words && it->range != NULL
			           ? listed(it->range, arena) : mk_conf_type_text(it->type),
			           range && it->range != NULL ? ", " : "",
			           range && it->range != NULL ? it->range : "");
			continue;
		}
		if ((c != NULL || it->dflt != NULL) && set(&f, it, c) < 0)
			r = -MK_EINVAL;
	}
	return r;
}

int mk_conf_fill(const struct mk_conf_schema *schema, const struct mk_node *node,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void *out)
{
	return mk_conf_fill_also(schema, NULL, node, where, arena, d, out);
}

/* ---- plugins ------------------------------------------------------------------------ */

int mk_conf_check_plugin(const struct mk_plugin *p, const struct mk_node *node,
	const char *where, struct mk_arena *arena, struct mk_diag *d, void **values_out)
{
	static const struct mk_conf_item no_items[] = { { 0 } };
	static const struct mk_conf_schema none = { sizeof none, sizeof no_items[0], 0, no_items };
	const struct mk_conf_schema *schema = p->conf != NULL ? p->conf : &none;
	struct mk_conf_view v = { .node = node, .where = where };
	unsigned before = d != NULL ? d->count : 0;
	void *values = mk_arena_alloc(arena, schema->struct_size != 0 ? schema->struct_size : 1);
	int r = mk_conf_fill(schema, node, where, arena, d, values);

	if (r < 0)
		return r;
	v.values = values;
	r = p->check != NULL ? p->check(&v, d) : 0;
	if (r < 0) {
		if (d != NULL && d->count == before)
			mk_conf_refuse(&v, d, NULL, "refused by the plugin: %s", mk_strerror(r));
		return r;
	}
	*values_out = values;
	return 0;
}

const void *mk_conf_view_values(const struct mk_conf_view *v)
{
	return v->values;
}

void mk_conf_refuse(const struct mk_conf_view *v, struct mk_diag *d, const char *key,
	const char *fmt, ...)
{
	const struct mk_node *n = key != NULL ? mk_node_get(v->node, key) : NULL;
	va_list ap;

	va_start(ap, fmt);
	mk_diag_vsetting(d, n != NULL ? n : v->node, v->where, key, fmt, ap);
	va_end(ap);
}
