"""Four clients with uneven digits, one round of synthetic sets, and FedAvg beside it, all on this machine.

Run with `python examples/federated_simulation.py`; it takes about half a minute on two cores.
"""

from core_distill.data import load_data
from core_distill.recipes import dm
from federated import dirichlet_partition, run_simulation


def main() -> None:
    data = load_data("digits")
    recipe = dm(images_per_class=10, data="digits", schedule="cpu").with_values({"steps": 30, "width": 32})
    parts = dirichlet_partition(data.train, 4, alpha=0.5, seed=0)
    for number, part in enumerate(parts):
        print(f"client {number}: {len(part)} images of classes {data.train.labels[part].unique().tolist()}")

    result = run_simulation(
        data,
        recipe,
        parts,
    )
    for name, scores in (("synthetic sets", result.synthetic), ("FedAvg", result.fedavg)):
        for score in scores:
            print(f"{name}, round {score.server_round}: accuracy {100 * score.accuracy:.1f} %, {score.up:,} bytes up")


if __name__ == "__main__":
    main()
