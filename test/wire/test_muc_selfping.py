"""XEP-0410: a ping to one's own occupant address is answered by the room."""

from mk import NS, name
from mk.muc import error, nick

OPTIMIZED = "http://jabber.org/protocol/muc#self-ping-optimization"
PING = "<ping xmlns='%s'/>" % NS.PING


def test_announced(muc):
    room = muc.room()
    assert OPTIMIZED in room.disco(muc.owner)[1]


def test_inside(muc):
    """By the room: nothing reaches a client."""
    room, x, y = muc.populated("x", "y")
    a = x.iq("get", PING, to=room.at("x"))
    assert a.get("type") == "result" and a.get("from") == room.at("x")
    assert room.settled(x, y) == [[], []]


def test_outside(muc, account):
    """not-acceptable: for a stranger, and for another session of the occupant's user."""
    room = muc.room()
    a = account()
    x, other = muc.person("x", a, "one"), muc.person("x", a, "two")
    room.join(x)
    for c in (other, muc.person()):
        e = c.iq("get", PING, to=room.at("x"))
        assert error(e) == ("cancel", "not-acceptable") and e.get("from") == room.at("x")


def test_after_leaving(muc):
    room, x = muc.populated("x")
    room.leave(x)
    assert error(x.iq("get", PING, to=room.at("x")))[1] == "not-acceptable"


def test_after_a_kick(muc):
    room, x = muc.populated("x")
    room.role(muc.owner, "x", "none")
    x.until(lambda e: name(e) == "presence")
    assert error(x.iq("get", PING, to=room.at("x")))[1] == "not-acceptable"


def test_no_such_room(muc):
    """3.2: any error but service-unavailable and such says: not joined."""
    room = muc.address()
    assert error(muc.owner.iq("get", PING, to=room.at("x")))[1] in (
        "not-acceptable", "item-not-found")


def test_after_a_change_of_nick(muc):
    """item-not-found or not-acceptable under the old one, fine under the new."""
    room, x = muc.populated("x")
    room.presence(x, nick_="y")
    x.until(lambda e: name(e) == "presence" and nick(e) == "y")
    assert x.iq("get", PING, to=room.at("y")).get("type") == "result"
    assert error(x.iq("get", PING, to=room.at("x")))[1] in ("item-not-found", "not-acceptable")


def test_another_occupant_is_asked_itself(muc):
    room, x, y = muc.populated("x", "y")
    x.send("<iq type='get' id='p1' to='%s'>%s</iq>" % (room.at("y"), PING))
    q = y.until(lambda e: name(e) == "iq")
    y.send("<iq type='result' id='%s' to='%s'/>" % (q.get("id"), q.get("from")))
    assert x.answer("p1").get("from") == room.at("y")


def test_the_room_itself(muc):
    """XEP-0199 to the room's bare address."""
    room = muc.room()
    a = muc.owner.iq("get", PING, to=room.jid)
    assert a.get("type") == "result" or error(a)[1] == "service-unavailable"
