/*
 * meerkat/jid.h - addresses (RFC 7622, prepared by the stringprep profiles)
 *
 * A JID is prepared when it is made, immutable and counted; any thread may
 * read it. Compare with mk_jid_eq, never by pointer.
 */
#ifndef MK_JID_H
#define MK_JID_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

/*
 * Parses and prepares localpart@domainpart/resourcepart. Any thread (workers
 * keep a cache of recent ones). *out takes a reference. -MK_EJID if a part is
 * empty, longer than 1023 bytes, or refused by nodeprep, nameprep or
 * resourceprep.
 */
MK_API int mk_jid_parse(struct mk_str s, struct mk_jid **out);
MK_API int mk_jid_parsez(const char *z, struct mk_jid **out);
/* From parts that still need preparing; local and resource may be empty. */
MK_API int mk_jid_make(struct mk_str local, struct mk_str domain,
                       struct mk_str resource, struct mk_jid **out);

MK_API struct mk_jid *mk_jid_ref(const struct mk_jid *j);
MK_API void mk_jid_unref(struct mk_jid **j);

/* The whole address, NUL-terminated, borrowed. */
MK_API const char *mk_jid_full(const struct mk_jid *j);
MK_API struct mk_str mk_jid_bare(const struct mk_jid *j);      /* not NUL-term. */
MK_API struct mk_str mk_jid_local(const struct mk_jid *j);     /* n 0 = none  */
MK_API struct mk_str mk_jid_domain(const struct mk_jid *j);
MK_API struct mk_str mk_jid_resource(const struct mk_jid *j);  /* n 0 = none  */
MK_API bool mk_jid_is_bare(const struct mk_jid *j);
MK_API bool mk_jid_eq(const struct mk_jid *a, const struct mk_jid *b);
MK_API bool mk_jid_bare_eq(const struct mk_jid *a, const struct mk_jid *b);
/* The bare JID of j as a JID of its own: a new reference. */
MK_API struct mk_jid *mk_jid_to_bare(const struct mk_jid *j);
MK_API struct mk_jid *mk_jid_to_domain(const struct mk_jid *j);
/* j's bare JID with this resource, which still needs preparing; -MK_EJID. */
MK_API int mk_jid_with_resource(const struct mk_jid *j, struct mk_str resource,
                                struct mk_jid **out);

MK_END_DECLS
#endif
