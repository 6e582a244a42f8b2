/*
 * internal.c - accounts in Meerkat's own storage, as SCRAM keys
 *
 * A password is never stored: what is kept of it is what SCRAM needs to check it
 * (RFC 5802 3), for each hash in `hashes`. All functions run in jobs, but has_scram
 * and iterations, which read what start and reload worked out.
 */
#include <stdatomic.h>

#include <meerkat/auth.h>
#include <meerkat/plugin.h>

struct conf { struct mk_conf_list hashes; int64_t iterations; };

/*
 * iterations: each login costs the client (or, with PLAIN, us) that much work, and
 * whoever stole the table as much for every guess. RFC 7677 asks for at least 4096;
 * OWASP's figures for stored passwords (210,000 and up) would keep a phone busy for
 * seconds at every login. 10,000 is what users don't notice.
 */
static const struct mk_conf_item items[] = {
	MK_CONF_LST(struct conf, hashes, "SHA-1,SHA-256,SHA-512",
		MK_SCRAM_HASHES,
		"Hashes for which a new password's SCRAM keys are kept; more make registration "
		"slower, none is needed for PLAIN."),
	MK_CONF_I(struct conf, iterations, "10000", "4096..10000000",
		"PBKDF2 iterations of a new password; the client does them at each login."),
	{ 0 }
};
static const struct mk_conf_schema schema = MK_CONF_SCHEMA(struct conf, items);

static const struct mk_column columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_SORT },
	{ "created", MK_INT, 0 },      /* ms since 1970                         */
	{ "keys", MK_BLOB, 0 },        /* mk_scram_keys_make                        */
	{ 0 }
};
/* By domain, so that users can be listed in order and counted by the database.
 * Not OWNED: erasing what a user stored does not unregister the account; remove
 * and the end of a domain do. */
static const struct mk_table account = {
	.size = sizeof account, .version = 1, .name = "account", .columns = columns,
	.flags = MK_TABLE_SECRET,
};
static const struct mk_table *const tables[] = { &account, NULL };
enum { COL_USER = 1, COL_CREATED, COL_KEYS };

struct settings {
	_Atomic uint32_t hashes;       /* bits by enum mk_hash                  */
	_Atomic uint32_t iterations;
};

/* ---- what a source does --------------------------------------------------------------- */

static int error_of(enum mk_store_status s)
{
	switch (s) {
	case MK_STORE_OK: return 0;
	case MK_STORE_NOTFOUND: return -MK_ENOENT;
	case MK_STORE_RETRY: return -MK_EAGAIN;
	default: return -MK_EIO;
	}
}

static enum mk_store_status row_get(struct mk_store *st, const struct mk_jid *user,
	struct mk_row *row)
{
	struct mk_value key[] = { mk_text(mk_jid_domain(user)), mk_text(mk_jid_local(user)) };

	return mk_get(st, &account, key, row);
}

static enum mk_auth_answer exists(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user)
{
	struct mk_row row;

	(void)i;
	switch (row_get(st, user, &row)) {
	case MK_STORE_OK: return MK_AUTH_YES;
	case MK_STORE_NOTFOUND: return MK_AUTH_UNKNOWN;
	default: return MK_AUTH_LATER;
	}
}

static enum mk_auth_answer scram(struct mk_inst *i, struct mk_store *st,
	const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	struct mk_row row;
	enum mk_store_status s = row_get(st, user, &row);

	if (s == MK_STORE_NOTFOUND)
		return MK_AUTH_UNKNOWN;
	if (s != MK_STORE_OK)
		return MK_AUTH_LATER;
	int r = mk_scram_keys_find(mk_value_str(&row.v[COL_KEYS]), h, out);
	if (r < 0) {
		mk_log(i, MK_ERROR, "the keys of an account are damaged", "user=%s",
			mk_jid_full(user));
		return MK_AUTH_LATER;
	}
	return r > 0 ? MK_AUTH_YES : MK_AUTH_NO;
}

static int set_password(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user,
	struct mk_str password, bool create)
{
	const struct settings *set = mk_inst_data(i);
	uint8_t blob[MK_SCRAM_KEYS_MAX];
	struct mk_value v[4] = { mk_text(mk_jid_domain(user)), mk_text(mk_jid_local(user)) };
	struct mk_row row = { 0 };
	enum mk_store_status s;

	if (!create) {
		s = row_get(st, user, &row);
		if (s != MK_STORE_OK)
			return error_of(s);
	}
	v[COL_CREATED] = create ? mk_int(mk_wall_ms()) : row.v[COL_CREATED];
	v[COL_KEYS] = mk_blob(blob, mk_scram_keys_make(atomic_load(&set->hashes),
		atomic_load(&set->iterations), password, blob));
	s = mk_put(st, &account, v, create ? MK_NEW : row.version);
	explicit_bzero(blob, sizeof blob);
	if (s == MK_STORE_CONFLICT)    /* or: changed, or removed, meanwhile    */
		return create ? -MK_EEXIST : -MK_EAGAIN;
	return error_of(s);
}

static int remove_account(struct mk_inst *i, struct mk_store *st, const struct mk_jid *user)
{
	struct mk_value key[] = { mk_text(mk_jid_domain(user)), mk_text(mk_jid_local(user)) };

	(void)i;
	return error_of(mk_delete(st, &account, key));
}

static int list(struct mk_inst *i, struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct mk_str **users_out)
{
	struct mk_value partition = mk_text(domain), from = mk_text(after);
	struct mk_range r = { .size = sizeof r, .after = after.n != 0 ? &from : NULL,
		.limit = limit < 10000 ? limit : 10000 };
	struct mk_rows rows = { 0 };
	struct mk_str *users;

	(void)i;
	enum mk_store_status s = mk_query(st, &account, &partition, &r, &rows);
	if (s == MK_STORE_NOTFOUND)
		rows.n = 0;
	else if (s != MK_STORE_OK)
		return error_of(s);
	users = mk_arena_alloc(mk_store_arena(st), (rows.n + 1) * sizeof *users);
	for (uint32_t x = 0; x < rows.n; x++)
		users[x] = mk_value_str(&rows.row[x].v[COL_USER]);
	*users_out = users;
	return (int)rows.n;
}

static int count(struct mk_inst *i, struct mk_store *st, struct mk_str domain, uint64_t *count_out)
{
	struct mk_value partition = mk_text(domain);
	struct mk_range r = { .size = sizeof r };
	uint64_t n = 0;

	(void)i;
	enum mk_store_status s = mk_count_rows(st, &account, &partition, &r, &n);
	if (s != MK_STORE_OK && s != MK_STORE_NOTFOUND)
		return error_of(s);
	*count_out = n;
	return 0;
}

static bool has_scram(struct mk_inst *i, enum mk_hash h)
{
	const struct settings *s = mk_inst_data(i);

	return atomic_load_explicit(&s->hashes, memory_order_relaxed) >> h & 1;
}

static unsigned iterations(struct mk_inst *i, enum mk_hash h)
{
	const struct settings *s = mk_inst_data(i);

	(void)h;
	return atomic_load_explicit(&s->iterations, memory_order_relaxed);
}

static const struct mk_source source = {
	.size = sizeof source, .name = "internal", .exists = exists, .scram = scram,
	.set_password = set_password, .remove = remove_account, .list = list, .count = count,
	.has_scram = has_scram, .iterations = iterations,
};

/* ---- the plugin ------------------------------------------------------------------------- */

static int check(const struct mk_conf_view *v, struct mk_diag *d)
{
	const struct conf *c = mk_conf_view_values(v);

	if (mk_scram_hashes(&c->hashes) != 0)
		return 0;
	mk_conf_refuse(v, d, "hashes", "at least one is needed, or no password could be kept");
	return -MK_EINVAL;
}

static void adopt(struct settings *s, const struct conf *c)
{
	atomic_store(&s->hashes, mk_scram_hashes(&c->hashes));
	atomic_store(&s->iterations, (uint32_t)c->iterations);
}

static int start(struct mk_inst *i)
{
	struct settings *s = mk_alloc(sizeof *s);

	adopt(s, mk_inst_conf(i));
	mk_inst_set_data(i, s);
	int r = mk_source_add(i, &source);
	if (r < 0) {
		mk_inst_set_data(i, NULL);
		mk_free(s);
	}
	return r;
}

static int reload(struct mk_inst *i, const void *conf, struct mk_diag *d)
{
	(void)d;
	adopt(mk_inst_data(i), conf);
	return 0;
}

static void stop(struct mk_inst *i) { mk_free(mk_inst_data(i)); }

MK_PLUGIN(internal, "internal",
	.version = "1.0",
	.summary = "Accounts in Meerkat's own storage",
	.license = "BSD-2-Clause",
	.flags = MK_PLUGIN_PER_TYPE,
	.conf = &schema,
	.tables = tables,
	.check = check,
	.start = start,
	.reload = reload,
	.stop = stop)
