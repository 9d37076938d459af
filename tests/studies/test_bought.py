"""The page of what was bought: what it shows, what it keeps to itself, and that nothing in the data can harm it."""

import base64
import functools
import hashlib
import importlib.util
import json
import re
import shutil
import stat
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from vote_setup import EMOTIONS, annotated, draw, truth, vote_table

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.capabilities import ModelCapabilities, Prices
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.types import Answer, Usage
from hf_emo_dist.audio.clips import audio_hash
from hf_emo_dist.commands.main import main
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.output import write_json
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.studies import Sources, study_of
from hf_emo_dist.studies.bought.choosing import choose
from hf_emo_dist.studies.bought.clip_page import MOST_CHARACTERS, SCRIPT, ClipPage
from hf_emo_dist.studies.bought.clips import disagreement
from hf_emo_dist.studies.bought.quoting import quotes, visible
from hf_emo_dist.studies.study import study_page

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from scripted import ScriptedBackend

bought = study_of("bought")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

WORDS = "Dogs are sitting by the door, said nobody."
HARM = "\"'></pre></td><img src=x onerror=alert(1)></script><script>alert(2)</script>\u202egnp.exe\u0000\u2028&amp;"
LONG = 1_000_000


def replies(digests):
    """What the backend answers to the clips in their order; any further one gets a label."""
    by_clip = {
        digests[0]: lambda: Answer(None, failure="rejected", detail=f"no such clip {HARM}"),
        digests[1]: lambda: f"<think>{HARM}</think>sad",
        digests[2]: lambda: f"<think>{'x' * LONG}</think>sad",
        digests[3]: lambda: f"They say: {WORDS.upper()}",
        digests[4]: lambda: Answer(None, failure="rejected", detail=f"flagged: {WORDS}"),
    }

    def script(number, request, audio):
        answer = by_clip.get(audio.digest, lambda: TINY_EMOTIONS[number % 2])()
        return Answer(answer, usage=Usage(100, 50, 0, 5)) if isinstance(answer, str) else answer

    return script


def annotate(folder, rows, script, emotions=TINY_EMOTIONS, distributions=1, **options):
    """A data set on disk with what a scripted annotator answered, and its ledger."""
    ledger = folder / "votes.sqlite"
    has = ModelCapabilities("scripted-1", known=True, audio=True, temperature=True, prices=(Prices(1.0, 2.0, 4.0),))
    backend = ScriptedBackend(script, capabilities=has)
    annotator = Annotator(
        backend, emotions=emotions, num_annotations=3, num_distributions=distributions, progress=False, ledger=ledger,
        max_tries=2, first_backoff_s=0.01, last_backoff_s=0.02, **options,
    )  # fmt: skip
    data, report = annotator.annotate(as_dataset(rows))
    annotator.close()
    path = write_dataset(
        DatasetDict(train=data),
        folder / "data",
        description="d",
        vote_source="Votes borrowed from other clips.",
        emotions=emotions,
        describe=lambda part: write_json(part / "preparation.json", {"annotation": {"plan": annotator.plan}}),
    )
    return path, ledger, report


@pytest.fixture(scope="module")
def purchase(tmp_path_factory):
    """Eleven clips with hostile names, words and replies."""
    rows = tiny_rows(11, seed=3)
    for row in rows:
        row["transcript"] = WORDS
    rows[5]["id"] = HARM
    rows[6]["speaker"] = HARM
    rows[7]["transcript"] = HARM
    digests = [audio_hash(row["audio"]) for row in rows]
    path, ledger, report = annotate(tmp_path_factory.mktemp("bought"), rows, replies(digests), max_failure_rate=1)
    assert report.complete
    return path, ledger


@functools.cache
def _page(path, ledger, **options):
    study = bought(Sources([str(path)]), ledger=ledger, num_resamples=10, **options)
    return study, study_page(study)


@pytest.fixture
def page(purchase):
    return _page(*purchase)


class Page(HTMLParser):
    """The elements of a page, each with its attributes and the text within, and whether they are balanced."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.stack, self.elements = [], []
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        element = [tag, dict(attributes), ""]
        self.elements.append(element)
        if tag not in self.VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        for element in self.stack:
            element[2] += data

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def all(self, tag, **wanted):
        """(Attributes, text) of all elements of a kind."""
        return [
            (attributes, text)
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]

    def article(self, name):
        (found,) = [text for attributes, text in self.all("article") if attributes["data-name"].startswith(name)]
        return found


def test_votes_replies_failures_and_costs_of_each_clip(page):
    study, text = page
    found = Page(text)
    assert len(found.all("article")) == 11 and "borrowed votes" in found.all("p", class_="warning")[0][1]
    asked = "".join(found.article("clip-3-08").split("\n"))
    assert "people, 5 votes" in asked and "panel, 3 answers" in asked and "scripted-1" in asked
    assert re.search(r"JS divergence [01]\.\d\d", asked) and "temperature" in asked
    assert "unparseable" in found.article("clip-3-03") and "4 without a vote" in found.article("clip-3-03")
    assert "rejected" in found.article("clip-3-00") and "the service refused" in found.article("clip-3-00")
    # a reply to the member that states shares is not JSON: a failure of a clip that has votes as well
    assert "1 without a vote" in asked and "the reply breaks off or is not JSON" in asked
    assert asked.count("$0.00017") == 4 and "$0.00068 in all" in asked and "reply, 5 characters" in asked
    shown = dict(zip(("outcome", "model", "requests"), study.tables[0].rows[0], strict=False))
    assert shown == {"outcome": "unparseable", "model": "scripted-1", "requests": shown["requests"]}
    clip = next(clip for clip in study.results["clips"] if clip["id"] == "clip-3-08")
    assert sum(clip["votes"].values()) == 5 and clip["answers"] == 3 and clip["failures"] == {"unparseable": 1}


def test_each_clip_can_be_heard_as_16_khz_mono(page):
    import io

    import soundfile

    players = [attributes for attributes, _ in Page(page[1]).all("audio")]
    assert len(players) == 11 and all(player["aria-label"].startswith("Clip ") for player in players)
    for player in players:
        assert player["src"].startswith("data:audio/flac;base64,")
        sound = soundfile.info(io.BytesIO(base64.b64decode(player["src"].partition(",")[2])))
        assert (sound.samplerate, sound.channels) == (16000, 1) and 0.1 < sound.duration < 1


def test_nothing_in_the_data_becomes_code(page):
    text = page[1]
    found = Page(text)
    assert [words for _, words in found.all("script")] == [SCRIPT] and not found.all("img") and not found.all("a")
    assert "\u202e" not in text and "\x00" not in text and "⟨U+202E⟩" in text and "⟨U+0000⟩" in text
    for name, attributes, _ in found.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "srcset", "href", "action")]
        assert attributes.get("src", "data:").startswith("data:"), name
    assert HARM.replace("\u202e", "⟨U+202E⟩").replace("\0", "⟨U+0000⟩").replace("\u2028", "⟨U+2028⟩") in found.article(
        "clip-3-01"
    )


def test_the_policy_lets_just_its_own_style_and_script_through(page):
    found = Page(page[1])
    ((policy, _),) = [meta for meta in found.all("meta") if meta[0].get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    for kind, tag in (("style-src", "style"), ("script-src", "script")):
        ((_, code),) = found.all(tag)
        assert rules[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'" and rules["media-src"] == rules["img-src"] == "data:"


def test_words_are_shown_only_when_asked_for(purchase, page, tmp_path):
    study, text = page
    study.save(tmp_path)
    for name in ("bought.html", "bought.json", "bought.md"):
        content = (tmp_path / name).read_text(encoding="utf-8").lower()
        assert "sitting by the door" not in content
    assert "quotes the transcript" in Page(text).article("clip-3-03")
    assert any("texts that quote them are withheld" in finding for finding in study.findings)
    assert stat.S_IMODE((tmp_path / "bought.html").stat().st_mode) == 0o600
    assert "quotes the transcript" in (tmp_path / "bought.md").read_text()  # the service's reason does
    found = Page(_page(*purchase, show_transcripts=True)[1])
    assert len(found.all("blockquote")) == 11 and found.all("blockquote")[0][1]
    assert f"They say: {WORDS.upper()}" in found.article("clip-3-03") and WORDS in found.article("clip-3-04")


def test_long_replies_are_cut_and_their_length_is_said(page):
    shown = Page(page[1]).article("clip-3-02")
    assert f"reply, {LONG + 18:,} characters" in shown and f"(cut; {LONG + 18:,} characters in all)" in shown
    assert shown.count("x" * MOST_CHARACTERS) == 0 and len(page[1]) < 800_000


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("the DOGS, are… sitting", WORDS, True),
        ("dogs are loud", WORDS, False),
        ('{"transcript": "dogs\\u0020are\\nsitting"}', WORDS, True),
        ("caf\u0301e\u0301 is clo\u0301sed", "Café is clósed now", False),
        ("cafe\u0301 is clo\u0301sed", "Café is clósed now", True),
        ("He said its eleven oclock", "It's eleven o'clock!", True),
        ("It is eleven", "It's eleven o'clock!", False),
        ("no", "No.", True),
        ("There is nothing", "No.", False),
        ("sad", "Sad!", False),
        ('{"sad": 0.5, "happy": 0.5}', "sad, happy", False),
        ("他说孩子们在门边说话吗", "孩子们在门边说话", True),
        ("孩子", "孩子们在门边说话", False),
        ("anything", None, False),
        ("anything", " … ", False),
        ("", WORDS, False),
    ],
)
def test_what_quotes_a_transcript(text, said, expected):
    assert quotes(text, said, ["sad", "happy"]) is expected


def test_hidden_signs_are_written_out_and_others_stay():
    assert visible("\ud800\x1b[31m\ufffe\u2066\ufeff") == "⟨U+D800⟩⟨U+001B⟩[31m⟨U+FFFE⟩⟨U+2066⟩⟨U+FEFF⟩"
    for text in ("Ärger, 怒り, غضب", "a\tb\nc", "👩\u200d👩\u200d👧", "می\u200cروم"):
        assert visible(text) == text


# --- which clips


def test_clips_by_chance_are_a_fair_sample_whatever_else_is_shown():
    rng = np.random.default_rng(0)
    ids = [f"clip {number}" for number in range(400)]
    divergence, failures = rng.random(400), (rng.random(400) < 0.05).astype(np.int64)
    divergence[rng.random(400) < 0.1] = np.nan
    found = choose(ids, divergence, failures, 60, seed=1)
    places = [place for place, _ in found]
    assert len(set(places)) == 60
    by = {why: [place for place, reason in found if reason == why] for why in ("failures", "disagreement", "chance")}
    assert (failures[by["failures"]].all() and len(by["failures"]) == min(20, failures.sum())) or len(
        by["failures"]
    ) < 20
    left = np.setdiff1d(np.arange(400), by["chance"] + by["failures"])
    assert (
        min(divergence[by["disagreement"]])
        >= np.sort(divergence[left][~np.isnan(divergence[left])])[-len(by["disagreement"])]
    )
    # what fails or is disagreed on does not change who is drawn
    again = choose(ids, rng.random(400), np.zeros(400, dtype=np.int64), 60, seed=1)
    assert {place for place, why in again if why == "chance"} == set(by["chance"]) and len(again) == 60
    assert choose(ids, divergence, failures, 60, seed=1) == found
    assert {p for p, w in choose(ids, divergence, failures, 60, seed=2) if w == "chance"} != set(by["chance"])
    assert len(choose(ids, np.full(400, np.nan), failures, 60, seed=1)) == 60
    assert {why for _, why in choose(ids[:9], divergence[:9], failures[:9], 9, 0)} == {"all"}
    assert [len(choose(ids, divergence, failures, most, 0)) for most in (1, 2, 3)] == [1, 2, 3]


def test_the_page_says_which_it_shows_and_keeps_within_its_size(purchase):
    study, text = _page(*purchase, most_clips=6)
    assert len(Page(text).all("article")) == 6
    assert any(re.match(r"6 of 11 clips are shown \(--most_clips 6\): \d because", line) for line in study.findings)
    assert {"failures", "chance"} <= {clip["why"] for clip in study.results["clips"]}
    players = Page(text).all("audio")
    sizes = [len(attributes["src"].partition(",")[2]) for attributes, _ in players]
    small, text = _page(*purchase, most_clips=6, most_megabytes=(sizes[0] + 10) / 1e6)
    left = [len(attributes["src"].partition(",")[2]) for attributes, _ in Page(text).all("audio")]
    assert left and sum(left) <= sizes[0] + 10 and text.count("found no room") == 6 - len(left)
    assert any("clips have no player" in line for line in small.findings)


# --- how far apart


def test_one_opinion_is_no_disagreement_and_two_are():
    rng = np.random.default_rng(1)
    shares = truth(300, rng)
    people = draw(shares, 6, rng)
    same = disagreement(annotated(people, {"a": draw(shares, 8, rng)}), seed=0)
    assert np.mean(same.divergence) == pytest.approx(np.mean(same.by_chance), abs=0.015)
    other = disagreement(annotated(people, {"a": draw(truth(300, rng), 8, rng)}), seed=0)
    assert np.mean(other.divergence) > np.mean(other.by_chance) + 0.15
    rows = np.array([7, 250])
    table = annotated(people, {"a": draw(shares, 8, np.random.default_rng(3))})
    assert disagreement(table.select(rows), 0).by_chance == pytest.approx(disagreement(table, 0).by_chance[rows])


def test_bare_votes_and_rows_where_nobody_spoke():
    human = np.array([[0, 0], [1, -1], [-1, -1]])
    found = disagreement(vote_table(human, synthetic=np.array([[0, 1], [-1, -1], [2, 2]])), seed=0)
    assert found.answers.tolist() == [2, 0, 2] and np.isfinite(found.divergence).tolist() == [True, False, False]
    assert found.panel[0].tolist() == [0.5, 0.5, 0, 0] and len(EMOTIONS) == 4


# --- ledgers


def test_without_a_ledger_the_votes_alone(purchase):
    study, text = _page(purchase[0], None)
    found = Page(text)
    assert any("No ledger was named" in line for line in study.findings) and not found.all("details")
    assert "sad" in found.article("clip-3-01") and not study.tables
    assert len(found.all("article")) == 8  # the others have no answer, and nobody knows of their failures


def test_a_clip_that_stands_there_twice_a_retry_and_a_failure_that_is_not_final(tmp_path):
    rows = tiny_rows(4, seed=5)
    rows[1] |= {"audio": rows[0]["audio"], "transcript": rows[0]["transcript"]}
    rows[3] |= {"audio": rows[0]["audio"], "transcript": "Something else."}
    first = audio_hash(rows[0]["audio"])

    def refuses(number, request, audio):
        return Answer(None, failure="blocked", detail="not this one") if audio.digest == first else "sad"

    path, ledger, _ = annotate(tmp_path, rows, refuses, distributions=0)
    study, _ = _page(path, ledger)
    failures = {clip["id"]: clip["failures"] for clip in study.results["clips"]}
    assert failures == {"clip-5-02": {}} | {f"clip-5-0{number}": {"blocked": 3} for number in (0, 1, 3)}
    assert any("Requests without a vote: 9 blocked" in line for line in study.findings)
    shutil.rmtree(path)
    path, ledger, _ = annotate(tmp_path, rows, lambda *_: "happy", distributions=0, retry_failed=True)
    study = bought(Sources([str(path)]), ledger=ledger, num_resamples=10)
    shown = Page(study_page(study)).article("clip-5-01")
    assert shown.count("blocked") == 3 and shown.count("does not count") == 3 and "not this one" in shown
    asked_again = {"final": False, "cost_usd": 0.003, "assumed_usd": 0.002, "text": None, "label": None}
    with Ledger(ledger) as opened:
        assert len(opened) == 15
        vote = next(record for record in opened.records() if record.row_id == "clip-5-02")
        opened.store([replace(vote, key="0" * 64, outcome="timeout", detail="late", **asked_again)])
    study = bought(Sources([str(path)]), ledger=ledger, num_resamples=10)
    shown = Page(study_page(study)).article("clip-5-02")
    assert "timeout" in shown and "the next run asks again" in shown and "$0.003 $0.002 of it by bound" in shown
    assert any("of which $0.0020 by bound" in line for line in study.findings)


def test_the_ledger_of_another_data_set_is_told_of(purchase, tmp_path, capsys):
    rows = tiny_rows(2, seed=8)
    _, other, _ = annotate(tmp_path, rows, lambda *_: "sad")
    words = ["report", "bought", str(purchase[0]), "--output", str(tmp_path / "out"), "--ledger"]
    for ledger, message in (
        (other, "has none of the "),
        (tmp_path / "none.sqlite", "There is no ledger"),
        (purchase[0] / "README.md", "is not an SQLite file"),
    ):
        assert main([*words, str(ledger)]) == 2
        told = capsys.readouterr().err
        assert message in told and "Mend:" in told
    assert not (tmp_path / "out").exists()


def test_part_of_the_replies_in_another_ledger(purchase, tmp_path):
    """Such as when several machines had one each, and nobody merged them."""
    with Ledger(purchase[1]) as whole, Ledger(tmp_path / "half.sqlite") as half:
        half.store([record for record in whole.records() if record.row_id == "clip-3-08"])
    study, text = _page(purchase[0], tmp_path / "half.sqlite")
    assert any("are not in this ledger" in line for line in study.findings)
    assert "not in the ledger" in Page(text).article("clip-3-09") and "reply, 5" in Page(text).article("clip-3-08")


def test_what_cannot_be_shown_is_said(purchase, data_folder, tmp_path):
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\n")
    rows = tiny_rows(2, seed=8)
    for row in rows:
        row["synthetic_votes"] = ["sad"] if row is rows[0] else []
    data = as_dataset(rows)
    path = write_dataset(
        DatasetDict(train=data.select([0]), test=data.select([1])),
        tmp_path / "bare",
        description="d",
        vote_source="SIMULATED votes",
        emotions=TINY_EMOTIONS,
    )
    for sources, options, message in (
        ([str(tmp_path / "v.csv")], {}, "is a table without clips"),
        ([str(data_folder)], {}, "has neither 'synthetic_annotations' nor 'synthetic_votes'"),
        ([str(path)], {"split": "test"}, "has a synthetic answer"),
        ([str(path), f"again={path}"], {}, "run the study once for each"),
        ([str(path)], {"by": "speaker"}, "run the study once for each"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            bought(Sources(sources, **options), num_resamples=10)
    for option in ("most_clips", "most_megabytes"):
        with pytest.raises(ValueError, match=f"{option}=0"):
            bought(Sources([str(path)]), **{option: 0})
    study = bought(Sources([str(path)]), num_resamples=10)
    assert "simulated data" in study.notes and [clip["answers"] for clip in study.results["clips"]] == [1]


def test_chosen_rows_keep_their_own_recordings(purchase):
    everyone, one = (
        _page(*purchase)[1],
        study_page(
            bought(Sources([str(purchase[0])], where={"id": "clip-3-08"}), ledger=purchase[1], num_resamples=10)
        ),
    )
    sounds = {player["aria-label"]: player["src"] for player, _ in Page(everyone).all("audio")}
    ((player, _),) = Page(one).all("audio")
    assert player["src"] == sounds[player["aria-label"]] and "clip-3-08" in player["aria-label"]


def test_a_clip_that_cannot_be_read_has_its_reason():
    page = ClipPage(["angry"], False, 1.0, False)
    clip = type("Clip", (), {"id": "broken"})()
    assert "broken" in page._player(clip, {"bytes": b"nothing <b>", "path": None}) and page.silent == 0


# --- in a browser


@pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="needs Chromium and playwright"
)
def test_twenty_real_clips_in_a_browser(real_data, tmp_path, capsys):
    """RAVDESS with borrowed votes: heard, filtered and sorted; nothing is asked of anybody, and nothing is complained
    of."""
    from playwright.sync_api import sync_playwright

    folder = real_data / "ravdess"
    lines = (folder / "votes.csv").read_text().splitlines()
    (tmp_path / "votes.csv").write_text("\n".join([lines[0], *lines[1::36][:20]]) + "\n")
    (tmp_path / "audio").mkdir()
    for line in lines[1::36][:20]:
        shutil.copy(folder / "audio" / line.partition(",")[0], tmp_path / "audio")
    assert main(["read", "table", str(tmp_path / "votes.csv"), str(tmp_path / "audio"), str(tmp_path / "read")]) == 0
    rows = [row for part in load_emotion_dataset(tmp_path / "read").values() for row in part]
    emotions = tuple(rows[0]["human_distribution"])

    def script(number, request, audio):
        if int(audio.digest[:2], 16) % 8 == 0:
            return Answer(None, failure="blocked", detail="<script>alert(1)</script>")
        return f"<think>{HARM}</think>{emotions[int(audio.digest[2:4], 16) % 6]}"

    path, ledger, _ = annotate(tmp_path, rows, script, emotions, 0, max_failure_rate=1)
    output = tmp_path / "page"
    assert main(["report", "bought", str(path), "--ledger", str(ledger), "--output", str(output)]) == 0
    assert "borrowed votes" in capsys.readouterr().out
    study = json.loads((output / "bought.json").read_text())["results"]["clips"]
    complaints, asked = [], set()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.add(request.url.partition(":")[0]))
        page.goto(f"file://{output / 'bought.html'}")
        shown = page.locator("article:visible")
        assert shown.count() == 20 and page.locator("#shown").inner_text() == "20 of 20 clips shown"
        # each recording is one that the browser can play
        lengths = page.evaluate(
            """() => Promise.all(Array.from(document.querySelectorAll("audio"), (audio) => new Promise((done) => {
                audio.addEventListener("loadedmetadata", () => done(audio.duration));
                audio.addEventListener("error", () => done(-1));
                audio.preload = "metadata"; audio.load();
            })))"""
        )
        assert len(lengths) == 20 and all(2 < length < 7 for length in lengths)
        page.get_by_label("only with failures").check()
        failing = {clip["id"] for clip in study if clip["failures"]}
        assert 0 < len(failing) < 20 and set(shown.locator("h3").all_inner_texts()) == failing
        page.get_by_role("button", name="Show all").click()
        assert shown.count() == 20
        page.get_by_label("JS divergence from").fill("0.5")
        far = {clip["id"] for clip in study if (clip["js_divergence"] or 0) >= 0.5}
        assert 0 < len(far) < 20 and set(shown.locator("h3").all_inner_texts()) == far
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("people mostly say").select_option("neutral")
        calm = {c["id"] for c in study if c["votes"]["neutral"] == max(c["votes"].values())}
        assert set(shown.locator("h3").all_inner_texts()) == calm
        page.get_by_label("id has").fill("no such clip")
        assert shown.count() == 0 and page.locator("#shown").inner_text() == "0 of 20 clips shown"
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("order").select_option("by id")
        assert shown.locator("h3").all_inner_texts() == sorted(clip["id"] for clip in study)
        page.get_by_label("order").select_option("least first")
        known = sorted(clip["js_divergence"] for clip in study if clip["js_divergence"] is not None)
        found = [value for value in page.eval_on_selector_all("article", "all => all.map(a => a.dataset.divergence)")]
        assert [float(value) for value in found if value] == pytest.approx(known, abs=1e-6)
        assert found[len(known) :] == [""] * (20 - len(known))
        # by keyboard: a button that opens every reply
        page.get_by_role("button", name="Open replies").focus()
        page.keyboard.press("Enter")
        assert page.locator("details[open]").count() == page.locator("details").count() > 0
        assert "alert(2)" in page.locator("details pre").first.inner_text()
        browser.close()
    assert not complaints and asked <= {"file", "data"}
