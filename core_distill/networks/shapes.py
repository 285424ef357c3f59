"""One check for the networks that need images rather than vectors or sequences."""


def image_sides(image_shape: tuple[int, ...], architecture: str) -> tuple[int, int, int]:
    """`image_shape` as `(channels, height, width)`; `ValueError` where it is anything else."""
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(
            f"{architecture} needs images of shape (channels, height, width), each at least 1, "
            f"got {tuple(image_shape)}; choose network=mlp for inputs of any shape, text-cnn for texts"
        )
    channels, height, width = image_shape
    return channels, height, width


def check_width(width: int, network: str) -> None:
    """Raise `ValueError` for a width below 1."""
    if width < 1:
        raise ValueError(f"{network} needs a width of at least 1, got {width}")
