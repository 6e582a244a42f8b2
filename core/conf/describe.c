/*
 * conf/describe.c - schemas as lines for people
 */
#include "conf/core.h"

#include "base/ban.h"

static const char *const type_names[] = {
	[MK_CONF_END] = "?", [MK_CONF_BOOL] = "bool", [MK_CONF_INT] = "int",
	[MK_CONF_DURATION] = "duration", [MK_CONF_SIZE] = "size",
	[MK_CONF_STRING] = "string", [MK_CONF_ENUM] = "enum", [MK_CONF_JID] = "jid",
	[MK_CONF_ADDR] = "addr", [MK_CONF_FILE] = "file", [MK_CONF_SECRET] = "secret",
	[MK_CONF_REF] = "ref", [MK_CONF_LIST] = "list",
};

void mk_conf_describe(const struct mk_conf_schema *schema, const char *where,
	struct mk_buf *out)
{
	const struct mk_conf_item *it = schema->items;

	for (; it->key != NULL;
	     it = (const struct mk_conf_item *)((const char *)it + schema->item_size)) {
		const char *dflt = it->flags & MK_CONF_REQUIRED ? "(required)" : it->dflt;
		if (it->flags & MK_CONF_HIDDEN)
			continue;
		if (dflt == NULL)
			dflt = it->type == MK_CONF_INT || it->type == MK_CONF_DURATION ||
				it->type == MK_CONF_SIZE ? "0" : it->type == MK_CONF_BOOL ? "no" : "-";
		mk_buf_printf(out, "%s%s%s %s %s%s%s %s - %s\n", where, *where != '\0' ? "." : "",
		              it->key, it->type <= MK_CONF_LIST ? type_names[it->type] : "?",
		              *dflt == '\0' || strchr(dflt, ' ') != NULL ? "\"" : "", dflt,
		              *dflt == '\0' || strchr(dflt, ' ') != NULL ? "\"" : "",
		              it->range != NULL ? it->range : "-", it->doc != NULL ? it->doc : "");
	}
}

void mk_config_describe(struct mk_buf *out)
{
	for (const struct mk_core_section *s = mk_core_sections; s->path != NULL; s++)
		mk_conf_describe(s->schema, s->shown, out);
}
