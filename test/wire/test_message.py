"""RFC 6121 5 and 8.5: what reaches the recipient, and how; the message plugin's
setting. Who gets a message, row by row: test_routing.py."""

import pytest

from mk import NS, child, children, fence, name, text, to_str
from mk.sm import SmClient


def messages(elements):
    return [e for e in elements if name(e) == "message"]


def ids(elements):
    return [m.get("id") for m in messages(elements)]


# ---- 5: what arrives is what was sent -------------------------------------------------


def test_one_to_one(pair):
    """5.2.3: body, subject, thread, languages; 5.2.1: 'to' stays what it was."""
    a, b = pair
    payload = ("<subject>Hi!</subject><subject xml:lang='cs'>Ahoj!</subject>"
               "<body>Wherefore art thou, Romeo?</body>"
               "<body xml:lang='cs'>Pro&#x10D;e&#x17E; jsi ty, Romeo?</body>"
               "<thread parent='e0ffe42b28561960c6b12b944a092794b9683a38'>0e3141cd</thread>")
    for to in (b.bare, b.jid):
        a.send("<message to='%s' id='z94nb37h' type='chat' xml:lang='en'>%s</message>" % (
            to, payload))
        m = b.expect("message", NS.CLIENT, id="z94nb37h", type="chat", to=to, from_=a.jid)
        assert m.get("{%s}lang" % NS.XML) == "en"
        bodies = {c.get("{%s}lang" % NS.XML): c.text for c in children(m, "body", NS.CLIENT)}
        assert bodies == {None: "Wherefore art thou, Romeo?", "cs": "Pročež jsi ty, Romeo?"}
        assert [c.text for c in children(m, "subject")] == ["Hi!", "Ahoj!"]
        assert child(m, "thread").get("parent") == "e0ffe42b28561960c6b12b944a092794b9683a38"


def test_extensions_pass_unchanged(pair):
    """8.4 of RFC 6120: what the server does not know is not its business."""
    a, b = pair
    a.send("<message to='%s' id='x' type='chat'><a xmlns='mk:1' q='&lt;&apos;&quot;'>t<b/>u"
           "<c xmlns='mk:2'> v </c></a></message>" % b.jid)
    e = child(b.expect("message"), "a", "mk:1")
    assert e.get("q") == "<'\"" and e.text == "t"
    assert [c.tag for c in e] == ["{mk:1}b", "{mk:2}c"]
    assert e[0].tail == "u" and e[1].text == " v "


def test_unknown_type_is_normal(pair):
    """5.2.2."""
    a, b = pair
    a.send("<message to='%s' id='x' type='shouting'><body>x</body></message>" % b.bare)
    b.expect("message", id="x")


def test_without_to(account, connect):
    """RFC 6120 10.3.1: as to one's own bare JID."""
    user = account()
    a, b = connect(user, presence=""), connect(user, presence="")
    b.barrier()
    a.send("<message type='chat' id='self'><body>note</body></message>")
    m = b.until(lambda e: name(e) == "message")
    assert m.get("id") == "self" and m.get("from") == a.jid
    assert m.get("to") in (None, a.bare)


@pytest.mark.parametrize("to", ["bare", "full"])
def test_order(pair, to):
    """RFC 6120 10.1."""
    a, b = pair
    for k in range(300):
        a.message(b.bare if to == "bare" else b.jid, str(k))
    got, _ = fence(a, b)
    assert [text(m, "body") for m in messages(got)] == [str(k) for k in range(300)]


def test_empty_message(pair):
    a, b = pair
    a.send("<message to='%s' id='e'/>" % b.jid)
    m = b.expect("message", id="e")
    assert len(m) == 0


# ---- 8.5.2: several resources ------------------------------------------------------------


@pytest.fixture
def three(account, connect):
    user = account()
    return connect(account()), [connect(user, r, presence="<priority>%d</priority>" % p)
                                for r, p in (("a", 1), ("b", 5), ("c", 5), ("d", -1))]


def got_by(sender, clients, **kw):
    out = []
    for c in clients:
        got, _ = fence(sender, c)
        if kw["id_"] in ids(got):
            out.append(c.resource)
    return out


@pytest.mark.parametrize("type_,expected", [
    ("chat", "abc"), ("normal", "abc"), ("headline", "abc"), ("groupchat", "")])
def test_all_of_non_negative_priority(three, type_, expected):
    sender, clients = three
    sender.message(clients[0].bare, "x", type_, id_="m")
    assert "".join(got_by(sender, clients, id_="m")) == expected


def test_full_jid_whatever_the_priority(three):
    """8.5.3.1: that one alone."""
    sender, clients = three
    for k, c in enumerate(clients):
        sender.message(c.jid, "x", id_="f%d" % k)
        assert got_by(sender, clients, id_="f%d" % k) == [c.resource]


def test_changed_priority_counts_at_once(three):
    sender, clients = three
    clients[0].send("<presence><priority>-2</priority></presence>")
    clients[3].send("<presence><priority>0</priority></presence>")
    for c in clients:
        c.barrier()
    sender.message(clients[0].bare, "x", id_="m")
    assert got_by(sender, clients, id_="m") == ["b", "c", "d"]


def test_unavailable_gets_nothing_more(three):
    sender, clients = three
    clients[1].unavailable()
    sender.message(clients[0].bare, "x", id_="m")
    assert got_by(sender, clients, id_="m") == ["a", "c"]


def test_normal_to_a_resource_that_went(three):
    """8.5.3.2.1: an error; chat goes to the others."""
    sender, clients = three
    gone = clients[0].bare + "/gone"
    sender.message(gone, "x", "normal", id_="n")
    m = sender.expect("message", type_="error", id="n", from_=gone)
    assert child(child(m, "error"), "service-unavailable", NS.STANZAS) is not None
    sender.message(gone, "x", "chat", id_="c")
    for c in clients[:3]:
        m = c.until(lambda e: e.get("id") == "c")
        assert m.get("to") == gone


@pytest.mark.parametrize("type_", ["normal", "chat"])
def test_what_a_session_did_not_acknowledge_goes_to_another(server, account, connect, type_):
    """XEP-0198 8: also a normal one, which the server had accepted."""
    user, sender = account(), connect(account())
    lost = SmClient(server, user)
    lost.login("lost", presence="")
    lost.enable()
    lost.answers = False
    lost.barrier()
    sender.message(lost.jid, "x", type_, id_="u")
    lost.until(lambda e: e.get("id") == "u")
    other = connect(user, "other", presence="")
    lost.send("</stream:stream>")
    m = other.until(lambda e: name(e) == "message")
    assert m.get("id") == "u" and child(m, "delay", NS.DELAY) is not None
    assert not messages(sender.barrier())
    lost.kill()


# ---- the setting ---------------------------------------------------------------------------


def test_bare_chat_highest(make_server, connect):
    """`highest`: only those of the highest priority; live."""
    s = make_server({"host_types": {"people": {"plugins": {"message": {"bare_chat": "highest"}}}}})
    user, sender = s.account(), connect(s.account(), server=s)
    clients = [connect(user, r, server=s, presence="<priority>%d</priority>" % p)
               for r, p in (("a", 1), ("b", 5), ("c", 5), ("d", -1))]
    sender.message(user.jid, "x", id_="m")
    assert got_by(sender, clients, id_="m") == ["b", "c"]
    sender.message(user.jid, "x", "headline", id_="h")
    assert got_by(sender, clients, id_="h") == ["a", "b", "c"]
    for c in clients[:3]:
        c.unavailable()
    sender.message(user.jid, "x", id_="o")
    assert got_by(sender, clients, id_="o") == []
    clients[0].available("<priority>1</priority>", wait=False)
    m = clients[0].until(lambda e: name(e) == "message")
    assert m.get("id") == "o"
    s.config["host_types"]["people"]["plugins"]["message"]["bare_chat"] = "all"
    s.write_config()
    s.ctl("reload")
    clients[1].available("<priority>5</priority>")
    sender.message(user.jid, "x", id_="l")
    assert got_by(sender, clients[:2], id_="l") == ["a", "b"]


def test_bare_chat_must_be_a_word_it_knows(make_server):
    s = make_server()
    s.config["host_types"]["people"]["plugins"]["message"] = {"bare_chat": "some"}
    s.write_config()
    p = s.ctl("reload", check=False)
    assert p.returncode != 0 and "bare_chat" in p.stdout + p.stderr


def test_metrics(make_server, connect):
    s = make_server()
    user, sender = s.account(), connect(s.account(), server=s)
    c = connect(user, server=s, presence="")
    sender.message(c.jid, "x")
    sender.message(c.bare, "x")
    fence(sender, c)
    c.close()
    sender.message(user.jid, "x")
    sender.barrier()
    sender.message(user.jid, "x")
    sender.barrier()
    out = s.ctl("metrics").stdout
    for name_ in ("to_resource_total", "to_account_total", "untaken_total"):
        assert "meerkat_message_" + name_ in out, out


def test_archive_results_come_from_no_user(pair):
    """S-07; a room's, from its bare JID, is another matter."""
    a, b = pair
    a.send("<message to='%s' id='r' type='chat'><body>x</body><result xmlns='urn:xmpp:mam:2' "
           "id='1'/></message>" % b.jid)
    m = a.expect("message", type_="error", id="r")
    assert child(child(m, "error"), "not-allowed", NS.STANZAS) is not None, to_str(m)
    got, _ = fence(a, b)
    assert not messages(got)
