"""XEP-0045 7.13 (requesting voice), 8.3 to 8.6 (granting it, its list, approving)."""

from mk import child, name, text
from mk.muc import (MUC, bodies, codes, error, fields, messages, nick, presences, reason,
                    real_jid, status, submit)
from mk.muc import admin_item


def request(room, c, role="participant"):
    c.send("<message to='%s' id='yd53c486'>%s</message>" % (
        room.jid, submit(MUC.REQUEST, {"muc#role": role})))


def form_of(c):
    m = c.until(lambda e: name(e) == "message")
    return m, child(m, "x", MUC.DATA)


def test_request_and_approval(muc):
    """7.13, 8.6: moderators get a form; who approves it gives voice."""
    room, v, w = muc.populated("v", "w", moderatedroom=1)
    request(room, v)
    m, x = form_of(muc.owner)
    assert m.get("from") == room.jid and m.get("type") in (None, "normal")
    assert x.get("type") == "form"
    f = fields(x)
    assert f["FORM_TYPE"] == [MUC.REQUEST] and f["muc#role"] == ["participant"]
    assert f["muc#jid"] == [v.jid] and f["muc#roomnick"] == ["v"]
    assert f["muc#request_allow"] in (["false"], ["0"])
    assert messages(room.settled(v, w)[1]) == []
    muc.owner.send("<message to='%s' id='approve'>%s</message>" % (room.jid, submit(
        MUC.REQUEST, {"muc#role": "participant", "muc#jid": v.jid, "muc#roomnick": "v",
                      "muc#request_allow": "true"})))
    for c in (v, w, muc.owner):
        p = c.until(lambda e: name(e) == "presence" and nick(e) == "v")
        assert status(p) == ("none", "participant")
    room.say(v, "thanks")
    assert bodies(room.settled(v, w)[1]) == ["thanks"]


def test_refusal(muc):
    room, v = muc.populated("v", moderatedroom=1)
    request(room, v)
    form_of(muc.owner)
    muc.owner.send("<message to='%s'>%s</message>" % (room.jid, submit(
        MUC.REQUEST, {"muc#role": "participant", "muc#jid": v.jid, "muc#roomnick": "v",
                      "muc#request_allow": "0"})))
    assert presences(room.settled(muc.owner, v)[1]) == []


def test_nobody_approves_himself(muc):
    """A visitor's approval is none."""
    room, v = muc.populated("v", moderatedroom=1)
    v.send("<message to='%s' id='me'>%s</message>" % (room.jid, submit(
        MUC.REQUEST, {"muc#role": "participant", "muc#jid": v.jid, "muc#roomnick": "v",
                      "muc#request_allow": "1"})))
    got = room.settled(v, muc.owner)
    assert presences(got[0]) == [] == presences(got[1])
    room.say(v, "hello")
    assert error(v.until(lambda e: name(e) == "message"
                         and e.get("type") == "error"))[1] == "forbidden"


def test_request_from_outside(muc):
    room = muc.room(moderatedroom=1)
    z = muc.person("z")
    request(room, z)
    got = room.settled(z, muc.owner)
    assert messages(got[1]) == []


# ---- 8.3, 8.4 -----------------------------------------------------------------------------

def test_granting_and_revoking(muc):
    """The answer first, then presence with the reason to all."""
    room, v, w = muc.populated("v", "w", moderatedroom=1)
    for role, why in (("participant", "A worthy witch indeed!"),
                      ("visitor", "Not so worthy after all!"), ("participant", None)):
        assert room.role(muc.owner, "v", role, why).get("type") == "result"
        for c in (v, w, muc.owner):
            p = c.until(lambda e: name(e) == "presence")
            assert nick(p) == "v" and p.get("type") is None
            assert status(p) == ("none", role) and reason(p) == why
            assert codes(p) == ({110} if c is v else set())
    assert real_jid(p) == v.jid


def test_voice_is_heard(muc):
    room, v = muc.populated("v", moderatedroom=1)
    room.role(muc.owner, "v", "participant")
    room.say(v, "one")
    room.settled(v)
    room.role(muc.owner, "v", "visitor")
    room.say(v, "two")
    assert bodies(room.settled(v, muc.owner)[1]) == ["one"]


def test_the_last_presence_goes_along(muc):
    """The occupant's <show/> and <status/> stay when its role changes."""
    room, v = muc.populated("v", moderatedroom=1)
    room.presence(v, "<show>away</show><status>far</status>")
    room.settled(v, muc.owner)
    room.role(muc.owner, "v", "participant")
    p = muc.owner.until(lambda e: name(e) == "presence")
    assert text(p, "show") == "away" and text(p, "status") == "far"


# ---- 8.5 -------------------------------------------------------------------------------------

def test_voice_list(muc):
    room, v, w = muc.populated("v", "w", moderatedroom=1)
    m = muc.person("m")
    room.set(muc.owner, affiliation="member", jid=m.bare)
    room.join(m)
    assert [(i.get("nick"), i.get("role"), i.get("affiliation"), i.get("jid"))
            for i in room.list(muc.owner, role="participant")] == [
                ("m", "participant", "member", m.jid)]
    assert sorted(i.get("nick") for i in room.list(muc.owner, role="visitor")) == ["v", "w"]


def test_changing_the_list(muc):
    """Several at a time; only what has changed."""
    room, v, w = muc.populated("v", "w", moderatedroom=1)
    room.role(muc.owner, "v", "participant")
    room.settled(muc.owner, v, w)
    a = room.admin(muc.owner, admin_item(nick="v", role="visitor"),
                   admin_item("A worthy fellow.", nick="w", role="participant"))
    assert a.get("type") == "result"
    got = [p for p in presences(room.settled(muc.owner)[0])]
    assert [(nick(p), status(p)[1]) for p in got] == [("v", "visitor"), ("w", "participant")]


def test_all_or_nothing(muc):
    """One item that is not allowed (8.4: an admin's voice), and none is done."""
    room, v = muc.populated("v", moderatedroom=1)
    m, admin = muc.people("m", "admin")
    room.set(muc.owner, affiliation="admin", jid=admin.bare)
    room.join(admin)
    room.settled(admin, v, muc.owner)
    a = room.admin(muc.owner, admin_item(nick="v", role="participant"),
                   admin_item(nick="admin", role="visitor"))
    assert error(a) == ("cancel", "not-allowed")
    assert presences(room.settled(muc.owner, v)[1]) == []


def test_the_list_is_the_moderators(muc):
    room, v = muc.populated("v", moderatedroom=1)
    a = room.admin(v, admin_item(role="participant"), type_="get")
    assert error(a) == ("auth", "forbidden")
    z = muc.person("z")
    assert error(room.admin(z, admin_item(role="participant"), type_="get")) == (
        "auth", "forbidden")


def test_moderators_are_not_asked_again_and_again(muc):
    """S-20: one request of a user in a minute."""
    room, v = muc.populated("v", moderatedroom=1)
    for _ in range(3):
        request(room, v)
    assert [error(m)[1] for m in messages(room.settled(v)[0])] == ["resource-constraint"] * 2
    assert len(messages(room.settled(muc.owner)[0])) == 1


def test_a_room_is_moderated_no_more(muc):
    """5.1.2: then all have voice."""
    room, v, w = muc.populated("v", "w", moderatedroom=1)
    room.configure(muc.owner, moderatedroom=0)
    for _ in ("v", "w"):           # in either order
        p = w.until(lambda e: name(e) == "presence")
        assert status(p) == ("none", "participant")
    room.say(v, "at last")
    assert "at last" in bodies(room.settled(v, w)[1])
