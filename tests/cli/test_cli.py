"""Every command on the gallery, and what is said about bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from gallery import FILES, MODELS
from typer.testing import CliRunner, Result

import pgem
from pgem._cli.app import app
from pgem._cli.tables import read_columns

each_model = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

TWO_NORMALS = """
import pgem as pg

with pg.Model("two") as model:
    z = pg.latent("z", pg.Categorical(size=2))
    y = pg.observed("y", pg.Normal(), given=z)
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def two_normals(tmp_path: Path) -> Path:
    return write(tmp_path, TWO_NORMALS)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal([[0.0], [6.0]], 1.0, (2, 40)).ravel()
    cells = [f"{value:.3f}" for value in values]
    cells[3] = "NA"
    return write(tmp_path, "\n".join(["y,note", *(f"{c},a" for c in cells)]), "table.csv")


# --- the gallery --------------------------------------------------------------------------------


@each_model
def test_fit_writes_the_result_and_the_picture(path: Path, tmp_path: Path) -> None:
    result = run("fit", path, "--out", tmp_path / "here")
    assert result.exit_code == 0, result.output
    assert "converged" in result.stdout
    assert str(tmp_path / "here" / "fit.png") in result.stdout
    assert (tmp_path / "here" / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "here" / "result.json").read_text())
    loaded = pgem.load(tmp_path / "here" / "result.json")
    assert np.isfinite(loaded.log_likelihood)


@each_model
def test_explain(path: Path) -> None:
    assert run("explain", path).stdout.strip()
    assert "$" in run("explain", path, "--markdown").stdout


@each_model
def test_source(path: Path) -> None:
    assert "def e_step(" in run("source", path).stdout
    script = run("source", path, "--script").stdout
    assert "import pgem" not in script
    assert "from pgem." not in script
    compile(script, path.name, "exec")


def test_the_script_runs_alone(tmp_path: Path) -> None:
    script = run("source", MODELS / "old_faithful.py", "--script").stdout
    path = write(tmp_path, script, "alone.py")
    done = subprocess.run(
        [sys.executable, "-I", path], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "-1130.26" in done.stdout


@each_model
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_draw(path: Path, suffix: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / f"diagram.{suffix}"
    result = run("draw", path, "--out", target)
    assert result.exit_code == 0, result.output
    assert target.stat().st_size > 500
    assert str(target) in result.stdout


@each_model
def test_check(path: Path) -> None:
    result = run("check", path)
    assert result.exit_code == 0, result.output
    for word in ("compiles", "E-step", "M-step", "free parameters", "observations", "missing"):
        assert word in result.stdout


def test_check_of_a_refused_model_reports_it(tmp_path: Path) -> None:
    text = """
import pgem as pg

with pg.Model("m") as model:
    f = pg.latent("f", pg.Normal(0.0, 1.0))
    z = pg.latent("z", pg.Categorical(size=2))
    pg.observed("x", pg.Bernoulli(logit=pg.param("a") * f))
    pg.observed("y", pg.Poisson(), given=z)
"""
    result = run("check", write(tmp_path, text))
    assert result.exit_code == 1
    for word in ("model 'm' is refused", "'x' below it is Bernoulli", "summed out in scope unit"):
        assert word in result.stdout
    assert "no closed form" in result.stderr


def test_fit_without_a_folder_uses_results(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("fit", MODELS / "old_faithful.py", "--quiet")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "results" / "old_faithful").iterdir())[0] == "fit.png"
    assert "log-likelihood" not in result.output


def test_options_override_those_of_the_file(tmp_path: Path) -> None:
    path = MODELS / "old_faithful.py"
    result = run("fit", path, "--max-iter", 2, "--tol", 0, "--restarts", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "iteration_limit" in result.stdout


# --- tables -------------------------------------------------------------------------------------


def test_columns_go_by_node_name(two_normals: Path, table: Path, tmp_path: Path) -> None:
    result = run("fit", two_normals, "--data", table, "--out", tmp_path, "--seed", 1)
    assert result.exit_code == 0, result.output
    assert "1 missing" in run("check", two_normals, table).stdout


def test_a_tree_in_a_table(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import pgem as pg\n\nwith pg.Model('tree') as model, pg.tree('cell'):\n"
        "    s = pg.latent('s', pg.Categorical(size=2), after='s')\n"
        "    pg.observed('y', pg.Poisson(), given=s)\n",
    )
    table = write(tmp_path, "y,cell.parent\n1,1\n2,-1\n5,0\n", "table.csv")
    result = run("check", path, table)
    assert result.exit_code == 0, result.output
    assert "tree 'cell': 3 members" in result.stdout


def test_a_module_reads_its_own_table(tmp_path: Path) -> None:
    table = write(tmp_path, "deaths,days\n0,50\n1,30\n4,20\n", "other.csv")
    result = run("check", MODELS / "death_notices.py", table)
    assert "3 units, of total weight 100" in result.stdout


def test_vectors_come_from_columns(tmp_path: Path) -> None:
    text = TWO_NORMALS.replace("pg.Normal()", "pg.MvNormal(cov=pg.diagonal())")
    path = write(tmp_path, text + 'columns = {"y": ["a", "b"]}\n')
    table = write(tmp_path, "a,b\n1,2\n3,\n5,1\n", "t.csv")
    assert "vectors of 2, 5 cells, 1 missing" in run("check", path, table).stdout
    short = write(tmp_path, "a\n1\n", "short.csv")
    result = run("check", path, short)
    assert result.exit_code == 2
    assert "'b' of node 'y'" in result.stderr


def test_read_makes_data_of_columns(tmp_path: Path) -> None:
    text = TWO_NORMALS + 'def read(columns):\n    return {"y": columns["other"] * 2}\n'
    table = write(tmp_path, "other\n1\n2\n", "t.csv")
    assert run("check", write(tmp_path, text), table).exit_code == 0


def test_cells_are_numbers_labels_or_holes(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffx,group\n1.5,A\n,NA\nNaN, B \n", "t.csv")
    columns = read_columns(path)
    assert columns["group"] == ["A", None, "B"]
    assert np.isnan(columns["x"][1:]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line with a name for each column"),
        ("y,y\n1,2\n", "first line with a name for each column"),
        ("y,note\n1\n", "row 2: '1' cells under '2' column names"),
        ("other\n1\n", "none of the columns 'other' is a node of the model"),
    ],
)
def test_a_table_that_cannot_be_read(
    two_normals: Path, tmp_path: Path, text: str, said: str
) -> None:
    result = run("fit", two_normals, "--data", write(tmp_path, text, "t.csv"))
    assert result.exit_code == 2
    assert said in result.stderr


def test_data_that_do_not_fit(two_normals: Path, tmp_path: Path) -> None:
    table = write(tmp_path, "y\none\ntwo\n", "t.csv")
    for command in (("fit", two_normals, "--data", table), ("check", two_normals, table)):
        result = run(*command)
        assert result.exit_code == 1
        assert "'y'" in result.stderr
        assert "Traceback" not in result.output


# --- bad model files ----------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    for command in ("fit", "explain", "source", "draw", "check"):
        result = run(command, tmp_path / "none.py")
        assert result.exit_code == 2
        assert f"there is no model file '{tmp_path / 'none.py'}'" in result.stderr


def test_no_such_data(two_normals: Path, tmp_path: Path) -> None:
    result = run("fit", two_normals, "--data", tmp_path / "none.csv")
    assert (result.exit_code, "there is no data file" in result.stderr) == (2, True)


def test_no_data_at_all(two_normals: Path) -> None:
    result = run("fit", two_normals)
    assert result.exit_code == 2
    assert "--data FILE.csv" in result.stderr
    assert "no data to check" in run("check", two_normals).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines no model"),
        (TWO_NORMALS.replace("as model", "as one") + "two = pg.Model('b')\n", "'one, two'"),
        ("x = 1\n\ny = 1 / 0\n", "line 3):\nZeroDivisionError: division by zero"),
        ("x = (\n", "line 1):\nSyntaxError"),
        (TWO_NORMALS.replace('"y"', '"z"'), "the name 'z' is declared twice"),
        ("import sys\nsys.exit('no')\n", "line 2):\nSystemExit: no"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, text: str, said: str) -> None:
    result = run("check", write(tmp_path, text))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_the_only_model_needs_no_name(tmp_path: Path) -> None:
    path = write(tmp_path, TWO_NORMALS.replace("as model", "as other"))
    assert run("source", path).exit_code == 0


def test_data_of_a_module_that_raises(tmp_path: Path) -> None:
    result = run("fit", write(tmp_path, TWO_NORMALS + "def data():\n    raise OSError('gone')\n"))
    assert result.exit_code == 2
    assert "data()" in result.stderr
    assert "line 8):\nOSError: gone" in result.stderr


def test_data_of_a_module_that_takes_no_path(tmp_path: Path, table: Path) -> None:
    path = write(tmp_path, TWO_NORMALS + "def data():\n    return {'y': [1.0]}\n")
    result = run("fit", path, "--data", table)
    assert result.exit_code == 2
    assert "takes no path" in result.stderr


def test_another_kind_of_file(tmp_path: Path) -> None:
    result = run("fit", write(tmp_path, "x", "model.txt"))
    assert (result.exit_code, "ends with .py" in result.stderr) == (2, True)


def test_errors_of_pgem_end_with_one(two_normals: Path, table: Path) -> None:
    result = run("fit", two_normals, "--data", table, "--restarts", 0)
    assert result.exit_code == 1
    assert "'restarts'" in result.stderr
    result = run("draw", two_normals, "--out", "diagram.gif")
    assert result.exit_code == 1
    assert "'.gif'" in result.stderr


# --- the entry point ----------------------------------------------------------------------------


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"pgem {pgem.__version__}\n")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_main() -> None:
    done = python("from pgem.cli import main; main()", "--version")
    assert (done.returncode, done.stdout) == (0, f"pgem {pgem.__version__}\n")


def test_main_without_typer_names_the_extra() -> None:
    code = "import sys; sys.modules['typer'] = None; from pgem.cli import main; main()"
    done = python(code, "--version")
    assert done.returncode == 1
    assert "pip install 'pgem[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_typer_waits() -> None:
    code = "import sys, pgem, pgem.cli; assert not {'typer', 'rich'} & set(sys.modules)"
    assert python(code).returncode == 0


def test_a_table_of_another_model_names_its_columns() -> None:
    data = MODELS / "data" / "old_faithful.csv"
    result = run("fit", MODELS / "earthquakes.py", "--data", data)
    assert result.exit_code == 2
    assert "'quakes'" in result.output
    assert "waiting" in result.output


def test_a_folder_that_cannot_be_written(two_normals: Path, table: Path, tmp_path: Path) -> None:
    blocked = write(tmp_path, "", "blocked")
    result = run("fit", two_normals, "--data", table, "--out", blocked / "inside", "--quiet")
    assert result.exit_code == 2
    assert "cannot write" in result.output


def test_text_in_a_column_of_numbers_is_quoted(two_normals: Path, tmp_path: Path) -> None:
    result = run("fit", two_normals, "--data", write(tmp_path, "y\n1\nfoo\n", "text.csv"))
    assert result.exit_code == 1
    assert "'foo' in row '1'" in result.output
