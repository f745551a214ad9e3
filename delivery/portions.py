"""A part of a batch that is sent by itself, while the rest has come to its end or goes back to the queue."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from delivery.batches import Batch, Results

Item = TypeVar("Item")


def portion(batch: Batch, positions: Sequence[int], results: Results) -> tuple[Batch, Results]:
    """These recipients of a batch as a batch of their own, and results that become the whole batch's when complete.

    One portion at a time: message ids that follow from batch, attempt and position would come twice.
    """
    part = dataclasses.replace(
        batch,
        tokens=[batch.tokens[position] for position in positions],
        device_ids=_chosen(batch.device_ids, positions),
        attributes=_chosen(batch.attributes, positions),
        admitted=_chosen(batch.admitted, positions),
    )

    def pass_on(found: Results) -> None:
        for place, position in enumerate(positions):
            message_id = found.message_ids[place]
            if message_id is not None:
                results.accepted(position, message_id)
            else:
                results.settled(position, found.exceptions[place])

    return part, Results(part, pass_on)


def _chosen(values: list[Item] | None, positions: Sequence[int]) -> list[Item] | None:
    return None if values is None else [values[position] for position in positions]
