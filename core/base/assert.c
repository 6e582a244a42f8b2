/*
 * base/assert.c - the end, with a line that says why
 *
 * Any thread. Allocates nothing: memory may be what is missing.
 */
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/log.h"

_Noreturn void mk_assert_failed(const char *what, const char *file, int line)
{
	char text[512];
	void *stack[48];
	int n, fd = mk_log_fd();

	n = snprintf(text, sizeof(text), "level=error msg=\"the server broke its own promise"
	             " and stops\" what=\"%s\" at=%s:%d\n", what, file, line);
	n = n < (int)sizeof(text) ? n : (int)sizeof(text) - 1;
	if (write(fd, text, (size_t)n) == n)
		backtrace_symbols_fd(stack, backtrace(stack, 48), fd);
	abort();
}
