/*
 * store/crc32c.c - CRC-32C, reflected polynomial 0x82f63b78
 *
 * No state but a table that is made at the first use of it. Any thread.
 */
#include "store/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ UINT32_C(0x82f63b78) : c >> 1;
		table[i] = c;
	}
}

uint32_t mk_crc32c_table(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *b = p;

	pthread_once(&table_once, table_make);
	crc = ~crc;
	for (; n > 0; n--, b++)
		crc = crc >> 8 ^ table[(crc ^ *b) & 255];
	return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2")))
static uint32_t by_processor(uint32_t crc, const void *p, size_t n)
{
	const char *b = p;
	uint64_t c = ~crc, word;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&word, b, 8);
		c = __builtin_ia32_crc32di(c, word);
	}
	for (; n > 0; n--, b++)
		c = __builtin_ia32_crc32qi((uint32_t)c, (unsigned char)*b);
	return ~(uint32_t)c;
}
static bool processor_can(void) { return __builtin_cpu_supports("sse4.2"); }

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

static uint32_t by_processor(uint32_t crc, const void *p, size_t n)
{
	const char *b = p;
	uint64_t word;

	crc = ~crc;
	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&word, b, 8);
		crc = __crc32cd(crc, word);
	}
	for (; n > 0; n--, b++)
		crc = __crc32cb(crc, (unsigned char)*b);
	return ~crc;
}
static bool processor_can(void) { return true; }

#else

static uint32_t by_processor(uint32_t crc, const void *p, size_t n)
{
	return mk_crc32c_table(crc, p, n);
}
static bool processor_can(void) { return false; }

#endif

uint32_t mk_crc32c(uint32_t crc, const void *p, size_t n)
{
	return processor_can() ? by_processor(crc, p, n) : mk_crc32c_table(crc, p, n);
}
