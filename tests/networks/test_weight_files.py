"""Files of weights of every kind: what is none is told in one sentence, and nothing in them is executed."""

import io
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cam_utils.networks import checkpoints, weight_files
from tests.networks.test_checkpoints import STATE, Runs, network


def test_nothing_in_a_file_is_executed(tmp_path):
    mark = tmp_path / "executed"
    for i, call in enumerate([
        Runs(os.system, f"touch {mark}"), Runs(subprocess.call, ["touch", str(mark)]), Runs(mark.touch),
        Runs(eval, f"open({str(mark)!r}, 'w')"), Runs(exec, f"open({str(mark)!r}, 'w')"),
        Runs(getattr, mark, "name"), Runs(pickle.loads, pickle.dumps(Runs(os.system, f"touch {mark}"))),
    ]):  # fmt: skip
        for zipped in (True, False):
            torch.save(call, tmp_path / f"{i}.pth", _use_new_zipfile_serialization=zipped)
            with pytest.raises(ValueError, match=r"holds (Python objects \(\S+|no state dict)"):
                checkpoints.fill(network(), tmp_path / f"{i}.pth", "net")
            torch.save({"call": call, "net": STATE}, tmp_path / f"{i}.pth", _use_new_zipfile_serialization=zipped)
            try:
                checkpoints.fill(network(), tmp_path / f"{i}.pth", "net")
            except ValueError as error:
                assert "which are not executed here" in str(error)
    assert not mark.exists()


def test_a_whole_model_is_refused_with_what_to_save_instead(tmp_path):
    for saved in (torchvision.models.squeezenet1_1(), {"model": torchvision.models.squeezenet1_1(), "epoch": 3}):
        for zipped in (True, False):
            torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
            with pytest.raises(
                ValueError,
                match=r"w.pth holds Python objects \(\S*SqueezeNet\S*\W.*torch.save\(model.state_dict\(\), pa",
            ):
                checkpoints.fill(network(), tmp_path / "w.pth", "net")


def zipped(**entries) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def numpy_file(save, *arrays) -> bytes:
    out = io.BytesIO()
    save(out, *arrays)
    return out.getvalue()


FILES = {
    "empty": (b"", r"w.pth is empty \(0 bytes\): an interrupted copy"),
    "zeros": (bytes(5000), "w.pth begins with zeros alone"),
    "text": (b"no weights here\n", "damaged or no PyTorch file"),
    "JSON": (b'{"weights": 3}', "damaged or no PyTorch file"),
    "one letter": (b"P", "damaged or no PyTorch file"),
    "LFS": (b"version https://git-lfs.example/spec/v1\noid sha256:ab\n", "pointer of Git LFS, .*lfs pull"),
    "HTML": (b"<!DOCTYPE html>\n<html>404</html>", "w.pth is a web page or XML"),
    "HTML after blanks": (b"\xef\xbb\xbf\n  <html>", "w.pth is a web page or XML"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "w.pth is an HDF5 file, as Keras writes; expected what torch.save"),
    "Keras": (zipped(**{"config.json": "{}", "model.weights.h5": "a"}), "w.pth is a Keras model"),
    "ONNX": (b"\x08\x08\x12\x07pytorch" + bytes(99), "w.pth is an ONNX model"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(99), "w.pth is a TensorFlow Lite model"),
    "npy": (numpy_file(np.save, np.ones(3)), "w.pth is a NumPy array"),
    "npz": (numpy_file(np.savez, np.ones(3)), "w.pth is a ZIP archive of arr_0.npy"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "w.pth is a compressed archive: unpack it"),
    "pickle": (pickle.dumps({"a": 1}), "w.pth was written by pickle and not by torch.save"),
    "a zipped checkpoint": (zipped(**{"w.pth": b"a" * 99}), "w.pth is a ZIP archive of w.pth"),
    "an empty archive": (zipped(), "w.pth is a ZIP archive of nothing"),
    "a bomb": (zipped(a__data__0=bytes(10**7), **{"a__data.pkl": b"."}), "would unpack to 100 times its size"),
    "safetensors, cut": (b"\x40\0\0\0\0\0\0\0{\"a\"", "w.pth is damaged or cut"),
    "safetensors, lying": (b"\xff\xff\xff\xff\xff\0\0\0{\"a\"", "w.pth is damaged or cut"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_kinds_are_told_by_what_they_are(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / "w.pth").write_bytes(content)
    for reader in (weight_files.read, checkpoints.read_state):
        with pytest.raises(ValueError, match=message) as failure:
            reader(tmp_path / "w.pth")
        assert "\n" not in str(failure.value)


def test_programs_are_told_from_weights(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 8, 8)), tmp_path / "script.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), tmp_path / "program.pt2")
    assert weight_files.form(tmp_path / "script.pt") == "script"
    assert weight_files.form(tmp_path / "program.pt2") == "program"
    with pytest.raises(ValueError, match=r"script.pt is a TorchScript program"):
        weight_files.read(tmp_path / "script.pt")
    with pytest.raises(ValueError, match=r"program.pt2 is a program of torch.export: pass it as the model"):
        weight_files.read(tmp_path / "program.pt2")


def test_paths_that_are_no_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match=r"expected a file of weights, got the folder"):
        weight_files.read(tmp_path)
    (tmp_path / "link.pth").symlink_to(tmp_path / "gone.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    for name in ("none.pth", "link.pth", "pipe.pth", "none.pth/w.pth", "a\0b"):
        with pytest.raises(FileNotFoundError, match=r"no weights file at"):
            weight_files.read(tmp_path / name)
    with pytest.raises(OSError, match=r"cannot be read: File name too long"):
        weight_files.read(tmp_path / ("a" * 300))

    def forbidden(_path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(b"a")
    monkeypatch.setattr(weight_files, "_head", forbidden)
    with pytest.raises(PermissionError, match=r"w.pth cannot be read: Permission denied"):
        weight_files.read(tmp_path / "w.pth")


def cuts(size: int) -> list[int]:
    """Return lengths of cut files: every one near both ends, and some between."""
    return sorted({*range(min(64, size)), *range(64, size, max(1, size // 60)), *range(max(0, size - 40), size)})


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_anywhere_is_refused_in_one_sentence(tmp_path, kind):
    whole = tmp_path / "w.pth"
    if kind == "safetensors":
        save_file(STATE, whole)
    else:
        torch.save({"epoch": 3, "net": STATE}, whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    for size in cuts(len(content)):
        whole.write_bytes(content[:size])
        with pytest.raises((ValueError, OSError), match=r"w.pth") as failure:
            checkpoints.fill(network(), whole, "net")
        assert "\n" not in str(failure.value)


def test_a_changed_byte_never_changes_a_number_in_silence(tmp_path):
    torch.save({"net": STATE}, tmp_path / "w.pth")
    content, found = (tmp_path / "w.pth").read_bytes(), 0
    for place in range(0, len(content), len(content) // 150):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (tmp_path / "w.pth").write_bytes(changed)
        net = network()
        try:
            checkpoints.fill(net, tmp_path / "w.pth", "net")
        except ValueError as error:
            found += 1
            assert "w.pth" in str(error) and "\n" not in str(error)
        else:
            assert all(torch.equal(value, STATE[key]) for key, value in net.state_dict().items())
    assert found > 50


def test_a_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert checkpoints.read_state(tmp_path / "w.pth").keys() == STATE.keys()


def test_a_file_without_a_digest_is_read_but_not_where_this_program_alone_writes(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert set(weight_files.read_own(tmp_path / "a.pt")) == {"a"}
    monkeypatch.setenv("CAM_UTILS_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.pt was changed, or is from an earlier version: it has no digest"):
        weight_files.read_own(tmp_path / "a.pt")


def test_what_is_kept_is_made_once_and_again_if_it_is_not_as_it_was_written(tmp_path):
    made, file = [], tmp_path / "kept.pt"

    def make():
        made.append(1)
        return {"a": torch.full((2,), 3.0), "log": {"loss": [0.5]}}

    for _ in range(2):
        assert weight_files.kept(file, make)["log"] == {"loss": [0.5]}
    assert len(made) == 1
    for content in (b"", file.read_bytes()[:-9], {"a": torch.ones(2), "log": {}}):
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        with pytest.warns(UserWarning, match=r"kept\.pt .*; it is made again"):
            assert torch.equal(weight_files.kept(file, make)["a"], torch.full((2,), 3.0))
    assert len(made) == 4
