"""Trees in tables: members by key or by place, parents by key or by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pgem as pg

pd = pytest.importorskip("pandas")
Y = [0.1, 2.0, -1.0, 0.7, 1.5]
PARAMS: dict[str, Any] = {
    "s.probs": [[0.9, 0.1], [0.3, 0.7]],
    "s.first.probs": [0.4, 0.6],
    "y.mean": [-1.0, 1.0],
    "y.var": [1.0, 0.5],
}
TABLE = {
    "family": ["b", "b", "a", "b", "a"],
    "name": ["x", "y", "x", "z", "w"],
    "mother": ["y", None, "w", "x", None],
    "size": Y,
}


def tree() -> pg.Model:
    with pg.Model("tree") as model, pg.tree("cell"):
        s = pg.latent("s", pg.Categorical(size=2), after="s")
        pg.observed("y", pg.Normal(), given=s)
    return model


def test_members_by_key() -> None:
    data = pg.Data(
        pd.DataFrame(TABLE),
        unit="family",
        plates={"cell": "name"},
        columns={"cell.parent": "mother", "y": "size"},
    )
    plain = {"y": [[Y[0], Y[1], Y[3]], [Y[2], Y[4]]], "cell.parent": [[1, -1, 0], [1, -1]]}
    model = tree()
    np.testing.assert_allclose(
        model.log_likelihood(data, PARAMS), model.log_likelihood(plain, PARAMS), rtol=1e-14
    )
    found = model.posterior(data, PARAMS)["s"]
    for one, other in zip(found, model.posterior(plain, PARAMS)["s"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


@pytest.mark.parametrize("numbered", [True, False])
def test_one_tree(numbered: bool) -> None:
    """Numbers as keys, with NaN at the root; or no keys, and places as parents."""
    frame = pd.DataFrame({"id": [7, 3, 9], "mum": [3.0, np.nan, 7.0], "y": [0.1, 2.0, 0.7]})
    if numbered:
        data = pg.Data(frame, plates={"cell": "id"}, columns={"cell.parent": "mum"})
    else:
        data = pg.Data(frame.assign(**{"cell.parent": [1, -1, 0]})[["y", "cell.parent"]])
    plain = {"y": [0.1, 2.0, 0.7], "cell.parent": [1, -1, 0]}
    model = tree()
    np.testing.assert_allclose(
        model.log_likelihood(data, PARAMS), model.log_likelihood(plain, PARAMS), rtol=1e-14
    )


def test_a_parent_of_another_family_is_refused() -> None:
    table = pd.DataFrame({**TABLE, "mother": ["y", None, "z", "x", None]})
    data = pg.Data(
        table,
        unit="family",
        plates={"cell": "name"},
        columns={"cell.parent": "mother", "y": "size"},
    )
    with pytest.raises(pg.DataError, match="no member of the same tree") as caught:
        tree().log_likelihood(data, PARAMS)
    assert "'z' as the parent of 'x'" in str(caught.value)
    assert "column 'name'" in str(caught.value)


def test_a_table_without_parents_is_refused() -> None:
    data = pg.Data(pd.DataFrame(TABLE), unit="family", plates={"cell": "name"},
                   columns={"y": "size"})  # fmt: skip
    with pytest.raises(pg.DataError, match=r"'cell.parent'"):
        tree().fit(data)
