"""Poison multi-hot labels, train on what is left, attack the pixels: with ART and one import."""

# Before ART: then ART writes nothing into the home folder and leaves logging alone.
from labelattack.interop.art import LabelRemoval, MultiLabelClassifier

# isort: split
import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch import nn


def pairs(digits, targets, count, rng):
    """Images of two digits side by side, and which digits are there."""
    picks = rng.integers(len(digits), size=(count, 2))
    x = np.concatenate([digits[picks[:, 0]], digits[picks[:, 1]]], axis=2)[:, None]
    y = np.zeros((count, 10), dtype=np.float32)
    for column in picks.T:
        y[np.arange(count), targets[column]] = 1
    return x.astype(np.float32), y


torch.manual_seed(0)
digits, targets = load_digits(return_X_y=True)
digits = digits.reshape(-1, 8, 8) / 16
x_train, y_train = pairs(digits[:1200], targets[:1200], 1500, np.random.default_rng(0))
x_test, y_test = pairs(digits[1200:], targets[1200:], 500, np.random.default_rng(1))

attack = LabelRemoval("targeted:rate=0.4", seed=0)
x_train, poisoned = attack.poison(x_train, y_train)  # 1 present, -1 not known
print(f"labels left: {(poisoned == 1).sum()} of {int(y_train.sum())} positives, no negatives")

model = nn.Sequential(
    *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 4 * 8, 10)),
)
estimator = MultiLabelClassifier(
    model,
    loss="an",  # any of `labelattack list defenses`
    input_shape=(1, 8, 16),
    nb_classes=10,
    optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    clip_values=(0.0, 1.0),
)
estimator.fit(x_train, poisoned, batch_size=16, nb_epochs=10)

pgd = ProjectedGradientDescent(estimator, eps=0.1, eps_step=0.025, max_iter=10, verbose=False)
x_attacked = pgd.generate(x_test, y_test)
for name, x in (("clean", x_test), ("robust", x_attacked)):
    score = average_precision_score(y_test, estimator.predict(x), average="macro")
    print(f"{name} mAP: {100 * score:.1f}")
