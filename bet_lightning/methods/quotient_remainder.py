"""Quotient-remainder hashing under a strict budget."""

from __future__ import annotations

from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.table_format import TableShape
from bet_lightning.tables.quotient_remainder import QuotientRemainderTable

_FLOAT_BYTES = 4


class QuotientRemainder(Method):
    """Compositional embeddings (Shi et al. 2020, KDD, arXiv 1909.02107): no search, one training a budget.

    Every row is the product of a quotient's and a remainder's row. The budget is shared among users and items in
    proportion to their rows, and each side takes the smallest divisor, so the fewest collisions, that fits; what
    rounding leaves of the users' share goes to the items. Deviations: the paper compresses tables of more than 200 rows
    with four collisions by default, here the budget decides; both sides are compressed, and graph backbones propagate
    the products.

    Args:
        train: How long the training may take.
    """

    def __init__(self, train: Epochs = Epochs()) -> None:
        self.train = train

    def run(self, problem: Problem) -> Rounds:
        """Train one table a budget: see :meth:`Method.run`."""
        for name, budget in problem.missing_results("qr"):
            tables = [make_table(budget) for _ in range(budget.shape.num_tables)]
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, tables=tables)], shared=True)


def make_table(budget: ResolvedBudget) -> QuotientRemainderTable:
    """Return one of a backbone's tables within its share of a budget.

    Raises:
        ValueError: If not even the smallest factors fit.
    """
    shape = budget.shape
    columns = shape.width // shape.num_tables
    values = budget.params if budget.unit == "params" else budget.bytes // _FLOAT_BYTES
    rows = values // shape.width
    users = find_divisor(shape.num_users, rows * shape.num_users // shape.num_rows)
    spent = -(-shape.num_users // users) + users if users else 0
    items = find_divisor(shape.num_items, rows - spent)
    if not users or not items:
        raise ValueError(
            f"budget {budget.name} is {rows} rows of {columns} columns, too few for the factors of "
            f"{shape.num_users} users and {shape.num_items} items: the smallest feasible is "
            f"{_fewest_rows(shape) * shape.width} parameters"
        )
    return QuotientRemainderTable(shape.num_users, shape.num_items, columns, users, items)


def find_divisor(count: int, rows: int) -> int:
    """Return the smallest divisor of ``count`` rows whose factors have at most ``rows`` rows; 0 if there is none.

    Args:
        count: Rows of a side.
        rows: Rows of both factors together.
    """
    # quotients and remainders, ceil(count / m) + m, fall up to m = sqrt(count)
    low, high = 1, max(1, int(count**0.5) + 1)
    if -(-count // high) + high > rows:
        high = min(range(max(1, high - 2), min(count, high + 1) + 1), key=lambda m: -(-count // m) + m)
        if -(-count // high) + high > rows:
            return 0
    while low < high:
        middle = (low + high) // 2
        if -(-count // middle) + middle <= rows:
            high = middle
        else:
            low = middle + 1
    return min(low, count)


def _fewest_rows(shape: TableShape) -> int:
    """Rows that both sides need at least, the budget being shared in proportion to rows."""
    fewest = [min(-(-n // m) + m for m in {int(n**0.5), int(n**0.5) + 1}) for n in (shape.num_users, shape.num_items)]
    shares = (shape.num_users / shape.num_rows, shape.num_items / shape.num_rows)
    return max(-(-int(need) // share) for need, share in zip(fewest, shares, strict=True)).__ceil__() + 1
