/*
 * meerkat/server.h - the server as a whole, for who tells others about it
 */
#ifndef MK_SERVER_H
#define MK_SERVER_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

/* All metrics as OpenMetrics text (what `meerkatctl metrics` prints), in a. Takes
 * a while: jobs only. */
MK_API struct mk_str mk_metrics_write(struct mk_arena *a);
/* Whether people can log in: it listens, is not stopping, and every storage
 * backend is healthy. If not, *why_out (not NULL) is a short text. Any thread. */
MK_API bool mk_server_is_ready(const char **why_out);
MK_API const char *mk_server_version(void);

MK_END_DECLS
#endif
