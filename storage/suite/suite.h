/*
 * suite/suite.h - what the suite must know of the backend it proves
 */
#ifndef SUITE_SUITE_H
#define SUITE_SUITE_H

#include <meerkat/plugin.h>
#include <meerkat/backend.h>

struct suite_target {
	mk_plugin_entry_fn *entry;     /* of the plugin, linked in              */
	/* Settings of an empty database that belongs to dir, an existing empty
	 * folder; with a folder that was used before, of that one's database.
	 * The result stays valid until the next four calls were made. */
	const void *(*conf)(const char *dir);
	/* Waits until nothing is under way that a process sent before it was
	 * killed; NULL where that ends with the process. */
	void (*settle)(void);
};
/* Defined by the backend's own file. */
extern const struct suite_target suite_target;

#endif
