/*
 * base/log.h - where log lines go (public half: meerkat/log.h)
 *
 * A line is written by one write(), so that lines of several threads, or of
 * several processes, don't mix. A value is cut after MK_LOG_VALUE_MAX bytes;
 * what can't be shown as text is escaped (\n, \xNN; in JSON \u00NN, and what
 * isn't UTF-8 becomes U+FFFD).
 */
#ifndef MK_BASE_LOG_H
#define MK_BASE_LOG_H

#include <meerkat/log.h>
#include <meerkat/types.h>
#include "base/buf.h"

#define MK_LOG_VALUE_MAX 2048

enum mk_log_format { MK_LOG_LOGFMT, MK_LOG_JSON };
/* path NULL = stderr (with <N> priority prefixes if it is the journal,
 * $JOURNAL_STREAM). -MK_EIO if it can't be opened: the old one stays. Main
 * thread. Before it, lines go to stderr, from MK_INFO, as logfmt. */
int  mk_log_open(const char *path, enum mk_log_format format, enum mk_level level);
int  mk_log_reopen(void);                      /* after logrotate           */
void mk_log_set_level(enum mk_level l);
enum mk_level mk_log_level(void);
/* Where lines go now: for what can't use mk_log (a crash). */
int  mk_log_fd(void);
/* "error", "warn", ...; the level of a name or -MK_EINVAL. */
const char *mk_log_level_name(enum mk_level l);
int  mk_log_level_parse(struct mk_str name);
/* Called by mk_log for fields that go with every line of this thread, and
 * for what an instance adds (type=, plugin=); it uses mk_log_field and doesn't
 * log. Set once by the core. */
typedef void mk_log_context_fn(const struct mk_inst *i, struct mk_buf *fields);
void mk_log_set_context(mk_log_context_fn *fn);
/* " key=value" appended, quoted if needed (as JSON: ,"key":"value"). */
void mk_log_field(struct mk_buf *fields, const char *key, struct mk_str value);
/* Lines for tests: fn gets each finished line (no newline, a NUL after it)
 * instead of the file; NULL ends it. One line at a time. */
void mk_log_capture(void (*fn)(const char *line, size_t n));
/* Frees what this thread's lines were made in. By itself at a thread's end. */
void mk_log_thread_end(void);

#endif
