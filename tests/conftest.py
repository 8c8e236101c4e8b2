"""Fixtures that more than one test uses."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights, pictures and data sets that lies beside a checkout; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs real weights and pictures in ../shared/assets, which do not ship with the project")
    return SHARED
