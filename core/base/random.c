/*
 * base/random.c - randomness, tokens, numbers that are unique in a cluster
 *
 * Any thread. The one state is the last number given.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include "base/assert.h"
#include "base/uid.h"
#include "base/ban.h"

void mk_random(void *out, size_t n)
{
	char *p = out;
	ssize_t r;

	while (n > 0) {
		r = getrandom(p, n, 0);
		if (r < 0) {
			/* Nothing can go on without it, not even weakly. */
			mk_assert(errno == EINTR);
			continue;
		}
		p += r;
		n -= (size_t)r;
	}
}

void mk_token(char *out, size_t out_size, size_t bytes)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char rnd[64];
	uint32_t acc = 0;
	unsigned bits = 0;

	mk_assert(bytes >= 16 && bytes <= sizeof(rnd));
	mk_assert(out_size >= 8 * bytes / 5 + 2);
	mk_random(rnd, bytes);
	for (size_t i = 0; i < bytes; i++) {
		acc = acc << 8 | rnd[i];
		for (bits += 8; bits >= 5; bits -= 5)
			*out++ = alphabet[acc >> (bits - 5) & 31];
	}
	if (bits > 0)
		*out++ = alphabet[acc << (5 - bits) & 31];
	*out = '\0';
	__builtin_memset(rnd, 0, sizeof(rnd));
	__asm__ volatile("" : : "r"(rnd) : "memory");
}

/*
 * Milliseconds count from 2020, so that 42 bits with the sign bit clear last
 * until 2089. Time and counter are one number that only grows: a counter that
 * overflows borrows from the next millisecond, and a clock set back stops
 * nothing.
 */
#define UID_EPOCH_MS INT64_C(1577836800000)

static _Atomic int64_t uid_last;       /* ms << 12 | counter                */
static _Atomic unsigned uid_node;

void mk_uid_set_node(unsigned node)
{
	mk_assert(node < 1024);
	atomic_store(&uid_node, node);
}

int64_t mk_uid(void)
{
	int64_t now = (mk_wall_ms() - UID_EPOCH_MS) << 12;
	int64_t last = atomic_load_explicit(&uid_last, memory_order_relaxed), next;

	do {
		next = now > last ? now : last + 1;
	} while (!atomic_compare_exchange_weak(&uid_last, &last, next));
	return next >> 12 << 22 |
	       (int64_t)atomic_load_explicit(&uid_node, memory_order_relaxed) << 12 |
	       (next & 4095);
}

int64_t mk_uid_wall_ms(int64_t uid)
{
	return (uid >> 22) + UID_EPOCH_MS;
}

int64_t mk_uid_at(int64_t wall_ms)
{
	if (wall_ms <= UID_EPOCH_MS)
		return 0;
	/* Beyond the last one there can be. */
	return wall_ms - UID_EPOCH_MS > INT64_MAX >> 22 ? INT64_MAX
	                                                : (wall_ms - UID_EPOCH_MS) << 22;
}
