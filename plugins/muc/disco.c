/*
 * muc/disco.c - service discovery of the service, its rooms, and who is in them
 * (XEP-0045 6, XEP-0030, XEP-0059, XEP-0128)
 *
 * A service's rooms are those in storage and those that live in memory only; the
 * latter are on all workers, so they are noted in one list behind a lock that is
 * held for no longer than a walk. What has many items goes out in pages.
 */
#include "room.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 100 };

struct listing {
	struct listing *prev, *next;
	struct mk_str domain;          /* of room                               */
	struct mk_jid *room;           /* ref                                   */
	char *name;                    /* or NULL                               */
	bool is_public;                /* and no longer locked                  */
};
struct listings {
	pthread_mutex_t lock;
	struct listing *first;
	uint32_t n;
};

struct listings *listings_new(void)
{
	struct listings *l = mk_alloc(sizeof *l);

	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void listings_free(struct listings **lp)
{
	struct listings *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	pthread_mutex_destroy(&l->lock);
	mk_free(l);
}

void listing_remove(struct room *r)
{
	struct listings *all = muc_listings(r->inst);
	struct listing *l = r->listing;

	if (l == NULL)
		return;
	r->listing = NULL;
	pthread_mutex_lock(&all->lock);
	if (l->prev != NULL)
		l->prev->next = l->next;
	else
		all->first = l->next;
	if (l->next != NULL)
		l->next->prev = l->prev;
	all->n--;
	pthread_mutex_unlock(&all->lock);
	mk_jid_unref(&l->room);
	mk_free(l->name);
	mk_free(l);
}

void listing_update(struct room *r)
{
	struct listings *all = muc_listings(r->inst);
	struct listing *l;

	listing_remove(r);
	if (r->is_stored)
		return;
	l = mk_alloc(sizeof *l);
	l->room = mk_jid_ref(r->jid);
	l->domain = r->domain;
	l->is_public = r->conf.is_public && !r->is_locked;
	l->name = r->conf.name != NULL ? mk_strdup(r->conf.name) : NULL;
	r->listing = l;
	pthread_mutex_lock(&all->lock);
	l->next = all->first;
	if (l->next != NULL)
		l->next->prev = l;
	all->first = l;
	all->n++;
	pthread_mutex_unlock(&all->lock);
}

/* ---- pages (XEP-0059) ---------------------------------------------------------------- */

/* What was asked for; a page goes forward behind after, or backward before before. */
struct page {
	struct mk_str after, before;   /* n 0 = from the end                    */
	bool is_asked, backward;
	int64_t most;
};

/* false: it makes no sense. */
static bool page_read(const struct mk_elem *query, struct page *p)
{
	const struct mk_elem *set = mk_elem_child(query, "set", NS_RSM), *e;

	*p = (struct page){ .most = PAGE };
	if (set == NULL)
		return true;
	p->is_asked = true;
	e = mk_elem_child(set, "max", NULL);
	if (e != NULL && mk_parse_int(mk_elem_text(e), 0, INT32_MAX, &p->most) < 0)
		return false;
	if (p->most > PAGE)
		p->most = PAGE;
	p->after = mk_elem_child_text(set, "after", NULL);
	p->before = mk_elem_child_text(set, "before", NULL);
	p->backward = mk_elem_child(set, "before", NULL) != NULL;
	return true;
}

static void page_write(struct mk_elem *query, const char *first, const char *last,
	uint64_t index, uint64_t count)
{
	struct mk_elem *set = mk_elem_add(query, "set", NS_RSM);

	if (first != NULL) {
		mk_elem_setf(mk_elem_add_text(set, "first", NULL, mk_strz(first)), "index", "%llu",
			(unsigned long long)index);
		mk_elem_add_text(set, "last", NULL, mk_strz(last));
	}
	struct mk_elem *n = mk_elem_add(set, "count", NULL);
	char text[24];
	int len = snprintf(text, sizeof text, "%llu", (unsigned long long)count);
	mk_elem_text_add(n, (struct mk_str){ text, (size_t)len });
}

/* ---- the rooms of a service (6.3) ---------------------------------------------------- */

static int by_room(const void *a, const void *b)
{
	const struct stored_room *x = a, *y = b;
	size_t n = x->room.n < y->room.n ? x->room.n : y->room.n;
	int r = memcmp(x->room.p, y->room.p, n);

	return r != 0 ? r : x->room.n < y->room.n ? -1 : x->room.n > y->room.n;
}

/* Those of the domain in memory only (hidden_too: not only the public ones), by name; in
 * the arena. */
static struct stored_room *in_memory(struct listings *all, struct mk_arena *a,
	struct mk_str domain, bool hidden_too, uint32_t *n_out)
{
	struct stored_room *v;
	uint32_t n = 0;

	pthread_mutex_lock(&all->lock);
	v = mk_arena_alloc(a, (all->n + 1) * sizeof *v);
	for (const struct listing *l = all->first; l != NULL; l = l->next)
		if (mk_str_eq(l->domain, domain) && (hidden_too || l->is_public)) {
			struct stored_room *x = &v[n++];
			x->room = mk_strz(mk_arena_strdup(a, mk_jid_full(l->room)));
			x->is_public = l->is_public;
			x->name = l->name != NULL ? mk_strz(mk_arena_strdup(a, l->name)) : MK_STR_NONE;
		}
	pthread_mutex_unlock(&all->lock);
	qsort(v, n, sizeof *v, by_room);
	*n_out = n;
	return v;
}

static uint32_t below(const struct stored_room *v, uint32_t n, struct mk_str room)
{
	const struct stored_room key = { .room = room };
	uint32_t k = 0;

	while (k < n && by_room(&v[k], &key) < 0)
		k++;
	return k;
}

/* The next of memory in the page's direction after `from`, or NULL. */
static const struct stored_room *pick(const struct stored_room *v, uint32_t n,
	const struct page *p, uint32_t taken)
{
	uint32_t at;

	if (p->backward) {
		at = p->before.n != 0 ? below(v, n, p->before) : n;
		return at > taken ? &v[at - taken - 1] : NULL;
	}
	at = 0;
	if (p->after.n != 0) {
		at = below(v, n, p->after);
		if (at < n && mk_str_eq(v[at].room, p->after))
			at++;
	}
	return at + taken < n ? &v[at + taken] : NULL;
}

struct rooms_page {
	struct page page;
	struct mk_str domain;
	struct mk_elem *query;
};

/* Job. Both lists are in order: merged until the page is full. */
static int list_rooms(struct mk_inst *i, struct mk_iq_req *q, struct mk_store *st)
{
	struct rooms_page *rp = *mk_iq_data(q);
	const struct page *p = &rp->page;
	struct mk_arena *a = mk_iq_arena(q);
	uint32_t most = (uint32_t)p->most, memory_n, stored_n = 0, m = 0, s = 0, n = 0;
	struct stored_room *memory = in_memory(muc_listings(i), a, rp->domain, false,
		&memory_n);
	struct stored_room *stored = NULL, *page;
	uint64_t count, index = 0;
	int err = store_count(st, rp->domain, MK_STR_NONE, &count);

	if (err == 0 && most != 0)
		err = store_list(st, rp->domain, p->after, p->before, p->backward, false, most, &stored,
			&stored_n);
	if (err < 0)
		return err;
	page = mk_arena_alloc(a, (most + 1) * sizeof *page);
	while (n < most) {
		const struct stored_room *x = pick(memory, memory_n, p, m);
		const struct stored_room *y = s < stored_n ? &stored[s] : NULL;
		if (x == NULL && y == NULL)
			break;
		if (y == NULL || (x != NULL && (by_room(x, y) < 0) != p->backward)) {
			page[n++] = *x;
			m++;
		} else {
			page[n++] = *y;
			s++;
		}
	}
	if (p->backward)
		qsort(page, n, sizeof *page, by_room);
	for (uint32_t k = 0; k < n; k++) {
		struct mk_elem *item = mk_elem_add(rp->query, "item", NULL);
		mk_elem_setf(item, "jid", "%.*s", (int)page[k].room.n, page[k].room.p);
		if (page[k].name.n != 0)
			mk_elem_setf(item, "name", "%.*s", (int)page[k].name.n, page[k].name.p);
	}
	if (p->is_asked || count + memory_n > n) {
		if (n != 0 && (err = store_count(st, rp->domain, page[0].room, &index)) < 0)
			return err;
		if (n != 0)
			index += below(memory, memory_n, page[0].room);
		page_write(rp->query, n != 0 ? mk_arena_strndup(a, page[0].room.p, page[0].room.n) : NULL,
			n != 0 ? mk_arena_strndup(a, page[n - 1].room.p, page[n - 1].room.n) : NULL,
			index, count + memory_n);
	}
	mk_iq_result(q, rp->query);
	return 0;
}

int list_all(struct mk_inst *i, struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct stored_room **out, uint32_t *n_out)
{
	struct mk_arena *a = mk_store_arena(st);
	const struct page p = { .after = after };
	struct stored_room *memory, *stored, *all;
	uint32_t memory_n, stored_n, m = 0, s = 0, n = 0;
	int err = store_list(st, domain, after, MK_STR_NONE, false, true, limit, &stored, &stored_n);

	if (err < 0)
		return err;
	memory = in_memory(muc_listings(i), a, domain, true, &memory_n);
	all = mk_arena_alloc(a, (limit + 1) * sizeof *all);
	while (n < limit) {
		const struct stored_room *x = pick(memory, memory_n, &p, m);
		const struct stored_room *y = s < stored_n ? &stored[s] : NULL;
		if (x == NULL && y == NULL)
			break;
		if (y == NULL || (x != NULL && by_room(x, y) < 0)) {
			all[n++] = *x;
			m++;
		} else {
			all[n++] = *y;
			s++;
		}
	}
	*out = all;
	*n_out = n;
	return 0;
}

/* ---- the service --------------------------------------------------------------------- */

static void feature(struct mk_elem *query, const char *var)
{
	mk_elem_set(mk_elem_add(query, "feature", NULL), "var", var);
}

static void identity(struct mk_elem *query, const char *name)
{
	struct mk_elem *e = mk_elem_add(query, "identity", NULL);

	mk_elem_set(e, "category", "conference");
	mk_elem_set(e, "type", "text");
	mk_elem_set(e, "name", name);
}

static void common_features(struct mk_elem *query)
{
	static const char *const vars[] = { NS_INFO, NS_ITEMS, NS_MUC, NS_MUC "#stable_id",
		NS_MUC "#self-ping-optimization", NS_OCCUPANT, NS_SID, "jabber:iq:register", "vcard-temp" };

	for (size_t k = 0; k < sizeof vars / sizeof *vars; k++)
		feature(query, vars[k]);
}

/* All traffic is let through, which this error says (18.1.1). */
static uint16_t no_node(bool is_items, const char *node)
{
	return !is_items && mk_streq(node, NS_MUC "#traffic") ? MK_ERR_SERVICE_UNAVAILABLE
	                                                       : MK_ERR_ITEM_NOT_FOUND;
}

enum mk_verdict service_disco(struct mk_inst *i, struct mk_iq_req *q)
{
	const struct muc_conf *c = mk_inst_conf(i);
	const struct mk_elem *payload = mk_iq_payload(q);
	bool is_items = mk_streq(mk_elem_xmlns(payload), NS_ITEMS);
	struct mk_elem *query = mk_elem_new(mk_iq_arena(q), "query", mk_elem_xmlns(payload));
	struct rooms_page *rp;

	if (mk_elem_attr(payload, "node") != NULL) {
		mk_iq_error(q, no_node(is_items, mk_elem_attr(payload, "node")), NULL);
		return MK_DONE;
	}
	if (!is_items) {
		identity(query, c->name);
		common_features(query);
		feature(query, NS_RSM);
		feature(query, NS_MUC "#unique");
		mk_iq_result(q, query);
		return MK_DONE;
	}
	rp = mk_arena_alloc(mk_iq_arena(q), sizeof *rp);
	if (!page_read(payload, &rp->page))
		return MK_FAIL;
	rp->domain = mk_claim_domain(mk_iq_to(q));
	rp->query = query;
	*mk_iq_data(q) = rp;
	return mk_iq_job(q, list_rooms);
}

/* ---- a room (6.4, 6.5) --------------------------------------------------------------- */

static void number_field(struct mk_elem *x, const char *var, const char *label, int64_t n)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)n);
	form_field(x, var, NULL, label, text);
}

static void room_info(struct room *r, struct mk_elem *query)
{
	const struct config *c = &r->conf;
	struct mk_elem *x;
	char hats[17];

	identity(query, c->name != NULL ? c->name : "");
	if (c->name == NULL)
		mk_elem_setf(mk_elem_first(query), "name", "%.*s", (int)mk_jid_local(r->jid).n,
			mk_jid_local(r->jid).p);
	common_features(query);
	feature(query, c->is_public ? "muc_public" : "muc_hidden");
	feature(query, c->is_persistent ? "muc_persistent" : "muc_temporary");
	feature(query, c->is_members_only ? "muc_membersonly" : "muc_open");
	feature(query, c->is_moderated ? "muc_moderated" : "muc_unmoderated");
	feature(query, c->whois == WHOIS_ANYONE ? "muc_nonanonymous" : "muc_semianonymous");
	feature(query, c->password != NULL ? "muc_passwordprotected" : "muc_unsecured");
	if (room_is_archived(r)) {
		feature(query, "urn:xmpp:mam:2");
		feature(query, "urn:xmpp:mam:2#extended");
		feature(query, NS_RETRACT "#tombstone");
	}
	feature(query, NS_COMMANDS);
	feature(query, NS_HATS);
	feature(query, NS_MAV);
	feature(query, NS_MODERATE);
	feature(query, NS_RETRACT);
	x = mk_elem_add(query, "x", NS_DATA);
	mk_elem_set(x, "type", "result");
	form_field(x, "FORM_TYPE", "hidden", NULL, NS_MUC "#roominfo");
	if (hats_hash(r->hats, hats))
		form_field(x, "hats#hash", "text-single", "Hats hash", hats);
	form_field(x, "muc#roominfo_description", NULL, "Description",
		c->desc != NULL ? c->desc : "");
	form_field(x, "muc#roominfo_subject", NULL, "Current discussion topic",
		r->subject != NULL ? r->subject : "");
	form_field(x, "muc#roomconfig_changesubject", "boolean", "Subject can be modified",
		c->occupants_set_subject ? "1" : "0");
	number_field(x, "muc#roominfo_occupants", "Number of occupants", r->by_nick.n);
	if (c->lang != NULL)
		form_field(x, "muc#roominfo_lang", NULL, "Language of discussion", c->lang);
	number_field(x, "muc#maxhistoryfetch", "Maximum number of history messages",
		c->history);
	number_field(x, "muc#roominfo_slow_mode_duration", "Seconds between messages of one user",
		c->slow_mode_s);
	if (c->pubsub != NULL)
		form_field(x, "muc#roominfo_pubsub", NULL, "Associated pubsub node", c->pubsub);
	avatar_info(r, x);
	activity_info(r, x);
}

static int by_nick(const void *a, const void *b)
{
	const struct occupant *const *x = a, *const *y = b;
	return strcmp((*x)->nick, (*y)->nick);
}

struct list { struct occupant **v; uint32_t n; };

static void add_occupant(struct room *r, struct occupant *o, void *arg)
{
	struct list *l = arg;

	(void)r;
	l->v[l->n++] = o;
}

/* To those inside, or of a public room (6.5). */
static void room_occupants(struct room *r, const struct mk_jid *asker, const struct page *p,
	struct mk_arena *a, struct mk_elem *query)
{
	struct list l = { NULL, 0 };
	const char **address;
	uint32_t from, to;

	if (room_seat(r, asker) == NULL && room_affil(r, asker) < AFFIL_ADMIN) {
		if (p->is_asked)
			page_write(query, NULL, NULL, 0, 0);
		return;
	}
	l.v = mk_arena_alloc(a, (r->by_nick.n + 1) * sizeof *l.v);
	room_occupants_each(r, add_occupant, &l);
	qsort(l.v, l.n, sizeof *l.v, by_nick);
	address = mk_arena_alloc(a, (l.n + 1) * sizeof *address);
	from = 0;
	to = l.n;
	for (uint32_t k = 0; k < l.n; k++) {
		address[k] = mk_arena_printf(a, "%s/%s", mk_jid_full(r->jid), l.v[k]->nick);
		if (p->after.n != 0 && mk_str_eqz(p->after, address[k]))
			from = k + 1;
		if (p->before.n != 0 && mk_str_eqz(p->before, address[k]))
			to = k;
	}
	if (from > to)
		from = to;
	if (to - from > p->most && !p->backward)
		to = from + (uint32_t)p->most;
	else if (to - from > p->most)
		from = to - (uint32_t)p->most;
	for (uint32_t k = from; k < to; k++)
		mk_elem_set(mk_elem_add(query, "item", NULL), "jid", address[k]);
	if (p->is_asked || to - from < l.n)
		page_write(query, from < to ? address[from] : NULL,
			from < to ? address[to - 1] : NULL, from, l.n);
}

enum mk_verdict room_disco(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct mk_elem *payload = mk_iq_payload(q);
	const char *node = mk_elem_attr(payload, "node");
	bool is_items = mk_streq(mk_elem_xmlns(payload), NS_ITEMS);
	struct mk_elem *query = mk_elem_new(mk_iq_arena(q), "query", mk_elem_xmlns(payload));
	struct page page;

	(void)i;
	if (r == NULL || r->is_locked) {
		mk_iq_error(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if (!is_items && mk_streq(node, "x-roomuser-item")) {
		const struct affil_entry *a = room_affil_entry(r, mk_iq_from(q));
		mk_elem_set(query, "node", node);
		if (a != NULL && a->nick != NULL)      /* 7.12                  */
			identity(query, a->nick);
		mk_iq_result(q, query);
		return MK_DONE;
	}
	if (is_items && mk_streq(node, NS_COMMANDS)) {
		mk_elem_set(query, "node", node);
		commands_items(r, mk_iq_from(q), query);
		mk_iq_result(q, query);
		return MK_DONE;
	}
	if (node != NULL) {
		mk_iq_error(q, no_node(is_items, node), NULL);
		return MK_DONE;
	}
	if (!page_read(payload, &page))
		return MK_FAIL;
	if (is_items)
		room_occupants(r, mk_iq_from(q), &page, mk_iq_arena(q), query);
	else
		room_info(r, query);
	mk_iq_result(q, query);
	return MK_DONE;
}

/* ---- the server names its service (6.1) ---------------------------------------------- */

void host_items(struct mk_inst *i, const struct mk_jid *about, const char *node,
	const struct mk_jid *asker, struct mk_elem *query)
{
	const struct muc_conf *c = mk_inst_conf(i);
	struct mk_jid *service = NULL;
	struct mk_elem *item;

	(void)asker;
	if (node != NULL || mk_claim_address(c->host, mk_jid_domain(about), &service) < 0)
		return;
	item = mk_elem_add(query, "item", NULL);
	mk_elem_set(item, "jid", mk_jid_full(service));
	mk_elem_set(item, "name", c->name);
	mk_jid_unref(&service);
}
