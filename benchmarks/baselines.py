"""What people do without tltools: the library's own way, one trial at a time, or embed once and loop scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
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
    max_steps: int = -1,
) -> tuple[np.ndarray, dict[str, float]]:
    """A transformers `Trainer` with its defaults on a sequence classifier; returns test predictions and its metrics."""
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
        max_steps=max_steps,
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
    metrics = dict(trainer.train().metrics)
    outputs = trainer.predict(TextRows(tokenizer, test_texts, np.zeros(len(test_texts), dtype=np.int64)))
    return np.asarray(outputs.predictions).argmax(1), metrics


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


def embed_text(folder: Path, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """sentence-transformers `encode` with its defaults: fp32, batches of 32, sorted by length. (N, D) float32."""
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(list(texts), batch_size=batch_size))


def embed_images(model: nn.Module, transform: Any, paths: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """timm's evaluation loop with a feature extractor: fp32, channels first. (N, D) float32."""
    model.eval()
    rows = DataLoader(ImageRows(paths, np.zeros(len(paths), dtype=np.int64), transform), batch_size)
    with torch.inference_mode():
        return torch.cat([model(images) for images, _ in rows]).numpy()


def sklearn_loop(
    features: np.ndarray, labels: np.ndarray, draws: Sequence[np.ndarray], test: np.ndarray
) -> list[np.ndarray]:
    """What a careful expert writes: for each draw a logistic regression with its strength chosen by 5-fold CV."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predictions = []
    for rows in draws:
        head = make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(Cs=10, cv=5, max_iter=1000, use_legacy_attributes=False, l1_ratios=(0,)),
        )
        predictions.append(head.fit(features[rows], labels[rows]).predict(features[test]))
    return predictions
