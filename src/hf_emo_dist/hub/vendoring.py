"""One Python file out of many: a module with everything of this package that it uses, so that it runs without the package."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["standalone_source"]

PACKAGE = __name__.partition(".")[0]


@dataclass
class _Module:
    """The source of one module, and what its top-level names are defined by."""

    name: str
    source: str
    is_package: bool = False
    tree: ast.Module = field(init=False)
    defined: dict[str, ast.stmt] = field(init=False)
    imported: dict[str, tuple[str, str, str]] = field(init=False)  # name → module, name there, the line that imports it

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.source)
        self.defined, self.imported = {}, {}
        for statement in self.tree.body:
            for name in _targets(statement):
                self.defined[name] = statement
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    self.imported[bound] = (alias.name, "", ast.unparse(ast.Import([alias])))
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                module = self.absolute(node)
                for alias in node.names:
                    line = ast.unparse(ast.ImportFrom(module, [alias], 0))
                    self.imported[alias.asname or alias.name] = (module, alias.name, line)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that a `from … import` names."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def text(self, statement: ast.stmt) -> str:
        """The source of a statement with its decorators and the comment lines right above it."""
        lines = self.source.splitlines()
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))]) - 1
        while first > 0 and lines[first - 1].startswith("#"):
            first -= 1
        return "\n".join(lines[first : statement.end_lineno])


def standalone_source(file: str | Path) -> str:
    """The source of a module, with the functions and constants of this package that it imports, and those that they use, put into it.

    Args:
        file: a Python file whose top level says `from hf_emo_dist.… import name`.

    Raises:
        ValueError: it imports the package in a way that cannot be followed, or two parts of the package give one name to two things.

    Example:
        >>> standalone_source("metrics/js_divergence/js_divergence.py")  # doctest: +SKIP
    """
    path = Path(file)
    main = _Module(path.stem, path.read_text(encoding="utf-8"))
    modules: dict[str, _Module] = {}
    found: dict[str, tuple[str, ast.stmt]] = {}  # name → where it is defined
    third_party: dict[str, None] = {}
    aliases: list[str] = []

    def module_of(name: str) -> _Module:
        if name not in modules:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                raise ValueError(f"{path.name} needs {name}, whose source is not there")
            source = Path(spec.origin).read_text(encoding="utf-8")
            modules[name] = _Module(name, source, is_package=spec.submodule_search_locations is not None)
        return modules[name]

    def take(module: _Module, name: str) -> None:
        if name in module.imported and name not in module.defined:
            source, original, line = module.imported[name]
            if source.partition(".")[0] != PACKAGE:
                third_party[line] = None
                return
            if not original or original == "*":
                raise ValueError(
                    f"{module.name} imports the module {source} as a whole, which cannot be put into one file: import names from it"
                )
            take(module_of(source), original)
            if original != name and f"{name} = {original}" not in aliases:
                aliases.append(f"{name} = {original}")
            return
        statement = module.defined.get(name)
        if statement is None:
            return  # a builtin
        if name in found:
            if found[name][0] != module.name:
                raise ValueError(
                    f"{name!r} stands for two things, in {found[name][0]} and in {module.name}: rename one of them"
                )
            return
        for target in _targets(statement):
            found[target] = (module.name, statement)
        for used in _names(statement):
            take(module, used)

    for node in ast.walk(main.tree):
        if isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == PACKAGE for alias in node.names):
            raise ValueError(f"{path.name} imports {PACKAGE} as a whole: write `from {PACKAGE}.scores import name`")
    for name, (source, _, _) in main.imported.items():
        if source.partition(".")[0] == PACKAGE:
            if name in main.defined:
                raise ValueError(f"{name!r} is both imported and defined in {path.name}")
            take(main, name)
    clash = sorted(set(found) & set(main.defined))
    if clash:
        raise ValueError(f"{path.name} defines {clash[0]!r}, which {PACKAGE} does too: rename it")

    parts = [_docstring(main), "from __future__ import annotations\n"]
    # evaluate reads imports from the file's text, one a line
    own = [line for source, _, line in main.imported.values() if source.partition(".")[0] != PACKAGE]
    lines = sorted(dict.fromkeys([*own, *third_party]), key=lambda line: (line.startswith("from"), line))
    parts.append("\n".join(lines) + "\n")
    parts.append(f"# From here to the next line of dashes: taken from {PACKAGE}, so that this file runs without it.\n")
    order = list(modules)
    taken = sorted(
        {id(s): (order.index(m), s.lineno, m, s) for m, s in found.values()}.values(), key=lambda entry: entry[:2]
    )
    # modules that were reached later are used by those before
    for index in sorted({entry[0] for entry in taken}, reverse=True):
        parts += [modules[m].text(s) + "\n" for i, _, m, s in taken if i == index]
    parts += [f"{alias}\n" for alias in aliases]
    parts.append("# " + "-" * 70 + "\n")
    skip = (ast.Import, ast.ImportFrom)
    body = main.tree.body[1:] if ast.get_docstring(main.tree) is not None else main.tree.body
    parts += [main.text(statement) + "\n" for statement in body if not isinstance(statement, skip)]
    source = "\n".join(parts)
    if any(name.partition(".")[0] == PACKAGE for name in _imports(source)):
        raise ValueError(
            f"a function that {path.name} uses imports {PACKAGE} inside: import at the top of its module instead"
        )
    return source


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield PACKAGE if node.level else node.module or ""


def _docstring(module: _Module) -> str:
    first = module.tree.body[0] if module.tree.body else None
    return f"{module.text(first)}\n" if first is not None and ast.get_docstring(module.tree) is not None else ""


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _names(statement: ast.stmt) -> Iterator[str]:
    """Every name that a statement reads, also in annotations that are strings."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
