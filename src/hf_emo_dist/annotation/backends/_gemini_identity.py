"""Which server a google-genai client asks, told from the client or from the environment, and the connections to it."""

from __future__ import annotations

import os
from typing import Any
from urllib.request import getproxies

from ..types import FatalError
from ._errors import endpoint_of

__all__ = ["base_url", "environment_identity", "identity", "session"]

_HOST = "https://generativelanguage.googleapis.com"


def session() -> Any:
    """The connections of the running event loop, as many as requests are in flight.

    The client's own session looks for proxies and for a netrc file before every request, a twentieth of its time; here only where a
    proxy is set or a netrc file is named.
    """
    import aiohttp

    looks = bool(getproxies()) or "NETRC" in os.environ
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=looks)


def base_url(client: Any) -> str | None:
    """The address that a client is set to; None for what is no google-genai client."""
    options = getattr(getattr(client, "_api_client", None), "_http_options", None)
    url = getattr(options, "base_url", None)
    return url if isinstance(url, str) else None


def identity(client: Any) -> tuple[str, bool]:
    """Endpoint of a client, and whether it is Vertex AI's."""
    url = base_url(client)
    if url is None:
        return f"client:{type(client).__module__}.{type(client).__qualname__}", False
    inner = client._api_client
    vertex = bool(getattr(inner, "vertexai", False))
    return _with_project(url, getattr(inner, "project", None) if vertex else None, getattr(inner, "location", None)), (
        vertex
    )


def environment_identity() -> tuple[str, bool]:
    """The same for the client that google-genai would make from the environment, without importing it."""
    flag = os.environ.get("GOOGLE_GENAI_USE_ENTERPRISE", os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", ""))
    if flag.lower() not in ("true", "1"):
        return endpoint_of(os.environ.get("GOOGLE_GEMINI_BASE_URL") or _HOST), False
    project, location = os.environ.get("GOOGLE_CLOUD_PROJECT"), os.environ.get("GOOGLE_CLOUD_LOCATION")
    key = os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
    if not (project or location) and key:
        return endpoint_of(os.environ.get("GOOGLE_VERTEX_BASE_URL") or "https://aiplatform.googleapis.com"), True
    if not project:
        raise FatalError(
            "setup",
            "Vertex AI is asked for without a project; replies are kept under it.",
            "set GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION.",
        )
    location = location or "global"
    hosts = {"global": "https://aiplatform.googleapis.com"}
    hosts |= {name: f"https://aiplatform.{name}.rep.googleapis.com" for name in ("us", "eu")}
    url = os.environ.get("GOOGLE_VERTEX_BASE_URL") or hosts.get(
        location, f"https://{location}-aiplatform.googleapis.com"
    )
    return _with_project(url, project, location), True


def _with_project(url: str, project: str | None, location: str | None) -> str:
    endpoint = endpoint_of(url)
    return endpoint if project is None else f"{endpoint}/projects/{project}/locations/{location}"
