"""S-03: compression bombs, and what compression gives away. CVE-2014-2741, CVE-2014-2829,
CVE-2014-2744, CVE-2014-2745, CVE-2014-2742, CVE-2014-2746, CVE-2014-8760.

There is no stream compression (XEP-0138): none is offered, none can be had, before login or
after. (Nor of WebSocket messages: test_websocket.py.)
"""

import zlib

import pytest

from mk import StreamClosed, StreamError, children, name, to_str

COMPRESS = "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"


def offers_none(c):
    for feature in children(c.features):
        assert "compress" not in to_str(feature), to_str(feature)


@pytest.mark.parametrize("state", ["header", "tls", "authed", "bound"])
def test_none_is_offered_and_none_is_had(account, connect, server, state):
    """CVE-2014-2744 was before login, CVE-2014-8760 around the need for TLS."""
    c = connect()
    c.account = account()
    c.connect()
    c.open()
    offers_none(c)
    if state != "header":
        c.starttls()
        offers_none(c)
    if state in ("authed", "bound"):
        c.plain()
        offers_none(c)
    if state == "bound":
        c.bind()
    bomb = zlib.compress(b" " * 10000000, 9)
    assert len(bomb) < 20000
    before = server.rss()
    c.send(COMPRESS)
    try:
        c.send(bomb)
    except OSError:
        pass                           # the stream ended at the first element
    with pytest.raises((StreamClosed, OSError)) as e:
        while True:
            el = c.recv()
            assert name(el) != "compressed", to_str(el)
    if isinstance(e.value, StreamError):
        assert e.value.condition in ("not-authorized", "unsupported-stanza-type",
                                     "policy-violation")
    assert server.rss() - before < 4000000 or server.sanitized
    other = connect(account())
    other.ping()
