"""Keys and tokens, found in bytes: those that this user has, in several encodings, and those that have a known form."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np

#: Environment variables whose values are secret, by their names.
_NAMES = re.compile(r"(?i)(token|secret|passw|api_?key|credential|_key$|_pat$|_auth$|^auth)")
#: A shorter value is found in too much that is none.
SHORTEST = 12
#: No secret is longer: so much of a block is looked at again with the next one.
LONGEST = 4096
#: Characters in a row in which a secret of a known form lies, at least.
_RUN = 15
_HIGH = np.uint64(0x8080_8080_8080_8080)

_FORMS = (
    # what it is, how it begins, the whole of it
    ("a Hugging Face token", b"hf_", rb"hf_[A-Za-z0-9]{20,200}"),
    ("a Hugging Face token", b"api_org_", rb"api_org_[A-Za-z0-9]{20,200}"),
    ("an OpenAI key", b"sk-", rb"sk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{32,300}"),
    ("a Google key", b"AIza", rb"AIza[A-Za-z0-9_-]{35}"),
    ("a Google key", b"AQ.", rb"AQ\.(?=[\w-]*[0-9])[A-Za-z0-9_-]{30,300}"),
    ("a Google token", b"ya29.", rb"ya29\.[A-Za-z0-9_-]{30,1000}"),
    ("a GitHub token", b"ghp_", rb"ghp_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"gho_", rb"gho_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"ghs_", rb"ghs_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"github_pat_", rb"github_pat_[A-Za-z0-9_]{50,251}"),
    ("a GitLab token", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,64}"),
    ("an AWS key", b"AKIA", rb"AKIA[A-Z0-9]{16}"),
    ("a Slack token", b"xoxb-", rb"xoxb-[0-9]{8,}-[A-Za-z0-9-]{20,200}"),
    ("a private key", b"PRIVATE KEY-----", rb"PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/=\s\\]{64}"),
    ("an address with a password", b"://", rb"://[A-Za-z0-9._~%+-]{1,100}:(?![0-9]{1,5}/)[^\s/:@\"'<>\\{}$]{6,200}@[A-Za-z0-9\[]"),
    ("a signed address", b"Signature=", rb"Signature=[A-Za-z0-9%+/_-]{40,1000}"),
)  # fmt: skip
_IN_A_WORD = re.compile(rb"[A-Za-z0-9]")
_COMPILED = tuple((what, begin, re.compile(whole)) for what, begin, whole in _FORMS)
# what documentation and templates have in the place of a key
_PLACEHOLDER = re.compile(rb"(?i)(.)\1{9}|x{8}|your|example|placeholder|user:pass|username:|:password@|1234567890abc")


class Found(NamedTuple):
    """Where in some bytes a secret stands, and what it is; never the secret itself."""

    what: str
    start: int
    end: int


class Secrets:
    """What is looked for.

    Args:
        values: What it is called and the secret itself: those that are known.

    Example:
        >>> secrets = Secrets([("the value of MY_KEY", "s3cret-s3cret")])
        >>> text = b"key: " + base64.b64encode(b"a s3cret-s3cret")
        >>> [found.what for found in secrets.search(text)], list(secrets.search(b"hf_ is how tokens begin"))
        (['the value of MY_KEY, in base64'], [])
    """

    def __init__(self, values: Sequence[tuple[str, str]] = ()) -> None:
        needles = dict.fromkeys(needle for what, value in values for needle in _encoded(what, value))
        self._needles = tuple(needles)
        # what a run of text may be too short for, or which is none
        self._short = tuple(
            (what, needle) for what, needle in needles if len(needle) < _RUN or not _run(1).fullmatch(needle)
        )

    def search(self, data: bytes, strictly: bool = True) -> Iterator[Found]:
        """Find them; each place once for each kind.

        Args:
            data: Where to look.
            strictly: Whether what stands around a word counts. Without it more is found: of values that lie one after
                the other, the neighbours are none of a value's own.
        """
        for what, needle in self._short:
            yield from _all(what, needle, data)
        for text, begin, step in _texts(data):
            if step == 1:
                for found in (*self.known(text), *_forms(text, strictly)):
                    yield Found(found.what, begin + found.start, begin + found.end)
                continue
            for found in (*self.known(text), *_forms(text, strictly)):
                where = begin + step * found.start, begin + step * found.end
                yield Found(f"{found.what}, in UTF-{8 * step}", *where)

    def known(self, data: bytes) -> Iterator[Found]:
        """Find those whose value is known."""
        for what, needle in self._needles:
            yield from _all(what, needle, data)


def _all(what: str, needle: bytes, data: bytes) -> Iterator[Found]:
    at = data.find(needle)
    while at >= 0:
        yield Found(what, at, at + len(needle))
        at = data.find(needle, at + 1)


def of_this_user() -> Secrets:
    """The secrets of the environment, by the names of its variables, and the tokens that `hf auth login` stored."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import get_stored_tokens

    values = []
    for name, value in os.environ.items():
        if _NAMES.search(name) and not value.startswith(("/", "~", ".")):
            values.append((f"the value of {name}", value.strip()))
        if "://" in value[:12] and "@" in value:
            password = _password(value)
            values += [(f"the password in {name}", password)] if password else []
    tokens = [get_token(), *get_stored_tokens().values()]
    values += [("your Hugging Face token", token) for token in tokens if token]
    return Secrets([(what, value) for what, value in values if len(value) >= SHORTEST])


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _encoded(what: str, value: str) -> Iterator[tuple[str, bytes]]:
    plain = value.encode("utf-8", "surrogateescape")
    yield what, plain
    if len(plain) < _RUN or not value.isascii():  # others are found as text, see `_texts`
        for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            # the zeros at the ends depend on what stands beside it
            yield f"{what}, in {name[:6].upper()}", value.encode(name, "surrogatepass").strip(b"\0")
    yield f"{what}, in hexadecimal", binascii.hexlify(plain)
    if (quoted := quote(value, safe="")) != value:
        yield what, quoted.encode()
    for before in range(3):  # in the middle of what is encoded, a byte can stand in any of three places
        text = base64.b64encode(bytes(before) + plain)
        # the first and the last characters hold bits of what stands beside it
        kept = text[-(-before * 8 // 6) : len(text) - (4 if text.endswith(b"=") else 0)]
        yield f"{what}, in base64", kept
        if b"+" in kept or b"/" in kept:
            yield f"{what}, in base64", kept.replace(b"+", b"-").replace(b"/", b"_")


def _forms(data: bytes, strictly: bool = True) -> Iterator[Found]:
    for what, begin, pattern in _COMPILED:
        at = data.find(begin)
        while at >= 0:
            match = pattern.match(data, at)
            if match and not (strictly and (_PLACEHOLDER.search(match[0]) or _goes_on(data, at, begin))):
                yield Found(what, at, match.end())
                at = match.end() - 1
            at = data.find(begin, at + 1)


def _goes_on(data: bytes, at: int, begin: bytes) -> bool:
    """Whether it is the middle of a word, such as "task-…" or "half_…"."""
    return at > 0 and begin[-1:] in (b"_", b"-", b".") and _IN_A_WORD.match(data, at - 1) is not None


def _texts(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Runs of printable characters, one byte each: the run, where it begins, bytes of a character (UTF-16: 2; 32: 4).

    Recordings and weights have next to none, so that they are looked at once, eight bytes at a time: each run of
    `_RUN` characters has eight bytes that lie in one word.
    """
    words = np.frombuffer(data, "<u8", len(data) // 8)
    places = np.flatnonzero((words & _HIGH) == 0)  # no byte over 0x7f
    if not len(places):
        return
    words = words[places]
    for step, shift in ((1, 0), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3)):
        # the bytes of a word in which characters stand; the others are 0
        chars = sum(0x7F << 8 * place for place in range(shift, 8, step))
        over = np.uint64(sum(0x80 << 8 * place for place in range(shift, 8, step)))
        added = np.uint64(sum(0x60 << 8 * place for place in range(shift, 8, step)))
        found = (words & np.uint64(~chars & 0xFFFF_FFFF_FFFF_FFFF)) == 0
        found &= ((words + added) & over) == over  # a character is 0x20 or more
        run, last = _run(step), 0
        begins, at = places[found] * 8 + shift, 0
        while at < len(begins):
            begin = int(begins[at])
            while begin - step >= last and run.fullmatch(data, begin - step, begin + 1):
                begin -= step
            last = run.match(data, begin).end()  # type: ignore[union-attr]
            if last - begin >= _RUN * step:
                yield data[begin:last:step], begin, step
            at = int(np.searchsorted(begins, last))


@lru_cache
def _run(step: int) -> re.Pattern[bytes]:
    one = rb"[\x20-\x7f\r\n\t]"
    return re.compile(rb"(?:%b\x00{%d})+%b?" % (one, step - 1, one) if step > 1 else one + rb"+")
