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

#ifdef __SSE2__
static inline bool is_clean(__m128i v, unsigned class)
{
	const __m128i amp = _mm_set1_epi8('&'), lt = _mm_set1_epi8('<'), gt = _mm_set1_epi8('>'),
		apos = _mm_set1_epi8(class == MK_XC_ATTR_ESC ? '\'' : '&'),
		ctrl = _mm_set1_epi8(0x1f);
	__m128i hit = _mm_or_si128(
		_mm_or_si128(_mm_cmpeq_epi8(v, amp), _mm_cmpeq_epi8(v, lt)),
		_mm_or_si128(_mm_cmpeq_epi8(v, gt), _mm_cmpeq_epi8(v, apos)));

	hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, ctrl), v));
	return _mm_movemask_epi8(hit) == 0;
}
#endif

/* Copies up to the first byte of class; how many. Room for n + 16 bytes at
 * out is there. */
static inline size_t copy_clean(char *out, const char *p, size_t n, unsigned class)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; n - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
		if (!is_clean(v, class))
			break;
		_mm_storeu_si128((__m128i *)(void *)(out + i), v);
	}
	/* Most values are short: 8 to 15 bytes as two halves that overlap. */
	if (n - i >= 8 && n - i < 16) {
		__m128i a = _mm_loadl_epi64((const __m128i *)(const void *)(p + i));
		__m128i z = _mm_loadl_epi64((const __m128i *)(const void *)(p + n - 8));
		if (is_clean(_mm_unpacklo_epi64(a, z), class)) {
			_mm_storel_epi64((__m128i *)(void *)(out + i), a);
			_mm_storel_epi64((__m128i *)(void *)(out + n - 8), z);
			return n;
		}
	}
#endif
	for (; i < n && !mk_xml_is((uint8_t)p[i], class); i++)
		out[i] = p[i];
	return i;
}

static inline void escape(struct mk_buf *b, const char *p, size_t n, unsigned class)
{
	for (;;) {
		char *out = mk_buf_need(b, n + 16);
		size_t k = copy_clean(out, p, n, class), m;
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

static void write_attr(struct mk_buf *b, const char *name, const char *value, size_t n)
{
	size_t name_n = strlen(name);
	char *p = mk_buf_need(b, name_n + 3);

	p[0] = ' ';
	memcpy(p + 1, name, name_n);
	p[name_n + 1] = '=';
	p[name_n + 2] = '\'';
	b->n += name_n + 3;
	mk_escape_attr(b, value, n);
	mk_buf_addc(b, '\'');
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
		write_attr(b, name, a->xmlns, strlen(a->xmlns));
	mk_buf_addc(b, ' ');
	mk_buf_addz(b, name + sizeof "xmlns:" - 1);
	mk_buf_addc(b, ':');
	mk_buf_addz(b, a->name);
	MK_BUF_LIT(b, "='");
	mk_escape_attr(b, a->value, a->value_n);
	mk_buf_addc(b, '\'');
}

static void write_attrs(struct mk_buf *b, const struct mk_elem *e, const char *skip)
{
	for (const struct mk_attr *a = e->attrs; a != NULL; a = a->next) {
		if (a->xmlns != NULL)
			write_prefixed(b, e, a);
		else if (skip == NULL || !mk_streq(a->name, skip))
			write_attr(b, a->name, a->value, a->value_n);
	}
}

/* An element on the way: what its end tag says, and the namespace that its
 * children stand in. */
struct frame { const char *prefix, *name, *ns; };

static void write_end(struct mk_buf *b, const struct frame *f)
{
	MK_BUF_LIT(b, "</");
	mk_buf_addz(b, f->prefix);
	mk_buf_addz(b, f->name);
	mk_buf_addc(b, '>');
}

/* The rest of a start tag; whether the element is still open. */
static bool write_start(struct mk_buf *b, const struct mk_elem *e, const char *skip)
{
	if (e->attrs != NULL)
		write_attrs(b, e, skip);
	if (e->first == NULL) {
		MK_BUF_LIT(b, "/>");
		return false;
	}
	mk_buf_addc(b, '>');
	return true;
}

/* What is in the element of f, and its end tag. */
static void write_content(struct mk_buf *b, const struct mk_elem *e, struct frame top)
{
	struct frame few[24], *stack = few, *more;
	uint32_t n = 1, cap = sizeof few / sizeof *few;
	const struct mk_elem *c;
	struct mk_walk w;

	few[0] = top;
	mk_walk_begin(&w, e);
	while (mk_walk_next(&w, &c)) {
		const char *ns = stack[n - 1].ns;
		if (c == NULL) {
			/* Those without content are not on the stack: see below. */
			write_end(b, &stack[--n]);
			continue;
		}
		if (c->name == NULL) {
			mk_escape_text(b, c->text, c->text_n);
			continue;
		}
		mk_buf_addc(b, '<');
		mk_buf_addz(b, c->name);
		if (c->xmlns != NULL && c->xmlns != ns && !mk_streq(c->xmlns, ns)) {
			write_attr(b, "xmlns", c->xmlns, strlen(c->xmlns));
			ns = c->xmlns;
		}
		if (!write_start(b, c, NULL)) {
			/* Already closed: pass over its way out. */
			bool more_to_come = mk_walk_next(&w, &c);
			mk_assert(more_to_come && c == NULL);
			continue;
		}
		if (n == cap) {
			more = mk_alloc(2 * cap * sizeof *more);
			memcpy(more, stack, n * sizeof *more);
			if (stack != few)
				mk_free(stack);
			stack = more;
			cap *= 2;
		}
		stack[n++] = (struct frame){ "", c->name, ns };
	}
	mk_walk_end(&w);
	write_end(b, &top);
	if (stack != few)
		mk_free(stack);
}

void mk_elem_render(struct mk_buf *b, const struct mk_elem *e, const char *parent_ns)
{
	struct frame f = { "", e->name, mk_elem_xmlns(e) };
	bool declare = !mk_streq(f.ns, parent_ns);

	/* Clients look for "stream:features" and "stream:error" by that very
	 * name. */
	if (declare && parent_ns[0] != '\0' && mk_streq(f.ns, MK_NS_STREAM)) {
		f.prefix = "stream:";
		f.ns = parent_ns;
		declare = false;
	}
	mk_buf_addc(b, '<');
	mk_buf_addz(b, f.prefix);
	mk_buf_addz(b, e->name);
	if (declare)
		write_attr(b, "xmlns", f.ns, strlen(f.ns));
	if (write_start(b, e, NULL))
		write_content(b, e, f);
}

void mk_elem_render_rest(struct mk_buf *b, const struct mk_elem *e, const char *skip)
{
	if (write_start(b, e, skip))
		write_content(b, e, (struct frame){ "", e->name, mk_elem_xmlns(e) });
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
