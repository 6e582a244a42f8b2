"""What all see of a room when its configuration changes (10.2, 10.2.1), and what a user is
told of its affiliation outside (18.1): XEP-0045."""

import pytest

from mk import child, name, text
from mk.muc import MUC, codes, item, messages, nick, presences, real_jid, reason, status, user


def seen(got):
    """{nick: last presence}; in order."""
    return {nick(p): p for p in presences(got)}


def test_addresses_are_shown_when_everybody_may_see_them(muc):
    """10.2.1 and 7.2.3: 172 comes first, then everybody's presence with the address; who may
    not see it any longer gets presence without (173)."""
    room, x, y = muc.populated("x", "y", whois="moderators")
    room.presence(x, "<show>away</show>")
    room.settled(x, y, muc.owner)
    room.configure(muc.owner, whois="anyone")
    got = room.settled(y, x)[0]
    assert name(got[0]) == "message" and 172 in codes(got[0])
    now = seen(got)
    assert {n: real_jid(p) for n, p in now.items()} == {
        "owner": muc.owner.jid, "x": x.jid, "y": y.jid}
    assert text(now["x"], "show") == "away" and status(now["x"]) == ("none", "participant")
    assert codes(now["y"]) == {110} and codes(now["x"]) == set()
    room.configure(muc.owner, whois="moderators")
    got = room.settled(y, x)[0]
    assert 173 in codes(got[0])
    assert {n: real_jid(p) for n, p in seen(got).items()} == {"owner": None, "x": None, "y": None}
    got = room.settled(muc.owner)[0]
    assert real_jid(seen(got)["x"]) == x.jid


def test_roles_that_are_no_longer_shown_go(muc):
    """7.2.2, muc#roomconfig_presencebroadcast: who isn't broadcast any longer is seen to go by
    the others, not by itself; and comes again."""
    room, x, y = muc.populated("x", "y")
    m = muc.person("m")
    room.set(muc.owner, affiliation="member", jid=m.bare)
    room.enter(m)
    room.settled(x, y, m, muc.owner)
    room.configure(muc.owner, presencebroadcast=["moderator"])
    got = room.settled(x, y, m, muc.owner)
    for g, own in zip(got, ("x", "y", "m", "owner")):
        assert {nick(p): (p.get("type"), status(p)[1]) for p in presences(g)} == {
            n: ("unavailable", "none") for n in {"x", "y", "m"} - {own}}
    room.say(x, "I am still here")
    assert nick(y.until(lambda e: text(e, "body"))) == "x"
    assert room.join(muc.person("z")).nicks == ["owner"]
    room.settled(x, y, m, muc.owner)
    room.configure(muc.owner, presencebroadcast=["moderator", "participant", "visitor"])
    got = room.settled(x, y, m, muc.owner)
    for g, own in zip(got, ("x", "y", "m", "owner")):
        assert {nick(p): p.get("type") for p in presences(g)} == {
            n: None for n in {"x", "y", "m", "z"} - {own}}


def test_other_changes_show_nobody_anew(muc):
    room, x = muc.populated("x")
    room.configure(muc.owner, roomname="Heath", maxusers=50, allowpm="none")
    got = room.settled(x)[0]
    assert presences(got) == [] and [codes(m) for m in messages(got)] == [{104}]


# ---- 18.1: status 101 ------------------------------------------------------------------------

def told(room, c):
    return [(m.get("type") or "normal", item(m).get("affiliation"), item(m).get("role"), codes(m))
            for m in messages(room.settled(c)[0])]


@pytest.mark.parametrize("affiliation", ["member", "admin", "owner", "outcast"])
def test_who_is_outside_is_told(muc, affiliation):
    """A message from the room to the user with 101, when it gains and when it loses it; not of
    what is as it was."""
    room = muc.room()
    x = muc.person("x")
    room.affiliation(muc.owner, x.bare, affiliation, "buy potions")
    room.affiliation(muc.owner, x.bare, affiliation, "for another reason")
    room.affiliation(muc.owner, x.bare, "none")
    muc.owner.settle(x.bare)
    assert told(room, x) == [("normal", affiliation, "none", {101}),
                             ("normal", "none", "none", {101})]


def test_nobody_writes_to_strangers_through_a_room(muc):
    """S-20: what reason was given is not in it."""
    room = muc.room()
    x = muc.person("x")
    room.affiliation(muc.owner, x.bare, "member", "buy potions")
    m = x.until(lambda e: name(e) == "message")
    assert m.get("from") == room.jid and reason(m) is None and child(m, "body") is None


def test_who_is_inside_is_told_by_presence(muc):
    room, x = muc.populated("x")
    room.affiliation(muc.owner, x.bare, "member")
    got = room.settled(x)[0]
    assert messages(got) == [] and status(presences(got)[0]) == ("member", "participant")


def test_an_invitation_says_it_as_well(muc):
    """9.5: a new member of a members-only room is invited, and told nothing besides."""
    room = muc.room(membersonly=1)
    x = muc.person("x")
    room.affiliation(muc.owner, x.bare, "member")
    muc.owner.settle(x.bare)
    (m,) = messages(room.settled(x)[0])
    assert child(user(m), "invite", MUC.USER) is not None


def test_it_can_be_switched_off(make_server, connect):
    from mk.muc import Stage
    server = make_server({"host_types": {"people": {"plugins": {
        "muc": {"tells_affiliations": False}}}}})
    stage = Stage(server, server.account, connect)
    room = stage.room()
    x = stage.person("x")
    room.affiliation(stage.owner, x.bare, "admin")
    stage.owner.settle(x.bare)
    assert messages(room.settled(x)[0]) == []


# ---- 10.1.3 ------------------------------------------------------------------------------------

def test_leaving_before_configuring_says_that_the_room_is_gone(muc):
    """10.1.3: the owner's unavailable presence has <destroy/>."""
    room = muc.address()
    room.join(muc.owner, "owner")
    p = room.leave(muc.owner)
    assert child(user(p), "destroy", MUC.USER) is not None and status(p)[1] == "none"
    assert 201 in room.join(muc.person("x")).codes


# ---- limits by default -------------------------------------------------------------------------

def test_a_flood_is_refused_and_a_person_is_not(muc):
    """S-20: without any setting. Nobody says 50 things in a second; who floods gets errors, and
    the others hear what was let through."""
    room, x, y = muc.populated("x", "y")
    for k in range(30):
        room.say(y, "y%d" % k)
    assert [m.get("type") for m in messages(room.settled(y)[0])] == ["groupchat"] * 30
    x.send("".join("<message to='%s' type='groupchat' id='f%d'><body>f%d</body></message>" % (
        room.jid, k, k) for k in range(1000)))
    got = [m for m in messages(room.settled(x)[0]) if m.get("id").startswith("f")]
    refused = [m for m in got if m.get("type") == "error"]
    assert refused and len(got) == 1000


def test_vcards_of_all_may_be_asked_for(muc):
    """Requests to occupants are counted apart: a client that enters asks for many."""
    room, x = muc.populated("x")
    x.send("".join("<iq type='get' id='q%d' to='%s'><vCard xmlns='vcard-temp'/></iq>" % (
        k, room.at("owner")) for k in range(200)))
    got = [x.answer("q%d" % k) for k in range(200)]
    assert all("policy-violation" not in [name(c) for e in a for c in e] for a in got)
