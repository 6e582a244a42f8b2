/*
 * jid/prep.h - preparing the parts of an address (RFC 7622 with the profiles
 * of RFC 6122: nodeprep, nameprep, resourceprep)
 *
 * Stateless; any thread. Unassigned code points (Unicode 3.2) are refused, as
 * for all strings that get stored. Preparing what was prepared gives the same
 * bytes: what would not is refused.
 */
#ifndef MK_JID_PREP_H
#define MK_JID_PREP_H

#include <meerkat/types.h>

#define MK_JID_PART_MAX 1023           /* bytes of one part, prepared       */

/*
 * Each writes the prepared bytes to out, which takes MK_JID_PART_MAX bytes,
 * and returns how many: 1 to MK_JID_PART_MAX, or -MK_EJID. s must not overlap
 * out.
 *
 * The domainpart: labels of letters, digits, hyphens and what nameprep leaves
 * of other scripts (A-labels become U-labels), or an IPv6 address in brackets
 * in its shortest form. One final dot is taken off (RFC 7622 3.2).
 */
int mk_prep_local(struct mk_str s, char *out);
int mk_prep_domain(struct mk_str s, char *out);
int mk_prep_resource(struct mk_str s, char *out);

#endif
