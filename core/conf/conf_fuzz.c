/*
 * conf/conf_fuzz.c - any bytes as a configuration: build it, compare it
 */
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/assert.h"
#include "conf/config.h"
#include "conf/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct mk_config *build(struct mk_str text, struct mk_diag *d)
{
	struct mk_arena *arena = mk_arena_new();
	struct mk_config *c = NULL;
	struct mk_node *root;

	if (mk_yaml_parse("fuzz.yml", text, arena, d, &root) < 0)
		mk_arena_free(&arena);
	else
		mk_config_build("fuzz.yml", arena, root, d, &c);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char small[] = "host_types: { people: { plugins: { roster: } } }\n"
		"listeners: [ { kind: c2s, port: 5222 } ]\n";
	struct mk_diag d = { 0 };
	struct mk_config *c = build((struct mk_str){ (const char *)p, n }, &d);
	struct mk_config *other = build(mk_strz(small), NULL);

	/* What fails says why, and what succeeds has nothing to say. */
	mk_assert((c == NULL) == (d.count != 0));
	if (c != NULL) {
		mk_assert(mk_config_diff(c, c, NULL, NULL) == 0);
		mk_config_diff(c, other, NULL, NULL);
		mk_config_diff(other, c, NULL, NULL);
	}
	mk_config_free(&other);
	mk_config_free(&c);
	mk_diag_fini(&d);
	return 0;
}
