"""Audio-language models as extra annotators: who answers, how they are asked, and every paid reply kept once."""

from .._lazy import lazy_attributes

_NAMES = {
    "AnnotationIncomplete": "run.run_report",
    "AnnotationResult": "annotator",
    "Annotator": "annotator",
    "Estimate": "run.estimate",
    "GeminiBackend": "backends.gemini",
    "HearingTest": "hearing.verdict",
    "Ledger": "ledger.ledger",
    "LedgerError": "ledger.ledger",
    "ModelCapabilities": "capabilities",
    "OpenAIBackend": "backends.openai",
    "PanelMember": "types",
    "Prices": "capabilities",
    "PromptSet": "prompts",
    "RunReport": "run.run_report",
    "SimulatedBackend": "backends.simulated",
    "TransformersBackend": "backends.transformers",
    "annotate_with_gemini": "functions",
    "draw_votes": "drawing",
    "default_panel": "panel",
    "load_panel": "panel",
    "load_prompts": "prompts",
    "make_backend": "backends",
    "paper_panel": "panel",
    "reread": "rereading",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
