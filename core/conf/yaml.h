/*
 * conf/yaml.h - files into one tree of nodes
 *
 * The subset of YAML that says what it means: no anchors, aliases, tags or
 * second documents; keys are text, each once in a map. Files are at most
 * MK_YAML_FILE_MAX bytes, nested at most MK_YAML_DEPTH_MAX deep.
 *
 * ${NAME} in any scalar is the variable of the environment, ${NAME:-text} has
 * a default for one that is unset or empty, $${ is a plain ${.
 */
#ifndef MK_CONF_YAML_H
#define MK_CONF_YAML_H

#include "conf/node.h"

#define MK_YAML_FILE_MAX  (4 << 20)
#define MK_YAML_DEPTH_MAX 32

/* One document from memory; file is its name in messages and nodes (kept:
 * copied into the arena). An empty one is an empty map. -MK_EINVAL with all
 * mistakes in d; after a syntax error what follows isn't looked at. */
int mk_yaml_parse(const char *file, struct mk_str text, struct mk_arena *arena,
	struct mk_diag *d, struct mk_node **out);

/*
 * path, then what its top-level `include: [a.yml, dir/<*>.yml]` names (from the
 * folder of the file that says so, in order; and their includes), then
 * conf.d/<*>.yml beside path. A file is read once, however often it is named.
 * A name without wildcards must exist.
 *
 * What comes later is merged into what was there: maps key by key, the list of
 * listeners is appended to, any other value replaces. An empty value changes
 * nothing (so `roster:` in conf.d enables a plugin and leaves its settings).
 */
int mk_yaml_read(const char *path, struct mk_arena *arena, struct mk_diag *d,
	struct mk_node **out);

/* The merge alone; over's nodes become base's. Both are maps of one arena. */
void mk_node_merge(struct mk_node *base, struct mk_node *over);

#endif
