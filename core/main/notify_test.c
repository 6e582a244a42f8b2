/*
 * notify_test.c - what the service manager gets, by sockets of both kinds
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <meerkat/types.h>
#include "main/notify.h"

/* A manager's socket, named in the environment; '@' is the abstract namespace. */
static int listen_at(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(n < sizeof a.sun_path);
	memcpy(a.sun_path, name, n);
	if (name[0] == '@')
		a.sun_path[0] = '\0';
	else
		unlink(name);
	assert_int_equal(bind(fd, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

/* What is there now, or "". */
static const char *got(int fd)
{
	static char text[256];
	ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_a_state_is_one_datagram(void **state)
{
	char folder[] = "/tmp/mk-notify-XXXXXX", path[64], abstract[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	snprintf(abstract, sizeof abstract, "@mk-notify-%d", (int)getpid());
	for (int k = 0; k < 2; k++) {
		int fd = listen_at(k == 0 ? path : abstract);
		mk_notify("READY=1");
		mk_notify("STOPPING=1");
		assert_string_equal(got(fd), "READY=1");
		assert_string_equal(got(fd), "STOPPING=1");
		assert_string_equal(got(fd), "");
		close(fd);
		/* Nobody listens any more: that is no failure of ours. */
		mk_notify("READY=1");
	}
	unlink(path);
	rmdir(folder);
}

/* sd_notify(3): the time at which the reload began, so that the READY=1 of an earlier
 * one is not taken for its end. */
static void test_a_reload_says_when_it_began(void **state)
{
	char name[64];
	struct timespec t;
	long long before, said, after;
	int fd;

	(void)state;
	snprintf(name, sizeof name, "@mk-notify-%d", (int)getpid());
	fd = listen_at(name);
	clock_gettime(CLOCK_MONOTONIC, &t);
	before = (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
	mk_notify_reloading();
	clock_gettime(CLOCK_MONOTONIC, &t);
	after = (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
	const char *text = got(fd), *begin = "RELOADING=1\nMONOTONIC_USEC=";
	assert_int_equal(strncmp(text, begin, strlen(begin)), 0);
	said = atoll(text + strlen(begin));
	assert_true(before <= said && said <= after);
	close(fd);
}

static void test_without_a_manager_nothing_happens(void **state)
{
	static char long_name[300];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	mk_notify("READY=1");
	memset(long_name, 'x', sizeof long_name - 1);
	long_name[0] = '/';
	const char *const names[] = { "", "/", "@", "relative", "vsock:2:1", long_name, "/nowhere/socket" };
	for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
		setenv("NOTIFY_SOCKET", names[k], 1);
		mk_notify("READY=1");
	}
}

/* A manager that does not read must not stop a server that tells it something. */
static void test_nobody_waits_for_a_manager_that_does_not_read(void **state)
{
	char name[64];
	mk_usec begun;
	int fd, n = 0, sent = 0;

	(void)state;
	snprintf(name, sizeof name, "@mk-notify-%d", (int)getpid());
	fd = listen_at(name);
	/* Until one had to wait: its queue is full. That wait has an end. */
	do {
		begun = mk_now_usec();
		mk_notify("STATUS=nobody reads this");
		sent++;
	} while (mk_now_usec() - begun < 50000 && sent < 100000);
	assert_true(mk_now_usec() - begun < 10000000);
	while (got(fd)[0] != '\0')
		n++;
	assert_in_range(n, 1, sent);
	mk_notify("READY=1");
	assert_string_equal(got(fd), "READY=1");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_state_is_one_datagram),
		cmocka_unit_test(test_a_reload_says_when_it_began),
		cmocka_unit_test(test_without_a_manager_nothing_happens),
		cmocka_unit_test(test_nobody_waits_for_a_manager_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
