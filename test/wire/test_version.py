"""XEP-0092: the server's version."""

import re

import pytest

from mk import NS, child, children, name

VERSION = "jabber:iq:version"
QUERY = "<query xmlns='%s'/>" % VERSION


def version(c, to="meerkat.test"):
    a = c.iq("get", QUERY, to=to)
    assert a.get("type") == "result" and a.get("from") == to
    q = child(a, "query", VERSION)
    return {name(e): e.text for e in q}


@pytest.mark.parametrize("to", ["meerkat.test", None])
def test_version(account, connect, to):
    """2: name and version are required."""
    v = version(connect(account()), to)
    assert v["name"] == "Meerkat" and re.match(r"\d+\.\d+", v["version"])
    assert "os" not in v


def test_os_is_told_if_wanted(make_server, connect):
    s = make_server({"host_types": {"people": {"plugins": {"version": {
        "show_os": True, "show_version": False}}}}})
    c = connect(s.account(), server=s)
    v = version(c)
    assert v["os"].startswith("Linux ") and v["version"] == "unknown"
    s.config["host_types"]["people"]["plugins"]["version"] = {}
    s.write_config()
    s.ctl("reload")
    v = version(c)
    assert "os" not in v and v["version"] != "unknown"


def test_nothing_can_be_set(account, connect):
    a = connect(account()).iq("set", QUERY, to="meerkat.test")
    assert name(child(a, "error")[0]) == "service-unavailable"


def test_feature(account, connect):
    """4"""
    c = connect(account())
    q = child(c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test"), "query")
    assert VERSION in {f.get("var") for f in children(q, "feature")}
