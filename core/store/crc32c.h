/*
 * store/crc32c.h - the checksum of journal records (CRC-32C, RFC 3720 12.1)
 *
 * By the processor where it can (SSE 4.2, ARMv8 CRC), else by a table.
 */
#ifndef MK_STORE_CRC32C_H
#define MK_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from crc, which is 0 at the start. Another start value gives another
 * sum for the same bytes, always: that is how a record of an earlier use of a
 * file is told from one of this use. Any thread. */
uint32_t mk_crc32c(uint32_t crc, const void *p, size_t n);
/* The same by the table; for tests. */
uint32_t mk_crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
