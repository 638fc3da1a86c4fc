"""What people do without tltools: the library's own way, one trial at a time, or embed once and loop scikit-learn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tltools.engine import torchvision_operators

torchvision_operators.ensure()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402


class TextRows(Dataset):  # type: ignore[type-arg]
    """Tokenised rows as a plain dataset, the way tutorials write it."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], labels: np.ndarray) -> None:
        self.encoded = tokenizer(list(texts), truncation=True, max_length=128)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {key: value[i] for key, value in self.encoded.items()} | {"labels": int(self.labels[i])}


def trainer_text(
    folder: Path,
    texts: Sequence[str],
    labels: np.ndarray,
    test_texts: Sequence[str],
    *,
    classes: int,
    frozen: bool,
    epochs: float,
    output: Path,
    unfreeze_last: int = 0,
    learning_rate: float = 5e-5,
    batch_size: int = 8,
    held: tuple[Sequence[str], np.ndarray] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """A transformers `Trainer` with its defaults on a sequence classifier; returns test predictions and its metrics.

    held: (texts, labels) whose loss is noted after each epoch, as metrics["curve"]: (training seconds, loss).
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=classes)
    if frozen:
        blocks = model.base_model.encoder.layer
        for parameter in model.base_model.parameters():
            parameter.requires_grad = False
        for block in blocks[len(blocks) - unfreeze_last :]:
            for parameter in block.parameters():
                parameter.requires_grad = True
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        seed=0,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=TextRows(tokenizer, texts, labels),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    curve: list[tuple[float, float]] = []
    if held is not None:
        trainer.add_callback(_epochs_noted(trainer, TextRows(tokenizer, *held), curve))
    metrics: dict[str, Any] = {**trainer.train().metrics, "curve": curve, "steps": trainer.state.global_step}
    outputs = trainer.predict(TextRows(tokenizer, test_texts, np.zeros(len(test_texts), dtype=np.int64)))
    return np.asarray(outputs.predictions).argmax(1), metrics


def _epochs_noted(trainer: Any, held: TextRows, curve: list[tuple[float, float]]) -> Any:
    """A callback that notes (training seconds so far, loss of the held rows) after each epoch."""
    from transformers import TrainerCallback

    class Noted(TrainerCallback):
        started = seconds = 0.0

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            self.seconds += time.perf_counter() - self.started
            raw = torch.as_tensor(trainer.predict(held).predictions)
            loss = nn.functional.cross_entropy(raw.float(), torch.as_tensor(held.labels))
            curve.append((self.seconds, float(loss)))

    return Noted()


class ImageRows(Dataset):  # type: ignore[type-arg]
    """Image files, decoded and transformed at every visit, as timm's own training script does."""

    def __init__(self, paths: Sequence[str], labels: np.ndarray, transform: Any) -> None:
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), int(self.labels[i])


def timm_loop(
    model: nn.Module,
    transform: Any,
    paths: Sequence[str],
    labels: np.ndarray,
    test_paths: Sequence[str],
    *,
    trained: Sequence[nn.Module],
    epochs: int,
    learning_rate: float = 1e-3,
    batch_size: int = 32,
) -> np.ndarray:
    """A plain timm fine-tuning loop in fp32 with everything but `trained` frozen; returns test predictions."""
    for parameter in model.parameters():
        parameter.requires_grad = False
    parameters = [parameter for module in trained for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad = True
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate)
    loader = DataLoader(ImageRows(paths, labels, transform), batch_size=batch_size, shuffle=True)
    for _ in range(epochs):
        model.eval()  # frozen statistics; the trained part has none of its own
        for images, targets in loader:
            loss = nn.functional.cross_entropy(model(images), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    zeros = np.zeros(len(test_paths), dtype=np.int64)
    with torch.no_grad():
        found = [model(images).argmax(1) for images, _ in DataLoader(ImageRows(test_paths, zeros, transform), 32)]
    return torch.cat(found).numpy()


def embed_images(model: nn.Module, transform: Any, paths: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """timm's evaluation loop with a feature extractor: fp32, channels first. (N, D) float32."""
    model.eval()
    rows = DataLoader(ImageRows(paths, np.zeros(len(paths), dtype=np.int64), transform), batch_size)
    with torch.inference_mode():
        return torch.cat([model(images) for images, _ in rows]).numpy()


def text_layers(folder: Path, model: Any, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """(N, layers x D) float32: mean over tokens of every layer, sorted by length, batches of 32, fp32."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            some = [texts[i] for i in order[start : start + batch_size]]
            batch = tokenizer(some, padding=True, truncation=True, max_length=128, return_tensors="pt")
            mask = batch["attention_mask"].unsqueeze(-1)
            states = model(**batch, output_hidden_states=True).hidden_states
            found.append(torch.cat([(layer * mask).sum(1) / mask.sum(1) for layer in states], 1))
    table = torch.cat(found).numpy()
    return np.asarray(table[np.argsort(order)])


def image_layers(model: Any, transform: Any, paths: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """(N, sum of widths) float32: every stage of a timm network averaged over the picture, and its pooled output."""
    rows = DataLoader(ImageRows(paths, np.zeros(len(paths), dtype=np.int64), transform), batch_size)
    found = []
    with torch.inference_mode():
        for images, _ in rows:
            last, stages = model.forward_intermediates(images)
            found.append(torch.cat([*(stage.mean((2, 3)) for stage in stages), model.forward_head(last)], 1))
    return torch.cat(found).numpy()


def tfidf(texts: Sequence[str], labels: np.ndarray, rows: np.ndarray, test: np.ndarray) -> np.ndarray:
    """TF-IDF of words and a logistic regression, as its documentation shows; predictions of the test rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    said = model.fit([texts[i] for i in rows], labels[rows]).predict([texts[i] for i in test])
    return np.asarray(said)


def sklearn_loop(
    features: np.ndarray, labels: np.ndarray, draws: Sequence[np.ndarray], test: np.ndarray, tuned: bool = True
) -> list[np.ndarray]:
    """What a careful expert writes: for each draw a logistic regression, its strength by 5-fold CV if `tuned`."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predictions = []
    for rows in draws:
        if tuned:
            folds = min(5, int(np.unique(labels[rows], return_counts=True)[1].min()))
            model = LogisticRegressionCV(
                Cs=10, cv=folds, scoring="accuracy", max_iter=1000, use_legacy_attributes=False, l1_ratios=(0,)
            )
        else:
            model = LogisticRegression(max_iter=1000)
        head = make_pipeline(StandardScaler(), model)
        predictions.append(head.fit(features[rows], labels[rows]).predict(features[test]))
    return predictions


def sentences(folder: Path) -> Any:
    """A sentence-transformers model as its page shows it, but for texts cut where tltools cuts them."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 128
    return model


def pipeline(folder: Path) -> Any:
    """transformers' feature-extraction pipeline; texts are cut where tltools cuts them."""
    import transformers

    return transformers.pipeline(
        "feature-extraction", model=str(folder), device="cpu", tokenize_kwargs={"truncation": True, "max_length": 128}
    )


def piped(made: Any, texts: Sequence[str], lengths: Sequence[int], batch_size: int) -> np.ndarray:
    """(N, D) float32: token features out of the pipeline, averaged over each text's own `lengths` tokens.

    As tensors, which is faster than the lists that the pipeline gives without other word.
    """
    found = made(list(texts), batch_size=batch_size, return_tensors=True)
    return np.stack([states[0, :count].mean(0).numpy() for states, count in zip(found, lengths, strict=True)])


def timm_transform(size: int, mean: Sequence[float], std: Sequence[float]) -> Any:
    """timm's evaluation transform: resized, centre crop, normalised."""
    from timm.data import create_transform

    return create_transform((3, size, size), mean=tuple(mean), std=tuple(std))


def matmul_peak(size: int = 2048, times: int = 5, kind: torch.dtype = torch.bfloat16) -> float:
    """FLOP per second of a matrix product, in bf16 without other word, the best of some."""
    a = torch.randn(size, size, dtype=kind)
    best = float("inf")
    with torch.inference_mode():
        torch.mm(a, a)
        for _ in range(times):
            started = time.perf_counter()
            torch.mm(a, a)
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def flops(work: Callable[[], Any]) -> float:
    """Floating-point operations of the matrix products, convolutions and attentions in `work`."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())
