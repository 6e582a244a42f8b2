"""Domains: rows that point at a host type, added and removed on a running server."""

import json
import os
import subprocess
import threading
import time

import pytest

from mk import AuthFailed, StreamClosed, StreamError, child, name, text


@pytest.fixture
def s(make_server):
    return make_server()


def plain(connect, s, account, domain):
    """Over the listener without TLS: an added domain has no certificate of its own."""
    c = connect(server=s, domain=domain)
    c.account = account
    c.connect(s.port_plain)
    c.open()
    c.plain()
    c.bind()
    return c


def domains(s):
    return {d["domain"]: d for d in s.ctl_json("domain", "list")}


def test_static_ones_are_listed(s):
    d = domains(s)
    assert d["meerkat.test"]["type"] == "people" and d["meerkat.test"]["static"]
    assert d["meerkat.test"]["enabled"]


def test_life_of_a_domain(s, connect):
    assert s.ctl("account", "register", "a@new.test", "x", check=False).returncode != 0
    with pytest.raises(StreamError) as e:
        connect(server=s, domain="new.test").connect(s.port_plain).open()
    assert e.value.condition == "host-unknown"

    s.ctl("domain", "add", "new.test", "people")
    a = s.account(domain="new.test")
    b = s.account()
    c = plain(connect, s, a, "new.test")
    other = connect(b, server=s, presence="")
    c.message(other.jid, "hello")
    assert text(other.until(lambda m: name(m) == "message"), "body") == "hello"

    s.ctl("domain", "disable", "new.test")
    with pytest.raises(StreamClosed) as e:
        c.recv()
    assert not isinstance(e.value, StreamError) or e.value.condition in (
        "host-gone", "host-unknown", "policy-violation", "not-authorized")
    with pytest.raises(StreamError) as e:
        connect(server=s, domain="new.test").connect(s.port_plain).open()
    assert e.value.condition in ("host-unknown", "host-gone")
    id_ = other.message(a.jid, "anybody there?")
    e = other.until(lambda m: m.get("id") == id_)
    assert e.get("type") == "error"

    s.ctl("domain", "enable", "new.test")
    plain(connect, s, a, "new.test").close()

    s.ctl("domain", "remove", "new.test")
    assert "new.test" not in domains(s)
    # The data went as well: added again, it is empty.
    s.ctl("domain", "add", "new.test", "people")
    with pytest.raises(AuthFailed):
        plain(connect, s, a, "new.test")


def test_domains_outlive_a_restart(s, connect):
    s.ctl("domain", "add", "kept.test", "people")
    s.ctl("domain", "add", "disabled.test", "people")
    s.ctl("domain", "disable", "disabled.test")
    a = s.account(domain="kept.test")
    s.restart()
    plain(connect, s, a, "kept.test")
    assert not domains(s)["disabled.test"]["enabled"]


@pytest.mark.parametrize("words,complaint", [
    (("add", "meerkat.test", "people"), "already"), (("add", "x.test", "no-such-type"), "type"),
    (("remove", "meerkat.test"), "configuration"), (("disable", "meerkat.test"), "configuration"),
    (("remove", "no-such.test"), "no domain"), (("add", "a b", "people"), ""),
    (("add", "user@x.test", "people"), ""), (("add", "", "people"), ""),
])
def test_refusals_say_why(s, words, complaint):
    p = s.ctl("domain", *words, check=False)
    assert p.returncode != 0
    assert complaint in p.stdout + p.stderr


def run_import(s, text, *words):
    return subprocess.run([os.path.join(s.build, "meerkatctl"), "-s", s.path("ctl"), "domain",
                           "import", *words, "--json"], input=text, capture_output=True,
                          text=True, timeout=300)


def test_many_are_imported_at_once(s):
    assert s.ctl_json("domain", "import", "people", "a.test", "B.Test", "meerkat.test") == [
        {"added": 2, "there_already": 1}]
    assert domains(s)["b.test"]["type"] == "people"
    p = run_import(s, "c.test\n\n  d.test  \r\na.test\nc.test\n", "strangers", "-")
    assert json.loads(p.stdout) == [{"added": 2, "there_already": 2}]
    assert domains(s)["d.test"]["type"] == "strangers"
    # Nothing of a request that has a mistake.
    p = run_import(s, "e.test\nx@y.test\nf.test\n", "people", "-")
    assert p.returncode == 1 and "no domain: x@y.test" in p.stderr
    assert "e.test" not in domains(s)
    assert run_import(s, "e.test\n", "nobody", "-").returncode == 1
    assert json.loads(run_import(s, "", "people", "-").stdout) == [
        {"added": 0, "there_already": 0}]


def test_the_list_is_in_order_and_in_pages(s):
    s.ctl("domain", "import", "strangers", *("page%d.test" % i for i in range(5)))
    names = [d["domain"] for d in s.ctl_json("domain", "list")]
    assert names == sorted(names)
    page = s.ctl_json("domain", "list", "strangers", "--after", "page1.test", "--limit", 2)
    assert [d["domain"] for d in page] == ["page2.test", "page3.test"]


def test_removing_may_keep_the_data(s, connect):
    s.ctl("domain", "add", "moved.test", "people")
    a = s.account(domain="moved.test")
    assert s.ctl_json("domain", "remove", "moved.test", "--keep-data") == [{"rows": 0}]
    s.ctl("domain", "add", "moved.test", "people")
    plain(connect, s, a, "moved.test")
    assert s.ctl_json("domain", "remove", "moved.test")[0]["rows"] >= 1
    s.restart()
    assert "moved.test" not in domains(s)


def test_a_stream_that_is_not_bound_yet_can_not_bind(s, connect):
    s.ctl("domain", "add", "half.test", "people")
    c = connect(server=s, domain="half.test")
    c.account = s.account(domain="half.test")
    c.connect(s.port_plain)
    c.open()
    c.plain()
    s.ctl("domain", "disable", "half.test")
    with pytest.raises((AssertionError, StreamClosed)):
        c.bind()


def test_a_certificate_is_not_needed_to_be_routed_to(s, connect):
    """Users of two domains, one of them added a moment ago, on two workers."""
    s.ctl("domain", "add", "fresh.test", "strangers")
    a, b = s.account(domain="fresh.test"), s.account()
    x = plain(connect, s, a, "fresh.test").available()
    y = connect(b, server=s, presence="")
    for _ in range(3):
        x.message(y.jid, "to")
        assert text(y.until(lambda m: name(m) == "message"), "body") == "to"
        y.message(x.jid, "fro")
        assert text(x.until(lambda m: name(m) == "message"), "body") == "fro"


def test_changes_by_many_hands_at_once(s):
    """Adding, disabling, removing and listing the same names from several sides: what is
    effective is what is stored."""
    def work(n):
        for i in range(12):
            for words in (("add", "x%d.test" % (i % 3), "people"),
                          ("disable", "x%d.test" % (i % 3)), ("list",),
                          ("enable", "x%d.test" % (i % 3)), ("remove", "x%d.test" % (i % 3))):
                if (n + i) % 4 or words[0] != "remove":
                    s.ctl("domain", *words, check=False)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    before = domains(s)
    s.restart()
    assert domains(s) == before


def test_a_hundred_thousand(s, connect):
    """In seconds, kept over a restart that stays short, and nothing else gets slower."""
    begun = time.monotonic()
    p = run_import(s, "".join("d%d.example\n" % i for i in range(100000)), "people", "-")
    assert json.loads(p.stdout) == [{"added": 100000, "there_already": 0}]
    assert time.monotonic() - begun < 60
    a = s.account(domain="d77777.example")
    plain(connect, s, a, "d77777.example").ping()
    s.restart()
    assert s.ctl_json("domain", "count") == [{"count": 100004}]
    plain(connect, s, a, "d77777.example").ping()
    s.ctl("domain", "remove", "d0.example")
    assert s.ctl_json("domain", "count") == [{"count": 100003}]


def test_host_types_are_worlds_of_their_own(s, connect):
    """The same name on another host type is another account."""
    a = s.account(user="same", domain=s.domain, password="one")
    b = s.account(user="same", domain=s.strange, password="two")
    connect(a, server=s)
    connect(b, server=s, domain=s.strange)
    with pytest.raises(AuthFailed):
        c = connect(server=s, domain=s.strange)
        c.account = b
        c.start()
        c.plain(password="one")


def test_many_domains_cost_nothing(s, connect):
    """Logins and chat as before (the benchmark tells to the instruction)."""
    for i in range(40):
        s.ctl("domain", "add", "d%d.test" % i, "people")
    assert s.ctl_json("domain", "count")[0]["count"] >= 44
    a = s.account(domain="d39.test")
    c = plain(connect, s, a, "d39.test")
    c.ping()
