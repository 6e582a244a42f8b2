"""What the tests against a running server share.

server.py   starts the built daemon with a configuration, and stops it
client.py   a blocking XMPP client that shows every byte it is asked to show
xml.py      an incremental reader of streams
scram.py    the client's side of RFC 5802
http.py     HTTP/1.1 as bytes on a socket
ws.py       XMPP over WebSocket, frame by frame
browser.py  chromium, driven; strophe.js
certs.py    certificates by the openssl command
muc.py      rooms (XEP-0045)
postgres.py a PostgreSQL server, and a proxy that spoils its connections
"""

from .client import Client, StreamClosed, StreamError, Timeout, AuthFailed, fence, settled
from .server import Server, Account
from .xml import NS, child, children, element, name, ns, text, to_str

__all__ = ["Client", "StreamClosed", "StreamError", "Timeout", "AuthFailed", "fence",
           "settled", "Server", "Account", "NS", "child", "children", "element", "name", "ns",
           "text", "to_str"]
