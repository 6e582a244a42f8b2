/*
 * jid/jid_fuzz.c - any bytes as an address: what is taken is prepared for good
 */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "jid/jid.h"
#include "jid/prep.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct mk_str s = { (const char *)p, n }, part;
	struct mk_jid *j, *again, *made, *bare;

	if (mk_jid_parse(s, &j) < 0)
		return 0;
	mk_assert(mk_utf8_valid(j->text, j->full_n) && strlen(j->text) == j->full_n);
	part = mk_jid_domain(j);
	mk_assert(part.n > 0 && part.n <= MK_JID_PART_MAX && memchr(part.p, '@', part.n) == NULL &&
		memchr(part.p, '/', part.n) == NULL && mk_jid_local(j).n <= MK_JID_PART_MAX &&
		mk_jid_resource(j).n <= MK_JID_PART_MAX);
	/* Read again, or made of its parts, it is the same. */
	mk_assert(mk_jid_parsez(mk_jid_full(j), &again) == 0 && mk_jid_eq(j, again));
	mk_assert(mk_jid_make(mk_jid_local(j), part, mk_jid_resource(j), &made) == 0 &&
		mk_jid_eq(j, made));
	bare = mk_jid_to_bare(j);
	mk_assert(mk_jid_bare_eq(bare, j) && mk_jid_is_bare(bare));
	mk_jid_unref(&bare);
	mk_jid_unref(&made);
	mk_jid_unref(&again);
	mk_jid_unref(&j);
	return 0;
}
