/*
 * test/plugins/descriptor.h - the entry of a plugin that is not as it should be
 *
 * MK_PLUGIN writes a right one; here each field is the test's to give.
 */
#ifndef TEST_PLUGINS_DESCRIPTOR_H
#define TEST_PLUGINS_DESCRIPTOR_H

#include <meerkat/plugin.h>

#define RIGHT_MAGIC .magic = MK_PLUGIN_MAGIC
#define RIGHT_ABI   .abi_major = MK_ABI_MAJOR, .abi_minor = MK_ABI_MINOR
#define RIGHT_SIZE  .size = sizeof(struct mk_plugin)
#define RIGHT_BUILD .build = MK_ABI_BUILD
#define RIGHT       RIGHT_MAGIC, RIGHT_ABI, RIGHT_SIZE, RIGHT_BUILD

#define DESCRIPTOR(...)                                                    \
	MK_API mk_plugin_entry_fn mk_plugin_entry;                             \
	const struct mk_plugin *mk_plugin_entry(uint32_t core_abi)             \
	{                                                                      \
		static const struct mk_plugin plugin = { __VA_ARGS__,              \
			.version = "1.0", .summary = "Made for tests." };              \
		(void)core_abi;                                                    \
		return &plugin;                                                    \
	}

#endif
