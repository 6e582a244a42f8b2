"""XEP-0463: versions of affiliations: told at a join, and with each change."""

import pytest

from mk import child, children, element, name, to_str
from mk.muc import MUC, codes, error, nick, status, user

MAV = "urn:xmpp:muc:affiliations:1"


def join(room, c, since=None):
    """(messages before the presences, the version of one's own presence)"""
    c.send(element("presence", None, element("x", MUC.JOIN, element("mav", MAV, since=since)),
                   to=room.at(c.nick), id="j1"))
    before = []
    while True:
        el = c.recv()
        if not room.is_mine(el):
            continue
        if name(el) == "message":
            if 101 not in codes(el):     # of an affiliation given before
                before.append(el)
            continue
        break
    while 110 not in codes(el):
        el = c.recv()
        assert name(el) == "presence" or not room.is_mine(el), to_str(el)
    m = child(user(el), "mav", MAV)
    version = m.get("until") if m is not None else None
    c.until(lambda e: name(e) == "message" and child(e, "subject") is not None)
    return before, version


def diff(messages):
    """({jid: affiliation}, since, until)"""
    (m,) = messages
    v = child(user(m), "mav", MAV)
    return ({i.get("jid"): i.get("affiliation") for i in children(user(m), "item", MUC.USER)},
            v.get("since"), v.get("until"))


def test_all_and_then_what_changed(muc):
    """4.2.1: without a version everything; with one, what is new since; with the latest,
    nothing."""
    room = muc.room(whois="anyone")
    assert MAV in room.disco(muc.owner)[1]
    x, y = muc.people("x", "y")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    items, since, until = diff((got := join(room, x))[0])
    assert items == {muc.owner.bare: "owner", x.bare: "member"}
    assert since is None and until == got[1]
    room.leave(x)
    assert join(room, x, until) == ([], until)
    room.leave(x)
    room.set(muc.owner, affiliation="admin", jid=y.bare)
    room.set(muc.owner, affiliation="none", jid=y.bare)
    room.set(muc.owner, affiliation="member", jid="z@example.org")
    got = join(room, x, until)
    assert diff(got[0]) == ({y.bare: "none", "z@example.org": "member"}, until, got[1])
    assert got[1] != until


@pytest.mark.parametrize("since", ["nothing", "", "0123456789abcdef", "x" * 2000])
def test_unknown_versions(muc, since):
    """A version that the room doesn't know: everything."""
    room = muc.room(whois="anyone")
    x = muc.person("x")
    got = join(room, x, since)
    assert diff(got[0]) == ({muc.owner.bare: "owner"}, None, got[1])


def test_changes_are_told_with_their_versions(muc):
    """4.2.2: of who is inside by presence, of others by a message; each follows the last."""
    room, y = muc.populated("y", whois="anyone")
    x = muc.person("x")
    _, version = join(room, x)
    room.settled(x, y, muc.owner)
    room.set(muc.owner, affiliation="member", jid=y.bare)
    p = x.until(lambda e: name(e) == "presence")
    v = child(user(p), "mav", MAV)
    assert nick(p) == "y" and status(p)[0] == "member"
    assert v.get("since") == version
    a = room.affiliation(muc.owner, "z@example.org", "member")
    assert a.get("type") == "result"
    m = x.until(lambda e: name(e) == "message")
    (i,) = children(user(m), "item", MUC.USER)
    assert (i.get("jid"), i.get("affiliation"), i.get("role")) == (
        "z@example.org", "member", "none")
    w = child(user(m), "mav", MAV)
    assert w.get("since") == v.get("until") != w.get("until")


def test_not_for_everybody(muc):
    """4.2.3: who may not see the lists."""
    room = muc.room(whois="moderators")
    x = muc.person("x")
    got, _ = join(room, x)
    (m,) = got
    assert m.get("from") == room.jid and m.get("type") == "error"
    assert error(m) == ("auth", "forbidden")


def test_nobody_else_hears_of_it(muc):
    room, y = muc.populated("y", whois="anyone")
    x = muc.person("x")
    join(room, x, "0123456789abcdef")
    got = room.settled(x, y)[1]
    assert got and all(MAV not in to_str(e) for e in got)
    # Who did not ask is told nothing at the join.
    z = muc.person("z")
    assert MAV not in to_str(room.join(z).self)
