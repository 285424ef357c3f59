"""idx files: read when right, refused with the file's name when not."""

import gzip
import struct

import pytest
import torch

from core_distill.data.idx import read_idx, read_idx_images


def idx_bytes(values):
    return bytes([0, 0, 8, values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape) + values.numpy().tobytes()


PIXELS = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4)


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_what_was_written(tmp_path, zipped):
    path = tmp_path / ("images.gz" if zipped else "images")
    path.write_bytes(gzip.compress(idx_bytes(PIXELS)) if zipped else idx_bytes(PIXELS))
    assert torch.equal(read_idx(path), PIXELS)


@pytest.mark.parametrize("zipped", [False, True])
def test_cut_off_anywhere_is_one_clear_error(tmp_path, zipped):
    path = tmp_path / ("images.gz" if zipped else "images")
    content = gzip.compress(idx_bytes(PIXELS)) if zipped else idx_bytes(PIXELS)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"{path.name} (is|cannot|claims)"):
            read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x00\x00\x0d\x01" + struct.pack(">I", 1) + b"1234",
            "not an idx file of unsigned bytes: it starts with 00000d01",
        ),
        (b"PK\x03\x04rest", "it starts with 504b0304"),
        (b"", "it starts with nothing"),
        (idx_bytes(PIXELS) + b"x", r"claims shape \(2, 3, 4\), 24 values, but holds 25"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", *[2**32 - 1] * 3), "but holds 0"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path)


def test_images_and_labels_belong_together(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(idx_bytes(PIXELS))
    labels.write_bytes(idx_bytes(torch.tensor([7, 1], dtype=torch.uint8)))
    pixels, numbers = read_idx_images(images, labels)
    assert torch.equal(pixels, PIXELS.unsqueeze(1))
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [7, 1]
    labels.write_bytes(idx_bytes(torch.tensor([7], dtype=torch.uint8)))
    with pytest.raises(ValueError, match=r"do not belong together.* got \(2, 3, 4\) and \(1,\)"):
        read_idx_images(images, labels)
    with pytest.raises(ValueError, match="do not belong together"):
        read_idx_images(labels, images)
