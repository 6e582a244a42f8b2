/*
 * session/account.c - who may log in: the sources of a host type, and a cache
 *
 * Questions run in jobs. The cache may be read by any thread: buckets of a few
 * entries, a mutex for each 64th of them. An entry holds what one user needs for
 * one kind of login, in about 100 bytes, and is wiped when it goes. Users who do
 * not exist have entries too, or their answers would take longer than others'
 * (S-08), but in places of their own, where they push out nobody.
 */
#include "session/account.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/metric.h"
#include "base/thread.h"
#include "domain/domain.h"
#include "jid/jid.h"
#include "loop/worker.h"
#include "session/session.h"
#include "store/store.h"
#include "base/ban.h"

#define SECRET_LEN 32

/* ---- secrets -------------------------------------------------------------------- */

static struct {
	uint8_t fake[SECRET_LEN];      /* of this installation                  */
	uint8_t verifier[SECRET_LEN];  /* of this process                       */
} secret;
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void secret_make(void) { mk_random(&secret, sizeof secret); }

static int secret_fault(struct mk_diag *d, const char *path, const char *what)
{
	mk_diag_add(d, "%s: %s: %s", path, what, strerror(errno));
	return -MK_EIO;
}

/* The file appears whole or not at all: a torn one would be taken for good. */
static int secret_write(const char *dir, const char *path, struct mk_diag *d)
{
	uint8_t key[SECRET_LEN];
	char *tmp = NULL;
	int fd, r = 0;

	mk_random(key, sizeof key);
	if (asprintf(&tmp, "%s.new", path) < 0)
		abort();
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, key, sizeof key) != (ssize_t)sizeof key || fsync(fd) < 0 ||
	    rename(tmp, path) < 0)
		r = secret_fault(d, tmp, "can't be written");
	if (fd >= 0)
		close(fd);
	if (r < 0)
		unlink(tmp);
	free(tmp);
	fd = r == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	explicit_bzero(key, sizeof key);
	return r;
}

static int secret_read(const char *path, struct mk_diag *d)
{
	uint8_t key[SECRET_LEN + 1];
	struct stat s;
	ssize_t n;
	int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT ? -MK_ENOENT : secret_fault(d, path, "can't be opened");
	if (fstat(fd, &s) < 0 || (n = read(fd, key, sizeof key)) < 0) {
		r = secret_fault(d, path, "can't be read");
	} else if (s.st_mode & 077) {
		mk_diag_add(d, "%s: others may read or write it (mode %04o): make it 0600", path,
			(unsigned)(s.st_mode & 07777));
		r = -MK_EPERM;
	} else if (n != SECRET_LEN) {
		mk_diag_add(d, "%s: has %zd bytes, not %d: if it can't be restored, remove it "
			"and a new one is made", path, n, SECRET_LEN);
		r = -MK_EIO;
	} else {
		memcpy(secret.fake, key, SECRET_LEN);
	}
	close(fd);
	explicit_bzero(key, sizeof key);
	return r;
}

int mk_account_init(const char *data_dir, struct mk_diag *d)
{
	char *path = NULL;
	int r;

	pthread_once(&secret_once, secret_make);
	if (asprintf(&path, "%s/secret.key", data_dir) < 0)
		abort();
	r = secret_read(path, d);
	if (r == -MK_ENOENT) {
		r = secret_write(data_dir, path, d);
		if (r == 0)
			r = secret_read(path, d);
	}
	free(path);
	return r;
}

/* ---- the cache ------------------------------------------------------------------- */

#define BUCKETS  16384u
#define WAYS     8u            /* 131,072 entries in all, then the oldest goes */
#define FAKES    2u            /* the first of them: for who does not exist */
#define LOCKS    64u
#define KEEP_SEC 600u
#define VERIFIER 0             /* kinds of entries; else enum mk_hash       */
#define EXISTS   255           /* no more than that                         */

struct entry {
	uint64_t hash;                 /* of the bare JID                       */
	uint32_t until;                /* seconds, monotonic                    */
	uint16_t jid_n, data_n;
	uint8_t kind;
	char bytes[];                  /* the bare JID, then the data           */
};
static struct entry *cache[BUCKETS][WAYS];
static struct {
	pthread_mutex_t m;
	/* Grows with each forget: what was read from a source before one is not
	 * put into the cache after it. */
	uint64_t forgets;
	char pad[64 - (sizeof(pthread_mutex_t) + sizeof(uint64_t)) % 64];
} lock[LOCKS] = { [0 ... LOCKS - 1] = { .m = PTHREAD_MUTEX_INITIALIZER } };

static inline unsigned bucket_of(const struct mk_jid *u) { return u->bare_hash % BUCKETS; }
static inline uint32_t seconds(void) { return (uint32_t)(mk_now_usec() / 1000000); }

static void entry_free(struct entry **e)
{
	if (*e == NULL)
		return;
	explicit_bzero(*e, sizeof **e + (*e)->jid_n + (*e)->data_n);
	mk_free(*e);
	*e = NULL;
}

static bool entry_is(const struct entry *e, const struct mk_jid *u, unsigned kind)
{
	return e != NULL && e->hash == u->bare_hash && e->kind == kind &&
		e->jid_n == u->bare_n && memcmp(e->bytes, u->text, e->jid_n) == 0;
}

/* Copies its data (at most room) to out; how much, or 0. */
static size_t cache_get(const struct mk_jid *u, unsigned kind, void *out, size_t room)
{
	unsigned b = bucket_of(u);
	size_t n = 0;

	pthread_mutex_lock(&lock[b % LOCKS].m);
	for (unsigned i = 0; i < WAYS; i++) {
		struct entry *e = cache[b][i];
		if (!entry_is(e, u, kind))
			continue;
		if ((int32_t)(e->until - seconds()) <= 0) {
			entry_free(&cache[b][i]);
		} else {
			mk_assert(e->data_n <= room);
			memcpy(out, e->bytes + e->jid_n, e->data_n);
			n = e->data_n;
		}
		break;
	}
	pthread_mutex_unlock(&lock[b % LOCKS].m);
	return n;
}

/* To be taken before a source is asked. */
static uint64_t cache_ticket(const struct mk_jid *u)
{
	unsigned l = bucket_of(u) % LOCKS;
	uint64_t t;

	pthread_mutex_lock(&lock[l].m);
	t = lock[l].forgets;
	pthread_mutex_unlock(&lock[l].m);
	return t;
}

static void cache_put(const struct mk_jid *u, unsigned kind, bool fake, const void *data,
	size_t n, uint64_t ticket)
{
	unsigned b = bucket_of(u), at = fake ? 0 : FAKES, end = fake ? FAKES : WAYS;
	struct entry *e = mk_alloc(sizeof *e + u->bare_n + n);
	struct entry **way = cache[b];

	e->hash = u->bare_hash;
	e->until = seconds() + KEEP_SEC;
	e->jid_n = u->bare_n;
	e->data_n = (uint16_t)n;
	e->kind = (uint8_t)kind;
	memcpy(e->bytes, u->text, u->bare_n);
	memcpy(e->bytes + u->bare_n, data, n);
	pthread_mutex_lock(&lock[b % LOCKS].m);
	if (lock[b % LOCKS].forgets == ticket) {
		for (unsigned i = 0; i < WAYS; i++)
			if (entry_is(way[i], u, kind))
				entry_free(&way[i]);
		/* A free place, else the oldest's. */
		for (unsigned i = at; i < end; i++)
			if (way[at] != NULL && (way[i] == NULL ||
			    (int32_t)(way[i]->until - way[at]->until) < 0))
				at = i;
		entry_free(&way[at]);
		way[at] = e;
		e = NULL;
	}
	pthread_mutex_unlock(&lock[b % LOCKS].m);
	entry_free(&e);
}

void mk_account_forget(const struct mk_jid *u)
{
	unsigned b = bucket_of(u);

	pthread_mutex_lock(&lock[b % LOCKS].m);
	lock[b % LOCKS].forgets++;
	for (unsigned i = 0; i < WAYS; i++)
		if (cache[b][i] != NULL && entry_is(cache[b][i], u, cache[b][i]->kind))
			entry_free(&cache[b][i]);
	pthread_mutex_unlock(&lock[b % LOCKS].m);
}

void mk_account_forget_all(void)
{
	for (unsigned l = 0; l < LOCKS; l++) {
		pthread_mutex_lock(&lock[l].m);
		lock[l].forgets++;
		for (unsigned b = l; b < BUCKETS; b += LOCKS)
			for (unsigned i = 0; i < WAYS; i++)
				entry_free(&cache[b][i]);
		pthread_mutex_unlock(&lock[l].m);
	}
}

/* A password was right that wasn't in the cache: a source that keeps keys of it may
 * have new ones. What the caller knows is newer than that. */
static void forget_keys(const struct mk_jid *u, uint64_t *ticket)
{
	unsigned b = bucket_of(u);

	pthread_mutex_lock(&lock[b % LOCKS].m);
	if (lock[b % LOCKS].forgets++ == *ticket)
		++*ticket;
	for (unsigned i = 0; i < WAYS; i++)
		if (cache[b][i] != NULL && cache[b][i]->kind != VERIFIER &&
		    entry_is(cache[b][i], u, cache[b][i]->kind))
			entry_free(&cache[b][i]);
	pthread_mutex_unlock(&lock[b % LOCKS].m);
}

/* iterations, is_fake, salt_n, salt, stored key, server key. */
#define PACKED_HEAD 6
#define PACKED_MAX (PACKED_HEAD + 32 + 64 + 64)

static size_t keys_pack(const struct mk_scram_keys *k, uint8_t *p)
{
	size_t n = mk_hash_len(k->hash);

	memcpy(p, &k->iterations, 4);
	p[4] = k->is_fake;
	p[5] = k->salt_n;
	p += PACKED_HEAD;
	memcpy(p, k->salt, k->salt_n);
	memcpy(p + k->salt_n, k->stored_key, n);
	memcpy(p + k->salt_n + n, k->server_key, n);
	return PACKED_HEAD + k->salt_n + 2 * n;
}

bool mk_account_scram_cached(const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	uint8_t packed[PACKED_MAX], *p = packed + PACKED_HEAD;
	size_t n = mk_hash_len(h);

	if (cache_get(user, h, packed, sizeof packed) == 0)
		return false;
	memset(out, 0, sizeof *out);
	out->hash = (uint8_t)h;
	memcpy(&out->iterations, packed, 4);
	out->is_fake = packed[4];
	out->salt_n = packed[5];
	memcpy(out->salt, p, out->salt_n);
	memcpy(out->stored_key, p + out->salt_n, n);
	memcpy(out->server_key, p + out->salt_n + n, n);
	explicit_bzero(packed, sizeof packed);
	return true;
}

/* A password that was right once, as a value that is of use in this process
 * only. false: too long to be one. */
static bool verifier_make(const struct mk_jid *u, struct mk_str password, uint8_t out[32])
{
	char b[2048 + 1 + MK_PASSWORD_MAX];
	size_t n = u->bare_n;

	if (n > 2048 || password.n > MK_PASSWORD_MAX || password.n == 0)
		return false;
	pthread_once(&secret_once, secret_make);
	memcpy(b, u->text, n);
	b[n++] = '\0';
	memcpy(b + n, password.p, password.n);
	n += password.n;
	mk_hmac(MK_SHA256, secret.verifier, SECRET_LEN, b, n, out);
	explicit_bzero(b, n);
	return true;
}

int mk_account_plain_cached(const struct mk_jid *user, struct mk_str password)
{
	uint8_t tried[32], known[32];

	/* Made first, so that the work does not tell who is in the cache. */
	if (!verifier_make(user, password, tried))
		return 0;
	return cache_get(user, VERIFIER, known, sizeof known) == sizeof known &&
		mk_equal_ct(tried, known, sizeof known);
}

/* ---- how many passwords are hashed ------------------------------------------------ */

static struct {
	pthread_mutex_t m;
	int64_t rate, milli;           /* per second; tokens left, thousandths  */
	mk_usec last;
} hashing = { .m = PTHREAD_MUTEX_INITIALIZER };

void mk_account_set_hash_rate(int64_t per_second)
{
	pthread_mutex_lock(&hashing.m);
	hashing.rate = per_second;
	hashing.milli = per_second * 1000;
	hashing.last = mk_now_usec();
	pthread_mutex_unlock(&hashing.m);
}

static void count(_Atomic uint32_t *id, const char *name, const char *help)
{
	if (atomic_load_explicit(id, memory_order_relaxed) == 0)
		atomic_store(id, mk_metric_id(name, help, MK_COUNTER, NULL));
	mk_metric_bump(atomic_load_explicit(id, memory_order_relaxed), 1);
}

static bool may_hash(void)
{
	static _Atomic uint32_t done, refused;
	bool ok = true;

	pthread_mutex_lock(&hashing.m);
	if (hashing.rate > 0) {
		mk_usec now = mk_now_usec(), most = 1000000;
		mk_usec passed = now - hashing.last < most ? now - hashing.last : most;
		/* What is too little to count stays in the time that has passed. */
		int64_t more = passed * hashing.rate / 1000;
		if (more > 0) {
			hashing.last = now;
			hashing.milli += more;
			if (hashing.milli > hashing.rate * 1000)
				hashing.milli = hashing.rate * 1000;
		}
		ok = hashing.milli >= 1000;
		if (ok)
			hashing.milli -= 1000;
	}
	pthread_mutex_unlock(&hashing.m);
	if (ok)
		count(&done, "meerkat_auth_hashes_total", "Passwords hashed for a login.");
	else
		count(&refused, "meerkat_auth_hashes_refused_total",
			"Logins put off because too many passwords were to be hashed.");
	return ok;
}

/* ---- asking the sources ------------------------------------------------------------ */

static const struct mk_dispatch *dispatch_of(const struct mk_jid *user)
{
	const struct mk_domain *d = user->local_n != 0 ? mk_domain_of(user) : NULL;

	return d != NULL ? mk_dispatch(d->type) : NULL;
}

static const struct mk_dispatch *dispatch_of_domain(struct mk_str domain)
{
	const struct mk_domain *d = mk_domain_find_any(domain.p, domain.n);

	return d != NULL ? mk_dispatch(d->type) : NULL;
}

#define EACH_SOURCE(i, d) for (uint32_t i = 0; i < (d)->source_count; i++)

/*
 * A source with threads of its own (a directory may answer after seconds, or not)
 * is asked on these: a login moves there. Other jobs are its guests, a few at a
 * time, so that it never has all threads of their pool.
 */
#define GUESTS 2
#define GUEST_WAIT_USEC 50000

enum question { OTHER, PLAIN, SCRAM };

static _Thread_local struct { bool may_move; struct mk_move from, to; } moving;
static pthread_mutex_t guest_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t guest_left = PTHREAD_COND_INITIALIZER;

void mk_account_step_begin(bool may_move, struct mk_move from)
{
	moving.may_move = may_move;
	moving.from = from;
	moving.to = (struct mk_move){ NULL, 0 };
}

struct mk_move mk_account_step_end(void)
{
	moving.may_move = false;
	moving.from.inst = NULL;
	return moving.to;
}

/* Where to begin: at the source that this step has moved to, once. */
static uint32_t first_source(const struct mk_dispatch *d, enum question q, bool *moved)
{
	struct mk_inst *from = moving.from.question == q ? moving.from.inst : NULL;

	*moved = from != NULL;
	if (from == NULL)
		return 0;
	moving.from.inst = NULL;
	EACH_SOURCE(i, d)
		if (d->sources[i].inst == from)
			return i;
	return 0;                      /* another order meanwhile               */
}

static bool guest_enter(struct mk_inst *i)
{
	bool in_time = true;

	pthread_mutex_lock(&guest_lock);
	if (i->guests >= GUESTS && !i->guests_wait_in_vain) {
		mk_usec until = mk_now_usec() + GUEST_WAIT_USEC;
		while (in_time && i->guests >= GUESTS)
			in_time = mk_cond_wait(&guest_left, &guest_lock, until);
		/* Whoever comes until one has left need not wait as well. */
		i->guests_wait_in_vain = !in_time;
	}
	bool ok = i->guests < GUESTS;
	if (ok)
		i->guests++;
	pthread_mutex_unlock(&guest_lock);
	return ok;
}

/* YES: the source may be asked, and left after that. LATER, ELSEWHERE: not so. */
static enum mk_auth_answer source_enter(struct mk_inst *i, enum question q)
{
	/* Gone for a moment: the client should not take that for a no. */
	if (!mk_inst_enter(i))
		return MK_AUTH_LATER;
	if (!i->has_own_pool || mk_in_pool(i->pool))
		return MK_AUTH_YES;
	if (q != OTHER && moving.may_move && moving.to.inst == NULL) {
		moving.to = (struct mk_move){ i, (uint8_t)q };
		return MK_AUTH_ELSEWHERE;
	}
	if (guest_enter(i))
		return MK_AUTH_YES;
	mk_inst_leave(i);
	return MK_AUTH_LATER;
}

static void source_leave(struct mk_inst *i)
{
	if (i->has_own_pool && !mk_in_pool(i->pool)) {
		pthread_mutex_lock(&guest_lock);
		i->guests--;
		i->guests_wait_in_vain = false;
		pthread_cond_broadcast(&guest_left);
		pthread_mutex_unlock(&guest_lock);
	}
	mk_inst_leave(i);
}

static enum mk_auth_answer exists_in(const struct mk_dispatch *d, struct mk_store *st,
	const struct mk_jid *user)
{
	enum mk_auth_answer a = MK_AUTH_UNKNOWN;
	uint64_t ticket = cache_ticket(user);
	uint8_t yes;

	for (uint32_t i = 0; i < d->source_count && a == MK_AUTH_UNKNOWN; i++) {
		struct mk_inst *inst = d->sources[i].inst;
		if (inst->has_own_pool && cache_get(user, EXISTS, &yes, sizeof yes) != 0)
			return MK_AUTH_YES;
		if (source_enter(inst, OTHER) != MK_AUTH_YES)
			return MK_AUTH_LATER;
		a = d->sources[i].s->exists(inst, st, user);
		source_leave(inst);
		if (a == MK_AUTH_YES && inst->has_own_pool)
			cache_put(user, EXISTS, false, "y", 1, ticket);
	}
	return a;
}

enum mk_auth_answer mk_account_exists(struct mk_store *st, const struct mk_jid *user)
{
	const struct mk_dispatch *d = dispatch_of(user);

	return d != NULL ? exists_in(d, st, user) : MK_AUTH_UNKNOWN;
}

/* A source's answer is not taken on trust: its table may be damaged. */
static enum mk_auth_answer ask_scram(struct mk_inst *i, const struct mk_source *s,
	struct mk_store *st, const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	enum mk_auth_answer a = s->scram(i, st, user, h, out);

	if (a != MK_AUTH_YES || (out->hash == h && out->iterations > 0 &&
	    out->salt_n <= sizeof out->salt))
		return a;
	mk_log(i, MK_ERROR, "source gave keys that can't be", "user=%s", mk_jid_full(user));
	return MK_AUTH_LATER;
}

enum mk_auth_answer mk_account_scram(struct mk_store *st, const struct mk_jid *user,
	enum mk_hash h, struct mk_scram_keys *out)
{
	const struct mk_dispatch *d = dispatch_of(user);
	enum mk_auth_answer a = MK_AUTH_UNKNOWN;
	uint64_t ticket = cache_ticket(user);
	struct mk_scram_keys k = { 0 };
	bool moved;

	if (d == NULL)
		return MK_AUTH_UNKNOWN;
	for (uint32_t i = first_source(d, SCRAM, &moved);
	     i < d->source_count && a == MK_AUTH_UNKNOWN; i++) {
		if (d->sources[i].s->scram == NULL)
			continue;
		a = source_enter(d->sources[i].inst, SCRAM);
		if (a != MK_AUTH_YES)
			return a;
		a = ask_scram(d->sources[i].inst, d->sources[i].s, st, user, h, &k);
		source_leave(d->sources[i].inst);
	}
	if (a == MK_AUTH_YES) {
		k.is_fake = 0;
		*out = k;
	} else if (a == MK_AUTH_UNKNOWN || a == MK_AUTH_NO) {
		mk_scram_fake(user, h, &k);
	}
	if (a != MK_AUTH_LATER) {
		uint8_t packed[PACKED_MAX];
		cache_put(user, h, k.is_fake, packed, keys_pack(&k, packed), ticket);
		explicit_bzero(packed, sizeof packed);
	}
	explicit_bzero(&k, sizeof k);
	return a;
}

void mk_scram_fake(const struct mk_jid *user, enum mk_hash h, struct mk_scram_keys *out)
{
	const struct mk_dispatch *d = dispatch_of(user);
	uint8_t mac[64];
	char b[16 + 2048];
	size_t name_n = strlen(mk_hash_name(h)), n = mk_jid_bare(user).n;

	pthread_once(&secret_once, secret_make);
	memset(out, 0, sizeof *out);
	out->hash = (uint8_t)h;
	out->is_fake = 1;
	out->iterations = MK_SCRAM_ITERATIONS;
	if (d != NULL)
		EACH_SOURCE(i, d) {
			const struct mk_source *s = d->sources[i].s;
			if (s->has_scram == NULL || !s->has_scram(d->sources[i].inst, h))
				continue;
			if (s->size > offsetof(struct mk_source, iterations) && s->iterations != NULL)
				out->iterations = s->iterations(d->sources[i].inst, h);
			break;
		}
	mk_assert(1 + name_n + 1 + n <= sizeof b);
	memcpy(b + 1, mk_hash_name(h), name_n);
	b[1 + name_n] = '\0';
	memcpy(b + 2 + name_n, user->text, n);
	/* Three independent values of one key: told apart by their first byte. */
	b[0] = 's';
	mk_hmac(MK_SHA256, secret.fake, SECRET_LEN, b, 2 + name_n + n, mac);
	out->salt_n = 16;
	memcpy(out->salt, mac, 16);
	b[0] = 'k';
	mk_hmac(MK_SHA512, secret.fake, SECRET_LEN, b, 2 + name_n + n, mac);
	memcpy(out->stored_key, mac, mk_hash_len(h));
	b[0] = 'v';
	mk_hmac(MK_SHA512, secret.fake, SECRET_LEN, b, 2 + name_n + n, mac);
	memcpy(out->server_key, mac, mk_hash_len(h));
}

static bool is_right(struct mk_str password, const struct mk_scram_keys *k)
{
	struct mk_scram_keys tried;

	mk_scram_derive(k->hash, password, k->salt, k->salt_n, k->iterations, &tried);
	bool ok = mk_equal_ct(tried.stored_key, k->stored_key, mk_hash_len(k->hash));
	explicit_bzero(&tried, sizeof tried);
	return ok;
}

/* In this order a password is compared with stored keys. */
static const enum mk_hash by_preference[] = { MK_SHA256, MK_SHA512, MK_SHA1, MK_SHA384, MK_SHA224 };
#define HASHES (sizeof by_preference / sizeof *by_preference)

/* First the hashes that the source has now, then those it may have had. */
static enum mk_auth_answer plain_by_keys(struct mk_inst *i, const struct mk_source *s,
	struct mk_store *st, const struct mk_jid *user, struct mk_str password, bool *hashed)
{
	struct mk_scram_keys k = { 0 };
	enum mk_auth_answer a = MK_AUTH_UNKNOWN;

	for (unsigned x = 0; x < 2 * HASHES; x++) {
		enum mk_hash h = by_preference[x % HASHES];
		bool has = s->has_scram == NULL || s->has_scram(i, h);
		if (has != (x < HASHES))
			continue;
		a = ask_scram(i, s, st, user, h, &k);
		if (a != MK_AUTH_NO)
			break;
	}
	if (a == MK_AUTH_YES) {
		*hashed = true;
		a = is_right(password, &k) ? MK_AUTH_YES : MK_AUTH_NO;
	}
	explicit_bzero(&k, sizeof k);
	return a;
}

/* Nobody's keys, for the time it takes. */
static void hash_for_nothing(const struct mk_dispatch *d, const struct mk_jid *user,
	struct mk_str password)
{
	enum mk_hash h = MK_SHA256;
	struct mk_scram_keys k;

	for (unsigned x = HASHES; x-- > 0; )
		EACH_SOURCE(i, d)
			if (d->sources[i].s->has_scram != NULL &&
			    d->sources[i].s->has_scram(d->sources[i].inst, by_preference[x]))
				h = by_preference[x];
	mk_scram_fake(user, h, &k);
	(void)is_right(password, &k);
}

enum mk_auth_answer mk_account_plain(struct mk_store *st, const struct mk_jid *user,
	struct mk_str password)
{
	const struct mk_dispatch *d = dispatch_of(user);
	enum mk_auth_answer a = MK_AUTH_UNKNOWN;
	uint64_t ticket = cache_ticket(user);
	uint8_t verifier[32];
	bool hashed = false, moved;

	if (d == NULL || password.n == 0 || password.n > MK_PASSWORD_MAX)
		return MK_AUTH_UNKNOWN;
	if (mk_account_plain_cached(user, password))
		return MK_AUTH_YES;
	uint32_t first = first_source(d, PLAIN, &moved);
	if (!moved && !may_hash())
		return MK_AUTH_LATER;
	for (uint32_t i = first; i < d->source_count && a == MK_AUTH_UNKNOWN; i++) {
		const struct mk_source *s = d->sources[i].s;
		struct mk_inst *inst = d->sources[i].inst;
		if (s->plain == NULL && s->scram == NULL)
			continue;
		a = source_enter(inst, PLAIN);
		if (a != MK_AUTH_YES)
			return a;
		a = s->plain != NULL ? s->plain(inst, st, user, password)
		                     : plain_by_keys(inst, s, st, user, password, &hashed);
		source_leave(inst);
		if (a == MK_AUTH_YES && s->plain != NULL && s->scram != NULL)
			forget_keys(user, &ticket);
	}
	if ((a == MK_AUTH_UNKNOWN || a == MK_AUTH_NO) && !hashed)
		hash_for_nothing(d, user, password);
	if (a == MK_AUTH_YES && verifier_make(user, password, verifier)) {
		cache_put(user, VERIFIER, false, verifier, sizeof verifier, ticket);
		explicit_bzero(verifier, sizeof verifier);
	}
	return a;
}

/* ---- changing them ------------------------------------------------------------------ */

int mk_account_set_password(struct mk_store *st, const struct mk_jid *user,
	struct mk_str password, bool create)
{
	const struct mk_dispatch *d = dispatch_of(user);
	struct mk_str prepared;
	bool can = false;
	int r = -MK_ENOENT;

	if (d == NULL)
		return -MK_ENOENT;
	if (mk_saslprep(mk_store_arena(st), password, &prepared) < 0 || prepared.n == 0)
		return -MK_EINVAL;
	if (create) {
		/* One user in two sources would have two passwords. */
		switch (exists_in(d, st, user)) {
		case MK_AUTH_UNKNOWN: break;
		case MK_AUTH_LATER: return -MK_EAGAIN;
		default: return -MK_EEXIST;
		}
	}
	for (uint32_t i = 0; i < d->source_count && r == -MK_ENOENT; i++) {
		if (d->sources[i].s->set_password == NULL)
			continue;
		if (source_enter(d->sources[i].inst, OTHER) != MK_AUTH_YES) {
			r = -MK_EAGAIN;
			break;
		}
		can = true;
		r = d->sources[i].s->set_password(d->sources[i].inst, st, user, prepared, create);
		source_leave(d->sources[i].inst);
	}
	/* Also after a failure: it may have been written. */
	mk_account_forget(user);
	if (prepared.p != password.p)
		explicit_bzero((char *)prepared.p, prepared.n);
	if (r == -MK_ENOENT && !can)
		return -MK_EPERM;
	return r < 0 ? r : 0;
}

struct end { const struct mk_jid *user; struct mk_stanza *last; };

void (*mk_account_ends)(const struct mk_jid *user);

static void end_sessions(struct mk_worker *w, void *arg)
{
	const struct end *end = arg;

	if (mk_account_ends != NULL && mk_home_of(end->user) == w)
		mk_account_ends(end->user);
	struct mk_entity *e = mk_home_of(end->user) == w ? mk_entity_find(end->user) : NULL;
	struct mk_session *s, *next;

	if (e == NULL)
		return;
	mk_entity_keep(e);             /* the last one's end is not e's, yet    */
	for (s = mk_entity_sessions(e); s != NULL; s = next) {
		next = mk_session_next(s);
		if (end->last != NULL && mk_jid_eq(end->last->to, s->jid) && mk_session_is_open(s))
			mk_session_deliver(s, end->last, NULL);
		/* XEP-0077 3.2: what a client whose account is gone is told. */
		mk_session_close(s, MK_CLOSE_KICKED, "not-authorized", NULL);
	}
	mk_entity_unkeep(e);
}

#define HOOK_ACCOUNT_REMOVED 10

static void tell_plugins(const struct mk_dispatch *d, struct mk_store *st,
	const struct mk_jid *user)
{
	const struct mk_chain *c = &d->chain[HOOK_ACCOUNT_REMOVED][0];
	struct mk_ev_account ev = { user };

	for (uint32_t i = 0; i < c->n; i++) {
		if (c->h[i].run != MK_STORED || !mk_inst_enter(c->h[i].inst))
			continue;
		((mk_account_removed_stored_fn *)c->h[i].fn)(c->h[i].inst, &ev, st);
		mk_inst_leave(c->h[i].inst);
	}
}

/* Removes the row of the one source that has it. 0, -MK_ENOENT, -MK_EPERM ... */
static int remove_from_source(const struct mk_dispatch *d, struct mk_store *st,
	const struct mk_jid *user)
{
	EACH_SOURCE(i, d) {
		const struct mk_source *s = d->sources[i].s;
		struct mk_inst *inst = d->sources[i].inst;
		int r;
		if (source_enter(inst, OTHER) != MK_AUTH_YES)
			return -MK_EAGAIN;
		if (s->remove != NULL) {
			r = s->remove(inst, st, user);
		} else {
			enum mk_auth_answer a = s->exists(inst, st, user);
			r = a == MK_AUTH_UNKNOWN ? -MK_ENOENT : a == MK_AUTH_LATER ? -MK_EAGAIN
			                                                           : -MK_EPERM;
		}
		source_leave(inst);
		if (r != -MK_ENOENT)
			return r;
	}
	return -MK_ENOENT;
}

int mk_account_remove_saying(struct mk_store *st, const struct mk_jid *user,
	struct mk_stanza *last)
{
	const struct mk_dispatch *d = user->local_n != 0
		? dispatch_of_domain(mk_jid_domain(user)) : NULL;
	uint64_t rows = 0;
	int r, erased;

	if (d == NULL)
		return -MK_ENOENT;
	r = remove_from_source(d, st, user);
	mk_account_forget(user);
	if (r < 0 && r != -MK_ENOENT)
		return r;
	struct end end = { user, last };
	if (last != NULL)
		mk_stanza_seal(last);
	if (mk_worker_count != 0)
		mk_workers_call(end_sessions, &end);
	tell_plugins(d, st, user);
	erased = mk_store_erase_user(st, user, &rows);
	if (r == 0)
		mk_log(NULL, MK_NOTICE, "account removed", "user=%s rows=%llu", mk_jid_full(user),
			(unsigned long long)rows);
	return erased < 0 ? erased : r;
}

int mk_account_remove(struct mk_store *st, const struct mk_jid *user)
{
	return mk_account_remove_saying(st, user, NULL);
}

/* ---- listing them ------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	const struct mk_str *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int r = n != 0 ? memcmp(x->p, y->p, n) : 0;

	return r != 0 ? r : x->n < y->n ? -1 : x->n > y->n;
}

int mk_account_list(struct mk_store *st, struct mk_str domain, struct mk_str after,
	uint32_t limit, struct mk_str **users_out)
{
	const struct mk_dispatch *d = dispatch_of_domain(domain);
	struct mk_str *all = NULL, *page;
	uint32_t n = 0, kept = 0, sources = 0;

	if (d == NULL)
		return -MK_ENOENT;
	EACH_SOURCE(i, d) {
		int r;
		if (d->sources[i].s->list == NULL)
			continue;
		if (source_enter(d->sources[i].inst, OTHER) != MK_AUTH_YES)
			return -MK_EAGAIN;
		r = d->sources[i].s->list(d->sources[i].inst, st, domain, after, limit, &page);
		source_leave(d->sources[i].inst);
		if (r < 0)
			return r;
		sources++;
		if (r == 0)
			continue;
		struct mk_str *more = mk_arena_alloc(mk_store_arena(st), (n + (size_t)r) * sizeof *more);
		if (n != 0)
			memcpy(more, all, n * sizeof *more);
		memcpy(more + n, page, (size_t)r * sizeof *more);
		all = more;
		n += (uint32_t)r;
	}
	if (sources == 0)
		return -MK_EPERM;
	if (sources > 1 && n > 1)
		qsort(all, n, sizeof *all, by_bytes);
	for (uint32_t i = 0; i < n && kept < limit; i++)
		if (kept == 0 || !mk_str_eq(all[kept - 1], all[i]))
			all[kept++] = all[i];
	*users_out = all;
	return (int)kept;
}

int mk_account_count(struct mk_store *st, struct mk_str domain, uint64_t *count_out)
{
	const struct mk_dispatch *d = dispatch_of_domain(domain);
	uint64_t sum = 0, one;
	uint32_t sources = 0;

	if (d == NULL)
		return -MK_ENOENT;
	EACH_SOURCE(i, d) {
		int r;
		if (d->sources[i].s->count == NULL)
			continue;
		if (source_enter(d->sources[i].inst, OTHER) != MK_AUTH_YES)
			return -MK_EAGAIN;
		r = d->sources[i].s->count(d->sources[i].inst, st, domain, &one);
		source_leave(d->sources[i].inst);
		if (r < 0)
			return r;
		sum += one;
		sources++;
	}
	if (sources == 0)
		return -MK_EPERM;
	*count_out = sum;
	return 0;
}
