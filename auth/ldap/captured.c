/*
 * ldap/captured.c - SCRAM keys of passwords that were right once
 */
#include "captured.h"
#include <meerkat/auth.h>

static const struct mk_column columns[] = {
	{ "domain", MK_TEXT, MK_COL_PARTITION },
	{ "user", MK_TEXT, MK_COL_PARTITION },
	{ "type", MK_TEXT, 0 },        /* host type                             */
	{ "captured", MK_INT, 0 },     /* ms since 1970                         */
	{ "checked", MK_INT, 0 },      /* likewise                              */
	{ "stamp", MK_TEXT, 0 },       /* of the entry (who.h)                  */
	{ "keys", MK_BLOB, 0 },        /* mk_scram_keys_make                        */
	{ 0 }
};
enum { C_DOMAIN, C_USER, C_TYPE, C_CAPTURED, C_CHECKED, C_STAMP, C_KEYS, C_COUNT };

const struct mk_table ldap_keys = {
	.size = sizeof ldap_keys, .version = 1, .name = "ldap_keys", .columns = columns,
	.flags = MK_TABLE_OWNED | MK_TABLE_SECRET,
};

static struct captured row_read(const struct mk_row *r)
{
	return (struct captured){ .captured = r->v[C_CAPTURED].as.i,
		.checked = r->v[C_CHECKED].as.i, .type = mk_value_str(&r->v[C_TYPE]),
		.stamp = mk_value_str(&r->v[C_STAMP]), .keys = mk_value_str(&r->v[C_KEYS]) };
}

enum mk_store_status captured_get(struct mk_store *st, const struct mk_jid *user,
	struct captured *out)
{
	struct mk_value key[] = { mk_text(mk_jid_domain(user)), mk_text(mk_jid_local(user)) };
	struct mk_row row;
	enum mk_store_status s = mk_get(st, &ldap_keys, key, &row);

	if (s == MK_STORE_OK)
		*out = row_read(&row);
	return s;
}

static enum mk_store_status put(struct mk_store *st, const struct mk_jid *user,
	const struct captured *c)
{
	struct mk_value v[C_COUNT] = {
		[C_DOMAIN] = mk_text(mk_jid_domain(user)), [C_USER] = mk_text(mk_jid_local(user)),
		[C_TYPE] = mk_text(c->type), [C_CAPTURED] = mk_int(c->captured),
		[C_CHECKED] = mk_int(c->checked), [C_STAMP] = mk_text(c->stamp),
		[C_KEYS] = mk_blob(c->keys.p, c->keys.n),
	};

	return mk_put(st, &ldap_keys, v, MK_ANY);
}

static void drop(struct mk_store *st, const struct mk_jid *user)
{
	struct mk_value key[] = { mk_text(mk_jid_domain(user)), mk_text(mk_jid_local(user)) };

	/* If it can't be, it is not fresh either and will be looked at again. */
	mk_delete(st, &ldap_keys, key);
}

bool captured_is_fresh(const struct captured *row, int64_t max_ms)
{
	int64_t age = mk_wall_ms() - row->checked;

	return age >= 0 && age < max_ms;
}

/* Whether the row has keys of just these hashes, and they are the password's. */
static bool fits(const struct conf *s, const struct captured *row, struct mk_str password)
{
	uint32_t wanted = mk_scram_hashes(&s->hashes);
	struct mk_scram_keys kept, tried;
	bool ok = wanted != 0;

	for (unsigned h = MK_SHA1; h < MK_HASH_LAST_ && ok; h++)
		ok = mk_scram_keys_find(row->keys, (enum mk_hash)h, &kept) == (int)(wanted >> h & 1);
	for (unsigned h = MK_SHA1; h < MK_HASH_LAST_ && ok; h++) {
		if (mk_scram_keys_find(row->keys, (enum mk_hash)h, &kept) != 1)
			continue;
		mk_scram_derive((enum mk_hash)h, password, kept.salt, kept.salt_n, kept.iterations,
			&tried);
		ok = kept.iterations == s->iterations &&
			mk_equal_ct(kept.stored_key, tried.stored_key, mk_hash_len((enum mk_hash)h));
		break;
	}
	explicit_bzero(&kept, sizeof kept);
	explicit_bzero(&tried, sizeof tried);
	return ok;
}

bool captured_learn(struct mk_inst *i, struct mk_store *st, const struct conf *s,
	const struct mk_jid *user, struct mk_str password, struct mk_str stamp)
{
	uint8_t keys[MK_SCRAM_KEYS_MAX];
	struct captured row = { 0 };
	enum mk_store_status r = captured_get(st, user, &row);
	bool is_new = r != MK_STORE_OK || !fits(s, &row, password);

	if (r != MK_STORE_OK && r != MK_STORE_NOTFOUND)
		return false;
	if (is_new)
		row.keys = (struct mk_str){ (char *)keys, mk_scram_keys_make(mk_scram_hashes(&s->hashes),
			(unsigned)s->iterations, password, keys) };
	row.captured = row.checked = mk_wall_ms();
	row.type = mk_strz(mk_inst_type(i));
	row.stamp = stamp;
	r = put(st, user, &row);
	explicit_bzero(keys, sizeof keys);
	if (r != MK_STORE_OK)
		mk_log(i, MK_WARN, "a password's keys could not be kept", "user=%s", mk_jid_full(user));
	return is_new && r == MK_STORE_OK;
}

enum mk_auth_answer captured_judge(struct mk_store *st, const struct conf *s,
	const struct mk_jid *user, const struct captured *row, enum mk_auth_answer found,
	struct mk_str stamp)
{
	struct captured checked = *row;
	int64_t now = mk_wall_ms();

	switch (found) {
	case MK_AUTH_YES:
		if (!mk_str_eq(row->stamp, stamp) || (stamp.n == 0 &&
		    (now < row->captured || now - row->captured >= s->keys_max_age))) {
			found = MK_AUTH_NO;
			break;
		}
		checked.checked = now;
		put(st, user, &checked);
		return MK_AUTH_YES;
	case MK_AUTH_LATER:
		return captured_is_fresh(row, s->keys_max_age) ? MK_AUTH_YES : MK_AUTH_LATER;
	default:
		break;
	}
	drop(st, user);
	return found;
}

int captured_stale(struct mk_inst *i, struct mk_store *st, int64_t age_ms, uint32_t limit,
	const struct mk_value *after, struct mk_jid ***users_out, struct captured **rows_out,
	const struct mk_value **next_out)
{
	struct mk_arena *a = mk_store_arena(st);
	struct mk_rows rows = { 0 };
	enum mk_store_status s = mk_scan(st, &ldap_keys, MK_STR_NONE, after, limit, &rows);
	struct mk_jid **users;
	struct captured *found;
	int n = 0;

	*next_out = NULL;
	if (s == MK_STORE_NOTFOUND)
		return 0;
	if (s != MK_STORE_OK)
		return -1;
	users = mk_arena_alloc(a, (rows.n + 1) * sizeof *users);
	found = mk_arena_alloc(a, (rows.n + 1) * sizeof *found);
	for (uint32_t x = 0; x < rows.n; x++) {
		const struct mk_row *r = &rows.row[x];
		found[n] = row_read(r);
		if (!mk_str_eqz(found[n].type, mk_inst_type(i)) ||
		    captured_is_fresh(&found[n], age_ms))
			continue;
		if (mk_jid_make(mk_value_str(&r->v[C_USER]), mk_value_str(&r->v[C_DOMAIN]),
		    MK_STR_NONE, &users[n]) == 0)
			n++;
	}
	if (rows.more && rows.n != 0)
		*next_out = rows.row[rows.n - 1].v;
	*users_out = users;
	*rows_out = found;
	return n;
}
