/*
 * http/parse.h - HTTP/1.1 requests, read strictly (RFC 9110, 9112)
 *
 * No leniency that two readers could understand in two ways (S-11): a request
 * that isn't what the grammar says is refused, and its connection closed. No
 * memory is held; strings point into what was parsed.
 */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <meerkat/types.h>

#define HTTP_HEAD_MAX 8192             /* bytes of line and fields          */
#define HTTP_FIELDS 64

enum http_form { HTTP_ORIGIN = 1, HTTP_ABSOLUTE, HTTP_AUTHORITY, HTTP_ASTERISK };

struct http_field { struct mk_str name, value; };
struct http_head {
	struct mk_str method, target;
	struct mk_str authority;       /* of the target, else of Host; n 0 = none */
	struct mk_str path, query;     /* query without '?'                     */
	int form;                      /* enum http_form                        */
	int minor;                     /* HTTP/1.minor                          */
	struct http_field field[HTTP_FIELDS];
	unsigned fields;
	int64_t length;                /* of the body; -1 = none, or chunked    */
	bool chunked, keep_alive, wants_continue, wants_upgrade;
};
/*
 * Reads what ends with an empty line: how many bytes that are; 0: it is not
 * complete (then, with n >= HTTP_HEAD_MAX, -431 or -414); else the status to
 * answer with, negated. Says the same of the same bytes, however they came.
 */
int http_head_parse(const char *p, size_t n, struct http_head *h);
/* The value of the first field of that name, or NULL. */
const struct mk_str *http_head_field(const struct http_head *h, const char *name);
/* Whether a list (RFC 9110 5.6.1) has the token; any case. */
bool http_list_has(struct mk_str list, const char *token);
/* Decodes into out (n + 1 bytes), NUL-terminated. false: bad escapes, control
 * characters, or a segment '.' or '..'. */
bool http_path_decode(struct mk_str path, char *out);
bool http_is_token(struct mk_str s);
bool http_is_value(struct mk_str s);

/* A chunked body (RFC 9112 7.1); zeroed at its begin. */
struct http_chunks {
	uint8_t state;
	uint8_t digits;
	uint16_t skipped;              /* bytes of extensions and trailers      */
	uint32_t left;                 /* of the chunk                          */
};
enum { HTTP_CHUNKS_MORE = 0, HTTP_CHUNKS_DATA, HTTP_CHUNKS_END, HTTP_CHUNKS_BAD };
/* Goes on at p: *used bytes were taken; with DATA, *data is a part of them. Call
 * again with the rest. MORE: all were taken. */
int http_chunks_feed(struct http_chunks *c, const char *p, size_t n, size_t *used,
	struct mk_str *data);

#endif
