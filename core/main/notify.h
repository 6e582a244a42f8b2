/*
 * main/notify.h - telling the service manager
 */
#ifndef MK_MAIN_NOTIFY_H
#define MK_MAIN_NOTIFY_H

/* "READY=1" ...; nothing happens without $NOTIFY_SOCKET; lost if that is not
 * read for 100 ms. Any thread. */
void mk_notify(const char *state);
void mk_notify_reloading(void);

#endif
