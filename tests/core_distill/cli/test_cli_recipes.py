"""What `stillroom recipes` prints."""

from core_distill.recipes import RECIPES


def words(text):
    return " ".join(text.split())


def test_recipes_lists_every_one_with_its_paper_and_what_it_learns(stillroom):
    said = stillroom("recipes")
    assert (said.code, said.error) == (0, "")
    rows = {line.split()[0]: words(line) for line in said.out.splitlines()[2:]}
    assert sorted(rows) == sorted(RECIPES)
    assert rows["dm"] == ("dm feature 2110.04181 images 20000 600 ~83.5 % ~48.9 %")
    assert rows["dsa"].endswith("2102.08259 images 10000 300 84.6 % 52.1 %")
    assert rows["sldd"].endswith("1910.02551 images, labels, step size 20000 150")


def test_recipes_shows_all_values_of_one_in_both_schedules(stillroom):
    said = stillroom("recipes", "idc", "--data", "cifar10", "--ipc", "1")
    assert (said.code, said.error) == (0, "")
    first, *lines = said.out.splitlines()
    assert first == "idc for cifar10, 1 images a class"
    values = {line.split()[0]: words(line) for line in lines}
    paper, cpu = (RECIPES["idc"](images_per_class=1, data="cifar10", schedule=s) for s in ("paper", "cpu"))
    assert values["factor"] == "factor 2 2 parts a side that each is cut into."
    assert values["steps"].startswith(f"steps {paper.steps} {cpu.steps} losses in all")
    assert set(paper.values()) <= set(values)
    assert lines[-3].endswith("learns images; published accuracy: 50.6 %")
    assert lines[-2:] == [f"--schedule paper: {paper.source}", f"--schedule cpu: {cpu.source}"]


def test_recipes_says_where_the_data_have_no_values_of_their_own(stillroom):
    note = "none of the data sets with values of their own"
    first = words(stillroom("recipes", "dm", "--data", "flowers").out)
    assert first.startswith(f"flowers is {note} (cifar10, ")
    assert "fashion-mnist, mnist, svhn, trec6): these are for all others" in first
    assert note not in stillroom("recipes", "dm", "--data", "cifar10").out
    assert note not in stillroom("recipes", "sldd-text", "--data", "trec6").out


def test_recipes_of_an_unknown_name_lists_the_known_ones(stillroom):
    said = stillroom("recipes", "nope")
    assert said.code == 2
    assert said.error.startswith("error: no recipe is called 'nope'; known: acc-dd, ")
