/*
 * muc/mav.c - versions of a room's affiliations (XEP-0463)
 */
#include "mav.h"

#include <inttypes.h>
#include <meerkat/jid.h>

/* Changes that are remembered. */
#define MOST 256

struct noted { int64_t since, until; struct mk_jid *jid; enum affil affil; };
struct mav { struct noted v[MOST]; uint32_t at, n; };  /* at: the oldest        */

int64_t mav_new_version(void)
{
	uint64_t v = 0;

	while (v == 0) {
		mk_random(&v, sizeof v);
		v >>= 1;               /* a column's numbers have a sign            */
	}
	return (int64_t)v;
}

static const struct noted *nth(const struct mav *m, uint32_t k)
{
	return &m->v[(m->at + k) % MOST];
}

void mav_note(struct mav **mp, int64_t since, int64_t until, const struct mk_jid *jid,
	enum affil a)
{
	struct mav *m = *mp;

	if (m == NULL)
		*mp = m = mk_alloc(sizeof *m);
	if (m->n == MOST) {
		mk_jid_unref(&m->v[m->at].jid);
		m->at = (m->at + 1) % MOST;
		m->n--;
	}
	m->v[(m->at + m->n++) % MOST] = (struct noted){ since, until, mk_jid_ref(jid), a };
}

void mav_free(struct mav **mp)
{
	struct mav *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	for (uint32_t k = 0; k < m->n; k++)
		mk_jid_unref(&m->v[(m->at + k) % MOST].jid);
	mk_free(m);
}

void mav_show(struct mk_elem *x, int64_t since, int64_t until)
{
	struct mk_elem *e = mk_elem_add(x, "mav", NS_MAV);

	if (since != 0)
		mk_elem_setf(e, "since", "%016" PRIx64, (uint64_t)since);
	mk_elem_setf(e, "until", "%016" PRIx64, (uint64_t)until);
}

int64_t mav_parse(const char *text)
{
	uint64_t v = 0;

	if (text == NULL || strlen(text) != 16)
		return 0;
	for (const char *p = text; *p != '\0'; p++) {
		if (*p >= '0' && *p <= '9')
			v = v * 16 + (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v * 16 + (uint64_t)(*p - 'a' + 10);
		else
			return 0;
	}
	return v <= INT64_MAX ? (int64_t)v : 0;
}

bool mav_since(const struct mav *m, int64_t since, mav_fn *fn, void *arg)
{
	uint32_t first = 0;

	if (m == NULL)
		return false;
	while (first < m->n && nth(m, first)->since != since)
		first++;
	if (first == m->n)
		return false;
	for (uint32_t k = first; k < m->n; k++) {
		const struct noted *n = nth(m, k);
		bool is_last = true;

		for (uint32_t l = k + 1; l < m->n && is_last; l++)
			is_last = !mk_jid_eq(nth(m, l)->jid, n->jid);
		if (is_last)
			fn(arg, n->jid, n->affil);
	}
	return true;
}
