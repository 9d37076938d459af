"""The demo answers its own page only: other hosts' names, other pages, other files."""

import http.client
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hf_emo_dist.commands.demo import serve
from hf_emo_dist.commands.demo_guard import Guard

# what is bound, what the user named, Host, Origin and more → whether it is let in; 7860 stands for the port
CASES = [
    ("127.0.0.1", (), "127.0.0.1:7860", None, True),
    ("127.0.0.1", (), "localhost:7860", "http://localhost:7860", True),
    ("127.0.0.1", (), "LOCALHOST:7860", None, True),
    ("127.0.0.1", (), "page.localhost:7860", None, True),
    ("127.0.0.1", (), "localhost.:7860", None, True),
    ("127.0.0.1", (), "[::1]:7860", "http://[::1]:7860", True),
    ("127.0.0.1", (), "127.0.0.1:7860", "http://localhost:7860", False),  # may be served by another, at ::1
    ("127.0.0.1", (), "evil.example:7860", None, False),  # DNS rebinding
    ("127.0.0.1", (), "evil.example:7860", "http://evil.example:7860", False),
    ("127.0.0.1", (), "localhost.evil.example:7860", None, False),
    ("127.0.0.1", (), "127.0.0.1.evil.example", None, False),
    ("127.0.0.1", (), "evillocalhost:7860", None, False),
    ("127.0.0.1", (), "192.168.1.5:7860", None, False),
    ("127.0.0.1", (), "localhost@evil.example", None, False),
    ("127.0.0.1", (), "localhost:x", None, False),
    ("127.0.0.1", (), "", None, False),
    ("127.0.0.1", (), "localhost:7860", "http://evil.example", False),
    ("127.0.0.1", (), "localhost:7860", "https://evil.example:7860", False),
    ("127.0.0.1", (), "localhost:7860", "http://localhost:3000", False),  # another server of this machine
    ("127.0.0.1", (), "localhost:7860", "null", False),
    ("127.0.0.1", (), "localhost:7860", "file://", False),
    ("127.0.0.1", (), "127.0.0.1:7860", "https://127.0.0.1:7860", False),  # this page has no TLS
    ("127.0.0.1", (), "127.0.0.1:7860", "chrome-extension://127.0.0.1:7860", False),
    ("127.0.0.1", (), "127.0.0.1:7860", "moz-extension://localhost:7860", False),
    ("127.0.0.1", (), "127.0.0.1:7860", "ftp://127.0.0.1:7860", False),
    ("127.0.0.1", (), "127.0.0.1:7860", "//127.0.0.1:7860", False),
    ("127.0.0.1", (), "127.0.0.1", "http://127.0.0.1:80", True),
    ("127.0.0.1", (), "127.0.0.1:7860", "http://page.localhost:7860", False),  # another origin for browsers
    ("127.0.0.1", (), "127.0.0.1:7860", "http://127.0.0.1:7860/path", False),
    ("127.0.0.1", ("demo.example",), "demo.example", "http://demo.example", True),
    ("127.0.0.1", ("demo.example",), "demo.example", "chrome-extension://demo.example", False),
    ("127.0.0.1", ("demo.example",), "127.0.0.1:7860", "https://127.0.0.1:7860", False),
    ("192.168.1.5", (), "192.168.1.5:7860", "http://192.168.1.5:7860", True),
    ("192.168.1.5", (), "192.168.1.6:7860", None, False),
    ("0.0.0.0", (), "192.168.1.5:7860", "http://192.168.1.5:7860", True),
    ("0.0.0.0", (), "evil.example:7860", None, False),
    ("127.0.0.1", ("demo.example",), "demo.example", "https://demo.example", True),
    ("127.0.0.1", ("demo.example",), "127.0.0.1:7860", "https://demo.example", True),  # a proxy that keeps its Host
    ("127.0.0.1", ("demo.example",), "demo.example.evil.example", None, False),
]


@pytest.mark.parametrize(("bound", "named", "host", "origin", "let_in"), CASES)
def test_hosts_and_origins(bound, named, host, origin, let_in):
    headers = {"host": [host], **({"origin": [origin]} if origin is not None else {})}
    assert (Guard(None, bound, named).refusal(headers) is None) == let_in


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({"sec-fetch-site": ["cross-site"], "sec-fetch-mode": ["no-cors"]}, False),
        ({"sec-fetch-site": ["same-site"], "sec-fetch-mode": ["cors"]}, False),
        ({"sec-fetch-site": ["cross-site"], "sec-fetch-mode": ["navigate"]}, True),  # a link to the page
        ({"sec-fetch-site": ["cross-site"], "sec-fetch-mode": ["navigate"], "sec-fetch-dest": ["document"]}, True),
        ({"sec-fetch-site": ["cross-site"], "sec-fetch-mode": ["navigate"], "sec-fetch-dest": ["iframe"]}, False),
        ({"sec-fetch-site": ["cross-site"]}, False),
        ({"sec-fetch-site": ["same-site"], "origin": ["http://localhost:7860"]}, False),
        ({"sec-fetch-site": ["same-origin"], "sec-fetch-mode": ["cors"]}, True),
        ({"host": []}, False),
        ({"host": ["localhost:7860", "evil.example"]}, False),
        ({"origin": ["http://localhost:7860", "http://evil.example"]}, False),
    ],
)
def test_other_headers(headers, let_in):
    assert (Guard(None, "127.0.0.1").refusal({"host": ["localhost:7860"], **headers}) is None) == let_in
    if "sec-fetch-site" in headers:  # what is sent, and not followed
        refused = Guard(None, "127.0.0.1").refusal({"host": ["localhost:7860"], **headers}, method="POST")
        assert (refused is None) == (headers["sec-fetch-site"] == ["same-origin"])


def test_the_scheme_that_is_served():
    headers = {"host": ["localhost:7860"], "origin": ["https://localhost:7860"]}
    guard = Guard(None, "127.0.0.1")
    assert [guard.refusal(headers, scheme) is None for scheme in ("http", "ws", "https", "wss")] == [0, 0, 1, 1]


# --- over the wire


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page like the demo's, without a model, that tells the size of what was uploaded."""
    import os

    gradio = pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("recordings")
    old = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    with gradio.Blocks(analytics_enabled=False) as page:
        recording = gradio.Audio(type="filepath")
        told = gradio.HTML()
        gradio.Button().click(lambda path: Path(path).read_bytes().hex(), [recording], [told], api_name="listen")
    yield urlsplit(serve(page))
    page.close(verbose=False)
    os.environ.pop("GRADIO_TEMP_DIR") if old is None else os.environ.update(GRADIO_TEMP_DIR=old)


def ask(address, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def form(data=b"RIFF"):
    return (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n' + data + b"\r\n--x--\r\n",
        {"Content_Type": "multipart/form-data; boundary=x"},
    )


BODY, UPLOAD = form()
CALL = json.dumps({"data": [None]})
EVIL = {"Origin": "https://evil.example"}
REQUESTS = {
    "the page": ("GET", "/", None, {}),
    "its settings": ("GET", "/config", None, {}),
    "upload": ("POST", "/gradio_api/upload", BODY, UPLOAD),
    "call": ("POST", "/gradio_api/call/listen", CALL, {"Content_Type": "application/json"}),
    "call without a preflight": ("POST", "/gradio_api/call/listen", CALL, {"Content_Type": "text/plain"}),
    "queue": ("POST", "/gradio_api/queue/join", "{}", {"Content_Type": "application/json"}),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_of_others_are_refused(address, request_):
    method, path, body, headers = REQUESTS[request_]
    assert ask(address, method, path, body, **headers)[0] != 403
    for more in (EVIL, {"Host": "evil.example"}, {"Host": f"evil.example:{address.port}"}, {"Origin": "null"}):
        status, text = ask(address, method, path, body, **{**headers, **more})
        assert status == 403 and b"--allowed_host" in text, (more, status)


def test_a_refused_upload_leaves_no_file(address):
    import os

    before = {path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()}
    assert ask(address, "POST", "/gradio_api/upload", BODY, **UPLOAD, **EVIL)[0] == 403
    assert {path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()} == before


def listen(address, recording):
    """What `listen` answers through the API."""
    body = json.dumps({"data": [recording]})
    status, text = ask(address, "POST", "/gradio_api/call/listen", body, Content_Type="application/json")
    if status != 200:
        return text
    return ask(address, "GET", f"/gradio_api/call/listen/{json.loads(text)['event_id']}")[1]


BAD = {
    "no such function": ("queue/join", {"data": [None], "fn_index": 99, "session_hash": "a"}),
    "no such name": ("call/nothing", {"data": []}),
    "no file": ("run/listen", {"data": [7]}),
    "a file of this machine": ("run/listen", {"data": [{"path": "/etc/passwd"}]}),
    "too few values": ("run/listen", {"data": []}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_told_in_a_line(case, address, caplog, capfd):
    path, body = BAD[case]
    with caplog.at_level("WARNING"):
        status, _ = ask(address, "POST", f"/gradio_api/{path}", json.dumps(body), Content_Type="application/json")
    told = [one.getMessage() for one in caplog.records if "could not be answered" in one.getMessage()]
    assert status in (400, 500) and len(told) == 1 and "\n" not in told[0]
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_files_of_this_machine_are_not_read(address, tmp_path):
    status, text = ask(address, "POST", "/gradio_api/upload", BODY, **UPLOAD)
    uploaded = {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}}
    assert status == 200 and b"RIFF".hex().encode() in listen(address, uploaded)  # what the page is for
    other = tmp_path / "mine.wav"
    other.write_bytes(b"mine alone")
    for path in (other, "/proc/self/environ", "/etc/passwd"):
        for url in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/..%2f..%2f", "/assets/../../.."):
            status, text = ask(address, "GET", f"{url}{path}")
            assert b"mine alone" not in text and b"root:" not in text and b"PATH=" not in text, url
        given = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        assert b"6d696e65" not in listen(address, given) and b"root:".hex().encode() not in listen(address, given)


def test_addresses_of_this_machine_are_not_asked(address):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        listen(address, {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}})
        ask(address, "GET", f"/gradio_api/file={url}")
        ask(address, "GET", f"/gradio_api/proxy={url}")
        with pytest.raises(TimeoutError):
            server.accept()
