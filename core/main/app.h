/*
 * main/app.h - the running server: what main, the control socket and signals do
 *
 * The main thread owns configuration, modules and instances. Others ask for
 * its work by mk_main_call.
 */
#ifndef MK_MAIN_APP_H
#define MK_MAIN_APP_H

#include "conf/config.h"
#include "plugin/dispatch.h"
#include "tls/tls.h"

/* Reads the configuration and starts everything, or says in d why not (and
 * leaves nothing running). 0, -MK_E..., or 1: while it waited for storage a stop
 * was asked for, and nothing runs. */
int  mk_app_start(const char *conf_path, struct mk_diag *d);
/* Checks a configuration with its plugins' schemas and check()s, starting
 * nothing: all problems in d. */
int  mk_app_check(const char *conf_path, struct mk_diag *d);
/* Signals and calls, until an orderly stop is asked for. */
void mk_app_run(void);
void mk_app_stop(void);

/* Asks the main thread to end mk_app_run. Any thread, signal handlers too. */
void mk_app_quit(void);
/* fn(arg) on the main thread; waits for it. From jobs and ctl threads. false:
 * the server is stopping, fn did not run. */
bool mk_main_call(void (*fn)(void *arg), void *arg);

/* ---- main thread ------------------------------------------------------------- */

/* What would change, and with dry_run false, the change. Lines as in
 * mk_config_diff. -MK_E..., told in d: with lines, the change was made but for
 * what failed (a plugin that did not start, a port in use); without, nothing
 * has changed. */
int  mk_app_reload(bool dry_run, struct mk_diag *d,
	void (*line)(void *arg, const char *setting, const char *from, const char *to,
	             const char *need), void *arg);
/* The module of that name, loaded if it isn't. */
int  mk_app_module(const char *name, struct mk_module **out, struct mk_diag *d);
/* One plugin on one host type (NULL: every type that names it). */
int  mk_app_plugin_start(const char *name, const char *type, struct mk_diag *d);
int  mk_app_plugin_stop(const char *name, const char *type, struct mk_diag *d);
/* Stop, load the file anew, start. */
int  mk_app_plugin_reload(const char *name, struct mk_diag *d);
/* Also from jobs, until they return. */
const struct mk_config *mk_app_config(void);
struct mk_tls_store *mk_app_tls(void);
mk_usec mk_app_started(void);          /* monotonic                         */
void mk_app_reopen_log(void);

#endif
