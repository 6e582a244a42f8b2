"""XEP-0045 7.2.14, 7.2.15: discussion history and its limits."""

import datetime

import pytest

from mk import NS, child, name, text, to_str
from mk.muc import bodies, delay, is_subject, nick


def stamp(el):
    return datetime.datetime.strptime(delay(el).get("stamp").split(".")[0].rstrip("Z"),
                                      "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)


@pytest.fixture
def talk(muc):
    """A room with a history of five messages by two."""
    room, x = muc.populated("x")
    for i in range(5):
        room.say((muc.owner, x)[i % 2], "message %d" % i, id_="h%d" % i)
        room.settled(muc.owner, x)
    room.x = x
    return room


def test_history(muc, talk):
    """7.2.14: in order, from the occupants, stamped by the room, with their ids."""
    z = muc.person("z")
    before = datetime.datetime.now(datetime.timezone.utc)
    j = talk.join(z)
    assert bodies(j.history) == ["message %d" % i for i in range(5)]
    assert [nick(m) for m in j.history] == ["owner", "x", "owner", "x", "owner"]
    assert [m.get("id") for m in j.history] == ["h%d" % i for i in range(5)]
    for m in j.history:
        assert m.get("type") == "groupchat" and m.get("to") == z.jid
        assert delay(m).get("from") == talk.jid and delay(m).get("stamp").endswith("Z")
        assert abs((stamp(m) - before).total_seconds()) < 3600
    assert [stamp(m) for m in j.history] == sorted(stamp(m) for m in j.history)


@pytest.mark.parametrize("limit,expected", [
    ({"maxstanzas": 2}, 2), ({"maxstanzas": 0}, 0), ({"maxstanzas": 20}, 5),
    ({"maxchars": 0}, 0), ({"maxchars": 65000}, 5),
    ({"seconds": 3600}, 5), ({"since": "1970-01-01T00:00:00Z"}, 5),
    ({"since": "2100-01-01T00:00:00Z"}, 0),
    ({"maxstanzas": 3, "maxchars": 65000}, 3), ({"maxstanzas": 3, "maxchars": 0}, 0),
    ({"maxstanzas": 4, "seconds": 3600, "since": "1970-01-01T00:00:00Z"}, 4),
    ({"maxstanzas": 4, "since": "2100-01-01T00:00:00Z"}, 0),
])
def test_limits(muc, talk, limit, expected):
    """7.2.15: the smallest amount that meets all of them; always the latest ones."""
    j = talk.join(muc.person("z"), history=limit)
    assert bodies(j.history) == ["message %d" % i for i in range(5 - expected, 5)]
    assert j.subject is not None


def test_maxchars_counts_whole_stanzas(muc, talk):
    """7.2.15: characters of complete stanzas; never one in part."""
    z = muc.person("z")
    sizes = [len(to_str(m)) for m in talk.join(z).history]
    got = []
    for limit in (10, max(sizes) // 2, max(sizes) * 2, max(sizes) * 4, 100000):
        j = talk.join(muc.person(), history={"maxchars": limit})
        got.append(len(j.history))
        assert bodies(j.history) == ["message %d" % i for i in range(5 - len(j.history), 5)]
    assert got[0] == got[1] == 0 and got == sorted(got)
    assert 1 <= got[2] <= 4 and got[4] == 5


def test_seconds_none(muc, talk):
    """Nothing of it is younger than no second at all... or it is the last second's."""
    j = talk.join(muc.person("z"), history={"seconds": 0})
    assert len(j.history) <= 5


@pytest.mark.parametrize("bad", [{"maxstanzas": "-1"}, {"maxstanzas": "x"}, {"maxchars": "-5"},
                                 {"seconds": "99999999999999999999"}, {"since": "yesterday"},
                                 {"maxstanzas": "18446744073709551616"}])
def test_nonsense(muc, talk, bad):
    """Whatever it is taken for, it is a join or an error, and never more than all."""
    z = muc.person("z")
    talk.send_join(z, history=bad)
    first = z.until(lambda e: name(e) == "presence" and talk.is_mine(e))
    if first.get("type") != "error":
        z.until(is_subject)
    assert "still here" == talk_to(talk, muc)


def talk_to(room, muc):
    room.say(muc.owner, "still here")
    return text(muc.owner.until(lambda e: text(e, "body") == "still here"), "body")


def test_max_history_fetch(muc):
    """muc#maxhistoryfetch: what the room gives at most."""
    room, x = muc.populated("x", maxhistoryfetch=3)
    for i in range(6):
        room.say(x, "message %d" % i)
    room.settled(x, muc.owner)
    assert bodies(room.join(muc.person()).history) == ["message 3", "message 4", "message 5"]
    assert len(room.join(muc.person(), history={"maxstanzas": 100}).history) == 3
    room.configure(muc.owner, maxhistoryfetch=0)
    assert room.join(muc.person()).history == []


def test_what_is_not_history(muc):
    """7.2.15: no subjects; and what no later reader has a use for: chat states."""
    room, x = muc.populated("x")
    room.send_subject(muc.owner, "a subject")
    x.send("<message to='%s' type='groupchat'><composing xmlns='http://jabber.org/protocol/"
           "chatstates'/></message>" % room.jid)
    room.say(x, "a message")
    x.message(room.at("owner"), "a private one")
    room.settled(x, muc.owner)
    assert bodies(room.join(muc.person()).history) == ["a message"]
    assert len(room.join(muc.person()).history) == 1


def test_extended_content_is_kept(muc):
    room, x = muc.populated("x")
    room.say(x, "bold", more="<html xmlns='http://jabber.org/protocol/xhtml-im'>"
             "<body xmlns='http://www.w3.org/1999/xhtml'><b>bold</b></body></html>")
    room.settled(x, muc.owner)
    (m,) = room.join(muc.person()).history
    assert child(m, "html", "http://jabber.org/protocol/xhtml-im") is not None


def test_history_after_the_sender_has_gone(muc):
    room, x = muc.populated("x")
    room.say(x, "I was here")
    room.leave(x)
    (m,) = room.join(muc.person()).history
    assert text(m, "body") == "I was here" and nick(m) == "x"


def test_a_creator_may_send_history(muc):
    """7.9: messages of a one-to-one chat with the owner's delay: the room adds none of its
    own to them while they are live; afterwards they are history like others."""
    room, x = muc.populated("x")
    muc.owner.send(
        "<message to='%s' id='b4va73n0' type='groupchat'><thread>e0ffe42b</thread><body>Thrice"
        "</body><delay xmlns='%s' from='%s' stamp='2004-09-29T01:54:37Z'/></message>" % (
            room.jid, NS.DELAY, muc.owner.jid))
    m = x.until(lambda e: text(e, "body") == "Thrice")
    assert len([c for c in m if name(c) == "delay"]) <= 1 and text(m, "thread") == "e0ffe42b"
