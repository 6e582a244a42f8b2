"""XEP-0045 7.14 (exiting a room), and the other ways out: going offline, losing the
connection; temporary rooms."""

import pytest

from mk import name, text
from mk.muc import codes, error, nick, real_jid, status


def test_leaving(muc):
    """7.14: unavailable with role none: with 110 to oneself, to the others without."""
    room, x, y = muc.populated("x", "y")
    room.presence(x, "<status>gone where the goblins go</status>", "unavailable")
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "x" and p.get("type") == "unavailable" and p.get("to") == c.jid
        assert status(p) == ("none", "none") and codes(p) == ({110} if c is x else set())
        assert text(p, "status") == "gone where the goblins go"
    assert real_jid(p) == x.jid          # to the owner
    room.say(y, "has it gone?")
    assert [e for e in room.settled(y, x)[1] if name(e) == "message"] == []
    assert sorted(room.join(muc.person("z")).nicks) == ["owner", "y"]


def test_leaving_keeps_the_affiliation(muc):
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.join(x)
    assert status(room.leave(x)) == ("member", "none")
    assert status(room.join(x).self) == ("member", "participant")


def gone(c, nick_):
    return c.until(lambda e: name(e) == "presence" and nick(e) == nick_)


def test_going_offline(muc):
    """RFC 6121 4.6: the server tells the room, with the status that was given."""
    room, x, y = muc.populated("x", "y")
    x.send("<presence type='unavailable'><status>good night</status></presence>")
    p = gone(y, "x")
    assert p.get("type") == "unavailable" and status(p) == ("none", "none")
    assert text(p, "status") == "good night"


@pytest.mark.parametrize("how", ["close", "kill", "reset"])
def test_losing_the_connection(muc, how):
    room, x, y = muc.populated("x", "y")
    getattr(x, how)()
    p = gone(y, "x")
    assert p.get("type") == "unavailable" and status(p) == ("none", "none")


def test_without_initial_presence(muc, account, connect):
    """RFC 6121 4.6: directed presence alone is undone as well."""
    room, y = muc.populated("y")
    x = connect(account())
    x.nick = "x"
    room.join(x)
    gone(y, "x")
    x.close()
    assert gone(y, "x").get("type") == "unavailable"


def test_many_rooms(muc):
    """Each is told that the occupant has gone."""
    x, y = muc.people("x", "y")
    rooms = [muc.room() for _ in range(5)]
    for r in rooms:
        r.join(x)
        r.join(y)
    for r in rooms:
        r.settled(x, y)
    x.kill()
    left = set()
    while len(left) < 5:
        p = y.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
        left.add(p.get("from"))
    assert left == {r.at("x") for r in rooms}


def test_a_removed_account_leaves(muc, account):
    room, y = muc.populated("y")
    a = account()
    x = muc.person("x", a)
    room.join(x)
    gone(y, "x")
    muc.server.ctl("account", "unregister", a.jid)
    assert gone(y, "x").get("type") == "unavailable"


def test_a_temporary_room_ends(muc):
    """7.14: with the last occupant; the next one makes it anew."""
    room, x = muc.populated("x")
    room.set(muc.owner, affiliation="outcast", jid="nobody@" + muc.server.domain)
    room.leave(muc.owner)
    room.leave(x)
    assert error(muc.owner.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>",
                              to=room.jid)) == ("cancel", "item-not-found")
    z = muc.person("z")
    room.create(z)
    assert room.jids(z, "owner") == [z.bare] and room.jids(z, "outcast") == []


def test_a_persistent_room_stays(muc):
    room, x = muc.populated("x", persistentroom=1, roomname="Heath")
    room.set(muc.owner, affiliation="outcast", jid="nobody@" + muc.server.domain)
    room.leave(muc.owner)
    room.leave(x)
    assert room.disco(x)[0] == [("conference", "text", "Heath")]
    j = room.join(x)
    assert status(j.self) == ("none", "participant") and 201 not in j.codes
    assert status(room.join(muc.owner).self) == ("owner", "moderator")
    assert room.jids(muc.owner, "outcast") == ["nobody@" + muc.server.domain]


def test_leaving_a_locked_room_destroys_it(muc):
    """10.1.3: the owner goes before it is configured."""
    room = muc.address()
    room.join(muc.owner, "owner")
    p = room.leave(muc.owner)
    assert p.get("type") == "unavailable"
    x = muc.person("x")
    assert 201 in room.join(x).codes


def test_a_bounced_stanza_removes_the_occupant(muc):
    """15.1 (Service removes user because of an error): an error from the occupant's
    address that says that nobody is there."""
    room, x, y = muc.populated("x", "y")
    x.send("<message type='error' to='%s' id='e1'><error type='cancel'><recipient-unavailable "
           "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>" % room.jid)
    p = gone(y, "x")
    assert p.get("type") == "unavailable" and 333 in codes(p)
    assert status(p) == ("none", "none")
