"""An ordinary Avalanche script in which one line makes replay remember distilled images."""

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.supervised import Naive
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

from continual import DistilledBuffer
from core_distill.recipes import dm

MEMORY = 20


class Digits(Dataset):
    """1,797 handwritten digits, 8 x 8: the first 1,437 for training, the others for testing."""

    def __init__(self, part):
        bunch = load_digits()
        self.images = torch.tensor(bunch.images[part], dtype=torch.float32).unsqueeze(1) / 16
        self.targets = bunch.target[part].tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.images[index], self.targets[index]


torch.manual_seed(0)
stream = nc_benchmark(Digits(slice(1437)), Digits(slice(1437, None)), n_experiences=5, task_labels=False, seed=0)
model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(512, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)

recipe = dm(images_per_class=2, data="digits", schedule="cpu").with_values({"steps": 100, "width": 32})
buffer = DistilledBuffer(MEMORY, recipe, seed=0)  # instead of, say, ClassBalancedBuffer(MEMORY)

evaluator = EvaluationPlugin(
    accuracy_metrics(experience=True, stream=True), forgetting_metrics(stream=True), loggers=[InteractiveLogger()]
)
strategy = Naive(
    model=model,
    optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
    train_mb_size=32,
    train_epochs=5,
    eval_mb_size=256,
    plugins=[ReplayPlugin(MEMORY, storage_policy=buffer)],
    evaluator=evaluator,
)
for experience in stream.train_stream:
    strategy.train(experience)
    strategy.eval(stream.test_stream)
    buffer.save("runs/continual_replay/buffer.safetensors")  # load() goes on from here in another process

print(
    f"memory: {len(buffer.buffer)} images in {buffer.num_bytes:,} bytes, condensed in {buffer.seconds_condensing:.1f} s"
)
