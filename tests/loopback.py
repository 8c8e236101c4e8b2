"""A server on loopback that speaks as pytorch.org's and the Hugging Face hub's do, and misbehaves when told to."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """files: bodies by path. faults: by path, what to do wrong, used up one after the other. seen: (path, headers)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults, self.seen = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.stop = threading.Event()

    def requests(self, path):
        return [headers for seen, headers in self.seen if seen == path]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        faults = self.server.faults.get(self.path, [])
        fault = faults.pop(0) if faults else ""
        if resolved := re.fullmatch(r"/(.+)/resolve/main/(.+)", self.path):
            return self._redirect(f"/cdn/{resolved[1]}/{resolved[2]}", fault)
        if fault.startswith("to "):
            return self._redirect(fault[3:], "")
        body = self.server.files.get(self.path)
        if body is None or fault == "404":
            return self.send_error(404)
        return self._send(body, fault)

    def _redirect(self, to, fault):
        self.send_response(302)
        self.send_header("Location", to)
        body = self.server.files.get(to)
        if body is not None:
            digest = "0" * 64 if fault == "announce another" else hashlib.sha256(body).hexdigest()
            self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body, fault):
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        start = 0
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and fault != "ignore range" and self.headers.get("If-Range") == tag:
            start = int(span[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + (fault == 'wrong piece')}-{len(body) - 1}/{len(body)}")
        if fault != "no validator":
            self.send_header("ETag", tag)
        if fault == "packed":
            self.send_header("Content-Encoding", "gzip")
        if fault != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if fault.startswith("cut "):
            return self.wfile.write(body[start : start + int(fault[4:])])
        if fault == "stall":
            self.wfile.write(body[start : start + 1000])
            self.wfile.flush()
            return self.server.stop.wait(20)
        if fault == "slow":
            for at in range(start, len(body), len(body) // 8):
                self.wfile.write(body[at : at + len(body) // 8])
                self.server.stop.wait(0.15)
            return None
        return self.wfile.write(body[start:])

    def log_message(self, *args):
        pass
