"""XEP-0202: the server's time."""

import datetime
import re
import time

import pytest

from mk import NS, child, children, name, text

TIME = "urn:xmpp:time"


def ask(c, to="meerkat.test"):
    a = c.iq("get", "<time xmlns='%s'/>" % TIME, to=to)
    assert a.get("type") == "result"
    return child(a, "time", TIME)


@pytest.mark.parametrize("to", ["meerkat.test", None])
def test_time(account, connect, to):
    """3: tzo and utc, both required, as XEP-0082 writes them."""
    c = connect(account())
    before = time.time()
    t = ask(c, to)
    after = time.time()
    utc = text(t, "utc", TIME)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", utc)
    told = datetime.datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp()
    assert before - 0.01 <= told <= after + 0.01
    assert re.fullmatch(r"Z|[+-]\d\d:\d\d", text(t, "tzo", TIME))


@pytest.mark.parametrize("tz,tzo", [
    ("UTC0", "Z"), ("XYZ6", "-06:00"), ("XYZ-5:30", "+05:30"), ("XYZ3:30", "-03:30")])
def test_zone(make_server, connect, tz, tzo):
    s = make_server(env={"TZ": tz})
    assert text(ask(connect(s.account(), server=s)), "tzo", TIME) == tzo


def test_nothing_can_be_set(account, connect):
    a = connect(account()).iq("set", "<time xmlns='%s'/>" % TIME, to="meerkat.test")
    assert name(child(a, "error")[0]) == "service-unavailable"


def test_feature(account, connect):
    """4"""
    c = connect(account())
    q = child(c.iq("get", "<query xmlns='%s'/>" % NS.DISCO_INFO, to="meerkat.test"), "query")
    assert TIME in {f.get("var") for f in children(q, "feature")}
