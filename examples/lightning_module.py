"""A loss of this package in Lightning: the callback gives it its epochs and its learning rate."""

import warnings

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from labelattack import Criterion
from labelattack.interop.lightning import CriterionCallback

EPOCHS, BATCH = 8, 32


class Classifier(lightning.LightningModule):
    """A network of several labels an input, trained on labels of which some are unknown."""

    def __init__(self, labels=None, loss="role", lr=1e-2, **parameters):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
        self.criterion = Criterion(loss, labels=labels, **parameters)
        self.lr = lr

    def training_step(self, batch, _):
        x, y, index = batch  # index: row of each input in the training labels
        return self.criterion(self.network(x), y, index)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)


def made_up_data():
    """200 inputs, 5 labels: 1 present, -1 unknown."""
    torch.manual_seed(0)
    x = torch.randn(200, 10)
    truth = x @ torch.randn(10, 5) > 1
    return x, torch.where(truth & (torch.rand(200, 5) < 0.6), 1, -1)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="lightning")
    x, y = made_up_data()
    data = DataLoader(TensorDataset(x, y, torch.arange(len(x))), BATCH, shuffle=True)
    model = Classifier(labels=y, expected_positives=1.0)
    before = model.criterion.loss.estimates.detach().clone()
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[CriterionCallback()],
    )  # fmt: skip
    trainer.fit(model, data)
    moved = (model.criterion.loss.estimates - before).abs().mean().item()
    print(f"estimates of unknown labels moved by {moved:.2f} in {EPOCHS} epochs")
