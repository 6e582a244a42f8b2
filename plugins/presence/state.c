/*
 * presence/state.c - the subscription state tables of RFC 6121, Appendix A
 *
 * Pure. The tables come down to what each stanza sets and clears, and to
 * whether there was something to set or clear; state_test.c holds the tables
 * themselves.
 */
#include "presence.h"

static struct step out(enum mk_stanza_type type, uint32_t f)
{
	struct step s = { .flags = f };

	switch (type) {
	case MK_TYPE_SUBSCRIBE:        /* A.2.1 */
		s.passes = true;
		if (!(f & MK_ROSTER_TO))
			s.flags |= MK_ROSTER_ASK;
		break;
	case MK_TYPE_UNSUBSCRIBE:      /* A.2.2 */
		s.passes = true;
		s.flags &= ~(uint32_t)(MK_ROSTER_TO | MK_ROSTER_ASK);
		break;
	case MK_TYPE_SUBSCRIBED:       /* A.2.3; without a request 3.4.2 */
		if (f & MK_ROSTER_PENDING) {
			s.passes = true;
			s.flags = (f & ~(uint32_t)MK_ROSTER_PENDING) | MK_ROSTER_FROM;
		} else if (!(f & MK_ROSTER_FROM)) {
			s.flags |= MK_ROSTER_APPROVED;
		}
		break;
	default:                       /* unsubscribed: A.2.4, 3.2.1, 3.4.2 */
		s.passes = f & (MK_ROSTER_PENDING | MK_ROSTER_FROM);
		s.flags &= ~(uint32_t)(MK_ROSTER_PENDING | MK_ROSTER_FROM | MK_ROSTER_APPROVED);
		break;
	}
	return s;
}

static struct step in(enum mk_stanza_type type, uint32_t f)
{
	struct step s = { .flags = f };

	switch (type) {
	case MK_TYPE_SUBSCRIBE:        /* A.3.1, 3.1.3; 3.4.2 */
		if (f & MK_ROSTER_FROM) {
			s.is_answered = true;
		} else if (f & MK_ROSTER_APPROVED) {
			s.is_answered = true;
			s.flags = (f & ~(uint32_t)MK_ROSTER_PENDING) | MK_ROSTER_FROM;
		} else if (!(f & MK_ROSTER_PENDING)) {
			s.passes = true;
			s.flags |= MK_ROSTER_PENDING;
		}
		break;
	case MK_TYPE_UNSUBSCRIBE:      /* A.3.2 */
		s.passes = f & (MK_ROSTER_PENDING | MK_ROSTER_FROM);
		s.flags &= ~(uint32_t)(MK_ROSTER_PENDING | MK_ROSTER_FROM);
		break;
	case MK_TYPE_SUBSCRIBED:       /* A.3.3 */
		if (f & MK_ROSTER_ASK) {
			s.passes = true;
			s.flags = (f & ~(uint32_t)MK_ROSTER_ASK) | MK_ROSTER_TO;
		}
		break;
	default:                       /* unsubscribed: A.3.4 */
		s.passes = f & (MK_ROSTER_TO | MK_ROSTER_ASK);
		s.flags &= ~(uint32_t)(MK_ROSTER_TO | MK_ROSTER_ASK);
		break;
	}
	return s;
}

struct step subscription_step(enum way way, enum mk_stanza_type type, uint32_t flags)
{
	return way == OUTBOUND ? out(type, flags) : in(type, flags);
}
