"""XEP-0045: what must survive: rooms, configuration, affiliations, subjects, reserved
nicknames; over hibernation, an orderly restart and kill -9 (what was answered is kept)."""

import pytest

from mk import child, element, name, text, to_str
from mk.muc import MUC, Stage, admin_item, codes, error, nick, status, submit, user

pytestmark = pytest.mark.skipif(
    __import__("os").environ.get("MEERKAT_TEST_STORAGE") == "memory",
    reason="the memory backend keeps nothing")


@pytest.fixture
def stage(make_server, connect):
    def make(changes=None):
        server = make_server(changes)
        s = Stage(server, server.account, connect)
        s.again = lambda hard: restart(s, hard)
        return s

    def restart(s, hard):
        s.server.restart(hard=hard)
        s.owner.kill()
        s._owner = s.person("owner", s.owner.account)
    return make


CONFIG = dict(persistentroom=1, roomname="Heath", roomdesc="A \u2665 <place> & 'more'",
              moderatedroom=1, membersonly=1, whois="anyone", passwordprotectedroom=1,
              roomsecret="cauldronburn", maxusers=50, maxhistoryfetch=5, publicroom=1, lang="en",
              allowinvites=1, allowpm="moderators", changesubject=1,
              presencebroadcast=["moderator", "participant"], getmemberlist=["moderator"])


@pytest.mark.parametrize("hard", [False, True], ids=["stop", "kill"])
def test_restart(stage, hard):
    muc = stage()
    room = muc.room(**CONFIG)
    domain = muc.server.domain
    assert room.admin(
        muc.owner, admin_item("Treason", affiliation="outcast", jid="bad@" + domain),
        admin_item(affiliation="member", jid="good@" + domain, nick="Good \u2665"),
        admin_item(affiliation="admin", jid="admin@" + domain)).get("type") == "result"
    x = muc.person("x")
    room.set(muc.owner, affiliation="member", jid=x.bare)
    room.send_subject(muc.owner, "Fire & Cauldron")
    room.settled(muc.owner)
    before = room.config(muc.owner)
    muc.again(hard)
    assert room.config(muc.owner) == before
    assert room.jids(muc.owner, "owner") == [muc.owner.bare]
    assert room.jids(muc.owner, "admin") == ["admin@" + domain]
    assert room.jids(muc.owner, "member") == sorted(["good@" + domain, x.bare])
    (i,) = room.list(muc.owner, affiliation="outcast")
    assert i.get("jid") == "bad@" + domain and text(i, "reason", MUC.ADMIN) == "Treason"
    nicks = {i.get("jid"): i.get("nick") for i in room.list(muc.owner, affiliation="member")}
    assert nicks["good@" + domain] == "Good \u2665"
    j = room.join(muc.owner, password="cauldronburn")
    assert status(j.self) == ("owner", "moderator") and 201 not in j.codes and j.others == []
    assert text(j.subject, "subject") == "Fire & Cauldron"
    y = muc.person("y")
    assert error(room.refused(y, password="cauldronburn"))[1] == "registration-required"


@pytest.mark.parametrize("hard", [False, True], ids=["stop", "kill"])
def test_temporary_rooms_are_gone(stage, hard):
    muc = stage()
    room = muc.room(persistentroom=0)
    room.set(muc.owner, affiliation="outcast", jid="bad@" + muc.server.domain)
    muc.again(hard)
    assert error(room.owner_iq(muc.owner, "get")) == ("cancel", "item-not-found")
    room.create(muc.owner)
    assert room.jids(muc.owner, "outcast") == []


def test_what_was_answered_is_kept(stage):
    """kill -9 right after each answer."""
    muc = stage()
    room = muc.room(persistentroom=1)
    domain = muc.server.domain
    changes = [
        lambda: room.set(muc.owner, affiliation="outcast", jid="a@" + domain),
        lambda: room.configure(muc.owner, roomname="Heath"),
        lambda: room.set(muc.owner, affiliation="owner", jid="b@" + domain),
        lambda: room.set(muc.owner, affiliation="none", jid="a@" + domain),
    ]
    for c in changes:
        c()
        muc.again(True)
    assert room.jids(muc.owner, "outcast") == []
    assert room.jids(muc.owner, "owner") == sorted(["b@" + domain, muc.owner.bare])
    assert room.config(muc.owner)["muc#roomconfig_roomname"] == ["Heath"]
    assert room.destroy(muc.owner).get("type") == "result"
    muc.again(True)
    assert error(room.owner_iq(muc.owner, "get")) == ("cancel", "item-not-found")


def test_a_room_that_is_no_longer_persistent(stage):
    muc = stage()
    room = muc.room(persistentroom=1)
    room.set(muc.owner, affiliation="outcast", jid="a@" + muc.server.domain)
    room.configure(muc.owner, persistentroom=0)
    muc.again(True)
    assert error(room.owner_iq(muc.owner, "get")) == ("cancel", "item-not-found")


def test_a_room_that_becomes_persistent(stage):
    """What it was before comes along: affiliations, subject."""
    muc = stage()
    room = muc.room(persistentroom=0)
    room.set(muc.owner, affiliation="outcast", jid="a@" + muc.server.domain)
    room.send_subject(muc.owner, "before")
    room.settled(muc.owner)
    room.configure(muc.owner, persistentroom=1)
    muc.again(True)
    assert room.jids(muc.owner, "outcast") == ["a@" + muc.server.domain]
    assert text(room.join(muc.owner).subject, "subject") == "before"


def test_occupants_are_told_of_the_end(stage):
    """15.2: 332 when the service shuts down... as far as it still may."""
    muc = stage()
    room, x = muc.populated("x")
    muc.server.stop()
    got = []
    try:
        while True:
            got.append(x.recv())
    except Exception:
        pass
    for p in got:
        if name(p) == "presence" and p.get("type") == "unavailable" and nick(p) == "x":
            assert 332 in codes(p)


def test_domain_removal_takes_rooms(stage):
    """The tables' first column is the domain: without it, no room of it."""
    muc = stage()
    room = muc.room(persistentroom=1)
    other = muc.server.account(domain=muc.server.other)
    c = muc.person("o", other)
    far = muc.address()
    far.jid = far.jid.replace(muc.server.domain, muc.server.other)
    far.create(c, persistentroom=1)
    c.close()
    assert room.config(muc.owner)


@pytest.mark.parametrize("hard", [False, True], ids=["stop", "kill"])
def test_hats_and_versions_of_affiliations(stage, hard):
    """XEP-0317, XEP-0463: who knows the latest version is told nothing even then."""
    muc = stage()
    room = muc.room(persistentroom=1, whois="anyone")
    x = muc.person("x")
    hat = {"hats#title": "Host", "hats#uri": "urn:x:host", "hats#jid": x.bare}
    for node in ("create", "assign"):
        a = muc.owner.iq("set", element(
            "command", "http://jabber.org/protocol/commands", submit("urn:xmpp:hats:commands", hat),
            node="urn:xmpp:hats:commands:" + node), to=room.jid)
        assert a.get("type") == "result"
    room.set(muc.owner, affiliation="member", jid=x.bare)
    mav = "<mav xmlns='urn:xmpp:muc:affiliations:1'%s/>"

    def version(c, since=None):
        c.send(element("presence", None, element("x", MUC.JOIN, mav % (
            "" if since is None else " since='%s'" % since)), to=room.at(c.nick)))
        el = c.until(lambda e: room.is_mine(e) and (name(e) == "message" or 110 in codes(e)))
        told = name(el) == "message"
        if told:
            el = c.until(lambda e: name(e) == "presence" and 110 in codes(e))
        assert "urn:x:host" in to_str(el)
        return told, child(user(el), "mav").get("until")

    told, latest = version(x)
    assert told
    muc.again(hard)
    x = muc.person("x", x.account)
    assert version(x, latest) == (False, latest)
