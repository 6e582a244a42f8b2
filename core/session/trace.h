/*
 * session/trace.h - which handler said what of the stanzas of a JID
 *
 * `meerkatctl trace JID` sets the bare JID; every verdict on a stanza from or
 * to it becomes a log line at level notice. Off, it costs one load.
 */
#ifndef MK_SESSION_TRACE_H
#define MK_SESSION_TRACE_H

#include "session/session.h"

extern _Atomic bool mk_tracing;
/* Bare JID text, or NULL to end it. Any thread. */
void mk_trace_set(const char *bare);
void mk_trace_verdict(const struct mk_event *e, const struct mk_inst *i, enum mk_verdict v);

#endif
