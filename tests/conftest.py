"""Where the Python tests find the build, the shared data and the real model."""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("RILL_BUILD", ROOT / "build" / "ci"))


@pytest.fixture(scope="session")
def build_dir() -> pathlib.Path:
    """The build under test: $RILL_BUILD, or build/ci."""
    if not BUILD.exists():
        pytest.skip(f"skipped: no build in {BUILD}")
    return BUILD


@pytest.fixture(scope="session")
def rill(build_dir) -> str:
    """Path of the rill binary."""
    path = build_dir / "apps" / "rill" / "rill"
    if not path.exists():
        pytest.fail(f"{path} was not built")
    return str(path)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The shared test data: $RILL_SHARED_DATA, or ../shared/data beside the checkout."""
    path = pathlib.Path(os.environ.get("RILL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.exists():
        pytest.skip("skipped: no shared data")
    return path


@pytest.fixture(scope="session")
def smollm2() -> str:
    """The real model: $RILL_SMOLLM2, or where `rill pull smollm2` puts it."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "rill"
    cache = pathlib.Path(os.environ.get("RILL_CACHE", cache))
    default = cache / "models" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path = pathlib.Path(os.environ.get("RILL_SMOLLM2", default))
    if not path.exists():
        pytest.skip("skipped: SmolLM2 is not in the cache (rill pull smollm2)")
    return str(path)


@pytest.fixture(scope="session")
def stories(shared_data) -> str:
    """stories260K, a model of 1 MB: for what does not depend on the answer."""
    return str(shared_data / "models" / "stories260K" / "stories260K.gguf")
