"""Programs of torch.export, which get their layers back, and of TorchScript, which cannot."""

import pytest
import torch
from torch import nn

from cam_utils import load_model
from tests.front.test_model_sources import small


def exported(channels=3, training=False):
    net = small(channels).train(training)
    images = torch.zeros(2, channels, 32, 32)
    return net, torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def test_an_exported_program_has_layers_again(tmp_path):
    for channels in (3, 1):
        net, program = exported(channels)
        torch.export.save(program, tmp_path / "net.pt2")
        for source in (tmp_path / "net.pt2", str(tmp_path / "net.pt2"), program):
            loaded = load_model(source, classes=["cat", "dog"])
            assert (loaded.size, loaded.channels, len(loaded.mean)) == (32, channels, channels)
            assert not any(module.training for module in loaded.model.modules())
            assert isinstance(dict(loaded.model.named_modules())["0"], nn.Module)
            images = torch.randn(3, channels, 32, 32)
            torch.testing.assert_close(loaded.model(images), net(images))
    (tmp_path / "net.pt").write_bytes((tmp_path / "net.pt2").read_bytes())
    assert load_model(tmp_path / "net.pt").size == 32
    with pytest.raises(ValueError, match=r"net.pt2 has its weights in it"):
        load_model(tmp_path / "net.pt2", net.state_dict())
    with pytest.raises(
        ValueError, match=r"the exported program was exported in training mode: call model.eval\(\)"
    ):
        load_model(exported(training=True)[1])


def test_a_damaged_program_is_told_in_one_sentence(tmp_path):
    torch.export.save(exported()[1], tmp_path / "net.pt2")
    content = (tmp_path / "net.pt2").read_bytes()
    for size in range(0, len(content), len(content) // 40):
        (tmp_path / "net.pt2").write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"net.pt2") as failure:
            load_model(tmp_path / "net.pt2")
        assert "\n" not in str(failure.value)


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_refused(tmp_path):
    script = torch.jit.trace(small().eval(), torch.zeros(1, 3, 8, 8))
    torch.jit.save(script, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"a TorchScript program has layers that cannot be read"):
        load_model(script)
    with pytest.raises(ValueError, match=r"net.pt is a TorchScript program, whose layers cannot be read"):
        load_model(tmp_path / "net.pt")
