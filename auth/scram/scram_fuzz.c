/*
 * scram_fuzz.c - whole exchanges: first byte the mechanism, then the client's two
 * messages with a NUL between them
 *
 * Nobody may ever log in without the password, whatever comes.
 */
#include <assert.h>
#include "../fake.h"

mk_plugin_entry_fn mk_plugin_entry_scram;

static struct fake_user users[] = {
	{ "user@example.org", "secret", "0123456789ab", 12, 1, true },
	{ "uncached@example.org", "secret", "0123456789ab", 12, 1, false },
	{ 0 }
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *nul;
	struct mk_sasl x;

	if (fake_mech_count == 0)
		mk_plugin_entry_scram(MK_ABI_MAJOR)->start(NULL);
	fake_users = users;
	if (n == 0)
		return 0;
	const struct mk_mech *m = fake_mechs[p[0] % fake_mech_count];
	fake_begin(&x, m);
	x.binding_offered = p[0] & 0x80;
	x.exporter = MK_STR("THIS");
	x.offer = MK_STR("SCRAM-SHA-1");
	p++;
	n--;
	nul = n != 0 ? memchr(p, '\0', n) : NULL;
	size_t first = nul != NULL ? (size_t)(nul - p) : n;
	enum mk_sasl_result r = fake_step(m, &x, (const char *)p, first);
	assert(r == MK_SASL_CONTINUE ? x.said : r == MK_SASL_FAIL && x.condition != NULL);
	if (r == MK_SASL_CONTINUE && nul != NULL) {
		r = fake_step(m, &x, (const char *)nul + 1, n - first - 1);
		assert(r == MK_SASL_FAIL && x.condition != NULL);
	}
	assert(x.user[0] == '\0');
	fake_end(&x);
	return 0;
}
