/*
 * base/log.c - one line per event, to a file or to stderr
 *
 * Any thread: a line is made in buffers of the thread's own and written at
 * once. Once the log has been opened, its descriptor keeps its number for
 * good (opening another file replaces what is behind it), so that a thread
 * that is just writing needs no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/thread.h"
#include "base/ban.h"

static const struct { const char *name; char priority; } levels[] = {
	[MK_ERROR] = { "error", '3' }, [MK_WARN] = { "warn", '4' },
	[MK_NOTICE] = { "notice", '5' }, [MK_INFO] = { "info", '6' },
	[MK_DEBUG] = { "debug", '7' },
};

static _Atomic int log_fd = STDERR_FILENO;
static _Atomic enum mk_level log_level = MK_INFO;
static _Atomic enum mk_log_format log_format = MK_LOG_LOGFMT;
static _Atomic bool log_journal;       /* lines begin with <N>              */
static char *log_path;                 /* main thread; NULL: stderr         */
static mk_log_context_fn *_Atomic log_context;
static pthread_mutex_t capture_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*_Atomic log_captured)(const char *line, size_t n);
static _Atomic uint32_t lost_metric;

static _Thread_local struct {
	struct mk_buf line, value;
	bool is_busy;
} own;

bool mk_log_enabled(enum mk_level l)
{
	return l <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

enum mk_level mk_log_level(void)
{
	return atomic_load(&log_level);
}

void mk_log_set_level(enum mk_level l)
{
	atomic_store(&log_level, l);
}

int mk_log_fd(void)
{
	return atomic_load(&log_fd);
}

const char *mk_log_level_name(enum mk_level l)
{
	return levels[l <= MK_DEBUG ? l : MK_DEBUG].name;
}

int mk_log_level_parse(struct mk_str name)
{
	for (int i = MK_ERROR; i <= MK_DEBUG; i++) {
		if (mk_str_eqz(name, levels[i].name))
			return i;
	}
	return -MK_EINVAL;
}

void mk_log_set_context(mk_log_context_fn *fn)
{
	atomic_store(&log_context, fn);
}

void mk_log_capture(void (*fn)(const char *line, size_t n))
{
	pthread_mutex_lock(&capture_lock);
	atomic_store(&log_captured, fn);
	pthread_mutex_unlock(&capture_lock);
}

void mk_log_thread_end(void)
{
	mk_buf_free(&own.line);
	mk_buf_free(&own.value);
}

/* $JOURNAL_STREAM is "device:inode" of what systemd connected to the journal. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char here[64];
	struct stat st;

	if (stream == NULL || fstat(fd, &st) != 0)
		return false;
	snprintf(here, sizeof(here), "%llu:%llu", (unsigned long long)st.st_dev,
	         (unsigned long long)st.st_ino);
	return mk_streq(stream, here);
}

/* Puts path (NULL: stderr) behind log_fd. */
static int aim(const char *path)
{
	int fd, at = atomic_load(&log_fd), r = 0;
	bool journal;

	fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640)
	                  : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -MK_EIO;
	journal = path == NULL && is_journal(fd);
	if (at == STDERR_FILENO) {
		atomic_store(&log_fd, fd);
	} else {
		if (dup3(fd, at, O_CLOEXEC) < 0)
			r = -MK_EIO;
		close(fd);
	}
	if (r == 0)
		atomic_store(&log_journal, journal);
	return r;
}

int mk_log_open(const char *path, enum mk_log_format format, enum mk_level level)
{
	char *kept;
	int r = aim(path);

	if (r < 0)
		return r;
	kept = path != NULL ? mk_strdup(path) : NULL;  /* path may be log_path  */
	mk_free(log_path);
	log_path = kept;
	atomic_store(&log_format, format);
	atomic_store(&log_level, level);
	if (atomic_load(&lost_metric) == 0)
		atomic_store(&lost_metric, mk_metric_id("meerkat_log_lost_lines_total",
			"Log lines that could not be written", MK_COUNTER, NULL));
	return 0;
}

int mk_log_reopen(void)
{
	return log_path != NULL ? aim(log_path) : 0;
}

/* Length of the UTF-8 character at s, 0 if it isn't one (or is not whole). */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	return len <= n && mk_utf8_valid((const char *)s, len) ? len : 0;
}

/* Not below n, so that no character is cut in two. */
static size_t cut(struct mk_str v)
{
	size_t n = MK_LOG_VALUE_MAX;

	if (v.n <= n)
		return v.n;
	while (n > MK_LOG_VALUE_MAX - 4 && ((unsigned char)v.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void add_escaped(struct mk_buf *b, struct mk_str v, bool json)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)v.p;
	size_t n = cut(v), len;

	for (size_t i = 0; i < n; i += len) {
		len = utf8_len(s + i, n - i);
		if (len == 0) {
			len = 1;
			if (json)
				MK_BUF_LIT(b, "\xef\xbf\xbd");
			else
				mk_buf_printf(b, "\\x%c%c", hex[s[i] >> 4], hex[s[i] & 15]);
		} else if (s[i] == '"' || s[i] == '\\') {
			mk_buf_addc(b, '\\');
			mk_buf_addc(b, (char)s[i]);
		} else if (s[i] == '\n') {
			MK_BUF_LIT(b, "\\n");
		} else if (s[i] == '\t') {
			MK_BUF_LIT(b, "\\t");
		} else if (s[i] == '\r') {
			MK_BUF_LIT(b, "\\r");
		} else if (s[i] < 0x20 || s[i] == 0x7f || (len == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0)) {
			/* Control characters, also U+0080..9F: terminals obey them. */
			unsigned char c = len == 2 ? s[i + 1] : s[i];

			mk_buf_addz(b, json ? "\\u00" : "\\x");
			mk_buf_addc(b, hex[c >> 4]);
			mk_buf_addc(b, hex[c & 15]);
		} else {
			mk_buf_add(b, s + i, len);
		}
	}
	if (n < v.n)
		MK_BUF_LIT(b, "...");
}

static bool is_plain(struct mk_str v)
{
	if (v.n == 0 || v.n > MK_LOG_VALUE_MAX)
		return false;
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=')
			return false;
	}
	return true;
}

static void add_field(struct mk_buf *b, struct mk_str key, struct mk_str value, bool bare)
{
	bool json = atomic_load_explicit(&log_format, memory_order_relaxed) == MK_LOG_JSON;

	if (json) {
		MK_BUF_LIT(b, ",\"");
		add_escaped(b, key, true);
		mk_buf_addz(b, bare ? "\":" : "\":\"");
	} else {
		bare = is_plain(value);
		mk_buf_addc(b, ' ');
		mk_buf_add(b, key.p, key.n);
		mk_buf_addz(b, bare ? "=" : "=\"");
	}
	if (bare)
		mk_buf_add(b, value.p, value.n);
	else
		add_escaped(b, value, json);
	if (!bare)
		mk_buf_addc(b, '"');
}

void mk_log_field(struct mk_buf *fields, const char *key, struct mk_str value)
{
	if (value.p == NULL)
		value = MK_STR("");
	add_field(fields, mk_strz(key), value, false);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

/*
 * Formats the one conversion at f ("%-5.*s" and the like) with its arguments
 * and returns what comes after it. *is_number: it was a decimal number. The
 * format attribute of mk_log has made the compiler check the types.
 */
static const char *one_conversion(struct mk_buf *out, const char *f, va_list *ap, bool *is_number)
{
	char spec[64];
	size_t n = 0;
	int longs = 0, size = 0;

	spec[n++] = *f++;
	for (; *f != '\0' && n < sizeof(spec) - 24; f++) {
		if (*f == '*') {
			n += (size_t)snprintf(spec + n, 24, "%d", va_arg(*ap, int));
		} else if (strchr("-+ #0123456789.'", *f) != NULL) {
			spec[n++] = *f;
		} else if (strchr("hlqjzt", *f) != NULL) {
			spec[n++] = *f;
			longs += *f == 'l' ? 1 : *f == 'q' ? 2 : 0;
			size = *f == 'h' ? 0 : *f;
		} else {
			break;
		}
	}
	spec[n++] = *f;
	spec[n] = '\0';
	*is_number = false;
	switch (*f) {
	case '\0':
		return f;
	case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
		*is_number = *f == 'd' || *f == 'i' || *f == 'u';
		if (size == 'j')
			mk_buf_printf(out, spec, va_arg(*ap, intmax_t));
		else if (size == 'z' || size == 't')
			mk_buf_printf(out, spec, va_arg(*ap, size_t));
		else if (longs >= 2)
			mk_buf_printf(out, spec, va_arg(*ap, long long));
		else if (longs == 1)
			mk_buf_printf(out, spec, va_arg(*ap, long));
		else
			mk_buf_printf(out, spec, va_arg(*ap, int));
		break;
	case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
		mk_buf_printf(out, spec, va_arg(*ap, double));
		break;
	case 'c':
		mk_buf_printf(out, spec, va_arg(*ap, int));
		break;
	case 'p':
		mk_buf_printf(out, spec, va_arg(*ap, void *));
		break;
	case 's': {
		const char *s = va_arg(*ap, const char *);

		mk_buf_printf(out, spec, s != NULL ? s : "");
		break;
	}
	case 'm':
		mk_buf_addz(out, strerror(errno));
		break;
	case '%':
		mk_buf_addc(out, '%');
		break;
	default:
		mk_assert(!"a conversion that the log knows");
	}
	return f + 1;
}

#pragma GCC diagnostic pop

/* Field by field as the format (not what comes out) tells them apart. */
static void add_fields(struct mk_buf *line, const char *f, va_list *ap)
{
	struct mk_buf *v = &own.value;
	struct mk_str key;
	bool bare, is_number;

	while (*f != '\0') {
		while (*f == ' ')
			f++;
		key.p = f;
		while (*f != '\0' && *f != '=' && *f != ' ' && *f != '%')
			f++;
		key.n = (size_t)(f - key.p);
		if (*f == '=')
			f++;
		mk_buf_clear(v);
		bare = false;
		for (bool first = true; *f != '\0' && *f != ' '; first = false) {
			if (*f == '%') {
				f = one_conversion(v, f, ap, &is_number);
				bare = first && is_number;
			} else {
				mk_buf_addc(v, *f++);
				bare = false;
			}
		}
		if (key.n > 0 || v->n > 0) {
			if (key.n == 0)
				key = MK_STR("value");
			mk_buf_z(v);
			add_field(line, key, (struct mk_str){ v->p, v->n }, bare);
		}
	}
}

/* A line that can't be written is counted and forgotten: the log may not stop
 * the server. */
static void write_line(struct mk_buf *b)
{
	int fd = atomic_load_explicit(&log_fd, memory_order_relaxed);
	size_t at = 0;
	ssize_t n;

	while (at < b->n) {
		n = write(fd, b->p + at, b->n - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			mk_metric_bump(atomic_load_explicit(&lost_metric, memory_order_relaxed), 1);
			return;
		}
		at += (size_t)n;
	}
}

void mk_log(const struct mk_inst *i, enum mk_level l, const char *msg,
	const char *fields_fmt, ...)
{
	struct mk_buf *b = &own.line;
	mk_log_context_fn *context = atomic_load(&log_context);
	bool json = atomic_load_explicit(&log_format, memory_order_relaxed) == MK_LOG_JSON;
	void (*captured)(const char *line, size_t n);
	int saved_errno = errno;
	char stamp[32];
	va_list ap;

	/* Busy: the context function logs. It has been told not to. */
	if (!mk_log_enabled(l) || own.is_busy)
		return;
	own.is_busy = true;
	mk_thread_mark();
	mk_buf_clear(b);
	mk_time_format(stamp, mk_wall_ms());
	if (json) {
		mk_buf_printf(b, "{\"time\":\"%s\"", stamp);
	} else {
		if (atomic_load_explicit(&log_journal, memory_order_relaxed))
			mk_buf_printf(b, "<%c>", levels[l].priority);
		mk_buf_printf(b, "time=%s", stamp);
	}
	add_field(b, MK_STR("level"), mk_strz(levels[l].name), false);
	add_field(b, MK_STR("msg"), mk_strz(msg), false);
	if (context != NULL)
		context(i, b);
	if (fields_fmt != NULL) {
		errno = saved_errno;                   /* for %m                */
		va_start(ap, fields_fmt);
		add_fields(b, fields_fmt, &ap);
		va_end(ap);
	}
	if (json)
		mk_buf_addc(b, '}');
	captured = atomic_load(&log_captured);
	if (MK_UNLIKELY(captured != NULL)) {
		mk_buf_z(b);
		pthread_mutex_lock(&capture_lock);
		captured = atomic_load(&log_captured);
		if (captured != NULL)
			captured(b->p, b->n);
		pthread_mutex_unlock(&capture_lock);
	} else {
		mk_buf_addc(b, '\n');
		write_line(b);
	}
	own.is_busy = false;
	errno = saved_errno;
}
