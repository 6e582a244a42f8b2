"""XEP-0045 9.1 to 9.5 (bans, members), 10.3 to 10.8 (owners, admins), and the table of
affiliations (5.2.2): each actor, each change."""

import itertools

import pytest

from mk import child, name, text, to_str
from mk.muc import MUC, admin_item, codes, error, nick, real_jid, reason, status, user

AFFILIATIONS = ["outcast", "none", "member", "admin", "owner"]


# ---- 9.1, 9.2: bans ------------------------------------------------------------------------

def test_ban(muc):
    """301 to the banned and to the others; the banned stay out."""
    room, x, y = muc.populated("cambridge", "exeter")
    a = room.affiliation(muc.owner, x.bare, "outcast", "Treason")
    assert a.get("type") == "result" and a.get("from") == room.jid and len(a) == 0
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "cambridge" and p.get("type") == "unavailable"
        assert status(p) == ("outcast", "none")
        assert codes(p) - {110} == {301} and (c is x or 110 not in codes(p))
        assert reason(p) == "Treason" or c is not x
    assert error(room.refused(x)) == ("auth", "forbidden")
    room.say(x, "but")
    assert error(x.until(lambda e: name(e) == "message"))[1] in ("not-acceptable", "forbidden")


def test_ban_list(muc):
    """9.2: with reasons; no nick, no role."""
    room = muc.room()
    domain = muc.server.domain
    a = room.admin(muc.owner,
                   admin_item("Treason", affiliation="outcast", jid="lordscroop@" + domain),
                   admin_item("Treason", affiliation="outcast", jid="sirthomasgrey@" + domain))
    assert a.get("type") == "result"
    got = room.list(muc.owner, affiliation="outcast")
    assert sorted((i.get("affiliation"), i.get("jid"), text(i, "reason", MUC.ADMIN),
                   i.get("nick"), i.get("role")) for i in got) == [
        ("outcast", "lordscroop@" + domain, "Treason", None, None),
        ("outcast", "sirthomasgrey@" + domain, "Treason", None, None)]
    room.set(muc.owner, affiliation="none", jid="lordscroop@" + domain)
    assert room.jids(muc.owner, "outcast") == ["sirthomasgrey@" + domain]


def test_a_ban_is_lifted(muc):
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="outcast", jid=x.bare)
    room.refused(x)
    room.set(muc.owner, affiliation="none", jid=x.bare)
    assert status(room.join(x).self) == ("none", "participant")


def test_full_jids_mean_the_user(muc):
    """9.1, 10.3: affiliations are those of bare JIDs."""
    room, x = muc.populated("x")
    room.set(muc.owner, affiliation="outcast", jid=x.jid)
    assert room.jids(muc.owner, "outcast") == [x.bare]
    assert 301 in codes(x.until(lambda e: e.get("type") == "unavailable"))


def test_ban_of_all_sessions(muc, account):
    room = muc.room()
    a = account()
    one, two = muc.person("x1", a, "one"), muc.person("x2", a, "two")
    room.enter(one, two)
    room.set(muc.owner, affiliation="outcast", jid=a.jid)
    for c in (one, two):
        c.until(lambda e: e.get("type") == "unavailable" and 301 in codes(e)
                and nick(e) == c.nick)


def test_ban_of_a_domain(muc):
    """9.2: a domain matches its users; the user goes before the domain."""
    room = muc.room()
    x, y = muc.people("x", "y")
    room.set(muc.owner, affiliation="member", jid=y.bare)
    room.set(muc.owner, affiliation="outcast", jid=muc.server.domain)
    assert error(room.refused(x)) == ("auth", "forbidden")
    room.join(y)
    assert status(room.join(muc.owner).self) == ("owner", "moderator")


def test_nobody_bans_himself(muc):
    """9.1: conflict."""
    room = muc.room()
    admin = muc.person("admin")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    for c in (admin, muc.owner):
        assert error(room.affiliation(c, c.bare, "outcast")) == ("cancel", "conflict")


def test_all_or_nothing(muc):
    """9.2: with one that is prohibited none is done."""
    room = muc.room()
    admin, x = muc.people("admin", "x")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    a = room.admin(admin, admin_item(affiliation="outcast", jid=x.bare),
                   admin_item(affiliation="outcast", jid=muc.owner.bare))
    assert error(a)[1] in ("not-allowed", "conflict")
    assert room.jids(muc.owner, "outcast") == []
    room.join(x)


# ---- 9.3 to 9.5: members -------------------------------------------------------------------

def test_membership(muc):
    """Granted and revoked: told to all with the reason."""
    room, x, y = muc.populated("x", "y")
    for affiliation, why in (("member", "A worthy witch indeed!"),
                             ("none", "Not so worthy after all!")):
        a = room.affiliation(muc.owner, x.bare, affiliation, why)
        assert a.get("type") == "result"
        for c in (x, y, muc.owner):
            p = c.until(lambda e: name(e) == "presence")
            assert nick(p) == "x" and p.get("type") is None
            assert status(p) == (affiliation, "participant")
        assert real_jid(p) == x.jid
    assert room.jids(muc.owner, "member") == []


def test_members_get_voice(muc):
    """5.1.3, note: in a moderated room a member is a participant."""
    room, x = muc.populated("x", moderatedroom=1)
    room.set(muc.owner, affiliation="member", jid=x.bare)
    assert status(x.until(lambda e: name(e) == "presence")) == ("member", "participant")


def test_revoking_in_a_members_only_room(muc):
    """9.4: out, with 321; and only that."""
    room = muc.room(membersonly=1)
    x, y = muc.people("x", "y")
    for c in (x, y):
        room.set(muc.owner, affiliation="member", jid=c.bare)
    room.enter(x, y)
    room.got(muc.owner)
    room.set(muc.owner, affiliation="none", jid=x.bare)
    for c in (x, y, muc.owner):
        p = c.until(lambda e: name(e) == "presence")
        assert nick(p) == "x" and p.get("type") == "unavailable"
        assert status(p) == ("none", "none") and codes(p) - {110} == {321}
    assert error(room.refused(x))[1] == "registration-required"


def test_member_list(muc):
    """9.5."""
    room, x = muc.populated("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.set(muc.owner, affiliation="member", jid="hecate@" + muc.server.domain, nick="hecate")
    got = {i.get("jid"): i for i in room.list(muc.owner, affiliation="member")}
    assert sorted(got) == sorted([x.bare, "hecate@" + muc.server.domain])
    assert all(i.get("affiliation") == "member" for i in got.values())
    assert got["hecate@" + muc.server.domain].get("nick") == "hecate"


def test_changing_the_member_list(muc):
    room = muc.room()
    x, y = muc.people("x", "y")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    a = room.admin(muc.owner, admin_item(affiliation="none", jid=x.bare),
                   admin_item(affiliation="member", jid=y.bare))
    assert a.get("type") == "result"
    assert room.jids(muc.owner, "member") == [y.bare]


def test_new_members_are_invited(muc):
    """9.5: to a members-only room, with its password; not if they are in it, nor to an
    open room."""
    room = muc.room(membersonly=1, passwordprotectedroom=1, roomsecret="cauldronburn")
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    m = x.until(lambda e: name(e) == "message")
    assert m.get("from") == room.jid
    assert child(user(m), "invite", MUC.USER) is not None
    assert text(user(m), "password", MUC.USER) == "cauldronburn"


@pytest.mark.parametrize("whois", ["anyone", "moderators"])
def test_who_gets_the_member_list(muc, whois):
    """9.5, 5.2.1: members of a non-anonymous members-only room; in a semi-anonymous one it
    would tell addresses that are hidden."""
    room = muc.room(membersonly=1, whois=whois, getmemberlist=[
        "moderator", "participant", "visitor"])
    x, z = muc.people("x", "z")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.join(x)
    a = room.admin(x, admin_item(affiliation="member"), type_="get")
    if whois == "anyone":
        assert a.get("type") == "result"
        assert x.bare in to_str(a)
    else:
        assert error(a) == ("auth", "forbidden")
    assert error(room.admin(z, admin_item(affiliation="member"), type_="get")) == (
        "auth", "forbidden")


@pytest.mark.parametrize("affiliation", ["outcast", "admin", "owner"])
def test_lists_are_not_for_everybody(muc, affiliation):
    room, x = muc.populated("x", whois="moderators")
    z = muc.person("z")
    for c in (x, z):
        a = room.admin(c, admin_item(affiliation=affiliation), type_="get")
        assert error(a) == ("auth", "forbidden")


def test_owner_and_admin_lists_are_the_owners(muc):
    """10.5, 10.8, in a semi-anonymous room; the rest is for admins."""
    room = muc.room(whois="moderators")
    admin = muc.person("admin")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    assert room.jids(muc.owner, "owner") == [muc.owner.bare]
    assert room.jids(muc.owner, "admin") == [admin.bare]
    for a in ("owner", "admin"):
        assert error(room.admin(admin, admin_item(affiliation=a), type_="get")) == (
            "auth", "forbidden")
    assert room.jids(admin, "member") == [] == room.jids(admin, "outcast")


# ---- 10.3, 10.4, 10.6, 10.7 ------------------------------------------------------------------

@pytest.mark.parametrize("affiliation", ["admin", "owner"])
def test_granting_and_revoking(muc, affiliation):
    """All are told; with it comes the moderator's role, and goes again."""
    room, x, y = muc.populated("x", "y")
    for a, role in ((affiliation, "moderator"), ("member", "participant"),
                    (affiliation, "moderator"), ("none", "participant")):
        assert room.affiliation(muc.owner, x.bare, a, "A worthy witch!").get("type") == "result"
        for c in (x, y, muc.owner):
            p = c.until(lambda e: name(e) == "presence" and nick(e) == "x")
            assert p.get("type") is None and status(p) == (a, role)


def test_an_owner_becomes_an_admin(muc):
    """10.4."""
    room, x = muc.populated("x")
    room.set(muc.owner, affiliation="owner", jid=x.bare)
    room.settled(muc.owner, x)
    room.set(muc.owner, affiliation="admin", jid=x.bare)
    assert status(x.until(lambda e: name(e) == "presence")) == ("admin", "moderator")


@pytest.mark.parametrize("to", ["admin", "member", "none"])
def test_the_last_owner(muc, to):
    """10.2, 10.4: conflict; when there is another one, it is done."""
    room = muc.room()
    assert error(room.affiliation(muc.owner, muc.owner.bare, to)) == ("cancel", "conflict")
    x = muc.person("x")
    room.set(muc.owner, affiliation="owner", jid=x.bare)
    room.set(muc.owner, affiliation=to, jid=muc.owner.bare)
    assert room.jids(x, "owner") == [x.bare]


def test_owners_change_places_in_one_request(muc):
    room = muc.room()
    x = muc.person("x")
    a = room.admin(muc.owner, admin_item(affiliation="owner", jid=x.bare),
                   admin_item(affiliation="none", jid=muc.owner.bare))
    assert a.get("type") == "result"
    assert room.jids(x, "owner") == [x.bare]


# ---- 5.2.2: the table --------------------------------------------------------------------------

def expected(by, was, to):
    denied = {"forbidden", "not-allowed"}
    if by in ("none", "member"):
        return {"forbidden"}                     # 9, 10
    if by == "owner":
        return {"ok"}
    if to in ("admin", "owner"):
        return {"forbidden"} if was not in ("admin", "owner") else denied   # 10.5, 10.8
    if was in ("admin", "owner"):
        return {"not-allowed"} if (was, to) == ("owner", "outcast") else denied   # 9.1
    return {"ok"}


@pytest.mark.parametrize("by", ["owner", "admin", "member", "none"])
@pytest.mark.parametrize("was,to", [c for c in itertools.product(AFFILIATIONS, AFFILIATIONS)
                                    if c[0] != c[1]])
def test_affiliations(muc, by, was, to):
    room = muc.room()
    c = muc.person("actor")
    if by != "none":
        room.set(muc.owner, affiliation=by, jid=c.bare)
    target = "target@" + muc.server.domain
    if was != "none":
        room.set(muc.owner, affiliation=was, jid=target)
    a = room.affiliation(c, target, to)
    outcome = "ok" if a.get("type") == "result" else error(a)[1]
    assert outcome in expected(by, was, to)
    now = to if outcome == "ok" else was
    for affiliation in AFFILIATIONS:
        if affiliation != "none":
            assert (target in room.jids(muc.owner, affiliation)) == (affiliation == now)
