"""Examples of specifications, played as they are written: what one sends is sent, and what
another is shown to receive must come.

    play = Play(stage, witch="thirdwitch", ...)     people, with their nicknames
    play.send("witch", "<presence to='{coven}/thirdwitch'>...</presence>")
    play.gets("witch", "<presence from='{coven}/firstwitch'>...</presence>")

Addresses are given by name: {coven}, {heath} and {service}, {witch} for somebody's full JID and
{witch.bare} for the bare one. What is expected is a part of what comes: each attribute and
child that is written must be there (an attribute of '*' with any value); more may be. A child
written with absent='' must not be there.
"""

import xml.etree.ElementTree as ET

from .xml import NS, name, to_str


def parse(xml):
    return ET.fromstring("<stream xmlns='%s'>%s</stream>" % (NS.CLIENT, xml))[0]


def differs(el, wanted):
    """Why el is not what is wanted, or None."""
    if el.tag != wanted.tag:
        return "<%s/> is not <%s/>" % (el.tag, wanted.tag)
    for key, value in wanted.attrib.items():
        if el.get(key) is None or value not in ("*", el.get(key)):
            return "%s of <%s/> is %r, not %r" % (key, name(el), el.get(key), value)
    if (wanted.text or "").strip() and (el.text or "").strip() != wanted.text.strip():
        return "text of <%s/> is %r, not %r" % (name(el), el.text, wanted.text)
    left = list(el)
    for w in wanted:
        if w.attrib.pop("absent", None) is not None:
            found = [c for c in el if differs(c, w) is None]
            w.set("absent", "")
            if found:
                return "<%s/> has what it must not: %s" % (name(el), to_str(found[0]))
            continue
        whys = [differs(c, w) for c in left]
        if None not in whys:
            return "<%s/> has no %s%s" % (name(el), to_str(w), "".join(
                "\n  " + why for c, why in zip(left, whys) if c.tag == w.tag))
        left.pop(whys.index(None))
    return None


class Play:
    def __init__(self, stage, **people):
        self.stage = stage
        self.names = {"service": stage.service, "domain": stage.server.domain}
        self.people = {}
        for who, nick in people.items():
            self.enters(who, nick)
        for place in ("coven", "heath"):
            self.names[place] = stage.address().jid

    def enters(self, who, nick):
        """One more person; not yet in any room."""
        c = self.stage.owner if who == "owner" else self.stage.person(nick)
        c.nick = nick
        self.people[who] = c
        self.names[who] = self._Address(c)

    class _Address(str):
        def __new__(cls, c):
            self = str.__new__(cls, c.jid)
            self.bare = c.bare
            return self

    def __getitem__(self, who):
        return self.people[who]

    def at(self, place="coven"):
        """The Room."""
        from .muc import Room
        return Room(self.names[place])

    def xml(self, text):
        return text.format(**self.names)

    def send(self, who, xml):
        self[who].send(self.xml(xml))

    def gets(self, who, *xmls):
        """One after the other; nothing of the same kind and sender in between."""
        for xml in xmls:
            wanted = parse(self.xml(xml))
            el = self[who].until(lambda e: name(e) == name(wanted)
                                 and e.get("from") == wanted.get("from")
                                 and (name(e) != "iq" or e.get("id") == wanted.get("id")))
            why = differs(el, wanted)
            assert why is None, "%s\nin: %s" % (why, to_str(el))
        return el

    def all_get(self, xml, *who):
        for w in who:
            self.gets(w, xml)

    def settled(self, place="coven"):
        """Nobody has anything unread of the room."""
        people = list(self.people.values())
        return dict(zip(self.people, self.at(place).settled(*people)))

    def cast(self, place="coven", *who, **config):
        """The owner's room, who of them in it, nothing unread."""
        room = self.at(place)
        room.create(self["owner"], self["owner"].nick, **config)
        for w in who:
            room.join(self[w], password=config.get("roomsecret"))
        self.settled(place)
        return room
