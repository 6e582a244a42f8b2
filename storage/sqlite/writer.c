/*
 * sqlite/writer.c - waiting writes become one transaction
 *
 * A commit costs an fdatasync however much is in it. The first caller to come
 * leads: it takes all requests that wait (its own among them), runs them one
 * after the other on the writer connection, commits once, and tells each its
 * own result. Who came meanwhile waits; the first of them leads next. So a
 * lone write costs no switch of threads, and a hundred cost one sync.
 */
#include "sqlite.h"

static bool is_fine(enum mk_store_status s)
{
	return s == MK_STORE_OK || s == MK_STORE_NOTFOUND;
}

static void fail_all(struct request *first, enum mk_store_status s)
{
	for (struct request *r = first; r != NULL; r = r->next)
		r->status = s;
}

/* Runs r alone within the transaction; false: the transaction is lost. */
static bool run_one(struct mk_backend_conn *w, struct request *r)
{
	int rc = r->one_statement ? SQLITE_OK : conn_exec(w, "SAVEPOINT r");

	if (rc != SQLITE_OK) {
		status_of(w, rc);
		return false;
	}
	r->status = r->run(w, r);
	/* Some errors (a full disk) roll everything back by themselves. */
	if (sqlite3_get_autocommit(w->h))
		return false;
	if (r->one_statement)
		return true;
	if (!is_fine(r->status) && conn_exec(w, "ROLLBACK TO r") != SQLITE_OK)
		return false;
	return conn_exec(w, "RELEASE r") == SQLITE_OK;
}

static void run_all(struct mk_backend_db *db, struct request *first)
{
	struct mk_backend_conn *w = &db->writer;
	bool kept = true;

	if (w->h == NULL && conn_init(w, db, true) < 0) {
		fail_all(first, MK_STORE_RETRY);
		return;
	}
	int rc = conn_exec(w, "BEGIN IMMEDIATE");
	if (rc != SQLITE_OK) {
		status_of(w, rc);
		fail_all(first, MK_STORE_RETRY);
		conn_fini(w);
		return;
	}
	for (struct request *r = first; r != NULL && kept; r = r->next)
		kept = run_one(w, r);
	if (kept) {
		rc = conn_exec(w, "COMMIT");
		if (rc == SQLITE_OK)
			return;
		status_of(w, rc);
	}
	/* What a request learned may rest on one before it that is undone now:
	 * all must try again. Only if the last sync failed nobody can say what
	 * a restart would find. */
	bool uncertain = kept && (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC);
	fail_all(first, uncertain ? MK_STORE_UNCERTAIN : MK_STORE_RETRY);
	if (!sqlite3_get_autocommit(w->h))
		conn_exec(w, "ROLLBACK");
	conn_fini(w);
}

enum mk_store_status write_submit(struct mk_backend_conn *c, struct request *r)
{
	struct mk_backend_db *db = c->db;

	r->next = NULL;
	r->wake = &c->wake;
	r->done = r->leads = false;
	pthread_mutex_lock(&db->lock);
	*db->last = r;
	db->last = &r->next;
	while (db->is_led && !r->done && !r->leads)
		pthread_cond_wait(r->wake, &db->lock);
	if (r->done) {
		pthread_mutex_unlock(&db->lock);
		return r->status;
	}
	db->is_led = true;
	struct request *all = db->first;
	db->first = NULL;
	db->last = &db->first;
	pthread_mutex_unlock(&db->lock);

	run_all(db, all);

	pthread_mutex_lock(&db->lock);
	for (struct request *x = all, *next; x != NULL; x = next) {
		next = x->next;        /* x's stack is its caller's again once done */
		x->done = true;
		if (x != r)
			pthread_cond_signal(x->wake);
	}
	if (db->first != NULL) {
		db->first->leads = true;
		pthread_cond_signal(db->first->wake);
	} else {
		db->is_led = false;
	}
	pthread_mutex_unlock(&db->lock);
	return r->status;
}
