/*
 * route/claim.h - whose an address is that is no account's
 */
#ifndef MK_ROUTE_CLAIM_H
#define MK_ROUTE_CLAIM_H

#include "domain/domain.h"

struct mk_claim_at {
	const struct mk_claim_entry *claim;    /* of dispatch                       */
	const struct mk_dispatch *dispatch;    /* borrowed until the callback ends  */
	struct mk_domain *domain;
};
/* false: nobody's. Enabled domains only. Any thread. */
bool mk_claim_find(const struct mk_jid *j, struct mk_claim_at *out);
/* The domain above the address, whether enabled and claimed or not, or NULL. */
struct mk_domain *mk_claim_parent(const struct mk_jid *j);

#endif
