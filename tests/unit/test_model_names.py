"""What the page calls a model: visitors see no folders."""

import pytest

from hfdemo.page.model_names import shown_names, without_folders


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("org/name", "org/name"),
        ("org/name@main", "org/name@main"),
        ("org/name/folder/file.gguf", "org/name/folder/file.gguf"),
        ("name", "name"),
        ("/home/somebody/models/name", "name"),
        ("/home/somebody/models/name/", "name"),
        ("~/models/name", "name"),
        ("./name", "name"),
        ("../name.gguf", "name.gguf"),
        ("/", ""),
        ("x" * 5000, "x" * 5000),
        ("a\0b", "a\0b"),
    ],
)
def test_only_paths_lose_their_folders(model, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert without_folders(model) == shown


def test_a_folder_that_is_there_is_a_path_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert without_folders("org/name") == "name"
    assert without_folders(".") == tmp_path.name


def test_models_of_the_same_name_are_told_apart():
    assert shown_names(["/a/m", "/b/m", "org/m"]) == {"m": "/a/m", "m (2)": "/b/m", "org/m": "org/m"}
