/*
 * xml/stanza_test.c - stanzas: kinds, errors, edits, what is kept, rendering
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "xml/stanza.h"

static struct mk_jid *romeo, *juliet, *nurse;

/* From what came in or was stored; NULL if it is no stanza. */
static struct mk_stanza *stanza(const char *xml)
{
	struct mk_arena *a = mk_arena_new();
	struct mk_stanza *s = NULL;
	struct mk_elem *e;

	if (mk_elem_read(a, mk_strz(xml), &e) < 0)
		fail_msg("'%s' is no XML", xml);
	mk_stanza_from_elem(e, &s);
	mk_arena_free(&a);
	return s;
}

#define C " xmlns='jabber:client'"

static void check_rendering(const struct mk_stanza *s, const struct mk_jid *to, const char *expected)
{
	struct mk_buf b = { NULL, 0, 0 };

	mk_stanza_render(&b, s, to);
	assert_string_equal(mk_buf_z(&b), expected);
	mk_buf_free(&b);
}

static void test_kind_type_and_match_are_read(void **state)
{
	static const struct { const char *xml; uint8_t kind, type, match, bad; } rows[] = {
		{ "<message" C "/>", MK_MESSAGE, MK_TYPE_NONE, MK_M_MESSAGE, 0 },
		{ "<message" C " type='chat'/>", MK_MESSAGE, MK_TYPE_CHAT, MK_M_MESSAGE, 0 },
		{ "<message" C " type='normal'/>", MK_MESSAGE, MK_TYPE_NORMAL, MK_M_MESSAGE, 0 },
		{ "<message" C " type='groupchat'/>", MK_MESSAGE, MK_TYPE_GROUPCHAT, MK_M_MESSAGE, 0 },
		{ "<message" C " type='headline'/>", MK_MESSAGE, MK_TYPE_HEADLINE, MK_M_MESSAGE, 0 },
		{ "<message" C " type='error'/>", MK_MESSAGE, MK_TYPE_ERROR, MK_M_ERROR, 0 },
		{ "<message" C " type='get'/>", MK_MESSAGE, MK_TYPE_NONE, MK_M_MESSAGE, 1 },
		{ "<message" C " type='CHAT'/>", MK_MESSAGE, MK_TYPE_NONE, MK_M_MESSAGE, 1 },
		{ "<presence" C "/>", MK_PRESENCE, MK_TYPE_NONE, MK_M_PRESENCE, 0 },
		{ "<presence" C " type='unavailable'/>", MK_PRESENCE, MK_TYPE_UNAVAILABLE, MK_M_PRESENCE, 0 },
		{ "<presence" C " type='probe'/>", MK_PRESENCE, MK_TYPE_PROBE, MK_M_PROBE, 0 },
		{ "<presence" C " type='subscribe'/>", MK_PRESENCE, MK_TYPE_SUBSCRIBE, MK_M_SUBSCRIPTION, 0 },
		{ "<presence" C " type='subscribed'/>", MK_PRESENCE, MK_TYPE_SUBSCRIBED, MK_M_SUBSCRIPTION, 0 },
		{ "<presence" C " type='unsubscribe'/>", MK_PRESENCE, MK_TYPE_UNSUBSCRIBE, MK_M_SUBSCRIPTION, 0 },
		{ "<presence" C " type='unsubscribed'/>", MK_PRESENCE, MK_TYPE_UNSUBSCRIBED, MK_M_SUBSCRIPTION, 0 },
		{ "<presence" C " type='error'/>", MK_PRESENCE, MK_TYPE_ERROR, MK_M_ERROR, 0 },
		{ "<presence" C " type='available'/>", MK_PRESENCE, MK_TYPE_NONE, MK_M_PRESENCE, 1 },
		{ "<iq" C " type='get'/>", MK_IQ, MK_TYPE_GET, MK_M_IQ, 0 },
		{ "<iq" C " type='set'/>", MK_IQ, MK_TYPE_SET, MK_M_IQ, 0 },
		{ "<iq" C " type='result'/>", MK_IQ, MK_TYPE_RESULT, MK_M_ANSWER, 0 },
		{ "<iq" C " type='error'/>", MK_IQ, MK_TYPE_ERROR, MK_M_ANSWER, 0 },
		{ "<iq" C "/>", MK_IQ, MK_TYPE_NONE, MK_M_IQ, 1 },
		{ "<iq" C " type='chat'/>", MK_IQ, MK_TYPE_NONE, MK_M_IQ, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mk_stanza *s = stanza(rows[i].xml);
		assert_non_null(s);
		assert_int_equal(mk_stanza_kind(s), rows[i].kind);
		assert_int_equal(mk_stanza_type(s), rows[i].type);
		assert_int_equal(s->match, rows[i].match);
		assert_int_equal(!!(s->flags & MK_STANZA_BAD_TYPE), rows[i].bad);
		if (!rows[i].bad)
			assert_true(mk_streq(mk_stanza_type_name(s->type), mk_elem_attr(s->root, "type")));
		assert_null(mk_stanza_id(s));
		assert_null(mk_stanza_from(s));
		mk_stanza_unref(&s);
	}
	assert_null(stanza("<message xmlns='jabber:server'/>"));
	assert_null(stanza("<message/>"));
	assert_null(stanza("<msg" C "/>"));
	assert_null(stanza("<message" C " to='@'/>"));
	assert_null(stanza("<message" C " from='a b@c'/>"));
}

static void test_a_stanza_is_built_sealed_and_rendered(void **state)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, "chat", romeo, juliet);

	(void)state;
	mk_stanza_set_id(s, "1'");
	mk_elem_add_text(mk_stanza_root(s), "body", NULL, MK_STR("O & <3"));
	assert_string_equal(mk_stanza_id(s), "1'");
	assert_ptr_equal(mk_stanza_arena(s), s->arena);
	assert_ptr_equal(mk_stanza_to(s), juliet);
	assert_true(mk_stanza_time(s) > 1600000000000);
	mk_stanza_seal(s);
	mk_stanza_seal(s);
	assert_true(mk_stanza_storable(s));
	check_rendering(s, NULL, "<message to='juliet@capulet.example' type='chat' "
		"from='romeo@montague.example/o&apos;x' id='1&apos;'><body>O &amp; &lt;3</body></message>");
	check_rendering(s, romeo, "<message to='romeo@montague.example/o&apos;x' type='chat' "
		"from='romeo@montague.example/o&apos;x' id='1&apos;'><body>O &amp; &lt;3</body></message>");
	mk_stanza_unref(&s);
	assert_null(s);
	/* Addresses that are set again, or taken away. */
	s = mk_stanza_new(MK_IQ, "result", NULL, NULL);
	mk_stanza_set_to(s, romeo);
	mk_stanza_set_to(s, nurse);
	mk_stanza_set_from(s, juliet);
	mk_stanza_set_from(s, NULL);
	check_rendering(s, NULL, "<iq to='nurse@capulet.example/pda' type='result'/>");
	mk_stanza_set_to(s, NULL);
	check_rendering(s, NULL, "<iq type='result'/>");
	mk_stanza_unref(&s);
	/* From elsewhere, with what it had. */
	s = stanza("<message" C " from='A@B/c' to='D@e' id='x' xml:lang='de'><body>x</body></message>");
	assert_string_equal(mk_jid_full(mk_stanza_from(s)), "a@b/c");
	assert_string_equal(mk_stanza_lang(s), "de");
	check_rendering(s, NULL, "<message to='d@e' from='a@b/c' id='x' xml:lang='de'>"
		"<body>x</body></message>");
	mk_stanza_unref(&s);
}

static void test_for_many_it_is_rendered_once(void **state)
{
	struct mk_stanza *s = mk_stanza_new(MK_PRESENCE, NULL, romeo, juliet);
	struct mk_shared *wire;

	(void)state;
	s->flags |= MK_STANZA_FANOUT;
	check_rendering(s, NULL, "<presence to='juliet@capulet.example' "
		"from='romeo@montague.example/o&apos;x'/>");
	assert_null(s->wire);                  /* still open */
	mk_stanza_seal(s);
	check_rendering(s, nurse, "<presence to='nurse@capulet.example/pda' "
		"from='romeo@montague.example/o&apos;x'/>");
	wire = s->wire;
	assert_non_null(wire);
	check_rendering(s, NULL, "<presence to='juliet@capulet.example' "
		"from='romeo@montague.example/o&apos;x'/>");
	assert_ptr_equal(s->wire, wire);
	/* An edit begins anew. */
	mk_elem_add_text(mk_stanza_edit(&s)->root, "show", NULL, MK_STR("away"));
	mk_stanza_seal(s);
	check_rendering(s, NULL, "<presence to='juliet@capulet.example' "
		"from='romeo@montague.example/o&apos;x'><show>away</show></presence>");
	mk_stanza_unref(&s);
}

static void test_copies_have_the_same_uid_whenever_they_were_made(void **state)
{
	struct mk_stanza *s = stanza("<message" C " from='a@b' to='c@d'><body>x</body></message>");
	struct mk_stanza *early = mk_stanza_ref(s), *late, *of_early;
	int64_t uid;

	(void)state;
	mk_stanza_seal(s);
	mk_stanza_edit(&early);
	mk_stanza_seal(early);
	of_early = mk_stanza_ref(early);
	mk_stanza_edit(&of_early);
	uid = mk_stanza_uid(of_early);
	assert_true(uid > 0);
	late = mk_stanza_ref(s);
	mk_stanza_edit(&late);
	assert_int_equal(mk_stanza_uid(s), uid);
	assert_int_equal(mk_stanza_uid(early), uid);
	assert_int_equal(mk_stanza_uid(late), uid);
	assert_int_equal(mk_stanza_uid(of_early), uid);
	mk_stanza_unref(&of_early);
	mk_stanza_unref(&early);
	mk_stanza_unref(&late);
	mk_stanza_unref(&s);
	s = stanza("<message" C " from='a@b' to='c@d'><body>x</body></message>");
	mk_stanza_set_uid(s, uid);
	assert_int_equal(mk_stanza_uid(s), uid);
	mk_stanza_unref(&s);
}

static void test_an_edit_is_seen_by_its_holder_only(void **state)
{
	struct mk_stanza *s = stanza("<message" C " from='a@b' to='c@d' id='1'><body>x</body>"
		"<stanza-id xmlns='urn:xmpp:sid:0' by='c@d' id='2'/></message>");
	struct mk_stanza *mine = mk_stanza_ref(s), *same, *second;
	static const char before[] = "<message to='c@d' from='a@b' id='1'><body>x</body>"
		"<stanza-id xmlns='urn:xmpp:sid:0' by='c@d' id='2'/></message>";

	(void)state;
	mk_stanza_seal(s);
	s->uid = 77;
	mk_stanza_edit(&mine);
	assert_ptr_not_equal(mine, s);
	assert_false(mine->flags & MK_STANZA_SEALED);
	assert_int_equal(mine->uid, 77);
	mk_elem_remove(mine->root, mk_elem_child(mine->root, "stanza-id", NULL));
	mk_elem_set(mk_stanza_root(mine), "id", "3");
	mk_elem_add(mine->root, "no-store", "urn:xmpp:hints");
	mk_stanza_set_to(mine, juliet);
	mk_stanza_seal(mine);
	assert_string_equal(mk_stanza_id(mine), "3");
	assert_false(mk_stanza_storable(mine));
	assert_true(mk_stanza_storable(s));
	check_rendering(s, NULL, before);
	check_rendering(mine, NULL, "<message to='juliet@capulet.example' from='a@b' id='3'>"
		"<body>x</body><no-store xmlns='urn:xmpp:hints'/></message>");
	/* Alone, it is changed in place. */
	same = mine;
	mk_stanza_edit(&mine);
	assert_ptr_equal(mine, same);
	mk_stanza_seal(mine);
	/* A copy of a copy holds them all. */
	second = mk_stanza_ref(mine);
	mk_stanza_edit(&second);
	mk_elem_set(second->root, "type", "chat");
	mk_stanza_seal(second);
	assert_int_equal(second->type, MK_TYPE_CHAT);
	mk_stanza_unref(&s);
	mk_stanza_unref(&mine);
	check_rendering(second, NULL, "<message to='juliet@capulet.example' from='a@b' id='3' type='chat'>"
		"<body>x</body><no-store xmlns='urn:xmpp:hints'/></message>");
	mk_stanza_unref(&second);
}

static void test_what_is_kept_if_nobody_takes_it(void **state)
{
	static const struct { bool kept; const char *type, *content; } rows[] = {
		{ true, "", "<body>x</body>" },
		{ true, "chat", "<body>x</body>" },
		{ true, "normal", "<subject>x</subject>" },
		{ true, "nonsense", "<body/>" },
		{ false, "groupchat", "<body>x</body>" },
		{ false, "headline", "<body>x</body>" },
		{ false, "error", "<body>x</body>" },
		{ false, "", "" },
		{ false, "chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>" },
		{ false, "chat", "<active xmlns='http://jabber.org/protocol/chatstates'/>"
			"<thread>x</thread>" },
		{ true, "chat", "<body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/>" },
		{ false, "chat", "<body xmlns='other'/>" },
		{ true, "chat", "<received xmlns='urn:xmpp:receipts' id='1'/>" },
		{ false, "chat", "<request xmlns='urn:xmpp:receipts'/>" },
		{ true, "chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>" },
		{ false, "chat", "<markable xmlns='urn:xmpp:chat-markers:0'/>" },
		{ true, "chat", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>" },
		{ true, "chat", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>" },
		{ true, "chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>" },
		{ true, "chat", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>" },
		{ true, "chat", "<x xmlns='jabber:x:encrypted'>x</x>" },
		{ true, "", "<x xmlns='jabber:x:conference' jid='a@b'/>" },
		{ false, "chat", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>" },
		{ false, "chat", "<no-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>" },
		{ true, "chat", "<body>x</body><no-store xmlns='other'/>" },
		{ true, "chat", "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>" },
		{ false, "chat", "<no-permanent-store xmlns='urn:xmpp:hints'/>" },
		{ true, "chat", "<store xmlns='urn:xmpp:hints'/>" },
		{ true, "headline", "<store xmlns='urn:xmpp:hints'/>" },
		{ false, "error", "<store xmlns='urn:xmpp:hints'/>" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char xml[400];
		snprintf(xml, sizeof xml, "<message" C "%s%s%s>%s</message>",
			rows[i].type[0] != '\0' ? " type='" : "", rows[i].type,
			rows[i].type[0] != '\0' ? "'" : "", rows[i].content);
		struct mk_stanza *s = stanza(xml);
		if (mk_stanza_storable(s) != rows[i].kept)
			fail_msg("%s", xml);
		mk_stanza_seal(s);
		assert_int_equal(mk_stanza_storable(s), rows[i].kept);
		mk_stanza_unref(&s);
	}
	struct mk_stanza *s = stanza("<iq" C " type='set'><body/></iq>");
	assert_false(mk_stanza_storable(s));
	mk_stanza_unref(&s);
}

static void test_errors_go_back_to_the_sender(void **state)
{
	struct mk_stanza *s = stanza("<iq" C " type='get' from='a@b/c' to='d@e' id='7'><q xmlns='x'/></iq>");
	struct mk_stanza *e = mk_stanza_error(s, MK_ERR_SERVICE_UNAVAILABLE, NULL);

	(void)state;
	check_rendering(e, NULL, "<iq to='a@b/c' type='error' from='d@e' id='7'><error type='cancel'>"
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
	assert_int_equal(e->type, MK_TYPE_ERROR);
	mk_stanza_unref(&e);
	mk_stanza_unref(&s);
	s = stanza("<message" C " from='a@b/c'><body>x</body></message>");
	e = mk_stanza_error(s, MK_ERR_NOT_ALLOWED, "no <b>");
	check_rendering(e, NULL, "<message to='a@b/c' type='error' from='a@b'><error type='cancel'>"
		"<not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;b&gt;</text>"
		"</error></message>");
	mk_stanza_unref(&s);
	/* Never an error for an error. */
	assert_null(mk_stanza_error(e, MK_ERR_NOT_ALLOWED, NULL));
	mk_stanza_unref(&e);
	static const struct { const char *xml; bool answered; } rows[] = {
		{ "<iq" C " from='a@b' type='result'/>", false }, { "<iq" C " from='a@b' type='error'/>", false },
		{ "<iq" C " from='a@b' type='set'/>", true }, { "<iq" C " from='a@b'/>", true },
		{ "<presence" C " from='a@b' type='unavailable'/>", false },
		{ "<presence" C " from='a@b' type='unsubscribed'/>", false },
		{ "<presence" C " from='a@b' type='error'/>", false },
		{ "<presence" C " from='a@b' type='subscribe'/>", true }, { "<presence" C " from='a@b'/>", true },
		{ "<message" C " from='a@b' type='headline'/>", true }, { "<message" C "/>", false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		s = stanza(rows[i].xml);
		e = mk_stanza_error(s, MK_ERR_BAD_REQUEST, NULL);
		if ((e != NULL) != rows[i].answered)
			fail_msg("%s", rows[i].xml);
		mk_stanza_unref(&e);
		mk_stanza_unref(&s);
	}
	assert_string_equal(mk_stanza_error_name(MK_ERR_BAD_REQUEST), "bad-request");
	assert_string_equal(mk_stanza_error_name(MK_ERR_UNEXPECTED_REQUEST), "unexpected-request");
	assert_null(mk_stanza_error_name(0));
	assert_null(mk_stanza_error_name(MK_ERR_LAST_));
	assert_null(mk_stanza_type_name(MK_TYPE_NONE));
}

static int retired;
static void retire(struct mk_stanza *s)
{
	assert_ptr_equal(s->journal, &retired);
	retired++;
}

static void test_the_journal_hears_of_the_last_reference(void **state)
{
	struct mk_stanza *s = mk_stanza_new(MK_MESSAGE, NULL, romeo, juliet), *copy;

	(void)state;
	mk_stanza_retire = retire;
	mk_stanza_seal(s);
	s->journal = &retired;
	copy = mk_stanza_ref(s);
	mk_stanza_edit(&copy);
	mk_stanza_seal(copy);
	mk_stanza_unref(&s);
	assert_int_equal(retired, 0);
	mk_stanza_unref(&copy);
	assert_int_equal(retired, 1);
	mk_stanza_retire = NULL;
}

static void *holder(void *arg)
{
	struct mk_stanza *s = arg, *mine;
	struct mk_buf b = { NULL, 0, 0 };

	for (int i = 0; i < 2000; i++) {
		mine = mk_stanza_ref(s);
		mk_buf_clear(&b);
		mk_stanza_render(&b, mine, nurse);
		mk_stanza_edit(&mine);
		mk_elem_add_text(mine->root, "x", "y", MK_STR("z"));
		mk_stanza_seal(mine);
		mk_stanza_render(&b, mine, NULL);
		mk_stanza_unref(&mine);
	}
	mk_buf_free(&b);
	return NULL;
}

static void test_threads_read_and_copy_one_stanza(void **state)
{
	struct mk_stanza *s = stanza("<message" C " from='a@b' to='c@d'><body>x</body><y xmlns='z'/></message>");
	pthread_t t[3];

	(void)state;
	s->flags |= MK_STANZA_FANOUT;
	mk_stanza_seal(s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, holder, s), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(s->refs, 1);
	mk_stanza_unref(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kind_type_and_match_are_read),
		cmocka_unit_test(test_a_stanza_is_built_sealed_and_rendered),
		cmocka_unit_test(test_for_many_it_is_rendered_once),
		cmocka_unit_test(test_copies_have_the_same_uid_whenever_they_were_made),
		cmocka_unit_test(test_an_edit_is_seen_by_its_holder_only),
		cmocka_unit_test(test_what_is_kept_if_nobody_takes_it),
		cmocka_unit_test(test_errors_go_back_to_the_sender),
		cmocka_unit_test(test_the_journal_hears_of_the_last_reference),
		cmocka_unit_test(test_threads_read_and_copy_one_stanza),
	};
	int r;

	if (mk_jid_parsez("romeo@montague.example/o'x", &romeo) < 0 ||
	    mk_jid_parsez("juliet@capulet.example", &juliet) < 0 ||
	    mk_jid_parsez("nurse@capulet.example/pda", &nurse) < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	mk_jid_unref(&romeo);
	mk_jid_unref(&juliet);
	mk_jid_unref(&nurse);
	mk_jid_thread_end();
	return r;
}
