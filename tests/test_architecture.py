"""Who may import whom: read from the code's imports, lazy ones too, and held against the table in CONTRIBUTING."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hf_emo_dist"

VOCABULARY = "vocabulary"
#: From the ground up: a room knows those that stand before it, and nobody else in its own line.
ORDER = [
    [VOCABULARY],
    ["audio"],
    ["scores"],
    ["data"],
    ["corpora", "annotation", "combining"],
    ["modeling"],
    ["augmentation"],
    ["hub"],
    ["training"],
    ["evaluation"],
    ["studies"],
    ["preparation"],
    ["listening"],
    ["engines"],
    ["commands"],
]
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
#: Heavy, and only for some of what the package does: imported by the rooms that need them, and never by `import
#: hf_emo_dist`.
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "faiss",
    "librosa",
    "matplotlib",
    "scipy",
    "sklearn",
    "gradio",
    "ray",
}


def modules() -> dict[str, Path]:
    """Module name within the package → its file; the package's data (metric modules) is none of it."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if any(
            not (parent / "__init__.py").is_file() for parent in path.parents if PACKAGE in [parent, *parent.parents]
        ):
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room_of(module: str) -> str:
    first = module.partition(".")[0]
    return first if (PACKAGE / first).is_dir() else VOCABULARY


def imports(module: str, at_the_top: bool = False) -> set[str]:
    """Modules of the package that a module imports anywhere in its code, `TYPE_CHECKING` blocks too, or at its top."""
    path = MODULES[module]
    base = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                start = base[: len(base) - node.level + 1]
                target = ".".join([*start, *((node.module or "").split(".") if node.module else [])])
            elif (node.module or "").partition(".")[0] == "hf_emo_dist":
                target = (node.module or "").partition(".")[2]
            else:
                continue
            for name in node.names:
                inner = f"{target}.{name.name}" if target else name.name
                found.add(inner if inner in MODULES else target)
        elif isinstance(node, ast.Import):
            found |= {n.name.partition(".")[2] for n in node.names if n.name.startswith("hf_emo_dist.")}
    return {name for name in found if name in MODULES and name not in ("", module)}


# `reports` is an address of 0.1, which only raises
GRAPH = {module: imports(module) for module in MODULES if module not in ("", "__main__", "reports")}


def test_every_room_has_its_place():
    rooms = {room_of(module) for module in GRAPH}
    assert rooms <= set(FLOOR), f"rooms without a place in the order: {rooms - set(FLOOR)}"


def test_arrows_point_one_way():
    wrong = sorted(
        f"{module} -> {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if room_of(target) != room_of(module) and FLOOR[room_of(target)] >= FLOOR[room_of(module)]
    )
    assert not wrong, "imports of a room that does not stand before:\n" + "\n".join(wrong)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Tarjan's strongly connected components of more than one module."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph.get(module, ()):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            members = []
            while not members or members[-1] != module:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(members))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def test_no_circle_not_even_a_lazy_one():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(GRAPH) == []


def test_imports_are_relative():
    absolute = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("hf_emo_dist")
    ]
    assert not absolute


#: Below `modeling`, and layers of torch themselves: imported by nothing but functions and by rooms that load torch.
OF_TORCH = {"audio.qwen2_audio_tower", "audio.audioflamingo3_tower"}


def test_rooms_below_modeling_load_no_torch():
    loaded = {
        f"{module}: {name}"
        for module, path in MODULES.items()
        if module and module not in OF_TORCH and FLOOR[room_of(module)] < FLOOR["modeling"]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        for name in ([n.name for n in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] in HEAVY
    }
    loaders = {
        f"{module}: {target}"
        for module, path in MODULES.items()
        if module and module not in OF_TORCH and FLOOR[room_of(module)] < FLOOR["modeling"]
        for target in imports(module, at_the_top=True) & OF_TORCH
    }
    assert not loaded | loaders, "imported with the module, not in the function that needs it"


NOTHING_SAYING = {"rows", "facts", "report", "commands", "run", "utils", "helpers", "misc"}


def test_no_two_files_share_a_name_that_says_nothing():
    names = [path.stem for path in MODULES.values()]
    assert not {name for name in NOTHING_SAYING if names.count(name) > 1}


# --- CONTRIBUTING's table is this order


def table() -> list[tuple[list[str], str]]:
    """The rows of CONTRIBUTING's table of rooms: the rooms in the first cell, and the last cell."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Where things live") :].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")
    ]
    return [(re.findall(r"`([a-z_]+)/?(?:\.py)?`", row[0]), row[-1]) for row in rows]


def test_contributing_lists_the_rooms_in_their_order():
    listed = [room for rooms, _ in table() for room in rooms if room in FLOOR]
    there = {room_of(module) for module in GRAPH} - {VOCABULARY}
    assert listed == [room for rooms in ORDER for room in rooms if room in there]


def test_contributing_names_the_vocabulary():
    rooms, _ = table()[0]
    assert set(rooms) == {m for m in GRAPH if room_of(m) == VOCABULARY and not m.startswith("_")}


@pytest.mark.parametrize("room", [room for rooms in ORDER[1:] for room in rooms])
def test_every_room_says_what_it_is(room):
    if room in {room_of(module) for module in GRAPH}:
        assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))


# --- one writer

#: Files that write by themselves, and why.
OWN_WRITERS = {
    "data.output": "the writer",
    "training.cached_tower": "a cache, whose entries need no fsync",
    "commands.partial_answers": "a stream: what was predicted before a crash is there",
    "annotation.functions": "a list in the cache folder, one line appended",
    "annotation.backends._google_batches": "a temporary file",
    "annotation.batch.chunks": "a temporary file that is uploaded",
    "hub.push": "a temporary folder that is uploaded",
    "hub.push_data": "a temporary folder that is uploaded",
}
WRITES = {
    *("write_text", "write_bytes", "savefig", "write_table", "ParquetWriter", "to_parquet", "to_json", "to_csv"),
    *("save_pretrained", "save_file", "savez", "save_to_disk", "touch"),
}
#: What is written to: the temporary name that the writer gave, no file at all, or what transformers names.
PLACES = {"part", "parts", "image", "writer", "save_directory"}


def writes_by_itself(node: ast.Call) -> bool:
    """Whether a call writes a file by another way than the writer's functions."""
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    name = method or (node.func.id if isinstance(node.func, ast.Name) else "")
    texts = [
        word.value for word in [*node.args, *(key.value for key in node.keywords)] if isinstance(word, ast.Constant)
    ]
    opens = name in ("open", "OSFile") and any(
        isinstance(text, str) and re.fullmatch(r"(?=.*[wax+])[rwabtx+]{1,3}", text) for text in texts
    )
    # `write_text` as a function is the writer's own
    if opens or method in WRITES or name in ("save_file", "ParquetWriter"):
        return True
    return name in ("save", "dump", "move") and ast.unparse(node.func) in (
        *("torch.save", "torch.export.save", "json.dump", "yaml.dump", "pickle.dump", "np.save", "shutil.move"),
    )


def test_the_writers_calls_are_known():
    found = [writes_by_itself(ast.parse(text).body[0].value) for text in (
        "open(name, 'w')", "open(name, mode='xb')", "file.open('a')", "path.write_text(x)", "torch.save(a, b)",
        "save_file(a, b)", "figure.savefig(file)", "model.save_pretrained(folder)",
        "open(name)", "open(name, 'rb')", "write_text(path, x)", "text.replace('w', 'a')", "opened.open('wax')",
    )]  # fmt: skip
    assert found == [True] * 8 + [False] * 4 + [True]


def test_files_are_written_through_the_one_writer():
    """Whoever writes by a method of its own writes to `part`, the temporary name that the writer gave."""
    found = []
    for module, path in MODULES.items():
        if module in OWN_WRITERS or module.startswith("annotation.ledger"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and writes_by_itself(node):
                names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                if not names & PLACES:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:60]}")
    assert not found, "use hf_emo_dist.data.output"


def test_plots_are_saved_in_one_place():
    """There, labels are drawn as they are written, and a ``$`` is no formula."""
    found = [name for name, path in MODULES.items() if ".savefig(" in path.read_text()]
    assert found == ["data.figures"]
