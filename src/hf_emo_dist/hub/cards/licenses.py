"""The licence that a fine-tuned model can have, from those of its base model and its data.

A rule of thumb, no legal advice.
"""

from __future__ import annotations

__all__ = ["KNOWN_BASES", "combined_license"]

# Licences that known base models name on the Hub.
KNOWN_BASES = {
    "Qwen/Qwen2-Audio-7B": "apache-2.0",
    "Qwen/Qwen2-Audio-7B-Instruct": "apache-2.0",
    "openai/whisper-tiny.en": "apache-2.0",
}
# Naming the source, which a card does, is all that these ask of a model made from it.
_PERMISSIVE = frozenset((
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "odc-by", "pddl",
    "unlicense",
))  # fmt: skip
# What the product of these and a permissive one must carry: share-alike and non-commercial terms pass on.
_PASSED_ON = frozenset((
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "odbl",
))  # fmt: skip


def combined_license(base: str | None, data: str | None) -> str:
    """The licence identifier for a model made from a base model and a data set; `other` where none follows.

    >>> combined_license("apache-2.0", "cc-by-4.0"), combined_license("apache-2.0", "cc-by-nc-sa-4.0")
    ('apache-2.0', 'cc-by-nc-sa-4.0')
    >>> combined_license("apache-2.0", None), combined_license("cc-by-sa-4.0", "cc-by-nc-4.0")
    ('other', 'other')
    """
    first, second = (str(name or "").strip().lower() for name in (base, data))
    if first == second and first in _PERMISSIVE | _PASSED_ON:
        return first
    if first in _PERMISSIVE and second in _PERMISSIVE:
        return second if first == "cc0-1.0" else first
    if first in _PERMISSIVE and second in _PASSED_ON:
        return second
    if first in _PASSED_ON and second in _PERMISSIVE:
        return first
    return "other"
