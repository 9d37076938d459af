"""A user's file is opened only where it is an ordinary one: a device has no end, and a pipe may have no beginning."""

import os
import signal

import pytest

from hf_emo_dist import VoteCombiner
from hf_emo_dist._files import refuse_special
from hf_emo_dist.annotation.ledger.accounts import existing, spending_by_day
from hf_emo_dist.annotation.ledger.copying import copy_ledger
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.panel import read_panel_file
from hf_emo_dist.annotation.prompts import load_prompts
from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.audio.signatures import check_head
from hf_emo_dist.commands.configs import read_config
from hf_emo_dist.corpora import understand_table
from hf_emo_dist.corpora.cremad import holds_responses
from hf_emo_dist.corpora.exports.answers import read_json, read_parquet, read_rows, there
from hf_emo_dist.corpora.label_files import iter_lines
from hf_emo_dist.corpora.table.file import load_table
from hf_emo_dist.corpora.utterances import CorpusReport
from hf_emo_dist.data.intact import read_json as read_own
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.preparation_file import read_preparation
from hf_emo_dist.evaluation.resuming import predictions_for
from hf_emo_dist.preparation.combine_settings import load_combiner


def data_folder(file):
    (file.parent / "data").mkdir()
    file.rename(file.parent / "data" / "train-00000-of-00001.parquet")
    return load_emotion_dataset(file.parent)


def merged(file):
    with Ledger(file.with_name("mine.sqlite")) as ledger:
        ledger.merge(file)


READERS = {
    "a table": load_table,
    "an export, JSON": read_json,
    "an export, Parquet": read_parquet,
    "an export, CSV": read_rows,
    "a corpus's labels": lambda file: list(iter_lines(file, CorpusReport())),
    "a ledger": lambda file: Ledger(file).close(),
    "a ledger that is read": spending_by_day,
    "a ledger that is copied": lambda file: copy_ledger(file, file.with_name("copy")),
    "a ledger that is merged": merged,
    "lines that are merged": lambda file: merged(file.rename(file.with_suffix(".jsonl"))),
    "an exported table": lambda file: existing(file),
    "prompts": load_prompts,
    "a combiner of a preparation": lambda file: load_combiner(file, ("sad",)),
    "predictions": lambda file: predictions_for(file, ["a"], ("sad",)),
    "an export, by its path": lambda file: there(file, "export"),
    "a data set's file": load_emotion_dataset,
    "a panel": read_panel_file,
    "settings": read_config,
    "a combiner": VoteCombiner.load,
    "a state": lambda file: read_own(file, "run it again."),
    "a data set": data_folder,
    "a clip": lambda file: check_audio([{"id": "a", "audio": str(file)}], progress=False).raise_if_any(),
    "a clip's head": check_head,
}


@pytest.fixture(params=["pipe", "device"])
def special(request, tmp_path):
    file = tmp_path / "named like a file.csv"
    if request.param == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")

    def late(*_):
        raise AssertionError("waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield file
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_ordinary_file_is_refused_at_once(special, reader):
    with pytest.raises(Exception, match=r"is a (named pipe|device)") as caught:
        READERS[reader](special)
    assert not isinstance(caught.value, AssertionError)


def test_what_is_asked_about_and_is_none_is_none(special, tmp_path):
    assert not holds_responses(special)
    special.rename(tmp_path / "preparation.json")
    assert read_preparation(tmp_path) == {}


def test_an_ordinary_file_and_none_are_passed(tmp_path):
    (tmp_path / "a").write_text("")
    refuse_special(tmp_path / "a")
    refuse_special(tmp_path / "missing")
    with pytest.raises(OSError, match=r"is a folder\. Mend: name an ordinary file"):
        refuse_special(tmp_path)


def test_a_clip_of_a_table_that_is_a_pipe_or_a_device_is_not_called_absent(special):
    special.rename(special.with_name("z.wav"))
    table = special.with_name("votes.csv")
    table.write_text("file,votes\nz.wav,sad|angry\n")
    with pytest.raises(ValueError, match=r"1 of 1 audio files in .* are pipes or devices.*\(the first: 'z.wav'\)"):
        understand_table(table, special.parent)
