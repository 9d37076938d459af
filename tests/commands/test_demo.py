"""The demo page: as functions, through gradio's own client, as a process, and in a browser where there is one."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soundfile
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.commands.demo import load_pipelines, serve
from hf_emo_dist.commands.demo_page import bars, build_page, hear, timeline
from hf_emo_dist.commands.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def pipes(checkpoint):
    return load_pipelines([str(checkpoint), str(checkpoint)], device="cpu")


@pytest.fixture
def clip(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(300, 4.5), 16000)
    return tmp_path / "clip.wav"


def shown_shares(html):
    return [int(share) for share in re.findall(r">(\d+)%</span>", html)]


def test_it_hears_what_the_pipeline_hears(pipes, clip):
    first, second = pipes
    assert second == f"{first} (2)"
    distribution, track = hear(pipes[first], clip, "Kids are talking.", 2.0)
    expected = {entry["label"]: entry["score"] for entry in pipes[first](str(clip), transcript="Kids are talking.")}
    assert list(distribution) == list(TINY_EMOTIONS) and distribution == pytest.approx(expected)
    assert [round(window["end"] - window["start"], 6) for window in track] == [1.5, 1.5, 1.5]
    assert hear(pipes[first], clip, "Something else.", 30.0)[0] != pytest.approx(distribution, abs=1e-9)


def test_bars_and_timeline_have_every_share():
    shares = {"angry": 0.25, "<script>": 0.75}
    html = bars(shares)
    assert shown_shares(html) == [25, 75] and "<script>" not in html and "width:75.00%" in html
    track = [{"start": 0.0, "end": 2.0, "distribution": shares}, {"start": 2.0, "end": 3.0, "distribution": shares}]
    svg = timeline(track)
    assert svg.count("<rect") == 4 and "<script>" not in svg and "3.0 s" in svg
    assert [float(x) for x in re.findall(r'height="([\d.]+)"', svg)] == [25.0, 75.0] * 2


def test_through_the_client(pipes, clip, tmp_path, monkeypatch):
    from gradio_client import Client, handle_file

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "recordings"))
    page = build_page(pipes)
    try:
        client = Client(serve(page), verbose=False, analytics_enabled=False)
        answers = client.predict(handle_file(str(clip)), "", 2.0, api_name="/listen")
        expected = hear(pipes["<model>"], clip, None, 2.0)[0]
        for answer in answers:
            assert shown_shares(answer) == [round(100 * share) for share in expected.values()]
        assert "&lt;model&gt;" in answers[0] and "<model>" not in answers[0]
        (tmp_path / "notes.wav").write_text("no audio")
        wrong = client.predict(handle_file(str(tmp_path / "notes.wav")), "", 2.0, api_name="/listen")
        assert all("cannot be used: the file is text" in answer and str(tmp_path) not in answer for answer in wrong)
        nothing = client.predict(None, "", 2.0, api_name="/listen")
        assert nothing[0] == "Record or upload something first."
    finally:
        page.close(verbose=False)


@pytest.fixture
def process(checkpoint, tmp_path):
    """`hf-emo-dist demo` on a free port, and its address."""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "hf_emo_dist", "demo", "--model", str(checkpoint), "--device", "cpu"]
    with open(tmp_path / "out", "w", encoding="utf-8") as out:
        running = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    until = time.monotonic() + 120
    found = None
    while found is None and time.monotonic() < until and running.poll() is None:
        time.sleep(0.2)
        found = re.search(r"The page is at (http://127\.0\.0\.1:\d+/)", (tmp_path / "out").read_text())
    assert found, (tmp_path / "out").read_text()
    yield running, found[1]
    running.kill()
    running.wait()


def test_recordings_are_gone_when_the_page_is_closed(process, clip, tmp_path):
    from gradio_client import Client, handle_file

    running, address = process
    Client(address, verbose=False, analytics_enabled=False).predict(handle_file(str(clip)), "", 2.0, api_name="/listen")
    assert [file for file in (tmp_path / "tmp").rglob("*.wav") if "hf-emo-dist-demo" in str(file)]
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0 and "The page is closed." in (tmp_path / "out").read_text()
    assert not list((tmp_path / "tmp").glob("hf-emo-dist-demo*"))


@pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="needs Chromium and playwright"
)
def test_in_a_browser(process, checkpoint, clip):
    """A clip is uploaded and the bars are read; nothing is asked of any other host."""
    from playwright.sync_api import sync_playwright

    expected = hear(load_pipelines([str(checkpoint)], device="cpu")["<model>"], clip, None, 2.0)[0]
    asked = set()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.goto(process[1])
        page.wait_for_selector("text=nothing else is stored")
        with page.expect_response(lambda response: "/upload" in response.url):
            page.set_input_files("input[type=file]", str(clip))
        for _ in range(20):  # the page takes the recording in a moment after it has come
            page.get_by_role("button", name="Listen", exact=True).click()
            page.wait_for_timeout(1000)
            if page.locator("svg[role=img]").count():
                break
        shown = " ".join(page.locator(".html-container").all_inner_texts())
        browser.close()
    assert [int(share) for share in re.findall(r"(\d+)%", shown)] == [round(100 * s) for s in expected.values()]
    assert {host for host in asked if host} == {process[1].split("/")[2]}


def test_what_is_wrong_is_said(checkpoint, tmp_path, capsys, monkeypatch, caplog):
    assert main(["demo", "--model", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", "--model", str(checkpoint)]) == 2
    assert "hf-emo-dist[demo]" in capsys.readouterr().err


def test_other_machines_are_let_in_with_a_warning_only(pipes, caplog):
    page = build_page(pipes)
    try:
        serve(page, "0.0.0.0")
        assert "unencrypted" in caplog.text
    finally:
        page.close(verbose=False)
