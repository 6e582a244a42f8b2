/*
 * net/shaper.h - token buckets for bytes and stanzas
 */
#ifndef MK_NET_SHAPER_H
#define MK_NET_SHAPER_H

#include <meerkat/types.h>

struct mk_shaper {
	int64_t tokens;                /* millitokens left; < 0 = in debt       */
	mk_usec last;
	uint32_t rate;                 /* per second; 0 = unlimited             */
	uint32_t burst;
};
/* Full at first. rate 0 = unlimited; burst 0 = one second's worth. */
void mk_shaper_init(struct mk_shaper *s, uint32_t rate, uint32_t burst);
/* Takes n, into debt if need be: it has happened already. now is monotonic.
 * How long (usec) to wait before reading on until the debt is paid; 0 = go on. */
int64_t mk_shaper_take(struct mk_shaper *s, uint32_t n, mk_usec now);

#endif
