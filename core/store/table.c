/*
 * store/table.c - checks of declarations and of the values that callers give
 *
 * Pure functions; any thread. What passes here is what backends may rely on
 * (meerkat/backend.h), so that a bad value meets the same answer everywhere.
 */
#include "store/inner.h"

#include "base/ban.h"

static bool name_ok(const char *z)
{
	if (z == NULL || *z < 'a' || *z > 'z' || strlen(z) > 48)
		return false;
	for (; *z != '\0'; z++)
		if (!((*z >= 'a' && *z <= 'z') || (*z >= '0' && *z <= '9') || *z == '_'))
			return false;
	return true;
}

void mk_table_measure(const struct mk_table *t, struct mk_table_info *out)
{
	memset(out, 0, sizeof *out);
	out->table = t;
	for (const struct mk_column *c = t->columns; c->name != NULL; c++) {
		out->columns++;
		if (c->flags & MK_COL_PARTITION)
			out->parts++;
		if (c->flags & (MK_COL_PARTITION | MK_COL_SORT))
			out->keys++;
		if (c->flags & MK_COL_SEARCH)
			out->has_search = true;
	}
}

static int refuse(struct mk_diag *d, const struct mk_table *t, const char *column,
	const char *what)
{
	if (column != NULL)
		mk_diag_add(d, "table %s: column %s: %s", t->name, column, what);
	else
		mk_diag_add(d, "table %s: %s", t->name, what);
	return -MK_EINVAL;
}

static const char *column_fault(const struct mk_table *t, uint32_t at, uint32_t rank)
{
	const struct mk_column *c = &t->columns[at];
	const uint32_t key = MK_COL_PARTITION | MK_COL_SORT;

	if (c->type < MK_TEXT || c->type > MK_BLOB)
		return "has no type";
	if (at > 0 && rank < (t->columns[at - 1].flags & MK_COL_PARTITION ? 0u :
	                      t->columns[at - 1].flags & MK_COL_SORT ? 1u : 2u))
		return "is out of order: PARTITION columns, then SORT, then the rest";
	if ((c->flags & key) == key)
		return "is PARTITION and SORT";
	if ((c->flags & key) && (c->flags & MK_COL_NULL))
		return "is part of the key and can't be NULL";
	if ((c->flags & MK_COL_SEARCH) && c->type != MK_TEXT)
		return "SEARCH needs TEXT";
	if ((c->flags & (MK_COL_SEARCH | MK_COL_UNIQUE)) && (c->flags & key))
		return "is part of the key and can't be SEARCH or UNIQUE";
	for (uint32_t i = 0; i < at; i++)
		if (strcmp(t->columns[i].name, c->name) == 0)
			return "stands there twice";
	return NULL;
}

const char *mk_table_user(const struct mk_table *t)
{
	return t->size >= offsetof(struct mk_table, user) + sizeof t->user ? t->user : NULL;
}

int mk_table_check(const struct mk_table *t, struct mk_diag *d)
{
	uint32_t n = 0, parts = 0, sorts = 0;
	bool is_time = (t->flags & MK_TABLE_TIME) != 0;

	if (!name_ok(t->name)) {
		mk_diag_add(d, "table '%s': not a name ([a-z][a-z0-9_]*, up to 48)",
			t->name != NULL ? t->name : "");
		return -MK_EINVAL;
	}
	if (t->size < offsetof(struct mk_table, link) || t->columns == NULL || t->version == 0)
		return refuse(d, t, NULL, "the declaration is not filled in");
	for (const struct mk_column *c = t->columns; c->name != NULL; c++, n++) {
		if (n == MK_COLUMNS_MAX)
			return refuse(d, t, NULL, "has more than 32 columns");
		if (!name_ok(c->name))
			return refuse(d, t, c->name, "not a name ([a-z][a-z0-9_]*, up to 48)");
		const char *fault = column_fault(t, n, c->flags & MK_COL_PARTITION ? 0 :
			c->flags & MK_COL_SORT ? 1 : 2);
		if (fault == NULL && is_time && (c->flags & MK_COL_UNIQUE))
			fault = "can't be UNIQUE in a TIME table";
		if (fault == NULL && is_time && (c->flags & MK_COL_SORT) &&
		    (c->type != MK_INT || sorts++ > 0))
			fault = "is not the one SORT column, INT, of a TIME table";
		if (fault != NULL)
			return refuse(d, t, c->name, fault);
		parts += (c->flags & MK_COL_PARTITION) != 0;
	}
	if (parts == 0 || t->columns[0].type != MK_TEXT)
		return refuse(d, t, NULL, "its first column must be the domain: TEXT, PARTITION");
	if ((t->flags & MK_TABLE_OWNED) && (parts < 2 || t->columns[1].type != MK_TEXT))
		return refuse(d, t, NULL, "OWNED needs the user as second PARTITION column, TEXT");
	if (mk_table_user(t) != NULL) {
		const struct mk_column *c = t->columns;
		while (c->name != NULL && strcmp(c->name, t->user) != 0)
			c++;
		if (c->name == NULL || c->type != MK_TEXT || !(c->flags & MK_COL_INDEX))
			return refuse(d, t, t->user, "the user must be an INDEX column of TEXT");
		if (parts != 1 || (t->flags & MK_TABLE_OWNED))
			return refuse(d, t, t->user, "a table of users has the domain as partition, and is "
				"not OWNED");
	}
	if (is_time && sorts == 0)
		return refuse(d, t, NULL, "TIME needs a SORT column, INT");
	return 0;
}

bool mk_table_follows(const struct mk_table *older, const struct mk_table *newer)
{
	const struct mk_column *a = older->columns, *b = newer->columns;

	for (; a->name != NULL; a++, b++)
		if (b->name == NULL || strcmp(a->name, b->name) != 0 || a->type != b->type ||
		    a->flags != b->flags)
			return false;
	if (older->flags != newer->flags)
		return false;
	if (b->name == NULL)
		return newer->version >= older->version;
	for (; b->name != NULL; b++)
		if (!(b->flags & MK_COL_NULL) ||
		    (b->flags & (MK_COL_SEARCH | MK_COL_UNIQUE)))
			return false;
	return newer->version > older->version;
}

static bool value_ok(const struct mk_column *c, const struct mk_value *v)
{
	if (v->type == 0)
		return (c->flags & MK_COL_NULL) != 0;
	if (v->type != c->type)
		return false;
	if (v->type == MK_INT)
		return true;
	if (v->as.b.n > MK_VALUE_MAX || (v->as.b.p == NULL && v->as.b.n != 0))
		return false;
	return v->type == MK_BLOB || v->as.b.n == 0 ||
		(memchr(v->as.b.p, '\0', v->as.b.n) == NULL &&
		 mk_utf8_valid(v->as.b.p, v->as.b.n));
}

bool mk_values_ok(const struct mk_table *t, const struct mk_value *v, uint32_t first,
	uint32_t end)
{
	if (v == NULL)
		return false;
	for (uint32_t i = first; i < end; i++)
		if (!value_ok(&t->columns[i], &v[i - first]))
			return false;
	return true;
}

bool mk_values_equal(const struct mk_value *a, const struct mk_value *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (a[i].type != b[i].type)
			return false;
		if (a[i].type == MK_INT ? a[i].as.i != b[i].as.i
		    : !mk_str_eq(mk_value_str(&a[i]), mk_value_str(&b[i])))
			return false;
	}
	return true;
}

const char *mk_search_words(const char *search, struct mk_arena *a)
{
	size_t n = strlen(search), o = 0;
	char *out;

	if (n > 1024 || !mk_utf8_valid(search, n))
		return NULL;
	out = mk_arena_alloc(a, n + 2);
	for (const unsigned char *p = (const unsigned char *)search; *p != '\0'; p++) {
		unsigned char c = *p >= 'A' && *p <= 'Z' ? (unsigned char)(*p + 32) : *p;
		bool is_word = c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (is_word)
			out[o++] = (char)c;
		else if (o > 0 && out[o - 1] != ' ')
			out[o++] = ' ';
	}
	if (o > 0 && out[o - 1] == ' ')
		o--;
	out[o] = '\0';
	return o > 0 ? out : NULL;
}
