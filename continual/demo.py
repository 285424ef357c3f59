"""The continual part of `stillroom demo`: a stream of five experiences with a memory of two images a class."""

from core_distill.cli.demo_types import DemoContext, DemoRow

_IMAGES_PER_CLASS = 2


def demo(context: DemoContext) -> list[DemoRow]:
    """Distilled replay beside random replay at equal bytes, and beside none; writes results.json below `context.out`."""
    from continual import StreamProtocol, compare_replay
    from core_distill.run_folder import RunFolder

    data, recipe = context.data, context.recipe.with_values({"steps": 100})
    memory = _IMAGES_PER_CLASS * data.train.num_classes
    protocol = StreamProtocol(network=recipe.network)
    results = compare_replay(data, recipe, memory=memory, protocol=protocol, seed=context.seed, device=context.device)
    identity = {
        "data": data.digest,
        "recipe": recipe.describe(),
        "memory": memory,
        "protocol": protocol.describe(),
        "seed": context.seed,
    }
    RunFolder(context.out, identity=identity).write_results(
        {name: result.as_json() for name, result in results.items()}
    )
    told = {
        name: f"{100 * result.average_accuracy:.1f} %, {result.memory_bytes / 1024:.1f} KiB"
        for name, result in results.items()
    }
    what = f"{protocol.num_experiences} experiences, replay of {memory} synthetic images ({recipe.name}): accuracy"
    return [
        DemoRow(what, told["distilled"], "real images, random", told["random"]),
        DemoRow(what, told["distilled"], "no replay", told["none"]),
    ]
