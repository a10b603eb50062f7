"""Files and folders appear whole or not at all."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clarivox.errors import CapacityError, OutputError
from clarivox.io import atomic


def own(file: Path) -> bool:
    return file.suffix == ".dcm"


def test_a_file_appears_with_its_content_and_nothing_else(tmp_path: Path) -> None:
    with atomic.file(tmp_path / "new" / "a.nii.gz") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.name.endswith(".nii.gz")
        assert not (tmp_path / "new" / "a.nii.gz").exists()
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "new").iterdir()] == [("a.nii.gz", b"whole")]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError) as caught, atomic.file(target):
        pass
    assert caught.value.code == "output_exists"
    with atomic.file(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(OutputError) as caught, atomic.file(target) as temporary:
        temporary.write_text("ours")
        target.write_text("theirs")
    assert caught.value.code == "output_exists"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["theirs"]


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic.file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyError
    with pytest.raises(KeyError), atomic.folder(tmp_path / "b", False, own) as inside:
        (inside / "IM0001.dcm").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_folder_is_replaced_as_a_whole_when_told(
    in_one_step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_step:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    for text in ("old", "new"):
        with atomic.folder(tmp_path / "s", text == "new", own) as inside:
            (inside / f"{text}.dcm").write_text(text)
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["new.dcm"]
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_existing_folder_is_kept_unless_told_and_an_empty_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with atomic.folder(tmp_path / "s", False, own) as inside:
        (inside / "a.dcm").write_text("a")
    with pytest.raises(OutputError) as caught, atomic.folder(tmp_path / "s", False, own):
        pass
    assert caught.value.code == "output_exists"


def test_a_folder_with_other_peoples_files_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="did not write"), atomic.folder(tmp_path, True, own):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_failed_swap_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic.folder(tmp_path / "s", False, own) as inside:
        (inside / "a.dcm").write_text("old")
    rename = Path.rename

    def fail_on_the_new_one(self: Path, target: Path) -> Path:
        if self.name.startswith(".clarivox") and not self.name.endswith(".old"):
            raise OSError(5, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_on_the_new_one)
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    with pytest.raises(OutputError, match="EIO"), atomic.folder(tmp_path / "s", True, own) as inside:
        (inside / "a.dcm").write_text("new")
    assert (tmp_path / "s" / "a.dcm").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CapacityError) as caught, atomic.folder(tmp_path / "s", False, own) as inside:
            (inside / "a.dcm").write_bytes(bytes(4000))
            (inside / "b.dcm").write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_final_name(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from clarivox.io import atomic\n"
        "with atomic.folder(Path(sys.argv[1]) / 's', False, bool) as inside:\n"
        "    (inside / 'a.dcm').write_text('half'); print('written', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".clarivox-")] == []
