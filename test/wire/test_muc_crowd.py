"""Large rooms: presence of moderators only, and what that saves; many messages in order; XEP-0500
(slow mode)."""

import pytest

from mk import name, text
from mk.muc import bodies, codes, error, nick, presences, status

CROWD = 60


def test_quiet_room(muc):
    """Joins and leaves of who isn't shown reach nobody else, messages reach all."""
    room = muc.room(presencebroadcast=["moderator"], maxusers=200)
    crowd = [muc.person("c%d" % i) for i in range(CROWD)]
    for c in crowd:
        j = room.join(c)
        assert j.nicks == ["owner"] and nick(j.self) == c.nick and 110 in j.codes
    got = room.settled(*crowd[:10], muc.owner)
    assert [presences(g) for g in got] == [[]] * 11
    room.say(crowd[0], "hello, all")
    for c in crowd + [muc.owner]:
        m = c.until(lambda e: name(e) == "message")
        assert text(m, "body") == "hello, all" and nick(m) == "c0"
    for c in crowd[50:]:
        assert codes(room.leave(c)) == {110}
    assert [presences(g) for g in room.settled(*crowd[:10], muc.owner)] == [[]] * 11
    _, _, info = room.disco(muc.owner)
    assert info["muc#roominfo_occupants"] == ["51"]


def test_a_moderator_appears_to_all(muc):
    room = muc.room(presencebroadcast=["moderator"])
    x, y, z = muc.people("x", "y", "z")
    room.enter(x, y, z)
    room.role(muc.owner, "x", "moderator")
    for c in (x, y, z, muc.owner):
        assert status(c.until(lambda e: name(e) == "presence" and nick(e) == "x")) == (
            "none", "moderator")
    room.role(muc.owner, "x", "participant")
    p = y.until(lambda e: name(e) == "presence" and nick(e) == "x")
    # No longer shown: its change is told, or it is as if it had left.
    assert p.get("type") == "unavailable" or status(p) == ("none", "participant")


def test_full_room(muc):
    """Each sees each, once."""
    room = muc.room(maxusers=200)
    crowd = [muc.person("c%d" % i) for i in range(30)]
    for i, c in enumerate(crowd):
        assert len(room.join(c).nicks) == i + 1
    got = room.settled(*crowd, muc.owner)
    for i, g in enumerate(got[:-1]):
        assert [nick(p) for p in presences(g)] == ["c%d" % k for k in range(i + 1, 30)]


def test_slow_mode(muc):
    """XEP-0500: policy-violation for who speaks again too soon; moderators may."""
    room, x = muc.populated("x")
    if "muc#roomconfig_slow_mode_duration" not in room.config(muc.owner):
        pytest.skip("the form has no such field")
    room.configure(muc.owner, slow_mode_duration=3600)
    assert room.disco(x)[2]["muc#roominfo_slow_mode_duration"] == ["3600"]
    room.settled(x, muc.owner)
    room.say(x, "one")
    room.say(x, "two")
    m = x.until(lambda e: e.get("type") == "error")
    assert error(m)[1] in ("policy-violation", "resource-constraint", "not-allowed")
    assert bodies(room.settled(x, muc.owner)[1]) == ["one"]
    for i in range(3):
        room.say(muc.owner, "o%d" % i)
    assert bodies(room.settled(muc.owner, x)[1]) == ["o0", "o1", "o2"]
    room.configure(muc.owner, slow_mode_duration=0)
    room.say(x, "three")
    assert bodies(room.settled(x, muc.owner)[1]) == ["three"]
