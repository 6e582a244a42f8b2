/*
 * xml/write.c - the one writer of XML (S-02)
 *
 * Runs on whatever thread holds the element; nothing is kept. All text and
 * all values are escaped here; names were checked when they were put in.
 * Values stand in single quotes.
 */
#include "xml/elem.h"

#include <stdio.h>

#include "base/assert.h"
#include "xml/chars.h"
#include "xml/known.h"
#include "base/ban.h"

static const char *escape_of(uint8_t c, size_t *n)
{
#define ESCAPE(s) (*n = sizeof(s) - 1, s)
	switch (c) {
	case '&': return ESCAPE("&amp;");
	case '<': return ESCAPE("&lt;");
	case '>': return ESCAPE("&gt;");
	case '\'': return ESCAPE("&apos;");
	case '\t': return ESCAPE("&#9;");
	case '\n': return ESCAPE("&#10;");
	default: return ESCAPE("&#13;");
	}
#undef ESCAPE
}

static inline void escape(struct mk_buf *b, const char *p, size_t n, unsigned class)
{
	for (;;) {
		char *out = mk_buf_need(b, n);
		size_t k = mk_xml_copy_until(out, p, n, class), m;
		const char *esc;

		b->n += k;
		if (k == n)
			return;
		esc = escape_of((uint8_t)p[k], &m);
		mk_buf_add(b, esc, m);
		p += k + 1;
		n -= k + 1;
	}
}

void mk_escape_text(struct mk_buf *b, const char *p, size_t n)
{
	escape(b, p, n, MK_XC_TEXT_ESC);
}

void mk_escape_attr(struct mk_buf *b, const char *p, size_t n)
{
	escape(b, p, n, MK_XC_ATTR_ESC);
}

MK_EXPANDED void write_attr_here(struct mk_buf *b, const char *name, size_t name_n,
                                 const char *value, size_t n)
{
	/* Room for all of it if nothing is to be escaped. */
	char *p = mk_buf_need(b, name_n + n + 4);
	size_t k;

	p[0] = ' ';
	mk_copy_short(p + 1, name, name_n);
	p += name_n + 1;
	p[0] = '=';
	p[1] = '\'';
	k = mk_xml_copy_until(p + 2, value, n, MK_XC_ATTR_ESC);
	b->n += name_n + 3 + k;
	if (k < n) {
		mk_escape_attr(b, value + k, n - k);
		mk_buf_need(b, 1);
	}
	b->p[b->n++] = '\'';
}

static void write_attr(struct mk_buf *b, const char *name, size_t name_n, const char *value,
                       size_t n)
{
	write_attr_here(b, name, name_n, value, n);
}

/* An attribute in a namespace gets a prefix of this element's own, which those
 * behind it share. */
static void write_prefixed(struct mk_buf *b, const struct mk_elem *e, const struct mk_attr *a)
{
	const struct mk_attr *first;
	char name[24];
	unsigned k = 0;

	for (first = e->attrs; first != a; first = first->next, k++)
		if (first->xmlns != NULL && mk_streq(first->xmlns, a->xmlns))
			break;
	snprintf(name, sizeof name, "xmlns:a%u", k);
	if (first == a)
		write_attr(b, name, strlen(name), a->xmlns, strlen(a->xmlns));
	mk_buf_addc(b, ' ');
	mk_buf_addz(b, name + sizeof "xmlns:" - 1);
	mk_buf_addc(b, ':');
	mk_buf_add(b, a->name, a->name_n);
	MK_BUF_LIT(b, "='");
	mk_escape_attr(b, a->value, a->value_n);
	mk_buf_addc(b, '\'');
}

static void write_attrs(struct mk_buf *b, const struct mk_elem *e, bool without_to)
{
	for (const struct mk_attr *a = e->attrs; a != NULL; a = a->next) {
		if (a->xmlns != NULL)
			write_prefixed(b, e, a);
		else if (!without_to || !MK_ATTR_IS(a, "to"))
			write_attr_here(b, a->name, a->name_n, a->value, a->value_n);
	}
}

/* An element on the way. */
struct frame {
	const struct mk_elem *e;
	const char *prefix;            /* of its end tag                        */
	const char *ns;                /* what its children stand in            */
	const struct mk_elem *next;    /* the child to go on with               */
};

/* left, prefix and name. */
static inline void write_name(struct mk_buf *b, const char *left, const char *prefix,
                              const struct mk_elem *e)
{
	mk_buf_addz(b, left);
	if (prefix[0] != '\0')
		mk_buf_addz(b, prefix);
	mk_copy_short(mk_buf_need(b, e->name_n), e->name, e->name_n);
	b->n += e->name_n;
}

/* The rest of a start tag; whether the element is still open. */
static inline bool write_start(struct mk_buf *b, const struct mk_elem *e, bool without_to)
{
	if (e->attrs != NULL)
		write_attrs(b, e, without_to);
	if (e->first == NULL) {
		MK_BUF_LIT(b, "/>");
		return false;
	}
	mk_buf_addc(b, '>');
	return true;
}

/* What is in the element of top, and its end tag. */
static void write_content(struct mk_buf *b, struct frame top)
{
	struct frame few[24], *stack = few, *f = few, *more;
	uint32_t cap = sizeof few / sizeof *few;

	*f = top;
	f->next = f->e->first;
	for (;;) {
		const struct mk_elem *c = f->next;
		const char *ns = f->ns;

		if (c == NULL) {
			write_name(b, "</", f->prefix, f->e);
			mk_buf_addc(b, '>');
			if (f == stack)
				break;
			f--;
			continue;
		}
		f->next = c->next;
		if (c->name == NULL) {
			mk_escape_text(b, c->text, c->text_n);
			continue;
		}
		write_name(b, "<", "", c);
		if (c->xmlns != NULL && !mk_streq(c->xmlns, ns)) {
			write_attr(b, "xmlns", 5, c->xmlns, strlen(c->xmlns));
			ns = c->xmlns;
		}
		if (!write_start(b, c, false))
			continue;
		if (f == &stack[cap - 1]) {
			more = mk_alloc(2 * cap * sizeof *more);
			memcpy(more, stack, cap * sizeof *more);
			if (stack != few)
				mk_free(stack);
			stack = more;
			f = &stack[cap - 1];
			cap *= 2;
		}
		*++f = (struct frame){ c, "", ns, c->first };
	}
	if (stack != few)
		mk_free(stack);
}

void mk_elem_render(struct mk_buf *b, const struct mk_elem *e, const char *parent_ns)
{
	struct frame f = { e, "", mk_elem_xmlns(e), NULL };
	bool declare = !mk_streq(f.ns, parent_ns);

	/* Clients look for "stream:features" and "stream:error" by that very
	 * name. */
	if (declare && parent_ns[0] != '\0' && mk_streq(f.ns, MK_NS_STREAM)) {
		f.prefix = "stream:";
		f.ns = parent_ns;
		declare = false;
	}
	write_name(b, "<", f.prefix, e);
	if (declare)
		write_attr(b, "xmlns", 5, f.ns, strlen(f.ns));
	if (write_start(b, e, false))
		write_content(b, f);
}

void mk_elem_render_rest(struct mk_buf *b, const struct mk_elem *e, bool without_to)
{
	if (write_start(b, e, without_to))
		write_content(b, (struct frame){ e, "", mk_elem_xmlns(e), NULL });
}

struct mk_str mk_elem_write(struct mk_arena *a, const struct mk_elem *e)
{
	struct mk_buf b = { NULL, 0, 0 };
	struct mk_str s;

	mk_elem_render(&b, e, "");
	s = (struct mk_str){ mk_arena_strndup(a, b.p, b.n), b.n };
	mk_buf_free(&b);
	return s;
}
