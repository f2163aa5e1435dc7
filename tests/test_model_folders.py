"""Models of transformers as folders: where their files come from, and what of them is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmsearch.encoders.hub import hub_folder
from mmsearch.encoders.model_folders import (
    CONFIG,
    TOKENIZER,
    find_model_folder,
    licence_in,
    no_downloads,
    parse_model_name,
    require_package,
)
from mmsearch.errors import EncoderError

NEEDS = (CONFIG, TOKENIZER)
FILES = {
    "README.md": "---\nlicense: apache-2.0\n---\n# A model\n",
    "config.json": '{"model_type": "clip"}',
    "tokenizer.json": "{}",
    "model.safetensors": "weights",
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", FILES)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def find(spec: object, *, modules: bool = False, announce: Callable[[str], None] = pytest.fail) -> Path:
    return find_model_folder(parse_model_name(f"hf:{spec}"), NEEDS, announce=announce, modules=modules)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_means_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like a repository is one, also where there is such a folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "org/name", FILES)
    assert parse_model_name("hf:org/name").repo == "org/name"
    for path in ("./org/name", str(tmp_path / "org/name")):
        name = parse_model_name(f"hf:{path}")
        assert (name.repo, name.folder, name.spec) == ("", tmp_path / "org/name", f"hf:{tmp_path}/org/name")
    assert parse_model_name("hf:name").folder == tmp_path / "name"
    assert parse_model_name("hf:~/name").folder == Path.home() / "name"
    with pytest.raises(EncoderError, match=r"There is a folder org/name here: hf:\./org/name\."):
        find("org/name")


def test_a_prefix_alone_says_what_is_missing() -> None:
    with pytest.raises(EncoderError, match=r"st: needs a model: st:org/name .* or st:/folder"):
        parse_model_name("st:")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_whole_folder_is_taken(folder: Path) -> None:
    assert find(folder) == folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config.json": None}, "has no config.json"),
        ({"tokenizer.json": None}, "has no tokenizer.json and no vocab.txt"),
        ({"model.safetensors": None}, "has no weights: model.safetensors is missing"),
        ({"model.safetensors": None, "pytorch_model.bin": "x"}, r"only as a pickle \(pytorch_model.bin\)"),
        (
            {"config.json": '{"auto_map": {"AutoModel": "modeling_x.X"}}'},
            r"code of its own \(modeling_x.X, says config",
        ),
        (
            {"config.json": '{"text_config": {"auto_map": {"AutoTokenizer": [null, "own--tokens.T"]}}}'},
            r"code of its own \(own--tokens.T",
        ),
        (
            {"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["t.T", null]}}'},
            "t.T, says tokenizer_config.json",
        ),
        ({"adapter_config.json": "{}"}, r"is an adapter \(adapter_config.json\).*merge_and_unload"),
        ({"config.json": "{"}, "cannot read .*config.json: Expecting"),
        ({"config.json": "[" * 100_000}, "cannot read .*config.json"),
        ({"model.safetensors": None, "model.safetensors.index.json": "[]"}, "does not say in which files"),
        (
            {"model.safetensors": None, "model.safetensors.index.json": '{"weight_map": {"a": "model-1-of-2.st"}}'},
            "has no model-1-of-2.st",
        ),
    ],
)
def test_what_is_not_a_whole_and_harmless_model_is_refused(
    folder: Path, change: dict[str, str | None], says: str
) -> None:
    for name, text in change.items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text)
    with pytest.raises(EncoderError, match=says):
        find(folder)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="there is no such folder"):
        find(tmp_path / "none")


def test_a_pickle_in_a_part_of_a_model_is_refused(folder: Path) -> None:
    """Where parts are read at all; a copy beside tensors does no harm."""
    write(folder, {"2_Dense/pytorch_model.bin": "x", "onnx/model.bin": "x", "pytorch_model.bin": "x"})
    assert find(folder) == folder
    with pytest.raises(EncoderError, match=r"only as a pickle \(2_Dense/pytorch_model.bin\)"):
        find(folder, modules=True)
    write(folder, {"2_Dense/model.safetensors": "x"})
    assert find(folder, modules=True) == folder


def test_a_package_that_is_missing_names_its_extra() -> None:
    require_package("json", "x", "hf:a/b")
    with pytest.raises(EncoderError, match=r'hf:a/b needs the package no-such: pip install "mmsearch\[own\]"'):
        require_package("no_such", "own", "hf:a/b")


# --- licences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\nlanguage: en\nlicense:\n- mit\n- cc-by-4.0\n---\n", "mit, cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: tongyi\nlicense_link: LICENSE\n---\n", "other (tongyi, LICENSE)"),
        ("---\nlicense: 'a\\\n  b'\n---\n", "a\\ b"),
        ("---\nlanguage: en\n---\n", None),
        ("# license: mit\n", None),
        ("---\nlicense: {a: 1}\n---\n", None),
        ("---\n: : [\n---\n", None),
        (None, None),
    ],
)
def test_the_licence_is_what_the_card_states(tmp_path: Path, card: str | None, licence: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_in(tmp_path) == licence


# --- the hub ----------------------------------------------------------------------------------------------------------


class Hub:
    """A hub with one repository, and a cache."""

    def __init__(self, files: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        self.files = files
        self.cache = place / "cache" / "snapshot"
        self.lines: list[str] = []
        self.fetched: list[str] = []
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", self._cached)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self._download)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self._info)

    def find(self, *, modules: bool = False) -> Path:
        return find("org/name", modules=modules, announce=self.lines.append)

    def _cached(self, repo: str, name: str) -> str | None:
        return str(self.cache / name) if (self.cache / name).is_file() else None

    def _download(self, repo: str, name: str) -> str:
        self.fetched.append(name)
        write(self.cache, {name: self.files[name]})
        return str(self.cache / name)

    def _info(self, repo: str, *, files_metadata: bool, timeout: float) -> SimpleNamespace:
        siblings = [SimpleNamespace(rfilename=name, size=700_000) for name in self.files]
        return SimpleNamespace(siblings=siblings)


def test_what_is_read_is_downloaded_once_and_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("tf_model.h5", "pytorch_model.bin", "onnx/model.onnx", "1_Pooling/config.json", "modeling.py")
    hub = Hub(FILES | dict.fromkeys(others, "{}"), tmp_path, monkeypatch)
    assert hub.find() == hub.cache
    assert set(hub.fetched) == set(FILES)
    assert hub.fetched[-1] == "model.safetensors"  # where that is, all is
    (line,) = hub.lines
    assert line.startswith("downloading 4 files (3 MB) from https://huggingface.co/org/name to ")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find("org/name") == hub.cache
    # What a kill interrupted is not taken for whole.
    (hub.cache / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"HF_HUB_OFFLINE is set.*hf download org/name --local-dir my-model"):
        find("org/name")


def test_parts_of_a_model_are_downloaded_where_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(
        FILES | {"1_Pooling/config.json": "{}", "openvino/model.txt": "", "a/b/c.json": ""}, tmp_path, monkeypatch
    )
    assert hub.find(modules=True) == hub.cache
    assert set(hub.fetched) == {*FILES, "1_Pooling/config.json"}


def test_what_is_refused_is_refused_before_its_weights_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(FILES | {"config.json": json.dumps({"auto_map": {"AutoModel": "m.M"}})}, tmp_path, monkeypatch)
    with pytest.raises(EncoderError, match="asks for code of its own"):
        hub.find()
    assert "model.safetensors" not in hub.fetched
    shutil.rmtree(hub.cache)
    hub.fetched.clear()
    hub.files = {"config.json": "{}", "pytorch_model.bin": "x"}
    with pytest.raises(EncoderError, match="only as a pickle"):
        hub.find()
    assert hub.fetched == []


def test_a_failure_of_the_network_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(FILES, tmp_path, monkeypatch)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    with pytest.raises(EncoderError, match=r"cannot get https://\S+/org/name: OSError: no route to host\. .*hf:/path"):
        hub.find()


def test_a_repository_that_changes_meanwhile_is_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(FILES, tmp_path, monkeypatch)
    places = iter(["one", "other", "other", "other"])

    def download(repo: str, name: str) -> str:
        return str(write(tmp_path / next(places), {name: FILES[name]}) / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(EncoderError, match="was changed on the hub while it was downloaded"):
        hub.find()


def test_nothing_is_fetched_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with no_downloads():
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()


def test_a_repository_without_files_of_a_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub({"data.csv": ""}, tmp_path, monkeypatch)
    with pytest.raises(EncoderError, match="it holds no file of a model"):
        hub_folder(
            "org/name",
            is_wanted=lambda _: False,
            is_complete=lambda _: False,
            check_names=lambda _: None,
            check_settings=lambda _: None,
            advice="",
            announce=lambda _: None,
        )
