/*
 * sql/sql.h - SQL text from declared tables, for backends that speak SQL
 *
 * Compiled into each such backend. Text is made of literals and of names from
 * declarations ([a-z][a-z0-9_]*, checked by the core) in quotes; values are
 * always parameters (S-14). Parameters stand in the order that each function
 * names; "key" and "partition" are their columns in the order of declaration.
 * Pure functions; any thread.
 */
#ifndef SQL_SQL_H
#define SQL_SQL_H

#include <meerkat/store.h>
#include <meerkat/conf.h>

struct sql_gen;
/* What differs between databases. */
struct sql_dialect {
	char quote;                    /* around names: '"' or '`'              */
	bool numbered;                 /* $1, $2 instead of ?                   */
	const char *type[4];           /* by enum mk_type                       */
	const char *key_type[4];       /* of key and indexed columns            */
	const char *table_tail;        /* after the last ) of CREATE TABLE      */
	const char *append_tail;       /* what makes INSERT skip duplicates     */
	/* Appending takes arrays of these types, by enum mk_type: one statement
	 * for any number of rows; NULL: one row at a time. */
	const char *const *array_type;
	/* The condition that finds words (one parameter); NULL: no search. */
	void (*search)(struct sql_gen *g, const struct mk_table *t);
	/* Tables with SEARCH columns have a column _rowid of this type, which
	 * numbers rows, beside their key; NULL: they don't. */
	const char *rowid_type;
	/* What tables with SEARCH columns have besides them, each followed by a
	 * comma; NULL: nothing. */
	void (*search_columns)(struct sql_gen *g, const struct mk_table *t);
	bool by_time;                  /* TIME tables are PARTITION BY RANGE    */
	size_t name_max;               /* bytes; longer names of indexes end in
	                                * a hash; 0 = no limit                  */
};
struct sql_gen {
	const struct sql_dialect *d;
	char *p;                       /* NUL-terminated; grows                 */
	size_t n, cap;
	unsigned params;
};
/* Empties g, keeps its memory. */
void sql_begin(struct sql_gen *g, const struct sql_dialect *d);
void sql_fini(struct sql_gen *g);
void sql_add(struct sql_gen *g, const char *literal);
/* A name in quotes; suffix (may be NULL) is a literal inside them. */
void sql_name(struct sql_gen *g, const char *name, const char *suffix);
void sql_param(struct sql_gen *g);

/* Columns of a table by kind. */
struct sql_shape { uint32_t columns, parts, keys; bool has_search; };
struct sql_shape sql_measure(const struct mk_table *t);
/* Any of its columns is searchable: it has _rowid where the dialect has that. */
bool sql_has_rowid(const struct sql_dialect *d, const struct sql_shape *s);

/* ---- schema ---------------------------------------------------------------- */

void sql_create_table(struct sql_gen *g, const struct mk_table *t);
/* Of an INDEX (partition, column, sort) or a UNIQUE (domain, column) column. */
void sql_create_index(struct sql_gen *g, const struct mk_table *t, uint32_t column);
void sql_drop_index(struct sql_gen *g, const struct mk_table *t, uint32_t column);
void sql_add_column(struct sql_gen *g, const struct mk_table *t, uint32_t column);
/* "domain TEXT PARTITION, user TEXT PARTITION, n INT NULL": how a declaration
 * is recorded in the table meerkat_tables (name, version, columns). */
void sql_describe(struct sql_gen *g, const struct mk_table *t);

/* What a recorded table lacks; bit n = column n. */
struct sql_change { uint32_t add, index, unindex; };
/* Compares a record with the declaration. 0: nothing to do; 1: *out says what
 * is (also if only the version grew); -MK_EVERSION (made by a newer version)
 * or -MK_EINVAL (can't be migrated), after a line in d that says why. */
int  sql_compare(const struct mk_table *t, int64_t version, struct mk_str columns,
	struct sql_change *out, struct mk_diag *d);
/* What was compared is done, or with dry_run would be: lines for `storage plan`, else
 * one in the log. */
void sql_tell(const struct mk_inst *i, const struct mk_table *t, int64_t version,
	const struct sql_change *what, bool dry_run, struct mk_diag *d);

/* ---- rows ------------------------------------------------------------------- */

/* All columns and _version of the row. Parameters: key. */
void sql_get(struct sql_gen *g, const struct mk_table *t);
/* The rows of many keys, each behind the number of its key (from 1 on), in no
 * order. Needs array_type. Parameters: an array of each key column. */
void sql_get_many(struct sql_gen *g, const struct mk_table *t);
/* SQL_TAKE deletes and gives back the rows, in order; it needs SQL_LIMIT. */
enum sql_what { SQL_ROWS, SQL_COUNT, SQL_DELETE, SQL_TAKE };
enum sql_range_bit { SQL_AFTER = 1, SQL_BEFORE = 2, SQL_SEARCH = 4, SQL_BACKWARD = 8,
	SQL_LIMIT = 16 };
/* Parameters: partition, after, before, those columns of equals (bits), search,
 * limit. */
void sql_range(struct sql_gen *g, const struct mk_table *t, enum sql_what what,
	uint32_t bits, uint32_t equals);
/* All rows in key order. Parameters: domain (if has_domain), after (if
 * has_after: the key, without its domain if has_domain), limit. */
void sql_scan(struct sql_gen *g, const struct mk_table *t, bool has_domain, bool has_after);
/* Parameters: the row, the version. */
void sql_insert(struct sql_gen *g, const struct mk_table *t);
/* With array_type: an array of each. is_new: a row that is there is a failure. */
void sql_append(struct sql_gen *g, const struct mk_table *t, bool is_new);
void sql_upsert(struct sql_gen *g, const struct mk_table *t);
/* Parameters: the row without its key, the key, the version it must have. */
void sql_update(struct sql_gen *g, const struct mk_table *t);
/* Sets one column. Parameters: its value, the key. */
void sql_set(struct sql_gen *g, const struct mk_table *t, uint32_t column);
/* Adds to a column, or makes the row; gives back the sum. Parameters: the row
 * to be made (the column's value is what is added), the version. */
void sql_sum(struct sql_gen *g, const struct mk_table *t, uint32_t column);
/* Parameters: key. */
void sql_delete(struct sql_gen *g, const struct mk_table *t);
/* Parameters: domain. */
void sql_drop_domain(struct sql_gen *g, const struct mk_table *t);
/* Some rows of a domain. Parameters: domain, how many. */
void sql_drop_some(struct sql_gen *g, const struct mk_table *t);

/* Of TIME tables; need array_type. The next partitions, those of ids below one.
 * Parameters: id, after (if has_after: a partition), how many. */
void sql_owners(struct sql_gen *g, const struct mk_table *t, bool has_after);
/* Some rows of partitions, with ids below one. Parameters: an array of each PARTITION
 * column, id, how many. */
void sql_expire(struct sql_gen *g, const struct mk_table *t);

/* ---- statements by what they are made from --------------------------------------- */

/* What a backend prepares once and finds again. */
enum sql_stmt { STMT_GET = 1, STMT_MANY, STMT_ROWS, STMT_COUNT, STMT_ERASE, STMT_TAKE, STMT_SCAN,
	STMT_INSERT, STMT_APPEND, STMT_UPSERT, STMT_UPDATE, STMT_SET, STMT_SUM, STMT_DELETE,
	STMT_DROP, STMT_DROP_SOME, STMT_OWNERS, STMT_EXPIRE };
/* bits, columns: of ROWS, COUNT, ERASE and TAKE as sql_range's; of SCAN bit 1 has_domain,
 * 2 has_after; of OWNERS bit 1 has_after; of SET and SUM columns is the column. */
void sql_stmt(struct sql_gen *g, const struct mk_table *t, enum sql_stmt kind, uint32_t bits,
	uint32_t columns);

#endif
