"""HTTP/1.1 as bytes on a socket: what is sent is what a test wrote, and an answer
is read strictly."""

import socket
import ssl

from .client import TIMEOUT


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __getitem__(self, name):
        values = [v for k, v in self.headers if k == name.lower()]
        assert len(values) == 1, (name, self.headers)
        return values[0]

    def get(self, name):
        values = [v for k, v in self.headers if k == name.lower()]
        assert len(values) <= 1, (name, self.headers)
        return values[0] if values else None

    def __repr__(self):
        return "<Answer %d %r %r>" % (self.status, self.headers, self.body[:200])


class Http:
    def __init__(self, port, cafile=None, name=None, source=None):
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT,
                                             source_address=source and (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if cafile:
            c = ssl.create_default_context(cafile=cafile)
            c.set_alpn_protocols(["http/1.1"])
            self.sock = c.wrap_socket(self.sock, server_hostname=name)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def more(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.data += data
        return bool(data)

    def take(self, n):
        while len(self.data) < n:
            assert self.more(), "the connection ended: %r" % self.data
        data, self.data = self.data[:n], self.data[n:]
        return data

    def line(self):
        while b"\r\n" not in self.data:
            assert self.more(), "the connection ended: %r" % self.data
        line, self.data = self.data.split(b"\r\n", 1)
        return line.decode("latin-1")

    def answer(self, head=False):
        """The next answer. head: it is one to HEAD, so has no body."""
        version, status, reason = self.line().split(" ", 2)
        assert version == "HTTP/1.1" and reason
        headers = []
        while True:
            line = self.line()
            if not line:
                break
            name, value = line.split(":", 1)
            assert name == name.strip() and name
            headers.append((name.lower(), value.strip()))
        a = Answer(int(status), headers, b"")
        if not head and a.status >= 200 and a.status not in (204, 304):
            a.body = self.take(int(a["content-length"]))
        return a

    def get(self, path, host="meerkat.test", method="GET", **headers):
        self.send("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (method, path, host, "".join(
            "%s: %s\r\n" % (k.replace("_", "-"), v) for k, v in headers.items())))
        return self.answer(method == "HEAD")

    def expect_end(self):
        while self.more():
            pass
        assert self.data == b"", self.data
