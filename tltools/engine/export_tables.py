"""The lines of an exported script that read a table as tltools does, encode its cells, and read them with a tabular
network."""

from __future__ import annotations

from typing import Any

from tltools.formats import _cells

READ = """\
def read_rows(path):  # (rows as they are, the cells that the model reads, the mark between them)
    for mark in (",", ";", "\\t", "|"):
        names = pd.read_csv(path, sep=mark, nrows=0, encoding="utf-8-sig").columns
        names = [" ".join(str(name).split()) for name in names]
        if set(facts["inputs"]) <= set(names):
            break
    else:
        sys.exit(f"{path} must have the columns {', '.join(facts['inputs'])}")
    rows = pd.read_csv(path, sep=mark, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    rows.columns = names
    cells = rows[facts["inputs"]].apply(lambda column: column.str.strip())
    return rows, cells.mask(cells.isin(facts["missing"]), ""), mark  # an empty cell is a missing one
"""

NUMBERS = """\
def numbers(column, mark):  # in the spelling that fits most cells; the others are missing
    ways, some = facts["spellings"]["comma" if mark == "," else "other"], column[column != ""]
    pattern, changes = max(ways, key=lambda way: some.str.fullmatch(way[0]).sum())
    some = some[some.str.fullmatch(pattern).astype(bool)]
    for old, new in changes:
        some = some.str.replace(old, new, regex=False)
    return pd.to_numeric(some).astype(float).reindex(column.index)
"""

GIVEN = "table, cells, mark = read_rows(sys.argv[1])\n"
AS_NUMBERS = 'for name in facts["numbers"]:\n    cells[name] = numbers(cells[name], mark)\n'

SAID = """\
def said(value):  # whole numbers without a point, others with up to six digits
    if isinstance(value, str):
        return value
    return "" if value != value else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.12g}"
"""

ROWS = "rows = cells.to_numpy(object)\n"
SAID_ROWS = "rows = [[said(value) for value in row] for row in cells.to_numpy(object)]\n"
JOINED = 'items = [" . ".join(cell for cell in row if cell) for row in rows]\n'

SENTENCES = """\
names = facts["inputs"]
items = [", ".join(f"{name} {cell}" for name, cell in zip(names, row) if cell) for row in rows]
"""

CELLS = """\
def slot(value):
    digest = hashlib.sha256(value.strip().encode()).digest()
    return 1 + int.from_bytes(digest[:4], "little") % 255 if value != "" else 0


def cells(rows, part, width):  # (rows, width) of each column, numbers first
    parts = (body[f"{part}.numbers.{name}"].view(-1, width) for name in ("vector", "bias", "missing"))
    vector, bias, missing = parts
    mean, scale = body[f"{part}.numbers.mean"], body[f"{part}.numbers.scale"]
    for k, name in enumerate(facts["numbers"]):
        value = torch.tensor(rows[name].to_numpy("float32"))
        standard = ((value.nan_to_num() - mean[k]) / scale[k]).clamp(-6, 6)[:, None]
        yield torch.where(value.isfinite()[:, None], standard * vector[k] + bias[k], missing[k])
    for k, name in enumerate(facts["categories"]):
        yield body[f"{part}.categories.weight"][[256 * k + slot(value) for value in rows[name]]]
"""

FEATURES = """\
def norm(x, name):
    return F.layer_norm(x, x.shape[1:], body[f"{name}.weight"], body[f"{name}.bias"])


def features(rows):
    layers = [norm(sum(cells(rows, "columns", len(body["columns.norm.weight"]))), "columns.norm")]
    for k in range(facts["blocks"]):
        wide, narrow = f"blocks.{k}.widen", f"blocks.{k}.narrow"
        x = F.linear(norm(layers[-1], f"blocks.{k}.norm"), body[f"{wide}.weight"], body[f"{wide}.bias"]).relu()
        layers.append(layers[-1] + F.linear(x, body[f"{narrow}.weight"], body[f"{narrow}.bias"]))
    layers[-1] = norm(layers[-1], "norm")
    return {pooled}
"""


def reading() -> dict[str, Any]:
    """What the lines that read a table look up in `preprocessing.json`."""
    ways = {"comma": _cells.spellings(False), "other": _cells.spellings(True)}
    kept = {kind: [[pattern, changes] for pattern, changes, _ in known] for kind, known in ways.items()}
    return {"missing": _cells.MISSING, "spellings": kept}


def given(facts: dict[str, Any], then: str = "") -> list[str]:
    """The lines that read the rows into `table`, as they are, and `cells`, as the model reads them, and go on."""
    if not facts["numbers"]:
        return [READ, GIVEN + then]
    return [READ, NUMBERS, GIVEN + AS_NUMBERS + then]


def given_as_texts(facts: dict[str, Any], then: str) -> list[str]:
    """As `given`, and the lines that make each row a text of its cells: `JOINED` or `SENTENCES`."""
    if not facts["numbers"]:
        return given(facts, ROWS + then)
    *functions, last = given(facts, SAID_ROWS + then)
    return [*functions, SAID, last]


def steps(facts: dict[str, Any]) -> list[str]:
    """The functions that give the features of rows."""
    return [CELLS, FEATURES.replace("{pooled}", "torch.cat(layers, 1)" if facts["layers"] else "layers[-1]")]
