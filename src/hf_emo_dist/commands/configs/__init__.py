"""The package's own YAML files, found by name: of training, of preparing (`prepare/…`), and of `accelerate launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..._files import is_ordinary
from ..._yaml import in_one_line, read_yaml_file

CONFIGS = Path(__file__).parent
ACCELERATE_CONFIGS = CONFIGS.parent / "accelerate_configs"


def config_names(folder: Path = CONFIGS) -> list[str]:
    """The names of the package's own files."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def config_file(name: str, folder: Path = CONFIGS) -> Path:
    """The YAML file that is meant: a path, which goes first, or the name of one of the package's own."""
    file = Path(name).expanduser()
    if is_ordinary(file):
        return file
    names = config_names(folder)
    if name not in names:
        raise FileNotFoundError(
            f"No configuration file at {name}. Mend: check the path, or name one of the package's own: "
            f"{', '.join(names)}."
        )
    return folder / f"{name}.yaml"


def read_config(name: str) -> dict[str, Any]:
    """What the file says, as a mapping."""
    import yaml

    try:
        content = read_yaml_file(config_file(name)) or {}
    except yaml.YAMLError as error:
        raise ValueError(
            f"{name} is not YAML in UTF-8 ({in_one_line(error)}). Mend: the line that it names."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no mapping. Mend: write lines such as `seed: 0`.")
    return {str(key): value for key, value in content.items()}
