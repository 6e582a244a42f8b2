"""S-08: telling who exists, and the price of passwords.
CVE-2021-32921; Prosody #1542. (Downgrades: wire/test_sasl.py.)
"""

import os
import time

import pytest

from mk import AuthFailed, NS, StreamClosed, to_str


def failure(c, how, user, password):
    with pytest.raises(AuthFailed) as e:
        how(user=user, password=password)
    return to_str(e.value.element)


def attempts(connect, account, mechanism, tries, n):
    """Times of failed attempts for each of the (user, password)."""
    times = {t: [] for t in tries}
    texts = set()
    for i in range(n):
        for t in tries:
            # A new connection each: there is a limit of attempts.
            with connect() as c:
                c.account = account
                c.start()
                how = c.plain if mechanism == "PLAIN" else \
                    lambda **kw: c.scram(mechanism, **kw)
                begun = time.perf_counter()
                texts.add(failure(c, how, *t))
                times[t].append(time.perf_counter() - begun)
    return times, texts


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_failures_look_the_same(account, connect, mechanism):
    a = account()
    tries = [(a.user, "wrong"), ("nobody-here", "wrong"), (a.user, a.password + "x"),
             (a.user, "x" * 200), ("x" * 200, "wrong")]
    _, texts = attempts(connect, a, mechanism, tries, 2)
    assert len(texts) == 1, texts


def test_failures_take_the_same_work(account, connect):
    """Coarse, since machines are noisy: a missing user costs as much as a wrong password, where
    that is expensive."""
    a = account()
    wrong, missing = (a.user, "wrong"), ("nobody-here", "wrong")
    times, _ = attempts(connect, a, "PLAIN", [wrong, missing], 25)
    # The shortest: what else the machine does only makes some longer.
    x, y = min(times[wrong]), min(times[missing])
    assert 0.5 < x / y < 2, (x, y)


def test_hashes_do_not_block_others(account, connect):
    """Passwords are checked in jobs: a chat goes on meanwhile."""
    a, b = connect(account(), presence=""), connect(account(), presence="")
    victim = account()
    attackers = []
    for _ in range(20):
        c = connect()
        c.account = victim
        c.start()
        attackers.append(c)
    for c in attackers:
        c.auth("PLAIN", ("\0%s\0wrong" % victim.user).encode())
    worst = 0
    for i in range(20):
        begun = time.perf_counter()
        a.message(b.jid, "x")
        b.expect("message")
        worst = max(worst, time.perf_counter() - begun)
    assert worst < 1, worst
    for c in attackers:
        with pytest.raises(AuthFailed):
            c.sasl_result()


def test_limit_of_hashes(make_server, connect):
    """Above the limit there is an answer, and it is not a wrong one."""
    s = make_server({"limits": {"password_hashes": 5}})
    a = s.account()
    conditions = set()
    for _ in range(10):
        c = connect(server=s)
        c.account = a
        c.start()
        for _ in range(3):
            try:
                c.plain(password="wrong")
            except AuthFailed as e:
                conditions.add(e.condition)
            except StreamClosed:
                break
    assert "not-authorized" in conditions
    assert conditions <= {"not-authorized", "temporary-auth-failure"}


def test_passwords_are_not_stored(make_server, connect):
    """Nor in the journal, nor in the log (S-21)."""
    s = make_server({"log": {"level": "debug"}})
    marker = "PlantedPassword-7f3a"
    a = s.account(password=marker)
    connect(a, server=s, mechanism="PLAIN")
    connect(a, server=s, mechanism="SCRAM-SHA-256")
    s.ctl("account", "password", a.jid, marker + "-2")
    s.stop()
    for folder, _, files in os.walk(s.folder):
        for f in files:
            path = os.path.join(folder, f)
            if os.path.isfile(path):
                with open(path, "rb") as x:
                    assert marker.encode() not in x.read(), path
