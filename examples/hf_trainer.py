"""A loss of this package in the Trainer of Hugging Face."""

import tempfile

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from labelattack import Criterion


class Classifier(nn.Module):
    """Gives logits under the name that the Trainer expects."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, inputs, labels=None, index=None):
        return {"logits": self.network(inputs)}


class CriterionTrainer(Trainer):
    """Trains with a criterion, and gives the optimiser what the criterion learns."""

    def __init__(self, *args, criterion, **kwargs):
        super().__init__(*args, callbacks=[Epochs(criterion)], **kwargs)
        self.criterion = criterion.to(self.args.device)

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        outputs = model(**inputs)
        loss = self.criterion(outputs["logits"], inputs["labels"], inputs["index"])
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        for group in self.criterion.parameter_groups(self.args.learning_rate):
            optimizer.add_param_group(group)
        return optimizer


class Epochs(TrainerCallback):
    """Tells the criterion the epoch."""

    def __init__(self, criterion):
        self.criterion = criterion

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.criterion.set_epoch(int(state.epoch or 0) + 1, int(args.num_train_epochs))


if __name__ == "__main__":
    torch.manual_seed(0)
    inputs = torch.randn(200, 10)
    labels = torch.where(inputs @ torch.randn(10, 5) > 1, 1, -1)
    pairs = enumerate(zip(inputs, labels, strict=True))
    rows = [{"inputs": x, "labels": y, "index": i} for i, (x, y) in pairs]
    criterion = Criterion("role", labels=labels, expected_positives=1.0)
    before = criterion.loss.estimates.detach().clone()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=4, per_device_train_batch_size=20, learning_rate=1e-2,
            use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no",
            disable_tqdm=True,
        )  # fmt: skip
        CriterionTrainer(Classifier(), arguments, train_dataset=rows, criterion=criterion).train()
    moved = (criterion.loss.estimates - before).abs().mean().item()
    print(f"estimates of unknown labels moved by {moved:.2f}")
