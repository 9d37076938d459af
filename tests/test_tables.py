"""Names from a table, and `module:Name` of the user's own code in their place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hf_emo_dist._tables import resolve

TABLE = {"votes": "votes:votes_to_distribution"}


def find(name: object) -> object:
    return resolve(name, TABLE, "example", "hf_emo_dist")  # type: ignore[arg-type]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with modules of the user's own, as a console script sees it: not in `sys.path`."""
    (tmp_path / "own_ok.py").write_text("class Thing:\n    class Part: pass\n")
    (tmp_path / "own_needs.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "own_raises.py").write_text("[].no_such_method()\n")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "inner.py").write_text("def work(): pass\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("votes", "votes_to_distribution"),
        ("own_ok:Thing", "Thing"),
        ("own_ok:Thing.Part", "Part"),
        ("own_package.inner:work", "work"),
    ],
)
def test_finds(own: Path, name: str, found: str) -> None:
    assert find(name).__name__ == found  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("voices", ["Unknown example 'voices'", "'votes'", "module:Name"]),
        (3, ["must be a string, got 3", "'votes'"]),
        ("own_ok:", ["not of the form", "module:Name"]),
        (":Thing", ["not of the form"]),
        ("own_ok.py:Thing:x", ["not of the form"]),
        ("own_missing:Thing", ["no module 'own_missing'", "Mend"]),
        ("own_package.missing:Thing", ["no module 'own_package.missing'"]),
        ("own_ok.inner:Thing", ["no module 'own_ok.inner'"]),
        ("own_ok:Nothing", ["own_ok.py) has no 'Nothing'"]),
        ("own_ok:Thing.Nothing", ["has no 'Thing.Nothing'"]),
        ("own_needs:Thing", ["cannot be imported (ModuleNotFoundError: No module named 'no_such_package_at_all')"]),
        ("own_raises:Thing", ["cannot be imported (AttributeError", "python -c 'import own_raises'"]),
    ],
)
def test_says_what_is_wrong(own: Path, name: object, said: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        find(name)
    for words in said:
        assert words in str(error.value)


def test_an_installed_module_goes_before_one_of_the_current_folder(own: Path) -> None:
    (own / "wave.py").write_text("open = None\n")
    assert find("wave:open") is not None


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match=r"needs openai.*pip install 'hf-emo-dist\[openai\]'"):
        resolve("a", {"a": "none:x"}, "example", "openai")
