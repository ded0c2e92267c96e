"""The same attack on labels in three forms, each of which comes back as it was."""

import pandas as pd
import torch

import labelattack

# A data frame: -1 is hidden, in columns of whole numbers.
frame = pd.DataFrame(
    [[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]],
    index=["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
    columns=["cat", "dog", "person"],
)
frame_left = labelattack.attack(frame, "targeted:rate=0.4", seed=0)
print(frame_left)

# A tensor, on its device: in floating numbers NaN is hidden.
tensor = torch.tensor(frame.to_numpy(), dtype=torch.float32)
tensor_left = labelattack.attack(tensor, "targeted", rate=0.4, seed=0)
print(tensor_left)

# Lists say only what is there, so say how to write what is hidden: 'signed' leaves it out.
tags = {"a.jpg": ["cat", "person"], "b.jpg": ["dog", "person"], "c.jpg": ["cat", "dog"]}
tags_left = labelattack.attack(tags, "random", rate=0.5, seed=0, encoding="signed")
print(tags_left)

# Without a container: labels of three states, which a notebook draws.
labels = labelattack.PartialLabels.full(frame.to_numpy() == 1)
print(labelattack.attack(labels, "targeted:rate=0.4", seed=0))
