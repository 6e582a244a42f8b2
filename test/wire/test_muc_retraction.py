"""Messages taken back (XEP-0424, XEP-0425) in a room with an archive: nobody is given them
any more, and a tombstone is in their place."""

import time

import pytest

import mk
from mk import NS, child, children, element, name, text, to_str
from mk.muc import MUC, bodies, error, nick

MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"
SID = "urn:xmpp:sid:0"
MAM = "urn:xmpp:mam:2"
FORWARD = "urn:xmpp:forward:0"


@pytest.fixture(scope="module")
def _archive():
    s = mk.Server({"host_types": {"people": {"plugins": {"mam": {}}}}}).start()
    yield s
    s.close()


@pytest.fixture
def rooms(_archive, connect):
    _archive.accounts.clear()
    yield mk.muc.Stage(_archive, _archive.account, connect)
    assert _archive.alive(), _archive.log()[-4000:]


@pytest.fixture
def room(rooms):
    return rooms.room(persistentroom=1, enablelogging=1, whois="moderators")


def stanza_id(room, m):
    (i,) = [i for i in children(m, "stanza-id", SID) if i.get("by") == room.jid]
    return i.get("id")


def said(room, c, body, *others):
    """The stanza-id of what c says."""
    room.say(c, body)
    for o in others:
        o.until(lambda e: text(e, "body") == body)
    return stanza_id(room, c.until(lambda e: text(e, "body") == body))


def moderate(room, c, id_, reason="inappropriate"):
    return c.iq("set", element("moderate", MODERATE, element("retract", RETRACT)
                               + element("reason", None, reason), id=id_), to=room.jid)


def retract(room, c, id_):
    c.send("<message to='%s' type='groupchat' id='r1'><retract id='%s' xmlns='%s'/><body>took "
           "back</body></message>" % (room.jid, id_, RETRACT))


def archived(room, c):
    """{id: message} of all that the room has kept, in order."""
    c.send("<iq type='set' id='q1' to='%s'><query xmlns='%s'/></iq>" % (room.jid, MAM))
    found = {}
    while True:
        el = c.recv()
        if name(el) == "iq" and el.get("id") == "q1":
            assert el.get("type") == "result", to_str(el)
            return found
        r = child(el, "result", MAM)
        if r is not None:
            found[r.get("id")] = child(child(r, "forwarded", FORWARD), "message", NS.CLIENT)


def test_features(room, rooms):
    assert {MODERATE, RETRACT, RETRACT + "#tombstone"} <= room.disco(rooms.owner)[1]


def test_moderation_leaves_a_tombstone(room, rooms):
    """XEP-0425 4: who said it and who took it back, but not what it was."""
    x = rooms.person("x")
    room.join(x)
    one, two = (said(room, x, b, rooms.owner) for b in ("spam", "eggs"))
    assert moderate(room, rooms.owner, one).get("type") == "result"
    m = x.until(lambda e: child(e, "retract", RETRACT) is not None)
    told = stanza_id(room, m)
    kept = archived(room, x)
    assert list(kept) == [one, two, told]
    t = kept[one]
    assert "spam" not in to_str(t) and child(t, "body") is None
    assert t.get("from") == room.at("x") and t.get("type") == "groupchat"
    assert child(t, "occupant-id", MUC.OCCUPANT_ID).get("id")
    r = child(t, "retracted", RETRACT)
    assert r.get("stamp") and text(r, "reason") == "inappropriate"
    by = child(r, "moderated", MODERATE)
    assert by.get("by") == room.at("owner")
    assert child(by, "occupant-id", MUC.OCCUPANT_ID) is not None
    assert text(kept[two], "body") == "eggs"
    assert child(kept[told], "retract", RETRACT).get("id") == one
    # Real addresses are for who may see them.
    assert x.bare not in to_str(t) and x.bare in to_str(archived(room, rooms.owner)[one])


def test_twice(room, rooms):
    """What is a tombstone can't be taken back again."""
    one = said(room, rooms.owner, "spam")
    assert moderate(room, rooms.owner, one).get("type") == "result"
    assert error(moderate(room, rooms.owner, one)) == ("cancel", "item-not-found")


def test_subjects_and_retractions_stay(room, rooms):
    room.send_subject(rooms.owner, "Fire Burn!")
    s = stanza_id(room, rooms.owner.until(
        lambda e: name(e) == "message" and child(e, "subject") is not None))
    assert error(moderate(room, rooms.owner, s))[1] == "item-not-found"
    one = said(room, rooms.owner, "spam")
    moderate(room, rooms.owner, one)
    told = stanza_id(room, rooms.owner.until(lambda e: child(e, "retract", RETRACT) is not None))
    assert error(moderate(room, rooms.owner, told))[1] == "item-not-found"


def test_what_is_history_no_longer(rooms):
    """A message that only the archive has."""
    room = rooms.room(persistentroom=1, enablelogging=1, maxhistoryfetch=0)
    one = said(room, rooms.owner, "spam")
    assert moderate(room, rooms.owner, one).get("type") == "result"
    assert "spam" not in "".join(map(to_str, archived(room, rooms.owner).values()))


def test_what_an_author_takes_back(room, rooms):
    """XEP-0424 4: a tombstone too; not of what another said."""
    x, y = rooms.people("x", "y")
    room.enter(x, y)
    one = said(room, x, "spam", y, rooms.owner)
    retract(room, y, one)
    room.settled(x, y)
    assert text(archived(room, x)[one], "body") == "spam"
    retract(room, x, one)
    m = x.until(lambda e: child(e, "retract", RETRACT) is not None and nick(e) == "x")
    # Done in a job by itself: it is when it is.
    deadline = time.monotonic() + 20
    kept = archived(room, x)
    while child(kept[one], "retracted", RETRACT) is None:
        assert time.monotonic() < deadline
        kept = archived(room, x)
    r = child(kept[one], "retracted", RETRACT)
    assert r.get("id") == "r1" and "spam" not in to_str(kept[one])
    assert child(kept[stanza_id(room, m)], "retract", RETRACT).get("id") == one


def test_history_after_a_restart(room, rooms, connect):
    """Nobody gets to see it who comes when the room was read again."""
    one = said(room, rooms.owner, "spam")
    said(room, rooms.owner, "eggs")
    moderate(room, rooms.owner, one)
    rooms.server.restart()
    x = rooms.person("x")
    got = room.join(x)
    assert bodies(got.history) == ["eggs"]
