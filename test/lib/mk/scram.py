"""The client's side of SCRAM (RFC 5802, 7677), and XEP-0474's check."""

import base64
import hashlib
import hmac
import os


def b64(data):
    return base64.b64encode(data).decode()


def saslname(s):
    return s.replace("=", "=3D").replace(",", "=2C")


def attributes(message):
    """'r=..,s=..' -> dict"""
    return dict(part.split("=", 1) for part in message.split(","))


class Scram:
    """One exchange. mechanism: 'SCRAM-SHA-256-PLUS'; binding: (type, bytes) for
    the -PLUS forms; gs2: 'n', 'y', or 'p=type', by default what fits."""

    def __init__(self, mechanism, user, password, binding=None, authzid=None,
                 gs2=None, nonce=None):
        name = mechanism[len("SCRAM-"):]
        self.plus = name.endswith("-PLUS")
        self.hash = name.replace("-PLUS", "").replace("-", "").lower()
        self.user, self.password = user, password
        self.nonce = nonce or b64(os.urandom(18))
        self.binding = binding[1] if binding and self.plus else b""
        if gs2 is None:
            gs2 = "p=" + binding[0] if self.plus else "n"
        self.gs2 = "%s,%s," % (gs2, "a=" + saslname(authzid) if authzid else "")
        self.server_key = None

    def first(self):
        self.first_bare = "n=%s,r=%s" % (saslname(self.user), self.nonce)
        return (self.gs2 + self.first_bare).encode()

    def final(self, challenge):
        """The client-final-message for a server-first-message."""
        server_first = challenge.decode()
        self.server_attributes = a = attributes(server_first)
        assert a["r"].startswith(self.nonce) and len(a["r"]) >= len(self.nonce) + 16, \
            "RFC 5802 5.1: the server's nonce begins with the client's"
        self.salt = base64.b64decode(a["s"])
        self.iterations = int(a["i"])
        assert self.iterations >= 4096, "RFC 7677 4: at least 4096 iterations"
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), self.salt,
                                     self.iterations)
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self.hash, client_key).digest()
        without_proof = "c=%s,r=%s" % (b64(self.gs2.encode() + self.binding), a["r"])
        message = ",".join((self.first_bare, server_first, without_proof)).encode()
        signature = self._hmac(stored_key, message)
        proof = bytes(x ^ y for x, y in zip(client_key, signature))
        self.server_signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return ("%s,p=%s" % (without_proof, b64(proof))).encode()

    def check(self, final):
        """The server's signature: it knew the password too."""
        got = base64.b64decode(attributes(final.decode())["v"])
        assert got == self.server_signature, "RFC 5802 3: wrong ServerSignature"

    def _hmac(self, key, message):
        return hmac.new(key, message, self.hash).digest()


def downgrade_hash(hash_name, mechanisms, bindings):
    """What a server that does XEP-0474 puts into the attribute h: base64 of the
    hash of the sorted mechanisms, separated by U+001E, and, if there are any,
    U+001F and the sorted channel bindings."""
    offered = "\x1e".join(sorted(mechanisms))
    if bindings:
        offered += "\x1f" + "\x1e".join(sorted(bindings))
    return b64(hashlib.new(hash_name, offered.encode()).digest())
