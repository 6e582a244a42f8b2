/*
 * plain_fuzz.c - a message; nobody logs in without the password
 */
#include <assert.h>
#include "../fake.h"

mk_plugin_entry_fn mk_plugin_entry_plain;

static struct fake_user users[] = {
	{ "tim@example.org", "a password that is hard to find", "", 0, 0, true },
	{ 0 }
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct mk_sasl x;

	if (fake_mech_count == 0)
		mk_plugin_entry_plain(MK_ABI_MAJOR)->start(NULL);
	fake_users = users;
	const struct mk_mech *m = fake_mechs[0];
	fake_begin(&x, m);
	enum mk_sasl_result r = fake_step(m, &x, (const char *)p, n);
	if (p == NULL) {
		assert(r == MK_SASL_CONTINUE);
	} else if (r == MK_SASL_OK) {
		/* The fuzzer reads comparisons, so it does find the password. */
		const char *last = memrchr(p, '\0', n);
		struct mk_str password;
		assert(last != NULL && mk_saslprep(x.arena, (struct mk_str){ last + 1,
			(size_t)((const char *)p + n - last - 1) }, &password) == 0);
		assert(mk_str_eq(password, MK_STR("a password that is hard to find")));
		assert(strcmp(x.user, users[0].jid) == 0);
	} else {
		assert(r == MK_SASL_FAIL && x.condition != NULL && x.user[0] == '\0');
	}
	fake_end(&x);
	return 0;
}
