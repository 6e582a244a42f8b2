"""S-06: who somebody is, after authentication.
CVE-2020-8086, CVE-2017-10807, CVE-2016-7144, CVE-2021-39215, CVE-2007-5469, CVE-2013-6483,
CVE-2024-46957, and the advisories of ejabberd 25.04 and 26.07.
"""

import pytest

from mk import AuthFailed, NS, StreamClosed, StreamError, child, children, fence, name, to_str


@pytest.mark.parametrize("target", ["other", "same name elsewhere", "server", "resource"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_login_as_one_and_be_another(account, connect, mechanism, target):
    a, victim = account(), account()
    authzid = {"other": victim.jid, "same name elsewhere": a.user + "@second.test",
               "server": "meerkat.test", "resource": a.jid + "/x"}[target]
    c = connect()
    c.account = a
    c.start()
    with pytest.raises(AuthFailed):
        if mechanism == "PLAIN":
            c.plain(authzid=authzid)
        else:
            c.scram(mechanism, authzid=authzid)


def test_bind_of_another_ones_jid(account, connect):
    """A resource is a resource, whatever it looks like."""
    a, victim = account(), account()
    c = connect()
    c.account = a
    c.start()
    c.plain()
    jid = c.bind(victim.jid + "/x")
    assert jid.startswith(a.jid + "/")


@pytest.mark.parametrize("stanza", ["message", "presence", "iq"])
def test_spoofed_from(account, connect, stanza):
    a, victim, target = account(), account(), connect(account(), presence="")
    for from_ in (victim.jid, victim.jid + "/x", "meerkat.test", target.bare, target.jid):
        c = connect(a)
        c.send("<%s from='%s' to='%s' id='s' %s><q xmlns='mk:q'/></%s>" % (
            stanza, from_, target.jid, "type='get'" if stanza == "iq" else "", stanza))
        c.expect_stream_error("invalid-from")
    target.expect_nothing()


SPOOFED = {
    "stanza-id": "<stanza-id xmlns='urn:xmpp:sid:0' id='spoofed' by='%(bare)s'/>",
}


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("what", SPOOFED)
def test_elements_that_only_the_server_writes(pair, what, count):
    """Stripped until none is left (XEP-0359 6)."""
    a, b = pair
    a.message(b.bare, "x", more=(SPOOFED[what] % {"bare": b.bare}) * count)
    m = b.expect("message")
    assert not [s for s in children(m, "stanza-id", NS.SID) if s.get("id") == "spoofed"], to_str(m)


def test_stanza_ids_of_others_are_kept(pair):
    """What does not claim to be ours is none of our business."""
    a, b = pair
    a.message(b.jid, "x", more="<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='room@elsewhere.test'/>")
    m = b.expect("message")
    assert [s.get("id") for s in children(m, "stanza-id", NS.SID)
            if s.get("by") == "room@elsewhere.test"] == ["1"]


def test_answers_of_somebody_else(pair, account, connect):
    """CVE-2024-46957: an answer comes from whom was asked."""
    a, b = pair
    c = connect(account(), presence="")
    a.send("<iq type='get' id='secret' to='%s'><q xmlns='mk:q'/></iq>" % b.jid)
    b.expect("iq", id="secret")
    c.send("<iq type='result' id='secret' to='%s'><q xmlns='mk:q'>forged</q></iq>" % a.jid)
    got, _ = fence(c, a)
    for g in got:
        assert g.get("from") == c.jid


# ---- resumption (XEP-0198) ---------------------------------------------------------

def enable(c):
    c.send("<enable xmlns='%s' resume='true'/>" % NS.SM)
    e = c.expect("enabled", NS.SM)
    assert e.get("id") and e.get("resume") in ("true", "1")
    return e.get("id")


def resume(c, id_, h=0):
    c.send("<resume xmlns='%s' previd='%s' h='%d'/>" % (NS.SM, id_, h))
    return c.recv()


def authed(connect, account):
    c = connect(domain=account.domain)
    c.account = account
    c.start()
    c.scram()
    return c


def test_resumption_of_anothers_session(account, connect):
    a, b = account(), account()
    c = connect(a)
    id_ = enable(c)
    c.kill()
    thief = authed(connect, b)
    assert name(resume(thief, id_)) == "failed"
    thief.bind()
    thief.ping()
    # The owner still can.
    owner = authed(connect, a)
    assert name(resume(owner, id_)) == "resumed"


def test_resumption_from_another_domain(account, connect, server):
    """Same name, other domain: another person."""
    a = account()
    b = server.account(user=a.user, domain=server.other, password="another")
    c = connect(a)
    id_ = enable(c)
    c.kill()
    thief = authed(connect, b)
    assert name(resume(thief, id_)) == "failed"


def test_resumption_before_login(connect, account):
    c = connect(account())
    id_ = enable(c)
    stranger = connect()
    stranger.start()
    stranger.send("<resume xmlns='%s' previd='%s' h='0'/>" % (NS.SM, id_))
    try:
        assert name(stranger.recv()) == "failed"
    except StreamClosed:
        pass
    c.ping()


def test_resumption_twice_at_once(account, connect):
    """Exactly one wins, the other ends."""
    a = account()
    c = connect(a)
    id_ = enable(c)
    c.kill()
    rivals = [authed(connect, a) for _ in range(4)]
    for r in rivals:
        r.send("<resume xmlns='%s' previd='%s' h='0'/>" % (NS.SM, id_))
    alive = []
    for r in rivals:
        try:
            if name(r.recv()) == "resumed":
                alive.append(r)
        except StreamClosed:
            pass
    assert alive
    working = 0
    for r in alive:
        try:
            r.ping()
            working += 1
        except (StreamClosed, OSError):
            pass
    assert working == 1


@pytest.mark.parametrize("mangle", [
    lambda i: "", lambda i: i[:-1], lambda i: i + "x", lambda i: i.swapcase(), lambda i: "x" * 5000,
    lambda i: "x" * len(i), lambda i: "&#233;", lambda i: i[::-1],
])
def test_guessed_resumption(account, connect, mangle):
    a = account()
    c = connect(a)
    id_ = enable(c)
    c.kill()
    wrong = mangle(id_)
    thief = authed(connect, a)
    if wrong == id_:
        pytest.skip("the same id")
    assert name(resume(thief, wrong)) == "failed"
    thief.bind()


def test_tokens_are_long_and_differ(account, connect):
    a = account()
    ids = set()
    for _ in range(8):
        ids.add(enable(connect(a)))
    assert len(ids) == 8
    # 128 bits in base64 are 22 characters.
    assert all(len(i) >= 22 for i in ids)


@pytest.mark.parametrize("sasl2", [False, True])
def test_an_account_that_is_gone_binds_nothing(make_server, connect, sasl2):
    """Whoever logged in, and waits with the rest until the account has been removed, is
    nobody then."""
    s = make_server()
    for _ in range(3):
        c = connect(server=s)
        c.account = s.account()
        c.start()
        if sasl2:
            c.sasl2()
        else:
            c.plain()
        s.ctl("account", "unregister", c.account.jid)
        c.expect_stream_error("not-authorized")
