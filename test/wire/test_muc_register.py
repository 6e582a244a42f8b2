"""XEP-0045 7.10 (registering with a room), 7.12 (reserved nicknames), 9.9."""

import pytest

from mk import child, children, name, text
from mk.muc import MUC, error, fields, nick, status, submit


def ask(room, c):
    return c.iq("get", "<query xmlns='%s'/>" % MUC.IQ_REGISTER, to=room.jid)


def register(room, c, nick_, **more):
    values = {"muc#register_roomnick": nick_}
    values.update(more)
    return c.iq("set", "<query xmlns='%s'>%s</query>" % (
        MUC.IQ_REGISTER, submit(MUC.REGISTER, values)), to=room.jid)


def reserved(room, c):
    """The nick that disco tells (7.12), or None."""
    identities, _, _ = room.disco(c, "x-roomuser-item")
    return identities[0][2] if identities else None


def test_form(muc):
    """7.10: requirements come as a form of muc#register with a nickname to give."""
    room = muc.room()
    x = muc.person("x")
    a = ask(room, x)
    assert a.get("type") == "result" and a.get("from") == room.jid
    q = child(a, "query", MUC.IQ_REGISTER)
    assert child(q, "registered", MUC.IQ_REGISTER) is None
    form = child(q, "x", MUC.DATA)
    assert form.get("type") == "form"
    assert fields(form)["FORM_TYPE"] == [MUC.REGISTER]
    f = [g for g in children(form, "field") if g.get("var") == "muc#register_roomnick"][0]
    assert child(f, "required", MUC.DATA) is not None


def test_registering(muc):
    """The user becomes a member, its nickname reserved; asked again, the room says so."""
    room = muc.room()
    x, z = muc.people("x", "thirdwitch")
    a = register(room, x, "thirdwitch")
    assert a.get("type") == "result" and len(a) == 0
    q = child(ask(room, x), "query", MUC.IQ_REGISTER)
    assert child(q, "registered", MUC.IQ_REGISTER) is not None
    assert text(q, "username", MUC.IQ_REGISTER) == "thirdwitch"
    assert room.jids(muc.owner, "member") == [x.bare]
    assert reserved(room, x) == "thirdwitch"
    assert error(room.refused(z)) == ("cancel", "conflict")
    j = room.join(x, "thirdwitch")
    assert status(j.self) == ("member", "participant")


def test_registering_inside(muc):
    """All are told of the new affiliation (7.10), moderated rooms of the voice that comes
    with it."""
    room, x = muc.populated("x", moderatedroom=1)
    assert register(room, x, "x").get("type") == "result"
    for c in (x, muc.owner):
        p = c.until(lambda e: name(e) == "presence" and room.is_mine(e))
        assert nick(p) == "x" and status(p) == ("member", "participant")


def test_conflict(muc):
    """A nickname that another has reserved."""
    room = muc.room()
    x, y = muc.people("x", "y")
    register(room, x, "thirdwitch")
    a = register(room, y, "thirdwitch")
    assert error(a) == ("cancel", "conflict")
    assert room.jids(muc.owner, "member") == [x.bare]


def test_nick_in_use(muc):
    """One that another occupant goes by at present."""
    room, x = muc.populated("x")
    assert error(register(room, muc.person("y"), "x"))[1] == "conflict"


def test_no_such_room(muc):
    x = muc.person("x")
    assert error(ask(muc.address(), x)) == ("cancel", "item-not-found")


def test_outcast(muc):
    """7.10, 5.2.1: not-allowed."""
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="outcast", jid=x.bare)
    assert error(ask(room, x))[1] in ("not-allowed", "forbidden")
    assert error(register(room, x, "x"))[1] in ("not-allowed", "forbidden")
    assert room.jids(muc.owner, "outcast") == [x.bare]


@pytest.mark.parametrize("inner", [
    "", "<x xmlns='jabber:x:data' type='submit'/>",
    submit("http://example.org/other", {"muc#register_roomnick": "x"}),
    submit(MUC.REGISTER, {}), submit(MUC.REGISTER, {"muc#register_roomnick": ""}),
    submit(MUC.REGISTER, {"muc#register_roomnick": "x"}, type_="form"),
    submit(MUC.REGISTER, {"muc#register_roomnick": "x" * 2000}),
    submit(MUC.REGISTER, {"muc#register_roomnick": "  "}),
])
def test_bad_forms(muc, inner):
    """7.10: bad-request."""
    room = muc.room()
    x = muc.person("x")
    a = x.iq("set", "<query xmlns='%s'>%s</query>" % (MUC.IQ_REGISTER, inner), to=room.jid)
    assert a.get("type") == "error"
    assert error(a)[1] in ("bad-request", "not-acceptable", "jid-malformed")
    assert room.jids(muc.owner, "member") == []


def test_approval(muc):
    """9.9: to get into a members-only room by registering needs the word of an admin, who
    gets a form with what was asked for; the user is no member until then."""
    room = muc.room(membersonly=1)
    x = muc.person("x")
    assert register(room, x, "thirdwitch").get("type") == "result"
    assert error(room.refused(x))[1] == "registration-required"
    m = muc.owner.until(lambda e: name(e) == "message")
    assert m.get("from") == room.jid and m.get("type") in (None, "normal")
    form = child(m, "x", MUC.DATA)
    values = fields(form)
    assert form.get("type") == "form" and values["FORM_TYPE"] == [MUC.REGISTER]
    assert values["muc#register_roomnick"] == ["thirdwitch"]
    assert values["muc#register_allow"] in (["0"], ["false"])
    answer = {k: v for k, v in values.items() if k != "FORM_TYPE"}
    # A stranger's word is none.
    answer["muc#register_allow"] = "1"
    x.send("<message to='%s'>%s</message>" % (room.jid, submit(MUC.REGISTER, answer)))
    room.settled(x)
    assert room.jids(muc.owner, "member") == []
    muc.owner.send("<message to='%s'>%s</message>" % (room.jid, submit(MUC.REGISTER, answer)))
    room.settled(muc.owner)
    assert room.jids(muc.owner, "member") == [x.bare] and reserved(room, x) == "thirdwitch"
    assert status(room.join(x, "thirdwitch").self) == ("member", "participant")


def test_refused_approval(muc):
    room = muc.room(membersonly=1)
    x = muc.person("x")
    register(room, x, "thirdwitch")
    values = fields(child(muc.owner.until(lambda e: name(e) == "message"), "x", MUC.DATA))
    del values["FORM_TYPE"]
    values["muc#register_allow"] = "0"
    muc.owner.send("<message to='%s'>%s</message>" % (room.jid, submit(MUC.REGISTER, values)))
    room.settled(muc.owner)
    assert room.jids(muc.owner, "member") == []


def test_unregistering(muc):
    """XEP-0077 3.2: <remove/>."""
    room = muc.room()
    x = muc.person("x")
    register(room, x, "thirdwitch")
    a = x.iq("set", "<query xmlns='%s'><remove/></query>" % MUC.IQ_REGISTER, to=room.jid)
    assert a.get("type") == "result"
    assert room.jids(muc.owner, "member") == [] and reserved(room, x) is None
    room.join(muc.person("thirdwitch"))


def test_an_owner_reserves(muc):
    """It keeps its affiliation."""
    room = muc.room()
    assert register(room, muc.owner, "thirdwitch").get("type") == "result"
    assert room.jids(muc.owner, "owner") == [muc.owner.bare]
    assert room.jids(muc.owner, "member") == []
    assert reserved(room, muc.owner) == "thirdwitch"


def test_reserved_nick_without_one(muc):
    """7.12: an empty query."""
    room, x = muc.populated("x")
    assert room.disco(x, "x-roomuser-item")[:2] == ([], set())


def test_a_nick_given_by_an_admin(muc):
    """9.3, 9.5: with the membership; an empty one takes it back."""
    room = muc.room()
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare, nick="thirdwitch")
    assert reserved(room, x) == "thirdwitch"
    (i,) = room.list(muc.owner, affiliation="member")
    assert i.get("nick") == "thirdwitch"
    room.set(muc.owner, affiliation="member", jid=x.bare, nick="")
    assert reserved(room, x) is None and room.jids(muc.owner, "member") == [x.bare]


def test_a_ban_frees_the_nick(muc):
    """9.1."""
    room = muc.room()
    x = muc.person("x")
    register(room, x, "thirdwitch")
    room.set(muc.owner, affiliation="outcast", jid=x.bare)
    room.join(muc.person("thirdwitch"))


def test_admins_are_not_asked_again_and_again(muc):
    """S-20: one request of a user in a minute."""
    room = muc.room(membersonly=1)
    x, y = muc.people("x", "y")
    assert register(room, x, "one").get("type") == "result"
    for _ in range(3):
        assert error(register(room, x, "two")) == ("wait", "resource-constraint")
    assert register(room, y, "three").get("type") == "result"
    got = [m for m in room.settled(muc.owner)[0] if name(m) == "message"]
    assert [fields(child(m, "x", MUC.DATA))["muc#register_roomnick"] for m in got] == [
        ["one"], ["three"]]
