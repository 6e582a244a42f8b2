"""A client with stream management (XEP-0198), counting as a client must."""

from .client import TIMEOUT, Client
from .xml import NS, child, name, ns, to_str

M = 2 ** 32


class SmClient(Client):
    """Counts what it gets (`handled`) and answers <r/> with it as long as
    `answers` is set; <r/> are not handed out but counted in `asked`, unless
    `shows` is set. `sent` is for the test to count."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.id = None           # of the session, for resumption
        self.counting = False
        self.handled = 0
        self.answers = True
        self.shows = False
        self.asked = 0
        self._seen = {}

    def recv(self, timeout=TIMEOUT):
        while True:
            el = super().recv(timeout)
            if id(el) in self._seen:         # put back by answer()
                return el
            self._seen[id(el)] = el
            if ns(el) == NS.CLIENT and self.counting:
                self.handled = (self.handled + 1) % M
            if ns(el) == NS.SM and name(el) == "r" and not self.shows:
                self.asked += 1
                if self.answers:
                    self.ack()
                continue
            return el

    def ack(self, h=None):
        self.send("<a xmlns='%s' h='%d'/>" % (NS.SM, self.handled if h is None else h))

    def enable(self, resume=True, **attrs):
        """Returns <enabled/>."""
        self.send("<enable xmlns='%s'%s%s/>" % (
            NS.SM, " resume='true'" if resume else "",
            "".join(" %s='%s'" % a for a in attrs.items())))
        el = self.until(lambda e: ns(e) == NS.SM and name(e) in ("enabled", "failed"))
        self.is_(el, "enabled", NS.SM)
        self.id = el.get("id")
        self.counting = True
        return el

    def request(self):
        self.send("<r xmlns='%s'/>" % NS.SM)

    def h(self, at_least=None):
        """What the server acknowledges: asks, and waits until it is at_least."""
        self.request()
        while True:
            el = self.until(lambda e: ns(e) == NS.SM and name(e) == "a")
            h = int(el.get("h"))
            if at_least is None or h >= at_least:
                return h

    def authenticate(self, tls="starttls"):
        """Up to the features after authentication, nothing bound."""
        self.start(tls)
        self.scram()
        return self

    def resume_of(self, old, h=None, previd=None):
        """Asks to go on with old's session; the answer, whatever it is."""
        self.send("<resume xmlns='%s' h='%s' previd='%s'/>" % (
            NS.SM, old.handled if h is None else h, previd or old.id))
        el = self.recv()
        if name(el) == "resumed":
            self.take_over(old)
        return el

    def take_over(self, old):
        self.id, self.handled, self.jid, self.counting = old.id, old.handled, old.jid, True


def stamp(el):
    """Of a <delay/>, or None."""
    d = child(el, "delay", NS.DELAY)
    return None if d is None else d.get("stamp")


def failed(el, condition):
    assert name(el) == "failed" and ns(el) == NS.SM, to_str(el)
    assert child(el, condition, NS.STANZAS) is not None, to_str(el)
    return el
