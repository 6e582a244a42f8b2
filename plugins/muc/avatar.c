/*
 * muc/avatar.c - a room's avatar (XEP-0486), in a vCard (XEP-0054) that its owners set;
 * how much is said in it (XEP-0502)
 *
 * The vCard is kept as text with the room; the photos' hashes (XEP-0153) are made
 * once, when it is set. At the room's home.
 */
#include "room.h"

#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <stdio.h>

#define NS_VCARD "vcard-temp"

/* ---- hashes -------------------------------------------------------------------------- */

/* Of one photo, as hexadecimal text; false: it is no Base64. */
static bool hash_photo(const struct mk_elem *photo, char out[41])
{
	struct mk_str text = mk_elem_child_text(photo, "BINVAL", NULL);
	char *dense = mk_alloc(text.n + 1);
	uint8_t *bytes = mk_alloc(3 * (text.n / 4) + 4), sha1[20];
	size_t n = 0;
	int len;

	for (size_t k = 0; k < text.n; k++)
		if (strchr(" \t\r\n", text.p[k]) == NULL)
			dense[n++] = text.p[k];
	len = mk_base64_decode(bytes, dense, n);
	if (len > 0 && gnutls_hash_fast(GNUTLS_DIG_SHA1, bytes, (size_t)len, sha1) < 0)
		len = 0;
	for (size_t k = 0; len > 0 && k < sizeof sha1; k++)
		snprintf(out + 2 * k, 3, "%02x", sha1[k]);
	mk_free(dense);
	mk_free(bytes);
	return len > 0;
}

/* Of all photos, each ended by a line feed; "" without; NULL: one can't be read. */
static const char *hashes(struct mk_arena *a, const struct mk_elem *vcard)
{
	const char *all = "";
	char hash[41];

	for (const struct mk_elem *c = mk_elem_first(vcard); c != NULL; c = mk_elem_next(c)) {
		if (!mk_elem_is(c, "PHOTO", NULL) || mk_elem_child(c, "BINVAL", NULL) == NULL)
			continue;
		if (!hash_photo(c, hash))
			return NULL;
		all = mk_arena_printf(a, "%s%s\n", all, hash);
	}
	return all;
}

/* ---- requests ------------------------------------------------------------------------ */

static void avatar_set(struct room *r, struct mk_iq_req *q, struct room_change *c, int err)
{
	static const int codes[] = { 104, 0 };

	(void)c;
	if (err < 0)
		return;
	mk_iq_result(q, NULL);
	room_tell_codes(r, codes);
}

static enum mk_verdict set(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	const struct muc_conf *conf = mk_inst_conf(i);
	const struct mk_elem *vcard = mk_iq_payload(q);
	struct mk_str text = mk_elem_write(mk_iq_arena(q), vcard);
	struct room_change *c;

	if (room_affil(r, mk_iq_from(q)) != AFFIL_OWNER) {
		mk_iq_error(q, MK_ERR_FORBIDDEN, "Only owners are allowed to set avatars.");
		return MK_DONE;
	}
	if (text.n > (size_t)conf->max_vcard) {
		mk_iq_error(q, MK_ERR_NOT_ACCEPTABLE, "Too long.");
		return MK_DONE;
	}
	c = room_change_new(r);
	c->sets_vcard = true;
	if (mk_elem_first(vcard) != NULL)
		c->vcard = mk_arena_strndup(c->arena, text.p, text.n);
	c->avatar = hashes(c->arena, vcard);
	if (c->avatar == NULL) {
		room_change_free(&c);
		return MK_FAIL;
	}
	return room_change_iq(r, q, c, avatar_set);
}

enum mk_verdict avatar_iq(struct mk_inst *i, struct room *r, struct mk_iq_req *q)
{
	struct mk_elem *vcard;

	if (!mk_elem_is(mk_iq_payload(q), "vCard", NS_VCARD))
		return MK_NEXT;
	if (r == NULL) {
		mk_iq_error(q, MK_ERR_ITEM_NOT_FOUND, NULL);
		return MK_DONE;
	}
	if (mk_iq_is_set(q))
		return set(i, r, q);
	if (r->vcard == NULL || mk_elem_read(mk_iq_arena(q), mk_strz(r->vcard), &vcard) < 0)
		vcard = mk_elem_new(mk_iq_arena(q), "vCard", NS_VCARD);
	mk_iq_result(q, vcard);
	return MK_DONE;
}

void avatar_info(const struct room *r, struct mk_elem *x)
{
	struct mk_elem *f;

	if (r->avatar == NULL || *r->avatar == '\0')
		return;
	f = form_field(x, "muc#roominfo_avatarhash", "text-multi", "Avatar hash", NULL);
	for (const char *p = r->avatar, *end; (end = strchr(p, '\n')) != NULL; p = end + 1)
		mk_elem_add_text(f, "value", NULL, (struct mk_str){ p, (size_t)(end - p) });
}

/* ---- activity ------------------------------------------------------------------------ */

/* The counters move on to the present hour; what the room has not known is not there. */
static void shift(struct activity *a)
{
	int64_t now = mk_now_usec() / (INT64_C(3600) * 1000000), hours = now - a->hour;

	if (a->hour == 0 || hours > ACTIVITY_HOURS) {
		uint8_t known = a->hour == 0 ? 0 : ACTIVITY_HOURS;
		*a = (struct activity){ .hour = now, .known = known };
		return;
	}
	for (; hours > 0; hours--) {
		memmove(a->count + 1, a->count, ACTIVITY_HOURS * sizeof *a->count);
		a->count[0] = 0;
		if (a->known < ACTIVITY_HOURS)
			a->known++;
	}
	a->hour = now;
}

void activity_count(struct room *r)
{
	shift(&r->activity);
	r->activity.count[0]++;
}

void activity_info(struct room *r, struct mk_elem *x)
{
	struct activity *a = &r->activity;
	uint64_t sum = 0;
	char text[32];

	/* Of what all may see and enter (7). */
	if (!r->is_stored || !r->conf.is_public || r->conf.is_members_only ||
	    r->conf.password != NULL)
		return;
	shift(a);
	if (a->known == 0)
		return;
	for (uint32_t k = 1; k <= a->known; k++)
		sum += a->count[k];
	snprintf(text, sizeof text, "%.2f", (double)sum / a->known);
	form_field(x, "{urn:xmpp:muc-activity}message-activity", NULL, "Messages per hour", text);
}
