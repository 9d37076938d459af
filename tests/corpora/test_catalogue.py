import re
from pathlib import Path
from typing import get_args

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora import CORPORA, find_reader
from hf_emo_dist.corpora.catalogue import OUTSIDE, SPLITS
from hf_emo_dist.corpora.options import Outside
from hf_emo_dist.corpora.utterances import SplitBy

PAGE = Path(__file__).parents[2] / "docs" / "corpora.md"
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def test_the_tables_of_the_page_are_those_that_the_command_prints(capsys):
    assert main(["corpora"]) == 0
    printed = _TABLE.findall(capsys.readouterr().out)
    written = _TABLE.findall(PAGE.read_text("utf-8"))
    assert set(written) >= set(printed), "paste what `hf-emo-dist corpora` prints"
    assert [table.splitlines()[0] for table in written if table not in printed] == []


def test_every_choice_and_every_corpus_is_in_the_tables():
    assert list(OUTSIDE) == list(get_args(Outside)) and set(SPLITS) == set(get_args(SplitBy))
    assert all(find_reader(name).info.reads for name in CORPORA)
