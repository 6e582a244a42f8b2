/*
 * jid/jid.h - the JID's inside (public half: meerkat/jid.h)
 *
 * One allocation: header and "local@domain/resource" with its NUL. The bare
 * JID is a prefix, so a full JID is its own bare one for hashing and lookup.
 * Workers cache recently parsed strings (bounded, both ways of success only).
 */
#ifndef MK_JID_JID_H
#define MK_JID_JID_H

#include <stdatomic.h>
#include <meerkat/jid.h>

struct mk_jid {
	_Atomic uint32_t refs;
	uint16_t local_n;              /* 0 = no localpart                      */
	uint16_t bare_n;               /* bytes before '/' or all               */
	uint16_t full_n;
	uint64_t bare_hash;            /* mk_hash_bytes of the bare JID         */
	char text[];
};
static inline uint16_t mk_jid_domain_at(const struct mk_jid *j)
{
	return (uint16_t)(j->local_n != 0 ? j->local_n + 1 : 0);
}
/* Ends this thread's cache; happens by itself when the thread ends. */
void mk_jid_thread_end(void);

#endif
