"""A real server behind a real nginx: TLS, a base path, a login; beside one that is killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from zimage_layer_lab.cli.comfy.client import get_json

pytestmark = pytest.mark.slow

TOKEN, BEARER = "s3cret-token", "hunter2-bearer"
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    location /comfy/ {{
      set $known 0;
      if ($arg_token = "{token}") {{ set $known 1; }}
      if ($http_authorization = "Bearer {bearer}") {{ set $known 1; }}
      if ($known = 0) {{ return 401; }}
      proxy_pass http://{backend}/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
    location /closed/ {{ return 403; }}
    location /page/ {{ return 302 https://login.example/enter?back={token}; }}
    location /html/ {{ default_type text/html; return 200 "<html>Log in</html>"; }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def pair(make_server):
    """Two servers without models; the second may be killed."""
    servers = [make_server(), make_server()]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def nginx(pair, tmp_path_factory, skip_or_fail):
    """(address without a path, file of the certificate) of an nginx before the first server."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("openssl") is None:
        skip_or_fail("no nginx and openssl on this machine (Debian: apt-get install nginx-light)")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(folder=folder, port=port, token=TOKEN, bearer=BEARER, backend=pair[0].address)
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", config, "-p", folder], stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (
                    folder / "log"
                ).read_text()
                time.sleep(0.05)
        yield f"https://localhost:{port}", folder / "cert.pem"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def run(work, layerlab_process, nginx):
    """Run the command with the proxy's certificate trusted: words -> (status, stdout, stderr).

    No secret may be in what it says or writes.
    """

    def start(*words, trusted=True):
        more = {"SSL_CERT_FILE": str(nginx[1])} if trusted else {}
        return layerlab_process([str(word) for word in words], **more)

    def finish(process):
        out, err = process.communicate(timeout=180)
        written = b"".join(path.read_bytes() for path in work.folder.rglob("*") if path.is_file())
        for secret in (TOKEN, BEARER):
            assert secret not in out + err and secret.encode() not in written
        assert "Traceback" not in err
        return process.returncode, " ".join(out.split()), " ".join(err.split())

    def both(*words, **more):
        return finish(start(*words, **more))

    both.start, both.finish = start, finish
    return both


REFUSED = {
    "comfy": r"asks for a login (HTTP 401): give it with --header",
    "closed": r"does not let this login in (HTTP 403)",
    "page": r"sends its visitors to https://login.example/enter (HTTP 302)",
    "html": r"answers with a web page instead of data",
}


@pytest.mark.parametrize("place", REFUSED)
def test_a_login_that_is_asked_is_told_as_such(work, run, nginx, place):
    work.graph()
    status, _, err = run(*work.arguments(f"{nginx[0]}/{place}"))
    assert status == 4 and REFUSED[place] in err, err
    assert "Start ComfyUI" not in err and not work.out.exists()


def test_a_certificate_is_checked_unless_told_otherwise_and_both_ways_of_logging_in_work(
    work, run, nginx
):
    work.graph()
    address = f"{nginx[0]}/comfy/"
    words = work.arguments(f"{address}?token={TOKEN}")
    status, _, err = run(*words, trusted=False)
    assert status == 4 and "certificate of https://localhost" in err and "--insecure" in err
    status, _, err = run(*words, "--insecure", trusted=False)
    assert status == 0 and "certificates of the servers are not checked" in err
    assert len(work.pictures()) == 1
    header = f"Authorization: Bearer {BEARER}"
    words = work.arguments(address, more=["--header", header, "--set", "Colour.color=9"])
    status, out, err = run(*words, "--json")
    assert status == 0 and not err, err
    events = [json.loads(line) for line in out.replace("} {", "}\n{").split("\n")]
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["start", "queued"] and kinds[-2:] == ["end", "summary"]
    # Only the websocket tells of nodes.
    titles = [event["title"] for event in events if event["event"] == "progress"]
    assert "Blur" in titles and len(work.pictures()) == 2


def test_a_row_of_a_killed_server_comes_out_once_behind_the_proxy(
    work, run, nginx, pair, history, wait_until
):
    behind, dying = pair
    work.graph(size=1024, radius=15)
    numbers = list(range(1, 9))
    before = len(history(behind))
    proxied = f"{nginx[0]}/comfy?token={TOKEN}"
    more = ["--contact", "5", "--settings", work.colours(*numbers)]
    process = run.start(*work.arguments(proxied, dying.address, more=more))
    wait_until(lambda: history(dying))
    wait_until(lambda: get_json(dying.address, "/queue")["queue_running"])
    os.killpg(dying.pid, signal.SIGKILL)
    status, out, err = run.finish(process)
    assert status == 0, (out, err)
    assert work.colours_saved() == numbers
    ends = work.ends()
    assert {line["status"] for line in ends.values()} == {"done"}
    assert len({name for line in ends.values() for name in line["files"]}) == len(numbers)
    by_server = [line["server"] for line in ends.values()]
    assert set(by_server) == {f"{nginx[0]}/comfy", dying.address}
    assert by_server.count(f"{nginx[0]}/comfy") == len(history(behind)) - before
    assert f"answers at {dying.address}" in err and "goes to another server" in err


def test_local_files_are_sent_where_loadimage_names_them(work, run, nginx, pair):
    """Two files of one name and other contents; the server overwrites neither."""
    from PIL import Image

    for folder, colour in (("a", (255, 0, 0)), ("b", (0, 0, 255))):
        (work.folder / folder).mkdir()
        Image.new("RGB", (16, 16), colour).save(work.folder / folder / "x.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a/x.png"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "sent"},
        },
        "3": {"class_type": "LoadImage", "inputs": {"image": "../key.png"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    (work.folder.parent / "key.png").write_bytes((work.folder / "a" / "x.png").read_bytes())
    work.graph(graph)
    proxied = f"{nginx[0]}/comfy?token={TOKEN}"
    status, out, err = run(*work.arguments(proxied, more=["--upload"]))
    # What the workflow itself names outside of its folder is not sent.
    assert status == 3 and "../key.png is no file here" in out
    assert "node 3 (LoadImage), input 'image'" in err
    del graph["3"], graph["4"]
    work.graph(graph)
    table = work.table(["1.image"], ["a/x.png"], [work.folder / "b" / "x.png"])
    words = work.arguments(proxied, more=["--upload", "--settings", table])
    status, out, err = run(*words)
    assert status == 0, (out, err)
    colours = [picture.getpixel((0, 0)) for picture in work.pictures().values()]
    assert sorted(set(colours)) == [(0, 0, 255), (255, 0, 0)]
    there = sorted(path.name for path in (pair[0].base_directory / "input").iterdir())
    assert {"x.png", "x (1).png"} <= set(there)
    before = len(list(work.out.iterdir()))
    status, out, _ = run(*words)
    assert status == 0 and "All are done already" in out
    Image.new("RGB", (16, 16), (0, 255, 0)).save(work.folder / "b" / "x.png")
    assert run(*words)[0] == 0 and len(list(work.out.iterdir())) == before + 1
