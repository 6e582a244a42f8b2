/*
 * meerkat/conf.h - settings a plugin declares
 *
 * The schema is data: it fills the plugin's struct, and check-config, the man
 * pages and the JSON schema for editors come from it. A value is what the
 * schema says, never what YAML guesses.
 */
#ifndef MK_CONF_H
#define MK_CONF_H

#include <meerkat/types.h>

MK_BEGIN_DECLS

/* Ranges of numbers: "1..100", "1s..1h", "1..", "..10", or "0|1s..1h". */
enum mk_conf_type {            /* field in the struct; how it is written    */
	MK_CONF_END = 0,
	MK_CONF_BOOL,                  /* bool; yes no true false on off        */
	MK_CONF_INT,                   /* int64_t; range "1..100"               */
	MK_CONF_DURATION,              /* int64_t ms; 250ms 10s 5m 2h 90d 1w 0  */
	MK_CONF_SIZE,                  /* int64_t bytes; 512 64KB 1MB 2GB (2^n) */
	MK_CONF_STRING,                /* const char *; range may be "a|b|c"    */
	MK_CONF_ENUM,                  /* int: index in range "none|kill"       */
	MK_CONF_JID,                   /* const struct mk_jid *, or NULL        */
	MK_CONF_ADDR,                  /* const char *: an IP address or prefix;
	                                * range "address": no prefix            */
	MK_CONF_FILE,                  /* const char *: absolute, or taken from
	                                * the folder of the file that names it;
	                                * "" is NULL; a default stays as it is  */
	MK_CONF_SECRET,                /* const char *: text, ${ENV}, or
	                                * { file: PATH } (first line)           */
	MK_CONF_REF,                   /* const char *: name of a section entry;
	                                * range "section:sql",
	                                * "section:storage.backends"            */
	MK_CONF_LIST,                  /* struct mk_conf_list of strings; range
	                                * may be "a|b|c": the words allowed; also
	                                * written as one text: a, b, c          */
};
enum { MK_CONF_REQUIRED = 1, MK_CONF_RELOAD = 2, MK_CONF_HIDDEN = 4 };

struct mk_conf_list { const char *const *v; uint32_t n; };

struct mk_conf_item {
	const char *key;
	uint16_t type, flags;
	uint32_t offset;               /* of the field in the plugin's struct   */
	const char *dflt;              /* as a person would write it; NULL = 0;
	                                * a list: words with commas             */
	const char *range;             /* see enum mk_conf_type; NULL = any     */
	const char *doc;               /* one sentence, goes to the man page    */
};
struct mk_conf_schema {
	uint32_t size, item_size, struct_size;
	const struct mk_conf_item *items;          /* ends with key == NULL     */
};

#ifdef __cplusplus             /* the check of the field's type is C's    */
#define MK_CONF_FIELD(S, f, ctype, kind, fl, dflt_, range_, doc_)          \
	{ #f, kind, fl, (uint32_t)offsetof(S, f), dflt_, range_, doc_ }
#else
#define MK_CONF_FIELD(S, f, ctype, kind, fl, dflt_, range_, doc_)          \
	{ #f, kind, fl, (uint32_t)(offsetof(S, f) + sizeof(char[               \
	  __builtin_types_compatible_p(__typeof__(((S *)0)->f), ctype)         \
	  ? 1 : -1]) - 1), dflt_, range_, doc_ }
#endif
#define MK_CONF_B(S, f, d, doc)                                            \
	MK_CONF_FIELD(S, f, bool, MK_CONF_BOOL, MK_CONF_RELOAD, d, NULL, doc)
#define MK_CONF_I(S, f, d, range, doc)                                     \
	MK_CONF_FIELD(S, f, int64_t, MK_CONF_INT, MK_CONF_RELOAD, d, range, doc)
#define MK_CONF_MS(S, f, d, range, doc)                                    \
	MK_CONF_FIELD(S, f, int64_t, MK_CONF_DURATION, MK_CONF_RELOAD, d, range, doc)
#define MK_CONF_BYTES(S, f, d, range, doc)                                 \
	MK_CONF_FIELD(S, f, int64_t, MK_CONF_SIZE, MK_CONF_RELOAD, d, range, doc)
#define MK_CONF_STR(S, f, d, doc)                                          \
	MK_CONF_FIELD(S, f, const char *, MK_CONF_STRING, MK_CONF_RELOAD, d, NULL, doc)
#define MK_CONF_E(S, f, d, words, doc)                                     \
	MK_CONF_FIELD(S, f, int, MK_CONF_ENUM, MK_CONF_RELOAD, d, words, doc)
#define MK_CONF_LST(S, f, d, words, doc)                                   \
	MK_CONF_FIELD(S, f, struct mk_conf_list, MK_CONF_LIST, MK_CONF_RELOAD, d, words, doc)
#define MK_CONF_SCHEMA(S, it)                                              \
	{ sizeof(struct mk_conf_schema), sizeof(struct mk_conf_item), sizeof(S), it }

/* For check(): the struct as it would be, and a way to refuse it. */
MK_API const void *mk_conf_view_values(const struct mk_conf_view *v);
/* key NULL = the plugin's section as a whole. The message gets file, line and
 * setting in front of it. */
MK_API void mk_conf_refuse(const struct mk_conf_view *v, struct mk_diag *d,
	const char *key, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A line for the person who waits (reload, start). */
MK_API void mk_diag_add(struct mk_diag *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Borrowed; valid until the callback that asked for it returns (a reload
 * swaps the snapshot, and frees the old one once every thread went by). */
MK_API const void *mk_inst_conf(const struct mk_inst *i);
MK_API const char *mk_inst_type(const struct mk_inst *i);   /* host type    */
MK_API const char *mk_inst_plugin(const struct mk_inst *i); /* plugin name  */

MK_END_DECLS
#endif
