/*
 * meerkat/store.h - declared tables
 *
 * A plugin declares tables; whichever backend the operator chose keeps them.
 * Every call but mk_append blocks until the backend has made it durable, is
 * atomic by itself, and needs the struct mk_store * that only a job has.
 */
#ifndef MK_STORE_H
#define MK_STORE_H

#include <meerkat/hook.h>

MK_BEGIN_DECLS

enum mk_type { MK_TEXT = 1, MK_INT, MK_BLOB };     /* MK_INT is int64_t   */
enum mk_column_flag {
	MK_COL_PARTITION = 1,          /* rows of one partition live together;
	                                * its first column is the domain        */
	MK_COL_SORT = 2,               /* order inside the partition; the whole
	                                * of PARTITION and SORT is the key      */
	MK_COL_INDEX = 4,              /* may be filtered on (with SORT order)  */
	MK_COL_SEARCH = 8,             /* free text search                      */
	MK_COL_NULL = 16,              /* may be absent                         */
	MK_COL_UNIQUE = 32,            /* within the domain                     */
	MK_COL_FILTER = 64,            /* may be filtered on, without an index: for
	                                * what is looked for in short ranges    */
};
struct mk_column { const char *name; uint16_t type, flags; };
enum mk_table_flag {
	MK_TABLE_OWNED = 1,            /* partition is (domain, user, ...): rows
	                                * are exported and erased with the user */
	MK_TABLE_SECRET = 2,           /* left out of exports (credentials)     */
	/* since 1.1: the one SORT column is INT and an id of mk_uid's kind, so the
	 * time is in it: a backend may keep rows in pieces by time, and mk_expire
	 * lets the old go. No column may be UNIQUE.                               */
	MK_TABLE_TIME = 4,
};
struct mk_value;
struct mk_table_link;
struct mk_table {
	uint32_t size, version;        /* version: of this declaration          */
	const char *name;              /* [a-z][a-z0-9_]*, one in the process   */
	const struct mk_column *columns;           /* PARTITION first, then SORT,
	                                * then the rest; ends with name == NULL */
	uint32_t flags;                /* enum mk_table_flag                    */
	const struct mk_table_link *link;    /* since 1.1; or NULL                    */
	/*
	 * Since 1.1, of a table that is not OWNED and whose partition is the domain:
	 * an INDEX column of TEXT that holds a bare JID, or NULL. Rows that have a
	 * user of the same domain there are exported and erased with the user.
	 */
	const char *user;
};
/*
 * Rows of an OWNED table that lead to another row of the same table, in which what they
 * share is stored: a message in two archives. An exported row stands alone; before a row
 * is erased, the one that leads to it takes over what it needs. row is whole; values put
 * into a key or a row may point into the others.
 */
struct mk_table_link {
	uint32_t size;
	/* Where row leads; false: it stands alone. */
	bool (*key)(const struct mk_value *row, struct mk_value *key_out);
	/* The key of the row that may lead to this one; false: none can. */
	bool (*back)(const struct mk_value *row, struct mk_value *key_out);
	/* Lets row, a copy of one that leads to held, stand alone. */
	void (*take)(struct mk_value *row, const struct mk_value *held);
};

enum mk_store_status {
	MK_STORE_OK = 0,
	MK_STORE_NOTFOUND,             /* an answer, not a failure              */
	MK_STORE_CONFLICT,             /* insert-only, if-version or UNIQUE refused */
	MK_STORE_RETRY,                /* backend away; nothing was written     */
	MK_STORE_UNCERTAIN,            /* lost it mid-write; may have happened  */
	MK_STORE_INVALID,              /* the caller's mistake                  */
};

/* One value per column, in the order of the declaration; type 0 = absent. */
struct mk_value {
	uint8_t type;                  /* enum mk_type                          */
	union { int64_t i; struct { const void *p; size_t n; } b; } as;
};
static inline struct mk_value mk_text(struct mk_str s)
{
	struct mk_value v;
	v.type = MK_TEXT;
	v.as.b.p = s.n != 0 ? s.p : "";
	v.as.b.n = s.n;
	return v;
}
static inline struct mk_value mk_textz(const char *z) { return mk_text(mk_strz(z)); }
static inline struct mk_value mk_int(int64_t i)
{
	struct mk_value v;
	v.type = MK_INT;
	v.as.i = i;
	return v;
}
static inline struct mk_value mk_blob(const void *p, size_t n)
{
	struct mk_value v;
	v.type = MK_BLOB;
	v.as.b.p = p;
	v.as.b.n = n;
	return v;
}
static inline struct mk_value mk_absent(void)
{
	struct mk_value v;
	memset(&v, 0, sizeof v);
	return v;
}
static inline struct mk_str mk_value_str(const struct mk_value *v)
{
	struct mk_str s = { NULL, 0 };
	if (v->type == MK_TEXT || v->type == MK_BLOB) {
		s.p = (const char *)v->as.b.p;
		s.n = v->as.b.n;
	}
	return s;
}

/* version: grows with each write of the row, never 0; one that is deleted and
 * made again gets one it never had. */
struct mk_row { const struct mk_value *v; uint32_t n; uint64_t version; };
struct mk_rows { const struct mk_row *row; uint32_t n; bool more; };

/* A range of one partition. after and before are exclusive bounds: values of
 * all SORT columns; NULL = open. equals: a row in which present values of
 * INDEX and FILTER columns must match, or NULL. */
struct mk_range {
	uint32_t size;
	const struct mk_value *after, *before;
	const struct mk_value *equals;
	const char *search;            /* words (letters, digits): a row matches
	                                * in which each occurs in some SEARCH
	                                * column, whatever the case; no word at
	                                * all is INVALID                        */
	uint32_t limit;                /* 0 = 100; at most 10000                */
	bool backward;
};

#define MK_ANY UINT64_MAX
#define MK_NEW UINT64_C(0)

/* Rows handed out live in the job's arena, until the job ends. key: values of
 * the key columns. */
MK_API enum mk_store_status mk_get(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, struct mk_row *row_out);
/* n keys (at most 1000) in one call; the v of a row that isn't there is NULL. */
MK_API enum mk_store_status mk_get_many(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *const *keys, uint32_t n, struct mk_row *rows_out);
/* expect: MK_ANY (insert or replace), MK_NEW (insert only), or a version. */
MK_API enum mk_store_status mk_put(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *row, uint64_t expect);
/* Adds n to an INT column of the row, made (other columns absent, 0 or empty
 * for what may not be) if it is not there; the sum. INVALID if it overflows:
 * nothing changes. */
MK_API enum mk_store_status mk_add(struct mk_store *st, const struct mk_table *t,
	const struct mk_value *key, const char *column, int64_t n, int64_t *sum_out);
/* NOTFOUND if it wasn't there. */
MK_API enum mk_store_status mk_delete(struct mk_store *st,
	const struct mk_table *t, const struct mk_value *key);
MK_API enum mk_store_status mk_query(struct mk_store *st,
	const struct mk_table *t, const struct mk_value *partition,
	const struct mk_range *r, struct mk_rows *rows_out);
/* Rows that match r; counting ends at r->limit (here 0 = never). */
MK_API enum mk_store_status mk_count_rows(struct mk_store *st,
	const struct mk_table *t, const struct mk_value *partition,
	const struct mk_range *r, uint64_t *count_out);
/* Reads and deletes; not for what a peer has yet to acknowledge. */
MK_API enum mk_store_status mk_take(struct mk_store *st,
	const struct mk_table *t, const struct mk_value *partition,
	const struct mk_range *r, struct mk_rows *rows_out);
/* Deletes what matches r (the first r->limit of them; here 0 = all), or with r
 * NULL the partition; how many. */
MK_API enum mk_store_status mk_delete_range(struct mk_store *st,
	const struct mk_table *t, const struct mk_value *partition,
	const struct mk_range *r, uint64_t *count_out);

/*
 * Retention (since 1.1): a step of a walk that deletes the rows of a TIME table, of
 * all partitions, whose id is below before. The caller fills it in, and calls until
 * there is no more; what after then points to is in the job's arena, so that between
 * jobs the caller keeps a copy.
 */
struct mk_expiry {
	uint32_t size;
	int64_t before;                /* see mk_uid_at                         */
	/* Whether rows of a domain are to go; NULL = of all. Called in the job. */
	bool (*wanted)(void *arg, struct mk_str domain);
	void *arg;
	const struct mk_value *after;  /* NULL, or what the last step left here:
	                                * values of the PARTITION columns, behind
	                                * which it goes on                      */
	bool more;                     /* out: there are steps left             */
	uint64_t rows;                 /* out: how many went; of pieces that went
	                                * as a whole, about                     */
};
/*
 * Bounded: a step takes about as long as deleting 20,000 rows. Backends with pieces by
 * time let go those that are older as a whole, of whatever size, at once, and only
 * search the one that before falls into; others walk over all partitions. Rows that
 * are appended meanwhile may stay until the next walk. RETRY and UNCERTAIN: e->after is
 * as it was, and the step may be made again. INVALID: not a TIME table.
 */
MK_API enum mk_store_status mk_expire(struct mk_store *st, const struct mk_table *t,
	struct mk_expiry *e);

/* All rows of a domain, in key order, for administration: after is a whole
 * key or NULL. domain.n 0 = all domains. */
MK_API enum mk_store_status mk_scan(struct mk_store *st, const struct mk_table *t,
	struct mk_str domain, const struct mk_value *after, uint32_t limit,
	struct mk_rows *rows_out);

/* Several writes to one partition (its values; of one or more tables of one
 * backend), in order, in one transaction: all or nothing. Deleting what isn't
 * there is no failure. At most 10000.
 * On MK_STORE_CONFLICT *failed_out (may be NULL) is the index that refused. */
enum mk_write_op { MK_WRITE_PUT = 1, MK_WRITE_DELETE };
struct mk_write {
	uint32_t op;
	const struct mk_table *table;
	const struct mk_value *row;    /* MK_WRITE_DELETE: the key              */
	uint64_t expect;               /* MK_WRITE_PUT                          */
};
MK_API enum mk_store_status mk_batch(struct mk_store *st, const struct mk_write *w,
	uint32_t n, uint32_t *failed_out);

/* Scratch memory of the job. */
MK_API struct mk_arena *mk_store_arena(struct mk_store *st);

/* From inline code: queues the row for the batch writer. It can't fail: while
 * the queue is full, no more is read from those who send. The stanza's journal
 * record lives until the row is durable. The same key twice is once. */
MK_API void mk_append(struct mk_inst *i, const struct mk_ev_stanza *ev,
	const struct mk_table *t, const struct mk_value *row);

/* How far mk_append got for t's backend, and, in a job, a wait until that much is
 * durable: RETRY after 10 s, or while the backend is away. So a reader sees what was
 * appended before. The mark may be kept and waited for any time later. */
MK_API uint64_t mk_append_mark(const struct mk_table *t);
MK_API enum mk_store_status mk_append_wait(struct mk_store *st,
	const struct mk_table *t, uint64_t mark);

/* RFC 6120 condition for a status that is a failure: internal-server-error
 * (type wait in the answer) ... */
MK_API uint16_t mk_store_error(enum mk_store_status s);

MK_END_DECLS
#endif
