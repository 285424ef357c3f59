"""What is refused of a network before it is run."""

import pytest
import torch
from torch import nn

from core_distill.engine import features, logits, loss_gradient, parameters_of
from core_distill.types import Batch


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.first = self.last = nn.ReLU()

    def features(self, images):
        return self.last(self.first(self.body(images)))

    def forward(self, images):
        return self.head(self.features(images))


class AnotherName(OneLayer):
    @property
    def classifier(self):
        return self.head


class TwoNames(OneLayer):
    def __init__(self):
        super().__init__()
        self.classifier = self.head


USES = {
    "features": features,
    "logits": logits,
    "gradient": lambda network, images: loss_gradient(
        network, parameters_of(network), Batch(images, torch.zeros(2, dtype=torch.int64))
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_layer_of_two_names_is_refused_and_stays_whole(use):
    images = torch.ones(2, 4)
    for make in (OneLayer, AnotherName):
        use(make(), images)
    network = TwoNames()
    with pytest.raises(ValueError, match=r"TwoNames has one layer as head and as classifier: .* the other a property"):
        use(network, images)
    assert all(isinstance(value, nn.Parameter) for value in network.parameters())
