/*
 * meerkat/types.h - handles, strings, codes: what every other header uses
 */
#ifndef MK_TYPES_H
#define MK_TYPES_H

#include <meerkat/abi.h>
#include <string.h>

MK_BEGIN_DECLS

struct mk_module;              /* one loaded .so                          */
struct mk_inst;                /* that plugin, started on one host type   */
struct mk_store;               /* the right to use storage: jobs only     */
struct mk_session;             /* one bound client (full JID)             */
struct mk_entity;              /* an address with a home: account, host.. */
struct mk_stream;              /* one connection, before and after bind   */
struct mk_stanza;              /* sealed, counted, readable by any thread */
struct mk_elem;                /* an XML element in an arena              */
struct mk_jid;                 /* prepared, immutable, counted            */
struct mk_arena;               /* memory freed all at once                */
struct mk_conf_view;           /* parsed settings, before they are used   */
struct mk_diag;                /* collects messages for a person          */
struct mk_iq_req;              /* one IQ get/set awaiting its one answer  */

typedef int64_t mk_usec;       /* microseconds                            */

/* Bytes with a length; not NUL-terminated unless a contract says so. */
struct mk_str { const char *p; size_t n; };

#define MK_STR(lit) ((struct mk_str){ "" lit, sizeof(lit) - 1 })
#define MK_STR_NONE ((struct mk_str){ NULL, 0 })

static inline struct mk_str mk_strz(const char *z)
{
	struct mk_str s;
	s.p = z;
	s.n = z != NULL ? strlen(z) : 0;
	return s;
}
static inline bool mk_str_eq(struct mk_str a, struct mk_str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool mk_str_eqz(struct mk_str a, const char *z)
{
	return mk_str_eq(a, mk_strz(z));
}
/* Both may be NULL; NULL equals only NULL. */
static inline bool mk_streq(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && *a == *b && strcmp(a, b) == 0);
}

/* Functions return 0 or a count on success and one of these, negated. */
enum mk_err {
	MK_EINVAL = 1,                 /* an argument, a setting, a message is wrong */
	MK_ENOENT,                     /* no such thing                         */
	MK_EEXIST,                     /* there is one already                  */
	MK_ECONFLICT,                  /* somebody else holds it                */
	MK_ELIMIT,                     /* a configured limit is reached         */
	MK_EJID,                       /* not a JID (RFC 7622)                  */
	MK_EXML,                       /* not well-formed                       */
	MK_EAUTH,                      /* wrong credentials                     */
	MK_EPERM,                      /* not allowed                           */
	MK_EAGAIN,                     /* not now; try again                    */
	MK_EIO,                        /* disk, database or network failed      */
	MK_ECLOSED,                    /* the other side is gone                */
	MK_EVERSION,                   /* made for another version              */
	MK_ETIMEOUT,                   /* took longer than allowed              */
};
/* "no such thing" and the like; never NULL. */
MK_API const char *mk_strerror(int err);

/* What a handler says of an event. */
enum mk_verdict {
	MK_NEXT = 0,                   /* not mine, or only looked: go on       */
	MK_DONE = 1,                   /* handled: later handlers don't see it  */
	MK_DROP = 2,                   /* refuse silently (counted, traced)     */
	MK_FAIL = 3,                   /* refuse; ev->error says what to answer */
	MK_WAIT = 4,                   /* parked by mk_ev_job or mk_iq_job      */
};

/* Conditions of RFC 6120 8.3.3, in its order. 0 = none. */
#define MK_STANZA_ERRORS(X)                                                \
	X(BAD_REQUEST, "bad-request", "modify", "400")                         \
	X(CONFLICT, "conflict", "cancel", "409")                               \
	X(FEATURE_NOT_IMPLEMENTED, "feature-not-implemented", "cancel", "501") \
	X(FORBIDDEN, "forbidden", "auth", "403")                               \
	X(GONE, "gone", "cancel", "302")                                       \
	X(INTERNAL_SERVER_ERROR, "internal-server-error", "cancel", "500")     \
	X(ITEM_NOT_FOUND, "item-not-found", "cancel", "404")                   \
	X(JID_MALFORMED, "jid-malformed", "modify", "400")                     \
	X(NOT_ACCEPTABLE, "not-acceptable", "modify", "406")                   \
	X(NOT_ALLOWED, "not-allowed", "cancel", "405")                         \
	X(NOT_AUTHORIZED, "not-authorized", "auth", "401")                     \
	X(POLICY_VIOLATION, "policy-violation", "modify", "500")               \
	X(RECIPIENT_UNAVAILABLE, "recipient-unavailable", "wait", "404")       \
	X(REDIRECT, "redirect", "modify", "302")                               \
	X(REGISTRATION_REQUIRED, "registration-required", "auth", "407")       \
	X(REMOTE_SERVER_NOT_FOUND, "remote-server-not-found", "cancel", "404") \
	X(REMOTE_SERVER_TIMEOUT, "remote-server-timeout", "wait", "504")       \
	X(RESOURCE_CONSTRAINT, "resource-constraint", "wait", "500")           \
	X(SERVICE_UNAVAILABLE, "service-unavailable", "cancel", "503")         \
	X(SUBSCRIPTION_REQUIRED, "subscription-required", "auth", "407")       \
	X(UNDEFINED_CONDITION, "undefined-condition", "cancel", "500")         \
	X(UNEXPECTED_REQUEST, "unexpected-request", "wait", "400")
#define MK_STANZA_ERROR_ENUM(id, name, type, code) MK_ERR_##id,
enum mk_stanza_error {
	MK_ERR_NONE = 0,
	MK_STANZA_ERRORS(MK_STANZA_ERROR_ENUM)
	MK_ERR_LAST_
};

/* ---- memory ---------------------------------------------------------------- */

/* Zeroed; never NULL (out of memory ends the process). Sizes that a peer
 * controls are bounded by the caller first. mk_free(NULL) is fine. */
MK_API void *mk_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
MK_API void *mk_realloc(void *p, size_t bytes) __attribute__((returns_nonnull));
MK_API void  mk_free(void *p);
MK_API char *mk_strdup(const char *z);
MK_API char *mk_strndup(const char *p, size_t n);

/* Memory of an arena lives until its owner frees the arena; zeroed, never
 * NULL, aligned for any type. One thread at a time. */
MK_API void *mk_arena_alloc(struct mk_arena *a, size_t bytes)
	__attribute__((malloc, returns_nonnull));
MK_API char *mk_arena_strndup(struct mk_arena *a, const char *p, size_t n);
MK_API char *mk_arena_strdup(struct mk_arena *a, const char *z);
MK_API char *mk_arena_printf(struct mk_arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* An arena of one's own, e.g. to build an element outside a handler. */
MK_API struct mk_arena *mk_arena_new(void);
MK_API void mk_arena_free(struct mk_arena **a);

/* ---- small helpers every author needs --------------------------------------- */

MK_API mk_usec mk_now_usec(void);         /* monotonic                      */
MK_API int64_t mk_wall_ms(void);          /* since 1970, UTC                */
/* n bytes from the kernel's generator. */
MK_API void mk_random(void *out, size_t n);
/* A token nobody can guess: bytes (>= 16) of randomness as lower-case
 * base32; out takes 8 * bytes / 5 + 2 characters (S-06). */
MK_API void mk_token(char *out, size_t out_size, size_t bytes);
/* True if equal; takes the same time wherever they differ. */
MK_API bool mk_equal_ct(const void *a, const void *b, size_t n);
/* "2026-11-24T09:15:00.123Z" (XEP-0082); out takes 32 bytes. */
MK_API void mk_time_format(char out[32], int64_t wall_ms);
/* The same backwards; -MK_EINVAL if it isn't a date and time. */
MK_API int mk_time_parse(struct mk_str s, int64_t *wall_ms_out);
/* Standard alphabet with padding (RFC 4648 4). Encoding takes
 * 4 * ((n + 2) / 3) + 1 bytes, NUL-terminated. Decoding is strict: returns the
 * number of bytes, or -MK_EINVAL; out takes 3 * (n / 4) + 1 bytes. */
MK_API size_t mk_base64_encode(char *out, const void *p, size_t n);
MK_API int mk_base64_decode(void *out, const char *p, size_t n);
/* Decimal, no sign unless the range has negatives, nothing before or after. */
MK_API int mk_parse_int(struct mk_str s, int64_t min, int64_t max, int64_t *out);
MK_API bool mk_utf8_valid(const char *p, size_t n);
/* Unique in the cluster, growing with time: 42 bits of milliseconds, 10 of
 * node, 12 of counter. Any thread. */
MK_API int64_t mk_uid(void);
/* When one was made (ms since 1970), and the smallest that can be made at that
 * time or later. */
MK_API int64_t mk_uid_wall_ms(int64_t uid);
MK_API int64_t mk_uid_at(int64_t wall_ms);

MK_END_DECLS
#endif
