"""The device that refuses tensors of the CPU, as a GPU does."""

import pytest
import torch

from labelattack.errors import PluginError
from labelattack.testing import defense_checks
from labelattack.testing.plugins import check_plugin
from labelattack.testing.simulated_device import simulated_device

LOSS = '''
"""A loss."""
import torch

from labelattack.defenses import register
from labelattack.defenses.base import PartialLabelLoss


@register("{name}")
class {cls}(PartialLabelLoss):
    """Cross-entropy with a weight for each class."""

    def loss(self, logits, step):
        weight = {weight}
        target = step.positives.to(logits.dtype)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, weight)
'''


@pytest.fixture
def device():
    found = simulated_device()
    if found is None:
        pytest.skip("this release of torch has no devices in Python")
    return found


@pytest.fixture
def there(device):
    return torch.arange(6.0).reshape(2, 3).to(device)


def test_computes_what_the_cpu_computes(there):
    assert there.device.type == "simulated" and there.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (there * 2 + 1).sum().item() == 36
    layer = torch.nn.Linear(3, 2).to(there.device)
    layer(there).square().sum().backward()
    alone = torch.nn.Linear(3, 2)
    alone.load_state_dict(layer.state_dict())
    alone(there.cpu()).square().sum().backward()
    assert torch.equal(layer.weight.grad.cpu(), alone.weight.grad)


def test_views_share_memory(there):
    row = there[1]
    row += 10
    there[0, 0] = -1
    assert there.tolist() == [[-1, 1, 2], [13, 14, 15]]
    with torch.inference_mode():
        assert torch.equal(there.flatten(1)[:1].cpu(), torch.tensor([[-1.0, 1, 2]]))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there: there + torch.ones(2, 3),
        lambda there: torch.ones(2, 3) * there,
        lambda there: torch.cat([there, torch.ones(1, 3)]),
        lambda there: torch.where(torch.ones(2, 3, dtype=torch.bool), there, 0.0),
        lambda there: torch.nn.functional.linear(there, torch.ones(2, 3)),
        lambda there: torch.ones(2, 3)[there.long() * 0],
        lambda there: there.index_select(0, torch.tensor([1])),
        lambda there: there.numpy(),
    ],
)
def test_refuses_what_a_gpu_refuses(there, mixed):
    with pytest.raises((RuntimeError, TypeError)):
        mixed(there)


@pytest.mark.parametrize(
    "fine",
    [
        lambda there: there + torch.tensor(2.0),
        lambda there: there[torch.tensor([1, 0])],
        lambda there: there.copy_(torch.ones(2, 3)),
        lambda there: torch.tensor([1.0, 2, 3], device=there.device) + there,
        lambda there: torch.ones_like(there) + there.new_zeros(3),
    ],
)
def test_takes_what_a_gpu_takes(there, fine):
    assert fine(there).device == there.device


@pytest.mark.parametrize(
    "weight", ["torch.ones(logits.shape[1])", "torch.from_numpy(logits.detach().numpy())"]
)
def test_a_loss_that_leaves_its_device_breaks_the_contract(device, tmp_path, forgotten, weight):
    (tmp_path / "lost.py").write_text(LOSS.format(name="lost", cls="Lost", weight=weight))
    broken = {}
    for check in check_plugin(tmp_path / "lost.py"):
        try:
            check()
        except PluginError as error:
            broken[check.name] = str(error)
    ((name, message),) = broken.items()
    assert name == "lost: computes on the device of its inputs"
    assert "must compute on the device of its inputs: " in message


def test_a_loss_that_stays_on_its_device_keeps_it(device, tmp_path, forgotten):
    weight = "torch.ones(logits.shape[1], device=logits.device)"
    (tmp_path / "kept.py").write_text(LOSS.format(name="kept", cls="Kept", weight=weight))
    for check in check_plugin(tmp_path / "kept.py"):
        check()
    assert len(list(defense_checks("kept"))) > 5
