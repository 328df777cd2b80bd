"""An S3 emulator on the loopback, whose store can be taken away for a while."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from moto.moto_server import werkzeug_app
from werkzeug.serving import make_server

HOST = "127.0.0.1"
_USER = "user"  # Others are refused.
# Nobody listens; all is refused; requests wait; they are done and the answer is lost.
OUTAGES = ("away", "refused", "stalled", "lost")


class Store(NamedTuple):
    """A store with an empty bucket."""

    url: str  # of the bucket
    environment: Mapping[str, str]  # variables that processes need to find it
    # a kind of OUTAGES -> a context in which the store has it
    outage: Callable[[str], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def serve() -> Iterator[Store]:
    """Runs a store in threads of this process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It logs each request.
    app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
    one_at_a_time = threading.Lock()  # The emulator itself does not create exclusively.
    outage: str | None = None

    def answer(environ, start_response):
        while outage == "stalled":
            time.sleep(0.05)
        if outage in ("away", "refused"):  # Of connections from before, too.
            return fail(start_response, "500 InternalError")
        if f"Credential={_USER}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return fail(start_response, "403 InvalidAccessKeyId")
        started: list = []
        with one_at_a_time:
            body = b"".join(app(environ, lambda *a, **named: started.append(a)))
        if outage == "lost":
            return fail(start_response, "500 InternalError")
        start_response(*started[-1])
        return [body]

    def fail(start_response, status: str):
        body = f"<Error><Code>{status.split()[1]}</Code></Error>".encode()
        start_response(status, [("Content-Length", str(len(body)))])
        return [body]

    @contextlib.contextmanager
    def listening(port: int) -> Iterator[int]:
        server = make_server(
            HOST, port, answer, True, request_handler=werkzeug_app.MotoRequestHandler
        )
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(listening(0))

        @contextlib.contextmanager
        def have(kind: str) -> Iterator[None]:
            nonlocal outage
            outage = kind
            if kind == "away":
                stack.close()
            yield
            outage = None
            if kind == "away":
                stack.enter_context(listening(port))

        environment = {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": _USER,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield Store("s3://chaos", environment, have)
