/*
 * meerkat/command.h - commands for operators
 *
 * A command is data, so that meerkatctl, its completion and its manual, and
 * other front ends are made from one list. It runs in a job.
 */
#ifndef MK_COMMAND_H
#define MK_COMMAND_H

#include <meerkat/store.h>

MK_BEGIN_DECLS

struct mk_cmd;                 /* one call of a command                    */

enum mk_arg_type { MK_ARG_TEXT = 1, MK_ARG_INT, MK_ARG_JID, MK_ARG_DOMAIN,
	MK_ARG_SECRET /* asked for on a terminal, never shown */, MK_ARG_FLAG,
	MK_ARG_WORDS /* the last: all that follows, as one text of lines; '-'
	              * reads it from standard input and may call the command
	              * several times, with a part each */ };
struct mk_arg {
	const char *name;              /* "--json"-style flags without dashes   */
	uint16_t type;
	bool optional;
	const char *doc;
};
struct mk_command {
	uint32_t size;
	const char *name;              /* words: "account register"             */
	const char *doc;
	const struct mk_arg *args;     /* ends with name == NULL; may be NULL   */
	/* 0, or -MK_E... after mk_cmd_fail. i is NULL for the core's own. */
	int (*run)(struct mk_inst *i, struct mk_cmd *c, struct mk_store *st);
};

/* Arguments by name; NULL, 0 or false when left out. JIDs are parsed. */
MK_API const char *mk_cmd_arg(const struct mk_cmd *c, const char *name);
MK_API int64_t mk_cmd_arg_int(const struct mk_cmd *c, const char *name, int64_t dflt);
MK_API const struct mk_jid *mk_cmd_arg_jid(const struct mk_cmd *c, const char *name);
MK_API bool mk_cmd_flag(const struct mk_cmd *c, const char *name);

/* The answer is a list of rows with named values (a table, or JSON). */
MK_API void mk_cmd_row(struct mk_cmd *c);                /* begins a row     */
MK_API void mk_cmd_str(struct mk_cmd *c, const char *key, const char *value);
MK_API void mk_cmd_int(struct mk_cmd *c, const char *key, int64_t value);
MK_API void mk_cmd_bool(struct mk_cmd *c, const char *key, bool value);
/* Or plain text, shown as it is. */
MK_API void mk_cmd_text(struct mk_cmd *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* One line for the person; returns err. */
MK_API int mk_cmd_fail(struct mk_cmd *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

MK_END_DECLS
#endif
