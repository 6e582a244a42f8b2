"""Sessions that end where it is awkward: in a handler, in what was posted, while they
open; plugins that stop while a job of theirs is at work. A sanitizer build tells what
the rest of the server still looked at."""

import os
import threading

import pytest

import mk
from mk import NS, StreamError, child, children, name, text, to_str

LATE = "<late xmlns='urn:test:ender'/>"


@pytest.fixture
def s(make_server, tmp_path):
    s = mk.Server()
    s.gate = str(tmp_path / "gate")
    s.config["server"]["plugin_dirs"] = [os.path.join(s.build, "modules-test"),
                                         os.path.join(s.build, "modules")]
    s.config["host_types"]["people"]["plugins"]["ender"] = {"gate": s.gate}
    s.config["limits"]["auth_timeout"] = "2s"
    s.start()
    yield s
    open(s.gate, "w").close()
    s.close()


def still_works(s, connect):
    """Anew for the same user, and for another."""
    for _ in range(2):
        c = connect(s.account(), server=s, presence="")
        c.ping()


def ended(*clients):
    for c in clients:
        c.expect_stream_error("policy-violation")


@pytest.mark.parametrize("to_self", [True, False])
def test_a_session_ends_in_a_handler_of_what_it_sent(s, connect, to_self):
    a, b = (connect(s.account(), server=s, presence="") for _ in range(2))
    a.send("<message id='end-in' to='%s'><body>x</body></message>" % (
        a.bare if to_self else b.jid) + "<presence/>" * 3)
    ended(a)
    s.wait_log(r"msg=looked .*id=end-in entity=%s session=%s open=0" % (a.bare, a.jid))
    if not to_self:
        assert child(b.until(lambda e: e.get("id") == "end-in"), "body") is not None
    still_works(s, connect)


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("full", [True, False])
def test_all_sessions_end_in_a_handler_of_what_they_get(s, connect, sessions, full):
    a, user = connect(s.account(), server=s, presence=""), s.account()
    them = [connect(user, server=s, presence="") for _ in range(sessions)]
    a.send("<message id='end-deliver' to='%s'><body>x</body></message>" % (
        them[0].jid if full else user.jid))
    ended(*them)
    s.wait_log(r"msg=looked .*id=end-deliver entity=%s" % user.jid)
    # It was for nobody any more.
    if full:
        a.until(lambda e: e.get("id") == "end-deliver" and e.get("type") == "error")
    else:
        late = connect(user, server=s, presence="")
        assert child(late.until(lambda e: e.get("id") == "end-deliver"), "body") is not None
    still_works(s, connect)


@pytest.mark.parametrize("what", [
    "<iq type='set' id='end-out'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    "<iq type='nonsense' id='end-out'/>",
    "<iq type='get' id='end-out' to='@@'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='end-out'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='end-out' to='nowhere.test'><ping xmlns='urn:xmpp:ping'/></iq>",
])
@pytest.mark.parametrize("sm", [False, True])
def test_a_session_ends_in_a_handler_of_an_answer_to_it(s, connect, what, sm):
    a = connect(s.account(), server=s, presence="")
    if sm:
        a.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        a.expect("enabled")
    a.send(what + "<presence/>" * 3)
    ended(a)
    s.wait_log(r"msg=looked .*id=end-out entity=%s session=%s open=0" % (a.bare, a.jid))
    still_works(s, connect)


def test_all_sessions_end_in_what_was_posted(s, connect):
    user = s.account()
    them = [connect(user, server=s, presence="") for _ in range(2)]
    them[0].send("<message id='end-post' to='%s'><body>x</body></message>" % user.jid)
    ended(*them)
    s.wait_log(r"msg=posted .*user=%s same=1" % user.jid)
    still_works(s, connect)


def test_what_nobody_took_waits_for_a_job(s, connect):
    """To an account, and to the host, whose home may be elsewhere."""
    for _ in range(4):
        c = connect(s.account(), server=s, presence="")
        for to in (s.domain + "/x", s.account().jid + "/x", c.bare + "/x"):
            error = c.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=to)
            assert child(child(error, "error"), "service-unavailable") is not None


# ---- while it opens ------------------------------------------------------------------


def opening(s, connect, user, resource="slow"):
    """A client that waits for its bind."""
    c = connect(server=s)
    c.account, c.domain = user, user.domain
    c.start()
    c.scram("SCRAM-SHA-1", user.user, user.password)
    before = s.log().count("session opens")
    c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
           "<resource>%s</resource></bind></iq>" % resource)
    s.wait_log(r"(?:msg=\"session opens\"[\s\S]*){%d}" % (before + 1))
    return c


def gate_opens(s, connect, user):
    """What waited ends, and then the resource is free."""
    open(s.gate, "w").close()
    connect(user, server=s, presence="").settle(user.jid)
    again = connect(user, "slow", server=s, presence="")
    again.ping()
    assert again.resource == "slow"


def test_a_stream_is_lost_while_its_session_opens(s, connect):
    """The clock of authentication ends it: input is not looked at."""
    user = s.account()
    c = opening(s, connect, user)
    c.expect_stream_error("connection-timeout")
    gate_opens(s, connect, user)
    still_works(s, connect)


def test_a_session_is_kicked_while_it_opens(s, connect):
    user = s.account()
    c = opening(s, connect, user)
    s.ctl("session", "kick", user.jid + "/slow")
    c.expect_closed()
    gate_opens(s, connect, user)
    still_works(s, connect)


def test_the_server_stops_while_a_session_opens(s, connect):
    c = opening(s, connect, s.account())
    t = threading.Thread(target=s.stop)
    t.start()
    c.expect_stream_error("system-shutdown")
    open(s.gate, "w").close()
    t.join()


@pytest.mark.parametrize("steps", ["nothing", "header", "authenticated", "restarted"])
def test_the_server_stops_before_a_resource_is_bound(s, connect, steps):
    user = s.account()
    for _ in range(4):                      # at home here and there
        c = connect(server=s)
        if steps == "nothing":
            c.connect()
            continue
        c.account, c.domain = user, user.domain
        c.start()
        if steps != "header":
            c.scram("SCRAM-SHA-1", user.user, user.password, restart=steps == "restarted")
        user = s.account()
    t = threading.Thread(target=s.stop)
    t.start()
    said = b""
    while True:                             # after <success/>, with a header of its own
        data = c.sock.recv(4096)
        if not data:
            break
        said += data
    t.join()
    assert b"<system-shutdown" in said


# ---- while a plugin stops -------------------------------------------------------------


def test_a_job_ends_when_its_plugin_has_stopped_everything_else(s, connect):
    """What it leaves then (a timer, a question, a request) ends too."""
    a = connect(s.account(), server=s, presence="")
    a.send("<iq type='get' id='late' to='%s'>%s</iq>" % (s.domain, LATE))
    s.wait_log(r'msg="work begins"')
    t = threading.Thread(target=s.ctl, args=("plugin", "stop", "ender"))
    t.start()
    s.wait_log(r'(?:msg="worker stops"[\s\S]*){2}')
    open(s.gate, "w").close()
    error = a.answer("late")
    assert error.get("type") == "error"
    assert child(child(error, "error"), "service-unavailable") is not None
    t.join()
    s.wait_log(r"msg=asked .*answer=0")
    # Longer than its timer: a login and whatever a worker does meanwhile.
    for _ in range(5):
        still_works(s, connect)
    assert "a timer of a stopped plugin fired" not in s.log()


# ---- every error there is -----------------------------------------------------

# RFC 6120 8.3.3, in its order (its numbers are the interface's), with the type that the
# RFC recommends there.
STANZA_ERRORS = [
    ("bad-request", "modify"), ("conflict", "cancel"), ("feature-not-implemented", "cancel"),
    ("forbidden", "auth"), ("gone", "cancel"), ("internal-server-error", "cancel"),
    ("item-not-found", "cancel"), ("jid-malformed", "modify"), ("not-acceptable", "modify"),
    ("not-allowed", "cancel"), ("not-authorized", "auth"), ("policy-violation", "modify"),
    ("recipient-unavailable", "wait"), ("redirect", "modify"), ("registration-required", "auth"),
    ("remote-server-not-found", "cancel"), ("remote-server-timeout", "wait"),
    ("resource-constraint", "wait"), ("service-unavailable", "cancel"),
    ("subscription-required", "auth"), ("undefined-condition", "cancel"),
    ("unexpected-request", "wait"),
]
# RFC 6120 4.9.3.
STREAM_ERRORS = [
    "bad-format", "bad-namespace-prefix", "conflict", "connection-timeout", "host-gone",
    "host-unknown", "improper-addressing", "internal-server-error", "invalid-from",
    "invalid-namespace", "invalid-xml", "not-authorized", "not-well-formed", "policy-violation",
    "remote-connection-failed", "reset", "resource-constraint", "restricted-xml",
    "system-shutdown", "undefined-condition", "unsupported-encoding", "unsupported-feature",
    "unsupported-stanza-type", "unsupported-version",
]


def error_of(el, condition, type_, words=None):
    assert el.get("type") == "error"
    error = child(el, "error", NS.CLIENT)
    inside = children(error, xmlns=NS.STANZAS)
    assert error.get("type") == type_ and name(inside[0]) == condition, to_str(el)
    assert [name(x) for x in inside[1:]] == (["text"] if words else [])
    assert text(error, "text", NS.STANZAS) == words


def test_each_stanza_error(s, connect):
    """RFC 6120 8.3: what a plugin refuses, for each kind of stanza that may be answered."""
    a = connect(s.account(), server=s, presence="")
    for number, (condition, type_) in enumerate(STANZA_ERRORS, 1):
        # Of one contact's errors to presence only the first is passed on (RFC 6121 4.2.2).
        to = "x%d@meerkat.test" % number
        for stanza in ("<message id='refuse-%d' to='%s'><body>x</body></message>",
                       "<iq id='refuse-%d' to='%s' type='set'><x xmlns='mk:x'/></iq>",
                       "<presence id='refuse-%d' to='%s'/>"):
            a.send(stanza % (number, to))
            e = a.until(lambda x: x.get("id") == "refuse-%d" % number)
            error_of(e, condition, type_, "as you <wish>")
            assert e.get("from") == to and e.get("to") == a.jid
    # 8.3.1: what is an error, or an answer, is refused in silence.
    a.send("<message id='refuse-1' to='x@meerkat.test' type='error'/>"
           "<iq id='refuse-1' to='x@meerkat.test' type='result'/>"
           "<presence id='refuse-1' to='x@meerkat.test' type='unavailable'/>")
    a.expect_nothing()


def test_what_a_handler_of_iqs_leaves_undone(s, connect):
    """Each request has an answer, whatever its handler does."""
    a = connect(s.account(), server=s, presence="")
    for word, condition, type_ in (("bad", "bad-request", "modify"),
                                   ("odd", "service-unavailable", "cancel"),
                                   ("broken", "internal-server-error", "wait")):
        error_of(a.iq("get", "<%s xmlns='urn:test:ender'/>" % word, to="meerkat.test"),
                 condition, type_)


def test_each_stream_error(s, connect):
    """RFC 6120 4.9: the error, its text, the end of the stream; nothing behind it."""
    user = s.account()
    for condition in STREAM_ERRORS:
        a = connect(user, server=s, presence="")
        a.send("<message id='stream-%s' to='x@meerkat.test'/><presence/>" % condition)
        with pytest.raises(StreamError) as e:
            while True:
                a.recv()
        assert (e.value.condition, e.value.text) == (condition, "as you <wish>")
        a.expect_end()


def test_see_other_host(s, connect):
    """4.9.3.19: where to, as the condition's text."""
    a = connect(s.account(), server=s, presence="")
    a.send("<message id='redirect' to='x@meerkat.test'/>")
    with pytest.raises(StreamError) as e:
        while True:
            a.recv()
    assert e.value.condition == "see-other-host"
    assert child(e.value.element, "see-other-host", NS.STREAMS).text == "other.test:5299"
    a.expect_end()
