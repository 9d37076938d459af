"""The user's own table: one row a clip, with vote counts or a list of votes."""

from ..._lazy import lazy_attributes

_NAMES = {
    "TableError": "file",
    "read_table": "read",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
