/*
 * meerkat/claim.h - addresses that are no accounts: service domains, and what
 * lives there (rooms, nodes, gateways)
 *
 * A plugin claims "conference.@HOST@" and is from then on the end of the road
 * for every stanza to conference.example.org, and to each address at it, for
 * every domain of its host type. An address there is an entity without a
 * socket: it has a home worker, where its stanzas run one after the other; its
 * state is an entity slot.
 */
#ifndef MK_CLAIM_H
#define MK_CLAIM_H

#include <meerkat/hook.h>
#include <meerkat/iq.h>

MK_BEGIN_DECLS

struct mk_claim {
	uint32_t size;
	const char *host;              /* "LABEL.@HOST@", LABEL may have dots;
	                                * borrowed for the instance's life      */
	/*
	 * Every stanza for such an address, at the home of ev->to's bare JID, where
	 * ev->entity is open (it ends again afterwards unless a slot or mk_entity_keep
	 * keeps it); to the service itself (no localpart): at the sender's home,
	 * ev->entity NULL. Not IQ requests that an IQ handler of this instance takes
	 * (MK_IQ_SERVICE, MK_IQ_ROOM), and not answers to mk_iq_ask. May go on in a
	 * job (mk_ev_job, mk_ev_job_then), which holds the entity. What comes from
	 * outside has a 'from' that is true; its payload is anybody's.
	 *
	 * MK_DONE, MK_DROP: seen to. MK_FAIL: the core answers ev->error. MK_NEXT:
	 * the core answers requests and messages with service-unavailable.
	 */
	enum mk_verdict (*stanza)(struct mk_inst *i, struct mk_ev_stanza *ev);
};
/*
 * From start(); c is copied. -MK_EINVAL: host is not such a pattern. Two plugins
 * of one host type that claim the same one: the second does not start. A domain
 * that is configured under the very name goes before a claim.
 */
MK_API int mk_claim_add(struct mk_inst *i, const struct mk_claim *c);
/* Whether mk_claim_add would take it: for a plugin's check(). */
MK_API bool mk_claim_host_ok(const char *host);

/*
 * The domain that an address of a claim belongs to ("example.org" of
 * room@conference.example.org): what tables of the service have as their first
 * column, so that the domain's removal takes them along. {NULL, 0} if the
 * address is not claimed, or its domain not enabled. Borrowed from j. Any thread.
 */
MK_API struct mk_str mk_claim_domain(const struct mk_jid *j);
/* The other way: the address of a claimed host ("LABEL.@HOST@") for a domain; a
 * reference. -MK_EJID if that would be too long. Any thread. */
MK_API int mk_claim_address(const char *host, struct mk_str domain, struct mk_jid **out);

MK_END_DECLS
#endif
