"""XEP-0045 7.4 (messages to all), 7.5 (private messages), 8.1 (the subject), 17.2, 17.4."""

import pytest

from mk import NS, child, name, text, to_str
from mk.muc import MUC, bodies, delay, error, is_error, is_subject, messages, nick, user


def message(c, predicate=lambda m: True):
    return c.until(lambda e: name(e) == "message" and predicate(e))


# ---- 7.4 ---------------------------------------------------------------------------------

def test_to_all(muc):
    """Reflected to each, the sender too, from the occupant, with the client's id."""
    room, x, y = muc.populated("x", "y")
    x.send("<message to='%s' id='hysf1v37' type='groupchat' xml:lang='en'><body>Harpier cries: "
           "'tis time, 'tis time.</body><thread>t1</thread><ext xmlns='mk:ext' a='&lt;'>&amp;"
           "</ext></message>" % room.jid)
    for c in (muc.owner, x, y):
        m = message(c)
        assert m.get("from") == room.at("x") and m.get("to") == c.jid
        assert m.get("type") == "groupchat" and m.get("id") == "hysf1v37"
        assert text(m, "body") == "Harpier cries: 'tis time, 'tis time."
        assert text(m, "thread") == "t1" and m.get("{%s}lang" % NS.XML) == "en"
        ext = child(m, "ext", "mk:ext")
        assert ext.get("a") == "<" and ext.text == "&"
        assert delay(m) is None


def test_stanza_id(muc):
    """XEP-0359: by the room, the same for each occupant, another one for each message."""
    room, x, y = muc.populated("x", "y")
    ids = []
    for i in range(2):
        room.say(x, "m%d" % i)
        seen = {child(message(c), "stanza-id", NS.SID).get("id") for c in (x, y, muc.owner)}
        assert len(seen) == 1
        ids += seen
    assert ids[0] != ids[1]
    assert NS.SID in room.disco(x)[1]


def test_order(muc):
    """Each sees the messages of all in one order."""
    room, x, y = muc.populated("x", "y")
    for i in range(20):
        for c in (x, y, muc.owner):
            room.say(c, "%s %d" % (c.nick, i))
    orders = [bodies(g) for g in room.settled(x, y, muc.owner)]
    assert orders[0] == orders[1] == orders[2] and len(orders[0]) == 60
    assert [b for b in orders[0] if b.startswith("x ")] == ["x %d" % i for i in range(20)]


def test_a_visitor_has_no_voice(muc):
    """7.4: forbidden, and nobody else sees it."""
    room, v = muc.populated("v", moderatedroom=1)
    id_ = room.say(v, "may I?")
    m = message(v)
    is_error(m, "auth", "forbidden", by=room.jid)
    assert m.get("from") == room.jid and m.get("id") == id_
    assert bodies(room.settled(v, muc.owner)[1]) == []


def test_not_an_occupant(muc):
    """7.4: not-acceptable."""
    room, x = muc.populated("x")
    z = muc.person("z")
    id_ = room.say(z, "hello from outside")
    m = message(z)
    assert is_error(m, "modify" if error(m)[0] == "modify" else "cancel", "not-acceptable",
                    by=room.jid).get("id") == id_
    assert bodies(room.settled(z, x)[1]) == []


def test_no_such_room(muc):
    """17.2: item-not-found."""
    room = muc.address()
    z = muc.person("z")
    room.say(z, "anybody?")
    assert error(message(z)) == ("cancel", "item-not-found")
    z.message(room.at("x"), "anybody?")
    assert error(message(z)) == ("cancel", "item-not-found")


def test_another_session_of_an_occupant_is_none(muc, account):
    """Who has not joined is not in the room, even if the account is."""
    room = muc.room()
    a = account()
    one, two = muc.person("x", a, "one"), muc.person("x", a, "two")
    room.join(one)
    room.say(two, "hello")
    assert error(message(two))[1] == "not-acceptable"


@pytest.mark.parametrize("type_", ["chat", "normal", "headline"])
def test_other_types_to_the_room(muc, type_):
    """17.2: ignored, or bad-request; not reflected."""
    room, x = muc.populated("x")
    x.message(room.jid, "hello", type_)
    got, others = room.settled(x, muc.owner)
    assert others == []
    assert all(error(m)[1] in ("bad-request", "not-acceptable", "service-unavailable",
                               "feature-not-implemented") for m in got)


def test_errors_are_not_reflected(muc):
    room, x = muc.populated("x")
    x.send("<message to='%s' type='error'><body>hello</body><error type='cancel'><forbidden "
           "xmlns='%s'/></error></message>" % (room.jid, NS.STANZAS))
    got = room.settled(x, muc.owner)
    assert [bodies(g) for g in got] == [[], []]


def test_a_message_without_a_body(muc):
    """Chat states, markers, receipts pass."""
    room, x = muc.populated("x")
    x.send("<message to='%s' type='groupchat'><composing xmlns='http://jabber.org/protocol/"
           "chatstates'/></message>" % room.jid)
    m = message(muc.owner)
    assert child(m, "composing") is not None and nick(m) == "x"


# ---- 7.5 ---------------------------------------------------------------------------------

def test_private(muc):
    """From the occupant to the occupant; with muc#user's <x/>, added if need be."""
    room, x, y = muc.populated("x", "y")
    x.send("<message to='%s' id='hgn27af1' type='chat'><body>I'll give thee a wind.</body>"
           "<x xmlns='%s'/></message>" % (room.at("y"), MUC.USER))
    x.send("<message to='%s' id='hgn27af2' type='chat'><body>Thou'rt kind.</body></message>"
           % room.at("y"))
    x.send("<message to='%s' id='hgn27af3'><body>And I another.</body></message>" % room.at("y"))
    for k, (body, type_) in enumerate((("I'll give thee a wind.", "chat"),
                                       ("Thou'rt kind.", "chat"),
                                       ("And I another.", None))):
        m = message(y)
        assert m.get("from") == room.at("x") and m.get("to") == y.jid
        assert m.get("id") == "hgn27af%d" % (k + 1) and m.get("type") in (type_, "normal")
        assert text(m, "body") == body
        assert user(m) is not None and len(user(m)) == 0
    got = room.settled(x, muc.owner)
    assert [bodies(g) for g in got] == [[], []]


def test_private_groupchat(muc):
    """bad-request, with what was sent; not delivered."""
    room, x, y = muc.populated("x", "y")
    x.message(room.at("y"), "I'll give thee a wind.", "groupchat", id_="bx71f29k")
    m = message(x)
    is_error(m, "modify", "bad-request", by=room.jid)
    assert m.get("from") == room.at("y") and m.get("id") == "bx71f29k"
    assert bodies(room.settled(x, y)[1]) == []


def test_private_to_nobody(muc):
    room, x = muc.populated("x")
    x.message(room.at("nobody"), "hello?")
    m = message(x)
    assert error(m) == ("cancel", "item-not-found") and m.get("from") == room.at("nobody")


def test_private_from_outside(muc):
    room, x = muc.populated("x")
    z = muc.person("z")
    z.message(room.at("x"), "hello?")
    assert error(message(z))[1] == "not-acceptable"
    assert bodies(room.settled(z, x)[1]) == []


@pytest.mark.parametrize("allowed,visitor,participant,moderator", [
    ("anyone", True, True, True), ("participants", False, True, True),
    ("moderators", False, False, True), ("none", False, False, False)])
def test_who_may_send_private_messages(muc, allowed, visitor, participant, moderator):
    """muc#roomconfig_allowpm."""
    room = muc.room(moderatedroom=1, allowpm=allowed)
    v, p, y = muc.people("v", "p", "y")
    room.set(muc.owner, affiliation="member", jid=p.bare)
    for c in (v, p, y):
        room.join(c)
    room.settled(muc.owner, v, p, y)
    for c, may in ((v, visitor), (p, participant), (muc.owner, moderator)):
        c.message(room.at("y"), "psst")
        refused, got = (messages(g) for g in room.settled(c, y))
        assert bodies(got) == (["psst"] if may else [])
        assert [error(m)[1] for m in refused] == ([] if may else ["forbidden"])


def test_private_is_not_revealing(muc):
    """7.5: nothing in it tells the sender's address."""
    room, x, y = muc.populated("x", "y", whois="moderators")
    x.message(room.at("y"), "psst")
    assert x.bare not in to_str(message(y))


# ---- 17.4: IQs between occupants -----------------------------------------------------------

def test_iq_to_an_occupant(muc):
    """Forwarded to the real address, and the answer back, revealing neither."""
    room, x, y = muc.populated("x", "y")
    x.send("<iq type='get' id='v1' to='%s'><query xmlns='mk:question'/></iq>" % room.at("y"))
    q = y.until(lambda e: name(e) == "iq")
    assert q.get("from") == room.at("x") and child(q, "query", "mk:question") is not None
    assert x.bare not in to_str(q)
    y.send("<iq type='result' id='%s' to='%s'><answer xmlns='mk:question'/></iq>" % (
        q.get("id"), q.get("from")))
    a = x.answer("v1")
    assert a.get("from") == room.at("y") and a.get("type") == "result"
    assert child(a, "answer", "mk:question") is not None and y.bare not in to_str(a)


def test_iq_to_nobody(muc):
    room, x = muc.populated("x")
    a = x.iq("get", "<query xmlns='mk:question'/>", to=room.at("nobody"))
    assert error(a) == ("cancel", "item-not-found")


def test_iq_from_outside(muc):
    room, x = muc.populated("x")
    z = muc.person("z")
    a = z.iq("get", "<query xmlns='mk:question'/>", to=room.at("x"))
    assert error(a)[1] in ("not-acceptable", "bad-request")
    assert room.settled(z, x)[1] == []


# ---- 8.1: the subject ------------------------------------------------------------------------

def test_subject(muc):
    """To all, from the occupant; a later one replaces it; an empty one removes it."""
    room, x = muc.populated("x")
    for i, subject in enumerate(("Fire Burn and Cauldron Bubble!", "another", "")):
        room.send_subject(muc.owner, subject, id_="lh2bs61%d" % i)
        for c in (muc.owner, x):
            m = message(c)
            assert is_subject(m) and text(m, "subject") == subject
            assert m.get("from") in (room.jid, room.at("owner"))
            assert m.get("id") == "lh2bs61%d" % i
        assert text(room.join(muc.person()).subject, "subject") == subject
        room.settled(muc.owner, x)


def test_subject_by_a_participant(muc):
    """Only by moderators as a default, unless the room says otherwise
    (muc#roomconfig_changesubject)."""
    room, x = muc.populated("x", changesubject=0)
    room.send_subject(x, "mine", id_="lh2bs617")
    m = message(x)
    is_error(m, "auth", "forbidden", by=room.jid)
    assert m.get("id") == "lh2bs617" and m.get("from") == room.jid
    assert messages(room.settled(x, muc.owner)[1]) == []
    room.configure(muc.owner, changesubject=1)
    room.send_subject(x, "mine")
    assert text(message(muc.owner, is_subject), "subject") == "mine"


def test_subject_by_a_visitor(muc):
    room, v = muc.populated("v", moderatedroom=1, changesubject=0)
    room.send_subject(v, "mine")
    assert error(message(v)) == ("auth", "forbidden")


def test_subject_from_outside(muc):
    room, x = muc.populated("x")
    z = muc.person("z")
    room.send_subject(z, "mine")
    assert error(message(z))[1] in ("not-acceptable", "forbidden")


@pytest.mark.parametrize("more", ["<body>text</body>", "<thread>t</thread>"])
def test_no_change_of_the_subject(muc, more):
    """A subject with a body or a thread is an ordinary message."""
    room, x = muc.populated("x", changesubject=0)
    room.send_subject(x, "not the subject", more)
    m = message(muc.owner)
    assert text(m, "subject") == "not the subject" and m.get("from") == room.at("x")
    assert text(room.join(muc.person()).subject, "subject") == ""
