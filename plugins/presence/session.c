/*
 * presence/session.c - what is known of a session, and what is sent of it
 *
 * At the session's home worker. A session that never sent presence has no
 * slot; one that is available keeps its presence as XML text of exact size
 * (a stanza's arena would take a kilobyte and more).
 */
#include "presence.h"

static uint32_t slot;

/* ---- names ---------------------------------------------------------------------------- */

static bool find(const struct names *s, const struct mk_jid *j, uint32_t *at)
{
	for (uint32_t k = 0; k < s->n; k++)
		if (mk_jid_eq(names_all(s)[k], j)) {
			*at = k;
			return true;
		}
	return false;
}

bool names_has(const struct names *s, const struct mk_jid *j)
{
	uint32_t at;
	return find(s, j, &at);
}

void names_add(struct names *s, const struct mk_jid *j)
{
	struct mk_jid *one = s->v.one, **many;

	if (names_has(s, j))
		return;
	if (s->n == 0 && s->size == 0) {
		s->v.one = mk_jid_ref(j);
		s->n = 1;
		return;
	}
	if (s->size == 0) {
		s->size = 4;
		s->v.many = mk_alloc(s->size * sizeof *many);
		s->v.many[0] = one;
	} else if (s->n == s->size) {
		s->size += s->size / 2;
		s->v.many = mk_realloc(s->v.many, s->size * sizeof *many);
	}
	s->v.many[s->n++] = mk_jid_ref(j);
}

void names_remove(struct names *s, const struct mk_jid *j)
{
	struct mk_jid **all = (struct mk_jid **)names_all(s);
	uint32_t at;

	if (!find(s, j, &at))
		return;
	mk_jid_unref(&all[at]);
	all[at] = all[--s->n];
}

static void names_free(struct names *s)
{
	for (uint32_t k = 0; k < s->n; k++) {
		struct mk_jid *j = names_all(s)[k];
		mk_jid_unref(&j);
	}
	if (s->size != 0)
		mk_free(s->v.many);
}

/* ---- the slot ----------------------------------------------------------------------------- */

static void fini(void *data)
{
	struct presence *p = data;

	mk_free(p->xml);
	names_free(&p->directed);
	names_free(&p->stopped);
}

int presence_load_slots(struct mk_module *m)
{
	static const struct mk_slot s = { sizeof s, MK_SLOT_SESSION, sizeof(struct presence), fini };
	return mk_slot_register(m, &s, &slot);
}

struct presence *presence_of(struct mk_session *s) { return mk_session_slot(s, slot); }

struct presence *presence_peek(const struct mk_session *s)
{
	return mk_session_slot_peek(s, slot);
}

void presence_clear(struct mk_session *s) { mk_session_slot_clear(s, slot); }

void presence_keep(struct mk_session *s, const struct mk_stanza *st)
{
	struct presence *p = presence_of(s);
	struct mk_str xml = mk_elem_write(mk_turn_arena(), mk_stanza_elem(st));

	mk_free(p->xml);
	p->xml = mk_strndup(xml.p, xml.n);
	p->xml_n = (uint32_t)xml.n;
}

struct mk_stanza *presence_last(const struct mk_session *s)
{
	const struct presence *p = presence_peek(s);
	struct mk_stanza *st = NULL;
	struct mk_elem *e = NULL;

	if (p == NULL || p->xml == NULL)
		return NULL;
	if (mk_elem_read(mk_turn_arena(), (struct mk_str){ p->xml, p->xml_n }, &e) < 0 ||
	    mk_stanza_from_elem(e, &st) < 0)
		return NULL;
	return st;
}

/* ---- sending -------------------------------------------------------------------------------- */

void presence_send(const struct mk_jid *from, const char *type, const struct mk_jid *to)
{
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, type, from, to);
	mk_send(&s);
}

void presence_send_all(const struct mk_entity *e, const struct mk_jid *to)
{
	struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL;

	for (; s != NULL; s = mk_session_next(s)) {
		struct mk_stanza *st = NULL;
		if (mk_session_is_open(s) && mk_session_is_available(s))
			st = presence_last(s);
		if (st == NULL)
			continue;
		mk_send_to(st, to);
		mk_stanza_unref(&st);
	}
}

void presence_send_gone(const struct mk_entity *e, const struct mk_jid *to)
{
	struct mk_session *s = e != NULL ? mk_entity_sessions(e) : NULL;

	for (; s != NULL; s = mk_session_next(s))
		if (mk_session_is_open(s) && mk_session_is_available(s))
			presence_send(mk_session_jid(s), "unavailable", to);
}
