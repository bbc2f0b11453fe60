"""The served page through gradio_client, and what starting it needs.

`python app.py` itself is started by tests/browser.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client, exceptions

from viz import Trace
from viz.__main__ import build

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    page = build()
    _, url, _ = page.queue().launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    page.close(verbose=False)


def test_build_does_not_import_torch():
    code = """if True:
        import sys
        from viz.__main__ import build
        build()
        sys.exit("torch" in sys.modules or "diffusers" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_api_records_trace(client):
    result = client.predict("a round green monster", 3, 4, 2.5, api_name="/trace")
    trace = Trace.load(Path(result["path"] if isinstance(result, dict) else result))
    assert trace.steps == [0, 1, 2, 3] and trace.recipe["seed"] == 3
    assert {layer.kind for layer in trace} == {"self", "cross"}
    assert max(trace.proved.values()) < 1e-5 and max(trace.verify().values()) < 5e-3  # in half precision
    assert trace.skipped == {}


def test_api_records_both_halves_if_asked(client):
    result = client.predict("a round green monster", 3, 1, 2.5, True, api_name="/trace")
    trace = Trace.load(Path(result["path"] if isinstance(result, dict) else result))
    assert list(trace.branches) == ["unconditional", "conditional"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 3, 4, 2.5), "caption is empty"),
        (("a monster", -1, 4, 2.5), "got -1"),
        (("a monster", 1, 5000, 2.5), "5000"),
    ],
)
def test_api_refuses_values_out_of_range(client, arguments, message):
    with pytest.raises(exceptions.AppError, match=message):
        client.predict(*arguments, api_name="/trace")


def test_api_offers_what_is_for_programs_only(client):
    offered = set(client.view_api(return_format="dict")["named_endpoints"])
    assert offered == {"/trace", "/models", "/generate", "/rows", "/word_map"}
