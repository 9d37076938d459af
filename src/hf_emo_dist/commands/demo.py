"""`hf-emo-dist demo`: a page to record or upload speech and see the distribution, on this machine."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._lazy import need
from .predict import open_pipeline

logger = logging.getLogger(__name__)


def demo(
    *,
    model: Sequence[str],
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed_host: Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
    open: bool = False,
) -> None:
    """Show a page to record or upload speech and see the distribution, on this machine, until Ctrl-C; recordings are
    deleted then.

    Args:
        model: Checkpoint, a local folder or a Hub id; several are compared: --model A --model B.
        host: Address to serve at; 127.0.0.1 is this machine alone.
        port: Port. Default: the first free one from 7860.
        allowed_host: Further names by which browsers may ask for the page, such as a proxy's; localhost and the address
            itself are allowed. Whatever comes from other pages is refused.
        device: cpu, cuda, ... Default: a GPU where there is one.
        dtype: float32, bfloat16 or float16. Default: as saved.
        open: Open the page in the browser.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hf-emo-dist-demo-") as folder:
        # before gradio is imported: where it puts recordings, and that it reports nothing to anyone
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from .demo_page import build_page

        need("gradio", "demo")  # what is missing is said before a checkpoint is loaded
        page = build_page(load_pipelines(model, device, dtype))
        address = serve(page, host, port, open, allowed_host)
        sys.stdout.write(f"The page is at {address} (Ctrl-C ends it; recordings are deleted then)\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write("\nThe page is closed.\n")
        finally:
            page.close(verbose=False)


def load_pipelines(models: Sequence[str], device: str | None = None, dtype: str | None = None) -> dict[str, Any]:
    """Load a pipeline a checkpoint, by the last part of its name."""
    pipes: dict[str, Any] = {}
    for model in models:
        name = Path(model).name or model
        if name in pipes:
            name = f"{name} ({len(pipes) + 1})"
        pipes[name] = open_pipeline(model, device=device, dtype=dtype)
    return pipes


def serve(
    page: Any,
    host: str = "127.0.0.1",
    port: int | None = None,
    inbrowser: bool = False,
    allowed_host: Sequence[str] = (),
) -> str:
    """Serve a page of `build_page` in the background and return its address."""
    import gradio
    from starlette.middleware import Middleware

    from .demo_guard import Guard, Tracebacks

    for module in (gradio.routes, gradio.queueing, gradio.route_utils):
        if "traceback" in vars(module):
            vars(module)["traceback"] = Tracebacks()
    if not _is_loopback(host):
        logger.warning(
            "everyone who can reach %s on the network can use this page, and the recordings go there unencrypted", host
        )
    # fonts of the machine: the theme's own would be asked of another server
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=inbrowser,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        run_history=False,
        max_file_size="100mb",
        theme=theme,
        allowed_paths=[],
        app_kwargs={"middleware": [Middleware(Guard, bound=host, named=tuple(allowed_host))]},
    )
    return str(address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
