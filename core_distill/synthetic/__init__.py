"""What is learned: a synthetic set of images (any parametrisation), labels and a step size."""

from core_distill.synthetic.addressable_memory import AddressableMemory
from core_distill.synthetic.hallucinated_bases import HallucinatedBases
from core_distill.synthetic.initialise import clustered_images, noise, real_images, recognised_images
from core_distill.synthetic.labels import GivenLabels, HardLabels, SoftLabels
from core_distill.synthetic.latents import Latents
from core_distill.synthetic.low_rank import LowRank
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.synthetic.pixels import Pixels
from core_distill.synthetic.random_basis import RandomBasis
from core_distill.synthetic.shared_decoders import SharedDecoders
from core_distill.synthetic.smooth_basis import SmoothBasis
from core_distill.synthetic.storage import Artefact, ArtefactError, load_artefact, save_artefact
from core_distill.synthetic.synthetic_set import SyntheticDataset, SyntheticSet

__all__ = [
    "AddressableMemory",
    "Artefact",
    "ArtefactError",
    "GivenLabels",
    "HallucinatedBases",
    "HardLabels",
    "Latents",
    "LowRank",
    "MultiFormation",
    "Pixels",
    "RandomBasis",
    "SharedDecoders",
    "SmoothBasis",
    "SoftLabels",
    "SyntheticDataset",
    "SyntheticSet",
    "clustered_images",
    "load_artefact",
    "noise",
    "real_images",
    "recognised_images",
    "save_artefact",
]
