/*
 * ctl/cmd.c - arguments of a command, checked, and what it answers
 *
 * Belongs to the job that runs the command.
 */
#include "ctl/cmd.h"

#include <meerkat/jid.h>
#include "base/assert.h"
#include "base/ban.h"

static const struct mk_arg *arg_find(const struct mk_command *c, const char *name)
{
	for (const struct mk_arg *a = c->args; a != NULL && a->name != NULL; a++)
		if (strcmp(a->name, name) == 0)
			return a;
	return NULL;
}

int mk_cmd_fail(struct mk_cmd *c, int err, const char *fmt, ...)
{
	va_list ap;

	mk_buf_clear(&c->error);
	va_start(ap, fmt);
	mk_buf_vprintf(&c->error, fmt, ap);
	va_end(ap);
	c->err = err < 0 ? err : -err;
	return c->err;
}

static int check_arg(struct mk_cmd *c, const struct mk_arg *a, const json_t *v)
{
	struct mk_jid *j = NULL;
	int64_t n;

	if (a->type == MK_ARG_FLAG)
		return json_is_boolean(v) ? 0 : mk_cmd_fail(c, -MK_EINVAL,
			"'%s' is a flag: yes or no", a->name);
	if (a->type == MK_ARG_INT) {
		if (json_is_integer(v) || (json_is_string(v) &&
		    mk_parse_int(mk_strz(json_string_value(v)), INT64_MIN, INT64_MAX, &n) == 0))
			return 0;
		return mk_cmd_fail(c, -MK_EINVAL, "'%s' must be a whole number", a->name);
	}
	if (!json_is_string(v))
		return mk_cmd_fail(c, -MK_EINVAL, "'%s' must be text", a->name);
	if (a->type != MK_ARG_JID && a->type != MK_ARG_DOMAIN)
		return 0;
	if (mk_jid_parsez(json_string_value(v), &j) < 0)
		return mk_cmd_fail(c, -MK_EJID, "'%s' is no JID: %s", a->name, json_string_value(v));
	if (a->type == MK_ARG_DOMAIN && (mk_jid_local(j).n != 0 || !mk_jid_is_bare(j))) {
		mk_jid_unref(&j);
		return mk_cmd_fail(c, -MK_EJID, "'%s' is no domain: %s", a->name,
			json_string_value(v));
	}
	mk_assert(c->jid_n < sizeof c->jids / sizeof *c->jids);
	c->jid_names[c->jid_n] = a->name;
	c->jids[c->jid_n++] = j;
	return 0;
}

int mk_cmd_begin(struct mk_cmd *c, const struct mk_command *command, const json_t *args)
{
	const char *key;
	json_t *v;
	int r;

	memset(c, 0, sizeof *c);
	c->command = command;
	c->args = args;
	json_object_foreach((json_t *)args, key, v) {
		const struct mk_arg *a = arg_find(command, key);
		if (a == NULL)
			return mk_cmd_fail(c, -MK_EINVAL, "'%s' has no argument '%s'",
				command->name, key);
		if ((r = check_arg(c, a, v)) < 0)
			return r;
	}
	for (const struct mk_arg *a = command->args; a != NULL && a->name != NULL; a++)
		if (!a->optional && a->type != MK_ARG_FLAG && json_object_get(args, a->name) == NULL)
			return mk_cmd_fail(c, -MK_EINVAL, "'%s' needs the argument '%s': %s",
				command->name, a->name, a->doc);
	return 0;
}

static const char *error_code(int err)
{
	switch (-err) {
	case MK_EINVAL:    return "invalid";
	case MK_ENOENT:    return "not-found";
	case MK_EEXIST:    return "exists";
	case MK_ECONFLICT: return "conflict";
	case MK_ELIMIT:    return "limit";
	case MK_EJID:      return "jid";
	case MK_EAUTH:     return "auth";
	case MK_EPERM:     return "not-allowed";
	case MK_EAGAIN:    return "try-again";
	default:           return "failed";
	}
}

/* JSON is UTF-8: what isn't (a file's text in a message) shows its place. */
static json_t *text_json(const char *p, size_t n)
{
	if (mk_utf8_valid(p, n) && memchr(p, '\0', n) == NULL)
		return json_stringn(p, n);
	char *z = mk_strndup(p, n);
	for (size_t i = 0; i < n; i++)
		if (z[i] == '\0' || (unsigned char)z[i] >= 0x80)
			z[i] = '?';
	json_t *v = json_stringn(z, n);
	mk_free(z);
	return v;
}

json_t *mk_cmd_end(struct mk_cmd *c)
{
	json_t *o = json_object();

	json_object_set_new(o, "ok", json_boolean(c->err == 0));
	if (c->err != 0) {
		const char *why = c->error.n != 0 ? mk_buf_z(&c->error) : mk_strerror(-c->err);
		json_object_set_new(o, "error", text_json(why, strlen(why)));
		json_object_set_new(o, "code", json_string(error_code(c->err)));
	} else {
		if (c->text.n != 0)
			json_object_set_new(o, "text", text_json(c->text.p, c->text.n));
		if (c->rows != NULL)
			json_object_set(o, "rows", c->rows);
		if (c->is_record)
			json_object_set_new(o, "record", json_true());
	}
	json_decref(c->rows);
	for (unsigned i = 0; i < c->jid_n; i++)
		mk_jid_unref(&c->jids[i]);
	mk_buf_free(&c->text);
	mk_buf_free(&c->error);
	return o;
}

const char *mk_cmd_arg(const struct mk_cmd *c, const char *name)
{
	return json_string_value(json_object_get(c->args, name));
}

int64_t mk_cmd_arg_int(const struct mk_cmd *c, const char *name, int64_t dflt)
{
	const json_t *v = json_object_get(c->args, name);
	int64_t n = dflt;

	if (json_is_integer(v))
		return json_integer_value(v);
	if (json_is_string(v))
		mk_parse_int(mk_strz(json_string_value(v)), INT64_MIN, INT64_MAX, &n);
	return n;
}

const struct mk_jid *mk_cmd_arg_jid(const struct mk_cmd *c, const char *name)
{
	for (unsigned i = 0; i < c->jid_n; i++)
		if (strcmp(c->jid_names[i], name) == 0)
			return c->jids[i];
	return NULL;
}

bool mk_cmd_flag(const struct mk_cmd *c, const char *name)
{
	return json_is_true(json_object_get(c->args, name));
}

void mk_cmd_row(struct mk_cmd *c)
{
	if (c->rows == NULL)
		c->rows = json_array();
	c->row = json_object();
	json_array_append_new(c->rows, c->row);
}

void mk_cmd_json(struct mk_cmd *c, const char *key, json_t *v)
{
	if (c->row == NULL) {
		mk_cmd_row(c);
		c->is_record = true;
	}
	json_object_set_new(c->row, key, v);
}

void mk_cmd_str(struct mk_cmd *c, const char *key, const char *value)
{
	mk_cmd_json(c, key, value != NULL ? text_json(value, strlen(value)) : json_null());
}
void mk_cmd_int(struct mk_cmd *c, const char *key, int64_t value)
{
	mk_cmd_json(c, key, json_integer(value));
}
void mk_cmd_bool(struct mk_cmd *c, const char *key, bool value)
{
	mk_cmd_json(c, key, json_boolean(value));
}

void mk_cmd_text(struct mk_cmd *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	mk_buf_vprintf(&c->text, fmt, ap);
	va_end(ap);
}
