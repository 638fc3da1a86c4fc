"""Generated questions on short contexts: who asks for a name, when for a year, in SQuAD's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PEOPLE = ["Anna Berg", "Tom Hale", "Ida Cole", "Ben Stone", "Eva Lind", "Max Frost", "Lea Brook", "Jon Park"]
THINGS = ["bridge", "tower", "museum", "harbour", "school", "library", "station", "theatre"]


def squad(contexts: int, seed: int, impossible: bool = False) -> dict[str, Any]:
    """So many contexts, each with a question for a person and one for a year, and perhaps one that has no answer."""
    random, paragraphs = np.random.default_rng(seed), []
    for number in range(contexts):
        thing, person, year = random.choice(THINGS), random.choice(PEOPLE), str(random.integers(1700, 2000))
        context = [f"The {thing} is from {year}, they say.", f"Nobody but {person} wanted it."]
        text = " ".join(str(one) for one in random.permutation(context))
        asked = [("Who wanted it?", person), (f"When was the {thing} built?", year)]
        qas = [
            {"id": f"{seed}-{number}-{k}", "question": question, "is_impossible": False,
             "answers": [{"text": answer, "answer_start": text.index(answer)}]}
            for k, (question, answer) in enumerate(asked)
        ]  # fmt: skip
        if impossible:
            question = f"How much did the {thing} cost?"
            qas.append({"id": f"{seed}-{number}-no", "question": question, "is_impossible": True, "answers": []})
        paragraphs.append({"context": text, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "Buildings", "paragraphs": paragraphs}]}


def written(folder: Path, contexts: int, seed: int, impossible: bool = False, name: str = "questions.json") -> Path:
    """Such a file."""
    (folder / name).write_text(json.dumps(squad(contexts, seed, impossible)))
    return folder / name
