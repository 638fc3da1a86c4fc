"""One contract for every strategy of the room, run with a kit that only notes what it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tltools.providers import bundled
from tltools.records import Choice, Dataset, Number, Source, Switch, Trial
from tltools.strategies import Outcome, Recipe, Strategy, strategies
from tltools.study_files import filled

ALL = list(strategies().values())
STAGES = (1, 2, 5, 8, 25)


class NotingKit:
    """Notes the calls of a strategy and answers each trial with an empty outcome."""

    def __init__(self, stages: int = 8) -> None:
        self.count, self.calls = stages, []

    def _outcome(self, trial: Trial, what: str, given: Any) -> Outcome:
        self.calls.append((what, given))
        return Outcome(trial, np.zeros(0, np.int64), np.zeros((0, 2), np.float32), {}, {}, 0.0, 0.0, 0)

    def probe(self, trials: Sequence[Trial], **given: Any) -> Iterator[Outcome]:
        return (self._outcome(trial, "probe", given) for trial in trials)

    def finetune(self, trial: Trial, recipe: Recipe) -> Outcome:
        return self._outcome(trial, "finetune", recipe)

    def contrast(self, trial: Trial, recipe: Recipe, *, texts: int, names: bool) -> Outcome:
        self.texts, self.names = texts, names
        return self._outcome(trial, "contrast", recipe)

    def by_group(self, outcome: Outcome, worth: float) -> Outcome:
        self.calls.append(("by_group", worth))
        return outcome

    def classical(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        return (self._outcome(trial, "classical", None) for trial in trials)

    def boost(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        return (self._outcome(trial, "boost", {}) for trial in trials)

    def stages(self, trial: Trial) -> int:
        return self.count


def defaults(strategy: Strategy) -> dict[str, Any]:
    return filled(strategy, {})[0]


def trials(strategy: Strategy, count: int = 3, **knobs: Any) -> list[Trial]:
    return [
        Trial(
            id=f"{k:016x}", study="s", dataset="d", split="p", source="a/b" if strategy.needs_source else "none",
            strategy=strategy.key, kind=strategy.kind, knobs={**defaults(strategy), **knobs}, fraction=0.5,
            per_class=None, draw=k, seed=0,
        )
        for k in range(count)
    ]  # fmt: skip


def recipes(strategy: Strategy, stages: int = 8, **knobs: Any) -> list[Recipe]:
    kit = NotingKit(stages)
    list(strategy.run(kit, trials(strategy, 1, **knobs)))
    return [given for what, given in kit.calls if what in ("finetune", "contrast")]


each = pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.key)


@each
def test_the_card_says_what_and_when_in_one_sentence_each(strategy: Strategy) -> None:
    for said in (strategy.what, strategy.when):
        assert said[0].isupper() and said.endswith(".") and 20 < len(said) < 130
    assert 3 < len(strategy.title) < 30 and strategy.key.isidentifier()
    assert strategy.needs_source or strategy.kind == "control"


@each
@pytest.mark.parametrize("stages", STAGES)
def test_the_layout_has_a_rate_for_every_stage_and_frozen_ones_below_trained_ones(
    strategy: Strategy, stages: int
) -> None:
    layout = strategy.layout(stages, defaults(strategy))
    if not strategy.needs_source or strategy.continues:
        assert layout.rates == ()
        return
    assert len(layout.rates) == stages
    assert all(0 <= rate <= 1 for rate in (*layout.rates, layout.head))
    assert list(layout.rates) == sorted(layout.rates), "what lies lower is trained no faster"


@each
def test_every_trial_gets_one_outcome_in_order(strategy: Strategy) -> None:
    asked = trials(strategy)
    assert [outcome.trial.id for outcome in strategy.run(NotingKit(), asked)] == [trial.id for trial in asked]


@each
@pytest.mark.parametrize("stages", STAGES)
def test_what_is_trained_last_is_what_the_card_draws(strategy: Strategy, stages: int) -> None:
    for recipe in recipes(strategy, stages):
        assert recipe.phases[-1] == strategy.layout(stages, defaults(strategy))
        boundaries = [phase.boundary for phase in recipe.phases]
        assert boundaries == sorted(boundaries, reverse=True), "phases open the backbone from the top down"
        assert recipe.epochs >= 1 and recipe.rates_tried[0] == 1.0


@each
def test_without_rows_held_out_one_rate_is_tried(strategy: Strategy) -> None:
    if any(knob.key == "hold_out" for knob in strategy.knobs):
        for on in (True, False):
            (recipe,) = recipes(strategy, hold_out=on, rates_tried=3)
            assert recipe.hold_out is on and len(recipe.rates_tried) == (3 if on else 1)


@each
def test_a_strategy_without_gradients_takes_no_training_knobs(strategy: Strategy) -> None:
    trained = bool(recipes(strategy))
    layout = strategy.layout(8, defaults(strategy))
    assert (
        trained == any(knob.key in ("epochs", "texts") for knob in strategy.knobs) == any((*layout.rates, layout.head))
    )


def test_controls_start_without_a_source_and_others_with_one() -> None:
    for strategy in ALL:
        kit = NotingKit()
        list(strategy.run(kit, trials(strategy, 1)))
        given = next(one for what, one in kit.calls if what != "by_group")
        init = (
            given.init
            if isinstance(given, Recipe)
            else ({"init": "none"} if given is None else given).get("init", "source")
        )
        assert (init == "source") == (strategy.kind == "transfer"), strategy.key


def test_a_twin_is_a_control_that_differs_in_its_start_alone() -> None:
    pairs = [(one, strategies()[one.twin]) for one in ALL if one.twin]
    assert pairs
    for one, twin in pairs:
        assert twin.kind == "control" and (one.knobs, one.reads, one.families) == (
            twin.knobs,
            twin.reads,
            twin.families,
        )
        knobs = {knob.key: knob.default for knob in one.knobs}
        assert one.layout(7, knobs) == twin.layout(7, knobs)


def test_the_room_is_the_one_that_is_documented() -> None:
    assert {s.key for s in ALL if s.kind == "transfer"} == {
        "linear_probe", "multilayer_probe", "last_block", "gradual_unfreezing", "lp_ft", "norm_tuning",
        "full_finetune", "lora", "l2_sp", "prototype", "knn", "setfit", "reweighting", "group_balanced", "group_dro",
        "group_thresholds", "frozen_transformer", "boosted_continuation", "zero_shot", "wise_ft",
    }  # fmt: skip
    assert {s.key for s in ALL if s.kind == "control"} == {
        "scratch",
        "random_frozen",
        "random_transformer",
        "classical",
    }


# --- knobs: right and wrong values are made from their bounds ---------------------------------------------------------

KNOBS = [(strategy, knob) for strategy in ALL for knob in strategy.knobs]
every_knob = pytest.mark.parametrize(("strategy", "knob"), KNOBS, ids=[f"{s.key}-{k.key}" for s, k in KNOBS])


def wrong_values(knob: Number | Choice | Switch) -> list[Any]:
    if isinstance(knob, Number):
        beyond = max(1.0, abs(knob.high)) * 0.01
        wrong = [knob.low - beyond, knob.high + beyond, "much", None, True, [1], float("nan"), float("inf")]
        return [*wrong, knob.low + 0.5] if knob.integer else wrong
    return ["no such option", 3, None] if isinstance(knob, Choice) else ["yes", 1, None]


def right_values(knob: Number | Choice | Switch) -> list[Any]:
    if isinstance(knob, Number):
        return [knob.low, knob.high, knob.default, f"{knob.default:e}"]
    return list(knob.options) if isinstance(knob, Choice) else [True, False]


@every_knob
def test_a_wrong_value_is_refused_in_a_sentence(strategy: Strategy, knob: Any) -> None:
    for value in wrong_values(knob):
        _, problems = filled(strategy, {knob.key: value})
        assert len(problems) == 1, value
        said = problems[0].sentence()
        assert said.startswith(f"{strategy.key}, {knob.key}: must be ") and "Set " in said


@every_knob
def test_right_values_are_taken_and_the_strategy_runs_with_them(strategy: Strategy, knob: Any) -> None:
    for value in right_values(knob):
        knobs, problems = filled(strategy, {knob.key: value})
        assert not problems, value
        assert set(knobs) == {k.key for k in strategy.knobs}
        for stages in (1, 8):
            assert list(strategy.run(NotingKit(stages), trials(strategy, 1, **knobs)))


@every_knob
def test_a_knob_explains_itself_and_its_default_lies_within(strategy: Strategy, knob: Any) -> None:
    assert knob.help.endswith(".") and knob.title
    if isinstance(knob, Number):
        assert knob.low <= knob.default <= knob.high
        assert not knob.logarithmic or knob.low > 0


@every_knob
def test_a_name_that_is_nearly_right_is_recognised(strategy: Strategy, knob: Any) -> None:
    _, problems = filled(strategy, {knob.key + "s": knob.default})
    assert f"Did you mean {knob.key!r}?" in problems[0].remedy


def test_networks_with_batch_norms_start_at_a_larger_rate_unless_one_is_given() -> None:
    full = strategies()["full_finetune"]
    convolutional, transformer = (
        Source(id=f"timm/{name}", name=name, provider="timm", reads="image", family="timm", architecture=name)
        for name in ("resnet18", "vit_tiny_patch16_224")
    )
    assert filled(full, {}, convolutional)[0]["learning_rate"] == 1e-3
    assert filled(full, {}, transformer)[0] == filled(full, {})[0]
    assert filled(full, {"learning_rate": 2e-5}, convolutional)[0]["learning_rate"] == 2e-5


def test_networks_of_tables_take_many_rows_a_step_at_a_larger_rate() -> None:
    full = strategies()["full_finetune"]
    tables, texts = (filled(full, {}, source)[0] for source in (bundled.TABLE_NET, bundled.MINILM))
    assert (tables["batch_size"], tables["learning_rate"]) == (256, 3e-4)
    assert (texts["batch_size"], texts["learning_rate"]) == (16, 1e-4)


def test_a_head_from_its_closed_form_trains_shorter_than_one_that_starts_anew() -> None:
    last = strategies()["last_block"]
    solved, anew = (
        filled(last, {}, dataset=Dataset.model_construct(task=task))[0] for task in ("classification", "detection")
    )
    assert (solved["min_steps"], solved["patience"]) == (60, 2) and (anew["min_steps"], anew["patience"]) == (200, 4)
    assert {key for key in solved if solved[key] != anew[key]} == {"min_steps", "patience"}
    given = filled(last, {"min_steps": 10}, dataset=Dataset.model_construct(task="detection"))[0]
    assert given == {**anew, "min_steps": 10}


# --- what single strategies promise -----------------------------------------------------------------------------------


def recipe_of(key: str, stages: int = 8, **knobs: Any) -> Recipe:
    (found,) = recipes(strategies()[key], stages, **knobs)
    return found


def test_last_block_opens_as_many_blocks_as_asked_and_never_more_than_there_are() -> None:
    assert recipe_of("last_block").phases[0].boundary == 7
    assert recipe_of("last_block", blocks=3).phases[0].boundary == 5
    assert recipe_of("last_block", 2, blocks=8).phases[0].boundary == 0


def test_gradual_unfreezing_has_a_phase_per_group_and_ends_with_everything_open() -> None:
    recipe = recipe_of("gradual_unfreezing", 8, phases=4)
    assert [phase.boundary for phase in recipe.phases] == [6, 4, 2, 0]
    assert len(recipe_of("gradual_unfreezing", 2, phases=12).phases) == 2


def test_lp_ft_starts_at_the_probe_and_falls_by_the_decay() -> None:
    recipe = recipe_of("lp_ft", 4, layer_decay=0.5, learning_rate=8e-4)
    assert recipe.head_start == "probe"
    assert recipe.phases[0].rates == pytest.approx((1e-4, 2e-4, 4e-4, 8e-4))


def test_norms_and_adapters_train_their_part_only() -> None:
    assert recipe_of("norm_tuning").phases[0].part == "norms"
    recipe = recipe_of("lora", rank=4, alpha=32)
    assert recipe.phases[0].part == "adapters" and recipe.adapter == {"r": 4, "alpha": 32, "dropout": 0.05}
    assert strategies()["lora"].families == ("transformers",)


def test_l2_sp_pulls_and_the_others_do_not() -> None:
    assert recipe_of("l2_sp", anchor=0.3).anchor == 0.3
    assert not any(recipe.anchor for s in ALL if s.key != "l2_sp" for recipe in recipes(s))


def test_wise_ft_is_lp_ft_but_for_what_is_kept() -> None:
    wise, plain = recipe_of("wise_ft", tuned=0.3), recipe_of("lp_ft")
    assert wise.tuned == 0.3 and replace(wise, tuned=1.0) == plain
    assert not any(recipe.tuned < 1 for s in ALL if s.key != "wise_ft" for recipe in recipes(s))


def test_augmentation_is_off_by_default_and_a_switch_turns_it_on() -> None:
    assert not recipe_of("full_finetune").augmentation_on
    assert recipe_of("full_finetune", flip=True, rotate=10).augmentation_on
    assert all(layout.boundary == 0 for s in ALL for r in recipes(s) if r.augmentation for layout in r.phases)


def test_few_shot_strategies_and_remedies_serve_classes_only_and_the_others_numbers_too() -> None:
    of_classes = {"prototype", "knn", "setfit", "reweighting", "group_balanced", "group_dro", "group_thresholds"}
    of_classes |= {"zero_shot"}
    assert {s.key for s in ALL if s.targets == ("classes",)} == of_classes
    assert all({"classes", "number"} <= set(s.targets) for s in ALL if s.key not in of_classes)


def test_the_remedies_alone_need_groups_and_ask_for_their_heads() -> None:
    asked = {"reweighting": "reweighted", "group_balanced": "group_balanced", "group_dro": "group_dro"}
    assert {s.key for s in ALL if s.needs_groups} == {*asked, "group_thresholds"}
    for key, head in asked.items():
        kit = NotingKit()
        list(strategies()[key].run(kit, trials(strategies()[key], 2)))
        assert kit.calls == [("probe", {"head": head})] * 2


def test_thresholds_per_group_are_those_of_the_plain_probe() -> None:
    kit, strategy = NotingKit(), strategies()["group_thresholds"]
    list(strategy.run(kit, trials(strategy, 2, gap_worth=3.0)))
    assert kit.calls == [("probe", {}), ("by_group", 3.0)] * 2


def test_heads_in_closed_form_are_asked_for_on_frozen_features() -> None:
    for key, head in (("linear_probe", None), ("prototype", "prototypes"), ("knn", "neighbours"), ("zero_shot", "own")):
        kit = NotingKit()
        list(strategies()[key].run(kit, trials(strategies()[key], 2)))
        assert [what for what, _ in kit.calls] == ["probe", "probe"] and kit.calls[0][1].get("head") == head


def test_setfit_reads_so_many_texts_and_solves_the_head() -> None:
    kit, setfit = NotingKit(), strategies()["setfit"]
    list(setfit.run(kit, trials(setfit, 1, texts=300, batch_size=8)))
    ((what, recipe),) = kit.calls
    assert what == "contrast" and kit.texts == 300 and recipe.batch_size == 8
    assert kit.names is False, "names of classes mislead where they do not tell what a text is about"
    assert recipe.patience == 0 and recipe.min_steps == 0 and recipe.phases[0].head == 0.0
    assert setfit.reads == ("text",)


def test_more_rates_are_tried_beside_the_given_one() -> None:
    assert recipe_of("scratch", rates_tried=3).rates_tried == (1.0, 1 / 3, 3.0)
