"""What every test may ask for."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def assets(root: Path) -> Path:
    """The bundled pictures and driver."""
    return root / "src" / "fewshot_reenact" / "assets"


@pytest.fixture(scope="session")
def shared(root: Path) -> Path:
    """The research material beside the checkout; tests that need it are skipped where it is absent."""
    folder = root.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not part of the project")
    return folder
