"""XEP-0500: slow mode."""

from mk import NS, child, children, name, text
from mk.muc import MUC, bodies, error

VALIDATE = "http://jabber.org/protocol/xdata-validate"


def refused(c):
    return c.until(lambda e: name(e) == "message" and e.get("type") == "error")


def test_the_form_has_it(muc):
    """4.1: an integer with its range."""
    room = muc.room(slow_mode_duration=20)
    (f,) = [f for f in children(room.form(muc.owner), "field")
            if f.get("var") == "muc#roomconfig_slow_mode_duration"]
    assert f.get("type") == "text-single" and text(f, "value", MUC.DATA) == "20"
    v = child(f, "validate", VALIDATE)
    assert v.get("datatype") == "xs:integer"
    assert child(v, "range", VALIDATE).get("min") == "0"
    assert room.disco(muc.owner)[2]["muc#roominfo_slow_mode_duration"] == ["20"]
    a = room.send_config(muc.owner, slow_mode_duration=-1)
    assert error(a)[1] in ("not-acceptable", "bad-request")


def test_a_user_waits(muc, account):
    """5: whatever client and nickname it speaks by; only bodies count; the error tells how
    long. Others are not kept waiting, admins and owners never."""
    room, y = muc.populated("y", slow_mode_duration=3600)
    a = account()
    x, other = muc.person("x", a, "one"), muc.person("x2", a, "two")
    room.enter(x, other)
    room.settled(y, muc.owner)
    room.say(x, "one")
    room.say(x, "two")
    m = refused(x)
    assert error(m) == ("wait", "policy-violation")
    assert "3600" in text(child(m, "error", NS.CLIENT), "text", NS.STANZAS)
    room.say(other, "three")
    assert error(refused(other))[1] == "policy-violation"
    x.send("<message to='%s' type='groupchat'><composing "
           "xmlns='http://jabber.org/protocol/chatstates'/></message>" % room.jid)
    room.say(y, "four")
    for n in ("five", "six"):
        room.say(muc.owner, n)
    assert sorted(bodies(room.settled(y, muc.owner)[1])) == ["five", "four", "one", "six"]
    room.leave(x)
    room.join(x)
    room.say(x, "seven")
    assert error(refused(x))[1] == "policy-violation"


def test_what_came_through(muc):
    room, x = muc.populated("x", slow_mode_duration=3600)
    room.say(x, "one")
    room.say(x, "two")
    room.settled(x)
    room.say(muc.owner, "three")
    assert bodies(room.settled(muc.owner)[0]) == ["one", "three"]
    room.configure(muc.owner, slow_mode_duration=0)
    room.say(x, "four")
    room.settled(x)
    assert bodies(room.settled(muc.owner)[0]) == ["four"]
