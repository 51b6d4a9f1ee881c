"""A declaration as JSON: round trips, and a table of texts that are refused."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pgem as pg
from pgem.errors import DeclarationError


def mixture() -> pg.Model:
    with pg.Model("mixture") as model:
        z = pg.latent("z", pg.Categorical(size=3))
        pg.observed("x", pg.MvNormal(cov=pg.diagonal()), given=z)
    return model


def chain() -> pg.Model:
    with pg.Model("chain") as model:
        c = pg.latent("c", pg.Categorical(levels=["u", "v"]))
        with pg.sequence("t"):
            s = pg.latent("s", pg.Categorical(size=2), given=c, after="s")
            pg.observed("y", pg.Categorical(size=2), given=s, after="y")
    return model


def plates() -> pg.Model:
    with pg.Model("plates") as model:
        who = pg.covariate("who", levels=["a", "b"])
        n = pg.covariate("n")
        with pg.plate("item", size=4) as item:
            z = pg.latent("z", pg.Bernoulli(), given=item)
            tied = pg.param("tied", fixed=[True, False], value=[0.2, 0.4])
            pg.observed("k", pg.Binomial(prob=tied[z], trials=n))
            pg.observed("r", pg.Poisson(rate=pg.param("base")[who, pg.constant([1, 0])[z]]))
            pg.observed("e", pg.switch(z, pg.Dirac(0), pg.Exponential()))
    return model


def blood() -> pg.Model:
    table = np.eye(3)[[[0, 1], [1, 2]]]
    with pg.Model("blood") as model:
        allele = pg.param("allele")
        mother = pg.latent("mother", pg.Categorical(allele, size=2))
        father = pg.latent("father", pg.Categorical(allele, size=2))
        pg.observed("group", pg.Categorical(pg.constant(table)[mother, father]))
    return model


@pytest.mark.parametrize("make", [mixture, chain, plates, blood])
def test_round_trip(make: Any) -> None:
    model = make()
    text = model.to_json()
    again = pg.Model.from_json(text)
    assert again.record == model.record
    assert again.to_json() == text
    assert type(again) is pg.Model
    assert hash(again.record.nodes[-1].gates()) == hash(model.record.nodes[-1].gates())


@pytest.mark.parametrize("make", [chain, plates, blood])
def test_the_same_program(make: Any) -> None:
    model = make()
    assert pg.Model.from_json(model.to_json()).compile().source == model.compile().source


def test_the_same_fit() -> None:
    data = {"x": np.random.default_rng(0).normal(size=(60, 2))}
    one = mixture().fit(data, max_iter=10)
    other = pg.Model.from_json(mixture().to_json()).fit(data, max_iter=10)
    for name, value in one.params.items():
        np.testing.assert_array_equal(other.params[name], value)


def test_a_model_from_json_can_be_continued() -> None:
    model = pg.Model.from_json(mixture().to_json())
    with model:
        pg.observed("extra", pg.Normal())
        with pytest.raises(DeclarationError, match="'z' is declared twice"):
            pg.latent("z", pg.Bernoulli())
    assert [node.name for node in model.record.nodes] == ["z", "x", "extra"]


def test_labels_of_numpy_and_what_json_cannot_hold() -> None:
    with pg.Model("labels") as model:
        pg.observed("x", pg.Categorical(levels=np.array(["a", "b"]), size=np.int64(2)))
    assert pg.Model.from_json(model.to_json()).compile().source == model.compile().source
    with pg.Model("labels") as model:
        pg.observed("x", pg.Categorical(levels=[1 + 2j, 2 + 1j]))
    with pytest.raises(DeclarationError, match=r"'x' holds .*JSON cannot hold"):
        model.to_json()


def change(*path: Any) -> Any:
    """Set the value at a path of the specification."""
    *outer, last, value = path

    def apply(spec: Any) -> None:
        for key in outer:
            spec = spec[key]
        spec[last] = value

    return apply


def drop(*path: Any) -> Any:
    *outer, last = path

    def apply(spec: Any) -> None:
        for key in outer:
            spec = spec[key]
        del spec[last]

    return apply


def swap_scopes(spec: Any) -> None:
    spec["scopes"].reverse()


def repeat_node(spec: Any) -> None:
    spec["nodes"].append(spec["nodes"][0])


INJECTION = "x'; import os; '"
Z, K, R, E = (("nodes", k) for k in range(4))
K_SLOTS = (*K, "components", 0, "slots")
R_GATES = (*R, "components", 0, "slots", "rate", "gates")
BAD: dict[str, Any] = {
    # fields and types
    "missing field": drop(*Z, "scope"),
    "unknown field": change(*Z, "sizee", 3),
    "unknown field inside": change("scopes", 0, "colour", "red"),
    "wrong kind": change(*Z, "kind", "hidden"),
    "wrong kind of slot": change(*K_SLOTS, "prob", "kind", "code"),
    "text as size": change("scopes", 1, "size", "4"),
    "float as size": change("scopes", 1, "size", 4.5),
    "boolean as size": change("scopes", 1, "size", True),
    "list as name": change(*Z, "name", ["z"]),
    "number as nodes": change("nodes", 3),
    "newer version": change("version", 2),
    # names
    "injection in node": change(*Z, "name", INJECTION),
    "injection in model": change("name", '"""\nimport os\n"""'),
    "quotes in model": change("name", 'a"b'),
    "injection in scope": change("scopes", 1, "name", INJECTION),
    "injection in covariate": change("covariates", 0, "name", INJECTION),
    "injection in parameter": change("params", 0, "name", 'z.prob"]; import os'),
    "dotted parameter": change("params", 1, "name", "tied.up"),
    "injection in slot": change(*K_SLOTS, "prob", "name", 'tied"]'),
    "injection in gate": change(*K_SLOTS, "prob", "gates", 0, "name", INJECTION),
    "injection in switch": change(*E, "switch", "name", INJECTION),
    "injection in family": change(*Z, "components", 0, "family", "__import__('os').system"),
    "module as family": change(*Z, "components", 0, "family", "os.system"),
    "base as family": change(*Z, "components", 0, "family", "Family"),
    "private as family": change(*Z, "components", 0, "family", "_family"),
    "no class as family": change(*Z, "components", 0, "family", "Slot"),
    "empty name": change(*Z, "name", ""),
    "node named like unit": change(*Z, "name", "unit"),
    "node named like covariate": change(*Z, "name", "who"),
    "parameter named like node": change("params", 1, "name", "k"),
    "duplicate node": repeat_node,
    "duplicate parameter": lambda spec: spec["params"].append(spec["params"][0]),
    "duplicate scope": lambda spec: spec["scopes"].append(spec["scopes"][1]),
    # scopes
    "no unit": drop("scopes", 0),
    "order of scopes": swap_scopes,
    "scope in itself": change("scopes", 1, "parent", "item"),
    "unknown scope around": change("scopes", 1, "parent", "ward"),
    "second unit": change("scopes", 1, "kind", "unit"),
    "size zero": change("scopes", 1, "size", 0),
    "unknown scope of node": change(*Z, "scope", "ward"),
    "unknown scope of covariate": change("covariates", 0, "scope", "ward"),
    "covariate size": change("covariates", 0, "size", -2),
    "covariate levels": change("covariates", 0, "levels", ["a", "a"]),
    # references
    "gate to unknown node": change(*K_SLOTS, "prob", "gates", 0, "name", "w"),
    "gate to unbounded node": change(*E, "switch", "name", "k"),
    "gate by ragged plate": change("scopes", 1, "size", None),
    "gate back in time": change(*K_SLOTS, "prob", "gates", 0, "lag", 1),
    "negative lag": change(*K_SLOTS, "prob", "gates", 0, "lag", -1),
    "covariate back in time": change(*R_GATES, 0, "lag", 1),
    "size of gate": change(*R_GATES, 0, "size", 7),
    "circle": change(*Z, "components", 0, "slots", "prob", "gates", 0, {
        "kind": "node", "name": "z", "lag": 0, "table": [], "gates": [], "size": 2}),
    "unknown parameter": change(*K_SLOTS, "prob", "name", "loose"),
    "unused parameter": change(*K_SLOTS, "prob", {"kind": "constant", "name": "", "value": 0.5,
                                                  "gates": [], "structure": "full"}),
    "unknown covariate": change(*K_SLOTS, "trials", "name", "m"),
    "covariate in a free slot": change(*K_SLOTS, "prob", {
        "kind": "covariate", "name": "n", "value": None, "gates": [], "structure": "full"}),
    "parameter in a known slot": change(*K_SLOTS, "trials", {
        "kind": "param", "name": "tied", "value": None, "gates": [], "structure": "full"}),
    # numbers
    "text as constant": change(*E, "components", 0, "slots", "value", "value", "0; import os"),
    "nothing as constant": change(*E, "components", 0, "slots", "value", "value", None),
    "ragged constant": change(*E, "components", 0, "slots", "value", "value", [[1, 2], [3]]),
    "text in a constant": change(*E, "components", 0, "slots", "value", "value", [1, "2"]),
    "object as constant": change(*E, "components", 0, "slots", "value", "value", {"a": 1}),
    "boolean constant": change(*E, "components", 0, "slots", "value", "value", True),
    "text as mask": change("params", 1, "fixed", ["yes", "no"]),
    "number as mask": change("params", 1, "zeros", [0, 1]),
    "text as value": change("params", 1, "value", ["0.2", "0.4"]),
    "fixed without value": change("params", 1, "value", None),
    "text in a table gate": change(*R_GATES, 1, "table", ["0", "1"]),
    "float in a table gate": change(*R_GATES, 1, "table", [0.5, 1]),
    "index out of range": change(*R_GATES, 1, "table", [0, 9]),
    "negative index": change(*R_GATES, 1, "table", [0, -1]),
    "axes of a table gate": change(*R_GATES, 1, "table", [[0, 1]]),
    "table gate without gates": change(*R_GATES, 1, "gates", []),
    "named table gate": change(*R_GATES, 1, "name", "z"),
    # families
    "unknown setting": change(*Z, "components", 0, "settings", {"colour": 3}),
    "text as setting": change(*K, "components", 0, "settings", {"size": "3"}),
    "unknown slot": change(*Z, "components", 0, "slots", {"rate": {"kind": "constant"}}),
    "no slots": change(*Z, "components", 0, "slots", {}),
    "no components": change(*Z, "components", []),
    "two components": lambda spec: spec["nodes"][0]["components"].append(
        spec["nodes"][0]["components"][0]),
    "structure": change(*K_SLOTS, "prob", "structure", "diagonal"),
    "unknown structure": change(*K_SLOTS, "prob", "structure", "banded"),
    "first without looking back": lambda spec: spec["nodes"][0]["firsts"].append(
        spec["nodes"][0]["components"][0]),
    "conditioned without looking back": change(*R, "conditioned", True),
    "latent switch": change(*E, "kind", "latent"),
    "no nodes": change("nodes", []),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_specifications(name: str) -> None:
    spec = json.loads(plates().to_json())
    good = copy.deepcopy(spec)
    BAD[name](spec)
    assert spec != good
    with pytest.raises(DeclarationError):
        pg.Model.from_json(json.dumps(spec))


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"model"', "{}", "hello", "[" * 100_000, '{"name": NaN}', "\x00"],
)
def test_texts_that_are_no_specification(text: str) -> None:
    with pytest.raises(DeclarationError):
        pg.Model.from_json(text)


def test_nan_and_infinity_are_no_numbers() -> None:
    text = plates().to_json()
    assert '"value": 0.0' in text
    for number in ("NaN", "Infinity", "1e999"):
        with pytest.raises(DeclarationError):
            pg.Model.from_json(text.replace('"value": 0.0', f'"value": {number}'))


def test_the_error_says_where() -> None:
    spec = json.loads(mixture().to_json())
    spec["nodes"][1]["kind"] = "hidden"
    with pytest.raises(DeclarationError, match=r"(?s)nodes\.1\.kind.*'hidden'"):
        pg.Model.from_json(json.dumps(spec))


def test_importing_pgem_does_not_import_pydantic() -> None:
    code = "import sys, pgem; sys.exit('pydantic' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
