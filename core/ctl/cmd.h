/*
 * ctl/cmd.h - one call of a command: arguments in, rows out
 */
#ifndef MK_CTL_CMD_H
#define MK_CTL_CMD_H

#include <jansson.h>
#include <meerkat/command.h>
#include "base/buf.h"

struct mk_cmd {
	const struct mk_command *command;
	const json_t *args;            /* object; borrowed                      */
	json_t *rows;                  /* array, NULL until the first           */
	json_t *row;                   /* the last of rows; borrowed            */
	bool is_record;                /* values without mk_cmd_row: one thing,
	                                * not a list that happens to have one   */
	struct mk_buf text, error;
	struct mk_jid *jids[8];        /* parsed arguments, refs                */
	const char *jid_names[8];
	unsigned jid_n;
	int err;
};
/* Checks args (borrowed until the end) against the command's; an error is in
 * c->error, and c is to be ended all the same. */
int  mk_cmd_begin(struct mk_cmd *c, const struct mk_command *command, const json_t *args);
/* The answer object; ends c:
 *   {"ok":true, "text":"...", "rows":[{...}], "record":true}    as far as given
 *   {"ok":false, "error":"...", "code":"not-found"}             (no rows)    */
json_t *mk_cmd_end(struct mk_cmd *c);
/* A value of any shape, for the core's own commands; takes v. */
void mk_cmd_json(struct mk_cmd *c, const char *key, json_t *v);

/* The core's commands; NULL-terminated. */
extern const struct mk_command *const mk_core_commands[];

#endif
