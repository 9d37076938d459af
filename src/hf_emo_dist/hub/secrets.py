"""Keys and tokens, found in bytes: those that this user has, in several encodings, and those that have a known form."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np

#: Environment variables whose values are secret, by their names.
_NAMES = re.compile(
    r"(?i)(token|secret|passw|passphrase|(^|_)pass(_?[0-9]+)?$|_pwd|api_?key|credential|_key(_|[0-9]|$)|_pat$|_auth$|^auth)"
)
#: Of these the value is where something lies.
_OF_PATHS = re.compile(r"(?i)(file|path|dir|directory|folder|home|root|sock|socket)s?$")
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
    (
        "an OpenAI key",  # and of others who took its form; some of these are lower-case hexadecimal
        b"sk-",
        rb"sk-(?:(?=[\w-]*[0-9])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{32,300}"
        rb"|(?:[a-z0-9]{1,10}-){0,3}(?=[a-f]*[0-9])[0-9a-f]{32,128}(?![A-Za-z0-9]))",
    ),
    ("a Groq key", b"gsk_", rb"gsk_[A-Za-z0-9]{40,100}"),
    ("a Google key", b"AIza", rb"AIza[A-Za-z0-9_-]{35}"),
    ("a Google key", b"AQ.", rb"AQ\.(?=[\w-]*[0-9])[A-Za-z0-9_-]{30,300}"),
    ("a Google token", b"ya29.", rb"ya29\.[A-Za-z0-9_-]{30,1000}"),
    ("a GitHub token", b"ghp_", rb"ghp_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"gho_", rb"gho_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"ghs_", rb"ghs_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"ghu_", rb"ghu_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"ghr_", rb"ghr_[A-Za-z0-9]{36,251}"),
    ("a GitHub token", b"github_pat_", rb"github_pat_[A-Za-z0-9_]{50,251}"),
    ("a GitLab token", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,64}"),
    ("an AWS key", b"AKIA", rb"AKIA[A-Z0-9]{16}"),
    ("an AWS key", b"ASIA", rb"ASIA(?=[A-Z]*[0-9])[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("a Slack token", b"xox", rb"xox[abeoprs]-(?:[0-9]-)?(?=[A-Za-z]*[0-9])[A-Za-z0-9]{8,}-[A-Za-z0-9-]{20,300}"),
    ("a Slack token", b"xapp-", rb"xapp-[0-9]-[A-Z0-9]{8,}-[A-Za-z0-9-]{20,300}"),
    ("a Stripe key", b"sk_live_", rb"sk_live_[A-Za-z0-9]{20,250}"),
    ("a Stripe key", b"rk_live_", rb"rk_live_[A-Za-z0-9]{20,250}"),
    ("a SendGrid key", b"SG.", rb"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("a JSON Web Token", b"eyJ", rb"eyJ[A-Za-z0-9_-]{12,2000}\.eyJ[A-Za-z0-9_-]{8,3000}\.[A-Za-z0-9_-]{32,1500}"),
    ("a private key", b"PRIVATE KEY-----", rb"PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/=\s\\]{64}"),
    ("a private key", b"PRIVATE KEY BLOCK-----", rb"PRIVATE KEY BLOCK-----[\s\S]{0,400}?[A-Za-z0-9+/]{60}"),
    ("an address with a password", b"://", rb"://[A-Za-z0-9._~%+-]{1,100}:(?![0-9]{1,5}/)[^\s/:@\"'<>\\{}$]{6,200}@[A-Za-z0-9\[]"),
    ("a signed address", b"Signature=", rb"Signature=[A-Za-z0-9%+/_-]{40,1000}"),
    ("a signed address", b"sig=", rb"sig=(?:[A-Za-z0-9+/]|%2[BbFf]){43}(?:=|%3[Dd])"),
)  # fmt: skip
_IN_A_WORD = re.compile(rb"[A-Za-z0-9]")
# after these a word begins, although a letter or a digit stands before it
_ENDS_OF_ESCAPES = re.compile(
    rb"(?:\\[abefnrtv0]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-7]{3}|[%=][0-9A-F]{2}|%[0-9a-f]{2}|\[[0-9;]*m)\Z"
)
# one printable character, written as JSON, Python or addresses may
_ESCAPE = re.compile(rb"\\u00([2-7][0-9A-Fa-f])|\\x([2-7][0-9A-Fa-f])|%([2-7][0-9A-Fa-f])|\\([/\"])")
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
                told = set()
                for found in (*self.known(text), *_forms(text, strictly)):
                    told.add(found.what)
                    yield Found(found.what, begin + found.start, begin + found.end)
                for found in (*self._unbroken(text), *self._unescaped(text, strictly)):
                    if found.what not in told:
                        yield Found(found.what, begin + found.start, begin + found.end)
                continue
            for found in (*self.known(text), *_forms(text, strictly)):
                where = begin + step * found.start, begin + step * found.end
                yield Found(f"{found.what}, in UTF-{8 * step}", *where)

    def known(self, data: bytes) -> Iterator[Found]:
        """Find those whose value is known."""
        for what, needle in self._needles:
            yield from _all(what, needle, data)

    def _unbroken(self, text: bytes) -> Iterator[Found]:
        """Those that are broken into lines, as base64 is in mail."""
        if b"\\" in text:
            text = text.replace(b"\\n", b"\n\n").replace(b"\\r", b"\r\r")  # as long as before
        whole = text.translate(None, _BREAKS)
        if len(whole) == len(text):
            return
        kept = None
        for found in self.known(whole):
            if kept is None:
                kept = np.flatnonzero(~np.isin(np.frombuffer(text, np.uint8), list(_BREAKS)))
            yield Found(found.what, int(kept[found.start]), int(kept[found.end - 1]) + 1)

    def _unescaped(self, text: bytes, strictly: bool) -> Iterator[Found]:
        """Those with characters written as escapes."""
        if b"%" not in text and b"\\" not in text:
            return
        plain, count = _ESCAPE.subn(_character, text)
        if count:
            for found in (*self.known(plain), *_forms(plain, strictly)):
                yield Found(found.what, _before(text, found.start), _before(text, found.end - 1) + 1)


_BREAKS = b" \t\r\n\"',\\"


def _character(match: re.Match[bytes]) -> bytes:
    return match[4] or bytes([int(match[match.lastindex or 1], 16)])


def _before(text: bytes, place: int) -> int:
    """Where in a text something stood that stands at a place when its escapes are undone."""
    for match in _ESCAPE.finditer(text):
        if match.start() >= place:
            break
        place += len(match[0]) - 1
    return place


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
        if _NAMES.search(name) and not _is_path(name, value):
            values.append((f"the value of {name}", value.strip()))
        if "://" in value[:24] and "@" in value:
            password = _password(value)
            values += [(f"the password in {name}", each) for each in {password, unquote(password)} if each]
    tokens = [get_token(), *get_stored_tokens().values()]
    values += [("your Hugging Face token", token) for token in tokens if token]
    return Secrets([(what, value) for what, value in values if len(value) >= SHORTEST])


def _is_path(name: str, value: str) -> bool:
    """Whether a value says where something lies; keys may begin with a slash, too."""
    if not value.startswith(("/", "~", ".")):
        return False
    return _OF_PATHS.search(name) is not None or os.path.exists(os.path.expanduser(value))


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


_UNQUOTED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"


def _encoded(what: str, value: str) -> Iterator[tuple[str, bytes]]:
    plain = value.encode("utf-8", "surrogateescape")
    yield what, plain
    if len(plain) < _RUN or not value.isascii():  # others are found as text, see `_texts`
        for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            # the zeros at the ends depend on what stands beside it
            yield f"{what}, in {name[:6].upper()}", value.encode(name, "surrogatepass").strip(b"\0")
    yield f"{what}, in hexadecimal", binascii.hexlify(plain)
    yield f"{what}, in hexadecimal", binascii.hexlify(plain).upper()
    # of escapes only those of printable ASCII are undone, see `_ESCAPE`
    if not value.isascii():
        yield what, json.dumps(value)[1:-1].encode()
        everywhere = "".join(chr(byte) if chr(byte) in _UNQUOTED else f"%{byte:02X}" for byte in plain).encode()
        yield what, everywhere
        yield what, re.sub(rb"%..", lambda match: match[0].lower(), everywhere)
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
    if at == 0 or begin[-1:] not in (b"_", b"-", b".") or not _IN_A_WORD.match(data, at - 1):
        return False
    return not _ENDS_OF_ESCAPES.search(data[max(0, at - 8) : at])


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
