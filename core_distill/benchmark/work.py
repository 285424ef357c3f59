"""The units of work that are timed, by the names used on the command line."""

from core_distill.benchmark import matching_work as matching
from core_distill.benchmark import training_work as training
from core_distill.benchmark.unit import AXES, Timed, Work

_SET = ("images_per_class", "num_classes", "side")

WORK: dict[str, Work] = {
    work.name: work
    for work in (
        Work("dc", "matching step", _SET, matching.fast_dc, matching.naive_dc, matching.dc_flops),
        Work("dsa", "matching step", _SET, matching.fast_dsa, matching.naive_dsa, matching.dc_flops),
        Work("dm", "matching step", _SET, matching.fast_dm, matching.naive_dm, matching.dm_flops),
        Work("mtt", "exact loss", tuple(AXES), matching.fast_mtt, matching.naive_mtt, matching.mtt_flops),
        Work("frepo", "loss and pool step", _SET, matching.fast_frepo, matching.naive_frepo, matching.frepo_flops),
        Work(
            "evaluate",
            "5 networks x 1,000 epochs + 10,000 test images",
            _SET,
            training.fast_evaluation,
            training.naive_evaluation,
            training.evaluation_flops,
        ),
        Work(
            "experts",
            "10 experts x 1 epoch of 10,000 images",
            ("side",),
            training.fast_experts,
            training.naive_experts,
            training.expert_flops,
        ),
    )
}

__all__ = ["WORK", "Timed", "Work"]
