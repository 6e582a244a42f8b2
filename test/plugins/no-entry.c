/*
 * test/plugins/no-entry.c - a shared object, but no plugin
 */
#include <meerkat/plugin.h>

MK_API int no_entry_at_all(void);
int no_entry_at_all(void) { return 0; }
