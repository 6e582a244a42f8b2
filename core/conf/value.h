/*
 * conf/value.h - how values are written: numbers with units, words, addresses
 *
 * No state; any thread.
 */
#ifndef MK_CONF_VALUE_H
#define MK_CONF_VALUE_H

#include <meerkat/conf.h>

/* MK_CONF_INT "-5", MK_CONF_DURATION "250ms" "10s" "5m" "2h" "90d" "1w" "0"
 * (milliseconds out), MK_CONF_SIZE "512" "64KB" "1MB" "2GB" "1TB", also "64KiB"
 * and "64K", in any case (bytes out). -MK_EINVAL, -MK_ELIMIT (above 2^63-1). */
int mk_conf_number(int type, struct mk_str s, int64_t *out);
/* yes no true false on off, in any case. */
int mk_conf_bool(struct mk_str s, bool *out);
/* range: "1..100", "1s..1h", "1..", "..10", a single value, or several of those
 * as "0|1s..1h"; NULL = anything. 1, 0, or -MK_EINVAL: the range is nonsense. */
int mk_conf_in_range(int type, const char *range, int64_t v);
/* "a|b|c": the index of w (exact), or -MK_ENOENT. */
int mk_conf_word(const char *words, const char *w);
/* An IPv4 or IPv6 address, with prefix also ADDRESS/BITS. */
bool mk_conf_is_addr(const char *s, bool prefix);
/* A name that becomes part of a file name: [a-z][a-z0-9-]*, at most 64. */
bool mk_conf_is_plugin_name(const char *s);
/* "yes or no", "a duration (...)": what a value of that type is, for people. */
const char *mk_conf_type_text(int type);

#endif
