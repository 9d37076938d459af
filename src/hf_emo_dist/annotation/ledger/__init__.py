"""The ledger: every paid reply, kept once, in an SQLite file that processes share."""

from ..._lazy import lazy_attributes

_NAMES = {
    "Ledger": "ledger",
    "LedgerError": "ledger",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
