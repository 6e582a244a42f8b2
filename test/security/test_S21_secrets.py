"""S-21: secrets in logs, in answers of the tools, in traces."""

import base64

import pytest

from mk import AuthFailed, NS, StreamClosed

MARKER = "PlantedSecret-c41d"


def test_logs_at_every_level(make_server, connect):
    s = make_server({"log": {"level": "debug"}})
    a = s.account(password=MARKER)
    b = connect(a, server=s, mechanism="PLAIN", presence="")
    c = connect(server=s)
    c.account = a
    c.start()
    with pytest.raises(AuthFailed):
        c.plain(password=MARKER + "-wrong")
    c.scram("SCRAM-SHA-512")
    # Malformed requests are logged, but not their data.
    c2 = connect(server=s)
    c2.account = a
    c2.start()
    c2.auth("PLAIN", ("\0%s\0%s\0x" % (a.user, MARKER)).encode())
    c2.recv()
    c2.send("<auth xmlns='%s' mechanism='PLAIN'><x>%s</x></auth>" % (NS.SASL, MARKER))
    try:
        c2.recv()
    except StreamClosed:
        pass
    b.message(b.jid, "a private text-9981")
    b.expect("message")
    s.stop()
    log = s.log()
    assert MARKER not in log
    assert "private text-9981" not in log, "bodies are nobody's business"
    assert base64.b64encode(("\0%s\0%s" % (a.user, MARKER)).encode()).decode()[:20] not in log


def test_tools_do_not_show_them(make_server):
    s = make_server()
    a = s.account(password=MARKER)
    for words in (("account", "list", s.domain), ("session", "list"), ("stats",), ("metrics",)):
        p = s.ctl(*words, check=False)
        assert MARKER not in p.stdout + p.stderr
    bad = s.ctl("account", "register", a.jid, MARKER, check=False)
    assert bad.returncode != 0 and MARKER not in bad.stdout + bad.stderr
