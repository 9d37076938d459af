"""To the Hub: a checkpoint with its processor, scores and card, in one commit."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .._checkpoint_files import PEFT_CONFIG_NAME, WEIGHTS_INDEX_NAME, is_adapter
from ..data.output import write_text
from ..markdown import hub_id
from ._renamed import renamed
from .cards.model_card import model_card
from .cards.model_facts import gather_model_facts
from .cards.rendering import is_edited
from .commit import PushReport, commit_files, full_name
from .endpoint import FILES as HANDLER_FILES
from .files import PLOTS, RESULTS, checkpoint_files, inside

logger = logging.getLogger(__name__)

#: Weights of an earlier push: a loader may prefer them to the new ones.
WEIGHTS = ("model*.safetensors", WEIGHTS_INDEX_NAME, "adapter_model*.safetensors", PEFT_CONFIG_NAME)


@renamed(licence="license")
def push_model(
    checkpoint: str | os.PathLike[str],
    repo_id: str,
    *,
    merge: bool = False,
    base_model: str | None = None,
    scores: str | os.PathLike[str] | None = None,
    endpoint_handler: bool = False,
    dataset: str | os.PathLike[str] | None = None,
    license: str | None = None,
    overwrite_card: bool = False,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    dry_run: bool = False,
    not_secret: Sequence[str] = (),
) -> PushReport:
    """Push a checkpoint with its processor and its card to a model repository.

    Uploaded are weights in safetensors, configuration, processor, training arguments and scores, without tokens,
    folders or optimizer state. A README in the folder that was edited by hand goes up as it is, and one that was edited
    on the Hub is kept there.

    Args:
        checkpoint: A local folder: full, merged or adapter, such as the output folder of a training.
        repo_id: `owner/name`, or `name` for your own account.
        merge: Fold an adapter into its backbone and push the full model.
        base_model: Hub id of an adapter's backbone, where it was trained from a local copy.
        scores: A `scores.json`; by default the one in the folder. Its plots go along.
        endpoint_handler: Push `handler.py` and `requirements.txt`, too, by which Inference Endpoints serve the
            checkpoint.
        dataset: Folder or Hub id of the data set, for the card, where the training did not record it.
        license: Of the checkpoint; by default worked out from those of base model and data.
        overwrite_card: Write the card anew even where somebody has edited it.
        private: Whether a repository that is made is private; None leaves it to the account's settings.
        token: The Hub's; by default the one that `hf auth login` stored.
        revision: Branch to push to.
        create_pr: Open a pull request instead.
        commit_message: Of the commit.
        dry_run: List files and sizes, and send nothing.
        not_secret: Places where what looks like a key, a token or a path is none, as the error that stopped the push
            named them; also with `*`.

    Returns:
        What was pushed; `str(report)` lists it.

    Raises:
        OSError: The folder is no checkpoint, or the Hub cannot be reached.
        ValueError: An adapter's backbone is a local folder; the label order was changed; or a token or path is in a
            file (nothing is sent).
        PermissionError: The token may not write there.

    Example:
        >>> print(push_model("my_model", "you/my-model", dry_run=True))  # doctest: +SKIP
        9 files, 27.1MB, would be pushed to the model you/my-model (public unless your account's settings ...
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise OSError(
            f"'{checkpoint}' is no folder. Mend: name the output folder of a training, or what load_emotion_model's "
            "model was saved to."
        )
    if base_model is not None and hub_id(base_model) is None:
        raise ValueError(f"base_model={base_model!r} is no model on the Hub. Mend: give owner/name.")
    if not dry_run:
        repo_id = full_name(repo_id, token)
    merged = merge and is_adapter(folder)
    facts = gather_model_facts(
        folder,
        repo_id=repo_id,
        scores=scores,
        dataset=dataset,
        base_model=base_model,
        license=license,
        layout="merged" if merged else None,
    )
    card = model_card(facts)
    readme = folder / "README.md"
    if readme.is_file() and not overwrite_card:
        own = inside(readme).read_text(encoding="utf-8")
        if is_edited(own):
            logger.info("%s was edited by hand and goes up as it is", readme)
            card = own
    extra: dict[str, Path] = {}
    if scores is not None:
        beside = Path(scores).parent
        extra = {"scores.json": Path(scores), **{name: beside / name for name in PLOTS if (beside / name).is_file()}}
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as written:
        if endpoint_handler:
            for name, text in HANDLER_FILES.items():
                extra[name] = Path(written) / name
                write_text(extra[name], text)
        source = folder
        if merged:
            from .load import load_emotion_model

            source = Path(work)
            model, processor = load_emotion_model(folder, merge=True)
            model.save_pretrained(source)
            processor.save_pretrained(source)
            extra = {**{name: folder / name for name in RESULTS if (folder / name).is_file()}, **extra}
        return commit_files(
            repo_id,
            checkpoint_files(source, base_model=base_model, readme=card, extra=extra),
            message=commit_message or f"Upload {facts.name} with hf_emo_dist",
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            dry_run=dry_run,
            not_secret=not_secret,
            overwrite_card=overwrite_card,
            replaces=WEIGHTS,
        )
