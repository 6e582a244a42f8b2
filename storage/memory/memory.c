/*
 * memory/memory.c - storage that ends with the process
 *
 * For tests, and for tables whose loss at a restart nobody minds. Rows of a
 * table are in one ordered list by key, and in one more per UNIQUE column. One
 * lock for the database: any number read, one writes. A transaction keeps a
 * list of what it changed, to be undone.
 */
#include <pthread.h>

#include <meerkat/plugin.h>
#include <meerkat/backend.h>

#include "skip.h"

struct mem_table {
	struct mem_table *next;
	const struct mk_table *t;      /* the newest declaration                */
	uint32_t columns, parts, keys;
	struct skip rows;              /* by key                                */
	struct skip *unique;           /* by (domain, value) ...                */
	uint32_t uniques;              /* ... one for each UNIQUE column        */
};
/* A declaration that callers use, and the table it names. */
struct mem_alias {
	struct mem_alias *next;
	const struct mk_table *t;
	uint32_t columns;
	struct mem_table *table;
};
struct mk_backend_db {
	pthread_rwlock_t lock;
	struct mem_table *tables;
	struct mem_alias *aliases;
};
struct mk_backend_conn { struct mk_backend_db *db; };

/* ---- declarations ------------------------------------------------------------- */

static const struct mem_alias *find(const struct mk_backend_db *db, const struct mk_table *t)
{
	const struct mem_alias *a = db->aliases;

	while (a != NULL && a->t != t)
		a = a->next;
	return a;
}

static void measure(struct mem_table *m, const struct mk_table *t)
{
	m->t = t;
	m->columns = m->parts = m->keys = 0;
	for (const struct mk_column *c = t->columns; c->name != NULL; c++) {
		m->columns++;
		m->parts += (c->flags & MK_COL_PARTITION) != 0;
		m->keys += (c->flags & (MK_COL_PARTITION | MK_COL_SORT)) != 0;
	}
}

static struct mem_table *table_new(const struct mk_table *t)
{
	struct mem_table *m = mk_alloc(sizeof *m);

	measure(m, t);
	m->rows.columns = m->keys;
	for (uint32_t i = 0; i < m->keys; i++)
		m->rows.column[i] = i;
	skip_init(&m->rows);
	m->unique = mk_alloc(m->columns * sizeof *m->unique);
	for (uint32_t i = 0; i < m->columns; i++)
		if (t->columns[i].flags & MK_COL_UNIQUE) {
			struct skip *s = &m->unique[m->uniques++];
			s->columns = 2;
			s->column[0] = 0;
			s->column[1] = i;
			skip_init(s);
		}
	return m;
}

static void table_free(struct mem_table *m)
{
	for (struct skip_node *n = m->rows.head->next[0]; n != NULL; n = n->next[0])
		mk_free(n->row);
	skip_fini(&m->rows);
	for (uint32_t i = 0; i < m->uniques; i++)
		skip_fini(&m->unique[i]);
	mk_free(m->unique);
	mk_free(m);
}

/* A row as long as the newest declaration, whose last columns may be new. */
static void rows_lengthen(struct mem_table *m, uint32_t columns);

static int db_declare(struct mk_backend_db *db, const struct mk_table *const *tables,
	struct mk_diag *d)
{
	int r = 0;

	pthread_rwlock_wrlock(&db->lock);
	for (; tables != NULL && *tables != NULL; tables++) {
		const struct mk_table *t = *tables;
		struct mem_table *m = db->tables;
		if (find(db, t) != NULL)
			continue;
		while (m != NULL && strcmp(m->t->name, t->name) != 0)
			m = m->next;
		if (m != NULL && t->version < m->t->version) {
			mk_diag_add(d, "table %s: a newer version is in use", t->name);
			r = -MK_EVERSION;
			continue;
		}
		if (m == NULL) {
			m = table_new(t);
			m->next = db->tables;
			db->tables = m;
		} else {
			struct mem_table now = { 0 };
			measure(&now, t);
			if (now.columns > m->columns)
				rows_lengthen(m, now.columns);
			m->t = t;
			m->columns = now.columns;
		}
		struct mem_alias *a = mk_alloc(sizeof *a);
		a->t = t;
		a->columns = m->columns;
		a->table = m;
		a->next = db->aliases;
		db->aliases = a;
	}
	pthread_rwlock_unlock(&db->lock);
	return r;
}

static void db_close(struct mk_backend_db *db)
{
	for (struct mem_table *m = db->tables, *next; m != NULL; m = next) {
		next = m->next;
		table_free(m);
	}
	for (struct mem_alias *a = db->aliases, *next; a != NULL; a = next) {
		next = a->next;
		mk_free(a);
	}
	pthread_rwlock_destroy(&db->lock);
	mk_free(db);
}

static int db_open(struct mk_inst *i, const void *conf, const struct mk_table *const *tables,
	bool dry_run, struct mk_diag *d, struct mk_backend_db **db_out)
{
	struct mk_backend_db *db;
	int r;

	(void)i;
	(void)conf;
	if (dry_run)                   /* every start makes everything          */
		return 0;
	db = mk_alloc(sizeof *db);
	pthread_rwlock_init(&db->lock, NULL);
	r = db_declare(db, tables, d);
	if (r < 0)
		db_close(db);
	else
		*db_out = db;
	return r;
}

static int conn_open(struct mk_backend_db *db, struct mk_backend_conn **out)
{
	*out = mk_alloc(sizeof **out);
	(*out)->db = db;
	return 0;
}

static void conn_close(struct mk_backend_conn *c)
{
	mk_free(c);
}

/* ---- rows ---------------------------------------------------------------------- */

/* n values of v, then those of rest (may be NULL: absent) up to columns. */
static struct mem_row *row_new(const struct mk_value *v, uint32_t n,
	const struct mem_row *rest, uint32_t columns, uint64_t version)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < columns; i++)
		bytes += i < n ? mk_value_str(&v[i]).n : rest != NULL ? mk_value_str(&rest->v[i]).n : 0;
	struct mem_row *row = mk_alloc(sizeof *row + columns * sizeof *v + bytes);
	char *p = (char *)&row->v[columns];
	for (uint32_t i = 0; i < columns; i++) {
		row->v[i] = i < n ? v[i] : rest != NULL ? rest->v[i] : mk_absent();
		struct mk_str s = mk_value_str(&row->v[i]);
		if (row->v[i].type != MK_TEXT && row->v[i].type != MK_BLOB)
			continue;
		if (s.n != 0)
			memcpy(p, s.p, s.n);
		row->v[i].as.b.p = p;
		p += s.n;
	}
	row->version = version;
	return row;
}

static void rows_lengthen(struct mem_table *m, uint32_t columns)
{
	for (struct skip_node *n = m->rows.head->next[0]; n != NULL; n = n->next[0]) {
		struct mem_row *longer = row_new(n->row->v, m->columns, NULL, columns, n->row->version);
		for (uint32_t i = 0; i < m->uniques; i++)
			if (n->row->v[m->unique[i].column[1]].type != 0) {
				skip_remove(&m->unique[i], n->row);
				skip_insert(&m->unique[i], longer);
			}
		mk_free(n->row);
		n->row = longer;
	}
}

static void row_copy(const struct mem_row *row, uint32_t n, struct mk_arena *a,
	struct mk_row *out)
{
	struct mk_value *v = mk_arena_alloc(a, n * sizeof *v);

	for (uint32_t i = 0; i < n; i++) {
		v[i] = row->v[i];
		if (v[i].type == MK_TEXT || v[i].type == MK_BLOB)
			v[i].as.b.p = mk_arena_strndup(a, v[i].as.b.p, v[i].as.b.n);
	}
	*out = (struct mk_row){ .v = v, .n = n, .version = row->version };
}

static struct mem_row *row_find(const struct mem_table *m, const struct mk_value *key)
{
	struct skip_node *n = skip_seek(&m->rows, key, m->keys, false);

	return n != NULL && skip_row_cmp(&m->rows, n->row, key, m->keys) == 0 ? n->row : NULL;
}

/* ---- ranges -------------------------------------------------------------------- */

static bool is_word_byte(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		(c >= 'A' && c <= 'Z');
}

static bool has_word(struct mk_str text, struct mk_str word)
{
	for (size_t i = 0, n; i < text.n; i += n + 1) {
		for (n = 0; i + n < text.n && is_word_byte((unsigned char)text.p[i + n]); n++)
			;
		size_t k = 0;
		while (n == word.n && k < n) {
			char c = text.p[i + k];
			if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != word.p[k])
				break;
			k++;
		}
		if (n == word.n && k == n)
			return true;
	}
	return false;
}

static bool has_words(const struct mem_table *m, const struct mem_row *row, const char *words)
{
	while (*words != '\0') {
		struct mk_str word = { words, strcspn(words, " ") };
		bool found = false;
		for (uint32_t i = m->keys; i < m->columns && !found; i++)
			found = (m->t->columns[i].flags & MK_COL_SEARCH) &&
				has_word(mk_value_str(&row->v[i]), word);
		if (!found)
			return false;
		words += word.n;
		words += *words == ' ';
	}
	return true;
}

/* A walk over the rows of one partition that match a range. */
struct walk {
	const struct mem_alias *a;
	const struct mk_range *r;
	struct mk_value low[SKIP_COLUMNS], high[SKIP_COLUMNS]; /* whole keys    */
	struct skip_node *next;
};

static void walk_begin(struct walk *w, const struct mem_alias *a,
	const struct mk_value *partition, const struct mk_range *r)
{
	const struct mem_table *m = a->table;
	uint32_t sorts = m->keys - m->parts;

	w->a = a;
	w->r = r;
	memcpy(w->low, partition, m->parts * sizeof *partition);
	memcpy(w->high, partition, m->parts * sizeof *partition);
	if (r->after != NULL)
		memcpy(w->low + m->parts, r->after, sorts * sizeof *partition);
	if (r->before != NULL)
		memcpy(w->high + m->parts, r->before, sorts * sizeof *partition);
	if (!r->backward) {
		w->next = skip_seek(&m->rows, w->low, r->after != NULL ? m->keys : m->parts,
			r->after != NULL);
	} else {
		w->next = skip_seek(&m->rows, w->high, r->before != NULL ? m->keys : m->parts,
			r->before == NULL);
		w->next = w->next != NULL ? w->next->prev : m->rows.last;
	}
}

static bool walk_matches(const struct walk *w, const struct mem_row *row)
{
	for (uint32_t i = 0; w->r->equals != NULL && i < w->a->columns; i++)
		if (w->r->equals[i].type != 0 &&
		    skip_value_cmp(&w->r->equals[i], &row->v[i]) != 0)
			return false;
	return w->r->search == NULL || has_words(w->a->table, row, w->r->search);
}

static struct mem_row *walk_next(struct walk *w)
{
	const struct mem_table *m = w->a->table;

	while (w->next != NULL) {
		struct mem_row *row = w->next->row;
		w->next = w->r->backward ? w->next->prev : w->next->next[0];
		if (skip_row_cmp(&m->rows, row, w->low, m->parts) != 0 ||
		    (w->r->before != NULL && skip_row_cmp(&m->rows, row, w->high, m->keys) >= 0) ||
		    (w->r->after != NULL && skip_row_cmp(&m->rows, row, w->low, m->keys) <= 0))
			return NULL;
		if (walk_matches(w, row))
			return row;
	}
	return NULL;
}

/* Up to limit rows; those of the database itself in found (of the arena). */
static struct mem_row **collect(struct walk *w, uint32_t limit, struct mk_arena *a,
	struct mk_rows *out)
{
	struct mem_row **found = mk_arena_alloc(a, limit * sizeof *found), *row;
	uint32_t n = 0;

	while ((row = walk_next(w)) != NULL && n < limit)
		found[n++] = row;
	struct mk_row *rows = mk_arena_alloc(a, (n + 1) * sizeof *rows);
	for (uint32_t i = 0; i < n; i++)
		row_copy(found[i], w->a->columns, a, &rows[i]);
	*out = (struct mk_rows){ .row = rows, .n = n, .more = row != NULL };
	return found;
}

/* ---- reading -------------------------------------------------------------------- */

static enum mk_store_status op_get(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, struct mk_arena *a, struct mk_row *out)
{
	pthread_rwlock_rdlock(&c->db->lock);
	const struct mem_alias *alias = find(c->db, t);
	struct mem_row *row = row_find(alias->table, key);
	if (row != NULL)
		row_copy(row, alias->columns, a, out);
	pthread_rwlock_unlock(&c->db->lock);
	return row != NULL ? MK_STORE_OK : MK_STORE_NOTFOUND;
}

static enum mk_store_status op_query(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct walk w;

	pthread_rwlock_rdlock(&c->db->lock);
	walk_begin(&w, find(c->db, t), partition, r);
	collect(&w, r->limit, a, out);
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

static enum mk_store_status op_count(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct walk w;

	pthread_rwlock_rdlock(&c->db->lock);
	walk_begin(&w, find(c->db, t), partition, r);
	for (*out = 0; (r->limit == 0 || *out < r->limit) && walk_next(&w) != NULL; ++*out)
		;
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

static enum mk_store_status op_scan(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit, struct mk_arena *a,
	struct mk_rows *out)
{
	struct mk_value d = mk_text(domain);
	uint32_t n = 0;

	pthread_rwlock_rdlock(&c->db->lock);
	const struct mem_alias *alias = find(c->db, t);
	const struct skip *s = &alias->table->rows;
	struct skip_node *x = after != NULL ? skip_seek(s, after, alias->table->keys, true) :
		domain.n != 0 ? skip_seek(s, &d, 1, false) : s->head->next[0];
	struct mk_row *rows = mk_arena_alloc(a, limit * sizeof *rows);
	for (; x != NULL && n < limit; x = x->next[0]) {
		if (domain.n != 0 && skip_row_cmp(s, x->row, &d, 1) != 0)
			break;
		row_copy(x->row, alias->columns, a, &rows[n++]);
	}
	bool more = x != NULL && (domain.n == 0 || skip_row_cmp(s, x->row, &d, 1) == 0);
	pthread_rwlock_unlock(&c->db->lock);
	*out = (struct mk_rows){ .row = rows, .n = n, .more = more };
	return MK_STORE_OK;
}

static enum mk_store_status op_ping(struct mk_backend_conn *c)
{
	(void)c;
	return MK_STORE_OK;
}

/* ---- transactions ----------------------------------------------------------------- */

struct change { struct mem_table *m; struct mem_row *was, *is; };      /* or NULL */
struct transaction { struct change *c; uint32_t n, cap; };

/* Puts is in the place of was, of which either may be NULL. */
static void swap_rows(struct mem_table *m, struct mem_row *was, struct mem_row *is)
{
	if (was != NULL)
		skip_remove(&m->rows, was);
	if (is != NULL)
		skip_insert(&m->rows, is);
	for (uint32_t i = 0; i < m->uniques; i++) {
		uint32_t column = m->unique[i].column[1];
		if (was != NULL && was->v[column].type != 0)
			skip_remove(&m->unique[i], was);
		if (is != NULL && is->v[column].type != 0)
			skip_insert(&m->unique[i], is);
	}
}

static void change(struct transaction *x, struct mem_table *m, struct mem_row *was,
	struct mem_row *is)
{
	if (x->n == x->cap) {
		x->cap = x->cap * 2 + 4;
		x->c = mk_realloc(x->c, x->cap * sizeof *x->c);
	}
	x->c[x->n++] = (struct change){ m, was, is };
	swap_rows(m, was, is);
}

/* Keeps or undoes what was changed. */
static void transaction_end(struct transaction *x, bool keep)
{
	for (uint32_t i = x->n; i-- > 0; ) {
		struct change *c = &x->c[i];
		if (!keep)
			swap_rows(c->m, c->is, c->was);
		mk_free(keep ? c->was : c->is);
	}
	mk_free(x->c);
}

static bool is_taken(const struct mem_table *m, const struct mk_value *row, uint32_t columns,
	const struct mem_row *was)
{
	for (uint32_t i = 0; i < m->uniques; i++) {
		uint32_t column = m->unique[i].column[1];
		if (column >= columns || row[column].type == 0)
			continue;
		struct mk_value probe[] = { row[0], row[column] };
		struct skip_node *n = skip_seek(&m->unique[i], probe, 2, false);
		if (n != NULL && n->row != was && skip_row_cmp(&m->unique[i], n->row, probe, 2) == 0)
			return true;
	}
	return false;
}

static enum mk_store_status put(struct transaction *x, const struct mem_alias *a,
	const struct mk_value *v, uint64_t expect)
{
	struct mem_table *m = a->table;
	struct mem_row *was = row_find(m, v);

	if (expect == MK_NEW ? was != NULL
	    : expect != MK_ANY && (was == NULL || was->version != expect))
		return MK_STORE_CONFLICT;
	if (is_taken(m, v, a->columns, was))
		return MK_STORE_CONFLICT;
	change(x, m, was, row_new(v, a->columns, was, m->columns,
		was != NULL ? was->version + 1 : (uint64_t)mk_uid()));
	return MK_STORE_OK;
}

static enum mk_store_status op_write(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out)
{
	struct transaction x = { 0 };
	enum mk_store_status s = MK_STORE_OK;

	pthread_rwlock_wrlock(&c->db->lock);
	for (uint32_t i = 0; i < n && s == MK_STORE_OK; i++) {
		const struct mem_alias *a = find(c->db, w[i].table);
		if (w[i].op == MK_WRITE_PUT) {
			s = put(&x, a, w[i].row, w[i].expect);
		} else {
			struct mem_row *was = row_find(a->table, w[i].row);
			if (was != NULL)
				change(&x, a->table, was, NULL);
			else if (n == 1)
				s = MK_STORE_NOTFOUND;
		}
		if (s == MK_STORE_CONFLICT)
			*failed_out = i;
	}
	transaction_end(&x, s == MK_STORE_OK);
	pthread_rwlock_unlock(&c->db->lock);
	return s;
}

static enum mk_store_status op_append(struct mk_backend_conn *c, const struct mk_write *w,
	uint32_t n)
{
	struct transaction x = { 0 };

	pthread_rwlock_wrlock(&c->db->lock);
	for (uint32_t i = 0; i < n; i++)
		put(&x, find(c->db, w[i].table), w[i].row, MK_NEW);
	transaction_end(&x, true);
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

static enum mk_store_status op_take(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, struct mk_arena *a,
	struct mk_rows *out)
{
	struct transaction x = { 0 };
	struct walk w;

	pthread_rwlock_wrlock(&c->db->lock);
	walk_begin(&w, find(c->db, t), partition, r);
	struct mem_row **found = collect(&w, r->limit, a, out);
	for (uint32_t i = 0; i < out->n; i++)
		change(&x, w.a->table, found[i], NULL);
	transaction_end(&x, true);
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

static enum mk_store_status op_delete_range(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *partition, const struct mk_range *r, uint64_t *out)
{
	struct transaction x = { 0 };
	struct mem_row *row;
	struct walk w;

	pthread_rwlock_wrlock(&c->db->lock);
	walk_begin(&w, find(c->db, t), partition, r);
	while ((r->limit == 0 || x.n < r->limit) && (row = walk_next(&w)) != NULL)
		change(&x, w.a->table, row, NULL);
	*out = x.n;
	transaction_end(&x, true);
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

static enum mk_store_status op_drop_domain(struct mk_backend_conn *c, const struct mk_table *t,
	struct mk_str domain, uint64_t *out)
{
	struct transaction x = { 0 };
	struct mk_value d = mk_text(domain);
	struct skip_node *n;

	pthread_rwlock_wrlock(&c->db->lock);
	struct mem_table *m = find(c->db, t)->table;
	while ((n = skip_seek(&m->rows, &d, 1, false)) != NULL &&
	       skip_row_cmp(&m->rows, n->row, &d, 1) == 0)
		change(&x, m, n->row, NULL);
	*out = x.n;
	transaction_end(&x, true);
	pthread_rwlock_unlock(&c->db->lock);
	return MK_STORE_OK;
}

/* The row that an addition makes: what may not be absent is empty. */
static void row_empty(const struct mk_table *t, uint32_t keys, uint32_t columns,
	const struct mk_value *key, struct mk_value *row)
{
	for (uint32_t i = 0; i < columns; i++) {
		const struct mk_column *c = &t->columns[i];
		row[i] = i < keys ? key[i] : c->flags & MK_COL_NULL ? mk_absent() :
			c->type == MK_INT ? mk_int(0) :
			c->type == MK_TEXT ? mk_textz("") : mk_blob("", 0);
	}
}

static enum mk_store_status op_add(struct mk_backend_conn *c, const struct mk_table *t,
	const struct mk_value *key, uint32_t column, int64_t n, int64_t *out)
{
	struct transaction x = { 0 };
	struct mk_value row[SKIP_COLUMNS];
	int64_t sum = n;

	pthread_rwlock_wrlock(&c->db->lock);
	const struct mem_alias *a = find(c->db, t);
	struct mem_row *was = row_find(a->table, key);
	if (was != NULL)
		memcpy(row, was->v, a->columns * sizeof *row);
	else
		row_empty(t, a->table->keys, a->columns, key, row);
	enum mk_store_status s = MK_STORE_INVALID;
	if (!__builtin_add_overflow(row[column].type == MK_INT ? row[column].as.i : 0, n, &sum)) {
		row[column] = mk_int(sum);
		s = put(&x, a, row, MK_ANY);
	}
	transaction_end(&x, s == MK_STORE_OK);
	pthread_rwlock_unlock(&c->db->lock);
	if (s == MK_STORE_OK)
		*out = sum;
	return s;
}

/* ---- the plugin -------------------------------------------------------------------- */

static const struct mk_backend backend = {
	.size = sizeof backend,
	.caps = MK_CAP_SEARCH | MK_CAP_RANGE,
	.db_open = db_open, .db_declare = db_declare, .db_close = db_close,
	.conn_open = conn_open, .conn_close = conn_close,
	.get = op_get, .query = op_query, .count = op_count, .take = op_take,
	.delete_range = op_delete_range, .add = op_add, .write = op_write,
	.append = op_append, .scan = op_scan, .drop_domain = op_drop_domain, .ping = op_ping,
};

MK_PLUGIN(memory, "memory",
	.version = "1.0", .summary = "Storage that ends with the process",
	.license = "BSD-2-Clause", .flags = MK_PLUGIN_GLOBAL, .backend = &backend)
