"""The lines of an exported script that read a table as tltools does, encode its cells, and read them with a tabular
network."""

from __future__ import annotations

from typing import Any

from tltools.engine import export_groups
from tltools.formats import _cells

TOLD = r'"\n".join(bad[:20]) + f"\nand {len(bad) - 20} more" * (len(bad) > 20)'  # the first of them, and how many more

READ = """\
def read_rows(path):  # (rows as they are, the cells that the model reads, the mark between them)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        sys.exit(f"{path} cannot be read ({error}): save the table as CSV in UTF-8")
    csv.field_size_limit(2**31 - 1)
    names, mark = [], ","
    for sign in (",", ";", "\\t", "|"):  # the one that parts most names of inputs
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True), [])
        found = [" ".join(name.split()) or f"column_{k}" for k, name in enumerate(header, 1)]
        if len(set({read}) & set(found)) > len(set({read}) & set(names)):
            names, mark = found, sign
    if lacking := [name for name in {read} if name not in names]:
        sys.exit(f"{path} lacks the column(s) {', '.join(lacking)}: name them in its first line")
    only = "\\x1f" if len(names) == 1 else mark  # in a single column every mark is text
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=only, skipinitialspace=True, strict=True)
    rows, bad, row = [], [], []
    while row is not None:  # all lines that cannot be read are named at once
        try:
            if (row := next(lines, None)) and len(row) != len(names):
                raise csv.Error(f"{len(row)} fields where the first line has {len(names)}")
            rows += [row] if row else []  # a blank line is no row
        except csv.Error as error:
            bad.append(f"{path}, line {lines.line_num} cannot be read ({error}): correct this line")
    if bad:
        sys.exit({told})
    if len(rows) == 1:
        sys.exit(f"{path} has no rows below its first line: add the rows to predict")
    made = {"prediction", *(f"p_{name}" for name in facts["classes"])}
    table = pd.DataFrame(rows[1:])
    cells = table[[names.index(name) for name in {read}]].set_axis({read}, axis=1)
    cells = cells.apply(lambda column: column.str.strip())
    table.columns = [f"{name} (given)" if name in made else name for name in names]
    return table, cells.mask(cells.isin(facts["missing"]), ""), mark  # an empty cell is a missing one
"""

NUMBERS = """\
def numbers(column, mark):  # in the spelling that fits most cells; the others are missing, which is told
    ways, some = facts["spellings"]["comma" if mark == "," else "other"], column[column != ""]
    pattern, changes = max(ways, key=lambda way: some.str.fullmatch(way[0]).sum())
    some = some[some.str.fullmatch(pattern).astype(bool)]
    for old, new in changes:
        some = some.str.replace(old, new, regex=False)
    some = pd.to_numeric(some).astype(float)
    some = some[some.abs() < {beyond}]
    odd = column[(column != "") & ~column.index.isin(some.index)]
    if len(odd):
        first = f'the first "{odd.iloc[0]}" in row {odd.index[0] + 1}'
        print(f"{column.name}: {len(odd)} cell(s) hold no number and are read as missing, {first}", file=sys.stderr)
    return some.reindex(column.index)
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
    minds = facts.get("thresholds")
    reads = READ.replace("{read}", 'facts["read"]' if minds else 'facts["inputs"]').replace("{told}", TOLD)
    lines = GIVEN + (export_groups.given(facts) if minds else "") + (AS_NUMBERS if facts["numbers"] else "") + then
    if not facts["numbers"] and not (minds and minds["numbers"]):
        return [reads, lines]
    return [reads, NUMBERS.replace("{beyond}", f"{_cells.BEYOND:g}".replace("+", "")), lines]


def given_as_texts(facts: dict[str, Any], then: str) -> list[str]:
    """As `given`, and the lines that make each row a text of its cells: `JOINED` or `SENTENCES`."""
    if not facts["numbers"]:
        return given(facts, ROWS + then)
    *functions, last = given(facts, SAID_ROWS + then)
    return [*functions, SAID, last]


def steps(facts: dict[str, Any]) -> list[str]:
    """The functions that give the features of rows."""
    return [CELLS, FEATURES.replace("{pooled}", "torch.cat(layers, 1)" if facts["layers"] else "layers[-1]")]
