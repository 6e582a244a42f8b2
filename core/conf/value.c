/*
 * conf/value.c - text into numbers, words and addresses, and nothing else
 */
#include "conf/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>
#include "base/ban.h"

struct unit { const char *name; int64_t factor; };

static const struct unit duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
	{ "d", 86400000 }, { "w", 604800000 }, { NULL, 0 }
};
static const struct unit size_units[] = {
	{ "", 1 }, { "B", 1 },
	{ "K", 1 << 10 }, { "KB", 1 << 10 }, { "KiB", 1 << 10 },
	{ "M", 1 << 20 }, { "MB", 1 << 20 }, { "MiB", 1 << 20 },
	{ "G", 1 << 30 }, { "GB", 1 << 30 }, { "GiB", 1 << 30 },
	{ "T", INT64_C(1) << 40 }, { "TB", INT64_C(1) << 40 }, { "TiB", INT64_C(1) << 40 },
	{ NULL, 0 }
};

static int with_unit(struct mk_str s, const struct unit *u, bool any_case, int64_t *out)
{
	int64_t v = 0, total;
	size_t i = 0;

	for (; i < s.n && isdigit((unsigned char)s.p[i]); i++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, s.p[i] - '0', &v))
			return -MK_ELIMIT;
	if (i == 0)
		return -MK_EINVAL;
	/* Nothing is nothing in every unit. */
	if (i == s.n && v == 0) {
		*out = 0;
		return 0;
	}
	while (i < s.n && s.p[i] == ' ')
		i++;
	for (; u->name != NULL; u++) {
		size_t n = strlen(u->name);
		if (n != s.n - i || (any_case ? strncasecmp(u->name, s.p + i, n)
		    : strncmp(u->name, s.p + i, n)) != 0)
			continue;
		if (__builtin_mul_overflow(v, u->factor, &total))
			return -MK_ELIMIT;
		*out = total;
		return 0;
	}
	return -MK_EINVAL;
}

int mk_conf_number(int type, struct mk_str s, int64_t *out)
{
	if (type == MK_CONF_DURATION)
		return with_unit(s, duration_units, false, out);
	if (type == MK_CONF_SIZE)
		return with_unit(s, size_units, true, out);
	return mk_parse_int(s, INT64_MIN, INT64_MAX, out);
}

int mk_conf_bool(struct mk_str s, bool *out)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (s.n == strlen(words[i]) && strncasecmp(words[i], s.p, s.n) == 0) {
			*out = i % 2 == 1;
			return 0;
		}
	return -MK_EINVAL;
}

static int in_part(int type, struct mk_str part, int64_t v)
{
	const char *dots = memmem(part.p, part.n, "..", 2);
	struct mk_str lo = { part.p, dots != NULL ? (size_t)(dots - part.p) : part.n };
	struct mk_str hi = { dots != NULL ? dots + 2 : part.p,
		dots != NULL ? part.n - lo.n - 2 : part.n };
	int64_t from = INT64_MIN, to = INT64_MAX;

	if (part.n == 0 || (lo.n != 0 && mk_conf_number(type, lo, &from) < 0) ||
	    (hi.n != 0 && mk_conf_number(type, hi, &to) < 0))
		return -MK_EINVAL;
	return v >= from && v <= to;
}

int mk_conf_in_range(int type, const char *range, int64_t v)
{
	if (range == NULL)
		return 1;
	for (;;) {
		size_t n = strcspn(range, "|");
		int r = in_part(type, (struct mk_str){ range, n }, v);
		if (r != 0)
			return r;
		if (range[n] == '\0')
			return 0;
		range += n + 1;
	}
}

int mk_conf_word(const char *words, const char *w)
{
	size_t n = strlen(w);

	for (int i = 0;; i++) {
		size_t m = strcspn(words, "|");
		if (m == n && memcmp(words, w, n) == 0)
			return i;
		if (words[m] == '\0')
			return -MK_ENOENT;
		words += m + 1;
	}
}

bool mk_conf_is_addr(const char *s, bool prefix)
{
	unsigned char bytes[16];
	const char *slash = strchr(s, '/');
	size_t n = slash != NULL ? (size_t)(slash - s) : strlen(s);
	char host[INET6_ADDRSTRLEN];
	int64_t bits, max = 32;

	if (n >= sizeof host || (slash != NULL && !prefix))
		return false;
	memcpy(host, s, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, bytes) != 1) {
		if (inet_pton(AF_INET6, host, bytes) != 1)
			return false;
		max = 128;
	}
	return slash == NULL || mk_parse_int(mk_strz(slash + 1), 0, max, &bits) == 0;
}

bool mk_conf_is_plugin_name(const char *s)
{
	size_t n = strlen(s);

	return n != 0 && n <= 64 && islower((unsigned char)s[0]) &&
		strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

const char *mk_conf_type_text(int type)
{
	switch (type) {
	case MK_CONF_BOOL:
		return "yes or no";
	case MK_CONF_INT:
		return "a whole number";
	case MK_CONF_DURATION:
		return "a duration (such as 250ms, 10s, 5m, 2h, 90d)";
	case MK_CONF_SIZE:
		return "a size (such as 512, 64KB, 1MB, 2GB)";
	case MK_CONF_ENUM:
		return "a word";
	case MK_CONF_JID:
		return "a JID (such as user@example.org)";
	case MK_CONF_ADDR:
		return "an IP address or prefix (such as 192.0.2.1, 2001:db8::/32)";
	case MK_CONF_FILE:
		return "the name of a file";
	case MK_CONF_SECRET:
		return "a text or { file: PATH }";
	case MK_CONF_REF:
		return "the name of an entry";
	case MK_CONF_LIST:
		return "a list of words";
	default:
		return "a text";
	}
}
