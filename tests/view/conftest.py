import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_left_of_the_server() -> Iterator[None]:
    """Collect the sockets that the library's server leaves, so that no later test finds them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
