"""A transcript that no clip can hold is named before a batch takes all of the memory."""

import numpy as np
import pytest
import soundfile
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows, tone

from hf_emo_dist import EmotionDistributionTrainer, EmotionDistributionTrainingArguments, predict_distributions
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.evaluation.calibrate import calibrate_checkpoint
from hf_emo_dist.evaluation.checkpoint import evaluate_checkpoint
from hf_emo_dist.modeling.pipeline import SpeechEmotionDistributionPipeline
from hf_emo_dist.modeling.text_lengths import MOST_PAIRS, SHORT, check_lengths

WORDS = "word " * 200_000  # 1 MB
SAID = (
    r"The words of row 'long' are far longer than a clip can hold \([\d,]+ tokens or more\).*GB.*Mend: correct or leave"
)


@pytest.fixture
def rows():
    found = tiny_rows(6, seed=3)
    found[4] = {**found[4], "id": "long", "transcript": WORDS}
    return as_dataset(found)


def no_pass(*_, **__):
    pytest.fail("a batch was made of it")


def test_training_says_so_before_it_begins(rows, tiny_model, tiny_processor, tmp_path, monkeypatch):
    monkeypatch.setattr(type(tiny_model), "forward", no_pass)
    args = EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, report_to="none", eval_strategy="epoch")
    good = as_dataset(tiny_rows(4, seed=1))
    for train, evaluation in ((rows, good), (good, rows)):
        with pytest.raises(ValueError, match=SAID):
            EmotionDistributionTrainer(
                model=tiny_model,
                args=args,
                processing_class=tiny_processor,
                train_dataset=train,
                eval_dataset=evaluation,
            ).train()


def test_scoring_says_so_before_it_begins(rows, checkpoint, tmp_path, monkeypatch, tiny_model):
    write_dataset(rows, tmp_path / "data", description="x", vote_source="made up", emotions=TINY_EMOTIONS)
    monkeypatch.setattr(type(tiny_model), "forward", no_pass)
    with pytest.raises(ValueError, match=SAID):
        evaluate_checkpoint(checkpoint, tmp_path / "data", "train", train_split=None, device="cpu", progress=False)
    with pytest.raises(ValueError, match=SAID):
        calibrate_checkpoint(checkpoint, tmp_path / "data", "train", train_split=None, device="cpu", progress=False)


def test_predicting_rows_says_so_before_the_first(rows, tiny_model, tiny_processor, monkeypatch):
    monkeypatch.setattr(type(tiny_model), "forward", no_pass)
    with pytest.raises(ValueError, match=SAID):
        predict_distributions(tiny_model, tiny_processor, rows, batch_size=2, progress=False)


def test_a_stream_s_batch_says_so(rows, tiny_processor):
    with pytest.raises(ValueError, match=SAID):
        tiny_processor.from_rows([rows[i] for i in range(6)])


def test_of_several_inputs_of_the_pipeline_the_others_are_answered(tiny_model, tiny_processor, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(200, 0.3, seed=1), 16000)
    pipe = SpeechEmotionDistributionPipeline(tiny_model, tiny_processor)
    files = [str(tmp_path / "a.wav")] * 3
    answers = pipe(files, transcript=["Well.", WORDS, None], batch_size=3)
    assert "far longer than a clip can hold" in answers[1]["error"]
    assert all(sum(one["score"] for one in answers[i]) == pytest.approx(1) for i in (0, 2))


@pytest.mark.parametrize(
    ("tokens", "batch_size", "said"),
    [
        (SHORT, 10**6, None),
        (int((MOST_PAIRS / 8) ** 0.5), 8, None),
        (int((MOST_PAIRS / 8) ** 0.5) + 1, 8, "a batch size of 7"),
        (90_000, 1, "leaves out all)."),
    ],
)
def test_the_bound_is_of_a_batch(tokens, batch_size, said):
    class Letters:
        """One token a letter."""

        def text_tokens(self, transcript, speaker=None):
            return len(transcript or "") + len(speaker or "")

    for words in (("a" * tokens, None), (None, "a" * tokens), ("a" * (tokens // 2), "a" * (tokens - tokens // 2))):
        arguments = (Letters(), ["short", "long"], ["Well.", words[0]], [None, words[1]], batch_size)
        if said is None:
            check_lengths(*arguments)
        else:
            with pytest.raises(ValueError) as caught:
                check_lengths(*arguments)
            assert said in str(caught.value) and "'long'" in str(caught.value) and "short" not in str(caught.value)


def test_words_that_are_not_given_to_the_model_count_for_nothing(rows, tiny_processor):
    tiny_processor.use_transcript = False
    assert tiny_processor.text_tokens(WORDS) == 0
    assert np.isfinite(tiny_processor.from_rows([rows[4]])["input_features"].numpy()).all()
