"""RFC 6120 5: STARTTLS; XEP-0368: direct TLS."""

import ssl

import pytest

from mk import NS, StreamClosed, StreamError, child, name


def test_starttls_is_required(connect):
    c = connect().connect()
    features = c.open()
    tls = child(features, "starttls", NS.TLS)
    assert tls is not None and child(tls, "required", NS.TLS) is not None
    # 5.3.1, 6.4.1: nothing that can't be had yet is offered
    assert [name(f) for f in features] == ["starttls"]


def test_starttls(account, connect):
    c = connect(account())
    assert c.sock.version() in ("TLSv1.2", "TLSv1.3")
    c.ping()


def test_no_starttls_under_tls(connect):
    c = connect()
    c.start()
    assert child(c.features, "starttls", NS.TLS) is None
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect_closed()


def test_header_of_the_second_stream_is_new(connect):
    c = connect().connect()
    c.open()
    first = c.header["id"]
    c.starttls()
    assert c.header["id"] != first


def test_other_domain_after_starttls(account, connect):
    """Nothing of the first stream is kept, not its domain either."""
    c = connect().connect()
    c.open()
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect("proceed", NS.TLS)
    c.tls()
    c.domain = "second.test"
    c.open()
    c.account = account(domain="second.test")
    c.plain()
    assert c.bind().split("/")[0] == c.account.jid


@pytest.mark.parametrize("after", [
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
    "x", "\x16\x03\x01", "<iq/>", "</stream:stream>",
])
def test_pipelined_bytes_after_starttls(connect, after):
    """What follows <starttls/> in the clear never reaches the stream under TLS: the
    connection ends (S-04)."""
    c = connect().connect()
    c.open()
    c.send("<starttls xmlns='%s'/>%s" % (NS.TLS, after))
    with pytest.raises((StreamClosed, ssl.SSLError, ConnectionError)):
        c.expect("proceed", NS.TLS)
        c.tls()
        c.open()


@pytest.mark.parametrize("data", [
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><x/></starttls>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>text</starttls>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>",
])
def test_starttls_with_content(connect, data):
    """Either it is taken or refused (5.4.2.2: failure and the end of the stream)."""
    c = connect().connect()
    c.open()
    c.send(data)
    el = c.recv()
    assert name(el) in ("proceed", "failure")
    if name(el) == "failure":
        c.expect_closed()


def test_starttls_in_the_wrong_namespace(connect):
    c = connect().connect()
    c.open()
    c.send("<starttls/>")
    with pytest.raises(StreamError):
        c.recv()


def test_failed_handshake_ends_the_connection(connect, server):
    c = connect().connect()
    c.open()
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect("proceed", NS.TLS)
    c.send(b"this is no ClientHello at all\r\n" * 10)
    c.sock.settimeout(10)
    try:
        while c.sock.recv(4096):
            pass
    except ConnectionError:
        pass
    connect().start()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(account, connect, version):
    c = connect()
    c.account = account()
    c.connect()
    c.open()
    c.starttls(minimum=version, maximum=version)
    assert c.sock.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2"}.get(version, "TLSv1.3")
    c.scram()
    c.bind()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(connect, server):
    c = connect().connect()
    c.open()
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect("proceed", NS.TLS)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.wrap_socket(c.sock, server_hostname=c.domain)


# ---- direct TLS ----------------------------------------------------------------

def test_direct_tls(account, connect):
    c = connect(account(), tls="direct")
    assert c.sock.selected_alpn_protocol() == "xmpp-client"
    c.ping()


def test_direct_tls_without_alpn(connect):
    """XEP-0368 1.1: ALPN is a SHOULD."""
    c = connect()
    c.connect_tls(alpn=None)
    c.open()
    assert c.mechanisms


@pytest.mark.parametrize("protocols", [["http/1.1"], ["xmpp-server"], ["h2", "http/1.1"]])
def test_wrong_alpn(connect, protocols):
    c = connect()
    with pytest.raises((ssl.SSLError, ConnectionError, StreamClosed)):
        c.connect_tls(alpn=protocols)
        c.open()


def test_alpn_among_others(connect):
    c = connect()
    c.connect_tls(alpn=["http/1.1", "xmpp-client"])
    assert c.sock.selected_alpn_protocol() == "xmpp-client"
    c.open()


def test_no_starttls_over_direct_tls(connect):
    c = connect()
    c.connect_tls()
    c.open()
    assert child(c.features, "starttls", NS.TLS) is None


def test_plain_text_to_direct_tls(connect, server):
    c = connect()
    c.connect(server.port_tls)
    c.send(c.stream_header())
    c.sock.settimeout(10)
    # An alert or an end, but no stream.
    data = b""
    try:
        while True:
            part = c.sock.recv(4096)
            if not part:
                break
            data += part
    except ConnectionError:
        pass
    assert b"stream" not in data


# ---- certificates (SNI) ----------------------------------------------------------

@pytest.fixture
def two_certificates(make_server):
    from mk import certs
    s = make_server(start=False)
    a, b = certs.make(s.path("a"), "meerkat.test"), certs.make(s.path("b"), "second.test")
    s.config["domains"] = {"meerkat.test": {"type": "people", "certificate": a},
                           "second.test": {"type": "people", "certificate": b}}
    both = s.path("both.pem")
    with open(both, "w") as out:
        for folder in (a, b):
            with open(folder + "/fullchain.pem") as f:
                out.write(f.read())
    s.cafile = both
    return s.start()


@pytest.mark.parametrize("domain", ["meerkat.test", "second.test"])
@pytest.mark.parametrize("tls", ["starttls", "direct"])
def test_certificate_by_name(two_certificates, connect, domain, tls):
    c = connect(server=two_certificates, domain=domain)
    c.start(tls=tls)      # verifies the name
    assert c.mechanisms


@pytest.mark.parametrize("domain", ["meerkat.test", "second.test"])
def test_certificate_without_sni_is_that_of_the_stream(two_certificates, connect, domain):
    c = connect(server=two_certificates, domain=domain).connect()
    c.open()
    c.send("<starttls xmlns='%s'/>" % NS.TLS)
    c.expect("proceed", NS.TLS)
    c.tls(sni="")
    names = [v for k, v in c.sock.getpeercert()["subjectAltName"]]
    assert names == [domain]


def test_new_certificate_without_a_dropped_session(two_certificates, connect):
    from mk import certs
    s = two_certificates
    old = connect(s.account(), server=s)
    serial = old.sock.getpeercert()["serialNumber"]
    certs.make(s.path("a"), "meerkat.test")
    s.ctl("reload")
    with open(s.path("a", "fullchain.pem")) as f, open(s.cafile, "a") as out:
        out.write(f.read())
    new = connect(server=s)
    new.start()
    assert new.sock.getpeercert()["serialNumber"] != serial
    old.ping()


def test_bad_new_certificate_leaves_the_old_one(two_certificates, connect):
    s = two_certificates
    with open(s.path("a", "fullchain.pem"), "w") as f:
        f.write("nonsense")
    assert s.ctl("reload", check=False).returncode != 0
    connect(server=s).start()
