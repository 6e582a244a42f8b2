/*
 * conf/config.c - the tree becomes a struct mk_config, or a list of mistakes
 *
 * Main thread or meerkatctl. Everything is of one arena, which the struct
 * itself lives in. All sections are looked at, whatever was wrong before.
 */
#include "conf/core.h"

#include <ctype.h>
#include <meerkat/jid.h>
#include "base/arena.h"
#include "base/assert.h"
#include "conf/fill.h"
#include "conf/value.h"
#include "conf/yaml.h"
#include "base/ban.h"

struct build {
	struct mk_arena *arena;
	struct mk_diag *d;
	struct mk_node *root;
	struct mk_config *c;
	bool failed;
};

static void fill(struct build *b, const struct mk_conf_schema *schema,
	const char *const *also, const struct mk_node *node, const char *where, void *out)
{
	if (mk_conf_fill_also(schema, also, node, where, b->arena, b->d, out) < 0)
		b->failed = true;
}

#define REFUSE(b, ...) (mk_diag_setting((b)->d, __VA_ARGS__), (void)((b)->failed = true))

static struct mk_node key_place(const struct mk_node *n)
{
	struct mk_node at = *n;

	at.line = n->key_line;
	at.column = n->key_column;
	return at;
}

/* The map of that name below n; NULL if it isn't there, empty, or no map
 * (then a message). */
static struct mk_node *map_of(struct build *b, const struct mk_node *n, const char *where,
	const char *key)
{
	struct mk_node *c = (struct mk_node *)mk_node_get(n, key);

	if (c == NULL || (c->kind == MK_NODE_SCALAR && c->is_null))
		return NULL;
	if (c->kind != MK_NODE_MAP) {
		REFUSE(b, c, where, key, "expected entries by name, found %s",
		       c->kind == MK_NODE_LIST ? "a list" : "a word");
		return NULL;
	}
	return c;
}

static size_t count(const struct mk_node *n)
{
	size_t k = 0;

	for (const struct mk_node *c = n != NULL ? n->first : NULL; c != NULL; c = c->next)
		k++;
	return k;
}

/* count(n) zeroed entries and one more. */
static void *entries(struct build *b, const struct mk_node *n, size_t bytes)
{
	return mk_arena_alloc(b->arena, (count(n) + 1) * bytes);
}

/* "did you mean" among the names of a map. */
static const char *near_key(const struct mk_node *map, const char *w)
{
	const char *v[257];
	size_t n = 0;

	for (const struct mk_node *c = map != NULL ? map->first : NULL; c != NULL && n < 256;
	     c = c->next)
		v[n++] = c->key;
	v[n] = NULL;
	return mk_nearest(w, v);
}

/* Names of ours, which appear in metrics, logs and commands. */
static bool name_ok(struct build *b, const struct mk_node *n, const char *where)
{
	struct mk_node at = key_place(n);
	size_t len = strlen(n->key);

	if (len != 0 && len <= 64 && islower((unsigned char)n->key[0]) &&
	    strspn(n->key, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len)
		return true;
	REFUSE(b, &at, where, n->key, "not a name (a-z, 0-9, '_' and '-', from a letter, up to 64)");
	return false;
}

static bool plugin_ok(struct build *b, const struct mk_node *at, const char *where,
	const char *key, const char *name)
{
	if (mk_conf_is_plugin_name(name))
		return true;
	REFUSE(b, at, where, key, "'%.70s' isn't the name of a plugin (a-z, 0-9 and '-', "
	       "from a letter)", name);
	return false;
}

static const char *path_in(struct build *b, const char *where, const char *key)
{
	return mk_arena_printf(b->arena, "%s.%s", where, key);
}

/* ---- sections ----------------------------------------------------------------- */

static void unknown_sections(struct build *b)
{
	static const char *const names[] = { "server", "log", "tls", "limits", "storage",
		"host_types", "domains", "listeners", "shapers", NULL };

	for (const struct mk_node *n = b->root->first; n != NULL; n = n->next) {
		struct mk_node at = key_place(n);
		const char *const *w = names, *near;
		while (*w != NULL && strcmp(*w, n->key) != 0)
			w++;
		if (*w != NULL)
			continue;
		near = mk_nearest(n->key, names);
		REFUSE(b, &at, "", n->key, "unknown section%s%s%s (allowed: server, log, tls, "
		       "limits, storage, host_types, domains, listeners, shapers, include)",
		       near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
		       near != NULL ? "'?" : "");
	}
}

static void no_folder(struct build *b, const struct mk_node *n)
{
	if (n != NULL && n->kind == MK_NODE_SCALAR && *n->text == '\0' && !n->is_null)
		REFUSE(b, n, "server", n->key, "the name of a folder is empty");
}

static void server(struct build *b)
{
	struct mk_config *c = b->c;
	const struct mk_node *n = mk_node_get(b->root, "server"), *dirs, *e;

	fill(b, &mk_server_schema, NULL, n, "server", c);
	if (c->control_socket == NULL && c->run_dir != NULL)
		c->control_socket = mk_arena_printf(b->arena, "%s/meerkat.sock", c->run_dir);
	no_folder(b, mk_node_get(n, "data_dir"));
	no_folder(b, mk_node_get(n, "run_dir"));
	dirs = mk_node_get(n, "plugin_dirs");
	if (dirs != NULL && !b->failed) {
		const char **v = mk_arena_alloc(b->arena, (c->plugin_dirs.n + 1) * sizeof *v);
		e = dirs->kind == MK_NODE_LIST ? dirs->first : dirs;
		for (uint32_t i = 0; i < c->plugin_dirs.n; i++) {
			v[i] = mk_conf_path(e, c->plugin_dirs.v[i], b->arena);
			e = dirs->kind == MK_NODE_LIST ? e->next : e;
		}
		c->plugin_dirs.v = v;
	}
}

/* The node without the keys that schema describes, or only with those. */
static struct mk_node *part(struct build *b, const struct mk_node *n,
	const struct mk_conf_schema *schema, bool described)
{
	struct mk_node *copy = mk_arena_alloc(b->arena, sizeof *copy), **tail = &copy->first;

	*copy = *n;
	copy->first = NULL;
	for (const struct mk_node *c = n->first; c != NULL; c = c->next)
		if ((mk_conf_item(schema, c->key) != NULL) == described) {
			*tail = mk_arena_alloc(b->arena, sizeof **tail);
			**tail = *c;
			(*tail)->next = NULL;
			tail = &(*tail)->next;
		}
	return copy;
}

static void backend(struct build *b, struct mk_config_backend *out, const struct mk_node *n)
{
	const char *where = path_in(b, "storage.backends", n->key);
	struct mk_node at = key_place(n);

	out->name = n->key;
	if (!name_ok(b, n, "storage.backends"))
		return;
	if (n->kind != MK_NODE_MAP) {
		fill(b, &mk_backend_schema, NULL, n, where, out);
	} else {
		fill(b, &mk_backend_schema, NULL, part(b, n, &mk_backend_schema, true), where, out);
		out->node = part(b, n, &mk_backend_schema, false);
	}
	if (out->plugin == NULL)
		out->plugin = out->name;
	else
		at = *mk_node_get(n, "plugin");
	plugin_ok(b, &at, where, at.text != NULL ? "plugin" : NULL, out->plugin);
}

/* name is a backend from now on; without an entry it is the plugin's name. */
static void backend_named(struct build *b, struct mk_config_backend *v, size_t *n,
	const struct mk_node *backends, const char *name, const struct mk_node *at,
	const char *where, const char *key)
{
	const char *near;

	for (size_t i = 0; i < *n; i++)
		if (strcmp(v[i].name, name) == 0)
			return;
	near = near_key(backends, name);
	if (near != NULL) {
		REFUSE(b, at, where, key, "there is no '%.70s' in section 'storage.backends'; "
		       "did you mean '%s'?", name, near);
		return;
	}
	if (!plugin_ok(b, at, where, key, name))
		return;
	v[*n].name = v[*n].plugin = name;
	mk_conf_fill(&mk_backend_schema, NULL, where, b->arena, NULL, &v[*n]);
	++*n;
}

static void storage(struct build *b)
{
	static const char *const also[] = { "backends", "tables", "journal", NULL };
	struct mk_config *c = b->c;
	const struct mk_node *n = mk_node_get(b->root, "storage"), *backends, *tables, *at;
	struct mk_config_backend *v;
	size_t k = 0;

	fill(b, &mk_storage_schema, also, n, "storage", c);
	fill(b, &mk_journal_schema, NULL, mk_node_get(n, "journal"), "storage.journal", c);
	if (c->journal_max != 0 && c->journal_max < 2 * c->journal_segment)
		REFUSE(b, mk_node_get(mk_node_get(n, "journal"), "max"), "storage.journal", "max",
		       "must be room for two segments at least");
	backends = map_of(b, n, "storage", "backends");
	tables = map_of(b, n, "storage", "tables");
	v = mk_arena_alloc(b->arena, (count(backends) + count(tables) + 1) * sizeof *v);
	for (at = backends != NULL ? backends->first : NULL; at != NULL; at = at->next)
		backend(b, &v[k++], at);
	at = mk_node_get(n, "default");
	if (c->storage_default != NULL)
		backend_named(b, v, &k, backends, c->storage_default, at, "storage", "default");
	for (at = tables != NULL ? tables->first : NULL; at != NULL; at = at->next) {
		if (at->kind != MK_NODE_SCALAR || *at->text == '\0')
			REFUSE(b, at, "storage.tables", at->key, "expected the name of a backend");
		else
			backend_named(b, v, &k, backends, at->text, at, "storage.tables", at->key);
	}
	c->backends = v;
	c->backend_count = k;
	c->storage_tables = tables;
}

static void plugins(struct build *b, struct mk_config_type *t, const char *where)
{
	const struct mk_node *map = map_of(b, t->node, where, "plugins");
	struct mk_config_plugin *v = entries(b, map, sizeof *v);
	const char *in = path_in(b, where, "plugins");

	for (const struct mk_node *c = map != NULL ? map->first : NULL; c != NULL; c = c->next) {
		struct mk_node at = key_place(c);
		if (!plugin_ok(b, &at, in, c->key, c->key))
			continue;
		if (c->kind != MK_NODE_MAP && !(c->kind == MK_NODE_SCALAR && c->is_null)) {
			REFUSE(b, c, in, c->key, "expected settings by name, or nothing for the "
			       "defaults (a plugin is off when its line is not there)");
			continue;
		}
		v[t->plugin_count].name = c->key;
		v[t->plugin_count].node = c->kind == MK_NODE_MAP ? c : NULL;
		t->plugin_count++;
	}
	t->plugins = v;
}

static void host_types(struct build *b)
{
	static const char *const also[] = { "plugins", NULL };
	const struct mk_node *map = map_of(b, b->root, "", "host_types"), *auth;
	struct mk_config_type *v = entries(b, map, sizeof *v);

	for (const struct mk_node *n = map != NULL ? map->first : NULL; n != NULL; n = n->next) {
		struct mk_config_type *t = &v[b->c->type_count++];
		const char *where = path_in(b, "host_types", n->key);
		t->name = n->key;
		t->node = n;
		if (!name_ok(b, n, "host_types"))
			continue;
		fill(b, &mk_type_schema, also, n, where, t);
		plugins(b, t, where);
		auth = mk_node_get(n, "auth");
		for (uint32_t i = 0; i < t->auth.n; i++)
			plugin_ok(b, auth != NULL && auth->kind == MK_NODE_LIST ? auth->first : auth,
			          where, "auth", t->auth.v[i]);
	}
	b->c->types = v;
}

/* The domain as it is compared, or NULL. */
static const char *prepared(struct build *b, const char *key)
{
	struct mk_jid *j;
	const char *name = NULL;

	if (mk_jid_parsez(key, &j) < 0)
		return NULL;
	if (mk_jid_local(j).n == 0 && mk_jid_resource(j).n == 0)
		name = mk_arena_strdup(b->arena, mk_jid_full(j));
	mk_jid_unref(&j);
	return name;
}

/* `example.org: people` is short for `example.org: { type: people }`. */
static void long_form(struct build *b, struct mk_node *n)
{
	struct mk_node *type;

	if (n->kind != MK_NODE_SCALAR || n->is_null)
		return;
	type = mk_arena_alloc(b->arena, sizeof *type);
	*type = *n;
	type->key = "type";
	type->next = NULL;
	type->parent = n;
	n->kind = MK_NODE_MAP;
	n->first = type;
}

static void domain_type(struct build *b, struct mk_config_domain *d, const char *where,
	const struct mk_node *types)
{
	const struct mk_node *at = mk_node_get(d->node, "type");
	const char *near;

	if (d->type != NULL) {
		for (size_t i = 0; i < b->c->type_count; i++)
			if (strcmp(b->c->types[i].name, d->type) == 0)
				return;
		near = near_key(types, d->type);
		REFUSE(b, at, where, "type", "there is no host type '%.70s'%s%s%s", d->type,
		       near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
		       near != NULL ? "'?" : "");
	} else if (b->c->type_count == 1) {
		d->type = b->c->types[0].name;
	} else {
		struct mk_node key = key_place(d->node);
		REFUSE(b, &key, where, "type", "is required, as there %s",
		       b->c->type_count == 0 ? "is no host type" : "is more than one host type");
	}
}

static void domains(struct build *b)
{
	struct mk_node *map = map_of(b, b->root, "", "domains"), *names;
	const struct mk_node *types = mk_node_get(b->root, "host_types"), **sorted;
	struct mk_config_domain *v = entries(b, map, sizeof *v);
	size_t n;

	/* A map of the prepared names, to find two that are one. */
	names = mk_arena_alloc(b->arena, sizeof *names);
	names->kind = MK_NODE_MAP;
	for (struct mk_node *c = map != NULL ? map->first : NULL, **tail = &names->first;
	     c != NULL; c = c->next) {
		struct mk_config_domain *d = &v[b->c->domain_count];
		struct mk_node key = key_place(c);
		const char *where = path_in(b, "domains", c->key);
		d->name = prepared(b, c->key);
		if (d->name == NULL) {
			REFUSE(b, &key, "domains", c->key, "not a domain (RFC 7622 3.2)");
			continue;
		}
		b->c->domain_count++;
		long_form(b, c);
		d->node = c;
		fill(b, &mk_domain_schema, NULL, c, where, d);
		domain_type(b, d, where, types);
		if (d->key != NULL && d->certificate == NULL)
			REFUSE(b, mk_node_get(c, "key"), where, "key",
			       "a key without a certificate; name its certificate too");
		*tail = mk_arena_alloc(b->arena, sizeof **tail);
		**tail = key;
		(*tail)->key = d->name;
		(*tail)->next = NULL;
		tail = &(*tail)->next;
	}
	sorted = mk_node_sorted(names, &n);
	for (size_t i = 1; i < n; i++)
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
			REFUSE(b, sorted[i], "domains", sorted[i]->key,
			       "the same domain as at %s:%d:%d", sorted[i - 1]->file,
			       sorted[i - 1]->line, sorted[i - 1]->column);
	mk_free(sorted);
	b->c->domains = v;
}

static void proxies(struct build *b, const struct mk_config_listener *l, const char *where)
{
	const struct mk_node *n = mk_node_get(l->node, "proxy_from"), *e;

	e = n != NULL && n->kind == MK_NODE_LIST ? n->first : n;
	for (uint32_t i = 0; i < l->proxy_from.n; i++) {
		if (!mk_conf_is_addr(l->proxy_from.v[i], true))
			REFUSE(b, e, where, "proxy_from", "expected %s, found '%.70s'",
			       mk_conf_type_text(MK_CONF_ADDR), l->proxy_from.v[i]);
		e = e != n && e != NULL ? e->next : e;
	}
	if (l->proxy_protocol && n != NULL && l->proxy_from.n == 0)
		REFUSE(b, n, where, "proxy_from", "nobody would be believed; name the proxies");
}

/* A kind that a plugin brings has settings of its own, which are checked when
 * it is loaded. */
static void listener(struct build *b, struct mk_config_listener *l, const char *where)
{
	const struct mk_node *kind = mk_node_get(l->node, "kind"), *tls;

	if (kind == NULL || kind->kind != MK_NODE_SCALAR || strcmp(kind->text, "c2s") == 0) {
		fill(b, &mk_listener_schema, NULL, l->node, where, l);
		return;
	}
	fill(b, &mk_listener_schema, NULL, part(b, l->node, &mk_listener_schema, true), where, l);
	l->own = part(b, l->node, &mk_listener_schema, false);
	plugin_ok(b, kind, where, "kind", kind->text);
	tls = mk_node_get(l->node, "tls");
	if (tls == NULL)
		l->tls = MK_TLS_DIRECT;
	else if (l->tls == MK_TLS_STARTTLS || l->tls == MK_TLS_STARTTLS_REQUIRED)
		REFUSE(b, tls, where, "tls", "only c2s knows STARTTLS: none or direct");
}

static void listeners(struct build *b)
{
	const struct mk_node *list = mk_node_get(b->root, "listeners");
	struct mk_config_listener *v;
	size_t n = 0;

	if (list != NULL && list->kind == MK_NODE_SCALAR && list->is_null)
		list = NULL;
	if (list != NULL && list->kind != MK_NODE_LIST) {
		REFUSE(b, list, "listeners", NULL, "expected a list (lines that begin with '- ')");
		list = NULL;
	}
	v = entries(b, list, sizeof *v);
	for (const struct mk_node *c = list != NULL ? list->first : NULL; c != NULL; c = c->next) {
		struct mk_config_listener *l = &v[n];
		const char *where = mk_arena_printf(b->arena, "listeners[%zu]", n);
		l->node = c;
		l->port = -1;
		n++;
		listener(b, l, where);
		proxies(b, l, where);
		for (size_t i = 0; l->port > 0 && i + 1 < n; i++)
			if (v[i].port == l->port && mk_streq(v[i].address, l->address))
				REFUSE(b, mk_node_get(c, "port"), where, "port",
				       "the address and port of the listener at %s:%d:%d",
				       v[i].node->file, v[i].node->line, v[i].node->column);
	}
	b->c->listeners = v;
	b->c->listener_count = n;
}

static void shapers(struct build *b)
{
	const struct mk_node *map = map_of(b, b->root, "", "shapers");
	struct mk_config_shaper *v = entries(b, map, sizeof *v);

	for (const struct mk_node *n = map != NULL ? map->first : NULL; n != NULL; n = n->next) {
		struct mk_config_shaper *s = &v[b->c->shaper_count++];
		s->name = n->key;
		if (name_ok(b, n, "shapers"))
			fill(b, &mk_shaper_schema, NULL, n, path_in(b, "shapers", n->key), s);
	}
	b->c->shapers = v;
}

int mk_config_build(const char *path, struct mk_arena *arena, struct mk_node *root,
	struct mk_diag *d, struct mk_config **out)
{
	struct build b = { .arena = arena, .d = d, .root = root };

	b.c = mk_arena_alloc(arena, sizeof *b.c);
	b.c->arena = arena;
	b.c->path = mk_arena_strdup(arena, path);
	b.c->root = root;
	unknown_sections(&b);
	server(&b);
	fill(&b, &mk_log_schema, NULL, mk_node_get(root, "log"), "log", b.c);
	fill(&b, &mk_tls_schema, NULL, mk_node_get(root, "tls"), "tls", b.c);
	if (b.c->tls_priorities != NULL && *b.c->tls_priorities == '\0')
		b.c->tls_priorities = NULL;
	fill(&b, &mk_limits_schema, NULL, mk_node_get(root, "limits"), "limits", b.c);
	storage(&b);
	host_types(&b);
	domains(&b);
	shapers(&b);
	listeners(&b);
	if (b.failed) {
		mk_arena_free(&arena);
		return -MK_EINVAL;
	}
	*out = b.c;
	return 0;
}

int mk_config_read(const char *path, struct mk_diag *d, struct mk_config **out)
{
	struct mk_arena *arena = mk_arena_new();
	struct mk_node *root;

	if (mk_yaml_read(path, arena, d, &root) < 0) {
		mk_arena_free(&arena);
		return -MK_EINVAL;
	}
	return mk_config_build(path, arena, root, d, out);
}

void mk_config_free(struct mk_config **c)
{
	struct mk_arena *arena = *c != NULL ? (*c)->arena : NULL;

	*c = NULL;
	if (arena != NULL)
		mk_arena_free(&arena);
}
