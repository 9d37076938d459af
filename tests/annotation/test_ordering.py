"""The order of a run: breadth first over clips in random order, so that one that is cut short is a smaller one."""

from collections import Counter

import pytest
from annotation_setup import annotator, clip, dataset, gemini, generated, votes
from gemini_server import GeminiServer
from scripted import ScriptedBackend

from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.ordering import ClipStore, random_order
from hf_emo_dist.annotation.types import Answer, PreparedAudio, Usage
from hf_emo_dist.audio.decoding import AudioError

ROWS, MEMBERS = 24, 3


class Counting(ScriptedBackend):
    """Notes what it was asked, in order, and how often a clip was prepared."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.order, self.prepared = [], Counter()

    def prepare(self, audio, row_id=None):
        self.prepared[row_id] += 1
        return super().prepare(audio, row_id)

    async def ask(self, request, audio, timeout_s):
        self.order.append((audio.digest, request["text"] + request["system"]))
        return await super().ask(request, audio, timeout_s)


class WholePanel(Counting):
    whole_panel = True


def run(backend, path, data, **options):
    return annotator(backend, path, num_annotations=MEMBERS, **{"concurrency": 1, **options}).annotate(data)


def test_every_clip_is_asked_about_once_before_any_is_twice(tmp_path):
    backend, data = Counting(), dataset(ROWS)
    found = run(backend, tmp_path / "v.sqlite", data)
    clips, texts = [digest for digest, _ in backend.order], [text for _, text in backend.order]
    rounds = [clips[start : start + ROWS] for start in range(0, ROWS * MEMBERS, ROWS)]
    assert len(set(rounds[0])) == ROWS and rounds[0] == rounds[1] == rounds[2]
    assert [len(set(texts[start : start + ROWS])) for start in range(0, ROWS * MEMBERS, ROWS)] == [1] * MEMBERS
    assert len(set(texts)) == MEMBERS and backend.prepared == Counter({f"u{i:03d}": 1 for i in range(ROWS)})
    assert [row["id"] for row in found.dataset] == data["id"][:]
    # The order is that of the ids alone: not of the rows, and another seed's is another.
    again, other = Counting(), Counting()
    assert votes(run(again, tmp_path / "w.sqlite", data.shuffle(seed=1)).dataset).keys() == votes(found.dataset).keys()
    run(other, tmp_path / "x.sqlite", data, seed=7)
    assert again.order == backend.order != other.order and Counter(other.order) == Counter(backend.order)


def test_a_server_sees_it_through_the_real_client(tmp_path):
    with GeminiServer() as server:
        run(gemini(server), tmp_path / "v.sqlite", dataset(ROWS), concurrency=4)
        clips = [request.audio for request in generated(server)]
    assert Counter(Counter(clips).values()) == {MEMBERS: ROWS}
    assert max(Counter(clips[: ROWS - 4]).values()) == 1 and max(Counter(clips[: 2 * ROWS - 4]).values()) == 2


def test_a_backend_that_answers_a_panel_at_once_goes_clip_by_clip_in_the_same_order(tmp_path):
    backend, plain = WholePanel(), Counting()
    run(backend, tmp_path / "v.sqlite", dataset(ROWS))
    run(plain, tmp_path / "w.sqlite", dataset(ROWS))
    clips = [digest for digest, _ in backend.order]
    assert clips == [digest for digest, _ in plain.order[:ROWS] for _ in range(MEMBERS)]
    assert set(backend.prepared.values()) == {1}


@pytest.mark.parametrize("paid", [5, ROWS, ROWS + 9, 2 * ROWS + 1])
def test_a_run_that_is_cut_short_has_as_many_votes_of_each_clip_give_or_take_one(tmp_path, paid):
    def script(number, request, audio):
        return Answer("happy", model_version="scripted-1", usage=Usage(150, 50, 30, 20))

    backend = Counting(script)
    # The claim of a request is that of a whole reply: so much is left over.
    found = run(backend, tmp_path / "v.sqlite", dataset(ROWS), max_tokens=200 * paid + 2700)
    report, sent = found.report, backend.sent
    assert "budget" in report.stop_reason and abs(sent - paid) < 4
    numbers = {name: len(labels) for name, labels in votes(found.dataset).items()}
    least, more = divmod(sent, ROWS)
    assert Counter(numbers.values()) == Counter({least: ROWS - more, least + 1: more}) - Counter()
    assert {n: c for n, c in report.votes_a_clip.items() if c} == dict(Counter(numbers.values()))
    assert max(report.votes_a_clip) == MEMBERS and f"of {MEMBERS} wanted" in report.summary()
    ahead = [position for position, number in enumerate(numbers.values()) if number > least]
    assert ahead == sorted(random_order(list(numbers), 42)[:more])
    # The same call goes on, and pays for the rest alone.
    rest = Counting(script)
    assert run(rest, tmp_path / "v.sqlite", dataset(ROWS)).report.complete and rest.sent == ROWS * MEMBERS - sent
    assert not set(rest.order) & set(backend.order)


def test_what_the_ledger_has_is_in_the_columns_though_the_run_did_not_come_to_it(tmp_path):
    path, data = tmp_path / "v.sqlite", dataset(ROWS)
    run(ScriptedBackend(), path, data.select(range(6)))
    found = run(ScriptedBackend(), path, data, max_tokens=Ledger(path).spending().tokens + 1)
    assert found.report.requests == 0 and not found.report.complete
    assert [len(labels) for labels in votes(found.dataset).values()] == [MEMBERS] * 6 + [0] * (ROWS - 6)
    assert found.report.votes_a_clip == {0: ROWS - 6, MEMBERS: 6}


def test_map_goes_by_rows_and_keeps_their_order(tmp_path):
    backend, data = Counting(), dataset(6)
    data.map(annotator(backend, tmp_path / "v.sqlite", concurrency=1, num_annotations=2), batched=True, batch_size=3)
    digests = [digest for digest, _ in backend.order]
    assert len(set(digests)) == 6 and digests == [digest for digest in dict.fromkeys(digests) for _ in range(2)]


def test_rows_without_ids_and_clips_that_cannot_be_read(tmp_path):
    rows = [{"audio": {"bytes": clip(i), "path": None}} for i in range(8)]
    rows[2]["audio"]["bytes"], rows[5]["audio"]["bytes"] = b"no audio", b""
    backend = Counting()
    found = run(backend, tmp_path / "v.sqlite", dataset(rows))
    assert found.report.complete and set(found.report.skipped) == {"2", "5"} and found.report.rows == 8
    assert [len(labels) for labels in found.dataset["synthetic_votes"]] == [3, 3, 0, 3, 3, 0, 3, 3]
    assert backend.prepared["2"] == 1 and backend.prepared["0"] == 1
    with Ledger(tmp_path / "v.sqlite") as ledger:
        assert {record.row_id for record in ledger.records()} == set("013467")


def test_clips_are_kept_up_to_a_bound_of_memory(tmp_path, monkeypatch):
    size = sum(len(clip(i)) for i in range(ROWS)) // 2
    monkeypatch.setattr(ClipStore.__init__, "__defaults__", (size,))
    backend = Counting()
    run(backend, tmp_path / "v.sqlite", dataset(ROWS))
    times = Counter(backend.prepared.values())
    # Where a round begins before the last one has ended, a clip may find room that its first round did not.
    assert max(times) == MEMBERS and abs(times[1] - ROWS // 2) <= 2 and times[MEMBERS] >= times[2]


def test_a_store_gives_back_room_and_remembers_what_cannot_be_sent():
    made = []

    def prepare():
        made.append(1)
        return PreparedAudio(b"x" * 60, "audio/flac", 1.0, "d")

    def broken():
        made.append(1)
        raise AudioError("no")

    store = ClipStore(100)
    first = store.get("a", prepare, again=True)
    assert store.get("a", prepare, again=True) == first and len(made) == 1
    store.get("b", prepare, again=True)  # no room beside it
    store.get("b", prepare, again=True)
    assert len(made) == 3
    assert store.get("a", prepare, again=False) == first  # the last time: there is room again
    store.get("b", prepare, again=True)
    store.get("b", prepare, again=True)
    assert len(made) == 4
    for _ in range(2):
        with pytest.raises(AudioError):
            store.get("c", broken, again=True)
    assert len(made) == 5


def test_the_order_is_random_and_depends_on_ids_alone():
    ids = [f"speaker{i // 50}_{i}" for i in range(400)]
    order = random_order(ids, 0)
    assert sorted(order) == list(range(400))
    assert [ids[i] for i in order] == [ids[::-1][i] for i in random_order(ids[::-1], 0)]
    # Of the first quarter, each speaker has about its share.
    shares = Counter(ids[i].split("_")[0] for i in order[:100])
    assert len(shares) == 8 and max(shares.values()) < 25
