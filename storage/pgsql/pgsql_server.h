/*
 * pgsql/pgsql_server.h - a PostgreSQL server of a test program's own
 *
 * Made in a folder under /tmp, without TCP; ends and goes with the program,
 * however that ends. MEERKAT_POSTGRES_BIN names the folder of its programs,
 * where they aren't found by themselves. One at a time; main thread.
 */
#ifndef PGSQL_PGSQL_SERVER_H
#define PGSQL_PGSQL_SERVER_H

#include <stdbool.h>
#include <libpq-fe.h>
#include "pgsql.h"

/* Starts it, and ends the program with status 77 (skipped) after a message if
 * there is none to start. sync: with fsync. The folder of its socket. */
const char *server_start(bool sync);
/* Stops (mode SIGINT: orderly, SIGQUIT: as if it crashed), starts again. */
void server_stop(int mode);
void server_restart(void);
/* Sends a signal to the server and all its processes. */
void server_signal(int signal);
/* Settings that reach it (role test, which owns everything; no TLS). */
struct pgsql_conf server_conf(const char *schema);
/* Runs a statement there as an administrator; the first field of its answer, or
 * "". Ends the program if that fails. Valid until the next call. */
const char *server_run(const char *sql);
/* Waits until nobody but us is connected as `meerkat`. */
void server_settle(void);

#endif
