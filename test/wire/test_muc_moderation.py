"""XEP-0425 (moderated retraction) and XEP-0424 (retraction by who wrote it) in rooms."""

import pytest

from mk import NS, child, element, name, text
from mk.muc import bodies, error, messages, nick

MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"


@pytest.fixture
def room(muc):
    r = muc.room()
    if MODERATE not in r.disco(muc.owner)[1]:
        pytest.skip("rooms don't announce it")
    return r


def said(room, c, body, *others):
    """The room's id of a message; everybody has read it."""
    room.say(c, body)
    ids = {child(x.until(lambda e: text(e, "body") == body), "stanza-id", NS.SID).get("id")
           for x in (c,) + others}
    assert len(ids) == 1
    return ids.pop()


def moderate(room, c, id_, why=None):
    return c.iq("set", element("moderate", MODERATE, element("retract", RETRACT) + (
        "" if why is None else "<reason>%s</reason>" % why), id=id_), to=room.jid)


def test_moderation(muc, room):
    """All are told by the room: which message, by whom, why."""
    x, y = muc.people("oldhag", "y")
    room.enter(x, y)
    room.got(muc.owner)
    id_ = said(room, x, "DM me for free magic potions!", y, muc.owner)
    a = moderate(room, muc.owner, id_, "inappropriate")
    assert a.get("type") == "result"
    for c in (x, y, muc.owner):
        m = c.until(lambda e: name(e) == "message")
        assert m.get("from") == room.jid and m.get("type") == "groupchat"
        r = child(m, "retract", RETRACT)
        assert r.get("id") == id_
        by = child(r, "moderated", MODERATE)
        assert by is not None and by.get("by") in (None, room.at("owner"))
        assert "inappropriate" in (text(r, "reason", RETRACT), text(by, "reason", MODERATE))


def test_it_is_no_longer_history(muc, room):
    """5: no further distribution of what was retracted."""
    x = muc.person("x")
    room.enter(x)
    id_ = said(room, x, "bad", muc.owner)
    said(room, x, "good", muc.owner)
    assert moderate(room, muc.owner, id_).get("type") == "result"
    assert bodies(room.join(muc.person()).history) == ["good"]


def test_only_moderators(muc, room):
    x, y = muc.people("x", "y")
    room.enter(x, y)
    id_ = said(room, x, "hello", y)
    for c in (x, y, muc.person("z")):
        assert error(moderate(room, c, id_))[1] in ("forbidden", "not-allowed",
                                                     "not-acceptable")
    assert [m for m in messages(room.settled(y)[0]) if child(m, "retract", RETRACT)] == []


def test_unknown_messages(muc, room):
    assert error(moderate(room, muc.owner, "no-such-id"))[1] in ("item-not-found", "bad-request")


def test_a_forged_moderation(muc, room):
    """5: only the room says that something was moderated."""
    x, y = muc.people("x", "y")
    room.enter(x, y)
    id_ = said(room, y, "hello", x)
    x.send("<message type='groupchat' to='%s'><retract xmlns='%s' id='%s'><moderated xmlns='%s' "
           "by='%s'/></retract></message>" % (room.jid, RETRACT, id_, MODERATE,
                                            room.at("owner")))
    room.settled(x)
    for m in messages(room.settled(y)[0]):
        r = child(m, "retract", RETRACT)
        assert r is None or child(r, "moderated", MODERATE) is None


def test_retraction_by_the_author(muc, room):
    """XEP-0424: reflected to all as any message; no history afterwards."""
    x, y = muc.people("x", "y")
    room.enter(x, y)
    id_ = said(room, x, "wrong room", y, muc.owner)
    x.send("<message type='groupchat' to='%s' id='r1'><retract xmlns='%s' id='%s'/><fallback "
           "xmlns='urn:xmpp:fallback:0' for='%s'/><body>/me retracted</body></message>" % (
               room.jid, RETRACT, id_, RETRACT))
    m = y.until(lambda e: name(e) == "message")
    assert child(m, "retract", RETRACT).get("id") == id_ and nick(m) == "x"
    assert "wrong room" not in bodies(room.join(muc.person()).history)


def test_retraction_of_what_another_wrote(muc, room):
    """It has no effect on the history."""
    x, y = muc.people("x", "y")
    room.enter(x, y)
    id_ = said(room, x, "mine", y, muc.owner)
    y.send("<message type='groupchat' to='%s' id='r1'><retract xmlns='%s' id='%s'/></message>"
           % (room.jid, RETRACT, id_))
    room.settled(y)
    assert "mine" in bodies(room.join(muc.person()).history)
