"""What a network that goes on while the images change knows is not all in the images (Vicol et al., arXiv 2212.14032).

Ten images of digits, one a class, are distilled by implicit differentiation twice. With cold start every loss is that of a
fresh network, with warm start one network goes on from loss to loss. At the end that network reads digits well, but it has
seen all the images that the ten ever were: a network trained from scratch on the ten that are left does much worse.
"""

from core_distill.data import load_data
from core_distill.distill import distill
from core_distill.evaluation import accuracy
from core_distill.randomness import derive_generator
from core_distill.recipes import lorraine, prepare
from core_distill.training import fit

digits = load_data("digits")
recipe = lorraine(images_per_class=1, data="digits", schedule="cpu").with_values(
    {
        "network": "mlp",
        "initialise": "noise",
        "steps": 60,
        "image_learning_rate": 0.15,
        "learning_rate": 0.1,
        "inner_momentum": 0,
        "inner_steps": 5,
        "terms": 2,
    }
)

for start, lifetime in (("warm", 0), ("cold", 1)):
    plan = prepare(digits.train, recipe.with_values({"lifetime": lifetime}), seed=0)
    distill(plan.method, plan.synthetic, plan.optimizer, steps=recipe.steps, seed=0)
    scores = []
    for number in range(3):
        generator = derive_generator(1, number)
        network = plan.method.new_network(generator)
        fit(network, plan.synthetic.batch(), epochs=300, learning_rate=0.1, generator=generator)
        scores.append(100 * accuracy(network, digits.validation))
    along = 100 * accuracy(plan.method.network, digits.validation)
    print(f"{start} start: the run's last network {along:.0f} %, trained from scratch {sum(scores) / 3:.0f} %")
