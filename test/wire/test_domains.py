"""Domains: rows that point at a host type, added and removed on a running server."""

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
