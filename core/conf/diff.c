/*
 * conf/diff.c - what a reload would change
 *
 * Compares the trees, so that plugins' settings are covered without their
 * schemas; where the core has a schema, its defaults count as written. Scratch
 * memory only; any thread that holds both configurations.
 */
#include "conf/core.h"

#include <stdio.h>
#include "base/buf.h"
#include "conf/fill.h"
#include "conf/value.h"
#include "base/ban.h"

struct diff {
	void (*fn)(void *arg, const char *setting, const char *from, const char *to,
	           const char *need);
	void *arg;
	int count;
	struct mk_buf path;
};

/* Where we are, as mk_core_sections writes it; ends at plugins' own settings. */
struct spot { char pattern[64]; bool restart; };

static void walk(struct diff *x, const struct spot *s, const struct mk_conf_item *it,
	const struct mk_node *a, const struct mk_node *b);

static bool is_null(const struct mk_node *n)
{
	return n->kind == MK_NODE_SCALAR && n->is_null;
}

/* Sections, also those with nothing in them. */
static bool is_section(const struct mk_node *n)
{
	return n->kind == MK_NODE_MAP || is_null(n);
}

static const struct mk_conf_schema *schema_at(const char *pattern)
{
	for (const struct mk_core_section *s = mk_core_sections; s->path != NULL; s++)
		if (strcmp(s->path, pattern) == 0)
			return s->schema;
	return NULL;
}

static bool has_named_entries(const char *pattern)
{
	size_t n = strlen(pattern);

	for (const struct mk_core_section *s = mk_core_sections; s->path != NULL; s++)
		if (strncmp(s->path, pattern, n) == 0 && strcmp(s->path + n, ".*") == 0)
			return true;
	return false;
}

static struct spot below(const struct spot *s, const char *key)
{
	struct spot c = *s;
	int n;

	c.restart = s->restart || (s->pattern[0] == '\0' && strcmp(key, "storage") == 0);
	n = snprintf(c.pattern, sizeof c.pattern, "%s%s%s", s->pattern,
	             s->pattern[0] != '\0' ? "." : "",
	             has_named_entries(s->pattern) ? "*" : key);
	if (n < 0 || (size_t)n >= sizeof c.pattern)
		memcpy(c.pattern, "?", 2);
	return c;
}

/* ---- values ---------------------------------------------------------------------- */

static bool text_equal(const struct mk_conf_item *it, const char *a, const char *b)
{
	int64_t x, y;
	bool p, q;

	if (strcmp(a, b) == 0)
		return true;
	if (it == NULL)
		return false;
	switch (it->type) {
	case MK_CONF_BOOL:
		return mk_conf_bool(mk_strz(a), &p) == 0 && mk_conf_bool(mk_strz(b), &q) == 0 &&
			p == q;
	case MK_CONF_INT:
	case MK_CONF_DURATION:
	case MK_CONF_SIZE:
		return mk_conf_number(it->type, mk_strz(a), &x) == 0 &&
			mk_conf_number(it->type, mk_strz(b), &y) == 0 && x == y;
	}
	return false;
}

static bool equal(const struct mk_conf_item *it, const struct mk_node *a,
	const struct mk_node *b)
{
	const struct mk_node *c = a->first, *e = b->first;

	if (a->kind != b->kind)
		return false;
	if (a->kind == MK_NODE_SCALAR)
		return text_equal(it, a->text, b->text);
	for (; c != NULL && e != NULL; c = c->next, e = e->next)
		if (!mk_streq(c->key, e->key) || !equal(NULL, c, e))
			return false;
	return c == NULL && e == NULL;
}

static bool has_secret(const struct mk_node *n)
{
	if (n->is_secret)
		return true;
	for (const struct mk_node *c = n->first; c != NULL; c = c->next)
		if (has_secret(c))
			return true;
	return false;
}

static void render(const struct mk_node *n, struct mk_buf *b)
{
	if (n->kind == MK_NODE_SCALAR) {
		mk_buf_addz(b, n->is_null ? "(set)" : *n->text == '\0' ? "\"\"" : n->text);
		return;
	}
	mk_buf_addc(b, n->kind == MK_NODE_LIST ? '[' : '{');
	for (const struct mk_node *c = n->first; c != NULL; c = c->next) {
		if (c != n->first)
			mk_buf_addz(b, ", ");
		if (c->key != NULL)
			mk_buf_printf(b, "%s: ", c->key);
		render(c, b);
	}
	mk_buf_addc(b, n->kind == MK_NODE_LIST ? ']' : '}');
}

static void shown(const struct mk_node *n, const struct mk_conf_item *it, bool is_secret,
	struct mk_buf *b)
{
	if (n == NULL)
		mk_buf_addz(b, it == NULL || it->dflt == NULL ? "(unset)" :
		            *it->dflt == '\0' ? "\"\"" : it->dflt);
	else if (is_secret)
		mk_buf_addz(b, "(secret)");
	else if (n->kind == MK_NODE_MAP && n->first == NULL)
		mk_buf_addz(b, "(set)");
	else
		render(n, b);
}

/* a or b may be NULL, not both. */
static void changed(struct diff *x, const struct spot *s, const struct mk_conf_item *it,
	const struct mk_node *a, const struct mk_node *b)
{
	struct mk_buf from = { 0 }, to = { 0 };
	bool is_secret = (a != NULL && has_secret(a)) || (b != NULL && has_secret(b));
	bool restart = s->restart || (it != NULL && !(it->flags & MK_CONF_RELOAD));

	shown(a, it, is_secret, &from);
	if (a != NULL && b != NULL && is_secret)
		mk_buf_addz(&to, "(changed)");
	else
		shown(b, it, is_secret, &to);
	x->count++;
	if (x->fn != NULL)
		x->fn(x->arg, mk_buf_z(&x->path), mk_buf_z(&from), mk_buf_z(&to),
		      restart ? "restart" : "live");
	mk_buf_free(&from);
	mk_buf_free(&to);
}

/* ---- trees ------------------------------------------------------------------------- */

static void child(struct diff *x, const struct spot *s, const char *key,
	const struct mk_node *a, const struct mk_node *b)
{
	const struct mk_conf_schema *schema = schema_at(s->pattern);
	struct spot c = below(s, key);
	size_t at = x->path.n;

	mk_buf_printf(&x->path, "%s%s", at != 0 ? "." : "", key);
	walk(x, &c, schema != NULL ? mk_conf_item(schema, key) : NULL, a, b);
	x->path.n = at;
}

static void maps(struct diff *x, const struct spot *s, const struct mk_node *a,
	const struct mk_node *b)
{
	size_t a_n, b_n, i = 0, j = 0;
	const struct mk_node **v = mk_node_sorted(a, &a_n), **w = mk_node_sorted(b, &b_n);

	while (i < a_n || j < b_n) {
		int c = i == a_n ? 1 : j == b_n ? -1 : strcmp(v[i]->key, w[j]->key);
		child(x, s, c <= 0 ? v[i]->key : w[j]->key, c <= 0 ? v[i] : NULL,
		      c >= 0 ? w[j] : NULL);
		i += c <= 0;
		j += c >= 0;
	}
	mk_free(v);
	mk_free(w);
}

static const char *text_of(const struct mk_node *map, const char *key)
{
	const struct mk_node *n = mk_node_get(map, key);

	return n != NULL && n->kind == MK_NODE_SCALAR ? n->text : "";
}

static bool same_listener(const struct mk_node *a, const struct mk_node *b)
{
	return strcmp(text_of(a, "port"), text_of(b, "port")) == 0 &&
		strcmp(text_of(a, "address"), text_of(b, "address")) == 0;
}

static const struct mk_node *listener_like(const struct mk_node *list,
	const struct mk_node *l)
{
	const struct mk_node *n = list != NULL ? list->first : NULL;

	while (n != NULL && !same_listener(n, l))
		n = n->next;
	return n;
}

/* Their order says nothing: they are told apart by where they listen. */
static void listeners(struct diff *x, const struct mk_node *a, const struct mk_node *b)
{
	struct spot s = { "listeners[*]", false };

	for (int pass = 0; pass < 2; pass++) {
		const struct mk_node *list = pass == 0 ? a : b;
		const struct mk_node *n = list != NULL ? list->first : NULL;
		for (; n != NULL; n = n->next) {
			const struct mk_node *other = listener_like(pass == 0 ? b : a, n);
			const char *address = text_of(n, "address");
			size_t at = x->path.n;
			if (pass == 1 && other != NULL)
				continue;
			mk_buf_printf(&x->path, "[%s%s%s]", address, *address != '\0' ? " " : "",
			              text_of(n, "port"));
			if (other == NULL)
				changed(x, &s, NULL, pass == 0 ? n : NULL, pass == 0 ? NULL : n);
			else
				maps(x, &s, n, other);
			x->path.n = at;
		}
	}
}

static void walk(struct diff *x, const struct spot *s, const struct mk_conf_item *it,
	const struct mk_node *a, const struct mk_node *b)
{
	const struct mk_node *n = a != NULL ? a : b;
	bool is_top = strchr(s->pattern, '.') == NULL;

	if (strcmp(s->pattern, "listeners") == 0) {
		listeners(x, a, b);
	} else if (a != NULL && b != NULL && is_section(a) && is_section(b)) {
		maps(x, s, a, b);
	} else if (a != NULL && b != NULL && (a->kind == MK_NODE_MAP || b->kind == MK_NODE_MAP)) {
		walk(x, s, it, a, NULL);
		walk(x, s, it, NULL, b);
	} else if (a != NULL && b != NULL) {
		if (!equal(it, a, b))
			changed(x, s, it, a, b);
	} else if (n->kind == MK_NODE_MAP && n->first != NULL) {
		maps(x, s, a, b);
	} else if (is_section(n) && is_top) {
		/* `log:` with nothing below is the same as no such line. */
	} else if (it == NULL || it->dflt == NULL || n->kind != MK_NODE_SCALAR ||
	           !text_equal(it, n->text, it->dflt)) {
		changed(x, s, it, a, b);
	}
}

int mk_config_diff(const struct mk_config *a, const struct mk_config *b,
	void (*fn)(void *arg, const char *setting, const char *from, const char *to,
	           const char *need), void *arg)
{
	struct diff x = { .fn = fn, .arg = arg };
	struct spot top = { "", false };

	maps(&x, &top, a->root, b->root);
	mk_buf_free(&x.path);
	return x.count;
}
