"""How often the judge is right, against simulated studies with known truth: `python -m benchmarks.judge [--quick]`."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.judge_worlds import METRICS, World, hits, whole
from tltools.judging.bootstrap import means
from tltools.judging.curves import control_curve, labels_saved
from tltools.judging.gain import estimate, squares
from tltools.judging.moderation import priors
from tltools.judging.multiplicity import against_best, family, holm
from tltools.judging.sequential import LEAST, decided
from tltools.judging.verdict import claims, compare

DRAWS, ROWS, ACCURACIES, CORRELATED = (3, 5, 10), (50, 200, 1000, 5000), (0.55, 0.75, 0.9, 0.97), ("low", "high")
GAIN, MARGIN = 0.01, 0.01
FAR = {"positive", "negative"}


def coverage(studies: int, seed: int = 0) -> Iterator[tuple[str, World, float]]:
    """(metric, world, share of 95 % intervals that hold the true gain) of every cell."""
    for metric in METRICS:
        for draws, rows, accuracy, correlation in product(DRAWS, ROWS, ACCURACIES, CORRELATED):
            if metric != "MAE" or accuracy == ACCURACIES[0]:
                world = World(draws, rows, accuracy, correlation)
                yield metric, world, covered(metric, world, studies, seed)


def covered(metric: str, world: World, studies: int, seed: int) -> float:
    """Share of 95 % intervals that hold the true gain in one cell."""
    rng, held = np.random.default_rng([seed, world.draws, world.rows, int(1000 * world.accuracy)]), 0
    for _ in range(studies):
        one = METRICS[metric](rng, world, GAIN)
        found = compare(one.scores[0], one.scores[1], MARGIN, scale=one.scale)
        held += found.low <= one.truth[0] - one.truth[1] <= found.high
    return held / studies


def words(world: World, gain: float, studies: int, margin: float = MARGIN, seed: int = 1) -> dict[str, float]:
    """Share of each word among studies of one comparison."""
    rng, counts = np.random.default_rng(seed), {}
    for _ in range(studies):
        word = compare(*hits(rng, world, gain), margin).verdict
        counts[word] = counts.get(word, 0) + 1
    return {word: count / studies for word, count in counts.items()}


def power(world: World, gain: float, studies: int, seed: int = 2) -> tuple[float, float, float]:
    """(judge's share of "positive", the oracle's at the judge's own error rate, that error rate).

    The oracle knows the standard error, and sets its threshold so that at a true gain of exactly the margin it errs as
    often as the judge does in this world.
    """
    rng = np.random.default_rng(seed)
    null = [compare(*hits(rng, world, MARGIN), MARGIN) for _ in range(studies)]
    found = [compare(*hits(rng, world, gain), MARGIN) for _ in range(studies)]
    error = np.mean([one.verdict == "positive" for one in null])
    gains = np.array([one.gain for one in found])
    threshold = np.quantile([one.gain for one in null], 1 - max(error, 1 / studies))
    return float(np.mean([one.verdict == "positive" for one in found])), float((gains > threshold).mean()), float(error)


def together(
    studies: int, draws: int, correlation: str, uneven: float, arms: int, shares: int, seed: int = 6
) -> dict[str, dict[str, float]]:
    """way -> figures of whole studies: "alone" learns how much draws differ from each comparison by itself, "together"
    from all of them, as studies are judged.

    "coverage" of the 95 % intervals, and at the "fewest" labels; "error" and "power": comparisons called positive (not
    corrected for their number) at a true gain of the margin and of 0.05; "oracle": power of one who knows the standard
    errors, at "together"'s error, where draws of all arms differ alike; "family": studies with a single false far
    verdict at the margin, and "decided": comparisons called positive at 0.05, both by Holm.
    """
    rng, counts = np.random.default_rng(seed), {way: defaultdict[str, float](float) for way in ("alone", "together")}
    gains: dict[float, list[list[float]]] = {MARGIN: [], 0.05: []}
    world, comparisons = World(draws, 500, 0.7, correlation), arms * shares
    for gain in gains:
        for _ in range(studies):
            transfer, control = whole(rng, world, gain, arms, shares, uneven)
            seen = [squares(arm, control[k], scale=1.0) for k, share in enumerate(transfer) for arm in share]
            gains[gain].append([one.gain for one in seen])
            labels, of_arm = np.repeat(2.0 ** np.arange(shares), arms), [*range(arms)] * shares
            for way, shared in (("alone", [None] * len(seen)), ("together", priors(seen, labels, of_arm))):
                found, count = list(map(estimate, seen, shared)), counts[way]
                p = [claims(one.above(MARGIN), one.below(-MARGIN), 0.0) for one in found]
                held = [one.bound(0.025) <= gain <= one.bound(0.975) for one in found]
                far = [min(one["positive"], one["negative"]) for one in p]
                passed = [value <= level for value, level in zip(far, holm(far), strict=True)]
                count["coverage"] += np.mean(held) / studies / 2
                count["fewest"] += np.mean(held[:arms]) / studies / 2
                said = np.mean([one["positive"] <= 0.05 for one in p]) / studies
                count["error" if gain == MARGIN else "power"] += said
                if gain == MARGIN:
                    count["family"] += any(passed) / studies
                else:
                    count["decided"] += sum(passed) / comparisons / studies
    if uneven:  # an oracle of arms that differ would know each one's luck
        return {way: dict(count) for way, count in counts.items()}
    null, real = (np.array(of_one) for of_one in gains.values())
    bar = np.array([np.quantile(column, 1 - counts["together"]["error"]) for column in null.T])
    counts["together"]["oracle"] = float((real > bar).mean())
    return {way: dict(count) for way, count in counts.items()}


def family_wise(studies: int, gain: float = 0.0, controls: int = 3, seed: int = 3) -> tuple[float, float]:
    """(studies with any false far verdict, true gain over the best control inside the margin) of 8 arms x 4 shares."""
    rng, false, single = np.random.default_rng(seed), 0, 0
    for _ in range(studies):
        found = []
        for share in range(4):
            every = hits(rng, World(5, 500, 0.70 + 0.06 * share, "low"), 0.0, arms=8 + controls)
            known = {str(k): every[8 + k] for k in range(controls)}
            found += [against_best(arm, known, MARGIN) for arm in every[:8]]
        false += any(one.verdict in FAR for one in family(found, MARGIN))
        single += any(compare(one, every[8], MARGIN).verdict in FAR for one in every[:8])
    return false / studies, single / studies


def saved(studies: int, seed: int = 4) -> tuple[float, float, float]:
    """(share of 95 % intervals of the multiplier that hold it, refused, open above): the source is worth twice."""
    rng, held, refused, open_above = np.random.default_rng(seed), 0, 0, 0
    labels = np.array([25.0, 50, 100, 200, 400])

    def accuracy(n: float) -> float:
        return 0.95 - 1.1 * n**-0.35

    for _ in range(studies):
        cells = []
        for n in labels:
            cells += [hits(rng, World(5, 500, accuracy(n), "low"), accuracy(2 * n) - accuracy(n))]
        stacked = np.stack(cells)  # (P, 2, S, M)
        again = means(stacked.reshape(-1, *stacked.shape[2:]), replicates=400, seed=seed).reshape(400, len(labels), 2)
        score = stacked.mean((2, 3))
        curve = control_curve(labels, score[:, 1], again[:, :, 1])
        one = labels_saved(curve, 100.0, float(score[2, 0]), again[:, 2, 0])
        refused += one.bound == "refused"
        open_above += one.bound != "refused" and one.high is None
        held += one.bound != "refused" and one.low <= 2.0 <= (np.inf if one.high is None else one.high)
    return held / max(studies - refused, 1), refused / studies, open_above / studies


def adaptive(studies: int, gain: float, correlation: str, seed: int = 5) -> dict[str, tuple[float, float, float]]:
    """rule -> (share of false or, beyond the margin, right far verdicts, coverage of the interval, draws on average).

    Up to ten draws: "all" runs them, "until decided" stops at the judge's first claim from 3 draws on, and "early" is
    the rule of `tltools.judging.sequential` that adaptive studies follow.
    """
    rng = np.random.default_rng(seed)
    seen: dict[str, list[tuple[bool, bool, int]]] = {"all": [], "until decided": [], "early": []}
    for _ in range(studies):
        t, c = hits(rng, World(10, 500, 0.8, correlation), gain)
        looks = [against_best(t[:k], {"control": c[:k]}, MARGIN) for k in range(LEAST, 11)]
        for rule, alpha in (("all", 0.0), ("until decided", 0.05), ("early", None)):
            sure = decided(looks, 1) if alpha is None else [min(one.p_values().values()) <= alpha for one in looks]
            one = next((look for look, enough in zip(looks, sure, strict=True) if enough), looks[-1])
            seen[rule].append((family([one], MARGIN)[0].verdict in FAR, one.low <= gain <= one.high, one.found.draws))
    return {rule: tuple(map(float, np.mean(found, axis=0))) for rule, found in seen.items()}  # type: ignore[misc]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="fewer studies per cell: minutes become seconds")
    studies = 40 if asked.parse_args().quick else 400
    print(f"{studies} studies a cell, true gain {GAIN}, margin {MARGIN}.\n")
    _print_coverage(studies)
    _print_words(5 * studies if studies > 100 else studies)
    _print_power(2 * studies)
    _print_together(studies // 2)
    joint, single = family_wise(studies)
    print("## Family-wise error\n\n| 8 arms x 4 shares, 3 controls, all equal | studies with a false far verdict |")
    print("|---|---|")
    print(f"| best control, Holm | {joint:.3f} |\n| each arm alone against one control, one share | {single:.3f} |\n")
    held, refused, open_above = saved(studies)
    print("## Labels saved\n\n| a source worth twice its labels | |\n|---|---|")
    print(f"| 95 % interval holds it | {held:.3f} |\n| refused | {refused:.3f} |\n| open above | {open_above:.3f} |\n")
    _print_adaptive(5 * studies)
    t, c = hits(np.random.default_rng(0), World(10, 5000, 0.8, "low"), 0.02)
    started = time.perf_counter()
    for _ in range(20):
        compare(t, c)
    print(f"\n`compare` on (10, 5000): {(time.perf_counter() - started) / 20 * 1000:.1f} ms")


def _print_together(studies: int) -> None:
    print("## Whole studies: draws judged together, 500 rows, true gains of the margin and of 0.05\n")
    heads = "draws | correlation | uneven | arms x shares | way | coverage | at the fewest labels"
    print(f"| {heads} | error | power | oracle | family | decided |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for draws, correlation, (arms, shares) in product((3, 5), CORRELATED, ((4, 1), (4, 4), (8, 4))):
        for uneven in (0.0, 0.5, 1.0):
            for way, count in together(studies, draws, correlation, uneven, arms, shares).items():
                keys = ("coverage", "fewest", "error", "power", "oracle", "family", "decided")
                figures = " | ".join(f"{count[key]:.3f}" if key in count else "" for key in keys)
                where = f"{draws} | {correlation} | {uneven} | {arms} x {shares}"
                print(f"| {where} | {way} | {figures} |", flush=True)
    print()


def _print_adaptive(studies: int) -> None:
    print("## Adding draws until it is decided, 3 to 10, 500 rows\n")
    print("| draw correlation | true gain | rule | far verdicts | coverage | draws |\n|---|---|---|---|---|---|")
    for correlation, gain in product(CORRELATED, (0.0, MARGIN, 0.05, 0.10)):
        for rule, (far, held, draws) in adaptive(studies, gain, correlation).items():
            print(f"| {correlation} | {gain} | {rule} | {far:.3f} | {held:.3f} | {draws:.1f} |", flush=True)
    print()


def _print_coverage(studies: int) -> None:
    cells = list(coverage(studies))
    head = " | ".join(f"{rows} rows" for rows in ROWS)
    print("## Coverage of the 95 % interval: lowest over accuracies and correlations (mean)\n")
    print(f"| metric | draws | {head} |\n|---|---|{'---|' * len(ROWS)}")
    for metric, draws in product(METRICS, DRAWS):
        line = []
        for rows in ROWS:
            held = [c for m, w, c in cells if (m, w.draws, w.rows) == (metric, draws, rows)]
            line.append(f"{min(held):.3f} ({np.mean(held):.3f})")
        print(f"| {metric} | {draws} | {' | '.join(line)} |")
    low = [cell for cell in cells if cell[2] < 0.93]
    print(f"\n{len(cells)} cells, {len(low)} below 0.93 ({len(low) / len(cells):.1%}). Again, with fresh studies:\n")
    print("| cell below 0.93 | coverage | with five times as many fresh studies |\n|---|---|---|")
    for metric, world, held in low:
        where = f"{metric}, {world.draws} draws, {world.rows} rows, {world.accuracy}, {world.correlation}"
        print(f"| {where} | {held:.3f} | {covered(metric, world, 5 * studies, seed=100):.3f} |", flush=True)
    print()


def _print_words(studies: int) -> None:
    print("## Words, one comparison\n\n| world | true gain | false far verdict | neutral | undecided |")
    print("|---|---|---|---|---|")
    for draws, rows, correlation in product((3, 5, 10), (50, 500, 5000), CORRELATED):
        for gain in (0.0, MARGIN):
            said = words(World(draws, rows, 0.8, correlation), gain, studies)
            far, neutral = sum(said.get(word, 0.0) for word in FAR), said.get("neutral", 0.0)
            where = f"{draws} draws, {rows} rows, {correlation}"
            print(f"| {where} | {gain} | {far:.3f} | {neutral:.3f} | {1 - far - neutral:.3f} |")
    said = words(World(5, 50, 0.85, "low"), 0.02, studies)
    unsure = 1 - sum(said.get(word, 0.0) for word in (*FAR, "neutral"))
    print(f"\n50 rows, true gain 0.02: undecided {unsure:.3f}, negative {said.get('negative', 0.0):.3f}")
    said = words(World(5, 5000, 0.9, "low"), 0.015, studies)
    print(f"Equivalence error: 5000 rows, true gain 0.015 called neutral {said.get('neutral', 0.0):.3f}\n")


def _print_power(studies: int) -> None:
    print("## Power, 5 draws, 500 rows: share of studies called positive\n")
    print("| correlation | accuracy | true gain | judge | oracle at the same error rate | ratio | error rate |")
    print("|---|---|---|---|---|---|---|")
    for correlation, accuracy, gain in product(CORRELATED, (0.55, 0.75, 0.88), (0.03, 0.05, 0.10)):
        judge, oracle, error = power(World(5, 500, accuracy, correlation), gain, studies)
        ratio = judge / max(oracle, 1e-9)
        print(f"| {correlation} | {accuracy} | {gain} | {judge:.3f} | {oracle:.3f} | {ratio:.2f} | {error:.3f} |")
    print()


if __name__ == "__main__":
    main()
