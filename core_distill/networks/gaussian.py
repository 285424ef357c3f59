"""Gaussian parameters, scaled as the theory of infinitely wide networks has them: PyTorch's own are uniform and smaller."""

import math

import torch
from torch import Generator, nn
from torch.nn.modules.conv import _ConvNd


@torch.no_grad()
def draw_gaussian(
    network: nn.Module, generator: Generator, *, weight_std: float = math.sqrt(2), bias_std: float = 0.1
) -> None:
    """Draw every convolution and linear layer anew, in place: weights `weight_std / sqrt(fan_in)`, biases `bias_std`.

    The defaults are those of RFAD's released code (arXiv 2210.12067). Norm layers stay as they are.
    """
    for layer in network.modules():
        if isinstance(layer, (_ConvNd, nn.Linear)):
            layer.weight.normal_(0, weight_std / math.sqrt(layer.weight[0].numel()), generator=generator)
            if layer.bias is not None:
                layer.bias.normal_(0, bias_std, generator=generator)
