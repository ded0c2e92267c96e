"""A loss for partial labels as a criterion of somebody else's training loop."""

from labelattack.training.criterion.criterion import Criterion as Criterion
