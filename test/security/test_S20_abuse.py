"""S-20: one user, logged in, who uses all that is given.
MongooseIM #2444, #2445 and others.
"""

import os
import signal
import time

import pytest

from mk import NS, StreamClosed, child, name, text


def test_rate_limit_slows_only_the_abuser(make_server, connect):
    s = make_server({"limits": {"stanza_rate": 100, "stanza_burst": 100}})
    noisy, other = connect(s.account(), server=s), connect(s.account(), server=s)
    begun = time.monotonic()
    n = 300
    noisy.send("".join("<iq type='get' id='n%d'><ping xmlns='urn:xmpp:ping'/></iq>" % i
                       for i in range(n)))
    other.ping()
    assert time.monotonic() - begun < 1
    for i in range(n):
        noisy.expect("iq", id="n%d" % i)
    assert time.monotonic() - begun > 1, "300 stanzas at 100 a second, the first 100 at once"


def stop(s):
    """Until SIGCONT; when this returns, all of its threads stand still."""
    os.kill(s.pid, signal.SIGSTOP)
    folder = "/proc/%d/task" % s.pid
    deadline = time.monotonic() + 20
    while True:
        states = [open("%s/%s/stat" % (folder, t)).read().rsplit(")", 1)[1].split()[0]
                  for t in os.listdir(folder)]
        if set(states) == {"T"}:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.001)


@pytest.mark.parametrize("limits,most", [({"turn_stanzas": 50}, 150), ({"turn_bytes": "1KB"}, 80)])
def test_nobody_has_more_than_a_turn_at_once(make_server, connect, limits, most):
    """Whoever sent much at once is interrupted for those who sent little meanwhile."""
    s = make_server({"limits": limits, "server": {"workers": 1}})
    to = connect(s.account(), server=s)
    noisy = [connect(server=s).connect(s.port_plain) for _ in range(2)]
    for c in noisy:
        c.account = s.account()
        c.open()
        c.plain()
        c.bind()
    n, one = 500, "<message to='%s' id='%s'><x xmlns='mk:x' a='%s'/></message>"
    for k in range(2):
        # They are all there before the server looks; in either order.
        stop(s)
        noisy[k].send("".join(one % (to.jid, "n%d" % i, "x" * 40) for i in range(n)))
        noisy[1 - k].send(one % (to.jid, "other", ""))
        os.kill(s.pid, signal.SIGCONT)
        ids = [to.expect("message").get("id") for _ in range(n + 1)]
        assert ids.index("other") < most
        ids.remove("other")
        assert ids == ["n%d" % i for i in range(n)]


def test_byte_rate(make_server, connect):
    s = make_server({"limits": {"byte_rate": "100KB", "byte_burst": "100KB"}})
    noisy = connect(s.account(), server=s)
    begun = time.monotonic()
    for _ in range(10):
        noisy.message(noisy.jid, "x" * 40000)
    for _ in range(10):
        noisy.expect("message", timeout=20)
    assert time.monotonic() - begun > 1.5, "400 KB at 100 KB a second, the first 100 at once"


def test_a_listener_has_rates_of_its_own(make_server, connect):
    """Its shaper's instead of those of limits; other listeners keep these."""
    s = make_server(start=False)
    s.config["limits"].update({"byte_rate": "100KB", "stanza_rate": 1000})
    s.config["shapers"] = {"slow": {"stanza_rate": 20}, "bytes": {"byte_rate": "50KB"}}
    s.config["listeners"][0]["shaper"] = "slow"
    s.config["listeners"][1]["shaper"] = "bytes"
    s.start()
    slow = connect(s.account(), server=s)
    begun = time.monotonic()
    slow.send("".join("<iq type='get' id='n%d'><ping xmlns='urn:xmpp:ping'/></iq>" % i
                      for i in range(60)))
    for i in range(60):
        slow.expect("iq", id="n%d" % i)
    assert time.monotonic() - begun > 1, "60 stanzas at 20 a second, the first 20 at once"
    # No limit of bytes is left for it.
    begun = time.monotonic()
    for _ in range(10):
        slow.message(slow.jid, "x" * 40000)
    for _ in range(10):
        slow.expect("message", timeout=20)
    assert time.monotonic() - begun < 1.5, "400 KB, 10 stanzas"
    thin = connect(s.account(), server=s, tls="direct")
    begun = time.monotonic()
    for _ in range(5):
        thin.message(thin.jid, "x" * 40000)
    for _ in range(5):
        thin.expect("message", timeout=20)
    assert time.monotonic() - begun > 2, "200 KB at 50 KB a second, the first 50 at once"
    # Other rates: for those who come from now on.
    s.config["shapers"] = {"slow": {}, "bytes": {}}
    s.write_config()
    s.ctl("reload")
    quick = connect(s.account(), server=s)
    begun = time.monotonic()
    quick.send("".join("<iq type='get' id='n%d'><ping xmlns='urn:xmpp:ping'/></iq>" % i
                       for i in range(60)))
    for i in range(60):
        quick.expect("iq", id="n%d" % i)
    assert time.monotonic() - begun < 1
    slow.ping()


def test_offline_messages_have_a_limit(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"offline": {"max_messages": 10}}}}})
    a = s.account()
    sender = connect(s.account(), server=s)
    for i in range(15):
        sender.message(a.jid, str(i))
    errors = [e for e in sender.settle(a.jid) if e.get("type") == "error"]
    assert len(errors) == 5
    assert {name(child(e, "error")[0]) for e in errors} <= {"service-unavailable",
                                                            "resource-constraint"}
    c = connect(a, server=s)
    c.available(wait=False)
    got = [c.until(lambda e: name(e) == "message") for _ in range(10)]
    assert [text(m, "body") for m in got] == [str(i) for i in range(10)]


def test_roster_has_a_limit(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"roster": {"max_items": 20}}}}})
    c = connect(s.account(), server=s)
    results = [c.iq("set", "<query xmlns='jabber:iq:roster'><item jid='c%d@meerkat.test'/></query>" % i)
               .get("type") for i in range(25)]
    assert results == ["result"] * 20 + ["error"] * 5
    assert len(c.roster()) == 20


def test_nothing_is_interned_for_ever(make_server, connect):
    """Names that never come again leave nothing behind."""
    s = make_server()
    c = connect(s.account(), server=s)

    def many(round_):
        for i in range(2000):
            n = "%d-%d" % (round_, i)
            c.send("<message to='u%s@meerkat.test/r%s' type='headline'><x%s xmlns='mk:%s' a%s='1'/>"
                   "</message>" % (n, n, n, n, n))
        c.barrier()
    for i in range(3):
        many(i)
    before = s.rss()
    for i in range(3, 8):
        many(i)
    assert s.rss() - before < 3 << 20 or s.sanitized, s.rss() - before
