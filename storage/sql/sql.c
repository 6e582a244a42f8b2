/*
 * sql/sql.c - SQL text from declared tables
 */
#include "sql.h"

#include <meerkat/log.h>

static void add(struct sql_gen *g, const char *p, size_t n)
{
	if (g->cap - g->n < n + 1) {
		g->cap = (g->n + n + 1) * 2 + 256;
		g->p = mk_realloc(g->p, g->cap);
	}
	memcpy(g->p + g->n, p, n);
	g->n += n;
	g->p[g->n] = '\0';
}

void sql_begin(struct sql_gen *g, const struct sql_dialect *d)
{
	g->d = d;
	g->n = 0;
	g->params = 0;
	add(g, "", 0);
}

void sql_fini(struct sql_gen *g)
{
	mk_free(g->p);
	memset(g, 0, sizeof *g);
}

void sql_add(struct sql_gen *g, const char *literal)
{
	add(g, literal, strlen(literal));
}

void sql_name(struct sql_gen *g, const char *name, const char *suffix)
{
	add(g, &g->d->quote, 1);
	sql_add(g, name);
	if (suffix != NULL)
		sql_add(g, suffix);
	add(g, &g->d->quote, 1);
}

void sql_param(struct sql_gen *g)
{
	char number[12];
	unsigned v = ++g->params, at = sizeof number;

	if (!g->d->numbered) {
		add(g, "?", 1);
		return;
	}
	for (; v != 0; v /= 10)
		number[--at] = (char)('0' + v % 10);
	number[--at] = '$';
	add(g, number + at, sizeof number - at);
}

struct sql_shape sql_measure(const struct mk_table *t)
{
	struct sql_shape s = { 0 };

	for (const struct mk_column *c = t->columns; c->name != NULL; c++) {
		s.columns++;
		s.parts += (c->flags & MK_COL_PARTITION) != 0;
		s.keys += (c->flags & (MK_COL_PARTITION | MK_COL_SORT)) != 0;
		s.has_search = s.has_search || (c->flags & MK_COL_SEARCH);
	}
	return s;
}

bool sql_has_rowid(const struct sql_dialect *d, const struct sql_shape *s)
{
	return s->has_search && d->rowid_type != NULL;
}

/* ---- pieces -------------------------------------------------------------------- */

/* "a", "b": columns from first up to end. */
static void names(struct sql_gen *g, const struct mk_table *t, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		if (i > first)
			sql_add(g, ", ");
		sql_name(g, t->columns[i].name, NULL);
	}
}

static void params(struct sql_gen *g, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			sql_add(g, ", ");
		sql_param(g);
	}
}

/* "a" = ? AND "b" = ? */
static void equal(struct sql_gen *g, const struct mk_table *t, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		if (i > first)
			sql_add(g, " AND ");
		sql_name(g, t->columns[i].name, NULL);
		sql_add(g, " = ");
		sql_param(g);
	}
}

/* ("a", "b") > (?, ?) */
static void beyond(struct sql_gen *g, const struct mk_table *t, uint32_t first,
	uint32_t end, const char *op)
{
	sql_add(g, "(");
	names(g, t, first, end);
	sql_add(g, ") ");
	sql_add(g, op);
	sql_add(g, " (");
	params(g, end - first);
	sql_add(g, ")");
}

static void order(struct sql_gen *g, const struct mk_table *t, uint32_t first,
	uint32_t end, bool backward)
{
	for (uint32_t i = first; i < end; i++) {
		sql_add(g, i == first ? " ORDER BY " : ", ");
		sql_name(g, t->columns[i].name, NULL);
		if (backward)
			sql_add(g, " DESC");
	}
}

static void from(struct sql_gen *g, const struct mk_table *t)
{
	sql_add(g, " FROM ");
	sql_name(g, t->name, NULL);
	sql_add(g, " WHERE ");
}

static void select_row(struct sql_gen *g, const struct mk_table *t, uint32_t columns)
{
	sql_add(g, "SELECT ");
	names(g, t, 0, columns);
	sql_add(g, ", _version");
}

/* ---- rows ---------------------------------------------------------------------- */

void sql_get(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	select_row(g, t, s.columns);
	from(g, t);
	equal(g, t, 0, s.keys);
}

/* unnest($1::text[], $2::bigint[]) of the first n columns; one that is no column
 * is the version. */
static void arrays(struct sql_gen *g, const struct mk_table *t, uint32_t n, uint32_t columns)
{
	sql_add(g, "unnest(");
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			sql_add(g, ", ");
		sql_param(g);
		sql_add(g, "::");
		sql_add(g, g->d->array_type[i < columns ? t->columns[i].type : MK_INT]);
	}
	sql_add(g, ")");
}

/* The table's rows of many keys, the first n columns of each; _number: which one. */
static void asked(struct sql_gen *g, const struct mk_table *t, uint32_t n, bool is_numbered)
{
	arrays(g, t, n, n);
	sql_add(g, is_numbered ? " WITH ORDINALITY AS asked (" : " AS asked (");
	names(g, t, 0, n);
	sql_add(g, is_numbered ? ", _number) JOIN " : ") JOIN ");
	sql_name(g, t->name, NULL);
	sql_add(g, " USING (");
	names(g, t, 0, n);
	sql_add(g, ")");
}

void sql_get_many(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "SELECT _number, ");
	names(g, t, 0, s.columns);
	sql_add(g, ", _version FROM ");
	asked(g, t, s.keys, true);
}

static void range_where(struct sql_gen *g, const struct mk_table *t,
	const struct sql_shape *s, uint32_t bits, uint32_t equals)
{
	from(g, t);
	equal(g, t, 0, s->parts);
	if (bits & SQL_AFTER) {
		sql_add(g, " AND ");
		beyond(g, t, s->parts, s->keys, ">");
	}
	if (bits & SQL_BEFORE) {
		sql_add(g, " AND ");
		beyond(g, t, s->parts, s->keys, "<");
	}
	for (uint32_t i = 0; i < s->columns; i++)
		if (equals & (UINT32_C(1) << i)) {
			sql_add(g, " AND ");
			equal(g, t, i, i + 1);
		}
	if (bits & SQL_SEARCH) {
		sql_add(g, " AND ");
		g->d->search(g, t);
	}
}

static void range_end(struct sql_gen *g, const struct mk_table *t,
	const struct sql_shape *s, uint32_t bits)
{
	order(g, t, s->parts, s->keys, (bits & SQL_BACKWARD) != 0);
	if (bits & SQL_LIMIT) {
		sql_add(g, " LIMIT ");
		sql_param(g);
	}
}

/* FROM t WHERE the row is among the first of the range */
static void range_first(struct sql_gen *g, const struct mk_table *t,
	const struct sql_shape *s, uint32_t bits, uint32_t equals)
{
	from(g, t);
	sql_add(g, "(");
	names(g, t, 0, s->keys);
	sql_add(g, ") IN (SELECT ");
	names(g, t, 0, s->keys);
	range_where(g, t, s, bits, equals);
	range_end(g, t, s, bits);
	sql_add(g, ")");
}

void sql_range(struct sql_gen *g, const struct mk_table *t, enum sql_what what,
	uint32_t bits, uint32_t equals)
{
	struct sql_shape s = sql_measure(t);

	switch (what) {
	case SQL_ROWS:
		select_row(g, t, s.columns);
		range_where(g, t, &s, bits, equals);
		range_end(g, t, &s, bits);
		return;
	case SQL_COUNT:
		sql_add(g, "SELECT COUNT(*)");
		if (bits & SQL_LIMIT)
			sql_add(g, " FROM (SELECT 1");
		range_where(g, t, &s, bits, equals);
		if (bits & SQL_LIMIT) {
			sql_add(g, " LIMIT ");
			sql_param(g);
			sql_add(g, ") AS counted");
		}
		return;
	case SQL_DELETE:
		sql_add(g, "DELETE");
		if (bits & SQL_LIMIT)
			range_first(g, t, &s, bits, equals);
		else
			range_where(g, t, &s, bits, equals);
		return;
	case SQL_TAKE:
		sql_add(g, "WITH taken AS (DELETE");
		range_first(g, t, &s, bits, equals);
		sql_add(g, " RETURNING ");
		names(g, t, 0, s.columns);
		sql_add(g, ", _version) ");
		select_row(g, t, s.columns);
		sql_add(g, " FROM taken");
		order(g, t, s.parts, s.keys, (bits & SQL_BACKWARD) != 0);
	}
}

void sql_scan(struct sql_gen *g, const struct mk_table *t, bool has_domain, bool has_after)
{
	struct sql_shape s = sql_measure(t);
	/* With the domain fixed, a key without it keeps the index usable. */
	uint32_t first = has_domain ? 1 : 0;

	select_row(g, t, s.columns);
	sql_add(g, " FROM ");
	sql_name(g, t->name, NULL);
	if (has_domain) {
		sql_add(g, " WHERE ");
		equal(g, t, 0, 1);
	}
	if (has_after && first < s.keys) {
		sql_add(g, has_domain ? " AND " : " WHERE ");
		beyond(g, t, first, s.keys, ">");
	}
	order(g, t, first, s.keys, false);
	sql_add(g, " LIMIT ");
	sql_param(g);
}

static void insert_into(struct sql_gen *g, const struct mk_table *t, const struct sql_shape *s)
{
	sql_add(g, "INSERT INTO ");
	sql_name(g, t->name, NULL);
	sql_add(g, " (");
	names(g, t, 0, s->columns);
	sql_add(g, ", _version) ");
}

static void insert(struct sql_gen *g, const struct mk_table *t, const struct sql_shape *s)
{
	insert_into(g, t, s);
	sql_add(g, "VALUES (");
	params(g, s->columns + 1);
	sql_add(g, ")");
}

/* SELECT * FROM unnest($1::text[], $2::bigint[]): rows out of arrays. */
static void insert_arrays(struct sql_gen *g, const struct mk_table *t, const struct sql_shape *s)
{
	insert_into(g, t, s);
	sql_add(g, "SELECT * FROM ");
	arrays(g, t, s->columns + 1, s->columns);
}

void sql_insert(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	insert(g, t, &s);
}

void sql_append(struct sql_gen *g, const struct mk_table *t, bool is_new)
{
	struct sql_shape s = sql_measure(t);

	if (g->d->array_type != NULL)
		insert_arrays(g, t, &s);
	else
		insert(g, t, &s);
	if (!is_new)
		sql_add(g, g->d->append_tail);
}

/* INSERT ... ON CONFLICT (key) DO UPDATE SET */
static void insert_or_update(struct sql_gen *g, const struct mk_table *t,
	const struct sql_shape *s)
{
	insert(g, t, s);
	sql_add(g, " ON CONFLICT (");
	names(g, t, 0, s->keys);
	sql_add(g, ") DO UPDATE SET ");
}

/* What ends it: a version that is one greater. */
static void next_version(struct sql_gen *g, const struct mk_table *t)
{
	sql_add(g, "_version = ");
	sql_name(g, t->name, NULL);
	sql_add(g, "._version + 1");
}

void sql_upsert(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	insert_or_update(g, t, &s);
	for (uint32_t i = s.keys; i < s.columns; i++) {
		sql_name(g, t->columns[i].name, NULL);
		sql_add(g, " = excluded.");
		sql_name(g, t->columns[i].name, NULL);
		sql_add(g, ", ");
	}
	next_version(g, t);
}

void sql_sum(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	struct sql_shape s = sql_measure(t);
	const char *name = t->columns[column].name;

	insert_or_update(g, t, &s);
	sql_name(g, name, NULL);
	sql_add(g, " = COALESCE(");
	sql_name(g, t->name, NULL);
	sql_add(g, ".");
	sql_name(g, name, NULL);
	sql_add(g, ", 0) + excluded.");
	sql_name(g, name, NULL);
	sql_add(g, ", ");
	next_version(g, t);
	sql_add(g, " RETURNING ");
	sql_name(g, name, NULL);
}

void sql_update(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "UPDATE ");
	sql_name(g, t->name, NULL);
	sql_add(g, " SET ");
	for (uint32_t i = s.keys; i < s.columns; i++) {
		equal(g, t, i, i + 1);
		sql_add(g, ", ");
	}
	sql_add(g, "_version = _version + 1 WHERE ");
	equal(g, t, 0, s.keys);
	sql_add(g, " AND _version = ");
	sql_param(g);
}

void sql_set(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "UPDATE ");
	sql_name(g, t->name, NULL);
	sql_add(g, " SET ");
	equal(g, t, column, column + 1);
	sql_add(g, ", _version = _version + 1 WHERE ");
	equal(g, t, 0, s.keys);
}

void sql_delete(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "DELETE");
	from(g, t);
	equal(g, t, 0, s.keys);
}

void sql_drop_domain(struct sql_gen *g, const struct mk_table *t)
{
	sql_add(g, "DELETE");
	from(g, t);
	equal(g, t, 0, 1);
}

void sql_drop_some(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "DELETE");
	from(g, t);
	sql_add(g, "(");
	names(g, t, 0, s.keys);
	sql_add(g, ") IN (SELECT ");
	names(g, t, 0, s.keys);
	from(g, t);
	equal(g, t, 0, 1);
	sql_add(g, " LIMIT ");
	sql_param(g);
	sql_add(g, ")");
}

/* SELECT "a", "b" FROM t WHERE id < $1 AND what is behind (a, b) ORDER BY a, b LIMIT 1:
 * the next one, found by the index. behind: 0 none, 1 parameters, 2 columns of owners. */
static void next_owner(struct sql_gen *g, const struct mk_table *t, const struct sql_shape *s,
	int behind)
{
	sql_add(g, "SELECT ");
	names(g, t, 0, s->parts);
	from(g, t);
	sql_name(g, t->columns[s->parts].name, NULL);
	sql_add(g, " < $1");
	if (behind == 1) {
		sql_add(g, " AND ");
		beyond(g, t, 0, s->parts, ">");
	} else if (behind == 2) {
		sql_add(g, " AND (");
		names(g, t, 0, s->parts);
		sql_add(g, ") > (");
		for (uint32_t i = 0; i < s->parts; i++) {
			sql_add(g, i == 0 ? "owners." : ", owners.");
			sql_name(g, t->columns[i].name, NULL);
		}
		sql_add(g, ")");
	}
	order(g, t, 0, s->parts, false);
	sql_add(g, " LIMIT 1");
}

void sql_owners(struct sql_gen *g, const struct mk_table *t, bool has_after)
{
	struct sql_shape s = sql_measure(t);

	g->params++;                   /* $1 stands there twice                 */
	sql_add(g, "WITH RECURSIVE owners AS ((");
	next_owner(g, t, &s, has_after ? 1 : 0);
	sql_add(g, ") UNION ALL SELECT further.* FROM owners, LATERAL (");
	next_owner(g, t, &s, 2);
	sql_add(g, ") AS further) SELECT ");
	names(g, t, 0, s.parts);
	sql_add(g, " FROM owners LIMIT ");
	sql_param(g);
}

void sql_expire(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);

	sql_add(g, "DELETE");
	from(g, t);
	sql_add(g, "(");
	names(g, t, 0, s.keys);
	sql_add(g, ") IN (SELECT ");
	names(g, t, 0, s.keys);
	sql_add(g, " FROM ");
	asked(g, t, s.parts, false);
	sql_add(g, " WHERE ");
	sql_name(g, t->columns[s.parts].name, NULL);
	sql_add(g, " < ");
	sql_param(g);
	sql_add(g, " LIMIT ");
	sql_param(g);
	sql_add(g, ")");
}

/* ---- schema -------------------------------------------------------------------- */

static const struct {
	uint16_t flag;
	const char *word;
} flag_words[] = {
	{ MK_COL_PARTITION, "PARTITION" }, { MK_COL_SORT, "SORT" }, { MK_COL_INDEX, "INDEX" },
	{ MK_COL_SEARCH, "SEARCH" }, { MK_COL_NULL, "NULL" }, { MK_COL_UNIQUE, "UNIQUE" },
	{ MK_COL_FILTER, "FILTER" },
};
static const char *const type_words[] = { "", "TEXT", "INT", "BLOB" };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void column_type(struct sql_gen *g, const struct mk_column *c)
{
	const uint16_t keyed =
		MK_COL_PARTITION | MK_COL_SORT | MK_COL_INDEX | MK_COL_UNIQUE;

	sql_name(g, c->name, NULL);
	sql_add(g, " ");
	sql_add(g, (c->flags & keyed ? g->d->key_type : g->d->type)[c->type]);
	if (!(c->flags & MK_COL_NULL))
		sql_add(g, " NOT NULL");
}

void sql_create_table(struct sql_gen *g, const struct mk_table *t)
{
	struct sql_shape s = sql_measure(t);
	bool numbered = sql_has_rowid(g->d, &s);

	sql_add(g, "CREATE TABLE ");
	sql_name(g, t->name, NULL);
	sql_add(g, " (");
	if (numbered) {
		sql_add(g, "_rowid ");
		sql_add(g, g->d->rowid_type);
		sql_add(g, ", ");
	}
	for (uint32_t i = 0; i < s.columns; i++) {
		column_type(g, &t->columns[i]);
		sql_add(g, ", ");
	}
	if (s.has_search && g->d->search_columns != NULL)
		g->d->search_columns(g, t);
	sql_add(g, numbered ? "_version BIGINT NOT NULL, UNIQUE ("
	                    : "_version BIGINT NOT NULL, PRIMARY KEY (");
	names(g, t, 0, s.keys);
	sql_add(g, "))");
	if (!numbered)
		sql_add(g, g->d->table_tail);
	if (g->d->by_time && (t->flags & MK_TABLE_TIME)) {
		sql_add(g, " PARTITION BY RANGE (");
		names(g, t, s.parts, s.keys);
		sql_add(g, ")");
	}
}

static void index_name(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	size_t max = g->d->name_max;

	/* A dot can't be part of a declared name: no other index has this name. */
	add(g, &g->d->quote, 1);
	size_t at = g->n;
	sql_add(g, t->name);
	sql_add(g, ".");
	sql_add(g, t->columns[column].name);
	if (max != 0 && g->n - at > max) {
		/* The database would cut it, and two names might become one. */
		uint64_t hash = UINT64_C(0xcbf29ce484222325);
		for (size_t i = at; i < g->n; i++)
			hash = (hash ^ (unsigned char)g->p[i]) * UINT64_C(0x100000001b3);
		g->n = at + max - 16;
		for (int shift = 60; shift >= 0; shift -= 4)
			add(g, &"0123456789abcdef"[hash >> shift & 15], 1);
	}
	add(g, &g->d->quote, 1);
}

void sql_create_index(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	struct sql_shape s = sql_measure(t);
	bool unique = (t->columns[column].flags & MK_COL_UNIQUE) != 0;

	sql_add(g, unique ? "CREATE UNIQUE INDEX " : "CREATE INDEX ");
	index_name(g, t, column);
	sql_add(g, " ON ");
	sql_name(g, t->name, NULL);
	sql_add(g, " (");
	names(g, t, 0, unique ? 1 : s.parts);
	if (column >= s.parts) {
		sql_add(g, ", ");
		sql_name(g, t->columns[column].name, NULL);
	}
	for (uint32_t i = s.parts; !unique && i < s.keys; i++)
		if (i != column) {
			sql_add(g, ", ");
			sql_name(g, t->columns[i].name, NULL);
		}
	sql_add(g, ")");
}

void sql_drop_index(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	sql_add(g, "DROP INDEX ");
	index_name(g, t, column);
}

void sql_add_column(struct sql_gen *g, const struct mk_table *t, uint32_t column)
{
	sql_add(g, "ALTER TABLE ");
	sql_name(g, t->name, NULL);
	sql_add(g, " ADD COLUMN ");
	column_type(g, &t->columns[column]);
}

void sql_describe(struct sql_gen *g, const struct mk_table *t)
{
	for (const struct mk_column *c = t->columns; c->name != NULL; c++) {
		if (c != t->columns)
			sql_add(g, ", ");
		sql_add(g, c->name);
		sql_add(g, " ");
		sql_add(g, type_words[c->type]);
		for (size_t i = 0; i < COUNT(flag_words); i++)
			if (c->flags & flag_words[i].flag) {
				sql_add(g, " ");
				sql_add(g, flag_words[i].word);
			}
	}
}

/* ---- comparing ------------------------------------------------------------------ */

/* The next word of *s, which ends at a space or a comma; empty at the end of a
 * column, whose comma is then skipped. */
static struct mk_str word(struct mk_str *s)
{
	struct mk_str w;

	while (s->n > 0 && *s->p == ' ')
		s->p++, s->n--;
	w.p = s->p;
	for (w.n = 0; w.n < s->n && s->p[w.n] != ' ' && s->p[w.n] != ','; w.n++)
		;
	s->p += w.n;
	s->n -= w.n;
	return w;
}

static bool column_read(struct mk_str *s, struct mk_str *name_out, uint16_t *type_out,
	uint16_t *flags_out)
{
	*name_out = word(s);
	*type_out = *flags_out = 0;
	struct mk_str w = word(s);
	for (uint16_t i = 1; i < COUNT(type_words); i++)
		if (mk_str_eqz(w, type_words[i]))
			*type_out = i;
	for (w = word(s); w.n > 0; w = word(s)) {
		size_t i = 0;
		while (i < COUNT(flag_words) && !mk_str_eqz(w, flag_words[i].word))
			i++;
		if (i == COUNT(flag_words))
			return false;
		*flags_out |= flag_words[i].flag;
	}
	if (s->n > 0 && *s->p == ',')
		s->p++, s->n--;
	return name_out->n > 0 && *type_out != 0;
}

static int refuse(struct mk_diag *d, const struct mk_table *t, struct mk_str column,
	const char *what)
{
	mk_diag_add(d, "table %s: column %.*s %s", t->name, (int)column.n, column.p, what);
	return -MK_EINVAL;
}

/* One recorded column against the declaration. */
static int column_compare(const struct mk_table *t, struct mk_str name, uint16_t type,
	uint16_t flags, uint32_t at, struct sql_change *out, struct mk_diag *d)
{
	const uint16_t index = MK_COL_INDEX | MK_COL_UNIQUE;
	uint32_t i = 0;

	while (t->columns[i].name != NULL && !mk_str_eqz(name, t->columns[i].name))
		i++;
	const struct mk_column *c = &t->columns[i];
	if (c->name == NULL)
		return refuse(d, t, name, "is in the database, but no longer declared");
	if (c->type != type)
		return refuse(d, t, name, "has another type in the database");
	uint16_t differs = (uint16_t)(flags ^ c->flags);
	if ((differs & (MK_COL_PARTITION | MK_COL_SORT)) ||
	    ((flags & (MK_COL_PARTITION | MK_COL_SORT)) && i != at))
		return refuse(d, t, name, "has another place in the key in the database");
	if (differs & MK_COL_NULL)
		return refuse(d, t, name, flags & MK_COL_NULL ? "may be NULL in the database"
			: "may not be NULL in the database");
	if (differs & MK_COL_SEARCH)
		return refuse(d, t, name, "differs in SEARCH from the database");
	if (differs & index) {
		if (flags & index)
			out->unindex |= UINT32_C(1) << i;
		if (c->flags & index)
			out->index |= UINT32_C(1) << i;
	}
	out->add &= ~(UINT32_C(1) << i);
	return 0;
}

int sql_compare(const struct mk_table *t, int64_t version, struct mk_str columns,
	struct sql_change *out, struct mk_diag *d)
{
	struct sql_shape s = sql_measure(t);
	struct sql_gen g = { 0 };
	static const struct sql_dialect plain = { .quote = '"' };

	sql_begin(&g, &plain);
	sql_describe(&g, t);
	bool same = mk_str_eqz(columns, g.p);
	sql_fini(&g);
	*out = (struct sql_change){ .add = (uint32_t)((UINT64_C(1) << s.columns) - 1) };
	if (version > t->version) {
		mk_diag_add(d, "table %s: the database was used by a newer version "
			"(declaration %lld, this one is %u)", t->name, (long long)version, t->version);
		return -MK_EVERSION;
	}
	if (same) {
		out->add = 0;
		return version != t->version;
	}
	for (uint32_t at = 0; columns.n > 0; at++) {
		struct mk_str name;
		uint16_t type, flags;
		if (!column_read(&columns, &name, &type, &flags))
			return refuse(d, t, name, "is recorded in a way this version doesn't know");
		int r = column_compare(t, name, type, flags, at, out, d);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < s.columns; i++) {
		const struct mk_column *c = &t->columns[i];
		if (!(out->add & (UINT32_C(1) << i)))
			continue;
		if (!(c->flags & MK_COL_NULL) || (c->flags & MK_COL_SEARCH))
			return refuse(d, t, mk_strz(c->name),
				"is new: it must be NULL and not SEARCH to be added");
		if (c->flags & (MK_COL_INDEX | MK_COL_UNIQUE))
			out->index |= UINT32_C(1) << i;
	}
	if (version == t->version) {
		mk_diag_add(d, "table %s: the declaration differs from the database, but its "
			"version (%u) hasn't grown", t->name, t->version);
		return -MK_EINVAL;
	}
	return 1;
}

void sql_tell(const struct mk_inst *inst, const struct mk_table *t, int64_t version,
	const struct sql_change *what, bool dry_run, struct mk_diag *d)
{
	struct sql_shape s = sql_measure(t);

	if (!dry_run) {
		mk_log(inst, MK_NOTICE, "table migrated", "table=%s from=%lld to=%u",
			t->name, (long long)version, t->version);
		return;
	}
	mk_diag_add(d, "table %s: version %lld becomes %u", t->name, (long long)version, t->version);
	for (uint32_t i = 0; i < s.columns; i++) {
		uint32_t bit = UINT32_C(1) << i;
		const char *name = t->columns[i].name;
		if (what->unindex & bit)
			mk_diag_add(d, "table %s: the index of column %s is dropped", t->name, name);
		if (what->add & bit)
			mk_diag_add(d, "table %s: column %s is added", t->name, name);
		if (what->index & bit)
			mk_diag_add(d, "table %s: column %s is indexed", t->name, name);
	}
}

void sql_stmt(struct sql_gen *g, const struct mk_table *t, enum sql_stmt kind, uint32_t bits,
	uint32_t columns)
{
	switch (kind) {
	case STMT_GET:
		sql_get(g, t);
		break;
	case STMT_MANY:
		sql_get_many(g, t);
		break;
	case STMT_ROWS:
		sql_range(g, t, SQL_ROWS, bits, columns);
		break;
	case STMT_COUNT:
		sql_range(g, t, SQL_COUNT, bits, columns);
		break;
	case STMT_ERASE:
		sql_range(g, t, SQL_DELETE, bits, columns);
		break;
	case STMT_TAKE:
		sql_range(g, t, SQL_TAKE, bits, columns);
		break;
	case STMT_SCAN:
		sql_scan(g, t, bits & 1, bits & 2);
		break;
	case STMT_INSERT:
		sql_insert(g, t);
		break;
	case STMT_APPEND:
		sql_append(g, t, bits != 0);
		break;
	case STMT_UPSERT:
		sql_upsert(g, t);
		break;
	case STMT_UPDATE:
		sql_update(g, t);
		break;
	case STMT_SET:
		sql_set(g, t, columns);
		break;
	case STMT_SUM:
		sql_sum(g, t, columns);
		break;
	case STMT_DELETE:
		sql_delete(g, t);
		break;
	case STMT_DROP:
		sql_drop_domain(g, t);
		break;
	case STMT_DROP_SOME:
		sql_drop_some(g, t);
		break;
	case STMT_OWNERS:
		sql_owners(g, t, bits & 1);
		break;
	case STMT_EXPIRE:
		sql_expire(g, t);
		break;
	}
}
