"""XEP-0045 7.1, 7.2 (entering a room), 5.1.2 (initial roles)."""

import pytest

from mk import child, name, text
from mk.muc import (MUC, codes, delay, error, is_error, is_subject, nick, presences, real_jid,
                    reason, status, summary, user)


# ---- 7.2.1: basic protocol -------------------------------------------------------------

def test_entering(muc):
    """7.2.1, 7.2.2: presence of each occupant, one's own last, with 110 and the id that the
    join had; then the subject."""
    room, second = muc.populated("second")
    third = muc.person("third")
    j = room.join(third, id_="n13mt3l")
    assert sorted(j.nicks) == ["owner", "second"]
    assert {nick(p): status(p) for p in j.others} == {
        "owner": ("owner", "moderator"), "second": ("none", "participant")}
    assert nick(j.self) == "third" and status(j.self) == ("none", "participant")
    assert j.self.get("id") == "n13mt3l"
    assert j.self.get("to") == third.jid and j.subject.get("to") == third.jid
    assert 110 in j.codes and not any(codes(p) for p in j.others)
    assert j.history == [] and text(j.subject, "subject") == ""
    for c in (muc.owner, second):
        p = c.until(lambda e: name(e) == "presence" and nick(e) == "third")
        assert p.get("to") == c.jid and status(p) == ("none", "participant")
        assert codes(p) == set()


def test_each_presence_has_one_item(muc):
    room, x = muc.populated("x")
    y = muc.person("y")
    j = room.join(y)
    for p in j.others + [j.self]:
        assert len([c for c in p if c.tag == "{%s}x" % MUC.USER]) == 1
        assert len([c for c in user(p) if name(c) == "item"]) == 1


def test_presence_is_passed_on_whole(muc):
    """17.3: what else the presence holds passes through, to those who are there and to those
    who come later."""
    room = muc.room()
    x, y = muc.people("x", "y")
    room.join(x, payload="<show>away</show><status>brewing</status><priority>7</priority>"
                         "<c xmlns='mk:ext' v='1'/>")
    p = muc.owner.until(lambda e: nick(e) == "x")
    later = {nick(q): q for q in room.join(y).others}["x"]
    for q in (p, later):
        assert text(q, "show") == "away" and text(q, "status") == "brewing"
        assert child(q, "c", "mk:ext").get("v") == "1"
        assert child(q, "x", MUC.JOIN) is None


def test_without_a_nick(muc):
    """7.2.1: jid-malformed."""
    room = muc.room()
    x = muc.person("x")
    x.send("<presence to='%s' id='n1'><x xmlns='%s'/></presence>" % (room.jid, MUC.JOIN))
    p = x.until(lambda e: name(e) == "presence" and room.is_mine(e))
    is_error(p, "modify", "jid-malformed", by=room.jid)
    assert p.get("from") == room.jid and p.get("id") == "n1"


@pytest.mark.parametrize("bad", [" ", "   ", "\u00a0"])
def test_invisible_nicks(muc, bad):
    """17.1: nothing that consists of spaces only."""
    room = muc.room()
    x = muc.person("x")
    x.send("<presence to='%s/%s' id='n1'><x xmlns='%s'/></presence>" % (room.jid, bad, MUC.JOIN))
    p = x.until(lambda e: name(e) == "presence" and e.get("type") == "error")
    assert error(p)[1] in ("jid-malformed", "not-acceptable", "bad-request")


@pytest.mark.parametrize("type_", ["probe", "subscribe", "subscribed", "unsubscribe",
                                   "unsubscribed", "error"])
def test_only_available_presence_joins(muc, type_):
    """17.3: a presence with a type is no request to join."""
    room = muc.room()
    x = muc.person("x")
    x.send("<presence to='%s' type='%s'><x xmlns='%s'/></presence>" % (
        room.at("x"), type_, MUC.JOIN))
    room.got(x)
    assert room.join(x, "y").nicks == ["owner"]


def test_unavailable_of_a_stranger_is_ignored(muc):
    """17.3."""
    room = muc.room()
    x = muc.person("x")
    room.presence(x, type_="unavailable")
    assert room.settled(x, muc.owner) == [[], []]


def test_joining_again_is_a_synchronization(muc):
    """7.2.1, 17.3: all that a join brings, once more; the others see no new occupant."""
    room, x, y = muc.populated("x", "y")
    room.say(x, "hello")
    room.settled(muc.owner, x, y)
    j = room.join(x)
    assert sorted(j.nicks) == ["owner", "y"] and nick(j.self) == "x"
    assert [text(m, "body") for m in j.history] == ["hello"]
    assert [s for s in summary(room.settled(y, x)[0]) if s[1]] == []
    j = room.join(muc.person("z"))
    assert sorted(j.nicks) == ["owner", "x", "y"]


def test_groupchat_1_0(muc):
    """7.2.18: presence of one who is not in the room and says no <x/> is answered by a kick
    with 110, 307 and 333; issue: rooms can be joined by the old protocol, too, where a
    setting allows it."""
    room = muc.room()
    x = muc.person("x")
    room.send_join(x, x=False)
    p = x.until(lambda e: name(e) == "presence" and room.is_mine(e))
    if p.get("type") == "unavailable":
        assert codes(p) == {110, 307, 333} and status(p) == ("none", "none")
        assert nick(p) == "x" and reason(p)
        assert room.got(muc.owner) == []
    else:
        assert p.get("type") is None


# ---- 7.2.3 to 7.2.5: who sees the real JID -----------------------------------------------

def test_nonanonymous(muc):
    """7.2.3: everybody sees it, and is warned by 100."""
    room, y = muc.populated("y", whois="anyone")
    x = muc.person("x")
    j = room.join(x)
    assert 100 in j.codes and 110 in j.codes
    for c in (muc.owner, y):
        p = c.until(lambda e: nick(e) == "x")
        assert real_jid(p) == x.jid and 100 not in codes(p)
    assert {nick(p): real_jid(p) for p in j.others} == {"owner": muc.owner.jid, "y": y.jid}
    assert real_jid(j.self) == x.jid


def test_semianonymous(muc):
    """7.2.4: moderators only."""
    room, y = muc.populated("y", whois="moderators")
    x = muc.person("x")
    j = room.join(x)
    assert 100 not in j.codes
    assert real_jid(muc.owner.until(lambda e: nick(e) == "x")) == x.jid
    assert real_jid(y.until(lambda e: nick(e) == "x")) is None
    assert [real_jid(p) for p in j.others] == [None, None]


def test_moderators_see_jids_of_who_is_there(muc):
    room, x = muc.populated("x", whois="moderators")
    admin = muc.person("admin")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    j = room.join(admin)
    assert {nick(p): real_jid(p) for p in j.others} == {
        "owner": muc.owner.jid, "x": x.jid}


# ---- 7.2.6 to 7.2.12: refusals ------------------------------------------------------------

def is_refused(el, room, nick_, type_, condition):
    is_error(el, type_, condition, by=room.jid)
    assert el.get("from") == room.at(nick_) and el.get("id") == "n13mt3l"
    return el


@pytest.mark.parametrize("given", [None, "", "wrong", "cauldronbur", "cauldronburnX"])
def test_password(muc, given):
    """7.2.6."""
    room = muc.room(passwordprotectedroom=1, roomsecret="cauldronburn")
    x = muc.person("x")
    el = room.refused(x, password=given, id_="n13mt3l")
    is_refused(el, room, "x", "auth", "not-authorized")
    assert room.settled(x, muc.owner) == [[], []]
    room.join(x, password="cauldronburn")


def test_members_only(muc):
    """7.2.7."""
    room = muc.room(membersonly=1)
    x = muc.person("x")
    is_refused(room.refused(x, id_="n13mt3l"), room, "x", "auth", "registration-required")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    assert status(room.join(x).self) == ("member", "participant")


def test_banned(muc):
    """7.2.8."""
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="outcast", jid=x.bare)
    is_refused(room.refused(x, id_="n13mt3l"), room, "x", "auth", "forbidden")


def test_nick_conflict(muc):
    """7.2.9: of another user, in use or reserved."""
    room, x = muc.populated("x")
    y, z = muc.people("x", "z")
    is_refused(room.refused(y, id_="n13mt3l"), room, "x", "cancel", "conflict")
    room.set(muc.owner, affiliation="member", jid=z.bare, nick="reserved")
    y.nick = "reserved"
    is_refused(room.refused(y, id_="n13mt3l"), room, "reserved", "cancel", "conflict")
    assert nick(room.join(z, "reserved").self) == "reserved"


def test_max_users(muc):
    """7.2.10: service-unavailable, type wait; admins and owners get in all the same."""
    room = muc.room(maxusers=10)
    for i in range(9):
        room.join(muc.person("o%d" % i))
    x, admin = muc.people("x", "admin")
    is_refused(room.refused(x, id_="n13mt3l"), room, "x", "wait", "service-unavailable")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    assert len(room.join(admin).others) == 10


def test_locked(muc):
    """7.2.11: until the owner has configured it."""
    room = muc.address()
    room.join(muc.owner, "owner")
    x = muc.person("x")
    is_refused(room.refused(x, id_="n13mt3l"), room, "x", "cancel", "item-not-found")
    room.configure(muc.owner, moderatedroom=0)
    room.join(x)


def test_logged(muc):
    """7.2.14: 170 for who comes into a room that is logged."""
    room = muc.room(enablelogging=1)
    if room.config(muc.owner).get("muc#roomconfig_enablelogging") not in (["1"], ["true"]):
        pytest.skip("nothing is logged here")
    assert 170 in room.join(muc.person("x")).codes


# ---- 7.2.9: several sessions under one nick -------------------------------------------------

def test_several_sessions(muc, account):
    """One occupant, two addresses: each gets everything, each may speak; the others see one."""
    room, y = muc.populated("y")
    a = account()
    one, two = muc.person("x", a, "one"), muc.person("x", a, "two")
    room.join(one)
    assert nick(y.until(lambda e: name(e) == "presence")) == "x"
    room.settled(y, one)
    j = room.join(two)
    assert nick(j.self) == "x" and status(j.self) == ("none", "participant")
    room.settled(y, one, two)
    for c in (one, two):
        id_ = room.say(c, "by " + c.resource)
        for d in (one, two, y, muc.owner):
            m = d.until(lambda e: text(e, "body"))
            assert m.get("id") == id_ and nick(m) == "x" and m.get("to") == d.jid
    y.message(room.at("x"), "to both")
    for c in (one, two):
        assert text(c.until(lambda e: name(e) == "message"), "body") == "to both"


def test_one_session_leaves(muc, account):
    """The occupant stays until the last session has gone."""
    room, y = muc.populated("y")
    a = account()
    one, two = muc.person("x", a, "one"), muc.person("x", a, "two")
    room.enter(one, two)
    room.got(y)
    p = room.leave(one)
    assert status(p)[1] == "none"
    assert [s for s in summary(room.settled(y, two)[0]) if s[1] == "unavailable"] == []
    room.say(y, "still there?")
    assert text(two.until(lambda e: name(e) == "message"), "body") == "still there?"
    room.leave(two)
    p = y.until(lambda e: nick(e) == "x" and e.get("type") == "unavailable")
    assert status(p) == ("none", "none")


def test_other_nick_of_the_same_user(muc, account):
    """Two occupants of one account under two nicks."""
    room, y = muc.populated("y")
    a = account()
    one, two = muc.person("x1", a, "one"), muc.person("x2", a, "two")
    room.enter(one, two)
    assert sorted(room.join(muc.person("z")).nicks) == ["owner", "x1", "x2", "y"]


# ---- 7.2.16: the subject -------------------------------------------------------------------

def test_subject_at_the_join(muc):
    """7.2.16: with the time of its change, from the room or who set it."""
    room, x = muc.populated("x")
    room.send_subject(muc.owner, "Fire Burn and Cauldron Bubble!")
    room.settled(muc.owner, x)
    j = room.join(muc.person("z"))
    assert text(j.subject, "subject") == "Fire Burn and Cauldron Bubble!"
    assert j.subject.get("from") in (room.jid, room.at("owner"))
    assert is_subject(j.subject) and delay(j.subject).get("from") == room.jid
    assert j.history == []          # 7.2.15: changes of it are not part of the history


# ---- 5.1.2: initial roles -------------------------------------------------------------------

ROLES = [
    ("moderated", "none", "visitor"), ("moderated", "member", "participant"),
    ("moderated", "admin", "moderator"), ("moderated", "owner", "moderator"),
    ("unmoderated", "none", "participant"), ("unmoderated", "member", "participant"),
    ("unmoderated", "admin", "moderator"), ("unmoderated", "owner", "moderator"),
    ("members-only", "none", None), ("members-only", "member", "participant"),
    ("members-only", "admin", "moderator"), ("members-only", "owner", "moderator"),
    ("open", "outcast", None), ("members-only", "outcast", None),
]


@pytest.mark.parametrize("kind,affiliation,role", ROLES)
def test_initial_role(muc, kind, affiliation, role):
    room = muc.room(moderatedroom=int(kind == "moderated"),
                    membersonly=int(kind == "members-only"))
    x = muc.person("x")
    if affiliation != "none":
        room.set(muc.owner, affiliation=affiliation, jid=x.bare)
    if role is None:
        assert error(room.refused(x))[1] == (
            "forbidden" if affiliation == "outcast" else "registration-required")
    else:
        assert status(room.join(x).self) == (affiliation, role)
        assert status(muc.owner.until(lambda e: name(e) == "presence" and nick(e) == "x")) == (
            affiliation, role)


# ---- presence broadcast by role -----------------------------------------------------------

def test_presence_broadcast(muc):
    """7.2.2, muc#roomconfig_presencebroadcast: of the roles that the room names; each sees
    itself."""
    room = muc.room(moderatedroom=1, presencebroadcast=["moderator", "participant"])
    v, w, m = muc.people("v", "w", "m")
    room.set(muc.owner, affiliation="member", jid=m.bare)
    j = room.join(v)
    assert j.nicks == ["owner"] and status(j.self) == ("none", "visitor")
    assert presences(room.settled(muc.owner, v)[0], "v") == []
    assert room.join(w).nicks == ["owner"]
    j = room.join(m)
    assert sorted(j.nicks) == ["owner"]
    for c in (muc.owner, v, w):
        assert status(c.until(lambda e: nick(e) == "m")) == ("member", "participant")
    room.presence(v, "<show>away</show>")
    got = room.settled(v, muc.owner, w, m)
    assert [[nick(p) for p in presences(g)] for g in got] == [["v"], [], [], []]
    # 8.3: with voice, it is one of those that are shown
    room.role(muc.owner, "v", "participant")
    for c in (muc.owner, v, w, m):
        p = c.until(lambda e: name(e) == "presence" and nick(e) == "v")
        assert p.get("type") is None and status(p) == ("none", "participant")
    room.leave(w)
    assert presences(room.settled(w, muc.owner)[1], "w") == []


def test_nobody_is_broadcast(muc):
    room = muc.room(presencebroadcast=[])
    if "muc#roomconfig_presencebroadcast" not in room.config(muc.owner):
        pytest.skip("the form has no such field")
    x, y = muc.people("x", "y")
    assert room.join(x).nicks == [] and room.join(y).nicks == []
    room.say(x, "hello")
    assert text(y.until(lambda e: name(e) == "message"), "body") == "hello"
