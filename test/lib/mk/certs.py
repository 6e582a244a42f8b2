"""Certificates by the openssl command: one self-signed ECDSA certificate for
any number of names or addresses."""

import os
import re
import subprocess


def make(folder, *names, days=30):
    """fullchain.pem and privkey.pem in folder; returns the folder."""
    os.makedirs(folder, exist_ok=True)
    san = ",".join(("IP:" if re.fullmatch(r"[0-9.]+", n) else "DNS:") + n for n in names)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-days", str(days),
         "-subj", "/CN=" + names[0], "-addext", "subjectAltName=" + san,
         "-keyout", os.path.join(folder, "privkey.pem"),
         "-out", os.path.join(folder, "fullchain.pem")],
        check=True, capture_output=True)
    os.chmod(os.path.join(folder, "privkey.pem"), 0o600)
    return folder
