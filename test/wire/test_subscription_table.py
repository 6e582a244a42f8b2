"""RFC 6121, Appendix A: every cell of the subscription tables, over the wire.

Two users; the subject's state towards the contact is brought about by the stanzas that
lead there, so the contact's is its mirror image. Then the subject sends each of the four
types: the outbound tables say whether it goes on and what becomes of the subject's state,
the inbound ones what the contact gets, and its state. Nine states, four types: every row of
A.2 as the sender, every row of A.3 as the recipient. (States that don't mirror each other are
tested in plugins/presence/state_test.c.)
"""

import itertools

import pytest

from mk import NS, child, name, settled, to_str

NONE, NONE_OUT, NONE_IN, NONE_OUT_IN = "None", "None+Out", "None+In", "None+Out+In"
TO, TO_IN, FROM, FROM_OUT, BOTH = "To", "To+In", "From", "From+Out", "Both"
STATES = [NONE, NONE_OUT, NONE_IN, NONE_OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH]
MIRROR = {NONE: NONE, NONE_OUT: NONE_IN, NONE_IN: NONE_OUT, NONE_OUT_IN: NONE_OUT_IN,
          TO: FROM, TO_IN: FROM_OUT, FROM: TO, FROM_OUT: TO_IN, BOTH: BOTH}

# (routed, new state) by old state
OUTBOUND = {
    "subscribe": {  # A.2.1
        NONE: (True, NONE_OUT), NONE_OUT: (True, NONE_OUT), NONE_IN: (True, NONE_OUT_IN),
        NONE_OUT_IN: (True, NONE_OUT_IN), TO: (True, TO), TO_IN: (True, TO_IN),
        FROM: (True, FROM_OUT), FROM_OUT: (True, FROM_OUT), BOTH: (True, BOTH)},
    "unsubscribe": {  # A.2.2
        NONE: (True, NONE), NONE_OUT: (True, NONE), NONE_IN: (True, NONE_IN),
        NONE_OUT_IN: (True, NONE_IN), TO: (True, NONE), TO_IN: (True, NONE_IN),
        FROM: (True, FROM), FROM_OUT: (True, FROM), BOTH: (True, FROM)},
    "subscribed": {  # A.2.3
        NONE: (False, NONE), NONE_OUT: (False, NONE_OUT), NONE_IN: (True, FROM),
        NONE_OUT_IN: (True, FROM_OUT), TO: (False, TO), TO_IN: (True, BOTH),
        FROM: (False, FROM), FROM_OUT: (False, FROM_OUT), BOTH: (False, BOTH)},
    "unsubscribed": {  # A.2.4
        NONE: (False, NONE), NONE_OUT: (False, NONE_OUT), NONE_IN: (True, NONE),
        NONE_OUT_IN: (True, NONE_OUT), TO: (False, TO), TO_IN: (True, TO),
        FROM: (True, NONE), FROM_OUT: (True, NONE_OUT), BOTH: (True, TO)},
}
# (delivered, new state) by old state
INBOUND = {
    "subscribe": {  # A.3.1
        NONE: (True, NONE_IN), NONE_OUT: (True, NONE_OUT_IN), NONE_IN: (False, NONE_IN),
        NONE_OUT_IN: (False, NONE_OUT_IN), TO: (True, TO_IN), TO_IN: (False, TO_IN),
        FROM: (False, FROM), FROM_OUT: (False, FROM_OUT), BOTH: (False, BOTH)},
    "unsubscribe": {  # A.3.2
        NONE: (False, NONE), NONE_OUT: (False, NONE_OUT), NONE_IN: (True, NONE),
        NONE_OUT_IN: (True, NONE_OUT), TO: (False, TO), TO_IN: (True, TO),
        FROM: (True, NONE), FROM_OUT: (True, NONE_OUT), BOTH: (True, TO)},
    "subscribed": {  # A.3.3
        NONE: (False, NONE), NONE_OUT: (True, TO), NONE_IN: (False, NONE_IN),
        NONE_OUT_IN: (True, TO_IN), TO: (False, TO), TO_IN: (False, TO_IN),
        FROM: (False, FROM), FROM_OUT: (True, BOTH), BOTH: (False, BOTH)},
    "unsubscribed": {  # A.3.4
        NONE: (False, NONE), NONE_OUT: (True, NONE), NONE_IN: (False, NONE_IN),
        NONE_OUT_IN: (True, NONE_IN), TO: (True, NONE), TO_IN: (True, NONE_IN),
        FROM: (False, FROM), FROM_OUT: (True, FROM), BOTH: (True, FROM)},
}
# Who sends what to get there: s is the subject, c the contact.
PATHS = {
    NONE: "", NONE_OUT: "s:subscribe", NONE_IN: "c:subscribe",
    NONE_OUT_IN: "s:subscribe c:subscribe", TO: "s:subscribe c:subscribed",
    TO_IN: "s:subscribe c:subscribed c:subscribe", FROM: "c:subscribe s:subscribed",
    FROM_OUT: "c:subscribe s:subscribed s:subscribe",
    BOTH: "s:subscribe c:subscribed c:subscribe s:subscribed"}


class Side:
    """A user with one session that is interested and available."""

    def __init__(self, account, connect):
        self.account = account
        self.connect = connect
        self.client = connect(account, "one")
        self.client.roster()
        self.client.available()
        self.bare = self.client.bare

    def presence(self, type_, to):
        self.client.send("<presence type='%s' to='%s'/>" % (type_, to.bare))

    def state_of(self, other):
        """As the roster says, and, for the pending request that it does not show, as a
        session that has just come is told."""
        item = self.client.roster().get(other.bare)
        late = self.connect(self.account, "late")
        late.available()
        waits = [p for p in settled(late)[0]
                 if name(p) == "presence" and p.get("type") == "subscribe"]
        late.close()
        self.client.until(lambda e: e.get("type") == "unavailable" and e.get("from") == late.jid)
        assert all(p.get("from") == other.bare and p.get("to") == self.bare for p in waits)
        assert len(waits) <= 1
        subscription = "none" if item is None else item.get("subscription")
        state = subscription.capitalize()
        ask = item is not None and item.get("ask") == "subscribe"
        if item is not None:
            assert item.get("ask") in (None, "subscribe")
            assert item.get("approved") is None or not waits
        return state + ("+Out" if ask else "") + ("+In" if waits else "")


def pushes(got, other):
    out = []
    for el in got:
        q = child(el, "query", NS.ROSTER) if name(el) == "iq" else None
        if q is not None:
            assert el.get("type") == "set" and len(q) == 1, to_str(el)
            assert q[0].get("jid") == other.bare
            out.append(q[0])
    return out


def subscriptions(got):
    return [p for p in got if name(p) == "presence" and
            p.get("type") in ("subscribe", "subscribed", "unsubscribe", "unsubscribed")]


@pytest.fixture
def sides(account, connect):
    return Side(account(), connect), Side(account(), connect)


def bring(state, subject, contact):
    for step in PATHS[state].split():
        who, type_ = step.split(":")
        a, b = (subject, contact) if who == "s" else (contact, subject)
        a.presence(type_, b)
        settled(subject.client, contact.client)
    assert subject.state_of(contact) == state
    assert contact.state_of(subject) == MIRROR[state]
    settled(subject.client, contact.client)


CELLS = list(itertools.product(OUTBOUND, STATES))


@pytest.mark.parametrize("type_,state", CELLS, ids=["%s-%s" % c for c in CELLS])
def test_cell(sides, type_, state):
    subject, contact = sides
    bring(state, subject, contact)
    routed, new = OUTBOUND[type_][state]
    delivered, contact_new = INBOUND[type_][MIRROR[state]]
    if not routed:
        delivered, contact_new = False, MIRROR[state]
    visible = state.replace("+In", ""), new.replace("+In", "")
    contact_visible = MIRROR[state].replace("+In", ""), contact_new.replace("+In", "")

    subject.presence(type_, contact)
    to_subject, to_contact = settled(subject.client, contact.client)

    # What the contact is told: bare to bare (3.1.2 and its relatives).
    told = subscriptions(to_contact)
    assert [p.get("type") for p in told] == ([type_] if delivered else []), \
        [to_str(p) for p in to_contact]
    for p in told:
        assert p.get("from") == subject.bare and p.get("to") == contact.bare
    # What the subject is told: "subscribed" again if it was subscribed already (3.1.3).
    # It doesn't change its state, so it isn't delivered (A.3.3).
    assert not subscriptions(to_subject), [to_str(p) for p in to_subject]

    # A push for each change that can be seen, to either; pre-approval can be (3.4.2).
    own = pushes(to_subject, contact)
    if visible[0] != visible[1]:
        assert len(own) == 1
        assert own[0].get("subscription") == new.split("+")[0].lower()
        assert own[0].get("ask") == ("subscribe" if "+Out" in new else None)
    elif type_ == "subscribed" and not routed and "From" not in state and state != BOTH:
        assert len(own) == 1 and own[0].get("approved") == "true"
    else:
        assert not own
    theirs = pushes(to_contact, subject)
    if contact_visible[0] != contact_visible[1]:
        assert len(theirs) == 1
        assert theirs[0].get("subscription") == contact_new.split("+")[0].lower()
        assert theirs[0].get("ask") == ("subscribe" if "+Out" in contact_new else None)
    else:
        assert not theirs

    # Presence of who began or ceased to be seen (3.1.5, 3.2.1, 3.3.3).
    def notices(got, other):
        return [p.get("type") for p in got if name(p) == "presence" and
                p.get("from") == other.client.jid]
    sees = {NONE: False, TO: True, FROM: False, BOTH: True}
    before, after = sees[MIRROR[state].split("+")[0]], sees[contact_new.split("+")[0]]
    assert notices(to_contact, subject) == (
        [] if before == after else ["unavailable"] if before else [None])
    before, after = sees[state.split("+")[0]], sees[new.split("+")[0]]
    assert notices(to_subject, contact) == (
        [] if before == after else ["unavailable"] if before else [None])

    assert subject.state_of(contact) == new
    assert contact.state_of(subject) == contact_new
