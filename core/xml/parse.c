/*
 * xml/parse.c - libxml2's parser, kept warm
 *
 * A parser is one thread's. Making a libxml2 context, or resetting one and
 * feeding it a stream header again, costs as much as a stanza; so contexts
 * stay at depth 1 and take element after element, whichever stream they came
 * from, as long as the header they stand behind is the same. The header is
 * pushed, as it never ends; an element is there as a whole, and is parsed as
 * content, which costs a sixth less than pushing it. What one element
 * leaves behind is only names in the dictionary; a context is thrown away when
 * those, or the bytes it has read, have become many, and after any error.
 *
 * libxml2 never sees a DTD, an entity of anybody's making, a comment or a
 * processing instruction: the scanner doesn't let them through (S-01). No
 * callback here would take them either.
 */
#include "xml/parse.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "xml/chars.h"
#include "xml/known.h"
#include "xml/scan.h"
#include "base/ban.h"

#define CONTEXT_BYTES    (64u << 20)   /* then it is made anew              */
#define CONTEXT_ELEMENTS 1000000u
#define CONTEXT_NAMES    (2u << 20)    /* bytes of its dictionary           */
#define CONTEXT_INPUT    16384u        /* bytes kept for the next element   */
#define CONTEXTS 4                     /* headers known at once             */

struct context {
	xmlParserCtxtPtr xml;          /* NULL = to be made                     */
	/* What mk_known said of strings of its dictionary, which stay where they
	 * are: by address, the last one met in each place. */
	struct met { const xmlChar *z; const char *known; uint32_t n; } met[256];
	char *seed;                    /* the start tag it stands behind, or    */
	char *xmlns;                   /* the namespace of a standard one; own copies */
	uint64_t last_used;
	size_t bytes;
	uint32_t elements;
	/* the element being read */
	struct mk_arena *arena;
	struct mk_elem *at;            /* innermost open element                */
	struct mk_elem *done;          /* the one that is complete              */
	unsigned depth;                /* open elements, the header's included  */
	bool failed;
	struct mk_buf in;              /* its bytes, with a NUL behind them     */
	struct mk_buf text;            /* adjacent text, collected              */
	/* namespace declarations of the first element, for a header: pairs of
	 * prefix ("" = none) and namespace, in the arena */
	bool wants_ns;
	const char **ns;
	int ns_n;
};
struct mk_parser {
	struct context context[CONTEXTS];
	uint64_t clock;
};

/* ---- callbacks ----------------------------------------------------------------- */

/* The length of z of the dictionary, and its known copy or NULL. */
static inline const struct met *look(struct context *c, const xmlChar *z)
{
	struct met *m = &c->met[((uintptr_t)z >> 2 ^ (uintptr_t)z >> 10) %
	                        (sizeof c->met / sizeof *c->met)];

	if (m->z != z) {
		size_t n = strlen((const char *)z);
		*m = (struct met){ z, mk_known((const char *)z, n), (uint32_t)n };
	}
	return m;
}

static inline const char *keep(struct context *c, const xmlChar *z, uint32_t *n_out)
{
	const struct met *m = look(c, z);

	*n_out = m->n;
	return m->known != NULL ? m->known : mk_arena_strndup(c->arena, (const char *)z, m->n);
}

/* Without a DTD and with entities left alone, libxml2 keeps every '&' of a
 * value as "&#38;", and there is no other '&' in it. */
static char *copy_value(char *out, const char *p, size_t n)
{
	size_t k;

	while ((k = mk_xml_copy_until(out, p, n, MK_XC_AMP)) < n) {
		out[k] = '&';
		out += k + 1;
		p += k + 1;
		n -= k + 1;
		if (n >= 4 && memcmp(p, "#38;", 4) == 0) {
			p += 4;
			n -= 4;
		}
	}
	out += k;
	*out++ = '\0';
	return out;
}

/* One prefix may stand for its namespace in every element, and each of them
 * gets a copy here and a declaration when it is written: a long one would
 * become very many bytes (S-10). */
static const char *keep_ns(struct context *c, const xmlChar *uri)
{
	const struct met *m = look(c, uri);
	size_t n = m->n;
	char *out;

	if (m->known != NULL)
		return m->known;
	if (n > MK_NS_MAX) {
		c->failed = true;
		n = 0;
	}
	out = mk_arena_raw(c->arena, n + 1);
	copy_value(out, (const char *)uri, n);
	return out;
}

static void flush_text(struct context *c)
{
	if (c->text.n == 0)
		return;
	mk_elem_text_put(c->at, mk_arena_strndup(c->arena, c->text.p, c->text.n), c->text.n);
	/* How many there are, until the element ends. */
	c->at->text_n++;
	mk_buf_clear(&c->text);
}

/* Attributes come as quintuples: name, prefix, namespace, value, its end. */
static void copy_attrs(struct context *c, struct mk_elem *e, int n, const xmlChar **v)
{
	size_t bytes = 0;
	struct mk_attr *a;
	char *text;

	for (int i = 0; i < n; i++)
		bytes += (size_t)(v[5 * i + 4] - v[5 * i + 3]) + 1;
	a = mk_arena_raw(c->arena, (size_t)n * sizeof *a + bytes);
	text = (char *)(a + n);
	e->attrs = a;
	for (int i = 0; i < n; i++, v += 5, a++) {
		const char *name = (const char *)v[0], *prefix = (const char *)v[1];

		a->next = i + 1 < n ? a + 1 : NULL;
		a->xmlns = NULL;
		if (prefix == NULL) {
			a->name = keep(c, v[0], &a->name_n);
		} else if (strcmp(prefix, "xml") == 0) {
			a->name = strcmp(name, "lang") == 0 ? "xml:lang" :
				mk_arena_printf(c->arena, "xml:%s", name);
			a->name_n = (uint32_t)strlen(a->name);
		} else {
			a->name = keep(c, v[0], &a->name_n);
			if (v[2] == NULL)
				c->failed = true;      /* unbound prefix */
			else
				a->xmlns = keep_ns(c, v[2]);
		}
		a->value = text;
		text = copy_value(text, (const char *)v[3], (size_t)(v[4] - v[3]));
		a->value_n = (uint32_t)(text - a->value - 1);
	}
}

static void copy_namespaces(struct context *c, int n, const xmlChar **v)
{
	uint32_t prefix_n;

	c->ns = mk_arena_alloc(c->arena, 2 * (size_t)n * sizeof *c->ns + 1);
	c->ns_n = n;
	for (int i = 0; i < n; i++) {
		c->ns[2 * i] = v[2 * i] != NULL ? keep(c, v[2 * i], &prefix_n) : "";
		c->ns[2 * i + 1] = v[2 * i + 1] != NULL ? keep_ns(c, v[2 * i + 1]) : "";
	}
}

static void start_element(void *arg, const xmlChar *name, const xmlChar *prefix,
	const xmlChar *uri, int ns_n, const xmlChar **ns, int attrs_n, int defaulted,
	const xmlChar **attrs)
{
	struct context *c = arg;
	struct mk_elem *e;

	(void)defaulted;
	if (c->depth++ == 0 || c->failed)
		return;
	/* <xml:a/> is in a namespace that nobody can declare. */
	if (c->done != NULL || (prefix != NULL && (uri == NULL || mk_ns_is_reserved((const char *)uri)))) {
		c->failed = true;
		return;
	}
	if (c->at != NULL)
		flush_text(c);
	else if (c->wants_ns)
		copy_namespaces(c, ns_n, ns);
	e = mk_arena_raw(c->arena, sizeof *e);
	*e = (struct mk_elem){ .arena = c->arena, .parent = c->at };
	e->name = keep(c, name, &e->name_n);
	e->xmlns = uri != NULL ? keep_ns(c, uri) : "";
	if (attrs_n > 0)
		copy_attrs(c, e, attrs_n, attrs);
	if (c->at != NULL) {
		if (c->at->last != NULL)
			c->at->last->next = e;
		else
			c->at->first = e;
		c->at->last = e;
	}
	c->at = e;
}

static void end_element(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	struct context *c = arg;

	(void)name;
	(void)prefix;
	(void)uri;
	c->depth--;
	if (c->failed)
		return;
	if (c->at == NULL) {
		c->failed = true;              /* the header's end tag */
		return;
	}
	flush_text(c);
	if (c->at->text_n > 1)
		mk_elem_text_join(c->at);
	else
		c->at->text_n = 0;
	if (c->at->parent == NULL)
		c->done = c->at;
	c->at = c->at->parent;
}

static void characters(void *arg, const xmlChar *p, int n)
{
	struct context *c = arg;

	if (c->failed || n <= 0)
		return;
	if (c->at == NULL)
		c->failed = true;
	else
		mk_buf_add(&c->text, p, (size_t)n);
}

/* A whole CDATA section. libxml2 leaves its line ends as they came; as there is
 * no &#13; in one, all of them are line ends (XML 1.0 2.11). */
static void cdata(void *arg, const xmlChar *p, int n)
{
	const xmlChar *end = p + n, *cr;

	while ((cr = memchr(p, '\r', (size_t)(end - p))) != NULL) {
		characters(arg, p, (int)(cr - p));
		characters(arg, (const xmlChar *)"\n", 1);
		p = cr + 1 + (cr + 1 < end && cr[1] == '\n');
	}
	characters(arg, p, (int)(end - p));
}

/* libxml2's messages go nowhere. What it calls an error of namespaces without
 * stopping is one, but not that a namespace is no URI, or a relative one: any
 * name is good enough. */
static void complaint(void *arg, xmlErrorPtr err)
{
	struct context *c = arg;

	if (err->level == XML_ERR_WARNING || err->code == XML_WAR_NS_URI ||
	    err->code == XML_WAR_NS_URI_RELATIVE)
		return;
	c->failed = true;
}

/* ---- libxml2's memory ------------------------------------------------------------ */

/* While set, what libxml2 gives back is overwritten first. */
static _Thread_local bool wipes;

static void xml_free(void *p)
{
	if (wipes && p != NULL)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *xml_realloc(void *p, size_t n)
{
	size_t old = p != NULL ? malloc_usable_size(p) : 0;
	void *more;

	if (!wipes || old == 0)
		return realloc(p, n);
	if (n <= old)
		return p;
	more = malloc(n);
	if (more == NULL)
		return NULL;
	memcpy(more, p, old);
	xml_free(p);
	return more;
}

static char *xml_strdup(const char *z) { return strdup(z); }

static void library_init(void)
{
	xmlMemSetup(xml_free, malloc, xml_realloc, xml_strdup);
	xmlInitParser();
}

/* ---- contexts ------------------------------------------------------------------ */

static void buf_drop(struct mk_buf *b)
{
	if (wipes && b->p != NULL)
		explicit_bzero(b->p, b->cap);
	mk_buf_free(b);
}

static void context_drop(struct context *c)
{
	if (c->xml != NULL)
		xmlFreeParserCtxt(c->xml);
	c->xml = NULL;
	memset(c->met, 0, sizeof c->met);
	c->bytes = 0;
	c->elements = 0;
	buf_drop(&c->text);
	buf_drop(&c->in);
}

/* Makes bytes what the parser reads next. Its memory is the context's: libxml2
 * neither asks for more behind it nor frees it. */
static void read_from(struct context *c, const char *bytes, size_t n)
{
	xmlParserInputPtr in = c->xml->input;

	c->in.n = 0;
	mk_buf_need(&c->in, n + 1);
	memcpy(c->in.p, bytes, n);
	c->in.p[n] = '\0';
	in->base = in->cur = (const xmlChar *)c->in.p;
	in->end = in->base + n;
}

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* The only place where an XML parser is made. */
static void context_make(struct context *c)
{
	xmlSAXHandler sax = {
		.initialized = XML_SAX2_MAGIC,
		.startElementNs = start_element,
		.endElementNs = end_element,
		.characters = characters,
		.cdataBlock = cdata,
		/* The same: libxml2 then doesn't ask what is blank. */
		.ignorableWhitespace = characters,
		.serror = complaint,
	};

	pthread_once(&library_once, library_init);
	c->xml = xmlCreatePushParserCtxt(&sax, c, NULL, 0, NULL);
	if (c->xml == NULL)
		mk_assert_failed("out of memory", __FILE__, __LINE__);
	/* OLD10: names as before the fifth edition of XML 1.0, which parsers like
	 * expat don't know; others would break off at what we let through. */
	xmlCtxtUseOptions(c->xml, XML_PARSE_NONET | XML_PARSE_OLD10);
	c->depth = 0;
	c->at = c->done = NULL;
	c->failed = false;
	if (c->seed != NULL) {
		xmlParseChunk(c->xml, c->seed, (int)strlen(c->seed), 0);
	} else {
		struct mk_buf b = { NULL, 0, 0 };
		MK_BUF_LIT(&b, "<stream:stream xmlns='");
		mk_escape_attr(&b, c->xmlns, strlen(c->xmlns));
		MK_BUF_LIT(&b, "' xmlns:stream='" MK_NS_STREAM "'>");
		xmlParseChunk(c->xml, b.p, (int)b.n, 0);
		mk_buf_free(&b);
	}
	/* A seed is a header that was parsed before. */
	mk_assert(c->depth == 1 && !c->failed && c->xml->wellFormed);
	xmlFreeParserInputBuffer(c->xml->input->buf);
	c->xml->input->buf = NULL;
	read_from(c, "", 0);
	c->bytes = 0;
	c->elements = 0;
}

/* The context behind this header: one of the known ones, else the one that
 * was unused longest becomes it. */
static struct context *context_for(struct mk_parser *p, const char *xmlns, const char *seed)
{
	struct context *oldest = &p->context[0];

	for (int i = 0; i < CONTEXTS; i++) {
		struct context *c = &p->context[i];
		if (c->last_used != 0 && (c->seed != NULL) == (seed != NULL) &&
		    mk_streq(seed != NULL ? c->seed : c->xmlns, seed != NULL ? seed : xmlns)) {
			c->last_used = ++p->clock;
			return c;
		}
		if (c->last_used < oldest->last_used)
			oldest = c;
	}
	context_drop(oldest);
	mk_free(oldest->seed);
	mk_free(oldest->xmlns);
	oldest->seed = seed != NULL ? mk_strdup(seed) : NULL;
	oldest->xmlns = seed == NULL ? mk_strdup(xmlns) : NULL;
	oldest->last_used = ++p->clock;
	return oldest;
}

struct mk_parser *mk_parser_new(void)
{
	return mk_alloc(sizeof(struct mk_parser));
}

void mk_parser_free(struct mk_parser **pp)
{
	struct mk_parser *p = *pp;

	*pp = NULL;
	if (p == NULL)
		return;
	for (int i = 0; i < CONTEXTS; i++) {
		context_drop(&p->context[i]);
		mk_free(p->context[i].seed);
		mk_free(p->context[i].xmlns);
	}
	mk_free(p);
}

static int context_parse(struct context *c, struct mk_arena *a, const char *bytes, size_t n,
                         struct mk_elem **out)
{
	mk_assert(n < INT32_MAX);
	if (c->xml == NULL)
		context_make(c);
	c->arena = a;
	read_from(c, bytes, n);
	xmlParseContent(c->xml);
	/* One element, all of it, and nothing behind it that the next one, of
	 * another stream, would begin with. */
	if (c->failed || !c->xml->wellFormed || c->done == NULL || c->depth != 1 ||
	    c->xml->input == NULL || c->xml->input->cur != c->xml->input->end) {
		context_drop(c);
		return -MK_EXML;
	}
	*out = c->done;
	c->done = NULL;
	/* What complaint() forgave. */
	c->xml->nsWellFormed = 1;
	if (c->in.cap > CONTEXT_INPUT) {
		buf_drop(&c->in);
		read_from(c, "", 0);
	}
	c->bytes += n;
	if (c->bytes > CONTEXT_BYTES || ++c->elements > CONTEXT_ELEMENTS ||
	    xmlDictGetUsage(c->xml->dict) > CONTEXT_NAMES)
		context_drop(c);
	return 0;
}

int mk_parse_elem(struct mk_parser *p, const char *xmlns, const char *seed, struct mk_arena *a,
                  const char *bytes, size_t n, struct mk_elem **out)
{
	return context_parse(context_for(p, xmlns, seed), a, bytes, n, out);
}

int mk_parse_secret(const char *xmlns, const char *seed, struct mk_arena *a, const char *bytes,
                    size_t n, struct mk_elem **out)
{
	struct context c = { .xml = NULL };
	int r;

	c.seed = (char *)seed;
	c.xmlns = seed == NULL ? (char *)xmlns : NULL;
	wipes = true;
	/* They never grow, so leave nothing behind. */
	mk_buf_need(&c.text, n);
	mk_buf_need(&c.in, n + 1);
	context_make(&c);
	r = context_parse(&c, a, bytes, n, out);
	context_drop(&c);
	wipes = false;
	return r;
}

/* ---- this thread's own parser ---------------------------------------------------- */

static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static _Thread_local struct mk_parser *own;

void mk_parse_thread_end(void)
{
	mk_parser_free(&own);
}

static void thread_end(void *mark)
{
	(void)mark;
	mk_parse_thread_end();
}

static void key_make(void)
{
	mk_assert(pthread_key_create(&end_key, thread_end) == 0);
}

static struct mk_parser *own_parser(void)
{
	if (own == NULL) {
		own = mk_parser_new();
		pthread_once(&end_once, key_make);
		pthread_setspecific(end_key, own);
	}
	return own;
}

/* ---- headers ------------------------------------------------------------------- */

/* The header's declarations as a start tag, or NULL if a standard header says
 * the same. */
static const char *header_seed(struct mk_arena *a, const struct context *c)
{
	bool has_stream = false, is_standard = true;
	struct mk_buf b = { NULL, 0, 0 };
	const char *seed;

	for (int i = 0; i < c->ns_n; i++) {
		const char *prefix = c->ns[2 * i], *ns = c->ns[2 * i + 1];
		if (strcmp(prefix, "stream") == 0 && strcmp(ns, MK_NS_STREAM) == 0)
			has_stream = true;
		else if (prefix[0] != '\0')
			is_standard = false;
	}
	if (has_stream && is_standard)
		return NULL;
	MK_BUF_LIT(&b, "<seed");
	for (int i = 0; i < c->ns_n; i++) {
		MK_BUF_LIT(&b, " xmlns");
		if (c->ns[2 * i][0] != '\0')
			mk_buf_addc(&b, ':');
		mk_buf_addz(&b, c->ns[2 * i]);
		MK_BUF_LIT(&b, "='");
		mk_escape_attr(&b, c->ns[2 * i + 1], strlen(c->ns[2 * i + 1]));
		mk_buf_addc(&b, '\'');
	}
	mk_buf_addc(&b, '>');
	seed = mk_arena_strndup(a, b.p, b.n);
	mk_buf_free(&b);
	return seed;
}

int mk_parse_header(struct mk_arena *a, const char *p, size_t n, struct mk_stream_header *out)
{
	struct context *c = context_for(own_parser(), "", MK_PARSE_BARE);
	struct mk_elem *e;
	const char *decl_end;
	char *closed;
	int r;

	/* The declaration was checked by the scanner. */
	if (n >= 5 && memcmp(p, "<?xml", 5) == 0) {
		decl_end = memmem(p, n, "?>", 2);
		if (decl_end == NULL)
			return -MK_EXML;
		n -= (size_t)(decl_end + 2 - p);
		p = decl_end + 2;
	}
	while (n > 0 && mk_xml_is((uint8_t)*p, MK_XC_SPACE)) {
		p++;
		n--;
	}
	if (n < 2 || p[n - 1] != '>' || p[n - 2] == '/')
		return -MK_EXML;
	closed = mk_arena_raw(a, n + 1);
	memcpy(closed, p, n - 1);
	closed[n - 1] = '/';
	closed[n] = '>';
	c->wants_ns = true;
	r = context_parse(c, a, closed, n + 1, &e);
	c->wants_ns = false;
	if (r < 0)
		return r;
	*out = (struct mk_stream_header){
		.is_stream = mk_elem_is(e, "stream", MK_NS_STREAM),
		.prefix = "", .xmlns = "",
		.to = mk_elem_attr(e, "to"), .from = mk_elem_attr(e, "from"),
		.id = mk_elem_attr(e, "id"), .version = mk_elem_attr(e, "version"),
		.lang = mk_elem_attr(e, "xml:lang"),
		.seed = header_seed(a, c),
	};
	for (const char *q = closed + 1; *q != '/' && *q != '>' && !mk_xml_is((uint8_t)*q, MK_XC_SPACE); q++)
		if (*q == ':')
			out->prefix = mk_arena_strndup(a, closed + 1, (size_t)(q - closed) - 1);
	for (int i = 0; i < c->ns_n; i++)
		if (c->ns[2 * i][0] == '\0')
			out->xmlns = c->ns[2 * i + 1];
	return 0;
}

/* ---- elements that were written before -------------------------------------------- */

/* More than any stream lets in, as what is stored has grown by wrapping. */
static const struct mk_scan_limits stored_limits = {
	.bytes = 4 << 20, .depth = 256, .attrs = 256, .elements = 65536
};

int mk_elem_read(struct mk_arena *a, struct mk_str xml, struct mk_elem **out)
{
	enum mk_scan_result r;
	struct mk_scan s;
	size_t used, from = 0;

	mk_scan_init(&s, true);
	if (xml.n == 0)
		return -MK_EXML;
	r = mk_scan_feed(&s, &stored_limits, xml.p, xml.n, &used);
	if (r == MK_SCAN_SPACE && used < xml.n) {
		from = used;
		r = mk_scan_feed(&s, &stored_limits, xml.p + from, xml.n - from, &used);
	}
	if (r != MK_SCAN_ELEMENT)
		return -MK_EXML;
	for (size_t i = from + used; i < xml.n; i++)
		if (!mk_xml_is((uint8_t)xml.p[i], MK_XC_SPACE))
			return -MK_EXML;
	return context_parse(context_for(own_parser(), "", MK_PARSE_BARE), a, xml.p + from, used, out);
}
