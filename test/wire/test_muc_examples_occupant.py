"""Examples 1 to 83 of XEP-0045 (1.35.3), sections 6 and 7, as they are written: entities that
discover, occupants. What a client may do with the answers is not here, nor what examples
show of options that this service has not (210: it changes nobody's nickname)."""

import pytest

from mk import NS, child, name, text
from mk.muc import bodies, codes, error, is_subject, messages, nick, presences
from mk.play import Play

JOIN = "<x xmlns='http://jabber.org/protocol/muc'/>"
USER = "http://jabber.org/protocol/muc#user"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
THREAD = "e0ffe42b28561960c6b12b944a092794b9683a38"


@pytest.fixture
def play(muc):
    return Play(muc, owner="firstwitch", wiccarocks="secondwitch", hag66="thirdwitch",
                hecate="hecate")


def refused(play, who, at, error_xml):
    """An error presence as 7.2 has them."""
    play.gets(who, "<presence from='{coven}/%s' id='n13mt3l' to='{%s}' type='error'>%s%s"
              "</presence>" % (at, who, JOIN, error_xml))


def why(type_, condition):
    return "<error by='{coven}' type='%s'><%s xmlns='%s'/></error>" % (type_, condition, STANZAS)


# ---- 6 -----------------------------------------------------------------------------------------

def test_discovering_service_rooms_and_a_room(play):
    """6.1 to 6.5, examples 1 to 13."""
    room = play.cast("coven", "wiccarocks", roomname="A Dark Cave", publicroom=1,
                     passwordprotectedroom=1, roomsecret="s", changesubject=1, lang="en",
                     roomdesc="The place for all good witches!", maxhistoryfetch=50,
                     whois="anyone", pubsub="xmpp:pubsub.shakespeare.lit?;node=the-coven-node")
    room.send_subject(play["owner"], "Spells")
    room.settled(play["owner"])
    play.send("hag66", "<iq id='h7ns81g' to='{domain}' type='get'><query "
              "xmlns='http://jabber.org/protocol/disco#items'/></iq>")
    play.gets("hag66", "<iq from='{domain}' id='h7ns81g' to='{hag66}' type='result'><query "
              "xmlns='http://jabber.org/protocol/disco#items'><item jid='{service}' name='*'/>"
              "</query></iq>")
    play.send("hag66", "<iq id='lx09df27' to='{service}' type='get'><query "
              "xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    play.gets("hag66", "<iq from='{service}' id='lx09df27' to='{hag66}' type='result'><query "
              "xmlns='http://jabber.org/protocol/disco#info'><identity category='conference' "
              "name='*' type='text'/><feature var='http://jabber.org/protocol/muc'/></query></iq>")
    play.send("hag66", "<iq id='zb8q41f4' to='{service}' type='get'><query "
              "xmlns='http://jabber.org/protocol/disco#items'><set "
              "xmlns='http://jabber.org/protocol/rsm'><max>1</max></set></query></iq>")
    play.gets("hag66", "<iq from='{service}' id='zb8q41f4' to='{hag66}' type='result'><query "
              "xmlns='http://jabber.org/protocol/disco#items'><item jid='*'/><set "
              "xmlns='http://jabber.org/protocol/rsm'><first index='0'/><last/><count/></set>"
              "</query></iq>")
    play.send("hag66", "<iq id='ik3vs715' to='{coven}' type='get'><query "
              "xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    play.gets("hag66", """
        <iq from='{coven}' id='ik3vs715' to='{hag66}' type='result'>
          <query xmlns='http://jabber.org/protocol/disco#info'>
            <identity category='conference' name='A Dark Cave' type='text'/>
            <feature var='http://jabber.org/protocol/muc'/>
            <feature var='http://jabber.org/protocol/muc#stable_id'/>
            <feature var='muc_passwordprotected'/> <feature var='muc_public'/>
            <feature var='muc_temporary'/> <feature var='muc_open'/>
            <feature var='muc_unmoderated'/> <feature var='muc_nonanonymous'/>
            <x xmlns='jabber:x:data' type='result'>
              <field var='FORM_TYPE' type='hidden'>
                <value>http://jabber.org/protocol/muc#roominfo</value></field>
              <field var='muc#roominfo_description' label='*'>
                <value>The place for all good witches!</value></field>
              <field var='muc#roominfo_subject' label='*'><value>Spells</value></field>
              <field var='muc#roomconfig_changesubject' label='*'><value>1</value></field>
              <field var='muc#roominfo_occupants' label='*'><value>2</value></field>
              <field var='muc#roominfo_lang' label='*'><value>en</value></field>
              <field var='muc#maxhistoryfetch' label='*'><value>50</value></field>
            </x>
          </query>
        </iq>""")
    for who, shown in (("wiccarocks", True), ("hag66", False)):
        play.send(who, "<iq id='kl2fax27' to='{coven}' type='get'><query "
                  "xmlns='http://jabber.org/protocol/disco#items'/></iq>")
        hidden = "" if shown else " absent=''"
        play.gets(who, "<iq from='{coven}' id='kl2fax27' to='{%s}' type='result'><query "
                  "xmlns='http://jabber.org/protocol/disco#items'><item "
                  "jid='{coven}/firstwitch'%s/><item jid='{coven}/secondwitch'%s/></query></iq>"
                  % (who, hidden, hidden))


def test_asking_an_occupant_from_outside(play):
    """6.6: bad-request (MUST)."""
    play.cast("coven")
    for ns in ("info", "items"):
        a = play["hag66"].iq("get", "<query xmlns='http://jabber.org/protocol/disco#%s'/>" % ns,
                             to=play.at().at("firstwitch"))
        assert error(a) == ("modify", "bad-request")


def test_asking_a_contact_which_rooms_it_is_in(play):
    """6.7, examples 14 to 17: what one client asks another; the server carries it."""
    play.send("hag66", "<iq id='gp7w61v3' to='{wiccarocks}' type='get'><query xmlns='http://jabber"
              ".org/protocol/disco#items' node='http://jabber.org/protocol/muc#rooms'/></iq>")
    play.gets("wiccarocks", "<iq from='{hag66}' id='gp7w61v3' to='{wiccarocks}' type='get'><query "
              "xmlns='http://jabber.org/protocol/disco#items' "
              "node='http://jabber.org/protocol/muc#rooms'/></iq>")
    play.send("wiccarocks", "<iq id='gp7w61v3' to='{hag66}' type='result'><query xmlns='http://"
              "jabber.org/protocol/disco#items' node='http://jabber.org/protocol/muc#rooms'>"
              "<item jid='{coven}'/></query></iq>")
    play.gets("hag66", "<iq from='{wiccarocks}' id='gp7w61v3' to='{hag66}' type='result'><query "
              "xmlns='http://jabber.org/protocol/disco#items'><item jid='{coven}'/></query></iq>")


# ---- 7.2 ---------------------------------------------------------------------------------------

def test_entering(play):
    """7.2.1, 7.2.2, examples 18, 20 to 22: those who are there to the new one, the new one to
    all, its own presence last."""
    room = play.cast("coven", "wiccarocks")
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].bare)
    play.settled()
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    play.gets("hag66", "<presence from='{coven}/firstwitch' to='{hag66}'><x xmlns='%s'><item "
              "affiliation='owner' role='moderator'/></x></presence>" % USER)
    j = play.at().settled(play["hag66"])[0]
    assert [nick(p) for p in presences(j)] == ["secondwitch", "thirdwitch"]
    assert codes(presences(j)[1]) == {110} and presences(j)[1].get("id") == "n13mt3l"
    play.all_get("<presence from='{coven}/thirdwitch' to='*'><x xmlns='%s'><item "
                 "affiliation='none' jid='{hag66}' role='participant'/></x></presence>" % USER,
                 "owner", "wiccarocks")


def test_no_nickname(play):
    """7.2.1, example 19."""
    play.cast("coven")
    play.send("hag66", "<presence id='273hs51g' to='{coven}'>%s</presence>" % JOIN)
    play.gets("hag66", "<presence from='{coven}' id='273hs51g' to='{hag66}' type='error'><error "
              "by='{coven}' type='modify'><jid-malformed xmlns='%s'/></error></presence>" % STANZAS)


def test_a_non_anonymous_room(play):
    """7.2.3, examples 23, 24: the full JID to all, and a warning."""
    play.cast("coven", "wiccarocks", whois="anyone")
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    item = "<item affiliation='none' jid='{hag66}' role='participant'/>"
    play.all_get("<presence from='{coven}/thirdwitch'><x xmlns='%s'>%s<status code='100' "
                 "absent=''/></x></presence>" % (USER, item), "owner", "wiccarocks")
    play.gets("hag66", "<presence from='{coven}/thirdwitch' id='n13mt3l' to='{hag66}'><x "
              "xmlns='%s'>%s<status code='100'/><status code='110'/></x></presence>"
              % (USER, item))


def test_a_semi_anonymous_room(play):
    """7.2.4: the full JID to moderators only."""
    play.cast("coven", "wiccarocks", whois="moderators")
    play.at().join(play["hag66"])
    play.gets("owner", "<presence from='{coven}/thirdwitch'><x xmlns='%s'><item jid='{hag66}'/>"
              "</x></presence>" % USER)
    play.gets("wiccarocks", "<presence from='{coven}/thirdwitch'><x xmlns='%s'><item "
              "jid='*' absent=''/></x></presence>" % USER)


def test_a_password(play):
    """7.2.5, examples 25, 26."""
    play.cast("coven", passwordprotectedroom=1, roomsecret="cauldronburn")
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    refused(play, "hag66", "thirdwitch", why("auth", "not-authorized"))
    play.send("hag66", "<presence id='djn4714' to='{coven}/thirdwitch'><x xmlns='http://jabber.org"
              "/protocol/muc'><password>cauldronburn</password></x></presence>")
    play.at().joined(play["hag66"])


@pytest.mark.parametrize("config,affiliation,type_,condition", [
    ({"membersonly": 1}, None, "auth", "registration-required"),           # 7.2.6, 27
    ({}, "outcast", "auth", "forbidden"),                                  # 7.2.7, 28
])
def test_who_may_not_enter(play, config, affiliation, type_, condition):
    """7.2.6, 7.2.7, examples 27, 28."""
    room = play.cast("coven", **config)
    if affiliation:
        room.set(play["owner"], affiliation=affiliation, jid=play["hag66"].bare)
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    refused(play, "hag66", "thirdwitch", why(type_, condition))


def test_a_nickname_that_is_taken(play):
    """7.2.8, example 29."""
    play.cast("coven", "wiccarocks")
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/secondwitch'>%s</presence>" % JOIN)
    refused(play, "hag66", "secondwitch", why("cancel", "conflict"))


def test_a_full_room(play):
    """7.2.9, example 30."""
    room = play.cast("coven", maxusers=1)
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    refused(play, "hag66", "thirdwitch", why("wait", "service-unavailable"))
    room.set(play["owner"], affiliation="admin", jid=play["hag66"].bare)
    assert room.join(play["hag66"]).nicks == ["firstwitch"]


def test_a_locked_room(play):
    """7.2.10, example 31."""
    play.at().join(play["owner"])
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    refused(play, "hag66", "thirdwitch", why("cancel", "item-not-found"))


def test_history_and_subject(play):
    """7.2.13 to 7.2.15, examples 33, 40: what was said, stamped by the room, before the
    subject."""
    room = play.cast("coven", "wiccarocks")
    play.send("owner", "<message type='groupchat' to='{coven}' id='162BEBB1-F6DB-4D9A-9BD8-CFDCC801"
              "A0B2'><body>Thrice the brinded cat hath mew'd.</body></message>")
    play.send("wiccarocks", "<message type='groupchat' to='{coven}' id='90057840-30FD-4141-AA44-103"
              "EEDF218FC'><body>Thrice and once the hedge-pig whined.</body></message>")
    room.send_subject(play["owner"], "Fire Burn and Cauldron Bubble!")
    play.settled()
    room.send_join(play["hag66"])
    play.gets("hag66", "<presence from='{coven}/thirdwitch'/>")
    stamp = "<delay xmlns='urn:xmpp:delay' from='{coven}' stamp='*'/>"
    play.gets("hag66", "<message from='{coven}/firstwitch' id='162BEBB1-F6DB-4D9A-9BD8-CFDCC801A0B2'"
              " to='{hag66}' type='groupchat'><body>Thrice the brinded cat hath mew'd.</body>%s"
              "</message>" % stamp)
    play.gets("hag66", "<message from='{coven}/secondwitch' id='90057840-30FD-4141-AA44-103EEDF218FC"
              "' to='{hag66}' type='groupchat'><body>Thrice and once the hedge-pig whined.</body>%s"
              "</message>" % stamp)
    play.gets("hag66", "<message from='{coven}/firstwitch' to='{hag66}' type='groupchat'><subject>"
              "Fire Burn and Cauldron Bubble!</subject>%s<body absent=''/></message>" % stamp)


@pytest.mark.parametrize("limit,n", [
    ("maxchars='65000'", 3), ("maxstanzas='20'", 3), ("seconds='180'", 3),
    ("since='1970-01-01T00:00:00Z'", 3), ("maxchars='0'", 0), ("maxstanzas='2'", 2)])
def test_limits_of_history(play, limit, n):
    """7.2.14, examples 35 to 39; and no subject, example 41."""
    room = play.cast("coven")
    for k in range(3):
        room.say(play["owner"], "m%d" % k)
    play.settled()
    play.send("hag66", "<presence id='n13mt3l' to='{coven}/thirdwitch'><x xmlns='http://jabber.org/"
              "protocol/muc'><history %s/></x></presence>" % limit)
    j = room.joined(play["hag66"])
    assert bodies(j.history) == ["m%d" % k for k in range(3 - n, 3)]
    assert text(j.subject, "subject") == "" and child(j.subject, "body") is None


def test_a_subject_that_was_cleared_has_its_time(play):
    """7.2.15: <delay/> if the subject was cleared; an empty one anyway (MUST)."""
    room = play.cast("coven")
    room.send_subject(play["owner"], "Fire Burn")
    room.send_subject(play["owner"], "")
    play.settled()
    j = room.join(play["hag66"])
    assert text(j.subject, "subject") == ""
    assert child(j.subject, "delay", NS.DELAY).get("from") == room.jid


def test_presence_of_who_is_not_inside(play):
    """7.2.17, examples 42, 43."""
    play.cast("coven")
    play.send("hag66", "<presence to='{coven}/thirdwitch'/>")
    play.gets("hag66", "<presence from='{coven}/thirdwitch' to='{hag66}' type='unavailable'><x "
              "xmlns='%s'><item affiliation='none' role='none'><reason/></item>"
              "<status code='110'/><status code='307'/><status code='333'/></x></presence>" % USER)


# ---- 7.4 to 7.7 --------------------------------------------------------------------------------

def test_a_message_to_all(play):
    """7.4, examples 44, 45."""
    play.cast("coven", "wiccarocks", "hag66")
    play.send("hag66", "<message id='hysf1v37' to='{coven}' type='groupchat'><body>Harpier cries: "
              "'tis time, 'tis time.</body></message>")
    for who in ("owner", "wiccarocks", "hag66"):
        play.gets(who, "<message from='{coven}/thirdwitch' id='hysf1v37' to='{%s}' "
                  "type='groupchat'><body>Harpier cries: 'tis time, 'tis time.</body></message>"
                  % who)


def test_a_private_message(play):
    """7.5, examples 46 to 48; and item-not-found, not-acceptable (MUSTs)."""
    play.cast("coven", "wiccarocks")
    body = "<body>I'll give thee a wind.</body>"
    for x in ("<x xmlns='%s'/>" % USER, ""):
        play.send("wiccarocks", "<message id='hgn27af1' to='{coven}/firstwitch' type='chat'>%s%s"
                  "</message>" % (body, x))
        play.gets("owner", "<message from='{coven}/secondwitch' id='hgn27af1' to='{owner}' "
                  "type='chat'>%s<x xmlns='%s'/></message>" % (body, USER))
    play.send("wiccarocks", "<message id='bx71f29k' to='{coven}/firstwitch' type='groupchat'>%s"
              "</message>" % body)
    play.gets("wiccarocks", "<message from='{coven}/firstwitch' id='bx71f29k' to='{wiccarocks}' "
              "type='error'>%s</message>" % why("modify", "bad-request"))
    play.send("wiccarocks", "<message id='m1' to='{coven}/nobody' type='chat'>%s</message>" % body)
    play.gets("wiccarocks", "<message from='{coven}/nobody' type='error'>%s</message>"
              % why("cancel", "item-not-found"))
    play.send("hag66", "<message id='m2' to='{coven}/firstwitch' type='chat'>%s</message>" % body)
    play.gets("hag66", "<message from='{coven}/firstwitch' type='error'>%s</message>"
              % why("modify", "not-acceptable"))


def test_another_nickname(play):
    """7.6, examples 49, 50: unavailable with the new one and 303, then the new one."""
    play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    play.send("hag66", "<presence id='ifd1c35' to='{coven}/oldhag'/>")
    for who in ("owner", "wiccarocks", "hag66"):
        own = "<status code='110'/>" if who == "hag66" else "<status code='110' absent=''/>"
        play.gets(who, "<presence from='{coven}/thirdwitch' to='{%s}' type='unavailable'><x "
                  "xmlns='%s'><item affiliation='none' jid='{hag66}' nick='oldhag' "
                  "role='participant'/><status code='303'/>%s</x></presence>" % (who, USER, own),
                  "<presence from='{coven}/oldhag' to='{%s}'><x xmlns='%s'><item "
                  "affiliation='none' jid='{hag66}' role='participant'/>%s</x></presence>"
                  % (who, USER, own))


def test_another_nickname_that_is_taken(play):
    """7.6, example 52."""
    play.cast("coven", "wiccarocks", "hag66")
    play.send("hag66", "<presence id='ifd1c35' to='{coven}/secondwitch'/>")
    play.gets("hag66", "<presence from='{coven}/secondwitch' id='ifd1c35' to='{hag66}' "
              "type='error'>%s%s</presence>" % (JOIN, why("cancel", "conflict")))


def test_visitors_may_be_kept_to_their_nickname(play):
    """7.6, example 53, for the role that the configuration can hold to it; the error is that of
    muc#roomconfig_allowvisitornickchange as others have it: not-allowed."""
    play.cast("coven", "hag66", moderatedroom=1, allowvisitornickchange=0)
    play.send("hag66", "<presence id='ifd1c35' to='{coven}/oldhag'/>")
    p = play["hag66"].until(lambda e: name(e) == "presence")
    assert error(p)[1] in ("not-allowed", "not-acceptable")


def test_availability(play):
    """7.7, examples 54, 55."""
    play.cast("coven", "wiccarocks")
    play.send("wiccarocks", "<presence id='kr7v143h' to='{coven}/secondwitch'><show>xa</show>"
              "<status>gone where the goblins go</status></presence>")
    play.all_get("<presence from='{coven}/secondwitch'><show>xa</show><status>gone where the "
                 "goblins go</status><x xmlns='%s'><item affiliation='none' role='participant'/></x>"
                 "</presence>" % USER, "owner", "wiccarocks")


# ---- 7.8, 7.9 ----------------------------------------------------------------------------------

def test_an_invitation_and_that_it_is_declined(play):
    """7.8.2, examples 56 to 59."""
    play.cast("coven", passwordprotectedroom=1, roomsecret="cauldronburn")
    reason = "<reason>Hey Hecate, this is the place for all good witches!</reason>"
    play.send("owner", "<message id='nzd143v8' to='{coven}'><x xmlns='%s'><invite "
              "to='{hecate.bare}'>%s</invite></x></message>" % (USER, reason))
    play.gets("hecate", "<message from='{coven}' id='nzd143v8' to='*'><x xmlns='%s'><invite "
              "from='{owner}'>%s</invite><password>cauldronburn</password></x></message>"
              % (USER, reason))
    busy = "<reason>Sorry, I'm too busy right now.</reason>"
    play.send("hecate", "<message id='jk2vs61v' to='{coven}'><x xmlns='%s'><decline "
              "to='{owner.bare}'>%s</decline></x></message>" % (USER, busy))
    play.gets("owner", "<message from='{coven}' id='jk2vs61v' to='{owner}'><x xmlns='%s'><decline "
              "from='{hecate.bare}'>%s</decline></x></message>" % (USER, busy))


def test_a_chat_becomes_a_conference(play):
    """7.9, examples 60 to 65."""
    thread = "<thread>%s</thread>" % THREAD
    play.send("owner", "<message id='mjs51f36' to='{wiccarocks}' type='chat'>%s<body>Thrice the "
              "brinded cat hath mew'd.</body></message>" % thread)
    play.gets("wiccarocks", "<message from='{owner}' type='chat'>%s</message>" % thread)
    room = play.cast("coven", whois="anyone")
    for id_, body, stamp in (("b4va73n0", "Thrice the brinded cat hath mew'd.", "01:54:37Z"),
                             ("i4hs759k", "Thrice and once the hedge-pig whined.", "01:55:21Z")):
        play.send("owner", "<message id='%s' to='{coven}' type='groupchat'>%s<body>%s</body><delay "
                  "xmlns='urn:xmpp:delay' from='{owner}' stamp='2004-09-29T%s'/></message>"
                  % (id_, thread, body, stamp))
    play.settled()
    invite = "<reason>This coven needs both.</reason><continue thread='%s'/>" % THREAD
    play.send("owner", "<message id='gl3s85n7' to='{coven}'><x xmlns='%s'><invite to='{wiccarocks}'>"
              "%s</invite><invite to='{hag66.bare}'>%s</invite></x></message>"
              % (USER, invite, invite))
    play.all_get("<message from='{coven}' id='*' to='*'><x xmlns='%s'><invite from='{owner}'>%s"
                 "</invite></x></message>" % (USER, invite), "wiccarocks", "hag66")
    j = room.join(play["wiccarocks"])
    assert bodies(j.history) == ["Thrice the brinded cat hath mew'd.",
                                 "Thrice and once the hedge-pig whined."]
    assert [text(m, "thread") for m in j.history] == [THREAD] * 2
    # What the owner says of the time is kept beside the room's own word.
    assert "2004-09-29T01:54:37Z" in [d.get("stamp") for d in j.history[0] if name(d) == "delay"]


# ---- 7.10 to 7.13 ------------------------------------------------------------------------------

def test_registering(play):
    """7.10, examples 66 to 76."""
    get = "<iq id='jw81b36f' to='{coven}' type='get'><query xmlns='jabber:iq:register'/></iq>"
    def answer(more):
        return "<iq from='{coven}' id='jw81b36f' to='{hag66}' type=%s</iq>" % more
    play.send("hag66", get)
    play.gets("hag66", answer("'error'><error type='cancel'><item-not-found xmlns='%s'/></error>"
                              % STANZAS))
    room = play.cast("coven", "hag66")
    play.send("hag66", get)
    play.gets("hag66", answer("""'result'><query xmlns='jabber:iq:register'><instructions/>
        <x xmlns='jabber:x:data' type='form'><title/><instructions/>
          <field type='hidden' var='FORM_TYPE'>
            <value>http://jabber.org/protocol/muc#register</value></field>
          <field label='*' type='text-single' var='muc#register_roomnick'><required/></field>
        </x></query>"""))
    form = """<iq id='nv71va54' to='{coven}' type='set'><query xmlns='jabber:iq:register'>
        <x xmlns='jabber:x:data' type='submit'>
          <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>
          <field var='muc#register_first'><value>Brunhilde</value></field>
          <field var='muc#register_roomnick'><value>thirdwitch</value></field>
          <field var='muc#register_faqentry'><value>Just another witch.</value></field>
        </x></query></iq>"""
    play.send("hag66", form)
    play.gets("hag66", "<iq from='{coven}' id='nv71va54' to='{hag66}' type='result'/>")
    play.gets("owner", "<presence from='{coven}/thirdwitch' to='{owner}'><x xmlns='%s'><item "
              "affiliation='member' jid='{hag66}' role='participant'/></x></presence>" % USER)
    play.send("wiccarocks", form)
    play.gets("wiccarocks", "<iq from='{coven}' id='nv71va54' type='error'><error type='cancel'>"
              "<conflict xmlns='%s'/></error></iq>" % STANZAS)
    play.send("wiccarocks", "<iq id='nv71va54' to='{coven}' type='set'><query "
              "xmlns='jabber:iq:register'/></iq>")
    play.gets("wiccarocks", "<iq from='{coven}' id='nv71va54' type='error'><error type='modify'>"
              "<bad-request xmlns='%s'/></error></iq>" % STANZAS)
    play.send("hag66", get)
    play.gets("hag66", answer("'result'><query xmlns='jabber:iq:register'><registered/><username>"
                              "thirdwitch</username></query>"))
    room.set(play["owner"], affiliation="outcast", jid=play["wiccarocks"].bare)
    play.send("wiccarocks", get)
    play.gets("wiccarocks", "<iq from='{coven}' id='jw81b36f' type='error'><error type='cancel'>"
              "<not-allowed xmlns='%s'/></error></iq>" % STANZAS)


def test_a_reserved_nickname(play):
    """7.12, examples 77, 78; also for who is inside (MUST)."""
    room = play.cast("coven")
    room.set(play["owner"], affiliation="member", jid=play["hag66"].bare, nick="thirdwitch")
    ask = ("<iq id='getnick1' to='{coven}' type='get'><query xmlns='http://jabber.org/protocol/"
           "disco#info' node='x-roomuser-item'/></iq>")
    for _ in range(2):
        play.send("hag66", ask)
        play.gets("hag66", "<iq from='{coven}' id='getnick1' to='{hag66}' type='result'><query "
                  "xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'><identity "
                  "category='conference' name='thirdwitch' type='text'/></query></iq>")
        room.join(play["hag66"], "another")    # which it may be all the same
    play.send("wiccarocks", "<presence id='n13mt3l' to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    refused(play, "wiccarocks", "thirdwitch", why("cancel", "conflict"))


def test_asking_for_voice(play):
    """7.13, example 79; 8.6, examples 108, 109."""
    play.cast("coven", "hag66", moderatedroom=1)
    play.send("hag66", """<message id='yd53c486' to='{coven}'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>
        <field var='muc#role' type='list-single' label='Requested role'><value>participant</value>
        </field></x></message>""")
    play.gets("owner", """<message from='{coven}' id='*' to='{owner}'>
        <x xmlns='jabber:x:data' type='form'><title>Voice request</title><instructions/>
          <field var='FORM_TYPE' type='hidden'>
            <value>http://jabber.org/protocol/muc#request</value></field>
          <field var='muc#role' type='list-single' label='*'><value>participant</value></field>
          <field var='muc#jid' type='jid-single' label='*'><value>{hag66}</value></field>
          <field var='muc#roomnick' type='text-single' label='*'><value>thirdwitch</value></field>
          <field var='muc#request_allow' type='boolean' label='*'><value>false</value></field>
        </x></message>""")
    play.send("owner", """<message id='approve' to='{coven}'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE' type='hidden'>
          <value>http://jabber.org/protocol/muc#request</value></field>
        <field var='muc#role'><value>participant</value></field>
        <field var='muc#jid'><value>{hag66}</value></field>
        <field var='muc#roomnick'><value>thirdwitch</value></field>
        <field var='muc#request_allow'><value>true</value></field></x></message>""")
    play.all_get("<presence from='{coven}/thirdwitch'><x xmlns='%s'><item affiliation='none' "
                 "role='participant'/></x></presence>" % USER, "owner", "hag66")


# ---- 7.14 --------------------------------------------------------------------------------------

def test_leaving(play):
    """7.14, examples 80 to 83."""
    play.cast("coven", "wiccarocks", "hag66")
    play.send("hag66", "<presence to='{coven}/thirdwitch' type='unavailable'/>")
    for who in ("hag66", "owner", "wiccarocks"):
        own = "<status code='110'/>" if who == "hag66" else "<status code='110' absent=''/>"
        play.gets(who, "<presence from='{coven}/thirdwitch' to='{%s}' type='unavailable'><x "
                  "xmlns='%s'><item affiliation='none' role='none'/>%s</x></presence>"
                  % (who, USER, own))
    play.send("wiccarocks", "<presence to='{coven}/secondwitch' type='unavailable'><status>gone "
              "where the goblins go</status></presence>")
    play.gets("owner", "<presence from='{coven}/secondwitch' type='unavailable'><status>gone where "
              "the goblins go</status><x xmlns='%s'><item role='none'/></x></presence>" % USER)


# ---- 17: addresses, messages, presence ---------------------------------------------------------

def test_what_has_a_type_neither_joins_nor_leaves(play):
    """17.3 (MUST NOT)."""
    room = play.cast("coven", "hag66")
    for type_ in ("probe", "subscribe", "unsubscribe", "subscribed", "unsubscribed"):
        play.send("hag66", "<presence to='{coven}/thirdwitch' type='%s'/>" % type_)
        play.send("wiccarocks", "<presence to='{coven}/secondwitch' type='%s'>%s</presence>"
                  % (type_, JOIN))
    room.settled(play["hag66"], play["wiccarocks"])
    assert sorted(room.join(play["hecate"]).nicks) == ["firstwitch", "thirdwitch"]


def test_a_probe_from_outside_tells_nothing(play):
    """17.3: who is not inside learns of nobody by it."""
    play.cast("coven", "wiccarocks")
    play.send("hecate", "<presence to='{coven}/secondwitch' type='probe'/>")
    assert presences(play.at().settled(play["hecate"])[0]) == []


def test_a_password_for_the_room_is_not_passed_on(play):
    """17.3: what a client says in muc#user or muc reaches nobody."""
    play.cast("coven", passwordprotectedroom=1, roomsecret="cauldronburn")
    play.send("hag66", "<presence to='{coven}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'>"
              "<password>cauldronburn</password></x></presence>")
    play.gets("owner", "<presence from='{coven}/thirdwitch'><x absent='' "
              "xmlns='http://jabber.org/protocol/muc'/></presence>")


def test_a_message_of_one_that_was_put_out(play):
    """17.2: who has role none is not heard (MUST NOT)."""
    room = play.cast("coven", "hag66")
    room.role(play["owner"], "thirdwitch", "none")
    play.settled()
    room.say(play["hag66"], "but")
    play["hag66"].message(room.at("firstwitch"), "psst")
    got = room.settled(play["hag66"], play["owner"])
    assert [error(m)[1] for m in messages(got[0])] == ["not-acceptable"] * 2 and got[1] == []


def test_language_is_kept(play):
    """14: xml:lang of messages."""
    play.cast("coven", "hag66")
    play.send("hag66", "<message to='{coven}' type='groupchat' xml:lang='de'><body>Hexen</body>"
              "<body xml:lang='en'>witches</body></message>")
    m = play["owner"].until(lambda e: name(e) == "message" and not is_subject(e))
    lang = "{%s}lang" % NS.XML
    assert m.get(lang) == "de"
    assert [b.get(lang) for b in m if name(b) == "body"] in ([None, "en"], ["de", "en"])
