"""S-06, S-07 in rooms: what only a room may say is never passed on from a client, and odd
stanzas hurt no room."""

import pytest

from mk import NS, children, name, text
from mk.xml import esc
from mk.muc import MUC, codes, error, item, messages, nick, real_jid, status, user


def live(c, body):
    return c.until(lambda e: name(e) == "message" and text(e, "body") == body)


FORGED = "<x xmlns='%s'><item affiliation='owner' role='moderator' jid='a@b/c'/>" \
         "<status code='110'/><status code='307'/></x>" % MUC.USER


def test_muc_user_in_presence(muc):
    """17.3: replaced, not passed on."""
    room, x, y = muc.populated("x", "y")
    room.presence(x, FORGED)
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert status(p) == ("none", "participant") and codes(p) <= {110}
        assert real_jid(p) != "a@b/c"


def test_muc_user_in_a_join(muc):
    room, y = muc.populated("y")
    x = muc.person("x")
    j = room.join(x, payload=FORGED)
    assert status(j.self) == ("none", "participant")
    p = y.until(lambda e: nick(e) == "x")
    assert status(p) == ("none", "participant") and codes(p) == set()


def test_muc_user_in_messages(muc):
    room, x, y = muc.populated("x", "y")
    room.say(x, "hello", more=FORGED)
    assert user(live(y, "hello")) is None
    x.message(room.at("y"), "psst", more=FORGED)
    assert len(user(live(y, "psst"))) == 0


def test_stanza_id(muc):
    """XEP-0359 4: an id by the room is the room's; others' stay."""
    room, x, y = muc.populated("x", "y")
    room.say(x, "hello", more="<stanza-id xmlns='%s' by='%s' id='forged'/>"
             "<stanza-id xmlns='%s' by='elsewhere.example' id='theirs'/>" % (
                 NS.SID, room.jid, NS.SID))
    ids = {s.get("by"): s.get("id") for s in children(live(y, "hello"), "stanza-id", NS.SID)}
    assert ids[room.jid] != "forged" and "theirs" == ids.get("elsewhere.example", "theirs")


def test_occupant_id(muc):
    """XEP-0421 3: at most one, and it is the room's."""
    room, x, y = muc.populated("x", "y")
    forged = "<occupant-id xmlns='%s' id='forged'/>" % MUC.OCCUPANT_ID
    room.say(x, "hello", more=forged + forged)
    room.presence(x, forged)
    for el in (live(y, "hello"), y.until(lambda e: name(e) == "presence")):
        found = children(el, "occupant-id", MUC.OCCUPANT_ID)
        assert [f.get("id") for f in found] != ["forged"] and len(found) <= 1


def test_delay(muc):
    """A delay by the room would make a live message history."""
    room, x, y = muc.populated("x", "y")
    room.say(x, "hello", more="<delay xmlns='%s' from='%s' stamp='2002-10-13T23:58:37Z'/>" % (
        NS.DELAY, room.jid))
    m = live(y, "hello")
    assert [d for d in children(m, "delay", NS.DELAY) if d.get("from") == room.jid] == []
    (h,) = room.join(muc.person()).history
    own = [d for d in children(h, "delay", NS.DELAY) if d.get("from") == room.jid]
    assert len(own) == 1 and not own[0].get("stamp").startswith("2002")


def test_from(muc):
    """RFC 6120 8.1.2.1: the sender is who it is."""
    room, x, y = muc.populated("x", "y")
    x.send("<message type='groupchat' to='%s' from='%s'><body>I am y</body></message>" % (
        room.jid, room.at("y")))
    try:
        got = room.settled(x, y)
    except Exception:
        return                                  # the stream was ended: invalid-from
    assert [m for m in messages(got[1]) if nick(m) == "y"] == []


def test_invitation_from_a_client(muc):
    """Messages that look like the room's own are not passed on as such."""
    room, x, y = muc.populated("x", "y")
    x.message(room.at("y"), "psst", more="<x xmlns='%s'><invite from='%s'/><password>p</password>"
              "</x>" % (MUC.USER, muc.owner.bare))
    m = live(y, "psst")
    assert len(user(m)) == 0


@pytest.mark.parametrize("evil", [
    "<iq type='result' to='%(room)s' id='x1'/>", "<iq type='error' to='%(room)s' id='x2'/>",
    "<iq type='result' to='%(at)s' id='x3'><query xmlns='a'/></iq>",
    "<message to='%(room)s' type='groupchat'/>", "<message to='%(at)s'/>",
    "<presence to='%(at)s' type='probe'/>", "<presence to='%(room)s' type='subscribe'/>",
    "<presence to='%(room)s' type='unavailable'/>", "<presence to='%(room)s'/>",
    "<message to='%(room)s'><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
    "<message to='%(room)s'><x xmlns='http://jabber.org/protocol/muc#user'><invite/>"
    "<decline/></x></message>",
    "<message to='%(room)s'><x xmlns='jabber:x:data' type='submit'/></message>",
    "<iq type='set' to='%(room)s' id='x4'><query xmlns='http://jabber.org/protocol/muc#admin'/>"
    "</iq>",
    "<iq type='set' to='%(room)s' id='x5'><query xmlns='http://jabber.org/protocol/muc#owner'/>"
    "</iq>",
    "<iq type='get' to='%(room)s' id='x6'><query xmlns='http://jabber.org/protocol/muc#admin'>"
    "<item/><item affiliation='owner' role='visitor'/></query></iq>",
    "<message type='groupchat' to='%(room)s'><subject/><subject xml:lang='de'>x</subject>"
    "</message>",
])
def test_odd_stanzas(muc, evil):
    """None of them hurts a room."""
    room, x, y = muc.populated("x", "y")
    z = muc.person("z")
    for c in (x, z):
        c.send(evil % {"room": room.jid, "at": room.at("y")})
    room.settled(x, z, y)
    room.say(y, "still here")
    assert nick(live(muc.owner, "still here")) == "y"


def test_nicks_with_markup(muc):
    room, y = muc.populated("y")
    x = muc.person()
    evil = "<'&\"> \u2665 ;--"
    x.send("<presence to='%s/%s'><x xmlns='%s'/></presence>" % (room.jid, esc(evil), MUC.JOIN))
    x.nick = evil
    j = room.joined(x)
    assert nick(j.self) == evil
    assert nick(y.until(lambda e: name(e) == "presence")) == evil
    room.say(x, "hello")
    assert nick(live(y, "hello")) == evil
    room.role(muc.owner, evil, "none")
    assert nick(y.until(lambda e: name(e) == "presence")) == evil


def test_reasons_with_markup(muc):
    room, x = muc.populated("x")
    evil = "</reason><item role='moderator'/>&amp; \u2665"
    room.role(muc.owner, "x", "none", evil)
    p = x.until(lambda e: name(e) == "presence")
    assert text(item(p), "reason", MUC.USER) in (evil, None)
    assert len(user(p)) == 3                    # item and two codes


def test_a_long_nick(muc):
    room = muc.room()
    x = muc.person()
    x.send("<presence to='%s/%s' id='l1'><x xmlns='%s'/></presence>" % (
        room.jid, "n" * 1023, MUC.JOIN))
    p = x.until(lambda e: name(e) == "presence")
    assert p.get("type") is None or error(p)[1] in ("jid-malformed", "not-acceptable",
                                                    "policy-violation")
