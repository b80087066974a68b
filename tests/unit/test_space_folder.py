"""What is sent to a Space, what is left to its build, and what ZeroGPU asks of the program."""

import subprocess

import pytest
from packaging.requirements import Requirement

from hfdemo.errors import PublishError
from hfdemo.publish import program, requirements
from hfdemo.publish.folder import lint_folder, read_folder, with_absolute_links
from tests.conftest import ROOT
from tests.written import NAMES, in_english, in_korean, links


@pytest.mark.parametrize("zero_gpu", [True, False])
def test_the_project_s_own_folder_is_what_a_space_takes(zero_gpu):
    files = read_folder(ROOT, None, zero_gpu)
    assert [error.text("en") for error in lint_folder(files, ROOT, zero_gpu)] == []


def test_all_of_the_program_goes_and_nothing_else():
    sent = {file.path for file in read_folder(ROOT, None, zero_gpu=True)}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    tracked = set(listed.stdout.splitlines())
    if not tracked:
        pytest.skip("this is no git checkout")
    assert {name for name in tracked if name.startswith("hfdemo/")} <= sent
    assert {"app.py", "README.md", "README.ko.md", "LICENSE", "requirements.txt"} <= sent
    assert {page(name).relative_to(ROOT).as_posix() for name in NAMES for page in (in_english, in_korean)} <= sent
    assert {name for name in sent if name.split("/")[0] in ("tests", "benchmarks", ".ci")} == set()
    assert {
        name for name in sent if name.startswith("docs/") and not name.endswith((".png", ".en.md", ".ko.md"))
    } == set()


@pytest.mark.parametrize("name", ["README", *NAMES])
def test_the_pages_lead_to_what_is_sent_or_to_the_project(name):
    space, project = "https://hub/spaces/me/chat", "https://git/me/chat"
    files = {
        file.path: file.content.decode()
        for file in read_folder(ROOT, None, True, space, project)
        if ".md" in file.path
    }
    for page, other in ((in_english(name), "ko"), (in_korean(name), "en")):
        path = page.relative_to(ROOT).as_posix()
        here, there = links(page.read_text("utf-8")), links(files[path])
        assert len(here) == len(there) > 0
        assert [link for link in there if not link.startswith(("https://", "http://", "#"))] == []
        assert {link for link in here if "://" in link or link[0] == "#"} <= set(there)
        switched = "README.ko.md" if name == "README" else f"docs/{name}.{other}.md"
        if path != "README.ko.md":
            assert f"{space}/blob/main/{switched}" in there


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("[a](models.en.md)", "[a](https://s/blob/main/docs/models.en.md)"),
        ("[a](../README.md#start)", "[a](https://s/blob/main/README.md#start)"),
        ("![a](images/a.png)", "![a](https://s/resolve/main/docs/images/a.png)"),
        ('<img src="images/a.png">', '<img src="https://s/resolve/main/docs/images/a.png">'),
        ("[a](../notebooks/a.ipynb)", "[a](https://p/blob/HEAD/notebooks/a.ipynb)"),
        ("[a](notes.md)", "[a](https://p/blob/HEAD/docs/notes.md)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](https://b/c.md)", "[a](https://b/c.md)"),
        ("[![a](https://b/c.svg)](https://d/e)", "[![a](https://b/c.svg)](https://d/e)"),
    ],
)
def test_a_link_is_relative_to_its_page(link, absolute):
    sent = {"README.md", "docs/models.en.md", "docs/images/a.png"}
    assert with_absolute_links(f"x {link} y", "docs/page.en.md", sent, "https://s", "https://p") == f"x {absolute} y"


def test_a_link_to_what_is_nowhere_leaves_its_words():
    assert with_absolute_links("[a](notes.md)", "docs/page.en.md", set(), "https://s", "") == "a"


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "hfdemo/.env",
        "hfdemo/.hidden/a.py",
        "hfdemo/__pycache__/a.py",
        "hfdemo/a.log",
        "hfdemo/a.py.orig",
        "hfdemo/page/assets/photo.raw",
        "secrets.py",
        "docs/images/.a.png",
        "docs/notes.md",
        "docs/notes.de.md",
        "docs/more/notes.en.md",
        "tests/a.py",
        ".venv/lib/a.py",
        "a.log",
    ],
)
def test_what_is_not_named_stays_here(tmp_path, name):
    for needed in ("app.py", "requirements.txt", "hfdemo/__init__.py"):
        (tmp_path / needed).parent.mkdir(exist_ok=True)
        (tmp_path / needed).write_text("")
    (tmp_path / "README.md").write_text("---\ntitle: a\n---\n")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("key")
    sent = [file.path for file in read_folder(tmp_path, None, zero_gpu=True)]
    assert sent == ["README.md", "app.py", "hfdemo/__init__.py", "requirements.txt"]


def test_what_is_missing_is_told(tmp_path):
    (tmp_path / "app.py").write_text("")
    with pytest.raises(PublishError, match=r"README\.md is missing"):
        read_folder(tmp_path, None, zero_gpu=True)


def test_a_file_that_is_no_text_is_told(tmp_path):
    for needed in ("app.py", "README.md", "requirements.txt", "hfdemo/__init__.py"):
        (tmp_path / needed).parent.mkdir(exist_ok=True)
        (tmp_path / needed).write_bytes(b"\xff")
    with pytest.raises(PublishError, match="can't be read"):
        read_folder(tmp_path, None, zero_gpu=True)


def names(text: str) -> set[str]:
    return {Requirement(line).name for line in text.splitlines() if line and line[0] not in "#-"}


def test_requirements_without_what_the_build_brings():
    text = "# why\ngradio[oauth]>=6.31,<6.32  # page\nSpaces>=0.40\ntorch>=2.8,<2.14\n--extra-index-url https://a.b\nTorchVision\n"
    assert requirements.for_space(text, zero_gpu=True) == "# why\n--extra-index-url https://a.b\nTorchVision\n"
    assert names(requirements.for_space(text, zero_gpu=False)) == {"torch", "TorchVision"}


@pytest.mark.parametrize("torch", requirements.ZERO_GPU_TORCH)
def test_the_project_runs_with_each_torch_of_zerogpu(torch):
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    [asked] = [Requirement(line) for line in lines if line.startswith("torch")]
    assert asked.specifier.contains(torch)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("torch>=2.8,<2.14", []),
        ("torch==2.13.0", ["requirement_torch"]),
        ("torch>=2.12", ["requirement_torch"]),
        ("torch<2.8", ["requirement_torch"]),
        ("torch==2.9.1", []),
        ("torch", []),
        ("gradio>=6.31,<6.32", []),
        ("gradio>=5,<6", ["requirement_gradio"]),
        ("huggingface-hub==1.0", ["requirement_pin"]),
        ("foo @ git+https://example.com/a/b", ["requirement_moving"]),
        ("foo @ git+https://me@example.com/a/b.git#subdirectory=c", ["requirement_moving"]),
        ("foo @ git+https://example.com/a/b@v1.0", []),
        ("foo @ https://example.com/foo-1.0-py3-none-any.whl", []),
        ("Jinja2===3.1", ["requirement_pin"]),
        ("huggingface_hub>=2.4,<3", []),
        ("a package", ["requirement_unreadable"]),
        ("torch=2.9", ["requirement_unreadable"]),
        ("-r other.txt", ["requirement_other_file"]),
        ("-e .", ["requirement_other_file"]),
        ("--requirement other.txt", ["requirement_other_file"]),
        ("--extra-index-url https://a.b", []),
        ("# torch==2.13\n\ntransformers>=5 # why", []),
        ("torch==2.13.0\ngradio<6", ["requirement_torch", "requirement_gradio"]),
    ],
)
def test_each_rule_of_the_requirements(text, keys):
    assert [error.key for error in requirements.lint(text, "6.31.0", zero_gpu=True)] == keys


def test_torch_is_free_where_there_is_no_zerogpu():
    assert requirements.lint("torch==2.13.0", "6.31.0", zero_gpu=False) == []


WELL = "import spaces\nimport torch\n\n@spaces.GPU\ndef f(): ...\npage.queue(max_size=32)\n"


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({"app.py": WELL}, []),
        ({"app.py": "from spaces import GPU\nimport torch\np.queue(\n  api_open=False,\n  max_size=3,\n)"}, []),
        ({"app.py": "import torch\n" + WELL}, ["program_late_spaces"]),
        ({"app.py": "from transformers import pipeline\n" + WELL}, ["program_late_spaces"]),
        ({"app.py": "import os\n" + WELL, "hfdemo/b.py": "import torch\n"}, []),
        ({"app.py": WELL.replace("import spaces\n", "")}, ["program_no_spaces"]),
        ({"app.py": WELL.replace("@spaces.GPU", "@gpu")}, ["program_no_gpu"]),
        ({"app.py": WELL.replace("max_size", "size")}, ["program_no_queue"]),
        ({"app.py": WELL, "hfdemo/b.py": "def f(:\n"}, ["program_syntax"]),
        ({"app.py": ""}, ["program_no_spaces", "program_no_gpu", "program_no_queue"]),
    ],
)
def test_each_rule_of_the_program(files, keys):
    found = program.lint(files)
    assert [error.key for error in found] == keys
    assert all(error.text("ko") for error in found)


def test_a_late_import_is_told_with_both_lines():
    [found] = program.lint({"app.py": "import os\nimport torch\n" + WELL})
    assert "app.py, line 3" in found.text("en") and "torch" in found.text("en") and "line 2" in found.text("en")


def test_a_link_out_of_the_folder_is_refused_with_where_it_leads(tmp_path):
    folder, secret = tmp_path / "mine", tmp_path / "secret"
    secret.write_text("private")
    (folder / "hfdemo").mkdir(parents=True)
    (folder / "docs").mkdir()
    for name in ("app.py", "README.md", "requirements.txt", "hfdemo/__init__.py", "hfdemo/there.py"):
        (folder / name).write_text("")
    (folder / "hfdemo" / "inside.py").symlink_to(folder / "hfdemo" / "there.py")
    assert "hfdemo/inside.py" in {file.path for file in read_folder(folder, None, True)}
    (folder / "docs" / "notes.en.md").symlink_to(secret)
    with pytest.raises(PublishError) as refused:
        read_folder(folder, None, True)
    assert (refused.value.key, refused.value.fields["file"]) == ("folder_link_outside", "docs/notes.en.md")
    assert str(secret) in refused.value.text("en") and str(secret) in refused.value.text("ko")
