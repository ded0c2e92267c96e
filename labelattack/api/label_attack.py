"""Function that attacks labels in the form in which people have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelattack.attacks.base import Attack
    from labelattack.attacks.budget import Budget
    from labelattack.labels import Encoding
    from labelattack.registry.spec import Spec


def attack(
    y: Any,
    attack: str | Spec | Attack,
    *,
    seed: int = 0,
    budget: str | Budget | None = None,
    encoding: Encoding | None = None,
    labels_encoding: Encoding | None = None,
    image_ids: Sequence[Any] | None = None,
    class_names: Sequence[Any] | None = None,
    **parameters: Any,
) -> Any:
    """Attacks labels, and gives back what is left of them in the same kind of container.

    Args:
        y: Labels, 1 or True for positive and 0 or False for negative, ``[images, labels]``: a NumPy
            array, torch tensor, pandas data frame (its index names the images, its columns the
            classes) or SciPy sparse matrix; a mapping from images to lists of their classes, or to
            mappings from classes to codes; or ``PartialLabels``. NaN and NA are unknown.
        attack: Spec, such as ``targeted:rate=0.4``, or an attack.
        seed: Seed, at least 0; equal labels and seeds give equal results on every machine.
        budget: Labels to remove whatever the rate, ``positives=0.4`` or ``entries=0.4``: a share of
            the known positives, or of all known entries.
        encoding: [Encoding][labelattack.labels.encoding.Encoding] of the result. By default that of
            ``y``, or else -1 for hidden in signed integers, NaN in floats and NA in data frames
            that have other columns than signed integers. Bool, unsigned numbers, sparse matrices
            and lists have no room for what is hidden, so there it must be given, unless the attack
            hides nothing (a label corruption). In a sparse matrix and in a mapping, what is not
            listed has the code 0.
        labels_encoding: Encoding of ``y``, if it holds other codes than those above.
        image_ids: Names of the images, if ``y`` has none, for attacks that match files by name.
        class_names: Names of the classes, likewise; of a mapping all valid ones, in their order.
        **parameters: Parameters of the attack beside those of its spec (where one has the name of
            an argument above, as ``encoding`` of ``mask``, the spec must give it). What it needs to
            know of the images (``scores``, ``features``, ``groups`` ...) may be the path of a file,
            where the attack has that parameter, or an array; one of pandas is matched by name.

    Returns:
        The labels that remain, in a container of the kind of ``y``: a tensor on its device, a data
        frame with its index and columns. Types stay where their numbers can be the codes.

    Raises:
        LabelError: If ``y`` holds something that could be misread, or the result has no room for
            what is hidden.
        UnknownNameError: If attack, encoding or a class is unknown.
        ParameterError: If a parameter, seed or budget is wrong.
        AttackError: If the attack needs knowledge that is not given, or cannot meet the budget.

    Example:
        >>> import labelattack
        >>> tags = {"a.jpg": ["cat", "dog"], "b.jpg": ["dog"], "c.jpg": []}
        >>> labelattack.attack(tags, "targeted", rate=0.4, seed=0, encoding="signed")
        {'a.jpg': {'cat': 1}, 'b.jpg': {'dog': 1}, 'c.jpg': {}}
    """
    from labelattack.attacks.budget import Budget, at_budget
    from labelattack.attacks.choice import chosen_attack
    from labelattack.attacks.knowledge_arrays import is_array, knowledge_of
    from labelattack.labels.containers.read import contained
    from labelattack.seeding import check_seed

    check_seed(seed)
    arrays = {name: value for name, value in parameters.items() if is_array(name, value)}
    files = {name: value for name, value in parameters.items() if name not in arrays}
    chosen = chosen_attack(attack, **files)
    came = contained(y, labels_encoding, ids=image_ids, classes=class_names)
    codes = came.encoding_of(encoding, hides=not chosen.changes)
    knowledge = knowledge_of(chosen, arrays, came.labels)
    if budget is None:
        return came.write(chosen(came.labels, seed=int(seed), knowledge=knowledge), codes)
    wanted = budget if isinstance(budget, Budget) else Budget.parse(str(budget))
    found = at_budget(chosen, wanted, came.labels, seed=int(seed), knowledge=knowledge)
    return came.write(found.labels, codes)
