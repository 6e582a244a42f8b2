/*
 * base/log.h - where log lines go (public half: meerkat/log.h)
 */
#ifndef MK_BASE_LOG_H
#define MK_BASE_LOG_H

#include <meerkat/log.h>
#include <meerkat/types.h>
#include "base/buf.h"

enum mk_log_format { MK_LOG_LOGFMT, MK_LOG_JSON };
/* path NULL = stderr (with <N> priority prefixes if it is the journal,
 * $JOURNAL_STREAM). -MK_EIO if it can't be opened: the old one stays. */
int  mk_log_open(const char *path, enum mk_log_format format, enum mk_level level);
int  mk_log_reopen(void);                      /* after logrotate           */
void mk_log_set_level(enum mk_level l);
enum mk_level mk_log_level(void);
/* Called by mk_log for fields that go with every line of this thread, and
 * for what an instance adds (type=, plugin=). Set once by the core. */
typedef void mk_log_context_fn(const struct mk_inst *i, struct mk_buf *fields);
void mk_log_set_context(mk_log_context_fn *fn);
/* "key=value" appended, quoted if needed. */
void mk_log_field(struct mk_buf *fields, const char *key, struct mk_str value);
/* Lines for tests: fn gets each finished line instead of the file; NULL ends it. */
void mk_log_capture(void (*fn)(const char *line, size_t n));

#endif
