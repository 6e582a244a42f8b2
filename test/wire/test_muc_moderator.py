"""XEP-0045 8.2 (kicking), 9.6 to 9.8 (moderator status), and the table of roles (5.1.3): each
actor, each target, each change."""

import itertools

import pytest

from mk import name, text
from mk.muc import actor, admin_item, codes, error, nick, presences, real_jid, reason, status

RANK = {"outcast": 0, "none": 1, "member": 2, "admin": 3, "owner": 4}


# ---- 8.2: kicking ------------------------------------------------------------------------

def test_kick(muc):
    """307, role none, reason and actor to who is kicked and, last, to the others."""
    room, x, y = muc.populated("pistol", "gower")
    assert room.role(muc.owner, "pistol", "none", "Avaunt, you cullion!").get("type") == "result"
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "pistol" and p.get("type") == "unavailable"
        assert status(p) == ("none", "none")
        assert codes(p) == ({110, 307} if c is x else {307})
    assert reason(p) == "Avaunt, you cullion!"
    room.say(y, "gone?")
    assert room.settled(y, x)[1] == []
    room.say(x, "no")
    assert error(x.until(lambda e: name(e) == "message"))[1] == "not-acceptable"
    room.join(x)                        # a kick is no ban


def test_who_is_kicked_knows_why(muc):
    room, x = muc.populated("pistol")
    room.role(muc.owner, "pistol", "none", "Avaunt!")
    p = x.until(lambda e: name(e) == "presence")
    assert reason(p) == "Avaunt!" and actor(p) in (None, "owner", muc.owner.bare)


def test_kick_of_all_sessions(muc, account):
    """The occupant goes, with all its clients."""
    room, y = muc.populated("y")
    a = account()
    one, two = muc.person("x", a, "one"), muc.person("x", a, "two")
    room.enter(one, two)
    room.got(y)
    room.role(muc.owner, "x", "none")
    for c in (one, two):
        p = c.until(lambda e: name(e) == "presence" and e.get("type") == "unavailable")
        assert codes(p) == {110, 307}
    assert len(presences(room.settled(one, y)[1], "x")) == 1
    assert "x" not in room.join(muc.person("z")).nicks


def test_kick_a_nobody(muc):
    room = muc.room()
    assert error(room.role(muc.owner, "nobody", "none"))[1] == "item-not-found"


def test_a_kicked_members_affiliation_stays(muc):
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.join(x)
    room.role(muc.owner, "x", "none")
    p = x.until(lambda e: e.get("type") == "unavailable")
    assert status(p) == ("member", "none")
    assert status(room.join(x).self) == ("member", "participant")


def test_kick_oneself(muc):
    """8.2: done, or conflict."""
    room, x = muc.populated("x")
    room.set(muc.owner, nick="x", role="moderator")
    a = room.role(x, "x", "none")
    assert a.get("type") == "result" or error(a)[1] == "conflict"


# ---- 9.6 to 9.8 ----------------------------------------------------------------------------

def test_moderator_status(muc):
    """Granted and revoked; told to all; with it one sees JIDs."""
    room, x, y = muc.populated("x", "y")
    for role, why in (("moderator", "A worthy witch indeed!"),
                      ("participant", "Not so worthy after all!")):
        assert room.role(muc.owner, "x", role, why).get("type") == "result"
        for c in (x, y, muc.owner):
            p = c.until(lambda e: name(e) == "presence" and nick(e) == "x")
            assert status(p) == ("none", role) and reason(p) == why
        room.presence(y, "<show>away</show>")
        p = x.until(lambda e: name(e) == "presence" and nick(e) == "y" and text(e, "show"))
        assert real_jid(p) == (y.jid if role == "moderator" else None)
        room.presence(y)
        room.settled(y, x, muc.owner)


def test_moderator_list(muc):
    """9.8."""
    room, x, y = muc.populated("x", "y")
    a = room.admin(muc.owner, admin_item(nick="x", role="moderator"),
                   admin_item(nick="y", role="moderator"))
    assert a.get("type") == "result"
    got = {i.get("nick"): (i.get("role"), i.get("affiliation"), i.get("jid"))
           for i in room.list(muc.owner, role="moderator")}
    assert got == {"owner": ("moderator", "owner", muc.owner.jid),
                   "x": ("moderator", "none", x.jid), "y": ("moderator", "none", y.jid)}


def test_moderator_list_is_the_admins(muc):
    room, x = muc.populated("x")
    a = room.admin(x, admin_item(role="moderator"), type_="get")
    assert error(a) == ("auth", "forbidden")


# ---- 17.4: what such a request must look like ----------------------------------------------

@pytest.mark.parametrize("items", [
    ["<item nick='x' role='participant' affiliation='member'/>"],
    ["<item nick='x' jid='a@b' role='visitor' affiliation='member'/>"],
    ["<item nick='x' role='king'/>"], ["<item jid='a@b' affiliation='king'/>"],
    ["<item nick='x'/>"], ["<item/>"], ["<item role='visitor'/>"],
    ["<item affiliation='member'/>"], [],
])
def test_bad_requests(muc, items):
    room, x = muc.populated("x")
    a = room.admin(muc.owner, *items)
    assert error(a)[1] in ("bad-request", "jid-malformed", "item-not-found", "not-acceptable")
    assert presences(room.settled(muc.owner, x)[1]) == []


def test_bad_jids(muc):
    room = muc.room()
    for jid in ("", "@", "a@b@c", "a@" + "b" * 1100):
        a = room.affiliation(muc.owner, jid, "member")
        assert error(a)[1] in ("jid-malformed", "bad-request", "item-not-found")
    assert room.jids(muc.owner, "member") == []


# ---- 5.1.3: the table ------------------------------------------------------------------------

ACTORS = [("owner", "moderator"), ("admin", "moderator"), ("member", "moderator"),
          ("none", "moderator"), ("member", "participant"), ("none", "participant"),
          ("none", "visitor"), ("none", "outside")]
TARGETS = [("none", "visitor"), ("none", "participant"), ("none", "moderator"),
           ("member", "visitor"), ("member", "participant"), ("member", "moderator"),
           ("admin", "moderator"), ("owner", "moderator")]
CHANGES = ["none", "visitor", "participant", "moderator"]


def expected(by, of, to):
    """The set of outcomes that the XEP allows: 'ok' and error conditions."""
    (by_affiliation, by_role), (affiliation, role) = by, of
    if by_role != "moderator":
        return {"forbidden"}                                # 8, 9
    administrates = RANK[by_affiliation] >= RANK["admin"]
    denied = {"not-allowed", "forbidden"}
    if to == "none":
        if RANK[affiliation] > RANK[by_affiliation]:        # 8.2
            return {"not-allowed"}
        if role == "moderator" and not administrates:       # 5.1.3
            return denied
        return {"ok"}
    if to == "moderator":
        return {"ok"} if administrates else denied          # 9.6
    if affiliation in ("admin", "owner"):                   # 8.4, 9.7
        return {"not-allowed"} if administrates else denied
    if role == "moderator":
        return {"ok"} if administrates else denied          # 5.1.3
    if to == "visitor":
        if RANK[affiliation] > RANK[by_affiliation]:
            return {"not-allowed"}
        if affiliation == by_affiliation == "none":         # "at or above": above nobody
            return {"ok", "not-allowed"}
        if affiliation == by_affiliation:
            return {"not-allowed"}                          # 8.4
    return {"ok"}                                           # 8.3


@pytest.mark.parametrize("by", ACTORS, ids="-".join)
@pytest.mark.parametrize("of,to", [(of, to) for of, to in itertools.product(TARGETS, CHANGES)
                                   if to != of[1]], ids=lambda v: v if isinstance(v, str)
                         else "-".join(v))
def test_roles(muc, by, of, to):
    room = muc.room(moderatedroom=1)

    def make(nick_, affiliation, role):
        c = muc.person(nick_)
        if affiliation != "none":
            room.set(muc.owner, affiliation=affiliation, jid=c.bare)
        if role != "outside":
            if status(room.join(c).self)[1] != role:
                room.set(muc.owner, nick=nick_, role=role)
        return c
    actor_, target = make("actor", *by), make("target", *of)
    room.settled(actor_, target, muc.owner)
    a = room.role(actor_, "target", to)
    outcome = "ok" if a.get("type") == "result" else error(a)[1]
    assert outcome in expected(by, of, to)
    got = presences(room.settled(actor_, target)[1], "target")
    if outcome != "ok":
        assert got == []
    elif to == "none":
        assert [(p.get("type"), status(p), codes(p)) for p in got] == [
            ("unavailable", (of[0], "none"), {110, 307})]
    else:
        assert [(p.get("type"), status(p)) for p in got] == [(None, (of[0], to))]
