"""Channel bindings of a Python TLS socket (RFC 5929, RFC 9266).

Python's ssl module has no exporter. The OpenSSL behind it has: its session is
the second pointer of the C object behind SSLSocket._sslobj, which has been so
since Python 3.6. Where that looks wrong, exporter() says None and the tests
that need it are skipped.
"""

import _ssl
import ctypes
import hashlib
import ssl


def server_end_point(sock):
    """Hash of the server's certificate; ours are signed with SHA-256."""
    return hashlib.sha256(sock.getpeercert(binary_form=True)).digest()


def exporter(sock):
    """The 32 bytes of tls-exporter, or None if they can't be had."""
    if sock.version() not in ("TLSv1.3", "TLSv1.2"):
        return None
    try:
        lib = ctypes.CDLL(_ssl.__file__)
        export = lib.SSL_export_keying_material
        get_version = lib.SSL_get_version
    except (AttributeError, OSError):
        return None
    offset = object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    session = ctypes.c_void_p.from_address(id(sock._sslobj) + offset)
    get_version.argtypes, get_version.restype = [ctypes.c_void_p], ctypes.c_char_p
    if not session.value or get_version(session) != sock.version().encode():
        return None
    export.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                       ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(32)
    label = b"EXPORTER-Channel-Binding"
    if export(session, out, 32, label, len(label), b"", 0, 1) != 1:
        return None
    return out.raw


def context(cafile, alpn=None, minimum=None, maximum=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations(cafile)
    if alpn:
        c.set_alpn_protocols(alpn)
    if minimum:
        c.minimum_version = minimum
    if maximum:
        c.maximum_version = maximum
    return c
