"""YAML of users and strangers: what is read, and what is refused in one line, soon and with little memory."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist._yaml import in_one_line, read_yaml, read_yaml_file

PACKAGE = Path(__file__).parents[1] / "src" / "hf_emo_dist"


def laughs(levels, line):
    """Each line names the one before it nine times: nine to the power of `levels` values in some hundred bytes."""
    return "k0: &k0 {a: 1}\n" + "".join(
        line.format(n=n, many=", ".join([f"*k{n - 1}"] * 9)) for n in range(1, levels + 1)
    )


REFUSED = {
    "a list left open": ("a: [1", "line 1, column 6: expected ',' or ']'"),
    "aliases of lists": (laughs(9, "k{n}: &k{n} [{many}]\n"), "with its aliases written out"),
    "merge keys": (laughs(9, "k{n}: &k{n} {{<<: [{many}], b{n}: 1}}\n"), "with its aliases written out"),
    "a long text, often": ("a: &a '" + "x" * 90_000 + "'\nb: [" + "*a, " * 1000 + "]", "with its aliases written out"),
    "a value within itself": ("a: &a [*a]", "stands within itself"),
    "deep": ("[" * 20_000, "too deep"),
    "long": ("# " + "x" * 1_000_000, "longer than 1 MB"),
    "no day": ("a: 2020-13-45", "month must be in 1..12"),
    "a number of 5,000 digits": ("a: " + "9" * 5000, "cannot be read"),
    "a tag that lies": ("a: !!int x", "cannot be read"),
    "a tag of Python": ("!!python/object:os.system x", "could not determine a constructor"),
    "two documents": ("--- 1\n--- 2", "another document"),
    "a control character": ("a: \x00", "unacceptable character"),
    "a list as a key": ("? [a]\n: 1", "unhashable"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_in_one_line(case):
    text, told = REFUSED[case]
    with pytest.raises(yaml.YAMLError) as error:
        read_yaml(text)
    assert told in in_one_line(error.value) and "\n" not in in_one_line(error.value)


def test_panels_may_use_anchors():
    text = "- &one {focus: voice, temperature: 0.7}\n- {<<: *one, focus: words}\n- *one\n"
    assert read_yaml(text) == yaml.safe_load(text)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
        max_leaves=8,
    )
)
def test_what_a_parser_writes_is_read_as_by_it(value):
    text = yaml.safe_dump(value)
    assert read_yaml(text) == yaml.safe_load(text)


def test_a_file_is_read_as_far_as_it_may_be_long(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(yaml.YAMLError, match="byte 4 is no UTF-8"):
        read_yaml_file(path)
    with pytest.raises(yaml.YAMLError, match="longer than"):
        read_yaml_file("/dev/zero")


def test_nothing_else_in_the_package_reads_yaml():
    others = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "_yaml.py" and re.search(r"yaml\.\w*load|SafeLoader|FullLoader", path.read_text())
    ]
    assert not others
