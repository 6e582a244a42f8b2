"""A real browser for tests: Debian's chromium without a screen, driven by chromedriver
(WebDriver, W3C), and a page server. strophe.js comes from the npm registry into
the build folder when it is first needed."""

import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

from .client import TIMEOUT

STROPHE = "strophe.js@5.0.0"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--ignore-certificate-errors"]


def missing():
    """What is not installed that a test with a browser needs, or ''."""
    absent = [p for p in ("chromium", "chromedriver", "npm") if not shutil.which(p)]
    return ", ".join(absent)


def strophe(build):
    """The library's file, or None: the registry can't be reached."""
    folder = os.path.join(build, "npm")
    file = os.path.join(folder, "node_modules", "strophe.js", "dist", "strophe.umd.min.js")
    if os.path.exists(file):
        return file
    os.makedirs(folder, exist_ok=True)
    try:
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
                        "--prefix", folder, STROPHE], check=True, capture_output=True,
                       timeout=120)
    except (subprocess.SubprocessError, OSError):
        return None
    return file if os.path.exists(file) else None


class Pages:
    """Serves {path: (type, bytes)} on 127.0.0.1; `with`."""

    def __init__(self, pages):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, data = pages.get(self.path, (None, b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = "http://127.0.0.1:%d" % self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


class Browser:
    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mk-browser-")
        self.out = open(os.path.join(self.folder, "driver.log"), "w+b")
        # Port 0: chromedriver says which it took.
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=self.out,
                                       stderr=self.out, stdin=subprocess.DEVNULL)
        try:
            self.port = self._wait_port()
            answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "acceptInsecureCerts": True, "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": FLAGS + [
                    "--user-data-dir=" + os.path.join(self.folder, "data")]}}}})
            self.session = "/session/" + answer["sessionId"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        try:
            if hasattr(self, "session"):
                self.call("DELETE", self.session)
        except (OSError, AssertionError):
            pass
        self.driver.terminate()
        try:
            self.driver.wait(20)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.out.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_port(self):
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and self.driver.poll() is None:
            with open(self.out.name, errors="replace") as f:
                found = re.search(r"successfully on port (\d+)", f.read())
            if found:
                return int(found.group(1))
            time.sleep(0.05)
        raise AssertionError("chromedriver did not start")

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * TIMEOUT)
        c.request(method, path, None if body is None else json.dumps(body),
                  {"Content-Type": "application/json"})
        answer = json.loads(c.getresponse().read())["value"]
        c.close()
        assert not (isinstance(answer, dict) and answer.get("error")), answer
        return answer

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def run(self, script, *args):
        return self.call("POST", self.session + "/execute/sync", {"script": script,
                                                                  "args": list(args)})

    def console(self):
        return self.call("POST", self.session + "/se/log", {"type": "browser"})

    def until(self, script, timeout=TIMEOUT):
        """The script's value when it is not false."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.run("return " + script)
            if value:
                return value
            assert time.monotonic() < deadline, (script, self.run("return window.seen || []"),
                                                 self.console())
            time.sleep(0.05)
