"""XEP-0045 7.6 (changing nickname), 7.7 (changing availability)."""

from mk import name, text
from mk.muc import codes, is_error, item, nick, presences, real_jid, status


def test_change(muc):
    """7.6: unavailable of the old with the new nick and 303, then the new."""
    room, x, y = muc.populated("x", "y")
    room.presence(x, nick_="oldhag")
    for c in (x, y, muc.owner):
        gone, come = (c.until(lambda e: name(e) == "presence") for _ in range(2))
        own = {110} if c is x else set()
        assert nick(gone) == "x" and gone.get("type") == "unavailable"
        assert item(gone).get("nick") == "oldhag" and codes(gone) == {303} | own
        assert status(gone) == ("none", "participant")
        assert nick(come) == "oldhag" and come.get("type") is None and codes(come) == own
        assert status(come) == ("none", "participant")
        assert gone.get("to") == come.get("to") == c.jid
    x.nick = "oldhag"
    room.say(x, "it's me")
    assert nick(y.until(lambda e: text(e, "body"))) == "oldhag"
    assert sorted(room.join(muc.person("z")).nicks) == ["oldhag", "owner", "y"]


def test_change_tells_moderators_the_jid(muc):
    room, x, y = muc.populated("x", "y", whois="moderators")
    room.presence(x, nick_="oldhag")
    for c, jid in ((muc.owner, x.jid), (y, None)):
        for _ in range(2):
            assert real_jid(c.until(lambda e: name(e) == "presence")) == jid


def test_conflict(muc):
    """7.6: with a nick in use, or reserved by another."""
    room, x, y = muc.populated("x", "y")
    member = muc.person()
    room.set(muc.owner, affiliation="member", jid=member.bare, nick="reserved")
    for taken in ("y", "reserved"):
        room.presence(x, nick_=taken)
        p = x.until(lambda e: name(e) == "presence" and room.is_mine(e))
        is_error(p, "cancel", "conflict", by=room.jid)
    assert presences(room.settled(x, y)[1]) == []
    room.say(x, "still x")
    assert nick(y.until(lambda e: text(e, "body"))) == "x"


def test_the_old_nick_is_free(muc):
    room, x, y = muc.populated("x", "y")
    room.presence(x, nick_="oldhag")
    room.settled(x)
    room.presence(y, nick_="x")
    p = x.until(lambda e: nick(e) == "x" and e.get("type") is None)
    assert status(p) == ("none", "participant")


def test_a_visitor_changes_its_nick(muc):
    """5.1.1: allowed as a default; unless a setting forbids it."""
    room, v = muc.populated("v", moderatedroom=1)
    room.presence(v, nick_="w")
    p = muc.owner.until(lambda e: nick(e) == "w")
    assert status(p) == ("none", "visitor")


def test_availability(muc):
    """7.7: to all, with role and affiliation."""
    room, x, y = muc.populated("x", "y")
    x.send("<presence to='%s' id='kr7v143h'><show>xa</show><status>gone where the goblins go"
           "</status></presence>" % room.at("x"))
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "x" and p.get("type") is None and status(p) == ("none", "participant")
        assert text(p, "show") == "xa" and text(p, "status") == "gone where the goblins go"
        assert codes(p) == ({110} if c is x else set())
    p = [q for q in room.join(muc.person("z")).others if nick(q) == "x"][0]
    assert text(p, "show") == "xa"


def test_availability_shows_moderators_the_jid(muc):
    room, x, y = muc.populated("x", "y", whois="moderators")
    room.presence(x, "<show>dnd</show>")
    assert real_jid(muc.owner.until(lambda e: name(e) == "presence")) == x.jid
    assert real_jid(y.until(lambda e: name(e) == "presence")) is None


def test_general_presence_is_no_room_presence(muc):
    """RFC 6121: it goes to who is subscribed; a room is told by directed presence."""
    room, x = muc.populated("x")
    x.available("<show>away</show>")
    assert presences(room.settled(x, muc.owner)[1]) == []


def test_last_presence_counts(muc):
    """Who comes later sees the last one only."""
    room, x = muc.populated("x")
    for show in ("away", "xa", "dnd"):
        room.presence(x, "<show>%s</show>" % show)
    j = room.join(muc.person("z"))
    found = [p for p in j.others if nick(p) == "x"]
    assert len(found) == 1 and text(found[0], "show") == "dnd"
