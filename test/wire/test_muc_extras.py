"""Rooms' extensions that are announced by features: XEP-0307 (unique names), XEP-0463
(versions of affiliations), XEP-0486 (avatars), XEP-0502 (activity)."""

import base64
import hashlib

import pytest

from mk import NS, child, children, element, name, text
from mk.muc import MUC, codes, error, messages, nick, user

UNIQUE = "http://jabber.org/protocol/muc#unique"
MAV = "urn:xmpp:muc:affiliations:1"
ACTIVITY = "{urn:xmpp:muc-activity}message-activity"
PNG = base64.b64encode(b"\x89PNG not really").decode()


def announced(room, c, feature):
    if feature not in room.disco(c)[1]:
        pytest.skip("rooms don't announce " + feature)


# ---- XEP-0307 --------------------------------------------------------------------------------

def test_unique_names(muc):
    a = muc.owner.iq("get", element("query", NS.DISCO_INFO), to=muc.service)
    if UNIQUE not in {f.get("var") for f in child(a, "query")}:
        pytest.skip("the service doesn't announce it")
    names = set()
    for _ in range(5):
        a = muc.owner.iq("get", element("unique", UNIQUE), to=muc.service)
        assert a.get("type") == "result"
        names.add(text(a, "unique", UNIQUE))
    assert len(names) == 5 and all(names)
    room = muc.address(names.pop())
    room.create(muc.owner, "owner")


# ---- XEP-0463 --------------------------------------------------------------------------------

def mav_join(room, c, since=None):
    """(items or None without a message, version): what a join with <mav/> brings."""
    c.send("<presence to='%s'><x xmlns='%s'>%s<history maxchars='0'/></x></presence>" % (
        room.at(c.nick), MUC.JOIN, element("mav", MAV, since=since)))
    items, full = None, None
    while True:
        el = c.recv()
        if not room.is_mine(el):
            continue
        if name(el) == "message" and user(el) is not None and \
                child(user(el), "mav", MAV) is not None:
            full = child(user(el), "mav", MAV).get("since") is None
            items = items or {}
            items.update((i.get("jid"), i.get("affiliation"))
                         for i in children(user(el), "item", MUC.USER))
        elif name(el) == "presence" and 110 in codes(el):
            version = [m for m in el.iter("{%s}mav" % MAV)]
            assert len(version) == 1
            v = version[0].get("until") or version[0].get("since")
            c.until(lambda e: name(e) == "message" and child(e, "subject") is not None)
            return items, full, v


def test_versions_of_affiliations(muc):
    """Everything at first, then what has changed, then nothing."""
    room = muc.room(whois="anyone", persistentroom=1)
    announced(room, muc.owner, MAV)
    domain = muc.server.domain
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.set(muc.owner, affiliation="admin", jid="a@" + domain)
    items, full, version = mav_join(room, x)
    assert full and items == {muc.owner.bare: "owner", x.bare: "member", "a@" + domain: "admin"}
    room.leave(x)
    assert mav_join(room, x, version) == (None, None, version)
    room.leave(x)
    room.set(muc.owner, affiliation="none", jid="a@" + domain)
    room.set(muc.owner, affiliation="member", jid="b@" + domain)
    items, full, later = mav_join(room, x, version)
    assert later != version
    if full:
        assert items == {muc.owner.bare: "owner", x.bare: "member", "b@" + domain: "member"}
    else:
        assert items == {"a@" + domain: "none", "b@" + domain: "member"}
    room.leave(x)
    items, full, _ = mav_join(room, x, "no-such-version")
    assert full and len(items) == 3


def test_mav_is_not_passed_on(muc):
    """4.1: it is nobody else's business."""
    room, y = muc.populated("y", whois="anyone")
    announced(room, y, MAV)
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    mav_join(room, x)
    p = y.until(lambda e: name(e) == "presence" and nick(e) == "x")
    assert [m for m in p.iter("{%s}mav" % MAV) if m.get("since")] == []


# ---- XEP-0486 --------------------------------------------------------------------------------

def test_avatar(muc):
    """The owner sets it, everybody can get it, its hash is in disco; 104 tells of it."""
    room, x = muc.populated("x")
    announced(room, x, "vcard-temp")
    vcard = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>%s</BINVAL></PHOTO>" \
            "</vCard>" % PNG
    assert error(x.iq("set", vcard, to=room.jid)) == ("auth", "forbidden")
    assert muc.owner.iq("set", vcard, to=room.jid).get("type") == "result"
    assert any(104 in codes(m) for m in messages(room.settled(x)[0]))
    a = muc.person().iq("get", "<vCard xmlns='vcard-temp'/>", to=room.jid)
    photo = child(child(a, "vCard", "vcard-temp"), "PHOTO", "vcard-temp")
    assert text(photo, "BINVAL", "vcard-temp") == PNG
    digest = hashlib.sha1(base64.b64decode(PNG)).hexdigest()
    assert room.disco(x)[2]["muc#roominfo_avatarhash"] == [digest]
    a = muc.owner.iq("set", "<vCard xmlns='vcard-temp'/>", to=room.jid)
    assert a.get("type") == "result"
    assert "muc#roominfo_avatarhash" not in room.disco(x)[2]


# ---- XEP-0502 --------------------------------------------------------------------------------

def test_activity(muc):
    """3: of rooms that are public and persistent only, messages per hour."""
    shown = muc.room(publicroom=1, persistentroom=1)
    for _ in range(3):
        shown.say(muc.owner, "hello")
    shown.settled(muc.owner)
    info = shown.disco(muc.owner)[2]
    if ACTIVITY in info:
        assert float(info[ACTIVITY][0]) >= 0
    for config in (dict(publicroom=0, persistentroom=1), dict(publicroom=1, persistentroom=0)):
        assert ACTIVITY not in muc.room(**config).disco(muc.owner)[2]
