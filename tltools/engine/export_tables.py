"""The lines of an exported script that encode the cells of a table, and read them with a tabular network."""

from __future__ import annotations

from typing import Any

CELLS = """\
def slot(value):
    digest = hashlib.sha256(value.strip().encode()).digest()
    return 1 + int.from_bytes(digest[:4], "little") % 255 if value != "" else 0


def cells(rows, part, width):  # (rows, width) of each column, numbers first
    parts = (body[f"{part}.numbers.{name}"].view(-1, width) for name in ("vector", "bias", "missing"))
    vector, bias, missing = parts
    mean, scale = body[f"{part}.numbers.mean"], body[f"{part}.numbers.scale"]
    for k, name in enumerate(facts["numbers"]):
        value = torch.tensor(pd.to_numeric(rows[name], errors="coerce").to_numpy("float32", na_value=np.nan))
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


def steps(facts: dict[str, Any]) -> list[str]:
    """The functions that give the features of rows."""
    return [CELLS, FEATURES.replace("{pooled}", "torch.cat(layers, 1)" if facts["layers"] else "layers[-1]")]
