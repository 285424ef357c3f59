"""Distil digits to ten images a class, then train on them with an ordinary PyTorch loop."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from core_distill.data import load_data
from core_distill.recipes import condense, dm
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.storage import save_artefact

digits = load_data("digits")
recipe = dm(images_per_class=10, data="digits", schedule="cpu").with_values({"steps": 100, "width": 32})
synthetic = condense(digits.train, recipe, seed=0)
size = save_artefact("runs/distil_and_train/synthetic.safetensors", synthetic, metadata={"recipe": recipe.describe()})
print(f"{len(synthetic)} images in {size:,} bytes, from {len(digits.train):,} real ones")

# From here on, anybody's loop: the file is a dataset of (image from 0 to 1, label).
torch.manual_seed(0)
loader = DataLoader(
    SyntheticSet.load("runs/distil_and_train/synthetic.safetensors").as_dataset(), batch_size=50, shuffle=True
)
model = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(100):
    for images, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

real = digits.test.images / 255
accuracy = (model(real).argmax(1) == digits.test.labels).float().mean()
print(f"test accuracy of a network that saw no real image: {100 * accuracy:.1f} %")
