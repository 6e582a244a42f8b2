"""Two users chat in a page: chromium without a screen, strophe.js, WebSocket."""

import json

import pytest

import mk
from mk import name, text
from mk.browser import Browser, Pages, missing, strophe

PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>chat</title>
<script src="/strophe.js"></script>
<script>
window.seen = [];
window.people = {};
function join(who, jid, password, url) {
	const c = new Strophe.Connection(url);
	people[who] = { c: c, status: [], got: [], closed: false };
	c.addHandler(function (m) {
		const body = m.getElementsByTagName("body")[0];
		people[who].got.push([m.getAttribute("from"), body ? body.textContent : null]);
		return true;
	}, null, "message");
	c.connect(jid, password, function (status, reason) {
		people[who].status.push(status);
		seen.push(who + " " + status + " " + (reason || ""));
		if (status === Strophe.Status.CONNECTED) {
			c.send($pres());
			people[who].ready = true;
		}
		if (status === Strophe.Status.DISCONNECTED)
			people[who].closed = true;
	});
}
function say(who, to, body) {
	people[who].c.send($msg({ to: to, type: "chat" }).c("body").t(body));
}
</script>"""


@pytest.fixture(scope="module")
def page():
    absent = missing()
    if absent:
        pytest.skip("not installed: " + absent)
    file = strophe(mk.server.BUILD)
    if file is None:
        pytest.skip("strophe.js can't be had from the npm registry")
    with open(file, "rb") as f:
        script = f.read()
    with Pages({"/": ("text/html", PAGE.encode()),
                "/strophe.js": ("text/javascript", script)}) as pages:
        yield pages


@pytest.fixture(scope="module")
def browser(page):
    with Browser() as b:
        yield b


@pytest.fixture(scope="module")
def server(page):
    s = mk.Server()
    s.ws_port, s.wss_port = s.new_port(), s.new_port()
    s.config["listeners"] += [
        {"kind": "http", "address": "127.0.0.1", "port": s.ws_port, "tls": "none"},
        {"kind": "http", "address": "127.0.0.1", "port": s.wss_port, "tls": "direct",
         "cors_origins": [page.origin]}]
    s.config["host_types"]["people"]["plugins"]["websocket"] = {"origins": [page.origin]}
    s.start()
    yield s
    s.close()


def join(browser, who, account, url):
    browser.run("join(arguments[0], arguments[1], arguments[2], arguments[3])",
                who, account.jid, account.password, url)
    browser.until("people[%s].ready" % json.dumps(who))


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_two_users_chat_in_a_page(browser, page, server, scheme):
    url = "%s://127.0.0.1:%d/xmpp-websocket" % (
        scheme, server.wss_port if scheme == "wss" else server.ws_port)
    alice, bob = server.account(), server.account()
    browser.open(page.origin + "/")
    join(browser, "alice", alice, url)
    join(browser, "bob", bob, url)
    browser.run("say('alice', arguments[0], arguments[1])", bob.jid, "Grüße <&> 🦦")
    got = browser.until("people.bob.got[0]")
    assert got[0].startswith(alice.jid + "/") and got[1] == "Grüße <&> 🦦"
    browser.run("say('bob', arguments[0], 'x'.repeat(100000))", got[0])
    assert browser.until("people.alice.got[0] && people.alice.got[0][1].length") == 100000
    # and with somebody on TCP
    with mk.Client(server, server.account()) as c:
        c.login(presence="")
        browser.run("say('alice', arguments[0], 'to tcp')", c.jid)
        m = c.until(lambda e: name(e) == "message")
        assert text(m, "body") == "to tcp"
        c.message(m.get("from"), "from tcp")
        assert browser.until("people.alice.got[1]") == [c.jid, "from tcp"]
    browser.run("people.alice.c.disconnect('bye'); people.bob.c.disconnect('bye')")
    browser.until("people.alice.closed && people.bob.closed")


def test_a_wrong_password(browser, page, server):
    account = server.account()
    browser.open(page.origin + "/")
    browser.run("join('eve', arguments[0], 'wrong', arguments[1])", account.jid,
                "ws://127.0.0.1:%d/xmpp-websocket" % server.ws_port)
    assert browser.until("people.eve.status.includes(Strophe.Status.AUTHFAIL)")


def test_host_meta_is_for_scripts_of_any_site(browser, page, server):
    browser.open(page.origin + "/")
    browser.run("""
        fetch(arguments[0] + "/.well-known/host-meta.json").then(r => window.status1 = r.status);
        fetch(arguments[0] + "/health").then(r => r.text()).then(t => window.health = t);
        """, "https://127.0.0.1:%d" % server.wss_port)
    # 127.0.0.1 is no domain of ours, but the answer can be read
    assert browser.until("window.status1") == 404
    assert browser.until("window.health") == "alive\n"


def test_a_page_of_another_site_is_refused(browser, page, server):
    with Pages({"/": ("text/html", b"<title>evil</title>")}) as evil:
        browser.open(evil.origin + "/")
        browser.run("""
            const w = new WebSocket(arguments[0], "xmpp");
            w.onopen = () => window.outcome = "open";
            w.onclose = () => window.outcome = "closed";
            """, "ws://127.0.0.1:%d/xmpp-websocket" % server.ws_port)
        assert browser.until("window.outcome") == "closed"


def test_the_close_is_clean(browser, page, server):
    """RFC 6455 7.1.4: the browser sees the close frame, answered, and its code."""
    browser.open(page.origin + "/")
    browser.run("""
        const w = new WebSocket(arguments[0], "xmpp");
        w.onopen = () => w.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' " +
            "to='meerkat.test' version='1.0'/>");
        w.onmessage = m => {
            window.seen.push(m.data);
            if (m.data.startsWith("<stream:features"))
                w.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
        };
        w.onclose = e => window.outcome = [w.protocol, e.wasClean, e.code, e.reason];
        """, "ws://127.0.0.1:%d/xmpp-websocket" % server.ws_port)
    assert browser.until("window.outcome") == ["xmpp", True, 1000, ""]
    assert browser.run("return window.seen[2]").startswith("<close xmlns=")
