/*
 * ctl/ctl.h - the control socket and the table of commands
 */
#ifndef MK_CTL_CTL_H
#define MK_CTL_CTL_H

#include <meerkat/command.h>
#include <meerkat/conf.h>

/* Listens on a unix socket (mode 0600; peers of uid 0 or our own, by
 * SO_PEERCRED) with a thread of its own. Main thread. */
int  mk_ctl_start(const char *socket_path, struct mk_diag *d);
void mk_ctl_stop(void);

/* Calls fn for every command: the core's, then those of loaded modules whose
 * name begins with the plugin's. The one list that front ends are made from.
 * inst is NULL for the core's own. */
void mk_commands_each(bool (*fn)(void *arg, const struct mk_command *c,
	struct mk_inst *inst), void *arg);

#endif
