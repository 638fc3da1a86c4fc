"""The lines of an exported script that read the rows of a table with a tabular network."""

from __future__ import annotations

from typing import Any

FEATURES = """\
def slot(value):
    digest = hashlib.sha256(value.strip().encode()).digest()
    return 1 + int.from_bytes(digest[:4], "little") % 255 if value != "" else 0


def norm(x, name):
    return F.layer_norm(x, x.shape[1:], body[f"{name}.weight"], body[f"{name}.bias"])


def features(rows):
    x = 0.0
    width = len(body["columns.norm.weight"])
    vector, bias, missing = (body[f"columns.numbers.{part}"].view(-1, width) for part in ("vector", "bias", "missing"))
    mean, scale = body["columns.numbers.mean"], body["columns.numbers.scale"]
    for k, name in enumerate(facts["numbers"]):
        value = torch.tensor(pd.to_numeric(rows[name], errors="coerce").to_numpy("float32", na_value=np.nan))
        standard = ((value.nan_to_num() - mean[k]) / scale[k]).clamp(-6, 6)[:, None]
        x = x + torch.where(value.isfinite()[:, None], standard * vector[k] + bias[k], missing[k])
    for k, name in enumerate(facts["categories"]):
        x = x + body["columns.categories.weight"][[256 * k + slot(value) for value in rows[name]]]
    layers = [norm(x, "columns.norm")]
    for k in range(facts["blocks"]):
        wide, narrow = f"blocks.{k}.widen", f"blocks.{k}.narrow"
        x = F.linear(norm(layers[-1], f"blocks.{k}.norm"), body[f"{wide}.weight"], body[f"{wide}.bias"]).relu()
        layers.append(layers[-1] + F.linear(x, body[f"{narrow}.weight"], body[f"{narrow}.bias"]))
    layers[-1] = norm(layers[-1], "norm")
    return {pooled}
"""


def steps(facts: dict[str, Any]) -> list[str]:
    """The functions that give the features of rows."""
    return [FEATURES.replace("{pooled}", "torch.cat(layers, 1)" if facts["layers"] else "layers[-1]")]
