"""XEP-0045 7.8 (invitations through the room, declining), 7.9 (continuing a chat), 9.5;
XEP-0249 (direct invitations)."""

import pytest

from mk import child, children, element, name, text, to_str
from mk.muc import MUC, error, messages, status, user


def invite(room, c, *to, id_="nzd143v8", inner="<reason>Hey Hecate, this is the place for all "
           "good witches!</reason>", type_=None):
    c.send(element("message", None, element("x", MUC.USER, "".join(
        element("invite", None, inner, to=t) for t in to)), to=room.jid, id=id_, type_=type_))


def invited(room, c):
    """The message with an invitation that c gets, and its <invite/>."""
    m = c.until(lambda e: name(e) == "message" and room.is_mine(e))
    assert m.get("type") in (None, "normal"), to_str(m)
    return m, child(user(m), "invite", MUC.USER)


def test_mediated(muc):
    """7.8.2: from the room, naming the inviter."""
    room, x = muc.populated("x")
    hecate = muc.person("hecate")
    invite(room, muc.owner, hecate.bare)
    m, i = invited(room, hecate)
    assert m.get("from") == room.jid and m.get("to") in (hecate.bare, hecate.jid)
    assert i.get("from") in (muc.owner.bare, muc.owner.jid, room.at("owner"))
    assert i.get("to") is None
    assert text(i, "reason") == "Hey Hecate, this is the place for all good witches!"
    assert child(user(m), "password", MUC.USER) is None


def test_by_a_participant(muc):
    """5.1.1: in an open room anybody inside may invite, and the invited become no members."""
    room, x = muc.populated("x")
    hecate = muc.person("hecate")
    invite(room, x, hecate.bare)
    invited(room, hecate)
    assert room.jids(muc.owner, "member") == []


def test_the_password_is_added(muc):
    room = muc.room(passwordprotectedroom=1, roomsecret="cauldronburn")
    hecate = muc.person("hecate")
    invite(room, muc.owner, hecate.bare)
    m, _ = invited(room, hecate)
    assert text(user(m), "password", MUC.USER) == "cauldronburn"
    room.join(hecate, password="cauldronburn")


def test_several(muc):
    """One message, many invitations; <continue/> with its thread goes along (7.9)."""
    room = muc.room()
    a, b = muc.people("a", "b")
    invite(room, muc.owner, a.jid, b.bare,
           inner="<reason>This coven needs both.</reason><continue thread='e0ffe42b'/>")
    for c in (a, b):
        m, i = invited(room, c)
        assert child(i, "continue", MUC.USER).get("thread") == "e0ffe42b"
        assert text(i, "reason") == "This coven needs both."
        assert len(children(user(m), "invite", MUC.USER)) == 1


def test_without_a_reason(muc):
    room = muc.room()
    hecate = muc.person("hecate")
    invite(room, muc.owner, hecate.bare, inner="", type_="normal")
    assert text(invited(room, hecate)[1], "reason") in (None, "")


def test_members_only_by_an_owner(muc):
    """7.8.2, 9.5: the invited may come in."""
    room = muc.room(membersonly=1)
    hecate = muc.person("hecate")
    invite(room, muc.owner, hecate.bare)
    invited(room, hecate)
    assert status(room.join(hecate).self) == ("member", "participant")


def test_members_only_by_a_member(muc):
    """9.5: forbidden, unless the room lets its members invite."""
    room = muc.room(membersonly=1, allowinvites=0)
    x, hecate = muc.people("x", "hecate")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.join(x)
    invite(room, x, hecate.bare)
    m = x.until(lambda e: name(e) == "message")
    assert error(m) == ("auth", "forbidden") and m.get("id") == "nzd143v8"
    assert messages(room.settled(x, hecate)[1]) == []
    assert error(room.refused(hecate))[1] == "registration-required"
    room.configure(muc.owner, allowinvites=1)
    invite(room, x, hecate.bare)
    invited(room, hecate)
    assert status(room.join(hecate).self) == ("member", "participant")


def test_from_outside(muc):
    """Who isn't in the room can't invite to it."""
    room = muc.room()
    z, hecate = muc.people("z", "hecate")
    invite(room, z, hecate.bare)
    m = z.until(lambda e: name(e) == "message")
    assert error(m)[1] in ("not-acceptable", "forbidden")
    assert messages(room.settled(z, hecate)[1]) == []


@pytest.mark.parametrize("to", [None, "", "@", "a@b@c", "x@" + "y" * 1100])
def test_nonsense(muc, to):
    room = muc.room()
    invite(room, muc.owner, to)
    m = muc.owner.until(lambda e: name(e) == "message")
    assert m.get("type") == "error"
    assert error(m)[1] in ("jid-malformed", "bad-request", "item-not-found")


def test_a_forged_inviter(muc):
    """S-06: 'from' is the room's to say."""
    room, x = muc.populated("x")
    hecate = muc.person("hecate")
    x.send("<message to='%s'><x xmlns='%s'><invite to='%s' from='%s'/></x></message>" % (
        room.jid, MUC.USER, hecate.bare, muc.owner.bare))
    assert invited(room, hecate)[1].get("from") in (x.bare, x.jid, room.at("x"))


def test_decline(muc):
    """7.8.2: through the room to the inviter, naming who declines."""
    room = muc.room()
    hecate = muc.person("hecate")
    invite(room, muc.owner, hecate.bare)
    _, i = invited(room, hecate)
    hecate.send("<message to='%s' id='jk2vs61v'><x xmlns='%s'><decline to='%s'><reason>Sorry, "
                "I'm too busy right now.</reason></decline></x></message>" % (
                    room.jid, MUC.USER, i.get("from")))
    m = muc.owner.until(lambda e: name(e) == "message")
    assert m.get("from") == room.jid and m.get("type") in (None, "normal")
    d = child(user(m), "decline", MUC.USER)
    assert d.get("from") in (hecate.bare, hecate.jid) and d.get("to") is None
    assert text(d, "reason") == "Sorry, I'm too busy right now."


def test_direct(muc):
    """XEP-0249: a message between users that the server passes on as it is."""
    room = muc.room(membersonly=1)
    hecate = muc.person("hecate")
    muc.owner.send(
        "<message to='%s'><x xmlns='%s' jid='%s' password='cauldronburn' reason='Hey Hecate' "
        "continue='true' thread='e0ffe42b'/></message>" % (hecate.jid, MUC.CONFERENCE, room.jid))
    m = hecate.until(lambda e: name(e) == "message")
    x = child(m, "x", MUC.CONFERENCE)
    assert m.get("from") == muc.owner.jid
    assert dict(x.attrib) == {"jid": room.jid, "password": "cauldronburn",
                              "reason": "Hey Hecate", "continue": "true", "thread": "e0ffe42b"}


def test_offline_invitation(muc, account):
    """An invited user who isn't there finds it later (offline messages)."""
    room = muc.room()
    a = account()
    invite(room, muc.owner, a.jid)
    room.settled(muc.owner)
    muc.owner.settle(a.jid)
    c = muc.person("late", a, presence=None)
    c.send("<presence/>")
    m = c.until(lambda e: name(e) == "message")
    assert m.get("from") == room.jid and child(user(m), "invite", MUC.USER) is not None


def test_declines_are_no_way_around_a_block(muc):
    """S-20: one of a user in a minute; the others are nobody's."""
    room = muc.room()
    hecate = muc.person("hecate")
    for _ in range(3):
        hecate.send("<message to='%s'><x xmlns='%s'><decline to='%s'/></x></message>" % (
            room.jid, MUC.USER, muc.owner.bare))
    assert len(messages(room.settled(hecate, muc.owner)[1])) == 1
