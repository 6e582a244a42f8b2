/*
 * meerkat/log.h - one line per event; the core adds domain, session and plugin
 *
 * msg is a constant sentence; values go into fields, so that a log can be
 * searched: mk_log(i, MK_INFO, "offline store is full", "user=%s n=%d", ...).
 * Secrets have no formatter: never pass one.
 */
#ifndef MK_LOG_H
#define MK_LOG_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

enum mk_level { MK_ERROR, MK_WARN, MK_NOTICE, MK_INFO, MK_DEBUG };

/* i may be NULL (the core). fields_fmt NULL or "key=%s key2=%d": values are
 * quoted as needed by the log. Any thread. */
MK_API void mk_log(const struct mk_inst *i, enum mk_level l, const char *msg,
	const char *fields_fmt, ...) __attribute__((format(printf, 4, 5)));
MK_API bool mk_log_enabled(enum mk_level l);

MK_END_DECLS
#endif
