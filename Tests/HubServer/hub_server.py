"""A model hub on this machine, with faults: two servers, the hub and the network that its large files come from.

The hub speaks the part of the protocol that downloads use: the commit of a revision, the list of files in pages, small
files by a relative redirect, and large files by a redirect to the other server.
"""
import hashlib
import http.server
import json
import ssl
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_test"


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class File:
    def __init__(self, data, large):
        self.data, self.large = data, large
        self.sha1, self.sha256 = git_sha1(data), hashlib.sha256(data).hexdigest()
        self.hash = self.sha256 if large else self.sha1

    def entry(self, path):
        entry = {"type": "file", "path": path, "size": len(self.data), "oid": self.sha1}
        if self.large:
            entry["oid"] = git_sha1(b"pointer")
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}
        return entry


class Answer:
    """What a server is about to send; a fault changes it."""

    def __init__(self, status, headers=(), body=b""):
        self.status, self.headers, self.body = status, dict(headers), body
        # Send so many bytes of the body, then close the connection or wait.
        self.stop, self.stalls, self.chunked = None, False, False
        # Seconds between the last byte and the end of a connection that stops.
        self.rest = 0
        # Seconds between the bytes of the head.
        self.drip = 0


class Hub:
    """The two servers. `fault(kind, request, answer)` may change an answer; kind is info, tree, file or large."""

    def __init__(self, files, page=1000, fault=None, private=False, certificate=None):
        self.files, self.page, self.fault, self.private = files, page, fault, private
        self.certificate = certificate
        self.lock, self.requests, self.sent, self.counts = threading.Lock(), [], 0, {}
        self.stopping = threading.Event()
        self.hub, self.network = self._serve(self._hub), self._serve(self._network)
        scheme = "https" if certificate else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self.hub.server_port}"
        self.network_endpoint = f"{scheme}://127.0.0.1:{self.network.server_port}"

    def close(self):
        self.stopping.set()
        for server in (self.hub, self.network):
            server.shutdown()
            server.server_close()

    def count(self, name):
        """How often this was called with the name before."""
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            return self.counts[name] - 1

    def _serve(self, answer):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are written one after the other.
            disable_nagle_algorithm = True

            def do_GET(self):
                with hub.lock:
                    hub.requests.append((self.server.server_port, self.command, self.path, dict(self.headers)))
                kind, result = answer(self)
                if hub.fault:
                    hub.fault(kind, self, result)
                try:
                    self.send(result)
                except OSError:
                    self.close_connection = True

            do_HEAD = do_GET

            def send(self, answer):
                if answer.drip:
                    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                        self.wfile.write(bytes([byte]))
                        if hub.stopping.wait(answer.drip):
                            break
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                elif "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                body = answer.body if answer.stop is None else answer.body[:answer.stop]
                for start in range(0, len(body), 1 << 16):
                    piece = body[start:start + (1 << 16)]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
                    with hub.lock:
                        hub.sent += len(piece)
                self.wfile.flush()
                if answer.stop is not None:
                    self.close_connection = True
                    hub.stopping.wait(20 if answer.stalls else answer.rest)
                elif answer.chunked:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, address):
                pass

        server = Server(("127.0.0.1", 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            # The threads of the connections shake hands, so that one cannot stop the others.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def refusal(self, status, code, words):
        headers = {"X-Error-Message": words, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        return Answer(status, headers, json.dumps({"error": words}).encode())

    def _hub(self, request):
        url = urllib.parse.urlsplit(request.path)
        parts = url.path.strip("/").split("/")
        token = request.headers.get("Authorization")
        if token not in (None, f"Bearer {TOKEN}"):
            return "info", self.refusal(401, None, "Invalid credentials in Authorization header")
        name = parts[2:4] if parts[0] == "api" else parts[:2]
        if parts[:2] == ["api", "resolve-cache"]:
            name = parts[3:5]
        if name != ["org", "model"] or (self.private and token is None):
            return "info", self.refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if parts[:2] == ["api", "models"] and parts[4] == "revision":
            revision = urllib.parse.unquote(parts[5])
            if revision not in ("main", "refs/pr/7", COMMIT):
                return "info", self.refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            siblings = [{"rfilename": path} for path in self.files]
            info = {"id": "org/model", "sha": COMMIT, "siblings": siblings}
            return "info", Answer(200, {}, json.dumps(info).encode())
        if parts[:2] == ["api", "models"] and parts[4] == "tree":
            first = int(urllib.parse.parse_qs(url.query).get("cursor", ["0"])[0])
            entries = [{"type": "directory", "path": "folder", "size": 0, "oid": COMMIT}] if first == 0 else []
            entries += [file.entry(path) for path, file in list(self.files.items())[first:first + self.page]]
            answer = Answer(200, {}, json.dumps(entries).encode())
            if first + self.page < len(self.files):
                next_page = f"{url.path}?recursive=true&cursor={first + self.page}"
                answer.headers["Link"] = f'<{next_page}>; rel="next"'
            return "tree", answer
        is_cache = parts[:2] == ["api", "resolve-cache"]
        path = urllib.parse.unquote("/".join(parts[6 if is_cache else 4:]))
        file = self.files.get(path)
        if file is None:
            return "file", self.refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(file.data)), "X-Linked-ETag": f'"{file.hash}"',
                   "ETag": f'"{file.hash}"'}
        if is_cache:
            return "file", self._content(request, file.data, headers)
        quoted = urllib.parse.quote(path)
        headers["Location"] = (f"{self.network_endpoint}/{file.hash}?path={quoted}&signature=x" if file.large
                               else f"/api/resolve-cache/models/org/model/{COMMIT}/{quoted}")
        return "resolve", Answer(302 if file.large else 307, headers)

    def _network(self, request):
        digits = urllib.parse.urlsplit(request.path).path.strip("/")
        for file in self.files.values():
            if file.hash == digits:
                return "large", self._content(request, file.data, {"ETag": '"of-the-network"'})
        return "large", Answer(404)

    @staticmethod
    def _content(request, data, headers):
        span = request.headers.get("Range")
        if span is None:
            return Answer(200, headers, data)
        first, last = span.removeprefix("bytes=").split("-")
        first, last = int(first), min(int(last or len(data) - 1), len(data) - 1)
        if first >= len(data):
            return Answer(416, {"Content-Range": f"bytes */{len(data)}"})
        return Answer(206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first:last + 1])
