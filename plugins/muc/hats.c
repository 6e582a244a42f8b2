/*
 * muc/hats.c - hats of a room in memory, as text, and in presence (XEP-0317)
 */
#include "hats.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#define HATS_MAX  50
#define WORN_MAX  500
#define URI_MAX   1024
#define TITLE_MAX 256

struct hat { char *uri, *title, *hue; };               /* hue or NULL           */
struct worn { struct mk_jid *jid; uint32_t hat; };
struct hats {
	struct hat hat[HATS_MAX];
	struct worn *worn;
	uint32_t hats_n, worn_n;
};

static struct hat *find(struct hats *h, struct mk_str uri)
{
	for (uint32_t k = 0; h != NULL && k < h->hats_n; k++)
		if (mk_str_eqz(uri, h->hat[k].uri))
			return &h->hat[k];
	return NULL;
}

/* ---- changing ---------------------------------------------------------------------------- */

static bool is_uri(struct mk_str s)
{
	if (s.n == 0 || s.n > URI_MAX || memchr(s.p, ':', s.n) == NULL)
		return false;
	for (size_t k = 0; k < s.n; k++)
		if ((unsigned char)s.p[k] <= ' ')
			return false;
	return true;
}

/* An angle, 0 to 360 (XEP-0392). */
static bool is_hue(struct mk_str s)
{
	unsigned whole = 0;
	size_t k = 0;

	for (; k < s.n && k < 3 && isdigit((unsigned char)s.p[k]); k++)
		whole = whole * 10 + (unsigned)(s.p[k] - '0');
	if (k == 0 || whole > 360 || s.n > 16)
		return false;
	if (k < s.n && s.p[k++] != '.')
		return false;
	for (; k < s.n; k++)
		if (!isdigit((unsigned char)s.p[k]))
			return false;
	return true;
}

int hats_set(struct hats **hp, struct mk_str uri, struct mk_str title, struct mk_str hue)
{
	struct hat *at = find(*hp, uri);

	if (!is_uri(uri) || title.n == 0 || title.n > TITLE_MAX || (hue.n != 0 && !is_hue(hue)))
		return -MK_EINVAL;
	if (at == NULL) {
		if (*hp == NULL)
			*hp = mk_alloc(sizeof **hp);
		if ((*hp)->hats_n == HATS_MAX)
			return -MK_ELIMIT;
		at = &(*hp)->hat[(*hp)->hats_n++];
		at->uri = mk_strndup(uri.p, uri.n);
	}
	mk_free(at->title);
	mk_free(at->hue);
	at->title = mk_strndup(title.p, title.n);
	at->hue = hue.n != 0 ? mk_strndup(hue.p, hue.n) : NULL;
	return 0;
}

static void take_off(struct hats *h, uint32_t k)
{
	mk_jid_unref(&h->worn[k].jid);
	h->worn[k] = h->worn[--h->worn_n];
}

static void hat_clear(struct hat *at)
{
	mk_free(at->uri);
	mk_free(at->title);
	mk_free(at->hue);
}

int hats_remove(struct hats *h, struct mk_str uri)
{
	struct hat *at = find(h, uri);
	uint32_t n;

	if (at == NULL)
		return -MK_ENOENT;
	n = (uint32_t)(at - h->hat);
	hat_clear(at);
	memmove(at, at + 1, (--h->hats_n - n) * sizeof *at);
	for (uint32_t k = h->worn_n; k-- > 0;) {
		if (h->worn[k].hat == n)
			take_off(h, k);
		else if (h->worn[k].hat > n)
			h->worn[k].hat--;
	}
	return 0;
}

static struct worn *wearing(const struct hats *h, const struct mk_jid *jid, const struct hat *at)
{
	for (uint32_t k = 0; k < h->worn_n; k++)
		if (&h->hat[h->worn[k].hat] == at && mk_jid_bare_eq(h->worn[k].jid, jid))
			return &h->worn[k];
	return NULL;
}

bool hats_is_worn(const struct hats *h, const struct mk_jid *jid, struct mk_str uri)
{
	struct hat *at = find((struct hats *)(uintptr_t)h, uri);

	return at != NULL && wearing(h, jid, at) != NULL;
}

int hats_wear(struct hats *h, const struct mk_jid *jid, struct mk_str uri, bool wears)
{
	struct hat *at = find(h, uri);
	struct worn *w;

	if (at == NULL)
		return -MK_ENOENT;
	w = wearing(h, jid, at);
	if ((w != NULL) == wears)
		return 0;
	if (!wears) {
		take_off(h, (uint32_t)(w - h->worn));
		return 1;
	}
	if (h->worn_n == WORN_MAX)
		return -MK_ELIMIT;
	h->worn = mk_realloc(h->worn, (h->worn_n + 1) * sizeof *h->worn);
	h->worn[h->worn_n++] = (struct worn){ mk_jid_to_bare(jid), (uint32_t)(at - h->hat) };
	return 1;
}

void hats_free(struct hats **hp)
{
	struct hats *h = *hp;

	*hp = NULL;
	if (h == NULL)
		return;
	while (h->worn_n > 0)
		take_off(h, h->worn_n - 1);
	for (uint32_t k = 0; k < h->hats_n; k++)
		hat_clear(&h->hat[k]);
	mk_free(h->worn);
	mk_free(h);
}

/* ---- as text -------------------------------------------------------------------------------- */

/* <hats><hat uri='' title='' hue=''><user>jid</user>...</hat>...</hats> */

struct mk_str hats_write(struct mk_arena *a, const struct hats *h)
{
	struct mk_elem *all, *e;

	if (h == NULL || h->hats_n == 0)
		return MK_STR_NONE;
	all = mk_elem_new(a, "hats", NS_HATS);
	for (uint32_t k = 0; k < h->hats_n; k++) {
		e = mk_elem_add(all, "hat", NULL);
		mk_elem_set(e, "uri", h->hat[k].uri);
		mk_elem_set(e, "title", h->hat[k].title);
		mk_elem_set(e, "hue", h->hat[k].hue);
		for (uint32_t w = 0; w < h->worn_n; w++)
			if (h->worn[w].hat == k)
				mk_elem_add_text(e, "user", NULL, mk_jid_bare(h->worn[w].jid));
	}
	return mk_elem_write(a, all);
}

struct hats *hats_read(struct mk_str text)
{
	struct mk_arena *a;
	struct mk_elem *all;
	struct hats *h = NULL;

	if (text.n == 0)
		return NULL;
	a = mk_arena_new();
	if (mk_elem_read(a, text, &all) == 0)
		for (const struct mk_elem *e = mk_elem_first(all); e != NULL; e = mk_elem_next(e)) {
			struct mk_str uri = mk_strz(mk_elem_attr(e, "uri"));
			if (hats_set(&h, uri, mk_strz(mk_elem_attr(e, "title")),
			             mk_strz(mk_elem_attr(e, "hue"))) < 0)
				continue;
			for (const struct mk_elem *u = mk_elem_first(e); u != NULL; u = mk_elem_next(u)) {
				struct mk_jid *jid = NULL;
				if (mk_jid_parse(mk_elem_text(u), &jid) < 0)
					continue;
				hats_wear(h, jid, uri, true);
				mk_jid_unref(&jid);
			}
		}
	mk_arena_free(&a);
	return h;
}

/* ---- asking ------------------------------------------------------------------------------------ */

void hats_show(const struct hats *h, const struct mk_jid *jid, struct mk_elem *presence)
{
	struct mk_elem *all = NULL, *e;

	for (uint32_t k = 0; h != NULL && k < h->worn_n; k++) {
		const struct hat *at = &h->hat[h->worn[k].hat];
		if (!mk_jid_bare_eq(h->worn[k].jid, jid))
			continue;
		if (all == NULL)
			all = mk_elem_add(presence, "hats", NS_HATS);
		e = mk_elem_add(all, "hat", NS_HATS);
		mk_elem_set(e, "title", at->title);
		mk_elem_set(e, "uri", at->uri);
		mk_elem_set(e, "hue", at->hue);
	}
}

bool hats_hash(const struct hats *h, char out[17])
{
	uint64_t x = UINT64_C(0xcbf29ce484222325);

	if (h == NULL || h->hats_n == 0)
		return false;
	/* FNV-1a, each uri with its NUL. */
	for (uint32_t k = 0; k < h->hats_n; k++)
		for (const char *p = h->hat[k].uri;; p++) {
			x = (x ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
			if (*p == '\0')
				break;
		}
	snprintf(out, 17, "%016" PRIx64, x);
	return true;
}

void hats_each(const struct hats *h, bool worn, hats_fn *fn, void *arg)
{
	if (h == NULL)
		return;
	for (uint32_t k = 0; !worn && k < h->hats_n; k++)
		fn(arg, NULL, h->hat[k].uri, h->hat[k].title, h->hat[k].hue);
	for (uint32_t k = 0; worn && k < h->worn_n; k++) {
		const struct hat *at = &h->hat[h->worn[k].hat];
		fn(arg, h->worn[k].jid, at->uri, at->title, at->hue);
	}
}
