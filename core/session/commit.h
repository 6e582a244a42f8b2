/*
 * session/commit.h - acknowledged when the database has it (durability 'commit')
 *
 * A session's stanzas whose rows are not durable yet, in their order. A stanza is over
 * when it was delivered (or refused) and every row that was appended for it on the way
 * is written: its last ticket (xml/stanza.h). The session's home worker.
 */
#ifndef MK_SESSION_COMMIT_H
#define MK_SESSION_COMMIT_H

#include "base/list.h"
#include "xml/stanza.h"

struct mk_session;
struct mk_commit { uint32_t count; struct mk_stanza *stanza; };
struct mk_commits {
	struct mk_session *session;
	struct mk_commit *v;           /* a ring                                */
	uint32_t head, n, cap;
	struct mk_list node;           /* in tables.committing (with a ref of the
	                                * session)                              */
	bool is_waiting;
};

/* original (takes a reference) is the session's stanza number count. */
void mk_commits_add(struct mk_commits *c, uint32_t count, struct mk_stanza *original);
/* durable, or less if an earlier stanza is not over. */
uint32_t mk_commits_reached(struct mk_commits *c, uint32_t durable);
/* mk_session_again is called when one of them is over, if there are any. */
void mk_commits_wait(struct mk_commits *c);
void mk_commits_end(struct mk_commits *c);
/* Calls, on its worker, of a new worker's tables. */
void mk_commits_worker_init(struct mk_worker *w);
void mk_commits_worker_fini(struct mk_worker *w);

#endif
