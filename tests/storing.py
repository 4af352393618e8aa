"""An object store on this machine, which really stores, and a line to it that is slow or breaks."""

import contextlib
import io
import socket
import threading
import time
from wsgiref.types import WSGIApplication

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Store:
    """Moto behind one lock, as a store sees to it that of two writers one is first; a body cut short is none."""

    def __init__(self) -> None:
        self.served: WSGIApplication = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True, request_handler=Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_port

    def answer(self, environ, start_response):
        size = int(environ.get("CONTENT_LENGTH") or 0)
        data = environ["wsgi.input"].read(size)
        if len(data) < size:
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        with self.lock:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
            return list(self.served(environ | {"wsgi.input": io.BytesIO(data)}, start_response))


class Quiet(WSGIRequestHandler):
    """Says nothing."""

    def log(self, *args) -> None:
        pass


class Line:
    """A port that leads to another one: `rate` bytes a second; `deaf` times a PUT arrives but its answer is lost."""

    def __init__(self, to: int, rate: float = float("inf"), deaf: int = 0) -> None:
        self.to, self.rate, self.deaf, self.passed = to, rate, deaf, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        return self.listening.getsockname()[1]

    def __enter__(self) -> "Line":
        self.threads[0].start()
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    @property
    def is_silent(self) -> bool:
        """It is closed, and all that was under way has arrived."""
        return not any(thread.is_alive() for thread in self.threads)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self.listening.accept()[0]
                self.threads.append(threading.Thread(target=self._connect, args=(near,), daemon=True))
                self.threads[-1].start()

    def _connect(self, near: socket.socket) -> None:
        is_put = threading.Event()
        with near, socket.create_connection(("127.0.0.1", self.to)) as far:
            back = threading.Thread(target=self._carry, args=(far, near, is_put, False))
            back.start()
            self._carry(near, far, is_put, True)
            back.join()

    def _carry(self, near: socket.socket, far: socket.socket, is_put: threading.Event, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if is_up and data.startswith(b"PUT"):
                    is_put.set()
                if not is_up and is_put.is_set() and self.deaf and b"100 Continue" not in data:
                    self.deaf -= 1
                    break
                if is_up:
                    time.sleep(len(data) / self.rate)
                    self.passed += len(data)
                far.sendall(data)
        for end in (near, far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
