import pytest

from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.writing import write_dataset


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Eight simulated clips in a folder."""
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(8, 4, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder
