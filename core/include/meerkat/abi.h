/*
 * meerkat/abi.h - the version of the boundary, and its change log
 *
 * Rules of the boundary, so that an old plugin runs on a newer core:
 *  1. Handles (mk_module, mk_inst, mk_session, ...) are opaque.
 *  2. A struct the CORE allocates only grows at its end.
 *  3. A struct the PLUGIN allocates starts with .size = sizeof it.
 *  4. A published number (hook id, verdict, status) is never reused.
 *  5. A changed meaning gets a new name; the old one stays for one major.
 * No libxml2, GnuTLS, libevent or database type appears in these headers.
 *
 * Change log
 *  1.0  first published interface.
 *  1.1  claim.h: service domains and entities without an account; MK_IQ_SERVICE,
 *       MK_IQ_ROOM; MK_SLOT_KEEPS. svc/archive.h: archives of others than accounts.
 *  1.1  meerkat/transport.h, mk_plugin.transport; meerkat/server.h;
 *       mk_service_each.
 *  1.1  hook stanza_recovered; mk_get_many, mk_backend.get_many; mk_append_mark,
 *       mk_append_wait; mk_table.link, mk_table.user, MK_COL_FILTER; mk_uid_wall_ms,
 *       mk_uid_at.
 *       mk_ev_job_then, mk_iq_job_then: done may ask for another job.
 *       What an inline handler sends after mk_iq_result follows the answer.
 *  1.1  mk_backend.db_open may answer -MK_EAGAIN.
 *  1.1  mk_count_rows, mk_backend.count: mk_range.limit ends the counting.
 *  1.1  MK_TABLE_TIME, mk_expire, mk_backend.expire.
 *  1.1  mk_source.threads; MK_AUTH_ELSEWHERE; mk_scram_hashes, mk_scram_keys_make,
 *       mk_scram_keys_find.
 *       mk_ev_strip_if; MK_IQ_SECRET.
 */
#ifndef MK_ABI_H
#define MK_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MK_ABI_MAJOR     1u    /* changes when an old plugin can't run    */
#define MK_ABI_MINOR     1u    /* grows with every addition               */
#ifndef MK_ABI_TARGET          /* oldest core minor the author needs      */
#define MK_ABI_TARGET MK_ABI_MINOR
#endif
#define MK_PLUGIN_MAGIC  0x4d4b5031u                          /* "MKP1"   */

/* What a binary was built for; printed when a plugin is refused. */
#if defined(__LP64__)
#define MK_ABI_MODEL "lp64"
#else
#define MK_ABI_MODEL "ilp32"
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MK_ABI_ORDER "le"
#else
#define MK_ABI_ORDER "be"
#endif
#define MK_ABI_BUILD MK_ABI_MODEL " " MK_ABI_ORDER " time64"

#define MK_API __attribute__((visibility("default")))

#ifdef __cplusplus
#define MK_BEGIN_DECLS extern "C" {
#define MK_END_DECLS }
#else
#define MK_BEGIN_DECLS
#define MK_END_DECLS
#endif

#endif
