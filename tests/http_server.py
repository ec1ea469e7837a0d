"""A local HTTP server that does what servers on the internet do to a download."""

import http.server
import re
import threading
import time
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`, one file at every path or {path: content}, with ranges; attributes make it misbehave.

    `requests` notes the path of each request and `ranges` its Range header.
    """

    daemon_threads = True

    def __init__(self, content):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content = content
        self.knows_ranges = True
        self.break_after = []  # bytes of the body after which the connection is cut, by request; None: not at all
        self.statuses = []  # HTTP errors to answer with first
        self.announced = None  # a false Content-Length
        self.chunk_delay = 0.0
        self.headers = {}  # sent with every file, beside an ETag
        self.requests = []
        self.ranges = []
        self.base_url = f'http://127.0.0.1:{self.server_port}'
        self.url = f'{self.base_url}/folder/file.bin'

    def handle_error(self, request, client_address):
        pass  # clients that hang up


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def _send_headers(self):
        for header in {'ETag': '"1"', **self.server.headers}.items():
            self.send_header(*header)

    def do_HEAD(self):
        content = self.server.content.get(self.path)
        self.send_response(200 if content else 404)
        self.send_header('Content-Length', str(len(content or b'')))
        self._send_headers()
        self.end_headers()

    def do_GET(self):
        server, content, start = self.server, self.server.content, 0
        server.requests.append(self.path)
        wanted = self.headers['Range']
        server.ranges.append(wanted)
        self.close_connection = True
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if isinstance(content, dict):
            content = content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if wanted and server.knows_ranges:
            start = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        else:
            self.send_response(200)
        self._send_headers()
        body = content[start:]
        self.send_header('Content-Length', str(server.announced or len(body)))
        self.end_headers()
        if server.break_after and (cut := server.break_after.pop(0)) is not None:
            body = body[:cut]
        for position in range(0, len(body), 50_000):
            self.wfile.write(body[position : position + 50_000])
            time.sleep(server.chunk_delay)


@contextmanager
def running(server):
    """Serve in a thread."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
