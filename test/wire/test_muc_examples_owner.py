"""Examples 152 to 220 of XEP-0045 (1.35.3): section 10 (owners), 11 (the service itself), 16.6
(what a URI makes of itself), 18.1, as they are written."""

import pytest

from mk import child, children, name, to_str
from mk.muc import MUC, Stage, codes, error, fields, messages, nick, presences, status, submit
from mk.play import Play

ADMIN = "http://jabber.org/protocol/muc#admin"
OWNER = "http://jabber.org/protocol/muc#owner"
USER = "http://jabber.org/protocol/muc#user"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
JOIN = "<x xmlns='http://jabber.org/protocol/muc'/>"


@pytest.fixture
def play(muc):
    return Play(muc, owner="firstwitch", wiccarocks="secondwitch", hag66="thirdwitch",
                hecate="hecate")


def iq(play, who, type_, ns, payload, id_, place="coven"):
    play.send(who, "<iq id='%s' to='{%s}' type='%s'><query xmlns='%s'>%s</query></iq>" % (
        id_, place, type_, ns, payload))


def success(play, who, id_, place="coven"):
    play.gets(who, "<iq from='{%s}' id='%s' to='{%s}' type='result'/>" % (place, id_, who))


def denied(play, who, type_, condition, id_, place="coven"):
    play.gets(who, "<iq from='{%s}' id='%s' to='{%s}' type='error'><error type='%s'><%s "
              "xmlns='%s'/></error></iq>" % (place, id_, who, type_, condition, STANZAS))


def shown(play, whom, item, *to):
    for who in to:
        play.gets(who, "<presence from='{coven}/%s' to='{%s}'><x xmlns='%s'>%s</x></presence>" % (
            whom, who, USER, item))


# ---- 10.1 --------------------------------------------------------------------------------------

def test_who_may_not_make_a_room(make_server, connect):
    """10.1.1, example 152."""
    server = make_server({"host_types": {"people": {"plugins": {"muc": {"create": "nobody"}}}}})
    play = Play(Stage(server, server.account, connect), hag66="thirdwitch")
    play.send("hag66", "<presence to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    play.gets("hag66", "<presence from='{coven}/thirdwitch' to='{hag66}' type='error'>%s<error "
              "by='{coven}' type='cancel'><not-allowed xmlns='%s'/></error></presence>" % (
                  JOIN, STANZAS))


def test_an_instant_room(play):
    """10.1.1, 10.1.2, examples 153 to 155."""
    play.send("owner", "<presence to='{coven}/firstwitch'>%s</presence>" % JOIN)
    play.gets("owner", "<presence from='{coven}/firstwitch' to='{owner}'><x xmlns='%s'><item "
              "affiliation='owner' role='moderator'/><status code='110'/><status code='201'/></x>"
              "</presence>" % USER)
    iq(play, "owner", "set", OWNER, "<x xmlns='jabber:x:data' type='submit'/>", "create1")
    success(play, "owner", "create1")
    play.at().join(play["hag66"])


FORM = {
    "muc#roomconfig_roomname": "A Dark Cave",
    "muc#roomconfig_roomdesc": "The place for all good witches!",
    "muc#roomconfig_changesubject": "1", "muc#roomconfig_allowinvites": "0",
    "muc#roomconfig_allowpm": "anyone", "muc#roomconfig_maxusers": "10",
    "muc#roomconfig_publicroom": "0", "muc#roomconfig_persistentroom": "0",
    "muc#roomconfig_moderatedroom": "0", "muc#roomconfig_membersonly": "0",
    "muc#roomconfig_passwordprotectedroom": "1", "muc#roomconfig_roomsecret": "cauldronburn",
    "muc#roomconfig_whois": "moderators", "muc#maxhistoryfetch": "50",
}


def test_a_reserved_room(play):
    """10.1.3, examples 156, 157, 159 to 161; 10.2, examples 163, 165: the form has what is."""
    play.at().join(play["owner"])
    for values in (None, FORM):
        iq(play, "owner", "get", OWNER, "", "create1")
        a = play.gets("owner", """<iq from='{coven}' id='create1' to='{owner}' type='result'>
            <query xmlns='http://jabber.org/protocol/muc#owner'>
              <x xmlns='jabber:x:data' type='form'><title/><instructions/>
                <field type='hidden' var='FORM_TYPE'>
                  <value>http://jabber.org/protocol/muc#roomconfig</value></field>
              </x></query></iq>""")
        got = fields(child(a[0], "x", MUC.DATA))
        assert set(FORM) <= set(got), to_str(a)
        if values is not None:
            assert {k: v for k, v in got.items() if k in FORM} == {
                k: [v] for k, v in FORM.items()}
            assert got["muc#roomconfig_roomadmins"] == ["wiccarocks@shakespeare.lit"]
            assert got["muc#roomconfig_roomowners"] == [play["owner"].bare]
            break
        iq(play, "owner", "set", OWNER, submit(MUC.CONFIG, dict(
            FORM, **{"muc#roomconfig_roomsecret": ""})), "create2")
        denied(play, "owner", "modify", "not-acceptable", "create2")
        play.send("hag66", "<presence to='{coven}/thirdwitch'>%s</presence>" % JOIN)
        play.gets("hag66", "<presence from='{coven}/thirdwitch' type='error'/>")
        iq(play, "owner", "set", OWNER, submit(MUC.CONFIG, dict(
            FORM, **{"muc#roomconfig_roomadmins": ["wiccarocks@shakespeare.lit"]})), "create2")
        success(play, "owner", "create2")
    play.at().join(play["hag66"], password="cauldronburn")


def test_a_creation_that_is_cancelled(play):
    """10.1.3, example 162: the room is destroyed, and its owner told (MUST)."""
    play.at().join(play["owner"])
    iq(play, "owner", "set", OWNER, "<x xmlns='jabber:x:data' type='cancel'/>", "create2")
    play.gets("owner", "<presence from='{coven}/firstwitch' to='{owner}' type='unavailable'><x "
              "xmlns='%s'><item affiliation='none' role='none'/><destroy/></x></presence>" % USER)
    assert 201 in play.at().join(play["hag66"]).codes


def test_an_owner_that_is_lost_before_it_configures(play):
    """10.1.3 (MUST): the room is destroyed."""
    play.at().join(play["owner"])
    play["owner"].kill()
    play["hag66"].settle(play["owner"].bare)
    assert 201 in play.at().join(play["hag66"]).codes


# ---- 10.2 --------------------------------------------------------------------------------------

def test_the_form_is_the_owners(play):
    """10.2, example 164."""
    play.cast("coven", "wiccarocks")
    for who in ("wiccarocks", "hag66"):
        iq(play, who, "get", OWNER, "", "configures")
        denied(play, who, "auth", "forbidden", "configures")


def test_a_change_that_is_cancelled(play):
    """10.2, example 166 (MUST): all is as it was."""
    room = play.cast("coven", roomname="A Dark Cave")
    before = room.config(play["owner"])
    iq(play, "owner", "set", OWNER, "<x xmlns='jabber:x:data' type='cancel'/>", "config2")
    success(play, "owner", "config2")
    assert room.config(play["owner"]) == before


def test_who_gains_and_loses_by_the_form(play):
    """10.2, examples 167 to 170."""
    room = play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    owner = play["owner"]
    room.configure(owner, roomadmins=[play["wiccarocks"].bare])
    shown(play, "secondwitch", "<item affiliation='admin' jid='{wiccarocks}' role='moderator'/>",
          "owner", "wiccarocks", "hag66")
    room.configure(owner, roomadmins=[])
    shown(play, "secondwitch", "<item affiliation='none' jid='{wiccarocks}' role='participant'/>",
          "owner", "wiccarocks", "hag66")
    room.configure(owner, roomowners=[owner.bare, play["hag66"].bare])
    shown(play, "thirdwitch", "<item affiliation='owner' jid='{hag66}' role='moderator'/>",
          "owner", "wiccarocks", "hag66")
    room.configure(owner, roomowners=[owner.bare])
    shown(play, "thirdwitch", "<item affiliation='admin' jid='{hag66}' role='moderator'/>",
          "owner", "wiccarocks", "hag66")


def test_the_last_owner_stays(play):
    """10.2, 10.4, 10.5 (MUST): conflict, by the form as by the list."""
    room = play.cast("coven")
    a = room.send_config(play["owner"], roomowners=[])
    assert error(a)[1] in ("conflict", "not-acceptable")
    a = room.send_config(play["owner"], roomowners=[], roomadmins=[play["owner"].bare])
    assert error(a)[1] in ("conflict", "not-acceptable")
    assert error(room.affiliation(play["owner"], play["owner"].bare, "admin")) == (
        "cancel", "conflict")


def test_who_is_no_member_must_leave(play):
    """10.2 (MUST): 322 to who leaves and to who stays."""
    room = play.cast("coven", "wiccarocks", "hag66")
    room.set(play["owner"], affiliation="member", jid=play["wiccarocks"].bare)
    play.settled()
    room.configure(play["owner"], membersonly=1)
    for who in ("hag66", "wiccarocks", "owner"):
        play.gets(who, "<presence from='{coven}/thirdwitch' to='{%s}' type='unavailable'><x "
                  "xmlns='%s'><item affiliation='none' role='none'/><status code='322'/></x>"
                  "</presence>" % (who, USER))


@pytest.mark.parametrize("before,after,code", [
    ({"whois": "moderators"}, {"whois": "anyone"}, 172),
    ({"whois": "anyone"}, {"whois": "moderators"}, 173),
    ({}, {"roomname": "Heath"}, 104), ({}, {"passwordprotectedroom": 1, "roomsecret": "s"}, 104),
    ({}, {"moderatedroom": 1}, 104), ({}, {"maxusers": 20}, 104), ({}, {"publicroom": 0}, 104)])
def test_notification_of_changes(play, before, after, code):
    """10.2.1, example 171: a message with only <status/> in <x/>."""
    room = play.cast("coven", "hag66", **before)
    room.configure(play["owner"], **after)
    m = play.gets("hag66", "<message from='{coven}' to='{hag66}' type='groupchat'><x xmlns='%s'>"
                  "<status code='%d'/></x></message>" % (USER, code))
    assert len(children(m, "x", USER)[0]) == 1 and len(m) == 1


@pytest.mark.parametrize("on", [1, 0])
def test_notification_of_logging(make_server, connect, on):
    """10.2.1, example 171: 170 and 171; 7.2.12, example 32: who enters is warned (MUST)."""
    server = make_server({"host_types": {"people": {"plugins": {"mam": {}}}}})
    play = Play(Stage(server, server.account, connect), owner="firstwitch", hag66="thirdwitch",
                wiccarocks="secondwitch")
    room = play.cast("coven", "hag66", persistentroom=1, enablelogging=1 - on)
    room.configure(play["owner"], enablelogging=on)
    play.gets("hag66", "<message from='{coven}' to='{hag66}' type='groupchat'><x xmlns='%s'>"
              "<status code='%d'/></x></message>" % (USER, 170 if on else 171))
    assert (170 in room.join(play["wiccarocks"]).codes) == bool(on)


# ---- 10.3 to 10.8 ------------------------------------------------------------------------------

@pytest.mark.parametrize("affiliation", ["owner", "admin"])
def test_status_is_granted_and_revoked(play, affiliation):
    """10.3, 10.4, 10.6, 10.7, examples 172 to 180, 186 to 195: of who is inside by presence, of
    who is not by a message."""
    play.cast("coven", "wiccarocks", "hag66", whois="anyone")
    for to, role, words in ((affiliation, "moderator", None), ("none", "participant", None),
                            (affiliation, "moderator", "A worthy witch indeed!"),
                            ("none", "participant", "Not so worthy after all!")):
        why = "" if words is None else "<reason>%s</reason>" % words
        change = "<item affiliation='%s' jid='{%s.bare}'>%s</item>"
        iq(play, "owner", "set", ADMIN, change % (to, "hag66", why), "owner1")
        success(play, "owner", "owner1")
        shown(play, "thirdwitch", "<item affiliation='%s' jid='{hag66}' role='%s'>%s</item>" % (
            to, role, why), "owner", "wiccarocks", "hag66")
        iq(play, "owner", "set", ADMIN, change % (to, "hecate", why), "owner1")
        success(play, "owner", "owner1")
        for who in ("owner", "wiccarocks", "hag66"):
            play.gets(who, "<message from='{coven}' id='*' to='{%s}'><x xmlns='%s'><item "
                      "affiliation='%s' jid='{hecate.bare}' role='none'/></x></message>" % (
                          who, USER, to))


@pytest.mark.parametrize("affiliation", ["owner", "admin"])
def test_lists_of_owners_and_admins(play, affiliation):
    """10.5, 10.8, examples 181 to 185, 196 to 200."""
    room = play.cast("coven", "wiccarocks", "hag66")
    room.set(play["owner"], affiliation=affiliation, jid=play["wiccarocks"].bare)
    play.settled()
    iq(play, "owner", "get", ADMIN, "<item affiliation='%s'/>" % affiliation, "list3")
    play.gets("owner", "<iq from='{coven}' id='list3' to='{owner}' type='result'><query xmlns='%s'>"
              "<item affiliation='%s' jid='{wiccarocks.bare}'/></query></iq>" % (
                  ADMIN, affiliation))
    iq(play, "owner", "set", ADMIN, "<item affiliation='none' jid='{wiccarocks.bare}'/><item "
       "affiliation='%s' jid='{hag66.bare}'/>" % affiliation, "list4")
    success(play, "owner", "list4")
    shown(play, "secondwitch", "<item affiliation='none' role='participant'/>", "owner")
    shown(play, "thirdwitch", "<item affiliation='%s' role='moderator'/>" % affiliation, "owner")
    room.set(play["owner"], affiliation="admin", jid=play["wiccarocks"].bare)
    for who in ("wiccarocks", "hecate"):
        iq(play, who, "set", ADMIN, "<item affiliation='%s' jid='a@b.lit'/>" % affiliation, "test")
        denied(play, who, "auth", "forbidden", "test")


def test_full_addresses_mean_users(play):
    """10.3, 10.6 (SHOULD): the bare one is used."""
    room = play.cast("coven", "hag66")
    iq(play, "owner", "set", ADMIN, "<item affiliation='owner' jid='{hag66}'/>", "owner1")
    success(play, "owner", "owner1")
    assert room.jids(play["owner"], "owner") == sorted([play["owner"].bare, play["hag66"].bare])


# ---- 10.9 --------------------------------------------------------------------------------------

def test_a_room_is_destroyed(play):
    """10.9, examples 201 to 204: each is told of itself only."""
    play.cast("heath", "wiccarocks", "hag66", persistentroom=1)
    destroy = "<destroy jid='{coven}'><reason>Macbeth doth come.</reason></destroy>"
    iq(play, "wiccarocks", "set", OWNER, destroy, "destroytest", "heath")
    denied(play, "wiccarocks", "auth", "forbidden", "destroytest", "heath")
    iq(play, "owner", "set", OWNER, destroy, "begone", "heath")
    for who in ("owner", "wiccarocks", "hag66"):
        play.gets(who, "<presence from='{heath}/%s' to='{%s}' type='unavailable'><x xmlns='%s'>"
                  "<item affiliation='none' role='none'/>%s</x></presence>" % (
                      play[who].nick, who, USER, destroy))
    success(play, "owner", "begone", "heath")
    for got in play.settled("heath").values():
        assert presences(got) == []


# ---- 11 ----------------------------------------------------------------------------------------

def test_who_answers_with_an_error_is_removed(play):
    """11.1, examples 205, 206."""
    play.cast("coven", "wiccarocks", "hag66")
    play.send("hag66", "<message id='e1' to='{coven}' type='error'><error type='cancel'><gone "
              "xmlns='%s'/></error></message>" % STANZAS)
    for who in ("hag66", "owner", "wiccarocks"):
        own = "<status code='110'/>" if who == "hag66" else "<status code='110' absent=''/>"
        play.gets(who, "<presence from='{coven}/thirdwitch' to='{%s}' type='unavailable'><x "
                  "xmlns='%s'><item affiliation='none' role='none'/><status code='333'/>%s"
                  "<status code='307' absent=''/></x></presence>" % (who, USER, own))


@pytest.mark.parametrize("condition", ["item-not-found", "recipient-unavailable", "redirect",
                                       "remote-server-not-found", "remote-server-timeout"])
def test_what_makes_a_ghost(play, condition):
    """18.1.2: errors that tell that nobody is there; others don't."""
    room = play.cast("coven", "hag66")
    send = ("<message id='e1' to='{coven}' type='error'><error type='cancel'><%s xmlns='%s'/>"
            "</error></message>")
    for harmless in ("forbidden", "not-acceptable", "resource-constraint"):
        play.send("hag66", send % (harmless, STANZAS))
    assert presences(room.settled(play["hag66"])[0]) == []
    play.send("hag66", send % (condition, STANZAS))
    (p,) = presences(room.settled(play["hag66"], play["owner"])[1])
    assert nick(p) == "thirdwitch" and codes(p) == {333}


# ---- 16.6 --------------------------------------------------------------------------------------

def test_what_uris_ask_for(play):
    """16.6, examples 209, 211, 213, 215, 217: what clients send for them. A password that comes
    with an invitation is not what the room tells: it has its own."""
    play.cast("coven", passwordprotectedroom=1, roomsecret="cauldronburn")
    play.send("hag66", "<presence to='{coven}/thirdwitch'>%s</presence>" % JOIN)
    play.gets("hag66", "<presence from='{coven}/thirdwitch' type='error'/>")
    play.send("hag66", "<presence to='{coven}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'>"
              "<password>cauldronburn</password></x></presence>")
    play.at().joined(play["hag66"])
    play.send("hag66", "<message to='{coven}'><x xmlns='%s'><invite to='{hecate.bare}'/><invite "
              "to='{wiccarocks.bare}'/><password>forged</password></x></message>" % USER)
    play.all_get("<message from='{coven}'><x xmlns='%s'><invite from='{hag66}'/><password>"
                 "cauldronburn</password></x></message>" % USER, "hecate", "wiccarocks")


# ---- 18.1 --------------------------------------------------------------------------------------

def test_which_traffic_is_allowed(play):
    """18.1.1, examples 218, 220: all is."""
    play.cast("coven")
    for place in ("coven", "service"):
        play.send("wiccarocks", "<iq to='{%s}' id='allow1' type='get'><query xmlns='http://jabber.org"
                  "/protocol/disco#info' node='http://jabber.org/protocol/muc#traffic'/></iq>" % place)
        denied(play, "wiccarocks", "cancel", "service-unavailable", "allow1", place)


def test_visitors_may_do_what_the_table_says(play):
    """5.1.1: what a visitor may do by default, and may not."""
    room = play.cast("coven", "hag66", "wiccarocks", moderatedroom=1)
    hag = play["hag66"]
    room.presence(hag, "<status>brewing</status>")
    room.presence(hag, nick_="oldhag")
    hag.message(room.at("firstwitch"), "psst")
    hag.send("<message to='%s'><x xmlns='%s'><invite to='%s'/></x></message>" % (
        room.jid, USER, play["hecate"].bare))
    got = room.settled(hag, play["owner"])[1]
    assert [nick(p) for p in presences(got)] == ["thirdwitch", "thirdwitch", "oldhag"]
    assert len(messages(got)) == 1
    play.gets("hecate", "<message from='{coven}'/>")
    room.say(hag, "hello")
    room.send_subject(hag, "mine")
    refused = [m for m in messages(room.settled(hag)[0]) if m.get("type") == "error"]
    assert [error(m) for m in refused] == [("auth", "forbidden")] * 2
    for item in ("nick='secondwitch' role='none'", "nick='secondwitch' role='participant'"):
        a = hag.iq("set", "<query xmlns='%s'><item %s/></query>" % (ADMIN, item), to=room.jid)
        assert error(a) == ("auth", "forbidden")
    assert status(room.join(play["hecate"]).self) == ("none", "visitor")
    assert name(a) == "iq"
