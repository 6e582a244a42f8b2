/*
 * xml/elem.c - reading and building elements
 *
 * An element belongs to its arena and to that arena's thread while it is
 * built; in a sealed stanza it is read by any. So nothing that takes a const
 * element changes anything: text that is spread over several nodes is joined
 * when it is put there, not when it is asked for.
 *
 * No function here goes deeper with the tree's depth: a stack of its own or
 * parent pointers lead back.
 */
#include "xml/elem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "xml/chars.h"
#include "xml/known.h"
#include "base/ban.h"

/* ---- reading ------------------------------------------------------------------- */

const char *mk_elem_name(const struct mk_elem *e)
{
	return e->name;
}

const char *mk_elem_xmlns(const struct mk_elem *e)
{
	while (e->xmlns == NULL && e->parent != NULL)
		e = e->parent;
	return e->xmlns != NULL ? e->xmlns : MK_NS_CLIENT;
}

bool mk_elem_is(const struct mk_elem *e, const char *name, const char *xmlns)
{
	return (name == NULL || mk_streq(e->name, name)) &&
	       (xmlns == NULL || mk_streq(mk_elem_xmlns(e), xmlns));
}

const char *mk_elem_attr(const struct mk_elem *e, const char *name)
{
	for (const struct mk_attr *a = e->attrs; a != NULL; a = a->next)
		if (a->xmlns == NULL && mk_streq(a->name, name))
			return a->value;
	return NULL;
}

struct mk_str mk_elem_text(const struct mk_elem *e)
{
	if (e->text != NULL)
		return (struct mk_str){ e->text, e->text_n };
	for (const struct mk_elem *c = e->first; c != NULL; c = c->next)
		if (c->name == NULL)
			return (struct mk_str){ c->text, c->text_n };
	return (struct mk_str){ "", 0 };
}

static struct mk_elem *element_from(struct mk_elem *c)
{
	while (c != NULL && c->name == NULL)
		c = c->next;
	return c;
}

struct mk_elem *mk_elem_first(const struct mk_elem *e)
{
	return element_from(e->first);
}

struct mk_elem *mk_elem_next(const struct mk_elem *e)
{
	return element_from(e->next);
}

struct mk_elem *mk_elem_child(const struct mk_elem *e, const char *name, const char *xmlns)
{
	struct mk_elem *c;

	for (c = mk_elem_first(e); c != NULL; c = mk_elem_next(c))
		if (mk_elem_is(c, name, xmlns))
			break;
	return c;
}

struct mk_str mk_elem_child_text(const struct mk_elem *e, const char *name, const char *xmlns)
{
	const struct mk_elem *c = mk_elem_child(e, name, xmlns);

	return c != NULL ? mk_elem_text(c) : (struct mk_str){ "", 0 };
}

/* ---- building ------------------------------------------------------------------ */

/* Names come from code: one that is none is our own mistake (S-02). Only
 * attributes have one with a prefix. */
static const char *keep_name(struct mk_arena *a, const char *name, bool is_attr, uint32_t *n_out)
{
	size_t n = strlen(name);
	const char *known = mk_known(name, n);
	bool is_lang = n > 4 && memcmp(name, "xml:", 4) == 0;

	mk_assert((is_attr || !is_lang) &&
	          (known != NULL || (n < UINT32_MAX && mk_xml_is_ncname(is_lang ? name + 4 : name))));
	*n_out = (uint32_t)n;
	return known != NULL ? known : mk_arena_strndup(a, name, n);
}

/* p as NUL-terminated Chars in a; what is none becomes U+FFFD. */
static const char *keep_chars(struct mk_arena *a, const char *p, size_t n, uint32_t *n_out)
{
	size_t bad = 0, k = 0, ok = mk_xml_valid(p, n);
	char *out;

	if (ok == n) {
		mk_assert(n < UINT32_MAX);
		*n_out = (uint32_t)n;
		out = mk_arena_raw(a, n + 1);
		mk_copy_short(out, p, n);
		out[n] = '\0';
		return out;
	}
	for (size_t i = ok; i < n; i += 1 + mk_xml_valid(p + i + 1, n - i - 1))
		bad++;
	/* Each wrong byte takes three. */
	mk_assert(n + 2 * bad < UINT32_MAX);
	out = mk_arena_raw(a, n + 2 * bad + 1);
	for (size_t i = 0; i < n;) {
		ok = mk_xml_valid(p + i, n - i);
		memcpy(out + k, p + i, ok);
		i += ok;
		k += ok;
		if (i < n) {
			memcpy(out + k, "\xef\xbf\xbd", 3);
			i++;
			k += 3;
		}
	}
	out[k] = '\0';
	*n_out = (uint32_t)k;
	return out;
}

bool mk_ns_is_reserved(const char *xmlns)
{
	return strncmp(xmlns, "http://www.w3.org/", 18) == 0 &&
	       (strcmp(xmlns + 18, "XML/1998/namespace") == 0 || strcmp(xmlns + 18, "2000/xmlns/") == 0);
}

static const char *keep_namespace(struct mk_arena *a, const char *xmlns)
{
	size_t n = strlen(xmlns);
	const char *known = mk_known(xmlns, n);
	uint32_t kept_n;

	if (known != NULL)
		return known;
	if (mk_ns_is_reserved(xmlns))
		return mk_known("", 0);
	return keep_chars(a, xmlns, n, &kept_n);
}

static void append(struct mk_elem *e, struct mk_elem *child)
{
	child->parent = e;
	child->next = NULL;
	if (e->last != NULL)
		e->last->next = child;
	else
		e->first = child;
	e->last = child;
}

struct mk_elem *mk_elem_new(struct mk_arena *a, const char *name, const char *xmlns)
{
	struct mk_elem *e = mk_arena_raw(a, sizeof *e);

	*e = (struct mk_elem){ .arena = a };
	e->name = keep_name(a, name, false, &e->name_n);
	if (xmlns != NULL)
		e->xmlns = keep_namespace(a, xmlns);
	return e;
}

struct mk_elem *mk_elem_add(struct mk_elem *e, const char *name, const char *xmlns)
{
	struct mk_elem *c = mk_elem_new(e->arena, name, xmlns);

	if (xmlns == NULL)
		c->xmlns = e->xmlns;
	append(e, c);
	return c;
}

struct mk_elem *mk_elem_add_text(struct mk_elem *e, const char *name, const char *xmlns,
                                 struct mk_str text)
{
	struct mk_elem *c = mk_elem_add(e, name, xmlns);

	mk_elem_text_add(c, text);
	return c;
}

/* The attribute of that name; a new one behind the others if there is none, with
 * no name yet, and with room behind it. */
static inline struct mk_attr *attr_for(struct mk_elem *e, const char *name, size_t room)
{
	struct mk_attr **end = &e->attrs, *a;

	for (; (a = *end) != NULL; end = &a->next)
		if (a->xmlns == NULL && mk_streq(a->name, name))
			return a;
	*end = a = mk_arena_raw(e->arena, sizeof *a + room);
	*a = (struct mk_attr){ .next = NULL };
	return a;
}

static void set(struct mk_elem *e, const char *name, const char *value, size_t n)
{
	/* One piece for both, as nearly always. */
	size_t room = mk_xml_valid(value, n) == n ? n + 1 : 0;
	struct mk_attr *a = attr_for(e, name, room);
	char *out = (char *)(a + 1);

	if (a->name == NULL) {
		a->name = keep_name(e->arena, name, true, &a->name_n);
		if (room > 0) {
			mk_assert(n < UINT32_MAX);
			mk_copy_short(out, value, n);
			out[n] = '\0';
			a->value = out;
			a->value_n = (uint32_t)n;
			return;
		}
	}
	a->value = keep_chars(e->arena, value, n, &a->value_n);
}

void mk_elem_borrow(struct mk_elem *e, struct mk_str name, struct mk_str value)
{
	struct mk_attr *a = attr_for(e, name.p, 0);

	a->name = name.p;
	a->name_n = (uint32_t)name.n;
	a->value = value.p;
	a->value_n = (uint32_t)value.n;
}

void mk_elem_set(struct mk_elem *e, const char *name, const char *value)
{
	if (value != NULL) {
		set(e, name, value, strlen(value));
		return;
	}
	for (struct mk_attr **a = &e->attrs; *a != NULL; a = &(*a)->next) {
		if ((*a)->xmlns == NULL && mk_streq((*a)->name, name)) {
			*a = (*a)->next;
			return;
		}
	}
}

void mk_elem_setf(struct mk_elem *e, const char *name, const char *fmt, ...)
{
	struct mk_buf b = { NULL, 0, 0 };
	va_list ap;

	va_start(ap, fmt);
	mk_buf_vprintf(&b, fmt, ap);
	va_end(ap);
	set(e, name, b.p != NULL ? b.p : "", b.n);
	mk_buf_free(&b);
}

void mk_elem_text_put(struct mk_elem *e, const char *p, size_t n)
{
	struct mk_elem *t = mk_arena_raw(e->arena, sizeof *t);

	mk_assert(n < UINT32_MAX);
	*t = (struct mk_elem){ .arena = e->arena, .text = p, .text_n = (uint32_t)n };
	append(e, t);
}

void mk_elem_text_join(struct mk_elem *e)
{
	const struct mk_elem *c;
	size_t n = 0, k = 0, nodes = 0;
	char *all;

	for (c = e->first; c != NULL; c = c->next) {
		nodes += c->name == NULL;
		n += c->name == NULL ? c->text_n : 0;
	}
	e->text = NULL;
	e->text_n = 0;
	if (nodes < 2)
		return;
	mk_assert(n < UINT32_MAX);
	all = mk_arena_raw(e->arena, n + 1);
	for (c = e->first; c != NULL; c = c->next) {
		if (c->name == NULL) {
			memcpy(all + k, c->text, c->text_n);
			k += c->text_n;
		}
	}
	all[k] = '\0';
	e->text = all;
	e->text_n = (uint32_t)k;
}

void mk_elem_text_add(struct mk_elem *e, struct mk_str text)
{
	struct mk_elem *t = e->last;
	const char *p;
	uint32_t n;

	if (text.n == 0)
		return;
	p = keep_chars(e->arena, text.p, text.n, &n);
	if (t != NULL && t->name == NULL) {
		char *both = mk_arena_raw(e->arena, (size_t)t->text_n + n + 1);
		mk_assert((uint64_t)t->text_n + n < UINT32_MAX);
		memcpy(both, t->text, t->text_n);
		memcpy(both + t->text_n, p, (size_t)n + 1);
		t->text = both;
		t->text_n += n;
	} else {
		mk_elem_text_put(e, p, n);
	}
	mk_elem_text_join(e);
}

void mk_elem_adopt(struct mk_elem *e, struct mk_elem *child)
{
	mk_assert(child->parent == NULL && child != e && child->name != NULL);
	append(e, child);
}

/* before: the node in front of c, or NULL. */
static void unlink_child(struct mk_elem *e, struct mk_elem *before, struct mk_elem *c)
{
	if (before != NULL)
		before->next = c->next;
	else
		e->first = c->next;
	if (e->last == c)
		e->last = before;
	/* It stays readable, its namespace too. */
	if (c->xmlns == NULL)
		c->xmlns = mk_elem_xmlns(e);
	c->parent = NULL;
	c->next = NULL;
}

void mk_elem_remove(struct mk_elem *e, struct mk_elem *child)
{
	struct mk_elem *before = NULL, *c;

	for (c = e->first; c != NULL && c != child; c = c->next)
		before = c;
	mk_assert(c != NULL);
	unlink_child(e, before, c);
}

unsigned mk_elem_remove_if(struct mk_elem *e, bool (*is)(const struct mk_elem *c, void *arg),
                           void *arg)
{
	struct mk_elem *before = NULL, *c = e->first, *next;
	unsigned n = 0;

	for (; c != NULL; c = next) {
		next = c->next;
		if (c->name != NULL && is(c, arg)) {
			unlink_child(e, before, c);
			n++;
		} else {
			before = c;
		}
	}
	return n;
}

/* ---- copying ------------------------------------------------------------------- */

static const char *copy_string(struct mk_arena *a, const char *p, size_t n)
{
	const char *known = mk_known(p, n);

	return known != NULL ? known : mk_arena_strndup(a, p, n);
}

static const char *copy_text(struct mk_arena *a, const char *p, uint32_t n)
{
	return p != NULL ? mk_arena_strndup(a, p, n) : NULL;
}

/* e without its children. */
static struct mk_elem *copy_node(struct mk_arena *arena, const struct mk_elem *e)
{
	struct mk_elem *c = mk_arena_alloc(arena, sizeof *c);
	struct mk_attr **end = &c->attrs;

	c->arena = arena;
	c->text = copy_text(arena, e->text, e->text_n);
	c->text_n = e->text_n;
	if (e->name == NULL)
		return c;
	c->name = copy_string(arena, e->name, e->name_n);
	c->name_n = e->name_n;
	if (e->xmlns != NULL)
		c->xmlns = copy_string(arena, e->xmlns, strlen(e->xmlns));
	for (const struct mk_attr *a = e->attrs; a != NULL; a = a->next) {
		struct mk_attr *b = mk_arena_alloc(arena, sizeof *b);
		b->name = copy_string(arena, a->name, a->name_n);
		b->name_n = a->name_n;
		if (a->xmlns != NULL)
			b->xmlns = copy_string(arena, a->xmlns, strlen(a->xmlns));
		b->value = copy_text(arena, a->value, a->value_n);
		b->value_n = a->value_n;
		*end = b;
		end = &b->next;
	}
	return c;
}

struct mk_elem *mk_elem_copy(struct mk_arena *a, const struct mk_elem *e)
{
	struct mk_walk w;
	struct mk_elem *top, *at;
	const struct mk_elem *c;

	top = at = copy_node(a, e);
	/* What it inherited is its own where there is nothing to inherit from. */
	if (top->xmlns == NULL)
		top->xmlns = copy_string(a, mk_elem_xmlns(e), strlen(mk_elem_xmlns(e)));
	mk_walk_begin(&w, e);
	while (mk_walk_next(&w, &c)) {
		if (c == NULL) {
			at = at->parent;
			continue;
		}
		struct mk_elem *n = copy_node(a, c);
		append(at, n);
		if (c->name != NULL)
			at = n;
	}
	mk_walk_end(&w);
	return top;
}

struct mk_elem *mk_elem_copy_top(struct mk_arena *arena, const struct mk_elem *e)
{
	struct mk_elem *top = mk_arena_raw(arena, sizeof *top), *c;
	struct mk_attr **end = &top->attrs, *b;

	*top = *e;
	top->arena = arena;
	top->first = top->last = top->next = top->parent = NULL;
	for (const struct mk_attr *a = e->attrs; a != NULL; a = a->next) {
		b = mk_arena_raw(arena, sizeof *b);
		*b = *a;
		*end = b;
		end = &b->next;
	}
	for (const struct mk_elem *o = e->first; o != NULL; o = o->next) {
		c = mk_arena_raw(arena, sizeof *c);
		*c = *o;
		c->arena = arena;
		append(top, c);
	}
	return top;
}

/* ---- walking ------------------------------------------------------------------- */

void mk_walk_begin(struct mk_walk *w, const struct mk_elem *e)
{
	w->stack = w->few;
	w->cap = sizeof w->few / sizeof *w->few;
	w->n = 1;
	w->next = e->first;
}

bool mk_walk_next(struct mk_walk *w, const struct mk_elem **out)
{
	const struct mk_elem *c = w->next;

	*out = c;
	if (c == NULL) {
		/* The end of an element: of the top one, and it is over. */
		if (--w->n == 0)
			return false;
		w->next = w->stack[w->n];
		return true;
	}
	if (c->name == NULL) {
		w->next = c->next;
		return true;
	}
	if (w->n == w->cap) {
		const struct mk_elem **more = mk_alloc(2 * w->cap * sizeof *more);
		memcpy(more, w->stack, w->n * sizeof *more);
		mk_walk_end(w);
		w->stack = more;
		w->cap *= 2;
	}
	w->stack[w->n++] = c->next;
	w->next = c->first;
	return true;
}

void mk_walk_end(struct mk_walk *w)
{
	if (w->stack != w->few)
		mk_free(w->stack);
}
