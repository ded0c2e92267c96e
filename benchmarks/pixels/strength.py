"""How strong the attack of the evasion column is: objectives, steps and radii on stored runs.

    python benchmarks/pixels/strength.py STORE

takes the runs of seed 0 with full labels and under targeted:rate=0.4; prints test mAP in points.
"""

import sys
from pathlib import Path

from labelattack.benchmark.execution.run_cell import measured_again
from labelattack.benchmark.store.store import RecordStore
from labelattack.defenses import registry as defenses
from labelattack.measures.evasion import EvasionSettings
from labelattack.measures.request import MeasureRequest
from labelattack.registry.spec import Spec
from labelattack.training.hardware import single_thread

WAYS = [
    {"objective": "cross-entropy", "eps": 8 / 255, "steps": 10},
    *({"objective": "margin", "eps": 8 / 255, "steps": steps} for steps in (5, 10, 20, 100)),
    *({"objective": "margin", "eps": eps / 255, "steps": 10} for eps in (1, 2, 4, 16)),
]


def main(folder: Path) -> None:
    single_thread()
    store = RecordStore(folder, create=False)
    ways = [EvasionSettings(images=1000, **way) for way in WAYS]
    for way in ways:
        print(way.describe())
    for record in store:
        attack = Spec.parse(record.cell.attack)
        wanted = attack.name == "none" or dict(attack.params).get("rate") == "0.4"
        if record.cell.seed != 0 or not wanted:
            continue
        state = store.weights(record.key)
        maps = [
            measured_again(record, state, MeasureRequest.of(way)).outcomes["evasion"].map
            for way in ways
        ]
        print(
            defenses.short(record.cell.defense),
            *(f"{100 * value:.1f}" for value in maps),
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
