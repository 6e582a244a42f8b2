/*
 * domain/domain.h - domains: rows that point at a host type
 *
 * Read by every worker for every stanza, without a lock: a hash table of
 * pointers published as it grows, freed after quiescence. Written by the main
 * thread. Static ones come from the configuration; dynamic ones are kept in the
 * table "domain" and are effective at once.
 */
#ifndef MK_DOMAIN_DOMAIN_H
#define MK_DOMAIN_DOMAIN_H

#include "plugin/dispatch.h"
#include "jid/jid.h"

struct mk_domain {
	_Atomic(struct mk_host_type *) type;   /* another when it is added again */
	struct mk_jid *jid;            /* the domain as a JID                   */
	uint64_t hash;                 /* mk_hash_bytes of the name             */
	_Atomic bool enabled;
	_Atomic bool is_static;
	_Atomic bool is_removed;       /* the row stays, for entities that have it */
};

/* An enabled domain, borrowed until the callback ends, or NULL. Any thread. */
struct mk_domain *mk_domain_find(const char *name, size_t n);
struct mk_domain *mk_domain_of(const struct mk_jid *j);
/* Also disabled ones. */
struct mk_domain *mk_domain_find_any(const char *name, size_t n);

/* -MK_EEXIST, -MK_ENOENT (type), -MK_EJID. Main thread: host types are its. */
int  mk_domain_add(struct mk_str name, const char *type, bool is_static, bool enabled);
int  mk_domain_remove(struct mk_str name);
int  mk_domain_enable(struct mk_str name, bool enabled);
/* Ends the domain's sessions (host-gone). Not from a worker. */
void mk_domain_shut(struct mk_str name);
uint32_t mk_domain_count(void);
/* In no order; of those added meanwhile, some. false stops. From a job (the
 * table may grow under another thread's feet) or the main thread. */
void mk_domain_each(bool (*fn)(struct mk_domain *d, void *arg), void *arg);

/* The table that keeps dynamic ones, and reading it at start. */
extern const struct mk_table mk_domain_table;
int  mk_domains_load(struct mk_store *st);

#endif
