"""Where eyespot keeps what it fetched or made: one directory per machine user, named by ``EYESPOT_CACHE`` if set."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """The platform's cache directory for eyespot; it need not exist."""
    named = os.environ.get("EYESPOT_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "eyespot"


def bundle_directory(name: str) -> Path:
    """Where a bundle of this name is cached."""
    return cache_directory() / "bundles" / name
