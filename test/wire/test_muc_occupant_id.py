"""XEP-0421: occupants have stable ids that tell nothing."""

import os

import pytest

from mk import children, name, text
from mk.muc import MUC, nick


def oid(el):
    found = children(el, "occupant-id", MUC.OCCUPANT_ID)
    assert len(found) == 1
    assert 1 <= len(found[0].get("id")) <= 128
    return found[0].get("id")


def test_announced(muc):
    assert MUC.OCCUPANT_ID in muc.room().disco(muc.owner)[1]


def test_in_presence_and_messages(muc):
    """The same in all of an occupant's stanzas; others have others."""
    room, y = muc.populated("y")
    x = muc.person("x")
    j = room.join(x)
    ids = {oid(p) for p in j.others}
    mine = oid(j.self)
    assert len(ids) == 2 and mine not in ids
    assert oid(y.until(lambda e: name(e) == "presence")) == mine
    room.say(x, "hello")
    assert oid(y.until(lambda e: text(e, "body") == "hello")) == mine
    (h,) = room.join(muc.person("z")).history
    assert oid(h) == mine
    x.message(room.at("y"), "psst")
    m = y.until(lambda e: text(e, "body") == "psst")
    assert oid(m) == mine
    room.leave(x)
    p = y.until(lambda e: name(e) == "presence" and nick(e) == "x")
    assert oid(p) == mine


def test_stable(muc):
    """The user's, whatever its client, nick or visit."""
    room, y = muc.populated("y", persistentroom=1)
    x = muc.person("x")
    first = oid(room.join(x).self)
    room.leave(x)
    assert oid(room.join(x, "other").self) == first
    again = muc.person("third", x.account, "elsewhere")
    assert oid(room.join(again).self) == first


def test_other_rooms_have_others(muc):
    x = muc.person("x")
    rooms = [muc.room() for _ in range(3)]
    assert len({oid(r.join(x).self) for r in rooms}) == 3


def test_kept_over_a_restart(make_server, connect):
    if os.environ.get("MEERKAT_TEST_STORAGE") == "memory":
        pytest.skip("the memory backend keeps nothing")
    from mk.muc import Stage
    server = make_server()
    muc = Stage(server, server.account, connect)
    room = muc.room(persistentroom=1)
    first = oid(room.join(muc.owner).self)
    server.restart(hard=True)
    c = muc.person("owner", muc.owner.account)
    assert oid(room.join(c).self) == first
