"""A user's file is opened only where it is an ordinary one: a device has no end, and a pipe may have no beginning."""

import os
import signal

import pytest

from hf_emo_dist import VoteCombiner
from hf_emo_dist._files import refuse_special
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.panel import read_panel_file
from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.audio.signatures import check_head
from hf_emo_dist.commands.configs import read_config
from hf_emo_dist.corpora.cremad import holds_responses
from hf_emo_dist.corpora.exports.answers import read_json, read_parquet, read_rows
from hf_emo_dist.corpora.label_files import iter_lines
from hf_emo_dist.corpora.table.file import load_table
from hf_emo_dist.corpora.utterances import CorpusReport
from hf_emo_dist.data.intact import read_json as read_own
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.preparation_file import read_preparation


def data_folder(file):
    (file.parent / "data").mkdir()
    file.rename(file.parent / "data" / "train-00000-of-00001.parquet")
    return load_emotion_dataset(file.parent)


READERS = {
    "a table": load_table,
    "an export, JSON": read_json,
    "an export, Parquet": read_parquet,
    "an export, CSV": read_rows,
    "a corpus's labels": lambda file: list(iter_lines(file, CorpusReport())),
    "a ledger": lambda file: Ledger(file).close(),
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
    with pytest.raises(Exception, match=r"(pipe|device|There is no|No panel|No config)") as caught:
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
