"""Settings of the muc plugin: who may make rooms, limits of sizes, numbers and rates (S-20),
what new rooms are like."""

import time

import pytest

from mk import name, text
from mk.muc import Stage, bodies, codes, error, is_subject, messages, nick, presences, status


@pytest.fixture
def stage(make_server, connect):
    """stage(setting=value, ...): a server whose rooms have these settings."""
    def make(**settings):
        server = make_server({"host_types": {"people": {"plugins": {"muc": settings}}}})
        return Stage(server, server.account, connect)
    return make


def message(c):
    return c.until(lambda e: name(e) == "message")


# ---- who may ---------------------------------------------------------------------------------

def test_nobody_makes_rooms(stage):
    """10.1.1: not-allowed."""
    muc = stage(create="nobody")
    el = muc.address().refused(muc.owner, "owner")
    assert error(el) == ("cancel", "not-allowed")


def test_admins_of_the_service(stage):
    """They alone make rooms; they own all of them."""
    muc = stage(create="admins", admins=["boss@meerkat.test"])
    boss = muc.person("boss", muc.server.account("boss"))
    x = muc.person("x")
    assert error(muc.address().refused(x)) == ("cancel", "not-allowed")
    room = muc.address()
    room.create(boss, persistentroom=1)
    room.join(x)
    room.set(boss, affiliation="owner", jid=x.bare)
    room.set(boss, affiliation="owner", jid=boss.bare)
    room.settled(x, boss)
    room.set(x, affiliation="none", jid=boss.bare)
    room.settled(x, boss)
    assert status(room.join(boss).self) == ("owner", "moderator")


def test_another_address(stage):
    muc = stage(host="rooms.@HOST@", name="Rooms")
    muc.service = "rooms." + muc.server.domain
    room, x = muc.populated("x")
    room.say(x, "hello")
    assert nick(message(muc.owner)) == "x"


# ---- what new rooms are like -------------------------------------------------------------------

def test_no_lock(stage):
    """Where rooms need no configuration first, they are open at once, and owned."""
    muc = stage(is_locked=False)
    room = muc.address()
    assert status(room.join(muc.owner, "owner").self) == ("owner", "moderator")
    assert status(room.join(muc.person("x")).self) == ("none", "participant")


def test_old_join(stage):
    """7.2.18 as it was: presence without <x/> lets in."""
    muc = stage(old_join=True)
    room = muc.room()
    j = room.join(muc.person("x"), x=False)
    assert status(j.self) == ("none", "participant")


def test_defaults(stage):
    muc = stage(is_persistent=True, is_public=False, is_members_only=True, is_moderated=True,
                shows_jids=True)
    room = muc.room()
    features = room.disco(muc.owner)[1]
    assert {"muc_persistent", "muc_hidden", "muc_membersonly", "muc_moderated",
            "muc_nonanonymous"} <= features


# ---- limits --------------------------------------------------------------------------------------

def test_max_users(stage):
    """Whatever the room's configuration says."""
    muc = stage(max_users=3)
    room, _, _ = muc.populated("a", "b")
    x = muc.person("x")
    assert error(room.refused(x)) == ("wait", "service-unavailable")
    assert error(room.send_config(muc.owner, maxusers=100))[1] == "not-acceptable"


@pytest.mark.parametrize("locked", [True, False])
def test_max_rooms(stage, locked):
    """Persistent rooms of one owner: one more is refused; one may go for another."""
    muc = stage(max_rooms=2, is_locked=locked, is_persistent=True)
    rooms = [muc.room(persistentroom=1) for _ in range(2)]
    room = muc.address()
    if locked:
        room.join(muc.owner, "owner")
        a = room.send_config(muc.owner, persistentroom=1)
    else:
        a = room.refused(muc.owner, "owner")
    assert error(a) == ("wait", "resource-constraint")
    rooms[0].destroy(muc.owner)
    if locked:
        room.configure(muc.owner, persistentroom=1)
    else:
        room.join(muc.owner, "owner")
    muc.address().create(muc.person("another"), persistentroom=1)


def test_max_affiliations(stage):
    muc = stage(max_affiliations=3)
    room = muc.room()
    domain = muc.server.domain
    for k in range(2):
        room.set(muc.owner, affiliation="member", jid="m%d@%s" % (k, domain))
    a = room.affiliation(muc.owner, "m2@" + domain, "member")
    assert error(a)[1] in ("resource-constraint", "policy-violation", "not-acceptable")
    room.set(muc.owner, affiliation="none", jid="m0@" + domain)
    room.set(muc.owner, affiliation="member", jid="m2@" + domain)


@pytest.mark.parametrize("what", ["nick", "subject", "message", "presence", "reason", "name",
                                  "password"])
def test_sizes(stage, what):
    """Refused, and the room goes on."""
    muc = stage(max_nick=20, max_subject=100, max_message=1000, max_presence=1000,
                max_reason=100, max_name=50, max_password=20)
    room, x = muc.populated("x")
    long_ = "y" * 2000
    if what == "nick":
        got = room.refused(muc.person("n" * 30))
    elif what == "subject":
        room.send_subject(muc.owner, long_)
        got = message(muc.owner)
    elif what == "message":
        room.say(x, long_)
        got = message(x)
    elif what == "presence":
        room.presence(x, "<status>%s</status>" % long_)
        got = x.until(lambda e: name(e) == "presence")
    elif what == "reason":
        got = room.affiliation(muc.owner, "a@b.example", "member", long_)
    elif what == "name":
        got = room.send_config(muc.owner, roomname=long_)
    else:
        got = room.send_config(muc.owner, passwordprotectedroom=1, roomsecret=long_)
    if what != "reason" or got.get("type") == "error":     # a reason may be cut
        assert error(got)[1] in ("policy-violation", "not-acceptable", "jid-malformed",
                                 "resource-constraint", "bad-request")
    room.say(x, "still here")
    assert text(muc.owner.until(lambda e: text(e, "body")), "body") == "still here"


def test_message_rate(stage):
    """S-20: too many are refused; others are not slowed, and what passed is whole."""
    muc = stage(message_rate=5)
    room, x, y = muc.populated("x", "y")
    x.send("".join("<message to='%s' type='groupchat' id='f%d'><body>f%d</body></message>" % (
        room.jid, k, k) for k in range(300)))
    room.say(y, "calm")
    got = room.settled(x, y)
    refused = [m.get("id") for m in messages(got[0]) if m.get("type") == "error"]
    passed = [b for b in bodies(got[1]) if b != "calm"]
    assert refused and "calm" in bodies(got[1])
    assert sorted(refused + passed) == sorted("f%d" % k for k in range(300))
    assert all(error(m)[1] in ("policy-violation", "resource-constraint")
               for m in messages(got[0]) if m.get("type") == "error")


def test_presence_rate(stage):
    muc = stage(presence_rate=5)
    room, x, y = muc.populated("x", "y")
    x.send("".join("<presence to='%s' id='p%d'><status>%d</status></presence>" % (
        room.at("x"), k, k) for k in range(300)))
    got = room.settled(x, y)
    assert len(presences(got[1], "x")) < 300
    assert any(p.get("type") == "error" for p in presences(got[0]))
    room.leave(x)                       # leaving is always allowed
    y.until(lambda e: nick(e) == "x" and e.get("type") == "unavailable")


def test_history_setting(stage):
    muc = stage(history=3, new_history=2)
    room, x = muc.populated("x")
    for k in range(5):
        room.say(x, "m%d" % k)
    room.settled(x, muc.owner)
    assert bodies(room.join(muc.person()).history) == ["m3", "m4"]
    a = room.send_config(muc.owner, maxhistoryfetch=3)
    assert a.get("type") == "result"
    assert error(room.send_config(muc.owner, maxhistoryfetch=4))[1] == "not-acceptable"


def test_hibernation(stage):
    """An empty room leaves memory after a while, and is the same when somebody comes."""
    muc = stage(hibernate="1s")
    room = muc.room(persistentroom=1, roomname="Heath")
    room.set(muc.owner, affiliation="outcast", jid="bad@" + muc.server.domain)
    room.send_subject(muc.owner, "sleep")
    room.leave(muc.owner)
    rooms_in_memory(muc, 0)
    assert room.config(muc.owner)["muc#roomconfig_roomname"] == ["Heath"]
    assert room.jids(muc.owner, "outcast") == ["bad@" + muc.server.domain]
    j = room.join(muc.owner)
    assert text(j.subject, "subject") == "sleep" and status(j.self)[0] == "owner"
    assert is_subject(j.subject) and 201 not in codes(j.self)


def rooms_in_memory(muc, n, timeout=60):
    """Waits until the metric says so."""
    deadline = time.monotonic() + timeout
    while True:
        found = [line for line in muc.server.ctl("metrics").stdout.splitlines()
                 if "muc" in line and "rooms" in line and not line.startswith("#")]
        assert found, "no such metric"
        if sum(float(line.split()[-1]) for line in found) == n:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
