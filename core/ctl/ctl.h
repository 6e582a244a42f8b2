/*
 * ctl/ctl.h - the control socket and the table of commands
 */
#ifndef MK_CTL_CTL_H
#define MK_CTL_CTL_H

#include <meerkat/command.h>
#include <meerkat/conf.h>

/*
 * Listens on a unix socket (mode 0600; peers of uid 0 or our own, by
 * SO_PEERCRED) with a thread of its own, and runs commands on a pool of its
 * own, whose threads have a struct mk_store. A socket that nobody answers at is
 * replaced. 0, or after a line in d -MK_EINVAL (path too long), -MK_ECONFLICT
 * (another server, or a file, is there), -MK_EIO. Main thread, after stores.
 */
int  mk_ctl_start(const char *socket_path, struct mk_diag *d);
/* Commands at work are finished and answered. Main thread, which then serves no
 * mk_main_call; before stores close. */
void mk_ctl_stop(void);

/* Calls fn for every command: the core's, then those of loaded modules that
 * have an instance. The one list that front ends are made from. inst is NULL
 * for the core's own. Main thread. */
void mk_commands_each(bool (*fn)(void *arg, const struct mk_command *c,
	struct mk_inst *inst), void *arg);

#endif
